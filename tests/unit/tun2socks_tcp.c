/*
 * tun2socks_tcp.c - connections of applications as streams: opening, bytes both ways, ends
 */
#include "tun2socks_world.h"

/* ---- segments in a scripted conversation ---- */

#define ISS 0x7ffffff0u

/* From port `port` of this machine to 203.0.113.9:443, or the same in IPv6. */
static struct segment seg(int ver, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack)
{
    return (struct segment){ .src = here(ver, port), .dst = there(ver, 9, 443), .seq = seq, .ack = ack, .flags = flags, .wnd = 65535 };
}

static void say(struct world *w, int ver, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack)
{
    struct segment g = seg(ver, port, flags, seq, ack);

    send_segment(w, &g);
}

static void say_data(struct world *w, int ver, uint16_t port, uint32_t seq, uint32_t ack, const void *data, uint32_t len)
{
    struct segment g = seg(ver, port, ACK | PSH, seq, ack);

    g.data = data;
    g.len = len;
    send_segment(w, &g);
}

/* The next packet must be a segment with these flags, to that port. */
static struct seen expect(struct world *w, uint16_t port, uint8_t flags)
{
    struct seen *s = world_take(w), copy;

    if (!s)
        fail_msg("%s: nothing came", w->k.name);
    assert_int_equal(s->proto, PROTO_TCP);
    assert_int_equal(s->to.port, port);
    assert_true(endpoint_eq(&s->from, &(struct endpoint){ there(s->ver, 9, 0).ip, 443 }));
    if ((s->flags & ~PSH) != flags)
        fail_msg("%s: flags %#x instead of %#x", w->k.name, s->flags, flags);
    copy = *s;
    raw_free(s);
    return copy;
}

/* Opens a connection by hand; returns the stack's sequence number, after its SYN. The client's next is ISS + 1. */
static uint32_t open_by_hand(struct world *w, int ver, uint16_t port)
{
    struct seen s;

    say(w, ver, port, SYN, ISS, 0);
    s = expect(w, port, SYN | ACK);
    say(w, ver, port, ACK, ISS + 1, s.seq + 1);
    assert_true(world_silent(w));
    return s.seq + 1;
}

/* ---- opening ---- */

static void a_syn_is_held_until_it_is_accepted(void **state)
{
    for (size_t i = 0; i < 2 * COUNT(kernels); i++) {
        int ver = i % 2 ? 6 : 4;
        struct world w;
        struct seen s;
        struct segment g = seg(ver, 1000, SYN, ISS, 0);
        struct owner *o;

        world_open(&w, &kernels[i / 2]);
        w.on_flow = hold;
        g.mss = 1400;
        g.scale = 7;
        g.sack = true;
        send_segment(&w, &g);
        world_pass(&w, 3000);
        assert_true(world_silent(&w));
        assert_int_equal(w.n_flows, 1);
        o = w.first;
        assert_int_equal(o->meta.net, FLOW_TCP);
        assert_int_equal(o->meta.via, FLOW_VIA_TUN);
        assert_true(endpoint_eq(&o->meta.src, &g.src));
        assert_true(endpoint_eq(&o->meta.orig, &g.dst) && endpoint_eq(&o->meta.dst.at, &g.dst));
        assert_null(o->meta.dst.host);
        assert_int_equal(world_stats(&w).held_syns, 1);
        assert_int_equal(world_stats(&w).tcp_flows, 1);
        assert_int_equal(world_stats(&w).hot_flows, 0);

        assert_int_equal(stream_accept(o->s), 0);
        s = expect(&w, 1000, SYN | ACK);
        assert_int_equal(s.ver, ver);
        assert_int_equal(s.ack, ISS + 1);
        assert_int_equal(s.mss, w.k.mtu - (ver == 4 ? 40 : 60));
        assert_int_equal(s.scale, 4);
        assert_true(s.sack);
        assert_int_equal(world_stats(&w).held_syns, 0);
        assert_int_equal(stream_accept(o->s), 0); /* again: nothing */
        assert_true(world_silent(&w));
        say(&w, ver, 1000, ACK, ISS + 1, s.seq + 1);
        world_pass(&w, 1000);
        assert_true(world_silent(&w));
        assert_int_equal(world_stats(&w).hot_flows, 0);
        world_close(&w);
    }
}

static void a_plain_syn_gets_a_plain_answer(void **state)
{
    struct world w;
    struct seen s;

    world_open(&w, &kernels[0]);
    say(&w, 4, 1000, SYN, ISS, 0);
    s = expect(&w, 1000, SYN | ACK);
    assert_int_equal(s.scale, -1);
    assert_false(s.sack);
    assert_true(s.wnd > 30000); /* unscaled */
    world_close(&w);
}

static void a_repeated_syn_is_swallowed_while_held(void **state)
{
    struct world w;

    world_open(&w, &kernels[0]);
    w.on_flow = hold;
    for (int i = 0; i < 4; i++)
        say(&w, 4, 1000, SYN, ISS, 0);
    assert_true(world_silent(&w));
    assert_int_equal(w.n_flows, 1);
    assert_int_equal(world_stats(&w).held_syns, 1);
    say(&w, 4, 1000, ACK, ISS + 1, 77); /* nor does anything else get an answer */
    assert_true(world_silent(&w));
    assert_int_equal(stream_accept(w.first->s), 0);
    assert_int_equal(expect(&w, 1000, SYN | ACK).ack, ISS + 1);
    say(&w, 4, 1000, SYN, ISS, 0); /* but now the answer may have been lost */
    assert_int_equal(expect(&w, 1000, SYN | ACK).ack, ISS + 1);
    world_close(&w);
}

static void a_new_sequence_number_replaces_the_held_one(void **state)
{
    struct world w;

    world_open(&w, &kernels[0]);
    w.on_flow = hold;
    say(&w, 4, 1000, SYN, ISS, 0);
    say(&w, 4, 1000, SYN, ISS + 5000, 0);
    assert_true(world_silent(&w));
    assert_int_equal(w.n_flows, 1);
    assert_int_equal(world_stats(&w).held_syns, 1);
    assert_int_equal(stream_accept(w.first->s), 0);
    assert_int_equal(expect(&w, 1000, SYN | ACK).ack, ISS + 5001);
    world_close(&w);
}

static void a_reset_cancels_a_held_syn(void **state)
{
    struct world w;
    struct owner *o;

    world_open(&w, &kernels[0]);
    w.on_flow = hold;
    say(&w, 4, 1000, SYN, ISS, 0);
    world_settle(&w);
    o = w.first;
    o->reads = false;
    say(&w, 4, 1000, RST, ISS + 1, 0);
    world_settle(&w);
    assert_true(o->told & STREAM_FAILED);
    assert_int_equal(stream_accept(o->s), -ECONNRESET);
    assert_int_equal(world_stats(&w).held_syns, 0);
    say(&w, 4, 1000, SYN, ISS, 0); /* the old stream is still there, and not in the way */
    world_settle(&w);
    assert_int_equal(w.n_flows, 2);
    assert_int_equal(stream_accept(w.first->s), 0);
    expect(&w, 1000, SYN | ACK);
    owner_refuse(o, -ECONNRESET);
    assert_true(world_silent(&w));
    assert_int_equal(world_stats(&w).tcp_flows, 1);
    world_close(&w);
}

