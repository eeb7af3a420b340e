/* Who runs: the running task, or outside of any the thread. For what must know its owner again.
 *
 * A thread has a token of its own, for good. A task is known by the address of its weak reference, of which there is one while
 * anybody has it, and the mutex has it: addresses of tasks, and their numbers, are used again. A strong reference would keep
 * the task of a loop that was dropped, and with it the guards that it holds, from ever being collected; only a task of a kind
 * without weak references is kept itself, while it holds. */
#include "native.h"

static PyObject *current_tasks; /* asyncio's: the running task of each loop. NULL: there is no such thing */

int look_for_current_tasks(void)
{
#if PY_VERSION_HEX < 0x030E0000 /* from then on each thread has its own */
    PyObject *module = PyImport_ImportModule("asyncio.tasks");
    PyObject *found = module ? PyObject_GetAttrString(module, "_current_tasks") : NULL;
    Py_XDECREF(module);
    if (!found)
        PyErr_Clear();
    else if (PyDict_CheckExact(found))
        Py_XSETREF(current_tasks, Py_NewRef(found));
    Py_XDECREF(found);
#endif
    return 0;
}

static PyObject *none_is_null(PyObject *object)
{
    if (object == Py_None)
        Py_CLEAR(object);
    return object;
}

/* The running task; NULL without an exception: no loop runs here, or it runs a plain callback. */
static PyObject *running_task(void)
{
    PyObject *loop, *task = NULL;
    if (may_be_trio())
        return none_is_null(PyObject_CallNoArgs(names.running_task));
    if (current_tasks && !PyDict_GET_SIZE(current_tasks))
        return NULL; /* no task of any loop runs: a loop of this thread would have noted its own */
    loop = none_is_null(PyObject_CallNoArgs(names._get_running_loop));
    if (!loop)
        return NULL;
    if (!current_tasks)
        task = none_is_null(PyObject_CallOneArg(names.current_task, loop));
#if PY_VERSION_HEX >= 0x030D0000
    else
        (void)PyDict_GetItemRef(current_tasks, loop, &task);
#else
    else
        task = Py_XNewRef(PyDict_GetItemWithError(current_tasks, loop));
#endif
    Py_DECREF(loop);
    return task;
}

int who_runs(Who *who)
{
    PyObject *task = running_task();
    who->task = NULL;
    who->entered = 0;
    if (!task) {
        who->id = core->thread_token() << 1 | 1; /* no address is odd */
        return PyErr_Occurred() ? -1 : 0;
    }
    who->task = PyWeakref_NewRef(task, NULL);
    if (!who->task && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        who->task = Py_NewRef(task);
    }
    who->id = (uint64_t)(uintptr_t)who->task;
    Py_DECREF(task);
    return who->task ? 0 : -1;
}

void who_forget(Who *who) { Py_CLEAR(who->task); }
