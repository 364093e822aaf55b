/*
 * core_layer.c - the engine under every layer, with a toy protocol on it
 *
 *   talker ── toy ── pair of every temper ── toy ── talker
 *
 * Toy: "HELO", then frames: length (1..200), bytes ^ 5a, a sum byte. Length 0 ends a direction. A toy that shakes hands is on hold until
 * the other's HELO has come; one that turns raw frames nothing after its HELO.
 */
#include <errno.h>
#include <syscall.h>
#include <time.h>
#include <unistd.h>

#include "core_talker.h"

#include "core/layer.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t fake_ms; /* 0: the true clock */

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (!fake_ms)
        return (int)syscall(SYS_clock_gettime, id, t);
    *t = (struct timespec){ (time_t)(fake_ms / 1000), (long)(fake_ms % 1000) * 1000000 };
    return 0;
}

struct toy {
    struct layer y;
    bool heard, raw;
    unsigned n_seals, n_opens;
    bool *gone;
};

static struct toy *of(struct layer *y)
{
    return container_of(y, struct toy, y);
}

static int put_head(struct toy *t)
{
    t->y.head = false;
    t->y.raw_out = t->raw;
    return layer_put(&t->y, "HELO", 4);
}

static int toy_seal(struct layer *y, struct cursor *from)
{
    struct toy *t = of(y);

    t->n_seals++;
    if (y->head)
        put_head(t);
    if (y->raw_out)
        return 0;
    while (from->left && layer_room(y) >= 202) {
        uint8_t *out = layer_free(y), sum = 0;
        size_t n = cursor_take(from, out + 1, 200);

        out[0] = (uint8_t)n;
        for (size_t i = 1; i <= n; i++) {
            sum += out[i];
            out[i] ^= 0x5a;
        }
        out[1 + n] = sum;
        layer_added(y, n + 2);
    }
    return 0;
}

static int toy_bye(struct layer *y)
{
    return of(y)->raw ? 0 : layer_put(y, "", 1);
}

static int open_frame(struct layer *y, struct cursor *to)
{
    uint8_t *w = layer_wire(y), sum = 0;
    size_t n;

    if (!y->n_in)
        return 0;
    n = w[0];
    if (n > 200)
        return -ERR_PROTO;
    if (!n) {
        layer_eat(y, 1);
        return -STREAM_EOF;
    }
    if (y->n_in < n + 2)
        return 0;
    for (size_t i = 1; i <= n; i++)
        sum += w[i] ^= 0x5a;
    layer_eat(y, n + 2);
    if (w[1 + n] != sum)
        return -ERR_AUTH;
    if (to->left >= n)
        cursor_give(to, w + 1, n);
    else
        layer_lend(y, w + 1, n);
    return 1;
}

static int toy_open(struct layer *y, struct cursor *to)
{
    struct toy *t = of(y);

    t->n_opens++;
    if (t->heard)
        return open_frame(y, to);
    if (y->hold && y->head)
        put_head(t);
    if (y->n_in < 4)
        return 0;
    if (memcmp(layer_wire(y), "HELO", 4) != 0)
        return -ERR_PROTO;
    layer_eat(y, 4);
    t->heard = true;
    y->hold = false;
    y->raw_in = t->raw;
    return 1;
}

static void toy_fini(struct layer *y)
{
    if (of(y)->gone)
        *of(y)->gone = true;
    free(of(y));
}

#define TOY(name, half_)                                                                                                                   \
    static const struct layer_ops name = {                                                                                                 \
        .stream = LAYER_STREAM("toy"), .half = half_, .seal = toy_seal, .open = toy_open, .bye = toy_bye, .fini = toy_fini                 \
    }
TOY(toy_fin, LAYER_FIN);
TOY(toy_end, LAYER_BYE);
TOY(toy_nothing, LAYER_NOTHING);

