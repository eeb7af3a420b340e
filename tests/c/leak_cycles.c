/* Begins and ends very many acquisitions: does any leave memory, a descriptor or a waiter behind? For LeakSanitizer, which
 * looks when the process ends; it passes without one too. Cycles from the command line, a million if none are given.
 *
 * Each op is a block of memory of its own, so one that is still reachable from a queue, a mailbox or a list of woken tasks
 * cannot have been freed unseen: AddressSanitizer has that as a use after free. Threads and loops work on one RwLock and
 * one Mutex in every mode; an op ends by a cancellation or a timeout, queued or woken, or is granted and released. Every
 * few hundred cycles a loop is closed over its ops, and another takes its place. */
#include "actors.h"

#include <fcntl.h>

#define THREADS 2
#define LOOPS 2
#define CROWD 8 /* ops of one actor at a time */
#define LIFE 400 /* cycles of one loop */
#define MODES 5  /* those that anybody may ask for; an upgrade is its holder's, and a park has no lock */

static const uint32_t modes[MODES] = {LOTS_READ, LOTS_READ_RECURSIVE, LOTS_WRITE, LOTS_MUTEX, LOTS_UPGRADABLE};

static lots_word words[2]; /* of a RwLock, of a Mutex */
static uint64_t goal;
static _Atomic uint64_t cycles, withdrawn[LOTS_MODES], granted[LOTS_MODES], late, closed, loops;

typedef struct one_op {
    lots_op *op; /* NULL: none now */
    uint32_t mode;
} one_op;

typedef struct actor_of_many {
    pthread_t thread;
    lots_mailbox *mailbox; /* NULL: a thread */
    uint32_t random;
    one_op crowd[CROWD];
} actor_of_many;

static uint32_t next_of(actor_of_many *a, uint32_t n)
{
    a->random ^= a->random << 13;
    a->random ^= a->random >> 17;
    a->random ^= a->random << 5;
    return a->random % n;
}

static void drain_all(lots_mailbox *m, int rung)
{
    uint64_t cookies[CROWD];
    while (lots_mailbox_drain(m, cookies, CROWD, rung) > 0)
        rung = 0;
}

static void end(actor_of_many *a, one_op *o, int answer)
{
    CHECK_EQ(lots_op_cancel(o->op, LOTS_BY_CANCEL, NULL), LOTS_MISUSE); /* it has ended */
    free(o->op);
    o->op = NULL;
    cycles++;
    if (answer & LOTS_MAIL)
        drain_all(a->mailbox, 0);
}

static void let_go(actor_of_many *a, one_op *o)
{
    int answer = lots_op_release(o->op, next_of(a, 2) == 0, a->mailbox);
    CHECK_EQ(answer & ~LOTS_MAIL, LOTS_READY);
    granted[o->mode]++;
    end(a, o, answer);
}

static void give_up(actor_of_many *a, one_op *o)
{
    uint32_t why = next_of(a, 2) ? LOTS_BY_CANCEL : LOTS_BY_TIMEOUT;
    int answer = lots_op_cancel(o->op, why, a->mailbox);
    if ((answer & ~LOTS_MAIL) == LOTS_READY) {
        CHECK_EQ(why, LOTS_BY_TIMEOUT);
        late++;
        if (answer & LOTS_MAIL)
            drain_all(a->mailbox, 0);
        let_go(a, o);
        return;
    }
    CHECK_EQ(answer & ~LOTS_MAIL, LOTS_WITHDRAWN);
    withdrawn[o->mode]++;
    end(a, o, answer);
}

static void ask(actor_of_many *a, one_op *o)
{
    int answer;
    o->mode = modes[next_of(a, MODES)];
    o->op = malloc(sizeof *o->op);
    CHECK(o->op != NULL);
    lots_op_init(o->op, &words[o->mode == LOTS_MUTEX], o->mode, a->mailbox, (uint64_t)(o - a->crowd), 0);
    answer = lots_op_poll(o->op);
    CHECK(answer == LOTS_READY || answer == LOTS_PARKED);
}

/* A task polls. A thread, once it has queued, comes out of it by a wait only: with the pthread parker its waker may be about
 * to signal still, and the wait is what sees it go. */
