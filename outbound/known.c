/*
 * known.c - node types over plain streams that this build knows and does not speak
 *
 * ssr, snell, ssh, mieru, sudoku, trusttunnel, gost-relay, and the two that are no proxies: dns, rematch. Their options are read and
 * checked, so that a profile's mistakes are found; the nodes stay in their groups as unavailable.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "outbound/options.h"
#include "outbound/private.h"

static bool is_one_of(const char *s, const char *const words[])
{
    for (; *words; words++)
        if (!strcasecmp(s, *words))
            return true;
    return false;
}

/* ---- ssr ---- */

struct ssr {
    struct outbound o;
    const char *cipher, *password, *obfs, *obfs_param, *protocol, *protocol_param;
};

static const struct cfg_field ssr_fields[] = {
    OUT_SERVER_FIELDS,
    { "cipher", CFG_STR, offsetof(struct ssr, cipher), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct ssr, password), CFG_REQUIRED },
    { "obfs", CFG_STR, offsetof(struct ssr, obfs), CFG_REQUIRED },
    { "obfs-param", CFG_STR, offsetof(struct ssr, obfs_param) },
    { "protocol", CFG_STR, offsetof(struct ssr, protocol), CFG_REQUIRED },
    { "protocol-param", CFG_SECRET, offsetof(struct ssr, protocol_param) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

static int ssr_init(struct outbound *o, const struct opt_src *s)
{
    static const char *const ciphers[] = { "none",          "dummy",       "rc4-md5",     "aes-128-ctr", "aes-192-ctr",
                                           "aes-256-ctr",   "aes-128-cfb", "aes-192-cfb", "aes-256-cfb", "chacha20",
                                           "chacha20-ietf", "xchacha20",   NULL };
    static const char *const obfses[] = { "plain",       "http_simple",        "http_post",
                                          "random_head", "tls1.2_ticket_auth", "tls1.2_ticket_fastauth",
                                          NULL };
    static const char *const protocols[] = {
        "origin", "auth_sha1_v4", "auth_aes128_md5", "auth_aes128_sha1", "auth_chain_a", "auth_chain_b", NULL
    };
    struct ssr *n = container_of(o, struct ssr, o);
    char shown[OPT_TEXT_MAX];
    struct cfg_guess g;

    if (!is_one_of(n->cipher, ciphers))
        return opt_bad(s, "cipher", "cipher: \"%s\" is no stream cipher of ssr%s", opt_quote(n->cipher, shown),
                       cfg_did_you_mean(&g, s->d, n->cipher, ciphers));
    if (!is_one_of(n->obfs, obfses))
        return opt_bad(s, "obfs", "obfs: \"%s\" is unknown%s", opt_quote(n->obfs, shown), cfg_did_you_mean(&g, s->d, n->obfs, obfses));
    if (!is_one_of(n->protocol, protocols))
        return opt_bad(s, "protocol", "protocol: \"%s\" is unknown%s", opt_quote(n->protocol, shown),
                       cfg_did_you_mean(&g, s->d, n->protocol, protocols));
    return 0;
}

const struct outbound_ops ssr_ops = {
    .type = "ssr",
    .api_type = "ShadowsocksR",
    .action = OUT_PROXY,
    .fields = ssr_fields,
    .size = sizeof(struct ssr),
    .init = ssr_init,
};

/* ---- snell ---- */

struct snell {
    struct outbound o;
    const char *psk;
    int64_t version;
    bool reuse;
    struct opt_plugin obfs;
};

static const struct cfg_field snell_fields[] = {
    OUT_SERVER_FIELDS,
    { "psk", CFG_SECRET, offsetof(struct snell, psk), CFG_REQUIRED },
    { "version", CFG_INT, offsetof(struct snell, version), .min = 0, .max = 5 },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "reuse", CFG_BOOL, offsetof(struct snell, reuse) },
    { 0 },
};

static const struct opt_part snell_parts[] = { { offsetof(struct snell, obfs), opt_snell_obfs }, { 0 } };

