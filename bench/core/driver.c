/* Times our core against each other contender, in paired rounds: `core ROUNDS MILLISECONDS`. Each line of the output is one
 * round of one pair, as JSON, in nanoseconds per operation; bench/core_alone.py makes ratios of them.
 *
 * Uncontended: so many operations, in processor time of the one thread. Contended: threads run for so many milliseconds; the time per operation is that of
 * all of them together. A count kept under each exclusive lock is checked in the end: a lock that does not lock is no lock. */
#include "contenders.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_THREADS 4
#define LINE 128 /* two cache lines: neighbours are fetched in pairs */

typedef struct shared {
    _Alignas(LINE) unsigned char lock[LOCK_BYTES];
    volatile uint64_t data; /* beside the lock, as in life */
} shared;

typedef struct work {
    const char *what;
    unsigned threads;
    unsigned writes, of; /* so many of so many operations write; 0 of 0: a mutex */
    unsigned inside, outside; /* steps of work with and without the lock */
} work;

typedef struct job {
    _Alignas(LINE) const contender *by;
    const work *what;
    shared *on;
    pthread_barrier_t *gate;
    atomic_int *stop;
    uint64_t done, wrote;
} job;

static const work contended[] = {
    {"mutex, 2 threads, short", 2, 0, 0, 1, 4},
    {"mutex, 4 threads, short", 4, 0, 0, 1, 4},
    {"mutex, 2 threads, longer", 2, 0, 0, 100, 200},
    {"mutex, 4 threads, longer", 4, 0, 0, 100, 200},
    {"rwlock 100:0, 2 threads", 2, 0, 20, 10, 40},
    {"rwlock 100:0, 4 threads", 4, 0, 20, 10, 40},
    {"rwlock 95:5, 2 threads", 2, 1, 20, 10, 40},
    {"rwlock 95:5, 4 threads", 4, 1, 20, 10, 40},
    {"rwlock 50:50, 2 threads", 2, 10, 20, 10, 40},
    {"rwlock 50:50, 4 threads", 4, 10, 20, 10, 40},
};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static shared *fresh(void)
{
    shared *s = aligned_alloc(LINE, sizeof *s);
    memset(s, 0, sizeof *s);
    return s;
}

static inline void steps(unsigned n)
{
    for (volatile unsigned i = 0; i < n; i++)
        ;
}

/* --- uncontended ----------------------------------------------------------------------------------------------------- */

static double calls(const verbs *v, shared *on, uint64_t times)
{
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < times; i++) {
        v->lock(on->lock);
        v->unlock(on->lock);
    }
    return (now(CLOCK_THREAD_CPUTIME_ID) - start) / (double)times;
}

static double loops(const verbs *v, shared *on, uint64_t times)
{
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    v->loop(on->lock, times);
    return (now(CLOCK_THREAD_CPUTIME_ID) - start) / (double)times;
}

static void uncontended(const char *what, const char *how, const verbs *ours, const verbs *theirs, const char *peer,
                        double (*timed)(const verbs *, shared *, uint64_t), int rounds, double ns)
{
    shared *a = fresh(), *b = fresh();
    uint64_t times = 1000;
    while (timed(ours, a, times) * (double)times < ns)
        times *= 2;
    timed(theirs, b, times);
    for (int i = 0; i < rounds; i++) {
        double first = i & 1 ? timed(theirs, b, times) : timed(ours, a, times);
        double second = i & 1 ? timed(ours, a, times) : timed(theirs, b, times);
        printf("{\"group\": \"uncontended\", \"what\": \"%s, %s\", \"peer\": \"%s\", \"ours\": %f, \"theirs\": %f}\n", what, how,
               peer, i & 1 ? second : first, i & 1 ? first : second);
    }
    free(a);
    free(b);
}

/* --- contended ------------------------------------------------------------------------------------------------------- */

static void *toil(void *argument)
{
    job *j = argument;
    const work *w = j->what;
    void *lock = j->on->lock;
    pthread_barrier_wait(j->gate);
    while (!atomic_load_explicit(j->stop, memory_order_relaxed)) {
        int writes = !w->of || j->done % w->of < w->writes;
        const verbs *v = !w->of ? &j->by->mutex : writes ? &j->by->write : &j->by->read;
        v->lock(lock);
        if (writes)
            j->on->data++;
        steps(w->inside);
        v->unlock(lock);
        j->wrote += (uint64_t)writes;
        j->done++;
        steps(w->outside);
    }
    return NULL;
}

/* Nanoseconds per operation of all threads together. */
static double race(const contender *by, const work *what, double ns)
{
    pthread_t threads[MOST_THREADS];
    job jobs[MOST_THREADS];
    pthread_barrier_t gate;
    atomic_int stop = 0;
    shared *on = fresh();
    uint64_t done = 0, wrote = 0;
    double start;
    pthread_barrier_init(&gate, NULL, what->threads + 1);
    for (unsigned i = 0; i < what->threads; i++) {
        jobs[i] = (job){.by = by, .what = what, .on = on, .gate = &gate, .stop = &stop};
        if (pthread_create(&threads[i], NULL, toil, &jobs[i]))
            abort();
    }
    pthread_barrier_wait(&gate);
    start = now(CLOCK_MONOTONIC);
    nanosleep(&(struct timespec){0, (long)ns}, NULL);
    atomic_store(&stop, 1);
    for (unsigned i = 0; i < what->threads; i++) {
        pthread_join(threads[i], NULL);
        done += jobs[i].done;
        wrote += jobs[i].wrote;
    }
    ns = now(CLOCK_MONOTONIC) - start;
    if (on->data != wrote) {
        fprintf(stderr, "%s, %s: %llu of %llu writes were lost\n", by->name, what->what,
                (unsigned long long)(wrote - on->data), (unsigned long long)wrote);
        exit(1);
    }
    pthread_barrier_destroy(&gate);
    free(on);
    return ns / (double)done;
}

static void races(const contender *peer, int rounds, double ns)
{
    for (size_t w = 0; w < sizeof contended / sizeof *contended; w++) {
        const work *what = &contended[w];
        for (int i = 0; i < rounds; i++) {
            double first = race(i & 1 ? peer : contenders, what, ns);
            double second = race(i & 1 ? contenders : peer, what, ns);
            printf("{\"group\": \"contended\", \"what\": \"%s\", \"peer\": \"%s\", \"ours\": %f, \"theirs\": %f}\n", what->what,
                   peer->name, i & 1 ? second : first, i & 1 ? first : second);
        }
    }
}

int main(int count, char **arguments)
{
    int rounds = count > 1 ? atoi(arguments[1]) : 11;
    double ns = (count > 2 ? atof(arguments[2]) : 20) * 1e6;
    const contender *ours = contenders;
    for (const contender *peer = contenders + 1; peer->name; peer++) {
        uncontended("mutex", "by call", &ours->mutex, &peer->mutex, peer->name, calls, rounds, ns);
        uncontended("read", "by call", &ours->read, &peer->read, peer->name, calls, rounds, ns);
        uncontended("write", "by call", &ours->write, &peer->write, peer->name, calls, rounds, ns);
        if (peer->mutex.loop) {
            uncontended("mutex", "inlined", &ours->mutex, &peer->mutex, peer->name, loops, rounds, ns);
            uncontended("read", "inlined", &ours->read, &peer->read, peer->name, loops, rounds, ns);
            uncontended("write", "inlined", &ours->write, &peer->write, peer->name, loops, rounds, ns);
        }
        races(peer, rounds, ns);
    }
    return 0;
}
