/*
 * udp.c - the story of datagrams
 *
 *   pair      one (source, destination as the application wrote it): named and matched exactly like a TCP flow
 *   session   one (source, leaf outbound): the datagram session all pairs of that source on that leaf share, so every
 *             peer sees one stable port, and anybody may answer it (full cone)
 *
 * While a fact is missing, a few datagrams wait in the pair, oldest dropped. A reply is mapped back by its sender: the pair with
 * that destination; else a named pair whose real address it is (known when we resolved it, learnt from the first
 * reply on that port when the proxy resolved it); else it is a stranger's, delivered under the stranger's own address.
 * Some servers name the sender as we did: then it is the pair of that name.
 *
 * A name goes to the proxy as it is, which looks it up. A second name (or port) in one session does not: whose answer came would be a
 * guess, and some servers look up the first only. It is looked up here, and goes as an address.
 *
 * A pair ends by idleness: 10 s for DNS, 60 s unanswered, tun.udp-timeout once answered. A rejected pair stays 5 s, so that a program
 * that repeats itself costs a table look-up and not a log line. A session closes with its last pair.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/private.h"

#define HELD_MAX 8          /* datagrams waiting in a pair */
#define HELD_BYTES 16384
#define PAIRS_MAX 65536u
#define UNANSWERED_MS 60000
#define DNS_LIKE_MS 10000
#define REJECTED_MS 5000

struct held {
    struct held *next;
    size_t len;
    uint8_t data[];
};

struct udp_session {
    struct map_node node; /* by source and leaf */
    struct engine *eng;
    struct endpoint src;
    struct outbound *leaf; /* a reference */
    struct pktsess *pkt;
    struct list_head named; /* pairs with a name */
    uint32_t n_pairs;
    bool dead;
    struct list_head pairs;
};

/* A pair whose first datagrams are looked at for a name. */
struct looking {
    struct udp_pair *pair;
    struct sniff_quic *quic;
    struct timer patience;
    bool nameless; /* goes to a fake address that means nothing any more: only a name can save it */
};

/* Look-ups are big and rare, so they are not part of the pair. */
struct ask {
    struct lookup lookup;
    struct udp_pair *pair;
};

struct udp_pair {
    struct flow f;
    struct map_node node; /* by source and destination */
    struct udp_session *sess;
    struct list_head in_sess, in_named;
    struct endpoint real; /* what stands behind a name; ver 0 = not known */
    bool by_real;         /* it is sent there, not to the name */
    struct rule_pos pos;
    struct held *held, **held_end;
    unsigned n_held, held_bytes;
    bool looking, answered, rejected;
    struct ask *ask; /* once an address was asked for */
    struct looking *look;
    uint64_t last_ms;
    struct timer idle;
    struct job reap;
};

static void match(struct udp_pair *p);

static uint64_t pair_hash(const struct endpoint *src, const struct endpoint *dst)
{
    return endpoint_hash(src) ^ (endpoint_hash(dst) * 0x9e3779b97f4a7c15u);
}

static uint64_t session_hash(const struct endpoint *src, const struct outbound *leaf)
{
    return endpoint_hash(src) ^ ((uintptr_t)leaf * 0x9e3779b97f4a7c15u);
}

static struct udp_pair *find_pair(struct engine *e, const struct endpoint *src, const struct endpoint *dst)
{
    for (struct map_node *n = map_first(&e->udp.pairs, pair_hash(src, dst)); n; n = map_next(n)) {
        struct udp_pair *p = container_of(n, struct udp_pair, node);

        if (endpoint_eq(&p->f.meta.src, src) && endpoint_eq(&p->f.meta.orig, dst))
            return p;
    }
    return NULL;
}

/* ---- sessions ---- */

static void session_put(struct udp_session *s)
{
    if (--s->n_pairs)
        return;
    map_del(&s->eng->udp.sessions, &s->node);
    s->eng->udp.n_sessions--;
    pkt_close(s->pkt);
    out_put(s->leaf);
    free(s);
}

static void drop_held(struct udp_pair *p)
{
    while (p->held) {
        struct held *h = p->held;

        p->held = h->next;
        free(h);
    }
    p->held_end = &p->held;
    p->n_held = p->held_bytes = 0;
}

static void reap(struct job *j)
{
    struct udp_pair *p = container_of(j, struct udp_pair, reap);

    if (p->sess) {
        out_note_end(p->sess->leaf, p->f.up, p->f.down, 0);
        list_del(&p->in_sess);
        list_del(&p->in_named);
        session_put(p->sess);
    }
    drop_held(p);
    free(p->ask);
    flow_fini(&p->f);
    free(p);
}

