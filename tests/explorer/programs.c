/* Small programs over the core.
 *
 *   program := fiber ('|' fiber)*
 *   fiber   := step+          a thread: its steps one after the other
 *            | 'L' step+      an event loop: each step is one task, all of them started at once
 *            | 'X' step+      an event loop that is closed at some step, with whatever then waits there
 *            | 'D' step+      an event loop that stops at some step and never runs again; closed when the others ended
 *            | 'K'            the keeper, at any time: every wake that was not taken up is late
 *            | 'A'            the keeper as it is: made and armed by wakes, ticking at any time (armed.c)
 *            | 'G'            who is given guards ('g', 'd') and releases them
 *   step    := prefix* mode ('+' mode)*      '+': while holding, take the same lock once more
 *            | queue          on the two bare queues of queues.c
 *            | notice         on the keys of notices.c
 *   mode    := ('R' read | 'r' read_recursive | 'W' write | 'M' mutex | 'E' upgradable read | 'F' fair mutex
 *            | 'B' another lock, a mutex) change*
 *   change  := '^' upgrade | '~' with a timeout that may come at any step | '%' cancelled at any step | '?' only tries to
 *            | '>' downgrade to a read | '<' to an upgradable one | '=' released fairly and acquired again (bump)
 *            | '.' waits for the condition | ',' with a timeout | ';' cancelled at any step | '1', '*' notifies one, all
 *   notice  := '1' | '*' the same with no lock held | 'S' parks at a key (with 't' or 'c') | 'H' unparks one | 'I' all
 *            | 'J' unparks one, moves the rest to another key | 'Z' unparks one of those
 *   queue   := 'P' park (with 't' or 'c') | 'U' unpark one | 'N' all | 'O' every other one | 'Q' wake one, move the rest
 *            | 'V' unpark one of those that were moved
 *   prefix  := 't' may time out at any step | 'c' may be interrupted (thread) or cancelled (task) at any step
 *            | 's' (in a loop) the loop's own thread acquires, blocking the running loop | 'f' released fairly
 *            | 'y' tries first, then waits | 'g' its guard is released by 'G' | 'd' by both at once: one of them must fail
 *            | 'h' (a thread) holds, after its changes, until all fibers without an 'h' have ended
 *            | 'q' (a task) changes and releases without a turn between
 *            | 'i' (a thread) a signal may come while it waits; its handler takes the lock in the mode after the '+'
 *            | 'l' the same, but it does not end the sleep: the thread looks for it
 *            | 'p' may be cancelled before it has asked for anything
 *
 * A task that has the lock lets its loop go round once before it releases. Every acquisition, however it ends, is checked
 * against the ghosts: writers alone, readers with readers, answers that agree with the state. */
#include "programs.h"
#include "verbs.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

world the;

void mc_reset_seam(const void *word0, const void *word1, int stale);

static void mistake(const char *text, const char *at)
{
    fprintf(stderr, "explorer: program '%s': cannot read '%s'\n", text, at);
    exit(2);
}

static const char *family;
static const char MODE_LETTERS[] = "RrWME\n\nF"; /* in the order of the modes */

const char *program_family(const char *text)
{
    return *text == '!'                   ? "litmus"
           : strpbrk(text, "PUNOQV")       ? "queue"
           : strpbrk(text, ".,;" NOTICES)  ? "notice"
           : strchr(text, 'M')             ? "mutex"
           : strchr(text, 'F')             ? "fair_mutex"
                                           : "rwlock";
}

