/* The doorway of the aiolots core: plain declarations, read verbatim by cffi and included by C.
 *
 * A lock is one lots_word; all else lives in the parking lot. An acquisition, and the guard that it becomes, is one
 * lots_op. Any thread may call any function; nothing here needs the GIL. Only functions whose name ends in `_wait`
 * sleep. Times are nanoseconds on the monotonic clock. */
#ifndef LOTS_API_H
#define LOTS_API_H

#include <stddef.h>
#include <stdint.h>

#define LOTS_API_VERSION 1

/* The 64-bit lock word; zero is an unlocked lock. Its bits are described in lock_word.h. */
typedef struct lots_word {
    uint64_t bits;
} lots_word;

/* The modes of acquisition. */
#define LOTS_READ 0
#define LOTS_READ_RECURSIVE 1
#define LOTS_WRITE 2
#define LOTS_MUTEX 3
#define LOTS_UPGRADABLE 4 /* a share beside plain readers; one at a time */
#define LOTS_UPGRADE 5    /* what the upgradable one asks for to become the writer; released, it is upgradable again */
#define LOTS_PARK 6       /* no lock: a wait for lots_notify at a key, and nothing else */
#define LOTS_FAIR_MUTEX 7 /* a mutex that always goes to who has waited longest */
#define LOTS_MODES 8

/* Answers of the verbs. */
#define LOTS_READY 0     /* acquired: the op holds the lock */
#define LOTS_PARKED 1    /* queued: poll again when woken */
#define LOTS_TIMED_OUT 2 /* the deadline passed; the op is withdrawn and holds nothing */
#define LOTS_INTERRUPTED 3 /* a signal came, or may have come: let its handlers run, then wait again, or cancel */
#define LOTS_WITHDRAWN 4 /* cancelled: out of every queue, holds nothing */
#define LOTS_MISUSE 5    /* the op or the word was not in a state for this; nothing was changed */
#define LOTS_CLOSED 6    /* the op's event loop is closed; the op is withdrawn */
#define LOTS_LOOK 7      /* the time to look has come (lots_op_look_wait) */
#define LOTS_MAIL 16     /* or-ed to an answer: `own` has mail that rang no bell, drain it now */

/* Reasons of a cancel. */
#define LOTS_BY_TIMEOUT 0 /* a grant that came first is kept: the answer is LOTS_READY */
#define LOTS_BY_CANCEL 1  /* a grant that came first is given back */

/* The life of an op. */
#define LOTS_PENDING 0    /* made, not yet asked for */
#define LOTS_ACQUIRING 1  /* its owner is running through a verb */
#define LOTS_QUEUED 2     /* in a queue of the lot */
#define LOTS_NORMAL 3     /* woken: the lock was released, compete for it */
#define LOTS_HANDOFF 4    /* woken: ownership came with the wake */
#define LOTS_HELD 5
#define LOTS_RELEASED 6
#define LOTS_GONE 7       /* withdrawn */
#define LOTS_CHANGING 8   /* held, and on the way from one mode to another */

#define LOTS_NEVER INT64_MAX /* the deadline that does not come */

/* One event loop's mailbox: woken tasks queue here, the loop is rung once a batch. */
typedef struct lots_mailbox lots_mailbox;

/* One acquisition; the guard once it is held. The fields are the core's own (waiter.h). Must not move while queued. */
typedef struct lots_op {
    uint64_t opaque[36];
} lots_op;

/* What lots_for_each tells of a waiter. */
typedef struct lots_waiter_info {
    uintptr_t word;   /* address of the lock word; 0: none (LOTS_PARK) */
    uintptr_t key;    /* the queue that it is in */
    uint64_t cookie;  /* as given to lots_op_init */
    uint64_t owner;   /* as given to lots_op_init */
    uint64_t ticket;  /* order of arrival at its bucket */
    uint32_t mode;
    uint32_t state;   /* LOTS_QUEUED, or LOTS_NORMAL / LOTS_HANDOFF for a task that has not taken up its wake */
    uint32_t draining; /* a writer that owns WRITER and waits for readers to leave */
    uint32_t is_task;
    uint32_t skipped; /* its loop could not run when its turn came */
    uint32_t expects; /* it waits for lots_notify; what it asks of the word comes after that */
    int64_t since;    /* when it was queued first; notified, when it was queued for its lock */
} lots_waiter_info;

