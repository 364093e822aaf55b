/*
 * ns_stream.c - a name server asked over a stream (RFC 7766, RFC 7858)
 *
 *   asks ──► queue ──► [length | message] [length | message] ...  one stream, up to 128 questions under way
 *                ◄─── answers in any order, told apart by an id of ours
 *
 * A connection stays for 60 s after its last answer. When it ends under questions they are sent on another one, at once, but once only. One
 * that is silent for 250 ms while more questions wait than it takes is helped by a second; one that is silent for 2 s is given up (a router
 * forgot it).
 *
 * Everything happens in jobs at the end of a turn: questions of one turn leave in one write, and nobody is told anything while he asks.
 *
 * A question that is part of a dial must not wait for a connection that waits for that dial. Each knows how many look-ups wait for it
 * (depth); a question waits for a connection under construction only if that was begun for fewer; else it gets its own, until the depth is
 * the limit.
 *
 * A connection holds buffers only while bytes are in them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"
#include "dns/ns_connect.h"
#include "dns/private.h"

#define IN_FLIGHT       128 /* questions on one connection */
#define WAITING_MAX     512 /* of one server, those under way too */
#define CONNS_MAX       (2 + DEPTH_MAX)
#define CONNS_MAX_ALONE 32 /* where each question wants its own (disable-reuse) */
#define READS_MAX       64 /* of one connection in a turn */
#define IDLE_MS         60000
#define SILENT_MS       250
#define DEAD_MS         2000

/* A question. */
struct turn {
    struct list_head node; /* stream_ns.queue, or conn.turns */
    struct stream_ns *ss;
    struct conn *c; /* NULL: it waits */
    struct ns_ask *q;
    uint16_t id;
    bool again; /* a connection ended under it */
    int err;    /* how it ends, once it is among the failed */
};

struct conn {
    struct list_head node; /* stream_ns.conns */
    struct stream_ns *ss;
    struct ns_connect connect;
    struct stream *s;  /* NULL: under construction */
    int err;           /* why it is to end */
    bool ending, used; /* used: it has carried a question */
    struct list_head turns;
    unsigned n_turns;
    uint64_t since_ms; /* since when it is silent */
    uint8_t *in, *out; /* owns */
    size_t in_len, in_cap, out_len, out_cap;
    struct timer timer;
    struct job more, reap; /* more: it has more to read than one turn may take */
};

struct stream_ns {
    struct ns s;
    struct list_head conns, queue;
    unsigned n_conns, n_turns;
    struct job serve;
};

static void serve_soon(struct stream_ns *ss)
{
    loop_defer(ss->s.d->loop, &ss->serve);
}

static unsigned per_conn(const struct stream_ns *ss)
{
    return ss->s.spec.disable_reuse ? 1 : IN_FLIGHT;
}

/* ---- questions ---- */

static void turn_free(struct turn *t)
{
    list_del(&t->node);
    if (t->c)
        t->c->n_turns--;
    t->ss->n_turns--;
    free(t);
}

static void turn_end(struct turn *t, int err, uint8_t *msg, size_t len)
{
    struct ns_ask *q = t->q;

    turn_free(t);
    q->priv = NULL;
    ns_answer(q, err, msg, len);
}

/* ---- the end of a connection ---- */

/* To be ended by the next serve(). */
static void conn_fail(struct conn *c, int err)
{
    if (c->ending)
        return;
    c->ending = true;
    c->err = err;
    serve_soon(c->ss);
}

static void conn_reap(struct job *j)
{
    struct conn *c = container_of(j, struct conn, reap);

    free(c->in);
    free(c->out);
    free(c);
}

static void conn_close(struct conn *c)
{
    timer_cancel(&c->timer);
    job_cancel(&c->more);
    ns_connect_cancel(&c->connect);
    if (c->s)
        stream_close(c->s, c->err);
    c->s = NULL;
    list_del(&c->node);
    c->ss->n_conns--;
    loop_defer(c->ss->s.d->loop, &c->reap);
}

/* Does the nth question of the queue get its turn by what is there? */
static bool may_wait(const struct stream_ns *ss, const struct turn *t, unsigned nth)
{
    bool alone = ss->s.spec.disable_reuse;
    unsigned coming = 0;

    list_each_safe (n, tmp, &ss->conns) {
        const struct conn *c = container_of(n, struct conn, node);

        if (c->ending)
            continue;
        if (!alone && (c->s || t->q->depth <= c->connect.depth))
            return true;
        coming += !c->s && t->q->depth <= c->connect.depth;
    }
    return alone && (nth < coming || ss->n_conns >= CONNS_MAX_ALONE);
}

/* Those that waited for a connection that did not come to be, and for no other. */
static void take_disappointed(const struct conn *c, struct list_head *mine)
{
    unsigned nth = 0;

    list_each_safe (n, tmp, &c->ss->queue) {
        struct turn *t = container_of(n, struct turn, node);

        if (t->q->depth > c->connect.depth || may_wait(c->ss, t, nth++))
            continue;
        list_del(n);
        list_append(mine, n);
        if (c->ss->s.spec.disable_reuse)
            return;
    }
}

