/*
 * rules_set.c - files of rule providers: what an entry is by its shape, and every way of writing a list down
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <zstd.h>

#include "core/err.h"
#include "tests/unit/rules_seen.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct want {
    enum set_behavior b;
    const char *in, *out;
    uint32_t bad, misplaced;
};

/* The bytes are copied to the end of an allocation of just their size, so that the sanitizer sees a read behind them. */
static void check_bytes(enum set_format f, const struct want *w, const void *bytes, size_t len, int expected)
{
    struct set_stats st;
    struct seen seen;
    char *copy = malloc(len ? len : 1);

    memcpy(copy, bytes, len);
    seen_init(&seen);
    assert_int_equal(set_read(copy, len, w->b, f, &seen.v, &st), expected);
    assert_string_equal(seen.text, w->out);
    assert_int_equal(st.bad, w->bad);
    assert_int_equal(st.misplaced, w->misplaced);
    free(seen.text);
    free(copy);
}

static void check(enum set_format f, const struct want *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_bytes(f, &w[i], w[i].in, strlen(w[i].in), *w[i].out || !w[i].bad ? 0 : -EBADMSG);
}

/* ---- what an entry is ---- */

static void names(void **state)
{
    static const struct want t[] = {
        { SET_DOMAIN, "a.com", "d:a.com " },
        { SET_DOMAIN, "+.A.Com\n.b.com\n*.c.com\nx.*.d\n*\n+.*\nnas", "d:+.a.com d:.b.com d:*.c.com d:x.*.d d:* d:+.* d:nas " },
        { SET_DOMAIN, "_a-b.c_d.xn--p1ai\n127-*-*-*.com\n\xe4\xb8\xad\xe5\x9b\xbd.cn",
          "d:_a-b.c_d.xn--p1ai d:127-*-*-*.com d:\xe4\xb8\xad\xe5\x9b\xbd.cn " },
        { SET_DOMAIN, "ok\na.com.\na..b\n..a\n.\n+.\n+\na b.com\na/b\nhttp://a.com\n||a.com^\na\x01.com", "d:ok ", 11 },
        { SET_DOMAIN, "ok\n0123456789012345678901234567890123456789012345678901234567890123.com", "d:ok ", 1 },
        { SET_DOMAIN, "012345678901234567890123456789012345678901234567890123456789012.com",
          "d:012345678901234567890123456789012345678901234567890123456789012.com " },
    };

    check(SET_TEXT, t, COUNT(t));
}

static void prefixes(void **state)
{
    static const struct want t[] = {
        { SET_IPCIDR, "10.1.2.3/8\n1.2.3.4\n2001:DB8::/32\n::1\n::ffff:1.2.3.0/120\n0.0.0.0/0\n::/0",
          "p:10.0.0.0/8 p:1.2.3.4/32 p:2001:db8::/32 p:::1/128 p:1.2.3.0/24 p:0.0.0.0/0 p:::/0 " },
        { SET_IPCIDR, "1.1.1.1\n1.2.3/8\n1.2.3.4/33\n::/129\n1.2.3.4/\n300.1.1.1\nfe80::1%eth0\nlocalhost", "p:1.1.1.1/32 ", 7 },
    };

    check(SET_TEXT, t, COUNT(t));
}

static void rules(void **state)
{
    static const struct want t[] = {
        { SET_CLASSICAL, "DOMAIN-SUFFIX,a.com\nIP-CIDR,10.0.0.0/8,no-resolve\n\nAND,((A,b),(C,d))\nUSER-AGENT,x*",
          "1:DOMAIN-SUFFIX,a.com 2:IP-CIDR,10.0.0.0/8,no-resolve 4:AND,((A,b),(C,d)) 5:USER-AGENT,x* " },
        { SET_CLASSICAL, "UID,0\nMATCH\nfoo", "1:UID,0 ", 2 },
    };

    check(SET_TEXT, t, COUNT(t));
}

