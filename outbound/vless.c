/*
 * vless.c - VLESS nodes
 *
 *   ──► 00 | uuid 16 | length of addons 0 | command | port, address | bytes          ◄── 00 | length of addons, addons | bytes
 *
 * No encryption of its own: that is what TLS underneath is for. The head goes with the client's first bytes, the server's with its own.
 * Datagrams go as XUDP; as packetaddr where the profile asks for it; or (packet-encoding: none, for servers that know neither) as the protocol
 * itself has it, in a stream for each destination.
 *
 * What this build does not do - XTLS Vision, REALITY, VLESS encryption - makes a node unavailable, with the reason.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "outbound/headed.h"
#include "outbound/options.h"
#include "outbound/pktstream.h"
#include "outbound/private.h"
#include "outbound/under.h"
#include "outbound/vmess.h"

struct vless {
    struct outbound o;
    struct opt_tls tls;
    struct opt_transport net;
    struct under under;
    const char *uuid_text, *flow, *encryption, *packet_encoding;
    uint8_t uuid[16];
    bool vision;    /* flow is xtls-rprx-vision */
    bool encrypted; /* encryption names a key */
    bool xudp, packet_addr; /* neither: a stream for each destination */
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

    v->packet_addr = (v->packet_addr && !v->xudp) || !strcmp(enc, "packetaddr") || !strcmp(enc, "packet");
    v->xudp = !v->packet_addr && strcmp(enc, "none") != 0;
    if ((r = read_flow(v, s)) < 0 || (r = read_encryption(v, s)) < 0 || (r = opt_uuid(v->uuid_text, v->uuid)) < 0)
        return r;
    if (v->encrypted)
        return out_unsupported(o, "encryption of VLESS is not supported");
    if (v->vision)
        return out_unsupported(o, "flow xtls-rprx-vision is not supported");
    return under_init(&v->under, o, &v->tls, &v->net, &(struct under_defaults){ .servername_from_ws = true }, s);
}

static void vless_fini(struct outbound *o)
{
    struct vless *v = container_of(o, struct vless, o);

    under_fini(&v->under);
    OPENSSL_cleanse(v->uuid, sizeof(v->uuid));
}

/* ---- streams ---- */

static int read_answer(void *arg, const uint8_t *b, size_t n, const uint8_t *first, size_t n_first, size_t *skip)
{
    struct outbound *o = arg;

    if (!n)
        return -ERR_EARLY;
    if (b[0] != 0)
        return -ERR_PROTO;
    if (n < 2 || n < 2u + b[1])
        return 0;
    o->answered = true;
    *skip = 2u + b[1];
    return 1;
}

static int vless_wrap(struct outbound *o, const struct dial *d, uint8_t command, struct stream *down, struct stream **up)
{
    struct vless *v = container_of(o, struct vless, o);
    uint8_t head[1 + 16 + 1 + 1 + VMESS_ADDR_MAX] = { 0 };
    size_t len = 0;
    int r;

    memcpy(head + 1, v->uuid, 16);
    head[18] = command;
    if (command != VMESS_MUX && !(len = vmess_put_addr(head + 19, &d->to)))
        return -ERR_NAME;
    r = headed_new(o->env->loop, head, 19 + len, read_answer, o, down, up);
    OPENSSL_cleanse(head, sizeof(head));
    return r;
}

static int dial(struct outbound *o, struct dial *d, uint8_t command)
{
    return link_dial(o, d, &container_of(o, struct vless, o)->under, vless_wrap, command);
}

static int vless_dial(struct outbound *o, struct dial *d)
{
    return dial(o, d, VMESS_TCP);
}

static int vless_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    static const struct pkt_way xudp = { &pkt_xudp, NULL, dial, link_cancel, VMESS_MUX },
                                packetaddr = { &pkt_packetaddr, PKT_ADDR_HOST, dial, link_cancel, VMESS_UDP },
                                plain = { &pkt_length, NULL, dial, link_cancel, VMESS_UDP };
    struct vless *v = container_of(o, struct vless, o);

    return pktstream_open(o, v->xudp ? &xudp : v->packet_addr ? &packetaddr : &plain, out);
}

const struct outbound_ops vless_ops = {
    .type = "vless",
    .api_type = "Vless",
    .action = OUT_PROXY,
    .fields = vless_fields,
    .parts = vless_parts,
    .size = sizeof(struct vless),
    .init = vless_init,
    .fini = vless_fini,
    .dial = vless_dial,
    .cancel = link_cancel,
    .open_pkt = vless_open_pkt,
};
