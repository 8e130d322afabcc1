/** Carries one exchange with the NSM from JavaScript to a thread of Node's pool and back. */

#define NAPI_VERSION 8

#include "nsm_napi.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "nsm.h"

#define PATH_BYTES_MAX 255

/** One exchange. Everything is a copy: JavaScript may change its own meanwhile. */
struct exchange {
    napi_async_work work;
    napi_deferred promise;
    int result;
    size_t request_length;
    size_t response_length;
    char path[PATH_BYTES_MAX + 1];
    uint8_t request[NSM_REQUEST_BYTES];
    uint8_t response[NSM_RESPONSE_BYTES];
};

static napi_value fail(napi_env env, const char *code, const char *message)
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

/** The answer as a Uint8Array, or the errno; NULL when there is no memory for it. */
static napi_value outcome_of(napi_env env, const struct exchange *exchange)
{
    void *bytes;
    napi_value buffer, value;
    if (exchange->result != 0) return napi_create_int32(env, exchange->result, &value) == napi_ok ? value : NULL;
    const size_t length = exchange->response_length;
    if (napi_create_arraybuffer(env, length, &bytes, &buffer) != napi_ok) return NULL;
    if (length > 0) memcpy(bytes, exchange->response, length);
    return napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &value) == napi_ok ? value : NULL;
}

/** Back on JavaScript's thread. A cancelled one's environment is ending: nobody waits any more. */
static void complete(napi_env env, napi_status status, void *data)
{
    struct exchange *exchange = data;
    if (status == napi_ok) {
        napi_value nothing, outcome = outcome_of(env, exchange);
        if (outcome != NULL) napi_resolve_deferred(env, exchange->promise, outcome);
        else if (napi_get_undefined(env, &nothing) == napi_ok) napi_reject_deferred(env, exchange->promise, nothing);
    }
    napi_delete_async_work(env, exchange->work);
    free(exchange);
}

static bool get_path(napi_env env, napi_value value, char *path)
{
    size_t length = 0;
    if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return false;
    if (length < 1 || length > PATH_BYTES_MAX) return false;
    if (napi_get_value_string_utf8(env, value, path, PATH_BYTES_MAX + 1, &length) != napi_ok) return false;
    return strlen(path) == length;
}

static bool get_request(napi_env env, napi_value value, struct exchange *exchange)
{
    bool is_array = false, is_ordinary = false;
    napi_typedarray_type type;
    napi_value buffer;
    void *data = NULL;
    size_t length = 0;
    if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return false;
    if (napi_get_typedarray_info(env, value, &type, &length, &data, &buffer, NULL) != napi_ok) return false;
    if (napi_is_arraybuffer(env, buffer, &is_ordinary) != napi_ok || !is_ordinary) return false;
    if (type != napi_uint8_array || length < 1 || length > NSM_REQUEST_BYTES) return false;
    memcpy(exchange->request, data, length);
    exchange->request_length = length;
    return true;
}

napi_value nsm_request(napi_env env, napi_callback_info info)
{
    napi_value arguments[2], name, promise;
    size_t given = 2;
    if (napi_get_cb_info(env, info, &given, arguments, NULL, NULL) != napi_ok || given != 2) {
        return fail(env, "bad_argument", "wrong number of arguments");
    }
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL) return fail(env, "no_memory", "no memory to ask the NSM");
    if (!get_path(env, arguments[0], exchange->path)) {
        free(exchange);
        return fail(env, "bad_argument", "path: expected 1 to 255 bytes of text");
    }
    if (!get_request(env, arguments[1], exchange)) {
        free(exchange);
        return fail(env, "bad_argument", "request: expected a Uint8Array of 1 to 4096 bytes");
    }
    if (napi_create_string_utf8(env, "nsm", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_promise(env, &exchange->promise, &promise) != napi_ok ||
        napi_create_async_work(env, NULL, name, run, complete, exchange, &exchange->work) != napi_ok) {
        free(exchange);
        return fail(env, "no_memory", "no memory to ask the NSM");
    }
    if (napi_queue_async_work(env, exchange->work) != napi_ok) {
        napi_delete_async_work(env, exchange->work);
        free(exchange);
        return fail(env, "no_memory", "the NSM cannot be asked");
    }
    return promise;
}