static struct toy *toy_new(const struct layer_ops *ops, struct loop *l, struct stream *down)
{
    struct toy *t = calloc(1, sizeof(*t));

    assert_non_null(t);
    layer_init(&t->y, ops, l, down);
    t->y.head = true;
    return t;
}

struct rig {
    struct loop *l;
    struct mempair *pair;
    struct toy *a, *b; /* a on the patient end, b on the one with a temper */
    struct talker ta, tb;
    bool a_gone, b_gone;
};

static void rig_open(struct rig *r, const struct layer_ops *ops, const struct temper *t, size_t up, size_t down)
{
    *r = (struct rig){ .l = loop_new() };
    assert_non_null(r->l);
    r->pair = mempair_new(r->l, t);
    r->a = toy_new(ops, r->l, &r->pair->a.s);
    r->b = toy_new(ops, r->l, &r->pair->b.s);
    r->a->gone = &r->a_gone;
    r->b->gone = &r->b_gone;
    talk_init(&r->ta, &r->a->y.s, 1, 2, up);
    talk_init(&r->tb, &r->b->y.s, 2, 1, down);
    r->ta.finish = r->tb.finish = true;
}

static void turns(struct rig *r, int n)
{
    while (n--)
        loop_turn(r->l, 0);
}

static void rig_close(struct rig *r)
{
    if (!r->a_gone && !r->pair->a.closed)
        stream_close(&r->a->y.s, -ERR_CLOSED);
    if (!r->b_gone && !r->pair->b.closed)
        stream_close(&r->b->y.s, -ERR_CLOSED);
    turns(r, 3);
    assert_true(r->a_gone && r->b_gone);
    mempair_free(r->pair);
    loop_free(r->l);
    buf_trim();
}

static const struct temper tempers[] = {
    { 0 },
    { .cap = 1 },
    { .cap = 3, .again_every = 2 },
    { .read_max = 1 },
    { .write_max = 1, .cap = 100 },
    { .read_max = 7, .write_max = 11, .again_every = 3 },
    { .read_max = 203, .write_max = 199 },
    { .cap = 777, .again_every = 5 },
    { .cap = 262144 },
};
static const size_t sizes[] = { 0, 1, 199, 200, 201, 65536, 150000 };

static size_t slow(const struct temper *t, size_t n)
{
    bool is_slow = (t->cap && t->cap < 100) || t->read_max == 1 || t->write_max == 1;

    return is_slow && n > 2000 ? 2000 : n;
}

static void test_bytes_pass_through_every_temper(void **state)
{
    for (size_t t = 0; t < COUNT(tempers); t++)
        for (size_t i = 0; i < COUNT(sizes) * 4; i++) {
            size_t up = slow(&tempers[t], sizes[i % COUNT(sizes)]), down = slow(&tempers[t], sizes[COUNT(sizes) - 1 - i % COUNT(sizes)]);
            bool shake = i / COUNT(sizes) & 1, raw = i / COUNT(sizes) & 2;
            struct rig r;

            rig_open(&r, &toy_fin, &tempers[t], up, down);
            r.a->raw = r.b->raw = raw;
            if (shake) {
                layer_start(&r.a->y);
                layer_start(&r.b->y);
            }
            talk_start(&r.ta);
            talk_start(&r.tb);
            assert_true(talk_through(r.l, &r.ta, &r.tb));
            assert_null(r.a->y.in);
            assert_null(r.a->y.out);
            assert_null(r.b->y.in);
            assert_null(r.b->y.out);
            stream_close(&r.a->y.s, 0);
            stream_close(&r.b->y.s, 0);
            assert_int_equal(r.pair->a.close_err, 0);
            rig_close(&r);
        }
}

