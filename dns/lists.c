/*
 * lists.c - the lists of names and addresses in a profile's dns section, compiled
 *
 *   fake-ip-filter        who gets no fake address (filter.c)
 *   nameserver-policy, proxy-server-nameserver-policy     whose servers are asked (routes.c)
 *   fallback-filter       whose answers do not count
 *
 * They may name sets of a hundred thousand names, so they are made apart from what asks and answers: in any thread, while the old ones are
 * in use. They hold all they need and ask nobody.
 */
#include "dns/lists.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- keys of a policy ---- */

static bool is_pattern(const struct cfg_policy *p)
{
    for (uint32_t i = 0; i < p->names.n; i++)
        if (p->names.v[i].kind != CFG_MATCH_PATTERN)
            return false;
    return true;
}

static bool add_key(struct keys *to, const struct cfg_policy *key, uint32_t id, const char *path, const struct rules_env *env, struct diag *d)
{
    struct run *last = to->n_runs ? &to->runs[to->n_runs - 1] : NULL;
    bool patterns = is_pattern(key);

    if (!last || !patterns || !last->patterns) {
        last = &to->runs[to->n_runs++];
        *last = (struct run){ .m = matcher_new(env), .patterns = patterns };
    }
    for (uint32_t i = 0; last->m && i < key->names.n; i++)
        if (!filter_add(last->m, &key->names.v[i], id, path, d))
            return false;
    return last->m;
}

static bool build_keys(struct keys *to, const struct cfg_policies *from, const char *path, const struct rules_env *env, struct diag *d)
{
    if (!(to->runs = calloc(from->n + 1, sizeof(*to->runs))))
        return false;
    for (uint32_t i = 0; i < from->n; i++)
        if (!add_key(to, &from->v[i], i, path, env, d))
            return false;
    for (uint32_t i = 0; i < to->n_runs; i++)
        if (matcher_finish(to->runs[i].m) < 0)
            return false;
    return true;
}

static void free_keys(struct keys *k)
{
    for (uint32_t i = 0; i < k->n_runs; i++)
        matcher_free(k->runs[i].m);
    free(k->runs);
}

uint32_t keys_find(const struct keys *k, const char *name)
{
    uint32_t hit = MATCHER_NONE;

    for (uint32_t i = 0; hit == MATCHER_NONE && *name && i < k->n_runs; i++)
        hit = k->runs[i].patterns ? matcher_best(k->runs[i].m, name) : matcher_first(k->runs[i].m, name);
    return hit;
}

/* ---- fallback-filter ---- */

/* Addresses of the country are fit. Without its data the question cannot be asked, and none is suspicious for that. */
static bool build_countries(struct dns_lists *l, const struct cfg_dns *c, const struct rules_env *env, struct diag *d)
{
    const char *code = c->fallback_filter.geoip_code;
    const struct cfg_node *at = c->fallback.at[0];
    char element[80];
    int err;

    if (!(l->countries = matcher_new(env)))
        return false;
    snprintf(element, sizeof(element), "geoip:%s", code ? code : "CN");
    if ((err = matcher_add_addr(l->countries, element, 0, NULL)) == 0)
        return matcher_finish(l->countries) == 0;
    matcher_free(l->countries);
    l->countries = NULL;
    if (err != -ENOMEM)
        diag_warn(d, at->line, at->column, "dns.fallback-filter", "missing-data",
                  "fallback-filter: there are no data about %s: no address is suspicious for its country", element);
    return err != -ENOMEM;
}

static bool build_fallback(struct dns_lists *l, const struct cfg_dns *c, const struct rules_env *env, struct diag *d)
{
    const struct cfg_fallback_filter *f = &c->fallback_filter;

    if (!(l->doubtful = matcher_new(env)) || !(l->unfit = matcher_new(NULL)))
        return false;
    for (uint32_t i = 0; i < f->domain.n; i++)
        if (!filter_add(l->doubtful, &f->domain.v[i], 0, "fallback-filter", d))
            return false;
    for (uint32_t i = 0; i < f->ipcidr.n; i++) {
        char text[ADDR_STRLEN + 4], addr[ADDR_STRLEN];

        snprintf(text, sizeof(text), "%s/%u", addr_str(&f->ipcidr.v[i].ip, addr), f->ipcidr.v[i].len);
        if (matcher_add_addr(l->unfit, text, 0, NULL) == -ENOMEM)
            return false;
    }
    return matcher_finish(l->doubtful) == 0 && matcher_finish(l->unfit) == 0 && (!f->geoip || build_countries(l, c, env, d));
}

/* ---- all of them ---- */

struct dns_lists *dns_lists_new(const struct profile *p, const struct rules_env *env, struct diag *d)
{
    struct dns_lists *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    l->refs = 1;
    if ((l->filter = filter_new(p, env, d)) && (!p->dns.fallback.n || build_fallback(l, &p->dns, env, d)) &&
        build_keys(&l->policy, &p->dns.policy, "nameserver-policy", env, d) &&
        build_keys(&l->server_policy, &p->dns.proxy_server_policy, "proxy-server-nameserver-policy", env, d))
        return l;
    dns_lists_put(l);
    return NULL;
}

struct dns_lists *lists_get(struct dns_lists *l)
{
    l->refs++;
    return l;
}

void dns_lists_put(struct dns_lists *l)
{
    if (!l || --l->refs)
        return;
    filter_free(l->filter);
    free_keys(&l->policy);
    free_keys(&l->server_policy);
    matcher_free(l->doubtful);
    matcher_free(l->unfit);
    matcher_free(l->countries);
    free(l);
}
