/* Upgrades and downgrades that others wait for, or that have to wait: the word after each step, and who is woken. */
#include "steps.h"

#include "admit.h"
#include "revoke.h"

static void hand_back(uint32_t mode, uint64_t wanted) { release(mode, 0, wanted); }

static void downgrade(uint32_t from, uint32_t to, uint64_t wanted)
{
    CHECK_EQ(lots_downgrade(&word, from, to, NULL), LOTS_READY);
    CHECK_WORD(&word, wanted);
}

static void an_upgrade_waits_for_the_other_readers(void)
{
    lots_op up;
    hold(LOTS_UPGRADABLE);
    hold(LOTS_READ);
    queue(&up, LOTS_UPGRADE, 'u', 0x1a); /* its own share and UPGRADABLE for WRITER */
    CHECK_EQ(lots_try(&word, LOTS_READ), 0);
    CHECK_EQ(lots_try(&word, LOTS_READ_RECURSIVE), 1);
    CHECK_WORD(&word, 0x2a);
    release(LOTS_READ_RECURSIVE, 0, 0x1a);
    release(LOTS_READ, 0, 0x08);
    CHECK_STR(mail(m, 1), "u");
    poll_ready(&up, 0x08);
    let_go(&up, 0x14); /* it is upgradable again */
    hand_back(LOTS_UPGRADABLE, 0);
    clean();
}

static void an_upgrade_that_gives_up_is_upgradable_again(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op up, reader, writer;
        hold(LOTS_UPGRADABLE);
        hold(LOTS_READ);
        queue(&up, LOTS_UPGRADE, 'u', 0x1a);
        queue(&reader, LOTS_READ, 'r', 0x1b);
        queue(&writer, LOTS_WRITE, 'w', 0x1b);
        cancel(&up, why, LOTS_WITHDRAWN, 0x25); /* both bits back, and the reader may come in */
        CHECK_STR(mail(m, 1), "r");
        poll_ready(&reader, 0x35);
        let_go(&reader, 0x25);
        release(LOTS_READ, 0, 0x15);
        release(LOTS_UPGRADABLE, 0, 0);
        CHECK_STR(mail(m, 1), "w");
        poll_ready(&writer, 0x08);
        let_go(&writer, 0);
        clean();
    }
}

static void an_upgrade_that_was_granted_is_kept_or_given_back(void)
{
    for (uint32_t why = LOTS_BY_TIMEOUT; why <= LOTS_BY_CANCEL; why++) {
        lots_op up;
        int kept = why == LOTS_BY_TIMEOUT;
        hold(LOTS_UPGRADABLE);
        hold(LOTS_READ);
        queue(&up, LOTS_UPGRADE, 'u', 0x1a);
        release(LOTS_READ, 0, 0x08);
        cancel(&up, why, kept ? LOTS_READY : LOTS_WITHDRAWN, kept ? 0x08 : 0x14);
        if (kept)
            let_go(&up, 0x14);
        hand_back(LOTS_UPGRADABLE, 0);
        clean();
    }
}

static void only_the_upgradable_one_may_ask(void)
{
    static const uint64_t words[] = {0, 0x08, 0x10, 0x20, 0x18, 0x1a};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        for (int how = 0; how < 3; how++) {
            lots_op up;
            word.bits = words[i];
            lots_op_init(&up, &word, LOTS_UPGRADE, NULL, 0, 0);
            CHECK_EQ(how == 0 ? lots_op_try(&up) : how == 1 ? lots_op_poll(&up) : lots_op_wait(&up, LOTS_NEVER), LOTS_MISUSE);
            CHECK_WORD(&word, words[i]);
            CHECK_EQ(lots_op_state(&up), LOTS_PENDING);
        }
    word.bits = 0;
}

