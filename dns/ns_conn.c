/*
 * ns_conn.c - the connections of a name server
 *
 *   asks ──► queue ──► up to 128 on one connection ──► answers in any order
 *              ▲                     │ it ends
 *              └──── once ───────────┘
 *
 * A connection stays for 60 s after its last answer. When it ends under questions they are sent on another one, at once, but once only. One
 * that is silent for 250 ms while more questions wait than it takes is helped by a second; one that is silent for 2 s is given up (a router
 * forgot it).
 *
 * One that comes to nothing, by whatever address the server has, keeps the next from being tried: for 0.1 s, then 0.2, up to one second.
 * Whoever asks meanwhile is told at once.
 *
 * Everything happens in jobs at the end of a turn: questions of one turn leave together, and nobody is told anything while he asks.
 *
 * A question that is part of a dial must not wait for a connection that waits for that dial. Each knows how many look-ups wait for it
 * (depth); a question waits for a connection under construction only if that was begun for as many or more; else it gets its own, until the
 * depth is the limit. A stream by a proxy may be there before the proxy is: until something is heard on it, it is under construction.
 */
#include "dns/ns_conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"

#define IN_FLIGHT       128 /* questions on one connection */
#define WAITING_MAX     512 /* of one server, those under way too */
#define CONNS_MAX       (2 + DEPTH_MAX)
#define CONNS_MAX_ALONE 32 /* where each question wants its own (disable-reuse) */
#define CONNECT_MS      8000
#define IDLE_MS         60000
#define SILENT_MS       250
#define DEAD_MS         2000
#define BACKOFF_MS      100 /* after a connection that came to nothing; doubled with each */
#define BACKOFF_MAX_MS  1000

void conn_serve(struct conn_ns *cs)
{
    loop_defer(cs->s.d->loop, &cs->serve);
}

/* How many questions it takes at a time. */
static unsigned room_of(const struct conn *c)
{
    unsigned n = c->up && !c->ending ? c->cs->kind->room(c) : 0;

    if (c->cs->s.spec.disable_reuse)
        return n && !c->used;
    return n < IN_FLIGHT ? n : IN_FLIGHT;
}

/* May it wait for this one? */
static bool suits(const struct conn *c, const struct turn *t)
{
    return c->heard || t->q->depth <= c->connect.depth;
}

uint8_t *conn_room(uint8_t **buf, size_t len, size_t *cap, size_t n)
{
    uint8_t *more = *buf;

    if (len + n > *cap && !(more = realloc(*buf, len + n)))
        return NULL;
    if (len + n > *cap)
        *cap = len + n;
    *buf = more;
    return more + len;
}

/* ---- questions ---- */

/* Takes it off its connection. */
static void turn_off(struct turn *t)
{
    if (t->c) {
        t->cs->kind->drop(t);
        t->c->n_turns--;
    }
    t->c = NULL;
    list_del(&t->node);
}

static void turn_free(struct turn *t)
{
    turn_off(t);
    t->cs->n_turns--;
    free(t->in);
    free(t);
}

void turn_end(struct turn *t, int err, uint8_t *msg, size_t len)
{
    struct ns_ask *q = t->q;
    uint8_t *in = t->in; /* msg may lie in it */

    t->in = NULL;
    conn_serve(t->cs);
    turn_free(t);
    q->priv = NULL;
    ns_answer(q, err, msg, len);
    free(in);
}

static void turn_requeue(struct turn *t, int err)
{
    turn_off(t);
    free(t->in);
    t->in = NULL;
    t->in_len = t->in_cap = 0;
    t->err = err ? err : -ECONNRESET;
    t->again = true;
}

void turn_back(struct turn *t, int err)
{
    if (t->again) {
        turn_end(t, err, NULL, 0);
        return;
    }
    turn_requeue(t, err);
    list_append(&t->cs->queue, &t->node);
    conn_serve(t->cs);
}

/* ---- the end of a connection ---- */

void conn_fail(struct conn *c, int err)
{
    if (c->ending)
        return;
    c->ending = true;
    c->err = err;
    conn_serve(c->cs);
}

static void conn_reap(struct job *j)
{
    free(container_of(j, struct conn, reap));
}

