/*
 * packet.h - IP packets: taken apart with every length checked, and built
 *
 * Pure. Formats: RFC 791, RFC 8200, RFC 768, RFC 792, RFC 4443, RFC 9293.
 */
#ifndef TUN2SOCKS_PACKET_H
#define TUN2SOCKS_PACKET_H

#include "core/addr.h"

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };

struct packet {
    uint8_t *ip;      /* start of the IP header; borrowed */
    uint32_t len;     /* by the header, never more than what was read */
    uint8_t proto;    /* of the payload, behind IPv6 extension headers */
    uint8_t *l4;      /* payload */
    uint32_t l4_len;
    struct addr src, dst;
    bool is_fragment; /* then l4 is a piece of a payload */
    bool more;
    uint16_t frag_off; /* bytes */
    uint32_t frag_id;
};

/* Takes the header apart. 0; -EBADMSG for what no sane host sends; -EPROTONOSUPPORT for ESP, AH and unknown extension headers. */
int packet_parse(struct packet *p, uint8_t *buf, size_t n);
/* Is the TCP header inside, and are its options well-formed? (lwIP reads one byte past malformed ones.) */
bool packet_tcp_ok(const struct packet *p);

#define IP4_HEADER 20
#define IP6_HEADER 40
#define UDP_HEADER 8
#define TCP_HEADER 20

static inline uint32_t ip_header_len(int ver)
{
    return ver == 4 ? IP4_HEADER : IP6_HEADER;
}
/* Writes an IP header (no options, hop limit 64) for len bytes of payload into buf; returns its length. */
uint32_t packet_put_ip(uint8_t *buf, const struct addr *src, const struct addr *dst, uint8_t proto, uint32_t len, uint16_t id);
/* Folded, not inverted sum over the pseudo header of the upper protocol (RFC 9293 section 3.1, RFC 8200 section 8.1). */
uint16_t packet_pseudo_sum(const struct addr *src, const struct addr *dst, uint8_t proto, uint32_t len);
/* Internet checksum (RFC 1071) of bytes, starting from a folded sum; ready to be stored. */
uint16_t packet_checksum(uint16_t start, const void *p, size_t len);

/* The six bits of RFC 2474. */
static inline uint8_t packet_dscp(const struct packet *p)
{
    return p->dst.ver == 4 ? p->ip[1] >> 2 : (uint8_t)((p->ip[0] & 15) << 2 | p->ip[1] >> 6);
}

static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}
static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

#endif
