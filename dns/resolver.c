/*
 * resolver.c - real answers: the cache, one flight per question, a second opinion
 *
 *   resolve() ──► cache: fresh ─────────────────────────────► done
 *                        over, by little ───────────────────► done, and a flight behind it
 *                        over, by much ──► flight, 300 ms ──► its answer, or the old one
 *                 nothing ──► flight (the one that is under way, or a new one) ──► its answer
 *
 *   flight:  main list ──► addresses that are fit ──────────► the answer
 *            fallback  ──► (asked at the same time, or after)  the answer when main's is not
 *
 * A flight goes on when nobody waits any more: its answer is kept. It holds the routes it began with, so a reload disturbs nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/log.h"
#include "core/pool.h"
#include "dns/private.h"
#include "transport/transport.h"

#define OLD_PATIENCE_MS 300
#define MAIN_MS         2000 /* once fallback has an address, main has so long */
#define FALLBACK_MS     4000 /* once main knows nothing, fallback has so long: clients wait five seconds */

struct flight {
    struct map_node node; /* dns.flights */
    struct dns *d;
    struct routes *routes; /* a reference */
    const struct route *route;
    struct qkey key;
    uint8_t spelling[DNS_NAME]; /* how a server on this machine is asked: see comes_back() */
    bool respelled;
    uint8_t depth;
    uint64_t born_ms;
    struct list_head waiters;
    struct race main, fallback;
    bool main_runs;
    enum { SECOND_NOT_ASKED, SECOND_RUNS, SECOND_FAILED, SECOND_ANSWERED } second;
    uint8_t *kept;      /* an answer that may be the one in the end; NULL = none */
    struct timer grace; /* for the other opinion, while there is one */
    size_t kept_len;
    struct answer kept_a;
    struct ns *kept_from;
};

static uint64_t flight_hash(const struct qkey *k, uint16_t route, uint8_t depth)
{
    return qkey_hash(k) ^ ((uint64_t)route << 8 | depth) * 0x94d049bb133111ebu;
}

/* ---- the end of a flight ---- */

static bool worth_keeping(const struct flight *f, const struct answer *a, const struct ns *who)
{
    static const char acme[] = "\17_acme-challenge"; /* changes while somebody waits for it */

    if (a->truncated || !a->ttl || (who && who->spec.kind == NS_RCODE))
        return false;
    return f->key.type != T_TXT || f->key.len < sizeof(acme) || memcmp(f->key.name, acme, sizeof(acme) - 1) != 0;
}

static void waiter_end(struct waiter *w)
{
    if (w->flight)
        list_del(&w->node);
    w->flight = NULL;
    timer_cancel(&w->patience);
}

static void give_old(struct waiter *w)
{
    uint8_t *old = w->old;

    w->old = NULL;
    w->by = (struct dns_answered){ .how = DNS_BY_OLD };
    w->done(w, 0, old, w->old_len);
    free(old);
}

static void tell_waiters(struct flight *f, int err, const uint8_t *msg, size_t len, const struct ns *who, bool good)
{
    struct dns_answered by = { .how = DNS_BY_SERVER,
                               .server = who ? who->text : NULL,
                               .ms = (uint32_t)(loop_now(f->d->loop) - f->born_ms) };
    uint8_t *copy = err ? NULL : malloc(len + DNS_OPT);

    for (struct list_head *n; (n = list_first(&f->waiters));) {
        struct waiter *w = container_of(n, struct waiter, node);

        waiter_end(w);
        if (!good && w->old) {
            give_old(w);
            continue;
        }
        free(w->old);
        w->old = NULL;
        w->by = by;
        if (copy)
            memcpy(copy, msg, len);
        w->done(w, copy ? 0 : err ? err : -ENOMEM, copy, len);
    }
    free(copy);
}

