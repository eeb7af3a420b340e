/* What a forked child finds of every kind of waiter, and that the parent's are as they were. Nobody sleeps, so there is one
 * thread, whose ops are polled by hand. (test_fork.c has the threads.) */
#include "notifying.h"

#include "keeper.h"
#include "revoke.h"

#include <dirent.h>
#include <sys/wait.h>

enum { LOCKS = 8 };
static lots_word words[LOCKS];
static lots_op waiting[2 * LOCKS];

/* What holds the lock, who then queues, and the word after it, in the child, and once the child's own holders have left. */
typedef struct scene {
    uint32_t held[2];
    int count;
    uint32_t mode;
    uint64_t queued;  /* once it has queued */
    int released;     /* 1: the first holder has released it fairly, so it was handed over; 2: so that it was only told */
    uint64_t before, child;
} scene;

static const scene scenes[LOCKS] = {
    {{LOTS_WRITE}, 1, LOTS_READ, 0x09, 0, 0x09, 0x08},                       /* queued to enter */
    {{LOTS_READ}, 1, LOTS_WRITE, 0x1a, 0, 0x1a, 0x10},                       /* drains */
    {{LOTS_UPGRADABLE, LOTS_READ}, 2, LOTS_UPGRADE, 0x1a, 0, 0x1a, 0x24},    /* an upgrade drains */
    {{LOTS_WRITE}, 1, LOTS_READ, 0x09, 1, 0x10, 0},                          /* was handed a share */
    {{LOTS_WRITE}, 1, LOTS_MUTEX, 0x09, 1, 0x08, 0},                         /* was handed the lock */
    {{LOTS_WRITE}, 1, LOTS_UPGRADABLE, 0x09, 1, 0x14, 0},                    /* was handed both */
    {{LOTS_WRITE}, 1, LOTS_WRITE, 0x09, 2, 0, 0},                            /* was told */
    {{LOTS_READ, LOTS_READ}, 2, LOTS_WRITE, 0x2a, 0, 0x2a, 0x20},
};

static void set_the_scenes(lots_mailbox *whose)
{
    for (int i = 0; i < LOCKS; i++) {
        const scene *s = &scenes[i];
        words[i].bits = 0;
        set_fairness(&words[i], FAIR_NEVER);
        for (int j = 0; j < s->count; j++)
            CHECK_EQ(lots_try(&words[i], s->held[j]), 1);
        lots_op_init(&waiting[i], &words[i], s->mode, whose, (uint64_t)i, 0);
        CHECK_EQ(lots_op_poll(&waiting[i]), LOTS_PARKED);
        CHECK_WORD(&words[i], s->queued);
        if (s->released)
            CHECK_EQ(lots_release(&words[i], s->held[0], s->released == 1, NULL), LOTS_READY);
        CHECK_WORD(&words[i], s->before);
    }
    for (int i = LOCKS; i < LOCKS + 3; i++)
        expect_at(&waiting[i], i == LOCKS ? &words[0] : NULL, i == LOCKS ? LOTS_READ : LOTS_PARK, whose, 'n', here);
    if (whose)
        CHECK_EQ(notify(1, 5), 1); /* the first goes on to queue for the lock, behind the other */
}

/* In the child they are gone; in the parent they finish. `whose` NULL: threads' ops, which a handoff takes out of the lot. */
static void look_at_the_scenes(lots_mailbox *whose)
{
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    for (int i = 0; i < LOCKS; i++) {
        int taken_up = scenes[i].released && !whose;
        CHECK_WORD(&words[i], taken_up ? scenes[i].before : scenes[i].child);
        CHECK_EQ(lots_op_state(&waiting[i]), !taken_up ? LOTS_GONE : scenes[i].released == 1 ? LOTS_HANDOFF : LOTS_NORMAL);
        CHECK(!lot_bucket_of((uintptr_t)&words[i])->keys && !lot_bucket_of((uintptr_t)&words[i])->woken);
        CHECK(!lot_bucket_of((uintptr_t)&words[i])->woken_last);
        CHECK_EQ(lot_bucket_of((uintptr_t)&words[i])->woken_count.value_, 0);
        if (!taken_up) {
            CHECK_EQ(lots_op_cancel(&waiting[i], LOTS_BY_CANCEL, NULL), LOTS_MISUSE);
            CHECK_EQ(lots_op_poll(&waiting[i]), whose ? LOTS_CLOSED : LOTS_MISUSE);
        }
    }
    for (int i = LOCKS; i < LOCKS + 3; i++)
        CHECK_EQ(lots_op_state(&waiting[i]), LOTS_GONE);
}

