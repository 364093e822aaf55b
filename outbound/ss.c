/*
 * ss.c - Shadowsocks nodes
 *
 * TCP: connect to the server - through a plugin's disguise, if there is one -, put the layer of ss_stream.c on it; the destination, as a name if
 * there is one, rides with the client's first bytes. UDP: sealed datagrams (ss_pkt.c), or frames in a stream to a magic name (udp-over-tcp). A
 * plugin is for TCP only: datagrams go to the same port as they are.
 *
 * What this build cannot do (rare ciphers, other plugins) makes the node unavailable with the reason; it is never dialled in some other way than
 * the profile says. So it is with the old ciphers, which protect nothing, unless the user wrote the node.
 */
#include "outbound/ss.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "outbound/options.h"
#include "outbound/pktstream.h"
#include "outbound/private.h"
#include "outbound/under.h"

struct ss {
    struct outbound o;
    const char *method, *password;
    struct opt_plugin plugin;
    bool udp_over_tcp, warned;
    int64_t udp_over_tcp_version; /* 1 or 2 */
    struct ss_key key;
    struct under under;
};

static const struct cfg_field ss_fields[] = {
    OUT_SERVER_FIELDS,
    { "cipher", CFG_STR, offsetof(struct ss, method), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct ss, password), CFG_REQUIRED },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { "udp-over-tcp", CFG_BOOL, offsetof(struct ss, udp_over_tcp) },
    { "udp-over-tcp-version", CFG_INT, offsetof(struct ss, udp_over_tcp_version), .min = 0, .max = 2 },
    { 0 },
};

static const struct opt_part ss_parts[] = { { offsetof(struct ss, plugin), opt_plugin }, { 0 } };

/* ---- methods that are known but not ours ---- */

static const char *const others[] = {
    "aes-128-cfb8", "aes-192-cfb8", "aes-256-cfb8", "rc4", "salsa20", "2022-blake3-chacha8-poly1305", "2022-blake3-aes-128-ccm",
    "2022-blake3-aes-256-ccm", "chacha8-ietf-poly1305", "xchacha8-ietf-poly1305", "aes-128-ccm", "aes-192-ccm", "aes-256-ccm", "aes-128-gcm-siv",
    "aes-256-gcm-siv", "lea-128-gcm", "lea-192-gcm", "lea-256-gcm", "rabbit128-poly1305", "aegis-128l", "aegis-256", "aez-384",
    "deoxys-ii-256-128", "ascon-128", "ascon-128a", "ascon128", "ascon128a",
};

/* The names that this build has (and that protect something), and the nearest one that anybody has. */
static int unknown_method(struct ss *n, const struct opt_src *s)
{
    char method[OPT_TEXT_MAX], ours[256] = "";
    const struct ss_cipher *c;
    struct cfg_guess g;
    size_t at = 0;

    cfg_guess_start(&g, s->d, n->method);
    for (size_t i = 0; (c = ss_cipher_at(i)) && at < sizeof(ours); i++) {
        cfg_guess_try(&g, c->name);
        if (!c->old)
            at += (size_t)snprintf(ours + at, sizeof(ours) - at, "%s%s", i ? ", " : "", c->name);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        cfg_guess_try(&g, others[i]);
    return opt_bad(s, "cipher", "unknown cipher \"%s\"; this build has %s%s", opt_quote(n->method, method), ours, cfg_guess_text(&g));
}

static int bad_method(struct ss *n, const struct opt_src *s)
{
    char method[OPT_TEXT_MAX];

    opt_quote(n->method, method);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!strcasecmp(others[i], n->method))
            return out_unsupported(&n->o, "cipher %s: not supported", method);
    return unknown_method(n, s);
}

static int read_key(struct ss *n, const struct ss_cipher *c, const struct opt_src *s)
{
    int r = ss_key_init(&n->key, c, n->password);

    if (r == -EINVAL)
        return opt_bad(s, "password", "password: %s wants a key of %u bytes in base64%s", c->name, aead_get(c->aead)->key_len,
                       c->relays ? " (or several, joined by ':')" : "");
    return r == -ERR_UNSUPPORTED ? out_unsupported(&n->o, "the library has no MD5") : r;
}

/* Only a file of the user's own may ask for what protects nothing. */
static bool is_own(const struct outbound *o)
{
    return !o->provider && o->node && cfg_is_own(o->set->profile, o->node->column);
}

static int ss_init(struct outbound *o, const struct opt_src *s)
{
    struct ss *n = container_of(o, struct ss, o);
    const struct ss_cipher *cipher = ss_cipher_find(n->method);
    int r;

    if (!cipher)
        return bad_method(n, s);
    if (cipher->old && !is_own(o))
        return out_unsupported(o, "cipher %s protects nothing: it is used for nodes in a file of your own only", cipher->name);
    if ((r = read_key(n, cipher, s)) < 0)
        return r;
    o->clocked = cipher->is_2022;
    if ((r = under_init_plugin(&n->under, o, &n->plugin, s)) < 0)
        ss_key_fini(&n->key);
    return r;
}

static void ss_fini(struct outbound *o)
{
    struct ss *n = container_of(o, struct ss, o);

    under_fini(&n->under);
    ss_key_fini(&n->key);
}

/* Said when it is used, once. */
static void warn_of_old(struct ss *n)
{
    char name[OUT_NAME_MAX];

    if (!n->key.cipher->old || n->warned)
        return;
    n->warned = true;
    log_warn(LOG_OUT, "%s: cipher %s: whoever is on the way can %schange what is sent", out_quote(n->o.name, name), n->key.cipher->name,
             n->key.cipher->old == SS_OLD_PLAIN ? "read and " : "");
}

/* ---- TCP ---- */

static int ss_wrap(struct outbound *o, const struct dial *d, uint8_t command, struct stream *down, struct stream **up)
{
    struct ss *s = container_of(o, struct ss, o);
    uint8_t head[ATYP_MAX];
    size_t len = atyp_put(head, &d->to);

    if (!len)
        return -ERR_NAME;
    warn_of_old(s);
    *up = ss_stream_new(o->env->loop, &s->key, down, head, len, &o->answered);
    return *up ? 0 : -ENOMEM;
}

static int dial(struct outbound *o, struct dial *d, uint8_t command)
{
    return link_dial(o, d, &container_of(o, struct ss, o)->under, ss_wrap, command);
}

static int ss_dial(struct outbound *o, struct dial *d)
{
    return dial(o, d, 0);
}

/* ---- UDP ---- */

static const struct pkt_way over_tcp[] = {
    { &pkt_uot1, PKT_UOT1_HOST, dial, link_cancel, 0 },
    { &pkt_uot2, PKT_UOT2_HOST, dial, link_cancel, 0 },
};

static int ss_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    struct ss *n = container_of(o, struct ss, o);

    warn_of_old(n);
    if (n->udp_over_tcp)
        return pktstream_open(o, &over_tcp[n->udp_over_tcp_version == 2], out);
    return ss_pkt_open(o, &n->key, out);
}

const struct outbound_ops ss_ops = {
    .type = "ss", .api_type = "Shadowsocks", .action = OUT_PROXY, .fields = ss_fields, .parts = ss_parts, .size = sizeof(struct ss),
    .init = ss_init, .fini = ss_fini, .dial = ss_dial, .cancel = link_cancel, .open_pkt = ss_open_pkt,
};
