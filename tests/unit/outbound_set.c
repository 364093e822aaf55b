/*
 * outbound_set.c - profiles to outbounds: what loads, what is reported, where groups lead
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/outbound_loaded.h"


static void test_builtins_and_global(void **state)
{
    static const struct { const char *name, *api; enum out_action action; } want[] = {
        { "DIRECT", "Direct", OUT_DIRECT },           { "REJECT", "Reject", OUT_REJECT },
        { "REJECT-DROP", "RejectDrop", OUT_REJECT_DROP }, { "PASS", "Pass", OUT_REJECT },
        { "COMPATIBLE", "Compatible", OUT_DIRECT },   { "PASS-RULE", "PassRule", OUT_REJECT },
    };
    struct loaded l;
    char buf[256];

    load(&l, "proxies:\n" SS("B") SS("A") "proxy-groups:\n  - {name: G, type: select, proxies: [A, DIRECT]}\n");
    for (size_t i = 0; i < N(want); i++) {
        struct outbound *o = out_find(l.s, want[i].name);

        assert_non_null(o);
        assert_string_equal(o->ops->api_type, want[i].api);
        assert_int_equal(o->ops->action, want[i].action);
        assert_ptr_equal(out_at(l.s, o->id), o);
    }
    assert_members(&l, "GLOBAL", (const char *[]){ "DIRECT", "REJECT", "B", "A", "G" }, 5);
    assert_string_equal(way(&l, "GLOBAL", buf), "GLOBAL > DIRECT");
    assert_int_equal(out_select(out_find(l.s, "GLOBAL"), "G"), 0);
    assert_string_equal(way(&l, "GLOBAL", buf), "GLOBAL > G > A");
    assert_int_equal(out_count(l.s), 6 + 2 + 1 + 1);
    assert_null(out_at(l.s, out_count(l.s)));
    assert_null(out_at(l.s, -1));
    assert_int_equal(l.d.n, 0);
    unload(&l);
}

static void test_own_global_replaces_ours(void **state)
{
    struct loaded l;

    load(&l, "proxies:\n" SS("A") "proxy-groups:\n  - {name: GLOBAL, type: select, proxies: [A]}\n");
    assert_members(&l, "GLOBAL", (const char *[]){ "A" }, 1);
    unload(&l);
}

static void test_choosing(void **state)
{
    struct loaded l;
    struct outbound *g;

    load(&l, "proxies:\n" SS("A") SS("B")
             "proxy-groups:\n"
             "  - {name: G, type: select, proxies: [A, B, PASS]}\n"
             "  - {name: D, type: select, proxies: [A, B], default-selected: B}\n"
             "  - {name: X, type: select, proxies: [A], default-selected: B}\n");
    g = out_find(l.s, "G");
    assert_string_equal(out_now(g)->name, "A");
    assert_int_equal(out_select(g, "PASS"), 0);
    assert_string_equal(out_now(g)->name, "PASS");
    assert_int_equal(out_select(g, "D"), -ENOENT);
    assert_int_equal(out_select(g, "nobody"), -ENOENT);
    assert_string_equal(out_now(g)->name, "PASS");
    assert_int_equal(out_select(out_find(l.s, "A"), "A"), -EINVAL);
    assert_null(out_now(out_find(l.s, "A")));
    assert_null(out_member(out_find(l.s, "A"), 0));
    assert_string_equal(out_now(out_find(l.s, "D"))->name, "B");
    assert_string_equal(out_now(out_find(l.s, "X"))->name, "A");
    assert_int_equal(said(&l, "unknown-target", "default-selected"), 1);
    unload(&l);
}

/* What cannot be dialled is reported once and shown with the reason, in its groups too; what makes no sense is in no group. Rules find both. */
static void test_unavailable_nodes(void **state)
{
    static const struct { const char *name, *entry, *code, *text; } cases[] = {
        { "vl", "type: vless, server: a, port: 1, uuid: x, encryption: mlkem768x25519plus.native.1rtt.k", "unsupported-proxy", "encryption" },
        { "re", "type: vless, server: a, port: 1, uuid: x, tls: true, reality-opts: {public-key: ALjCsbAtIdxkNd4uCN6hFYN191Ht0WrdijV1-rd1pGI}",
          "unsupported-proxy", "REALITY" },
        { "ec", "type: trojan, server: a, port: 1, password: x, ech-opts: {enable: true}", "unsupported-proxy", "ECH" },
        { "xh", "type: vless, server: a, port: 1, uuid: x, network: xhttp", "unsupported-proxy", "xhttp" },
        { "hy", "type: hysteria2, server: a, port: 1, password: x", "unsupported-proxy", "hysteria2" },
        { "no", "type: teleport, server: a", "unknown-type", "teleport" },
        { "sc", "type: ss, server: a, port: 1, cipher: lea-128-gcm, password: SECRETpw", "unsupported-proxy", "lea-128-gcm" },
        { "se", "type: ss, server: a, port: 1, cipher: 2022-blake3-aes-128-ccm, password: AAECAwQFBgcICQoLDA0ODw==", "unsupported-proxy", "2022" },
        { "sk", "type: ss, server: a, port: 1, cipher: 2022-blake3-aes-128-gcm, password: SECRETpw", "bad-value", "16 bytes in base64" },
        { "pl", "type: ss, server: a, port: 1, cipher: aes-128-gcm, password: SECRETpw, plugin: kcptun", "unsupported-proxy", "kcptun" },
        { "un", "type: ss, server: a, port: 1, cipher: rot13, password: SECRETpw", "bad-value", "rot13" },
        { "mi", "type: ss, server: a, port: 1, cipher: aes-128-gcm", "missing-key", "password" },
        { "po", "type: ss, server: a, port: 99999, cipher: aes-128-gcm, password: SECRETpw", "bad-value", "99999" },
        { "ce", "type: socks5, server: a, port: 1, tls: true, certificate: /etc/passwd, private-key: k", "bad-value", "neither PEM text nor a file" },
    };
    char yaml[8192] = "proxies:\n" SS("ok"), groups[256] = "proxy-groups:\n  - {name: G, type: select, proxies: [";
    const char *members[N(cases) + 1];
    size_t n = 0;
    struct loaded l;

    for (size_t i = 0; i < N(cases); i++) {
        snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "  - {name: %s, %s}\n", cases[i].name, cases[i].entry);
        snprintf(groups + strlen(groups), sizeof(groups) - strlen(groups), "%s, ", cases[i].name);
        if (!strcmp(cases[i].code, "unsupported-proxy"))
            members[n++] = cases[i].name;
    }
    members[n++] = "ok";
    strcat(strcat(yaml, groups), "ok]}\n");
    load(&l, yaml);
    assert_members(&l, "G", members, n);
    for (uint32_t i = 0; i < N(cases); i++) {
        struct outbound *o = out_find(l.s, cases[i].name);
        bool broken = strcmp(cases[i].code, "unsupported-proxy") != 0;
        struct pktsess *p;
        struct dial d = { 0 };

        assert_int_equal(said(&l, cases[i].code, cases[i].text), 1);
        assert_non_null(o);
        assert_non_null(strstr(o->why, broken && !strcmp(cases[i].name, "no") ? "type is unknown" : cases[i].text));
        assert_int_equal(o->id >= out_count(l.s), broken);
        assert_ptr_equal(out_at(l.s, o->id), o);
        assert_int_equal(o->ops->action, OUT_PROXY);
        assert_int_equal(out_dial(o, &d), -ERR_UNSUPPORTED);
        assert_int_equal(out_open_pkt(o, NULL, &p), -ERR_UNSUPPORTED);
        assert_int_equal(out_select(out_find(l.s, "G"), cases[i].name), broken ? -ENOENT : -ERR_UNSUPPORTED);
    }
    for (size_t i = 0; i < l.d.n; i++)
        assert_null(strstr(l.d.items[i].message, "SECRETpw"));
    unload(&l);
}

