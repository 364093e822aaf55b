/*
 * dns_routes.c - who is asked for what: policies, fallback and its filter, servers for nodes and for DIRECT, servers behind the rules, sets
 * of names
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/log.h"
#include "dns/msg.h"
#include "tests/unit/dns_ways.h"

static struct dns_world w;
static struct ways_world ways;
static struct ns_world s[4]; /* each answers with its own address: 192.0.2.1 + number, unless told otherwise */

static int quiet(void **state)
{
    log_threshold = LOG_SILENT;
    return 0;
}

static void script_mine(struct ns_world *n, const uint8_t *query, size_t len, struct wire *out)
{
    uint16_t type = (uint16_t)(query[len - 11 - 4] << 8 | query[len - 11 - 3]);

    wanswer(out, query, len, 0x8180, type == T_A, 0, 0);
    if (type == T_A)
        waddr(out, NULL, 60, n->priv);
}

static void script_servfail(struct ns_world *n, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8182, 0, 0, 0);
}

static void script_nxdomain(struct ns_world *n, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8183, 0, 1, 0);
    wsoa(out, "test", 60, 60);
}

/* ---- sets of names and addresses ---- */

static struct wire geosite, geoip;

static void field(struct wire *to, unsigned number, const void *p, size_t len)
{
    w8(to, number << 3 | 2);
    w8(to, (unsigned)len);
    memcpy(to->b + to->len, p, len);
    to->len += len;
}

static void add_category(const char *code, const char *name)
{
    static struct wire domain, entry;

    domain.len = entry.len = 0;
    w8(&domain, 1 << 3);
    w8(&domain, 2); /* the name and what is below it */
    field(&domain, 2, name, strlen(name));
    field(&entry, 1, code, strlen(code));
    field(&entry, 2, domain.b, domain.len);
    field(&geosite, 1, entry.b, entry.len);
}

static void add_country(const char *code, const uint8_t ip[4], unsigned bits)
{
    static struct wire cidr, entry;

    cidr.len = entry.len = 0;
    field(&cidr, 1, ip, 4);
    w8(&cidr, 2 << 3);
    w8(&cidr, bits);
    field(&entry, 1, code, strlen(code));
    field(&entry, 2, cidr.b, cidr.len);
    field(&geoip, 1, entry.b, entry.len);
}

static bool provider(void *arg, const char *name, struct rules_provider *out)
{
    static const char names[] = "+.set.test\none.example\n", rules[] = "DOMAIN-SUFFIX,classic.test\nIP-CIDR,10.0.0.0/8\n";
    const struct profile *p = w.opts.profile;

    for (uint32_t i = 0; i < p->n_rule_providers; i++) {
        if (strcmp(p->rule_providers[i].name, name) != 0)
            continue;
        *out = (struct rules_provider){ .cfg = &p->rule_providers[i] };
        if (!strcmp(name, "late"))
            return true; /* its file is not there yet */
        out->bytes = p->rule_providers[i].behavior == CFG_BEHAVIOR_DOMAIN ? names : rules;
        out->len = strlen(out->bytes);
        return true;
    }
    return false;
}

#define PROVIDERS                                                                                                                          \
    "rule-providers:\n"                                                                                                                    \
    "  names: { type: file, behavior: domain, format: text, path: ./names.txt }\n"                                                         \
    "  late: { type: file, behavior: domain, format: text, path: ./late.txt }\n"                                                           \
    "  classic: { type: file, behavior: classical, format: text, path: ./classic.txt }\n"                                                  \
    "  nets: { type: file, behavior: ipcidr, format: text, path: ./nets.txt }\n"

static struct rules_env env = { .provider = provider, .geoip_is_dat = true };

/* ---- the world ---- */

