/*
 * outbound_udp.c - datagram sessions of direct and Shadowsocks over real sockets on the loopback
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/hash.h"
#include "outbound/pktq.h"
#include "outbound/ss.h"
#include "outbound_world.h"

static struct world w;
static uint16_t port; /* of the server, and of the peer of direct */
static int server;
static struct ss_key key;

static int open_ear(struct ear *e, const char *node)
{
    return ear_open(e, out_find(w.set, node));
}

static ssize_t datagram(uint8_t *buf, size_t size, struct sockaddr_storage *from)
{
    return world_datagram(&w, server, buf, size, from);
}

static void expect(const char *text)
{
    struct sockaddr_storage from;
    uint8_t b[256];
    ssize_t n = datagram(b, sizeof(b), &from);

    assert_int_equal(n, strlen(text));
    assert_memory_equal(b, text, strlen(text));
}

/* ---- direct ---- */

static void test_direct_to_addresses(void **state)
{
    struct dest to = { .at.port = port };
    struct sockaddr_storage from;
    struct ear e;
    uint8_t b[64];

    assert_int_equal(open_ear(&e, "DIRECT"), 0);
    addr_parse("127.0.0.1", &to.at.ip);
    assert_int_equal(pkt_send(e.p, &to, "hello", 5), 0);
    assert_int_equal(datagram(b, sizeof(b), &from), 5);
    sendto(server, "back", 4, 0, (struct sockaddr *)&from, sizeof(struct sockaddr_in));
    assert_true(world_until(&w, &e.heard));
    assert_string_equal(e.text, "back");
    assert_int_equal(e.from.port, port);
    to = (struct dest){ .at.port = port, .host = "127.0.0.1" };
    assert_int_equal(pkt_send(e.p, &to, "text", 4), 0);
    expect("text");
    assert_int_equal(pkt_send(e.p, &(struct dest){ .at.port = 1 }, "x", 1), -ERR_NAME);
    w.env.ipv6 = false;
    to = (struct dest){ .at.port = port, .host = "::1" };
    assert_int_equal(pkt_send(e.p, &to, "x", 1), -ENETUNREACH);
    w.env.ipv6 = true;
    pkt_close(e.p);
}

static void test_direct_to_a_name(void **state)
{
    struct dest to = { .at.port = port, .host = "some.name" };
    unsigned asked = w.n_asked;
    struct ear e;

    assert_int_equal(open_ear(&e, "DIRECT"), 0);
    assert_int_equal(pkt_send(e.p, &to, "one", 3), 0);
    assert_int_equal(pkt_send(e.p, &to, "two", 3), 0);
    assert_int_equal(w.n_asked, asked + 1); /* one question for both */
    assert_int_equal(w.asked->why, LOOKUP_DIRECT);
    world_answer(&w, "127.0.0.1 127.0.0.2", 0);
    expect("one");
    expect("two");
    assert_int_equal(pkt_send(e.p, &to, "three", 5), 0); /* known now, and kept */
    assert_int_equal(w.n_asked, asked + 1);
    expect("three");
    pkt_close(e.p);
}

static void look_says(struct lookup *l, const char *first, const char *second)
{
    *l = (struct lookup){ .n = 2 };
    addr_parse(first, &l->addr[0]);
    addr_parse(second, &l->addr[1]);
}

static void test_a_name_with_both_on_a_machine_with_one(void **state)
{
    struct dest to = { .at.port = port, .host = "some.name" };
    struct lookup l;
    struct ear e;

    assert_int_equal(open_ear(&e, "DIRECT"), 0);
    assert_int_equal(pkt_send(e.p, &to, "one", 3), 0);
    world_answer(&w, "255.255.255.255 127.0.0.1", 0); /* connect says EACCES to the first on every machine */
    expect("one");
    pkt_close(e.p);
    look_says(&l, "127.0.0.1", "::1");
    out_choose(out_find(w.set, "six-first"), &l);
    assert_int_equal(l.addr[0].ver, 6);
    assert_int_equal(l.n, 2);
    assert_int_equal(out_choose(out_find(w.set, "six"), &l)->ver, 6);
    assert_int_equal(l.n, 1);
    assert_null(out_choose(out_find(w.set, "four"), &l)); /* nothing of its family is left */
    look_says(&l, "::1", "127.0.0.1");
    assert_int_equal(out_choose(out_find(w.set, "four-first"), &l)->ver, 4);
    assert_int_equal(out_only(out_find(w.set, "four")), 4);
    assert_int_equal(out_only(out_find(w.set, "six-first")), 0);
}

