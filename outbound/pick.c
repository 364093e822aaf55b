/*
 * pick.c - what a group chooses
 *
 *   select                     the member that the user chose, else the first
 *   url-test, fallback, smart  by what tests have shown (delay.c)
 *   load-balance               each flow chooses: by its destination (the same site goes the same way), by turns, or by source and destination
 *
 * "First" means: the first that can be dialled. A select does not take a way around the proxies for one: when its first member cannot be dialled and only
 * DIRECT or REJECT could, it stays with that member and its flows are rejected with the reason. A group without members uses empty-fallback, else COMPATIBLE
 * (direct); where strict-route promises that nothing goes in clear, REJECT.
 */
#include <errno.h>
#include <libpsl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "outbound/build.h"

/* ---- asking and choosing ---- */

struct outbound *out_member(struct outbound *o, uint32_t i)
{
    struct group *g = group_of(o);

    return g && i < g->n_members ? g->members[i] : NULL;
}

static bool can_pin(const struct outbound *o)
{
    return o->ops->pick == pick_fastest || o->ops->pick == pick_first;
}

struct outbound *out_now(struct outbound *o)
{
    struct group *g = group_of(o);

    return !g ? NULL : can_pin(o) ? o->ops->pick(o, NULL) : g->now;
}

int out_select(struct outbound *o, const char *member)
{
    struct group *g = group_of(o);

    if (!g || (o->ops->pick != pick_now && !can_pin(o)))
        return -EINVAL;
    for (uint32_t i = 0; i < g->n_members; i++) {
        if (strcmp(g->members[i]->name, member) != 0)
            continue;
        if (g->members[i]->why)
            return -ERR_UNSUPPORTED;
        if (can_pin(o))
            g->pinned = g->members[i];
        else
            g->now = g->members[i];
        o->set->n_results++;
        return 0;
    }
    return -ENOENT;
}

int out_unpin(struct outbound *o)
{
    if (!can_pin(o))
        return -EINVAL;
    group_of(o)->pinned = NULL;
    o->set->n_results++;
    return 0;
}

const struct outbound *out_pinned(const struct outbound *o)
{
    return group_of(o) ? group_of(o)->pinned : NULL;
}

bool out_is_tested(const struct outbound *o)
{
    return can_pin(o) || o->ops->pick == pick_balance;
}

uint64_t out_group_used(const struct outbound *o)
{
    return group_of(o) ? group_of(o)->used_ms : 0;
}

/* Tests go on where somebody goes. */
static void note_use(struct outbound *o)
{
    uint64_t now = o->env->loop ? loop_now(o->env->loop) : 0;

    if (o->ops->pick)
        group_of(o)->used_ms = now;
    else if (o->provider)
        o->set->providers[o->provider - o->set->providers].used_ms = now;
}

int out_resolve(struct outbound *o, const struct flow_meta *m, struct outbound *chain[OUT_CHAIN_MAX])
{
    bool udp = m && m->net == FLOW_UDP;
    int n = 0;

    for (;; o = o->ops->pick(o, m)) {
        chain[n < OUT_CHAIN_MAX ? n++ : n - 1] = o;
        if (m)
            note_use(o);
        if (!o->ops->pick || (udp && !o->udp))
            return n;
    }
}

struct outbound *pick_now(struct outbound *o, const struct flow_meta *m)
{
    return group_of(o)->now;
}

/* ---- load-balance ---- */

#define TRIES 5
#define STICKY_SLOTS 1024
#define STICKY_MS 600000

struct sticky {
    struct { uint64_t key, until_ms; uint32_t member; } slot[STICKY_SLOTS];
};

void group_fini(struct outbound *o)
{
    free(group_of(o)->sticky);
}

/* A bucket in 0..n-1; of n + 1 buckets only one in n + 1 keys moves (J. Lamping, E. Veach: "A Fast, Minimal Memory, Consistent Hash Algorithm"). */
static uint32_t jump_hash(uint64_t key, uint32_t n)
{
    int64_t b = -1, j = 0;

    while (j < n) {
        b = j;
        key = key * 2862933555777941757u + 1;
        j = (int64_t)((double)(b + 1) * ((double)(1ll << 31) / (double)((key >> 33) + 1)));
    }
    return (uint32_t)b;
}

