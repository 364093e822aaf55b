/*
 * dns_msg.c - DNS messages: every shape of query, answers of ours read by the C library, answers of servers, names that must not fool
 * anybody
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dns/msg.h"
#include "tests/unit/dns_text.h"

static struct wire w;

/* ---- queries ---- */

static enum msg_verdict parse(struct question *q)
{
    uint8_t *exact = malloc(w.len ? w.len : 1); /* so that the sanitizer sees a read behind the end */
    enum msg_verdict v;

    memcpy(exact, w.b, w.len);
    v = msg_parse_query(exact, w.len, q);
    free(exact);
    return v;
}

static void a_stub_resolvers_query(void **state)
{
    struct question q;

    wquery(&w, 7, "wWw.ExAmple.TEST", T_AAAA, ASK_RD | ASK_DO | ASK_CD);
    assert_int_equal(parse(&q), MSG_GOOD);
    assert_string_equal(q.name, "www.example.test");
    assert_int_equal(q.name_len, 16);
    assert_int_equal(q.type, T_AAAA);
    assert_int_equal(q.class_, C_IN);
    assert_int_equal(q.end, 12 + 18 + 4);
    assert_true(q.has_opt && q.do_bit && q.cd_bit && !q.ad_bit && !q.odd);
    assert_int_equal(q.client_max, 4096);

    wquery(&w, 7, "", T_NS, 0);
    assert_int_equal(parse(&q), MSG_GOOD);
    assert_string_equal(q.name, "");
    assert_false(q.odd);
    assert_int_equal(q.client_max, 512);
}

static void what_is_no_query(void **state)
{
    struct question q;

    for (w.len = 0; w.len < 12; w.len++)
        assert_int_equal(parse(&q), MSG_JUNK);
    wquery(&w, 1, "a.test", T_A, ASK_RD);
    w.b[2] |= 0x80; /* a response */
    assert_int_equal(parse(&q), MSG_JUNK);
    for (unsigned opcode = 1; opcode < 16; opcode++) {
        wquery(&w, 1, "a.test", T_A, ASK_RD);
        w.b[2] |= (uint8_t)(opcode << 3);
        assert_int_equal(parse(&q), MSG_NOTIMP);
    }
}

static void counts_that_lie(void **state)
{
    static const struct {
        unsigned qd, an, ns, ar;
        enum msg_verdict v;
    } all[] = {
        { 0, 0, 0, 0, MSG_FORMERR }, { 2, 0, 0, 0, MSG_FORMERR }, { 65535, 0, 0, 0, MSG_FORMERR },         { 1, 1, 0, 0, MSG_FORMERR },
        { 1, 0, 1, 0, MSG_FORMERR }, { 1, 0, 0, 1, MSG_FORMERR }, { 1, 65535, 65535, 65535, MSG_FORMERR }, { 1, 0, 0, 0, MSG_GOOD },
    };
    struct question q;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        whead(&w, 1, 0x0100, all[i].qd, all[i].an, all[i].ns, all[i].ar);
        wquestion(&w, "a.test", T_A);
        assert_int_equal(parse(&q), all[i].v);
    }
    w.len += 10; /* junk behind it does no harm */
    assert_int_equal(parse(&q), MSG_GOOD);
}

static void cut_at_every_byte(void **state)
{
    struct question q;
    size_t full;

    wquery(&w, 1, "some.name.test", T_A, ASK_EDNS);
    full = w.len;
    for (w.len = 12; w.len < full; w.len++)
        assert_int_equal(parse(&q), MSG_FORMERR);
    assert_int_equal(parse(&q), MSG_GOOD);
}

/* Labels of these lengths, then the end. */
static enum msg_verdict parse_labels(struct question *q, const unsigned *len, int n)
{
    whead(&w, 1, 0x0100, 1, 0, 0, 0);
    for (int i = 0; i < n; i++) {
        w8(&w, len[i]);
        for (unsigned k = 0; k < len[i]; k++)
            w8(&w, 'x');
    }
    w8(&w, 0);
    w16(&w, T_A);
    w16(&w, C_IN);
    return parse(q);
}

static void lengths_of_labels_and_names(void **state)
{
    static const unsigned longest[] = { 63, 63, 63, 61 }, too_long[] = { 63, 63, 63, 62 }, much_too_long[] = { 63, 63, 63, 63, 63 };
    struct question q;
    unsigned n;

    n = 63;
    assert_int_equal(parse_labels(&q, &n, 1), MSG_GOOD);
    assert_int_equal(q.name_len, 63);
    for (n = 64; n < 256; n++)
        assert_int_equal(parse_labels(&q, &n, 1), MSG_FORMERR);
    assert_int_equal(parse_labels(&q, longest, 4), MSG_GOOD);
    assert_int_equal(q.name_len, 253);
    assert_int_equal(parse_labels(&q, too_long, 4), MSG_FORMERR);
    assert_int_equal(parse_labels(&q, much_too_long, 5), MSG_FORMERR);
    for (int i = 0; i < 200; i++) { /* 127 labels of one letter are the most */
        whead(&w, 1, 0, 1, 0, 0, 0);
        for (int k = 0; k < i; k++)
            w16(&w, 0x0100 | 'a');
        w8(&w, 0);
        w32(&w, 0x00010001);
        assert_int_equal(parse(&q), i <= 127 ? MSG_GOOD : MSG_FORMERR);
    }
}

