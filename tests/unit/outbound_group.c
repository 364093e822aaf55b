/*
 * outbound_group.c - members by every means, choices, loops, chains
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <time.h>

#include "tests/unit/outbound_loaded.h"

#define VLESS(name) "  - {name: " name ", type: vless, server: h, port: 1, uuid: x, udp: true, flow: xtls-rprx-vision}\n" /* not dialled */
#define MEMBERS(...) (const char *[]){ __VA_ARGS__ }, N(((const char *[]){ __VA_ARGS__ }))

/* ---- members ---- */

static void test_members_by_every_means(void **state)
{
    static const char *const yaml = "proxies:\n" SS("b") SS("a") VLESS("v") "  - {name: broken, type: ss}\n"
                                    "proxy-providers:\n"
                                    "  P2: {type: inline, payload: [{name: p2, type: ss, server: h, port: 1, cipher: aes-128-gcm, password: x}]}\n"
                                    "  P1: {type: inline, payload: [{name: p1, type: direct}, {name: q1, type: reject}]}\n"
                                    "proxy-groups:\n"
                                    "  - {name: named, type: select, proxies: [a, nobody, later, broken, a]}\n"
                                    "  - {name: all, type: select, proxies: [later, b], include-all: true}\n"
                                    "  - {name: nodes, type: select, include-all-proxies: true}\n"
                                    "  - {name: providers, type: select, include-all-providers: true, use: [nobody]}\n"
                                    "  - {name: used, type: fallback, use: [P2, P1, gone], proxies: [a]}\n"
                                    "  - {name: later, type: select, proxies: [a]}\n";
    struct loaded l;

    load(&l, yaml);
    assert_members(&l, "named", MEMBERS("a", "later"));
    assert_members(&l, "all", MEMBERS("later", "b", "a", "v", "p1", "q1", "p2")); /* own nodes and providers by name; groups never */
    assert_members(&l, "nodes", MEMBERS("a", "b", "v"));
    assert_members(&l, "providers", MEMBERS("p1", "q1", "p2"));
    assert_members(&l, "used", MEMBERS("a", "p2", "p1", "q1"));
    said_at(&l, "unknown-target", "\"nobody\"", yaml, "nobody");
    said_at(&l, "unknown-target", "\"gone\"", yaml, "gone");
    assert_members(&l, "GLOBAL", MEMBERS("DIRECT", "REJECT", "b", "a", "v", "named", "all", "nodes", "providers", "used", "later"));
    assert_null(out_find(l.s, "p1")); /* no target of a rule */
    assert_string_equal(out_find_any(l.s, "p1")->provider->name, "P1");
    unload(&l);
}

