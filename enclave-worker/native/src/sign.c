/** Signs one message under many keys, or many messages once. Contract: `sign.h`. */

#include "sign.h"

#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "multiply.h"

/** What one call needs beside its arguments. `multiply` wipes its own part; the rest is no secret. */
struct group {
    struct multiply_workspace multiply;
    struct held_key held[GROUP_MAX];
    blst_p2_affine points[MULTIPLY_CHUNK];
};

/**
 * Up to MULTIPLY_CHUNK signatures, from key number `*next` on; moves it behind the last one done. Handles without a key
 * are left out, not carried along as zero: one point at infinity would spoil the common inversion.
 */
static void sign_chunk(uint8_t *signatures, struct group *group, const struct root_use *use, size_t *next, size_t count)
{
    const blst_scalar *scalars[MULTIPLY_CHUNK];
    size_t positions[MULTIPLY_CHUNK];
    size_t found = 0;
    for (; *next < count && found < MULTIPLY_CHUNK; *next += 1) {
        if (group->held[*next].scalar == NULL) continue;
        scalars[found] = group->held[*next].scalar;
        positions[found++] = *next;
    }
    if (found == 0) return;
    multiply(group->points, &use->hash, use->table, scalars, found, &group->multiply);
    for (size_t i = 0; i < found; i++) {
        blst_p2_affine_compress(signatures + positions[i] * SIGNATURE_BYTES, &group->points[i]);
    }
}

int sign_group(uint8_t *signatures, const uint8_t root[ROOT_BYTES], const uint32_t *handles, size_t count,
               size_t expected)
{
    void *memory;
    if (posix_memalign(&memory, _Alignof(struct group), sizeof(struct group)) != 0) return SIGN_NO_MEMORY;
    struct group *group = memory;
    struct root_use use;
    roots_begin(&use, root, count, expected);
    arena_hold(group->held, handles, count);
    /* From here on the arguments are not read any more: JavaScript may have made them views of the same memory. */
    memset(signatures, 0, count * SIGNATURE_BYTES);
    for (size_t next = 0; next < count;) sign_chunk(signatures, group, &use, &next, count);
    arena_release(group->held, count);
    int path = (use.hash_cached ? PATH_HASH_CACHED : 0) | (use.table != NULL ? PATH_TABLE_USED : 0) |
               (use.table_built ? PATH_TABLE_BUILT : 0);
    roots_end(&use);
    free(group);
    return path;
}

/** Up to MULTIPLY_CHUNK of them. */
static int sign_each_chunk(uint8_t *signatures, const uint8_t *roots, const uint32_t *handles, size_t count)
{
    blst_p2 products[MULTIPLY_CHUNK];
    blst_p2_affine points[MULTIPLY_CHUNK];
    size_t positions[MULTIPLY_CHUNK];
    bool has_table[MULTIPLY_CHUNK];
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        struct root_use use;
        struct held_key held;
        roots_begin(&use, roots + i * ROOT_BYTES, 1, 0);
        arena_hold(&held, &handles[i], 1);
        has_table[i] = use.table != NULL;
        if (held.scalar != NULL && !has_table[i]) {
            multiply_alone(&products[found], &use.hash, held.scalar);
            positions[found++] = i;
        }
        arena_release(&held, 1);
        roots_end(&use);
    }
    if (found > 0) multiply_finish(points, products, found);
    memset(signatures, 0, count * SIGNATURE_BYTES);
    for (size_t i = 0; i < found; i++) {
        blst_p2_affine_compress(signatures + positions[i] * SIGNATURE_BYTES, &points[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (!has_table[i]) continue;
        uint8_t *signature = signatures + i * SIGNATURE_BYTES;
        if (sign_group(signature, roots + i * ROOT_BYTES, &handles[i], 1, 0) < 0) return SIGN_NO_MEMORY;
    }
    return 0;
}

int sign_each(uint8_t *signatures, const uint8_t *roots, const uint32_t *handles, size_t count)
{
    for (size_t first = 0; first < count; first += MULTIPLY_CHUNK) {
        size_t left = count - first;
        int result = sign_each_chunk(signatures + first * SIGNATURE_BYTES, roots + first * ROOT_BYTES, handles + first,
                                     left < MULTIPLY_CHUNK ? left : MULTIPLY_CHUNK);
        if (result < 0) return result;
    }
    return 0;
}
