/**
 * Adds and doubles many points of G2 in affine coordinates for the price of one field inversion.
 *
 * The textbook formulas for affine points (chord and tangent) cost one inversion each, which is why nobody uses them
 * for a single point. Montgomery's trick inverts a whole list with one inversion and three multiplications an element,
 * so that an addition costs 5M + 1S in Fp2 instead of 8M + 5S of blst's own addition, which must also expect a
 * doubling.
 *
 * Constant time: the same field operations on the same addresses, whatever the points are.
 *
 * What it does NOT do: the exceptional cases. No input may be the point at infinity (the caller makes sure), and where
 * the two points of a pair have the same x (equal or opposite), the result is meaningless and `faulty` says so.
 */

#ifndef TESTUDO_AFFINE_BATCH_H
#define TESTUDO_AFFINE_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "blst.h"

/** Working memory for one element of a batch. Depends on the points: wipe it when they are secret. */
struct inversion {
    blst_fp2 denominator;
    /** Product of all denominators before this one. */
    blst_fp2 before;
};

/** Where faults are kept: `masks[i % period]` becomes all ones when element i was exceptional. */
struct faults {
    uint64_t *masks;
    size_t period;
};

/** sums[i] += addends[i]. The arrays may not overlap. `scratch` has room for `count` elements. */
void affine_add(blst_p2_affine *sums, const blst_p2_affine *addends, size_t count, struct inversion *scratch,
                struct faults faults);

/** points[i] *= 2. A point of order 2 (there is none in G2) would be faulty. */
void affine_double(blst_p2_affine *points, size_t count, struct inversion *scratch, struct faults faults);

#endif
