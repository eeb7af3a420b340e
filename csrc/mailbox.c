/* One mailbox per event loop: woken tasks queue here, and the loop is rung once a batch.
 *
 * The list and the flag `rung` are behind one tiny lock (the same kind as a bucket's, taken inside a bucket's), so that a
 * cancelled task can be taken out of the middle: a lock-free stack would leave its freed memory in there.
 *
 *   rung   list       who acts next
 *   0      empty      nobody
 *   0      mail       the loop's own thread, which pushed quietly and drains at once
 *   1      any        the one waker that set it rings; the loop drains when its fd is readable
 *
 * No wake is lost: a push either finds rung = 1, set by somebody whose ring is still to be answered, or sets it and rings.
 * The answer (drain with `rung`) clears the fd first; then, if that was readable, rung; then it takes the mail, so a push
 * that comes after the take finds rung = 0 and rings anew. If it was not readable, the waker that set rung is still on its
 * way with the ring, and `ring_next` is still its own. An inline drain leaves `rung` alone: the ring that is under way finds an empty box.
 *
 * The memory: a waker holds a reference from its push (under the bucket lock, while the waiter still keeps the adapter's
 * reference alive) until it has rung. The last one out closes the bell. */
#include "mailbox.h"

#include <stdlib.h>

static lots_a32 numbers;

lots_mailbox *lots_mailbox_new(void)
{
    lots_mailbox *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    if (bell_open(&m->bell)) {
        free(m);
        return NULL;
    }
    bucket_lock_init(&m->lock);
    a32_store(&m->references, 1, RELAXED);
    m->number = a32_fetch_add(&numbers, 1, RELAXED) + 1; /* no lock word: a number for each */
    return m;
}

uint32_t lots_mailbox_number(const lots_mailbox *m) { return m->number; }

int lots_mailbox_fd(const lots_mailbox *m) { return bell_fd(&m->bell); }

void lots_mailbox_free(lots_mailbox *m)
{
    /* No lock word: a reference count. ACQ_REL pairs with itself: the last one out sees what the others did. */
    if (a32_fetch_add(&m->references, (uint32_t)-1, ACQ_REL) != 1)
        return;
    bell_close(&m->bell);
    free(m);
}

int mailbox_push(lots_waiter *w, int quiet)
{
    lots_mailbox *m = w->mailbox;
    int must_ring = 0;
    bucket_lock_acquire(&m->lock);
    if (!w->in_mail) {
        w->in_mail = 1;
        w->mail_next = NULL;
        w->mail_prev = m->last;
        if (m->last)
            m->last->mail_next = w;
        else
            m->first = w;
        m->last = w;
    }
    if (!quiet && !m->rung) {
        m->rung = must_ring = 1;
        /* No lock word: a reference count. RELAXED: the waiter keeps the adapter's reference alive meanwhile. */
        a32_fetch_add(&m->references, 1, RELAXED);
    }
    bucket_lock_release(&m->lock);
    return must_ring;
}

void mailbox_ring(lots_mailbox *m)
{
    bell_ring(&m->bell);
    lots_mailbox_free(m);
}

static void take_out(lots_mailbox *m, lots_waiter *w)
{
    if (w->mail_prev)
        w->mail_prev->mail_next = w->mail_next;
    else
        m->first = w->mail_next;
    if (w->mail_next)
        w->mail_next->mail_prev = w->mail_prev;
    else
        m->last = w->mail_prev;
    w->in_mail = 0;
}

void mailbox_forget(lots_waiter *w)
{
    lots_mailbox *m = w->mailbox;
    bucket_lock_acquire(&m->lock);
    if (w->in_mail)
        take_out(m, w);
    bucket_lock_release(&m->lock);
}

size_t lots_mailbox_drain(lots_mailbox *m, uint64_t *cookies, size_t capacity, int rung)
{
    size_t n = 0;
    /* Only a bell that was readable has been rung, and only then has the waker that set `rung` done with it. */
    if (rung)
        rung = bell_clear(&m->bell);
    bucket_lock_acquire(&m->lock);
    if (rung)
        m->rung = 0;
    while (n < capacity && m->first) {
        cookies[n++] = m->first->cookie;
        take_out(m, m->first);
    }
    bucket_lock_release(&m->lock);
    return n;
}
