/* A notification, and something that happens in the middle of it (stepping.h): who leaves, and who comes back for more. */
#define _GNU_SOURCE
#include "stepping.h"

#include "notifying.h"

enum { SOME = BATCH_THREADS + 2 };
#ifdef LOTS_PARKER_PTHREAD
#define STRIDE 5 /* to tell a crowd is many steps there, but few are between one hold of the bucket lock and the next */
#else
#define STRIDE 1
#endif
static int came; /* what comes between has had its effect */

/* The first has been told, goes on, and waits anew: for the next notification, not for this one. */
static void the_first_comes_back(void)
{
    if (lots_op_state(&ops[0]) != LOTS_NORMAL)
        return;
#ifdef LOTS_PARKER_PTHREAD
    if (!lock_is_free((bucket_lock *)&op_waiter(&ops[0])->parker.mutex))
        return; /* its thread would still be in parker_finish */
#endif
    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
    CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
    park(0, NULL);
    came++;
}

static void who_comes_back_waits_for_the_next(void)
{
    for (int requeue = 0; requeue < 2; requeue++) {
        int stepped = 1, often = 0;
        stepping((lots_word *)here, NULL, the_first_comes_back);
        for (int i = 1; stepped; i += STRIDE) {
            size_t done, moved = 0;
            int mail_;
            for (int j = 0; j < SOME; j++)
                park(j, NULL);
            came = 0;
            stepped = STEPPED(i, done = requeue ? lots_requeue(here, far, SIZE_MAX, 0, 3, NULL, &mail_, &moved)
                                                : lots_notify(here, SIZE_MAX, 0, 3, NULL, &mail_));
            CHECK_EQ(done, SOME);
            CHECK_EQ(lots_op_state(&ops[0]), came ? LOTS_QUEUED : LOTS_NORMAL);
            often += came;
            if (came)
                CHECK_EQ(notify(9, 3), 1);
            for (int j = 0; j < SOME; j++)
                is_told(j, 3);
            nobody_is_left();
        }
        CHECK(often || !CAN_STEP);
    }
}

/* The first waits for a lock of another bucket; it gives up while nothing is locked. */
static void the_first_gives_up(void)
{
    if (lots_op_state(&ops[0]) != LOTS_QUEUED || lots_op_notified(&ops[0]))
        return;
    CHECK_EQ(lots_op_cancel(&ops[0], LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    came++;
}

/* `second`: who is behind it. 0: nobody, 1: one who waits for the same lock, 2: for one of this bucket, 3: for none, 4: for
 * one of this bucket that is held. */
static void who_gives_up_just_then_is_not_notified(void)
{
    for (int second = 0; second < 5; second++) {
        int stepped = 1, often = 0;
        stepping((lots_word *)here, NULL, the_first_gives_up);
        step_second = lot_bucket_of((uintptr_t)&word);
        for (int i = 1; stepped; i++) {
            lots_word *locks[] = {NULL, &word, near_word, NULL, near_word};
            size_t done;
            int mail_;
            expect_at(&ops[0], &word, LOTS_WRITE, NULL, 'a', here);
            if (second == 4)
                CHECK_EQ(lots_try(near_word, LOTS_WRITE), 1);
            if (second)
                expect_at(&ops[1], locks[second], second != 3 ? LOTS_WRITE : LOTS_PARK, NULL, 'b', here);
            came = 0;
            stepped = STEPPED(i, done = lots_notify(here, 1, 0, 3, NULL, &mail_));
            CHECK_EQ(done, !came || second);
            often += came;
            if (came) {
                CHECK_EQ(lots_op_notified(&ops[0]), 0);
                CHECK(!second || lots_op_state(&ops[1]) == (second == 4 ? LOTS_QUEUED : LOTS_NORMAL));
            } else {
                CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
                CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
                CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
                CHECK(!second || lots_op_state(&ops[1]) == LOTS_QUEUED);
                CHECK_EQ(notify(1, 3), second != 0);
            }
            if (second == 4) {
                CHECK_EQ(lots_op_state(&ops[1]), LOTS_QUEUED);
                CHECK_EQ(lots_release(near_word, LOTS_WRITE, 1, NULL), LOTS_READY);
                CHECK_EQ(lots_op_state(&ops[1]), LOTS_HANDOFF);
            }
            if (second) {
                CHECK_EQ(lots_op_poll(&ops[1]), LOTS_READY);
                CHECK_EQ(lots_op_release(&ops[1], 0, NULL), LOTS_READY);
            }
            nobody_is_left();
        }
        CHECK(often || !CAN_STEP);
    }
}

/* The lock that it asks for is released, or taken, just then: it is woken, or whoever releases finds it in the queue. */
static void take_the_lock(void) { came = lots_try(&word, LOTS_WRITE); }
static void release_the_lock(void) { CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY); }

static void the_lock_changes_hands_just_then(void)
{
    for (int taken = 0; taken < 2; taken++) {
        int stepped = 1;
        stepping((lots_word *)here, NULL, taken ? take_the_lock : release_the_lock);
        step_second = lot_bucket_of((uintptr_t)&word);
        set_fairness(&word, FAIR_NEVER);
        for (int i = 1; stepped; i++) {
            size_t done;
            int mail_;
            came = 0;
            if (!taken)
                CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
            expect_at(&ops[0], &word, LOTS_WRITE, NULL, 'a', here);
            stepped = STEPPED(i, done = lots_notify(here, 1, 0, 3, NULL, &mail_));
            CHECK_EQ(done, 1);
            if (!stepped)
                taken ? take_the_lock() : release_the_lock();
            if (taken && came) { /* the other was quicker */
                if (lots_op_state(&ops[0]) == LOTS_NORMAL)
                    CHECK_EQ(lots_op_poll(&ops[0]), LOTS_PARKED);
                CHECK_EQ(lots_op_state(&ops[0]), LOTS_QUEUED);
                CHECK_WORD(&word, 9);
                release_the_lock();
            }
            CHECK_EQ(lots_op_state(&ops[0]), LOTS_NORMAL);
            CHECK_EQ(lots_op_poll(&ops[0]), LOTS_READY);
            CHECK_EQ(lots_op_release(&ops[0], 0, NULL), LOTS_READY);
            nobody_is_left();
        }
    }
}

/* Its queue changes between the look at its key and the lock of that key's bucket. */
static void it_is_moved(void)
{
    size_t moved;
    int mail_;
    lots_requeue(here, far, 0, 1, 0, NULL, &mail_, &moved);
    came += (int)moved;
}

static void who_is_moved_just_then_is_found(void)
{
    int stepped = 1, often = 0;
    stepping((lots_word *)here, NULL, it_is_moved);
    step_second = lot_bucket_of(far);
    for (int i = 1; stepped; i++) {
        int answer;
        park(0, NULL);
        park(1, NULL);
        came = 0;
        stepped = STEPPED(i, answer = lots_op_cancel(&ops[0], LOTS_BY_CANCEL, NULL));
        CHECK_EQ(answer, LOTS_WITHDRAWN);
        often += came;
        withdrawn(1);
        nobody_is_left();
    }
    CHECK(often || !CAN_STEP);
}

int main(void)
{
    watchdog(60);
    find_keys();
    m = lots_mailbox_new();
    RUN(who_comes_back_waits_for_the_next);
    RUN(who_gives_up_just_then_is_not_notified);
    RUN(who_is_moved_just_then_is_found);
    RUN(the_lock_changes_hands_just_then);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