static void stop_looking(struct udp_pair *p)
{
    if (!p->look)
        return;
    timer_cancel(&p->look->patience);
    sniff_quic_free(p->look->quic);
    free(p->look);
    p->look = NULL;
}

static void finish(struct udp_pair *p, int err)
{
    struct engine *e = p->f.eng;

    if (p->f.state == FLOW_CLOSING)
        return;
    stop_looking(p);
    flow_forget_program(&p->f);
    if (p->looking)
        e->env.resolver->cancel(e->env.resolver, &p->ask->lookup);
    p->looking = false;
    timer_cancel(&p->idle);
    map_del(&e->udp.pairs, &p->node);
    e->udp.n_pairs--;
    if (!p->f.err)
        p->f.err = err;
    flow_set_state(&p->f, FLOW_CLOSING);
    loop_defer(e->loop, &p->reap);
}

static void kill_pair(struct flow *f, int err)
{
    struct udp_pair *p = container_of(f, struct udp_pair, f);

    stack_udp_refuse(f->eng->stack, &f->meta.src, &f->meta.orig, err);
    finish(p, err);
}

static uint64_t idle_limit(const struct udp_pair *p)
{
    if (p->rejected)
        return REJECTED_MS;
    if (p->f.meta.orig.port == 53)
        return DNS_LIKE_MS;
    return p->answered ? (uint64_t)p->f.pol->profile->tun.udp_timeout_s * 1000 : UNANSWERED_MS;
}

/* Packets only note the time; the timer looks at it when it fires. */
static void on_idle(struct timer *t)
{
    struct udp_pair *p = container_of(t, struct udp_pair, idle);
    uint64_t limit = idle_limit(p), idle = loop_now(p->f.eng->loop) - p->last_ms;

    if (idle >= limit)
        finish(p, 0);
    else
        timer_set(p->f.eng->loop, t, limit - idle);
}

static void touch(struct udp_pair *p)
{
    p->last_ms = loop_now(p->f.eng->loop);
}

static struct udp_pair *pair_of_name(struct udp_session *s, const struct dest *from)
{
    list_each_safe(n, tmp, &s->named) {
        struct udp_pair *p = container_of(n, struct udp_pair, in_named);

        if (p->f.meta.dst.at.port == from->at.port && !strcmp(p->f.meta.dst.host, from->host))
            return p;
    }
    return NULL;
}

/* Whose answer is this? NULL: a stranger's. */
static struct udp_pair *pair_of_address(struct udp_session *s, const struct endpoint *from)
{
    struct udp_pair *p = find_pair(s->eng, &s->src, from), *open = NULL;

    if (p && p->sess == s)
        return p;
    list_each_safe(n, tmp, &s->named) {
        p = container_of(n, struct udp_pair, in_named);
        if (endpoint_eq(&p->real, from))
            return p;
        if (!open && !addr_is_set(&p->real.ip) && p->f.meta.orig.port == from->port)
            open = p;
    }
    if (open)
        open->real = *from;
    return open;
}

static void on_packet(struct pktsess *pkt, const struct dest *from, const void *buf, size_t len)
{
    struct udp_session *s = pkt->owner;
    struct udp_pair *p = from->host ? pair_of_name(s, from) : pair_of_address(s, &from->at);
    const struct endpoint *as = p ? &p->f.meta.orig : &from->at;

    if (!p && from->host) /* a name that this source does not talk to (any more) has no address here */
        return;
    if (p) {
        bool first = !p->answered;

        p->answered = true;
        touch(p);
        eng_count(s->eng, &p->f, 0, len);
        if (first && p->f.meta.orig.port != 53)
            timer_set(s->eng->loop, &p->idle, idle_limit(p));
    }
    stack_udp_send(s->eng->stack, as, &s->src, buf, len);
}

static void on_dead(struct pktsess *pkt, int err)
{
    struct udp_session *s = pkt->owner;

    s->dead = true; /* the next datagram opens another */
    list_each_safe(n, tmp, &s->pairs)
        finish(container_of(n, struct udp_pair, in_sess), err);
}

static struct udp_session *session_find(struct engine *e, const struct flow *f)
{
    struct outbound *leaf = flow_leaf(f);

