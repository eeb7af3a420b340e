/* Threads and event loops on one lock, with all that may befall a loop: its tasks are cancelled and timed out while queued
 * and while woken, it is late (so that its wakes are revoked), its own thread blocks in it, it is closed and another takes
 * its place. Each op is a block of memory of its own, freed when it has ended: AddressSanitizer sees who comes too late. */
#include "stress.h"

#include <poll.h>

#define LOOPS 2
#define TASKS 6
#define THREADS 2

static _Atomic uint64_t by_tasks, by_threads, cancels, closes, stalls, blocks;

typedef struct one_task {
    lots_op *op; /* NULL: it does not want the lock now */
    uint32_t mode;
    int scheduled, holding; /* holding: so many more rounds of the loop */
} one_task;

typedef struct loop {
    lots_mailbox *mailbox;
    one_task tasks[TASKS];
    uint32_t random;
    pthread_t thread;
} loop;

static void drain(loop *l, int rung)
{
    uint64_t cookies[4];
    size_t n;
    while ((n = lots_mailbox_drain(l->mailbox, cookies, 4, rung)) > 0) {
        rung = 0;
        for (size_t i = 0; i < n; i++) {
            CHECK(l->tasks[cookies[i]].op); /* mail does not outlive its op */
            l->tasks[cookies[i]].scheduled = 1;
        }
    }
}

