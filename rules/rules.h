/*
 * rules.h - the rule engine: which rule is the first that is true of a flow
 *
 * Pure: no I/O, no clock, no loop, no allocation per decision. When a fact is missing it says so and is called again. Immutable once
 * built, but for hit counters and rules switched off; matching uses scratch memory of the set, so one thread at a time. Semantics:
 * reference rules; format of a line: clash-profile section 13.
 *
 *   rules_build()   lines, and what they refer to -> one index over all of them
 *   rules_match()   first true rule at or after a position; may ask for the address or the program first
 *   matcher_...     the same index for lists of domain patterns and prefixes: filters, policies, hosts
 */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include <stdint.h>

#include "configs/config.h"
#include "core/flow.h"
#include "rules/set.h"

enum rule_type {
    RULE_DOMAIN, RULE_DOMAIN_SUFFIX, RULE_DOMAIN_KEYWORD, RULE_DOMAIN_WILDCARD, RULE_DOMAIN_REGEX, RULE_GEOSITE,
    RULE_IP_CIDR, RULE_IP_CIDR6, RULE_IP_SUFFIX, RULE_IP_ASN, RULE_GEOIP,
    RULE_SRC_IP_CIDR, RULE_SRC_IP_SUFFIX, RULE_SRC_IP_ASN, RULE_SRC_GEOIP,
    RULE_SRC_PORT, RULE_DST_PORT, RULE_IN_PORT, RULE_IN_TYPE, RULE_IN_USER, RULE_IN_NAME,
    RULE_PROCESS_NAME, RULE_PROCESS_NAME_WILDCARD, RULE_PROCESS_NAME_REGEX,
    RULE_PROCESS_PATH, RULE_PROCESS_PATH_WILDCARD, RULE_PROCESS_PATH_REGEX,
    RULE_UID, RULE_NETWORK, RULE_DSCP, RULE_REMATCH_NAME, RULE_RULE_SET,
    RULE_AND, RULE_OR, RULE_NOT, RULE_SUB_RULE, RULE_MATCH,
    RULE_N_TYPES
};

struct rule {
    uint32_t index;        /* over its list in the profile, from 0, skipped rules counted */
    uint32_t line, column; /* in the profile */
    uint8_t type;          /* enum rule_type */
    bool no_resolve, src;
    bool disabled;         /* changed by rules_disable() only */
    int32_t size;          /* GEOSITE, GEOIP: entries; else -1 */
    int32_t target_id;     /* what env->target() said; -1 = unknown target: the flow is to be rejected */
    const char *payload;   /* "" for MATCH; owned by the ruleset, as is target */
    const char *target;
    uint64_t hits;         /* counted by the engine */
    int64_t hit_unix_ms;   /* the last one; 0 = never */
};

struct ruleset;

/* ---- building ---- */

/* A rule provider as it is now. */
struct rules_provider {
    const struct cfg_provider *cfg; /* behaviour, format, payload, where it stands */
    const void *bytes;              /* the file; NULL = not there (yet): the payload counts, if there is one */
    size_t len;
};

struct rules_file { const void *bytes; size_t len; }; /* bytes NULL = not there */

/* What lines refer to and rules/ cannot know. Everything is borrowed for the call only. */
struct rules_env {
    void *arg;
    int32_t (*target)(void *arg, const char *name);                                   /* id >= 0, or -1: no such */
    bool (*provider)(void *arg, const char *name, struct rules_provider *out);        /* false: no such; NULL: there are none */
    void (*offer_targets)(void *arg, struct cfg_guess *g);                                 /* every name, for "did you mean"; may be NULL */
    void (*offer_providers)(void *arg, struct cfg_guess *g);
    struct rules_file geosite, geoip, asn; /* GeoSite.dat; GeoIP.dat or an mmdb; ASN mmdb */
    bool geoip_is_dat;                     /* geoip is GeoIP.dat (geodata-mode) */
    bool strict;                           /* strict mode: see MATCH_MISSING */
};

struct rules_src {
    uint32_t n_rules, n_subs;
    const struct cfg_rule *rules;
    const struct cfg_sub_rules *subs;
};

/* Builds from the lines of a profile. What cannot be used is skipped with a positioned warning ("bad-rule", "bad-regex", "unknown-type",
 * "cycle"); data that are not there leave the rule and make it false ("missing-data", once each); an unknown target keeps the rule with
 * target_id -1 ("unknown-target"; on MATCH an error). NULL without memory, or when the set is larger than the index can be (an error in
 * d). May run in any thread. Owns copies of all text. Freed with rules_free(). */
struct ruleset *rules_build(const struct rules_src *src, const struct rules_env *env, struct diag *d);
void rules_free(struct ruleset *rs);

