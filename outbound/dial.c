/*
 * dial.c - dialling and opening on a leaf, its counters, and the way over one TCP connection
 *
 *   out_dial ──► ops->dial ──► ... ──► out_dial_done ──► d->done        counted at both ends
 *
 * What carries a node's bytes to its server is a socket of ours, or a stream that another outbound dials (dialer-proxy, relay): the carrier. Most types are
 * "a carrier to the server, and a layer on it" (direct: no layer). That is a link: it lives from dial to done and is freed at the end of that turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "outbound/options.h"
#include "outbound/private.h"
#include "outbound/ss.h"
#include "outbound/under.h"

bool out_may_use(const struct outbound *o, const struct addr *ip)
{
    if (ip->ver == 6)
        return o->env->ipv6 && o->family != OPT_V4;
    return o->family != OPT_V6;
}

int out_usable(const struct outbound *o, const struct lookup *l, struct addr out[LOOKUP_MAX])
{
    int first = o->family == OPT_V4_FIRST ? 4 : o->family == OPT_V6_FIRST ? 6 : 0, n = 0;

    for (int turn = 0; turn < 2; turn++)
        for (int i = 0; i < l->n; i++)
            if ((turn == 0) == (!first || l->addr[i].ver == first) && out_may_use(o, &l->addr[i]))
                out[n++] = l->addr[i];
    return n;
}

uint8_t out_only(const struct outbound *o)
{
    return opt_only(o->family);
}

const struct addr *out_choose(const struct outbound *o, struct lookup *l)
{
    struct sock_way way = out_sock_opts(o).way;
    struct addr usable[LOOKUP_MAX];
    int at = 0;

    l->n = out_usable(o, l, usable);
    memcpy(l->addr, usable, (size_t)l->n * sizeof(usable[0]));
    while (at < l->n - 1 && sock_probe(&l->addr[at], &way) < 0)
        at++;
    return l->n ? &l->addr[at] : NULL;
}

/* A node that this build cannot dial: the log says why, once. */
static int refuse(struct outbound *o)
{
    char name[OUT_NAME_MAX];

    if (!o->refusal_said && o->why)
        log_warn(LOG_OUT, "%s: its flows are rejected: %s", out_quote(o->name, name), o->why);
    o->refusal_said = true;
    return -ERR_UNSUPPORTED;
}

#define KEEP_ALIVE_S 15 /* unless the profile says */

/* Fast open is for protocols that speak first: what is direct may wait for the other side to. */
struct sock_opts out_sock_opts(const struct outbound *o)
{
    const struct profile *p = o->set->profile;
    const char *all = p->interface_name && *p->interface_name ? p->interface_name : NULL;
    struct sock_opts s = { .way = { o->interface ? o->interface : all, o->mark ? o->mark : (uint32_t)p->routing_mark }, .multipath = o->mptcp };

    s.fast_open = o->tfo && o->ops->action == OUT_PROXY;
    if (p->disable_keep_alive)
        return s;
    s.keep_idle_s = p->keep_alive_idle_s ? (unsigned)p->keep_alive_idle_s : KEEP_ALIVE_S;
    s.keep_interval_s = p->keep_alive_interval_s ? (unsigned)p->keep_alive_interval_s : KEEP_ALIVE_S;
    return s;
}

int out_dial(struct outbound *o, struct dial *d)
{
    int r;

    d->priv = NULL;
    o->n_dials++;
    r = o->ops->dial && !o->why ? o->ops->dial(o, d) : refuse(o);
    if (r < 0)
        o->n_failed++;
    return r;
}

void out_cancel(struct outbound *o, struct dial *d)
{
    if (d->priv && o->ops->cancel)
        o->ops->cancel(o, d);
    d->priv = NULL;
}

void out_dial_done(struct outbound *o, struct dial *d, struct stream *s, int err)
{
    if (err)
        o->n_failed++;
    d->priv = NULL;
    d->done(d, s, err);
}

int out_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    if (o->why)
        return refuse(o);
    if (!o->udp || !o->ops->open_pkt)
        return -ERR_UNSUPPORTED;
    return o->ops->open_pkt(o, m, out);
}

/* ---- carriers ---- */

static void on_socket(struct tcp_connect *tc, struct stream *s, int err)
{
    struct carrier *c = container_of(tc, struct carrier, tc);

    c->peer = tc->peer;
    c->running = false;
    c->done(c, s, err);
}

static void on_via(struct dial *d, struct stream *s, int err)
{
    struct carrier *c = container_of(d, struct carrier, via.dial);

    c->running = false;
    c->done(c, s, err);
}

struct outbound *out_sender(struct outbound *o, const struct flow_meta *m, bool *through)
{
    struct outbound *chain[OUT_CHAIN_MAX], *leaf = o->via ? chain[out_resolve(o->via, m, chain) - 1] : o;

    *through = o->via && (leaf->ops->action != OUT_DIRECT || leaf->via);
    return leaf;
}