static void test_keys_in_any_spelling(void **state)
{
    struct loaded l;

    load(&l, "proxies:\n"
             "  - {name: A, type: SS, Server: h.example, PORT: '0x20c4', Cipher: AEAD_AES_128_GCM, Password: 123, udp: true}\n"
             "  - {name: B, type: socks5, server: 127.0.0.1, port: 1080, username: u, password: p, udp: 1}\n"
             "  - {name: C, type: direct}\n"
             "  - {name: D, type: reject}\n");
    assert_int_equal(l.d.n, 0);
    assert_true(out_find(l.s, "A")->udp);
    assert_int_equal(out_find(l.s, "A")->port, 8388);
    assert_string_equal(out_find(l.s, "A")->server, "h.example");
    assert_string_equal(out_find(l.s, "A")->ops->api_type, "Shadowsocks");
    assert_true(out_find(l.s, "B")->udp);
    assert_int_equal(out_find(l.s, "C")->ops->action, OUT_DIRECT);
    assert_int_equal(out_find(l.s, "D")->ops->action, OUT_REJECT);
    unload(&l);
}

static void test_ignored_options_are_named(void **state)
{
    struct loaded l;

    load(&l, "proxies:\n"
             "  - {name: A, type: ss, server: h, port: 1, cipher: aes-128-gcm, password: x, udp-over-tcp: true, interface-name: eth9, routing-mark: 7,\n"
             "     ip-version: ipv4, smux: {enabled: true}}\n"
             "  - {name: B, type: ss, server: h, port: 1, cipher: aes-128-gcm, password: x, ip-version: dual, tfo: true, mptcp: true, smux: {enabled: false}}\n");
    assert_int_equal(l.d.n, 1);
    assert_int_equal(said(&l, "unsupported-key", "\"A\": smux"), 1);
    assert_int_equal(out_find(l.s, "A")->mark, 7);
    assert_int_equal(out_count(l.s), 6 + 2 + 1);
    unload(&l);
}

