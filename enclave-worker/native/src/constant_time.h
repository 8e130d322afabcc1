/**
 * Masks instead of branches: 64 bits that are all ones for "yes" and all zero for "no".
 *
 * `opaque` hides a value's origin from the compiler, which could otherwise notice that a mask has two values only and
 * turn the code that uses it into a branch. `constant-time/check.c` looks at the machine code that came of it.
 */

#ifndef TESTUDO_CONSTANT_TIME_H
#define TESTUDO_CONSTANT_TIME_H

#include <stdint.h>

/** The same value; the compiler may conclude nothing from how it was made. */
static inline uint64_t opaque(uint64_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

/** All ones when `value` is zero. */
static inline uint64_t mask_if_zero(uint64_t value)
{
    return opaque(((value | (0 - value)) >> 63) - 1);
}

/** All ones when the two are equal. */
static inline uint64_t mask_if_equal(uint64_t a, uint64_t b)
{
    return mask_if_zero(a ^ b);
}

#endif
