/*
 * outbound_ss2022.c - Shadowsocks 2022: vectors, heads, the stream layer against a naive server, datagrams and their window, hostile bytes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/pool.h"
#include "outbound/blake3.h"
#include "outbound/ss.h"
#include "hex.h"
#include "outbound_fake.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define NOW  1700000000u

static struct loop *loop;

/* ---- vectors: reference shadowsocks.md section 5 ---- */

#define U16 "AAECAwQFBgcICQoLDA0ODw=="                     /* 00 01 .. 0f */
#define U32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" /* .. 1f */
#define I16 "gIGCg4SFhoeIiYqLjI2Ojw=="                     /* 80 81 .. */
#define I32 "gIGCg4SFhoeIiYqLjI2Oj5CRkpOUlZaXmJmam5ydnp8="

static const struct vector {
    const char *name, *password, *subkey, *first, *next, *datagram;
} vectors[] = {
    { "2022-blake3-aes-128-gcm", U16, "80e542bc94fbfe0078a6469c1e09a7cf",
      "404142434445464748494a4b4c4d4e4fb3ccc846e965a2bc87758fe11a35fba8f1e940e11f7bcae0a405a58e82336bec7e9e904137e0303e5233fa9c12a230e1"
      "bd6897348fa6faf9a132c79da71f5d0404",
      "a9b3b54be8a46e29c69b9ff96330c5b7ca2740e646973c5e707e7808fb1386381c6b447a24d029",
      "f40628d5d6b8046126323fa217987d1f7c6f270be43775517bf855111ffb5ac31210b9705a6267c9e3d383df42e954f0009d8b" },
    { "2022-blake3-aes-128-gcm", I16 ":" U16, "80e542bc94fbfe0078a6469c1e09a7cf",
      "404142434445464748494a4b4c4d4e4fc7f59db214640578e43c0e8c77cacb86b3ccc846e965a2bc87758fe11a35fba8f1e940e11f7bcae0a405a58e82336bec"
      "7e9e904137e0303e5233fa9c12a230e1bd6897348fa6faf9a132c79da71f5d0404",
      "a9b3b54be8a46e29c69b9ff96330c5b7ca2740e646973c5e707e7808fb1386381c6b447a24d029",
      "73b5eec20ab85c34602b8f949a99a2179d093d42fed3919715a24488c6d96d917c6f270be43775517bf855111ffb5ac31210b9705a6267c9e3d383df42e954f0"
      "009d8b" },
    { "2022-blake3-aes-256-gcm", U32, "cb4edecf23461aaaeee9dcb3c1eb1be555c77e3661c7dd58c96bd5c3bcb6a064",
      "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f6974e6d351c385cfdec572595666496ee3eb1a2b4263b2bda00729ed3499844b"
      "80f5523efaa7b5482cbca5b29e3dc843e551fbd01ee44a31dc3e14015e3ba4a938",
      "a76582b0db9976fb5b3e4dd1b47200253cc107ef222915c4685c318253cd3e25773e254c9dd5ea",
      "0d55540f4bc25a6878ed1d12426553e3c2120d1f196a93e66f488afa005cfa207935e22604b00b31951d7986320fa7e6746767" },
    { "2022-blake3-aes-256-gcm", I32 ":" U32, "cb4edecf23461aaaeee9dcb3c1eb1be555c77e3661c7dd58c96bd5c3bcb6a064",
      "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5fb20167f778d69d701af5fca03ce1bc1b6974e6d351c385cfdec572595666496e"
      "e3eb1a2b4263b2bda00729ed3499844b80f5523efaa7b5482cbca5b29e3dc843e551fbd01ee44a31dc3e14015e3ba4a938",
      "a76582b0db9976fb5b3e4dd1b47200253cc107ef222915c4685c318253cd3e25773e254c9dd5ea",
      "b550177c88ef6e4f06852ea7b927e62a557a7c6a09b0058f90f477007ad97c94c2120d1f196a93e66f488afa005cfa207935e22604b00b31951d7986320fa7e6"
      "746767" },
    { "2022-blake3-chacha20-poly1305", U32, "cb4edecf23461aaaeee9dcb3c1eb1be555c77e3661c7dd58c96bd5c3bcb6a064",
      "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5fd9b69a4c76f623b46df88c5277c6ab63f8ecd53932179d8cbbfb69bdc348e91a"
      "09d00d34d82a775e86e374edb19239d544b88e6c1b0bb50e0d08ba5db6f5d34337",
      "98e11167245abb8969a69fcd9f2a682d5226aea564e0ad7f213f0475d34ae6fb5b2e91aa79759d",
      "000102030405060708090a0b0c0d0e0f10111213141516173e63addc34772b09334426cecb52a8ef4b4728a5fdb34e1a7f1a3fb73caff65d5e33c722d333482d"
      "1ed03e245a7ad6479e9ff5" },
};