static int snell_init(struct outbound *o, const struct opt_src *s)
{
    struct snell *n = container_of(o, struct snell, o);

    if (!n->version)
        n->version = 1;
    if (o->udp && n->version < 3)
        return opt_bad(s, "udp", "udp: snell version %d carries no UDP", (int)n->version);
    return 0;
}

const struct outbound_ops snell_ops = {
    .type = "snell",
    .api_type = "Snell",
    .action = OUT_PROXY,
    .fields = snell_fields,
    .parts = snell_parts,
    .size = sizeof(struct snell),
    .init = snell_init,
};

/* ---- ssh ---- */

struct ssh {
    struct outbound o;
    const char *user, *password, *private_key, *passphrase;
    struct cfg_strs host_keys, algorithms;
};

static const struct cfg_field ssh_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct ssh, user), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct ssh, password) },
    { "private-key", CFG_SECRET, offsetof(struct ssh, private_key) },
    { "private-key-passphrase", CFG_SECRET, offsetof(struct ssh, passphrase) },
    { "host-key", CFG_STRS, offsetof(struct ssh, host_keys) },
    { "host-key-algorithms", CFG_STRS, offsetof(struct ssh, algorithms) },
    { 0 },
};

const struct outbound_ops ssh_ops = {
    .type = "ssh",
    .api_type = "Ssh",
    .action = OUT_PROXY,
    .fields = ssh_fields,
    .size = sizeof(struct ssh),
};

/* ---- mieru ---- */

struct mieru {
    struct outbound o;
    const char *port_range, *transport, *user, *password, *multiplexing, *handshake, *pattern;
};

static const struct cfg_field mieru_fields[] = {
    { "server", CFG_HOST, offsetof(struct outbound, server), CFG_REQUIRED },
    { "port", CFG_PORT, offsetof(struct outbound, port) },
    { "port-range", CFG_STR, offsetof(struct mieru, port_range) },
    { "transport", CFG_STR, offsetof(struct mieru, transport), CFG_REQUIRED },
    { "username", CFG_STR, offsetof(struct mieru, user), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct mieru, password), CFG_REQUIRED },
    { "multiplexing", CFG_STR, offsetof(struct mieru, multiplexing) },
    { "handshake-mode", CFG_STR, offsetof(struct mieru, handshake) },
    { "traffic-pattern", CFG_STR, offsetof(struct mieru, pattern) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

static int mieru_init(struct outbound *o, const struct opt_src *s)
{
    struct mieru *m = container_of(o, struct mieru, o);
    char shown[OPT_TEXT_MAX];
    struct opt_ranges ports;

    if (strcmp(m->transport, "TCP") != 0 && strcmp(m->transport, "UDP") != 0)
        return opt_bad(s, "transport", "transport: \"%s\" is unknown; it can be TCP or UDP", opt_quote(m->transport, shown));
    if (!o->port && (!m->port_range || !*m->port_range))
        return opt_missing(s, "port");
    if (m->port_range && *m->port_range && (!opt_ranges(m->port_range, &ports) || ports.n != 1 || !ports.v[0].lo))
        return opt_bad(s, "port-range", "port-range: \"%s\" is no range of ports (2000-3000)", opt_quote(m->port_range, shown));
    if (o->port && m->port_range && *m->port_range)
        return opt_bad(s, "port-range", "port-range: port and port-range exclude each other");
    return 0;
}

const struct outbound_ops mieru_ops = {
    .type = "mieru",
    .api_type = "Mieru",
    .action = OUT_PROXY,
    .fields = mieru_fields,
    .size = sizeof(struct mieru),
    .init = mieru_init,
};

/* ---- sudoku ---- */

struct sudoku {
    struct outbound o;
    const char *key, *aead, *table;
    int64_t padding_min, padding_max;
};

static const struct cfg_field sudoku_fields[] = {
    OUT_SERVER_FIELDS,
    { "key", CFG_SECRET, offsetof(struct sudoku, key), CFG_REQUIRED },
    { "aead-method", CFG_STR, offsetof(struct sudoku, aead) },
    { "table-type", CFG_STR, offsetof(struct sudoku, table) },
    { "padding-min", CFG_INT, offsetof(struct sudoku, padding_min), .min = 0, .max = 100 },
    { "padding-max", CFG_INT, offsetof(struct sudoku, padding_max), .min = 0, .max = 100 },
    { 0 },
};

static int sudoku_init(struct outbound *o, const struct opt_src *s)
{
    static const char *const tables[] = { "", "prefer_ascii", "prefer_entropy", "up_ascii_down_entropy", "up_entropy_down_ascii", NULL };
    struct sudoku *n = container_of(o, struct sudoku, o);
    char shown[OPT_TEXT_MAX];

    o->udp = true;
    if (n->table && !is_one_of(n->table, tables))
        return opt_bad(s, "table-type", "table-type: \"%s\" is unknown", opt_quote(n->table, shown));
    return *n->key ? 0 : opt_bad(s, "key", "key: it is empty");
}

const struct outbound_ops sudoku_ops = {
    .type = "sudoku",
    .api_type = "Sudoku",
    .action = OUT_PROXY,
    .fields = sudoku_fields,
    .size = sizeof(struct sudoku),
    .init = sudoku_init,
};

/* ---- trusttunnel, gost-relay ---- */

struct tunnel {
    struct outbound o;
    struct opt_tls tls;
    const char *user, *password;
    bool forward, mux, quic, health_check;
};

static const struct cfg_field trusttunnel_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct tunnel, user) },
    { "password", CFG_SECRET, offsetof(struct tunnel, password) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "quic", CFG_BOOL, offsetof(struct tunnel, quic) },
    { "health-check", CFG_BOOL, offsetof(struct tunnel, health_check) },
    { 0 },
};

