/*
 * resolver.c - real answers: cache, one flight per question, and the look-ups of our own
 *
 *   resolve()      question -> cache, or joins the flight that asks already, or starts one
 *   resolver_*     struct resolver: both families of a name, IPv4 first; hosts and literals need no question; never a fake address
 *
 * The cache keeps whole messages by (name, type, class IN, which list of servers); serving is a copy with the TTLs counted down. 4,096 entries, oldest
 * out first. What must not be kept is not: TTL 0, truncated, _acme-challenge TXT.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/log.h"
#include "dns/private.h"

struct key {
    uint8_t list;
    uint16_t type;
    const char *name;
};

struct cache_entry {
    struct map_node node;
    struct list_head lru;
    char *name;
    uint16_t type;
    uint8_t list;
    uint64_t born_ms, dies_ms;
    size_t len;
    uint8_t msg[];
};

struct flight {
    struct map_node node;
    struct dns *d; /* NULL: the resolver is gone, only the end is awaited */
    char *name;
    uint16_t type;
    uint8_t list;
    bool told;
    struct list_head waiters;
};

static uint64_t key_hash(uint8_t list, uint16_t type, const char *name)
{
    return hash_bytes(name, strlen(name)) ^ ((uint64_t)type << 8 | list) * 0x9e3779b97f4a7c15u;
}

/* ---- cache ---- */

static void cache_drop(struct dns *d, struct cache_entry *c)
{
    map_del(&d->cache, &c->node);
    list_del(&c->lru);
    d->n_cache--;
    free(c->name);
    free(c);
}

static struct cache_entry *cache_find(struct dns *d, uint8_t list, uint16_t type, const char *name)
{
    for (struct map_node *m = map_first(&d->cache, key_hash(list, type, name)); m; m = map_next(m)) {
        struct cache_entry *c = container_of(m, struct cache_entry, node);

        if (c->type != type || c->list != list || strcmp(c->name, name))
            continue;
        if (c->dies_ms > loop_now(d->loop))
            return c;
        cache_drop(d, c);
        return NULL;
    }
    return NULL;
}

static void cache_keep(struct dns *d, const struct flight *f, const uint8_t *msg, size_t len)
{
    struct cache_entry *c;
    struct answer a;

    if (!msg_parse_answer(msg, len, &a) || a.truncated || !a.ttl || !strncmp(f->name, "_acme-challenge.", 16))
        return;
    if ((c = cache_find(d, f->list, f->type, f->name)))
        cache_drop(d, c);
    if (d->n_cache >= CACHE_MAX)
        cache_drop(d, container_of(list_first(&d->lru), struct cache_entry, lru));
    if (!(c = malloc(sizeof(*c) + len)))
        return;
    if (!(c->name = strdup(f->name))) {
        free(c);
        return;
    }
    c->type = f->type;
    c->list = f->list;
    c->born_ms = loop_now(d->loop);
    c->dies_ms = c->born_ms + (uint64_t)a.ttl * 1000;
    c->len = len;
    memcpy(c->msg, msg, len);
    map_add(&d->cache, &c->node, key_hash(f->list, f->type, f->name));
    list_append(&d->lru, &c->lru);
    d->n_cache++;
}

static bool from_cache(struct dns *d, uint8_t list, const char *name, uint16_t type, struct waiter *w)
{
    struct cache_entry *c = cache_find(d, list, type, name);
    uint8_t *copy;
    size_t len;

    if (!c || !(copy = malloc(c->len)))
        return false;
    len = c->len;
    memcpy(copy, c->msg, len);
    msg_age(copy, len, (uint32_t)((loop_now(d->loop) - c->born_ms) / 1000));
    w->flight = NULL;
    w->done(w, 0, copy, len);
    free(copy);
    return true;
}

/* ---- flights ---- */

static void flight_free(struct flight *f)
{
    free(f->name);
    free(f);
}

static void on_upstream(void *arg, int err, const uint8_t *msg, size_t len)
{
    struct flight *f = arg;
    struct list_head waiters;

    if (f->d) {
        map_del(&f->d->flights, &f->node);
        f->d->n_flights--;
        if (!err)
            cache_keep(f->d, f, msg, len);
    }
    list_init(&waiters);
    list_splice(&waiters, &f->waiters);
    for (struct list_head *n; (n = list_first(&waiters));) {
        struct waiter *w = container_of(n, struct waiter, node);

        list_del(n);
        w->flight = NULL;
        w->done(w, err, msg, len);
    }
    flight_free(f);
}

