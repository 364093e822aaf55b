/*
 * server_udp.c - one connected UDP socket to a server whose name may have to be looked up first
 *
 *   address known ──────────────► connect at the end of the turn ──► ready
 *   name ──► look-up ──► the first address that connects ─────────► ready        nothing usable: dead
 */
#include "outbound/server_udp.h"

#include <errno.h>

#include "core/sock.h"

static int try_address(struct server_udp *u, const struct addr *ip)
{
    if (!out_may_use(u->o, ip))
        return -ENETUNREACH;
    return sock_udp_connected(u->o->env->loop, &(struct endpoint){ *ip, u->port }, &u->sock);
}

static void conclude(struct server_udp *u, int err)
{
    if (err)
        u->dead(u, err);
    else
        u->ready(u);
}

static void on_address(struct job *j)
{
    struct server_udp *u = container_of(j, struct server_udp, job);

    conclude(u, try_address(u, &u->ip));
}

static void on_lookup(struct lookup *l, int err)
{
    struct server_udp *u = container_of(l, struct server_udp, lookup);
    int r = err ? err : -ERR_NAME;

    u->looking = false;
    for (int i = 0; i < l->n && !err && r < 0; i++)
        r = try_address(u, &l->addr[i]);
    conclude(u, r);
}

int server_udp_start(struct server_udp *u, const struct outbound *o, const struct dest *server)
{
    const struct out_env *env = o->env;
    int r;

    u->o = o;
    u->port = server->at.port;
    u->ip = server->at.ip;
    u->job.cb = on_address;
    if (!server->host || addr_parse(server->host, &u->ip) == 0) {
        loop_defer(env->loop, &u->job);
        return 0;
    }
    u->lookup = (struct lookup){ .host = server->host, .why = LOOKUP_SERVER, .done = on_lookup };
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
