/*
 * link_text.c - the parts that share links are made of, and the nodes that they become
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>

#include "configs/link.h"
#include "core/base64.h"
#include "core/hash.h"
#include "core/list.h"

#define NAME_ROOM 1024

struct name {
    struct map_node node;
    uint32_t used; /* how often it was asked for again */
    const char *text;
};

/* ---- texts ---- */

char *link_copy(struct links *l, const char *s, size_t len)
{
    char *out = cfg_strdup(l->doc, s, len);

    l->oom |= !out;
    return out ? out : (char *)"";
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                                                   ? c - '0'
           : tolower((unsigned char)c) >= 'a' && tolower((unsigned char)c) <= 'f' ? tolower((unsigned char)c) - 'a' + 10
                                                                                  : -1;
}

/* Percent-decoded; a broken escape stays as it is, and so does one for NUL. form: '+' is a blank. */
static const char *decoded(struct links *l, const char *s, size_t len, bool form)
{
    char *out = link_copy(l, s, len);
    size_t n = 0;

    if (l->oom)
        return "";
    for (size_t i = 0; i < len; i++) {
        int hi = s[i] == '%' && i + 2 < len ? hex(s[i + 1]) : -1, lo = hi >= 0 ? hex(s[i + 2]) : -1;

        if (lo >= 0 && (hi || lo)) {
            out[n++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            out[n++] = form && s[i] == '+' ? ' ' : s[i];
        }
    }
    out[n] = 0;
    return out;
}

/* A base64 text; NULL when it is none, or holds a NUL. */
const char *link_unbase64(struct links *l, const char *s, size_t len)
{
    char *out = cfg_alloc(l->doc, BASE64_ROOM(len) + 1);
    ssize_t n;

    l->oom |= !out;
    if (!out || (n = base64_decode(s, len, (uint8_t *)out, BASE64_ROOM(len))) < 0 || memchr(out, 0, (size_t)n))
        return NULL;
    return out;
}

const char *link_lower(struct links *l, const char *s)
{
    char *out = link_copy(l, s, strlen(s));

    for (char *at = out; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return out;
}

/* ---- nodes ---- */

struct cfg_node *link_node(struct links *l, enum cfg_kind kind, const char *text)
{
    struct cfg_node *n = cfg_alloc(l->doc, sizeof(*n));

    l->oom |= !n;
    if (!n)
        return NULL;
    *n = (struct cfg_node){ .kind = kind, .quoted = true, .line = l->line, .column = 1, .text = text, .len = text ? strlen(text) : 0 };
    return n;
}

/* Behind `last` (NULL: first). */
struct cfg_node *link_append(struct cfg_node *parent, struct cfg_node *last, struct cfg_node *n)
{
    if (last)
        last->next = n;
    else
        parent->child = n;
    parent->n++;
    return n;
}

struct cfg_node *link_put(struct links *l, struct cfg_node *map, const char *key, struct cfg_node *value)
{
    struct cfg_node *k = link_node(l, CFG_SCALAR, key), *last = map ? map->child : NULL;

    if (!map || !k || !value)
        return NULL;
    while (last && last->next) /* a link has few */
        last = last->next;
    value->key = k;
    return link_append(map, last, value);
}

/* An empty text is no value. */
void link_text(struct links *l, struct cfg_node *map, const char *key, const char *text)
{
    if (text && *text)
        link_put(l, map, key, link_node(l, CFG_SCALAR, text));
}

void link_true(struct links *l, struct cfg_node *map, const char *key, bool on)
{
    struct cfg_node *n = on ? link_put(l, map, key, link_node(l, CFG_SCALAR, "true")) : NULL;

    if (n)
        n->quoted = false;
}

struct cfg_node *link_map(struct links *l, struct cfg_node *map, const char *key)
{
    return link_put(l, map, key, link_node(l, CFG_MAP, NULL));
}

/* "h2,http/1.1" as a list. */
void link_list(struct links *l, struct cfg_node *map, const char *key, const char *text)
{
    struct cfg_node *list = *text ? link_put(l, map, key, link_node(l, CFG_SEQ, NULL)) : NULL, *last = NULL, *n;

    for (size_t len; list && *text; text += len + (text[len] == ',')) {
        len = strcspn(text, ",");
        if (len && (n = link_node(l, CFG_SCALAR, link_copy(l, text, len))))
            last = link_append(list, last, n);
    }
}

/* ---- URLs ---- */

const char *link_arg(const struct url *u, const char *key)
{
    for (uint32_t i = 0; i < u->n_args; i++)
        if (!strcasecmp(u->args[i].key, key))
            return u->args[i].value;
    return "";
}

/* The first of several spellings that is there. */
const char *link_arg_of(const struct url *u, const char *a, const char *b, const char *c)
{
    return *link_arg(u, a) ? link_arg(u, a) : *link_arg(u, b) ? link_arg(u, b) : link_arg(u, c);
}

void link_query(struct links *l, const char *s, size_t len, struct url *u)
{
    for (size_t at = 0; at < len && u->n_args < LINK_ARGS;) {
        size_t n = 0, eq = 0;

        while (at + n < len && s[at + n] != '&')
            n++;
        while (eq < n && s[at + eq] != '=')
            eq++;
        if (n)
            u->args[u->n_args++] =
                (struct arg){ decoded(l, s + at, eq, true), eq < n ? decoded(l, s + at + eq + 1, n - eq - 1, true) : "" };
        at += n + 1;
    }
}

/* "host:port", "[v6]:port" */
void link_host(struct links *l, const char *s, size_t len, struct url *u)
{
    const char *end = s + len, *colon = memrchr(s, ':', len), *close = memrchr(s, ']', len);

    if (colon && close && colon < close)
        colon = NULL;
    u->port = colon ? link_copy(l, colon + 1, (size_t)(end - colon - 1)) : "";
    end = colon ? colon : end;
    if (end - s >= 2 && *s == '[' && end[-1] == ']')
        u->host = link_copy(l, s + 1, (size_t)(end - s - 2));
    else
        u->host = link_copy(l, s, (size_t)(end - s));
}

static void read_user(struct links *l, const char *s, size_t len, struct url *u)
{
    const char *colon = memchr(s, ':', len);

    u->has_password = colon != NULL;
    u->all = decoded(l, s, len, false);
    u->user = decoded(l, s, colon ? (size_t)(colon - s) : len, false);
    u->password = colon ? decoded(l, colon + 1, len - (size_t)(colon + 1 - s), false) : "";
}

/* What follows "scheme://". */
void link_url(struct links *l, const char *s, size_t len, struct url *u)
{
    const char *hash = memchr(s, '#', len), *query, *slash, *at;
    size_t n = hash ? (size_t)(hash - s) : len;

    *u = (struct url){ .user = "", .password = "", .all = "", .host = "", .port = "", .name = "" };
    if (hash)
        u->name = decoded(l, hash + 1, len - n - 1, false);
    if ((query = memchr(s, '?', n))) {
        link_query(l, query + 1, n - (size_t)(query + 1 - s), u);
        n = (size_t)(query - s);
    }
    at = memrchr(s, '@', n);
    slash = memchr(at ? at : s, '/', n - (at ? (size_t)(at - s) : 0)); /* a password may hold one */
    if (slash)
        n = (size_t)(slash - s);
    if (at) {
        read_user(l, s, (size_t)(at - s), u);
        link_host(l, at + 1, n - (size_t)(at + 1 - s), u);
    } else {
        link_host(l, s, n, u);
    }
}

/* ---- one entry ---- */

static const char *unique(struct links *l, const char *name)
{
    char shown[NAME_ROOM], more[NAME_ROOM + 16];
    struct name *n = NULL;
    uint64_t h;

    log_safe(name, strlen(name), shown, sizeof(shown)); /* a name is shown everywhere */
    h = hash_bytes(shown, strlen(shown));
    for (struct map_node *m = map_first(&l->names, h); m && !n; m = map_next(m))
        if (!strcmp(container_of(m, struct name, node)->text, shown))
            n = container_of(m, struct name, node);
    if (n) {
        snprintf(more, sizeof(more), "%s-%02u", shown, ++n->used);
        return strlen(more) < NAME_ROOM - 8 ? unique(l, more) : n->text;
    }
    if (!(n = cfg_alloc(l->doc, sizeof(*n)))) {
        l->oom = true;
        return "";
    }
    n->text = link_copy(l, shown, strlen(shown));
    map_add(&l->names, &n->node, h);
    return n->text;
}

int link_bad(struct links *l, const char *code, const char *fmt, ...)
{
    char text[256], path[32];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(path, sizeof(path), "proxies[%u]", l->list ? l->list->n : 0);
    diag_warn(l->d, l->line, 1, path, code, "%s; the line is skipped", text);
    return -EINVAL;
}

/* name, type, server, port: what every entry begins with; NULL when there is no host or port. */
struct cfg_node *link_begin(struct links *l, const char *type, const char *name, const char *host, const char *port)
{
    struct cfg_node *map;
    char own[NAME_ROOM];

    if (!*host || !*port) {
        link_bad(l, "bad-value", "a link needs a host and a port");
        return NULL;
    }
    if (!*name) {
        snprintf(own, sizeof(own), "%.255s:%.16s", host, port);
        name = own;
    }
    if (!(map = link_node(l, CFG_MAP, NULL)))
        return NULL;
    link_text(l, map, "name", unique(l, name));
    link_text(l, map, "type", type);
    link_text(l, map, "server", host);
    link_text(l, map, "port", port);
    return map;
}

void link_finish(struct links *l, struct cfg_node *map)
{
    l->last = link_append(l->list, l->last, map);
}
