/**
 * What is remembered about signing roots: their hash to the curve, and for busy ones a comb table.
 *
 * Shared by all threads. Hashing and table building happen outside of the lock; two threads that meet a new root at
 * once may both hash it. A table is built by one thread while others with the same root go on without. A table that
 * falls out of the cache lives until its last user is done.
 *
 * Bounded: ROOTS_MAX hashes (22 KiB), TABLES_MAX tables (132 KiB each) plus one a thread at most; the least recently
 * used goes first. Holds nothing secret.
 *
 * What it does NOT do: take a hash from outside. A point that is not the hash of a message would be signed all the
 * same.
 */

#ifndef TESTUDO_ROOTS_H
#define TESTUDO_ROOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blst.h"
#include "comb.h"

enum {
    ROOT_BYTES = 32,
    /** A slot has a handful of shared roots; 64 leave room for the ones that are used once in between. */
    ROOTS_MAX = 64,
    /** Attestations of a slot (two when heads differ), sync committee messages, selection proofs. */
    TABLES_MAX = 4,
    /**
     * Signatures from which a table pays: it costs 670 us, and a signature 27 us with it and 126 us without, so 6.8
     * (README.md says how they are measured).
     */
    TABLE_SIGNATURES_MIN = 8,
};

struct shared_table;

/** A root in use, until `roots_end`. */
struct root_use {
    blst_p2 hash;
    /** NULL: none. */
    const struct comb_table *table;
    /** The hash was known before. */
    bool hash_cached;
    /** This use built the table. */
    bool table_built;
    struct shared_table *shared;
};

/**
 * Looks up, hashes and builds what is needed to sign a root `count` times now, when the caller expects `expected` more
 * later. Lack of memory means no table.
 */
void roots_begin(struct root_use *use, const uint8_t root[ROOT_BYTES], size_t count, size_t expected);

/** Ends a use. */
void roots_end(struct root_use *use);

/** Forgets all roots. */
void roots_forget(void);

/** Hashes computed and tables built by this process. */
void roots_counts(uint64_t *hashes, uint64_t *tables);

#endif
