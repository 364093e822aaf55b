/*
 * routes.c - which name servers a question goes to (clash-profile section 6.2)
 *
 *   who asks                                          servers
 *   the name of a server                              default-nameserver: addresses only, so it never has to ask itself
 *   the name of a node, proxy-server-nameserver set   proxy-server-nameserver-policy, proxy-server-nameserver
 *   a DIRECT dial, direct-nameserver set              nameserver-policy (if it is to be followed), direct-nameserver
 *   all others                                        nameserver-policy, nameserver; with fallback as a second opinion
 *
 * A policy is a list of keys in order. Neighbouring keys that are patterns act as one table, in which the most specific one wins; a key
 * that names a set stands in its place in the order.
 */
#include "dns/routes.h"

#include <errno.h>
#include <stdlib.h>

#include "dns/private.h"

/* Keys that are looked at together. */
struct run {
    struct matcher *m; /* -> number of a key */
    bool patterns;     /* the most specific one wins, else the first */
};

struct policy {
    struct run *runs;
    struct route *routes; /* by number of the key */
    uint32_t n_runs, n;
};

struct routes {
    struct dns *d;
    unsigned refs;
    struct ns_list *boot_list, *main_list, *fallback_list, *direct_list, *server_list;
    struct route boot, main, both, fallback, direct, server;
    struct policy policy, server_policy;
    bool direct_follows;
    struct matcher *doubtful;  /* names that only fallback may be asked for; NULL = none */
    struct matcher *unfit;     /* addresses that nobody may get */
    struct matcher *countries; /* addresses that are fit; NULL: all are */
};

/* ---- life ---- */

static void policy_fini(struct policy *p)
{
    for (uint32_t i = 0; i < p->n_runs; i++)
        matcher_free(p->runs[i].m);
    for (uint32_t i = 0; i < p->n; i++)
        ns_list_put((struct ns_list *)p->routes[i].main);
    free(p->runs);
    free(p->routes);
}

struct routes *routes_get(struct routes *r)
{
    r->refs++;
    return r;
}

void routes_put(struct routes *r)
{
    if (!r || --r->refs)
        return;
    ns_list_put(r->boot_list);
    ns_list_put(r->main_list);
    ns_list_put(r->fallback_list);
    ns_list_put(r->direct_list);
    ns_list_put(r->server_list);
    policy_fini(&r->policy);
    policy_fini(&r->server_policy);
    matcher_free(r->doubtful);
    matcher_free(r->unfit);
    matcher_free(r->countries);
    free(r);
}

/* ---- building ---- */

struct reading {
    struct dns *d;
    const struct profile *p;
    const struct rules_env *env;
    struct diag *diag;
};

static struct route route_to(struct dns *d, const struct ns_list *main, const struct ns_list *fallback)
{
    return (struct route){ .id = d->next_route++, .main = main, .fallback = fallback };
}

/* The servers of a key; what is used when it names nobody. */
static struct ns_list *list_or(const struct reading *rd, const struct cfg_strs *texts, bool rules, const char *const *otherwise, uint32_t n,
                               const char *path)
{
    struct ns_list *l = ns_list_new(rd->d, texts, rules, path, rd->diag);

    if (!l || l->n || !n)
        return l;
    if (texts->n)
        diag_warn(rd->diag, texts->at[0]->line, texts->at[0]->column, path, "bad-value",
                  "%s: none of its servers can be used: the system's own and 1.1.1.1 are asked, in clear", path);
    ns_list_put(l);
    return ns_list_new(rd->d, &(struct cfg_strs){ .n = n, .v = (const char **)otherwise }, rules, path, rd->diag);
}

static bool is_pattern(const struct cfg_policy *p)
{
    for (uint32_t i = 0; i < p->names.n; i++)
        if (p->names.v[i].kind != CFG_MATCH_PATTERN)
            return false;
    return true;
}

static bool add_key(const struct reading *rd, struct policy *to, const struct cfg_policy *key, const char *path)
{
    struct run *last = to->n_runs ? &to->runs[to->n_runs - 1] : NULL;
    bool patterns = is_pattern(key);
    struct ns_list *l = ns_list_new(rd->d, &key->servers, rd->p->dns.respect_rules, path, rd->diag);

    if (!l)
        return false;
    if (!l->n)
        diag_warn(rd->diag, key->line, key->column, path, "bad-value", "%s: none of the servers can be used: these names are not found",
                  path);
    to->routes[to->n] = route_to(rd->d, l, NULL);
    if (!last || !patterns || !last->patterns) {
        last = &to->runs[to->n_runs];
        *last = (struct run){ .m = matcher_new(rd->env), .patterns = patterns };
        to->n_runs++;
    }
    if (!last->m)
        return to->n++, false;
    for (uint32_t i = 0; i < key->names.n; i++)
        if (!filter_add(last->m, &key->names.v[i], to->n, path, rd->diag))
            return to->n++, false;
    to->n++;
    return true;
}

static bool build_policy(const struct reading *rd, struct policy *to, const struct cfg_policies *from, const char *path)
{
    to->runs = calloc(from->n + 1, sizeof(*to->runs));
    to->routes = calloc(from->n + 1, sizeof(*to->routes));
    if (!to->runs || !to->routes)
        return false;
    for (uint32_t i = 0; i < from->n; i++)
        if (!add_key(rd, to, &from->v[i], path))
            return false;
    for (uint32_t i = 0; i < to->n_runs; i++)
        if (matcher_finish(to->runs[i].m) < 0)
            return false;
    return true;
}

