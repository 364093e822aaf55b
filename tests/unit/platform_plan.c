/*
 * platform_plan.c - rules and routes: what they say, and where they lead
 *
 * Routes are compared with a naive look: is the address in a fake range, excluded, included? Rules are walked as the kernel does, for every
 * kind of packet that matters.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc.h"
#include "platform/sys.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WORKER   65017
#define TABLE    2022
#define PRIO     9000

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static struct cidr C(const char *s) {
    struct cidr c;
    char host[64];

    assert_int_equal(cidr_parse(s, &c), 0);
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(s, "/"), s);
    assert_int_equal(addr_parse(host, &c.ip), 0);
    return c;
}

static struct addr
A(const char *s) {
    struct addr a;

    assert_int_equal(addr_parse(s, &a), 0);
    return a;
}

static struct plan_in
usual(void)
{
    return (struct plan_in){ .prio = PRIO,
                             .table = TABLE,
                             .device = "shunt0",
                             .v6 = true,
                             .kernel_v6 = true,
                             .worker = WORKER,
                             .addr4 = C("198.18.0.1/30"),
                             .addr6 = C("fdfe:dcba:9876::1/126"),
                             .fake4 = C("198.18.0.0/16"),
                             .fake6 = C("fdfe:198:18::/64") };
}

/* ---- rules, as words ---- */

static const char *words(const struct ip_rule *r, char out[200])
{
    char a[ADDR_STRLEN];
    int n = sprintf(out, "%d %u: %s", r->ver, r->prio - PRIO, r->invert ? "not " : "");

    if (r->from_unset)
        n += sprintf(out + n, "from 0.0.0.0 ");
    if (r->from.ip.ver)
        n += sprintf(out + n, "from %s/%u ", addr_str(&r->from.ip, a), r->from.len);
    if (*r->iif)
        n += sprintf(out + n, "iif %s ", r->iif);
    if (r->by_uid)
        n += sprintf(out + n, "uid %u ", r->uid);
    if (r->dport)
        n += sprintf(out + n, "dport %u ", r->dport);
    if (r->action == RULE_NOP)
        n += sprintf(out + n, "nop");
    else if (r->action == RULE_GOTO)
        n += sprintf(out + n, "goto %u", r->target - PRIO);
    else
        n += sprintf(out + n, "lookup %u", r->target);
    if (r->suppress_default)
        sprintf(out + n, " but its default");
    return out;
}

static const char *const rules4[] = {
    "4 10: nop",
    "4 0: uid 65017 goto 10",
    "4 1: iif shunt0 goto 10",
    "4 2: not dport 53 lookup 254 but its default",
    "4 3: from 0.0.0.0 iif lo lookup 2022",
    "4 4: from 198.18.0.0/30 iif lo lookup 2022",
    "4 5: not iif lo lookup 2022",
};
static const char *const rules6[] = {
    "6 10: nop",
    "6 0: uid 65017 goto 10",
    "6 1: iif shunt0 goto 10",
    "6 2: not dport 53 lookup 254 but its default",
    "6 3: from fdfe:dcba:9876::/126 iif lo lookup 2022",
    "6 4: from ::/1 iif lo goto 10",
    "6 5: from 8000::/1 iif lo goto 10",
    "6 6: lookup 2022",
};
static const char *const rules6_refused[] = {
    "6 10: nop", "6 0: uid 65017 goto 10", "6 1: iif shunt0 goto 10", "6 2: not dport 53 lookup 254 but its default", "6 3: lookup 2022",
};

/* The expected list, without what strict mode leaves out. */
static int expect_rules(const struct plan *p, int at, const char *const *want, size_t n, bool strict)
{
    char text[200];

    for (size_t i = 0; i < n; i++) {
        if (strict && strstr(want[i], "but its default"))
            continue;
        assert_true(at < p->n_rules);
        assert_string_equal(words(&p->rules[at++], text), want[i]);
    }
    return at;
}

static void rules_as_written(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct plan_in in = usual();
        struct plan p;
        int n;

        in.strict = i & 1;
        in.v6 = i & 2;
        in.kernel_v6 = i & 4;
        assert_int_equal(plan_make(&in, &p), 0);
        n = expect_rules(&p, 0, rules4, COUNT(rules4), in.strict);
        if (in.kernel_v6 && in.v6)
            n = expect_rules(&p, n, rules6, COUNT(rules6), in.strict);
        else if (in.kernel_v6)
            n = expect_rules(&p, n, rules6_refused, COUNT(rules6_refused), in.strict);
        assert_int_equal(p.n_rules, n);
        plan_fini(&p);
    }
}

