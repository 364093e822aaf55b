/*
 * udp.c - datagrams straight from the packet and back, without lwIP
 *
 * In: one packet is one datagram, or (UDP segmentation offload) many of equal size one behind the other. Out: a header in front of the payload,
 * which is not copied; fragments when it is larger than the MTU. With the offload a burst from one peer to one program goes out as one packet, too: the first
 * datagram at once, so that a lone one waits for nothing; those of its size that follow within the turn ride together.
 */
#include <errno.h>
#include <string.h>

#include "tun2socks/private.h"

void udp_packet(struct stack *st, const struct packet *p, uint16_t gso_size)
{
    struct flow_meta m = { .net = FLOW_UDP, .via = FLOW_VIA_TUN, .dscp = packet_dscp(p), .in_name = flow_in_name(FLOW_VIA_TUN) };
    uint32_t len, piece;

    if (p->l4_len < UDP_HEADER)
        return;
    len = get16(p->l4 + 4);
    if (gso_size || len == 0) /* a batch counts by the packet's own length */
        len = p->l4_len;
    if (len < UDP_HEADER || len > p->l4_len || !get16(p->l4 + 2))
        return;
    len -= UDP_HEADER;
    m.src = (struct endpoint){ p->src, get16(p->l4) };
    m.orig = m.dst.at = (struct endpoint){ p->dst, get16(p->l4 + 2) };
    piece = gso_size ? gso_size : len;
    if (!len)
        st->sink->udp(st->sink, &m, p->l4 + UDP_HEADER, 0);
    for (uint32_t at = 0; at < len; at += piece)
        st->sink->udp(st->sink, &m, p->l4 + UDP_HEADER + at, len - at < piece ? len - at : piece);
}

static void put_udp(uint8_t *udp, uint16_t from, uint16_t to, uint32_t total, uint16_t check)
{
    put16(udp, from);
    put16(udp + 2, to);
    put16(udp + 4, (uint16_t)total);
    put16(udp + 6, check);
}

/* One fragment: n payload bytes (header included in the first) from at. */
static void send_fragment(struct stack *st, const struct endpoint *from, const struct endpoint *to, const uint8_t *udp, const uint8_t *data,
                          uint32_t at, uint32_t n, bool more, uint32_t id)
{
    uint8_t head[IP6_HEADER + 8];
    uint32_t ihl, in_udp = at < UDP_HEADER ? UDP_HEADER - at : 0;
    struct iovec iov[3];
    int k = 0;

    if (from->ip.ver == 4) {
        ihl = packet_put_ip(head, &from->ip, &to->ip, PROTO_UDP, n, (uint16_t)id);
        put16(head + 6, (uint16_t)((more ? 0x2000 : 0) | at / 8));
        put16(head + 10, 0);
        put16(head + 10, packet_checksum(0, head, IP4_HEADER));
    } else {
        ihl = packet_put_ip(head, &from->ip, &to->ip, 44, n + 8, 0);
        memset(head + ihl, 0, 8);
        head[ihl] = PROTO_UDP;
        put16(head + ihl + 2, (uint16_t)(at | more));
        put32(head + ihl + 4, id);
        ihl += 8;
    }
    iov[k++] = (struct iovec){ head, ihl };
    if (in_udp)
        iov[k++] = (struct iovec){ (void *)udp, UDP_HEADER };
    iov[k++] = (struct iovec){ (void *)(data + (in_udp ? 0 : at - UDP_HEADER)), n - in_udp };
    tun_write(st, iov, k, 0, 0, 0, 0, 0);
}