static void test_empty_groups(void **state)
{
    static const char *const groups = "proxies:\n" SS("a") "  - {name: v, type: vless, server: h, port: 1}\n"
                                      "proxy-groups:\n"
                                      "  - {name: E, type: select, proxies: [v]}\n"
                                      "  - {name: F, type: select, proxies: [v], empty-fallback: a}\n"
                                      "  - {name: N, type: select}\n"
                                      "  - {name: B, type: select, proxies: [v], empty-fallback: E}\n";
    char strict[1024], buf[256];
    struct loaded l;

    load(&l, groups);
    assert_string_equal(way(&l, "E", buf), "E > COMPATIBLE");
    assert_string_equal(way(&l, "F", buf), "F > a");
    assert_string_equal(way(&l, "N", buf), "N > COMPATIBLE");
    assert_string_equal(way(&l, "B", buf), "B > COMPATIBLE");
    assert_int_equal(said(&l, "unknown-target", "no usable member"), 3);
    assert_int_equal(said(&l, "missing-key", "names no members"), 1);
    unload(&l);

    snprintf(strict, sizeof(strict), "tun: {enable: true, strict-route: true}\n%s", groups);
    load(&l, strict); /* strict: what lost its members must not go in clear */
    assert_string_equal(way(&l, "E", buf), "E > REJECT");
    assert_string_equal(way(&l, "F", buf), "F > a");
    unload(&l);
}

static void test_cycles_are_cut_and_shown(void **state)
{
    struct loaded l;
    char buf[256];

    load(&l, "proxy-groups:\n"
             "  - {name: self, type: select, proxies: [self, DIRECT]}\n"
             "  - {name: A, type: select, proxies: [B]}\n"
             "  - {name: B, type: select, proxies: [C, REJECT]}\n"
             "  - {name: C, type: select, proxies: [A, DIRECT]}\n"
             "  - {name: X, type: select, proxies: [Y]}\n"
             "  - {name: Y, type: select, proxies: [X]}\n");
    assert_int_equal(said(&l, "cycle", "self > self"), 1);
    assert_int_equal(said(&l, "cycle", "A > B > C > A"), 1);
    assert_int_equal(said(&l, "cycle", "X > Y > X"), 1);
    assert_string_equal(way(&l, "self", buf), "self > DIRECT");
    assert_string_equal(way(&l, "A", buf), "A > B > C > DIRECT");
    assert_string_equal(way(&l, "X", buf), "X > Y > COMPATIBLE");
    for (size_t i = 0; i < l.d.n; i++)
        if (!strcmp(l.d.items[i].code, "cycle"))
            assert_true(l.d.items[i].line >= 2 && l.d.items[i].column > 20); /* at the member that closes it */
    unload(&l);
}

