/**
 * What JavaScript cannot see of the native signer: both ways to multiply against blst's one at a time, for every size of
 * a chunk; that working memory is left wiped; that a removed key stays as long as somebody uses it and is zeroised
 * then; how full the arena can get.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "multiply.h"

static void require(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

/** xorshift64*, seeded by the caller: scalars need to differ, not to be secret. */
static uint64_t state;

static uint64_t next(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d;
}

/** Below 2^254, which is below r. */
static void random_scalar(blst_scalar *scalar)
{
    for (size_t i = 0; i < sizeof scalar->b; i++) scalar->b[i] = (uint8_t)(next() >> 56);
    scalar->b[31] &= 0x3f;
}

static bool is_zero(const void *memory, size_t size)
{
    const uint8_t *bytes = memory;
    uint8_t bits = 0;
    for (size_t i = 0; i < size; i++) bits |= bytes[i];
    return bits == 0;
}

static void *allocate(size_t alignment, size_t size)
{
    void *memory;
    require(posix_memalign(&memory, alignment, size) == 0, "memory");
    memset(memory, 0, size);
    return memory;
}

static void check_multiply(void)
{
    struct comb_table *table = allocate(_Alignof(struct comb_table), sizeof *table);
    struct multiply_workspace *workspace = allocate(_Alignof(struct multiply_workspace), sizeof *workspace);
    for (unsigned round = 0; round < 8; round++) {
        blst_p2 base_point, point;
        blst_p2_affine base, expected, results[MULTIPLY_CHUNK];
        blst_scalar secrets[MULTIPLY_CHUNK], factor;
        const blst_scalar *scalars[MULTIPLY_CHUNK];
        random_scalar(&factor);
        blst_p2_mult(&base_point, blst_p2_generator(), factor.b, 255);
        blst_p2_to_affine(&base, &base_point);
        require(comb_build(table, &base), "a table is built");
        for (size_t count = 1; count <= MULTIPLY_CHUNK; count++) {
            for (size_t i = 0; i < count; i++) {
                random_scalar(&secrets[i]);
                scalars[i] = &secrets[i];
            }
            for (int with_table = 0; with_table < 2; with_table++) {
                memset(results, 0xee, sizeof results);
                multiply(results, &base_point, with_table ? table : NULL, scalars, count, workspace);
                for (size_t i = 0; i < count; i++) {
                    blst_p2_mult(&point, &base_point, secrets[i].b, 255);
                    blst_p2_to_affine(&expected, &point);
                    require(blst_p2_affine_is_equal(&results[i], &expected), "both ways multiply alike");
                }
                require(is_zero(workspace->comb.points, sizeof workspace->comb.points), "chosen points are wiped");
                require(is_zero(workspace->comb.inversions, sizeof workspace->comb.inversions), "inversions are wiped");
                require(is_zero(workspace->products, sizeof workspace->products), "products are wiped");
                require(is_zero(workspace->exceptional, sizeof workspace->exceptional), "no random scalar is exceptional");
            }
        }
    }
    memset(&table->entries[0][0], 0, sizeof(blst_p2_affine));
    require(!comb_build(table, &table->entries[0][0]), "infinity gets no table");
    free(table);
    free(workspace);
}

