/**
 * One point times secret scalars, by the comb when there is a table, else by blst's own multiplication.
 *
 * Both ways are constant time in the scalars and end in affine coordinates, which say nothing about the scalar beyond
 * the result itself (a Jacobian Z would).
 */

#ifndef TESTUDO_MULTIPLY_H
#define TESTUDO_MULTIPLY_H

#include <stddef.h>

#include "blst.h"
#include "comb.h"

/** Scalars that share the inversion of one conversion to affine coordinates: 2 us among 16 is noise beside 126 each. */
enum { MULTIPLY_CHUNK = COMB_CHUNK };

/** Working memory of a multiplication, which leaves it wiped. */
struct multiply_workspace {
    struct comb_workspace comb;
    blst_p2 products[MULTIPLY_CHUNK];
    uint64_t exceptional[MULTIPLY_CHUNK];
};

/**
 * results[i] = scalars[i] * base for 1 .. MULTIPLY_CHUNK scalars in 1 .. r-1 and a base of order r.
 * `table` is the base's, or NULL.
 */
void multiply(blst_p2_affine *results, const blst_p2 *base, const struct comb_table *table,
              const blst_scalar *const *scalars, size_t count, struct multiply_workspace *workspace);

/** product = scalar * base, for a scalar in 1 .. r-1 and a base of order r. Jacobian: not to be shown to anybody. */
void multiply_alone(blst_p2 *product, const blst_p2 *base, const blst_scalar *scalar);

/** Brings 1 .. MULTIPLY_CHUNK products, none of them infinity, to affine coordinates, and wipes them. */
void multiply_finish(blst_p2_affine *results, blst_p2 *products, size_t count);

#endif
