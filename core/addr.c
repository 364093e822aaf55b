/*
 * addr.c - addresses, endpoints, prefixes and host names: values and their text
 *
 *   text  --parse-->  struct addr / cidr / endpoint  --str-->  text          and sockaddr in and out
 *
 * Everything that makes an address goes through addr_v4() or addr_v6(), so a mapped one (::ffff:a.b.c.d) is an IPv4 address from there on
 * and bytes behind an IPv4 address are zero. The C library reads and writes addresses (inet_pton, inet_ntop); numbers are read here,
 * because strtoul takes signs and blanks. Nothing is allocated; text goes into the caller's buffers.
 */
#include "core/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/hash.h"

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff }; /* RFC 4291 section 2.5.5.2 */

struct addr addr_v4(const uint8_t b[4])
{
    struct addr a = { .ver = 4 };

    memcpy(a.b, b, 4);
    return a;
}

struct addr addr_v6(const uint8_t b[16])
{
    struct addr a = { .ver = 6 };

    if (!memcmp(b, mapped, sizeof(mapped)))
        return addr_v4(b + 12);
    memcpy(a.b, b, 16);
    return a;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->ver == b->ver && !memcmp(a->b, b->b, addr_len(a));
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && addr_eq(&a->ip, &b->ip);
}

static bool in(const struct addr *a, const char *prefix)
{
    struct cidr c;

    return cidr_parse(prefix, &c) == 0 && cidr_contains(&c, a);
}

bool addr_is_unspecified(const struct addr *a)
{
    static const uint8_t zero[16];

    return a->ver && !memcmp(a->b, zero, addr_len(a));
}

bool addr_is_loopback(const struct addr *a)
{
    return a->ver == 4 ? a->b[0] == 127 : in(a, "::1/128");
}

bool addr_is_multicast(const struct addr *a)
{
    return a->ver == 4 ? (a->b[0] & 0xf0) == 0xe0 : a->ver == 6 && a->b[0] == 0xff;
}

