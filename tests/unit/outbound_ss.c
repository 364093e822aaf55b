/*
 * outbound_ss.c - Shadowsocks: vectors, the stream layer against a naive codec, hostile bytes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>

#include "core/pool.h"
#include "outbound/ss.h"
#include "hex.h"
#include "outbound_fake.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct loop *loop;

/* Reference shadowsocks.md section 5: password "barfoo!", salt 00 01 02 ..., example.com:443, "hello" then "world"; datagram "q" to 1.2.3.4:53. */
static const struct vector {
    const char *name, *subkey, *first, *next, *datagram;
} vectors[] = {
    { "aes-128-gcm", "9cd21fb890a57fbe98653cbadd4d047c",
      "6f4051bba8abc6dd093a70772d20c2a6496e83cb3671df0e3535facc60e35e9f533050d6202dbfc8b8c80e20e657c9db64127cf68e29",
      "27e92ec69375a1334ffb5881d3b0afa70189250d7019bc5c1f695ee5b9407cbb953b2732e70f5a", "6e5584b9792cb81251e002e6784f77bddaa5fe509af2c109" },
    { "AES-192-GCM", "82c46fc4b2354d4ff06a739d295f5a576f8b26709e7f0ece",
      "d322bbb190e35d43a50c63f619e353617d73ff7ddae74a146b0a434c806c729c1193179b506b0d3ccd16ee0c3ea33ea00d95ed93c506",
      "598fd6379c66363bb97b6d21c42e7b5d990e7a5a1a4887be307e70f3d650d186526b019d25411d", "d237f7e8698d7e6e2d0d0b463eed6cd5bfb9aa115e1303f8" },
    { "AEAD_AES_256_GCM", "6e62f41174d7879ffea269ebf7805b730f62002e2b461f4dcb2a21dfb6f6423e",
      "fe235e2dc19de661aad4c0dca27e61107ec2dd9bc51b0d8a83b231613d79afc71c35f0cf7dd35d23dc61e5826a05d67c94b48e630f09",
      "e4cb83912b0f3cb7704ad7f9002ca02cef05e3c44a26f61fb24d1e5d72a8a5e03e53c16e5da740", "ff36a0bd3c5a81cc303fae19038a40d1e1624975a5a92476" },
    { "ChaCha20-IETF-Poly1305", "6e62f41174d7879ffea269ebf7805b730f62002e2b461f4dcb2a21dfb6f6423e",
      "a03b55ca9440c8d1a01354bacf37ab76b8964db967f534f21b56fa73a5ec120506d5c3c47201725a0e90704e0daf9cca9be8e71a079f",
      "ed4af8f46108674e93e32cd112ae4d7db55864a6f12f596905dd7ebb053cba5d8f5095d94390ee", "a12ea6fe5e8f928944720cef41ff395b8a597e1d4166c2fd" },
    { "xchacha20-ietf-poly1305", "6e62f41174d7879ffea269ebf7805b730f62002e2b461f4dcb2a21dfb6f6423e",
      "19a44c62e0eb58d78e6a676e5456223829aca0728be44b66a3526e8a17142c7dd028de2b5986556911ede5a913d7d325cc11569a7a5e",
      "87f6e25b1ccb63c5ce582247b5279bd46e6618365035fb87e3f76aa9528848cb4297abcfffbd63", "18b193ff55e6b5a0b068a2645b52297cbaf93877e4b9a952" },
};

static void counting_salt(uint8_t salt[SS_KEY_MAX])
{
    for (int i = 0; i < SS_KEY_MAX; i++)
        salt[i] = (uint8_t)i;
}

static struct ss_key key_of(const char *method)
{
    const struct ss_cipher *c = ss_cipher_find(method);
    struct ss_key k;

    assert_non_null(c);
    assert_int_equal(ss_key_init(&k, c, "barfoo!"), 0);
    return k;
}

/* ---- a naive codec: one chunk at a time, nothing shared with the layer but seal and open ---- */

