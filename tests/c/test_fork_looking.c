/* fork() (R36) while a thread is between two of its waits for one lock: it has been told to look (LOTS_LOOK), or, with the pthread
 * parker, that a signal may have come, and will wait again. It is queued meanwhile, and may be handed the lock. */
#include "actors.h"

#include <semaphore.h>
#include <sys/wait.h>

static lots_word word, other;
static lots_op op;
static _Atomic int looked, go_on;
static int answer;

static void in_a_child(void (*what)(void))
{
    int status;
    pid_t child;
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (!child) {
        watchdog(20);
        what();
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

static void it_is_as_it_was(void) { CHECK_WORD(&word, WRITER | ONE_READER); }

/* Nobody is at the lock any more: its word is let alone, however it lies. */
static void nobody_is_at_it(void)
{
    word.bits = WRITER | ONE_READER;
    in_a_child(it_is_as_it_was);
    word.bits = 0;
}

static void wait_for_another_lock(void)
{
    lots_op inner;
    lots_op_init(&inner, &other, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_wait(&inner, LOTS_NEVER), LOTS_READY);
    CHECK_EQ(lots_op_release(&inner, 0, NULL), LOTS_READY);
    lots_op_init(&inner, &other, LOTS_READ, NULL, 0, 0); /* and one that it gives up */
    CHECK_EQ(lots_op_cancel(&inner, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
}

/* Until it is told to look, in the one way or the other. */
static void look(lots_op *at)
{
#ifdef LOTS_PARKER_PTHREAD
    static int ways;
    if (ways++ & 1) {
        CHECK_EQ(lots_op_wait(at, LOTS_NEVER), LOTS_INTERRUPTED);
        return;
    }
#endif
    CHECK_EQ(lots_op_look_wait(at, LOTS_NEVER, 0), LOTS_LOOK);
}

static void *look_and_wait_again(void *unused)
{
    (void)unused;
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    look(&op);
    wait_for_another_lock(); /* as a signal handler might */
    looked = 1;
    UNTIL(go_on);
    do
        answer = lots_op_wait(&op, LOTS_NEVER);
    while (answer == LOTS_INTERRUPTED);
    return NULL;
}

static void hold_and_hand_over(void)
{
    CHECK_WORD(&word, 0x25);
    CHECK_EQ(lots_release(&word, LOTS_UPGRADABLE, 1, NULL), LOTS_READY);
}

static void begin(void)
{
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    looked = go_on = 0;
}

static void the_reader_leaves_and_a_writer_gets_in(void)
{
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
}

static void who_is_handed_the_lock_beside_a_reader(void)
{
    for (int way = 0; way < 2; way++) {
        pthread_t thread;
        begin();
        CHECK(!pthread_create(&thread, NULL, look_and_wait_again, NULL));
        UNTIL(looked);
        hold_and_hand_over();
        CHECK_WORD(&word, 0x18);
        in_a_child(the_reader_leaves_and_a_writer_gets_in);
        go_on = 1;
        UNTIL(lots_word_load(&word) == 0x1a);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK(!pthread_join(thread, NULL));
        CHECK_EQ(answer, LOTS_READY);
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

/* --- the thread that forks is one of those ------------------------------------------------------------------------------ */

#ifndef __SANITIZE_THREAD__ /* it does not support a new thread in a child */
static void *fork_again(void *unused)
{
    in_a_child(the_reader_leaves_and_a_writer_gets_in);
    return unused;
}
#endif

/* In the child: its wait goes on, and a thread of the child that forks gives back what it has not got whole. */
static void its_wait_goes_on(void)
{
    CHECK_WORD(&word, 0x18);
#ifndef __SANITIZE_THREAD__
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, fork_again, NULL));
    CHECK(!pthread_join(thread, NULL));
#endif
    look(&op);
    CHECK_WORD(&word, 0x1a);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
    CHECK_WORD(&word, 0x08);
}

static void who_forks_keeps_what_it_was_handed(void)
{
    for (int way = 0; way < 2; way++) {
        actor beside;
        begin();
        lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
        look(&op);
        start(&beside, &word, LOTS_WRITE); /* it owns nothing, but it may not be told from who does */
        parked(&word, 2);
        hold_and_hand_over();
        CHECK_WORD(&word, 0x19);
        in_a_child(its_wait_goes_on);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY);
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
        CHECK_EQ(finish(&beside), LOTS_READY);
        CHECK_EQ(lots_op_release(&beside.op, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

/* It is queued itself, and owns nothing: WRITER is another thread's. */
static void the_other_gives_it_back(void)
{
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void who_forks_is_next(void)
{
    for (int way = 0; way < 2; way++) {
        pthread_t thread;
        lots_op mine;
        begin();
        CHECK(!pthread_create(&thread, NULL, look_and_wait_again, NULL));
        UNTIL(looked);
        lots_op_init(&mine, &word, LOTS_WRITE, NULL, 0, 0);
        look(&mine);
        hold_and_hand_over();
        CHECK_WORD(&word, 0x19);
        in_a_child(the_other_gives_it_back);
        CHECK_EQ(lots_op_cancel(&mine, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        go_on = 1;
        UNTIL(lots_word_load(&word) == 0x1a);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
        CHECK(!pthread_join(thread, NULL));
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

static void each_has_its_own(void)
{
    CHECK_WORD(&other, 0x18);
    the_other_gives_it_back();
}

/* The same of two locks: the thread that forks keeps what it was handed of the one, and of no other. */
static void who_forks_was_handed_another_lock(void)
{
    pthread_t thread;
    lots_op mine;
    begin();
    CHECK(!pthread_create(&thread, NULL, look_and_wait_again, NULL));
    UNTIL(looked);
    CHECK_EQ(lots_try(&other, LOTS_READ), 1);
    CHECK_EQ(lots_try(&other, LOTS_UPGRADABLE), 1);
    lots_op_init(&mine, &other, LOTS_WRITE, NULL, 0, 0);
    look(&mine);
    CHECK_EQ(lots_release(&other, LOTS_UPGRADABLE, 1, NULL), LOTS_READY);
    hold_and_hand_over();
    CHECK_WORD(&word, 0x18);
    in_a_child(each_has_its_own);
    CHECK_EQ(lots_op_cancel(&mine, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_release(&other, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&other, 0);
    go_on = 1;
    UNTIL(lots_word_load(&word) == 0x1a);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK(!pthread_join(thread, NULL));
    CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static lots_op share;

/* WRITER is another thread's. */
static void the_share_is_left(void)
{
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_op_wait(&share, LOTS_NEVER), LOTS_READY);
    CHECK_EQ(lots_op_release(&share, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void who_forks_was_handed_a_share(void)
{
    for (int way = 0; way < 2; way++) {
        pthread_t thread;
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        lots_op_init(&share, &word, LOTS_READ, NULL, 0, 0);
        look(&share);
        looked = go_on = 0;
        CHECK(!pthread_create(&thread, NULL, look_and_wait_again, NULL));
        UNTIL(looked);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY); /* both are handed it */
        CHECK_WORD(&word, 0x18);
        in_a_child(the_share_is_left);
        CHECK_EQ(lots_op_wait(&share, LOTS_NEVER), LOTS_READY);
        go_on = 1;
        UNTIL(lots_word_load(&word) == 0x1a);
        CHECK_EQ(lots_op_release(&share, 0, NULL), LOTS_READY);
        CHECK(!pthread_join(thread, NULL));
        CHECK_EQ(answer, LOTS_READY);
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

/* --- its wait ends ------------------------------------------------------------------------------------------------------ */

static _Atomic int how;
static pthread_key_t late;

static void *look_and_leave(void *unused)
{
    lots_op mine;
    lots_op_init(&mine, &word, LOTS_WRITE, NULL, 0, 0);
    look(&mine);
    if (how == 2) {
        CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, NULL), LOTS_READY);
        CHECK_EQ(lots_op_wait(&mine, LOTS_NEVER), LOTS_READY);
    } else if (how) {
        CHECK_EQ(lots_op_interrupt(&mine), LOTS_INTERRUPTED);
        CHECK_EQ(lots_op_state(&mine), LOTS_ACQUIRING);
    } else {
        CHECK_EQ(lots_op_cancel(&mine, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    }
    looked = 1;
    UNTIL(go_on);
    if (how == 1)
        CHECK_EQ(lots_op_cancel(&mine, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    return unused;
}

static void who_has_done_with_it_is_at_nothing(void)
{
    for (how = 0; how < 3; how++)
        for (int way = 0; way < 2; way++) {
            pthread_t thread;
            CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
            looked = go_on = 0;
            CHECK(!pthread_create(&thread, NULL, look_and_leave, NULL));
            UNTIL(looked);
            CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
            nobody_is_at_it();
            go_on = 1;
            CHECK(!pthread_join(thread, NULL));
        }
}

static lots_op queued_;

static void it_gives_up_what_is_gone(void)
{
    CHECK_EQ(lots_op_state(&queued_), LOTS_GONE);
    CHECK_EQ(lots_op_cancel(&queued_, LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
    nobody_is_at_it();
}

/* Who forks is in no queue of the child: what it does then is for nothing, and it has done with it. */
static void who_forks_and_gives_up_is_at_nothing(void)
{
    for (int way = 0; way < 2; way++) {
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        lots_op_init(&queued_, &word, LOTS_WRITE, NULL, 0, 0);
        look(&queued_);
        in_a_child(it_gives_up_what_is_gone);
        CHECK_EQ(lots_op_cancel(&queued_, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
        CHECK_WORD(&word, 0);
    }
}

static void look_late(void *unused)
{
    (void)unused;
    CHECK_EQ(lots_op_look_wait(&op, LOTS_NEVER, 0), LOTS_LOOK);
}

/* It ends without a word; or it begins when the library has done with it. */
static void *look_and_end(void *unused)
{
    lots_thread_token();
    lots_op_init(&op, &word, LOTS_WRITE, NULL, 0, 0);
    if (how)
        CHECK(!pthread_setspecific(late, &late));
    else
        look(&op);
    return unused;
}

static void a_thread_that_has_ended_is_at_nothing(void)
{
    CHECK(!pthread_key_create(&late, look_late)); /* after the library's key: its turn comes later */
    for (how = 0; how < 2; how++) {
        pthread_t thread;
        CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
        CHECK(!pthread_create(&thread, NULL, look_and_end, NULL));
        CHECK(!pthread_join(thread, NULL));
        CHECK_EQ(lots_for_each(&word, NULL, 0), 1);
        CHECK_EQ(lots_op_cancel(&op, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY);
        nobody_is_at_it();
    }
}

int main(void)
{
    watchdog(60);
    RUN(who_is_handed_the_lock_beside_a_reader);
    RUN(who_forks_keeps_what_it_was_handed);
    RUN(who_forks_is_next);
    RUN(who_forks_was_handed_another_lock);
    RUN(who_forks_was_handed_a_share);
    RUN(who_has_done_with_it_is_at_nothing);
    RUN(who_forks_and_gives_up_is_at_nothing);
    RUN(a_thread_that_has_ended_is_at_nothing);
    return 0;
}
