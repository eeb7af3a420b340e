/* What cffi's generated glue includes first.
 *
 * The GIL rule: cffi would drop the GIL around every call, which costs more than most calls here take. So its two macros
 * become plain braces, and only the functions whose name ends in _wait, which sleep, drop it by hand. */
#include "api.h"

#include <Python.h>

#undef Py_BEGIN_ALLOW_THREADS
#undef Py_END_ALLOW_THREADS
#define Py_BEGIN_ALLOW_THREADS {
#define Py_END_ALLOW_THREADS }

#include "python/nogil_wait.h"
#include "python/telling.h"
#include "python/top_calls.h"

static int lots_op_nogil_wait(lots_op *op, int64_t deadline_ns)
{
    return nogil_wait(op, deadline_ns, lots_op_look_wait, lots_op_interrupt);
}

static void leave_queue(void *op) { lots_op_cancel(op, LOTS_BY_CANCEL, NULL); }

/* The dictionary and the list by their addresses. */
static int lots_op_telling_wait(lots_op *op, uintptr_t standing, uintptr_t workers, int has_tasks)
{
    int told;
    return telling_wait(op, (PyObject *)standing, (PyObject *)workers, has_tasks, &told, lots_op_look_wait, lots_op_interrupt,
                        leave_queue);
}
