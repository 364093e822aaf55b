/*
 * config.h - the profile: bytes -> positioned tree -> checked structs
 *
 * Three steps, each usable alone:
 *   cfg_parse()     YAML bytes (libyaml events) to a tree of nodes that remember where they stood; anchors, aliases and merge keys are
 *                   already resolved, depth and size are capped
 *   cfg_read()      one mapping to one struct, by a table of fields
 *   profile_read()  the whole: the profile and the local file merged, sections of fixed shape checked, lists of entries (proxies, groups,
 *                   rules) handed over for those who own them (outbound/, rules/)
 * Everything lives in the arena of the document and dies with it. Format: reference clash-profile; what is fatal: ARCHITECTURE.
 *
 * Two files may take part: the profile (0) and the local file (1, see README). Where a node stood is told by `line` and `column`; the upper bits of
 * a column say in which file, so that both numbers, handed to diag_warn() as they are, lead to the right one. cfg_column() and cfg_source() take
 * them apart.
 */
#ifndef CONFIGS_CONFIG_H
#define CONFIGS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/addr.h"
#include "core/log.h"

#define CFG_SOURCES      2 /* 0 the profile, 1 the local file */
#define CFG_SOURCE_SHIFT 27

static inline uint32_t cfg_column(uint32_t column)
{
    return column & ((1u << CFG_SOURCE_SHIFT) - 1);
}

static inline unsigned cfg_source(uint32_t column)
{
    return column >> CFG_SOURCE_SHIFT;
}

/* ---- diagnostics ---- */

enum diag_level { DIAG_WARNING, DIAG_ERROR };

struct diag_item {
    enum diag_level level;
    unsigned source;       /* index into diag.source */
    uint32_t line, column; /* 1-based; 0 = the file as a whole */
    char *path;            /* owns; "rules[12]", "" for the document */
    const char *code;      /* a stable word of command-line.md: "yaml", "bad-value", "unknown-target", ... (static) */
    char *message;         /* owns; what was found and what would be right; printable, never longer than 1,000 bytes */
    uint32_t nth;          /* private: order of arrival */
};

struct diag_source {
    const char *name;  /* the file as the user named it; borrowed */
    const char *bytes; /* for source lines; borrowed, NULL = none are shown */
    size_t len;
};

/* Collects messages about a profile. Never fails: beyond 10,000 items, or without memory, it only counts. */
struct diag {
    struct diag_source source[CFG_SOURCES];
    bool strict; /* diag_warn() makes errors */
    struct diag_item *items;
    size_t n, cap, n_errors, n_warnings, n_lost;
    unsigned guesses, compared; /* private: searches for a hint so far, and candidates compared by them */
    struct diag *whole;         /* private: whose searches count, when this is only a part */
};

/* A message's column with its source, to hand it on to another diag. */
static inline uint32_t diag_column(const struct diag_item *it)
{
    return it->column | it->source << CFG_SOURCE_SHIFT;
}

/* name and src belong to source 0; the others are empty. */
void diag_init(struct diag *d, const char *name, const char *src, size_t src_len, bool strict);
/* For a part of what `whole` is about, whose messages the caller hands on: nothing is an error for being strict, no lines are shown, and searches
 * for hints count for the whole, which must outlive it. */
