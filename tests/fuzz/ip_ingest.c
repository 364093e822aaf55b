/*
 * ip_ingest.c - packets of an application, with time between them, into the real stack; and what the owner of the flows does meanwhile
 *
 *   kind of device, what the sink does with new flows, then steps of a few bytes each:
 *     raw       any packet, as it is
 *     segment   TCP of one of eight connections; its numbers count from those that the stack expects, so that a mutated input stays in the
 * conversation datagram  UDP, whole or in pieces, with any extension headers before it owner     reads, writes, half-closes, closes,
 * accepts, refuses time      up to some minutes, by a clock of our own
 *
 * Every packet that comes back must be one that our own parser takes, and no larger than it may be. At the end all flows are closed and the
 * stack is freed.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/err.h"
#include "core/log.h"
#include "core/reader.h"
#include "tests/fuzz/fuzz.h"
#include "tun2socks/packet.h"
#include "tun2socks/tun2socks.h"

#define VNET    10
#define MTU     1500
#define FLOWS   8
#define STEPS   64
#define LARGEST 65600

/* One of the connections, seen from the application; and its stream. */
struct flow {
    struct endpoint app;
    uint32_t next, ack; /* what the stack expects of us; what we expect of it */
    struct stream *s;
};

static struct loop *loop;
static struct stack *stack;
static int near, far;
static bool vnet, csum, tso;
static uint8_t greeting; /* what happens to a new flow */
static struct flow flows[FLOWS];
static uint8_t packet[VNET + LARGEST], scratch[LARGEST];

/* The clock stands still in the stack's world, and only there. */
static uint64_t fake_ms = 1000000;
static bool inside;

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (!inside)
        return (int)syscall(SYS_clock_gettime, id, t);
    *t = (struct timespec){ (time_t)(fake_ms / 1000), (long)(fake_ms % 1000) * 1000000 };
    return 0;
}

/* ---- the sink ---- */

static struct endpoint app_of(unsigned i)
{
    if (i % 2)
        return (struct endpoint){ { 6, { 0xfd, [15] = 1 } }, (uint16_t)(1000 + i) };
    return (struct endpoint){ { 4, { 198, 18, 0, 1 } }, (uint16_t)(1000 + i) };
}

static struct endpoint peer_of(unsigned i)
{
    if (i % 2)
        return (struct endpoint){ { 6, { 0x20, 1, 0xd, 0xb8, [15] = 9 } }, 443 };
    return (struct endpoint){ { 4, { 203, 0, 113, 9 } }, 443 };
}

static void take_all(struct flow *f)
{
    struct iovec iov[8];
    int n;

    while (f->s && (n = stream_peek(f->s, iov, 8)) > 0)
        stream_consume(f->s, iov_total(iov, n));
}

static void give(struct flow *f, size_t n)
{
    struct iovec iov[4];

    if (n % 2) {
        stream_write(f->s, &(struct iovec){ scratch, n }, 1);
    } else if ((int)(n = n < LARGEST ? n : LARGEST) && f->s->ops->reserve(f->s, iov, 4) > 0) {
        f->s->ops->commit(f->s, n < iov[0].iov_len ? n : iov[0].iov_len);
    }
}

static void end(struct flow *f, int err)
{
    struct stream *s = f->s;

    f->s = NULL;
    if (s)
        stream_close(s, err);
}

static void on_ready(struct stream *s, unsigned what)
{
    struct flow *f = s->owner;

    if (greeting & 8)
        take_all(f);
    if (f->s && greeting & 16 && what & STREAM_FAILED)
        end(f, -ECONNRESET);
}

static void on_tcp(struct flow_sink *sk, struct stream *s, const struct flow_meta *m)
{
    static const int refusals[] = { -ECONNREFUSED, -ENETUNREACH, -ETIMEDOUT, -ERR_DROP };
    struct flow *f = NULL;

    for (unsigned i = 0; i < FLOWS; i++)
        if (!flows[i].s && endpoint_eq(&flows[i].app, &m->src))
            f = &flows[i];
    if (!f || (greeting & 7) == 7) {
        stream_refuse(s, refusals[m->src.port % 4]);
        return;
    }
    f->s = s;
    s->owner = f;
    s->on_ready = on_ready;
    if (greeting & 1 && stream_accept(s) < 0)
        end(f, -ENOMEM);
    if (f->s && greeting & 2)
        give(f, 5000);
    if (f->s && greeting & 4)
        stream_shutdown(s);
}

