/**
 * Overwrites memory that held a secret, in a way that the compiler may not leave out.
 *
 * What it does NOT do: reach copies that the compiler kept in registers or spilled to the stack by itself.
 */

#ifndef TESTUDO_WIPE_H
#define TESTUDO_WIPE_H

#include <stddef.h>
#include <string.h>

/** Fills `size` bytes with zero. The empty asm reads the memory as far as the compiler knows, so the stores stay. */
static inline void wipe(void *memory, size_t size)
{
    memset(memory, 0, size);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

#endif
