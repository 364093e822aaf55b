/*
 * options.h - what proxy entries of many types say alike: the way to the server, TLS, transports, multiplexing, ss plugins
 *
 * A type lists what it has as parts of its table (outbound_ops.parts): each reads one of the structs below from the entry into a member.
 *
 *     static const struct opt_part parts[] = {
 *         { offsetof(struct trojan, tls), opt_tls_sni }, { offsetof(struct trojan, net), opt_transport_trojan }, { 0 },
 *     };
 *
 * Readers check everything that can be checked without a network: an error in d (positioned at the value, or at the entry for a missing one)
 * makes the entry unusable, a warning does not. Texts and lists live in the profile's document and die with it; keys, pins and ids are
 * decoded already. Format: reference clash-profile section 9; secrets never appear in a message.
 */
#ifndef OUTBOUND_OPTIONS_H
#define OUTBOUND_OPTIONS_H

#include "configs/config.h"

/* ---- reading ---- */

/* A map that is being read, and where its messages go. */
struct opt_src {
    struct cfg_doc *doc;
    const struct cfg_node *map;
    const char *path; /* "proxies[3]" */
    struct diag *d;
};

typedef int opt_read_fn(void *member, const struct opt_src *s); /* 0, or -EINVAL with an error in s->d */
struct opt_part {
    size_t off; /* of the member, from the start of the outbound */
    opt_read_fn *read; /* NULL ends the list */
};

