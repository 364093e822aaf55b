/*
 * ss.c - Shadowsocks nodes (AEAD methods)
 *
 * TCP: connect to the server, put the layer of ss_stream.c on it; the destination, as a name if there is one, rides with the client's first
 * bytes. UDP: one socket per session, so the server sees one port for all destinations of a source and may forward anybody's answers (full
 * cone); every datagram is sealed on its own (ss_udp.c). Replies that do not open are dropped and counted.
 *
 * What this build cannot do (the 2022 edition, stream ciphers, plugins) makes the node unavailable with the reason; it is never dialled in some
 * other way than the profile says.
 *
 * Memory: a TCP flow is one ss_stream; a UDP session this struct, with a bounded queue while the server's name is looked up.
 */
#include "outbound/ss.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base64.h"
#include "core/hash.h"
#include "core/pool.h"
#include "outbound/options.h"
#include "outbound/private.h"
#include "outbound/server_udp.h"

struct ss {
    struct outbound o;
    const char *method, *password;
    struct opt_plugin plugin;
    bool udp_over_tcp;
    int64_t udp_over_tcp_version; /* 1 or 2 */
    struct ss_key key;
    uint64_t n_bad; /* datagrams that did not open */
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

static const char stream[] = "stream ciphers authenticate nothing: refused", plain[] = "it does not encrypt: refused", rare[] = "not supported";

static const struct other_method {
    const char *name, *why;
} others[] = {
    { "none", plain },
    { "dummy", plain },
    { "plain", plain },
    { "aes-128-ctr", stream },
    { "aes-192-ctr", stream },
    { "aes-256-ctr", stream },
    { "aes-128-cfb", stream },
    { "aes-192-cfb", stream },
    { "aes-256-cfb", stream },
    { "aes-128-cfb8", stream },
    { "aes-192-cfb8", stream },
    { "aes-256-cfb8", stream },
    { "rc4", stream },
    { "rc4-md5", stream },
    { "chacha20", stream },
    { "chacha20-ietf", stream },
    { "xchacha20", stream },
    { "salsa20", stream },
    { "xchacha20-ietf-poly1305", rare },
    { "chacha8-ietf-poly1305", rare },
    { "xchacha8-ietf-poly1305", rare },
    { "aes-128-ccm", rare },
    { "aes-192-ccm", rare },
    { "aes-256-ccm", rare },
    { "aes-128-gcm-siv", rare },
    { "aes-256-gcm-siv", rare },
    { "lea-128-gcm", rare },
    { "lea-192-gcm", rare },
    { "lea-256-gcm", rare },
    { "rabbit128-poly1305", rare },
    { "aegis-128l", rare },
    { "aegis-256", rare },
    { "aez-384", rare },
    { "deoxys-ii-256-128", rare },
    { "ascon-128", rare },
    { "ascon-128a", rare },
    { "ascon128", rare },
    { "ascon128a", rare },
};

/* The 2022 edition (SIP022): the password is a key in base64, or several joined by ':' (all but the last are for relays on the way). */
static const struct method_2022 {
    const char *name;
    uint8_t key_len;
    bool many; /* several keys are possible */
} methods_2022[] = {
    { "2022-blake3-aes-128-gcm", 16, true },        { "2022-blake3-aes-256-gcm", 32, true }, { "2022-blake3-chacha20-poly1305", 32, false },
    { "2022-blake3-chacha8-poly1305", 32, false }, { "2022-blake3-aes-128-ccm", 16, true }, { "2022-blake3-aes-256-ccm", 32, true },
};

static bool good_keys(const char *password, const struct method_2022 *m)
{
    uint8_t key[SS_KEY_MAX];
    unsigned n = 0;
    bool good = true;

    for (const char *at = password; good; at++) {
        size_t len = strcspn(at, ":");

        good = base64_decode(at, len, key, sizeof(key)) == m->key_len && (n++ == 0 || m->many);
        at += len;
        if (!*at)
            break;
    }
    OPENSSL_cleanse(key, sizeof(key));
    return good;
}

static int bad_method(struct ss *n, const struct opt_src *s)
{
    char method[OPT_TEXT_MAX];

    opt_quote(n->method, method);
    for (size_t i = 0; i < sizeof(methods_2022) / sizeof(methods_2022[0]); i++) {
        const struct method_2022 *m = &methods_2022[i];

        if (strcasecmp(m->name, n->method) != 0)
            continue;
        if (!good_keys(n->password, m))
            return opt_bad(s, "password", "password: %s wants %s of %u bytes in base64", m->name, m->many ? "a key (or several, joined by ':')" : "a key",
                           m->key_len);
        return out_unsupported(&n->o, "cipher %s: the 2022 edition is not supported", method);
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!strcasecmp(others[i].name, n->method))
            return out_unsupported(&n->o, "cipher %s: %s", method, others[i].why);
    return opt_bad(s, "cipher", "unknown cipher \"%s\"; this build has aes-128-gcm, aes-192-gcm, aes-256-gcm, chacha20-ietf-poly1305", method);
}

static int ss_init(struct outbound *o, const struct opt_src *s)
{
    struct ss *n = container_of(o, struct ss, o);
    const struct ss_cipher *cipher = ss_cipher_find(n->method);

    if (!cipher || cipher->is_2022)
        return bad_method(n, s);
    if (n->plugin.kind)
        return out_unsupported(o, "plugin %s is not supported", opt_plugin_names[n->plugin.kind]);
    if (!n->udp_over_tcp_version)
        n->udp_over_tcp_version = 1;
    if (n->udp_over_tcp)
        opt_warn(s, "udp-over-tcp", "unsupported-key", "udp-over-tcp is not supported: UDP goes as UDP");
    return ss_key_init(&n->key, cipher, n->password) < 0 ? out_unsupported(o, "the library has no MD5") : 0;
}

static void ss_fini(struct outbound *o)
{
    ss_key_fini(&container_of(o, struct ss, o)->key);
}

/* ---- TCP ---- */

static int ss_wrap(struct outbound *o, const struct dial *d, struct stream *down, struct stream **up)
{
    struct ss *s = container_of(o, struct ss, o);
    uint8_t head[ATYP_MAX];
    size_t len = atyp_put(head, &d->to);

    if (!len)
        return -ERR_NAME;
    *up = ss_stream_new(o->env->loop, &s->key, down, head, len, &o->answered);
    return *up ? 0 : -ENOMEM;
}

static int ss_dial(struct outbound *o, struct dial *d)
{
    struct dest server = out_server(o);

    return link_dial(o, d, &server, LOOKUP_SERVER, ss_wrap);
}

/* ---- UDP ---- */

struct ss_udp {
    struct pktsess p;
    struct ss *node;
    struct server_udp server;
    bool dead;
    struct job reap;
};

static int send_sealed(struct ss_udp *u, const struct dest *to, const void *buf, size_t len)
{
    uint8_t salt[SS_KEY_MAX], *out;
    ssize_t n;
    int r;

    if (len + SS_UDP_EXTRA > BUF_SIZE)
        return -EMSGSIZE;
    if (!(out = buf_get()))
        return -ENOMEM;
    random_bytes(salt, u->node->key.len);
    n = ss_udp_seal(&u->node->key, salt, to, buf, len, out);
    r = n < 0 ? (int)n : server_udp_send(&u->server, out, (size_t)n);
    buf_put(out);
    return r;
}

static int ss_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct ss_udp *u = container_of(p, struct ss_udp, p);

