/*
 * tun2socks_world.h - the stack between an application and its owner, both played by a test; one per program
 *
 *   app ──segments──► net ──► far ═ socketpair ═ device of the stack ──► sink ──► owner
 *    ▲                 │                              │                            │
 *    └─────────────────┴──────── every packet is taken apart and checked ◄─────────┘ bytes that know their place
 *
 * The clock is ours (clock_gettime() of this program), so minutes of timers cost nothing. The net may lose, double and delay packets, by
 * dice; what the stack hands out for the kernel to cut (GSO) is cut here, so its parts are lost one by one, as on a wire.
 *
 * The app is a small TCP of its own: cumulative acknowledgements, go-back-N. It checks every byte it ever sees, again at every
 * retransmission, and that nothing comes outside the window it announced.
 */
#ifndef TESTS_TUN2SOCKS_WORLD_H
#define TESTS_TUN2SOCKS_WORLD_H

#include <errno.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/list.h"
#include "core/log.h"
#include "core/loop.h"
#include "tun2socks/packet.h"
#include "tun2socks/tun2socks.h"

#ifndef TESTS_ALLOC_H /* which has its own */
#define raw_malloc malloc
#define raw_calloc calloc
#define raw_free   free
#endif

#define COUNT(a)     (sizeof(a) / sizeof((a)[0]))
#define VNET         10
#define PACKET_MAX   65600
#define STEP_MS      10
#define IDLE_STEP_MS 64

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

static uint64_t fake_ms = 1000000;

int clock_gettime(clockid_t id, struct timespec *t)
{
    *t = (struct timespec){ (time_t)(fake_ms / 1000), (long)(fake_ms % 1000) * 1000000 };
    return 0;
}

static inline uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline uint8_t pattern_at(uint32_t seed, uint32_t i)
{
    uint32_t x = seed + i * 2654435761u;

    return (uint8_t)(x >> 24 ^ x >> 11);
}

static inline void pattern_fill(uint32_t seed, uint32_t at, uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        b[i] = pattern_at(seed, at + (uint32_t)i);
}

static inline void pattern_check(uint32_t seed, uint32_t at, const uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (b[i] != pattern_at(seed, at + (uint32_t)i))
            fail_msg("byte %zu of the stream is wrong", at + i);
}

/* ---- the world ---- */

struct owner;
struct app;

/* What the kernel can do, and how large a packet may be. */
struct kernel {
    const char *name;
    bool vnet, csum, tso, uso;
    uint32_t mtu;
};

static const struct kernel kernels[] = {
    { "bare", false, false, false, false, 1500 },           { "vnet header only", true, false, false, false, 1500 },
    { "checksums", true, true, false, false, 1500 },        { "segmentation", true, true, true, true, 1500 },
    { "bare, MTU 9000", false, false, false, false, 9000 }, { "segmentation, MTU 9000", true, true, true, true, 9000 },
};

/* A packet that the stack wrote, taken apart and found good. */
struct seen {
    struct list_head node;
    int ver;
    uint8_t proto;
    uint8_t *ip, *l4;
    uint32_t n, ihl, l4_len; /* of the whole; of the header; behind it */
    bool fragment, more;
    uint32_t frag_off, frag_id;
    struct endpoint from, to; /* ports: TCP, and UDP that is no later fragment */
    uint8_t *data;
    uint32_t len;
    uint32_t seq, ack, wnd; /* wnd as in the header */
    uint8_t flags;
    uint16_t mss; /* announced; 0 = not */
    int scale;    /* -1 = not */
    bool sack;
    struct virtio_net_hdr vh;
    uint8_t raw[];
};

/* What comes at a time to one of the two sides. */
struct flying {
    struct list_head node;
    uint64_t due_ms;
    struct seen *down; /* to an app; or */
    size_t n;          /* to the stack */
    uint8_t raw[];
};

#define APPS 64

struct world {
    struct kernel k;
    struct loop *loop;
    struct stack *st;
    int tun, far;
    struct flow_sink sink;
    struct list_head out;   /* struct seen, for the test to take, when there is no app for them */
    struct list_head fly;   /* struct flying, by time */
    struct app *apps[APPS]; /* apps that take their packets themselves */
    uint32_t rnd;
    unsigned lose, twice, late; /* per cent */
    unsigned delay_ms;          /* each way */
    unsigned n_out, n_lost;
    size_t most_data; /* the largest TCP payload seen in one packet */
    bool may_drop;    /* the device may be full */

    /* the sink */
    struct owner *first; /* every flow that came, newest first */
    unsigned n_flows;
    void (*on_flow)(struct owner *o); /* NULL: accept at once */
    void (*on_udp)(struct world *w, const struct flow_meta *m, const uint8_t *b, size_t n);
    bool (*on_echo)(struct world *w, const struct addr *src, const struct addr *dst, const uint8_t *icmp, size_t n);
};

