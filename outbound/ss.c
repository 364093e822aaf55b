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

#include "core/hash.h"
#include "core/pool.h"
#include "outbound/private.h"
#include "outbound/server_udp.h"

struct ss {
    struct outbound o;
    const char *method, *password, *plugin;
    bool udp_over_tcp;
    struct ss_key key;
    uint64_t n_bad; /* datagrams that did not open */
};

static const struct cfg_field ss_fields[] = {
    OUT_SERVER_FIELDS,
    { "cipher", CFG_STR, offsetof(struct ss, method), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct ss, password), CFG_REQUIRED },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp), .def = "false" },
    { "plugin", CFG_STR, offsetof(struct ss, plugin) },
    { "udp-over-tcp", CFG_BOOL, offsetof(struct ss, udp_over_tcp), .def = "false" },
    { 0 },
};

/* ---- methods that are known but not ours ---- */

struct other_method {
    const char *name, *why; /* a final '*' stands for any ending */
};

static const struct other_method others[] = {
    { "2022-*", "the 2022 edition is not supported" },
    { "xchacha20-ietf-poly1305", "not supported" },
    { "none", "it does not encrypt: refused" },
    { "dummy", "it does not encrypt: refused" },
    { "plain", "it does not encrypt: refused" },
    { "aes-128-ctr", "stream ciphers authenticate nothing: refused" },
    { "aes-192-ctr", "stream ciphers authenticate nothing: refused" },
    { "aes-256-ctr", "stream ciphers authenticate nothing: refused" },
    { "aes-128-cfb*", "stream ciphers authenticate nothing: refused" },
    { "aes-192-cfb*", "stream ciphers authenticate nothing: refused" },
    { "aes-256-cfb*", "stream ciphers authenticate nothing: refused" },
    { "rc4*", "stream ciphers authenticate nothing: refused" },
    { "chacha20", "stream ciphers authenticate nothing: refused" },
    { "chacha20-ietf", "stream ciphers authenticate nothing: refused" },
    { "xchacha20", "stream ciphers authenticate nothing: refused" },
    { "salsa20", "stream ciphers authenticate nothing: refused" },
    { "aes-128-ccm", "not supported" },
    { "aes-192-ccm", "not supported" },
    { "aes-256-ccm", "not supported" },
    { "*-gcm-siv", "not supported" },
    { "chacha8-ietf-poly1305", "not supported" },
    { "xchacha8-ietf-poly1305", "not supported" },
    { "aegis-*", "not supported" },
    { "lea-*", "not supported" },
    { "rabbit128-poly1305", "not supported" },
    { "aez-*", "not supported" },
    { "deoxys-*", "not supported" },
};

static bool fits(const char *pattern, const char *name)
{
    size_t len = strlen(pattern), n = strlen(name);

    if (pattern[0] == '*')
        return n >= len - 1 && !strcasecmp(name + n - (len - 1), pattern + 1);
    if (pattern[len - 1] == '*')
        return !strncasecmp(name, pattern, len - 1);
    return !strcasecmp(name, pattern);
}

static int bad_method(struct ss *s, const char *path, struct diag *d)
{
    const char *why = NULL;
    char name[OUT_NAME_MAX], method[OUT_NAME_MAX];

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]) && !why; i++)
        if (fits(others[i].name, s->method))
            why = others[i].why;
    if (why)
        return out_unsupported(&s->o, path, d, "cipher %s: %s", out_quote(s->method, method), why);
    diag_warn(d, s->o.node->line, s->o.node->column, path, "bad-value",
              "proxy \"%s\": unknown cipher \"%s\"; this build has aes-128-gcm, aes-192-gcm, aes-256-gcm, chacha20-ietf-poly1305",
              out_quote(s->o.name, name), out_quote(s->method, method));
    return -EINVAL;
}

static int ss_init(struct outbound *o, const char *path, struct diag *d)
{
    struct ss *s = container_of(o, struct ss, o);
    struct ss_cipher *cipher;
    char text[OUT_NAME_MAX];

    if (s->plugin && *s->plugin)
        return out_unsupported(o, path, d, "plugin %s is not supported", out_quote(s->plugin, text));
    if (!(cipher = ss_cipher_find(s->method)))
        return bad_method(s, path, d);
    if (s->udp_over_tcp)
        out_ignored(o->node, path, d, "proxy \"%s\": udp-over-tcp is not supported: UDP goes as UDP", out_quote(o->name, text));
    return ss_key_init(&s->key, cipher, s->password);
}

static void ss_fini(struct outbound *o)
{
    OPENSSL_cleanse(&container_of(o, struct ss, o)->key, sizeof(struct ss_key));
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
    random_bytes(salt, u->node->key.cipher->key_len);
    n = ss_udp_seal(&u->node->key, salt, to, buf, len, out);
    r = n < 0 ? (int)n : pkt_send(u->server.sock, &(struct dest){ 0 }, out, (size_t)n);
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

    if (!u->p.on_packet || !(out = buf_get()))
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
    if ((r = server_udp_start(&u->server, o->env, &server)) < 0) {
        free(u);
        return r;
    }
    *out = &u->p;
    return 0;
}

const struct outbound_ops ss_ops = {
    .type = "ss", .api_type = "Shadowsocks", .action = OUT_PROXY, .fields = ss_fields, .size = sizeof(struct ss),
    .init = ss_init, .fini = ss_fini, .dial = ss_dial, .cancel = link_cancel, .open_pkt = ss_open_pkt,
};
