/* fork() (R36): the child starts with an empty lot, whatever the parent's threads were doing. */
#include "actors.h"

#include <sys/wait.h>

static lots_word held, draining, handed;

/* Runs `child` in a fork, and tells its parent how it went. */
static void in_child(void (*child)(void))
{
    int status;
    pid_t pid;
    fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        watchdog(20);
        child();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

/* In a child of many threads TSan can start no thread ("dup thread with used id"), and ASan's allocator may be locked for
 * good by a thread of the parent: neither threads nor memory there. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
static void all_works(lots_word *word)
{
    actor a = {.deadline = now_ns() + 1000000};
    CHECK_WORD(word, 0);
    CHECK_EQ(lots_try(word, LOTS_READ), 1);
    lots_op_init(&a.op, word, LOTS_WRITE, NULL, 0, 0);
    actor_run(&a);
    CHECK_EQ(a.answer, LOTS_TIMED_OUT);
    CHECK_WORD(word, 0x10);
    CHECK_EQ(lots_release(word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}
#else
/* Everything works: parking, waking, tasks, and a late task's wake is revoked (the keeper is a thread, and was not forked). */
static void all_works(lots_word *word)
{
    actor a;
    lots_op late;
    lots_mailbox *m = lots_mailbox_new();
    CHECK_WORD(word, 0);
    CHECK_EQ(lots_try(word, LOTS_WRITE), 1);
    start(&a, word, LOTS_READ);
    parked(word, 1);
    CHECK_WORD(word, 0x09);
    CHECK_EQ(lots_release(word, LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&a), LOTS_READY);
    CHECK_WORD(word, 0x10);
    task(&late, word, LOTS_WRITE, m, 'a');
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED);
    CHECK_WORD(word, 0x1a);
    lots_revoke_after(2000000);
    CHECK_EQ(lots_op_release(&a.op, 0, NULL), LOTS_READY);
    start(&a, word, LOTS_READ);
    CHECK_EQ(finish(&a), LOTS_READY);
    CHECK_EQ(lots_op_cancel(&late, LOTS_BY_CANCEL, m), LOTS_WITHDRAWN);
    CHECK_WORD(word, 0x10);
    CHECK_EQ(lots_op_release(&a.op, 0, NULL), LOTS_READY);
    CHECK_WORD(word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}
#endif

static actor waits_for_held, drains, behind;
static lots_op handed_to;

static void child_of_parked(void)
{
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_WORD(&held, 0x08);     /* held stays held; nobody waits */
    CHECK_WORD(&draining, 0x10); /* the writer that drained is gone, and WRITER with it */
    CHECK_WORD(&handed, 0);      /* so is the task that had not taken up its handoff */
    CHECK_EQ(lots_op_state(&handed_to), LOTS_GONE);
    CHECK_EQ(lots_op_cancel(&drains.op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE); /* as when its guard is collected here */
    CHECK_WORD(&draining, 0x10);
    CHECK_EQ(lots_release(&held, LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_release(&draining, LOTS_READ, 0, NULL), LOTS_READY);
    all_works(&held);
    all_works(&draining);
    all_works(&handed);
}

static void threads_are_parked_and_a_handoff_is_under_way(void)
{
    lots_mailbox *m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2);
    CHECK_EQ(lots_try(&held, LOTS_WRITE), 1);
    start(&waits_for_held, &held, LOTS_READ);
    parked(&held, 1);
    CHECK_EQ(lots_try(&draining, LOTS_READ), 1);
    start(&drains, &draining, LOTS_WRITE);
    parked(&draining, 1);
    start(&behind, &draining, LOTS_READ);
    parked(&draining, 2);
    CHECK_EQ(lots_try(&handed, LOTS_WRITE), 1);
    task(&handed_to, &handed, LOTS_WRITE, m, 'a');
    CHECK_EQ(lots_op_poll(&handed_to), LOTS_PARKED);
    CHECK_EQ(lots_release(&handed, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_WORD(&held, 0x09);
    CHECK_WORD(&draining, 0x1b);
    CHECK_WORD(&handed, 0x08);

    in_child(child_of_parked);

    CHECK_WORD(&held, 0x09); /* the parent has not noticed */
    CHECK_WORD(&draining, 0x1b);
    CHECK_EQ(lots_release(&held, LOTS_WRITE, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&waits_for_held), LOTS_READY);
    CHECK_EQ(lots_op_release(&waits_for_held.op, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_release(&draining, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&drains), LOTS_READY);
    CHECK_EQ(lots_op_release(&drains.op, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&behind), LOTS_READY);
    CHECK_EQ(lots_op_release(&behind.op, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_poll(&handed_to), LOTS_READY);
    CHECK_EQ(lots_op_release(&handed_to, 0, NULL), LOTS_READY);
    CHECK_WORD(&held, 0);
    CHECK_WORD(&draining, 0);
    CHECK_WORD(&handed, 0);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}

/* Shares of a handoff that tasks have not taken up, beside a reader that is in. */
static lots_op shares[3];

static void child_of_shares(void)
{
    CHECK_WORD(&handed, 0x10);
    CHECK_EQ(lots_op_release(&shares[0], 0, NULL), LOTS_READY);
    all_works(&handed);
}

static void only_what_was_taken_up_stays(void)
{
    lots_mailbox *m = lots_mailbox_new();
    CHECK_EQ(lots_try(&handed, LOTS_WRITE), 1);
    for (int i = 0; i < 3; i++) {
        task(&shares[i], &handed, i < 2 ? LOTS_READ : LOTS_WRITE, m, (char)('a' + i));
        CHECK_EQ(lots_op_poll(&shares[i]), LOTS_PARKED);
    }
    CHECK_EQ(lots_release(&handed, LOTS_WRITE, 1, NULL), LOTS_READY);
    CHECK_WORD(&handed, 0x28);
    CHECK_EQ(lots_op_poll(&shares[0]), LOTS_READY);
    CHECK_WORD(&handed, 0x28);
    in_child(child_of_shares);
    CHECK_WORD(&handed, 0x28);
    CHECK_EQ(lots_op_poll(&shares[1]), LOTS_READY);
    CHECK_EQ(lots_op_poll(&shares[2]), LOTS_PARKED);
    CHECK_WORD(&handed, 0x2a);
    CHECK_EQ(lots_op_release(&shares[0], 0, m), LOTS_READY);
    CHECK_EQ(lots_op_release(&shares[1], 0, m), LOTS_READY | LOTS_MAIL);
    CHECK_EQ(lots_op_poll(&shares[2]), LOTS_READY);
    CHECK_EQ(lots_op_release(&shares[2], 0, m), LOTS_READY);
    CHECK_WORD(&handed, 0);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}

/* Forks land wherever the hammers are: inside bucket locks, between a word and its queue, half asleep. */
static lots_word hammered[8];
static lots_word own;
static _Atomic int stop;

static void *hammer(void *argument)
{
    uint32_t random = (uint32_t)(uintptr_t)argument;
    while (!stop) {
        lots_op op;
        lots_word *word;
        uint32_t mode;
        int answer;
        random = random * 1664525 + 1013904223;
        word = &hammered[random >> 16 & 7];
        mode = random >> 20 & 1 ? LOTS_READ : LOTS_WRITE;
        lots_op_init(&op, word, mode, NULL, 0, 0);
        while ((answer = lots_op_wait(&op, random >> 21 & 1 ? now_ns() + 20000 : LOTS_NEVER)) == LOTS_INTERRUPTED)
            ;
        CHECK(answer == LOTS_READY || answer == LOTS_TIMED_OUT);
        if (answer == LOTS_READY)
            CHECK_EQ(lots_op_release(&op, random >> 22 & 1, NULL), LOTS_READY);
    }
    return NULL;
}

static void child_of_hammered(void)
{
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0); /* takes every bucket's lock in turn */
    for (int i = 0; i < 8; i++)
        CHECK_EQ(lots_word_load(&hammered[i]) & (PARKED | WRITER_PARKED), 0);
    CHECK_WORD(&own, 0x08);
    CHECK_EQ(lots_release(&own, LOTS_WRITE, 0, NULL), LOTS_READY);
    all_works(&own);
}

static void other_threads_hammer_bucket_locks(void)
{
    pthread_t hammers[3];
    for (int i = 0; i < 3; i++)
        CHECK(!pthread_create(&hammers[i], NULL, hammer, (void *)(uintptr_t)(i + 1)));
    for (int i = 0; i < 60; i++) {
        CHECK_EQ(lots_try(&own, LOTS_WRITE), 1);
        in_child(child_of_hammered);
        CHECK_EQ(lots_release(&own, LOTS_WRITE, 0, NULL), LOTS_READY);
    }
    stop = 1;
    for (int i = 0; i < 3; i++)
        CHECK(!pthread_join(hammers[i], NULL));
    for (int i = 0; i < 8; i++)
        CHECK_WORD(&hammered[i], 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

int main(void)
{
    watchdog(30);
    RUN(threads_are_parked_and_a_handoff_is_under_way);
    RUN(only_what_was_taken_up_stays);
    RUN(other_threads_hammer_bucket_locks);
    return 0;
}
