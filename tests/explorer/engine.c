/* Stateless depth-first search over fibers.
 *
 * An execution is decided by a string of choices: which fiber goes on, whether a timeout fires now, whether a weak CAS
 * fails. It runs from the start each time; afterwards the last choice that has an alternative left is advanced. Scheduling
 * is decided inside the running fiber, so going on with the same one costs no switch. Switching away from a fiber that
 * could go on costs one of the bound's preemptions (Musuvathi and Qadeer, iterative context bounding); switching away from
 * one that sleeps or ended is free.
 *
 * With `random` every choice is drawn instead, and nothing is advanced: for programs too big to exhaust. */
#include "explorer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STACK (64 * 1024)
#define MAX_STEPS 20000

typedef struct fiber {
    void *sp;
    char *stack;
    const char *name;
    void (*run)(void *);
    void *argument;
    int done, timed, eager; /* eager (PCT): its time may come although others could run */
    int (*ready)(void *); /* NULL: it can go on */
    void *ready_argument;
} fiber;

static fiber fibers[MC_FIBERS];
int mc_current, mc_tracing;
static int fiber_count, preemptions_left, cas_left, fair_left, stale_left;
static const mc_limits *now;
static uint64_t dice, longest;
static int priority[MC_FIBERS], lowered; /* PCT: the highest that can run does */
static uint64_t change_at[MC_FIBERS];    /* PCT: the step at which who runs goes to the end of the line */
static uint8_t chosen[MC_CHOICES], alternatives[MC_CHOICES];
static int choice_at, choice_count;
static uint64_t steps, steps_now;
static void *scheduler_sp;
static char violation[512];
void (*mc_every_step)(void);

/* Save the callee-saved registers and the stack, go on with another. */
void mc_switch(void **save, void *load);
#if defined(__x86_64__)
__asm__(".text\n.globl mc_switch\nmc_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
#define SAVED 6
#elif defined(__aarch64__)
__asm__(".text\n.globl mc_switch\nmc_switch:\n"
        "sub sp,sp,#160\n"
        "stp x19,x20,[sp,#0]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\nstp x27,x28,[sp,#64]\n"
        "stp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
        "mov x9,sp\nstr x9,[x0]\nmov sp,x1\n"
        "ldp x19,x20,[sp,#0]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\nldp x27,x28,[sp,#64]\n"
        "ldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
        "add sp,sp,#160\nret\n");
#else
#error "mc_switch needs a few instructions of assembly for this machine"
#endif

static jmp_buf after_check;
static int in_check;

static void to_scheduler(void)
{
    void *ignored;
    if (in_check)
        longjmp(after_check, 1);
    mc_switch(&ignored, scheduler_sp);
    abort();
}

void mc_fail(const char *format, ...)
{
    va_list rest;
    va_start(rest, format);
    vsnprintf(violation, sizeof violation, format, rest);
    va_end(rest);
    if (mc_tracing)
        printf("      !! %s\n", violation);
    to_scheduler();
    abort();
}

void mc_print(const char *format, ...)
{
    va_list rest;
    printf("  %5llu  %-10s ", (unsigned long long)steps_now, fibers[mc_current].name);
    va_start(rest, format);
    vprintf(format, rest);
    va_end(rest);
    putchar('\n');
}

int mc_stale_budget(void) { return now->stale; }

static int drawn(int n)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (int)((dice >> 20) % (uint64_t)n);
}

/* The next choice: as prescribed, or `fresh`. */
static int choose(int n, int fresh, const char *what)
{
    int c;
    if (choice_at == MC_CHOICES)
        mc_fail("more than %d choices: a livelock?", MC_CHOICES);
    if (choice_at == choice_count) {
        chosen[choice_count] = (uint8_t)fresh;
        alternatives[choice_count++] = (uint8_t)n;
    }
    c = chosen[choice_at++];
    if (mc_tracing && what)
        mc_note("choice %s: %d of %d", what, c, n);
    return c;
}

int mc_choose(int n, const char *what) { return n < 2 ? 0 : choose(n, now->random ? drawn(n) : 0, what); }

static int is_ready(const fiber *f) { return !f->done && (!f->ready || f->ready(f->ready_argument)); }

