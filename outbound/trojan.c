/*
 * trojan.c - Trojan nodes
 *
 *   TLS (and a transport) | hex of SHA-224 of the password, CR LF, command, address, CR LF | bytes
 *
 * The head goes with the client's first bytes; the server sends nothing of its own, so what follows is the destination's. Datagrams are
 * frames in such a stream, one stream per session (pkt_codec.c).
 *
 * A wrong password cannot be seen: the server then is an ordinary web site. An answer in HTTP to something that was none is a strong hint.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "outbound/digest.h"
#include "outbound/headed.h"
#include "outbound/options.h"
#include "outbound/pktstream.h"
#include "outbound/private.h"
#include "outbound/ss.h"
#include "outbound/under.h"

enum { TROJAN_TCP = 1, TROJAN_UDP = 3 };
#define HASH_LEN 56

/* A Shadowsocks layer within the TLS (trojan-go). */
struct trojan_ss {
    bool enabled;
    const char *method, *password;
};

struct trojan {
    struct outbound o;
    struct opt_tls tls;
    struct opt_transport net;
    struct trojan_ss ss;
    struct under under;
    struct ss_key ss_key;
    const char *password;
    char hash[HASH_LEN]; /* what the server knows the password by */
};

static const struct cfg_field trojan_fields[] = {
    OUT_SERVER_FIELDS,
    { "password", CFG_SECRET, offsetof(struct trojan, password), CFG_REQUIRED },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

static const struct cfg_field ss_fields[] = {
    { "enabled", CFG_BOOL, offsetof(struct trojan_ss, enabled) },
    { "method", CFG_STR, offsetof(struct trojan_ss, method), .def = "AES-128-GCM" },
    { "password", CFG_SECRET, offsetof(struct trojan_ss, password) },
    { 0 },
};

static int read_ss(void *member, const struct opt_src *s)
{
    struct trojan_ss *ss = member;
    struct opt_src sub;
    int r = 0;

    if (!opt_sub(s, "ss-opts", &sub, &r) || (r = opt_fields(&sub, ss_fields, ss)) < 0)
        return r;
    return ss->enabled && (!ss->password || !*ss->password) ? opt_missing(&sub, "password") : 0;
}

static const struct opt_part trojan_parts[] = {
    { offsetof(struct trojan, tls), opt_tls_always },
    { offsetof(struct trojan, net), opt_transport_trojan },
    { offsetof(struct trojan, ss), read_ss },
    { 0 },
};

/* ---- what it is to be ---- */

static int hash_password(struct trojan *n)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum[DIGEST_MAX];

    if (digest(DIGEST_SHA224, n->password, strlen(n->password), NULL, 0, sum) < 0)
        return out_unsupported(&n->o, "the library has no SHA-224");
    for (int i = 0; i < HASH_LEN / 2; i++) {
        n->hash[2 * i] = digits[sum[i] >> 4];
        n->hash[2 * i + 1] = digits[sum[i] & 15];
    }
    return 0;
}

static int init_ss(struct trojan *n, const struct opt_src *s)
{
    const struct ss_cipher *c = n->ss.enabled ? ss_cipher_find(n->ss.method) : NULL;

    if (!n->ss.enabled)
        return 0;
    if (!c || c->is_2022 || c->old)
        return opt_bad(s, "ss-opts", "method: it is one of aes-128-gcm, aes-256-gcm, chacha20-ietf-poly1305");
    return ss_key_init(&n->ss_key, c, n->ss.password);
}

static int trojan_init(struct outbound *o, const struct opt_src *s)
{
    static const char *const alpn[] = { "h2", "http/1.1" };
    struct trojan *n = container_of(o, struct trojan, o);
    int r;

    if ((r = hash_password(n)) < 0 || (r = init_ss(n, s)) < 0)
        return r;
    if ((r = under_init(&n->under, o, &n->tls, &n->net, &(struct under_defaults){ .alpn = alpn, .n_alpn = 2 }, s)) < 0)
        ss_key_fini(&n->ss_key);
    return r;
}

static void trojan_fini(struct outbound *o)
{
    struct trojan *n = container_of(o, struct trojan, o);

    under_fini(&n->under);
    ss_key_fini(&n->ss_key);
    OPENSSL_cleanse(n->hash, sizeof(n->hash));
}

/* ---- streams ---- */

static bool is_request(const uint8_t *b, size_t n)
{
    size_t i = 0;

    while (i < n && b[i] >= 'A' && b[i] <= 'Z')
        i++;
    return i >= 3 && (i == n || b[i] == ' ');
}

/* Looks at the first bytes that come, and passes them all on. */
static int look_at_answer(void *arg, const uint8_t *b, size_t n, const uint8_t *first, size_t n_first, size_t *skip)
{
    struct outbound *o = arg;

    if (!n)
        return -STREAM_EOF; /* the server says nothing of its own: the destination hung up */
    if (n < 7 || memcmp(b, "HTTP/1.", 7) != 0) {
        o->answered = true;
    } else if (!is_request(first, n_first)) {
        o->answered = false; /* whatever was, it no longer knows us */
        out_note_error(o, -ERR_AUTH);
    }
    return 1;
}

static int trojan_wrap(struct outbound *o, const struct dial *d, uint8_t command, struct stream *down, struct stream **up)
{
    struct trojan *n = container_of(o, struct trojan, o);
    uint8_t head[HASH_LEN + 2 + 1 + ATYP_MAX + 2], *at = head;
    struct stream *inner = NULL;
    size_t len;
    int r;

    at = (uint8_t *)memcpy(at, n->hash, HASH_LEN) + HASH_LEN;
    at = (uint8_t *)memcpy(at, "\r\n", 2) + 2;
    *at++ = command;
    if (!(len = atyp_put(at, &d->to)))
        return -ERR_NAME;
    at = (uint8_t *)memcpy(at + len, "\r\n", 2) + 2;
    if (n->ss.enabled && !(inner = ss_stream_new(o->env->loop, &n->ss_key, down, NULL, 0, &o->answered)))
        return -ENOMEM;
    r = headed_new(o->env->loop, head, (size_t)(at - head), look_at_answer, o, inner ? inner : down, up);
    OPENSSL_cleanse(head, sizeof(head));
    return r;
}

static int dial(struct outbound *o, struct dial *d, uint8_t command)
{
    return link_dial(o, d, &container_of(o, struct trojan, o)->under, trojan_wrap, command);
}

static int trojan_dial(struct outbound *o, struct dial *d)
{
    return dial(o, d, TROJAN_TCP);
}

static int trojan_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    static const struct pkt_way way = { &pkt_trojan, NULL, dial, link_cancel, TROJAN_UDP };

    return pktstream_open(o, &way, out);
}

const struct outbound_ops trojan_ops = {
    .type = "trojan",
    .api_type = "Trojan",
    .action = OUT_PROXY,
    .fields = trojan_fields,
    .parts = trojan_parts,
    .size = sizeof(struct trojan),
    .init = trojan_init,
    .fini = trojan_fini,
    .dial = trojan_dial,
    .cancel = link_cancel,
    .open_pkt = trojan_open_pkt,
};
