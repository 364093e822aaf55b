/*
 * refresh.c - providers and the policy: what is new in a file comes into force
 *
 *   providers (provider.c) ── changed ─► a moment, for others to follow ─► thread: build ─► swap
 *                                                                            │
 *       rules, geo data    the same profile and outbounds, rules and lists anew: policy_build()
 *       proxies            all of it anew, from the profile's bytes: policy_load()
 *
 * Building takes tens of milliseconds for big lists and is done by a thread of the pool; the loop only swaps a pointer. A reload that comes
 * meanwhile wins: what was built for the policy before it is thrown away, and built again.
 *
 * Downloads go through the engine as flows of ours (inner.c), one struct inner for each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/work.h"
#include "engine/content.h"
#include "engine/inner.h"
#include "engine/private.h"

#define GATHER_MS    300                 /* providers that change together are built together */
#define NO_MEMORY_MS 1000                /* then it is tried again */
#define BEGIN_MS     500                 /* after the start: what carries traffic comes first */
#define AGENT        "clash.meta shunt/" /* services choose the format by the first word */

struct refresh {
    struct engine *e;
    struct providers *providers;
    struct timer begin, gather;
    struct work work;
    bool rules, all;              /* what is to be built anew */
    bool building, full, good;    /* full: all of it */
    bool ending;                  /* what is built is thrown away */
    struct policy *base, *next;   /* what is built for (a reference), what was built */
    struct cfg_input body, local; /* full: what it is built from, for a reload replaces the engine's */
    struct diag diag;
    char agent[64];
};

/* ---- what providers are lent ---- */

static bool has_proxies(const char *bytes, size_t len, char why[256])
{
    struct diag d;
    struct cfg_doc *doc;
    const struct cfg_node *list;
    bool good;

    diag_init(&d, "", bytes, len, false);
    doc = link_looks_like(bytes, len) ? link_parse(bytes, len, &d) : cfg_parse(bytes, len, &d);
    list = doc ? cfg_get(cfg_root(doc), "proxies") : NULL;
    good = list && list->kind == CFG_SEQ && list->n > 0;
    if (!good)
        snprintf(why, 256, "%s", !doc ? "it is neither YAML nor a list of links" : "it has no proxies");
    cfg_doc_free(doc);
    diag_fini(&d);
    return good;
}

static bool check(void *arg, const struct provider_spec *s, const char *bytes, size_t len, char why[256])
{
    switch (s->kind) {
    case PROVIDER_RULES: return provider_check_rules(s, bytes, len, NULL, why);
    case PROVIDER_GEO: return content_check_geo(s, bytes, len, why);
    case PROVIDER_PROXIES: return has_proxies(bytes, len, why);
    }
    return false;
}

static void *make_way(void *arg, const struct provider_spec *s)
{
    struct refresh *r = arg;
    struct inner *in = malloc(sizeof(*in));

    if (in)
        inner_init(in, r->e, s->proxy, s->own);
    return in;
}

static int open_way(void *way, const char *host, uint16_t port, char name[64])
{
    return inner_open(way, host, port, name);
}

static int way_failed(void *way)
{
    return atomic_load(&((struct inner *)way)->failed);
}

static void end_way(void *way)
{
    inner_fini(way);
    free(way);
}

static void on_changed(void *arg, const struct provider_spec *s)
{
    struct refresh *r = arg;

    r->all |= s->kind == PROVIDER_PROXIES;
    r->rules |= s->kind != PROVIDER_PROXIES;
    if (!timer_armed(&r->gather))
        timer_set(r->e->loop, &r->gather, GATHER_MS);
}

/* ---- building ---- */

static void build_in_thread(struct work *w)
{
    struct refresh *r = container_of(w, struct refresh, work);
    struct engine *e = r->e;

    if (r->full)
        r->next = policy_load(&r->body, r->local.len ? &r->local : NULL, &e->env, &r->diag);
    else
        r->good = policy_build(r->next, &e->env, r->base->specs->near, &r->diag);
}

static void put_away(struct refresh *r)
{
    policy_put(r->base);
    policy_put(r->next);
    r->base = r->next = NULL;
    input_free(&r->body);
    input_free(&r->local);
    diag_fini(&r->diag);
}

/* false: no memory. */
static bool start_building(struct refresh *r)
{
    struct engine *e = r->e;

    r->full = r->all;
    r->base = policy_get(e->pol);
    diag_init(&r->diag, e->profile_name, NULL, 0, false);
    if (r->full)
        r->building = input_copy(&e->body, &r->body) == 0 && input_copy(&e->local, &r->local) == 0;
    else
        r->building = (r->next = policy_again(e->pol)) != NULL;
    r->building = r->building && work_start(e->loop, &r->work) == 0;
    if (r->building)
        r->all = r->rules = false;
    else
        put_away(r);
    return r->building;
}

static void on_gather(struct timer *t)
{
    struct refresh *r = container_of(t, struct refresh, gather);

    if (!r->building && (r->all || r->rules) && !start_building(r))
        timer_set(r->e->loop, t, NO_MEMORY_MS);
}

