/* What each thread is in the middle of: noted by those that have a slot, visited in all slots, and forgotten afterwards by all but
 * the thread that goes on. A child of fork() asks for it; here the others stand still, which is as good. */
#include "sleepers.h"

#include "threads.h"

#ifdef __SANITIZE_THREAD__ /* it has a limit for threads */
int main(void) { return 0; }
#else

static sem_t noted, may_end;
static int first, second;

/* A place for a waiter, which nobody looks into. */
static lots_waiter *some(size_t i) { return (lots_waiter *)(numbers + i); }

static void *be_at(void *argument)
{
    lots_waiter *w = argument;
    int has_slot = thread_of(lots_thread_token()) != 0;
    CHECK(!thread_is_at(w));
    CHECK(thread_was_at() == (has_slot ? w : NULL));
    CHECK(thread_is_at(w) == (has_slot ? w : NULL));
    CHECK(!sem_post(&noted));
    CHECK(!sem_wait(&may_end));
    CHECK(!thread_was_at()); /* all were visited, and this one is not who goes on */
    return NULL;
}

static void is_first(lots_waiter *w)
{
    CHECK(w && second == 0);
    first++;
}

static void is_second(lots_waiter *w)
{
    CHECK(w && first);
    second++;
}

static void visit(int expected)
{
    first = second = 0;
    threads_were_at(is_first, is_second);
    CHECK_EQ(first, expected);
    CHECK_EQ(second, expected);
}

static void every_slot_is_visited_twice_and_forgotten_but_ones_own(void)
{
    static pthread_t crowd[CROWD];
    pthread_attr_t small;
    CHECK(!sem_init(&noted, 0, 0) && !sem_init(&may_end, 0, 0));
    CHECK(!pthread_attr_init(&small) && !pthread_attr_setstacksize(&small, 1 << 18));
    CHECK(!thread_is_at(some(CROWD)));
    for (size_t i = 0; i < CROWD; i++) {
        CHECK(!pthread_create(&crowd[i], &small, be_at, some(i)));
        CHECK(!sem_wait(&noted));
    }
    visit(SLOTS);
    visit(1);
    CHECK(thread_was_at() == some(CROWD));
    thread_is_past(some(0)); /* of another: nothing */
    visit(1);
    thread_is_past(some(CROWD));
    visit(0);
    for (size_t i = 0; i < CROWD; i++)
        CHECK(!sem_post(&may_end));
    for (size_t i = 0; i < CROWD; i++)
        CHECK(!pthread_join(crowd[i], NULL));
    pthread_attr_destroy(&small);
}

int main(void)
{
    watchdog(60);
    RUN(every_slot_is_visited_twice_and_forgotten_but_ones_own);
    return 0;
}
#endif