bool addr_is_link_local(const struct addr *a)
{
    return a->ver == 4 ? a->b[0] == 169 && a->b[1] == 254 : a->ver == 6 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool addr_is_private(const struct addr *a)
{
    static const char *const nets[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7" };

    if (addr_is_loopback(a) || addr_is_link_local(a))
        return true;
    for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
        if (in(a, nets[i]))
            return true;
    return false;
}

int addr_parse(const char *s, struct addr *out)
{
    uint8_t b[16];

    if (inet_pton(AF_INET, s, b) == 1)
        *out = addr_v4(b);
    else if (inet_pton(AF_INET6, s, b) == 1)
        *out = addr_v6(b);
    else
        return -EINVAL;
    return 0;
}

static void clear_host_bits(struct cidr *c)
{
    for (size_t bit = c->len; bit < addr_len(&c->ip) * 8; bit++)
        c->ip.b[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
}

static int small_number(const char *s, unsigned max, unsigned *out)
{
    unsigned long v = 0;

    if (!*s || strlen(s) > 5)
        return -EINVAL;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return -EINVAL;
        v = v * 10 + (unsigned long)(*s - '0');
    }
    if (v > max)
        return -EINVAL;
    *out = (unsigned)v;
    return 0;
}

int cidr_from(const uint8_t *b, size_t n, unsigned len, struct cidr *out)
{
    struct cidr c = { 0 };

    if ((n != 4 && n != 16) || len > n * 8)
        return -EINVAL;
    c.ip = n == 4 ? addr_v4(b) : addr_v6(b);
    if (n == 16 && c.ip.ver == 4) { /* ::ffff:a.b.c.d/n */
        if (len < 96)
            return -EINVAL;
        len -= 96;
    }
    c.len = (uint8_t)len;
    clear_host_bits(&c);
    *out = c;
    return 0;
}

int cidr_parse(const char *s, struct cidr *out)
{
    const char *slash = strchr(s, '/');
    char text[ADDR_STRLEN];
    size_t n = slash ? (size_t)(slash - s) : strlen(s), bytes = 4;
    uint8_t raw[16];
    unsigned len;

    if (n >= sizeof(text))
        return -EINVAL;
    memcpy(text, s, n);
    text[n] = 0;
    if (inet_pton(AF_INET, text, raw) != 1) {
        bytes = 16;
        if (inet_pton(AF_INET6, text, raw) != 1)
            return -EINVAL;
    }
    if (!slash)
        len = (unsigned)bytes * 8;
    else if (small_number(slash + 1, (unsigned)bytes * 8, &len) < 0)
        return -EINVAL;
    return cidr_from(raw, bytes, len, out);
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
    unsigned whole = c->len / 8, rest = c->len % 8;

    if (!c->ip.ver || c->ip.ver != a->ver || memcmp(c->ip.b, a->b, whole) != 0)
        return false;
    return !rest || !((c->ip.b[whole] ^ a->b[whole]) >> (8 - rest));
}

int hostport_split(const char *s, char host[HOST_MAX + 1], uint16_t *port)
{
    const char *end, *colon;
    unsigned p = 0;
    size_t n;

    if (*s == '[') {
        if (!(end = strchr(++s, ']')) || (end[1] && end[1] != ':'))
            return -EINVAL;
        colon = end[1] ? end + 1 : NULL;
    } else {
        colon = strchr(s, ':');
        if (colon && strchr(colon + 1, ':'))
            colon = NULL; /* a bare IPv6 address */
        end = colon ? colon : s + strlen(s);
    }
    n = (size_t)(end - s);
    if (!n || n > HOST_MAX || (colon && small_number(colon + 1, 65535, &p) < 0))
        return -EINVAL;
    memcpy(host, s, n);
    host[n] = 0;
    *port = (uint16_t)p;
    return 0;
}

int endpoint_parse(const char *s, struct endpoint *out)
{
    char host[HOST_MAX + 1];
    struct endpoint e = { 0 };

    if (hostport_split(s, host, &e.port) < 0 || !e.port || addr_parse(host, &e.ip) < 0)
        return -EINVAL;
    *out = e;
    return 0;
}

int host_normalise(const char *s, size_t len, char out[HOST_MAX + 1])
{
    size_t label = 0;

    if (len && s[len - 1] == '.')
        len--;
    if (!len || len > 253)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if (c == '.' ? !label : c <= ' ' || c == 127 || label == 63)
            return -EINVAL;
        label = c == '.' ? 0 : label + 1;
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    out[len] = 0;
    return label ? 0 : -EINVAL;
}

const char *addr_str(const struct addr *a, char buf[ADDR_STRLEN])
{
    if (!a->ver || !inet_ntop(a->ver == 4 ? AF_INET : AF_INET6, a->b, buf, ADDR_STRLEN))
        snprintf(buf, ADDR_STRLEN, "-");
    return buf;
}

const char *endpoint_str(const struct endpoint *e, char buf[ENDPOINT_STRLEN])
{
    char a[ADDR_STRLEN];

    snprintf(buf, ENDPOINT_STRLEN, e->ip.ver == 6 ? "[%s]:%u" : "%s:%u", addr_str(&e->ip, a), e->port);
    return buf;
}

const char *dest_str(const struct dest *d, char buf[DEST_STRLEN])
{
    char at[ENDPOINT_STRLEN];

    if (d->host)
        snprintf(buf, DEST_STRLEN, "%s:%u", d->host, d->at.port);
    else
        snprintf(buf, DEST_STRLEN, "%s", endpoint_str(&d->at, at));
    return buf;
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (e->ip.ver == 6) {
        struct sockaddr_in6 *s6 = (struct sockaddr_in6 *)ss;

        s6->sin6_family = AF_INET6;
        s6->sin6_port = htons(e->port);
        memcpy(&s6->sin6_addr, e->ip.b, 16);
        return sizeof(*s6);
    }
    struct sockaddr_in *s4 = (struct sockaddr_in *)ss;

    s4->sin_family = AF_INET;
    s4->sin_port = htons(e->port);
    memcpy(&s4->sin_addr, e->ip.b, 4);
    return sizeof(*s4);
}

int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *out)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *s4 = (const struct sockaddr_in *)sa;

        *out = (struct endpoint){ addr_v4((const uint8_t *)&s4->sin_addr), ntohs(s4->sin_port) };
        return 0;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *s6 = (const struct sockaddr_in6 *)sa;

        *out = (struct endpoint){ addr_v6((const uint8_t *)&s6->sin6_addr), ntohs(s6->sin6_port) };
        return 0;
    }
    return -EAFNOSUPPORT;
}

uint64_t endpoint_hash(const struct endpoint *e)
{
    uint8_t key[19];

    key[0] = e->ip.ver;
    key[1] = (uint8_t)(e->port >> 8);
    key[2] = (uint8_t)e->port;
    memcpy(key + 3, e->ip.b, addr_len(&e->ip));
    return hash_bytes(key, 3 + addr_len(&e->ip));
}