static void bytes_that_no_host_name_has_make_it_odd(void **state)
{
    struct question q;
    struct qkey k;
    char text[DNS_NAME_TEXT];

    for (unsigned c = 0; c < 256; c++) {
        bool odd = c <= ' ' || c == '.' || c == 127;

        whead(&w, 1, 0x0100, 1, 0, 0, 0);
        w8(&w, 3);
        w8(&w, 'a');
        w8(&w, c);
        w8(&w, 'b');
        wquestion(&w, "test", T_A);
        assert_int_equal(parse(&q), MSG_GOOD);
        assert_int_equal(q.odd, odd);
        if (odd)
            assert_string_equal(q.name, "");
        qkey_of(w.b, &q, &k);
        qkey_text(&k, text);
        assert_int_equal(strlen(text), odd || c >= 127 || c == '\\' ? 8 + 3 : 8);
    }
    whead(&w, 1, 0x0100, 1, 0, 0, 0);
    w8(&w, 8);
    memcpy(w.b + w.len, "evil.com", 8); /* one label that looks like a name */
    w.len += 8;
    wquestion(&w, "test", T_A);
    parse(&q);
    qkey_of(w.b, &q, &k);
    assert_string_equal(qkey_text(&k, text), "evil\\046com.test");
}

static void edns_as_it_must_be(void **state)
{
    struct question q;

    wquery(&w, 1, "a.test", T_A, 0);
    w.b[11] = 2;
    wopt(&w, 100, 0, "", 0);
    wopt(&w, 100, 0, "", 0); /* twice */
    assert_int_equal(parse(&q), MSG_FORMERR);

    wquery(&w, 1, "a.test", T_A, 0);
    w.b[11] = 1;
    wrecord(&w, "not.the.root", T_OPT, 0, "", 0);
    assert_int_equal(parse(&q), MSG_FORMERR);

    wquery(&w, 1, "a.test", T_A, 0);
    w.b[11] = 1;
    wopt(&w, 100, 0x00010000, "", 0); /* version 1 */
    assert_int_equal(parse(&q), MSG_BADVERS);

    wquery(&w, 1, "a.test", T_A, 0);
    w.b[11] = 1;
    wopt(&w, 100, 0,
         "\0\x0a\0\x08"
         "cookie!!",
         12);
    assert_int_equal(parse(&q), MSG_GOOD);
    assert_int_equal(q.client_max, 512); /* less makes no sense */
}

/* ---- answers of ours ---- */

static const char *answer(const struct reply *r, size_t room)
{
    static uint8_t out[DNS_REPLY_MAX];
    struct question q;
    size_t len;

    assert_int_equal(msg_parse_query(w.b, w.len, &q), MSG_GOOD);
    len = msg_answer(w.b, &q, r, out, room);
    assert_true(len <= room);
    assert_int_equal(msg_answer(w.b, &q, r, w.b, room), len); /* in place: the same */
    assert_memory_equal(w.b, out, len);
    return told(out, len);
}

static void answers_as_the_c_library_reads_them(void **state)
{
    struct addr a[] = { { 4, { 198, 18, 0, 4 } }, { 6, { 0xfd, [15] = 4 } }, { 4, { 198, 18, 0, 5 } } };

    wquery(&w, 1, "a.test", T_A, ASK_RD);
    assert_string_equal(answer(&(struct reply){ .addr = a, .n = 3, .ttl = 1 }, 512),
                        "NOERROR aa rd ra | a.test A | a.test 1 A 198.18.0.4 | a.test 1 A 198.18.0.5");
    wquery(&w, 1, "a.TEST", T_AAAA, ASK_DO);
    assert_string_equal(answer(&(struct reply){ .addr = a, .n = 3, .ttl = 7 }, 512),
                        "NOERROR aa ra | a.TEST AAAA | a.TEST 7 AAAA fd00::4 | OPT 1232 do");
    wquery(&w, 1, "a.test", T_AAAA, ASK_EDNS);
    assert_string_equal(answer(&(struct reply){ 0 }, 512), "NOERROR aa ra | a.test AAAA | OPT 1232");
    wquery(&w, 1, "a.test", T_A, ASK_RD);
    assert_string_equal(answer(&(struct reply){ .alias = "other.example", .alias_ttl = 10, .addr = a, .n = 1, .ttl = 1 }, 512),
                        "NOERROR aa rd ra | a.test A | a.test 10 CNAME other.example | other.example 1 A 198.18.0.4");
    wquery(&w, 1, "a.test", T_CNAME, 0);
    assert_string_equal(answer(&(struct reply){ .alias = "b.test", .alias_ttl = 10 }, 512),
                        "NOERROR aa ra | a.test CNAME | a.test 10 CNAME b.test");
    wquery(&w, 1, "a.test", T_A, ASK_EDNS);
    assert_string_equal(answer(&(struct reply){ .rcode = RC_BADVERS }, 512), "NOERROR aa ra | a.test A | OPT 1232 rcode+16");
    wquery(&w, 1, "a.test", T_A, ASK_EDNS);
    assert_string_equal(answer(&(struct reply){ .rcode = RC_SERVFAIL }, 512), "SERVFAIL aa ra | a.test A | OPT 1232");
    wquery(&w, 1, "", T_A, 0);
    assert_string_equal(answer(&(struct reply){ .addr = a, .n = 1, .ttl = 1 }, 512), "NOERROR aa ra | . A | . 1 A 198.18.0.4");
}