static void on_built(struct work *w)
{
    struct refresh *r = container_of(w, struct refresh, work);
    struct engine *e = r->e;
    bool good = r->full ? r->next != NULL : r->good;

    r->building = false;
    if (r->ending) {
        put_away(r);
        return;
    }
    if (e->pol != r->base) { /* a reload came: once more, for that one */
        r->all |= r->full;
        r->rules |= !r->full;
    } else if (!good) {
        log_warn(LOG_CFG, "the new content of providers could not be put in force; what there is stays in use");
    } else if (r->full) {
        eng_adopt(e, r->next, &r->diag);
        r->next = NULL;
    } else {
        eng_adopt_rules(e, r->next, &r->diag);
        r->next = NULL;
    }
    put_away(r);
    if (r->all || r->rules)
        timer_set(e->loop, &r->gather, GATHER_MS);
}

/* ---- life ---- */

static void on_begin(struct timer *t)
{
    providers_start(container_of(t, struct refresh, begin)->providers);
}

int refresh_init(struct engine *e)
{
    struct refresh *r = calloc(1, sizeof(*r));
    struct provider_hooks h = { r, check, on_changed, make_way, open_way, way_failed, end_way };

    if (!r)
        return -ENOMEM;
    r->e = e;
    r->begin.cb = on_begin;
    r->gather.cb = on_gather;
    r->work = (struct work){ build_in_thread, on_built };
    snprintf(r->agent, sizeof(r->agent), AGENT "%s", e->version);
    if (!(r->providers = providers_new(e->loop, e->state_dir, r->agent, &h))) {
        free(r);
        return -ENOMEM;
    }
    e->refresh = r;
    timer_set(e->loop, &r->begin, BEGIN_MS);
    return refresh_set(e);
}

void refresh_fini(struct engine *e)
{
    struct refresh *r = e->refresh;

    if (!r)
        return;
    timer_cancel(&r->begin);
    timer_cancel(&r->gather);
    r->ending = true;
    while (r->building)
        loop_turn(e->loop, 100);
    providers_free(r->providers);
    free(r);
    e->refresh = NULL;
}

static const struct cfg_provider *find_proxies(const struct profile *p, const char *name)
{
    for (uint32_t i = 0; i < p->n_proxy_providers; i++)
        if (!strcmp(p->proxy_providers[i].name, name))
            return &p->proxy_providers[i];
    return NULL;
}

/* Where outbound/ reads the content of a proxy provider, there it is stored; one without url is a file that somebody else writes. */
static int proxy_specs(const struct policy *p, struct specs *mem, struct provider_spec *out, uint32_t *n)
{
    const struct out_provider *op;
    int r = 0;

    for (uint32_t i = 0; r == 0 && (op = out_provider_at(p->outs, i)); i++) {
        const struct cfg_provider *c = find_proxies(p->profile, op->name);
        struct provider_spec *s = &out[*n];

        if (!c || !op->path)
            continue;
        r = spec_of_provider(mem, p->profile, c, s);
        s->kind = PROVIDER_PROXIES;
        s->from = op->url && *op->url && !strcmp(op->type, "http") ? PROVIDER_HTTP : PROVIDER_FILE;
        s->url = op->url;
        s->path = op->path;
        s->proxy = op->proxy;
        s->interval_s = op->interval_s;
        s->size_limit = op->size_limit;
        *n += r == 0;
    }
    return r;
}

int refresh_set(struct engine *e)
{
    const struct specs *own = e->pol->specs;
    uint32_t most = own->n + e->pol->profile->n_proxy_providers, n = 0;
    struct specs mem = { 0 };
    struct provider_spec *proxies = calloc(most + 1, sizeof(*proxies));
    const struct provider_spec **list = calloc(most + 1, sizeof(*list));
    int r = proxies && list ? proxy_specs(e->pol, &mem, proxies, &n) : -ENOMEM;

    if (r == 0) {
        for (uint32_t i = 0; i < n; i++)
            list[i] = &proxies[i];
        for (uint32_t i = 0; i < own->n; i++)
            list[n + i] = &own->v[i];
        r = providers_set(e->refresh->providers, list, n + own->n);
    }
    specs_fini(&mem);
    free(proxies);
    free(list);
    return r;
}

void eng_each_provider(struct engine *e, void (*fn)(void *arg, const struct provider_view *v), void *arg)
{
    providers_each(e->refresh->providers, fn, arg);
}

int eng_refresh_provider(struct engine *e, enum provider_kind kind, const char *name, struct provider_wait *w)
{
    return providers_refresh(e->refresh->providers, kind, name, w);
}

uint32_t eng_provider_size(struct engine *e, const char *name)
{
    const struct specs *s = e->pol->specs;

    for (uint32_t i = 0; i < s->n_rules; i++)
        if (!strcmp(s->v[i].name, name))
            return s->sizes[i];
    return 0;
}