/* The same on every start: a site keeps its way. */
static uint64_t stable_hash(const void *p, size_t len)
{
    static const uint8_t key[16] = "shunt balances.";

    return siphash13(key, p, len);
}

/* The registered domain of the name (public suffix and one label more), else the address. */
static uint64_t key_of_destination(const struct flow_meta *m)
{
    const char *host = m->dst.host, *site = host ? psl_registrable_domain(psl_builtin(), host) : NULL;

    if (host)
        return stable_hash(site ? site : host, strlen(site ? site : host));
    return stable_hash(m->dst.at.ip.b, addr_len(&m->dst.at.ip));
}

/* The first that is alive; else the first that can be dialled: tests may be wrong. */
static struct outbound *first_of(const struct group *g)
{
    for (uint32_t i = 0; i < g->n_members; i++)
        if (out_alive(g->members[i], g->opts.url))
            return g->members[i];
    for (uint32_t i = 0; i < g->n_members; i++)
        if (!g->members[i]->why)
            return g->members[i];
    return g->members[0];
}

struct outbound *pick_first(struct outbound *o, const struct flow_meta *m)
{
    struct group *g = group_of(o);

    if (g->pinned && out_alive(g->pinned, g->opts.url))
        return g->pinned;
    if (g->seen != o->set->n_results)
        g->now = first_of(g);
    g->seen = o->set->n_results;
    return g->now;
}

static struct outbound *by_hash(struct group *g, const struct flow_meta *m)
{
    uint64_t key = key_of_destination(m);

    for (int i = 0; i < TRIES; i++, key++) {
        struct outbound *o = g->members[jump_hash(key, g->n_members)];

        if (out_alive(o, g->opts.url))
            return o;
    }
    return first_of(g);
}

static uint32_t next_turn(struct group *g)
{
    for (uint32_t i = 0; i < g->n_members; i++) {
        uint32_t at = g->turn++ % g->n_members;

        if (out_alive(g->members[at], g->opts.url))
            return at;
    }
    return g->turn++ % g->n_members;
}

static struct outbound *by_memory(struct group *g, const struct flow_meta *m)
{
    uint64_t src = stable_hash(m->src.ip.b, addr_len(&m->src.ip)), both[2] = { src, key_of_destination(m) }, key = stable_hash(both, sizeof(both));
    uint64_t now = g->o.env->loop ? loop_now(g->o.env->loop) : 0;

    if (!g->sticky && !(g->sticky = calloc(1, sizeof(*g->sticky))))
        return by_hash(g, m);
    if (g->sticky->slot[key % STICKY_SLOTS].key != key || now >= g->sticky->slot[key % STICKY_SLOTS].until_ms)
        g->sticky->slot[key % STICKY_SLOTS].member = next_turn(g);
    g->sticky->slot[key % STICKY_SLOTS].key = key;
    g->sticky->slot[key % STICKY_SLOTS].until_ms = now + STICKY_MS;
    return g->members[g->sticky->slot[key % STICKY_SLOTS].member];
}

struct outbound *pick_balance(struct outbound *o, const struct flow_meta *m)
{
    struct group *g = group_of(o);

    if (!m)
        return first_of(g);
    switch ((enum balance)g->strategy) {
    case BALANCE_ROUND_ROBIN: return g->members[next_turn(g)];
    case BALANCE_STICKY: return by_memory(g, m);
    case BALANCE_HASH: break;
    }
    return by_hash(g, m);
}

/* ---- the first choice, once all below is settled ---- */

static void close_gaps(struct group *g)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < g->n_members; i++)
        if (g->members[i])
            g->members[n++] = g->members[i];
    g->n_members = n;
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
    bool named = g->names.n || g->use.n || g->include_all_proxies || g->include_all_providers;
    char name[OUT_NAME_MAX], other[OUT_NAME_MAX];

    g->members[0] = stand_in(g); /* there is always room for one more */
    g->n_members = 1;
    if (g->starved)
        return; /* the provider has been spoken of */
    diag_warn(d, g->o.node->line, g->o.node->column, path, named ? "unknown-target" : "missing-key",
              named ? "group \"%s\" has no usable member left: its flows go to %s" : "group \"%s\" names no members: its flows go to %s",
              out_quote(g->o.name, name), out_quote(g->members[0]->name, other));
}

