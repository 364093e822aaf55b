/*
 * platform_process.c - whose socket is it: what the kernel says of sockets, who is found behind them, and the questions under way
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/sys.h"

static struct endpoint end(const char *text)
{
    struct endpoint e;

    assert_int_equal(endpoint_parse(text, &e), 0);
    return e;
}

static struct endpoint name(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    struct endpoint e;

    assert_int_equal(get(fd, (struct sockaddr *)&ss, &len), 0);
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss, &e), 0);
    return e;
}

static int bound(int family, int type, const char *at)
{
    struct sockaddr_storage ss;
    struct endpoint e = { .port = 0 };
    int fd = socket(family, type | SOCK_CLOEXEC, 0), off = 0;
    struct sockaddr_in6 any = { .sin6_family = AF_INET6 };

    if (!*at) { /* both families */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
        assert_int_equal(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
        return fd;
    }
    assert_int_equal(addr_parse(at, &e.ip), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&ss, endpoint_to_sockaddr(&e, &ss)), 0);
    return fd;
}

static uint64_t inode_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_ino;
}

static void check_socket(bool udp, int fd, const struct endpoint *local, const struct endpoint *remote)
{
    uint64_t inode = 0;
    uid_t uid = 12345;

    assert_int_equal(plat_socket(udp, local, remote, &uid, &inode), 0);
    assert_int_equal(inode, inode_of(fd));
    assert_int_equal(uid, getuid());
}

static void tcp_sockets(void **state)
{
    static const char *const at[] = { "127.0.0.1", "::1" };

    for (int i = 0; i < 2; i++) {
        int family = i ? AF_INET6 : AF_INET, listener = bound(family, SOCK_STREAM, at[i]), fd = bound(family, SOCK_STREAM, at[i]);
        struct endpoint local, remote, wrong;
        struct sockaddr_storage ss;
        uint64_t inode;
        uid_t uid;

        assert_int_equal(listen(listener, 1), 0);
        remote = name(listener, getsockname);
        assert_int_equal(connect(fd, (struct sockaddr *)&ss, endpoint_to_sockaddr(&remote, &ss)), 0);
        local = name(fd, getsockname);
        check_socket(false, fd, &local, &remote);
        wrong = local;
        wrong.port ^= 1;
        assert_int_equal(plat_socket(false, &wrong, &remote, &uid, &inode), -ENOENT);
        close(fd);
        close(listener);
    }
}

/* A program that speaks IPv6 only to the C library, and IPv4 on the wire. */
static void tcp_by_a_mapped_address(void **state)
{
    int listener = bound(AF_INET, SOCK_STREAM, "127.0.0.1"), fd = bound(AF_INET6, SOCK_STREAM, "");
    struct sockaddr_in6 to = { .sin6_family = AF_INET6 };
    struct endpoint local, remote = name(listener, getsockname);

    assert_int_equal(listen(listener, 1), 0);
    to.sin6_port = htons(remote.port);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    local = name(fd, getsockname);
    check_socket(false, fd, &local, &remote);
    close(fd);
    close(listener);
}

