/*
 * msg.c - DNS messages: taken apart with every length checked, patched in place, built
 *
 *   header 12 | question: name, type, class | records: name, type, class, TTL, length, data ...
 *
 * A client's query becomes its answer where it lies: flags change, records are put behind the question, which stays as it was written
 * (clients that mix letter case compare it). What a name server sends is walked once, from the first byte to the last record; names of
 * records may be compressed and are only skipped, so the walk is linear. They are followed where records are taken away (msg_without), and
 * where people read them (words.c).
 *
 * Nothing here allocates.
 */
#include "dns/msg.h"

#include <stdio.h>
#include <string.h>

#include "core/hash.h"

#define TTL_MAX          86400
#define TTL_NEGATIVE_MAX 3600
#define TTL_SERVFAIL     5

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* ---- queries ---- */

/* Reads the name of a question into text. false: no name. */
static bool read_name(struct rd *r, struct question *q)
{
    size_t at = 0;

    for (;;) {
        uint8_t len = rd_u8(r);
        struct span s;

        if (!rd_ok(r) || len > 63) /* a pointer would have nothing to point at */
            return false;
        if (!len)
            break;
        s = rd_span(r, len);
        if (!rd_ok(r) || at + len + 1 > DNS_NAME - 1)
            return false;
        for (size_t i = 0; i < s.len; i++) {
            q->odd |= s.p[i] <= ' ' || s.p[i] == '.' || s.p[i] == 127;
            q->name[at++] = (char)lower(s.p[i]);
        }
        q->name[at++] = '.';
    }
    at = at && !q->odd ? at - 1 : 0;
    q->name[at] = 0;
    q->name_len = (uint8_t)at;
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

struct record {
    bool root; /* its owner is the root */
    uint16_t type, class_;
    const uint8_t *ttl_at;
    uint32_t ttl;
    struct span data;
};

static bool read_record(struct rd *r, struct record *rec)
{
    const uint8_t *from = r->p;

    if (!skip_name(r))
        return false;
    rec->root = r->p == from + 1;
    rec->type = rd_be16(r);
    rec->class_ = rd_be16(r);
    rec->ttl_at = r->p;
    rec->ttl = rd_be32(r);
    rec->data = rd_span(r, rd_be16(r));
    return rd_ok(r);
}

static unsigned n_records(const uint8_t *m)
{
    return (unsigned)get16(m + 6) + get16(m + 8) + get16(m + 10);
}

enum msg_verdict msg_parse_query(const uint8_t *m, size_t len, struct question *q)
{
    struct rd r = rd_from(m, len);
    uint8_t version = 0;

    if (len < DNS_HEADER || m[2] & 0x80)
        return MSG_JUNK;
    if (m[2] & 0x78)
        return MSG_NOTIMP;
    *q = (struct question){ .client_max = 512, .ad_bit = m[3] & 0x20, .cd_bit = m[3] & 0x10 };
    rd_skip(&r, DNS_HEADER);
    if (get16(m + 4) != 1 || !read_name(&r, q))
        return MSG_FORMERR;
    q->type = rd_be16(&r);
    q->class_ = rd_be16(&r);
    if (!rd_ok(&r))
        return MSG_FORMERR;
    q->end = (uint16_t)(r.p - m);
    for (unsigned n = n_records(m); n; n--) {
        struct record rec;

        if (!read_record(&r, &rec))
            return MSG_FORMERR;
        if (rec.type != T_OPT)
            continue;
        if (q->has_opt || !rec.root) /* RFC 6891 section 6.1.1 */
            return MSG_FORMERR;
        q->has_opt = true;
        q->do_bit = rec.ttl & 0x8000;
        q->client_max = rec.class_ < 512 ? 512 : rec.class_;
        version = (uint8_t)(rec.ttl >> 16);
    }
    return version ? MSG_BADVERS : MSG_GOOD;
}

/* ---- answers of our own ---- */

/* Header and question as they came; flags set; counts zero but the question's. */
static size_t start(const uint8_t *query, const struct question *q, int rcode, uint8_t *out)
{
    if (out != query)
        memcpy(out, query, q->end);
    out[2] = (uint8_t)(0x84 | (query[2] & 0x01)); /* QR AA, RD as asked */
    out[3] = (uint8_t)(0x80 | (rcode & 15));      /* RA */
    put16(out + 4, 1);
    memset(out + 6, 0, 6);
    return q->end;
}

/* Our own OPT, if the client sent one: nothing of its options is echoed. */
static size_t add_opt(const struct question *q, int rcode, uint8_t *out, size_t at)
{
    if (!q->has_opt)
        return at;
    memset(out + at, 0, DNS_OPT);
    put16(out + at + 1, T_OPT);
    put16(out + at + 3, DNS_UDP_MAX);
    out[at + 5] = (uint8_t)(rcode >> 4);
    out[at + 7] = q->do_bit ? 0x80 : 0;
    put16(out + 10, get16(out + 10) + 1u);
    return at + DNS_OPT;
}

/* One record owned by the name at `owner`; the data is put behind it by the caller. */
static uint8_t *add_head(uint8_t *out, size_t at, unsigned owner, uint16_t type, uint32_t ttl, size_t len)
{
    put16(out + at, 0xc000 | owner);
    put16(out + at + 2, type);
    put16(out + at + 4, C_IN);
    put32(out + at + 6, ttl);
    put16(out + at + 10, (unsigned)len);
    put16(out + 6, get16(out + 6) + 1u);
    return out + at + 12;
}

size_t msg_answer(const uint8_t *query, const struct question *q, const struct reply *r, uint8_t *out, size_t room)
{
    size_t at = start(query, q, r->rcode, out), tail = q->has_opt ? DNS_OPT : 0;
    unsigned owner = DNS_HEADER;
    uint8_t name[DNS_NAME];
    size_t len = r->alias ? msg_put_name(r->alias, name) : 0;

    if (len && at + 12 + len + tail <= room) {
        memcpy(add_head(out, at, owner, T_CNAME, r->alias_ttl, len), name, len);
        owner = (unsigned)at + 12;
        at += 12 + len;
    }
    for (int i = 0; i < r->n; i++) {
        const struct addr *a = &r->addr[i];

        len = addr_len(a);
        if ((a->ver == 4 ? T_A : T_AAAA) != q->type || at + 12 + len + tail > room)
            continue;
        memcpy(add_head(out, at, owner, q->type, r->ttl, len), a->b, len);
        at += 12 + len;
    }
    return add_opt(q, r->rcode, out, at);
}

size_t msg_answer_ptr(const uint8_t *query, const struct question *q, const char *name, uint32_t ttl, uint8_t *out, size_t room)
{
    uint8_t wire[DNS_NAME];
    size_t at = start(query, q, RC_OK, out), len = msg_put_name(name, wire);

    if (len && at + 12 + len + DNS_OPT <= room) {
        memcpy(add_head(out, at, DNS_HEADER, T_PTR, ttl, len), wire, len);
        at += 12 + len;
    }
    return add_opt(q, RC_OK, out, at);
}

size_t msg_error(const uint8_t *query, int rcode, uint8_t out[DNS_HEADER])
{
    if (out != query)
        memcpy(out, query, 4);
    out[2] = (uint8_t)(0x80 | (query[2] & 0x79));
    out[3] = (uint8_t)(0x80 | rcode);
    memset(out + 4, 0, 8);
    return DNS_HEADER;
}

/* ---- questions ---- */

void qkey_of(const uint8_t *query, const struct question *q, struct qkey *k)
{
    k->type = q->type;
    k->class_ = q->class_;
    k->flags = (uint8_t)((q->do_bit ? Q_DO : 0) | (q->cd_bit ? Q_CD : 0));
    k->len = (uint8_t)(q->end - DNS_HEADER - 4);
    for (size_t i = 0; i < k->len; i++) /* lengths are at most 63 and no letters */
        k->name[i] = lower(query[DNS_HEADER + i]);
}

bool qkey_make(const char *name, uint16_t type, struct qkey *k)
{
    k->type = type;
    k->class_ = C_IN;
    k->flags = 0;
    k->len = (uint8_t)msg_put_name(name, k->name);
    return k->len != 0;
}

bool qkey_eq(const struct qkey *a, const struct qkey *b)
{
    return a->type == b->type && a->class_ == b->class_ && a->flags == b->flags && a->len == b->len && !memcmp(a->name, b->name, a->len);
}

uint64_t qkey_hash(const struct qkey *k)
{
    return hash_bytes(k->name, k->len) ^ ((uint64_t)k->type << 24 | (uint64_t)k->class_ << 8 | k->flags) * 0x9e3779b97f4a7c15u;
}

bool qkey_respell(const struct qkey *k, uint8_t out[DNS_NAME])
{
    unsigned letters = 0, upper = 0;
    uint8_t dice[DNS_NAME];

    for (size_t i = 0; i < k->len; i++)
        letters += k->name[i] >= 'a' && k->name[i] <= 'z';
    while (letters >= 4 && (!upper || upper == letters)) { /* not as people write it */
        random_bytes(dice, k->len);
        upper = 0;
        for (size_t i = 0; i < k->len; i++) {
            bool up = k->name[i] >= 'a' && k->name[i] <= 'z' && dice[i] & 1;

            out[i] = up ? (uint8_t)(k->name[i] - 32) : k->name[i];
            upper += up;
        }
    }
    return letters >= 4;
}

const char *qkey_text(const struct qkey *k, char *buf)
{
    char *to = buf;

    for (size_t at = 0, n = 0; at + 1 < k->len; at++) {
        uint8_t c = k->name[at];

        if (!n) {
            n = c;
            if (at)
                *to++ = '.';
            continue;
        }
        n--;
        if (c <= ' ' || c >= 127 || c == '.' || c == '\\')
            to += sprintf(to, "\\%03u", c);
        else
            *to++ = (char)c;
    }
    *to = 0;
    return buf;
}

static size_t put_subnet(const struct cidr *net, uint8_t *out)
{
    size_t n = (net->len + 7u) / 8u;

    put16(out, 8); /* RFC 7871 */
    put16(out + 2, (unsigned)(4 + n));
    put16(out + 4, net->ip.ver == 4 ? 1 : 2);
    out[6] = net->len;
    out[7] = 0;
    memcpy(out + 8, net->ip.b, n);
    return 8 + n;
}

size_t msg_query(const struct qkey *k, uint16_t id, const struct cidr *ecs, unsigned pad, uint8_t *out)
{
    size_t at = DNS_HEADER + k->len, opt;

    memset(out, 0, DNS_HEADER);
    put16(out, id);
    out[2] = 0x01;                          /* RD */
    out[3] = k->flags & Q_CD ? 0x30 : 0x20; /* AD: say what you validated */
    put16(out + 4, 1);
    put16(out + 10, 1);
    memcpy(out + DNS_HEADER, k->name, k->len);
    put16(out + at, k->type);
    put16(out + at + 2, k->class_);
    opt = at + 4;
    memset(out + opt, 0, DNS_OPT);
    put16(out + opt + 1, T_OPT);
    put16(out + opt + 3, DNS_UDP_MAX);
    out[opt + 7] = k->flags & Q_DO ? 0x80 : 0;
    at = opt + DNS_OPT;
    if (ecs && ecs->ip.ver)
        at += put_subnet(ecs, out + at);
    if (pad) {
        size_t fill = (pad - (at + 4) % pad) % pad;

        put16(out + at, 12);
        put16(out + at + 2, (unsigned)fill);
        memset(out + at + 4, 0, fill);
        at += 4 + fill;
    }
    put16(out + opt + 9, (unsigned)(at - opt - DNS_OPT));
    return at;
}

/* ---- answers of name servers ---- */

static bool is_question(struct rd *r, const struct qkey *k)
{
    struct span s = rd_span(r, k->len);

    for (size_t i = 0; i < s.len; i++)
        if (lower(s.p[i]) != k->name[i])
            return false;
    return rd_be16(r) == k->type && rd_be16(r) == k->class_ && rd_ok(r);
}

static void take_address(struct answer *a, const struct record *rec)
{
    if (a->n_addr == DNS_ADDRS)
        return;
    if (rec->type == T_A && rec->data.len == 4)
        a->addr[a->n_addr++] = addr_v4(rec->data.p);
    else if (rec->type == T_AAAA && rec->data.len == 16)
        a->addr[a->n_addr++] = addr_v6(rec->data.p);
}

static uint32_t sane_ttl(uint32_t ttl)
{
    return ttl > INT32_MAX ? 0 : ttl > TTL_MAX ? TTL_MAX : ttl; /* RFC 2181 section 8 */
}

/* How long a negative answer holds: RFC 2308 section 5. */
static uint32_t soa_ttl(const struct record *rec)
{
    uint32_t minimum = sane_ttl(get32(rec->data.p + rec->data.len - 4)), ttl = sane_ttl(rec->ttl);

    ttl = minimum < ttl ? minimum : ttl;
    return ttl < TTL_NEGATIVE_MAX ? ttl : TTL_NEGATIVE_MAX;
}

bool msg_parse_answer(const uint8_t *m, size_t len, const struct qkey *k, struct answer *a)
{
    struct rd r = rd_from(m, len);
    uint32_t least = UINT32_MAX, soa = 0;
    unsigned n_answers;
    bool found = false; /* a record of the type that was asked for */

    memset(a, 0, sizeof(*a));
    if (len < DNS_HEADER || !(m[2] & 0x80) || get16(m + 4) != 1)
        return false;
    a->rcode = m[3] & 15;
    a->truncated = m[2] & 0x02;
    n_answers = get16(m + 6);
    rd_skip(&r, DNS_HEADER);
    if (!is_question(&r, k))
        return false;
    for (unsigned i = 0, n = n_records(m); i < n; i++) {
        size_t from = (size_t)(r.p - m);
        struct record rec;

        if (!read_record(&r, &rec))
            return false;
        a->opt = rec.type == T_OPT ? from : 0;
        if (rec.type == T_OPT) {
            if (i < n - get16(m + 10))
                return false; /* it has no business but among the additional ones */
            a->rcode |= (int)(rec.ttl >> 24) << 4;
            continue;
        }
        if (sane_ttl(rec.ttl) < least)
            least = sane_ttl(rec.ttl);
        if (i < n_answers) {
            found |= rec.type == k->type || k->type == T_ANY;
            take_address(a, &rec);
        } else if (rec.type == T_SOA && rec.data.len >= 22) {
            soa = soa_ttl(&rec);
        }
    }
    a->end = (size_t)(r.p - m);
    if (a->rcode == RC_SERVFAIL)
        a->ttl = TTL_SERVFAIL;
    else if (a->rcode == RC_OK && found)
        a->ttl = least;
    else if (a->rcode == RC_OK || a->rcode == RC_NXDOMAIN)
        a->ttl = soa < least ? soa : least;
    return true;
}

size_t msg_strip(uint8_t *m, const struct answer *a)
{
    if (!a->opt)
        return a->end;
    put16(m + 10, get16(m + 10) - 1u);
    return a->opt;
}

/* ---- an answer without some of its records ---- */

#define PLACES_MAX 64

struct copy {
    const uint8_t *m; /* from */
    size_t len;
    uint8_t *out;
    size_t at;
    bool bad;
    struct place {
        uint16_t from, to;
    } places[PLACES_MAX]; /* of labels that are in both: whoever points at the one points at the other then */
    unsigned n_places;
};

static void copy_bytes(struct copy *c, const void *p, size_t n)
{
    if (c->bad || n > DNS_MAX - c->at) {
        c->bad = true;
        return;
    }
    memcpy(c->out + c->at, p, n);
    c->at += n;
}

/* Where the label is in the copy; 0: nowhere yet. */
static unsigned place_of(const struct copy *c, size_t from)
{
    for (unsigned i = 0; i < c->n_places; i++)
        if (c->places[i].from == from)
            return c->places[i].to;
    return 0;
}

static void copy_name(struct copy *c, struct rd *r)
{
    struct name_walk w = msg_name(r, c->m, c->len);
    struct span label;
    int more;

    while ((more = msg_label(&w, &label)) > 0) {
        size_t from = (size_t)(label.p - c->m) - 1;
        unsigned to = place_of(c, from);

        if (to) {
            copy_bytes(c, (const uint8_t[]){ (uint8_t)(0xc0 | to >> 8), (uint8_t)to }, 2);
            if (!w.jumps) /* r is not behind it yet: another name has led across records and come by here */
                c->bad |= !skip_name(r);
            return;
        }
        if (c->n_places < PLACES_MAX && c->at < 0x4000)
            c->places[c->n_places++] = (struct place){ (uint16_t)from, (uint16_t)c->at };
        copy_bytes(c, label.p - 1, label.len + 1);
    }
    copy_bytes(c, "", 1);
    c->bad |= more < 0;
}

/* Types whose data may hold compressed names (RFC 3597 section 4): bytes before them, and how many. */
static const struct {
    uint8_t type, before, names;
} with_names[] = {
    { 2, 0, 1 },  { 3, 0, 1 },  { 4, 0, 1 },  { 5, 0, 1 },  { 6, 0, 2 },  { 7, 0, 1 },  { 8, 0, 1 },  { 9, 0, 1 },  { 12, 0, 1 },
    { 14, 0, 2 }, { 15, 2, 1 }, { 17, 0, 2 }, { 18, 2, 1 }, { 21, 2, 1 }, { 26, 2, 2 }, { 33, 6, 1 }, { 36, 2, 1 }, { 39, 0, 1 },
};

static void copy_data(struct copy *c, const struct record *rec)
{
    struct rd r = rd_from(c->m, (size_t)(rec->data.p - c->m) + rec->data.len); /* of the message, so that names may point back */
    size_t i = 0, n = sizeof(with_names) / sizeof(with_names[0]);

    rd_skip(&r, (size_t)(rec->data.p - c->m));
    while (i < n && with_names[i].type != rec->type)
        i++;
    if (i < n) {
        struct span before = rd_span(&r, with_names[i].before);

        copy_bytes(c, before.p, before.len);
        for (int left = with_names[i].names; left; left--)
            copy_name(c, &r);
    }
    c->bad |= !rd_ok(&r);
    copy_bytes(c, r.p, rd_left(&r));
}

static void copy_record(struct copy *c, const uint8_t *from, const struct record *rec)
{
    struct rd owner = rd_from(c->m, c->len);
    size_t length;

    rd_skip(&owner, (size_t)(from - c->m));
    copy_name(c, &owner);
    copy_bytes(c, rec->ttl_at - 4, 10); /* type, class, TTL, length */
    length = c->at;
    copy_data(c, rec);
    if (!c->bad)
        put16(c->out + length - 2, (unsigned)(c->at - length));
}

static bool is_among(uint16_t type, const uint16_t *types, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (types[i] == type)
            return true;
    return false;
}

static bool must_go(const struct record *rec, const uint16_t *types, unsigned n)
{
    return is_among(rec->type, types, n) || (rec->type == T_RRSIG && rec->data.len >= 2 && is_among(get16(rec->data.p), types, n));
}

size_t msg_without(const uint8_t *m, size_t len, const uint16_t *types, unsigned n, uint8_t *out)
{
    struct copy c = { .m = m, .len = len, .out = out };
    struct rd r = rd_from(m, len);
    struct span kind;
    struct record rec;
    unsigned gone = 0;

    copy_bytes(&c, m, DNS_HEADER);
    rd_skip(&r, DNS_HEADER);
    copy_name(&c, &r);
    kind = rd_span(&r, 4);
    copy_bytes(&c, kind.p, kind.len);
    if (!rd_ok(&r))
        return 0;
    for (int section = 1; section < 4; section++) {
        unsigned count = get16(m + 4 + 2 * section);

        for (unsigned left = count; left; left--) {
            const uint8_t *from = r.p;

            if (!read_record(&r, &rec))
                return 0;
            if (must_go(&rec, types, n))
                gone++, count--;
            else
                copy_record(&c, from, &rec);
        }
        put16(out + 4 + 2 * section, count);
    }
    if (gone)
        return c.bad ? 0 : c.at;
    memcpy(out, m, len);
    return len;
}

/* ---- kept answers ---- */

int msg_ttls(const uint8_t *m, size_t len, uint16_t *at, int max)
{
    struct rd r = rd_from(m, len);
    struct record rec;
    int n = 0;

    rd_skip(&r, DNS_HEADER);
    if (!rd_ok(&r) || !skip_name(&r))
        return 0;
    rd_skip(&r, 4);
    for (unsigned left = n_records(m); left && n < max && read_record(&r, &rec); left--)
        if (rec.type != T_OPT)
            at[n++] = (uint16_t)(rec.ttl_at - m);
    return n;
}

size_t msg_for_client(uint8_t *m, size_t len, const uint8_t *query, const struct question *q)
{
    memcpy(m, query, 2);
    memcpy(m + DNS_HEADER, query + DNS_HEADER, q->end - DNS_HEADER);
    m[2] = (uint8_t)((m[2] & ~0x01) | (query[2] & 0x01));
    m[3] = (uint8_t)((m[3] & ~0x10) | 0x80 | (query[3] & 0x10));
    if (!q->ad_bit && !q->do_bit)
        m[3] &= (uint8_t)~0x20; /* RFC 6840 section 5.8 */
    return add_opt(q, 0, m, len);
}

/* ---- names ---- */

struct name_walk msg_name(struct rd *r, const uint8_t *m, size_t len)
{
    return (struct name_walk){ .m = m, .len = len, .r = r, .at = *r, .lowest = (size_t)(r->p - m), .total = 1 };
}

int msg_label(struct name_walk *w, struct span *label)
{
    uint8_t n;

    while ((n = rd_u8(&w->at)) >= 0xc0) {
        size_t to = (size_t)(n & 0x3f) << 8 | rd_u8(&w->at);

        if (!w->jumps)
            *w->r = w->at;
        if (!rd_ok(&w->at) || to < DNS_HEADER || to >= w->lowest || ++w->jumps > DNS_NAME / 2)
            return -1;
        w->lowest = to;
        w->at = rd_from(w->m, w->len);
        rd_skip(&w->at, to);
    }
    *label = rd_span(&w->at, n);
    if (!rd_ok(&w->at) || n > 63 || (w->total += n ? 1u + n : 0) > DNS_NAME)
        return -1;
    if (!n && !w->jumps)
        *w->r = w->at;
    return n != 0;
}

size_t msg_put_name(const char *name, uint8_t out[DNS_NAME])
{
    size_t at = 0;

    while (*name) {
        size_t len = strcspn(name, ".");

        if (!len || len > 63 || at + len + 2 > DNS_NAME)
            return 0;
        out[at++] = (uint8_t)len;
        memcpy(out + at, name, len);
        at += len;
        name += len;
        if (*name == '.')
            name++;
    }
    out[at++] = 0;
    return at;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool reverse4(const char *name, struct addr *a)
{
    uint8_t b[4];

    for (int i = 3; i >= 0; i--) {
        unsigned v = 0, digits = 0;

        for (; *name >= '0' && *name <= '9' && digits < 3; name++, digits++)
            v = v * 10 + (unsigned)(*name - '0');
        if (!digits || v > 255 || *name++ != '.')
            return false;
        b[i] = (uint8_t)v;
    }
    *a = addr_v4(b);
    return !strcmp(name, "in-addr.arpa");
}

bool msg_reverse_addr(const char *name, struct addr *a)
{
    uint8_t b[16] = { 0 };

    if (strlen(name) != 72 || strcmp(name + 63, ".ip6.arpa") != 0)
        return reverse4(name, a);
    for (int i = 0; i < 32; i++) {
        int h = hex(name[i * 2]);

        if (h < 0 || (i < 31 && name[i * 2 + 1] != '.'))
            return false;
        b[15 - i / 2] |= (uint8_t)(i % 2 ? h << 4 : h);
    }
    *a = addr_v6(b);
    return true;
}
