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

#if !defined(PYPY_VERSION) && !defined(_WIN32)
#include <pthread.h>
/* The GIL again, with an op that may be queued still. At the interpreter's end a daemon thread that asks for it is ended there and
 * then (before 3.14), and its stack with it: the op must leave the queue first, or what others release then would wake who is not
 * there. `leave` does that without the GIL; of an op that is in no queue it changes nothing. */
static inline void take_gil(PyThreadState *state, lots_op *op, void (*leave)(void *op))
{
    pthread_cleanup_push(leave, op);
    PyEval_RestoreThread(state);
    pthread_cleanup_pop(0);
}
#else
static inline void take_gil(PyThreadState *state, lots_op *op, void (*leave)(void *op))
{
    (void)op, (void)leave;
    PyEval_RestoreThread(state);
}
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
