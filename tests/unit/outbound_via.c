/*
 * outbound_via.c - nodes behind nodes: dialer-proxy and relay over real sockets, streams and datagrams
 *
 *   dial ──► b (socks5 or ss, its server is "b.example") ──► a (socks5 on the loopback, played by this test)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outbound/ss.h"
#include "outbound_world.h"

static struct world w;
static int server, udp; /* a's TCP and UDP */
static uint16_t port, udp_port;
static struct ss_key key;

/* ---- a dial ---- */

static struct outbound *leaf_of(const char *name, uint8_t net)
{
    static struct flow_meta m = { .dst.host = "dest.example" };
    struct outbound *chain[OUT_CHAIN_MAX];

    m.net = net;
    return chain[out_resolve(out_find(w.set, name), &m, chain) - 1];
}

static int dial(struct call *c, struct outbound *o)
{
    return call_dial(c, o, &(struct dest){ .host = "dest.example", .at.port = 443 });
}

static struct outbound *call(struct call *c, const char *name)
{
    assert_int_equal(dial(c, leaf_of(name, FLOW_TCP)), 0);
    return c->o;
}

/* ---- what the test says as a's server ---- */

static void expect_bytes(int fd, const void *want, size_t n)
{
    uint8_t got[256];

    assert_true(n <= sizeof(got));
    assert_int_equal(world_read(&w, fd, got, n), n);
    assert_memory_equal(got, want, n);
}

/* The whole conversation up to the reply: greeting, request for `host`:`to_port`, yes. */
static void play_socks5(int fd, uint8_t cmd, const char *host, uint16_t to_port)
{
    uint8_t request[300] = { 5, cmd, 0, 3, (uint8_t)strlen(host) };

    expect_bytes(fd, "\x05\x01\x00", 3);
    assert_int_equal(write(fd, "\x05\x00", 2), 2);
    memcpy(request + 5, host, strlen(host));
    request[5 + strlen(host)] = (uint8_t)(to_port >> 8);
    request[6 + strlen(host)] = (uint8_t)to_port;
    expect_bytes(fd, request, 7 + strlen(host));
    assert_int_equal(write(fd, "\x05\x00\x00\x01\0\0\0\0\0\0", 10), 10);
}

static int accept_a(void)
{
    int fd = world_accept(&w, server);

    assert_true(fd >= 0);
    return fd;
}

/* ---- streams ---- */

static void test_socks5_behind_socks5(void **state)
{
    unsigned asked = w.n_asked;
    struct call c;
    char back[8];
    int fd;

    call(&c, "b");
    fd = accept_a();
    play_socks5(fd, 1, "b.example", 1000); /* a is asked for b's server ... */
    play_socks5(fd, 1, "dest.example", 443); /* ... and b's server for the destination */
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, 0);
    assert_int_equal(stream_write(c.s, &(struct iovec){ (void *)"ping", 4 }, 1), 4);
    expect_bytes(fd, "ping", 4);
    assert_int_equal(write(fd, "pong", 4), 4);
    for (int i = 0; i < TURNS; i++) {
        ssize_t n = stream_read(c.s, &(struct iovec){ back, sizeof(back) }, 1);

        if (n) {
            assert_int_equal(n, 4);
            break;
        }
        loop_turn(w.loop, 10);
    }
    assert_memory_equal(back, "pong", 4);
    assert_int_equal(w.n_asked, asked); /* b's name is a's to resolve */
    call_hang_up(&c);
    close(fd);
}

static void open_chunk(struct ss_dir *d, int fd, size_t len, uint8_t *out)
{
    uint8_t sealed[256];

    assert_int_equal(world_read(&w, fd, sealed, len + SS_TAG), len + SS_TAG);
    assert_int_equal(ss_open(d, sealed, len, &(struct iovec){ out, len }, 1), 0);
}