/* What a step of a lock's slow path did: trail.c has the table. By the waiter itself: */
#define LOTS_STEP_QUEUED 1
#define LOTS_STEP_DRAINS 2
#define LOTS_STEP_ENTERED 3
#define LOTS_STEP_ACQUIRED 4
#define LOTS_STEP_TIMED_OUT 5 /* its time was up */
#define LOTS_STEP_CANCELLED 6
#define LOTS_STEP_ASIDE 7
#define LOTS_STEP_REVOKED 8
#define LOTS_STEP_LOOKED 9
/* By a thread: */
#define LOTS_STEP_RELEASED 16
#define LOTS_STEP_HANDED_OVER 17
#define LOTS_STEP_DOWNGRADED 18
#define LOTS_STEP_LEFT 19
#define LOTS_STEP_WOKEN 20

/* One such step, with the word as it was seen and left by what changed it. */
typedef struct lots_transition {
    uint64_t number;        /* from 1 on; one may be left out */
    int64_t when;           /* to some milliseconds */
    uint64_t before, after;
    uint64_t who;           /* the waiter's cookie; by a thread: its number (lots_thread_token), 0: it has none */
    uint64_t whom;          /* the cookie of the first of those whom it woke */
    uint32_t what;
    uint32_t mode;          /* of the waiter */
    uint32_t whom_mode;
    uint32_t count;         /* how many it woke */
    uint32_t who_loop, whom_loop; /* lots_mailbox_number, if a task waits */
} lots_transition;

/* The last LOTS_TRAIL of a lock. Zeroed it is empty. */
#define LOTS_TRAIL 16
typedef struct lots_trail {
    uint64_t opaque[129];
} lots_trail;

/* What waiting has cost those ops that are counted together: see lots_op_counts. Zeroed it is empty. Its counters go on while
 * they are read, each for itself. */
#define LOTS_WAIT_BUCKETS 28
typedef struct lots_contention {
    uint64_t acquired;      /* acquisitions that had to wait */
    uint64_t waited_ns;     /* they, all in all */
    uint64_t buckets[28];   /* LOTS_WAIT_BUCKETS: how long: below 1024 ns, then twice as long each; the last one has no end */
    uint64_t handoffs;      /* of them, those that were given the lock, instead of competing for it */
    uint64_t timeouts, cancellations; /* waits that ended without the lock */
    uint64_t revocations;   /* wakes that were taken away from tasks that came too late, or could not run */
    uint64_t longest_ns;    /* the longest wait, however it ended */
    lots_trail *trail;      /* the lock's, where their steps are noted, or NULL; it outlives them. Set before the first of them */
} lots_contention;

/* --- the word ------------------------------------------------------------------------------------------------ */

uint64_t lots_word_load(const lots_word *word);
/* Whether no sequence of operations leads to its value: it was overwritten, or a count went below zero. */
int lots_word_is_impossible(const lots_word *word);
/* Acquire without waiting and without an op: 1 or 0. */
int lots_try(lots_word *word, uint32_t mode);
/* Release what `mode` holds. LOTS_READY, or LOTS_MISUSE when the word says that nobody holds so. `own` is the mailbox of
 * the event loop that runs on this thread, or NULL; tasks woken into it ring no bell: the answer has LOTS_MAIL then. */
int lots_release(lots_word *word, uint32_t mode, int fair, lots_mailbox *own);
/* From what `from` holds to less, with nobody in between: write to read or upgradable, upgradable to read. Wakes whom that
 * lets in. LOTS_READY, or LOTS_MISUSE; and LOTS_MAIL as above. */