static void look(actor_of_many *a, one_op *o)
{
    int answer;
    if (a->mailbox) {
        lots_op_poll(o->op);
        return;
    }
    answer = lots_op_wait(o->op, now_ns() + (next_of(a, 64) ? 0 : next_of(a, 50000)));
    CHECK(answer == LOTS_READY || answer == LOTS_TIMED_OUT || answer == LOTS_INTERRUPTED);
    if (answer == LOTS_TIMED_OUT) {
        withdrawn[o->mode]++;
        end(a, o, answer);
    }
}

/* One step of one op: ask, look, hold on, let go, give up. Nobody waits for long, so nobody waits for ever. */
static void step(actor_of_many *a, one_op *o)
{
    if (!o->op)
        ask(a, o);
    else if (lots_op_state(o->op) == LOTS_HELD)
        let_go(a, o);
    else if (next_of(a, 3) == 0)
        look(a, o);
    else
        give_up(a, o);
}

static void end_crowd(actor_of_many *a, int closing)
{
    for (one_op *o = a->crowd; o < a->crowd + CROWD; o++) {
        if (!o->op)
            continue;
        if (lots_op_state(o->op) == LOTS_HELD) {
            let_go(a, o);
        } else if (closing) {
            CHECK_EQ(lots_op_poll(o->op), LOTS_CLOSED);
            closed++;
            end(a, o, 0);
        } else {
            give_up(a, o);
        }
    }
}

static void *run_thread(void *argument)
{
    actor_of_many *a = argument;
    while (cycles < goal) {
        step(a, &a->crowd[next_of(a, CROWD)]);
        if (next_of(a, 256) == 0)
            sched_yield(); /* others look in, while it holds and waits */
    }
    end_crowd(a, 0);
    return NULL;
}

static void *run_loop(void *argument)
{
    actor_of_many *a = argument;
    while (cycles < goal) {
        uint64_t until = cycles + LIFE;
        a->mailbox = lots_mailbox_new();
        CHECK(a->mailbox != NULL);
        loops++;
        while (cycles < until) {
            step(a, &a->crowd[next_of(a, CROWD)]);
            if (next_of(a, 16) == 0)
                drain_all(a->mailbox, 1);
        }
        for (one_op *o = a->crowd; o < a->crowd + CROWD; o++) /* a loop holds nothing when it is closed */
            if (o->op && lots_op_state(o->op) == LOTS_HELD)
                let_go(a, o);
        lots_mailbox_close(a->mailbox);
        end_crowd(a, 1);
        lots_mailbox_free(a->mailbox);
    }
    return NULL;
}

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

int main(int argc, char **argv)
{
    static actor_of_many actors[THREADS + LOOPS];
    uint64_t all_granted = 0, all_withdrawn = 0;
    int before;
    goal = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    watchdog(300);
    check_test = "cycles";
    before = descriptors();
    lots_revoke_after(1000000);
    for (int i = 0; i < THREADS + LOOPS; i++) {
        actors[i].random = (uint32_t)(i + 1) * 2654435761u;
        CHECK(!pthread_create(&actors[i].thread, NULL, i < THREADS ? run_thread : run_loop, &actors[i]));
    }
    for (int i = 0; i < THREADS + LOOPS; i++)
        CHECK(!pthread_join(actors[i].thread, NULL));
    CHECK_WORD(&words[0], 0);
    CHECK_WORD(&words[1], 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    CHECK_EQ(descriptors(), before);
    CHECK(cycles >= goal && late && closed && loops > LOOPS);
    for (int i = 0; i < MODES; i++) {
        CHECK(withdrawn[modes[i]] && granted[modes[i]]);
        all_granted += granted[modes[i]];
        all_withdrawn += withdrawn[modes[i]];
    }
    printf("  %llu cycles: %llu granted, %llu withdrawn, %llu in time after all, %llu closed with one of %llu loops\n",
           (unsigned long long)cycles, (unsigned long long)all_granted,
           (unsigned long long)all_withdrawn, (unsigned long long)late,
           (unsigned long long)closed, (unsigned long long)loops);
    return 0;
}
