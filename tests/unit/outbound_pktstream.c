/*
 * outbound_pktstream.c - datagrams over streams that are slow, torn, cut and refused
 *
 * The node's way is played: it hands out the one end of a pair of streams in memory, and the test is the server at the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_mempair.h"
#include "outbound/pktstream.h"
#include "outbound_world.h"

#define DIALS   80
#define COMMAND 7

static struct world w;
static struct outbound *node;

/* ---- the way ---- */

static struct {
    struct dial *d[DIALS]; /* NULL: done or cancelled */
    struct mempair *pair[DIALS];
    struct dest to[DIALS];
    char host[DIALS][64];
    unsigned n, n_cancelled;
    int refuse;
} way;

static int fake_dial(struct outbound *o, struct dial *d, uint8_t command)
{
    assert_ptr_equal(o, node);
    assert_int_equal(command, COMMAND);
    if (way.refuse)
        return way.refuse;
    assert_true(way.n < DIALS);
    way.to[way.n] = d->to;
    snprintf(way.host[way.n], sizeof(way.host[0]), "%s", d->to.host ? d->to.host : "");
    way.d[way.n++] = d;
    return 0;
}

static void fake_cancel(struct outbound *o, struct dial *d)
{
    for (unsigned i = 0; i < way.n; i++)
        if (way.d[i] == d) {
            way.d[i] = NULL;
            way.n_cancelled++;
            return;
        }
    fail_msg("cancelled what was never dialled");
}

/* Dial i ends with a stream whose end at the session has this temper. */
static void connect_it(unsigned i, const struct temper *t)
{
    struct dial *d = way.d[i];

    assert_non_null(d);
    way.d[i] = NULL;
    way.pair[i] = mempair_new(w.loop, t);
    d->done(d, &way.pair[i]->b.s, 0);
}

static void turns(int n)
{
    while (n--)
        loop_turn(w.loop, 0);
}

/* ---- the user ---- */

struct user {
    struct pktsess *p;
    unsigned n, n_dead;
    int err;
    struct endpoint from[DIALS];
    char name[HOST_MAX + 1]; /* of the last one */
    uint8_t last[70000];
    size_t len, bytes;
    void (*then)(struct user *e);
};

static struct user ear;

static void on_packet(struct pktsess *p, const struct dest *from, const void *buf, size_t len)
{
    struct user *e = p->owner;

    assert_int_equal(e->n_dead, 0);
    if (e->n < DIALS)
        e->from[e->n] = from->at;
    snprintf(e->name, sizeof(e->name), "%s", from->host ? from->host : "");
    memcpy(e->last, buf, len);
    e->len = len;
    e->bytes += len;
    e->n++;
    if (e->then)
        e->then(e);
}

static void on_dead(struct pktsess *p, int err)
{
    struct user *e = p->owner;

    e->n_dead++;
    e->err = err;
}

static void open_it(const struct pkt_way *how)
{
    memset(&way, 0, sizeof(way));
    memset(&ear, 0, sizeof(ear));
    assert_int_equal(pktstream_open(node, how, &ear.p), 0);
    ear.p->owner = &ear;
    ear.p->on_packet = on_packet;
    ear.p->on_dead = on_dead;
}

static void close_it(void)
{
    pkt_close(ear.p);
    turns(2);
    for (unsigned i = 0; i < way.n; i++) {
        assert_null(way.d[i]);
        if (!way.pair[i])
            continue;
        assert_true(way.pair[i]->b.closed);
        mempair_free(way.pair[i]);
    }
}

#define WAY(codec, host) { codec, host, fake_dial, fake_cancel, COMMAND }
static const struct pkt_way trojan = WAY(&pkt_trojan, NULL), plain = WAY(&pkt_length, NULL), packetaddr = WAY(&pkt_packetaddr, PKT_ADDR_HOST),
                            xudp = WAY(&pkt_xudp, "v1.mux.cool");

/* ---- the server ---- */

static uint8_t sent[1 << 20]; /* what it got and has not taken apart */
static size_t n_sent;

