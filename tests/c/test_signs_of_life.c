/* A loop that did not answer in time, and does again: who says so, and that nobody else does. revoke_late is called by the
 * test, which so decides who is late. */
#include "steps.h"

#include "revoke.h"

static lots_word others[2];
static lots_op late[2];

/* A task of m, of another lock, that is too late to take up its wake. */
static void be_late(int i)
{
    CHECK_EQ(lots_try(&others[i], LOTS_MUTEX), 1);
    task(&late[i], &others[i], LOTS_MUTEX, m, (char)('x' + i));
    CHECK_EQ(lots_op_poll(&late[i]), LOTS_PARKED);
    CHECK_EQ(lots_release(&others[i], LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK_EQ(lots_op_state(&late[i]), LOTS_QUEUED);
    CHECK_WORD(&others[i], 0x01);
    CHECK(mailbox_cannot_run(m));
}

static void come_back(int i)
{
    CHECK_EQ(lots_op_poll(&late[i]), LOTS_READY);
    CHECK_EQ(lots_op_release(&late[i], 0, NULL), LOTS_READY);
    CHECK_WORD(&others[i], 0);
}

static void only_a_task_that_was_too_late_is_a_sign_of_life(void)
{
    lots_op a;
    lots_waiter_info list[1];
    hold(LOTS_WRITE);
    queue(&a, LOTS_READ, 'a', 0x09);
    be_late(0);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED); /* its loop may be in the middle of anything */
    CHECK(mailbox_cannot_run(m));
    CHECK_EQ(lots_for_each(&others[0], list, 1), 1);
    CHECK_EQ(list[0].skipped, 1);
    come_back(0);
    CHECK(!mailbox_cannot_run(m));
    CHECK_EQ(lots_for_each(&word, list, 1), 1);
    CHECK_EQ(list[0].skipped, 0);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    release(LOTS_WRITE, 0, 0);
    clean();
}

/* It is a sign once: a task that comes back and queues again says nothing more by giving up. */
static void a_sign_of_life_is_given_once(void)
{
    be_late(0);
    CHECK_EQ(lots_try(&others[0], LOTS_MUTEX), 1);
    CHECK_EQ(lots_op_poll(&late[0]), LOTS_PARKED); /* back, too late */
    CHECK(!mailbox_cannot_run(m));
    be_late(1);
    CHECK_EQ(lots_op_cancel(&late[0], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK(mailbox_cannot_run(m));
    CHECK_EQ(lots_release(&others[0], LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_cancel(&late[1], LOTS_BY_TIMEOUT, NULL), LOTS_WITHDRAWN);
    CHECK(!mailbox_cannot_run(m));
    CHECK_WORD(&others[1], 0);
    clean();
}

/* What was in the mail before is not in the next. */
static void mail_is_delivered_once(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    queue(&a, LOTS_READ, 'a', 0x09);
    queue(&b, LOTS_READ, 'b', 0x09);
    lots_mailbox_block(m);
    release(LOTS_WRITE, 0, 0x01); /* both are passed over */
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "ab");
    hold(LOTS_WRITE);
    cancel(&b, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x09);
    lots_mailbox_block(m);
    release(LOTS_WRITE, 0, 0x01);
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "a");
    poll_ready(&a, 0x10);
    let_go(&a, 0);
    clean();
}

/* The loop has been rung and has not answered: whoever drains without that ring leaves it to be answered. */
static void a_ring_is_owed_until_it_is_answered(void)
{
    lots_op a, b;
    hold(LOTS_WRITE);
    queue(&a, LOTS_WRITE, 'a', 0x09);
    queue(&b, LOTS_WRITE, 'b', 0x09);
    release(LOTS_WRITE, 0, 0x01);
    CHECK_EQ(rings(m), 1);
    CHECK_STR(mail(m, 0), "a");
    CHECK_EQ(rings(m), 1);
    poll_ready(&a, 0x09);
    let_go(&a, 0);
    CHECK_EQ(rings(m), 1); /* not rung again */
    CHECK_STR(mail(m, 1), "b");
    CHECK_EQ(rings(m), 0);
    poll_ready(&b, 0x08);
    let_go(&b, 0);
    clean();
}

/* Only who was passed over, and whose loop is back, has something to look for; and once. */
static void only_who_was_passed_over_is_nudged(void)
{
    lots_mailbox *other = lots_mailbox_new();
    lots_op a, b, c;
    lots_waiter_info list[3];
    CHECK_EQ(lots_try(&others[0], LOTS_WRITE), 1);
    hold(LOTS_WRITE);
    task(&c, &others[0], LOTS_READ, m, 'c'); /* queues elsewhere, and is not passed over */
    CHECK_EQ(lots_op_poll(&c), LOTS_PARKED);
    queue(&a, LOTS_READ, 'a', 0x09);
    task(&b, &word, LOTS_READ, other, 'b');
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    lots_mailbox_block(m);
    lots_mailbox_block(m); /* twice: a depth */
    lots_mailbox_block(other);
    release(LOTS_WRITE, 0, 0x01);
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "");
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "a");
    CHECK_STR(mail(other, 1), "");
    CHECK_EQ(lots_for_each(&word, list, 3), 2);
    CHECK_EQ(list[0].skipped, 0);
    CHECK_EQ(list[1].skipped, 1);
    lots_mailbox_block(m);
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "");
    lots_mailbox_unblock(other);
    CHECK_STR(mail(other, 1), "b");
    poll_ready(&a, 0x11);
    CHECK_EQ(lots_op_poll(&b), LOTS_READY);
    let_go(&a, 0x10);
    let_go(&b, 0);
    CHECK_EQ(lots_release(&others[0], LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_poll(&c), LOTS_READY);
    CHECK_EQ(lots_op_release(&c, 0, NULL), LOTS_READY);
    lots_mailbox_close(other);
    lots_mailbox_free(other);
    clean();
}

