/* The slow path of a thread, and of a release that has somebody to wake. The op lies on the stack of the thread that waits;
 * once it is acquired, or withdrawn, the core has forgotten it. */
#include "native.h"

#include "clock.h"
#include "nogil_wait.h"
#include "telling.h"
#include "watch.h"

#include <math.h>

#define FAR 1e9 /* seconds: as good as never (aiolots/_seconds.py) */

static PyObject *loop_by(PyObject *function)
{
    PyObject *loop = PyObject_CallNoArgs(function);
    if (!loop)
        PyErr_Clear();
    else if (loop == Py_None)
        Py_CLEAR(loop);
    return loop;
}

static PyObject *asyncios(void)
{
    PyObject *loop = asyncio_loop();
    if (!loop)
        PyErr_Clear();
    return loop;
}

PyObject *running_loop(void) { return may_be_trio() ? loop_by(names.running) : asyncios(); }

/* The port is kept on the loop itself; loops that take no attributes have it in a table of Python's. */
static PyObject *attached_port(PyObject *loop)
{
    PyObject *port = PyObject_GetAttr(loop, names.s__aiolots_port);
    if (!port)
        PyErr_Clear();
    return port;
}

PyObject *port_of(PyObject *loop)
{
    PyObject *port = attached_port(loop);
    return port ? port : PyObject_CallOneArg(names.port, loop);
}

PyObject *own_port(void)
{
    /* A release asks, and must import nothing (_loops.py); of trio, before it was found, there is no port. */
    PyObject *loop = trio_was_found() ? running_loop() : asyncios(), *port;
    if (!loop)
        return NULL;
    port = attached_port(loop);
    Py_DECREF(loop);
    if (!port) {
        port = PyObject_CallNoArgs(names.own_port);
        if (port == Py_None)
            Py_CLEAR(port);
    }
    return port;
}

lots_mailbox *mailbox_of(PyObject *port)
{
    PyObject *address = port ? PyObject_GetAttr(port, names.s_address) : NULL;
    lots_mailbox *mailbox = address ? PyLong_AsVoidPtr(address) : NULL;
    Py_XDECREF(address);
    return mailbox;
}

double limit_left(int kind, double limit)
{
    double left;
    if (kind == LIMIT_NONE)
        return -1;
    if (kind == LIMIT_SECONDS)
        return limit > FAR ? -1 : limit;
    left = limit - (double)clock_now() / 1e9; /* time.monotonic() is the same clock */
    return left < 0 ? 0 : left > FAR ? -1 : left;
}

int note_contention(Lock *lock)
{
    PyObject *none;
    if (a64_load(&lock->holder, RELAXED) & LOCK_WAS_NOTED) /* as in lock_set_holder */
        return 0;
    none = PyObject_CallOneArg(names.note_contention, (PyObject *)lock);
    if (!none)
        return -1;
    Py_DECREF(none);
    uint64_t seen = a64_load(&lock->holder, RELAXED);
    while (!a64_cas(&lock->holder, &seen, seen | LOCK_WAS_NOTED, RELAXED))
        ; /* not load and store: the holder may let go in between */
    return 0;
}

/* Its name, once: it may have ended when somebody wants to know who waited (aiolots/_transitions.py). */
static int remember_this_thread(void)
{
    static _Thread_local int remembered;
    PyObject *none = remembered ? Py_NewRef(Py_None) : PyObject_CallNoArgs(names.remember_this_thread);
    remembered = none != NULL;
    Py_XDECREF(none);
    return none ? 0 : -1;
}

void leave_queue(void *op) { core->op_cancel(op, LOTS_BY_CANCEL, NULL); }

/* Leave the queue, or let go of what was acquired. */
static void abandon(lots_op *op)
{
    PyObject *port = own_port();
    lots_mailbox *mailbox = mailbox_of(port);
    int answer = core->op_cancel(op, LOTS_BY_CANCEL, mailbox);
    if (answer == LOTS_MISUSE && core->op_state(op) == LOTS_HELD)
        answer = core->op_release(op, 0, mailbox);
    if (answer & LOTS_MAIL)
        drain_port(port, mailbox, 0);
    Py_XDECREF(port);
}

/* The wait is over; what there is to tell of it may run signal handlers. 0, or -1 with an exception: nothing is held then. */
static int tell(Lock *lock, lots_op *op, unsigned mode, int answer, Who *who)
{
    PyObject *type, *value, *traceback;
    int how = answer == LOTS_READY ? WAIT_ACQUIRED : answer == LOTS_TIMED_OUT ? WAIT_TIMED_OUT : WAIT_CANCELLED;
    PyErr_Fetch(&type, &value, &traceback);
    if (wait_over(lock, op, mode, 0, how, NULL, 0)) {
        keep_first(&type, &value, &traceback);
        if (who && answer == LOTS_READY)
            reentrant_undo(lock, who);
        else
            abandon(op);
        keep_first(&type, &value, &traceback);
    }
    PyErr_Restore(type, value, traceback);
    return type ? -1 : 0;
}

