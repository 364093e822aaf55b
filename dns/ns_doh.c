/*
 * ns_doh.c - a name server asked over HTTPS (RFC 8484), by HTTP/2
 *
 *   question ──► POST /path, body: the message with id 0 ──► status 200, body: the answer          a stream each, all on one connection
 *                GET /path?dns=BASE64URL                           if the profile's path ends in {?dns}
 *
 * After GOAWAY, or when the server allows no more streams, a connection ends with its last answer and others are asked by a new one.
 * Queries are padded to a multiple of 128 (RFC 8467).
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "dns/ns_conn.h"
#include "transport/transport.h"

#define PING_S    30
#define TEMPLATE  "{?dns}"
#define BODY_MAX  65535
#define ROOM_MAX  1000                    /* streams that we count on */
#define BASE64(n) (4 * ((n) + 2) / 3 + 2) /* characters, with NUL */

struct doh_conn {
    struct conn c;
    struct h2_conn *h2;
};

static struct doh_conn *of(const struct conn *c)
{
    return container_of(c, struct doh_conn, c);
}

/* ---- the request ---- */

static void authority(const struct ns_spec *n, char out[HOST_MAX + 16])
{
    const char *open = n->ip.ver == 6 ? "[" : "", *close = n->ip.ver == 6 ? "]" : "";

    if (n->port == 443)
        snprintf(out, HOST_MAX + 16, "%s%s%s", open, n->host, close);
    else
        snprintf(out, HOST_MAX + 16, "%s%s%s:%u", open, n->host, close, n->port);
}

/* The length of the path without a template behind it, if there is one; else 0. */
static size_t before_template(const char *path)
{
    size_t len = strlen(path), tail = sizeof(TEMPLATE) - 1;

    return len > tail && !strcmp(path + len - tail, TEMPLATE) ? len - tail : 0;
}

/* As in URLs: without padding (RFC 4648 section 5). */
static void put_base64url(char *out, const uint8_t *b, size_t len)
{
    EVP_EncodeBlock((uint8_t *)out, b, (int)len);
    out[strcspn(out, "=")] = 0;
    for (; *out; out++)
        *out = *out == '+' ? '-' : *out == '/' ? '_' : *out;
}

static int send_request(struct doh_conn *k, struct turn *t, const uint8_t *msg, size_t len)
{
    const struct ns_spec *n = &k->c.cs->s.spec;
    char host[HOST_MAX + 16], path[sizeof(n->path) + BASE64(DNS_QUERY_MAX)], length[24], auth[8 + BASE64(sizeof(n->user))] = "Basic ";
    struct http_field fields[4] = { { "accept", "application/dns-message" } };
    struct h2_request q = { "POST", "https", host, n->path, fields, 1 };
    size_t get = before_template(n->path);
    ssize_t sent = 0;
    int r;

    authority(n, host);
    if (*n->user) {
        EVP_EncodeBlock((uint8_t *)auth + strlen(auth), (const uint8_t *)n->user, (int)strlen(n->user));
        fields[q.n_fields++] = (struct http_field){ "authorization", auth };
    }
    if (get) {
        q.method = "GET";
        q.path = path;
        put_base64url(path + snprintf(path, sizeof(path), "%.*s?dns=", (int)get, n->path), msg, len);
    } else {
        snprintf(length, sizeof(length), "%zu", len);
        fields[q.n_fields++] = (struct http_field){ "content-type", "application/dns-message" };
        fields[q.n_fields++] = (struct http_field){ "content-length", length };
    }
    r = h2_open(k->h2, &q, &t->s);
    explicit_bzero(auth, sizeof(auth));
    if (r < 0)
        return r;
    if (!get)
        sent = stream_write(t->s, &(struct iovec){ (void *)msg, len }, 1);
    if (sent >= 0 && stream_shutdown(t->s) == 0)
        return get || (size_t)sent == len ? 0 : -ENOBUFS;
    return sent < 0 ? (int)sent : -ERR_CLOSED;
}

/* ---- the answer ---- */

/* 1: it goes on; 0: it waits; -err. */
static int read_some(struct turn *t)
{
    uint8_t more[4096], *at;
    ssize_t n = stream_read(t->s, &(struct iovec){ more, sizeof(more) }, 1);

    if (n <= 0)
        return (int)n;
    if (t->in_len + (size_t)n > BODY_MAX)
        return -EMSGSIZE;
    if (!(at = conn_room(&t->in, t->in_len, &t->in_cap, (size_t)n)))
        return -ENOMEM;
    memcpy(at, more, (size_t)n);
    t->in_len += (size_t)n;
    return 1;
}

/* What ended with the connection, or was refused before it began, may be asked again. */
static bool is_passing(const struct turn *t, int err)
{
    return err != -ERR_STATUS && err != -EMSGSIZE && err != -ENOMEM && !t->in_len;
}

static void on_ready(struct stream *s, unsigned what)
{
    struct turn *t = s->owner;
    struct conn *c = t->c;
    struct ns *ns = &c->cs->s;
    int r;

    ns->refs++; /* whoever gets an answer may let go of the server */
    c->since_ms = loop_now(ns->d->loop);
    while ((r = read_some(t)) > 0)
        ;
    if (r == -STREAM_EOF)
        turn_end(t, 0, t->in, t->in_len);
    else if (r < 0 && is_passing(t, r))
        turn_back(t, r);
    else if (r < 0)
        turn_end(t, r, NULL, 0);
    ns_put(ns);
}

/* ---- the kind ---- */

static int doh_open(struct conn *c, struct stream *s)
{
    struct doh_conn *k = of(c);

    return (k->h2 = h2_conn_new(c->cs->s.d->loop, s, PING_S)) ? 0 : -ENOMEM;
}

static unsigned doh_room(const struct conn *c)
{
    struct h2_conn *h2 = of(c)->h2;
    unsigned more = h2_conn_room(h2);

    return h2_conn_usable(h2) ? c->n_turns + (more < ROOM_MAX ? more : ROOM_MAX) : 0;
}

static int doh_put(struct conn *c, struct turn *t)
{
    uint8_t msg[DNS_QUERY_MAX];
    int r = send_request(of(c), t, msg, ns_query(t->q, 0, 128, msg));

    if (t->s) {
        t->s->owner = t;
        t->s->on_ready = on_ready;
    }
    if (r == 0)
        r = read_some(t); /* nothing is there; it asks to be told */
    return r < 0 ? r : 0;
}

static void doh_flush(struct conn *c)
{
}

static void doh_drop(struct turn *t)
{
    if (t->s)
        stream_close(t->s, t->in_len ? 0 : -ECANCELED);
    t->s = NULL;
}

static void doh_close(struct conn *c)
{
    h2_conn_put(of(c)->h2);
}

static const struct conn_ops doh_ops = { sizeof(struct doh_conn), doh_open, doh_room, doh_put, doh_flush, doh_drop, doh_close };

struct ns *ns_doh_new(void)
{
    return conn_ns_new(&doh_ops);
}
