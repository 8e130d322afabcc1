/** The secret half of the comb: chooses table entries by the bits of scalars, and adds them. Method: `comb.h`. */

#include "comb.h"
#include "constant_time.h"
#include "wipe.h"

#define LIMBS ((COMB_BITS + 63) / 64)

/** Order of G1 and G2, least significant limb first (draft-irtf-cfrg-pairing-friendly-curves, section 4.2.1). */
static const uint64_t ORDER[4] = {0xffffffff00000001, 0x53bda402fffe5bfe, 0x3339d80809a1d805, 0x73eda753299d7d48};

/** A scalar as signs: bit i is set for +2^i, clear for -2^i. `negate` is all ones when the result is to be negated. */
struct signs {
    uint64_t bits[LIMBS];
    uint64_t negate;
};

static void load_limbs(uint64_t limbs[4], const blst_scalar *scalar)
{
    for (size_t i = 0; i < 4; i++) {
        limbs[i] = 0;
        for (size_t j = 0; j < 8; j++) limbs[i] |= (uint64_t)scalar->b[8 * i + j] << (8 * j);
    }
}

/** ORDER - k: borrows are arithmetic on 64-bit words, not comparisons that could become branches. */
static void subtract_from_order(uint64_t result[4], const uint64_t k[4])
{
    uint64_t borrow = 0;
    for (size_t i = 0; i < 4; i++) {
        uint64_t difference = ORDER[i] - k[i];
        uint64_t borrowed = (~ORDER[i] & k[i]) | (~(ORDER[i] ^ k[i]) & difference);
        result[i] = difference - borrow;
        borrow = (borrowed | (~difference & result[i])) >> 63 & 1;
    }
}

static void recode(struct signs *signs, const blst_scalar *scalar)
{
    uint64_t k[4], negative[4];
    load_limbs(k, scalar);
    subtract_from_order(negative, k);
    signs->negate = opaque((k[0] & 1) - 1);
    for (size_t i = 0; i < 4; i++) k[i] = (negative[i] & signs->negate) | (k[i] & ~signs->negate);
    /* (k >> 1) + 2^(N-1), where k >> 1 is below 2^254 */
    for (size_t i = 0; i < LIMBS; i++) signs->bits[i] = 0;
    for (size_t i = 0; i < 4; i++) signs->bits[i] = (k[i] >> 1) | (i < 3 ? k[i + 1] << 63 : 0);
    signs->bits[(COMB_BITS - 1) / 64] |= (uint64_t)1 << ((COMB_BITS - 1) % 64);
    wipe(k, sizeof k);
    wipe(negative, sizeof negative);
}

static uint64_t sign_at(const struct signs *signs, size_t position)
{
    return signs->bits[position / 64] >> (position % 64) & 1;
}

/** 16 bytes, which SSE2 and NEON handle in one step and every supported machine has. */
typedef uint64_t lanes __attribute__((vector_size(16), may_alias));

enum { ENTRY_LANES = sizeof(blst_p2_affine) / sizeof(lanes) };

/* Unrolled, the accumulators of `scan` stay in registers: 4 us of 29 a signature. clang does so by itself. */
#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif

/** Copies entry number `wanted`, a secret, by reading all of them. */
static void scan(blst_p2_affine *chosen, const blst_p2_affine entries[COMB_ENTRIES], uint64_t wanted)
{
    lanes found[ENTRY_LANES] = {{0}};
    for (uint64_t number = 0; number < COMB_ENTRIES; number++) {
        const lanes *entry = (const lanes *)&entries[number];
        uint64_t mask = mask_if_equal(number, wanted);
        lanes both = {mask, mask};
        UNROLL
        for (size_t i = 0; i < ENTRY_LANES; i++) found[i] |= entry[i] & both;
    }
    memcpy(chosen, found, sizeof found);
    wipe(found, sizeof found);
}

/** The point for one column: the entry that its lower signs, relative to its highest, name; negated if that is -. */
static void choose(blst_p2_affine *chosen, const struct comb_table *table, const struct signs *signs, size_t column)
{
    uint64_t negative = sign_at(signs, (COMB_TEETH - 1) * COMB_COLUMNS + column) - 1;
    uint64_t pattern = 0;
    for (size_t tooth = 0; tooth < COMB_TEETH - 1; tooth++) {
        pattern |= sign_at(signs, tooth * COMB_COLUMNS + column) << tooth;
    }
    scan(chosen, table->entries[column / COMB_STEPS], (pattern ^ negative) & (COMB_ENTRIES - 1));
    blst_fp2_cneg(&chosen->y, &chosen->y, (negative ^ signs->negate) & 1);
}

/** Adds up `rows` rows of `width` points each into the first, halving the rows level by level. */
static void add_rows(struct comb_workspace *workspace, size_t rows, size_t width)
{
    struct faults faults = {workspace->faulty, width};
    while (rows > 1) {
        size_t half = rows / 2;
        size_t kept = rows - half;
        affine_add(workspace->points, workspace->points + kept * width, half * width, workspace->inversions, faults);
        rows = kept;
    }
}

void comb_multiply(blst_p2_affine *results, uint64_t *faulty, const blst_scalar *const *scalars, size_t count,
                   const struct comb_table *table, struct comb_workspace *workspace)
{
    struct signs signs[COMB_CHUNK];
    size_t width = COMB_STEPS * count;
    for (size_t i = 0; i < count; i++) recode(&signs[i], scalars[i]);
    /* Block by block, so that a block's entries stay in the first-level cache for all scalars. */
    for (size_t column = 0; column < COMB_COLUMNS; column++) {
        for (size_t i = 0; i < count; i++) {
            choose(&workspace->points[column * count + i], table, &signs[i], column);
        }
    }
    wipe(signs, sizeof signs);

    memset(workspace->faulty, 0, sizeof workspace->faulty);
    add_rows(workspace, COMB_BLOCKS, width);

    /* Row 0 now holds a sum for each step: combine them by doubling, from the last step to the first. */
    struct faults faults = {faulty, count};
    memset(faulty, 0, count * sizeof *faulty);
    memcpy(results, workspace->points + (COMB_STEPS - 1) * count, count * sizeof *results);
    for (size_t step = COMB_STEPS - 1; step-- > 0;) {
        affine_double(results, count, workspace->inversions, faults);
        affine_add(results, workspace->points + step * count, count, workspace->inversions, faults);
    }
    for (size_t i = 0; i < width; i++) faulty[i % count] |= workspace->faulty[i];

    /* Only what this many scalars used: wiping all 200 KiB would cost a lone signature a tenth of its time. */
    wipe(workspace->points, COMB_BLOCKS * width * sizeof *workspace->points);
    wipe(workspace->inversions, COMB_BLOCKS / 2 * width * sizeof *workspace->inversions);
}
