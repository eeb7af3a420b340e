/* The core's function table. See capi.h. */
#include "capi.h"

static const lots_capi table = {
    .version = LOTS_CAPI_VERSION,
    .size = sizeof(lots_capi),
    .word_load = lots_word_load,
    .try_ = lots_try,
    .release = lots_release,
    .op_init = lots_op_init,
    .op_poll = lots_op_poll,
    .op_wait = lots_op_wait,
    .op_cancel = lots_op_cancel,
    .op_release = lots_op_release,
    .op_state = lots_op_state,
    .thread_token = lots_thread_token,
    .mailbox_drain = lots_mailbox_drain,
    .mailbox_unblock = lots_mailbox_unblock,
    .downgrade = lots_downgrade,
    .op_look_wait = lots_op_look_wait,
    .op_interrupt = lots_op_interrupt,
    .op_counts = lots_op_counts,
    .op_waited = lots_op_waited,
};

uintptr_t lots_capi_address(void) { return (uintptr_t)&table; }