/* Only one at a time; and a writer waits too, without keeping readers out. */
static void upgradables_and_writers_take_turns(void)
{
    lots_op second, writer, reader;
    hold(LOTS_UPGRADABLE);
    queue(&second, LOTS_UPGRADABLE, 's', 0x15);
    queue(&writer, LOTS_WRITE, 'w', 0x15);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    release(LOTS_READ, 0, 0x15);
    task(&reader, &word, LOTS_READ, m, 'r');
    poll_ready(&reader, 0x25);
    release(LOTS_UPGRADABLE, 1, 0x35 - 0x10); /* handed over, beside the reader */
    CHECK_STR(mail(m, 1), "s");
    CHECK_EQ(lots_op_state(&second), LOTS_HANDOFF);
    poll_ready(&second, 0x25);
    CHECK_EQ(lots_op_release(&second, 1, NULL), LOTS_READY); /* the writer owns WRITER now, and has to drain */
    CHECK_WORD(&word, 0x18);
    CHECK_STR(mail(m, 1), "w");
    CHECK_EQ(lots_op_poll(&writer), LOTS_PARKED);
    CHECK_WORD(&word, 0x1a);
    let_go(&reader, 0x08);
    poll_ready(&writer, 0x08);
    let_go(&writer, 0);
    clean();
}

static void a_plain_release_of_an_upgradable_only_tells(void)
{
    lots_op second;
    hold(LOTS_UPGRADABLE);
    queue(&second, LOTS_UPGRADABLE, 's', 0x15);
    release(LOTS_UPGRADABLE, 0, 0);
    CHECK_EQ(lots_op_state(&second), LOTS_NORMAL);
    poll_ready(&second, 0x14);
    let_go(&second, 0);
    clean();
}

static void an_upgradable_that_was_handed_it_gives_all_of_it_back(void)
{
    for (int late = 0; late < 2; late++) {
        lots_op a;
        hold(LOTS_WRITE);
        queue(&a, LOTS_UPGRADABLE, 'a', 0x09);
        release(LOTS_WRITE, 1, 0x14);
        if (late) {
            CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
            CHECK_WORD(&word, 0x01);
        }
        cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0);
        clean();
    }
}

static void a_downgrade_lets_in_whom_it_may(void)
{
    static const struct { uint32_t from, to; uint64_t kept, with_reader; } ways[] = {
        {LOTS_WRITE, LOTS_READ, 0x10, 0x20}, {LOTS_WRITE, LOTS_UPGRADABLE, 0x14, 0x24},
    };
    for (size_t i = 0; i < 2; i++) {
        lots_op reader, writer, second;
        hold(LOTS_WRITE);
        queue(&reader, LOTS_READ, 'r', 0x09);
        queue(&second, LOTS_UPGRADABLE, 'u', 0x09);
        queue(&writer, LOTS_WRITE, 'w', 0x09);
        downgrade(ways[i].from, ways[i].to, ways[i].kept | 1);
        CHECK_STR(mail(m, 1), i ? "r" : "ru"); /* beside an upgradable one no second, and beside neither a writer */
        poll_ready(&reader, ways[i].with_reader | 1);
        let_go(&reader, ways[i].kept | 1);
        if (i) {
            downgrade(LOTS_UPGRADABLE, LOTS_READ, 0x11);
            CHECK_STR(mail(m, 1), "u");
        }
        poll_ready(&second, 0x25);
        CHECK_EQ(lots_op_poll(&writer), LOTS_PARKED);
        CHECK_WORD(&word, 0x25);
        let_go(&second, 0x10);
        CHECK_STR(mail(m, 1), "w");
        CHECK_EQ(lots_op_poll(&writer), LOTS_PARKED);
        CHECK_WORD(&word, 0x1a);
        release(LOTS_READ, 0, 0x08);
        poll_ready(&writer, 0x08);
        let_go(&writer, 0);
        clean();
    }
}

static void a_downgrade_says_if_its_own_loop_has_mail(void)
{
    lots_op reader;
    hold(LOTS_WRITE);
    queue(&reader, LOTS_READ, 'r', 0x09);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_READ, m), LOTS_READY | LOTS_MAIL);
    CHECK_WORD(&word, 0x20); /* a task of this very loop: handed over */
    CHECK_EQ(rings(m), 0);
    CHECK_STR(mail(m, 0), "r");
    poll_ready(&reader, 0x20);
    let_go(&reader, 0x10);
    release(LOTS_READ, 0, 0);
    clean();
}

