/*
 * opt_net.c - what a proxy entry says about its transport: ws, http, h2, grpc, xhttp
 *
 * Only the options of the chosen network are looked at; converters leave others behind. A header that could not be sent as one line is left
 * out.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "outbound/options.h"

const char *const opt_net_names[] = { "tcp", "ws", "http", "h2", "grpc", "xhttp", NULL };

/* ---- headers ---- */

static bool one_line(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            return false;
    return true;
}

/* A name is a token (RFC 9110 section 5.1). */
static bool is_token(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("!#$%&'*+-.^_`|~", *s))
            return false;
    return true;
}

static bool good_header(const struct opt_header *h)
{
    bool good = is_token(h->name) && h->values.n;

    for (uint32_t i = 0; i < h->values.n; i++)
        good = good && one_line(h->values.v[i]);
    return good;
}

/* The value of one header: a text or a list of texts. */
static int read_values(const struct opt_src *s, const struct cfg_node *value, struct cfg_strs *out)
{
    if (!(out->v = cfg_alloc(s->doc, (value->n + 1) * sizeof(*out->v))))
        return -ENOMEM;
    for (const struct cfg_node *n = value->kind == CFG_SEQ ? value->child : value; n; n = value->kind == CFG_SEQ ? n->next : NULL)
        if (n->kind == CFG_SCALAR)
            out->v[out->n++] = n->text;
    return 0;
}

int opt_headers(void *member, const struct opt_src *s)
{
    struct opt_headers *out = member;
    struct opt_src sub;
    int r = 0;

    if (!opt_sub(s, "headers", &sub, &r))
        return r;
    if (!(out->v = cfg_alloc(s->doc, (sub.map->n + 1) * sizeof(*out->v))))
        return -ENOMEM;
    for (const struct cfg_node *n = cfg_first(sub.map); n; n = n->next) {
        struct opt_header h = { .name = n->key->text };
        char shown[OPT_TEXT_MAX];

        if (n->kind == CFG_NULL)
            continue;
        if (read_values(s, n, &h.values) < 0)
            return -ENOMEM;
        if (good_header(&h))
            out->v[out->n++] = h;
        else
            diag_warn(s->d, n->key->line, n->key->column, s->path, "bad-value",
                      "headers: \"%s\" is no header that can be sent; it is left out", opt_quote(h.name, shown));
    }
    return 0;
}

const char *opt_header(const struct opt_headers *h, const char *name)
{
    for (uint32_t i = 0; i < h->n; i++)
        if (!strcasecmp(h->v[i].name, name))
            return h->v[i].values.v[0];
    return NULL;
}

/* ---- paths ---- */

static const char *absolute(const struct opt_src *s, const char *path)
{
    size_t room = (path ? strlen(path) : 0) + 2;
    char *out;

    if (path && path[0] == '/')
        return path;
    if ((out = cfg_alloc(s->doc, room)))
        snprintf(out, room, "/%s", path ? path : "");
    return out;
}

/* Takes `ed=N` out of the query of a path; N, or 0 when there is none. */
static int64_t take_early_data(char *path)
{
    for (char *at = strchr(path, '?'); at && *at;) {
        char *arg = at + 1, *end = strchr(arg, '&');
        unsigned long n;

        if (strncmp(arg, "ed=", 3) != 0 || !isdigit((unsigned char)arg[3])) {
            at = end;
            continue;
        }
        n = strtoul(arg + 3, NULL, 10);
        if (end)
            memmove(arg, end + 1, strlen(end + 1) + 1);
        else
            *at = 0;
        return n > INT32_MAX ? INT32_MAX : (int64_t)n;
    }
    return 0;
}

/* ---- the transports ---- */

static const struct cfg_field ws_fields[] = {
    { "path", CFG_STR, offsetof(struct opt_ws, path) },
    { "max-early-data", CFG_INT, offsetof(struct opt_ws, max_early_data), .min = 0, .max = INT32_MAX },
    { "early-data-header-name", CFG_STR, offsetof(struct opt_ws, early_data_header) },
    { "v2ray-http-upgrade", CFG_BOOL, offsetof(struct opt_ws, http_upgrade) },
    { "v2ray-http-upgrade-fast-open", CFG_BOOL, offsetof(struct opt_ws, fast_open) },
    { 0 },
};

