/*
 * h2.c - HTTP/2 streams as streams: libnghttp2 between one connection and many users
 *
 *   stream.write ──► data provider ──┐                        ┌──► rx of a stream ──► stream.read ──► WINDOW_UPDATE
 *   stream.write ──► data provider ──┼─► mem_send ─► out ─► down ─► mem_recv ─┤
 *   (windows, SETTINGS, PING)       ─┘                        └──► rx of a stream
 *
 * Writing copies once: bytes go from the caller's pieces into a frame while write() is running; what windows and the buffer below do not
 * take stays with the caller, who is told when there is room again.
 *
 * Reading: the connection reads by itself. What comes for a stream waits in its rx, and only what its reader took opens the window again,
 * so a slow reader holds at most one window. Windows begin small and double while the reader keeps up.
 *
 * A connection can die without a word (another network, a NAT that forgot it). Who writes on one that has been quiet for a while has it
 * asked with a PING, and all its streams fail when nothing at all comes back.
 *
 * One list has the streams with news; they are told when the bytes at hand are digested, never from inside a call of theirs. The connection
 * lives as long as its owner or a stream has a reference.
 */
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/list.h"
#include "core/log.h"
#include "core/pool.h"
#include "transport/transport.h"

#define WINDOW_FIRST (256 << 10)
#define WINDOW_MAX   (4 << 20)
#define WINDOW_ALL   (16 << 20) /* of the connection */
#define FRAME_ROOM   (16384 + 9 + 1024)
#define READS_MAX    16
#define LINGER_MS    5000
#define QUIET_MS     5000 /* nothing was heard: is it alive? */
#define REPLY_MS     5000
#define ASK_MAX      2 /* with no HEADERS or DATA of the server between: grpc-go takes a few more PINGs for an attack, and hangs up */
#define FIELDS_MAX   32
#define STREAMS_UNTOLD                                                                                                                     \
    256 /* at a time, until the server has said how many; RFC 9113 sets no limit, and one that is refused may be tried again */

struct rx { /* lies in a pooled buffer */
    struct rx *next;
    uint32_t at, n;
    uint8_t b[];
};
#define RX_ROOM (BUF_SIZE - sizeof(struct rx))

struct h2_conn {
    struct loop *loop;
    struct stream *down;
    nghttp2_session *ng;
    uint32_t refs;
    unsigned n_streams;
    int err; /* sticks: nothing works any more */
    bool heard, goaway, ending, ping_out;
    bool full;    /* below */
    uint8_t *out; /* pooled: frames not yet taken below */
    uint32_t out_at, n_out;
    struct list_head streams, news;
    unsigned ping_ms, n_asked;
    uint64_t heard_ms; /* when the other end gave its last sign of life */
    struct timer ping, reply, linger;
    struct job again, reap;
};

struct h2_stream {
    struct stream s;
    struct h2_conn *c;
    int32_t id;
    struct list_head node, news;
    unsigned what; /* to be told */
    struct rx *first, *last;
    size_t buffered;
    uint32_t window, since_grown;
    struct cursor *from; /* while write() runs */
    int status, err;
    struct http_ear *ear;
    bool waits_read, waits_write, shut, eof, gone; /* gone: for libnghttp2 */
    struct job reap;
};

static struct h2_stream *of(struct stream *s)
{
    return container_of(s, struct h2_stream, s);
}

/* ---- news ---- */

static void note(struct h2_stream *k, unsigned what)
{
    k->what |= what;
    list_del(&k->news);
    list_append(&k->c->news, &k->news);
}

static void note_readable(struct h2_stream *k)
{
    if (!k->waits_read)
        return;
    k->waits_read = false;
    note(k, STREAM_READABLE);
}

static void tell_all(struct h2_conn *c)
{
    struct list_head *n;

    while ((n = list_first(&c->news))) {
        struct h2_stream *k = container_of(n, struct h2_stream, news);
        unsigned what = k->what;

        list_del(n);
        k->what = 0;
        stream_ready(&k->s, what);
    }
}