static void entries_of_another_behaviour_are_used_and_counted(void **state)
{
    static const struct want t[] = {
        { SET_DOMAIN,
          "domain-suffix,A.com\nDOMAIN,b.com\nDOMAIN-KEYWORD,Ads\nDOMAIN-REGEX,^a,b$\nDOMAIN-SUFFIX, .c.com\nDOMAIN-SUFFIX,+.d.com",
          "d:+.a.com d:b.com k:ads r:^a,b$ d:+.c.com d:+.d.com ", 0, 6 },
        { SET_DOMAIN, "10.0.0.0/8\n1.2.3.4\n::1\nIP-CIDR,1.1.1.0/24,no-resolve\nPROCESS-NAME,x\nDOMAIN-WILDCARD,a?c",
          "p:10.0.0.0/8 p:1.2.3.4/32 p:::1/128 p:1.1.1.0/24 5:PROCESS-NAME,x 6:DOMAIN-WILDCARD,a?c ", 0, 6 },
        { SET_IPCIDR, "IP-CIDR,10.0.0.0/8\nip-cidr6,2001:db8::/32,no-resolve\nIP-CIDR,1.1.1.1/32,src\n+.a.com\nDOMAIN-SUFFIX,b.com",
          "p:10.0.0.0/8 p:2001:db8::/32 3:IP-CIDR,1.1.1.1/32,src d:+.a.com d:+.b.com ", 0, 5 },
        { SET_CLASSICAL, "+.a.com\n10.0.0.0/8\n.b.com\n::1/128\nc.com", "d:+.a.com p:10.0.0.0/8 d:.b.com p:::1/128 d:c.com ", 0, 5 },
        { SET_DOMAIN, "ok\nDOMAIN-SUFFIX,\nDOMAIN,a b\nDOMAIN-KEYWORD,\nDOMAIN-REGEX,\nDOMAIN-SUFFIX,..a\nIP-CIDR,x/8", "d:ok ", 6, 6 },
    };

    check(SET_TEXT, t, COUNT(t));
}

/* ---- text ---- */

static void text_lines(void **state)
{
    static const struct want t[] = {
        { SET_DOMAIN, "", "" },
        { SET_DOMAIN, "# nothing\n\n// here\n   \n", "" },
        { SET_DOMAIN,
          "\xef\xbb\xbf"
          "a.com\r\n  b.com\t\r\n\r\n# c\r\nd.com",
          "d:a.com d:b.com d:d.com " },
        { SET_DOMAIN, "a.com # one\nb.com\t// two\nc.com#three", "d:a.com d:b.com ", 1 },
        { SET_IPCIDR, "1.1.1.1/32 // dns\n8.8.8.8/32 # dns", "p:1.1.1.1/32 p:8.8.8.8/32 " },
        { SET_CLASSICAL, "PROCESS-NAME,a #1\nDOMAIN,a.com #1", "1:PROCESS-NAME,a #1 2:DOMAIN,a.com " },
        { SET_DOMAIN, "a b\nc/d\n", "", 2 },
        { SET_DOMAIN, " \n<!DOCTYPE html>\na.com\n", "" },
    };

    check(SET_TEXT, t, COUNT(t) - 1);
    check_bytes(SET_TEXT, &t[COUNT(t) - 1], t[COUNT(t) - 1].in, strlen(t[COUNT(t) - 1].in), -EBADMSG);
}

static void the_first_of_each_kind_is_kept_for_the_message(void **state)
{
    static const char text[] = "a.com\nx y\nDOMAIN,b.com\nz/\n1.1.1.1";
    struct set_stats st;
    struct seen seen;

    seen_init(&seen);
    assert_int_equal(set_read(text, strlen(text), SET_DOMAIN, SET_TEXT, &seen.v, &st), 0);
    assert_int_equal(st.entries, 3);
    assert_int_equal(st.first_bad.line, 2);
    assert_string_equal(st.first_bad.text, "x y");
    assert_int_equal(st.first_misplaced.line, 3);
    assert_string_equal(st.first_misplaced.text, "DOMAIN,b.com");
    free(seen.text);
}

static void the_visitor_decides(void **state)
{
    static const char text[] = "a.com\nb.com\nc.com";
    struct set_stats st;
    struct seen seen;

    seen_init(&seen);
    seen.answer = -EIO;
    seen.from = 1;
    assert_int_equal(set_read(text, strlen(text), SET_DOMAIN, SET_TEXT, &seen.v, &st), -EIO);
    assert_int_equal(seen.calls, 2);
    seen.answer = SET_BAD;
    assert_int_equal(set_read(text, strlen(text), SET_DOMAIN, SET_TEXT, &seen.v, &st), -EBADMSG);
    assert_int_equal(st.bad, 3);
    seen.v = (struct set_visitor){ &seen, .prefix = seen_prefix };
    assert_int_equal(set_read("a\n1.1.1.1", 9, SET_DOMAIN, SET_TEXT, &seen.v, &st), -EBADMSG);
    assert_int_equal(st.bad, 2);
    free(seen.text);
}

/* ---- yaml and JSON ---- */

