/*
 * set.c - all outbounds of one profile
 *
 *   built-ins ──► proxies ──► members of providers ──► groups ──► members ──► ways and choices ──► GLOBAL
 *                    │
 *                    └─► what makes no sense: found by name, ids behind all others, in no group
 *
 * An entry that makes no sense stays findable on purpose: a rule that names it then rejects its flows, where a missing target would be a mistake in the
 * rule. Members of providers have ids but no names among the profile's own: two providers may hold the same name.
 *
 * Memory: outbounds, names and members live in one arena, options in the profile's; both die with the last reference.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/hash.h"
#include "outbound/build.h"
#include "transport/transport.h"

static const struct {
    const char *name;
    const struct outbound_ops *ops;
} builtins[] = {
    { "DIRECT", &direct_ops }, { "REJECT", &reject_ops },       { "REJECT-DROP", &reject_drop_ops },
    { "PASS", &pass_ops },     { "PASS-RULE", &pass_rule_ops }, { "COMPATIBLE", &compatible_ops },
};
#define N_BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

/* ---- names ---- */

static struct outbound *find_in(const struct map *names, const char *name)
{
    for (struct map_node *n = map_first(names, hash_bytes(name, strlen(name))); n; n = map_next(n)) {
        struct outbound *o = container_of(n, struct named, node)->o;

        if (!strcmp(o->name, name))
            return o;
    }
    return NULL;
}

struct outbound *out_find(struct out_set *s, const char *name)
{
    return find_in(&s->names, name);
}

struct outbound *out_find_any(struct out_set *s, const char *name)
{
    struct outbound *o = find_in(&s->names, name);

    return o ? o : find_in(&s->foreign, name);
}

static int claim_name(struct out_set *s, struct outbound *o)
{
    struct map *names = o->provider ? &s->foreign : &s->names;
    struct named *n;

    if (o->provider && find_in(names, o->name))
        return 0; /* the first one has it */
    if (!(n = arena_alloc(&s->arena, sizeof(*n))))
        return -ENOMEM;
    n->o = o;
    map_add(names, &n->node, hash_bytes(o->name, strlen(o->name)));
    return 0;
}

void out_offer(struct out_set *s, const struct outbound *but, struct cfg_guess *g)
{
    for (int32_t i = 0; i < s->n_live; i++)
        if (!s->live[i]->provider && s->live[i] != but && !cfg_guess_try(g, s->live[i]->name))
            return;
}

struct outbound *set_make(struct out_set *s, const struct outbound_ops *ops, const char *name, const struct cfg_node *node)
{
    struct outbound *o = arena_alloc(&s->arena, ops->size);

    if (!o)
        return NULL;
    o->ops = ops;
    o->env = s->env;
    o->set = s;
    o->name = name;
    o->node = node;
    o->id = -1;
    return o;
}

static int add_live(struct out_set *s, struct outbound *o)
{
    if ((uint32_t)s->n_live == s->room) {
        uint32_t room = s->room ? s->room * 2 : 64;
        struct outbound **more = realloc(s->live, room * sizeof(struct outbound *));

        if (!more)
            return -ENOMEM;
        s->live = more;
        s->room = room;
    }
    o->id = s->n_live;
    s->live[s->n_live++] = o;
    return claim_name(s, o);
}

int build_add(struct build *b, struct outbound *o)
{
    return add_live(b->s, o);
}

/* ---- what has been said ---- */

struct place {
    struct map_node node;
    uint32_t line, column;
};

bool build_first(struct build *b, const struct cfg_node *at)
{
    uint32_t where[2] = { at->line, at->column };
    uint64_t hash = hash_bytes(where, sizeof(where));
    struct place *p;

    for (struct map_node *n = map_first(&b->said, hash); n; n = map_next(n)) {
        p = container_of(n, struct place, node);
        if (p->line == at->line && p->column == at->column)
            return false;
    }
    if ((p = arena_alloc(&b->s->arena, sizeof(*p)))) {
        p->line = at->line;
        p->column = at->column;
        map_add(&b->said, &p->node, hash);
    }
    return true;
}

/* ---- proxies ---- */

static const struct outbound_ops unknown_ops = { .type = "unknown", .api_type = "Unknown", .action = OUT_PROXY, .size = sizeof(struct outbound) };

/* An entry that makes no sense: a rule that names it rejects its flows. */
static int add_broken(struct out_set *s, struct outbound *o)
{
    o->udp = true; /* its datagrams are rejected like its connections, not handed to the next rule */
    s->broken[s->n_broken++] = o;
    return claim_name(s, o);
}

