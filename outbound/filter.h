/*
 * filter.h - regular expressions of a profile on names: filter, exclude-filter, proxy-name
 */
#ifndef OUTBOUND_FILTER_H
#define OUTBOUND_FILTER_H

#include "configs/config.h"
#include "core/map.h"

/* All filters of one profile, while it is being built: the same text is compiled once, and matching has a budget, because patterns and names are
 * a stranger's. Zeroed, then filters_init(). */
struct filters {
    struct map by_text;
    uint64_t spent_ns, dice;
    bool tired; /* the budget is used up: nothing matches any more, which has been said */
};
int filters_init(struct filters *all);
void filters_fini(struct filters *all);

/* One or several patterns. */
struct filter {
    uint32_t n;
    struct pattern **v;
};

/* Where a text stands, for messages. */
struct filter_at {
    const struct cfg_node *node;
    const char *path, *what; /* "proxy-groups[2]", "group \"X\": filter"; copied */
    struct diag *d; /* NULL: nothing is said that was said of the pattern before */
};

/* Compiles a text; several patterns are separated by back-ticks when `many`. One that does not compile is left out with a warning ("bad-regex");
 * out->n is then smaller, maybe 0. The patterns live as long as `all`, the array in doc. 0 or -ENOMEM. */
int filter_compile(struct filters *all, struct cfg_doc *doc, const char *text, bool many, const struct filter_at *at, struct filter *out);

/* Does the pattern match somewhere in the name? One that costs too much is given up, and said once, at its place: from then on it matches nothing. */
bool pattern_matches(struct filters *all, struct pattern *p, const char *name, struct diag *d);
bool filter_any(struct filters *all, const struct filter *f, const char *name, struct diag *d);
/* Replaces every match by target ($1, ${name}); the result lives in doc. NULL without memory; the name itself when nothing matches, or the
 * target makes no sense, or the result is longer than 1024 bytes. */
const char *pattern_replace(struct filters *all, struct pattern *p, const char *name, const char *target, struct cfg_doc *doc, struct diag *d);

#endif