/* Its questions are asked again, once; those that it never got only if the server has another address. */
static void conn_end(struct conn *c, struct list_head *failed)
{
    struct stream_ns *ss = c->ss;
    bool hopeless = !c->s && ss->s.n_addr < 2;
    struct list_head mine;

    list_init(&mine);
    list_splice(&mine, &c->turns);
    c->n_turns = 0;
    if (!c->s)
        take_disappointed(c, &mine);
    for (struct list_head *n; (n = list_first(&mine));) {
        struct turn *t = container_of(n, struct turn, node);

        list_del(n);
        list_append(t->again || hopeless ? failed : &ss->queue, n);
        t->err = c->err ? c->err : -ECONNRESET;
        t->c = NULL;
        t->again = true;
    }
    conn_close(c);
}

/* ---- bytes ---- */

static uint8_t *room(uint8_t **buf, size_t len, size_t *cap, size_t n)
{
    uint8_t *more = *buf;

    if (len + n > *cap && !(more = realloc(*buf, len + n)))
        return NULL;
    if (len + n > *cap)
        *cap = len + n;
    *buf = more;
    return more + len;
}

static void conn_write(struct conn *c)
{
    while (c->out_len) {
        ssize_t n = stream_write(c->s, &(struct iovec){ c->out, c->out_len }, 1);

        if (n <= 0) {
            if (n < 0)
                conn_fail(c, (int)n);
            return;
        }
        c->out_len -= (size_t)n;
        memmove(c->out, c->out + n, c->out_len);
    }
    free(c->out);
    c->out = NULL;
    c->out_cap = 0;
}

static struct turn *turn_of(struct conn *c, uint16_t id)
{
    list_each_safe (n, tmp, &c->turns) {
        struct turn *t = container_of(n, struct turn, node);

        if (t->id == id)
            return t;
    }
    return NULL;
}

static uint16_t fresh_id(struct conn *c)
{
    uint16_t id;

    do
        random_bytes(&id, sizeof(id));
    while (turn_of(c, id));
    return id;
}

static void take_messages(struct conn *c)
{
    size_t at = 0;

    while (c->in_len - at >= 2 && c->in_len - at >= 2u + get16(c->in + at)) {
        uint8_t *msg = c->in + at + 2;
        size_t len = get16(c->in + at);
        struct turn *t = len >= DNS_HEADER ? turn_of(c, get16(msg)) : NULL;

        at += 2 + len;
        if (t) /* else nobody waits for it any more */
            turn_end(t, 0, msg, len);
    }
    c->in_len -= at;
    memmove(c->in, c->in + at, c->in_len);
}

static void conn_read(struct conn *c)
{
    ssize_t n = 1;

    for (int i = 0; i < READS_MAX && n > 0; i++) {
        size_t want = c->in_len >= 2 ? 2u + get16(c->in) - c->in_len : 1024;
        uint8_t *at = room(&c->in, c->in_len, &c->in_cap, want);

        n = at ? stream_read(c->s, &(struct iovec){ at, want }, 1) : -ENOMEM;
        if (n > 0) {
            c->in_len += (size_t)n;
            c->since_ms = loop_now(c->ss->s.d->loop);
            take_messages(c);
        }
    }
    if (n > 0)
        loop_next(c->ss->s.d->loop, &c->more);
    else if (n < 0)
        conn_fail(c, n == -STREAM_EOF ? 0 : (int)n);
    if (!c->in_len) {
        free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
    serve_soon(c->ss);
}

/* Whoever gets an answer may let go of the server. */
static void read_guarded(struct conn *c)
{
    struct ns *ns = &c->ss->s;

    ns->refs++;
    conn_read(c);
    ns_put(ns);
}

static void on_more(struct job *j)
{
    struct conn *c = container_of(j, struct conn, more);

    if (!c->ending)
        read_guarded(c);
}

static void on_ready(struct stream *s, unsigned what)
{
    struct conn *c = s->owner;

    if (what & STREAM_FAILED)
        conn_fail(c, -ECONNRESET);
    if (what & STREAM_WRITABLE && !c->ending)
        conn_write(c);
    if (what & STREAM_READABLE && !c->ending)
        read_guarded(c);
}

/* ---- the beginning of a connection ---- */

static uint64_t silent_ms(const struct conn *c)
{
    return loop_now(c->ss->s.d->loop) - c->since_ms;
}

static void arm(struct conn *c)
{
    timer_set(c->ss->s.d->loop, &c->timer, c->n_turns ? SILENT_MS : IDLE_MS);
}

static int conn_open(struct stream_ns *ss, uint8_t depth);

static void on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    struct stream_ns *ss = c->ss;

    if (silent_ms(c) >= (c->n_turns ? DEAD_MS : IDLE_MS)) {
        conn_fail(c, c->n_turns ? -ETIMEDOUT : 0);
        return;
    }
    if (c->n_turns && !list_empty(&ss->queue) && ss->n_conns < 2)
        conn_open(ss, 0); /* if it cannot be, the first one is still there */
    arm(c);
}

