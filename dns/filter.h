/*
 * filter.h - which names get their real address although fake-IP is on (clash-profile section 6.3, dns.md section 1)
 */
#ifndef DNS_FILTER_H
#define DNS_FILTER_H

#include "rules/rules.h"

struct filter;

/* From fake-ip-filter and fake-ip-filter-mode, and our own list on top. env: rule providers and geo files, borrowed for the call; NULL =
 * there are none. What cannot be used is skipped with a warning. NULL only without memory. */
struct filter *filter_new(const struct profile *p, const struct rules_env *env, struct diag *d);
void filter_free(struct filter *f);
/* name in lower case, not empty. */
bool filter_wants_real(const struct filter *f, const char *name);

/* Adds one element of a list of a profile to a matcher, with its number; what cannot be used is skipped with a warning that says where
 * (path). false: no memory. */
bool filter_add(struct matcher *m, const struct cfg_matcher *e, uint32_t id, const char *path, struct diag *d);

#endif
