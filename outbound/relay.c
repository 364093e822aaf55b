/*
 * relay.c - groups of type relay: a chain in the order of the list
 *
 *   relay [A, B, C]      flow ──► C's protocol ──► B's protocol ──► A's protocol ──► A's server ──► B's server ──► C's server ──► destination
 *
 * A node that is dialled through another is a node of its own ("link"): the same entry read once more, with `via` set. Links are made when a flow first
 * needs them and kept as long as the set; the last one is the leaf that the flow dials. Members that are groups choose for each flow, so which
 * links there are depends on choices; at most LINKS_MAX are ever made.
 *
 * A member that is itself behind others (dialer-proxy, a relay) brings its whole way along. DIRECT adds nothing.
 */
#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "outbound/private.h"

#define LINKS_MAX 4096

struct chain_link {
    struct map_node node;
    struct outbound *o; /* o->origin is dialled through o->via */
};

static struct outbound *follow(struct outbound *o, const struct flow_meta *m)
{
    struct outbound *chain[OUT_CHAIN_MAX];

    return chain[out_resolve(o, m, chain) - 1];
}

static struct outbound *make_link(struct out_set *s, struct outbound *origin, struct outbound *via, uint64_t hash)
{
    struct outbound *o = s->n_chains < LINKS_MAX ? set_make(s, origin->ops, origin->name, origin->node) : NULL;
    struct chain_link *k = o ? arena_alloc(&s->arena, sizeof(*k)) : NULL;
    struct diag nobody; /* all has been said when the entry was read first */
    int r;

    if (!k)
        return NULL;
    diag_init(&nobody, "", NULL, 0, false);
    r = node_read(o, "", &nobody);
    diag_fini(&nobody);
    o->id = origin->id;
    o->provider = origin->provider;
    o->origin = origin;
    o->via = via;
    k->o = o;
    map_add(&s->chains, &k->node, hash); /* also when it is of no use: it may hold something */
    s->n_chains++;
    return r == 0 && !o->why ? o : NULL;
}

/* origin, dialled through via. NULL without memory, or when there are too many. */
static struct outbound *link_of(struct outbound *origin, struct outbound *via)
{
    struct out_set *s = origin->set;
    uintptr_t both[2] = { (uintptr_t)origin, (uintptr_t)via };
    uint64_t hash = hash_bytes(both, sizeof(both));

    for (struct map_node *n = map_first(&s->chains, hash); n; n = map_next(n)) {
        struct outbound *o = container_of(n, struct chain_link, node)->o;

        if (o->origin == origin && o->via == via)
            return o->why ? NULL : o;
    }
    return make_link(s, origin, via, hash);
}

/* The nodes on the way of a leaf, the one whose server we connect to first; 0 when they are too many. */
static int way_of(struct outbound *leaf, const struct flow_meta *m, struct outbound *way[WAY_MAX])
{
    struct outbound *back[WAY_MAX];
    int n = 0;

    for (struct outbound *o = leaf; o; o = o->via ? follow(o->via, m) : NULL) {
        if (o->ops->action == OUT_DIRECT)
            break;
        if (n == WAY_MAX)
            return 0;
        back[n++] = o->origin ? o->origin : o;
    }
    for (int i = 0; i < n; i++)
        way[i] = back[n - 1 - i];
    return n;
}

struct outbound *pick_relay(struct outbound *o, const struct flow_meta *m)
{
    struct group *g = group_of(o);
    struct outbound *last = NULL, *reject = out_find(o->set, "REJECT"), *way[WAY_MAX];
    int hops = 0;

    if (o->why)
        return reject;
    for (uint32_t i = 0; i < g->n_members; i++) {
        struct outbound *leaf = follow(g->members[i], m);
        int n;

        if (leaf->ops->action == OUT_DIRECT)
            continue;
        if (leaf->why || leaf->ops->action != OUT_PROXY)
            return leaf;
        if (!(n = way_of(leaf, m, way)) || (hops += n) > WAY_MAX)
            return reject;
        for (int k = 0; k < n; k++)
            if (!(last = last ? link_of(way[k], last) : way[k]))
                return reject;
    }
    return last ? last : out_find(o->set, "DIRECT");
}

void chains_fini(struct out_set *s)
{
    for (uint32_t i = 0; s->chains.slot && i <= s->chains.mask; i++)
        for (struct map_node *n = s->chains.slot[i]; n; n = n->next) {
            struct outbound *o = container_of(n, struct chain_link, node)->o;

            if (o->ready && o->ops->fini)
                o->ops->fini(o);
        }
    map_fini(&s->chains);
}
