/**
 * The secret keys of this process: locked memory, and handles that name a key in it.
 *
 * One arena for all threads. A handle is a number that JavaScript may copy as it likes: the lower bits are a slot, the
 * upper ones the slot's generation, which moves with every removal. A stale handle therefore names nothing, never
 * another key: a signature under the wrong key would slip past that key's slashing protection. When a slot's
 * generations are used up, the slot is not used again.
 *
 * Memory: outside of V8's heap; locked (not swapped) where the limits of the process allow it, left out of core dumps
 * and of forked children where the system can do that. A key is zeroised when it was removed and its last user is done.
 *
 * What it does NOT do: know public keys, or protect against code that runs in this process.
 */

#ifndef TESTUDO_ARENA_H
#define TESTUDO_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blst.h"

enum {
    SECRET_BYTES = 32,
    ARENA_SLOT_BITS = 20,
    /** 1,048,576: the next power of two above KEYS_MAX of protocol/limits.ts. */
    ARENA_SLOTS_MAX = 1 << ARENA_SLOT_BITS,
    /** Generations 1 to 4,095; none is 0, so that no handle is 0. */
    ARENA_GENERATION_MAX = (1 << (32 - ARENA_SLOT_BITS)) - 1,
};

enum arena_result { ARENA_OK, ARENA_BAD_KEY, ARENA_FULL, ARENA_NO_MEMORY };

/** A key in use: its scalar stays where it is until it is released. */
struct held_key {
    /** NULL when the handle names no key. */
    const blst_scalar *scalar;
    uint32_t slot;
};

/** Takes in a secret key (big-endian, 1 .. r-1). The caller wipes its own copy. */
enum arena_result arena_import(uint32_t *handle, const uint8_t secret[SECRET_BYTES]);

/** Forgets a key: from now on the handle names nothing. False when it named nothing before. */
bool arena_remove(uint32_t handle);

/** Forgets all keys. */
void arena_remove_all(void);

/** Takes keys into use. Every held key must be released. */
void arena_hold(struct held_key *held, const uint32_t *handles, size_t count);

/** Ends the use of what `arena_hold` filled in. */
void arena_release(const struct held_key *held, size_t count);

/** Keys that handles name now. */
uint32_t arena_key_count(void);

/** True when all memory that ever held a key is locked; false when there is none yet. */
bool arena_is_locked(void);

#endif
