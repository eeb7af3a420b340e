/* The small parts, each for itself: the function table, the list of waiters, and what an op answers that is not in a state for
 * the verb. */
#include "steps.h"

#include "admit.h"
#include "capi.h"
#include "revoke.h"

#include <sys/mman.h>

static void set(uint64_t bits) { word.bits = bits; }

static void the_table_leads_to_the_core(void)
{
    const lots_capi *table = (const lots_capi *)lots_capi_address();
    CHECK_EQ(table->version, LOTS_CAPI_VERSION);
    CHECK_EQ(table->size, sizeof(lots_capi));
    CHECK(table->word_load == lots_word_load && table->try_ == lots_try && table->release == lots_release);
    CHECK(table->op_init == lots_op_init && table->op_poll == lots_op_poll && table->op_wait == lots_op_wait);
    CHECK(table->op_cancel == lots_op_cancel && table->op_release == lots_op_release && table->op_state == lots_op_state);
    CHECK(table->thread_token == lots_thread_token && table->mailbox_drain == lots_mailbox_drain);
    CHECK(table->mailbox_unblock == lots_mailbox_unblock && table->downgrade == lots_downgrade);
    CHECK(table->op_look_wait == lots_op_look_wait && table->op_interrupt == lots_op_interrupt);
    CHECK(table->op_counts == lots_op_counts && table->op_waited == lots_op_waited);
}

/* --- the list of waiters -------------------------------------------------------------------------------------------- */

