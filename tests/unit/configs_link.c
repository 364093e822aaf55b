/*
 * configs_link.c - share links: every scheme in its spellings, bodies plain and in base64, names, broken lines
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "configs/config.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* ---- an entry as one line of text ---- */

static void show(const struct cfg_node *n, char *buf, size_t size)
{
    size_t at = strlen(buf);

    if (n->kind == CFG_SCALAR) {
        snprintf(buf + at, size - at, n->quoted ? "%s" : "<%s>", n->text);
        return;
    }
    snprintf(buf + at, size - at, n->kind == CFG_MAP ? "{" : "[");
    for (const struct cfg_node *c = n->child; c; c = c->next) {
        at = strlen(buf);
        snprintf(buf + at, size - at, "%s%s%s", c == n->child ? "" : " ", c->key ? c->key->text : "", c->key ? "=" : "");
        show(c, buf, size);
    }
    at = strlen(buf);
    snprintf(buf + at, size - at, n->kind == CFG_MAP ? "}" : "]");
}

static void base64(const char *text, char *out)
{
    EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)text, (int)strlen(text));
}

/* The only entry that a body gives. */
static void assert_entry(const char *body, const char *want)
{
    struct diag d;
    struct cfg_doc *doc;
    char got[4096] = "";

    diag_init(&d, "links", body, strlen(body), false);
    doc = link_parse(body, strlen(body), &d);
    if (!doc)
        diag_print(&d, stderr, false);
    assert_non_null(doc);
    assert_int_equal(cfg_get(cfg_root(doc), "proxies")->n, 1);
    show(cfg_get(cfg_root(doc), "proxies")->child, got, sizeof(got));
    assert_string_equal(got, want);
    assert_int_equal(d.n, 0);
    assert_true(link_looks_like(body, strlen(body)));
    cfg_doc_free(doc);
    diag_fini(&d);
}

#define UUID "b831381d-6324-4d53-ad4f-8cda48b30811"

