/*
 * dns_answers.c - what a query gets: every row of the fake-IP table, filters, hosts and aliases, reverse names, modes, IPv6 switches
 */
#include <ifaddrs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/log.h"
#include "dns/hosts.h"
#include "dns/msg.h"
#include "dns/reverse.h"
#include "tests/unit/dns_world.h"

static struct dns_world w;
static struct ns_world up;

static int quiet(void **state)
{
    log_threshold = LOG_SILENT;
    return 0;
}

#define START(yaml)                                                                                                                        \
    do {                                                                                                                                   \
        world_begin(&w);                                                                                                                   \
        ns_open(&up, w.loop, "127.0.0.1", script_plain);                                                                                   \
        world_start(&w, "dns:\n  nameserver: ['127.0.0.1:%u']\n  " yaml, up.port);                                                         \
    } while (0)

static void end(void)
{
    world_end(&w);
}

/* The server's socket belongs to the loop, so it goes first. */
#define END() (ns_close(&up), end())

static void with_both_pools(void **state)
{
    START("ipv6: true\n  fake-ip-range6: 'fdfe:1::/64'\n");
    assert_string_equal(world_ask_here(&w, "a.test", T_A, ASK_RD), "NOERROR aa rd ra | a.test A | a.test 1 A 198.18.0.4");
    assert_string_equal(world_ask_here(&w, "a.test", T_AAAA, ASK_RD), "NOERROR aa rd ra | a.test AAAA | a.test 1 AAAA fdfe:1::4");
    assert_string_equal(world_ask_here(&w, "b.test", T_AAAA, ASK_EDNS), "NOERROR aa ra | b.test AAAA | b.test 1 AAAA fdfe:1::5 | OPT 1232");
    assert_string_equal(world_ask_here(&w, "b.test", T_A, ASK_DO), "NOERROR aa ra | b.test A | b.test 1 A 198.18.0.5 | OPT 1232 do");
    assert_string_equal(world_ask_here(&w, "a.test", T_HTTPS, ASK_RD), "NOERROR aa rd ra | a.test HTTPS");
    assert_string_equal(world_ask_here(&w, "c.test", T_HTTPS, ASK_RD), "NOERROR aa rd ra | c.test HTTPS");
    assert_string_equal(world_ask_here(&w, "a.test", T_SVCB, ASK_RD), "NOERROR aa rd ra | a.test TYPE64");
    assert_string_equal(world_ask_here(&w, "c.test", T_A, 0), "NOERROR aa ra | c.test A | c.test 1 A 198.18.0.6");
    assert_string_equal(world_ask_here(&w, "a.test", T_TXT, ASK_RD), "no answer"); /* a name server is asked */
    assert_true(world_until(&w, &w.got));
    assert_string_equal(w.answer, "NOERROR rd ra | a.test TYPE16");
    assert_string_equal(up.asked, "a.test 16");
    END();
}

static void without_the_ipv6_pool(void **state)
{
    START("ipv6: true\n");
    assert_string_equal(world_ask_here(&w, "a.test", T_AAAA, ASK_RD), "NOERROR aa rd ra | a.test AAAA");
    assert_string_equal(world_ask_here(&w, "a.test", T_A, ASK_RD), "NOERROR aa rd ra | a.test A | a.test 1 A 198.18.0.4");
    assert_string_equal(world_ask_here(&w, "a.test", T_AAAA, ASK_RD), "NOERROR aa rd ra | a.test AAAA"); /* known by now */
    END();
}

static void letters_stay_as_they_came_and_are_one_name(void **state)
{
    START("\n");
    assert_string_equal(world_ask_here(&w, "WWW.Example.Test", T_A, ASK_RD),
                        "NOERROR aa rd ra | WWW.Example.Test A | WWW.Example.Test 1 A 198.18.0.4");
    assert_string_equal(world_ask_here(&w, "www.eXAMPLE.tEST", T_A, ASK_RD),
                        "NOERROR aa rd ra | www.eXAMPLE.tEST A | www.eXAMPLE.tEST 1 A 198.18.0.4");
    END();
}

