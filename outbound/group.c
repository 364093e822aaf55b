/*
 * group.c - outbounds that pick outbounds
 *
 * Built in three passes over all groups, because a group may name one that comes later:
 *
 *   members   names become pointers; unknown ones are skipped with a warning, nodes that cannot be dialled without one (they have theirs)
 *   cycles    depth-first over the groups with a stack of our own (a chain may be 10,000 long): a reference back into the path being walked
 *             closes a cycle; it is reported with that path and dropped
 *   settle    the choice: default-selected, else the first member. Without members: empty-fallback, else COMPATIBLE (direct), and where
 *             strict-route promises that nothing goes in clear, REJECT
 *
 * So picking always ends at a leaf. This build measures no delays: url-test, fallback, load-balance and smart hold their first member, or the one
 * the user pins, and a warning says so; relay likewise (it would chain its members).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "outbound/private.h"

static struct outbound *group_pick(struct outbound *o, const struct flow_meta *m)
{
    return group_of(o)->now;
}

#define GROUP(type_, api_type_) \
    { .type = type_, .api_type = api_type_, .action = OUT_GROUP, .size = sizeof(struct group), .pick = group_pick }

static const struct outbound_ops types[] = {
    GROUP("select", "Selector"),
    GROUP("url-test", "URLTest"),
    GROUP("fallback", "Fallback"),
    GROUP("load-balance", "LoadBalance"),
    GROUP("smart", "Smart"),
    GROUP("relay", "Relay"),
};
const struct outbound_ops *const group_select = &types[0];

static const struct cfg_field group_fields[] = {
    { "proxies", CFG_STRS, offsetof(struct group, names) },
    { "use", CFG_STRS, offsetof(struct group, use) },
    { "include-all", CFG_BOOL, offsetof(struct group, include_all) },
    { "include-all-proxies", CFG_BOOL, offsetof(struct group, include_all_proxies) },
    { "include-all-providers", CFG_BOOL, offsetof(struct group, include_all_providers) },
    { "filter", CFG_STR, offsetof(struct group, filter) },
    { "exclude-filter", CFG_STR, offsetof(struct group, exclude_filter) },
    { "exclude-type", CFG_STR, offsetof(struct group, exclude_type) },
    { "empty-fallback", CFG_STR, offsetof(struct group, empty_fallback) },
    { "default-selected", CFG_STR, offsetof(struct group, preferred) },
    { "disable-udp", CFG_BOOL, offsetof(struct group, disable_udp) },
    { 0 },
};

const struct outbound_ops *group_type(const char *type)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcasecmp(types[i].type, type))
            return &types[i];
    return NULL;
}

static const char *path_of(const struct group *g, char buf[32])
{
    snprintf(buf, 32, "proxy-groups[%u]", g->entry->index);
    return buf;
}

/* ---- members ---- */

static void say_what_is_missing(struct group *g, const char *path, struct diag *d)
{
    const struct { const char *key; bool on; } keys[] = {
        { "filter", g->filter && *g->filter },
        { "exclude-filter", g->exclude_filter && *g->exclude_filter },
        { "exclude-type", g->exclude_type && *g->exclude_type },
    };
    char name[OUT_NAME_MAX];

    out_quote(g->o.name, name);
    if (g->o.ops != group_select)
        diag_warn(d, g->o.node->line, g->o.node->column, path, "unsupported-key", "group \"%s\": %s is not supported: it stays with its first member, or the one you choose", name,
                    g->o.ops->type);
    if (g->use.n || g->include_all_providers)
        diag_warn(d, g->o.node->line, g->o.node->column, path, "unsupported-key", "group \"%s\": members from proxy-providers are not supported: they are missing", name);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (keys[i].on)
            diag_warn(d, g->o.node->line, g->o.node->column, path, "unsupported-key", "group \"%s\": %s is not supported: no member is left out by it", name, keys[i].key);
}

