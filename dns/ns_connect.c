/*
 * ns_connect.c - a stream to a name server, by its way
 *
 * A proxy gets the name of the server; a way that turns out to be straight (by the rules, or a group that points to DIRECT) uses the
 * address that default-nameserver told, so it never asks the server that is being reached.
 */
#include "dns/ns_connect.h"

#include <string.h>

#include "core/err.h"
#include "dns/private.h"

static void on_dialled(struct dial *d, struct stream *s, int err)
{
    struct ns_connect *c = container_of(d, struct ns_connect, dial);

    c->dialling = false;
    if (err && c->ns->n_addr > 1) { /* the next try is for the next address of its name */
        struct addr first = c->ns->addr[0];

        memmove(c->ns->addr, c->ns->addr + 1, (size_t)(c->ns->n_addr - 1) * sizeof(first));
        c->ns->addr[c->ns->n_addr - 1] = first;
    }
    c->done(c, s, err);
}

int ns_connect_start(struct ns_connect *c)
{
    struct dialer *ways = c->ns->d->ways;
    const struct ns_spec *n = &c->ns->spec;
    int r;

    if (!ways)
        return -ERR_UNSUPPORTED;
    c->meta = (struct flow_meta){ .net = FLOW_TCP, .via = FLOW_VIA_INNER, .host_from = HOST_REVERSE, .depth = (uint8_t)(c->depth + 1) };
    c->meta.dst = (struct dest){ .at.port = n->port, .host = n->ip.ver ? NULL : n->host };
    if (c->ns->n_addr)
        c->meta.dst.at.ip = c->ns->addr[0];
    c->dial = (struct dial){ .to = c->meta.dst, .meta = &c->meta, .done = on_dialled };
    if ((r = ways->dial(ways, *n->via ? n->via : NULL, &c->dial)) == 0)
        c->dialling = true;
    return r;
}

void ns_connect_cancel(struct ns_connect *c)
{
    if (c->dialling)
        c->ns->d->ways->cancel(c->ns->d->ways, &c->dial);
    c->dialling = false;
}
