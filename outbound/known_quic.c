/*
 * known_quic.c - node types over QUIC that this build knows and does not speak: hysteria, hysteria2, tuic, shadowquic, masque
 *
 * Their options are read and checked, so that a profile's mistakes are found; the nodes stay in their groups as unavailable. They carry UDP
 * by nature.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "outbound/options.h"
#include "outbound/private.h"

/* ---- what they share ---- */

struct hop {
    const char *ports_text, *interval;
    struct opt_ranges ports;
};

static const struct cfg_field hop_fields[] = {
    { "ports", CFG_STR, offsetof(struct hop, ports_text) },
    { "hop-interval", CFG_STR, offsetof(struct hop, interval) },
    { 0 },
};

/* Seconds: "30" or "15-30". */
static bool good_interval(const char *text)
{
    struct opt_ranges r;

    return opt_ranges(text, &r) && r.n <= 1;
}

static int read_hop(void *member, const struct opt_src *s)
{
    struct hop *h = member;
    char shown[OPT_TEXT_MAX];
    int r = opt_fields(s, hop_fields, h);

    if (r == 0 && h->ports_text && !opt_ranges(h->ports_text, &h->ports))
        r = opt_bad(s, "ports", "ports: \"%s\" is no list of ports and ranges (443,5000-6000)", opt_quote(h->ports_text, shown));
    if (r == 0 && h->interval && !good_interval(h->interval))
        r = opt_bad(s, "hop-interval", "hop-interval: \"%s\" is no number of seconds or range of them", opt_quote(h->interval, shown));
    return r;
}

struct rate {
    const char *up_text, *down_text;
    uint64_t up, down; /* bits per second; 0: not said */
};

static const struct cfg_field rate_fields[] = {
    { "up", CFG_STR, offsetof(struct rate, up_text) },
    { "down", CFG_STR, offsetof(struct rate, down_text) },
    { 0 },
};

static void read_one_rate(const struct opt_src *s, const char *key, const char *text, uint64_t *out)
{
    char shown[OPT_TEXT_MAX];

    if (text && *text && !opt_bandwidth(text, out))
        opt_warn(s, key, "bad-value", "%s: \"%s\" is no rate (100 Mbps); it is taken as unknown", key, opt_quote(text, shown));
}

static int read_rate(void *member, const struct opt_src *s)
{
    struct rate *rate = member;

    if (opt_fields(s, rate_fields, rate) < 0)
        return -EINVAL;
    read_one_rate(s, "up", rate->up_text, &rate->up);
    read_one_rate(s, "down", rate->down_text, &rate->down);
    return 0;
}

/* A port, or ranges to hop in. */
static int need_port(const struct outbound *o, const struct hop *h, const struct opt_src *s)
{
    return o->port || h->ports.n ? 0 : opt_missing(s, "port");
}

/* ---- hysteria2 ---- */

struct hysteria2 {
    struct outbound o;
    struct opt_tls tls;
    struct hop hop;
    struct rate rate;
    const char *password, *obfs, *obfs_password;
    const struct cfg_node *realm;
    int64_t udp_mtu, cwnd;
};

static const struct cfg_field hysteria2_fields[] = {
    { "server", CFG_HOST, offsetof(struct outbound, server), CFG_REQUIRED },
    { "port", CFG_PORT, offsetof(struct outbound, port) },
    { "password", CFG_SECRET, offsetof(struct hysteria2, password) },
    { "obfs", CFG_STR, offsetof(struct hysteria2, obfs) },
    { "obfs-password", CFG_SECRET, offsetof(struct hysteria2, obfs_password) },
    { "udp-mtu", CFG_INT, offsetof(struct hysteria2, udp_mtu), .min = 0, .max = 65535 },
    { "cwnd", CFG_INT, offsetof(struct hysteria2, cwnd), .min = 0, .max = INT32_MAX },
    { "realm-opts", CFG_SUB, offsetof(struct hysteria2, realm) },
    { 0 },
};

static const struct opt_part hysteria2_parts[] = {
    { offsetof(struct hysteria2, tls), opt_tls_always },
    { offsetof(struct hysteria2, hop), read_hop },
    { offsetof(struct hysteria2, rate), read_rate },
    { 0 },
};

static int hysteria2_init(struct outbound *o, const struct opt_src *s)
{
    struct hysteria2 *h = container_of(o, struct hysteria2, o);
    char shown[OPT_TEXT_MAX];

    o->udp = true;
    if (h->obfs && *h->obfs) {
        if (!h->obfs_password || !*h->obfs_password)
            return opt_missing(s, "obfs-password");
        if (strcmp(h->obfs, "salamander") != 0 && strcmp(h->obfs, "gecko") != 0)
            return opt_bad(s, "obfs", "obfs: \"%s\" is unknown; it can be salamander or gecko", opt_quote(h->obfs, shown));
    }
    return need_port(o, &h->hop, s);
}

