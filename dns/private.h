/*
 * private.h - what the files of dns/ share
 */
#ifndef DNS_PRIVATE_H
#define DNS_PRIVATE_H

#include <ares.h>

#include "core/list.h"
#include "core/map.h"
#include "dns/dns.h"
#include "dns/fakeip.h"
#include "dns/msg.h"
#include "dns/names.h"

#define IN_FLIGHT_MAX 1024
#define CACHE_MAX 4096

/* ---- upstream.c: name servers by c-ares ---- */

struct upstream; /* a list of servers that are asked together */
typedef void upstream_fn(void *arg, int err, const uint8_t *msg, size_t len);

/* Takes the texts of a profile; unusable ones are skipped with a warning. own: networks that are ours (queries there would loop). NULL when none is usable. */
struct upstream *upstream_new(struct loop *l, const struct cfg_strs *servers, const struct cidr *own, int n_own, struct diag *d);
void upstream_free(struct upstream *u); /* running queries end with -ECANCELED */
/* Sends a wire query; done is called once, from the loop (never from inside). 0 or -err. */
int upstream_ask(struct upstream *u, const uint8_t *msg, size_t len, upstream_fn *done, void *arg);

/* ---- resolver.c: cache, one flight per question, inner look-ups ---- */

struct flight;
struct waiter { /* embedded in who waits */
    struct list_head node;
    struct flight *flight;
    void (*done)(struct waiter *w, int err, const uint8_t *msg, size_t len);
};
/* Asks the real resolver. Returns 1 and calls done at once (cache); 0: done comes later; or -err. why: enum lookup_for. */
int resolve(struct dns *d, const char *name, uint16_t type, enum lookup_for why, struct waiter *w);
void resolve_cancel(struct waiter *w);
int resolver_init(struct dns *d, struct diag *diag);
void resolver_fini(struct dns *d);
bool hosts_addr(struct dns *d, const char *name, int ver, struct addr *out, int max, int *n);

/* ---- dns.c ---- */

void pending_drop_all(struct dns *d); /* clients that wait are not answered any more */

/* ---- server.c ---- */

void server_init(struct dns *d);
void server_fini(struct dns *d);

struct cache_entry;
struct dns {
    struct loop *loop;
    const struct profile *p;
    char *state_dir;
    struct resolver resolver;
    struct fakeip *fake;
    struct names *hosts, *filter;
    struct upstream *up[3]; /* by enum lookup_for; RULES is the main one, the others may be NULL */
    struct map cache, flights, lookups;
    struct list_head lru;   /* cache, oldest first */
    uint32_t n_cache, n_flights;
    struct list_head listeners, conns, pending;
    uint32_t n_conns, n_pending;
    struct job flush;
    struct timer sync;
};

#endif