static int add_unknown(struct build *b, const struct cfg_entry *e, const char *path)
{
    struct out_set *s = b->s;
    struct outbound *o = set_make(s, &unknown_ops, e->name, e->node);
    char name[OUT_NAME_MAX], type[OUT_NAME_MAX];
    const struct cfg_node *at = out_place(e->node, cfg_find(e->node, "type", CFG_KEYS_PROXY));
    struct cfg_guess g;

    if (!o)
        return -ENOMEM;
    o->why = "its type is unknown";
    diag_warn(b->d, at->line, at->column, path, "unknown-type", "proxy \"%s\": unknown type \"%s\"%s; the entry is skipped", out_quote(e->name, name),
              out_quote(e->type, type), registry_guess(&g, b->d, e->type));
    return add_broken(s, o);
}

static int add_proxy(struct build *b, const struct cfg_entry *e)
{
    struct out_set *s = b->s;
    const struct outbound_ops *ops = registry_find(e->type);
    struct outbound *o;
    char path[32];
    int r;

    snprintf(path, sizeof(path), "proxies[%u]", e->index);
    if (!ops)
        return add_unknown(b, e, path);
    if (!(o = set_make(s, ops, e->name, e->node)))
        return -ENOMEM;
    if ((r = node_read(o, path, b->d)) == -ENOMEM)
        return r;
    return r < 0 ? add_broken(s, o) : add_live(s, o);
}

static int add_proxies(struct build *b)
{
    const struct profile *p = b->s->profile;
    uint32_t n = p->n_proxies < NODES_MAX ? p->n_proxies : NODES_MAX;
    int r = 0;

    if (!(b->s->broken = arena_alloc(&b->s->arena, (n + 1) * sizeof(struct outbound *))))
        return -ENOMEM;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = add_proxy(b, &p->proxies[i]);
    if (n < p->n_proxies)
        diag_warn(b->d, p->proxies[n].node->line, p->proxies[n].node->column, "proxies", "bad-value", "more than %u proxies; the rest is skipped", NODES_MAX);
    return r;
}

/* ---- groups ---- */

static int add_group(struct build *b, const struct cfg_entry *e)
{
    const struct outbound_ops *ops = group_type(e->type);
    const struct cfg_node *at = out_place(e->node, cfg_find(e->node, "type", CFG_KEYS_NOCASE));
    char path[32], name[OUT_NAME_MAX], type[OUT_NAME_MAX];
    struct cfg_guess guess;
    struct group *g;
    int r;

    snprintf(path, sizeof(path), "proxy-groups[%u]", e->index);
    if (!ops) {
        diag_warn(b->d, at->line, at->column, path, "unknown-type", "group \"%s\": unknown type \"%s\"%s; it is taken for a select",
                  out_quote(e->name, name), out_quote(e->type, type), group_guess(&guess, b->d, e->type));
        ops = group_select;
    }
    if (!(g = (struct group *)set_make(b->s, ops, e->name, e->node)))
        return -ENOMEM;
    g->entry = e;
    g->index = b->n_groups;
    g->o.ready = true;
    if ((r = group_read(b, g)) < 0)
        return r;
    b->groups[b->n_groups++] = g;
    return add_live(b->s, &g->o);
}

static int add_groups(struct build *b)
{
    const struct profile *p = b->s->profile;
    uint32_t n = p->n_groups < GROUPS_MAX ? p->n_groups : GROUPS_MAX;
    int r = 0;

    if (!(b->groups = arena_alloc(&b->s->arena, (n + 1) * sizeof(struct group *))))
        return -ENOMEM;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = add_group(b, &p->groups[i]);
    if (n < p->n_groups)
        diag_warn(b->d, p->groups[n].node->line, p->groups[n].node->column, "proxy-groups", "bad-value", "more than %u groups; the rest is skipped", GROUPS_MAX);
    return r;
}