static void test_ss_behind_socks5(void **state)
{
    uint8_t salt[SS_KEY_MAX], size[2], plain[256];
    struct ss_dir d = { 0 };
    struct call c;
    int fd;

    call(&c, "s");
    fd = accept_a();
    play_socks5(fd, 1, "s.example", 2000);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, 0);
    assert_int_equal(stream_write(c.s, &(struct iovec){ (void *)"ping", 4 }, 1), 4);
    assert_int_equal(world_read(&w, fd, salt, key.len), key.len);
    assert_int_equal(ss_dir_init(&d, &key, salt), 0);
    open_chunk(&d, fd, 2, size);
    assert_in_range(size[0] << 8 | size[1], 16, 64);
    open_chunk(&d, fd, (size_t)(size[0] << 8 | size[1]), plain);
    assert_memory_equal(plain, "\x03\x0c" "dest.example\x01\xbb", 16);
    call_hang_up(&c);
    close(fd);
}

/* What is "behind DIRECT" is dialled from here, and its server is looked up as any node's. */
static void test_behind_direct(void **state)
{
    static const char *const node[] = { "n", "ng" };

    assert_int_equal(out_select(out_find(w.set, "G"), "DIRECT"), 0);
    for (int i = 0; i < 2; i++) {
        struct call c;
        struct ear e;

        call(&c, node[i]);
        assert_non_null(w.asked);
        assert_string_equal(w.asked->host, "n.example");
        assert_int_equal(w.asked->why, LOOKUP_SERVER);
        out_cancel(c.o, &c.d);
        assert_int_equal(ear_open(&e, out_find(w.set, node[i])), 0);
        assert_int_equal(pkt_send(e.p, &(struct dest){ .at.port = 53, .host = "dest.example" }, "query", 5), 0);
        assert_non_null(w.asked);
        assert_int_equal(w.asked->why, LOOKUP_SERVER);
        world_answer(&w, "192.0.2.9", 0);
        pkt_close(e.p);
    }
    assert_int_equal(out_select(out_find(w.set, "G"), "a"), 0);
}

static void test_direct_behind_socks5(void **state)
{
    struct call c;
    int fd;

    call(&c, "d");
    fd = accept_a();
    play_socks5(fd, 1, "dest.example", 443);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, 0);
    call_hang_up(&c);
    close(fd);
}

static void test_relay_is_the_same(void **state)
{
    struct outbound *first;
    struct call c;
    int fd;

    first = call(&c, "R");
    fd = accept_a();
    play_socks5(fd, 1, "p.example", 3000);
    play_socks5(fd, 1, "dest.example", 443);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, 0);
    assert_ptr_equal(first->origin, out_find(w.set, "p"));
    assert_int_equal(out_find(w.set, "p")->n_dials, 0); /* p itself is dialled by a socket, when it is */
    call_hang_up(&c);
    close(fd);
}

/* A group in the middle chooses for each dial. */
static void test_through_a_group(void **state)
{
    struct call c;
    int fd;

    assert_int_equal(out_select(out_find(w.set, "G"), "a"), 0);
    call(&c, "g");
    fd = accept_a();
    play_socks5(fd, 1, "g.example", 4000);
    play_socks5(fd, 1, "dest.example", 443);
    assert_true(world_until(&w, &c.done));
    call_hang_up(&c);
    close(fd);
    assert_int_equal(out_select(out_find(w.set, "G"), "REJECT"), 0);
    assert_int_equal(dial(&c, out_find(w.set, "g")), -ERR_RULE);
}

static void test_what_fails_below_fails_above(void **state)
{
    struct outbound *a = out_find(w.set, "a"), *b = out_find(w.set, "b");
    uint64_t failed_a = a->n_failed, failed_b = b->n_failed;
    struct call c;
    int fd;

    call(&c, "b");
    fd = accept_a();
    expect_bytes(fd, "\x05\x01\x00", 3);
    assert_int_equal(write(fd, "\x05\xff", 2), 2); /* a refuses */
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ERR_AUTH);
    assert_null(c.s);
    assert_int_equal(a->n_failed, failed_a + 1);
    assert_int_equal(b->n_failed, failed_b + 1);
    close(fd);
}

