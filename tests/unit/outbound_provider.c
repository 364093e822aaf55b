/*
 * outbound_provider.c - proxy providers: content of every kind, filters and override, paths that must not be followed
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/outbound_loaded.h"

static char dir[64] = "/tmp/shunt-provider-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_non_null(f = fopen(path, "w"));
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    char path[256];

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/proxies", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/proxies/link.yaml", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    env.state_dir = dir;
    return 0;
}

static int teardown(void **state)
{
    char command[300];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

/* "a,b,c": the members of a provider. */
static const char *members(struct loaded *l, const char *name, char buf[512])
{
    const struct out_provider *p;

    buf[0] = 0;
    for (uint32_t i = 0; (p = out_provider_at(l->s, i)); i++)
        for (uint32_t k = 0; !strcmp(p->name, name) && k < p->n; k++)
            snprintf(buf + strlen(buf), 512 - strlen(buf), "%s%s", k ? "," : "", p->members[k]->name);
    return buf;
}

static const struct out_provider *provider(struct loaded *l, const char *name)
{
    const struct out_provider *p = NULL;

    for (uint32_t i = 0; (p = out_provider_at(l->s, i)) && strcmp(p->name, name) != 0; i++)
        ;
    assert_non_null(p);
    return p;
}

#define ENTRY(name) "  - {name: " name ", type: socks5, server: h, port: 1}\n"

/* ---- content ---- */

static void test_content_of_every_kind(void **state)
{
    static const char *const yaml = "proxies:\n" ENTRY("own")
                                    "proxy-providers:\n"
                                    "  inline: {type: Inline, payload: [{name: i, type: direct}]}\n"
                                    "  yaml: {type: file, path: proxies/a.yaml}\n"
                                    "  links: {type: file, path: ./proxies/links}\n"
                                    "  base64: {type: file, path: proxies/base64}\n"
                                    "  http: {type: http, url: 'https://example.com/sub/1', interval: 3600, proxy: DIRECT, size-limit: 1000, "
                                    "health-check: {enable: true, url: 'http://t', timeout: 1000, lazy: false, expected-status: 204}}\n"
                                    "  new: {type: http, url: 'https://example.com/2', payload: [{name: meanwhile, type: direct}]}\n"
                                    "proxy-groups:\n"
                                    "  - {name: G, type: url-test, use: [yaml, http]}\n";
    const struct out_provider *p;
    char buf[512];
    struct loaded l;

    write_file("proxies/a.yaml", "ignored: x\nproxies:\n" ENTRY("a") ENTRY("b") ENTRY("a") "rules: [x]\n");
    write_file("proxies/links", "trojan://x@h:1#t\nss://YWVzLTI1Ni1nY206cGFzcw@h:1#s\n");
    write_file("proxies/base64", "c3M6Ly9ZV1Z6TFRJMU5pMW5ZMjA2Y0dGemN3QGg6MSN4"); /* ss://YWVzLTI1Ni1nY206cGFzcw@h:1#x */
    load(&l, yaml);
    p = provider(&l, "http");
    assert_int_equal(strncmp(p->path, "proxies/", 8), 0);
    assert_int_equal(strlen(p->path), 8 + 32);
    write_file(p->path, "proxies:\n" ENTRY("fetched"));
    unload(&l);

    load(&l, yaml);
    assert_string_equal(members(&l, "inline", buf), "i");
    assert_string_equal(members(&l, "yaml", buf), "a,b"); /* the first of a name */
    assert_string_equal(members(&l, "links", buf), "t,s");
    assert_string_equal(members(&l, "base64", buf), "x");
    assert_string_equal(members(&l, "http", buf), "fetched");
    assert_string_equal(members(&l, "new", buf), "meanwhile");
    assert_members(&l, "G", (const char *[]){ "a", "b", "fetched" }, 3);
    assert_string_equal(out_group_opts(out_find(l.s, "G"))->url, "http://t"); /* the provider's, when the group has none */
    p = provider(&l, "http");
    assert_string_equal(p->url, "https://example.com/sub/1");
    assert_string_equal(p->proxy, "DIRECT");
    assert_int_equal(p->interval_s, 3600);
    assert_int_equal(p->size_limit, 1000);
    assert_true(p->test && !p->test_lazy && p->stored_s);
    assert_int_equal(p->test_interval_s, 300);
    assert_int_equal(p->test_timeout_ms, 1000);
    assert_string_equal(p->expected_status, "204");
    assert_null(p->why);
    assert_ptr_equal(p->members[0]->provider, p);
    assert_null(out_find(l.s, "fetched"));
    unload(&l);
}

