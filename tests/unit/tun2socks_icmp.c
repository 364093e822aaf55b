/*
 * tun2socks_icmp.c - echo, errors, and what stays on the link
 */
#include "tun2socks_world.h"

enum { ECHO4 = 8, ECHO4_REPLY = 0, ECHO6 = 128, ECHO6_REPLY = 129 };

static unsigned n_udp, n_echo;
static bool sink_takes;
static uint8_t taken[70000];
static size_t n_taken;

static void on_udp(struct world *w, const struct flow_meta *m, const uint8_t *b, size_t n)
{
    n_udp++;
}

static bool on_echo(struct world *w, const struct addr *src, const struct addr *dst, const uint8_t *icmp, size_t n)
{
    n_echo++;
    memcpy(taken, icmp, n);
    n_taken = n;
    return sink_takes;
}

static void open_icmp(struct world *w, const struct kernel *k)
{
    world_open(w, k);
    w->on_udp = on_udp;
    w->on_echo = on_echo;
    n_udp = n_echo = 0;
    sink_takes = false;
}

static void send_ip(struct world *w, const struct addr *src, const struct addr *dst, uint8_t proto, const uint8_t *b, size_t n)
{
    static uint8_t ip[70000];
    uint32_t ihl = packet_put_ip(ip, src, dst, proto, (uint32_t)n, 7);

    memcpy(ip + ihl, b, n);
    world_send(w, ip, ihl + n);
}

/* An echo request with n bytes of data, identifier 0x1234, sequence 5. */
static size_t request(uint8_t *b, int ver, size_t n)
{
    memset(b, 0, 8);
    b[0] = ver == 4 ? ECHO4 : ECHO6;
    put16(b + 4, 0x1234);
    put16(b + 6, 5);
    pattern_fill(1, 0, b + 8, n);
    return 8 + n;
}

static struct addr A(const char *s) {
    struct addr a;

    assert_int_equal(addr_parse(s, &a), 0);
    return a;
}

/* ---- echo ---- */

static void
expect_reply(struct world *w, const struct addr *from, const struct addr *to, size_t n)
{
    struct seen *s = world_take(w);

    assert_non_null(s);
    assert_int_equal(s->proto, from->ver == 4 ? PROTO_ICMP : PROTO_ICMP6);
    assert_true(addr_eq(&s->from.ip, from) && addr_eq(&s->to.ip, to));
    assert_int_equal(s->l4[0], from->ver == 4 ? ECHO4_REPLY : ECHO6_REPLY);
    assert_int_equal(s->l4[1], 0);
    assert_int_equal(get16(s->l4 + 4), 0x1234);
    assert_int_equal(get16(s->l4 + 6), 5);
    assert_int_equal(s->l4_len, 8 + n);
    pattern_check(1, 0, s->l4 + 8, n);
    raw_free(s);
}

static void echo_is_answered_here(void **state)
{
    static const size_t sizes[] = { 0, 1, 56, 57, 1400 };
    static uint8_t b[2000];

    for (size_t k = 0; k < COUNT(kernels); k++)
        for (int ver = 4; ver <= 6; ver += 2)
            for (size_t i = 0; i < COUNT(sizes); i++) {
                struct endpoint src = here(ver, 0), dst = there(ver, 9, 0);
                struct world w;

                open_icmp(&w, &kernels[k]);
                send_ip(&w, &src.ip, &dst.ip, ver == 4 ? PROTO_ICMP : PROTO_ICMP6, b, request(b, ver, sizes[i]));
                expect_reply(&w, &dst.ip, &src.ip, sizes[i]);
                assert_int_equal(n_echo, 1); /* the sink was asked first */
                assert_true(world_silent(&w));
                world_close(&w);
            }
}

static void echo_of_our_own_network_is_nobodys_business(void **state)
{
    static const char *const own[][2] = { { "198.18.0.1", "198.18.0.2" }, { "fdfe::1", "fdfe::2" } };
    static uint8_t b[2000];

    for (size_t i = 0; i < COUNT(own); i++) {
        struct addr src = A(own[i][0]), dst = A(own[i][1]);
        struct world w;

        open_icmp(&w, &kernels[0]);
        w.on_echo = on_echo;
        sink_takes = true;
        send_ip(&w, &src, &dst, i ? PROTO_ICMP6 : PROTO_ICMP, b, request(b, i ? 6 : 4, 32));
        world_settle(&w);
        assert_int_equal(n_echo, 0);
        expect_reply(&w, &dst, &src, 32);
        world_close(&w);
    }
}

