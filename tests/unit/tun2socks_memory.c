/*
 * tun2socks_memory.c - what connections cost, what a hostile client can make them cost, and what happens when there is nothing left
 */
#include <lwip/priv/tcp_priv.h>
#include <sys/uio.h>
#include <uv.h>

#include "alloc.h"
#include "tun2socks_world.h"

/* lwIP walks its lists from here on; so their length is what a packet costs. */
static unsigned longest_list;
static bool in_timers;

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    unsigned len = 0;

    for (const struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
        len++;
    for (const struct tcp_pcb *p = tcp_tw_pcbs; p; p = p->next)
        len++;
    if (!in_timers && len > longest_list)
        longest_list = len;
    return syscall(SYS_writev, fd, iov, n);
}

#define POOLED (20u * 66000) /* receive buffers that may be kept for the next packets; none under the address sanitizer */

/* ---- segments by hand ---- */

static struct segment seg(const struct endpoint *from, uint8_t flags, uint32_t seq, uint32_t ack)
{
    return (struct segment){
        .src = *from, .dst = there(from->ip.ver, 9, 443), .seq = seq, .ack = ack, .flags = flags, .wnd = 65535, .scale = flags & SYN ? 7 : 0
    };
}

static void say(struct world *w, const struct endpoint *from, uint8_t flags, uint32_t seq, uint32_t ack)
{
    struct segment g = seg(from, flags, seq, ack);

    send_segment(w, &g);
}

/* The n-th of many clients. */
static struct endpoint client(unsigned n)
{
    return (struct endpoint){ { 4, { 10, (uint8_t)(n >> 14), (uint8_t)(n >> 6), 1 } }, (uint16_t)(1000 + n % 64) };
}

/* Opens a connection; returns the stack's next number. The client's is 1001. */
static uint32_t open_from(struct world *w, const struct endpoint *from)
{
    struct seen *s;
    uint32_t ack;

    say(w, from, SYN, 1000, 0);
    s = world_take(w);
    assert_non_null(s);
    assert_int_equal(s->flags, SYN | ACK);
    ack = s->seq + 1;
    raw_free(s);
    say(w, from, ACK, 1001, ack);
    world_settle(w);
    return ack;
}

/* ---- many ---- */

#define MANY 10000

static uint32_t acks[MANY];

static void ten_thousand_cost_a_packet_no_more_than_one(void **state)
{
    uint32_t rnd = 5;
    struct world w;
    size_t before;

    world_open(&w, &kernels[3]);
    before = alloc.bytes;
    longest_list = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct endpoint c = client(i);

        acks[i] = open_from(&w, &c);
    }
    assert_int_equal(world_stats(&w).tcp_flows, MANY);
    assert_true((alloc.bytes - before) / MANY < 1024); /* and the map's slots */
    assert_int_equal(longest_list, 1);
    world_pass(&w, 1000);
    assert_int_equal(world_stats(&w).hot_flows, 0);
    assert_int_equal(uv_backend_timeout(loop_uv(w.loop)), -1); /* nothing wakes us */
    for (int i = 0; i < 3000; i++) {
        unsigned n = dice(&rnd) % MANY;
        struct endpoint c = client(n);
        struct segment g = seg(&c, ACK | PSH, 1001, acks[n]);
        uint8_t byte = pattern_at(c.port, 0);

        if (!acks[n])
            continue;
        g.data = &byte;
        g.len = 1;
        send_segment(&w, &g);
        say(&w, &c, RST, 1002, 0);
        acks[n] = 0;
        world_settle(&w);
    }
    world_forget(&w);
    assert_int_equal(longest_list, 1);
    for (struct owner *o = w.first; o; o = o->next)
        owner_close(o, -ECONNRESET);
    world_settle(&w);
    world_forget(&w);
    assert_int_equal(world_stats(&w).tcp_flows, 0);
    assert_int_equal(longest_list, 1);
    assert_true(alloc.bytes - before < 1 << 20); /* slots of the map, pools */
    world_close(&w);
}

static void a_flood_of_syns_is_bounded(void **state)
{
    struct world w;
    size_t before;
    struct endpoint c;

    world_open(&w, &kernels[0]);
    before = alloc.bytes;
    w.on_flow = hold;
    for (unsigned i = 0; i < 100000; i++) {
        c = (struct endpoint){ { 4, { 10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i } }, 1000 };
        say(&w, &c, SYN, 1000, 0);
        if (i % 50 == 49)
            loop_turn(w.loop, 0);
    }
    assert_true(world_silent(&w)); /* a client asks again */
    assert_int_equal(w.n_flows, 4096);
    assert_int_equal(world_stats(&w).held_syns, 4096);
    assert_true(alloc.bytes - before < 4096 * 1024);
    owner_refuse(w.first, -ECONNREFUSED);
    world_settle(&w);
    say(&w, &c, SYN, 1000, 0);
    world_settle(&w);
    assert_int_equal(w.n_flows, 4097);
    world_close(&w);
}

