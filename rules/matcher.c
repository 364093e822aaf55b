/*
 * matcher.c - lists of domain patterns and prefixes: the indexes of the rules for everybody else
 *
 *   fake-ip-filter, hosts, nameserver-policy, force-domain, fallback-filter ...        the caller's number of an element is its atom
 *
 * A category or provider is read once for each matcher that names it; nothing is shared with the rules.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"
#include "rules/geo.h"
#include "rules/private.h"

struct matcher {
    struct index ix;
    const struct rules_env *env; /* until finished */
    struct arena mem;            /* likewise */
};

struct matcher *matcher_new(const struct rules_env *env)
{
    struct matcher *m = calloc(1, sizeof(*m));

    if (m && index_init(&m->ix) == 0) {
        m->env = env;
        return m;
    }
    free(m);
    return NULL;
}

void matcher_free(struct matcher *m)
{
    if (!m)
        return;
    index_fini(&m->ix);
    arena_fini(&m->mem);
    free(m);
}

/* ---- the entries of a provider ---- */

struct filling {
    struct filler f; /* first: the visitor's functions for names and prefixes take it */
    struct arena *mem;
    bool names; /* else addresses */
};

/* Of a classical set only the rules of the kind count. */
static int on_rule(void *arg, const char *text, size_t len, uint32_t line)
{
    struct filling *x = arg;
    struct fault f;
    struct term t;
    char why[128];
    int r = -EINVAL;

    if (x->mem->total > SCRATCH_MAX)
        arena_fini(x->mem);
    if (!line_parse(x->mem, text, len, LINE_IN_SET, &t, NULL, &f))
        return f.code ? SET_BAD : -ENOMEM;
    if (x->names) {
        r = index_domain_rule(x->f.x, &t, x->f.atom, why);
    } else if ((t.type == RULE_IP_CIDR || t.type == RULE_IP_CIDR6) && !t.src) {
        spans_add(&x->f.x->spans, &x->f.x->lists, &t.net, x->f.atom);
        r = x->f.x->lists.failed ? -ENOMEM : 0;
    }
    return r == -EINVAL ? SET_BAD : r;
}

static struct set_visitor visitor_of(struct filling *x)
{
    struct set_visitor v = filler_visitor(&x->f);

    v.arg = x;
    v.rule = on_rule;
    if (x->names)
        v.prefix = NULL;
    else
        v.domain = v.keyword = v.regex = NULL;
    return v;
}

static int add_set(struct matcher *m, const char *name, uint32_t id, bool names)
{
    struct filling x = { .f = { &m->ix, id }, .mem = &m->mem, .names = names };
    struct set_visitor v = visitor_of(&x);
    struct rules_provider p = { 0 };
    struct set_stats st = { 0 };
    int r = 0;

    if (!m->env || !m->env->provider || !m->env->provider(m->env->arg, name, &p))
        return -ENOENT;
    if (p.cfg->behavior == (names ? CFG_BEHAVIOR_IPCIDR : CFG_BEHAVIOR_DOMAIN))
        return -EBADMSG;
    if (p.bytes) {
        r = set_read(p.bytes, p.len, (enum set_behavior)p.cfg->behavior, (enum set_format)p.cfg->format, &v, &st);
        return r == -ERR_LIMIT ? -EBADMSG : r;
    }
    if (p.cfg->from != CFG_FROM_INLINE && !p.cfg->rules.n)
        return -ENODATA;
    for (uint32_t i = 0; i < p.cfg->rules.n && r == 0; i++)
        r = set_entry(p.cfg->rules.v[i], strlen(p.cfg->rules.v[i]), i + 1, (enum set_behavior)p.cfg->behavior, &v, &st);
    return r;
}

/* ---- categories and countries ---- */

static int add_geosite(struct matcher *m, const char *want, uint32_t id, bool names)
{
    struct filler f = { &m->ix, id };
    struct set_visitor v = filler_visitor(&f);

    if (!m->env || !m->env->geosite.bytes)
        return -ENODATA;
    return geosite_read(m->env->geosite.bytes, m->env->geosite.len, want, &v, NULL);
}

static int add_geoip(struct matcher *m, const char *code, uint32_t id, bool names)
{
    struct filler f = { &m->ix, id };
    struct geo_want want = { .code = code, .v = filler_visitor(&f) };
    int r;

    if (!strcasecmp(code, "lan")) {
        index_lan(&m->ix, id);
        return m->ix.lists.failed ? -ENOMEM : 0;
    }
    if (!m->env || !m->env->geoip.bytes)
        return -ENODATA;
    if (m->env->geoip_is_dat)
        return geoip_dat_read(m->env->geoip.bytes, m->env->geoip.len, code, &want.v, NULL);
    r = geo_mmdb_read(m->env->geoip.bytes, m->env->geoip.len, GEO_CODE, &want, 1);
    return r == 0 && !want.n_prefixes ? -ENOENT : r;
}

