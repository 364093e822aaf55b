/*
 * group.c - what a profile says about a group, and its members
 *
 *   proxies ──► include-all-proxies (nodes of the profile by name, those that `filter` lets in) ──► each provider (those that `filter` lets in, in the
 *   order of its patterns) ──► without what exclude-filter and exclude-type name; each once
 *
 * A name may be that of a group which comes later, so all groups exist before the first looks for its members. What follows is in graph.c (cycles, ways),
 * pick.c (choices).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "outbound/build.h"
#include "outbound/options.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): initialisers */
#define GROUP(type_, api_type_, pick_) \
    { .type = type_, .api_type = api_type_, .action = OUT_GROUP, .size = sizeof(struct group), .fini = group_fini, .pick = pick_ }
/* NOLINTEND(bugprone-macro-parentheses) */

static const struct outbound_ops types[] = {
    GROUP("select", "Selector", pick_now),              GROUP("url-test", "URLTest", pick_fastest), GROUP("fallback", "Fallback", pick_first),
    GROUP("load-balance", "LoadBalance", pick_balance), GROUP("smart", "Smart", pick_fastest),      GROUP("relay", "Relay", pick_relay),
};
const struct outbound_ops *const group_select = &types[0];

const struct outbound_ops *group_type(const char *type)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcasecmp(types[i].type, type))
            return &types[i];
    return NULL;
}

const char *group_guess(struct cfg_guess *g, struct diag *d, const char *type)
{
    cfg_guess_start(g, d, type);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        cfg_guess_try(g, types[i].type);
    return cfg_guess_text(g);
}

const struct out_group_opts *out_group_opts(const struct outbound *o)
{
    return group_of(o) ? &group_of(o)->opts : NULL;
}

/* ---- options ---- */

static const char *const strategies[] = { "consistent-hashing", "round-robin", "sticky-sessions", NULL };

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
    { "strategy", CFG_ENUM, offsetof(struct group, strategy), .names = strategies },
    { "url", CFG_STR, offsetof(struct group, opts.url) },
    { "expected-status", CFG_STR, offsetof(struct group, opts.expected_status), .def = "*" },
    { "icon", CFG_STR, offsetof(struct group, opts.icon), .def = "" },
    { "interval", CFG_INT, offsetof(struct group, opts.interval_s), .min = 0, .max = INT32_MAX },
    { "timeout", CFG_INT, offsetof(struct group, opts.timeout_ms), .min = 0, .max = INT32_MAX, .def = "5000" },
    { "tolerance", CFG_INT, offsetof(struct group, opts.tolerance_ms), .min = 0, .max = INT32_MAX },
    { "max-failed-times", CFG_INT, offsetof(struct group, opts.max_failed), .min = 0, .max = INT32_MAX, .def = "5" },
    { "lazy", CFG_BOOL, offsetof(struct group, opts.lazy), .def = "true" },
    { "hidden", CFG_BOOL, offsetof(struct group, opts.hidden) },
    { 0 },
};

static void say_what_is_left_over(struct group *g, struct diag *d)
{
    static const char *const keys[] = { "interface-name", "routing-mark", "dialer-proxy" };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const struct cfg_node *n = cfg_find(g->o.node, keys[i], CFG_KEYS_NOCASE);

        if (n && n->kind != CFG_NULL && (n->kind != CFG_SCALAR || n->len))
            diag_warn(d, n->key->line, n->key->column, "", "leftover", "%s belongs to nodes, not to groups; it has no effect here", keys[i]);
    }
}

static const char *path_of(const struct group *g, char buf[32])
{
    snprintf(buf, 32, "proxy-groups[%u]", g->entry->index);
    return buf;
}

static void check_options(struct build *b, struct group *g, struct diag *d)
{
    const struct cfg_node *n = cfg_find(g->o.node, "expected-status", CFG_KEYS_NOCASE);
    struct opt_ranges ranges;
    char shown[OPT_TEXT_MAX];

    if (!opt_ranges(g->opts.expected_status, &ranges)) {
        diag_warn(d, n->line, n->column, "", "bad-value", "expected-status: \"%s\" is no list of status codes (200,204 or 200-299)",
                  opt_quote(g->opts.expected_status, shown));
        g->opts.expected_status = "*";
    }
    if (!g->opts.interval_s && g->names.n && g->o.ops != group_select && g->o.ops->pick != pick_relay)
        g->opts.interval_s = 300;
    say_what_is_left_over(g, d);
}

