/* What the tests of notify.c share: keys, and ops that wait at one. Nobody sleeps: ops are polled by hand, and a thread's op
 * shows its wake in its state. */
#ifndef NOTIFYING_H
#define NOTIFYING_H

#include "steps.h"

enum { MOST = 3 * BATCH_THREADS + 1 };
static lots_op ops[MOST];
static uint64_t keys[64 * LOT_BUCKETS];
static uintptr_t here, near_, far; /* near_ shares here's bucket, far does not */
static lots_word *near_word;       /* a lock in here's bucket; `word` is in another */

static inline void find_keys(void)
{
    static lots_word words[64 * LOT_BUCKETS];
    size_t i;
    for (i = 0; lot_bucket_of((uintptr_t)&keys[i]) == lot_bucket_of((uintptr_t)&word); i++)
        ;
    here = (uintptr_t)&keys[i];
    for (i++; !near_ || !far; i++)
        *(lot_bucket_of((uintptr_t)&keys[i]) == lot_bucket_of(here) ? &near_ : &far) = (uintptr_t)&keys[i];
    for (i = 0; lot_bucket_of((uintptr_t)&words[i]) != lot_bucket_of(here); i++)
        ;
    near_word = &words[i];
}

static inline void expect_at(lots_op *op, lots_word *w, uint32_t mode, lots_mailbox *mailbox, char cookie, uintptr_t key)
{
    lots_op_init(op, w, mode, mailbox, (uint64_t)cookie, 0);
    lots_op_expect(op, key);
    CHECK_EQ(lots_op_poll(op), LOTS_PARKED);
    CHECK_EQ(lots_op_state(op), LOTS_QUEUED);
    CHECK_EQ(lots_op_notified(op), 0);
}

static inline void park(int i, lots_mailbox *mailbox)
{
    expect_at(&ops[i], NULL, LOTS_PARK, mailbox, (char)('a' + i % 26), here);
}

static inline size_t notify(size_t most, uint64_t token)
{
    int mail_ = 7;
    size_t done = lots_notify(here, most, 0, token, NULL, &mail_);
    CHECK_EQ(mail_, 0);
    return done;
}

static inline void is_told(int i, uint64_t token)
{
    CHECK_EQ(lots_op_state(&ops[i]), LOTS_NORMAL);
    CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
    CHECK_EQ(lots_op_state(&ops[i]), LOTS_HELD);
    CHECK_EQ(lots_op_notified(&ops[i]), 1);
    CHECK_EQ(lots_op_token(&ops[i]), token);
    CHECK_EQ(lots_op_poll(&ops[i]), LOTS_MISUSE);
    CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_READY);
    CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_MISUSE);
    CHECK_EQ(lots_op_notified(&ops[i]), 1);
}

static inline void withdrawn(int i)
{
    CHECK_EQ(lots_op_cancel(&ops[i], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_notified(&ops[i]), 0);
    CHECK_EQ(lots_op_cancel(&ops[i], LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
}

/* It was told, and nobody was there to be told instead. */
static inline void withdrawn_with(int i, uint64_t token)
{
    CHECK_EQ(lots_op_cancel(&ops[i], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_notified(&ops[i]), 1);
    CHECK_EQ(lots_op_token(&ops[i]), token);
    CHECK_EQ(lots_op_release(&ops[i], 0, NULL), LOTS_MISUSE);
}

static inline void nobody_is_left(void)
{
    mail(m, 1);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_WORD(&word, 0);
    CHECK_WORD(near_word, 0);
    CHECK_EQ(notify(SIZE_MAX, 0), 0);
}

#endif