static void test_an_idle_layer_holds_no_buffer(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 100000, 100000);
    r.ta.finish = r.tb.finish = false;
    talk_start(&r.ta);
    talk_start(&r.tb);
    assert_true(talk_through(r.l, &r.ta, &r.tb));
    assert_true(!r.a->y.in && !r.a->y.out && !r.b->y.in && !r.b->y.out);
    assert_int_equal(stream_write(&r.pair->a.s, &(struct iovec){ "\5abc", 4 }, 1), 4); /* a partial record does not need one */
    turns(&r, 2);
    assert_int_equal(r.b->y.n_few, 4);
    assert_null(r.b->y.in);
    assert_int_equal(r.tb.err, 0);
    rig_close(&r);
}

static void test_the_head_rides_with_the_first_bytes_or_alone_when_flushed(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 0, 0);
    assert_int_equal(stream_write(&r.a->y.s, (struct iovec[]){ { "a", 1 }, { "b", 1 } }, 2), 2);
    assert_int_equal(r.pair->a.writes, 1);
    assert_int_equal(r.pair->b.len, 4 + 4);
    assert_int_equal(stream_write(&r.b->y.s, NULL, 0), 0);
    assert_int_equal(r.pair->a.len, 4);
    assert_int_equal(r.pair->b.flushes, 1); /* the layers below flush, too */
    assert_int_equal(stream_write(&r.b->y.s, NULL, 0), 0);
    assert_int_equal(r.pair->a.len, 4);
    rig_close(&r);
}

static void test_a_flush_during_the_handshake_is_kept(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 0, 0);
    layer_start(&r.a->y);
    r.a->y.head = false;
    r.ta.finish = false;
    assert_int_equal(stream_write(&r.a->y.s, NULL, 0), 0);
    turns(&r, 2);
    assert_int_equal(r.pair->b.len, 0);
    r.a->y.head = true; /* as if the handshake left something to be said */
    of(&r.a->y)->heard = false;
    stream_write(&r.pair->b.s, &(struct iovec){ "HELO", 4 }, 1);
    turns(&r, 3);
    assert_false(r.a->y.hold);
    assert_int_equal(r.pair->b.len, 4);
    rig_close(&r);
}

/* ---- on hold ---- */

static void test_a_handshake_ends_with_writable(void **state)
{
    struct rig r;
    uint8_t b[8];

    rig_open(&r, &toy_fin, NULL, 0, 0);
    r.ta.finish = false;
    layer_start(&r.a->y);
    assert_int_equal(r.pair->b.len, 0); /* nothing happens inside the call */
    turns(&r, 1);
    assert_int_equal(r.pair->b.len, 4);
    assert_int_equal(stream_write(&r.a->y.s, &(struct iovec){ "x", 1 }, 1), 0);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b, 8 }, 1), 0);
    assert_false(r.ta.opened);
    stream_write(&r.pair->b.s,
                 &(struct iovec){ "HELO\1\x38"
                                  "b",
                                  7 },
                 1); /* with the first frame behind it */
    r.ta.quiet = true;
    turns(&r, 2);
    assert_true(r.ta.opened);
    assert_int_equal(r.ta.err, 0);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b, 8 }, 1), 1);
    assert_int_equal(b[0], 'b');
    rig_close(&r);
}

static void test_a_handshake_that_fails_says_why(void **state)
{
    static const struct {
        const char *says;
        bool closes;
        int read_err, want;
    } cases[] = {
        { "", true, 0, -ERR_EARLY },
        { "HEL", true, 0, -ERR_EARLY },
        { "WHAT", false, 0, -ERR_PROTO },
        { "", false, -ECONNRESET, -ERR_EARLY },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        rig_open(&r, &toy_fin, NULL, 10, 0);
        layer_start(&r.a->y);
        talk_start(&r.ta);
        turns(&r, 2);
        if (*cases[i].says)
            stream_write(&r.pair->b.s, &(struct iovec){ (void *)cases[i].says, strlen(cases[i].says) }, 1);
        if (cases[i].closes)
            stream_shutdown(&r.pair->b.s);
        if (cases[i].read_err)
            stream_close(&r.b->y.s, cases[i].read_err);
        turns(&r, 4);
        assert_int_equal(r.ta.err, cases[i].want);
        assert_false(r.ta.opened);
        assert_int_equal(stream_write(&r.a->y.s, NULL, 0), cases[i].want);
        rig_close(&r);
    }
}

