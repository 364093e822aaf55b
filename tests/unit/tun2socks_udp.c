/*
 * tun2socks_udp.c - datagrams: out of packets, batches and fragments; and back as packets, whole or in pieces
 */
#include "tun2socks_world.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define LARGEST 65507

/* What the sink was given, newest last. */
struct gift {
    struct flow_meta meta;
    uint32_t len;
    uint8_t first, last; /* bytes */
};

static struct gift gifts[64];
static unsigned n_gifts;
static uint8_t last_data[70000];

static void on_gift(struct world *w, const struct flow_meta *m, const uint8_t *b, size_t n)
{
    assert_true(n_gifts < COUNT(gifts));
    gifts[n_gifts++] = (struct gift){ *m, (uint32_t)n, n ? b[0] : 0, n ? b[n - 1] : 0 };
    memcpy(last_data, b, n);
}

static void open_udp(struct world *w, const struct kernel *k)
{
    world_open(w, k);
    w->on_udp = on_gift;
    n_gifts = 0;
}

/* A UDP packet without its IP header; len says what the field says. */
static size_t udp(uint8_t *b, uint16_t from, uint16_t to, uint16_t len, const uint8_t *data, size_t n)
{
    put16(b, from);
    put16(b + 2, to);
    put16(b + 4, len);
    put16(b + 6, 0);
    if (n)
        memcpy(b + 8, data, n);
    return 8 + n;
}

static size_t in_ip(uint8_t *ip, int ver, uint8_t proto, const uint8_t *payload, size_t n)
{
    struct endpoint a = here(ver, 0), b = there(ver, 9, 0);
    uint32_t ihl = packet_put_ip(ip, &a.ip, &b.ip, proto, (uint32_t)n, 77);

    memcpy(ip + ihl, payload, n);
    return ihl + n;
}

/* ---- in ---- */

static void a_datagram_reaches_the_sink(void **state)
{
    static const uint32_t sizes[] = { 0, 1, 2, 100, 1400 };
    static uint8_t b[2000], ip[2000], data[2000];

    pattern_fill(1, 0, data, sizeof(data));
    for (size_t k = 0; k < COUNT(kernels); k++)
        for (int ver = 4; ver <= 6; ver += 2)
            for (size_t i = 0; i < COUNT(sizes); i++) {
                struct endpoint src = here(ver, 1234), dst = there(ver, 9, 53);
                struct world w;
                size_t n = udp(b, 1234, 53, (uint16_t)(8 + sizes[i]), data, sizes[i]);

                open_udp(&w, &kernels[k]);
                world_send(&w, ip, in_ip(ip, ver, PROTO_UDP, b, n));
                assert_true(world_silent(&w));
                assert_int_equal(n_gifts, 1);
                assert_int_equal(gifts[0].meta.net, FLOW_UDP);
                assert_int_equal(gifts[0].meta.via, FLOW_VIA_TUN);
                assert_true(endpoint_eq(&gifts[0].meta.src, &src));
                assert_true(endpoint_eq(&gifts[0].meta.orig, &dst) && endpoint_eq(&gifts[0].meta.dst.at, &dst));
                assert_int_equal(gifts[0].len, sizes[i]);
                assert_memory_equal(last_data, data, sizes[i]);
                world_close(&w);
            }
}

static const struct {
    const char *what;
    uint16_t to, len;
    uint32_t n;    /* bytes of payload in the packet */
    int64_t given; /* -1: not */
} lengths[] = {
    { "as it should be", 53, 18, 10, 10 },
    { "bytes behind the datagram", 53, 12, 10, 4 },
    { "nothing in it", 53, 8, 10, 0 },
    { "no length: all there is", 53, 0, 10, 10 },
    { "shorter than its header", 53, 7, 10, -1 },
    { "one more than there is", 53, 19, 10, -1 },
    { "much more than there is", 53, 65535, 10, -1 },
    { "to nobody", 0, 18, 10, -1 },
};