static void begin(void)
{
    static const char *const addrs[] = { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4" };

    world_begin(&w);
    ways_open(&ways, &w);
    geosite.len = geoip.len = 0;
    add_category("CN", "site.test");
    add_category("GFW", "wall.test");
    add_country("CN", (const uint8_t[]){ 192, 0, 2, 0 }, 24);
    env.geosite = (struct rules_file){ geosite.b, geosite.len };
    env.geoip = (struct rules_file){ geoip.b, geoip.len };
    w.env = &env;
    for (int i = 0; i < 4; i++) {
        ns_open(&s[i], w.loop, "127.0.0.1", script_mine);
        s[i].priv = (void *)addrs[i];
    }
}

static void end(void)
{
    for (int i = 0; i < 4; i++)
        ns_close(&s[i]);
    world_end(&w);
}

/* Which server's answer came: 0..3; -1 SERVFAIL or nothing; -2 another. */
static int answered_by(const char *name, unsigned type)
{
    const char *text = world_ask(&w, name, type, ASK_RD), *at = strstr(text, "192.0.2.");

    if (!strncmp(text, "SERVFAIL", 8) || !strncmp(text, "no answer", 9))
        return -1;
    return at ? at[8] - '1' : -2;
}

static void expect(const char *name, int server)
{
    int got = answered_by(name, T_A);

    if (got != server)
        fail_msg("%s was answered by %d, not %d", name, got, server);
}

/* ---- policies ---- */

static void the_most_specific_pattern_wins_and_sets_stand_in_order(void **state)
{
    begin();
    world_start(&w,
                PROVIDERS "dns:\n  enhanced-mode: normal\n  nameserver: ['127.0.0.1:%u']\n"
                          "  nameserver-policy:\n"
                          "    '+.a.test': '127.0.0.1:%u'\n"
                          "    'x.a.test, y.a.test': ['127.0.0.1:%u']\n"
                          "    '*.b.a.test': '127.0.0.1:%u'\n"
                          "    'geosite:cn,gfw': '127.0.0.1:%u'\n"
                          "    'special.site.test': '127.0.0.1:%u'\n"
                          "    'rule-set:names,classic': '127.0.0.1:%u'\n"
                          "    '+.set.test': '127.0.0.1:%u'\n",
                s[0].port, s[1].port, s[2].port, s[3].port, s[1].port, s[2].port, s[2].port, s[3].port);
    assert_int_equal(w.d.n_errors, 0);
    expect("other.test", 0);
    expect("a.test", 1);
    expect("deep.in.a.test", 1);
    expect("x.a.test", 2);
    expect("Y.A.test", 2);
    expect("z.x.a.test", 1);
    expect("one.b.a.test", 3);
    expect("two.one.b.a.test", 1);
    expect("www.site.test", 1);
    expect("special.site.test", 1); /* the set stands before the pattern */
    expect("wall.test", 1);
    expect("www.set.test", 2); /* likewise */
    expect("one.example", 2);
    expect("two.example", 0);
    expect("www.classic.test", 2);
    assert_int_equal(answered_by("x.a.test", T_TXT), -2); /* other types, too */
    assert_non_null(strstr(s[2].asked, "x.a.test 16"));
    end();
}

static void a_policy_that_cannot_be(void **state)
{
    begin();
    world_start(&w,
                PROVIDERS "dns:\n  enhanced-mode: normal\n  nameserver: ['127.0.0.1:%u']\n"
                          "  nameserver-policy:\n"
                          "    'rule-set:nobody': '127.0.0.1:%u'\n"
                          "    'geosite:nowhere': '127.0.0.1:%u'\n"
                          "    'rule-set:nets': '127.0.0.1:%u'\n"
                          "    'rule-set:late': '127.0.0.1:%u'\n"
                          "    'good.test': '127.0.0.1:%u'\n"
                          "    'bad..test': '127.0.0.1:%u'\n",
                s[0].port, s[1].port, s[1].port, s[1].port, s[1].port, s[2].port, s[1].port);
    assert_true(w.d.n_warnings >= 5);
    assert_int_equal(w.d.n_errors, 0);
    expect("good.test", 2);
    expect("other.test", 0);
    end();
}

static void codes_as_a_policy(void **state)
{
    begin();
    world_start(
        &w, "dns:\n  enhanced-mode: normal\n  nameserver: ['127.0.0.1:%u']\n  nameserver-policy: { '+.ads.test': 'rcode://name_error' }\n",
        s[0].port);
    assert_string_equal(world_ask(&w, "x.ads.test", T_A, ASK_RD), "NXDOMAIN rd ra | x.ads.test A");
    expect("x.test", 0);
    end();
}

/* ---- fallback ---- */

#define FALLBACK(filter)                                                                                                                   \
    begin();                                                                                                                               \
    world_start(&w, "dns:\n  enhanced-mode: normal\n  nameserver: ['127.0.0.1:%u']\n  fallback: ['127.0.0.1:%u']\n" filter, s[0].port,     \
                s[1].port)

static void a_main_answer_that_is_fit_is_taken(void **state)
{
    FALLBACK("");
    expect("x.test", 0);            /* 192.0.2.0/24 is in CN */
    s[0].priv = (void *)"10.1.2.3"; /* LAN is never suspicious */
    world_ask(&w, "y.test", T_A, 0);
    assert_non_null(strstr(w.answer, "10.1.2.3"));
    end();
}

static void an_address_of_another_country_is_suspicious(void **state)
{
    FALLBACK("");
    s[0].priv = (void *)"198.51.100.1";
    expect("x.test", 1);
    end();

    FALLBACK("  fallback-filter: { geoip: false }\n");
    s[0].priv = (void *)"198.51.100.1";
    world_ask(&w, "x.test", T_A, 0);
    assert_non_null(strstr(w.answer, "198.51.100.1"));
    end();

    FALLBACK("  fallback-filter: { geoip-code: XX }\n"); /* there are no data about it: the question is not asked */
    assert_int_equal(w.d.n_warnings, 1);
    assert_string_equal(w.d.items[0].code, "missing-data");
    s[0].priv = (void *)"198.51.100.1";
    world_ask(&w, "x.test", T_A, 0);
    assert_non_null(strstr(w.answer, "198.51.100.1"));
    end();
}

static void addresses_that_nobody_may_get(void **state)
{
    FALLBACK("  fallback-filter: { geoip: false, ipcidr: [240.0.0.0/4, 192.0.2.1/32] }\n");
    expect("x.test", 1);
    s[0].priv = (void *)"192.0.2.3";
    expect("y.test", 2);
    s[0].priv = (void *)"241.1.2.3";
    expect("z.test", 1);
    end();
}

static void names_that_only_fallback_knows(void **state)
{
    FALLBACK("  fallback-filter: { domain: ['+.doubt.test'], geosite: [gfw] }\n");
    expect("www.doubt.test", 1);
    expect("wall.test", 1);
    assert_int_equal(s[0].n_asked, 0);
    expect("x.test", 0);
    end();
}

static void both_at_once_or_one_after_the_other(void **state)
{
    FALLBACK("");
    expect("x.test", 0);
    assert_int_equal(s[1].n_asked, 1);
    assert_int_equal(answered_by("x.test", T_TXT), -2); /* other types: main only */
    assert_int_equal(s[1].n_asked, 1);
    end();

    FALLBACK("  fallback-lazy-query: true\n");
    expect("x.test", 0);
    assert_int_equal(s[1].n_asked, 0);
    s[0].priv = (void *)"198.51.100.1";
    expect("y.test", 1);
    assert_int_equal(s[1].n_asked, 1);
    end();
}

static void every_way_that_main_and_fallback_can_end(void **state)
{
    static const struct {
        script_fn *main, *fallback;
        const char *main_addr;
        int want; /* -2: an empty answer */
    } all[] = {
        { script_servfail, script_mine, "", 1 },
        { script_silent, script_mine, "", 1 },
        { script_nxdomain, script_mine, "", 1 },
        { script_mine, script_servfail, "192.0.2.1", 0 },
        { script_mine, script_silent, "192.0.2.1", 0 },
        { script_servfail, script_servfail, "", -1 },
        { script_nxdomain, script_silent, "", -2 },
        { script_nxdomain, script_servfail, "", -2 },
        { script_servfail, script_nxdomain, "", -2 },
        { script_silent, script_nxdomain, "", -2 },
        { script_mine, script_silent, "198.51.100.1", -1 }, /* suspicious, and nobody else to say: no answer is better than that */
        { script_mine, script_nxdomain, "198.51.100.1", -2 },
        { script_silent, script_silent, "", -1 },
    };

    for (int lazy = 0; lazy < 2; lazy++)
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
            int got;

            begin();
            world_start(
                &w,
                "dns:\n  enhanced-mode: normal\n  nameserver: ['127.0.0.1:%u']\n  fallback: ['127.0.0.1:%u']\n  fallback-lazy-query: %s\n",
                s[0].port, s[1].port, lazy ? "true" : "false");
            s[0].script = all[i].main;
            s[1].script = all[i].fallback;
            s[0].priv = (void *)all[i].main_addr;
            if ((got = answered_by("x.test", T_A)) != all[i].want)
                fail_msg("case %zu, lazy %d: %d, not %d: %s", i, lazy, got, all[i].want, w.answer);
            end();
        }
}

