/**
 * The door to JavaScript (Node-API 8): checks arguments, converts them, and calls `arena.h`, `sign.h` and `roots.h`.
 * (`nsm_napi.c` is the door of the Nitro Security Module, which has nothing to do with keys.)
 *
 * Every thread that loads the addon gets functions of its own over the same process-wide state. When the last of them
 * ends, all keys are zeroised. The library itself is never unloaded: were it loaded again, its handles would start from
 * the beginning, and a stale one could name another key.
 *
 * Arrays must be Uint8Array (Uint32Array for handles) on ordinary memory. Shared memory is refused, since it could
 * change between a check and its use. Errors carry a `code`: bad_argument, bad_key, full, no_memory.
 */

#define _GNU_SOURCE /* dladdr, RTLD_NODELETE */
#define NAPI_VERSION 8

#include <dlfcn.h>
#include <node_api.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "arena.h"
#include "nsm_napi.h"
#include "roots.h"
#include "sign.h"
#include "wipe.h"

static atomic_uint environments;

static napi_value fail(napi_env env, const char *code, const char *message)
{
    napi_throw_error(env, code, message);
    return NULL;
}

/** Reads exactly `count` arguments. */
static bool get_arguments(napi_env env, napi_callback_info info, napi_value *arguments, size_t count)
{
    size_t given = count;
    if (napi_get_cb_info(env, info, &given, arguments, NULL, NULL) == napi_ok && given == count) return true;
    fail(env, "bad_argument", "wrong number of arguments");
    return false;
}

/** An array's memory, when it is of that type, ordinary and not empty; else NULL. `length` counts elements. */
static void *get_array(napi_env env, napi_value value, napi_typedarray_type wanted, size_t *length)
{
    bool is_array = false, is_ordinary = false;
    napi_typedarray_type type;
    napi_value buffer;
    void *data = NULL;
    if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array) return NULL;
    if (napi_get_typedarray_info(env, value, &type, length, &data, &buffer, NULL) != napi_ok) return NULL;
    if (napi_is_arraybuffer(env, buffer, &is_ordinary) != napi_ok || !is_ordinary) return NULL;
    return type == wanted && *length > 0 ? data : NULL;
}

/** A whole number from 0 to 2^32 - 1. */
static bool get_uint32(napi_env env, napi_value value, uint32_t *number)
{
    double given;
    if (napi_get_value_double(env, value, &given) != napi_ok || !(given >= 0 && given <= UINT32_MAX)) return false;
    *number = (uint32_t)given;
    return (double)*number == given;
}

static napi_value from_uint32(napi_env env, uint32_t number)
{
    napi_value value;
    return napi_create_uint32(env, number, &value) == napi_ok ? value : NULL;
}

static napi_value from_double(napi_env env, double number)
{
    napi_value value;
    return napi_create_double(env, number, &value) == napi_ok ? value : NULL;
}

static napi_value from_bool(napi_env env, bool flag)
{
    napi_value value;
    return napi_get_boolean(env, flag, &value) == napi_ok ? value : NULL;
}

/** importKey(secret: Uint8Array): number. Zero-fills `secret`, of whatever length, whatever comes of it. */
static napi_value import_key(napi_env env, napi_callback_info info)
{
    napi_value argument;
    size_t length = 0;
    uint32_t handle;
    enum arena_result result = ARENA_BAD_KEY;
    if (!get_arguments(env, info, &argument, 1)) return NULL;
    uint8_t *secret = get_array(env, argument, napi_uint8_array, &length);
    if (secret == NULL) return fail(env, "bad_argument", "secret: expected a Uint8Array of 32 bytes");
    if (length == SECRET_BYTES) result = arena_import(&handle, secret);
    wipe(secret, length);
    if (length != SECRET_BYTES) return fail(env, "bad_argument", "secret: expected 32 bytes");
    switch (result) {
    case ARENA_OK: return from_uint32(env, handle);
    case ARENA_BAD_KEY: return fail(env, "bad_key", "secret: not a secret key (expected 1 .. r-1)");
    case ARENA_FULL: return fail(env, "full", "no room for another key");
    case ARENA_NO_MEMORY: return fail(env, "no_memory", "no memory for another key");
    }
    return NULL;
}

/** removeKey(handle: number): boolean. */
static napi_value remove_key(napi_env env, napi_callback_info info)
{
    napi_value argument;
    uint32_t handle;
    if (!get_arguments(env, info, &argument, 1)) return NULL;
    if (!get_uint32(env, argument, &handle)) return fail(env, "bad_argument", "handle: expected 0 .. 2^32-1");
    return from_bool(env, arena_remove(handle));
}

/** removeAllKeys(): void. */
static napi_value remove_all_keys(napi_env env, napi_callback_info info)
{
    (void)env, (void)info;
    arena_remove_all();
    return NULL;
}

