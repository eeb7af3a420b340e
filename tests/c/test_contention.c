/* What waiting has cost who got the lock: how long, by buckets, and whether it was handed over; and how records are read. */
#define _GNU_SOURCE /* stepping.h */
#include "counting.h"
#include "stepping.h"

/* --- got it -------------------------------------------------------------------------------------------------------- */

static void who_does_not_wait_is_not_counted(void)
{
    lots_op a;
    begin();
    task(&a, &word, LOTS_WRITE, m, 'a');
    lots_op_counts(&a, &record);
    poll_ready(&a, 0x08);
    CHECK_EQ(lots_op_waited(&a), 0);
    let_go(&a, 0);
    hold(LOTS_WRITE); /* tried, and not waited for */
    task(&a, &word, LOTS_WRITE, m, 'a');
    lots_op_counts(&a, &record);
    CHECK_EQ(lots_op_try(&a), LOTS_PARKED);
    cancel(&a, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x08);
    CHECK_EQ(lots_op_waited(&a), 0);
    release(LOTS_WRITE, 0, 0);
    counted(0, 0, 0, 0, 0, 0, 0);
}

static void who_has_no_record_is_not_counted(void)
{
    lots_op a;
    begin();
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, 'a', 0x09);
    CHECK_EQ(since(&a), now); /* but it waits since */
    now += 10;
    release(LOTS_MUTEX, 1, 0x08);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    poll_ready(&a, 0x08);
    CHECK_EQ(lots_op_waited(&a), 0);
    let_go(&a, 0);
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    lots_op_counts(&a, NULL);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    release(LOTS_MUTEX, 0, 0);
    counted(0, 0, 0, 0, 0, 0, 0);
    clean();
}

static void a_wait_is_as_long_as_it_was(void)
{
    lots_op a;
    begin();
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    CHECK_EQ(since(&a), now);
    now += 700;
    release(LOTS_MUTEX, 0, 0);
    now += 800; /* until it runs */
    poll_ready(&a, 0x08);
    CHECK_EQ(lots_op_waited(&a), 1500);
    counted(1, 0, 0, 0, 0, 1500, 1500);
    CHECK_EQ(record.buckets[1], 1);
    let_go(&a, 0);
    CHECK_EQ(lots_op_waited(&a), 1500);
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    now += 100;
    release(LOTS_MUTEX, 0, 0);
    poll_ready(&a, 0x08);
    CHECK_EQ(lots_op_waited(&a), 100);
    counted(2, 0, 0, 0, 0, 1600, 1500);
    let_go(&a, 0);
    clean();
}

static void falls_into(int bucket, int64_t ns)
{
    lots_op a;
    begin();
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    now += ns;
    release(LOTS_MUTEX, 0, 0);
    poll_ready(&a, 0x08);
    let_go(&a, 0);
    CHECK_EQ(lots_op_waited(&a), ns ? ns : 1); /* 0 would be no wait */
    counted(1, 0, 0, 0, 0, (uint64_t)(ns ? ns : 1), (uint64_t)(ns ? ns : 1));
    CHECK_EQ(record.buckets[bucket], 1);
    now -= ns;
    clean();
}

static void buckets_double(void)
{
    falls_into(0, 0);
    falls_into(0, 1);
    falls_into(0, 1023);
    for (int i = 1; i < LOTS_WAIT_BUCKETS; i++) {
        falls_into(i, INT64_C(1) << (9 + i));
        falls_into(i, (INT64_C(1) << (10 + i)) - 1);
    }
    falls_into(LOTS_WAIT_BUCKETS - 1, INT64_C(1) << (9 + LOTS_WAIT_BUCKETS));
    falls_into(LOTS_WAIT_BUCKETS - 1, INT64_C(1) << (10 + LOTS_WAIT_BUCKETS));
    falls_into(LOTS_WAIT_BUCKETS - 1, INT64_C(1) << 61);
}

static void who_loses_and_queues_again_waits_since_it_came(void)
{
    lots_op a;
    int64_t came = now;
    begin();
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    now += 10;
    release(LOTS_MUTEX, 0, 0);
    hold(LOTS_MUTEX); /* barges in */
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(since(&a), came);
    now += 10;
    release(LOTS_MUTEX, 0, 0);
    poll_ready(&a, 0x08);
    counted(1, 0, 0, 0, 0, 20, 20);
    let_go(&a, 0);
    clean();
}

/* --- how it got it ------------------------------------------------------------------------------------------------- */

static void a_handoff_is_counted(void)
{
    lots_op a;
    begin();
    hold(LOTS_MUTEX);
    counted_queue(&a, LOTS_MUTEX, 'a', 0x09);
    now += 5;
    release(LOTS_MUTEX, 1, 0x08);
    counted(0, 0, 0, 0, 0, 0, 0); /* not before it has taken it up */
    poll_ready(&a, 0x08);
    counted(1, 1, 0, 0, 0, 5, 5);
    let_go(&a, 0);
    clean();
}

/* What a writer that drains is told in the end is that the readers are gone: nobody has handed it anything. */
static void the_end_of_a_drain_is_no_handoff(void)
{
    for (int kept = 0; kept < 2; kept++) {
        lots_op a;
        begin();
        hold(LOTS_READ);
        counted_queue(&a, LOTS_WRITE, 'a', 0x1a);
        now += 5;
        release(LOTS_READ, 0, 0x08);
        CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
        if (kept)
            cancel(&a, LOTS_BY_TIMEOUT, LOTS_READY, 0x08);
        else
            poll_ready(&a, 0x08);
        counted(1, 0, 0, 0, 0, 5, 5);
        let_go(&a, 0);
        clean();
    }
}

