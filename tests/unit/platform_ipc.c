/*
 * platform_ipc.c - messages between supervisor and worker: whole or not at all, descriptors only downwards, every field looked at
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "platform/ipc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void open_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static int n_open(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Bits on purpose in what addresses leave unused: host bits and bytes behind an IPv4 address are nobody's business. */
static struct cidr C(const char *s) {
    struct cidr c;
    char host[64];

    assert_int_equal(cidr_parse(s, &c), 0);
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(s, "/"), s);
    assert_int_equal(addr_parse(host, &c.ip), 0);
    return c;
}

/* ---- the wire ---- */

static void
messages_arrive_whole_and_in_order(void **state)
{
    struct msg m, got;
    int pair[2];

    open_pair(pair);
    for (uint32_t i = 0; i < 3; i++) {
        m = ipc_msg(MSG_TUN);
        m.tun.mtu = i;
        assert_int_equal(ipc_send(pair[0], &m, NULL, 0), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(ipc_recv(pair[1], &got, NULL, NULL), 0);
        assert_int_equal(got.type, MSG_TUN);
        assert_int_equal(got.tun.mtu, i);
    }
    assert_int_equal(ipc_recv(pair[1], &got, NULL, NULL), -EAGAIN);
    close(pair[0]);
    assert_int_equal(ipc_recv(pair[1], &got, NULL, NULL), -EPIPE);
    assert_int_equal(ipc_send(pair[1], &m, NULL, 0), -EPIPE); /* and no signal */
    close(pair[1]);
}

static void another_size_is_wrong(void **state)
{
    char bytes[sizeof(struct msg) + 8] = { MSG_READY };
    static const size_t sizes[] = { 1, 4, sizeof(struct msg) - 1, sizeof(struct msg) + 1, sizeof(struct msg) + 8 };
    int pair[2], fds[MSG_FDS], n;
    struct msg got;

    open_pair(pair);
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (int with = 0; with < 2; with++) {
            assert_int_equal(send(pair[0], bytes, sizes[i], 0), sizes[i]);
            assert_int_equal(ipc_recv(pair[1], &got, with ? fds : NULL, with ? &n : NULL), -EBADMSG);
        }
    assert_int_equal(ipc_send(pair[0], &(struct msg){ .type = MSG_READY }, NULL, 0), 0); /* the next one is read as if nothing had been */
    assert_int_equal(ipc_recv(pair[1], &got, NULL, NULL), 0);
    close_pair(pair);
}

static void descriptors_ride_along(void **state)
{
    struct msg m = ipc_msg(MSG_TUN_OK), got;
    int pair[2], pipes[4], fds[MSG_FDS], n, before;
    char c;

    open_pair(pair);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(pipe(pipes + 2), 0);
    before = n_open();
    assert_int_equal(ipc_send(pair[0], &m, pipes, 4), 0);
    assert_int_equal(ipc_recv(pair[1], &got, fds, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(n_open(), before + 4); /* the sender keeps its own */
    for (int i = 0; i < n; i++)
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(read(pipes[0], &c, 1), 1); /* in the order in which they were sent */
    assert_int_equal(write(fds[3], "y", 1), 1);
    assert_int_equal(read(pipes[2], &c, 1), 1);
    for (int i = 0; i < n; i++)
        close(fds[i]);
    assert_int_equal(ipc_send(pair[0], &m, NULL, 0), 0); /* none */
    assert_int_equal(ipc_recv(pair[1], &got, fds, &n), 0);
    assert_int_equal(n, 0);
    for (int i = 0; i < 4; i++)
        close(pipes[i]);
    close_pair(pair);
}

static void descriptors_nobody_wants_are_refused_and_closed(void **state)
{
    int pair[2], many[MSG_FDS + 1] = { 0 }, fds[MSG_FDS], n, before;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(many))];
    } ctl = { 0 };
    struct msg m = ipc_msg(MSG_READY), got;
    struct iovec iov = { &m, sizeof(m) };
    struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl.room, .msg_controllen = sizeof(ctl.room) };
    struct cmsghdr *c = &ctl.align;

    open_pair(pair);
    before = n_open();
    assert_int_equal(ipc_send(pair[0], &m, many, 1), 0); /* from a worker */
    assert_int_equal(ipc_recv(pair[1], &got, NULL, NULL), -EBADMSG);
    assert_int_equal(n_open(), before);
    c->cmsg_level = SOL_SOCKET; /* more than there is room for */
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(many));
    memcpy(CMSG_DATA(c), many, sizeof(many));
    assert_int_equal(sendmsg(pair[0], &h, 0), sizeof(m));
    assert_int_equal(ipc_recv(pair[1], &got, fds, &n), -EBADMSG);
    assert_int_equal(n, 0);
    assert_int_equal(n_open(), before);
    iov.iov_len--; /* a message of a wrong size, with some */
    h.msg_controllen = CMSG_SPACE(2 * sizeof(int));
    c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    assert_int_equal(sendmsg(pair[0], &h, 0), sizeof(m) - 1);
    assert_int_equal(ipc_recv(pair[1], &got, fds, &n), -EBADMSG);
    assert_int_equal(n_open(), before);
    close_pair(pair);
}

