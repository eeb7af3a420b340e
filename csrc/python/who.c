/* Who runs: the running task, or outside of any the thread. For what must know its owner again.
 *
 * A thread has a token of its own, for good. A task is known by the address of its weak reference, of which there is one while
 * anybody has it, and the mutex has it: addresses of tasks, and their numbers, are used again. A strong reference would keep
 * the task of a loop that was dropped, and with it the guards that it holds, from ever being collected; only a task of a kind
 * without weak references is kept itself, while it holds. */
#include "native.h"

/* --- the loop -------------------------------------------------------------------------------------------------------- */

static PyObject *none_is_null(PyObject *object)
{
    if (object == Py_None)
        Py_CLEAR(object);
    return object;
}

#if PY_VERSION_HEX < 0x030C0000 && !defined(MS_WINDOWS)

/* To see whether it was forked, asyncio of 3.11 asks the system for the number of the process each time, which costs more than
 * all the rest of an acquire. What it keeps for each thread is looked at here instead, and the number kept. That is no public
 * part of it; so at import it is seen to be what it was when this was written, and else asyncio is asked as before. */
#include <pthread.h>
#include <unistd.h>

typedef struct {
    PyObject_HEAD
    PyObject *loop;
    pid_t process;
} RunningLoop;

static int is_as_known;
static pid_t this_process; /* written by who forks, who is alone then */

static void forked(void) { this_process = getpid(); }

static RunningLoop *noted_here(void)
{
    PyObject *attributes = PyThreadState_GetDict(); /* borrowed, both */
    return attributes ? (RunningLoop *)PyDict_GetItemWithError(attributes, names.s___asyncio_running_event_loop__) : NULL;
}

void look_for_running_loop(void)
{
    PyObject *loop = PyObject_CallNoArgs(names._get_running_loop), *module, *none = NULL;
    RunningLoop *noted;
    if (is_as_known || !loop || !PyCFunction_Check(names._get_running_loop) || (!this_process && pthread_atfork(NULL, NULL, forked)))
        goto end;
    this_process = getpid();
    if (loop == Py_None && !noted_here() && (module = PyImport_ImportModule("asyncio"))) { /* as after the end of a loop */
        none = PyObject_CallMethod(module, "_set_running_loop", "O", Py_None);
        Py_DECREF(module);
    }
    noted = noted_here();
    is_as_known = noted && !strcmp(Py_TYPE(noted)->tp_name, "_RunningLoopHolder") &&
                  Py_TYPE(noted)->tp_basicsize == (Py_ssize_t)sizeof *noted && noted->loop == loop &&
                  noted->process == this_process;
end:
    Py_XDECREF(none);
    Py_XDECREF(loop);
    PyErr_Clear();
}

PyObject *asyncio_loop(void)
{
    RunningLoop *noted;
    if (!is_as_known)
        return none_is_null(PyObject_CallNoArgs(names._get_running_loop));
    noted = noted_here();
    return noted && noted->loop != Py_None && noted->process == this_process ? Py_NewRef(noted->loop) : NULL;
}

#else

void look_for_running_loop(void) {}

PyObject *asyncio_loop(void) { return none_is_null(PyObject_CallNoArgs(names._get_running_loop)); }

#endif

/* --- the task -------------------------------------------------------------------------------------------------------- */

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

PyObject *asyncio_task(void)
{
    PyObject *loop, *task = NULL;
    if (current_tasks && !PyDict_GET_SIZE(current_tasks))
        return NULL; /* no task of any loop runs: a loop of this thread would have noted its own */
    loop = asyncio_loop();
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

static PyObject *running_task(void) { return may_be_trio() ? none_is_null(PyObject_CallNoArgs(names.running_task)) : asyncio_task(); }

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
