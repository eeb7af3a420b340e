/* Who acts in the tests: threads that acquire, tasks that the test polls by hand; and ways to wait for them. */
#ifndef ACTORS_H
#define ACTORS_H

#include "check.h"
#include "mailbox.h"
#include "parking_lot.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

static inline int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Wait until so many wait for the lock, or have a wake that they have not taken up. */
static inline void parked(const lots_word *word, size_t count) { UNTIL(lots_for_each(word, NULL, 0) == count); }

/* When the lock's next wake is a handoff for the sake of fairness: never, or now. */
#define FAIR_NEVER INT64_MAX
#define FAIR_NOW 0
static inline void set_fairness(lots_word *word, int64_t at)
{
    lots_bucket *b = lot_lock((uintptr_t)word);
    b->fair_at = at;
    lot_unlock(b);
}

static inline int lock_is_free(bucket_lock *l)
{
#ifdef LOTS_PARKER_PTHREAD
    return !pthread_mutex_trylock(&l->mutex) && !pthread_mutex_unlock(&l->mutex);
#else
    return a32_load(&l->state, RELAXED) == 0;
#endif
}

/* A thread that acquires, and ends; its op may be released from anywhere. */
typedef struct actor {
    lots_op op;
    int64_t deadline;
    _Atomic int interruptions, give_up, ended;
    int answer;
    pthread_t thread;
} actor;

static void *actor_run(void *argument)
{
    actor *a = argument;
    do
        a->answer = lots_op_wait(&a->op, a->deadline);
    while (a->answer == LOTS_INTERRUPTED && ++a->interruptions && !a->give_up); /* the pthread parker says so now and then */
    if (a->answer == LOTS_INTERRUPTED)
        a->answer = lots_op_cancel(&a->op, LOTS_BY_CANCEL, NULL);
    a->ended = 1;
    return NULL;
}

static inline void start_until(actor *a, lots_word *word, uint32_t mode, int64_t deadline)
{
    memset(a, 0, sizeof *a);
    a->deadline = deadline;
    lots_op_init(&a->op, word, mode, NULL, 0, 0);
    CHECK(!pthread_create(&a->thread, NULL, actor_run, a));
}

static inline void start(actor *a, lots_word *word, uint32_t mode) { start_until(a, word, mode, LOTS_NEVER); }

static inline int finish(actor *a)
{
    CHECK(!pthread_join(a->thread, NULL));
    return a->answer;
}

static inline void on_signal(int signal) { (void)signal; }

/* What Ctrl-C does: a signal ends its sleep, and it gives up. */
static inline int interrupt(actor *a)
{
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal}, NULL);
    a->give_up = 1;
    while (!a->ended) {
        pthread_kill(a->thread, SIGUSR1);
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    return finish(a);
}

/* A task of the loop that `m` belongs to; cookies are letters, so that mail reads as a text. */
static inline void task(lots_op *op, lots_word *word, uint32_t mode, lots_mailbox *m, char cookie)
{
    lots_op_init(op, word, mode, m, (uint64_t)cookie, 0);
}

static inline const char *mail(lots_mailbox *m, int rung)
{
    static char text[64];
    uint64_t cookies[63];
    size_t n = lots_mailbox_drain(m, cookies, 63, rung);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)cookies[i];
    text[n] = 0;
    return text;
}

/* How many rings the loop has still to answer (by a drain with `rung`); as its fd tells, an eventfd or a pipe. */
static inline uint64_t rings(lots_mailbox *m)
{
    uint64_t values[16], sum = 0;
    ssize_t n = read(m->bell.read_fd, values, sizeof values);
    for (ssize_t i = 0; i < n / 8; i++)
        sum += values[i];
    for (ssize_t i = 0; i < n / 8; i++) /* put back what a look has taken */
        CHECK_EQ(write(m->bell.write_fd, &values[i], 8), 8);
    return sum;
}

#endif