static void take(unsigned i)
{
    ssize_t n;

    while ((n = stream_read(&way.pair[i]->a.s, &(struct iovec){ sent + n_sent, sizeof(sent) - n_sent }, 1)) > 0)
        n_sent += (size_t)n;
}

/* One frame as the server sees it; false when there is no whole one. */
static bool next_frame(const struct pkt_codec *c, struct pkt_state *st, struct endpoint *at, uint8_t *buf, size_t *len)
{
    struct rd r = rd_from(sent, n_sent);
    struct span payload;
    struct sender from;
    int got = c->get(st, &r, &from, &payload);

    assert_true(got >= 0);
    if (!got)
        return false;
    *at = from.at;
    memcpy(buf, payload.p, payload.len);
    *len = payload.len;
    n_sent = rd_left(&r);
    memmove(sent, r.p, n_sent);
    return true;
}

static void say(unsigned i, const void *buf, size_t len)
{
    assert_int_equal(stream_write(&way.pair[i]->a.s, &(struct iovec){ (void *)buf, len }, 1), len);
}

static void answer(unsigned i, const struct pkt_codec *c, const struct dest *from, const void *buf, size_t len)
{
    struct pkt_state st = { .begun = true };
    uint8_t frame[70000];

    say(i, frame, c->put(&st, from, buf, len, frame));
}

static struct dest dest(const char *ip, uint16_t port)
{
    struct dest d = { .at.port = port };

    assert_int_equal(addr_parse(ip, &d.at.ip), 0);
    return d;
}

static int setup(void **state)
{
    world_open(&w, "proxies:\n  - {name: A, type: trojan, server: 127.0.0.1, port: 1, password: x, udp: true}\n");
    node = out_find(w.set, "A");
    n_sent = 0;
    return node ? 0 : -1;
}

static int teardown(void **state)
{
    world_close(&w);
    return 0;
}

/* ---- one stream ---- */

static void test_they_wait_for_the_stream_and_keep_their_order(void **state)
{
    struct dest to[] = { dest("192.0.2.1", 53), dest("2001:db8::1", 443), { .host = "a.name", .at.port = 1 } };
    struct pkt_state st = { 0 };
    struct endpoint at;
    uint8_t buf[9000];
    size_t len;

    open_it(&trojan);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pkt_send(ear.p, &to[i], i ? "second" : "first", i ? 6 : 5), 0);
    assert_int_equal(way.n, 1);
    assert_true(endpoint_eq(&way.to[0].at, &to[0].at));
    connect_it(0, NULL);
    assert_int_equal(pkt_send(ear.p, &to[0], "", 0), 0);
    turns(2);
    take(0);
    assert_true(next_frame(&pkt_trojan, &st, &at, buf, &len));
    assert_int_equal(len, 5);
    assert_memory_equal(buf, "first", 5);
    assert_true(endpoint_eq(&at, &to[0].at));
    assert_true(next_frame(&pkt_trojan, &st, &at, buf, &len));
    assert_memory_equal(buf, "second", 6);
    assert_true(endpoint_eq(&at, &to[1].at));
    assert_true(next_frame(&pkt_trojan, &st, &at, buf, &len));
    assert_int_equal(len, 0);
    assert_int_equal(n_sent, 0);
    assert_int_equal(pkt_send(ear.p, &to[2], "x", 1), 0);
    turns(2);
    take(0);
    assert_memory_equal(sent,
                        "\x03\x06"
                        "a.name\0\x01\0\x01\r\nx",
                        n_sent);
    answer(0, &pkt_trojan, &to[1], "back", 4);
    answer(0, &pkt_trojan, &to[0], "", 0);
    turns(2);
    assert_string_equal(ear.name, "");
    answer(0, &pkt_trojan, &to[2], "", 0);
    turns(2);
    assert_string_equal(ear.name, "a.name");
    assert_int_equal(ear.n, 3);
    assert_true(endpoint_eq(&ear.from[0], &to[1].at));
    assert_true(endpoint_eq(&ear.from[1], &to[0].at));
    assert_int_equal(ear.bytes, 4);
    assert_true(node->answered);
    assert_int_equal(way.n, 1);
    close_it();
}