static void no_more_than_there_is_room_for(void **state)
{
    struct addr a[DNS_ADDRS];

    for (int i = 0; i < DNS_ADDRS; i++)
        a[i] = (struct addr){ 4, { 10, 0, 0, (uint8_t)i } };
    for (size_t room = 12 + 8 + 4 + 11; room < 400; room++) {
        const char *text;
        int n = 0;

        wquery(&w, 1, "a.test", T_A, ASK_EDNS);
        text = answer(&(struct reply){ .addr = a, .n = DNS_ADDRS }, room);
        for (const char *at = text; (at = strstr(at, "10.0.0.")); at++)
            n++;
        assert_int_equal(n, (room - 35) / 16 < DNS_ADDRS ? (room - 35) / 16 : DNS_ADDRS);
        assert_non_null(strstr(text, "OPT"));
    }
}

static void the_largest_answer_fits_into_the_room_that_is_promised(void **state)
{
    static const unsigned longest[] = { 63, 63, 63, 61 };
    struct addr a[DNS_ADDRS];
    uint8_t out[DNS_REPLY_MAX];
    struct question q;
    char alias[254];

    memset(alias, 'y', 253);
    alias[63] = alias[127] = alias[191] = '.';
    alias[253] = 0;
    for (int i = 0; i < DNS_ADDRS; i++)
        a[i] = (struct addr){ 6, { 0xfd, [15] = (uint8_t)i } };
    parse_labels(&q, longest, 4);
    q.type = T_AAAA;
    q.has_opt = true;
    assert_int_equal(msg_answer(w.b, &q, &(struct reply){ .alias = alias, .addr = a, .n = DNS_ADDRS }, out, sizeof(out)), sizeof(out));
}

static void reverse_names(void **state)
{
    static const struct {
        const char *name, *addr;
    } all[] = {
        { "4.0.18.198.in-addr.arpa", "198.18.0.4" },
        { "255.255.255.255.in-addr.arpa", "255.255.255.255" },
        { "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.7.8.9.a.b.c.d.e.f.d.f.ip6.arpa", "fdfe:dcba:9876::4" },
        { "0.18.198.in-addr.arpa", NULL },
        { "256.0.18.198.in-addr.arpa", NULL },
        { "1.4.0.18.198.in-addr.arpa", NULL },
        { "in-addr.arpa", NULL },
        { "x.0.18.198.in-addr.arpa", NULL },
        { ".0.18.198.in-addr.arpa", NULL },
        { "4.0.18.198.in-addr.arpa.test", NULL },
        { "", NULL },
        { "4.0.18.198.ip6.arpa", NULL },
        { "1234.0.18.198.in-addr.arpa", NULL },
        { "g.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.7.8.9.a.b.c.d.e.f.d.f.ip6.arpa", NULL },
        { "4x0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.7.8.9.a.b.c.d.e.f.d.f.ip6.arpa", NULL },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct addr a = { 0 };
        char buf[ADDR_STRLEN];

        if (msg_reverse_addr(all[i].name, &a) != (all[i].addr != NULL))
            fail_msg("%s", all[i].name);
        if (all[i].addr)
            assert_string_equal(addr_str(&a, buf), all[i].addr);
    }
}

static void a_pointer_answer(void **state)
{
    uint8_t out[DNS_REPLY_MAX];
    struct question q;

    wquery(&w, 1, "4.0.18.198.in-addr.arpa", T_PTR, ASK_EDNS);
    msg_parse_query(w.b, w.len, &q);
    assert_string_equal(told(out, msg_answer_ptr(w.b, &q, "www.example.test", 1, out, sizeof(out))),
                        "NOERROR aa ra | 4.0.18.198.in-addr.arpa PTR | 4.0.18.198.in-addr.arpa 1 PTR www.example.test | OPT 1232");
}