int group_read(struct build *b, struct group *g)
{
    struct diag mine;
    char path[32];

    path_of(g, path);
    diag_init_part(&mine, b->d);
    cfg_read(b->s->profile->doc, g->o.node, group_fields, CFG_KEYS_NOCASE, g, false, path, &mine);
    check_options(b, g, &mine);
    g->o.udp = !g->disable_udp;
    g->include_all_proxies |= g->include_all;
    g->include_all_providers |= g->include_all;
    out_tell(&mine, "group", g->o.name, g->o.node, path, "", b->d);
    diag_fini(&mine);
    return 0;
}

/* ---- members ---- */

struct gather {
    struct build *b;
    struct group *g;
    char path[32], what[OUT_NAME_MAX + 64];
    struct filter in, out; /* filter, exclude-filter */
    uint32_t n, parts;     /* in b->scratch; where they come from */
};

bool names_type(const char *list, const struct outbound_ops *ops)
{
    for (const char *at = list;;) {
        size_t len = strcspn(at, "|");

        if ((strlen(ops->type) == len && !strncasecmp(at, ops->type, len)) || (strlen(ops->api_type) == len && !strncasecmp(at, ops->api_type, len)))
            return true;
        if (!at[len])
            return false;
        at += len + 1;
    }
}

static void add(struct gather *w, struct outbound *o)
{
    struct build *b = w->b;
    struct group *g = w->g;

    if (b->stamp[o->id] == g->index + 1)
        return;
    b->stamp[o->id] = g->index + 1;
    if (g->exclude_type && *g->exclude_type && names_type(g->exclude_type, o->ops))
        return;
    if (w->out.n && filter_any(&b->filters, &w->out, o->name, b->d))
        return;
    if (b->n_members + w->n < MEMBERS_MAX) {
        b->scratch[w->n++] = o;
        return;
    }
    if (!b->said_full)
        diag_warn(b->d, g->o.node->line, g->o.node->column, w->path, "bad-value",
                  "%s the groups of this profile have more than %u members; the rest is left out", w->what, MEMBERS_MAX);
    b->said_full = true;
}

static void say_unknown(struct gather *w, const struct cfg_node *at, const char *kind, struct cfg_guess *g)
{
    char name[OUT_NAME_MAX];

    diag_warn(w->b->d, at->line, at->column, w->path, "unknown-target", "%s there is no %s\"%s\"%s; it is skipped", w->what, kind,
              out_quote(at->text, name), cfg_guess_text(g));
}

static void add_named(struct gather *w, uint32_t i)
{
    struct group *g = w->g;
    struct outbound *o = out_find(w->b->s, g->names.v[i]);
    struct cfg_guess guess;

    if (o && o->id >= 0)
        add(w, o);
    if (o || !build_first(w->b, g->names.at[i])) /* an entry that makes no sense has been spoken of */
        return;
    cfg_guess_start(&guess, w->b->d, g->names.v[i]);
    out_offer(w->b->s, &g->o, &guess);
    say_unknown(w, g->names.at[i], "", &guess);
}

static void add_all_proxies(struct gather *w)
{
    struct build *b = w->b;

    for (uint32_t i = 0; i < b->n_sorted; i++)
        if (!w->in.n || filter_any(&b->filters, &w->in, b->sorted[i]->name, b->d))
            add(w, b->sorted[i]);
}

static void add_provider(struct gather *w, const struct out_provider *p)
{
    struct build *b = w->b;

    w->parts++;
    w->g->starved |= p->why != NULL;
    if (!*w->g->opts.url && *p->test_url)
        w->g->opts.url = p->test_url;
    for (uint32_t i = 0; i < p->n && !w->in.n; i++)
        add(w, p->members[i]);
    for (uint32_t f = 0; f < w->in.n; f++)
        for (uint32_t i = 0; i < p->n; i++)
            if (pattern_matches(&b->filters, w->in.v[f], p->members[i]->name, b->d))
                add(w, p->members[i]);
}

