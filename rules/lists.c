/*
 * lists.c - sorted lists of atoms, each stored once (see lists.h)
 *
 *   states      0 ── +a ──► 1 ── +b ──► 2          a step taken twice leads to the same state, found by hash
 *                         └── +c ──► 3
 *   close(2)    walk back to 0, sort, join, look for an equal list in the pool, else append it; remembered in the state
 */
#include "rules/lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct state {
    uint32_t prev, item;
    uint32_t len;    /* items from state 0 */
    uint32_t closed; /* number + 1 of the list, once closed */
};

bool grow(void *v, uint32_t n, uint32_t *cap, size_t size)
{
    void *old, *bigger;
    uint32_t want = *cap ? *cap * 2 : 64;

    if (n < *cap)
        return true;
    memcpy(&old, v, sizeof(old));
    if (*cap > UINT32_MAX / 4 || !(bigger = realloc(old, want * size)))
        return false;
    memcpy(v, &bigger, sizeof(bigger));
    *cap = want;
    return true;
}

static uint32_t mix(uint32_t a, uint32_t b)
{
    uint64_t h = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u;

    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 15);
}

int lists_init(struct lists *l)
{
    *l = (struct lists){ .step_mask = 255, .content_mask = 255 };
    l->by_step = calloc(l->step_mask + 1, sizeof(*l->by_step));
    l->by_content = calloc(l->content_mask + 1, sizeof(*l->by_content));
    if (!l->by_step || !l->by_content || !grow(&l->pool, 0, &l->cap, sizeof(*l->pool)) ||
        !grow(&l->states, 0, &l->cap_states, sizeof(*l->states))) {
        lists_fini(l);
        return -ENOMEM;
    }
    l->pool[l->n++] = 0; /* the empty list has no items */
    l->states[l->n_states++] = (struct state){ .closed = 1 };
    return 0;
}

void lists_finish(struct lists *l)
{
    free(l->states);
    free(l->by_step);
    free(l->by_content);
    free(l->scratch);
    l->states = NULL;
    l->by_step = l->by_content = l->scratch = NULL;
    l->cap_states = l->n_states = l->cap_scratch = 0;
}

void lists_fini(struct lists *l)
{
    lists_finish(l);
    free(l->pool);
    *l = (struct lists){ 0 };
}

/* ---- steps ---- */

static void rehash_steps(struct lists *l)
{
    uint32_t mask = l->step_mask * 2 + 1, *bigger = calloc((size_t)mask + 1, sizeof(*bigger));

    if (!bigger) {
        l->failed = true;
        return;
    }
    for (uint32_t i = 1; i < l->n_states; i++) {
        uint32_t at = mix(l->states[i].prev, l->states[i].item) & mask;

        while (bigger[at])
            at = (at + 1) & mask;
        bigger[at] = i;
    }
    free(l->by_step);
    l->by_step = bigger;
    l->step_mask = mask;
}

uint32_t lists_add(struct lists *l, uint32_t state, uint32_t item)
{
    uint32_t at = mix(state, item) & l->step_mask, s;

    if (l->failed || l->states[state].item == item)
        return state;
    for (; (s = l->by_step[at]); at = (at + 1) & l->step_mask)
        if (l->states[s].prev == state && l->states[s].item == item)
            return s;
    if (!grow(&l->states, l->n_states, &l->cap_states, sizeof(*l->states))) {
        l->failed = true;
        return state;
    }
    s = l->n_states++;
    l->states[s] = (struct state){ .prev = state, .item = item, .len = l->states[state].len + 1 };
    l->by_step[at] = s;
    if (l->n_states > l->step_mask / 2)
        rehash_steps(l);
    return s;
}

/* ---- closing ---- */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* The items of a state, sorted and joined, LAST set; their number. */
static uint32_t collect(struct lists *l, uint32_t state)
{
    uint32_t n = l->states[state].len, out = 0;
    bool sorted = true;

    while (l->cap_scratch <= n)
        if (!grow(&l->scratch, l->cap_scratch, &l->cap_scratch, sizeof(*l->scratch)))
            return 0;
    for (uint32_t s = state, i = n; s; s = l->states[s].prev) {
        l->scratch[--i] = l->states[s].item;
        sorted &= i + 1 == n || l->scratch[i] < l->scratch[i + 1];
    }
    if (!sorted)
        qsort(l->scratch, n, sizeof(*l->scratch), by_value);
    for (uint32_t i = 0; i < n; i++)
        if (out && item_atom(l->scratch[out - 1]) == item_atom(l->scratch[i]))
            l->scratch[out - 1] |= l->scratch[i];
        else
            l->scratch[out++] = l->scratch[i];
    if (out)
        l->scratch[out - 1] |= ITEM_LAST;
    return out;
}

static uint32_t content_hash(const uint32_t *list)
{
    uint32_t h = 0;

    do {
        h = mix(h, *list);
    } while (!(*list++ & ITEM_LAST));
    return h;
}

static void rehash_content(struct lists *l)
{
    uint32_t mask = l->content_mask * 2 + 1, *bigger = calloc((size_t)mask + 1, sizeof(*bigger));

    if (!bigger) {
        l->failed = true;
        return;
    }
    for (uint32_t i = 0; i <= l->content_mask; i++) {
        uint32_t at;

        if (!l->by_content[i])
            continue;
        for (at = content_hash(&l->pool[l->by_content[i]]) & mask; bigger[at]; at = (at + 1) & mask)
            ;
        bigger[at] = l->by_content[i];
    }
    free(l->by_content);
    l->by_content = bigger;
    l->content_mask = mask;
}

static bool equal(const uint32_t *a, const uint32_t *b)
{
    for (; *a == *b; a++, b++)
        if (*a & ITEM_LAST)
            return true;
    return false;
}

/* The number of the list in scratch. */
static uint32_t intern(struct lists *l, uint32_t n)
{
    uint32_t at = content_hash(l->scratch) & l->content_mask, number;

    for (; (number = l->by_content[at]); at = (at + 1) & l->content_mask)
        if (equal(&l->pool[number], l->scratch))
            return number;
    if (n >= LISTS_MAX - l->n) {
        l->failed = l->full = true;
        return 0;
    }
    while (l->cap - l->n < n + 1)
        if (!grow(&l->pool, l->cap, &l->cap, sizeof(*l->pool))) {
            l->failed = true;
            return 0;
        }
    l->pool[l->n++] = 0;
    number = l->n;
    memcpy(&l->pool[number], l->scratch, n * sizeof(*l->pool));
    l->n += n;
    l->by_content[at] = number;
    if (++l->n_closed > l->content_mask / 2)
        rehash_content(l);
    return number;
}

uint32_t lists_close(struct lists *l, uint32_t state)
{
    uint32_t n, number;

    if (l->failed || l->states[state].closed)
        return l->failed ? 0 : l->states[state].closed - 1;
    if (!(n = collect(l, state))) {
        l->failed = true;
        return 0;
    }
    number = intern(l, n);
    l->states[state].closed = number + 1;
    return number;
}

void lists_each(struct lists *l, void (*fn)(void *arg, uint32_t *word, const uint32_t *items), void *arg)
{
    for (uint32_t at = 1; at < l->n; at++) {
        fn(arg, &l->pool[at], &l->pool[at + 1]);
        do
            at++;
        while (!(l->pool[at] & ITEM_LAST));
    }
}
