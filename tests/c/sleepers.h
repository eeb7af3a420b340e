/* Threads that have a number and sleep until they may end; and what the table of threads says of them. */
#ifndef SLEEPERS_H
#define SLEEPERS_H

#include "check.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>

#define SLOTS 1024 /* as in threads.c */
#define CROWD (SLOTS + 30)

static uint64_t numbers[2 * CROWD], threads[2 * CROWD];
static int complete;

typedef struct {
    pthread_t thread;
    uint64_t number;
    sem_t has_number, may_end;
} sleeper;

static inline void *sleep_with_a_number(void *argument)
{
    sleeper *s = argument;
    s->number = lots_thread_token();
    CHECK(!sem_post(&s->has_number));
    CHECK(!sem_wait(&s->may_end));
    return NULL;
}

/* With a stack of so many bytes: threads of different ones are not given the same pthread_t one after the other. */
static inline void start_with(sleeper *s, size_t stack)
{
    pthread_attr_t small;
    CHECK(!sem_init(&s->has_number, 0, 0) && !sem_init(&s->may_end, 0, 0));
    CHECK(!pthread_attr_init(&small) && !pthread_attr_setstacksize(&small, stack));
    CHECK(!pthread_create(&s->thread, &small, sleep_with_a_number, s));
    pthread_attr_destroy(&small);
    CHECK(!sem_wait(&s->has_number));
}

static inline void start(sleeper *s) { start_with(s, 1 << 18); }

static inline void end(sleeper *s)
{
    CHECK(!sem_post(&s->may_end));
    CHECK(!pthread_join(s->thread, NULL));
}

/* The thread with that number; 0: no such thread is alive. */
static inline uint64_t thread_of(uint64_t number)
{
    size_t count = lots_threads(numbers, threads, 2 * CROWD, &complete);
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == number)
            return threads[i];
    return 0;
}

/* Run in a child of fork(). */
static inline void in_a_child(void (*what)(void))
{
    int status;
    pid_t pid;
    fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        watchdog(20);
        what();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

#endif