/* Circles do not count: they say nothing about the server. */
static void note_failure(const struct conn *c)
{
    struct conn_ns *cs = c->cs;
    unsigned tried = cs->s.n_addr > 1 ? (unsigned)cs->s.n_addr : 1, over;

    if (c->heard)
        cs->n_failed = 0;
    if (c->heard || !c->err || c->err == -ERR_CIRCLE || ++cs->n_failed < tried)
        return;
    over = cs->n_failed - tried;
    cs->failed_err = c->err;
    cs->s.again_ms = loop_now(cs->s.d->loop) + (over < 4 ? BACKOFF_MS << over : BACKOFF_MAX_MS);
}

static void conn_close(struct conn *c)
{
    timer_cancel(&c->timer);
    ns_connect_cancel(&c->connect);
    if (c->up)
        c->cs->kind->close(c);
    list_del(&c->node);
    c->cs->n_conns--;
    loop_defer(c->cs->s.d->loop, &c->reap);
}

/* Does the nth question of the queue get its turn by what is there? */
static bool may_wait(const struct conn_ns *cs, const struct turn *t, unsigned nth)
{
    bool alone = cs->s.spec.disable_reuse;
    unsigned coming = 0;

    list_each_safe (n, tmp, &cs->conns) {
        const struct conn *c = container_of(n, struct conn, node);
        bool comes = !c->up && suits(c, t);

        if (c->ending)
            continue;
        if (!alone && (comes || (room_of(c) && suits(c, t))))
            return true;
        coming += comes;
    }
    return alone && (nth < coming || cs->n_conns >= CONNS_MAX_ALONE);
}

/* Those that waited for a connection that did not come to be, and for no other. */
static void take_disappointed(const struct conn *c, struct list_head *mine)
{
    unsigned nth = 0;

    list_each_safe (n, tmp, &c->cs->queue) {
        struct turn *t = container_of(n, struct turn, node);

        if (t->q->depth > c->connect.depth || may_wait(c->cs, t, nth++))
            continue;
        list_del(n);
        list_append(mine, n);
        if (c->cs->s.spec.disable_reuse)
            return;
    }
}

/* Its questions are asked again, once; those of one that failed and on which nothing was ever heard, only if the server has
 * another address. */
static void conn_end(struct conn *c, struct list_head *failed)
{
    struct conn_ns *cs = c->cs;
    bool hopeless = !(c->heard || (c->used && !c->err)) && cs->s.n_addr < 2;
    struct list_head mine;

    note_failure(c);
    list_init(&mine);
    list_splice(&mine, &c->turns);
    if (!c->used)
        take_disappointed(c, &mine);
    for (struct list_head *n; (n = list_first(&mine));) {
        struct turn *t = container_of(n, struct turn, node);
        bool over = t->again || hopeless;

        turn_requeue(t, c->err);
        list_append(over ? failed : &cs->queue, n);
    }
    conn_close(c);
}

/* ---- the beginning of a connection ---- */

static uint64_t silent_ms(const struct conn *c)
{
    return loop_now(c->cs->s.d->loop) - c->since_ms;
}

static void arm(struct conn *c)
{
    timer_set(c->cs->s.d->loop, &c->timer, c->n_turns ? SILENT_MS : IDLE_MS);
}

static int conn_open(struct conn_ns *cs, uint8_t depth);

static void on_timer(struct timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    struct conn_ns *cs = c->cs;

    if (!c->up || silent_ms(c) >= (c->n_turns ? DEAD_MS : IDLE_MS)) {
        conn_fail(c, !c->up || c->n_turns ? -ETIMEDOUT : 0);
        return;
    }
    if (c->n_turns && !list_empty(&cs->queue) && cs->n_conns < 2)
        conn_open(cs, 0); /* if it cannot be, the first one is still there */
    arm(c);
}

static void on_connected(struct ns_connect *nc, struct stream *s, int err)
{
    struct conn *c = container_of(nc, struct conn, connect);

    if (!err && (err = c->cs->kind->open(c, s)) < 0)
        stream_close(s, err);
    if (err) {
        conn_fail(c, err);
        return;
    }
    c->up = true;
    c->heard = c->cs->s.spec.kind == NS_TLS || c->cs->s.spec.kind == NS_HTTPS;
    c->since_ms = loop_now(c->cs->s.d->loop);
    conn_serve(c->cs);
}

static int conn_open(struct conn_ns *cs, uint8_t depth)
{
    struct conn *c = calloc(1, cs->kind->size);
    int r;

    if (!c)
        return -ENOMEM;
    c->cs = cs;
    c->timer.cb = on_timer;
    c->reap.cb = conn_reap;
    list_init(&c->turns);
    c->connect = (struct ns_connect){ .ns = &cs->s, .depth = depth, .done = on_connected };
    if ((r = ns_connect_start(&c->connect)) < 0) {
        free(c);
        return r;
    }
    timer_set(cs->s.d->loop, &c->timer, CONNECT_MS);
    list_append(&cs->conns, &c->node);
    cs->n_conns++;
    return 0;
}

