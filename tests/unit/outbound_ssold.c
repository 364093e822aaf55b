/*
 * outbound_ssold.c - Shadowsocks without authentication: ciphertexts of another implementation, streams in every temper, and who may ask for it
 *
 * A stream and a datagram look alike (IV, then address and bytes), so a datagram's functions read what a stream wrote, and write what it reads.
 */
#include "core_talker.h"

#include <stdio.h>

#include "core/pool.h"
#include "outbound/outbound.h"
#include "outbound/ss.h"
#include "hex.h"
#include "outbound_loaded.h"

/* IV 00 01 02 ..., password "barfoo!", the address 1.2.3.4:53 and a text (Python's cryptography and hashlib). */
static const char text[] = "a datagram of some words";
static const struct vector {
    const char *name;
    size_t iv_len;
    const char *hex;
} vectors[] = {
    { "aes-128-ctr", 16, "08ef85f14211e968e9d304a295373c502cce4141333e56aefe6cc114b76c80" },
    { "aes-192-ctr", 16, "81ff1c112314dda81eb9cde2473183b6b613754170e12beee76b27663c1eb6" },
    { "aes-256-ctr", 16, "9e7433f900f17a382af6377484f6dafc7948319b10133a693062ba9e0d2574" },
    { "aes-128-cfb", 16, "08ef85f14211e968e9d304a295373c50f0a7b3ae729f50c76deebcadcb9b11" },
    { "aes-192-cfb", 16, "81ff1c112314dda81eb9cde2473183b6cf774b7e67b7dcb29474c22f93d6ee" },
    { "AES-256-CFB", 16, "9e7433f900f17a382af6377484f6dafcd9ee33af353d6d486df10ec2dd81ed" },
    { "chacha20", 8, "df953cb6f8910faa97622451659ab1315b936501ae05473464a8a30710b91c" },
    { "chacha20-ietf", 12, "5d049c3df1d2296ea791d9acb8e5be00cfeeb7ebdf612a293d44121eddc119" },
    { "xchacha20", 24, "9ccf0705e4603d8b6c7d501274d5d0945e63d89d1a7a23da93c37f68fb61ff" },
    { "rc4-md5", 16, "44cd2dec7c39c24b1a8dd0ebecc1b5c840165b65ce9201da473c70d051437e" },
    { "none", 0, "010102030400356120646174616772616d206f6620736f6d6520776f726473" },
    { "plain", 0, "010102030400356120646174616772616d206f6620736f6d6520776f726473" },
};

static struct ss_key key_of(const char *method)
{
    const struct ss_cipher *c = ss_cipher_find(method);
    struct ss_key k;

    assert_non_null(c);
    assert_true(c->old);
    assert_int_equal(ss_key_init(&k, c, "barfoo!"), 0);
    return k;
}

static struct dest somewhere(void)
{
    struct dest d = { .at.port = 53 };

    addr_parse("1.2.3.4", &d.at.ip);
    return d;
}

/* ---- datagrams ---- */

static void test_as_another_program_writes_it(void **state)
{
    struct dest to = somewhere();
    uint8_t iv[SS_KEY_MAX], want[128], got[256], plain[256];

    for (int i = 0; i < SS_KEY_MAX; i++)
        iv[i] = (uint8_t)i;
    for (size_t i = 0; i < N(vectors); i++) {
        struct ss_key k = key_of(vectors[i].name);
        size_t n = unhex(vectors[i].hex, want), iv_len = vectors[i].iv_len;
        struct sender from;
        struct span payload;

        assert_int_equal(ss_old_udp_seal(&k, iv, &to, text, sizeof(text) - 1, got), iv_len + n);
        assert_memory_equal(got, iv, iv_len);
        assert_memory_equal(got + iv_len, want, n);
        assert_int_equal(ss_old_udp_open(&k, got, iv_len + n, plain, &from, &payload), 0);
        assert_true(endpoint_eq(&from.at, &to.at));
        assert_int_equal(payload.len, sizeof(text) - 1);
        assert_memory_equal(payload.p, text, payload.len);
        ss_key_fini(&k);
    }
}

