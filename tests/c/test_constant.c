/* What a departure, an arrival and a wake cost does not depend on how many wait (R41). Counted in instructions, by the processor's
 * trap flag: so it is the same on a machine that is busy with something else, and one step more for each waiter would show. */
#define _GNU_SOURCE
#include "stepping.h"

#include <limits.h>
#include <sys/syscall.h>

#define FEW 8
#define MANY 2000
#define SLACK 64 /* instructions: what time it is, and whether the keeper sleeps, may make some difference; a walk makes hundreds */

static lots_word word;
static lots_mailbox *m;
static lots_op ops[MANY];
static int order[MANY];

/* Time stands still: how libc finds out what time it is would be counted. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_MONOTONIC)
        return (int)syscall(SYS_clock_gettime, clock, t);
    *t = (struct timespec){1, 0};
    return 0;
}

static volatile int counted;

#if CAN_STEP
static void on_count(int signal) { (void)signal, counted++; }
#endif

/* How many instructions; 0 on a machine that cannot tell. */
#define COUNTED(what) (counted = 0, ({ STEPS_BEGIN(); what; STEPS_END(); }), counted)

static void at_most(int *most, int count)
{
    if (count > *most)
        *most = count;
}

static void shuffle(int n)
{
    uint32_t random = 41;
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int j, kept = order[i];
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        j = (int)(random % (uint32_t)(i + 1));
        order[i] = order[j];
        order[j] = kept;
    }
}

typedef struct costs {
    int arrival, departure; /* the dearest */
    int wake; /* the cheapest of the first ones: now and then one has to tell the keeper that there is work again */
} costs;

static void wake_all(int n, uint32_t mode)
{
    CHECK_EQ(lots_try(&word, mode), 1);
    for (int i = 0; i < n; i++) {
        task(&ops[i], &word, mode, m, 't');
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_PARKED);
    }
    CHECK_EQ(lots_release(&word, mode, 1, m) & ~LOTS_MAIL, LOTS_READY);
}

static void takes_up_and_releases(lots_op *op)
{
    mail(m, 0);
    CHECK_EQ(lots_op_poll(op), LOTS_READY);
    CHECK_EQ(lots_op_release(op, 1, m) & ~LOTS_MAIL, LOTS_READY);
}

/* Of each the first few are counted, and the last few: where the queue is longest, and where it ends. */
static int is_counted(int i, int n) { return i < FEW || i >= n - FEW; }

static costs queue_of(int n, uint32_t mode, uint32_t why)
{
    costs most = {.wake = INT_MAX};
    int answer;
    CHECK_EQ(lots_try(&word, mode), 1);
    for (int i = 0; i < n; i++) {
        task(&ops[i], &word, mode, m, 't');
        if (is_counted(i, n))
            at_most(&most.arrival, COUNTED(answer = lots_op_poll(&ops[i])));
        else
            answer = lots_op_poll(&ops[i]);
        CHECK_EQ(answer, LOTS_PARKED);
    }
    shuffle(n);
    for (int i = 0; i < n; i++) {
        lots_op *op = &ops[order[i]];
        if (is_counted(i, n))
            at_most(&most.departure, COUNTED(answer = lots_op_cancel(op, why, NULL)));
        else
            answer = lots_op_cancel(op, why, NULL);
        CHECK_EQ(answer, LOTS_WITHDRAWN);
    }
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_release(&word, mode, 0, NULL), LOTS_READY);
    wake_all(n, mode);
    for (int i = 0; i < n; i++) {
        mail(m, 0);
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_READY);
        if (i < FEW - 1) { /* the last one of few wakes nobody */
            if (COUNTED(answer = lots_op_release(&ops[i], 1, m)) < most.wake)
                most.wake = counted;
        } else {
            answer = lots_op_release(&ops[i], 1, m);
        }
        CHECK_EQ(answer & ~LOTS_MAIL, LOTS_READY);
    }
    CHECK_WORD(&word, 0);
    return most;
}

static void no_queue_is_walked(void)
{
    const uint32_t modes[] = {LOTS_MUTEX, LOTS_WRITE, LOTS_FAIR_MUTEX}, whys[] = {LOTS_BY_TIMEOUT, LOTS_BY_CANCEL};
    wake_all(1, LOTS_MUTEX); /* starts the keeper, with its signals blocked: that is not to be counted */
    takes_up_and_releases(&ops[0]);
    for (int mode = 0; mode < 3; mode++)
        for (int why = 0; why < 2; why++) {
            costs few = queue_of(FEW, modes[mode], whys[why]), many = queue_of(MANY, modes[mode], whys[why]);
            CHECK(many.arrival < few.arrival + SLACK);
            CHECK(many.departure < few.departure + SLACK);
            CHECK(many.wake < few.wake + SLACK);
            CHECK(!CAN_STEP || (few.arrival && few.departure && few.wake)); /* it does count */
        }
}

/* The same check of something that does walk: it is noticed. */
static void a_walk_is_noticed(void)
{
    int few = 0, many;
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 1);
    for (int i = 0; i < MANY; i++) {
        if (i == FEW)
            few = COUNTED(lots_for_each(&word, NULL, 0));
        task(&ops[i], &word, LOTS_MUTEX, m, 't');
        CHECK_EQ(lots_op_poll(&ops[i]), LOTS_PARKED);
    }
    many = COUNTED(lots_for_each(&word, NULL, 0));
    CHECK(many > few + SLACK || !CAN_STEP);
    lots_mailbox_close(m);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(120);
    m = lots_mailbox_new();
    stepping(&word, m, NULL);
#if CAN_STEP
    sigaction(SIGTRAP, &(struct sigaction){.sa_handler = on_count}, NULL);
#endif
    RUN(no_queue_is_walked);
    RUN(a_walk_is_noticed);
    lots_mailbox_free(m);
    return 0;
}