static void the_filter_and_our_own_list(void **state)
{
    static const struct {
        const char *name;
        bool fake;
    } all[] = {
        { "www.test", true },           { "listed.test", false },
        { "sub.listed.test", true },    { "deep.below.test", false },
        { "below.test", false },        { "only.under.test", false },
        { "under.test", true },         { "one.star.test", false },
        { "a.one.star.test", true },    { "nas", false },
        { "printer.local", false },     { "x.y.lan", false },
        { "captive.apple.com", false }, { "0.pool.ntp.org", false },
    };

    START("fake-ip-filter: [listed.test, +.below.test, .under.test, '*.star.test']\n");
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        static const unsigned types[] = { T_A, T_HTTPS };

        for (size_t k = 0; k < 2; k++) {
            const char *text = world_ask_here(&w, all[i].name, types[k], ASK_RD);

            if (strcmp(text, "no answer") ? !all[i].fake : all[i].fake)
                fail_msg("%s %u: %s", all[i].name, types[k], text);
            if (!all[i].fake)
                assert_true(world_until(&w, &w.got));
        }
    }
    assert_string_equal(world_ask(&w, "listed.test", T_A, ASK_RD), "NOERROR rd ra | listed.test A | listed.test 300 A 192.0.2.1");
    END();
}

static void a_whitelist_says_it_all(void **state)
{
    START("fake-ip-filter-mode: whitelist\n  fake-ip-filter: [+.fake.test, nas]\n");
    assert_string_equal(world_ask_here(&w, "www.fake.test", T_A, 0), "NOERROR aa ra | www.fake.test A | www.fake.test 1 A 198.18.0.4");
    assert_string_equal(world_ask_here(&w, "nas", T_A, 0), "NOERROR aa ra | nas A | nas 1 A 198.18.0.5");
    assert_string_equal(world_ask_here(&w, "www.other.test", T_A, 0), "no answer");
    assert_true(world_until(&w, &w.got));
    END();
}

static void rules_as_a_filter(void **state)
{
    START("fake-ip-filter-mode: rule\n"
          "  fake-ip-filter: ['DOMAIN,real.test,real-ip', 'DOMAIN-SUFFIX,mixed.test,fake-ip', 'DOMAIN-KEYWORD,keyword,real-ip', "
          "'DOMAIN-SUFFIX,lan,fake-ip']\n");
    assert_string_equal(world_ask_here(&w, "keyword.mixed.test", T_A, 0),
                        "NOERROR aa ra | keyword.mixed.test A | keyword.mixed.test 1 A 198.18.0.4");
    assert_string_equal(world_ask_here(&w, "nas.lan", T_A, 0),
                        "NOERROR aa ra | nas.lan A | nas.lan 1 A 198.18.0.5"); /* a rule outdoes our own list */
    assert_string_equal(world_ask_here(&w, "nobody-says.test", T_A, 0),
                        "NOERROR aa ra | nobody-says.test A | nobody-says.test 1 A 198.18.0.6");
    static const char *const real[] = { "real.test", "a.keyword.test", "printer.local" };

    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(world_ask_here(&w, real[i], T_A, 0), "no answer");
        assert_true(world_until(&w, &w.got));
    }
    END();
}

