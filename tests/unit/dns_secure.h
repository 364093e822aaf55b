/*
 * dns_secure.h - name servers behind TLS that a test scripts: DNS over TLS, or over HTTP/2
 *
 * They live on the world's loop, on loopback, and speak with OpenSSL and libnghttp2 directly. What they are asked is answered by a script
 * (dns_world.h), or held until the test says so.
 */
#ifndef TESTS_DNS_SECURE_H
#define TESTS_DNS_SECURE_H

#include <nghttp2/nghttp2.h>

#include "core/base64.h"
#include "dns_ways.h"
#include "transport/transport.h"
#include "transport_tlspeer.h"

#define SEC_HELD 512

struct sec_world;
struct sec_conn {
    struct list_head node;
    struct io io;
    struct sec_world *w;
    SSL *ssl;
    nghttp2_session *ng;
    struct list_head streams;
    unsigned n_asked;
    bool doomed; /* ends as soon as nobody of libnghttp2 is on the stack */
    uint8_t in[65536];
    size_t len;
};

/* A question that was asked and not answered yet. */
struct sec_held {
    struct sec_conn *c; /* NULL: its connection ended */
    int32_t stream;     /* of HTTP/2 */
    uint8_t msg[1024];
    size_t len;
};

/* A request of HTTP/2, until its body is complete; then its answer, until it is sent. */
struct sec_stream {
    struct list_head node;
    int32_t id;
    char path[1024], authority[128], method[8], type[64], accept[64], length[16], auth[128];
    uint8_t body[1024];
    size_t n_body;
    uint8_t *answer;
    size_t n_answer, at;
};

struct sec_world {
    struct loop *loop;
    struct io tcp;
    uint16_t port;
    SSL_CTX *ctx;
    bool h2, hold, deaf, plain; /* deaf: accepts and says nothing; plain: speaks no TLS */
    const char *alpn;           /* that it chooses; NULL = none */
    script_fn *script;
    struct ns_world told; /* for the script: what was asked */
    unsigned n_conns, n_resumed, n_goaways, n_pings, close_after, goaway_after;
    const char *status;
    uint32_t max_streams, refuse; /* refuse: so many requests */
    char sni[256];
    struct sec_stream last; /* the last request */
    struct list_head conns;
    struct sec_held held[SEC_HELD];
    unsigned n_held;
};

static inline void sec_stream_free(struct sec_stream *s)
{
    list_del(&s->node);
    free(s->answer);
    free(s);
}

static inline void sec_close(struct sec_conn *c)
{
    int fd = c->io.fd;

    list_each_safe (n, tmp, &c->streams)
        sec_stream_free(container_of(n, struct sec_stream, node));

    for (unsigned i = 0; i < c->w->n_held; i++)
        if (c->w->held[i].c == c)
            c->w->held[i].c = NULL;
    list_del(&c->node);
    io_unwatch(&c->io);
    nghttp2_session_del(c->ng);
    SSL_free(c->ssl);
    close(fd);
    free(c);
}

/* ---- answers ---- */

static inline void sec_write(struct sec_conn *c, const void *b, size_t n)
{
    ERR_clear_error();
    if (n && SSL_write(c->ssl, b, (int)n) != (int)n && SSL_get_error(c->ssl, -1) == SSL_ERROR_WANT_WRITE)
        abort(); /* loopback has room */
}

static inline void sec_push(struct sec_conn *c)
{
    const uint8_t *b;
    ssize_t n;

    while (c->ng && (n = nghttp2_session_mem_send(c->ng, &b)) > 0)
        sec_write(c, b, (size_t)n);
}

