/*
 * outbound_options.c - what many types say alike: values as they arrive in the structs that protocols are built on
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "outbound/options.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

struct given {
    struct cfg_doc *doc;
    struct diag d;
    struct opt_src s;
};

static void give(struct given *g, const char *yaml)
{
    diag_init(&g->d, "test.yaml", yaml, strlen(yaml), false);
    g->doc = cfg_parse(yaml, strlen(yaml), &g->d);
    assert_non_null(g->doc);
    g->s = (struct opt_src){ g->doc, cfg_root(g->doc), "proxies[0]", &g->d };
}

static void take(struct given *g)
{
    cfg_doc_free(g->doc);
    diag_fini(&g->d);
}

/* Reads yaml with fn into out; the result, and how many messages there were. */
static int reads(opt_read_fn *fn, const char *yaml, void *out, size_t size, struct given *g)
{
    memset(out, 0, size);
    give(g, yaml);
    return fn(out, &g->s);
}

/* ---- values ---- */

static void test_uuid(void **state)
{
    static const uint8_t want[16] = { 0xb8, 0x31, 0x38, 0x1d, 0x63, 0x24, 0x4d, 0x53, 0xad, 0x4f, 0x8c, 0xda, 0x48, 0xb3, 0x08, 0x11 };
    static const uint8_t mapped[16] = { 0xfe, 0xb5, 0x44, 0x31, 0x30, 0x1b, 0x52, 0xbb, 0xa6, 0xdd, 0xe1, 0xe9, 0x3e, 0x81, 0xbb, 0x9e };
    static const char *const same[] = { "b831381d-6324-4d53-ad4f-8cda48b30811", "B831381D-6324-4D53-AD4F-8CDA48B30811", "b831381d63244d53ad4f8cda48b30811",
                                        "{b831381d-6324-4d53-ad4f-8cda48b30811}", "urn:uuid:b831381d-6324-4d53-ad4f-8cda48b30811" };
    static const char *const others[] = { "", "b831381d-6324-4d53-ad4f-8cda48b3081", "b831381d_6324_4d53_ad4f_8cda48b30811", "b831381d-63244-d53-ad4f-8cda48b30811" };
    uint8_t got[16];

    for (size_t i = 0; i < N(same); i++) {
        assert_int_equal(opt_uuid(same[i], got), 0);
        assert_memory_equal(got, want, 16);
    }
    assert_int_equal(opt_uuid("example", got), 0); /* UUIDv5 of the nil name space: python3 uuid.uuid5(uuid.UUID(int=0), "example") */
    assert_memory_equal(got, mapped, 16);
    for (size_t i = 0; i < N(others); i++) {
        assert_int_equal(opt_uuid(others[i], got), 0);
        assert_int_equal(got[6] >> 4, 5);
        assert_int_equal(got[8] >> 6, 2);
    }
}

