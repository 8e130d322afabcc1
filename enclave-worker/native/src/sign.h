/**
 * Signatures of one message under many keys: BLS, minimal public keys, proof-of-possession scheme
 * (draft-irtf-cfrg-bls-signature-05), as the consensus specs' `bls.Sign` of a signing root.
 *
 * What it does NOT do: decide whether anything may be signed.
 */

#ifndef TESTUDO_SIGN_H
#define TESTUDO_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "roots.h"

enum { SIGNATURE_BYTES = 96, GROUP_MAX = 1024 };

/** How a group was signed: bits of `sign_group`'s answer. */
enum { PATH_HASH_CACHED = 1, PATH_TABLE_USED = 2, PATH_TABLE_BUILT = 4 };

/** `sign_group`'s answer when memory is short; nothing was signed then. */
enum { SIGN_NO_MEMORY = -1 };

/**
 * Writes `count` (1 .. GROUP_MAX) compressed signatures, zero bytes where a handle names no key. `expected`: signatures
 * of the same root that will be asked for soon. Safe to call from many threads.
 */
int sign_group(uint8_t *signatures, const uint8_t root[ROOT_BYTES], const uint32_t *handles, size_t count,
               size_t expected);

/**
 * Writes `count` (1 .. GROUP_MAX) compressed signatures, the n-th of the n-th 32 bytes of `roots` under the n-th handle;
 * zero bytes where that names no key. For roots that are signed once: they share nothing but the last inversion. A root
 * that has a table is signed with it. The memory of the arguments must not overlap. 0, or SIGN_NO_MEMORY.
 */
int sign_each(uint8_t *signatures, const uint8_t *roots, const uint32_t *handles, size_t count);

#endif
