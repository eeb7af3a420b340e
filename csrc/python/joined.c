/* Whether a thread that waits for a lock is waited for by another, in Thread.join: a look at the calls of all threads.
 *
 * The one who looks is queued for its lock meanwhile. So nothing is run here, no bytecode and no finalizer: either might ask for
 * that very lock, and wait behind us for ever. What is allocated (a frame's object) could have the collector run in 3.11, which is
 * switched off for the look; the GIL is held all along. With the GIL off other threads' calls are not to be looked at. */
#include "watch.h"

#include "clock.h"
#include "nogil_wait.h"

#define DEEP 3              /* of join's frame, from the innermost one */
#define PATIENCE 50000000   /* ns until the first look; the next ones after twice as long each time */
#define LONGEST 1000000000

#if !defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)

/* Of a call of Thread.join without a timeout: for this thread? */
static int joins_me(PyFrameObject *frame, unsigned long me)
{
    PyObject *locals = PyFrame_GetLocals(frame), *thread, *timeout, *ident = NULL;
    int mine = 0;
    if (locals) {
        thread = PyMapping_GetItemString(locals, "self");
        timeout = thread ? PyMapping_GetItemString(locals, "timeout") : NULL;
        if (timeout == Py_None)
            ident = PyObject_GenericGetAttr(thread, names.s__ident);
        mine = ident && PyLong_Check(ident) && PyLong_AsUnsignedLong(ident) == me;
        Py_XDECREF(ident);
        Py_XDECREF(timeout);
        Py_XDECREF(thread);
        Py_DECREF(locals);
    }
    PyErr_Clear();
    return mine;
}

static int is_in_join(PyThreadState *state, unsigned long me)
{
    PyFrameObject *frame = PyThreadState_GetFrame(state);
    int found = 0;
    for (int depth = 0; frame && depth < DEEP && !found; depth++) {
        PyFrameObject *outer = PyFrame_GetBack(frame);
        PyCodeObject *code = PyFrame_GetCode(frame);
        found = (PyObject *)code == names.join_code && joins_me(frame, me);
        Py_DECREF(code);
        Py_DECREF(frame);
        frame = outer;
    }
    Py_XDECREF((PyObject *)frame);
    return found;
}

static int is_joined(void)
{
    PyThreadState *own = PyThreadState_Get(), *state = PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(own));
    int collects = PyGC_Disable(), found = 0;
    for (; state && !found; state = PyThreadState_Next(state))
        found = state != own && is_in_join(state, PyThread_get_thread_ident());
    if (collects)
        PyGC_Enable();
    return found;
}

#else
static int is_joined(void) { return 0; }
#endif

int wait_until_joined(lots_op *op)
{
    for (int64_t patience = PATIENCE; patience <= LONGEST; patience *= 2) {
        PyThreadState *state = PyEval_SaveThread();
        int answer = core->op_look_wait(op, LOTS_NEVER, clock_now() + patience);
        take_gil(state, op, leave_queue);
        if (answer != LOTS_LOOK)
            return answer;
        if (PyOS_InterruptOccurred()) {
            PyErr_SetInterrupt(); /* the look has taken it */
            return core->op_interrupt(op);
        }
        if (is_joined()) {
            answer = core->op_interrupt(op); /* out of the queue, for what comes is Python */
            return answer == LOTS_INTERRUPTED ? LOTS_LOOK : answer;
        }
    }
    return LOTS_PARKED;
}
