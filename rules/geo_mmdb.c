/*
 * geo_mmdb.c - MaxMind DB: the prefixes of the wanted codes
 *
 *   tree, then 16 zero bytes, then records, then AB CD EF "MaxMind.com" and what is true of the file        (MaxMind DB format 2.0)
 *
 * The tree is over address bits; a node is two numbers of 24, 28 or 32 bits: below the number of nodes a node, equal to it nothing, above
 * it the place of a record. We walk the whole tree once, look into each end's record for the wanted codes, and give the path to it as a
 * prefix.
 *
 *                 IPv6 tree                      IPv4 lives at ::/96, 96 zero bits below the root.
 *                /         \                     2002::/16, ::ffff:0:0/96 and others lead to the same node; such an
 *        ::/96 (IPv4)      ...                   alias is left out, and ::ffff:a.b.c.d is an IPv4 address with us anyway.
 *
 * A record says its code in one of three ways: a map with country.iso_code (or an AS number), a string, an array of strings. Many ends
 * share a record, so what was found in some of the last is remembered.
 *
 * A broken file may hold loops and shared branches, and records as large as the file. A tree visits each node once, so more visits than
 * nodes end the walk; and so does reading many times more values than the file has bytes.
 *
 * Why not libmaxminddb: it opens files only, maps them (one that is shortened meanwhile would kill us), and 1.7.1 leaks when the metadata
 * is broken. The tests compare with it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/reader.h"
#include "rules/geo.h"
#include "rules/set_private.h"

#define MARK           "\xab\xcd\xefMaxMind.com"
#define MARK_LEN       (sizeof(MARK) - 1)
#define METADATA_MAX   ((size_t)128 << 10)
#define GAP            16 /* zero bytes between tree and records */
#define WANTS_MAX      64 /* bits of a mask */
#define CACHE          256
#define CODES_MAX      64 /* of one record */
#define STEPS_PER_BYTE 16

/* ---- values ---- */

enum { POINTER = 1, STRING = 2, UINT16 = 5, UINT32 = 6, MAP = 7, ARRAY = 11, BOOL = 14 };

struct section {
    struct span bytes;
    uint64_t *steps; /* values that may still be read */
};

/* One value: what it is and where its own bytes begin. */
struct value {
    unsigned type;
    uint32_t size; /* bytes; pairs of a map, items of an array; where a pointer points */
    size_t at;
};

static struct rd reader_at(const struct section *s, size_t at)
{
    return at <= s->bytes.len ? rd_from(s->bytes.p + at, s->bytes.len - at) : (struct rd){ s->bytes.p, s->bytes.p, true };
}

static uint32_t be(struct rd *r, unsigned n)
{
    uint32_t v = 0;

    while (n--)
        v = v << 8 | rd_u8(r);
    return v;
}

static uint32_t pointer(struct rd *r, uint8_t control)
{
    static const uint32_t plus[] = { 0, 2048, 526336, 0 };
    unsigned n = control >> 3 & 3;
    uint32_t high = n == 3 ? 0 : (uint32_t)(control & 7) << (n + 1) * 8;

    return (high | be(r, n + 1)) + plus[n];
}

/* The value at a place, itself. */
static bool value_raw(const struct section *s, size_t at, struct value *v)
{
    static const uint32_t plus[] = { 29, 285, 65821 };
    struct rd r = reader_at(s, at);
    uint8_t control = rd_u8(&r);

    if (!*s->steps)
        return false;
    --*s->steps;
    v->type = control >> 5 ? control >> 5 : rd_u8(&r) + 7u;
    v->size = control & 31;
    if (v->type == POINTER)
        v->size = pointer(&r, control);
    else if (v->size > 28)
        v->size = plus[v->size - 29] + be(&r, v->size - 28);
    v->at = (size_t)(r.p - s->bytes.p);
    return rd_ok(&r);
}

/* The value at a place, or the one it points at. */
static bool value_at(const struct section *s, size_t at, struct value *v)
{
    return value_raw(s, at, v) && (v->type != POINTER || (value_raw(s, v->size, v) && v->type != POINTER));
}

/* Steps over a value and all in it. */
static bool skip(const struct section *s, size_t *at)
{
    for (uint64_t left = 1; left; left--) {
        struct value v;

        if (!value_raw(s, *at, &v))
            return false;
        *at = v.at;
        if (v.type == MAP || v.type == ARRAY)
            left += v.type == MAP ? 2 * (uint64_t)v.size : v.size;
        else if (v.type != POINTER && v.type != BOOL)
            *at += v.size;
    }
    return true;
}

static struct span text_of(const struct section *s, const struct value *v)
{
    struct rd r = reader_at(s, v->at);

    return v->type == STRING ? rd_span(&r, v->size) : (struct span){ 0 };
}

static bool is_text(struct span t, const char *word)
{
    return t.len == strlen(word) && !memcmp(t.p, word, t.len);
}

