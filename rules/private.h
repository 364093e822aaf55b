/*
 * private.h - what the files of rules/ share
 *
 *   line ──parse.c──► term       what a line says
 *   term ──build.c──► atoms in the indexes (names, spans, texts), or an expr for what no index can answer
 *   flow ──match.c──► the first true rule
 *
 * An atom is one thing that can be true of a name, an address or a program: one inline pattern, one provider, one category. Lists, logic
 * and filters refer to atoms.
 */
#ifndef RULES_PRIVATE_H
#define RULES_PRIVATE_H

#include "core/arena.h"
#include "rules/domain.h"
#include "rules/rules.h"
#include "rules/spans.h"
#include "rules/texts.h"

#define NO_ATOM UINT32_MAX
#define NO_LIST UINT32_MAX
#define SCRATCH_MAX (1u << 20) /* arenas for lines that are read are emptied beyond */
#define PROCESS_MAX 4000 /* longest name or path of a program that rules know */

static inline char ascii_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* ---- a line, taken apart (parse.c) ---- */

struct range { uint32_t lo, hi; }; /* inclusive */

struct term {
    uint8_t type; /* enum rule_type */
    bool src, no_resolve;
    bool negate;         /* GEOSITE,!x  GEOIP,!x */
    const char *payload; /* NUL-terminated; names, keywords, codes in lower case */
    uint32_t n;          /* ranges, words, kids */
    union {
        struct cidr net;          /* IP-CIDR */
        struct { struct addr ip; uint8_t bits; } suffix;
        struct range *ranges;     /* ports, UID, DSCP */
        uint32_t mask;            /* IN-TYPE, NETWORK: a bit per value */
        const char **words;       /* IN-NAME, IN-USER, REMATCH-NAME */
        struct term *kids;        /* AND, OR, NOT, SUB-RULE */
    };
};

/* Why a line, or a part of it, is not used. */
struct fault {
    const char *code; /* a word of command-line.md, NULL = no memory */
    char text[192];
    char hint[160];   /* what is odd about a line that is used all the same; "" = nothing */
};

/* Fill f and return false. */
bool fault(struct fault *f, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool fault_memory(struct fault *f);

enum { LINE_TARGET = 1, /* the line has a target */
       LINE_IN_SET = 2  /* an entry of a rule provider */ };

/* Takes a line apart. Everything is in mem. target may be NULL without LINE_TARGET. false: f says why. */
bool line_parse(struct arena *mem, const char *text, size_t len, unsigned how, struct term *out, const char **target, struct fault *f);

/* ---- what no index can answer (build.c makes, match.c asks) ---- */

enum expr_op {
    X_AND, X_OR, X_NOT,
    X_SET,         /* a RULE-SET as a list of its parts: kids as in X_OR, under the options of the rule */
    X_ATOM,        /* an atom of the indexes */
    X_NOT_NAMED,   /* GEOSITE,!x: there is a name, and the atom is not true of it */
    X_NOT_PLACED,  /* GEOIP,!x: there is an address ... */
    X_SUFFIX, X_PORT, X_NETWORK, X_DSCP, X_IN_TYPE, X_IN_NAME, X_IN_USER, X_UID, X_PROC_REGEX, X_PROC_GLOB,
    X_MISSING,     /* the data are not there */
    X_TRUE, X_FALSE
};

enum {
    XF_SRC = 1,       /* the source address or port; X_SET: source and destination change places */
    XF_IN = 2,        /* X_PORT: the local port */
    XF_ASK_IP = 4,    /* reaching this needs the address */
    XF_ASK_PROC = 8,  /* ... the program */
    XF_NO_ASK = 16,   /* X_SET: nothing below asks for the address */
    XF_PATH = 32,     /* X_PROC_...: the path, not the name */
    XF_NEEDS_NAME = 64, XF_NEEDS_ADDR = 128 /* X_MISSING: could only be true of a flow with a name, an address */
};

struct expr {
    uint8_t op;    /* enum expr_op */
    uint8_t flags;
    uint32_t n;    /* kids, ranges, words */
    union {
        const struct expr *kids;
        struct { uint32_t atom, src_atom; }; /* NO_ATOM: none; src_atom is asked of the source address */
        struct { struct addr ip; uint8_t bits; } suffix;
        const struct range *ranges;
        uint32_t mask;
        const char *const *words;
        const struct regex *regex;
        const char *glob; /* n bytes */
    };
};

/* ---- the indexes together, and ways to fill them (index.c) ---- */

struct index {
    struct lists lists;
    struct domains names;
    struct spans spans;
    struct texts texts;
};

int index_init(struct index *x); /* 0 or -ENOMEM */
void index_fini(struct index *x);
/* Everything is in: makes the tables. 0, -ENOMEM, or -ERANGE: more different lists than a place can number. */
int index_finish(struct index *x);
/* A domain pattern in lower case. 0, -EINVAL, -ENOMEM. */
int index_pattern(struct index *x, const char *pattern, size_t len, uint32_t atom);
/* A domain rule (DOMAIN ... DOMAIN-REGEX). 0, -EINVAL with why, -ENOMEM. */
int index_domain_rule(struct index *x, const struct term *t, uint32_t atom, char why[128]);
/* All that geosite and geoip data say, for one atom. */
struct filler { struct index *x; uint32_t atom; };
struct set_visitor filler_visitor(struct filler *f);
/* GEOIP,LAN: private (RFC 1918, fc00::/7), unspecified, loopback, multicast, link-local. */
void index_lan(struct index *x, uint32_t atom);

/* ---- the compiled set ---- */

struct lined { /* a rule and how it is asked */
    struct rule rule;
    const struct expr *expr; /* NULL: its atom is in the indexes */
    uint32_t sub;            /* SUB-RULE: its list, or NO_LIST */
};

struct rule_list {
    uint32_t base, n;               /* its rules are rule[base .. base + n) */
    uint32_t texts_from, texts_to;  /* rules in here may need the index of texts: [from, to) */
};

/* Positions are counted over all lists: rule[]. Arrays of positions are sorted. */
struct positions { uint32_t *v, n, cap; };

struct ruleset {
    struct arena mem;
    struct index ix;
    struct lined *rule;
    uint32_t n_rules, cap_rules, n_disabled;
    struct rule_list *list; /* list[0] is the top-level one */
    uint32_t n_lists;
    uint32_t n_atoms;
    uint32_t *use_at, *use;        /* atom a stands in use[use_at[a] .. use_at[a + 1]): rules that are true when it is */
    struct positions ask_ip, ask_proc; /* rules in the indexes that need the address, the program */
    struct positions scan;         /* rules with an expr */
    bool has_proc;                 /* programs are asked about */
    bool strict;                   /* missing data: MATCH_MISSING, not false */
    struct regex_room *room;       /* for X_PROC_REGEX */
    struct regex **regex;          /* of X_PROC_REGEX, owned */
    uint32_t n_regex, cap_regex;
};

/* Spaces of keys in names (domain_add_key). */
enum { SPACE_PROC_NAME = 1, SPACE_PROC_PATH };

#endif
