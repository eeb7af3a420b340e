/* Tasks that were woken and have not looked yet, several of them in one bucket; and the timer of a bucket. */
#include "steps.h"

#include "revoke.h"

enum { LOCKS = 4 };
static lots_word *locks[LOCKS]; /* all in one bucket */
static lots_bucket *bucket;
static lots_op ops[LOCKS];
static lots_mailbox *other;

static void find_locks(void)
{
    static lots_word words[64 * LOT_BUCKETS];
    int found = 0;
    bucket = lot_bucket_of((uintptr_t)&words[0]);
    for (size_t i = 0; found < LOCKS; i++)
        if (lot_bucket_of((uintptr_t)&words[i]) == bucket)
            locks[found++] = &words[i];
}

/* A task is handed lock i, later than the one before. */
static void wake(int i, lots_mailbox *whose)
{
    int64_t now = now_ns();
    set_fairness(locks[i], FAIR_NEVER);
    UNTIL(now_ns() > now);
    CHECK_EQ(lots_try(locks[i], LOTS_MUTEX), 1);
    task(&ops[i], locks[i], LOTS_MUTEX, whose, (char)('a' + i));
    CHECK_EQ(lots_op_poll(&ops[i]), LOTS_PARKED);
    CHECK_EQ(lots_release(locks[i], LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(lots_op_state(&ops[i]), LOTS_HANDOFF);
}

static void take_it_up(int i)
{
    CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
    CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
    CHECK_WORD(locks[i], 0);
}

/* Those that are listed, as a text; the links agree, and the count. */
static const char *listed(void)
{
    static char text[LOCKS + 1];
    lots_waiter *w, *before = NULL;
    uint32_t n = 0;
    bucket_lock_acquire(&bucket->lock);
    for (w = bucket->woken; w; before = w, w = w->next) {
        CHECK(w->prev == before);
        text[n++] = (char)w->cookie;
    }
    text[n] = 0;
    CHECK(bucket->woken_last == before);
    CHECK_EQ(a32_load(&bucket->woken_count, RELAXED), n);
    bucket_lock_release(&bucket->lock);
    return text;
}

static void end(void)
{
    CHECK_STR(listed(), "");
    mail(m, 1);
    mail(other, 1);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

static void they_leave_in_any_order(void)
{
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t o = 0; o < 6; o++) {
        for (int i = 0; i < 3; i++)
            wake(i, m);
        CHECK_STR(listed(), "abc");
        take_it_up(orders[o][0]);
        listed();
        wake(3, m);
        CHECK_EQ(strlen(listed()), 3);
        CHECK_EQ(listed()[2], 'd');
        take_it_up(orders[o][1]);
        listed();
        take_it_up(3);
        listed();
        take_it_up(orders[o][2]);
        end();
    }
}

static void the_oldest_is_late_first(void)
{
    for (int i = 0; i < 3; i++)
        wake(i, i == 1 ? other : m);
    CHECK_EQ(revoke_late(op_waiter(&ops[0])->woken_at - 1, 1), 1);
    CHECK_STR(listed(), "abc");
    CHECK_EQ(revoke_late(op_waiter(&ops[0])->woken_at, 1), 1);
    CHECK_STR(listed(), "bc");
    CHECK_EQ(lots_op_state(&ops[0]), LOTS_QUEUED);
    CHECK_EQ(revoke_late(op_waiter(&ops[2])->woken_at - 1, 1), 1);
    CHECK_STR(listed(), "c");
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 0);
    for (int i = 0; i < 3; i++)
        take_it_up(i);
    end();
}

/* In a hurry it believes the count, else it looks under the lock. */
static void an_exact_look_does_not_believe_the_count(void)
{
    wake(0, m);
    a32_store(&bucket->woken_count, 0, RELAXED);
    CHECK_EQ(revoke_late(0, 0), 0);
    CHECK_EQ(revoke_late(0, 1), 1);
    a32_store(&bucket->woken_count, 1, RELAXED);
    CHECK_EQ(revoke_late(0, 0), 1);
    take_it_up(0);
    end();
}

static void a_loop_that_blocks_or_closes_is_found_among_others(void)
{
    for (int closes = 0; closes < 2; closes++)
        for (int which = 0; which < 3; which++) {
            lots_mailbox *goes = lots_mailbox_new();
            for (int i = 0; i < 3; i++)
                wake(i, i == which ? goes : i ? other : m);
            closes ? lots_mailbox_close(goes) : lots_mailbox_block(goes);
            CHECK_EQ(strlen(listed()), 2);
            CHECK_EQ(lots_op_state(&ops[which]), closes ? LOTS_GONE : LOTS_QUEUED);
            CHECK_WORD(locks[which], closes ? 0 : 1);
            if (!closes)
                lots_mailbox_unblock(goes);
            for (int i = 0; i < 3; i++)
                if (i != which || !closes)
                    take_it_up(i);
            lots_mailbox_close(goes);
            lots_mailbox_free(goes);
            end();
        }
}

/* Said once more, in other words than parking_lot.c has: xorshift32, from a seed that is each bucket's own. */
static uint32_t next_random(uint32_t r)
{
    r = r ^ (r << 13);
    r = r ^ (r >> 17);
    return r ^ (r << 5);
}

static void the_timer_is_wound_up_for_half_a_millisecond_on_average(void)
{
    static uint64_t keys[8 * LOT_BUCKETS];
    uint64_t sum = 0;
    uint32_t seeds[8];
    const lots_bucket *table = bucket; /* the first bucket */
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (lot_bucket_of((uintptr_t)&keys[i]) < table)
            table = lot_bucket_of((uintptr_t)&keys[i]);
    for (int i = 0; i < 8; i++) {
        lots_bucket *b = lot_lock((uintptr_t)&keys[64 * i]);
        uint32_t r;
        b->random = 0;
        b->fair_at = now_ns() + 1000000000;
        CHECK_EQ(lot_fair_due(b), 0);
        CHECK_EQ(b->random, 0);
        for (int j = 0; j < 200; j++) {
            int64_t before = now_ns();
            r = b->random;
            b->fair_at = 0;
            CHECK_EQ(lot_fair_due(b), 1);
            if (r)
                CHECK_EQ(b->random, next_random(r));
            else
                CHECK_EQ(seeds[i] = b->random, next_random((uint32_t)(lot_bucket_of((uintptr_t)b) - table) * 2 + 1));
            CHECK(b->fair_at - b->random % LOTS_FAIR_WITHIN_NS >= before);
            CHECK(b->fair_at - b->random % LOTS_FAIR_WITHIN_NS <= now_ns());
            sum += b->random % LOTS_FAIR_WITHIN_NS;
        }
        for (int j = 0; j < i; j++)
            CHECK(seeds[j] != seeds[i] || lot_bucket_of((uintptr_t)&keys[64 * j]) == b);
        lot_unlock(b);
    }
    CHECK(sum / 1600 > LOTS_FAIR_WITHIN_NS * 4ull / 10 && sum / 1600 < LOTS_FAIR_WITHIN_NS * 6ull / 10);
}

int main(void)
{
    watchdog(30);
    find_locks();
    m = lots_mailbox_new();
    other = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2); /* late is who revoke_late is called for */
    RUN(they_leave_in_any_order);
    RUN(the_oldest_is_late_first);
    RUN(an_exact_look_does_not_believe_the_count);
    RUN(a_loop_that_blocks_or_closes_is_found_among_others);
    RUN(the_timer_is_wound_up_for_half_a_millisecond_on_average);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    lots_mailbox_close(other);
    lots_mailbox_free(other);
    return 0;
}
