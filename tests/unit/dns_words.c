/*
 * dns_words.c - messages in words: types by name and number, queries made from what people write, records as master files write them
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dns/dns.h"
#include "dns/msg.h"
#include "tests/unit/dns_text.h"

static void types_have_names_and_numbers(void **state)
{
    static const struct {
        const char *word;
        uint16_t type;
    } rows[] = { { "A", 1 },     { "aaaa", 28 }, { "HTTPS", 65 }, { "TYPE65", 65 }, { "type1", 1 },   { "65535", 65535 },
                 { "ANY", 255 }, { "", 0 },      { "TYPE", 0 },   { "TYPE0", 0 },   { "0", 0 },       { "65536", 0 },
                 { "-1", 0 },    { "1x", 0 },    { "NOSUCH", 0 }, { " 1", 0 },      { "TYPETYPE", 0 } };
    char buf[16];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(dns_type(rows[i].word), rows[i].type);
        if (rows[i].type)
            assert_int_equal(dns_type(dns_type_name(rows[i].type, buf)), rows[i].type);
    }
    assert_int_equal(dns_type("OPT"), 0); /* nothing that may be asked for */
    assert_int_equal(dns_type("41"), 0);
    assert_string_equal(dns_type_name(28, buf), "AAAA");
    assert_string_equal(dns_type_name(65535, buf), "TYPE65535");
}

static void queries_from_what_people_write(void **state)
{
    static const char *const bad[] = { "a..b", ".a", "a b", "" };
    uint8_t out[DNS_ASK_MAX];
    size_t len = dns_make_query("WWW.Example.test.", 28, out);

    assert_string_equal(told(out, len), "NOERROR query rd ad | www.example.test AAAA | OPT 1232");
    len = dns_make_query(".", 2, out);
    assert_string_equal(told(out, len), "NOERROR query rd ad | . TYPE2 | OPT 1232");
    len = dns_make_query("_sip._tcp.example.test", 33, out);
    assert_string_equal(told(out, len), "NOERROR query rd ad | _sip._tcp.example.test TYPE33 | OPT 1232");
    assert_int_equal(dns_make_query("a.test", 0, out), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (dns_make_query(bad[i], 1, out)) {
            print_error("'%s' is no name\n", bad[i]);
            fail();
        }
}

/* ---- records ---- */

static char all[8192];

static void on_record(void *arg, const struct dns_record *r)
{
    size_t at = strlen(all);
    char buf[16];

    snprintf(all + at, sizeof(all) - at, "%s%d %s %s %u %s", at ? " | " : "", r->section, r->name, dns_type_name(r->type, buf), r->ttl,
             r->data);
}

/* Of exactly len bytes, so that the sanitizer sees a read behind the end. */
static const char *words(const uint8_t *b, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);

    all[0] = 0;
    memcpy(exact, b, len);
    dns_records(exact, len, on_record, NULL);
    free(exact);
    return all;
}

static struct wire w;

/* One record of a type to one question, told. */
static const char *one(unsigned type, const void *data, size_t len)
{
    static char want_head[] = "0 a.test A 0  | ";

    whead(&w, 1, 0x8180, 1, 1, 0, 0);
    wquestion(&w, "a.test", 1);
    wrecord(&w, NULL, type, 60, data, len);
    words(w.b, w.len);
    assert_int_equal(strncmp(all, want_head, strlen(want_head)), 0);
    return all + strlen(want_head);
}

#define ONE(type, bytes) one(type, bytes, sizeof(bytes) - 1)

