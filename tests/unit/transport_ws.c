/*
 * transport_ws.c - WebSocket, HTTP upgrades and HTTP disguises over streams of every temper, against a server written out byte by byte
 */
#include "core_talker.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/layer.h"
#include "transport/transport.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t fake_ms; /* 0: the true clock */

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (!fake_ms)
        return (int)syscall(SYS_clock_gettime, id, t);
    *t = (struct timespec){ (time_t)(fake_ms / 1000), (long)(fake_ms % 1000) * 1000000 };
    return 0;
}

/* ---- the server ---- */

struct server {
    struct stream *s;
    uint8_t in[400000];
    size_t n_in, at; /* what came; parsed so far */
    uint8_t out[500000];
    size_t n_out, out_at;
    char head[9000]; /* the request */
    struct pattern rx, tx;
    unsigned n_pongs, n_frames, n_closes;
    uint8_t last_pong[128];
    size_t last_pong_len;
    bool eof;
};

static void server_pump(struct server *v)
{
    ssize_t n;

    while ((n = stream_read(v->s, &(struct iovec){ v->in + v->n_in, sizeof(v->in) - v->n_in }, 1)) > 0)
        v->n_in += (size_t)n;
    v->eof |= n == -STREAM_EOF;
    if (v->out_at < v->n_out && (n = stream_write(v->s, &(struct iovec){ v->out + v->out_at, v->n_out - v->out_at }, 1)) > 0)
        v->out_at += (size_t)n;
}

static void server_say(struct server *v, const void *b, size_t n)
{
    memcpy(v->out + v->n_out, b, n);
    v->n_out += n;
}

static bool server_got_head(struct server *v)
{
    uint8_t *end = memmem(v->in, v->n_in, "\r\n\r\n", 4);

    if (!end)
        return false;
    v->at = (size_t)(end + 4 - v->in);
    snprintf(v->head, sizeof(v->head), "%.*s", (int)v->at, v->in);
    return true;
}

/* The value of a header in the request, "" if it is not there. */
static const char *asked(struct server *v, const char *name)
{
    static char value[8192];
    char line[64], *at, *end;

    snprintf(line, sizeof(line), "\r\n%s: ", name);
    value[0] = 0;
    if ((at = strstr(v->head, line)) && (end = strstr(at + 2, "\r\n")))
        snprintf(value, sizeof(value), "%.*s", (int)(end - at - (int)strlen(line)), at + strlen(line));
    return value;
}

static const char *accept_of(const char *key)
{
    static char out[32];
    char text[128];
    uint8_t sum[EVP_MAX_MD_SIZE];

    snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    EVP_Digest(text, strlen(text), sum, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock((uint8_t *)out, sum, 20);
    return out;
}

static void server_accept(struct server *v)
{
    char text[512];

    snprintf(
        text, sizeof(text),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
        accept_of(asked(v, "Sec-WebSocket-Key")));
    server_say(v, text, strlen(text));
}

static void server_frame(struct server *v, uint8_t b0, const void *b, size_t n)
{
    uint8_t h[10] = { b0, (uint8_t)(n < 126 ? n : n < 65536 ? 126 : 127) };
    size_t len = n < 126 ? 2 : n < 65536 ? 4 : 10;

    for (size_t i = 2; i < len; i++)
        h[i] = (uint8_t)((uint64_t)n >> (8 * (len - 1 - i)));
    server_say(v, h, len);
    server_say(v, b, n);
}

/* Reads the client's frames that are whole. */
static void server_frames(struct server *v)
{
    while (v->n_in - v->at >= 6) {
        uint8_t *h = v->in + v->at, *key, *body;
        size_t n = h[1] & 127, len = 2;

        assert_true(h[1] & 128); /* always masked */
        assert_int_equal(h[0] & 0xf0, 0x80);
        assert_true(n != 127);
        if (n == 126) {
            n = (size_t)(h[2] << 8 | h[3]);
            len = 4;
        }
        key = h + len;
        body = key + 4;
        if (v->n_in - v->at < len + 4 + n)
            return;
        for (size_t i = 0; i < n; i++)
            body[i] ^= key[i % 4];
        v->at += len + 4 + n;
        v->n_frames++;
        switch (h[0] & 15) {
        case 2:
            assert_true(n <= 32768);
            pattern_check(&v->rx, body, n);
            break;
        case 8: v->n_closes++; break;
        case 10:
            v->n_pongs++;
            memcpy(v->last_pong, body, n);
            v->last_pong_len = n;
            break;
        default: fail_msg("opcode %d", h[0] & 15);
        }
    }
}

/* ---- the rig ---- */

struct rig {
    struct loop *l;
    struct mempair *pair; /* b: ours */
    struct stream *s;
    struct talker us;
    struct server v;
};

static const struct http_field fields[] = { { "User-Agent", "test/1" }, { "host", "not.this.one" }, { "X-More", "a b" } };
static const struct ws_config plain = { .host = "front.example", .path = "/ray?a=b", .fields = fields, .n_fields = 3 };

static struct rig *rig_new(const struct temper *t)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->l = loop_new();
    r->pair = mempair_new(r->l, t);
    r->v.s = &r->pair->a.s;
    r->v.rx.seed = 1;
    r->v.tx.seed = 2;
    return r;
}