static void test_many_in_one_write(void **state)
{
    struct dest to = dest("192.0.2.1", 53);

    open_it(&trojan);
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, NULL);
    turns(1);
    way.pair[0]->b.writes = 0;
    for (int i = 0; i < 20; i++)
        assert_int_equal(pkt_send(ear.p, &to, "12345678", 8), 0);
    assert_int_equal(way.pair[0]->b.writes, 0); /* not before the turn ends */
    turns(1);
    assert_int_equal(way.pair[0]->b.writes, 1);
    close_it();
}

/* A server that does not read: what does not fit is dropped, and no frame is ever torn. */
static void test_full_means_dropped_and_never_torn(void **state)
{
    struct temper t = { .write_max = 700, .again_every = 3 };
    struct dest to = dest("192.0.2.1", 53);
    struct pkt_state st = { 0 };
    struct endpoint at;
    uint8_t buf[9000];
    uint32_t last = 0, seen = 0, dropped = 0, no;
    size_t len;

    open_it(&trojan);
    memset(buf, 0, sizeof(buf));
    pkt_send(ear.p, &to, buf, 1000);
    connect_it(0, &t);
    for (uint32_t i = 1; i <= 1000; i++) {
        int r;

        memcpy(buf, &i, 4);
        if ((r = pkt_send(ear.p, &to, buf, 1000 + i % 7))) {
            assert_int_equal(r, -EAGAIN);
            dropped++;
        }
        if (i % 50 == 0)
            turns(1);
        if (i == 500)
            for (int k = 0; k < 2000; k++) { /* it reads for a while */
                turns(1);
                take(0);
            }
    }
    for (int k = 0; k < 4000; k++) {
        turns(1);
        take(0);
    }
    assert_true(dropped > 100);
    while (next_frame(&pkt_trojan, &st, &at, buf, &len)) {
        memcpy(&no, buf, 4);
        assert_int_equal(len, 1000 + no % 7);
        assert_true(!seen || no > last);
        last = no;
        seen++;
    }
    assert_int_equal(n_sent, 0);
    assert_int_equal(seen, 1001 - dropped);
    assert_int_equal(ear.n_dead, 0);
    assert_int_equal(pkt_send(ear.p, &to, "again", 5), 0);
    turns(20);
    take(0);
    assert_true(next_frame(&pkt_trojan, &st, &at, buf, &len));
    close_it();
}

static void test_frames_arrive_in_crumbs(void **state)
{
    struct temper t = { .read_max = 3, .again_every = 2 };
    struct dest to = dest("2001:db8::7", 5353);
    uint8_t big[8192];

    memset(big, 0x5a, sizeof(big));
    open_it(&trojan);
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, &t);
    answer(0, &pkt_trojan, &to, "a", 1);
    answer(0, &pkt_trojan, &to, big, sizeof(big));
    answer(0, &pkt_trojan, &to, "z", 1);
    for (int i = 0; i < 10000 && ear.n < 3; i++)
        turns(1);
    assert_int_equal(ear.n, 3);
    assert_int_equal(ear.bytes, 2 + sizeof(big));
    assert_int_equal(ear.last[0], 'z');
    close_it();
}

static void test_the_largest(void **state)
{
    static uint8_t big[65536];
    struct dest to = dest("192.0.2.1", 53);

    open_it(&trojan);
    assert_int_equal(pkt_send(ear.p, &to, "x", 1), 0);
    connect_it(0, NULL);
    turns(1);
    assert_int_equal(pkt_send(ear.p, &to, big, 8192), 0);
    assert_int_equal(pkt_send(ear.p, &to, big, 8193), -EMSGSIZE);
    say(0, "\x01\xc0\0\x02\x01\0\x35\xff\xff\r\n", 11); /* 65,535 bytes, the longest that a length can say */
    for (int i = 0; i < 3; i++) {
        say(0, big, 21845);
        turns(2);
    }
    assert_int_equal(ear.n, 1);
    assert_int_equal(ear.len, 65535);
    close_it();
}

