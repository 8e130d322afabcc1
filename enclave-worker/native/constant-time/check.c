/**
 * Shows valgrind which bits are secret, and runs every way in which secrets are used. memcheck follows undefined bits
 * through all computations and reports each branch and each address that depends on one; "undefined" here means secret.
 *
 * It looks at the machine code as compiled for production, blst's assembly included, so it also sees what the compiler
 * made of our masks. `accepted.supp` lists the reports that are known and why they are harmless.
 *
 *   valgrind --error-exitcode=9 --suppressions=accepted.supp ./check <blst|comb|import>
 *
 * What it does NOT show: instructions whose own time depends on their operands (none of those in use are known to on
 * current x86-64 and arm64), power or radiation, and processors that valgrind does not report as (it may hide ADX, and
 * blst then takes its other multiplication).
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "arena.h"
#include "multiply.h"
#include "wipe.h"

enum { COUNT = 3 };

/** Odd, even, and exceptional for the comb. */
static const uint8_t SECRETS[COUNT][SECRET_BYTES] = {
    {0x26, 0x3d, 0xbd, 0x79, 0x2f, 0x5b, 0x1b, 0xe4, 0x7e, 0xd8, 0x5f, 0x89, 0x38, 0xc0, 0xf2, 0x95,
     0x86, 0xaf, 0x0d, 0x3a, 0xc7, 0xb9, 0x77, 0xf2, 0x1c, 0x27, 0x8f, 0xe1, 0x46, 0x20, 0x40, 0xe3},
    {0x47, 0xb8, 0x19, 0x2d, 0x77, 0xbf, 0x87, 0x1b, 0x62, 0xe8, 0x78, 0x59, 0xd6, 0x53, 0x92, 0x27,
     0x25, 0x72, 0x4a, 0x5c, 0x03, 0x1a, 0xfe, 0xab, 0xc6, 0x0b, 0xce, 0xf5, 0xff, 0x66, 0x51, 0x38},
    {0x12, 0x51, 0xc3, 0xd2, 0xe2, 0x47, 0xd5, 0xf9, 0xda, 0x85, 0x89, 0x7c, 0x85, 0xfd, 0xb5, 0x72,
     0xf8, 0xec, 0x22, 0xc0, 0x57, 0x3f, 0xd0, 0x2c, 0x55, 0x55, 0x54, 0x2d, 0xaa, 0xaa, 0xab, 0xd3},
};

static void *allocate(size_t alignment, size_t size)
{
    void *memory;
    if (posix_memalign(&memory, alignment, size) != 0) abort();
    return memory;
}

/** Ends the program when a result is wrong: a check of code that does nothing would find nothing. */
static void require(bool condition, const char *what)
{
    if (condition) return;
    fprintf(stderr, "constant-time check: %s\n", what);
    exit(1);
}

static void check_multiply(bool with_table)
{
    static const uint8_t dst[] = "constant-time check";
    blst_p2 point, product;
    blst_p2_affine base, expected[COUNT], results[COUNT];
    blst_scalar secrets[COUNT];
    const blst_scalar *scalars[COUNT];
    struct comb_table *table = with_table ? allocate(_Alignof(struct comb_table), sizeof *table) : NULL;
    struct multiply_workspace *workspace = allocate(_Alignof(struct multiply_workspace), sizeof *workspace);

    blst_hash_to_g2(&point, SECRETS[0], SECRET_BYTES, dst, sizeof dst - 1, NULL, 0);
    blst_p2_to_affine(&base, &point);
    require(table == NULL || comb_build(table, &base), "no table");
    for (size_t i = 0; i < COUNT; i++) {
        blst_scalar_from_bendian(&secrets[i], SECRETS[i]);
        blst_p2_mult(&product, &point, secrets[i].b, 255);
        blst_p2_to_affine(&expected[i], &product);
        scalars[i] = &secrets[i];
    }

    VALGRIND_MAKE_MEM_UNDEFINED(secrets, sizeof secrets);
    multiply(results, &point, table, scalars, COUNT, workspace);
    /* A signature is public. */
    VALGRIND_MAKE_MEM_DEFINED(results, sizeof results);

    for (size_t i = 0; i < COUNT; i++) {
        require(blst_p2_affine_is_equal(&results[i], &expected[i]), "wrong result");
    }
    free(workspace);
    free(table);
}

static void check_import(void)
{
    uint8_t secret[SECRET_BYTES];
    uint32_t handles[COUNT];
    struct held_key held[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        memcpy(secret, SECRETS[i], SECRET_BYTES);
        VALGRIND_MAKE_MEM_UNDEFINED(secret, SECRET_BYTES);
        enum arena_result result = arena_import(&handles[i], secret);
        wipe(secret, SECRET_BYTES);
        require(result == ARENA_OK, "key refused");
    }
    arena_hold(held, handles, COUNT);
    require(arena_remove(handles[0]), "key not removed");
    arena_release(held, COUNT);
    arena_remove_all();
    require(arena_key_count() == 0, "keys left");
}

int main(int argc, char **argv)
{
    const char *what = argc == 2 ? argv[1] : "";
    if (strcmp(what, "blst") == 0) check_multiply(false);
    else if (strcmp(what, "comb") == 0) check_multiply(true);
    else if (strcmp(what, "import") == 0) check_import();
    else require(false, "expected blst, comb or import");
    return 0;
}