/* What this thread has told of itself is no longer true (telling.h). */
static void take_back(void)
{
#ifdef Py_GIL_DISABLED
    PyObject *type, *value, *traceback, *ident;
    PyErr_Fetch(&type, &value, &traceback);
    ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    if (!ident || PyDict_Pop(names.standing, ident, NULL) < 0 || PyDict_Pop(names.standing_loops, ident, NULL) < 0)
        PyErr_WriteUnraisable(names.standing);
    Py_XDECREF(ident);
    PyErr_Restore(type, value, traceback);
#endif
}

#ifdef Py_GIL_DISABLED
#define TELLS 1
#else
#define TELLS 0
#endif

static int sleep_on(Lock *lock, unsigned mode, lots_op *op, int64_t deadline, int has_tasks, int *told)
{
    int answer, looks = deadline == LOTS_NEVER && watches(WATCH_DEADLOCKS), tells = deadline == LOTS_NEVER && TELLS;
    for (;;) {
        PyObject *none;
        if (tells)
            answer = telling_wait(op, names.standing, names.workers, has_tasks, told, core->op_look_wait,
                                  core->op_interrupt, leave_queue);
        else
            answer = looks ? wait_until_joined(op) : LOTS_PARKED;
        if (answer == LOTS_PARKED)
            answer = nogil_wait(op, deadline, core->op_look_wait, core->op_interrupt);
        looks = looks && answer == LOTS_INTERRUPTED;
        if (answer == LOTS_LOOK)
            none = PyObject_CallFunction(names.refuse_joined, "Oi", lock, (int)mode);
        else if (answer != LOTS_INTERRUPTED)
            return answer;
        else if (tells && has_tasks) {
            *told = 1;
            none = PyObject_CallNoArgs(names.stand);
        } else /* Bytecode runs the signal handlers, and raises what other threads have sent to this one. */
            none = PyObject_CallNoArgs(names.interrupted);
        tells = 0;
        Py_XDECREF(none);
        if (!none) {
            PyObject *type, *value, *traceback;
            PyErr_Fetch(&type, &value, &traceback);
            abandon(op);
            PyErr_Restore(type, value, traceback);
            return -1;
        }
    }
}

int block(Lock *lock, unsigned mode, int limit_kind, double limit, int *timed_out, Who *who)
{
    double seconds = limit_left(limit_kind, limit);
    PyObject *loop, *blocked = NULL;
    lots_contention *record;
    lots_op op;
    int answer, told = 0;
    *timed_out = 0;
    if (is_corrupt(lock))
        return -1;
    if (seconds == 0) {
        *timed_out = 1;
        return 0;
    }
    if (note_contention(lock) || record_of(lock, mode, 0, &record) || remember_this_thread())
        return -1;
    if (seconds < 0 && watches(WATCH_DEADLOCKS) && refuse_deadlock(lock, mode))
        return -1;
    loop = running_loop();
    if (loop) { /* parks the loop: the policy, the refusal of what never ends, and its tasks passed over meanwhile */
        blocked = PyObject_CallFunction(names.before_blocking, "OiOO", lock, (int)mode, loop, seconds < 0 ? Py_False : Py_True);
        Py_DECREF(loop);
        if (!blocked)
            return -1;
    }
    core->op_init(&op, &lock->word, mode, NULL, core->thread_token() << 1 | (seconds >= 0), PyThread_get_thread_ident());
    core->op_counts(&op, record);
    answer = sleep_on(lock, mode, &op, seconds < 0 ? LOTS_NEVER : clock_now() + (int64_t)ceil(seconds * 1e9), blocked != NULL,
                      &told);
    if (who && answer == LOTS_READY)
        reentrant_begin(lock, who, 0);
    if (blocked) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (blocked != Py_None) /* no Python here: a signal handler that raises on the way in would leave the loop blocked */
            core->mailbox_unblock(mailbox_of(blocked));
        Py_DECREF(blocked);
        PyErr_Restore(type, value, traceback);
    }
    if (told)
        take_back();
    if (tell(lock, &op, mode, answer, who))
        return -1;
    if (answer != LOTS_READY && answer != LOTS_TIMED_OUT) { /* fork.c: with the pthread parker the child has no such op */
        PyErr_Format(PyExc_RuntimeError, "%R: the process was forked by a signal handler while this thread waited", lock);
        return -1;
    }
    *timed_out = answer == LOTS_TIMED_OUT;
    return 0;
}

int release_slow(Lock *lock, unsigned mode, int fair)
{
    /* Nobody queued now: no task of the loop on this thread is queued, and none can be before the release. */
    return release_with(lock, mode, fair, word_load(&lock->word) & (PARKED | WRITER_PARKED) ? own_port() : NULL);
}

int release_with(Lock *lock, unsigned mode, int fair, PyObject *port)
{
    lots_mailbox *mailbox = mailbox_of(port);
    int answer = core->release(&lock->word, mode, fair, mailbox);
    if (answer & LOTS_MAIL)
        drain_port(port, mailbox, 0);
    Py_XDECREF(port);
    return (answer & ~LOTS_MAIL) == LOTS_READY || is_corrupt(lock) ? 0 : LOTS_MISUSE;
}
