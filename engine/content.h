/*
 * content.h - the files that the rules of a profile refer to
 *
 * Rule providers and geo databases: which there are, and their bytes while rules are built. Reads only; may run in a thread of its own.
 * What is missing or broken is no error here: the rules that need it say so.
 */
#ifndef ENGINE_CONTENT_H
#define ENGINE_CONTENT_H

#include "core/arena.h"
#include "engine/provider.h"
#include "rules/rules.h"

enum { GEO_SITES, GEO_IPS, GEO_ASNS, GEO_N };

/* Everything a profile has elsewhere, rule providers first (in its order), then the databases that its rules need. */
struct specs {
    struct arena mem;
    uint32_t n_rules, n;
    struct provider_spec *v;
    unsigned geo;     /* bits: which databases are among them */
    uint32_t *sizes;  /* of the rule providers: entries, once they were read */
    const char *near; /* of all of them */
};
/* near: the directory of the profile, where the user's own relative paths are looked for too; NULL = nowhere. Paths that a profile may not
 * name are replaced, with a warning. 0 or -ENOMEM. */
int specs_init(struct specs *s, const struct profile *p, const char *state_dir, const char *near, struct diag *d);
void specs_fini(struct specs *s);

struct content;

/* For one build; fills s->sizes. repair: a stored file that is broken is set aside. NULL without memory. */
struct content *content_open(const struct profile *p, struct specs *s, const char *state_dir, bool repair, struct diag *d);
/* The databases, as rules_build() wants them. */
void content_geo(const struct content *c, struct rules_env *env);
/* A provider of the profile by its name, its file read when it is asked for first. false: no such. */
bool content_provider(struct content *c, const char *name, struct rules_provider *out);
void content_offer(const struct content *c, struct cfg_guess *g);
/* Adds the databases that lines of classical providers need to the specs: once all that is used was asked for. */
void content_add_geo(const struct content *c);
void content_close(struct content *c);
/* Do the lists of its dns section refer to any of that? */
bool content_in_dns(const struct profile *p);

/* What rule and proxy providers have in common: name, headers, whose they are; nothing else is set. Borrows from the profile, and memory of
 * `all`. 0 or -ENOMEM. */
int spec_of_provider(struct specs *all, const struct profile *p, const struct cfg_provider *c, struct provider_spec *s);

/* Is this a database of that kind (name of its spec)? */
bool content_check_geo(const struct provider_spec *s, const char *bytes, size_t len, char why[256]);

#endif