int carrier_start(struct carrier *c, struct outbound *o, const struct dest *to, enum lookup_for why)
{
    struct flow_meta m = { .net = FLOW_TCP, .depth = c->depth, .dst = *to };
    struct outbound *by = out_sender(o, &m, &c->through);
    int r;

    c->env = o->env;
    if (c->through) {
        c->via.meta = m;
        c->via.leaf = by;
        c->via.dial = (struct dial){ .to = *to, .meta = &c->via.meta, .done = on_via };
        r = out_dial(by, &c->via.dial);
    } else {
        c->tc = (struct tcp_connect){ .env = o->env, .to = *to, .why = (uint8_t)why, .depth = c->depth, .done = on_socket };
        c->tc.family = (uint8_t)(by->family ? by->family : o->family);
        c->tc.concurrent = o->set->profile->tcp_concurrent;
        c->tc.opts = out_sock_opts(by);
        r = tcp_connect_start(&c->tc);
    }
    c->running = r == 0;
    return r;
}

void carrier_cancel(struct carrier *c)
{
    if (c->running && c->through)
        out_cancel(c->via.leaf, &c->via.dial);
    else if (c->running)
        tcp_connect_cancel(&c->tc);
    c->running = false;
}

bool carrier_asks(const struct carrier *c)
{
    return c->running && (c->through || c->tc.looking);
}

/* ---- links ---- */

#define SHAKE_MS 10000

struct link {
    struct under_dial under;
    struct outbound *o;
    struct dial *d;
    out_wrap_fn *wrap;
    uint8_t command;  /* for wrap */
    struct stream *s; /* on hold: the protocol's own handshake */
    struct timer limit;
    struct job reap;
};

static void reap(struct job *j)
{
    free(container_of(j, struct link, reap));
}

static void end(struct link *k, struct stream *s, int err)
{
    timer_cancel(&k->limit);
    if (s)
        s->on_ready = NULL;
    if (s && err)
        stream_close(s, err);
    loop_defer(k->o->env->loop, &k->reap);
    out_dial_done(k->o, k->d, err ? NULL : s, err);
}

static void on_held(struct stream *s, unsigned what)
{
    struct link *k = s->owner;
    ssize_t r = what & STREAM_FAILED ? stream_write(s, NULL, 0) : 0; /* says why */

    if ((what & STREAM_FAILED) && r >= 0)
        r = -ECONNRESET;
    if (r <= -ERR_BASE)
        out_note_error(k->o, (int)r);
    if (r >= 0 && (what & STREAM_WRITABLE))
        k->o->answered = true; /* in the protocol's own words */
    if (r < 0 || (what & STREAM_WRITABLE))
        end(k, s, (int)r);
}

static void on_limit(struct timer *t)
{
    struct link *k = container_of(t, struct link, limit);

    out_note_error(k->o, -ERR_SILENT);
    end(k, k->s, -ERR_SILENT);
}

static void on_stream(struct under_dial *x, struct stream *s, int err)
{
    struct link *k = container_of(x, struct link, under);
    struct stream *up = s;
    int r = err ? err : k->wrap ? k->wrap(k->o, k->d, k->command, s, &up) : 0;

    if (r <= 0) {
        end(k, up, r);
        return;
    }
    k->s = up;
    up->owner = k;
    up->on_ready = on_held;
    timer_set(k->o->env->loop, &k->limit, SHAKE_MS);
}

static struct link *link_new(struct outbound *o, struct dial *d)
{
    struct link *k = calloc(1, sizeof(*k));

    if (!k)
        return NULL;
    k->under.done = on_stream;
    k->under.carrier.depth = dial_depth(d);
    k->o = o;
    k->d = d;
    k->limit.cb = on_limit;
    k->reap.cb = reap;
    return k;
}

static int link_start(struct link *k, struct under *u, const struct dest *to, enum lookup_for why)
{
    int r = under_start(&k->under, k->o, u, to, why);

    if (r < 0)
        free(k);
    else
        k->d->priv = k;
    return r;
}

int link_dial(struct outbound *o, struct dial *d, struct under *u, out_wrap_fn *wrap, uint8_t command)
{
    struct dest server = out_server(o);
    struct link *k = link_new(o, d);

    if (!k)
        return -ENOMEM;
    k->wrap = wrap;
    k->command = command;
    return link_start(k, u, &server, LOOKUP_SERVER);
}

int link_dial_bare(struct outbound *o, struct dial *d, const struct dest *to)
{
    struct link *k = link_new(o, d);

    return k ? link_start(k, NULL, to, LOOKUP_DIRECT) : -ENOMEM;
}

void link_cancel(struct outbound *o, struct dial *d)
{
    struct link *k = d->priv;

    under_cancel(&k->under);
    timer_cancel(&k->limit);
    if (k->s) {
        k->s->on_ready = NULL;
        stream_close(k->s, -ERR_CLOSED);
    }
    loop_defer(o->env->loop, &k->reap);
}

/* ---- memory ---- */

void out_trim(void)
{
    ss_stream_trim();
    transport_trim();
}