/* It would hang: the bucket's lock is taken. */
static void without_waiters_a_downgrade_asks_for_no_lock(void)
{
    lots_bucket *b = lot_lock((uintptr_t)&word);
    word.bits = 0x08;
    downgrade(LOTS_WRITE, LOTS_UPGRADABLE, 0x14);
    downgrade(LOTS_UPGRADABLE, LOTS_READ, 0x10);
    word.bits = 0x08;
    downgrade(LOTS_WRITE, LOTS_READ, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_UPGRADABLE, 0, NULL), LOTS_MISUSE);
    lot_unlock(b);
    release(LOTS_READ, 0, 0);
}

static void no_other_downgrade_is_one(void)
{
    for (uint32_t from = 0; from < LOTS_MODES; from++)
        for (uint32_t to = 0; to < LOTS_MODES; to++) {
            int is_one = (from == LOTS_WRITE && (to == LOTS_READ || to == LOTS_UPGRADABLE)) ||
                         (from == LOTS_UPGRADABLE && to == LOTS_READ);
            uint64_t held = from == LOTS_UPGRADABLE ? 0x14 : from == LOTS_READ || from == LOTS_READ_RECURSIVE ? 0x10 : 0x08;
            word.bits = held;
            CHECK_EQ(lots_downgrade(&word, from, to, NULL), is_one ? LOTS_READY : LOTS_MISUSE);
            CHECK_WORD(&word, !is_one ? held : to == LOTS_READ ? 0x10 : 0x14);
        }
    word.bits = 0;
}

/* The writer was woken, lost to an upgradable reader, and queues again: those behind it may be in beside that one. */
static void a_writer_that_loses_to_an_upgradable_lets_the_readers_in(void)
{
    enum { MANY = 2 * BATCH_THREADS + 1 };
    static lots_op crowd[MANY];
    lots_op writer;
    lots_bucket *b = lot_lock((uintptr_t)&word);
    b->tickets = 0; /* the writer has the bucket's first */
    lot_unlock(b);
    hold(LOTS_WRITE);
    queue(&writer, LOTS_WRITE, 'w', 0x09);
    for (int i = 0; i < MANY; i++) {
        lots_op_init(&crowd[i], &word, LOTS_READ, NULL, 0, 0);
        CHECK_EQ(lots_op_poll(&crowd[i]), LOTS_PARKED);
    }
    release(LOTS_WRITE, 0, 0x01);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    CHECK_EQ(lots_op_poll(&writer), LOTS_PARKED);
    CHECK_WORD(&word, 0x15);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(lots_op_state(&crowd[i]), LOTS_NORMAL);
        CHECK_EQ(lots_op_poll(&crowd[i]), LOTS_READY);
        let_go(&crowd[i], 0x15);
    }
    release(LOTS_UPGRADABLE, 1, 0x08);
    poll_ready(&writer, 0x08);
    let_go(&writer, 0);
    clean();
}

/* The same with a reader that really sleeps. */
static void a_sleeping_reader_is_woken_by_a_writer_that_loses(void)
{
    lots_op writer;
    actor reader;
    hold(LOTS_WRITE);
    queue(&writer, LOTS_WRITE, 'w', 0x09);
    start(&reader, &word, LOTS_READ);
    parked(&word, 2);
    release(LOTS_WRITE, 0, 0x01);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    CHECK_EQ(lots_op_poll(&writer), LOTS_PARKED);
    CHECK_EQ(finish(&reader), LOTS_READY);
    let_go(&reader.op, 0x15);
    release(LOTS_UPGRADABLE, 1, 0x08);
    poll_ready(&writer, 0x08);
    let_go(&writer, 0);
    clean();
}

/* Who waits for a fair mutex is handed it, however it is released. */
static void a_fair_mutex_is_handed_over(void)
{
    lots_op first, second;
    hold(LOTS_FAIR_MUTEX);
    queue(&first, LOTS_FAIR_MUTEX, 'a', 0x09);
    queue(&second, LOTS_FAIR_MUTEX, 'b', 0x09);
    release(LOTS_FAIR_MUTEX, 0, 0x09);
    CHECK_EQ(lots_op_state(&first), LOTS_HANDOFF);
    CHECK_EQ(lots_try(&word, LOTS_FAIR_MUTEX), 0);
    poll_ready(&first, 0x09);
    let_go(&first, 0x08);
    poll_ready(&second, 0x08);
    let_go(&second, 0);
    clean();
}

