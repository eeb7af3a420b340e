/* The only file that names <stdatomic.h>. Every atomic of the core goes through these functions, each with its memory
 * order spelled out at the call; under LOTS_MODEL the deterministic scheduler (tests/explorer) answers instead, and the
 * very same core runs under it. */
#ifndef LOTS_ATOMICS_H
#define LOTS_ATOMICS_H

#include <stdint.h>

typedef struct { uint64_t value_; } lots_a64;
typedef struct { uint32_t value_; } lots_a32;

#ifdef LOTS_MODEL

#include "explorer.h"

#define RELAXED MC_RELAXED
#define ACQUIRE MC_ACQUIRE
#define RELEASE MC_RELEASE
#define ACQ_REL MC_ACQ_REL
#define SEQ_CST MC_SEQ_CST

#define a64_load(p, order) mc_load64(&(p)->value_, order)
#define a64_store(p, v, order) mc_store64(&(p)->value_, v, order)
#define a64_cas(p, expected, desired, order) mc_cas64(&(p)->value_, expected, desired, order)
#define a64_fetch_and(p, v, order) mc_and64(&(p)->value_, v, order)
#define a64_fetch_add(p, v, order) mc_add64(&(p)->value_, v, order)
#define a32_load(p, order) mc_load32(&(p)->value_, order)
#define a32_store(p, v, order) mc_store32(&(p)->value_, v, order)
#define a32_cas(p, expected, desired, order) mc_cas32(&(p)->value_, expected, desired, order)
#define a32_fetch_add(p, v, order) mc_add32(&(p)->value_, v, order)

#else

#include <stdatomic.h>

#define RELAXED memory_order_relaxed
#define ACQUIRE memory_order_acquire
#define RELEASE memory_order_release
#define ACQ_REL memory_order_acq_rel
#define SEQ_CST memory_order_seq_cst

#define LOTS_A64(p) ((_Atomic uint64_t *)&(p)->value_)
#define LOTS_A32(p) ((_Atomic uint32_t *)&(p)->value_)

#define a64_load(p, order) atomic_load_explicit(LOTS_A64(p), order)
#define a64_store(p, v, order) atomic_store_explicit(LOTS_A64(p), v, order)
/* Weak: may fail spuriously, so always in a loop. A failed one only refreshes *expected. */
#define a64_cas(p, expected, desired, order) \
    atomic_compare_exchange_weak_explicit(LOTS_A64(p), expected, desired, order, RELAXED)
#define a64_fetch_and(p, v, order) atomic_fetch_and_explicit(LOTS_A64(p), v, order)
#define a64_fetch_add(p, v, order) atomic_fetch_add_explicit(LOTS_A64(p), v, order)
#define a32_load(p, order) atomic_load_explicit(LOTS_A32(p), order)
#define a32_store(p, v, order) atomic_store_explicit(LOTS_A32(p), v, order)
#define a32_cas(p, expected, desired, order) \
    atomic_compare_exchange_strong_explicit(LOTS_A32(p), expected, desired, order, RELAXED)
#define a32_fetch_add(p, v, order) atomic_fetch_add_explicit(LOTS_A32(p), v, order)

#endif

/* Tell the processor that a thread spins. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