/* ---- the connection's end ---- */

static void conn_reap(struct job *j)
{
    struct h2_conn *c = container_of(j, struct h2_conn, reap);

    nghttp2_session_del(c->ng);
    buf_put(c->out);
    free(c);
}

static void close_down(struct h2_conn *c, int err)
{
    timer_cancel(&c->ping);
    timer_cancel(&c->reply);
    timer_cancel(&c->linger);
    job_cancel(&c->again);
    if (c->down) {
        c->down->on_ready = NULL;
        stream_close(c->down, err);
    }
    c->down = NULL;
}

static void stream_fail(struct h2_stream *k, int err)
{
    if (k->eof || k->err)
        return;
    k->err = err;
    note(k, STREAM_FAILED);
    note_readable(k);
}

static void conn_fail(struct h2_conn *c, int err)
{
    if (c->err)
        return;
    c->err = err;
    list_each_safe (n, tmp, &c->streams)
        stream_fail(container_of(n, struct h2_stream, node), err);
    close_down(c, err);
}

/* ---- is it alive? ---- */

static void alive(struct h2_conn *c)
{
    c->heard_ms = loop_now(c->loop);
    timer_cancel(&c->reply);
}

/* Before something is written: the PING goes with it. */
static void ask_if_quiet(struct h2_conn *c)
{
    if (c->err || timer_armed(&c->reply) || c->n_asked >= ASK_MAX || loop_now(c->loop) - c->heard_ms <= QUIET_MS)
        return;
    if (nghttp2_submit_ping(c->ng, NGHTTP2_FLAG_NONE, NULL) != 0)
        return;
    c->n_asked++;
    timer_set(c->loop, &c->reply, REPLY_MS);
}

/* ---- output ---- */

/* 1: nothing is left; 0: full below; -err. */
static int flush(struct h2_conn *c)
{
    ssize_t w;

    if (!c->n_out)
        return 1;
    if (c->full)
        return 0;
    if ((w = stream_write(c->down, &(struct iovec){ c->out + c->out_at, c->n_out }, 1)) < 0)
        return (int)w;
    c->out_at += (uint32_t)w;
    c->n_out -= (uint32_t)w;
    c->full = c->n_out > 0;
    if (c->n_out)
        return 0;
    buf_put(c->out);
    c->out = NULL;
    return 1;
}

/* Frames into the empty buffer, as many as fit. 1: there were some; 0: there are none; -err. */
static int fill(struct h2_conn *c)
{
    const uint8_t *b;
    ssize_t n = 1;

    if (!nghttp2_session_want_write(c->ng))
        return 0;
    if (!(c->out = buf_get()))
        return -ENOMEM;
    c->out_at = c->n_out = 0;
    while (n > 0 && c->n_out + FRAME_ROOM <= BUF_SIZE) {
        if ((n = nghttp2_session_mem_send(c->ng, &b)) < 0 || (size_t)n > BUF_SIZE - c->n_out)
            return n == NGHTTP2_ERR_NOMEM ? -ENOMEM : -ERR_PROTO;
        if (n)
            memcpy(c->out + c->n_out, b, (size_t)n);
        c->n_out += (uint32_t)n;
    }
    if (c->n_out)
        return 1;
    buf_put(c->out);
    c->out = NULL;
    return 0;
}

/* Bytes for a frame, straight from the caller who is in write(). */
static ssize_t provide(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *src, void *arg)
{
    struct h2_stream *k = nghttp2_session_get_stream_user_data(ng, id);
    size_t n = k && k->from ? cursor_take(k->from, buf, len) : 0;

    if (!k || (k->shut && !(k->from && k->from->left)))
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (!n)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)n;
}

/* Streams whose writer waits and could go on now. */
static void note_writable(struct h2_conn *c)
{
    if (c->err || c->n_out || nghttp2_session_get_remote_window_size(c->ng) <= 0)
        return;
    list_each_safe (n, tmp, &c->streams) {
        struct h2_stream *k = container_of(n, struct h2_stream, node);

        if (!k->waits_write || k->gone || nghttp2_session_get_stream_remote_window_size(c->ng, k->id) <= 0)
            continue;
        k->waits_write = false;
        note(k, STREAM_WRITABLE);
    }
}

