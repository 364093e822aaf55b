/*
 * dispatch.c - the story of a TCP flow
 *
 *   tcp_sink()      a held SYN became a stream; DNS is answered here, fake addresses get their name back
 *   look()          where the profile's sniffer says so: its first bytes may say the name (at most 300 ms)
 *   match()         mode and rules; waits for an address only if a rule asks
 *   act()           reject, drop, or dial. DIRECT stays held until the upstream answered, so refused is refused;
 *                   a proxied flow is accepted at once, so that its first bytes ride with the proxy's header
 *   on_dialled()    relay until both ends are done
 *   finish()        one line in the log; freed at the end of the turn
 *
 * A tcp_flow owns its local stream, its dial or its remote stream.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"
#include "engine/health.h"
#include "engine/private.h"

#define ANSWER_MS 10000 /* of a server that never answered: then a person is told what to check */

struct tcp_flow {
    struct flow f;
    struct stream *local, *remote;
    struct rule_pos pos;
    bool looking;     /* lookup runs */
    bool public_only; /* no private address may be reached directly */
    bool nameless;    /* goes to a fake address that means nothing any more: only a name can save it */
    unsigned protocols; /* SNIFF_...: that it may speak, while its first bytes are looked at */
    size_t seen;        /* so many of them */
    struct timer patience;
    union {       /* one after the other */
        struct lookup lookup;
        struct dial dial;
        struct relay relay;
    };
    struct job reap;
};

static void match(struct tcp_flow *t);
static void on_local_early(struct stream *s, unsigned what);

static void reap(struct job *j)
{
    struct tcp_flow *t = container_of(j, struct tcp_flow, reap);

    flow_fini(&t->f);
    free(t);
}

/* Ends the flow, whatever it was doing. */
static void finish(struct tcp_flow *t, int err)
{
    struct engine *e = t->f.eng;

    if (t->f.state == FLOW_CLOSING)
        return;
    flow_forget_program(&t->f);
    timer_cancel(&t->patience);
    if (t->looking)
        e->env.resolver->cancel(e->env.resolver, &t->lookup);
    if (t->f.state == FLOW_DIAL)
        out_cancel(flow_leaf(&t->f), &t->dial);
    if (t->f.state == FLOW_RELAY) {
        relay_stop(&t->relay);
        out_note_end(flow_leaf(&t->f), t->f.up, t->f.down, err);
    }
    if (t->local) {
        if (t->f.state == FLOW_RELAY)
            stream_close(t->local, err);
        else
            stream_refuse(t->local, err ? err : -ERR_CLOSED);
    }
    if (t->remote)
        stream_close(t->remote, err);
    t->f.err = err;
    e->n_tcp--;
    flow_set_state(&t->f, FLOW_CLOSING);
    loop_defer(e->loop, &t->reap);
}

static void kill_flow(struct flow *f, int err)
{
    finish(container_of(f, struct tcp_flow, f), err);
}

/* ---- a name in the first bytes ---- */

static void end_looking(struct tcp_flow *t, bool found)
{
    struct engine *e = t->f.eng;

    timer_cancel(&t->patience);
    t->protocols = 0;
    t->local->on_ready = on_local_early;
    barren_note(&e->barren, &t->f.meta.orig, found, loop_now(e->loop));
    if (t->nameless && !t->f.meta.dst.host) {
        say_nameless(&t->f.meta);
        finish(t, -ERR_NAME);
        return;
    }
    flow_set_state(&t->f, FLOW_MATCH);
    match(t);
}

static void take_name(struct tcp_flow *t, const char *host)
{
    const struct sniffer *s = t->f.pol->sniffer;
    bool takes = sniffer_takes(s, host);

    if (takes && flow_take_name(&t->f, host, t->nameless || sniffer_overrides(s, t->protocols)) < 0)
        finish(t, -ENOMEM);
    else
        end_looking(t, true);
}

static void look(struct tcp_flow *t)
{
    char host[HOST_MAX + 1];
    size_t seen;
    enum sniff r = sniffer_look(t->local, &t->protocols, host, &seen);

    if (r == SNIFF_NAME) {
        take_name(t, host);
    } else if (r == SNIFF_MORE && (seen > t->seen || !seen)) {
        t->seen = seen;
        stream_more(t->local);
    } else { /* another protocol, or the end behind the bytes we know */
        end_looking(t, false);
    }
}

static void on_first_bytes(struct stream *s, unsigned what)
{
    if (what & STREAM_FAILED)
        finish(s->owner, -ECONNRESET);
    else if (what & STREAM_READABLE)
        look(s->owner);
}

static void on_patience(struct timer *tm)
{
    end_looking(container_of(tm, struct tcp_flow, patience), false);
}

