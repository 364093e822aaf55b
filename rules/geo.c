/*
 * geo.c - geosite.dat and geoip.dat: lists of names and prefixes, found by code
 *
 * Both are protocol buffers (rules section 3), of which this reads numbers and length-prefixed bytes and steps over the rest:
 *
 *   file     1: entry, again and again
 *   entry    1: code   2: item, again and again
 *   name     1: kind (0 substring, 1 regex, 2 suffix, 3 exact)   2: text   3: attribute { 1: key }, again and again
 *   prefix   1: address, 4 or 16 bytes   2: length
 *
 * Entries of other codes are stepped over without a look inside (2.3 MB, 1,536 of them). Nothing is allocated.
 */
#include "rules/geo.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/reader.h"
#include "rules/set_private.h"

/* ---- protocol buffers ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct field {
    uint64_t number;
    unsigned type;
    uint64_t value;    /* VARINT */
    struct span bytes; /* BYTES */
};

static uint64_t varint(struct rd *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = rd_u8(r);

        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    r->bad = true;
    return 0;
}

/* The next field of a message; false at its end, and when it is broken (r->bad). */
static bool next_field(struct rd *r, struct field *f)
{
    uint64_t key;

    if (!rd_left(r) || r->bad)
        return false;
    key = varint(r);
    *f = (struct field){ .number = key >> 3, .type = key & 7 };
    if (f->type == VARINT) {
        f->value = varint(r);
    } else if (f->type == BYTES) {
        uint64_t n = varint(r);

        if (n > rd_left(r))
            r->bad = true;
        f->bytes = rd_span(r, r->bad ? 0 : (size_t)n);
    } else if (f->type == FIXED64 || f->type == FIXED32) {
        rd_skip(r, f->type == FIXED64 ? 8 : 4);
    } else {
        r->bad = true;
    }
    return !r->bad;
}

static bool is_bytes(const struct field *f, uint64_t number)
{
    return f->number == number && f->type == BYTES;
}

static bool same_word(struct span s, const char *word, size_t len)
{
    return s.len == len && !strncasecmp((const char *)s.p, word, len);
}

/* The code of an entry; empty if it has none. */
static struct span code_of(struct rd *entry)
{
    struct field f;

    while (next_field(entry, &f))
        if (is_bytes(&f, 1))
            return f.bytes;
    return (struct span){ 0 };
}

/* Finds the entry with a code. 0, -ENOENT or -EBADMSG. */
static int find_entry(const void *bytes, size_t len, const char *code, size_t code_len, struct rd *entry)
{
    struct rd file = rd_from(bytes, len);
    struct field f;

    while (next_field(&file, &f)) {
        struct rd e;
        struct span here;

        if (!is_bytes(&f, 1))
            continue;
        e = *entry = rd_from(f.bytes.p, f.bytes.len);
        here = code_of(&e);
        if (!rd_ok(&e))
            return -EBADMSG;
        if (here.len && same_word(here, code, code_len))
            return 0;
    }
    return rd_ok(&file) ? -ENOENT : -EBADMSG;
}

/* Reads the items of an entry, one by one. */
static int each_item(struct rd entry, struct set_reader *r, const char *attrs,
                     int (*item)(struct set_reader *, struct rd, const char *attrs))
{
    struct field f;
    int res = 0;

    while (!res && next_field(&entry, &f))
        if (is_bytes(&f, 2))
            res = item(r, rd_from(f.bytes.p, f.bytes.len), attrs);
    return res ? res : rd_ok(&entry) ? 0 : -EBADMSG;
}

/* ---- geosite.dat ---- */

/* Does the attribute's message have this key? */
static bool attribute_is(struct span attribute, const char *key, size_t len)
{
    struct rd r = rd_from(attribute.p, attribute.len);
    struct field f;

    while (next_field(&r, &f))
        if (is_bytes(&f, 1) && same_word(f.bytes, key, len))
            return true;
    return false;
}

static bool has_attribute(struct rd name, const char *key, size_t len)
{
    struct field f;

    while (next_field(&name, &f))
        if (is_bytes(&f, 3) && attribute_is(f.bytes, key, len))
            return true;
    return false;
}

/* attrs: "@a@b" or "". */
static bool has_attributes(struct rd name, const char *attrs)
{
    while (*attrs) {
        size_t len = strcspn(++attrs, "@");

        if (!has_attribute(name, attrs, len))
            return false;
        attrs += len;
    }
    return true;
}

static int put_name(struct set_reader *r, struct rd name, const char *attrs)
{
    static int (*const put[])(struct set_reader *, const char *, size_t) = { set_put_keyword, set_put_regex, set_put_suffix,
                                                                             set_put_domain };
    struct rd whole = name;
    struct field f;
    uint64_t kind = 0;
    struct span text = { 0 };

    while (next_field(&name, &f))
        if (f.number == 1 && f.type == VARINT)
            kind = f.value;
        else if (is_bytes(&f, 2))
            text = f.bytes;
    if (!rd_ok(&name))
        return -EBADMSG;
    if (!has_attributes(whole, attrs))
        return 0;
    if (kind >= sizeof(put) / sizeof(put[0]))
        return set_bad(r, (const char *)text.p, text.len, "an unknown kind of name");
    return put[kind](r, (const char *)text.p, text.len);
}

int geosite_read(const void *bytes, size_t len, const char *want, const struct set_visitor *v, struct set_stats *st)
{
    struct set_stats own;
    struct set_reader r = { v, st ? st : &own, SET_DOMAIN, 0 };
    const char *attrs = strchrnul(want, '@');
    struct rd entry;
    int res;

    *r.st = (struct set_stats){ 0 };
    if ((res = find_entry(bytes, len, want, (size_t)(attrs - want), &entry)) < 0)
        return res;
    return each_item(entry, &r, attrs, put_name);
}

/* ---- geoip.dat ---- */

static int put_network(struct set_reader *r, struct rd network, const char *attrs)
{
    struct span ip = { 0 };
    uint64_t bits = 0;
    struct field f;
    struct cidr c;

    while (next_field(&network, &f))
        if (is_bytes(&f, 1))
            ip = f.bytes;
        else if (f.number == 2 && f.type == VARINT)
            bits = f.value;
    if (!rd_ok(&network))
        return -EBADMSG;
    if (bits > 128 || cidr_from(ip.p, ip.len, (unsigned)bits, &c) < 0)
        return set_bad(r, "", 0, "not a prefix");
    return set_given(r, "", 0, set_visit_prefix(r, &c));
}

int geoip_dat_read(const void *bytes, size_t len, const char *code, const struct set_visitor *v, struct set_stats *st)
{
    struct set_stats own;
    struct set_reader r = { v, st ? st : &own, SET_IPCIDR, 0 };
    struct rd entry;
    int res;

    *r.st = (struct set_stats){ 0 };
    if ((res = find_entry(bytes, len, code, strlen(code), &entry)) < 0)
        return res;
    return each_item(entry, &r, NULL, put_network);
}
