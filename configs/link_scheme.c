/*
 * link_scheme.c - one reader per scheme of share links
 *
 * A link says less than an entry and every client wrote it in its own way, so readers only translate; whether the values make sense is
 * judged where entries are judged.
 *
 * Two links are older than URLs: vmess:// holds JSON in base64, ssr:// a list of fields in base64. ss:// may be base64 as a whole or in its
 * first half.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <strings.h>

#include "configs/link.h"

static bool is_true(const char *s)
{
    return !strcmp(s, "1") || !strcasecmp(s, "true");
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

static void put_insecure(struct links *l, struct cfg_node *map, const struct url *u)
{
    link_true(l, map, "skip-cert-verify", is_true(link_arg_of(u, "allowInsecure", "insecure", "allow_insecure")));
}

/* ---- transports: vmess, vless, trojan ---- */

struct transport {
    const char *kind, *path, *host, *service, *header_type, *early, *early_header, *mode;
};

static void put_host_header(struct links *l, struct cfg_node *opts, const char *host, bool list)
{
    struct cfg_node *headers = *host ? link_map(l, opts, "headers") : NULL;

    if (headers && list)
        link_list(l, headers, "Host", host);
    else if (headers)
        link_text(l, headers, "Host", host);
}

static void put_ws(struct links *l, struct cfg_node *map, const struct transport *t, bool upgrade)
{
    struct cfg_node *opts = link_map(l, map, "ws-opts");

    link_text(l, opts, "path", t->path);
    put_host_header(l, opts, t->host, false);
    link_true(l, opts, "v2ray-http-upgrade", upgrade);
    link_true(l, opts, "v2ray-http-upgrade-fast-open", upgrade && *t->early);
    if (!upgrade && *t->early) {
        link_text(l, opts, "max-early-data", t->early);
        link_text(l, opts, "early-data-header-name", *t->early_header ? t->early_header : "Sec-WebSocket-Protocol");
    }
}

static void put_transport(struct links *l, struct cfg_node *map, const struct transport *t)
{
    const char *kind = !strcasecmp(t->header_type, "http") ? "http-camouflage" : t->kind;
    struct cfg_node *opts;

    if (!strcmp(kind, "http-camouflage")) {
        link_text(l, map, "network", "http");
        opts = link_map(l, map, "http-opts");
        link_list(l, opts, "path", t->path);
        put_host_header(l, opts, t->host, true);
    } else if (!strcmp(kind, "h2") || !strcmp(kind, "http")) {
        link_text(l, map, "network", "h2");
        opts = link_map(l, map, "h2-opts");
        link_text(l, opts, "path", t->path);
        link_list(l, opts, "host", t->host);
    } else if (!strcmp(kind, "ws") || !strcmp(kind, "httpupgrade")) {
        link_text(l, map, "network", "ws");
        put_ws(l, map, t, !strcmp(kind, "httpupgrade"));
    } else if (!strcmp(kind, "grpc")) {
        link_text(l, map, "network", "grpc");
        link_text(l, link_map(l, map, "grpc-opts"), "grpc-service-name", t->service);
    } else if (!strcmp(kind, "xhttp") || !strcmp(kind, "splithttp")) {
        link_text(l, map, "network", "xhttp");
        opts = link_map(l, map, "xhttp-opts");
        link_text(l, opts, "path", t->path);
        link_text(l, opts, "host", t->host);
        link_text(l, opts, "mode", t->mode);
    } else if (*kind && strcmp(kind, "raw") != 0) {
        link_text(l, map, "network", kind);
    }
}

static struct transport url_transport(struct links *l, const struct url *u)
{
    return (struct transport){ link_lower(l, link_arg(u, "type")), link_arg(u, "path"), link_arg(u, "host"), link_arg(u, "serviceName"),
                               link_arg(u, "headerType"),          link_arg(u, "ed"),   link_arg(u, "eh"),   link_arg(u, "mode") };
}

/* Browsers are what links imitate unless they say otherwise. */
static void put_tls(struct links *l, struct cfg_node *map, const struct url *u, const char *name_key)
{
    link_text(l, map, name_key, link_arg_of(u, "sni", "peer", "servername"));
    put_insecure(l, map, u);
    link_list(l, map, "alpn", link_arg(u, "alpn"));
    link_text(l, map, "client-fingerprint", *link_arg(u, "fp") ? link_arg(u, "fp") : "chrome");
    if (*link_arg(u, "pbk")) {
        struct cfg_node *reality = link_map(l, map, "reality-opts");

        link_text(l, reality, "public-key", link_arg(u, "pbk"));
        link_text(l, reality, "short-id", link_arg(u, "sid"));
    }
}

