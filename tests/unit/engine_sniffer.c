/*
 * engine_sniffer.c - which flows are looked at, whose names count, and where looking is given up
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "core/err.h"
#include "core/list.h"
#include "engine/sniffer.h"
#include "tests/unit/client_hello.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- building ---- */

struct built {
    struct diag d;
    size_t n_before; /* messages about the profile itself */
    struct profile *p;
    struct sniffer *s;
};

/* Provider "names" has content, "waits" has none yet; there are no others. */
static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    const struct profile *p = arg;

    for (uint32_t i = 0; i < p->n_rule_providers; i++)
        if (!strcmp(p->rule_providers[i].name, name)) {
            *out = (struct rules_provider){ .cfg = &p->rule_providers[i] };
            if (!strcmp(name, "names")) {
                out->bytes = "set.test\n";
                out->len = 9;
            }
            return true;
        }
    return false;
}

static void build(struct built *b, const char *section)
{
    char text[4096];
    struct cfg_input in = { .name = "p.yaml", .bytes = text };
    struct rules_env env = { .provider = find_provider };

    in.len = (size_t)snprintf(text, sizeof(text),
                              "rule-providers:\n"
                              "  names: {type: file, path: a, behavior: domain, format: text}\n"
                              "  waits: {type: file, path: b, behavior: domain, format: text}\n"
                              "  nets: {type: file, path: c, behavior: ipcidr, format: text}\n"
                              "sniffer:\n%s",
                              section);
    diag_init(&b->d, "p.yaml", NULL, 0, false);
    b->p = profile_read(&in, NULL, &b->d);
    assert_non_null(b->p);
    b->n_before = b->d.n;
    env.arg = b->p;
    assert_int_equal(sniffer_new(&b->p->sniffer, &env, &b->d, &b->s), 0);
}

static void drop(struct built *b)
{
    sniffer_free(b->s);
    profile_free(b->p);
    diag_fini(&b->d);
}

static struct flow_meta flow(enum flow_net net, const char *src, const char *dst, uint16_t port, const char *host, enum flow_host_from from)
{
    struct flow_meta m = { .net = (uint8_t)net, .host_from = (uint8_t)from, .dst = { .host = host } };

    assert_int_equal(addr_parse(src, &m.src.ip), 0);
    if (dst)
        assert_int_equal(addr_parse(dst, &m.dst.at.ip), 0);
    m.dst.at.port = port;
    return m;
}

/* ---- which flows ---- */

static void what_is_off_looks_at_nothing(void **state)
{
    struct built b;
    struct flow_meta m = flow(FLOW_TCP, "192.0.2.1", "198.51.100.1", 443, NULL, HOST_NONE);

    assert_int_equal(sniffer_wants(NULL, &m), 0);
    build(&b, "  enable: false\n  sniff: {TLS: {}}\n");
    assert_null(b.s);
    drop(&b);
    build(&b, "  enable: true\n");
    assert_int_equal(sniffer_wants(b.s, &m), 0);
    drop(&b);
}

static void ports_and_kinds_decide_about_protocols(void **state)
{
    static const struct {
        enum flow_net net;
        uint16_t port;
        unsigned wants;
    } cases[] = {
        { FLOW_TCP, 80, SNIFF_HTTP },   { FLOW_TCP, 8080, SNIFF_HTTP }, { FLOW_TCP, 8880, SNIFF_HTTP | SNIFF_TLS },
        { FLOW_TCP, 443, SNIFF_TLS },   { FLOW_TCP, 22, 0 },            { FLOW_TCP, 9443, 0 },
        { FLOW_UDP, 8443, SNIFF_QUIC }, { FLOW_UDP, 443, 0 },           { FLOW_UDP, 80, 0 },
    };
    struct built b;

    build(&b, "  enable: true\n"
              "  sniff:\n"
              "    HTTP: {ports: [80, 8080-8880]}\n"
              "    tls: {ports: [443, 8880]}\n"
              "    QUIC: {ports: [8443]}\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct flow_meta m = flow(cases[i].net, "192.0.2.1", "198.51.100.1", cases[i].port, NULL, HOST_NONE);

        assert_int_equal(sniffer_wants(b.s, &m), cases[i].wants);
    }
    drop(&b);
    build(&b, "  enable: true\n  sniff: {QUIC: {}, HTTP: {}, TLS: {}}\n"); /* ports that go without saying */
    for (uint16_t port = 442; port < 445; port++) {
        struct flow_meta t = flow(FLOW_TCP, "::1", "2001:db8::1", port, NULL, HOST_NONE),
                         u = flow(FLOW_UDP, "::1", "2001:db8::1", port, NULL, HOST_NONE);

        assert_int_equal(sniffer_wants(b.s, &t), port == 443 ? SNIFF_TLS : 0);
        assert_int_equal(sniffer_wants(b.s, &u), port == 443 ? SNIFF_QUIC : 0);
    }
    drop(&b);
}

