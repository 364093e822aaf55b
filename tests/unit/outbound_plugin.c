/*
 * outbound_plugin.c - heads, the tls disguise of obfs, and the single multiplexed connection, over streams of every temper
 */
#include "core_talker.h"

#include <stdio.h>

#include "core/layer.h"
#include "core/pool.h"
#include "outbound/headed.h"
#include "outbound/obfs.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the far end: whatever came, and what is to be said ---- */

struct far_end {
    struct stream *s;
    uint8_t in[400000], out[400000];
    size_t n_in, n_out, out_at;
    bool eof;
};

static void far_turn(struct far_end *f)
{
    ssize_t n;

    while ((n = stream_read(f->s, &(struct iovec){ f->in + f->n_in, sizeof(f->in) - f->n_in }, 1)) > 0)
        f->n_in += (size_t)n;
    f->eof |= n == -STREAM_EOF;
    if (f->out_at < f->n_out && (n = stream_write(f->s, &(struct iovec){ f->out + f->out_at, f->n_out - f->out_at }, 1)) > 0)
        f->out_at += (size_t)n;
}

static void far_say(struct far_end *f, const void *b, size_t n)
{
    memcpy(f->out + f->n_out, b, n);
    f->n_out += n;
}

struct rig {
    struct loop *l;
    struct mempair *pair;
    struct stream *s;
    struct talker us;
    struct far_end far;
};

static struct rig *rig_new(const struct temper *t)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->l = loop_new();
    r->pair = mempair_new(r->l, t);
    r->far.s = &r->pair->a.s;
    return r;
}

static void turns(struct rig *r, int n)
{
    while (n--) {
        loop_turn(r->l, 0);
        far_turn(&r->far);
    }
}

static void rig_close(struct rig *r)
{
    if (r->s)
        stream_close(r->s, -ERR_CLOSED);
    loop_turn(r->l, 0);
    mempair_free(r->pair);
    loop_free(r->l);
    free(r);
    buf_trim();
}

static const struct temper tempers[] = {
    { 0 },
    { .cap = 50, .again_every = 3 },
    { .read_max = 1, .again_every = 7 },
    { .write_max = 1 },
    { .read_max = 1447, .cap = 16000 },
    { .cap = 262144 },
};

static size_t size_for(size_t t, size_t n)
{
    return t >= 1 && t <= 3 && n > 2000 ? 2000 : n;
}

/* ---- heads ---- */

static int one_byte(void *arg, const uint8_t *b, size_t n, const uint8_t *first, size_t n_first, size_t *skip)
{
    int *seen = arg;

    if (!n)
        return -ERR_EARLY;
    *seen = (int)n_first;
    if (n < 2u + b[0])
        return b[0] > 100 ? -ERR_PROTO : 0;
    *skip = 2u + b[0];
    return 1;
}

static void test_a_head_goes_first_and_one_comes_first(void **state)
{
    for (size_t t = 0; t < N(tempers); t++)
        for (int with_answer = 0; with_answer < 2; with_answer++) {
            size_t n = size_for(t, 100000);
            struct pattern rx = { .seed = 1 }, tx = { .seed = 2 };
            static uint8_t b[100000];
            struct rig *r = rig_new(&tempers[t]);
            int seen = -1;

            assert_int_equal(headed_new(r->l, (const uint8_t *)"THE HEAD", 8, with_answer ? one_byte : NULL, &seen, &r->pair->b.s, &r->s),
                             0);
            talk_init(&r->us, r->s, 1, 2, n);
            r->us.finish = true;
            talk_start(&r->us);
            if (with_answer)
                far_say(&r->far, "\3xabc", 5);
            pattern_fill(&tx, b, n);
            far_say(&r->far, b, n);
            for (int i = 0; i < 50000 && !(r->far.eof && r->us.in.at == n) && !r->us.err; i++)
                turns(r, 1);
            assert_int_equal(r->us.err, 0);
            assert_int_equal(r->us.in.at, n);
            assert_int_equal(r->far.n_in, 8 + n);
            assert_memory_equal(r->far.in, "THE HEAD", 8);
            pattern_check(&rx, r->far.in + 8, n);
            assert_int_equal(seen, with_answer ? (t == 3 ? seen : HEADED_FIRST) : -1);
            rig_close(r);
        }
}

static void test_heads_that_are_wrong_or_missing(void **state)
{
    static const struct {
        const char *says;
        size_t n;
        int want;
    } cases[] = {
        { "", 0, -ERR_EARLY },
        { "\5ab", 3, -ERR_PROTO },
        { "\377", 1, -ERR_PROTO },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct rig *r = rig_new(NULL);
        uint8_t b[8];
        int seen;

        assert_int_equal(headed_new(r->l, (const uint8_t *)"H", 1, one_byte, &seen, &r->pair->b.s, &r->s), 0);
        far_say(&r->far, cases[i].says, cases[i].n);
        far_turn(&r->far);
        stream_shutdown(&r->pair->a.s);
        assert_int_equal(stream_read(r->s, &(struct iovec){ b, 8 }, 1), cases[i].want);
        rig_close(r);
    }
}