/* Reads a table of fields into out (keys in any letter case, '_' as '-'). 0 or -EINVAL. */
int opt_fields(const struct opt_src *s, const struct cfg_field *fields, void *out);
/* The value under a key, or NULL when it is absent or null. */
const struct cfg_node *opt_find(const struct opt_src *s, const char *key);
/* The map under a key as a source of its own; false when it is absent. Something else than a map there is an error: *r = -EINVAL. */
bool opt_sub(const struct opt_src *s, const char *key, struct opt_src *sub, int *r);
/* Says what is wrong with the value of key ("missing-key": with the map). Returns -EINVAL. */
int opt_bad(const struct opt_src *s, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int opt_missing(const struct opt_src *s, const char *key);
/* Says that the value of key is not obeyed (code: "unsupported-key", "bad-value"), while the entry works. */
void opt_warn(const struct opt_src *s, const char *key, const char *code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ---- values ---- */

/* Text of a value that is no secret, for messages. */
#define OPT_TEXT_MAX 96
const char *opt_quote(const char *text, char buf[OPT_TEXT_MAX]);
/* A UUID; any text that is none becomes UUIDv5 of the nil name space, as the servers' panels do (RFC 9562). 0, or -ENOMEM. */
int opt_uuid(const char *text, uint8_t out[16]);
/* Base64 (any alphabet) of exactly len bytes. */
bool opt_key(const char *text, uint8_t *out, size_t len);
/* Hex digits, colons allowed, at most size bytes: how many, or -1. */
int opt_hex(const char *text, uint8_t *out, size_t size);
/* "30", "30 Mbps", "1 GBps" in bits per second (section 2.6); false when it is none. */
bool opt_bandwidth(const char *text, uint64_t *bps);

/* Ranges: "80,443/8000-9000" (section 2.1). n = 0: everything (empty or "*"). */
struct opt_ranges {
    uint32_t n;
    struct cfg_range v[CFG_RANGES_MAX];
};
bool opt_ranges(const char *text, struct opt_ranges *out);

/* ---- common to every type (9.1) ---- */

enum opt_family { OPT_DUAL, OPT_V4, OPT_V6, OPT_V4_FIRST, OPT_V6_FIRST };
/* 4 or 6: only addresses of that version are of use; 0: either. */
static inline uint8_t opt_only(uint8_t family)
{
    return family == OPT_V4 ? 4 : family == OPT_V6 ? 6 : 0;
}

struct opt_smux {
    bool enabled, padding, statistic, only_tcp, brutal;
    int protocol; /* 0 h2mux, 1 smux, 2 yamux */
    int64_t max_connections, min_streams, max_streams;
    uint64_t brutal_up, brutal_down; /* bits per second */
};

struct opt_common {
    const char *dialer_proxy; /* NULL: none */
    const char *interface_name;
    int64_t routing_mark;
    int family; /* enum opt_family */
    bool tfo, mptcp;
    struct opt_smux smux;
};
opt_read_fn opt_common;

/* ---- TLS (9.2) ---- */

struct opt_tls {
    bool on;                  /* `tls: true`; types that are always TLS set it */
    bool skip_verify;
    const char *name;         /* SNI and name to verify; NULL: not said, the type's default */
    bool has_alpn;            /* the profile says what to offer, maybe nothing (n = 0); else the type's default */
    struct cfg_strs alpn;
    const char *fingerprint;  /* browser to imitate, lower case; NULL: none */
    bool pinned;              /* pin is the SHA-256 of the leaf or an issuer; replaces the verification below it */
    uint8_t pin[32];
    const char *certificate, *private_key; /* of the client: PEM text or path; both or none */
    bool reality, reality_mlkem;
    uint8_t reality_key[32], reality_id[8]; /* id: zero-padded */
    bool ech;
    const uint8_t *ech_config; /* ECHConfigList; NULL: from the HTTPS record of ech_query or of the name */
    size_t ech_len;
    const char *ech_query;
};
opt_read_fn opt_tls_servername; /* vmess, vless: `tls`, `servername` */
opt_read_fn opt_tls_sni;        /* http, socks5: `tls`, `sni` */
opt_read_fn opt_tls_always;     /* trojan, anytls, hysteria2 ...: `sni`, on */

/* ---- transports (9.3) ---- */

enum opt_net { OPT_NET_TCP, OPT_NET_WS, OPT_NET_HTTP, OPT_NET_H2, OPT_NET_GRPC, OPT_NET_XHTTP };
extern const char *const opt_net_names[];

struct opt_header { const char *name; struct cfg_strs values; }; /* at least one value (at: NULL); no control bytes in either */
struct opt_headers { uint32_t n; struct opt_header *v; };
opt_read_fn opt_headers; /* the map under `headers` */
/* The first value of a header (letter case ignored), or NULL. */
const char *opt_header(const struct opt_headers *h, const char *name);

struct opt_ws { /* also httpupgrade */
    const char *path; /* begins with '/'; `ed=` is gone from its query */
    struct opt_headers headers;
    int64_t max_early_data;        /* 0: none */
    const char *early_data_header; /* NULL: early data is appended to the path */
    bool http_upgrade, fast_open;
};
struct opt_http { const char *method; struct cfg_strs paths; struct opt_headers headers; }; /* paths: at least one */
struct opt_h2 { struct cfg_strs hosts; const char *path; };                                  /* hosts: at least one */
struct opt_grpc {
    const char *path; /* of the request: "/NAME/Tun" */
    const char *user_agent;
    int64_t ping_interval_s, max_connections, min_streams, max_streams;
};
struct opt_xhttp {
    const char *path, *host;
    int mode; /* 0 auto, 1 stream-one, 2 stream-up, 3 packet-up */
    struct opt_headers headers;
    const struct cfg_node *node; /* the rest of xhttp-opts, as written */
};

struct opt_transport {
    int kind; /* enum opt_net: the one below that counts */
    struct opt_ws ws;
    struct opt_http http;
    struct opt_h2 h2;
    struct opt_grpc grpc;
    struct opt_xhttp xhttp;
};
/* What ws-opts and the options of the ss plugins have in common: checks the path, takes `ed=` out of it, reads `headers`. 0 or -err. */
int opt_ws_finish(struct opt_ws *w, const struct opt_src *s);
opt_read_fn opt_transport_vmess, opt_transport_vless, opt_transport_trojan; /* they differ in which kinds there are */

/* ---- ss plugins (9.6) ---- */

enum opt_plugin_kind { OPT_NO_PLUGIN, OPT_OBFS, OPT_V2RAY, OPT_GOST, OPT_SHADOW_TLS, OPT_RESTLS, OPT_KCPTUN };
extern const char *const opt_plugin_names[];

struct opt_plugin {
    int kind;     /* enum opt_plugin_kind */
    int mode;     /* obfs: 0 http, 1 tls */
    const char *host;
    struct opt_ws ws;   /* v2ray-plugin, gost-plugin: path, headers, upgrade */
    bool mux;
    struct opt_tls tls; /* v2ray-plugin, gost-plugin, shadow-tls, restls */
    const char *password;
    int64_t version;    /* shadow-tls 1..3; restls 12 or 13 */
    const char *script; /* restls */
    const struct cfg_node *node; /* plugin-opts as written */
};
opt_read_fn opt_plugin; /* keys `plugin` and `plugin-opts` */
/* obfs-opts of snell: the same with shadow-tls as a mode, and OPT_NO_PLUGIN when mode is absent. */
opt_read_fn opt_snell_obfs;

#endif
