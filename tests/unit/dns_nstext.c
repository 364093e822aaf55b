/*
 * dns_nstext.c - texts of name servers as profiles have them, and as they should not
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dns/msg.h"
#include "dns/ns_text.h"

static void what_profiles_write(void **state)
{
    static const struct {
        const char *text;
        enum ns_kind kind;
        const char *host;
        uint16_t port;
        bool by_addr;
        const char *path, *via;
    } all[] = {
        { "8.8.8.8", NS_UDP, "8.8.8.8", 53, true, "", "" },
        { "8.8.8.8:5353", NS_UDP, "8.8.8.8", 5353, true, "", "" },
        { "240C::6666", NS_UDP, "240C::6666", 53, true, "", "" },
        { "[240C::6666]:54", NS_UDP, "240C::6666", 54, true, "", "" },
        { "dns.Example.com", NS_UDP, "dns.example.com", 53, false, "", "" },
        { "router", NS_UDP, "router", 53, false, "", "" },
        { "tcp:53", NS_UDP, "tcp", 53, false, "", "" }, /* a machine of that name */
        { "1dot1dot1dot1.cloudflare-dns.com.", NS_UDP, "1dot1dot1dot1.cloudflare-dns.com", 53, false, "", "" },
        { "tls://_dns.4.test-9:10", NS_TLS, "_dns.4.test-9", 10, false, "", "" },
        { "\xe4\xbe\x8b.test", NS_UDP, "\xe4\xbe\x8b.test", 53, false, "", "" },
        { "8.8.8.8/24", NS_UDP, "8.8.8.8", 53, true, "", "" }, /* as others take it */
        { "udp://1.1.1.1", NS_UDP, "1.1.1.1", 53, true, "", "" },
        { "TCP://1.1.1.1:54", NS_TCP, "1.1.1.1", 54, true, "", "" },
        { "tls://dns.google", NS_TLS, "dns.google", 853, false, "", "" },
        { "tls://[2001:4860:4860::8888]:8853", NS_TLS, "2001:4860:4860::8888", 8853, true, "", "" },
        { "tls://dns.google:853#Proxy", NS_TLS, "dns.google", 853, false, "", "Proxy" },
        { "https://1.1.1.1/dns-query", NS_HTTPS, "1.1.1.1", 443, true, "/dns-query", "" },
        { "https://doh.pub", NS_HTTPS, "doh.pub", 443, false, "/dns-query", "" },
        { "https://doh.pub:8443/a/b?c=d#RULES&h3=true", NS_HTTPS, "doh.pub", 8443, false, "/a/b?c=d", "RULES" },
        { "https://dns.alidns.com/dns-query#h3=true&Proxy", NS_HTTPS, "dns.alidns.com", 443, false, "/dns-query", "Proxy" },
        { "http://10.0.0.1/q", NS_HTTP, "10.0.0.1", 80, true, "/q", "" },
        { "quic://dns.adguard.com:784", NS_TLS, "dns.adguard.com", 853, false, "", "" },
        { "8.8.8.8#\xf0\x9f\x9a\x80 Node%20A", NS_UDP, "8.8.8.8", 53, true, "", "\xf0\x9f\x9a\x80 Node A" },
        { "8.8.8.8#100%", NS_UDP, "8.8.8.8", 53, true, "", "100%" },
        { "system", NS_SYSTEM, "", 0, false, "", "" },
        { "system://", NS_SYSTEM, "", 0, false, "", "" },
        { "dhcp://system", NS_SYSTEM, "", 0, false, "", "" },
        { "dhcp://eth0", NS_DHCP, "eth0", 0, false, "", "" },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct ns_spec n;
        const char *wrong = ns_parse(all[i].text, &n);

        if (wrong || n.kind != all[i].kind || strcmp(n.host, all[i].host) != 0 || n.port != all[i].port ||
            (n.ip.ver != 0) != all[i].by_addr || strcmp(n.path, all[i].path) != 0 || strcmp(n.via, all[i].via) != 0)
            fail_msg("%s: %s; kind %d host %s port %u path %s via %s", all[i].text, wrong ? wrong : "good", n.kind, n.host, n.port, n.path,
                     n.via);
    }
}