static void an_error_echoes_nothing_but_the_id(void **state)
{
    uint8_t out[DNS_HEADER];

    wquery(&w, 0x1234, "a.test", T_A, ASK_RD | ASK_EDNS);
    assert_int_equal(msg_error(w.b, RC_FORMERR, out), DNS_HEADER);
    assert_string_equal(told(out, DNS_HEADER), "FORMERR rd ra");
    assert_int_equal(get16(out), 0x1234);
}

/* ---- questions of ours ---- */

static void our_queries_as_the_c_library_reads_them(void **state)
{
    uint8_t out[DNS_QUERY_MAX];
    struct cidr net;
    struct qkey k;
    size_t len;

    assert_true(qkey_make("www.example.test", T_AAAA, &k));
    assert_string_equal(told(out, msg_query(&k, 0x4321, NULL, 0, out)), "NOERROR query rd ad | www.example.test AAAA | OPT 1232");
    assert_int_equal(get16(out), 0x4321);
    k.flags = Q_DO | Q_CD;
    assert_string_equal(told(out, msg_query(&k, 1, NULL, 0, out)), "NOERROR query rd ad cd | www.example.test AAAA | OPT 1232 do");
    cidr_parse("192.0.2.128/25", &net);
    len = msg_query(&k, 1, &net, 0, out);
    assert_string_equal(told(out, len), "NOERROR query rd ad cd | www.example.test AAAA | OPT 1232 do options");
    assert_memory_equal(out + len - 12, "\0\x08\0\x08\0\x01\x19\0\xc0\0\x02\x80", 12);
    cidr_parse("2001:db8::/33", &net);
    len = msg_query(&k, 1, &net, 0, out);
    assert_memory_equal(out + len - 13, "\0\x08\0\x09\0\x02\x21\0\x20\x01\x0d\xb8\0", 13);
    for (int i = 1; i < 60; i++) {
        char name[64] = { 0 };

        memset(name, 'p', (size_t)i);
        assert_true(qkey_make(name, T_A, &k));
        len = msg_query(&k, 1, i % 2 ? &net : NULL, 128, out);
        assert_int_equal(len % 128, 0);
        assert_string_not_equal(told(out, len), "broken");
    }
    assert_false(qkey_make("a..b", T_A, &k));
    assert_false(qkey_make(".", T_A, &k));
}

static void a_spelling_that_nobody_else_uses(void **state)
{
    uint8_t out[DNS_NAME];
    struct qkey k;

    for (int i = 0; i < 1000; i++) {
        unsigned upper = 0, letters = 0;

        assert_true(qkey_make("ab3.test", T_A, &k));
        assert_true(qkey_respell(&k, out));
        for (size_t n = 0; n < k.len; n++) {
            assert_true(out[n] == k.name[n] || out[n] + 32 == k.name[n]);
            upper += out[n] != k.name[n];
            letters += k.name[n] >= 'a' && k.name[n] <= 'z';
        }
        assert_in_range(upper, 1, letters - 1);
    }
    assert_true(qkey_make("12.abc", T_A, &k));
    assert_false(qkey_respell(&k, out)); /* too few letters */
}

static void the_longest_query_fits_into_the_room_that_is_promised(void **state)
{
    static const unsigned longest[] = { 63, 63, 63, 61 };
    struct question q;
    struct cidr net;
    struct qkey k;
    uint8_t out[DNS_QUERY_MAX];

    cidr_parse("2001:db8::1/128", &net);
    parse_labels(&q, longest, 4);
    qkey_of(w.b, &q, &k);
    for (unsigned pad = 1; pad <= 128; pad++)
        assert_true(msg_query(&k, 1, &net, pad, out) <= sizeof(out));
}

/* ---- answers of servers ---- */

static bool take(const char *name, uint16_t type, struct answer *a)
{
    uint8_t *exact = malloc(w.len ? w.len : 1);
    struct qkey k;
    bool good;

    assert_true(qkey_make(name, type, &k));
    memcpy(exact, w.b, w.len);
    good = msg_parse_answer(exact, w.len, &k, a);
    free(exact);
    return good;
}

