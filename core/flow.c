/*
 * flow.c - the words for the facts of a flow
 */
#include "core/flow.h"

#include <assert.h>
#include <strings.h>

static const char *const via_name[] = {
    "",      "TUN",   "HTTP",  "HTTPS",  "SOCKS4", "SOCKS5",    "REDIR",  "TPROXY", "TUNNEL", "INNER",       "SHADOWSOCKS",
    "SNELL", "VMESS", "VLESS", "TROJAN", "TUIC",   "HYSTERIA2", "ANYTLS", "MIERU",  "SUDOKU", "TRUSTTUNNEL",
};
static_assert(sizeof(via_name) / sizeof(via_name[0]) == FLOW_N_VIAS, "a word for every way in");

const char *flow_via_name(enum flow_via via)
{
    return via < FLOW_N_VIAS ? via_name[via] : "";
}

const char *flow_in_name(enum flow_via via)
{
    switch (via) {
    case FLOW_VIA_TUN: return "DEFAULT-TUN";
    case FLOW_VIA_HTTP:
    case FLOW_VIA_HTTPS: return "DEFAULT-HTTP";
    case FLOW_VIA_SOCKS4:
    case FLOW_VIA_SOCKS5: return "DEFAULT-SOCKS";
    case FLOW_VIA_REDIR: return "DEFAULT-REDIR";
    case FLOW_VIA_TPROXY: return "DEFAULT-TPROXY";
    default: return NULL;
    }
}

enum flow_via flow_via_parse(const char *word)
{
    for (int i = 1; i < FLOW_N_VIAS; i++)
        if (!strcasecmp(via_name[i], word))
            return (enum flow_via)i;
    return FLOW_VIA_UNKNOWN;
}
