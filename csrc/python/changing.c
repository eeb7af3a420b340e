/* Changes of the mode while a lock is held. What never waits is here; what may wait is in aiolots/_changing.py, and uses
 * _begin_change and _end_change around it.
 *
 *   HELD      whoever claims it first: a change, or a release     CHANGING, RELEASED
 *   CHANGING  the one that claimed it                             HELD in another mode, or in the same; RELEASED
 *
 * A guard keeps its identity and changes its type with its mode: the types differ in their methods alone. */
#include "native.h"

static int not_held(Request *r)
{
    Py_XDECREF(PyObject_CallFunction(names.not_held, "Oi", r->lock, request_state(r) == LOTS_RELEASED));
    return -1;
}

static int begin_change(Request *r) { return request_claims(r, LOTS_HELD, LOTS_CHANGING) ? 0 : not_held(r); }

static void end_change(Request *r, unsigned mode)
{
    r->mode = (uint8_t)mode;
    Py_SET_TYPE(r, request_types[mode]);
    if (mode_is_exclusive(mode))
        lock_set_holder(r->lock, r->holder);
    if (r->record)
        track_changed(r, mode);
    request_becomes(r, LOTS_HELD);
    /* The collector may have come to the guard while it was changing: its finalizer, which had nothing to do then, is not run
     * again. It is dropped now. */
    if (PyObject_GC_IsFinalized((PyObject *)r))
        request_finalize((PyObject *)r);
}

static PyObject *downgrade_to(PyObject *self, unsigned to)
{
    Request *r = (Request *)self;
    PyObject *port;
    lots_mailbox *own;
    int answer;
    if (begin_change(r))
        return NULL;
    port = word_load(&r->lock->word) & PARKED ? own_port() : NULL; /* as in release_slow */
    own = mailbox_of(port);
    if (mode_is_exclusive(r->mode))
        lock_set_holder(r->lock, 0); /* first: whoever is let in may upgrade, and note itself */
    answer = core->downgrade(&r->lock->word, r->mode, to, own);
    if ((answer & ~LOTS_MAIL) == LOTS_READY) {
        end_change(r, to);
    } else {
        end_change(r, r->mode);
        PyErr_Format(PyExc_RuntimeError, "%R was released behind its guard's back", r->lock);
    }
    if (answer & LOTS_MAIL)
        drain_port(port, own, 0);
    Py_XDECREF(port);
    return PyErr_Occurred() ? NULL : Py_NewRef(self); /* a signal handler's: it is downgraded all the same */
}

static PyObject *request_downgrade(PyObject *self, PyObject *Py_UNUSED(ignored)) { return downgrade_to(self, LOTS_READ); }

static PyObject *request_downgrade_to_upgradable(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return downgrade_to(self, LOTS_UPGRADABLE);
}

static PyObject *request_try_upgrade(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Request *r = (Request *)self;
    int upgraded;
    if (begin_change(r))
        return NULL;
    upgraded = r->mode == LOTS_UPGRADABLE && word_try(&r->lock->word, &lots_modes[LOTS_UPGRADE]);
    end_change(r, upgraded ? LOTS_WRITE : r->mode);
    return Py_NewRef(upgraded ? self : Py_None);
}

/* --- by way of Python ----------------------------------------------------------------------------------------------- */

/* function(self, *arguments, **keywords) */
static PyObject *call_with_self(PyObject *function, PyObject *self, PyObject *arguments, PyObject *keywords)
{
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    PyObject *all = PyTuple_New(count + 1), *answer;
    if (!all)
        return NULL;
    PyTuple_SET_ITEM(all, 0, Py_NewRef(self));
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(arguments, i)));
    answer = PyObject_Call(function, all, keywords);
    Py_DECREF(all);
    return answer;
}

