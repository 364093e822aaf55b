/*
 * ss_pkt.c - a datagram session of a Shadowsocks node
 *
 * One socket per session, so the server sees one port for all destinations of a source and may forward anybody's answers (full cone); every
 * datagram is sealed on its own. In the 2022 edition they belong to a session with a number of its own, which lives as long as ours
 * (ss_2022.c). What does not open is dropped.
 *
 * Memory: this struct, with a bounded queue while the server's name is looked up.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"
#include "core/pool.h"
#include "outbound/server_udp.h"
#include "outbound/ss.h"

#define DNS_PORT 53

struct ss_pkt {
    struct pktsess p;
    struct outbound *o;
    const struct ss_key *key;
    struct ss22_udp session; /* 2022 */
    struct server_udp server;
    bool dead, said;
    struct job reap;
};

/* Neither has a session. */
static ssize_t seal_older(struct ss_pkt *u, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    uint8_t salt[SS_KEY_MAX];

    random_bytes(salt, sizeof(salt));
    return (u->key->cipher->old ? ss_old_udp_seal : ss_udp_seal)(u->key, salt, to, buf, len, out);
}

/* Questions to name servers are told by their size: they are padded. */
static ssize_t seal_2022(struct ss_pkt *u, const struct dest *to, const void *buf, size_t len, uint8_t *out)
{
    uint8_t random[24 + 2];
    unsigned pad;

    random_bytes(random, sizeof(random));
    pad = to->at.port == DNS_PORT ? 1 + (unsigned)(random[24] << 8 | random[25]) % SS22_PAD_MAX : 0;
    return ss22_udp_seal(&u->session, (uint64_t)time(NULL), pad, random, to, buf, len, out);
}

static int send_sealed(struct ss_pkt *u, const struct dest *to, const void *buf, size_t len)
{
    uint8_t *out;
    ssize_t n;
    int r;

    if (len + SS_UDP_EXTRA > BUF_SIZE || len + SS22_UDP_EXTRA(u->key) > BUF_SIZE)
        return -EMSGSIZE;
    if (!(out = buf_get()))
        return -ENOMEM;
    n = (u->key->cipher->is_2022 ? seal_2022 : seal_older)(u, to, buf, len, out);
    r = n < 0 ? (int)n : server_udp_send(&u->server, out, (size_t)n);
    buf_put(out);
    return r;
}

static int ss_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct ss_pkt *u = container_of(p, struct ss_pkt, p);

    if (u->dead)
        return -ENOTCONN;
    return u->server.sock ? send_sealed(u, to, buf, len) : pktq_add(&u->server.waiting, to, buf, len);
}

/* The clock is the one thing among these that somebody can set right. */
static void note_bad(struct ss_pkt *u, size_t len, int err)
{
    char name[OUT_NAME_MAX];

    log_dbg(LOG_OUT, "%s: a datagram of %zu bytes dropped: %s", out_quote(u->o->name, name), len, err_str(err));
    if (err != -ERR_CLOCK || u->said)
        return;
    u->said = true;
    out_note_error(u->o, err);
}

static void on_packet(struct pktsess *sock, const struct dest *peer, const void *buf, size_t len)
{
    struct ss_pkt *u = sock->owner;
    struct sender from;
    struct span payload;
    struct dest who;
    uint8_t *out;
    int r;

    if (!u->p.on_packet || !server_udp_is_peer(&u->server, peer) || !(out = buf_get()))
        return;
    if (u->key->cipher->is_2022)
        r = ss22_udp_open(&u->session, (uint64_t)time(NULL), buf, len, out, &from, &payload);
    else
        r = (u->key->cipher->old ? ss_old_udp_open : ss_udp_open)(u->key, buf, len, out, &from, &payload);
    if (r == 0) {
        u->o->answered = true;
        who = sender_dest(&from);
        u->p.on_packet(&u->p, &who, payload.p, payload.len);
    } else {
        note_bad(u, len, r);
    }
    buf_put(out);
}

static void end_session(struct ss_pkt *u, int err)
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
    struct ss_pkt *u = container_of(server, struct ss_pkt, server);

    server->sock->owner = u;
    server->sock->on_packet = on_packet;
    server->sock->on_dead = on_sock_dead;
    pktq_flush(&server->waiting, send_waiting, u);
}

static void on_server_dead(struct server_udp *server, int err)
{
    end_session(container_of(server, struct ss_pkt, server), err);
}

static void ss_pkt_reap(struct job *j)
{
    free(container_of(j, struct ss_pkt, reap));
}

static void ss_pkt_close(struct pktsess *p)
{
    struct ss_pkt *u = container_of(p, struct ss_pkt, p);

    server_udp_stop(&u->server);
    ss22_udp_fini(&u->session);
    loop_defer(u->o->env->loop, &u->reap);
}

static const struct pkt_ops ss_pkt_ops = { .name = "ss", .send = ss_send, .close = ss_pkt_close };

int ss_pkt_open(struct outbound *o, const struct ss_key *key, struct pktsess **out)
{
    struct ss_pkt *u = calloc(1, sizeof(*u));
    struct dest server = out_server(o);
    uint8_t id[8];
    int r = 0;

    if (!u)
        return -ENOMEM;
    u->p.ops = &ss_pkt_ops;
    u->o = o;
    u->key = key;
    u->reap.cb = ss_pkt_reap;
    u->server.ready = on_server_ready;
    u->server.dead = on_server_dead;
    random_bytes(id, sizeof(id));
    if (key->cipher->is_2022)
        r = ss22_udp_init(&u->session, key, id);
    if (r < 0 || (r = server_udp_start(&u->server, o, &server)) < 0) {
        ss22_udp_fini(&u->session);
        free(u);
        return r;
    }
    *out = &u->p;
    return 0;
}