static const uint8_t HEAD[] = { 3, 11, 'e', 'x', 'a', 'm', 'p', 'l', 'e', '.', 'c', 'o', 'm', 1, 0xbb };

static struct ss_key key_of(const struct vector *v)
{
    struct ss_key k;

    assert_int_equal(ss_key_init(&k, ss_cipher_find(v->name), v->password), 0);
    return k;
}

static size_t naive_chunk(struct ss_dir *d, const void *b, size_t n, uint8_t *out)
{
    uint8_t len[2] = { (uint8_t)(n >> 8), (uint8_t)n };

    assert_int_equal(ss_seal(d, &(struct iovec){ len, 2 }, 1, out), 0);
    assert_int_equal(ss_seal(d, &(struct iovec){ (void *)b, n }, 1, out + 18), 0);
    return 2 + 16 + n + 16;
}

static void test_streams_as_published(void **state)
{
    for (size_t i = 0; i < N(vectors); i++) {
        struct ss_key k = key_of(&vectors[i]);
        uint8_t salt[SS_KEY_MAX], got[512], want[512];
        struct ss_dir d = { 0 };
        ssize_t n;

        for (int b = 0; b < SS_KEY_MAX; b++)
            salt[b] = (uint8_t)(0x40 + b);
        assert_int_equal(ss_dir_init(&d, &k, salt), 0);
        unhex(vectors[i].subkey, want);
        assert_memory_equal(d.key.key, want, k.len);
        n = ss22_request(&d, &k, salt, NOW, &(struct span){ HEAD, sizeof(HEAD) }, 0, &(struct iovec){ "hello", 5 }, 1, got);
        assert_int_equal(k.len + (size_t)n, unhex(vectors[i].first, want));
        assert_memory_equal(salt, want, k.len);
        assert_memory_equal(got, want + k.len, (size_t)n);
        n = (ssize_t)naive_chunk(&d, "world", 5, got);
        assert_int_equal(n, unhex(vectors[i].next, want));
        assert_memory_equal(got, want, (size_t)n);
        ss_dir_fini(&d);
        ss_key_fini(&k);
    }
}

static void test_datagrams_as_published(void **state)
{
    static const uint8_t id[8] = { 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7 };
    struct dest to = { .at = { .port = 53 } };

    addr_parse("1.2.3.4", &to.at.ip);
    for (size_t i = 0; i < N(vectors); i++) {
        struct ss_key k = key_of(&vectors[i]);
        uint8_t nonce[24], got[2048], want[512];
        struct ss22_udp u = { .next = 7 };
        ssize_t n;

        for (int b = 0; b < 24; b++)
            nonce[b] = (uint8_t)b;
        assert_int_equal(ss22_udp_init(&u, &k, id), 0);
        n = ss22_udp_seal(&u, NOW, 0, nonce, &to, "q", 1, got);
        assert_int_equal(n, unhex(vectors[i].datagram, want));
        assert_memory_equal(got, want, (size_t)n);
        assert_int_equal(u.next, 8);
        ss22_udp_fini(&u);
        ss_key_fini(&k);
    }
}

