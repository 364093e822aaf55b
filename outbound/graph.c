/*
 * graph.c - ways from groups to nodes, and from nodes through other nodes
 *
 *   group ──member──► group ──member──► node ──dialer-proxy──► node or group ──► ...
 *
 * Three walks, each depth-first with a stack of its own (a chain of groups may be 10,000 long):
 *
 *   cut      groups only: a member that leads back into the path being walked closes a cycle; it is reported with that path and dropped
 *   loops    with dialer-proxy: what lies on a cycle is found as a strongly connected component (Tarjan); there a node cannot be dialled, since its
 *            server would be reached through itself
 *   settle   from the leaves up: what cannot be dialled because of what is below it, how many nodes stand one behind the other, what each group chooses
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outbound/build.h"

enum colour { NEW, ON_PATH, DONE };

struct step {
    struct outbound *o;
    uint32_t next; /* edge to be looked at */
};

struct walk {
    struct build *b;
    bool groups_only;
    uint8_t *colour; /* by id */
    struct step *path;
    uint32_t depth;
    void (*enter)(struct walk *w, struct outbound *o);
    void (*seen)(struct walk *w, struct step *from, struct outbound *to); /* an edge to what was entered before */
    void (*leave)(struct walk *w, struct outbound *o);
    /* loops */
    uint32_t *num, *low; /* by id; num 0: not entered */
    struct outbound **stack;
    uint32_t n_stack, clock;
    bool *on_stack;
    uint64_t effort;
    /* settle */
    uint32_t *hops; /* by id: nodes one behind the other, at most */
};

/* ---- walking ---- */

static uint32_t n_edges(const struct outbound *o)
{
    return group_of(o) ? group_of(o)->n_members : o->via ? 1 : 0;
}

static struct outbound *edge(const struct outbound *o, uint32_t i)
{
    return group_of(o) ? group_of(o)->members[i] : o->via;
}

static void enter(struct walk *w, struct outbound *o)
{
    w->colour[o->id] = ON_PATH;
    w->path[w->depth++] = (struct step){ o, 0 };
    if (w->enter)
        w->enter(w, o);
}

static void walk_from(struct walk *w, struct outbound *root)
{
    for (enter(w, root); w->depth;) {
        struct step *top = &w->path[w->depth - 1];
        struct outbound *to;

        if (top->next == n_edges(top->o)) {
            w->colour[top->o->id] = DONE;
            w->depth--;
            if (w->leave)
                w->leave(w, top->o);
            continue;
        }
        to = edge(top->o, top->next++);
        if (!to || (w->groups_only && !group_of(to)))
            continue;
        if (w->colour[to->id] == NEW)
            enter(w, to);
        else if (w->seen)
            w->seen(w, top, to);
    }
}

static void walk_all(struct walk *w)
{
    struct out_set *s = w->b->s;

    memset(w->colour, NEW, (size_t)s->n_live);
    for (int32_t i = 0; i < s->n_live; i++)
        if (w->colour[i] == NEW && (!w->groups_only || group_of(s->live[i])))
            walk_from(w, s->live[i]);
}

/* ---- cut ---- */

#define SHOWN 8 /* names of a cycle in a message */

/* "A > B > A", the middle of a long one left out. */
static void describe(const struct walk *w, const struct outbound *back_to, char *buf, size_t size)
{
    uint32_t from = w->depth, n;
    char name[OUT_NAME_MAX];
    size_t at = 0;

    while (w->path[from - 1].o != back_to)
        from--;
    n = w->depth - (from - 1);
    for (uint32_t i = 0; i < n && at < size; i++) {
        if (n > SHOWN && i == SHOWN - 1) {
            at += (size_t)snprintf(buf + at, size - at, "(%u more) > ", n - SHOWN);
            i = n - 1;
        }
        if (at < size)
            at += (size_t)snprintf(buf + at, size - at, "%s > ", out_quote(w->path[from - 1 + i].o->name, name));
    }
    if (at < size)
        snprintf(buf + at, size - at, "%s", out_quote(back_to->name, name));
}

static const struct cfg_node *where_named(const struct group *g, const char *name)
{
    for (uint32_t i = 0; i < g->names.n; i++)
        if (!strcmp(g->names.v[i], name))
            return g->names.at[i];
    return g->o.node;
}

static void cut(struct walk *w, struct step *from, struct outbound *to)
{
    struct group *g = group_of(from->o);
    const struct cfg_node *at = out_place(g->o.node, where_named(g, to->name));
    char text[(SHOWN + 2) * OUT_NAME_MAX], path[32];

    if (w->colour[to->id] != ON_PATH)
        return;
    describe(w, to, text, sizeof(text));
    snprintf(path, sizeof(path), "proxy-groups[%u]", g->entry->index);
    diag_warn(w->b->d, at->line, at->column, path, "cycle", "groups contain each other: %s; this last reference is dropped", text);
    g->members[from->next - 1] = NULL; /* closed up when it settles */
}

