/*
 * trojan.c - Trojan nodes: what a profile says about one
 *
 * This build does not speak the protocol: a node loads, is checked, and stays in its groups as unavailable.
 */
#include <errno.h>

#include "outbound/options.h"
#include "outbound/private.h"

/* A Shadowsocks layer within the TLS (trojan-go). */
struct trojan_ss {
    bool enabled;
    const char *method, *password;
};

struct trojan {
    struct outbound o;
    struct opt_tls tls;
    struct opt_transport net;
    struct trojan_ss ss;
    const char *password;
};

static const struct cfg_field trojan_fields[] = {
    OUT_SERVER_FIELDS,
    { "password", CFG_SECRET, offsetof(struct trojan, password), CFG_REQUIRED },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

static const struct cfg_field ss_fields[] = {
    { "enabled", CFG_BOOL, offsetof(struct trojan_ss, enabled) },
    { "method", CFG_STR, offsetof(struct trojan_ss, method), .def = "AES-128-GCM" },
    { "password", CFG_SECRET, offsetof(struct trojan_ss, password) },
    { 0 },
};

static int read_ss(void *member, const struct opt_src *s)
{
    struct trojan_ss *ss = member;
    struct opt_src sub;
    int r = 0;

    if (!opt_sub(s, "ss-opts", &sub, &r) || (r = opt_fields(&sub, ss_fields, ss)) < 0)
        return r;
    return ss->enabled && (!ss->password || !*ss->password) ? opt_missing(&sub, "password") : 0;
}

static const struct opt_part trojan_parts[] = {
    { offsetof(struct trojan, tls), opt_tls_always },
    { offsetof(struct trojan, net), opt_transport_trojan },
    { offsetof(struct trojan, ss), read_ss },
    { 0 },
};

const struct outbound_ops trojan_ops = {
    .type = "trojan",
    .api_type = "Trojan",
    .action = OUT_PROXY,
    .fields = trojan_fields,
    .parts = trojan_parts,
    .size = sizeof(struct trojan),
};
