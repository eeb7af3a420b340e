/* Native code beside aiolots: takes and releases a lock through the core's function table, from a plain pthread that has
 * never heard of Python. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "capi.h"

#include <pthread.h>

static const lots_capi *core;

/* try_(address, mode) -> bool */
static PyObject *try_(PyObject *self, PyObject *arguments)
{
    unsigned long long address;
    unsigned mode;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "KI", &address, &mode))
        return NULL;
    return PyBool_FromLong(core->try_((lots_word *)(uintptr_t)address, mode));
}

typedef struct { lots_word *word; uint32_t mode; int answer; } errand;

static void *release(void *errand_)
{
    errand *e = errand_;
    e->answer = core->release(e->word, e->mode, 0, NULL);
    return NULL;
}

/* release_in_a_pthread(address, mode) -> the core's answer. Keeps the GIL all the while: the release must not need it. */
static PyObject *release_in_a_pthread(PyObject *self, PyObject *arguments)
{
    unsigned long long address;
    unsigned mode;
    pthread_t thread;
    errand e;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "KI", &address, &mode))
        return NULL;
    e = (errand){(lots_word *)(uintptr_t)address, mode, -1};
    if (pthread_create(&thread, NULL, release, &e) || pthread_join(thread, NULL)) {
        PyErr_SetString(PyExc_OSError, "no thread");
        return NULL;
    }
    return PyLong_FromLong(e.answer);
}

static PyMethodDef methods[] = {
    {"try_", try_, METH_VARARGS, NULL},
    {"release_in_a_pthread", release_in_a_pthread, METH_VARARGS, NULL},
    {0},
};

static int import_core(PyObject *module)
{
    (void)module;
    core = lots_import();
    return core ? 0 : -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, import_core},
#ifdef Py_MOD_GIL_NOT_USED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "releaser", .m_methods = methods, .m_slots = slots};

PyMODINIT_FUNC PyInit_releaser(void) { return PyModuleDef_Init(&module); }
