/*
 * known_ip.c - node types that are networks of their own, which this build knows and does not speak: wireguard, openvpn, tailscale,
 * zerotier
 *
 * Their options are read and checked, so that a profile's mistakes are found; the nodes stay in their groups as unavailable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base64.h"
#include "outbound/options.h"
#include "outbound/private.h"

/* ---- wireguard ---- */

#define WG_KEY 32

struct wg_peer {
    const char *server;
    uint16_t port;
    const char *public_text, *shared_text;
    uint8_t public_key[WG_KEY], shared_key[WG_KEY];
    bool has_shared;
    struct cfg_cidrs allowed;
    uint8_t reserved[3];
};

struct wireguard {
    struct outbound o;
    const char *private_text, *ip_text, *ip6_text;
    uint8_t private_key[WG_KEY];
    struct cidr ip, ip6; /* with host bits lost; the address itself is in the text */
    uint32_t n_peers;
    struct wg_peer *peers;
    int64_t mtu, keepalive_s, refresh_s, workers;
    bool remote_dns;
    struct cfg_strs dns;
    const struct cfg_node *amnezia;
};

static const struct cfg_field peer_fields[] = {
    { "server", CFG_HOST, offsetof(struct wg_peer, server), CFG_REQUIRED },
    { "port", CFG_PORT, offsetof(struct wg_peer, port), CFG_REQUIRED },
    { "public-key", CFG_STR, offsetof(struct wg_peer, public_text), CFG_REQUIRED },
    { "pre-shared-key", CFG_SECRET, offsetof(struct wg_peer, shared_text) },
    { "allowed-ips", CFG_CIDRS, offsetof(struct wg_peer, allowed) },
    { 0 },
};

static const struct cfg_field wireguard_fields[] = {
    { "private-key", CFG_SECRET, offsetof(struct wireguard, private_text), CFG_REQUIRED },
    { "ip", CFG_STR, offsetof(struct wireguard, ip_text) },
    { "ipv6", CFG_STR, offsetof(struct wireguard, ip6_text) },
    { "mtu", CFG_INT, offsetof(struct wireguard, mtu), .min = 0, .max = 65535, .def = "1408" },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "workers", CFG_INT, offsetof(struct wireguard, workers) },
    { "persistent-keepalive", CFG_INT, offsetof(struct wireguard, keepalive_s), .min = 0, .max = 65535 },
    { "refresh-server-ip-interval", CFG_INT, offsetof(struct wireguard, refresh_s), .min = 0, .max = INT32_MAX },
    { "remote-dns-resolve", CFG_BOOL, offsetof(struct wireguard, remote_dns) },
    { "dns", CFG_STRS, offsetof(struct wireguard, dns) },
    { "amnezia-wg-option", CFG_SUB, offsetof(struct wireguard, amnezia) },
    { 0 },
};

/* Three bytes: [1, 2, 3] or base64. */
static int read_reserved(const struct opt_src *s, uint8_t out[3])
{
    const struct cfg_node *n = opt_find(s, "reserved");
    uint32_t got = 0;

    if (!n || (n->kind == CFG_SCALAR && !n->len) || (n->kind == CFG_SEQ && !n->n))
        return 0;
    if (n->kind == CFG_SCALAR && opt_key(n->text, out, 3))
        return 0;
    for (const struct cfg_node *e = n->kind == CFG_SEQ && n->n == 3 ? n->child : NULL; e; e = e->next) {
        char *end;
        long v = e->kind == CFG_SCALAR ? strtol(e->text, &end, 0) : -1;

        if (e->kind == CFG_SCALAR && e->len && !*end && v >= 0 && v <= 255)
            out[got++] = (uint8_t)v;
    }
    return got == 3 ? 0 : opt_bad(s, "reserved", "reserved: three bytes are expected, [1, 2, 3] or in base64");
}

static int read_peer(const struct opt_src *s, struct wg_peer *p)
{
    if (opt_fields(s, peer_fields, p) < 0)
        return -EINVAL;
    if (!opt_key(p->public_text, p->public_key, WG_KEY))
        return opt_bad(s, "public-key", "public-key: a WireGuard key is 32 bytes in base64");
    p->has_shared = p->shared_text && *p->shared_text;
    if (p->has_shared && !opt_key(p->shared_text, p->shared_key, WG_KEY))
        return opt_bad(s, "pre-shared-key", "pre-shared-key: a WireGuard key is 32 bytes in base64");
    return read_reserved(s, p->reserved);
}

/* `peers`, or the entry itself as the only one. */
static int read_peers(struct wireguard *w, const struct opt_src *s)
{
    const struct cfg_node *list = opt_find(s, "peers");
    struct opt_src one = *s;
    int r = 0;

    if (list && list->kind != CFG_SEQ)
        return opt_bad(s, "peers", "peers: a list is expected here");
    w->n_peers = list && list->n ? list->n : 1;
    if (!(w->peers = cfg_alloc(s->doc, w->n_peers * sizeof(*w->peers))))
        return -ENOMEM;
    if (!list || !list->n)
        return read_peer(s, w->peers);
    one.map = list->child;
    for (uint32_t i = 0; i < w->n_peers && r == 0; i++, one.map = one.map->next) {
        if (one.map->kind != CFG_MAP)
            return opt_bad(s, "peers", "peers: each is a mapping (server, port, public-key)");
        r = read_peer(&one, &w->peers[i]);
    }
    return r;
}