static void lengths_that_lie(void **state)
{
    static const uint8_t data[10] = "0123456789";
    uint8_t b[100], ip[200];

    for (size_t i = 0; i < COUNT(lengths); i++)
        for (int ver = 4; ver <= 6; ver += 2) {
            struct world w;

            open_udp(&w, &kernels[0]);
            world_send(&w, ip, in_ip(ip, ver, PROTO_UDP, b, udp(b, 1234, lengths[i].to, lengths[i].len, data, lengths[i].n)));
            assert_true(world_silent(&w));
            if (n_gifts != (lengths[i].given >= 0) || (n_gifts && gifts[0].len != lengths[i].given))
                fail_msg("%s: %u datagrams of %u bytes", lengths[i].what, n_gifts, gifts[0].len);
            world_close(&w);
        }
    for (size_t n = 0; n < 8; n++) {
        struct world w;

        open_udp(&w, &kernels[0]);
        world_send(&w, ip, in_ip(ip, 4, PROTO_UDP, b, n));
        assert_true(world_silent(&w) && !n_gifts);
        world_close(&w);
    }
}

static const struct {
    uint8_t type;
    uint16_t size;
    uint32_t n;
    uint32_t want[6];
} batches[] = {
    { VIRTIO_NET_HDR_GSO_UDP_L4, 500, 1300, { 500, 500, 300 } },
    { VIRTIO_NET_HDR_GSO_UDP_L4, 500, 1500, { 500, 500, 500 } },
    { VIRTIO_NET_HDR_GSO_UDP_L4, 500, 501, { 500, 1 } },
    { VIRTIO_NET_HDR_GSO_UDP_L4, 500, 500, { 500 } },
    { VIRTIO_NET_HDR_GSO_UDP_L4, 5000, 1300, { 1300 } },
    { VIRTIO_NET_HDR_GSO_UDP_L4 | VIRTIO_NET_HDR_GSO_ECN, 500, 1300, { 500, 500, 300 } },
    { VIRTIO_NET_HDR_GSO_UDP_L4, 0, 1300, { 1300 } },
    { VIRTIO_NET_HDR_GSO_NONE, 500, 1300, { 1300 } },
    { VIRTIO_NET_HDR_GSO_TCPV4, 500, 1300, { 1300 } },
};

static void batches_are_taken_apart(void **state)
{
    static uint8_t b[70000], ip[70000], raw[70000], data[60000];

    pattern_fill(1, 0, data, sizeof(data));
    for (size_t i = 0; i < COUNT(batches); i++)
        for (int ver = 4; ver <= 6; ver += 2) {
            struct virtio_net_hdr vh = { .gso_type = batches[i].type, .gso_size = batches[i].size };
            struct world w;
            size_t n = udp(b, 1234, 443, (uint16_t)(8 + batches[i].n), data, batches[i].n);
            uint32_t at = 0;

            open_udp(&w, &kernels[3]);
            n = in_ip(ip, ver, PROTO_UDP, b, n);
            world_write(&w, raw, wrap(&w, raw, ip, n, &vh));
            world_settle(&w);
            for (unsigned g = 0; g < n_gifts; g++) {
                assert_int_equal(gifts[g].len, batches[i].want[g]);
                assert_int_equal(gifts[g].first, data[at]);
                at += gifts[g].len;
                assert_int_equal(gifts[g].last, data[at - 1]);
            }
            assert_int_equal(at, batches[i].n);
            world_close(&w);
        }
}

/* ---- in, in pieces ---- */

/* Sends n bytes behind an IP header as fragments of room bytes, in the order that `order` turns them into. */
static void send_pieces(struct world *w, int ver, uint8_t proto, const uint8_t *b, uint32_t n, uint32_t room, uint32_t id, bool backwards)
{
    uint32_t pieces = (n + room - 1) / room;
    static uint8_t part[2000], ip[2000];

    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t at = (backwards ? pieces - 1 - i : i) * room, len = n - at < room ? n - at : room;
        bool more = at + len < n;

        if (ver == 4) {
            in_ip(ip, 4, proto, b + at, len);
            put16(ip + 4, (uint16_t)id);
            put16(ip + 6, (uint16_t)(at / 8 | (more ? 0x2000 : 0)));
            world_send(w, ip, 20 + len);
            continue;
        }
        memset(part, 0, 8);
        part[0] = proto;
        put16(part + 2, (uint16_t)(at | more));
        put32(part + 4, id);
        memcpy(part + 8, b + at, len);
        world_send(w, ip, in_ip(ip, 6, 44, part, 8 + len));
    }
}

