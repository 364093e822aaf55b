/*
 * values.c - the types of fields that are lists: texts, prefixes, addresses, ranges, matchers, headers
 *
 * One value alone is a list of one, except that for headers a mapping is needed. In a list, null is no entry; what cannot be an entry is
 * skipped with a warning, and the rest of the list counts (a range that is none is the field's problem: a port list with a hole is another
 * list).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/private.h"

static const struct cfg_node *first_of(const struct cfg_node *n)
{
    return n->kind == CFG_SEQ ? n->child : n;
}

static const struct cfg_node *next_of(const struct cfg_node *list, const struct cfg_node *e)
{
    return list->kind == CFG_SEQ ? e->next : NULL;
}

void cfg_read_strs(struct reading *r, const struct cfg_node *n, struct cfg_strs *out)
{
    uint32_t max = n->kind == CFG_SEQ ? n->n : 1;

    *out = (struct cfg_strs){ 0 }; /* a default may be in there */
    out->v = cfg_alloc(r->doc, (max + 1) * sizeof(*out->v));
    out->at = cfg_alloc(r->doc, (max + 1) * sizeof(struct cfg_node *));
    if (!out->v || !out->at)
        return; /* the document remembers */
    for (const struct cfg_node *e = first_of(n); e; e = next_of(n, e)) {
        if (e->kind == CFG_SCALAR) {
            out->v[out->n] = e->text;
            out->at[out->n++] = e;
        } else if (e->kind != CFG_NULL) {
            diag_warn(r->d, e->line, e->column, r->path, "bad-value", "a text is expected in this list, not a %s; the entry is skipped",
                      e->kind == CFG_MAP ? "mapping (key: value)" : "list");
        }
    }
}

/* ---- addresses and prefixes ---- */

/* ADDRESS/LEN with the host bits kept. */
static int parse_ifaddr(const char *s, struct cidr *out)
{
    char text[ADDR_STRLEN];
    const char *slash = strchr(s, '/');
    struct cidr net;

    if (cidr_parse(s, &net) < 0 || !slash || (size_t)(slash - s) >= sizeof(text))
        return -EINVAL;
    memcpy(text, s, (size_t)(slash - s));
    text[slash - s] = 0;
    if (addr_parse(text, &out->ip) < 0)
        return -EINVAL;
    out->len = net.len;
    return 0;
}

static void skip(struct reading *r, const struct cfg_field *f, const struct cfg_node *at, const char *what)
{
    char shown[CFG_QUOTE_MAX];

    diag_warn(r->d, at->line, at->column, r->path, "bad-value", "%s: \"%s\" is no %s; it is skipped", f->key,
              cfg_quote(at->text, at->len, shown), what);
}

static void read_cidrs(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, struct cfg_cidrs *out)
{
    struct cfg_strs s;

    cfg_read_strs(r, n, &s);
    *out = (struct cfg_cidrs){ 0 };
    if (!(out->v = cfg_alloc(r->doc, (s.n + 1) * sizeof(*out->v))))
        return;
    for (uint32_t i = 0; i < s.n; i++) {
        if ((f->type == CFG_IFADDRS ? parse_ifaddr(s.v[i], &out->v[out->n]) : cidr_parse(s.v[i], &out->v[out->n])) == 0)
            out->n++;
        else
            skip(r, f, s.at[i], f->type == CFG_IFADDRS ? "ADDRESS/LENGTH" : "address or prefix (10.0.0.0/8)");
    }
}

static void read_addrs(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, struct cfg_addrs *out)
{
    struct cfg_strs s;

    cfg_read_strs(r, n, &s);
    *out = (struct cfg_addrs){ 0 };
    if (!(out->v = cfg_alloc(r->doc, (s.n + 1) * sizeof(*out->v))))
        return;
    for (uint32_t i = 0; i < s.n; i++) {
        if (addr_parse(s.v[i], &out->v[out->n]) == 0)
            out->n++;
        else
            skip(r, f, s.at[i], "address");
    }
}

void cfg_append_cidrs(struct cfg_doc *doc, struct cfg_cidrs *to, const struct cfg_cidrs *more)
{
    struct cidr *v = more->n ? cfg_alloc(doc, (to->n + more->n) * sizeof(*v)) : NULL;

    if (!v)
        return;
    if (to->n)
        memcpy(v, to->v, to->n * sizeof(*v));
    memcpy(v + to->n, more->v, more->n * sizeof(*v));
    *to = (struct cfg_cidrs){ to->n + more->n, v };
}