static void a_slow_opinion_is_not_waited_for_long(void **state)
{
    uint64_t from;

    FALLBACK("");
    s[0].script = script_silent;
    from = world_ms;
    expect("x.test", 1);
    assert_in_range(world_ms - from, 2000, 2010);
    end();

    FALLBACK("");
    s[0].script = script_nxdomain;
    s[1].script = script_silent;
    from = world_ms;
    assert_int_equal(answered_by("x.test", T_A), -2);
    assert_in_range(world_ms - from, 4000, 4010);
    end();
}

/* ---- by whom it is asked ---- */

static struct lookup look;
static bool looked;

static void on_look(struct lookup *l, int err)
{
    looked = true;
    if (err)
        l->n = 0;
}

static void expect_look_up(const char *host, enum lookup_for why, int server)
{
    struct resolver *r = dns_resolver(w.dns);

    looked = false;
    look = (struct lookup){ .host = host, .why = (uint8_t)why, .done = on_look };
    assert_int_equal(r->lookup(r, &look), 0);
    assert_true(world_until(&w, &looked));
    assert_int_equal(look.n, 1);
    if (look.addr[0].b[3] != server + 1)
        fail_msg("%s was answered by %d, not %d", host, look.addr[0].b[3] - 1, server);
}

static void nodes_and_direct_dials_have_their_own_servers(void **state)
{
    begin();
    world_start(&w,
                "ipv6: false\ndns:\n  nameserver: ['127.0.0.1:%u']\n  nameserver-policy: { '+.p.test': '127.0.0.1:%u' }\n  "
                "proxy-server-nameserver: ['127.0.0.1:%u']\n"
                "  proxy-server-nameserver-policy: { special.node.test: '127.0.0.1:%u' }\n  direct-nameserver: ['127.0.0.1:%u']\n",
                s[0].port, s[1].port, s[2].port, s[1].port, s[3].port);
    expect_look_up("x.test", LOOKUP_RULES, 0);
    expect_look_up("x.p.test", LOOKUP_RULES, 1);
    expect_look_up("node.test", LOOKUP_SERVER, 2);
    expect_look_up("x.p.test", LOOKUP_SERVER, 2);
    expect_look_up("special.node.test", LOOKUP_SERVER, 1);
    expect_look_up("x.test", LOOKUP_DIRECT, 3);
    expect_look_up("x.p.test", LOOKUP_DIRECT, 3);
    end();

    begin();
    world_start(&w,
                "ipv6: false\ndns:\n  nameserver: ['127.0.0.1:%u']\n  nameserver-policy: { '+.p.test': '127.0.0.1:%u' }\n  "
                "direct-nameserver: ['127.0.0.1:%u']\n"
                "  direct-nameserver-follow-policy: true\n",
                s[0].port, s[1].port, s[3].port);
    expect_look_up("x.p.test", LOOKUP_DIRECT, 1);
    expect_look_up("x.test", LOOKUP_DIRECT, 3);
    expect_look_up("node.test", LOOKUP_SERVER, 0); /* no servers of its own: as any name */
    expect_look_up("node.p.test", LOOKUP_SERVER, 1);
    end();
}

