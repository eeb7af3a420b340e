/* The processor's trap flag: a SIGTRAP before each instruction, from STEPS_BEGIN() to STEPS_END(). */
#ifndef TRAP_H
#define TRAP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for the registers, by their names */
#endif
#include <signal.h>

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define CAN_STEP 1
#else
#define CAN_STEP 0 /* another processor, or a sanitizer's handler is in the way: nothing is tried */
#endif

#if CAN_STEP
#include <ucontext.h>

#define TRAP_FLAG 0x100

/* In a handler of SIGTRAP: at full speed from here on. */
static inline void no_more_steps(void *context) { ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG; }

/* Below the red zone, which may be in use. */
#define SET_FLAGS(change) \
    __asm__ volatile("lea -128(%%rsp), %%rsp\n pushfq\n " change "\n popfq\n lea 128(%%rsp), %%rsp" ::: "memory", "cc")
#define STEPS_BEGIN() SET_FLAGS("orq $0x100, (%%rsp)")
#define STEPS_END() SET_FLAGS("andq $~0x100, (%%rsp)")
#else
#define STEPS_BEGIN() (void)0
#define STEPS_END() (void)0
#endif

#endif