const struct outbound_ops hysteria2_ops = {
    .type = "hysteria2",
    .api_type = "Hysteria2",
    .action = OUT_PROXY,
    .fields = hysteria2_fields,
    .parts = hysteria2_parts,
    .size = sizeof(struct hysteria2),
    .init = hysteria2_init,
};

/* ---- hysteria ---- */

struct hysteria {
    struct outbound o;
    struct opt_tls tls;
    struct hop hop;
    const char *auth, *auth_str, *up_text, *down_text, *protocol, *obfs;
    uint64_t up, down;
    int64_t up_speed, down_speed; /* Mbps, as another client spells it */
};

static const struct cfg_field hysteria_fields[] = {
    { "server", CFG_HOST, offsetof(struct outbound, server), CFG_REQUIRED },
    { "port", CFG_PORT, offsetof(struct outbound, port) },
    { "auth", CFG_SECRET, offsetof(struct hysteria, auth) },
    { "auth-str", CFG_SECRET, offsetof(struct hysteria, auth_str) },
    { "up", CFG_STR, offsetof(struct hysteria, up_text), CFG_REQUIRED },
    { "down", CFG_STR, offsetof(struct hysteria, down_text), CFG_REQUIRED },
    { "up-speed", CFG_INT, offsetof(struct hysteria, up_speed), .min = 0, .max = INT32_MAX },
    { "down-speed", CFG_INT, offsetof(struct hysteria, down_speed), .min = 0, .max = INT32_MAX },
    { "protocol", CFG_STR, offsetof(struct hysteria, protocol), .def = "udp" },
    { "obfs-protocol", CFG_STR, offsetof(struct hysteria, protocol) },
    { "obfs", CFG_SECRET, offsetof(struct hysteria, obfs) },
    { 0 },
};

static const struct opt_part hysteria_parts[] = {
    { offsetof(struct hysteria, tls), opt_tls_always },
    { offsetof(struct hysteria, hop), read_hop },
    { 0 },
};

static int hysteria_init(struct outbound *o, const struct opt_src *s)
{
    struct hysteria *h = container_of(o, struct hysteria, o);
    char shown[OPT_TEXT_MAX];

    o->udp = true;
    if (!opt_bandwidth(h->up_text, &h->up) || !h->up)
        return opt_bad(s, "up", "up: \"%s\" is no rate (100 Mbps)", opt_quote(h->up_text, shown));
    if (!opt_bandwidth(h->down_text, &h->down) || !h->down)
        return opt_bad(s, "down", "down: \"%s\" is no rate (100 Mbps)", opt_quote(h->down_text, shown));
    if (*h->protocol && strcmp(h->protocol, "udp") != 0 && strcmp(h->protocol, "wechat-video") != 0 && strcmp(h->protocol, "faketcp") != 0)
        return opt_bad(s, "protocol", "protocol: \"%s\" is unknown; it can be udp, wechat-video, faketcp", opt_quote(h->protocol, shown));
    return need_port(o, &h->hop, s);
}

const struct outbound_ops hysteria_ops = {
    .type = "hysteria",
    .api_type = "Hysteria",
    .action = OUT_PROXY,
    .fields = hysteria_fields,
    .parts = hysteria_parts,
    .size = sizeof(struct hysteria),
    .init = hysteria_init,
};

/* ---- tuic ---- */

struct tuic {
    struct outbound o;
    struct opt_tls tls;
    const char *token, *uuid_text, *password, *ip, *udp_relay_mode, *congestion;
    uint8_t uuid[16];
    int64_t heartbeat_ms, request_timeout_ms, max_packet, max_streams, over_stream_version;
    bool reduce_rtt, disable_sni, fast_open, over_stream;
};

static const struct cfg_field tuic_fields[] = {
    OUT_SERVER_FIELDS,
    { "token", CFG_SECRET, offsetof(struct tuic, token) },
    { "uuid", CFG_SECRET, offsetof(struct tuic, uuid_text) },
    { "password", CFG_SECRET, offsetof(struct tuic, password) },
    { "ip", CFG_STR, offsetof(struct tuic, ip) },
    { "heartbeat-interval", CFG_INT, offsetof(struct tuic, heartbeat_ms), .def = "10000" },
    { "request-timeout", CFG_INT, offsetof(struct tuic, request_timeout_ms), .def = "8000" },
    { "udp-relay-mode", CFG_STR, offsetof(struct tuic, udp_relay_mode), .def = "native" },
    { "congestion-controller", CFG_STR, offsetof(struct tuic, congestion) },
    { "max-udp-relay-packet-size", CFG_INT, offsetof(struct tuic, max_packet), .def = "1252" },
    { "max-open-streams", CFG_INT, offsetof(struct tuic, max_streams), .def = "100" },
    { "reduce-rtt", CFG_BOOL, offsetof(struct tuic, reduce_rtt) },
    { "disable-sni", CFG_BOOL, offsetof(struct tuic, disable_sni) },
    { "fast-open", CFG_BOOL, offsetof(struct tuic, fast_open) },
    { "udp-over-stream", CFG_BOOL, offsetof(struct tuic, over_stream) },
    { "udp-over-stream-version", CFG_INT, offsetof(struct tuic, over_stream_version), .min = 0, .max = 2 },
    { 0 },
};

