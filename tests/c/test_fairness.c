/* Starvation (R25, R39): whoever waits gets in, however busy the others are. Bounded by what the others got done meanwhile
 * and by the watchdog, not by a time that a slow machine would miss. */
#include "actors.h"

static lots_word word;
static _Atomic int stop;
static _Atomic uint64_t done;
static _Atomic uint32_t inside;

static void acquire(lots_op *op, uint32_t mode)
{
    int answer;
    lots_op_init(op, &word, mode, NULL, 0, 0);
    while ((answer = lots_op_wait(op, LOTS_NEVER)) == LOTS_INTERRUPTED)
        ;
    CHECK_EQ(answer, LOTS_READY);
}

static void *spin(void *mode)
{
    while (!stop) {
        lots_op op;
        acquire(&op, (uint32_t)(uintptr_t)mode);
        done++;
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    }
    return NULL;
}

/* Readers that relay: none leaves before another is in, so the lock is never free of readers while they go on. */
static void *relay(void *unused)
{
    while (!stop) {
        lots_op op;
        acquire(&op, LOTS_READ);
        inside++;
        for (int i = 0; i < 1000 && inside < 2 && !stop; i++)
            sched_yield();
        inside--;
        done++;
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    }
    return unused;
}

/* `turns` acquisitions in `mode` beside `count` threads that never pause. */
static void gets_in_beside(int count, void *(*busy)(void *), uint32_t busy_mode, uint32_t mode, int turns)
{
    pthread_t threads[4];
    uint64_t between;
    stop = 0;
    done = 0;
    for (int i = 0; i < count; i++)
        CHECK(!pthread_create(&threads[i], NULL, busy, (void *)(uintptr_t)busy_mode));
    UNTIL(done > 0);
    for (int i = 0; i < turns; i++) {
        lots_op op;
        acquire(&op, mode);
        CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
        between = done;
        while (done == between) /* they go on, so each turn is against them */
            sched_yield();
    }
    stop = 1;
    for (int i = 0; i < count; i++)
        CHECK(!pthread_join(threads[i], NULL));
    CHECK_WORD(&word, 0);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
    printf("    %d turns beside %llu\n", turns, (unsigned long long)done);
}

static void one_that_parks_gets_in_beside_a_spinner(void) { gets_in_beside(1, spin, LOTS_MUTEX, LOTS_MUTEX, 200); }
static void two_writers_do_not_starve_a_reader(void) { gets_in_beside(2, spin, LOTS_WRITE, LOTS_READ, 200); }
static void two_writers_do_not_starve_a_third(void) { gets_in_beside(2, spin, LOTS_WRITE, LOTS_WRITE, 200); }
static void readers_that_relay_do_not_starve_a_writer(void) { gets_in_beside(3, relay, LOTS_READ, LOTS_WRITE, 200); }
static void readers_that_relay_do_not_starve_a_recursive_read(void) { gets_in_beside(3, relay, LOTS_READ, LOTS_READ_RECURSIVE, 200); }

/* A thread that spins in a lock without ever sleeping; the parked one comes in with the first wake after the timer. */
static void the_timer_hands_over_whatever_the_spinner_does(void)
{
    actor parked_one;
    uint64_t turns = 0;
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 1);
    start(&parked_one, &word, LOTS_MUTEX);
    parked(&word, 1);
    set_fairness(&word, FAIR_NOW);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    while (lots_try(&word, LOTS_MUTEX)) { /* not even once */
        turns++;
        CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    }
    CHECK_EQ(turns, 0);
    CHECK_EQ(finish(&parked_one), LOTS_READY);
    CHECK_EQ(lots_op_release(&parked_one.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(30);
    RUN(the_timer_hands_over_whatever_the_spinner_does);
    RUN(one_that_parks_gets_in_beside_a_spinner);
    RUN(two_writers_do_not_starve_a_reader);
    RUN(two_writers_do_not_starve_a_third);
    RUN(readers_that_relay_do_not_starve_a_writer);
    RUN(readers_that_relay_do_not_starve_a_recursive_read);
    return 0;
}
