/* What a task awaits when the lock is not free: an iterator around one op of the core.
 *
 *   stage     send() does                                            ends by
 *   NEW       finds loop and port, makes a future known to the
 *             port, polls: acquired, or the future is awaited         ENDED, WAITING
 *             a task of trio's: has it done by aiolots._wait.acquire   ENDED, HANDED_OVER
 *   WAITING   the future was resolved: by a wake, poll again;          ENDED, WAITING
 *             by the timer, cancel BY_TIMEOUT
 *             throw(), close(), collected: the one cancel              ENDED
 *   HANDED_OVER goes on with the steps of that                        ENDED
 *
 * The future is in the port's table before the core may know of the waiter: a finalizer that releases a lock could run at any
 * allocation, and its wake must find the future. A wake names the waiter by a cookie, never by address: a task that was
 * collected meanwhile is simply not found. */
#include "native.h"

#include "clock.h"

#define NEW 0
#define WAITING 1
#define ENDED 2
#define HANDED_OVER 3

typedef struct {
    PyObject_HEAD
    Lock *lock;
    PyObject *request; /* NULL: `async with mutex`, which gives None */
    PyObject *loop, *port, *waiting, *cookie, *steps, *timer; /* steps: the future's iterator; waiting: the port's table */
    lots_mailbox *mailbox;
    double limit, seconds;
    int64_t began, deadline;
    PyObject *site; /* where it is awaited */
    int site_at;
    uint8_t mode, limit_kind, stage;
    lots_a32 running;
    lots_op op;
} Awaiting;

static lots_a64 cookies = {(uint64_t)1 << 62}; /* away from those of aiolots._loops */

PyObject *await_slowly(Lock *lock, unsigned mode, int limit_kind, double limit, PyObject *request)
{
    Awaiting *a = PyObject_GC_New(Awaiting, &AwaitingType);
    if (!a)
        return NULL;
    a->lock = (Lock *)Py_NewRef((PyObject *)lock);
    a->request = Py_XNewRef(request);
    a->loop = a->port = a->waiting = a->cookie = a->steps = a->timer = NULL;
    a->mailbox = NULL;
    a->mode = (uint8_t)mode;
    a->limit_kind = (uint8_t)limit_kind;
    a->limit = limit;
    a->stage = NEW;
    a->seconds = -1;
    a->began = a->deadline = 0;
    a->site = users_place(&a->site_at); /* now: an exception that is thrown in does not come by way of all frames */
    a32_store(&a->running, 0, RELAXED);
    PyObject_GC_Track(a);
    return (PyObject *)a;
}

static void stop_waiting(Awaiting *a)
{
    PyObject *none;
    Py_CLEAR(a->steps);
    if (a->timer) {
        none = PyObject_CallMethodNoArgs(a->timer, names.s_cancel);
        Py_XDECREF(none);
        Py_CLEAR(a->timer);
    }
}

static void forget(Awaiting *a)
{
    if (a->waiting && a->cookie && PyDict_DelItem(a->waiting, a->cookie))
        PyErr_Clear();
    Py_CLEAR(a->cookie);
}

static int told(Awaiting *a, int how)
{
    return wait_over(a->lock, &a->op, a->mode, 1, how, a->site, a->site_at);
}

/* The one cancel, for every early end but the timer's. An exception that is set stays set. */
static void abandon(Awaiting *a)
{
    int was = a->stage;
    PyObject *type, *value, *traceback, *port;
    a->stage = ENDED;
    PyErr_Fetch(&type, &value, &traceback);
    if (was == WAITING) {
        lots_mailbox *own;
        int answer;
        port = own_port();
        own = mailbox_of(port);
        answer = core->op_cancel(&a->op, LOTS_BY_CANCEL, own);
        if (answer == LOTS_MISUSE && core->op_state(&a->op) == LOTS_HELD)
            answer = core->op_release(&a->op, 0, own);
        if (answer & LOTS_MAIL)
            drain_port(port, own, 0);
        Py_XDECREF(port);
        keep_first(&type, &value, &traceback); /* a signal handler's, out of the drain */
        if ((answer & ~LOTS_MAIL) == LOTS_WITHDRAWN)
            told(a, WAIT_CANCELLED);
        keep_first(&type, &value, &traceback);
    }
    if (was == HANDED_OVER && a->steps)
        Py_XDECREF(PyObject_CallMethodNoArgs(a->steps, names.s_close));
    stop_waiting(a);
    keep_first(&type, &value, &traceback);
    forget(a);
    if (a->request && was != ENDED)
        request_awaited(a->request, -1, 0);
    PyErr_Restore(type, value, traceback);
}