static void udp_sockets(void **state)
{
    static const struct {
        int family;
        const char *bind, *local, *remote;
    } t[] = {
        { AF_INET, "127.0.0.1", "127.0.0.1", "127.0.0.1:9" },
        { AF_INET, "0.0.0.0", "127.0.0.1", "127.0.0.1:9" },
        { AF_INET6, "::1", "::1", "[::1]:9" },
        { AF_INET6, "", "::1", "[::1]:9" },
        { AF_INET6, "", "127.0.0.1", "127.0.0.1:9" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
        for (int connected = 0; connected < 2; connected++) {
            int fd = bound(t[i].family, SOCK_DGRAM, t[i].bind);
            struct endpoint local = name(fd, getsockname), remote = end(t[i].remote);
            struct sockaddr_storage ss;

            assert_int_equal(addr_parse(t[i].local, &local.ip), 0);
            if (connected && t[i].family == (remote.ip.ver == 4 ? AF_INET : AF_INET6))
                assert_int_equal(connect(fd, (struct sockaddr *)&ss, endpoint_to_sockaddr(&remote, &ss)), 0);
            check_socket(true, fd, &local, &remote);
            close(fd);
        }
}

static void no_socket(void **state)
{
    struct endpoint a = end("192.0.2.1:7"), b = end("192.0.2.2:7"), c = end("[2001:db8::1]:7");
    uint64_t inode;
    uid_t uid;

    assert_int_equal(plat_socket(false, &a, &b, &uid, &inode), -ENOENT);
    assert_int_equal(plat_socket(true, &a, &b, &uid, &inode), -ENOENT);
    assert_int_equal(plat_socket(false, &a, &c, &uid, &inode), -EINVAL);
}

/* ---- the program ---- */

static void the_program_behind_a_socket(void **state)
{
    char path[OWNER_PATH], self[OWNER_PATH] = "";
    struct owners o = { 0 };
    int fd = bound(AF_INET, SOCK_DGRAM, "127.0.0.1");
    uint64_t inode = inode_of(fd);

    assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(owner_find(&o, getuid(), inode, path), getpid());
        assert_string_equal(path, self);
        assert_int_equal(o.pid[0], getpid());
        assert_int_equal(o.pid[1], 0);
    }
    o = (struct owners){ 0 }; /* under another user's name: found in the second pass */
    assert_int_equal(owner_find(&o, getuid() + 1, inode, path), getpid());
    close(fd);
    assert_int_equal(owner_find(&o, getuid(), inode, path), 0);
    assert_string_equal(path, "");
}

static void a_socket_that_was_handed_on(void **state)
{
    int fd = bound(AF_INET, SOCK_DGRAM, "127.0.0.1");
    uint64_t inode = inode_of(fd);
    char path[OWNER_PATH];
    struct owners o = { .pid = { 1, 2, 3, 4, 5, 6, 7, 8 } };
    pid_t child = fork();

    if (!child) {
        pause();
        _exit(0);
    }
    close(fd);
    assert_int_equal(owner_find(&o, getuid(), inode, path), child);
    assert_int_equal(o.pid[0], child);
    assert_int_equal(o.pid[1], 1);
    assert_int_equal(o.pid[7], 7);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void searches_have_a_budget(void **state)
{
    int fd = bound(AF_INET, SOCK_DGRAM, "127.0.0.1");
    struct owners o = { .debt_ms = 100000, .at_ms = loop_clock() };
    char path[OWNER_PATH];

    assert_int_equal(owner_find(&o, getuid(), inode_of(fd), path), 0);
    o.pid[0] = getpid(); /* who was found before is found without a search */
    assert_int_equal(owner_find(&o, getuid(), inode_of(fd), path), getpid());
    o = (struct owners){ .debt_ms = 100000, .at_ms = loop_clock() - 400000 };
    assert_int_equal(owner_find(&o, getuid(), inode_of(fd), path), getpid());
    close(fd);
}

/* ---- questions under way ---- */

struct asker {
    struct plat_owner o;
    char path[64];
    pid_t pid;
    int told;
};

static void done(struct plat_owner *o, const struct plat_program *p)
{
    struct asker *a = container_of(o, struct asker, o);

    a->told++;
    a->pid = p ? p->pid : 0;
    snprintf(a->path, sizeof(a->path), "%s", p ? p->path : "none");
}

struct world {
    struct loop *loop;
    struct plat_worker w;
    int supervisor;
};

static int begin(void **state)
{
    struct world *x = calloc(1, sizeof(*x));
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    x->loop = loop_new();
    x->supervisor = pair[0];
    x->w.io.fd = pair[1];
    list_init(&x->w.owners);
    assert_int_equal(plat_worker_watch(&x->w, x->loop), 0);
    *state = x;
    return 0;
}

static int finish(void **state)
{
    struct world *x = *state;

    io_unwatch(&x->w.io);
    close(x->w.io.fd);
    close(x->supervisor);
    loop_free(x->loop);
    free(x);
    return 0;
}

static uint32_t question(struct world *x, uint64_t inode)
{
    struct msg m;

    assert_int_equal(ipc_recv(x->supervisor, &m, NULL, NULL), 0);
    assert_null(ipc_check(&m));
    assert_int_equal(m.type, MSG_OWNER);
    assert_int_equal(m.owner.inode, inode);
    return m.owner.id;
}

static void answer(struct world *x, uint32_t id, int pid, const char *path)
{
    struct msg m = ipc_msg(MSG_OWNER_IS);

    m.owner_is.id = id;
    m.owner_is.pid = pid;
    memset(m.owner_is.path, 'x', sizeof(m.owner_is.path));
    if (path)
        strcpy(m.owner_is.path, path);
    assert_int_equal(ipc_send(x->supervisor, &m, NULL, 0), 0);
}

static void questions_get_their_own_answers(void **state)
{
    struct world *x = *state;
    struct asker a = { .o.done = done }, b = a, c = a;
    uint32_t ia, ib, ic;

    assert_int_equal(plat_owner_ask(&x->w, &a.o, 0, 11), 0);
    assert_int_equal(plat_owner_ask(&x->w, &b.o, 0, 12), 0);
    assert_int_equal(plat_owner_ask(&x->w, &c.o, 0, 13), 0);
    ia = question(x, 11);
    ib = question(x, 12);
    ic = question(x, 13);
    answer(x, ib, 7, "/bin/b");
    answer(x, 999, 8, "/bin/nobody");
    answer(x, ia, 0, "");
    answer(x, ia, 9, "/bin/twice");
    answer(x, ic, 5, NULL); /* a path without an end */
    for (int i = 0; i < 8; i++)
        loop_turn(x->loop, 10);
    assert_int_equal(a.told, 1);
    assert_string_equal(a.path, "none");
    assert_int_equal(b.told, 1);
    assert_int_equal(b.pid, 7);
    assert_string_equal(b.path, "/bin/b");
    assert_int_equal(c.told, 1);
    assert_string_equal(c.path, "none");
    assert_int_equal(x->w.n_owners, 0);
}

static void a_cancelled_question_is_not_answered(void **state)
{
    struct world *x = *state;
    struct asker a = { .o.done = done }, b = a;
    uint32_t ib;

    assert_int_equal(plat_owner_ask(&x->w, &a.o, 0, 11), 0);
    assert_int_equal(plat_owner_ask(&x->w, &b.o, 0, 12), 0);
    answer(x, question(x, 11), 7, "/bin/a");
    ib = question(x, 12);
    plat_owner_cancel(&a.o);
    owner_is(&x->w, &(struct msg){ .type = MSG_OWNER_IS, .owner_is = { ib, 8, "/bin/b" } }); /* answered, not yet told */
    plat_owner_cancel(&b.o);
    plat_owner_cancel(&b.o);
    for (int i = 0; i < 4; i++)
        loop_turn(x->loop, 10);
    assert_int_equal(a.told + b.told, 0);
    assert_int_equal(x->w.n_owners, 0);
}

static void questions_have_a_bound_and_an_end(void **state)
{
    struct world *x = *state;
    static struct asker a[65];

    for (int i = 0; i < 65; i++) {
        a[i] = (struct asker){ .o.done = done };
        assert_int_equal(plat_owner_ask(&x->w, &a[i].o, 0, 1), i < 64 ? 0 : -EBUSY);
    }
    for (int i = 0; i < 400 && !a[63].told; i++) /* nobody answers */
        loop_turn(x->loop, 50);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(a[i].told, 1);
        assert_string_equal(a[i].path, "none");
    }
    assert_int_equal(a[64].told, 0);
    assert_int_equal(x->w.n_owners, 0);
}

/* An answer that arrives while the worker waits for another message is kept for its asker. */
static void an_answer_between_other_messages(void **state)
{
    struct world *x = *state;
    struct asker a = { .o.done = done };
    struct msg ok = ipc_msg(MSG_READY_OK);
    char why[256];

    assert_int_equal(plat_owner_ask(&x->w, &a.o, 0, 11), 0);
    answer(x, question(x, 11), 7, "/bin/a");
    assert_int_equal(ipc_send(x->supervisor, &ok, NULL, 0), 0);
    assert_int_equal(plat_worker_ready(&x->w, why), 0);
    assert_int_equal(a.told, 0); /* never from inside a call */
    loop_turn(x->loop, 0);
    assert_int_equal(a.told, 1);
    assert_string_equal(a.path, "/bin/a");
}

static void a_socket_number_of_zero_is_no_question(void **state)
{
    struct msg m = ipc_msg(MSG_OWNER);

    assert_non_null(ipc_check(&m));
    m.owner.inode = 1;
    assert_null(ipc_check(&m));
    m.type = MSG_OWNER_IS;
    assert_non_null(ipc_check(&m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_sockets),
        cmocka_unit_test(tcp_by_a_mapped_address),
        cmocka_unit_test(udp_sockets),
        cmocka_unit_test(no_socket),
        cmocka_unit_test(the_program_behind_a_socket),
        cmocka_unit_test(a_socket_that_was_handed_on),
        cmocka_unit_test(searches_have_a_budget),
        cmocka_unit_test_setup_teardown(questions_get_their_own_answers, begin, finish),
        cmocka_unit_test_setup_teardown(a_cancelled_question_is_not_answered, begin, finish),
        cmocka_unit_test_setup_teardown(questions_have_a_bound_and_an_end, begin, finish),
        cmocka_unit_test_setup_teardown(an_answer_between_other_messages, begin, finish),
        cmocka_unit_test(a_socket_number_of_zero_is_no_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
