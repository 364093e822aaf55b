/*
 * source.c - what one host of the LAN may have open at a time
 *
 *   flow_init ─► source_enter ─► too many?        flow_set_state(RELAY) ─► source_answered        flow_fini ─► source_leave
 *
 * This machine's own programs all come from the device's own address, so there is no limit per source for them. Hosts are counted by
 * address, in IPv6 by /64, for a host has as many addresses there as it likes. A record lives while a flow of its host does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "engine/private.h"

#define FLOWS_PER_SOURCE 1024
#define HELD_PER_SOURCE 512
#define SAY_EVERY_MS 60000

struct source {
    struct map_node node;
    struct addr net;
    uint32_t n_flows, n_held; /* held: TCP, and not answered yet */
};

static struct addr net_of(struct addr a)
{
    if (a.ver == 6)
        memset(a.b + 8, 0, 8);
    return a;
}

static struct source *source_get(struct engine *e, const struct addr *who)
{
    struct addr net = net_of(*who);
    uint64_t hash = hash_bytes(net.b, sizeof(net.b));
    struct source *s;

    for (struct map_node *n = map_first(&e->sources, hash); n; n = map_next(n)) {
        s = container_of(n, struct source, node);
        if (addr_eq(&s->net, &net))
            return s;
    }
    if (!(s = calloc(1, sizeof(*s))))
        return NULL;
    s->net = net;
    map_add(&e->sources, &s->node, hash);
    return s;
}

static void say_full(struct engine *e, const struct addr *who)
{
    uint64_t now = loop_now(e->loop);
    char a[ADDR_STRLEN];

    if (e->source_said_ms && now - e->source_said_ms < SAY_EVERY_MS)
        return;
    e->source_said_ms = now;
    log_warn(LOG_TUN, "%s has %u flows open or %u not yet answered: more are refused", addr_str(who, a), FLOWS_PER_SOURCE, HELD_PER_SOURCE);
}

int source_enter(struct engine *e, struct flow *f)
{
    const struct addr *who = &f->meta.src.ip;
    bool tcp = f->meta.net == FLOW_TCP;
    struct source *s;

    f->source = NULL;
    if (f->meta.via == FLOW_VIA_INNER || cidr_contains(&e->own4, who) || cidr_contains(&e->own6, who))
        return 0;
    if (!(s = source_get(e, who)))
        return -ENOMEM;
    if (s->n_flows >= FLOWS_PER_SOURCE || (tcp && s->n_held >= HELD_PER_SOURCE)) {
        say_full(e, who);
        return s->n_flows >= FLOWS_PER_SOURCE ? -ERR_LIMIT : -ERR_DROP; /* not answered yet: it asks again by itself */
    }
    s->n_flows++;
    f->source = s;
    f->held = tcp;
    s->n_held += tcp;
    return 0;
}

void source_answered(struct flow *f)
{
    if (f->source && f->held)
        f->source->n_held--;
    f->held = false;
}

void source_leave(struct engine *e, struct flow *f)
{
    struct source *s = f->source;

    source_answered(f);
    f->source = NULL;
    if (!s || --s->n_flows)
        return;
    map_del(&e->sources, &s->node);
    free(s);
}
