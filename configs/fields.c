/*
 * fields.c - one mapping -> one struct, by a table
 *
 * Coercions (reference section 1): sections of fixed shape take yes/no/on/off as booleans; entries of lists take real booleans and integers only, a quoted
 * "true" is wrong there. Integers may be quoted and have a 0x, 0o or 0b prefix; a float is cut. Text is the raw scalar. Null is "not set".
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/config.h"

struct reading {
    struct cfg_doc *doc;
    struct diag *d;
    const char *path;
    bool fatal;
    int problems;
};

static void problem(struct reading *r, const struct cfg_node *at, const char *code, const char *fmt, const char *a, const char *b)
{
    r->problems++;
    if (r->fatal)
        diag_err(r->d, at->line, at->column, r->path, code, fmt, a, b);
    else
        diag_warn(r->d, at->line, at->column, r->path, code, fmt, a, b);
}

static bool word_in(const char *s, const char *const words[])
{
    for (; *words; words++)
        if (!strcmp(s, *words))
            return true;
    return false;
}

static bool parse_int(const char *s, int64_t *out)
{
    bool neg = *s == '-';
    const char *at = s + (neg || *s == '+');
    int base = 10;
    char *end;
    unsigned long long v;

    if (at[0] == '0' && at[1] && strchr("xXoObB", at[1])) {
        base = tolower((unsigned char)at[1]) == 'x' ? 16 : tolower((unsigned char)at[1]) == 'o' ? 8 : 2;
        at += 2;
    }
    if (!isxdigit((unsigned char)*at))
        return false;
    errno = 0;
    v = strtoull(at, &end, base);
    if (errno || v > INT64_MAX)
        return false;
    if (*end == '.' && base == 10)
        for (end++; isdigit((unsigned char)*end); end++)
            ;
    *out = neg ? -(int64_t)v : (int64_t)v;
    return !*end;
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
    else if (!n->quoted && parse_int(n->text, &i))
        *out = i != 0;
    else
        return false;
    return true;
}

static void read_strs(struct reading *r, const struct cfg_node *n, struct cfg_strs *out)
{
    uint32_t max = n->kind == CFG_SEQ ? n->n : 1;

    out->n = 0; /* a default may be in there */
    out->v = cfg_alloc(r->doc, (max + 1) * sizeof(*out->v));
    out->at = cfg_alloc(r->doc, (max + 1) * sizeof(*out->at));
    if (!out->v || !out->at) {
        *out = (struct cfg_strs){ 0 };
        problem(r, n, "bad-value", "out of memory%s%s", "", "");
        return;
    }
    for (const struct cfg_node *e = n->kind == CFG_SEQ ? n->child : n; e; e = n->kind == CFG_SEQ ? e->next : NULL) {
        if (e->kind != CFG_SCALAR) {
            if (e->kind != CFG_NULL)
                diag_warn(r->d, e->line, e->column, r->path, "bad-value", "a list entry that is no text is skipped");
            continue;
        }
        out->v[out->n] = e->text;
        out->at[out->n++] = e;
    }
}