/* What the application's connect() makes of it: lwip-tun section 3. */
static const struct refusal {
    int err;
    int type4, code4, type6, code6; /* -1: a reset; -2: silence */
} refusals[] = {
    { -ECONNREFUSED, -1, 0, -1, 0 }, { -ERR_RULE, -1, 0, -1, 0 },  { -ECONNRESET, -1, 0, -1, 0 },
    { -ENOMEM, -1, 0, -1, 0 },       { -ENETUNREACH, 3, 0, 1, 0 }, { -EHOSTUNREACH, 3, 1, 1, 3 },
    { -EACCES, 3, 13, 1, 1 },        { -ETIMEDOUT, 3, 1, 1, 3 },   { -ERR_DROP, -2, 0, -2, 0 },
};

static void refused_as_told(void **state)
{
    for (size_t i = 0; i < 2 * COUNT(refusals); i++) {
        const struct refusal *r = &refusals[i / 2];
        int ver = i % 2 ? 6 : 4, type = ver == 4 ? r->type4 : r->type6, code = ver == 4 ? r->code4 : r->code6;
        struct segment g = seg(ver, 1000, SYN, ISS, 0);
        struct world w;
        struct seen *s;

        world_open(&w, &kernels[i % COUNT(kernels)]);
        w.on_flow = hold;
        g.mss = 1460;
        send_segment(&w, &g);
        world_settle(&w);
        owner_refuse(w.first, r->err);
        s = world_take(&w);
        if (type == -2) {
            assert_null(s);
        } else if (type == -1) {
            assert_int_equal(s->proto, PROTO_TCP);
            assert_int_equal(s->flags, RST | ACK);
            assert_true(s->seq == 0 && s->ack == ISS + 1 && s->len == 0);
            assert_true(endpoint_eq(&s->from, &g.dst) && endpoint_eq(&s->to, &g.src));
        } else {
            uint32_t ihl = ip_header_len(ver);

            assert_int_equal(s->proto, ver == 4 ? PROTO_ICMP : PROTO_ICMP6);
            assert_true(addr_eq(&s->from.ip, &g.dst.ip) && addr_eq(&s->to.ip, &g.src.ip)); /* from whom it dialled */
            assert_int_equal(s->l4[0], type);
            assert_int_equal(s->l4[1], code);
            assert_true(s->l4_len >= 8 + ihl + 8);
            assert_int_equal(s->l4[8] >> 4, ver);
            assert_int_equal(get16(s->l4 + 8 + ihl), 1000);
            assert_int_equal(get16(s->l4 + 8 + ihl + 2), 443);
            assert_int_equal(get32(s->l4 + 8 + ihl + 4), ISS); /* what the kernel finds the socket by */
        }
        raw_free(s);
        assert_int_equal(world_stats(&w).tcp_flows, 0);
        assert_int_equal(world_stats(&w).held_syns, 0);
        w.on_flow = NULL; /* nothing is remembered */
        say(&w, ver, 1000, SYN, ISS + 100, 0);
        assert_int_equal(expect(&w, 1000, SYN | ACK).ack, ISS + 101);
        world_close(&w);
    }
}

static void a_held_stream_that_is_closed_is_refused(void **state)
{
    struct world w;

    world_open(&w, &kernels[0]);
    w.on_flow = hold;
    say(&w, 4, 1000, SYN, ISS, 0);
    world_settle(&w);
    owner_close(w.first, 0);
    assert_int_equal(expect(&w, 1000, RST | ACK).ack, ISS + 1);
    world_close(&w);
}

static void nobodys_segments_are_reset(void **state)
{
    static const struct {
        uint8_t flags, back;
        uint32_t len, seq, ack;
    } cases[] = {
        { ACK, RST, 0, 5000, 0 },
        { ACK | PSH, RST, 10, 5000, 0 },
        { FIN | ACK, RST, 0, 5000, 0 },
        { SYN | ACK, RST, 0, 5000, 0 },
        { PSH, RST | ACK, 10, 0, ISS + 10 },
        { FIN, RST | ACK, 3, 0, ISS + 4 },
        { 0, RST | ACK, 0, 0, ISS },
        { RST, 0, 0, 0, 0 },
        { RST | ACK, 0, 0, 0, 0 },
    };
    struct world w;

    world_open(&w, &kernels[0]);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct segment g = seg(4, 1000, cases[i].flags, ISS, 5000);
        struct seen s;

        g.data = "0123456789";
        g.len = cases[i].len;
        send_segment(&w, &g);
        if (!cases[i].back) {
            assert_true(world_silent(&w));
            continue;
        }
        s = expect(&w, 1000, cases[i].back);
        assert_int_equal(s.seq, cases[i].seq);
        assert_int_equal(s.ack, cases[i].ack);
    }
    assert_int_equal(w.n_flows, 0);
    world_close(&w);
}

static void resets_are_rationed(void **state)
{
    unsigned n = 0, later = 0;
    struct world w;

    world_open(&w, &kernels[0]);
    for (int i = 0; i < 1000; i++) {
        say(&w, 4, 1000, ACK, ISS, 5000);
        world_settle(&w);
    }
    for (struct seen *s; (s = world_take(&w)); n++)
        raw_free(s);
    assert_int_equal(n, 200);
    world_pass(&w, 1000);
    say(&w, 4, 1000, ACK, ISS, 5000);
    for (struct seen *s; (s = world_take(&w)); later++)
        raw_free(s);
    assert_int_equal(later, 1);
    world_close(&w);
}

static void a_handshake_that_never_ends_ends(void **state)
{
    struct world w;
    struct owner *o;

    world_open(&w, &kernels[0]);
    say(&w, 4, 1000, SYN, ISS, 0);
    expect(&w, 1000, SYN | ACK);
    o = w.first;
    o->told = 0;
    world_pass(&w, 19000);
    assert_int_equal(o->told & STREAM_FAILED, 0);
    world_pass(&w, 8000); /* lwIP's 20 s are ticks that may come late */
    assert_true(o->told & STREAM_FAILED);
    assert_true(o->err < 0);
    world_forget(&w); /* the SYN-ACK again, and again */
    owner_close(o, o->err);
    world_settle(&w);
    assert_int_equal(world_stats(&w).tcp_flows, 0);
    assert_int_equal(world_stats(&w).hot_flows, 0);
    world_close(&w);
}

/* ---- bytes ---- */

struct trip {
    struct world w;
    struct app a;
    struct owner *o;
};

static struct trip *the_trip; /* whose flow is coming */
static uint32_t trip_down;
static bool trip_peeks, trip_reserves, trip_shuts;

static void on_trip(struct owner *o)
{
    the_trip->o = o;
    o->to_send = trip_down;
    o->peeks = trip_peeks;
    o->reserves = trip_reserves;
    o->shut_after = trip_shuts;
    owner_accept(o);
}