void program_load(const char *text)
{
    const char *p = text;
    the.actor_count = 0;
    family = program_family(text);
    do {
        actor *a = &the.actors[the.actor_count++];
        *a = (actor){.kind = 'T'};
        while (*p == ' ' || *p == '|')
            p++;
        if (strchr("LXDKAG", *p))
            a->kind = *p++;
        for (; *p && *p != '|'; p++) {
            step *s = &a->steps[a->count];
            if (*p == ' ')
                continue;
            if (a->count == MAX_STEPS || the.actor_count == MC_FIBERS)
                mistake(text, p);
            for (; islower((unsigned char)*p) && *p != 'r'; p++)
                *(*p == 't'   ? &s->timed
                  : *p == 'c' ? &s->cancelled
                  : *p == 's' ? &s->sync
                  : *p == 'h' ? &s->hold
                  : *p == 'q' ? &s->quick
                  : *p == 'i' ? &s->handler
                  : *p == 'l' ? &s->looks
                  : *p == 'p' ? &s->early
                  : *p == 'y' ? &s->try_first
                  : *p == 'g' ? &s->given
                  : *p == 'd' ? &s->twice
                              : &s->fair) = 1;
            if (*p && strchr("PUNOQV" NOTICES, *p)) {
                if (strchr("XD", a->kind) && strchr("PUNOQV", *p)) /* what a loop leaves behind is withdrawn by way of its lock */
                    mistake(text, p);
                s->queue = *p;
                a->count++;
                continue;
            }
            for (;; p++) {
                const char *mode = *p == 'B' ? strchr(MODE_LETTERS, 'M') : strchr(MODE_LETTERS, *p);
                size_t changes = 0;
                if (!*p || !mode || s->nested == MAX_NESTED)
                    mistake(text, p);
                s->modes[s->nested++] = (uint32_t)(mode - MODE_LETTERS) | (*p == 'B' ? OTHER : 0);
                s->handler |= s->looks;
                for (p++; *p && strchr(CHANGES, *p); p++) {
                    if (changes == MAX_CHANGES || s->nested > 1 || s->sync || s->given || s->twice)
                        mistake(text, p);
                    s->changes[changes++] = *p;
                }
                if (*p != '+')
                    break;
            }
            p--;
            a->count++;
        }
    } while (*p);
}

/* --- one execution ------------------------------------------------------------------------------------------------- */

/* What holds between any two steps: W1 and W3 as far as one word can show them, and a reader count that somebody holds. */
static void check_word(void)
{
    uint64_t w = the.word.bits, count = w >> 4;
    if (count > (uint64_t)the.op_count)
        mc_fail("W1: impossible word %#llx: %llu readers of %d", (unsigned long long)w, (unsigned long long)count,
                the.op_count);
    if ((w & UPGRADABLE) && ((w & WRITER) || !count))
        mc_fail("W3: UPGRADABLE beside WRITER, or without a share: %#llx", (unsigned long long)w);
    if ((uint64_t)(the.readers + the.upgradables) > count || (the.writers && !(w & WRITER)) || (the.upgradables && !(w & UPGRADABLE)))
        mc_fail("the word %#llx denies %d readers, %d writers or %d upgradables that are in", (unsigned long long)w, the.readers,
                the.writers, the.upgradables);
    if (the.upgrading && !(w & (UPGRADABLE | WRITER)))
        mc_fail("R17: %#llx, and somebody is on the way from UPGRADABLE to WRITER", (unsigned long long)w);
    if (the.stepping && !(w & WRITER) && (count < 1 + (uint64_t)(the.readers + the.upgradables) ||
                                          (the.stepping == 1 + LOTS_UPGRADABLE && !(w & UPGRADABLE))))
        mc_fail("a writer that steps down has nothing in between: %#llx", (unsigned long long)w);
}

/* A queue is in the order of arrival, and its links agree. */
void check_queue(const lots_waiter *head)
{
    const lots_waiter *w = head;
    for (; w && w->next; w = w->next)
        if (w->next->prev != w || w->next->ticket <= w->ticket)
            mc_fail("a queue is out of order, or its links disagree");
    if (head && (head->prev || head->tail != w))
        mc_fail("the head of a queue does not know its tail");
}

