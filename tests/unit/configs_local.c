/*
 * configs_local.c - the local file over the profile, and what a fetched profile may not say
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/configs_dump.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the local file ---- */

struct local_case {
    const char *local;
    struct dump_case c;
};

static void the_local_file_is_laid_over(void **state)
{
    static const struct local_case cases[] = {
        { "", { "mode: global", "mode=global" } },
        { "# nothing\n", { "mode: global", "mode=global" } },
        { "mode: direct\n", { "mode: global\nipv6: false", "mode=direct\nipv6=false" } },
        { "dns: {nameserver: [1.1.1.1]}", { "dns: {nameserver: [9.9.9.9, 8.8.8.8], ipv6: true}", "dns.nameserver=1.1.1.1\ndns.ipv6=true" } },
        { "tun: {strict-route: true}", { "{}", "tun.strict-route=true" } },
        { "tun: {strict-route: true}", { "tun: {mtu: 9000}", "tun.strict-route=true\ntun.mtu=9000" } },
        { "tun: {strict-route: true}", { "tun: ~", "tun.strict-route=true" } },
        /* a key with nothing behind it says nothing; null takes away */
        { "tun:\ndns:\n  nameserver:\n", { "tun: {mtu: 9000}\ndns: {nameserver: [9.9.9.9]}", "tun.mtu=9000\ndns.nameserver=9.9.9.9" } },
        { "dns: {fallback: null}\nlisteners: ~", { "dns: {fallback: [x], nameserver: [y]}\nlisteners: [{name: l, type: http, port: 1}]", "dns.fallback=\ndns.nameserver=y\nlisteners.n=0" } },
        { "dns: null", { "dns: {nameserver: [x]}", "dns.nameserver=" } },
        /* ordered maps: ours are asked first */
        { "dns: {nameserver-policy: {c.com: 3.3.3.3, b.com: 4.4.4.4}}", { "dns: {nameserver-policy: {a.com: 1.1.1.1, b.com: 2.2.2.2}}",
          "dns.nameserver-policy[0]=c.com\ndns.nameserver-policy[1]=b.com\ndns.nameserver-policy[1].servers=4.4.4.4\ndns.nameserver-policy[2]=a.com\ndns.nameserver-policy.n=3" } },
        { "hosts: {a.b: 192.0.2.9}", { "hosts: {a.b: 192.0.2.1, c.d: 192.0.2.2}", "hosts.a.b=192.0.2.9\nhosts.c.d=192.0.2.2\nhosts.n=2" } },
        { "rule-providers: {p: {url: v}, q: {type: http, behavior: domain, url: w}}", { "rule-providers: {p: {type: http, behavior: ipcidr, url: u, interval: 5}}",
          "rule.p.from=http url v path - proxy - interval 5 size 0\nrule.q.from=http url w path - proxy - interval 0 size 0" } },
        /* proxies and groups are added; one of the same name takes the place */
        { "proxies: [{name: mine, type: direct}, {name: B, type: socks5}]\nproxy-groups: [{name: G, type: fallback}]",
          { "proxies: [{name: A, type: ss}, {name: B, type: ss}]\nproxy-groups: [{name: F, type: select}, {name: G, type: select}]",
            "proxy[0]=A ss\nproxy[1]=B socks5\nproxy[0]=mine direct\nproxies.n=3\ngroup[0]=F select\ngroup[0]=G fallback\ngroups.n=2" } },
        { "proxy-groups: [{name: A, type: select}]", { "proxies: [{name: A, type: ss}, {name: B, type: ss}]", "proxy[1]=B ss\nproxies.n=1\ngroup[0]=A select\ngroups.n=1" } },
        { "proxies: [{name: A, type: direct}]", { "proxy-groups: [{name: A, type: select}]", "proxy[0]=A direct\nproxies.n=1\ngroups.n=0" } },
        { "proxies: [{name: A, type: direct}, {name: A, type: ss}]", { "{}", "proxy[0]=A direct\nproxies.n=1", "used already in line 1", 1 } },
        /* rules */
        { "prepend-rules: ['DOMAIN,p,DIRECT']\nappend-rules: ['DOMAIN,z,DIRECT']", { "rules: ['DOMAIN,a,DIRECT', ' match ,DIRECT']",
          "rule[0]=DOMAIN,p,DIRECT @ prepend-rules[0]\nrule[1]=DOMAIN,a,DIRECT @ rules[0]\nrule[2]=DOMAIN,z,DIRECT @ append-rules[0]\nrule[3]= match ,DIRECT @ rules[1]\nrule.n=4" } },
        { "append-rules: ['DOMAIN,z,DIRECT']", { "rules: ['DOMAIN,a,DIRECT']", "rule[0]=DOMAIN,a,DIRECT @ rules[0]\nrule[1]=DOMAIN,z,DIRECT @ append-rules[0]\nrule.n=2" } },
        { "prepend-rules: ['MATCH,REJECT']", { "{}", "rule[0]=MATCH,REJECT @ prepend-rules[0]\nrule.n=1" } },
        { "rules: ['MATCH,REJECT']", { "rules: ['DOMAIN,a,DIRECT', 'MATCH,DIRECT']", "rule[0]=MATCH,REJECT @ rules[0]\nrule.n=1" } },
        { "sub-rules: {s: [x]}", { "sub-rules: {s: [a], t: [b]}", "s[0]=x @ sub-rules.s[0]\ns.n=1\nt[0]=b @ sub-rules.t[0]" } },
        /* what is wrong with it */
        { "- a\n", { "mode: global", "mode=global", "a profile is a mapping", 1, true } },
        { "\n\nmode: x: y\n", { "mode: global", "mode=global", "cannot stand here", 3, true } },
        { "prepend-rules: x\n", { "{}", "rule.n=0", "prepend-rules must be a list", 1, true } },
        { "\nmdoe: global\n", { "{}", "mode=rule", "did you mean \"mode\"", 2 } },
        { "\n\n\ntun: {mtu: 10}\n", { "{}", "tun.mtu=1280", "at least 1280", 4 } },
    };
    bool good = true;

    for (size_t i = 0; i < LEN(cases); i++) {
        struct cfg_input body = { "p", cases[i].c.yaml, strlen(cases[i].c.yaml), false }, local = { "l", cases[i].local, strlen(cases[i].local), false };

        good &= dump_holds(&cases[i].c, &body, &local);
    }
    assert_true(good);
}