int opt_ws_finish(struct opt_ws *w, const struct opt_src *s)
{
    const char *path = absolute(s, w->path);
    char *copy = path ? cfg_strdup(s->doc, path, strlen(path)) : NULL;
    int64_t n;

    if (!copy)
        return -ENOMEM;
    if (!one_line(copy))
        return opt_bad(s, "path", "path: a control character cannot be sent in a path");
    if ((n = take_early_data(copy))) {
        w->max_early_data = n;
        w->early_data_header = "Sec-WebSocket-Protocol";
    }
    if (w->early_data_header && !*w->early_data_header)
        w->early_data_header = NULL;
    if (w->early_data_header && !is_token(w->early_data_header))
        return opt_bad(s, "early-data-header-name", "early-data-header-name: it is no header name");
    w->path = copy;
    return opt_headers(&w->headers, s);
}

static int read_ws(struct opt_transport *t, const struct opt_src *s)
{
    int r = opt_fields(s, ws_fields, &t->ws);

    return r < 0 ? r : opt_ws_finish(&t->ws, s);
}

static const struct cfg_field http_fields[] = {
    { "method", CFG_STR, offsetof(struct opt_http, method), .def = "GET" },
    { "path", CFG_STRS, offsetof(struct opt_http, paths), .def = "/" },
    { 0 },
};

static int read_http(struct opt_transport *t, const struct opt_src *s)
{
    struct opt_http *h = &t->http;

    if (opt_fields(s, http_fields, h) < 0)
        return -EINVAL;
    if (!is_token(h->method))
        return opt_bad(s, "method", "method: it is no HTTP method");
    for (uint32_t i = 0; i < h->paths.n; i++) {
        if (!one_line(h->paths.v[i]))
            return opt_bad(s, "path", "path: a control character cannot be sent in a path");
        if (!(h->paths.v[i] = absolute(s, h->paths.v[i])))
            return -ENOMEM;
    }
    if (!h->paths.v)
        return -ENOMEM; /* not even the default */
    if (!h->paths.n) {
        h->paths.v[0] = "/"; /* there is always room for one */
        h->paths.n = 1;
    }
    return opt_headers(&h->headers, s);
}

static const struct cfg_field h2_fields[] = {
    { "host", CFG_STRS, offsetof(struct opt_h2, hosts), .def = "www.example.com" },
    { "path", CFG_STR, offsetof(struct opt_h2, path), .def = "/" },
    { 0 },
};

static int read_h2(struct opt_transport *t, const struct opt_src *s)
{
    struct opt_h2 *h = &t->h2;

    if (opt_fields(s, h2_fields, h) < 0)
        return -EINVAL;
    if (!h->hosts.v)
        return -ENOMEM;
    if (!h->hosts.n) {
        h->hosts.v[0] = "www.example.com";
        h->hosts.n = 1;
    }
    for (uint32_t i = 0; i < h->hosts.n; i++)
        if (!one_line(h->hosts.v[i]))
            return opt_bad(s, "host", "host: a control character cannot be sent in a host name");
    if (!one_line(h->path))
        return opt_bad(s, "path", "path: a control character cannot be sent in a path");
    return (h->path = absolute(s, h->path)) ? 0 : -ENOMEM;
}

struct grpc {
    struct opt_grpc g;
    const char *service;
};

static const struct cfg_field grpc_fields[] = {
    { "grpc-service-name", CFG_STR, offsetof(struct grpc, service) },
    { "grpc-user-agent", CFG_STR, offsetof(struct grpc, g.user_agent), .def = "grpc-go/1.36.0" },
    { "ping-interval", CFG_INT, offsetof(struct grpc, g.ping_interval_s), .min = 0, .max = 86400 },
    { "max-connections", CFG_INT, offsetof(struct grpc, g.max_connections), .min = 0, .max = 65535 },
    { "min-streams", CFG_INT, offsetof(struct grpc, g.min_streams), .min = 0, .max = 65535 },
    { "max-streams", CFG_INT, offsetof(struct grpc, g.max_streams), .min = 0, .max = 65535 },
    { 0 },
};

