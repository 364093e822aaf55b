/*
 * vmess.c - VMess nodes
 *
 * The head goes with the client's first bytes (vmess_stream.c). Datagrams: a stream for each destination, as the protocol has it; or, where
 * the profile asks for it, XUDP or packetaddr, which carry all of them in one.
 *
 * Heads are AEAD ones in any case: servers have understood them since 2020, and those with alterId 0 know no other.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "outbound/options.h"
#include "outbound/pktstream.h"
#include "outbound/private.h"
#include "outbound/under.h"
#include "outbound/vmess.h"

enum vmess_cipher { CIPHER_AUTO, CIPHER_AES, CIPHER_CHACHA, CIPHER_NONE, CIPHER_ZERO };
static const char *const ciphers[] = { "auto", "aes-128-gcm", "chacha20-poly1305", "none", "zero", NULL };

struct vmess {
    struct outbound o;
    struct opt_tls tls;
    struct opt_transport net;
    struct under under;
    struct vmess_user user;
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
    int r;

    v->packet_addr = v->packet_addr || !strcmp(enc, "packetaddr") || !strcmp(enc, "packet");
    v->xudp = v->xudp || !strcmp(enc, "xudp");
    v->packet_addr = v->packet_addr && !v->xudp;
    if (v->alter_id)
        opt_warn(s, "alterId", "unsupported-key", "alterId: the old heads are not spoken; the node is dialled as with alterId 0");
    if ((r = opt_uuid(v->uuid_text, v->uuid)) < 0)
        return r;
    if (vmess_user_init(&v->user, v->uuid) < 0)
        return out_unsupported(o, "the library has no MD5");
    return under_init(&v->under, o, &v->tls, &v->net, &(struct under_defaults){ .servername_from_ws = true }, s);
}

static void vmess_fini(struct outbound *o)
{
    struct vmess *v = container_of(o, struct vmess, o);

    under_fini(&v->under);
    OPENSSL_cleanse(&v->user, sizeof(v->user));
    OPENSSL_cleanse(v->uuid, sizeof(v->uuid));
}

/* ---- streams ---- */

/* AES where processors have instructions for it. */
static uint8_t security_of(const struct vmess *v)
{
#if defined(__x86_64__) || defined(__aarch64__) || defined(__s390x__)
    const uint8_t native = VMESS_AES;
#else
    const uint8_t native = VMESS_CHACHA;
#endif

    switch (v->cipher) {
    case CIPHER_AUTO: return native;
    case CIPHER_AES: return VMESS_AES;
    case CIPHER_CHACHA: return VMESS_CHACHA;
    default: return VMESS_NONE;
    }
}

/* Without encryption a stream needs no chunks: TLS underneath has its own records. */
static struct vmess_options how_to(const struct vmess *v, uint8_t command)
{
    struct vmess_options how = { security_of(v), VMESS_CHUNKS | VMESS_MASK, command };

    if (how.security == VMESS_NONE)
        how.options = command == VMESS_TCP ? 0 : VMESS_CHUNKS;
    else
        how.options |= (v->global_padding ? VMESS_PADDING : 0) | (v->authenticated_length ? VMESS_AUTH_LENGTH : 0);
    return how;
}

static int vmess_wrap(struct outbound *o, const struct dial *d, uint8_t command, struct stream *down, struct stream **up)
{
    struct vmess *v = container_of(o, struct vmess, o);
    struct vmess_options how = how_to(v, command);

    return vmess_stream_new(o->env->loop, &v->user, &how, &d->to, down, &o->answered, up);
}

static int dial(struct outbound *o, struct dial *d, uint8_t command)
{
    return link_dial(o, d, &container_of(o, struct vmess, o)->under, vmess_wrap, command);
}

static int vmess_dial(struct outbound *o, struct dial *d)
{
    return dial(o, d, VMESS_TCP);
}

static int vmess_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    static const struct pkt_way plain = { &pkt_length, NULL, dial, link_cancel, VMESS_UDP },
                                xudp = { &pkt_xudp, NULL, dial, link_cancel, VMESS_MUX },
                                packetaddr = { &pkt_packetaddr, PKT_ADDR_HOST, dial, link_cancel, VMESS_UDP };
    const struct vmess *v = container_of(o, struct vmess, o);

    return pktstream_open(o, v->xudp ? &xudp : v->packet_addr ? &packetaddr : &plain, out);
}

const struct outbound_ops vmess_ops = {
    .type = "vmess",
    .api_type = "Vmess",
    .action = OUT_PROXY,
    .fields = vmess_fields,
    .parts = vmess_parts,
    .size = sizeof(struct vmess),
    .init = vmess_init,
    .fini = vmess_fini,
    .dial = vmess_dial,
    .cancel = link_cancel,
    .open_pkt = vmess_open_pkt,
};
