/*
 * anytls.c - AnyTLS nodes: what a profile says about one
 *
 * This build does not speak the protocol: a node loads, is checked, and stays in its groups as unavailable.
 */
#include "outbound/options.h"
#include "outbound/private.h"

struct anytls {
    struct outbound o;
    struct opt_tls tls;
    const char *password;
    int64_t idle_check_s, idle_timeout_s, min_idle; /* of sessions */
};

static const struct cfg_field anytls_fields[] = {
    OUT_SERVER_FIELDS,
    { "password", CFG_SECRET, offsetof(struct anytls, password), CFG_REQUIRED },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "idle-session-check-interval", CFG_INT, offsetof(struct anytls, idle_check_s), .min = 0, .max = 86400, .def = "30" },
    { "idle-session-timeout", CFG_INT, offsetof(struct anytls, idle_timeout_s), .min = 0, .max = 86400, .def = "30" },
    { "min-idle-session", CFG_INT, offsetof(struct anytls, min_idle), .min = 0, .max = 1024 },
    { 0 },
};

static const struct opt_part anytls_parts[] = { { offsetof(struct anytls, tls), opt_tls_always }, { 0 } };

const struct outbound_ops anytls_ops = {
    .type = "anytls",
    .api_type = "AnyTLS",
    .action = OUT_PROXY,
    .fields = anytls_fields,
    .parts = anytls_parts,
    .size = sizeof(struct anytls),
};
