/*
 * platform_mark.c - sockets get marks by the supervisor: only sockets, and whoever asks wrongly is not asked again
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "platform/ipc.h"
#include "platform/sys.h"

struct channel {
    int ours, theirs, worker; /* this process is the worker, too */
};

static void begin(struct channel *c)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    c->ours = pair[0];
    c->theirs = pair[1];
    c->worker = (int)syscall(SYS_pidfd_open, getpid(), 0);
    assert_true(c->worker >= 0);
}

static void end(struct channel *c)
{
    close(c->ours);
    close(c->theirs);
    close(c->worker);
}

/* What the supervisor answers. */
static int asked(struct channel *c, int fd, uint32_t mark)
{
    struct mark_ask m = { fd, mark };
    int32_t answer = 1;

    assert_int_equal(send(c->theirs, &m, sizeof(m), 0), sizeof(m));
    assert_true(marks_turn(c->ours, c->worker));
    assert_int_equal(recv(c->theirs, &answer, sizeof(answer), MSG_DONTWAIT), sizeof(answer));
    return answer;
}

static int n_open(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void sockets_are_marked(void **state)
{
    static const int kinds[][2] = { { AF_INET, SOCK_STREAM }, { AF_INET, SOCK_DGRAM }, { AF_INET6, SOCK_STREAM }, { AF_INET6, SOCK_DGRAM } };
    struct channel c;

    if (geteuid() != 0)
        skip();
    begin(&c);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        int fd = socket(kinds[i][0], kinds[i][1], 0);
        uint32_t mark = 0;
        socklen_t len = sizeof(mark);

        assert_int_equal(asked(&c, fd, 0xfedcba98), 0);
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len), 0);
        assert_int_equal(mark, 0xfedcba98);
        close(fd);
    }
    end(&c);
}

static void nothing_else_is(void **state)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), local = socket(AF_UNIX, SOCK_STREAM, 0), before;
    struct channel c;

    begin(&c);
    before = n_open();
    if (geteuid() == 0) {
        assert_int_equal(asked(&c, null, 7), -ENOTSOCK);
        assert_int_equal(asked(&c, local, 7), -EINVAL);
    }
    assert_int_equal(asked(&c, 12345, 7), -EBADF);
    assert_int_equal(asked(&c, -1, 7), -EBADF);
    assert_int_equal(n_open(), before); /* no copy stays */
    close(null);
    close(local);
    end(&c);
}

static void who_asks_wrongly_is_not_asked_again(void **state)
{
    char bytes[64] = { 0 };
    struct channel c;

    for (size_t n = 0; n < sizeof(bytes); n++) {
        begin(&c);
        assert_true(marks_turn(c.ours, c.worker)); /* nothing is there: that is no fault */
        assert_int_equal(send(c.theirs, bytes, n, 0), n);
        assert_int_equal(marks_turn(c.ours, c.worker), n == sizeof(struct mark_ask));
        end(&c);
    }
    begin(&c);
    close(c.theirs);
    c.theirs = -1;
    assert_false(marks_turn(c.ours, c.worker)); /* it is gone: nobody waits for it in a circle */
    end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_are_marked),
        cmocka_unit_test(nothing_else_is),
        cmocka_unit_test(who_asks_wrongly_is_not_asked_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