static void keep_in_cache(struct flight *f, const uint8_t *msg, size_t len, const struct answer *a, const struct ns *who, bool good)
{
    struct dns *d = f->d;
    uint64_t now = loop_now(d->loop);

    if (f->routes != d->routes)
        return; /* a reload came in between */
    if (!good && cache_failed(d->cache, &f->key, f->route->id, now))
        return; /* what we have is better */
    if (a && worth_keeping(f, a, who))
        cache_put(d->cache, &f->key, f->route->id, now, msg, len, a->ttl, good);
}

static void flight_end(struct flight *f)
{
    race_stop(&f->main);
    race_stop(&f->fallback);
    timer_cancel(&f->grace);
    free(f->kept);
    routes_put(f->routes);
    free(f);
}

static bool is_answer(int err, const struct answer *a)
{
    return !err && answer_knows(a);
}

static void land(struct flight *f, int err, const uint8_t *msg, size_t len, const struct answer *a, const struct ns *who)
{
    bool good = is_answer(err, a);

    keep_in_cache(f, msg, len, a, who, good);
    map_del(&f->d->flights, &f->node); /* whom we tell may ask again */
    f->d->n_flights--;
    tell_waiters(f, err, msg, len, who, good);
    flight_end(f);
}

/* ---- two opinions ---- */

/* One opinion is there and may be the answer; the other has a while (0: as long as its race takes). */
static void keep(struct flight *f, const uint8_t *msg, size_t len, const struct answer *a, struct ns *who, uint64_t grace_ms)
{
    if (!(f->kept = malloc(len)))
        return;
    memcpy(f->kept, msg, len);
    f->kept_len = len;
    f->kept_a = *a;
    f->kept_from = who; /* the routes hold it */
    if (grace_ms)
        timer_set(f->d->loop, &f->grace, grace_ms);
}

static void land_kept(struct flight *f)
{
    land(f, 0, f->kept, f->kept_len, &f->kept_a, f->kept_from);
}

static void on_grace(struct timer *t)
{
    land_kept(container_of(t, struct flight, grace));
}

static void start_second(struct flight *f)
{
    f->second = race_start(&f->fallback, f->d->loop) < 0 ? SECOND_FAILED : SECOND_RUNS;
}

/* Main's answer is not what is wanted. An empty one may do if nobody knows more; a suspicious one never. */
static void second_opinion(struct flight *f, int err, const uint8_t *msg, size_t len, const struct answer *a, struct ns *who)
{
    bool unfit = !err && a->n_addr;

    if (f->second != SECOND_ANSWERED && is_answer(err, a) && !unfit)
        keep(f, msg, len, a, who, FALLBACK_MS);
    if (f->second == SECOND_NOT_ASKED)
        start_second(f);
    if (f->second == SECOND_RUNS)
        return;
    if (f->kept)
        land_kept(f);
    else
        land(f, unfit ? -ERR_NAME : err, msg, len, a, who);
}

static void on_main(struct race *r, int err, uint8_t *msg, size_t len, const struct answer *a, struct ns *who)
{
    struct flight *f = container_of(r, struct flight, main);

    f->main_runs = false;
    if (!f->route->fallback || (!err && a->n_addr && !routes_unfit(f->routes, a)))
        land(f, err, msg, len, a, who);
    else
        second_opinion(f, err, msg, len, a, who);
}

static void on_fallback(struct race *r, int err, uint8_t *msg, size_t len, const struct answer *a, struct ns *who)
{
    struct flight *f = container_of(r, struct flight, fallback);

    f->second = is_answer(err, a) ? SECOND_ANSWERED : SECOND_FAILED;
    if (f->main_runs && f->second == SECOND_ANSWERED)
        keep(f, msg, len, a, who, a->n_addr ? MAIN_MS : 0);
    else if (!f->main_runs && f->second == SECOND_FAILED && f->kept)
        land_kept(f);
    else if (!f->main_runs)
        land(f, err, msg, len, a, who);
}

/* ---- the beginning of a flight ---- */