static void the_number_of_flows_is_bounded(void **state)
{
    struct world w;
    struct seen *s;
    struct endpoint c = client(100);

    world_open_with(&w, &kernels[0], 100, 0);
    for (unsigned i = 0; i < 100; i++) {
        struct endpoint one = client(i);

        open_from(&w, &one);
    }
    say(&w, &c, SYN, 1000, 0);
    assert_non_null(s = world_take(&w));
    assert_int_equal(s->flags, RST | ACK);
    raw_free(s);
    owner_close(w.first, -ECONNRESET);
    raw_free(world_take(&w));
    open_from(&w, &c);
    world_close(&w);
}

/* ---- what one client can pin ---- */

/* Every other byte of the window, one by one: what lwIP keeps of them must not be a receive buffer each. */
static void bytes_out_of_order_pin_no_more_than_they_are(void **state)
{
    struct world w;
    struct endpoint c = client(0);
    size_t before;
    uint32_t ack;

    world_open(&w, &kernels[0]);
    ack = open_from(&w, &c);
    before = alloc.bytes;
    for (uint32_t i = 1; i < 40000; i += 2) {
        struct segment g = seg(&c, ACK | PSH, 1001 + i, ack);
        uint8_t byte = pattern_at(c.port, i);

        g.data = &byte;
        g.len = 1;
        send_segment(&w, &g);
        if (i % 64 == 63)
            loop_turn(w.loop, 0);
    }
    world_settle(&w);
    world_forget(&w);
    assert_true(alloc.bytes - before < POOLED + (512 << 10));
    world_close(&w);
}

/* T4, T7: an upstream that does not read, and an application that writes byte by byte. */
static void bytes_that_nobody_reads_are_kept_together(void **state)
{
    struct world w;
    struct endpoint c = client(0);
    size_t before;
    uint32_t ack;

    world_open(&w, &kernels[0]);
    ack = open_from(&w, &c);
    w.first->reads = false;
    before = alloc.bytes;
    for (uint32_t i = 0; i < 100000; i++) {
        struct segment g = seg(&c, ACK | PSH, 1001 + i, ack);
        uint8_t byte = pattern_at(c.port, i);

        g.data = &byte;
        g.len = 1;
        send_segment(&w, &g);
        if (i % 64 == 63) {
            loop_turn(w.loop, 0);
            world_settle(&w);
            world_forget(&w);
        }
    }
    world_settle(&w);
    assert_int_equal(world_stats(&w).buffers, 100000);
    assert_true(alloc.bytes - before < POOLED + (256 << 10));
    w.first->reads = true;
    w.first->bite = 777;
    while (w.first->got < 100000)
        owner_read(w.first);
    assert_true(alloc.bytes - before < POOLED + (64 << 10));
    world_close(&w);
}

/* Downloads that nobody reads, more than memory allows: what they hold stays near the budget, and all go on when they are read. */
static void rings_stay_within_the_budget(void **state)
{
    static struct app a[APPS];
    struct world w;
    size_t before, most = 0;

    world_open_with(&w, &kernels[3], 0, 4 << 20);
    before = alloc.bytes;
    w.on_flow = hold;
    for (int i = 0; i < APPS; i++) {
        app_init(&a[i], &w, 4, (uint16_t)(1000 + i), 300000);
        a[i].reads = false;
        app_connect(&a[i]);
    }
    world_settle(&w);
    for (struct owner *o = w.first; o; o = o->next) {
        o->to_send = 300000;
        owner_accept(o);
    }
    for (int i = 0; i < 100; i++) {
        world_pass(&w, 100);
        most = alloc.bytes > most ? alloc.bytes : most;
    }
    assert_true(world_stats(&w).buffers <= (4 << 20) + APPS * (16 << 10));
    assert_true(most - before < (6 << 20) + APPS * (20 << 10));
    for (int i = 0; i < APPS; i++) {
        a[i].reads = true;
        app_take(&a[i], UINT32_MAX);
    }
    for (int i = 0; i < APPS; i++) {
        world_until(&w, 60000, a[i].got == 300000);
        app_fini(&a[i]);
    }
    world_close(&w);
}

/* ---- nothing left ---- */

static void careful(struct owner *o)
{
    int r;

    if (o->meta.src.port == 3000) {
        owner_refuse(o, -EHOSTUNREACH);
        return;
    }
    o->to_send = 20000;
    o->shut_after = true;
    o->peeks = o->reserves = o->meta.src.port % 2;
    if ((r = stream_accept(o->s)) < 0)
        owner_close(o, r);
    else
        owner_pump(o);
}

static void refuse(struct owner *o)
{
    owner_refuse(o, -ECONNREFUSED);
}

static void echo_datagram(struct world *w, const struct flow_meta *m, const uint8_t *b, size_t n)
{
    stack_udp_send(w->st, &m->orig, &m->src, b, n);
}

