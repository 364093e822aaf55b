/*
 * registry.c - the list of types a profile may name
 *
 * One line each. A type without a dial is known and not spoken by this build: its nodes load, are checked, and stay in their groups as
 * unavailable.
 */
#include <strings.h>

#include "outbound/private.h"

static const struct outbound_ops *const types[] = {
    &direct_ops,    &reject_ops,    &ss_ops,         &socks5_ops,      &http_ops,   &vmess_ops,      &vless_ops,
    &trojan_ops,    &anytls_ops,    &hysteria_ops,   &hysteria2_ops,   &tuic_ops,   &ssr_ops,        &snell_ops,
    &ssh_ops,       &wireguard_ops, &mieru_ops,      &sudoku_ops,      &masque_ops, &shadowquic_ops, &openvpn_ops,
    &tailscale_ops, &zerotier_ops,  &gost_relay_ops, &trusttunnel_ops, &dns_ops,    &rematch_ops,
};

const struct outbound_ops *registry_find(const char *type)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcasecmp(types[i]->type, type))
            return types[i];
    return NULL;
}

const char *registry_guess(struct cfg_guess *g, struct diag *d, const char *type)
{
    cfg_guess_start(g, d, type);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        cfg_guess_try(g, types[i]->type);
    return cfg_guess_text(g);
}
