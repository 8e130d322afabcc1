/**
 * Multiplies ONE point by MANY secret scalars: a signed fixed-base comb in affine coordinates, in constant time.
 *
 * Since Electra nearly all attestations of a slot have the same signing root, so the same point H = hash(root) meets
 * thousands of keys. A table of multiples of H, made once, replaces all doublings of a multiplication.
 *
 * Method (Lim and Lee, "More Flexible Exponentiation with Precomputation", CRYPTO '94; digits of +1 and -1 only, after
 * Hedabou, Pinel and Beneteau, "Countermeasures for Preventing Comb Method Against SCA Attacks", ISPEC 2005):
 *
 * 1. Every odd k below 2^N is a sum of N terms, each +2^i or -2^i: bit i of (k >> 1) + 2^(N-1) says which. An even k is
 *    replaced by r - k (r, the order of G2, is odd) and the result negated. No digit is zero, so no case needs a
 *    branch.
 * 2. The N = TEETH x COLUMNS terms are an array of TEETH rows. A column is TEETH signs: one bit decides between a table
 *    entry and its negative, the other TEETH - 1 choose the entry. Entries depend on the column's position, so there is
 *    a table for each BLOCK of STEPS neighbouring columns; the columns of a block are told apart by STEPS - 1
 *    doublings.
 * 3. Entries are found by a linear scan: every entry of the block is read, whatever the scalar is.
 * 4. All chosen entries of a chunk of scalars are added as a tree, level by level, with one inversion a level
 *    (`affine_batch.h`).
 *
 * The exceptional cases of the affine formulas: two partial sums that meet are made of disjoint sets of signed powers
 * of two, so their sum and difference are not zero (look at the lowest power). They can be another multiple of r: in
 * the last addition only, and for two scalars only, 0x1251c3d2e247d5f9da85897c85fdb572f8ec22c0573fd02c5555542daaaaabd3
 * and its negative, as `exceptional-scalars.test.ts` shows by trying all multiples in all additions. `faulty` is set
 * for those two, and the caller uses another way.
 *
 * What it does NOT do: hash, look after tables, or check scalars, which must be in 1 .. r-1.
 */

#ifndef TESTUDO_COMB_H
#define TESTUDO_COMB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "affine_batch.h"
#include "blst.h"

/**
 * Measured for 5 to 8 teeth and 1, 2 or 4 steps: us a signature over 100 / 2,000 keys of one root, the table included.
 * 6 teeth: 43 blocks x 1 step 38 / 28, 22 x 2 36 / 29, 11 x 4 35 / 31; 5 teeth: 51 x 1 38 / 31, 26 x 2 36 / 31; 7
 * teeth: 19 x 2 40 / 31; 8 teeth: 16 x 2 48 / 35, where the scans outweigh the additions. (Before `scan` was unrolled:
 * now 34 / 27.)
 */
enum {
    COMB_TEETH = 6,
    COMB_BLOCKS = 22,
    COMB_STEPS = 2,
    COMB_COLUMNS = COMB_BLOCKS * COMB_STEPS,
    COMB_BITS = COMB_TEETH * COMB_COLUMNS,
    COMB_ENTRIES = 1 << (COMB_TEETH - 1),
};

/** Scalars multiplied at a time: enough to share an inversion, few enough for the work to stay in the L2 cache. */
enum { COMB_CHUNK = 16 };

_Static_assert(COMB_BITS >= 255, "the order of G2 has 255 bits");

/** Multiples of one point. Public: the point is the hash of a message that whoever asked for a signature knows. */
struct comb_table {
    _Alignas(64) blst_p2_affine entries[COMB_BLOCKS][COMB_ENTRIES];
};

/** Working memory of a multiplication, which leaves it wiped. */
struct comb_workspace {
    /** Chosen entries: for each block, for each step, one for each scalar. */
    _Alignas(64) blst_p2_affine points[COMB_BLOCKS * COMB_STEPS * COMB_CHUNK];
    /** The first level of the tree adds one half of the blocks to the other. */
    struct inversion inversions[(COMB_BLOCKS / 2) * COMB_STEPS * COMB_CHUNK];
    uint64_t faulty[COMB_STEPS * COMB_CHUNK];
};

/**
 * Fills a table with multiples of `base`, a point of order r. Not secret, not constant time.
 * False, and the table unusable, when memory is short or `base` is not such a point.
 */
bool comb_build(struct comb_table *table, const blst_p2_affine *base);

/**
 * results[i] = scalars[i] * base, for 1 .. COMB_CHUNK scalars. Where `faulty[i]` is not zero, the result is
 * meaningless.
 */
void comb_multiply(blst_p2_affine *results, uint64_t *faulty, const blst_scalar *const *scalars, size_t count,
                   const struct comb_table *table, struct comb_workspace *workspace);

#endif