static void test_closing_on_hold_is_quiet(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 0, 0);
    layer_start(&r.a->y);
    stream_close(&r.a->y.s, 0);
    turns(&r, 2);
    assert_int_equal(r.pair->b.len, 0);
    assert_int_equal(r.ta.n_ready, 0);
    assert_true(r.a_gone);
    rig_close(&r);
}

/* ---- the end ---- */

static void test_half_close_as_the_protocol_has_it(void **state)
{
    static const struct {
        const struct layer_ops *ops;
        size_t len;
        bool fin;
    } cases[] = {
        { &toy_fin, 5, true },
        { &toy_end, 5, false },
        { &toy_nothing, 4, false },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        rig_open(&r, cases[i].ops, NULL, 0, 0);
        assert_int_equal(stream_shutdown(&r.a->y.s), 0);
        assert_int_equal(stream_shutdown(&r.a->y.s), 0);
        assert_int_equal(r.pair->b.len, cases[i].len); /* the head goes in any case */
        assert_int_equal(r.pair->b.eof, cases[i].fin);
        assert_int_equal(stream_write(&r.a->y.s, &(struct iovec){ "x", 1 }, 1), -EPIPE);
        stream_close(&r.a->y.s, 0);
        assert_int_equal(r.pair->b.len, 5); /* the mark comes with close at the latest, and once */
        rig_close(&r);
    }
}

static void test_closing_before_a_word_says_none(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 0, 0);
    r.a->raw = true;
    stream_close(&r.a->y.s, 0);
    assert_int_equal(r.pair->b.len, 0);
    assert_true(r.pair->b.eof);
    rig_close(&r);
}

/* One write that the layer takes at once, most of which the pair has no room for yet. */
static void write_much(struct rig *r, size_t n)
{
    static uint8_t buf[20000];

    pattern_fill(&r->ta.out, buf, n);
    assert_int_equal(stream_write(&r->a->y.s, &(struct iovec){ buf, n }, 1), n);
}

static void test_bytes_taken_are_delivered_after_close(void **state)
{
    static const struct temper narrow = { .cap = 64 };
    struct rig r;

    rig_open(&r, &toy_fin, &narrow, 0, 0);
    r.tb.finish = false;
    write_much(&r, 5000);
    stream_close(&r.a->y.s, 0);
    assert_false(r.pair->a.closed);
    talk_start(&r.tb);
    for (int i = 0; i < 1000 && !r.tb.eof && !r.tb.err; i++)
        turns(&r, 1);
    assert_int_equal(r.tb.err, 0);
    assert_true(r.tb.eof);
    assert_int_equal(r.tb.in.at, 5000);
    assert_true(r.pair->a.closed);
    assert_int_equal(r.pair->a.close_err, 0);
    rig_close(&r);
}

static void test_lingering_ends(void **state)
{
    static const struct temper narrow = { .cap = 64 };
    struct rig r;

    fake_ms = 1000000;
    rig_open(&r, &toy_fin, &narrow, 0, 0);
    write_much(&r, 5000);
    stream_close(&r.a->y.s, 0);
    fake_ms += 4900;
    turns(&r, 2);
    assert_false(r.pair->a.closed);
    fake_ms += 200;
    turns(&r, 2);
    assert_true(r.pair->a.closed);
    assert_int_equal(r.pair->a.close_err, -ETIMEDOUT);
    rig_close(&r);
    fake_ms = 0;
}

