/*
 * private.h - a compiled rule list
 */
#ifndef RULES_PRIVATE_H
#define RULES_PRIVATE_H

#include "core/arena.h"
#include "rules/rules.h"

#define NO_RULE UINT32_MAX

/* One line, taken apart. Points into the ruleset's arena. */
struct parsed {
    struct rule rule;
    struct cidr net;           /* IP-CIDR */
    uint8_t l4;                /* NETWORK: enum flow_net */
    uint16_t (*ports)[2];      /* DST-PORT: inclusive ranges */
    uint32_t n_ports;
    uint32_t next_same;        /* the next rule with the same name or prefix, or NO_RULE */
};

/* Names and prefixes by 64-bit keyed hash; the value is the first of a chain of rules in profile order. Open addressing; a hash of 0 is empty. */
struct slot {
    uint64_t hash;
    uint32_t first, last;
};
struct table {
    struct slot *slot;
    uint32_t mask, n;
};

struct ruleset {
    struct arena mem;
    struct parsed *all;
    uint32_t n;
    uint8_t key[16]; /* of this set's hashes: an outsider cannot aim at a slot */
    struct table exact, suffix, prefix;
    uint32_t *keywords, n_keywords;
    uint32_t *others, n_others;       /* DST-PORT, NETWORK, MATCH */
    uint32_t *resolving, n_resolving; /* address rules without no-resolve */
    uint8_t lens4[33], lens6[129];    /* prefix lengths in use */
    uint8_t n_lens4, n_lens6;
};

/* Takes one line apart; false when it is to be skipped (a warning is in d). */
bool rule_parse(struct ruleset *rs, const struct cfg_rule *src, struct parsed *out, struct diag *d);

#endif
