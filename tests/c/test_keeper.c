/* The keeper, a tick at a time: nanosleep is ours here, and the keeper's ticks end only when the test lets them. So the test
 * decides how often it looks, and sees when it has stopped looking. */
#define _GNU_SOURCE
#include "steps.h"

#if defined(__linux__)
#include "keeper.h"
#include "revoke.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define IDLE_AFTER 40 /* looks in vain: keeper.c */

static _Thread_local int is_test; /* this thread is the test's own, and really sleeps */
static _Atomic int asked, given;  /* ticks that the keeper has begun, and that it may end */
static _Atomic int64_t length;    /* of the last */
static _Atomic int detached, keeper;

static void really_sleep(int64_t ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

int nanosleep(const struct timespec *t, struct timespec *left)
{
    int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
    int mine;
    (void)left;
    if (is_test) {
        really_sleep(ns);
        return 0;
    }
    length = ns;
    keeper = (int)syscall(SYS_gettid);
    mine = ++asked;
    while (given < mine)
        really_sleep(20000);
    return 0;
}

int pthread_detach(pthread_t thread)
{
    (void)thread;
    detached++;
    return 0;
}

static lots_op late;

/* A task is woken, and does not look. */
static void wake_one(void)
{
    hold(LOTS_MUTEX);
    queue(&late, LOTS_MUTEX, 'l', 0x09);
    release(LOTS_MUTEX, 1, 0x08);
}

static void take_it_up(uint64_t before)
{
    poll_ready(&late, 0x08);
    let_go(&late, before);
    mail(m, 1);
}

static void let_it_tick(void)
{
    int next = given + 1;
    UNTIL(asked == next);
    given = next;
    UNTIL(asked == next + 1);
}

/* Does the keeper sleep, as far as the system tells? Not if it could run and only has not had its turn. */
static int is_asleep(void)
{
    char path[64], text[256] = "";
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", keeper);
    file = fopen(path, "r");
    CHECK(file && fgets(text, sizeof text, file));
    fclose(file);
    return strstr(text, ") S ") != NULL;
}

/* Let it look until it stops, in a sleep that is no tick; how often that was. */
static int looks_until_idle(void)
{
    int looks = 0, still = 0;
    while (still < 5) {
        if (asked != given) {
            given++;
            looks++;
            still = 0;
        }
        really_sleep(still ? 3000000 : 50000);
        still = asked == given && is_asleep() ? still + 1 : 0;
    }
    return looks;
}

static int threads(void)
{
    int count = -2;
    DIR *folder = opendir("/proc/self/task");
#ifdef __SANITIZE_THREAD__ /* it has one of its own, sooner or later */
    closedir(folder);
    return 0;
#endif
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void there_is_none_before_the_first_wake(void)
{
    sigset_t before, after;
    int count = threads();
    lots_revoke_after(INT64_MAX / 2);
    hold(LOTS_MUTEX);
    lots_op_init(&late, &word, LOTS_MUTEX, NULL, 0, 0); /* a thread can always run */
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED);
    release(LOTS_MUTEX, 1, 0x08);
    take_it_up(0);
    CHECK_EQ(threads(), count);
    CHECK_EQ(asked, 0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    wake_one();
    take_it_up(0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int s = 1; s < 32; s++)
        CHECK_EQ(sigismember(&before, s), sigismember(&after, s));
    UNTIL(asked == 1);
    CHECK_EQ(detached, 1);
    wake_one(); /* no second one */
    take_it_up(0);
    CHECK_EQ(detached, 1);
    if (count)
        CHECK_EQ(threads(), count + 1);
}

/* A signal to the process is not the keeper's: it stays for a thread that wants it. */
static void it_takes_no_signals(void)
{
    sigset_t usr1, pending;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    signal(SIGUSR1, SIG_DFL); /* which would end the process */
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    kill(getpid(), SIGUSR1);
    let_it_tick();
    sigpending(&pending);
    CHECK_EQ(sigismember(&pending, SIGUSR1), 1);
    signal(SIGUSR1, SIG_IGN);
    pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
}

static void a_tick_is_a_quarter_of_the_time_within_bounds(void)
{
    static const int64_t times[][2] = {
        {400000000, 25000000}, {100000000, 25000000}, {100000004, 25000000}, {99999996, 24999999}, {40000000, 10000000},
        {2000004, 500001},     {2000000, 500000},     {1999996, 500000},     {1, 500000},          {INT64_MAX / 2, 25000000},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        lots_revoke_after(times[i][0]);
        let_it_tick();
        CHECK_EQ(length, times[i][1]);
    }
}

static void it_revokes_who_is_late_and_nobody_else(void)
{
    uint64_t before = lots_revocations();
    lots_revoke_after(INT64_MAX / 2);
    wake_one();
    for (int i = 0; i < 5; i++)
        let_it_tick();
    CHECK_EQ(lots_revocations(), before);
    lots_revoke_after(1);
    let_it_tick();
    CHECK_EQ(lots_revocations(), before + 1);
    CHECK_WORD(&word, 0x01);
    lots_revoke_after(INT64_MAX / 2);
    take_it_up(0);
}

static void while_it_is_active_a_waker_takes_no_lock(void)
{
    let_it_tick(); /* a look in vain changes nothing of that */
    let_it_tick();
    keeper_before_fork(); /* its mutex */
    wake_one();
    take_it_up(0);
    keeper_after_fork(0);
}

/* Four times in a row: what it was woken from must leave nothing behind. */
static void it_goes_idle_and_is_woken_again(void)
{
    int count = threads();
    looks_until_idle();
    for (int i = 0; i < 4; i++) {
        uint64_t before = lots_revocations();
        CHECK_EQ(asked, given);
        wake_one();
        UNTIL(asked == given + 1);
        let_it_tick();
        lots_revoke_after(1);
        let_it_tick();
        CHECK_EQ(lots_revocations(), before + 1);
        lots_revoke_after(INT64_MAX / 2);
        take_it_up(0);
        CHECK_EQ(looks_until_idle(), IDLE_AFTER + 1); /* the tick that was begun, and those after each look in vain */
        CHECK_EQ(threads(), count);
    }
}

/* Woken for a wake that is taken up before it looks: it begins its count anew all the same. */
static void a_wake_that_was_quick_keeps_it_as_long(void)
{
    wake_one();
    UNTIL(asked == given + 1);
    take_it_up(0);
    CHECK_EQ(looks_until_idle(), IDLE_AFTER + 1);
}

/* A wake that is not taken up keeps it looking, for ever; then it is in vain from the start. */
static void it_stays_while_a_wake_is_not_taken_up(void)
{
    wake_one();
    UNTIL(asked == given + 1);
    for (int i = 0; i < 3 * IDLE_AFTER; i++)
        let_it_tick();
    take_it_up(0);
    CHECK_EQ(looks_until_idle(), IDLE_AFTER + 1);
}

/* Looks in vain count from the last that found something. */
static void each_wake_begins_the_count_anew(void)
{
    wake_one();
    UNTIL(asked == given + 1);
    let_it_tick();
    take_it_up(0);
    for (int i = 0; i < IDLE_AFTER / 2; i++)
        let_it_tick();
    wake_one();
    let_it_tick();
    let_it_tick();
    take_it_up(0);
    CHECK_EQ(looks_until_idle(), IDLE_AFTER + 1);
}

/* The parent's keeper is idle: in the child that makes no difference to its own. */
static void a_childs_keeper_is_its_own(void)
{
#ifndef __SANITIZE_THREAD__ /* it does not support a new thread in a child */
    int status;
    pid_t child = fork();
    if (!child) {
        alarm(20);
        CHECK_EQ(asked, given);
        it_stays_while_a_wake_is_not_taken_up();
        it_goes_idle_and_is_woken_again();
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
#endif
    it_goes_idle_and_is_woken_again();
}

int main(void)
{
    watchdog(60);
    is_test = 1;
    m = lots_mailbox_new();
    RUN(there_is_none_before_the_first_wake);
    RUN(it_takes_no_signals);
    RUN(a_tick_is_a_quarter_of_the_time_within_bounds);
    RUN(it_revokes_who_is_late_and_nobody_else);
    RUN(while_it_is_active_a_waker_takes_no_lock);
    RUN(it_goes_idle_and_is_woken_again);
    RUN(a_wake_that_was_quick_keeps_it_as_long);
    RUN(it_stays_while_a_wake_is_not_taken_up);
    RUN(each_wake_begins_the_count_anew);
    RUN(a_childs_keeper_is_its_own);
    given = 1 << 30;
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
#else
int main(void) { return 0; } /* it needs /proc to see that the keeper sleeps */
#endif