static void test_closing_with_an_error_does_not_wait(void **state)
{
    static const struct temper narrow = { .cap = 64 };
    struct rig r;

    rig_open(&r, &toy_fin, &narrow, 0, 0);
    write_much(&r, 5000);
    stream_close(&r.a->y.s, -ECONNRESET);
    assert_true(r.pair->a.closed);
    assert_int_equal(r.pair->a.close_err, -ECONNRESET);
    rig_close(&r);
}

/* ---- errors ---- */

static void test_plaintext_comes_before_the_error_behind_it(void **state)
{
    static const uint8_t wire[] = { 'H', 'E', 'L', 'O', 3, 'a' ^ 0x5a, 'b' ^ 0x5a, 'c' ^ 0x5a, (uint8_t)('a' + 'b' + 'c'), 201 };
    struct rig r;
    uint8_t b[8];

    rig_open(&r, &toy_fin, NULL, 0, 0);
    r.ta.quiet = true;
    stream_write(&r.pair->b.s, &(struct iovec){ (void *)wire, sizeof(wire) }, 1);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b, 2 }, 1), 2);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b + 2, 6 }, 1), 1);
    assert_memory_equal(b, "abc", 3);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b, 8 }, 1), -ERR_PROTO);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b, 8 }, 1), -ERR_PROTO);
    assert_int_equal(stream_write(&r.a->y.s, &(struct iovec){ b, 8 }, 1), -ERR_PROTO);
    rig_close(&r);
}

static void test_the_end_inside_a_record_is_an_error(void **state)
{
    struct rig r;
    uint8_t b[8];

    rig_open(&r, &toy_fin, NULL, 0, 0);
    r.ta.quiet = true;
    stream_write(&r.pair->b.s, &(struct iovec){ "HELO\3ab", 7 }, 1);
    stream_shutdown(&r.pair->b.s);
    assert_int_equal(stream_read(&r.a->y.s, &(struct iovec){ b, 8 }, 1), -ERR_PROTO);
    rig_close(&r);
}

static void test_after_eof_one_may_still_write(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 0, 0);
    talk_start(&r.tb);
    talk_in(&r.ta);
    turns(&r, 2);
    assert_true(r.ta.eof);
    assert_int_equal(stream_write(&r.a->y.s, &(struct iovec){ "x", 1 }, 1), 1);
    assert_int_equal(stream_shutdown(&r.a->y.s), 0);
    rig_close(&r);
}

static void test_an_error_of_the_far_end_is_told(void **state)
{
    struct rig r;

    rig_open(&r, &toy_fin, NULL, 10, 0);
    r.ta.finish = false;
    talk_start(&r.ta);
    stream_close(&r.b->y.s, -ECONNRESET);
    turns(&r, 3);
    assert_int_equal(r.ta.err, -ERR_EARLY);
    rig_close(&r);
}

/* What a peer said before it hung up is read, though writing has failed by then. */
static void test_the_last_words_before_a_hang_up_are_heard(void **state)
{
    static const struct {
        const char *says;
        int want; /* of reading, behind what it says */
    } cases[] = {
        { "HELO\1\x38"
          "b",
          -EPIPE },
        { "HELO\1\x39"
          "b",
          -ERR_AUTH }, /* a wrong sum: a reason of its own */
        { "", -ERR_EARLY },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct temper t = { .write_fails_at = 1, .err = -EPIPE };
        struct rig r;
        uint8_t b[8];

        rig_open(&r, &toy_fin, &t, 0, 0);
        stream_write(&r.pair->a.s, &(struct iovec){ (void *)cases[i].says, strlen(cases[i].says) }, 1);
        stream_write(&r.b->y.s, &(struct iovec){ "x", 1 }, 1);
        turns(&r, 2);
        assert_true(stream_write(&r.b->y.s, &(struct iovec){ "x", 1 }, 1) < 0);
        assert_true(stream_write(&r.b->y.s, &(struct iovec){ "x", 1 }, 1) < 0);
        assert_true(stream_shutdown(&r.b->y.s) < 0);
        if (cases[i].want == -EPIPE) {
            assert_int_equal(stream_read(&r.b->y.s, &(struct iovec){ b, 8 }, 1), 1);
            assert_int_equal(b[0], 'b');
        }
        assert_int_equal(stream_read(&r.b->y.s, &(struct iovec){ b, 8 }, 1), cases[i].want);
        assert_int_equal(stream_read(&r.b->y.s, &(struct iovec){ b, 8 }, 1), cases[i].want);
        rig_close(&r);
    }
}