static void a_long_device_name_is_not_cut(void **state)
{
    struct plan_in in = usual();
    struct plan p;

    in.device = "123456789012345";
    assert_int_equal(plan_make(&in, &p), 0);
    assert_string_equal(p.rules[2].iif, in.device);
    plan_fini(&p);
}

/* ---- rules, walked ---- */

struct kind {
    const char *what;
    int ver;
    uid_t uid;
    const char *iif, *src; /* src NULL: not chosen yet */
    uint16_t dport;
    bool lan;          /* the main table has more than its default route for it */
    const char *where; /* "ours", "main" or "out": as if we were not there */
};

static const struct kind kinds[] = {
    { "an application", 4, 1000, "lo", NULL, 443, false, "ours" },
    { "an application that asks a name", 4, 1000, "lo", NULL, 53, false, "ours" },
    { "one that is bound to the device", 4, 1000, "lo", "198.18.0.1", 443, false, "ours" },
    { "one that is bound to the uplink's address", 4, 1000, "lo", "192.168.1.5", 443, false, "out" },
    { "to the LAN", 4, 1000, "lo", NULL, 443, true, "main" },
    { "a name asked in the LAN", 4, 1000, "lo", NULL, 53, true, "ours" },
    { "the worker", 4, WORKER, "lo", NULL, 443, false, "out" },
    { "the worker asks a name", 4, WORKER, "lo", NULL, 53, false, "out" },
    { "the worker, bound", 4, WORKER, "lo", "192.168.1.5", 443, false, "out" },
    { "the worker to the LAN", 4, WORKER, "lo", NULL, 443, true, "out" },
    { "what comes out of the device", 4, 0, "shunt0", "203.0.113.9", 443, false, "out" },
    { "the device's answer to the LAN", 4, 0, "shunt0", "203.0.113.9", 443, true, "out" },
    { "a guest's", 4, 0, "br0", "172.17.0.2", 443, false, "ours" },
    { "the reverse path of an answer", 4, 0, "lo", "192.168.1.5", 0, false, "out" },
    { "an application", 6, 1000, "lo", NULL, 443, false, "ours" },
    { "one that is bound to the device", 6, 1000, "lo", "fdfe:dcba:9876::1", 443, false, "ours" },
    { "one that is bound to the uplink's address", 6, 1000, "lo", "2001:db8::5", 443, false, "out" },
    { "one with a high address", 6, 1000, "lo", "fd00::5", 443, false, "out" },
    { "to the LAN", 6, 1000, "lo", NULL, 443, true, "main" },
    { "a name asked in the LAN", 6, 1000, "lo", NULL, 53, true, "ours" },
    { "the worker", 6, WORKER, "lo", NULL, 443, false, "out" },
    { "what comes out of the device", 6, 0, "shunt0", "2001:db8::9", 443, false, "out" },
    { "a guest's", 6, 0, "br0", "fd17::2", 443, false, "ours" },
};

static bool applies(const struct ip_rule *r, const struct kind *k)
{
    struct addr src = k->src ? A(k->src) : (struct addr){ .ver = (uint8_t)k->ver };
    bool hit = (!*r->iif || !strcmp(r->iif, k->iif)) && (!r->by_uid || r->uid == k->uid) && (!r->dport || r->dport == k->dport);

    if (r->from_unset)
        hit = hit && !k->src;
    if (r->from.ip.ver == 4)
        hit = hit && cidr_contains(&r->from, &src);
    if (r->from.ip.ver == 6) /* a prefix does not match a source that is unset: reliability section 2, item 2 */
        hit = hit && k->src && cidr_contains(&r->from, &src);
    return hit != r->invert;
}

static const char *walk(const struct ip_rule *rules, int n, const struct kind *k)
{
    uint32_t at = 0;

    for (;;) {
        const struct ip_rule *next = NULL;

        for (int i = 0; i < n; i++)
            if (rules[i].ver == k->ver && rules[i].prio >= at && (!next || rules[i].prio < next->prio) && applies(&rules[i], k))
                next = &rules[i];
        if (!next || next->action == RULE_NOP)
            return "out";
        if (next->action == RULE_GOTO) {
            at = next->target;
            continue;
        }
        if (next->target == TABLE)
            return "ours";
        if (!next->suppress_default || k->lan)
            return "main";
        at = next->prio + 1;
    }
}