static void yaml_lists(void **state)
{
    static const struct want t[] = {
        { SET_DOMAIN, "payload:\n  - 'a.com'\n  - \"b.com\"\n  - c.com\n", "d:a.com d:b.com d:c.com " },
        { SET_DOMAIN,
          "\xef\xbb\xbf# x\r\n---\r\nname: foo\r\nlist:\r\n- no\r\nrules:\r\n- '+.a.com' # x\r\n\r\n  # y\r\n-   b.com  # z\r\nother:\r\n- "
          "c.com\r\n",
          "d:+.a.com d:b.com " },
        { SET_DOMAIN, "payload:\n- a.com\n- 'b.com\n- c.com\nrubbish\n  - d.com\n-e.com\n-\n- ''\n- 'f' g\n- *.h.com\n- &i i.com\n",
          "d:a.com d:c.com d:d.com d:*.h.com ", 7 },
        { SET_CLASSICAL,
          "payload:\n  - DOMAIN-REGEX,^a#b\n  - \"DOMAIN-REGEX,^x\\\\.\\u0061\\x62\\\"\\/$\"\n  - 'DOMAIN-KEYWORD,it''s'\n  - "
          "PROCESS-NAME,c # d\n",
          "2:DOMAIN-REGEX,^a#b 3:DOMAIN-REGEX,^x\\.ab\"/$ 4:DOMAIN-KEYWORD,it's 5:PROCESS-NAME,c " },
        { SET_DOMAIN, "payload:\n  - a\n  nested: x\n  - b\nrules:\n  - c\n", "d:a d:b d:c ", 1 },
        { SET_DOMAIN, "payload:\n- \"\\u4e2d\\u00e9.cn\"\n- \"a\\q\"\n- \"a\\u12\"\n- \"a\\\n", "d:\xe4\xb8\xad\xc3\xa9.cn ", 3 },
        { SET_IPCIDR, "payload:\n  - 1.1.1.0/24\n  - ::1\n  - 2001:db8::/32\n  - IP-CIDR,9.9.9.9/32\n",
          "p:1.1.1.0/24 p:::1/128 p:2001:db8::/32 p:9.9.9.9/32 ", 0, 1 },
        { SET_DOMAIN, "payload:\n", "" },
        { SET_DOMAIN, "payload: []\n", "" },
        { SET_DOMAIN, "'payload': ['a', \"b\", c.com,\n  # no\n  '+.d'  , # e\n ]\nrules:\n  - f\n", "d:a d:b d:c.com d:+.d d:f " },
        { SET_DOMAIN, "payload: ['a', [b], {c: d}, 'e\n, f]\n", "d:a d:f ", 3 },
        { SET_DOMAIN, "payload: [a, b", "d:a d:b " },
        { SET_IPCIDR, "payload: [::1, 1.1.1.1, 2001:db8::/32]", "p:::1/128 p:1.1.1.1/32 p:2001:db8::/32 " },
        { SET_DOMAIN, "{\"version\": 1, \"x\": [\"no\"], \"payload\": [\"a.com\", \"+.b.com\"], \"y\": {\"payload\": [\"no\"]}}",
          "d:a.com d:+.b.com " },
        { SET_DOMAIN, "{\n  \"payload\":[\n    \"a.com\",\n    \"\\u0062.com\"\n  ]\n}\n", "d:a.com d:b.com " },
        { SET_DOMAIN, "{payload: [a.com]}", "d:a.com " },
    };

    check(SET_YAML, t, COUNT(t));
}

static void line_numbers_in_yaml(void **state)
{
    static const struct want t[] = {
        { SET_CLASSICAL, "# x\n\npayload:\n- UID,0\n\n# y\n- UID,1\n", "4:UID,0 7:UID,1 " },
        { SET_CLASSICAL, "payload: ['UID,0',\n 'UID,1',\n\n 'UID,2'\n]\nrules:\n- UID,3", "1:UID,0 2:UID,1 4:UID,2 7:UID,3 " },
    };

    check(SET_YAML, t, COUNT(t));
}

static void files_without_a_payload_are_refused(void **state)
{
    static const char *const t[] = { "",  "a.com\nb.com\n", "<html>\npayload:\n- a\n", "proxies:\n- a\n", "{\"a\": [\"b\"]}", "{",
                                     "[", "payload",        "payload:\n- a b\n" };

    for (size_t i = 0; i < COUNT(t); i++) {
        struct set_stats st;
        struct seen seen;

        seen_init(&seen);
        assert_int_equal(set_read(t[i], strlen(t[i]), SET_DOMAIN, SET_YAML, &seen.v, &st), -EBADMSG);
        assert_non_null(st.error);
        assert_string_equal(seen.text, "");
        free(seen.text);
    }
}