static PySendResult fail(Awaiting *a)
{
    abandon(a);
    return PYGEN_ERROR;
}

static PySendResult end(Awaiting *a, int acquired, PyObject **result)
{
    if (a->stage == WAITING && told(a, acquired ? WAIT_ACQUIRED : WAIT_TIMED_OUT))
        return fail(a); /* a signal handler's: what it has got is released */
    a->stage = ENDED;
    stop_waiting(a);
    forget(a);
    if (a->request) {
        *result = request_awaited(a->request, acquired, acquired ? 0 : (double)(clock_now() - a->began) / 1e9);
    } else {
        lock_set_holder(a->lock, holder_of_this_thread(1));
        *result = Py_NewRef(Py_None);
    }
    return *result ? PYGEN_RETURN : PYGEN_ERROR;
}

/* A future that the next wake will find. */
static PyObject *expect(Awaiting *a)
{
    PyObject *future = PyObject_CallMethodNoArgs(a->loop, names.s_create_future);
    if (future && PyDict_SetItem(a->waiting, a->cookie, future))
        Py_CLEAR(future);
    return future;
}

static int start_timer(Awaiting *a, PyObject *future)
{
    PyObject *delay;
    if (a->seconds < 0)
        return 0;
    delay = PyFloat_FromDouble((double)(a->deadline - clock_now()) / 1e9);
    if (delay)
        a->timer = PyObject_CallMethodObjArgs(a->loop, names.s_call_later, delay, names.time_is_up, future, NULL);
    Py_XDECREF(delay);
    return a->timer ? 0 : -1;
}

/* Poll, with a future made beforehand; acquired, or on to wait for the future. 1: wait; else *answer is the end of it. */
static int poll(Awaiting *a, PyObject **result, PySendResult *answer)
{
    PyObject *future = expect(a);
    int polled;
    if (!future) {
        *answer = fail(a);
        return 0;
    }
    a->stage = WAITING;
    polled = core->op_poll(&a->op);
    if (polled == LOTS_PARKED) {
        a->steps = PyObject_CallMethodNoArgs(future, names.s___await__);
        if (!a->steps || start_timer(a, future))
            polled = -1;
    }
    Py_DECREF(future);
    if (polled == LOTS_PARKED)
        return 1;
    if (polled == LOTS_READY) {
        *answer = end(a, 1, result);
        return 0;
    }
    if (polled != -1)
        Py_XDECREF(PyObject_CallNoArgs(names.loop_closed));
    *answer = fail(a);
    return 0;
}

static int begin(Awaiting *a)
{
    PyObject *task;
    uint64_t cookie;
    lots_contention *record;
    a->loop = running_loop();
    if (!a->loop) {
        Py_XDECREF(PyObject_CallNoArgs(names.needs_a_loop));
        return -1;
    }
    a->port = port_of(a->loop);
    if (!a->port || !(a->mailbox = mailbox_of(a->port)) || !(a->waiting = PyObject_GetAttr(a->port, names.s_waiting)) ||
        note_contention(a->lock) || record_of(a->lock, a->mode, 1, &record))
        return -1;
    cookie = a64_fetch_add(&cookies, 2, RELAXED) | (a->seconds >= 0); /* no lock word: a number for each */
    a->cookie = PyLong_FromUnsignedLongLong(cookie);
    task = a->cookie ? PyObject_CallOneArg(names.current_task, a->loop) : NULL;
    if (!task)
        return -1;
    a->deadline = a->seconds < 0 ? 0 : a->began + (int64_t)(a->seconds * 1e9);
    core->op_init(&a->op, &a->lock->word, a->mode, a->mailbox, cookie, (uint64_t)(uintptr_t)task);
    core->op_counts(&a->op, record);
    Py_DECREF(task);
    return 0;
}