static void a_filter_that_changes_is_obeyed_and_old_addresses_still_map(void **state)
{
    struct addr a;

    START("\n");
    world_ask_here(&w, "a.test", T_A, 0);
    world_ask_here(&w, "a.test", T_A, 0); /* by the short way */
    assert_string_equal(w.answer, "NOERROR aa ra | a.test A | a.test 1 A 198.18.0.4");
    world_reload(&w, "dns:\n  nameserver: ['127.0.0.1:%u']\n  fake-ip-filter: [a.test]\n", up.port);
    assert_string_equal(world_ask_here(&w, "a.test", T_A, 0), "no answer");
    assert_true(world_until(&w, &w.got));
    assert_string_equal(w.answer, "NOERROR ra | a.test A | a.test 300 A 192.0.2.1");
    addr_parse("198.18.0.4", &a);
    assert_string_equal(dns_fake_name(w.dns, &a), "a.test");
    world_reload(&w, "dns:\n  nameserver: ['127.0.0.1:%u']\n", up.port);
    assert_string_equal(world_ask_here(&w, "a.test", T_A, 0), "NOERROR aa ra | a.test A | a.test 1 A 198.18.0.4");
    world_reload(&w, "dns:\n  nameserver: ['127.0.0.1:%u']\n  enhanced-mode: redir-host\n",
                 up.port); /* programs hold the fake ones still */
    assert_string_equal(dns_fake_name(w.dns, &a), "a.test");
    assert_true(dns_is_fake(w.dns, &a));
    assert_string_equal(world_ask_here(&w, "b.test", T_A, 0), "no answer");
    assert_true(world_until(&w, &w.got));
    END();
}

static void reverse_names_of_the_pool(void **state)
{
    START("ipv6: true\n  fake-ip-range6: 'fdfe:1::/64'\n  fake-ip-ttl: 5\n");
    world_ask_here(&w, "www.a.test", T_A, 0);
    assert_string_equal(w.answer, "NOERROR aa ra | www.a.test A | www.a.test 5 A 198.18.0.4");
    assert_string_equal(world_ask_here(&w, "4.0.18.198.in-addr.arpa", T_PTR, 0),
                        "NOERROR aa ra | 4.0.18.198.in-addr.arpa PTR | 4.0.18.198.in-addr.arpa 5 PTR www.a.test");
    assert_string_equal(world_ask_here(&w, "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.e.f.d.f.ip6.arpa", T_PTR, 0),
                        "NOERROR aa ra | 4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.e.f.d.f.ip6.arpa PTR | "
                        "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.e.f.d.f.ip6.arpa 5 PTR www.a.test");
    assert_string_equal(world_ask_here(&w, "9.0.18.198.in-addr.arpa", T_PTR, 0), "NXDOMAIN aa ra | 9.0.18.198.in-addr.arpa PTR");
    assert_string_equal(world_ask_here(&w, "8.8.8.8.in-addr.arpa", T_PTR, 0), "no answer");
    assert_true(world_until(&w, &w.got));
    assert_string_equal(up.asked, "8.8.8.8.in-addr.arpa 12");
    END();
}

static void without_fake_addresses(void **state)
{
    static const char *const modes[] = { "redir-host", "normal" };

    for (int i = 0; i < 2; i++) {
        world_begin(&w);
        ns_open(&up, w.loop, "127.0.0.1", script_plain);
        world_start(&w, "dns:\n  nameserver: ['127.0.0.1:%u']\n  ipv6: true\n  enhanced-mode: %s\n", up.port, modes[i]);
        assert_string_equal(world_ask(&w, "a.test", T_A, ASK_RD), "NOERROR rd ra | a.test A | a.test 300 A 192.0.2.1");
        assert_string_equal(world_ask(&w, "a.test", T_AAAA, ASK_RD | ASK_EDNS),
                            "NOERROR rd ra | a.test AAAA | a.test 300 AAAA 2001:db8::1 | OPT 1232");
        assert_string_equal(world_ask(&w, "a.test", T_HTTPS, ASK_RD), "NOERROR rd ra | a.test HTTPS");
        END();
    }
}

static void aaaa_is_empty_where_ipv6_is_off(void **state)
{
    static const char *const switches[] = { "dns: { ipv6: false", "ipv6: false\ndns: { ipv6: true" };

    for (int i = 0; i < 2; i++) {
        world_begin(&w);
        ns_open(&up, w.loop, "127.0.0.1", script_plain);
        world_start(&w, "%s, enhanced-mode: normal, nameserver: ['127.0.0.1:%u'] }\n", switches[i], up.port);
        assert_string_equal(world_ask_here(&w, "a.test", T_AAAA, ASK_RD), "NOERROR aa rd ra | a.test AAAA");
        assert_int_equal(up.n_asked, 0);
        assert_string_equal(world_ask(&w, "a.test", T_A, ASK_RD), "NOERROR rd ra | a.test A | a.test 300 A 192.0.2.1");
        END();
    }
}