int mc_all_sleep_but(int who)
{
    for (int i = 0; i < fiber_count; i++)
        if (i != who && is_ready(&fibers[i]))
            return 0;
    return 1;
}

static void switch_to(int next)
{
    int before = mc_current;
    if (next == before)
        return;
    mc_current = next;
    mc_switch(&fibers[before].sp, fibers[next].sp);
}

/* Who goes on: the fibers that can, then those whose time may come; `first`, if any of them, is choice 0. */
static int candidates(int *out, int first)
{
    int n = 0;
    if (first >= 0)
        out[n++] = first;
    for (int timed = 0; timed < 2; timed++)
        for (int i = 0; i < fiber_count; i++)
            if (i != first && !fibers[i].done &&
                (timed ? fibers[i].timed && !is_ready(&fibers[i]) : is_ready(&fibers[i])))
                out[n++] = i;
    return n;
}

static int by_priority(const int *who, int n)
{
    int best = -1, any_ready = 0;
    for (int i = 0; i < now->pct && i < MC_FIBERS; i++)
        if (steps_now == change_at[i])
            priority[mc_current] = -++lowered;
    for (int i = 0; i < n; i++)
        any_ready |= is_ready(&fibers[who[i]]);
    for (int i = 0; i < n; i++)
        if ((!any_ready || is_ready(&fibers[who[i]]) || fibers[who[i]].eager) &&
            (best < 0 || priority[who[i]] > priority[who[best]]))
            best = i;
    return best;
}

static int who_goes_on(const int *who, int n)
{
    return n < 2 ? 0 : choose(n, now->pct ? by_priority(who, n) : now->random ? drawn(n) : 0, NULL);
}

static void step(const char *what, const void *where)
{
    steps++;
    if (++steps_now > MAX_STEPS)
        mc_fail("more than %d steps: a livelock", MAX_STEPS);
    if (mc_every_step)
        mc_every_step();
    if (what)
        mc_note("%s %p", what, where);
}

void mc_point(const char *what, const void *where)
{
    int who[MC_FIBERS], n, c;
    if (preemptions_left > 0 && fiber_count > 1) {
        n = candidates(who, mc_current);
        c = who_goes_on(who, n);
        if (c) {
            preemptions_left--;
            switch_to(who[c]);
        }
    }
    step(what, where);
}

/* The current fiber cannot go on: somebody else must. */
static void give_way(void)
{
    int who[MC_FIBERS], n = candidates(who, -1);
    if (n) {
        switch_to(who[who_goes_on(who, n)]);
        return;
    }
    for (int i = 0; i < fiber_count; i++)
        if (!fibers[i].done)
            mc_fail("lost wakeup: %s sleeps and nobody can run", fibers[i].name);
    to_scheduler(); /* all are done */
}

void mc_sleep_until(int (*ready)(void *), void *argument, int timed, const char *what)
{
    fiber *f = &fibers[mc_current];
    mc_note("sleeps: %s", what);
    f->ready = ready;
    f->ready_argument = argument;
    f->timed = timed;
    f->eager = now->pct && drawn(2);
    give_way();
    f->ready = NULL;
    f->timed = 0;
    step(NULL, NULL);
    mc_note("goes on: %s", what);
}

void mc_end(void)
{
    fibers[mc_current].done = 1;
    give_way();
    abort();
}

static void fiber_main(void)
{
    fibers[mc_current].run(fibers[mc_current].argument);
    mc_end();
}

void mc_spawn(const char *name, void (*run)(void *), void *argument)
{
    fiber *f = &fibers[fiber_count++];
    char *stack = f->stack ? f->stack : malloc(STACK);
    void **sp = (void **)(((uintptr_t)stack + STACK) & ~(uintptr_t)15);
    if (fiber_count > MC_FIBERS || !stack)
        abort();
    *f = (fiber){.stack = stack, .name = name, .run = run, .argument = argument};
#if defined(__x86_64__)
    *--sp = NULL; /* keeps the alignment that a call would leave */
    *--sp = (void *)fiber_main;
    sp -= SAVED;
    memset(sp, 0, SAVED * sizeof *sp);
#else
    sp -= 20;
    memset(sp, 0, 20 * sizeof *sp);
    sp[11] = (void *)fiber_main; /* x30 */
#endif
    f->sp = sp;
}

