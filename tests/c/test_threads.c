/* Numbers of threads, and which of them are alive. */
#include "sleepers.h"

static void a_thread_is_listed_from_its_first_number_to_its_end(void)
{
    sleeper one, two;
    uint64_t own = lots_thread_token();
    CHECK_EQ(thread_of(own), (uintptr_t)pthread_self());
    CHECK_EQ(lots_threads(numbers, threads, 2 * CROWD, &complete), 1);
    start(&one);
    start(&two);
    CHECK(one.number != own && two.number != own && one.number != two.number);
    CHECK_EQ(thread_of(one.number), (uintptr_t)one.thread);
    CHECK_EQ(thread_of(two.number), (uintptr_t)two.thread);
    CHECK_EQ(complete, 1);
    end(&one);
    CHECK_EQ(thread_of(one.number), 0);
    CHECK_EQ(thread_of(two.number), (uintptr_t)two.thread);
    end(&two);
    CHECK_EQ(lots_threads(numbers, threads, 2 * CROWD, &complete), 1);
    CHECK_EQ(thread_of(own), (uintptr_t)pthread_self());
    CHECK_EQ(lots_thread_token(), own);
}

static void no_more_is_written_than_there_is_room_for(void)
{
    sleeper one;
    start(&one);
    numbers[1] = threads[1] = 77;
    CHECK_EQ(lots_threads(numbers, threads, 1, &complete), 2);
    CHECK(numbers[0] == lots_thread_token() || numbers[0] == one.number);
    CHECK(numbers[1] == 77 && threads[1] == 77);
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 2);
    end(&one);
}

/* Slots are used again: many more threads than slots, one after the other. */
static void slots_are_given_back(void)
{
    sleeper one;
    for (int i = 0; i < CROWD + SLOTS; i++) {
        start(&one);
        CHECK_EQ(thread_of(one.number), (uintptr_t)one.thread);
        CHECK_EQ(complete, 1);
        end(&one);
        CHECK_EQ(thread_of(one.number), 0);
    }
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 1);
}

#ifndef __SANITIZE_THREAD__ /* it has a limit for threads, and none may be started in a child */
static void a_crowd_is_not_listed_completely_and_says_so(void)
{
    static sleeper crowd[CROWD];
    int listed = 0;
    for (int i = 0; i < CROWD; i++) {
        start(&crowd[i]);
        CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), i + 2 < SLOTS ? i + 2 : SLOTS); /* with this one */
        CHECK_EQ(complete, i + 2 <= SLOTS);
    }
    for (int i = 0; i < CROWD; i++) {
        uint64_t thread = thread_of(crowd[i].number);
        CHECK(!thread || thread == (uintptr_t)crowd[i].thread);
        listed += !!thread;
    }
    CHECK_EQ(listed, SLOTS - 1);
    for (int i = CROWD - 1; i >= 0; i--) {
        end(&crowd[i]);
        lots_threads(NULL, NULL, 0, &complete);
        CHECK_EQ(complete, i <= SLOTS - 1); /* those without a slot came last */
    }
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 1);
}

static void in_a_child_the_thread_that_forked_is_left(void)
{
    sleeper one;
    int status;
    pid_t pid;
    start(&one);
    fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        watchdog(20);
        CHECK_EQ(thread_of(lots_thread_token()), (uintptr_t)pthread_self());
        CHECK_EQ(thread_of(one.number), 0);
        CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 1);
        CHECK_EQ(complete, 1);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(thread_of(one.number), (uintptr_t)one.thread);
    end(&one);
}

static void *fork_in_a_crowd(void *unused)
{
    static sleeper crowd[SLOTS];
    static lots_word word;
    lots_op op;
    int status;
    pid_t pid;
    uint64_t number;
    (void)unused;
    for (int i = 0; i < SLOTS; i++)
        start(&crowd[i]);
    number = lots_thread_token();
    CHECK_EQ(thread_of(number), 0); /* there was no slot */
    lots_op_init(&op, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_wait(&op, LOTS_NEVER), LOTS_READY); /* who waits says so in its slot, if it has one */
    CHECK_EQ(lots_op_release(&op, 0, NULL), LOTS_READY);
    pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        watchdog(20);
        CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 0);
        CHECK_EQ(complete, 0); /* it is alive itself */
        CHECK_EQ(lots_thread_token(), number);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    for (int i = 0; i < SLOTS; i++)
        end(&crowd[i]);
    return NULL;
}

static void a_child_without_a_slot_knows_that(void)
{
    pthread_t forking;
    CHECK(!pthread_create(&forking, NULL, fork_in_a_crowd, NULL));
    CHECK(!pthread_join(forking, NULL));
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 1);
    CHECK_EQ(complete, 1);
}

#endif

int main(void)
{
    watchdog(100);
    RUN(a_thread_is_listed_from_its_first_number_to_its_end);
    RUN(no_more_is_written_than_there_is_room_for);
    RUN(slots_are_given_back);
#ifndef __SANITIZE_THREAD__
    RUN(a_crowd_is_not_listed_completely_and_says_so);
    RUN(in_a_child_the_thread_that_forked_is_left);
    RUN(a_child_without_a_slot_knows_that);
#endif
    return 0;
}
