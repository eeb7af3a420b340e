/* A number for each thread, and which of those threads are alive: for diagnosis, to tell a holder that sleeps from one that has
 * ended.
 *
 * A table of slots, no lock, no allocation: a thread takes a slot when it gets its number, and its end (the destructor of a
 * pthread key) gives it back.
 *
 *     number   thread
 *     0        0        free
 *     n        0        taken; who has it is not said yet, or no more
 *     n        t        thread t (pthread_self) has the number n, and has not ended
 *
 * Numbers are not used again, slots and pthread_t are. A reader loads number, thread, number: if both numbers are n, the thread
 * was n's. For the next owner's thread is stored (RELEASE) after its number was; a reader that sees it (ACQUIRE) sees a number
 * after n too. Who finds no free slot is counted instead: while there are such, a number that is in no slot may be alive. Legal
 * to call a thread alive that is about to end; illegal to miss one that runs, unless it says "not complete".
 *
 * In a child of fork() the thread that forked is left, and its slot.
 *
 * `at` is the op that the slot's thread is in the middle of: written by that thread alone, read in a child of fork() by the one
 * thread that is left. The op is alive as long as it stands there, for it is set in a wait for the op, and reset at its end; or, if
 * the wait is to go on, in the next one, or by the thread's cancel, or when the thread ends. */
#include "threads.h"

#include "api.h"
#include "atomics.h"

#include <pthread.h>
#include <stddef.h>

#define SLOTS 1024
#define NO_SLOT (SLOTS + 1) /* what the key has then; else the slot's index + 1 */

static struct {
    lots_a64 number, thread, at;
} slots[SLOTS];
static lots_a64 numbers, without_slot;
static _Thread_local uintptr_t own; /* this thread's slot, its index + 1; 0: none */
static pthread_key_t key;
static int has_key;

/* This thread's, if there is a free one: its index + 1. */
static uintptr_t take_slot(uint64_t number)
{
    for (size_t tried = 0; tried < SLOTS; tried++) {
        size_t i = (number + tried) % SLOTS;
        uint64_t free_ = 0;
        while (!free_) /* the CAS may fail for nothing */
            if (a64_cas(&slots[i].number, &free_, number, ACQUIRE)) { /* give_back's RELEASE: its 0 comes before our thread */
                a64_store(&slots[i].thread, (uint64_t)(uintptr_t)pthread_self(), RELEASE); /* lots_threads' ACQUIRE */
                return i + 1;
            }
    }
    a64_fetch_add(&without_slot, 1, RELAXED); /* no lock word: a count */
    return NO_SLOT;
}

static void give_back(void *value)
{
    uintptr_t slot = (uintptr_t)value;
    own = 0; /* a later destructor may wait still, and the slot is another's by then */
    if (slot == NO_SLOT) {
        a64_fetch_add(&without_slot, (uint64_t)-1, RELAXED); /* no lock word: a count, to which this thread added one */
        return;
    }
    a64_store(&slots[slot - 1].at, 0, RELAXED); /* before the number: RELEASE. It may have ended amid a wait */
    a64_store(&slots[slot - 1].thread, 0, RELAXED); /* before the number: RELEASE */
    a64_store(&slots[slot - 1].number, 0, RELEASE); /* take_slot's ACQUIRE */
}

static _Thread_local uint64_t own_number;

uint64_t thread_number(void) { return own_number; }

uint64_t lots_thread_token(void)
{
    if (!own_number) {
        own_number = a64_fetch_add(&numbers, 1, RELAXED) + 1; /* no lock word: a number for each */
        uintptr_t slot = take_slot(own_number);
        if ((!has_key || pthread_setspecific(key, (void *)slot)) && slot != NO_SLOT) {
            give_back((void *)slot); /* nobody would when this thread ends: it counts as without one, for good */
            a64_fetch_add(&without_slot, 1, RELAXED); /* as in take_slot */
            slot = NO_SLOT;
        }
        own = slot == NO_SLOT ? 0 : slot;
    }
    return own_number;
}

lots_waiter *thread_was_at(void)
{
    return own ? (lots_waiter *)(uintptr_t)a64_load(&slots[own - 1].at, RELAXED) : NULL; /* its own */
}

lots_waiter *thread_is_at(lots_waiter *w)
{
    lots_waiter *before;
    if (!lots_thread_token() || !own)
        return NULL;
    before = thread_was_at();
    /* SEQ_CST, though only a child of fork() reads it, where nobody runs beside: it comes before any change of the word that the
     * wait makes, and NULL after the last one. fork() copies the memory as another processor would see it. */
    a64_store(&slots[own - 1].at, (uint64_t)(uintptr_t)w, SEQ_CST);
    return before;
}

void thread_is_past(const lots_waiter *w)
{
    if (thread_was_at() == w)
        thread_is_at(NULL);
}

/* RELAXED: no other thread exists. */
static void each_at(void (*visit)(lots_waiter *w))
{
    for (size_t i = 0; i < SLOTS; i++)
        if (a64_load(&slots[i].at, RELAXED))
            visit((lots_waiter *)(uintptr_t)a64_load(&slots[i].at, RELAXED));
}

void threads_were_at(void (*visit)(lots_waiter *w), void (*then)(lots_waiter *w))
{
    each_at(visit);
    each_at(then);
    for (size_t i = 0; i < SLOTS; i++)
        if (i + 1 != own) /* the thread that forked goes on */
            a64_store(&slots[i].at, 0, RELAXED); /* for a child of the child */
}

size_t lots_threads(uint64_t *tokens, uint64_t *threads, size_t capacity, int *complete)
{
    size_t count = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        uint64_t number = a64_load(&slots[i].number, ACQUIRE); /* give_back's RELEASE, by way of take_slot's CAS */
        uint64_t thread = a64_load(&slots[i].thread, ACQUIRE); /* take_slot's RELEASE */
        if (!number || a64_load(&slots[i].number, RELAXED) != number) /* after the thread: ACQUIRE */
            continue;
        if (count < capacity) {
            tokens[count] = number;
            threads[count] = thread;
        }
        count++;
    }
    *complete = !a64_load(&without_slot, RELAXED);
    return count;
}

/* RELAXED: no other thread exists. */
static void in_the_child(void)
{
    uintptr_t own = has_key ? (uintptr_t)pthread_getspecific(key) : 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (i + 1 != own) {
            a64_store(&slots[i].thread, 0, RELAXED);
            a64_store(&slots[i].number, 0, RELAXED);
        }
    a64_store(&without_slot, own == NO_SLOT || !has_key, RELAXED);
}

__attribute__((constructor)) static void prepare(void)
{
    has_key = !pthread_key_create(&key, give_back);
    pthread_atfork(NULL, NULL, in_the_child);
}
