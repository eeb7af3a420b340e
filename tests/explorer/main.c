/* The explorer's command line.
 *
 *   explorer [--bound N] [--executions N] [--cas N] [--fair N] [--stale N] PROGRAM...   explore; exit 1 on a violation
 *   explorer --replay CHOICES [the same limits] PROGRAM                     one execution, step by step
 *   explorer --random N [--seed S] [--pct D] ...                            N schedules at random: uniform, or by priorities
 *                                                                           with D change points; no bound on preemptions
 *   explorer --expect TEXT ...                                              exit 0 only if a violation with TEXT was found */
#include "programs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

mc_result litmus_explore(const char *which, const mc_limits *limits, const char *replay); /* litmus.c */

static mc_limits limits = {.preemptions = 2, .cas_failures = 0, .fair = 1};
static const char *replay;

/* Each program in a process of its own: a violation leaves the lot as it broke, and may crash. */
static mc_result run_program(const char *text)
{
    static mc_result *shared;
    pid_t child;
    int status;
    if (!shared)
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(shared, 0, sizeof *shared);
    child = fork();
    if (!child) {
        if (*text == '!')
            *shared = litmus_explore(text + 1, &limits, replay);
        else
            program_load(text);
        if (*text != '!')
            *shared = replay ? mc_replay(program_setup, program_check, &limits, replay)
                         : mc_explore(program_setup, program_check, &limits);
        shared->seconds = now();
        fflush(stdout);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || (WIFEXITED(status) && WEXITSTATUS(status)))
        exit(2);
    if (WIFSIGNALED(status))
        snprintf(shared->violation, sizeof shared->violation, "crashed by signal %d", WTERMSIG(status));
    return *shared;
}

int main(int argc, char **argv)
{
    const char *expected = NULL;
    uint64_t programs = 0, schedules = 0, violations = 0, found = 0, unfinished = 0;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0", *outcome;
        mc_result r;
        if (!strncmp(argv[i], "--", 2)) {
            if (!strcmp(argv[i], "--bound"))
                limits.preemptions = atoi(value);
            else if (!strcmp(argv[i], "--executions"))
                limits.executions = strtoull(value, NULL, 10);
            else if (!strcmp(argv[i], "--cas"))
                limits.cas_failures = atoi(value);
            else if (!strcmp(argv[i], "--fair"))
                limits.fair = atoi(value);
            else if (!strcmp(argv[i], "--stale"))
                limits.stale = atoi(value);
            else if (!strcmp(argv[i], "--random"))
                limits.executions = strtoull(value, NULL, 10), limits.random = 1, limits.preemptions = MC_UNBOUNDED;
            else if (!strcmp(argv[i], "--pct"))
                limits.pct = atoi(value);
            else if (!strcmp(argv[i], "--seed"))
                limits.seed = strtoull(value, NULL, 10);
            else if (!strcmp(argv[i], "--replay"))
                replay = value;
            else if (!strcmp(argv[i], "--expect"))
                expected = value;
            else
                return fprintf(stderr, "explorer: unknown option %s\n", argv[i]), 2;
            i++;
            continue;
        }
        fflush(stdout);
        r = run_program(argv[i]);
        programs++;
        schedules += r.executions;
        unfinished += !r.exhausted && !*r.violation && !limits.random;
        violations += *r.violation != 0;
        found += expected && *r.violation && strstr(r.violation, expected);
        outcome = *r.violation ? r.violation
                  : r.exhausted ? "exhausted"
                  : replay || limits.random ? "no violation"
                                            : "not exhausted";
        printf("%-24s ", argv[i]);
        if (limits.random)
            printf("%s seed %llu", limits.pct ? "pct" : "uniform", (unsigned long long)limits.seed);
        else
            printf("bound %d", limits.preemptions);
        printf(" %10llu schedules %6.2f s  %s\n", (unsigned long long)r.executions, r.seconds, outcome);
        if (*r.violation && !replay)
            printf("    replay: --bound %d --cas %d --fair %d --stale %d --replay '%s' '%s'\n", limits.preemptions,
                   limits.cas_failures, limits.fair, limits.stale, r.replay, argv[i]);
    }
    printf("programs %llu schedules %llu violations %llu%s\n", (unsigned long long)programs,
           (unsigned long long)schedules, (unsigned long long)violations,
           unfinished && !replay ? " (not all exhausted)" : "");
    return expected ? !found : violations != 0;
}