static void test_datagrams_that_are_none(void **state)
{
    static uint8_t big[SS_DATAGRAM_MAX + 600], plain[SS_DATAGRAM_MAX + 600];
    struct dest to = somewhere(), nowhere = { .at.port = 1 };
    struct ss_key k = key_of("aes-256-cfb");
    struct sender from;
    struct span payload;
    uint8_t iv[SS_KEY_MAX] = { 0 };

    assert_int_equal(ss_old_udp_seal(&k, iv, &nowhere, "x", 1, big), -ERR_NAME);
    assert_int_equal(ss_old_udp_seal(&k, iv, &to, plain, SS_DATAGRAM_MAX - 16 - 7, big), SS_DATAGRAM_MAX);
    assert_int_equal(ss_old_udp_seal(&k, iv, &to, plain, SS_DATAGRAM_MAX - 16 - 6, big), -EMSGSIZE);
    for (size_t len = 0; len < 16 + 7; len++) /* cut off: no whole address */
        assert_int_equal(ss_old_udp_open(&k, big, len, plain, &from, &payload), -ERR_PROTO);
    assert_int_equal(ss_old_udp_open(&k, big, 16 + 7, plain, &from, &payload), 0);
    assert_int_equal(payload.len, 0);
    big[16] ^= 7; /* an address of no type */
    assert_int_equal(ss_old_udp_open(&k, big, 100, plain, &from, &payload), -ERR_PROTO);
    ss_key_fini(&k);
}

/* ---- streams ---- */

static const uint8_t head[] = { 1, 1, 2, 3, 4, 0, 53 };

static void test_first_bytes_ride_with_the_address(void **state)
{
    for (size_t i = 0; i < N(vectors); i++)
        for (int first = 0; first < 2; first++) {
            struct loop *l = loop_new();
            struct mempair *pair = mempair_new(l, NULL);
            struct ss_key k = key_of(vectors[i].name);
            bool answered = false;
            struct stream *s = ss_stream_new(l, &k, &pair->b.s, head, sizeof(head), &answered);
            uint8_t wire[256], plain[256];
            struct sender from;
            struct span payload;
            ssize_t n;

            assert_int_equal(stream_write(s, (struct iovec[]){ { "he", 2 }, { "", 0 }, { "llo", 3 } }, first ? 3 : 0), first ? 5 : 0);
            assert_int_equal(pair->b.writes, 1);
            n = stream_read(&pair->a.s, &(struct iovec){ wire, sizeof(wire) }, 1);
            assert_int_equal(n, vectors[i].iv_len + sizeof(head) + (first ? 5 : 0));
            assert_int_equal(ss_old_udp_open(&k, wire, (size_t)n, plain, &from, &payload), 0);
            assert_int_equal(from.at.port, 53);
            assert_int_equal(payload.len, first ? 5 : 0);
            assert_memory_equal(payload.p, "hello", payload.len);
            assert_int_equal(stream_write(s, NULL, 0), 0); /* nothing more to flush */
            assert_int_equal(pair->b.writes, 1);
            stream_close(s, -ERR_CLOSED);
            loop_turn(l, 0);
            mempair_free(pair);
            loop_free(l);
            ss_key_fini(&k);
        }
}

/* What the far end sends in all: IV | encrypted (address, which is here just bytes, and a pattern). */
static void test_bytes_both_ways_through_every_temper(void **state)
{
    static const struct temper tempers[] = { { 0 },
                                             { .cap = 50, .again_every = 3 },
                                             { .read_max = 1, .again_every = 7 },
                                             { .write_max = 1 },
                                             { .read_max = 5, .write_max = 1600 },
                                             { .cap = 16000, .read_max = 1447, .again_every = 4 } };
    enum { TOTAL = 60000 };
    static uint8_t down[TOTAL + 64], up[TOTAL + 64], plain[TOTAL + 64], buf[4096];
    struct dest to = somewhere();
    uint8_t iv[SS_KEY_MAX];
    struct sender from;
    struct span payload;

    memset(iv, 9, sizeof(iv));
    for (size_t t = 0; t < N(tempers); t++)
        for (size_t i = 0; i < N(vectors); i++) {
            struct loop *l = loop_new();
            struct mempair *pair = mempair_new(l, &tempers[t]);
            struct ss_key k = key_of(vectors[i].name);
            bool answered = false;
            struct stream *s = ss_stream_new(l, &k, &pair->b.s, head, sizeof(head), &answered);
            struct pattern out = { .seed = 1 }, in = { .seed = 2 };
            size_t n_down, sent = 0, n_up = 0, got = 0;
            ssize_t n;

            pattern_fill(&in, plain, TOTAL);
            n_down = (size_t)ss_old_udp_seal(&k, iv, &to, plain, TOTAL, down);
            for (int turn = 0; turn < 400000 && (got < TOTAL + sizeof(head) || n_up < vectors[i].iv_len + sizeof(head) + TOTAL); turn++) {
                if (out.at < TOTAL) {
                    size_t want = TOTAL - out.at < 3001 ? TOTAL - out.at : 3001;

                    pattern_fill(&out, buf, want);
                    n = stream_write(s, (struct iovec[]){ { buf, want / 3 }, { buf + want / 3, want - want / 3 } }, 2);
                    assert_true(n >= 0);
                    out.at += (size_t)n;
                } else {
                    assert_true(stream_write(s, NULL, 0) >= 0);
                }
                if ((n = stream_write(&pair->a.s, &(struct iovec){ down + sent, n_down - sent }, 1)) > 0)
                    sent += (size_t)n;
                n = stream_read(s, (struct iovec[]){ { plain + got, 13 }, { plain + got + 13, got + 2013 < sizeof(plain) ? 2000 : 0 } }, 2);
                assert_true(n >= 0);
                got += (size_t)n;
                if ((n = stream_read(&pair->a.s, &(struct iovec){ up + n_up, sizeof(up) - n_up }, 1)) > 0)
                    n_up += (size_t)n;
                loop_turn(l, 0);
            }
            assert_int_equal(got, TOTAL + sizeof(head));
            assert_memory_equal(plain, head, sizeof(head));
            pattern_check(&in, plain + sizeof(head), TOTAL);
            assert_int_equal(ss_old_udp_open(&k, up, n_up, plain, &from, &payload), 0);
            assert_int_equal(payload.len, TOTAL);
            out.at = 0;
            pattern_check(&out, payload.p, TOTAL);
            assert_int_equal(stream_shutdown(s), 0);
            stream_shutdown(&pair->a.s);
            for (int turn = 0; turn < 100 && (n = stream_read(s, &(struct iovec){ buf, sizeof(buf) }, 1)) == 0; turn++)
                loop_turn(l, 0);
            assert_int_equal(n, -STREAM_EOF);
            assert_true(pair->a.eof);
            stream_close(s, 0);
            loop_turn(l, 0);
            mempair_free(pair);
            loop_free(l);
            ss_key_fini(&k);
        }
    buf_trim();
}