static void fragments_become_a_datagram(void **state)
{
    static uint8_t b[70000], data[70000];

    pattern_fill(1, 0, data, sizeof(data));
    for (int ver = 4; ver <= 6; ver += 2)
        for (uint32_t n = 1500; n <= 65507 - 8; n += n < 10000 ? 3333 : 22222)
            for (int backwards = 0; backwards < 2; backwards++) {
                struct world w;

                open_udp(&w, &kernels[backwards]);
                send_pieces(&w, ver, PROTO_UDP, b, (uint32_t)udp(b, 1234, 53, (uint16_t)(8 + n), data, n), 1448, 5, backwards);
                assert_true(world_silent(&w));
                assert_int_equal(n_gifts, 1);
                assert_int_equal(gifts[0].len, n);
                assert_memory_equal(last_data, data, n);
                world_close(&w);
            }
}

static void overlapping_fragments_are_dropped(void **state)
{
    static uint8_t b[4000], data[4000];
    struct world w;
    uint32_t n = (uint32_t)udp(b, 1234, 53, 2008, data, 2000);

    open_udp(&w, &kernels[0]);
    send_pieces(&w, 4, PROTO_UDP, b, 1600, 800, 5, false); /* its first piece, and one that is the last */
    n_gifts = 0;
    send_pieces(&w, 4, PROTO_UDP, b, n, 800, 6, false);
    world_settle(&w);
    assert_int_equal(n_gifts, 1);
    send_pieces(&w, 4, PROTO_UDP, b, 800, 800, 7, false); /* whole: nothing to do with fragments */
    send_pieces(&w, 6, PROTO_UDP, b, n, 800, 8, false);
    world_settle(&w);
    assert_int_equal(n_gifts, 2);
    n_gifts = 0;
    for (int i = 0; i < 2; i++) { /* the middle twice */
        uint8_t ip[2000];

        in_ip(ip, 4, PROTO_UDP, b + 800, 800);
        put16(ip + 4, 9);
        put16(ip + 6, 0x2000 | 100);
        world_send(&w, ip, 820);
    }
    send_pieces(&w, 4, PROTO_UDP, b, n, 800, 9, false);
    world_settle(&w);
    assert_int_equal(n_gifts, 0);
    world_close(&w);
}

static void a_fragmented_syn_opens_a_connection(void **state)
{
    uint8_t t[40] = { 0 };
    struct world w;
    struct seen *s;

    for (int ver = 4; ver <= 6; ver += 2) {
        open_udp(&w, &kernels[0]);
        put16(t, 1000);
        put16(t + 2, 443);
        put32(t + 4, 5000);
        t[12] = 0xa0;
        t[13] = SYN;
        put16(t + 14, 1000);
        memset(t + 20, 1, 20);
        send_pieces(&w, ver, PROTO_TCP, t, 40, 8, 5, true);
        assert_non_null(s = world_take(&w));
        assert_int_equal(s->flags, SYN | ACK);
        assert_int_equal(s->ack, 5001);
        raw_free(s);
        world_close(&w);
    }
}

static void extension_headers_before_a_datagram(void **state)
{
    uint8_t b[200] = { 0 }, ip[300];
    struct world w;
    size_t n;

    open_udp(&w, &kernels[0]);
    b[0] = 60; /* hop-by-hop, then destination options of 16 bytes */
    b[8] = PROTO_UDP;
    b[9] = 1;
    n = 24 + udp(b + 24, 1234, 53, 13, (const uint8_t *)"hello", 5);
    world_send(&w, ip, in_ip(ip, 6, 0, b, n));
    world_settle(&w);
    assert_int_equal(n_gifts, 1);
    assert_int_equal(gifts[0].len, 5);
    b[0] = 43; /* a routing header of type 0 */
    b[10] = 0;
    world_send(&w, ip, in_ip(ip, 6, 0, b, n));
    world_settle(&w);
    assert_int_equal(n_gifts, 1);
    assert_int_equal(world_stats(&w).malformed, 1);
    world_close(&w);
}