/* An application that will send `up` bytes and get `down`, each side closing its direction after the last; it has not connected yet. */
static void trip_open(struct trip *t, const struct kernel *k, int ver, uint32_t up, uint32_t down)
{
    memset(t, 0, sizeof(*t));
    the_trip = t;
    trip_down = down;
    trip_peeks = trip_reserves = trip_shuts = true;
    world_open(&t->w, k);
    t->w.on_flow = on_trip;
    app_init(&t->a, &t->w, ver, 1000, down);
    t->a.to_send = up;
    t->a.close_after = true;
}

static void trip_close(struct trip *t)
{
    app_fini(&t->a);
    world_close(&t->w);
}

static bool trip_done(const struct trip *t)
{
    return t->o && t->a.eof && t->a.fin_acked && t->o->eof;
}

/* Everything arrived, in order, and nothing is left behind. */
static void trip_check(struct trip *t)
{
    assert_false(t->a.reset);
    assert_int_equal(t->o->got, t->a.to_send);
    assert_int_equal(t->a.got, t->o->to_send);
    assert_int_equal(t->o->err, 0);
    owner_close(t->o, 0);
    world_settle(&t->w);
    assert_int_equal(world_stats(&t->w).tcp_flows, 0);
    assert_int_equal(world_stats(&t->w).buffers, 0);
    world_pass(&t->w, 200);
    assert_int_equal(world_stats(&t->w).hot_flows, 0);
}

static void every_byte_both_ways(void **state)
{
    static const uint32_t sizes[][2] = { { 0, 0 }, { 1, 0 }, { 0, 1 }, { 1000, 1000 }, { 300000, 5 }, { 5, 300000 }, { 400000, 400000 } };

    for (size_t k = 0; k < COUNT(kernels); k++)
        for (size_t i = 0; i < COUNT(sizes); i++)
            for (int ver = 4; ver <= 6; ver += 2) {
                struct trip t;

                trip_open(&t, &kernels[k], ver, sizes[i][0], sizes[i][1]);
                trip_peeks = i % 2;
                trip_reserves = (i + (size_t)ver / 2) % 2;
                if (kernels[k].tso)
                    t.a.bite = 60000;
                app_connect(&t.a);
                world_until(&t.w, 20000, trip_done(&t));
                trip_check(&t);
                if (kernels[k].tso && sizes[i][1] > 100000)
                    assert_true(t.w.most_data > 16000); /* the kernel cuts */
                trip_close(&t);
            }
}

/* What an upstream says before the client's half of the handshake is here: a banner, and the end. */
static void a_server_that_answers_and_closes_at_once(void **state)
{
    for (size_t k = 0; k < COUNT(kernels); k++) {
        struct trip t;

        trip_open(&t, &kernels[k], 4, 0, 20000);
        t.a.close_after = false;
        app_connect(&t.a); /* the owner writes and shuts inside the accept */
        world_until(&t.w, 1000, t.a.eof);
        assert_int_equal(t.a.got, 20000);
        t.a.close_after = true;
        app_push(&t.a);
        world_until(&t.w, 1000, trip_done(&t));
        trip_check(&t);
        trip_close(&t);
    }
}

static void one_byte_segments(void **state)
{
    struct trip t;

    for (int ver = 4; ver <= 6; ver += 2) {
        trip_open(&t, &kernels[ver == 4 ? 0 : 3], ver, 2000, 2000);
        trip_reserves = false;
        t.a.bite = 1;
        t.a.mss = 1; /* lwIP takes it for what it is */
        app_connect(&t.a);
        world_until(&t.w, 60000, trip_done(&t));
        trip_check(&t);
        trip_close(&t);
    }
}

static void each_half_closed_carries_the_rest(void **state)
{
    for (int ver = 4; ver <= 6; ver += 2) {
        struct trip t;

        /* the application first: what it asked for still comes, long after */
        trip_open(&t, &kernels[2], ver, 5000, 100000);
        t.a.reads = false;
        app_connect(&t.a);
        world_until(&t.w, 1000, t.o && t.o->eof);
        world_pass(&t.w, 60000);
        assert_false(t.a.eof);
        t.a.reads = true;
        app_take(&t.a, UINT32_MAX);
        world_until(&t.w, 20000, trip_done(&t));
        trip_check(&t);
        trip_close(&t);

        /* the server first */
        trip_open(&t, &kernels[2], ver, 100000, 5000);
        t.a.close_after = false;
        t.a.to_send = 10;
        app_connect(&t.a);
        world_until(&t.w, 1000, t.a.eof);
        world_pass(&t.w, 60000);
        assert_false(t.o->eof);
        t.a.to_send = 100000;
        t.a.close_after = true;
        app_push(&t.a);
        world_until(&t.w, 20000, trip_done(&t));
        trip_check(&t);
        trip_close(&t);
    }
}

static void one_end_closes_what_the_other_sees(void **state)
{
    struct trip t;

    trip_open(&t, &kernels[3], 4, 3000, 0); /* T3: the upstream closes, the application knows at once */
    trip_shuts = false;
    t.a.close_after = false;
    app_connect(&t.a);
    world_until(&t.w, 1000, t.o && t.o->got == 3000);
    assert_int_equal(stream_shutdown(t.o->s), 0);
    assert_int_equal(stream_shutdown(t.o->s), 0); /* once is enough */
    world_settle(&t.w);
    assert_true(t.a.eof);
    assert_int_equal(stream_write(t.o->s, &(struct iovec){ (char *)"x", 1 }, 1), -EPIPE);
    trip_close(&t);
}

/* ---- back-pressure ---- */

static void an_owner_that_does_not_read_shuts_the_window(void **state)
{
    for (size_t k = 0; k < COUNT(kernels); k++) {
        struct trip t;
        struct stack_stats s;

        trip_open(&t, &kernels[k], k % 2 ? 6 : 4, 1000000, 0);
        trip_shuts = false;
        if (kernels[k].tso)
            t.a.bite = 60000;
        app_connect(&t.a);
        world_settle(&t.w);
        assert_int_equal(t.o->got, 1000000);
        trip_close(&t);

        trip_open(&t, &kernels[k], k % 2 ? 6 : 4, 1000000, 0);
        trip_shuts = false;
        t.w.on_flow = hold;
        if (kernels[k].tso)
            t.a.bite = 60000;
        app_connect(&t.a);
        world_settle(&t.w);
        t.o = t.w.first;
        t.o->reads = false;
        owner_accept(t.o);
        world_pass(&t.w, 10000);
        s = world_stats(&t.w);
        assert_true(s.buffers >= 200 << 10 && s.buffers <= 256 << 10);
        assert_int_equal(t.a.una, s.buffers);
        assert_true(t.a.wnd < t.a.bite);
        world_pass(&t.w, 600000); /* ten minutes later nothing has changed */
        assert_int_equal(world_stats(&t.w).buffers, s.buffers);
        assert_int_equal(t.o->err, 0);
        t.o->reads = true;
        t.o->bite = 1000; /* a slow upstream, and no byte is lost */
        for (int i = 0; i < 2000 && !t.o->eof; i++) {
            owner_read(t.o);
            world_pass(&t.w, STEP_MS);
        }
        assert_int_equal(t.o->got, 1000000);
        assert_true(t.o->eof);
        trip_close(&t);
    }
}