    for (struct map_node *n = map_first(&e->udp.sessions, session_hash(&f->meta.src, leaf)); n; n = map_next(n)) {
        struct udp_session *s = container_of(n, struct udp_session, node);

        if (!s->dead && s->leaf == leaf && endpoint_eq(&s->src, &f->meta.src))
            return s;
    }
    return NULL;
}

static struct udp_session *session_get(struct engine *e, struct flow *f, int *err)
{
    struct udp_session *s = session_find(e, f);
    struct outbound *leaf = flow_leaf(f);

    if (s) {
        s->n_pairs++;
        return s;
    }
    *err = -ERR_LIMIT;
    if (e->n_tcp + e->udp.n_sessions >= e->max_flows)
        return NULL;
    *err = -ENOMEM;
    if (!(s = calloc(1, sizeof(*s))))
        return NULL;
    if ((*err = out_open_pkt(leaf, &f->meta, &s->pkt)) < 0) {
        free(s);
        return NULL;
    }
    s->pkt->owner = s;
    s->pkt->on_packet = on_packet;
    s->pkt->on_dead = on_dead;
    s->eng = e;
    s->src = f->meta.src;
    s->leaf = out_get(leaf);
    s->n_pairs = 1;
    list_init(&s->named);
    list_init(&s->pairs);
    map_add(&e->udp.sessions, &s->node, session_hash(&s->src, leaf));
    e->udp.n_sessions++;
    return s;
}

/* ---- pairs ---- */

static void hold(struct udp_pair *p, const void *buf, size_t len)
{
    struct held *h;

    if (len > HELD_BYTES)
        return;
    while ((h = p->held) && (p->n_held >= HELD_MAX || p->held_bytes + len > HELD_BYTES)) {
        if (!(p->held = h->next))
            p->held_end = &p->held;
        p->n_held--;
        p->held_bytes -= (unsigned)h->len;
        free(h);
    }
    if (!(h = malloc(sizeof(*h) + len)))
        return;
    h->next = NULL;
    h->len = len;
    memcpy(h->data, buf, len);
    *p->held_end = h;
    p->held_end = &h->next;
    p->n_held++;
    p->held_bytes += (unsigned)len;
}

static void send_now(struct udp_pair *p, const void *buf, size_t len)
{
    struct dest to = p->f.meta.dst;

    if (p->f.meta.host_from == HOST_REVERSE)
        to.host = NULL; /* the program chose the address; what it is called is for the rules */
    if (p->by_real)
        to = (struct dest){ .at = p->real };
    touch(p);
    if (pkt_send(p->sess->pkt, &to, buf, len) == 0)
        eng_count(p->f.eng, &p->f, len, 0);
}

/* All is known: the session, and what waited goes out. */
static void relay(struct udp_pair *p)
{
    int err = 0;

    flow_set_state(&p->f, FLOW_RELAY);
    if (!(p->sess = session_get(p->f.eng, &p->f, &err))) {
        stack_udp_refuse(p->f.eng->stack, &p->f.meta.src, &p->f.meta.orig, -EHOSTUNREACH);
        finish(p, err);
        return;
    }
    list_append(&p->sess->pairs, &p->in_sess);
    if (p->f.meta.dst.host && p->f.meta.host_from != HOST_REVERSE)
        list_push(&p->sess->named, &p->in_named); /* newest first: it is the likeliest to be answered next */
    for (struct held *h = p->held; h; h = h->next)
        send_now(p, h->data, h->len);
    drop_held(p);
}

static void look_up(struct udp_pair *p, enum lookup_for why, void (*done)(struct lookup *, int))
{
    struct resolver *res = p->f.eng->env.resolver;

    if (!p->ask && !(p->ask = malloc(sizeof(*p->ask)))) {
        finish(p, -ENOMEM);
        return;
    }
    *p->ask = (struct ask){ .lookup = { .host = p->f.meta.dst.host, .why = (uint8_t)why, .done = done }, .pair = p };
    if (why == LOOKUP_DIRECT)
        p->ask->lookup.only = out_only(flow_leaf(&p->f));
    p->looking = true;
    if (res->lookup(res, &p->ask->lookup) < 0)
        done(&p->ask->lookup, -ERR_NAME);
}

/* What is sent to, and answers from, this address from now on. */
static void relay_to(struct udp_pair *p, const struct addr *ip)
{
    p->real = (struct endpoint){ *ip, p->f.meta.dst.at.port };
    p->by_real = true;
    relay(p);
}

