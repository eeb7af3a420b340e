/* What the system may refuse: descriptors, memory, threads; and calls that a signal interrupts. */
#include "steps.h"

#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* read, write and close are ours here: the first so many calls are interrupted. */
static int interrupted, calls, closes, wrote_nothing;

static int is_interrupted(void)
{
    calls++;
    if (!interrupted)
        return 0;
    interrupted--;
    errno = EINTR;
    return 1;
}

#ifdef __linux__
ssize_t write(int fd, const void *from, size_t size)
{
    return is_interrupted() ? wrote_nothing - 1 : syscall(SYS_write, fd, from, size);
}
int close(int fd)
{
    closes++;
    return (int)syscall(SYS_close, fd);
}
ssize_t read(int fd, void *to, size_t size) { return is_interrupted() ? -1 : syscall(SYS_read, fd, to, size); }
#define CAN_INTERRUPT 1
#else
#define CAN_INTERRUPT 0
#endif

static int is_readable(int fd)
{
    uint64_t value;
    int flags = fcntl(fd, F_GETFL);
    CHECK(flags & O_NONBLOCK);
    return read(fd, &value, sizeof value) == sizeof value;
}

static void a_bell_rings_until_it_is_cleared(void)
{
    bell b;
    CHECK_EQ(bell_open(&b), 0);
    CHECK(b.read_fd >= 0 && b.write_fd >= 0 && bell_fd(&b) == b.read_fd);
    CHECK(fcntl(b.read_fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQ(bell_clear(&b), 0);
    bell_ring(&b);
    CHECK(is_readable(bell_fd(&b)));
    for (int i = 1; i < 16; i++) {
        bell_ring(&b);
        bell_ring(&b);
        CHECK_EQ(bell_clear(&b), 1);
        CHECK_EQ(bell_clear(&b), 0);
    }
    bell_close(&b);
    CHECK_EQ(fcntl(b.read_fd, F_GETFD), -1);
    CHECK_EQ(fcntl(b.write_fd, F_GETFD), -1);
}

/* The kind that has two ends, as elsewhere than on Linux. */
static void a_bell_of_two_ends_is_closed_at_both(void)
{
    int ends[2];
    bell b;
    CHECK(!pipe(ends));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    b = (bell){ends[0], ends[1]};
    CHECK_EQ(bell_clear(&b), 0);
    bell_ring(&b);
    CHECK_EQ(bell_clear(&b), 1);
    CHECK_EQ(bell_clear(&b), 0);
    bell_close(&b);
    CHECK_EQ(fcntl(ends[0], F_GETFD), -1);
    CHECK_EQ(fcntl(ends[1], F_GETFD), -1);
}

/* One descriptor is closed once: a moment later the number may be somebody else's. */
static void a_bell_of_one_end_is_closed_once(void)
{
    bell b;
    CHECK_EQ(bell_open(&b), 0);
    closes = 0;
    bell_close(&b);
    CHECK_EQ(closes, CAN_INTERRUPT ? (b.read_fd == b.write_fd ? 1 : 2) : 0);
}

/* The number of a descriptor that is free may be 0. */
static void a_bell_may_be_number_0(void)
{
    int input = dup(0);
    bell b;
    close(0);
    CHECK_EQ(bell_open(&b), 0);
    CHECK_EQ(b.read_fd, 0);
    bell_ring(&b);
    CHECK_EQ(bell_clear(&b), 1);
    bell_close(&b);
    if (input >= 0) {
        CHECK_EQ(dup2(input, 0), 0);
        close(input);
    }
}

/* Nothing read, nothing written, and an errno from long ago: that is no interruption. */
static void an_old_errno_is_not_believed(void)
{
    int ends[2];
    bell b;
    CHECK(!pipe(ends));
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    b = (bell){ends[0], ends[1]};
    close(ends[1]);
    errno = EINTR;
    CHECK_EQ(bell_clear(&b), 0);
    close(ends[0]);
    CHECK_EQ(bell_open(&b), 0);
    calls = 0;
    interrupted = CAN_INTERRUPT;
    wrote_nothing = 1;
    bell_ring(&b);
    CHECK_EQ(calls, CAN_INTERRUPT);
    wrote_nothing = 0;
    bell_close(&b);
}

static void a_bell_leaves_errno_alone(void)
{
    bell b;
    CHECK_EQ(bell_open(&b), 0);
    errno = 77;
    CHECK_EQ(bell_clear(&b), 0); /* EAGAIN inside */
    CHECK_EQ(errno, 77);
    interrupted = CAN_INTERRUPT;
    bell_ring(&b);
    CHECK_EQ(errno, 77);
    interrupted = CAN_INTERRUPT;
    CHECK_EQ(bell_clear(&b), 1);
    CHECK_EQ(errno, 77);
    bell_close(&b);
}

static void an_interrupted_ring_is_rung_again(void)
{
    bell b;
    CHECK_EQ(bell_open(&b), 0);
    for (int times = 0; times < 3 && CAN_INTERRUPT; times++) {
        calls = 0;
        interrupted = times;
        bell_ring(&b);
        CHECK_EQ(calls, times + 1);
        calls = 0;
        interrupted = times;
        CHECK_EQ(bell_clear(&b), 1);
        CHECK_EQ(calls, times + 1);
        CHECK_EQ(bell_clear(&b), 0);
    }
    bell_close(&b);
}

/* A full one is readable already: nobody may wait for room. */
static void a_ring_of_a_full_bell_is_no_error(void)
{
    bell b;
    uint64_t most = UINT64_MAX - 1;
    CHECK_EQ(bell_open(&b), 0);
    if (b.read_fd == b.write_fd) {
        CHECK_EQ(write(b.write_fd, &most, 8), 8);
        calls = 0;
        errno = 77;
        bell_ring(&b);
        CHECK_EQ(errno, 77);
        CHECK_EQ(calls, CAN_INTERRUPT);
        CHECK_EQ(bell_clear(&b), 1);
    }
    bell_close(&b);
}

/* Nothing is left of a mailbox that is gone, or never was. */
static void a_mailbox_leaves_nothing_behind(void)
{
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
    struct rlimit before, none;
    size_t used;
    int fd;
    CHECK(!getrlimit(RLIMIT_NOFILE, &before));
    none = before;
    lots_mailbox_free(lots_mailbox_new());
    used = mallinfo2().uordblks;
    for (int i = 0; i < 100; i++) {
        lots_mailbox *got = lots_mailbox_new();
        fd = lots_mailbox_fd(got);
        CHECK(fcntl(fd, F_GETFD) >= 0);
        lots_mailbox_free(got);
        CHECK_EQ(fcntl(fd, F_GETFD), -1);
    }
    none.rlim_cur = 0;
    CHECK(!setrlimit(RLIMIT_NOFILE, &none));
    for (int i = 0; i < 100; i++)
        CHECK(!lots_mailbox_new());
    CHECK(!setrlimit(RLIMIT_NOFILE, &before));
    CHECK(mallinfo2().uordblks < used + 100 * sizeof(lots_mailbox) / 4);
#endif
}

static void without_descriptors_there_is_no_mailbox(void)
{
    struct rlimit before, none;
    lots_mailbox *got;
    CHECK(!getrlimit(RLIMIT_NOFILE, &before));
    none = before;
    none.rlim_cur = 0;
    CHECK(!setrlimit(RLIMIT_NOFILE, &none));
    errno = 0;
    got = lots_mailbox_new();
    CHECK_EQ(errno, EMFILE);
    CHECK(!setrlimit(RLIMIT_NOFILE, &before));
    CHECK(!got);
    got = lots_mailbox_new();
    CHECK(got && lots_mailbox_fd(got) >= 0);
    lots_mailbox_free(got);
}

#if defined(__linux__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
/* In a child, where all the memory may be used up. Its exit status is what `run` returned. */
static int in_a_child(int (*run)(void))
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        alarm(20);
        setrlimit(RLIMIT_AS, &(struct rlimit){1, RLIM_INFINITY});
        status = run();
        setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}); /* who counts lines writes them down at the end */
        _exit(status);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int make_a_mailbox_without_memory(void)
{
    for (size_t size = 1 << 20; size >= 8; size /= 2)
        while (malloc(size))
            ;
    return lots_mailbox_new() == NULL;
}