/* Fragment headers inside of fragments, thousands deep: whole ones, and ones of which there is more to come. */
static void fragments_within_fragments_are_dropped(void **state)
{
    static uint8_t b[64000];

    for (uint16_t more = 0; more < 2; more++) {
        struct world w;

        open_udp(&w, &kernels[0]);
        for (uint32_t at = 0; at < sizeof(b); at += 8) {
            memset(b + at, 0, 8);
            b[at] = 44;
            put16(b + at + 2, more);
            put32(b + at + 4, at);
        }
        send_pieces(&w, 6, 44, b, sizeof(b), 1448, 5, false);
        assert_true(world_silent(&w));
        assert_int_equal(world_stats(&w).malformed, 1);
        assert_int_equal(n_gifts, 0);
        world_close(&w);
    }
}

/* ---- out ---- */

static void answers_carry_their_checksum(void **state)
{
    static uint8_t data[1472];

    pattern_fill(3, 0, data, sizeof(data));
    for (size_t k = 0; k < COUNT(kernels); k++)
        for (int ver = 4; ver <= 6; ver += 2)
            for (uint32_t n = 0; n <= 1452; n += n < 8 ? 1 : 361) {
                struct endpoint from = there(ver, 9, 53), to = here(ver, 1234);
                struct world w;
                struct seen *s;

                open_udp(&w, &kernels[k]);
                assert_int_equal(stack_udp_send(w.st, &from, &to, data, n), 0);
                assert_non_null(s = world_take(&w)); /* look() was content */
                assert_int_equal(s->proto, PROTO_UDP);
                assert_true(endpoint_eq(&s->from, &from) && endpoint_eq(&s->to, &to));
                assert_int_equal(s->len, n);
                assert_memory_equal(s->data, data, n);
                assert_int_equal(!!(s->vh.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM), kernels[k].csum);
                raw_free(s);
                world_close(&w);
            }
}

/* RFC 768: zero means none. */
static void a_checksum_of_zero_is_sent_as_ones(void **state)
{
    static uint8_t data[4000];

    for (int ver = 4; ver <= 6; ver += 2)
        for (uint32_t n = 2; n <= 4000; n += 3998) {
            struct endpoint from = there(ver, 9, 53), to = here(ver, 1234);
            uint16_t sum = 0;
            struct world w;
            struct seen *s;

            open_udp(&w, &kernels[0]);
            memset(data, 0, sizeof(data));
            for (int i = 0; i < 2; i++) { /* first: which checksum it has; then what makes it zero */
                put16(data, sum);
                assert_int_equal(stack_udp_send(w.st, &from, &to, data, n), 0);
                assert_non_null(s = world_take(&w));
                sum = get16(s->l4 + 6);
                raw_free(s);
                world_forget(&w);
            }
            assert_int_equal(sum, 0xffff);
            world_close(&w);
        }
}