static void end_op(one_task *t)
{
    CHECK_EQ(lots_op_cancel(t->op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
    free(t->op);
    *t = (one_task){0};
}

static void let_go(loop *l, one_task *t)
{
    int answer = release(t->op, t->mode, next_random(&l->random) % 8 == 0, l->mailbox);
    end_op(t);
    by_tasks++;
    if (answer & LOTS_MAIL)
        drain(l, 0);
}

static void cancel(loop *l, one_task *t, uint32_t why)
{
    int answer = lots_op_cancel(t->op, why, l->mailbox);
    cancels++;
    if ((answer & ~LOTS_MAIL) == LOTS_READY) {
        CHECK_EQ(why, LOTS_BY_TIMEOUT);
        ghost_in(t->mode);
        t->scheduled = 0;
        t->holding = 1;
    } else {
        CHECK_EQ(answer & ~LOTS_MAIL, LOTS_WITHDRAWN);
        end_op(t);
    }
    if (answer & LOTS_MAIL)
        drain(l, 0);
}

static void run_task(loop *l, one_task *t)
{
    static const uint32_t modes[] = {LOTS_READ, LOTS_READ, LOTS_READ_RECURSIVE, LOTS_WRITE};
    if (t->holding) {
        if (!--t->holding)
            let_go(l, t);
        return;
    }
    if (!t->op && next_random(&l->random) % 4 == 0) {
        t->op = malloc(sizeof *t->op);
        t->mode = modes[next_random(&l->random) % 4];
        lots_op_init(t->op, &word, t->mode, l->mailbox, (uint64_t)(t - l->tasks), 0);
        t->scheduled = 1;
    }
    if (!t->op)
        return;
    if (t->scheduled || next_random(&l->random) % 64 == 0) { /* now and then one looks for nothing */
        int answer = lots_op_poll(t->op);
        t->scheduled = 0;
        CHECK(answer == LOTS_READY || answer == LOTS_PARKED);
        if (answer == LOTS_READY) {
            ghost_in(t->mode);
            t->holding = 1 + (int)(next_random(&l->random) % 3);
            if (t->holding == 3) { /* never awaits while it holds */
                t->holding = 0;
                let_go(l, t);
            }
        }
    } else if (next_random(&l->random) % 16 == 0) {
        cancel(l, t, next_random(&l->random) % 2);
    }
}

static int holds_any(const loop *l)
{
    for (int i = 0; i < TASKS; i++)
        if (l->tasks[i].holding)
            return 1;
    return 0;
}

/* A callback that acquires as a thread would, and so blocks the running loop. */
static void block(loop *l)
{
    uint32_t mode = next_random(&l->random) % 2 ? LOTS_READ : LOTS_WRITE;
    lots_op op;
    if (holds_any(l))
        return; /* it could never end; the front raises DeadlockError */
    blocks++;
    lots_mailbox_block(l->mailbox);
    acquire(&op, mode, LOTS_NEVER);
    lots_mailbox_unblock(l->mailbox);
    if (release(&op, mode, 0, l->mailbox) & LOTS_MAIL)
        drain(l, 0);
}

static void close_loop(loop *l)
{
    uint64_t cookie;
    for (one_task *t = l->tasks; t < l->tasks + TASKS; t++)
        if (t->holding)
            let_go(l, t);
    lots_mailbox_close(l->mailbox);
    CHECK_EQ(lots_mailbox_drain(l->mailbox, &cookie, 1, 1), 0);
    for (one_task *t = l->tasks; t < l->tasks + TASKS; t++)
        if (t->op) {
            CHECK_EQ(lots_op_poll(t->op), LOTS_CLOSED);
            end_op(t);
        }
    lots_mailbox_free(l->mailbox);
    closes++;
}

static void *run_loop(void *argument)
{
    loop *l = argument;
    l->mailbox = lots_mailbox_new();
    while (!stop) {
        struct pollfd fd = {.fd = lots_mailbox_fd(l->mailbox), .events = POLLIN};
        int busy = holds_any(l);
        if (poll(&fd, 1, busy ? 0 : 1) > 0)
            drain(l, 1);
        for (int i = 0; i < TASKS; i++)
            run_task(l, &l->tasks[i]);
        switch (next_random(&l->random) % 512) {
        case 0:
        case 1:
            stalls++;
            spin_for(2500000); /* time itself is tested: later than a revocation */
            break;
        case 2:
        case 3:
        case 4:
        case 5:
            block(l);
            break;
        case 6:
            close_loop(l);
            l->mailbox = lots_mailbox_new();
            CHECK(l->mailbox != NULL);
            break;
        }
    }
    close_loop(l);
    return NULL;
}

static void *run_thread(void *seed)
{
    uint32_t random = (uint32_t)(uintptr_t)seed * 2654435761u | 1;
    while (!stop) {
        uint32_t mode = next_random(&random) % 4 ? LOTS_READ : LOTS_WRITE;
        int64_t deadline = next_random(&random) % 2 ? LOTS_NEVER : now_ns() + next_random(&random) % 200000;
        lots_op op;
        if (acquire(&op, mode, deadline) == LOTS_READY) {
            spin_for(next_random(&random) % 10000);
            release(&op, mode, next_random(&random) % 8 == 0, NULL);
            by_threads++;
        }
        sched_yield();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    static loop loops[LOOPS];
    pthread_t threads[THREADS + 1];
    watchdog((unsigned)seconds + 60);
    check_test = "stress of loops";
    lots_revoke_after(1000000);
    CHECK(!pthread_create(&threads[THREADS], NULL, sample, (void *)(uintptr_t)(LOOPS * (TASKS + 1) + THREADS)));
    for (int i = 0; i < LOOPS; i++) {
        loops[i].random = (uint32_t)i + 1;
        CHECK(!pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]));
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(!pthread_create(&threads[i], NULL, run_thread, (void *)(uintptr_t)(i + 1)));
    nanosleep(&(struct timespec){(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)}, NULL); /* its length */
    stop = 1;
    for (int i = 0; i < LOOPS; i++)
        CHECK(!pthread_join(loops[i].thread, NULL));
    for (int i = 0; i < THREADS + 1; i++)
        CHECK(!pthread_join(threads[i], NULL));
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    printf("  %llu by tasks, %llu by threads; %llu cancelled, %llu revoked, %llu late, %llu blocked, %llu closed\n",
           (unsigned long long)by_tasks, (unsigned long long)by_threads, (unsigned long long)cancels,
           (unsigned long long)lots_revocations(), (unsigned long long)stalls, (unsigned long long)blocks,
           (unsigned long long)closes);
    CHECK(by_tasks && by_threads && cancels && closes);
    return 0;
}
