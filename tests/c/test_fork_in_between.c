/* fork() (R36) between any two steps of a thread that waits: what is in no list then, the child finds all the same. The thread
 * runs one instruction at a time (stepping.h), and stands still while another one forks. */
#define _GNU_SOURCE
#include "stepping.h"

#include <sys/wait.h>

static lots_word word;
static lots_mailbox *m;
static lots_op op;
static uint32_t mode;
static int at, answer;
static int64_t patience;
static _Atomic int asked, go_on, ended, half; /* half: forks that found WRITER with readers, and nobody at `addr + 1` */
static uint64_t seen; /* the word, when it was forked */

static void stand_still(void)
{
    asked = 1;
    UNTIL(go_on);
}

static void *wait_in_steps(void *unused)
{
    (void)unused;
    lots_op_init(&op, &word, mode, NULL, 0, 0);
    ended = STEPPED(at, answer = lots_op_wait(&op, now_ns() + patience)) ? 1 : 2;
    return NULL;
}

static pthread_t begin(int step, uint32_t as, int64_t ns)
{
    pthread_t thread;
    at = step;
    mode = as;
    patience = ns;
    asked = go_on = ended = 0;
    CHECK(!pthread_create(&thread, NULL, wait_in_steps, NULL));
    return thread;
}

/* Fork, and see that the word stays as it is but for who is parked. */
static void fork_leaves_the_word(void)
{
    pid_t child;
    int status;
    fflush(stdout);
    seen = lots_word_load(&word);
    child = fork();
    CHECK(child >= 0);
    if (!child) {
        CHECK_WORD(&word, seen);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
}

/* An op that another thread was at is nobody's in the child: a child of that one is not to look at it. */
static void in_the_child_nobody_is_at_it(void)
{
    word.bits = WRITER | ONE_READER;
    fork_leaves_the_word();
}

/* The thread that forks waits for something of its own before: each thread speaks for itself. */
static void wait_for_another_lock(void)
{
    static lots_word free_;
    lots_op mine;
    lots_op_init(&mine, &free_, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_wait(&mine, LOTS_NEVER), LOTS_READY);
    CHECK_EQ(lots_op_release(&mine, 0, NULL), LOTS_READY);
}

/* Fork, if the thread stands still; in the child `look` is called. Then it goes on, to its end. 0: there was no such step. */
static int fork_in_between(pthread_t thread, void (*look)(void))
{
    UNTIL(asked || ended);
    if (asked) {
        int status;
        pid_t child;
        wait_for_another_lock();
        seen = lots_word_load(&word);
        half += (seen & (WRITER | WRITER_PARKED)) == WRITER && seen >= ONE_READER;
        fflush(stdout);
        child = fork();
        CHECK(child >= 0);
        if (!child) {
            watchdog(20);
            look();
            CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
            in_the_child_nobody_is_at_it();
            _exit(0);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
    go_on = 1;
    CHECK(!pthread_join(thread, NULL));
    return ended == 1;
}

static void the_readers_leave_and_a_writer_gets_in(void)
{
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
}

static void a_writer_that_waits_for_readers(void)
{
    int more = 1;
    half = 0;
    stepping(&word, NULL, stand_still);
    for (int i = 1; more; i++) {
        CHECK_EQ(lots_try(&word, LOTS_READ), 1);
        more = fork_in_between(begin(i, LOTS_WRITE, 2000000), the_readers_leave_and_a_writer_gets_in);
        CHECK_EQ(answer, LOTS_TIMED_OUT);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
    CHECK(half || !CAN_STEP);
}

static void the_reader_leaves_and_the_upgradable_one_is_left(void)
{
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
}

/* A reader that upgrades, and a writer that waits beside it, which must not be taken for the one that drains. */
static void an_upgrade_that_waits_for_readers(void)
{
    int more = 1;
    actor beside;
    half = 0;
    stepping(&word, NULL, stand_still);
    for (int i = 1; more; i++) {
        CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
        CHECK_EQ(lots_try(&word, LOTS_READ), 1);
        start(&beside, &word, LOTS_WRITE);
        parked(&word, 1);
        more = fork_in_between(begin(i, LOTS_UPGRADE, 2000000), the_reader_leaves_and_the_upgradable_one_is_left);
        CHECK_EQ(answer, LOTS_TIMED_OUT);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK_EQ(lots_release(&word, LOTS_UPGRADABLE, 0, NULL), LOTS_READY);
        CHECK_EQ(finish(&beside), LOTS_READY);
        CHECK_EQ(lots_op_release(&beside.op, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
    CHECK(half || !CAN_STEP);
}

static void nobody_is_left(void) { CHECK_WORD(&word, 0); }

/* It is handed WRITER together with a reader's share, which a task is handed that does not look. */
static void a_writer_that_was_handed_the_lock_with_a_reader(void)
{
    lots_op reader;
    int more = 1;
    half = 0;
    stepping(&word, m, stand_still);
    for (int i = 1; more; i++) {
        pthread_t thread;
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        task(&reader, &word, LOTS_READ, m, 'r');
        CHECK_EQ(lots_op_poll(&reader), LOTS_PARKED);
        thread = begin(i, LOTS_WRITE, 50000000);
        UNTIL(asked || ended || lots_for_each(&word, NULL, 0) == 2);
        if (asked) /* too early: the next steps are those of interest */
            go_on = 1;
        UNTIL(ended || lots_for_each(&word, NULL, 0) == 2);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
        if (go_on) {
            CHECK(!pthread_join(thread, NULL));
            more = ended == 1;
        } else {
            more = fork_in_between(thread, nobody_is_left);
        }
        CHECK_EQ(answer, LOTS_TIMED_OUT);
        CHECK_EQ(lots_op_poll(&reader), LOTS_READY);
        CHECK_EQ(lots_op_release(&reader, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
        mail(m, 1);
    }
    CHECK(half || !CAN_STEP);
}

/* --- what is to be left alone ------------------------------------------------------------------------------------------- */

static void it_is_as_it_was(void) { CHECK_WORD(&word, seen & ~(PARKED | WRITER_PARKED)); }

/* With no readers left WRITER is somebody's hold: here that of the thread that forks. */
static void a_writer_that_waits_for_another(void)
{
    int more = 1;
    stepping(&word, NULL, stand_still);
    for (int i = 1; more; i++) {
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        more = fork_in_between(begin(i, LOTS_WRITE, 2000000), it_is_as_it_was);
        CHECK_EQ(answer, LOTS_TIMED_OUT);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

/* A reader never owns WRITER: whose it is, is not known to it. */
static void a_reader_that_waits_for_a_writer_that_drains(void)
{
    int more = 1;
    stepping(&word, NULL, stand_still);
    for (int i = 1; more; i++) {
        word.bits = WRITER | ONE_READER;
        more = fork_in_between(begin(i, LOTS_READ, 2000000), it_is_as_it_was);
        CHECK_EQ(answer, LOTS_TIMED_OUT);
        CHECK_WORD(&word, WRITER | ONE_READER);
        word.bits = 0;
    }
}

/* An op may be gone when its wait is over. */
static void an_op_whose_wait_is_over(void)
{
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    word.bits = WRITER | ONE_READER; /* what it would have given back */
    fork_leaves_the_word();
    word.bits = 0;
}

int main(void)
{
    watchdog(100);
    lots_revoke_after(INT64_MAX / 2);
    m = lots_mailbox_new();
    RUN(a_writer_that_waits_for_readers);
    RUN(an_upgrade_that_waits_for_readers);
    RUN(a_writer_that_was_handed_the_lock_with_a_reader);
    RUN(a_writer_that_waits_for_another);
    RUN(a_reader_that_waits_for_a_writer_that_drains);
    RUN(an_op_whose_wait_is_over);
    lots_mailbox_free(m);
    return 0;
}
