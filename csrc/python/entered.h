/* Which instruction of Python entered a mutex: noted by `with mutex:` alone, so that a wait inside of it is known to be for ever
 * (aiolots/_statements.py). A number, compared and never followed: the address of the instruction in its code object.
 *
 * Read where the interpreter keeps it, in the frame that runs: a call that asks for a frame would make an object for it, which
 * costs as much as the acquire. That is no public part of it, but the same in the versions below; and at import it is seen to be
 * so (entered.c), or nothing is ever noted. */
#ifndef LOTS_ENTERED_H
#define LOTS_ENTERED_H

#include "native.h"

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030E0000 && !defined(PYPY_VERSION)
#define NOTES_INSTRUCTIONS 1
#else
#define NOTES_INSTRUCTIONS 0
#endif

#if NOTES_INSTRUCTIONS

#define FRAMES_INSTRUCTION 7 /* words before it in a frame */

extern int instructions_are_known; /* written at import */

static inline uint64_t instruction_of(PyThreadState *state)
{
#if PY_VERSION_HEX >= 0x030D0000
    void *const *frame = (void *const *)(const void *)state->current_frame;
#else
    void *const *frame = (void *const *)(const void *)state->cframe->current_frame;
#endif
    return frame ? (uint64_t)(uintptr_t)frame[FRAMES_INSTRUCTION] : 0;
}

static inline uint64_t instruction_that_runs(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return instructions_are_known ? instruction_of(PyThreadState_GetUnchecked()) : 0;
#else
    return instructions_are_known ? instruction_of(_PyThreadState_UncheckedGet()) : 0;
#endif
}

#else

static inline uint64_t instruction_that_runs(void) { return 0; }

#endif

void look_for_instructions(void); /* at import */
PyObject *mutex_entered_in(PyObject *lock, PyObject *code);
void mutex_entered_by(Lock *lock, PyFrameObject *frame);

/* The mutex is held by who calls. RELAXED as in lock_set_holder: only of who holds it, and only who holds it writes it. */
static inline void mutex_note_entered(Lock *lock) { a64_store(&lock->entered, instruction_that_runs(), RELAXED); }
static inline void mutex_not_entered(Lock *lock) { a64_store(&lock->entered, 0, RELAXED); }

#endif
