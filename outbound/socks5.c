/*
 * socks5.c - SOCKS5 servers as nodes
 *
 *   connect ──► greeting ──► choice ──► (user, password ──► reply) ──► request ──► reply ──► the stream is the caller's
 *
 * Each message waits for the answer to the one before: servers that are strict about it exist. Answers are read to the byte, so what follows
 * the reply is still in the stream below when it is handed over, and the layer is gone: a SOCKS5 stream is a plain TCP (or TLS) stream.
 *
 * UDP: the same conversation with UDP ASSOCIATE; the server names a relay address, and the TCP connection is held as long as the session
 * lives; when the server closes it, the session is dead. Datagrams carry their address in front; only the relay's are looked at (the socket is
 * connected to it).
 *
 * The conversation has 10 s after the connect. Credentials are wiped from the message buffer as soon as they are sent.
 */
#include "outbound/socks5.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "outbound/options.h"
#include "outbound/private.h"
#include "outbound/server_udp.h"
#include "outbound/under.h"

#define SHAKE_MS 10000
#define CONTROL_JUNK 4096 /* bytes a server may send on a control connection, where nothing is to be said */

struct socks5 {
    struct outbound o;
    struct opt_tls tls;
    struct under under;
    const char *user, *password;
};

static const struct cfg_field socks5_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct socks5, user) },
    { "password", CFG_SECRET, offsetof(struct socks5, password) },
    { "udp", CFG_BOOL, offsetof(struct outbound, udp) },
    { 0 },
};

static const struct opt_part socks5_parts[] = { { offsetof(struct socks5, tls), opt_tls_sni }, { 0 } };

static bool has_user(const struct socks5 *n)
{
    return n->user && *n->user;
}

static int socks5_init(struct outbound *o, const struct opt_src *s)
{
    struct socks5 *n = container_of(o, struct socks5, o);

    if (!n->password)
        n->password = "";
    if (n->user && strlen(n->user) > 255)
        return opt_bad(s, "username", "username: it has at most 255 bytes");
    if (strlen(n->password) > 255)
        return opt_bad(s, "password", "password: it has at most 255 bytes");
    return under_init(&n->under, o, &n->tls, NULL, &(struct under_defaults){ 0 }, s);
}

static void socks5_fini(struct outbound *o)
{
    under_fini(&container_of(o, struct socks5, o)->under);
}

/* ---- what the server says ---- */

int socks5_choice(const uint8_t b[2], bool offered_password)
{
    if (b[0] != 5)
        return -ERR_PROTO;
    if (b[1] == 0 || (b[1] == 2 && offered_password))
        return b[1];
    return b[1] == 0xff || b[1] == 2 ? -ERR_AUTH : -ERR_PROTO; /* 2 without having been asked: some say like that that they want one */
}

int socks5_auth_reply(const uint8_t b[2])
{
    if (b[0] != 1)
        return -ERR_PROTO;
    return b[1] ? -ERR_AUTH : 0;
}

size_t socks5_reply_size(const uint8_t *b, size_t n)
{
    if (n < 2)
        return 2;
    if (b[0] != 5 || b[1])
        return n;
    if (n < 4)
        return 4;
    switch (b[3]) {
    case ATYP_V4: return 4 + 4 + 2;
    case ATYP_V6: return 4 + 16 + 2;
    case ATYP_NAME: return n < 5 ? 5 : 5 + (size_t)b[4] + 2;
    default: return n;
    }
}

static int why_not(uint8_t rep)
{
    static const int words[] = {
        [1] = -ECONNABORTED, [2] = -ERR_RULE,  [3] = -ENETUNREACH,     [4] = -EHOSTUNREACH,
        [5] = -ECONNREFUSED, [6] = -ETIMEDOUT, [7] = -ERR_UNSUPPORTED, [8] = -EAFNOSUPPORT,
    };

    return rep < sizeof(words) / sizeof(words[0]) ? words[rep] : -ERR_PROTO;
}

int socks5_reply(const uint8_t *b, size_t n, struct endpoint *at, struct span *name)
{
    struct rd r = rd_from(b, n);
    uint8_t version = rd_u8(&r), rep = rd_u8(&r);

    if (!rd_ok(&r) || version != 5)
        return -ERR_PROTO;
    if (rep)
        return why_not(rep);
    rd_skip(&r, 1);
    atyp_get(&r, at, name);
    return rd_ok(&r) ? 0 : -ERR_PROTO;
}

int socks5_udp_open(const void *b, size_t n, struct sender *from, struct span *payload)
{
    struct rd r = rd_from(b, n);
    uint8_t frag;

    rd_skip(&r, 2);
    frag = rd_u8(&r);
    sender_get(&r, from);
    if (!rd_ok(&r) || frag)
        return -ERR_PROTO;
    *payload = rd_span(&r, rd_left(&r));
    return 0;
}

