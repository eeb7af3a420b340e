/* The core's function table, for native code beside `aiolots._core`: `aiolots._native`, and any extension of yours.
 *
 * There is one copy of the core in the process, inside aiolots._core, with its one parking lot. Others reach it through this
 * table. Include this file (its folder is aiolots.get_include()), call lots_import() once with the GIL held, then use the
 * table from any thread, with or without the GIL. The functions are those of api.h. A table only ever grows at its end; its
 * `version` changes when anything else does. */
#ifndef LOTS_CAPI_H
#define LOTS_CAPI_H

#include "api.h"

#define LOTS_CAPI_VERSION 1

typedef struct lots_capi {
    uint32_t version; /* LOTS_CAPI_VERSION of the core */
    uint32_t size;    /* sizeof(lots_capi) of the core */
    uint64_t (*word_load)(const lots_word *word);
    int (*try_)(lots_word *word, uint32_t mode);
    int (*release)(lots_word *word, uint32_t mode, int fair, lots_mailbox *own);
    void (*op_init)(lots_op *op, lots_word *word, uint32_t mode, lots_mailbox *mailbox, uint64_t cookie, uint64_t owner);
    int (*op_poll)(lots_op *op);
    int (*op_wait)(lots_op *op, int64_t deadline_ns); /* sleeps: not with the GIL */
    int (*op_cancel)(lots_op *op, uint32_t why, lots_mailbox *own);
    int (*op_release)(lots_op *op, int fair, lots_mailbox *own);
    uint32_t (*op_state)(const lots_op *op);
    uint64_t (*thread_token)(void);
    size_t (*mailbox_drain)(lots_mailbox *mailbox, uint64_t *cookies, size_t capacity, int rung);
    void (*mailbox_unblock)(lots_mailbox *mailbox);
    int (*downgrade)(lots_word *word, uint32_t from, uint32_t to, lots_mailbox *own);
    int (*op_look_wait)(lots_op *op, int64_t deadline_ns, int64_t look_ns); /* sleeps */
    int (*op_interrupt)(lots_op *op);
    void (*op_counts)(lots_op *op, lots_contention *record);
    uint64_t (*op_waited)(const lots_op *op);
} lots_capi;

#ifdef Py_PYTHON_H

/* Return the table; NULL with ImportError set when the core is not to be had, or is not of this version. */
static inline const lots_capi *lots_import(void)
{
    const lots_capi *table = NULL;
    PyObject *core = PyImport_ImportModule("aiolots._core"), *lib = NULL, *address = NULL;
    if (core)
        lib = PyObject_GetAttrString(core, "lib");
    if (lib)
        address = PyObject_CallMethod(lib, "lots_capi_address", NULL);
    if (address)
        table = (const lots_capi *)PyLong_AsVoidPtr(address);
    Py_XDECREF(address);
    Py_XDECREF(lib);
    Py_XDECREF(core);
    if (table && (table->version != LOTS_CAPI_VERSION || table->size < sizeof(lots_capi))) {
        PyErr_Format(PyExc_ImportError, "aiolots._core has function table version %u, this was built for %u: build both again",
                     table->version, LOTS_CAPI_VERSION);
        table = NULL;
    }
    return table;
}

#endif
#endif
