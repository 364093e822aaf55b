/*
 * configs_lists.c - what a profile lists, entry by entry: one bad entry costs itself and a message at its own line, never the rest
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/configs_dump.h"

#define ALL(cases) assert_true(dump_all_hold(cases, sizeof(cases) / sizeof((cases)[0])))

static void proxies_and_groups(void **state)
{
    static const struct dump_case cases[] = {
        { "proxies:\n- {name: A, type: ss}\n- {name: 123, type: direct}\n- {NAME: C, Type: SS}\nproxy-groups:\n- {name: G, type: select}",
          "proxy[0]=A ss\nproxy[1]=123 direct\nproxy[2]=C SS\ngroup[0]=G select" },
        { "proxies:", "proxies.n=0" },
        { "proxies: {}", "proxies.n=0" },
        { "proxies: ''", "proxies.n=0" },
        { "proxies: ~\nproxy-groups: []", "groups.n=0" },
        { "mode: rule\nproxies: text", "", "proxies must be a list (- entry)", 2, true },
        { "proxies: {a: b}", "", "proxies must be a list", 1, true },
        { "proxies:\n- {name: A, type: ss}\n- [a]\n- {name: B, type: ss}", "proxy[0]=A ss\nproxy[2]=B ss\nproxies.n=2", "is a mapping", 3 },
        { "proxies:\n- ~\n- {name: B, type: ss}", "proxy[1]=B ss\nproxies.n=1", "is a mapping", 2 },
        { "proxies:\n- text\n- {name: B, type: ss}", "proxy[1]=B ss\nproxies.n=1", "is a mapping", 2 },
        { "proxies:\n- name: A\n  type: ss\n- type: ss\n  port: 1\n- name: C\n  type: ss", "proxy[0]=A ss\nproxy[2]=C ss\nproxies.n=2", "has no name", 4 },
        { "proxies:\n- {name: A}\n", "proxies.n=0", "\"A\" has no type", 2 },
        { "proxies:\n- {name: '', type: ss}\n", "proxies.n=0", "has no name", 2 },
        { "proxies:\n- {name: A, type: ss}\n- {name: B, type: ss}\n- {name: A, type: vmess}", "proxy[0]=A ss\nproxies.n=2", "\"A\" is used already in line 2", 4 },
        { "proxies: [{name: A, type: ss}]\nproxy-groups:\n- {name: A, type: select}", "proxies.n=1\ngroups.n=0", "used already in line 1", 3 },
        { "proxies: [{name: DIRECT, type: ss}]", "proxies.n=0", "\"DIRECT\" is built in", 1 },
        { "proxies: [{name: GLOBAL, type: ss}]", "proxies.n=0", "built in", 1 },
        { "proxies: [{name: direct, type: direct}]\nproxy-groups: [{name: GLOBAL, type: select}]", "proxy[0]=direct direct\ngroup[0]=GLOBAL select" },
        { "p: &p {type: ss, port: 1}\nproxies:\n- {<<: *p, name: A}\n- &b {<<: *p, name: B}\n- {<<: *b, name: C}", "proxy[2]=C ss\nproxies.n=3" },
        { "one: &one {name: A, type: ss}\nproxies: [*one, *one]", "proxies.n=1", "used already in line 2", 2 },
    };

    ALL(cases);
}

static void rules(void **state)
{
    static const struct dump_case cases[] = {
        { "rules:\n- DOMAIN,a.b,DIRECT\n- 'MATCH,DIRECT'\n- 1", "rule[0]=DOMAIN,a.b,DIRECT @ rules[0]\nrule[1]=MATCH,DIRECT @ rules[1]\nrule[2]=1 @ rules[2]\nrule.n=3" },
        { "rules:", "rule.n=0" },
        { "rules: []", "rule.n=0" },
        { "rules:\n- a\n-\n- b", "rule.n=2", "a rule is one line of text", 3 },
        { "rules:\n- a: b\n- MATCH,DIRECT", "rule[0]=MATCH,DIRECT @ rules[1]", "a rule is one line of text", 2 },
        { "rules: MATCH,DIRECT", "rule.n=0", "rules must be a list", 1, true },
        { "sub-rules:\n  s: [a, b]\n  t: []\n  u:", "s[1]=b @ sub-rules.s[1]\nt.n=0\nu.n=0\nsub-rules.n=3" },
        { "sub-rules:\n  s: a\n  t: [b]", "t[0]=b @ sub-rules.t[0]\nsub-rules.n=1", "a list of rules is expected here", 2 },
        { "sub-rules:\n  s: [[x], b]", "s[0]=b @ sub-rules.s[1]", "a rule is one line of text", 2 },
        { "sub-rules: [a]", "sub-rules.n=0", "sub-rules must be a mapping", 1, true },
        { "prepend-rules: [a]\nrules: [b]", "rule.n=1" }, /* only the local file has these */
    };

    ALL(cases);
}

