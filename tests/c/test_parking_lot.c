/* The lot alone: queues keyed by address, in order of ticket, whatever shares a bucket with them; and the verbs of unpark.c.
 *
 * Its waiters here are tasks of one mailbox, queued at keys of the test's own: being woken shows in their state and in the
 * mail, and nobody needs to sleep. */
#include "actors.h"

#define MANY 60

static uint64_t keys[2 * LOT_BUCKETS]; /* addresses to queue at */
static lots_word word;
static lots_mailbox *m;
static lots_op ops[MANY];

static lots_waiter *waiter(int i) { return op_waiter(&ops[i]); }

static void make_waiters(void)
{
    for (int i = 0; i < MANY; i++)
        task(&ops[i], &word, LOTS_READ, m, (char)('A' + i));
}

static void enqueue(int i, uintptr_t key)
{
    lots_bucket *b = lot_lock(key);
    lot_enqueue(b, waiter(i), key);
    lot_unlock(b);
}

static int unlink_waiter(int i)
{
    lots_bucket *b = lot_lock_of(waiter(i));
    int last = lot_unlink(b, waiter(i));
    lot_unlock(b);
    return last;
}

/* The queue at a key, as a text. */
static const char *queue(uintptr_t key)
{
    static char text[MANY + 1];
    lots_bucket *b = lot_lock(key);
    lots_waiter *w = lot_queue(b, key), *last = w ? w->tail : NULL;
    char *end = text;
    for (; w; w = w->next) {
        *end++ = (char)w->cookie;
        CHECK(w->next ? w->next->prev == w : w == last);
    }
    *end = 0;
    lot_unlock(b);
    return text;
}

/* A woken task stays in its bucket's list until it has looked. */
static void look(int i)
{
    lots_bucket *b = lot_lock_of(waiter(i));
    lot_unlink_woken(b, waiter(i));
    lot_unlock(b);
}

typedef struct calls {
    int count;
    lot_result last;
    uint32_t token;
} calls;

static uint32_t count_call(void *context, const lot_result *result)
{
    calls *c = context;
    c->count++;
    c->last = *result;
    return c->token;
}

/* Two keys that share a bucket, a third in the same, and one elsewhere. */
static uintptr_t together[3], elsewhere;

static void find_keys(void)
{
    int found = 0;
    together[found++] = (uintptr_t)&keys[0];
    for (int i = 1; i < 2 * LOT_BUCKETS; i++) {
        int same = lot_bucket_of((uintptr_t)&keys[i]) == lot_bucket_of(together[0]);
        if (same && found < 3)
            together[found++] = (uintptr_t)&keys[i];
        if (!same)
            elsewhere = (uintptr_t)&keys[i];
    }
    if (found == 2)
        together[found++] = together[0] + 1; /* a lock's second key shares its bucket always */
    CHECK_EQ(found, 3);
    CHECK(lot_bucket_of(elsewhere) != lot_bucket_of(together[0]));
}

static void both_keys_of_a_lock_share_a_bucket(void)
{
    for (int i = 0; i < 2 * LOT_BUCKETS; i++)
        CHECK(lot_bucket_of((uintptr_t)&keys[i]) == lot_bucket_of((uintptr_t)&keys[i] + 1));
}

