/* One policy of handing over, timed: `handoff WORKLOAD MILLISECONDS`; without arguments it lists the workloads. The policy is
 * compiled in (LOTS_FAIR_WITHIN_NS): bench/handoff.py builds this once for each, and runs them in turn.
 *
 * Prints, as JSON: acquisitions of all threads and of the least lucky one, nanoseconds it took, and of the waits (of more than
 * a microsecond) that which 99 of 100 did not exceed, and the longest. Only who does not get the lock at once reads the clock. */
#include "api.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_THREADS 8
#define LINE 128
#define CLASSES (64 * 8) /* of waits: 8 to each power of two */
#define NO_WAIT 1000      /* nanoseconds */

typedef struct work {
    const char *what;
    unsigned threads;
    unsigned writes, of;      /* so many of so many operations write; 0 of 0: a mutex */
    unsigned inside, outside; /* steps of work with and without the lock */
} work;

static const work works[] = {
    {"mutex, 2 threads, short", 2, 0, 0, 1, 4},
    {"mutex, 4 threads, short", 4, 0, 0, 1, 4},
    {"mutex, 8 threads, short", 8, 0, 0, 1, 4},
    {"mutex, 2 threads, longer", 2, 0, 0, 2000, 2000},
    {"mutex, 4 threads, longer", 4, 0, 0, 2000, 2000},
    {"mutex, 8 threads, longer", 8, 0, 0, 2000, 2000},
    {"rwlock 95:5, 2 threads", 2, 1, 20, 10, 40},
    {"rwlock 95:5, 4 threads", 4, 1, 20, 10, 40},
};

typedef struct shared {
    _Alignas(LINE) lots_word lock;
    volatile uint64_t data;
    _Alignas(LINE) atomic_int stop;
    const work *what;
    pthread_barrier_t gate;
} shared;

typedef struct job {
    _Alignas(LINE) shared *on;
    uint64_t done, wrote, longest;
    uint64_t waits[CLASSES];
} job;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static inline void steps(unsigned n)
{
    for (volatile unsigned i = 0; i < n; i++)
        ;
}

static unsigned class_of(uint64_t ns)
{
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    return power * 8 + (unsigned)(ns >> (power - 3) & 7);
}

/* The least wait of the class. */
static uint64_t wait_of(unsigned class) { return (UINT64_C(8) + class % 8) << (class / 8 - 3); }

static uint64_t take(lots_word *lock, uint32_t mode)
{
    lots_op op;
    uint64_t start;
    if (lots_try(lock, mode))
        return 0;
    start = now();
    lots_op_init(&op, lock, mode, NULL, 0, 0);
    while (lots_op_wait(&op, LOTS_NEVER) == LOTS_INTERRUPTED)
        ;
    return now() - start;
}

static void *toil(void *argument)
{
    job *j = argument;
    shared *on = j->on;
    const work *w = on->what;
    pthread_barrier_wait(&on->gate);
    while (!atomic_load_explicit(&on->stop, memory_order_relaxed)) {
        int writes = !w->of || j->done % w->of < w->writes;
        uint32_t mode = !w->of ? LOTS_MUTEX : writes ? LOTS_WRITE : LOTS_READ;
        uint64_t waited = take(&on->lock, mode);
        if (writes)
            on->data++;
        steps(w->inside);
        lots_release(&on->lock, mode, 0, NULL);
        if (waited > NO_WAIT)
            j->waits[class_of(waited)]++;
        if (waited > j->longest)
            j->longest = waited;
        j->wrote += (uint64_t)writes;
        j->done++;
        steps(w->outside);
    }
    return NULL;
}

int main(int count, char **arguments)
{
    static job jobs[MOST_THREADS];
    static shared on;
    pthread_t threads[MOST_THREADS];
    uint64_t start, took, done = 0, wrote = 0, least = UINT64_MAX, longest = 0, waits = 0, below = 0;
    long ms = count > 2 ? atol(arguments[2]) : 0;
    unsigned class = 0;
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        if (count < 2)
            puts(works[i].what);
        else if (!strcmp(arguments[1], works[i].what))
            on.what = &works[i];
    }
    if (!on.what)
        return count >= 2;
    pthread_barrier_init(&on.gate, NULL, on.what->threads + 1);
    for (unsigned i = 0; i < on.what->threads; i++) {
        jobs[i].on = &on;
        if (pthread_create(&threads[i], NULL, toil, &jobs[i]))
            abort();
    }
    pthread_barrier_wait(&on.gate);
    start = now();
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    atomic_store(&on.stop, 1);
    for (unsigned i = 0; i < on.what->threads; i++)
        pthread_join(threads[i], NULL);
    took = now() - start;
    for (unsigned i = 0; i < on.what->threads; i++) {
        done += jobs[i].done;
        wrote += jobs[i].wrote;
        least = jobs[i].done < least ? jobs[i].done : least;
        longest = jobs[i].longest > longest ? jobs[i].longest : longest;
        for (unsigned c = 0; c < CLASSES; c++)
            waits += jobs[i].waits[c];
    }
    if (on.data != wrote) {
        fprintf(stderr, "%s: writes were lost\n", on.what->what);
        return 1;
    }
    while (below * 100 < waits * 99) {
        class++;
        for (unsigned i = 0; i < on.what->threads; i++)
            below += jobs[i].waits[class];
    }
    printf("{\"done\": %llu, \"least\": %llu, \"actors\": %u, \"ns\": %llu, \"p99\": %llu, \"longest\": %llu}\n",
           (unsigned long long)done, (unsigned long long)least, on.what->threads, (unsigned long long)took,
           (unsigned long long)(waits ? wait_of(class) : 0), (unsigned long long)longest);
    return 0;
}
