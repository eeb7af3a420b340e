/* Tasks: waiters that are polled, and woken through their loop's mailbox. The test is the event loop, by hand. */
#include "actors.h"

static lots_word word;
static lots_mailbox *m, *other;

static void hold(uint32_t mode)
{
    set_fairness(&word, FAIR_NEVER);
    CHECK_EQ(lots_try(&word, mode), 1);
}

static void queue(lots_op *op, uint32_t mode, lots_mailbox *mailbox, char cookie)
{
    task(op, &word, mode, mailbox, cookie);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
}

static void clean(void)
{
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_STR(mail(m, 0), "");
    CHECK_STR(mail(other, 0), "");
    CHECK_EQ(rings(m), 0);
    CHECK_EQ(rings(other), 0);
}

static void polled_parked_woken_polled(void)
{
    lots_op a;
    task(&a, &word, LOTS_WRITE, m, 'a');
    CHECK_EQ(lots_op_poll(&a), LOTS_READY); /* nobody is there: no mailbox involved */
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY);
    clean();

    hold(LOTS_READ);
    queue(&a, LOTS_WRITE, m, 'a');
    CHECK_WORD(&word, 0x1a);
    CHECK_EQ(rings(m), 0);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY);
    clean();
}

static void from_the_loops_own_thread_it_is_handed_over_and_rings_nothing(void)
{
    for (int drains = 0; drains < 2; drains++) { /* a mutex, or a writer that drains */
        lots_op a;
        hold(drains ? LOTS_READ : LOTS_MUTEX);
        queue(&a, drains ? LOTS_WRITE : LOTS_MUTEX, m, 'a');
        CHECK_EQ(lots_release(&word, drains ? LOTS_READ : LOTS_MUTEX, 0, m), LOTS_READY | LOTS_MAIL);
        CHECK_WORD(&word, 0x08);
        CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
        CHECK_EQ(rings(m), 0);
        CHECK_STR(mail(m, 0), "a");
        CHECK_EQ(lots_try(&word, LOTS_MUTEX), 0); /* nobody can barge in before the task runs */
        CHECK_EQ(lots_op_poll(&a), LOTS_READY);
        CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY);
        clean();
    }
}

static void between_loops_it_is_a_barging_opportunity(void)
{
    lots_op a;
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, m, 'a');
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, other), LOTS_READY); /* `other` runs here, not m: no LOTS_MAIL */
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_op_state(&a), LOTS_NORMAL);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY);
    clean();
}

static void before_a_task_of_its_own_comes_a_thread(void)
{
    actor thread;
    lots_op a;
    hold(LOTS_MUTEX);
    start(&thread, &word, LOTS_MUTEX);
    parked(&word, 1);
    queue(&a, LOTS_MUTEX, m, 'a');
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, m), LOTS_READY); /* the head is no task of m */
    CHECK_EQ(finish(&thread), LOTS_READY);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_op_release(&thread.op, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_WORD(&word, 0x08);
    CHECK_STR(mail(m, 0), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY);
    clean();
}

/* A thousand woken tasks are one ring, and their mail is in the order in which they came. */
static void a_crowd_is_rung_once(void)
{
    enum { MANY = 1000 };
    static lots_op crowd[MANY];
    uint64_t cookies[64];
    size_t n, taken = 0;
    hold(LOTS_WRITE);
    for (size_t i = 0; i < MANY; i++) {
        lots_op_init(&crowd[i], &word, LOTS_READ, m, i, 0);
        CHECK_EQ(lots_op_poll(&crowd[i]), LOTS_PARKED);
    }
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_for_each(&word, NULL, 0), MANY);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10 * MANY);
    CHECK_EQ(rings(m), 1);
    while ((n = lots_mailbox_drain(m, cookies, 64, taken == 0)) > 0)
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(cookies[i], taken++);
    CHECK_EQ(taken, MANY);
    for (size_t i = 0; i < MANY; i++)
        CHECK_EQ(lots_op_poll(&crowd[i]), LOTS_READY);
    for (size_t i = 0; i < MANY; i++)
        CHECK_EQ(lots_op_release(&crowd[i], 0, m), LOTS_READY);
    clean();
}

static void each_loop_is_rung_and_once_until_it_answers(void)
{
    lots_op a, b, c, d;
    hold(LOTS_WRITE);
    queue(&a, LOTS_READ, m, 'a');
    queue(&b, LOTS_READ, other, 'b');
    queue(&c, LOTS_READ, m, 'c');
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x30);
    CHECK_EQ(rings(m), 1);
    CHECK_EQ(rings(other), 1);
    queue(&d, LOTS_WRITE, m, 'd');
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_poll(&b), LOTS_READY);
    CHECK_EQ(lots_op_poll(&c), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_release(&b, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_release(&c, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_state(&d), LOTS_HANDOFF);
    CHECK_EQ(rings(m), 1); /* the first, still to be answered: no second one */
    CHECK(strchr(mail(m, 1), 'd') != NULL);
    mail(other, 1);
    CHECK_EQ(lots_op_poll(&d), LOTS_READY);
    CHECK_EQ(lots_op_release(&d, 0, NULL), LOTS_READY);
    clean();
    hold(LOTS_MUTEX); /* answered, so the next one rings anew */
    queue(&a, LOTS_MUTEX, m, 'a');
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 1), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, NULL), LOTS_READY);
    clean();
}