static void a_true_reply_is_passed_on(void **state)
{
    static uint8_t b[2000];

    for (int ver = 4; ver <= 6; ver += 2) {
        struct endpoint src = here(ver, 0), dst = there(ver, 9, 0), other = there(ver == 4 ? 6 : 4, 9, 0);
        struct world w;
        size_t n = request(b, ver, 300);

        open_icmp(&w, &kernels[ver == 4 ? 0 : 3]);
        sink_takes = true;
        send_ip(&w, &src.ip, &dst.ip, ver == 4 ? PROTO_ICMP : PROTO_ICMP6, b, n);
        assert_true(world_silent(&w));
        assert_int_equal(n_taken, n);
        assert_memory_equal(taken, b, n);
        b[0] = ver == 4 ? ECHO4_REPLY : ECHO6_REPLY;
        put16(b + 2, 0xdead); /* whatever the sender thought of it */
        stack_icmp_send(w.st, &dst.ip, &src.ip, b, n);
        expect_reply(&w, &dst.ip, &src.ip, 300);
        stack_icmp_send(w.st, &dst.ip, &src.ip, b, 7); /* these are none */
        stack_icmp_send(w.st, &dst.ip, &src.ip, b, 65001);
        stack_icmp_send(w.st, &dst.ip, &other.ip, b, n);
        assert_true(world_silent(&w));
        world_close(&w);
    }
}

static void a_large_echo_comes_in_pieces(void **state)
{
    static uint8_t b[9000], ip[2000];
    struct addr src = A("198.18.0.1"), dst = A("203.0.113.9");
    struct world w;
    size_t n = request(b, 4, 8000);

    open_icmp(&w, &kernels[0]);
    for (size_t at = 0; at < n; at += 1480) {
        size_t len = n - at < 1480 ? n - at : 1480;

        packet_put_ip(ip, &src, &dst, PROTO_ICMP, (uint32_t)len, 7);
        put16(ip + 6, (uint16_t)(at / 8 | (at + len < n ? 0x2000 : 0)));
        memcpy(ip + 20, b + at, len);
        world_send(&w, ip, 20 + len);
    }
    expect_reply(&w, &dst, &src, 8000);
    world_close(&w);
}

static void other_messages_are_ignored(void **state)
{
    static const uint8_t types4[] = { 0, 3, 4, 5, 9, 10, 11, 12, 13, 17, 255 },
                         types6[] = { 1, 2, 3, 4, 129, 130, 133, 134, 135, 136, 137, 143, 255 };
    static uint8_t b[2000];
    struct endpoint src4 = here(4, 0), dst4 = there(4, 9, 0), src6 = here(6, 0), dst6 = there(6, 9, 0);
    struct world w;

    open_icmp(&w, &kernels[0]);
    sink_takes = true;
    for (size_t i = 0; i < COUNT(types4); i++) {
        size_t n = request(b, 4, 40);

        b[0] = types4[i];
        send_ip(&w, &src4.ip, &dst4.ip, PROTO_ICMP, b, n);
    }
    for (size_t i = 0; i < COUNT(types6); i++) {
        size_t n = request(b, 6, 40);

        b[0] = types6[i];
        send_ip(&w, &src6.ip, &dst6.ip, PROTO_ICMP6, b, n);
    }
    request(b, 4, 40);
    b[1] = 1; /* a code that echo does not have */
    send_ip(&w, &src4.ip, &dst4.ip, PROTO_ICMP, b, 48);
    request(b, 4, 40);
    send_ip(&w, &src4.ip, &dst4.ip, PROTO_ICMP, b, 7);                 /* cut */
    send_ip(&w, &src4.ip, &dst4.ip, PROTO_ICMP6, b, request(b, 6, 4)); /* the other family's */
    assert_true(world_silent(&w));
    assert_int_equal(n_echo, 0);
    world_close(&w);
}

/* ---- errors ---- */

static const struct {
    int err, code4, code6; /* -1: silence */
} refusals[] = {
    { -ECONNREFUSED, 3, 4 }, { -ERR_RULE, 3, 4 },  { -ENETUNREACH, 0, 0 }, { -EHOSTUNREACH, 1, 3 },
    { -EACCES, 13, 1 },      { -ETIMEDOUT, 1, 3 }, { -ERR_NAME, 1, 3 },    { -ERR_DROP, -1, -1 },
};