static void test_a_handshake_that_cannot_answer_says_what_it_was_told(void **state)
{
    static const struct temper t = { .write_fails_at = 1, .err = -ECONNRESET };
    static const struct {
        const char *says;
        int want;
    } cases[] = { { "WHAT", -ERR_PROTO }, { "HE", -ECONNRESET }, { "", -ERR_EARLY } };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig r;

        rig_open(&r, &toy_fin, &t, 0, 10);
        stream_write(&r.pair->a.s, &(struct iovec){ (void *)cases[i].says, strlen(cases[i].says) }, 1);
        layer_start(&r.b->y);
        talk_start(&r.tb);
        turns(&r, 4);
        assert_false(r.tb.opened);
        assert_int_equal(r.tb.err, cases[i].want);
        rig_close(&r);
    }
}

/* Frames that bring nothing must not keep the loop to themselves: here the handshake's HELO, again and again, is no progress. */
static int noise_open(struct layer *y, struct cursor *to)
{
    if (!y->n_in)
        return 0;
    layer_eat(y, 1);
    return 1;
}
static const struct layer_ops noise = {
    .stream = LAYER_STREAM("noise"), .half = LAYER_FIN, .seal = toy_seal, .open = noise_open, .fini = toy_fini
};

static void test_a_flood_without_plaintext_lets_others_in(void **state)
{
    static const struct temper drip = { .read_max = 1 };
    uint8_t b[8], junk[100] = { 0 };
    struct rig r;

    rig_open(&r, &noise, &drip, 0, 0);
    r.tb.finish = false;
    stream_write(&r.pair->a.s, &(struct iovec){ junk, sizeof(junk) }, 1);
    assert_int_equal(stream_read(&r.b->y.s, &(struct iovec){ b, 8 }, 1), 0);
    assert_in_range(r.pair->b.len, 1, 99);
    turns(&r, 6);
    assert_int_equal(r.pair->b.len, 0); /* but it is gone through */
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_pass_through_every_temper),
        cmocka_unit_test(test_an_idle_layer_holds_no_buffer),
        cmocka_unit_test(test_the_head_rides_with_the_first_bytes_or_alone_when_flushed),
        cmocka_unit_test(test_a_flush_during_the_handshake_is_kept),
        cmocka_unit_test(test_a_handshake_ends_with_writable),
        cmocka_unit_test(test_a_handshake_that_fails_says_why),
        cmocka_unit_test(test_closing_on_hold_is_quiet),
        cmocka_unit_test(test_half_close_as_the_protocol_has_it),
        cmocka_unit_test(test_closing_before_a_word_says_none),
        cmocka_unit_test(test_bytes_taken_are_delivered_after_close),
        cmocka_unit_test(test_lingering_ends),
        cmocka_unit_test(test_closing_with_an_error_does_not_wait),
        cmocka_unit_test(test_plaintext_comes_before_the_error_behind_it),
        cmocka_unit_test(test_the_end_inside_a_record_is_an_error),
        cmocka_unit_test(test_after_eof_one_may_still_write),
        cmocka_unit_test(test_an_error_of_the_far_end_is_told),
        cmocka_unit_test(test_the_last_words_before_a_hang_up_are_heard),
        cmocka_unit_test(test_a_handshake_that_cannot_answer_says_what_it_was_told),
        cmocka_unit_test(test_a_flood_without_plaintext_lets_others_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