static void an_answer_is_walked_to_its_end(void **state)
{
    struct answer a;
    size_t full;

    whead(&w, 1, 0x8180, 1, 3, 1, 2);
    wquestion(&w, "WWW.test", T_A);
    wrecord(&w, NULL, T_CNAME, 300, "\3cdn\xc0\x10", 6);
    waddr(&w, "cdn.test", 60, "192.0.2.1");
    waddr(&w, "cdn.test", 70, "192.0.2.2");
    wrecord(&w, "test", T_NS, 86400, "\2ns\xc0\x10", 5);
    waddr(&w, "ns.test", 50, "192.0.2.9"); /* an additional record is no answer */
    wopt(&w, 4096, 0, "", 0);
    full = w.len;
    assert_true(take("www.test", T_A, &a));
    assert_int_equal(a.rcode, 0);
    assert_int_equal(a.n_addr, 2);
    assert_int_equal(a.ttl, 50);
    assert_int_equal(a.end, full);
    assert_int_equal(a.opt, full - 11);
    assert_false(take("www.test", T_AAAA, &a)); /* another question */
    assert_false(take("ww.test", T_A, &a));
    assert_false(take("xww.test", T_A, &a));
    for (w.len = 0; w.len < full; w.len++)
        assert_false(take("www.test", T_A, &a));
    w.len = full + 5;
    assert_true(take("www.test", T_A, &a));
    assert_int_equal(a.end, full);
    assert_int_equal(msg_strip(w.b, &a), full - 11);
    assert_string_equal(told(w.b, full - 11),
                        "NOERROR rd ra | WWW.test A | WWW.test 300 CNAME cdn.test | cdn.test 60 A 192.0.2.1 | cdn.test 70 A 192.0.2.2 | "
                        "test 86400 TYPE2 5 bytes | ns.test 50 A 192.0.2.9");
}

static void how_long_an_answer_holds(void **state)
{
    static const struct {
        const char *what;
        unsigned rcode;
        uint32_t addr_ttl, cname_ttl, soa_ttl, soa_min; /* UINT32_MAX = no such record */
        uint32_t want;
    } all[] = {
        { "an address", 0, 60, UINT32_MAX, UINT32_MAX, 0, 60 },
        { "for ever is a day", 0, 2000000, UINT32_MAX, UINT32_MAX, 0, 86400 },
        { "a negative number is zero", 0, 0x80000000u, UINT32_MAX, UINT32_MAX, 0, 0 },
        { "the CNAME is shorter", 0, 60, 7, UINT32_MAX, 0, 7 },
        { "no such name", 3, UINT32_MAX, UINT32_MAX, 900, 300, 300 },
        { "no such name, the SOA itself is shorter", 3, UINT32_MAX, UINT32_MAX, 100, 300, 100 },
        { "no such name for at most an hour", 3, UINT32_MAX, UINT32_MAX, 90000, 90000, 3600 },
        { "no such name, and nobody says how long", 3, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0 },
        { "no such type", 0, UINT32_MAX, UINT32_MAX, 900, 300, 300 },
        { "no such type behind a CNAME", 0, UINT32_MAX, 50, 900, 300, 50 },
        { "no such type behind a long CNAME", 0, UINT32_MAX, 5000, 900, 300, 300 },
        { "nothing at all", 0, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0 },
        { "a failure", 2, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 5 },
        { "a refusal", 5, UINT32_MAX, UINT32_MAX, UINT32_MAX, 0, 0 },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        unsigned an = (all[i].addr_ttl != UINT32_MAX) + (all[i].cname_ttl != UINT32_MAX), ns = all[i].soa_ttl != UINT32_MAX;
        struct answer a;

        whead(&w, 1, 0x8180 | all[i].rcode, 1, an, ns, 0);
        wquestion(&w, "a.test", T_A);
        if (all[i].cname_ttl != UINT32_MAX)
            wrecord(&w, NULL, T_CNAME, all[i].cname_ttl, "\1b\xc0\x0e", 4);
        if (all[i].addr_ttl != UINT32_MAX)
            waddr(&w, NULL, all[i].addr_ttl, "192.0.2.1");
        if (ns)
            wsoa(&w, "test", all[i].soa_ttl, all[i].soa_min);
        assert_true(take("a.test", T_A, &a));
        if (a.ttl != all[i].want)
            fail_msg("%s: %u, not %u", all[i].what, a.ttl, all[i].want);
    }
}

