/* The iterator that a task awaits: one verb at a time, as with a generator; and its life. What the verbs do is in awaiting.c. */
#include "awaiting.h"

static int verb_begins(Awaiting *a)
{
    uint32_t idle = 0;
    if (a32_cas(&a->running, &idle, 1, ACQ_REL))
        return 1;
    PyErr_SetString(PyExc_ValueError, "this await is already executing");
    return 0;
}

static void verb_ends(Awaiting *a) { a32_store(&a->running, 0, RELEASE); }

static PySendResult awaiting_send(PyObject *self, PyObject *value, PyObject **result)
{
    PySendResult answer;
    *result = NULL;
    if (!verb_begins((Awaiting *)self))
        return PYGEN_ERROR;
    answer = awaiting_step((Awaiting *)self, value, result);
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

static PyObject *awaiting_next(PyObject *self)
{
    PyObject *result;
    PySendResult answer = awaiting_send(self, Py_None, &result);
    if (answer == PYGEN_RETURN && result == Py_None) { /* a StopIteration without a value. A mutex is held: no memory may be wanted */
        Py_DECREF(result);
        return NULL;
    }
    return as_iterator(answer, result);
}

static PyObject *throw_inside(PyObject *self, PyObject *arguments)
{
    Awaiting *a = (Awaiting *)self;
    PyObject *method, *moved = NULL, *result = NULL;
    PySendResult answer;
    if (a->stage != WAITING && a->stage != HANDED_OVER) {
        if (!raise_thrown(arguments)) /* else it goes on as it was, like a generator */
            awaiting_abandon(a);
        return NULL;
    }
    method = PyObject_GetAttr(a->steps, names.s_throw);
    if (method)
        moved = PyObject_Call(method, arguments, NULL);
    Py_XDECREF(method);
    if (moved)
        return moved; /* the future asks to wait on */
    answer = stopped(&moved);
    answer = awaiting_went(a, answer, moved, &result);
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
    awaiting_abandon((Awaiting *)self);
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
    Py_VISIT(a->who.task);
    return 0;
}

static void awaiting_finalize(PyObject *self)
{
    Awaiting *a = (Awaiting *)self;
    if (a->stage == WAITING || a->stage == HANDED_OVER) {
        awaiting_abandon(a);
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
    who_forget(&a->who);
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