static char *chain_of(unsigned n, bool closed)
{
    char *yaml = malloc(n * 80 + 100);
    size_t at = (size_t)sprintf(yaml, "proxy-groups:\n");

    for (unsigned i = 0; i < n; i++) {
        if (i + 1 < n)
            at += (size_t)sprintf(yaml + at, "  - {name: g%u, type: select, proxies: [g%u]}\n", i, i + 1);
        else
            at += (size_t)sprintf(yaml + at, "  - {name: g%u, type: select, proxies: [%s]}\n", i, closed ? "g0" : "REJECT");
    }
    return yaml;
}

static void test_ten_thousand_groups_deep(void **state)
{
    char *yaml = chain_of(10000, false);
    struct outbound *chain[OUT_CHAIN_MAX];
    struct loaded l;

    load(&l, yaml);
    assert_int_equal(l.d.n, 0);
    assert_int_equal(out_resolve(out_find(l.s, "g0"), NULL, chain), OUT_CHAIN_MAX);
    assert_string_equal(chain[0]->name, "g0");
    assert_string_equal(chain[OUT_CHAIN_MAX - 2]->name, "g6");
    assert_string_equal(chain[OUT_CHAIN_MAX - 1]->name, "REJECT"); /* where the profile leads, however long the way */
    unload(&l);
    free(yaml);

    yaml = chain_of(10000, true);
    load(&l, yaml);
    assert_int_equal(said(&l, "cycle", "g0 > g1 >"), 1);
    assert_int_equal(said(&l, "cycle", "more) > g9999 > g0"), 1);
    assert_int_equal(out_resolve(out_find(l.s, "g0"), NULL, chain), OUT_CHAIN_MAX);
    assert_string_equal(chain[OUT_CHAIN_MAX - 1]->name, "COMPATIBLE");
    unload(&l);
    free(yaml);
}

/* Graphs at random: after cutting, every way ends at a leaf. */
static void test_random_graphs_always_end(void **state)
{
    uint32_t x = 7;

    for (int round = 0; round < 200; round++) {
        char yaml[8192] = "proxy-groups:\n";
        unsigned n = 2 + (unsigned)round % 12;
        struct outbound *chain[OUT_CHAIN_MAX];
        struct loaded l;

        for (unsigned i = 0; i < n; i++) {
            size_t at = strlen(yaml);

            at += (size_t)sprintf(yaml + at, "  - {name: g%u, type: select, proxies: [", i);
            for (unsigned k = 0; k < 3; k++) {
                x = x * 1664525u + 1013904223u;
                at += (size_t)sprintf(yaml + at, "g%u, ", (x >> 16) % n);
            }
            sprintf(yaml + at, "DIRECT]}\n");
        }
        load(&l, yaml);
        for (unsigned i = 0; i < n; i++) {
            char name[16];

            sprintf(name, "g%u", i);
            assert_string_equal(chain[out_resolve(out_find(l.s, name), NULL, chain) - 1]->name, "DIRECT");
        }
        unload(&l);
    }
}

static void test_references_keep_the_set(void **state)
{
    struct loaded l;
    struct outbound *a;

    load(&l, "proxies:\n" SS("A"));
    a = out_get(out_find(l.s, "A"));
    out_set_put(l.s);
    assert_string_equal(a->name, "A"); /* name and options are still there */
    assert_string_equal(a->server, "h.example");
    out_put(a);
    diag_fini(&l.d);
}

static unsigned hints, clocks;

static void count_hint(void *arg, enum log_level level, enum log_sys sys, const char *line)
{
    hints += strstr(line, "never got an answer") != NULL;
    clocks += strstr(line, "check the clock of this machine") != NULL;
}

