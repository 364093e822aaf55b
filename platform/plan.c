/*
 * plan.c - which policy rules and routes lead the machine's traffic into the device
 *
 *   P+0   our worker's traffic      -> leave: decided as if we were not there, and it fails when there is no route
 *   P+1   came from the device      -> leave
 *   P+2   not DNS                   -> main without its default route: LANs and other tunnels keep working (not in strict mode: a pushed route would win)
 *   P+3.. source not chosen yet     -> our table
 *         or forwarded                 (forms differ by family: in IPv6 `from ::` never matches an unset source)
 *   P+10  empty: where "leave" lands
 *
 * Not simply "everything -> our table": the reverse-path check has no user id, so with rp_filter=1 every answer to the worker would be dropped.
 *
 * The routes of our table say what is captured: the fake ranges always; else not what is excluded; else what is included, or everything when nothing is
 * included. Prefixes contain each other, so this is a tree: a prefix gets a route only where the answer differs from the next larger prefix, and the kernel's
 * longest match does the rest. "Not captured" inside "captured" is a throw route: the rules behind decide, as for any address without a route.
 *
 *       0.0.0.0/0 in ──► 10.0.0.0/8 out ──► 10.9.0.0/16 out (no route of its own)
 *                   └──► 198.18.0.0/16 fake: in (none either)
 *
 * IPv6 without an address on the device is led there all the same: nft refuses it on its way out (nft.c), and all that is gone with the device. In strict mode
 * an unreachable route of worst metric lies below every one of them, and stays.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "platform/sys.h"

#define MAIN_TABLE 254

/* ---- rules ---- */

static void add(struct plan *p, struct ip_rule r, const char *iif)
{
    for (size_t i = 0; iif[i] && i < sizeof(r.iif) - 1; i++)
        r.iif[i] = iif[i];
    p->rules[p->n_rules++] = r;
}

static struct cidr half(uint8_t first)
{
    struct cidr c = { .ip.ver = 6, .len = 1 };

    c.ip.b[0] = first;
    return c;
}

static struct cidr network(struct cidr c)
{
    for (size_t bit = c.len; bit < sizeof(c.ip.b) * 8; bit++)
        c.ip.b[bit / 8] &= (uint8_t)~(0x80u >> (bit % 8));
    return c;
}

/* The end first, for a jump needs its target; then from the top, so that nothing is captured before the exceptions stand. */
static void rules_of(const struct plan_in *in, int ver, struct plan *out)
{
    uint32_t at = in->prio, end = at + RULES_SPAN, t = in->table;
    bool carried = ver == 4 || in->v6;

    add(out, (struct ip_rule){ .ver = ver, .prio = end, .action = RULE_NOP }, "");
    add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_GOTO, .target = end, .by_uid = true, .uid = in->worker }, "");
    add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_GOTO, .target = end }, in->device);
    if (!in->strict)
        add(out, (struct ip_rule){ .ver = ver, .prio = at, .action = RULE_LOOKUP, .target = MAIN_TABLE, .suppress_default = true, .invert = true, .dport = 53 }, "");
    at++;
    if (!carried) {
        add(out, (struct ip_rule){ .ver = ver, .prio = at, .action = RULE_LOOKUP, .target = t }, "");
    } else if (ver == 4) {
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_LOOKUP, .target = t, .from_unset = true }, "lo");
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_LOOKUP, .target = t, .from = network(in->addr4) }, "lo");
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_LOOKUP, .target = t, .invert = true }, "lo");
    } else {
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_LOOKUP, .target = t, .from = network(in->addr6) }, "lo");
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_GOTO, .target = end, .from = half(0) }, "lo");
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_GOTO, .target = end, .from = half(0x80) }, "lo");
        add(out, (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_LOOKUP, .target = t }, "");
    }
}

/* ---- routes ---- */

enum { FAKE = 1, EXCLUDED = 2, INCLUDED = 4 };

struct mark {
    struct cidr net;
    int what;
};

static int in_tree_order(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    int r = x->net.ip.ver - y->net.ip.ver;

    r = r ? r : memcmp(x->net.ip.b, y->net.ip.b, sizeof(x->net.ip.b));
    return r ? r : x->net.len - y->net.len; /* the larger network before what it contains */
}

static bool captured(int what, bool all)
{
    return what & FAKE || (!(what & EXCLUDED) && (all || what & INCLUDED));
}

static bool contains(const struct cidr *outer, const struct cidr *inner)
{
    return outer->len <= inner->len && cidr_contains(outer, &inner->ip);
}

