/*
 * stack.c - the device: packets in, packets out, time
 *
 *   TUN readable ──► up to 64 packets ──► packet_parse ──┬─ TCP ──► tcp.c (lwIP)
 *                                                        ├─ UDP ──► udp.c
 *                                                        ├─ ICMP ─► icmp.c
 *                                                        └─ fragment ──► frag.c ──► again
 *   end of the batch: flows with news tell their owners (tcp_flush), so each touched upstream is written once
 *
 * With a vnet header every packet carries up to 64 KiB and no checksum; the same on the way out (GSO). lwIP's time is a 50 ms tick that runs only
 * while some connection has something to wait for.
 *
 * Memory: one receive buffer per packet that lwIP keeps, from a pool; the others are reused at once.
 */
#include <errno.h>
#include <lwip/init.h>
#include <lwip/nd6.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/log.h"
#include "tun2socks/private.h"

#define BATCH 64

struct stack *the_stack;

/* ---- what lwIP asks of us (arch/cc.h, lwip_hooks.h) ---- */

unsigned int stack_lwip_rand(void);
void stack_lwip_assert(const char *what, const char *file, int line) __attribute__((noreturn));
u32_t stack_lwip_isn(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port);

unsigned int stack_lwip_rand(void)
{
    unsigned int v;

    random_bytes(&v, sizeof(v));
    return v;
}

void stack_lwip_assert(const char *what, const char *file, int line)
{
    log_err(LOG_TUN, "lwIP: %s (%s:%d)", what, file, line);
    abort();
}

u32_t stack_lwip_isn(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port)
{
    struct {
        ip_addr_t a, b;
        u16_t pa, pb;
    } key;

    memset(&key, 0, sizeof(key));
    ip_addr_copy(key.a, *local);
    ip_addr_copy(key.b, *remote);
    key.pa = local_port;
    key.pb = remote_port;
    return (u32_t)(hash_bytes(&key, sizeof(key)) + loop_clock() * 250); /* RFC 6528: a 4 us clock plus a keyed hash */
}

/* ---- out ---- */

bool bucket_take(struct stack *st, struct bucket *b)
{
    uint64_t sec = loop_now(st->loop) / 1000;

    if (sec != b->sec) {
        b->sec = sec;
        b->left = b->rate;
    }
    return b->left && b->left--;
}

void tun_write(struct stack *st, struct iovec *iov, int n, uint16_t csum_start, uint16_t csum_offset, uint8_t gso_type, uint16_t gso_size,
               uint16_t header_len)
{
    struct virtio_net_hdr vh = { 0 };
    struct iovec out[66];
    int k = 0;
    ssize_t r;

    if (st->vnet) {
        if (csum_start) {
            vh.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
            vh.csum_start = csum_start;
            vh.csum_offset = csum_offset;
        }
        if (gso_size) {
            vh.gso_type = gso_type;
            vh.gso_size = gso_size;
            vh.hdr_len = header_len;
        }
        out[k++] = (struct iovec){ &vh, sizeof(vh) };
    }
    for (int i = 0; i < n && k < 66; i++)
        out[k++] = iov[i];
    r = writev(st->tun.fd, out, k);
    if (r < 0) {
        st->stats.dropped++; /* the queue is full, or the device went: the peer retransmits or not */
        return;
    }
    st->stats.tx_packets++;
    st->stats.tx_bytes += (uint64_t)r;
}

/* ---- in ---- */

/* All ones behind the device's own prefix. */
static bool is_own_broadcast(const struct stack *st, const struct addr *a)
{
    uint32_t host = st->own4.len < 31 ? UINT32_MAX >> st->own4.len : 0;

    return host && cidr_contains(&st->own4, a) && (get32(a->b) & host) == host;
}

/* Multicast, broadcast and link-local stay with the link: never relayed. */
static bool stays_here(const struct stack *st, const struct addr *dst)
{
    return addr_is_multicast(dst) || addr_is_link_local(dst) || addr_is_loopback(dst) || addr_is_unspecified(dst) ||
           (dst->ver == 4 && (dst->b[0] == 255 || is_own_broadcast(st, dst)));
}