/* ---- input ---- */

static int add_rx(struct h2_stream *k, const uint8_t *b, size_t n)
{
    while (n) {
        struct rx *x = k->last;
        size_t m;

        if (!x || x->at + x->n == RX_ROOM) {
            if (!(x = (struct rx *)(void *)buf_get()))
                return -ENOMEM;
            *x = (struct rx){ 0 };
            if (k->last)
                k->last->next = x;
            else
                k->first = x;
            k->last = x;
        }
        m = RX_ROOM - x->at - x->n < n ? RX_ROOM - x->at - x->n : n;
        memcpy(x->b + x->at + x->n, b, m);
        x->n += (uint32_t)m;
        k->buffered += m;
        b += m;
        n -= m;
    }
    return 0;
}

static void drop_first_rx(struct h2_stream *k)
{
    struct rx *x = k->first;

    if (!(k->first = x->next))
        k->last = NULL;
    buf_put((uint8_t *)x);
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *b, size_t n, void *arg)
{
    struct h2_stream *k = nghttp2_session_get_stream_user_data(ng, id);

    if (!k || k->err) {
        nghttp2_session_consume(ng, id, n);
        return 0;
    }
    if (add_rx(k, b, n) < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    note_readable(k);
    return 0;
}

/* The three-digit status, or the value of grpc-status (a number). */
static int number(const uint8_t *b, size_t n)
{
    int v = 0;

    for (size_t i = 0; i < n && i < 4; i++)
        v = b[i] < '0' || b[i] > '9' ? 9999 : v * 10 + (b[i] - '0');
    return n ? v : 9999;
}

static void refused(struct h2_stream *k, const char *what, int n)
{
    char said[32];

    if (k->eof || k->err)
        return;
    snprintf(said, sizeof(said), "%s %d", what, n);
    log_dbg(LOG_OUT, "h2: %s", said);
    if (k->ear)
        k->ear->refused(k->ear, said);
    stream_fail(k, -ERR_STATUS);
}

static bool is(const uint8_t *b, size_t n, const char *word)
{
    return n == strlen(word) && !memcmp(b, word, n);
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nl, const uint8_t *value, size_t vl,
                     uint8_t flags, void *arg)
{
    struct h2_stream *k = nghttp2_session_get_stream_user_data(ng, f->hd.stream_id);

    if (!k)
        return 0;
    if (is(name, nl, ":status"))
        k->status = number(value, vl);
    if (is(name, nl, "grpc-status") && number(value, vl) != 0)
        refused(k, "grpc-status", number(value, vl));
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct h2_stream *k = f->hd.stream_id ? nghttp2_session_get_stream_user_data(ng, f->hd.stream_id) : NULL;
    struct h2_conn *c = arg;

    if (f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA)
        c->n_asked = 0;
    if (f->hd.type == NGHTTP2_GOAWAY)
        c->goaway = true;
    if (f->hd.type == NGHTTP2_PING && (f->hd.flags & NGHTTP2_FLAG_ACK))
        c->ping_out = false;
    if (!k)
        return 0;
    if (f->hd.type == NGHTTP2_HEADERS && k->status / 100 != 1 && k->status != 200)
        refused(k, "status", k->status);
    if ((f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) && (f->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        k->eof = true;
        note_readable(k);
    }
    return 0;
}

static int on_closed(nghttp2_session *ng, int32_t id, uint32_t code, void *arg)
{
    struct h2_stream *k = nghttp2_session_get_stream_user_data(ng, id);

    if (!k)
        return 0;
    k->gone = true;
    if (code == NGHTTP2_REFUSED_STREAM)
        stream_fail(k, -ECONNREFUSED);
    else if (code == NGHTTP2_NO_ERROR && k->status == 200)
        k->eof = true; /* the server wants no more of our body: RFC 9113 section 8.1 */
    else
        stream_fail(k, -ECONNRESET);
    note_readable(k);
    if (k->waits_write)
        note(k, STREAM_WRITABLE);
    return 0;
}

static void digest(struct h2_conn *c, const uint8_t *b, size_t n)
{
    ssize_t r = nghttp2_session_mem_recv(c->ng, b, n);

    c->heard = true;
    alive(c);
    if (r < 0)
        conn_fail(c, r == NGHTTP2_ERR_NOMEM || r == NGHTTP2_ERR_CALLBACK_FAILURE ? -ENOMEM : -ERR_PROTO);
}

static void pull(struct h2_conn *c)
{
    uint8_t *b = buf_get();
    ssize_t n = b ? 1 : -ENOMEM;
    int reads = 0;

    while (n > 0 && !c->err && reads++ < READS_MAX)
        if ((n = stream_read(c->down, &(struct iovec){ b, BUF_SIZE }, 1)) > 0)
            digest(c, b, (size_t)n);
    buf_put(b);
    if (n == -STREAM_EOF)
        n = c->heard ? -ECONNRESET : -ERR_EARLY;
    if (n < 0)
        conn_fail(c, (int)n);
    if (n > 0 && !c->err)
        loop_next(c->loop, &c->again);
}

/* Sends what is to be sent, as far as there is room below. */
static void push(struct h2_conn *c)
{
    int r = 1;

    if (c->err)
        return;
    while ((r = flush(c)) > 0 && (r = fill(c)) > 0)
        ;
    if (r < 0) {
        pull(c); /* a peer that hung up may have said why */
        conn_fail(c, r);
    }
}

static void arm_ping(struct h2_conn *c)
{
    if (c->ping_ms && !c->err)
        timer_set(c->loop, &c->ping, c->ping_ms);
}

static void conn_end(struct h2_conn *c);

/* Bytes came, or room did: digest, answer, tell. The connection may end in here. */
static void turn(struct h2_conn *c, unsigned what)
{
    if (c->ending) {
        push(c);
        if (c->err || !c->n_out)
            conn_end(c);
        return;
    }
    c->refs++;
    if (what & (STREAM_READABLE | STREAM_FAILED)) {
        pull(c);
        arm_ping(c);
    }
    push(c);
    if (!nghttp2_session_want_read(c->ng) && !nghttp2_session_want_write(c->ng))
        conn_fail(c,
                  -ERR_PROTO); /* the library has said goodbye: to a peer that speaks something else, or after GOAWAY and the last stream */
    note_writable(c);
    tell_all(c);
    h2_conn_put(c);
}

static void on_down(struct stream *down, unsigned what)
{
    struct h2_conn *c = down->owner;

    if (what & STREAM_WRITABLE) {
        c->full = false;
        alive(c); /* somebody takes what we sent */
    }
    turn(c, what);
}

static void on_again(struct job *j)
{
    turn(container_of(j, struct h2_conn, again), STREAM_READABLE);
}

static void on_ping(struct timer *t)
{
    struct h2_conn *c = container_of(t, struct h2_conn, ping);

    if (c->ping_out)
        conn_fail(c, -ETIMEDOUT);
    else if (nghttp2_submit_ping(c->ng, NGHTTP2_FLAG_NONE, NULL) == 0)
        c->ping_out = true;
    arm_ping(c);
    turn(c, 0);
}

static void on_no_reply(struct timer *t)
{
    struct h2_conn *c = container_of(t, struct h2_conn, reply);

    conn_fail(c, -ETIMEDOUT);
    turn(c, 0);
}

/* ---- the connection ---- */

static nghttp2_session_callbacks *callbacks_new(void)
{
    nghttp2_session_callbacks *cb;

    if (nghttp2_session_callbacks_new(&cb) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_closed);
    return cb;
}

static nghttp2_session *session_new(struct h2_conn *c)
{
    static const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_FIRST },
    };
    nghttp2_session_callbacks *cb = callbacks_new();
    nghttp2_option *opt = NULL;
    nghttp2_session *ng = NULL;

    if (cb && nghttp2_option_new(&opt) == 0) {
        nghttp2_option_set_no_auto_window_update(opt, 1);
        nghttp2_option_set_peer_max_concurrent_streams(opt, STREAMS_UNTOLD);
        nghttp2_session_client_new2(&ng, cb, c, opt);
    }
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    if (ng && (nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
               nghttp2_session_set_local_window_size(ng, NGHTTP2_FLAG_NONE, 0, WINDOW_ALL) != 0)) {
        nghttp2_session_del(ng);
        ng = NULL;
    }
    return ng;
}