/* ---- schemes that are URLs ---- */

/* vless, and vmess in its newer form. */
static int read_v(struct links *l, const char *type, const struct url *u)
{
    const char *security = link_lower(l, link_arg(u, "security"));
    bool tls = ends_with(security, "tls") || !strcmp(security, "reality");
    struct cfg_node *map = link_begin(l, type, u->name, u->host, u->port);
    struct transport t = url_transport(l, u);

    if (!map)
        return -EINVAL;
    link_text(l, map, "uuid", u->all);
    link_true(l, map, "udp", true);
    link_true(l, map, "tls", tls);
    if (tls)
        put_tls(l, map, u, "servername");
    put_transport(l, map, &t);
    if (!strcmp(link_arg(u, "packetEncoding"), "packet") || !strcmp(link_arg(u, "packetEncoding"), "packetaddr"))
        link_text(l, map, "packet-encoding", "packetaddr");
    else
        link_text(l, map, "packet-encoding", strcmp(link_arg(u, "packetEncoding"), "none") != 0 ? "xudp" : "none");
    if (!strcmp(type, "vless")) {
        link_text(l, map, "flow", link_lower(l, link_arg(u, "flow")));
        link_text(l, map, "encryption", link_arg(u, "encryption"));
    } else {
        link_text(l, map, "alterId", "0");
        link_text(l, map, "cipher", *link_arg(u, "encryption") ? link_arg(u, "encryption") : "auto");
    }
    link_finish(l, map);
    return 0;
}

int link_read_vless(struct links *l, const struct url *u)
{
    return read_v(l, "vless", u);
}

int link_read_trojan(struct links *l, const struct url *u)
{
    struct cfg_node *map = link_begin(l, "trojan", u->name, u->host, u->port);
    struct transport t = url_transport(l, u);

    if (!map)
        return -EINVAL;
    link_text(l, map, "password", u->all);
    link_true(l, map, "udp", true);
    put_tls(l, map, u, "sni");
    put_transport(l, map, &t);
    link_finish(l, map);
    return 0;
}

/* The port of a link may be a list of ranges: then the first is the port, and all are `ports`. */
static struct cfg_node *begin_hopping(struct links *l, const char *type, const struct url *u, const char *port)
{
    const char *hops = *link_arg(u, "mport") ? link_arg(u, "mport") : link_arg(u, "ports");
    size_t first = strspn(port, "0123456789");
    struct cfg_node *map = link_begin(l, type, u->name, u->host, link_copy(l, port, first));

    if (map)
        link_text(l, map, "ports", *hops ? hops : port[first] ? port : "");
    return map;
}

int link_read_hysteria2(struct links *l, const struct url *u)
{
    struct cfg_node *map = begin_hopping(l, "hysteria2", u, *u->port ? u->port : "443");

    if (!map)
        return -EINVAL;
    link_text(l, map, "password", u->all);
    link_text(l, map, "obfs", strcmp(link_arg(u, "obfs"), "none") != 0 ? link_arg(u, "obfs") : "");
    link_text(l, map, "obfs-password", link_arg(u, "obfs-password"));
    link_text(l, map, "sni", link_arg_of(u, "sni", "peer", "servername"));
    put_insecure(l, map, u);
    link_list(l, map, "alpn", link_arg(u, "alpn"));
    link_text(l, map, "fingerprint", link_arg(u, "pinSHA256"));
    link_text(l, map, "up", link_arg_of(u, "up", "upmbps", "up_mbps"));
    link_text(l, map, "down", link_arg_of(u, "down", "downmbps", "down_mbps"));
    link_finish(l, map);
    return 0;
}