static void nothing_of_our_stack_travels(void **state)
{
    static const unsigned char zero[sizeof(struct msg)];
    struct msg m = ipc_msg(MSG_READY_OK);

    m.type = 0;
    assert_memory_equal(&m, zero, sizeof(m));
    m = ipc_failed(-EPERM, "no");
    assert_int_equal(m.type, MSG_FAILED);
    assert_int_equal(m.failed.err, -EPERM);
    assert_string_equal(m.failed.why, "no");
    memset(m.failed.why, 0, 3);
    assert_memory_equal(m.failed.why, zero, sizeof(m.failed.why));
    m = ipc_failed(
        -1, "a reason that is longer than the room for it: 0123456789012345678901234567890123456789012345678901234567890123456789"
            "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
            "012345678901234567890123456789");
    assert_int_equal(strlen(m.failed.why), WHY_MAX - 1);
}

/* ---- fields ---- */

static struct msg good(void)
{
    struct msg m = ipc_msg(MSG_TUN);

    strcpy(m.tun.device, "shunt0");
    m.tun.mtu = 1500;
    m.tun.table = 2022;
    m.tun.rule_prio = 9000;
    m.tun.addr4 = C("198.18.0.1/30");
    m.tun.addr6 = C("fdfe:dcba:9876::1/126");
    m.tun.fake4 = C("198.18.0.0/16");
    m.tun.fake6 = C("fdfe:198:18::/64");
    m.tun.auto_route = m.tun.ipv6 = m.tun.dns_redirect = 1;
    return m;
}

static void set_u32(size_t off, uint32_t v, bool fine)
{
    struct msg m = good();

    memcpy((char *)&m.tun + off, &v, sizeof(v));
    if (!ipc_check(&m) != fine)
        fail_msg("field at %zu, value %u: %s", off, v, fine ? ipc_check(&m) : "accepted");
}

#define U32(field, value, fine) set_u32(offsetof(struct msg_tun, field), value, fine)

static void numbers_have_bounds(void **state)
{
    struct msg m = good();

    assert_null(ipc_check(&m));
    U32(mtu, 0, false);
    U32(mtu, 1279, false);
    U32(mtu, 1280, true);
    U32(mtu, 65535, true);
    U32(mtu, 65536, false);
    U32(mtu, UINT32_MAX, false);
    U32(table, 0, false);
    U32(table, 1, true);
    U32(table, 252, true);
    U32(table, 253, false);
    U32(table, 254, false);
    U32(table, 255, false);
    U32(table, 256, true);
    U32(table, UINT32_MAX, true);
    U32(rule_prio, 0, false);
    U32(rule_prio, 1, true);
    U32(rule_prio, 32000, true);
    U32(rule_prio, 32001, false);
    U32(rule_prio, UINT32_MAX, false);
    U32(n_include, PLAT_MAX_ROUTES, true);
    U32(n_include, PLAT_MAX_ROUTES + 1, false);
    U32(n_include, UINT32_MAX, false);
    U32(n_exclude, PLAT_MAX_ROUTES, true);
    U32(n_exclude, PLAT_MAX_ROUTES + 1, false);
    U32(n_exclude, UINT32_MAX, false);
}

static void flags_are_yes_or_no(void **state)
{
    static const size_t at[] = { offsetof(struct msg_tun, auto_route), offsetof(struct msg_tun, strict_route),
                                 offsetof(struct msg_tun, ipv6), offsetof(struct msg_tun, dns_redirect) };

    for (size_t i = 0; i < COUNT(at); i++)
        for (int v = 0; v < 256; v++) {
            struct msg m = good();

            ((uint8_t *)&m.tun)[at[i]] = (uint8_t)v;
            assert_int_equal(!ipc_check(&m), v <= 1);
        }
}

