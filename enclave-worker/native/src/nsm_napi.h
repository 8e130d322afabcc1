/** The NSM's door to JavaScript. */

#ifndef TESTUDO_NSM_NAPI_H
#define TESTUDO_NSM_NAPI_H

#include <node_api.h>

/**
 * nsmRequest(path: string, request: Uint8Array): Promise<Uint8Array | number>. One exchange with the NSM on a thread of
 * Node's pool, because the device blocks: its answer, or the errno of what failed. Throws bad_argument or no_memory.
 */
napi_value nsm_request(napi_env env, napi_callback_info info);

#endif