static void options_behind_the_hash(void **state)
{
    struct ns_spec n;

    assert_null(ns_parse("https://1.1.1.1/dns-query#Proxy&h3=true&skip-cert-verify=true&ecs=192.0.2.0/"
                         "24&ecs-override=true&disable-ipv6=true&disable-qtype-65=true&unknown=1",
                         &n));
    assert_string_equal(n.via, "Proxy");
    assert_true(n.h3 && n.skip_cert_verify && !n.disable_reuse && !n.quic);
    assert_int_equal(n.ecs.len, 24);
    assert_int_equal(n.n_disabled, 2);
    assert_int_equal(n.disabled[0], T_AAAA);
    assert_int_equal(n.disabled[1], T_HTTPS);
    assert_null(ns_parse("tls://1.1.1.1#disable-reuse=true&disable-ipv4=true&disable-ipv6=false&ecs=2001:db8::1", &n));
    assert_true(n.disable_reuse);
    assert_int_equal(n.n_disabled, 1);
    assert_int_equal(n.ecs.len, 128);
    assert_null(ns_parse("1.1.1.1#disable-qtype-1=true&disable-ipv4=true&disable-qtype-0=true&disable-qtype-41=true"
                         "&disable-qtype-65536=true&disable-qtype-x=true&disable-qtype-16=false",
                         &n)); /* twice is once; what is no type is left alone, and OPT is none */
    assert_int_equal(n.n_disabled, 1);
    assert_null(ns_parse("quic://1.1.1.1", &n));
    assert_true(n.quic);
    assert_null(ns_parse("https://user%40x:pa%3Ass@dns.test/q", &n));
    assert_string_equal(n.user, "user@x:pa:ss");
    assert_string_equal(n.host, "dns.test");
}

static void codes_instead_of_servers(void **state)
{
    static const struct {
        const char *text;
        int rcode;
    } all[] = { { "rcode://success", 0 },    { "rcode://format_error", 1 },    { "rcode://server_failure", 2 },
                { "rcode://name_error", 3 }, { "rcode://not_implemented", 4 }, { "RCODE://Refused", 5 } };
    struct ns_spec n;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_null(ns_parse(all[i].text, &n));
        assert_int_equal(n.kind, NS_RCODE);
        assert_int_equal(n.rcode, all[i].rcode);
    }
}

static void what_is_no_server(void **state)
{
    static const char *const bad[] = { "",
                                       "#Proxy",
                                       "ftp://1.1.1.1",
                                       "tls://",
                                       "https:///dns-query",
                                       "rcode://",
                                       "rcode://maybe",
                                       "dhcp://",
                                       "a..b",
                                       "a b",
                                       "1.1.1.1:",
                                       "1.1.1.1:99999",
                                       "[::1",
                                       "tls://:853",
                                       "dhcp://a/b",
                                       "8.8.8.8#ecs=nonsense",
                                       "dhcp://an-interface-name-that-is-too-long",
                                       "ts://node",
                                       "::::",
                                       "1.2.3",
                                       "256.1.1.1",
                                       "8.8.8.8.8",
                                       "8.8.8.8.",
                                       "08.8.8.8",
                                       "tls://1.1.1.1:853:853",
                                       "1.1.1.1:0",
                                       "[::1]:0",
                                       "0.0.0.0",
                                       "[::]:53",
                                       "255.255.255.255",
                                       "tcp://224.0.0.251",
                                       "[ff02::fb]",
                                       "fe80::1%eth0",
                                       "8.8.8.8,1.1.1.1",
                                       "8.8.8.8 8.8.4.4",
                                       "udp:1.1.1.1",
                                       "tls:1.1.1.1:853",
                                       "https:/1.1.1.1/dns-query",
                                       "-",
                                       "*",
                                       "*.dns.test",
                                       "https://<host>/dns-query",
                                       "8.8.8.8#disable-qtype-1=true&disable-qtype-2=true&disable-qtype-3=true&disable-qtype-4=true"
                                       "&disable-qtype-5=true&disable-qtype-6=true&disable-qtype-7=true&disable-qtype-8=true&"
                                       "disable-qtype-9=true" };
    char text[2000] = "";
    struct ns_spec n;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (!ns_parse(bad[i], &n))
            fail_msg("%s was taken for a server", bad[i]);
    memset(text, 'x', sizeof(text) - 1);
    assert_non_null(ns_parse(text, &n));
    memcpy(text, "https://a/", 10);
    text[1000] = 0;
    assert_non_null(ns_parse(text, &n)); /* a path that is too long */
    memcpy(text, "8.8.8.8#xx", 10);
    assert_non_null(ns_parse(text, &n)); /* a way that is too long */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_profiles_write),
        cmocka_unit_test(options_behind_the_hash),
        cmocka_unit_test(codes_instead_of_servers),
        cmocka_unit_test(what_is_no_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
