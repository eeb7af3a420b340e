/* The delivery of a mailbox: cookies in, futures resolved. The reference is Port.drain in aiolots/_loops.py.
 *
 * May be entered again, by a finalizer that releases a lock while a future is resolved: each call has its own cookies, taken
 * from the mailbox once, so none is delivered twice and none is lost. */
#include "native.h"

#define AT_ONCE 64

/* A new reference: a task that is collected on another thread may leave the table meanwhile. */
static PyObject *find(PyObject *waiting, PyObject *cookie)
{
    PyObject *future = NULL;
#if PY_VERSION_HEX >= 0x030D0000
    (void)PyDict_GetItemRef(waiting, cookie, &future);
#else
    future = Py_XNewRef(PyDict_GetItemWithError(waiting, cookie));
#endif
    return future;
}

void drain_port(PyObject *port, lots_mailbox *mailbox, int rung)
{
    uint64_t woken[AT_ONCE];
    size_t n;
    PyObject *type, *value, *traceback, *waiting;
    PyErr_Fetch(&type, &value, &traceback);
    waiting = PyObject_GetAttr(port, names.s_waiting);
    do {
        n = mailbox && waiting ? core->mailbox_drain(mailbox, woken, AT_ONCE, rung) : 0;
        rung = 0;
        for (size_t i = 0; i < n; i++) {
            PyObject *cookie = PyLong_FromUnsignedLongLong(woken[i]);
            PyObject *future = cookie ? find(waiting, cookie) : NULL;
            PyObject *none = future ? PyObject_CallMethodOneArg(future, names.s_set_result, Py_True) : NULL;
            Py_XDECREF(future);
            Py_XDECREF(none);
            Py_XDECREF(cookie);
            if (!PyErr_Occurred())
                continue;
            if (PyErr_ExceptionMatches(names.InvalidStateError))
                PyErr_Clear(); /* done already: it was cancelled, or its time is up */
            else if (type || PyErr_ExceptionMatches(PyExc_Exception))
                PyErr_WriteUnraisable(waiting);
            else
                PyErr_Fetch(&type, &value, &traceback);
        }
    } while (n == AT_ONCE);
    Py_XDECREF(waiting);
    PyErr_Restore(type, value, traceback);
}