static void every_kind_of_packet_goes_where_it_should(void **state)
{
    for (int strict = 0; strict < 2; strict++) {
        struct plan_in in = usual();
        struct plan p;

        in.strict = strict;
        assert_int_equal(plan_make(&in, &p), 0);
        for (size_t i = 0; i < COUNT(kinds); i++) {
            const struct kind *k = &kinds[i];
            const char *want = strict && !strcmp(k->where, "main") ? "ours" : k->where, *got = walk(p.rules, p.n_rules, k);

            if (strcmp(got, want))
                fail_msg("%s, IPv%d%s: %s, not %s", k->what, k->ver, strict ? ", strict" : "", got, want);
        }
        plan_fini(&p);
    }
}

/* Half of the rules may stand when somebody looks: nobody who is an exception is captured, and every jump has its target. */
static void no_moment_leads_astray(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct plan_in in = usual();
        struct plan p;

        in.strict = i & 1;
        in.v6 = i & 2;
        in.kernel_v6 = i & 4;
        assert_int_equal(plan_make(&in, &p), 0);
        for (int n = 0; n <= p.n_rules; n++) {
            for (size_t k = 0; k < COUNT(kinds); k++)
                if (in.v6 && !strcmp(kinds[k].where, "out"))
                    assert_string_equal(walk(p.rules, n, &kinds[k]), "out");
            for (int r = 0; r < n; r++) {
                bool there = p.rules[r].action != RULE_GOTO;

                for (int t = 0; t < n; t++)
                    there |= p.rules[t].ver == p.rules[r].ver && p.rules[t].prio == p.rules[r].target;
                assert_true(there);
            }
        }
        plan_fini(&p);
    }
}

/* ---- routes ---- */

static bool in_any(const struct cidr *v, uint32_t n, const struct addr *a)
{
    for (uint32_t i = 0; i < n; i++)
        if (cidr_contains(&v[i], a))
            return true;
    return false;
}

/* What plan.c promises, in one line. */
static bool naive(const struct plan_in *in, const struct addr *a)
{
    if (cidr_contains(&in->fake4, a) || cidr_contains(&in->fake6, a))
        return true;
    return !in_any(in->exclude, in->n_exclude, a) && (!in->n_include || in_any(in->include, in->n_include, a));
}

/* The kernel's way: longest prefix, then lowest metric; a device that is gone takes its routes along. NULL: none. */
static const struct route *longest(const struct plan *p, const struct addr *a, bool device_gone)
{
    const struct route *best = NULL;

    for (uint32_t i = 0; i < p->n_routes; i++) {
        const struct route *r = &p->routes[i];

        if ((device_gone && r->kind == ROUTE_DEVICE) || !cidr_contains(&r->to, a))
            continue;
        if (!best || r->to.len > best->to.len || (r->to.len == best->to.len && r->metric < best->metric))
            best = r;
    }
    return best;
}

static struct cidr random_net(uint32_t *rnd, int ver)
{
    struct cidr c = { .ip.ver = (uint8_t)ver };
    size_t bytes = addr_len(&c.ip);

    /* few bits, so that networks contain each other; and host bits that do not count */
    for (size_t i = 0; i < bytes; i++)
        c.ip.b[i] = i < 4 ? (uint8_t)(dice(rnd) % 3 * 64) : (uint8_t)dice(rnd);
    c.len = (uint8_t)(dice(rnd) % 8 ? dice(rnd) % 34 : dice(rnd) % (bytes * 8 + 1));
    if (c.len > bytes * 8)
        c.len = (uint8_t)(bytes * 8);
    return c;
}

static struct addr random_addr(uint32_t *rnd, const struct plan_in *in)
{
    struct cidr c = random_net(rnd, dice(rnd) % 2 ? 4 : 6);

    if (dice(rnd) % 4 == 0 && in->n_exclude) /* near an edge */
        c = in->exclude[dice(rnd) % in->n_exclude];
    if (dice(rnd) % 16 == 0)
        c = dice(rnd) % 2 ? in->fake4 : in->fake6;
    if (c.ip.ver)
        c.ip.b[dice(rnd) % addr_len(&c.ip)] ^= (uint8_t)(dice(rnd) % 3);
    return c.ip;
}