static size_t naive_chunk(struct ss_dir *d, const void *b, size_t n, uint8_t *out)
{
    uint8_t len[2] = { (uint8_t)(n >> 8), (uint8_t)n };

    assert_int_equal(ss_seal(d, &(struct iovec){ len, 2 }, 1, out), 0);
    assert_int_equal(ss_seal(d, &(struct iovec){ (void *)b, n }, 1, out + 18), 0);
    return 2 + 16 + n + 16;
}

/* Opens all of a sealed stream; returns the plaintext's length. chunks counts. */
static size_t naive_open(const struct ss_key *k, const uint8_t *b, size_t n, uint8_t *out, unsigned *chunks)
{
    struct ss_dir d = { 0 };
    size_t at = k->len, total = 0;

    assert_true(n >= at);
    assert_int_equal(ss_dir_init(&d, k, b), 0);
    for (*chunks = 0; at < n; ++*chunks) {
        uint8_t len[2];
        size_t want;

        assert_true(n - at >= 18);
        assert_int_equal(ss_open(&d, b + at, 2, &(struct iovec){ len, 2 }, 1), 0);
        want = (size_t)(len[0] << 8 | len[1]);
        assert_in_range(want, 1, SS_CHUNK_MAX);
        at += 18;
        assert_true(n - at >= want + 16);
        assert_int_equal(ss_open(&d, b + at, want, &(struct iovec){ out + total, want }, 1), 0);
        at += want + 16;
        total += want;
    }
    ss_dir_fini(&d);
    return total;
}

static void pattern(uint8_t *b, size_t n)
{
    uint32_t x = 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        b[i] = (uint8_t)(x >> 24);
    }
}

/* ---- vectors ---- */

static void test_keys_and_chunks_as_published(void **state)
{
    uint8_t salt[SS_KEY_MAX], want[128], got[256], head[64];
    size_t head_len = unhex("030b6578616d706c652e636f6d01bb", head);

    counting_salt(salt);
    for (size_t i = 0; i < N(vectors); i++) {
        struct ss_key k = key_of(vectors[i].name);
        struct ss_dir d = { 0 };
        uint8_t first[64];
        size_t n;

        assert_int_equal(ss_dir_init(&d, &k, salt), 0);
        unhex(vectors[i].subkey, want);
        assert_memory_equal(d.key.key, want, k.len);
        memcpy(first, head, head_len);
        memcpy(first + head_len, "hello", 5);
        n = naive_chunk(&d, first, head_len + 5, got);
        assert_int_equal(n, unhex(vectors[i].first, want));
        assert_memory_equal(got, want, n);
        n = naive_chunk(&d, "world", 5, got);
        assert_int_equal(n, unhex(vectors[i].next, want));
        assert_memory_equal(got, want, n);
        ss_dir_fini(&d);
    }
}

static void test_master_key_as_published(void **state)
{
    uint8_t want[32];
    struct ss_key k = key_of("aes-256-gcm");

    unhex("b3adc47839e047eb228870526dc8fc30b347287ffca3045dcea06b3fdf090acb", want);
    assert_memory_equal(k.master, want, 32);
    k = key_of("aes-128-gcm");
    assert_memory_equal(k.master, want, 16);
}

static void test_datagrams_as_published(void **state)
{
    uint8_t salt[SS_KEY_MAX], want[128], got[2048], plain[2048];
    struct dest to = { .at = { .port = 53 } };

    counting_salt(salt);
    addr_parse("1.2.3.4", &to.at.ip);
    for (size_t i = 0; i < N(vectors); i++) {
        struct ss_key k = key_of(vectors[i].name);
        size_t salt_len = k.len;
        struct sender from;
        struct span payload;
        ssize_t n = ss_udp_seal(&k, salt, &to, "q", 1, got);

        assert_int_equal((size_t)n - salt_len, unhex(vectors[i].datagram, want));
        assert_memory_equal(got, salt, salt_len);
        assert_memory_equal(got + salt_len, want, (size_t)n - salt_len);
        assert_int_equal(ss_udp_open(&k, got, (size_t)n, plain, &from, &payload), 0);
        assert_true(endpoint_eq(&from.at, &to.at));
        assert_int_equal(payload.len, 1);
        assert_int_equal(payload.p[0], 'q');
    }
}