/* Why no flow can go this way; NULL when one can. */
static const char *why_not(const struct group *g)
{
    bool relay = g->o.ops->pick == pick_relay;

    for (uint32_t i = 0; i < g->n_members; i++)
        if (!g->members[i]->why != relay)
            return relay ? g->members[i]->why : NULL;
    return relay ? NULL : g->members[0]->why;
}

static bool is_proxy(const struct outbound *o)
{
    while (group_of(o))
        o = group_of(o)->leaf;
    return o->ops->action == OUT_PROXY;
}

/* A select whose first member cannot be dialled: the first proxy that can, else that member all the same. */
static struct outbound *instead_of_first(const struct group *g)
{
    for (uint32_t i = 1; i < g->n_members; i++)
        if (!g->members[i]->why && is_proxy(g->members[i]))
            return g->members[i];
    return g->members[0];
}

static void say_choice(const struct group *g, const char *path, struct diag *d)
{
    char group[OUT_NAME_MAX], first[OUT_NAME_MAX], now[OUT_NAME_MAX];
    const struct cfg_node *at = g->o.node;

    if (!g->members[0]->why || !at)
        return;
    if (g->names.n && !strcmp(g->names.v[0], g->members[0]->name))
        at = out_place(at, g->names.at[0]);
    out_quote(g->o.name, group);
    out_quote(g->members[0]->name, first);
    if (g->now->why)
        diag_warn(d, at->line, at->column, path, "unsupported-key", "group \"%s\": \"%s\" cannot be dialled: its flows are rejected%s", group, first,
                  g->o.why ? "" : " until you choose another member");
    else if (g->o.ops == group_select)
        diag_warn(d, at->line, at->column, path, "unsupported-key", "group \"%s\": its first member \"%s\" cannot be dialled: \"%s\" is taken instead", group,
                  first, out_quote(g->now->name, now));
}

static void say_not_usable(const struct group *g, const struct cfg_node *preferred, const char *path, struct diag *d)
{
    const struct cfg_node *at = out_place(g->o.node, preferred);
    char name[OUT_NAME_MAX], group[OUT_NAME_MAX], now[OUT_NAME_MAX];
    struct cfg_guess guess;

    cfg_guess_start(&guess, d, g->preferred);
    for (uint32_t i = 0; i < g->n_members && cfg_guess_try(&guess, g->members[i]->name); i++)
        ;
    diag_warn(d, at->line, at->column, path, "unknown-target", "group \"%s\": default-selected \"%s\" is not a usable member%s; \"%s\" is taken",
              out_quote(g->o.name, group), out_quote(g->preferred, name), cfg_guess_text(&guess), out_quote(g->now->name, now));
}

static void choose(struct group *g, const char *path, struct diag *d)
{
    const struct cfg_node *preferred = g->o.node ? cfg_find(g->o.node, "default-selected", CFG_KEYS_NOCASE) : NULL;

    g->now = g->o.ops != group_select ? first_of(g) : g->members[0]->why ? instead_of_first(g) : g->members[0];
    if (!preferred || !g->preferred || !*g->preferred || can_pin(&g->o)) /* those choose by themselves */
        say_choice(g, path, d);
    else if (out_select(&g->o, g->preferred) < 0)
        say_not_usable(g, preferred, path, d);
}

void group_settle(struct build *b, struct group *g)
{
    char path[32] = "";

    if (g->entry)
        snprintf(path, sizeof(path), "proxy-groups[%u]", g->entry->index);
    close_gaps(g);
    if (!g->n_members)
        fill_empty(g, path, b->d);
    g->o.why = why_not(g);
    choose(g, path, b->d);
    g->leaf = group_of(g->now) ? group_of(g->now)->leaf : g->now;
}