static void servers_behind_the_rules(void **state)
{
    begin();
    world_start(&w,
                "proxies: [{ name: P, type: socks5, server: 127.0.0.1, port: 1080 }]\n"
                "dns:\n  enhanced-mode: normal\n  respect-rules: true\n  nameserver: ['127.0.0.1:%u', 'rcode://refused']\n  "
                "nameserver-policy: { a.test: '127.0.0.1:%u#P', b.test: "
                "'127.0.0.1:%u#DIRECT' }\n  proxy-server-nameserver: ['127.0.0.1:%u']\n",
                s[0].port, s[1].port, s[2].port, s[3].port);
    expect("x.test", 0);
    assert_string_equal(ways.via, "RULES");
    expect("a.test", 1);
    assert_string_equal(ways.via, "RULES; P");
    expect("b.test", 2);
    expect_look_up("node.test", LOOKUP_SERVER, 3);
    assert_string_equal(ways.via, "RULES; P"); /* straight */
    end();

    /* the servers that nodes are found by cannot be behind a node, whichever list they stand in */
    begin();
    world_start(&w,
                "dns:\n  respect-rules: true\n  nameserver: ['127.0.0.1:%u']\n  proxy-server-nameserver: ['127.0.0.1:%u']\n"
                "  proxy-server-nameserver-policy: { '+.n.test': '127.0.0.1:%u' }\n",
                s[0].port, s[1].port, s[2].port);
    expect_look_up("node.n.test", LOOKUP_SERVER, 2);
    assert_string_equal(ways.via, "");
    end();
}

