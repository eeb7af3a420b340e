/* What is looked at beyond locking: one word of flags that the paths test, and the calls into Python when there is something to
 * look at. All of it is on slow paths but taken_by_thread(), which is one test of a flag that is off by default. */
#include "watch.h"

lots_a32 watch_flags;

PyObject *native_watch(PyObject *Py_UNUSED(module), PyObject *flags)
{
    unsigned long value = PyLong_AsUnsignedLong(flags);
    if (PyErr_Occurred())
        return NULL;
    a32_store(&watch_flags, (uint32_t)value, RELAXED); /* as in watches() */
    Py_RETURN_NONE;
}

/* One compare in the usual case: somebody else holds all of it. Whose a share is has not been noted anywhere, so a look at the
 * calls of this thread must tell. */
int refuse_deadlock(Lock *lock, unsigned mode)
{
    PyObject *none;
    if (!word_has_readers(word_load(&lock->word)) && a64_load(&lock->holder, RELAXED) >> 2 != core->thread_token())
        return 0; /* RELAXED as in lock_set_holder: what this thread has written it sees */
    none = PyObject_CallFunction(names.refuse, "Oi", lock, (int)mode);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

int look_soon(PyObject *port)
{
    PyObject *looks = PyObject_GetAttr(port, names.s_looks), *none;
    int scheduled = looks == Py_True;
    Py_XDECREF(looks);
    if (!looks)
        return -1;
    if (scheduled)
        return 0;
    none = PyObject_CallOneArg(names.look_soon, port);
    Py_XDECREF(none);
    return none ? 0 : -1;
}

void corrupt(Lock *lock) { Py_XDECREF(PyObject_CallOneArg(names.corrupt, (PyObject *)lock)); }

void taken_by_thread(PyObject *held)
{
    PyObject *none = PyObject_CallOneArg(names.taken_by_thread, held);
    if (!none)
        PyErr_WriteUnraisable(held); /* it is held all the same */
    Py_XDECREF(none);
}