/* It is handed WRITER, then has to wait for the readers: one wait, and handed over. */
static void a_writer_that_is_handed_half_of_it_waits_on(void)
{
    for (int kept = 0; kept < 2; kept++) {
        lots_op a;
        begin();
        hold(LOTS_READ);
        hold(LOTS_UPGRADABLE);
        counted_queue(&a, LOTS_WRITE, 'a', 0x25);
        now += 5;
        release(LOTS_UPGRADABLE, 1, 0x18);
        CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
        CHECK_WORD(&word, 0x1a);
        now += 5;
        release(LOTS_READ, 0, 0x08);
        if (kept)
            cancel(&a, LOTS_BY_TIMEOUT, LOTS_READY, 0x08);
        else
            poll_ready(&a, 0x08);
        counted(1, 1, 0, 0, 0, 10, 10);
        let_go(&a, 0);
        clean();
    }
}

/* What it was handed is taken away again, and it competes in the end. */
static void a_handoff_that_came_to_nothing_is_none(void)
{
    lots_op a;
    begin();
    hold(LOTS_READ);
    hold(LOTS_UPGRADABLE);
    counted_queue(&a, LOTS_WRITE, 'a', 0x25);
    release(LOTS_UPGRADABLE, 1, 0x18);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    lots_mailbox_block(m); /* it keeps readers out, and could not use what it waits for */
    CHECK_WORD(&word, 0x11);
    lots_mailbox_unblock(m);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    release(LOTS_UPGRADABLE, 0, 0x10);
    CHECK_EQ(lots_op_state(&a), LOTS_NORMAL);
    now += 9;
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    release(LOTS_READ, 0, 0x08);
    poll_ready(&a, 0x08);
    counted(1, 0, 0, 0, 0, 9, 9);
    let_go(&a, 0);
    clean();
}

/* --- the rest ------------------------------------------------------------------------------------------------------ */

static void records_add_up(void)
{
    lots_contention sum, other;
    uint64_t *numbers = (uint64_t *)&other, *sums = (uint64_t *)&sum;
    size_t n = offsetof(lots_contention, trail) / sizeof *numbers, longest = offsetof(lots_contention, longest_ns) / sizeof *numbers;
    memset(&sum, 0, sizeof sum);
    for (size_t i = 0; i < n; i++)
        numbers[i] = 100 + i;
    lots_contention_add(&sum, &other);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(sums[i], 100 + i);
    other.longest_ns = 3;
    lots_contention_add(&sum, &other);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(sums[i], i == longest ? 100 + i : 2 * (100 + i));
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(numbers[i], i == longest ? 3 : 100 + i);
}

static lots_contention both;

static void another_raises_it(void) { both.longest_ns = 50; }

static void the_longest_of_two_at_a_time_stays(void)
{
    lots_contention longer = {.longest_ns = 100};
    stepping(&word, m, another_raises_it);
    for (int at = 1, more = CAN_STEP; more; at++) {
        both = (lots_contention){0};
        more = STEPPED(at, lots_contention_add(&both, &longer));
        CHECK_EQ(both.longest_ns, more && at > 7 ? 50 : 100); /* the seventh is its own; after it nobody looks again */
    }
}

static void first_come_first_listed(void)
{
    lots_op drains, second, third;
    lots_waiter_info list[4];
    hold(LOTS_READ);
    CHECK_EQ(lots_first(&word, list, 4), 0);
    queue(&drains, LOTS_WRITE, 'd', 0x1a);
    now += 2;
    queue(&second, LOTS_READ, 's', 0x1b);
    queue(&third, LOTS_WRITE, 't', 0x1b);
    expect_at(&ops[0], &word, LOTS_READ, m, 'n', here); /* wants the lock later, if ever */
    memset(list, 0xee, sizeof list);
    CHECK_EQ(lots_first(&word, list, 4), 3);
    CHECK(list[0].cookie == 'd' && list[1].cookie == 's' && list[2].cookie == 't' && list[3].mode == 0xeeeeeeee);
    CHECK(list[0].draining && !list[1].draining && list[1].state == LOTS_QUEUED && list[1].since == now);
    memset(list, 0xee, sizeof list);
    CHECK_EQ(lots_first(&word, list, 2), 2);
    CHECK(list[0].cookie == 'd' && list[1].cookie == 's' && list[2].mode == 0xeeeeeeee);
    memset(list, 0xee, sizeof list);
    CHECK_EQ(lots_first(&word, list, 0), 0);
    CHECK(list[0].mode == 0xeeeeeeee);
    CHECK_EQ(lots_first(&word, list, 1), 1);
    CHECK(list[0].cookie == 'd' && list[1].mode == 0xeeeeeeee);
    withdrawn(0);
    cancel(&third, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x1b);
    cancel(&second, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x1a);
    cancel(&drains, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

static void tests(void)
{
    RUN(who_does_not_wait_is_not_counted);
    RUN(who_has_no_record_is_not_counted);
    RUN(a_wait_is_as_long_as_it_was);
    RUN(buckets_double);
    RUN(who_loses_and_queues_again_waits_since_it_came);
    RUN(a_handoff_is_counted);
    RUN(the_end_of_a_drain_is_no_handoff);
    RUN(a_writer_that_is_handed_half_of_it_waits_on);
    RUN(a_handoff_that_came_to_nothing_is_none);
    RUN(records_add_up);
    RUN(the_longest_of_two_at_a_time_stays);
    RUN(first_come_first_listed);
}

int main(void)
{
    run_with_a_loop(tests);
    return 0;
}