/* A writer of another loop goes on draining, and so does a thread's. */
static void blocking_a_loop_disturbs_no_other(void)
{
    for (int is_task = 0; is_task < 2; is_task++) {
        lots_mailbox *other = lots_mailbox_new();
        lots_op a;
        hold(LOTS_READ);
        lots_op_init(&a, &word, LOTS_WRITE, is_task ? other : NULL, 'a', 0);
        CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
        lots_mailbox_block(m);
        CHECK_WORD(&word, 0x1a);
        lots_mailbox_unblock(m);
        release(LOTS_READ, 0, 0x08);
        poll_ready(&a, 0x08);
        let_go(&a, 0);
        lots_mailbox_close(other);
        lots_mailbox_free(other);
        clean();
    }
}

/* Late is who was woken at that time or before; who was woken after it keeps its wake. */
static void only_the_late_are_revoked(void)
{
    lots_op a, b;
    int64_t time;
    uint64_t before = lots_revocations();
    hold(LOTS_WRITE);
    queue(&a, LOTS_READ, 'a', 0x09);
    release(LOTS_WRITE, 1, 0x10);
    CHECK_EQ(lots_try(&others[0], LOTS_MUTEX), 1);
    task(&b, &others[0], LOTS_MUTEX, m, 'b');
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    time = op_waiter(&a)->woken_at;
    UNTIL(now_ns() > time);
    CHECK_EQ(lots_release(&others[0], LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(revoke_late(time - 1, 1), 1);
    CHECK_EQ(lots_op_state(&a), LOTS_HANDOFF);
    CHECK_EQ(revoke_late(time, 0), 1);
    CHECK_EQ(lots_op_state(&a), LOTS_QUEUED);
    CHECK_EQ(lots_op_state(&b), LOTS_HANDOFF);
    CHECK_WORD(&word, 0x01);
    CHECK_EQ(lots_revocations(), before + 1);
    CHECK_EQ(lots_op_poll(&b), LOTS_READY);
    CHECK_EQ(lots_op_release(&b, 0, NULL), LOTS_READY);
    poll_ready(&a, 0x10);
    let_go(&a, 0);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 0); /* nobody has a wake now */
    CHECK_EQ(revoke_late(INT64_MAX, 0), 0);
    clean();
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2);
    RUN(only_a_task_that_was_too_late_is_a_sign_of_life);
    RUN(a_sign_of_life_is_given_once);
    RUN(mail_is_delivered_once);
    RUN(a_ring_is_owed_until_it_is_answered);
    RUN(only_who_was_passed_over_is_nudged);
    RUN(blocking_a_loop_disturbs_no_other);
    RUN(only_the_late_are_revoked);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