/* ---- dialer-proxy ---- */

/* Says why a node cannot be dialled, at the value of its dialer-proxy. hint: what people read and `why` does not keep. */
static void dialer_fails(struct build *b, struct outbound *o, const char *code, const char *why, const char *hint)
{
    bool elsewhere = o->provider && o->provider->stored_s; /* its lines are those of another file */
    const struct cfg_node *at = elsewhere ? o->provider->node->key : cfg_find(o->node, "dialer-proxy", CFG_KEYS_PROXY);
    char name[OUT_NAME_MAX];

    if (!elsewhere && !build_first(b, at))
        at = out_place(o->node, at); /* it was a provider's word, or a merged map's */
    o->why = arena_strdup(&b->s->arena, why, strlen(why));
    if (!o->why)
        o->why = "its dialer-proxy cannot be used";
    diag_warn(b->d, at->line, at->column, o->provider ? "proxy-providers" : "proxies", code, "proxy \"%s\" cannot be dialled: %s%s",
              out_quote(o->name, name), why, hint);
}

/* Names become pointers; true when there is any. */
static bool find_dialers(struct build *b)
{
    struct out_set *s = b->s;
    bool any = false;

    for (int32_t i = 0; i < s->n_live; i++) {
        struct outbound *o = s->live[i], *to;
        char why[OUT_NAME_MAX + 64], name[OUT_NAME_MAX];
        struct cfg_guess g;

        if (!o->dialer || o->why)
            continue;
        to = out_find(s, o->dialer);
        if (to && to->id >= 0) {
            o->via = to;
            any = true;
            continue;
        }
        snprintf(why, sizeof(why), "its dialer-proxy \"%s\" %s", out_quote(o->dialer, name), to ? "makes no sense" : "does not exist");
        cfg_guess_start(&g, b->d, o->dialer);
        if (!to)
            out_offer(s, o, &g);
        dialer_fails(b, o, "unknown-target", why, cfg_guess_text(&g));
    }
    return any;
}

/* ---- loops ---- */

#define EFFORT 2000000 /* edges looked at to describe loops, in all */

static void number(struct walk *w, struct outbound *o)
{
    w->num[o->id] = w->low[o->id] = ++w->clock;
    w->stack[w->n_stack++] = o;
    w->on_stack[o->id] = true;
}

static void lower(struct walk *w, struct step *from, struct outbound *to)
{
    if (w->on_stack[to->id] && w->num[to->id] < w->low[from->o->id])
        w->low[from->o->id] = w->num[to->id];
}

/* Is it in the component that ends the stack, from that place on? */
static bool within(const struct walk *w, const struct outbound *o, uint32_t from)
{
    return o && w->on_stack[o->id] && w->num[o->id] >= w->num[w->stack[from]->id];
}

/* Breadth-first from what o is dialled through back to o, all within the component: parents are then the shortest way. */
static bool search_loop(struct walk *w, struct outbound *o, uint32_t from, uint32_t *parent)
{
    struct outbound **queue = w->b->scratch;
    uint32_t head = 0, n = 0;

    w->effort += w->n_stack - from;
    if (w->effort > EFFORT)
        return false;
    for (uint32_t i = from; i < w->n_stack; i++)
        parent[w->stack[i]->id] = UINT32_MAX;
    parent[o->via->id] = (uint32_t)o->via->id;
    queue[n++] = o->via;
    while (head < n && parent[o->id] == UINT32_MAX && w->effort < EFFORT) {
        struct outbound *x = queue[head++];

        for (uint32_t i = 0; i < n_edges(x); i++, w->effort++) {
            struct outbound *to = edge(x, i);

            if (!within(w, to, from) || parent[to->id] != UINT32_MAX)
                continue;
            parent[to->id] = (uint32_t)x->id;
            queue[n++] = to;
        }
    }
    return parent[o->id] != UINT32_MAX;
}

/* "A > G > A" */
static void describe_loop(struct walk *w, struct outbound *o, uint32_t from, char *buf, size_t size)
{
    uint32_t *parent = w->hops; /* not in use yet */
    struct outbound *shown[SHOWN], *x = o;
    char name[OUT_NAME_MAX];
    uint32_t n = 0;
    size_t at = (size_t)snprintf(buf, size, "%s > ", out_quote(o->name, name));

    if (!search_loop(w, o, from, parent)) {
        snprintf(buf + at, size - at, "%s > ... > %s", o->via->name, name);
        return;
    }
    while (n < SHOWN && parent[x->id] != (uint32_t)x->id) /* backwards: what leads to o, then to that */
        shown[n++] = x = w->b->s->live[parent[x->id]];
    if (parent[x->id] != (uint32_t)x->id)
        at += (size_t)snprintf(buf + at, size - at, "... > ");
    while (n && at < size)
        at += (size_t)snprintf(buf + at, size - at, "%s > ", out_quote(shown[--n]->name, name));
    if (at < size)
        snprintf(buf + at, size - at, "%s", out_quote(o->name, name));
}