static struct rig *rig_open(const struct ws_config *c, const struct temper *t, int want)
{
    struct rig *r = rig_new(t);

    assert_int_equal(ws_start(c, r->l, &r->pair->b.s, &r->s), want);
    talk_init(&r->us, r->s, 1, 2, 0);
    return r;
}

static void turns(struct rig *r, int n)
{
    while (n--) {
        loop_turn(r->l, 0);
        server_pump(&r->v);
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

static void shake(struct rig *r)
{
    for (int i = 0; i < 20000 && !server_got_head(&r->v); i++)
        turns(r, 1);
    assert_true(server_got_head(&r->v));
    server_accept(&r->v);
}

static void until_open(struct rig *r)
{
    for (int i = 0; i < 20000 && !r->us.opened && !r->us.err; i++)
        turns(r, 1);
}

/* ---- the handshake ---- */

static void test_the_accept_value_of_the_rfc(void **state)
{
    assert_string_equal(accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_the_request(void **state)
{
    struct rig *r = rig_open(&plain, NULL, 0);
    char want[512];

    turns(r, 2);
    assert_true(server_got_head(&r->v));
    assert_int_equal(strlen(asked(&r->v, "Sec-WebSocket-Key")), 24);
    snprintf(want, sizeof(want),
             "GET /ray?a=b HTTP/1.1\r\nHost: front.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: %s\r\nUser-Agent: test/1\r\nX-More: a b\r\n\r\n",
             asked(&r->v, "Sec-WebSocket-Key"));
    assert_string_equal(r->v.head, want);
    assert_false(r->us.opened);
    server_accept(&r->v);
    turns(r, 3);
    assert_true(r->us.opened);
    rig_close(r);
}

/* Profiles have paths with blanks, and repeat what every request has: many a server answers 400 to either. */
static void test_the_request_with_what_profiles_have(void **state)
{
    static const struct http_field twice[] = {
        { "connection", "close" }, { "upgrade", "h2c" },  { "Sec-WebSocket-Version", "8" },
        { "Sec-WebSocket-Key", "x" }, { "sec-early", "y" }, { "X-More", "a b" },
    };
    struct ws_config c = { .host = "h", .path = "/a b\tc%20?d e", .fields = twice, .n_fields = COUNT(twice), .early_header = "Sec-Early" };

    for (int early = 0; early < 2; early++) {
        struct rig *r;
        char want[512];

        c.early_max = early ? 100 : 0;
        r = rig_open(&c, NULL, early);
        if (early)
            assert_int_equal(stream_write(r->s, &(struct iovec){ "hello", 5 }, 1), 5);
        turns(r, 2);
        assert_true(server_got_head(&r->v));
        snprintf(want, sizeof(want),
                 "GET /a%%20b%%09c%%20?d%%20e HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%sX-More: a b\r\n%s\r\n",
                 asked(&r->v, "Sec-WebSocket-Key"), early ? "" : "sec-early: y\r\n", early ? "Sec-Early: aGVsbG8\r\n" : "");
        assert_string_equal(r->v.head, want);
        rig_close(r);
    }
}

static void test_answers_that_mean_no(void **state)
{
    static const struct {
        const char *says;
        int want;
    } cases[] = {
        { "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", -ERR_STATUS },
        { "HTTP/1.1 200 OK\r\n\r\n", -ERR_STATUS },
        { "HTTP/1.0 502\n\n", -ERR_STATUS },
        { "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", -ERR_PROTO }, /* no Sec-WebSocket-Accept */
        { "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
          -ERR_PROTO },
        { "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", -ERR_PROTO },
        { "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", -ERR_PROTO },
        { "HTTP/2 101 x\r\n", -ERR_PROTO },
        { "HTTP/1.1 1x1 x\r\n", -ERR_PROTO },
        { "SSH-2.0-x\r\n", -ERR_PROTO },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig *r = rig_open(&plain, NULL, 0);

        server_say(&r->v, cases[i].says, strlen(cases[i].says));
        turns(r, 4);
        if (r->us.err == 0)
            talk_out(&r->us);
        assert_int_equal(stream_write(r->s, NULL, 0), cases[i].want);
        rig_close(r);
    }
}

static void test_a_server_that_hangs_up_or_never_ends_its_head(void **state)
{
    struct rig *r = rig_open(&plain, NULL, 0);

    turns(r, 2);
    stream_shutdown(&r->pair->a.s);
    turns(r, 2);
    assert_int_equal(stream_write(r->s, NULL, 0), -ERR_EARLY);
    rig_close(r);

    r = rig_open(&plain, NULL, 0);
    server_say(&r->v, "HTTP/1.1 101 x\r\n", 16);
    for (int i = 0; i < 10000; i++)
        server_say(&r->v, "X-A: bc\r\n", 9);
    turns(r, 20);
    assert_int_equal(stream_write(r->s, NULL, 0), -ERR_PROTO);
    rig_close(r);
}

/* ---- bytes ---- */

/* A server frame of the next n bytes, in up to three fragments with pings between. */
static void say_pattern(struct server *v, size_t n, bool cut)
{
    static uint8_t b[200000];
    size_t a = cut ? n / 3 : 0;

    pattern_fill(&v->tx, b, n);
    v->tx.at += n;
    if (cut) {
        server_frame(v, 0x02, b, a);
        server_frame(v, 0x89, "ping!", 5);
        server_frame(v, 0x00, b + a, 0);
        server_frame(v, 0x8a, "", 0); /* a pong that nobody asked for */
    }
    server_frame(v, cut ? 0x80 : 0x81, b + a, n - a);
}

static const struct temper tempers[] = {
    { 0 },
    { .cap = 1 },
    { .cap = 100, .again_every = 3 },
    { .read_max = 1, .again_every = 7 },
    { .write_max = 1 },
    { .read_max = 5, .write_max = 16000 },
    { .cap = 16000, .read_max = 1447, .again_every = 4 },
    { .cap = 262144 },
};

static void test_bytes_both_ways_through_every_temper(void **state)
{
    static const size_t sizes[] = { 1, 125, 126, 127, 32768, 65535, 65536, 150000 };

    for (size_t t = 0; t < COUNT(tempers); t++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            bool slow = tempers[t].cap == 1 || tempers[t].read_max == 1 || tempers[t].write_max == 1;
            size_t n = slow && sizes[i] > 300 ? 300 : sizes[i];
            struct rig *r = rig_open(&plain, &tempers[t], 0);
            struct layer *y = container_of(r->s, struct layer, s);

            r->us.send = n;
            talk_start(&r->us);
            shake(r);
            say_pattern(&r->v, n, i & 1);
            for (int k = 0; k < 20000 && (r->us.in.at < n || r->v.rx.at < n || r->v.n_pongs < (i & 1)) && !r->us.err; k++) {
                turns(r, 1);
                server_frames(&r->v);
            }
            assert_int_equal(r->us.err, 0);
            assert_int_equal(r->us.in.at, n);
            assert_int_equal(r->v.rx.at, n);
            assert_int_equal(r->v.n_pongs, i & 1);
            if (i & 1)
                assert_memory_equal(r->v.last_pong, "ping!", 5);
            assert_true(!y->in && !y->out);
            rig_close(r);
        }
}

static void test_pings_are_answered_while_nobody_writes(void **state)
{
    struct rig *r = rig_open(&plain, NULL, 0);
    char big[125];

    memset(big, 'x', sizeof(big));
    shake(r);
    until_open(r);
    talk_in(&r->us);
    for (int i = 0; i < 1000; i++)
        server_frame(&r->v, 0x89, big, (size_t)i % 126);
    turns(r, 100);
    server_frames(&r->v);
    assert_int_equal(r->us.err, 0);
    assert_true(r->v.n_pongs > 100); /* a flood is not answered in full */
    rig_close(r);
}

static void test_frames_against_the_rules(void **state)
{
    static const struct {
        const char *b;
        size_t n;
        bool eof;
        int want;
    } cases[] = {
        { "\xc2\x01x", 3, false, -ERR_PROTO },        /* reserved bit */
        { "\x82\x81xxxxy", 7, false, -ERR_PROTO },    /* masked */
        { "\x83\x01x", 3, false, -ERR_PROTO },        /* opcode 3 */
        { "\x8b\x00", 2, false, -ERR_PROTO },         /* opcode 11 */
        { "\x09\x01x", 3, false, -ERR_PROTO },        /* a ping in fragments */
        { "\x89\x7e\x00\x7e", 4, false, -ERR_PROTO }, /* a ping of 126 */
        { "\x82\x7f\x00\x00\x00\x00\x80\x00\x00\x00", 10, false, -ERR_PROTO },
        { "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10, false, -ERR_PROTO },
        { "\x82\x02x", 3, true, -ERR_PROTO }, /* the end in a frame */
        { "\x82", 1, true, -ERR_PROTO },
        { "\x82\x01x", 3, true, -STREAM_EOF },
        { "\x88\x02\x03\xe8", 4, false, -STREAM_EOF },
        { "\x88\x00", 2, false, -STREAM_EOF },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig *r = rig_open(&plain, NULL, 0);
        uint8_t b[8];
        ssize_t n;

        shake(r);
        server_say(&r->v, cases[i].b, cases[i].n);
        until_open(r);
        if (cases[i].eof)
            stream_shutdown(&r->pair->a.s);
        turns(r, 2);
        while ((n = stream_read(r->s, &(struct iovec){ b, 8 }, 1)) > 0)
            assert_int_equal(b[0], 'x');
        if (n != cases[i].want)
            fail_msg("case %zu: %s", i, err_str((int)n));
        rig_close(r);
    }
}

static void test_there_is_no_half_close_but_a_goodbye(void **state)
{
    struct rig *r = rig_open(&plain, NULL, 0);
    uint8_t b[8];

    shake(r);
    until_open(r);
    assert_int_equal(stream_shutdown(r->s), 0);
    turns(r, 2);
    server_frames(&r->v);
    assert_int_equal(r->v.n_closes, 0);
    server_frame(&r->v, 0x82, "late", 4);
    turns(r, 2);
    assert_int_equal(stream_read(r->s, &(struct iovec){ b, 8 }, 1), 4);
    stream_close(r->s, 0);
    r->s = NULL;
    turns(r, 2);
    server_frames(&r->v);
    assert_int_equal(r->v.n_closes, 1);
    assert_true(r->v.eof);
    rig_close(r);
}

/* ---- early data ---- */

static void unbase64(const char *s, uint8_t *out, size_t *n)
{
    char text[4096];
    size_t len = strlen(s), pad = (4 - len % 4) % 4;

    assert_null(strpbrk(s, "+/="));
    snprintf(text, sizeof(text), "%s%s", s, "===" + 3 - pad);
    for (char *c = text; *c; c++)
        *c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
    *n = (size_t)EVP_DecodeBlock(out, (uint8_t *)text, (int)(len + pad)) - pad;
}

static void test_early_data_rides_in_the_request(void **state)
{
    static const size_t sizes[] = { 1, 2, 3, 100, 2048, 2049, 50000 };

    for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
        bool in_path = i >= COUNT(sizes);
        size_t total = sizes[i % COUNT(sizes)], n;
        struct ws_config c = plain;
        static uint8_t early[4096], buf[50000];
        struct rig *r;
        char *end;

        c.early_max = 2048;
        c.early_header = in_path ? NULL : "Sec-WebSocket-Protocol";
        r = rig_open(&c, NULL, 1);
        turns(r, 3);
        assert_int_equal(r->v.n_in, 0); /* it waits for the first bytes */
        pattern_fill(&r->us.out, buf, total);
        n = (size_t)stream_write(r->s, &(struct iovec){ buf, total }, 1);
        assert_int_equal(n, total < 2048 ? total : 2048);
        assert_int_equal(r->pair->b.writes, 1);
        r->us.out.at = n;
        r->us.send = total;
        turns(r, 1);
        talk_out(&r->us);
        assert_int_equal(r->us.out.at, n); /* on hold until the server has answered */
        assert_true(server_got_head(&r->v));
        if (in_path) {
            assert_memory_equal(r->v.head, "GET /ray?a=b", 12);
            assert_non_null(end = strstr(r->v.head, " HTTP/1.1\r\nHost:"));
            *end = 0;
            unbase64(r->v.head + 12, early, &n);
            *end = ' ';
        } else {
            unbase64(asked(&r->v, "Sec-WebSocket-Protocol"), early, &n);
        }
        pattern_check(&r->v.rx, early, n);
        server_accept(&r->v);
        say_pattern(&r->v, 10, false);
        talk_in(&r->us);
        for (int k = 0; k < 100 && (r->v.rx.at < total || r->us.in.at < 10); k++) {
            turns(r, 1);
            server_frames(&r->v);
        }
        assert_int_equal(r->v.rx.at, total);
        assert_int_equal(r->us.in.at, 10);
        rig_close(r);
    }
}

static void test_a_silent_client_sends_the_request_without_early_data(void **state)
{
    struct ws_config c = plain;
    struct rig *r;

    c.early_max = 2048;
    c.early_header = "Sec-WebSocket-Protocol";
    r = rig_open(&c, NULL, 1);
    assert_int_equal(stream_write(r->s, NULL, 0), 0);
    turns(r, 2);
    assert_true(server_got_head(&r->v));
    assert_null(strstr(r->v.head, "Protocol"));
    server_accept(&r->v);
    say_pattern(&r->v, 10, false);
    turns(r, 3); /* the answer is read though nobody reads */
    talk_in(&r->us);
    assert_int_equal(r->us.in.at, 10);
    rig_close(r);
}

/* ---- upgrades and disguises ---- */

static const char switching[] = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

static void test_an_upgrade_turns_raw(void **state)
{
    for (int fast = 0; fast < 2; fast++) {
        struct ws_config c = plain;
        struct rig *r;
        uint8_t b[64];

        c.upgrade = true;
        c.fast = fast;
        r = rig_open(&c, NULL, fast);
        if (fast) {
            assert_int_equal(stream_write(r->s, &(struct iovec){ "first", 5 }, 1), 5);
            assert_int_equal(r->pair->b.writes, 2); /* the request in one of its own */
        }
        turns(r, 2);
        assert_true(server_got_head(&r->v));
        assert_null(strstr(r->v.head, "Sec-WebSocket"));
        assert_string_equal(asked(&r->v, "Upgrade"), "websocket");
        assert_int_equal(r->us.opened, false);
        server_say(&r->v, switching, strlen(switching));
        server_say(&r->v, "hello", 5);
        turns(r, 3);
        assert_int_equal(stream_read(r->s, &(struct iovec){ b, 64 }, 1), 5);
        assert_memory_equal(b, "hello", 5);
        assert_int_equal(stream_write(r->s, &(struct iovec){ "more", 4 }, 1), 4);
        assert_int_equal(stream_shutdown(r->s), 0);
        turns(r, 2);
        assert_true(r->v.eof);
        assert_int_equal(r->v.n_in - r->v.at, fast ? 9 : 4);
        assert_memory_equal(r->v.in + r->v.at, fast ? "firstmore" : "more", fast ? 9 : 4);
        rig_close(r);
    }
}

/* Such a stream is open before its request goes, so nobody else looks at the clock. */
static void test_a_server_that_never_answers_early_data_or_a_fast_upgrade(void **state)
{
    for (int fast = 0; fast < 2; fast++)
        for (int answers = 0; answers < 2; answers++) {
            struct ws_config c = plain;
            struct rig *r;

            c.early_max = 2048;
            c.upgrade = c.fast = fast;
            fake_ms = 5000000;
            r = rig_open(&c, NULL, 1);
            fake_ms += 60000; /* nothing was asked yet */
            turns(r, 2);
            r->us.send = 5;
            talk_start(&r->us);
            turns(r, 2);
            fake_ms += 9900;
            turns(r, 2);
            assert_int_equal(r->us.err, 0);
            assert_true(server_got_head(&r->v));
            if (answers && fast)
                server_say(&r->v, switching, strlen(switching));
            else if (answers)
                server_accept(&r->v);
            turns(r, 3);
            fake_ms += 200;
            turns(r, 2);
            assert_int_equal(r->us.err, answers ? 0 : -ERR_SILENT);
            rig_close(r);
        }
    fake_ms = 0;
}

static void test_a_disguise_is_two_heads(void **state)
{
    for (size_t t = 0; t < COUNT(tempers); t++)
        for (int with_length = 0; with_length < 2; with_length++) {
            struct rig *r = rig_new(&tempers[t]);
            static uint8_t b[2000];

            assert_int_equal(http_cloak_start("GET /x HTTP/1.1\r\nHost: h\r\n", with_length, NULL, r->l, &r->pair->b.s, &r->s), 0);
            talk_init(&r->us, r->s, 1, 2, 3000);
            r->us.finish = true;
            talk_start(&r->us);
            server_say(&r->v, "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", 30);
            pattern_fill(&r->v.tx, b, sizeof(b));
            server_say(&r->v, b, sizeof(b));
            for (int i = 0; i < 20000 && (!r->v.eof || r->us.in.at < sizeof(b)); i++)
                turns(r, 1);
            assert_true(r->v.eof);
            assert_int_equal(r->us.in.at, sizeof(b));
            assert_true(server_got_head(&r->v));
            assert_memory_equal(r->v.head, "GET /x HTTP/1.1\r\nHost: h\r\n", 26);
            assert_int_equal(*asked(&r->v, "Content-Length") != 0, with_length);
            assert_int_equal(r->v.n_in - r->v.at, 3000);
            pattern_check(&r->v.rx, r->v.in + r->v.at, 3000);
            rig_close(r);
        }
}

static char told[HTTP_SAID];

static void on_refused(struct http_ear *e, const char *said)
{
    snprintf(told, sizeof(told), "%s", said);
}

/* A web server's page: the cipher above must not see it, and blame the password. */
static void test_a_disguise_that_is_refused(void **state)
{
    static const struct {
        const char *says, *told;
        int want;
    } cases[] = {
        { "HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n<html>", "status 404: Not Found Server: x", -ERR_STATUS },
        { "HTTP/1.0 502\n\n", "status 502", -ERR_STATUS },
        { "HTTP/1.1 302 Found\r\n\r\nbytes", "", 5 },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct http_ear ear = { on_refused };
        struct rig *r = rig_new(NULL);
        uint8_t b[16];

        told[0] = 0;
        assert_int_equal(http_cloak_start("GET / HTTP/1.1\r\n", true, &ear, r->l, &r->pair->b.s, &r->s), 0);
        server_say(&r->v, cases[i].says, strlen(cases[i].says));
        server_pump(&r->v);
        assert_int_equal(stream_read(r->s, &(struct iovec){ b, sizeof(b) }, 1), cases[i].want);
        assert_string_equal(told, cases[i].told);
        rig_close(r);
    }
}

static void test_the_first_bytes_follow_the_disguise_at_once(void **state)
{
    struct rig *r = rig_new(NULL);

    assert_int_equal(http_cloak_start("GET / HTTP/1.1\r\n", true, NULL, r->l, &r->pair->b.s, &r->s), 0);
    assert_int_equal(stream_write(r->s, &(struct iovec){ "hello", 5 }, 1), 5);
    assert_int_equal(r->pair->b.writes, 1);
    server_pump(&r->v);
    r->v.in[r->v.n_in] = 0;
    assert_string_equal((char *)r->v.in, "GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
    rig_close(r);
}

/* ---- heads ---- */

static void test_heads(void **state)
{
    static const struct {
        const char *text;
        int r, status;
        size_t len;
    } cases[] = {
        { "HTTP/1.0 200 OK\n\n", 1, 200, 17 },
        { "HTTP/1.1 200\r\n\r\nDATA", 1, 200, 16 },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ok\r\n\r\n", 1, 100, 25 },
        { "HTTP/1.1 407 a\nB: c\r\n\n", 1, 407, 22 },
        { "", 0, 0, 0 },
        { "HTTP/1.1 20", 0, 0, 0 },
        { "HTTP/1.1 200 OK\r\n\r", 0, 0, 0 },
        { "HTTP/2 200", -ERR_PROTO, 0, 0 },
        { "SSH-2.0-x", -ERR_PROTO, 0, 0 },
        { "HTTP/1.1 2000\r\n\r\n", -ERR_PROTO, 0, 0 },
        { "http/1.1 200", -ERR_PROTO, 0, 0 },
    };
    struct http_head h;
    struct span v;
    static char big[70000];
    static const char named[] = "HTTP/1.1 200 ok: no\r\nA: 1\r\nb :2\r\nCc:\t x , Yy,z \t\r\nA: 3\r\n\r\n";

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(http_head_parse(cases[i].text, strlen(cases[i].text), &h), cases[i].r);
        if (cases[i].r > 0) {
            assert_int_equal(h.status, cases[i].status);
            assert_int_equal(h.text.len, cases[i].len);
        }
    }
    assert_int_equal(http_head_parse("HTTP/1.1 200 \0\r\n\r\n", 18, &h), -ERR_PROTO);
    memset(big, 'x', sizeof(big));
    memcpy(big, "HTTP/1.1 200 ", 13);
    assert_int_equal(http_head_parse(big, 65535, &h), 0);
    assert_int_equal(http_head_parse(big, 65536, &h), -ERR_PROTO);

    assert_int_equal(http_head_parse(named, strlen(named), &h), 1);
    assert_true(http_head_find(&h, "a", &v) && v.len == 1 && v.p[0] == '1');
    assert_false(http_head_find(&h, "b", &v));
    assert_true(http_head_find(&h, "CC", &v) && v.len == 8);
    assert_true(http_has_word(&v, "x") && http_has_word(&v, "yY") && http_has_word(&v, "Z"));
    assert_false(http_has_word(&v, "y") || http_has_word(&v, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_accept_value_of_the_rfc),
        cmocka_unit_test(test_the_request),
        cmocka_unit_test(test_the_request_with_what_profiles_have),
        cmocka_unit_test(test_answers_that_mean_no),
        cmocka_unit_test(test_a_server_that_hangs_up_or_never_ends_its_head),
        cmocka_unit_test(test_bytes_both_ways_through_every_temper),
        cmocka_unit_test(test_pings_are_answered_while_nobody_writes),
        cmocka_unit_test(test_frames_against_the_rules),
        cmocka_unit_test(test_there_is_no_half_close_but_a_goodbye),
        cmocka_unit_test(test_early_data_rides_in_the_request),
        cmocka_unit_test(test_a_silent_client_sends_the_request_without_early_data),
        cmocka_unit_test(test_an_upgrade_turns_raw),
        cmocka_unit_test(test_a_server_that_never_answers_early_data_or_a_fast_upgrade),
        cmocka_unit_test(test_a_disguise_is_two_heads),
        cmocka_unit_test(test_a_disguise_that_is_refused),
        cmocka_unit_test(test_the_first_bytes_follow_the_disguise_at_once),
        cmocka_unit_test(test_heads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