static void test_cipher_names(void **state)
{
    static const char *const unknown[] = { "", "aes-256-cfb8", "2022-blake3-aes-192-gcm", "aes-256-gcm ", "salsa20" };

    assert_ptr_equal(ss_cipher_find("AES-256-gcm"), ss_cipher_find("aead_aes_256_gcm"));
    assert_ptr_equal(ss_cipher_find("AEAD_CHACHA20_POLY1305"), ss_cipher_find("chacha20-ietf-poly1305"));
    for (size_t i = 0; i < N(unknown); i++)
        assert_null(ss_cipher_find(unknown[i]));
}

/* ---- the layer ---- */

struct rig {
    struct fake down;
    struct ss_key key;
    struct stream *s;
    bool answered;
    unsigned readable, writable, failed;
};

static void on_ready(struct stream *s, unsigned what)
{
    struct rig *r = s->owner;

    r->readable += !!(what & STREAM_READABLE);
    r->writable += !!(what & STREAM_WRITABLE);
    r->failed += !!(what & STREAM_FAILED);
}

static const uint8_t HEAD[] = { 3, 11, 'e', 'x', 'a', 'm', 'p', 'l', 'e', '.', 'c', 'o', 'm', 1, 0xbb };

static void rig_init(struct rig *r, const char *method)
{
    *r = (struct rig){ .key = key_of(method) };
    ss_stream_trim(); /* tests play the same server stream again and again */
    fake_init(&r->down);
    r->s = ss_stream_new(loop, &r->key, &r->down.s, HEAD, sizeof(HEAD), &r->answered);
    assert_non_null(r->s);
    r->s->owner = r;
    r->s->on_ready = on_ready;
}

static void rig_fini(struct rig *r)
{
    if (r->s)
        stream_close(r->s, -ERR_CLOSED);
    loop_turn(loop, 0);
}

static void room_again(struct rig *r, size_t room)
{
    r->down.room = room;
    r->down.short_write = false;
    r->down.s.on_ready(&r->down.s, STREAM_WRITABLE);
}

static void test_first_bytes_ride_with_the_address(void **state)
{
    for (size_t i = 0; i < N(vectors); i++) {
        uint8_t plain[256];
        unsigned chunks;
        struct rig r;
        size_t n;

        rig_init(&r, vectors[i].name);
        assert_int_equal(stream_write(r.s, (struct iovec[]){ { "he", 2 }, { "", 0 }, { "llo", 3 } }, 3), 5);
        assert_int_equal(r.down.writes, 1);
        n = naive_open(&r.key, r.down.out, r.down.n_out, plain, &chunks);
        assert_int_equal(chunks, 1);
        assert_int_equal(n, sizeof(HEAD) + 5);
        assert_memory_equal(plain, HEAD, sizeof(HEAD));
        assert_memory_equal(plain + sizeof(HEAD), "hello", 5);
        assert_int_equal(stream_write(r.s, NULL, 0), 0); /* nothing more to flush */
        assert_int_equal(r.down.writes, 1);
        rig_fini(&r);
    }
}

static void test_address_goes_alone_when_the_server_speaks_first(void **state)
{
    uint8_t plain[64];
    unsigned chunks;
    struct rig r;

    rig_init(&r, "aes-256-gcm");
    assert_int_equal(stream_write(r.s, NULL, 0), 0);
    assert_int_equal(r.down.writes, 1);
    assert_int_equal(naive_open(&r.key, r.down.out, r.down.n_out, plain, &chunks), sizeof(HEAD));
    assert_memory_equal(plain, HEAD, sizeof(HEAD));
    rig_fini(&r);

    rig_init(&r, "aes-256-gcm"); /* so does a client that says nothing and closes its side */
    assert_int_equal(stream_shutdown(r.s), 0);
    assert_int_equal(naive_open(&r.key, r.down.out, r.down.n_out, plain, &chunks), sizeof(HEAD));
    assert_int_equal(r.down.shutdowns, 1);
    assert_int_equal(stream_write(r.s, &(struct iovec){ "x", 1 }, 1), -EPIPE);
    rig_fini(&r);
}

