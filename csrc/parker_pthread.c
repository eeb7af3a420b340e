/* Any POSIX: threads sleep on a condition variable of their own waiter.
 *
 * pthread_cond_wait does not return when a signal arrives, so the sleep is cut in slices, after each of which the caller
 * is told that a signal may have come: Ctrl-C interrupts a waiting thread here too, a slice later. The waiter stays queued
 * meanwhile (to leave the queue at every slice would let readers in past a writer), so here, unlike with futexes, a signal
 * handler must not take the very lock that its thread waits for. */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "clock.h"
#include "waiter.h"

#define SLICE 50000000 /* ns */

void parker_prepare(lots_waiter *w)
{
    pthread_condattr_t attributes;
    if (w->parker.made)
        return;
    pthread_mutex_init(&w->parker.mutex, NULL);
    pthread_condattr_init(&attributes);
#ifndef __APPLE__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(&w->parker.cond, &attributes);
    pthread_condattr_destroy(&attributes);
    w->parker.made = 1;
}

void parker_finish(lots_waiter *w)
{
    if (!w->parker.made)
        return;
    /* A waker that published may still hold the mutex: wait until it has signalled. */
    pthread_mutex_lock(&w->parker.mutex);
    pthread_mutex_unlock(&w->parker.mutex);
    pthread_mutex_destroy(&w->parker.mutex);
    pthread_cond_destroy(&w->parker.cond);
    w->parker.made = 0;
}

parker_handle parker_publish(lots_waiter *w, uint32_t state)
{
    parker_handle handle = {&w->parker};
    pthread_mutex_lock(&w->parker.mutex);
    /* RELEASE pairs with the ACQUIRE in parker_sleep; the mutex orders them too. */
    a32_store(&w->state, state, RELEASE);
    return handle;
}

void parker_wake(parker_handle handle)
{
    parker *p = handle.what;
    pthread_cond_signal(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}

static int sleep_until(parker *p, int64_t now, int64_t until)
{
#ifdef __APPLE__
    struct timespec left = {(until - now) / 1000000000, (until - now) % 1000000000};
    return pthread_cond_timedwait_relative_np(&p->cond, &p->mutex, &left);
#else
    struct timespec at = {until / 1000000000, until % 1000000000};
    (void)now;
    return pthread_cond_timedwait(&p->cond, &p->mutex, &at);
#endif
}

void parker_relax(unsigned turn)
{
    if (turn >= 3)
        sched_yield();
    else
        for (unsigned i = 0; i < 4u << turn; i++)
            cpu_relax();
}

int parker_sleep(lots_waiter *w, int64_t deadline_ns)
{
    int answer = PARKER_WOKEN;
    int64_t slice_end = clock_now() + SLICE;
    pthread_mutex_lock(&w->parker.mutex);
    /* ACQUIRE pairs with the RELEASE in parker_publish. */
    while (a32_load(&w->state, ACQUIRE) == LOTS_QUEUED) {
        int64_t now = clock_now();
        if (now >= deadline_ns) {
            answer = PARKER_TIMED_OUT;
            break;
        }
        if (now >= slice_end) {
            answer = PARKER_LOOK;
            break;
        }
        sleep_until(&w->parker, now, deadline_ns < slice_end ? deadline_ns : slice_end);
    }
    pthread_mutex_unlock(&w->parker.mutex);
    return answer;
}