/* ---- ends ---- */

static void test_ways_to_die(void **state)
{
    static const struct {
        const char *said;
        size_t len;
        int want;
    } cases[] = {
        { "", 0, -ECONNRESET },
        { "\x01\xc0\0\x02\x01\0\x35\0\x05\r\nab", 13, -ERR_PROTO }, /* ends inside a frame */
        { "\x09whatever", 9, -ERR_PROTO },
        { "\x03\x01 \0\x35\0\x01\r\nx", 10, -ERR_PROTO }, /* from no name */
        { "\x01\xc0\0\x02\x01\0\x35\0\x01\n\nx", 12, -ERR_PROTO },
    };
    struct dest to = dest("192.0.2.1", 53);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_it(&trojan);
        pkt_send(ear.p, &to, "x", 1);
        connect_it(0, NULL);
        turns(1);
        if (cases[i].len)
            say(0, cases[i].said, cases[i].len);
        stream_close(&way.pair[0]->a.s, 0);
        turns(3);
        assert_int_equal(ear.n_dead, 1);
        assert_int_equal(ear.err, cases[i].want);
        assert_int_equal(pkt_send(ear.p, &to, "x", 1), -ENOTCONN);
        turns(2);
        assert_int_equal(ear.n_dead, 1);
        close_it();
        assert_int_equal(ear.n, 0);
    }
}

/* A node that works, or a wrong password that is known, is not blamed for what breaks afterwards. */
static void test_who_is_to_blame(void **state)
{
    static const struct {
        bool answered;
        int before, after;
    } cases[] = { { false, 0, -ERR_PROTO }, { true, 0, 0 }, { false, -ERR_AUTH, -ERR_AUTH } };
    struct dest to = dest("192.0.2.1", 53);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        open_it(&trojan);
        pkt_send(ear.p, &to, "x", 1);
        connect_it(0, NULL);
        turns(1);
        node->answered = cases[i].answered;
        node->last_err = cases[i].before;
        say(0, "\x09whatever", 9);
        turns(3);
        assert_int_equal(ear.err, -ERR_PROTO);
        assert_int_equal(node->last_err, cases[i].after);
        close_it();
    }
    node->answered = false;
    node->last_err = 0;
}

static void test_errors_of_the_stream(void **state)
{
    struct temper reads = { .read_fails_at = 5, .err = -ERR_AUTH }, writes = { .write_fails_at = 5, .err = -EPIPE };
    struct dest to = dest("192.0.2.1", 53);

    open_it(&trojan);
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, &reads);
    say(0, "\x01\xc0\0\x02\x01\0\x35", 7);
    turns(3);
    assert_int_equal(ear.err, -ERR_AUTH);
    close_it();
    open_it(&trojan);
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, &writes);
    turns(3);
    assert_int_equal(ear.err, -EPIPE);
    assert_int_equal(ear.n_dead, 1);
    close_it();
}

static void test_a_dial_that_fails(void **state)
{
    struct dest to = dest("192.0.2.1", 53);

    open_it(&trojan);
    way.refuse = -ERR_LIMIT;
    assert_int_equal(pkt_send(ear.p, &to, "x", 1), -ERR_LIMIT); /* at once: it may be tried again */
    way.refuse = 0;
    assert_int_equal(pkt_send(ear.p, &to, "x", 1), 0);
    way.d[0]->done(way.d[0], NULL, -ECONNREFUSED);
    way.d[0] = NULL;
    assert_int_equal(ear.n_dead, 1);
    assert_int_equal(ear.err, -ECONNREFUSED);
    close_it();
}