int lots_downgrade(lots_word *word, uint32_t from, uint32_t to, lots_mailbox *own);

/* --- the one acquisition ------------------------------------------------------------------------------------- */

/* `mailbox` NULL: a thread waits; else a task of that loop. `cookie` comes back from lots_mailbox_drain. */
void lots_op_init(lots_op *op, lots_word *word, uint32_t mode, lots_mailbox *mailbox, uint64_t cookie, uint64_t owner);
/* Who waits, told late: before lots_op_poll and after lots_op_try, when the fast path did not do. */
void lots_op_waits_as(lots_op *op, lots_mailbox *mailbox, uint64_t cookie, uint64_t owner);
/* First call: LOTS_READY, LOTS_PARKED (not queued: the lock is not free now), LOTS_MISUSE if it was asked for already. */
int lots_op_try(lots_op *op);
/* Acquire or queue: LOTS_READY, LOTS_PARKED, LOTS_CLOSED, LOTS_MISUSE. Again after every wake. For tasks; a thread calls
 * lots_op_wait, which also waits until whoever woke it is done with the op's memory. */
int lots_op_poll(lots_op *op);
/* Threads: poll and sleep until READY, TIMED_OUT or INTERRUPTED (call again, the place in the queue is kept; or cancel). */
int lots_op_wait(lots_op *op, int64_t deadline_ns);
/* The same, but LOTS_LOOK at `look_ns` if the deadline is later: for who must see a signal that came just before the sleep, which
 * it does not end. Without one: wait again. With one, before its handlers run: lots_op_interrupt. Whichever
 * it is, or a cancel: by the same thread (fork.c looks at the op until then). */
int lots_op_look_wait(lots_op *op, int64_t deadline_ns, int64_t look_ns);
/* LOTS_INTERRUPTED, as from lots_op_wait; or LOTS_READY: it has got what it waited for. */
int lots_op_interrupt(lots_op *op);
/* End early. LOTS_WITHDRAWN; LOTS_READY when the grant came first (BY_TIMEOUT: kept); LOTS_MISUSE otherwise. */
int lots_op_cancel(lots_op *op, uint32_t why, lots_mailbox *own);
/* Exactly one of any number of callers gets LOTS_READY; the others get LOTS_MISUSE. */
int lots_op_release(lots_op *op, int fair, lots_mailbox *own);
uint32_t lots_op_state(const lots_op *op);
/* A held op is about to change its mode: LOTS_READY for exactly one caller, and until lots_op_changed nobody releases it. */
int lots_op_change(lots_op *op);
void lots_op_changed(lots_op *op, uint32_t mode);
void lots_op_lost(lots_op *op); /* it holds nothing any more: its word was released meanwhile */
/* The same around lots_downgrade. */
int lots_op_downgrade(lots_op *op, uint32_t to, lots_mailbox *own);
/* The mode it asks for, or holds. */
uint32_t lots_op_mode(const lots_op *op);

/* Before it is asked of the op to wait: count it in `record`, which outlives it. NULL, as at first: it is not counted. An op that
 * waits for a notification is counted from then on that it was notified, and not if it never was. */
void lots_op_counts(lots_op *op, lots_contention *record);
/* How long it waited, in ns, once it has ended; 0: not at all, or it is not counted. */
uint64_t lots_op_waited(const lots_op *op);
/* Add what `record` counts to `sum`. */
void lots_contention_add(lots_contention *sum, const lots_contention *record);
/* Copy the last steps of a trail, in their order, to `out`, which has room for LOTS_TRAIL; returns how many. One that is written,
 * or overwritten, meanwhile is left out. */
size_t lots_trail_read(const lots_trail *trail, lots_transition *out);

/* --- waits for a notification ---------------------------------------------------------------------------------- */

/* Before anything else is asked of the op: it first waits for a lots_notify at `key`, then acquires as its mode says. A mode
 * of LOTS_PARK (and no word) is acquired by the notification itself. Two keys must be 2 apart; none may be a lock word. */
