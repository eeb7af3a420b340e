/* What is done with a guard before it is released: its mode changes, or it is let go of to wait for the condition. Threads do
 * it in one go; a task does one change a turn, and may be cancelled, or its loop closed, wherever it waits. */
#include "programs.h"
#include "verbs.h"

#include <string.h>

/* --- up and down --------------------------------------------------------------------------------------------------------- */

static lots_op *upgrade_begins(lots_op *guard, char how, lots_mailbox *mailbox, uint64_t cookie)
{
    must_answer(lots_op_change(guard), LOTS_READY, "change");
    mc_rd(&the.datum);
    the.upgradables--;
    the.upgrading++;
    if (how == '~')
        mc_did(V_TRY_UPGRADE_FOR);
    return new_op(LOTS_UPGRADE, mailbox, cookie);
}

static void upgrade_ends(lots_op *guard, uint32_t *mode, lots_op *up, int ready)
{
    the.upgrading--;
    ghost_in(ready ? LOTS_UPGRADE : LOTS_UPGRADABLE);
    if (ready)
        lots_op_lost(up); /* what it got is the guard's now */
    end_op(up);
    *mode = ready ? LOTS_WRITE : LOTS_UPGRADABLE;
    lots_op_changed(guard, *mode);
}

static void try_upgrade(lots_op *guard, uint32_t *mode)
{
    lots_op *up = upgrade_begins(guard, '?', NULL, 0);
    int answer = lots_op_try(up);
    mc_did(V_TRY_UPGRADE);
    if (answer != LOTS_READY) {
        must_answer(answer, LOTS_PARKED, "try_upgrade");
        must_answer(lots_op_cancel(up, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN, "cancel");
    }
    upgrade_ends(guard, mode, up, answer == LOTS_READY);
}

static void downgrade(lots_op *guard, uint32_t *mode, uint32_t to, lots_mailbox *own)
{
    int answer;
    ghost_out(*mode);
    if (*mode == LOTS_UPGRADABLE)
        the.readers++; /* it keeps its share */
    else
        the.stepping = 1 + (int)to;
    answer = lots_op_downgrade(guard, to, own);
    if (answer & LOTS_MAIL)
        drain(own, 0);
    must_answer(answer & ~LOTS_MAIL, LOTS_READY, "downgrade");
    if (*mode != LOTS_UPGRADABLE) {
        the.stepping = 0;
        ghost_in(to);
    }
    *mode = to;
    mc_did(V_DOWNGRADE);
}

/* --- the condition ------------------------------------------------------------------------------------------------------- */

/* Queued first, and only then is the lock let go of. */
static lots_op *wait_begins(lots_op *guard, uint32_t mode, lots_mailbox *mailbox, uint64_t cookie, lots_mailbox *own)
{
    lots_op *op = new_op(mode, mailbox, cookie);
    lots_op_expect(op, condition_key());
    must_answer(lots_op_poll(op), LOTS_PARKED, "poll of who waits for a notification");
    release(guard, mode, 0, own);
    end_op(guard);
    return op;
}

/* It left without the lock. A notification that came before its cancel is for another. */
static void wait_left(lots_op *op, int cancelled, lots_mailbox *own)
{
    int notified = lots_op_notified(op);
    if (cancelled)
        mc_did(V_WAIT_CANCELLED);
    wait_ended(op);
    end_op(op);
    if (cancelled && notified)
        notice('1', own);
}

static void did_wait(char how) { mc_did(how == ',' ? V_WAIT_FOR : V_WAIT); }

/* --- threads ------------------------------------------------------------------------------------------------------------- */

static int64_t deadline(char how)
{
    return how == '~' || how == ',' ? 0 : how == '%' || how == ';' ? 1 : LOTS_NEVER;
}

/* 1: it has what it waited for. Who was interrupted may go on waiting when its handlers are through. */
static int sleep_for(lots_op *op, char how, lots_mailbox *own)
{
    int answer = lots_op_wait(op, deadline(how));
    if (answer == LOTS_INTERRUPTED) {
        mc_point("signal handlers", op);
        if (mc_choose(2, "it goes on waiting")) {
            answer = lots_op_wait(op, LOTS_NEVER);
        } else {
            answer = lots_op_cancel(op, LOTS_BY_CANCEL, own);
            if (answer & LOTS_MAIL)
                drain(own, 0);
            must_answer(answer & ~LOTS_MAIL, LOTS_WITHDRAWN, "cancel");
            mc_did(V_CANCEL);
            return 0;
        }
    }
    if (deadline(how) != 0 || answer != LOTS_TIMED_OUT)
        must_answer(answer, LOTS_READY, "wait");
    return answer == LOTS_READY;
}

static lots_op *acquire_again(uint32_t mode)
{
    lots_op *op = new_op(mode, NULL, 0);
    must_answer(lots_op_wait(op, LOTS_NEVER), LOTS_READY, "wait");
    ghost_first_come(op);
    ghost_in(mode);
    return op;
}

static lots_op *wait_as_thread(lots_op *guard, uint32_t mode, char how, lots_mailbox *own)
{
    lots_op *op = wait_begins(guard, mode, NULL, 0, own);
    did_wait(how);
    if (sleep_for(op, how, own)) {
        wait_ended(op);
        ghost_first_come(op);
        ghost_in(mode);
        return op;
    }
    wait_left(op, how == ';', own);
    return acquire_again(mode);
}

static lots_op *change(lots_op *guard, uint32_t *mode, char how, lots_mailbox *own)
{
    lots_op *up;
    switch (how) {
    case '^':
    case '~':
    case '%':
        up = upgrade_begins(guard, how, NULL, 0);
        upgrade_ends(guard, mode, up, sleep_for(up, how, own));
        return guard;
    case '?':
        try_upgrade(guard, mode);
        return guard;
    case '>':
    case '<':
        downgrade(guard, mode, how == '>' ? LOTS_READ : LOTS_UPGRADABLE, own);
        return guard;
    case '=':
        release(guard, *mode, 1, own);
        end_op(guard);
        mc_did(V_BUMP);
        return acquire_again(*mode);
    case '1':
    case '*':
        notice(how, own);
        return guard;
    default:
        return wait_as_thread(guard, *mode, how, own);
    }
}

/* What an upgrade that came to nothing does not lead to. */
static int fits(uint32_t mode, char how)
{
    return strchr("^~%?", how) ? mode == LOTS_UPGRADABLE : how == '<' ? mode == LOTS_WRITE : how != '>' || mode == LOTS_WRITE || mode == LOTS_UPGRADABLE;
}

lots_op *change_as_thread(lots_op *guard, uint32_t *mode, const char *changes, lots_mailbox *own)
{
    for (; *changes; changes++) {
        if (fits(*mode, *changes))
            guard = change(guard, mode, *changes, own);
        mc_point("holds", guard);
    }
    return guard;
}

/* --- tasks --------------------------------------------------------------------------------------------------------------- */

void change_task(task *t)
{
    lots_mailbox *m = t->loop->mailbox;
    char how = *t->at++;
    if (!fits(t->mode, how)) {
        schedule(t, HOLDING);
    } else if (strchr("^~%", how)) {
        t->op = upgrade_begins(t->guard, how, m, task_cookie(t));
        t->doing = how;
        schedule(t, SCHEDULED);
    } else if (strchr(".,;", how)) {
        t->state = AWAITING; /* it may have mail before its guard is let go of */
        t->doing = how;
        t->op = wait_begins(t->guard, t->mode, m, task_cookie(t), m);
        t->guard = NULL;
        did_wait(how);
    } else if (how == '=') {
        release(t->guard, t->mode, 1, m);
        end_op(t->guard);
        mc_did(V_BUMP);
        t->guard = NULL;
        t->op = new_op(t->mode, m, task_cookie(t));
        t->doing = how;
        schedule(t, SCHEDULED);
    } else {
        t->op = t->guard = change(t->guard, &t->mode, how, m); /* one that never waits */
        schedule(t, HOLDING);
    }
}

void task_got(task *t)
{
    if (t->doing && strchr("^~%", t->doing)) {
        upgrade_ends(t->guard, &t->mode, t->op, 1);
        t->op = t->guard;
    } else {
        if (t->doing && strchr(".,;", t->doing))
            wait_ended(t->op);
        ghost_first_come(t->op);
        ghost_in(t->mode);
        t->guard = t->op;
    }
    t->doing = 0;
    schedule(t, HOLDING);
}

int task_withdrawn(task *t, int cancelled)
{
    lots_mailbox *m = t->loop->mailbox;
    if (!t->doing)
        return 0;
    if (strchr("^~%", t->doing)) {
        upgrade_ends(t->guard, &t->mode, t->op, 0);
        t->op = t->guard;
        t->doing = 0;
        schedule(t, HOLDING);
        return 1;
    }
    wait_left(t->op, cancelled, m);
    t->op = new_op(t->mode, m, task_cookie(t));
    t->doing = '='; /* whatever comes now, it gets its lock back first */
    schedule(t, SCHEDULED);
    return 1;
}

int change_ends_by(const task *t)
{
    if (!t->doing)
        return t->step->timed ? 't' : t->step->cancelled ? 'c' : 0;
    return t->doing == '~' || t->doing == ',' ? 't' : t->doing == '%' || t->doing == ';' ? 'c' : 0;
}

void task_closed(task *t)
{
    if (t->step->queue) {
        park_ended(t->op, LOTS_CLOSED);
    } else if (t->doing && strchr(".,;", t->doing)) {
        wait_ended(t->op);
    } else if (t->doing && strchr("^~%", t->doing)) {
        upgrade_ends(t->guard, &t->mode, t->op, 0);
        release(t->guard, t->mode, 0, NULL);
        t->op = t->guard;
    }
}