static void test_ranges(void **state)
{
    static const struct { const char *text; uint32_t n; uint16_t lo, hi; } good[] = {
        { "", 0 }, { "*", 0 }, { " * ", 0 }, { "80", 1, 80, 80 }, { "80-90", 1, 80, 90 }, { "90 - 80", 1, 80, 90 }, { "[1-2]/3, 4", 3, 1, 2 }, { "0-65535", 1, 0, 65535 }, { "1-[5]", 1, 1, 5 },
    };
    static const char *const bad[] = { "x", "1-", "-1", "1--2", "65536", "1,", "/1", "1 2", "*/1", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29" };
    struct opt_ranges r;

    for (size_t i = 0; i < N(good); i++) {
        assert_true(opt_ranges(good[i].text, &r));
        assert_int_equal(r.n, good[i].n);
        if (r.n) {
            assert_int_equal(r.v[0].lo, good[i].lo);
            assert_int_equal(r.v[0].hi, good[i].hi);
        }
    }
    for (size_t i = 0; i < N(bad); i++)
        assert_false(opt_ranges(bad[i], &r));
}

static void test_bandwidth(void **state)
{
    static const struct { const char *text; uint64_t bps; } good[] = {
        { "30", 30000000 }, { "30 Mbps", 30000000 }, { "30Mbps", 30000000 }, { "1 GBps", 8000000000 }, { "5 bps", 5 }, { "5Kbps", 5000 }, { "2 Tbps", 2000000000000 }, { "30 mbps", 30000000 },
    };
    static const char *const bad[] = { "", "fast", "-1", "30 M", "30 MB", "30 Mbps!", "99999999999999999999", "99999999999999 TBps" };
    uint64_t bps;

    for (size_t i = 0; i < N(good); i++) {
        assert_true(opt_bandwidth(good[i].text, &bps));
        assert_int_equal(bps, good[i].bps);
    }
    for (size_t i = 0; i < N(bad); i++)
        assert_false(opt_bandwidth(bad[i], &bps));
}

/* ---- TLS ---- */

#define PIN "AA:bb:CC:dd:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb"
#define KEY "ALjCsbAtIdxkNd4uCN6hFYN191Ht0WrdijV1-rd1pGI"

static void test_tls(void **state)
{
    struct given g;
    struct opt_tls t;

    assert_int_equal(reads(opt_tls_sni, "{name: x}", &t, sizeof(t), &g), 0);
    assert_true(!t.on && !t.skip_verify && !t.name && !t.has_alpn && !t.pinned && !t.reality && !t.ech && !t.fingerprint && !t.certificate);
    take(&g);
    assert_int_equal(reads(opt_tls_always, "{SNI: s.example, skip_cert_verify: true, alpn: [], client-fingerprint: Chrome120, fingerprint: '" PIN "'}", &t, sizeof(t), &g), 0);
    assert_true(t.on && t.skip_verify && t.has_alpn && t.pinned);
    assert_int_equal(t.alpn.n, 0); /* [] says: offer nothing */
    assert_string_equal(t.name, "s.example");
    assert_string_equal(t.fingerprint, "chrome120");
    assert_int_equal(t.pin[1], 0xbb);
    assert_int_equal(t.pin[31], 0xbb);
    assert_int_equal(g.d.n, 0);
    take(&g);
    assert_int_equal(reads(opt_tls_servername, "{tls: true, servername: s, sni: other, alpn: [h2, '', http/1.1], certificate: C, private-key: K}", &t, sizeof(t), &g), 0);
    assert_true(t.on);
    assert_string_equal(t.name, "s");
    assert_int_equal(t.alpn.n, 2);
    assert_string_equal(t.alpn.v[1], "http/1.1");
    assert_string_equal(t.private_key, "K");
    take(&g);
    assert_int_equal(reads(opt_tls_sni, "{fingerprint: chrome, alpn: h3}", &t, sizeof(t), &g), 0); /* a browser in the wrong place */
    assert_true(!t.pinned);
    assert_string_equal(t.fingerprint, "chrome");
    assert_int_equal(t.alpn.n, 1);
    assert_int_equal(g.d.n_warnings, 1);
    take(&g);
    assert_int_equal(reads(opt_tls_sni, "{client-fingerprint: netscape}", &t, sizeof(t), &g), 0);
    assert_null(t.fingerprint);
    assert_int_equal(g.d.n_warnings, 1);
    take(&g);
    assert_int_equal(reads(opt_tls_sni, "{client-fingerprint: none, servername: x}", &t, sizeof(t), &g), 0);
    assert_true(!t.fingerprint && !t.name);
    assert_int_equal(g.d.n, 0);
    take(&g);
}

static void test_reality_and_ech(void **state)
{
    struct given g;
    struct opt_tls t;

    assert_int_equal(reads(opt_tls_servername, "{reality-opts: {public-key: " KEY ", short-id: 0123, support-x25519mlkem768: true}}", &t, sizeof(t), &g), 0);
    assert_true(t.reality && t.reality_mlkem);
    assert_memory_equal(t.reality_key, "\x00\xb8\xc2\xb1", 4);
    assert_memory_equal(t.reality_id, "\x01\x23\0\0\0\0\0\0", 8); /* the text as written, not a number */
    take(&g);
    assert_int_equal(reads(opt_tls_servername, "{reality_opts: {Public_Key: " KEY "=, short-id: }}", &t, sizeof(t), &g), 0);
    assert_true(t.reality);
    take(&g);
    assert_int_equal(reads(opt_tls_servername, "{reality-opts: {}}", &t, sizeof(t), &g), 0); /* nothing is said: plain TLS */
    assert_false(t.reality);
    take(&g);
    assert_int_equal(reads(opt_tls_servername, "{reality-opts: {public-key: '', short-id: }}", &t, sizeof(t), &g), 0);
    assert_false(t.reality);
    take(&g);
    assert_int_equal(reads(opt_tls_servername, "{reality-opts: {short-id: ab}}", &t, sizeof(t), &g), -EINVAL);
    take(&g);
    assert_int_equal(reads(opt_tls_sni, "{ech-opts: {enable: true, config: AEn+DQ==, query-server-name: q}}", &t, sizeof(t), &g), 0);
    assert_true(t.ech);
    assert_int_equal(t.ech_len, 4);
    assert_string_equal(t.ech_query, "q");
    take(&g);
    assert_int_equal(reads(opt_tls_sni, "{ech-opts: {enable: false, config: '***'}}", &t, sizeof(t), &g), 0);
    assert_true(!t.ech && !t.ech_config);
    take(&g);
}

/* ---- transports ---- */

static void test_ws(void **state)
{
    static const struct { const char *path, *want; int64_t early; } paths[] = {
        { "/", "/", 0 }, { "p", "/p", 0 }, { "/p?ed=2048", "/p", 2048 }, { "/p?a=1&ed=2048", "/p?a=1", 2048 }, { "/p?ed=2048&a=1", "/p?a=1", 2048 },
        { "/p?need=1", "/p?need=1", 0 }, { "/p?ed=x", "/p?ed=x", 0 }, { "/p?ed=", "/p?ed=", 0 }, { "/ed=5", "/ed=5", 0 }, { "?ed=7", "/", 7 },
    };
    struct given g;
    struct opt_transport t;
    char yaml[256];

    for (size_t i = 0; i < N(paths); i++) {
        snprintf(yaml, sizeof(yaml), "{network: ws, ws-opts: {path: '%s'}}", paths[i].path);
        assert_int_equal(reads(opt_transport_vmess, yaml, &t, sizeof(t), &g), 0);
        assert_string_equal(t.ws.path, paths[i].want);
        assert_int_equal(t.ws.max_early_data, paths[i].early);
        assert_int_equal(t.ws.early_data_header != NULL, paths[i].early != 0);
        take(&g);
    }
    assert_int_equal(reads(opt_transport_trojan,
                           "{network: WS, ws-opts: {headers: {Host: h.example, X-N: 5, Bad Name: x, Ctl: \"a\\r\\nb\", Nul: }, max-early-data: '0x10', "
                           "early-data-header-name: X-Early, v2ray-http-upgrade: true, v2ray_http_upgrade_fast_open: true}}",
                           &t, sizeof(t), &g),
                     0);
    assert_int_equal(t.kind, OPT_NET_WS);
    assert_string_equal(t.ws.path, "/");
    assert_int_equal(t.ws.headers.n, 2);
    assert_string_equal(opt_header(&t.ws.headers, "HOST"), "h.example");
    assert_string_equal(opt_header(&t.ws.headers, "x-n"), "5");
    assert_null(opt_header(&t.ws.headers, "Ctl"));
    assert_int_equal(t.ws.max_early_data, 16);
    assert_string_equal(t.ws.early_data_header, "X-Early");
    assert_true(t.ws.http_upgrade && t.ws.fast_open);
    assert_int_equal(g.d.n_warnings, 2); /* two headers that cannot be sent */
    take(&g);
    assert_int_equal(reads(opt_transport_vmess, "{network: ws}", &t, sizeof(t), &g), 0);
    assert_string_equal(t.ws.path, "/");
    take(&g);
    assert_int_equal(reads(opt_transport_vmess, "{network: ws, ws-path: /old, ws-headers: {Host: x}}", &t, sizeof(t), &g), 0);
    assert_string_equal(t.ws.path, "/");
    assert_int_equal(g.d.n_warnings, 1);
    assert_string_equal(g.d.items[0].code, "leftover");
    take(&g);
}

static void test_other_transports(void **state)
{
    struct given g;
    struct opt_transport t;

    assert_int_equal(reads(opt_transport_vmess, "{network: http, http-opts: {method: POST, path: [a, /b], headers: {Connection: [keep-alive, close], Host: x}}}", &t, sizeof(t), &g), 0);
    assert_int_equal(t.kind, OPT_NET_HTTP);
    assert_string_equal(t.http.method, "POST");
    assert_int_equal(t.http.paths.n, 2);
    assert_string_equal(t.http.paths.v[0], "/a");
    assert_int_equal(t.http.headers.v[0].values.n, 2);
    take(&g);
    assert_int_equal(reads(opt_transport_vmess, "{network: http, http-opts: {path: []}}", &t, sizeof(t), &g), 0);
    assert_int_equal(t.http.paths.n, 1);
    assert_string_equal(t.http.method, "GET");
    take(&g);
    assert_int_equal(reads(opt_transport_vless, "{network: h2, h2-opts: {host: [a, b], path: x}}", &t, sizeof(t), &g), 0);
    assert_int_equal(t.h2.hosts.n, 2);
    assert_string_equal(t.h2.path, "/x");
    take(&g);
    assert_int_equal(reads(opt_transport_vless, "{network: h2, h2-opts: {}}", &t, sizeof(t), &g), 0);
    assert_string_equal(t.h2.hosts.v[0], "www.example.com");
    assert_string_equal(t.h2.path, "/");
    take(&g);
    assert_int_equal(reads(opt_transport_trojan, "{network: grpc, grpc-opts: {grpc-service-name: svc, ping-interval: 30}}", &t, sizeof(t), &g), 0);
    assert_string_equal(t.grpc.path, "/svc/Tun");
    assert_string_equal(t.grpc.user_agent, "grpc-go/1.36.0");
    assert_int_equal(t.grpc.ping_interval_s, 30);
    take(&g);
    assert_int_equal(reads(opt_transport_trojan, "{network: grpc}", &t, sizeof(t), &g), 0);
    assert_string_equal(t.grpc.path, "/GunService/Tun");
    take(&g);
    assert_int_equal(reads(opt_transport_trojan, "{network: grpc, grpc-opts: {grpc-service-name: /a/b}}", &t, sizeof(t), &g), 0);
    assert_string_equal(t.grpc.path, "/a/b");
    take(&g);
    assert_int_equal(reads(opt_transport_vless, "{network: xhttp, xhttp-opts: {path: x, host: h, mode: stream-up}}", &t, sizeof(t), &g), 0);
    assert_int_equal(t.xhttp.mode, 2);
    assert_string_equal(t.xhttp.path, "/x");
    take(&g);
    assert_int_equal(reads(opt_transport_vmess, "{network: xhttp}", &t, sizeof(t), &g), 0); /* not of this type */
    assert_int_equal(t.kind, OPT_NET_TCP);
    assert_int_equal(g.d.n_warnings, 1);
    take(&g);
    assert_int_equal(reads(opt_transport_vmess, "{network: kcp, ws-opts: nonsense}", &t, sizeof(t), &g), 0); /* only the chosen one is looked at */
    assert_int_equal(t.kind, OPT_NET_TCP);
    take(&g);
}

/* ---- the rest ---- */

static void test_common_and_smux(void **state)
{
    struct given g;
    struct opt_common c;

    assert_int_equal(reads(opt_common,
                           "{dialer-proxy: d, interface-name: eth0, routing-mark: '0xff', tfo: 1, mptcp: true, ip-version: IPv6-Prefer, "
                           "smux: {enabled: true, protocol: yamux, max-streams: 4, brutal-opts: {enabled: true, up: 10, down: 20 Mbps}}}",
                           &c, sizeof(c), &g),
                     0);
    assert_string_equal(c.dialer_proxy, "d");
    assert_int_equal(c.routing_mark, 255);
    assert_int_equal(c.family, OPT_V6_FIRST);
    assert_true(c.tfo && c.mptcp && c.smux.enabled && c.smux.brutal);
    assert_int_equal(c.smux.protocol, 2);
    assert_int_equal(c.smux.brutal_down, 20000000);
    take(&g);
    assert_int_equal(reads(opt_common, "{dialer-proxy: '', ip-version: ipv5}", &c, sizeof(c), &g), 0);
    assert_null(c.dialer_proxy);
    assert_int_equal(c.family, OPT_DUAL);
    assert_int_equal(g.d.n, 0);
    take(&g);
}

static void test_plugins(void **state)
{
    struct given g;
    struct opt_plugin p;

    assert_int_equal(reads(opt_plugin, "{plugin: obfs, plugin-opts: {mode: tls}}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.kind, OPT_OBFS);
    assert_int_equal(p.mode, 1);
    assert_string_equal(p.host, "bing.com");
    take(&g);
    assert_int_equal(reads(opt_plugin, "{plugin: v2ray-plugin, plugin-opts: {mode: websocket, tls: true, host: h, path: p, mux: false, headers: {A: b}, skip-cert-verify: true}}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.kind, OPT_V2RAY);
    assert_true(p.tls.on && p.tls.skip_verify && !p.mux);
    assert_string_equal(p.ws.path, "/p");
    assert_string_equal(opt_header(&p.ws.headers, "a"), "b");
    take(&g);
    assert_int_equal(reads(opt_plugin, "{plugin: gost-plugin, plugin-opts: {mode: websocket}}", &p, sizeof(p), &g), 0);
    assert_true(p.mux && !p.tls.on);
    take(&g);
    assert_int_equal(reads(opt_plugin, "{plugin: shadow-tls, plugin-opts: {host: h, password: x, version: 3, alpn: [h2]}}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.version, 3);
    assert_int_equal(p.tls.alpn.n, 1);
    take(&g);
    assert_int_equal(reads(opt_plugin, "{plugin: restls, plugin-opts: {host: h, password: x, version-hint: tls12, restls-script: s}}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.version, 12);
    take(&g);
    assert_int_equal(reads(opt_plugin, "{plugin: kcptun}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.kind, OPT_KCPTUN);
    take(&g);
    assert_int_equal(reads(opt_plugin, "{plugin: ''}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.kind, OPT_NO_PLUGIN);
    take(&g);
    assert_int_equal(reads(opt_snell_obfs, "{obfs-opts: {mode: shadow-tls, host: h}}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.kind, OPT_SHADOW_TLS);
    take(&g);
    assert_int_equal(reads(opt_snell_obfs, "{obfs-opts: {host: h}}", &p, sizeof(p), &g), 0);
    assert_int_equal(p.kind, OPT_NO_PLUGIN);
    take(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uuid),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_bandwidth),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_reality_and_ech),
        cmocka_unit_test(test_ws),
        cmocka_unit_test(test_other_transports),
        cmocka_unit_test(test_common_and_smux),
        cmocka_unit_test(test_plugins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