static void test_direct_to_a_name_that_fails(void **state)
{
    struct dest to = { .at.port = port, .host = "no.name" };
    struct ear e;

    assert_int_equal(open_ear(&e, "DIRECT"), 0);
    assert_int_equal(pkt_send(e.p, &to, "lost", 4), 0);
    world_answer(&w, "", -ERR_NAME);
    assert_int_equal(pkt_send(e.p, &to, "again", 5), 0); /* asks anew */
    world_answer(&w, "127.0.0.1", 0);
    expect("again");
    w.refuse = -ERR_LIMIT;
    to.host = "other.name";
    assert_int_equal(pkt_send(e.p, &to, "x", 1), -ERR_LIMIT);
    w.refuse = 0;
    pkt_close(e.p);
}

static void test_direct_names_are_bounded(void **state)
{
    unsigned cancelled = w.n_cancelled;
    struct ear e;
    char host[32];

    assert_int_equal(open_ear(&e, "DIRECT"), 0);
    for (int i = 0; i < 40; i++) {
        snprintf(host, sizeof(host), "n%d.name", i);
        assert_int_equal(pkt_send(e.p, &(struct dest){ .at.port = 1, .host = host }, "x", 1), 0);
    }
    assert_int_equal(w.n_cancelled, cancelled + 24); /* 16 are kept; the others' look-ups are taken back */
    pkt_close(e.p);
    assert_int_equal(w.n_cancelled, cancelled + 40);
    w.asked = NULL;
}

/* ---- the queue ---- */

static unsigned n_flushed;
static size_t bytes_flushed;

static void count(void *arg, const struct dest *to, const void *buf, size_t len)
{
    assert_string_equal(to->host, "h");
    if (!n_flushed)
        assert_int_equal(*(const uint8_t *)buf, *(const uint8_t *)arg);
    n_flushed++;
    bytes_flushed += len;
}

static void test_queue_drops_the_oldest(void **state)
{
    struct dest to = { .at.port = 1, .host = "h" };
    static uint8_t big[PKTQ_BYTES + 1];
    struct pktq q = { 0 };
    uint8_t first = 100 - PKTQ_MAX;

    for (uint8_t i = 0; i < 100; i++)
        assert_int_equal(pktq_add(&q, &to, &i, 1), 0);
    pktq_flush(&q, count, &first);
    assert_int_equal(n_flushed, PKTQ_MAX);
    n_flushed = 0;
    bytes_flushed = 0;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pktq_add(&q, &to, big, 10000), 0);
    assert_int_equal(pktq_add(&q, &to, big, sizeof(big)), -EMSGSIZE);
    first = 0;
    pktq_flush(&q, count, &first);
    assert_int_equal(bytes_flushed, 30000);
    assert_int_equal(pktq_add(&q, &to, NULL, 0), 0);
    pktq_fini(&q);
}

/* ---- Shadowsocks ---- */

/* The server's part: opens what came; returns the payload's length. */
static size_t hear(uint8_t out[2048], struct span *payload, struct endpoint *to, struct sockaddr_storage *from)
{
    uint8_t b[2048];
    ssize_t n = datagram(b, sizeof(b), from);
    struct sender at;

    assert_true(n > 0);
    assert_int_equal(ss_udp_open(&key, b, (size_t)n, out, &at, payload), 0);
    *to = at.at;
    return payload->len;
}

static void answer(const char *who, uint16_t who_port, const char *text, const struct sockaddr_storage *to, int spoil)
{
    uint8_t salt[SS_KEY_MAX], b[256];
    struct dest from = { .at.port = who_port };
    ssize_t n;

    random_bytes(salt, sizeof(salt));
    addr_parse(who, &from.at.ip);
    n = ss_udp_seal(&key, salt, &from, text, strlen(text), b);
    if (spoil)
        b[n - 1] ^= 1;
    sendto(server, b, (size_t)n, 0, (const struct sockaddr *)to, sizeof(struct sockaddr_in));
}