/* Writes of every shape against a stream below that takes little at a time: what comes out is what went in. */
static void test_writes_of_every_shape(void **state)
{
    static const struct { size_t total, piece, room; unsigned chunks; } cases[] = {
        { 1, 1, FAKE_SIZE, 1 },
        { SS_CHUNK_MAX - 15, 1448, FAKE_SIZE, 1 }, /* with the address exactly one chunk */
        { SS_CHUNK_MAX - 14, 1448, FAKE_SIZE, 2 },
        { SS_CHUNK_MAX, 7, 1000 },
        { 300000, 1448, FAKE_SIZE },
        { 300000, 65536, 10000 },
        { 300000, 300000, 65536 },
        { 200000, 40, 777 },
        { 65536, 65536, 65536 },
    };
    static uint8_t in[300000], plain[400000];

    pattern(in, sizeof(in));
    for (size_t i = 0; i < N(cases); i++) {
        size_t sent = 0, n;
        unsigned chunks;
        struct rig r;

        rig_init(&r, i % 2 ? "chacha20-ietf-poly1305" : "aes-256-gcm");
        r.down.room = cases[i].room;
        while (sent < cases[i].total) {
            struct iovec iov[64];
            size_t at = sent;
            ssize_t w;
            int k = 0;

            for (; k < 64 && at < cases[i].total; k++) {
                size_t m = cases[i].total - at < cases[i].piece ? cases[i].total - at : cases[i].piece;

                iov[k] = (struct iovec){ in + at, m };
                at += m;
            }
            w = stream_write(r.s, iov, k);
            assert_true(w >= 0 && (size_t)w <= at - sent);
            sent += (size_t)w;
            if (sent < at) { /* short: we are told once there is room */
                unsigned before = r.writable;

                while (r.writable == before)
                    room_again(&r, cases[i].room);
                assert_int_equal(r.writable, before + 1);
            }
        }
        while (r.down.short_write)
            room_again(&r, cases[i].room);
        n = naive_open(&r.key, r.down.out, r.down.n_out, plain, &chunks);
        assert_int_equal(n, sizeof(HEAD) + cases[i].total);
        assert_memory_equal(plain + sizeof(HEAD), in, cases[i].total);
        if (cases[i].chunks)
            assert_int_equal(chunks, cases[i].chunks);
        rig_fini(&r);
    }
}

static void test_full_below_takes_one_batch_then_nothing(void **state)
{
    static uint8_t in[200000];
    struct rig r;
    ssize_t w;

    rig_init(&r, "aes-128-gcm");
    r.down.room = 0;
    w = stream_write(r.s, &(struct iovec){ in, sizeof(in) }, 1);
    assert_in_range(w, 60000, BUF_SIZE);
    assert_int_equal(stream_write(r.s, &(struct iovec){ in, sizeof(in) }, 1), 0);
    assert_int_equal(r.down.writes, 1); /* and does not ask again before it is told */
    room_again(&r, 100);
    assert_int_equal(r.writable, 0);
    room_again(&r, FAKE_SIZE);
    assert_int_equal(r.writable, 1);
    rig_fini(&r);
}

static void test_half_close_waits_for_what_was_taken(void **state)
{
    uint8_t plain[64];
    unsigned chunks;
    struct rig r;

    rig_init(&r, "aes-128-gcm");
    r.down.room = 10;
    assert_int_equal(stream_write(r.s, &(struct iovec){ "bye", 3 }, 1), 3);
    assert_int_equal(stream_shutdown(r.s), 0);
    assert_int_equal(r.down.shutdowns, 0);
    room_again(&r, FAKE_SIZE);
    assert_int_equal(r.down.shutdowns, 1);
    assert_int_equal(naive_open(&r.key, r.down.out, r.down.n_out, plain, &chunks), sizeof(HEAD) + 3);
    rig_fini(&r);
}

