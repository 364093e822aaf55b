/*
 * engine_sniff.c - names out of the first bytes: TLS cut anywhere, HTTP in every dress, QUIC against the vectors of its RFCs
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sniff.h"
#include "tests/unit/client_hello.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef enum sniff sniff_fn(const void *, size_t, char *);

/* On a copy of just that size, so that the sanitizer sees a read behind it. "" = no name found. */
static enum sniff run(sniff_fn *fn, const void *p, size_t len, const char *name)
{
    char host[HOST_MAX + 1] = "untouched";
    uint8_t *exact = malloc(len ? len : 1);
    enum sniff s;

    memcpy(exact, p, len);
    s = fn(exact, len, host);
    assert_string_equal(host, s == SNIFF_NAME ? name : "untouched");
    free(exact);
    return s;
}

/* ---- TLS ---- */

/* Cut into records of at most n bytes. */
static void records(struct out *o, const struct out *message, size_t n)
{
    o->len = 0;
    for (size_t at = 0; at < message->len; at += n) {
        size_t piece = message->len - at < n ? message->len - at : n;

        put(o, "\x16\3\1", 3);
        put_be(o, 2, (uint32_t)piece);
        put(o, message->b + at, piece);
    }
}

static void tls_names(void **state)
{
    static const struct {
        const char *name, *means;
    } t[] = {
        { "example.com", "example.com" },
        { "WWW.Example.COM.", "www.example.com" },
        { "xn--p1ai", "xn--p1ai" },
        { "_x.a-b.c", "_x.a-b.c" },
        { "localhost", "localhost" },
        { "1.2.3.4", NULL },
        { "::1", NULL },
        { "", NULL },
        { "a..b", NULL },
        { "a b.com", NULL },
        { "a/b.com", NULL },
        { "a\"b.com", NULL },
        { "\xe4\xb8\xad.com", NULL },
        { "<script>", NULL },
    };
    static struct out m, o;

    for (size_t i = 0; i < COUNT(t); i++) {
        hello(&m, t[i].name, 100);
        records(&o, &m, 16384);
        assert_int_equal(run(sniff_tls, o.b, o.len, t[i].means), t[i].means ? SNIFF_NAME : SNIFF_NOT);
    }
    hello(&m, NULL, 100);
    records(&o, &m, 16384);
    assert_int_equal(run(sniff_tls, o.b, o.len, ""), SNIFF_NOT);
}

static void tls_cut_anywhere(void **state)
{
    static const size_t sizes[] = { 1, 7, 200, 16384 };
    static struct out m, o;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        enum sniff last = SNIFF_MORE;

        hello(&m, "example.com", 300);
        records(&o, &m, sizes[i]);
        for (size_t len = 0; len <= o.len; len++) { /* the name comes once, and stays */
            enum sniff s = run(sniff_tls, o.b, len, "example.com");

            assert_true(s == last || (last == SNIFF_MORE && s == SNIFF_NAME));
            last = s;
        }
        assert_int_equal(last, SNIFF_NAME);
    }
    hello(&m, "example.com", 300);
    records(&o, &m, 16384);
    put(&o, "\x17\3\3\0\1x", 6); /* early data right behind */
    assert_int_equal(run(sniff_tls, o.b, o.len, "example.com"), SNIFF_NAME);
    hello(&m, NULL, 10);
    records(&o, &m, 16384);
    assert_int_equal(run(sniff_tls, o.b, o.len - 1, ""), SNIFF_MORE);
}

static void tls_has_an_end(void **state)
{
    static struct out m, o;

    hello(&m, "example.com", 16000);
    records(&o, &m, 16384);
    assert_int_equal(run(sniff_tls, o.b, 16000, ""), SNIFF_MORE);
    assert_int_equal(run(sniff_tls, o.b, o.len, "example.com"), SNIFF_NAME);
    hello(&m, "example.com", 16700);
    records(&o, &m, 16384);
    assert_int_equal(run(sniff_tls, o.b, 9, ""), SNIFF_NOT); /* longer than we would wait for */
    hello(&m, "example.com", 16000);
    records(&o, &m, 20); /* 4,000 bytes of record headers: the name is behind the end */
    assert_int_equal(run(sniff_tls, o.b, o.len, ""), SNIFF_NOT);
}