/* The top-level rules that were kept, in order. */
uint32_t rules_count(const struct ruleset *rs);
struct rule *rules_at(struct ruleset *rs, uint32_t i);
/* Switches the top-level rule with that index in the profile off or on; unknown indexes are ignored. */
void rules_disable(struct ruleset *rs, uint32_t index, bool off);
/* Takes over what was counted and what is switched off, from a set built from the same lines (their providers may differ). */
void rules_inherit(struct ruleset *rs, const struct ruleset *from);

struct rules_stats {
    uint32_t atoms, names, prefixes4, prefixes6, texts; /* things in the index; names: places in the tree of labels */
    size_t names_bytes, spans4_bytes, spans6_bytes, texts_bytes, lists_bytes, uses_bytes;
};
void rules_stats(const struct ruleset *rs, struct rules_stats *st);

/* As profiles write the type ("DOMAIN-SUFFIX") and as the control API does ("DomainSuffix"). */
const char *rule_type_name(enum rule_type t);
const char *rule_type_api_name(enum rule_type t);

/* ---- matching ---- */

enum match {
    MATCH_HIT,
    MATCH_NONE,
    MATCH_NEED_IP,   /* the address of dst.host */
    MATCH_NEED_PROC, /* the program (rules about programs and user ids) */
    MATCH_MISSING    /* env.strict only: the rule could be true, but its data are not there: to be rejected */
};

#define RULES_DEPTH 8 /* lists that may call each other */

/* Where a walk stands. Zero-initialise for a new flow. */
struct rule_pos {
    uint32_t from[RULES_DEPTH]; /* per list that is open: first position still to be looked at */
    uint32_t leaf;              /* in the rule that asked for the address: what stands before it stays without */
    uint8_t depth;
    bool ip_failed;             /* set by the caller: the look-up failed, address rules are false */
    bool proc_tried;            /* set by the caller: there is no more to know than m->proc says (NULL: nothing) */
};

struct rule_hit {
    struct rule *rule;     /* of the top-level list */
    const struct rule *by; /* the rule whose target counts: rule itself, or one of a SUB-RULE list */
};

/* The first rule at or after pos that is true of m. dst.host and sniffed must be lower case.
 * MATCH_HIT, MATCH_MISSING: *hit is set and pos stands behind it; call again to go on, inside a SUB-RULE list if the hit was there
 * (PASS-RULE), or after rules_leave() behind the top-level rule (PASS, no UDP). MATCH_NEED_IP: m has a name and no address: set
 * m->dst.at.ip or pos->ip_failed, call again. MATCH_NEED_PROC: set m->proc if it could be found, pos->proc_tried in any case, call again. */
enum match rules_match(struct ruleset *rs, struct rule_pos *pos, const struct flow_meta *m, struct rule_hit *hit);
void rules_leave(struct rule_pos *pos);
/* After MATCH_NEED_...: the top-level rule that asks, or that opened the list in which one does. */
const struct rule *rules_asker(const struct ruleset *rs, const struct rule_pos *pos);

/* ---- lists of patterns ---- */

struct matcher;

#define MATCHER_NONE UINT32_MAX

/* Elements: domain patterns, "geosite:NAME,...", "rule-set:NAME,..." for names; prefixes, "geoip:CODE,...", "rule-set:NAME,..." for
 * addresses (clash-profile 2.2 - 2.4). Each has a number of the caller's, below 2^28; several elements may share one. env may be NULL:
 * then only patterns and prefixes. */
struct matcher *matcher_new(const struct rules_env *env);
void matcher_free(struct matcher *m);
/* 0; -EINVAL: not such an element; -ENOENT: no such provider, category or code; -EBADMSG: the provider's behaviour does not fit, or its
 * file is broken; -ENODATA: its file is not there; -ENOMEM. what (may be NULL) gets the part of the element that is at fault. */
int matcher_add_name(struct matcher *m, const char *element, uint32_t id, char what[64]);
int matcher_add_addr(struct matcher *m, const char *element, uint32_t id, char what[64]);
/* To be called once, after the last element. 0, -ENOMEM, or -ERANGE: too many. */
int matcher_finish(struct matcher *m);
/* The smallest number whose elements match, or MATCHER_NONE. host: lower case, no final dot. */
uint32_t matcher_first(const struct matcher *m, const char *host);
uint32_t matcher_first_addr(const struct matcher *m, const struct addr *a);
/* Among domain patterns only: the number of the most specific one (clash-profile 2.2: label by label from the right, literal, then `*`,
 * then any depth); of equal ones the smallest. */
uint32_t matcher_best(const struct matcher *m, const char *host);

#endif