static void test_no_content_yet(void **state)
{
    static const char *const yaml = "proxy-providers:\n"
                                    "  http: {type: http, url: 'https://example.com/none'}\n"
                                    "  file: {type: file, path: proxies/none.yaml}\n"
                                    "  bad: {type: file, path: proxies/bad.yaml}\n"
                                    "  nolist: {type: file, path: proxies/nolist.yaml}\n"
                                    "  empty: {type: file, path: proxies/empty.yaml}\n"
                                    "  useless: {type: file, path: proxies/useless.yaml}\n"
                                    "proxy-groups:\n"
                                    "  - {name: G, type: select, use: [http, file, bad]}\n"
                                    "  - {name: H, type: select, use: [http], proxies: [REJECT]}\n"
                                    "rules: ['MATCH,G']\n";
    struct loaded l;

    write_file("proxies/bad.yaml", "proxies: [\n");
    write_file("proxies/nolist.yaml", "a: b\n");
    write_file("proxies/empty.yaml", "proxies: []\n");
    write_file("proxies/useless.yaml", "proxies:\n  - {type: ss}\n  - {name: x, type: ss}\n  - {name: y, type: teleport}\n");
    load(&l, yaml);
    said_at(&l, "missing-data", "\"http\": it has not been fetched yet", yaml, "http:");
    said_at(&l, "missing-data", "\"file\": proxies/none.yaml cannot be read", yaml, "file: {");
    said_at(&l, "yaml", "\"bad\": proxies/bad.yaml:1:10:", yaml, "bad: {");
    said_at(&l, "yaml", "\"nolist\": proxies/nolist.yaml:1:1: it is neither", yaml, "nolist: {");
    said_at(&l, "unknown-target", "\"empty\": its content is an empty list", yaml, "empty: {");
    said_at(&l, "missing-key", "proxies/useless.yaml:2:5: an entry needs name and type", yaml, "useless: {");
    said_at(&l, "missing-key", "proxies/useless.yaml:3:5: proxy \"x\": the key \"server\"", yaml, "useless: {");
    said_at(&l, "unknown-type", "proxies/useless.yaml:4:21: proxy \"y\": unknown type", yaml, "useless: {");
    assert_members(&l, "G", (const char *[]){ "COMPATIBLE" }, 1);
    assert_members(&l, "H", (const char *[]){ "REJECT" }, 1);
    assert_non_null(provider(&l, "http")->why);
    assert_int_equal(said(&l, "unknown-target", "group"), 0); /* that groups are empty follows from what was said */
    assert_int_equal(l.d.n_errors, 0);
    unload(&l);
}

/* Nothing is ever fetched for a provider without url: it has no file of its own, least of all one it shares with the next of its kind. */
static void test_no_url(void **state)
{
    static const char *const yaml = "proxy-providers:\n"
                                    "  none: {type: http}\n"
                                    "  blank: {type: http, url: ''}\n"
                                    "  out: {type: http, path: ../x.yaml}\n"
                                    "  own: {type: http, path: proxies/own.yaml}\n"
                                    "  list: {type: http, payload: [{name: p, type: socks5, server: h, port: 1}]}\n"
                                    "proxy-groups: [{name: G, type: select, use: [none, blank, out, own, list]}]\n"
                                    "rules: ['MATCH,G']\n";
    struct loaded l;

    write_file("proxies/d41d8cd98f00b204e9800998ecf8427e", "proxies: [{name: nobody, type: socks5, server: h, port: 1}]\n"); /* the MD5 of "" */
    write_file("proxies/own.yaml", "proxies: [{name: o, type: socks5, server: h, port: 1}]\n");
    load(&l, yaml);
    said_at(&l, "missing-key", "\"none\": a http provider needs a url", yaml, "none: {");
    said_at(&l, "missing-key", "\"blank\": a http provider needs a url", yaml, "blank: {");
    said_at(&l, "unsafe-path", "\"out\": path: \"../x.yaml\" leads out", yaml, "../x.yaml");
    assert_int_equal(said(&l, "missing-data", ""), 0);
    assert_members(&l, "G", (const char *[]){ "o", "p" }, 2);
    assert_null(provider(&l, "none")->path);
    assert_null(provider(&l, "blank")->path);
    assert_string_equal(provider(&l, "none")->why, "it has no url");
    assert_int_equal(l.d.n_errors, 0);
    unload(&l);
}

