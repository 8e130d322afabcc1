/** The secret keys of this process. Contract: `arena.h`. One mutex guards everything; nothing is computed under it. */

#include "arena.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "wipe.h"

/** Slots that are added at a time: 128 KiB of secrets, a whole number of pages on every system. */
enum { CHUNK_SLOTS = 4096, CHUNKS_MAX = ARENA_SLOTS_MAX / CHUNK_SLOTS };

#define NO_SLOT UINT32_MAX

/** What is known about a slot beside its secret. */
struct slot {
    uint32_t users;
    /** Next in the list of free slots. */
    uint32_t next_free;
    uint16_t generation;
    /** A handle names it. */
    bool named;
};

struct chunk {
    blst_scalar *secrets;
    struct slot *slots;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct chunk chunks[CHUNKS_MAX];
static uint32_t slots_used;
static uint32_t first_free = NO_SLOT;
static uint32_t key_count;
static uint32_t chunks_unlocked;

static struct slot *slot_at(uint32_t number)
{
    return &chunks[number / CHUNK_SLOTS].slots[number % CHUNK_SLOTS];
}

static blst_scalar *secret_at(uint32_t number)
{
    return &chunks[number / CHUNK_SLOTS].secrets[number % CHUNK_SLOTS];
}

/** Memory for secrets, or NULL. Locking is tried only: RLIMIT_MEMLOCK is often small, and `stats` tells. */
static void *map_secrets(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (mlock(memory, size) != 0) chunks_unlocked += 1;
#ifdef MADV_DONTDUMP
    (void)madvise(memory, size, MADV_DONTDUMP);
#endif
#ifdef MADV_DONTFORK
    (void)madvise(memory, size, MADV_DONTFORK);
#elif defined(VM_INHERIT_NONE)
    (void)minherit(memory, size, VM_INHERIT_NONE);
#endif
    return memory;
}

/** Makes the chunk of slot `slots_used` exist. */
static bool grow(void)
{
    struct chunk *chunk = &chunks[slots_used / CHUNK_SLOTS];
    if (chunk->slots == NULL) chunk->slots = calloc(CHUNK_SLOTS, sizeof *chunk->slots);
    if (chunk->slots != NULL && chunk->secrets == NULL) chunk->secrets = map_secrets(CHUNK_SLOTS * sizeof(blst_scalar));
    return chunk->secrets != NULL;
}

static enum arena_result take_slot(uint32_t *number)
{
    if (first_free != NO_SLOT) {
        *number = first_free;
        first_free = slot_at(first_free)->next_free;
        return ARENA_OK;
    }
    if (slots_used == ARENA_SLOTS_MAX) return ARENA_FULL;
    if (!grow()) return ARENA_NO_MEMORY;
    *number = slots_used++;
    slot_at(*number)->generation = 1;
    return ARENA_OK;
}

/** Zeroises a slot that nobody names or uses any more. */
static void free_slot(uint32_t number)
{
    struct slot *slot = slot_at(number);
    wipe(secret_at(number), sizeof(blst_scalar));
    if (slot->generation == ARENA_GENERATION_MAX) return; /* used up */
    slot->generation += 1;
    slot->next_free = first_free;
    first_free = number;
}

static void unname(uint32_t number)
{
    struct slot *slot = slot_at(number);
    slot->named = false;
    key_count -= 1;
    if (slot->users == 0) free_slot(number);
}

/** True when the handle names a key; its slot is then in `number`. */
static bool find(uint32_t *number, uint32_t handle)
{
    *number = handle & (ARENA_SLOTS_MAX - 1);
    if (*number >= slots_used) return false;
    const struct slot *slot = slot_at(*number);
    return slot->named && slot->generation == handle >> ARENA_SLOT_BITS;
}

__attribute__((noinline)) static enum arena_result store(uint32_t *handle, const blst_scalar *scalar)
{
    uint32_t number;
    pthread_mutex_lock(&mutex);
    enum arena_result result = take_slot(&number);
    if (result == ARENA_OK) {
        struct slot *slot = slot_at(number);
        *secret_at(number) = *scalar;
        slot->named = true;
        key_count += 1;
        *handle = (uint32_t)slot->generation << ARENA_SLOT_BITS | number;
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

/** Neither inlined here nor `store` there, so that the constant-time check can accept this branch and no other. */
__attribute__((noinline)) static enum arena_result store_if_key(uint32_t *handle, const blst_scalar *scalar)
{
    return blst_sk_check(scalar) ? store(handle, scalar) : ARENA_BAD_KEY;
}

enum arena_result arena_import(uint32_t *handle, const uint8_t secret[SECRET_BYTES])
{
    blst_scalar scalar;
    blst_scalar_from_bendian(&scalar, secret);
    enum arena_result result = store_if_key(handle, &scalar);
    wipe(&scalar, sizeof scalar);
    return result;
}

bool arena_remove(uint32_t handle)
{
    uint32_t number;
    pthread_mutex_lock(&mutex);
    bool found = find(&number, handle);
    if (found) unname(number);
    pthread_mutex_unlock(&mutex);
    return found;
}

void arena_remove_all(void)
{
    pthread_mutex_lock(&mutex);
    for (uint32_t number = 0; number < slots_used; number++) {
        if (slot_at(number)->named) unname(number);
    }
    pthread_mutex_unlock(&mutex);
}

void arena_hold(struct held_key *held, const uint32_t *handles, size_t count)
{
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < count; i++) {
        bool found = find(&held[i].slot, handles[i]);
        held[i].scalar = found ? secret_at(held[i].slot) : NULL;
        if (found) slot_at(held[i].slot)->users += 1;
    }
    pthread_mutex_unlock(&mutex);
}

void arena_release(const struct held_key *held, size_t count)
{
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < count; i++) {
        if (held[i].scalar == NULL) continue;
        struct slot *slot = slot_at(held[i].slot);
        slot->users -= 1;
        if (slot->users == 0 && !slot->named) free_slot(held[i].slot);
    }
    pthread_mutex_unlock(&mutex);
}

uint32_t arena_key_count(void)
{
    pthread_mutex_lock(&mutex);
    uint32_t count = key_count;
    pthread_mutex_unlock(&mutex);
    return count;
}

bool arena_is_locked(void)
{
    pthread_mutex_lock(&mutex);
    bool locked = slots_used > 0 && chunks_unlocked == 0;
    pthread_mutex_unlock(&mutex);
    return locked;
}