static void test_filters(void **state)
{
    static const char *const yaml = "proxies:\n" SS("HK 1") SS("JP 1") SS("HK 2") SS("US 1") "  - {name: HK 3, type: socks5, server: h, port: 1}\n"
                                    "proxy-providers:\n"
                                    "  P:\n"
                                    "    type: inline\n"
                                    "    payload:\n"
                                    "      - {name: HK p, type: socks5, server: h, port: 1}\n"
                                    "      - {name: JP p, type: socks5, server: h, port: 1}\n"
                                    "      - {name: 香港 p, type: direct}\n"
                                    "proxy-groups:\n"
                                    "  - {name: look, type: select, include-all-proxies: true, filter: '^(?!.*(HK|JP)).*'}\n"
                                    "  - {name: two, type: select, include-all-proxies: true, filter: 'JP`HK'}\n"
                                    "  - {name: named, type: select, proxies: [US 1, HK 1], use: [P], filter: 'JP`HK'}\n"
                                    "  - {name: only, type: select, use: [P], filter: 'JP`HK`香港'}\n"
                                    "  - {name: without, type: select, include-all: true, exclude-filter: '1$`p$'}\n"
                                    "  - {name: types, type: select, include-all: true, exclude-type: 'Shadowsocks|DIRECT'}\n"
                                    "  - {name: types2, type: select, include-all: true, exclude-type: 'ss|socks5'}\n"
                                    "  - {name: case, type: select, include-all-proxies: true, filter: '(?i)hk [12]'}\n"
                                    "  - {name: escapes, type: select, use: [P], filter: '\\u9999\\u6E2F'}\n"
                                    "  - {name: bad, type: select, include-all-proxies: true, filter: '(HK'}\n"
                                    "  - {name: dotnet, type: select, include-all-proxies: true, filter: '(?u)^(?<!x)(?ui:hk [1(?u)]|us 1[(?u)]?)$'}\n"
                                    "  - {name: half, type: select, include-all-proxies: true, filter: '(HK`US'}\n"
                                    "  - {name: none, type: select, include-all-proxies: true, filter: nothing}\n";
    struct loaded l;

    load(&l, yaml);
    assert_members(&l, "look", MEMBERS("US 1"));
    assert_members(&l, "two", MEMBERS("HK 1", "HK 2", "HK 3", "JP 1")); /* one source: by name */
    assert_members(&l, "named", MEMBERS("JP p", "HK 1", "HK p", "US 1")); /* several sources: by pattern, the rest behind */
    assert_members(&l, "only", MEMBERS("JP p", "HK p", "香港 p"));
    assert_members(&l, "without", MEMBERS("HK 2", "HK 3"));
    assert_members(&l, "types", MEMBERS("HK 3", "HK p", "JP p"));
    assert_members(&l, "types2", MEMBERS("香港 p"));
    assert_members(&l, "case", MEMBERS("HK 1", "HK 2"));
    assert_members(&l, "escapes", MEMBERS("香港 p"));
    assert_members(&l, "bad", MEMBERS("HK 1", "HK 2", "HK 3", "JP 1", "US 1")); /* a filter that is none */
    assert_members(&l, "dotnet", MEMBERS("HK 1", "US 1")); /* letters that PCRE2 does not have */
    assert_members(&l, "half", MEMBERS("US 1"));
    assert_members(&l, "none", MEMBERS("COMPATIBLE"));
    said_at(&l, "bad-regex", "missing closing parenthesis", yaml, "'(HK'");
    assert_int_equal(said(&l, "bad-regex", "\"half\""), 1);
    assert_int_equal(said(&l, "unknown-target", "\"none\" has no usable member"), 1);
    unload(&l);
}

/* (a+)+$ on 10,000 names: given up after one name, everything else works. */
static void test_hostile_pattern_is_given_up(void **state)
{
    char *yaml = malloc(1500000);
    size_t at = (size_t)sprintf(yaml, "proxies:\n");
    struct timespec t0, t1;
    struct loaded l;

    for (int i = 0; i < 10000; i++)
        at += (size_t)sprintf(yaml + at, "  - {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa %d!, type: direct}\n", i);
    strcpy(yaml + at, "proxy-groups:\n  - {name: G, type: select, proxies: [DIRECT], include-all-proxies: true, filter: '(a+)+$'}\n"
                      "  - {name: F, type: select, include-all-proxies: true, filter: '77!$'}\n");
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t0);
    load(&l, yaml);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t1);
    assert_int_equal(said(&l, "bad-regex", "too many steps"), 1);
    assert_members(&l, "G", MEMBERS("DIRECT"));
    assert_non_null(out_member(out_find(l.s, "F"), 99));
    assert_null(out_member(out_find(l.s, "F"), 100));
    print_message("loaded in %ld ms of processor time\n", (long)((t1.tv_sec - t0.tv_sec) * 1000 + (t1.tv_nsec - t0.tv_nsec) / 1000000));
    unload(&l);
    free(yaml);
}

