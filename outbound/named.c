/*
 * named.c - a datagram session for names, over one that takes addresses only
 *
 *   send(name) ──► known and fresh? ──► the session below
 *                  else the datagram waits in the name's queue while one look-up runs
 *
 * A name keeps its address for at least a minute, so that a conversation does not wander among the addresses of a name.
 *
 * Memory: at most NAMES_MAX names, each with a bounded queue; the name used longest ago makes room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "outbound/pktq.h"
#include "outbound/private.h"

#define NAMES_MAX 16
#define KEEP_MS 60000

struct named_udp;

struct name {
    struct list_head node; /* newest use first */
    struct named_udp *of;
    struct lookup lookup;
    struct addr ip; /* ver 0: not known yet */
    uint64_t fresh_until_ms;
    bool looking;
    struct pktq waiting;
    char host[];
};

struct named_udp {
    struct pktsess p;
    struct outbound *o;
    const struct out_env *env;
    struct pktsess *below;
    struct list_head names;
    unsigned n_names;
    uint8_t why; /* enum lookup_for */
    struct job reap;
};

static bool may_use(const struct named_udp *u, const struct addr *ip)
{
    return u->why != LOOKUP_DIRECT || out_may_use(u->o, ip);
}

static int send_addr(struct named_udp *u, const struct endpoint *at, const void *buf, size_t len)
{
    int r = may_use(u, &at->ip) ? pkt_send(u->below, &(struct dest){ .at = *at }, buf, len) : -ENETUNREACH;

    if (r == -ENODEV)
        out_note_error(u->o, r);
    return r;
}

/* ---- names ---- */

static void name_free(struct name *n)
{
    struct resolver *res = n->of->env->resolver;

    if (n->looking)
        res->cancel(res, &n->lookup);
    list_del(&n->node);
    n->of->n_names--;
    pktq_fini(&n->waiting);
    free(n);
}

static struct name *name_find(struct named_udp *u, const char *host)
{
    list_each_safe (at, tmp, &u->names) {
        struct name *n = container_of(at, struct name, node);

        if (!strcmp(n->host, host))
            return n;
    }
    return NULL;
}

static struct name *name_new(struct named_udp *u, const char *host)
{
    size_t size = strlen(host) + 1;
    struct name *n;

    if (u->n_names >= NAMES_MAX)
        name_free(container_of(u->names.prev, struct name, node));
    if (!(n = calloc(1, sizeof(*n) + size)))
        return NULL;
    memcpy(n->host, host, size);
    n->of = u;
    list_push(&u->names, &n->node);
    u->n_names++;
    return n;
}

static void send_waiting(void *arg, const struct dest *to, const void *buf, size_t len)
{
    struct name *n = arg;

    send_addr(n->of, &(struct endpoint){ n->ip, to->at.port }, buf, len);
}

static void on_lookup(struct lookup *l, int err)
{
    struct name *n = container_of(l, struct name, lookup);
    const struct addr *ip = err ? NULL : n->of->why == LOOKUP_DIRECT ? out_choose(n->of->o, l) : l->addr;

    n->looking = false;
    if (ip) {
        n->ip = *ip;
        n->fresh_until_ms = loop_now(n->of->env->loop) + KEEP_MS;
    }
    if (addr_is_set(&n->ip)) /* an old address is better than none */
        pktq_flush(&n->waiting, send_waiting, n);
    else
        pktq_fini(&n->waiting);
}

static int look_up(struct name *n)
{
    struct resolver *res = n->of->env->resolver;
    int r;

    if (n->looking)
        return 0;
    n->lookup = (struct lookup){ .host = n->host, .why = n->of->why, .done = on_lookup };
    if (n->of->why == LOOKUP_DIRECT)
        n->lookup.only = out_only(n->of->o);
    if ((r = res->lookup(res, &n->lookup)) < 0)
        return r;
    n->looking = true;
    return 0;
}

static int send_name(struct named_udp *u, const struct dest *to, const void *buf, size_t len)
{
    struct name *n = name_find(u, to->host);
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

static int named_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    struct named_udp *u = container_of(p, struct named_udp, p);
    struct endpoint at = to->at;

    if (addr_is_set(&at.ip) || (to->host && addr_parse(to->host, &at.ip) == 0))
        return send_addr(u, &at, buf, len);
    return to->host ? send_name(u, to, buf, len) : -ERR_NAME;
}

static void named_reap(struct job *j)
{
    free(container_of(j, struct named_udp, reap));
}

static void named_close(struct pktsess *p)
{
    struct named_udp *u = container_of(p, struct named_udp, p);

    while (!list_empty(&u->names))
        name_free(container_of(u->names.next, struct name, node));
    pkt_close(u->below);
    loop_defer(u->env->loop, &u->reap);
}

static const struct pkt_ops named_ops = { .name = "named", .send = named_send, .close = named_close };

static void on_packet(struct pktsess *below, const struct dest *from, const void *buf, size_t len)
{
    struct named_udp *u = below->owner;

    if (u->p.on_packet)
        u->p.on_packet(&u->p, from, buf, len);
}

static void on_dead(struct pktsess *below, int err)
{
    struct named_udp *u = below->owner;

    if (u->p.on_dead)
        u->p.on_dead(&u->p, err);
}

int named_open(struct outbound *o, struct pktsess *below, enum lookup_for why, struct pktsess **out)
{
    struct named_udp *u = calloc(1, sizeof(*u));

    if (!u) {
        pkt_close(below);
        return -ENOMEM;
    }
    u->p.ops = &named_ops;
    u->o = o;
    u->env = o->env;
    u->why = (uint8_t)why;
    u->below = below;
    u->reap.cb = named_reap;
    list_init(&u->names);
    below->owner = u;
    below->on_packet = on_packet;
    below->on_dead = on_dead;
    *out = &u->p;
    return 0;
}