static void close_component(struct walk *w, uint32_t from)
{
    for (uint32_t i = from; i < w->n_stack; i++) {
        struct outbound *o = w->stack[i];
        char why[(SHOWN + 3) * OUT_NAME_MAX] = "its server would be dialled through itself: ";
        size_t at = strlen(why);

        if (group_of(o) || !within(w, o->via, from))
            continue;
        describe_loop(w, o, from, why + at, sizeof(why) - at);
        dialer_fails(w->b, o, "cycle", why, "");
    }
    for (uint32_t i = from; i < w->n_stack; i++) {
        w->on_stack[w->stack[i]->id] = false;
        if (w->stack[i]->why)
            w->stack[i]->via = NULL; /* the way ends here: nothing goes round any more */
    }
    w->n_stack = from;
}

static void pop_component(struct walk *w, struct outbound *o)
{
    uint32_t from = w->n_stack;

    if (w->depth && w->low[o->id] < w->low[w->path[w->depth - 1].o->id])
        w->low[w->path[w->depth - 1].o->id] = w->low[o->id];
    if (w->low[o->id] != w->num[o->id])
        return;
    while (w->stack[from - 1] != o)
        from--;
    close_component(w, from - 1);
}

/* ---- settle ---- */

static void settle_node(struct walk *w, struct outbound *o)
{
    char why[OUT_NAME_MAX + 320], name[OUT_NAME_MAX];

    w->hops[o->id] = 1 + (o->via ? w->hops[o->via->id] : 0);
    if (!o->via || o->why)
        return;
    if (o->via->why) {
        snprintf(why, sizeof(why), "its dialer-proxy \"%s\" cannot: %.300s", out_quote(o->via->name, name), o->via->why);
        dialer_fails(w->b, o, "unsupported-proxy", why, "");
    } else if (w->hops[o->id] > WAY_MAX) {
        snprintf(why, sizeof(why), "more than %d nodes stand one behind the other", WAY_MAX);
        dialer_fails(w->b, o, "bad-value", why, "");
    }
}

static void settle(struct walk *w, struct outbound *o)
{
    struct group *g = group_of(o);
    uint32_t most = 0, sum = 0;
    char name[OUT_NAME_MAX];

    if (!g) {
        settle_node(w, o);
        return;
    }
    group_settle(w->b, g);
    for (uint32_t i = 0; i < g->n_members; i++) {
        uint32_t h = w->hops[g->members[i]->id];

        most = h > most ? h : most;
        sum = sum + h < WAY_MAX * 2 ? sum + h : WAY_MAX * 2;
    }
    w->hops[o->id] = o->ops->pick == pick_relay ? sum : most;
    if (o->why || w->hops[o->id] <= WAY_MAX)
        return;
    o->why = "too many nodes would stand one behind the other";
    diag_warn(w->b->d, o->node->line, o->node->column, "proxy-groups", "bad-value", "group \"%s\": more than %d nodes would stand one behind the other; its flows are rejected",
              out_quote(o->name, name), WAY_MAX);
}

/* ---- the whole ---- */

static int prepare(struct walk *w)
{
    size_t n = (size_t)w->b->s->n_live;

    w->colour = calloc(n, 1);
    w->path = calloc(n, sizeof(*w->path));
    w->num = calloc(n, sizeof(*w->num));
    w->low = calloc(n, sizeof(*w->low));
    w->hops = calloc(n, sizeof(*w->hops));
    w->stack = calloc(n, sizeof(struct outbound *));
    w->on_stack = calloc(n, sizeof(*w->on_stack));
    return w->colour && w->path && w->num && w->low && w->hops && w->stack && w->on_stack ? 0 : -ENOMEM;
}

static void finish(struct walk *w)
{
    free(w->colour);
    free(w->path);
    free(w->num);
    free(w->low);
    free(w->hops);
    free(w->stack);
    free(w->on_stack);
}

int build_ways(struct build *b)
{
    struct walk w = { .b = b, .groups_only = true, .seen = cut };
    int r = prepare(&w);

    if (r == 0) {
        walk_all(&w);
        w.groups_only = false;
        if (find_dialers(b)) {
            w.enter = number;
            w.seen = lower;
            w.leave = pop_component;
            walk_all(&w);
        }
        w.enter = NULL;
        w.seen = NULL;
        w.leave = settle;
        walk_all(&w);
    }
    finish(&w);
    return r;
}