/* ---- filters and override ---- */

#define PAYLOAD                                                                                                                            \
    "    payload:\n"                                                                                                                       \
    "      - {name: HK 1, type: ss, server: h, port: 1, cipher: aes-128-gcm, password: x, udp: false}\n"                                     \
    "      - {name: JP 1, type: socks5, server: h, port: 1, UDP: false, skip_cert_verify: true}\n"                                           \
    "      - {name: HK 2 x1.5, type: ss, server: h, port: 1, cipher: aes-128-gcm, password: x}\n"                                            \
    "      - {name: info, type: direct}\n"

static void test_filters(void **state)
{
    static const char *const yaml = "proxy-providers:\n"
                                    "  f:\n    type: inline\n    filter: 'JP`HK'\n" PAYLOAD
                                    "  x:\n    type: inline\n    exclude-filter: 'x1`info'\n" PAYLOAD
                                    "  t:\n    type: inline\n    exclude-type: SS|Direct\n" PAYLOAD
                                    "  a:\n    type: inline\n    exclude-type: Shadowsocks\n" PAYLOAD
                                    "  n:\n    type: inline\n    filter: nothing\n" PAYLOAD
                                    "  b:\n    type: inline\n    filter: '(HK'\n" PAYLOAD;
    char buf[512];
    struct loaded l;

    load(&l, yaml);
    assert_string_equal(members(&l, "f", buf), "JP 1,HK 1,HK 2 x1.5");
    assert_string_equal(members(&l, "x", buf), "HK 1,JP 1");
    assert_string_equal(members(&l, "t", buf), "JP 1");
    assert_string_equal(members(&l, "a", buf), "JP 1,info");
    assert_string_equal(members(&l, "n", buf), "");
    assert_string_equal(members(&l, "b", buf), "HK 1,JP 1,HK 2 x1.5,info");
    said_at(&l, "bad-regex", "\"b\": filter", yaml, "'(HK'");
    assert_int_equal(said(&l, "unknown-target", "\"n\": no entry of its content is usable"), 1);
    unload(&l);
}

static void test_override(void **state)
{
    static const char *const yaml = "proxies:\n" ENTRY("way")
                                    "proxy-providers:\n"
                                    "  o:\n    type: inline\n    dialer-proxy: nobody\n"
                                    "    override:\n"
                                    "      udp: true\n"
                                    "      dialer-proxy: way\n"
                                    "      skip-cert-verify: null\n"
                                    "      ip-version: ipv4\n"
                                    "      proxy-name:\n"
                                    "        - {pattern: '^(\\w+) (\\d)', target: '${2}@$1'}\n"
                                    "        - {pattern: ' x[0-9.]+$', target: ''}\n"
                                    "        - {pattern: '(', target: x}\n"
                                    "        - {target: x}\n"
                                    "      additional-prefix: '[o] '\n"
                                    "      additional-suffix: '!'\n" PAYLOAD
                                    "  d:\n    type: inline\n    dialer-proxy: way\n    override: {udp: 'yes', up: 10}\n"
                                    "    payload: [{name: z, type: socks5, server: h, port: 1}]\n";
    const struct out_provider *p;
    char buf[512];
    struct loaded l;

    load(&l, yaml);
    assert_string_equal(members(&l, "o", buf), "[o] 1@HK!,[o] 1@JP!,[o] 2@HK!,[o] info!");
    p = provider(&l, "o");
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(p->members[i]->udp); /* also where the entry says no, in its own spelling */
        assert_ptr_equal(p->members[i]->via, out_find(l.s, "way"));
        assert_int_equal(p->members[i]->family, 1);
    }
    said_at(&l, "bad-regex", "proxy-name", yaml, "'(', target");
    said_at(&l, "missing-key", "proxy-name needs pattern", yaml, "{target: x}");
    said_at(&l, "bad-value", "\"d\": udp: \"yes\"", yaml, "'yes'");
    assert_ptr_equal(provider(&l, "d")->members[0]->via, out_find(l.s, "way"));
    assert_false(provider(&l, "d")->members[0]->udp);
    assert_int_equal(l.d.n, 3);
    unload(&l);
}