static void names_the_user_wrote_down(void **state)
{
    world_begin(&w);
    ns_open(&up, w.loop, "127.0.0.1", script_plain);
    world_start(&w,
                "hosts:\n  four.test: 10.0.0.1\n  both.test: [10.0.0.2, '2001:db8::2']\n  '*.wild.test': 10.0.0.3\n  '+.deep.test': "
                "10.0.0.4\n  one.wild.test: 10.0.0.5\n"
                "  alias.test: four.test\n  chain.test: alias.test\n  away.test: www.elsewhere.test\n  real.test: listed.elsewhere.test\n"
                "dns:\n  nameserver: ['127.0.0.1:%u']\n  ipv6: true\n  fake-ip-filter: [listed.elsewhere.test]\n",
                up.port);
    static const struct {
        const char *name;
        unsigned type;
        const char *want;
    } all[] = {
        { "four.test", T_A, "four.test 10 A 10.0.0.1" },
        { "four.test", T_AAAA, "" },
        { "both.test", T_AAAA, "both.test 10 AAAA 2001:db8::2" },
        { "both.test", T_CNAME, "" },
        { "a.wild.test", T_A, "a.wild.test 10 A 10.0.0.3" },
        { "one.wild.test", T_A, "one.wild.test 10 A 10.0.0.5" },
        { "b.a.deep.test", T_A, "b.a.deep.test 10 A 10.0.0.4" },
        { "deep.test", T_A, "deep.test 10 A 10.0.0.4" },
        { "alias.test", T_A, "alias.test 10 CNAME four.test | four.test 10 A 10.0.0.1" },
        { "alias.test", T_AAAA, "alias.test 10 CNAME four.test" },
        { "alias.test", T_CNAME, "alias.test 10 CNAME four.test" },
        { "chain.test", T_A, "chain.test 10 CNAME four.test | four.test 10 A 10.0.0.1" },
        { "away.test", T_A, "away.test 10 CNAME www.elsewhere.test | www.elsewhere.test 1 A 198.18.0.4" },
        { "away.test", T_AAAA, "away.test 10 CNAME www.elsewhere.test" },
        { "away.test", T_CNAME, "away.test 10 CNAME www.elsewhere.test" },
        { "real.test", T_A, "real.test 10 CNAME listed.elsewhere.test | listed.elsewhere.test 300 A 192.0.2.1" },
        { "localhost", T_A, "localhost 10 A 127.0.0.1" },
        { "localhost", T_AAAA, "localhost 10 AAAA ::1" },
    };
    for (int twice = 0; twice < 2; twice++)
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
            const char *text = world_ask(&w, all[i].name, all[i].type, ASK_RD), *records = strchr(strchr(text, '|') + 1, '|');

            if (strcmp(records ? records + 2 : "", all[i].want) != 0)
                fail_msg("%s %u: %s", all[i].name, all[i].type, text);
        }
    assert_string_equal(up.asked, "listed.elsewhere.test 1"); /* and once only: the cache */
    END();
}

/* A name for this machine, `lan`, had no address at all. */
static void the_machine_has_its_own_addresses(void **state)
{
    struct profile *p = NULL;
    struct ifaddrs *all;
    unsigned n = 0;
    struct hosts *hosts;
    struct endpoint at;
    struct host h;
    struct diag d;

    diag_init(&d, "test.yaml", NULL, 0, false);
    p = profile_load("hosts: { me.test: lan }", 23, &d);
    hosts = hosts_new(p, "/nonexistent", &d);
    assert_true(hosts_find(hosts, "me.test", &h));
    assert_null(h.alias);
    assert_int_equal(getifaddrs(&all), 0);
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        uint32_t k = 0;

        if (!i->ifa_addr || endpoint_from_sockaddr(i->ifa_addr, &at) < 0 || addr_is_loopback(&at.ip) || addr_is_link_local(&at.ip))
            continue;
        while (k < h.n && !addr_eq(&h.addr[k], &at.ip))
            k++;
        assert_true(k < h.n);
        n++;
    }
    assert_int_equal(h.n, n);
    freeifaddrs(all);
    hosts_free(hosts);
    profile_free(p);
    diag_fini(&d);
}