static void test_close_in_order_delivers_what_was_taken(void **state)
{
    struct rig r;

    rig_init(&r, "aes-128-gcm");
    r.down.room = 10;
    assert_int_equal(stream_write(r.s, &(struct iovec){ "bye", 3 }, 1), 3);
    stream_close(r.s, 0);
    r.s = NULL;
    loop_turn(loop, 0);
    assert_false(r.down.closed);
    room_again(&r, FAKE_SIZE);
    assert_true(r.down.closed);
    assert_int_equal(r.down.close_err, 0);
    rig_fini(&r);

    rig_init(&r, "aes-128-gcm"); /* but not when it is closed for an error */
    r.down.room = 10;
    assert_int_equal(stream_write(r.s, &(struct iovec){ "bye", 3 }, 1), 3);
    stream_close(r.s, -ECONNRESET);
    r.s = NULL;
    assert_true(r.down.closed);
    assert_int_equal(r.down.close_err, -ECONNRESET);
    rig_fini(&r);
}

/* ---- reading ---- */

/* A server's stream with chunks of the given sizes; borders[] = offsets at which a chunk ends. */
static size_t server_stream(const struct ss_key *k, const uint8_t *plain, const size_t *sizes, size_t n, uint8_t *out, size_t *borders)
{
    struct ss_dir d = { 0 };
    uint8_t salt[SS_KEY_MAX];
    size_t at = k->len, done = 0;

    memset(salt, 0x5a, sizeof(salt));
    memcpy(out, salt, at);
    assert_int_equal(ss_dir_init(&d, k, salt), 0);
    for (size_t i = 0; i < n; i++) {
        at += naive_chunk(&d, plain + done, sizes[i], out + at);
        done += sizes[i];
        if (borders)
            borders[i] = at;
    }
    ss_dir_fini(&d);
    return at;
}

/* A read of many tiny portions yields: it says "none now", and READABLE in the next turn. */
static bool told_to_go_on(struct rig *r)
{
    unsigned before = r->readable;

    loop_turn(loop, 0);
    return r->readable > before;
}

/* Reads until nothing comes any more. Returns the last verdict; *total = bytes. */
static ssize_t read_all(struct rig *r, uint8_t *out, size_t size, size_t piece, size_t *total)
{
    ssize_t n;

    for (*total = 0;;) {
        struct iovec iov[3];
        size_t left = size - *total, a = left < piece ? left : piece, b = left - a < piece / 2 + 1 ? left - a : piece / 2 + 1;

        iov[0] = (struct iovec){ out + *total, a };
        iov[1] = (struct iovec){ out + *total + a, 0 };
        iov[2] = (struct iovec){ out + *total + a, b };
        n = stream_read(r->s, iov, 3);
        if (n > 0) {
            *total += (size_t)n;
            continue;
        }
        if (n < 0 || !told_to_go_on(r))
            return n;
    }
}

static void test_reads_of_every_shape(void **state)
{
    static const size_t sizes[] = { 1, 5, 2, 16383, 3, 16383, 16383, 1448, 1, 1, 9000 };
    static const struct { size_t portion, piece; } cases[] = {
        { 0, 65536 }, { 0, 100 }, { 1, 65536 }, { 1, 3 }, { 17, 20 }, { 1448, 16384 }, { 1448, 16000 }, { 16417, 16383 }, { 40, 1 }, { 65536, 30000 },
    };
    static uint8_t plain[70000], sealed[80000], got[80000];
    size_t total = 0;

    for (size_t i = 0; i < N(sizes); i++)
        total += sizes[i];
    pattern(plain, total);
    for (size_t i = 0; i < N(cases); i++) {
        size_t n, len;
        struct rig r;

        rig_init(&r, i % 2 ? "aes-192-gcm" : "chacha20-ietf-poly1305");
        len = server_stream(&r.key, plain, sizes, N(sizes), sealed, NULL);
        fake_feed(&r.down, sealed, len);
        r.down.portion = cases[i].portion;
        r.down.eof = true;
        assert_int_equal(read_all(&r, got, sizeof(got), cases[i].piece, &n), -STREAM_EOF);
        assert_int_equal(n, total);
        assert_memory_equal(got, plain, total);
        assert_true(r.answered);
        rig_fini(&r);
    }
}

