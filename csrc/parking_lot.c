/* The parking lot: a fixed table of buckets, each with a tiny lock and the queues of the keys that hash to it.
 *
 * Lineage: WebKit's ParkingLot by way of parking_lot (Rust) and CPython's. Like CPython's the table is fixed, so nothing is
 * ever resized or allocated. As in Go's semaphores, the first waiter of a key is the head of that key's own queue and
 * carries its tail and its links to the bucket's other queues, so that neither a crowd on one lock nor a collision makes
 * unlinking slower: joining at the end, leaving from anywhere, and "was that the last one?" are all O(1); coming back costs
 * a step for each waiter that came before and is still there.
 *
 * Order in a queue: by ticket. New arrivals get the next ticket and join at the end. A waiter that was woken, lost the race
 * for the lock and comes back has its old ticket and is put where it was, near the front: so those who queue stay first
 * come, first served even when their wakes lose to others who came by.
 *
 * What a bucket lock protects: keys, every list in the bucket, and (waiter.h) the fields of the waiters in them. Nothing is
 * called while it is held except a mailbox's lock and the callbacks of the composed verbs, which must be as short. */
#include "parking_lot.h"

#include "clock.h"
#include "keeper.h"
#include "mailbox.h"

static lots_bucket buckets[LOT_BUCKETS];

#ifdef LOTS_PARKER_PTHREAD
/* Zero is a valid bucket lock but for this kind. */
__attribute__((constructor)) static void init_buckets(void)
{
    for (unsigned i = 0; i < LOT_BUCKETS; i++)
        bucket_lock_init(&buckets[i].lock);
}
#endif

static unsigned index_of(uintptr_t key)
{
    /* Words are 8 apart at least, and addr and addr + 1 must fall together; Fibonacci hashing takes the rest. */
    return (unsigned)(((uint64_t)(key >> 3) * UINT64_C(0x9E3779B97F4A7C15)) >> 55) % LOT_BUCKETS;
}

lots_bucket *lot_bucket_of(uintptr_t key) { return &buckets[index_of(key)]; }

lots_bucket *lot_lock(uintptr_t key)
{
    lots_bucket *b = lot_bucket_of(key);
    bucket_lock_acquire(&b->lock);
    return b;
}

lots_bucket *lot_lock_of(lots_waiter *w)
{
    for (;;) {
        /* RELAXED: checked again under the bucket lock that every write of it holds. */
        uint64_t key = a64_load(&w->key, RELAXED);
        lots_bucket *b = lot_lock((uintptr_t)key);
        if (a64_load(&w->key, RELAXED) == key)
            return b;
        lot_unlock(b);
    }
}

void lot_unlock(lots_bucket *b)
{
#ifdef LOTS_MODEL
    mc_bucket_is_consistent(b);
#endif
    bucket_lock_release(&b->lock);
}

static uintptr_t key_of(lots_waiter *w) { return (uintptr_t)a64_load(&w->key, RELAXED); /* under its bucket lock */ }

lots_waiter *lot_queue(lots_bucket *b, uintptr_t key)
{
    lots_waiter *head = b->keys;
    while (head && key_of(head) != key)
        head = head->next_key;
    return head;
}

/* Put `w` where the head `old` of a queue was (old NULL: a new queue). */
static void become_head(lots_bucket *b, lots_waiter *w, lots_waiter *old)
{
    w->prev_key = old ? old->prev_key : NULL;
    w->next_key = old ? old->next_key : b->keys;
    w->tail = old ? old->tail : w;
    if (w->prev_key)
        w->prev_key->next_key = w;
    else
        b->keys = w;
    if (w->next_key)
        w->next_key->prev_key = w;
}

void lot_enqueue(lots_bucket *b, lots_waiter *w, uintptr_t key)
{
    lots_waiter *head = lot_queue(b, key), *after = NULL;
    a64_store(&w->key, key, RELAXED); /* under the bucket lock, see lot_lock_of */
    if (!w->ticket)
        w->ticket = ++b->tickets;
    if (!head) {
        w->next = w->prev = NULL;
        become_head(b, w, NULL);
    } else if (w->ticket > head->tail->ticket) {
        after = head->tail;
    } else if (w->ticket > head->ticket) {
        after = head;
        while (after->next && after->next->ticket < w->ticket)
            after = after->next;
    } else { /* back at the front */
        w->prev = NULL;
        w->next = head;
        head->prev = w;
        become_head(b, w, head);
    }
    if (after) {
        w->prev = after;
        w->next = after->next;
        after->next = w;
        if (w->next)
            w->next->prev = w;
        else
            head->tail = w;
    }
    /* RELAXED: the owner itself stores it, or (revoke) the bucket lock orders it. */
    a32_store(&w->state, LOTS_QUEUED, RELAXED);
}