/* In `link`, what stands in <> is put in base64. */
static const struct { const char *link, *entry; } cases[] = {
    /* ss: SIP002, plain, the whole in base64 */
    { "ss://<aes-256-gcm:pa:ss>@h.example:8388#n", "{name=n type=ss server=h.example port=8388 cipher=aes-256-gcm password=pa:ss udp=<true>}" },
    { "ss://YWVzLTI1Ni1nY206cGFzcw@1.2.3.4:1#n", "{name=n type=ss server=1.2.3.4 port=1 cipher=aes-256-gcm password=pass udp=<true>}" },
    { "ss://aes-128-gcm:a%40b%2Fc@[2001:db8::1]:8388/#n", "{name=n type=ss server=2001:db8::1 port=8388 cipher=aes-128-gcm password=a@b/c udp=<true>}" },
    { "ss://<chacha20-ietf-poly1305:p@ss@h.example:443>#n",
      "{name=n type=ss server=h.example port=443 cipher=chacha20-ietf-poly1305 password=p@ss udp=<true>}" },
    { "ss://2022-blake3-aes-128-gcm:AAECAwQFBgcICQoLDA0ODw%3D%3D:AAECAwQFBgcICQoLDA0ODw%3D%3D@h:1#n",
      "{name=n type=ss server=h port=1 cipher=2022-blake3-aes-128-gcm password=AAECAwQFBgcICQoLDA0ODw==:AAECAwQFBgcICQoLDA0ODw== udp=<true>}" },
    { "ss://<none:>@h:1#n", "{name=n type=ss server=h port=1 cipher=none password= udp=<true>}" },
    { "ss://<aes-256-gcm:p>@h:1/?plugin=obfs-local%3Bobfs%3Dhttp%3Bobfs-host%3Dx.y&uot=1#n",
      "{name=n type=ss server=h port=1 cipher=aes-256-gcm password=p udp=<true> udp-over-tcp=<true> plugin=obfs plugin-opts={mode=http host=x.y}}" },
    { "ss://<aes-256-gcm:p>@h:1?plugin=v2ray-plugin%3Btls%3Bhost%3Dx.y%3Bpath%3D%2Fp#n",
      "{name=n type=ss server=h port=1 cipher=aes-256-gcm password=p udp=<true> plugin=v2ray-plugin plugin-opts={mode=websocket host=x.y path=/p tls=<true>}}" },
    { "ss://<aes-256-gcm:p>@h:1?plugin=shadow-tls;host=x.y;password=q;version=3#n",
      "{name=n type=ss server=h port=1 cipher=aes-256-gcm password=p udp=<true> plugin=shadow-tls plugin-opts={host=x.y password=q version=3}}" },
    { "ss://<aes-256-gcm:p>@h:1?plugin=strange;x=y#n", "{name=n type=ss server=h port=1 cipher=aes-256-gcm password=p udp=<true> plugin=strange}" },
    /* vmess: JSON and URL */
    { "vmess://<{\"ps\":\"n\",\"add\":\"h\",\"port\":\"443\",\"id\":\"" UUID "\",\"aid\":0,\"net\":\"ws\",\"host\":\"x.y\",\"path\":\"/p?ed=2048\",\"tls\":\"tls\",\"sni\":\"s\",\"alpn\":\"h2,http/1.1\"}>",
      "{name=n type=vmess server=h port=443 uuid=" UUID " alterId=0 cipher=auto udp=<true> packet-encoding=xudp tls=<true> servername=s "
      "alpn=[h2 http/1.1] network=ws ws-opts={path=/p?ed=2048 headers={Host=x.y}}}" },
    { "vmess://<{\"ps\":\"n\",\"add\":\"h\",\"port\":80,\"id\":\"i\",\"aid\":\"64\",\"scy\":\"none\",\"net\":\"tcp\",\"type\":\"http\",\"host\":\"a,b\",\"path\":\"/x\"}>",
      "{name=n type=vmess server=h port=80 uuid=i alterId=64 cipher=none udp=<true> packet-encoding=xudp network=http "
      "http-opts={path=[/x] headers={Host=[a b]}}}" },
    { "vmess://<{\"add\":\"h\",\"port\":80,\"id\":\"i\",\"net\":\"http\",\"host\":\"a\",\"path\":\"/x\"}>",
      "{name=h:80 type=vmess server=h port=80 uuid=i alterId=0 cipher=auto udp=<true> packet-encoding=xudp network=h2 h2-opts={path=/x host=[a]}}" },
    { "vmess://<{\"ps\":\"n\",\"add\":\"h\",\"port\":80,\"id\":\"i\",\"net\":\"grpc\",\"path\":\"svc\"}>",
      "{name=n type=vmess server=h port=80 uuid=i alterId=0 cipher=auto udp=<true> packet-encoding=xudp network=grpc grpc-opts={grpc-service-name=svc}}" },
    { "vmess://" UUID "@h:443?encryption=zero&security=tls&type=httpupgrade&path=%2Fa&host=x&ed=1#n",
      "{name=n type=vmess server=h port=443 uuid=" UUID " udp=<true> tls=<true> client-fingerprint=chrome network=ws "
      "ws-opts={path=/a headers={Host=x} v2ray-http-upgrade=<true> v2ray-http-upgrade-fast-open=<true>} packet-encoding=xudp alterId=0 cipher=zero}" },
    /* vless */
    { "vless://" UUID "@h:443?security=reality&sni=s&fp=firefox&pbk=KEY&sid=0a&flow=xtls-rprx-vision&encryption=none#n",
      "{name=n type=vless server=h port=443 uuid=" UUID " udp=<true> tls=<true> servername=s client-fingerprint=firefox "
      "reality-opts={public-key=KEY short-id=0a} packet-encoding=xudp flow=xtls-rprx-vision encryption=none}" },
    { "vless://" UUID "@h:80?type=ws&path=%2Fp%3Fed%3D1&host=x&ed=2048&eh=X-H&packetEncoding=packet#n",
      "{name=n type=vless server=h port=80 uuid=" UUID " udp=<true> network=ws ws-opts={path=/p?ed=1 headers={Host=x} max-early-data=2048 "
      "early-data-header-name=X-H} packet-encoding=packetaddr}" },
    { "vless://" UUID "@h:80?type=xhttp&path=%2Fp&host=x&mode=auto&packetEncoding=none#n",
      "{name=n type=vless server=h port=80 uuid=" UUID " udp=<true> network=xhttp xhttp-opts={path=/p host=x mode=auto} packet-encoding=none}" },
    { "vless://" UUID "@h:80?type=tcp&headerType=http&path=/a,/b#n",
      "{name=n type=vless server=h port=80 uuid=" UUID " udp=<true> network=http http-opts={path=[/a /b]} packet-encoding=xudp}" },
    /* trojan */
    { "trojan://p%3Aw@h:443?sni=s&allowInsecure=1&alpn=h2&type=grpc&serviceName=g#n",
      "{name=n type=trojan server=h port=443 password=p:w udp=<true> sni=s skip-cert-verify=<true> alpn=[h2] client-fingerprint=chrome network=grpc "
      "grpc-opts={grpc-service-name=g}}" },
    { "trojan://pw@h:443?peer=s#n", "{name=n type=trojan server=h port=443 password=pw udp=<true> sni=s client-fingerprint=chrome}" },
    /* over QUIC */
    { "hysteria2://user:pw@h:443/?insecure=1&sni=s&obfs=salamander&obfs-password=o&pinSHA256=AB&alpn=h3#n",
      "{name=n type=hysteria2 server=h port=443 password=user:pw obfs=salamander obfs-password=o sni=s skip-cert-verify=<true> alpn=[h3] fingerprint=AB}" },
    { "hy2://pw@h#n", "{name=n type=hysteria2 server=h port=443 password=pw}" },
    { "hy2://pw@h:443,5000-6000?up=10&down=20#n", "{name=n type=hysteria2 server=h port=443 ports=443,5000-6000 password=pw up=10 down=20}" },
    { "hysteria://h:443?auth=a&peer=s&insecure=true&upmbps=10&downmbps=20&alpn=hysteria&obfs=xplus&obfsParam=o&protocol=udp&mport=1-2#n",
      "{name=n type=hysteria server=h port=443 ports=1-2 auth-str=a protocol=udp obfs=o sni=s skip-cert-verify=<true> alpn=[hysteria] up=10 down=20}" },
    { "tuic://" UUID ":pw@h:443?congestion_control=bbr&alpn=h3&sni=s&disable_sni=1&udp_relay_mode=quic&allow_insecure=1#n",
      "{name=n type=tuic server=h port=443 uuid=" UUID " password=pw udp=<true> congestion-controller=bbr alpn=[h3] sni=s skip-cert-verify=<true> "
      "disable-sni=<true> udp-relay-mode=quic}" },
    { "tuic://tok@h:443#n", "{name=n type=tuic server=h port=443 token=tok udp=<true>}" },
    /* the rest */
    { "anytls://pw@h/?sni=s&insecure=1&hpkp=AB#n",
      "{name=n type=anytls server=h port=443 password=pw udp=<true> sni=s skip-cert-verify=<true> fingerprint=AB}" },
    { "ssr://<h.example:443:auth_aes128_md5:aes-256-cfb:tls1.2_ticket_auth:cHc/?obfsparam=eC55&protoparam=MTpr&remarks=bg&group=Zw>",
      "{name=n type=ssr server=h.example port=443 protocol=auth_aes128_md5 cipher=aes-256-cfb obfs=tls1.2_ticket_auth password=pw obfs-param=x.y "
      "protocol-param=1:k udp=<true>}" },
    { "ssr://<2001:db8::1:443:origin:none:plain:cHc>",
      "{name=2001:db8::1:443 type=ssr server=2001:db8::1 port=443 protocol=origin cipher=none obfs=plain password=pw udp=<true>}" },
    { "socks5://u:p@h:1080#n", "{name=n type=socks5 server=h port=1080 username=u password=p udp=<true>}" },
    { "socks://<u:p>@h#n", "{name=n type=socks5 server=h port=1080 username=u password=p udp=<true>}" },
    { "http://h:8080#n", "{name=n type=http server=h port=8080}" },
    { "HTTPS://u:p@h?sni=s#n", "{name=n type=http server=h port=443 username=u password=p tls=<true> sni=s}" },
    /* texts stay texts, broken escapes stay as they are */
    { "trojan://true@h:443#~", "{name=~ type=trojan server=h port=443 password=true udp=<true> client-fingerprint=chrome}" },
    { "trojan://a%zz%4@h:443#100%", "{name=100% type=trojan server=h port=443 password=a%zz%4 udp=<true> client-fingerprint=chrome}" },
    { "trojan://a%00b@h:443#%01%ff", "{name=\\x01\\xff type=trojan server=h port=443 password=a%00b udp=<true> client-fingerprint=chrome}" },
    { "trojan://a@h:443#%E9%A6%99%E6%B8%AF+%F0%9F%87%AD%F0%9F%87%B0",
      "{name=香港+🇭🇰 type=trojan server=h port=443 password=a udp=<true> client-fingerprint=chrome}" },
};