/* Has it a name, and from whom? */
static void names_decide(void **state)
{
    static const struct {
        const char *more; /* keys of the section */
        const char *host;
        enum flow_host_from from;
        bool wants;
    } cases[] = {
        { "", NULL, HOST_NONE, true },
        { "  parse-pure-ip: false\n", NULL, HOST_NONE, false },
        { "", "a.test", HOST_FAKEIP, false },
        { "", "a.test", HOST_CLIENT, false },
        { "", "a.test", HOST_REVERSE, true },
        { "  force-dns-mapping: false\n", "a.test", HOST_REVERSE, false },
        { "  force-domain: ['+.a.test']\n", "www.a.test", HOST_FAKEIP, true },
        { "  force-domain: ['+.a.test']\n", "a.test", HOST_CLIENT, true },
        { "  force-domain: ['+.a.test']\n", "ba.test", HOST_CLIENT, false },
        { "  force-domain: ['+.a.test']\n  parse-pure-ip: false\n", "a.test", HOST_CLIENT, true },
        { "  force-domain: ['rule-set:names']\n", "set.test", HOST_CLIENT, true },
        { "  force-domain: ['rule-set:names']\n", "other.test", HOST_CLIENT, false },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct flow_meta m = flow(FLOW_TCP, "192.0.2.1", "198.51.100.1", 443, cases[i].host, cases[i].from);
        char section[256];
        struct built b;

        snprintf(section, sizeof(section), "  enable: true\n  sniff: {TLS: {}}\n%s", cases[i].more);
        build(&b, section);
        assert_int_equal(b.d.n, b.n_before);
        assert_int_equal(sniffer_wants(b.s, &m), cases[i].wants ? SNIFF_TLS : 0);
        drop(&b);
    }
}

static void addresses_that_are_left_alone(void **state)
{
    static const struct {
        const char *src, *dst;
        bool wants;
    } cases[] = {
        { "192.0.2.1", "198.51.100.1", true }, { "192.0.2.7", "198.51.100.1", false },  { "192.0.2.1", "203.0.113.5", false },
        { "2001:db8::1", "2001:db8::9", true }, { "2001:db8::1", "2001:db8:1::9", false }, { "192.0.2.1", NULL, true },
    };
    struct built b;

    build(&b, "  enable: true\n  sniff: {TLS: {}}\n"
              "  skip-src-address: [192.0.2.7/32]\n"
              "  skip-dst-address: ['203.0.113.0/24', '2001:db8:1::/48']\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct flow_meta m = flow(FLOW_TCP, cases[i].src, cases[i].dst, 443, NULL, HOST_NONE);

        assert_int_equal(sniffer_wants(b.s, &m), cases[i].wants ? SNIFF_TLS : 0);
    }
    drop(&b);
}

/* ---- what a name is good for ---- */

static void names_that_do_not_count(void **state)
{
    struct built b;

    build(&b, "  enable: true\n  sniff: {TLS: {}}\n  skip-domain: ['Mijia Cloud', 'dlg.io.mi.com', '+.push.test', 'rule-set:names']\n");
    assert_true(sniffer_takes(b.s, "a.test"));
    assert_true(sniffer_takes(b.s, "www.set.test"));
    assert_false(sniffer_takes(b.s, "dlg.io.mi.com"));
    assert_false(sniffer_takes(b.s, "x.push.test"));
    assert_false(sniffer_takes(b.s, "set.test"));
    drop(&b);
    build(&b, "  enable: true\n  sniff: {TLS: {}}\n");
    assert_true(sniffer_takes(b.s, "a.test"));
    drop(&b);
}

