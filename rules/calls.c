/*
 * calls.c - which lists of sub-rules call which
 *
 * SUB-RULE lines are calls from list to list. A call that closes a circle is dropped, and so is one that would make more than RULES_DEPTH
 * lists stand open at the same time: a walk keeps a position in each.
 */
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "rules/maker.h"

struct named_list {
    struct map_node node;
    const char *name;
    uint32_t list;
};

uint32_t calls_find(struct maker *m, const char *name)
{
    for (struct map_node *n = map_first(&m->lists, hash_bytes(name, strlen(name))); n; n = map_next(n)) {
        struct named_list *l = container_of(n, struct named_list, node);

        if (!strcmp(l->name, name))
            return l->list;
    }
    return NO_LIST;
}

static bool name_lists(struct maker *m)
{
    struct named_list *all = arena_alloc(&m->mem, m->src->n_subs * sizeof(*all));

    for (uint32_t i = 0; all && i < m->src->n_subs; i++) {
        all[i].name = m->src->subs[i].name;
        all[i].list = i + 1;
        if (calls_find(m, all[i].name) == NO_LIST)
            map_add(&m->lists, &all[i].node, hash_bytes(all[i].name, strlen(all[i].name)));
    }
    return all || !m->src->n_subs;
}

struct call {
    uint32_t list, line, to;
};

/* Depth first over the lists, without recursion: a chain may be as long as a profile. */
struct caller {
    struct call *call; /* sorted by list */
    uint32_t n, cap;
    uint32_t *first;   /* of each list; one more at the end */
    uint8_t **dropped; /* per list: per line */
    uint8_t *state;    /* 0 = not seen, 1 = open, 2 = done */
    uint8_t *height;   /* lists below and with it */
    uint32_t *stack, *next;
};

static bool find_calls(struct maker *m, struct caller *c, uint32_t list, const struct cfg_rule *rules, uint32_t n)
{
    c->first[list] = c->n;
    for (uint32_t i = 0; i < n && m->src->n_subs; i++) {
        struct fault f;
        struct term t;
        const char *target;
        uint32_t to;

        if (m->line.total > SCRATCH_MAX)
            arena_fini(&m->line);
        if (!strcasestr(rules[i].text, "SUB-RULE") ||
            !line_parse(&m->line, rules[i].text, strlen(rules[i].text), LINE_TARGET, &t, &target, &f) || t.type != RULE_SUB_RULE ||
            (to = calls_find(m, target)) == NO_LIST)
            continue;
        if (!grow(&c->call, c->n, &c->cap, sizeof(*c->call)))
            return false;
        c->call[c->n++] = (struct call){ list, i, to };
    }
    c->first[list + 1] = c->n;
    return true;
}

static void visit(struct caller *c, uint32_t start)
{
    uint32_t depth = 0;

    if (c->state[start])
        return;
    c->stack[depth++] = start;
    while (depth) {
        uint32_t list = c->stack[depth - 1];
        const struct call *call;

        if (!c->state[list]) {
            c->state[list] = 1;
            c->height[list] = 1;
            c->next[list] = c->first[list];
        }
        if (c->next[list] == c->first[list + 1]) {
            c->state[list] = 2;
            depth--;
            continue;
        }
        call = &c->call[c->next[list]];
        if (!c->state[call->to]) {
            c->stack[depth++] = call->to;
            continue; /* this call is looked at again when its list is done */
        }
        c->next[list]++;
        if (c->state[call->to] == 1)
            c->dropped[list][call->line] = CALL_CIRCLE;
        else if (c->height[call->to] >= RULES_DEPTH)
            c->dropped[list][call->line] = CALL_DEEP;
        else if (c->height[list] <= c->height[call->to])
            c->height[list] = (uint8_t)(c->height[call->to] + 1);
    }
}

static bool init(struct maker *m, struct caller *c, uint32_t n)
{
    c->first = arena_alloc(&m->mem, (n + 1) * sizeof(*c->first));
    c->dropped = arena_alloc(&m->mem, n * sizeof(*c->dropped));
    c->state = arena_alloc(&m->mem, n);
    c->height = arena_alloc(&m->mem, n);
    c->stack = arena_alloc(&m->mem, n * sizeof(*c->stack));
    c->next = arena_alloc(&m->mem, n * sizeof(*c->next));
    return c->first && c->dropped && c->state && c->height && c->stack && c->next && name_lists(m);
}

uint8_t **calls_plan(struct maker *m)
{
    const struct rules_src *src = m->src;
    uint32_t n = src->n_subs + 1;
    struct caller c = { 0 };
    bool ok = init(m, &c, n);

    for (uint32_t i = 0; ok && i < n; i++) {
        uint32_t lines = i ? src->subs[i - 1].n_rules : src->n_rules;

        ok = (c.dropped[i] = arena_alloc(&m->mem, lines + 1)) && find_calls(m, &c, i, i ? src->subs[i - 1].rules : src->rules, lines);
    }
    for (uint32_t i = 0; ok && i < n; i++)
        visit(&c, i);
    free(c.call);
    return ok ? c.dropped : NULL;
}
