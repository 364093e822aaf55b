/*
 * atyp.c - addresses as SOCKS5 writes them
 */
#include "outbound/atyp.h"

#include <string.h>

#include "core/err.h"

static size_t put_port(uint8_t *out, size_t n, uint16_t port)
{
    out[n] = (uint8_t)(port >> 8);
    out[n + 1] = (uint8_t)port;
    return n + 2;
}

static size_t put_addr(uint8_t *out, const struct addr *ip, uint16_t port)
{
    size_t len = addr_len(ip);

    if (!len)
        return 0;
    out[0] = ip->ver == 4 ? ATYP_V4 : ATYP_V6;
    memcpy(out + 1, ip->b, len);
    return put_port(out, 1 + len, port);
}

size_t atyp_put(uint8_t out[ATYP_MAX], const struct dest *to)
{
    size_t len = to->host ? strlen(to->host) : 0;
    struct addr ip;

    if (!len || len > HOST_MAX)
        return put_addr(out, &to->at.ip, to->at.port);
    if (addr_parse(to->host, &ip) == 0)
        return put_addr(out, &ip, to->at.port);
    out[0] = ATYP_NAME;
    out[1] = (uint8_t)len;
    memcpy(out + 2, to->host, len);
    return put_port(out, 2 + len, to->at.port);
}

/* A name that spells an address is one. */
static bool spells_address(const struct span *name, struct addr *ip)
{
    char text[ADDR_STRLEN];

    if (!name->len || name->len >= sizeof(text) || memchr(name->p, 0, name->len))
        return false;
    memcpy(text, name->p, name->len);
    text[name->len] = 0;
    return addr_parse(text, ip) == 0;
}

void atyp_get(struct rd *r, struct endpoint *at, struct span *name)
{
    uint8_t type = rd_u8(r);
    struct span b;

    *at = (struct endpoint){ 0 };
    *name = (struct span){ r->p, 0 };
    switch (type) {
    case ATYP_V4: b = rd_span(r, 4); break;
    case ATYP_V6: b = rd_span(r, 16); break;
    case ATYP_NAME: b = rd_span(r, rd_u8(r)); break;
    default: r->bad = true; return;
    }
    at->port = rd_be16(r);
    if (!rd_ok(r) || !b.len)
        r->bad = true;
    else if (type == ATYP_V4)
        at->ip = addr_v4(b.p);
    else if (type == ATYP_V6)
        at->ip = addr_v6(b.p);
    else if (!spells_address(&b, &at->ip))
        *name = b;
}

int sender_set(struct sender *s, const struct endpoint *at, const struct span *name)
{
    s->at = *at;
    s->host[0] = 0;
    if (addr_is_set(&at->ip))
        return 0;
    return name->len && host_normalise((const char *)name->p, name->len, s->host) == 0 ? 0 : -ERR_PROTO;
}

void sender_get(struct rd *r, struct sender *s)
{
    struct endpoint at;
    struct span name;

    atyp_get(r, &at, &name);
    if (sender_set(s, &at, &name) < 0)
        r->bad = true;
}
