/*
 * vmess.c - VMess nodes: what a profile says about one
 *
 * This build does not speak the protocol: a node loads, is checked, and stays in its groups as unavailable.
 */
#include <errno.h>
#include <string.h>

#include "outbound/options.h"
#include "outbound/private.h"

enum vmess_cipher { VMESS_AUTO, VMESS_AES_128_GCM, VMESS_CHACHA20_POLY1305, VMESS_NONE, VMESS_ZERO };
static const char *const ciphers[] = { "auto", "aes-128-gcm", "chacha20-poly1305", "none", "zero", NULL };

struct vmess {
    struct outbound o;
    struct opt_tls tls;
    struct opt_transport net;
    const char *uuid_text, *packet_encoding;
    uint8_t uuid[16];
    int64_t alter_id; /* 0: AEAD heads */
    int cipher;       /* enum vmess_cipher */
    bool xudp, packet_addr, global_padding, authenticated_length;
};

static const struct cfg_field vmess_fields[] = {
    OUT_SERVER_FIELDS,
    { "uuid", CFG_SECRET, offsetof(struct vmess, uuid_text), CFG_REQUIRED },
    { "alterId", CFG_INT, offsetof(struct vmess, alter_id), CFG_REQUIRED, .min = 0, .max = 65535 },
    { "cipher", CFG_ENUM, offsetof(struct vmess, cipher), CFG_REQUIRED, .names = ciphers },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "packet-encoding", CFG_STR, offsetof(struct vmess, packet_encoding) },
    { "xudp", CFG_BOOL, offsetof(struct vmess, xudp) },
    { "packet-addr", CFG_BOOL, offsetof(struct vmess, packet_addr) },
    { "global-padding", CFG_BOOL, offsetof(struct vmess, global_padding) },
    { "authenticated-length", CFG_BOOL, offsetof(struct vmess, authenticated_length) },
    { 0 },
};

static const struct opt_part vmess_parts[] = {
    { offsetof(struct vmess, tls), opt_tls_servername },
    { offsetof(struct vmess, net), opt_transport_vmess },
    { 0 },
};

static int vmess_init(struct outbound *o, const struct opt_src *s)
{
    struct vmess *v = container_of(o, struct vmess, o);
    const char *enc = v->packet_encoding ? v->packet_encoding : "";

    v->packet_addr = v->packet_addr || !strcmp(enc, "packetaddr") || !strcmp(enc, "packet");
    v->xudp = v->xudp || !strcmp(enc, "xudp");
    v->packet_addr = v->packet_addr && !v->xudp;
    return opt_uuid(v->uuid_text, v->uuid);
}

const struct outbound_ops vmess_ops = {
    .type = "vmess",
    .api_type = "Vmess",
    .action = OUT_PROXY,
    .fields = vmess_fields,
    .parts = vmess_parts,
    .size = sizeof(struct vmess),
    .init = vmess_init,
};