static void one_is_unparked_in_order_of_arrival(void)
{
    lots_batch batch = {0};
    calls c = {.token = LOTS_NORMAL};
    make_waiters();
    for (int i = 0; i < 3; i++)
        enqueue(i, together[0]);
    CHECK_STR(queue(together[0]), "ABC");
    for (int i = 0; i < 3; i++) {
        lot_result r = lot_unpark_one(together[0], count_call, &c, &batch);
        char wanted[] = {(char)('A' + i), 0};
        CHECK_EQ(r.woken, 1);
        CHECK_EQ(r.more, i < 2);
        CHECK_EQ(c.count, i + 1);
        CHECK_EQ(c.last.woken, 1);
        CHECK_EQ(lots_op_state(&ops[i]), LOTS_NORMAL);
        CHECK_STR(mail(m, 1), wanted);
        look(i);
    }
    CHECK_EQ(lot_unpark_one(together[0], count_call, &c, &batch).woken, 0);
    CHECK_EQ(c.count, 4); /* also when nobody was there */
    CHECK_EQ(c.last.more, 0);
    CHECK_EQ(rings(m), 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

static int filter_vowels(void *context, const lots_waiter *w)
{
    (void)context;
    return w->cookie == 'F' ? LOT_STOP : strchr("AEIOU", (char)w->cookie) ? LOT_TAKE : LOT_SKIP;
}

static void a_filter_takes_skips_and_stops(void)
{
    lots_batch batch = {0};
    calls c = {.token = LOTS_HANDOFF};
    lot_result r;
    make_waiters();
    for (int i = 0; i < 10; i++)
        enqueue(i, together[0]);
    r = lot_unpark_filter(together[0], SIZE_MAX, filter_vowels, count_call, &c, &batch);
    CHECK_EQ(r.woken, 2);
    CHECK_EQ(r.more, 1);
    CHECK_STR(mail(m, 1), "AE");
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_HANDOFF); /* the callback's token */
    CHECK_STR(queue(together[0]), "BCDFGHIJ");
    r = lot_unpark_filter(together[0], 3, NULL, count_call, &c, &batch);
    CHECK_EQ(r.woken, 3);
    CHECK_STR(queue(together[0]), "FGHIJ");
    r = lot_unpark_filter(together[0], SIZE_MAX, NULL, count_call, &c, &batch);
    CHECK_EQ(r.woken, 5);
    CHECK_EQ(r.more, 0);
    CHECK_STR(mail(m, 1), "BCDFGHIJ");
    for (int i = 0; i < 10; i++)
        look(i);
}

static void requeue_wakes_some_and_moves_the_rest_behind_those_there(void)
{
    uintptr_t to[] = {together[1], elsewhere};
    for (int i = 0; i < 2; i++) { /* in the same bucket, and in another */
        lots_batch batch = {0};
        calls c = {.token = LOTS_NORMAL};
        lot_result r;
        make_waiters();
        for (int j = 0; j < 4; j++)
            enqueue(j, together[0]);
        enqueue(4, to[i]);
        enqueue(5, to[i]);
        r = lot_unpark_requeue(together[0], to[i], 1, count_call, &c, &batch);
        CHECK_EQ(r.woken, 1);
        CHECK_EQ(r.requeued, 3);
        CHECK_EQ(r.more, 0);
        CHECK_EQ(c.count, 1);
        CHECK_STR(mail(m, 1), "A");
        CHECK_STR(queue(together[0]), "");
        CHECK_STR(queue(to[i]), "EFBCD");
        CHECK_EQ(lots_op_state(&ops[2]), LOTS_QUEUED);
        CHECK_EQ(unlink_waiter(2), 0); /* from where it is now */
        CHECK_STR(queue(to[i]), "EFBD");
        r = lot_unpark_requeue(to[i], to[i], 1, count_call, &c, &batch); /* to itself: it only wakes */
        CHECK_EQ(r.woken, 1);
        CHECK_EQ(r.requeued, 0);
        CHECK_EQ(r.more, 1);
        CHECK_STR(queue(to[i]), "FBD");
        CHECK_STR(mail(m, 1), "E");
        r = lot_unpark_requeue(to[i], together[0], 0, count_call, &c, &batch); /* and back: none is woken */
        CHECK_EQ(r.woken, 0);
        CHECK_EQ(r.requeued, 3);
        CHECK_STR(queue(together[0]), "FBD");
        look(0);
        look(4);
        CHECK_EQ(unlink_waiter(5), 0);
        CHECK_EQ(unlink_waiter(1), 0);
        CHECK_EQ(unlink_waiter(3), 1);
    }
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

static void who_comes_back_is_put_where_it_was(void)
{
    static const int back[] = {0, 2, 4}; /* to the front, between others, to the end */
    make_waiters();
    for (int i = 0; i < 5; i++)
        enqueue(i, together[0]);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(unlink_waiter(back[i]), 0);
        enqueue(5 + i, together[1]); /* tickets go on meanwhile */
        enqueue(back[i], together[0]);
        CHECK_STR(queue(together[0]), "ABCDE");
    }
    CHECK_STR(queue(together[1]), "FGH");
    for (int i = 0; i < 8; i++)
        CHECK_EQ(unlink_waiter(i), i == 4 || i == 7);
    enqueue(3, together[0]); /* all of them, in another order */
    enqueue(4, together[0]);
    enqueue(0, together[0]);
    enqueue(2, together[0]);
    CHECK_STR(queue(together[0]), "ACDE");
    for (int i = 0; i < 5; i++)
        if (i != 1)
            unlink_waiter(i);
}

static void queues_that_share_a_bucket_do_not_see_each_other(void)
{
    lots_batch batch = {0};
    calls c = {.token = LOTS_NORMAL};
    make_waiters();
    for (int i = 0; i < 9; i++)
        enqueue(i, together[i % 3]);
    CHECK_STR(queue(together[0]), "ADG");
    CHECK_STR(queue(together[1]), "BEH");
    CHECK_STR(queue(together[2]), "CFI");
    CHECK_EQ(lots_for_each(&word, NULL, 0) + (lot_bucket_of((uintptr_t)&word) == lot_bucket_of(together[0]) ? 0 : 9), 9);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 9);
    CHECK_EQ(lot_unpark_one(together[1], count_call, &c, &batch).more, 1);
    CHECK_STR(queue(together[1]), "EH");
    CHECK_EQ(unlink_waiter(0), 0); /* heads: the next becomes the queue's name in the bucket */
    CHECK_EQ(unlink_waiter(8), 0); /* a tail */
    CHECK_STR(queue(together[0]), "DG");
    CHECK_STR(queue(together[2]), "CF");
    CHECK_EQ(lot_unpark_filter(together[0], SIZE_MAX, NULL, count_call, &c, &batch).woken, 2);
    CHECK_STR(queue(together[0]), "");
    CHECK_STR(queue(together[1]), "EH");
    CHECK_STR(queue(together[2]), "CF");
    CHECK_STR(mail(m, 1), "BDG");
    look(1), look(3), look(6);
    CHECK_EQ(unlink_waiter(4), 0);
    CHECK_EQ(unlink_waiter(7), 1);
    CHECK_EQ(unlink_waiter(2), 0);
    CHECK_EQ(unlink_waiter(5), 1);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

/* Against a model that is too simple to be wrong: for each waiter its key, or none; in order of ticket. */
static void a_random_walk_agrees_with_a_model(void)
{
    uintptr_t at[MANY] = {0};
    uint32_t random = 20250528;
    make_waiters();
    for (int step = 0; step < 20000; step++) {
        int i, last = 1;
        random = random * 1664525 + 1013904223;
        i = (int)(random >> 8) % MANY;
        if (at[i]) {
            for (int j = 0; j < MANY; j++)
                last &= j == i || at[j] != at[i];
            CHECK_EQ(unlink_waiter(i), last);
            at[i] = 0;
        } else {
            if (random >> 28 & 1)
                task(&ops[i], &word, LOTS_READ, m, (char)('A' + i)); /* a newcomer; else one that comes back */
            at[i] = together[random >> 30 & 1 ? 0 : 1 + (random >> 29 & 1)];
            enqueue(i, at[i]);
        }
        for (int k = 0; k < 3; k++) {
            char wanted[MANY + 1], *end = wanted;
            uint64_t ticket = 0;
            for (;;) { /* the next by ticket */
                int next = -1;
                for (int j = 0; j < MANY; j++)
                    if (at[j] == together[k] && waiter(j)->ticket > ticket &&
                        (next < 0 || waiter(j)->ticket < waiter(next)->ticket))
                        next = j;
                if (next < 0)
                    break;
                *end++ = (char)('A' + next);
                ticket = waiter(next)->ticket;
            }
            *end = 0;
            CHECK_STR(queue(together[k]), wanted);
        }
    }
    for (int i = 0; i < MANY; i++)
        if (at[i])
            unlink_waiter(i);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

static void for_each_tells_all_and_fills_what_fits(void)
{
    lots_waiter_info info[4];
    lots_op a, b, c;
    set_fairness(&word, FAIR_NEVER);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    lots_op_init(&a, &word, LOTS_WRITE, m, 'a', 11);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    lots_op_init(&b, &word, LOTS_READ, m, 'b', 12);
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    lots_op_init(&c, &word, LOTS_READ, m, 'c', 13);
    CHECK_EQ(lots_op_poll(&c), LOTS_PARKED);
    CHECK_EQ(lots_for_each(&word, NULL, 0), 3);
    memset(info, 0xee, sizeof info);
    CHECK_EQ(lots_for_each(&word, info, 1), 3);
    CHECK_EQ(info[1].word, 0xeeeeeeeeeeeeeeee);
    CHECK_EQ(lots_for_each(NULL, info, 4), 3);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(info[i].word, (uintptr_t)&word);
        CHECK_EQ(info[i].owner, info[i].cookie - 'a' + 11);
        CHECK_EQ(info[i].mode, info[i].cookie == 'a' ? LOTS_WRITE : LOTS_READ);
        CHECK_EQ(info[i].draining, info[i].cookie == 'a');
        CHECK_EQ(info[i].state, LOTS_QUEUED);
        CHECK_EQ(info[i].is_task, 1);
        CHECK_EQ(info[i].skipped, 0);
    }
    CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_for_each(&word, info, 4), 2);
    CHECK_EQ(info[0].state, LOTS_NORMAL); /* woken, and not yet looked */
    CHECK_EQ(lots_op_cancel(&b, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_cancel(&c, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    mail(m, 1);
    rings(m);
}

/* A thread that is parked at a bare key. */
static void *park_at(void *argument)
{
    lots_op op;
    lots_waiter *w = op_waiter(&op);
    lots_bucket *b;
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    parker_prepare(w);
    b = lot_lock((uintptr_t)argument);
    lot_enqueue(b, w, (uintptr_t)argument);
    lot_unlock(b);
    while (parker_sleep(w, LOTS_NEVER) != PARKER_WOKEN)
        ;
    parker_finish(w);
    return (void *)(uintptr_t)lots_op_state(&op);
}

static void threads_are_woken_a_batch_at_a_time(void)
{
    enum { THREADS = 2 * BATCH_THREADS + 5 };
    pthread_t threads[THREADS];
    for (int requeues = 0; requeues < 2; requeues++) {
        lots_batch batch = {0};
        calls c = {.token = LOTS_NORMAL};
        size_t woken = 0;
        lot_result r;
        for (int i = 0; i < THREADS; i++)
            CHECK(!pthread_create(&threads[i], NULL, park_at, (void *)elsewhere));
        UNTIL(lots_for_each(NULL, NULL, 0) == THREADS);
        do {
            r = requeues ? lot_unpark_requeue(elsewhere, together[0], SIZE_MAX, count_call, &c, &batch)
                         : lot_unpark_filter(elsewhere, SIZE_MAX, NULL, count_call, &c, &batch);
            CHECK(r.woken <= BATCH_THREADS);
            CHECK_EQ(r.requeued, 0); /* those whom a full batch could not take are to be woken, not moved */
            woken += r.woken;
        } while (r.more);
        CHECK_EQ(woken, THREADS);
        CHECK_EQ(c.count, 3);
        for (int i = 0; i < THREADS; i++) {
            void *state;
            CHECK(!pthread_join(threads[i], &state));
            CHECK_EQ((uintptr_t)state, LOTS_NORMAL);
        }
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    }
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2);
    find_keys();
    RUN(both_keys_of_a_lock_share_a_bucket);
    RUN(one_is_unparked_in_order_of_arrival);
    RUN(a_filter_takes_skips_and_stops);
    RUN(requeue_wakes_some_and_moves_the_rest_behind_those_there);
    RUN(who_comes_back_is_put_where_it_was);
    RUN(queues_that_share_a_bucket_do_not_see_each_other);
    RUN(a_random_walk_agrees_with_a_model);
    RUN(for_each_tells_all_and_fills_what_fits);
    RUN(threads_are_woken_a_batch_at_a_time);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
