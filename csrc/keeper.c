/* The keeper: one thread of the process, started when the first task is woken, that looks a few times per revocation time
 * for wakes which their tasks have not taken up, and revokes them (revoke.c).
 *
 * It must be a thread: when a task on a stuck loop has been woken, every other waiter sleeps, and nobody else is left to
 * notice. It costs nothing when no task waits: after some looks that found nothing it goes to sleep until it is armed.
 *
 *   state    arm() does                  the keeper
 *   NONE     starts the thread           does not exist (also in a forked child)
 *   IDLE     ACTIVE, and wakes it        sleeps on `armed`
 *   ACTIVE   nothing: one load           looks every tick
 *
 * No wake is overlooked when it goes to sleep: it stores IDLE, then looks once more under every bucket lock. A waker
 * lists the woken task under a bucket lock, drops it, then loads the state. If its hold came before the keeper's look, the
 * keeper sees the task; if after, the waker's load sees IDLE (the lock orders it) and arms.
 *
 * It takes no signals, needs no GIL, and touches nothing but the lot. */
#include "keeper.h"

#include "atomics.h"
#include "clock.h"
#include "revoke.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define NONE 0
#define IDLE 1
#define ACTIVE 2

#define IDLE_AFTER 40 /* looks in vain: a second, by default */
#define TICKS_PER_REVOCATION 4
#define LONGEST_TICK 25000000 /* ns; so that a shorter revocation time that is set later is soon noticed */
#define SHORTEST_TICK 500000

static lots_a32 state;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* protects the changes of `state`, never taken under a bucket lock */
static pthread_cond_t armed = PTHREAD_COND_INITIALIZER;

static void tick(void)
{
    int64_t ns = revoke_after_ns() / TICKS_PER_REVOCATION;
    ns = ns > LONGEST_TICK ? LONGEST_TICK : ns < SHORTEST_TICK ? SHORTEST_TICK : ns;
    nanosleep(&(struct timespec){0, (long)ns}, NULL);
}

static void *keep(void *unused)
{
    int in_vain = 0;
    for (;;) {
        int exactly = in_vain >= IDLE_AFTER;
        if (exactly)
            a32_store(&state, IDLE, RELAXED); /* ordered by the bucket locks, see above */
        if (revoke_late(clock_now() - revoke_after_ns(), exactly)) {
            in_vain = 0;
            a32_store(&state, ACTIVE, RELAXED); /* only saves the wakers an arm */
        } else if (exactly) {
            pthread_mutex_lock(&mutex);
            while (a32_load(&state, RELAXED) == IDLE) /* under the mutex, like arm's change */
                pthread_cond_wait(&armed, &mutex);
            pthread_mutex_unlock(&mutex);
            in_vain = 0;
        } else {
            in_vain++;
        }
        tick();
    }
    return unused;
}

static void start(void)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (!pthread_create(&thread, NULL, keep, NULL)) {
        pthread_detach(thread);
        a32_store(&state, ACTIVE, RELAXED); /* under the mutex */
    } /* else: no thread to be had now; the next arm tries again */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void keeper_arm(void)
{
    if (a32_load(&state, RELAXED) == ACTIVE) /* ordered by the bucket lock that was just dropped, see above */
        return;
    pthread_mutex_lock(&mutex);
    if (a32_load(&state, RELAXED) == NONE) {
        start();
    } else {
        a32_store(&state, ACTIVE, RELAXED);
        pthread_cond_signal(&armed);
    }
    pthread_mutex_unlock(&mutex);
}

void keeper_before_fork(void) { pthread_mutex_lock(&mutex); }

void keeper_after_fork(int in_child)
{
    if (in_child) {
        a32_store(&state, NONE, RELAXED);
        pthread_cond_init(&armed, NULL); /* the parent's keeper may have been waiting on it */
    }
    pthread_mutex_unlock(&mutex);
}
