/* Who holds a share of a lock: found among the living guards, since a list of them would cost every read.
 *
 * No reference to an object in sight is ever seen by another thread: an object that is half made, as the tuple of
 * `tuple(generator)` is, breaks when somebody else refers to it. So neither gc.get_objects nor gc.get_referrers is called
 * from Python. From 3.12 on the interpreter shows its objects one by one; before, the list that holds them is gone again
 * before this thread lets go of the GIL.
 *
 * What gc.freeze() put away is in neither, and there is no other list of it: a share whose guard was held just then is not found
 * until gc.unfreeze(). So an acquire that could never end because of it waits, where else it would raise DeadlockError; exclusion
 * does not depend on what is found here. */
#include "native.h"

typedef struct {
    uint64_t holder;
    uint8_t mode, as_task;
} Reader;

typedef struct {
    Lock *lock;
    Reader *readers;
    size_t count, capacity;
    int failed;
} Search;

static int look_at(PyObject *object, void *argument)
{
    Search *s = argument;
    Request *r = (Request *)object;
    if ((Py_TYPE(object) != &ReadRequestType && Py_TYPE(object) != &UpgradableRequestType) || r->lock != s->lock || request_state(r) != LOTS_HELD)
        return 1;
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 16;
        Reader *more = PyMem_RawRealloc(s->readers, capacity * sizeof *more); /* raw: no object may be made here */
        if (!more) {
            s->failed = 1;
            return 0;
        }
        s->readers = more;
        s->capacity = capacity;
    }
    s->readers[s->count++] = (Reader){r->holder, r->mode, r->as_task};
    return 1;
}

/* Shows every object that the collector knows to `visit`, until that returns 0. -1: there was no memory for it. */
int visit_all(int (*visit)(PyObject *object, void *argument), void *argument)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyUnstable_GC_VisitObjects(visit, argument);
#else
    PyObject *all = PyObject_CallNoArgs(names.get_objects);
    if (!all)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(all) && visit(PyList_GET_ITEM(all, i), argument); i++)
        ;
    /* Frees nothing else: all were alive before, and nothing ran since. Emptied first, for a list that is freed deep within
     * other freeing may be put off, and would keep them for others to see. */
    PyList_SetSlice(all, 0, PY_SSIZE_T_MAX, NULL);
    Py_DECREF(all);
#endif
    return 0;
}

PyObject *readers_of(PyObject *lock)
{
    Search s = {(Lock *)lock, NULL, 0, 0, 0};
    PyObject *list = PyList_New(0);
    if (!list)
        return NULL;
    s.failed |= visit_all(look_at, &s);
    for (size_t i = 0; i < s.count && !s.failed; i++) {
        PyObject *reader = Py_BuildValue("iKO", (int)s.readers[i].mode, (unsigned long long)(s.readers[i].holder >> 2),
                                         s.readers[i].as_task ? Py_True : Py_False);
        s.failed = !reader || PyList_Append(list, reader);
        Py_XDECREF(reader);
    }
    PyMem_RawFree(s.readers);
    if (s.failed) {
        Py_DECREF(list);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    return list;
}
