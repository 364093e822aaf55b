/*
 * direct.c - no proxy: the destination itself, from this machine
 *
 * TCP is one connect. UDP is one socket for all destinations of the session; a destination that is only a name is looked up first:
 *
 *   send(name) ──► known and fresh? ──► the socket
 *                  else the datagram waits in the name's queue while one look-up runs
 *
 * A name keeps its address for at least a minute, so that a conversation does not wander among the addresses of a name.
 *
 * Memory: a session is a socket and at most NAMES_MAX names, each with a bounded queue; the name used longest ago makes room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/sock.h"
#include "outbound/pktq.h"
#include "outbound/private.h"

#define NAMES_MAX 16
#define KEEP_MS 60000

struct direct_udp;

struct direct_name {
    struct list_head node; /* newest use first */
    struct direct_udp *udp;
    struct lookup lookup;
    struct addr ip; /* ver 0: not known yet */
    uint64_t fresh_until_ms;
    bool looking;
    struct pktq waiting;
    char host[];
};

struct direct_udp {
    struct pktsess p;
    const struct outbound *o;
    const struct out_env *env;
    struct pktsess *sock;
    struct list_head names;
    unsigned n_names;
    struct job reap;
};

static int send_addr(struct direct_udp *u, const struct endpoint *at, const void *buf, size_t len)
{
    if (!out_may_use(u->o, &at->ip))
        return -ENETUNREACH;
    return pkt_send(u->sock, &(struct dest){ .at = *at }, buf, len);
}

/* ---- names ---- */

static void name_free(struct direct_name *n)
{
    struct resolver *res = n->udp->env->resolver;

    if (n->looking)
        res->cancel(res, &n->lookup);
    list_del(&n->node);
    n->udp->n_names--;
    pktq_fini(&n->waiting);
    free(n);
}

static struct direct_name *name_find(struct direct_udp *u, const char *host)
{
    list_each_safe(at, tmp, &u->names) {
        struct direct_name *n = container_of(at, struct direct_name, node);

        if (!strcmp(n->host, host))
            return n;
    }
    return NULL;
}

static struct direct_name *name_new(struct direct_udp *u, const char *host)
{
    size_t size = strlen(host) + 1;
    struct direct_name *n;

    if (u->n_names >= NAMES_MAX)
        name_free(container_of(u->names.prev, struct direct_name, node));
    if (!(n = calloc(1, sizeof(*n) + size)))
        return NULL;
    memcpy(n->host, host, size);
    n->udp = u;
    list_push(&u->names, &n->node);
    u->n_names++;
    return n;
}

static void send_waiting(void *arg, const struct dest *to, const void *buf, size_t len)
{
    struct direct_name *n = arg;

    send_addr(n->udp, &(struct endpoint){ n->ip, to->at.port }, buf, len);
}

static const struct addr *usable(const struct outbound *o, const struct lookup *l)
{
    for (int i = 0; i < l->n; i++)
        if (out_may_use(o, &l->addr[i]))
            return &l->addr[i];
    return NULL;
}

static void on_lookup(struct lookup *l, int err)
{
    struct direct_name *n = container_of(l, struct direct_name, lookup);
    const struct addr *ip = err ? NULL : usable(n->udp->o, l);

    n->looking = false;
    if (ip) {
        n->ip = *ip;
        n->fresh_until_ms = loop_now(n->udp->env->loop) + KEEP_MS;
    }
    if (addr_is_set(&n->ip)) /* an old address is better than none */
        pktq_flush(&n->waiting, send_waiting, n);
    else
        pktq_fini(&n->waiting);
}

static int look_up(struct direct_name *n)
{
    struct resolver *res = n->udp->env->resolver;
    int r;

    if (n->looking)
        return 0;
    n->lookup = (struct lookup){ .host = n->host, .why = LOOKUP_DIRECT, .done = on_lookup };
    if ((r = res->lookup(res, &n->lookup)) < 0)
        return r;
    n->looking = true;
    return 0;
}

