/* The lot's composed verbs, for primitives that are queues and nothing else. Filter and callback run under the bucket lock:
 * so nobody can join or leave the queue between the choice and what the callback writes into the lock word. */
#include "parking_lot.h"

lots_bucket *lot_lock_two(uintptr_t from, uintptr_t to, lots_bucket **second)
{
    /* Two bucket locks: always in the order of their addresses, as lot_lock_all takes them. */
    lots_bucket *a = lot_bucket_of(from), *b = lot_bucket_of(to);
    bucket_lock_acquire(a < b ? &a->lock : &b->lock);
    if (a != b)
        bucket_lock_acquire(a < b ? &b->lock : &a->lock);
    *second = b;
    return a;
}

void lot_unlock_two(lots_bucket *a, lots_bucket *b)
{
    lot_unlock(a);
    if (a != b)
        lot_unlock(b);
}

static void wake_list(lots_bucket *b, lots_waiter *first, uint32_t token, lots_batch *batch)
{
    while (first) {
        lots_waiter *next = first->next;
        lot_wake_later(b, first, token, batch);
        first = next;
    }
}

/* Unlink from the queue at `key` up to `most` waiters that the filter takes; in order, linked by next. */
static lots_waiter *choose(lots_bucket *b, uintptr_t key, size_t most, lot_filter filter, void *context, size_t *count,
                           const lots_batch *batch)
{
    lots_waiter *first = NULL, **end = &first, *next;
    unsigned threads = batch->thread_count;
    for (lots_waiter *w = lot_queue(b, key); w && *count < most; w = next) {
        int what;
        if (!w->mailbox && threads == BATCH_THREADS)
            break;
        what = filter ? filter(context, w) : LOT_TAKE;
        next = w->next;
        if (what == LOT_STOP)
            break;
        if (what == LOT_SKIP)
            continue;
        threads += !w->mailbox;
        lot_unlink(b, w);
        w->next = NULL;
        *end = w;
        end = &w->next;
        ++*count;
    }
    return first;
}

lot_result lot_unpark_filter(uintptr_t key, size_t most, lot_filter filter, lot_callback callback, void *context,
                             lots_batch *batch)
{
    lot_result result = {0};
    lots_bucket *b = lot_lock(key);
    lots_waiter *first = choose(b, key, most, filter, context, &result.woken, batch);
    result.more = lot_queue(b, key) != NULL;
    result.be_fair = first && lot_fair_due(b);
    wake_list(b, first, callback(context, &result), batch);
    lot_unlock(b);
    batch_wake(batch);
    return result;
}

lot_result lot_unpark_one(uintptr_t key, lot_callback callback, void *context, lots_batch *batch)
{
    return lot_unpark_filter(key, 1, NULL, callback, context, batch);
}

lot_result lot_unpark_requeue(uintptr_t from, uintptr_t to, size_t wake, lot_callback callback, void *context,
                              lots_batch *batch)
{
    lot_result result = {0};
    lots_bucket *b, *a = lot_lock_two(from, to, &b);
    lots_waiter *first = choose(a, from, wake, NULL, NULL, &result.woken, batch), *w;
    /* Fewer than were to be woken, and somebody is left: the batch is full. They are to be woken, not moved. */
    while (from != to && result.woken == wake && (w = lot_queue(a, from))) {
        lot_unlink(a, w);
        w->ticket = 0; /* it arrives at another queue now, behind those who are there */
        lot_enqueue(b, w, to);
        result.requeued++;
    }
    result.more = lot_queue(a, from) != NULL;
    result.be_fair = first && lot_fair_due(a);
    wake_list(a, first, callback(context, &result), batch);
    lot_unlock_two(a, b);
    batch_wake(batch);
    return result;
}