static void an_application_that_does_not_read_fills_a_ring_and_no_more(void **state)
{
    for (size_t k = 0; k < COUNT(kernels); k++) {
        struct trip t;
        size_t most = 0;

        trip_open(&t, &kernels[k], k % 2 ? 6 : 4, 0, 3000000);
        trip_peeks = false;
        t.a.reads = t.a.close_after = false;
        app_connect(&t.a);
        for (int i = 0; i < 100; i++) {
            world_pass(&t.w, 100);
            if (world_stats(&t.w).buffers > most)
                most = world_stats(&t.w).buffers;
        }
        assert_true(t.o->sent < 3000000 && t.o->sent > t.a.got);
        assert_true(most <= (1 << 20) + 2 * 65536);   /* what waits, in whole chunks */
        assert_in_range(t.a.got, 65535 - 127, 65535); /* to the grain of a scaled window */
        world_pass(&t.w, 600000);                     /* a film was paused: the window is asked for, and answered */
        assert_int_equal(t.o->err, 0);
        assert_int_equal(t.o->told & STREAM_FAILED, 0);
        t.a.reads = true;
        app_take(&t.a, UINT32_MAX);
        world_until(&t.w, 60000, t.a.eof);
        assert_int_equal(t.a.got, 3000000);
        world_settle(&t.w);
        assert_int_equal(world_stats(&t.w).buffers, 0);
        trip_close(&t);
    }
}

static void a_ring_grows_only_for_who_keeps_it_full(void **state)
{
    struct trip t;

    trip_open(&t, &kernels[3], 4, 0, 0); /* drips: what is on its way stays small */
    trip_shuts = false;
    t.a.close_after = false;
    raw_free(t.a.have);
    assert_non_null(t.a.have = raw_calloc(1, t.a.expect = 1000000));
    app_connect(&t.a);
    world_settle(&t.w);
    for (int i = 0; i < 100; i++) {
        t.o->to_send += 10000;
        owner_write(t.o);
        world_settle(&t.w);
        assert_true(world_stats(&t.w).buffers <= 2 * 66000);
    }
    assert_int_equal(t.a.got, 1000000);
    assert_int_equal(world_stats(&t.w).buffers, 0);
    trip_close(&t);
}

/* An MSS option belongs to the first SYN. Taken from a later segment it made lwIP's queued segments larger than its limit, and an assertion
 * ended the worker. */
static void an_mss_announced_later_changes_nothing(void **state)
{
    for (size_t k = 0; k < COUNT(kernels); k++) {
        struct world w;
        struct owner *o;
        uint32_t seq;
        struct seen *s;

        world_open(&w, &kernels[k]);
        w.on_flow = hold;
        say(&w, 4, 1000, SYN, ISS, 0);
        world_settle(&w);
        o = w.first;
        o->to_send = 50000;
        owner_accept(o);
        seq = expect(&w, 1000, SYN | ACK).seq + 1;
        for (int i = 0; i < 2; i++) { /* the SYN again; then an acknowledgement */
            struct segment g = seg(4, 1000, i ? ACK : SYN, ISS + (uint32_t)i, i ? seq : 0);

            g.mss = 100;
            g.wnd = i ? 0 : 65535;
            send_segment(&w, &g);
            world_settle(&w);
            o->to_send += 20000;
            owner_write(o);
        }
        world_forget(&w);
        say(&w, 4, 1000, ACK, ISS + 1, seq); /* the window opens */
        assert_non_null(s = world_take(&w));
        assert_true(s->len > 100);
        raw_free(s);
        world_close(&w);
    }
}

/* ---- a bad net ---- */

static const struct weather {
    const char *what;
    unsigned lose, twice, late, delay_ms;
    uint16_t mss;
    uint32_t room;
    int scale;
    uint32_t bytes;
} weathers[] = {
    { "a far network", 0, 0, 0, 40, 1460, 65535, 7, 300000 },
    { "one in a hundred lost", 1, 0, 0, 5, 1460, 65535, 7, 300000 },
    { "five lost", 5, 0, 0, 5, 1460, 65535, 7, 150000 },
    { "twelve lost", 12, 0, 0, 5, 1460, 65535, 7, 60000 },
    { "twelve lost, MSS 536", 12, 0, 0, 5, 536, 65535, 0, 40000 },
    { "everything twice", 0, 100, 0, 1, 1460, 65535, 7, 100000 },
    { "out of order", 0, 0, 50, 2, 1460, 65535, 7, 150000 },
    { "lost, twice, out of order", 4, 10, 30, 10, 1460, 65535, 7, 100000 },
    { "a receive buffer of 2 KiB", 3, 5, 10, 2, 1460, 2048, 0, 40000 },
    { "a receive buffer of 4 KiB, MSS 536", 5, 0, 10, 2, 536, 4096, 0, 40000 },
    { "a receive buffer of 100 bytes", 2, 0, 0, 1, 1460, 100, 0, 3000 },
    { "a receive buffer of 1 MiB", 2, 0, 5, 10, 1460, 1 << 20, 7, 500000 },
};

static void every_byte_through_every_weather(void **state)
{
    unsigned lost = 0;

    for (size_t i = 0; i < COUNT(weathers); i++)
        for (size_t k = 0; k < COUNT(kernels); k++) {
            const struct weather *x = &weathers[i];
            struct trip t;

            trip_open(&t, &kernels[k], (i + k) % 2 ? 6 : 4, x->bytes, x->bytes);
            trip_reserves = k % 2;
            t.w.rnd = (uint32_t)(1 + i * 31 + k);
            t.w.lose = x->lose;
            t.w.twice = x->twice;
            t.w.late = x->late;
            t.w.delay_ms = x->delay_ms;
            if (x->mss != 1460 || k < 4)
                t.a.mss = x->mss - ((i + k) % 2 ? 20 : 0);
            t.a.bite = kernels[k].tso && x->mss == 1460 ? 20000 : t.a.mss;
            t.a.room = x->room;
            t.a.scale = x->scale;
            app_connect(&t.a);
            for (int n = 0; n < 60000 && !trip_done(&t) && !t.a.reset && !(t.o && t.o->err); n++)
                world_pass(&t.w, STEP_MS);
            if (!trip_done(&t))
                fail_msg("%s, %s: %u of %u up, %u of %u down, reset %d, error %d", x->what, kernels[k].name, t.o ? t.o->got : 0, x->bytes,
                         t.a.got, x->bytes, t.a.reset, t.o ? t.o->err : 0);
            lost += t.w.n_lost;
            t.w.lose = 0; /* the last acknowledgement arrives */
            world_pass(&t.w, 8000);
            trip_check(&t);
            trip_close(&t);
        }
    assert_true(lost > 1000);
}

/* ---- windows and segments that no sane client has ---- */