static void drop(struct stack *st, struct rxbuf *b)
{
    st->stats.malformed++;
    pool_put(&st->rx, b);
}

/* Takes b over; ip points into it. vh NULL: it was put together from fragments, and is none itself. */
static void input(struct stack *st, struct rxbuf *b, uint8_t *ip, size_t n, const struct virtio_net_hdr *vh)
{
    struct packet p;

    if (packet_parse(&p, ip, n) < 0 || stays_here(st, &p.dst) || addr_eq(&p.src, &p.dst) || (p.is_fragment && !vh)) {
        drop(st, b);
        return;
    }
    if (p.is_fragment) {
        struct rxbuf *whole = pool_get(&st->rx);
        size_t len = whole ? frag_add(&st->frags, &p, loop_now(st->loop), whole->data + RX_IP) : 0;

        pool_put(&st->rx, b);
        if (len)
            input(st, whole, whole->data + RX_IP, len, NULL);
        else
            pool_put(&st->rx, whole);
        return;
    }
    switch (p.proto) {
    case PROTO_TCP:
        if (packet_tcp_ok(&p))
            tcp_packet(st, b, &p);
        else
            drop(st, b);
        return;
    case PROTO_UDP:
        udp_packet(st, &p, vh && (vh->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_UDP_L4 ? vh->gso_size : 0);
        break;
    case PROTO_ICMP:
    case PROTO_ICMP6:
        if ((p.proto == PROTO_ICMP) == (p.dst.ver == 4))
            icmp_packet(st, &p);
        break;
    default: break;
    }
    pool_put(&st->rx, b);
}

static void on_tun(struct io *io, uint32_t ready)
{
    struct stack *st = container_of(io, struct stack, tun);
    size_t head = st->vnet ? VNET_HEADER : 0;
    uint8_t lost[64];

    st->in_batch = true;
    for (int i = 0; i < BATCH; i++) {
        struct rxbuf *b = pool_get(&st->rx);
        struct virtio_net_hdr vh = { 0 };
        ssize_t n = read(io->fd, b ? b->data + RX_IP - head : lost, b ? RX_ROOM + head : sizeof(lost));

        if (n <= (ssize_t)head) {
            pool_put(&st->rx, b);
            if (n < 0 && errno != EAGAIN && errno != EINTR) {
                log_err(LOG_TUN, "the device cannot be read: %s", strerror(errno));
                io_want(io, 0);
            }
            break;
        }
        st->stats.rx_packets++;
        st->stats.rx_bytes += (uint64_t)n;
        if (!b) { /* no memory: the packet is lost, for one that stayed would keep us busy */
            st->stats.dropped++;
            continue;
        }
        memcpy(&vh, b->data + RX_IP - head, head);
        input(st, b, b->data + RX_IP, (size_t)n - head, &vh);
    }
    st->in_batch = false;
    tcp_flush(st);
}

/* ---- life ---- */

static err_t out_packet(struct netif *n, struct pbuf *p, int ver)
{
    struct stack *st = n->state;
    struct iovec iov[64];
    struct endpoint from, to;
    uint8_t *ip = p->payload, *th;
    uint32_t ihl = ver == 4 ? (ip[0] & 15u) * 4 : IP6_HEADER, l4 = p->tot_len - ihl, header, mss, pieces = 0;
    uint16_t gso = 0, theirs;

    for (struct pbuf *q = p; q && pieces < 64; q = q->next)
        if (q->len)
            iov[pieces++] = (struct iovec){ q->payload, q->len };
    if (!st->csum) {
        tun_write(st, iov, (int)pieces, 0, 0, 0, 0, 0);
        return ERR_OK;
    }
    th = ip + ihl; /* lwIP puts IP and TCP header in one pbuf */
    header = (th[12] >> 4) * 4u;
    from = (struct endpoint){ { .ver = (uint8_t)ver }, get16(th) };
    to = (struct endpoint){ { .ver = (uint8_t)ver }, get16(th + 2) };
    memcpy(from.ip.b, ip + (ver == 4 ? 12 : 8), addr_len(&from.ip));
    memcpy(to.ip.b, ip + (ver == 4 ? 16 : 24), addr_len(&to.ip));
    put16(th + 16, packet_pseudo_sum(&from.ip, &to.ip, PROTO_TCP, l4));
    mss = st->mtu - ihl - TCP_HEADER;
    if (st->tso && l4 > header) {
        theirs = tcp_peer_mss(st, &to, &from);
        mss = theirs < mss ? theirs : mss;
        gso = l4 - header > mss ? (uint16_t)mss : 0;
    }
    tun_write(st, iov, (int)pieces, (uint16_t)ihl, 16, ver == 4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6, gso,
              (uint16_t)(ihl + header));
    return ERR_OK;
}

static err_t out4(struct netif *n, struct pbuf *p, const ip4_addr_t *to)
{
    return out_packet(n, p, 4);
}

static err_t out6(struct netif *n, struct pbuf *p, const ip6_addr_t *to)
{
    return out_packet(n, p, 6);
}

static err_t netif_up(struct netif *n)
{
    struct stack *st = n->state;

    n->name[0] = 't';
    n->name[1] = 'n';
    n->mtu = (u16_t)st->mtu;
    n->output = out4;
    n->output_ip6 = out6;
    return ERR_OK;
}

static int start_lwip(struct stack *st)
{
    static bool once;
    ip4_addr_t any = { 0 };

    if (!once)
        lwip_init();
    once = true;
    if (!netif_add(&st->netif, &any, &any, &any, st, netif_up, NULL))
        return -ENOMEM;
    netif_set_default(&st->netif);
    netif_set_up(&st->netif);
    netif_set_link_up(&st->netif);
    NETIF_SET_CHECKSUM_CTRL(&st->netif, NETIF_CHECKSUM_GEN_IP | (st->csum ? 0 : NETIF_CHECKSUM_GEN_TCP));
    return tcp_glue_init(st);
}

int stack_new(const struct stack_opts *o, struct stack **out)
{
    struct stack *st;
    int r;

    if (the_stack)
        return -EBUSY;
    if (!(st = calloc(1, sizeof(*st))))
        return -ENOMEM;
    st->loop = o->loop;
    st->sink = o->sink;
    st->mtu = o->mtu;
    st->vnet = o->vnet_hdr;
    st->csum = o->vnet_hdr && o->csum;
    st->tso = st->csum && o->tso;
    st->uso = st->csum && o->uso;
    st->own4 = o->own4;
    st->own6 = o->own6;
    st->max_flows = o->max_flows;
    st->budget = o->budget ? o->budget : 256u << 20;
    st->resets.rate = 200;
    st->errors.rate = 100;
    list_init(&st->all);
    list_init(&st->hot);
    list_init(&st->dirty);
    frag_init(&st->frags);
    pool_init(&st->rx, sizeof(struct rxbuf), 16);
    pool_init(&st->chunks, sizeof(struct chunk) + CHUNK_BYTES, 32);
    st->tun.cb = on_tun;
    the_stack = st;
    if ((r = map_init(&st->flows, 256)) == 0 && (r = start_lwip(st)) == 0 && (r = io_watch(st->loop, &st->tun, o->tun_fd, IO_READ)) == 0) {
        *out = st;
        return 0;
    }
    stack_free(st);
    return r;
}

void stack_free(struct stack *st)
{
    if (!st)
        return;
    io_unwatch(&st->tun);
    tcp_glue_fini(st);
    udp_train_end(st);
    timer_cancel(&st->tick);
    job_cancel(&st->flush);
    if (st->netif.state)
        netif_remove(&st->netif);
    map_fini(&st->flows);
    frag_fini(&st->frags);
    pool_fini(&st->rx);
    pool_fini(&st->chunks);
    the_stack = NULL;
    free(st);
}

void stack_stats(const struct stack *st, struct stack_stats *out)
{
    *out = st->stats;
    out->tcp_flows = st->n_flows;
    out->held_syns = st->n_held;
    out->hot_flows = st->n_hot;
    out->buffers = st->buffers;
}
