/*
 * direct.c - no proxy: the destination itself, from this machine
 *
 * TCP is one connect. UDP is one socket for all destinations of the session; names are looked up first (named.c).
 */
#include <errno.h>

#include "core/sock.h"
#include "outbound/private.h"

static int direct_open_pkt(struct outbound *o, const struct flow_meta *m, struct pktsess **out)
{
    struct sock_way way = out_sock_opts(o).way;
    struct outbound *chain[OUT_CHAIN_MAX];
    struct pktsess *sock;

    if (o->via) /* "direct" from where that ends */
        return out_open_pkt(chain[out_resolve(o->via, m, chain) - 1], m, out);
    sock = sock_udp(o->env->loop, &way);
    return sock ? named_open(o, sock, LOOKUP_DIRECT, out) : -ENOMEM;
}

/* ---- TCP ---- */

static int direct_dial(struct outbound *o, struct dial *d)
{
    struct dest to = d->to;

    if (d->meta && (d->meta->host_from == HOST_SNIFFED || d->meta->host_from == HOST_REVERSE) && addr_is_set(&to.at.ip))
        to.host = NULL; /* the application chose the address; the name is what we learnt about it */
    return link_dial_bare(o, d, &to);
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