/* The value of a key in a map. */
static bool map_get(const struct section *s, const struct value *map, const char *key, struct value *out)
{
    size_t at = map->at;

    for (uint32_t i = 0; map->type == MAP && i < map->size; i++) {
        struct value k;

        if (!value_at(s, at, &k) || !skip(s, &at))
            return false;
        if (is_text(text_of(s, &k), key))
            return value_at(s, at, out);
        if (!skip(s, &at))
            return false;
    }
    return false;
}

static bool number_of(const struct section *s, const struct value *v, uint32_t *out)
{
    struct rd r = reader_at(s, v->at);

    if ((v->type != UINT16 && v->type != UINT32) || v->size > 4)
        return false;
    *out = be(&r, v->size);
    return rd_ok(&r);
}

/* ---- what is wanted of a record ---- */

struct walk {
    const uint8_t *tree;
    uint32_t nodes, record_bits, depth; /* depth: 32 or 128 address bits */
    uint32_t v4;                        /* the node of ::/96; 0 = none */
    struct section records;
    uint32_t nodes_left; /* that may still be visited */
    uint64_t steps_left;
    enum geo_kind kind;
    struct geo_want *want;
    unsigned n;
    uint8_t addr[16]; /* the bits from the root to here */
    struct {
        uint64_t key, mask;
    } cache[CACHE]; /* key: the record's place + 1 */
};

static uint64_t wants_of_text(const struct walk *w, struct span t)
{
    uint64_t mask = 0;

    for (unsigned i = 0; i < w->n; i++)
        if (t.len && strlen(w->want[i].code) == t.len && !strncasecmp(w->want[i].code, (const char *)t.p, t.len))
            mask |= (uint64_t)1 << i;
    return mask;
}

static uint64_t wants_of_asn(const struct walk *w, const struct value *record)
{
    struct value v;
    char digits[16];
    struct span t;
    uint32_t n;

    if (map_get(&w->records, record, "autonomous_system_number", &v) && number_of(&w->records, &v, &n))
        return wants_of_text(w, (struct span){ (uint8_t *)digits, (size_t)snprintf(digits, sizeof(digits), "%u", n) });
    if (!map_get(&w->records, record, "asn", &v) || (t = text_of(&w->records, &v)).len < 3 || strncasecmp((const char *)t.p, "AS", 2) != 0)
        return 0;
    return wants_of_text(w, (struct span){ t.p + 2, t.len - 2 });
}

static uint64_t wants_of_codes(const struct walk *w, const struct value *record)
{
    struct value v;
    uint64_t mask = 0;
    size_t at = record->at;

    if (record->type == MAP)
        return map_get(&w->records, record, "country", &v) && map_get(&w->records, &v, "iso_code", &v)
                   ? wants_of_text(w, text_of(&w->records, &v))
                   : 0;
    if (record->type != ARRAY)
        return wants_of_text(w, text_of(&w->records, record));
    for (uint32_t i = 0; i < record->size && i < CODES_MAX && value_at(&w->records, at, &v) && skip(&w->records, &at); i++)
        mask |= wants_of_text(w, text_of(&w->records, &v));
    return mask;
}

static uint64_t wants_of_record(struct walk *w, uint32_t at)
{
    size_t slot = at % CACHE;
    struct value v;

    if (w->cache[slot].key != (uint64_t)at + 1) {
        w->cache[slot].key = (uint64_t)at + 1;
        w->cache[slot].mask = !value_at(&w->records, at, &v) ? 0 : w->kind == GEO_ASN ? wants_of_asn(w, &v) : wants_of_codes(w, &v);
    }
    return w->cache[slot].mask;
}

/* ---- the tree ---- */

static uint32_t child(const struct walk *w, uint32_t node, unsigned side)
{
    const uint8_t *p = w->tree + (size_t)node * w->record_bits / 4;
    struct rd r;
    uint32_t v;

    if (w->record_bits == 28) { /* 3 bytes, a byte of two halves, 3 bytes */
        r = rd_from(p + (side ? 4 : 0), 3);
        v = be(&r, 3);
        return v | (uint32_t)(side ? p[3] & 0x0f : p[3] >> 4) << 24;
    }
    r = rd_from(p + side * w->record_bits / 8, w->record_bits / 8);
    return be(&r, w->record_bits / 8);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n && !p[n - 1])
        n--;
    return !n;
}

/* The prefix of the first len bits. What lies below ::/96 of an IPv6 tree is IPv4. */
static int prefix_at(const struct walk *w, unsigned len, struct cidr *c)
{
    if (w->depth == 32)
        return cidr_from(w->addr, 4, len, c);
    if (len >= 96 && all_zero(w->addr, 12))
        return cidr_from(w->addr + 12, 4, len - 96, c);
    return cidr_from(w->addr, 16, len, c);
}