/* The future's iterator has moved: go on with what it says. */
static PySendResult went(Awaiting *a, PySendResult answer, PyObject *value, PyObject **result)
{
    while (answer == PYGEN_RETURN) {
        int in_time = PyObject_IsTrue(value), cancelled;
        Py_DECREF(value);
        if (a->stage == HANDED_OVER)
            return in_time < 0 ? fail(a) : end(a, in_time, result);
        stop_waiting(a);
        if (in_time < 0 || PyErr_Occurred()) /* the timer's cancel ran a signal handler */
            return fail(a);
        if (!in_time) {
            cancelled = core->op_cancel(&a->op, LOTS_BY_TIMEOUT, a->mailbox);
            if (cancelled & LOTS_MAIL)
                drain_port(a->port, a->mailbox, 0);
            if (PyErr_Occurred() && (cancelled & ~LOTS_MAIL) == LOTS_READY)
                core->op_release(&a->op, 0, NULL);
            if (PyErr_Occurred())
                return fail(a);
            return end(a, (cancelled & ~LOTS_MAIL) == LOTS_READY, result);
        }
        /* Most wakes bring the lock, and need no other future. One that does not is followed by a poll with one: mail that
         * comes between the two is not missed, for that poll looks again. */
        if (core->op_poll(&a->op) == LOTS_READY)
            return end(a, 1, result);
        if (!poll(a, result, &answer))
            return answer;
        answer = PyIter_Send(a->steps, Py_None, &value);
    }
    if (answer == PYGEN_ERROR)
        return fail(a);
    *result = value;
    return answer;
}

static int verb_begins(Awaiting *a)
{
    uint32_t idle = 0;
    if (a32_cas(&a->running, &idle, 1, ACQ_REL))
        return 1;
    PyErr_SetString(PyExc_ValueError, "this await is already executing");
    return 0;
}

static void verb_ends(Awaiting *a) { a32_store(&a->running, 0, RELEASE); }

/* One verb at a time, as with a generator. */
static PySendResult send_inside(PyObject *self, PyObject *value, PyObject **result)
{
    Awaiting *a = (Awaiting *)self;
    PySendResult answer;
    PyObject *moved = NULL;
    int handed;
    *result = NULL;
    if (a->stage == ENDED) {
        used_before(a->lock);
        return PYGEN_ERROR;
    }
    if (a->stage == NEW) {
        a->seconds = limit_left(a->limit_kind, a->limit);
        if (a->seconds >= 0)
            a->began = clock_now();
        handed = is_trios();
        if (handed) {
            a->steps = handed < 0 ? NULL : acquire_elsewhere(a->lock, a->mode, a->seconds);
            a->stage = HANDED_OVER;
            if (!a->steps)
                return fail(a);
        } else {
            if (a->seconds == 0)
                return end(a, 0, result);
            if (begin(a))
                return fail(a);
            if (!poll(a, result, &answer))
                return answer;
        }
        value = Py_None;
    }
    answer = PyIter_Send(a->steps, value, &moved);
    return went(a, answer, moved, result);
}

static PySendResult awaiting_send(PyObject *self, PyObject *value, PyObject **result)
{
    PySendResult answer;
    *result = NULL;
    if (!verb_begins((Awaiting *)self))
        return PYGEN_ERROR;
    answer = send_inside(self, value, result);
    verb_ends((Awaiting *)self);
    return answer;
}

static PyObject *as_iterator(PySendResult answer, PyObject *result)
{
    if (answer != PYGEN_RETURN)
        return answer == PYGEN_NEXT ? result : NULL;
    stop_iteration(result);
    Py_DECREF(result);
    return NULL;
}

