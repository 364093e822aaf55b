/*
 * grpc_pool.c - HTTP/2 connections that gRPC streams of a node share
 *
 *   a stream is wanted ──► a connection with room? ──► a stream of it
 *                          else: one is being made ──► wait for it          else: make one, wait
 *
 * How many there are is the profile's: max-connections (1 when nothing is said), min-streams (a new connection only when all have so many),
 * max-streams (without max-connections: a new one when all have so many). A connection that nobody uses for a minute is given up.
 * In another network all are: each ends with its last stream. The one that is being made stays, since it has yet to show that it works.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/err.h"
#include "outbound/under.h"

#define IDLE_MS 60000

struct pooled {
    struct list_head node;
    struct h2_conn *conn;
    uint64_t used_ms;
};

static struct under *under_of(struct grpc_pool *p)
{
    return container_of(p, struct under, pool);
}

static void drop(struct grpc_pool *p, struct pooled *c)
{
    list_del(&c->node);
    p->n_conns--;
    h2_conn_put(c->conn);
    free(c);
}

static void on_idle(struct timer *t)
{
    struct grpc_pool *p = container_of(t, struct grpc_pool, idle);
    struct loop *l = under_of(p)->o->env->loop;

    list_each_safe (n, tmp, &p->conns) {
        struct pooled *c = container_of(n, struct pooled, node);

        if (h2_conn_streams(c->conn))
            c->used_ms = loop_now(l);
        if (!h2_conn_usable(c->conn) || loop_now(l) - c->used_ms >= IDLE_MS)
            drop(p, c);
    }
    if (p->n_conns)
        timer_set(l, t, IDLE_MS / 2);
}

/* The usable connection with the fewest streams; the others are let go. */
static struct pooled *least_used(struct grpc_pool *p)
{
    struct pooled *best = NULL;

    list_each_safe (n, tmp, &p->conns) {
        struct pooled *c = container_of(n, struct pooled, node);

        if (!h2_conn_usable(c->conn))
            drop(p, c);
        else if (h2_conn_room(c->conn) && (!best || h2_conn_streams(c->conn) < h2_conn_streams(best->conn)))
            best = c;
    }
    return best;
}

/* Is another connection to be made rather than c used? */
static bool wants_another(const struct grpc_pool *p, const struct pooled *c, const struct opt_grpc *g)
{
    unsigned n = c ? h2_conn_streams(c->conn) : 0;

    if (!c)
        return true;
    if (g->max_connections > 0)
        return p->n_conns < g->max_connections && n > 0 && n >= g->min_streams;
    return g->max_streams > 0 && n >= g->max_streams;
}

static int open_on(struct grpc_pool *p, struct pooled *c, struct stream **out)
{
    struct under *u = under_of(p);
    const struct opt_grpc *g = &u->net->grpc;
    struct http_field fields[] = { { "content-type", "application/grpc" }, { "te", "trailers" }, { "user-agent", g->user_agent } };
    char host[UNDER_HOST_MAX];
    struct h2_request q = { "POST", u->client ? "https" : "http", under_host(u, u->name, host), g->path, fields, 3, &u->ear };
    struct stream *h2;
    int r = h2_open(c->conn, &q, &h2);

    if (r < 0)
        return r;
    if ((r = grpc_start(u->o->env->loop, h2, out)) < 0)
        stream_close(h2, r);
    c->used_ms = loop_now(u->o->env->loop);
    return r < 0 ? r : 1;
}

/* ---- making one ---- */

/* Those who wait get a stream of the new connection, or the reason why there is none. */
static void serve(struct grpc_pool *p, int err)
{
    struct list_head batch, *n;

    list_init(&batch);
    list_splice(&batch, &p->waiting);
    while ((n = list_first(&batch))) {
        struct under_dial *x = container_of(n, struct under_dial, wait);
        struct stream *s = NULL;
        int r = err;

        list_del(n);
        if (!r && (r = grpc_pool_open(x, &s)) == 0)
            continue; /* it waits for the next one */
        under_conclude(x, r > 0 ? s : NULL, r > 0 ? 0 : r);
    }
}

static void reap(struct job *j)
{
    free(container_of(j, struct under_dial, job));
}

static void on_conn(struct under_dial *d, struct stream *s, int err)
{
    struct grpc_pool *p = &d->u->pool;
    const struct opt_grpc *g = &d->u->net->grpc;
    struct loop *l = d->o->env->loop;
    struct pooled *c = err ? NULL : calloc(1, sizeof(*c));

    if (c && !(c->conn = h2_conn_new(l, s, (unsigned)g->ping_interval_s))) {
        free(c);
        c = NULL;
    }
    if (!err && !c) {
        stream_close(s, -ENOMEM);
        err = -ENOMEM;
    }
    p->dial = NULL;
    if (c) {
        c->used_ms = loop_now(l);
        list_append(&p->conns, &c->node);
        p->n_conns++;
        p->idle.cb = on_idle;
        timer_set(l, &p->idle, IDLE_MS / 2);
    }
    d->job.cb = reap;
    loop_defer(l, &d->job);
    serve(p, err);
}

static int make(struct grpc_pool *p, uint8_t depth)
{
    struct under *u = under_of(p);
    int r;

    if (!(p->dial = calloc(1, sizeof(*p->dial))))
        return -ENOMEM;
    p->dial->done = on_conn;
    p->dial->carrier.depth = depth;
    if ((r = under_start_tls(p->dial, u->o, u)) < 0) {
        free(p->dial);
        p->dial = NULL;
    }
    return r;
}

int grpc_pool_open(struct under_dial *x, struct stream **out)
{
    struct grpc_pool *p = &x->u->pool;
    struct pooled *c = least_used(p);
    int r;

    if (!wants_another(p, c, &x->u->net->grpc))
        return open_on(p, c, out);
    if (!p->dial && (r = make(p, x->carrier.depth)) < 0)
        return r;
    if (x->carrier.depth > p->dial->carrier.depth && carrier_asks(&p->dial->carrier))
        return -ERR_CIRCLE; /* it may be for this answer that the connection waits */
    list_append(&p->waiting, &x->wait);
    return 0;
}

static void drop_all(struct grpc_pool *p)
{
    list_each_safe (n, tmp, &p->conns)
        drop(p, container_of(n, struct pooled, node));
}

void out_set_moved(struct out_set *s)
{
    list_each_safe (n, tmp, &s->pools)
        drop_all(container_of(n, struct grpc_pool, of_set));
}

void grpc_pool_init(struct grpc_pool *p, struct out_set *s)
{
    list_init(&p->conns);
    list_init(&p->waiting);
    list_append(&s->pools, &p->of_set);
}

void grpc_pool_fini(struct grpc_pool *p)
{
    list_del(&p->of_set);
    if (p->dial)
        under_cancel(p->dial);
    free(p->dial);
    p->dial = NULL;
    timer_cancel(&p->idle);
    drop_all(p);
}
