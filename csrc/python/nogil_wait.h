/* The sleep of a thread, without the GIL; for both fronts.
 *
 * A signal that comes just before the sleep, or on another thread, does not end it (parker_futex.c). So the main thread, where
 * Python runs signal handlers, looks now and then whether Ctrl-C has been pressed. It looks without running anything: the op is
 * queued then, and a handler might want the very lock. Only if there is something to be run does it leave the queue first. */
#ifndef LOTS_NOGIL_WAIT_H
#define LOTS_NOGIL_WAIT_H

#include <Python.h>

#include "api.h"
#include "clock.h"

#define LOOK_EVERY 500000000 /* ns */

#if defined(__linux__) && !defined(PYPY_VERSION)
#include <sys/syscall.h>
#include <unistd.h>
static inline int is_main_thread(void) { return syscall(SYS_gettid) == getpid(); } /* also in a child that a thread forked */
#else
static inline int is_main_thread(void) { return 0; } /* the other parker looks anyway */
#endif

static inline int nogil_wait(lots_op *op, int64_t deadline, int (*look_wait)(lots_op *, int64_t, int64_t),
                             int (*interrupt)(lots_op *))
{
    int looks = is_main_thread(), answer;
    for (;;) {
        PyThreadState *state = PyEval_SaveThread();
        answer = look_wait(op, deadline, looks ? clock_now() + LOOK_EVERY : LOTS_NEVER);
        PyEval_RestoreThread(state);
        if (answer != LOTS_LOOK)
            return answer;
#ifndef PYPY_VERSION
        if (PyOS_InterruptOccurred()) {
            PyErr_SetInterrupt(); /* the look has taken it */
            return interrupt(op);
        }
#endif
    }
}

#endif
