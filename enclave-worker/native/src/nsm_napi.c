/** Carries one exchange with the NSM from JavaScript to a thread of Node's pool and back. */

#define _GNU_SOURCE /* strerror_r that returns the text, on Linux */

#include "nsm_napi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nsm.h"

#define PATH_BYTES 256

/** Of one exchange; the request is a copy, because JavaScript may change its own meanwhile. */
struct exchange {
    napi_async_work work;
    napi_deferred promise;
    int result;
    size_t request_length;
    size_t response_length;
    char path[PATH_BYTES];
    uint8_t request[NSM_REQUEST_BYTES];
    uint8_t response[NSM_RESPONSE_BYTES];
};

static napi_value refuse(napi_env env, const char *code, const char *message)
{
    napi_throw_error(env, code, message);
    return NULL;
}

/** On a thread of the pool. */
static void run(napi_env env, void *data)
{
    struct exchange *exchange = data;
    (void)env;
    exchange->result = nsm_exchange(exchange->path, exchange->request, exchange->request_length, exchange->response,
                                    &exchange->response_length);
}

static const char *code_of(int result)
{
    switch (result) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ENOSYS: return "no_device";
    case EACCES:
    case EPERM: return "no_access";
    default: return "device_error";
    }
}

static napi_value make_error(napi_env env, int result)
{
    char text[128];
    napi_value code, message, error;
    /* errno by number: its text would need one function on each libc */
    snprintf(text, sizeof text, "%s", result == ENOTTY ? "not a Nitro Security Module" : strerrorname(result));
    return error;
}

static napi_value make_answer(napi_env env, const struct exchange *exchange)
{
    void *bytes;
    napi_value buffer, array;
    if (napi_create_arraybuffer(env, exchange->response_length, &bytes, &buffer) != napi_ok) return NULL;
    memcpy(bytes, exchange->response, exchange->response_length);
    if (napi_create_typedarray(env, napi_uint8_array, exchange->response_length, buffer, 0, &array) != napi_ok) {
        return NULL;
    }
    return array;
}