/* --- loops that cannot run ---------------------------------------------------------------------------------------------- */

static void the_upgrade_of_a_blocked_loop_is_upgradable_again(void)
{
    lots_op up, reader;
    hold(LOTS_UPGRADABLE);
    hold(LOTS_READ);
    queue(&up, LOTS_UPGRADE, 'u', 0x1a);
    lots_op_init(&reader, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&reader), LOTS_PARKED);
    lots_mailbox_block(m);
    CHECK_WORD(&word, 0x25);
    CHECK_EQ(lots_op_state(&reader), LOTS_NORMAL);
    poll_ready(&reader, 0x35);
    let_go(&reader, 0x25);
    release(LOTS_READ, 0, 0x15);
    lots_mailbox_unblock(m);
    CHECK_STR(mail(m, 1), "u");
    poll_ready(&up, 0x08);
    let_go(&up, 0x14);
    hand_back(LOTS_UPGRADABLE, 0);
    clean();
}

/* What it asks for nobody else can have: whoever looks through the queue may wake it, upgradable reader or not. */
static void an_upgrade_that_queues_may_always_be_let_in(void)
{
    lots_op up, writer;
    lots_batch batch = {0};
    lots_bucket *b;
    hold(LOTS_UPGRADABLE);
    hold(LOTS_READ);
    queue(&up, LOTS_UPGRADE, 'u', 0x1a);
    lots_mailbox_block(m);
    lots_mailbox_unblock(m);
    CHECK_WORD(&word, 0x25);
    lots_op_init(&writer, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&writer), LOTS_PARKED);
    b = lot_lock((uintptr_t)&word);
    CHECK_EQ(admit(b, &word, 0, 0, 0, &batch), 0);
    lot_unlock(b);
    batch_wake(&batch);
    CHECK_EQ(lots_op_state(&up), LOTS_NORMAL);
    CHECK_EQ(lots_op_state(&writer), LOTS_QUEUED);
    CHECK_EQ(lots_op_poll(&up), LOTS_PARKED);
    CHECK_WORD(&word, 0x1b);
    cancel(&writer, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x1a);
    release(LOTS_READ, 0, 0x08);
    poll_ready(&up, 0x08);
    let_go(&up, 0x14);
    hand_back(LOTS_UPGRADABLE, 0);
    clean();
}

static void a_late_upgrade_is_upgradable_again(void)
{
    lots_op up;
    hold(LOTS_UPGRADABLE);
    hold(LOTS_READ);
    queue(&up, LOTS_UPGRADE, 'u', 0x1a);
    release(LOTS_READ, 0, 0x08);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    CHECK_WORD(&word, 0x15);
    poll_ready(&up, 0x08);
    let_go(&up, 0x14);
    hand_back(LOTS_UPGRADABLE, 0);
    clean();
}

