/** One point times secret scalars. Contract: `multiply.h`. */

#include "multiply.h"

#include "wipe.h"

/** Length of the order of G2. blst takes the faster way by an endomorphism from 144 bits on. */
enum { SCALAR_BITS = 255 };

/** Not inlined, so that the constant-time check accepts the range check of `blst_p2_mult` here and nowhere else. */
__attribute__((noinline)) void multiply_alone(blst_p2 *product, const blst_p2 *base, const blst_scalar *scalar)
{
    blst_p2_mult(product, base, scalar->b, SCALAR_BITS);
    /* Not a jump at the end, which would leave this function out of the check's stack traces. */
    __asm__ __volatile__("" : : "r"(product) : "memory");
}

void multiply_finish(blst_p2_affine *results, blst_p2 *products, size_t count)
{
    const blst_p2 *points[MULTIPLY_CHUNK];
    for (size_t i = 0; i < count; i++) points[i] = &products[i];
    blst_p2s_to_affine(results, points, count);
    wipe(products, count * sizeof *products);
}

static void multiply_by_blst(blst_p2_affine *results, const blst_p2 *base, const blst_scalar *const *scalars,
                             size_t count, struct multiply_workspace *workspace)
{
    for (size_t i = 0; i < count; i++) multiply_alone(&workspace->products[i], base, scalars[i]);
    multiply_finish(results, workspace->products, count);
}

/**
 * The one decision that depends on a scalar: whether it is one of the two that the comb cannot do (`comb.h`). Not
 * inlined, so that the constant-time check can accept this branch and no other.
 */
__attribute__((noinline)) static void redo_if_exceptional(blst_p2_affine *result, uint64_t exceptional,
                                                          const blst_p2 *base, const blst_scalar *scalar,
                                                          struct multiply_workspace *workspace)
{
    if (exceptional != 0) multiply_by_blst(result, base, &scalar, 1, workspace);
}

void multiply(blst_p2_affine *results, const blst_p2 *base, const struct comb_table *table,
              const blst_scalar *const *scalars, size_t count, struct multiply_workspace *workspace)
{
    if (table == NULL) {
        multiply_by_blst(results, base, scalars, count, workspace);
        return;
    }
    comb_multiply(results, workspace->exceptional, scalars, count, table, &workspace->comb);
    for (size_t i = 0; i < count; i++) {
        redo_if_exceptional(&results[i], workspace->exceptional[i], base, scalars[i], workspace);
    }
}