static void expand(const char *link, char *out)
{
    const char *open = strchr(link, '<'), *close = open ? strrchr(link, '>') : NULL;
    char inner[1024];

    if (!open) {
        strcpy(out, link);
        return;
    }
    snprintf(inner, sizeof(inner), "%.*s", (int)(close - open - 1), open + 1);
    sprintf(out, "%.*s", (int)(open - link), link);
    base64(inner, out + strlen(out));
    strcat(out, close + 1);
}

static void test_links(void **state)
{
    for (size_t i = 0; i < N(cases); i++) {
        char link[4096], body[8192], wrapped[8192] = "", *at = wrapped;

        expand(cases[i].link, link);
        assert_entry(link, cases[i].entry);
        base64(link, body); /* the whole once more in base64, in lines of 20 */
        for (const char *c = body; *c; c++) {
            *at++ = *c == '+' ? '-' : *c == '/' ? '_' : *c;
            if ((c - body) % 20 == 19)
                *at++ = '\n';
        }
        while (at[-1] == '=' || at[-1] == '\n')
            at--;
        *at = 0;
        assert_entry(body, cases[i].entry);
        assert_entry(wrapped, cases[i].entry);
    }
}

/* ---- bodies ---- */

static void test_lines_and_names(void **state)
{
    static const char body[] = "\xef\xbb\xbf# my nodes\r\n"
                               "\r\n"
                               "  trojan://a@h:1#A  \r\n"
                               "trojan://a@h:2#A\n"
                               "STATUS=all is well\n"
                               "wg://x@h:1#W\n"
                               "trojan://a@h:3#A-01\n"
                               "trojan://a@h:4#A\n"
                               "ss://???@h:1#B\n"
                               "vmess://e30=\n"
                               "vless://x@h#B\n"
                               "// end\n"
                               "hy2://x@h:1#B";
    static const struct { uint32_t line; const char *name; } want[] = { { 3, "A" }, { 4, "A-01" }, { 7, "A-01-01" }, { 8, "A-02" }, { 13, "B" } };
    static const struct { uint32_t line; const char *code, *text; } said[] = {
        { 5, "bad-value", "no share link" }, { 6, "unknown-type", "wg://" }, { 9, "bad-value", "method and a password" },
        { 10, "bad-value", "host and a port" }, { 11, "bad-value", "host and a port" },
    };
    const struct cfg_node *n;
    struct cfg_doc *doc;
    struct diag d;
    size_t i = 0;

    diag_init(&d, "links", body, sizeof(body) - 1, false);
    doc = link_parse(body, sizeof(body) - 1, &d);
    assert_non_null(doc);
    for (n = cfg_first(cfg_get(cfg_root(doc), "proxies")); n; n = n->next, i++) {
        assert_string_equal(cfg_get(n, "name")->text, want[i].name);
        assert_int_equal(n->line, want[i].line);
        assert_int_equal(cfg_get(n, "port")->line, want[i].line);
        assert_int_equal(cfg_get(n, "port")->key->line, want[i].line);
    }
    assert_int_equal(i, N(want));
    assert_int_equal(d.n, N(said));
    for (i = 0; i < N(said); i++) {
        assert_int_equal(d.items[i].line, said[i].line);
        assert_string_equal(d.items[i].code, said[i].code);
        assert_non_null(strstr(d.items[i].message, said[i].text));
    }
    cfg_doc_free(doc);
    diag_fini(&d);
}

