/*
 * index.c - the three indexes over one pool of lists, and what goes into them
 *
 *   DOMAIN, DOMAIN-SUFFIX, patterns ──► names       IP-CIDR, geoip ──► spans       keyword, regex, wildcard, `a-*` labels ──► texts
 */
#include <errno.h>
#include <string.h>

#include "rules/private.h"

int index_init(struct index *x)
{
    memset(x, 0, sizeof(*x));
    if (lists_init(&x->lists) < 0)
        return -ENOMEM;
    if (domain_init(&x->names) < 0) {
        lists_fini(&x->lists);
        return -ENOMEM;
    }
    spans_init(&x->spans);
    texts_init(&x->texts);
    return 0;
}

void index_fini(struct index *x)
{
    texts_fini(&x->texts);
    spans_fini(&x->spans);
    domain_fini(&x->names);
    lists_fini(&x->lists);
}

int index_finish(struct index *x)
{
    int r;

    if ((r = domain_finish(&x->names, &x->lists)) < 0 || (r = spans_finish(&x->spans, &x->lists)) < 0 || (r = texts_finish(&x->texts)) < 0)
        return x->lists.full ? -ERANGE : r;
    lists_finish(&x->lists);
    return 0;
}

static int memory(const struct index *x)
{
    return x->lists.failed ? -ENOMEM : 0;
}

int index_pattern(struct index *x, const char *pattern, size_t len, uint32_t atom)
{
    char why[128];
    int r = domain_check(pattern, len);

    if (r == 1)
        return texts_add(&x->texts, TEXT_LABELS, false, pattern, len, atom, why);
    if (r == 0)
        r = domain_add(&x->names, &x->lists, pattern, len, atom);
    return r < 0 ? r : memory(x);
}

int index_domain_rule(struct index *x, const struct term *t, uint32_t atom, char why[128])
{
    size_t len = strlen(t->payload);

    *why = 0;
    switch (t->type) {
    case RULE_DOMAIN: domain_add_literal(&x->names, &x->lists, t->payload, len, NAME_SELF, atom); return memory(x);
    case RULE_DOMAIN_SUFFIX:
        domain_add_literal(&x->names, &x->lists, t->payload, len, NAME_SELF | NAME_ONE | NAME_DEEP, atom);
        return memory(x);
    case RULE_DOMAIN_KEYWORD: return texts_add(&x->texts, TEXT_KEYWORD, false, t->payload, len, atom, why);
    case RULE_DOMAIN_WILDCARD: return texts_add(&x->texts, TEXT_GLOB, true, t->payload, len, atom, why);
    case RULE_DOMAIN_REGEX: return texts_add(&x->texts, TEXT_REGEX, false, t->payload, len, atom, why);
    default: return -EINVAL;
    }
}

/* ---- whole lists ---- */

static int on_domain(void *arg, const char *pattern, size_t len)
{
    struct filler *f = arg;
    int r = index_pattern(f->x, pattern, len, f->atom);

    return r == -EINVAL ? SET_BAD : r;
}

static int on_text(struct filler *f, enum text_kind kind, const char *s, size_t len)
{
    char why[128];
    int r = len ? texts_add(&f->x->texts, kind, false, s, len, f->atom, why) : -EINVAL;

    return r == -EINVAL ? SET_BAD : r;
}

static int on_keyword(void *arg, const char *s, size_t len)
{
    return on_text(arg, TEXT_KEYWORD, s, len);
}

static int on_regex(void *arg, const char *s, size_t len)
{
    return on_text(arg, TEXT_REGEX, s, len);
}

static int on_prefix(void *arg, const struct cidr *c)
{
    struct filler *f = arg;

    spans_add(&f->x->spans, &f->x->lists, c, f->atom);
    return memory(f->x);
}

struct set_visitor filler_visitor(struct filler *f)
{
    return (struct set_visitor){ .arg = f, .domain = on_domain, .keyword = on_keyword, .regex = on_regex, .prefix = on_prefix };
}

void index_lan(struct index *x, uint32_t atom)
{
    static const char *const lan[] = {
        "10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16", "0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4",
        "169.254.0.0/16", "fc00::/7",      "::/128",         "::1/128",    "ff00::/8",    "fe80::/10",
    };

    for (size_t i = 0; i < sizeof(lan) / sizeof(lan[0]); i++) {
        struct cidr c;

        if (cidr_parse(lan[i], &c) == 0)
            spans_add(&x->spans, &x->lists, &c, atom);
    }
}