static void whose_name_becomes_the_destination(void **state)
{
    struct built b;

    build(&b, "  enable: true\n  override-destination: false\n"
              "  sniff: {TLS: {override-destination: true}, HTTP: {}, QUIC: {override-destination: false}}\n");
    assert_true(sniffer_overrides(b.s, SNIFF_TLS));
    assert_false(sniffer_overrides(b.s, SNIFF_HTTP));
    assert_false(sniffer_overrides(b.s, SNIFF_QUIC));
    drop(&b);
    build(&b, "  enable: true\n  sniff: {TLS: {}, HTTP: {override-destination: false}}\n");
    assert_true(sniffer_overrides(b.s, SNIFF_TLS));
    assert_false(sniffer_overrides(b.s, SNIFF_HTTP));
    drop(&b);
}

static void elements_of_no_use_are_said_and_skipped(void **state)
{
    static const struct {
        const char *element, *code, *says;
    } cases[] = {
        { "force-domain: ['rule-set:waits', b.test]", "missing-data", "\"waits\" is not there yet" },
        { "force-domain: ['rule-set:nobody', b.test]", "missing-data", "\"nobody\" does not exist" },
        { "force-domain: ['rule-set:nets', b.test]", "bad-value", "\"nets\" cannot be used here" },
        { "force-domain: ['geosite:cn', b.test]", "missing-data", "is not there yet" },
        { "skip-dst-address: ['geoip:cn', 203.0.113.0/24]", "missing-data", "is not there yet" },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct flow_meta named = flow(FLOW_TCP, "192.0.2.1", "198.51.100.1", 443, "b.test", HOST_CLIENT),
                         skipped = flow(FLOW_TCP, "192.0.2.1", "203.0.113.1", 443, NULL, HOST_NONE);
        bool names = *cases[i].element == 'f';
        char section[256];
        struct built b;

        snprintf(section, sizeof(section), "  enable: true\n  sniff: {TLS: {}}\n  %s\n", cases[i].element);
        build(&b, section);
        assert_int_equal(b.d.n, b.n_before + 1);
        assert_string_equal(b.d.items[b.n_before].code, cases[i].code);
        assert_non_null(strstr(b.d.items[b.n_before].message, cases[i].says));
        assert_int_equal(b.d.items[b.n_before].line, 8);
        assert_int_equal(sniffer_wants(b.s, &named), names ? SNIFF_TLS : 0); /* the other element counts */
        assert_int_equal(sniffer_wants(b.s, &skipped), names ? SNIFF_TLS : 0);
        drop(&b);
    }
}

/* ---- looking ---- */

/* A stream that lends bytes in pieces, or says err. */
struct lender {
    struct stream s;
    const uint8_t *p;
    size_t len, piece;
    int err;
};

static int lend(struct stream *s, struct iovec *iov, int max)
{
    struct lender *l = container_of(s, struct lender, s);
    int n = 0;

    for (size_t at = 0; at < l->len && n < max; at += l->piece, n++)
        iov[n] = (struct iovec){ (void *)(l->p + at), l->len - at < l->piece ? l->len - at : l->piece };
    return n ? n : l->err;
}

static const struct stream_ops lends = { .name = "lender", .peek = lend }, only_reads = { .name = "reader" };

static enum sniff look(const void *p, size_t len, size_t piece, unsigned *protocols, char host[HOST_MAX + 1], size_t *seen)
{
    struct lender l = { .s.ops = &lends, .p = p, .len = len, .piece = piece };

    return sniffer_look(&l.s, protocols, host, seen);
}

static void put_record(struct out *o, const struct out *message)
{
    o->len = 0;
    put(o, "\x16\3\1", 3);
    put_be(o, 2, (uint32_t)message->len);
    put(o, message->b, message->len);
}