/* Two connections over a bad net, a refused one, a datagram in pieces; memory runs out at the nth allocation. Was there an nth? */
static bool scene(const struct kernel *k, unsigned long nth, unsigned long so_many)
{
    static uint8_t ip[2000];
    struct endpoint refused = here(4, 3000), peer = there(4, 9, 53);
    struct app a[2];
    struct world w;
    unsigned failed;
    size_t before = alloc.bytes;

    world_open(&w, k);
    w.may_drop = true;
    w.on_flow = careful;
    w.on_udp = echo_datagram;
    w.rnd = 9;
    alloc_fail(nth, so_many);
    for (int i = 0; i < 2; i++) {
        app_init(&a[i], &w, i ? 6 : 4, (uint16_t)(1000 + i), 20000);
        a[i].to_send = 20000;
        a[i].close_after = true;
        app_connect(&a[i]);
    }
    w.lose = 8;
    w.delay_ms = 2;
    say(&w, &refused, SYN, 1000, 0);
    for (int i = 0; i < 2; i++) {
        packet_put_ip(ip, &refused.ip, &peer.ip, PROTO_UDP, 1000, 5);
        put16(ip + 6, (uint16_t)(i ? 125 : 0x2000));
        put16(ip + 20, 1234);
        put16(ip + 22, 53);
        put16(ip + 24, 2000);
        world_send(&w, ip, 1020);
    }
    world_pass(&w, 2000);
    failed = alloc.n_failed;
    alloc_fail(0, 0);
    app_fini(&a[0]);
    app_fini(&a[1]);
    w.on_flow = refuse; /* a SYN may be on its way still */
    for (struct owner *o = w.first; o; o = o->next)
        owner_close(o, nth % 16 ? -ECONNRESET : 0);
    w.lose = 0;
    world_pass(&w, nth % 16 ? 1000 : 130000);
    assert_int_equal(world_stats(&w).tcp_flows, 0);
    assert_int_equal(world_stats(&w).held_syns, 0);
    assert_int_equal(world_stats(&w).hot_flows, 0);
    assert_int_equal(world_stats(&w).buffers, 0);
    world_close(&w);
    assert_int_equal(alloc.bytes, before);
    return failed > 0;
}

static void any_allocation_may_fail(void **state)
{
    for (unsigned long n = 1; scene(&kernels[n % COUNT(kernels)], n, 1); n += n < 100 ? 1 : 1 + n / 20)
        ;
}

static void memory_may_be_gone_for_good(void **state)
{
    for (unsigned long n = 1; scene(&kernels[n % COUNT(kernels)], n, ALLOC_ALL); n += n < 40 ? 1 : 1 + n / 10)
        ;
}

static void a_stack_that_cannot_be_made(void **state)
{
    struct world w;
    size_t before;
    struct stack *st = NULL;
    struct stack_opts o;

    world_open(&w, &kernels[0]);
    stack_free(w.st);
    left_open = NULL;
    loop_turn(w.loop, 0);
    before = alloc.bytes;
    o = (struct stack_opts){ .loop = w.loop, .tun_fd = w.tun, .mtu = 1500, .sink = &w.sink, .max_flows = 100 };
    for (unsigned long n = 1;; n++) {
        int r;

        alloc_fail(n, 1);
        r = stack_new(&o, &st);
        if (!alloc.n_failed)
            break;
        if (r == 0) /* not needed after all */
            stack_free(st);
        else
            assert_int_equal(r, -ENOMEM);
        alloc_fail(0, 0);
        loop_turn(w.loop, 0); /* the loop gives a watcher back one turn later */
        assert_int_equal(alloc.bytes, before);
        assert_true(n < 100);
    }
    alloc_fail(0, 0);
    w.st = st;
    open_from(&w, &(struct endpoint){ { 4, { 10, 0, 0, 1 } }, 1000 });
    world_close(&w);
}

/* The client asks again in the same batch, before the record of the first try is gone. */
static void a_syn_again_after_memory_ran_out(void **state)
{
    struct endpoint c = client(0);

    for (unsigned long n = 1; n < 12; n++)
        for (unsigned long so_many = 1; so_many < 8; so_many++) { /* lwIP asks for a pcb five times */
            struct world w;

            world_open(&w, &kernels[0]);
            w.may_drop = true;
            w.on_flow = careful;
            say(&w, &c, SYN, 1000, 0);
            say(&w, &c, SYN, 1000, 0);
            say(&w, &c, ACK, 1001, 1);
            say(&w, &c, RST, 1001, 0);
            alloc_fail(n, so_many);
            loop_turn(w.loop, 0);
            alloc_fail(0, 0);
            world_settle(&w);
            world_close(&w);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_cost_a_packet_no_more_than_one),
        cmocka_unit_test(a_flood_of_syns_is_bounded),
        cmocka_unit_test(the_number_of_flows_is_bounded),
        cmocka_unit_test(bytes_out_of_order_pin_no_more_than_they_are),
        cmocka_unit_test(bytes_that_nobody_reads_are_kept_together),
        cmocka_unit_test(rings_stay_within_the_budget),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(memory_may_be_gone_for_good),
        cmocka_unit_test(a_stack_that_cannot_be_made),
        cmocka_unit_test(a_syn_again_after_memory_ran_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
