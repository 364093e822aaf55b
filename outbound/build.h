/*
 * build.h - what is needed while a set is being built, and not after
 */
#ifndef OUTBOUND_BUILD_H
#define OUTBOUND_BUILD_H

#include "outbound/filter.h"
#include "outbound/private.h"

/* A hostile profile must not cost more memory than this is worth. */
#define NODES_MAX 65536u
#define GROUPS_MAX 16384u
#define MEMBERS_MAX 2000000u /* of all groups together */

struct build {
    struct out_set *s;
    struct diag *d;
    struct filters filters;
    struct group **groups; /* of the profile, in its order */
    uint32_t n_groups;
    struct outbound **sorted; /* the profile's own nodes by name, for include-all */
    uint32_t n_sorted;
    struct out_provider **providers; /* by name, for include-all */
    uint32_t *stamp; /* by id: the group that has it already (its index + 1) */
    struct outbound **scratch, **scratch2; /* room for one of everything */
    uint32_t n_members;
    size_t content; /* bytes of providers' files */
    struct map said;    /* struct place: what several groups share */
    bool said_full;
};

/* Registers a node or group: gives it an id and, if it is not a provider's, its name. 0 or -ENOMEM. */
int build_add(struct build *b, struct outbound *o);
/* Is it the first time that this place of the profile is spoken of? Names and filters that ten groups share by an alias are one mistake, told once. */
bool build_first(struct build *b, const struct cfg_node *at);

/* The roots that the profile trusts besides the system's (roots.c). 0 or -ENOMEM. */
int build_roots(struct build *b);

/* ---- providers (provider.c): all of them, in the order of the profile ---- */
int build_providers(struct build *b);

/* Is the type in a list "ss|Vmess|..."? In the spelling of profiles or of the control API, letter case ignored. */
bool names_type(const char *list, const struct outbound_ops *ops);

/* ---- groups (group.c): options and members of each ---- */
int group_read(struct build *b, struct group *g);
int group_members(struct build *b, struct group *g);

/* ---- ways (graph.c): cycles cut, dialer-proxy found, what can be dialled, the choices ---- */
int build_ways(struct build *b);
/* All below it is settled: closes gaps, sees to empty groups, chooses. (pick.c) */
void group_settle(struct build *b, struct group *g);

#endif