static int by_name(const void *a, const void *b)
{
    const struct outbound *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

static int providers_by_name(const void *a, const void *b)
{
    const struct out_provider *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* What the groups look for their members in. */
static int prepare(struct build *b)
{
    struct out_set *s = b->s;
    size_t n = (size_t)s->n_live;

    b->sorted = malloc(n * sizeof(struct outbound *));
    b->providers = malloc((s->n_providers + 1) * sizeof(struct out_provider *));
    b->stamp = calloc(n, sizeof(*b->stamp));
    b->scratch = malloc(n * sizeof(struct outbound *));
    b->scratch2 = malloc(n * sizeof(struct outbound *));
    if (!b->sorted || !b->providers || !b->stamp || !b->scratch || !b->scratch2)
        return -ENOMEM;
    for (size_t i = N_BUILTINS; i < n; i++)
        if (!group_of(s->live[i]) && !s->live[i]->provider)
            b->sorted[b->n_sorted++] = s->live[i];
    qsort(b->sorted, b->n_sorted, sizeof(struct outbound *), by_name);
    for (uint32_t i = 0; i < s->n_providers; i++)
        b->providers[i] = &s->providers[i];
    qsort(b->providers, s->n_providers, sizeof(struct out_provider *), providers_by_name);
    return 0;
}

/* GLOBAL, unless the profile has one: DIRECT, REJECT, then everything of the profile in its order. */
static int add_global(struct out_set *s)
{
    struct group *g;

    if (out_find(s, "GLOBAL"))
        return 0;
    if (!(g = (struct group *)set_make(s, group_select, "GLOBAL", NULL)))
        return -ENOMEM;
    if (!(g->members = arena_alloc(&s->arena, (size_t)s->n_live * sizeof(struct outbound *))))
        return -ENOMEM;
    g->members[g->n_members++] = out_find(s, "DIRECT");
    g->members[g->n_members++] = out_find(s, "REJECT");
    for (int32_t i = N_BUILTINS; i < s->n_live; i++)
        if (!s->live[i]->provider)
            g->members[g->n_members++] = s->live[i];
    g->o.udp = g->o.ready = true;
    g->now = g->leaf = g->members[0];
    g->opts = (struct out_group_opts){ .url = "", .icon = "", .expected_status = "*", .timeout_ms = 5000, .lazy = true };
    return add_live(s, &g->o);
}

/* ---- the whole ---- */

static int add_builtins(struct out_set *s)
{
    int r = 0;

    for (size_t i = 0; i < N_BUILTINS && r == 0; i++) {
        struct outbound *o = set_make(s, builtins[i].ops, builtins[i].name, NULL);

        if (!o)
            return -ENOMEM;
        o->ops->init(o, NULL);
        r = add_live(s, o);
    }
    return r;
}

static int build(struct build *b)
{
    struct out_set *s = b->s;
    int r;

    if ((r = filters_init(&b->filters)) < 0 || (r = map_init(&s->names, N_BUILTINS + s->profile->n_proxies + s->profile->n_groups + 1)) < 0 ||
        (r = map_init(&s->foreign, 64)) < 0 || (r = map_init(&s->chains, 16)) < 0 || (r = map_init(&b->said, 16)) < 0)
        return r;
    if ((r = build_roots(b)) < 0 || (r = add_builtins(s)) < 0 || (r = add_proxies(b)) < 0 || (r = build_providers(b)) < 0 ||
        (r = add_groups(b)) < 0 || (r = prepare(b)) < 0)
        return r;
    for (uint32_t i = 0; i < b->n_groups && r == 0; i++)
        r = group_members(b, b->groups[i]);
    if (r < 0 || (r = build_ways(b)) < 0 || (r = add_global(s)) < 0)
        return r;
    for (int32_t i = 0; i < s->n_broken; i++)
        s->broken[i]->id = s->n_live + i;
    return 0;
}

static void build_fini(struct build *b)
{
    filters_fini(&b->filters);
    map_fini(&b->said);
    free(b->sorted);
    free(b->providers);
    free(b->stamp);
    free(b->scratch);
    free(b->scratch2);
}

static void set_free(struct out_set *s)
{
    for (int32_t i = 0; i < s->n_live; i++)
        if (s->live[i]->ready && s->live[i]->ops->fini)
            s->live[i]->ops->fini(s->live[i]);
    chains_fini(s);
    tls_roots_free(s->roots);
    map_fini(&s->names);
    map_fini(&s->foreign);
    free(s->live);
    while (s->contents) {
        struct content *c = s->contents;

        s->contents = c->next;
        cfg_doc_free(c->doc);
    }
    arena_fini(&s->arena);
    free(s);
}

struct out_set *out_set_new(struct profile *p, const struct out_env *env, struct diag *d)
{
    struct out_set *s = calloc(1, sizeof(*s));
    struct build b = { .s = s, .d = d };
    int r;

    if (!s)
        return NULL;
    s->refs = 1;
    s->profile = p;
    s->env = env;
    list_init(&s->pools);
    r = build(&b);
    build_fini(&b);
    if (r == 0)
        return s;
    set_free(s);
    return NULL;
}

void out_set_put(struct out_set *s)
{
    struct profile *p;

    if (!s || --s->refs)
        return;
    p = s->profile;
    set_free(s); /* options are wiped while the profile still holds them */
    profile_free(p);
}

struct outbound *out_get(struct outbound *o)
{
    o->set->refs++;
    return o;
}

void out_put(struct outbound *o)
{
    if (o)
        out_set_put(o->set);
}

struct outbound *out_at(struct out_set *s, int32_t id)
{
    if (id >= 0 && id < s->n_live)
        return s->live[id];
    if (id >= s->n_live && id - s->n_live < s->n_broken)
        return s->broken[id - s->n_live];
    return NULL;
}

int32_t out_count(struct out_set *s)
{
    return s->n_live;
}

const struct out_provider *out_provider_at(const struct out_set *s, uint32_t i)
{
    return i < s->n_providers ? &s->providers[i] : NULL;
}
