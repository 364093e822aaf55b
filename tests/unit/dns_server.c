/*
 * dns_server.c - queries by sockets: batches of datagrams, the address that was asked, connections with many questions, with junk, with
 * patience or without
 */
#include <linux/capability.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/log.h"
#include "dns/msg.h"
#include "tests/unit/dns_world.h"

static struct dns_world w;
static struct ns_world up;
static uint16_t port;

static int quiet(void **state)
{
    log_threshold = LOG_SILENT;
    return 0;
}

/* A port that is free for UDP and TCP, on every address. */
static uint16_t free_port(void)
{
    for (;;) {
        struct sockaddr_in at = { .sin_family = AF_INET };
        socklen_t len = sizeof(at);
        int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
        bool good;

        assert_int_equal(bind(udp, (struct sockaddr *)&at, sizeof(at)), 0);
        getsockname(udp, (struct sockaddr *)&at, &len);
        good = bind(tcp, (struct sockaddr *)&at, sizeof(at)) == 0;
        close(udp);
        close(tcp);
        if (good)
            return ntohs(at.sin_port);
    }
}

static void start(const char *listen_on)
{
    char text[64];

    world_begin(&w);
    ns_open(&up, w.loop, "127.0.0.1", script_plain);
    world_start(&w, "dns: { nameserver: ['127.0.0.1:%u'], fake-ip-filter: [+.real.test] }\n", up.port);
    port = free_port();
    snprintf(text, sizeof(text), "%s:%u", listen_on, port);
    assert_int_equal(dns_serve_listen(w.dns, text), 0);
}

static void end(void)
{
    ns_close(&up);
    world_end(&w);
}

static int client(const char *ip, int type)
{
    struct endpoint at = { .port = port };
    struct sockaddr_storage ss;
    socklen_t len;
    int fd;

    assert_int_equal(addr_parse(ip, &at.ip), 0);
    len = endpoint_to_sockaddr(&at, &ss);
    fd = socket(ss.ss_family, type | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0); /* connected: an answer from another address would not be taken */
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* One message from a socket within some turns; 0 = none came. */
static ssize_t receive(int fd, void *buf, size_t size)
{
    for (int i = 0; i < 200; i++) {
        ssize_t n = recv(fd, buf, size, 0);

        if (n >= 0)
            return n;
        loop_turn(w.loop, 0);
    }
    return 0;
}

static void the_address_that_was_asked_answers(void **state)
{
    static const struct {
        const char *listen, *ask;
    } all[] = { { "127.0.0.1", "127.0.0.1" }, { "0.0.0.0", "127.0.0.1" }, { "0.0.0.0", "127.7.7.7" },
                { "", "127.3.2.1" },          { "[::]", "::1" },          { "", "::1" } };
    static struct wire q;
    uint8_t buf[2000];

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        int fd;
        ssize_t n;

        start(all[i].listen);
        fd = client(all[i].ask, SOCK_DGRAM);
        wquery(&q, 0x1111, "www.test", T_A, ASK_RD);
        assert_int_equal(send(fd, q.b, q.len, 0), q.len);
        n = receive(fd, buf, sizeof(buf));
        assert_string_equal(told(buf, (size_t)n), "NOERROR aa rd ra | www.test A | www.test 1 A 198.18.0.4");
        close(fd);
        end();
    }
}

static void many_at_once(void **state)
{
    static struct wire q;
    bool seen[500] = { false };
    uint8_t buf[2000];
    char name[32];
    int fd, n_seen = 0;

    start("127.0.0.1");
    fd = client("127.0.0.1", SOCK_DGRAM);
    for (int i = 0; i < 200; i++) { /* more than a batch; every second by a name server */
        snprintf(name, sizeof(name), i % 2 ? "n%d.real.test" : "n%d.test", i);
        wquery(&q, (uint16_t)i, name, T_A, 0);
        assert_int_equal(send(fd, q.b, q.len, 0), q.len);
    }
    for (ssize_t n; (n = receive(fd, buf, sizeof(buf))) > 0; n_seen++) {
        int id = buf[0] << 8 | buf[1];

        snprintf(name, sizeof(name), id % 2 ? "n%d.real.test" : "n%d.test", id);
        assert_non_null(strstr(told(buf, (size_t)n), name));
        assert_non_null(strstr(told(buf, (size_t)n), id % 2 ? "192.0.2.1" : "198.18."));
        assert_false(seen[id]);
        seen[id] = true;
    }
    assert_int_equal(n_seen, 200);
    close(fd);
    end();
}