static void on_connected(struct ns_connect *nc, struct stream *s, int err)
{
    struct conn *c = container_of(nc, struct conn, connect);

    if (err) {
        conn_fail(c, err);
        return;
    }
    c->s = s;
    s->on_ready = on_ready;
    s->owner = c;
    c->since_ms = loop_now(c->ss->s.d->loop);
    read_guarded(c); /* nothing is there; it asks to be told */
}

static int conn_open(struct stream_ns *ss, uint8_t depth)
{
    struct conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->ss = ss;
    c->timer.cb = on_timer;
    c->more.cb = on_more;
    c->reap.cb = conn_reap;
    list_init(&c->turns);
    c->connect = (struct ns_connect){ .ns = &ss->s, .depth = depth, .done = on_connected };
    if ((r = ns_connect_start(&c->connect)) < 0) {
        free(c);
        return r;
    }
    list_append(&ss->conns, &c->node);
    ss->n_conns++;
    return 0;
}

/* ---- questions to connections ---- */

static bool put_on(struct conn *c, struct turn *t)
{
    uint8_t *at = room(&c->out, c->out_len, &c->out_cap, 2 + DNS_QUERY_MAX);
    size_t len;

    if (!at)
        return false;
    if (!c->n_turns)
        c->since_ms = loop_now(c->ss->s.d->loop);
    c->used = true;
    t->id = fresh_id(c);
    t->c = c;
    list_del(&t->node);
    list_append(&c->turns, &t->node);
    c->n_turns++;
    len = ns_query(t->q, t->id, c->ss->s.spec.kind == NS_TLS ? 128 : 0, at + 2);
    put16(at, (unsigned)len);
    c->out_len += 2 + len;
    return true;
}

static void fill(struct conn *c)
{
    struct stream_ns *ss = c->ss;

    while (!list_empty(&ss->queue) && c->n_turns < per_conn(ss) && !(c->used && ss->s.spec.disable_reuse))
        if (!put_on(c, container_of(list_first(&ss->queue), struct turn, node)))
            break;
    conn_write(c);
    arm(c);
}

static void serve(struct stream_ns *ss, struct list_head *failed)
{
    unsigned nth = 0;

    list_each_safe (n, tmp, &ss->conns)
        if (container_of(n, struct conn, node)->ending)
            conn_end(container_of(n, struct conn, node), failed);
    list_each_safe (n, tmp, &ss->conns) {
        struct conn *c = container_of(n, struct conn, node);

        if (c->s && !c->ending)
            fill(c);
        if (c->s && !c->n_turns && ss->s.spec.disable_reuse)
            conn_fail(c, 0);
    }
    list_each_safe (n, tmp, &ss->queue) {
        struct turn *t = container_of(n, struct turn, node);

        if (may_wait(ss, t, nth++))
            continue;
        if ((t->err = ss->n_conns < CONNS_MAX || ss->s.spec.disable_reuse ? conn_open(ss, t->q->depth) : -ELOOP) == 0)
            continue;
        list_del(n);
        list_append(failed, n);
    }
}

static void on_serve(struct job *j)
{
    struct stream_ns *ss = container_of(j, struct stream_ns, serve);
    struct list_head failed;

    list_init(&failed);
    ss->s.refs++;
    serve(ss, &failed);
    for (struct list_head *n; (n = list_first(&failed));)
        turn_end(container_of(n, struct turn, node), container_of(n, struct turn, node)->err, NULL, 0);
    ns_put(&ss->s);
}

/* ---- the kind ---- */

static int stream_ask(struct ns *s, struct ns_ask *q)
{
    struct stream_ns *ss = container_of(s, struct stream_ns, s);
    struct turn *t;

    if (!s->d->ways)
        return -ERR_UNSUPPORTED;
    if (ss->n_turns >= WAITING_MAX)
        return -ERR_LIMIT;
    if (!(t = calloc(1, sizeof(*t))))
        return -ENOMEM;
    t->ss = ss;
    t->q = q;
    q->priv = t;
    list_append(&ss->queue, &t->node);
    ss->n_turns++;
    serve_soon(ss);
    return 0;
}

static void stream_cancel(struct ns *s, struct ns_ask *q)
{
    turn_free(q->priv); /* an answer that comes is nobody's */
    q->priv = NULL;
}

static void stream_ns_close(struct ns *s)
{
    struct stream_ns *ss = container_of(s, struct stream_ns, s);

    list_each_safe (n, tmp, &ss->conns)
        conn_close(container_of(n, struct conn, node));
    job_cancel(&ss->serve);
    free(ss);
}

static const struct ns_ops stream_ns_ops = { stream_ask, stream_cancel, stream_ns_close };

struct ns *ns_stream_new(void)
{
    struct stream_ns *ss = calloc(1, sizeof(*ss));

    if (!ss)
        return NULL;
    ss->s.ops = &stream_ns_ops;
    ss->serve.cb = on_serve;
    list_init(&ss->conns);
    list_init(&ss->queue);
    return &ss->s;
}