static int read_address(const struct opt_src *s, const char *key, const char *text, int ver, struct cidr *out)
{
    char shown[OPT_TEXT_MAX];

    if (!text || !*text)
        return 0;
    if (cidr_parse(text, out) < 0 || out->ip.ver != ver)
        return opt_bad(s, key, "%s: \"%s\" is no IPv%d address", key, opt_quote(text, shown), ver);
    return 0;
}

static int wireguard_init(struct outbound *o, const struct opt_src *s)
{
    struct wireguard *w = container_of(o, struct wireguard, o);
    int r;

    if (!opt_key(w->private_text, w->private_key, WG_KEY))
        return opt_bad(s, "private-key", "private-key: a WireGuard key is 32 bytes in base64");
    if ((r = read_address(s, "ip", w->ip_text, 4, &w->ip)) < 0 || (r = read_address(s, "ipv6", w->ip6_text, 6, &w->ip6)) < 0)
        return r;
    if (!w->ip.ip.ver && !w->ip6.ip.ver)
        return opt_missing(s, "ip");
    if ((r = read_peers(w, s)) < 0)
        return r;
    o->server = w->peers[0].server;
    o->port = w->peers[0].port;
    return 0;
}

const struct outbound_ops wireguard_ops = {
    .type = "wireguard",
    .api_type = "WireGuard",
    .action = OUT_PROXY,
    .fields = wireguard_fields,
    .size = sizeof(struct wireguard),
    .init = wireguard_init,
};

/* ---- openvpn ---- */

struct openvpn {
    struct outbound o;
    const char *proto, *dev, *cipher, *auth, *ca, *cert, *key, *user, *password;
    int64_t mtu, ping_s, ping_restart_s;
};

static const struct cfg_field openvpn_fields[] = {
    OUT_SERVER_FIELDS,
    { "proto", CFG_STR, offsetof(struct openvpn, proto), .def = "udp" },
    { "dev", CFG_STR, offsetof(struct openvpn, dev), .def = "tun" },
    { "cipher", CFG_STR, offsetof(struct openvpn, cipher) },
    { "auth", CFG_STR, offsetof(struct openvpn, auth) },
    { "ca", CFG_SECRET, offsetof(struct openvpn, ca), CFG_REQUIRED },
    { "cert", CFG_SECRET, offsetof(struct openvpn, cert) },
    { "key", CFG_SECRET, offsetof(struct openvpn, key) },
    { "username", CFG_STR, offsetof(struct openvpn, user) },
    { "password", CFG_SECRET, offsetof(struct openvpn, password) },
    { "mtu", CFG_INT, offsetof(struct openvpn, mtu), .min = 0, .max = 65535 },
    { "ping", CFG_INT, offsetof(struct openvpn, ping_s), .min = 0, .max = 86400 },
    { "ping-restart", CFG_INT, offsetof(struct openvpn, ping_restart_s), .min = 0, .max = 86400 },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

static int openvpn_init(struct outbound *o, const struct opt_src *s)
{
    struct openvpn *v = container_of(o, struct openvpn, o);
    char shown[OPT_TEXT_MAX];

    if (*v->proto && strncmp(v->proto, "udp", 3) != 0 && strncmp(v->proto, "tcp", 3) != 0)
        return opt_bad(s, "proto", "proto: \"%s\" is unknown; it can be udp or tcp", opt_quote(v->proto, shown));
    if (*v->dev && strncmp(v->dev, "tun", 3) != 0)
        return opt_bad(s, "dev", "dev: \"%s\" is not supported; only tun is", opt_quote(v->dev, shown));
    return 0;
}

const struct outbound_ops openvpn_ops = {
    .type = "openvpn",
    .api_type = "OpenVPN",
    .action = OUT_PROXY,
    .fields = openvpn_fields,
    .size = sizeof(struct openvpn),
    .init = openvpn_init,
};

/* ---- tailscale, zerotier: no server of their own ---- */

struct tailnet {
    struct outbound o;
    const char *hostname, *auth_key, *control_url, *state_dir, *exit_node, *network_id;
    bool ephemeral;
};

static const struct cfg_field tailscale_fields[] = {
    { "hostname", CFG_STR, offsetof(struct tailnet, hostname) },
    { "auth-key", CFG_SECRET, offsetof(struct tailnet, auth_key) },
    { "control-url", CFG_STR, offsetof(struct tailnet, control_url) },
    { "state-dir", CFG_STR, offsetof(struct tailnet, state_dir) },
    { "ephemeral", CFG_BOOL, offsetof(struct tailnet, ephemeral) },
    { "exit-node", CFG_STR, offsetof(struct tailnet, exit_node) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

const struct outbound_ops tailscale_ops = {
    .type = "tailscale",
    .api_type = "Tailscale",
    .action = OUT_PROXY,
    .fields = tailscale_fields,
    .size = sizeof(struct tailnet),
};

static const struct cfg_field zerotier_fields[] = {
    { "network-id", CFG_STR, offsetof(struct tailnet, network_id) },
    { "state-dir", CFG_STR, offsetof(struct tailnet, state_dir) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

const struct outbound_ops zerotier_ops = {
    .type = "zerotier",
    .api_type = "ZeroTier",
    .action = OUT_PROXY,
    .fields = zerotier_fields,
    .size = sizeof(struct tailnet),
};
