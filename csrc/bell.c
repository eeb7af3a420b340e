/* The bell: an eventfd on Linux, a pipe elsewhere; both take the same eight bytes and never block. */
#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>

int bell_open(bell *b)
{
    b->read_fd = b->write_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return b->read_fd < 0 ? -1 : 0;
}
#else
int bell_open(bell *b)
{
    int fds[2];
    if (pipe(fds))
        return -1;
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    }
    b->read_fd = fds[0];
    b->write_fd = fds[1];
    return 0;
}
#endif

void bell_ring(bell *b)
{
    uint64_t one = 1;
    int kept = errno; /* a release must not disturb its caller's errno */
    /* EAGAIN means that it is readable already, which is all that a ring is for. */
    while (write(b->write_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
    errno = kept;
}

int bell_clear(bell *b)
{
    uint64_t rings[16];
    int kept = errno;
    ssize_t n;
    while ((n = read(b->read_fd, rings, sizeof rings)) < 0 && errno == EINTR)
        ;
    errno = kept;
    return n > 0;
}

void bell_close(bell *b)
{
    close(b->read_fd);
    if (b->write_fd != b->read_fd)
        close(b->write_fd);
}

int bell_fd(const bell *b) { return b->read_fd; }