static void test_closed_at_every_step(void **state)
{
    struct dest to = dest("192.0.2.1", 53);
    struct pkt_state st = { 0 };
    struct endpoint at;
    uint8_t buf[16];
    size_t len;

    open_it(&trojan); /* nothing was sent */
    close_it();
    assert_int_equal(way.n, 0);
    open_it(&trojan); /* it is being dialled */
    pkt_send(ear.p, &to, "x", 1);
    close_it();
    assert_int_equal(way.n_cancelled, 1);
    open_it(&trojan); /* something waits for the end of the turn */
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, NULL);
    pkt_send(ear.p, &to, "last", 4);
    pkt_close(ear.p);
    assert_int_equal(way.pair[0]->b.close_err, 0);
    take(0);
    turns(1);
    assert_true(next_frame(&pkt_trojan, &st, &at, buf, &len));
    assert_true(next_frame(&pkt_trojan, &st, &at, buf, &len));
    assert_memory_equal(buf, "last", 4);
    mempair_free(way.pair[0]);
}

/* ---- one destination per stream ---- */

static void test_a_stream_for_each(void **state)
{
    struct dest to[] = { dest("192.0.2.1", 53),
                         dest("192.0.2.1", 54),
                         dest("192.0.2.2", 53),
                         { .host = "one.name", .at.port = 7 },
                         { .host = "two.name", .at.port = 7 } };

    open_it(&plain);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 5; i++)
            assert_int_equal(pkt_send(ear.p, &to[i], "abcd", (size_t)i), 0);
    assert_int_equal(way.n, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(way.to[i].at.port, to[i].at.port);
        assert_string_equal(way.host[i], to[i].host ? to[i].host : "");
        connect_it(i, NULL);
        turns(1);
        n_sent = 0;
        take(i);
        assert_int_equal(n_sent, 2 * (2 + i));
    }
    for (unsigned i = 0; i < 5; i++) {
        say(4 - i, "\0\x03odd", 5);
        turns(2);
        assert_int_equal(ear.n, i + 1);
        assert_true(endpoint_eq(&ear.from[i], &to[4 - i].at));
        assert_string_equal(ear.name, to[4 - i].host ? to[4 - i].host : "");
    }
    close_it();
}

static void test_one_that_ends_leaves_the_others(void **state)
{
    struct dest to[] = { dest("192.0.2.1", 53), dest("192.0.2.2", 53) };

    open_it(&plain);
    for (unsigned i = 0; i < 2; i++) {
        pkt_send(ear.p, &to[i], "x", 1);
        connect_it(i, NULL);
    }
    stream_close(&way.pair[0]->a.s, 0);
    turns(2);
    assert_int_equal(ear.n_dead, 0);
    assert_int_equal(pkt_send(ear.p, &to[0], "again", 5), 0); /* over another */
    assert_int_equal(way.n, 3);
    connect_it(2, NULL);
    turns(1);
    stream_close(&way.pair[1]->a.s, 0);
    turns(2);
    assert_int_equal(ear.n_dead, 0);
    assert_int_equal(pkt_send(ear.p, &to[0], "x", 1), 0); /* and who ended is noticed on the way */
    stream_close(&way.pair[2]->a.s, 0);
    turns(2);
    close_it();
}

static void test_the_last_takes_the_session_along(void **state)
{
    struct dest to = dest("192.0.2.1", 53);

    open_it(&plain);
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, NULL);
    stream_close(&way.pair[0]->a.s, 0);
    turns(2);
    assert_int_equal(ear.n_dead, 1);
    close_it();
}

static void test_the_oldest_makes_room(void **state)
{
    struct dest to = dest("192.0.2.1", 0);

    open_it(&plain);
    for (unsigned i = 0; i < 64; i++) {
        to.at.port = (uint16_t)(i + 1);
        pkt_send(ear.p, &to, "x", 1);
        connect_it(i, NULL);
    }
    to.at.port = 1;
    pkt_send(ear.p, &to, "x", 1); /* used again: the second is the oldest now */
    assert_int_equal(way.n, 64);
    to.at.port = 1000;
    pkt_send(ear.p, &to, "x", 1);
    assert_int_equal(way.n, 65);
    assert_false(way.pair[0]->b.closed);
    assert_true(way.pair[1]->b.closed);
    connect_it(64, NULL);
    close_it();
}