int link_read_hysteria(struct links *l, const struct url *u)
{
    const char *up = link_arg_of(u, "up", "upmbps", "up_mbps"), *down = link_arg_of(u, "down", "downmbps", "down_mbps");
    struct cfg_node *map = begin_hopping(l, "hysteria", u, u->port);

    if (!map)
        return -EINVAL;
    link_text(l, map, "auth-str", *link_arg(u, "auth") ? link_arg(u, "auth") : link_arg(u, "auth_str"));
    link_text(l, map, "protocol", link_arg(u, "protocol"));
    link_text(l, map, "obfs",
              *link_arg(u, "obfsParam")                   ? link_arg(u, "obfsParam")
              : strcmp(link_arg(u, "obfs"), "xplus") != 0 ? link_arg(u, "obfs")
                                                          : "");
    link_text(l, map, "sni", link_arg_of(u, "peer", "sni", "servername"));
    put_insecure(l, map, u);
    link_list(l, map, "alpn", link_arg(u, "alpn"));
    link_text(l, map, "up", *up ? up : "100"); /* the format wants them; the sender of the link may not */
    link_text(l, map, "down", *down ? down : "100");
    link_finish(l, map);
    return 0;
}

int link_read_tuic(struct links *l, const struct url *u)
{
    struct cfg_node *map = link_begin(l, "tuic", u->name, u->host, u->port);

    if (!map)
        return -EINVAL;
    link_text(l, map, u->has_password ? "uuid" : "token", u->user);
    link_text(l, map, "password", u->password);
    link_true(l, map, "udp", true);
    link_text(l, map, "congestion-controller", link_arg_of(u, "congestion_control", "congestion_controller", "congestion"));
    link_list(l, map, "alpn", link_arg(u, "alpn"));
    link_text(l, map, "sni", link_arg_of(u, "sni", "peer", "servername"));
    put_insecure(l, map, u);
    link_true(l, map, "disable-sni", is_true(link_arg(u, "disable_sni")));
    link_text(l, map, "udp-relay-mode", link_arg(u, "udp_relay_mode"));
    link_finish(l, map);
    return 0;
}

int link_read_anytls(struct links *l, const struct url *u)
{
    struct cfg_node *map = link_begin(l, "anytls", u->name, u->host, *u->port ? u->port : "443");

    if (!map)
        return -EINVAL;
    link_text(l, map, "password", u->all);
    link_true(l, map, "udp", true);
    link_text(l, map, "sni", link_arg_of(u, "sni", "peer", "servername"));
    put_insecure(l, map, u);
    link_list(l, map, "alpn", link_arg(u, "alpn"));
    link_text(l, map, "client-fingerprint", link_arg(u, "fp"));
    link_text(l, map, "fingerprint", link_arg(u, "hpkp"));
    link_finish(l, map);
    return 0;
}

/* user:password, or both in base64 */
static void put_credentials(struct links *l, struct cfg_node *map, const struct url *u)
{
    const char *both = u->has_password || !*u->user ? NULL : link_unbase64(l, u->user, strlen(u->user)),
               *colon = both ? strchr(both, ':') : NULL;

    link_text(l, map, "username", colon ? link_copy(l, both, (size_t)(colon - both)) : u->user);
    link_text(l, map, "password", colon ? colon + 1 : u->password);
}

static int read_plain(struct links *l, const struct url *u, const char *type, bool tls)
{
    struct cfg_node *map = link_begin(l, type, u->name, u->host,
                                      *u->port                  ? u->port
                                      : !strcmp(type, "socks5") ? "1080"
                                      : tls                     ? "443"
                                                                : "80");

    if (!map)
        return -EINVAL;
    put_credentials(l, map, u);
    link_true(l, map, "udp", !strcmp(type, "socks5"));
    link_true(l, map, "tls", tls);
    link_text(l, map, "sni", tls ? link_arg(u, "sni") : "");
    if (tls)
        put_insecure(l, map, u);
    link_finish(l, map);
    return 0;
}

int link_read_socks(struct links *l, const struct url *u)
{
    return read_plain(l, u, "socks5", false);
}

int link_read_http(struct links *l, const struct url *u)
{
    return read_plain(l, u, "http", false);
}

int link_read_https(struct links *l, const struct url *u)
{
    return read_plain(l, u, "http", true);
}

/* ---- ss ---- */

/* "obfs-local;obfs=http;obfs-host=H" */
static const char *plugin_arg(struct links *l, const char *plugin, const char *key)
{
    size_t n = strlen(key);

    for (const char *at = strchr(plugin, ';'); at; at = strchr(at, ';')) {
        at++;
        if (!strncmp(at, key, n) && (at[n] == '=' || at[n] == ';' || !at[n]))
            return at[n] == '=' ? link_copy(l, at + n + 1, strcspn(at + n + 1, ";")) : key;
    }
    return "";
}

