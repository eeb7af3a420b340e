/* The steps of a test on one lock, `word`, with tasks of one loop, `m`: each says what the word is after it. */
#ifndef STEPS_H
#define STEPS_H

#include "actors.h"

static lots_word word;
static lots_mailbox *m;

/* Wakes are handoffs only where a step says so. */
static inline void hold(uint32_t mode)
{
    set_fairness(&word, FAIR_NEVER);
    CHECK_EQ(lots_try(&word, mode), 1);
}

/* Who queues, and the word after it. */
static inline void queue(lots_op *op, uint32_t mode, char cookie, uint64_t wanted)
{
    task(op, &word, mode, m, cookie);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
    CHECK_WORD(&word, wanted);
}

static inline void release(uint32_t mode, int fair, uint64_t wanted)
{
    CHECK_EQ(lots_release(&word, mode, fair, NULL), LOTS_READY);
    CHECK_WORD(&word, wanted);
}

static inline void let_go(lots_op *op, uint64_t wanted)
{
    CHECK_EQ(lots_op_release(op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, wanted);
}

static inline void cancel(lots_op *op, uint32_t why, int answer, uint64_t wanted)
{
    CHECK_EQ(lots_op_cancel(op, why, NULL), answer);
    CHECK_WORD(&word, wanted);
    CHECK_EQ(lots_op_state(op), answer == LOTS_READY ? LOTS_HELD : LOTS_GONE);
}

static inline void poll_ready(lots_op *op, uint64_t wanted)
{
    CHECK_EQ(lots_op_poll(op), LOTS_READY);
    CHECK_WORD(&word, wanted);
}

static inline void clean(void)
{
    mail(m, 1);
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

#endif