static void on_udp(struct flow_sink *sk, const struct flow_meta *m, const void *b, size_t n)
{
    if (greeting & 32)
        stack_udp_refuse(stack, &m->src, &m->orig, -ECONNREFUSED);
    else
        stack_udp_send(stack, &m->orig, &m->src, b, n);
}

static bool on_echo(struct flow_sink *sk, const struct addr *src, const struct addr *dst, const void *icmp, size_t n)
{
    if (greeting & 64)
        stack_icmp_send(stack, dst, src, icmp, n);
    return greeting & 64;
}

static struct flow_sink sink = { on_tcp, on_udp, on_echo };

/* ---- what comes back ---- */

static void must(bool good)
{
    if (!good)
        abort();
}

static void note_segment(const struct packet *p)
{
    struct endpoint to = { p->dst, get16(p->l4 + 2) };

    for (unsigned i = 0; i < FLOWS; i++)
        if (endpoint_eq(&flows[i].app, &to)) {
            uint32_t len = p->l4_len - (p->l4[12] >> 4) * 4u;

            flows[i].ack = get32(p->l4 + 4) + len + !!(p->l4[13] & 3);
            if (p->l4[13] & 16)
                flows[i].next = get32(p->l4 + 8);
        }
}

static void drain(void)
{
    size_t head = vnet ? VNET : 0;
    struct virtio_net_hdr vh = { 0 };
    struct packet p;
    ssize_t n;

    while ((n = recv(far, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
        must((size_t)n > head);
        memcpy(&vh, packet, head);
        must(packet_parse(&p, packet + head, (size_t)n - head) == 0 && p.len == (size_t)n - head);
        must(vh.gso_type ? tso && vh.gso_size && vh.gso_size <= MTU - 28 : p.len <= MTU || p.proto == PROTO_ICMP || p.proto == PROTO_ICMP6);
        if (p.proto == PROTO_TCP) {
            must(packet_tcp_ok(&p));
            note_segment(&p);
        }
    }
}

static void turn(void)
{
    static uint64_t sent;
    struct stack_stats stats;

    loop_turn(loop, 0);
    stack_stats(stack, &stats);
    if (stats.tx_packets != sent) /* else a system call for nothing */
        drain();
    sent = stats.tx_packets;
}

/* ---- the steps ---- */

static void put(const uint8_t *ip, size_t n)
{
    size_t head = vnet ? VNET : 0;

    memset(packet, 0, head);
    memmove(packet + head, ip, n);
    if (write(far, packet, head + n) < 0)
        turn();
}

static void raw(struct rd *r)
{
    struct span s = rd_span(r, rd_be16(r) % 2048);

    if (write(far, s.p ? s.p : scratch, s.len) < 0)
        turn();
}

/* An IP header with len bytes behind it, of which some may be any extension headers. */
static uint8_t *begin(uint8_t *ip, unsigned i, uint8_t proto, uint32_t len)
{
    struct endpoint a = app_of(i), b = peer_of(i);

    return ip + packet_put_ip(ip, &a.ip, &b.ip, proto, len, (uint16_t)i);
}

static void segment(struct rd *r)
{
    uint8_t who = rd_u8(r), flags = rd_u8(r), *t;
    struct flow *f = &flows[who % FLOWS];
    int8_t dseq = (int8_t)rd_u8(r), dack = (int8_t)rd_u8(r);
    struct span opt = rd_span(r, who >> 4 & 3 ? (who >> 4 & 3) * 4u : 0);
    uint32_t wnd = rd_be16(r), len = rd_u8(r) * (who & 128 ? 200u : 1u), head = TCP_HEADER + (uint32_t)opt.len;
    static uint8_t ip[LARGEST];

    t = begin(ip, who % FLOWS, PROTO_TCP, head + len);
    memset(t, 0, head + len);
    put16(t, f->app.port);
    put16(t + 2, 443);
    put32(t + 4, f->next + (uint32_t)(dseq < -100 || dseq > 100 ? dseq * 1000 : dseq));
    put32(t + 8, f->ack + (uint32_t)(dack < -100 || dack > 100 ? dack * 1000 : dack));
    t[12] = (uint8_t)(head / 4 << 4);
    t[13] = flags;
    put16(t + 14, (uint16_t)wnd);
    if (opt.len)
        memcpy(t + TCP_HEADER, opt.p, opt.len);
    put(ip, (size_t)(t - ip) + head + len);
}

static void datagram(struct rd *r)
{
    uint8_t who = rd_u8(r), kind = rd_u8(r);
    uint32_t len = UDP_HEADER + rd_be16(r) % 4096, off = (rd_be16(r) & 0xfff8u) % 65528;
    struct span ext = rd_span(r, rd_u8(r) % 64 & ~7u);
    static uint8_t ip[LARGEST];
    uint8_t *u;

    u = begin(ip, who % FLOWS, kind & 1 ? PROTO_UDP : 44, (uint32_t)ext.len + len);
    if (ext.len)
        memcpy(u, ext.p, ext.len);
    if (!(who % 2) && kind & 2) /* IPv4: a piece */
        put16(ip + 6, (uint16_t)((kind & 4 ? 0x2000 : 0) | off / 8));
    memset(u + ext.len, 0, len);
    put16(u + ext.len, 2000);
    put16(u + ext.len + 2, 53);
    put16(u + ext.len + 4, (uint16_t)len);
    put(ip, (size_t)(u - ip) + ext.len + len);
}

static void owner(struct rd *r)
{
    uint8_t who = rd_u8(r), what = who >> 3;
    struct flow *f = &flows[who % FLOWS];

    if (!f->s)
        return;
    switch (what % 8) {
    case 0: take_all(f); break;
    case 1: give(f, rd_be16(r)); break;
    case 2: stream_shutdown(f->s); break;
    case 3: end(f, 0); break;
    case 4: end(f, -ECONNRESET); break;
    case 5:
        if (stream_accept(f->s) < 0)
            end(f, -ENOMEM);
        break;
    case 6:
        stream_refuse(f->s, what & 8 ? -ENETUNREACH : -ECONNREFUSED);
        f->s = NULL;
        break;
    case 7: end(f, -ETIMEDOUT); break;
    }
}

static void pass(struct rd *r)
{
    static const uint16_t ms[] = { 1, 60, 300, 1000, 3000, 15000, 60000 };
    uint32_t left = ms[rd_u8(r) % 7];

    for (int i = 0; i < 6 && left; i++) { /* a long time in few steps: lwIP's clock then goes slow, and ours does not */
        uint32_t step = left / 4 > 64 ? left / 4 : 64;

        fake_ms += step;
        left -= step < left ? step : left;
        turn();
    }
}

static void run(struct rd *r)
{
    static void (*const steps[])(struct rd *) = { raw, segment, datagram, owner, pass };

    for (int i = 0; i < STEPS && rd_ok(r) && rd_left(r) > 1; i++) {
        uint8_t op = rd_u8(r);

        steps[op % 5](r);
        if (op & 128) /* else more of the same batch */
            turn();
    }
    turn();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    int pair[2], room = 4 << 20;

    log_threshold = LOG_SILENT;
    signal(SIGPIPE, SIG_IGN);
    must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    near = pair[0];
    far = pair[1];
    setsockopt(near, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    setsockopt(far, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    inside = true;
    must((loop = loop_new()) != NULL);
    inside = false;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_from(data, size);
    uint8_t kernel = rd_u8(&r);
    struct stack_opts o = { .loop = loop,
                            .tun_fd = near,
                            .mtu = MTU,
                            .vnet_hdr = kernel & 1,
                            .csum = kernel & 2,
                            .tso = kernel & 4,
                            .uso = kernel & 4,
                            .sink = &sink,
                            .max_flows = 1000,
                            .own4 = { { 4, { 198, 18, 0, 1 } }, 30 },
                            .own6 = { { 6, { 0xfd, [15] = 1 } }, 126 } };

    greeting = rd_u8(&r);
    vnet = o.vnet_hdr;
    csum = vnet && o.csum;
    tso = csum && o.tso;
    for (unsigned i = 0; i < FLOWS; i++)
        flows[i] = (struct flow){ .app = app_of(i), .next = i * 0x30000000u };
    inside = true;
    must(stack_new(&o, &stack) == 0);
    run(&r);
    for (unsigned i = 0; i < FLOWS; i++)
        end(&flows[i], i % 3 ? -ECONNRESET : 0);
    turn();
    stack_free(stack);
    while (recv(far, packet, sizeof(packet), MSG_DONTWAIT) >= 0 || recv(near, packet, sizeof(packet), MSG_DONTWAIT) >= 0)
        ;
    inside = false;
    return 0;
}
