/*
 * vless.c - VLESS nodes: what a profile says about one
 *
 * This build does not speak the protocol: a node loads, is checked, and stays in its groups as unavailable.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "outbound/options.h"
#include "outbound/private.h"

struct vless {
    struct outbound o;
    struct opt_tls tls;
    struct opt_transport net;
    const char *uuid_text, *flow, *encryption, *packet_encoding;
    uint8_t uuid[16];
    bool vision;    /* flow is xtls-rprx-vision */
    bool encrypted; /* encryption names a key */
    bool xudp, packet_addr;
};

static const struct cfg_field vless_fields[] = {
    OUT_SERVER_FIELDS,
    { "uuid", CFG_SECRET, offsetof(struct vless, uuid_text), CFG_REQUIRED },
    { "flow", CFG_STR, offsetof(struct vless, flow) },
    { "encryption", CFG_SECRET, offsetof(struct vless, encryption) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "packet-encoding", CFG_STR, offsetof(struct vless, packet_encoding) },
    { "xudp", CFG_BOOL, offsetof(struct vless, xudp) },
    { "packet-addr", CFG_BOOL, offsetof(struct vless, packet_addr) },
    { 0 },
};

static const struct opt_part vless_parts[] = {
    { offsetof(struct vless, tls), opt_tls_servername },
    { offsetof(struct vless, net), opt_transport_vless },
    { 0 },
};

/* Texts shorter than a flow's name mean none, as in mihomo; so does any flow over ws. The suffix -udp443 changes nothing for us. */
static int read_flow(struct vless *v, const struct opt_src *s)
{
    static const char vision[] = "xtls-rprx-vision";
    char shown[OPT_TEXT_MAX];

    if (!v->flow || strlen(v->flow) < sizeof(vision) - 1 || v->net.kind == OPT_NET_WS)
        return 0;
    v->vision = !strncmp(v->flow, vision, sizeof(vision) - 1);
    return v->vision ? 0 : opt_bad(s, "flow", "flow: \"%s\" is no longer in use; it can be xtls-rprx-vision", opt_quote(v->flow, shown));
}

static int read_encryption(struct vless *v, const struct opt_src *s)
{
    if (!v->encryption || !*v->encryption || !strcmp(v->encryption, "none"))
        return 0;
    v->encrypted = true;
    if (!strncmp(v->encryption, "mlkem768x25519plus.", 19))
        return 0;
    return opt_bad(s, "encryption", "encryption: it is none, or begins with mlkem768x25519plus.");
}

static int vless_init(struct outbound *o, const struct opt_src *s)
{
    struct vless *v = container_of(o, struct vless, o);
    const char *enc = v->packet_encoding ? v->packet_encoding : "";
    int r;

    if (!strcmp(enc, "packetaddr") || !strcmp(enc, "packet"))
        v->xudp = false;
    else if (!v->packet_addr)
        v->xudp = true; /* unless something else is asked for */
    v->packet_addr = !v->xudp;
    if ((r = read_flow(v, s)) < 0 || (r = read_encryption(v, s)) < 0)
        return r;
    return opt_uuid(v->uuid_text, v->uuid);
}

const struct outbound_ops vless_ops = {
    .type = "vless",
    .api_type = "Vless",
    .action = OUT_PROXY,
    .fields = vless_fields,
    .parts = vless_parts,
    .size = sizeof(struct vless),
    .init = vless_init,
};