/* Nobody is kept waiting for long: the application may talk at once, and if it does not, it is taken as it is. */
static void start_looking(struct tcp_flow *t)
{
    int r = stream_accept(t->local);

    if (r < 0) {
        finish(t, r);
        return;
    }
    t->local->on_ready = on_first_bytes;
    t->patience.cb = on_patience;
    timer_set(t->f.eng->loop, &t->patience, SNIFF_WAIT_MS);
    look(t);
}

/* The application gave up before we were through. */
static void on_local_early(struct stream *s, unsigned what)
{
    if (what & STREAM_FAILED)
        finish(s->owner, -ECONNRESET);
}

static void on_relay_done(struct relay *r, int err)
{
    finish(container_of(r, struct tcp_flow, relay), err);
}

static void on_progress(struct relay *r, unsigned up, unsigned down)
{
    struct tcp_flow *t = container_of(r, struct tcp_flow, relay);

    eng_count(t->f.eng, &t->f, up, down);
}

/* A server that cannot read us may keep the flow open as long as the application does, and say nothing. */
static void on_no_answer(struct timer *tm)
{
    struct tcp_flow *t = container_of(tm, struct tcp_flow, patience);

    if (!t->f.down)
        out_note_silence(flow_leaf(&t->f), t->f.up);
}

static void on_dialled(struct dial *d, struct stream *s, int err)
{
    struct tcp_flow *t = container_of(d, struct tcp_flow, dial);

    health_note_dial(t->f.eng, t->f.chain, t->f.n_chain, err);
    if (err) {
        t->f.state = FLOW_MATCH; /* nothing left to cancel */
        finish(t, err);
        return;
    }
    t->remote = s;
    if ((err = stream_accept(t->local))) {
        t->f.state = FLOW_MATCH;
        finish(t, err);
        return;
    }
    flow_set_state(&t->f, FLOW_RELAY);
    memset(&t->relay, 0, sizeof(t->relay));
    t->relay.progress = on_progress;
    relay_start(&t->relay, t->f.eng->loop, t->local, t->remote, on_relay_done);
    t->patience.cb = on_no_answer;
    if (!flow_leaf(&t->f)->answered)
        timer_set(t->f.eng->loop, &t->patience, ANSWER_MS);
}

/* What only this machine and its neighbours can reach. */
static bool is_private(const struct addr *a)
{
    return addr_is_private(a) || addr_is_unspecified(a) || addr_is_multicast(a);
}

static void dial_to(struct tcp_flow *t, struct dest to)
{
    struct outbound *leaf = flow_leaf(&t->f);
    int r;

    if (t->public_only && is_private(&to.at.ip)) {
        finish(t, -ERR_RULE);
        return;
    }
    memset(&t->dial, 0, sizeof(t->dial));
    t->dial.to = to;
    t->dial.meta = &t->f.meta;
    t->dial.done = on_dialled;
    flow_set_state(&t->f, FLOW_DIAL);
    if ((r = out_dial(leaf, &t->dial)) < 0) {
        t->f.state = FLOW_MATCH;
        finish(t, r);
    }
}

static void on_public_address(struct lookup *l, int err)
{
    struct tcp_flow *t = container_of(l, struct tcp_flow, lookup);
    struct dest to = { .at = { l->addr[0], t->f.meta.dst.at.port } };

    t->looking = false;
    for (int i = 1; i < l->n && is_private(&to.at.ip); i++)
        to.at.ip = l->addr[i];
    if (err || !l->n)
        finish(t, err ? err : -ERR_NAME);
    else
        dial_to(t, to);
}

/* The address that is looked at is the one that is dialled: a name may mean another one a moment later. */
static void dial_public_address(struct tcp_flow *t, const struct dest *to)
{
    struct resolver *res = t->f.eng->env.resolver;
    int r;

    memset(&t->lookup, 0, sizeof(t->lookup));
    t->lookup.host = to->host;
    t->lookup.why = LOOKUP_DIRECT;
    t->lookup.depth = t->f.meta.depth;
    t->lookup.done = on_public_address;
    t->looking = (r = res->lookup(res, &t->lookup)) == 0;
    if (!t->looking)
        finish(t, r);
}

static void dial(struct tcp_flow *t)
{
    struct resolver *res = t->f.eng->env.resolver;
    struct dest to = t->f.meta.dst;

    if (to.host && res->known && res->known(res, to.host, &to.at.ip))
        to.host = NULL; /* a hosts entry replaces the name, through a proxy too */
    if (t->f.meta.host_from == HOST_REVERSE && t->f.meta.via != FLOW_VIA_INNER)
        to.host = NULL; /* the program chose the address; what it is called is for the rules */
    if (to.host && t->public_only && flow_leaf(&t->f)->ops->action == OUT_DIRECT)
        dial_public_address(t, &to);
    else
        dial_to(t, to);
}

