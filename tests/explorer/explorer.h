/* The explorer: the core of csrc/ on fibers, under a depth-first search over every scheduling choice.
 *
 * This half of the header is the seam that csrc/ includes under LOTS_MODEL (atomics, bucket lock, clock, fairness timer);
 * the rest is for the explorer's own files. */
#ifndef LOTS_EXPLORER_H
#define LOTS_EXPLORER_H

#include <stdint.h>

typedef enum { MC_RELAXED, MC_ACQUIRE, MC_RELEASE, MC_ACQ_REL, MC_SEQ_CST } mc_order;

uint64_t mc_load64(const uint64_t *p, mc_order order);
void mc_store64(uint64_t *p, uint64_t v, mc_order order);
int mc_cas64(uint64_t *p, uint64_t *expected, uint64_t desired, mc_order order); /* weak */
uint64_t mc_and64(uint64_t *p, uint64_t v, mc_order order);
uint64_t mc_add64(uint64_t *p, uint64_t v, mc_order order);
uint32_t mc_load32(const uint32_t *p, mc_order order);
void mc_store32(uint32_t *p, uint32_t v, mc_order order);
int mc_cas32(uint32_t *p, uint32_t *expected, uint32_t desired, mc_order order); /* strong */
uint32_t mc_add32(uint32_t *p, uint32_t v, mc_order order);
void mc_lock(int *held);
void mc_unlock(int *held);
int64_t mc_now(void);
struct lots_bucket;
int mc_fair(struct lots_bucket *b);
void mc_bucket_is_consistent(struct lots_bucket *b);

/* --- the engine (engine.c) ------------------------------------------------------------------------------------ */

#define MC_FIBERS 8

/* What is explored, and how far. */
typedef struct mc_limits {
    int preemptions;  /* switches away from a fiber that could go on */
    int cas_failures; /* weak CASes that fail for nothing */
    int fair;         /* times that the fairness timer is due */
    uint64_t executions; /* give up after this many; 0: never */
} mc_limits;

typedef struct mc_result {
    uint64_t executions;
    uint64_t steps;
    int exhausted;
    char violation[512]; /* empty: none */
    char replay[2048];     /* the choices that led to it */
} mc_result;

/* Run `setup` (which spawns fibers) under every choice sequence; `check` after each execution. */
mc_result mc_explore(void (*setup)(void), void (*check)(void), const mc_limits *limits);
/* Run one execution again, printing every step. */
mc_result mc_replay(void (*setup)(void), void (*check)(void), const mc_limits *limits, const char *choices);

void mc_spawn(const char *name, void (*run)(void *argument), void *argument);
void mc_point(const char *what, const void *where); /* somebody else may run here */
int mc_choose(int n, const char *what);             /* 0 ... n - 1, all of them explored */
/* Sleep until `ready` holds. `timed`: may also be scheduled before, as if its time had come. */
void mc_sleep_until(int (*ready)(void *argument), void *argument, int timed, const char *what);
void mc_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void mc_note(const char *format, ...) __attribute__((format(printf, 1, 2))); /* in the trace of a replay */
int mc_self(void);
extern void (*mc_every_step)(void); /* the oracles that hold between any two steps */

#endif
