/*
 * map.c - chained hash map of intrusive nodes
 *
 *   slot[hash & mask] ──► node ──► node ──► NULL        a node keeps its whole hash, so chains are walked and dealt out without the keys
 *
 * The table doubles when it has more nodes than slots; when there is no memory for that, chains get longer and nothing else happens. Only
 * the table is allocated; nodes are members of what they find.
 */
#include "core/map.h"

#include <errno.h>
#include <stdlib.h>

int map_init(struct map *m, uint32_t want)
{
    uint32_t size = 8;

    while (size < want && size < 1u << 30)
        size *= 2;
    m->slot = calloc(size, sizeof(struct map_node *));
    m->mask = size - 1;
    m->n = 0;
    return m->slot ? 0 : -ENOMEM;
}

void map_fini(struct map *m)
{
    free(m->slot);
    m->slot = NULL;
    m->n = 0;
}

static void put(struct map *m, struct map_node *n)
{
    struct map_node **at = &m->slot[n->hash & m->mask];

    n->next = *at;
    *at = n;
}

static void grow(struct map *m)
{
    struct map bigger;

    if (map_init(&bigger, (m->mask + 1) * 2) < 0)
        return;
    for (uint32_t i = 0; i <= m->mask; i++) {
        for (struct map_node *n = m->slot[i], *next; n; n = next) {
            next = n->next;
            put(&bigger, n);
        }
    }
    bigger.n = m->n;
    free(m->slot);
    *m = bigger;
}

void map_add(struct map *m, struct map_node *n, uint64_t hash)
{
    if (m->n > m->mask && m->mask < 1u << 29)
        grow(m);
    n->hash = hash;
    put(m, n);
    m->n++;
}

void map_del(struct map *m, struct map_node *n)
{
    struct map_node **at = &m->slot[n->hash & m->mask];

    while (*at && *at != n)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = n->next;
    m->n--;
}

static struct map_node *same(struct map_node *n, uint64_t hash)
{
    while (n && n->hash != hash)
        n = n->next;
    return n;
}

struct map_node *map_first(const struct map *m, uint64_t hash)
{
    return same(m->slot[hash & m->mask], hash);
}

struct map_node *map_next(const struct map_node *n)
{
    return same(n->next, n->hash);
}