static void waiters_are_listed_lock_by_lock(void)
{
    static lots_word words[4 * LOT_BUCKETS]; /* some of them share a bucket */
    lots_waiter_info list[8];
    lots_word *one = &words[0], *two = NULL;
    lots_op a, b, c, d;
    for (size_t i = 1; i < sizeof words / sizeof *words && !two; i++)
        if (lot_bucket_of((uintptr_t)&words[i]) == lot_bucket_of((uintptr_t)one))
            two = &words[i];
    CHECK(two != NULL);
    CHECK_EQ(lots_try(one, LOTS_READ), 1);
    CHECK_EQ(lots_try(two, LOTS_MUTEX), 1);
    lots_op_init(&a, one, LOTS_WRITE, m, 'a', 11);
    lots_op_init(&b, one, LOTS_READ, NULL, 'b', 12);
    lots_op_init(&c, two, LOTS_MUTEX, m, 'c', 13);
    lots_op_init(&d, one, LOTS_READ_RECURSIVE, m, 'd', 14);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&c), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&d), LOTS_READY); /* passes the writer that drains */
    CHECK_EQ(lots_for_each(one, list, 8), 2);
    for (int i = 0; i < 2; i++) {
        int is_a = list[i].cookie == 'a';
        CHECK_EQ(list[i].word, (uintptr_t)one);
        CHECK_EQ(list[i].cookie, is_a ? 'a' : 'b');
        CHECK_EQ(list[i].owner, is_a ? 11 : 12);
        CHECK_EQ(list[i].mode, is_a ? LOTS_WRITE : LOTS_READ);
        CHECK_EQ(list[i].state, LOTS_QUEUED);
        CHECK_EQ(list[i].draining, is_a);
        CHECK_EQ(list[i].is_task, is_a);
        CHECK_EQ(list[i].skipped, 0);
        CHECK(list[i].ticket > 0);
    }
    CHECK(list[0].cookie != list[1].cookie && list[0].ticket != list[1].ticket);
    CHECK_EQ(lots_for_each(two, list, 8), 1);
    CHECK_EQ(list[0].cookie, 'c');
    CHECK_EQ(list[0].mode, LOTS_MUTEX);
    CHECK_EQ(list[0].draining, 0);
    CHECK_EQ(lots_for_each(NULL, list, 8), 3);
    memset(list, 0xee, sizeof list);
    CHECK_EQ(lots_for_each(NULL, list, 1), 3); /* how many there are, not how many fit */
    CHECK(list[0].mode != 0xeeeeeeee && list[1].mode == 0xeeeeeeee);
    CHECK_EQ(lots_for_each(&words[1] == two ? &words[2] : &words[1], list, 8), 0);
    /* A task that was woken and has not looked yet is listed too, with its wake. */
    CHECK_EQ(lots_release(two, LOTS_MUTEX, 1, NULL), LOTS_READY);
    CHECK_EQ(lots_for_each(two, list, 8), 1);
    CHECK_EQ(list[0].state, LOTS_HANDOFF);
    CHECK_EQ(lots_op_cancel(&c, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_cancel(&b, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(lots_op_release(&d, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_release(one, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(one, 0);
    CHECK_WORD(two, 0);
    mail(m, 1);
    CHECK_EQ(lots_for_each(NULL, NULL, 0), 0);
}

/* --- ops ------------------------------------------------------------------------------------------------------------ */

static void a_thread_that_polls_while_it_is_queued_stays_there(void)
{
    lots_op a, b;
    lots_waiter_info list[2];
    hold(LOTS_WRITE);
    lots_op_init(&a, &word, LOTS_READ, NULL, 'a', 0);
    lots_op_init(&b, &word, LOTS_READ, NULL, 'b', 0);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(lots_op_state(&a), LOTS_QUEUED);
    CHECK_EQ(lots_for_each(&word, list, 2), 2);
    CHECK_EQ(list[0].cookie, 'a');
    CHECK_EQ(lots_op_wait(&a, 0), LOTS_TIMED_OUT);
    CHECK_EQ(lots_op_wait(&b, now_ns() + 1000000), LOTS_TIMED_OUT);
    CHECK_WORD(&word, 0x08);
    CHECK_EQ(lots_op_state(&a), LOTS_GONE);
    CHECK_EQ(lots_op_poll(&a), LOTS_MISUSE); /* nothing of a thread's was ever closed */
    CHECK_EQ(lots_op_wait(&a, LOTS_NEVER), LOTS_MISUSE);
    release(LOTS_WRITE, 0, 0);
    clean();
}

static void who_waits_may_be_told_late(void)
{
    lots_op a;
    lots_waiter_info list[1];
    hold(LOTS_WRITE);
    lots_op_init(&a, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(lots_op_try(&a), LOTS_PARKED);
    lots_op_waits_as(&a, m, 'a', 5);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(lots_for_each(&word, list, 1), 1);
    CHECK_EQ(list[0].owner, 5);
    CHECK_EQ(list[0].is_task, 1);
    release(LOTS_WRITE, 0, 0);
    CHECK_STR(mail(m, 1), "a");
    poll_ready(&a, 0x10);
    let_go(&a, 0);
    clean();
}

static void an_op_begins_with_nothing(void)
{
    lots_op a;
    memset(&a, 0xff, sizeof a);
    lots_op_init(&a, &word, LOTS_WRITE, NULL, 0, 0);
    CHECK_EQ(lots_op_state(&a), LOTS_PENDING);
    CHECK_EQ(op_waiter(&a)->ticket, 0);
    CHECK_EQ(op_waiter(&a)->phase, PHASE_ENTER);
    CHECK_EQ(lots_op_wait(&a, LOTS_NEVER), LOTS_READY);
    let_go(&a, 0);
}

/* Every verb that admits says if tasks of the caller's own loop have mail, and only then. */
static void whoever_admits_says_if_its_own_loop_has_mail(void)
{
    lots_op a, b;
    for (int own = 0; own < 2; own++) {
        hold(LOTS_READ);
        queue(&a, LOTS_WRITE, 'a', 0x1a);
        queue(&b, LOTS_READ, 'b', 0x1b);
        CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, own ? m : NULL), LOTS_WITHDRAWN | (own ? LOTS_MAIL : 0));
        CHECK_EQ(rings(m), !own);
        CHECK_STR(mail(m, !own), "b");
        poll_ready(&b, 0x20);
        let_go(&b, 0x10);
        queue(&a, LOTS_WRITE, 'a', 0x1a);
        CHECK_EQ(lots_release(&word, LOTS_READ, 0, own ? m : NULL), LOTS_READY | (own ? LOTS_MAIL : 0));
        CHECK_WORD(&word, 0x08);
        CHECK_EQ(rings(m), !own);
        CHECK_STR(mail(m, !own), "a");
        poll_ready(&a, 0x08);
        queue(&b, LOTS_READ, 'b', 0x09);
        CHECK_EQ(lots_op_release(&a, 0, own ? m : NULL), LOTS_READY | (own ? LOTS_MAIL : 0));
        CHECK_WORD(&word, own ? 0x10 : 0); /* of its own loop: first come, first served */
        CHECK_EQ(rings(m), !own);
        CHECK_STR(mail(m, !own), "b");
        poll_ready(&b, 0x10);
        let_go(&b, 0);
        clean();
    }
}

/* --- admit ------------------------------------------------------------------------------------------------------------ */

static void beside_an_upgradable_reader_only_readers_are_admitted(void)
{
    lots_op a, b, c;
    lots_batch batch = {0};
    lots_bucket *b_;
    hold(LOTS_WRITE);
    queue(&a, LOTS_WRITE, 'a', 0x09);
    queue(&b, LOTS_READ, 'b', 0x09);
    queue(&c, LOTS_WRITE, 'c', 0x09);
    set(0x15); /* the writer has become an upgradable reader */
    b_ = lot_lock((uintptr_t)&word);
    CHECK_EQ(admit(b_, &word, 0, 0, 0, &batch), 0);
    lot_unlock(b_);
    batch_wake(&batch);
    CHECK_WORD(&word, 0x15);
    CHECK_STR(mail(m, 1), "b");
    poll_ready(&b, 0x25);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_WORD(&word, 0x25);
    let_go(&b, 0x15);
    cancel(&a, LOTS_BY_CANCEL, LOTS_WITHDRAWN, 0x15);
    cancel(&c, LOTS_BY_TIMEOUT, LOTS_WITHDRAWN, 0x14);
    set(0);
    clean();
}

/* Who gives nothing up does not touch a word that nobody queues at: its last holder may have freed it. */
static void nothing_is_written_to_the_word_of_an_empty_queue(void)
{
    lots_batch batch = {0};
    lots_bucket *b = lot_lock((uintptr_t)&word);
    set(0x01);
    CHECK_EQ(admit(b, &word, 0, 0, 0, &batch), 0);
    CHECK_WORD(&word, 0x01);
    set(0x1b);
    CHECK_EQ(admit_drainer(b, &word, &batch), 0);
    CHECK_WORD(&word, 0x1b);
    lot_unlock(b);
    set(0);
}

/* A wake that is passed on is only a wake: whoever gives it up owns nothing that could be handed over. */
static void a_wake_that_is_passed_on_hands_nothing_over(void)
{
    lots_op a, b;
    for (int own = 0; own < 2; own++) {
        hold(LOTS_WRITE);
        queue(&a, LOTS_WRITE, 'a', 0x09);
        queue(&b, LOTS_WRITE, 'b', 0x09);
        release(LOTS_WRITE, 0, 0x01);
        set_fairness(&word, own ? FAIR_NEVER : FAIR_NOW);
        CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, own ? m : NULL), LOTS_WITHDRAWN | (own ? LOTS_MAIL : 0));
        CHECK_EQ(lots_op_state(&b), LOTS_NORMAL);
        CHECK_WORD(&word, 0);
        poll_ready(&b, 0x08);
        let_go(&b, 0);
        clean();
    }
}

/* Without fairness and a loop of the caller's own, nobody is handed anything: not a thread, nor a task of another loop. */
static void a_plain_release_only_tells(void)
{
    for (int is_task = 0; is_task < 2; is_task++) {
        lots_op a;
        hold(LOTS_WRITE);
        lots_op_init(&a, &word, LOTS_WRITE, is_task ? m : NULL, 'a', 0);
        CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
        release(LOTS_WRITE, 0, 0);
        CHECK_EQ(lots_op_state(&a), LOTS_NORMAL);
        poll_ready(&a, 0x08);
        let_go(&a, 0);
        clean();
    }
}

/* A wake is given up after the lock's last holder has freed the word: it must not be looked at. */
static void a_wake_to_a_lock_that_is_gone_is_given_up(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int is_task = 0; is_task < 2; is_task++) {
        lots_op a;
        lots_word *w = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(w != MAP_FAILED);
        CHECK_EQ(lots_try(w, LOTS_MUTEX), 1);
        lots_op_init(&a, w, LOTS_MUTEX, is_task ? m : NULL, 'a', 0);
        CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
        set_fairness(w, FAIR_NEVER);
        CHECK_EQ(lots_release(w, LOTS_MUTEX, 0, NULL), LOTS_READY);
        CHECK_WORD(w, 0);
        munmap(w, page);
        CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
        clean();
    }
}

/* The pthread kind's parker is made for a thread that queues, and gone when its op has ended; a task has none. */
static int is_made(lots_op *op)
{
#ifdef LOTS_PARKER_PTHREAD
    return op_waiter(op)->parker.made;
#else
    (void)op;
    return -1;
#endif
}

static void only_a_thread_that_queues_has_a_parker(void)
{
    lots_op a, b, c, d;
    int no = is_made(memset(&a, 0, sizeof a)), yes = no + (no == 0);
    hold(LOTS_WRITE);
    lots_op_init(&a, &word, LOTS_READ, NULL, 0, 0);
    lots_op_init(&b, &word, LOTS_READ, NULL, 0, 0);
    lots_op_init(&d, &word, LOTS_READ, NULL, 0, 0);
    CHECK_EQ(is_made(&a), no);
    CHECK_EQ(lots_op_poll(&a), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&b), LOTS_PARKED);
    CHECK_EQ(lots_op_poll(&d), LOTS_PARKED);
    queue(&c, LOTS_READ, 'c', 0x09);
    CHECK_EQ(is_made(&a), yes);
    CHECK_EQ(is_made(&b), yes);
    CHECK_EQ(is_made(&c), no);
    CHECK_EQ(lots_op_cancel(&a, LOTS_BY_CANCEL, NULL), LOTS_WITHDRAWN);
    CHECK_EQ(is_made(&a), no);
    CHECK_EQ(lots_op_wait(&b, 0), LOTS_TIMED_OUT);
    CHECK_EQ(is_made(&b), no);
    release(LOTS_WRITE, 0, 0);
    CHECK_EQ(lots_op_wait(&d, LOTS_NEVER), LOTS_READY);
    CHECK_EQ(is_made(&d), no);
    poll_ready(&c, 0x20);
    let_go(&c, 0x10);
    let_go(&d, 0);
    clean();
}