/* ---- obfs, tls ---- */

/* The first record of the client: the ticket in it. */
static size_t hello_ticket(const uint8_t *b, size_t n, const char *host, uint8_t *out)
{
    size_t record = 5 + (size_t)(b[3] << 8 | b[4]), ticket, at = 5 + 4 + 2 + 32 + 1 + 32 + 2 + 56 + 2 + 2;

    assert_true(n >= record);
    assert_memory_equal(b, "\x16\x03\x01", 3);
    assert_int_equal(b[5], 1);
    assert_int_equal((b[7] << 8 | b[8]) + 4, record - 5);
    assert_int_equal(b[at - 2] << 8 | b[at - 1], record - at);
    assert_memory_equal(b + at, "\0\x23", 2);
    ticket = (size_t)(b[at + 2] << 8 | b[at + 3]);
    assert_int_equal(record, 5 + 212 + ticket + strlen(host));
    memcpy(out, b + at + 4, ticket);
    at += 4 + ticket;
    assert_memory_equal(b + at, "\0\0", 2);
    assert_int_equal(b[at + 2] << 8 | b[at + 3], strlen(host) + 5);
    assert_memory_equal(b + at + 9, host, strlen(host));
    return record;
}

static void say_record(struct far_end *f, uint8_t type, const uint8_t *b, size_t n)
{
    far_say(f, (uint8_t[]){ type, 3, 3, (uint8_t)(n >> 8), (uint8_t)n }, 5);
    far_say(f, b, n);
}

static void say_hello(struct far_end *f)
{
    uint8_t hello[102] = { 0x16, 3, 1, 0, 91 };

    memcpy(hello + 96, "\x14\3\3\0\1\1", 6);
    far_say(f, hello, sizeof(hello));
}

static void test_the_tls_disguise(void **state)
{
    for (size_t t = 0; t < N(tempers); t++)
        for (size_t first = 1; first < 3000; first = first * 7 + 100) {
            size_t n = size_for(t, 60000), at;
            struct pattern rx = { .seed = 1 }, tx = { .seed = 2 };
            static uint8_t b[60000], got[4000];
            struct rig *r = rig_new(&tempers[t]);

            assert_int_equal(obfs_tls_new(r->l, "front.example", &r->pair->b.s, &r->s), 0);
            talk_init(&r->us, r->s, 1, 2, n);
            pattern_fill(&r->us.out, b, first);
            r->us.out.at = (size_t)stream_write(r->s, &(struct iovec){ b, first }, 1);
            assert_int_equal(r->us.out.at, first);
            r->us.finish = true;
            talk_start(&r->us);
            say_hello(&r->far);
            for (size_t i = 0; tx.at < n; i++) { /* the first one is a "finished", of the type of a handshake */
                size_t k = i % 3 ? (i * 5003) % 16384 : 0;

                k = k < n - tx.at ? k : n - tx.at;
                pattern_fill(&tx, b, k);
                tx.at += k;
                say_record(&r->far, i ? 0x17 : 0x16, b, k);
            }
            for (int i = 0; i < 50000 && !(r->far.eof && r->us.in.at == n) && !r->us.err; i++)
                turns(r, 1);
            assert_int_equal(r->us.err, 0);
            assert_int_equal(r->us.in.at, n);
            at = hello_ticket(r->far.in, r->far.n_in, "front.example", got);
            pattern_check(&rx, got, first < 1400 ? first : 1400);
            while (at < r->far.n_in) {
                size_t k = (size_t)(r->far.in[at + 3] << 8 | r->far.in[at + 4]);

                assert_memory_equal(r->far.in + at, "\x17\3\3", 3);
                assert_in_range(k, 1, 16384);
                pattern_check(&rx, r->far.in + at + 5, k);
                at += 5 + k;
            }
            assert_int_equal(rx.at, n);
            rig_close(r);
        }
}

static void test_bad_records(void **state)
{
    static const struct {
        bool hello;
        const char *b;
        size_t n;
        int want;
    } cases[] = {
        { false, "HTTP/1.1 400", 12, -ERR_PROTO }, { false, "", 0, -ERR_EARLY },
        { false, "\x16\3\1", 3, -ERR_PROTO },      { true, "\x15\3\3\0\2", 5, -ERR_PROTO },
        { true, "\x16\3\3\0\2x", 6, -ERR_PROTO },  { true, "\x17\3\3\0\1x", 6, -STREAM_EOF },
        { true, "\x17\3\3", 3, -ERR_PROTO },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct rig *r = rig_new(NULL);
        uint8_t b[8];
        ssize_t n;

        assert_int_equal(obfs_tls_new(r->l, "h", &r->pair->b.s, &r->s), 0);
        if (cases[i].hello)
            say_hello(&r->far);
        far_say(&r->far, cases[i].b, cases[i].n);
        far_turn(&r->far);
        stream_shutdown(&r->pair->a.s);
        while ((n = stream_read(r->s, &(struct iovec){ b, 8 }, 1)) > 0)
            assert_int_equal(b[0], 'x');
        if (n != cases[i].want)
            fail_msg("case %zu: %s", i, err_str((int)n));
        rig_close(r);
    }
}