static void check_shape(const struct plan *p, const struct plan_in *in)
{
    assert_true(p->n_routes <= 2 * (in->n_include + in->n_exclude + 4));
    for (uint32_t i = 0; i < p->n_routes; i++) {
        const struct route *r = &p->routes[i];

        assert_int_equal(r->table, TABLE);
        assert_true(r->to.ip.ver == 4 || (r->to.ip.ver == 6 && in->kernel_v6));
        for (size_t bit = r->to.len; bit < addr_len(&r->to.ip) * 8; bit++)
            assert_false(r->to.ip.b[bit / 8] & 0x80u >> bit % 8);
        for (uint32_t k = 0; k < i; k++)
            assert_false(p->routes[k].to.len == r->to.len && addr_eq(&p->routes[k].to.ip, &r->to.ip) && p->routes[k].metric == r->metric);
    }
}

static void random_networks_like_a_naive_look(void **state)
{
    static struct cidr include[40], exclude[40];
    uint32_t rnd = 17;
    unsigned captured = 0, asked = 0;

    for (int round = 0; round < 3000; round++) {
        struct plan_in in = usual();
        struct plan p;

        in.include = include;
        in.exclude = exclude;
        in.n_include = dice(&rnd) % 3 ? 0 : dice(&rnd) % COUNT(include);
        in.n_exclude = dice(&rnd) % COUNT(exclude);
        in.strict = dice(&rnd) % 2;
        in.kernel_v6 = dice(&rnd) % 8;
        in.v6 = in.kernel_v6 && dice(&rnd) % 4;
        for (uint32_t i = 0; i < in.n_include; i++)
            include[i] = random_net(&rnd, dice(&rnd) % 2 ? 4 : 6);
        for (uint32_t i = 0; i < in.n_exclude; i++)
            exclude[i] = random_net(&rnd, dice(&rnd) % 2 ? 4 : 6);
        if (dice(&rnd) % 8 == 0)
            in.fake4 = in.fake6 = (struct cidr){ 0 };
        else if (dice(&rnd) % 2)
            in.fake4 = random_net(&rnd, 4);
        assert_int_equal(plan_make(&in, &p), 0);
        check_shape(&p, &in);
        for (int i = 0; i < 100; i++) {
            struct addr a = random_addr(&rnd, &in);
            const struct route *now = longest(&p, &a, false), *gone = longest(&p, &a, true);
            bool want = naive(&in, &a), blocked = a.ver == 6 && !in.v6 && in.strict;
            char text[ADDR_STRLEN];

            if (!a.ver || (a.ver == 6 && !in.kernel_v6))
                continue;
            asked++;
            captured += want;
            if ((now && now->kind != ROUTE_THROW) != want)
                fail_msg("round %d: %s is %scaptured", round, addr_str(&a, text), want ? "not " : "");
            if (want)
                assert_int_equal(now->kind, blocked ? ROUTE_UNREACHABLE : ROUTE_DEVICE);
            /* without the device: in strict mode a wall, else as if we were not there */
            assert_int_equal(gone && gone->kind == ROUTE_UNREACHABLE, want && in.strict);
        }
        plan_fini(&p);
    }
    assert_true(captured > asked / 10 && captured < asked / 10 * 9);
}

/* A route that says what the next larger network says already is not made. */
static void no_route_too_many(void **state)
{
    struct cidr exclude[] = { C("10.0.0.0/8"),    C("10.9.0.0/16"),    C("10.9.0.0/16"),
                              C("198.18.4.0/24"), C("192.168.0.0/16"), C("192.168.77.1/16") };
    static const struct {
        const char *to;
        enum route_kind kind;
    } want[] = {
        { "0.0.0.0/0", ROUTE_DEVICE }, { "10.0.0.0/8", ROUTE_THROW }, { "192.168.0.0/16", ROUTE_THROW }, { "::/0", ROUTE_DEVICE }
    };
    struct plan_in in = usual();
    struct plan p;

    in.exclude = exclude;
    in.n_exclude = COUNT(exclude);
    assert_int_equal(plan_make(&in, &p), 0);
    assert_int_equal(p.n_routes, COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++) {
        struct route r = { .to = C(want[i].to), .kind = want[i].kind, .table = TABLE };

        assert_true(plan_has_route(&p, &r, false));
    }
    plan_fini(&p);
}

