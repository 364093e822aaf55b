/*
 * private.h - what the files of configs/ share
 *
 *   yaml.c      bytes -> tree
 *   fields.c    mapping -> struct, by a table;  values.c  the types of fields that are lists
 *   sections.c  the tables: every key of a fixed-shape section, its type, default and range
 *   lists.c     proxies, groups, rules, hosts, providers, listeners, tunnels: entry by entry
 *   local.c     the local file over the profile; what a foreign profile may not say
 *   profile.c   all of it in order
 *   diag.c, hint.c
 */
#ifndef CONFIGS_PRIVATE_H
#define CONFIGS_PRIVATE_H

#include "configs/config.h"

/* One mapping being read; problems are errors or warnings. */
struct reading {
    struct cfg_doc *doc;
    struct diag *d;
    const char *path;
    bool fatal;
    int problems;
};
/* Counts and says it: "KEY: WORDS" at a node. */
void cfg_problem(struct reading *r, const struct cfg_field *f, const struct cfg_node *at, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Are two keys the same, letter case (and '_' for '-') aside? Of equal length. */
bool cfg_loosely_same(const char *key, const char *written, bool underscores);

/* A number as profiles write it: decimal, 0x 0o 0b, underscores, or a float (cut). */
bool cfg_parse_int(const char *s, int64_t *out);

/* ---- values.c: the list types of cfg_read ---- */

bool cfg_is_list_type(enum cfg_type t);
void cfg_read_list(struct reading *r, const struct cfg_field *f, const struct cfg_node *n, void *at);
void cfg_read_strs(struct reading *r, const struct cfg_node *n, struct cfg_strs *out);
/* Takes a list of texts apart. rules: every text is a rule. */
void cfg_matchers_of(struct cfg_doc *doc, const struct cfg_strs *s, bool rules, struct cfg_matchers *out);
/* One text; `commas`: plain patterns are separated by commas, too (keys of nameserver-policy). */
void cfg_matchers_of_text(struct cfg_doc *doc, const struct cfg_node *at, const char *text, size_t len, bool commas, struct cfg_matchers *out);
void cfg_append_cidrs(struct cfg_doc *doc, struct cfg_cidrs *to, const struct cfg_cidrs *more);
void cfg_append_ranges(struct cfg_doc *doc, struct cfg_ranges *to, const struct cfg_ranges *more);

/* ---- local.c ---- */

/* The profile's tree without the keys that only the user may set; each is a warning. NULL without memory. */
const struct cfg_node *local_lock(struct cfg_doc *doc, const struct cfg_node *root, struct diag *d);
/* The local file over the profile (either may be NULL). NULL without memory, or when both are. */
const struct cfg_node *local_merge(struct cfg_doc *doc, const struct cfg_node *root, const struct cfg_node *local);

/* ---- sections.c, lists.c ---- */

/* What the tables fill: the profile, and what is to become part of it. */
struct raw {
    struct profile p;
    struct cfg_strs authentication;
    /* tun */
    int stack;
    struct cfg_cidrs inet6, old4, old6, not4, not6;
    struct cfg_ranges include_uid, exclude_uid, src_ports, dst_ports; /* the keys that end in -range */
    /* dns */
    const char *fake4, *fake6, *cache;
    const struct cfg_node *policy, *proxy_server_policy;
    struct cfg_strs filter_geosite, filter_domain;
    /* sniffer */
    bool sniff_override;
    const struct cfg_node *sniff;
    struct cfg_strs sniffing, port_whitelist;
    /* sections that are lists or free maps */
    const struct cfg_node *hosts, *proxies, *groups, *rules, *sub_rules, *proxy_providers, *rule_providers, *listeners, *tunnels;
    const struct cfg_node *other; /* known keys that nobody reads */
};

/* Is it a key of the top level that is read? */
bool sections_know(const char *key);
/* Everything of fixed shape. r is zeroed but for p.doc and p.foreign. */
void sections_read(struct raw *r, const struct cfg_node *root, struct diag *d);
/* Everything that is a list of entries. local: the root of the local file (its prepend-rules, append-rules), or NULL. */
void lists_read(struct raw *r, const struct cfg_node *local, struct diag *d);
/* Does "host:port" stay on this machine? */
bool cfg_is_loopback(const char *hostport);
/* "user:password" texts; what has no colon is left out. */
void cfg_users_of(struct cfg_doc *doc, const struct cfg_strs *s, struct cfg_users *out);

#endif