/* ---- ranges ---- */

static const char *blanks(const char *s)
{
    while (*s == ' ' || *s == '\t' || *s == '[' || *s == ']')
        s++;
    return s;
}

/* A number of decimal digits; NULL when there is none, or it is beyond 32 bits. */
static const char *read_bound(const char *s, uint64_t *out)
{
    const char *digits = s = blanks(s);

    for (*out = 0; *s >= '0' && *s <= '9'; s++)
        if ((*out = *out * 10 + (uint64_t)(*s - '0')) > UINT32_MAX)
            return NULL;
    return s == digits ? NULL : blanks(s);
}

int cfg_scan_ranges(const char *s, uint32_t max, char between, struct cfg_range *v)
{
    int n = 0;
    uint64_t a, b;

    s = blanks(s);
    if (!*s || (*s == '*' && !*blanks(s + 1)))
        return 0;
    for (;; s++) {
        if (n == CFG_RANGES_MAX || !(s = read_bound(s, &a)))
            return -EINVAL;
        b = a;
        if ((*s == '-' || *s == between) && !(s = read_bound(s + 1, &b)))
            return -EINVAL;
        if (a > max || b > max)
            return -ERANGE;
        v[n++] = (struct cfg_range){ (uint32_t)(a < b ? a : b), (uint32_t)(a < b ? b : a) };
        if (!*s)
            return n;
        if (*s != '/' && *s != ',')
            return -EINVAL;
    }
}

/* Items of one text, appended to out, which has room. */
static int parse_ranges(const char *s, uint32_t max, char between, struct cfg_ranges *out)
{
    struct cfg_range *v = out->v + out->n;
    int n = cfg_scan_ranges(s, max, between, v);

    if (n < 0)
        return n;
    if (!n)
        v[n++] = (struct cfg_range){ 0, max };
    out->n += (uint32_t)n;
    return 0;
}

int cfg_parse_ranges(struct cfg_doc *doc, const char *text, uint32_t max, struct cfg_ranges *out)
{
    *out = (struct cfg_ranges){ 0 };
    if (!(out->v = cfg_alloc(doc, CFG_RANGES_MAX * sizeof(*out->v))))
        return -ENOMEM;
    return parse_ranges(text, max, '-', out);
}

static void read_ranges(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, struct cfg_ranges *out)
{
    struct cfg_ranges all = { 0 };
    char shown[CFG_QUOTE_MAX];
    struct cfg_strs s;
    size_t room = 1;

    cfg_read_strs(r, n, &s);
    for (uint32_t i = 0; i < s.n; i++)
        room += s.at[i]->len < CFG_RANGES_MAX ? s.at[i]->len + 1 : CFG_RANGES_MAX;
    if (!(all.v = cfg_alloc(r->doc, room * sizeof(*all.v))))
        return;
    for (uint32_t i = 0; i < s.n; i++) {
        int e = parse_ranges(s.v[i], (uint32_t)f->max, f->type == CFG_UIDS ? ':' : '-', &all);

        cfg_quote(s.v[i], s.at[i]->len, shown);
        if (e == -ERANGE)
            cfg_problem(r, f, s.at[i], "bad-value", "\"%s\" goes beyond %lld", shown, (long long)f->max);
        else if (e < 0)
            cfg_problem(r, f, s.at[i], "bad-value", "\"%s\" is neither a number nor a range (%s)", shown,
                        f->type == CFG_UIDS ? "1000:2000" : "1000-2000");
        if (e < 0)
            return;
    }
    *out = all;
}

void cfg_append_ranges(struct cfg_doc *doc, struct cfg_ranges *to, const struct cfg_ranges *more)
{
    struct cfg_range *v = more->n ? cfg_alloc(doc, (to->n + more->n) * sizeof(*v)) : NULL;

    if (!v)
        return;
    if (to->n)
        memcpy(v, to->v, to->n * sizeof(*v));
    memcpy(v + to->n, more->v, more->n * sizeof(*v));
    *to = (struct cfg_ranges){ to->n + more->n, v };
}

/* ---- matchers ---- */

static uint32_t count_parts(const char *s, size_t len)
{
    uint32_t n = 1;

    for (size_t i = 0; i < len; i++)
        n += s[i] == ',';
    return n;
}