static void tls_what_is_none(void **state)
{
    static const struct {
        const char *p;
        size_t len;
        enum sniff s;
    } t[] = {
        { "", 0, SNIFF_MORE },
        { "\x16", 1, SNIFF_MORE },
        { "\x16\2", 2, SNIFF_NOT },
        { "\x15\3\1\0\2", 5, SNIFF_NOT },
        { "\x80\x2e\1\0\2", 5, SNIFF_NOT }, /* SSLv2 */
        { "GET / HTTP/1.1\r\n", 16, SNIFF_NOT },
        { "\x16\3\1\0\4\2\0\0\0", 9, SNIFF_NOT }, /* a ServerHello */
        { "\x16\3\1\0\4\1\0\0\0", 9, SNIFF_NOT }, /* an empty message */
        { "\x16\3\1\0\0\x16\3\1\0\0", 10, SNIFF_MORE },
    };
    static struct out m, o;

    for (size_t i = 0; i < COUNT(t); i++)
        assert_int_equal(run(sniff_tls, t[i].p, t[i].len, ""), t[i].s);
    hello(&m, "example.com", 10);
    m.b[4 + 34 + 32 + 1]++; /* the ciphers are longer than said: what follows is out of step */
    records(&o, &m, 16384);
    assert_int_equal(run(sniff_tls, o.b, o.len, ""), SNIFF_NOT);
}

/* ---- HTTP ---- */