static PyObject *request_upgrade(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    Request *r = (Request *)self;
    if (!PyTuple_GET_SIZE(arguments) && !keywords && !r->as_task) { /* at once, if no other reader is in */
        PyObject *upgraded = request_try_upgrade(self, NULL);
        if (upgraded && upgraded != Py_None && r->record)
            track_upgraded(r);
        if (upgraded != Py_None)
            return upgraded;
        Py_DECREF(upgraded);
    }
    return call_with_self(names.upgrade, self, arguments, keywords);
}

static PyObject *request_try_upgrade_for(PyObject *self, PyObject *arguments, PyObject *keywords)
{
    return call_with_self(names.try_upgrade_for, self, arguments, keywords);
}

static PyObject *request_bump(PyObject *self, PyObject *Py_UNUSED(ignored)) { return PyObject_CallOneArg(names.bump, self); }

PyObject *request_map(PyObject *self, PyObject *function)
{
    return PyObject_CallFunctionObjArgs(names.mapped, self, function, NULL);
}

PyObject *request_map_attribute(PyObject *self, PyObject *name)
{
    return PyObject_CallFunctionObjArgs(names.mapped_attribute, self, name, NULL);
}

PyObject *request_map_item(PyObject *self, PyObject *key)
{
    return PyObject_CallFunctionObjArgs(names.mapped_item, self, key, NULL);
}

static PyObject *request_begin_change(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    Request *r = (Request *)self;
    if (begin_change(r))
        return NULL;
    if (mode_is_exclusive(r->mode))
        lock_set_holder(r->lock, 0); /* the word may be released next */
    return PyLong_FromLong(r->mode);
}

/* It is changing, and its word is released next: until _end_change its owner holds nothing by it. */
static PyObject *request_away(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (((Request *)self)->record)
        track_away((Request *)self);
    Py_RETURN_NONE;
}

static PyObject *request_upgraded(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (((Request *)self)->record)
        track_upgraded((Request *)self);
    Py_RETURN_NONE;
}

static PyObject *request_end_change(PyObject *self, PyObject *mode)
{
    Request *r = (Request *)self;
    long number = PyLong_AsLong(mode);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    if (request_state(r) != LOTS_CHANGING)
        Py_RETURN_NONE;
    if (number < 0) {
        if (r->record)
            track_guard_released(r);
        request_becomes(r, LOTS_RELEASED);
        Py_RETURN_NONE;
    }
    if (number >= LOTS_MODES || !request_types[number]) {
        PyErr_Format(PyExc_ValueError, "no guard holds in mode %ld", number);
        return NULL;
    }
    end_change(r, (unsigned)number);
    Py_RETURN_NONE;
}

/* Of every guard but the levels of a ReentrantMutex, of which the others may be others'. */
#define CHANGES                                                                                                      \
    {"bump", request_bump, METH_NOARGS, NULL}, {"_begin_change", request_begin_change, METH_NOARGS, NULL},            \
        {"_away", request_away, METH_NOARGS, NULL}, {"_upgraded", request_upgraded, METH_NOARGS, NULL},              \
    {                                                                                                               \
        "_end_change", request_end_change, METH_O, NULL                                                              \
    }

PyMethodDef plain_methods[] = {CHANGES, {0}};

PyMethodDef writer_methods[] = {
    CHANGES,
    {"downgrade", request_downgrade, METH_NOARGS, NULL},
    {"downgrade_to_upgradable", request_downgrade_to_upgradable, METH_NOARGS, NULL},
    {0},
};

PyMethodDef upgradable_methods[] = {
    CHANGES,
    {"downgrade", request_downgrade, METH_NOARGS, NULL},
    {"try_upgrade", request_try_upgrade, METH_NOARGS, NULL},
    {"upgrade", (PyCFunction)(void (*)(void))request_upgrade, METH_VARARGS | METH_KEYWORDS, NULL},
    {"try_upgrade_for", (PyCFunction)(void (*)(void))request_try_upgrade_for, METH_VARARGS | METH_KEYWORDS, NULL},
    {0},
};
