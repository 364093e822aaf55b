/*
 * registry.c - the list of types a profile may name
 *
 * What this build can dial stands first, one line each. The rest are types that profiles use and this build knows by name: such a node loads,
 * is shown as unavailable with the reason, and is left out of groups.
 */
#include <strings.h>

#include "outbound/private.h"

static int not_here(struct outbound *o, const char *path, struct diag *d)
{
    return out_unsupported(o, path, d, "this build does not speak %s", o->ops->type);
}

static const struct outbound_ops *const ours[] = { &direct_ops, &reject_ops, &ss_ops, &socks5_ops };

#define KNOWN(type_, api_type_) \
    { .type = type_, .api_type = api_type_, .action = OUT_PROXY, .size = sizeof(struct outbound), .init = not_here }

static const struct outbound_ops known[] = {
    KNOWN("vmess", "Vmess"),
    KNOWN("vless", "Vless"),
    KNOWN("trojan", "Trojan"),
    KNOWN("hysteria2", "Hysteria2"),
    KNOWN("hysteria", "Hysteria"),
    KNOWN("tuic", "Tuic"),
    KNOWN("wireguard", "WireGuard"),
    KNOWN("anytls", "AnyTLS"),
    KNOWN("http", "Http"),
    KNOWN("ssr", "ShadowsocksR"),
    KNOWN("snell", "Snell"),
    KNOWN("ssh", "Ssh"),
    KNOWN("dns", "Dns"),
    KNOWN("rematch", "Rematch"),
    KNOWN("mieru", "Mieru"),
    KNOWN("sudoku", "Sudoku"),
    KNOWN("masque", "Masque"),
    KNOWN("trusttunnel", "TrustTunnel"),
    KNOWN("gost-relay", "GostRelay"),
    KNOWN("openvpn", "OpenVPN"),
    KNOWN("tailscale", "Tailscale"),
    KNOWN("shadowquic", "ShadowQUIC"),
    KNOWN("zerotier", "ZeroTier"),
};

const struct outbound_ops *registry_find(const char *type)
{
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!strcasecmp(ours[i]->type, type))
            return ours[i];
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (!strcasecmp(known[i].type, type))
            return &known[i];
    return NULL;
}
