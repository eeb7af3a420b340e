/* csrc/keeper.c itself, with the explorer's mutex, condition and timer in the place of POSIX's. Fiber 'A' is its thread. In
 * programs without one nobody is armed. */
#include "programs.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "revoke.h"

static int enabled, started, signalled;

void arm(void);

static int may_start(void *unused)
{
    (void)unused;
    return started || actors_ended();
}

static int is_signalled(void *unused)
{
    (void)unused;
    return signalled || actors_ended();
}

static int never(void *unused)
{
    (void)unused;
    return actors_ended();
}

static void sleep_until(int (*ready)(void *), int timed, const char *what)
{
    mc_sleep_until(ready, NULL, timed, what);
    if (actors_ended())
        mc_end();
}

static void wait_for_signal(int *held)
{
    mc_unlock(held);
    signalled = 0;
    sleep_until(is_signalled, 0, "the keeper is idle");
    mc_lock(held);
}

static int looked(int found)
{
    note_revocations();
    return found;
}

#define pthread_mutex_t int
#undef PTHREAD_MUTEX_INITIALIZER
#define PTHREAD_MUTEX_INITIALIZER 0
#define pthread_mutex_lock mc_lock
#define pthread_mutex_unlock mc_unlock
#define pthread_cond_t int
#undef PTHREAD_COND_INITIALIZER
#define PTHREAD_COND_INITIALIZER 0
#define pthread_cond_init(cond, attributes) (void)(cond)
#define pthread_cond_wait(cond, held) ((void)(cond), wait_for_signal(held))
#define pthread_cond_signal(cond) ((void)(cond), signalled = 1)
#define pthread_create(thread, attributes, run, argument) ((void)(thread), (void)(run), started = 1, 0)
#define pthread_detach(thread) (void)(thread)
#define pthread_sigmask(how, set, old) ((void)(set), (void)(old))
#define sigfillset(set) (void)(set)
#define nanosleep(...) sleep_until(never, 1, "a tick of the keeper")
/* One look in vain is enough here for the last, exact one: nothing new happens in the 39 others. */
#define revoke_late(before, exactly) (in_vain += IDLE_AFTER, looked((revoke_late)(before, exactly)))
#define keeper_arm arm
#include "keeper.c"
#undef keeper_arm

void keeper_arm(void)
{
    if (enabled)
        arm();
}

void keeper_reset(int enable)
{
    enabled = enable;
    started = signalled = mutex = 0;
    state.value_ = NONE;
    lots_revoke_after(1);
}

void run_armed_keeper(void *unused)
{
    sleep_until(may_start, 0, "the keeper does not exist");
    keep(unused);
}