/* ---- the conversation ---- */

enum shake_state {
    SHAKE_CONNECT, /* no stream yet */
    SHAKE_CHOICE,  /* greeting said */
    SHAKE_AUTH,    /* user and password said */
    SHAKE_REPLY,   /* request said */
    SHAKE_DONE
};

struct shake {
    struct socks5 *node;
    enum shake_state state;
    uint8_t cmd;
    struct dest to;
    struct under_dial under;
    struct stream *s;
    struct timer limit;
    uint8_t out[3 + 255 + 255];
    uint8_t in[SOCKS5_REPLY_MAX];
    size_t out_at, n_out, n_in, need;
    struct endpoint bound; /* from the reply */
    struct span bound_name;
    void (*done)(struct shake *h, int err); /* once, from the loop. err 0: h->s is the caller's */
};

static void shake_stop(struct shake *h)
{
    h->state = SHAKE_DONE;
    timer_cancel(&h->limit);
    under_cancel(&h->under);
    OPENSSL_cleanse(h->out, sizeof(h->out));
    if (h->s)
        h->s->on_ready = NULL;
}

static void shake_end(struct shake *h, int err)
{
    shake_stop(h);
    if (err && h->s) {
        stream_close(h->s, err);
        h->s = NULL;
    }
    if (err == -ERR_AUTH || err == -ERR_PROTO || err == -ERR_SILENT || err == -ERR_EARLY)
        out_note_error(&h->node->o, err);
    h->done(h, err);
}

static void say(struct shake *h, size_t len, enum shake_state next, size_t need)
{
    h->out_at = 0;
    h->n_out = len;
    h->n_in = 0;
    h->need = need;
    h->state = next;
}

static void say_greeting(struct shake *h)
{
    static const uint8_t plain[] = { 5, 1, 0 }, both[] = { 5, 2, 0, 2 };
    bool user = has_user(h->node);

    memcpy(h->out, user ? both : plain, user ? sizeof(both) : sizeof(plain));
    say(h, user ? sizeof(both) : sizeof(plain), SHAKE_CHOICE, 2);
}

static size_t put_text(uint8_t *out, const char *s)
{
    size_t len = strlen(s);

    out[0] = (uint8_t)len;
    memcpy(out + 1, s, len);
    return 1 + len;
}

static void say_auth(struct shake *h)
{
    size_t n = 1;

    h->out[0] = 1;
    n += put_text(h->out + n, h->node->user);
    n += put_text(h->out + n, h->node->password);
    say(h, n, SHAKE_AUTH, 2);
}

static void say_request(struct shake *h)
{
    memcpy(h->out, (uint8_t[]){ 5, h->cmd, 0 }, 3);
    say(h, 3 + atyp_put(h->out + 3, &h->to), SHAKE_REPLY, socks5_reply_size(NULL, 0));
}

/* A whole answer is in h->in. 1: go on; 0: the reply says yes; -err. */
static int understand(struct shake *h)
{
    int r;

    switch (h->state) {
    case SHAKE_CHOICE:
        if ((r = socks5_choice(h->in, has_user(h->node))) < 0)
            return r;
        h->node->o.answered = true;
        if (r)
            say_auth(h);
        else
            say_request(h);
        return 1;
    case SHAKE_AUTH:
        if ((r = socks5_auth_reply(h->in)) < 0)
            return r;
        say_request(h);
        return 1;
    case SHAKE_REPLY:
        if ((h->need = socks5_reply_size(h->in, h->n_in)) > h->n_in)
            return 1;
        return socks5_reply(h->in, h->n_in, &h->bound, &h->bound_name);
    case SHAKE_CONNECT:
    case SHAKE_DONE: break;
    }
    return -ERR_PROTO;
}

/* 1: all is said; 0: the stream is full; -err. */
static int push(struct shake *h)
{
    ssize_t n;

    if (!h->n_out)
        return 1;
    if ((n = stream_write(h->s, &(struct iovec){ h->out + h->out_at, h->n_out }, 1)) < 0)
        return (int)n;
    h->out_at += (size_t)n;
    h->n_out -= (size_t)n;
    if (h->n_out)
        return 0;
    OPENSSL_cleanse(h->out, sizeof(h->out));
    return 1;
}

/* 1: the answer is whole; 0: more must come; -err. */
static int gather(struct shake *h)
{
    ssize_t n = stream_read(h->s, &(struct iovec){ h->in + h->n_in, h->need - h->n_in }, 1);

    if (n == -STREAM_EOF && h->state == SHAKE_CHOICE && !h->n_in)
        return -ERR_EARLY;
    if (n == -STREAM_EOF)
        return h->state == SHAKE_AUTH ? -ERR_AUTH : -ERR_PROTO; /* some close instead of saying no */
    if (n <= 0)
        return (int)n;
    h->n_in += (size_t)n;
    return h->n_in == h->need || gather(h);
}