/* Addresses of the country are fit. Without its data the question cannot be asked, and none is suspicious for that. */
static bool build_countries(const struct reading *rd, struct routes *r)
{
    const char *code = rd->p->dns.fallback_filter.geoip_code;
    char element[80];
    int err;

    if (!(r->countries = matcher_new(rd->env)))
        return false;
    snprintf(element, sizeof(element), "geoip:%s", code ? code : "CN");
    if ((err = matcher_add_addr(r->countries, element, 0, NULL)) == 0)
        return matcher_finish(r->countries) == 0;
    matcher_free(r->countries);
    r->countries = NULL;
    if (err != -ENOMEM)
        diag_warn(rd->diag, 0, 0, "dns.fallback-filter", "missing-data",
                  "fallback-filter: there are no data about %s: no address is suspicious for its country", element);
    return err != -ENOMEM;
}

static bool build_filter(const struct reading *rd, struct routes *r)
{
    const struct cfg_fallback_filter *f = &rd->p->dns.fallback_filter;

    if (!r->fallback_list->n)
        return true;
    if (!(r->doubtful = matcher_new(rd->env)) || !(r->unfit = matcher_new(NULL)))
        return false;
    for (uint32_t i = 0; i < f->domain.n; i++)
        if (!filter_add(r->doubtful, &f->domain.v[i], 0, "fallback-filter", rd->diag))
            return false;
    for (uint32_t i = 0; i < f->ipcidr.n; i++) {
        char text[ADDR_STRLEN + 4], addr[ADDR_STRLEN];

        snprintf(text, sizeof(text), "%s/%u", addr_str(&f->ipcidr.v[i].ip, addr), f->ipcidr.v[i].len);
        if (matcher_add_addr(r->unfit, text, 0, NULL) == -ENOMEM)
            return false;
    }
    return matcher_finish(r->doubtful) == 0 && matcher_finish(r->unfit) == 0 && (!f->geoip || build_countries(rd, r));
}

static bool build_lists(const struct reading *rd, struct routes *r)
{
    static const char *const open_servers[] = { "system", "1.1.1.1", "8.8.8.8" };
    const struct cfg_dns *c = &rd->p->dns;
    bool rules = c->respect_rules;

    return (r->boot_list = list_or(rd, &c->default_nameserver, false, open_servers, 3, "dns.default-nameserver")) &&
           (r->main_list = list_or(rd, &c->nameserver, rules, open_servers, 3, "dns.nameserver")) &&
           (r->fallback_list = list_or(rd, &c->fallback, rules, NULL, 0, "dns.fallback")) &&
           (r->direct_list = list_or(rd, &c->direct_nameserver, false, NULL, 0, "dns.direct-nameserver")) &&
           (r->server_list = list_or(rd, &c->proxy_server_nameserver, false, NULL, 0, "dns.proxy-server-nameserver"));
}

struct routes *routes_new(struct dns *d, const struct profile *p, const struct rules_env *env, struct diag *diag)
{
    struct reading rd = { d, p, env, diag };
    struct routes *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->d = d;
    r->refs = 1;
    r->direct_follows = p->dns.direct_follow_policy;
    if (!build_lists(&rd, r) || !build_filter(&rd, r) || !build_policy(&rd, &r->policy, &p->dns.policy, "nameserver-policy") ||
        !build_policy(&rd, &r->server_policy, &p->dns.proxy_server_policy, "proxy-server-nameserver-policy")) {
        routes_put(r);
        return NULL;
    }
    r->boot = route_to(d, r->boot_list, NULL);
    r->main = route_to(d, r->main_list, NULL);
    r->both = route_to(d, r->main_list, r->fallback_list);
    r->both.lazy = p->dns.fallback_lazy;
    r->fallback = route_to(d, r->fallback_list, NULL);
    r->direct = route_to(d, r->direct_list, NULL);
    r->server = route_to(d, r->server_list, NULL);
    return r;
}

/* ---- choosing ---- */

static const struct route *by_policy(const struct policy *p, const char *name)
{
    for (uint32_t i = 0; *name && i < p->n_runs; i++) {
        uint32_t hit = p->runs[i].patterns ? matcher_best(p->runs[i].m, name) : matcher_first(p->runs[i].m, name);

        if (hit < p->n)
            return &p->routes[hit];
    }
    return NULL;
}

static const struct route *by_main(const struct routes *r, const struct qkey *k, const char *name)
{
    const struct route *hit = by_policy(&r->policy, name);

    if (hit)
        return hit;
    if (!r->fallback_list->n || (k->type != T_A && k->type != T_AAAA && k->type != T_CNAME))
        return &r->main;
    return *name && matcher_first(r->doubtful, name) != MATCHER_NONE ? &r->fallback : &r->both;
}

const struct route *routes_choose(const struct routes *r, const struct qkey *k, const char *name, unsigned why)
{
    const struct route *hit;

    if (why == LOOKUP_BOOT)
        return &r->boot;
    if (why == LOOKUP_SERVER && r->server_list->n)
        return (hit = by_policy(&r->server_policy, name)) ? hit : &r->server;
    if (why == LOOKUP_DIRECT && r->direct_list->n)
        return r->direct_follows && (hit = by_policy(&r->policy, name)) ? hit : &r->direct;
    return by_main(r, k, name);
}

bool routes_unfit(const struct routes *r, const struct answer *a)
{
    for (int i = 0; i < a->n_addr; i++) {
        const struct addr *ip = &a->addr[i];

        if (matcher_first_addr(r->unfit, ip) != MATCHER_NONE)
            return true;
        if (r->countries && !addr_is_private(ip) && matcher_first_addr(r->countries, ip) == MATCHER_NONE)
            return true;
    }
    return false;
}