/* A wake wants the keeper, and there is no thread to be had; the next wake tries again. */
static int wake_without_a_keeper(void)
{
    lots_op op;
    hold(LOTS_WRITE);
    queue(&op, LOTS_WRITE, 'a', 0x09);
    release(LOTS_WRITE, 1, 0x08);
    poll_ready(&op, 0x08);
    let_go(&op, 0);
    setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    lots_revoke_after(1000000);
    hold(LOTS_WRITE);
    queue(&op, LOTS_WRITE, 'a', 0x09);
    release(LOTS_WRITE, 1, 0x08); /* starts the keeper, which revokes the wake that nobody takes up */
    UNTIL(lots_word_load(&word) == 0x01);
    return (int)lots_revocations();
}

static void without_memory_there_is_no_mailbox(void) { CHECK_EQ(in_a_child(make_a_mailbox_without_memory), 1); }

static void without_a_thread_there_is_no_keeper_until_the_next_wake(void)
{
    m = lots_mailbox_new();
    CHECK_EQ(in_a_child(wake_without_a_keeper), 1);
    lots_mailbox_close(m);
    lots_mailbox_free(m);
}
#else
static void without_memory_there_is_no_mailbox(void) {}
static void without_a_thread_there_is_no_keeper_until_the_next_wake(void) {}
#endif

int main(void)
{
    watchdog(60);
    RUN(a_bell_rings_until_it_is_cleared);
    RUN(a_bell_of_two_ends_is_closed_at_both);
    RUN(a_bell_of_one_end_is_closed_once);
    RUN(a_bell_may_be_number_0);
    RUN(an_old_errno_is_not_believed);
    RUN(a_bell_leaves_errno_alone);
    RUN(an_interrupted_ring_is_rung_again);
    RUN(a_ring_of_a_full_bell_is_no_error);
    RUN(a_mailbox_leaves_nothing_behind);
    RUN(without_descriptors_there_is_no_mailbox);
    RUN(without_memory_there_is_no_mailbox);
    RUN(without_a_thread_there_is_no_keeper_until_the_next_wake);
    return 0;
}