/* A kernel, or a socket as this one, that sends no answers as one: they leave one by one, and none is lost. */
static void answers_that_cannot_leave_as_one(void **state)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1, n_seen = 0;
    socklen_t len = sizeof(at);
    static struct wire q;
    uint8_t buf[2000];
    char name[32];

    start("127.0.0.1");
    assert_int_equal(bind(server, (struct sockaddr *)&at, sizeof(at)) | getsockname(server, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(setsockopt(server, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one)), 0); /* UDP_SEGMENT needs checksums */
    assert_int_equal(dns_serve_fds(w.dns, &server, 1, NULL, 0), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        wquery(&q, (uint16_t)i, name, T_A, 0);
        assert_int_equal(send(fd, q.b, q.len, 0), q.len);
    }
    for (ssize_t n; (n = receive(fd, buf, sizeof(buf))) > 0; n_seen++)
        assert_non_null(strstr(told(buf, (size_t)n), "198.18."));
    assert_int_equal(n_seen, 50);
    close(fd);
    end();
    close(server);
}

static void junk_by_datagram_is_not_answered(void **state)
{
    static uint8_t big[6000];
    static struct wire q;
    uint8_t buf[2000];
    int fd;

    start("127.0.0.1");
    fd = client("127.0.0.1", SOCK_DGRAM);
    send(fd, "", 0, 0);
    send(fd, "12345678901", 11, 0);
    wquery(&q, 1, "a.test", T_A, 0);
    memcpy(big, q.b, q.len);
    send(fd, big, sizeof(big), 0); /* no query is so long */
    q.b[2] |= 0x80;
    send(fd, q.b, q.len, 0);
    assert_int_equal(receive(fd, buf, sizeof(buf)), 0);
    close(fd);
    end();
}

/* ---- TCP ---- */

static void put_query(int fd, uint16_t id, const char *name)
{
    static struct wire q;
    uint8_t whole[600];

    wquery(&q, id, name, T_A, 0);
    whole[0] = (uint8_t)(q.len >> 8);
    whole[1] = (uint8_t)q.len;
    memcpy(whole + 2, q.b, q.len);
    assert_int_equal(send(fd, whole, q.len + 2, 0), q.len + 2);
}

/* One whole message of a connection; its length, 0 when the connection ended or nothing came. */
static size_t get_message(int fd, uint8_t *buf)
{
    size_t got = 0, want = 2;
    uint8_t head[2];

    while (got < want) {
        ssize_t n = receive(fd, got < 2 ? head + got : buf + got - 2, want - got);

        if (n <= 0)
            return 0;
        got += (size_t)n;
        if (got == 2)
            want = 2u + (size_t)(head[0] << 8 | head[1]);
    }
    return got - 2;
}

static bool has_ended(int fd)
{
    char c;

    for (int i = 0; i < 50; i++) {
        if (recv(fd, &c, 1, MSG_PEEK) == 0 || (errno != EAGAIN && errno != EINTR))
            return true;
        loop_turn(w.loop, 0);
        errno = EAGAIN;
    }
    return false;
}

static void many_questions_on_one_connection(void **state)
{
    uint8_t buf[2000];
    char name[32];
    int fd, fake = 0, real = 0;

    start("127.0.0.1");
    fd = client("127.0.0.1", SOCK_STREAM);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), i % 2 ? "n%d.real.test" : "n%d.test", i);
        put_query(fd, (uint16_t)i, name);
    }
    for (int i = 0; i < 100; i++) {
        size_t n = get_message(fd, buf);
        int id = buf[0] << 8 | buf[1];

        snprintf(name, sizeof(name), id % 2 ? "n%d.real.test" : "n%d.test", id);
        assert_non_null(strstr(told(buf, n), name));
        fake += id % 2 == 0;
        real += id % 2;
        if (i == 49)
            assert_int_equal(fake, 50); /* nobody waits for a name server that another one asked */
    }
    assert_int_equal(real, 50);
    close(fd);
    world_pass(&w, 5);
    end();
}

