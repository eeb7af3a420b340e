/* What the fibers of a program do. See programs.h. */
#include "programs.h"
#include "verbs.h"

#include "revoke.h"

#include <string.h>

void must_answer(int what, int wanted, const char *verb)
{
    if (what != wanted)
        mc_fail("%s answered %d, not %d", verb, what, wanted);
}

lots_op *new_op(uint32_t mode, lots_mailbox *mailbox, uint64_t cookie)
{
    lots_op *op = &the.ops[the.op_count++];
    lots_op_init(op, mode & OTHER ? &the.other : &the.word, mode & ~OTHER, mailbox, cookie, (uint64_t)mc_self());
    the.ops_open++;
    return op;
}

/* The op's memory is free now: nobody may touch it again. */
void end_op(lots_op *op)
{
    memory_mute(1);
    must_answer(lots_op_cancel(op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE, "cancel of an op that ended");
    must_answer(lots_op_release(op, 0, NULL), LOTS_MISUSE, "release of an op that ended");
    memory_mute(0);
    mc_reuse(op, sizeof *op);
    memset(op, POISON, sizeof *op);
    the.ops_open--;
}

/* --- threads ------------------------------------------------------------------------------------------------------- */

int release_guard(lots_op *op, int fair, lots_mailbox *own)
{
    int answer = lots_op_release(op, fair, own);
    if (answer & LOTS_MAIL)
        drain(own, 0);
    if (fair)
        mc_did(V_FAIR);
    return answer & ~LOTS_MAIL;
}

void release(lots_op *op, uint32_t mode, int fair, lots_mailbox *own)
{
    ghost_out(mode);
    must_answer(release_guard(op, fair, own), LOTS_READY, "release");
    mc_did(V_RELEASE);
}

static int may_let_go(void *unused)
{
    (void)unused;
    for (int i = 0; i < the.actor_count; i++)
        if (!the.actors[i].steps[0].hold && !strchr("KAG", the.actors[i].kind) && !the.actors[i].ended)
            return 0;
    return 1;
}

/* A sleep that sees no signal, but ends by itself, to look whether one has come. */
static int look(lots_op *op)
{
    int answer = lots_op_look_wait(op, LOTS_NEVER, 0);
    if (answer != LOTS_LOOK)
        return answer;
    return mc_choose(2, "a signal had come") ? lots_op_interrupt(op) : LOTS_PARKED;
}

static void hold_as_thread(const step *s, int depth, lots_mailbox *own)
{
    uint32_t mode = s->modes[depth];
    lots_op *op = new_op(mode, NULL, 0);
    int answer = s->try_first ? lots_op_try(op) : LOTS_PARKED;
    if (s->timed)
        ghost_asked_with_deadline(mode);
    if (s->early && mc_choose(2, "cancelled before it asked"))
        answer = LOTS_INTERRUPTED;
    if (answer == LOTS_PARKED && s->looks)
        answer = look(op);
    if (answer == LOTS_PARKED)
        answer = lots_op_wait(op, s->timed ? 0 : s->cancelled || (s->handler && !s->looks) ? 1 : LOTS_NEVER);
    if (answer == LOTS_INTERRUPTED && s->handler) {
        const step in_handler = {.modes = {s->modes[1]}, .nested = 1};
        hold_as_thread(&in_handler, 0, own);
        answer = lots_op_wait(op, LOTS_NEVER);
    }
    if (answer == LOTS_INTERRUPTED) {
        answer = lots_op_cancel(op, LOTS_BY_CANCEL, own);
        if (answer & LOTS_MAIL)
            drain(own, 0);
        must_answer(answer & ~LOTS_MAIL, LOTS_WITHDRAWN, "cancel");
        mc_did(V_CANCEL);
    } else if (answer == LOTS_READY) {
        ghost_first_come(op);
        ghost_in(mode);
        mc_point("holds", op);
        if (s->hold && !*s->changes)
            mc_sleep_until(may_let_go, NULL, 0, "holding");
        if (depth + 1 < s->nested && !s->handler)
            hold_as_thread(s, depth + 1, own);
        if (s->given || s->twice) {
            give_away(op, s, own);
            return;
        }
        op = change_as_thread(op, &mode, s->changes, own);
        if (s->hold && *s->changes)
            mc_sleep_until(may_let_go, NULL, 0, "holding");
        release(op, mode, s->fair, own);
    } else {
        must_answer(answer, s->timed ? LOTS_TIMED_OUT : LOTS_READY, "wait");
    }
    end_op(op);
}

void run_thread(void *argument)
{
    actor *a = argument;
    for (int i = 0; i < a->count; i++) {
        if (a->steps[i].queue == 'P')
            queue_park_as_thread(&a->steps[i]);
        else if (a->steps[i].queue == 'S')
            park_as_thread(&a->steps[i]);
        else if (a->steps[i].queue && strchr(NOTICES, a->steps[i].queue))
            notice(a->steps[i].queue, NULL);
        else if (a->steps[i].queue)
            queue_wake(a->steps[i].queue, NULL);
        else
            hold_as_thread(&a->steps[i], 0, NULL);
    }
    a->ended = 1;
}

int actors_ended(void)
{
    for (int i = 0; i < the.actor_count; i++)
        if (strchr("TLX", the.actors[i].kind) && !the.actors[i].ended)
            return 0;
    return 1;
}

static int keeper_has_work(void *unused)
{
    (void)unused;
    return actors_ended() || keeper_has_new(0);
}

void note_revocations(void)
{
    for (int i = 0; i < the.op_count; i++)
        if (op_waiter(&the.ops[i])->revoked == 1) /* not POISON */
            mc_did(V_REVOKE);
}

void run_keeper(void *argument)
{
    (void)argument;
    while (!actors_ended()) {
        mc_sleep_until(keeper_has_work, NULL, 0, "the keeper");
        keeper_has_new(1);
        revoke_late(INT64_MAX, 1);
        note_revocations();
    }
}

/* --- event loops --------------------------------------------------------------------------------------------------- */

static task tasks[MC_FIBERS * MAX_STEPS];
static int turns;

uint64_t task_cookie(const task *t) { return (uint64_t)(t - tasks); }

void schedule(task *t, int state)
{
    t->state = state;
    t->due = ++turns;
}

int drain(lots_mailbox *m, int rung)
{
    uint64_t cookies[MAX_STEPS];
    size_t n = lots_mailbox_drain(m, cookies, MAX_STEPS, rung);
    if (n)
        mc_did(V_DRAIN);
    for (size_t i = 0; i < n; i++)
        if (tasks[cookies[i]].state == AWAITING)
            schedule(&tasks[cookies[i]], SCHEDULED);
    return (int)n;
}

static void end_task(task *t)
{
    t->state = ENDED;
    end_op(t->op);
}

static void note_handoff(const task *t)
{
    if (op_waiter(t->op)->state.value_ == LOTS_HANDOFF)
        mc_did(V_HANDOFF);
}

/* Ends the wait of a task: by cancellation, or by its timer. */
static void interrupt_task(task *t)
{
    uint32_t why = change_ends_by(t) == 't' ? LOTS_BY_TIMEOUT : LOTS_BY_CANCEL;
    int answer;
    if (t->step->queue == 'S') {
        if (park_leave(t->op, why == LOTS_BY_TIMEOUT, t->loop->mailbox))
            drain(t->loop->mailbox, 0);
        end_task(t);
        return;
    }
    if (t->step->queue) {
        queue_leave(t->op, t->step->timed, t->loop->mailbox);
        end_task(t);
        return;
    }
    note_handoff(t);
    answer = lots_op_cancel(t->op, why, t->loop->mailbox);
    if (answer & LOTS_MAIL)
        drain(t->loop->mailbox, 0);
    answer &= ~LOTS_MAIL;
    if (answer == LOTS_READY && why == LOTS_BY_TIMEOUT) {
        task_got(t);
        return;
    }
    must_answer(answer, LOTS_WITHDRAWN, "cancel");
    if (why == LOTS_BY_CANCEL)
        mc_did(V_CANCEL);
    if (!task_withdrawn(t, why == LOTS_BY_CANCEL))
        end_task(t);
}

/* A callback that blocks its running loop: it could never end if it waited for a task of that loop; the front raises
 * DeadlockError. Who upgrades is in nobody's way but a writer's. */
static int may_block(const task *t)
{
    for (task *u = tasks; u < tasks + MC_FIBERS * MAX_STEPS; u++)
        if (u->loop == t->loop && (u->state == HOLDING || (u->guard && u->state != ENDED && !ghost_shares(t->mode))))
            return 0;
    return 1;
}

static void run_task(task *t)
{
    int answer;
    if (t->step->queue == 'S') {
        t->state = AWAITING;
        if (t->step->timed)
            mc_did(V_PARK_FOR);
        if (lots_op_poll(t->op) == LOTS_READY) {
            park_ended(t->op, LOTS_READY);
            end_task(t);
        }
        return;
    }
    if (t->step->queue && strchr(NOTICES, t->step->queue)) {
        t->state = ENDED;
        notice(t->step->queue, t->loop->mailbox);
        return;
    }
    if (t->step->queue) {
        if (t->step->queue != 'P') {
            t->state = ENDED;
            if (queue_wake(t->step->queue, t->loop->mailbox))
                drain(t->loop->mailbox, 0);
            return;
        }
        t->state = AWAITING;
        if (t->step->timed)
            mc_did(V_PARK_FOR);
        if (queue_poll(t->op) == LOTS_READY)
            end_task(t);
        return;
    }
    if (t->step->timed)
        ghost_asked_with_deadline(t->step->modes[0]);
    if (t->step->sync) {
        t->state = ENDED;
        if (!may_block(t))
            return;
        lots_mailbox_block(t->loop->mailbox);
        mc_did(V_BLOCK);
        hold_as_thread(t->step, 0, t->loop->mailbox);
        lots_mailbox_unblock(t->loop->mailbox);
    } else if (t->state == HOLDING && *t->at) {
        change_task(t);
        if (t->state == SCHEDULED)
            run_task(t);
    } else if (t->state == HOLDING && (t->step->given || t->step->twice)) {
        t->state = ENDED;
        give_away(t->op, t->step, t->loop->mailbox);
    } else if (t->state == HOLDING) {
        release(t->op, t->mode, t->step->fair, t->loop->mailbox);
        end_task(t);
    } else if (note_handoff(t), (answer = t->step->try_first && lots_op_state(t->op) == LOTS_PENDING ? lots_op_try(t->op) : LOTS_PARKED) ==
                   LOTS_READY ||
               (answer = lots_op_poll(t->op)) == LOTS_READY) {
        task_got(t);
        if (t->step->quick)
            run_task(t);
    } else {
        must_answer(answer, LOTS_PARKED, "poll");
        t->state = AWAITING;
    }
}

static int may_interrupt(const task *t)
{
    if (t->op && t->state == SCHEDULED && lots_op_state(t->op) == LOTS_PENDING)
        return t->step->early;
    return change_ends_by(t) && (t->state == AWAITING || t->state == SCHEDULED);
}

static task *first_due(const actor *loop)
{
    task *first = NULL;
    for (task *t = tasks; t < tasks + MC_FIBERS * MAX_STEPS; t++)
        if (t->loop == loop && (t->state == SCHEDULED || t->state == HOLDING) && (!first || t->due < first->due))
            first = t;
    return first;
}

/* Whoever upgrades holds too, but a loop that closes ends its wait and releases its guard at once. */
static int holds_any(const actor *loop)
{
    for (task *t = tasks; t < tasks + MC_FIBERS * MAX_STEPS; t++)
        if (t->loop == loop && (t->state == HOLDING || (t->guard && t->state != ENDED && loop->kind != 'X')))
            return 1;
    return 0;
}

static int are_others_ended(void *unused)
{
    (void)unused;
    return actors_ended();
}

static int bell_is_rung(void *bell_) { return ((bell *)bell_)->rings > 0; }

void run_loop(void *argument)
{
    actor *loop = argument;
    lots_mailbox *m = loop->mailbox;
    int from = (int)(loop - the.actors) * MAX_STEPS, left, closing = loop->kind == 'X' || loop->kind == 'D';
    for (int i = 0; i < loop->count; i++) {
        task *t = &tasks[from + i];
        *t = (task){.step = &loop->steps[i], .loop = loop, .mode = loop->steps[i].modes[0], .at = loop->steps[i].changes};
        if (t->step->queue == 'P')
            t->op = queue_op(m, (uint64_t)(from + i));
        else if (t->step->queue == 'S')
            t->op = park_op(m, (uint64_t)(from + i));
        else if (!t->step->sync && !t->step->queue)
            t->op = new_op(t->step->modes[0], m, (uint64_t)(from + i));
        schedule(t, SCHEDULED);
    }
    for (;;) {
        task *t = first_due(loop), *victims[MAX_STEPS];
        int n = 0, c;
        mc_point("a turn of the loop", loop);
        left = 0;
        for (task *u = tasks + from; u < tasks + from + loop->count; u++) {
            left += u->state != ENDED;
            if (may_interrupt(u) && u->due <= turns)
                victims[n++] = u;
        }
        if (!left)
            break;
        if (closing && !holds_any(loop) && mc_choose(2, "the loop ends"))
            break;
        /* A task may be cancelled before whatever comes next: the drain, or another task's turn. */
        if (n && (c = mc_choose(n + 1, "cancel"))) {
            interrupt_task(victims[c - 1]);
            continue;
        }
        if (bell_is_rung(&m->bell) && !(t && mc_choose(2, "the bell is answered later"))) {
            drain(m, 1);
        } else if (t) {
            run_task(t);
        } else {
            mc_sleep_until(bell_is_rung, &m->bell, n || closing, "the loop");
            if (bell_is_rung(&m->bell))
                continue;
            if (n)
                interrupt_task(victims[mc_choose(n, "cancel")]);
            else
                break; /* closed in its sleep */
        }
    }
    if (loop->kind == 'D' && left)
        mc_sleep_until(are_others_ended, NULL, 0, "dead");
    for (task *u = tasks + from; u < tasks + from + loop->count; u++)
        if (u->state == AWAITING)
            mc_did(V_CLOSE);
    lots_mailbox_close(m);
    loop->ended = 1;
    for (task *u = tasks + from; u < tasks + from + loop->count; u++) {
        if (u->state == ENDED)
            continue;
        if (u->step->sync || (u->step->queue && u->step->queue != 'S'))
            continue;
        if (lots_op_state(u->op) == LOTS_PENDING) { /* it begins only now, on a closed loop: no queueing */
            int answer = lots_op_poll(u->op);
            if (answer == LOTS_READY) {
                task_got(u);
                release(u->op, u->mode, 0, NULL);
            } else {
                must_answer(answer, LOTS_CLOSED, "poll of a task of a closed loop");
            }
        }
        task_closed(u);
        end_task(u);
    }
    if (m->first)
        mc_fail("mail is left in a closed mailbox");
    lots_mailbox_free(m);
}

void actors_reset(void)
{
    turns = 0;
    memset(tasks, 0, sizeof tasks);
}
