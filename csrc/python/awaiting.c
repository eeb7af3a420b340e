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
#include "awaiting.h"

#include "clock.h"
#include "watch.h"

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
    a->levels = (uint8_t)PyObject_TypeCheck((PyObject *)lock, &ReentrantBaseType);
    a->who = (Who){.tries = limit_kind != LIMIT_NONE};
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

void awaiting_abandon(Awaiting *a)
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
        if (answer == LOTS_MISUSE && !a->levels && core->op_state(&a->op) == LOTS_HELD)
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
    awaiting_abandon(a);
    return PYGEN_ERROR;
}

static PySendResult end(Awaiting *a, int acquired, PyObject **result)
{
    if (a->levels && acquired) /* before any Python may run */
        reentrant_begin(a->lock, &a->who, 1);
    if (a->stage == WAITING && told(a, acquired ? WAIT_ACQUIRED : WAIT_TIMED_OUT)) {
        if (a->levels && acquired)
            reentrant_undo(a->lock, &a->who);
        return fail(a); /* a signal handler's: what it has got is released */
    }
    if (a->levels && acquired && !a->request)
        reentrant_counts(a->lock);
    a->stage = ENDED;
    stop_waiting(a);
    forget(a);
    if (a->request) {
        *result = request_awaited(a->request, acquired, acquired ? 0 : (double)(clock_now() - a->began) / 1e9);
    } else {
        if (!a->levels)
            mutex_is_held(a->lock, 1, 1);
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
        note_contention(a->lock) || record_of(a->lock, a->mode, 1, &record) ||
        (a->seconds < 0 && watches(WATCH_DEADLOCKS) && look_soon(a->port)))
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

PySendResult awaiting_went(Awaiting *a, PySendResult answer, PyObject *value, PyObject **result)
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
            if (a->levels && (cancelled & ~LOTS_MAIL) == LOTS_READY)
                reentrant_begin(a->lock, &a->who, 1);
            if (cancelled & LOTS_MAIL)
                drain_port(a->port, a->mailbox, 0);
            if (PyErr_Occurred() && (cancelled & ~LOTS_MAIL) == LOTS_READY)
                a->levels ? reentrant_undo(a->lock, &a->who) : core->op_release(&a->op, 0, NULL);
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

PySendResult awaiting_step(Awaiting *a, PyObject *value, PyObject **result)
{
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
            a->steps = handed < 0 ? NULL : a->levels ? level_elsewhere(a->lock, a->seconds) : acquire_elsewhere(a->lock, a->mode, a->seconds);
            a->who.entered = 1; /* in the end, by these steps */
            a->stage = HANDED_OVER;
            if (!a->steps)
                return fail(a);
        } else {
            if (a->levels && (handed = reentrant_enter((Reentrant *)a->lock, &a->who, 1)))
                return handed < 0 ? fail(a) : end(a, 1, result);
            if (is_corrupt(a->lock) || (a->seconds != 0 && begin(a)))
                return fail(a);
            if (a->seconds == 0)
                return end(a, 0, result);
            if (!poll(a, result, &answer))
                return answer;
        }
        value = Py_None;
    }
    answer = PyIter_Send(a->steps, value, &moved);
    return awaiting_went(a, answer, moved, result);
}