/** A scalar that the comb cannot do (`comb.h`) must be found out, else its result would be wrong. */
static void check_exceptional(void)
{
    static const uint8_t secret[SECRET_BYTES] = {
        0x12, 0x51, 0xc3, 0xd2, 0xe2, 0x47, 0xd5, 0xf9, 0xda, 0x85, 0x89, 0x7c, 0x85, 0xfd, 0xb5, 0x72,
        0xf8, 0xec, 0x22, 0xc0, 0x57, 0x3f, 0xd0, 0x2c, 0x55, 0x55, 0x54, 0x2d, 0xaa, 0xaa, 0xab, 0xd3};
    struct comb_table *table = allocate(_Alignof(struct comb_table), sizeof *table);
    struct comb_workspace *workspace = allocate(_Alignof(struct comb_workspace), sizeof *workspace);
    blst_p2_affine base, results[3];
    blst_scalar scalars[3];
    const blst_scalar *given[3] = {&scalars[0], &scalars[1], &scalars[2]};
    uint64_t faulty[3];
    blst_p2_to_affine(&base, blst_p2_generator());
    require(comb_build(table, &base), "a table is built");
    random_scalar(&scalars[0]);
    blst_scalar_from_bendian(&scalars[1], secret);
    random_scalar(&scalars[2]);
    comb_multiply(results, faulty, given, 3, table, workspace);
    require(faulty[0] == 0 && faulty[1] == UINT64_MAX && faulty[2] == 0, "the exceptional scalar alone is found out");
    blst_p2 point;
    blst_p2_affine expected;
    blst_p2_mult(&point, blst_p2_generator(), scalars[2].b, 255);
    blst_p2_to_affine(&expected, &point);
    require(blst_p2_affine_is_equal(&results[2], &expected), "an exceptional scalar leaves its neighbour alone");
    free(table);
    free(workspace);
}

static void check_removal(void)
{
    uint8_t secret[SECRET_BYTES] = {[31] = 5};
    uint32_t handle, other;
    struct held_key held[2], none;
    require(arena_import(&handle, secret) == ARENA_OK, "a key is imported");
    const uint32_t twice[2] = {handle, handle};
    arena_hold(held, twice, 2);
    require(held[0].scalar != NULL && held[0].scalar == held[1].scalar, "a key can be held twice");
    require(arena_remove(handle) && !arena_remove(handle), "a key is removed once");
    require(arena_key_count() == 0, "a removed key does not count");
    arena_hold(&none, &handle, 1);
    require(none.scalar == NULL, "a removed key cannot be held any more");
    require(held[0].scalar->b[0] == 5, "a key in use stays");
    require(arena_import(&other, secret) == ARENA_OK, "another key is imported");
    require((other ^ handle) << (32 - ARENA_SLOT_BITS) != 0, "a slot in use is not given away");
    arena_release(&held[0], 1);
    require(held[1].scalar->b[0] == 5, "a key stays until its last user is done");
    arena_release(&held[1], 1);
    arena_release(&none, 1);
    require(is_zero(held[1].scalar, sizeof *held[1].scalar), "then it is zeroised");
    arena_hold(held, &other, 1);
    arena_remove_all();
    require(held[0].scalar->b[0] == 5, "a key in use survives the removal of all");
    arena_release(held, 1);
    require(is_zero(held[0].scalar, sizeof *held[0].scalar), "until it is released");
}

/** A slot serves as often as it has generations; the arena holds what it promises, then refuses. */
static void check_capacity(void)
{
    uint8_t secret[SECRET_BYTES] = {[31] = 9};
    uint32_t handle, first, last = 0;
    for (unsigned i = 0; i < 3 * ARENA_GENERATION_MAX; i++) {
        require(arena_import(&handle, secret) == ARENA_OK, "a key is imported");
        require(handle != 0 && handle != last, "handles differ");
        last = handle;
        require(arena_remove(handle), "a key is removed");
    }
    require(arena_import(&first, secret) == ARENA_OK, "a key is imported");
    enum arena_result result;
    while ((result = arena_import(&handle, secret)) == ARENA_OK);
    require(result == ARENA_FULL, "a full arena says so");
    require(arena_key_count() > ARENA_SLOTS_MAX - 8, "only used-up slots are missing");
    require(arena_remove(first) && arena_import(&handle, secret) == ARENA_OK, "a removed key makes room");
    arena_remove_all();
    require(arena_key_count() == 0, "all keys are removed");
}

int main(int argc, char **argv)
{
    require(argc == 2, "expected a seed");
    state = strtoull(argv[1], NULL, 16) | 1;
    check_multiply();
    check_exceptional();
    check_removal();
    check_capacity();
    return 0;
}
