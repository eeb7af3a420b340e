/* What the innermost call of each thread is, with the GIL off: whether it is one of some functions, and of what object.
 *
 * The interpreter's frames are not made to be looked at while their thread runs. The collector's walk through all objects stops
 * every thread that runs Python; so the look is made from within it, at its first object, and the walk ends there. Nothing is
 * made meanwhile but references: no object, no bytecode, no lock. */
#ifndef LOTS_TOP_CALLS_H
#define LOTS_TOP_CALLS_H

#include <Python.h>

#if defined(Py_GIL_DISABLED) && !defined(PYPY_VERSION)

typedef struct {
    PyObject *frames, *codes, *names, *found;
} TopCalls;

static int look_at_top_calls(PyObject *Py_UNUSED(object), void *argument)
{
    TopCalls *all = argument;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(all->frames); i++) {
        PyFrameObject *frame = (PyFrameObject *)PyList_GET_ITEM(all->frames, i);
        PyObject *code = (PyObject *)PyFrame_GetCode(frame);
        int wanted = 0;
        for (Py_ssize_t j = 0; j < PyTuple_GET_SIZE(all->codes); j++)
            wanted |= code == PyTuple_GET_ITEM(all->codes, j);
        Py_DECREF(code); /* the frame has it still */
        for (Py_ssize_t j = 0; wanted && j < PyTuple_GET_SIZE(all->names); j++) {
            PyObject *value = PyFrame_GetVar(frame, PyTuple_GET_ITEM(all->names, j));
            if (!value)
                break;
            PyList_SetItem(all->found, i * PyTuple_GET_SIZE(all->names) + j, value);
        }
    }
    return 0;
}

/* Of each frame (a list) whose code is one of those (a tuple): the values of its variables of these names (a tuple), into `found`, a
 * list of as many for each frame, which the caller has filled with None. All by their addresses; the caller keeps them. */
static void lots_top_calls(uintptr_t frames, uintptr_t codes, uintptr_t names, uintptr_t found)
{
    TopCalls all = {(PyObject *)frames, (PyObject *)codes, (PyObject *)names, (PyObject *)found};
    PyUnstable_GC_VisitObjects(look_at_top_calls, &all);
    PyErr_Clear(); /* a variable that was deleted: then it is None */
}

#else
static void lots_top_calls(uintptr_t frames, uintptr_t codes, uintptr_t names, uintptr_t found)
{
    (void)frames, (void)codes, (void)names, (void)found;
}
#endif

#endif
