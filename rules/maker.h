/*
 * maker.h - a ruleset while it is made: what build.c, calls.c, compile.c, provider.c and atoms.c share
 *
 *   build.c     the lists, line by line; at the end the indexes and where every atom stands
 *   calls.c     which lists of sub-rules may call which
 *   compile.c   term -> expr
 *   provider.c  the entries of a rule provider -> exprs
 *   atoms.c     patterns, categories and countries under an atom each
 */
#ifndef RULES_MAKER_H
#define RULES_MAKER_H

#include "core/list.h"
#include "core/map.h"
#include "rules/geo.h"
#include "rules/private.h"

/* An atom that was met: a pattern, a category, a country. */
struct known {
    struct map_node node;
    const char *key;
    size_t len;
    uint32_t atom;
    int32_t size; /* entries; -1 = not counted */
    bool missing; /* its file is not there */
    bool none;    /* its file knows nothing of it */
};

/* A provider, compiled. */
struct set {
    struct map_node node;
    const char *name;
    struct expr *steps;
    uint32_t n, cap;
    uint32_t open;  /* the run that takes entries now; UINT32_MAX = none */
    uint8_t asked;  /* XF_ASK_...: what has been asked for whenever an entry behind the last step is reached */
};

/* A code to be looked for in an mmdb, all at once at the end. */
struct wish {
    struct known *k;
    struct filler filler;
    const char *code;
};
struct wishes { struct wish **v; uint32_t n, cap; };

/* Rule number `rule` is true when the atom is. */
struct use { uint32_t atom, rule; };
/* A rule whose number of entries is known only at the end. */
struct sized { uint32_t rule; const struct known *k; };

struct maker {
    struct ruleset *rs;
    const struct rules_env *env;
    const struct rules_src *src;
    struct diag *d;
    bool no_memory;
    struct arena mem;   /* lives as long as the making */
    struct arena line;  /* of the line at hand */
    struct arena entry; /* of the provider's entry at hand */
    struct map known, sets, lists;
    struct wishes codes, numbers; /* countries, AS numbers */
    struct use *uses;
    uint32_t n_uses, cap_uses;
    struct sized *sized;
    uint32_t n_sized, cap_sized;
    bool said_geosite, said_geoip, said_asn; /* that the file is missing */
    int geoip_state, asn_state;   /* of the mmdb: 0 = not looked at, 1 = usable, -1 = not */
    const struct cfg_rule *at;    /* the line at hand, for messages */
    char path[CFG_PATH_MAX];
};

/* --- atoms.c --- */

/* Is the term one that names, prefixes or programs answer? */
bool atom_is_pattern(const struct term *t);
bool atom_is_program(const struct term *t);
/* Puts the pattern of a term under an atom. false: f says why. */
bool atom_fill(struct maker *m, const struct term *t, uint32_t atom, struct fault *f);
/* The atom of an inline pattern; equal ones share it. */
bool atom_of_pattern(struct maker *m, const struct term *t, uint32_t *atom, struct fault *f);
/* The data of GEOSITE, GEOIP, IP-ASN and their SRC- forms, read when first met. NULL: f says why. */
struct known *atom_of_geo(struct maker *m, const struct term *t, struct fault *f);
/* Reads the mmdbs for all that was met. */
void atoms_grant(struct maker *m);

/* --- compile.c --- */

bool compile_term(struct maker *m, const struct term *t, struct expr *x, struct fault *f);

/* --- provider.c --- */

/* The provider of a name, read when first met. NULL: f says why. */
struct set *provider_set(struct maker *m, const char *name, struct fault *f);

/* --- calls.c --- */

enum call_fault { CALL_FINE, CALL_CIRCLE, CALL_DEEP };

/* For every list (0 = top level), for every line, whether its SUB-RULE must be dropped. NULL: no memory. Lives in m->mem. */
uint8_t **calls_plan(struct maker *m);
/* Number of a list in ruleset.list[], or NO_LIST. */
uint32_t calls_find(struct maker *m, const char *name);

#endif