static void without_dns_the_systems_servers_are_asked(void **state)
{
    begin();
    world_start(&w,
                "dns:\n  enable: false\n  nameserver: ['127.0.0.1:%u']\n  fallback: ['127.0.0.1:%u']\n  nameserver-policy: { '+.p.test': "
                "'127.0.0.1:%u' }\n  direct-nameserver: ['127.0.0.1:%u']\n",
                s[0].port, s[0].port, s[0].port, s[0].port);
    assert_int_equal(answered_by("x.test", T_A), -1); /* the system of this world has none */
    assert_int_equal(answered_by("x.p.test", T_A), -1);
    assert_int_equal(s[0].n_asked, 0);
    end();
}

static void a_code_in_a_list_answers_at_once(void **state)
{
    begin();
    world_start(&w, "dns: { enhanced-mode: normal, nameserver: ['127.0.0.1:%u', 'rcode://name_error'] }\n", s[0].port);
    assert_int_equal(answered_by("x.test", T_A), -2);
    assert_int_equal(s[0].n_asked, 0);
    end();
}

static void which_ways_a_node_depends_on(void **state)
{
    struct dns_way way[4];

    begin();
    world_start(&w, "proxies: [{ name: P, type: socks5, server: 127.0.0.1, port: 1080 }]\n"
                    "dns: { nameserver: ['8.8.8.8#P', '9.9.9.9', 'tcp://1.1.1.1#RULES', 'tcp://7.7.7.7#P'], nameserver-policy: { n.test: "
                    "5.5.5.5 } }\n");
    assert_int_equal(dns_ways_to(w.dns, "node.test", way, 4), 2);
    assert_string_equal(way[0].via, "P");
    assert_string_equal(way[1].server, "tcp://7.7.7.7#P");
    assert_int_equal(dns_ways_to(w.dns, "node.test", way, 1), 1);
    assert_int_equal(dns_ways_to(w.dns, "n.test", way, 4), 0);
    end();
}

/* ---- filters with sets ---- */

static bool is_fake(const char *name)
{
    bool fake = strstr(world_ask_here(&w, name, T_A, 0), "198.18.") != NULL;

    world_until(&w, &w.got);
    return fake;
}