static void messages_name_the_right_file(void **state)
{
    static const char body[] = "mode: rule\nproxies:\n- {name: A}\n", over[] = "proxies:\n- {name: B}\ntun:\n  mtu: 5\nprepend-rules: [[x]]\n";
    struct cfg_input in = { "profile.yaml", body, sizeof(body) - 1, false }, local = { "local.yaml", over, sizeof(over) - 1, false };
    char *text = NULL;
    struct profile *p;
    struct diag d;
    size_t size;
    FILE *f;

    diag_init(&d, "x", NULL, 0, false);
    assert_non_null(p = profile_read(&in, &local, &d));
    f = open_memstream(&text, &size);
    diag_print(&d, f, false);
    fclose(f);
    assert_string_equal(text, "profile.yaml:3:3: warning: \"A\" has no type; it is skipped\n    - {name: A}\n      ^\n"
                              "local.yaml:2:3: warning: \"B\" has no type; it is skipped\n    - {name: B}\n      ^\n"
                              "local.yaml:4:8: warning: mtu: IPv6 needs at least 1280: that is used\n      mtu: 5\n           ^\n"
                              "local.yaml:5:17: warning: a rule is one line of text (TYPE,PAYLOAD,TARGET); this entry is skipped\n    prepend-rules: [[x]]\n"
                              "                    ^\n");
    assert_string_equal(d.items[1].path, "proxies[0]");
    assert_string_equal(d.items[3].path, "prepend-rules[0]");
    free(text);
    profile_free(p);
    diag_fini(&d);
}

/* ---- locked keys ---- */