/** signGroup(root: Uint8Array, handles: Uint32Array, signatures: Uint8Array, expected: number): number. */
static napi_value sign(napi_env env, napi_callback_info info)
{
    napi_value arguments[4];
    size_t root_length = 0, count = 0, signatures_length = 0;
    uint32_t expected;
    if (!get_arguments(env, info, arguments, 4)) return NULL;
    const uint8_t *root = get_array(env, arguments[0], napi_uint8_array, &root_length);
    const uint32_t *handles = get_array(env, arguments[1], napi_uint32_array, &count);
    uint8_t *signatures = get_array(env, arguments[2], napi_uint8_array, &signatures_length);
    if (root == NULL || root_length != ROOT_BYTES) {
        return fail(env, "bad_argument", "root: expected a Uint8Array of 32 bytes");
    }
    if (handles == NULL || count < 1 || count > GROUP_MAX) {
        return fail(env, "bad_argument", "handles: expected a Uint32Array of 1 .. 1024 handles");
    }
    if (signatures == NULL || signatures_length != count * SIGNATURE_BYTES) {
        return fail(env, "bad_argument", "signatures: expected a Uint8Array of 96 bytes for each handle");
    }
    if (!get_uint32(env, arguments[3], &expected)) {
        return fail(env, "bad_argument", "expected: expected 0 .. 2^32-1");
    }
    int path = sign_group(signatures, root, handles, count, expected);
    if (path == SIGN_NO_MEMORY) return fail(env, "no_memory", "no memory to sign");
    return from_uint32(env, (uint32_t)path);
}

/** Whether two pieces of memory share a byte. */
static bool overlap(const void *left, size_t left_bytes, const void *right, size_t right_bytes)
{
    uintptr_t l = (uintptr_t)left, r = (uintptr_t)right;
    return l < r + right_bytes && r < l + left_bytes;
}

/** signEach(roots: Uint8Array, handles: Uint32Array, signatures: Uint8Array): void. */
static napi_value sign_one_each(napi_env env, napi_callback_info info)
{
    napi_value arguments[3];
    size_t roots_length = 0, count = 0, signatures_length = 0;
    if (!get_arguments(env, info, arguments, 3)) return NULL;
    const uint8_t *roots = get_array(env, arguments[0], napi_uint8_array, &roots_length);
    const uint32_t *handles = get_array(env, arguments[1], napi_uint32_array, &count);
    uint8_t *signatures = get_array(env, arguments[2], napi_uint8_array, &signatures_length);
    if (handles == NULL || count < 1 || count > GROUP_MAX) {
        return fail(env, "bad_argument", "handles: expected a Uint32Array of 1 .. 1024 handles");
    }
    if (roots == NULL || roots_length != count * ROOT_BYTES) {
        return fail(env, "bad_argument", "roots: expected a Uint8Array of 32 bytes for each handle");
    }
    if (signatures == NULL || signatures_length != count * SIGNATURE_BYTES) {
        return fail(env, "bad_argument", "signatures: expected a Uint8Array of 96 bytes for each handle");
    }
    if (overlap(signatures, signatures_length, roots, roots_length) ||
        overlap(signatures, signatures_length, handles, count * sizeof *handles)) {
        return fail(env, "bad_argument", "signatures: expected memory of their own");
    }
    if (sign_each(signatures, roots, handles, count) < 0) return fail(env, "no_memory", "no memory to sign");
    return NULL;
}

/** forgetRoots(): void. */
static napi_value forget_roots(napi_env env, napi_callback_info info)
{
    (void)env, (void)info;
    roots_forget();
    return NULL;
}

/** threadCpuNanos(): number. CPU time of the calling thread; exact for 104 days (2^53 ns). */
static napi_value thread_cpu_nanos(napi_env env, napi_callback_info info)
{
    struct timespec time = {0, 0};
    (void)info;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return from_double(env, (double)time.tv_sec * 1e9 + (double)time.tv_nsec);
}

/** stats(): { keys, keysMax, memoryLocked, hashesComputed, tablesBuilt }. */
static napi_value stats(napi_env env, napi_callback_info info)
{
    uint64_t hashes, tables;
    napi_value result;
    (void)info;
    roots_counts(&hashes, &tables);
    if (napi_create_object(env, &result) != napi_ok) return NULL;
    const struct {
        const char *name;
        napi_value value;
    } fields[] = {
        {"keys", from_uint32(env, arena_key_count())},
        {"keysMax", from_uint32(env, ARENA_SLOTS_MAX)},
        {"memoryLocked", from_bool(env, arena_is_locked())},
        {"hashesComputed", from_double(env, (double)hashes)},
        {"tablesBuilt", from_double(env, (double)tables)},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].value == NULL) return NULL;
        if (napi_set_named_property(env, result, fields[i].name, fields[i].value) != napi_ok) return NULL;
    }
    return result;
}

/** Once for every time the addon was loaded; the argument only makes these distinct, as Node demands. */
static void leave_environment(void *environment)
{
    (void)environment;
    if (atomic_fetch_sub(&environments, 1) != 1) return;
    arena_remove_all();
    roots_forget();
}

/** Keeps this library loaded until the process ends. */
static bool stay_loaded(void)
{
    Dl_info library;
    if (dladdr((const void *)&environments, &library) == 0) return false;
    return dlopen(library.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE) != NULL;
}

NAPI_MODULE_INIT()
{
    const napi_property_descriptor functions[] = {
#define FUNCTION(name, function) {name, NULL, function, NULL, NULL, NULL, napi_enumerable, NULL}
        FUNCTION("importKey", import_key),
        FUNCTION("removeKey", remove_key),
        FUNCTION("removeAllKeys", remove_all_keys),
        FUNCTION("signGroup", sign),
        FUNCTION("signEach", sign_one_each),
        FUNCTION("forgetRoots", forget_roots),
        FUNCTION("threadCpuNanos", thread_cpu_nanos),
        FUNCTION("stats", stats),
        FUNCTION("nsmRequest", nsm_request),
#undef FUNCTION
    };
    if (!stay_loaded()) return fail(env, "internal", "the addon cannot be kept loaded");
    if (napi_add_env_cleanup_hook(env, leave_environment, env) != napi_ok) return NULL;
    atomic_fetch_add(&environments, 1);
    if (napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions) != napi_ok) return NULL;
    return exports;
}