static void hosts_that_are_switched_off(void **state)
{
    world_begin(&w);
    ns_open(&up, w.loop, "127.0.0.1", script_plain);
    world_start(&w, "hosts: { a.test: 10.0.0.1 }\ndns: { use-hosts: false, enhanced-mode: normal, nameserver: ['127.0.0.1:%u'] }\n",
                up.port);
    assert_string_equal(world_ask(&w, "a.test", T_A, 0), "NOERROR ra | a.test A | a.test 300 A 192.0.2.1");
    assert_string_equal(world_ask(&w, "localhost", T_A, 0), "NOERROR aa ra | localhost A | localhost 10 A 127.0.0.1");
    END();
}

static void aliases_that_lead_in_circles_are_skipped(void **state)
{
    world_begin(&w);
    ns_open(&up, w.loop, "127.0.0.1", script_plain);
    world_start(&w,
                "hosts: { a.test: b.test, b.test: c.test, c.test: a.test, '*.self.test': x.self.test, good.test: 10.0.0.1 }\n"
                "dns: { enhanced-mode: normal, nameserver: ['127.0.0.1:%u'] }\n",
                up.port);
    assert_int_equal(w.d.n_warnings, 2);
    assert_string_equal(w.d.items[0].code, "cycle");
    assert_string_equal(world_ask(&w, "good.test", T_A, 0), "NOERROR aa ra | good.test A | good.test 10 A 10.0.0.1");
    assert_string_equal(world_ask(&w, "a.test", T_A, 0), "NOERROR ra | a.test A | a.test 300 A 192.0.2.1"); /* cut where it closed */
    assert_string_equal(world_ask(&w, "y.self.test", T_A, 0), "NOERROR ra | y.self.test A | y.self.test 300 A 192.0.2.1");
    END();
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void the_systems_hosts_file(void **state)
{
    char root[] = "/tmp/shunt-unit-XXXXXX", etc[64], path[128];
    struct host h;

    assert_non_null(mkdtemp(root));
    snprintf(etc, sizeof(etc), "%s/etc", root);
    snprintf(path, sizeof(path), "%s/hosts", etc);
    mkdir(etc, 0700);

    write_file(path, "# words\n10.1.0.1 One.test one # more words\n10.1.0.2\ttwo.test\n2001:db8::1 one.test\nfe80::1%lo "
                     "zone.test\nnonsense\n\n10.1.0.9 profile.test\n10.1.0.3 two.test");
    world_begin(&w);
    ns_open(&up, w.loop, "127.0.0.1", script_plain);
    w.opts.root = root;
    world_start(&w, "hosts: { profile.test: 10.2.0.1 }\ndns: { ipv6: true, nameserver: ['127.0.0.1:%u'] }\n", up.port);
    assert_string_equal(world_ask_here(&w, "one.test", T_A, 0), "NOERROR aa ra | one.test A | one.test 10 A 10.1.0.1");
    assert_string_equal(world_ask_here(&w, "one", T_A, 0), "NOERROR aa ra | one A | one 10 A 10.1.0.1");
    assert_string_equal(world_ask_here(&w, "one.test", T_AAAA, 0), "NOERROR aa ra | one.test AAAA | one.test 10 AAAA 2001:db8::1");
    assert_string_equal(world_ask_here(&w, "two.test", T_A, 0),
                        "NOERROR aa ra | two.test A | two.test 10 A 10.1.0.2 | two.test 10 A 10.1.0.3");
    assert_string_equal(world_ask_here(&w, "profile.test", T_A, 0), "NOERROR aa ra | profile.test A | profile.test 10 A 10.2.0.1");
    assert_string_equal(world_ask_here(&w, "zone.test", T_A, 0), "NOERROR aa ra | zone.test A | zone.test 1 A 198.18.0.4");
    END();

    struct profile *p = NULL;
    struct diag d;
    struct hosts *hosts;

    diag_init(&d, "test.yaml", NULL, 0, false);
    p = profile_load("{}", 2, &d);
    hosts = hosts_new(p, root, &d);
    assert_true(hosts_find(hosts, "two.test", &h));
    assert_int_equal(h.n, 2);
    write_file(path, "10.9.9.9 two.test\n");
    assert_false(hosts_refresh(hosts, 4999)); /* not looked at yet */
    assert_true(hosts_refresh(hosts, 5000));
    assert_false(hosts_refresh(hosts, 20000));
    assert_true(hosts_find(hosts, "two.test", &h));
    assert_int_equal(h.n, 1);
    assert_false(hosts_find(hosts, "one.test", &h));
    unlink(path);
    assert_true(hosts_refresh(hosts, 40000));
    assert_false(hosts_find(hosts, "two.test", &h));
    rmdir(etc);
    rmdir(root);
    hosts_free(hosts);
    profile_free(p);
    diag_fini(&d);
}

static void names_behind_real_addresses(void **state)
{
    static const char *const modes[] = { "redir-host", "fake-ip", "normal" };
    struct addr a4, a6;

    addr_parse("192.0.2.1", &a4);
    addr_parse("2001:db8::1", &a6);
    for (int i = 0; i < 3; i++) {
        world_begin(&w);
        ns_open(&up, w.loop, "127.0.0.1", script_plain);
        world_start(&w,
                    "hosts: { alias.test: real.test }\ndns: { enhanced-mode: %s, ipv6: true, nameserver: ['127.0.0.1:%u'], fake-ip-filter: "
                    "[+.test] }\n",
                    modes[i], up.port);
        assert_null(dns_real_name(w.dns, &a4));
        world_ask(&w, "One.test", T_A, 0);
        world_ask(&w, "alias.test", T_AAAA, 0);
        if (i == 2) {
            assert_null(dns_real_name(w.dns, &a4));
        } else {
            assert_string_equal(dns_real_name(w.dns, &a4), "one.test");
            assert_string_equal(dns_real_name(w.dns, &a6), "real.test");
            world_ask(&w, "two.test", T_A, 0);
            assert_string_equal(dns_real_name(w.dns, &a4), "two.test"); /* the last one counts */
            world_jump(&w, 299000);
            assert_non_null(dns_real_name(w.dns, &a4));
            world_jump(&w, 2000);
            assert_null(dns_real_name(w.dns, &a4));
        }
        END();
    }
}

static void only_so_many_names_are_remembered(void **state)
{
    struct reverse *r = reverse_new();
    struct addr a = { 4, { 11, 0, 0, 0 } }, lan = { 4, { 10, 0, 0, 1 } };
    static const char *const nobodys[] = { "127.0.0.1", "169.254.0.1", "224.0.0.251", "0.0.0.0", "::1", "fe80::1", "ff02::fb", "::" };

    for (uint32_t i = 0; i < REVERSE_MAX + 10; i++) {
        char name[32];

        a.b[2] = (uint8_t)(i >> 8);
        a.b[3] = (uint8_t)i;
        snprintf(name, sizeof(name), "n%u.test", i);
        reverse_note(r, &a, name, 0, 5000); /* for a second at least */
    }
    for (uint32_t i = 0; i < REVERSE_MAX + 10; i++) {
        a.b[2] = (uint8_t)(i >> 8);
        a.b[3] = (uint8_t)i;
        assert_int_equal(reverse_find(r, &a, 5999) != NULL, i >= 10);
    }
    assert_null(reverse_find(r, &a, 6000));
    reverse_note(r, &lan, "nas.test", 60, 5000); /* a rule may go by the name of a machine of the LAN */
    assert_string_equal(reverse_find(r, &lan, 5000), "nas.test");
    for (size_t i = 0; i < sizeof(nobodys) / sizeof(nobodys[0]); i++) {
        addr_parse(nobodys[i], &a);
        reverse_note(r, &a, "nobody.test", 60, 5000);
        assert_null(reverse_find(r, &a, 5000));
    }
    reverse_free(r);
}

static void a_full_pool_says_servfail(void **state)
{
    char name[32];

    START("fake-ip-range: 198.18.0.0/28\n");
    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        assert_non_null(strstr(world_ask_here(&w, name, T_A, 0), "A 198.18.0."));
    }
    assert_string_equal(world_ask_here(&w, "one-more.test", T_A, 0), "SERVFAIL aa ra | one-more.test A");
    assert_non_null(strstr(world_ask_here(&w, "n3.test", T_A, 0), "A 198.18.0.7"));
    END();
}

