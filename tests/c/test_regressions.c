/* One test for each bug of the core that a review found: what went wrong stands above it. */
#include "steps.h"

#include "admit.h"

#include <sys/mman.h>
#include <sys/wait.h>

static void begin(int64_t revoke_after)
{
    lots_revoke_after(revoke_after);
    m = lots_mailbox_new();
}

static void end(void)
{
    clean();
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    lots_revoke_after(INT64_MAX / 2);
}

/* --- mailboxes ---------------------------------------------------------------------------------------------------- */

/* Two tasks that were scheduled already are nudged, for their loop's thread was asleep meanwhile. Both run before their loop
 * comes to drain, and end; the mail named ops that were freed. */
static void the_nudge_of_a_loop_that_is_back_does_not_outlive_its_ops(void)
{
    lots_op *a = malloc(sizeof *a), *b = malloc(sizeof *b);
    begin(INT64_MAX / 2);
    hold(LOTS_WRITE);
    queue(a, LOTS_READ, 'a', 0x09);
    queue(b, LOTS_READ, 'b', 0x09);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 1, m), LOTS_READY | LOTS_MAIL);
    CHECK_STR(mail(m, 0), "ab"); /* both futures are done, both tasks scheduled */
    lots_mailbox_block(m);
    CHECK_WORD(&word, 0x01);
    lots_mailbox_unblock(m);
    poll_ready(a, 0x11);
    poll_ready(b, 0x20);
    let_go(a, 0x10);
    let_go(b, 0);
    memset(a, 'X', sizeof *a);
    memset(b, 'X', sizeof *b);
    free(a);
    free(b);
    CHECK_STR(mail(m, 1), "");
    end();
}

/* A waker owns the mailbox's `ring_next` from its push until it has rung. A drain for an earlier ring, the second one since
 * the mail did not fit into one, took the waker's `rung` away; another waker put the mailbox into a list of its own, and
 * what the first one had to ring after it was forgotten, or rung twice. */
static void a_drain_that_finds_no_ring_leaves_the_ring_to_its_waker(void)
{
    lots_mailbox *boxes[3];
    lots_op ops[6];
    static const int of[6] = {0, 0, 1, 0, 2, 0};
    lots_batch earlier = {0}, one = {0}, two = {0};
    uint64_t cookie;
    lots_revoke_after(INT64_MAX / 2);
    for (int i = 0; i < 3; i++)
        boxes[i] = lots_mailbox_new();
    for (int i = 0; i < 6; i++)
        task(&ops[i], &word, LOTS_READ, boxes[of[i]], (char)('a' + i));
    lot_nudge(op_waiter(&ops[0]), &earlier);
    batch_wake(&earlier);
    CHECK_EQ(lots_mailbox_drain(boxes[0], &cookie, 1, 1), 1); /* answers the ring; full, so it is called again */
    lot_nudge(op_waiter(&ops[1]), &one);
    lot_nudge(op_waiter(&ops[2]), &one); /* to ring: boxes[0], boxes[1] */
    CHECK_EQ(lots_mailbox_drain(boxes[0], &cookie, 1, 1), 1);
    CHECK_EQ(cookie, 'b');
    CHECK_EQ(boxes[0]->rung, 1);
    lot_nudge(op_waiter(&ops[3]), &two);
    lot_nudge(op_waiter(&ops[4]), &two); /* to ring: boxes[2]; the other one is the first waker's still */
    batch_wake(&one);
    batch_wake(&two);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(rings(boxes[i]), 1);
        CHECK_EQ(a32_load(&boxes[i]->references, RELAXED), 1);
        CHECK_STR(mail(boxes[i], 1), i == 0 ? "d" : i == 1 ? "c" : "e");
        CHECK_EQ(boxes[i]->rung, 0);
        lots_mailbox_free(boxes[i]);
    }
}

/* Mail was taken out of the box, and an exception (Ctrl-C) came before its task was scheduled. When the wake is revoked for
 * its age, the loop is told once more. */