/* Who has a flow's stream: reads into nothing (checked), writes out of a pattern. */
struct owner {
    struct owner *next;
    struct world *w;
    struct stream *s; /* NULL: closed */
    struct flow_meta meta;
    unsigned told, n_told;                        /* what on_ready said */
    void (*then)(struct owner *o, unsigned what); /* NULL: owner_pump */
    uint32_t in_seed, out_seed;
    uint32_t got, sent, to_send;
    bool reads, peeks, reserves, shut_after, shut, eof, echo;
    uint32_t bite; /* reads at most so many bytes at once; 0 = all */
    int err;
};

static inline void owner_pump(struct owner *o);

static inline void owner_ready(struct stream *s, unsigned what)
{
    struct owner *o = s->owner;

    assert_non_null(o->s);
    o->told |= what;
    o->n_told++;
    if (o->then)
        o->then(o, what);
    else
        owner_pump(o);
}

static inline struct owner *owner_new(struct world *w, struct stream *s, const struct flow_meta *m)
{
    struct owner *o = raw_calloc(1, sizeof(*o));

    assert_non_null(o);
    *o =
        (struct owner){ .w = w, .s = s, .meta = *m, .next = w->first, .in_seed = m->src.port, .out_seed = m->src.port * 7u, .reads = true };
    o->peeks = o->reserves = true;
    s->owner = o;
    s->on_ready = owner_ready;
    w->first = o;
    w->n_flows++;
    return o;
}

static inline void owner_accept(struct owner *o)
{
    assert_int_equal(stream_accept(o->s), 0);
    owner_pump(o);
}

static inline void owner_close(struct owner *o, int err)
{
    struct stream *s = o->s;

    o->s = NULL;
    if (s)
        stream_close(s, err);
}

static inline void owner_refuse(struct owner *o, int err)
{
    struct stream *s = o->s;

    o->s = NULL;
    stream_refuse(s, err);
}

static inline void world_tcp(struct flow_sink *sk, struct stream *s, const struct flow_meta *m)
{
    struct world *w = container_of(sk, struct world, sink);
    struct owner *o = owner_new(w, s, m);

    if (w->on_flow)
        w->on_flow(o);
    else
        owner_accept(o);
}

static inline void world_udp(struct flow_sink *sk, const struct flow_meta *m, const void *b, size_t n)
{
    struct world *w = container_of(sk, struct world, sink);

    if (w->on_udp)
        w->on_udp(w, m, b, n);
}

static inline bool world_echo(struct flow_sink *sk, const struct addr *src, const struct addr *dst, const void *icmp, size_t n)
{
    struct world *w = container_of(sk, struct world, sink);

    return w->on_echo && w->on_echo(w, src, dst, icmp, n);
}

static inline void hold(struct owner *o)
{
}

static struct stack *left_open; /* by a test that failed */

/* Opens the world with these limits (0 = the usual). */
static inline void world_open_with(struct world *w, const struct kernel *k, uint32_t max_flows, size_t budget)
{
    int pair[2], room = 8 << 20;
    struct stack_opts o;

    if (left_open)
        stack_free(left_open);
    *w = (struct world){ .k = *k, .rnd = 1, .sink = { world_tcp, world_udp, world_echo } };
    list_init(&w->out);
    list_init(&w->fly);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    w->tun = pair[0];
    w->far = pair[1];
    for (int i = 0; i < 2; i++)
        if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
            setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    w->loop = loop_new();
    o = (struct stack_opts){ .loop = w->loop,
                             .tun_fd = w->tun,
                             .mtu = k->mtu,
                             .vnet_hdr = k->vnet,
                             .csum = k->csum,
                             .tso = k->tso,
                             .uso = k->uso,
                             .sink = &w->sink,
                             .max_flows = max_flows ? max_flows : 65536,
                             .budget = budget };
    o.own4 = (struct cidr){ { 4, { 198, 18, 0, 1 } }, 30 };
    o.own6 = (struct cidr){ { 6, { 0xfd, 0xfe, [15] = 1 } }, 126 };
    log_threshold = LOG_SILENT;
    assert_int_equal(stack_new(&o, &w->st), 0);
    left_open = w->st;
}

static inline void world_open(struct world *w, const struct kernel *k)
{
    world_open_with(w, k, 0, 0);
}

static inline void world_forget(struct world *w)
{
    for (struct list_head *n; (n = list_first(&w->out));) {
        list_del(n);
        raw_free(container_of(n, struct seen, node));
    }
}