/* Small whole chunks that wait in the struct itself must not be forgotten. */
static void test_tiny_chunk_left_over_is_read_without_new_bytes(void **state)
{
    uint8_t sealed[256], got[8];
    size_t len;
    struct rig r;

    rig_init(&r, "aes-128-gcm");
    len = server_stream(&r.key, (const uint8_t *)"abcde", (size_t[]){ 3, 2 }, 2, sealed, NULL);
    fake_feed(&r.down, sealed, len);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got, 3 }, 1), 3);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got + 3, 5 }, 1), 2);
    assert_memory_equal(got, "abcde", 5);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got, 8 }, 1), 0);
    rig_fini(&r);
}

static void test_told_once_when_bytes_come(void **state)
{
    uint8_t sealed[256], got[8];
    size_t len;
    struct rig r;

    rig_init(&r, "aes-128-gcm");
    r.down.s.on_ready(&r.down.s, STREAM_READABLE); /* nobody asked */
    assert_int_equal(r.readable, 0);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got, 8 }, 1), 0);
    len = server_stream(&r.key, (const uint8_t *)"abc", (size_t[]){ 3 }, 1, sealed, NULL);
    fake_feed(&r.down, sealed, len);
    r.down.s.on_ready(&r.down.s, STREAM_READABLE);
    r.down.s.on_ready(&r.down.s, STREAM_READABLE);
    assert_int_equal(r.readable, 1);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got, 8 }, 1), 3);
    rig_fini(&r);
}

static const size_t SESSION[] = { 20, 1, 50 };

/* Every bit of a session, one at a time: nothing of the chunk it is in, or of a later one, is delivered, nor left behind in the reader's memory. */
static void test_every_flipped_bit_is_refused(void **state)
{
    uint8_t plain[128], sealed[512], got[256], zero[256] = { 0 };
    size_t borders[3], before[] = { 0, 20, 21, 71 };

    pattern(plain, 71);
    for (size_t c = 0; c < N(vectors); c++) {
        struct ss_key k = key_of(vectors[c].name);
        size_t len = server_stream(&k, plain, SESSION, 3, sealed, borders);

        for (size_t bit = 0; bit < len * 8; bit++) {
            size_t whole = 0, n, piece = bit % 3 ? 256 : 7;
            struct rig r;
            ssize_t end;

            while (borders[whole] <= bit / 8)
                whole++;
            rig_init(&r, vectors[c].name);
            sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
            fake_feed(&r.down, sealed, len);
            sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
            memset(got, 0, sizeof(got));
            end = read_all(&r, got, sizeof(got), piece, &n);
            assert_int_equal(end, -ERR_AUTH);
            assert_int_equal(n, before[whole]);
            assert_memory_equal(got, plain, n);
            assert_memory_equal(got + n, zero, sizeof(got) - n);
            assert_int_equal(stream_read(r.s, &(struct iovec){ got, 1 }, 1), -ERR_AUTH); /* and it stays so */
            rig_fini(&r);
        }
    }
}

static void test_cut_at_every_byte(void **state)
{
    uint8_t plain[128], sealed[512], got[256];
    size_t borders[3], len;
    struct ss_key k = key_of("aes-256-gcm");

    pattern(plain, 71);
    len = server_stream(&k, plain, SESSION, 3, sealed, borders);
    for (size_t cut = 0; cut <= len; cut++) {
        bool border = cut == 0 || cut == 32 || cut == borders[0] || cut == borders[1] || cut == borders[2];
        struct rig r;
        size_t n;

        rig_init(&r, "aes-256-gcm");
        fake_feed(&r.down, sealed, cut);
        r.down.eof = true;
        assert_int_equal(read_all(&r, got, sizeof(got), 64, &n), border ? -STREAM_EOF : -ERR_PROTO);
        assert_memory_equal(got, plain, n);
        rig_fini(&r);
    }
}