static uint32_t collect(const struct plan_in *in, struct mark *m)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < in->n_include; i++)
        m[n++] = (struct mark){ network(in->include[i]), INCLUDED };
    for (uint32_t i = 0; i < in->n_exclude; i++)
        m[n++] = (struct mark){ network(in->exclude[i]), EXCLUDED };
    if (in->fake4.ip.ver)
        m[n++] = (struct mark){ network(in->fake4), FAKE };
    if (in->fake6.ip.ver && in->kernel_v6)
        m[n++] = (struct mark){ network(in->fake6), FAKE };
    m[n++] = (struct mark){ { .ip.ver = 4 }, 0 };
    m[n++] = (struct mark){ { .ip.ver = 6 }, 0 };
    qsort(m, n, sizeof(*m), in_tree_order);
    return n;
}

/* Same network twice: one, with both marks. */
static uint32_t unite(struct mark *m, uint32_t n)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (kept && !in_tree_order(&m[kept - 1], &m[i]))
            m[kept - 1].what |= m[i].what;
        else
            m[kept++] = m[i];
    }
    return kept;
}

static void routes_of(const struct plan_in *in, struct mark *m, uint32_t n, struct plan *out)
{
    uint32_t open[130], depth = 0; /* the networks that contain the current one, largest first */
    bool all = !in->n_include;

    for (uint32_t i = 0; i < n; i++) {
        bool inside, above = false;

        if (m[i].net.ip.ver == 6 && !in->kernel_v6)
            continue;
        while (depth && !contains(&m[open[depth - 1]].net, &m[i].net))
            depth--;
        if (depth) {
            above = captured(m[open[depth - 1]].what, all);
            m[i].what |= m[open[depth - 1]].what;
        }
        inside = captured(m[i].what, all);
        open[depth++] = i;
        if (inside != above)
            out->routes[out->n_routes++] = (struct route){ .to = m[i].net, .kind = inside ? ROUTE_DEVICE : ROUTE_THROW, .table = in->table };
    }
}

/* Below every route into the device lies one that says no: it is there when the device is gone, and alone where the device does not carry the family. */
static void block(const struct plan_in *in, struct plan *out)
{
    uint32_t n = out->n_routes;

    for (uint32_t i = 0; i < n; i++) {
        struct route r = out->routes[i];

        if (r.kind != ROUTE_DEVICE)
            continue;
        r.kind = ROUTE_UNREACHABLE;
        r.metric = UINT32_MAX;
        out->routes[r.to.ip.ver == 6 && !in->v6 ? i : out->n_routes++] = r;
    }
}

int plan_make(const struct plan_in *in, struct plan *out)
{
    size_t most = (size_t)in->n_include + in->n_exclude + 4;
    struct mark *m = malloc(most * sizeof(*m));
    uint32_t n;

    memset(out, 0, sizeof(*out));
    out->routes = malloc(2 * most * sizeof(*out->routes));
    if (!m || !out->routes) {
        free(m);
        plan_fini(out);
        return -ENOMEM;
    }
    rules_of(in, 4, out);
    if (in->kernel_v6)
        rules_of(in, 6, out);
    n = unite(m, collect(in, m));
    routes_of(in, m, n, out);
    if (in->strict)
        block(in, out);
    free(m);
    return 0;
}

void plan_fini(struct plan *p)
{
    free(p->routes);
    memset(p, 0, sizeof(*p));
}

/* ---- comparing ---- */

static bool same_cidr(const struct cidr *a, const struct cidr *b)
{
    return a->len == b->len && addr_eq(&a->ip, &b->ip);
}

static bool same_rule(const struct ip_rule *a, const struct ip_rule *b)
{
    return a->ver == b->ver && a->prio == b->prio && a->action == b->action && a->target == b->target && !strcmp(a->iif, b->iif) && same_cidr(&a->from, &b->from) &&
           a->invert == b->invert && a->by_uid == b->by_uid && a->from_unset == b->from_unset && a->suppress_default == b->suppress_default && a->uid == b->uid &&
           a->dport == b->dport;
}

static bool same_place(const struct route *a, const struct route *b)
{
    return same_cidr(&a->to, &b->to) && a->table == b->table && a->metric == b->metric;
}

bool plan_has_rule(const struct plan *p, const struct ip_rule *r)
{
    for (int i = 0; i < p->n_rules; i++)
        if (same_rule(&p->rules[i], r))
            return true;
    return false;
}

bool plan_has_route(const struct plan *p, const struct route *r, bool of_any_kind)
{
    for (uint32_t i = 0; i < p->n_routes; i++)
        if (same_place(&p->routes[i], r) && (of_any_kind || p->routes[i].kind == r->kind))
            return true;
    return false;
}