/* What lwIP has queued must never be larger than a later limit of its own. */
static void windows_that_begin_with_nothing(void **state)
{
    static const uint32_t first[] = { 0, 1, 2, 3, 100, 535 }, then[] = { 0, 1, 2, 100, 5000, 65535 };

    for (size_t k = 0; k < 4; k += 3)
        for (size_t i = 0; i < COUNT(first) * COUNT(then); i++) {
            struct segment g = seg(4, 1000, SYN, ISS, 0);
            struct world w;
            struct owner *o;
            uint32_t seq;

            world_open(&w, &kernels[k]);
            w.on_flow = hold;
            g.wnd = first[i / COUNT(then)];
            g.mss = 1460;
            send_segment(&w, &g);
            world_settle(&w);
            o = w.first;
            o->to_send = 5000;
            owner_accept(o);
            seq = expect(&w, 1000, SYN | ACK).seq + 1;
            for (size_t n = 0; n < COUNT(then); n++) { /* smaller, larger, and back */
                g = seg(4, 1000, ACK, ISS + 1, seq);
                g.wnd = then[(i + n) % COUNT(then)];
                send_segment(&w, &g);
                world_settle(&w);
                o->to_send += 5000;
                owner_write(o);
                world_pass(&w, 500);
            }
            assert_int_equal(o->err, 0);
            world_close(&w);
        }
}

static void clients_of_tiny_segments_get_their_bytes(void **state)
{
    static const struct {
        uint16_t mss;
        uint32_t room, bytes;
    } cases[] = { { 1, 65535, 20000 }, { 8, 65535, 100000 }, { 48, 65535, 300000 },
                  { 1460, 2, 20000 },  { 1460, 16, 100000 }, { 88, 1000, 100000 } };

    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t k = 0; k < 4; k += 3) {
            struct trip t;

            trip_open(&t, &kernels[k], 4, 10, cases[i].bytes);
            t.a.mss = cases[i].mss;
            t.a.room = cases[i].room;
            t.a.scale = 0;
            app_connect(&t.a);
            for (int n = 0; n < 3000 && !t.a.eof; n++)
                world_pass(&t.w, STEP_MS);
            if (t.o->err || t.a.reset || !t.a.got)
                fail_msg("MSS %u, window %u: %u of %u bytes, error %d", cases[i].mss, cases[i].room, t.a.got, cases[i].bytes, t.o->err);
            if (cases[i].room > 100)
                assert_int_equal(t.a.got, cases[i].bytes);
            trip_close(&t);
        }
}

static void what_comes_together_is_acknowledged_together(void **state)
{
    static const struct {
        size_t kernel; /* of kernels */
        unsigned n;
        uint32_t len;
        bool reads;
    } cases[] = { { 0, 10, 1400, true }, { 0, 10, 1400, false }, { 0, 11, 100, true }, { 3, 2, 32700, true } }; /* 3: it opens by a chunk at least */
    static uint8_t data[32700];

    for (size_t i = 0; i < COUNT(cases); i++) {
        uint32_t all = cases[i].n * cases[i].len, ack;
        struct world w;
        struct seen s;

        world_open(&w, &kernels[cases[i].kernel]);
        ack = open_by_hand(&w, 4, 1000);
        w.first->reads = cases[i].reads;
        for (unsigned n = 0; n < cases[i].n; n++) {
            pattern_fill(1000, n * cases[i].len, data, cases[i].len);
            say_data(&w, 4, 1000, ISS + 1 + n * cases[i].len, ack, data, cases[i].len);
        }
        s = expect(&w, 1000, ACK);
        assert_int_equal(s.ack, ISS + 1 + all);
        assert_int_equal(s.wnd, cases[i].reads ? 65535 : 65535 - all); /* what was taken is open again */
        assert_true(world_silent(&w));
        pattern_fill(1000, all, data, 1);
        say_data(&w, 4, 1000, ISS + 1 + all, ack, data, 1);
        assert_true(world_silent(&w)); /* another may follow */
        world_pass(&w, 200);
        assert_int_equal(expect(&w, 1000, ACK).ack, ISS + 2 + all);
        world_close(&w);
    }
}

/* lwIP cuts what lies behind its window, but for the first segment that comes too early; when the gap was filled an assertion ended the
 * worker. */
static void an_early_segment_that_ends_behind_the_window(void **state)
{
    static const uint32_t early[] = { 40000, 65534, 65535, 65536, 100000 };
    static uint8_t data[66000];

    for (size_t i = 0; i < 2 * COUNT(early); i++) {
        uint32_t at = early[i / 2], bite = i % 2 ? 60000 : 1400, ack;
        struct world w;
        struct segment g;

        world_open(&w, &kernels[i % 2 ? 3 : 0]);
        ack = open_by_hand(&w, 4, 1000);
        w.first->reads = false; /* the window is 65535, and stays */
        g = seg(4, 1000, at + bite >= 65535 ? ACK | FIN : ACK, ISS + 1 + at, ack);
        pattern_fill(1000, at, data, g.len = bite);
        g.data = data;
        send_segment(&w, &g);
        for (uint32_t off = 0; off < 70000; off += bite) {
            pattern_fill(1000, off, data, bite);
            say_data(&w, 4, 1000, ISS + 1 + off, ack, data, bite);
            world_settle(&w);
        }
        assert_in_range(world_stats(&w).buffers, 65534, 65535); /* the last byte may have to come again */
        w.first->reads = true;
        owner_read(w.first);
        assert_in_range(w.first->got, 65534, 65535);
        assert_false(w.first->eof);
        world_close(&w);
    }
}

/* A FIN that came too early is moved to the segment that covers it: one more than the window, if that segment ends with it. */
static void a_false_end_under_the_end_of_the_window(void **state)
{
    static uint8_t data[66000];

    for (uint32_t from = 0; from < 20; from += 10)
        for (uint32_t less = 0; less < 3; less++) {
            struct world w;
            uint32_t ack;

            world_open(&w, &kernels[3]);
            ack = open_by_hand(&w, 4, 1000);
            w.first->reads = false;
            pattern_fill(1000, 0, data, sizeof(data));
            say_data(&w, 4, 1000, ISS + 1, ack, data, 40000);
            say(&w, 4, 1000, FIN | ACK, ISS + 1 + 40010, ack);
            say_data(&w, 4, 1000, ISS + 1 + 40000 + from, ack, data + 40000 + from, 25535 - from - less);
            say_data(&w, 4, 1000, ISS + 1 + 40000, ack, data + 40000, 100);
            world_pass(&w, 1000);
            w.first->reads = true;
            owner_read(w.first);
            assert_in_range(w.first->got, 40100, 65535);
            world_close(&w);
        }
}

/* The window shuts while bytes are on their way, they are to be sent again, and then they turn out to have arrived: lwIP's persist timer
 * went on with nothing to send, and an assertion ended the worker. */
