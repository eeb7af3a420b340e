/* Runs a verb one instruction at a time, by the processor's trap flag, and something else in the middle of it: before each of
 * its atomic read-modify-writes in turn. There what it has looked at before is oldest, so a race of two callers, on the code
 * as it was compiled, needs no luck. What comes between runs only where the verb holds neither the bucket's lock nor the
 * mailbox's, for it could not go on otherwise. */
#ifndef STEPPING_H
#define STEPPING_H

#include "trap.h"

#include "actors.h"

static lots_bucket *step_bucket, *step_second; /* the second one may be NULL */
static lots_mailbox *step_mailbox; /* or NULL */
static void (*step_between)(void);
static volatile int step_at, step_now; /* before which of them; 0: it has happened */

#if CAN_STEP
static void *step_nothing(void *unused) { return unused; }

#define LOCK_PREFIX 0xF0

/* gcov counts with an addition to a variable of its own: lock addq $1, (%rip). */
static int is_a_line_counted(const unsigned char *code) { return code[1] == 0x48 && code[2] == 0x83 && code[3] == 0x05; }

static void on_step(int signal, siginfo_t *info, void *context)
{
    const unsigned char *code = (const unsigned char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    (void)signal;
    (void)info;
    if (*code != LOCK_PREFIX || is_a_line_counted(code) || ++step_now < step_at || !step_at)
        return;
    if (!lock_is_free(&step_bucket->lock) || (step_second && !lock_is_free(&step_second->lock)) ||
        (step_mailbox && !lock_is_free(&step_mailbox->lock)))
        return; /* at the next one where they are free again */
    step_at = 0;
    no_more_steps(context);
    step_between();
}

#endif

/* Something comes before the read-modify-write `at` of `what`; 0 if it has not so many. */
#define STEPPED(at, what) (step_at = (at), step_now = 0, ({ STEPS_BEGIN(); what; STEPS_END(); }), !step_at)

static inline void stepping(lots_word *word, lots_mailbox *mailbox, void (*between)(void))
{
#if CAN_STEP
    pthread_t thread; /* in a process that never had a second one, libc's mutexes are not atomic */
    CHECK(!pthread_create(&thread, NULL, step_nothing, NULL) && !pthread_join(thread, NULL));
    sigaction(SIGTRAP, &(struct sigaction){.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, NULL);
#endif
    step_bucket = lot_bucket_of((uintptr_t)word);
    step_second = NULL;
    step_mailbox = mailbox;
    step_between = between;
}

#endif
