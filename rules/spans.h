/*
 * spans.h - the index of addresses: which atoms are true of an address
 *
 * Longest-prefix match is the wrong question: 10.0.0.0/8 in rule 3 beats 10.1.0.0/16 in rule 9. So the address space is cut where any
 * prefix begins or ends, and every stretch knows the list of all atoms that cover it; neighbours with equal lists are one stretch.
 *
 *   start     0.0.0.0   10.0.0.0   10.1.0.0   10.2.0.0   11.0.0.0          sorted; one binary search
 *   list         -        {3}       {3, 9}      {3}         -
 *
 * The root cuts the search short: by the top bits of the address, between which stretches to look. IPv6 starts are the high 64 bits;
 * where something is cut inside a /64 (hardly ever) its number leads to a second search, by the low 64 bits.
 */
#ifndef RULES_SPANS_H
#define RULES_SPANS_H

#include "core/addr.h"
#include "rules/lists.h"

struct span_side { uint64_t low; uint32_t list; }; /* inside one /64 */

struct spans {
    uint32_t n4, n6, n_side;
    uint32_t *start4;
    uint64_t *start6;
    void *number4, *number6; /* uint16_t or uint32_t (wide): index into list[]; from n_lists on: into group[] */
    bool wide;
    uint32_t *root4, *root6;
    uint8_t shift4, shift6;
    uint32_t *list, n_lists; /* numbers of lists in use */
    uint32_t *group, n_groups; /* n_groups + 1 offsets into side[] */
    struct span_side *side;
    struct span_item *item; /* while building: prefixes */
    uint32_t n_items, cap_items;
    uint32_t n_prefixes4, n_prefixes6;
};

void spans_init(struct spans *x);
void spans_fini(struct spans *x);
/* Without memory l->failed is set. */
void spans_add(struct spans *x, struct lists *l, const struct cidr *c, uint32_t atom);
/* Makes the table. 0 or -ENOMEM. */
int spans_finish(struct spans *x, struct lists *l);
/* The list of an address; 0 = none. */
uint32_t spans_find(const struct spans *x, const struct addr *a);
size_t spans_bytes4(const struct spans *x);
size_t spans_bytes6(const struct spans *x);

#endif