static void a_window_that_shuts_over_bytes_on_their_way(void **state)
{
    for (unsigned later = 0; later < 8; later++) { /* lwIP looks every second tick */
        struct segment g;
        struct world w;
        uint32_t ack;

        world_open(&w, &kernels[later % 2 ? 3 : 0]);
        ack = open_by_hand(&w, 4, 1000);
        for (int i = 0; i < 2; i++) {
            w.first->to_send += 500;
            owner_write(w.first);
        }
        g = seg(4, 1000, ACK, ISS + 1, ack + 500);
        g.wnd = 0;
        send_segment(&w, &g);
        world_pass(&w, 10000 + 25 * later); /* the rest is sent again, or would be */
        g.ack = ack + 1000;
        send_segment(&w, &g);
        world_pass(&w, 10000);
        world_forget(&w);
        assert_int_equal(world_stats(&w).buffers, 0);
        w.first->to_send = 2000;
        owner_write(w.first);
        say(&w, 4, 1000, ACK, ISS + 1, ack + 1000);
        world_pass(&w, 10000);
        assert_false(list_empty(&w.out));
        assert_int_equal(w.first->err, 0);
        world_close(&w);
    }
}

/* A client with jumbo frames behind a device without: look() refuses what is larger than the MTU. */
static void an_mss_larger_than_the_device(void **state)
{
    for (size_t k = 0; k < COUNT(kernels); k++)
        for (int ver = 4; ver <= 6; ver += 2) {
            struct trip t;

            trip_open(&t, &kernels[k], ver, 1000, 50000);
            t.a.mss = 65495;
            app_connect(&t.a);
            world_until(&t.w, 1000, trip_done(&t));
            trip_check(&t);
            trip_close(&t);
        }
}

/* The kernel cuts what we resend, too, and no piece may be larger than the client said. */
static void what_is_sent_again_respects_the_clients_mss(void **state)
{
    for (int ver = 4; ver <= 6; ver += 2) {
        struct segment g = seg(ver, 1000, SYN, ISS, 0);
        unsigned n = 0;
        struct world w;
        struct seen *s;

        world_open(&w, &kernels[3]);
        w.on_flow = hold;
        g.mss = 536;
        send_segment(&w, &g);
        world_settle(&w);
        owner_accept(w.first);
        say(&w, ver, 1000, ACK, ISS + 1, expect(&w, 1000, SYN | ACK).seq + 1);
        world_settle(&w);
        w.first->to_send = 30000;
        owner_write(w.first);
        world_pass(&w, 10000); /* nothing is acknowledged */
        for (; (s = world_take(&w)); n++) {
            assert_true(s->len <= 536 || (s->vh.gso_type && s->vh.gso_size <= 536));
            raw_free(s);
        }
        assert_true(n > 2);
        world_close(&w);
    }
}

/* ---- ends ---- */

/* A client that reads little by little makes lwIP split segments; the FIN must stay behind the last byte. */
static void the_end_does_not_come_before_the_last_byte(void **state)
{
    for (size_t k = 0; k < COUNT(kernels); k++) {
        struct trip t;

        trip_open(&t, &kernels[k], k % 2 ? 6 : 4, 0, 120000);
        t.a.reads = false;
        app_connect(&t.a);
        for (int i = 0; i < 200 && !t.a.eof; i++) {
            app_take(&t.a, 700 + (uint32_t)i);
            world_pass(&t.w, 300);
        }
        assert_true(t.a.eof);
        assert_int_equal(t.a.got, 120000);
        world_until(&t.w, 1000, trip_done(&t));
        trip_check(&t);
        trip_close(&t);
    }
}

static void an_applications_reset_reaches_the_owner(void **state)
{
    for (int ver = 4; ver <= 6; ver += 2) {
        struct world w;
        struct owner *o;
        uint32_t ack;
        uint8_t data[100];

        world_open(&w, &kernels[1]);
        ack = open_by_hand(&w, ver, 1000);
        o = w.first;
        o->reads = false;
        pattern_fill(1000, 0, data, sizeof(data));
        say_data(&w, ver, 1000, ISS + 1, ack, data, sizeof(data));
        world_pass(&w, 100);
        expect(&w, 1000, ACK);
        say(&w, ver, 1000, RST, ISS + 102, 0); /* a guess: near, and not the number (RFC 5961) */
        expect(&w, 1000, ACK);
        say(&w, ver, 1000, RST, ISS + 0x10000000, 0); /* a wild one */
        assert_true(world_silent(&w));
        assert_int_equal(o->told & STREAM_FAILED, 0);
        say(&w, ver, 1000, RST | ACK, ISS + 101, ack);
        assert_true(world_silent(&w));
        assert_true(o->told & STREAM_FAILED);
        o->reads = true; /* what came before it was true */
        owner_read(o);
        assert_int_equal(o->got, 100);
        assert_int_equal(o->err, -ECONNRESET);
        assert_int_equal(stream_write(o->s, &(struct iovec){ data, 1 }, 1), -ECONNRESET);
        assert_int_equal(stream_shutdown(o->s), -ECONNRESET);
        owner_close(o, -ECONNRESET);
        assert_true(world_silent(&w));
        assert_int_equal(world_stats(&w).tcp_flows, 0);
        world_close(&w);
    }
}

/* For who looks at the first bytes and leaves them where they are. */
static void who_looks_and_does_not_take_is_told_of_more(void **state)
{
    struct world w;
    struct iovec iov[8];
    struct owner *o;
    uint32_t ack;

    world_open(&w, &kernels[1]);
    ack = open_by_hand(&w, 4, 1000);
    o = w.first;
    o->reads = false;
    say_data(&w, 4, 1000, ISS + 1, ack, (const uint8_t *)"abc", 3);
    world_pass(&w, 100);
    assert_int_equal(iov_total(iov, stream_peek(o->s, iov, 8)), 3);
    o->told = 0;
    say_data(&w, 4, 1000, ISS + 4, ack, (const uint8_t *)"d", 1); /* nobody asked to be told */
    world_pass(&w, 100);
    assert_int_equal(o->told, 0);
    stream_more(o->s);
    assert_int_equal(o->told, 0);
    say_data(&w, 4, 1000, ISS + 5, ack, (const uint8_t *)"ef", 2);
    world_pass(&w, 100);
    assert_int_equal(o->told, STREAM_READABLE);
    assert_int_equal(iov_total(iov, stream_peek(o->s, iov, 8)), 6);
    o->told = 0;
    stream_more(o->s);
    say(&w, 4, 1000, FIN | ACK, ISS + 7, ack); /* the end is news, too */
    world_pass(&w, 100);
    assert_int_equal(o->told, STREAM_READABLE);
    assert_int_equal(iov_total(iov, stream_peek(o->s, iov, 8)), 6);
    world_close(&w);
}

static void an_upstreams_reset_reaches_the_application(void **state)
{
    for (int ver = 4; ver <= 6; ver += 2)
        for (int unread = 0; unread < 2; unread++) {
            struct world w;
            struct seen s;
            uint32_t ack;
            uint8_t data[100];

            world_open(&w, &kernels[2]);
            ack = open_by_hand(&w, ver, 1000);
            if (unread) { /* closing in order what nobody read is a reset, too */
                w.first->reads = false;
                pattern_fill(1000, 0, data, sizeof(data));
                say_data(&w, ver, 1000, ISS + 1, ack, data, sizeof(data));
                world_pass(&w, 100);
                expect(&w, 1000, ACK);
            }
            owner_close(w.first, unread ? 0 : -ECONNRESET);
            s = expect(&w, 1000, RST | ACK);
            assert_int_equal(s.seq, ack);
            assert_int_equal(s.ack, ISS + 1 + (unread ? 100 : 0));
            assert_true(world_silent(&w));
            assert_int_equal(world_stats(&w).tcp_flows, 0);
            world_close(&w);
        }
}

