/* The value that a lock protects, as its guards show it: a share's cannot be rebound. */
#include "native.h"

int require_held(Request *r)
{
    if (request_state(r) == LOTS_HELD)
        return 0;
    PyErr_Format(PyExc_RuntimeError, "this guard of %R is not held: its value is not to be touched now", r->lock);
    return -1;
}

PyObject *request_get_value(PyObject *self, void *Py_UNUSED(closure))
{
    Lock *lock = ((Request *)self)->lock;
    PyObject *value;
    if (require_held((Request *)self))
        return NULL;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(lock);
    value = Py_XNewRef(lock->value);
    Py_END_CRITICAL_SECTION();
#else
    value = Py_XNewRef(lock->value);
#endif
    return value ? value : Py_NewRef(Py_None); /* cleared by the collector */
}

int request_set_value(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    Lock *lock = ((Request *)self)->lock;
    PyObject *old;
    if (!value) {
        PyErr_SetString(PyExc_AttributeError, "a lock's value cannot be deleted; assign None");
        return -1;
    }
    if (require_held((Request *)self))
        return -1;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(lock);
    old = lock->value;
    lock->value = Py_NewRef(value);
    Py_END_CRITICAL_SECTION();
#else
    old = lock->value;
    lock->value = Py_NewRef(value);
#endif
    Py_XDECREF(old);
    return 0;
}

PyGetSetDef shared_getset[] = {{"value", request_get_value, NULL, "The protected value.", NULL}, {0}};

PyGetSetDef exclusive_getset[] = {
    {"value", request_get_value, request_set_value, "The protected value; assignable.", NULL}, {0}};