static void http_requests(void **state)
{
    static const struct {
        const char *in, *name;
        enum sniff s;
    } t[] = {
        { "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "example.com", SNIFF_NAME },
        { "get /x HTTP/1.0\nhOsT:\tWWW.Example.com:8080 \n", "www.example.com", SNIFF_NAME },
        { "PROPFIND / HTTP/1.1\r\nA: b\r\nHost:x.org\r\n", "x.org", SNIFF_NAME },
        { "M-SEARCH * HTTP/1.1\r\nHOST: a.b\r\n", "a.b", SNIFF_NAME },
        { "GET http://a.com/?q=http://b.com HTTP/1.1\r\n", "a.com", SNIFF_NAME },
        { "GET http://a.com HTTP/1.1\r\nHost: b.com\r\n\r\n", "a.com", SNIFF_NAME },
        { "GET ws://u:p@a.com:80?x HTTP/1.1\r\n", "a.com", SNIFF_NAME },
        { "GET /?u=http://b.com HTTP/1.1\r\nHost: a.com\r\n", "a.com", SNIFF_NAME },
        { "CONNECT a.com:443 HTTP/1.1\r\n", "a.com", SNIFF_NAME },
        { "GET /a b HTTP/1.1\r\nHost: a.com\r\n", "a.com", SNIFF_NAME },
        { "GET / HTTP/1.1\r\nHost: a.com\r\nHost: b.com\r\n", "a.com", SNIFF_NAME },
        { "GET / HTTP/1.1\r\nXHost: a.com\r\nHost : c.com\r\n\r\nHost: b.com\r\n", "", SNIFF_NOT },
        { "GET / HTTP/1.1\r\nHost: 1.2.3.4\r\n", "", SNIFF_NOT },
        { "GET / HTTP/1.1\r\nHost: [::1]:80\r\n", "", SNIFF_NOT },
        { "GET / HTTP/1.1\r\nHost:\r\n", "", SNIFF_NOT },
        { "GET http://1.2.3.4/ HTTP/1.1\r\nHost: a.com\r\n", "", SNIFF_NOT },
        { "GET / HTTP/1.1\r\n\r\n", "", SNIFF_NOT },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", SNIFF_NOT },
        { "GET /\r\n", "", SNIFF_NOT },
        { "SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "", SNIFF_NOT },
        { "\x16\3\1", "", SNIFF_NOT },
        { " GET / HTTP/1.1\r\n", "", SNIFF_NOT },
        { "\r\n", "", SNIFF_NOT },
        { "BitTorrentprotocolandmore", "", SNIFF_NOT },
        { "", "", SNIFF_MORE },
        { "GE", "", SNIFF_MORE },
        { "GET / HTTP/1.1\r\nHost: a.co", "", SNIFF_MORE },
        { "GET / HTTP/1.1\r\nAccept: x\r\n", "", SNIFF_MORE },
    };

    for (size_t i = 0; i < COUNT(t); i++)
        assert_int_equal(run(sniff_http, t[i].in, strlen(t[i].in), t[i].name), t[i].s);
}

static void http_cut_anywhere(void **state)
{
    static const char in[] = "GET /a HTTP/1.1\r\nAccept: */*\r\nHost: example.com\r\n";

    for (size_t len = 0; len < sizeof(in) - 2; len++)
        assert_int_equal(run(sniff_http, in, len, ""), SNIFF_MORE);
    assert_int_equal(run(sniff_http, in, sizeof(in) - 1, "example.com"), SNIFF_NAME);
}

static void http_has_an_end(void **state)
{
    static char in[40000];
    size_t n = (size_t)sprintf(in, "GET / HTTP/1.1\r\nCookie: ");

    memset(in + n, 'a', sizeof(in) - n);
    assert_int_equal(run(sniff_http, in, 16383, ""), SNIFF_MORE);
    assert_int_equal(run(sniff_http, in, 16384, ""), SNIFF_NOT);
    memset(in + 5, 'a', n);
    assert_int_equal(run(sniff_http, in, 20000, ""), SNIFF_NOT);
}

/* ---- QUIC ---- */

/* The CRYPTO frame of A.2. */
static const char vector_frame[] =
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010000e00000b65"
    "78616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa4"
    "7fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e0403050306030203080408050806002d00020101001c0002"
    "4001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e51570806048000ffff";

static void vectors_of_the_rfcs(void **state)
{
    for (size_t i = 0; i < COUNT(quic_keys); i++) {
        static struct out frames, o, want;
        struct sniff_quic *q = sniff_quic_new();
        char host[HOST_MAX + 1];

        frames.len = o.len = want.len = 0;
        put_hex(&frames, vector_frame);
        memset(frames.b + frames.len, 0, 1162 - frames.len);
        frames.len = 1162;
        put_initial(&o, &quic_keys[i], 2, 4, "", &frames);
        put_hex(&want,
                quic_keys[i].head); /* it is the packet that is printed there: its head, its first bytes, and the tag over all of it */
        put_hex(&want, quic_keys[i].sample);
        assert_int_equal(o.len, 1200);
        assert_memory_equal(o.b, want.b, want.len);
        assert_memory_equal(o.b + o.len - 16, quic_keys[i].tag, 16);

        assert_int_equal(sniff_quic(q, o.b, o.len, host), SNIFF_NAME);
        assert_string_equal(host, "example.com");
        sniff_quic_free(q);
    }
}

/* Small frames, last first, over three datagrams; with PADDING, PING and ACK between, a token, other lengths of number, a coalesced packet.
 */
static void pieces_in_any_order(void **state)
{
    for (size_t i = 0; i < COUNT(quic_keys); i++) {
        static struct out m, frames[4], d[3];
        struct sniff_quic *q = sniff_quic_new();
        char host[HOST_MAX + 1] = "untouched";
        size_t piece, at;

        hello(&m, "many.example.com", 1700); /* as with a post-quantum key */
        piece = m.len / 40 + 1;
        memset(frames, 0, sizeof(frames));
        memset(d, 0, sizeof(d));
        at = 0;
        for (size_t n = 0; at < m.len; n++, at += piece) {
            struct out *f = &frames[3 - n / 11];
            size_t len = m.len - at < piece ? m.len - at : piece;

            put_crypto(f, &m, at, len);
            put(f, "\0\0\1\0", 4);
            put(f, "\2\5\0\1\0\0\1", 7); /* ACK of two ranges */
            put(f, "\3\x40\x05\0\0\0\1\2\3", 9);
        }
        put_initial(&d[0], &quic_keys[i], 0, 1, "", &frames[0]);
        put_initial(&d[1], &quic_keys[i], 1, 2, "token", &frames[1]);
        put(&d[1], quic_keys[i].version == 1 ? "\xd3\0\0\0\1" : "\xe3\x6b\x33\x43\xcf", 5); /* 0-RTT in between */
        put_hex(&d[1], "088394c8f03e5157080005aabbccddee");
        put_initial(&d[1], &quic_keys[i], 2, 3, "", &frames[2]);
        put_initial(&d[2], &quic_keys[i], 3, 4, "", &frames[3]);
        put(&d[2], "\0\0\0\0\0", 5); /* padding outside of packets */

        assert_int_equal(sniff_quic(q, d[0].b, d[0].len, host), SNIFF_MORE);
        assert_int_equal(sniff_quic(q, d[1].b, d[1].len, host), SNIFF_MORE);
        assert_int_equal(sniff_quic(q, d[1].b, d[1].len, host), SNIFF_MORE); /* sent again */
        assert_string_equal(host, "untouched");
        assert_int_equal(sniff_quic(q, d[2].b, d[2].len, host), SNIFF_NAME);
        assert_string_equal(host, "many.example.com");
        sniff_quic_free(q);
    }
}

static enum sniff quic_once(const void *p, size_t len, char *host)
{
    struct sniff_quic *q = sniff_quic_new();
    enum sniff s = sniff_quic(q, p, len, host);

    sniff_quic_free(q);
    return s;
}

static void quic_what_is_none(void **state)
{
    static struct out m, frames, o, bad;
    static const struct {
        const char *hex;
    } t[] = {
        { "" },
        { "c0" },
        { "c0000000" },
        { "c00000000008" },
        { "400102030405060708" },
        { "170303" },
        { "c000000002088394c8f03e51570800" },
        { "c000000001158394c8f03e5157088394c8f03e5157088394c8f03e5157000000" }, /* an id of 21 bytes */
        { "f000000001088394c8f03e51570800aabb" },                               /* Retry */
        { "d000000001088394c8f03e5157080002aabb" },                             /* only 0-RTT */
        { "c000000001088394c8f03e51570800ffffffffffffffff" },
        { "c000000001088394c8f03e5157080000ffffffffffffffff" },
    };

    for (size_t i = 0; i < COUNT(t); i++) {
        o.len = 0;
        put_hex(&o, t[i].hex);
        assert_int_equal(run(quic_once, o.b, o.len, ""), SNIFF_NOT);
    }
    hello(&m, "example.com", 0);
    frames.len = o.len = 0;
    put_crypto(&frames, &m, 0, m.len);
    put_initial(&o, &quic_keys[0], 0, 1, "", &frames);
    assert_int_equal(run(quic_once, o.b, o.len, "example.com"), SNIFF_NAME);
    for (size_t bit = 0; bit < o.len * 8; bit++) { /* every flipped bit is seen */
        bad = o;
        bad.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(run(quic_once, bad.b, bad.len, ""), SNIFF_NOT);
    }
    for (size_t len = 0; len < o.len; len++)
        assert_int_equal(run(quic_once, o.b, len, ""), SNIFF_NOT);

    frames.len = o.len = 0; /* a frame that has no business in an Initial packet */
    put_crypto(&frames, &m, 0, m.len);
    put(&frames, "\x08\0", 2);
    put_initial(&o, &quic_keys[0], 0, 1, "", &frames);
    assert_int_equal(run(quic_once, o.b, o.len, ""), SNIFF_NOT);

    frames.len = o.len = 0; /* bytes behind what we collect */
    put(&frames, "\6\x80\0\x40\0\1x", 7);
    put(&frames, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    put_initial(&o, &quic_keys[0], 0, 1, "", &frames);
    assert_int_equal(run(quic_once, o.b, o.len, ""), SNIFF_NOT);
}

/* Over the limit of an Initial, and another connection in the same flow: keys are made anew. */
static void a_new_destination_id_makes_new_keys(void **state)
{
    static struct out m, frames, o;
    struct sniff_quic *q = sniff_quic_new();
    char host[HOST_MAX + 1];

    hello(&m, "example.com", 0);
    frames.len = o.len = 0;
    put_crypto(&frames, &m, 0, 30);
    put_initial(&o, &quic_keys[0], 0, 1, "", &frames);
    assert_int_equal(sniff_quic(q, o.b, o.len, host), SNIFF_MORE);
    frames.len = o.len = 0;
    put_crypto(&frames, &m, 30, m.len - 30);
    put_initial(&o, &quic_keys[1], 0, 1, "", &frames); /* version 2 from here on */
    assert_int_equal(sniff_quic(q, o.b, o.len, host), SNIFF_NAME);
    sniff_quic_free(q);
    sniff_quic_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_names),
        cmocka_unit_test(tls_cut_anywhere),
        cmocka_unit_test(tls_has_an_end),
        cmocka_unit_test(tls_what_is_none),
        cmocka_unit_test(http_requests),
        cmocka_unit_test(http_cut_anywhere),
        cmocka_unit_test(http_has_an_end),
        cmocka_unit_test(vectors_of_the_rfcs),
        cmocka_unit_test(pieces_in_any_order),
        cmocka_unit_test(quic_what_is_none),
        cmocka_unit_test(a_new_destination_id_makes_new_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