static void an_inline_drain_leaves_the_ring_to_be_answered(void)
{
    lots_op a, b;
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, m, 'a');
    queue(&b, LOTS_MUTEX, m, 'b');
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_STR(mail(m, 0), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, NULL), LOTS_READY); /* b */
    CHECK_EQ(rings(m), 1);                             /* one for both */
    CHECK_STR(mail(m, 1), "b");
    CHECK_STR(mail(m, 1), ""); /* the fd may be looked at for nothing */
    CHECK_EQ(lots_op_poll(&b), LOTS_READY);
    CHECK_EQ(lots_op_release(&b, 0, NULL), LOTS_READY);
    clean();
}

static void tasks_of_one_loop_are_first_come_first_served(void)
{
    lots_op ops[5];
    hold(LOTS_MUTEX);
    for (int i = 0; i < 5; i++)
        queue(&ops[i], LOTS_MUTEX, m, (char)('a' + i));
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, m), LOTS_READY | LOTS_MAIL);
    for (int i = 0; i < 5; i++) {
        char wanted[] = {(char)('a' + i), 0};
        CHECK_STR(mail(m, 0), wanted);
        for (int j = 0; j < 5; j++) /* whoever looks, it is this one's turn */
            if (j != i && lots_op_state(&ops[j]) == LOTS_QUEUED)
                CHECK_EQ(lots_op_poll(&ops[j]), LOTS_PARKED);
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
        CHECK_WORD(&word, i < 4 ? 0x09 : 0x08);
        CHECK_EQ(lots_op_release(&ops[i], 0, m), LOTS_READY | (i < 4 ? LOTS_MAIL : 0));
    }
    clean();
}

static void one_that_loses_to_a_barger_keeps_its_place(void)
{
    lots_waiter_info info[2];
    lots_op a, b;
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, m, 'a');
    queue(&b, LOTS_MUTEX, m, 'b');
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0x01);
        CHECK_EQ(lots_op_state(&a), LOTS_NORMAL);
        hold(LOTS_MUTEX);
        CHECK_WORD(&word, 0x09);
        CHECK_STR(mail(m, 1), "a");
        CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
        CHECK_WORD(&word, 0x09);
        CHECK_EQ(lots_for_each(&word, info, 2), 2);
        CHECK_EQ(info[0].cookie, 'a');
        CHECK_EQ(info[1].cookie, 'b');
        CHECK(info[0].ticket < info[1].ticket);
    }
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_STR(mail(m, 0), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_STR(mail(m, 0), "b");
    CHECK_EQ(lots_op_poll(&b), LOTS_READY);
    CHECK_EQ(lots_op_release(&b, 0, m), LOTS_READY);
    mail(m, 1);
    rings(m);
    clean();
}

static void a_look_for_nothing_changes_nothing(void)
{
    lots_op a, b;
    hold(LOTS_READ);
    queue(&a, LOTS_WRITE, m, 'a');
    queue(&b, LOTS_READ, m, 'b');
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
        CHECK_WORD(&word, 0x1b);
        CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
        CHECK_WORD(&word, 0x1b);
    }
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_WORD(&word, 0x09);
    CHECK_STR(mail(m, 0), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_WORD(&word, 0x10);
    CHECK_STR(mail(m, 0), "b");
    CHECK_EQ(lots_op_poll(&b), LOTS_READY);
    CHECK_EQ(lots_op_release(&b, 0, m), LOTS_READY);
    clean();
}

static void who_waits_may_be_told_late(void)
{
    lots_op a;
    hold(LOTS_MUTEX);
    lots_op_init(&a, &word, LOTS_MUTEX, NULL, 0, 0);
    CHECK_EQ(lots_op_try(&a), LOTS_PARKED);
    lots_op_waits_as(&a, m, 'a', 7);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_STR(mail(m, 0), "a");
    CHECK_EQ(lots_op_poll(&a), LOTS_READY);
    CHECK_EQ(lots_op_release(&a, 0, m), LOTS_READY);
    clean();
}

/* A task may look before its mail was taken out: its loop had scheduled it already. Once it has what it came for, it may
 * end, and its memory with it; so its mail must not outlive it. */
static void mail_does_not_outlive_its_op(void)
{
    lots_op *a = malloc(sizeof *a);
    hold(LOTS_MUTEX);
    queue(a, LOTS_MUTEX, m, 'a');
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_poll(a), LOTS_READY);
    CHECK_EQ(lots_op_release(a, 0, m), LOTS_READY);
    memset(a, 'X', sizeof *a);
    free(a);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 1), "");
    clean();
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    other = lots_mailbox_new();
    CHECK(m && other && lots_mailbox_fd(m) >= 0);
    lots_revoke_after(INT64_MAX / 2); /* nobody is late here */
    RUN(polled_parked_woken_polled);
    RUN(from_the_loops_own_thread_it_is_handed_over_and_rings_nothing);
    RUN(between_loops_it_is_a_barging_opportunity);
    RUN(before_a_task_of_its_own_comes_a_thread);
    RUN(a_crowd_is_rung_once);
    RUN(each_loop_is_rung_and_once_until_it_answers);
    RUN(an_inline_drain_leaves_the_ring_to_be_answered);
    RUN(tasks_of_one_loop_are_first_come_first_served);
    RUN(one_that_loses_to_a_barger_keeps_its_place);
    RUN(a_look_for_nothing_changes_nothing);
    RUN(who_waits_may_be_told_late);
    RUN(mail_does_not_outlive_its_op);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    lots_mailbox_close(other);
    lots_mailbox_free(other);
    return 0;
}