static void odd_answers(void **state)
{
    struct answer a;

    whead(&w, 1, 0x8380, 1, 0, 0, 0); /* truncated */
    wquestion(&w, "a.test", T_A);
    assert_true(take("a.test", T_A, &a));
    assert_true(a.truncated);

    whead(&w, 1, 0x8180, 1, 0, 0, 1); /* BADVERS has its bits in OPT */
    wquestion(&w, "a.test", T_A);
    wopt(&w, 1232, 0x01000000, "", 0);
    assert_true(take("a.test", T_A, &a));
    assert_int_equal(a.rcode, RC_BADVERS);

    whead(&w, 1, 0x8180, 1, 2, 0, 0); /* addresses of the wrong size are no addresses */
    wquestion(&w, "a.test", T_A);
    wrecord(&w, NULL, T_A, 60, "\1\2\3", 3);
    wrecord(&w, NULL, T_AAAA, 60, "\1\2\3\4\5", 5);
    assert_true(take("a.test", T_A, &a));
    assert_int_equal(a.n_addr, 0);

    whead(&w, 1, 0x8180, 1, 40, 0, 0);
    wquestion(&w, "a.test", T_A);
    for (int i = 0; i < 40; i++)
        waddr(&w, NULL, 60, "192.0.2.1");
    assert_true(take("a.test", T_A, &a));
    assert_int_equal(a.n_addr, DNS_ADDRS);

    whead(&w, 1, 0x8180, 1, 0, 0, 2); /* OPT that is not last stays: what is behind it may point at it */
    wquestion(&w, "a.test", T_A);
    wopt(&w, 1232, 0, "", 0);
    waddr(&w, NULL, 60, "192.0.2.1");
    assert_true(take("a.test", T_A, &a));
    assert_int_equal(a.opt, 0);
    assert_int_equal(msg_strip(w.b, &a), w.len);

    whead(&w, 1, 0x8180, 1, 1, 0, 0); /* among the answers */
    wquestion(&w, "a.test", T_A);
    wopt(&w, 1232, 0, "", 0);
    assert_false(take("a.test", T_A, &a));

    whead(&w, 1, 0x8180, 2, 0, 0, 0);
    wquestion(&w, "a.test", T_A);
    wquestion(&w, "a.test", T_A);
    assert_false(take("a.test", T_A, &a));
    whead(&w, 1, 0x0100, 1, 0, 0, 0); /* no response */
    wquestion(&w, "a.test", T_A);
    assert_false(take("a.test", T_A, &a));
}

/* A name that ends in a pointer to `at`. */
static void wpointed(struct wire *to, const char *label, size_t at)
{
    w8(to, (unsigned)strlen(label));
    memcpy(to->b + to->len, label, strlen(label));
    to->len += strlen(label);
    w16(to, 0xc000 | (unsigned)at);
}

/* The head of a record whose owner stands there already; its data follows: len bytes. */
static void wbehind(struct wire *to, unsigned type, size_t len)
{
    w16(to, type);
    w16(to, 1);
    w32(to, 60);
    w16(to, (unsigned)len);
}

static struct wire rest;

static const char *without(const uint16_t *types, unsigned n)
{
    uint8_t *exact = malloc(w.len);

    memcpy(exact, w.b, w.len);
    rest.len = msg_without(exact, w.len, types, n, rest.b);
    free(exact);
    return rest.len ? told(rest.b, rest.len) : "none";
}

/* Everything that may hold a name, each name compressed by one that is taken away. */
static void records_are_taken_away_and_names_stay_whole(void **state)
{
    static const struct {
        uint8_t type, before, names, behind;
    } all[] = {
        { 2, 0, 1, 0 }, { 5, 0, 1, 0 }, { 6, 0, 2, 20 }, { 12, 0, 1, 0 }, { 15, 2, 1, 0 }, { 33, 6, 1, 0 }, { 39, 0, 1, 0 },
        { 17, 0, 2, 0 },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const uint16_t gone[] = { T_CNAME == all[i].type ? T_TXT : T_CNAME };
        char want[256], text[256], *at = want;
        size_t there;
        ns_msg h;
        ns_rr rr;

        whead(&w, 1, 0x8180, 1, 2, 0, 1);
        wquestion(&w, "a.test", T_ANY);
        w16(&w, 0xc00c);
        wbehind(&w, gone[0], 12);
        there = w.len + 1;
        wname(&w, "x.long.one"); /* of a TXT these are no strings, which nobody looks at */
        wpointed(&w, "owner", there + 1);
        wbehind(&w, all[i].type, all[i].before + all[i].names * 6u + all[i].behind);
        for (unsigned k = 0; k < all[i].before; k++)
            w8(&w, 0);
        for (unsigned k = 0; k < all[i].names; k++)
            wpointed(&w, "sub", k ? 12 : there + 1);
        for (unsigned k = 0; k < all[i].behind; k++)
            w8(&w, 7);
        wopt(&w, 1232, 0, "", 0);
        assert_string_not_equal(told(w.b, w.len), "broken");
        at += sprintf(at, "NOERROR rd ra | a.test TYPE255 | owner.long.one 60 ");
        assert_int_equal(strncmp(without(gone, 1), want, (size_t)(at - want)), 0);
        assert_non_null(strstr(without(gone, 1), "OPT 1232"));
        assert_int_equal(ns_initparse(rest.b, (int)rest.len, &h), 0);
        assert_int_equal(ns_parserr(&h, ns_s_an, 0, &rr), 0);
        for (unsigned k = 0; k < all[i].names; k++) {
            const uint8_t *name = ns_rr_rdata(rr) + all[i].before;

            name += k ? dn_skipname(name, rest.b + rest.len) : 0;
            assert_true(ns_name_uncompress(rest.b, rest.b + rest.len, name, text, sizeof(text)) > 0);
            assert_string_equal(text, k ? "sub.a.test" : "sub.long.one");
        }
    }
}