static void byte_by_byte(void **state)
{
    static struct wire q;
    uint8_t buf[2000], whole[600];
    int fd;

    start("127.0.0.1");
    fd = client("127.0.0.1", SOCK_STREAM);
    wquery(&q, 7, "slow.test", T_A, 0);
    whole[0] = 0;
    whole[1] = (uint8_t)q.len;
    memcpy(whole + 2, q.b, q.len);
    for (size_t i = 0; i < q.len + 2; i++) {
        send(fd, whole + i, 1, 0);
        loop_turn(w.loop, 0);
    }
    assert_non_null(strstr(told(buf, get_message(fd, buf)), "198.18.0.4"));
    close(fd);
    end();
}

static void connections_that_are_ended(void **state)
{
    static uint8_t big[5000] = { 0x13, 0x00 };
    uint8_t buf[2000];
    int fd;

    start("127.0.0.1");
    fd = client("127.0.0.1", SOCK_STREAM);
    send(fd, "\0\2ab", 4, 0); /* junk */
    assert_true(has_ended(fd));
    close(fd);
    fd = client("127.0.0.1", SOCK_STREAM);
    send(fd, big, sizeof(big), 0); /* longer than a query is */
    assert_true(has_ended(fd));
    close(fd);
    fd = client("127.0.0.1", SOCK_STREAM); /* who says nothing has ten seconds */
    world_pass(&w, 9900);
    assert_false(has_ended(fd));
    put_query(fd, 1, "a.test");
    assert_true(get_message(fd, buf) > 0);
    world_pass(&w, 9900);
    assert_false(has_ended(fd));
    world_pass(&w, 300);
    assert_true(has_ended(fd));
    close(fd);
    fd = client("127.0.0.1", SOCK_STREAM); /* a client that has said all it wants is still answered */
    put_query(fd, 1, "x.real.test");
    shutdown(fd, SHUT_WR);
    assert_non_null(strstr(told(buf, get_message(fd, buf)), "192.0.2.1"));
    assert_true(has_ended(fd));
    close(fd);
    up.script = script_silent;
    fd = client("127.0.0.1", SOCK_STREAM); /* one that leaves while it is asked for */
    put_query(fd, 1, "y.real.test");
    world_pass(&w, 5);
    close(fd);
    world_pass(&w, 6000);
    end();
}

static void only_so_many_connections(void **state)
{
    uint8_t buf[2000];
    int fd[130];

    start("127.0.0.1");
    for (int i = 0; i < 130; i++) {
        fd[i] = client("127.0.0.1", SOCK_STREAM);
        loop_turn(w.loop, 0);
    }
    world_pass(&w, 10);
    assert_false(has_ended(fd[127]));
    assert_true(has_ended(fd[128]));
    assert_true(has_ended(fd[129]));
    put_query(fd[0], 1, "a.test");
    assert_true(get_message(fd[0], buf) > 0);
    for (int i = 0; i < 130; i++)
        close(fd[i]);
    end();
}

static void listening_elsewhere_after_a_reload(void **state)
{
    char text[64];
    uint16_t old;
    int fd;

    start("127.0.0.1");
    old = port;
    port = free_port();
    snprintf(text, sizeof(text), "localhost:%u", port);
    assert_int_equal(dns_serve_listen(w.dns, text), 0);
    assert_int_equal(dns_serve_listen(w.dns, text), 0); /* the same: nothing changes */
    close(client("127.0.0.1", SOCK_STREAM));
    port = old;
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd,
                             (struct sockaddr *)&(struct sockaddr_in){
                                 .sin_family = AF_INET, .sin_port = htons(old), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
                             sizeof(struct sockaddr_in)),
                     -1);
    close(fd);
    assert_true(dns_serve_listen(w.dns, "nonsense") < 0);
    assert_true(dns_serve_listen(w.dns, "127.0.0.1") < 0);
    assert_int_equal(dns_serve_listen(w.dns, NULL), 0);
    end();
}

/* ---- a port that needs privilege ---- */

static struct endpoint asked[4];
static bool asked_udp[4];
static unsigned n_asked;
static int say;

static int privileged(void *arg, const struct endpoint *at, bool udp)
{
    assert_ptr_equal(arg, &w);
    asked[n_asked] = *at;
    asked_udp[n_asked++] = udp;
    return say;
}