static void converse(struct shake *h)
{
    int r, w;

    do {
        r = w = push(h);
        if (w && (r = gather(h)) == 0) /* also when writing has failed: a server that hung up may have said why */
            r = w < 0 ? w : 0;
        if (r == 0)
            return;
        if (r > 0)
            r = understand(h);
    } while (r > 0);
    shake_end(h, r);
}

static void on_ready(struct stream *s, unsigned what)
{
    converse(s->owner);
}

static void on_limit(struct timer *t)
{
    struct shake *h = container_of(t, struct shake, limit);

    shake_end(h, h->state == SHAKE_REPLY ? -ETIMEDOUT : -ERR_SILENT); /* asked already: it may wait for the destination */
}

static void on_connected(struct under_dial *x, struct stream *s, int err)
{
    struct shake *h = container_of(x, struct shake, under);

    if (err) {
        shake_end(h, err);
        return;
    }
    h->s = s;
    s->owner = h;
    s->on_ready = on_ready;
    timer_set(h->node->o.env->loop, &h->limit, SHAKE_MS);
    say_greeting(h);
    converse(h);
}

/* h is zeroed but for node, cmd, to, done; to.host lives until done or cancel. 0 or -err. */
static int shake_start(struct shake *h)
{
    struct outbound *o = &h->node->o;
    struct dest server = out_server(o);

    if (!atyp_put(h->out, &h->to))
        return -ERR_NAME;
    h->limit.cb = on_limit;
    h->under.done = on_connected;
    return under_start(&h->under, o, &h->node->under, &server, LOOKUP_SERVER);
}

static void shake_cancel(struct shake *h)
{
    if (h->state == SHAKE_DONE)
        return;
    shake_stop(h);
    if (h->s)
        stream_close(h->s, -ERR_CLOSED);
    h->s = NULL;
}

/* ---- TCP ---- */

struct s5_dial {
    struct shake shake;
    struct dial *d;
    struct job reap;
};

static void dial_reap(struct job *j)
{
    free(container_of(j, struct s5_dial, reap));
}

static void on_dialled(struct shake *h, int err)
{
    struct s5_dial *k = container_of(h, struct s5_dial, shake);

    loop_defer(h->node->o.env->loop, &k->reap);
    out_dial_done(&h->node->o, k->d, h->s, err);
}

static int socks5_dial(struct outbound *o, struct dial *d)
{
    struct s5_dial *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    k->shake.node = container_of(o, struct socks5, o);
    k->shake.cmd = SOCKS5_CONNECT;
    k->shake.to = d->to;
    k->shake.under.carrier.depth = dial_depth(d);
    k->shake.done = on_dialled;
    k->d = d;
    k->reap.cb = dial_reap;
    if ((r = shake_start(&k->shake)) < 0) {
        free(k);
        return r;
    }
    d->priv = k;
    return 0;
}

static void socks5_cancel(struct outbound *o, struct dial *d)
{
    struct s5_dial *k = d->priv;

    shake_cancel(&k->shake);
    free(k);
}

/* ---- UDP ---- */

struct s5_udp {
    struct pktsess p;
    struct shake shake;    /* shake.s: the control connection, held */
    struct server_udp relay;
    char *relay_name;      /* if the server names one */
    size_t junk;
    bool dead;
    struct job reap;
};

static void end_session(struct s5_udp *u, int err)
{
    if (u->dead)
        return;
    u->dead = true;
    if (u->p.on_dead)
        u->p.on_dead(&u->p, err);
}

static int send_framed(struct s5_udp *u, const struct dest *to, const void *buf, size_t len)
{
    uint8_t *out = buf_get();
    size_t head;
    int r;

    if (!out)
        return -ENOMEM;
    memset(out, 0, 3);
    head = atyp_put(out + 3, to);
    if (!head)
        r = -ERR_NAME;
    else if (3 + head + len > BUF_SIZE)
        r = -EMSGSIZE;
    else {
        memcpy(out + 3 + head, buf, len);
        r = server_udp_send(&u->relay, out, 3 + head + len);
    }
    buf_put(out);
    return r;
}

static int socks5_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct s5_udp *u = container_of(p, struct s5_udp, p);

    if (u->dead)
        return -ENOTCONN;
    return u->relay.sock ? send_framed(u, to, buf, len) : pktq_add(&u->relay.waiting, to, buf, len);
}

static void send_waiting(void *arg, const struct dest *to, const void *buf, size_t len)
{
    send_framed(arg, to, buf, len);
}

