/*
 * fields.c - one mapping -> one struct, by a table
 *
 * Coercions (reference section 1): sections of fixed shape take yes/no/on/off as booleans; entries of lists take real booleans and integers
 * only, a quoted "true" is wrong there. Integers may be quoted and have a 0x, 0o or 0b prefix; a float is cut. Text is the raw scalar.
 * Null, and an empty text where no text is wanted, is "not set".
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/private.h"

#define FIELDS_AT_ONCE 48
#define UNKNOWN_MAX    200 /* keys of one mapping that are looked at for a misspelling */

/* In a section a key has a path of its own; in an entry of a list the entry's path is what people count by. */
static const char *path_of(const struct reading *r, const struct cfg_field *f, char buf[CFG_PATH_MAX])
{
    if (!r->fatal)
        return r->path;
    snprintf(buf, CFG_PATH_MAX, "%s%s%s", r->path, *r->path ? "." : "", f->key);
    return buf;
}

void cfg_problem(struct reading *r, const struct cfg_field *f, const struct cfg_node *at, const char *code, const char *fmt, ...)
{
    char text[512], path[CFG_PATH_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (r->fatal && !(f->flags & CFG_SOFT)) {
        r->problems++;
        diag_err(r->d, at->line, at->column, path_of(r, f, path), code, "%s: %s", f->key, text);
        return;
    }
    r->problems += !(f->flags & CFG_SOFT);
    diag_warn(r->d, at->line, at->column, path_of(r, f, path), code, "%s: %s%s", f->key, text,
              f->flags & CFG_SOFT ? "; it is ignored" : "");
}

/* ---- scalars ---- */

static bool word_in(const char *s, const char *const words[])
{
    for (; *words; words++)
        if (!strcmp(s, *words))
            return true;
    return false;
}

static bool in_base(char c, int base)
{
    int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;

    return v < base;
}

static int base_of(const char *s)
{
    if (s[0] == '0')
        switch (s[1]) {
        case 'x':
        case 'X': return 16;
        case 'o':
        case 'O': return 8;
        case 'b':
        case 'B': return 2;
        }
    return 10;
}

/* 443.0, 1.5e3: cut towards zero. */
static bool parse_float(const char *s, int64_t *out)
{
    char *end;
    double v;

    if (s[strspn(s, "0123456789+-.eE")] || !strpbrk(s, "0123456789"))
        return false;
    v = strtod(s, &end);
    if (*end || v >= 9e18 || v <= -9e18)
        return false;
    *out = (int64_t)v;
    return true;
}

bool cfg_parse_int(const char *s, int64_t *out)
{
    const char *at = s + (*s == '-' || *s == '+');
    int base = base_of(at);
    uint64_t v = 0;

    if (base != 10)
        at += 2;
    if (!in_base(*at, base))
        return base == 10 && parse_float(s, out);
    for (; in_base(*at, base) || (*at == '_' && in_base(at[1], base)); at++) {
        unsigned digit = (unsigned)(*at <= '9' ? *at - '0' : (*at | 32) - 'a' + 10);

        if (*at == '_')
            continue;
        if (v > ((uint64_t)INT64_MAX - digit) / (unsigned)base)
            return false;
        v = v * (unsigned)base + digit;
    }
    if (*at)
        return base == 10 && parse_float(s, out);
    *out = *s == '-' ? -(int64_t)v : (int64_t)v;
    return true;
}

static bool parse_bool(const struct cfg_node *n, bool loose, bool *out)
{
    static const char *const yes[] = { "true", "True", "TRUE", NULL }, *const no[] = { "false", "False", "FALSE", NULL };
    static const char *const loose_yes[] = { "yes", "Yes", "YES", "on", "On", "ON", "y", "Y", NULL };
    static const char *const loose_no[] = { "no", "No", "NO", "off", "Off", "OFF", "n", "N", NULL };
    int64_t i;

    if (n->quoted && !loose)
        return false;
    if (word_in(n->text, yes) || (loose && word_in(n->text, loose_yes)))
        *out = true;
    else if (word_in(n->text, no) || (loose && word_in(n->text, loose_no)))
        *out = false;
    else if (!n->quoted && cfg_parse_int(n->text, &i))
        *out = i != 0;
    else
        return false;
    return true;
}

static void read_bool(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, bool *at)
{
    char shown[CFG_QUOTE_MAX];

    if (parse_bool(n, f->flags & CFG_LOOSE, at))
        return;
    cfg_quote(n->text, n->len, shown);
    if (n->quoted && (!strcasecmp(n->text, "true") || !strcasecmp(n->text, "false")))
        cfg_problem(r, f, n, "bad-value", "\"%s\" in quotes is a text: write it without", shown);
    else
        cfg_problem(r, f, n, "bad-value", "\"%s\" is neither true nor false", shown);
}

static void read_int(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, int64_t *at)
{
    char shown[CFG_QUOTE_MAX], path[CFG_PATH_MAX];
    int64_t v, nearest;

    cfg_quote(n->text, n->len, shown);
    if (!cfg_parse_int(n->text, &v)) {
        cfg_problem(r, f, n, "bad-value", "\"%s\" is no number", shown);
    } else if (!f->max || (v >= f->min && v <= f->max)) {
        *at = v;
    } else if (f->flags & CFG_CLAMP) {
        *at = nearest = v < f->min ? f->min : f->max;
        diag_warn(r->d, n->line, n->column, path_of(r, f, path), "bad-value", "%s: %s is out of range: %lld is used", f->key, shown,
                  (long long)nearest);
    } else {
        cfg_problem(r, f, n, "bad-value", "%s is out of range (%lld to %lld)", shown, (long long)f->min, (long long)f->max);
    }
}

static void read_port(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, uint16_t *at)
{
    char shown[CFG_QUOTE_MAX];
    int64_t v;

    if (cfg_parse_int(n->text, &v) && v >= 0 && v <= 65535)
        *at = (uint16_t)v;
    else
        cfg_problem(r, f, n, "bad-value", "\"%s\" is no port (0 to 65535)", cfg_quote(n->text, n->len, shown));
}

static void read_host(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, const char **at)
{
    char host[HOST_MAX + 1], shown[CFG_QUOTE_MAX];
    struct addr a;

    if (addr_parse(n->text, &a) == 0)
        *at = n->text;
    else if (host_normalise(n->text, n->len, host) == 0)
        *at = cfg_strdup(r->doc, host, strlen(host));
    else
        cfg_problem(r, f, n, "bad-value", "\"%s\" is neither a name nor an address", cfg_quote(n->text, n->len, shown));
}

static int enum_index(const char *const *names, const char *s)
{
    for (int i = 0; names[i]; i++)
        if (!strcasecmp(names[i], s))
            return i;
    return -1;
}

static void names_text(const char *const *names, char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = 0;
    for (int i = 0; names[i] && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? ", " : "", names[i]);
}

static void read_enum(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, int *at)
{
    int i = enum_index(f->names, n->text);
    char shown[CFG_QUOTE_MAX], words[256];
    struct cfg_guess g;

    if (i >= 0) {
        *at = i;
        return;
    }
    names_text(f->names, words, sizeof(words));
    cfg_quote(n->text, n->len, shown);
    cfg_did_you_mean(&g, r->d, n->text, f->names);
    cfg_problem(r, f, n, "bad-value", "\"%s\" is unknown; it can be %s%s", shown, words, g.text);
}

/* ---- one field ---- */

static void read_section(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, void *out, enum cfg_keys keys)
{
    char path[CFG_PATH_MAX];

    if (n && n->kind != CFG_MAP) {
        if (n->kind == CFG_SCALAR || n->n)
            cfg_problem(r, f, n, "bad-value", "a mapping (key: value) is expected here");
        n = NULL;
    }
    snprintf(path, sizeof(path), "%s%s%s", r->path, *r->path ? "." : "", f->key);
    r->problems += cfg_read(r->doc, n, f->sub, keys, out, r->fatal && !(f->flags & CFG_SOFT), path, r->d);
}

static void read_one(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, void *out)
{
    void *at = (char *)out + f->off;

    if (f->type == CFG_SUB) {
        *(const struct cfg_node **)at = n;
        return;
    }
    if (cfg_is_list_type(f->type)) {
        cfg_read_list(r, f, n, at);
        return;
    }
    if (n->kind != CFG_SCALAR) {
        if (n->n)
            cfg_problem(r, f, n, "bad-value", "a single value is expected here, not a %s", n->kind == CFG_MAP ? "mapping" : "list");
        return;
    }
    if (!n->len && f->type != CFG_STR && f->type != CFG_SECRET)
        return;
    switch (f->type) {
    case CFG_BOOL: read_bool(r, f, n, at); break;
    case CFG_INT: read_int(r, f, n, at); break;
    case CFG_PORT: read_port(r, f, n, at); break;
    case CFG_HOST: read_host(r, f, n, at); break;
    case CFG_ENUM: read_enum(r, f, n, at); break;
    default: *(const char **)at = n->text; break;
    }
}

/* Lists keep a pointer to the node of their default, so it lives as long as they. */
static void set_default(struct reading *r, const struct cfg_field *f, void *out)
{
    struct cfg_node passing = { 0 }, *n = cfg_is_list_type(f->type) ? cfg_alloc(r->doc, sizeof(*n)) : &passing;

    if (!n)
        return;
    n->kind = CFG_SCALAR;
    n->text = f->def;
    n->len = strlen(f->def);
    read_one(r, f, n, out);
}

/* Does a key say more than leaving it out would? */
static bool says_something(const struct cfg_field *f, const struct cfg_node *n)
{
    bool on = false, by_default = f->def && !strcmp(f->def, "true");
    int64_t v = 0;

    if (n->kind != CFG_SCALAR)
        return n->n > 0;
    if (f->type == CFG_BOOL)
        return parse_bool(n, true, &on) && on != by_default;
    if (f->type == CFG_SUB && parse_bool(n, true, &on) && !on)
        return false;
    if ((f->type == CFG_INT || f->type == CFG_PORT) && cfg_parse_int(n->text, &v) && !v)
        return false;
    return n->len && (!f->def || strcasecmp(f->def, n->text) != 0);
}

/* One walk over the keys of a mapping for FIELDS_AT_ONCE rows of a table: it may have 100,000. */
struct found {
    unsigned n;
    uint64_t lengths; /* bit n: a key of n letters is wanted */
    size_t len[FIELDS_AT_ONCE];
    const struct cfg_node *at[FIELDS_AT_ONCE];
    bool exact[FIELDS_AT_ONCE];
};

static void find_fields(const struct cfg_node *map, const struct cfg_field *fields, enum cfg_keys keys, struct found *x)
{
    *x = (struct found){ 0 };
    for (; x->n < FIELDS_AT_ONCE && fields[x->n].key; x->n++) {
        x->len[x->n] = strlen(fields[x->n].key);
        x->lengths |= UINT64_C(1) << (x->len[x->n] & 63);
    }
    for (const struct cfg_node *n = map && map->kind == CFG_MAP ? map->child : NULL; n; n = n->next) {
        for (unsigned i = 0; i < x->n && x->lengths >> (n->key->len & 63) & 1; i++) {
            if (x->len[i] != n->key->len || x->exact[i])
                continue;
            x->exact[i] = !memcmp(fields[i].key, n->key->text, n->key->len);
            if (x->exact[i] ||
                (keys != CFG_KEYS_EXACT && !x->at[i] && cfg_loosely_same(fields[i].key, n->key->text, keys == CFG_KEYS_PROXY)))
                x->at[i] = n;
        }
    }
}

static void missing(struct reading *r, const struct cfg_field *f, const struct cfg_node *map)
{
    struct cfg_guess g;

    r->problems++;
    (r->fatal ? diag_err : diag_warn)(r->d, map->line, map->column, r->path, "missing-key", "the key \"%s\" is missing%s", f->key,
                                      cfg_is_meant(&g, r->d, f->key, map));
}

static void read_field(struct reading *r, const struct cfg_field *f, const struct cfg_node *map, const struct cfg_node *n,
                       enum cfg_keys keys, void *out)
{
    char path[CFG_PATH_MAX];

    if (n && n->kind == CFG_NULL)
        n = NULL;
    if (f->type == CFG_SECTION)
        read_section(r, f, n, out, keys);
    else if (f->def)
        set_default(r, f, out);
    if (n && f->type != CFG_SECTION)
        read_one(r, f, n, out);
    else if (!n && (f->flags & CFG_REQUIRED) && map)
        missing(r, f, map);
    if (n && f->lacks && says_something(f, n))
        diag_warn(r->d, n->key->line, n->key->column, path_of(r, f, path), "unsupported-key", "%s is not supported by this build: %s",
                  f->key, f->lacks);
}

int cfg_read(struct cfg_doc *doc, const struct cfg_node *map, const struct cfg_field *fields, enum cfg_keys keys, void *out, bool fatal,
             const char *path, struct diag *d)
{
    struct reading r = { doc, d, path, fatal, 0 };
    struct found x;

    for (; fields->key; fields += x.n) {
        find_fields(map, fields, keys, &x);
        for (unsigned i = 0; i < x.n; i++)
            read_field(&r, &fields[i], map, x.at[i], keys, out);
    }
    return r.problems;
}

/* ---- misspelt keys ---- */

static bool known(const struct cfg_field *fields, const struct cfg_node *key)
{
    for (; fields->key; fields++)
        if (!strcmp(fields->key, key->text))
            return true;
    return false;
}

void cfg_warn_misspelt(const struct cfg_node *map, const struct cfg_field *fields, const struct cfg_field *more, const char *path,
                       struct diag *d)
{
    unsigned left = UNKNOWN_MAX;

    for (const struct cfg_node *n = map && map->kind == CFG_MAP ? map->child : NULL; n && left; n = n->next) {
        char shown[CFG_QUOTE_MAX];
        struct cfg_guess g;

        if (n->kind == CFG_NULL || known(fields, n->key) || (more && known(more, n->key)))
            continue;
        left--;
        cfg_guess_start(&g, NULL, n->key->text);
        g.best = g.n < 8 ? 2 : 3; /* keys of a template are no misspellings: one letter, in long keys two */
        for (const struct cfg_field *f = fields; f->key; f++)
            cfg_guess_try(&g, f->key);
        if (g.nearest && !cfg_get(map, g.nearest))
            diag_warn(d, n->key->line, n->key->column, path, "unsupported-key", "unknown key \"%s\"%s",
                      cfg_quote(n->key->text, n->key->len, shown), cfg_guess_text(&g));
    }
}
