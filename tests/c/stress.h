/* What the stress tests share: ghosts that know who is in, a sampler that knows which words there may be. */
#ifndef STRESS_H
#define STRESS_H

#include "actors.h"

static lots_word word;
static _Atomic int stop;
static _Atomic int readers_in, writers_in;

static inline int is_shared(uint32_t mode) { return mode == LOTS_READ || mode == LOTS_READ_RECURSIVE; }

static inline void ghost_in(uint32_t mode)
{
    int readers = is_shared(mode) ? readers_in++ : readers_in;
    int writers = is_shared(mode) ? writers_in : writers_in++;
    if (writers || (!is_shared(mode) && readers))
        CHECK_FAILED("mode %u got in beside %d readers and %d writers; the word is %#llx", mode, readers, writers,
                     (unsigned long long)lots_word_load(&word));
}

static inline void ghost_out(uint32_t mode) { is_shared(mode) ? readers_in-- : writers_in--; }

static inline uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline void spin_for(int64_t ns)
{
    int64_t end = now_ns() + ns;
    while (now_ns() < end)
        ;
}

/* Acquire as a thread, sleeping through interruptions: LOTS_READY or LOTS_TIMED_OUT. */
static inline int acquire(lots_op *op, uint32_t mode, int64_t deadline)
{
    int answer;
    lots_op_init(op, &word, mode, NULL, 0, 0);
    while ((answer = lots_op_wait(op, deadline)) == LOTS_INTERRUPTED)
        ;
    CHECK(answer == LOTS_READY || (answer == LOTS_TIMED_OUT && deadline != LOTS_NEVER));
    if (answer == LOTS_READY)
        ghost_in(mode);
    return answer;
}

static inline int release(lots_op *op, uint32_t mode, int fair, lots_mailbox *own)
{
    int answer;
    ghost_out(mode);
    answer = lots_op_release(op, fair, own);
    CHECK_EQ(answer & ~LOTS_MAIL, LOTS_READY);
    return answer;
}

/* Looks at the word all the time: is it one that there may be? `argument`: the most readers there can be. */
static inline void *sample(void *argument)
{
    uint64_t samples = 0;
    while (!stop) {
        uint64_t w = lots_word_load(&word);
        if (w >> 4 > (uintptr_t)argument || (w & 4) || ((w & 2) && !(w & 8)))
            CHECK_FAILED("impossible word %#llx", (unsigned long long)w);
        if (++samples % 4 == 0)
            lots_for_each(&word, NULL, 0); /* somebody else who wants the bucket lock */
    }
    return NULL;
}

#endif
