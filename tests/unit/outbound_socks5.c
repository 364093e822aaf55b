/*
 * outbound_socks5.c - what SOCKS5 servers may say, and whole conversations with a scripted one
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outbound/socks5.h"
#include "hex.h"
#include "outbound_world.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* ---- parsers ---- */

static void test_choices(void **state)
{
    static const struct { uint8_t b[2]; bool password; int want; } cases[] = {
        { { 5, 0 }, false, 0 },          { { 5, 0 }, true, 0 },           { { 5, 2 }, true, 2 },
        { { 5, 2 }, false, -ERR_AUTH },  { { 5, 0xff }, true, -ERR_AUTH }, { { 5, 1 }, true, -ERR_PROTO },
        { { 4, 0 }, true, -ERR_PROTO },  { { 'H', 'T' }, true, -ERR_PROTO },
    };

    for (size_t i = 0; i < N(cases); i++)
        assert_int_equal(socks5_choice(cases[i].b, cases[i].password), cases[i].want);
    assert_int_equal(socks5_auth_reply((uint8_t[]){ 1, 0 }), 0);
    assert_int_equal(socks5_auth_reply((uint8_t[]){ 1, 2 }), -ERR_AUTH);
    assert_int_equal(socks5_auth_reply((uint8_t[]){ 5, 0 }), -ERR_PROTO);
}

static void test_replies(void **state)
{
    static const struct { const char *hex; int want; const char *at, *name; } cases[] = {
        { "050000017f0000010438", 0, "127.0.0.1:1080", "" },
        { "05000004000000000000000000000000000000010050", 0, "[::1]:80", "" },
        { "0500000304686f73740050", 0, NULL, "host" },
        { "0500000305686f73", -ERR_PROTO, NULL, NULL }, /* cut short */
        { "0500000309312e322e332e342e350050", 0, NULL, "1.2.3.4.5" },
        { "0500000307312e322e332e340050", 0, "1.2.3.4:80", "" },         /* a name that is an address */
        { "05000003000050", -ERR_PROTO, NULL, NULL },
        { "050000027f0000010438", -ERR_PROTO, NULL, NULL },
        { "0501", -ECONNABORTED, NULL, NULL },
        { "0502", -ERR_RULE, NULL, NULL },
        { "0503", -ENETUNREACH, NULL, NULL },
        { "0504", -EHOSTUNREACH, NULL, NULL },
        { "0505", -ECONNREFUSED, NULL, NULL },
        { "05050001000000000000", -ECONNREFUSED, NULL, NULL },
        { "0506", -ETIMEDOUT, NULL, NULL },
        { "0507", -ERR_UNSUPPORTED, NULL, NULL },
        { "0508", -EAFNOSUPPORT, NULL, NULL },
        { "05ee", -ERR_PROTO, NULL, NULL },
        { "0400", -ERR_PROTO, NULL, NULL },
    };

    for (size_t i = 0; i < N(cases); i++) {
        uint8_t b[300];
        size_t n = unhex(cases[i].hex, b), have = 0, need;
        struct endpoint at;
        struct span name;
        char buf[ENDPOINT_STRLEN];

        while ((need = socks5_reply_size(b, have)) > have && need <= n)
            have = need; /* as the conversation reads: never a byte too much */
        if (cases[i].want == 0)
            assert_int_equal(have, n);
        assert_int_equal(socks5_reply(b, have, &at, &name), cases[i].want);
        if (cases[i].at)
            assert_string_equal(endpoint_str(&at, buf), cases[i].at);
        if (cases[i].name) {
            assert_int_equal(name.len, strlen(cases[i].name));
            assert_memory_equal(name.p, cases[i].name, name.len);
        }
    }
}