static struct flight *flight_find(struct dns *d, const struct qkey *k, uint16_t route, uint8_t depth)
{
    for (struct map_node *m = map_first(&d->flights, flight_hash(k, route, depth)); m; m = map_next(m)) {
        struct flight *f = container_of(m, struct flight, node);

        if (f->route->id == route && f->depth == depth && qkey_eq(&f->key, k))
            return f;
    }
    return NULL;
}

static int flight_start(struct dns *d, const struct qkey *k, const struct route *route, uint8_t depth, struct flight **out)
{
    struct flight *f;
    int r;

    if (d->n_flights >= IN_FLIGHT_MAX)
        return -ERR_LIMIT;
    if (!(f = calloc(1, sizeof(*f))))
        return -ENOMEM;
    f->d = d;
    f->route = route;
    f->key = *k;
    f->depth = depth;
    f->born_ms = loop_now(d->loop);
    f->grace.cb = on_grace;
    list_init(&f->waiters);
    f->respelled = (route->main->local || (route->fallback && route->fallback->local)) && qkey_respell(k, f->spelling);
    f->main = (struct race){ .list = route->main, .key = &f->key, .depth = depth, .done = on_main };
    f->fallback = (struct race){ .list = route->fallback, .key = &f->key, .depth = depth, .done = on_fallback };
    if (f->respelled)
        f->main.spelling = f->fallback.spelling = f->spelling;
    if ((r = race_start(&f->main, d->loop)) < 0) {
        free(f);
        return r;
    }
    f->main_runs = true;
    f->routes = routes_get(d->routes);
    map_add(&d->flights, &f->node, flight_hash(k, route->id, depth));
    d->n_flights++;
    if (route->fallback && !route->lazy)
        start_second(f);
    *out = f;
    return 0;
}

/* A server on this machine may be a forwarder whose own questions the redirect leads back to us; waiting for ourselves would take until the
 * end. So it is asked in a spelling that nobody else uses, and forwarders keep that. */
static bool comes_back(struct dns *d, const struct flight *f, const struct waiter *w)
{
    char name[DNS_NAME_TEXT];

    if (!f->respelled || !w->asked || memcmp(w->asked, f->spelling, f->key.len) != 0)
        return false;
    if (!d->loop_said)
        log_warn(LOG_DNS,
                 "the question for %s comes back while we wait for its answer: a name server of the profile is a forwarder on this machine "
                 "that asks us. "
                 "Name its own servers in its place",
                 qkey_text(&f->key, name));
    d->loop_said = true;
    return true;
}

static int join(struct dns *d, const struct qkey *k, const struct route *route, uint8_t depth, struct waiter *w)
{
    struct flight *f = flight_find(d, k, route->id, depth);
    int r;

    if (f && w && comes_back(d, f, w))
        return -ERR_CIRCLE;
    if (!f && (r = flight_start(d, k, route, depth, &f)) < 0)
        return r;
    if (!w)
        return 0;
    w->flight = f;
    list_append(&f->waiters, &w->node);
    return 0;
}

/* ---- asking ---- */

static void on_patience(struct timer *t)
{
    struct waiter *w = container_of(t, struct waiter, patience);

    waiter_end(w);
    give_old(w);
}

/* What is kept is long over: something better for a moment, then it. */
static int ask_with_old(struct dns *d, const struct qkey *k, const struct route *route, uint8_t depth, struct waiter *w, const uint8_t *old,
                        size_t len)
{
    int r = join(d, k, route, depth, w);

    if (r == -ERR_CIRCLE)
        return r;
    if ((w->old = malloc(len + DNS_OPT))) {
        memcpy(w->old, old, len);
        w->old_len = len;
    }
    if (r == 0 && w->old) {
        w->patience.cb = on_patience;
        timer_set(d->loop, &w->patience, OLD_PATIENCE_MS);
    } else if (w->old) { /* nobody can be asked */
        give_old(w);
        return 1;
    }
    return r;
}