static const struct opt_part tuic_parts[] = { { offsetof(struct tuic, tls), opt_tls_always }, { 0 } };

static int tuic_init(struct outbound *o, const struct opt_src *s)
{
    struct tuic *t = container_of(o, struct tuic, o);
    char shown[OPT_TEXT_MAX];
    struct addr ip;

    o->udp = true;
    if (t->ip && *t->ip && addr_parse(t->ip, &ip) < 0)
        return opt_bad(s, "ip", "ip: \"%s\" is no address", opt_quote(t->ip, shown));
    if (t->token && *t->token)
        return 0; /* version 4 */
    if (!t->uuid_text || !*t->uuid_text)
        return opt_missing(s, "uuid");
    if (!t->password)
        return opt_missing(s, "password");
    return opt_uuid(t->uuid_text, t->uuid);
}

const struct outbound_ops tuic_ops = {
    .type = "tuic",
    .api_type = "Tuic",
    .action = OUT_PROXY,
    .fields = tuic_fields,
    .parts = tuic_parts,
    .size = sizeof(struct tuic),
    .init = tuic_init,
};

/* ---- shadowquic ---- */

struct shadowquic {
    struct outbound o;
    struct opt_tls tls;
    struct rate rate;
    const char *user, *password, *congestion;
    struct cfg_strs versions;
    bool over_stream, zero_rtt;
};

static const struct cfg_field shadowquic_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct shadowquic, user) },
    { "password", CFG_SECRET, offsetof(struct shadowquic, password) },
    { "congestion-controller", CFG_STR, offsetof(struct shadowquic, congestion) },
    { "quic-versions", CFG_STRS, offsetof(struct shadowquic, versions) },
    { "udp-over-stream", CFG_BOOL, offsetof(struct shadowquic, over_stream) },
    { "zero-rtt", CFG_BOOL, offsetof(struct shadowquic, zero_rtt) },
    { 0 },
};

static const struct opt_part shadowquic_parts[] = {
    { offsetof(struct shadowquic, tls), opt_tls_always },
    { offsetof(struct shadowquic, rate), read_rate },
    { 0 },
};

static int shadowquic_init(struct outbound *o, const struct opt_src *s)
{
    o->udp = true;
    return 0;
}

const struct outbound_ops shadowquic_ops = {
    .type = "shadowquic",
    .api_type = "ShadowQuic",
    .action = OUT_PROXY,
    .fields = shadowquic_fields,
    .parts = shadowquic_parts,
    .size = sizeof(struct shadowquic),
    .init = shadowquic_init,
};

/* ---- masque ---- */

struct masque {
    struct outbound o;
    const char *private_key, *public_key, *ip, *ipv6, *uri, *sni, *network;
    int64_t mtu;
    bool skip_verify, remote_dns;
    struct cfg_strs dns;
};

static const struct cfg_field masque_fields[] = {
    OUT_SERVER_FIELDS,
    { "private-key", CFG_SECRET, offsetof(struct masque, private_key), CFG_REQUIRED },
    { "public-key", CFG_STR, offsetof(struct masque, public_key), CFG_REQUIRED },
    { "ip", CFG_STR, offsetof(struct masque, ip) },
    { "ipv6", CFG_STR, offsetof(struct masque, ipv6) },
    { "uri", CFG_STR, offsetof(struct masque, uri) },
    { "sni", CFG_STR, offsetof(struct masque, sni) },
    { "network", CFG_STR, offsetof(struct masque, network) },
    { "mtu", CFG_INT, offsetof(struct masque, mtu), .min = 0, .max = 65535 },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "skip-cert-verify", CFG_BOOL, offsetof(struct masque, skip_verify) },
    { "remote-dns-resolve", CFG_BOOL, offsetof(struct masque, remote_dns) },
    { "dns", CFG_STRS, offsetof(struct masque, dns) },
    { 0 },
};

const struct outbound_ops masque_ops = {
    .type = "masque",
    .api_type = "Masque",
    .action = OUT_PROXY,
    .fields = masque_fields,
    .size = sizeof(struct masque),
};