static PyObject *awaiting_send_method(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult answer = awaiting_send(self, value, &result);
    return as_iterator(answer, result);
}

static PyObject *awaiting_next(PyObject *self) { return awaiting_send_method(self, Py_None); }

static PyObject *throw_inside(PyObject *self, PyObject *arguments)
{
    Awaiting *a = (Awaiting *)self;
    PyObject *method, *moved = NULL, *result = NULL;
    PySendResult answer;
    if (a->stage != WAITING && a->stage != HANDED_OVER) {
        if (!raise_thrown(arguments)) /* else it goes on as it was, like a generator */
            abandon(a);
        return NULL;
    }
    method = PyObject_GetAttr(a->steps, names.s_throw);
    if (method)
        moved = PyObject_Call(method, arguments, NULL);
    Py_XDECREF(method);
    if (moved)
        return moved; /* the future asks to wait on */
    answer = stopped(&moved);
    answer = went(a, answer, moved, &result);
    return as_iterator(answer, result);
}

static PyObject *awaiting_throw(PyObject *self, PyObject *arguments)
{
    PyObject *answer;
    if (!verb_begins((Awaiting *)self))
        return NULL;
    answer = throw_inside(self, arguments);
    verb_ends((Awaiting *)self);
    return answer;
}

static PyObject *awaiting_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!verb_begins((Awaiting *)self))
        return NULL;
    abandon((Awaiting *)self);
    verb_ends((Awaiting *)self);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *awaiting_await(PyObject *self) { return Py_NewRef(self); }

static int awaiting_traverse(PyObject *self, visitproc visit, void *arg)
{
    Awaiting *a = (Awaiting *)self;
    Py_VISIT(a->lock);
    Py_VISIT(a->request);
    Py_VISIT(a->loop);
    Py_VISIT(a->port);
    Py_VISIT(a->waiting);
    Py_VISIT(a->steps);
    Py_VISIT(a->timer);
    return 0;
}

static void awaiting_finalize(PyObject *self)
{
    Awaiting *a = (Awaiting *)self;
    if (a->stage == WAITING || a->stage == HANDED_OVER) {
        abandon(a);
        if (PyErr_Occurred())
            PyErr_WriteUnraisable(self);
    } else if (a->stage == NEW && a->request)
        request_not_begun(a->request);
    a->stage = ENDED; /* who brings it back to life now has a dead one: this finalizer will not run again */
}

static int awaiting_clear(PyObject *self)
{
    Awaiting *a = (Awaiting *)self;
    Py_CLEAR(a->loop);
    Py_CLEAR(a->steps);
    Py_CLEAR(a->timer);
    return 0;
}

static void awaiting_dealloc(PyObject *self)
{
    Awaiting *a = (Awaiting *)self;
    if (PyObject_CallFinalizerFromDealloc(self) < 0)
        return;
    PyObject_GC_UnTrack(self);
    awaiting_clear(self);
    Py_XDECREF(a->cookie);
    Py_XDECREF(a->site);
    Py_XDECREF(a->waiting);
    Py_XDECREF(a->port); /* last but the lock: the mailbox was the op's */
    Py_XDECREF(a->request);
    Py_XDECREF((PyObject *)a->lock);
    PyObject_GC_Del(self);
}

static PyAsyncMethods awaiting_async = {.am_await = awaiting_await, .am_send = awaiting_send};

static PyMethodDef awaiting_methods[] = {
    {"send", awaiting_send_method, METH_O, NULL},
    {"throw", awaiting_throw, METH_VARARGS, NULL},
    {"close", awaiting_close, METH_NOARGS, NULL},
    {0},
};

PyTypeObject AwaitingType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Awaiting",
    .tp_basicsize = sizeof(Awaiting),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = awaiting_dealloc,
    .tp_finalize = awaiting_finalize,
    .tp_traverse = awaiting_traverse,
    .tp_clear = awaiting_clear,
    .tp_as_async = &awaiting_async,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = awaiting_next,
    .tp_methods = awaiting_methods,
};