static void hosts(void **state)
{
    static const struct dump_case cases[] = {
        { "hosts: {a.b: 192.0.2.1, '*.c': [192.0.2.2, '2001:db8::1'], d: e.f, g: lan, h: , '+.i': [x.y]}",
          "hosts.a.b=192.0.2.1\nhosts.*.c=192.0.2.2|2001:db8::1\nhosts.d=e.f\nhosts.g=lan\nhosts.+.i=x.y\nhosts.n=5" },
        { "hosts:", "hosts.n=0" },
        { "hosts:\n  a: 192.0.2.1\n  b: nodot\n  c: 192.0.2.3", "hosts.c=192.0.2.3\nhosts.n=2", "\"nodot\" is neither an address nor a name with a dot", 3 },
        { "hosts:\n  a:\n    - 192.0.2.1\n    - x.y\n", "hosts.n=0", "the entry \"a\" is skipped", 4 },
        { "hosts:\n  a: {b: c}", "hosts.n=0", "a mapping or list", 2 },
        { "hosts: [a]", "", "hosts must be a mapping", 1, true },
        { "hosts: {1.1: 192.0.2.1}", "hosts.1.1=192.0.2.1" },
    };

    ALL(cases);
}

/* What a proxy-provider says is read by outbound/: here only what all providers have. */
static void proxy_providers(void **state)
{
    static const struct dump_case cases[] = {
        { "proxy-providers:\n  p: {type: http, url: u, header: {User-Agent: [a, b], X: c}}\n  q: {Type: FILE, path: x}\n  r: {type: magic}",
          "proxy.p=http own\nproxy.p.User-Agent=a|b\nproxy.p.X=c\nproxy.q=FILE own\nproxy.r=magic own\nproxy-providers.n=3" },
        { "proxy-providers:\n  a: {url: x}\n  b: {type: http, url: y}", "proxy-providers.n=1", "needs a type", 2 },
        { "proxy-providers:\n  a: text", "proxy-providers.n=0", "a provider is a mapping", 2 },
        { "proxy-providers:\n  a:\n    type: http\n    header: [x]", "proxy.a=http own", "a mapping (Name: value) is expected here", 4 },
        { "proxy-providers:", "proxy-providers.n=0" },
        { "proxy-providers: [a]", "", "proxy-providers must be a mapping", 1, true },
    };

    ALL(cases);
}