static void add_used(struct gather *w, uint32_t i)
{
    struct out_set *s = w->b->s;
    struct group *g = w->g;
    struct cfg_guess guess;

    for (uint32_t k = 0; k < s->n_providers; k++)
        if (!strcmp(s->providers[k].name, g->use.v[i])) {
            add_provider(w, &s->providers[k]);
            return;
        }
    if (!build_first(w->b, g->use.at[i]))
        return;
    cfg_guess_start(&guess, w->b->d, g->use.v[i]);
    for (uint32_t k = 0; k < s->n_providers && cfg_guess_try(&guess, s->providers[k].name); k++)
        ;
    say_unknown(w, g->use.at[i], "proxy-provider ", &guess);
}

/* Several patterns and several sources: what the first pattern matches comes first. */
static void order_by_pattern(struct gather *w)
{
    struct build *b = w->b;
    uint32_t n = 0, rest = 0;

    for (uint32_t f = 0; f < w->in.n; f++)
        for (uint32_t i = 0; i < w->n; i++)
            if (b->scratch[i] && pattern_matches(&b->filters, w->in.v[f], b->scratch[i]->name, b->d)) {
                b->scratch2[n++] = b->scratch[i];
                b->scratch[i] = NULL;
            }
    for (uint32_t i = 0; i < w->n; i++)
        if (b->scratch[i])
            b->scratch[rest++] = b->scratch[i];
    memcpy(b->scratch2 + n, b->scratch, rest * sizeof(struct outbound *));
    memcpy(b->scratch, b->scratch2, w->n * sizeof(struct outbound *));
}

static int compile(struct gather *w, const char *key, const char *text, struct filter *out)
{
    struct filter_at at = { .node = cfg_find(w->g->o.node, key, CFG_KEYS_NOCASE), .path = w->path, .d = w->b->d };
    char what[sizeof(w->what) + 32];

    if (!text || !*text)
        return 0;
    snprintf(what, sizeof(what), "%s %s", w->what, key);
    at.what = what;
    if (!build_first(w->b, at.node))
        at.d = NULL;
    return filter_compile(&w->b->filters, w->b->s->profile->doc, text, true, &at, out);
}

static int keep(struct gather *w)
{
    struct group *g = w->g;

    if (!(g->members = arena_alloc(&w->b->s->arena, (w->n + 1u) * sizeof(struct outbound *)))) /* one more: what an empty group uses */
        return -ENOMEM;
    memcpy(g->members, w->b->scratch, w->n * sizeof(struct outbound *));
    g->n_members = w->n;
    w->b->n_members += w->n;
    return 0;
}

int group_members(struct build *b, struct group *g)
{
    struct gather w = { .b = b, .g = g };
    char name[OUT_NAME_MAX];
    int r;

    path_of(g, w.path);
    snprintf(w.what, sizeof(w.what), "group \"%s\":", out_quote(g->o.name, name));
    if ((r = compile(&w, "filter", g->filter, &w.in)) < 0 || (r = compile(&w, "exclude-filter", g->exclude_filter, &w.out)) < 0)
        return r;
    if (!g->opts.url)
        g->opts.url = "";
    for (uint32_t i = 0; i < g->names.n; i++)
        add_named(&w, i);
    if (g->include_all_proxies)
        add_all_proxies(&w);
    w.parts = w.n > 0;
    for (uint32_t i = 0; g->include_all_providers && i < b->s->n_providers; i++)
        add_provider(&w, b->providers[i]);
    for (uint32_t i = 0; !g->include_all_providers && i < g->use.n; i++)
        add_used(&w, i);
    if (!*g->opts.url && g->o.ops != group_select)
        g->opts.url = DELAY_URL;
    if (w.parts > 1 && w.in.n > 1)
        order_by_pattern(&w);
    return keep(&w);
}