static const struct {
    size_t at;
    const char *value; /* "" = none */
    bool fine;
} addresses[] = {
    { offsetof(struct msg_tun, addr4), "198.18.0.1/30", true },
    { offsetof(struct msg_tun, addr4), "10.0.0.1/8", true },
    { offsetof(struct msg_tun, addr4), "10.0.0.1/7", false },
    { offsetof(struct msg_tun, addr4), "10.0.0.1/32", true },
    { offsetof(struct msg_tun, addr4), "", false },
    { offsetof(struct msg_tun, addr4), "fd00::1/64", false },
    { offsetof(struct msg_tun, addr4), "0.0.0.0/8", false },
    { offsetof(struct msg_tun, addr4), "127.0.0.1/8", false },
    { offsetof(struct msg_tun, addr4), "224.0.0.1/24", false },
    { offsetof(struct msg_tun, addr4), "169.254.0.1/16", false },
    { offsetof(struct msg_tun, addr6), "fdfe::1/126", true },
    { offsetof(struct msg_tun, addr6), "", true },
    { offsetof(struct msg_tun, addr6), "10.0.0.1/24", false },
    { offsetof(struct msg_tun, addr6), "::/64", false },
    { offsetof(struct msg_tun, addr6), "::1/64", false },
    { offsetof(struct msg_tun, addr6), "ff02::1/64", false },
    { offsetof(struct msg_tun, addr6), "fe80::1/64", false },
    { offsetof(struct msg_tun, addr6), "fd00::1/7", false },
    { offsetof(struct msg_tun, fake4), "198.18.0.0/16", true },
    { offsetof(struct msg_tun, fake4), "", true },
    { offsetof(struct msg_tun, fake4), "198.18.0.0/6", false },
    { offsetof(struct msg_tun, fake4), "127.0.0.0/8", false },
    { offsetof(struct msg_tun, fake4), "224.0.0.0/8", false },
    { offsetof(struct msg_tun, fake4), "fd00::/64", false },
    { offsetof(struct msg_tun, fake6), "fdfe:198:18::/64", true },
    { offsetof(struct msg_tun, fake6), "", true },
    { offsetof(struct msg_tun, fake6), "::1/128", false },
    { offsetof(struct msg_tun, fake6), "ff00::/8", false },
    { offsetof(struct msg_tun, fake6), "10.0.0.0/8", false },
};

static void addresses_are_of_their_kind(void **state)
{
    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct msg m = good();
        struct cidr c = { 0 };

        if (*addresses[i].value)
            c = C(addresses[i].value);
        memcpy((char *)&m.tun + addresses[i].at, &c, sizeof(c));
        if (!ipc_check(&m) != addresses[i].fine)
            fail_msg("%s: %s", addresses[i].value, ipc_check(&m) ? ipc_check(&m) : "accepted");
    }
    for (size_t f = 0; f < 4; f++) /* a family and a length that do not exist */
        for (int ver = 0; ver < 256; ver++)
            for (int len = 0; len < 256; len++) {
                static const size_t at[] = { offsetof(struct msg_tun, addr4), offsetof(struct msg_tun, addr6),
                                             offsetof(struct msg_tun, fake4), offsetof(struct msg_tun, fake6) };
                bool six = f % 2, pool = f > 1, optional = f > 0;
                struct msg m = good();
                struct cidr *c = (struct cidr *)(void *)((char *)&m.tun + at[f]);

                c->ip.ver = (uint8_t)ver;
                c->len = (uint8_t)len;
                if (ver == 0)
                    assert_int_equal(!ipc_check(&m), optional);
                else
                    assert_int_equal(!ipc_check(&m), ver == (six ? 6 : 4) && len >= (pool ? 7 : 8) && len <= (six ? 128 : 32));
            }
}