/* ---- questions to connections ---- */

static void put_on(struct conn *c, struct turn *t)
{
    int r;

    if (!c->n_turns)
        c->since_ms = loop_now(c->cs->s.d->loop);
    c->used = true;
    t->c = c;
    list_del(&t->node);
    list_append(&c->turns, &t->node);
    c->n_turns++;
    if ((r = c->cs->kind->put(c, t)) < 0)
        conn_fail(c, r);
}

static void fill(struct conn *c)
{
    struct conn_ns *cs = c->cs;
    bool some = false;

    list_each_safe (n, tmp, &cs->queue) {
        struct turn *t = container_of(n, struct turn, node);

        if (c->n_turns >= room_of(c))
            break;
        if (!suits(c, t))
            continue;
        put_on(c, t);
        some = true;
    }
    if (some && !c->ending)
        cs->kind->flush(c);
    if (!c->n_turns && !room_of(c))
        conn_fail(c, c->used ? 0 : -ERR_CLOSED); /* it has served its time, or wants no questions */
    if (!c->ending)
        arm(c);
}

static int open_for(struct conn_ns *cs, const struct turn *t)
{
    if (loop_now(cs->s.d->loop) < cs->s.again_ms)
        return cs->failed_err;
    return cs->n_conns < CONNS_MAX || cs->s.spec.disable_reuse ? conn_open(cs, t->q->depth) : -ERR_CIRCLE;
}

static void serve(struct conn_ns *cs, struct list_head *failed)
{
    unsigned nth = 0;

    list_each_safe (n, tmp, &cs->conns)
        if (container_of(n, struct conn, node)->ending)
            conn_end(container_of(n, struct conn, node), failed);
    list_each_safe (n, tmp, &cs->conns) {
        struct conn *c = container_of(n, struct conn, node);

        if (c->up && !c->ending)
            fill(c);
    }
    list_each_safe (n, tmp, &cs->queue) {
        struct turn *t = container_of(n, struct turn, node);

        if (may_wait(cs, t, nth++))
            continue;
        if ((t->err = open_for(cs, t)) == 0)
            continue;
        list_del(n);
        list_append(failed, n);
    }
}

static void on_serve(struct job *j)
{
    struct conn_ns *cs = container_of(j, struct conn_ns, serve);
    struct list_head failed;

    list_init(&failed);
    cs->s.refs++;
    serve(cs, &failed);
    for (struct list_head *n; (n = list_first(&failed));)
        turn_end(container_of(n, struct turn, node), container_of(n, struct turn, node)->err, NULL, 0);
    ns_put(&cs->s);
}

/* ---- the server ---- */

static int conn_ns_ask(struct ns *s, struct ns_ask *q)
{
    struct conn_ns *cs = container_of(s, struct conn_ns, s);
    struct turn *t;

    if (!s->d->ways && !*s->spec.interface)
        return -ERR_UNSUPPORTED;
    if (cs->n_turns >= WAITING_MAX)
        return -ERR_LIMIT;
    if (!(t = calloc(1, sizeof(*t))))
        return -ENOMEM;
    t->cs = cs;
    t->q = q;
    q->priv = t;
    list_append(&cs->queue, &t->node);
    cs->n_turns++;
    conn_serve(cs);
    return 0;
}

static void conn_ns_cancel(struct ns *s, struct ns_ask *q)
{
    struct turn *t = q->priv;

    q->priv = NULL;
    conn_serve(t->cs); /* its place is free */
    turn_free(t);
}

static void conn_ns_close(struct ns *s)
{
    struct conn_ns *cs = container_of(s, struct conn_ns, s);

    list_each_safe (n, tmp, &cs->conns)
        conn_close(container_of(n, struct conn, node));
    job_cancel(&cs->serve);
    free(cs);
}

static const struct ns_ops conn_ns_ops = { conn_ns_ask, conn_ns_cancel, conn_ns_close };

struct ns *conn_ns_new(const struct conn_ops *kind)
{
    struct conn_ns *cs = calloc(1, sizeof(*cs));

    if (!cs)
        return NULL;
    cs->s.ops = &conn_ns_ops;
    cs->kind = kind;
    cs->serve.cb = on_serve;
    list_init(&cs->conns);
    list_init(&cs->queue);
    return &cs->s;
}
