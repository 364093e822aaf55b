/*
 * rules.h - the rule engine: which rule is the first that is true of a flow
 *
 * Pure: no I/O, no clock, no loop, no allocation per decision. When a fact is missing it says so and is called again. Immutable once
 * built, but for the hit counters. Semantics: reference rules; format of a line: clash-profile section 13.
 */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include <stdint.h>

#include "configs/config.h"
#include "core/flow.h"

enum rule_type {
    RULE_DOMAIN, RULE_DOMAIN_SUFFIX, RULE_DOMAIN_KEYWORD, RULE_IP_CIDR, RULE_IP_CIDR6, RULE_DST_PORT, RULE_NETWORK, RULE_MATCH,
    RULE_N_TYPES
};

struct rule {
    uint32_t index;        /* over the profile's list, from 0, skipped rules counted */
    uint32_t line, column; /* in the profile */
    enum rule_type type;
    bool no_resolve;
    const char *payload;   /* "" for MATCH; owned by the ruleset, as is target */
    const char *target;
    int32_t target_id;     /* what the caller's find() said; -1 = unknown target: the flow is to be rejected */
    uint64_t hits;         /* counted by the engine */
};

struct ruleset;

/* Finds a target name; returns an id >= 0, or -1 when there is none. */
typedef int32_t rules_find_fn(void *arg, const char *target);

/* Builds from the lines of a profile. Bad lines and unknown types are skipped with a positioned warning ("bad-rule",
 * "unknown-type"); an unknown target keeps the rule with target_id -1 and a warning "unknown-target" (on MATCH: an error). NULL only
 * without memory. Owns copies of all text. Freed with rules_free(). */
struct ruleset *rules_build(const struct cfg_rule *src, uint32_t n, rules_find_fn *find, void *arg, struct diag *d);
void rules_free(struct ruleset *rs);

/* The rules that were kept, in order. */
uint32_t rules_count(const struct ruleset *rs);
struct rule *rules_at(struct ruleset *rs, uint32_t i);

/* As profiles write the type ("DOMAIN-SUFFIX") and as the control API does ("DomainSuffix"). */
const char *rule_type_name(enum rule_type t);
const char *rule_type_api_name(enum rule_type t);

enum match { MATCH_HIT, MATCH_NONE, MATCH_NEED_IP };

/* Where a walk stands. Zero-initialise for a new flow. */
struct rule_pos {
    uint32_t from;      /* first position still to be looked at */
    bool ip_failed;     /* set by the caller: the look-up failed, address rules are false */
};

/* The first rule at or after pos->from that is true of m. MATCH_HIT: *hit is set and pos->from stands behind it (call again to go on).
 * MATCH_NEED_IP: a rule that needs the address was reached, m has a name and no address: set m->dst.at.ip or pos->ip_failed and call
 * again; pos->from stands at that rule. MATCH_NONE: nothing matches. m->dst.host must be lower case. */
enum match rules_match(struct ruleset *rs, struct rule_pos *pos, const struct flow_meta *m, struct rule **hit);

#endif