static void rule_providers(void **state)
{
    static const struct dump_case cases[] = {
        { "rule-providers:\n  r: {type: http, behavior: Domain, format: MRS, url: u, path: ./r.mrs, interval: '86400', proxy: P, size-limit: 5, header: {A: b}, path-in-bundle: q}",
          "rule.r=http own\nrule.r.from=http url u path ./r.mrs proxy P interval 86400 size 5\nrule.r.A=b\nrule.r.is=domain mrs bundle q" },
        { "rule-providers:\n  r: {type: inline, behavior: classical, payload: ['DOMAIN,a.b', 'IP-CIDR,10.0.0.0/8']}",
          "rule.r.from=inline url - path - proxy - interval 0 size 0\nrule.r.is=classical yaml bundle -\nrule.r.payload=DOMAIN,a.b|IP-CIDR,10.0.0.0/8" },
        { "b: &b {type: http, behavior: ipcidr, interval: 5}\nrule-providers:\n  r: {<<: *b, url: u}\n  s: {<<: *b, url: v, format: text}",
          "rule.r.from=http url u path - proxy - interval 5 size 0\nrule.s.is=ipcidr text bundle -" },
        { "rule-providers:\n  r: {type: http, behavior: domain, url: ''}", "rule.r.from=http url - path - proxy - interval 0 size 0", "needs a url; it stays empty", 2 },
        { "rule-providers:\n  r: {type: file, behavior: domain}", "rule-providers.n=1", "needs a path", 2 },
        { "rule-providers:\n  r:\n    behavior: domain\n    type: htp", "rule-providers.n=0", "did you mean \"http\"", 4 },
        { "rule-providers:\n  r: {type: http, url: u}", "rule-providers.n=0", "the key \"behavior\" is missing", 2 },
        { "rule-providers:\n  r: {type: http, behaviour: domain, url: u}", "rule-providers.n=0", "\"behavior\" is missing; is \"behaviour\" meant to be it?", 2 },
        { "rule-providers:\n  r:\n    type: http\n    url: u\n    behavior: domains", "rule-providers.n=0", "did you mean \"domain\"", 5 },
        { "rule-providers:\n  r:\n    type: http\n    url: u\n    behavior: domain\n    format: txt", "rule-providers.n=0", "yaml, text, mrs", 6 },
        { "rule-providers:\n  r:\n    type: http\n    url: u\n    behavior: domain\n    interval: often", "rule-providers.n=0", "\"often\" is no number", 6 },
        { "rule-providers:\n  r: {behavior: domain}", "rule-providers.n=0", "needs a type", 2 },
        { "rule-providers:\n  default: {type: http, behavior: domain, url: u}", "rule-providers.n=1" },
    };

    ALL(cases);
}

/* Share links, plain or in base64, stand where a profile could. */
static void links(void **state)
{
    static const struct dump_case cases[] = {
        { "ss://YWVzLTEyOC1nY206cA==@192.0.2.1:8388#one\ntrojan://p@t.example.com:443#two\n", "proxy[0]=one ss\nproxy[1]=two trojan\nproxies.n=2\nmode=rule" },
        { "\xef\xbb\xbf\r\nss://YWVzLTEyOC1nY206cA==@192.0.2.1:8388#one", "proxy[0]=one ss\nproxies.n=1" },
        { "c3M6Ly9ZV1Z6TFRFeU9DMW5ZMjA2Y0E9PUAxOTIuMC4yLjE6ODM4OCNvbmUK", "proxy[0]=one ss\nproxies.n=1" },
        { "ss://YWVzLTEyOC1nY206cA==@192.0.2.1:8388#one\nmagic://x\n", "proxies.n=1", "magic:// is no scheme of a share link", 2 },
        { "mode: global\nproxy-providers:\n  p:\n    type: http\n    url:\n      https://example.com/x\n", "mode=global\nproxies.n=0\nproxy.p=http own" }, /* no link: the value of a key */
    };

    ALL(cases);
}

static void links_show_no_source(void **state)
{
    static const char bytes[] = "ss://YWVzLTEyOC1nY206c2VjcmV0@192.0.2.1:8388#one\nss://broken\n";
    struct cfg_input in = { "l", bytes, sizeof(bytes) - 1, true };
    char *text = NULL;
    struct diag d;
    size_t size;
    FILE *f;

    diag_init(&d, "l", NULL, 0, false);
    profile_free(profile_read(&in, NULL, &d));
    assert_int_equal(d.n_warnings, 1);
    f = open_memstream(&text, &size);
    diag_print(&d, f, false);
    fclose(f);
    assert_null(strchr(text, '^'));
    assert_null(strstr(text, "YWVz"));
    free(text);
    diag_fini(&d);
}

