/*
 * cache.c - answers of name servers, kept for as long as they hold
 *
 *   (question, list) --hash--> entry: message, where its TTLs are, when it was born and when it is over       oldest use out first
 *
 * Serving is a copy with the TTLs counted down. An answer that is over is still worth something (RFC 8767): for five minutes it is served
 * at once while a new one is asked for; up to a day it is the last resort when no server answers. Never a SERVFAIL, which says nothing.
 */
#include "dns/cache.h"

#include <stdlib.h>
#include <string.h>

#include "core/list.h"
#include "core/map.h"
#include "core/pool.h"

#define PREFETCH_USES 2

struct entry {
    struct map_node node;
    struct list_head use; /* cache.by_use */
    uint64_t born_ms, over_ms, failed_ms;
    uint32_t uses;
    uint16_t list, type, class_, n_ttls;
    uint8_t flags, name_len;
    bool may_be_stale;
    uint32_t len;
    uint8_t data[]; /* offsets of TTLs (2 each), message; the name stands in the message */
};

struct cache {
    struct map map;
    struct list_head by_use; /* the one used longest ago first */
    uint32_t n, max;
    size_t bytes;
};

static uint64_t hash_of(const struct qkey *k, uint16_t list)
{
    return qkey_hash(k) ^ list * 0xbf58476d1ce4e5b9u;
}

static const uint8_t *message(const struct entry *e)
{
    return e->data + 2 * e->n_ttls;
}

static size_t size_of(const struct entry *e)
{
    return sizeof(*e) + 2u * e->n_ttls + e->len;
}

static void drop(struct cache *c, struct entry *e)
{
    map_del(&c->map, &e->node);
    list_del(&e->use);
    c->n--;
    c->bytes -= size_of(e);
    free(e);
}

/* The question of the message is the key's, but for letter case, and so of the same length. */
static bool is_for(const struct entry *e, const struct qkey *k, uint16_t list)
{
    const uint8_t *name = message(e) + DNS_HEADER;

    if (e->list != list || e->type != k->type || e->class_ != k->class_ || e->flags != k->flags || e->name_len != k->len)
        return false;
    for (size_t i = 0; i < k->len; i++)
        if ((name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]) != k->name[i])
            return false;
    return true;
}

static struct entry *find(struct cache *c, const struct qkey *k, uint16_t list)
{
    for (struct map_node *m = map_first(&c->map, hash_of(k, list)); m; m = map_next(m)) {
        struct entry *e = container_of(m, struct entry, node);

        if (is_for(e, k, list))
            return e;
    }
    return NULL;
}

static void copy_aged(const struct entry *e, uint64_t now_ms, uint8_t *out)
{
    uint32_t age = (uint32_t)((now_ms - e->born_ms) / 1000);

    memcpy(out, message(e), e->len);
    for (unsigned i = 0; i < e->n_ttls; i++) {
        uint8_t *at = out + get16(e->data + 2 * i);
        uint32_t ttl = get32(at);

        put32(at, ttl > age && now_ms < e->over_ms ? ttl - age : 1);
    }
}

static enum cache_state state_of(const struct entry *e, uint64_t now_ms)
{
    if (now_ms < e->over_ms)
        return e->uses >= PREFETCH_USES && e->over_ms - now_ms < (e->over_ms - e->born_ms) / 10 ? CACHE_PREFETCH : CACHE_FRESH;
    if (!e->may_be_stale || now_ms - e->over_ms > CACHE_STALE_MS)
        return CACHE_NONE;
    if (e->failed_ms && now_ms - e->failed_ms < CACHE_RETRY_MS)
        return CACHE_HELD;
    return now_ms - e->over_ms < CACHE_OLD_MS ? CACHE_STALE : CACHE_OLD;
}

enum cache_state cache_get(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now_ms, uint8_t **out, size_t *len)
{
    struct entry *e = find(c, k, list);
    enum cache_state s = e ? state_of(e, now_ms) : CACHE_NONE;

    *out = NULL;
    if (s == CACHE_NONE) {
        if (e)
            drop(c, e);
        return s;
    }
    if (!(*out = buf_get()))
        return CACHE_NONE;
    e->uses++;
    list_del(&e->use);
    list_append(&c->by_use, &e->use);
    copy_aged(e, now_ms, *out);
    *len = e->len;
    return s;
}

static void make_room(struct cache *c, size_t size)
{
    while (c->n && (c->n >= c->max || c->bytes + size > CACHE_BYTES_MAX))
        drop(c, container_of(list_first(&c->by_use), struct entry, use));
}

void cache_put(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now_ms, const uint8_t *msg, size_t len, uint32_t ttl,
               bool may_be_stale)
{
    uint16_t at[2048];
    int n = msg_ttls(msg, len, at, sizeof(at) / sizeof(at[0]));
    size_t size = sizeof(struct entry) + 2 * (size_t)n + len;
    struct entry *e = find(c, k, list);

    if (e)
        drop(c, e);
    if (n == sizeof(at) / sizeof(at[0]) || len > CACHE_MSG_MAX || !(e = malloc(size)))
        return; /* more than anybody needs */
    make_room(c, size);
    *e = (struct entry){ .born_ms = now_ms,
                         .over_ms = now_ms + (uint64_t)ttl * 1000,
                         .list = list,
                         .type = k->type,
                         .class_ = k->class_,
                         .n_ttls = (uint16_t)n,
                         .flags = k->flags,
                         .name_len = k->len,
                         .may_be_stale = may_be_stale,
                         .len = (uint32_t)len };
    for (int i = 0; i < n; i++)
        put16(e->data + 2 * i, at[i]);
    memcpy(e->data + 2 * n, msg, len);
    map_add(&c->map, &e->node, hash_of(k, list));
    list_append(&c->by_use, &e->use);
    c->n++;
    c->bytes += size;
}

bool cache_failed(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now_ms)
{
    struct entry *e = find(c, k, list);

    if (!e || !e->may_be_stale || (now_ms > e->over_ms && now_ms - e->over_ms > CACHE_STALE_MS))
        return false;
    e->failed_ms = now_ms;
    return true;
}

void cache_flush(struct cache *c)
{
    while (c->n)
        drop(c, container_of(list_first(&c->by_use), struct entry, use));
}

uint32_t cache_count(const struct cache *c)
{
    return c->n;
}

struct cache *cache_new(uint32_t max)
{
    struct cache *c = calloc(1, sizeof(*c));

    if (!c || map_init(&c->map, 64) < 0) {
        free(c);
        return NULL;
    }
    list_init(&c->by_use);
    c->max = max;
    return c;
}

void cache_free(struct cache *c)
{
    if (!c)
        return;
    cache_flush(c);
    map_fini(&c->map);
    free(c);
}