static void test_no_secret_is_shown(void **state)
{
    static const char *const links[] = { "ss://SECRETnothing@h:1", "vmess://SECRETSECRET==", "ssr://SECRETSECRET", "SECRET line", "trojan://SECRET@h" };
    struct diag d;

    for (size_t i = 0; i < N(links); i++) {
        diag_init(&d, "links", links[i], strlen(links[i]), false);
        assert_null(link_parse(links[i], strlen(links[i]), &d));
        assert_int_equal(d.n_errors, 1); /* not one line is a link */
        for (size_t k = 0; k < d.n; k++)
            assert_null(strstr(d.items[k].message, "SECRET"));
        diag_fini(&d);
    }
}

static void test_what_is_no_list_of_links(void **state)
{
    static const char *const bodies[] = { "", "\n\n", "proxies:\n  - {name: a}\n", "{\"proxies\": []}", "aGVsbG8gd29ybGQ=", "abcd", "a: b # ss://x@h:1", "ss:/x" };
    char *big = malloc(3 << 20);
    struct diag d;

    for (size_t i = 0; i < N(bodies); i++)
        assert_false(link_looks_like(bodies[i], strlen(bodies[i])));
    memset(big, 'A', 3 << 20); /* base64 of zeros */
    assert_false(link_looks_like(big, 3 << 20));
    diag_init(&d, "links", big, 3 << 20, false);
    assert_null(link_parse(big, 3 << 20, &d));
    diag_fini(&d);
    free(big);
}