static void listeners_and_tunnels(void **state)
{
    static const struct dump_case cases[] = {
        { "listeners:\n- {name: l, type: mixed, port: 7000}\n- {name: m, type: SOCKS, port: '200,302-304', listen: 127.0.0.1, rule: s, proxy: P, udp: false, routing-mark: 5, "
          "users: [{username: a, password: b}, {password: c}]}\n- {name: n, type: tunnel, port: 1, network: [tcp, udp], target: 'x:1', users: []}\n- {name: t, type: tun}",
          "listener.l=mixed 0.0.0.0 rule - proxy - udp 1 mark 0 target - cert -/-\nlistener.l.port=7000-7000\nlistener.l.users=not given\n"
          "listener.m=SOCKS 127.0.0.1 rule s proxy P udp 0 mark 5 target - cert -/-\nlistener.m.port=200-200|302-304\nlistener.m.users=a/b\n"
          "listener.n.network=tcp|udp\nlistener.n.users=\nlisteners.n=4" },
        { "listeners:\n- {name: l, type: mixed, port: 1}\n- {name: l, type: http, port: 2}", "listeners.n=1", "another listener \"l\" above", 3 },
        { "listeners:\n- {name: l, type: magic, port: 1}", "listeners.n=0", "its type is unknown", 2 },
        { "listeners:\n- {name: l, type: http}", "listeners.n=0", "needs a port", 2 },
        { "listeners:\n- {type: http, port: 1}", "listeners.n=0", "needs name and type", 2 },
        { "listeners:\n- text", "listeners.n=0", "needs name and type", 2 },
        { "listeners:\n- name: l\n  type: http\n  port: 70000", "listeners.n=0", "goes beyond 65535", 4 },
        { "listeners: {}", "listeners.n=0" },
        { "tunnels:\n- tcp/udp,127.0.0.1:6553,114.114.114.114:53,proxy\n- TCP,127.0.0.1:6666,rds.example.com:3306\n"
          "- {network: [tcp, udp], address: '127.0.0.1:7777', target: 't.example.com:80', proxy: P}\n- {network: udp, address: '[::1]:1', target: 'a:2'}",
          "tunnel[0]=tcpudp 127.0.0.1:6553 -> 114.114.114.114:53 by proxy\ntunnel[1]=tcp 127.0.0.1:6666 -> rds.example.com:3306 by -\n"
          "tunnel[2]=tcpudp 127.0.0.1:7777 -> t.example.com:80 by P\ntunnel[3]=udp [::1]:1 -> a:2 by -\ntunnels.n=4" },
        { "tunnels:\n- sctp,127.0.0.1:1,a:2", "tunnels.n=0", "LOCAL:PORT", 2 },
        { "tunnels:\n- tcp,127.0.0.1:1", "tunnels.n=0", "LOCAL:PORT", 2 },
        { "tunnels:\n- tcp,127.0.0.1:1,target", "tunnels.n=0", "LOCAL:PORT", 2 },
        { "tunnels:\n- {address: '127.0.0.1:1', target: 'a:2'}", "tunnels.n=0", "LOCAL:PORT", 2 },
        { "tunnels:\n- [a]", "tunnels.n=0", "LOCAL:PORT", 2 },
    };

    ALL(cases);
}

/* Many names: a map, not a search through the list. 20,000 duplicates are 10,000 messages and a number. */
static void many_entries(void **state)
{
    size_t cap = 4 << 20, at = 0;
    char *yaml = malloc(cap);
    struct profile *p;
    struct diag d;

    at += (size_t)snprintf(yaml, cap, "proxies:\n");
    for (int i = 0; i < 40000; i++)
        at += (size_t)snprintf(yaml + at, cap - at, "- {name: n%d, type: ss}\n", i % 20000);
    at += (size_t)snprintf(yaml + at, cap - at, "rules:\n");
    for (int i = 0; i < 100000; i++)
        at += (size_t)snprintf(yaml + at, cap - at, "- DOMAIN,d%d,n1\n", i);
    diag_init(&d, "t", yaml, at, false);
    assert_non_null(p = profile_load(yaml, at, &d));
    assert_int_equal(p->n_proxies, 20000);
    assert_int_equal(p->n_rules, 100000);
    assert_int_equal(p->rules[99999].line, 140002);
    assert_int_equal(d.n_warnings, 20000);
    assert_int_equal(d.n, 10000);
    assert_int_equal(d.n_lost, 10000);
    diag_err(&d, 1, 1, "", "bad-value", "an error finds a place behind the warnings");
    assert_int_equal(d.n, 10001);
    profile_free(p);
    diag_fini(&d);
    free(yaml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(proxies_and_groups),    cmocka_unit_test(rules),          cmocka_unit_test(hosts),
        cmocka_unit_test(proxy_providers),       cmocka_unit_test(rule_providers), cmocka_unit_test(listeners_and_tunnels),
        cmocka_unit_test(links),                 cmocka_unit_test(links_show_no_source),
        cmocka_unit_test(many_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
