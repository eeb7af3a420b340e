/* The explorer: the core of csrc/ on fibers, under a depth-first search over every scheduling choice.
 *
 * This half of the header is the seam that csrc/ includes under LOTS_MODEL (atomics, bucket lock, clock, fairness timer);
 * the rest is for the explorer's own files. */
#ifndef LOTS_EXPLORER_H
#define LOTS_EXPLORER_H

#include <stdint.h>

typedef enum { MC_RELAXED, MC_ACQUIRE, MC_RELEASE, MC_ACQ_REL, MC_SEQ_CST, MC_LAST /* a failed CAS */ } mc_order;

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
#define LOTS_KEEPER_H
void keeper_arm(void); /* armed.c */
void keeper_before_fork(void);
void keeper_after_fork(int in_child);

/* --- the engine (engine.c) ------------------------------------------------------------------------------------ */

#define MC_FIBERS 8

#define MC_CHOICES 8000
#define MC_UNBOUNDED 1000000

/* What is explored, and how far. */
typedef struct mc_limits {
    int preemptions;  /* switches away from a fiber that could go on */
    int cas_failures; /* weak CASes that fail for nothing */
    int fair;         /* times that the fairness timer is due */
    int stale;        /* loads that are given an older value than the last */
    uint64_t executions; /* give up after this many; 0: never */
    double seconds;      /* ... or after so much processor time; 0: never */
    int random;       /* choose at random, not in order; `preemptions` should be MC_UNBOUNDED then */
    int pct;          /* random priorities with so many change points (Burckhardt et al. 2010), not uniform; 0: uniform */
    uint64_t seed;
} mc_limits;

typedef struct mc_result {
    uint64_t executions;
    uint64_t steps;
    int exhausted;
    double seconds;              /* of processor time */
    char violation[512]; /* empty: none */
    char replay[MC_CHOICES + 1]; /* the choices that led to it */
} mc_result;

/* Run `setup` (which spawns fibers) under every choice sequence; `check` after each execution. */
mc_result mc_explore(void (*setup)(void), void (*check)(void), const mc_limits *limits);
/* Run one execution again, printing every step. */
mc_result mc_replay(void (*setup)(void), void (*check)(void), const mc_limits *limits, const char *choices);

void mc_report(mc_result *r); /* the violation and the choices so far, for who crashes */
void mc_spawn(const char *name, void (*run)(void *argument), void *argument);
void mc_point(const char *what, const void *where); /* somebody else may run here */
void mc_end(void) __attribute__((noreturn));          /* of the fiber that runs */
int mc_choose(int n, const char *what);             /* 0 ... n - 1, all of them explored */
int mc_all_sleep_but(int who);                      /* every other fiber than the who-th has ended or sleeps */
/* Sleep until `ready` holds. `timed`: may also be scheduled before, as if its time had come. */
void mc_sleep_until(int (*ready)(void *argument), void *argument, int timed, const char *what);
void mc_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void mc_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define mc_note(...) (mc_tracing ? mc_print(__VA_ARGS__) : (void)0) /* in the trace of a replay */
extern int mc_current, mc_tracing, mc_points_after_unlock;
static inline int mc_self(void) { return mc_current; } /* the fiber that runs */
int mc_stale_budget(void); /* of this execution */
extern void (*mc_every_step)(void); /* the oracles that hold between any two steps */
double mc_seconds(void);   /* of processor time, so far */

#endif
