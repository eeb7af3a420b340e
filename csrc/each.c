/* A look at the queues, for tests, statistics and diagnosis: bucket by bucket, so no one picture of all at one moment, but
 * of each lock (its two queues share a bucket) one that was true. */
#include "parking_lot.h"

typedef struct listing {
    const lots_word *word;
    uintptr_t key; /* 0: any */
    lots_waiter_info *out;
    size_t capacity, count;
} listing;

static void list(listing *l, const lots_waiter *w, uint32_t state)
{
    if (l->word && (w->word != l->word || w->phase == PHASE_NOTIFY)) /* it asks the word of nothing yet */
        return;
    if (l->key && (uintptr_t)a64_load(&w->key, RELAXED) != l->key) /* under its bucket lock */
        return;
    if (l->count < l->capacity)
        l->out[l->count] = (lots_waiter_info){
             .word = (uintptr_t)w->word, .key = (uintptr_t)a64_load(&w->key, RELAXED), .cookie = w->cookie, .owner = w->owner, .ticket = w->ticket, .mode = w->mode,
            .state = state, .draining = w->phase == PHASE_DRAIN, .is_task = w->mailbox != NULL, .skipped = w->skipped,
            .expects = w->phase == PHASE_NOTIFY, .since = w->since};
    l->count++;
}

static int visit(lots_bucket *b, void *context, lots_batch *batch)
{
    (void)batch;
    for (lots_waiter *w = b->woken; w; w = w->next)
        list(context, w, a32_load(&w->state, RELAXED)); /* under the bucket lock */
    for (lots_waiter *w = lot_next_queued(b, NULL); w; w = lot_next_queued(b, w))
        list(context, w, LOTS_QUEUED);
    return 0;
}

size_t lots_for_each(const lots_word *word, lots_waiter_info *out, size_t capacity)
{
    listing l = {.word = word, .out = out, .capacity = capacity};
    lots_batch nobody = {0};
    if (word) {
        lots_bucket *b = lot_lock(lot_key(word, PHASE_ENTER));
        visit(b, &l, &nobody);
        lot_unlock(b);
    } else {
        lot_each_bucket(visit, &l, &nobody, 0);
    }
    return l.count;
}

size_t lots_for_key(uintptr_t key, lots_waiter_info *out, size_t capacity)
{
    listing l = {.key = key, .out = out, .capacity = capacity};
    lots_batch nobody = {0};
    lots_bucket *b = lot_lock(key);
    visit(b, &l, &nobody);
    lot_unlock(b);
    return l.count;
}

size_t lots_first(const lots_word *word, lots_waiter_info *out, size_t capacity)
{
    listing l = {.out = out, .capacity = capacity};
    lots_bucket *b = lot_lock(lot_key(word, PHASE_ENTER));
    for (int phase = PHASE_DRAIN; phase >= PHASE_ENTER; phase--)
        for (lots_waiter *w = lot_queue(b, lot_key(word, phase)); w && l.count < capacity; w = w->next)
            list(&l, w, LOTS_QUEUED);
    lot_unlock(b);
    return l.count;
}

int lots_expected(uintptr_t key)
{
    lots_bucket *b = lot_lock(key);
    int somebody = lot_queue(b, key) != NULL;
    lot_unlock(b);
    return somebody;
}
