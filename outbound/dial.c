/*
 * dial.c - dialling and opening on a leaf, its counters, and the way over one TCP connection
 *
 *   out_dial ──► ops->dial ──► ... ──► out_dial_done ──► d->done        counted at both ends
 *
 * Most types are "connect to a server, put a layer on the stream" (direct: no layer). That is a link: it lives from dial to done and is freed
 * at the end of that turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "outbound/options.h"
#include "outbound/private.h"

bool out_may_use(const struct outbound *o, const struct addr *ip)
{
    if (ip->ver == 6)
        return o->env->ipv6 && o->family != OPT_V4;
    return o->family != OPT_V6;
}

int out_dial(struct outbound *o, struct dial *d)
{
    int r;

    d->priv = NULL;
    o->n_dials++;
    r = o->ops->dial && !o->why ? o->ops->dial(o, d) : -ERR_UNSUPPORTED;
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
    if (!o->udp || !o->ops->open_pkt || o->why)
        return -ERR_UNSUPPORTED;
    return o->ops->open_pkt(o, m, out);
}

void out_note_end(struct outbound *o, uint64_t up, uint64_t down)
{
    char name[OUT_NAME_MAX];

    o->up += up;
    o->down += down;
    if (down)
        o->answered = true;
    if (o->ops->action != OUT_PROXY || !up || o->answered || o->hinted)
        return;
    o->hinted = true; /* a wrong password is silence: servers do not answer what they cannot read */
    log_warn(LOG_OUT, "%s: sent data, never got an answer: check password, cipher, clock", out_quote(o->name, name));
}

/* ---- links ---- */

struct link {
    struct tcp_connect tc;
    struct outbound *o;
    struct dial *d;
    out_wrap_fn *wrap;
    struct job reap;
};

static void reap(struct job *j)
{
    free(container_of(j, struct link, reap));
}

static void on_connected(struct tcp_connect *tc, struct stream *s, int err)
{
    struct link *k = container_of(tc, struct link, tc);
    struct stream *up = s;

    if (!err && k->wrap && (err = k->wrap(k->o, k->d, s, &up)) < 0) {
        stream_close(s, err);
        up = NULL;
    }
    loop_defer(tc->env->loop, &k->reap);
    out_dial_done(k->o, k->d, up, err);
}

int link_dial(struct outbound *o, struct dial *d, const struct dest *to, enum lookup_for why, out_wrap_fn *wrap)
{
    struct link *k = calloc(1, sizeof(*k));
    int r;

    if (!k)
        return -ENOMEM;
    k->tc = (struct tcp_connect){ .env = o->env, .to = *to, .why = (uint8_t)why, .family = o->family, .done = on_connected };
    k->o = o;
    k->d = d;
    k->wrap = wrap;
    k->reap.cb = reap;
    if ((r = tcp_connect_start(&k->tc)) < 0) {
        free(k);
        return r;
    }
    d->priv = k;
    return 0;
}

void link_cancel(struct outbound *o, struct dial *d)
{
    struct link *k = d->priv;

    tcp_connect_cancel(&k->tc);
    free(k);
}
