/* The tiny lock of one bucket, and of one mailbox. It must never use the lot.
 *
 * Held for a few dozen instructions, never across a system call, a callback into Python or a sleep; nobody who holds it
 * needs the GIL, so waiting for it with the GIL in hand always ends. Order: a bucket's lock, then a mailbox's. Two
 * buckets' only in the order of their addresses: lot_lock_two, for who goes from one queue to another, and lot_lock_all, for
 * fork. Never two mailboxes'.
 *
 * The futex kind: 0 free, 1 held, 2 held and somebody may sleep on it (after Drepper, "Futexes are tricky", mutex 2). */
#ifndef LOTS_BUCKET_LOCK_H
#define LOTS_BUCKET_LOCK_H

#if defined(LOTS_MODEL)

#include "explorer.h"
typedef struct { int held; } bucket_lock;
static inline void bucket_lock_init(bucket_lock *l) { l->held = 0; }
static inline void bucket_lock_acquire(bucket_lock *l) { mc_lock(&l->held); }
static inline void bucket_lock_release(bucket_lock *l) { mc_unlock(&l->held); }

#elif defined(LOTS_PARKER_PTHREAD)

#include <pthread.h>
typedef struct { pthread_mutex_t mutex; } bucket_lock;
static inline void bucket_lock_init(bucket_lock *l) { pthread_mutex_init(&l->mutex, NULL); }
static inline void bucket_lock_acquire(bucket_lock *l) { pthread_mutex_lock(&l->mutex); }
static inline void bucket_lock_release(bucket_lock *l) { pthread_mutex_unlock(&l->mutex); }

#else

#include "atomics.h"
typedef struct { lots_a32 state; } bucket_lock;

void bucket_lock_sleep(bucket_lock *l); /* parker_futex.c: acquire it, sleeping if need be */
void bucket_lock_wake(bucket_lock *l);  /* parker_futex.c: wake one sleeper */

static inline void bucket_lock_init(bucket_lock *l) { a32_store(&l->state, 0, RELAXED); }
static inline void bucket_lock_acquire(bucket_lock *l)
{
    uint32_t free = 0;
    /* ACQUIRE pairs with the RELEASE exchange in bucket_lock_release. */
    if (!a32_cas(&l->state, &free, 1, ACQUIRE))
        bucket_lock_sleep(l);
}
static inline void bucket_lock_release(bucket_lock *l)
{
    uint32_t seen = 1;
    /* RELEASE pairs with the ACQUIRE of the next holder. */
    if (!a32_cas(&l->state, &seen, 0, RELEASE))
        bucket_lock_wake(l);
}

#endif
#endif
