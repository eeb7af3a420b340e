/* csrc/parker_futex.c itself, with the explorer's futex in the kernel's place. Only its bucket lock stays out: the explorer
 * has its own. */
#include "explorer.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "verbs.h"

void mc_publishes(const void *waiter);
void mc_futex_wake(const uint32_t *address);
int mc_futex_wait(const uint32_t *address, uint32_t value, const int64_t *deadline);

static long mc_syscall(long number, const uint32_t *address, int op, uint32_t value, const struct timespec *deadline)
{
    int64_t at = deadline ? deadline->tv_sec * 1000000000 + deadline->tv_nsec : 0;
    (void)number;
    if ((op & FUTEX_CMD_MASK) == FUTEX_WAKE_BITSET) {
        mc_futex_wake(address);
        return 0;
    }
    errno = mc_futex_wait(address, value, deadline ? &at : NULL);
    return errno ? -1 : 0;
}
#define syscall(number, address, op, value, deadline, address2, mask) mc_syscall(number, address, op, value, deadline)

#define LOTS_BUCKET_LOCK_H
typedef struct { lots_a32 state; } bucket_lock;
#define bucket_lock_sleep mc_unused_bucket_lock_sleep
#define bucket_lock_wake mc_unused_bucket_lock_wake
#define parker_publish publish
void bucket_lock_sleep(bucket_lock *l);
void bucket_lock_wake(bucket_lock *l);
#include "parker_futex.c"
#undef parker_publish

/* Its store is under a bucket lock, where an atomic is no step of its own; but it is what sets the sleeper free. */
parker_handle parker_publish(lots_waiter *w, uint32_t state)
{
    mc_publishes(w);
    if (state == LOTS_HANDOFF)
        mc_did(V_HANDOFF);
    return publish(w, state);
}