/* One label reaches over whole records, to where the name of the last one begins. */
static void a_name_that_leads_across_records_spoils_no_other(void **state)
{
    static const uint16_t gone[] = { T_A };
    char text[256];
    size_t label;
    ns_msg h;
    ns_rr rr;

    whead(&w, 1, 0x8180, 1, 4, 0, 0);
    wquestion(&w, "a.test", T_ANY);
    w16(&w, 0xc00c);
    wbehind(&w, 133, 1);
    label = w.len;
    w8(&w, 12 + 4 + 16 + 12);
    w16(&w, 0xc000 | (unsigned)label);
    wbehind(&w, 133, 4);
    w32(&w, 0);
    waddr(&w, NULL, 60, "192.0.2.1");
    w16(&w, 0xc00c);
    wbehind(&w, ns_t_ns, 5);
    assert_int_equal(w.len, label + 1 + w.b[label]);
    wpointed(&w, "ns", 12);
    assert_string_not_equal(without(gone, 1), "none");
    assert_int_equal(ns_initparse(rest.b, (int)rest.len, &h), 0);
    assert_int_equal(ns_parserr(&h, ns_s_an, 2, &rr), 0);
    assert_int_equal(ns_rr_type(rr), ns_t_ns);
    assert_int_equal(dn_skipname(ns_rr_rdata(rr), rest.b + rest.len), ns_rr_rdlen(rr)); /* and nothing behind it */
    assert_true(ns_name_uncompress(rest.b, rest.b + rest.len, ns_rr_rdata(rr), text, sizeof(text)) > 0);
    assert_string_equal(text, "ns.a.test");
}

