/* A level of a ReentrantMutex as a request, and its guard: any other's (request.c), but that its owner goes deeper without a
 * look at the word, and that what it releases is its level. And Entry, by which trio's tasks take one. */
#include "reentrant.h"

#include "clock.h"
#include "watch.h"

/* Held from now on. In what hold, is noted first: a level of a hold that was ended behind its back ends no other one. */
static void level_becomes_held(Request *r, int as_task)
{
    r->limited.hold = levels_hold(&((Reentrant *)r->lock)->levels);
    becomes_held(r, as_task);
}

int level_leave(Request *r, int fair) { return reentrant_leave((Reentrant *)r->lock, r->limited.hold, 1, fair); }

PyObject *level_awaited(Request *r)
{
    level_becomes_held(r, 1);
    return Py_NewRef((PyObject *)r);
}

PyObject *level_try(PyObject *lock, PyObject *Py_UNUSED(ignored))
{
    Request *r = (Request *)request_new((Lock *)lock, LEVEL, LIMIT_NONE, 0, 0); /* first, as in request_try */
    Who who = {.tries = 1};
    int entered;
    if (!r)
        return NULL;
    entered = reentrant_enter((Reentrant *)lock, &who, 0);
    if (entered > 0) {
        level_becomes_held(r, 0);
        return (PyObject *)r;
    }
    request_becomes(r, LOTS_GONE);
    Py_DECREF(r);
    if (entered < 0)
        return NULL;
    who_forget(&who);
    Py_RETURN_NONE;
}

static PyObject *level_acquire(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Request *r = (Request *)self;
    Who who = {.tries = r->limit_kind != LIMIT_NONE};
    int entered, late = 0;
    int64_t began;
    if (!request_claims(r, LOTS_PENDING, LOTS_ACQUIRING))
        return used_before(r->lock);
    entered = reentrant_enter((Reentrant *)r->lock, &who, 0);
    if (!entered) {
        began = clock_now();
        if (block(r->lock, LOTS_MUTEX, r->limit_kind, r->limited.limit, &late, &who))
            entered = -1;
        who_forget(&who);
        if (late)
            return request_timed_out(r, (double)(clock_now() - began) / 1e9);
    }
    if (entered < 0) {
        request_becomes(r, LOTS_GONE);
        return NULL;
    }
    level_becomes_held(r, 0);
    if (watches(WATCH_SUSPENDS))
        taken_by_thread(self);
    return Py_NewRef(self);
}

static PyObject *level_await(PyObject *self)
{
    Request *r = (Request *)self;
    Who who = {.tries = r->limit_kind != LIMIT_NONE};
    int entered = 0;
    if (!request_claims(r, LOTS_PENDING, LOTS_ACQUIRING))
        return used_before(r->lock);
    if (!may_be_trio()) {
        entered = reentrant_enter((Reentrant *)r->lock, &who, 1);
        if (entered < 0) {
            request_becomes(r, LOTS_GONE);
            return NULL;
        }
        who_forget(&who);
    }
    if (!entered)
        return await_slowly(r->lock, LOTS_MUTEX, r->limit_kind, r->limited.limit, self);
    r->gives_itself = 1;
    return level_awaited(r);
}

static PyObject *level_get_depth(PyObject *self, void *Py_UNUSED(closure))
{
    if (require_held((Request *)self))
        return NULL;
    return PyLong_FromUnsignedLongLong(reentrant_depth(((Request *)self)->lock));
}

/* A condvar asks for the colour of a guard that it is to wait with. These are none: other levels may be left. */
static PyObject *level_get_of_task(PyObject *self, void *Py_UNUSED(closure))
{
    return PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_of_task'", Py_TYPE(self)->tp_name);
}

static PyGetSetDef level_getset[] = {
    {"value", request_get_value, request_set_value, "The protected value; assignable.", NULL},
    {"depth", level_get_depth, NULL, "How many levels its owner holds now, with this one.", NULL},
    {"_of_task", level_get_of_task, NULL, NULL, NULL},
    {0},
};

static PyMethodDef level_methods[] = {
    {"acquire", level_acquire, METH_NOARGS, NULL},
    {"__enter__", level_acquire, METH_NOARGS, NULL},
    {0},
};