static void a_thousand_of_each(void **state)
{
    static struct cidr include[PLAT_MAX_ROUTES], exclude[PLAT_MAX_ROUTES];
    struct plan_in in = usual();
    uint32_t rnd = 5;
    struct plan p;

    for (uint32_t i = 0; i < PLAT_MAX_ROUTES; i++) { /* one inside of the other, and side by side */
        include[i] = (struct cidr){ { 4, { (uint8_t)(i >> 4), (uint8_t)(i << 4) } }, 12 };
        exclude[i] = (struct cidr){ { 4, { (uint8_t)(i >> 4), (uint8_t)(i << 4), (uint8_t)i } }, (uint8_t)(13 + i % 20) };
    }
    in.include = include;
    in.exclude = exclude;
    in.n_include = in.n_exclude = PLAT_MAX_ROUTES;
    in.strict = true;
    assert_int_equal(plan_make(&in, &p), 0);
    check_shape(&p, &in);
    for (int i = 0; i < 2000; i++) {
        struct addr a = { 4, { (uint8_t)(dice(&rnd) % 64), (uint8_t)dice(&rnd), (uint8_t)dice(&rnd) } };
        const struct route *r = longest(&p, &a, false);

        assert_int_equal(r && r->kind == ROUTE_DEVICE, naive(&in, &a));
    }
    plan_fini(&p);
}

/* ---- comparing ---- */

static void every_fact_of_a_rule_counts(void **state)
{
    struct plan_in in = usual();
    struct plan p;
    struct ip_rule r;

    assert_int_equal(plan_make(&in, &p), 0);
    for (int i = 0; i < p.n_rules; i++) {
        assert_true(plan_has_rule(&p, &p.rules[i]));
#define OTHER(field, value)                                                                                                                \
    do {                                                                                                                                   \
        r = p.rules[i];                                                                                                                    \
        r.field = (value);                                                                                                                 \
        assert_false(plan_has_rule(&p, &r));                                                                                               \
    } while (0)
        OTHER(ver, 5);
        OTHER(prio, r.prio + 100);
        OTHER(action, (enum rule_action)9);
        OTHER(target, r.target + 1);
        OTHER(iif[0], 'z');
        OTHER(from, C("192.0.2.0/24"));
        OTHER(invert, !r.invert);
        OTHER(by_uid, !r.by_uid);
        OTHER(uid, r.uid + 1);
        OTHER(from_unset, !r.from_unset);
        OTHER(suppress_default, !r.suppress_default);
        OTHER(dport, (uint16_t)(r.dport + 1));
    }
    plan_fini(&p);
    assert_false(plan_has_rule(&p, &r));
}

static void the_place_of_a_route_may_be_enough(void **state)
{
    struct plan_in in = usual();
    struct plan p;
    struct route r;

    in.strict = true;
    assert_int_equal(plan_make(&in, &p), 0);
    for (uint32_t i = 0; i < p.n_routes; i++) {
        r = p.routes[i];
        assert_true(plan_has_route(&p, &r, false) && plan_has_route(&p, &r, true));
        r.kind = r.kind == ROUTE_DEVICE ? ROUTE_THROW : ROUTE_DEVICE;
        assert_false(plan_has_route(&p, &r, false));
        assert_true(plan_has_route(&p, &r, true));
        r.table++;
        assert_false(plan_has_route(&p, &r, true));
        r = p.routes[i];
        r.metric ^= 7;
        assert_false(plan_has_route(&p, &r, true));
        r = p.routes[i];
        r.to.len++;
        assert_false(plan_has_route(&p, &r, true));
    }
    plan_fini(&p);
}

static void without_memory_there_is_no_plan(void **state)
{
    struct plan_in in = usual();
    size_t before = alloc.bytes;
    struct plan p;

    for (unsigned long n = 1; n <= 2; n++) {
        alloc_fail(n, 1);
        assert_int_equal(plan_make(&in, &p), -ENOMEM);
        alloc_fail(0, 0);
        assert_true(!p.n_rules && !p.n_routes && !p.routes);
        plan_fini(&p);
        assert_int_equal(alloc.bytes, before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_as_written),
        cmocka_unit_test(a_long_device_name_is_not_cut),
        cmocka_unit_test(every_kind_of_packet_goes_where_it_should),
        cmocka_unit_test(no_moment_leads_astray),
        cmocka_unit_test(random_networks_like_a_naive_look),
        cmocka_unit_test(no_route_too_many),
        cmocka_unit_test(a_thousand_of_each),
        cmocka_unit_test(every_fact_of_a_rule_counts),
        cmocka_unit_test(the_place_of_a_route_may_be_enough),
        cmocka_unit_test(without_memory_there_is_no_plan),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