static void what_is_taken_away(void **state)
{
    static const uint16_t v6[] = { T_AAAA }, both[] = { T_A, T_AAAA }, https[] = { T_HTTPS };
    const char *unchanged = "NOERROR rd ra | a.test TYPE255 | a.test 60 CNAME b.test | b.test 60 AAAA 2001:db8::1 | "
                            "b.test 60 A 192.0.2.1 | a.test 60 TYPE46 18 bytes | test 60 SOA 40 bytes | "
                            "c.test 60 AAAA 2001:db8::2 | OPT 1232";
    static const uint8_t sig[18] = { 0, T_AAAA };
    size_t full;

    whead(&w, 1, 0x8180, 1, 4, 1, 2);
    wquestion(&w, "a.test", T_ANY);
    wrecord(&w, NULL, T_CNAME, 60, "\1b\xc0\x0e", 4);
    wrecord(&w, "b.test", T_AAAA, 60, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    waddr(&w, "b.test", 60, "192.0.2.1");
    wrecord(&w, NULL, T_RRSIG, 60, sig, sizeof(sig));
    wsoa(&w, "test", 60, 60);
    waddr(&w, "c.test", 60, "2001:db8::2");
    wopt(&w, 1232, 0, "", 0);
    assert_string_equal(told(w.b, w.len), unchanged);
    assert_string_equal(without(https, 1), unchanged);
    assert_string_equal(without(v6, 1), "NOERROR rd ra | a.test TYPE255 | a.test 60 CNAME b.test | b.test 60 A 192.0.2.1 | "
                                        "test 60 SOA 40 bytes | OPT 1232"); /* nor what signs it; in all sections */
    assert_string_equal(without(both, 2), "NOERROR rd ra | a.test TYPE255 | a.test 60 CNAME b.test | test 60 SOA 40 bytes | OPT 1232");
    full = w.len;
    for (w.len = DNS_HEADER; w.len < full; w.len++)
        assert_string_equal(without(v6, 1), "none"); /* cut short: not a byte behind its end is read */
}

static void names_that_lead_nowhere(void **state)
{
    static const uint16_t v6[] = { T_AAAA };
    size_t at;

    whead(&w, 1, 0x8180, 1, 2, 0, 0);
    wquestion(&w, "a.test", T_ANY);
    waddr(&w, NULL, 60, "2001:db8::1");
    at = w.len;
    wpointed(&w, "x", at + 2); /* to itself */
    wbehind(&w, T_A, 4);
    w32(&w, 0);
    assert_string_equal(without(v6, 1), "none");
    w.b[at + 3] = 0xff; /* forwards */
    assert_string_equal(without(v6, 1), "none");
    w.b[at + 3] = 12;
    assert_string_equal(without(v6, 1), "NOERROR rd ra | a.test TYPE255 | x.a.test 60 A 0.0.0.0");

    whead(&w, 1, 0x8180, 1, 2, 0, 0); /* the pointers of a TXT that is gone: each leads to the one before, for longer than any name is */
    wquestion(&w, "a.test", T_ANY);
    w16(&w, 0xc00c);
    wbehind(&w, T_AAAA, 2000);
    at = w.len;
    w16(&w, 0xc00c);
    for (int i = 1; i < 1000; i++)
        w16(&w, 0xc000 | (unsigned)(w.len - 2));
    w16(&w, 0xc000 | (unsigned)(at + 200));
    wbehind(&w, T_A, 4);
    w32(&w, 0);
    assert_string_equal(without(v6, 1), "NOERROR rd ra | a.test TYPE255 | a.test 60 A 0.0.0.0");
    w.b[w.len - 4 - 10 - 2] = (uint8_t)(0xc0 | (at + 1998) >> 8);
    w.b[w.len - 4 - 10 - 1] = (uint8_t)(at + 1998);
    assert_string_equal(without(v6, 1), "none");
}

/* So many names that not all of them can be pointed at again. */
static void a_copy_that_would_be_too_long(void **state)
{
    static const uint16_t v6[] = { T_AAAA };
    size_t from, all;
    char name[254];

    memset(name, 'y', 253);
    name[63] = name[127] = name[191] = '.';
    name[253] = 0;
    whead(&w, 1, 0x8180, 1, 321, 0, 0);
    wquestion(&w, "a.test", T_ANY);
    w16(&w, 0xc00c);
    wbehind(&w, T_AAAA, 20 * 255);
    from = w.len;
    for (int i = 0; i < 20; i++)
        wname(&w, name);
    for (size_t i = 0; i < 320; i++) {
        w16(&w, 0xc000 | (unsigned)(from + 255 * (i < 20 ? i : 19)));
        wbehind(&w, T_A, 4);
        w32(&w, 0);
    }
    all = w.len;
    assert_string_equal(without(v6, 1), "none"); /* the last one 301 times */
    put16(w.b + 6, 201);
    w.len -= 120 * 16;
    assert_string_not_equal(without(v6, 1), "none");
    assert_true(rest.len > all && rest.len < DNS_MAX);
}

static void a_kept_answer_becomes_this_clients(void **state)
{
    static struct wire query;
    struct question q;
    struct answer a;
    uint16_t ttls[8];
    size_t len;

    whead(&w, 1, 0x85b0, 1, 1, 1, 1); /* aa rd ra ad cd */
    wquestion(&w, "www.test", T_A);
    waddr(&w, NULL, 60, "192.0.2.1");
    wsoa(&w, "test", 90, 1);
    wopt(&w, 4096, 0x8000, "abcdefgh", 8);
    assert_true(take("www.test", T_A, &a));
    len = msg_strip(w.b, &a);
    assert_int_equal(msg_ttls(w.b, len, ttls, 8), 2);
    assert_int_equal(get32(w.b + ttls[0]), 60);
    assert_int_equal(get32(w.b + ttls[1]), 90);

    wquery(&query, 0xbeef, "wWw.TeSt", T_A, 0);
    msg_parse_query(query.b, query.len, &q);
    assert_string_equal(told(w.b, msg_for_client(w.b, len, query.b, &q)),
                        "NOERROR aa ra | wWw.TeSt A | wWw.TeSt 60 A 192.0.2.1 | test 90 SOA 40 bytes");
    assert_int_equal(get16(w.b), 0xbeef);
    w.b[3] |= 0x20;
    wquery(&query, 0xbeef, "www.test", T_A, ASK_RD | ASK_EDNS | ASK_AD | ASK_CD);
    msg_parse_query(query.b, query.len, &q);
    assert_string_equal(told(w.b, msg_for_client(w.b, len, query.b, &q)),
                        "NOERROR aa rd ra ad cd | www.test A | www.test 60 A 192.0.2.1 | test 90 SOA 40 bytes | OPT 1232");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stub_resolvers_query),
        cmocka_unit_test(what_is_no_query),
        cmocka_unit_test(counts_that_lie),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(lengths_of_labels_and_names),
        cmocka_unit_test(bytes_that_no_host_name_has_make_it_odd),
        cmocka_unit_test(edns_as_it_must_be),
        cmocka_unit_test(answers_as_the_c_library_reads_them),
        cmocka_unit_test(no_more_than_there_is_room_for),
        cmocka_unit_test(the_largest_answer_fits_into_the_room_that_is_promised),
        cmocka_unit_test(reverse_names),
        cmocka_unit_test(a_pointer_answer),
        cmocka_unit_test(an_error_echoes_nothing_but_the_id),
        cmocka_unit_test(our_queries_as_the_c_library_reads_them),
        cmocka_unit_test(a_spelling_that_nobody_else_uses),
        cmocka_unit_test(the_longest_query_fits_into_the_room_that_is_promised),
        cmocka_unit_test(an_answer_is_walked_to_its_end),
        cmocka_unit_test(how_long_an_answer_holds),
        cmocka_unit_test(odd_answers),
        cmocka_unit_test(records_are_taken_away_and_names_stay_whole),
        cmocka_unit_test(a_name_that_leads_across_records_spoils_no_other),
        cmocka_unit_test(what_is_taken_away),
        cmocka_unit_test(names_that_lead_nowhere),
        cmocka_unit_test(a_copy_that_would_be_too_long),
        cmocka_unit_test(a_kept_answer_becomes_this_clients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
