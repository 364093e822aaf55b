/*
 * msg.c - DNS messages: taken apart with every length checked, patched in place, built
 *
 *   header 12 | question: name, type, class | records: name, type, class, TTL, length, data ...
 *
 * Names may be compressed (a pointer backwards); a walk follows at most 64 pointers and always backwards, so it ends.
 */
#include "dns/msg.h"

#include <string.h>

#include "core/reader.h"

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* Reads an uncompressed name in lower case. */
static bool read_name(struct rd *r, char out[HOST_MAX + 1])
{
    size_t at = 0;

    for (;;) {
        uint8_t len = rd_u8(r);
        struct span s;

        if (!rd_ok(r) || len > 63)
            return false;
        if (!len)
            break;
        s = rd_span(r, len);
        if (!rd_ok(r) || at + len + 1 > 254)
            return false;
        for (size_t i = 0; i < s.len; i++) {
            uint8_t c = s.p[i];

            if (c <= ' ' || c == '.' || c == 127) /* nothing that a rule could be fooled with */
                return false;
            out[at++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
        out[at++] = '.';
    }
    out[at ? at - 1 : 0] = 0;
    return true;
}

/* Skips a name that may be compressed. */
static bool skip_name(struct rd *r)
{
    for (;;) {
        uint8_t len = rd_u8(r);

        if (!rd_ok(r))
            return false;
        if (!len)
            return true;
        if (len >= 0xc0) {
            rd_u8(r);
            return rd_ok(r);
        }
        if (len > 63)
            return false;
        rd_skip(r, len);
    }
}

enum msg_verdict msg_parse_query(const uint8_t *m, size_t len, struct question *q)
{
    struct rd r = rd_from(m, len);

    memset(q, 0, sizeof(*q));
    q->client_max = 512;
    if (len < DNS_HEADER || m[2] & 0x80)
        return MSG_JUNK;
    if (m[2] & 0x78)
        return MSG_NOTIMP;
    rd_skip(&r, DNS_HEADER);
    if (get16(m + 4) != 1 || !read_name(&r, q->name))
        return MSG_FORMERR;
    q->type = rd_be16(&r);
    q->class_ = rd_be16(&r);
    if (!rd_ok(&r))
        return MSG_FORMERR;
    q->end = (uint16_t)(r.p - m);
    for (unsigned n = get16(m + 6) + get16(m + 8) + get16(m + 10); n; n--) {
        uint16_t type, class_;
        uint32_t ttl;

        if (!skip_name(&r))
            return MSG_FORMERR;
        type = rd_be16(&r);
        class_ = rd_be16(&r);
        ttl = rd_be32(&r);
        rd_skip(&r, rd_be16(&r));
        if (!rd_ok(&r))
            return MSG_FORMERR;
        if (type != T_OPT)
            continue;
        q->has_opt = true;
        q->do_bit = ttl & 0x8000;
        q->client_max = class_ < 512 ? 512 : class_;
    }
    return MSG_GOOD;
}

/* Header and question as they came; flags set; counts zero but the question's. */
static size_t start(const uint8_t *query, const struct question *q, int rcode, uint8_t *out)
{
    memcpy(out, query, q->end);
    out[2] = (uint8_t)(0x84 | (query[2] & 0x01)); /* QR AA, RD as asked */
    out[3] = (uint8_t)(0x80 | rcode);             /* RA */
    put16(out + 4, 1);
    memset(out + 6, 0, 6);
    return q->end;
}

static size_t add_opt(const struct question *q, uint8_t *out, size_t at)
{
    if (!q->has_opt)
        return at;
    memset(out + at, 0, 11);
    put16(out + at + 1, T_OPT);
    put16(out + at + 3, DNS_UDP_MAX);
    out[at + 7] = q->do_bit ? 0x80 : 0;
    put16(out + 10, 1);
    return at + 11;
}

size_t msg_answer(const uint8_t *query, const struct question *q, int rcode, const struct addr *addr, int n, uint32_t ttl, uint8_t *out, size_t size)
{
    size_t at = start(query, q, rcode, out);
    unsigned count = 0;

    for (int i = 0; i < n; i++) {
        size_t len = addr_len(&addr[i]);

        if ((q->type == T_A) != (addr[i].ver == 4) || at + 12 + len + 11 > size)
            continue;
        put16(out + at, 0xc000 | DNS_HEADER);
        put16(out + at + 2, q->type);
        put16(out + at + 4, 1);
        put32(out + at + 6, ttl);
        put16(out + at + 10, (unsigned)len);
        memcpy(out + at + 12, addr[i].b, len);
        at += 12 + len;
        count++;
    }
    put16(out + 6, count);
    return add_opt(q, out, at);
}

/* Text to wire; bytes written, 0 when it does not fit. */
static size_t put_name(const char *name, uint8_t *out, size_t size)
{
    size_t at = 0;

    while (*name) {
        size_t len = strcspn(name, ".");

        if (!len || len > 63 || at + len + 2 > size || at + len + 2 > 255)
            return 0;
        out[at++] = (uint8_t)len;
        memcpy(out + at, name, len);
        at += len;
        name += len;
        if (*name == '.')
            name++;
    }
    if (at >= size)
        return 0;
    out[at++] = 0;
    return at;
}

size_t msg_answer_ptr(const uint8_t *query, const struct question *q, const char *name, uint32_t ttl, uint8_t *out, size_t size)
{
    size_t at = start(query, q, RC_OK, out), len;

    if (at + 12 + 256 + 11 > size || !(len = put_name(name, out + at + 12, 256)))
        return 0;
    put16(out + at, 0xc000 | DNS_HEADER);
    put16(out + at + 2, T_PTR);
    put16(out + at + 4, 1);
    put32(out + at + 6, ttl);
    put16(out + at + 10, (unsigned)len);
    put16(out + 6, 1);
    return add_opt(q, out, at + 12 + len);
}

size_t msg_error(const uint8_t *query, int rcode, uint8_t out[DNS_HEADER])
{
    memcpy(out, query, 4);
    out[2] = (uint8_t)(0x80 | (query[2] & 0x79));
    out[3] = (uint8_t)(0x80 | rcode);
    memset(out + 4, 0, 8);
    return DNS_HEADER;
}

size_t msg_query(const char *name, uint16_t type, uint16_t id, uint8_t out[512])
{
    size_t len;

    memset(out, 0, DNS_HEADER);
    put16(out, id);
    out[2] = 0x01; /* RD */
    put16(out + 4, 1);
    put16(out + 10, 1);
    if (!(len = put_name(name, out + DNS_HEADER, 256)))
        return 0;
    len += DNS_HEADER;
    put16(out + len, type);
    put16(out + len + 2, 1);
    len += 4;
    memset(out + len, 0, 11);
    put16(out + len + 1, T_OPT);
    put16(out + len + 3, DNS_UDP_MAX);
    return len + 11;
}

static void take_record(struct answer *a, uint16_t type, uint32_t ttl, struct span data, bool in_answer, uint32_t *soa_ttl)
{
    if (type == T_OPT)
        return;
    if (ttl > 86400)
        ttl = 86400;
    if (ttl < a->ttl)
        a->ttl = ttl;
    if (in_answer && type == T_A && data.len == 4 && a->n_addr < 16)
        a->addr[a->n_addr++] = addr_v4(data.p);
    if (in_answer && type == T_AAAA && data.len == 16 && a->n_addr < 16)
        a->addr[a->n_addr++] = addr_v6(data.p);
    if (type == T_SOA && data.len >= 22) {
        const uint8_t *m = data.p + data.len - 4; /* RFC 2308: the last field bounds negative answers */
        uint32_t minimum = (uint32_t)get16(m) << 16 | get16(m + 2);

        *soa_ttl = minimum < ttl ? minimum : ttl;
        if (*soa_ttl > 3600)
            *soa_ttl = 3600;
    }
}

bool msg_parse_answer(const uint8_t *m, size_t len, struct answer *a)
{
    struct rd r = rd_from(m, len);
    uint32_t soa_ttl = 0;
    unsigned answers;

    memset(a, 0, sizeof(*a));
    a->ttl = UINT32_MAX;
    if (len < DNS_HEADER || !(m[2] & 0x80))
        return false;
    a->rcode = m[3] & 15;
    a->truncated = m[2] & 0x02;
    answers = get16(m + 6);
    rd_skip(&r, DNS_HEADER);
    for (unsigned n = get16(m + 4); n; n--) {
        if (!skip_name(&r))
            return false;
        rd_skip(&r, 4);
    }
    for (unsigned i = 0, n = answers + get16(m + 8) + get16(m + 10); i < n; i++) {
        uint16_t type;
        uint32_t ttl;
        struct span data;

        if (!skip_name(&r))
            return false;
        type = rd_be16(&r);
        rd_be16(&r);
        ttl = rd_be32(&r);
        data = rd_span(&r, rd_be16(&r));
        if (!rd_ok(&r))
            return false;
        take_record(a, type, ttl, data, i < answers, &soa_ttl);
    }
    if (a->rcode == RC_SERVFAIL)
        a->ttl = 5;
    else if (!answers)
        a->ttl = soa_ttl;
    else if (a->ttl == UINT32_MAX)
        a->ttl = 0;
    return true;
}

void msg_age(uint8_t *m, size_t len, uint32_t age)
{
    struct rd r = rd_from(m, len);

    rd_skip(&r, DNS_HEADER);
    for (unsigned n = get16(m + 4); n && skip_name(&r); n--)
        rd_skip(&r, 4);
    for (unsigned n = get16(m + 6) + get16(m + 8) + get16(m + 10); n && skip_name(&r); n--) {
        uint16_t type = rd_be16(&r);
        uint8_t *at;
        uint32_t ttl;

        rd_be16(&r);
        at = (uint8_t *)r.p;
        ttl = rd_be32(&r);
        rd_skip(&r, rd_be16(&r));
        if (!rd_ok(&r))
            return;
        if (type != T_OPT)
            put32(at, ttl > age ? ttl - age : 1);
    }
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool msg_reverse_addr(const char *name, struct addr *a)
{
    uint8_t b[16] = { 0 };
    size_t len = strlen(name);

    if (len > 13 && !strcmp(name + len - 13, ".in-addr.arpa")) {
        const char *at = name;

        for (int i = 3; i >= 0; i--) {
            unsigned v = 0, digits = 0;

            for (; *at >= '0' && *at <= '9' && digits < 3; at++, digits++)
                v = v * 10 + (unsigned)(*at - '0');
            if (!digits || v > 255 || *at++ != '.')
                return false;
            b[i] = (uint8_t)v;
        }
        if (strcmp(at, "in-addr.arpa"))
            return false;
        *a = addr_v4(b);
        return true;
    }
    if (len != 72 || strcmp(name + 63, ".ip6.arpa"))
        return false;
    for (int i = 0; i < 32; i++) {
        int h = hex(name[i * 2]);

        if (h < 0 || (i < 31 && name[i * 2 + 1] != '.'))
            return false;
        b[15 - i / 2] |= (uint8_t)(i % 2 ? h << 4 : h);
    }
    *a = addr_v6(b);
    return true;
}
