/*
 * routes.c - which name servers a question goes to (clash-profile section 6.2)
 *
 *   who asks                                          servers
 *   the name of a server                              default-nameserver: addresses only, so it never has to ask itself
 *   the name of a node, proxy-server-nameserver set   proxy-server-nameserver-policy, proxy-server-nameserver
 *   a DIRECT dial, direct-nameserver set              nameserver-policy (if it is to be followed), direct-nameserver
 *   all others                                        nameserver-policy, nameserver; with fallback as a second opinion
 *   dns.enable is false                               the system's servers, whoever asks
 *
 * Which key of a policy a name belongs to, and which answers do not count, lists.c knows.
 */
#include "dns/routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dns/private.h"

struct policy {
    const struct keys *keys;
    struct route *routes; /* by number of the key */
    uint32_t n;
};

struct routes {
    struct dns *d;
    unsigned refs;
    struct ns_list *boot_list, *main_list, *fallback_list, *direct_list, *server_list;
    struct route boot, main, both, fallback, direct, server;
    struct policy policy, server_policy;
    bool direct_follows;
    struct dns_lists *lists; /* a reference */
};

/* ---- life ---- */

static void policy_fini(struct policy *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        ns_list_put((struct ns_list *)p->routes[i].main);
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
    dns_lists_put(r->lists);
    free(r);
}

/* ---- building ---- */

struct reading {
    struct dns *d;
    const struct cfg_dns *c;
    struct diag *diag;
};

static struct route route_to(struct dns *d, const struct ns_list *main, const struct ns_list *fallback)
{
    return (struct route){ .id = d->next_route++, .main = main, .fallback = fallback };
}

/* l, or the system's servers and two that everybody may ask, when it names nobody. */
static struct ns_list *or_open_servers(const struct reading *rd, struct ns_list *l, const struct cfg_strs *texts, bool rules,
                                       const char *path)
{
    static const char *const open_servers[] = { "system", "1.1.1.1", "8.8.8.8" };

    if (!l || l->n)
        return l;
    if (texts->n)
        diag_warn(rd->diag, texts->at[0]->line, texts->at[0]->column, path, "bad-value",
                  "%s: none of its servers can be used: the system's own and 1.1.1.1 are asked, in clear", path);
    ns_list_put(l);
    return ns_list_new(rd->d, &(struct cfg_strs){ .n = 3, .v = (const char **)open_servers }, rules, path, rd->diag);
}

/* The servers that are found by address: one by name could only be found by asking these servers for it. */
static bool only_by_address(const struct reading *rd, const struct cfg_strs *texts, struct cfg_strs *out, struct ns_spec *n)
{
    if (!(out->v = calloc(texts->n + 1, sizeof(*out->v))) || !(out->at = calloc(texts->n + 1, sizeof(*out->at))))
        return false;
    for (uint32_t i = 0; i < texts->n; i++) {
        const struct cfg_node *at = texts->at[i];
        char shown[CFG_QUOTE_MAX];

        if (!ns_parse(texts->v[i], n) && *n->host && !n->ip.ver && n->kind != NS_DHCP) {
            diag_warn(rd->diag, at->line, at->column, "dns.default-nameserver", "bad-value",
                      "default-nameserver finds the names of other servers: in place of \"%s\" an address is needed; it is skipped",
                      cfg_quote(n->host, strlen(n->host), shown));
            continue;
        }
        out->at[out->n] = texts->at[i];
        out->v[out->n++] = texts->v[i];
    }
    return true;
}

static struct ns_list *boot_servers(const struct reading *rd, const struct cfg_strs *texts)
{
    static const char path[] = "dns.default-nameserver";
    struct ns_spec *n = malloc(sizeof(*n));
    struct cfg_strs found = { 0 };
    struct ns_list *l = NULL;

    if (n && only_by_address(rd, texts, &found, n))
        l = or_open_servers(rd, ns_list_new(rd->d, &found, false, path, rd->diag), texts, false, path);
    free(found.v);
    free(found.at);
    free(n);
    return l;
}