static void test_an_end_inside_the_iv(void **state)
{
    struct loop *l = loop_new();
    struct mempair *pair = mempair_new(l, NULL);
    struct ss_key k = key_of("aes-128-cfb");
    bool answered = false;
    struct stream *s = ss_stream_new(l, &k, &pair->b.s, head, sizeof(head), &answered);
    uint8_t buf[16];

    stream_write(&pair->a.s, &(struct iovec){ "0123456789", 10 }, 1);
    stream_shutdown(&pair->a.s);
    assert_int_equal(stream_read(s, &(struct iovec){ buf, sizeof(buf) }, 1), -ERR_PROTO);
    stream_close(s, -ERR_CLOSED);
    loop_turn(l, 0);
    mempair_free(pair);
    loop_free(l);
    ss_key_fini(&k);
}

/* ---- who may ask for it ---- */

#define NODE "{type: ss, server: a, port: 1, cipher: rc4-md5, password: x, name: "

static const char *why(struct out_set *s, const char *name)
{
    struct outbound *o = out_find(s, name);

    assert_non_null(o);
    return o->why;
}

static void test_only_the_users_own_nodes(void **state)
{
    static const char profile[] = "proxies:\n  - " NODE "theirs}\n  - {type: ss, server: a, port: 1, cipher: none, password: x, name: bare}\n",
                      local[] = "proxies:\n  - " NODE "mine}\n";
    for (int foreign = 0; foreign < 2; foreign++) {
        const struct cfg_input p = { .name = "p.yaml", .bytes = profile, .len = sizeof(profile) - 1, .foreign = foreign },
                               own = { .name = "l.yaml", .bytes = local, .len = sizeof(local) - 1 };
        struct diag d;
        struct profile *loaded;
        struct out_set *s;

        diag_init(&d, p.name, p.bytes, p.len, false);
        loaded = profile_read(&p, &own, &d);
        assert_non_null(loaded);
        s = out_set_new(loaded, &env, &d);
        assert_non_null(s);
        assert_null(why(s, "mine"));
        assert_int_equal(why(s, "theirs") != NULL, foreign);
        assert_int_equal(why(s, "bare") != NULL, foreign);
        assert_int_equal(d.n, foreign ? 2 : 0);
        if (foreign)
            assert_non_null(strstr(why(s, "theirs"), "rc4-md5 protects nothing"));
        out_set_put(s);
        diag_fini(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_another_program_writes_it),
        cmocka_unit_test(test_datagrams_that_are_none),
        cmocka_unit_test(test_first_bytes_ride_with_the_address),
        cmocka_unit_test(test_bytes_both_ways_through_every_temper),
        cmocka_unit_test(test_an_end_inside_the_iv),
        cmocka_unit_test(test_only_the_users_own_nodes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