static void device_names_are_safe_everywhere(void **state)
{
    static const char *const bad[] = { ".",   "..",  "all", "default", "lo",  "a b", "a/b", "a:b",  "a%d",  "a\\b",  "a\"b", "a'b",
                                       "a{b", "a}b", "a(b", "a)b",     "a$b", "a;b", "a*",  "a\tb", "a\nb", "a\177", "a\200" };
    static const char *const fine[] = {
        "", "a", "shunt0", "tun-1", "tun_1", "tun.1", "123456789012345", "all0", "lo0", "...", "a@b", "a+b"
    };
    struct msg m;

    for (size_t i = 0; i < COUNT(bad); i++) {
        m = good();
        memset(m.tun.device, 0, sizeof(m.tun.device));
        strcpy(m.tun.device, bad[i]);
        if (!ipc_check(&m))
            fail_msg("\"%s\" was accepted", bad[i]);
    }
    for (size_t i = 0; i < COUNT(fine); i++) {
        m = good();
        memset(m.tun.device, 0, sizeof(m.tun.device));
        strcpy(m.tun.device, fine[i]);
        if (ipc_check(&m))
            fail_msg("\"%s\": %s", fine[i], ipc_check(&m));
    }
    m = good();
    memset(m.tun.device, 'a', sizeof(m.tun.device)); /* no end */
    assert_non_null(ipc_check(&m));
}

static void routes_are_of_their_kind(void **state)
{
    for (int ver = 0; ver < 256; ver++)
        for (int len = 0; len < 256; len++)
            for (int exclude = 0; exclude < 3; exclude++) {
                struct msg m = ipc_msg(MSG_ROUTE);

                m.route.net.ip.ver = (uint8_t)ver;
                m.route.net.len = (uint8_t)len;
                m.route.exclude = (uint8_t)exclude;
                assert_int_equal(!ipc_check(&m), exclude < 2 && ((ver == 4 && len <= 32) || (ver == 6 && len <= 128)));
            }
}

static void a_question_names_a_socket(void **state)
{
    struct msg m = ipc_msg(MSG_OWNER);

    assert_non_null(ipc_check(&m));
    m.owner.inode = 1;
    assert_null(ipc_check(&m));
}

static void a_mode_is_a_small_number(void **state)
{
    struct msg m = ipc_msg(MSG_MODE);

    assert_non_null(ipc_check(&m)); /* none is said */
    for (int kept = 0; kept < 256; kept++)
        for (int mode = 0; mode < 256; mode++) {
            m.mode = (struct msg_mode){ (uint8_t)kept, (uint8_t)mode };
            assert_int_equal(!ipc_check(&m), kept == 1 && mode < PLAT_MODES_MAX);
        }
}

static void only_what_a_worker_says(void **state)
{
    for (uint32_t type = 0; type < 1000; type++) {
        struct msg m = good();
        bool of_worker = type == MSG_TUN || type == MSG_READY || type == MSG_KEPT || type == MSG_PROBE || type == MSG_AGAIN;

        m.type = type;
        if (type == MSG_ROUTE || type == MSG_OWNER || type == MSG_LISTEN || type == MSG_MODE)
            continue;
        assert_int_equal(!ipc_check(&m), of_worker);
    }
    for (int bit = 4; bit < 32; bit++) {
        struct msg m = good();

        m.type |= 1u << bit;
        assert_non_null(ipc_check(&m));
    }
}

static void sockets_that_need_privilege(void **state)
{
    static const struct {
        uint8_t ver;
        uint16_t port;
        uint8_t udp;
        bool good;
    } rows[] = { { 4, 53, 1, true },     { 6, 53, 0, true }, { 4, 1, 0, true },   { 4, 1023, 1, true }, { 4, 1024, 1, false },
                 { 4, 65535, 1, false }, { 4, 0, 1, false }, { 0, 53, 1, false }, { 5, 53, 1, false },  { 4, 53, 2, false } };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct msg m = ipc_msg(MSG_LISTEN);

        m.listen.at.ip.ver = rows[i].ver;
        m.listen.at.port = rows[i].port;
        m.listen.udp = rows[i].udp;
        if (!ipc_check(&m) != rows[i].good)
            fail_msg("row %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_whole_and_in_order),
        cmocka_unit_test(another_size_is_wrong),
        cmocka_unit_test(descriptors_ride_along),
        cmocka_unit_test(descriptors_nobody_wants_are_refused_and_closed),
        cmocka_unit_test(nothing_of_our_stack_travels),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(flags_are_yes_or_no),
        cmocka_unit_test(addresses_are_of_their_kind),
        cmocka_unit_test(device_names_are_safe_everywhere),
        cmocka_unit_test(routes_are_of_their_kind),
        cmocka_unit_test(a_question_names_a_socket),
        cmocka_unit_test(sockets_that_need_privilege),
        cmocka_unit_test(a_mode_is_a_small_number), cmocka_unit_test(only_what_a_worker_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