static void the_protocol_shows_itself(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: WEB.test\r\n\r\n", ssh[] = "SSH-2.0-OpenSSH_9.2\r\n";
    static struct out message, record;
    unsigned both = SNIFF_HTTP | SNIFF_TLS, left;
    char host[HOST_MAX + 1];
    size_t seen;

    hello(&message, "tls.test", 100);
    put_record(&record, &message);
    left = both;
    assert_int_equal(look(record.b, record.len, 20, &left, host, &seen), SNIFF_NAME);
    assert_string_equal(host, "tls.test");
    assert_int_equal(left, SNIFF_TLS);
    assert_int_equal(seen, record.len);

    left = both;
    assert_int_equal(look(record.b, 50, 7, &left, host, &seen), SNIFF_MORE);
    assert_int_equal(left, SNIFF_TLS); /* HTTP it is not */
    assert_int_equal(seen, 50);

    left = both;
    assert_int_equal(look(request, sizeof(request) - 1, 5, &left, host, &seen), SNIFF_NAME);
    assert_string_equal(host, "web.test");
    assert_int_equal(left, SNIFF_HTTP);

    left = both;
    assert_int_equal(look("GE", 2, 1, &left, host, &seen), SNIFF_MORE);
    assert_int_equal(left, SNIFF_HTTP);

    left = both;
    assert_int_equal(look(ssh, sizeof(ssh) - 1, 64, &left, host, &seen), SNIFF_NOT);
    assert_int_equal(left, 0);

    left = SNIFF_TLS; /* what is not looked for is not found */
    assert_int_equal(look(request, sizeof(request) - 1, 64, &left, host, &seen), SNIFF_NOT);

    left = both;
    assert_int_equal(look("", 0, 1, &left, host, &seen), SNIFF_MORE);
    assert_int_equal(left, both);
    assert_int_equal(seen, 0);
}

static void a_stream_that_lends_nothing(void **state)
{
    struct lender ended = { .s.ops = &lends, .err = -STREAM_EOF }, failed = { .s.ops = &lends, .err = -ECONNRESET },
                  reader = { .s.ops = &only_reads };
    unsigned left = SNIFF_TLS;
    char host[HOST_MAX + 1];
    size_t seen;

    assert_int_equal(sniffer_look(&ended.s, &left, host, &seen), SNIFF_NOT);
    assert_int_equal(sniffer_look(&failed.s, &left, host, &seen), SNIFF_NOT);
    assert_int_equal(sniffer_look(&reader.s, &left, host, &seen), SNIFF_NOT);
}

/* More than the bound is not looked at: a name behind it is not found, and nothing is waited for. */
static void looking_is_bounded(void **state)
{
    static char much[2 * SNIFF_MAX];
    unsigned left = SNIFF_HTTP;
    char host[HOST_MAX + 1];
    size_t seen;

    memset(much, 'a', sizeof(much));
    memcpy(much, "GET / HTTP/1.1\r\nX: ", 19);
    assert_int_equal(look(much, sizeof(much), 1000, &left, host, &seen), SNIFF_NOT);
    assert_true(seen <= SNIFF_MAX);
}

/* ---- where nothing is found ---- */

static void a_place_is_given_up_for_a_while(void **state)
{
    static struct barren b;
    struct endpoint at = { .port = 443 }, other;

    assert_int_equal(addr_parse("198.51.100.1", &at.ip), 0);
    other = at;
    other.port = 444;
    for (int i = 0; i < 6; i++) {
        assert_false(barren_is(&b, &at, 1000));
        barren_note(&b, &at, false, 1000);
    }
    assert_true(barren_is(&b, &at, 1000));
    assert_true(barren_is(&b, &at, 1000 + 599999));
    assert_false(barren_is(&b, &other, 1000));
    assert_false(barren_is(&b, &at, 1000 + 600000));
    barren_note(&b, &at, false, 1000 + 600000); /* counted anew */
    assert_false(barren_is(&b, &at, 1000 + 600000));
}

static void a_find_forgives(void **state)
{
    static struct barren b;
    struct endpoint at = { .port = 443 };

    assert_int_equal(addr_parse("198.51.100.2", &at.ip), 0);
    for (int i = 0; i < 5; i++)
        barren_note(&b, &at, false, 1);
    barren_note(&b, &at, true, 1);
    for (int i = 0; i < 5; i++)
        barren_note(&b, &at, false, 1);
    assert_false(barren_is(&b, &at, 1));
    barren_note(&b, &at, false, 1);
    assert_true(barren_is(&b, &at, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_off_looks_at_nothing),
        cmocka_unit_test(ports_and_kinds_decide_about_protocols),
        cmocka_unit_test(names_decide),
        cmocka_unit_test(addresses_that_are_left_alone),
        cmocka_unit_test(names_that_do_not_count),
        cmocka_unit_test(whose_name_becomes_the_destination),
        cmocka_unit_test(elements_of_no_use_are_said_and_skipped),
        cmocka_unit_test(the_protocol_shows_itself),
        cmocka_unit_test(a_stream_that_lends_nothing),
        cmocka_unit_test(looking_is_bounded),
        cmocka_unit_test(a_place_is_given_up_for_a_while),
        cmocka_unit_test(a_find_forgives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