static void lost_mail_is_rung_for_anew(void)
{
    lots_op a;
    begin(1000000);
    hold(LOTS_MUTEX);
    queue(&a, LOTS_MUTEX, 'a', 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_STR(mail(m, 1), "a"); /* and lost */
    UNTIL(rings(m));
    CHECK_STR(mail(m, 1), "a");
    poll_ready(&a, 0x08);
    let_go(&a, 0);
    end();
}

/* The lock of a mailbox is no bucket's: it may be held when somebody forks, for good as the child sees it. There a task that
 * had not queued yet was cancelled, and waited for that lock. (Not under TSan: fork takes all 512 bucket locks, and its
 * detector of lock order crashes at 64.) */
#ifndef __SANITIZE_THREAD__
static void a_child_cancels_past_a_mailbox_that_was_held(void)
{
    lots_op fresh, trying;
    int status;
    pid_t pid;
    begin(INT64_MAX / 2);
    hold(LOTS_WRITE);
    task(&fresh, &word, LOTS_WRITE, m, 'f');
    task(&trying, &word, LOTS_WRITE, m, 't');
    CHECK_EQ(lots_op_try(&trying), LOTS_PARKED);
    fflush(stdout);
    bucket_lock_acquire(&m->lock); /* as a thread in the middle of a push */
    pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        watchdog(5);
        cancel(&fresh, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
        cancel(&trying, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
        _exit(0);
    }
    bucket_lock_release(&m->lock);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    cancel(&fresh, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    cancel(&trying, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x08);
    release(LOTS_WRITE, 0, 0);
    end();
}
#endif

/* --- words -------------------------------------------------------------------------------------------------------- */

/* Whoever goes on admitting after a full batch holds nothing: with its last waiter the lock may be gone, and was read. */
static void a_word_without_waiters_is_not_read(void)
{
    lots_batch batch = {0};
    void *gone = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    lots_bucket *b;
    CHECK(gone != MAP_FAILED);
    b = lot_lock(lot_key(gone, PHASE_ENTER));
    CHECK_EQ(admit(b, gone, 0, 0, 0, &batch), 0);
    lot_unlock(b);
    admit_rest(gone, &batch);
    CHECK_EQ(batch.thread_count + batch.tasks, 0);
    CHECK(!munmap(gone, (size_t)sysconf(_SC_PAGESIZE)));
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

/* A signal handler runs on the thread that waits, and may take the very lock; a reader's handler queued behind its own
 * thread's writer, for ever. With mutexes and conditions nobody can tell that a signal came: there it is still so. */
#ifndef LOTS_PARKER_PTHREAD
static atomic_int waited; /* the answer, plus one */

static void *wait_once(void *op)
{
    waited = lots_op_wait(op, LOTS_NEVER) + 1;
    return NULL;
}

static void nobody_queues_behind_a_thread_that_handles_a_signal(void)
{
    lots_op writer;
    pthread_t thread;
    begin(INT64_MAX / 2);
    hold(LOTS_READ);
    lots_op_init(&writer, &word, LOTS_WRITE, NULL, 0, 0);
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    CHECK(!pthread_create(&thread, NULL, wait_once, &writer));
    parked(&word, 1);
    CHECK_WORD(&word, 0x1a);
    while (!waited) { /* a signal that comes before it sleeps does not wake it */
        pthread_kill(thread, SIGUSR1);
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    CHECK(!pthread_join(thread, NULL));
    CHECK_EQ(waited, LOTS_INTERRUPTED + 1);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1); /* the handler's share */
    release(LOTS_READ, 0, 0x10);
    release(LOTS_READ, 0, 0);
    CHECK_EQ(lots_op_wait(&writer, LOTS_NEVER), LOTS_READY); /* and it goes on */
    let_go(&writer, 0);
    end();
}
#endif

static void *token_of(void *unused)
{
    (void)unused;
    return (void *)(uintptr_t)lots_thread_token();
}

/* Holders were noted by pthread_t, which the next thread gets: a dead thread's lock looked like that one's. */
static void a_threads_number_is_not_used_again(void)
{
    pthread_t thread, before = pthread_self();
    void *token, *last = NULL;
    int again = 0;
    for (int i = 0; i < 20; i++) {
        CHECK(!pthread_create(&thread, NULL, token_of, NULL));
        CHECK(!pthread_join(thread, &token));
        CHECK((uintptr_t)token > (uintptr_t)last);
        again += thread == before;
        before = thread;
        last = token;
    }
    printf("    (the pthread_t was used again %d times of 20)\n", again);
    CHECK(lots_thread_token() == lots_thread_token());
}

/* 0 stood for "the default": a setting that was never made came back. */
static void no_time_at_all_is_a_setting_too(void)
{
    int64_t before = lots_revoke_after(0);
    CHECK_EQ(lots_revoke_after(-5), 1);
    CHECK_EQ(lots_revoke_after(before), 1);
    CHECK_EQ(lots_revoke_after(before), before);
}

int main(void)
{
    watchdog(30);
    RUN(the_nudge_of_a_loop_that_is_back_does_not_outlive_its_ops);
    RUN(a_drain_that_finds_no_ring_leaves_the_ring_to_its_waker);
    RUN(lost_mail_is_rung_for_anew);
#ifndef __SANITIZE_THREAD__
    RUN(a_child_cancels_past_a_mailbox_that_was_held);
#endif
    RUN(a_word_without_waiters_is_not_read);
#ifndef LOTS_PARKER_PTHREAD
    RUN(nobody_queues_behind_a_thread_that_handles_a_signal);
#endif
    RUN(a_threads_number_is_not_used_again);
    RUN(no_time_at_all_is_a_setting_too);
    return 0;
}
