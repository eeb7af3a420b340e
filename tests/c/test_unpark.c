/* The lot's composed verbs once more: full batches, the fairness that they report, and the two locks that they take. */
#include "actors.h"

static uint64_t keys[8 * LOT_BUCKETS];
static uintptr_t here, far;
static lots_word word;
static lots_mailbox *m;
static lots_op ops[2 * BATCH_THREADS + 2];

static void find_keys(void)
{
    here = (uintptr_t)&keys[0];
    for (size_t i = 1; !far; i++)
        if (lot_bucket_of((uintptr_t)&keys[i]) != lot_bucket_of(here))
            far = (uintptr_t)&keys[i];
}

static void enqueue(int i, lots_mailbox *whose)
{
    lots_bucket *b = lot_lock(here);
    lots_op_init(&ops[i], &word, LOTS_READ, whose, 'a', 0);
    if (!whose)
        parker_prepare(op_waiter(&ops[i]));
    lot_enqueue(b, op_waiter(&ops[i]), here);
    lot_unlock(b);
}

static void look(int i)
{
    lots_bucket *b = lot_lock_of(op_waiter(&ops[i]));
    CHECK_EQ(lots_op_state(&ops[i]), LOTS_NORMAL);
    if (op_waiter(&ops[i])->mailbox)
        lot_unlink_woken(b, op_waiter(&ops[i]));
    lot_unlock(b);
    if (!op_waiter(&ops[i])->mailbox)
        parker_finish(op_waiter(&ops[i]));
}

static lot_result told;

static uint32_t remember(void *unused, const lot_result *result)
{
    (void)unused;
    told = *result;
    return LOTS_NORMAL;
}

/* So many threads, then so many tasks; return how many are woken in one call. */
static size_t woken_at_once(int threads, int tasks, int requeue)
{
    lots_batch batch = {0};
    lot_result r;
    int i, woken;
    for (i = 0; i < threads + tasks; i++)
        enqueue(i, i < threads ? NULL : m);
    r = requeue ? lot_unpark_requeue(here, far, SIZE_MAX, remember, NULL, &batch)
                : lot_unpark_filter(here, SIZE_MAX, NULL, remember, NULL, &batch);
    CHECK_EQ(told.woken, r.woken);
    CHECK_EQ(told.more, (int)r.woken < threads + tasks);
    CHECK_EQ(r.requeued, 0);
    woken = (int)r.woken;
    while (r.more)
        r = lot_unpark_filter(here, SIZE_MAX, NULL, remember, NULL, &batch);
    for (i = 0; i < threads + tasks; i++)
        look(i);
    mail(m, 1);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    return (size_t)woken;
}

static void only_threads_fill_a_batch(void)
{
    for (int requeue = 0; requeue < 2; requeue++) {
        CHECK_EQ(woken_at_once(BATCH_THREADS - 1, 0, requeue), BATCH_THREADS - 1);
        CHECK_EQ(woken_at_once(BATCH_THREADS, 0, requeue), BATCH_THREADS);
        CHECK_EQ(woken_at_once(BATCH_THREADS + 1, 0, requeue), BATCH_THREADS);
        CHECK_EQ(woken_at_once(BATCH_THREADS, 3, requeue), BATCH_THREADS + 3);
        CHECK_EQ(woken_at_once(0, 2 * BATCH_THREADS, requeue), 2 * BATCH_THREADS);
    }
}

/* Fair if the timer ran out, and somebody is there who has waited. */
static void fairness_is_for_those_who_wait(void)
{
    for (int requeue = 0; requeue < 2; requeue++)
        for (int waits = 0; waits < 2; waits++)
            for (int due = 0; due < 2; due++) {
                lots_batch batch = {0};
                lot_result r;
                lots_bucket *b = lot_lock(here);
                b->fair_at = due ? FAIR_NOW : FAIR_NEVER;
                lot_unlock(b);
                if (waits)
                    enqueue(0, m);
                r = requeue ? lot_unpark_requeue(here, far, 1, remember, NULL, &batch)
                            : lot_unpark_one(here, remember, NULL, &batch);
                CHECK_EQ(r.woken, waits);
                CHECK_EQ(r.be_fair, waits && due);
                CHECK_EQ(told.be_fair, waits && due);
                if (waits)
                    look(0);
            }
    mail(m, 1);
}

static void both_buckets_are_locked(void)
{
    uintptr_t to[] = {far, here};
    for (int i = 0; i < 4; i++) {
        uintptr_t from_key = i & 1 ? to[i >> 1] : here, to_key = i & 1 ? here : to[i >> 1];
        lots_bucket *b, *a = lot_lock_two(from_key, to_key, &b);
        CHECK(a == lot_bucket_of(from_key) && b == lot_bucket_of(to_key));
        CHECK(!lock_is_free(&a->lock));
        CHECK(!lock_is_free(&b->lock));
        lot_unlock_two(a, b);
        CHECK(lock_is_free(&a->lock));
        CHECK(lock_is_free(&b->lock));
    }
}

int main(void)
{
    watchdog(30);
    find_keys();
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2);
    RUN(only_threads_fill_a_batch);
    RUN(fairness_is_for_those_who_wait);
    RUN(both_buckets_are_locked);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
