/*
 * config.h - the profile: bytes -> positioned tree -> checked structs
 *
 * Three steps, each usable alone:
 *   cfg_parse()     YAML bytes (libyaml events) to a tree of nodes that remember line and column; anchors, aliases and merge
 *                   keys are already resolved, depth and size are capped
 *   cfg_read()      one mapping to one struct, by a table of fields
 *   profile_load()  the whole document to struct profile: sections of fixed shape checked, lists of entries kept as nodes
 *                   (their readers live with what they configure: outbound/, rules/)
 * Everything lives in the arena of the document and dies with it. Format: reference clash-profile; what is fatal: ARCHITECTURE.
 */
#ifndef CONFIGS_CONFIG_H
#define CONFIGS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/addr.h"
#include "core/log.h"

/* ---- diagnostics ---- */

enum diag_level { DIAG_WARNING, DIAG_ERROR };

struct diag_item {
    enum diag_level level;
    uint32_t line, column; /* 1-based; 0 = the file as a whole */
    char *path;            /* "rules[12]", "" for the document */
    const char *code;      /* a stable word of command-line.md: "yaml", "bad-value", "unknown-target", ... (static) */
    char *message;         /* owns; what was found and what would be right */
};

/* Collects messages about one document. Never fails: beyond 10,000 items, or without memory, it only counts. */
struct diag {
    const char *name;  /* the file as the user named it; borrowed */
    const char *src;   /* the bytes, for source lines; borrowed, may be NULL */
    size_t src_len;
    bool strict;       /* diag_warn() makes errors */
    struct diag_item *items;
    size_t n, cap, n_errors, n_warnings, n_lost;
};

