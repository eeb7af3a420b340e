/* The first moments of a thread's wait without a deadline, with the GIL off, for both fronts: nobody may look at its calls then, so
 * once it has slept for a while it tells them itself (aiolots/_telling.py reads that), and sleeps on.
 *
 * It is queued meanwhile. So nothing is run, no bytecode and no finalizer: either might want that very lock, and wait behind us
 * for ever. (The collector of a free-threaded Python runs between bytecodes only, and nothing is dropped here.) To tell of an event
 * loop's tasks takes bytecode: the thread of a loop steps aside for that, later, and keeps its place. */
#ifndef LOTS_TELLING_H
#define LOTS_TELLING_H

#include "nogil_wait.h"

#define TELL_CALLS_AFTER 5000000 /* ns */
#define TELL_TASKS_AFTER 50000000

#if defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)

/* The values of those variables that a frame has, by the names of a tuple. -1 with an exception. */
static inline int tell_variables(PyFrameObject *frame, PyObject *wanted, PyObject *made)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(wanted); i++) {
        PyObject *value = PyFrame_GetVar(frame, PyTuple_GET_ITEM(wanted, i));
        int failed = !value || PyList_Append(made, value);
        Py_XDECREF(value); /* the frame has it too */
        if (failed)
            return -1;
    }
    return 0;
}

/* `workers`: a list of the code of a function, and the names of its variables, by turns. */
static inline int tell_call(PyFrameObject *frame, PyObject *workers, PyObject *calls, PyObject *made)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *at = PyLong_FromLong(PyFrame_GetLasti(frame));
    int failed = !at || PyList_Append(calls, (PyObject *)code) || PyList_Append(calls, at);
    for (Py_ssize_t i = 0; !failed && i + 1 < PyList_GET_SIZE(workers); i += 2) {
        PyObject *of = PyList_GetItemRef(workers, i), *wanted = PyList_GetItemRef(workers, i + 1);
        if (of == (PyObject *)code)
            failed = tell_variables(frame, wanted, made);
        Py_XDECREF(of);
        Py_XDECREF(wanted);
    }
    Py_XDECREF(at);
    Py_DECREF(code);
    return failed;
}

/* standing[ident] = ([code, instruction, ...], [value, ...]), of this thread, innermost call first. */
static inline void tell_calls(PyObject *standing, PyObject *workers)
{
    PyObject *calls = PyList_New(0), *made = PyList_New(0), *ident = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    PyObject *both = calls && made ? PyTuple_Pack(2, calls, made) : NULL;
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame());
    int failed = !both || !ident;
    while (frame && !failed) {
        PyFrameObject *outer = PyFrame_GetBack(frame);
        failed = tell_call(frame, workers, calls, made);
        Py_DECREF(frame);
        frame = outer;
    }
    if (failed || PyDict_SetItem(standing, ident, both))
        PyErr_Clear(); /* then it is not known */
    Py_XDECREF((PyObject *)frame);
    Py_XDECREF(both);
    Py_XDECREF(ident);
    Py_XDECREF(made);
    Py_XDECREF(calls);
}

/* Sleep as nogil_wait does, and tell (`told`: to be taken back when the wait is over); LOTS_INTERRUPTED also when it is time to tell
 * of tasks, if this thread has some. */
static inline int telling_wait(lots_op *op, PyObject *standing, PyObject *workers, int has_tasks, int *told,
                               int (*look_wait)(lots_op *, int64_t, int64_t), int (*interrupt)(lots_op *),
                               void (*leave)(void *))
{
    PyThreadState *state = PyEval_SaveThread();
    int answer = look_wait(op, LOTS_NEVER, clock_now() + TELL_CALLS_AFTER);
    take_gil(state, op, leave);
    if (answer != LOTS_LOOK)
        return answer;
    *told = 1;
    tell_calls(standing, workers);
    if (!has_tasks)
        return nogil_wait(op, LOTS_NEVER, look_wait, interrupt);
    state = PyEval_SaveThread();
    answer = look_wait(op, LOTS_NEVER, clock_now() + TELL_TASKS_AFTER);
    take_gil(state, op, leave);
    return answer == LOTS_LOOK ? interrupt(op) : answer;
}

#else

static inline int telling_wait(lots_op *op, PyObject *standing, PyObject *workers, int has_tasks, int *told,
                               int (*look_wait)(lots_op *, int64_t, int64_t), int (*interrupt)(lots_op *),
                               void (*leave)(void *))
{
    (void)standing, (void)workers, (void)has_tasks, (void)told, (void)leave;
    return nogil_wait(op, LOTS_NEVER, look_wait, interrupt);
}

#endif

#endif