/* ---- elements ---- */

/* Calls add for every name of "a, b,c". what: the one at fault. */
static int each_of(struct matcher *m, const char *list, uint32_t id, bool names, int (*add)(struct matcher *, const char *, uint32_t, bool),
                   char what[64])
{
    char word[256];
    int r = 0, bad = 0;

    while (*list) {
        size_t skip = strspn(list, ", \t"), n = strcspn(list + skip, ","), len = n;

        list += skip;
        while (len && (list[len - 1] == ' ' || list[len - 1] == '\t'))
            len--;
        if (len && len < sizeof(word)) {
            memcpy(word, list, len);
            word[len] = 0;
            r = add(m, word, id, names);
        } else if (n) {
            r = -EINVAL;
        }
        if (r == -ENOMEM)
            return r;
        if (r < 0 && !bad) {
            bad = r;
            if (what)
                snprintf(what, 64, "%.*s", (int)(len < 63 ? len : 63), list);
        }
        list += n;
    }
    return bad;
}

static const char *behind(const char *s, const char *prefix)
{
    size_t n = strlen(prefix);

    return strncasecmp(s, prefix, n) ? NULL : s + n;
}

static int add_pattern(struct matcher *m, const char *s, uint32_t id)
{
    char lower[HOST_MAX + 8];
    size_t n = strlen(s);

    if (n >= sizeof(lower))
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        lower[i] = ascii_lower(s[i]);
    return index_pattern(&m->ix, lower, n, id);
}

static int add_prefix(struct matcher *m, const char *s, uint32_t id)
{
    struct cidr c;

    if (cidr_parse(s, &c) < 0)
        return -EINVAL;
    spans_add(&m->ix.spans, &m->ix.lists, &c, id);
    return m->ix.lists.failed ? -ENOMEM : 0;
}

int matcher_add_name(struct matcher *m, const char *element, uint32_t id, char what[64])
{
    const char *list;
    int r;

    if ((list = behind(element, "geosite:")))
        return each_of(m, list, id, true, add_geosite, what);
    if ((list = behind(element, "rule-set:")))
        return each_of(m, list, id, true, add_set, what);
    if ((r = add_pattern(m, element, id)) < 0 && what)
        snprintf(what, 64, "%.63s", element);
    return r;
}

int matcher_add_addr(struct matcher *m, const char *element, uint32_t id, char what[64])
{
    const char *list;
    int r;

    if ((list = behind(element, "geoip:")))
        return each_of(m, list, id, false, add_geoip, what);
    if ((list = behind(element, "rule-set:")))
        return each_of(m, list, id, false, add_set, what);
    if ((r = add_prefix(m, element, id)) < 0 && what)
        snprintf(what, 64, "%.63s", element);
    return r;
}

int matcher_finish(struct matcher *m)
{
    m->env = NULL;
    arena_fini(&m->mem);
    return index_finish(&m->ix);
}

/* ---- asking ---- */

struct asked {
    const struct index *ix;
    const char *host;
    size_t len;
    uint32_t best;
    bool patterns;
};

static bool on_list(void *arg, uint32_t list, uint32_t bit)
{
    struct asked *q = arg;

    for (const uint32_t *item = &q->ix->lists.pool[list];; item++) {
        if (*item & bit && item_atom(*item) < q->best)
            q->best = item_atom(*item); /* sorted: the first is the smallest */
        if (*item & (bit | ITEM_LAST))
            return true;
    }
}

static void on_text(void *arg, uint32_t text)
{
    struct asked *q = arg;
    const struct text *t = &q->ix->texts.text[text];

    if (t->atom < q->best && (!q->patterns || t->kind == TEXT_LABELS) &&
        (t->kind == TEXT_KEYWORD || texts_match(&q->ix->texts, text, q->host, q->len)))
        q->best = t->atom;
}

uint32_t matcher_first(const struct matcher *m, const char *host)
{
    struct asked q = { &m->ix, host, strlen(host), MATCHER_NONE, false };

    domain_walk(&m->ix.names, host, q.len, on_list, &q);
    texts_scan(&m->ix.texts, host, q.len, on_text, &q);
    return q.best;
}

uint32_t matcher_first_addr(const struct matcher *m, const struct addr *a)
{
    uint32_t list = spans_find(&m->ix.spans, a);

    return list ? item_atom(m->ix.lists.pool[list]) : MATCHER_NONE;
}

uint32_t matcher_best(const struct matcher *m, const char *host)
{
    struct asked q = { &m->ix, host, strlen(host), MATCHER_NONE, true };
    uint32_t best = domain_best(&m->ix.names, &m->ix.lists, host, q.len);

    if (best == UINT32_MAX) /* a pattern with * inside a label comes behind all others */
        texts_scan(&m->ix.texts, host, q.len, on_text, &q);
    return best != UINT32_MAX ? best : q.best;
}
