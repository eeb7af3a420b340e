/* The table of threads is looked at while it changes: before each instruction of who takes a slot, and it changes before each
 * one of who looks. Nobody is ever listed with the thread of somebody else. */
#include "trap.h"

#include "sleepers.h"

#if CAN_STEP

static sleeper crowd[SLOTS];
static int step_count;


/* --- somebody takes a slot that was another's ------------------------------------------------------------------------- */

static uint64_t newest; /* number of who takes the slot; 0: not known yet */

/* By who is in the middle of lots_thread_token, which has given it a number or not. */
static void look(int signal, siginfo_t *info, void *context)
{
    static uint64_t number[SLOTS + 1], thread[SLOTS + 1];
    size_t count = lots_threads(number, thread, SLOTS + 1, &complete);
    (void)signal;
    (void)info;
    (void)context;
    step_count++;
    for (size_t i = 0; i < count; i++)
        if (number[i] >= newest && thread[i])
            CHECK_EQ(thread[i], (uintptr_t)pthread_self());
}

static void *take_a_slot(void *unused)
{
    uint64_t number;
    (void)unused;
    STEPS_BEGIN();
    number = lots_thread_token();
    STEPS_END();
    CHECK_EQ(number, newest);
    return NULL;
}

/* With a stack as no sleeper has it. All slots have been taken before, so there would be the address of a thread that is gone;
 * the first one's may be the same by chance. */
static void some_take_slots(void)
{
    pthread_t thread;
    sleeper last;
    sigaction(SIGTRAP, &(struct sigaction){.sa_sigaction = look, .sa_flags = SA_SIGINFO}, NULL);
    start(&last);
    newest = last.number;
    end(&last);
    for (int i = 0; i < 3; i++) {
        newest++;
        step_count = 0;
        CHECK(!pthread_create(&thread, NULL, take_a_slot, NULL));
        CHECK(!pthread_join(thread, NULL));
        CHECK(step_count > 20);
    }
}

static void who_takes_a_slot_is_not_taken_for_who_had_it(void)
{
    for (int i = 0; i < SLOTS; i++) {
        start(&crowd[0]);
        end(&crowd[0]);
    }
    some_take_slots();
}

/* The last slot that is left is found, whichever it is, and is given back: also in a child, to which all others are free. */
static void the_last_slot_is_found(void)
{
    sleeper last;
    for (int i = 0; i < SLOTS - 2; i++) /* one is ours */
        start(&crowd[i]);
    for (int i = 0; i < SLOTS; i++) {
        start(&last);
        CHECK_EQ(thread_of(last.number), (uintptr_t)last.thread);
        CHECK_EQ(complete, 1);
        end(&last);
        CHECK_EQ(thread_of(last.number), 0);
    }
    start(&crowd[SLOTS - 2]);
    in_a_child(some_take_slots);
}

static void what_is_left_in_a_child(void)
{
    CHECK_EQ(lots_threads(NULL, NULL, 0, &complete), 1);
    CHECK_EQ(complete, 1);
}

static void who_has_no_slot_is_not_in_a_child(void)
{
    sleeper last;
    start(&last); /* all are taken */
    CHECK_EQ(thread_of(last.number), 0);
    CHECK_EQ(complete, 0);
    in_a_child(what_is_left_in_a_child);
    end(&last);
}

/* --- a slot goes to somebody else while it is looked at --------------------------------------------------------------- */

static sleeper before, after;
static int change_at;

static void change(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    if (++step_count < change_at)
        return;
    no_more_steps(context);
    end(&before);
    start_with(&after, 1 << 20);
}

/* All other slots are taken; this one is the first, which is looked at soon. */
static void a_slot_changes_hands_while_it_is_looked_at(void)
{
    int seen_before = 0, seen_after = 0, first = 0;
    lots_threads(numbers, threads, 2 * CROWD, &complete);
    while (crowd[first].number != numbers[0])
        first++;
    end(&crowd[first]);
    sigaction(SIGTRAP, &(struct sigaction){.sa_sigaction = change, .sa_flags = SA_SIGINFO}, NULL);
    for (change_at = 1; change_at < 60; change_at++) {
        size_t count;
        start(&before);
        step_count = 0;
        STEPS_BEGIN();
        count = lots_threads(numbers, threads, 2 * CROWD, &complete);
        STEPS_END();
        for (size_t i = 0; i < count; i++) {
            sleeper *who = numbers[i] == before.number ? &before : numbers[i] == after.number ? &after : NULL;
            if (!who)
                continue;
            CHECK_EQ(threads[i], (uintptr_t)who->thread);
            seen_before += who == &before;
            seen_after += who == &after;
        }
        end(&after);
    }
    CHECK(seen_before && seen_after);
    for (int i = 0; i < SLOTS - 1; i++)
        if (i != first)
            end(&crowd[i]);
}

int main(void)
{
    watchdog(100);
    CHECK(lots_thread_token());
    RUN(who_takes_a_slot_is_not_taken_for_who_had_it);
    RUN(the_last_slot_is_found);
    RUN(who_has_no_slot_is_not_in_a_child);
    RUN(a_slot_changes_hands_while_it_is_looked_at);
    return 0;
}

#else
int main(void) { return 0; }
#endif
