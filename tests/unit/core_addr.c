/*
 * core_addr.c - addresses, endpoints, prefixes and host names: tables of text and meaning
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/addr.h"
#include "core/hash.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct addr A(const char *s) {
    struct addr a;

    if (addr_parse(s, &a) < 0)
        fail_msg("%s", s);
    return a;
}

static const struct {
    const char *in, *out; /* NULL: refused */
} texts[] = {
    { "1.2.3.4", "1.2.3.4" },
    { "0.0.0.0", "0.0.0.0" },
    { "255.255.255.255", "255.255.255.255" },
    { "::", "::" },
    { "::1", "::1" },
    { "2001:DB8::0:1", "2001:db8::1" },
    { "::ffff:1.2.3.4", "1.2.3.4" },
    { "::ffff:102:304", "1.2.3.4" },
    { "::1.2.3.4", "::1.2.3.4" },
    { "", NULL },
    { "1.2.3", NULL },
    { "1.2.3.4.5", NULL },
    { "256.1.1.1", NULL },
    { "1.2.3.4 ", NULL },
    { " 1.2.3.4", NULL },
    { "01.2.3.4x", NULL },
    { "[::1]", NULL },
    { "fe80::1%eth0", NULL },
    { ":::", NULL },
    { "1:2:3:4:5:6:7:8:9", NULL },
    { "example.com", NULL },
};

static void text_of_addresses(void **state)
{
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct addr a = { .ver = 99 };
        char buf[ADDR_STRLEN];
        int r = addr_parse(texts[i].in, &a);

        if ((r == 0) != (texts[i].out != NULL) || (r && (r != -EINVAL || a.ver != 99)))
            fail_msg("\"%s\": %d", texts[i].in, r);
        if (!r)
            assert_string_equal(addr_str(&a, buf), texts[i].out);
    }
    struct addr none = { 0 };
    char buf[ADDR_STRLEN];

    assert_string_equal(addr_str(&none, buf), "-");
    assert_false(addr_is_set(&none));
}

static const struct {
    const char *in, *out;
} prefixes[] = {
    { "10.1.2.3/8", "10.0.0.0/8" },
    { "10.1.2.3", "10.1.2.3/32" },
    { "1.2.3.4/0", "0.0.0.0/0" },
    { "1.2.3.255/31", "1.2.3.254/31" },
    { "1.2.3.255/25", "1.2.3.128/25" },
    { "2001:db8:ffff::1/33", "2001:db8:8000::/33" },
    { "::1", "::1/128" },
    { "::/0", "::/0" },
    { "::ffff:1.2.3.4/104", "1.0.0.0/8" },
    { "::ffff:1.2.3.4", "1.2.3.4/32" },
    { "::ffff:0:0/96", "0.0.0.0/0" },
    { "::ffff:1.2.3.4/64", NULL },
    { "1.2.3.4/33", NULL },
    { "1.2.3.4/", NULL },
    { "1.2.3.4/-1", NULL },
    { "1.2.3.4/+1", NULL },
    { "1.2.3.4/ 8", NULL },
    { "1.2.3.4/8x", NULL },
    { "1.2.3.4/99999999999", NULL },
    { "::/129", NULL },
    { "/8", NULL },
    { "10/8", NULL },
    { "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa/3", NULL },
};

static void text_of_prefixes(void **state)
{
    for (size_t i = 0; i < COUNT(prefixes); i++) {
        struct cidr c = { .len = 77 };
        char buf[ADDR_STRLEN], text[ADDR_STRLEN + 8];
        int r = cidr_parse(prefixes[i].in, &c);

        if ((r == 0) != (prefixes[i].out != NULL) || (r && (r != -EINVAL || c.len != 77)))
            fail_msg("\"%s\": %d", prefixes[i].in, r);
        if (r)
            continue;
        snprintf(text, sizeof(text), "%s/%u", addr_str(&c.ip, buf), c.len);
        assert_string_equal(text, prefixes[i].out);
    }
}

/* The twin compares bit by bit. */
static bool naive_contains(const struct cidr *c, const struct addr *a)
{
    if (c->ip.ver != a->ver)
        return false;
    for (unsigned i = 0; i < c->len; i++)
        if ((c->ip.b[i / 8] ^ a->b[i / 8]) & (0x80 >> i % 8))
            return false;
    return true;
}