/* ---- mrs ---- */

struct mrs {
    uint8_t b[4096];
    size_t len;
};

static void put8(struct mrs *m, unsigned v)
{
    m->b[m->len++] = (uint8_t)v;
}

static void put64(struct mrs *m, uint64_t v)
{
    for (int i = 56; i >= 0; i -= 8)
        put8(m, (unsigned)(v >> i) & 0xff);
}

static void put_bytes(struct mrs *m, const void *p, size_t n)
{
    memcpy(m->b + m->len, p, n);
    m->len += n;
}

static void mrs_begin(struct mrs *m, unsigned behavior)
{
    m->len = 0;
    put_bytes(m, "MRS\1", 4);
    put8(m, behavior);
    put64(m, 3);
    put64(m, 2); /* two bytes that are to be skipped */
    put_bytes(m, "??", 2);
    put8(m, 1);
}

/* A trie from a list of stored keys, which are sorted and given back to front. Breadth first: the keys of a node are a range of the list.
 */
static void put_trie(struct mrs *m, const char *const *keys, size_t n)
{
    struct {
        size_t from, to, depth;
    } queue[256] = { { 0, n, 0 } };
    uint64_t leaves = 0, bitmap[4] = { 0 };
    size_t bits = 0, n_labels = 0, tail = 1;
    char labels[256];

    for (size_t head = 0; head < tail; head++) {
        size_t i = queue[head].from, depth = queue[head].depth;

        if (i < queue[head].to && !keys[i][depth]) {
            leaves |= (uint64_t)1 << head;
            i++;
        }
        while (i < queue[head].to) {
            size_t from = i;

            labels[n_labels++] = keys[i][depth];
            while (i < queue[head].to && keys[i][depth] == keys[from][depth])
                i++;
            queue[tail].from = from;
            queue[tail].to = i;
            queue[tail++].depth = depth + 1;
            bits++;
        }
        bitmap[bits / 64] |= (uint64_t)1 << bits % 64;
        bits++;
    }
    put64(m, 1);
    put64(m, leaves);
    put64(m, 2);
    put64(m, bitmap[0]);
    put64(m, bitmap[1]);
    put64(m, n_labels);
    put_bytes(m, labels, n_labels);
}

static void check_mrs(const struct mrs *m, const struct want *w, int expected)
{
    char packed[8192];
    size_t n = ZSTD_compress(packed, sizeof(packed), m->b, m->len, 1);

    assert_false(ZSTD_isError(n));
    check_bytes(SET_MRS, w, packed, n, expected);
}

static const char *const trie_keys[] = { "ed", "ed.+", "gro.+", "moc.a", "moc.a.+", "moc.c.*", "nc.\xe5\x9b\xbd\xe4\xb8\xad" };

static void mrs_names(void **state)
{
    struct mrs m;
    struct set_stats st;
    struct seen seen;
    char packed[8192];

    mrs_begin(&m, 0);
    put_trie(&m, trie_keys, COUNT(trie_keys));
    seen_init(&seen);
    assert_int_equal(set_read(packed, ZSTD_compress(packed, sizeof(packed), m.b, m.len, 1), SET_DOMAIN, SET_MRS, &seen.v, &st), 0);
    assert_string_equal(seen.text, "d:+.de d:.org d:+.a.com d:*.c.com d:\xe4\xb8\xad\xe5\x9b\xbd.cn ");
    assert_int_equal(st.entries, 5);
    free(seen.text);
}

static void mrs_with_rule_lines_in_it(void **state)
{
    static const char *const keys[] = { "moc.a,xiffus-niamod" };
    static const struct want want = { SET_DOMAIN, "", "d:+.a.com ", 0, 1 };
    struct mrs m;

    mrs_begin(&m, 0);
    put_trie(&m, keys, COUNT(keys));
    check_mrs(&m, &want, 0);
}