static void a_refused_datagram_is_told(void **state)
{
    for (size_t i = 0; i < 2 * COUNT(refusals); i++) {
        int ver = i % 2 ? 6 : 4, code = ver == 4 ? refusals[i / 2].code4 : refusals[i / 2].code6;
        struct endpoint src = here(ver, 1234), dst = there(ver, 9, 53);
        uint32_t ihl = ip_header_len(ver);
        struct world w;
        struct seen *s;

        open_icmp(&w, &kernels[i % COUNT(kernels)]);
        stack_udp_refuse(w.st, &src, &dst, refusals[i / 2].err);
        s = world_take(&w);
        if (code < 0) {
            assert_null(s);
        } else {
            assert_non_null(s);
            assert_int_equal(s->proto, ver == 4 ? PROTO_ICMP : PROTO_ICMP6);
            assert_true(addr_eq(&s->from.ip, &dst.ip) && addr_eq(&s->to.ip, &src.ip));
            assert_int_equal(s->l4[0], ver == 4 ? 3 : 1);
            assert_int_equal(s->l4[1], code);
            assert_int_equal(s->l4[8] >> 4, ver);
            assert_int_equal(get16(s->l4 + 8 + ihl), 1234);
            assert_int_equal(get16(s->l4 + 8 + ihl + 2), 53);
            raw_free(s);
        }
        world_close(&w);
    }
}

static void errors_are_rationed(void **state)
{
    struct endpoint src = here(4, 1234), dst = there(4, 9, 53), other = here(6, 1), none = { 0 };
    unsigned n = 0;
    struct world w;

    open_icmp(&w, &kernels[0]);
    stack_udp_refuse(w.st, &src, &other, -ECONNREFUSED); /* no such pair */
    stack_udp_refuse(w.st, &none, &none, -ECONNREFUSED);
    for (int second = 0; second < 3; second++) {
        for (int i = 0; i < 500; i++)
            stack_udp_refuse(w.st, &src, &dst, -ECONNREFUSED);
        for (struct seen *s; (s = world_take(&w)); n++)
            raw_free(s);
        assert_int_equal(n, 100 * (second + 1));
        world_pass(&w, 1000);
    }
    world_close(&w);
}

/* ---- what stays on the link ---- */

static const char *const here_only[] = {
    "224.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255", "255.1.2.3", "198.18.0.3", "169.254.1.1", "127.0.0.1", "127.255.0.9",
    "0.0.0.0",   "ff02::1",     "ff02::fb",        "ff05::1:3",       "ff0e::1",   "fe80::1",    "febf::1",     "::1",       "::",
};

static void neither_relayed_nor_answered(void **state)
{
    for (size_t i = 0; i < COUNT(here_only); i++) {
        struct addr dst = A(here_only[i]), src = here(dst.ver, 0).ip;
        struct segment g = { .src = { src, 1000 }, .dst = { dst, 443 }, .seq = 1, .flags = SYN, .wnd = 1000 };
        uint8_t b[100] = { 0 };
        struct world w;

        open_icmp(&w, &kernels[0]);
        send_segment(&w, &g);
        put16(b, 1234);
        put16(b + 2, 5353);
        put16(b + 4, 20);
        send_ip(&w, &src, &dst, PROTO_UDP, b, 20);
        send_ip(&w, &src, &dst, dst.ver == 4 ? PROTO_ICMP : PROTO_ICMP6, b, request(b, dst.ver, 20));
        world_settle(&w);
        if (w.n_flows || n_udp || n_echo || w.n_out)
            fail_msg("%s: %u flows, %u datagrams, %u echos, %u answers", here_only[i], w.n_flows, n_udp, n_echo, w.n_out);
        assert_int_equal(world_stats(&w).malformed, 3);
        world_close(&w);
    }
}

static void impossible_senders(void **state)
{
    static const char *const pairs[][2] = {
        { "224.0.0.1", "203.0.113.9" }, { "ff02::1", "2001:db8::9" }, { "203.0.113.9", "203.0.113.9" }, { "2001:db8::9", "2001:db8::9" }
    };

    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct addr src = A(pairs[i][0]), dst = A(pairs[i][1]);
        uint8_t b[100];
        struct world w;

        open_icmp(&w, &kernels[0]);
        send_ip(&w, &src, &dst, dst.ver == 4 ? PROTO_ICMP : PROTO_ICMP6, b, request(b, dst.ver, 20));
        assert_true(world_silent(&w));
        assert_int_equal(n_echo, 0);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_is_answered_here),      cmocka_unit_test(echo_of_our_own_network_is_nobodys_business),
        cmocka_unit_test(a_true_reply_is_passed_on),  cmocka_unit_test(a_large_echo_comes_in_pieces),
        cmocka_unit_test(other_messages_are_ignored), cmocka_unit_test(a_refused_datagram_is_told),
        cmocka_unit_test(errors_are_rationed),        cmocka_unit_test(neither_relayed_nor_answered),
        cmocka_unit_test(impossible_senders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