static struct flight *flight_find(struct dns *d, uint8_t list, uint16_t type, const char *name)
{
    for (struct map_node *m = map_first(&d->flights, key_hash(list, type, name)); m; m = map_next(m)) {
        struct flight *f = container_of(m, struct flight, node);

        if (f->type == type && f->list == list && !strcmp(f->name, name))
            return f;
    }
    return NULL;
}

static int flight_start(struct dns *d, uint8_t list, uint16_t type, const char *name, struct flight **out)
{
    struct flight *f;
    uint8_t query[512];
    size_t len = msg_query(name, type, 0, query);
    int r;

    if (!len || !d->up[list])
        return -ERR_NAME;
    if (d->n_flights >= IN_FLIGHT_MAX)
        return -ERR_LIMIT;
    if (!(f = calloc(1, sizeof(*f))) || !(f->name = strdup(name))) {
        free(f);
        return -ENOMEM;
    }
    f->d = d;
    f->type = type;
    f->list = list;
    list_init(&f->waiters);
    if ((r = upstream_ask(d->up[list], query, len, on_upstream, f)) < 0) {
        flight_free(f);
        return r;
    }
    map_add(&d->flights, &f->node, key_hash(list, type, name));
    d->n_flights++;
    *out = f;
    return 0;
}

int resolve(struct dns *d, const char *name, uint16_t type, enum lookup_for why, struct waiter *w)
{
    uint8_t list = d->up[why] ? (uint8_t)why : LOOKUP_RULES;
    struct flight *f;
    int r;

    if (from_cache(d, list, name, type, w))
        return 1;
    if (!(f = flight_find(d, list, type, name)) && (r = flight_start(d, list, type, name, &f)) < 0)
        return r;
    w->flight = f;
    list_append(&f->waiters, &w->node);
    return 0;
}

void resolve_cancel(struct waiter *w)
{
    if (w->flight)
        list_del(&w->node);
    w->flight = NULL;
}

/* ---- look-ups of our own ---- */

struct asking {
    struct dns *d;
    struct lookup *l;
    struct waiter a, aaaa;
    bool wait_a, wait_aaaa;
    struct addr v4[LOOKUP_MAX], v6[LOOKUP_MAX];
    int n4, n6, err;
    struct timer patience; /* how long IPv6 may be waited for once IPv4 came */
    struct job job;
};

#define AAAA_PATIENCE_MS 100

static void answer(struct asking *q)
{
    struct lookup *l = q->l;

    resolve_cancel(&q->a);
    resolve_cancel(&q->aaaa);
    timer_cancel(&q->patience);
    l->n = 0;
    for (int i = 0; i < q->n4 && l->n < LOOKUP_MAX; i++)
        l->addr[l->n++] = q->v4[i];
    for (int i = 0; i < q->n6 && l->n < LOOKUP_MAX; i++)
        l->addr[l->n++] = q->v6[i];
    l->priv = NULL;
    q->err = l->n ? 0 : q->err ? q->err : -ERR_NAME;
    l->done(l, q->err);
    free(q);
}

static void on_job(struct job *j)
{
    answer(container_of(j, struct asking, job));
}

static void on_patience(struct timer *t)
{
    answer(container_of(t, struct asking, patience));
}

static void settle(struct asking *q)
{
    if (!q->wait_a && !q->wait_aaaa)
        loop_defer(q->d->loop, &q->job);
    else if (!q->wait_a && q->n4)
        timer_set(q->d->loop, &q->patience, AAAA_PATIENCE_MS);
}

static int take(const uint8_t *msg, size_t len, int ver, struct addr *out)
{
    struct answer a;
    int n = 0;

    if (!msg_parse_answer(msg, len, &a))
        return 0;
    for (int i = 0; i < a.n_addr; i++)
        if (a.addr[i].ver == ver)
            out[n++] = a.addr[i];
    return n;
}

static void on_a(struct waiter *w, int err, const uint8_t *msg, size_t len)
{
    struct asking *q = container_of(w, struct asking, a);

    q->wait_a = false;
    q->err = err ? err : q->err;
    q->n4 = err ? 0 : take(msg, len, 4, q->v4);
    settle(q);
}

static void on_aaaa(struct waiter *w, int err, const uint8_t *msg, size_t len)
{
    struct asking *q = container_of(w, struct asking, aaaa);

    q->wait_aaaa = false;
    q->n6 = err ? 0 : take(msg, len, 6, q->v6);
    settle(q);
}

static bool res_known(struct resolver *r, const char *host, struct addr *out)
{
    struct dns *d = container_of(r, struct dns, resolver);
    int n = 0;

    if (addr_parse(host, out) == 0)
        return true;
    return hosts_addr(d, host, 4, out, 1, &n) && (n || (d->p->dns.ipv6 && hosts_addr(d, host, 6, out, 1, &n) && n));
}