static void the_upgrade_of_a_loop_that_does_not_answer_is_not_granted(void)
{
    static lots_word other;
    lots_op up, late;
    hold(LOTS_UPGRADABLE);
    hold(LOTS_READ);
    queue(&up, LOTS_UPGRADE, 'u', 0x1a);
    CHECK_EQ(lots_try(&other, LOTS_MUTEX), 1);
    task(&late, &other, LOTS_MUTEX, m, 'l');
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED);
    CHECK_EQ(lots_release(&other, LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(revoke_late(INT64_MAX, 1), 1);
    release(LOTS_READ, 0, 0x15);
    CHECK_EQ(lots_op_poll(&late), LOTS_READY);
    CHECK_EQ(lots_op_release(&late, 0, NULL), LOTS_READY);
    CHECK_STR(mail(m, 1), "u");
    poll_ready(&up, 0x08);
    let_go(&up, 0x14);
    hand_back(LOTS_UPGRADABLE, 0);
    clean();
}

static void the_upgrade_of_a_closed_loop_is_withdrawn(void)
{
    lots_mailbox *closing = lots_mailbox_new();
    lots_op up;
    hold(LOTS_UPGRADABLE);
    hold(LOTS_READ);
    task(&up, &word, LOTS_UPGRADE, closing, 'u');
    CHECK_EQ(lots_op_poll(&up), LOTS_PARKED);
    lots_mailbox_close(closing);
    CHECK_WORD(&word, 0x24);
    CHECK_EQ(lots_op_poll(&up), LOTS_CLOSED);
    task(&up, &word, LOTS_UPGRADE, closing, 'u');
    CHECK_EQ(lots_op_poll(&up), LOTS_CLOSED); /* begun only now */
    CHECK_WORD(&word, 0x24);
    release(LOTS_READ, 0, 0x14);
    task(&up, &word, LOTS_UPGRADE, closing, 'u');
    CHECK_EQ(lots_op_poll(&up), LOTS_READY); /* it need not wait */
    CHECK_EQ(lots_op_release(&up, 0, NULL), LOTS_READY);
    lots_mailbox_free(closing);
    hand_back(LOTS_UPGRADABLE, 0);
    clean();
}

/* --- an op that changes its mode ---------------------------------------------------------------------------------------- */
static void while_an_op_changes_nobody_releases_it(void)
{
    lots_op op;
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_change(&op), LOTS_MISUSE);
    CHECK_EQ(lots_op_poll(&op), LOTS_READY);
    CHECK_EQ(lots_op_change(&op), LOTS_READY);
    CHECK_EQ(lots_op_state(&op), LOTS_CHANGING);
    CHECK_EQ(lots_op_change(&op), LOTS_MISUSE);
    CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_MISUSE);
    CHECK_EQ(lots_op_cancel(&op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
    CHECK_EQ(lots_op_poll(&op), LOTS_MISUSE);
    CHECK_EQ(lots_op_downgrade(&op, LOTS_READ, NULL), LOTS_MISUSE); /* it is changing */
    CHECK_WORD(&word, 0x08);
    downgrade(LOTS_WRITE, LOTS_READ, 0x10);
    lots_op_changed(&op, LOTS_READ);
    CHECK_EQ(lots_op_state(&op), LOTS_HELD);
    CHECK_EQ(lots_op_downgrade(&op, LOTS_UPGRADABLE, NULL), LOTS_MISUSE); /* no less than a share: it stays what it is */
    CHECK_EQ(lots_op_mode(&op), LOTS_READ);
    let_go(&op, 0);
    CHECK_EQ(lots_op_change(&op), LOTS_MISUSE);
}

int main(void)
{
    watchdog(30);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2); /* late is who revoke_late is called for */
    RUN(an_upgrade_waits_for_the_other_readers);
    RUN(an_upgrade_that_gives_up_is_upgradable_again);
    RUN(an_upgrade_that_was_granted_is_kept_or_given_back);
    RUN(only_the_upgradable_one_may_ask);
    RUN(upgradables_and_writers_take_turns);
    RUN(a_plain_release_of_an_upgradable_only_tells);
    RUN(an_upgradable_that_was_handed_it_gives_all_of_it_back);
    RUN(a_downgrade_lets_in_whom_it_may);
    RUN(a_downgrade_says_if_its_own_loop_has_mail);
    RUN(without_waiters_a_downgrade_asks_for_no_lock);
    RUN(no_other_downgrade_is_one);
    RUN(a_writer_that_loses_to_an_upgradable_lets_the_readers_in);
    RUN(a_sleeping_reader_is_woken_by_a_writer_that_loses);
    RUN(a_fair_mutex_is_handed_over);
    RUN(the_upgrade_of_a_blocked_loop_is_upgradable_again);
    RUN(an_upgrade_that_queues_may_always_be_let_in);
    RUN(a_late_upgrade_is_upgradable_again);
    RUN(the_upgrade_of_a_loop_that_does_not_answer_is_not_granted);
    RUN(the_upgrade_of_a_closed_loop_is_withdrawn);
    RUN(while_an_op_changes_nobody_releases_it);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