static inline ssize_t sec_supply(nghttp2_session *ng, int32_t id, uint8_t *b, size_t len, uint32_t *flags, nghttp2_data_source *src,
                                 void *arg)
{
    struct sec_stream *s = src->ptr;
    size_t n = s->n_answer - s->at < len ? s->n_answer - s->at : len;

    memcpy(b, s->answer + s->at, n);
    if ((s->at += n) == s->n_answer)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* Says msg on a stream of HTTP/2. */
static inline void sec_respond(struct sec_conn *c, int32_t id, const uint8_t *msg, size_t len)
{
    struct sec_stream *s = nghttp2_session_get_stream_user_data(c->ng, id);
    const char *status = c->w->status ? c->w->status : "200";
    nghttp2_nv nv = { (uint8_t *)":status", (uint8_t *)status, 7, 3, 0 };

    if (!s)
        return; /* reset meanwhile */
    s->answer = malloc(len + 1);
    memcpy(s->answer, msg, len);
    s->n_answer = len;
    nghttp2_submit_response(c->ng, id, &nv, 1, &(nghttp2_data_provider){ .source.ptr = s, .read_callback = sec_supply });
    sec_push(c);
}

static inline void sec_send(struct sec_conn *c, int32_t id, const uint8_t *msg, size_t len)
{
    uint8_t framed[66000];

    if (c->ng) {
        sec_respond(c, id, msg, len);
        return;
    }
    framed[0] = (uint8_t)(len >> 8);
    framed[1] = (uint8_t)len;
    memcpy(framed + 2, msg, len);
    sec_write(c, framed, 2 + len);
}

static inline void sec_answer_to(struct sec_world *w, struct sec_conn *c, int32_t id, const uint8_t *msg, size_t len)
{
    w->told.script = w->script;
    ns_serve(&w->told, msg, len);
    if (w->told.out.len)
        sec_send(c, id, w->told.out.b, w->told.out.len);
}

/* Answers the nth of the held questions. */
static inline void sec_answer(struct sec_world *w, unsigned n)
{
    struct sec_held h = w->held[n];

    memmove(&w->held[n], &w->held[n + 1], (w->n_held - n - 1) * sizeof(h));
    w->n_held--;
    if (h.c)
        sec_answer_to(w, h.c, h.stream, h.msg, h.len);
}

/* A question came. false: the connection is gone. */
static inline bool sec_take(struct sec_conn *c, int32_t id, const uint8_t *msg, size_t len)
{
    struct sec_world *w = c->w;

    c->n_asked++;
    if (w->hold) {
        struct sec_held *h = &w->held[w->n_held++];

        if (w->n_held == SEC_HELD || len > sizeof(h->msg))
            abort();
        *h = (struct sec_held){ .c = c, .stream = id, .len = len };
        memcpy(h->msg, msg, len);
    } else {
        sec_answer_to(w, c, id, msg, len);
    }
    if (w->goaway_after && c->n_asked == w->goaway_after) {
        nghttp2_submit_goaway(c->ng, 0, id, 0, NULL, 0);
        sec_push(c);
        w->n_goaways++;
    }
    c->doomed = w->close_after && c->n_asked >= w->close_after;
    if (!c->doomed || c->ng)
        return true;
    sec_close(c);
    return false;
}

/* ---- HTTP/2 ---- */

static inline int sec_on_begin(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct sec_stream *s = calloc(1, sizeof(*s));

    s->id = f->hd.stream_id;
    list_append(&((struct sec_conn *)arg)->streams, &s->node);
    nghttp2_session_set_stream_user_data(ng, s->id, s);
    return 0;
}

static inline int sec_on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nl, const uint8_t *value,
                                size_t vl, uint8_t flags, void *arg)
{
    struct sec_stream *s = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);
    const struct {
        const char *name;
        char *to;
        size_t size;
    } all[] = { { ":path", s->path, sizeof(s->path) },        { ":authority", s->authority, sizeof(s->authority) },
                { ":method", s->method, sizeof(s->method) },  { "content-type", s->type, sizeof(s->type) },
                { "accept", s->accept, sizeof(s->accept) },   { "content-length", s->length, sizeof(s->length) },
                { "authorization", s->auth, sizeof(s->auth) } };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!strcmp((const char *)name, all[i].name))
            snprintf(all[i].to, all[i].size, "%s", value);
    return 0;
}

static inline int sec_on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *b, size_t n, void *arg)
{
    struct sec_stream *s = nghttp2_session_get_stream_user_data(ng, id);

    if (s->n_body + n > sizeof(s->body))
        abort();
    memcpy(s->body + s->n_body, b, n);
    s->n_body += n;
    return 0;
}

static inline int sec_on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct sec_conn *c = arg;
    struct sec_stream *s = f->hd.stream_id ? nghttp2_session_get_stream_user_data(ng, f->hd.stream_id) : NULL;
    const char *dns;
    ssize_t n;

    c->w->n_pings += f->hd.type == NGHTTP2_PING && !(f->hd.flags & NGHTTP2_FLAG_ACK);
    if (!s || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM) || (f->hd.type != NGHTTP2_DATA && f->hd.type != NGHTTP2_HEADERS))
        return 0;
    if ((dns = strstr(s->path, "?dns="))) {
        if ((n = base64_decode(dns + 5, strlen(dns + 5), s->body, sizeof(s->body))) < 0)
            abort();
        s->n_body = (size_t)n;
    }
    c->w->last = *s;
    if (c->w->refuse) {
        c->w->refuse--;
        nghttp2_submit_rst_stream(ng, 0, s->id, NGHTTP2_REFUSED_STREAM);
    } else {
        sec_take(c, s->id, s->body, s->n_body);
    }
    return 0;
}

static inline int sec_on_closed(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct sec_stream *s = nghttp2_session_get_stream_user_data(ng, id);

    if (s)
        sec_stream_free(s);
    return 0;
}

