/*
 * tun2socks_relay.c - the stack's streams under the real relay, with an upstream that says little: what half-closed flows cost, and for how
 * long
 */
#include "core/relay.h"
#include "tun2socks_world.h"

/* An upstream: says `to_say` bytes of the pattern and perhaps the end; takes everything. */
struct upstream {
    struct stream s;
    struct owner *o;
    struct relay relay;
    uint32_t to_say, said;
    bool ends, shut, closed;
    int done_err;
};

#define FLOWS_MAX 1000

static struct upstream ups[FLOWS_MAX];
static unsigned n_ups, n_done;
static uint32_t up_says;
static bool up_ends;

static ssize_t up_read(struct stream *s, const struct iovec *iov, int n)
{
    struct upstream *u = container_of(s, struct upstream, s);
    uint32_t left = u->to_say - u->said, len = iov[0].iov_len < left ? (uint32_t)iov[0].iov_len : left;

    if (!left)
        return u->ends ? -STREAM_EOF : 0;
    pattern_fill(u->o->out_seed, u->said, iov[0].iov_base, len);
    u->said += len;
    return len;
}

static ssize_t up_write(struct stream *s, const struct iovec *iov, int n)
{
    return (ssize_t)iov_total(iov, n);
}

static int up_shutdown(struct stream *s)
{
    container_of(s, struct upstream, s)->shut = true;
    return 0;
}

static void up_close(struct stream *s, int err)
{
    container_of(s, struct upstream, s)->closed = true;
}

static const struct stream_ops up_ops = {
    .name = "upstream", .read = up_read, .write = up_write, .shutdown = up_shutdown, .close = up_close
};

/* As the engine ends a flow. */
static void on_done(struct relay *r, int err)
{
    struct upstream *u = container_of(r, struct upstream, relay);

    u->done_err = err;
    n_done++;
    owner_close(u->o, err);
    stream_close(&u->s, err);
}

static void on_flow(struct owner *o)
{
    struct upstream *u = &ups[n_ups++];

    *u = (struct upstream){ .s.ops = &up_ops, .o = o, .to_say = up_says, .ends = up_ends };
    assert_int_equal(stream_accept(o->s), 0);
    relay_start(&u->relay, o->w->loop, o->s, &u->s, on_done);
}

static void open_relays(struct world *w, uint32_t says, bool ends)
{
    n_ups = n_done = 0;
    up_says = says;
    up_ends = ends;
    world_open(w, &kernels[3]);
    w->on_flow = on_flow;
}

static void say(struct world *w, uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack)
{
    struct segment g = { .src = here(4, port), .dst = there(4, 9, 443), .seq = seq, .ack = ack, .flags = flags, .wnd = 65535 };

    send_segment(w, &g);
}

/* T2: a thousand programs close their half and wait for an upstream that says nothing; or leave theirs open when it has closed. */
static void half_closed_and_silent_ends_after_two_minutes(void **state)
{
    static uint32_t ack[FLOWS_MAX];

    for (int upstream_first = 0; upstream_first < 2; upstream_first++) {
        unsigned resets = 0;
        struct world w;
        struct seen *s;

        open_relays(&w, 0, upstream_first);
        for (uint16_t i = 0; i < FLOWS_MAX; i++) {
            say(&w, (uint16_t)(1000 + i), SYN, 1000, 0);
            assert_non_null(s = world_take(&w));
            ack[i] = s->seq + 1;
            raw_free(s);
            say(&w, (uint16_t)(1000 + i), ACK, 1001, ack[i]);
            if (!upstream_first)
                say(&w, (uint16_t)(1000 + i), FIN | ACK, 1001, ack[i]);
            world_settle(&w);
            if (upstream_first) /* its FIN is seen */
                say(&w, (uint16_t)(1000 + i), ACK, 1001, ack[i] + 1);
            world_settle(&w);
            world_forget(&w);
        }
        assert_int_equal(n_ups, FLOWS_MAX);
        for (unsigned i = 0; i < n_ups; i++)
            assert_int_equal(ups[i].shut, !upstream_first);
        world_pass(&w, 119000);
        assert_int_equal(n_done, 0);
        assert_int_equal(world_stats(&w).tcp_flows, FLOWS_MAX);
        world_pass(&w, 2000);
        assert_int_equal(n_done, FLOWS_MAX);
        assert_int_equal(world_stats(&w).tcp_flows, 0);
        assert_int_equal(world_stats(&w).hot_flows, 0);
        for (unsigned i = 0; i < n_ups; i++)
            assert_true(ups[i].closed && ups[i].done_err == -ETIMEDOUT);
        for (; (s = world_take(&w)); resets += s->flags & RST ? 1 : 0, raw_free(s))
            ;
        assert_int_equal(resets, FLOWS_MAX);
        world_close(&w);
    }
}

/* A download that is read little by little, long after its upstream has closed: all of it, and then the end. */
static void a_slow_reader_outlives_the_relay(void **state)
{
    struct world w;
    struct app a;

    open_relays(&w, 700000, true);
    app_init(&a, &w, 4, 1000, 700000);
    a.reads = false;
    app_connect(&a);
    for (int i = 0; i < 2000 && !a.eof && !a.reset; i++) {
        app_take(&a, 1500);
        world_pass(&w, 1000);
    }
    assert_int_equal(n_done, 1);
    assert_int_equal(ups[0].done_err, -ETIMEDOUT); /* it gave up waiting for the application's half */
    assert_int_equal(a.got, 700000);
    assert_true(a.eof);
    app_fini(&a);
    world_close(&w);
}

/* A byte now and then keeps a half-closed flow. */
static void who_still_talks_is_left_alone(void **state)
{
    struct world w;
    struct app a;

    open_relays(&w, 0, false);
    app_init(&a, &w, 4, 1000, 100);
    a.close_after = true;
    app_connect(&a);
    world_settle(&w);
    assert_true(ups[0].shut);
    for (int i = 0; i < 20; i++) {
        world_pass(&w, 100000);
        ups[0].to_say++;
        stream_ready(&ups[0].s, STREAM_READABLE);
    }
    assert_int_equal(n_done, 0);
    world_settle(&w);
    assert_int_equal(a.got, 20);
    ups[0].ends = true;
    stream_ready(&ups[0].s, STREAM_READABLE);
    world_settle(&w);
    assert_int_equal(n_done, 1);
    assert_int_equal(ups[0].done_err, 0);
    assert_true(a.eof && a.fin_acked && !a.reset);
    assert_int_equal(world_stats(&w).tcp_flows, 0);
    app_fini(&a);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_closed_and_silent_ends_after_two_minutes),
        cmocka_unit_test(a_slow_reader_outlives_the_relay),
        cmocka_unit_test(who_still_talks_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