static void test_options(void **state)
{
    static const char *const yaml = "proxies:\n" SS("a")
                                    "proxy-groups:\n"
                                    "  - {name: U, TYPE: url-test, Proxies: [a], tolerance: 50, lazy: false, hidden: true, icon: 'http://i', expected-status: 200/204}\n"
                                    "  - {name: S, type: select, proxies: [a], url: 'http://t', interval: 7, timeout: 1000, expected-status: high}\n"
                                    "  - {name: X, type: fallback, proxies: [a], interval: often, lazy: 'true', routing-mark: 7, dialer-proxy: a}\n"
                                    "  - {name: L, type: load-balance, proxies: [a], strategy: sometimes}\n"
                                    "  - {name: Z, type: strange, proxies: [a]}\n";
    const struct out_group_opts *o;
    struct loaded l;

    load(&l, yaml);
    o = out_group_opts(out_find(l.s, "U"));
    assert_string_equal(o->url, "https://www.gstatic.com/generate_204");
    assert_string_equal(o->expected_status, "200/204");
    assert_string_equal(o->icon, "http://i");
    assert_int_equal(o->interval_s, 300);
    assert_int_equal(o->timeout_ms, 5000);
    assert_int_equal(o->tolerance_ms, 50);
    assert_true(o->hidden && !o->lazy);
    o = out_group_opts(out_find(l.s, "S"));
    assert_string_equal(o->url, "http://t");
    assert_string_equal(o->expected_status, "*");
    assert_int_equal(o->interval_s, 7);
    assert_true(!o->hidden && o->lazy);
    said_at(&l, "bad-value", "\"high\"", yaml, "high");
    said_at(&l, "bad-value", "\"often\"", yaml, "often");
    said_at(&l, "bad-value", "\"sometimes\"", yaml, "sometimes");
    said_at(&l, "bad-value", "\"X\": lazy", yaml, "'true'");
    said_at(&l, "leftover", "routing-mark", yaml, "routing-mark");
    said_at(&l, "leftover", "dialer-proxy", yaml, "dialer-proxy");
    said_at(&l, "unknown-type", "\"strange\"", yaml, "strange");
    assert_null(out_group_opts(out_find(l.s, "a")));
    unload(&l);
}

/* A list that several groups share by an alias is one mistake; what it means for each group is told at the group. */
static void test_shared_lists_are_told_once(void **state)
{
    static const char *const yaml = "proxies:\n" VLESS("v") SS("a")
                                    "common: &common {type: select, use: [P, Q], filter: '(', interval: often}\n"
                                    "proxy-providers:\n"
                                    "  P1: {type: inline, payload: [{name: p, type: direct}]}\n"
                                    "proxy-groups:\n"
                                    "  - {name: A, type: select, proxies: &list [v, nobody, C]}\n"
                                    "  - {name: B, type: select, proxies: *list}\n"
                                    "  - {name: C, type: select, proxies: *list}\n"
                                    "  - {<<: *common, name: D, proxies: [a]}\n"
                                    "  - {<<: *common, name: E, proxies: [a]}\n";
    struct loaded l;

    load(&l, yaml);
    said_at(&l, "unknown-target", "there is no \"nobody\"", yaml, "nobody");
    said_at(&l, "unknown-target", "there is no proxy-provider \"P\"; did you mean \"P1\"?", yaml, "P, Q");
    said_at(&l, "unknown-target", "there is no proxy-provider \"Q\"", yaml, "Q]");
    said_at(&l, "bad-regex", "\"(\"", yaml, "'('");
    said_at(&l, "bad-value", "\"D\": interval", yaml, "{<<: *common, name: D");
    said_at(&l, "bad-value", "\"E\": interval", yaml, "{<<: *common, name: E");
    said_at(&l, "cycle", "C > C", yaml, "{name: C");
    said_at(&l, "unsupported-key", "group \"A\"", yaml, "v, nobody");
    said_at(&l, "unsupported-key", "group \"B\"", yaml, "{name: B");
    said_at(&l, "unsupported-key", "group \"C\"", yaml, "{name: C");
    unload(&l);
}

static void test_hints(void **state)
{
    static const char *const yaml = "proxies:\n" SS("near") "  - {name: far away, type: socks5, server: h, port: 1, dialer-proxy: naer}\n"
                                    "  - {name: broken, type: ss}\n"
                                    "proxy-providers:\n"
                                    "  P: {type: inline, payload: [{name: hidden, type: direct}]}\n"
                                    "proxy-groups:\n"
                                    "  - {name: G, type: fallbak, proxies: [DIERCT, near, GG, hiden, broke], default-selected: nearr}\n";
    struct loaded l;

    load(&l, yaml);
    said_at(&l, "unknown-type", "\"fallbak\"; did you mean \"fallback\"?", yaml, "fallbak");
    said_at(&l, "unknown-target", "\"DIERCT\"; did you mean \"DIRECT\"?", yaml, "DIERCT");
    said_at(&l, "unknown-target", "\"GG\"; it is skipped", yaml, "GG"); /* not itself */
    said_at(&l, "unknown-target", "\"hiden\"; it is skipped", yaml, "hiden"); /* a member of a provider is no name here */
    said_at(&l, "unknown-target", "\"broke\"; it is skipped", yaml, "broke]"); /* what makes no sense is no help */
    said_at(&l, "unknown-target", "\"nearr\" is not a usable member; did you mean \"near\"?", yaml, "nearr");
    said_at(&l, "unknown-target", "\"naer\" does not exist; did you mean \"near\"?", yaml, "naer");
    unload(&l);
}