static void test_impossible_lengths(void **state)
{
    static const uint16_t lengths[] = { 0, 0x4000, 0x7fff, 0xffff };

    for (size_t i = 0; i < N(lengths); i++) {
        uint8_t sealed[256], got[64], salt[32] = { 1 };
        struct ss_dir d = { 0 };
        struct rig r;

        rig_init(&r, "aes-256-gcm");
        assert_int_equal(ss_dir_init(&d, &r.key, salt), 0);
        memcpy(sealed, salt, 32);
        ss_seal(&d, &(struct iovec){ (uint8_t[]){ (uint8_t)(lengths[i] >> 8), (uint8_t)lengths[i] }, 2 }, 1, sealed + 32);
        ss_dir_fini(&d);
        memset(sealed + 50, 0, sizeof(sealed) - 50);
        fake_feed(&r.down, sealed, sizeof(sealed));
        assert_int_equal(stream_read(r.s, &(struct iovec){ got, sizeof(got) }, 1), -ERR_PROTO);
        rig_fini(&r);
    }
}

static void test_own_bytes_played_back(void **state)
{
    uint8_t got[64];
    struct rig r;

    rig_init(&r, "aes-256-gcm");
    assert_int_equal(stream_write(r.s, &(struct iovec){ "secret", 6 }, 1), 6);
    fake_feed(&r.down, r.down.out, r.down.n_out);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got, sizeof(got) }, 1), -ERR_AUTH);
    rig_fini(&r);
}

/* A recorded answer, to another flow of the same node: it opens, but it was heard before. */
static void test_a_whole_answer_played_again(void **state)
{
    uint8_t sealed[256], got[64];
    struct rig r;
    size_t len;

    rig_init(&r, "aes-256-gcm");
    len = server_stream(&r.key, (const uint8_t *)"answer", (size_t[]){ 6 }, 1, sealed, NULL);
    for (int time = 0; time < 4; time++) {
        if (time == 2)
            sealed[0] ^= 1; /* another salt: does not open, and is not remembered either */
        fake_init(&r.down);
        stream_close(r.s, 0);
        r.s = ss_stream_new(loop, &r.key, &r.down.s, HEAD, sizeof(HEAD), &r.answered); /* rig_init would forget what was heard */
        fake_feed(&r.down, sealed, len);
        assert_int_equal(stream_read(r.s, &(struct iovec){ got, 64 }, 1), time == 0 ? 6 : -ERR_AUTH);
        loop_turn(loop, 0);
    }
    rig_fini(&r);
}

/* Tens of thousands of answers later the newest are still known. */
static void test_many_answers_are_remembered(void **state)
{
    uint8_t sealed[64], got[8];
    struct ss_key k = key_of("aes-128-gcm");
    struct rig r;

    rig_init(&r, "aes-128-gcm");
    rig_fini(&r);
    for (uint32_t i = 0; i < 40000; i++) {
        struct ss_dir d = { 0 };
        uint8_t salt[16] = { 0 };
        uint32_t n = i % 20000 == 19999 ? i - 9000 : i; /* some are played again */
        size_t len;

        memcpy(salt, &n, 4);
        memcpy(sealed, salt, 16);
        ss_dir_init(&d, &k, salt);
        len = 16 + naive_chunk(&d, "x", 1, sealed + 16);
        ss_dir_fini(&d);
        fake_init(&r.down);
        r.s = ss_stream_new(loop, &k, &r.down.s, HEAD, sizeof(HEAD), &r.answered);
        fake_feed(&r.down, sealed, len);
        assert_int_equal(stream_read(r.s, &(struct iovec){ got, 8 }, 1), n == i ? 1 : -ERR_AUTH);
        rig_fini(&r);
    }
    ss_key_fini(&k);
}

