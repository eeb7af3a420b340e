/* Small programs over the core.
 *
 *   program := fiber ('|' fiber)*
 *   fiber   := step+          a thread: its steps one after the other
 *            | 'L' step+      an event loop: each step is one task, all of them started at once
 *            | 'X' step+      an event loop that is closed at some step, with whatever then waits there
 *            | 'D' step+      an event loop that stops at some step and never runs again; closed when the others ended
 *            | 'K'            the keeper, at any time: every wake that was not taken up is late
 *   step    := prefix* mode ('+' mode)*      '+': while holding, take the same lock once more
 *   mode    := 'R' read | 'r' read_recursive | 'W' write | 'M' mutex
 *   prefix  := 't' may time out at any step | 'c' may be interrupted (thread) or cancelled (task) at any step
 *            | 's' (in a loop) the loop's own thread acquires, blocking the running loop | 'f' released fairly
 *              'h' (a thread) holds until all fibers without an 'h' have ended | 'q' (a task) releases without a turn between
 *              'i' (a thread) a signal may come while it waits; its handler takes the lock in the mode after the '+'
 *
 * A task that has the lock lets its loop go round once before it releases. Every acquisition, however it ends, is checked
 * against the ghosts: writers alone, readers with readers, answers that agree with the state. */
#include "programs.h"

#include "mailbox.h"
#include "parking_lot.h"
#include "revoke.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 4
#define MAX_NESTED 2
#define POISON 0xDD

void mc_reset_seam(const void *word0, const void *word1);

typedef struct step {
    uint32_t modes[MAX_NESTED];
    int nested, timed, cancelled, sync, fair, hold, quick, handler;
} step;

typedef struct actor {
    char kind; /* T, L, X, D, K */
    step steps[MAX_STEPS];
    int count;
    lots_mailbox *mailbox;
    int ended;
} actor;

static actor actors[MC_FIBERS];
static int actor_count;
static lots_word word;
static int readers, writers, ops_open; /* the ghosts */
static lots_op ops[MC_FIBERS * MAX_STEPS * MAX_NESTED];
static int op_count;

static void mistake(const char *text, const char *at)
{
    fprintf(stderr, "explorer: program '%s': cannot read '%s'\n", text, at);
    exit(2);
}

void program_load(const char *text)
{
    const char *p = text;
    actor_count = 0;
    do {
        actor *a = &actors[actor_count++];
        *a = (actor){.kind = 'T'};
        while (*p == ' ' || *p == '|')
            p++;
        if (strchr("LXDK", *p))
            a->kind = *p++;
        for (; *p && *p != '|'; p++) {
            step *s = &a->steps[a->count];
            if (*p == ' ')
                continue;
            if (a->count == MAX_STEPS || actor_count == MC_FIBERS)
                mistake(text, p);
            for (; islower((unsigned char)*p) && *p != 'r'; p++)
                *(*p == 't' ? &s->timed : *p == 'c' ? &s->cancelled : *p == 's' ? &s->sync : *p == 'h' ? &s->hold : *p == 'q' ? &s->quick
                  : *p == 'i' ? &s->handler : &s->fair) = 1;
            for (;; p++) {
                const char *mode = strchr("RrWM", *p);
                if (!*p || !mode || s->nested == MAX_NESTED)
                    mistake(text, p);
                s->modes[s->nested++] = (uint32_t)(mode - "RrWM");
                if (*++p != '+')
                    break;
            }
            p--;
            a->count++;
        }
    } while (*p);
}

/* --- ghosts -------------------------------------------------------------------------------------------------------- */

static int is_shared(uint32_t mode) { return mode == LOTS_READ || mode == LOTS_READ_RECURSIVE; }

static void ghost_in(uint32_t mode)
{
    if (writers || (!is_shared(mode) && readers))
        mc_fail("exclusion: mode %u got in beside %d readers and %d writers", mode, readers, writers);
    *(is_shared(mode) ? &readers : &writers) += 1;
}

static void ghost_out(uint32_t mode) { *(is_shared(mode) ? &readers : &writers) -= 1; }

