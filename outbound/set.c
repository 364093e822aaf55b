/*
 * set.c - all outbounds of one profile
 *
 *   profile ──► built-ins ──► proxies ──► groups ──► members ──► cycles cut ──► choices ──► GLOBAL
 *                               │
 *                               └─► what cannot be dialled: found by name, ids behind all others, in no group
 *
 * A node that cannot be dialled stays findable on purpose: a rule that names it then rejects its flows with a reason, where a missing target would
 * be a mistake in the rule.
 *
 * Memory: outbounds, names and members live in one arena, options in the profile's; both die with the last reference.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/hash.h"
#include "outbound/private.h"

static const struct {
    const char *name;
    const struct outbound_ops *ops;
} builtins[] = {
    { "DIRECT", &direct_ops }, { "REJECT", &reject_ops },         { "REJECT-DROP", &reject_drop_ops },
    { "PASS", &pass_ops },     { "COMPATIBLE", &compatible_ops },
};
#define N_BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

/* ---- names ---- */

struct outbound *out_find(struct out_set *s, const char *name)
{
    for (struct map_node *n = map_first(&s->names, hash_bytes(name, strlen(name))); n; n = map_next(n)) {
        struct outbound *o = container_of(n, struct named, node)->o;

        if (!strcmp(o->name, name))
            return o;
    }
    return NULL;
}

static int claim_name(struct out_set *s, struct outbound *o)
{
    struct named *n = arena_alloc(&s->arena, sizeof(*n));

    if (!n)
        return -ENOMEM;
    n->o = o;
    map_add(&s->names, &n->node, hash_bytes(o->name, strlen(o->name)));
    return 0;
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
    o->id = s->n_live;
    s->live[s->n_live++] = o;
    return claim_name(s, o);
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

static int add_unknown(struct out_set *s, const struct cfg_entry *e, const char *path, struct diag *d)
{
    struct outbound *o = set_make(s, &unknown_ops, e->name, e->node);
    char name[OUT_NAME_MAX], type[OUT_NAME_MAX];
    const struct cfg_node *at = cfg_find(e->node, "type", CFG_KEYS_PROXY);

    if (!o)
        return -ENOMEM;
    o->why = "its type is unknown";
    diag_warn(d, at ? at->line : e->node->line, at ? at->column : e->node->column, path, "unknown-type",
              "proxy \"%s\": unknown type \"%s\"; the entry is skipped", out_quote(e->name, name), out_quote(e->type, type));
    return add_broken(s, o);
}

static int add_proxy(struct out_set *s, const struct cfg_entry *e, struct diag *d)
{
    const struct outbound_ops *ops = registry_find(e->type);
    struct outbound *o;
    char path[32];
    int r;

    snprintf(path, sizeof(path), "proxies[%u]", e->index);
    if (out_find(s, e->name))
        return 0; /* the loader has said so */
    if (!ops)
        return add_unknown(s, e, path, d);
    if (!(o = set_make(s, ops, e->name, e->node)))
        return -ENOMEM;
    if ((r = node_read(o, path, d)) == -ENOMEM)
        return r;
    return r < 0 ? add_broken(s, o) : add_live(s, o);
}

/* ---- groups ---- */

static int add_group(struct out_set *s, const struct cfg_entry *e, struct group **groups, uint32_t *n, struct diag *d)
{
    const struct outbound_ops *ops = group_type(e->type);
    char path[32], name[OUT_NAME_MAX], type[OUT_NAME_MAX];
    struct group *g;

    snprintf(path, sizeof(path), "proxy-groups[%u]", e->index);
    if (out_find(s, e->name))
        return 0;
    if (!ops) {
        diag_warn(d, e->node->line, e->node->column, path, "unknown-type",
                  "group \"%s\": unknown type \"%s\"; it is taken for a select", out_quote(e->name, name), out_quote(e->type, type));
        ops = group_select;
    }
    if (!(g = (struct group *)set_make(s, ops, e->name, e->node)))
        return -ENOMEM;
    g->entry = e;
    g->index = *n;
    groups[(*n)++] = g;
    return add_live(s, &g->o);
}

static int build_groups(struct out_set *s, struct group **groups, struct diag *d)
{
    const struct profile *p = s->profile;
    uint32_t n = 0;
    int r = 0;

    for (uint32_t i = 0; i < p->n_groups && r == 0; i++)
        r = add_group(s, &p->groups[i], groups, &n, d);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = group_members(groups[i], d);
    if (r == 0)
        r = group_cut_cycles(groups, n, d);
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = group_settle(groups[i], d);
    return r;
}

/* GLOBAL, unless the profile has one: DIRECT, REJECT, then everything of the profile in its order. */
static int add_global(struct out_set *s, struct diag *d)
{
    struct group *g;

    if (out_find(s, "GLOBAL"))
        return 0;
    if (!(g = (struct group *)set_make(s, group_select, "GLOBAL", NULL)))
        return -ENOMEM;
    if (!(g->own = arena_alloc(&s->arena, (size_t)s->n_live * sizeof(*g->own))))
        return -ENOMEM;
    g->own[g->n_own++] = out_find(s, "DIRECT");
    g->own[g->n_own++] = out_find(s, "REJECT");
    for (int32_t i = N_BUILTINS; i < s->n_live; i++)
        g->own[g->n_own++] = s->live[i];
    g->o.udp = true;
    g->now = g->own[0];
    return add_live(s, &g->o);
}

/* ---- the whole ---- */

static int add_builtins(struct out_set *s, struct diag *d)
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

static int build(struct out_set *s, struct diag *d)
{
    const struct profile *p = s->profile;
    struct group **groups;
    int r;

    if (map_init(&s->names, N_BUILTINS + p->n_proxies + p->n_groups + 1) < 0)
        return -ENOMEM;
    s->live = arena_alloc(&s->arena, (N_BUILTINS + p->n_proxies + p->n_groups + 1) * sizeof(*s->live));
    s->broken = arena_alloc(&s->arena, (p->n_proxies + 1) * sizeof(*s->broken));
    groups = arena_alloc(&s->arena, (p->n_groups + 1) * sizeof(*groups));
    if (!s->live || !s->broken || !groups)
        return -ENOMEM;
    if ((r = add_builtins(s, d)) < 0)
        return r;
    for (uint32_t i = 0; i < p->n_proxies; i++)
        if ((r = add_proxy(s, &p->proxies[i], d)) < 0)
            return r;
    if ((r = build_groups(s, groups, d)) < 0 || (r = add_global(s, d)) < 0)
        return r;
    for (int32_t i = 0; i < s->n_broken; i++)
        s->broken[i]->id = s->n_live + i;
    return 0;
}

static void set_free(struct out_set *s)
{
    for (int32_t i = 0; i < s->n_live; i++)
        if (s->live[i]->ready && s->live[i]->ops->fini)
            s->live[i]->ops->fini(s->live[i]);
    map_fini(&s->names);
    arena_fini(&s->arena);
    free(s);
}

struct out_set *out_set_new(struct profile *p, const struct out_env *env, struct diag *d)
{
    struct out_set *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->refs = 1;
    s->profile = p;
    s->env = env;
    if (build(s, d) < 0) {
        set_free(s);
        return NULL;
    }
    return s;
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