static void put_plugin(struct links *l, struct cfg_node *map, const char *plugin)
{
    const char *name = link_copy(l, plugin, strcspn(plugin, ";"));
    struct cfg_node *opts;

    if (strstr(name, "v2ray-plugin") || strstr(name, "gost-plugin")) {
        link_text(l, map, "plugin", strstr(name, "gost") ? "gost-plugin" : "v2ray-plugin");
        opts = link_map(l, map, "plugin-opts");
        link_text(l, opts, "mode", *plugin_arg(l, plugin, "mode") ? plugin_arg(l, plugin, "mode") : "websocket");
        link_text(l, opts, "host", plugin_arg(l, plugin, "host"));
        link_text(l, opts, "path", plugin_arg(l, plugin, "path"));
        link_true(l, opts, "tls", *plugin_arg(l, plugin, "tls"));
    } else if (strstr(name, "obfs")) {
        link_text(l, map, "plugin", "obfs");
        opts = link_map(l, map, "plugin-opts");
        link_text(l, opts, "mode", plugin_arg(l, plugin, "obfs"));
        link_text(l, opts, "host", plugin_arg(l, plugin, "obfs-host"));
    } else if (strstr(name, "shadow-tls")) {
        link_text(l, map, "plugin", "shadow-tls");
        opts = link_map(l, map, "plugin-opts");
        link_text(l, opts, "host", plugin_arg(l, plugin, "host"));
        link_text(l, opts, "password", plugin_arg(l, plugin, "password"));
        link_text(l, opts, "version", plugin_arg(l, plugin, "version"));
    } else {
        link_text(l, map, "plugin", name); /* its reader says that nobody knows it */
    }
}

/* base64(method:password@host:port): the part before ?, / and # as a whole. */
static bool unwrap_ss(struct links *l, const char *s, size_t len, struct url *u)
{
    size_t n = strcspn(s, "?#");
    const char *inner;

    n = n < len ? n : len;
    while (n && s[n - 1] == '/')
        n--;
    if (memchr(s, '@', n) || !(inner = link_unbase64(l, s, n)) || !strchr(inner, '@'))
        return false;
    u->all = link_copy(l, inner, (size_t)(strrchr(inner, '@') - inner));
    inner = strrchr(inner, '@') + 1;
    link_host(l, inner, strcspn(inner, "/"), u);
    return true;
}

int link_read_ss(struct links *l, const char *s, size_t len)
{
    struct cfg_node *map;
    const char *both, *colon;
    struct url u;

    link_url(l, s, len, &u);
    if (!unwrap_ss(l, s, len, &u) && !strchr(u.all, ':') && (both = link_unbase64(l, u.all, strlen(u.all))))
        u.all = both;
    if (!(colon = strchr(u.all, ':')))
        return link_bad(l, "bad-value", "ss: a method and a password are expected, as method:password or in base64");
    if (!(map = link_begin(l, "ss", u.name, u.host, u.port)))
        return -EINVAL;
    link_text(l, map, "cipher", link_copy(l, u.all, (size_t)(colon - u.all)));
    link_put(l, map, "password", link_node(l, CFG_SCALAR, colon + 1));
    link_true(l, map, "udp", true);
    link_true(l, map, "udp-over-tcp", is_true(link_arg(&u, "uot")) || is_true(link_arg(&u, "udp-over-tcp")));
    if (*link_arg(&u, "plugin"))
        put_plugin(l, map, link_arg(&u, "plugin"));
    link_finish(l, map);
    return 0;
}

/* ---- ssr: base64(host:port:protocol:method:obfs:base64pass/?obfsparam=b64&protoparam=b64&remarks=b64) ---- */

static const char *arg64(struct links *l, const struct url *u, const char *key)
{
    const char *text = link_arg(u, key), *out = *text ? link_unbase64(l, text, strlen(text)) : NULL;

    return out ? out : "";
}

/* Five fields stand behind the host, which may hold colons itself. */
static bool split_back(char *s, const char *fields[5])
{
    for (int i = 4; i >= 0; i--) {
        char *colon = strrchr(s, ':');

        if (!colon)
            return false;
        *colon = 0;
        fields[i] = colon + 1;
    }
    return true;
}

