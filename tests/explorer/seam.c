/* The seam: what csrc/ stands on, when the explorer runs it. Each atomic is one step, before which anybody may run; what it
 * reads and publishes is memory.c's. */
#include "memory.h"
#include "verbs.h"

#include "mailbox.h"
#include "parking_lot.h"
#include "threads.h"

#include <errno.h>
#include <stddef.h>

#include <string.h>

int mc_spend_cas_failure(void);
int mc_spend_fair(void);

static struct sleeper { const void *address; int woken; } sleepers[MC_FIBERS];
static int locks_held[MC_FIBERS];
static const void *words[2];
int mc_points_after_unlock;

void mc_reset_seam(const void *word0, const void *word1, int stale)
{
    memory_reset(stale);
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

static void show(uint64_t before, uint64_t after)
{
    mc_note("   %#llx -> %#llx", (unsigned long long)before, (unsigned long long)after);
}

#define ATOMICS(bits, type)                                                                        \
    type mc_load##bits(const type *p, mc_order order)                                              \
    {                                                                                              \
        atomic_point("load", p);                                                                   \
        return (type)memory_load(p, *p, order);                                                    \
    }                                                                                              \
    void mc_store##bits(type *p, type v, mc_order order)                                           \
    {                                                                                              \
        atomic_point("store", p);                                                                  \
        memory_store(p, *p, v, order);                                                             \
        show(*p, v);                                                                               \
        *p = v;                                                                                    \
    }                                                                                              \
    static type rmw##bits(type *p, type v, mc_order order)                                         \
    {                                                                                              \
        type before = *p;                                                                          \
        memory_rmw(p, before, v, order);                                                           \
        show(before, v);                                                                           \
        *p = v;                                                                                    \
        return before;                                                                             \
    }                                                                                              \
    type mc_add##bits(type *p, type v, mc_order order)                                             \
    {                                                                                              \
        atomic_point("add", p);                                                                    \
        return rmw##bits(p, (type)(*p + v), order);                                                \
    }                                                                                              \
    static int cas##bits(type *p, type *expected, type desired, mc_order order, int weak)          \
    {                                                                                              \
        atomic_point("cas", p);                                                                    \
        if (*p == *expected && !(weak && mc_spend_cas_failure())) {                                \
            rmw##bits(p, desired, order);                                                          \
            return 1;                                                                              \
        }                                                                                          \
        *expected = (type)memory_load(p, *p, MC_LAST);                                                 \
        return 0;                                                                                  \
    }

ATOMICS(64, uint64_t)
ATOMICS(32, uint32_t)

int mc_cas64(uint64_t *p, uint64_t *expected, uint64_t desired, mc_order order)
{
    return cas64(p, expected, desired, order, 1);
}

int mc_cas32(uint32_t *p, uint32_t *expected, uint32_t desired, mc_order order)
{
    return cas32(p, expected, desired, order, 0);
}

uint64_t mc_and64(uint64_t *p, uint64_t v, mc_order order)
{
    atomic_point("and", p);
    return rmw64(p, *p & v, order);
}

static int is_free(void *held) { return !*(int *)held; }

void mc_lock(int *held)
{
    mc_point("lock", held);
    while (*held)
        mc_sleep_until(is_free, held, 0, "bucket lock");
    *held = 1;
    memory_acquire(held);
    locks_held[mc_self()]++;
}

void mc_unlock(int *held)
{
    if (!*held)
        mc_fail("a bucket lock was released that nobody held");
    *held = 0;
    memory_release(held);
    locks_held[mc_self()]--;
    if (mc_points_after_unlock) /* what is read next, without the lock, is not protected any more */
        mc_point("unlocked", held);
}

uint64_t thread_number(void) { return 0; } /* threads.c is not here */

static int64_t time_now;
int64_t mc_now(void) { return ++time_now; }

int mc_fair(lots_bucket *b)
{
    (void)b;
    return mc_spend_fair();
}

/* --- the futex, under csrc/parker_futex.c (parker.c) --------------------------------------------------------------- */

void mc_publishes(const void *waiter) { mc_point("publish", waiter); }

/* Wakes one sleeper, and which one is a choice. */
void mc_futex_wake(const uint32_t *address)
{
    struct sleeper *asleep[MC_FIBERS];
    int n = 0;
    mc_point("futex wake", address);
    for (int i = 0; i < MC_FIBERS; i++)
        if (sleepers[i].address == address && !sleepers[i].woken)
            asleep[n++] = &sleepers[i];
    if (n)
        asleep[mc_choose(n, "who is woken")]->woken = 1;
}

static int is_woken(void *sleeper) { return ((struct sleeper *)sleeper)->woken; }

/* The kernel sees the last store. A deadline is a choice: it may come at any step, also when the wake is there already;
 * the deadline 1 is a signal that may come likewise. */
int mc_futex_wait(const uint32_t *address, uint32_t value, const int64_t *deadline)
{
    struct sleeper *s = &sleepers[mc_self()];
    int woken;
    if (*address != value)
        return EAGAIN;
    *s = (struct sleeper){address, 0};
    mc_sleep_until(is_woken, s, deadline != NULL, "futex wait");
    woken = s->woken;
    *s = (struct sleeper){0};
    if (deadline && (!woken || mc_choose(2, "the timeout comes with the wake")))
        return *deadline == 1 ? EINTR : ETIMEDOUT;
    return 0;
}

/* --- the bell ------------------------------------------------------------------------------------------------------ */

int bell_open(bell *b)
{
    b->rings = 0;
    return 0;
}
void bell_ring(bell *b)
{
    mc_point("ring", b);
    mc_did(V_PUSH);
    memory_release(b);
    b->rings++;
}
int bell_clear(bell *b)
{
    int rings;
    mc_point("clear the bell", b);
    rings = b->rings;
    b->rings = 0;
    if (rings > 0)
        memory_acquire(b);
    return rings > 0;
}
/* The mailbox is freed now. */
void bell_close(bell *b)
{
    mc_reuse((char *)b - offsetof(lots_mailbox, bell), sizeof(lots_mailbox));
    b->rings = -1000000;
}
int bell_fd(const bell *b) { return b->rings; }