static void a_fetched_profile_may_not_say_everything(void **state)
{
    /* the key as a profile writes it; the line of the dump when it is ignored */
    static const struct dump_case cases[] = {
        { "\nallow-lan: true", "allow-lan=false", "allow-lan may not be set by a fetched profile", 2 },
        { "bind-address: 0.0.0.0", "bind-address=*", "bind-address may not", 1 },
        { "bind-address: '*'", "bind-address=*", "bind-address may not", 1 },
        { "external-controller: 0.0.0.0:9090", "external-controller=-", "external-controller may not", 1 },
        { "external-controller: 127.0.0.1:9090", "external-controller=-", "external-controller may not", 1 },
        { "external-controller-unix: x", "external-controller-unix=-", "external-controller-unix may not", 1 },
        { "external-controller-tls: x", "external-controller-tls=-", "may not", 1 },
        { "external-controller-cors: {allow-origins: ['*']}", "external-controller-cors.allow-origins=", "may not", 1 },
        { "external-ui: /etc", "external-ui=-", "may not", 1 },
        { "external-ui-url: http://x", "external-ui-url=-", "may not", 1 },
        { "external-doh-server: /x", "external-doh-server=-", "may not", 1 },
        { "secret: x", "secret=-", "secret may not", 1 },
        { "authentication: ['a:b']", "authentication=not given", "may not", 1 },
        { "interface-name: eth0", "interface-name=-", "may not", 1 },
        { "routing-mark: 7", "routing-mark=0", "may not", 1 },
        { "listeners: [{name: l, type: http, port: 1}]", "listeners.n=0", "may not", 1 },
        { "tun:\n  enable: false", "tun.enable=true", "tun.enable may not", 2 },
        { "tun: {enable: off}", "tun.enable=true", "may not", 1 },
        { "tun: {device: x}", "tun.device=-", "tun.device may not", 1 },
        { "tun: {auto-route: false}", "tun.auto-route=true", "may not", 1 },
        { "tun: {strict-route: true}", "tun.strict-route=false", "may not", 1 },
        { "tun: {route-address: [0.0.0.0/1]}", "tun.route-address=", "may not", 1 },
        { "tun: {inet4-route-address: [0.0.0.0/1]}", "tun.route-address=", "may not", 1 },
        { "tun: {route-exclude-address: [0.0.0.0/0]}", "tun.route-exclude-address=", "may not", 1 },
        { "tun: {inet6-route-exclude-address: ['::/0']}", "tun.route-exclude-address=", "may not", 1 },
        { "tun: {route-exclude-address-set: [x]}", "tun.route-exclude-address-set=", "may not", 1 },
        { "tun: {include-interface: [x]}", "tun.include-interface=", "may not", 1 },
        { "tun: {exclude-uid: [0]}", "tun.exclude-uid=", "may not", 1 },
        { "tun: {exclude-dst-port: [443]}", "tun.exclude-dst-port=", "may not", 1 },
        { "tun: {iproute2-table-index: 5}", "tun.iproute2-table-index=2022", "may not", 1 },
        { "tun: {inet6-address: ['fd00::1/64']}", "tun.inet6=fdfe:dcba:9876::1/126", "may not", 1 },
        { "dns: {listen: '0.0.0.0:53'}", "dns.listen=-", "dns.listen may not", 1 },
        { "dns: {listen: ':1053'}", "dns.listen=-", "dns.listen may not", 1 },
        { "dns: {listen: nonsense}", "dns.listen=-", "dns.listen may not", 1 },
        { "tunnels: ['tcp,0.0.0.0:1,a:2']", "tunnels.n=0", "may listen on loopback only", 1 },
        /* what means nothing is left out without a word */
        { "allow-lan: false\nsecret: ''\nexternal-controller: ''\nlisteners: []\nauthentication:\ninterface-name: ~", "secret=" },
        { "tun: {enable: true, auto-route: true, auto-detect-interface: true, strict-route: false, device: '', iproute2-table-index: 0}", "tun.enable=true" },
        /* and what is not locked stays */
        { "dns: {listen: '127.0.0.1:1053'}", "dns.listen=127.0.0.1:1053" },
        { "dns: {listen: '[::1]:53', nameserver: [x], enable: false}", "dns.listen=[::1]:53\ndns.nameserver=x\ndns.enable=false" },
        { "tun: {mtu: 9000, stack: mixed, dns-hijack: [any:53], udp-timeout: 5}", "tun.mtu=9000\ntun.dns-hijack=any:53\ntun.udp-timeout=5" },
        { "mode: global\nport: 7890\nmixed-port: 1\ntunnels: ['tcp,127.0.0.1:1,a:2']", "mode=global\nport=7890\ntunnels.n=1" },
        { "proxy-providers: {p: {type: http, url: u}}", "proxy.p=http foreign" },
    };
    bool good = true;

    for (size_t i = 0; i < LEN(cases); i++) {
        struct cfg_input body = { "p", cases[i].yaml, strlen(cases[i].yaml), true };

        good &= dump_holds(&cases[i], &body, NULL);
    }
    assert_true(good);
}

static void the_local_file_may_say_everything(void **state)
{
    static const char over[] = "allow-lan: true\nsecret: mine\ntun: {enable: false, strict-route: true}\ndns: {listen: '0.0.0.0:53'}\nproxy-providers: {p: {type: file, path: /x}}\n"
                               "tunnels: ['tcp,0.0.0.0:1,a:2']\n";
    static const struct dump_case c = { "mode: global", "mode=global\nallow-lan=true\nsecret=mine\ntun.enable=false\ntun.strict-route=true\ndns.listen=0.0.0.0:53\n"
                                                        "proxy.p=file own\ntunnels.n=1" };
    struct cfg_input body = { "p", c.yaml, strlen(c.yaml), true }, local = { "l", over, sizeof(over) - 1, false };

    assert_true(dump_holds(&c, &body, &local));
}

static void locked_messages_name_the_local_file(void **state)
{
    struct cfg_input body = { "p", "secret: x", 9, true }, local = { "/etc/shunt/local.yaml", "", 0, false };
    struct diag d;

    diag_init(&d, "p", NULL, 0, false);
    profile_free(profile_read(&body, &local, &d));
    assert_int_equal(d.n, 1);
    assert_string_equal(d.items[0].code, "locked-key");
    assert_string_equal(d.items[0].path, "secret");
    assert_non_null(strstr(d.items[0].message, "write it into /etc/shunt/local.yaml"));
    assert_null(strstr(d.items[0].message, "x;"));
    diag_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_local_file_is_laid_over),
        cmocka_unit_test(messages_name_the_right_file),
        cmocka_unit_test(a_fetched_profile_may_not_say_everything),
        cmocka_unit_test(the_local_file_may_say_everything),
        cmocka_unit_test(locked_messages_name_the_local_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