void diag_init(struct diag *d, const char *name, const char *src, size_t src_len, bool strict);
void diag_fini(struct diag *d);
void diag_err(struct diag *d, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Something is skipped or ignored and the rest loads; an error when strict. */
void diag_warn(struct diag *d, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Sorts by position. */
void diag_sort(struct diag *d);
/* Prints all, sorted: "FILE:LINE:COL: error|warning: TEXT", the source line and a caret under it. */
void diag_print(struct diag *d, FILE *to, bool colour);

/* ---- the tree ---- */

enum cfg_kind { CFG_NULL, CFG_SCALAR, CFG_SEQ, CFG_MAP };

struct cfg_node {
    enum cfg_kind kind;
    bool quoted;              /* scalar was quoted or block style: never null, never a bool/number by shape alone */
    uint32_t line, column;    /* 1-based */
    const char *text;         /* CFG_SCALAR: raw text, NUL-terminated, len bytes */
    size_t len;
    struct cfg_node *key;     /* inside a map: the scalar node of the key */
    struct cfg_node *child;   /* CFG_SEQ, CFG_MAP: first value */
    struct cfg_node *next;    /* next value in the parent */
    uint32_t n;               /* number of children */
};

struct cfg_doc; /* owns the tree */

#define CFG_MAX_INPUT (64u << 20)
#define CFG_MAX_DEPTH 64
#define CFG_MAX_NODES 1000000

/* Parses the first document of the bytes. NULL when not YAML, a duplicate key, or a cap is hit (an error is in d), or no
 * memory. Freed with cfg_doc_free(). The bytes need not outlive the call. */
struct cfg_doc *cfg_parse(const char *bytes, size_t len, struct diag *d);
void cfg_doc_free(struct cfg_doc *doc);
const struct cfg_node *cfg_root(const struct cfg_doc *doc);
/* Memory that lives as long as the document; NULL when there is none. Aligned for any object, zeroed. */
void *cfg_alloc(struct cfg_doc *doc, size_t n);
char *cfg_strdup(struct cfg_doc *doc, const char *s, size_t len);

/* The value under key in a map (exact match), or NULL. */
const struct cfg_node *cfg_get(const struct cfg_node *map, const char *key);
/* "line of children": for (n = cfg_first(x); n; n = n->next). NULL-safe; NULL for scalars. */
const struct cfg_node *cfg_first(const struct cfg_node *n);

/* An empty document to be filled by hand, and its root. NULL without memory. */
struct cfg_doc *cfg_doc_new(void);
void cfg_set_root(struct cfg_doc *doc, const struct cfg_node *root);

/* ---- share links (link.c) ---- */

/* Is this a list of share links (ss://, vmess://, ...), plain or in base64, rather than YAML? Looks at the first 64 KiB. */
bool link_looks_like(const char *bytes, size_t len);
/* Reads such a list into a document {proxies: [...]} of nodes that know the line of their link; broken lines are skipped with a warning at their line
 * ("bad-value", "unknown-type"). Names are unique ("-01", "-02" is added). NULL with an error in d when not one line is a link, or when a cap is hit.
 * Format: reference clash-profile section 20. */
struct cfg_doc *link_parse(const char *bytes, size_t len, struct diag *d);

/* ---- fields: table-driven reading ---- */

enum cfg_type {
    CFG_BOOL,    /* bool */
    CFG_INT,     /* int64_t; .min .max when max != 0 */
    CFG_PORT,    /* uint16_t, 0..65535 */
    CFG_STR,     /* const char *, raw scalar text; NULL when absent */
    CFG_SECRET,  /* as CFG_STR; never printed in a message */
    CFG_HOST,    /* const char *, a name or an address, checked and lower-cased */
    CFG_ENUM,    /* int: index into .names (NULL-terminated, compared without letter case) */
    CFG_STRS,    /* struct cfg_strs: a list of scalars (one scalar alone is a list of one) */
    CFG_CIDRS,   /* struct cfg_cidrs: a list of prefixes; a bad element is skipped with a warning */
    CFG_SUB      /* const struct cfg_node *: handed over as it is */
};

struct cfg_strs { uint32_t n; const char **v; const struct cfg_node **at; };
struct cfg_cidrs { uint32_t n; struct cidr *v; };

enum { CFG_REQUIRED = 1, CFG_LOOSE = 2 /* fixed-shape section: yes/no/on/off are booleans too */ };

struct cfg_field {
    const char *key;          /* NULL ends a table */
    enum cfg_type type;
    size_t off;               /* offsetof in the struct */
    unsigned flags;
    int64_t min, max;
    const char *const *names; /* CFG_ENUM */
    const char *def;          /* default, as a profile would write it; NULL = zero */
    const char *help;
};

enum cfg_keys { CFG_KEYS_EXACT, CFG_KEYS_NOCASE, CFG_KEYS_PROXY /* nocase, '_' is '-' */ };

/* The value under key: the exact spelling first, then as `keys` allows; NULL when there is none. */
const struct cfg_node *cfg_find(const struct cfg_node *map, const char *key, enum cfg_keys keys);

/* Fills *out (zeroed by the caller; defaults first) from a map by table. Unknown keys are ignored. `fatal`: a bad value is an error
 * (fixed-shape section); else a warning. A missing required key likewise. Returns the number of problems (0 = good).
 * path names the map in messages ("proxies[3]"). */
int cfg_read(struct cfg_doc *doc, const struct cfg_node *map, const struct cfg_field *fields, enum cfg_keys keys, void *out,
             bool fatal, const char *path, struct diag *d);

/* ---- the profile ---- */

enum mode { MODE_RULE, MODE_GLOBAL, MODE_DIRECT };
extern const char *const mode_names[]; /* "rule", "global", "direct", NULL */

struct cfg_tun {
    bool enable;               /* absent = true */
    const char *device;        /* NULL = chosen */
    int64_t mtu;               /* 0 was written or absent: 1500 */
    bool auto_route, strict_route, disable_icmp_forwarding;
    struct cfg_strs dns_hijack; /* as written; absent: "0.0.0.0:53" */
    struct cidr inet4, inet6;   /* device addresses WITH host bits (ip is the device's own address, len the prefix): inet4 derived
                                 * from the fake range (first host, /30), inet6 = first inet6-address; ver 0 = none */
    struct cfg_cidrs route_address, route_exclude; /* both old and new spellings merged */
    int64_t table_index, rule_index; /* 2022, 9000 */
    int64_t udp_timeout_s;           /* 300 */
};

enum dns_mode { DNS_NORMAL, DNS_FAKEIP, DNS_REDIR };

struct cfg_hosts_entry { const char *pattern; const char *alias; uint32_t n; struct addr *addrs; uint32_t line, column; };

struct cfg_dns {
    bool enable;               /* absent = true */
    bool ipv6;                 /* already ANDed with the top level */
    bool use_hosts, use_system_hosts;
    enum dns_mode mode;        /* absent = fake-ip */
    struct cidr fake4, fake6;  /* network; ver 0 = no pool */
    int64_t fake_ttl;
    int filter_mode;           /* 0 blacklist, 1 whitelist, 2 rule */
    struct cfg_strs filter;    /* fake-ip-filter */
    struct cfg_strs nameserver, default_nameserver, proxy_server_nameserver, direct_nameserver, fallback;
    const char *listen;        /* NULL = off */
};

/* An entry of a list (proxies, proxy-groups): what is common; the rest is read by whoever owns the type. */
struct cfg_entry { const char *name, *type; uint32_t index; const struct cfg_node *node; };
/* A rule line as written. */
struct cfg_rule { const char *text; uint32_t index, line, column; };
/* A named list of sub-rules. */
struct cfg_sub_rules { const char *name; uint32_t line, column, n_rules; struct cfg_rule *rules; };

struct profile {
    struct cfg_doc *doc;
    enum mode mode;
    enum log_level log_level;
    bool ipv6, allow_lan;
    const char *external_controller, *secret, *external_controller_unix, *interface_name;
    struct cfg_strs cors_origins; /* external-controller-cors.allow-origins; n = 0 when absent */
    uint16_t port, socks_port, mixed_port, redir_port, tproxy_port;
    bool store_selected;       /* profile.store-selected, true when absent */
    struct cfg_tun tun;
    struct cfg_dns dns;
    uint32_t n_hosts;    struct cfg_hosts_entry *hosts;
    uint32_t n_proxies;  struct cfg_entry *proxies; /* entries with name and type, names unique; others skipped with a warning */
    uint32_t n_groups;   struct cfg_entry *groups;
    uint32_t n_rules;    struct cfg_rule *rules;
    uint32_t n_sub_rules; struct cfg_sub_rules *sub_rules;
    uint32_t n_proxy_providers; struct cfg_entry *proxy_providers; /* name = the key; entries without type are skipped */
    uint32_t n_rule_providers;  struct cfg_entry *rule_providers;
};

/* Parses and checks. On errors returns NULL; d says why. The bytes need not outlive the call. Freed with profile_free(). */
struct profile *profile_load(const char *bytes, size_t len, struct diag *d);
void profile_free(struct profile *p);

#endif