/* Long lists are looked at by their beginning, in base64 too; nothing in them costs more than its length. */
static void test_many_links(void **state)
{
    size_t n = 40000, at = 0, len;
    char *text = malloc(n * 64), *body = malloc(n * 96);
    struct cfg_doc *doc;
    struct diag d;

    for (size_t i = 0; i < n; i++)
        at += (size_t)sprintf(text + at, "trojan://pw@h:%zu?alpn=a,b#same\n", i % 65536);
    len = (size_t)EVP_EncodeBlock((unsigned char *)body, (unsigned char *)text, (int)at);
    assert_true(link_looks_like(text, at));
    assert_true(link_looks_like(body, len));
    diag_init(&d, "links", body, len, false);
    doc = link_parse(body, len, &d);
    assert_non_null(doc);
    assert_int_equal(cfg_get(cfg_root(doc), "proxies")->n, 32768);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.items[0].line, 32769);
    cfg_doc_free(doc);
    diag_fini(&d);

    memset(text, ',', 1 << 20); /* one link with a list of a million */
    memcpy(text, "trojan://pw@h:1?alpn=a", 22);
    diag_init(&d, "links", text, 1 << 20, false);
    doc = link_parse(text, 1 << 20, &d);
    assert_non_null(doc);
    cfg_doc_free(doc);
    diag_fini(&d);
    free(text);
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_lines_and_names),
        cmocka_unit_test(test_no_secret_is_shown),
        cmocka_unit_test(test_what_is_no_list_of_links),
        cmocka_unit_test(test_many_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
