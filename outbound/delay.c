/*
 * delay.c - what tests of outbounds have shown, and the choice of the fastest
 *
 * A member that was never tested is alive, and slower than all that were. The fastest is not looked for with every flow: only when there
 * are new results, and not within CALM_MS while the one in use is well, or flows would jump between nodes that differ by nothing.
 *
 * Records are in the set's arena and are never given back; there are at most OUT_RECORDS of an outbound.
 */
#include <string.h>

#include "outbound/private.h"

#define CALM_MS 10000

static struct out_record *find(const struct outbound *o, const char *url, uint32_t *n)
{
    struct out_record *r;

    *n = 0;
    for (r = o->records; r && strcmp(r->url, url) != 0; r = r->next)
        ++*n;
    return r;
}

const struct out_record *out_record_of(const struct outbound *o, const char *url)
{
    uint32_t n;

    return find(o, url, &n);
}

static struct out_record *add(struct outbound *o, const char *url)
{
    struct out_record *r = arena_alloc(&o->set->arena, sizeof(*r)), **end = &o->records;
    char *copy = r ? arena_strdup(&o->set->arena, url, strlen(url)) : NULL;

    if (!copy)
        return NULL;
    r->url = copy;
    while (*end)
        end = &(*end)->next;
    return *end = r;
}

/* Room is made by the oldest. */
static void note(struct outbound *o, const char *url, const struct out_result *v)
{
    uint32_t n;
    struct out_record *r = find(o, url, &n);

    if (!r && (n > OUT_RECORDS || !(r = add(o, url))))
        return;
    if (r->n == OUT_RESULTS)
        memmove(r->v, r->v + 1, --r->n * sizeof(*r->v));
    r->v[r->n++] = *v;
}

void out_note_delay(struct outbound *o, const char *url, const struct out_result *v)
{
    note(o, "", v);
    note(o, url, v);
    o->set->n_results++;
}

static const struct out_result *last_of(const struct outbound *o, const char *url)
{
    const struct out_record *r = out_record_of(o, url);

    return r ? &r->v[r->n - 1] : NULL;
}

bool out_alive(const struct outbound *o, const char *url)
{
    const struct out_result *r = o->why ? NULL : last_of(o, url);

    return !o->why && (!r || r->delay_ms);
}

/* ---- the fastest ---- */

/* UINT32_MAX: not known, or not alive. */
static uint32_t delay_of(const struct outbound *o, const char *url)
{
    const struct out_result *r = o->why ? NULL : last_of(o, url);

    return r && r->delay_ms ? r->delay_ms : UINT32_MAX;
}

static struct outbound *fastest(const struct group *g)
{
    struct outbound *best = NULL;
    uint32_t least = UINT32_MAX, now = delay_of(g->now, g->opts.url);

    for (uint32_t i = 0; i < g->n_members; i++) {
        struct outbound *o = g->members[i];
        uint32_t d = delay_of(o, g->opts.url);

        if (d < least || (!best && out_alive(o, g->opts.url))) {
            best = o;
            least = d;
        }
    }
    if (!best || (out_alive(g->now, g->opts.url) && now != UINT32_MAX && now <= least + (uint64_t)g->opts.tolerance_ms))
        return g->now;
    return best;
}

struct outbound *pick_fastest(struct outbound *o, const struct flow_meta *m)
{
    struct group *g = group_of(o);
    uint64_t now = o->env->loop ? loop_now(o->env->loop) : 0;
    bool well = delay_of(g->now, g->opts.url) != UINT32_MAX;

    if (g->pinned && out_alive(g->pinned, g->opts.url))
        return g->pinned;
    if (g->seen == o->set->n_results || (well && g->chosen_ms && now < g->chosen_ms + CALM_MS))
        return g->now;
    g->seen = o->set->n_results;
    g->chosen_ms = now;
    return g->now = fastest(g);
}

/* ---- from set to set ---- */

static bool is_same(const struct outbound *a, const struct outbound *b)
{
    return a->ops == b->ops && a->port == b->port && (a->server ? b->server && !strcmp(a->server, b->server) : !b->server);
}

static void copy(struct outbound *to, const struct outbound *from)
{
    for (const struct out_record *r = from->records; r; r = r->next)
        for (uint32_t i = 0; i < r->n; i++)
            note(to, r->url, &r->v[i]);
}

void out_inherit_delays(struct out_set *s, struct out_set *from)
{
    for (int32_t i = 0; i < s->n_live; i++) {
        struct outbound *o = s->live[i], *old = out_find_any(from, o->name);

        if (old && old->records && is_same(o, old))
            copy(o, old);
    }
    s->n_results++;
}