static void draw_priorities(void)
{
    lowered = 0;
    for (int i = 0; i < fiber_count; i++) { /* a random permutation of 1 ... fiber_count */
        int j = drawn(i + 1);
        priority[i] = priority[j];
        priority[j] = i + 1;
    }
    for (int i = 0; i < now->pct && i < MC_FIBERS; i++)
        change_at[i] = (uint64_t)drawn(longest ? (int)longest : 100);
}

/* One execution, from the start. */
static void execute(void (*setup)(void), void (*check)(void), const mc_limits *limits)
{
    int who[MC_FIBERS], n;
    now = limits;
    fiber_count = 0;
    choice_at = 0;
    steps_now = 0;
    violation[0] = 0;
    preemptions_left = limits->preemptions;
    cas_left = limits->cas_failures;
    fair_left = limits->fair;
    stale_left = limits->stale;
    mc_current = 0;
    setup();
    if (limits->pct)
        draw_priorities();
    n = candidates(who, -1);
    mc_current = who[who_goes_on(who, n)];
    mc_switch(&scheduler_sp, fibers[mc_current].sp);
    in_check = 1;
    stale_left = 0;
    if (!violation[0] && !setjmp(after_check))
        check();
    in_check = 0;
}

static int advance(void)
{
    choice_count = choice_at < choice_count ? choice_at : choice_count;
    while (choice_count && chosen[choice_count - 1] + 1 == alternatives[choice_count - 1])
        choice_count--;
    if (!choice_count)
        return 0;
    chosen[choice_count - 1]++;
    return 1;
}

void mc_report(mc_result *r)
{
    int n = choice_at < (int)sizeof r->replay - 1 ? choice_at : (int)sizeof r->replay - 1;
    memcpy(r->violation, violation, sizeof r->violation);
    while (n && !chosen[n - 1])
        n--; /* zeros at the end say nothing */
    for (int i = 0; i < n; i++)
        r->replay[i] = (char)('0' + chosen[i]);
    r->replay[n] = 0;
}

double mc_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

mc_result mc_explore(void (*setup)(void), void (*check)(void), const mc_limits *limits)
{
    mc_result r = {0};
    choice_count = 0;
    steps = 0;
    do {
        if (limits->random) {
            choice_count = 0;
            dice = (limits->seed * 1000003 + r.executions + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        }
        execute(setup, check, limits);
        r.executions++;
        longest = steps_now > longest ? steps_now : longest;
        if (violation[0]) {
            mc_report(&r);
            break;
        }
        if (!limits->random && !advance()) {
            r.exhausted = 1;
            break;
        }
        if (limits->seconds > 0 && r.executions % 1024 == 0 && mc_seconds() > limits->seconds)
            break;
    } while (!limits->executions || r.executions < limits->executions);
    r.steps = steps;
    return r;
}

mc_result mc_replay(void (*setup)(void), void (*check)(void), const mc_limits *limits, const char *choices)
{
    mc_result r = {.executions = 1};
    choice_count = 0;
    for (; *choices && choice_count < MC_CHOICES; choices++) {
        chosen[choice_count] = (uint8_t)(*choices - '0');
        alternatives[choice_count++] = 255;
    }
    mc_tracing = 1;
    execute(setup, check, limits);
    mc_tracing = 0;
    if (violation[0])
        mc_report(&r);
    return r;
}

/* A budgeted choice: yes costs one of what is left. */
static int spend(int *left, const char *what)
{
    if (*left <= 0 || !(now->random ? choose(2, !drawn(8), what) : mc_choose(2, what)))
        return 0;
    --*left;
    return 1;
}

int mc_spend_cas_failure(void) { return spend(&cas_left, "the weak CAS fails"); }
int mc_spend_fair(void) { return spend(&fair_left, "the fairness timer is due"); }

/* 0: the last store; up to n - 1: how many before it. */
int mc_spend_stale(int n)
{
    int c;
    if (stale_left <= 0)
        return 0;
    c = now->random ? choose(n, drawn(8) ? 0 : drawn(n), "a stale load") : mc_choose(n, "a stale load");
    stale_left -= c != 0;
    return c;
}
