/*
 * routes.c - which name servers a question goes to (clash-profile section 6.2)
 *
 *   by whom it is asked      the servers of servers    default-nameserver: addresses only, so it never has to ask itself
 *                            node names                proxy-server-nameserver, if there is one
 *                            DIRECT dials              direct-nameserver, if there is one
 *                            all others                the main servers
 */
#include "dns/routes.h"

#include <stdlib.h>

#include "dns/private.h"

struct routes {
    struct dns *d;
    unsigned refs;
    struct route main, direct, server, boot;
    struct ns_list *nameserver, *direct_list, *server_list, *boot_list;
};

struct routes *routes_get(struct routes *r)
{
    r->refs++;
    return r;
}

void routes_put(struct routes *r)
{
    if (!r || --r->refs)
        return;
    ns_list_put(r->nameserver);
    ns_list_put(r->direct_list);
    ns_list_put(r->server_list);
    ns_list_put(r->boot_list);
    free(r);
}

static struct route route_to(struct dns *d, const struct ns_list *l)
{
    return (struct route){ .id = d->next_route++, .main = l };
}

/* The list of a profile's key; what is used when the key names nobody. */
static struct ns_list *list_or(struct dns *d, const struct cfg_strs *texts, const char *const *otherwise, uint32_t n, const char *path,
                               struct diag *diag)
{
    struct ns_list *l = ns_list_new(d, texts, false, path, diag);
    struct cfg_strs fixed = { .n = n, .v = (const char **)otherwise };

    if (!l || l->n)
        return l;
    ns_list_put(l);
    return ns_list_new(d, &fixed, false, path, diag);
}

struct routes *routes_new(struct dns *d, const struct profile *p, struct diag *diag)
{
    static const char *const open_servers[] = { "system", "1.1.1.1", "8.8.8.8" };
    const struct cfg_dns *c = &p->dns;
    struct routes *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->d = d;
    r->refs = 1;
    r->boot_list = list_or(d, &c->default_nameserver, open_servers, 3, "dns.default-nameserver", diag);
    r->nameserver = list_or(d, &c->nameserver, open_servers, 3, "dns.nameserver", diag);
    r->direct_list = ns_list_new(d, &c->direct_nameserver, false, "dns.direct-nameserver", diag);
    r->server_list = ns_list_new(d, &c->proxy_server_nameserver, false, "dns.proxy-server-nameserver", diag);
    if (!r->boot_list || !r->nameserver || !r->direct_list || !r->server_list) {
        routes_put(r);
        return NULL;
    }
    r->main = route_to(d, r->nameserver);
    r->direct = r->direct_list->n ? route_to(d, r->direct_list) : r->main;
    r->server = r->server_list->n ? route_to(d, r->server_list) : r->main;
    r->boot = route_to(d, r->boot_list);
    return r;
}

const struct route *routes_choose(const struct routes *r, const struct qkey *k, const char *name, unsigned why)
{
    switch (why) {
    case LOOKUP_BOOT: return &r->boot;
    case LOOKUP_SERVER: return &r->server;
    case LOOKUP_DIRECT: return &r->direct;
    default: return &r->main;
    }
}

bool routes_unfit(const struct routes *r, const struct answer *a)
{
    return false;
}
