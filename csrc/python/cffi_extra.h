/* Declarations of cffi_preamble.h for Python. */
int lots_op_nogil_wait(lots_op *op, int64_t deadline_ns);
int lots_op_young_wait(lots_op *op);