static void on_packet(struct pktsess *sock, const struct dest *peer, const void *buf, size_t len)
{
    struct s5_udp *u = sock->owner;
    struct sender from;
    struct span payload;
    struct dest who;

    if (!u->p.on_packet || !server_udp_is_peer(&u->relay, peer) || socks5_udp_open(buf, len, &from, &payload) < 0)
        return;
    who = sender_dest(&from);
    u->p.on_packet(&u->p, &who, payload.p, payload.len);
}

static void on_sock_dead(struct pktsess *sock, int err)
{
    end_session(sock->owner, err);
}

static void on_relay_ready(struct server_udp *relay)
{
    struct s5_udp *u = container_of(relay, struct s5_udp, relay);

    relay->sock->owner = u;
    relay->sock->on_packet = on_packet;
    relay->sock->on_dead = on_sock_dead;
    pktq_flush(&relay->waiting, send_waiting, u);
}

static void on_relay_dead(struct server_udp *relay, int err)
{
    end_session(container_of(relay, struct s5_udp, relay), err);
}

/* Nothing is to be said on the control connection; its end is the news. */
static void on_control(struct stream *s, unsigned what)
{
    struct s5_udp *u = s->owner;
    char junk[256];
    ssize_t n;

    do
        n = stream_read(s, &(struct iovec){ junk, sizeof(junk) }, 1);
    while (n > 0 && (u->junk += (size_t)n) <= CONTROL_JUNK);
    if (n == 0)
        return;
    s->on_ready = NULL;
    end_session(u, n > 0 ? -ERR_PROTO : n == -STREAM_EOF ? -ECONNRESET : (int)n);
}

/* The relay as the reply names it: unspecified means the server itself. */
static int find_relay(struct s5_udp *u, struct dest *relay)
{
    struct shake *h = &u->shake;
    char host[HOST_MAX + 1];

    *relay = (struct dest){ .at = h->bound };
    if (!h->bound.port)
        return -ERR_PROTO;
    if (h->bound_name.len) {
        if (host_normalise((const char *)h->bound_name.p, h->bound_name.len, host) < 0)
            return -ERR_PROTO;
        if (!(u->relay_name = strdup(host)))
            return -ENOMEM;
        relay->host = u->relay_name;
    } else if (addr_is_unspecified(&relay->at.ip)) {
        relay->at.ip = h->under.carrier.peer.ip;
        relay->host = addr_is_set(&relay->at.ip) ? NULL : h->node->o.server; /* behind another node only its name is known */
    }
    return 0;
}

static void on_associated(struct shake *h, int err)
{
    struct s5_udp *u = container_of(h, struct s5_udp, shake);
    struct dest relay;

    if (!err && (err = find_relay(u, &relay)) == -ERR_PROTO)
        out_note_error(&h->node->o, err);
    if (!err)
        err = server_udp_start(&u->relay, &h->node->o, &relay);
    if (err) {
        end_session(u, err);
        return;
    }
    h->s->owner = u;
    h->s->on_ready = on_control;
    on_control(h->s, STREAM_READABLE);
}

static void udp_reap(struct job *j)
{
    struct s5_udp *u = container_of(j, struct s5_udp, reap);

    free(u->relay_name);
    free(u);
}

static void socks5_udp_close(struct pktsess *p)
{
    struct s5_udp *u = container_of(p, struct s5_udp, p);

    server_udp_stop(&u->relay);
    shake_cancel(&u->shake);
    if (u->shake.s) {
        u->shake.s->on_ready = NULL;
        stream_close(u->shake.s, 0);
    }
    loop_defer(u->shake.node->o.env->loop, &u->reap);
}

static const struct pkt_ops socks5_pkt_ops = { .name = "socks5", .send = socks5_send, .close = socks5_udp_close };

static int socks5_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    static const struct endpoint any = { .ip.ver = 4 };
    struct s5_udp *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    u->p.ops = &socks5_pkt_ops;
    u->shake.node = container_of(o, struct socks5, o);
    u->shake.cmd = SOCKS5_UDP;
    u->shake.to.at = any;
    u->shake.done = on_associated;
    u->relay.ready = on_relay_ready;
    u->relay.dead = on_relay_dead;
    u->reap.cb = udp_reap;
    if ((r = shake_start(&u->shake)) < 0) {
        free(u);
        return r;
    }
    *out = &u->p;
    return 0;
}

const struct outbound_ops socks5_ops = {
    .type = "socks5", .api_type = "Socks5", .action = OUT_PROXY, .fields = socks5_fields, .parts = socks5_parts, .size = sizeof(struct socks5),
    .init = socks5_init, .fini = socks5_fini, .dial = socks5_dial, .cancel = socks5_cancel, .open_pkt = socks5_open_pkt,
};