/* Cancelled at every point of the way; sanitizers watch. */
static void test_cancel(void **state)
{
    for (int step = 0; step < 4; step++) {
        struct outbound *o;
        struct call c;
        int fd = -1;

        o = call(&c, "b");
        if (step > 0)
            fd = accept_a();
        if (step > 1)
            expect_bytes(fd, "\x05\x01\x00", 3);
        if (step > 2) {
            assert_int_equal(write(fd, "\x05\x00", 2), 2);
            loop_turn(w.loop, 10);
        }
        out_cancel(o, &c.d);
        for (int i = 0; i < 5; i++)
            loop_turn(w.loop, 1);
        assert_false(c.done);
        if (fd < 0)
            fd = accept(server, NULL, NULL); /* the socket may have connected */
        if (fd >= 0)
            close(fd);
    }
}

/* ---- datagrams ---- */

static void listen_to(struct ear *e, const char *name)
{
    assert_int_equal(ear_open(e, leaf_of(name, FLOW_UDP)), 0);
}

/* a's server: ASSOCIATE, and where datagrams go. */
static int play_associate(void)
{
    uint8_t reply[10] = { 5, 0, 0, 1, 127, 0, 0, 1, (uint8_t)(udp_port >> 8), (uint8_t)udp_port };
    int fd = accept_a();

    expect_bytes(fd, "\x05\x01\x00", 3);
    assert_int_equal(write(fd, "\x05\x00", 2), 2);
    expect_bytes(fd, "\x05\x03\x00\x01\0\0\0\0\0\0", 10);
    assert_int_equal(write(fd, reply, sizeof(reply)), sizeof(reply));
    return fd;
}

/* An ss reply from `from` (dest.example stands behind 192.0.2.1:53), within a SOCKS5 datagram that says who sent it. */
static void answer(const struct sockaddr_storage *to, const char *sender, uint16_t sender_port, const char *text)
{
    uint8_t out[512] = { 0, 0, 0 }, salt[SS_KEY_MAX] = { 7 };
    struct dest from = { .at.port = 53 };
    struct endpoint at = { .port = sender_port };
    size_t head;
    ssize_t n;

    addr_parse(sender, &at.ip);
    addr_parse("192.0.2.1", &from.at.ip);
    head = 3 + atyp_put(out + 3, &(struct dest){ .at = at });
    n = ss_udp_seal(&key, salt, &from, text, strlen(text), out + head);
    assert_true(n > 0);
    sendto(udp, out, head + (size_t)n, 0, (const struct sockaddr *)to, sizeof(struct sockaddr_in));
}

static void test_ss_datagrams_behind_socks5(void **state)
{
    struct dest to = { .at.port = 53, .host = "dest.example" };
    struct sockaddr_storage from;
    struct sender target;
    struct span payload;
    uint8_t got[512], plain[512];
    struct ear e;
    ssize_t n;
    int fd;

    listen_to(&e, "u"); /* its server is 192.0.2.9:5000 */
    assert_int_equal(pkt_send(e.p, &to, "query", 5), 0);
    fd = play_associate();
    n = world_datagram(&w, udp, got, sizeof(got), &from);
    assert_true(n > 10 + SS_TAG);
    assert_memory_equal(got, "\0\0\0\x01\xc0\x00\x02\x09\x13\x88", 10); /* a is asked to send it to u's server */
    assert_int_equal(ss_udp_open(&key, got + 10, (size_t)n - 10, plain, &target, &payload), 0);
    assert_string_equal(target.host, "dest.example");
    answer(&from, "192.0.2.66", 5000, "forged"); /* not u's server */
    answer(&from, "192.0.2.9", 5000, "answer");
    assert_true(world_until(&w, &e.heard));
    assert_string_equal(e.text, "answer");
    assert_int_equal(e.from.port, 53);
    assert_int_equal(pkt_send(e.p, &to, "more", 4), 0);
    assert_true(world_datagram(&w, udp, got, sizeof(got), &from) > 0);
    pkt_close(e.p);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop, 1);
    assert_int_equal(read(fd, got, 1), 0); /* nothing of it is left: a's association has ended */
    close(fd);
}