static void large_answers_are_sent_in_pieces(void **state)
{
    static const uint32_t sizes[] = { 1453, 1473, 2952, 2953, 8972, 8973, 30000, LARGEST }, mtus[] = { 1280, 1500, 9000 };
    static uint8_t data[LARGEST], whole[70000], have[70000];

    pattern_fill(3, 0, data, sizeof(data));
    for (size_t m = 0; m < COUNT(mtus) * COUNT(sizes); m++)
        for (int ver = 4; ver <= 6; ver += 2)
            for (int csum = 0; csum < 2; csum++) {
                struct kernel k = { "pieces", csum, csum, false, false, mtus[m / COUNT(sizes)] };
                struct endpoint from = there(ver, 9, 53), to = here(ver, 1234);
                uint32_t n = sizes[m % COUNT(sizes)], total = 0, id = 0, pieces = 0;
                struct world w;
                struct seen *s;

                open_udp(&w, &k);
                memset(have, 0, sizeof(have));
                assert_int_equal(stack_udp_send(w.st, &from, &to, data, n), 0);
                for (; (s = world_take(&w)); pieces++) {
                    if (!s->fragment) {
                        assert_true(n + 8 + s->ihl <= k.mtu);
                        raw_free(s);
                        break;
                    }
                    assert_true(s->n <= k.mtu && s->proto == PROTO_UDP);
                    assert_true(addr_eq(&s->from.ip, &from.ip) && addr_eq(&s->to.ip, &to.ip));
                    assert_int_equal(s->vh.flags, 0); /* the kernel cannot sum pieces */
                    assert_true(!s->more || s->l4_len % 8 == 0);
                    assert_true(!pieces || s->frag_id == id);
                    id = s->frag_id;
                    for (uint32_t i = 0; i < s->l4_len; i++)
                        assert_int_equal(have[s->frag_off + i]++, 0);
                    memcpy(whole + s->frag_off, s->l4, s->l4_len);
                    total = s->more ? total : s->frag_off + s->l4_len;
                    raw_free(s);
                }
                if (pieces) {
                    struct seen all = { .proto = PROTO_UDP, .from.ip = from.ip, .to.ip = to.ip, .l4_len = total };

                    assert_int_equal(total, n + 8);
                    for (uint32_t i = 0; i < total; i++)
                        assert_int_equal(have[i], 1);
                    assert_memory_equal(whole + 8, data, n);
                    assert_int_equal(get16(whole), 53);
                    assert_int_equal(get16(whole + 2), 1234);
                    assert_int_equal(get16(whole + 4), total);
                    assert_int_equal(fold(pseudo_of(&all) + words_of(whole, total)), 0xffff);
                }
                world_close(&w);
            }
}

/* What the kernel hands to programs: trains are cut as it would cut them. Sizes, in order. */
static unsigned arrived(struct world *w, const struct endpoint *from, const struct endpoint *to, uint32_t *sizes, unsigned *packets)
{
    unsigned n = 0;
    struct seen *s;

    for (*packets = 0; (s = world_take(w)); ++*packets) {
        uint32_t each = s->vh.gso_type ? s->vh.gso_size : s->len;

        assert_true(endpoint_eq(&s->from, from) && endpoint_eq(&s->to, to));
        if (s->vh.gso_type) {
            assert_int_equal(s->vh.gso_type, VIRTIO_NET_HDR_GSO_UDP_L4);
            assert_int_equal(s->vh.hdr_len, s->ihl + 8);
            assert_true(s->vh.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM && each && each + 8 + s->ihl <= w->k.mtu && s->len > each);
            assert_true((s->len + each - 1) / each <= 64); /* what every kernel takes */
        }
        for (uint32_t at = 0; at < s->len || (!at && !s->len); at += each) {
            uint32_t len = s->len - at < each ? s->len - at : each;

            pattern_check(77, n * 1000, s->data + at, len);
            sizes[n++] = len;
            if (!each)
                break;
        }
        raw_free(s);
    }
    return n;
}

static void bursts_ride_together(void **state)
{
    static const struct {
        const char *what;
        uint32_t size[70];
        unsigned n, packets; /* with the offload */
    } bursts[] = {
        { "one", { 1200 }, 1, 1 },
        { "two", { 1200, 1200 }, 2, 2 },
        { "equal ones and a short one", { 1200, 1200, 1200, 1200, 300 }, 5, 2 },
        { "a short one ends it", { 1200, 1200, 300, 1200, 1200 }, 5, 4 },
        { "growing", { 100, 200, 300 }, 3, 3 },
        { "one of no bytes in the middle", { 500, 500, 0, 500 }, 4, 4 },
        { "larger than the device takes", { 1472, 1472, 3000, 1472 }, 4, 0 },
    };
    static uint8_t data[70000];
    uint32_t got[200];
    unsigned packets;

    for (size_t i = 0; i < COUNT(bursts); i++)
        for (int ver = 4; ver <= 6; ver += 2)
            for (size_t k = 0; k < 4; k++) {
                struct endpoint from = there(ver, 9, 53), to = here(ver, 1234);
                struct world w;

                open_udp(&w, &kernels[k]);
                for (unsigned n = 0; n < bursts[i].n; n++) {
                    pattern_fill(77, n * 1000, data, bursts[i].size[n]);
                    assert_int_equal(stack_udp_send(w.st, &from, &to, data, bursts[i].size[n]), 0);
                }
                if (!bursts[i].packets) { /* pieces are looked at elsewhere */
                    assert_false(world_silent(&w));
                    world_close(&w);
                    continue;
                }
                if (arrived(&w, &from, &to, got, &packets) != bursts[i].n || packets != (kernels[k].uso ? bursts[i].packets : bursts[i].n))
                    fail_msg("%s, %s: %u packets", bursts[i].what, kernels[k].name, packets);
                assert_memory_equal(got, bursts[i].size, bursts[i].n * sizeof(*got));
                world_close(&w);
            }
}