static void expect(int what, int wanted, const char *verb)
{
    if (what != wanted)
        mc_fail("%s answered %d, not %d", verb, what, wanted);
}

static lots_op *new_op(uint32_t mode, lots_mailbox *mailbox, uint64_t cookie)
{
    lots_op *op = &ops[op_count++];
    lots_op_init(op, &word, mode, mailbox, cookie, (uint64_t)mc_self());
    ops_open++;
    return op;
}

/* The op's memory is free now: nobody may touch it again. */
static void end_op(lots_op *op)
{
    expect(lots_op_cancel(op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE, "cancel of an op that ended");
    expect(lots_op_release(op, 0, NULL), LOTS_MISUSE, "release of an op that ended");
    memset(op, POISON, sizeof *op);
    ops_open--;
}

/* --- threads ------------------------------------------------------------------------------------------------------- */

static int drain(lots_mailbox *m, int rung);

static void release(lots_op *op, uint32_t mode, int fair, lots_mailbox *own)
{
    int answer;
    ghost_out(mode);
    answer = lots_op_release(op, fair, own);
    expect(answer & ~LOTS_MAIL, LOTS_READY, "release");
    if (answer & LOTS_MAIL)
        drain(own, 0);
}

static int may_let_go(void *unused)
{
    (void)unused;
    for (int i = 0; i < actor_count; i++)
        if (!actors[i].steps[0].hold && actors[i].kind != 'K' && !actors[i].ended)
            return 0;
    return 1;
}

static void hold_as_thread(const step *s, int depth, lots_mailbox *own)
{
    uint32_t mode = s->modes[depth];
    lots_op *op = new_op(mode, NULL, 0);
    int answer = lots_op_wait(op, s->timed ? 0 : s->cancelled || s->handler ? -1 : LOTS_NEVER);
    if (answer == LOTS_INTERRUPTED && s->handler) {
        const step in_handler = {.modes = {s->modes[1]}, .nested = 1};
        hold_as_thread(&in_handler, 0, own);
        answer = lots_op_wait(op, LOTS_NEVER);
    }
    if (answer == LOTS_INTERRUPTED) {
        answer = lots_op_cancel(op, LOTS_BY_CANCEL, own);
        if (answer & LOTS_MAIL)
            drain(own, 0);
        expect(answer & ~LOTS_MAIL, LOTS_WITHDRAWN, "cancel");
    } else if (answer == LOTS_READY) {
        ghost_in(mode);
        mc_point("holds", op);
        if (s->hold)
            mc_sleep_until(may_let_go, NULL, 0, "holding");
        if (depth + 1 < s->nested && !s->handler)
            hold_as_thread(s, depth + 1, own);
        release(op, mode, s->fair, own);
    } else {
        expect(answer, s->timed ? LOTS_TIMED_OUT : LOTS_READY, "wait");
    }
    end_op(op);
}

static void run_thread(void *argument)
{
    actor *a = argument;
    for (int i = 0; i < a->count; i++)
        hold_as_thread(&a->steps[i], 0, NULL);
    a->ended = 1;
}

static int others_ended(void)
{
    for (int i = 0; i < actor_count; i++)
        if (strchr("TLX", actors[i].kind) && !actors[i].ended)
            return 0;
    return 1;
}

static int keeper_has_work(void *unused)
{
    (void)unused;
    return others_ended() || lot_bucket_of((uintptr_t)&word)->woken;
}

static void run_keeper(void *argument)
{
    (void)argument;
    while (!others_ended()) {
        mc_sleep_until(keeper_has_work, NULL, 0, "the keeper");
        revoke_late(INT64_MAX, 1);
    }
}

/* --- event loops --------------------------------------------------------------------------------------------------- */

#define SCHEDULED 1
#define AWAITING 2
#define HOLDING 3
#define ENDED 4

typedef struct task {
    const step *step;
    actor *loop;
    lots_op *op;
    int state;
    int due; /* its place in the loop's ready queue */
} task;

static task tasks[MC_FIBERS * MAX_STEPS];
static int turns;

static void schedule(task *t, int state)
{
    t->state = state;
    t->due = ++turns;
}

static int drain(lots_mailbox *m, int rung)
{
    uint64_t cookies[MAX_STEPS];
    size_t n = lots_mailbox_drain(m, cookies, MAX_STEPS, rung);
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

/* Ends the wait of a task: by cancellation, or by its timer. */
static void interrupt_task(task *t)
{
    uint32_t why = t->step->timed ? LOTS_BY_TIMEOUT : LOTS_BY_CANCEL;
    int answer = lots_op_cancel(t->op, why, t->loop->mailbox);
    if (answer & LOTS_MAIL)
        drain(t->loop->mailbox, 0);
    answer &= ~LOTS_MAIL;
    if (answer == LOTS_READY && t->step->timed) {
        ghost_in(t->step->modes[0]);
        schedule(t, HOLDING);
        return;
    }
    expect(answer, LOTS_WITHDRAWN, "cancel");
    end_task(t);
}

static void run_task(task *t)
{
    int answer;
    if (t->step->sync) { /* a callback that blocks the running loop */
        t->state = ENDED;
        for (task *u = tasks; u < tasks + MC_FIBERS * MAX_STEPS; u++)
            if (u->loop == t->loop && u->state == HOLDING)
                return; /* it could never end; the front raises DeadlockError */
        lots_mailbox_block(t->loop->mailbox);
        hold_as_thread(t->step, 0, t->loop->mailbox);
        lots_mailbox_unblock(t->loop->mailbox);
    } else if (t->state == HOLDING) {
        release(t->op, t->step->modes[0], t->step->fair, t->loop->mailbox);
        end_task(t);
    } else if ((answer = lots_op_poll(t->op)) == LOTS_READY) {
        ghost_in(t->step->modes[0]);
        schedule(t, HOLDING);
        if (t->step->quick)
            run_task(t);
    } else {
        expect(answer, LOTS_PARKED, "poll");
        t->state = AWAITING;
    }
}

static int may_interrupt(const task *t)
{
    return (t->step->cancelled || t->step->timed) && (t->state == AWAITING || t->state == SCHEDULED);
}

static task *first_due(const actor *loop)
{
    task *first = NULL;
    for (task *t = tasks; t < tasks + MC_FIBERS * MAX_STEPS; t++)
        if (t->loop == loop && (t->state == SCHEDULED || t->state == HOLDING) && (!first || t->due < first->due))
            first = t;
    return first;
}

static int holds_any(const actor *loop)
{
    for (task *t = tasks; t < tasks + MC_FIBERS * MAX_STEPS; t++)
        if (t->loop == loop && t->state == HOLDING)
            return 1;
    return 0;
}

static int are_others_ended(void *unused)
{
    (void)unused;
    return others_ended();
}

static int bell_is_rung(void *bell_) { return ((bell *)bell_)->rings > 0; }

static void run_loop(void *argument)
{
    actor *loop = argument;
    lots_mailbox *m = loop->mailbox;
    int from = (int)(loop - actors) * MAX_STEPS, left, closing = loop->kind == 'X' || loop->kind == 'D';
    for (int i = 0; i < loop->count; i++) {
        task *t = &tasks[from + i];
        *t = (task){.step = &loop->steps[i], .loop = loop};
        if (!t->step->sync)
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
            if (may_interrupt(u) && u->due <= turns && (u->state == AWAITING || lots_op_state(u->op) != LOTS_PENDING))
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
    lots_mailbox_close(m);
    loop->ended = 1;
    for (task *u = tasks + from; u < tasks + from + loop->count; u++) {
        if (u->state == ENDED)
            continue;
        if (!u->step->sync && lots_op_state(u->op) == LOTS_PENDING) { /* it begins only now, on a closed loop: no queueing */
            int answer = lots_op_poll(u->op);
            if (answer == LOTS_READY) {
                ghost_in(u->step->modes[0]);
                release(u->op, u->step->modes[0], 0, NULL);
            } else {
                expect(answer, LOTS_CLOSED, "poll of a task of a closed loop");
            }
        }
        if (!u->step->sync)
            end_task(u);
    }
    if (m->first)
        mc_fail("mail is left in a closed mailbox");
    lots_mailbox_free(m);
}

/* --- one execution ------------------------------------------------------------------------------------------------- */

/* What holds between any two steps: W1 and W3 as far as one word can show them, and a reader count that somebody holds. */
static void check_word(void)
{
    uint64_t w = word.bits, count = w >> 4;
    if (count > (uint64_t)op_count)
        mc_fail("W1: impossible word %#llx: %llu readers of %d", (unsigned long long)w, (unsigned long long)count, op_count);
    if ((w & WRITER) && (w & UPGRADABLE))
        mc_fail("W3: WRITER and UPGRADABLE: %#llx", (unsigned long long)w);
    if ((uint64_t)readers > count || (writers && !(w & WRITER)))
        mc_fail("the word %#llx denies %d readers or %d writers that are in", (unsigned long long)w, readers, writers);
}

/* A queue is in the order of arrival, and its links agree. */
static void check_queue(const lots_waiter *head)
{
    const lots_waiter *w = head;
    for (; w && w->next; w = w->next)
        if (w->next->prev != w || w->next->ticket <= w->ticket)
            mc_fail("a queue is out of order, or its links disagree");
    if (head && (head->prev || head->tail != w))
        mc_fail("the head of a queue does not know its tail");
}

void mc_bucket_is_consistent(lots_bucket *b)
{
    int enter = lot_queue(b, lot_key(&word, PHASE_ENTER)) != NULL, drain_ = lot_queue(b, lot_key(&word, PHASE_DRAIN)) != NULL;
    check_queue(lot_queue(b, lot_key(&word, PHASE_ENTER)));
    if (BUG_465) /* its logic sets and clears the flags outside the lock, as parking_lot does: only the one direction holds */
        return;
    if (enter != ((word.bits & PARKED) != 0) || drain_ != ((word.bits & WRITER_PARKED) != 0))
        mc_fail("W2: word %#llx, queue to enter %s, queue to drain %s", (unsigned long long)word.bits,
                enter ? "not empty" : "empty", drain_ ? "not empty" : "empty");
}

void program_setup(void)
{
    mc_every_step = check_word;
    mc_reset_seam(&word, NULL);
    word.bits = 0;
    readers = writers = ops_open = op_count = turns = 0;
    memset(tasks, 0, sizeof tasks);
    for (int i = 0; i < actor_count; i++) {
        actor *a = &actors[i];
        int is_loop = strchr("LXD", a->kind) != NULL;
        a->ended = 0;
        static const char *const names[] = {"fiber 0", "fiber 1", "fiber 2", "fiber 3", "fiber 4", "fiber 5", "fiber 6", "fiber 7"};
        if (is_loop) {
            a->mailbox = calloc(1, sizeof *a->mailbox);
            *a->mailbox = (lots_mailbox){.references = {1}};
        }
        mc_spawn(names[i], is_loop ? run_loop : a->kind == 'K' ? run_keeper : run_thread, a);
    }
}

void program_check(void)
{
    if (word.bits)
        mc_fail("W4: everybody has left and the word is %#llx", (unsigned long long)word.bits);
    for (uint32_t mode = 0; mode < LOTS_MODES; mode++)
        if (lots_release(&word, mode, 0, NULL) != LOTS_MISUSE || word.bits)
            mc_fail("W6: a release that nobody was owed changed the word to %#llx", (unsigned long long)word.bits);
    if (lots_for_each(NULL, NULL, 0))
        mc_fail("a waiter is left in the lot");
    if (ops_open)
        mc_fail("%d ops did not end", ops_open);
    for (const unsigned char *p = (unsigned char *)ops; p < (unsigned char *)&ops[op_count]; p++)
        if (*p != POISON)
            mc_fail("an op was touched after its end");
}