/* What a prefix makes of the text behind it; *skip_len is its length. */
static enum cfg_matcher_kind kind_of(const char *s, size_t *skip_len)
{
    static const struct {
        const char *prefix;
        enum cfg_matcher_kind kind;
    } prefixes[] = { { "geosite:", CFG_MATCH_GEO }, { "geoip:", CFG_MATCH_GEO }, { "rule-set:", CFG_MATCH_SET } };

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        *skip_len = strlen(prefixes[i].prefix);
        if (!strncasecmp(s, prefixes[i].prefix, *skip_len))
            return prefixes[i].kind;
    }
    *skip_len = 0;
    return CFG_MATCH_PATTERN;
}

/* Appends the parts of one text; out has room. */
static void take_apart(struct cfg_doc *doc, const struct cfg_node *at, const char *s, size_t len, bool commas, struct cfg_matchers *out)
{
    size_t skip_len;
    enum cfg_matcher_kind kind = kind_of(s, &skip_len);
    const char *end = s + len, *comma;

    for (s += skip_len; s <= end; s = comma + 1) {
        const char *from = s, *to;

        if ((kind == CFG_MATCH_PATTERN && !commas) || !(comma = memchr(s, ',', (size_t)(end - s))))
            comma = end;
        to = comma;
        while ((kind != CFG_MATCH_PATTERN || commas) && from < to && *from == ' ')
            from++;
        while ((kind != CFG_MATCH_PATTERN || commas) && to > from && to[-1] == ' ')
            to--;
        if (from == to)
            continue;
        out->v[out->n] = (struct cfg_matcher){ kind, from, at->line, at->column };
        if (*to && !(out->v[out->n].text = cfg_strdup(doc, from, (size_t)(to - from))))
            return;
        out->n++;
    }
}

void cfg_matchers_of_text(struct cfg_doc *doc, const struct cfg_node *at, const char *text, size_t len, bool commas,
                          struct cfg_matchers *out)
{
    *out = (struct cfg_matchers){ 0 };
    if ((out->v = cfg_alloc(doc, count_parts(text, len) * sizeof(*out->v))))
        take_apart(doc, at, text, len, commas, out);
}

void cfg_matchers_of(struct cfg_doc *doc, const struct cfg_strs *s, bool rules, struct cfg_matchers *out)
{
    size_t room = 1;

    *out = (struct cfg_matchers){ 0 };
    for (uint32_t i = 0; i < s->n; i++)
        room += rules ? 1 : count_parts(s->v[i], s->at[i]->len);
    if (!(out->v = cfg_alloc(doc, room * sizeof(*out->v))))
        return;
    for (uint32_t i = 0; i < s->n; i++) {
        if (rules)
            out->v[out->n++] = (struct cfg_matcher){ CFG_MATCH_RULE, s->v[i], s->at[i]->line, s->at[i]->column };
        else
            take_apart(doc, s->at[i], s->v[i], s->at[i]->len, false, out);
    }
}

static void read_matchers(struct reading *r, const struct cfg_node *n, struct cfg_matchers *out)
{
    struct cfg_strs s;

    cfg_read_strs(r, n, &s);
    cfg_matchers_of(r->doc, &s, false, out);
}

/* ---- headers ---- */

static void read_headers(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, struct cfg_headers *out)
{
    *out = (struct cfg_headers){ 0 };
    if (n->kind != CFG_MAP) {
        cfg_problem(r, f, n, "bad-value", "a mapping (Name: value) is expected here");
        return;
    }
    if (!(out->v = cfg_alloc(r->doc, (n->n + 1) * sizeof(*out->v))))
        return;
    for (const struct cfg_node *e = n->child; e; e = e->next) {
        out->v[out->n].name = e->key->text;
        if (e->kind != CFG_NULL)
            cfg_read_strs(r, e, &out->v[out->n++].values);
    }
}

/* ---- by type ---- */

bool cfg_is_list_type(enum cfg_type t)
{
    return t >= CFG_STRS && t <= CFG_HEADERS;
}

void cfg_read_list(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, void *at)
{
    if (n->kind == CFG_MAP && f->type != CFG_HEADERS) {
        if (n->n)
            cfg_problem(r, f, n, "bad-value", "a list is expected here, not a mapping");
        return;
    }
    switch (f->type) {
    case CFG_STRS: cfg_read_strs(r, n, at); break;
    case CFG_CIDRS:
    case CFG_IFADDRS: read_cidrs(r, f, n, at); break;
    case CFG_ADDRS: read_addrs(r, f, n, at); break;
    case CFG_RANGES:
    case CFG_UIDS: read_ranges(r, f, n, at); break;
    case CFG_MATCHERS: read_matchers(r, n, at); break;
    default: read_headers(r, f, n, at); break;
    }
}