static void closed_in_order_is_delivered_first(void **state)
{
    struct trip t;

    trip_open(&t, &kernels[3], 4, 100, 100000);
    t.a.close_after = false;
    t.a.reads = false;
    trip_shuts = false;
    app_connect(&t.a);
    world_until(&t.w, 1000, t.o && t.o->sent == 100000 && t.o->got == 100);
    owner_close(t.o, 0);
    world_settle(&t.w);
    assert_false(t.a.eof);
    t.a.reads = true;
    app_take(&t.a, UINT32_MAX);
    world_until(&t.w, 1000, t.a.eof);
    assert_int_equal(t.a.got, 100000);
    assert_int_equal(world_stats(&t.w).tcp_flows, 1);
    t.a.to_send += 10; /* there is nobody any more who reads this */
    app_push(&t.a);
    world_settle(&t.w);
    assert_true(t.a.reset);
    assert_int_equal(world_stats(&t.w).tcp_flows, 0);
    trip_close(&t);
}

/* 200 connections one after the other from one port, whoever closes first: none is refused, none waits. */
static void the_same_port_again_at_once(void **state)
{
    for (int first = 0; first < 3; first++) {
        struct world w;
        uint32_t iss = 1000;

        world_open(&w, &kernels[3]);
        for (int i = 0; i < 200; i++) {
            uint32_t ack, began = w.n_flows;
            struct owner *o;
            struct seen s;

            say(&w, 4, 1000, SYN, iss, 0);
            s = expect(&w, 1000, SYN | ACK);
            assert_int_equal(w.n_flows, began + 1);
            ack = s.seq + 1;
            say(&w, 4, 1000, ACK, iss + 1, ack);
            world_settle(&w);
            o = w.first;
            if (first == 0) { /* the application */
                say(&w, 4, 1000, FIN | ACK, iss + 1, ack);
                expect(&w, 1000, ACK);
                assert_true(o->eof);
                owner_close(o, 0);
                expect(&w, 1000, FIN | ACK);
                say(&w, 4, 1000, ACK, iss + 2, ack + 1);
            } else if (first == 1) { /* the upstream */
                owner_close(o, 0);
                expect(&w, 1000, FIN | ACK);
                say(&w, 4, 1000, ACK, iss + 1, ack + 1);
                say(&w, 4, 1000, FIN | ACK, iss + 1, ack + 1);
                expect(&w, 1000, ACK);
            } else { /* both */
                owner_close(o, 0);
                expect(&w, 1000, FIN | ACK);
                say(&w, 4, 1000, FIN | ACK, iss + 1, ack);
                expect(&w, 1000, ACK);
                say(&w, 4, 1000, ACK, iss + 2, ack + 1);
            }
            assert_true(world_silent(&w));
            assert_int_equal(world_stats(&w).tcp_flows, 0);
            iss += 70000;
        }
        assert_int_equal(world_stats(&w).hot_flows, 0);
        world_close(&w);
    }
}

static void a_slow_reader_gets_the_rest_after_the_upstream_has_gone(void **state)
{
    for (int err = 0; err >= -ETIMEDOUT; err -= ETIMEDOUT) { /* the relay's own end of a half-closed flow, too */
        struct trip t;

        trip_open(&t, &kernels[3], 4, 0, 400000);
        t.a.close_after = t.a.reads = false;
        app_connect(&t.a);
        world_settle(&t.w);
        for (int i = 0; i < 100 && !t.o->shut; i++) {
            app_take(&t.a, 2000);
            world_pass(&t.w, 1000);
        }
        assert_true(t.o->shut && t.a.got < 350000);
        owner_close(t.o, err);
        for (int i = 0; i < 1000 && !t.a.eof && !t.a.reset; i++) {
            app_take(&t.a, 1000);
            world_pass(&t.w, 1000);
        }
        assert_int_equal(t.a.got, 400000);
        assert_true(t.a.eof);
        trip_close(&t);
    }
}

static void who_takes_nothing_for_two_minutes_is_reset(void **state)
{
    for (int took_all = 0; took_all < 2; took_all++) {
        struct trip t;

        trip_open(&t, &kernels[3], 4, 0, took_all ? 1000 : 120000);
        t.a.close_after = false;
        t.a.reads = took_all;
        app_connect(&t.a);
        world_until(&t.w, 5000, t.o && t.o->shut);
        world_settle(&t.w);
        assert_int_equal(t.a.eof, took_all); /* and never closes his half */
        owner_close(t.o, 0);
        world_pass(&t.w, 119000);
        assert_false(t.a.reset);
        assert_int_equal(world_stats(&t.w).tcp_flows, 1);
        world_pass(&t.w, 2000);
        assert_true(t.a.reset);
        assert_int_equal(world_stats(&t.w).tcp_flows, 0);
        assert_int_equal(world_stats(&t.w).buffers, 0);
        trip_close(&t);
    }
}

static void an_application_that_vanishes_is_noticed(void **state)
{
    struct trip t;

    trip_open(&t, &kernels[3], 4, 0, 200000);
    t.w.on_flow = hold;
    t.a.close_after = false;
    app_connect(&t.a);
    world_settle(&t.w);
    t.o = t.w.first;
    owner_accept(t.o);
    world_settle(&t.w);
    for (int i = 0; i < 50; i++) { /* the way and back is well known */
        t.o->to_send += 100;
        owner_write(t.o);
        world_pass(&t.w, 20);
    }
    t.w.lose = 100;
    t.w.delay_ms = 1;
    t.o->to_send = 200000;
    owner_write(t.o);
    world_pass(&t.w, 1200000);
    assert_true(t.o->told & STREAM_FAILED);
    assert_int_equal(t.o->err, -ETIMEDOUT);
    owner_close(t.o, t.o->err);
    world_settle(&t.w);
    assert_int_equal(world_stats(&t.w).tcp_flows, 0);
    assert_int_equal(world_stats(&t.w).buffers, 0);
    trip_close(&t);
}

/* ---- ends from inside ---- */

static unsigned blow_at;
static int blow_how;
static struct owner *victim;

enum { CLOSE, RESET, SHUT, CLOSE_OTHER, RESET_OTHER, BLOWS };

static void blow(struct owner *o, unsigned what)
{
    struct owner *other = victim ? victim : o;

    owner_pump(o);
    if (o->n_told != blow_at || !o->s)
        return;
    switch (blow_how) {
    case CLOSE: owner_close(o, 0); break;
    case RESET: owner_close(o, -ECONNRESET); break;
    case SHUT:
        stream_shutdown(o->s);
        o->to_send = o->sent;
        break;
    case CLOSE_OTHER: owner_close(other, 0); break;
    case RESET_OTHER: owner_close(other, -ECONNRESET); break;
    default: break;
    }
}

