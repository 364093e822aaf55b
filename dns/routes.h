/*
 * routes.h - which name servers a question goes to
 */
#ifndef DNS_ROUTES_H
#define DNS_ROUTES_H

#include "dns/lists.h"
#include "dns/ns.h"

/* Where a question goes. */
struct route {
    uint16_t id;                           /* of the cache; never used twice, reloads included */
    const struct ns_list *main, *fallback; /* fallback: NULL = none */
    bool lazy;                             /* fallback is asked only when main's answer does not do */
};

/* All routes of one profile. Immutable, counted: a flight holds those it started with. lists: of the same profile; counted. NULL without memory. */
struct routes;
struct routes *routes_new(struct dns *d, const struct profile *p, struct dns_lists *lists, struct diag *diag);
struct routes *routes_get(struct routes *r);
void routes_put(struct routes *r);

/* name: the key's as text, "" when it has none. why: enum lookup_for, LOOKUP_BOOT too. */
const struct route *routes_choose(const struct routes *r, const struct qkey *k, const char *name, unsigned why);
/* Is one of the addresses suspicious (fallback-filter)? */
bool routes_unfit(const struct routes *r, const struct answer *a);

#endif
