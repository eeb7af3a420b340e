/* Declarations of cffi_preamble.h for Python. */
int lots_op_nogil_wait(lots_op *op, int64_t deadline_ns);
int lots_op_telling_wait(lots_op *op, uintptr_t standing, uintptr_t workers, int has_tasks);
void lots_top_calls(uintptr_t frames, uintptr_t codes, uintptr_t names, uintptr_t found);