static void on_blow(struct owner *o)
{
    o->then = blow;
    o->to_send = 30000;
    o->shut_after = true;
    o->bite = 3000;
    if (!victim)
        victim = o;
    owner_accept(o);
}

static void closed_from_inside_every_callback(void **state)
{
    for (blow_how = 0; blow_how < BLOWS; blow_how++)
        for (blow_at = 1; blow_at < 30; blow_at++) {
            struct app a[2];
            struct world w;

            victim = NULL;
            world_open(&w, &kernels[blow_at % COUNT(kernels)]);
            w.on_flow = on_blow;
            w.rnd = blow_at;
            w.lose = 10;
            w.delay_ms = 3;
            for (int i = 0; i < 2; i++) {
                app_init(&a[i], &w, i ? 6 : 4, (uint16_t)(1000 + i), 30000);
                a[i].to_send = 30000;
                a[i].close_after = true;
                app_connect(&a[i]);
            }
            world_pass(&w, 5000);
            for (struct owner *o = w.first; o; o = o->next)
                owner_close(o, 0);
            w.lose = 0;
            world_pass(&w, 130000);
            assert_int_equal(world_stats(&w).tcp_flows, 0);
            assert_int_equal(world_stats(&w).buffers, 0);
            assert_int_equal(world_stats(&w).hot_flows, 0);
            app_fini(&a[0]);
            app_fini(&a[1]);
            world_close(&w);
        }
}

static int inside_sink;

static void on_sink(struct owner *o)
{
    if (inside_sink & 1)
        assert_int_equal(stream_accept(o->s), 0);
    if (inside_sink & 2)
        stream_write(o->s, &(struct iovec){ (char *)"hello", 5 }, 1);
    if (inside_sink & 4)
        stream_shutdown(o->s);
    if (inside_sink & 8)
        owner_refuse(o, -ECONNREFUSED);
    else
        owner_close(o, inside_sink & 16 ? -ECONNRESET : 0);
}

static void ended_inside_the_sink(void **state)
{
    for (inside_sink = 0; inside_sink < 32; inside_sink++) {
        struct world w;

        world_open(&w, &kernels[inside_sink % COUNT(kernels)]);
        w.on_flow = on_sink;
        say(&w, 4, 1000, SYN, ISS, 0);
        say(&w, 4, 1000, SYN, ISS, 0); /* in the same batch */
        world_settle(&w);
        assert_false(list_empty(&w.out));
        world_forget(&w);
        world_pass(&w, 150000);
        assert_int_equal(world_stats(&w).tcp_flows, 0);
        assert_int_equal(world_stats(&w).buffers, 0);
        world_close(&w);
    }
}

static void the_end_of_the_stack_resets_every_flow(void **state)
{
    struct app a[3];
    struct world w;
    struct owner *o;

    world_open(&w, &kernels[3]);
    for (int i = 0; i < 3; i++) {
        app_init(&a[i], &w, 4, (uint16_t)(1000 + i), 100000);
        a[i].reads = false;
        app_connect(&a[i]);
        world_settle(&w);
        o = w.first;
        o->to_send = i ? 100000 : 0;
        o->shut_after = i == 2;
        owner_write(o);
    }
    w.on_flow = hold;
    say(&w, 4, 2000, SYN, ISS, 0); /* held */
    world_settle(&w);
    w.on_flow = NULL;
    say(&w, 4, 2001, SYN, ISS, 0); /* half open */
    expect(&w, 2001, SYN | ACK);
    for (o = w.first; o; o = o->next)
        owner_close(o, 0);
    world_settle(&w);
    stack_free(w.st);
    world_drain(&w);
    for (int i = 0; i < 3; i++) {
        assert_true(a[i].reset);
        app_fini(&a[i]);
    }
    w.st = NULL;
    w.may_drop = true;
    world_close(&w);
}

static void only_one_stack_at_a_time(void **state)
{
    struct stack *second = NULL;
    struct world w;
    struct stack_opts o;

    world_open(&w, &kernels[0]);
    o = (struct stack_opts){ .loop = w.loop, .tun_fd = w.tun, .mtu = 1500, .sink = &w.sink, .max_flows = 1 };
    assert_int_equal(stack_new(&o, &second), -EBUSY);
    assert_null(second);
    world_close(&w);
    stack_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_syn_is_held_until_it_is_accepted),
        cmocka_unit_test(a_plain_syn_gets_a_plain_answer),
        cmocka_unit_test(a_repeated_syn_is_swallowed_while_held),
        cmocka_unit_test(a_new_sequence_number_replaces_the_held_one),
        cmocka_unit_test(a_reset_cancels_a_held_syn),
        cmocka_unit_test(refused_as_told),
        cmocka_unit_test(a_held_stream_that_is_closed_is_refused),
        cmocka_unit_test(nobodys_segments_are_reset),
        cmocka_unit_test(resets_are_rationed),
        cmocka_unit_test(a_handshake_that_never_ends_ends),
        cmocka_unit_test(every_byte_both_ways),
        cmocka_unit_test(a_server_that_answers_and_closes_at_once),
        cmocka_unit_test(one_byte_segments),
        cmocka_unit_test(each_half_closed_carries_the_rest),
        cmocka_unit_test(one_end_closes_what_the_other_sees),
        cmocka_unit_test(an_owner_that_does_not_read_shuts_the_window),
        cmocka_unit_test(an_application_that_does_not_read_fills_a_ring_and_no_more),
        cmocka_unit_test(a_ring_grows_only_for_who_keeps_it_full),
        cmocka_unit_test(an_mss_announced_later_changes_nothing),
        cmocka_unit_test(every_byte_through_every_weather),
        cmocka_unit_test(windows_that_begin_with_nothing),
        cmocka_unit_test(clients_of_tiny_segments_get_their_bytes),
        cmocka_unit_test(what_comes_together_is_acknowledged_together),
        cmocka_unit_test(an_early_segment_that_ends_behind_the_window),
        cmocka_unit_test(a_false_end_under_the_end_of_the_window),
        cmocka_unit_test(a_window_that_shuts_over_bytes_on_their_way),
        cmocka_unit_test(an_mss_larger_than_the_device),
        cmocka_unit_test(what_is_sent_again_respects_the_clients_mss),
        cmocka_unit_test(the_end_does_not_come_before_the_last_byte),
        cmocka_unit_test(an_applications_reset_reaches_the_owner),
        cmocka_unit_test(who_looks_and_does_not_take_is_told_of_more),
        cmocka_unit_test(an_upstreams_reset_reaches_the_application),
        cmocka_unit_test(closed_in_order_is_delivered_first),
        cmocka_unit_test(the_same_port_again_at_once),
        cmocka_unit_test(a_slow_reader_gets_the_rest_after_the_upstream_has_gone),
        cmocka_unit_test(who_takes_nothing_for_two_minutes_is_reset),
        cmocka_unit_test(an_application_that_vanishes_is_noticed),
        cmocka_unit_test(closed_from_inside_every_callback),
        cmocka_unit_test(ended_inside_the_sink),
        cmocka_unit_test(the_end_of_the_stack_resets_every_flow),
        cmocka_unit_test(only_one_stack_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
