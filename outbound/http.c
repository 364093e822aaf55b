/*
 * http.c - HTTP proxies (CONNECT): what a profile says about one
 *
 * This build does not speak the protocol: a node loads, is checked, and stays in its groups as unavailable. It never carries UDP.
 */
#include "outbound/options.h"
#include "outbound/private.h"

struct http {
    struct outbound o;
    struct opt_tls tls;
    struct opt_headers headers; /* they may replace Host and User-Agent */
    const char *user, *password;
};

static const struct cfg_field http_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct http, user) },
    { "password", CFG_SECRET, offsetof(struct http, password) },
    { 0 },
};

static const struct opt_part http_parts[] = {
    { offsetof(struct http, tls), opt_tls_sni },
    { offsetof(struct http, headers), opt_headers },
    { 0 },
};

const struct outbound_ops http_ops = {
    .type = "http",
    .api_type = "Http",
    .action = OUT_PROXY,
    .fields = http_fields,
    .parts = http_parts,
    .size = sizeof(struct http),
};