/* ---- paths ---- */

static void test_paths_that_lead_out(void **state)
{
    static const char *const yaml = "proxy-providers:\n"
                                    "  up: {type: file, path: ../secret.yaml}\n"
                                    "  down-up: {type: file, path: proxies/../../secret.yaml}\n"
                                    "  root: {type: file, path: /etc/passwd}\n"
                                    "  link: {type: file, path: proxies/link.yaml}\n"
                                    "  http: {type: http, url: 'https://example.com/h', path: /etc/cron.d/x}\n"
                                    "  twin: {type: http, url: 'https://example.com/1', path: proxies/same}\n"
                                    "  twin2: {type: http, url: 'https://example.com/2', path: proxies/same}\n"
                                    "  none: {type: file}\n"
                                    "  default: {type: file, path: proxies/a.yaml}\n"
                                    "  type: {type: htttp}\n";
    char buf[512], inside[256];
    struct loaded l;

    load(&l, yaml);
    said_at(&l, "unsafe-path", "\"up\"", yaml, "../secret.yaml");
    said_at(&l, "unsafe-path", "\"down-up\"", yaml, "proxies/../../secret.yaml");
    said_at(&l, "unsafe-path", "\"root\"", yaml, "/etc/passwd");
    said_at(&l, "unsafe-path", "\"link\": proxies/link.yaml leads out of the state directory by a link", yaml, "proxies/link.yaml");
    said_at(&l, "unsafe-path", "\"http\"", yaml, "/etc/cron.d/x");
    said_at(&l, "unsafe-path", "is the file of provider \"twin\"", yaml, "proxies/same}\n  none");
    said_at(&l, "missing-key", "\"none\": a file provider needs a path", yaml, "none: {");
    said_at(&l, "bad-value", "\"default\": this name is reserved", yaml, "default: {");
    said_at(&l, "unknown-type", "\"type\": unknown type \"htttp\"; it can be http, file or inline; did you mean \"http\"?", yaml, "htttp");
    assert_int_equal(strncmp(provider(&l, "http")->path, "proxies/", 8), 0);
    assert_string_not_equal(provider(&l, "twin2")->path, "proxies/same");
    assert_null(provider(&l, "up")->path);
    unload(&l);

    write_file("proxies/in.yaml", "proxies:\n" ENTRY("in"));
    snprintf(inside, sizeof(inside), "proxy-providers: {p: {type: file, path: %s/./proxies/../proxies/in.yaml}}\n", dir); /* absolute and inside is fine */
    load(&l, inside);
    assert_string_equal(members(&l, "p", buf), "in");
    assert_int_equal(l.d.n, 0);
    unload(&l);

    env.state_dir = NULL; /* nowhere: nothing is read, and nothing is fatal */
    load(&l, yaml);
    assert_int_equal(l.d.n_errors, 0);
    unload(&l);
    env.state_dir = dir;
}

/* Members with the line of their entry; one that cannot be dialled says so where its provider stands. */
static void test_where_messages_stand(void **state)
{
    static const char *const yaml = "proxy-providers:\n"
                                    "  in:\n"
                                    "    type: inline\n"
                                    "    payload:\n"
                                    "      - {name: a, type: vless, server: h, port: 1, uuid: u, flow: xtls-rprx-vision}\n"
                                    "      - {name: b, type: ss, server: h, port: x, cipher: aes-128-gcm, password: x}\n"
                                    "      - {name: c, type: socks5, server: h, port: 1, dialer-proxy: gone}\n"
                                    "  out: {type: file, path: proxies/w.yaml}\n";
    struct loaded l;

    write_file("proxies/w.yaml", "proxies:\n" ENTRY("a") "  - {name: v, type: vless, server: h, port: 1, uuid: u, flow: xtls-rprx-vision}\n"
                                 "  - {name: d, type: socks5, server: h, port: 1, dialer-proxy: gone}\n");
    load(&l, yaml);
    said_at(&l, "unsupported-proxy", "\"a\" (vless)", yaml, "{name: a");
    said_at(&l, "bad-value", "\"b\": port", yaml, "x, cipher");
    said_at(&l, "unknown-target", "\"c\" cannot be dialled", yaml, "gone}");
    said_at(&l, "unsupported-proxy", "proxies/w.yaml:3:5: proxy \"v\"", yaml, "out: {");
    said_at(&l, "unknown-target", "\"d\" cannot be dialled", yaml, "out: {");
    assert_string_equal(the_one(&l, "bad-value", "port")->path, "proxy-providers.in[1]");
    unload(&l);
}