int link_read_ssr(struct links *l, const char *s, size_t len)
{
    const char *inner = link_unbase64(l, s, len), *query = inner ? strstr(inner, "/?") : NULL, *f[5], *password;
    struct url u = { 0 };
    struct cfg_node *map;
    char *head;

    if (!inner)
        return link_bad(l, "bad-value", "ssr: base64 is expected behind ssr://");
    head = link_copy(l, inner, query ? (size_t)(query - inner) : strcspn(inner, "/"));
    if (l->oom || !split_back(head, f) || !(password = link_unbase64(l, f[4], strlen(f[4]))))
        return link_bad(l, "bad-value", "ssr: host:port:protocol:method:obfs:password is expected in base64");
    if (query)
        link_query(l, query + 2, strlen(query + 2), &u);
    for (uint32_t i = 0; i < u.n_args; i++) /* form decoding made blanks of the plus signs of base64 */
        for (char *c = (char *)u.args[i].value; *c; c++)
            *c = *c == ' ' ? '+' : *c;
    if (!(map = link_begin(l, "ssr", arg64(l, &u, "remarks"), head, f[0])))
        return -EINVAL;
    link_text(l, map, "protocol", f[1]);
    link_text(l, map, "cipher", f[2]);
    link_text(l, map, "obfs", f[3]);
    link_put(l, map, "password", link_node(l, CFG_SCALAR, password));
    link_text(l, map, "obfs-param", arg64(l, &u, "obfsparam"));
    link_text(l, map, "protocol-param", arg64(l, &u, "protoparam"));
    link_true(l, map, "udp", true);
    link_finish(l, map);
    return 0;
}

/* ---- vmess: base64(JSON), or a URL ---- */

static const char *member(struct links *l, const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    char number[32];

    if (json_is_string(v))
        return link_copy(l, json_string_value(v), json_string_length(v));
    if (json_is_boolean(v))
        return json_is_true(v) ? "true" : "";
    if (!json_is_number(v))
        return "";
    snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
             json_is_integer(v) ? json_integer_value(v) : (json_int_t)json_number_value(v));
    return link_copy(l, number, strlen(number));
}

static void put_vmess_tls(struct links *l, struct cfg_node *map, const json_t *j)
{
    bool tls = ends_with(link_lower(l, member(l, j, "tls")), "tls");

    link_true(l, map, "tls", tls);
    link_text(l, map, "servername", member(l, j, "sni"));
    if (!tls)
        return;
    link_list(l, map, "alpn", member(l, j, "alpn"));
    link_text(l, map, "client-fingerprint", member(l, j, "fp"));
    link_true(l, map, "skip-cert-verify",
              is_true(member(l, j, "allowInsecure")) || is_true(member(l, j, "insecure")) || is_true(member(l, j, "skip-cert-verify")));
}

static int read_vmess_json(struct links *l, const json_t *j)
{
    const char *aid = member(l, j, "aid"), *cipher = member(l, j, "scy"), *path = member(l, j, "path");
    struct transport t = { link_lower(l, member(l, j, "net")), path, member(l, j, "host"), path, member(l, j, "type"), "", "", "" };
    struct cfg_node *map = link_begin(l, "vmess", member(l, j, "ps"), member(l, j, "add"), member(l, j, "port"));

    if (!map)
        return -EINVAL;
    link_text(l, map, "uuid", member(l, j, "id"));
    link_text(l, map, "alterId", *aid ? aid : "0");
    link_text(l, map, "cipher", *cipher ? cipher : "auto");
    link_true(l, map, "udp", true);
    link_text(l, map, "packet-encoding", "xudp");
    put_vmess_tls(l, map, j);
    put_transport(l, map, &t);
    link_finish(l, map);
    return 0;
}

int link_read_vmess(struct links *l, const char *s, size_t len)
{
    const char *text = link_unbase64(l, s, strcspn(s, "#") < len ? strcspn(s, "#") : len);
    struct url u;
    json_t *j;
    int r;

    if (!text) {
        link_url(l, s, len, &u);
        return read_v(l, "vmess", &u);
    }
    j = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    r = json_is_object(j) ? read_vmess_json(l, j) : link_bad(l, "bad-value", "vmess: base64 of a JSON object is expected behind vmess://");
    json_decref(j);
    return r;
}
