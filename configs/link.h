/*
 * link.h - what the readers of share links share
 *
 *   link.c         bodies and lines; the table of schemes
 *   link_text.c    decoding, nodes, URLs, entries
 *   link_scheme.c  one reader per scheme
 *
 * Memory is the document's; when there is none, `oom` is set, what is made then is empty, and the whole parse fails at the end.
 */
#ifndef CONFIGS_LINK_H
#define CONFIGS_LINK_H

#include <string.h>

#include "configs/config.h"
#include "core/map.h"

#define LINK_ARGS 64

struct links {
    struct cfg_doc *doc;
    struct diag *d;
    struct cfg_node *list, *last; /* `proxies` */
    uint32_t line;
    struct map names;
    bool oom;
};

/* A link in its parts, decoded; what is absent is "". */
struct url {
    const char *user, *password; /* of user:password@ */
    bool has_password;
    const char *all;             /* what stands before the @, colon and all */
    const char *host, *port, *name;
    uint32_t n_args;
    struct arg { const char *key, *value; } args[LINK_ARGS];
};

/* ---- texts ---- */

char *link_copy(struct links *l, const char *s, size_t len);
const char *link_lower(struct links *l, const char *s);
/* Base64 of a text; NULL when it is none, or holds a NUL. */
const char *link_unbase64(struct links *l, const char *s, size_t len);

/* ---- nodes ---- */

struct cfg_node *link_node(struct links *l, enum cfg_kind kind, const char *text);
/* Behind `last` (NULL: first); returns n. */
struct cfg_node *link_append(struct cfg_node *parent, struct cfg_node *last, struct cfg_node *n);
/* Under a key of a map; returns the value, NULL without memory. map may be NULL then. */
struct cfg_node *link_put(struct links *l, struct cfg_node *map, const char *key, struct cfg_node *value);
struct cfg_node *link_map(struct links *l, struct cfg_node *map, const char *key);
void link_text(struct links *l, struct cfg_node *map, const char *key, const char *text); /* an empty text is no value */
void link_true(struct links *l, struct cfg_node *map, const char *key, bool on);          /* false is no value */
void link_list(struct links *l, struct cfg_node *map, const char *key, const char *text); /* "h2,http/1.1" */

/* ---- URLs ---- */

/* Reads what follows "scheme://". */
void link_url(struct links *l, const char *s, size_t len, struct url *u);
void link_host(struct links *l, const char *s, size_t len, struct url *u);  /* host:port, [v6]:port */
void link_query(struct links *l, const char *s, size_t len, struct url *u); /* a=b&c=d */
const char *link_arg(const struct url *u, const char *key);
/* The first of several spellings that is there. */
const char *link_arg_of(const struct url *u, const char *a, const char *b, const char *c);

/* ---- entries ---- */

/* A map with name, type, server, port; NULL, and said, when host or port is missing. */
struct cfg_node *link_begin(struct links *l, const char *type, const char *name, const char *host, const char *port);
void link_finish(struct links *l, struct cfg_node *map);
/* Says why the line is skipped; -EINVAL. */
int link_bad(struct links *l, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Readers of what follows "scheme://": 0, or -EINVAL and said. */
int link_read_ss(struct links *l, const char *s, size_t len);
int link_read_ssr(struct links *l, const char *s, size_t len);
int link_read_vmess(struct links *l, const char *s, size_t len);
int link_read_vless(struct links *l, const struct url *u);
int link_read_trojan(struct links *l, const struct url *u);
int link_read_hysteria2(struct links *l, const struct url *u);
int link_read_hysteria(struct links *l, const struct url *u);
int link_read_tuic(struct links *l, const struct url *u);
int link_read_anytls(struct links *l, const struct url *u);
int link_read_socks(struct links *l, const struct url *u);
int link_read_http(struct links *l, const struct url *u);
int link_read_https(struct links *l, const struct url *u);

#endif