static void test_hchacha20_as_published(void **state)
{
    uint8_t key[32], nonce[16], out[32], want[32];

    for (int i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    unhex("000000090000004a0000000031415927", nonce);
    unhex("82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc", want);
    hchacha20(key, nonce, out);
    assert_memory_equal(out, want, 32);
}

static void test_passwords(void **state)
{
    static const struct { const char *name, *password; int want; } cases[] = {
        { "2022-blake3-aes-128-gcm", "secret", -EINVAL },
        { "2022-blake3-aes-128-gcm", "", -EINVAL },
        { "2022-blake3-aes-128-gcm", U32, -EINVAL },
        { "2022-blake3-aes-256-gcm", U16, -EINVAL },
        { "2022-blake3-aes-128-gcm", U16 ":", -EINVAL },
        { "2022-blake3-aes-128-gcm", ":" U16, -EINVAL },
        { "2022-blake3-aes-128-gcm", U16 ":" U32, -EINVAL },
        { "2022-blake3-aes-128-gcm", I16 ":" I16 ":" U16, 0 },
        { "2022-blake3-chacha20-poly1305", I32 ":" U32, -EINVAL }, /* it has no identity headers */
        { "2022-BLAKE3-chacha20-poly1305", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", 0 },
    };
    char many[1000] = U16;
    struct ss_key k;

    for (size_t i = 0; i < N(cases); i++) {
        assert_int_equal(ss_key_init(&k, ss_cipher_find(cases[i].name), cases[i].password), cases[i].want);
        if (!cases[i].want)
            ss_key_fini(&k);
    }
    for (int i = 0; i <= SS_RELAYS_MAX; i++)
        strcat(many, ":" U16);
    assert_int_equal(ss_key_init(&k, ss_cipher_find("2022-blake3-aes-128-gcm"), many), -EINVAL);
}

/* ---- the layer ---- */

struct rig {
    struct fake down;
    struct ss_key key;
    struct stream *s;
    bool answered;
};

static void rig_init(struct rig *r, const struct vector *v)
{
    *r = (struct rig){ .key = key_of(v) };
    fake_init(&r->down);
    r->s = ss_stream_new(loop, &r->key, &r->down.s, HEAD, sizeof(HEAD), &r->answered);
    assert_non_null(r->s);
}

static void rig_fini(struct rig *r)
{
    stream_close(r->s, -ERR_CLOSED);
    loop_turn(loop, 0);
    ss_key_fini(&r->key);
}

/* Opens what the client sent with the last key, as the server behind all relays does. Returns the plaintext's length; *pad, *then by the way. */
static size_t naive_request(struct rig *r, uint8_t *out, size_t *pad, uint64_t *then)
{
    struct ss_key *k = &r->key;
    const uint8_t *b = r->down.out + k->len + 16 * (size_t)k->n_relays, *end = r->down.out + r->down.n_out;
    uint8_t fixed[11];
    static uint8_t var[70000];
    struct ss_dir d = { 0 };
    size_t len, total;

    assert_int_equal(ss_dir_init(&d, k, r->down.out), 0);
    assert_true(end - b >= 11 + 16);
    assert_int_equal(ss_open(&d, b, 11, &(struct iovec){ fixed, 11 }, 1), 0);
    b += 27;
    assert_int_equal(fixed[0], 0);
    *then = 0;
    for (int i = 1; i < 9; i++)
        *then = *then << 8 | fixed[i];
    len = (size_t)(fixed[9] << 8 | fixed[10]);
    assert_true((size_t)(end - b) >= len + 16);
    assert_int_equal(ss_open(&d, b, len, &(struct iovec){ var, len }, 1), 0);
    b += len + 16;
    assert_memory_equal(var, HEAD, sizeof(HEAD));
    *pad = (size_t)(var[sizeof(HEAD)] << 8 | var[sizeof(HEAD) + 1]);
    total = len - sizeof(HEAD) - 2 - *pad;
    memcpy(out, var + len - total, total);
    while (b < end) {
        uint8_t l[2];

        assert_int_equal(ss_open(&d, b, 2, &(struct iovec){ l, 2 }, 1), 0);
        len = (size_t)(l[0] << 8 | l[1]);
        assert_int_equal(ss_open(&d, b + 18, len, &(struct iovec){ out + total, len }, 1), 0);
        b += 18 + len + 16;
        total += len;
    }
    ss_dir_fini(&d);
    return total;
}

static void test_requests(void **state)
{
    static const size_t sizes[] = { 1, 5, 1448, 60000, 300000 };
    static uint8_t in[300000], out[310000];

    for (size_t i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t v = 0; v < N(vectors); v++)
        for (size_t i = 0; i < N(sizes); i++) {
            size_t pad;
            uint64_t then;
            struct rig r;

            rig_init(&r, &vectors[v]);
            assert_int_equal(stream_write(r.s, &(struct iovec){ in, sizes[i] }, 1), sizes[i]);
            if (sizes[i] < 60000)
                assert_int_equal(r.down.writes, 1); /* all in one */
            assert_int_equal(naive_request(&r, out, &pad, &then), sizes[i]);
            assert_memory_equal(out, in, sizes[i]);
            assert_int_equal(pad, 0);
            assert_true(then <= (uint64_t)time(NULL) && then + 5 > (uint64_t)time(NULL));
            rig_fini(&r);
        }
}

static void test_a_silent_client_pads(void **state)
{
    size_t different = 0, last = 0, pad;
    uint8_t out[16];
    uint64_t then;
    struct rig r;

    for (int i = 0; i < 50; i++) {
        rig_init(&r, &vectors[i % N(vectors)]);
        assert_int_equal(stream_write(r.s, NULL, 0), 0);
        assert_int_equal(r.down.writes, 1);
        assert_int_equal(naive_request(&r, out, &pad, &then), 0);
        assert_in_range(pad, 1, 900);
        different += pad != last;
        last = pad;
        rig_fini(&r);
    }
    assert_true(different > 25);
}

/* A server's answer to the request in r. */
static size_t naive_answer(struct rig *r, uint8_t type, int64_t skew, const uint8_t *salt, const size_t *sizes, size_t n, uint8_t *out)
{
    struct ss_key *k = &r->key;
    uint8_t head[11 + 32], zero[70000] = { 0 };
    uint64_t now = (uint64_t)(time(NULL) + skew);
    struct ss_dir d = { 0 };
    size_t at = k->len;

    memset(out, 0x5a, k->len);
    assert_int_equal(ss_dir_init(&d, k, out), 0);
    head[0] = type;
    for (int i = 0; i < 8; i++)
        head[1 + i] = (uint8_t)(now >> (56 - 8 * i));
    memcpy(head + 9, salt, k->len);
    head[9 + k->len] = (uint8_t)(sizes[0] >> 8);
    head[10 + k->len] = (uint8_t)sizes[0];
    ss_seal(&d, &(struct iovec){ head, 11u + k->len }, 1, out + at);
    at += 11u + k->len + 16;
    ss_seal(&d, &(struct iovec){ zero, sizes[0] }, 1, out + at);
    at += sizes[0] + 16;
    for (size_t i = 1; i < n; i++)
        at += naive_chunk(&d, zero, sizes[i], out + at);
    ss_dir_fini(&d);
    return at;
}

/* All that can be read: bytes, and the verdict that ends it. */
static ssize_t drain(struct rig *r, size_t piece, size_t *total)
{
    static uint8_t b[70000];
    ssize_t n;

    for (*total = 0; (n = stream_read(r->s, &(struct iovec){ b, piece }, 1)) > 0; *total += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(b[i], 0);
    return n;
}

static void test_answers(void **state)
{
    static const size_t sizes[] = { 5, 65535, 1, 16384, 65535 }, none[] = { 0, 3 };
    static uint8_t b[200000];

    for (size_t v = 0; v < N(vectors); v++)
        for (size_t piece = 1; piece < 70000; piece = piece * 9 + 100) {
            struct rig r;
            size_t len, total;

            rig_init(&r, &vectors[v]);
            stream_write(r.s, &(struct iovec){ "hi", 2 }, 1);
            len = naive_answer(&r, 1, 0, r.down.out, sizes, N(sizes), b);
            fake_feed(&r.down, b, len);
            r.down.eof = true;
            assert_int_equal(drain(&r, piece, &total), -STREAM_EOF);
            assert_int_equal(total, 5 + 65535 + 1 + 16384 + 65535);
            assert_true(r.answered);
            rig_fini(&r);

            rig_init(&r, &vectors[v]); /* the first chunk may be empty */
            stream_write(r.s, &(struct iovec){ "hi", 2 }, 1);
            len = naive_answer(&r, 1, 0, r.down.out, none, 2, b);
            fake_feed(&r.down, b, len);
            assert_int_equal(drain(&r, piece, &total), 0);
            assert_int_equal(total, 3);
            rig_fini(&r);
        }
}

static void test_answers_that_are_none(void **state)
{
    static const size_t sizes[] = { 5 };
    static const struct { uint8_t type; int64_t skew; bool other; int want; } cases[] = {
        { 1, 25, false, 0 },
        { 1, -25, false, 0 },
        { 1, 40, false, -ERR_CLOCK },
        { 1, -40, false, -ERR_CLOCK },
        { 0, 0, false, -ERR_PROTO },
        { 1, 0, true, -ERR_AUTH }, /* to another flow */
    };
    uint8_t b[512], salt[32] = { 0 };

    for (size_t i = 0; i < N(cases); i++) {
        struct rig r;
        size_t len, total;

        rig_init(&r, &vectors[i % N(vectors)]);
        stream_write(r.s, &(struct iovec){ "hi", 2 }, 1);
        len = naive_answer(&r, cases[i].type, cases[i].skew, cases[i].other ? salt : r.down.out, sizes, 1, b);
        fake_feed(&r.down, b, len);
        assert_int_equal(drain(&r, 64, &total), cases[i].want);
        assert_int_equal(total, cases[i].want ? 0 : 5);
        assert_int_equal(r.answered, !cases[i].want);
        rig_fini(&r);
    }
}

static void test_every_flipped_bit_and_every_cut(void **state)
{
    static const size_t sizes[] = { 20, 1, 50 };
    uint8_t b[512];

    for (size_t v = 0; v < N(vectors); v++) {
        size_t k = v / 2 == 0 ? 16 : 32, border[4] = { k, k + 11 + k + 16 + 36, border[1] + 18 + 17, border[2] + 18 + 66 };
        size_t before[] = { 0, 0, 20, 21, 71 }, total, len;
        struct rig r;

        for (size_t bit = 0; bit < border[3] * 8; bit++) {
            size_t whole = 0;

            while (border[whole] <= bit / 8)
                whole++;
            rig_init(&r, &vectors[v]);
            stream_write(r.s, &(struct iovec){ "hi", 2 }, 1);
            len = naive_answer(&r, 1, 0, r.down.out, sizes, 3, b);
            assert_int_equal(len, border[3]);
            b[bit / 8] ^= (uint8_t)(1 << bit % 8);
            fake_feed(&r.down, b, len);
            assert_int_equal(drain(&r, 64, &total), -ERR_AUTH);
            assert_int_equal(total, before[whole]);
            rig_fini(&r);
        }
        for (size_t cut = 0; cut <= border[3]; cut++) {
            bool clean = cut == 0 || cut == border[1] || cut == border[2] || cut == border[3];

            rig_init(&r, &vectors[v]);
            stream_write(r.s, &(struct iovec){ "hi", 2 }, 1);
            naive_answer(&r, 1, 0, r.down.out, sizes, 3, b);
            fake_feed(&r.down, b, cut);
            r.down.eof = true;
            assert_int_equal(drain(&r, 64, &total), clean ? -STREAM_EOF : -ERR_PROTO);
            rig_fini(&r);
        }
    }
}

static void test_a_server_that_speaks_first(void **state)
{
    static const size_t sizes[] = { 5 };
    uint8_t b[512], salt[32] = { 0 };
    struct rig r;
    size_t total;

    rig_init(&r, &vectors[0]); /* before it knows our salt nothing it says can be an answer */
    fake_feed(&r.down, b, naive_answer(&r, 1, 0, salt, sizes, 1, b));
    assert_int_equal(drain(&r, 64, &total), -ERR_PROTO);
    rig_fini(&r);
}

/* ---- the window ---- */

/* The same, the horrible way: all numbers seen. */
static void test_the_window_and_its_naive_twin(void **state)
{
    static bool seen[100000];
    struct ss_window w = { 0 };
    uint64_t top = 0, at = 0;
    uint32_t x = 1;

    for (int i = 0; i < 200000; i++) {
        uint64_t n;
        bool want;

        x = x * 1664525u + 1013904223u;
        if (x >> 20 & 1)
            at += x >> 29; /* mostly onwards, sometimes a jump */
        if ((x >> 8 & 0x3ff) == 0)
            at += x >> 21;
        n = at > (x >> 22) && (x >> 4 & 3) ? at - (x >> 22 & 0x3ff) : at;
        if (n >= 100000)
            break;
        want = n >= top || (top - n <= SS_WINDOW && !seen[n]);
        assert_int_equal(ss_window_fits(&w, n), want);
        if (want) {
            ss_window_add(&w, n);
            seen[n] = true;
            top = n >= top ? n + 1 : top;
        }
    }
    assert_false(ss_window_fits(&w, UINT64_MAX)); /* top would wrap */
    assert_true(ss_window_fits(&w, UINT64_MAX - 1));
    ss_window_add(&w, UINT64_MAX - 1);
    assert_false(ss_window_fits(&w, UINT64_MAX - 1));
    assert_false(ss_window_fits(&w, 5));
}

/* ---- datagrams ---- */

struct pair {
    struct ss_key key;
    struct ss22_udp us;
};

static const uint8_t our_id[8] = "us-8byte", server_id[8] = "srv-8byt";

static void pair_init(struct pair *p, const struct vector *v)
{
    memset(p, 0, sizeof(*p));
    p->key = key_of(v);
    assert_int_equal(ss22_udp_init(&p->us, &p->key, our_id), 0);
}

static void pair_fini(struct pair *p)
{
    ss22_udp_fini(&p->us);
    ss_key_fini(&p->key);
}

struct reply {
    uint8_t type;
    uint64_t then, number;
    const uint8_t *server, *client;
    const char *from;
    uint16_t pad;
};

/* A datagram of the server, sealed by hand. */
static size_t seal_reply(struct pair *p, const struct reply *q, const char *text, uint8_t *out)
{
    bool chacha = !p->key.cipher->relays;
    uint8_t block[16], body[2048] = { 0 }, both[SS_KEY_MAX + 8], sub[SS_KEY_MAX], nonce[24] = { 7 };
    struct dest from = { 0 };
    struct aead_key key = { 0 };
    size_t n = 0;

    memcpy(block, q->server, 8);
    for (int i = 0; i < 8; i++)
        block[8 + i] = (uint8_t)(q->number >> (56 - 8 * i));
    body[n++] = q->type;
    for (int i = 0; i < 8; i++)
        body[n++] = (uint8_t)(q->then >> (56 - 8 * i));
    memcpy(body + n, q->client, 8);
    n += 8;
    body[n++] = (uint8_t)(q->pad >> 8);
    body[n++] = (uint8_t)q->pad;
    n += q->pad;
    if (endpoint_parse(q->from, &from.at) < 0) {
        from.host = q->from;
        from.at.port = 53;
    }
    n += atyp_put(body + n, &from);
    memcpy(body + n, text, strlen(text));
    n += strlen(text);
    if (chacha) {
        struct iovec piece[2] = { { block, 16 }, { body, n } };

        aead_key_init(&key, aead_get(AEAD_XCHACHA20), p->key.master);
        memcpy(out, nonce, 24);
        assert_int_equal(aead_seal(&key, nonce, NULL, piece, 2, out + 24), 0);
        aead_key_fini(&key);
        return 24 + 16 + n + 16;
    }
    memcpy(both, p->key.master, p->key.len);
    memcpy(both + p->key.len, q->server, 8);
    blake3_derive("shadowsocks 2022 session subkey", both, p->key.len + 8u, sub, p->key.len);
    aead_key_init(&key, p->key.aead, sub);
    assert_int_equal(aead_seal(&key, block + 4, NULL, &(struct iovec){ body, n }, 1, out + 16), 0);
    aead_key_fini(&key);
    aes_block(p->key.master, p->key.len, true, block, out);
    return 16 + n + 16;
}

static int open_reply(struct pair *p, uint64_t now, const uint8_t *b, size_t n, const char *want)
{
    uint8_t out[2048];
    struct sender from;
    struct span payload;
    char text[ENDPOINT_STRLEN];
    int r = ss22_udp_open(&p->us, now, b, n, out, &from, &payload);

    if (r == 0) {
        assert_string_equal(endpoint_str(&from.at, text), "1.2.3.4:53");
        assert_int_equal(payload.len, strlen(want));
        assert_memory_equal(payload.p, want, payload.len);
    }
    return r;
}

static const struct reply good = { 1, NOW, 0, server_id, our_id, "1.2.3.4:53", 0 };

static void test_replies(void **state)
{
    static const uint8_t other[8] = "stranger";
    static const struct { struct reply q; int want; } cases[] = {
        { { 1, NOW, 1, server_id, our_id, "1.2.3.4:53", 0 }, 0 },
        { { 1, NOW + 30, 2, server_id, our_id, "1.2.3.4:53", 900 }, 0 },
        { { 1, NOW - 30, 3, server_id, our_id, "1.2.3.4:53", 1 }, 0 },
        { { 1, NOW + 31, 4, server_id, our_id, "1.2.3.4:53", 0 }, -ERR_CLOCK },
        { { 1, NOW - 31, 5, server_id, our_id, "1.2.3.4:53", 0 }, -ERR_CLOCK },
        { { 0, NOW, 6, server_id, our_id, "1.2.3.4:53", 0 }, -ERR_PROTO },
        { { 1, NOW, 7, server_id, other, "1.2.3.4:53", 0 }, -ERR_AUTH },
        { { 1, NOW, 8, server_id, our_id, "no host", 0 }, -ERR_PROTO },
        { { 1, NOW, 1, server_id, our_id, "1.2.3.4:53", 0 }, -ERR_AUTH }, /* again */
        { { 1, NOW, 4, server_id, our_id, "1.2.3.4:53", 0 }, 0 },         /* what was refused is not remembered */
    };

    for (size_t v = 0; v < N(vectors); v++) {
        struct pair p;
        uint8_t b[2048];

        pair_init(&p, &vectors[v]);
        for (size_t i = 0; i < N(cases); i++) {
            size_t n = seal_reply(&p, &cases[i].q, "text", b);

            assert_int_equal(open_reply(&p, NOW, b, n, "text"), cases[i].want);
        }
        pair_fini(&p);
    }
}

static void test_bad_replies(void **state)
{
    for (size_t v = 0; v < N(vectors); v++) {
        struct pair p;
        uint8_t b[2048];
        size_t n;

        pair_init(&p, &vectors[v]);
        n = seal_reply(&p, &good, "text", b);
        for (size_t bit = 0; bit < n * 8; bit++) {
            b[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_true(open_reply(&p, NOW, b, n, "") < 0);
            b[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        for (size_t cut = 0; cut < n; cut++)
            assert_true(open_reply(&p, NOW, b, cut, "") < 0);
        assert_int_equal(open_reply(&p, NOW, b, n, "text"), 0);
        assert_int_equal(open_reply(&p, NOW, b, n, "text"), -ERR_AUTH);
        pair_fini(&p);
    }
}

static void test_a_server_that_restarts(void **state)
{
    static const uint8_t second[8] = "second..", third[8] = "third...";

    for (size_t v = 0; v < N(vectors); v++) {
        struct reply q = good;
        struct pair p;
        uint8_t b[2048];

        pair_init(&p, &vectors[v]);
        for (q.number = 0; q.number < 3; q.number++)
            assert_int_equal(open_reply(&p, NOW, b, seal_reply(&p, &q, "x", b), "x"), 0);
        q.server = second;
        q.number = 0;
        assert_int_equal(open_reply(&p, NOW, b, seal_reply(&p, &q, "x", b), "x"), 0);
        q.server = server_id; /* the session before it is still heard */
        q.number = 3;
        assert_int_equal(open_reply(&p, NOW, b, seal_reply(&p, &q, "x", b), "x"), 0);
        q.server = third; /* but not a third one at once */
        assert_int_equal(open_reply(&p, NOW, b, seal_reply(&p, &q, "x", b), "x"), -ERR_LIMIT);
        q.then = NOW + 61;
        assert_int_equal(open_reply(&p, NOW + 61, b, seal_reply(&p, &q, "x", b), "x"), 0);
        assert_int_equal(open_reply(&p, NOW + 61, b, seal_reply(&p, &q, "x", b), "x"), -ERR_AUTH);
        pair_fini(&p);
    }
}

/* Its clock is ahead as far as it may be, and it restarts twice, so that the first session is forgotten as early as it can be. */
static void test_an_answer_that_came_twice_after_restarts(void **state)
{
    static const uint8_t second[8] = "second..", third[8] = "third...";

    for (size_t v = 0; v < N(vectors); v++) {
        struct reply first = { 1, NOW + 30, 0, server_id, our_id, "1.2.3.4:53", 0 }, q = good;
        struct pair p;
        uint8_t recording[2048], b[2048];
        size_t n;

        pair_init(&p, &vectors[v]);
        n = seal_reply(&p, &first, "x", recording);
        assert_int_equal(open_reply(&p, NOW, recording, n, "x"), 0);
        q.server = second;
        assert_int_equal(open_reply(&p, NOW, b, seal_reply(&p, &q, "x", b), "x"), 0);
        q.server = third;
        for (unsigned s = 0; s <= 60; s++) {
            q.then = NOW + s;
            open_reply(&p, NOW + s, b, seal_reply(&p, &q, "x", b), "x");
            assert_true(open_reply(&p, NOW + s, recording, n, "x") < 0);
        }
        pair_fini(&p);
    }
}

static void test_what_does_not_fit_a_datagram(void **state)
{
    static uint8_t big[65507], out[70000];
    struct dest to = { .at = { .port = 53 }, .host = "example.com" }, nowhere = { 0 };
    uint8_t nonce[24] = { 0 };
    struct pair p;

    pair_init(&p, &vectors[1]);
    assert_int_equal(ss22_udp_seal(&p.us, NOW, 0, nonce, &to, big, sizeof(big), out), -EMSGSIZE);
    assert_true(ss22_udp_seal(&p.us, NOW, 900, nonce, &to, big, 64000, out) > 64000);
    assert_int_equal(ss22_udp_seal(&p.us, NOW, 0, nonce, &nowhere, big, 1, out), -ERR_NAME);
    pair_fini(&p);
}

static int setup(void **state)
{
    loop = loop_new();
    return loop ? 0 : -1;
}

static int teardown(void **state)
{
    loop_free(loop);
    ss_stream_trim();
    buf_trim();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams_as_published),
        cmocka_unit_test(test_datagrams_as_published),
        cmocka_unit_test(test_hchacha20_as_published),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_a_silent_client_pads),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_every_flipped_bit_and_every_cut),
        cmocka_unit_test(test_a_server_that_speaks_first),
        cmocka_unit_test(test_the_window_and_its_naive_twin),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_bad_replies),
        cmocka_unit_test(test_a_server_that_restarts),
        cmocka_unit_test(test_an_answer_that_came_twice_after_restarts),
        cmocka_unit_test(test_what_does_not_fit_a_datagram),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