static void on_direct_address(struct lookup *l, int err)
{
    struct udp_pair *p = container_of(l, struct ask, lookup)->pair;
    const struct addr *ip = err ? NULL : out_choose(flow_leaf(&p->f), l);

    p->looking = false;
    if (!ip) {
        stack_udp_refuse(p->f.eng->stack, &p->f.meta.src, &p->f.meta.orig, -EHOSTUNREACH);
        finish(p, err ? err : -ENETUNREACH);
        return;
    }
    relay_to(p, ip);
}

/* The proxy may know the name, if we do not. */
static void on_second_name(struct lookup *l, int err)
{
    struct udp_pair *p = container_of(l, struct ask, lookup)->pair;

    p->looking = false;
    if (err || !l->n)
        relay(p);
    else
        relay_to(p, &l->addr[0]);
}

static bool is_second_name(const struct udp_pair *p)
{
    struct udp_session *s = session_find(p->f.eng, &p->f);

    if (!s || !p->f.meta.dst.host || p->f.meta.host_from == HOST_REVERSE)
        return false;
    list_each_safe(n, tmp, &s->named) {
        const struct dest *to = &container_of(n, struct udp_pair, in_named)->f.meta.dst;

        if (to->at.port != p->f.meta.dst.at.port || strcmp(to->host, p->f.meta.dst.host) != 0)
            return true;
    }
    return false;
}

static void act_by_proxy(struct udp_pair *p)
{
    if (!is_second_name(p))
        relay(p);
    else if (addr_is_set(&p->f.meta.dst.at.ip)) /* a rule wanted to know it */
        relay_to(p, &p->f.meta.dst.at.ip);
    else
        look_up(p, LOOKUP_RULES, on_second_name);
}

static void on_rule_address(struct lookup *l, int err)
{
    struct udp_pair *p = container_of(l, struct ask, lookup)->pair;

    p->looking = false;
    if (err || !l->n)
        p->pos.ip_failed = true;
    else
        p->f.meta.dst.at.ip = l->addr[0];
    match(p);
}

static void act(struct udp_pair *p, const struct verdict *v)
{
    struct engine *e = p->f.eng;

    flow_set_verdict(&p->f, v);
    switch (v->action) {
    case OUT_REJECT_DROP: finish(p, -ERR_DROP); return;
    case OUT_REJECT:
    case OUT_GROUP:
        p->rejected = true;
        p->f.err = -ERR_RULE;
        drop_held(p);
        stack_udp_refuse(e->stack, &p->f.meta.src, &p->f.meta.orig, -ERR_RULE);
        timer_set(e->loop, &p->idle, REJECTED_MS);
        return;
    case OUT_PROXY: act_by_proxy(p); return;
    case OUT_DIRECT: break;
    }
    if (p->f.meta.dst.host && p->f.meta.host_from != HOST_REVERSE)
        look_up(p, LOOKUP_DIRECT, on_direct_address);
    else
        relay(p);
}

static void on_program(struct flow *f)
{
    match(container_of(f, struct udp_pair, f));
}

static void match(struct udp_pair *p)
{
    struct verdict v;

    switch (policy_decide(p->f.pol, p->f.eng->mode, &p->f.meta, &p->pos, &v)) {
    case NEED_ADDRESS: look_up(p, LOOKUP_RULES, on_rule_address); break;
    case NEED_PROGRAM:
        p->pos.proc_tried = true;
        if (!flow_ask_program(&p->f, on_program))
            match(p);
        break;
    case NEED_NOTHING: act(p, &v); break;
    }
}

/* ---- a name in the first datagrams ---- */

static void end_looking(struct udp_pair *p, bool found)
{
    bool nameless = p->look->nameless && !p->f.meta.dst.host;
    struct engine *e = p->f.eng;

    stop_looking(p);
    barren_note(&e->barren, &p->f.meta.orig, found, loop_now(e->loop));
    if (nameless) {
        say_nameless(&p->f.meta);
        stack_udp_refuse(e->stack, &p->f.meta.src, &p->f.meta.orig, -ECONNREFUSED);
        finish(p, -ERR_NAME);
        return;
    }
    flow_set_state(&p->f, FLOW_MATCH);
    match(p);
}

static void on_patience(struct timer *t)
{
    end_looking(container_of(t, struct looking, patience)->pair, false);
}

