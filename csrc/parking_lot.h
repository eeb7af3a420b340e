/* The parking lot: queues of waiters, keyed by address. It knows keys and waiters, never what a lock word means.
 *
 * The verbs in the first group need the key's bucket lock held; lot_lock takes it. A batch collects whom to wake under the
 * lock, and wakes them after it was dropped. */
#ifndef LOTS_PARKING_LOT_H
#define LOTS_PARKING_LOT_H

#include "bucket_lock.h"
#include "waiter.h"

#ifdef LOTS_MODEL
#define LOT_BUCKETS 1 /* the explorer visits every interleaving of every walk */
#else
#define LOT_BUCKETS 512
#endif
#ifndef BATCH_THREADS
#define BATCH_THREADS 32
#endif
/* BATCH_THREADS: how many threads one hold of a bucket lock may wake; tasks: any number. */
/* A wake hands over once within so many nanoseconds, at random, after half of them on average; 0: never, 1: always. Less often
 * somebody waits long, more often the lock is slow: `python -m bench --only handoff`, docs/benchmarks.md. */
#ifndef LOTS_FAIR_WITHIN_NS
#define LOTS_FAIR_WITHIN_NS 1000000
#endif

typedef struct lots_bucket {
    bucket_lock lock;
    lots_waiter *keys;         /* heads of the queues in this bucket, linked by next_key */
    lots_waiter *woken, *woken_last; /* tasks that were woken here and have not looked yet, oldest first */
    uint64_t tickets;
    int64_t fair_at;           /* the next wake after this hands over; see LOTS_FAIR_WITHIN_NS */
    uint32_t random;
    lots_a32 woken_count;      /* length of `woken`, readable without the lock, for the keeper's look */
} lots_bucket;

/* Whom one holder of a bucket lock has chosen to wake. */
typedef struct lots_batch {
    parker_handle threads[BATCH_THREADS];
    unsigned thread_count;
    unsigned quiet;            /* tasks left in `own`'s mailbox without ringing */
    unsigned tasks;
    lots_mailbox *to_ring;
    lots_mailbox *own;         /* the mailbox of the loop that runs on this very thread, or NULL */
    lots_waiter *cause;        /* trail.h */
    uint32_t what;
} lots_batch;

/* Both keys of a lock share a bucket, so one lock covers both of its queues. */
static inline uintptr_t lot_key(const lots_word *word, int phase) { return (uintptr_t)word + (uintptr_t)phase; }

lots_bucket *lot_bucket_of(uintptr_t key);
lots_bucket *lot_lock(uintptr_t key);
lots_bucket *lot_lock_of(lots_waiter *w); /* the bucket that its key is in, also while it is requeued elsewhere */
void lot_unlock(lots_bucket *b);
/* Both, which may be one; returns the bucket of `from`. But for fork only this locks two. */
lots_bucket *lot_lock_two(uintptr_t from, uintptr_t to, lots_bucket **second);
void lot_unlock_two(lots_bucket *a, lots_bucket *b);
lots_waiter *lot_queue(lots_bucket *b, uintptr_t key); /* the first waiter at `key`, or NULL */
void lot_enqueue(lots_bucket *b, lots_waiter *w, uintptr_t key);
int lot_unlink(lots_bucket *b, lots_waiter *w); /* 1: it was the last one at its key */
int lot_fair_due(lots_bucket *b);
/* Publish a wake to a waiter that was unlinked: a thread's handle, or a task's mail, goes into the batch. */
void lot_wake_later(lots_bucket *b, lots_waiter *w, uint32_t token, lots_batch *batch);
void lot_unlink_woken(lots_bucket *b, lots_waiter *w);
void lot_nudge(lots_waiter *w, lots_batch *batch); /* mail without a wake: look again */

void batch_wake(lots_batch *batch); /* no bucket lock held */

/* Lock each bucket in turn, visit it, wake the batch after dropping the lock; while `visit` returns 1 the same bucket comes
 * again. `if_woken`: pass over buckets that seem to hold no woken task. For closing and reviving loops, and diagnosis. */
typedef int (*lot_visit)(lots_bucket *b, void *context, lots_batch *batch);
void lot_each_bucket(lot_visit visit, void *context, lots_batch *batch, int if_woken);
/* The next waiter queued in the bucket, whatever its key; NULL to begin, NULL at the end. */
lots_waiter *lot_next_queued(lots_bucket *b, lots_waiter *w);

/* For fork: every bucket's lock, by index. `each` runs on every bucket before its lock is dropped. */
void lot_lock_all(void);
void lot_unlock_all(void (*each)(lots_bucket *b));

/* The composed verbs (unpark.c), for primitives that are nothing but queues. The callback returns the token that the woken
 * get; it is called once, also when nobody was there. A call wakes at most BATCH_THREADS threads: `more` says to go on. */
typedef struct lot_result {
    size_t woken;
    size_t requeued;
    int more;    /* somebody is still queued at the key */
    int be_fair; /* the fairness timer ran out */
} lot_result;
typedef uint32_t (*lot_callback)(void *context, const lot_result *result);
#define LOT_TAKE 0
#define LOT_SKIP 1
#define LOT_STOP 2
typedef int (*lot_filter)(void *context, const lots_waiter *w);
lot_result lot_unpark_one(uintptr_t key, lot_callback callback, void *context, lots_batch *batch);
lot_result lot_unpark_filter(uintptr_t key, size_t most, lot_filter filter, lot_callback callback, void *context,
                             lots_batch *batch);
/* Wake up to `wake` waiters of `from`, move the rest to the queue of `to` without waking them. */
lot_result lot_unpark_requeue(uintptr_t from, uintptr_t to, size_t wake, lot_callback callback, void *context,
                              lots_batch *batch);

#endif
