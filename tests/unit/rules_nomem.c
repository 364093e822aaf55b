/*
 * rules_nomem.c - every allocation of building rules and matchers fails in turn, alone and with all that follow; and a decision needs none
 *
 * What must hold: no crash, no leak (the sanitizers say); and when a set comes back all the same (a message got lost, a table did not
 * grow), it decides as the whole one does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "rules/rules.h"
#include "tests/unit/nomem.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static const char *const fixed[] = {
    "DOMAIN,a.com,T",
    "DOMAIN-KEYWORD,key,T",
    "DOMAIN-REGEX,^re[0-9],T",
    "DOMAIN-WILDCARD,w*.x,T",
    "GEOSITE,aa,T",
    "GEOIP,cc,T",
    "GEOIP,LAN,T,src",
    "IP-CIDR,10.0.0.0/8,T,no-resolve",
    "IP-CIDR6,fd00::1/128,T",
    "IP-SUFFIX,0.0.0.1/8,T",
    "SRC-IP-CIDR,9.0.0.0/8,T",
    "DST-PORT,1/2/3-5,T",
    "IN-NAME,x/y,T",
    "PROCESS-NAME,curl,T",
    "PROCESS-PATH-WILDCARD,/x/*,T",
    "PROCESS-NAME-REGEX,^q,T",
    "UID,7,T",
    "RULE-SET,d,T",
    "RULE-SET,n,T,src",
    "RULE-SET,c,T",
    "RULE-SET,gone,T",
    "AND,((DOMAIN-SUFFIX,org),(OR,((DST-PORT,9),(NOT,((NETWORK,udp)))))),T",
    "SUB-RULE,(NETWORK,udp),s",
    "NOPE,x,T",
    "DOMAIN,b.com,Nowhere",
    "DOMAIN-SUFFIX,.dot.com,T",
};
static const char *const sub[] = { "DOMAIN,sub.com,T", "SUB-RULE,(NETWORK,udp),s", "MATCH,T" };

static const uint8_t geosite[] = "\x0a\x10\x0a\x02"
                                 "AA"
                                 "\x12\x0a\x08\x02\x12\x06"
                                 "aa.com";
static const uint8_t geoip[] = "\x0a\x0e\x0a\x02"
                               "CC"
                               "\x12\x08\x0a\x04\x0b\x00\x00\x00\x10\x08";

static struct cfg_rule rules[400], subs[N(sub)];
static char many[400][64];

static int32_t find_target(void *arg, const char *name)
{
    return strcmp(name, "T") ? -1 : 1;
}

static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    static const char *d[] = { "+.d.com", "*.e.com", "x-*.f.com", "bad..pattern" }, *n[] = { "10.0.0.0/8", "fd00::/120", "fd00::5/128" };
    static const char *c[] = { "DOMAIN,c.com", "PROCESS-NAME,ssh", "AND,((DST-PORT,1),(NETWORK,tcp))", "IP-CIDR,20.0.0.0/8",
                               "USER-AGENT,x" };
    static const struct cfg_provider all[] = {
        { .name = "d", .from = CFG_FROM_INLINE, .behavior = CFG_BEHAVIOR_DOMAIN, .rules = { N(d), d, NULL } },
        { .name = "n", .from = CFG_FROM_INLINE, .behavior = CFG_BEHAVIOR_IPCIDR, .rules = { N(n), n, NULL } },
        { .name = "c", .from = CFG_FROM_INLINE, .behavior = CFG_BEHAVIOR_CLASSICAL, .rules = { N(c), c, NULL } },
        { .name = "gone", .from = CFG_FROM_HTTP, .behavior = CFG_BEHAVIOR_DOMAIN },
    };

    for (size_t i = 0; i < N(all); i++)
        if (!strcmp(all[i].name, name)) {
            out->cfg = &all[i];
            return true;
        }
    return false;
}

static const struct rules_env env = { .target = find_target,
                                      .provider = find_provider,
                                      .geosite = { geosite, sizeof(geosite) - 1 },
                                      .geoip = { geoip, sizeof(geoip) - 1 },
                                      .geoip_is_dat = true };
static const struct cfg_sub_rules lists[] = { { .name = "s", .n_rules = N(sub), .rules = subs } };
static const struct rules_src src = { .n_rules = N(rules), .rules = rules, .n_subs = 1, .subs = lists };

static int setup(void **state)
{
    uint32_t n = 0;

    for (; n < N(fixed); n++)
        rules[n] = (struct cfg_rule){ .text = fixed[n], .index = n };
    for (; n < N(rules); n++) { /* enough that every table grows */
        snprintf(many[n], sizeof(many[n]), n % 3 ? "DOMAIN-SUFFIX,n%u.example.com,T" : "IP-CIDR,10.%u.0.0/16,T", n % 3 ? n : n % 256);
        rules[n] = (struct cfg_rule){ .text = many[n], .index = n };
    }
    for (uint32_t i = 0; i < N(sub); i++)
        subs[i] = (struct cfg_rule){ .text = sub[i], .index = i, .sub = "s" };
    return 0;
}

