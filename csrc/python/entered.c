/* Which instruction entered a mutex: see entered.h. */
#include "entered.h"

#if NOTES_INSTRUCTIONS

int instructions_are_known;

static uint64_t begin_of(PyCodeObject *code) { return (uint64_t)(uintptr_t)code->co_code_adaptive; }

void look_for_instructions(void)
{
    PyFrameObject *frame = PyEval_GetFrame(); /* of who imports: some Python does */
    PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;
    int at = frame ? PyFrame_GetLasti(frame) : -1;
    instructions_are_known = code && at >= 0 && instruction_of(PyThreadState_Get()) == begin_of(code) + (uint64_t)at;
    Py_XDECREF((PyObject *)code);
}

#else

void look_for_instructions(void) {}

#endif

/* Where in this code the instruction is that entered the mutex, in bytes; -1: it is none of it. */
PyObject *mutex_entered_in(PyObject *self, PyObject *code)
{
#if NOTES_INSTRUCTIONS
    uint64_t entered = a64_load(&((Lock *)self)->entered, RELAXED); /* as in mutex_note_entered */
    if (PyCode_Check(code)) {
        uint64_t begin = begin_of((PyCodeObject *)code);
        uint64_t size = 2 * (uint64_t)Py_SIZE(code); /* of two bytes each */
        if (entered >= begin && entered - begin < size)
            return PyLong_FromUnsignedLongLong(entered - begin);
    }
#else
    (void)self;
    (void)code;
#endif
    return PyLong_FromLong(-1);
}

/* It was entered by an object that stands for it: where that was entered, its frame says. Only by who holds it. */
void mutex_entered_by(Lock *lock, PyFrameObject *frame)
{
#if NOTES_INSTRUCTIONS
    PyCodeObject *code = PyFrame_GetCode(frame);
    int at = PyFrame_GetLasti(frame);
    a64_store(&lock->entered, instructions_are_known && at >= 0 ? begin_of(code) + (uint64_t)at : 0, RELAXED); /* as above */
    Py_DECREF(code);
#else
    (void)lock;
    (void)frame;
#endif
}
