/*
 * cache.h - answers of name servers, kept for as long as they hold
 *
 * Pure: no loop, no clock of its own. Whole messages in wire form, by question and by the list of servers that was asked.
 */
#ifndef DNS_CACHE_H
#define DNS_CACHE_H

#include "dns/msg.h"

struct cache;

#define CACHE_STALE_MS  (24ull * 3600 * 1000) /* how long an answer may be served after its time */
#define CACHE_OLD_MS    (5ull * 60 * 1000)    /* after this it is served only when nothing better comes in a moment */
#define CACHE_RETRY_MS  30000                 /* RFC 8767 section 5: a failed refresh is not repeated before */
#define CACHE_BYTES_MAX (16u << 20)
#define CACHE_MSG_MAX   65000 /* a longer answer is not kept */

/* At most max answers (and CACHE_BYTES_MAX of them). NULL without memory. */
struct cache *cache_new(uint32_t max);
void cache_free(struct cache *c);
void cache_flush(struct cache *c);
uint32_t cache_count(const struct cache *c);

enum cache_state {
    CACHE_NONE,
    CACHE_FRESH,
    CACHE_PREFETCH, /* fresh, used before and nearly over: serve it and ask again */
    CACHE_STALE,    /* over, by less than CACHE_OLD_MS: serve it and ask again */
    CACHE_OLD,      /* over for longer: ask, and serve it when the answer keeps us waiting */
    CACHE_HELD      /* over, and asking again failed just now: serve it */
};
/* Copies what is kept for a question, with its TTLs counted down (1 when over), into a buffer that is the caller's (buf_put()). With CACHE_NONE,
 * also for want of memory, *out is NULL and *len not set. */
enum cache_state cache_get(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now_ms, uint8_t **out, size_t *len);
/* Keeps a stripped answer (msg_strip) for ttl seconds, in place of an older one. No memory: it is not kept. */
void cache_put(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now_ms, const uint8_t *msg, size_t len, uint32_t ttl,
               bool may_be_stale);
/* Asking again failed: what is kept may be served for a while. false: nothing is. */
bool cache_failed(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now_ms);

#endif