/* Which rules are true of a few flows, in one number. */
static uint64_t answers(struct ruleset *rs)
{
    static const char *const hosts[] = { "a.com",   "akeyb",     "re5",   "ww.x",  "q.aa.com",         "y.d.com",
                                         "z.e.com", "x-1.f.com", "c.com", "t.org", "n300.example.com", "none" };
    static const struct flow_proc proc = { "curl", "/x/curl", 7, true };
    uint64_t sum = 0;

    for (size_t i = 0; i < N(hosts) + 3; i++) {
        struct flow_meta m = { .net = i % 2 ? FLOW_UDP : FLOW_TCP,
                               .dst = { .at = { .port = 4 + (uint16_t)i }, .host = i < N(hosts) ? hosts[i] : NULL } };
        struct rule_pos pos = { 0 };
        struct rule_hit hit;
        enum match r;

        if (i >= N(hosts))
            addr_parse((const char *const[]){ "10.3.1.1", "11.0.0.1", "fd00::1" }[i - N(hosts)], &m.dst.at.ip);
        while ((r = rules_match(rs, &pos, &m, &hit)) != MATCH_NONE) {
            pos.ip_failed |= r == MATCH_NEED_IP;
            if (r == MATCH_NEED_PROC) {
                pos.proc_tried = true;
                m.proc = &proc;
            }
            sum = sum * 31 + (uint64_t)r * 1000 + (r == MATCH_HIT ? hit.rule->index + 7 * hit.by->index : 0);
        }
    }
    return sum;
}

static uint64_t whole;

static bool build(size_t fail_at, bool from_then_on, size_t *survived)
{
    struct ruleset *rs;
    size_t refused;
    struct diag d;

    diag_init(&d, "test", NULL, 0, false);
    nomem_arm(fail_at, from_then_on);
    rs = rules_build(&src, &env, &d);
    refused = nomem_disarm();
    if (rs && refused) {
        assert_true(answers(rs) == whole);
        ++*survived;
    }
    if (!fail_at) {
        assert_non_null(rs);
        whole = answers(rs);
        nomem_arm(1, true); /* a decision allocates nothing */
        assert_true(answers(rs) == whole);
        assert_int_equal(nomem_disarm(), 0);
    }
    rules_free(rs);
    diag_fini(&d);
    return refused > 0;
}

static void every_allocation_of_a_build_fails(void **state)
{
    size_t n[2] = { 0, 0 }, survived = 0;

    build(0, false, &survived);
    for (int on = 0; on < 2; on++)
        while (build(n[on] + 1, on, &survived))
            n[on]++;
    assert_true(n[0] > 100);
    print_message("%zu allocations failed alone, %zu from then on; %zu builds were whole all the same\n", n[0], n[1], survived);
}

static bool match(size_t fail_at)
{
    static const char *const names[] = { "+.a.com", "*.b", "c-*.d", "geosite:aa", "rule-set:d,c" }, *const nets[] = { "10.0.0.0/8",
                                                                                                                      "geoip:cc,lan",
                                                                                                                      "rule-set:n" };
    struct matcher *m;
    bool ok = true;

    nomem_arm(fail_at, false);
    m = matcher_new(&env);
    for (size_t i = 0; m && i < N(names); i++)
        ok &= matcher_add_name(m, names[i], (uint32_t)i, NULL) == 0;
    for (size_t i = 0; m && i < N(nets); i++)
        ok &= matcher_add_addr(m, nets[i], (uint32_t)i, NULL) == 0;
    ok &= m && matcher_finish(m) == 0;
    if (ok) {
        assert_int_equal(matcher_first(m, "x.aa.com"), 3);
        assert_int_equal(matcher_first(m, "c-7.d"), 2);
        assert_int_equal(matcher_best(m, "a.com"), 0);
    }
    matcher_free(m);
    return nomem_disarm() > 0;
}

static void every_allocation_of_a_matcher_fails(void **state)
{
    size_t n = 0;

    while (match(n + 1))
        n++;
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_a_build_fails),
        cmocka_unit_test(every_allocation_of_a_matcher_fails),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