static int read_grpc(struct opt_transport *t, const struct opt_src *s)
{
    struct grpc g = { 0 };
    const char *name;
    char *path;
    size_t room;

    if (opt_fields(s, grpc_fields, &g) < 0)
        return -EINVAL;
    name = g.service && *g.service ? g.service : "GunService";
    if (!one_line(name) || !one_line(g.g.user_agent))
        return opt_bad(s, "grpc-service-name", "grpc-opts: a control character cannot be sent");
    t->grpc = g.g;
    t->grpc.path = name;
    if (name[0] == '/')
        return 0;
    room = strlen(name) + sizeof("//Tun");
    if (!(path = cfg_alloc(s->doc, room)))
        return -ENOMEM;
    snprintf(path, room, "/%s/Tun", name);
    t->grpc.path = path;
    return 0;
}

static const char *const xhttp_modes[] = { "auto", "stream-one", "stream-up", "packet-up", NULL };

static const struct cfg_field xhttp_fields[] = {
    { "path", CFG_STR, offsetof(struct opt_xhttp, path) },
    { "host", CFG_STR, offsetof(struct opt_xhttp, host) },
    { "mode", CFG_ENUM, offsetof(struct opt_xhttp, mode), .names = xhttp_modes },
    { 0 },
};

static int read_xhttp(struct opt_transport *t, const struct opt_src *s)
{
    struct opt_xhttp *x = &t->xhttp;

    if (opt_fields(s, xhttp_fields, x) < 0)
        return -EINVAL;
    x->node = s->map;
    if ((x->path && !one_line(x->path)) || (x->host && !one_line(x->host)))
        return opt_bad(s, "path", "xhttp-opts: a control character cannot be sent");
    if (!(x->path = absolute(s, x->path)))
        return -ENOMEM;
    return opt_headers(&x->headers, s);
}

/* ---- which one ---- */

static const struct {
    const char *key;
    int (*read)(struct opt_transport *t, const struct opt_src *s);
} kinds[] = {
    [OPT_NET_WS] = { "ws-opts", read_ws },       [OPT_NET_HTTP] = { "http-opts", read_http },    [OPT_NET_H2] = { "h2-opts", read_h2 },
    [OPT_NET_GRPC] = { "grpc-opts", read_grpc }, [OPT_NET_XHTTP] = { "xhttp-opts", read_xhttp },
};

/* Keys of an older format, which converters go on writing. */
static void say_left_over(const struct opt_src *s)
{
    static const char *const keys[] = { "ws-path", "ws-headers" };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (opt_find(s, keys[i])) {
            opt_warn(s, keys[i], "leftover", "%s is an old key without effect: ws-opts: {path: ..., headers: {Host: ...}} is what counts", keys[i]);
            return;
        }
}

static int read_transport(struct opt_transport *t, const struct opt_src *s, unsigned allowed)
{
    static const struct cfg_node nothing = { .kind = CFG_MAP };
    const struct cfg_node *n = opt_find(s, "network");
    struct opt_src sub = *s;
    char shown[OPT_TEXT_MAX];
    int r = 0, kind = 0;

    if (n && n->kind != CFG_SCALAR)
        return opt_bad(s, "network", "network: a single value is expected here");
    while (n && opt_net_names[kind] && strcasecmp(opt_net_names[kind], n->text) != 0)
        kind++;
    if (n && *n->text && (!opt_net_names[kind] || !(allowed & 1u << kind)))
        opt_warn(s, "network", "bad-value", "network: \"%s\" is no transport of this type; plain tcp is used", opt_quote(n->text, shown));
    t->kind = n && opt_net_names[kind] && (allowed & 1u << kind) ? kind : OPT_NET_TCP;
    if (t->kind == OPT_NET_TCP)
        return 0;
    if (!opt_sub(s, kinds[t->kind].key, &sub, &r)) {
        if (r < 0)
            return r;
        if (t->kind == OPT_NET_WS)
            say_left_over(s);
        sub.map = &nothing;
    }
    return kinds[t->kind].read(t, &sub);
}

int opt_transport_vmess(void *member, const struct opt_src *s)
{
    return read_transport(member, s, 1u << OPT_NET_TCP | 1u << OPT_NET_WS | 1u << OPT_NET_HTTP | 1u << OPT_NET_H2 | 1u << OPT_NET_GRPC);
}

int opt_transport_vless(void *member, const struct opt_src *s)
{
    return read_transport(member, s, ~0u);
}

int opt_transport_trojan(void *member, const struct opt_src *s)
{
    return read_transport(member, s, 1u << OPT_NET_TCP | 1u << OPT_NET_WS | 1u << OPT_NET_GRPC);
}