static inline struct stack_stats world_stats(struct world *w)
{
    struct stack_stats s;

    stack_stats(w->st, &s);
    return s;
}

static inline void world_close(struct world *w)
{
    for (struct owner *o; (o = w->first);) {
        owner_close(o, 0);
        w->first = o->next;
        raw_free(o);
    }
    loop_turn(w->loop, 0);
    if (w->st && !w->may_drop)
        assert_int_equal(world_stats(w).dropped, 0);
    stack_free(w->st);
    left_open = NULL;
    loop_free(w->loop);
    world_forget(w);
    for (struct list_head *n; (n = list_first(&w->fly));) {
        list_del(n);
        raw_free(container_of(n, struct flying, node)->down);
        raw_free(container_of(n, struct flying, node));
    }
    close(w->tun);
    close(w->far);
}

/* ---- a look at what the stack wrote ---- */

/* One's complement sum (RFC 1071): 0xffff when a checksum in it is right. */
static inline uint16_t fold(uint64_t t)
{
    while (t >> 16)
        t = (t & 0xffff) + (t >> 16);
    return (uint16_t)t;
}

static inline uint64_t words_of(const uint8_t *b, uint32_t n)
{
    uint64_t t = 0;

    for (uint32_t i = 0; i < n; i += 2)
        t += (uint64_t)b[i] << 8 | (i + 1 < n ? b[i + 1] : 0);
    return t;
}

static inline uint64_t pseudo_of(const struct seen *s)
{
    uint32_t n = (uint32_t)addr_len(&s->from.ip);

    return words_of(s->from.ip.b, n) + words_of(s->to.ip.b, n) + s->proto + s->l4_len;
}

static inline void look_ip(struct seen *s)
{
    uint8_t *b = s->ip;

    s->ver = b[0] >> 4;
    s->from.ip.ver = s->to.ip.ver = (uint8_t)s->ver;
    if (s->ver == 4) {
        assert_true(s->n >= 20);
        assert_int_equal(b[0], 0x45);
        assert_int_equal(get16(b + 2), s->n);
        assert_int_equal(b[8], 64);
        s->proto = b[9];
        memcpy(s->from.ip.b, b + 12, 4);
        memcpy(s->to.ip.b, b + 16, 4);
        assert_int_equal(fold(words_of(b, 20)), 0xffff);
        s->ihl = 20;
        s->more = get16(b + 6) & 0x2000;
        s->frag_off = (get16(b + 6) & 0x1fffu) * 8;
        s->frag_id = get16(b + 4);
    } else {
        assert_int_equal(s->ver, 6);
        assert_true(s->n >= 40);
        assert_int_equal(get16(b + 4), s->n - 40);
        assert_int_equal(b[7], 64);
        s->proto = b[6];
        memcpy(s->from.ip.b, b + 8, 16);
        memcpy(s->to.ip.b, b + 24, 16);
        s->ihl = 40;
        if (s->proto == 44) {
            s->proto = b[40];
            assert_int_equal(b[41], 0);
            s->more = b[43] & 1;
            s->frag_off = get16(b + 42) & 0xfff8;
            s->frag_id = get32(b + 44);
            s->ihl = 48;
        }
    }
    s->fragment = s->more || s->frag_off;
    s->l4 = b + s->ihl;
    s->l4_len = s->n - s->ihl;
}

/* Its checksum is right, or the kernel is told where to put it. */
static inline void look_checksum(const struct world *w, const struct seen *s, uint16_t offset)
{
    if (s->vh.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        assert_true(w->k.csum);
        assert_int_equal(s->vh.csum_start, s->ihl);
        assert_int_equal(s->vh.csum_offset, offset);
        assert_int_equal(get16(s->l4 + offset), fold(pseudo_of(s)));
        return;
    }
    assert_int_equal(fold((s->proto == PROTO_ICMP ? 0 : pseudo_of(s)) + words_of(s->l4, s->l4_len)), 0xffff);
}

static inline void look_options(struct seen *s, const uint8_t *o, const uint8_t *end)
{
    while (o < end && *o) {
        if (*o == 1) {
            o++;
            continue;
        }
        assert_true(o + 1 < end && o[1] >= 2 && o + o[1] <= end);
        if (o[0] == 2 && o[1] == 4)
            s->mss = get16(o + 2);
        if (o[0] == 3 && o[1] == 3)
            s->scale = o[2];
        if (o[0] == 4)
            s->sack = true;
        o += o[1];
    }
}