int lot_unlink(lots_bucket *b, lots_waiter *w)
{
    lots_waiter *next = w->next;
    if (w->prev) {
        w->prev->next = next;
        if (next)
            next->prev = w->prev;
        else
            lot_queue(b, key_of(w))->tail = w->prev;
        return 0;
    }
    if (next) {
        next->prev = NULL;
        become_head(b, next, w);
        return 0;
    }
    if (w->prev_key)
        w->prev_key->next_key = w->next_key;
    else
        b->keys = w->next_key;
    if (w->next_key)
        w->next_key->prev_key = w->prev_key;
    return 1;
}

int lot_fair_due(lots_bucket *b)
{
#ifdef LOTS_MODEL
    return mc_fair(b);
#elif LOTS_FAIR_WITHIN_NS == 0
    (void)b;
    return 0;
#else
    int64_t now = clock_now();
    if (now < b->fair_at)
        return 0;
    if (!b->random)
        b->random = (uint32_t)(index_of((uintptr_t)b) * 2 + 1);
    b->random ^= b->random << 13; /* xorshift32: only so that buckets do not march in step */
    b->random ^= b->random >> 17;
    b->random ^= b->random << 5;
    b->fair_at = now + b->random % LOTS_FAIR_WITHIN_NS;
    return 1;
#endif
}

static void count_woken(lots_bucket *b, int by)
{
    /* RELAXED: the keeper's look without the lock is a hint; whoever must be exact takes the lock. */
    a32_store(&b->woken_count, a32_load(&b->woken_count, RELAXED) + (uint32_t)by, RELAXED);
}

void lot_wake_later(lots_bucket *b, lots_waiter *w, uint32_t token, lots_batch *batch)
{
    if (!w->mailbox) {
        batch->threads[batch->thread_count++] = parker_publish(w, token);
        return;
    }
    w->woken_at = clock_now();
    w->next = NULL;
    w->prev = b->woken_last;
    if (b->woken_last)
        b->woken_last->next = w;
    else
        b->woken = w;
    b->woken_last = w;
    count_woken(b, 1);
    /* RELEASE pairs with the ACQUIRE of lots_op_state; the task itself looks under the bucket lock. */
    a32_store(&w->state, token, RELEASE);
    lot_nudge(w, batch);
}

void lot_unlink_woken(lots_bucket *b, lots_waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        b->woken = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        b->woken_last = w->prev;
    count_woken(b, -1);
}

void lot_nudge(lots_waiter *w, lots_batch *batch)
{
    int quiet = w->mailbox == batch->own;
    batch->tasks++;
    batch->quiet += (unsigned)quiet;
    if (mailbox_push(w, quiet)) {
        w->mailbox->ring_next = batch->to_ring;
        batch->to_ring = w->mailbox;
    }
}

void batch_wake(lots_batch *batch)
{
    for (unsigned i = 0; i < batch->thread_count; i++)
        parker_wake(batch->threads[i]);
    batch->thread_count = 0;
    while (batch->to_ring) {
        lots_mailbox *m = batch->to_ring;
        batch->to_ring = m->ring_next;
        mailbox_ring(m);
    }
    if (batch->tasks) {
        batch->tasks = 0;
        keeper_arm();
    }
}

void lot_each_bucket(lot_visit visit, void *context, lots_batch *batch, int if_woken)
{
    for (unsigned i = 0; i < LOT_BUCKETS; i++) {
        int again = !if_woken || a32_load(&buckets[i].woken_count, RELAXED);
        while (again) {
            bucket_lock_acquire(&buckets[i].lock);
            again = visit(&buckets[i], context, batch);
            lot_unlock(&buckets[i]);
            batch_wake(batch);
        }
    }
}

lots_waiter *lot_next_queued(lots_bucket *b, lots_waiter *w)
{
    if (!w)
        return b->keys;
    if (w->next)
        return w->next;
    while (w->prev) /* to the head, which knows the next queue */
        w = w->prev;
    return w->next_key;
}

void lot_lock_all(void)
{
    for (unsigned i = 0; i < LOT_BUCKETS; i++)
        bucket_lock_acquire(&buckets[i].lock);
}

void lot_unlock_all(void (*each)(lots_bucket *b))
{
    for (unsigned i = 0; i < LOT_BUCKETS; i++) {
        if (each)
            each(&buckets[i]);
        bucket_lock_release(&buckets[i].lock);
    }
}
