/*
 * plan.c - which policy rules lead the machine's traffic into the device
 *
 *   P+0  our worker's traffic       -> leave: decided as if we were not there, fails when there is no route
 *   P+1  came from the device       -> leave
 *   P+2  not DNS                    -> main without its default route: LANs and other tunnels keep working (not in strict mode)
 *   P+3  source not chosen yet      -> our table
 *   ...                                (forms differ by family: in IPv6 `from ::` never matches an unset source)
 *   P+10 empty: where "leave" lands
 *
 * Not "everything -> our table": the reverse-path check has no user id, so with rp_filter=1 every answer to the worker would be dropped.
 * A family that the device does not carry is unreachable, not left to the main table.
 */
#include "platform/sys.h"

static struct cidr half(uint8_t first)
{
    struct cidr c = { .ip.ver = 6, .len = 1 };

    c.ip.b[0] = first;
    return c;
}

static int family(const struct plan *p, int ver, struct ip_rule *out)
{
    uint32_t end = p->prio + RULES_SPAN;
    bool carried = ver == 4 ? p->v4 : p->v6;
    uint32_t at = p->prio;
    int n = 0;

    out[n++] = (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_GOTO, .target = end, .by_uid = true, .uid = p->worker };
    out[n++] = (struct ip_rule){ .ver = ver, .prio = at++, .action = RULE_GOTO, .target = end, .iif = p->device };
    if (!p->strict)
        out[n++] = (struct ip_rule){ .ver = ver, .prio = at, .action = RULE_LOOKUP, .target = 254, .invert = carried, .dport = carried ? 53 : 0,
                                     .suppress_default = true };
    at++;
    if (!carried) {
        out[n++] = (struct ip_rule){ .ver = ver, .prio = at, .action = RULE_UNREACHABLE };
    } else if (ver == 4) {
        out[n++] = (struct ip_rule){ .ver = 4, .prio = at++, .action = RULE_LOOKUP, .target = p->table, .from_unset = true, .iif = "lo" };
        out[n++] = (struct ip_rule){ .ver = 4, .prio = at++, .action = RULE_LOOKUP, .target = p->table, .from = p->addr4, .iif = "lo" };
        out[n++] = (struct ip_rule){ .ver = 4, .prio = at++, .action = RULE_LOOKUP, .target = p->table, .invert = true, .iif = "lo" };
    } else {
        out[n++] = (struct ip_rule){ .ver = 6, .prio = at++, .action = RULE_LOOKUP, .target = p->table, .from = p->addr6, .iif = "lo" };
        out[n++] = (struct ip_rule){ .ver = 6, .prio = at++, .action = RULE_GOTO, .target = end, .from = half(0), .iif = "lo" };
        out[n++] = (struct ip_rule){ .ver = 6, .prio = at++, .action = RULE_GOTO, .target = end, .from = half(0x80), .iif = "lo" };
        out[n++] = (struct ip_rule){ .ver = 6, .prio = at++, .action = RULE_LOOKUP, .target = p->table };
    }
    out[n++] = (struct ip_rule){ .ver = ver, .prio = end, .action = RULE_NOP };
    return n;
}

int plan_rules(const struct plan *p, struct ip_rule out[PLAN_MAX])
{
    int n = family(p, 4, out);

    return p->kernel_v6 ? n + family(p, 6, out + n) : n;
}