static int send_name(struct direct_udp *u, const struct dest *to, const void *buf, size_t len)
{
    struct direct_name *n = name_find(u, to->host);
    int r;

    if (!n && !(n = name_new(u, to->host)))
        return -ENOMEM;
    list_del(&n->node);
    list_push(&u->names, &n->node);
    if (addr_is_set(&n->ip) && loop_now(u->env->loop) < n->fresh_until_ms)
        return send_addr(u, &(struct endpoint){ n->ip, to->at.port }, buf, len);
    if ((r = look_up(n)) < 0)
        return r;
    return pktq_add(&n->waiting, to, buf, len);
}

/* ---- the session ---- */

static int direct_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct direct_udp *u = container_of(p, struct direct_udp, p);
    struct endpoint at = to->at;

    if (addr_is_set(&at.ip) || (to->host && addr_parse(to->host, &at.ip) == 0))
        return send_addr(u, &at, buf, len);
    return to->host ? send_name(u, to, buf, len) : -ERR_NAME;
}

static void direct_reap(struct job *j)
{
    free(container_of(j, struct direct_udp, reap));
}

static void direct_close(struct pktsess *p)
{
    struct direct_udp *u = container_of(p, struct direct_udp, p);

    while (!list_empty(&u->names))
        name_free(container_of(u->names.next, struct direct_name, node));
    pkt_close(u->sock);
    loop_defer(u->env->loop, &u->reap);
}

static const struct pkt_ops direct_pkt_ops = { .name = "direct", .send = direct_send, .close = direct_close };

static void on_packet(struct pktsess *sock, const struct endpoint *from, const void *buf, size_t len)
{
    struct direct_udp *u = sock->owner;

    if (u->p.on_packet)
        u->p.on_packet(&u->p, from, buf, len);
}

static void on_dead(struct pktsess *sock, int err)
{
    struct direct_udp *u = sock->owner;

    if (u->p.on_dead)
        u->p.on_dead(&u->p, err);
}

static int direct_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    struct outbound *chain[OUT_CHAIN_MAX];
    struct direct_udp *u;

    if (o->via) /* "direct" from where that ends */
        return out_open_pkt(chain[out_resolve(o->via, m, chain) - 1], m, out);
    u = calloc(1, sizeof(*u));
    if (!u || !(u->sock = sock_udp(o->env->loop, out_sock_opts(o).interface))) {
        free(u);
        return -ENOMEM;
    }
    u->p.ops = &direct_pkt_ops;
    u->o = o;
    u->env = o->env;
    u->reap.cb = direct_reap;
    list_init(&u->names);
    u->sock->owner = u;
    u->sock->on_packet = on_packet;
    u->sock->on_dead = on_dead;
    *out = &u->p;
    return 0;
}

/* ---- TCP ---- */

static int direct_dial(struct outbound *o, struct dial *d)
{
    struct dest to = d->to;

    if (d->meta && (d->meta->host_from == HOST_SNIFFED || d->meta->host_from == HOST_REVERSE) && addr_is_set(&to.at.ip))
        to.host = NULL; /* the application chose the address; the name is what we learnt about it */
    return link_dial(o, d, NULL, &to, LOOKUP_DIRECT, NULL);
}

static int direct_init(struct outbound *o, const struct opt_src *s)
{
    o->udp = true;
    return 0;
}

const struct outbound_ops direct_ops = {
    .type = "direct", .api_type = "Direct", .action = OUT_DIRECT, .size = sizeof(struct outbound),
    .init = direct_init, .dial = direct_dial, .cancel = link_cancel, .open_pkt = direct_open_pkt,
};

/* What an empty group holds: direct under another name. */
const struct outbound_ops compatible_ops = {
    .type = "compatible", .api_type = "Compatible", .action = OUT_DIRECT, .size = sizeof(struct outbound),
    .init = direct_init, .dial = direct_dial, .cancel = link_cancel, .open_pkt = direct_open_pkt,
};