static void prefixes_contain_what_a_naive_look_says(void **state)
{
    unsigned hits = 0;

    srand(1);
    for (int i = 0; i < 200000; i++) {
        bool six = rand() % 2;
        struct cidr c = { .ip.ver = six ? 6 : 4, .len = (uint8_t)(rand() % (six ? 129 : 33)) };
        struct addr a = { .ver = rand() % 8 ? c.ip.ver : 10 - c.ip.ver };
        size_t n = addr_len(&c.ip), flip = (size_t)rand() % (n * 8);

        for (size_t k = 0; k < n; k++)
            c.ip.b[k] = (uint8_t)(rand() >> 4);
        memcpy(a.b, c.ip.b, addr_len(&a) < n ? addr_len(&a) : n);
        a.b[flip / 8 % addr_len(&a)] ^= (uint8_t)(0x80 >> flip % 8);
        assert_int_equal(cidr_contains(&c, &a), naive_contains(&c, &a));
        hits += naive_contains(&c, &a);
    }
    assert_true(hits > 10000);
    assert_false(cidr_contains(&(struct cidr){ 0 }, &(struct addr){ 0 }));
}

enum { UNSPEC = 1, LOOP = 2, MULTI = 4, LINK = 8, PRIVATE = 16 };
static const struct {
    const char *a;
    unsigned is;
} kinds[] = {
    { "0.0.0.0", UNSPEC },
    { "::", UNSPEC },
    { "127.0.0.1", LOOP | PRIVATE },
    { "127.255.0.3", LOOP | PRIVATE },
    { "::1", LOOP | PRIVATE },
    { "::2", 0 },
    { "224.0.0.1", MULTI },
    { "239.255.255.250", MULTI },
    { "240.0.0.1", 0 },
    { "ff02::fb", MULTI },
    { "169.254.1.1", LINK | PRIVATE },
    { "169.253.1.1", 0 },
    { "fe80::1", LINK | PRIVATE },
    { "febf::1", LINK | PRIVATE },
    { "fec0::1", 0 },
    { "10.0.0.1", PRIVATE },
    { "172.16.0.1", PRIVATE },
    { "172.31.255.255", PRIVATE },
    { "172.32.0.1", 0 },
    { "192.168.1.1", PRIVATE },
    { "192.169.1.1", 0 },
    { "100.64.0.1", PRIVATE },
    { "100.128.0.1", 0 },
    { "fc00::1", PRIVATE },
    { "fdff::1", PRIVATE },
    { "fe00::1", 0 },
    { "8.8.8.8", 0 },
    { "2001:4860::8888", 0 },
    { "::ffff:10.0.0.1", PRIVATE },
    { "198.18.0.1", 0 },
};

static void kinds_of_addresses(void **state)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct addr a = A(kinds[i].a);
        unsigned is = (addr_is_unspecified(&a) ? UNSPEC : 0) | (addr_is_loopback(&a) ? LOOP : 0) | (addr_is_multicast(&a) ? MULTI : 0) |
                      (addr_is_link_local(&a) ? LINK : 0) | (addr_is_private(&a) ? PRIVATE : 0);

        if (is != kinds[i].is)
            fail_msg("%s: %u", kinds[i].a, is);
    }
    struct addr none = { 0 };

    assert_false(addr_is_unspecified(&none) || addr_is_loopback(&none) || addr_is_multicast(&none) || addr_is_private(&none));
}

static const struct {
    const char *in, *host; /* NULL: refused */
    unsigned port;
} hostports[] = {
    { "example.com:443", "example.com", 443 },
    { "example.com", "example.com", 0 },
    { "1.2.3.4:0", "1.2.3.4", 0 },
    { "[::1]:80", "::1", 80 },
    { "[::1]", "::1", 0 },
    { "::1", "::1", 0 },
    { "2001:db8::1:80", "2001:db8::1:80", 0 },
    { "a:65535", "a", 65535 },
    { "a:65536", NULL, 0 },
    { "a:", NULL, 0 },
    { ":80", NULL, 0 },
    { "", NULL, 0 },
    { "[]:80", NULL, 0 },
    { "[::1", NULL, 0 },
    { "[::1]80", NULL, 0 },
    { "[::1]:", NULL, 0 },
    { "a:8o", NULL, 0 },
    { "a:-1", NULL, 0 },
};

static void splitting_host_and_port(void **state)
{
    char host[HOST_MAX + 1], longest[HOST_MAX + 2];
    uint16_t port;

    for (size_t i = 0; i < COUNT(hostports); i++) {
        int r = hostport_split(hostports[i].in, host, &port);

        if ((r == 0) != (hostports[i].host != NULL))
            fail_msg("\"%s\": %d", hostports[i].in, r);
        if (r)
            continue;
        assert_string_equal(host, hostports[i].host);
        assert_int_equal(port, hostports[i].port);
    }
    memset(longest, 'a', sizeof(longest));
    longest[HOST_MAX + 1] = 0;
    assert_int_equal(hostport_split(longest, host, &port), -EINVAL);
    assert_int_equal(hostport_split(longest + 1, host, &port), 0);
}