static void test_datagrams(void **state)
{
    static const struct { const char *hex; int want; const char *from; size_t len; } cases[] = {
        { "0000000101020304003571", 0, "1.2.3.4:53", 1 },
        { "00000001010203040035", 0, "1.2.3.4:53", 0 },
        { "0000000420010db800000000000000000000000100357172", 0, "[2001:db8::1]:53", 2 },
        { "0000010101020304003571", -ERR_PROTO, NULL, 0 }, /* a fragment */
        { "0000000304486f7374003571", 0, "host:53", 1 },
        { "00000003007100357171", -ERR_PROTO, NULL, 0 }, /* a name of no letter */
        { "00000003036100620035", -ERR_PROTO, NULL, 0 }, /* and of no host */
        { "00000001010203", -ERR_PROTO, NULL, 0 },
        { "0000", -ERR_PROTO, NULL, 0 },
        { "", -ERR_PROTO, NULL, 0 },
    };

    for (size_t i = 0; i < N(cases); i++) {
        uint8_t b[64];
        size_t n = unhex(cases[i].hex, b);
        struct sender from;
        struct span payload;
        char buf[DEST_STRLEN];
        struct dest who;

        assert_int_equal(socks5_udp_open(b, n, &from, &payload), cases[i].want);
        if (cases[i].want < 0)
            continue;
        who = sender_dest(&from);
        assert_string_equal(dest_str(&who, buf), cases[i].from);
        assert_int_equal(payload.len, cases[i].len);
    }
}

static void test_addresses_as_published(void **state)
{
    static const struct { const char *host, *ip; uint16_t port; const char *hex; } cases[] = {
        { "example.com", NULL, 443, "030b6578616d706c652e636f6d01bb" },
        { "example.com", "1.2.3.4", 443, "030b6578616d706c652e636f6d01bb" },
        { NULL, "2001:db8::1", 80, "0420010db80000000000000000000000010050" },
        { "1.2.3.4", NULL, 53, "01010203040035" },
        { NULL, NULL, 53, "" },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct dest to = { .at.port = cases[i].port, .host = cases[i].host };
        uint8_t got[ATYP_MAX], want[ATYP_MAX];
        size_t n;

        if (cases[i].ip)
            addr_parse(cases[i].ip, &to.at.ip);
        n = unhex(cases[i].hex, want);
        assert_int_equal(atyp_put(got, &to), n);
        assert_memory_equal(got, want, n);
    }
}

/* ---- conversations ---- */

static struct world w;
static int listener;
static uint16_t port;

/* One message of the client as it must be, and what the server says to it; "" = it closes. */
struct line {
    const char *hears, *says;
};

static const struct talk {
    const char *node;
    const char *host;
    struct line line[4];
    int want;
} talks[] = {
    { "plain", "example.com", { { "050100", "0500" }, { "050100030b6578616d706c652e636f6d01bb", "05000001000000000000" } }, 0 },
    { "plain", "example.com", { { "050100", "0500" }, { "050100030b6578616d706c652e636f6d01bb", "0500000304686f73740050" } }, 0 },
    { "plain", "example.com", { { "050100", "0500" }, { "050100030b6578616d706c652e636f6d01bb", "0505" } }, -ECONNREFUSED },
    { "plain", "example.com", { { "050100", "0500" }, { "050100030b6578616d706c652e636f6d01bb", "" } }, -ERR_PROTO },
    { "plain", "example.com", { { "050100", "05ff" } }, -ERR_AUTH },
    { "plain", "example.com", { { "050100", "0502" } }, -ERR_AUTH },
    { "plain", "example.com", { { "050100", "" } }, -ERR_EARLY },
    { "plain", "example.com", { { "050100", "485454502f312e31" } }, -ERR_PROTO },
    { "auth", "example.com", { { "05020002", "0500" }, { "050100030b6578616d706c652e636f6d01bb", "05000001000000000000" } }, 0 },
    { "auth", "example.com",
      { { "05020002", "0502" }, { "01047573657204" "70617373", "0100" }, { "050100030b6578616d706c652e636f6d01bb", "05000001000000000000" } }, 0 },
    { "auth", "example.com", { { "05020002", "0502" }, { "01047573657204" "70617373", "0101" } }, -ERR_AUTH },
    { "auth", "example.com", { { "05020002", "0502" }, { "01047573657204" "70617373", "" } }, -ERR_AUTH },
};

/* In one piece or byte by byte; the client may have heard enough and closed. */
static void say(int fd, const uint8_t *b, size_t n, bool drip)
{
    for (size_t i = 0; i < n; i += drip ? 1 : n) {
        send(fd, b + i, drip ? 1 : n, MSG_NOSIGNAL);
        if (drip)
            loop_turn(w.loop, 5);
    }
}