static void finish_the_scenes(void)
{
    for (int i = 0; i < LOCKS + 3; i++)
        CHECK_EQ(lots_op_cancel(&waiting[i], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    for (int i = 0; i < LOCKS; i++)
        CHECK_WORD(&words[i], scenes[i].child);
    mail(m, 1);
}

/* The child's own keeper sees to it that a wake which nobody takes up is revoked. */
static void the_keeper_works(void)
{
    lots_mailbox *mine = lots_mailbox_new();
    lots_op late;
    uint64_t before = lots_revocations();
    lots_revoke_after(1000000);
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 1);
    task(&late, &word, LOTS_MUTEX, mine, 'l');
    CHECK_EQ(lots_op_poll(&late), LOTS_PARKED);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 1, NULL), LOTS_READY);
    UNTIL(lots_revocations() == before + 1);
    CHECK_EQ(lots_op_poll(&late), LOTS_READY);
    CHECK_EQ(lots_op_release(&late, 0, NULL), LOTS_READY);
    lots_revoke_after(INT64_MAX / 2);
    lots_mailbox_close(mine);
    lots_mailbox_free(mine);
}

static int threads(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/task");
    if (!folder)
        return -1;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count - 2;
}

static void a_child_begins_with_an_empty_lot(void)
{
    for (int tasks = 0; tasks < 2; tasks++) {
        lots_mailbox *whose = tasks ? m : NULL;
        int status, count;
        pid_t child;
        the_keeper_works(); /* it exists in the parent */
        count = threads();
        set_the_scenes(whose);
        child = fork();
        CHECK(child >= 0);
        if (!child) {
            alarm(20);
            look_at_the_scenes(whose);
#ifndef __SANITIZE_THREAD__ /* it does not support a new thread in a child */
            the_keeper_works();
            CHECK(count < 0 || threads() == 2);
#endif
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_EQ(status, 0);
        finish_the_scenes();
        the_keeper_works();
        CHECK_EQ(threads(), count); /* the parent has the one that it had */
    }
}

/* A signal handler that forks: in the child its thread waits on when the handler returns; so it does in the parent. */
static void who_forks_while_it_is_aside_waits_on_in_the_child(void)
{
    for (int has_word = 0; has_word < 2; has_word++) {
        int status;
        pid_t child;
        expect_at(&ops[0], has_word ? &word : NULL, has_word ? LOTS_READ : LOTS_PARK, NULL, 'a', here);
        expect_at(&ops[1], NULL, LOTS_PARK, NULL, 'b', here);
        CHECK_EQ(lots_op_interrupt(&ops[0]), LOTS_INTERRUPTED);
        child = fork();
        CHECK(child >= 0);
        if (!child) {
            alarm(20);
            CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
            CHECK_EQ(lots_op_state(&ops[1]), LOTS_GONE);
            CHECK_EQ(lots_op_look_wait(&ops[0], LOTS_NEVER, 0), LOTS_LOOK);
            CHECK_EQ(lots_expected(here), 1);
            CHECK_EQ(notify(2, 5), 1);
            CHECK_EQ(lots_op_wait(&ops[0], LOTS_NEVER), LOTS_READY);
            CHECK_EQ(lots_op_token(&ops[0]), 5);
            CHECK_WORD(&word, has_word ? 0x10 : 0);
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_EQ(status, 0);
        CHECK_EQ(notify(2, 6), 2);
        CHECK_EQ(lots_op_wait(&ops[0], LOTS_NEVER), LOTS_READY);
        CHECK_EQ(lots_op_token(&ops[0]), 6);
        CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
        is_told(1, 6);
        nobody_is_left();
    }
}

/* --- who forks waits for whoever is in the middle of a list ------------------------------------------------------------- */

static _Atomic int forked;

static void *fork_once(void *unused)
{
    int status;
    pid_t child = fork();
    forked = 1;
    if (!child)
        _exit(0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return unused;
}

/* That nothing happens can only be waited for: a fork that does not wait is done long before. */
static void fork_waits_for_the_locks(void)
{
    uintptr_t first = here, last = here; /* the keys of the first bucket, and of the last */
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (lot_bucket_of((uintptr_t)&keys[i]) < lot_bucket_of(first))
            first = (uintptr_t)&keys[i];
        if (lot_bucket_of((uintptr_t)&keys[i]) > lot_bucket_of(last))
            last = (uintptr_t)&keys[i];
    }
    CHECK_EQ(lot_bucket_of(last) - lot_bucket_of(first), LOT_BUCKETS - 1);
    for (int keepers = 0; keepers < 4; keepers++) {
        pthread_t thread;
        lots_bucket *b = NULL;
        forked = 0;
        if (keepers == 1)
            keeper_before_fork();
        else
            b = lot_lock(keepers == 2 ? first : keepers == 3 ? last : here);
        CHECK(!pthread_create(&thread, NULL, fork_once, NULL));
        nanosleep(&(struct timespec){0, 30000000}, NULL);
        CHECK_EQ(forked, 0);
        if (keepers == 1)
            keeper_after_fork(0);
        else
            lot_unlock(b);
        CHECK(!pthread_join(thread, NULL));
        CHECK_EQ(forked, 1);
    }
}

int main(void)
{
    watchdog(60);
    find_keys();
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2);
    RUN(a_child_begins_with_an_empty_lot);
    RUN(who_forks_while_it_is_aside_waits_on_in_the_child);
    RUN(fork_waits_for_the_locks);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