static void test_the_http_disguise_names_host_and_port(void **state)
{
    char head[OBFS_HEAD_MAX], other[OBFS_HEAD_MAX];

    obfs_http_head("front.example", 8388, head);
    assert_non_null(strstr(head, "GET / HTTP/1.1\r\nHost: front.example:8388\r\nUser-Agent: curl/7."));
    assert_non_null(strstr(head, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "));
    obfs_http_head("front.example", 80, other);
    assert_non_null(strstr(other, "Host: front.example\r\n"));
    assert_string_not_equal(strstr(head, "Key"), strstr(other, "Key"));
}

/* ---- the single multiplexed connection ---- */

static const uint8_t mux_begin[] = { 0, 12, 0, 0, 1, 0, 1, 0, 0, 1, 127, 0, 0, 1 };

static void test_the_multiplexer(void **state)
{
    for (size_t t = 0; t < N(tempers); t++) {
        size_t n = size_for(t, 100000), at = sizeof(mux_begin);
        struct pattern rx = { .seed = 1 }, tx = { .seed = 2 };
        static uint8_t b[65535];
        struct rig *r = rig_new(&tempers[t]);

        assert_int_equal(mux_single_new(r->l, &r->pair->b.s, &r->s), 0);
        talk_init(&r->us, r->s, 1, 2, n);
        r->us.finish = true;
        talk_start(&r->us);
        for (size_t i = 0; tx.at < n; i++) {
            size_t k = (i * 7919) % 65536;

            k = k < n - tx.at ? k : n - tx.at;
            far_say(&r->far, "\0\4\0\0\4\1\0\2zz", 10); /* keep alive, with data that is nobody's */
            pattern_fill(&tx, b, k);
            tx.at += k;
            far_say(&r->far, (uint8_t[]){ 0, 4, 0, 0, 2, 1, (uint8_t)(k >> 8), (uint8_t)k }, 8);
            far_say(&r->far, b, k);
        }
        far_say(&r->far, "\0\4\0\0\3\0", 6);
        for (int i = 0; i < 60000 && !(r->us.eof && r->us.out.at == n && r->far.n_in > n) && !r->us.err; i++)
            turns(r, 1);
        turns(r, t == 3 ? 3000 : 50);
        assert_int_equal(r->us.err, 0);
        assert_true(r->us.eof);
        assert_int_equal(r->us.in.at, n);
        assert_false(r->far.eof); /* no half-close */
        stream_close(r->s, 0);
        r->s = NULL;
        turns(r, 20);
        assert_true(r->far.eof);
        assert_memory_equal(r->far.in, mux_begin, at);
        while (at + 6 < r->far.n_in) {
            size_t k = (size_t)(r->far.in[at + 6] << 8 | r->far.in[at + 7]);

            assert_memory_equal(r->far.in + at, "\0\4\0\0\2\1", 6);
            pattern_check(&rx, r->far.in + at + 8, k);
            at += 8 + k;
        }
        assert_int_equal(rx.at, n);
        assert_int_equal(r->far.n_in - at, 6);
        assert_memory_equal(r->far.in + at, "\0\4\0\0\3\0", 6);
        rig_close(r);
    }
}

static void test_bad_frames(void **state)
{
    static const struct {
        const char *b;
        size_t n;
        int want;
    } cases[] = {
        { "", 0, -ERR_EARLY },
        { "\0\3\0\0\2", 5, -ERR_PROTO },
        { "\0\4\0\0\0\0", 6, -ERR_PROTO },
        { "\0\4\0\0\5\0", 6, -ERR_PROTO },
        { "\0\4\0\0\2\1\0\2x", 9, -ERR_PROTO },
        { "\0\4\0\0\2\1\0", 7, -ERR_PROTO },
        { "\0\4\0\0\2\1\0\1x", 9, -STREAM_EOF },
        { "\0\4\0\0\3\0", 6, -STREAM_EOF },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct rig *r = rig_new(NULL);
        uint8_t b[8];
        ssize_t n;

        assert_int_equal(mux_single_new(r->l, &r->pair->b.s, &r->s), 0);
        far_say(&r->far, cases[i].b, cases[i].n);
        far_turn(&r->far);
        stream_shutdown(&r->pair->a.s);
        while ((n = stream_read(r->s, &(struct iovec){ b, 8 }, 1)) > 0)
            assert_int_equal(b[0], 'x');
        if (n != cases[i].want)
            fail_msg("case %zu: %s", i, err_str((int)n));
        rig_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_goes_first_and_one_comes_first),
        cmocka_unit_test(test_heads_that_are_wrong_or_missing),
        cmocka_unit_test(test_the_tls_disguise),
        cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_the_http_disguise_names_host_and_port),
        cmocka_unit_test(test_the_multiplexer),
        cmocka_unit_test(test_bad_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