static const struct opt_part trusttunnel_parts[] = { { offsetof(struct tunnel, tls), opt_tls_always }, { 0 } };

const struct outbound_ops trusttunnel_ops = {
    .type = "trusttunnel",
    .api_type = "TrustTunnel",
    .action = OUT_PROXY,
    .fields = trusttunnel_fields,
    .parts = trusttunnel_parts,
    .size = sizeof(struct tunnel),
};

static const struct cfg_field gost_relay_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct tunnel, user) },
    { "password", CFG_SECRET, offsetof(struct tunnel, password) },
    { "forward", CFG_BOOL, offsetof(struct tunnel, forward) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "mux", CFG_BOOL, offsetof(struct tunnel, mux) },
    { 0 },
};

static const struct opt_part gost_relay_parts[] = { { offsetof(struct tunnel, tls), opt_tls_sni }, { 0 } };

const struct outbound_ops gost_relay_ops = {
    .type = "gost-relay",
    .api_type = "GostRelay",
    .action = OUT_PROXY,
    .fields = gost_relay_fields,
    .parts = gost_relay_parts,
    .size = sizeof(struct tunnel),
};

/* ---- dns, rematch: no proxies ---- */

static int dns_init(struct outbound *o, const struct opt_src *s)
{
    o->udp = true;
    return out_unsupported(o, "this build cannot hand flows to its resolver");
}

const struct outbound_ops dns_ops = {
    .type = "dns",
    .api_type = "Dns",
    .action = OUT_PROXY,
    .size = sizeof(struct outbound),
    .init = dns_init,
};

struct rematch {
    struct outbound o;
    const char *name, *sub_rule;
};

static const struct cfg_field rematch_fields[] = {
    { "target-rematch-name", CFG_STR, offsetof(struct rematch, name) },
    { "target-sub-rule", CFG_STR, offsetof(struct rematch, sub_rule) },
    { 0 },
};

static int rematch_init(struct outbound *o, const struct opt_src *s)
{
    struct rematch *m = container_of(o, struct rematch, o);

    o->udp = true;
    if ((!m->name || !*m->name) && (!m->sub_rule || !*m->sub_rule))
        return opt_missing(s, "target-rematch-name");
    return out_unsupported(o, "this build does not match a flow twice");
}

const struct outbound_ops rematch_ops = {
    .type = "rematch",
    .api_type = "Rematch",
    .action = OUT_PROXY,
    .fields = rematch_fields,
    .size = sizeof(struct rematch),
    .init = rematch_init,
};