    if (u->dead)
        return -ENOTCONN;
    return u->server.sock ? send_sealed(u, to, buf, len) : pktq_add(&u->server.waiting, to, buf, len);
}

static void on_packet(struct pktsess *sock, const struct endpoint *peer, const void *buf, size_t len)
{
    struct ss_udp *u = sock->owner;
    struct endpoint from;
    struct span payload;
    char name[OUT_NAME_MAX];
    uint8_t *out;
    int r;

    if (!u->p.on_packet || !server_udp_is_peer(&u->server, peer) || !(out = buf_get()))
        return;
    r = ss_udp_open(&u->node->key, buf, len, out, &from, &payload);
    if (r == 0) {
        u->node->o.answered = true;
        u->p.on_packet(&u->p, &from, payload.p, payload.len);
    } else {
        u->node->n_bad++;
        log_dbg(LOG_OUT, "%s: a datagram of %zu bytes dropped: %s", out_quote(u->node->o.name, name), len, err_str(r));
    }
    buf_put(out);
}

static void end_session(struct ss_udp *u, int err)
{
    u->dead = true;
    if (u->p.on_dead)
        u->p.on_dead(&u->p, err);
}

static void on_sock_dead(struct pktsess *sock, int err)
{
    end_session(sock->owner, err);
}

static void send_waiting(void *arg, const struct dest *to, const void *buf, size_t len)
{
    send_sealed(arg, to, buf, len);
}

static void on_server_ready(struct server_udp *server)
{
    struct ss_udp *u = container_of(server, struct ss_udp, server);

    server->sock->owner = u;
    server->sock->on_packet = on_packet;
    server->sock->on_dead = on_sock_dead;
    pktq_flush(&server->waiting, send_waiting, u);
}

static void on_server_dead(struct server_udp *server, int err)
{
    end_session(container_of(server, struct ss_udp, server), err);
}

static void ss_udp_reap(struct job *j)
{
    free(container_of(j, struct ss_udp, reap));
}

static void ss_udp_close(struct pktsess *p)
{
    struct ss_udp *u = container_of(p, struct ss_udp, p);

    server_udp_stop(&u->server);
    loop_defer(u->node->o.env->loop, &u->reap);
}

static const struct pkt_ops ss_pkt_ops = { .name = "ss", .send = ss_send, .close = ss_udp_close };

static int ss_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    struct ss_udp *u = calloc(1, sizeof(*u));
    struct dest server = out_server(o);
    int r;

    if (!u)
        return -ENOMEM;
    u->p.ops = &ss_pkt_ops;
    u->node = container_of(o, struct ss, o);
    u->reap.cb = ss_udp_reap;
    u->server.ready = on_server_ready;
    u->server.dead = on_server_dead;
    if ((r = server_udp_start(&u->server, o, &server)) < 0) {
        free(u);
        return r;
    }
    *out = &u->p;
    return 0;
}

const struct outbound_ops ss_ops = {
    .type = "ss", .api_type = "Shadowsocks", .action = OUT_PROXY, .fields = ss_fields, .parts = ss_parts, .size = sizeof(struct ss),
    .init = ss_init, .fini = ss_fini, .dial = ss_dial, .cancel = link_cancel, .open_pkt = ss_open_pkt,
};