static void test_chunks_in_wrong_order(void **state)
{
    uint8_t sealed[512], swapped[512], got[64];
    size_t borders[2], len, one;
    struct rig r;

    rig_init(&r, "aes-256-gcm");
    len = server_stream(&r.key, (const uint8_t *)"aaaabbbb", (size_t[]){ 4, 4 }, 2, sealed, borders);
    one = borders[1] - borders[0];
    memcpy(swapped, sealed, 32);
    memcpy(swapped + 32, sealed + borders[0], one);
    memcpy(swapped + 32 + one, sealed + 32, one);
    fake_feed(&r.down, swapped, len);
    assert_int_equal(stream_read(r.s, &(struct iovec){ got, sizeof(got) }, 1), -ERR_AUTH);
    rig_fini(&r);
}

static void test_bad_datagrams(void **state)
{
    uint8_t salt[SS_KEY_MAX] = { 9 }, b[512], out[512];
    struct ss_key k = key_of("aes-256-gcm");
    struct dest to = { .at = { .port = 53 } };
    struct sender from;
    struct span payload;
    ssize_t len;

    addr_parse("2001:db8::1", &to.at.ip);
    len = ss_udp_seal(&k, salt, &to, "payload", 7, b);
    assert_int_equal(len, 32 + 19 + 7 + 16);
    for (ssize_t i = 0; i < len; i++) {
        b[i] ^= 0x10;
        assert_true(ss_udp_open(&k, b, (size_t)len, out, &from, &payload) < 0);
        b[i] ^= 0x10;
        assert_true(ss_udp_open(&k, b, (size_t)i, out, &from, &payload) < 0);
    }
    assert_int_equal(ss_udp_open(&k, b, (size_t)len, out, &from, &payload), 0);
    assert_string_equal(from.host, "");
    to = (struct dest){ .at = { .port = 53 }, .host = "A.name" }; /* a server that looked the name up may say it back */
    len = ss_udp_seal(&k, salt, &to, "payload", 7, b);
    assert_int_equal(ss_udp_open(&k, b, (size_t)len, out, &from, &payload), 0);
    assert_string_equal(from.host, "a.name");
    assert_int_equal(from.at.port, 53);
    assert_false(addr_is_set(&from.at.ip));
    to.host = "no host"; /* a blank */
    len = ss_udp_seal(&k, salt, &to, "payload", 7, b);
    assert_int_equal(ss_udp_open(&k, b, (size_t)len, out, &from, &payload), -ERR_PROTO);
    assert_int_equal(ss_udp_seal(&k, salt, &(struct dest){ .at = { .port = 53 } }, "x", 1, b), -ERR_NAME);
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
        cmocka_unit_test(test_master_key_as_published),
        cmocka_unit_test(test_keys_and_chunks_as_published),
        cmocka_unit_test(test_datagrams_as_published),
        cmocka_unit_test(test_cipher_names),
        cmocka_unit_test(test_first_bytes_ride_with_the_address),
        cmocka_unit_test(test_address_goes_alone_when_the_server_speaks_first),
        cmocka_unit_test(test_writes_of_every_shape),
        cmocka_unit_test(test_full_below_takes_one_batch_then_nothing),
        cmocka_unit_test(test_half_close_waits_for_what_was_taken),
        cmocka_unit_test(test_close_in_order_delivers_what_was_taken),
        cmocka_unit_test(test_reads_of_every_shape),
        cmocka_unit_test(test_tiny_chunk_left_over_is_read_without_new_bytes),
        cmocka_unit_test(test_told_once_when_bytes_come),
        cmocka_unit_test(test_every_flipped_bit_is_refused),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_impossible_lengths),
        cmocka_unit_test(test_own_bytes_played_back),
        cmocka_unit_test(test_a_whole_answer_played_again),
        cmocka_unit_test(test_many_answers_are_remembered),
        cmocka_unit_test(test_chunks_in_wrong_order),
        cmocka_unit_test(test_bad_datagrams),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