static void mrs_ranges(void **state)
{
    static const struct {
        const char *first, *last;
    } t[] = {
        { "::ffff:10.0.0.0", "::ffff:10.255.255.255" },
        { "::ffff:1.0.0.1", "::ffff:1.0.0.6" },
        { "2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff" },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
        { "::fffe:ffff:ffff", "::ffff:0.0.0.1" },
    };
    static const struct want want = { SET_IPCIDR, "",
                                      "p:10.0.0.0/8 p:1.0.0.1/32 p:1.0.0.2/31 p:1.0.0.4/31 p:1.0.0.6/32 p:2001:db8::/48 "
                                      "p:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128 p:::fffe:ffff:ffff/128 p:0.0.0.0/31 ",
                                      1 };
    static const struct want everything = { SET_IPCIDR, "", "p:::/0 " };
    uint8_t zero[16] = { 0 }, ones[16];
    struct mrs m;

    mrs_begin(&m, 1);
    put64(&m, COUNT(t) + 1);
    for (size_t i = 0; i < COUNT(t); i++) {
        struct in6_addr a, b;

        assert_int_equal(inet_pton(AF_INET6, t[i].first, &a), 1);
        assert_int_equal(inet_pton(AF_INET6, t[i].last, &b), 1);
        put_bytes(&m, &a, 16);
        put_bytes(&m, &b, 16);
    }
    memset(ones, 0xff, sizeof(ones));
    put_bytes(&m, ones, 16);
    put_bytes(&m, zero, 16); /* backwards */
    check_mrs(&m, &want, 0);

    mrs_begin(&m, 1);
    put64(&m, 1);
    put_bytes(&m, zero, 16);
    put_bytes(&m, ones, 16);
    check_mrs(&m, &everything, 0);
}

static void mrs_that_lies(void **state)
{
    static const struct want nothing = { SET_DOMAIN, "", "" }, nets = { SET_IPCIDR, "", "" }, lines = { SET_CLASSICAL, "", "" };
    static const size_t sizes[] = { 13, 24, 40, 64 }; /* where the file says how long its parts are */
    struct mrs good, m;

    mrs_begin(&good, 0);
    put_trie(&good, trie_keys, COUNT(trie_keys));
    check_bytes(SET_MRS, &nothing, "", 0, -EBADMSG);
    check_bytes(SET_MRS, &nothing, "payload:\n- a\n", 13, -EBADMSG);
    check_mrs(&good, &nets, -EBADMSG);
    check_mrs(&good, &lines, -EBADMSG);
    for (m = good, m.len = 0; m.len < good.len; m.len++) /* cut anywhere */
        check_mrs(&m, &nothing, -EBADMSG);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        m = good;
        memset(m.b + sizes[i], 0xff, 8);
        check_mrs(&m, &nothing, -EBADMSG);
    }
    for (size_t bit = 0; bit < 128; bit++) { /* a bitmap that is no tree, or another one: no read outside, no endless walk */
        char packed[8192];
        struct set_stats st;
        struct seen seen;

        m = good;
        m.b[48 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        seen_init(&seen);
        (void)set_read(packed, ZSTD_compress(packed, sizeof(packed), m.b, m.len, 1), SET_DOMAIN, SET_MRS, &seen.v, &st);
        assert_true(seen.calls <= 64);
        free(seen.text);
    }
}

/* 1 GiB of zeroes in 32 KiB */
static void mrs_bomb(void **state)
{
    static const uint8_t zeroes[1 << 20];
    size_t cap = 256 << 10, len = 0;
    uint8_t *packed = malloc(cap);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    struct set_stats st;
    struct seen seen;

    for (int i = 0; i < 1024; i++) {
        ZSTD_inBuffer in = { zeroes, sizeof(zeroes), 0 };
        ZSTD_outBuffer out = { packed, cap, len };

        while (in.pos < in.size)
            assert_false(ZSTD_isError(ZSTD_compressStream2(z, &out, &in, ZSTD_e_continue)));
        len = out.pos;
    }
    seen_init(&seen);
    assert_int_equal(set_read(packed, len, SET_DOMAIN, SET_MRS, &seen.v, &st), -ERR_LIMIT);
    assert_non_null(st.error);
    ZSTD_freeCCtx(z);
    free(packed);
    free(seen.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(rules),
        cmocka_unit_test(entries_of_another_behaviour_are_used_and_counted),
        cmocka_unit_test(text_lines),
        cmocka_unit_test(the_first_of_each_kind_is_kept_for_the_message),
        cmocka_unit_test(the_visitor_decides),
        cmocka_unit_test(yaml_lists),
        cmocka_unit_test(line_numbers_in_yaml),
        cmocka_unit_test(files_without_a_payload_are_refused),
        cmocka_unit_test(mrs_names),
        cmocka_unit_test(mrs_with_rule_lines_in_it),
        cmocka_unit_test(mrs_ranges),
        cmocka_unit_test(mrs_that_lies),
        cmocka_unit_test(mrs_bomb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
