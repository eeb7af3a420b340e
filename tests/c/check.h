/* All the framework there is: checks, and a watchdog.
 *
 * A test is a row of steps, and after each one the word is asserted. Who is to be waited for is seen in the lot's own queues
 * (actors.h), not slept for; where time itself is tested, a comment says so. */
#ifndef CHECK_H
#define CHECK_H

#include "api.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *volatile check_test = "main";

#define CHECK_FAILED(...)                                                                               \
    (fflush(stdout), fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, check_test),                     \
     fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), _exit(1))
#define CHECK(condition) ((condition) ? (void)0 : CHECK_FAILED("%s", #condition))
#define CHECK_EQ(got, wanted)                                                                            \
    do {                                                                                                 \
        uint64_t got_ = (uint64_t)(got), wanted_ = (uint64_t)(wanted);                                   \
        if (got_ != wanted_)                                                                             \
            CHECK_FAILED("%s is %#llx, not %#llx", #got, (unsigned long long)got_, (unsigned long long)wanted_); \
    } while (0)
#define CHECK_STR(got, wanted)                                                                           \
    do {                                                                                                 \
        const char *got_ = (got);                                                                        \
        if (strcmp(got_, wanted))                                                                        \
            CHECK_FAILED("%s is \"%s\", not \"%s\"", #got, got_, wanted);                                \
    } while (0)
#define CHECK_WORD(w, wanted) CHECK_EQ(lots_word_load(w), wanted)
#define RUN(test) (check_test = #test, test(), printf("  %s\n", #test), fflush(stdout))
#define UNTIL(condition)                                                                                 \
    while (!(condition))                                                                                 \
    nanosleep(&(struct timespec){0, 20000}, NULL)

static void check_hung(int signal)
{
    static const char text[] = "watchdog: no progress in ";
    (void)signal;
    if (write(2, text, sizeof text - 1) < 0 || write(2, check_test, strlen(check_test)) < 0 || write(2, "\n", 1) < 0)
        _exit(4);
    _exit(3);
}

static inline void watchdog(unsigned seconds)
{
    signal(SIGALRM, check_hung);
    alarm(seconds);
}

#endif
