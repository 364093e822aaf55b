/*
 * server_udp.c - datagrams to and from a node's server
 *
 *   address known ──────────────► connect at the end of the turn ──► ready
 *   name ──► look-up ──► the first address with a way to it ──────► ready        nothing usable: dead
 *   through another node ──► a session of that one ───────────────► ready        it resolves names itself
 */
#include "outbound/server_udp.h"

#include <errno.h>

#include "core/sock.h"
#include "outbound/options.h"

static int try_address(struct server_udp *u, const struct addr *ip)
{
    struct sock_way way = out_sock_opts(u->by).way;

    if (!out_may_use(u->o, ip) || !out_may_use(u->by, ip))
        return -ENETUNREACH;
    return sock_udp_connected(u->o->env->loop, &(struct endpoint){ *ip, u->to.at.port }, &way, &u->sock);
}

static void conclude(struct server_udp *u, int err)
{
    if (err)
        u->dead(u, err);
    else
        u->ready(u);
}

static void on_begin(struct job *j)
{
    struct server_udp *u = container_of(j, struct server_udp, job);

    conclude(u, u->sock ? 0 : try_address(u, &u->to.at.ip));
}

static void on_lookup(struct lookup *l, int err)
{
    struct server_udp *u = container_of(l, struct server_udp, lookup);
    struct addr usable[LOOKUP_MAX];
    int n = err ? 0 : out_usable(u->o, l, usable), r = err ? err : -ENETUNREACH;

    u->looking = false;
    for (int i = 0; i < n && r < 0; i++)
        r = try_address(u, &usable[i]);
    conclude(u, r);
}

static int open_through(struct server_udp *u, const struct flow_meta *m)
{
    int r = out_open_pkt(u->by, m, &u->sock);

    if (r == 0)
        loop_defer(u->o->env->loop, &u->job);
    return r;
}

int server_udp_start(struct server_udp *u, struct outbound *o, const struct dest *server)
{
    const struct out_env *env = o->env;
    struct flow_meta m = { .net = FLOW_UDP };
    int r;

    u->o = o;
    u->to = *server;
    u->job.cb = on_begin;
    if (u->to.host && addr_parse(u->to.host, &u->to.at.ip) == 0)
        u->to.host = NULL;
    m.dst = u->to;
    u->by = out_sender(o, &m, &u->through);
    if (u->through)
        return open_through(u, &m);
    if (!u->to.host) {
        loop_defer(env->loop, &u->job);
        return 0;
    }
    u->lookup = (struct lookup){ .host = u->to.host, .why = LOOKUP_SERVER, .only = opt_only(u->o->family), .done = on_lookup };
    if ((r = env->resolver->lookup(env->resolver, &u->lookup)) < 0)
        return r;
    u->looking = true;
    return 0;
}

void server_udp_stop(struct server_udp *u)
{
    if (u->looking)
        u->o->env->resolver->cancel(u->o->env->resolver, &u->lookup);
    u->looking = false;
    job_cancel(&u->job);
    pktq_fini(&u->waiting);
    if (u->sock)
        pkt_close(u->sock);
    u->sock = NULL;
}

int server_udp_send(struct server_udp *u, const void *buf, size_t len)
{
    return pkt_send(u->sock, &u->to, buf, len);
}

bool server_udp_is_peer(const struct server_udp *u, const struct dest *from)
{
    return !u->through || u->to.host || endpoint_eq(&from->at, &u->to.at);
}
