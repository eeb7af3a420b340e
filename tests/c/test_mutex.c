/* Threads on a mutex: a word that never has readers. */
#include "actors.h"

static lots_word word;

static void a_second_one_parks(void)
{
    actor second;
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 1);
    CHECK_WORD(&word, 0x08);
    start(&second, &word, LOTS_MUTEX);
    parked(&word, 1);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 0);
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&second), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_release(&second.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void a_fair_release_never_shows_it_free(void)
{
    actor a[3];
    CHECK_EQ(lots_try(&word, LOTS_MUTEX), 1);
    for (size_t i = 0; i < 3; i++) {
        start(&a[i], &word, LOTS_MUTEX);
        parked(&word, i + 1); /* so they queue in this order */
    }
    CHECK_WORD(&word, 0x09);
    CHECK_EQ(lots_release(&word, LOTS_MUTEX, 1, NULL), LOTS_READY);
    for (size_t i = 0; i < 3; i++) {
        CHECK_WORD(&word, i < 2 ? 0x09 : 0x08); /* at once, whether it has run or not */
        CHECK_EQ(lots_try(&word, LOTS_MUTEX), 0);
        CHECK_EQ(lots_for_each(&word, NULL, 0), 2 - i);
        CHECK_EQ(finish(&a[i]), LOTS_READY); /* and it was this one's turn, for the others hold nothing */
        CHECK_EQ(lots_op_release(&a[i].op, 1, NULL), LOTS_READY);
    }
    CHECK_WORD(&word, 0);
}

static void a_second_release_does_not_take_it_from_the_next(void)
{
    actor first, second;
    start(&first, &word, LOTS_MUTEX);
    CHECK_EQ(finish(&first), LOTS_READY);
    start(&second, &word, LOTS_MUTEX);
    parked(&word, 1);
    CHECK_EQ(lots_op_release(&first.op, 0, NULL), LOTS_READY);
    CHECK_EQ(finish(&second), LOTS_READY);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_release(&first.op, 0, NULL), LOTS_MISUSE);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_release(&second.op, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

typedef struct releaser {
    lots_op *op;
    pthread_barrier_t *start;
    int answer;
    pthread_t thread;
} releaser;

static void *release_at_once(void *argument)
{
    releaser *r = argument;
    pthread_barrier_wait(r->start);
    r->answer = lots_op_release(r->op, 0, NULL);
    return NULL;
}

static void of_many_who_release_one_succeeds(void)
{
    enum { MANY = 4, ROUNDS = 300 };
    releaser r[MANY];
    pthread_barrier_t barrier;
    CHECK(!pthread_barrier_init(&barrier, NULL, MANY));
    for (int round = 0; round < ROUNDS; round++) {
        lots_op op;
        int ready = 0;
        lots_op_init(&op, &word, LOTS_MUTEX, NULL, 0, 0);
        CHECK_EQ(lots_op_try(&op), LOTS_READY);
        for (int i = 0; i < MANY; i++) {
            r[i] = (releaser){.op = &op, .start = &barrier};
            CHECK(!pthread_create(&r[i].thread, NULL, release_at_once, &r[i]));
        }
        for (int i = 0; i < MANY; i++) {
            CHECK(!pthread_join(r[i].thread, NULL));
            CHECK(r[i].answer == LOTS_READY || r[i].answer == LOTS_MISUSE);
            ready += r[i].answer == LOTS_READY;
        }
        CHECK_EQ(ready, 1);
        CHECK_WORD(&word, 0);
    }
    pthread_barrier_destroy(&barrier);
}

#define TURNS 20000
static uint64_t counter; /* what the mutex protects; ThreadSanitizer watches it too */

static void *count(void *argument)
{
    for (int i = 0; i < TURNS; i++) {
        actor *a = argument;
        int answer;
        lots_op_init(&a->op, &word, LOTS_MUTEX, NULL, 0, 0);
        while ((answer = lots_op_wait(&a->op, LOTS_NEVER)) == LOTS_INTERRUPTED)
            ;
        CHECK_EQ(answer, LOTS_READY);
        counter++;
        CHECK_EQ(lots_op_release(&a->op, i % 64 == 0, NULL), LOTS_READY);
    }
    return NULL;
}

static void nobody_is_in_beside_another(void)
{
    enum { MANY = 4 };
    static actor a[MANY];
    for (int i = 0; i < MANY; i++)
        CHECK(!pthread_create(&a[i].thread, NULL, count, &a[i]));
    for (int i = 0; i < MANY; i++)
        CHECK(!pthread_join(a[i].thread, NULL));
    CHECK_EQ(counter, MANY * TURNS);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(30);
    RUN(a_second_one_parks);
    RUN(a_fair_release_never_shows_it_free);
    RUN(a_second_release_does_not_take_it_from_the_next);
    RUN(of_many_who_release_one_succeeds);
    RUN(nobody_is_in_beside_another);
    return 0;
}