/* Is the name in hosts? Then its addresses are known without a question. */
static bool from_hosts(struct asking *q, const char *host)
{
    if (!hosts_addr(q->d, host, 4, q->v4, LOOKUP_MAX, &q->n4))
        return false;
    hosts_addr(q->d, host, 6, q->v6, LOOKUP_MAX, &q->n6);
    return true;
}

static int res_lookup(struct resolver *r, struct lookup *l)
{
    struct dns *d = container_of(r, struct dns, resolver);
    char host[HOST_MAX + 1];
    struct asking *q = calloc(1, sizeof(*q));
    struct addr literal;
    int ra = 0, raaaa = 0;

    if (!q)
        return -ENOMEM;
    q->d = d;
    q->l = l;
    q->a.done = on_a;
    q->aaaa.done = on_aaaa;
    q->patience.cb = on_patience;
    q->job.cb = on_job;
    l->priv = q;
    if (addr_parse(l->host, &literal) == 0) {
        *(literal.ver == 4 ? &q->v4[q->n4++] : &q->v6[q->n6++]) = literal;
        loop_defer(d->loop, &q->job);
        return 0;
    }
    if (host_normalise(l->host, strlen(l->host), host) < 0 || from_hosts(q, host)) {
        loop_defer(d->loop, &q->job);
        return 0;
    }
    q->wait_a = true;
    q->wait_aaaa = d->p->ipv6 && (d->p->dns.ipv6 || l->why == LOOKUP_SERVER);
    if ((ra = resolve(d, host, T_A, (enum lookup_for)l->why, &q->a)) < 0)
        q->wait_a = false, q->err = ra;
    if (q->wait_aaaa && (raaaa = resolve(d, host, T_AAAA, (enum lookup_for)l->why, &q->aaaa)) < 0)
        q->wait_aaaa = false;
    settle(q);
    return 0;
}

static void res_cancel(struct resolver *r, struct lookup *l)
{
    struct asking *q = l->priv;

    if (!q)
        return;
    l->priv = NULL;
    resolve_cancel(&q->a);
    resolve_cancel(&q->aaaa);
    timer_cancel(&q->patience);
    job_cancel(&q->job);
    free(q);
}

/* ---- life ---- */

int resolver_init(struct dns *d, struct diag *diag)
{
    static const char *const last_resort[] = { "1.1.1.1", "8.8.8.8" };
    const struct cfg_dns *c = &d->p->dns;
    const struct cidr own[] = { d->p->tun.inet4, d->p->tun.inet6, c->fake4, c->fake6 };
    struct cfg_strs fixed = { .n = 2, .v = (const char **)last_resort };

    d->up[LOOKUP_RULES] = upstream_new(d->loop, &c->nameserver, own, 4, diag);
    if (!d->up[LOOKUP_RULES] && (d->up[LOOKUP_RULES] = upstream_new(d->loop, c->default_nameserver.n ? &c->default_nameserver : &fixed, own, 4, diag)))
        diag_warn(diag, 0, 0, "dns.nameserver", "unsupported-key",
                  "no server of dns.nameserver can be used by this build: look-ups for DIRECT flows and nodes go in clear to %s",
                  c->default_nameserver.n ? "dns.default-nameserver" : "1.1.1.1 and 8.8.8.8");
    d->up[LOOKUP_DIRECT] = upstream_new(d->loop, &c->direct_nameserver, own, 4, diag);
    d->up[LOOKUP_SERVER] = upstream_new(d->loop, &c->proxy_server_nameserver, own, 4, diag);
    d->resolver = (struct resolver){ res_lookup, res_cancel, res_known };
    list_init(&d->lru);
    if (map_init(&d->cache, 64) < 0 || map_init(&d->flights, 16) < 0)
        return -ENOMEM;
    return d->up[LOOKUP_RULES] ? 0 : -ENOMEM;
}

void resolver_fini(struct dns *d)
{
    for (uint32_t i = 0; d->flights.slot && i <= d->flights.mask; i++)
        for (struct map_node *m = d->flights.slot[i]; m; m = m->next)
            container_of(m, struct flight, node)->d = NULL;
    for (int i = 0; i < 3; i++) {
        upstream_free(d->up[i]);
        d->up[i] = NULL;
    }
    while (d->lru.next && !list_empty(&d->lru))
        cache_drop(d, container_of(list_first(&d->lru), struct cache_entry, lru));
    map_fini(&d->cache);
    map_fini(&d->flights);
    d->n_flights = 0;
}
