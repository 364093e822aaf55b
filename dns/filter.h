/*
 * filter.h - which names get their real address although fake-IP is on (clash-profile section 6.3, dns.md section 1)
 */
#ifndef DNS_FILTER_H
#define DNS_FILTER_H

#include "configs/config.h"

struct filter;

/* From fake-ip-filter and fake-ip-filter-mode, and our own list on top. What cannot be used is skipped with a warning. NULL only without
 * memory. */
struct filter *filter_new(const struct profile *p, struct diag *d);
void filter_free(struct filter *f);
/* name in lower case, not empty. */
bool filter_wants_real(const struct filter *f, const char *name);

#endif
