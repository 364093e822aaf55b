/*
 * lists.h - what the lists of a profile say about a name or an address
 */
#ifndef DNS_LISTS_H
#define DNS_LISTS_H

#include <stdatomic.h>

#include "dns/dns.h"
#include "dns/filter.h"

/* The keys of a policy, in order. Neighbouring keys that are patterns act as one table, in which the most specific one wins; a key that
 * names a set stands in its place in the order. */
struct run {
    struct matcher *m; /* -> number of a key */
    bool patterns;     /* the most specific one wins, else the first */
};
struct keys {
    struct run *runs;
    uint32_t n_runs;
};
/* The number of the key that name belongs to, or MATCHER_NONE. */
uint32_t keys_find(const struct keys *k, const char *name);

/* Immutable, counted: a policy and those who answer by it hold a reference each. */
struct dns_lists {
    _Atomic unsigned refs;
    struct filter *filter;
    struct keys policy, server_policy;
    struct matcher *doubtful;  /* names that only fallback may be asked for; NULL = there is no fallback */
    struct matcher *unfit;     /* addresses that nobody may get; likewise */
    struct matcher *countries; /* addresses that are fit; NULL: all are */
};
struct dns_lists *lists_get(struct dns_lists *l);

#endif