static bool build_policy(const struct reading *rd, struct policy *to, const struct keys *keys, const struct cfg_policies *from, bool rules,
                         const char *path)
{
    to->keys = keys;
    if (!(to->routes = calloc(from->n + 1, sizeof(*to->routes))))
        return false;
    for (; to->n < from->n; to->n++) {
        const struct cfg_policy *key = &from->v[to->n];
        struct ns_list *l = ns_list_new(rd->d, &key->servers, rules, path, rd->diag);

        if (!l)
            return false;
        if (!l->n)
            diag_warn(rd->diag, key->line, key->column, path, "bad-value", "%s: none of the servers can be used: these names are not found",
                      path);
        to->routes[to->n] = route_to(rd->d, l, NULL);
    }
    return true;
}

static bool build_lists(const struct reading *rd, struct routes *r)
{
    const struct cfg_dns *c = rd->c;
    bool rules = c->respect_rules;
    struct ns_list *l;

    if (!(r->boot_list = boot_servers(rd, &c->default_nameserver)))
        return false;
    l = ns_list_new(rd->d, &c->nameserver, rules, "dns.nameserver", rd->diag);
    return (r->main_list = or_open_servers(rd, l, &c->nameserver, rules, "dns.nameserver")) &&
           (r->fallback_list = ns_list_new(rd->d, &c->fallback, rules, "dns.fallback", rd->diag)) &&
           (r->direct_list = ns_list_new(rd->d, &c->direct_nameserver, false, "dns.direct-nameserver", rd->diag)) &&
           (r->server_list = ns_list_new(rd->d, &c->proxy_server_nameserver, false, "dns.proxy-server-nameserver", rd->diag));
}

struct routes *routes_new(struct dns *d, const struct profile *p, struct dns_lists *lists, struct diag *diag)
{
    static const char *const system[] = { "system" };
    static const struct cfg_dns off = { .nameserver = { .n = 1, .v = (const char **)system } }; /* the system's servers for everything */
    struct reading rd = { d, p->dns.enable ? &p->dns : &off, diag };
    struct routes *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->d = d;
    r->refs = 1;
    r->direct_follows = rd.c->direct_follow_policy;
    r->lists = lists_get(lists);
    if (!build_lists(&rd, r) || !build_policy(&rd, &r->policy, &lists->policy, &rd.c->policy, rd.c->respect_rules, "nameserver-policy") ||
        !build_policy(&rd, &r->server_policy, &lists->server_policy, &rd.c->proxy_server_policy, false, /* no node to go through yet */
                      "proxy-server-nameserver-policy")) {
        routes_put(r);
        return NULL;
    }
    r->boot = route_to(d, r->boot_list, NULL);
    r->main = route_to(d, r->main_list, NULL);
    r->both = route_to(d, r->main_list, r->fallback_list);
    r->both.lazy = rd.c->fallback_lazy;
    r->fallback = route_to(d, r->fallback_list, NULL);
    r->direct = route_to(d, r->direct_list, NULL);
    r->server = route_to(d, r->server_list, NULL);
    return r;
}

/* ---- choosing ---- */

static const struct route *by_policy(const struct policy *p, const char *name)
{
    uint32_t key = keys_find(p->keys, name);

    return key < p->n ? &p->routes[key] : NULL;
}

static const struct route *by_main(const struct routes *r, const struct qkey *k, const char *name)
{
    const struct route *hit = by_policy(&r->policy, name);

    if (hit)
        return hit;
    if (!r->fallback_list->n || (k->type != T_A && k->type != T_AAAA && k->type != T_CNAME))
        return &r->main;
    return *name && matcher_first(r->lists->doubtful, name) != MATCHER_NONE ? &r->fallback : &r->both;
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

        if (matcher_first_addr(r->lists->unfit, ip) != MATCHER_NONE)
            return true;
        if (r->lists->countries && !addr_is_private(ip) && matcher_first_addr(r->lists->countries, ip) == MATCHER_NONE)
            return true;
    }
    return false;
}