void lots_op_expect(lots_op *op, uintptr_t key);
/* Whether the notification has come and nobody else has it; also after the op was withdrawn, by a cancel or the end of its
 * loop: of LOTS_PARK that is so if nobody was there to have it instead. Who withdrew it, or outlives the loop, may notify again. */
int lots_op_notified(const lots_op *op);
/* What the notification brought. */
uint64_t lots_op_token(const lots_op *op);
/* Notify up to `most` of those who wait at `key` now, first come first. Who must wait for a lock then goes from one queue to
 * the other without waking up. Tasks whose loop cannot run are passed over. Returns how many were notified; *mail as
 * LOTS_MAIL. `ticket`: only the waiter that has it; 0: any. */
size_t lots_notify(uintptr_t key, size_t most, uint64_t ticket, uint64_t token, lots_mailbox *own, int *mail);
/* Notify up to `wake` of those who wait at `from` now, and move up to `most` of the others to `to`. Returns how many were
 * notified. */
size_t lots_requeue(uintptr_t from, uintptr_t to, size_t wake, size_t most, uint64_t token, lots_mailbox *own, int *mail,
                    size_t *moved);

/* --- event loops --------------------------------------------------------------------------------------------- */

/* NULL when the system has no more file descriptors (errno says so). */
lots_mailbox *lots_mailbox_new(void);
/* A number that no other mailbox ever has. */
uint32_t lots_mailbox_number(const lots_mailbox *mailbox);
/* Readable when there is mail: watch it on the loop. */
int lots_mailbox_fd(const lots_mailbox *mailbox);
/* Take up to `capacity` cookies of woken tasks; call again while it fills. `rung`: called because the fd was readable. */
size_t lots_mailbox_drain(lots_mailbox *mailbox, uint64_t *cookies, size_t capacity, int rung);
/* The loop's own thread is about to sleep inside the running loop: its tasks are passed over, their wakes recalled. */
void lots_mailbox_block(lots_mailbox *mailbox);
void lots_mailbox_unblock(lots_mailbox *mailbox);
/* The loop has ended: its waiters are withdrawn, their wakes go on to others. */
void lots_mailbox_close(lots_mailbox *mailbox);
/* Only when every op that was initialised with it has ended, and no verb of such an op runs. */
void lots_mailbox_free(lots_mailbox *mailbox);

/* --- the lot ------------------------------------------------------------------------------------------------- */

/* Fill `out` with waiters, of one lock or (word NULL) of all; returns how many there are. */
size_t lots_for_each(const lots_word *word, lots_waiter_info *out, size_t capacity);
/* The same of those at one key, for the price of one look. */
size_t lots_for_key(uintptr_t key, lots_waiter_info *out, size_t capacity);
/* The first ones in a lock's queues, up to `capacity`, for the price of so many; returns how many it gives. */
size_t lots_first(const lots_word *word, lots_waiter_info *out, size_t capacity);
/* Whether anybody is queued at `key`, which is no lock's, for a notification. */
int lots_expected(uintptr_t key);
/* The key that it is, or was last, queued at: lots_requeue may have moved it. */
uintptr_t lots_op_key(const lots_op *op);
/* A task that has not taken up its wake after this long loses it to the next waiter. Returns the old value. */
int64_t lots_revoke_after(int64_t ns);
/* Wakes revoked since the process began. */
uint64_t lots_revocations(void);
/* A number that names the calling thread, and no other thread ever. */
uint64_t lots_thread_token(void);
/* The threads that have such a number and have not ended: numbers, and the threads (pthread_self; 0: just now not known).
 * Returns how many there are. *complete 0: there may be more. */
size_t lots_threads(uint64_t *tokens, uint64_t *threads, size_t capacity, int *complete);
/* Where the function table for other native code is: capi.h. */
uintptr_t lots_capi_address(void);

#endif