static void send_to_many(struct user *e)
{
    struct dest to = dest("198.51.100.1", 0);

    for (to.at.port = 1; e->n == 1 && to.at.port <= 64; to.at.port++)
        pkt_send(e->p, &to, "x", 1);
}

/* Who answers a datagram by sending to 64 others closes the stream whose frames are being read. */
static void test_room_made_from_inside(void **state)
{
    struct dest to = dest("192.0.2.1", 53);

    open_it(&plain);
    ear.then = send_to_many;
    pkt_send(ear.p, &to, "x", 1);
    connect_it(0, NULL);
    say(0, "\0\x01x\0\x01y\0\x01z", 9);
    turns(2);
    assert_int_equal(way.n, 65);
    assert_true(way.pair[0]->b.closed);
    assert_int_equal(ear.n, 1); /* nobody hears the rest */
    close_it();
    assert_int_equal(way.n_cancelled, 64);
}

/* ---- codecs with needs of their own ---- */

static void test_names_are_looked_up_where_they_cannot_be_written(void **state)
{
    struct dest name = { .host = "some.name", .at.port = 53 };
    struct pkt_state st = { 0 };
    struct endpoint at;
    char text[ADDR_STRLEN];
    uint8_t buf[64];
    size_t len;

    open_it(&packetaddr);
    assert_int_equal(pkt_send(ear.p, &name, "one", 3), 0);
    assert_int_equal(way.n, 0);
    assert_non_null(w.asked);
    assert_int_equal(w.asked->why, LOOKUP_RULES);
    world_answer(&w, "192.0.2.9 2001:db8::9", 0);
    assert_int_equal(way.n, 1);
    assert_string_equal(way.host[0], PKT_ADDR_HOST);
    connect_it(0, NULL);
    assert_int_equal(pkt_send(ear.p, &name, "two", 3), 0);
    turns(2);
    assert_int_equal(w.n_asked, 1);
    take(0);
    for (int i = 0; i < 2; i++) {
        assert_true(next_frame(&pkt_packetaddr, &st, &at, buf, &len));
        assert_string_equal(addr_str(&at.ip, text), "192.0.2.9");
        assert_memory_equal(buf, i ? "two" : "one", 3);
    }
    answer(0, &pkt_packetaddr, &(struct dest){ .at = at }, "back", 4);
    turns(2);
    assert_int_equal(ear.n, 1);
    assert_true(endpoint_eq(&ear.from[0], &at));
    stream_close(&way.pair[0]->a.s, 0);
    turns(2);
    assert_int_equal(ear.n_dead, 1);
    close_it();
}

static void test_the_end_said_by_a_frame(void **state)
{
    struct dest to = dest("192.0.2.1", 53);

    open_it(&xudp);
    pkt_send(ear.p, &to, "x", 1);
    assert_string_equal(way.host[0], "v1.mux.cool");
    connect_it(0, NULL);
    say(0, "\0\x04\0\0\x04\0", 6); /* keep alive */
    turns(2);
    assert_int_equal(ear.n, 0);
    assert_int_equal(ear.n_dead, 0);
    say(0, "\0\x04\0\0\x03\0", 6); /* end */
    turns(2);
    assert_int_equal(ear.err, -ECONNRESET);
    assert_int_equal(ear.n_dead, 1);
    close_it();
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_they_wait_for_the_stream_and_keep_their_order),
        T(test_many_in_one_write),
        T(test_full_means_dropped_and_never_torn),
        T(test_frames_arrive_in_crumbs),
        T(test_the_largest),
        T(test_ways_to_die),
        T(test_who_is_to_blame),
        T(test_errors_of_the_stream),
        T(test_a_dial_that_fails),
        T(test_closed_at_every_step),
        T(test_a_stream_for_each),
        T(test_one_that_ends_leaves_the_others),
        T(test_the_last_takes_the_session_along),
        T(test_the_oldest_makes_room),
        T(test_room_made_from_inside),
        T(test_names_are_looked_up_where_they_cannot_be_written),
        T(test_the_end_said_by_a_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