/* Takes CAP_NET_BIND_SERVICE away, or gives it back. */
static void may_bind(bool on)
{
    struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct c[2];

    assert_int_equal(syscall(SYS_capget, &h, c), 0);
    if (on)
        c[0].effective |= c[0].permitted & 1u << CAP_NET_BIND_SERVICE;
    else
        c[0].effective &= ~(1u << CAP_NET_BIND_SERVICE);
    assert_int_equal(syscall(SYS_capset, &h, c), 0);
}

/* A socket on a free port, as the one who may would hand it over. */
static int bound(int type)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    if (type == SOCK_STREAM)
        listen(fd, 8);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void a_port_that_needs_privilege(void **state)
{
    static const struct endpoint at = { { 4, { 127, 0, 0, 1 } }, 853 }, no_longer = { { 4, { 127, 0, 0, 1 } }, 854 };
    int fd[3];

    world_begin(&w);
    w.opts.privileged = privileged;
    w.opts.arg = &w;
    world_start(&w, "dns: { nameserver: ['127.0.0.1:9'] }\n");
    may_bind(false);
    n_asked = 0;
    say = 0;
    if (dns_serve_listen(w.dns, "127.0.0.1:853") == 0 && !n_asked) {
        may_bind(true);
        world_end(&w);
        print_message("every port may be opened here\n");
        skip();
    }
    assert_int_equal(n_asked, 2);
    assert_true(asked_udp[0] && !asked_udp[1] && endpoint_eq(&asked[0], &at) && endpoint_eq(&asked[1], &at));
    fd[0] = bound(SOCK_DGRAM);
    fd[1] = bound(SOCK_STREAM);
    fd[2] = bound(SOCK_DGRAM);
    dns_listening(w.dns, &at, true, fd[0]);
    dns_listening(w.dns, &at, false, fd[1]);
    dns_listening(w.dns, &no_longer, true, fd[2]);
    assert_true(is_open(fd[0]) && is_open(fd[1]) && !is_open(fd[2]));
    assert_int_equal(dns_serve_listen(w.dns, "127.0.0.1:853"), 0); /* the same: it stays */
    assert_true(is_open(fd[0]) && is_open(fd[1]) && n_asked == 2);
    assert_int_equal(dns_serve_listen(w.dns, NULL), 0);
    assert_true(!is_open(fd[0]) && !is_open(fd[1]));
    dns_listening(w.dns, &at, true, -EADDRINUSE); /* too late, and no */

    say = -EPIPE; /* nobody is there */
    assert_int_equal(dns_serve_listen(w.dns, "127.0.0.1:853"), -EPIPE);
    assert_int_equal(n_asked, 3);
    may_bind(true);
    world_end(&w);
}

/* ---- a name that somebody waits for ---- */

static unsigned n_seen;

static void on_seen(void *arg)
{
    n_seen += arg == &w;
}

static void a_name_that_is_waited_for(void **state)
{
    start("127.0.0.1");
    dns_expect(w.dns, "probe.shunt.test", on_seen, &w);
    assert_string_equal(world_ask_here(&w, "other.shunt.test", 1, ASK_RD),
                        "NOERROR aa rd ra | other.shunt.test A | other.shunt.test 1 A 198.18.0.4");
    assert_int_equal(n_seen, 0);
    assert_string_equal(world_ask_here(&w, "Probe.shunt.TEST", 1, ASK_RD), "NXDOMAIN aa rd ra | Probe.shunt.TEST A");
    assert_string_equal(world_ask_here(&w, "probe.shunt.test", 28, ASK_RD), "NXDOMAIN aa rd ra | probe.shunt.test AAAA");
    assert_int_equal(n_seen, 2);
    dns_expect(w.dns, NULL, NULL, NULL);
    assert_string_equal(world_ask_here(&w, "probe.shunt.test", 1, ASK_RD),
                        "NOERROR aa rd ra | probe.shunt.test A | probe.shunt.test 1 A 198.18.0.5");
    assert_int_equal(n_seen, 2);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_address_that_was_asked_answers),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(answers_that_cannot_leave_as_one),
        cmocka_unit_test(junk_by_datagram_is_not_answered),
        cmocka_unit_test(many_questions_on_one_connection),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(connections_that_are_ended),
        cmocka_unit_test(only_so_many_connections),
        cmocka_unit_test(listening_elsewhere_after_a_reload),
        cmocka_unit_test(a_port_that_needs_privilege),
        cmocka_unit_test(a_name_that_is_waited_for),
    };

    return cmocka_run_group_tests(tests, quiet, NULL);
}