static PyAsyncMethods level_async = {.am_await = level_await};

PyTypeObject ReentrantRequestType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.ReentrantRequest",
    .tp_base = &RequestType,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_async = &level_async,
    .tp_methods = level_methods,
    .tp_getset = level_getset,
};

/* --- where a task cannot wait for asyncio's futures ---------------------------------------------------------------------- */

/* One acquire by aiolots._native_levels, whose steps run in Python: each of these verbs is one of them. What the core says that
 * the op has got is a hold before Python goes on, so no signal handler finds the mutex taken by nobody. */
typedef struct {
    PyObject_HEAD
    Lock *lock;
    Who who; /* entered: 1 has a level, 2 had one */
    lots_op op;
} Entry;

static PyObject *entry_answer(Entry *e, int answer)
{
    if ((answer & ~LOTS_MAIL) == LOTS_READY)
        reentrant_begin(e->lock, &e->who, 1);
    return PyLong_FromLong(answer);
}

static PyObject *entry_enter(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Entry *e = (Entry *)self;
    int entered = reentrant_enter((Reentrant *)e->lock, &e->who, 1);
    return entered < 0 ? NULL : PyBool_FromLong(entered);
}

static PyObject *entry_poll(PyObject *self, PyObject *Py_UNUSED(op))
{
    Entry *e = (Entry *)self;
    return entry_answer(e, core->op_poll(&e->op));
}

/* Whom it wakes by that hears the bell. */
static PyObject *entry_time_is_up(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    Entry *e = (Entry *)self;
    return entry_answer(e, core->op_cancel(&e->op, LOTS_BY_TIMEOUT, NULL));
}

static PyObject *entry_abandon(PyObject *self, PyObject *Py_UNUSED(arguments))
{
    Entry *e = (Entry *)self;
    if (e->who.entered == 1) {
        e->who.entered = 2;
        if (reentrant_undo(e->lock, &e->who))
            return NULL;
    } else
        core->op_cancel(&e->op, LOTS_BY_CANCEL, NULL); /* nothing, the second time */
    Py_RETURN_NONE;
}

static PyObject *entry_get_address(PyObject *self, void *Py_UNUSED(closure)) { return PyLong_FromVoidPtr(&((Entry *)self)->op); }

static void entry_dealloc(PyObject *self)
{
    Entry *e = (Entry *)self;
    who_forget(&e->who);
    Py_DECREF((PyObject *)e->lock);
    PyObject_Free(self);
}

static PyMethodDef entry_methods[] = {
    {"enter", entry_enter, METH_NOARGS, "Go deeper, or take what is free; False: another has it."},
    {"poll", entry_poll, METH_O, "As lots_op_poll."},
    {"time_is_up", entry_time_is_up, METH_VARARGS, "As lots_op_cancel BY_TIMEOUT."},
    {"abandon", entry_abandon, METH_VARARGS, "Out of the queue; a level that it had got by then is left."},
    {0},
};

static PyGetSetDef entry_getset[] = {{"address", entry_get_address, NULL, "Where the op is.", NULL}, {0}};

PyTypeObject EntryType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "aiolots._native.Entry",
    .tp_basicsize = sizeof(Entry),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = entry_dealloc,
    .tp_methods = entry_methods,
    .tp_getset = entry_getset,
};

PyObject *level_elsewhere(Lock *lock, double seconds)
{
    Entry *e = PyObject_New(Entry, &EntryType);
    PyObject *limit, *steps;
    if (!e)
        return NULL;
    e->lock = (Lock *)Py_NewRef((PyObject *)lock);
    e->who = (Who){.tries = seconds >= 0};
    core->op_init(&e->op, &lock->word, LOTS_MUTEX, NULL, 0, 0);
    limit = seconds < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(seconds);
    steps = limit ? PyObject_CallFunctionObjArgs(names.enter_elsewhere, (PyObject *)lock, (PyObject *)e, limit, NULL) : NULL;
    Py_XDECREF(limit);
    Py_DECREF((PyObject *)e);
    return steps;
}