static void sets_in_a_fake_ip_filter(void **state)
{
    begin();
    world_start(&w,
                PROVIDERS "dns: { nameserver: ['127.0.0.1:%u'], fake-ip-filter: ['geosite:cn', 'rule-set:names', 'Rule-Set:classic', "
                          "late.test, 'rule-set:late'] }\n",
                s[0].port);
    assert_false(is_fake("www.site.test"));
    assert_false(is_fake("www.set.test"));
    assert_false(is_fake("a.classic.test"));
    assert_true(is_fake("wall.test"));
    end();

    begin();
    world_start(
        &w,
        PROVIDERS
        "dns: { nameserver: ['127.0.0.1:%u'], fake-ip-filter-mode: rule, fake-ip-filter: ['RULE-SET,names,real-ip', 'GEOSITE,gfw,fake-ip', "
        "'DOMAIN-REGEX,^w[al]+\\.,real-ip', 'MATCH,fake-ip'] }\n",
        s[0].port);
    assert_false(is_fake("www.set.test"));
    assert_true(is_fake("wall.test"));
    assert_false(is_fake("wal.other.test"));
    assert_true(is_fake("printer.local")); /* MATCH says it all */
    end();

    /* lines that ask for more than a name, or want another answer */
    begin();
    world_start(
        &w,
        PROVIDERS
        "dns: { nameserver: ['127.0.0.1:%u'], fake-ip-filter-mode: rule, fake-ip-filter: ['NETWORK,tcp,real-ip', 'DST-PORT,443,real-ip', "
        "'NOT,((NETWORK,udp)),real-ip', 'IP-CIDR,10.0.0.0/8,real-ip', 'DOMAIN,a.test,DIRECT', 'DOMAIN,a.test,real', "
        "'RULE-SET,nets,real-ip', ' domain-suffix , good.test , Real-IP ', 'DOMAIN,good.test'] }\n",
        s[0].port);
    assert_int_equal(w.d.n_warnings, 8);
    for (int i = 0; i < 8; i++)
        assert_non_null(strstr(w.d.items[i].message, "the line is skipped"));
    assert_non_null(strstr(w.d.items[0].message, "its type cannot be asked of a name"));
    assert_non_null(strstr(w.d.items[4].message, "it must end in fake-ip or real-ip"));
    assert_non_null(strstr(w.d.items[6].message, "the rule-provider has no names"));
    assert_true(is_fake("a.test"));
    end();
}

static void our_own_list_can_be_switched_off(void **state)
{
    begin();
    world_start(&w, "dns: { nameserver: ['127.0.0.1:%u'], fake-ip-filter-defaults: false }\n", s[0].port);
    assert_true(is_fake("printer.local"));
    assert_true(is_fake("nas"));
    end();
}

static void all_at_once_where_that_is_wanted(void **state)
{
    begin();
    world_start(&w, "dns: { enhanced-mode: normal, parallel: true, nameserver: ['127.0.0.1:%u', '127.0.0.1:%u', '127.0.0.1:%u'] }\n",
                s[0].port, s[1].port, s[2].port);
    assert_true(answered_by("x.test", T_A) >= 0);
    assert_int_equal(s[0].n_asked + s[1].n_asked + s[2].n_asked, 3);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_pattern_wins_and_sets_stand_in_order),
        cmocka_unit_test(a_policy_that_cannot_be),
        cmocka_unit_test(codes_as_a_policy),
        cmocka_unit_test(a_main_answer_that_is_fit_is_taken),
        cmocka_unit_test(an_address_of_another_country_is_suspicious),
        cmocka_unit_test(addresses_that_nobody_may_get),
        cmocka_unit_test(names_that_only_fallback_knows),
        cmocka_unit_test(both_at_once_or_one_after_the_other),
        cmocka_unit_test(every_way_that_main_and_fallback_can_end),
        cmocka_unit_test(a_slow_opinion_is_not_waited_for_long),
        cmocka_unit_test(nodes_and_direct_dials_have_their_own_servers),
        cmocka_unit_test(servers_behind_the_rules),
        cmocka_unit_test(without_dns_the_systems_servers_are_asked),
        cmocka_unit_test(a_code_in_a_list_answers_at_once),
        cmocka_unit_test(which_ways_a_node_depends_on),
        cmocka_unit_test(sets_in_a_fake_ip_filter),
        cmocka_unit_test(our_own_list_can_be_switched_off),
        cmocka_unit_test(all_at_once_where_that_is_wanted),
    };

    return cmocka_run_group_tests(tests, quiet, NULL);
}