static const struct {
    const char *in, *out;
} endpoints[] = {
    { "1.2.3.4:80", "1.2.3.4:80" },
    { "[::1]:80", "[::1]:80" },
    { "[::ffff:1.2.3.4]:5", "1.2.3.4:5" },
    { "1.2.3.4", NULL },
    { "1.2.3.4:0", NULL },
    { "::1", NULL },
    { "example.com:80", NULL },
    { "", NULL },
};

static void text_of_endpoints(void **state)
{
    for (size_t i = 0; i < COUNT(endpoints); i++) {
        struct endpoint e = { .port = 7 };
        char buf[ENDPOINT_STRLEN];
        int r = endpoint_parse(endpoints[i].in, &e);

        if ((r == 0) != (endpoints[i].out != NULL) || (r && e.port != 7))
            fail_msg("\"%s\": %d", endpoints[i].in, r);
        if (!r)
            assert_string_equal(endpoint_str(&e, buf), endpoints[i].out);
    }
    struct endpoint wide = { A("1111:2222:3333:4444:5555:6666:7777:8888"), 65535 };
    struct dest d = { wide, NULL };
    char buf[DEST_STRLEN], longest[HOST_MAX + 1];

    assert_string_equal(dest_str(&d, buf), "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
    memset(longest, 'x', HOST_MAX);
    longest[HOST_MAX] = 0;
    d.host = longest;
    assert_int_equal(strlen(dest_str(&d, buf)), HOST_MAX + 6);
}

#define L63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
static const struct {
    const char *in, *out;
} names[] = {
    { "Example.COM", "example.com" },
    { "example.com.", "example.com" },
    { "a", "a" },
    { "_dns._udp.x", "_dns._udp.x" },
    { "b\xc3\xbc"
      "cher.DE",
      "b\xc3\xbc"
      "cher.de" },
    { L63 ".com", L63 ".com" },
    { L63 "a.com", NULL },
    { L63 "." L63 "." L63 "."
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      L63 "." L63 "." L63 "."
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
    { L63 "." L63 "." L63 "."
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      NULL },
    { "", NULL },
    { ".", NULL },
    { "..", NULL },
    { ".a", NULL },
    { "a..b", NULL },
    { "a..", NULL },
    { "a b", NULL },
    { "a\tb", NULL },
    { "a\x7f", NULL },
    { "a\nb", NULL },
};

static void names_are_normalised(void **state)
{
    char out[HOST_MAX + 1];

    for (size_t i = 0; i < COUNT(names); i++) {
        int r = host_normalise(names[i].in, strlen(names[i].in), out);

        if ((r == 0) != (names[i].out != NULL))
            fail_msg("\"%s\": %d", names[i].in, r);
        if (!r)
            assert_string_equal(out, names[i].out);
    }
    assert_int_equal(host_normalise("a\0b", 3, out), -EINVAL);
    assert_int_equal(host_normalise("abc", 2, out), 0);
    assert_string_equal(out, "ab");
}

static void sockaddrs_and_back(void **state)
{
    static const char *const list[] = { "1.2.3.4:1", "[2001:db8::1]:65535", "[::]:5" };
    struct sockaddr_storage ss;
    struct endpoint e, f;

    for (size_t i = 0; i < COUNT(list); i++) {
        assert_int_equal(endpoint_parse(list[i], &e), 0);
        assert_int_equal(endpoint_to_sockaddr(&e, &ss), e.ip.ver == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss, &f), 0);
        assert_true(endpoint_eq(&e, &f));
        assert_int_equal(endpoint_hash(&e), endpoint_hash(&f));
        f.port++;
        assert_false(endpoint_eq(&e, &f));
        assert_int_not_equal(endpoint_hash(&e), endpoint_hash(&f));
    }
    ss.ss_family = AF_UNIX;
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&ss, &f), -EAFNOSUPPORT);

    struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = 0x0100 };

    memcpy(&mapped.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4", 16);
    assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&mapped, &f), 0);
    assert_int_equal(f.ip.ver, 4);
    assert_true(addr_eq(&f.ip, &(struct addr){ 4, { 1, 2, 3, 4 } }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_of_addresses),
        cmocka_unit_test(text_of_prefixes),
        cmocka_unit_test(prefixes_contain_what_a_naive_look_says),
        cmocka_unit_test(kinds_of_addresses),
        cmocka_unit_test(splitting_host_and_port),
        cmocka_unit_test(text_of_endpoints),
        cmocka_unit_test(names_are_normalised),
        cmocka_unit_test(sockaddrs_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