/* Plays the server's part; what follows the last answer in the same segment must stay in the stream. */
static void play(const struct talk *t, bool drip)
{
    struct call c;
    uint8_t b[300], want[300];
    int fd;

    assert_int_equal(call_dial(&c, out_find(w.set, t->node), &(struct dest){ .at.port = 443, .host = t->host }), 0);
    assert_true((fd = world_accept(&w, listener)) >= 0);
    for (const struct line *l = t->line; l < t->line + N(t->line) && l->hears; l++) {
        size_t n = unhex(l->hears, want);

        assert_int_equal(world_read(&w, fd, b, n), n);
        assert_memory_equal(b, want, n);
        n = unhex(l->says, b);
        if (n && t->want == 0 && !(l + 1 < t->line + N(t->line) && l[1].hears)) {
            memcpy(b + n, "early", 5); /* a server that speaks first */
            n += 5;
        }
        if (n)
            say(fd, b, n, drip);
        else
            shutdown(fd, SHUT_WR);
    }
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, t->want);
    if (c.s) {
        assert_int_equal(stream_read(c.s, &(struct iovec){ b, sizeof(b) }, 1), 5);
        assert_memory_equal(b, "early", 5);
        assert_int_equal(stream_write(c.s, &(struct iovec){ "hi", 2 }, 1), 2);
        assert_int_equal(world_read(&w, fd, b, 2), 2);
        stream_close(c.s, 0);
    }
    close(fd);
    loop_turn(w.loop, 0);
}

static void test_conversations(void **state)
{
    for (size_t i = 0; i < N(talks); i++) {
        play(&talks[i], false);
        play(&talks[i], true);
    }
}

static void test_refused_server(void **state)
{
    struct dest to = { .at.port = 443, .host = "x" };
    struct call c;
    struct outbound *o = out_find(w.set, "nobody");

    assert_int_equal(call_dial(&c, o, &to), 0);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ECONNREFUSED);
    assert_int_equal(o->n_dials, 1);
    assert_int_equal(o->n_failed, 1);
}

static void test_cancel_in_mid_conversation(void **state)
{
    struct dest to = { .at.port = 443, .host = "x" };
    struct call c;
    struct outbound *o = out_find(w.set, "plain");
    uint8_t b[8];
    int fd;

    assert_int_equal(call_dial(&c, o, &to), 0);
    out_cancel(o, &c.d); /* while connecting */
    assert_int_equal(call_dial(&c, o, &to), 0);
    assert_true((fd = world_accept(&w, listener)) >= 0);
    if (world_read(&w, fd, b, 3) != 3) { /* that was the cancelled one */
        close(fd);
        assert_true((fd = world_accept(&w, listener)) >= 0);
        assert_int_equal(world_read(&w, fd, b, 3), 3);
    }
    out_cancel(o, &c.d);
    out_cancel(o, &c.d);
    assert_false(c.done);
    close(fd);
}

/* ---- UDP ---- */

static void test_association(void **state)
{
    struct dest to = { .at.port = 53, .host = "example.com" };
    struct ear e = { 0 };
    struct sockaddr_storage from;
    uint8_t b[300], want[300], reply[] = { 5, 0, 0, 1, 0, 0, 0, 0, 0, 0 };
    uint16_t relay_port = 0, stranger_port = 0;
    int fd, relay = world_listen("127.0.0.1", SOCK_DGRAM, &relay_port), stranger = world_listen("127.0.0.1", SOCK_DGRAM, &stranger_port);
    size_t n;

    assert_int_equal(ear_open(&e, out_find(w.set, "plain")), 0);
    assert_int_equal(pkt_send(e.p, &to, "one", 3), 0); /* waits for the association */
    assert_true((fd = world_accept(&w, listener)) >= 0);
    assert_int_equal(world_read(&w, fd, b, 3), 3);
    say(fd, (uint8_t[]){ 5, 0 }, 2, false);
    n = unhex("05030001000000000000", want);
    assert_int_equal(world_read(&w, fd, b, n), n);
    assert_memory_equal(b, want, n);
    reply[8] = (uint8_t)(relay_port >> 8); /* 0.0.0.0: the server itself */
    reply[9] = (uint8_t)relay_port;
    say(fd, reply, sizeof(reply), true);

    n = unhex("000000030b6578616d706c652e636f6d0035", want);
    assert_int_equal(world_datagram(&w, relay, b, sizeof(b), &from), n + 3);
    assert_memory_equal(b, want, n);
    assert_memory_equal(b + n, "one", 3);
    n = unhex("0000000101020304003571", b);
    sendto(stranger, "\0\0\0\1\1\1\1\1\0\1evil", 14, 0, (struct sockaddr *)&from, sizeof(struct sockaddr_in));
    sendto(relay, "\0\0\1\1\1\1\1\1\0\1fragment", 18, 0, (struct sockaddr *)&from, sizeof(struct sockaddr_in));
    sendto(relay, b, n, 0, (struct sockaddr *)&from, sizeof(struct sockaddr_in));
    assert_true(world_until(&w, &e.heard));
    assert_string_equal(e.text, "q");
    assert_int_equal(e.from.port, 53);

    assert_int_equal(write(fd, "junk", 4), 4); /* is overlooked */
    loop_turn(w.loop, 10);
    assert_false(e.dead);
    close(fd); /* its end is the end of the association */
    assert_true(world_until(&w, &e.dead));
    assert_int_equal(pkt_send(e.p, &to, "two", 3), -ENOTCONN);
    pkt_close(e.p);
    close(relay);
    close(stranger);
}

