/*
 * udp.c - datagrams straight from the packet and back, without lwIP
 *
 * In: one packet is one datagram, or (UDP segmentation offload) many of equal size one behind the other. Out: a header in front of the payload,
 * which is not copied; fragments when it is larger than the MTU.
 */
#include <errno.h>
#include <string.h>

#include "tun2socks/private.h"

void udp_packet(struct stack *st, const struct packet *p, uint16_t gso_size)
{
    struct flow_meta m = { .net = FLOW_UDP, .via = FLOW_VIA_TUN };
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

int stack_udp_send(struct stack *st, const struct endpoint *from, const struct endpoint *to, const void *buf, size_t len)
{
    uint8_t head[IP6_HEADER + UDP_HEADER], *udp;
    uint32_t ihl = ip_header_len(from->ip.ver), total = UDP_HEADER + (uint32_t)len, room, id;
    uint16_t pseudo, check;

    if (len > 65507 || from->ip.ver != to->ip.ver || !addr_is_set(&from->ip))
        return -EINVAL;
    udp = head + ihl;
    put16(udp, from->port);
    put16(udp + 2, to->port);
    put16(udp + 4, (uint16_t)total);
    put16(udp + 6, 0);
    pseudo = packet_pseudo_sum(&from->ip, &to->ip, PROTO_UDP, total);
    if (ihl + total <= st->mtu && st->csum) {
        packet_put_ip(head, &from->ip, &to->ip, PROTO_UDP, total, st->ip_id++);
        put16(udp + 6, pseudo);
        tun_write(st, (struct iovec[]){ { head, ihl + UDP_HEADER }, { (void *)buf, len } }, 2, (uint16_t)ihl, 6, 0, 0, 0);
        return 0;
    }
    check = packet_checksum((uint16_t)~packet_checksum(pseudo, udp, UDP_HEADER), buf, len);
    put16(udp + 6, check ? check : 0xffff); /* RFC 768: zero would mean none */
    if (ihl + total <= st->mtu) {
        packet_put_ip(head, &from->ip, &to->ip, PROTO_UDP, total, st->ip_id++);
        tun_write(st, (struct iovec[]){ { head, ihl + UDP_HEADER }, { (void *)buf, len } }, 2, 0, 0, 0, 0, 0);
        return 0;
    }
    room = (st->mtu - ihl - (from->ip.ver == 6 ? 8 : 0)) & ~7u;
    id = st->ip_id++;
    for (uint32_t at = 0; at < total; at += room) {
        uint32_t n = total - at < room ? total - at : room;

        send_fragment(st, from, to, udp, buf, at, n, at + n < total, id);
    }
    return 0;
}

void stack_udp_refuse(struct stack *st, const struct endpoint *src, const struct endpoint *dst, int err)
{
    uint8_t quote[IP6_HEADER + UDP_HEADER]; /* the datagram is gone; its headers are what the kernel looks at */
    uint32_t ihl;

    if (src->ip.ver != dst->ip.ver || !addr_is_set(&src->ip))
        return;
    ihl = packet_put_ip(quote, &src->ip, &dst->ip, PROTO_UDP, UDP_HEADER, 0);
    put16(quote + ihl, src->port);
    put16(quote + ihl + 2, dst->port);
    put16(quote + ihl + 4, UDP_HEADER);
    put16(quote + ihl + 6, 0);
    icmp_error(st, &src->ip, &dst->ip, quote, ihl + UDP_HEADER, err);
}