static inline void sec_h2_begin(struct sec_conn *c)
{
    nghttp2_settings_entry max = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->w->max_streams };
    nghttp2_session_callbacks *cb;

    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, sec_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, sec_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, sec_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, sec_on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, sec_on_closed);
    nghttp2_session_server_new(&c->ng, cb, c);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(c->ng, 0, &max, c->w->max_streams ? 1 : 0);
    sec_push(c);
}

/* ---- TLS ---- */

static inline int sec_on_sni(SSL *ssl, int *alert, void *arg)
{
    struct sec_world *w = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    snprintf(w->sni, sizeof(w->sni), "%s", name ? name : "");
    return SSL_TLSEXT_ERR_OK;
}

static inline int sec_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned in_len, void *arg)
{
    struct sec_world *w = arg;
    uint8_t mine[32];

    if (!w->alpn)
        return SSL_TLSEXT_ERR_NOACK;
    mine[0] = (uint8_t)strlen(w->alpn);
    memcpy(mine + 1, w->alpn, mine[0]);
    return SSL_select_next_proto((unsigned char **)out, len, in, in_len, mine, mine[0] + 1u) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static inline void sec_eat(struct sec_conn *c)
{
    ssize_t n;

    if (c->ng) {
        n = nghttp2_session_mem_recv(c->ng, c->in, c->len);
        c->len = 0;
        if (n < 0 || c->doomed)
            sec_close(c);
        else
            sec_push(c);
        return;
    }
    while (c->len >= 2 && c->len >= 2u + (c->in[0] << 8 | c->in[1])) {
        size_t len = (size_t)(c->in[0] << 8 | c->in[1]);
        uint8_t msg[65536];

        memcpy(msg, c->in + 2, len);
        c->len -= 2 + len;
        memmove(c->in, c->in + 2 + len, c->len);
        if (!sec_take(c, 0, msg, len))
            return;
    }
}

static inline void sec_on_io(struct io *io, uint32_t ready)
{
    struct sec_conn *c = container_of(io, struct sec_conn, io);
    bool fresh = !SSL_is_init_finished(c->ssl);
    int n;

    if (c->w->deaf)
        return;
    ERR_clear_error();
    n = SSL_read(c->ssl, c->in + c->len, (int)(sizeof(c->in) - c->len));
    if (fresh && SSL_is_init_finished(c->ssl)) {
        c->w->n_resumed += (unsigned)SSL_session_reused(c->ssl);
        if (c->w->h2)
            sec_h2_begin(c);
    }
    if (n > 0) {
        c->len += (size_t)n;
        sec_eat(c);
    } else if (SSL_get_error(c->ssl, n) != SSL_ERROR_WANT_READ) {
        sec_close(c);
    }
}

static inline void sec_on_accept(struct io *io, uint32_t ready)
{
    struct sec_world *w = container_of(io, struct sec_world, tcp);
    int fd, one = 1;

    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct sec_conn *c = calloc(1, sizeof(*c));

        w->n_conns++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        c->w = w;
        c->io.cb = sec_on_io;
        list_init(&c->streams);
        c->ssl = SSL_new(w->ctx);
        SSL_set_fd(c->ssl, fd);
        SSL_set_accept_state(c->ssl);
        list_append(&w->conns, &c->node);
        if (w->plain && write(fd, "220 hello\r\n", 11) != 11)
            abort();
        if (io_watch(w->loop, &c->io, fd, IO_READ) < 0)
            abort();
    }
}

static inline void sec_open(struct sec_world *w, struct loop *l, const struct ident *id, bool h2)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memset(w, 0, sizeof(*w));
    w->loop = l;
    w->h2 = h2;
    w->alpn = h2 ? "h2" : "dot";
    w->script = script_plain;
    list_init(&w->conns);
    w->ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(w->ctx, id->cert);
    SSL_CTX_use_PrivateKey(w->ctx, id->key);
    SSL_CTX_set_mode(w->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_tlsext_servername_callback(w->ctx, sec_on_sni);
    SSL_CTX_set_tlsext_servername_arg(w->ctx, w);
    SSL_CTX_set_alpn_select_cb(w->ctx, sec_on_alpn, w);
    SSL_CTX_set_session_id_context(w->ctx, (const uint8_t *)"t", 1);
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 64) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        abort();
    w->port = ntohs(at.sin_port);
    w->tcp.cb = sec_on_accept;
    if (io_watch(l, &w->tcp, fd, IO_READ) < 0)
        abort();
}

static inline void sec_end(struct sec_world *w)
{
    int fd = w->tcp.fd;

    list_each_safe (n, tmp, &w->conns)
        sec_close(container_of(n, struct sec_conn, node));
    io_unwatch(&w->tcp);
    close(fd);
    SSL_CTX_free(w->ctx);
}

#endif