static void queries_that_are_none(void **state)
{
    static struct wire q;

    START("\n");
    wquery(&q, 1, "a.test", T_A, 0);
    q.b[2] |= 0x80;
    world_send(&w, q.b, q.len, false);
    assert_false(w.got);
    world_send(&w, q.b, 11, false);
    assert_false(w.got);
    wquery(&q, 1, "a.test", T_A, 0);
    q.b[2] |= 0x28; /* an update */
    world_send(&w, q.b, q.len, false);
    assert_string_equal(w.answer, "NOTIMP ra");
    wquery(&q, 1, "a.test", T_A, ASK_RD);
    world_send(&w, q.b, q.len - 1, false);
    assert_string_equal(w.answer, "FORMERR rd ra");
    wquery(&q, 1, "a.test", T_A, ASK_RD);
    q.b[11] = 1;
    wopt(&q, 1232, 0x00010000, "", 0);
    world_send(&w, q.b, q.len, false);
    assert_string_equal(w.answer, "NOERROR aa rd ra | a.test A | OPT 1232 rcode+16");
    END();
}

static void odd_names_and_classes_go_to_a_server_untouched(void **state)
{
    static struct wire q;

    START("\n");
    whead(&q, 9, 0x0100, 1, 0, 0, 0);
    w8(&q, 10);
    memcpy(q.b + q.len, "My Printer", 10);
    q.len += 10;
    wquestion(&q, "local.test", T_A);
    world_send(&w, q.b, q.len, false);
    assert_false(w.got);
    assert_true(world_until(&w, &w.got));
    assert_string_equal(w.answer, "NOERROR rd ra | My\\032Printer.local.test A | My\\032Printer.local.test 300 A 192.0.2.1");
    END();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_both_pools),
        cmocka_unit_test(without_the_ipv6_pool),
        cmocka_unit_test(letters_stay_as_they_came_and_are_one_name),
        cmocka_unit_test(the_filter_and_our_own_list),
        cmocka_unit_test(a_whitelist_says_it_all),
        cmocka_unit_test(rules_as_a_filter),
        cmocka_unit_test(a_filter_that_changes_is_obeyed_and_old_addresses_still_map),
        cmocka_unit_test(reverse_names_of_the_pool),
        cmocka_unit_test(without_fake_addresses),
        cmocka_unit_test(aaaa_is_empty_where_ipv6_is_off),
        cmocka_unit_test(names_the_user_wrote_down),
        cmocka_unit_test(the_machine_has_its_own_addresses),
        cmocka_unit_test(hosts_that_are_switched_off),
        cmocka_unit_test(aliases_that_lead_in_circles_are_skipped),
        cmocka_unit_test(the_systems_hosts_file),
        cmocka_unit_test(names_behind_real_addresses),
        cmocka_unit_test(only_so_many_names_are_remembered),
        cmocka_unit_test(a_full_pool_says_servfail),
        cmocka_unit_test(queries_that_are_none),
        cmocka_unit_test(odd_names_and_classes_go_to_a_server_untouched),
    };

    return cmocka_run_group_tests(tests, quiet, NULL);
}
