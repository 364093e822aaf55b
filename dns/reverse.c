/*
 * reverse.c - names behind real addresses
 *
 *   address --hash--> entry: name, until when         oldest note out first
 *
 * In redir-host mode this is how rules see names; in fake-IP mode it serves the names that are not faked.
 */
#include "dns/reverse.h"

#include <stdlib.h>
#include <string.h>

#include "core/list.h"
#include "core/map.h"

struct entry {
    struct map_node node;
    struct list_head by_age; /* reverse.by_age */
    struct addr addr;
    uint64_t until_ms;
    char name[];
};

struct reverse {
    struct map map;
    struct list_head by_age; /* the oldest note first */
};

static uint64_t hash_of(const struct addr *a)
{
    return endpoint_hash(&(struct endpoint){ *a, 0 });
}

static struct entry *find(const struct reverse *r, const struct addr *a)
{
    for (struct map_node *m = map_first(&r->map, hash_of(a)); m; m = map_next(m)) {
        struct entry *e = container_of(m, struct entry, node);

        if (addr_eq(&e->addr, a))
            return e;
    }
    return NULL;
}

static void drop(struct reverse *r, struct entry *e)
{
    map_del(&r->map, &e->node);
    list_del(&e->by_age);
    free(e);
}

/* Addresses of a company's or a home's own network are: rules may go by the names of its hosts. */
static bool is_global_unicast(const struct addr *a)
{
    return !addr_is_loopback(a) && !addr_is_link_local(a) && !addr_is_multicast(a) && !addr_is_unspecified(a);
}

void reverse_note(struct reverse *r, const struct addr *a, const char *name, uint32_t ttl, uint64_t now_ms)
{
    size_t len = strlen(name);
    struct entry *e = find(r, a);

    if (!is_global_unicast(a))
        return;
    if (e)
        drop(r, e);
    if (!(e = malloc(sizeof(*e) + len + 1)))
        return;
    if (r->map.n >= REVERSE_MAX)
        drop(r, container_of(list_first(&r->by_age), struct entry, by_age));
    e->addr = *a;
    e->until_ms = now_ms + 1000ull * (ttl ? ttl : 1);
    memcpy(e->name, name, len + 1);
    map_add(&r->map, &e->node, hash_of(a));
    list_append(&r->by_age, &e->by_age);
}

const char *reverse_find(struct reverse *r, const struct addr *a, uint64_t now_ms)
{
    struct entry *e = find(r, a);

    if (e && now_ms < e->until_ms)
        return e->name;
    if (e)
        drop(r, e);
    return NULL;
}

struct reverse *reverse_new(void)
{
    struct reverse *r = calloc(1, sizeof(*r));

    if (!r || map_init(&r->map, 64) < 0) {
        free(r);
        return NULL;
    }
    list_init(&r->by_age);
    return r;
}

void reverse_free(struct reverse *r)
{
    if (!r)
        return;
    while (!list_empty(&r->by_age))
        drop(r, container_of(list_first(&r->by_age), struct entry, by_age));
    map_fini(&r->map);
    free(r);
}
