/** What is remembered about signing roots. Contract: `roots.h`. */

#include "roots.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/** The proof-of-possession scheme's tag, which Ethereum uses (draft-irtf-cfrg-bls-signature-05, section 4.2.3). */
static const uint8_t DST[] = "BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/** A table and who holds it: the cache and every running use, one each. */
struct shared_table {
    struct comb_table table;
    size_t holders;
};

struct entry {
    uint8_t root[ROOT_BYTES];
    /** Jacobian, as hashing leaves it: most roots are used once, and an inversion is a twentieth of a multiplication. */
    blst_p2 hash;
    struct shared_table *table;
    /** Signatures since the root came, or since its last table: what a table would have served. */
    uint64_t signatures;
    /** 0: the entry is empty. */
    uint64_t last_used;
    /** A thread is building the table. */
    bool building;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct entry entries[ROOTS_MAX];
static uint64_t uses;
static uint64_t hash_count;
static uint64_t table_count;

/** The functions up to `publish_table` are called with the mutex held. */
static struct entry *find(const uint8_t root[ROOT_BYTES])
{
    for (size_t i = 0; i < ROOTS_MAX; i++) {
        if (entries[i].last_used != 0 && memcmp(entries[i].root, root, ROOT_BYTES) == 0) return &entries[i];
    }
    return NULL;
}

static void let_go(struct shared_table *table)
{
    if (table != NULL && --table->holders == 0) free(table);
}

static struct entry *insert(const uint8_t root[ROOT_BYTES], const blst_p2 *hash)
{
    struct entry *oldest = &entries[0];
    for (size_t i = 1; i < ROOTS_MAX; i++) {
        if (entries[i].last_used < oldest->last_used) oldest = &entries[i];
    }
    let_go(oldest->table);
    *oldest = (struct entry){.hash = *hash};
    memcpy(oldest->root, root, ROOT_BYTES);
    return oldest;
}

/** Counts a use of a root. True when the caller is to build its table. */
static bool touch(struct entry *entry, struct root_use *use, size_t count, size_t expected)
{
    entry->last_used = ++uses;
    entry->signatures += count;
    use->hash = entry->hash;
    if (entry->table != NULL) {
        use->shared = entry->table;
        use->shared->holders += 1;
        return false;
    }
    if (entry->building || entry->signatures + expected < TABLE_SIGNATURES_MIN) return false;
    entry->building = true;
    return true;
}

/** Makes room for one more table. */
static void drop_oldest_table(void)
{
    struct entry *oldest = NULL;
    size_t tables = 0;
    for (size_t i = 0; i < ROOTS_MAX; i++) {
        if (entries[i].table == NULL) continue;
        tables += 1;
        if (oldest == NULL || entries[i].last_used < oldest->last_used) oldest = &entries[i];
    }
    if (tables < TABLES_MAX) return;
    let_go(oldest->table);
    oldest->table = NULL;
}

/** `table` is NULL when building failed. */
static void publish_table(struct entry *entry, struct shared_table *table)
{
    entry->building = false;
    /* Counted anew: were the table dropped, only as many signatures again would justify another. */
    entry->signatures = 0;
    if (table == NULL || entry->table != NULL) return;
    drop_oldest_table();
    entry->table = table;
    table->holders += 1;
}

static struct shared_table *build_table(const blst_p2 *hash)
{
    void *memory;
    blst_p2_affine base;
    if (posix_memalign(&memory, _Alignof(struct shared_table), sizeof(struct shared_table)) != 0) return NULL;
    struct shared_table *table = memory;
    table->holders = 1;
    blst_p2_to_affine(&base, hash);
    if (comb_build(&table->table, &base)) return table;
    free(table);
    return NULL;
}

void roots_begin(struct root_use *use, const uint8_t root[ROOT_BYTES], size_t count, size_t expected)
{
    *use = (struct root_use){.hash_cached = true};
    pthread_mutex_lock(&mutex);
    struct entry *entry = find(root);
    if (entry == NULL) {
        blst_p2 hash;
        pthread_mutex_unlock(&mutex);
        blst_hash_to_g2(&hash, root, ROOT_BYTES, DST, sizeof DST - 1, NULL, 0);
        pthread_mutex_lock(&mutex);
        use->hash_cached = false;
        hash_count += 1;
        entry = find(root); /* another thread may have been quicker */
        if (entry == NULL) entry = insert(root, &hash);
    }
    bool build = touch(entry, use, count, expected);
    pthread_mutex_unlock(&mutex);

    if (build) {
        use->shared = build_table(&use->hash);
        use->table_built = use->shared != NULL;
        pthread_mutex_lock(&mutex);
        if (use->table_built) table_count += 1;
        entry = find(root); /* it may have been dropped meanwhile */
        if (entry != NULL) publish_table(entry, use->shared);
        pthread_mutex_unlock(&mutex);
    }
    use->table = use->shared == NULL ? NULL : &use->shared->table;
}

void roots_end(struct root_use *use)
{
    pthread_mutex_lock(&mutex);
    let_go(use->shared);
    pthread_mutex_unlock(&mutex);
    use->shared = NULL;
    use->table = NULL;
}

void roots_forget(void)
{
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < ROOTS_MAX; i++) let_go(entries[i].table);
    memset(entries, 0, sizeof entries);
    pthread_mutex_unlock(&mutex);
}

void roots_counts(uint64_t *hashes, uint64_t *tables)
{
    pthread_mutex_lock(&mutex);
    *hashes = hash_count;
    *tables = table_count;
    pthread_mutex_unlock(&mutex);
}