/* ---- choices ---- */

static void test_what_cannot_be_dialled_is_passed_over(void **state)
{
    static const char *const yaml = "proxies:\n" VLESS("v") SS("a") VLESS("w")
                                    "proxy-groups:\n"
                                    "  - {name: S, type: select, proxies: [v, DIRECT, a]}\n"
                                    "  - {name: D, type: select, proxies: [w, DIRECT, REJECT]}\n"
                                    "  - {name: T, type: url-test, proxies: [v, a]}\n"
                                    "  - {name: F, type: fallback, proxies: [v, w, DIRECT]}\n"
                                    "  - {name: N, type: url-test, proxies: [v, w]}\n"
                                    "  - {name: P, type: select, proxies: [N, T, DIRECT]}\n"
                                    "  - {name: Q, type: select, proxies: [N, DIRECT]}\n"
                                    "  - {name: B, type: load-balance, proxies: [v, a, w]}\n"
                                    "  - {name: R, type: select, proxies: [a, v], default-selected: v}\n";
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = "example.com" };
    struct outbound *chain[OUT_CHAIN_MAX];
    struct dial d = { 0 };
    char buf[256];
    struct loaded l;

    load(&l, yaml);
    assert_string_equal(way(&l, "S", buf), "S > a"); /* not DIRECT: a proxy is what was asked for */
    assert_string_equal(way(&l, "D", buf), "D > w");
    assert_string_equal(way(&l, "T", buf), "T > a");
    assert_string_equal(way(&l, "F", buf), "F > DIRECT"); /* falling back is what it is for */
    assert_string_equal(way(&l, "N", buf), "N > v");
    assert_string_equal(way(&l, "P", buf), "P > T > a");
    assert_string_equal(way(&l, "Q", buf), "Q > N > v");
    assert_non_null(out_find(l.s, "N")->why);
    assert_null(out_find(l.s, "T")->why);
    assert_null(out_find(l.s, "Q")->why); /* DIRECT can be chosen */
    assert_int_equal(out_dial(out_find(l.s, "v"), &d), -ERR_UNSUPPORTED);
    assert_int_equal(out_select(out_find(l.s, "S"), "v"), -ERR_UNSUPPORTED);
    assert_int_equal(out_select(out_find(l.s, "P"), "N"), -ERR_UNSUPPORTED);
    assert_int_equal(out_select(out_find(l.s, "T"), "a"), 0);
    assert_int_equal(out_select(out_find(l.s, "B"), "a"), -EINVAL);
    for (int i = 0; i < 50; i++) {
        char host[32];

        snprintf(host, sizeof(host), "h%d.example.com", i);
        m.dst.host = host;
        assert_string_equal(chain[out_resolve(out_find(l.s, "B"), &m, chain) - 1]->name, "a");
    }
    said_at(&l, "unsupported-key", "\"S\": its first member \"v\" cannot be dialled: \"a\" is taken instead", yaml, "v, DIRECT, a");
    said_at(&l, "unsupported-key", "\"D\": \"w\" cannot be dialled: its flows are rejected until", yaml, "w, DIRECT, REJECT");
    said_at(&l, "unknown-target", "default-selected \"v\"", yaml, "v}\n");
    assert_int_equal(said(&l, "unsupported-proxy", ""), 2); /* one per node */
    unload(&l);
}

static void test_udp_ends_at_a_group_that_disables_it(void **state)
{
    struct flow_meta m = { .net = FLOW_UDP };
    struct outbound *chain[OUT_CHAIN_MAX];
    struct loaded l;

    load(&l, "proxies:\n" SS("a") "proxy-groups:\n"
             "  - {name: G, type: select, proxies: [H]}\n"
             "  - {name: H, type: select, proxies: [a], disable-udp: true}\n");
    assert_int_equal(out_resolve(out_find(l.s, "G"), &m, chain), 2);
    assert_string_equal(chain[1]->name, "H");
    assert_false(chain[1]->udp);
    m.net = FLOW_TCP;
    assert_int_equal(out_resolve(out_find(l.s, "G"), &m, chain), 3);
    unload(&l);
}