static void on_linger(struct timer *t)
{
    struct h2_conn *c = container_of(t, struct h2_conn, linger);

    c->err = -ETIMEDOUT;
    conn_end(c);
}

struct h2_conn *h2_conn_new(struct loop *l, struct stream *down, unsigned ping_s)
{
    struct h2_conn *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->refs = 1;
    c->loop = l;
    c->ping_ms = ping_s * 1000;
    c->heard_ms = loop_now(l);
    c->ping.cb = on_ping;
    c->reply.cb = on_no_reply;
    c->linger.cb = on_linger;
    c->again.cb = on_again;
    c->reap.cb = conn_reap;
    list_init(&c->streams);
    list_init(&c->news);
    if (!(c->ng = session_new(c))) {
        free(c);
        return NULL;
    }
    c->down = down;
    down->owner = c;
    down->on_ready = on_down;
    loop_defer(l, &c->again); /* our settings go, and reading begins, at the end of this turn */
    arm_ping(c);
    return c;
}

/* Everything is said, or cannot be. Once. */
static void conn_end(struct h2_conn *c)
{
    close_down(c, c->err);
    loop_defer(c->loop, &c->reap);
}

void h2_conn_put(struct h2_conn *c)
{
    if (!c || --c->refs)
        return;
    c->ending = true;
    job_cancel(&c->again);
    if (!c->err) {
        nghttp2_session_terminate_session(c->ng, NGHTTP2_NO_ERROR);
        push(c);
    }
    if (c->err || !c->n_out)
        conn_end(c);
    else
        timer_set(c->loop, &c->linger, LINGER_MS);
}