/* What a provider says of all its members is judged where it stands, and not once more for each. */
static void test_override_is_told_once(void **state)
{
    static const char *const yaml = "proxies:\n" ENTRY("way")
                                    "proxy-providers:\n"
                                    "  p:\n"
                                    "    type: inline\n"
                                    "    override: {routing-mark: 7, tfo: x, dialer-proxy: wya}\n"
                                    "    payload:\n"
                                    "      - {name: a, type: socks5, server: h, port: 1}\n"
                                    "      - {name: b, type: socks5, server: h, port: 1}\n"
                                    "  off: {type: inline, override: {routing-mark: 0}, payload: [{name: c, type: direct}]}\n";
    struct loaded l;

    load(&l, yaml);
    assert_int_equal(provider(&l, "p")->members[1]->mark, 7);
    said_at(&l, "bad-value", "\"p\": tfo: \"x\"", yaml, "x, dialer");
    said_at(&l, "unknown-target", "\"a\" cannot be dialled: its dialer-proxy \"wya\" does not exist; did you mean \"way\"?", yaml, "wya");
    said_at(&l, "unknown-target", "\"b\" cannot be dialled", yaml, "{name: b"); /* one place, one message */
    assert_string_equal(provider(&l, "p")->members[0]->why, "its dialer-proxy \"wya\" does not exist");
    assert_int_equal(l.d.n, 3);
    unload(&l);
}

/* By which way packets leave the machine is for its owner to say, not for whoever writes lists of nodes. */
static void test_a_strangers_node_chooses_no_way_out(void **state)
{
#define WAYS "interface-name: lo, routing-mark: 9"
    static const char *const yaml = "proxies:\n- {name: n, type: socks5, server: h, port: 1, " WAYS "}\n"
                                    "proxy-providers:\n"
                                    "  in: {type: inline, payload: [{name: a, type: socks5, server: h, port: 1, " WAYS "}]}\n"
                                    "  out: {type: file, path: proxies/ways.yaml}\n"
                                    "  over: {type: file, path: proxies/ways.yaml, override: {" WAYS ", additional-prefix: x}}\n";

    write_file("proxies/ways.yaml", "proxies:\n- {name: b, type: socks5, server: h, port: 1, Interface_Name: lo, routing-mark: 8}\n");
    for (int foreign = 0; foreign < 2; foreign++) {
        const struct outbound *by[4];
        struct loaded l;

        load_of(&l, yaml, foreign);
        by[0] = out_find(l.s, "n");
        by[1] = provider(&l, "in")->members[0];
        by[2] = provider(&l, "over")->members[0];
        by[3] = provider(&l, "out")->members[0];
        for (int i = 0; i < 4; i++) {
            assert_null(by[i]->why);
            if (foreign || i == 3)
                assert_true(!by[i]->interface && !by[i]->mark);
            else
                assert_true(!strcmp(by[i]->interface, "lo") && by[i]->mark == 9);
        }
        assert_int_equal(said(&l, "locked-key", "interface-name may not"), foreign ? 2 : 0);
        assert_int_equal(said(&l, "locked-key", "routing-mark may not"), foreign ? 2 : 0);
        unload(&l);
    }
}

/* Content of strangers is bounded in all. */
static void test_too_much_content(void **state)
{
    char *text = malloc(17 << 20);
    struct loaded l;

    memset(text, ' ', (17 << 20) - 1);
    text[(17 << 20) - 1] = 0;
    memcpy(text, "proxies: []", 11);
    write_file("proxies/big.yaml", text);
    load(&l, "proxy-providers: {p: {type: file, path: proxies/big.yaml}}\n");
    assert_int_equal(said(&l, "missing-data", "proxies/big.yaml cannot be read"), 1);
    unload(&l);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_of_every_kind),
        cmocka_unit_test(test_no_content_yet),
        cmocka_unit_test(test_no_url),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_override),
        cmocka_unit_test(test_paths_that_lead_out),
        cmocka_unit_test(test_where_messages_stand),
        cmocka_unit_test(test_override_is_told_once),
        cmocka_unit_test(test_a_strangers_node_chooses_no_way_out),
        cmocka_unit_test(test_too_much_content),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
