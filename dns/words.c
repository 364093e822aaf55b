/*
 * words.c - messages in words, for the control API and the command line
 *
 * What comes from a name server is read with every length checked; compressed names are followed backwards only, so that ends. Types
 * without words of their own are told as bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dns/dns.h"
#include "dns/msg.h"

const char *const dns_how_names[] = { "self", "hosts", "fake-ip", "cache", "old", "server", "nobody" };

/* ---- types ---- */

static const struct {
    uint16_t type;
    const char *word;
} types[] = {
    { 1, "A" },      { 2, "NS" },     { 5, "CNAME" }, { 6, "SOA" },     { 12, "PTR" },   { 13, "HINFO" }, { 15, "MX" },
    { 16, "TXT" },   { 28, "AAAA" },  { 29, "LOC" },  { 33, "SRV" },    { 35, "NAPTR" }, { 39, "DNAME" }, { 43, "DS" },
    { 44, "SSHFP" }, { 46, "RRSIG" }, { 47, "NSEC" }, { 48, "DNSKEY" }, { 50, "NSEC3" }, { 52, "TLSA" },  { 64, "SVCB" },
    { 65, "HTTPS" }, { 99, "SPF" },   { 255, "ANY" }, { 257, "CAA" },
};

uint16_t dns_type(const char *word)
{
    char *end;
    unsigned long n;

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcasecmp(types[i].word, word))
            return types[i].type;
    if (!strncasecmp(word, "TYPE", 4))
        word += 4;
    n = strtoul(word, &end, 10);
    return *word >= '0' && *word <= '9' && !*end && n < 65536 && n != T_OPT ? (uint16_t)n : 0;
}

const char *dns_type_name(uint16_t type, char buf[16])
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (types[i].type == type)
            return types[i].word;
    snprintf(buf, 16, "TYPE%u", type);
    return buf;
}

size_t dns_make_query(const char *name, uint16_t type, uint8_t out[DNS_ASK_MAX])
{
    char host[HOST_MAX + 1] = "";
    struct qkey k;

    if (strcmp(name, ".") != 0 && host_normalise(name, strlen(name), host) < 0)
        return 0;
    return type && qkey_make(host, type, &k) ? msg_query(&k, 0, NULL, 0, out) : 0;
}

/* ---- text ---- */

struct text {
    char *p;
    size_t len, size; /* what does not fit is left out */
};

static void put(struct text *t, const char *s)
{
    size_t n = strlen(s);

    if (t->len + n >= t->size)
        return;
    memcpy(t->p + t->len, s, n + 1);
    t->len += n;
}

static void put_number(struct text *t, uint32_t v)
{
    char buf[16];

    snprintf(buf, sizeof(buf), "%s%u", t->len ? " " : "", v);
    put(t, buf);
}

/* A byte of a name or a string; special ones are escaped (RFC 1035 section 5.1). */
static void put_byte(struct text *t, uint8_t c, const char *special)
{
    char buf[8];

    if (c < ' ' || c >= 127)
        snprintf(buf, sizeof(buf), "\\%03u", c);
    else
        snprintf(buf, sizeof(buf), "%s%c", strchr(special, c) ? "\\" : "", c);
    put(t, buf);
}

/* A name at r, perhaps compressed: m is the whole message. false: malformed. */
static bool put_name(struct text *t, struct rd *r, const uint8_t *m, size_t len)
{
    struct name_walk w = msg_name(r, m, len);
    struct span label;
    bool first = true;
    int more;

    while ((more = msg_label(&w, &label)) > 0) {
        if (!first)
            put(t, ".");
        first = false;
        for (size_t i = 0; i < label.len; i++)
            put_byte(t, label.p[i], ".\\\" ");
    }
    if (first)
        put(t, ".");
    return more == 0;
}

static void put_bytes(struct text *t, struct span s)
{
    char buf[24];

    snprintf(buf, sizeof(buf), "\\# %zu%s", s.len, s.len ? " " : "");
    put(t, buf);
    for (size_t i = 0; i < s.len; i++) {
        snprintf(buf, sizeof(buf), "%02x", s.p[i]);
        put(t, buf);
    }
}

/* Strings of one length byte each, quoted. */
static bool put_strings(struct text *t, struct rd *r)
{
    while (rd_left(r)) {
        struct span s = rd_span(r, rd_u8(r));

        if (!rd_ok(r))
            return false;
        put(t, t->len ? " \"" : "\"");
        for (size_t i = 0; i < s.len; i++)
            put_byte(t, s.p[i], "\"\\");
        put(t, "\"");
    }
    return true;
}

/* What a type is made of: a address, n name, 2 and 4 numbers, s strings. */
static const struct {
    uint16_t type;
    const char *shape;
} shapes[] = {
    { 1, "a" },       { 28, "a" },  { 2, "n" },  { 5, "n" },  { 12, "n" },    { 39, "n" },
    { 6, "nn44444" }, { 15, "2n" }, { 16, "s" }, { 99, "s" }, { 33, "222n" },
};

static bool put_shape(struct text *t, const char *shape, struct span data, const uint8_t *m, size_t len)
{
    struct rd r = rd_from(m, (size_t)(data.p - m) + data.len); /* of the message, so that names may point back */
    char addr[ADDR_STRLEN];
    struct addr a;

    rd_skip(&r, (size_t)(data.p - m));
    for (; *shape; shape++) {
        switch (*shape) {
        case 'a':
            if (data.len != 4 && data.len != 16)
                return false;
            a = data.len == 4 ? addr_v4(data.p) : addr_v6(data.p);
            put(t, addr_str(&a, addr));
            rd_skip(&r, data.len);
            break;
        case 'n':
            if (t->len)
                put(t, " ");
            if (!put_name(t, &r, m, len))
                return false;
            break;
        case '2': put_number(t, rd_be16(&r)); break;
        case '4': put_number(t, rd_be32(&r)); break;
        default:
            if (!put_strings(t, &r))
                return false;
        }
    }
    return rd_ok(&r) && !rd_left(&r);
}

static void put_data(struct text *t, uint16_t type, struct span data, const uint8_t *m, size_t len)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].type == type && put_shape(t, shapes[i].shape, data, m, len))
            return;
    t->len = 0;
    t->p[0] = 0;
    put_bytes(t, data);
}

/* ---- records ---- */

void dns_records(const void *msg, size_t len, void (*fn)(void *arg, const struct dns_record *r), void *arg)
{
    static char name[DNS_NAME_TEXT], data[4096];
    struct rd r = rd_from(msg, len);
    const uint8_t *m = msg;

    if (len < DNS_HEADER)
        return;
    rd_skip(&r, DNS_HEADER);
    for (int section = 0; section < 4; section++) {
        for (unsigned left = get16(m + 4 + 2 * section); left; left--) {
            struct text tn = { name, 0, sizeof(name) }, td = { data, 0, sizeof(data) };
            struct dns_record rec = { .section = section, .name = name, .data = data };
            struct span bytes = { m, 0 };

            name[0] = data[0] = 0;
            if (!put_name(&tn, &r, m, len))
                return;
            rec.type = rd_be16(&r);
            rec.class_ = rd_be16(&r);
            if (section) {
                rec.ttl = rd_be32(&r);
                bytes = rd_span(&r, rd_be16(&r));
            }
            if (!rd_ok(&r))
                return;
            if (rec.type == T_OPT)
                continue;
            if (section)
                put_data(&td, rec.type, bytes, m, len);
            fn(arg, &rec);
        }
    }
}
