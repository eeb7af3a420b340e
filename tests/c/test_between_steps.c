/* Two callers at once, the one between any two steps of the other (stepping.h): what the explorer has no program for, for no op
 * is asked for by two there. */
#define _GNU_SOURCE
#include "stepping.h"

static lots_word word;
static lots_mailbox *m;
static lots_op op, other;
static int between; /* what it answered */

static void set(uint64_t bits) { word.bits = bits; }

static void try_read(void) { between = lots_try(&word, LOTS_READ); }
static void try_write(void) { between = lots_try(&word, LOTS_WRITE); }
static void try_the_op(void) { between = lots_op_try(&op); }
static void release_the_op(void) { between = lots_op_release(&op, 0, NULL); }
static void release_read(void) { between = lots_release(&word, LOTS_READ, 0, NULL); }
static void release_write(void) { between = lots_release(&word, LOTS_WRITE, 0, NULL); }
static void poll_other(void) { between = lots_op_poll(&other); }

static void two_readers_try(void)
{
    int got;
    stepping(&word, NULL, try_read);
    for (int i = 1; STEPPED(i, got = lots_try(&word, LOTS_READ)); i++) {
        CHECK_EQ(got + between, 2);
        CHECK_WORD(&word, 0x20);
        set(0);
    }
    set(0);
}

static void a_reader_and_a_writer_try(void)
{
    int got, first = 0;
    stepping(&word, NULL, try_read);
    for (int i = 1; STEPPED(i, got = lots_try(&word, LOTS_WRITE)); i++) {
        CHECK_EQ(got + between, 1); /* exactly one of them */
        CHECK_WORD(&word, got ? 0x08 : 0x10);
        first += between;
        set(0);
    }
    set(0);
    stepping(&word, NULL, try_write);
    for (int i = 1; STEPPED(i, got = lots_try(&word, LOTS_READ)); i++) {
        CHECK_EQ(got + between, 1);
        CHECK_WORD(&word, got ? 0x10 : 0x08);
        first += between;
        set(0);
    }
    set(0);
    CHECK(first || !CAN_STEP);
}

static void two_readers_leave(void)
{
    int left;
    stepping(&word, NULL, release_read);
    for (int i = 1; set(0x30), STEPPED(i, left = lots_release(&word, LOTS_READ, 0, NULL)); i++) {
        CHECK_EQ(left, LOTS_READY);
        CHECK_EQ(between, LOTS_READY);
        CHECK_WORD(&word, 0x10);
    }
    for (int i = 1; set(0x10), STEPPED(i, left = lots_release(&word, LOTS_READ, 0, NULL)); i++) {
        CHECK(left + between == LOTS_READY + LOTS_MISUSE); /* one of them was owed none (W6) */
        CHECK_WORD(&word, 0);
    }
    set(0);
}

static void a_reader_comes_as_another_leaves(void)
{
    int left;
    stepping(&word, NULL, try_read);
    for (int i = 1; set(0x10), STEPPED(i, left = lots_release(&word, LOTS_READ, 0, NULL)); i++) {
        CHECK_EQ(left, LOTS_READY);
        CHECK_EQ(between, 1);
        CHECK_WORD(&word, 0x10);
    }
    set(0);
}

static void of_two_who_release_a_writer_one_succeeds(void)
{
    int left;
    stepping(&word, NULL, release_write);
    for (int i = 1; set(0x08), STEPPED(i, left = lots_release(&word, LOTS_WRITE, 0, NULL)); i++) {
        CHECK(left + between == LOTS_READY + LOTS_MISUSE);
        CHECK_WORD(&word, 0);
    }
    set(0);
}

static void a_reader_comes_as_the_upgradable_one_leaves(void)
{
    int left;
    stepping(&word, NULL, try_read);
    for (int i = 1; set(0x14), STEPPED(i, left = lots_release(&word, LOTS_UPGRADABLE, 0, NULL)); i++) {
        CHECK_EQ(left, LOTS_READY);
        CHECK_EQ(between, 1);
        CHECK_WORD(&word, 0x10);
    }
    for (int i = 1; set(0x08), STEPPED(i, left = lots_downgrade(&word, LOTS_WRITE, LOTS_UPGRADABLE, NULL)); i++) {
        CHECK_EQ(left, LOTS_READY);
        CHECK_WORD(&word, between ? 0x24 : 0x14); /* one comes in with the very step, or after */
    }
    set(0);
}