/* A server of 2022 falls silent when this machine's clock goes wrong, and it had answered, so nothing was said at all. */
static void test_a_clock_that_goes_wrong_after_answers(void **state)
{
    struct loaded l;
    struct outbound *a, *b, link;

    load(&l, "proxies:\n  - {name: A, type: ss, server: h, port: 1, cipher: 2022-blake3-aes-128-gcm, password: AAAAAAAAAAAAAAAAAAAAAA==}\n" SS("B"));
    a = out_find(l.s, "A");
    b = out_find(l.s, "B");
    link = (struct outbound){ .ops = a->ops, .env = a->env, .name = a->name, .origin = a, .clocked = true };
    log_threshold = LOG_SILENT;
    log_set_sink(count_hint, NULL, LOG_WARN);
    clocks = hints = 0;
    out_note_end(a, 10, 20, 0);
    for (int i = 0; i < 6; i++) {
        out_note_end(a, 10, 0, -ERR_EARLY);
        out_note_end(a, 10, 0, 0);
        if (i % 2)
            out_note_end(a, 10, 20, 0); /* an answer between them, of a flow that ends */
        else
            a->answered = true; /* or goes on */
    }
    out_note_end(a, 0, 0, -ECONNREFUSED); /* nothing was sent */
    assert_int_equal(clocks, 0);
    assert_null(out_hint(a));
    for (int i = 0; i < 6; i++)
        out_note_end(a, 10, 0, i % 2 ? -ERR_EARLY : -ERR_PROTO);
    assert_int_equal(clocks, 1);
    assert_int_equal(a->last_err, -ERR_UNANSWERED);
    assert_non_null(strstr(out_hint(a), "clock of this machine"));
    out_note_end(a, 10, 20, 0);
    assert_int_equal(a->last_err, 0);
    assert_null(out_hint(a));
    out_note_end(&link, 10, 20, 0); /* in a relay it is the same node */
    for (int i = 0; i < 3; i++)
        out_note_end(&link, 10, 0, -ERR_EARLY);
    assert_non_null(out_hint(a));
    out_note_end(b, 10, 20, 0);
    for (int i = 0; i < 6; i++)
        out_note_end(b, 10, 0, -ERR_EARLY); /* the older edition has no clock */
    assert_null(out_hint(b));
    assert_int_equal(clocks, 1);
    assert_int_equal(hints, 0);
    log_set_sink(NULL, NULL, LOG_SILENT);
    unload(&l);
}

static void test_silence_is_told_once_per_proxy(void **state)
{
    struct loaded l;
    struct outbound *a, *b;

    load(&l, "proxies:\n" SS("A") SS("B"));
    a = out_find(l.s, "A");
    b = out_find(l.s, "B");
    log_threshold = LOG_SILENT;
    log_set_sink(count_hint, NULL, LOG_WARN);
    out_note_end(a, 0, 0, 0);
    assert_int_equal(hints, 0);
    out_note_end(a, 100, 0, 0);
    out_note_end(a, 100, 0, 0);
    assert_int_equal(hints, 1);
    out_note_end(b, 100, 50, 0);
    out_note_end(b, 100, 0, 0); /* it did answer once: this silence has another reason */
    out_note_end(out_find(l.s, "DIRECT"), 100, 0, 0);
    assert_int_equal(hints, 1);
    assert_int_equal(a->up, 200);
    assert_int_equal(b->down, 50);
    log_set_sink(NULL, NULL, LOG_SILENT);
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtins_and_global),
        cmocka_unit_test(test_own_global_replaces_ours),
        cmocka_unit_test(test_choosing),
        cmocka_unit_test(test_unavailable_nodes),
        cmocka_unit_test(test_keys_in_any_spelling),
        cmocka_unit_test(test_ignored_options_are_named),
        cmocka_unit_test(test_empty_groups),
        cmocka_unit_test(test_cycles_are_cut_and_shown),
        cmocka_unit_test(test_ten_thousand_groups_deep),
        cmocka_unit_test(test_random_graphs_always_end),
        cmocka_unit_test(test_references_keep_the_set),
        cmocka_unit_test(test_silence_is_told_once_per_proxy),
        cmocka_unit_test(test_a_clock_that_goes_wrong_after_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