static void add_member(struct group *g, uint32_t i, const char *path, struct diag *d)
{
    struct out_set *s = g->o.set;
    struct outbound *o = out_find(s, g->names.v[i]);
    char name[OUT_NAME_MAX], group[OUT_NAME_MAX];

    if (!o)
        diag_warn(d, g->names.at[i]->line, g->names.at[i]->column, path, "unknown-target", "group \"%s\": there is no \"%s\"; it is skipped",
                  out_quote(g->o.name, group), out_quote(g->names.v[i], name));
    else if (o->id >= 0)
        g->own[g->n_own++] = o;
}

static int by_name(const void *a, const void *b)
{
    const struct outbound *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

/* The profile's own nodes that can be dialled, sorted by name; one list for all groups. */
static int sort_nodes(struct out_set *s)
{
    if (s->sorted)
        return 0;
    if (!(s->sorted = arena_alloc(&s->arena, ((size_t)s->n_live + 1) * sizeof(struct outbound *))))
        return -ENOMEM;
    for (int32_t i = 0; i < s->n_live; i++)
        if (s->live[i]->node && !group_of(s->live[i]))
            s->sorted[s->n_sorted++] = s->live[i];
    qsort(s->sorted, s->n_sorted, sizeof(struct outbound *), by_name);
    return 0;
}

int group_members(struct group *g, struct diag *d)
{
    struct out_set *s = g->o.set;
    char path[32];

    path_of(g, path);
    cfg_read(s->profile->doc, g->o.node, group_fields, CFG_KEYS_NOCASE, g, false, path, d);
    g->o.udp = !g->disable_udp;
    say_what_is_missing(g, path, d);
    if (!(g->own = arena_alloc(&s->arena, (g->names.n + 1) * sizeof(*g->own))))
        return -ENOMEM;
    for (uint32_t i = 0; i < g->names.n; i++)
        add_member(g, i, path, d);
    if (!g->include_all && !g->include_all_proxies)
        return 0;
    if (sort_nodes(s) < 0)
        return -ENOMEM;
    g->all = s->sorted;
    g->n_all = s->n_sorted;
    return 0;
}

/* ---- cycles ---- */

enum colour { NEW, ON_PATH, DONE };

struct walk {
    struct diag *d;
    uint8_t *colour; /* by group index */
    struct step { struct group *g; uint32_t next; } *path;
    uint32_t depth;
};

static void enter(struct walk *w, struct group *g)
{
    w->colour[g->index] = ON_PATH;
    w->path[w->depth++] = (struct step){ g, 0 };
}

#define SHOWN 8 /* names of a cycle in the message */

/* "A > B > A", the middle of a long one left out. */
static void describe(const struct walk *w, const struct group *back_to, char *buf, size_t size)
{
    uint32_t from = w->depth, n;
    char name[OUT_NAME_MAX];
    size_t at = 0;

    while (w->path[from - 1].g != back_to)
        from--;
    n = w->depth - (from - 1);
    for (uint32_t i = 0; i < n && at < size; i++) {
        if (n > SHOWN && i == SHOWN - 1) {
            at += (size_t)snprintf(buf + at, size - at, "(%u more) > ", n - SHOWN);
            i = n - 1;
        }
        if (at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s > ", out_quote(w->path[from - 1 + i].g->o.name, name));
    }
    if (at < size)
        snprintf(buf + at, size - at, "%s", out_quote(back_to->o.name, name));
}

static const struct cfg_node *where_named(const struct group *g, const char *name)
{
    for (uint32_t i = 0; i < g->names.n; i++)
        if (!strcmp(g->names.v[i], name))
            return g->names.at[i];
    return g->o.node;
}

static void cut(struct walk *w, struct step *top, struct group *to)
{
    const struct cfg_node *at = where_named(top->g, to->o.name);
    char text[(SHOWN + 2) * OUT_NAME_MAX], path[32];

    describe(w, to, text, sizeof(text));
    diag_warn(w->d, at->line, at->column, path_of(top->g, path), "cycle", "groups contain each other: %s; this last reference is dropped", text);
    top->g->own[top->next - 1] = NULL; /* closed up by group_settle() */
}

static void walk_from(struct walk *w, struct group *g)
{
    for (enter(w, g); w->depth;) {
        struct step *top = &w->path[w->depth - 1];
        struct group *to;

        if (top->next == top->g->n_own) {
            w->colour[top->g->index] = DONE;
            w->depth--;
            continue;
        }
        if (!(to = group_of(top->g->own[top->next++])))
            continue;
        if (w->colour[to->index] == NEW)
            enter(w, to);
        else if (w->colour[to->index] == ON_PATH)
            cut(w, top, to);
    }
}

int group_cut_cycles(struct group *const *groups, uint32_t n, struct diag *d)
{
    struct walk w = { .d = d, .colour = calloc(n + 1, 1), .path = calloc(n + 1, sizeof(struct step)) };
    int r = w.colour && w.path ? 0 : -ENOMEM;

    for (uint32_t i = 0; i < n && r == 0; i++)
        if (w.colour[i] == NEW)
            walk_from(&w, groups[i]);
    free(w.colour);
    free(w.path);
    return r;
}

/* ---- the choice ---- */

struct outbound *out_member(struct outbound *o, uint32_t i)
{
    struct group *g = group_of(o);

    if (!g || i >= g->n_own + g->n_all)
        return NULL;
    return i < g->n_own ? g->own[i] : g->all[i - g->n_own];
}

struct outbound *out_now(struct outbound *o)
{
    struct group *g = group_of(o);

    return g ? g->now : NULL;
}

int out_select(struct outbound *o, const char *member)
{
    struct group *g = group_of(o);
    struct outbound *m;

    if (!g)
        return -EINVAL;
    for (uint32_t i = 0; (m = out_member(o, i)); i++)
        if (!strcmp(m->name, member)) {
            if (m->why)
                return -ERR_UNSUPPORTED;
            g->now = m;
            return 0;
        }
    return -ENOENT;
}

static void close_gaps(struct group *g)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->n_own; i++)
        if (g->own[i])
            g->own[n++] = g->own[i];
    g->n_own = n;
}