static void read_cidrs(struct reading *r, const struct cfg_node *n, const char *key, struct cfg_cidrs *out)
{
    struct cfg_strs s = { 0 };

    read_strs(r, n, &s);
    out->n = 0;
    out->v = cfg_alloc(r->doc, (s.n + 1) * sizeof(*out->v));
    for (uint32_t i = 0; i < s.n && out->v; i++) {
        if (cidr_parse(s.v[i], &out->v[out->n]) == 0)
            out->n++;
        else
            diag_warn(r->d, s.at[i]->line, s.at[i]->column, r->path, "bad-value", "%s: \"%s\" is no address or prefix (10.0.0.0/8); skipped", key, s.v[i]);
    }
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

static void read_one(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, void *out)
{
    char *at = (char *)out + f->off, words[256], host[HOST_MAX + 1];
    struct addr a;
    bool b;
    int64_t i;
    int e;

    if (f->type == CFG_SUB) {
        *(const struct cfg_node **)(void *)at = n;
        return;
    }
    if (f->type == CFG_STRS) {
        read_strs(r, n, (void *)at);
        return;
    }
    if (f->type == CFG_CIDRS) {
        read_cidrs(r, n, f->key, (void *)at);
        return;
    }
    if (n->kind != CFG_SCALAR) {
        problem(r, n, "bad-value", "%s: a single value is expected here%s", f->key, "");
        return;
    }
    switch (f->type) {
    case CFG_BOOL:
        if (parse_bool(n, f->flags & CFG_LOOSE, &b))
            *(bool *)at = b;
        else
            problem(r, n, "bad-value", "%s: \"%s\" is neither true nor false", f->key, n->text);
        break;
    case CFG_INT:
        if (parse_int(n->text, &i) && (!f->max || (i >= f->min && i <= f->max)))
            *(int64_t *)(void *)at = i;
        else
            problem(r, n, "bad-value", "%s: \"%s\" is not a number in range", f->key, n->text);
        break;
    case CFG_PORT:
        if (parse_int(n->text, &i) && i >= 0 && i <= 65535)
            *(uint16_t *)(void *)at = (uint16_t)i;
        else
            problem(r, n, "bad-value", "%s: \"%s\" is no port (0..65535)", f->key, n->text);
        break;
    case CFG_STR:
    case CFG_SECRET: *(const char **)(void *)at = n->text; break;
    case CFG_HOST:
        if (addr_parse(n->text, &a) == 0 || host_normalise(n->text, n->len, host) == 0)
            *(const char **)(void *)at = addr_parse(n->text, &a) == 0 ? n->text : cfg_strdup(r->doc, host, strlen(host));
        else
            problem(r, n, "bad-value", "%s: \"%s\" is neither a name nor an address", f->key, n->text);
        break;
    case CFG_ENUM:
        if ((e = enum_index(f->names, n->text)) >= 0) {
            *(int *)(void *)at = e;
            break;
        }
        names_text(f->names, words, sizeof(words));
        r->problems++;
        (r->fatal ? diag_err : diag_warn)(r->d, n->line, n->column, r->path, "bad-value", "%s: \"%s\" is unknown; it can be: %s", f->key, n->text, words);
        break;
    default: break;
    }
}

static bool loosely_same(const char *key, const char *written, enum cfg_keys mode)
{
    for (; *key && *written; key++, written++) {
        int a = tolower((unsigned char)*key), b = tolower((unsigned char)*written);

        if (mode == CFG_KEYS_PROXY && b == '_')
            b = '-';
        if (a != b)
            return false;
    }
    return !*key && !*written;
}

const struct cfg_node *cfg_find(const struct cfg_node *map, const char *key, enum cfg_keys mode)
{
    const struct cfg_node *n = cfg_get(map, key);

    if (n || mode == CFG_KEYS_EXACT)
        return n;
    for (n = cfg_first(map); n; n = n->next)
        if (loosely_same(key, n->key->text, mode))
            return n;
    return NULL;
}

static void set_default(struct reading *r, const struct cfg_field *f, void *out)
{
    struct cfg_node *n = cfg_alloc(r->doc, sizeof(*n)); /* lists keep a pointer to it */

    if (!n)
        return;
    n->kind = CFG_SCALAR;
    n->text = f->def;
    n->len = strlen(f->def);
    read_one(r, f, n, out);
}

int cfg_read(struct cfg_doc *doc, const struct cfg_node *map, const struct cfg_field *fields, enum cfg_keys keys, void *out, bool fatal,
             const char *path, struct diag *d)
{
    struct reading r = { doc, d, path, fatal, 0 };

    for (const struct cfg_field *f = fields; f->key; f++) {
        const struct cfg_node *n = cfg_find(map, f->key, keys);

        if (f->def)
            set_default(&r, f, out);
        if (n && n->kind != CFG_NULL)
            read_one(&r, f, n, out);
        else if ((f->flags & CFG_REQUIRED) && map)
            problem(&r, map, "missing-key", "the key \"%s\" is missing%s", f->key, "");
    }
    return r.problems;
}
