/* What is alive: every lock, and every guard that holds one. For diagnosis that has to look at all of them.
 *
 * A list of all locks would cost each of them memory, and each thread a fight for it. So nothing is noted until somebody
 * wants to know (note_locks, once and for good); the locks made before are found by one walk through what the collector
 * knows, those made after are noted as they are made (aiolots/_living.py).
 *
 * With the GIL off the walk stops the world. A thread that makes a lock cannot be stopped between the allocation and its look at
 * the flag, so its lock is either seen by the walk or noted, or both. */
#include "native.h"

lots_a32 locks_are_noted;

typedef struct {
    PyObject **found; /* strong references */
    size_t count, capacity;
    int failed;
} Search;

static int is_held_guard(PyObject *object)
{
    return Py_TYPE(object)->tp_base == &RequestType && request_state((Request *)object) == LOTS_HELD;
}

static int is_lock(PyObject *object)
{
    return Py_TYPE(object)->tp_basicsize >= (Py_ssize_t)sizeof(Lock) &&
           (PyType_IsSubtype(Py_TYPE(object), &RwLockBaseType) || PyType_IsSubtype(Py_TYPE(object), &MutexBaseType));
}

static int look_at(PyObject *object, void *argument)
{
    Search *s = argument;
    if (!is_held_guard(object) && !is_lock(object))
        return 1;
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 64;
        PyObject **more = PyMem_RawRealloc(s->found, capacity * sizeof *more); /* raw: no object may be made here */
        if (!more) {
            s->failed = 1;
            return 0;
        }
        s->found = more;
        s->capacity = capacity;
    }
    s->found[s->count++] = Py_NewRef(object);
    return 1;
}

static PyObject *described(PyObject *object)
{
    Request *r = (Request *)object;
    if (is_lock(object))
        return Py_BuildValue("OKO", object, 0ULL, Py_False);
    return Py_BuildValue("OKO", object, (unsigned long long)(r->holder >> 2), r->as_task ? Py_True : Py_False);
}

/* A list of (lock or held guard, token of the thread that acquired it, by a task). */
PyObject *all_living(void)
{
    Search s = {NULL, 0, 0, 0};
    PyObject *list = PyList_New(0);
    if (!list)
        return NULL;
    s.failed |= visit_all(look_at, &s);
    for (size_t i = 0; i < s.count; i++) {
        PyObject *entry = s.failed ? NULL : described(s.found[i]);
        s.failed = !entry || PyList_Append(list, entry);
        Py_XDECREF(entry);
        Py_DECREF(s.found[i]);
    }
    PyMem_RawFree(s.found);
    if (s.failed) {
        Py_DECREF(list);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    return list;
}

/* A lock was made, and locks are noted. 0, or -1 with an exception. */
int note_lock(PyObject *lock)
{
    PyObject *none = PyObject_CallOneArg(names.note_lock, lock);
    Py_XDECREF(none);
    return none ? 0 : -1;
}