bool h2_conn_usable(const struct h2_conn *c)
{
    return !c->err && !c->goaway && nghttp2_session_check_request_allowed(c->ng);
}

unsigned h2_conn_streams(const struct h2_conn *c)
{
    return c->n_streams;
}

unsigned h2_conn_room(const struct h2_conn *c)
{
    uint32_t most = nghttp2_session_get_remote_settings(c->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    return most > c->n_streams ? most - c->n_streams : 0;
}

/* ---- streams ---- */

static ssize_t copy_rx(struct h2_stream *k, struct cursor *to)
{
    size_t done = 0;

    while (k->first && to->left) {
        struct rx *x = k->first;
        size_t n = cursor_give(to, x->b + x->at, x->n);

        x->at += (uint32_t)n;
        x->n -= (uint32_t)n;
        done += n;
        if (!x->n)
            drop_first_rx(k);
    }
    k->buffered -= done;
    return (ssize_t)done;
}

/* A whole window was read and nothing waits: the reader keeps up, a larger window would only help. */
static void maybe_grow(struct h2_stream *k, size_t n)
{
    k->since_grown += (uint32_t)n;
    if (k->buffered || k->since_grown < k->window || k->window >= WINDOW_MAX || k->gone)
        return;
    k->since_grown = 0;
    k->window *= 2;
    nghttp2_session_set_local_window_size(k->c->ng, NGHTTP2_FLAG_NONE, k->id, (int32_t)k->window);
}

static ssize_t h2_read(struct stream *s, const struct iovec *iov, int n)
{
    struct h2_stream *k = of(s);
    struct cursor to = cursor_from(iov, n);
    ssize_t got = copy_rx(k, &to);

    if (got) {
        if (!k->c->err) {
            nghttp2_session_consume(k->c->ng, k->id, (size_t)got);
            maybe_grow(k, (size_t)got);
            push(k->c);
        }
        return got;
    }
    if (k->err)
        return k->err;
    if (k->eof)
        return -STREAM_EOF;
    k->waits_read = iov_total(iov, n) > 0;
    return 0;
}

static ssize_t h2_write(struct stream *s, const struct iovec *iov, int n)
{
    struct h2_stream *k = of(s);
    struct cursor from = cursor_from(iov, n);
    size_t total = from.left;

    if (k->err)
        return k->err;
    if (k->shut || k->gone)
        return -EPIPE;
    ask_if_quiet(k->c);
    k->from = &from;
    nghttp2_session_resume_data(k->c->ng, k->id);
    push(k->c);
    k->from = NULL;
    if (total) /* a flush asks for nothing */
        k->waits_write = from.left > 0;
    if (k->err && from.left == total)
        return k->err;
    return (ssize_t)(total - from.left);
}

static int h2_shutdown(struct stream *s)
{
    struct h2_stream *k = of(s);

    if (k->err)
        return k->err;
    k->shut = true;
    if (k->gone)
        return 0;
    nghttp2_session_resume_data(k->c->ng, k->id);
    push(k->c);
    return 0;
}

static void stream_reap(struct job *j)
{
    free(container_of(j, struct h2_stream, reap));
}

/* Gives what nobody will read back to the connection's window, and tells the server what is over. */
static void leave(struct h2_stream *k, int err)
{
    struct h2_conn *c = k->c;

    while (k->first)
        drop_first_rx(k);
    if (c->err)
        return;
    nghttp2_session_consume_connection(c->ng, k->buffered);
    if (k->gone)
        return;
    nghttp2_session_set_stream_user_data(c->ng, k->id, NULL);
    if (err || !k->eof)
        nghttp2_submit_rst_stream(c->ng, NGHTTP2_FLAG_NONE, k->id, NGHTTP2_CANCEL);
    else
        nghttp2_session_resume_data(c->ng, k->id); /* without an owner the body ends */
    push(c);
}

static void h2_close(struct stream *s, int err)
{
    struct h2_stream *k = of(s);
    struct h2_conn *c = k->c;

    s->on_ready = NULL;
    list_del(&k->node);
    list_del(&k->news);
    c->n_streams--;
    leave(k, err);
    loop_defer(c->loop, &k->reap);
    h2_conn_put(c);
}

static const struct stream_ops h2_ops = {
    .name = "h2",
    .read = h2_read,
    .write = h2_write,
    .shutdown = h2_shutdown,
    .close = h2_close,
};

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static int32_t submit(struct h2_stream *k, const struct h2_request *q)
{
    nghttp2_nv nv[4 + FIELDS_MAX] = { field(":method", q->method), field(":scheme", q->scheme), field(":authority", q->authority),
                                      field(":path", q->path) };
    unsigned n = q->n_fields < FIELDS_MAX ? q->n_fields : FIELDS_MAX;

    for (unsigned i = 0; i < n; i++)
        nv[4 + i] = field(q->fields[i].name, q->fields[i].value);
    return nghttp2_submit_request(k->c->ng, NULL, nv, 4 + n, &(nghttp2_data_provider){ .read_callback = provide }, k);
}

int h2_open(struct h2_conn *c, const struct h2_request *q, struct stream **up)
{
    struct h2_stream *k;

    if (!h2_conn_usable(c))
        return -ERR_CLOSED;
    if (!(k = calloc(1, sizeof(*k))))
        return -ENOMEM;
    k->s.ops = &h2_ops;
    k->c = c;
    k->ear = q->ear;
    k->window = WINDOW_FIRST;
    k->reap.cb = stream_reap;
    if ((k->id = submit(k, q)) < 0) {
        bool poor = k->id == NGHTTP2_ERR_NOMEM;

        free(k);
        return poor ? -ENOMEM : -ERR_CLOSED;
    }
    list_init(&k->news);
    list_append(&c->streams, &k->node);
    c->refs++;
    c->n_streams++;
    *up = &k->s;
    return 0;
}