/* A tenth of a second of sleep, not of looking at the clock. */
static void who_sleeps_does_not_spin(void)
{
    struct timespec before, after;
    lots_op a;
    int answer;
    int64_t deadline = now_ns() + 100000000;
    hold(LOTS_WRITE);
    lots_op_init(&a, &word, LOTS_READ, NULL, 0, 0);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    while ((answer = lots_op_wait(&a, deadline)) == LOTS_INTERRUPTED)
        ;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    CHECK_EQ(answer, LOTS_TIMED_OUT);
    CHECK(now_ns() >= deadline);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec < 5000000);
    release(LOTS_WRITE, 0, 0);
    clean();
}

static void a_setting_is_returned_and_never_less_than_one(void)
{
    int64_t before = lots_revoke_after(5);
    CHECK_EQ(lots_revoke_after(0), 5);
    CHECK_EQ(lots_revoke_after(-7), 1);
    CHECK_EQ(lots_revoke_after(2), 1);
    CHECK_EQ(revoke_after_ns(), 2);
    CHECK_EQ(lots_revoke_after(before), 2);
}

int main(void)
{
    watchdog(30);
    CHECK_EQ(revoke_after_ns(), 100000000);
    m = lots_mailbox_new();
    lots_revoke_after(INT64_MAX / 2); /* nobody is late here */
    RUN(the_table_leads_to_the_core);
    RUN(waiters_are_listed_lock_by_lock);
    RUN(a_thread_that_polls_while_it_is_queued_stays_there);
    RUN(who_waits_may_be_told_late);
    RUN(an_op_begins_with_nothing);
    RUN(whoever_admits_says_if_its_own_loop_has_mail);
    RUN(beside_an_upgradable_reader_only_readers_are_admitted);
    RUN(nothing_is_written_to_the_word_of_an_empty_queue);
    RUN(a_wake_that_is_passed_on_hands_nothing_over);
    RUN(a_plain_release_only_tells);
    RUN(a_wake_to_a_lock_that_is_gone_is_given_up);
    RUN(only_a_thread_that_queues_has_a_parker);
    RUN(who_sleeps_does_not_spin);
    RUN(a_setting_is_returned_and_never_less_than_one);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
    return 0;
}