static void send_datagram(struct stack *st, const struct endpoint *from, const struct endpoint *to, const void *buf, size_t len)
{
    uint8_t head[IP6_HEADER + UDP_HEADER], *udp;
    uint32_t ihl = ip_header_len(from->ip.ver), total = UDP_HEADER + (uint32_t)len, room, id;
    uint16_t pseudo, check;

    udp = head + ihl;
    put_udp(udp, from->port, to->port, total, 0);
    pseudo = packet_pseudo_sum(&from->ip, &to->ip, PROTO_UDP, total);
    if (ihl + total <= st->mtu && st->csum) {
        packet_put_ip(head, &from->ip, &to->ip, PROTO_UDP, total, st->ip_id++);
        put16(udp + 6, pseudo);
        tun_write(st, (struct iovec[]){ { head, ihl + UDP_HEADER }, { (void *)buf, len } }, 2, (uint16_t)ihl, 6, 0, 0, 0);
        return;
    }
    check = packet_checksum((uint16_t)~packet_checksum(pseudo, udp, UDP_HEADER), buf, len);
    put16(udp + 6, check ? check : 0xffff); /* RFC 768: zero would mean none */
    if (ihl + total <= st->mtu) {
        packet_put_ip(head, &from->ip, &to->ip, PROTO_UDP, total, st->ip_id++);
        tun_write(st, (struct iovec[]){ { head, ihl + UDP_HEADER }, { (void *)buf, len } }, 2, 0, 0, 0, 0, 0);
        return;
    }
    room = (st->mtu - ihl - (from->ip.ver == 6 ? 8 : 0)) & ~7u;
    id = st->ip_id++;
    for (uint32_t at = 0; at < total; at += room) {
        uint32_t n = total - at < room ? total - at : room;

        send_fragment(st, from, to, udp, buf, at, n, at + n < total, id);
    }
}

/* ---- trains ---- */

#define TRAIN_MAX 64

void udp_train_end(struct stack *st)
{
    struct udp_train *t = &st->train;
    uint8_t head[IP6_HEADER + UDP_HEADER];
    uint32_t ihl = ip_header_len(t->from.ip.ver), total = UDP_HEADER + t->len;

    if (t->n == 1) {
        send_datagram(st, &t->from, &t->to, t->mem, t->len);
    } else if (t->n) {
        packet_put_ip(head, &t->from.ip, &t->to.ip, PROTO_UDP, total, st->ip_id);
        put_udp(head + ihl, t->from.port, t->to.port, total, packet_pseudo_sum(&t->from.ip, &t->to.ip, PROTO_UDP, total));
        st->ip_id = (uint16_t)(st->ip_id + t->n); /* the kernel counts on from it */
        tun_write(st, (struct iovec[]){ { head, ihl + UDP_HEADER }, { t->mem, t->len } }, 2, (uint16_t)ihl, 6, VIRTIO_NET_HDR_GSO_UDP_L4, (uint16_t)t->each,
                  (uint16_t)(ihl + UDP_HEADER));
    }
    if (t->mem)
        buf_put(t->mem);
    job_cancel(&t->end);
    t->mem = NULL;
    t->each = t->len = t->n = 0;
}

static void on_train_end(struct job *j)
{
    udp_train_end(container_of(j, struct stack, train.end));
}

static bool train_takes(struct udp_train *t, const struct endpoint *from, const struct endpoint *to, const void *buf, size_t len)
{
    if (!len || len > t->each || t->len + len > BUF_SIZE - 64 || !endpoint_eq(&t->to, to) || !endpoint_eq(&t->from, from))
        return false;
    if (!t->mem && !(t->mem = buf_get()))
        return false;
    memcpy(t->mem + t->len, buf, len);
    t->len += (uint32_t)len;
    t->n++;
    return true;
}

int stack_udp_send(struct stack *st, const struct endpoint *from, const struct endpoint *to, const void *buf, size_t len)
{
    struct udp_train *t = &st->train;

    if (len > 65507 || from->ip.ver != to->ip.ver || !addr_is_set(&from->ip))
        return -EINVAL;
    if (train_takes(t, from, to, buf, len)) {
        if (t->n == TRAIN_MAX || len < t->each) /* a shorter one can only be the last */
            udp_train_end(st);
        return 0;
    }
    udp_train_end(st); /* what waits goes first */
    send_datagram(st, from, to, buf, len);
    if (!st->uso || !len || ip_header_len(from->ip.ver) + UDP_HEADER + len > st->mtu)
        return 0;
    t->from = *from;
    t->to = *to;
    t->each = (uint32_t)len;
    t->end.cb = on_train_end;
    loop_defer(st->loop, &t->end);
    return 0;
}

void stack_udp_refuse(struct stack *st, const struct endpoint *src, const struct endpoint *dst, int err)
{
    uint8_t quote[IP6_HEADER + UDP_HEADER]; /* the datagram is gone; its headers are what the kernel looks at */
    uint32_t ihl;

    if (src->ip.ver != dst->ip.ver || !addr_is_set(&src->ip))
        return;
    ihl = packet_put_ip(quote, &src->ip, &dst->ip, PROTO_UDP, UDP_HEADER, 0);
    put_udp(quote + ihl, src->port, dst->port, UDP_HEADER, 0);
    icmp_error(st, &src->ip, &dst->ip, quote, ihl + UDP_HEADER, err);
}
