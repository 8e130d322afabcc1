/** The NSM's door to JavaScript. */

#ifndef TESTUDO_NSM_NAPI_H
#define TESTUDO_NSM_NAPI_H

#define NAPI_VERSION 8
#include <node_api.h>

/**
 * nsmRequest(path: string, request: Uint8Array): Promise<Uint8Array>. The device blocks, so a thread of Node's pool asks
 * it. Rejects with an error whose code is no_device, no_access or device_error; throws bad_argument or no_memory.
 */
napi_value nsm_request(napi_env env, napi_callback_info info);

#endif