static void records_as_master_files_write_them(void **state)
{
    assert_string_equal(ONE(1, "\xc0\0\2\1"), "1 a.test A 60 192.0.2.1");
    assert_string_equal(ONE(28, "\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1"), "1 a.test AAAA 60 2001:db8::1");
    assert_string_equal(ONE(5, "\1b\xc0\x0e"), "1 a.test CNAME 60 b.test");
    assert_string_equal(ONE(2, "\0"), "1 a.test NS 60 .");
    assert_string_equal(ONE(15, "\0\12\xc0\x0c"), "1 a.test MX 60 10 a.test");
    assert_string_equal(ONE(33, "\0\1\0\2\1\xbb\xc0\x0c"), "1 a.test SRV 60 1 2 443 a.test");
    assert_string_equal(ONE(6, "\1n\0\1r\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5"), "1 a.test SOA 60 n r 1 2 3 4 5");
    assert_string_equal(ONE(16, "\3a\"b\0\2\1\\"), "1 a.test TXT 60 \"a\\\"b\" \"\" \"\\001\\\\\"");
    assert_string_equal(ONE(12, "\4a.b \1\xff\0"), "1 a.test PTR 60 a\\.b\\ .\\255");
    assert_string_equal(ONE(65, "\0\1\0"), "1 a.test HTTPS 60 \\# 3 000100");
    assert_string_equal(ONE(257, ""), "1 a.test CAA 60 \\# 0");
}

/* What is not of the form of its type is told as bytes. */
static void records_of_a_wrong_form(void **state)
{
    assert_string_equal(ONE(1, "\1\2\3"), "1 a.test A 60 \\# 3 010203");
    assert_string_equal(ONE(28, ""), "1 a.test AAAA 60 \\# 0");
    assert_string_equal(ONE(5, "\xc0\xff"), "1 a.test CNAME 60 \\# 2 c0ff");
    assert_string_equal(ONE(5, "\1b\0x"), "1 a.test CNAME 60 \\# 4 01620078");
    assert_string_equal(ONE(15, "\0"), "1 a.test MX 60 \\# 1 00");
    assert_string_equal(ONE(16, "\5abc"), "1 a.test TXT 60 \\# 4 05616263");
    assert_string_equal(ONE(2, "\x80"), "1 a.test NS 60 \\# 1 80");
}

static void all_sections_without_opt(void **state)
{
    whead(&w, 1, 0x8180, 1, 1, 1, 2);
    wquestion(&w, "a.test", 1);
    waddr(&w, NULL, 60, "192.0.2.1");
    wsoa(&w, "test", 30, 10);
    waddr(&w, "ns.test", 20, "192.0.2.53");
    wopt(&w, 1232, 0, "", 0);
    assert_string_equal(words(w.b, w.len),
                        "0 a.test A 0  | 1 a.test A 60 192.0.2.1 | 2 test SOA 30 ns.test root.test 1000 1000 1000 1000 10 | "
                        "3 ns.test A 20 192.0.2.53");
    for (size_t len = 0; len < w.len; len++)
        words(w.b, len); /* cut anywhere */
}

static void names_that_run_in_circles(void **state)
{
    whead(&w, 1, 0x8180, 1, 0, 0, 0);
    w16(&w, 0xc00c); /* points at itself */
    w16(&w, 1);
    w16(&w, 1);
    assert_string_equal(words(w.b, w.len), "");

    whead(&w, 1, 0x8180, 1, 1, 0, 0);
    wquestion(&w, "a.test", 1);
    w16(&w, 0xc00c + 30); /* points forward */
    for (int i = 0; i < 40; i++)
        w8(&w, 0);
    assert_string_equal(words(w.b, w.len), "0 a.test A 0 ");

    whead(&w, 1, 0x8180, 1, 0, 0, 0); /* longer than a name may be */
    for (int i = 0; i < 130; i++)
        w16(&w, 0x0161);
    w8(&w, 0);
    w32(&w, 0x00010001);
    assert_string_equal(words(w.b, w.len), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_names_and_numbers),       cmocka_unit_test(queries_from_what_people_write),
        cmocka_unit_test(records_as_master_files_write_them), cmocka_unit_test(records_of_a_wrong_form),
        cmocka_unit_test(all_sections_without_opt),           cmocka_unit_test(names_that_run_in_circles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
