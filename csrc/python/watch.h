/* What is looked at beyond locking, where somebody has asked for it: see watch.c. */
#ifndef LOTS_WATCH_H
#define LOTS_WATCH_H

#include "native.h"

#define WATCH_DEADLOCKS 1 /* a wait that could never end is refused (aiolots/_certain.py) */
#define WATCH_SUSPENDS 2  /* a thread's guard in a task that suspends (aiolots/_suspended.py) */

extern lots_a32 watch_flags;

static inline int watches(uint32_t flag)
{
    /* RELAXED: a setting, that other threads may see a moment later. */
    return __builtin_expect(a32_load(&watch_flags, RELAXED) & flag, 0) != 0;
}

PyObject *native_watch(PyObject *module, PyObject *flags);
int refuse_deadlock(Lock *lock, unsigned mode); /* 0, or -1 with DeadlockError */
/* joined.c: sleep, as LOTS_NEVER does, and look now and then. LOTS_LOOK: out of the queue, and somebody joins this thread;
 * LOTS_PARKED: nobody did for long, sleep on; else as core->op_wait. */
int wait_until_joined(lots_op *op);
void leave_queue(void *op);                     /* slow.c; for take_gil (nogil_wait.h) */
int look_soon(PyObject *port);                  /* 0, or -1 with an exception */
void corrupt(Lock *lock);                       /* sets LockCorruption */
void taken_by_thread(PyObject *held);           /* a request or a mutex, just acquired with the thread's colour */

/* 0, or 1 with LockCorruption: whoever waited for a lock with such a word could wait for ever. */
static inline int is_corrupt(Lock *lock)
{
    if (!word_is_impossible(word_load(&lock->word)))
        return 0;
    corrupt(lock);
    return 1;
}

#endif