static void test_end_below_is_end_above(void **state)
{
    struct ear e;
    int fd;

    listen_to(&e, "u");
    assert_int_equal(pkt_send(e.p, &(struct dest){ .at.port = 53, .host = "dest.example" }, "query", 5), 0);
    fd = play_associate();
    loop_turn(w.loop, 10);
    close(fd); /* a ends the association */
    assert_true(world_until(&w, &e.dead));
    pkt_close(e.p);
}

static void test_no_datagrams_below(void **state)
{
    struct pktsess *p;

    assert_int_equal(out_open_pkt(out_find(w.set, "x"), NULL, &p), -ERR_UNSUPPORTED); /* behind b, which carries none */
    assert_int_equal(out_select(out_find(w.set, "G"), "REJECT"), 0);
    assert_int_equal(out_open_pkt(out_find(w.set, "h"), NULL, &p), -ERR_RULE);
}

static int setup(void **state)
{
    static char yaml[4096];

    server = world_listen("127.0.0.1", SOCK_STREAM, &port);
    udp = world_listen("127.0.0.1", SOCK_DGRAM, &udp_port);
    snprintf(yaml, sizeof(yaml),
             "proxies:\n"
             "  - {name: a, type: socks5, server: 127.0.0.1, port: %u, udp: true}\n"
             "  - {name: b, type: socks5, server: b.example, port: 1000, dialer-proxy: a}\n"
             "  - {name: s, type: ss, server: s.example, port: 2000, cipher: aes-128-gcm, password: pw, dialer-proxy: a}\n"
             "  - {name: d, type: direct, dialer-proxy: a}\n"
             "  - &n {name: n, type: ss, server: n.example, port: 1, cipher: aes-128-gcm, password: pw, udp: true, dialer-proxy: DIRECT}\n"
             "  - {<<: *n, name: ng, dialer-proxy: G}\n"
             "  - {name: p, type: socks5, server: p.example, port: 3000}\n"
             "  - {name: g, type: socks5, server: g.example, port: 4000, dialer-proxy: G}\n"
             "  - {name: u, type: ss, server: 192.0.2.9, port: 5000, cipher: aes-128-gcm, password: pw, udp: true, dialer-proxy: a}\n"
             "  - {name: x, type: ss, server: x.example, port: 1, cipher: aes-128-gcm, password: pw, udp: true, dialer-proxy: b}\n"
             "  - {name: h, type: ss, server: x.example, port: 1, cipher: aes-128-gcm, password: pw, udp: true, dialer-proxy: G}\n"
             "proxy-groups:\n"
             "  - {name: G, type: select, proxies: [a, REJECT, DIRECT]}\n"
             "  - {name: R, type: relay, proxies: [G, p]}\n",
             port);
    world_open(&w, yaml);
    assert_int_equal(ss_key_init(&key, ss_cipher_find("aes-128-gcm"), "pw"), 0);
    return w.set && server >= 0 && udp >= 0 ? 0 : -1;
}

static int teardown(void **state)
{
    close(server);
    close(udp);
    world_close(&w);
    ss_stream_trim();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_socks5_behind_socks5),
        cmocka_unit_test(test_ss_behind_socks5),
        cmocka_unit_test(test_behind_direct),
        cmocka_unit_test(test_direct_behind_socks5),
        cmocka_unit_test(test_relay_is_the_same),
        cmocka_unit_test(test_through_a_group),
        cmocka_unit_test(test_what_fails_below_fails_above),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_ss_datagrams_behind_socks5),
        cmocka_unit_test(test_end_below_is_end_above),
        cmocka_unit_test(test_no_datagrams_below),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
