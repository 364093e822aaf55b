/*
 * packet.c - IP packets: taken apart with every length checked, and built
 *
 * The length that counts is the header's own, which must fit what was read: with offloads the read is the truth of the device and the header the
 * truth of the packet. IPv6 extension headers are walked, at most eight; a type 0 routing header is refused (RFC 5095).
 */
#include "tun2socks/packet.h"

#include <errno.h>
#include <string.h>

#define EXTENSIONS_MAX 8
enum { EXT_HOP = 0, EXT_ROUTING = 43, EXT_FRAGMENT = 44, EXT_DESTINATION = 60 };

static int parse4(struct packet *p, uint8_t *b, size_t n)
{
    uint32_t ihl = (b[0] & 15u) * 4, total;
    uint16_t frag;

    if (n < IP4_HEADER || ihl < IP4_HEADER)
        return -EBADMSG;
    total = get16(b + 2);
    if (total < ihl || total > n)
        return -EBADMSG;
    frag = get16(b + 6);
    p->len = total;
    p->proto = b[9];
    p->l4 = b + ihl;
    p->l4_len = total - ihl;
    p->more = frag & 0x2000;
    p->frag_off = (uint16_t)((frag & 0x1fff) * 8);
    p->is_fragment = p->more || p->frag_off;
    p->frag_id = get16(b + 4);
    p->src = addr_v4(b + 12);
    p->dst = addr_v4(b + 16);
    return 0;
}

/* Walks the extension headers. A datagram that has a fragment header and is whole all the same is no fragment (RFC 6946). */
static int walk6(struct packet *p, uint8_t next, uint32_t at)
{
    for (int i = 0;; i++) {
        uint32_t left = p->len - at, len;
        uint8_t *h = p->ip + at;

        switch (next) {
        case PROTO_TCP:
        case PROTO_UDP:
        case PROTO_ICMP6:
            p->proto = next;
            p->l4 = h;
            p->l4_len = left;
            return 0;
        case EXT_HOP: case EXT_ROUTING: case EXT_FRAGMENT: case EXT_DESTINATION: break;
        default: return -EPROTONOSUPPORT;
        }
        if (i == EXTENSIONS_MAX)
            return -EPROTONOSUPPORT;
        if (left < 8 || (len = next == EXT_FRAGMENT ? 8 : (h[1] + 1u) * 8) > left || (next == EXT_ROUTING && h[2] == 0))
            return -EBADMSG;
        if (next == EXT_FRAGMENT && get16(h + 2) & 0xfff9) { /* what follows is a piece, whatever it is */
            p->proto = h[0];
            p->l4 = h + 8;
            p->l4_len = left - 8;
            p->frag_off = get16(h + 2) & 0xfff8;
            p->more = h[3] & 1;
            p->frag_id = get32(h + 4);
            p->is_fragment = true;
            return 0;
        }
        next = h[0];
        at += len;
    }
}

static int parse6(struct packet *p, uint8_t *b, size_t n)
{
    if (n < IP6_HEADER)
        return -EBADMSG;
    p->len = IP6_HEADER + (uint32_t)get16(b + 4);
    if (p->len > n)
        return -EBADMSG;
    p->src = (struct addr){ .ver = 6 }; /* not unmapped: a mapped address on the wire is refused below */
    p->dst = (struct addr){ .ver = 6 };
    memcpy(p->src.b, b + 8, 16);
    memcpy(p->dst.b, b + 24, 16);
    if (addr_v6(b + 8).ver == 4 || addr_v6(b + 24).ver == 4)
        return -EBADMSG;
    return walk6(p, b[6], IP6_HEADER);
}

int packet_parse(struct packet *p, uint8_t *buf, size_t n)
{
    int r;

    memset(p, 0, sizeof(*p));
    p->ip = buf;
    if (n < 1)
        return -EBADMSG;
    r = buf[0] >> 4 == 4 ? parse4(p, buf, n) : buf[0] >> 4 == 6 ? parse6(p, buf, n) : -EBADMSG;
    if (r == 0 && addr_is_multicast(&p->src))
        return -EBADMSG;
    return r;
}

bool packet_tcp_ok(const struct packet *p)
{
    uint32_t len, at = TCP_HEADER;

    if (p->l4_len < TCP_HEADER)
        return false;
    len = (p->l4[12] >> 4) * 4u;
    if (len < TCP_HEADER || len > p->l4_len)
        return false;
    while (at < len) {
        uint8_t kind = p->l4[at];

        if (kind == 0)
            return true;
        if (kind == 1) {
            at++;
            continue;
        }
        if (at + 1 >= len || p->l4[at + 1] < 2 || at + p->l4[at + 1] > len)
            return false;
        at += p->l4[at + 1];
    }
    return true;
}

static uint64_t sum(uint64_t s, const uint8_t *p, size_t len)
{
    for (; len >= 4; p += 4, len -= 4)
        s += get32(p);
    if (len >= 2) {
        s += get16(p);
        p += 2;
        len -= 2;
    }
    return len ? s + ((uint64_t)p[0] << 8) : s;
}

static uint16_t fold(uint64_t s)
{
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)s;
}

uint16_t packet_pseudo_sum(const struct addr *src, const struct addr *dst, uint8_t proto, uint32_t len)
{
    return fold(sum(sum((uint64_t)proto + len, src->b, addr_len(src)), dst->b, addr_len(dst)));
}

uint16_t packet_checksum(uint16_t start, const void *p, size_t len)
{
    return (uint16_t)~fold(sum(start, p, len));
}

uint32_t packet_put_ip(uint8_t *b, const struct addr *src, const struct addr *dst, uint8_t proto, uint32_t len, uint16_t id)
{
    if (src->ver == 6) {
        memset(b, 0, 8);
        b[0] = 0x60;
        put16(b + 4, (uint16_t)len);
        b[6] = proto;
        b[7] = 64;
        memcpy(b + 8, src->b, 16);
        memcpy(b + 24, dst->b, 16);
        return IP6_HEADER;
    }
    memset(b, 0, IP4_HEADER);
    b[0] = 0x45;
    put16(b + 2, (uint16_t)(IP4_HEADER + len));
    put16(b + 4, id);
    b[8] = 64;
    b[9] = proto;
    memcpy(b + 12, src->b, 4);
    memcpy(b + 16, dst->b, 4);
    put16(b + 10, packet_checksum(0, b, IP4_HEADER));
    return IP4_HEADER;
}