/* place: of the record, counted from the end of the tree */
static int visit(struct walk *w, uint32_t place, unsigned len)
{
    uint64_t mask;
    struct cidr c;
    int res = 0;

    if (place < GAP || place - GAP >= w->records.bytes.len)
        return -EBADMSG;
    mask = wants_of_record(w, place - GAP);
    if (!w->steps_left)
        return -EBADMSG;
    if (!mask || prefix_at(w, len, &c) < 0)
        return 0;
    for (; mask && res >= 0; mask &= mask - 1) {
        struct geo_want *want = &w->want[__builtin_ctzll(mask)];

        want->n_prefixes++;
        res = want->v.prefix(want->v.arg, &c);
    }
    return res < 0 ? res : 0;
}

/* Another way to the IPv4 tree than along 96 zero bits. */
static bool is_alias(const struct walk *w, uint32_t node, unsigned len)
{
    return w->v4 && node == w->v4 && (len != 96 || !all_zero(w->addr, 12));
}

/* NOLINTNEXTLINE(misc-no-recursion): at most 128 deep */
static int walk_node(struct walk *w, uint32_t node, unsigned len)
{
    if (len == w->depth || !w->nodes_left--)
        return -EBADMSG;
    for (unsigned side = 0; side < 2; side++) {
        uint32_t next = child(w, node, side);
        int res = 0;

        if (side)
            w->addr[len / 8] |= (uint8_t)(0x80u >> len % 8);
        if (next < w->nodes)
            res = is_alias(w, next, len + 1) ? 0 : walk_node(w, next, len + 1);
        else if (next > w->nodes)
            res = visit(w, next - w->nodes, len + 1);
        if (res)
            return res;
    }
    w->addr[len / 8] &= (uint8_t) ~(0x80u >> len % 8);
    return 0;
}

static int walk_all(struct walk *w, struct geo_want *want, size_t n)
{
    int res = 0;

    for (size_t i = 0; i < n && !res; i += WANTS_MAX) {
        w->want = want + i;
        w->n = (unsigned)(n - i < WANTS_MAX ? n - i : WANTS_MAX);
        w->nodes_left = w->nodes;
        w->steps_left = (uint64_t)w->records.bytes.len * STEPS_PER_BYTE + 1;
        memset(w->addr, 0, sizeof(w->addr));
        memset(w->cache, 0, sizeof(w->cache));
        res = walk_node(w, 0, 0);
    }
    return res;
}

/* ---- the file ---- */

/* Where the last mark begins; len if there is none. */
static size_t find_mark(const uint8_t *p, size_t len)
{
    size_t stop = len > METADATA_MAX ? len - METADATA_MAX : 0;

    for (size_t at = len; at >= stop + MARK_LEN; at--)
        if (!memcmp(p + at - MARK_LEN, MARK, MARK_LEN))
            return at - MARK_LEN;
    return len;
}

static bool fact(const struct section *s, const char *key, uint32_t *out)
{
    struct value map, v;

    return value_at(s, 0, &map) && map_get(s, &map, key, &v) && number_of(s, &v, out);
}

static uint32_t find_v4(const struct walk *w)
{
    uint32_t node = 0;

    for (int i = 0; i < 96 && node < w->nodes; i++)
        node = child(w, node, 0);
    return w->depth == 128 && node < w->nodes ? node : 0;
}

static bool open_db(struct walk *w, const void *bytes, size_t len)
{
    size_t mark = find_mark(bytes, len);
    uint64_t steps = METADATA_MAX, tree;
    uint32_t version, ip;
    struct section meta = { .steps = &steps };

    if (mark == len)
        return false;
    meta.bytes = (struct span){ (const uint8_t *)bytes + mark + MARK_LEN, len - mark - MARK_LEN };
    if (!fact(&meta, "node_count", &w->nodes) || !fact(&meta, "record_size", &w->record_bits) || !fact(&meta, "ip_version", &ip) ||
        !fact(&meta, "binary_format_major_version", &version) || version != 2 || (ip != 4 && ip != 6) || !w->nodes ||
        (w->record_bits != 24 && w->record_bits != 28 && w->record_bits != 32))
        return false;
    tree = (uint64_t)w->nodes * w->record_bits / 4;
    if (tree + GAP > mark)
        return false;
    w->depth = ip == 4 ? 32 : 128;
    w->tree = bytes;
    w->records = (struct section){ { w->tree + tree + GAP, mark - (size_t)tree - GAP }, &w->steps_left };
    w->v4 = find_v4(w);
    return true;
}

int geo_mmdb_read(const void *bytes, size_t len, enum geo_kind kind, struct geo_want *want, size_t n)
{
    struct walk w = { .kind = kind };

    for (size_t i = 0; i < n; i++)
        want[i].n_prefixes = 0;
    return open_db(&w, bytes, len) ? walk_all(&w, want, n) : -EBADMSG;
}
