/* A thread's wait: polls, and sleeps on the futex between two polls. A task has no part in this.
 *
 *   state                   a wake                   its time is up, or who is to look       a signal
 *   PENDING, ACQUIRING      spins for a moment, then polls: READY, or queued
 *   QUEUED, asleep          polls again              cancel: READY if a grant came first     lots_op_interrupt
 *
 * Every early end goes through lots_op_cancel. For fork.c the thread says which op it is in the middle of (threads.c): until
 * it has an answer that ends the wait, or is out of the queue. Told to look it is queued, and may be handed the lock meanwhile. */
#include "acquire.h"
#include "api.h"
#include "lock_word.h"
#include "notify.h"
#include "parker.h"
#include "threads.h"

#ifdef LOTS_MODEL
#define SPIN_TURNS 0 /* spinning adds no behaviour, only steps */
#else
#define SPIN_TURNS 10
#endif

/* Try for a moment before the first queueing, as parking_lot does: while nobody is queued whom we would pass. The GIL is
 * not held here. */
static void spin(const lots_waiter *w)
{
    for (int turn = 0; turn < SPIN_TURNS; turn++) {
        uint64_t seen = word_load(w->word);
        if ((seen & PARKED) || word_may_enter(seen, waiter_mode(w)))
            return;
        parker_relax((unsigned)turn);
    }
}

int lots_op_interrupt(lots_op *op)
{
    lots_waiter *w = op_waiter(op);
    /* A signal handler is about to run on this very thread, and may want this very lock: nobody may hand the lock to us, nor
     * wait behind us, meanwhile. The ticket keeps our place for the next poll. */
    if (step_aside(w))
        return LOTS_INTERRUPTED;
    w->for_now = 1;
    if (lots_op_cancel(op, LOTS_BY_TIMEOUT, NULL) == LOTS_READY)
        return LOTS_READY;
    w->for_now = 0;
    w->phase = PHASE_ENTER;
    set_state(w, LOTS_ACQUIRING);
    return LOTS_INTERRUPTED;
}

int lots_op_wait(lots_op *op, int64_t deadline_ns) { return lots_op_look_wait(op, deadline_ns, LOTS_NEVER); }

static int look_wait(lots_op *op, int64_t deadline_ns, int64_t look_ns)
{
    lots_waiter *w = op_waiter(op);
    uint32_t state = state_of(w);
    if (w->aside)
        step_back(w);
    if ((state == LOTS_PENDING || state == LOTS_ACQUIRING) && !w->ticket && w->phase != PHASE_NOTIFY)
        spin(w);
    for (;;) {
        int answer = lots_op_poll(op);
        if (answer == LOTS_PARKED) {
            int woken = parker_sleep(w, look_ns < deadline_ns ? look_ns : deadline_ns);
            if (woken == PARKER_WOKEN)
                continue;
            if (woken == PARKER_INTERRUPTED)
                return lots_op_interrupt(op);
            if (woken == PARKER_LOOK) {
                step_aside(w);
                return LOTS_INTERRUPTED;
            }
            if (look_ns < deadline_ns)
                return LOTS_LOOK;
            answer = lots_op_cancel(op, LOTS_BY_TIMEOUT, NULL) == LOTS_READY ? LOTS_READY : LOTS_TIMED_OUT;
        }
        parker_finish(w);
        return answer;
    }
}

int lots_op_look_wait(lots_op *op, int64_t deadline_ns, int64_t look_ns)
{
    lots_waiter *w = op_waiter(op), *before = thread_is_at(w);
    int answer = look_wait(op, deadline_ns, look_ns);
    if (answer != LOTS_LOOK && answer != LOTS_INTERRUPTED)
        thread_is_at(before == w ? NULL : before);
    return answer;
}