static void lock_is_consistent(lots_bucket *b, lots_word *word)
{
    int enter = lot_queue(b, lot_key(word, PHASE_ENTER)) != NULL;
    int drain_ = lot_queue(b, lot_key(word, PHASE_DRAIN)) != NULL;
    check_queue(lot_queue(b, lot_key(word, PHASE_ENTER)));
    if (BUG_465) /* its logic sets and clears the flags outside the lock, as parking_lot does: only the one direction holds */
        return;
    if (enter != ((word->bits & PARKED) != 0) || drain_ != ((word->bits & WRITER_PARKED) != 0))
        mc_fail("W2: word %#llx, queue to enter %s, queue to drain %s", (unsigned long long)word->bits,
                enter ? "not empty" : "empty", drain_ ? "not empty" : "empty");
    ghost_nobody_is_passed(word);
}

void mc_bucket_is_consistent(lots_bucket *b)
{
    queues_are_consistent(b);
    if (b == lot_bucket_of((uintptr_t)&the.word))
        lock_is_consistent(b, &the.word);
    if (b == lot_bucket_of((uintptr_t)&the.other))
        lock_is_consistent(b, &the.other);
}

static int has(char kind)
{
    for (int i = 0; i < the.actor_count; i++)
        if (the.actors[i].kind == kind)
            return 1;
    return 0;
}

void program_setup(void)
{
    mc_every_step = check_word;
    mc_reset_seam(&the.word, &the.other, mc_stale_budget());
    the.word.bits = the.other.bits = 0;
    the.readers = the.writers = the.others = the.ops_open = the.op_count = 0;
    the.upgradables = the.upgrading = the.stepping = 0;
    verbs_reset();
    actors_reset();
    gifts_reset();
    queues_reset();
    notices_reset();
    mc_points_after_unlock = !strcmp(family, "notice");
    keeper_reset(has('A'));
    for (int i = 0; i < the.actor_count; i++) {
        actor *a = &the.actors[i];
        int is_loop = strchr("LXD", a->kind) != NULL;
        a->ended = 0;
        static const char *const names[] = {"fiber 0", "fiber 1", "fiber 2", "fiber 3",
                                            "fiber 4", "fiber 5", "fiber 6", "fiber 7"};
        if (is_loop) {
            a->mailbox = calloc(1, sizeof *a->mailbox);
            *a->mailbox = (lots_mailbox){.references = {1}};
        }
        mc_spawn(names[i], is_loop ? run_loop : a->kind == 'K' ? run_keeper : a->kind == 'A' ? run_armed_keeper : a->kind == 'G' ? run_receiver : run_thread, a);
    }
    if (!strcmp(family, "queue"))
        mc_spawn("janitor", run_janitor, NULL);
    if (!strcmp(family, "notice"))
        mc_spawn("notifier", run_notifier_of_last_resort, NULL);
}

/* Nothing of this execution may reach the next one, which would fail in its place. */
static int bucket_is_empty(lots_bucket *b, void *unused, lots_batch *batch)
{
    (void)unused, (void)batch;
    if (b->keys || b->woken || b->woken_last || b->woken_count.value_)
        mc_fail("a bucket is not empty: keys %d, woken %d, the last of them %d, their count %u", b->keys != NULL,
                b->woken != NULL, b->woken_last != NULL, b->woken_count.value_);
    return 0;
}

void program_check(void)
{
    lots_batch nobody = {0};
    if (the.word.bits | the.other.bits)
        mc_fail("W4: everybody has left and the word is %#llx", (unsigned long long)(the.word.bits | the.other.bits));
    for (uint32_t mode = 0; mode < LOTS_MODES; mode++)
        if (lots_release(&the.word, mode, 0, NULL) != LOTS_MISUSE || the.word.bits)
            mc_fail("W6: a release that nobody was owed changed the word to %#llx", (unsigned long long)the.word.bits);
    if (lots_for_each(NULL, NULL, 0))
        mc_fail("a waiter is left in the lot");
    lot_each_bucket(bucket_is_empty, NULL, &nobody, 0);
    queues_check();
    notices_check();
    verbs_pair();
    if (the.ops_open)
        mc_fail("%d ops did not end", the.ops_open);
    const unsigned char *p = (unsigned char *)the.ops;
    if (the.op_count && (*p != POISON || memcmp(p, p + 1, (size_t)the.op_count * sizeof *the.ops - 1)))
        mc_fail("an op was touched after its end");
}
