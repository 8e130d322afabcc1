/** Adds and doubles many affine points of G2 with one inversion. Contract and limits: `affine_batch.h`. */

#include "affine_batch.h"

#include "constant_time.h"
#include "wipe.h"

#define FP_LIMBS (sizeof(((blst_fp *)0)->l) / sizeof(limb_t))

/** All ones when `value` is zero: blst keeps field elements fully reduced, so zero has one representation. */
static uint64_t mask_if_fp2_zero(const blst_fp2 *value)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < FP_LIMBS; i++) bits |= value->fp[0].l[i] | value->fp[1].l[i];
    return mask_if_zero(bits);
}

/**
 * First half of Montgomery's trick: fills `before` and inverts the product of all. A zero denominator would make the
 * whole batch zero, so it is replaced by a number that can be inverted, and its owner marked as faulty.
 */
static void begin_inversions(blst_fp2 *inverse, struct inversion *scratch, size_t count, struct faults faults)
{
    blst_fp2 product;
    for (size_t i = 0, owner = 0; i < count; i++) {
        blst_fp2 *denominator = &scratch[i].denominator;
        uint64_t zero = mask_if_fp2_zero(denominator);
        denominator->fp[0].l[0] |= zero & 1;
        faults.masks[owner] |= zero;
        owner = owner + 1 == faults.period ? 0 : owner + 1;
        if (i == 0) {
            product = *denominator;
        } else {
            scratch[i].before = product;
            blst_fp2_mul(&product, &product, denominator);
        }
    }
    blst_fp2_inverse(inverse, &product);
    wipe(&product, sizeof product);
}

/** Second half, from the last element to the first: turns the inverse of all products so far into that of element i. */
static void next_inversion(blst_fp2 *result, blst_fp2 *inverse, const struct inversion *scratch, size_t i)
{
    if (i == 0) {
        *result = *inverse;
    } else {
        blst_fp2_mul(result, inverse, &scratch[i].before);
        blst_fp2_mul(inverse, inverse, &scratch[i].denominator);
    }
}

void affine_add(blst_p2_affine *sums, const blst_p2_affine *addends, size_t count, struct inversion *scratch,
                struct faults faults)
{
    blst_fp2 inverse, slope, x;
    for (size_t i = 0; i < count; i++) blst_fp2_sub(&scratch[i].denominator, &addends[i].x, &sums[i].x);
    begin_inversions(&inverse, scratch, count, faults);
    for (size_t i = count; i-- > 0;) {
        blst_p2_affine *sum = &sums[i];
        const blst_p2_affine *addend = &addends[i];
        /* slope = (y2 - y1) / (x2 - x1) */
        next_inversion(&slope, &inverse, scratch, i);
        blst_fp2_sub(&x, &addend->y, &sum->y);
        blst_fp2_mul(&slope, &slope, &x);
        /* x3 = slope^2 - x1 - x2 */
        blst_fp2_sqr(&x, &slope);
        blst_fp2_sub(&x, &x, &sum->x);
        blst_fp2_sub(&x, &x, &addend->x);
        /* y3 = slope * (x1 - x3) - y1 */
        blst_fp2_sub(&sum->x, &sum->x, &x);
        blst_fp2_mul(&slope, &slope, &sum->x);
        blst_fp2_sub(&sum->y, &slope, &sum->y);
        sum->x = x;
    }
    wipe(&inverse, sizeof inverse);
    wipe(&slope, sizeof slope);
    wipe(&x, sizeof x);
}

void affine_double(blst_p2_affine *points, size_t count, struct inversion *scratch, struct faults faults)
{
    blst_fp2 inverse, slope, x;
    for (size_t i = 0; i < count; i++) blst_fp2_add(&scratch[i].denominator, &points[i].y, &points[i].y);
    begin_inversions(&inverse, scratch, count, faults);
    for (size_t i = count; i-- > 0;) {
        blst_p2_affine *point = &points[i];
        /* slope = 3 * x^2 / 2y */
        next_inversion(&slope, &inverse, scratch, i);
        blst_fp2_sqr(&x, &point->x);
        blst_fp2_mul_by_3(&x, &x);
        blst_fp2_mul(&slope, &slope, &x);
        /* x3 = slope^2 - 2x */
        blst_fp2_sqr(&x, &slope);
        blst_fp2_sub(&x, &x, &point->x);
        blst_fp2_sub(&x, &x, &point->x);
        /* y3 = slope * (x - x3) - y */
        blst_fp2_sub(&point->x, &point->x, &x);
        blst_fp2_mul(&slope, &slope, &point->x);
        blst_fp2_sub(&point->y, &slope, &point->y);
        point->x = x;
    }
    wipe(&inverse, sizeof inverse);
    wipe(&slope, sizeof slope);
    wipe(&x, sizeof x);
}
