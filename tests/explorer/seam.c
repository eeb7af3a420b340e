/* The seam: what csrc/ stands on, when the explorer runs it. Each atomic is one step, before which anybody may run. */
#include "explorer.h"

#include "bell.h"
#include "parking_lot.h"

#include <string.h>

int mc_spend_cas_failure(void);
int mc_spend_fair(void);

static struct sleeper { void *address; int woken; } sleepers[MC_FIBERS];
static int locks_held[MC_FIBERS];
static const void *words[2];

void mc_reset_seam(const void *word0, const void *word1)
{
    memset(locks_held, 0, sizeof locks_held);
    memset(sleepers, 0, sizeof sleepers);
    words[0] = word0;
    words[1] = word1;
}

/* An atomic is a step of its own unless its holder's bucket lock keeps everybody else away from it: lock words never are,
 * for the fast paths take no lock; a waiter's state is not at the moment of its publication. */
static void atomic_point(const char *what, const void *p)
{
    if (!locks_held[mc_self()] || p == words[0] || p == words[1])
        mc_point(what, p);
}

#define ATOMICS(bits, type)                                                                       \
    type mc_load##bits(const type *p, mc_order order)                                              \
    {                                                                                             \
        (void)order;                                                                              \
        atomic_point("load", p);                                                                      \
        return *p;                                                                                \
    }                                                                                             \
    void mc_store##bits(type *p, type v, mc_order order)                                           \
    {                                                                                             \
        (void)order;                                                                              \
        atomic_point("store", p);                                                                     \
        *p = v;                                                                                   \
        mc_note("   = %#llx", (unsigned long long)v);                                             \
    }                                                                                             \
    type mc_add##bits(type *p, type v, mc_order order)                                             \
    {                                                                                             \
        type before;                                                                              \
        (void)order;                                                                              \
        atomic_point("add", p);                                                                       \
        before = *p;                                                                              \
        *p = (type)(before + v);                                                                  \
        mc_note("   %#llx -> %#llx", (unsigned long long)before, (unsigned long long)*p);         \
        return before;                                                                            \
    }                                                                                             \
    static int cas##bits(type *p, type *expected, type desired, int weak)                          \
    {                                                                                             \
        atomic_point("cas", p);                                                                       \
        if (*p == *expected && !(weak && mc_spend_cas_failure())) {                               \
            mc_note("   %#llx -> %#llx", (unsigned long long)*p, (unsigned long long)desired);     \
            *p = desired;                                                                         \
            return 1;                                                                             \
        }                                                                                         \
        *expected = *p;                                                                           \
        return 0;                                                                                 \
    }

ATOMICS(64, uint64_t)
ATOMICS(32, uint32_t)

int mc_cas64(uint64_t *p, uint64_t *expected, uint64_t desired, mc_order order)
{
    (void)order;
    return cas64(p, expected, desired, 1);
}

int mc_cas32(uint32_t *p, uint32_t *expected, uint32_t desired, mc_order order)
{
    (void)order;
    return cas32(p, expected, desired, 0);
}

uint64_t mc_and64(uint64_t *p, uint64_t v, mc_order order)
{
    uint64_t before;
    (void)order;
    atomic_point("and", p);
    before = *p;
    *p = before & v;
    mc_note("   %#llx -> %#llx", (unsigned long long)before, (unsigned long long)*p);
    return before;
}

static int is_free(void *held) { return !*(int *)held; }

void mc_lock(int *held)
{
    mc_point("lock", held);
    while (*held)
        mc_sleep_until(is_free, held, 0, "bucket lock");
    *held = 1;
    locks_held[mc_self()]++;
}

void mc_unlock(int *held)
{
    if (!*held)
        mc_fail("a bucket lock was released that nobody held");
    *held = 0;
    locks_held[mc_self()]--;
}

static int64_t time_now;
int64_t mc_now(void) { return ++time_now; }

int mc_fair(lots_bucket *b)
{
    (void)b;
    return mc_spend_fair();
}

/* --- the parker: a futex ------------------------------------------------------------------------------------------ */

void parker_prepare(lots_waiter *w) { (void)w; }
void parker_finish(lots_waiter *w) { (void)w; }

parker_handle parker_publish(lots_waiter *w, uint32_t state)
{
    parker_handle handle = {&w->state};
    mc_point("publish", w);
    a32_store(&w->state, state, RELEASE);
    return handle;
}

void parker_wake(parker_handle handle)
{
    mc_point("futex wake", handle.what);
    for (int i = 0; i < MC_FIBERS; i++)
        if (sleepers[i].address == handle.what)
            sleepers[i].woken = 1;
}

static int is_woken(void *sleeper) { return ((struct sleeper *)sleeper)->woken; }

/* The deadline is a choice: LOTS_NEVER does not come; 0 may come at any step, also when the wake is there already; -1 is a
 * signal that may come likewise. */
int parker_sleep(lots_waiter *w, int64_t deadline)
{
    struct sleeper *s = &sleepers[mc_self()];
    int woken;
    while (a32_load(&w->state, ACQUIRE) == LOTS_QUEUED) {
        *s = (struct sleeper){&w->state, 0};
        mc_sleep_until(is_woken, s, deadline != LOTS_NEVER, "futex wait");
        woken = s->woken;
        *s = (struct sleeper){0};
        if (deadline != LOTS_NEVER && (!woken || mc_choose(2, "the timeout comes with the wake")))
            return deadline < 0 ? PARKER_INTERRUPTED : PARKER_TIMED_OUT;
    }
    return PARKER_WOKEN;
}

void parker_relax(unsigned turn) { (void)turn; }

/* --- the bell ------------------------------------------------------------------------------------------------------ */

int bell_open(bell *b)
{
    b->rings = 0;
    return 0;
}
void bell_ring(bell *b)
{
    mc_point("ring", b);
    b->rings++;
}
int bell_clear(bell *b)
{
    int rings;
    mc_point("clear the bell", b);
    rings = b->rings;
    b->rings = 0;
    return rings > 0;
}
void bell_close(bell *b) { b->rings = -1000000; }
int bell_fd(const bell *b) { return b->rings; }
