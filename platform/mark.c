/*
 * mark.c - marks on the worker's sockets (routing-mark)
 *
 * SO_MARK needs a privilege that the worker does not have, and descriptors only travel to the worker, never from it. So it says the number
 * of its socket, and the supervisor takes a copy of that (pidfd_getfd, Linux 5.6), marks it, and drops the copy. Only sockets of the
 * Internet families are marked; a worker that lies gets an error.
 *
 * The worker waits for the answer: a socket must have its mark before it connects. That costs a round trip per connection where a profile
 * asks for marks, and nothing elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/err.h"
#include "core/log.h"
#include "platform/ipc.h"
#include "platform/sys.h"

#define WAIT_S 1 /* the supervisor answers in microseconds, unless it is at something else */

/* ---- the supervisor's side ---- */

static int mark_copy(int fd, uint32_t mark)
{
    socklen_t len = sizeof(int);
    int family;

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0)
        return -errno;
    if (family != AF_INET && family != AF_INET6)
        return -EINVAL;
    return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ? -errno : 0;
}

bool marks_turn(int channel, int worker)
{
    struct mark_ask ask;
    ssize_t n = recv(channel, &ask, sizeof(ask), MSG_DONTWAIT | MSG_TRUNC);
    int32_t answer;
    int fd;

    if (n != sizeof(ask))
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    fd = (int)syscall(SYS_pidfd_getfd, worker, ask.fd, 0);
    answer = fd < 0 ? -errno : mark_copy(fd, ask.mark);
    if (fd >= 0)
        close(fd);
    return send(channel, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(answer); /* who asks, reads the answer */
}

/* ---- the worker's ---- */

static int ask(int channel, int fd, uint32_t mark)
{
    struct mark_ask m = { fd, mark };
    int32_t answer = -EPROTO;
    ssize_t n;

    if (send(channel, &m, sizeof(m), MSG_NOSIGNAL) != sizeof(m))
        return -errno;
    n = recv(channel, &answer, sizeof(answer), 0);
    if (n < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return n != sizeof(answer) || answer > 0 ? -EPROTO : answer;
}

int plat_worker_mark(struct plat_worker *w, int fd, uint32_t mark)
{
    int r = w->marks < 0 ? -EPIPE : ask(w->marks, fd, mark);

    if (r < 0 && !w->mark_said)
        log_err(LOG_PLAT, "routing-mark: sockets cannot be marked (%s): connections that need a mark fail", err_str(r));
    w->mark_said |= r < 0;
    if (r == -ETIMEDOUT || r == -EPROTO) { /* its answer would be taken for the next one's */
        close(w->marks);
        w->marks = -1;
    }
    return r;
}

void marks_open(struct plat_worker *w)
{
    struct timeval wait = { .tv_sec = WAIT_S };

    w->marks = MARKS_FD;
    if (fcntl(w->marks, F_SETFD, FD_CLOEXEC) < 0 || setsockopt(w->marks, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
        setsockopt(w->marks, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
        w->marks = -1;
}