static int ask_cached(struct dns *d, const struct qkey *k, const struct route *route, uint8_t depth, struct waiter *w, uint8_t **buf)
{
    size_t len;

    switch (cache_get(d->cache, k, route->id, loop_now(d->loop), buf, &len)) {
    case CACHE_NONE: return join(d, k, route, depth, w);
    case CACHE_OLD: return ask_with_old(d, k, route, depth, w, *buf, len);
    case CACHE_PREFETCH: join(d, k, route, depth, NULL); /* fall through */
    case CACHE_FRESH: w->by = (struct dns_answered){ .how = DNS_BY_CACHE }; break;
    case CACHE_STALE: join(d, k, route, depth, NULL); /* fall through */
    case CACHE_HELD: w->by = (struct dns_answered){ .how = DNS_BY_OLD }; break;
    }
    w->done(w, 0, *buf, len);
    return 1;
}

int resolve(struct dns *d, const struct qkey *k, const char *name, unsigned why, uint8_t depth, struct waiter *w)
{
    const struct route *route = routes_choose(d->routes, k, name, why);
    uint8_t *buf;
    int r;

    if (depth > DEPTH_MAX)
        return -ERR_CIRCLE;
    r = ask_cached(d, k, route, depth, w, &buf);
    buf_put(buf);
    return r;
}

void resolve_cancel(struct waiter *w)
{
    waiter_end(w);
    free(w->old);
    w->old = NULL;
}

/* ---- ways ---- */

unsigned dns_ways_to(const struct dns *d, const char *host, struct dns_way *out, unsigned max)
{
    const struct ns_list *l;
    struct qkey k;
    unsigned n = 0;

    if (!qkey_make(host, T_A, &k))
        return 0;
    l = routes_choose(d->routes, &k, host, LOOKUP_SERVER)->main;
    for (unsigned i = 0; i < l->n && n < max; i++)
        if (*l->v[i]->spec.via && strcmp(l->v[i]->spec.via, "RULES") != 0)
            out[n++] = (struct dns_way){ l->v[i]->text, l->v[i]->spec.via };
    return n;
}

/* ---- life ---- */

int resolver_init(struct dns *d)
{
    int r = lookup_init(d);

    list_init(&d->servers);
    return r < 0 ? r : map_init(&d->flights, 16);
}

int resolver_configure(struct dns *d, const struct profile *p, struct dns_lists *lists, struct diag *diag)
{
    struct cache *cache = cache_new((uint32_t)p->dns.cache_max);
    struct routes *routes;

    d->own[0] = p->tun.inet4;
    d->own[1] = p->tun.inet6;
    d->own[2] = p->dns.fake4;
    d->own[3] = p->dns.fake6;
    d->n_listen = cfg_listen_parse(p->dns.listen, d->listen);
    d->ipv6_timeout_ms = p->dns.ipv6_timeout_ms;
    d->parallel = p->dns.parallel;
    d->reading = p;
    d->n_readings++;
    routes = cache ? routes_new(d, p, lists, diag) : NULL;
    d->reading = NULL;
    if (!routes) {
        cache_free(cache);
        return -ENOMEM;
    }
    routes_put(d->routes);
    cache_free(d->cache);
    d->routes = routes;
    d->cache = cache;
    tls_roots_free(d->roots);
    d->roots = ns_roots(d->state_dir, &p->tls.extra_roots);
    ns_trust_anew(d);
    ns_forgive(d);
    return 0;
}

void resolver_fini(struct dns *d)
{
    for (uint32_t i = 0; d->flights.slot && i <= d->flights.mask; i++)
        while (d->flights.slot[i]) {
            struct flight *f = container_of(d->flights.slot[i], struct flight, node);

            race_stop(&f->main);
            race_stop(&f->fallback);
            land(f, -ECANCELED, NULL, 0, NULL, NULL);
        }
    lookup_fini(d);
    routes_put(d->routes);
    cache_free(d->cache);
    tls_roots_free(d->roots);
    map_fini(&d->flights);
}
