/*
 * addr.h - one address type for IPv4 and IPv6; endpoints, prefixes, destinations
 *
 * Plain values, compared with the functions below, never with memcmp (ports and padding). An IPv4-mapped IPv6
 * address (::ffff:a.b.c.d) never appears in a struct addr: every constructor unmaps it.
 */
#ifndef CORE_ADDR_H
#define CORE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
    uint8_t ver;   /* 4, 6, or 0 = no address */
    uint8_t b[16]; /* network order; IPv4 uses the first four, the rest is zero */
};

struct endpoint {
    struct addr ip;
    uint16_t port; /* host order */
};

struct cidr {
    struct addr ip; /* host bits are zero */
    uint8_t len;    /* prefix length, 0..32 or 0..128 */
};

/* Where a flow wants to go. host (lower case, no final dot, at most 255 bytes) is NULL when only the address is
 * known; at.ip.ver is 0 when only the name is. Borrowed: the maker says how long host lives. */
struct dest {
    struct endpoint at;
    const char *host;
};

#define ADDR_STRLEN 48     /* room for any address text with its NUL */
#define ENDPOINT_STRLEN 56 /* "[address]:port" with its NUL */
#define HOST_MAX 255       /* longest host name in bytes, without NUL */

struct addr addr_v4(const uint8_t b[4]);
struct addr addr_v6(const uint8_t b[16]); /* unmaps ::ffff:0:0/96 */
static inline bool addr_is_set(const struct addr *a)
{
    return a->ver != 0;
}
/* Bytes of the address: 4, 16, or 0. */
static inline size_t addr_len(const struct addr *a)
{
    return a->ver == 4 ? 4 : a->ver == 6 ? 16 : 0;
}
bool addr_eq(const struct addr *a, const struct addr *b);
bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);
bool addr_is_unspecified(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
bool addr_is_multicast(const struct addr *a);
bool addr_is_link_local(const struct addr *a);
/* RFC 1918, 100.64/10, link-local, loopback, fc00::/7: what a subscription must not make us fetch from. */
bool addr_is_private(const struct addr *a);

/* Parses "1.2.3.4" or "::1" (no brackets, no zone). Returns 0 or -EINVAL; *out untouched on error. */
int addr_parse(const char *s, struct addr *out);
/* Parses "ADDR/LEN"; a bare address gets its full length. Host bits are cleared. 0 or -EINVAL. */
int cidr_parse(const char *s, struct cidr *out);
/* The prefix of len bits that begins with the n = 4 or 16 bytes at b (::ffff:0:0/96 and longer is IPv4). Host bits are cleared. 0 or -EINVAL. */
int cidr_from(const uint8_t *b, size_t n, unsigned len, struct cidr *out);
bool cidr_contains(const struct cidr *c, const struct addr *a);
/* Parses "1.2.3.4:80" or "[::1]:80"; 0 or -EINVAL. */
int endpoint_parse(const char *s, struct endpoint *out);
/* Splits "host:port", "[v6]:port" or "host" (port stays 0) into host (NUL-terminated, at most HOST_MAX) and port. 0 or -EINVAL. */
int hostport_split(const char *s, char host[HOST_MAX + 1], uint16_t *port);
/* Lower-cases, drops one final dot, checks length (1..253) and labels (1..63, no NUL, blank or control byte). out has
 * HOST_MAX+1 bytes. 0 or -EINVAL. RFC 1035 section 2.3.4; other bytes are left alone (IDN, underscores). */
int host_normalise(const char *s, size_t len, char out[HOST_MAX + 1]);

/* Writes text into buf and returns buf. IPv6 endpoints get brackets. */
const char *addr_str(const struct addr *a, char buf[ADDR_STRLEN]);
const char *endpoint_str(const struct endpoint *e, char buf[ENDPOINT_STRLEN]);
/* "host:port" or "addr:port"; buf must have HOST_MAX + 8 bytes. */
#define DEST_STRLEN (HOST_MAX + 8)
const char *dest_str(const struct dest *d, char buf[DEST_STRLEN]);

/* sockaddr in and out. endpoint_from_sockaddr returns -EAFNOSUPPORT for other families. */
socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss);
int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *out);

/* Keyed hash (SipHash, per-process random key) over address and port. */
uint64_t endpoint_hash(const struct endpoint *e);

#endif