static void act(struct tcp_flow *t, const struct verdict *v)
{
    int r;

    flow_set_verdict(&t->f, v);
    switch (v->action) {
    case OUT_REJECT: finish(t, -ERR_RULE); return;
    case OUT_REJECT_DROP: finish(t, -ERR_DROP); return;
    case OUT_DIRECT: dial(t); return;
    case OUT_PROXY: break;
    case OUT_GROUP: finish(t, -ERR_UNSUPPORTED); return;
    }
    if ((r = stream_accept(t->local)) < 0) {
        finish(t, r);
        return;
    }
    dial(t);
}

static void on_address(struct lookup *l, int err)
{
    struct tcp_flow *t = container_of(l, struct tcp_flow, lookup);

    t->looking = false;
    if (err || !l->n)
        t->pos.ip_failed = true;
    else
        t->f.meta.dst.at.ip = l->addr[0];
    match(t);
}

static void ask_address(struct tcp_flow *t)
{
    struct resolver *res = t->f.eng->env.resolver;

    memset(&t->lookup, 0, sizeof(t->lookup));
    t->lookup.host = t->f.meta.dst.host;
    t->lookup.why = LOOKUP_RULES;
    t->lookup.depth = t->f.meta.depth;
    t->lookup.done = on_address;
    t->looking = res->lookup(res, &t->lookup) == 0;
    if (!t->looking) {
        t->pos.ip_failed = true;
        match(t);
    }
}

static void on_program(struct flow *f)
{
    match(container_of(f, struct tcp_flow, f));
}

static void match(struct tcp_flow *t)
{
    struct verdict v;

    switch (policy_decide(t->f.pol, t->f.eng->mode, &t->f.meta, &t->pos, &v)) {
    case NEED_ADDRESS: ask_address(t); break;
    case NEED_PROGRAM:
        t->pos.proc_tried = true;
        if (!flow_ask_program(&t->f, on_program))
            match(t);
        break;
    case NEED_NOTHING: act(t, &v); break;
    }
}

static int tcp_flow_new(struct engine *e, struct stream *local, const struct flow_meta *m, struct tcp_flow **out)
{
    struct tcp_flow *t;
    int r;

    if (e->n_tcp + e->udp.n_sessions >= e->max_flows)
        return -ERR_LIMIT;
    if (!(t = calloc(1, sizeof(*t))))
        return -ENOMEM;
    if ((r = flow_init(&t->f, e, m)) < 0) {
        free(t);
        return r;
    }
    e->n_tcp++;
    t->f.kill = kill_flow;
    t->reap.cb = reap;
    t->local = local;
    local->on_ready = on_local_early;
    local->owner = t;
    *out = t;
    return 0;
}

void tcp_sink(struct flow_sink *sk, struct stream *local, const struct flow_meta *m)
{
    struct engine *e = container_of(sk, struct engine, sink);
    struct flow_meta meta = *m;
    struct tcp_flow *t;
    unsigned protocols;
    bool nameless;
    int r;

    if (is_hijacked(e, &meta.orig)) {
        if (stream_accept(local) < 0)
            stream_close(local, -ECONNRESET);
        else
            dns_serve_stream(e->dns, local);
        return;
    }
    if (cidr_contains(&e->own4, &meta.orig.ip) || cidr_contains(&e->own6, &meta.orig.ip)) {
        stream_refuse(local, -ECONNREFUSED);
        return;
    }
    nameless = name_of(e, &meta) < 0;
    protocols = flow_wants_look(e, &meta);
    if (nameless && !protocols) {
        say_nameless(&meta);
        stream_refuse(local, -ECONNREFUSED);
        return;
    }
    if ((r = tcp_flow_new(e, local, &meta, &t)) < 0) {
        stream_refuse(local, r == -ERR_DROP ? r : -ECONNREFUSED);
        return;
    }
    t->nameless = nameless;
    t->protocols = protocols;
    if (protocols) {
        start_looking(t);
        return;
    }
    flow_set_state(&t->f, FLOW_MATCH);
    match(t);
}

void tcp_inner(struct engine *e, struct stream *local, const struct flow_meta *m, const char *proxy, bool anywhere)
{
    struct verdict v;
    struct tcp_flow *t;
    int r = tcp_flow_new(e, local, m, &t);

    if (r < 0) {
        stream_refuse(local, r);
        return;
    }
    t->public_only = !anywhere;
    flow_set_state(&t->f, FLOW_MATCH);
    if (!proxy) {
        match(t);
        return;
    }
    policy_by_name(t->f.pol, proxy, &t->f.meta, &v);
    act(t, &v);
}