static void look(struct udp_pair *p, const void *buf, size_t len)
{
    const struct sniffer *s = p->f.pol->sniffer;
    char host[HOST_MAX + 1];
    enum sniff r = sniff_quic(p->look->quic, buf, len, host);

    if (r == SNIFF_MORE)
        return;
    if (r == SNIFF_NAME && sniffer_takes(s, host) && flow_take_name(&p->f, host, p->look->nameless || sniffer_overrides(s, SNIFF_QUIC)) < 0)
        finish(p, -ENOMEM);
    else
        end_looking(p, r == SNIFF_NAME);
}

static bool start_looking(struct udp_pair *p, bool nameless)
{
    struct looking *l = calloc(1, sizeof(*l));

    if (!l || !(l->quic = sniff_quic_new())) {
        free(l);
        return false;
    }
    l->pair = p;
    l->nameless = nameless;
    l->patience.cb = on_patience;
    timer_set(p->f.eng->loop, &l->patience, SNIFF_WAIT_MS);
    p->look = l;
    return true;
}

static struct udp_pair *pair_new(struct engine *e, const struct flow_meta *m)
{
    struct udp_pair *p;

    if (e->udp.n_pairs >= PAIRS_MAX || !(p = calloc(1, sizeof(*p))))
        return NULL;
    if (flow_init(&p->f, e, m) < 0) {
        free(p);
        return NULL;
    }
    p->f.kill = kill_pair;
    p->held_end = &p->held;
    p->reap.cb = reap;
    p->idle.cb = on_idle;
    list_init(&p->in_sess);
    list_init(&p->in_named);
    map_add(&e->udp.pairs, &p->node, pair_hash(&m->src, &m->orig));
    e->udp.n_pairs++;
    touch(p);
    timer_set(e->loop, &p->idle, idle_limit(p));
    return p;
}

static void dns_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                      const struct dns_answered *by)
{
    struct engine *e = arg;

    if (len)
        stack_udp_send(e->stack, server, client, msg, len);
}

/* A datagram of a pair that is there. */
static void go_on(struct udp_pair *p, const void *buf, size_t len)
{
    if (p->rejected) {
        stack_udp_refuse(p->f.eng->stack, &p->f.meta.src, &p->f.meta.orig, -ERR_RULE);
        return;
    }
    if (p->sess) {
        send_now(p, buf, len);
        return;
    }
    hold(p, buf, len);
    if (p->look)
        look(p, buf, len);
}

static void begin(struct engine *e, const struct flow_meta *m, unsigned looks, bool nameless, const void *buf, size_t len)
{
    struct udp_pair *p = pair_new(e, m);

    if (!p)
        return;
    hold(p, buf, len);
    if (looks && start_looking(p, nameless)) {
        look(p, buf, len);
    } else if (nameless) {
        finish(p, -ERR_NAME);
    } else {
        flow_set_state(&p->f, FLOW_MATCH);
        match(p);
    }
}

void udp_sink(struct flow_sink *sk, const struct flow_meta *m, const void *buf, size_t len)
{
    struct engine *e = container_of(sk, struct engine, sink);
    struct flow_meta meta = *m;
    struct udp_pair *p;
    unsigned looks;
    bool nameless;

    if (is_hijacked(e, &meta.orig)) {
        dns_query(e->dns, buf, len, &(struct dns_client){ .reply = dns_reply, .arg = e }, &meta.src, &meta.orig);
        return;
    }
    if ((p = find_pair(e, &meta.src, &meta.orig))) {
        go_on(p, buf, len);
        return;
    }
    if (cidr_contains(&e->own4, &meta.orig.ip) || cidr_contains(&e->own6, &meta.orig.ip)) {
        stack_udp_refuse(e->stack, &meta.src, &meta.orig, -ECONNREFUSED);
        return;
    }
    nameless = name_of(e, &meta) < 0;
    looks = flow_wants_look(e, &meta);
    if (nameless && !looks) {
        say_nameless(&meta);
        stack_udp_refuse(e->stack, &meta.src, &meta.orig, -ECONNREFUSED);
        return;
    }
    begin(e, &meta, looks, nameless, buf, len);
}

int udp_init(struct engine *e)
{
    int r;

    if ((r = map_init(&e->udp.pairs, 64)) < 0)
        return r;
    if ((r = map_init(&e->udp.sessions, 64)) < 0)
        map_fini(&e->udp.pairs);
    return r;
}

void udp_fini(struct engine *e)
{
    map_fini(&e->udp.pairs);
    map_fini(&e->udp.sessions);
}