/* ---- load-balance ---- */

static struct outbound *leaf(struct loaded *l, const char *group, const char *host, const char *src)
{
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = host };
    struct outbound *chain[OUT_CHAIN_MAX];

    if (!host)
        addr_parse("192.0.2.7", &m.dst.at.ip);
    if (src)
        addr_parse(src, &m.src.ip);
    return chain[out_resolve(out_find(l->s, group), &m, chain) - 1];
}

static void test_load_balance(void **state)
{
    struct loaded l;
    unsigned hits[4] = { 0 }, differs = 0;

    load(&l, "proxies:\n" SS("0") SS("1") SS("2") SS("3") "proxy-groups:\n"
             "  - {name: H, type: load-balance, proxies: ['0', '1', '2', '3']}\n"
             "  - {name: R, type: load-balance, strategy: round-robin, proxies: ['0', '1', '2', '3']}\n"
             "  - {name: S, type: load-balance, strategy: sticky-sessions, proxies: ['0', '1', '2', '3']}\n");
    assert_int_equal(l.d.n, 0);
    for (int i = 0; i < 4000; i++) {
        char host[64], sub[80];

        snprintf(host, sizeof(host), "site%d.co.uk", i); /* co.uk is a public suffix: site%d.co.uk is the site */
        snprintf(sub, sizeof(sub), "a.b.%s", host);
        assert_ptr_equal(leaf(&l, "H", host, NULL), leaf(&l, "H", sub, "10.0.0.1"));
        hits[atoi(leaf(&l, "H", host, NULL)->name)]++;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(hits[i], 850, 1150);
    assert_ptr_equal(leaf(&l, "H", NULL, NULL), leaf(&l, "H", NULL, "10.9.9.9"));
    for (int i = 0; i < 8; i++)
        assert_int_equal(atoi(leaf(&l, "R", "x.com", NULL)->name), i % 4);
    for (int i = 0; i < 100; i++) {
        char src[32];
        struct outbound *first;

        snprintf(src, sizeof(src), "10.0.0.%d", i);
        first = leaf(&l, "S", "x.com", src);
        assert_ptr_equal(leaf(&l, "S", "www.x.com", src), first);
        differs += first != leaf(&l, "S", "y.org", src);
    }
    assert_true(differs > 20);
    unload(&l);
}

/* ---- dialer-proxy ---- */

#define VIA(name, via) "  - {name: " name ", type: socks5, server: h, port: 1, udp: true, dialer-proxy: " via "}\n"

static void test_dialer_proxy(void **state)
{
    static const char *const yaml = "proxies:\n" SS("a") VIA("b", "a") VIA("c", "G") VIA("self", "self") VIA("x", "y") VIA("y", "x") VIA("lost", "nobody")
                                    VIA("m", "M") VIA("k", "self") VLESS("v") VIA("u", "v") "  - {name: bad, type: ss}\n" VIA("w", "bad")
                                    "proxy-groups:\n"
                                    "  - {name: G, type: select, proxies: [a, b]}\n"
                                    "  - {name: M, type: select, proxies: [a, N]}\n"
                                    "  - {name: N, type: select, include-all-proxies: true, filter: '^m$'}\n";
    struct loaded l;

    load(&l, yaml);
    assert_ptr_equal(out_find(l.s, "b")->via, out_find(l.s, "a"));
    assert_ptr_equal(out_find(l.s, "c")->via, out_find(l.s, "G"));
    assert_null(out_find(l.s, "c")->why);
    said_at(&l, "cycle", "through itself: self > self", yaml, "self}\n");
    said_at(&l, "cycle", "through itself: x > y > x", yaml, "y}\n");
    said_at(&l, "cycle", "through itself: y > x > y", yaml, "x}\n");
    said_at(&l, "cycle", "through itself: m > M > N > m", yaml, "M}\n");
    said_at(&l, "unknown-target", "\"nobody\" does not exist", yaml, "nobody");
    said_at(&l, "unsupported-proxy", "\"u\" cannot be dialled: its dialer-proxy \"v\"", yaml, "v}\n");
    said_at(&l, "unknown-target", "\"bad\" makes no sense", yaml, "bad}\n");
    assert_int_equal(said(&l, "unsupported-proxy", "its dialer-proxy \"self\""), 1); /* not on a cycle, but behind one */
    assert_non_null(out_find(l.s, "m")->why);
    assert_non_null(out_find(l.s, "u")->why);
    unload(&l);
}

/* Random graphs of nodes behind groups behind nodes, against the closure of all edges: a node is on a cycle exactly when it is said to be. */
#define GRAPH 8 /* nodes; as many groups behind them */

static void close_edges(bool reach[2 * GRAPH][2 * GRAPH])
{
    for (int k = 0; k < 2 * GRAPH; k++)
        for (int i = 0; i < 2 * GRAPH; i++)
            for (int j = 0; j < 2 * GRAPH; j++)
                reach[i][j] |= reach[i][k] && reach[k][j];
}

/* n3 is 3, g3 is GRAPH + 3, others are no vertex. */
static int vertex(const char *name)
{
    return name[0] == 'n' ? atoi(name + 1) : name[0] == 'g' ? GRAPH + atoi(name + 1) : -1;
}

static void test_random_dialers(void **state)
{
    uint32_t x = 11;

    for (int round = 0; round < 300; round++) {
        bool reach[2 * GRAPH][2 * GRAPH] = { 0 };
        char yaml[8192] = "proxies:\n", name[16];
        int via[GRAPH];
        struct loaded l;

        for (int i = 0; i < GRAPH; i++) {
            x = x * 1664525u + 1013904223u;
            via[i] = x >> 30 ? (int)((x >> 12) % (2 * GRAPH)) : -1;
            sprintf(yaml + strlen(yaml), "  - {name: n%d, type: socks5, server: h, port: 1, %s%s%d}\n", i, via[i] < 0 ? "username: u" : "dialer-proxy: ",
                    via[i] < 0 ? "" : via[i] < GRAPH ? "n" : "g", via[i] % GRAPH);
            if (via[i] >= 0)
                reach[i][via[i]] = true;
        }
        strcat(yaml, "proxy-groups:\n");
        for (int i = 0; i < GRAPH; i++) {
            x = x * 1664525u + 1013904223u;
            sprintf(yaml + strlen(yaml), "  - {name: g%d, type: select, proxies: [n%u, g%u, DIRECT]}\n", i, (x >> 20) % GRAPH, (x >> 10) % GRAPH);
        }
        load(&l, yaml);
        for (int i = 0; i < GRAPH; i++) {
            struct outbound *m;

            sprintf(name, "g%d", i);
            for (uint32_t k = 0; (m = out_member(out_find(l.s, name), k)); k++)
                if (vertex(m->name) >= 0)
                    reach[GRAPH + i][vertex(m->name)] = true; /* what cycles of groups have left */
        }
        close_edges(reach);
        for (int i = 0; i < GRAPH; i++) {
            struct outbound *o;

            sprintf(name, "n%d", i);
            o = out_find(l.s, name);
            assert_int_equal(o->why && !strncmp(o->why, "its server would be dialled through itself", 42), via[i] >= 0 && reach[via[i]][i]);
            assert_int_equal(o->via != NULL, via[i] >= 0 && !reach[via[i]][i]);
        }
        unload(&l);
    }
}

/* Thousands of nodes on one cycle cost no more than their number. */
static void test_many_nodes_on_a_cycle(void **state)
{
    char *yaml = malloc(1 << 20);
    size_t at = (size_t)sprintf(yaml, "proxies:\n");
    struct loaded l;

    for (int i = 0; i < 6000; i++)
        at += (size_t)sprintf(yaml + at, "  - {name: n%d, type: socks5, server: h, port: 1, dialer-proxy: G}\n", i);
    strcpy(yaml + at, "proxy-groups:\n  - {name: G, type: select, include-all: true}\n");
    load(&l, yaml);
    assert_int_equal(said(&l, "cycle", "through itself: n5999 > G > "), 1);
    assert_int_equal(said(&l, "cycle", "through itself"), 6000);
    assert_non_null(out_find(l.s, "G")->why);
    unload(&l);
    free(yaml);
}

static void test_too_many_behind_each_other(void **state)
{
    char yaml[4096] = "proxies:\n";
    struct loaded l;

    for (int i = 0; i < 20; i++)
        sprintf(yaml + strlen(yaml), i ? "  - {name: n%d, type: socks5, server: h, port: 1, dialer-proxy: n%d}\n" : "  - {name: n%d, type: socks5, server: h, port: 1}\n", i,
                i - 1);
    load(&l, yaml);
    assert_null(out_find(l.s, "n15")->why);
    assert_non_null(out_find(l.s, "n16")->why);
    assert_int_equal(said(&l, "bad-value", "\"n16\" cannot be dialled: more than 16 nodes"), 1);
    assert_int_equal(said(&l, "unsupported-proxy", "its dialer-proxy"), 3);
    unload(&l);
}

/* ---- relay ---- */

/* "c < b < a": the leaf, and what its server is dialled through. */
static const char *chain_of(struct loaded *l, const char *group, char buf[256])
{
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = "example.com" };
    struct outbound *chain[OUT_CHAIN_MAX], *o = chain[out_resolve(out_find(l->s, group), &m, chain) - 1];
    size_t at = 0;

    for (buf[0] = 0; o; o = o->via ? chain[out_resolve(o->via, &m, chain) - 1] : NULL)
        at += (size_t)snprintf(buf + at, 256 - at, "%s%s", at ? " < " : "", o->name);
    return buf;
}