static void a_long_burst_is_several(void **state)
{
    struct endpoint from = there(4, 9, 53), to = here(4, 1234), other = here(4, 99);
    static uint8_t data[2000];
    uint32_t got[200];
    unsigned packets;
    struct world w;

    open_udp(&w, &kernels[3]);
    for (unsigned n = 0; n < 150; n++) {
        pattern_fill(77, n * 1000, data, 1400);
        assert_int_equal(stack_udp_send(w.st, &from, &to, data, 1400), 0);
    }
    assert_int_equal(arrived(&w, &from, &to, got, &packets), 150);
    assert_true(packets <= 8);       /* of 64 KiB */
    pattern_fill(77, 0, data, 1400); /* another program in between: its own, and in order */
    assert_int_equal(stack_udp_send(w.st, &from, &to, data, 1400), 0);
    assert_int_equal(stack_udp_send(w.st, &from, &to, data, 1400), 0);
    assert_int_equal(stack_udp_send(w.st, &from, &other, data, 1400), 0);
    assert_int_equal(stack_udp_send(w.st, &from, &to, data, 1400), 0);
    for (int i = 0; i < 4; i++) {
        struct seen *s = world_take(&w);

        assert_non_null(s);
        assert_int_equal(s->to.port, i == 2 ? 99 : 1234);
        raw_free(s);
    }
    stack_udp_send(w.st, &from, &to, data, 1400); /* the end finds a train under way */
    stack_udp_send(w.st, &from, &to, data, 1400);
    world_close(&w);
}

static void what_cannot_be_sent(void **state)
{
    static uint8_t data[LARGEST + 1];
    struct endpoint from = there(4, 9, 53), to = here(4, 1234), other = here(6, 1234), none = { 0 };
    struct world w;

    open_udp(&w, &kernels[0]);
    assert_int_equal(stack_udp_send(w.st, &from, &to, data, LARGEST + 1), -EINVAL);
    assert_int_equal(stack_udp_send(w.st, &from, &other, data, 1), -EINVAL);
    assert_int_equal(stack_udp_send(w.st, &none, &none, data, 1), -EINVAL);
    assert_true(world_silent(&w));
    world_close(&w);
}

static void a_full_device_loses_datagrams(void **state)
{
    static uint8_t data[1000];
    struct endpoint from = there(4, 9, 53), to = here(4, 1234);
    struct world w;

    open_udp(&w, &kernels[0]);
    w.may_drop = true;
    for (int i = 0; i < 100000 && !world_stats(&w).dropped; i++)
        assert_int_equal(stack_udp_send(w.st, &from, &to, data, sizeof(data)), 0);
    assert_int_equal(world_stats(&w).dropped, 1);
    world_settle(&w);
    world_forget(&w);
    assert_int_equal(stack_udp_send(w.st, &from, &to, data, sizeof(data)), 0);
    assert_false(world_silent(&w));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_datagram_reaches_the_sink),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(batches_are_taken_apart),
        cmocka_unit_test(fragments_become_a_datagram),
        cmocka_unit_test(overlapping_fragments_are_dropped),
        cmocka_unit_test(a_fragmented_syn_opens_a_connection),
        cmocka_unit_test(extension_headers_before_a_datagram),
        cmocka_unit_test(fragments_within_fragments_are_dropped),
        cmocka_unit_test(answers_carry_their_checksum),
        cmocka_unit_test(a_checksum_of_zero_is_sent_as_ones),
        cmocka_unit_test(large_answers_are_sent_in_pieces),
        cmocka_unit_test(bursts_ride_together),
        cmocka_unit_test(a_long_burst_is_several),
        cmocka_unit_test(what_cannot_be_sent),
        cmocka_unit_test(a_full_device_loses_datagrams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