static void test_association_refused(void **state)
{
    struct ear e = { 0 };
    uint8_t b[16];
    int fd;

    assert_int_equal(ear_open(&e, out_find(w.set, "plain")), 0);
    assert_true((fd = world_accept(&w, listener)) >= 0);
    assert_int_equal(world_read(&w, fd, b, 3), 3);
    say(fd, (uint8_t[]){ 5, 0 }, 2, false);
    assert_int_equal(world_read(&w, fd, b, 10), 10);
    say(fd, (uint8_t[]){ 5, 7 }, 2, false);
    assert_true(world_until(&w, &e.dead));
    assert_int_equal(e.err, -ERR_UNSUPPORTED);
    pkt_close(e.p);
    close(fd);
    assert_int_equal(out_open_pkt(out_find(w.set, "noudp"), NULL, &e.p), -ERR_UNSUPPORTED);
}

/* A server that says yes and has no relay: datagrams went nowhere, and the node was said to be well. */
static void test_association_without_a_relay(void **state)
{
    struct outbound *o = out_find(w.set, "plain");
    struct ear e = { 0 };
    uint8_t b[16];
    int fd;

    assert_int_equal(ear_open(&e, o), 0);
    assert_true((fd = world_accept(&w, listener)) >= 0);
    assert_int_equal(world_read(&w, fd, b, 3), 3);
    say(fd, (uint8_t[]){ 5, 0 }, 2, false);
    assert_int_equal(world_read(&w, fd, b, 10), 10);
    o->last_err = 0; /* other tests had their troubles */
    say(fd, (uint8_t[]){ 5, 0, 0, 1, 127, 0, 0, 1, 0, 0 }, 10, false);
    assert_true(world_until(&w, &e.dead));
    assert_int_equal(e.err, -ERR_PROTO);
    assert_int_equal(o->last_err, -ERR_PROTO);
    pkt_close(e.p);
    close(fd);
}

static int setup(void **state)
{
    static char yaml[1024];
    uint16_t nobody = 0;
    int fd = world_listen("127.0.0.1", SOCK_STREAM, &nobody);

    listener = world_listen("127.0.0.1", SOCK_STREAM, &port);
    close(fd);
    snprintf(yaml, sizeof(yaml),
             "proxies:\n"
             "  - {name: plain, type: socks5, server: 127.0.0.1, port: %u, udp: true}\n"
             "  - {name: noudp, type: socks5, server: 127.0.0.1, port: %u}\n"
             "  - {name: auth, type: socks5, server: 127.0.0.1, port: %u, username: user, password: pass}\n"
             "  - {name: nobody, type: socks5, server: 127.0.0.1, port: %u}\n", port, port, port, nobody);
    world_open(&w, yaml);
    return w.set ? 0 : -1;
}

static int teardown(void **state)
{
    world_close(&w);
    close(listener);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_datagrams),
        cmocka_unit_test(test_addresses_as_published),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_refused_server),
        cmocka_unit_test(test_cancel_in_mid_conversation),
        cmocka_unit_test(test_association),
        cmocka_unit_test(test_association_refused),
        cmocka_unit_test(test_association_without_a_relay),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