static void test_relay(void **state)
{
    static const char *const yaml = "proxies:\n" SS("a") SS("b") SS("c") VLESS("v") VIA("d", "c")
                                    "proxy-groups:\n"
                                    "  - {name: R, type: relay, proxies: [a, b, c]}\n"
                                    "  - {name: S, type: select, proxies: [b, c]}\n"
                                    "  - {name: T, type: relay, proxies: [a, DIRECT, S]}\n"
                                    "  - {name: W, type: relay, proxies: [a, d]}\n"
                                    "  - {name: X, type: relay, proxies: [T, a]}\n"
                                    "  - {name: Y, type: relay, proxies: [DIRECT]}\n"
                                    "  - {name: Z, type: relay, proxies: [a, REJECT]}\n"
                                    "  - {name: V, type: relay, proxies: [a, v]}\n";
    struct outbound *chain[OUT_CHAIN_MAX], *first;
    char buf[256];
    struct loaded l;

    load(&l, yaml);
    assert_string_equal(chain_of(&l, "R", buf), "c < b < a");
    assert_string_equal(chain_of(&l, "T", buf), "b < a");
    first = chain[out_resolve(out_find(l.s, "T"), NULL, chain) - 1];
    assert_ptr_equal(first->origin, out_find(l.s, "b"));
    assert_ptr_equal(chain[out_resolve(out_find(l.s, "T"), NULL, chain) - 1], first); /* made once */
    assert_int_equal(first->id, out_find(l.s, "b")->id);
    assert_int_equal(out_select(out_find(l.s, "S"), "c"), 0);
    assert_string_equal(chain_of(&l, "T", buf), "c < a");
    assert_string_equal(chain_of(&l, "W", buf), "d < c < a"); /* what is behind others brings its way along */
    assert_string_equal(chain_of(&l, "X", buf), "a < c < a");
    assert_string_equal(chain_of(&l, "Y", buf), "DIRECT");
    assert_string_equal(chain_of(&l, "Z", buf), "REJECT");
    assert_string_equal(chain_of(&l, "V", buf), "REJECT"); /* v cannot be dialled: nothing goes another way */
    assert_non_null(out_find(l.s, "V")->why);
    assert_int_equal(out_select(out_find(l.s, "R"), "b"), -EINVAL);
    assert_null(out_find(l.s, "b")->via); /* outside of chains nothing has changed */
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_by_every_means),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_hostile_pattern_is_given_up),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_shared_lists_are_told_once),
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_what_cannot_be_dialled_is_passed_over),
        cmocka_unit_test(test_udp_ends_at_a_group_that_disables_it),
        cmocka_unit_test(test_load_balance),
        cmocka_unit_test(test_dialer_proxy),
        cmocka_unit_test(test_random_dialers),
        cmocka_unit_test(test_many_nodes_on_a_cycle),
        cmocka_unit_test(test_too_many_behind_each_other),
        cmocka_unit_test(test_relay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