static void of_two_who_try_an_op_one_gets_it(void)
{
    int got, second = 0;
    stepping(&word, NULL, try_the_op);
    for (int i = 1;; i++) {
        set(0x08);
        lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
        if (!STEPPED(i, got = lots_op_try(&op)))
            break;
        CHECK(got + between == LOTS_PARKED + LOTS_MISUSE);
        CHECK_EQ(lots_op_state(&op), LOTS_ACQUIRING);
        second += got == LOTS_MISUSE;
    }
    CHECK(second || !CAN_STEP);
    set(0);
}

static void of_one_who_tries_and_one_who_polls_an_op_one_gets_it(void)
{
    int got, late = 0;
    stepping(&word, NULL, try_the_op);
    for (int i = 1;; i++) {
        int stepped;
        set(0x08);
        lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
        stepped = STEPPED(i, got = lots_op_poll(&op));
        /* A try that came before the poll has begun is an owner's own: it goes on with the poll. */
        CHECK(got == LOTS_PARKED || (got == LOTS_MISUSE && between == LOTS_PARKED));
        CHECK_EQ(lots_op_state(&op), got == LOTS_MISUSE ? LOTS_ACQUIRING : LOTS_QUEUED);
        CHECK_WORD(&word, got == LOTS_MISUSE ? 0x08 : 0x09);
        CHECK_EQ(lots_op_cancel(&op, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        CHECK_WORD(&word, 0x08);
        late += got == LOTS_MISUSE;
        if (!stepped)
            break;
    }
    CHECK(late || !CAN_STEP);
    set(0);
}

static void of_two_who_release_an_op_one_succeeds(void)
{
    int left;
    stepping(&word, NULL, release_the_op);
    for (int i = 1;; i++) {
        set(0x20);
        lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
        CHECK_EQ(lots_op_poll(&op), LOTS_READY);
        if (!STEPPED(i, left = lots_op_release(&op, 0, NULL)))
            break;
        CHECK(left + between == LOTS_READY + LOTS_MISUSE);
        CHECK_WORD(&word, 0x20);
    }
    set(0);
}

/* --- who queues, beside who opens ---------------------------------------------------------------------------------- */

/* The op waits, or has the lock, or a wake that says so: it is never left in a queue of a lock that is open. */
static void finish_other(int answer)
{
    if (answer == LOTS_PARKED && lots_op_state(&other) != LOTS_QUEUED)
        answer = lots_op_poll(&other);
    CHECK_EQ(answer, LOTS_READY);
    CHECK_EQ(lots_op_release(&other, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

static void one_queues_as_the_lock_is_released(void)
{
    static const struct { uint64_t held; uint32_t holder, comer; } cases[] = {
        {0x08, LOTS_WRITE, LOTS_READ}, {0x08, LOTS_WRITE, LOTS_WRITE}, {0x08, LOTS_MUTEX, LOTS_MUTEX},
        {0x10, LOTS_READ, LOTS_WRITE}, {0x08, LOTS_WRITE, LOTS_READ_RECURSIVE},
    };
    stepping(&word, NULL, poll_other);
    set_fairness(&word, FAIR_NEVER);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int i = 1;; i++) {
            int left, stepped;
            set(cases[c].held);
            lots_op_init(&other, &word, cases[c].comer, NULL, 0, 0);
            stepped = STEPPED(i, left = lots_release(&word, cases[c].holder, 0, NULL));
            CHECK_EQ(left, LOTS_READY);
            if (!stepped)
                between = lots_op_poll(&other);
            finish_other(between);
            if (!stepped)
                break;
        }
}

static void the_lock_is_released_as_one_queues(void)
{
    for (int reader = 0; reader < 2; reader++) {
        stepping(&word, NULL, reader ? release_read : release_write);
        set_fairness(&word, FAIR_NEVER);
        for (int i = 1;; i++) {
            int answer, stepped;
            set(reader ? 0x10 : 0x08);
            lots_op_init(&other, &word, LOTS_WRITE, NULL, 0, 0);
            stepped = STEPPED(i, answer = lots_op_poll(&other));
            if (!stepped)
                reader ? release_read() : release_write();
            CHECK_EQ(between, LOTS_READY);
            finish_other(answer);
            if (!stepped)
                break;
        }
    }
}

static void the_lock_is_released_as_one_gives_up(void)
{
    for (int reader = 0; reader < 2; reader++) {
        stepping(&word, NULL, reader ? release_read : release_write);
        for (int i = 1;; i++) {
            int answer, stepped, polled;
            set(reader ? 0x10 : 0x08);
            lots_op_init(&other, &word, LOTS_WRITE, NULL, 0, 0);
            polled = lots_op_poll(&other);
            CHECK_EQ(polled, LOTS_PARKED);
            stepped = STEPPED(i, answer = lots_op_cancel(&other, LOTS_BY_TIMEOUT, NULL));
            if (!stepped)
                reader ? release_read() : release_write();
            CHECK_EQ(between, LOTS_READY);
            if (answer == LOTS_READY) /* the grant came first */
                CHECK_EQ(lots_op_release(&other, 0, NULL), LOTS_READY);
            else
                CHECK_EQ(answer, LOTS_WITHDRAWN);
            CHECK_WORD(&word, 0);
            CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
            if (!stepped)
                break;
        }
    }
}

/* --- the last reader has left, and has not come for the bucket lock yet ------------------------------------------------ */

static lots_op next;

static void give_other_up(void) { CHECK_EQ(lots_op_cancel(&other, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN); }

/* The writer that it comes to wake is gone, and another drains beside a new reader: that one must go on draining. */
static void another_takes_its_place(void)
{
    give_other_up();
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    lots_op_init(&next, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_poll(&next), LOTS_PARKED);
}

static void the_writer_gives_up_as_the_last_reader_leaves(void)
{
    for (int replaced = 0; replaced < 2; replaced++) {
        int left, in_the_gap = 0;
        stepping(&word, NULL, replaced ? another_takes_its_place : give_other_up);
        for (int i = 1;; i++) {
            set(0x10);
            lots_op_init(&other, &word, LOTS_WRITE, NULL, 0, 0);
            CHECK_EQ(lots_op_poll(&other), LOTS_PARKED);
            if (!STEPPED(i, left = lots_release(&word, LOTS_READ, 0, NULL)))
                break;
            CHECK_EQ(left, LOTS_READY);
            in_the_gap++;
            if (replaced) {
                int early = lots_op_state(&next) != LOTS_QUEUED; /* it came before the reader had left, who woke it */
                CHECK_WORD(&word, early ? 0x08 : 0x1a);
                if (!early)
                    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
                CHECK_EQ(lots_op_poll(&next), LOTS_READY);
                CHECK_EQ(lots_op_release(&next, 0, NULL), LOTS_READY);
            }
            CHECK_WORD(&word, 0);
            CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
        }
        CHECK(in_the_gap > 1 || !CAN_STEP);
        CHECK_EQ(lots_op_poll(&other), LOTS_READY);
        CHECK_EQ(lots_op_release(&other, 0, NULL), LOTS_READY);
    }
}

/* A task may look at any time: nobody queues any more when the reader comes to wake it. */
static void the_writer_looks_as_the_last_reader_leaves(void)
{
    int left;
    m = lots_mailbox_new();
    stepping(&word, m, poll_other);
    for (int i = 1;; i++) {
        int stepped;
        set(0x10);
        task(&other, &word, LOTS_WRITE, m, 'a');
        CHECK_EQ(lots_op_poll(&other), LOTS_PARKED);
        stepped = STEPPED(i, left = lots_release(&word, LOTS_READ, 0, NULL));
        CHECK_EQ(left, LOTS_READY);
        if (!stepped || between == LOTS_PARKED)
            between = lots_op_poll(&other);
        CHECK_EQ(between, LOTS_READY);
        CHECK_WORD(&word, 0x08);
        CHECK_EQ(lots_op_release(&other, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
        CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
        if (!stepped)
            break;
    }
    mail(m, 1);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}

int main(void)
{
    watchdog(60);
    lots_revoke_after(INT64_MAX / 2); /* nobody is late here */
    RUN(two_readers_try);
    RUN(a_reader_and_a_writer_try);
    RUN(two_readers_leave);
    RUN(a_reader_comes_as_another_leaves);
    RUN(of_two_who_release_a_writer_one_succeeds);
    RUN(a_reader_comes_as_the_upgradable_one_leaves);
    RUN(of_two_who_try_an_op_one_gets_it);
    RUN(of_one_who_tries_and_one_who_polls_an_op_one_gets_it);
    RUN(of_two_who_release_an_op_one_succeeds);
    RUN(one_queues_as_the_lock_is_released);
    RUN(the_lock_is_released_as_one_queues);
    RUN(the_lock_is_released_as_one_gives_up);
    RUN(the_writer_gives_up_as_the_last_reader_leaves);
    RUN(the_writer_looks_as_the_last_reader_leaves);
    return 0;
}