static inline void look_tcp(struct world *w, struct seen *s)
{
    uint8_t *t = s->l4;
    uint32_t head;

    assert_true(s->l4_len >= 20 && !s->fragment);
    head = (t[12] >> 4) * 4u;
    assert_true(head >= 20 && head <= s->l4_len);
    s->from.port = get16(t);
    s->to.port = get16(t + 2);
    s->seq = get32(t + 4);
    s->ack = get32(t + 8);
    s->flags = t[13] & 0x3f;
    s->wnd = get16(t + 14);
    look_options(s, t + 20, t + head);
    s->data = t + head;
    s->len = s->l4_len - head;
    if (s->len > w->most_data)
        w->most_data = s->len;
    look_checksum(w, s, 16);
    if (s->vh.gso_type) {
        assert_true(w->k.tso);
        assert_int_equal(s->vh.gso_type, s->ver == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6);
        assert_int_equal(s->vh.hdr_len, s->ihl + head);
        assert_true(s->vh.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
        assert_in_range(s->vh.gso_size, 1, w->k.mtu - s->ihl - head);
        assert_true(s->len > s->vh.gso_size);
    }
}

static inline struct seen *look(struct world *w, const uint8_t *b, size_t n)
{
    size_t head = w->k.vnet ? VNET : 0;
    struct seen *s = raw_malloc(sizeof(*s) + n);

    assert_non_null(s);
    assert_true(n > head);
    *s = (struct seen){ .scale = -1, .n = (uint32_t)(n - head) };
    memcpy(s->raw, b, n);
    memcpy(&s->vh, s->raw, head);
    s->ip = s->raw + head;
    look_ip(s);
    if (!s->vh.gso_type)
        assert_int_equal(s->vh.gso_size, 0);
    if (s->proto == PROTO_TCP)
        look_tcp(w, s);
    if (s->proto == PROTO_UDP && !s->fragment) {
        assert_int_equal(get16(s->l4 + 4), s->l4_len);
        look_checksum(w, s, 6);
        assert_int_not_equal(get16(s->l4 + 6), 0);
    }
    if (s->proto == PROTO_UDP && !s->frag_off) {
        s->from.port = get16(s->l4);
        s->to.port = get16(s->l4 + 2);
        s->data = s->l4 + 8;
        s->len = s->l4_len - 8;
    }
    if (s->proto == PROTO_ICMP || s->proto == PROTO_ICMP6)
        look_checksum(w, s, 2);
    else
        assert_true(s->vh.gso_type || s->n <= w->k.mtu);
    return s;
}

/* ---- packets to the stack ---- */

static inline void world_write(struct world *w, const void *raw, size_t n)
{
    assert_int_equal(write(w->far, raw, n), (ssize_t)n);
}

/* An IP packet, with a virtio header in front if the device has one. gso: how the kernel would tell of a batch; NULL = one packet. */
static inline size_t wrap(const struct world *w, uint8_t *raw, const void *ip, size_t n, const struct virtio_net_hdr *vh)
{
    size_t head = w->k.vnet ? VNET : 0;

    memset(raw, 0, head);
    if (vh)
        memcpy(raw, vh, head);
    memcpy(raw + head, ip, n);
    return head + n;
}

static inline void world_send(struct world *w, const void *ip, size_t n)
{
    static uint8_t raw[VNET + PACKET_MAX];

    world_write(w, raw, wrap(w, raw, ip, n, NULL));
}

/* A TCP segment in words. */
struct segment {
    struct endpoint src, dst;
    uint32_t seq, ack;
    uint8_t flags;
    uint32_t wnd;
    uint16_t mss; /* options: 0 = none */
    int scale;    /* 0 = none */
    bool sack;
    const void *data;
    uint32_t len;
};

static inline size_t segment_raw(const struct world *w, const struct segment *g, uint8_t *raw)
{
    static uint8_t ip[PACKET_MAX];
    uint32_t ihl = ip_header_len(g->src.ip.ver), head = 20;
    struct virtio_net_hdr vh = { 0 };
    uint8_t *t = ip + ihl;
    uint16_t pseudo;

    memset(t, 0, 40);
    put16(t, g->src.port);
    put16(t + 2, g->dst.port);
    put32(t + 4, g->seq);
    put32(t + 8, g->ack);
    t[13] = g->flags;
    put16(t + 14, (uint16_t)(g->wnd > 65535 ? 65535 : g->wnd));
    if (g->mss) {
        memcpy(t + head, "\2\4", 2);
        put16(t + head + 2, g->mss);
        head += 4;
    }
    if (g->scale) {
        memcpy(t + head, (uint8_t[]){ 1, 3, 3, (uint8_t)g->scale }, 4);
        head += 4;
    }
    if (g->sack) {
        memcpy(t + head, "\1\1\4\2", 4);
        head += 4;
    }
    t[12] = (uint8_t)(head / 4 << 4);
    if (g->len)
        memcpy(t + head, g->data, g->len);
    packet_put_ip(ip, &g->src.ip, &g->dst.ip, PROTO_TCP, head + g->len, 0);
    pseudo = packet_pseudo_sum(&g->src.ip, &g->dst.ip, PROTO_TCP, head + g->len);
    if (w->k.csum) { /* as the kernel gives it: half made */
        put16(t + 16, pseudo);
        vh = (struct virtio_net_hdr){ .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = (uint16_t)ihl, .csum_offset = 16 };
        if (ihl + head + g->len > w->k.mtu) {
            assert_true(w->k.tso);
            vh.gso_type = g->src.ip.ver == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
            vh.gso_size = (uint16_t)(w->k.mtu - ihl - head);
            vh.hdr_len = (uint16_t)(ihl + head);
        }
    } else {
        assert_true(ihl + head + g->len <= w->k.mtu);
        put16(t + 16, packet_checksum(pseudo, t, head + g->len));
    }
    return wrap(w, raw, ip, ihl + head + g->len, &vh);
}

static inline void send_segment(struct world *w, const struct segment *g)
{
    static uint8_t raw[VNET + PACKET_MAX];

    world_write(w, raw, segment_raw(w, g, raw));
}

/* ---- the net ---- */

static inline void fly(struct world *w, struct flying *f)
{
    struct list_head *at = w->fly.prev;

    f->due_ms = fake_ms + w->delay_ms;
    if (w->late && dice(&w->rnd) % 100 < w->late)
        f->due_ms += 1 + dice(&w->rnd) % 40;
    while (at != &w->fly && container_of(at, struct flying, node)->due_ms > f->due_ms)
        at = at->prev;
    list_push(at, &f->node);
}

static inline bool lost(struct world *w)
{
    bool yes = w->lose && dice(&w->rnd) % 100 < w->lose;

    w->n_lost += yes;
    return yes;
}

static inline bool is_perfect(const struct world *w)
{
    return !w->lose && !w->twice && !w->late && !w->delay_ms;
}

/* One packet on its way to the stack. */
static inline void net_up(struct world *w, const uint8_t *raw, size_t n)
{
    if (is_perfect(w)) {
        world_write(w, raw, n);
        return;
    }
    for (int i = 0; i <= (w->twice && dice(&w->rnd) % 100 < w->twice); i++) {
        struct flying *f = raw_malloc(sizeof(*f) + n);

        assert_non_null(f);
        if (lost(w)) {
            raw_free(f);
            continue;
        }
        f->down = NULL;
        f->n = n;
        memcpy(f->raw, raw, n);
        fly(w, f);
    }
}

static inline struct app *app_of(struct world *w, const struct endpoint *e);
static inline void app_input(struct app *a, const struct seen *s);

static inline void net_down_one(struct world *w, struct seen *s)
{
    if (is_perfect(w)) {
        app_input(app_of(w, &s->to), s);
        raw_free(s);
        return;
    }
    for (int i = 0; i <= (w->twice && dice(&w->rnd) % 100 < w->twice); i++) {
        struct flying *f;

        if (lost(w))
            continue;
        assert_non_null(f = raw_calloc(1, sizeof(*f)));
        assert_non_null(f->down = raw_malloc(sizeof(*s) + s->n));
        *f->down = *s;
        memcpy(f->down->raw, s->ip, s->n);
        f->down->ip = f->down->raw;
        f->down->data = f->down->raw + (s->data - s->ip);
        fly(w, f);
    }
    raw_free(s);
}

/* As the kernel would cut it. */
static inline void net_down(struct world *w, struct seen *s)
{
    while (s->vh.gso_type && s->len > s->vh.gso_size) {
        struct seen *part = raw_malloc(sizeof(*s) + s->n);

        assert_non_null(part);
        *part = *s;
        memcpy(part->raw, s->ip, s->n);
        part->ip = part->raw;
        part->data = part->raw + (s->data - s->ip);
        part->len = s->vh.gso_size;
        part->flags = s->flags & (uint8_t) ~(FIN | PSH);
        net_down_one(w, part);
        s->data += s->vh.gso_size;
        s->seq += s->vh.gso_size;
        s->len -= s->vh.gso_size;
    }
    net_down_one(w, s);
}

static inline void net_deliver(struct world *w)
{
    for (struct list_head *n; (n = list_first(&w->fly));) {
        struct flying *f = container_of(n, struct flying, node);
        struct app *a;

        if (f->due_ms > fake_ms)
            return;
        list_del(n);
        if (!f->down)
            world_write(w, f->raw, f->n);
        else if ((a = app_of(w, &f->down->to))) /* it may be gone */
            app_input(a, f->down);
        raw_free(f->down);
        raw_free(f);
    }
}

/* ---- time ---- */

static inline unsigned world_drain(struct world *w)
{
    static uint8_t raw[VNET + 70000];
    unsigned got = 0;
    ssize_t n;

    while ((n = recv(w->far, raw, sizeof(raw), MSG_DONTWAIT)) > 0) {
        struct seen *s = look(w, raw, (size_t)n);

        got++;
        w->n_out++;
        if (s->proto == PROTO_TCP && app_of(w, &s->to))
            net_down(w, s);
        else
            list_append(&w->out, &s->node);
    }
    return got;
}

/* Turns until the stack has nothing more to say at this moment. */
static inline void world_settle(struct world *w)
{
    char c;

    do
        loop_turn(w->loop, 0);
    while (world_drain(w) || recv(w->tun, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0); /* the stack may not have read all yet */
}

static inline bool apps_tick(struct world *w);

/* Time goes in small steps while something is on its way; lwIP's own, 50 ms, come a tick late. */
static inline void world_pass(struct world *w, uint64_t ms)
{
    world_settle(w);
    for (uint64_t end = fake_ms + ms; fake_ms < end;) {
        uint64_t step = list_empty(&w->fly) ? IDLE_STEP_MS : STEP_MS;

        fake_ms += end - fake_ms < step ? end - fake_ms : step;
        net_deliver(w);
        world_settle(w);
        if (apps_tick(w))
            world_settle(w);
    }
}

/* The next packet that no app took, or NULL; freed by the caller. */
static inline struct seen *world_take(struct world *w)
{
    struct list_head *n;

    world_settle(w);
    if (!(n = list_first(&w->out)))
        return NULL;
    list_del(n);
    return container_of(n, struct seen, node);
}

static inline bool world_silent(struct world *w)
{
    world_settle(w);
    return list_empty(&w->out);
}

/* ---- the owner ---- */

static inline void owner_read(struct owner *o)
{
    static uint8_t buf[300000];

    while (o->s && o->reads && !o->eof && !o->err) {
        size_t most = o->bite ? o->bite : sizeof(buf), n = 0;
        struct iovec iov[16];
        ssize_t r;

        if (o->peeks) {
            r = stream_peek(o->s, iov, 16);
            for (int i = 0; i < r && n < most; i++) {
                size_t k = iov[i].iov_len < most - n ? iov[i].iov_len : most - n;

                assert_true(k > 0);
                pattern_check(o->in_seed, o->got + (uint32_t)n, iov[i].iov_base, k);
                n += k;
            }
            if (r > 0)
                stream_consume(o->s, n);
        } else {
            r = stream_read(o->s, &(struct iovec){ buf, most }, 1);
            if (r > 0)
                pattern_check(o->in_seed, o->got, buf, n = (size_t)r);
        }
        o->got += (uint32_t)n;
        if (r == 0)
            return;
        if (r == -STREAM_EOF)
            o->eof = true;
        else if (r < 0)
            o->err = (int)r;
        if (o->bite)
            return;
    }
}

static inline void owner_write(struct owner *o)
{
    static uint8_t buf[70000];
    struct iovec iov[4];
    ssize_t n;

    while (o->s && o->sent < o->to_send && !o->err) {
        uint32_t left = o->to_send - o->sent;

        if (o->reserves) {
            int k = o->s->ops->reserve(o->s, iov, 4);

            n = k;
            if (k > 0) {
                n = 0;
                for (int i = 0; i < k && left; i++) {
                    size_t m = iov[i].iov_len < left ? iov[i].iov_len : left;

                    pattern_fill(o->out_seed, o->sent + (uint32_t)n, iov[i].iov_base, m);
                    n += (ssize_t)m;
                    left -= (uint32_t)m;
                }
                o->s->ops->commit(o->s, (size_t)n);
            }
        } else {
            if (left > sizeof(buf))
                left = sizeof(buf);
            pattern_fill(o->out_seed, o->sent, buf, left);
            n = stream_write(o->s, &(struct iovec){ buf, left }, 1);
        }
        if (n == 0)
            return;
        if (n < 0)
            o->err = (int)n;
        else
            o->sent += (uint32_t)n;
    }
    if (o->s && o->shut_after && !o->shut && !o->err && o->sent == o->to_send) {
        o->err = stream_shutdown(o->s);
        o->shut = true;
    }
}

static inline void owner_pump(struct owner *o)
{
    owner_read(o);
    owner_write(o);
}

/* ---- the application ---- */

struct app {
    struct world *w;
    struct endpoint at, peer;
    /* how it is */
    uint32_t room; /* bytes of receive buffer */
    uint16_t mss;  /* announced; 0 = not */
    int scale;     /* announced; 0 = not */
    uint32_t bite; /* bytes a segment of its own */
    bool reads;    /* takes at once what came */
    /* what it wants */
    uint32_t to_send;
    bool close_after;
    /* how it stands; offsets count bytes of the streams */
    uint32_t iss, irs, una, nxt, wnd, got, taken, edge, fin_at;
    int their_scale;
    bool asked, open, fin_sent, fin_acked, has_fin, eof, reset;
    uint8_t *have; /* which bytes came */
    uint32_t expect;
    uint64_t since_ms; /* last progress of what it sent */
    unsigned n_segments, n_again;
    uint32_t in_seed, out_seed;
};

static inline struct app *app_of(struct world *w, const struct endpoint *e)
{
    for (int i = 0; i < APPS; i++)
        if (w->apps[i] && endpoint_eq(&w->apps[i]->at, e))
            return w->apps[i];
    return NULL;
}

static inline struct endpoint there(int ver, uint8_t host, uint16_t port)
{
    if (ver == 4)
        return (struct endpoint){ { 4, { 203, 0, 113, host } }, port };
    return (struct endpoint){ { 6, { 0x20, 1, 0xd, 0xb8, [15] = host } }, port };
}

static inline struct endpoint here(int ver, uint16_t port)
{
    if (ver == 4)
        return (struct endpoint){ { 4, { 198, 18, 0, 1 } }, port };
    return (struct endpoint){ { 6, { 0xfd, 0xfe, [15] = 1 } }, port };
}

/* An application that expects so many bytes. */
static inline void app_init(struct app *a, struct world *w, int ver, uint16_t port, uint32_t expect)
{
    *a = (struct app){ .w = w,
                       .at = here(ver, port),
                       .peer = there(ver, 9, 443),
                       .room = 65535,
                       .mss = (uint16_t)(w->k.mtu - (ver == 4 ? 40 : 60)),
                       .scale = 7,
                       .reads = true,
                       .iss = 0xfffff000u + port,
                       .expect = expect,
                       .out_seed = port,
                       .in_seed = port * 7u };
    a->bite = a->mss;
    assert_non_null(a->have = raw_calloc(1, expect + 1));
    for (int i = 0; i < APPS; i++)
        if (!w->apps[i]) {
            w->apps[i] = a;
            return;
        }
    fail_msg("too many apps");
}

static inline void app_fini(struct app *a)
{
    for (int i = 0; i < APPS; i++)
        if (a->w->apps[i] == a)
            a->w->apps[i] = NULL;
    raw_free(a->have);
    a->have = NULL;
}

static inline uint32_t app_window(const struct app *a)
{
    return a->room - (a->got - a->taken);
}

static inline void app_say(struct app *a, uint8_t flags, uint32_t off, uint32_t len)
{
    static uint8_t data[PACKET_MAX], raw[VNET + PACKET_MAX];
    struct segment g = { a->at, a->peer, a->iss + 1 + off, 0, flags, 0, .data = data, .len = len };
    uint32_t wnd = app_window(a);

    if (flags & SYN) {
        g.seq = a->iss;
        g.mss = a->mss;
        g.scale = a->scale;
        g.wnd = a->room;
        a->edge = a->room < 65535 ? a->room : 65535;
    } else {
        int shift = a->their_scale >= 0 ? a->scale : 0;

        g.wnd = (wnd >> shift) > 65535 ? 65535 : wnd >> shift;
        if (!(flags & RST) && a->got + (g.wnd << shift) > a->edge)
            a->edge = a->got + (g.wnd << shift);
    }
    if (flags & ACK)
        g.ack = a->irs + 1 + a->got + a->eof;
    pattern_fill(a->out_seed, off, data, len);
    net_up(a->w, raw, segment_raw(a->w, &g, raw));
}

static inline void app_connect(struct app *a)
{
    a->asked = true;
    a->since_ms = fake_ms;
    app_say(a, SYN, 0, 0);
}

/* Sends what may go. */
static inline void app_push(struct app *a)
{
    bool all;

    if (!a->open || a->reset)
        return;
    while (a->nxt < a->to_send && a->nxt - a->una < a->wnd) {
        uint32_t n = a->to_send - a->nxt, may = a->wnd - (a->nxt - a->una);

        n = n < a->bite ? n : a->bite;
        n = n < may ? n : may;
        app_say(a, ACK | PSH, a->nxt, n);
        a->nxt += n;
    }
    all = a->nxt == a->to_send;
    if (all && a->close_after && !a->fin_sent) {
        app_say(a, FIN | ACK, a->nxt, 0);
        a->fin_sent = true;
    }
}

static inline void app_take(struct app *a, uint32_t n)
{
    a->taken += n < a->got - a->taken ? n : a->got - a->taken;
    if (a->open && !a->reset && a->taken + a->room - a->edge >= (a->room < 4096 ? 1 : 2048))
        app_say(a, ACK, a->nxt + a->fin_sent, 0);
}

static inline void app_acked(struct app *a, const struct seen *s)
{
    uint32_t n = s->ack - (a->iss + 1), all = a->to_send + 1;

    a->wnd = s->wnd << (a->scale && a->their_scale > 0 ? a->their_scale : 0);
    if (n > a->una && n <= all) {
        assert_true(n <= a->nxt + a->fin_sent || a->n_again); /* never more than was sent */
        a->since_ms = fake_ms;
        if (a->fin_sent && n == all)
            a->fin_acked = true;
        a->una = n < a->to_send ? n : a->to_send;
        if (a->nxt < a->una)
            a->nxt = a->una;
    }
}

static inline void app_data(struct app *a, const struct seen *s)
{
    uint32_t off = s->seq - (a->irs + 1), end = off + s->len;
    bool probe = s->len == 1 && off == a->got && a->edge == a->got;

    if (s->len && (int32_t)off >= 0) {
        pattern_check(a->in_seed, off, s->data, s->len);
        if (end > a->expect)
            fail_msg("more than was written: %u", end);
        if (end > a->edge && !probe)
            fail_msg("bytes %u..%u, but the window ends at %u", off, end, a->edge);
        for (uint32_t i = off; i < end && i < a->taken + a->room; i++)
            a->have[i] = 1;
        a->n_again += off < a->got;
        while (a->got < a->expect && a->have[a->got])
            a->got++;
    }
    if (s->flags & FIN) {
        if (a->has_fin)
            assert_int_equal(a->fin_at, end);
        a->has_fin = true;
        a->fin_at = end;
    }
    if (s->len && a->has_fin && end > a->fin_at)
        fail_msg("bytes up to %u, but the stream ended at %u", end, a->fin_at);
    if (a->has_fin && a->got == a->fin_at)
        a->eof = true;
}

static inline void app_input(struct app *a, const struct seen *s)
{
    a->n_segments++;
    if (a->reset)
        return;
    if (s->flags & RST) { /* both ends were seen: it was the answer to the last acknowledgement that got lost, TIME_WAIT is not kept */
        a->fin_acked |= a->eof && a->fin_sent;
        a->reset = !a->fin_acked;
        return;
    }
    if (s->flags & SYN) {
        if (!a->asked || s->ack != a->iss + 1)
            fail_msg("a SYN that nobody asked for");
        if (!a->open) {
            a->open = true;
            a->irs = s->seq;
            a->their_scale = s->scale;
            a->wnd = s->wnd;
            a->since_ms = fake_ms;
        }
        app_say(a, ACK, a->nxt + a->fin_sent, 0);
        app_push(a);
        return;
    }
    if (!a->open)
        return;
    app_acked(a, s);
    if (s->len || s->flags & FIN || s->seq != a->irs + 1 + a->got + a->eof) {
        app_data(a, s);
        if (a->reads)
            a->taken = a->got;
        app_say(a, ACK, a->nxt + a->fin_sent, 0);
    }
    app_push(a);
}

#define APP_RTO_MS 300

/* Is it time to say something again? */
static inline bool app_tick(struct app *a)
{
    if (a->reset || !a->asked || fake_ms - a->since_ms < APP_RTO_MS)
        return false;
    a->since_ms = fake_ms;
    if (!a->open) {
        app_say(a, SYN, 0, 0);
    } else if (a->una < a->nxt || (a->fin_sent && !a->fin_acked)) { /* go back */
        a->nxt = a->una;
        a->fin_sent = false;
        a->n_again++;
        app_push(a);
    } else if (a->una < a->to_send && !a->wnd) { /* is the window still shut? */
        app_say(a, ACK, a->una - 1, 0);
    } else {
        return false;
    }
    return true;
}

static inline bool apps_tick(struct world *w)
{
    bool said = false;

    for (int i = 0; i < APPS; i++)
        if (w->apps[i])
            said |= app_tick(w->apps[i]);
    return said;
}

/* Passes time until cond or so many ms. */
#define world_until(w, ms, cond)                                                                                                           \
    do {                                                                                                                                   \
        for (uint64_t until_ = fake_ms + (ms); !(cond) && fake_ms < until_;)                                                               \
            world_pass(w, STEP_MS);                                                                                                        \
        if (!(cond))                                                                                                                       \
            fail_msg("%s: not within %u ms: %s", (w)->k.name, (unsigned)(ms), #cond);                                                      \
    } while (0)

#endif
