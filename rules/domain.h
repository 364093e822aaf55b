/*
 * domain.h - the index of names: which atoms are true of a name
 *
 *   a.b.example.com     h1 = H(key, "com")   h2 = H(h1, "example")   h3 = H(h2, "b")   h4 = H(h3, "a")
 *
 * Every pattern puts its node and the nodes above it into one hash table; a node says which atoms end there and whether anything lies
 * below. So a look-up walks the labels from the right, one cache line each, and stops at the first label that is not there: a name that
 * is not listed costs about two probes, however long it is, and the number of patterns does not matter.
 *
 *   slot     39 bits of hash | star below | something below | 23 bits: number of the node's list        eight slots are a bucket of 64 bytes
 *   mask     of an item in a node's list: true of the name that ends here, of the names one label longer, of those deeper still
 *
 * Two names are taken for one only if bucket and 39 bits agree, under a key that nobody outside sees: about 2^-36 a probe. Names in the
 * table never are: building looks for such pairs and takes other bits of the hash until there are none.
 */
#ifndef RULES_DOMAIN_H
#define RULES_DOMAIN_H

#include <stddef.h>

#include "rules/lists.h"

enum { NAME_SELF = 1, NAME_ONE = 2, NAME_DEEP = 4 };

struct name_bucket { uint64_t slot[8]; };

struct domains {
    uint64_t key[4];
    struct name_bucket *bucket; /* NULL: no names */
    void *memory;               /* of the buckets, not aligned */
    uint32_t n_buckets;
    unsigned turn;              /* which bits of the hash are bucket and tag */
    uint32_t root;              /* list of the node above all labels: `*`, `+` */
    bool root_star;
    uint32_t n_nodes;
    struct name_build *build;   /* while building */
};

/* 0 or -ENOMEM. */
int domain_init(struct domains *x);
void domain_fini(struct domains *x);
/* Adds a domain pattern (clash-profile section 2.2, already lower case), or a name that only equals itself (literal: `*` and `+` mean
 * nothing). -EINVAL: not a pattern, or one with `*` inside a label (domain_has_glob). Without memory l->failed is set. */
int domain_add(struct domains *x, struct lists *l, const char *pattern, size_t len, uint32_t atom);
void domain_add_literal(struct domains *x, struct lists *l, const char *name, size_t len, uint32_t mask, uint32_t atom);
/* Whether a domain pattern can be one at all: 0, -EINVAL, or 1: it has a label like `a-*`. */
int domain_check(const char *pattern, size_t len);
/* Other keys in the same table: program names and paths. space tells them apart. */
void domain_add_key(struct domains *x, struct lists *l, uint64_t space, const char *s, size_t len, uint32_t atom);
/* Makes the table. 0; -ENOMEM; -ERANGE: more lists than a slot can number. */
int domain_finish(struct domains *x, struct lists *l);

/* Calls fn with the list of every node above, at or below which a pattern may be true of host (lower case, no final dot), and the bit of
 * the mask that an item must have. false from fn ends the walk. */
typedef bool domain_fn(void *arg, uint32_t list, uint32_t bit);
void domain_walk(const struct domains *x, const char *host, size_t len, domain_fn *fn, void *arg);
/* The atom of the most specific pattern: label by label from the right, literal, then `*`, then any depth. UINT32_MAX: none. */
uint32_t domain_best(const struct domains *x, const struct lists *l, const char *host, size_t len);
/* The list of a key, 0 = none. */
uint32_t domain_key(const struct domains *x, uint64_t space, const char *s, size_t len);
size_t domain_bytes(const struct domains *x);

#endif
