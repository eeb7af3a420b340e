/* The explorer's command line.
 *
 *   explorer [--bound N] [--executions N] [--cas N] [--fair N] [--stale N] PROGRAM...   explore; exit 1 on a violation
 *   explorer --seconds N ...                                                cut a program after N seconds of processor time
 *   explorer --pairs 1 ...                                                  print which verbs met in it (verbs.h)
 *   explorer --replay CHOICES [the same limits] PROGRAM                     one execution, step by step
 *   explorer --random N [--seed S] [--pct D] ...                            N schedules at random: uniform, or by priorities
 *                                                                           with D change points; no bound on preemptions
 *   explorer --expect TEXT ...                                              exit 0 only if a violation with TEXT was found */
#include "programs.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

mc_result litmus_explore(const char *which, const mc_limits *limits, const char *replay); /* litmus.c */
mc_result lock_explore(const char *which, const mc_limits *limits, const char *replay);   /* locks.c */
mc_result levels_explore(const char *which, const mc_limits *limits, const char *replay); /* levels.c */
mc_result trail_explore(const char *which, const mc_limits *limits, const char *replay);  /* trails.c */

static mc_limits limits = {.preemptions = 2, .cas_failures = 0, .fair = 1};
static const char *replay;
static int pairs;

typedef struct outcome {
    mc_result result;
    uint64_t met[V_COUNT];
} outcome;

static mc_result *of_child;

/* On a stack of its own: the fiber's may be what broke. The schedule is what has to survive. */
static void on_crash(int number)
{
    mc_report(of_child);
    signal(number, SIG_DFL);
    raise(number);
}

static void keep_schedule_of_a_crash(mc_result *result)
{
    static char stack[64 * 1024];
    const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    of_child = result;
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &(struct sigaction){.sa_handler = on_crash, .sa_flags = SA_ONSTACK}, NULL);
}

/* Each program in a process of its own: a violation leaves the lot as it broke, and may crash. */
static const outcome *run_program(const char *text)
{
    static outcome *all;
    mc_result *shared;
    pid_t child;
    int status;
    if (!all)
        all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(all, 0, sizeof *all);
    shared = &all->result;
    child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* who is cut from outside leaves nobody behind */
        keep_schedule_of_a_crash(shared);
        if (replay)
            setvbuf(stdout, NULL, _IOLBF, 0); /* a crash must not swallow the steps that led to it */
        if (*text == '!')
            *shared = (!strncmp(text, "!levels", 7) ? levels_explore :
                       !strncmp(text, "!trail", 6) ? trail_explore :
                       strncmp(text, "!lock", 5) && strcmp(text, "!pair") ? litmus_explore : lock_explore)(text + 1, &limits, replay);
        else
            program_load(text);
        if (*text != '!')
            *shared = replay ? mc_replay(program_setup, program_check, &limits, replay)
                         : mc_explore(program_setup, program_check, &limits);
        shared->seconds = mc_seconds();
        memcpy(all->met, verbs_met, sizeof verbs_met);
        fflush(stdout);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0 || (WIFEXITED(status) && WEXITSTATUS(status)))
        exit(2);
    if (WIFSIGNALED(status))
        snprintf(shared->violation, sizeof shared->violation, "crashed by signal %d", WTERMSIG(status));
    return all;
}

int main(int argc, char **argv)
{
    const char *expected = NULL;
    uint64_t programs = 0, schedules = 0, violations = 0, found = 0, cut = 0;
    const outcome *all;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0", *outcome;
        mc_result r;
        if (!strncmp(argv[i], "--", 2)) {
            if (!strcmp(argv[i], "--bound"))
                limits.preemptions = atoi(value);
            else if (!strcmp(argv[i], "--executions"))
                limits.executions = strtoull(value, NULL, 10);
            else if (!strcmp(argv[i], "--seconds"))
                limits.seconds = atof(value);
            else if (!strcmp(argv[i], "--pairs"))
                pairs = atoi(value);
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
        all = run_program(argv[i]);
        r = all->result;
        programs++;
        schedules += r.executions;
        cut += !r.exhausted && !*r.violation && !limits.random && !replay;
        violations += *r.violation != 0;
        found += expected && *r.violation && strstr(r.violation, expected);
        outcome = *r.violation ? r.violation
                  : r.exhausted ? "exhausted"
                  : replay || limits.random ? "no violation"
                                            : "cut";
        printf("%-24s ", argv[i]);
        if (limits.random)
            printf("%s seed %llu", limits.pct ? "pct" : "uniform", (unsigned long long)limits.seed);
        else
            printf("bound %d", limits.preemptions);
        printf(" %10llu schedules %6.2f s  %s\n", (unsigned long long)r.executions, r.seconds, outcome);
        if (*r.violation && !replay)
            printf("    replay: --bound %d --cas %d --fair %d --stale %d --replay '%s' '%s'\n", limits.preemptions,
                   limits.cas_failures, limits.fair, limits.stale, r.replay, argv[i]);
        if (pairs)
            verbs_print(program_family(argv[i]), all->met);
    }
    printf("programs %llu schedules %llu violations %llu", (unsigned long long)programs, (unsigned long long)schedules,
           (unsigned long long)violations);
    if (cut)
        printf(" cut %llu", (unsigned long long)cut);
    putchar('\n');
    return expected ? !found : violations != 0;
}