static void test_ss_both_ways(void **state)
{
    struct dest to = { .at.port = 53 };
    struct sockaddr_storage from;
    struct endpoint asked;
    struct span payload;
    uint8_t out[2048];
    struct ear e;

    assert_int_equal(open_ear(&e, "ss"), 0);
    addr_parse("9.9.9.9", &to.at.ip);
    assert_int_equal(pkt_send(e.p, &to, "query", 5), 0); /* even before the socket is there */
    assert_int_equal(hear(out, &payload, &asked, &from), 5);
    assert_memory_equal(payload.p, "query", 5);
    assert_true(endpoint_eq(&asked, &to.at));
    answer("9.9.9.9", 53, "spoilt", &from, 1);
    answer("8.8.8.8", 99, "anybody", &from, 0); /* full cone */
    assert_true(world_until(&w, &e.heard));
    assert_string_equal(e.text, "anybody");
    assert_int_equal(e.n, 1);
    assert_int_equal(e.from.port, 99);
    assert_true(out_find(w.set, "ss")->answered);
    assert_int_equal(pkt_send(e.p, &to, out, 70000), -EMSGSIZE);
    assert_int_equal(pkt_send(e.p, &(struct dest){ .at.port = 1 }, "x", 1), -ERR_NAME);
    pkt_close(e.p);
    assert_int_equal(open_ear(&e, "noudp"), -ERR_UNSUPPORTED);
}

static void test_ss_server_by_name(void **state)
{
    struct dest to = { .at.port = 53 };
    struct sockaddr_storage from;
    struct endpoint asked;
    struct span payload;
    uint8_t out[2048];
    struct ear e;

    addr_parse("9.9.9.9", &to.at.ip);
    assert_int_equal(open_ear(&e, "named"), 0);
    assert_string_equal(w.asked->host, "server.example");
    assert_int_equal(w.asked->why, LOOKUP_SERVER);
    assert_int_equal(pkt_send(e.p, &to, "early", 5), 0);
    world_answer(&w, "127.0.0.1", 0);
    assert_int_equal(hear(out, &payload, &asked, &from), 5);
    pkt_close(e.p);

    assert_int_equal(open_ear(&e, "named"), 0);
    assert_int_equal(pkt_send(e.p, &to, "early", 5), 0);
    world_answer(&w, "", -ERR_NAME);
    assert_true(e.dead);
    assert_int_equal(e.err, -ERR_NAME);
    pkt_close(e.p);

    assert_int_equal(open_ear(&e, "named"), 0);
    pkt_close(e.p); /* while it is looking */
    assert_null(w.asked);
}

static int setup(void **state)
{
    static char yaml[1024];

    server = world_listen("127.0.0.1", SOCK_DGRAM, &port);
    snprintf(yaml, sizeof(yaml),
             "proxies:\n"
             "  - {name: ss, type: ss, server: 127.0.0.1, port: %u, cipher: aes-256-gcm, password: pw, udp: true}\n"
             "  - {name: noudp, type: ss, server: 127.0.0.1, port: %u, cipher: aes-256-gcm, password: pw}\n"
             "  - {name: named, type: ss, server: server.example, port: %u, cipher: aes-256-gcm, password: pw, udp: true}\n"
             "  - {name: six, type: direct, ip-version: ipv6}\n  - {name: four, type: direct, ip-version: ipv4}\n"
             "  - {name: six-first, type: direct, ip-version: ipv6-prefer}\n"
             "  - {name: four-first, type: direct, ip-version: ipv4-prefer}\n",
             port, port, port);
    world_open(&w, yaml);
    ss_key_init(&key, ss_cipher_find("aes-256-gcm"), "pw");
    return w.set ? 0 : -1;
}

static int teardown(void **state)
{
    world_close(&w);
    close(server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct_to_addresses),
        cmocka_unit_test(test_direct_to_a_name),
        cmocka_unit_test(test_a_name_with_both_on_a_machine_with_one),
        cmocka_unit_test(test_direct_to_a_name_that_fails),
        cmocka_unit_test(test_direct_names_are_bounded),
        cmocka_unit_test(test_queue_drops_the_oldest),
        cmocka_unit_test(test_ss_both_ways),
        cmocka_unit_test(test_ss_server_by_name),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