static struct outbound *stand_in(struct group *g)
{
    struct out_set *s = g->o.set;
    struct outbound *o = g->empty_fallback ? out_find(s, g->empty_fallback) : NULL;

    if (o && !group_of(o) && o->id >= 0)
        return o;
    return out_find(s, s->profile->tun.strict_route ? "REJECT" : "COMPATIBLE");
}

static void fill_empty(struct group *g, const char *path, struct diag *d)
{
    struct outbound *o = stand_in(g);
    bool named = g->names.n || g->use.n || g->include_all || g->include_all_proxies || g->include_all_providers;
    char name[OUT_NAME_MAX], other[OUT_NAME_MAX];

    g->own[0] = o; /* there is always room for one more */
    g->n_own = 1;
    diag_warn(d, g->o.node->line, g->o.node->column, path, named ? "unknown-target" : "missing-key",
              named ? "group \"%s\" has no usable member left: its flows go to %s" : "group \"%s\" names no members: its flows go to %s",
              out_quote(g->o.name, name), out_quote(o->name, other));
}

int group_settle(struct group *g, struct diag *d)
{
    char path[32], name[OUT_NAME_MAX], group[OUT_NAME_MAX];

    path_of(g, path);
    close_gaps(g);
    if (!g->n_own && !g->n_all)
        fill_empty(g, path, d);
    g->now = out_member(&g->o, 0);
    if (g->preferred && *g->preferred && out_select(&g->o, g->preferred) < 0)
        diag_warn(d, g->o.node->line, g->o.node->column, path, "unknown-target",
                  "group \"%s\": default-selected \"%s\" is not a usable member; the first one is chosen", out_quote(g->o.name, group),
                  out_quote(g->preferred, name));
    return 0;
}

int out_resolve(struct outbound *o, const struct flow_meta *m, struct outbound *chain[OUT_CHAIN_MAX])
{
    int n = 0;

    for (; o; o = o->ops->pick ? o->ops->pick(o, m) : NULL)
        chain[n < OUT_CHAIN_MAX ? n++ : n - 1] = o;
    return n;
}
