/* Whether trio may be the library of the running task: it alone wants a checkpoint of an acquire that waits for nothing, so an
 * await has to know before it takes a free lock.
 *
 *   trio was not imported           a look at the size of sys.modules (may_be_trio)
 *   imported, no run on this thread a look at the attributes that trio keeps for the thread: there are none
 *   a run on this thread            aiolots._loops.in_trio() says whose task it is: asyncio may run inside of it, or around
 *
 * Those attributes are no public part of trio. If they should be kept elsewhere some day, in_trio() is asked each time. */
#include "native.h"

#define FOUND UINT64_MAX

PyObject *modules;
lots_a64 modules_seen;
static lots_a64 context; /* a PyObject *: trio's thread-local object, or NotImplemented; 0: trio was not found yet */

int look_for_trio_from_now_on(void)
{
    modules = Py_XNewRef(PyImport_GetModuleDict());
    a64_store(&modules_seen, 0, RELAXED);
    return modules ? 0 : -1;
}

static PyObject *find_context(void)
{
    PyObject *found = (PyObject *)(uintptr_t)a64_load(&context, ACQUIRE); /* pairs with its publication below */
    uint64_t none = 0, seen = (uint64_t)PyDict_GET_SIZE(modules);
    if (found)
        return found;
    if (!PyDict_Contains(modules, names.s_trio)) {
        a64_store(&modules_seen, seen, RELAXED); /* a number to compare with, nothing hangs on it */
        return NULL;
    }
    found = PyObject_CallNoArgs(names.trio_context);
    if (!found) /* next time then */
        PyErr_Clear();
    else if (found == Py_None) /* its import is under way */
        Py_CLEAR(found);
    else if (!a64_cas(&context, &none, (uint64_t)(uintptr_t)found, ACQ_REL)) /* kept for ever */
        Py_DECREF(found);
    if (found)
        a64_store(&modules_seen, FOUND, RELAXED);
    return found;
}

/* The attributes that trio has set for this thread. A new reference. */
static PyObject *attributes_here(PyObject *local)
{
#ifdef Py_GIL_DISABLED
    return PyObject_GetAttr(local, names.s___dict__);
#else
    /* They are the same dictionary as long as the thread lives: that of the thread that asked last is kept. */
    static uint64_t thread;
    static PyObject *attributes;
    uint64_t here = PyThreadState_GetID(PyThreadState_Get());
    if (!attributes || thread != here) {
        PyObject *found = PyObject_GetAttr(local, names.s___dict__);
        if (!found)
            return NULL;
        PyObject *old = attributes;
        thread = here;
        attributes = Py_NewRef(found);
        Py_XDECREF(old); /* of a thread that may have ended: anything may run, and ask here for another one's */
        return found;
    }
    return Py_NewRef(attributes);
#endif
}

int trio_runs(void)
{
    PyObject *local = find_context(), *attributes;
    int runs;
    if (!local || local == Py_NotImplemented)
        return local != NULL;
    attributes = attributes_here(local);
    if (!attributes)
        PyErr_Clear();
    runs = attributes && PyDict_Check(attributes) && PyDict_GET_SIZE(attributes);
    Py_XDECREF(attributes);
    return runs;
}

/* asyncio's comes first for who asks: in a guest run there is one loop within the other, and one of the tasks runs. */
PyObject *trios_task(void)
{
    PyObject *local = find_context(), *attributes, *task;
    if (!local || local == Py_NotImplemented)
        return NULL;
    attributes = attributes_here(local);
    task = attributes && PyDict_Check(attributes) ? Py_XNewRef(PyDict_GetItemWithError(attributes, names.s_task)) : NULL;
    Py_XDECREF(attributes);
    PyErr_Clear();
    return task;
}

int trio_was_found(void) { return a64_load(&context, ACQUIRE) != 0; } /* as in find_context */

int is_trios(void)
{
    PyObject *answer = may_be_trio() ? PyObject_CallNoArgs(names.in_trio) : Py_NewRef(Py_False);
    int is_it = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return is_it;
}

PyObject *acquire_elsewhere(Lock *lock, unsigned mode, double seconds)
{
    PyObject *limit = seconds < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(seconds);
    PyObject *steps = limit ? PyObject_CallFunction(names.acquire, "OiO", lock, (int)mode, limit) : NULL;
    Py_XDECREF(limit);
    return steps;
}