void diag_init_part(struct diag *d, struct diag *whole);
void diag_fini(struct diag *d);
void diag_set_source(struct diag *d, unsigned source, const char *name, const char *src, size_t src_len);
/* The borrowed bytes are about to go: messages stay, source lines are shown no more. */
void diag_drop_bytes(struct diag *d);
/* col may carry a source in its upper bits (see above). Control bytes in the text are escaped. */
void diag_err(struct diag *d, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* Something is skipped or ignored and the rest loads; an error when strict. */
void diag_warn(struct diag *d, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* What `from` says with a code takes the place of what `to` said with it, but for paths that begin with `but`. */
void diag_renew(struct diag *to, const char *code, const char *but, const struct diag *from);
/* Sorts by source and position; equal positions keep their order. */
void diag_sort(struct diag *d);
/* Prints all, sorted: "FILE:LINE:COL: error|warning: TEXT", the source line (values of secret keys hidden) and a caret under it. */
void diag_print(struct diag *d, FILE *to, bool colour);

/* "did you mean": the nearest of many words, by edit distance over characters, letter case aside. At most 100 searches per diag look at their
 * candidates, and at 50,000 of them in all (a profile of a stranger may be wrong 10,000 times); words longer than 48 characters are not tried.
 *   struct cfg_guess g;
 *   for (cfg_guess_start(&g, d, "DIERCT"); ...; ) cfg_guess_try(&g, name);
 *   diag_warn(..., "there is no \"%s\"%s", word, cfg_guess_text(&g)); */
struct cfg_guess {
    uint32_t word[48];
    unsigned n, best;   /* private */
    struct diag *d;     /* private */
    const char *nearest; /* borrowed from the caller of cfg_guess_try; NULL = nothing near */
    char text[128];
};
/* d NULL: this search is not counted. */
void cfg_guess_start(struct cfg_guess *g, struct diag *d, const char *word);
/* False when no further candidate would be looked at: whoever has many may stop. */
bool cfg_guess_try(struct cfg_guess *g, const char *candidate);
/* `; did you mean "DIRECT"?`, or "". Lives in g. */
const char *cfg_guess_text(struct cfg_guess *g);
/* The same over a NULL-terminated list; result lives in g. */
const char *cfg_did_you_mean(struct cfg_guess *g, struct diag *d, const char *word, const char *const *words);
/* The other way round, for a key that is missing: "; is \"chiper\" meant to be it?", or "". Lives in g. */
struct cfg_node;
const char *cfg_is_meant(struct cfg_guess *g, struct diag *d, const char *missing, const struct cfg_node *map);

/* Text of a profile for a message: control bytes escaped, cut after about 60 bytes. */
#define CFG_QUOTE_MAX 96
const char *cfg_quote(const char *text, size_t len, char buf[CFG_QUOTE_MAX]);
/* Stars, as many bytes as before, for what is secret in the URLs of a text: who logs in, values of a query, tokens in a path. */
void cfg_mask_urls(char *s);

/* ---- the tree ---- */

enum cfg_kind { CFG_NULL, CFG_SCALAR, CFG_SEQ, CFG_MAP };

/* Immutable once parsed. An alias is a node of its own that shares the children of its anchor: `child` may have several parents, `next` and `key` never. */
struct cfg_node {
    enum cfg_kind kind;
    bool quoted;              /* scalar was quoted, block style or tagged as text: never null, never a bool or number by shape alone */
    uint8_t height;           /* private: collections on the longest way down */
    uint32_t line, column;    /* 1-based; column carries the source. An alias stands where it is used, its children where the anchor is */
    const char *text;         /* CFG_SCALAR and CFG_NULL: raw text, NUL-terminated, len bytes */
    size_t len;
    struct cfg_node *key;     /* inside a map: the scalar node of the key */
    struct cfg_node *child;   /* CFG_SEQ, CFG_MAP: first value */
    struct cfg_node *next;    /* next value in the parent */
    uint32_t n;               /* number of children */
    uint32_t size;            /* private: values below and this one, aliases expanded; long texts count more */
};

struct cfg_doc; /* owns the tree */

#define CFG_MAX_INPUT (64u << 20)
#define CFG_MAX_DEPTH 64
#define CFG_MAX_NODES 1000000 /* values after expanding aliases; every 64 bytes of a text are one more */

/* Parses the first document of the bytes. NULL when not YAML, a duplicate key, or a cap is hit (errors are in d), or no
 * memory. Freed with cfg_doc_free(). The bytes need not outlive the call. */
struct cfg_doc *cfg_parse(const char *bytes, size_t len, struct diag *d);
/* Parses one more into the same arena, for a file of its own; its positions say `source`. *root is its tree, NULL when empty. With duplicate keys the first of each
 * counts. 0; -EINVAL with errors in d and *root NULL when there is no tree. */
int cfg_parse_into(struct cfg_doc *doc, const char *bytes, size_t len, unsigned source, struct diag *d, const struct cfg_node **root);
/* An empty document to be filled by hand, and its root. NULL without memory. */
struct cfg_doc *cfg_doc_new(void);
void cfg_set_root(struct cfg_doc *doc, const struct cfg_node *root);
void cfg_doc_free(struct cfg_doc *doc);
const struct cfg_node *cfg_root(const struct cfg_doc *doc);
/* Memory that lives as long as the document; NULL when there is none (the document remembers: see cfg_failed). Aligned for any object, zeroed. */
void *cfg_alloc(struct cfg_doc *doc, size_t n);
char *cfg_strdup(struct cfg_doc *doc, const char *s, size_t len);
/* Has cfg_alloc or cfg_strdup ever failed? Then what was read from the document is not whole. */
bool cfg_failed(const struct cfg_doc *doc);

/* The value under key in a map (exact match), or NULL. */
const struct cfg_node *cfg_get(const struct cfg_node *map, const char *key);
/* "line of children": for (n = cfg_first(x); n; n = n->next). NULL-safe; NULL for scalars. */
const struct cfg_node *cfg_first(const struct cfg_node *n);
/* Text of a scalar under key, NULL when absent, null, empty or no scalar. */
enum cfg_keys { CFG_KEYS_EXACT, CFG_KEYS_NOCASE, CFG_KEYS_PROXY /* nocase, '_' is '-' */ };
/* As cfg_get: the exact key, else the first one that is the same by `keys`. */
const struct cfg_node *cfg_find(const struct cfg_node *map, const char *key, enum cfg_keys keys);
const char *cfg_text(const struct cfg_node *map, const char *key, enum cfg_keys keys);

/* ---- values ---- */

struct cfg_strs { uint32_t n; const char **v; const struct cfg_node **at; };
struct cfg_cidrs { uint32_t n; struct cidr *v; };
struct cfg_addrs { uint32_t n; struct addr *v; };

/* Integer ranges (reference 2.1), as written, bounds in order. */
struct cfg_range { uint32_t lo, hi; };
struct cfg_ranges { uint32_t n; struct cfg_range *v; };
#define CFG_RANGES_MAX 28 /* in one text */
/* Reads "80/443,1000-2000" into v, which has room for as many as the text has, CFG_RANGES_MAX at most; `between` stands between bounds
 * beside '-'. How many; 0: everything ("" or "*"); -EINVAL not ranges, or too many; -ERANGE beyond max. */
int cfg_scan_ranges(const char *text, uint32_t max, char between, struct cfg_range *v);
/* The same in the document's memory; everything is the whole 0..max. 0, -EINVAL, -ERANGE, or -ENOMEM. */
int cfg_parse_ranges(struct cfg_doc *doc, const char *text, uint32_t max, struct cfg_ranges *out);

/* Where dns.listen wants to be heard, ADDRESS:PORT, localhost:PORT, or :PORT and [::]:PORT for both families: 0 (it is nothing of that, or empty
 * or NULL), 1 or 2 endpoints. */
unsigned cfg_listen_parse(const char *text, struct endpoint at[2]);
/* An entry of dns-hijack: "any:53", "tcp://1.1.1.1:53". An address of ver 0 is every destination. false: it is none. */
bool cfg_hijack_parse(const char *text, struct endpoint *out);

/* One element of a domain- or IP-matcher list (reference 2.3, 2.4): "geosite:a,b" has become two. The pattern itself is not checked here. */
enum cfg_matcher_kind {
    CFG_MATCH_PATTERN, /* a domain pattern (2.2) or a prefix */
    CFG_MATCH_GEO,     /* a category behind "geosite:" or "geoip:" */
    CFG_MATCH_SET,     /* a rule-provider's name behind "rule-set:" */
    CFG_MATCH_RULE,    /* a whole rule "TYPE,PAYLOAD,ACTION": fake-ip-filter in mode rule */
};
struct cfg_matcher { enum cfg_matcher_kind kind; const char *text; uint32_t line, column; };
struct cfg_matchers { uint32_t n; struct cfg_matcher *v; };

/* A map name -> value or list of values (HTTP headers), in order. */
struct cfg_header { const char *name; struct cfg_strs values; };
struct cfg_headers { uint32_t n; struct cfg_header *v; };

struct cfg_user { const char *name, *password; };
struct cfg_users { bool given; /* an empty list was written: nobody needs a password here */ uint32_t n; struct cfg_user *v; };

/* ---- share links (link.c) ---- */

/* Is this a list of share links (ss://, vmess://, ...), plain or in base64, rather than YAML? Looks at the first 64 KiB. */
bool link_looks_like(const char *bytes, size_t len);
/* Reads such a list into a document {proxies: [...]} of nodes that know the line of their link; broken lines are skipped with a warning at their line
 * ("bad-value", "unknown-type"). Names are unique ("-01", "-02" is added). NULL with an error in d when not one line is a link, or when a cap is hit.
 * Format: reference clash-profile section 20. */
struct cfg_doc *link_parse(const char *bytes, size_t len, struct diag *d);

/* ---- fields: table-driven reading ---- */

enum cfg_type {
    CFG_BOOL,     /* bool */
    CFG_INT,      /* int64_t; .min .max when max != 0 */
    CFG_PORT,     /* uint16_t, 0..65535 */
    CFG_STR,      /* const char *, raw scalar text; NULL when absent */
    CFG_SECRET,   /* as CFG_STR; never printed in a message */
    CFG_HOST,     /* const char *, a name or an address, checked and lower-cased */
    CFG_ENUM,     /* int: index into .names (NULL-terminated, compared without letter case) */
    CFG_STRS,     /* struct cfg_strs: a list of scalars (one scalar alone is a list of one) */
    CFG_CIDRS,    /* struct cfg_cidrs: a list of prefixes; a bad element is skipped with a warning */
    CFG_IFADDRS,  /* as CFG_CIDRS, host bits kept */
    CFG_ADDRS,    /* struct cfg_addrs: a list of addresses; likewise */
    CFG_RANGES,   /* struct cfg_ranges, bounds up to .max: a text or a list of texts and numbers */
    CFG_UIDS,     /* as CFG_RANGES, with ':' between the bounds */
    CFG_MATCHERS, /* struct cfg_matchers */
    CFG_HEADERS,  /* struct cfg_headers */
    CFG_SECTION,  /* a nested mapping, read by .sub into the same struct */
    CFG_SUB       /* const struct cfg_node *: handed over as it is */
};

enum {
    CFG_REQUIRED = 1,
    CFG_LOOSE = 2, /* fixed-shape section: yes/no/on/off are booleans too */
    CFG_SOFT = 4,  /* a bad value is a warning, and the default stays, also where others are errors */
    CFG_CLAMP = 8  /* a number out of range becomes the nearest in range, with a warning */
};

struct cfg_field {
    const char *key;          /* NULL ends a table */
    enum cfg_type type;
    size_t off;               /* offsetof in the struct */
    unsigned flags;
    int64_t min, max;
    const char *const *names; /* CFG_ENUM */
    const char *def;          /* default, as a profile would write it; NULL = zero */
    const char *help;
    const struct cfg_field *sub; /* CFG_SECTION */
    const char *lacks; /* not carried out by this build, and what happens instead: an "unsupported-key" warning when the key says more than its
                        * default (a list or map with entries, a text, a number, true). Delete the words when the key is honoured. */
};

/* Fills *out (zeroed by the caller; defaults first) from a map by table. Unknown keys are ignored. `fatal`: a bad value is an error
 * (fixed-shape section); else a warning. A missing required key likewise. Returns the number of problems (0 = good).
 * path names the map in messages ("proxies[3]"). */
int cfg_read(struct cfg_doc *doc, const struct cfg_node *map, const struct cfg_field *fields, enum cfg_keys keys, void *out,
             bool fatal, const char *path, struct diag *d);
/* Warns of keys that are in neither table but look like one of the first ("enhance-mode"), and of no others: templates keep keys of their own. more may be NULL. */
void cfg_warn_misspelt(const struct cfg_node *map, const struct cfg_field *fields, const struct cfg_field *more, const char *path, struct diag *d);

/* ---- the profile ---- */

enum mode { MODE_RULE, MODE_GLOBAL, MODE_DIRECT };
extern const char *const mode_names[]; /* "rule", "global", "direct", NULL */

enum find_process { FIND_PROCESS_STRICT, FIND_PROCESS_ALWAYS, FIND_PROCESS_OFF };

/* What the local ports have in common (reference 4). */
struct cfg_inbound {
    const char *bind_address;                                 /* "*" when absent; without allow-lan only loopback counts */
    struct cfg_users users;                                   /* authentication */
    struct cfg_cidrs skip_auth, lan_allowed, lan_disallowed;  /* lan_allowed.n = 0: everybody */
    bool tfo, mptcp;
};

struct cfg_tun {
    bool enable;               /* absent = true */
    const char *device;        /* NULL = chosen */
    int64_t mtu;               /* 0 was written or absent: 1500; at least 1280 */
    bool auto_route, strict_route, disable_icmp_forwarding;
    struct cfg_strs dns_hijack; /* as written; absent: "0.0.0.0:53" */
    struct cidr inet4, inet6;   /* device addresses WITH host bits (ip is the device's own address, len the prefix): inet4 derived
                                 * from the fake range (first host, /30), inet6 = first inet6-address; ver 0 = none */
    struct cfg_cidrs route_address, route_exclude; /* both old and new spellings merged */
    int64_t table_index, rule_index; /* 2022, 9000 */
    int64_t udp_timeout_s, icmp_timeout_s; /* 300, 10 */
    bool auto_detect_interface, auto_redirect, gso, endpoint_independent_nat;
    int64_t gso_max_size;                                                 /* 65536 */
    int64_t redirect_input_mark, redirect_output_mark, redirect_fallback; /* 0x2023, 0x2024, 32768 */
    struct cfg_strs route_set, route_exclude_set;                         /* rule-provider names */
    struct cfg_strs include_interface, exclude_interface, include_mac, exclude_mac;
    struct cfg_ranges include_uid, exclude_uid;                           /* -uid and -uid-range merged */
    struct cfg_ranges exclude_src_port, exclude_dst_port;
    struct cfg_addrs loopback_address;
};

enum dns_mode { DNS_NORMAL, DNS_FAKEIP, DNS_REDIR };
enum filter_mode { FILTER_BLACKLIST, FILTER_WHITELIST, FILTER_RULES };

struct cfg_hosts_entry {
    const char *pattern;
    const char *alias; /* instead of addresses */
    bool lan;          /* the word "lan": the host's own addresses */
    uint32_t n;
    struct addr *addrs;
    uint32_t line, column;
};

/* One key of nameserver-policy: whoever matches any of `names` asks `servers`. Entries stand in the order of the file. */
struct cfg_policy { struct cfg_matchers names; struct cfg_strs servers; uint32_t line, column; };
struct cfg_policies { uint32_t n; struct cfg_policy *v; };

/* When the answer of `nameserver` does not count and that of `fallback` does (reference 6.2). */
struct cfg_fallback_filter {
    bool geoip;              /* true when absent */
    const char *geoip_code;  /* "CN" when absent */
    struct cfg_matchers domain; /* domain, and geosite as CFG_MATCH_GEO */
    struct cfg_cidrs ipcidr;
};

struct cfg_dns {
    bool enable;               /* absent = true */
    bool ipv6;                 /* already ANDed with the top level */
    bool use_hosts, use_system_hosts;
    enum dns_mode mode;        /* absent = fake-ip */
    struct cidr fake4, fake6;  /* network; ver 0 = no pool */
    int64_t fake_ttl;
    int filter_mode;           /* FILTER_... */
    bool filter_defaults;      /* fake-ip-filter-defaults (ours): our own list of names on top; absent = true */
    struct cfg_strs filter;    /* fake-ip-filter as written */
    struct cfg_matchers fake_filter; /* the same, taken apart: patterns, GEO and SET; with FILTER_RULES all are RULE */
    struct cfg_strs nameserver, default_nameserver, proxy_server_nameserver, direct_nameserver, fallback; /* texts of reference 2.5 */
    const char *listen;        /* NULL = off */
    struct cfg_policies policy, proxy_server_policy; /* nameserver-policy, proxy-server-nameserver-policy */
    struct cfg_fallback_filter fallback_filter;
    bool fallback_lazy, direct_follow_policy, prefer_h3;
    bool parallel;             /* (ours) ask all servers of a list at once */
    bool respect_rules;        /* false when there is no proxy-server-nameserver */
    int64_t cache_max;         /* 4096 when 0 or absent */
    int64_t ipv6_timeout_ms;   /* 100 */
    int64_t listen_routing_mark;
};

enum cfg_sniffable { CFG_SNIFF_HTTP, CFG_SNIFF_TLS, CFG_SNIFF_QUIC, CFG_N_SNIFF };
struct cfg_sniff { bool on, override_destination; struct cfg_ranges ports; };
struct cfg_sniffer {
    bool enable, force_dns_mapping, parse_pure_ip;
    struct cfg_sniff sniff[CFG_N_SNIFF]; /* old and new form */
    struct cfg_matchers force_domain, skip_domain, skip_src, skip_dst;
};

struct cfg_geo {
    bool mode_dat;  /* geodata-mode: GEOIP from GeoIP.dat, else from the mmdb */
    bool auto_update;
    int64_t interval_h; /* 24 */
    const char *geoip, *geosite, *mmdb, *asn; /* geox-url; NULL = not said */
};

struct cfg_ntp { bool enable, write_to_system; const char *server, *dialer_proxy; uint16_t port; int64_t interval_min; };
struct cfg_tls { const char *certificate, *private_key, *client_auth_type, *client_auth_cert, *ech_key; struct cfg_strs extra_roots; };
struct cfg_experimental { bool quic_no_gso, quic_no_ecn, ip4p; };

/* An entry of a list (proxies, proxy-groups): what is common; the rest is read by whoever owns the type. */
struct cfg_entry { const char *name, *type; uint32_t index; /* in its own file */ const struct cfg_node *node; };

/* A rule line as written. */
enum cfg_rule_list { CFG_RULES, CFG_PREPEND_RULES, CFG_APPEND_RULES };
struct cfg_rule {
    const char *text;
    uint32_t index;            /* over the list in use, from 0: what `explain` and the API count */
    uint32_t line, column;
    uint32_t nth;              /* in the list it was written in */
    enum cfg_rule_list list;
    const char *sub;           /* the list in sub-rules it was written in, or NULL */
};
/* "rules[12]", "prepend-rules[0]", "sub-rules.NAME[3]": where the rule stands, for messages. */
#define CFG_PATH_MAX 96
const char *cfg_rule_path(const struct cfg_rule *r, char buf[CFG_PATH_MAX]);
/* A named list of sub-rules. */
struct cfg_sub_rules { const char *name; uint32_t line, column, n_rules; struct cfg_rule *rules; };

/* proxy-providers and rule-providers (reference 10, 12). The first members are those of struct cfg_entry. */
enum cfg_provider_from { CFG_FROM_HTTP, CFG_FROM_FILE, CFG_FROM_INLINE };
enum cfg_behavior { CFG_BEHAVIOR_DOMAIN, CFG_BEHAVIOR_IPCIDR, CFG_BEHAVIOR_CLASSICAL };
enum cfg_format { CFG_FORMAT_YAML, CFG_FORMAT_TEXT, CFG_FORMAT_MRS };

struct cfg_provider {
    const char *name, *type;
    uint32_t index;            /* in its own file */
    const struct cfg_node *node;
    uint32_t line, column;     /* of the key: where messages belong */
    bool own;                  /* from the user's own file: may name paths and addresses that a foreign profile may not */
    struct cfg_headers headers;
    /* rule-providers only; what a proxy-provider says besides is read by outbound/ */
    enum cfg_provider_from from;
    enum cfg_behavior behavior;
    enum cfg_format format;
    const char *url, *path, *proxy; /* NULL = not said, also where the type needs it (a warning was given) */
    int64_t interval_s, size_limit;
    const char *path_in_bundle;
    struct cfg_strs rules;     /* payload: the content of inline; of others until there is one */
};

struct cfg_listener {
    const char *name, *type;
    uint32_t index;
    const struct cfg_node *node;
    uint32_t line, column;
    const char *listen, *rule, *proxy; /* listen: "0.0.0.0" when absent */
    struct cfg_ranges ports;
    int64_t routing_mark;
    bool udp;
    struct cfg_users users;            /* given: instead of `authentication` */
    const char *certificate, *private_key;
    struct cfg_strs network;           /* type tunnel */
    const char *target;
};

struct cfg_tunnel { bool tcp, udp; const char *address, *target, *proxy; uint32_t index, line, column; };

struct profile {
    struct cfg_doc *doc;
    bool foreign;              /* the profile itself was fetched, not written by the user */
    enum mode mode;
    enum log_level log_level;
    bool ipv6, allow_lan;
    const char *external_controller, *secret, *external_controller_unix, *interface_name;
    const char *external_controller_tls, *external_controller_pipe, *external_ui, *external_ui_name, *external_ui_url, *external_doh_server;
    struct cfg_strs cors_origins; /* external-controller-cors.allow-origins; n = 0 when absent */
    bool cors_private_network;    /* allow-private-network; true when absent */
    int64_t controller_routing_mark;
    uint16_t port, socks_port, mixed_port, redir_port, tproxy_port;
    struct cfg_inbound inbound;
    bool store_selected;       /* profile.store-selected, true when absent */
    bool store_fake_ip;
    int64_t routing_mark;
    bool unified_delay, tcp_concurrent, disable_keep_alive, etag_support;
    int64_t keep_alive_idle_s, keep_alive_interval_s; /* 0 = not said */
    enum find_process find_process;
    const char *global_ua;
    struct cfg_tun tun;
    struct cfg_dns dns;
    struct cfg_sniffer sniffer;
    struct cfg_geo geo;
    struct cfg_ntp ntp;
    struct cfg_tls tls;
    struct cfg_experimental experimental;
    uint32_t n_hosts;    struct cfg_hosts_entry *hosts;
    uint32_t n_proxies;  struct cfg_entry *proxies; /* entries with name and type, names unique; others skipped with a warning */
    uint32_t n_groups;   struct cfg_entry *groups;
    uint32_t n_rules;    struct cfg_rule *rules;
    uint32_t n_sub_rules; struct cfg_sub_rules *sub_rules;
    uint32_t n_proxy_providers; struct cfg_provider *proxy_providers; /* name = the key; those without a type are skipped */
    uint32_t n_rule_providers;  struct cfg_provider *rule_providers;
    uint32_t n_listeners; struct cfg_listener *listeners; /* names unique */
    uint32_t n_tunnels;   struct cfg_tunnel *tunnels;
};

/* A file that takes part. Borrowed during the call. */
struct cfg_input {
    const char *name;  /* for messages */
    const char *bytes;
    size_t len;
    bool foreign;      /* fetched, not written by the user: locked keys (reference reliability, section 3) are ignored with a warning */
};

/* Reads the profile (YAML, or share links, plain or base64), lays the local file over it (NULL = there is none) and checks everything. Both are
 * named in d here. Returns what could be read even when d has errors, so that one pass shows every problem; such a profile must not be used. NULL:
 * there is nothing to read (not YAML, no mapping, no memory; errors in d). The bytes need not outlive the call, but d's source lines borrow them:
 * see diag_drop_bytes(). Freed with profile_free(). */
struct profile *profile_read(const struct cfg_input *body, const struct cfg_input *local, struct diag *d);
/* The same for one file of the user's own, named in d already; NULL on any error. */
struct profile *profile_load(const char *bytes, size_t len, struct diag *d);
void profile_free(struct profile *p);
/* Is what stands there the user's own, or a foreign profile's? */
bool cfg_is_own(const struct profile *p, uint32_t column);

#endif
