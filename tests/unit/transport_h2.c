/*
 * transport_h2.c - HTTP/2 streams and gRPC messages against a server session of the library, over streams of every temper
 *
 *   talkers ── streams ── one connection ── pair ── server
 */
#include "core_talker.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/layer.h"
#include "transport/transport.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t fake_ms; /* 0: the true clock */
static unsigned ping_s;  /* of new connections */

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (!fake_ms)
        return (int)syscall(SYS_clock_gettime, id, t);
    *t = (struct timespec){ (time_t)(fake_ms / 1000), (long)(fake_ms % 1000) * 1000000 };
    return 0;
}

/* ---- the server ---- */

enum { STREAMS_MAX = 40 };

struct served {
    int32_t id;
    struct pattern rx, tx;
    size_t send;
    bool eof, finish, raw; /* eof: got END_STREAM; finish: answer with it; raw: the body is kept, not checked */
    uint32_t reset;        /* got RST_STREAM with this code + 1 */
    char path[64], method[8], authority[64], te[16];
    uint8_t body[200000];
    size_t n_body, say; /* raw: answer with the first `say` bytes of `answer` */
    const uint8_t *answer;
};

struct server {
    struct stream *s;
    nghttp2_session *ng;
    const char *status;
    size_t send; /* for every new stream */
    bool finish, raw, no_consume, say_nothing;
    uint32_t refuse; /* new streams, with this code + 1 */
    const uint8_t *answer;
    size_t n_answer;
    const char *trailer; /* grpc-status */
    struct served v[STREAMS_MAX];
    unsigned n, n_pings;
    uint8_t out[1 << 20];
    size_t out_at, n_out;
    bool eof, goaway;
};

static struct served *find(struct server *w, int32_t id)
{
    for (unsigned i = 0; i < w->n; i++)
        if (w->v[i].id == id)
            return &w->v[i];
    return NULL;
}

static ssize_t supply(nghttp2_session *ng, int32_t id, uint8_t *b, size_t len, uint32_t *flags, nghttp2_data_source *src, void *arg)
{
    struct server *w = arg;
    struct served *v = find(w, id);
    size_t left = v->raw ? v->say - v->tx.at : v->send - v->tx.at, n = left < len ? left : len;

    if (v->raw && n)
        memcpy(b, v->answer + v->tx.at, n);
    else if (n)
        pattern_fill(&v->tx, b, n);
    v->tx.at += n;
    if (n == left && v->finish) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (w->trailer) {
            nghttp2_nv t = { (uint8_t *)"grpc-status", (uint8_t *)w->trailer, 11, strlen(w->trailer), 0 };

            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_submit_trailer(ng, id, &t, 1);
        }
        return (ssize_t)n;
    }
    return n ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

static int on_begin(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct server *w = arg;

    assert_true(w->n < STREAMS_MAX);
    w->v[w->n++] = (struct served){ .id = f->hd.stream_id,
                                    .rx.seed = 1,
                                    .tx.seed = 2,
                                    .send = w->send,
                                    .finish = w->finish,
                                    .raw = w->raw,
                                    .answer = w->answer,
                                    .say = w->n_answer };
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nl, const uint8_t *value, size_t vl,
                     uint8_t flags, void *arg)
{
    struct served *v = find(arg, f->hd.stream_id);
    char *to = !strcmp((char *)name, ":path")        ? v->path
               : !strcmp((char *)name, ":authority") ? v->authority
               : !strcmp((char *)name, "te")         ? v->te
               : !strcmp((char *)name, ":method")    ? v->method
                                                     : NULL;

    if (to)
        snprintf(to, to == v->method ? sizeof(v->method) : to == v->te ? sizeof(v->te) : 64, "%s", value);
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    struct server *w = arg;
    struct served *v = f->hd.stream_id ? find(w, f->hd.stream_id) : NULL;

    w->n_pings += f->hd.type == NGHTTP2_PING && !(f->hd.flags & NGHTTP2_FLAG_ACK);
    w->goaway |= f->hd.type == NGHTTP2_GOAWAY;
    if (!v)
        return 0;
    v->eof |= f->hd.flags & NGHTTP2_FLAG_END_STREAM && (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS);
    if (f->hd.type == NGHTTP2_RST_STREAM)
        v->reset = f->rst_stream.error_code + 1;
    if (f->hd.type == NGHTTP2_HEADERS && w->refuse) {
        nghttp2_submit_rst_stream(ng, 0, v->id, w->refuse - 1);
    } else if (f->hd.type == NGHTTP2_HEADERS && !w->say_nothing) {
        nghttp2_nv nv = { (uint8_t *)":status", (uint8_t *)w->status, 7, strlen(w->status), 0 };

        nghttp2_submit_response(ng, v->id, &nv, 1, &(nghttp2_data_provider){ .read_callback = supply });
    }
    return 0;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *b, size_t n, void *arg)
{
    struct server *w = arg;
    struct served *v = find(w, id);

    if (v->raw) {
        assert_true(v->n_body + n <= sizeof(v->body));
        memcpy(v->body + v->n_body, b, n);
        v->n_body += n;
    } else {
        pattern_check(&v->rx, b, n);
    }
    if (!w->no_consume)
        nghttp2_session_consume(ng, id, n);
    return 0;
}

static void server_init(struct server *w, struct stream *s, uint32_t max_streams)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *opt;
    nghttp2_settings_entry set = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams };

    w->s = s;
    w->status = "200";
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_option_new(&opt);
    nghttp2_option_set_no_auto_window_update(opt, 1);
    assert_int_equal(nghttp2_session_server_new2(&w->ng, cb, w, opt), 0);
    nghttp2_option_del(opt);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(w->ng, 0, &set, max_streams ? 1 : 0);
}

static void server_turn(struct server *w)
{
    static uint8_t b[65536];
    const uint8_t *data;
    ssize_t n;

    while ((n = stream_read(w->s, &(struct iovec){ b, sizeof(b) }, 1)) > 0)
        assert_int_equal(nghttp2_session_mem_recv(w->ng, b, (size_t)n), n);
    w->eof |= n < 0;
    while (w->n_out < sizeof(w->out) - 20000 && (n = nghttp2_session_mem_send(w->ng, &data)) > 0) {
        memcpy(w->out + w->n_out, data, (size_t)n);
        w->n_out += (size_t)n;
    }
    if (w->out_at < w->n_out && (n = stream_write(w->s, &(struct iovec){ w->out + w->out_at, w->n_out - w->out_at }, 1)) > 0)
        w->out_at += (size_t)n;
    if (w->out_at == w->n_out)
        w->out_at = w->n_out = 0;
}

/* ---- the rig ---- */

static const struct h2_request request = { .method = "PUT", .scheme = "https", .authority = "test.example", .path = "/p" };

struct rig {
    struct loop *l;
    struct mempair *pair;
    struct h2_conn *c;
    struct stream *s[STREAMS_MAX];
    struct talker us[STREAMS_MAX];
    struct server w;
};

static struct rig *rig_open(const struct temper *t, uint32_t max_streams)
{
    struct rig *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->l = loop_new();
    r->pair = mempair_new(r->l, t);
    server_init(&r->w, &r->pair->a.s, max_streams);
    r->c = h2_conn_new(r->l, &r->pair->b.s, ping_s);
    assert_non_null(r->c);
    return r;
}

static void open_stream(struct rig *r, unsigned i, size_t send)
{
    assert_int_equal(h2_open(r->c, &request, &r->s[i]), 0);
    talk_init(&r->us[i], r->s[i], 1, 2, send);
}

static void turns(struct rig *r, int n)
{
    while (n--) {
        loop_turn(r->l, 0);
        server_turn(&r->w);
    }
}

static void rig_close(struct rig *r)
{
    for (unsigned i = 0; i < STREAMS_MAX; i++)
        if (r->s[i])
            stream_close(r->s[i], -ERR_CLOSED);
    h2_conn_put(r->c);
    if (!r->pair->b.closed)
        turns(r, 100);
    loop_turn(r->l, 0);
    assert_true(r->pair->b.closed);
    nghttp2_session_del(r->w.ng);
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
    { .read_max = 5, .write_max = 16000 },
    { .cap = 16000, .read_max = 1447, .again_every = 4 },
    { .cap = 262144 },
};

static void test_bytes_both_ways_through_every_temper(void **state)
{
    static const size_t sizes[] = { 0, 1, 16384, 100000, 3000000 };

    for (size_t t = 0; t < COUNT(tempers); t++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            bool slow = (tempers[t].cap && tempers[t].cap < 100) || tempers[t].read_max == 1 || tempers[t].write_max == 1;
            size_t n = slow && sizes[i] > 2000 ? 2000 : tempers[t].read_max && sizes[i] > 100000 ? 100000 : sizes[i];
            struct rig *r = rig_open(&tempers[t], 0);

            r->w.send = n;
            r->w.finish = true;
            open_stream(r, 0, n);
            r->us[0].finish = true;
            talk_start(&r->us[0]);
            for (int k = 0; k < 100000 && !(r->us[0].eof && r->w.n && r->w.v[0].eof) && !r->us[0].err; k++)
                turns(r, 1);
            assert_int_equal(r->us[0].err, 0);
            assert_true(r->us[0].eof && r->w.v[0].eof);
            assert_int_equal(r->us[0].in.at, n);
            assert_int_equal(r->w.v[0].rx.at, n);
            assert_string_equal(r->w.v[0].path, "/p");
            assert_string_equal(r->w.v[0].method, "PUT");
            assert_string_equal(r->w.v[0].authority, "test.example");
            rig_close(r);
        }
}

static void test_many_streams_share_a_connection(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    r->w.send = 70000;
    r->w.finish = true;
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        open_stream(r, i, 50000 + i);
        r->us[i].finish = true;
        talk_start(&r->us[i]);
    }
    assert_int_equal(h2_conn_streams(r->c), STREAMS_MAX);
    turns(r, 3000);
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        assert_int_equal(r->us[i].err, 0);
        assert_true(r->us[i].eof);
        assert_int_equal(r->us[i].in.at, 70000);
        assert_int_equal(r->w.v[i].rx.at, 50000 + i);
    }
    rig_close(r);
}

static void test_the_request_waits_for_the_first_bytes(void **state)
{
    struct rig *r = rig_open(NULL, 0);
    unsigned writes;

    turns(r, 3);
    writes = r->pair->b.writes;
    open_stream(r, 0, 0);
    turns(r, 3);
    assert_int_equal(r->w.n, 0);
    assert_int_equal(stream_write(r->s[0], &(struct iovec){ "\x35", 1 }, 1), 1);
    assert_int_equal(r->pair->b.writes, writes + 1); /* in one */
    r->w.raw = true;
    turns(r, 2);
    assert_int_equal(r->w.v[0].n_body, 1);
    open_stream(r, 1, 0);
    assert_int_equal(stream_write(r->s[1], NULL, 0), 0); /* or for a flush */
    turns(r, 2);
    assert_int_equal(r->w.n, 2);
    rig_close(r);
}

/* A reader that stops holds one window, stops nobody else, and gets everything when it goes on. */
static void test_a_slow_reader_holds_one_window(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    r->w.send = 1000000;
    open_stream(r, 0, 1);
    open_stream(r, 1, 1);
    r->us[0].quiet = true;
    talk_start(&r->us[0]);
    talk_start(&r->us[1]);
    turns(r, 500);
    assert_int_equal(r->w.v[0].tx.at, 256 << 10);
    assert_int_equal(r->us[1].in.at, 1000000);
    r->us[0].quiet = false;
    talk_in(&r->us[0]);
    turns(r, 500);
    assert_int_equal(r->us[0].in.at, 1000000);
    rig_close(r);
}

/* What a closed stream leaves unread must not eat up the connection's window. */
static void test_unread_bytes_of_closed_streams_are_given_back(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    r->w.send = 256 << 10;
    for (int i = 0; i < 39; i++) { /* more than the connection's window in all, one after the other */
        open_stream(r, 0, 1);
        r->us[0].quiet = true;
        talk_start(&r->us[0]);
        turns(r, 20);
        assert_int_equal(r->w.v[i].tx.at, 256 << 10);
        stream_close(r->s[0], i & 1 ? 0 : -ECONNRESET);
        r->s[0] = NULL;
        turns(r, 3);
        assert_int_equal(r->w.v[i].reset, NGHTTP2_CANCEL + 1);
    }
    for (int i = 0; i < 1; i++) {
        open_stream(r, 0, 1);
        talk_start(&r->us[0]);
        turns(r, 50);
        assert_int_equal(r->us[0].in.at, 256 << 10);
    }
    rig_close(r);
}

static void test_a_server_that_takes_nothing_stops_the_writer(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    r->w.no_consume = true;
    open_stream(r, 0, 500000);
    talk_start(&r->us[0]);
    assert_int_equal(stream_write(r->s[0], NULL, 0), 0); /* a flush does not make it forget that somebody waits */
    turns(r, 50);
    assert_int_equal(r->w.v[0].rx.at, 65535);
    assert_in_range(r->us[0].out.at, 65535, 65535);
    r->w.no_consume = false;
    nghttp2_session_consume(r->w.ng, r->w.v[0].id, 65535);
    turns(r, 200);
    assert_int_equal(r->w.v[0].rx.at, 500000);
    rig_close(r);
}

static void test_answers_that_mean_no(void **state)
{
    static const struct {
        const char *status;
        uint32_t refuse;
        const char *trailer;
        int want;
    } cases[] = {
        { "404", 0, NULL, -ERR_STATUS },
        { "502", 0, NULL, -ERR_STATUS },
        { "200", NGHTTP2_REFUSED_STREAM + 1, NULL, -ECONNREFUSED },
        { "200", NGHTTP2_INTERNAL_ERROR + 1, NULL, -ECONNRESET },
        { "200", NGHTTP2_NO_ERROR + 1, NULL, -ECONNRESET }, /* no answer at all */
        { "200", 0, "12", -ERR_STATUS },
        { "200", 0, "0", 0 },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig *r = rig_open(NULL, 0);

        r->w.status = cases[i].status;
        r->w.refuse = cases[i].refuse;
        r->w.trailer = cases[i].trailer;
        r->w.finish = true;
        open_stream(r, 0, 0);
        assert_int_equal(stream_write(r->s[0], NULL, 0), 0);
        talk_in(&r->us[0]);
        turns(r, 10);
        assert_int_equal(r->us[0].err, cases[i].want);
        assert_int_equal(r->us[0].eof, !cases[i].want);
        assert_true(h2_conn_usable(r->c));
        rig_close(r);
    }
}

static void test_goaway_and_the_end_of_the_connection(void **state)
{
    struct rig *r = rig_open(NULL, 0);
    struct stream *s;

    open_stream(r, 0, 10);
    talk_start(&r->us[0]);
    turns(r, 3);
    nghttp2_submit_goaway(r->w.ng, 0, r->w.v[0].id, 0, NULL, 0);
    turns(r, 3);
    assert_false(h2_conn_usable(r->c));
    assert_int_equal(h2_open(r->c, &request, &s), -ERR_CLOSED);
    assert_int_equal(r->us[0].err, 0); /* what was begun goes on */
    stream_close(&r->pair->a.s, -ECONNRESET);
    r->pair->a.closed = false; /* the server still looks */
    loop_turn(r->l, 0);
    loop_turn(r->l, 0);
    assert_int_equal(r->us[0].err, -ECONNRESET);
    assert_true(r->pair->b.closed);
    rig_close(r);
}

static void test_a_connection_that_says_nothing(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    open_stream(r, 0, 10);
    talk_start(&r->us[0]);
    stream_shutdown(&r->pair->a.s);
    loop_turn(r->l, 0);
    loop_turn(r->l, 0);
    assert_int_equal(r->us[0].err, -ERR_EARLY);
    rig_close(r);
}

static void test_streams_that_wait_for_their_turn(void **state)
{
    struct rig *r = rig_open(NULL, 2);

    r->w.send = 100;
    r->w.finish = true;
    turns(r, 3);
    assert_int_equal(h2_conn_room(r->c), 2);
    for (unsigned i = 0; i < 4; i++) {
        open_stream(r, i, 10);
        r->us[i].finish = true;
        talk_start(&r->us[i]);
    }
    assert_int_equal(h2_conn_room(r->c), 0);
    stream_close(r->s[3], 0); /* never sent */
    r->s[3] = NULL;
    turns(r, 50);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(r->us[i].err, 0);
        assert_true(r->us[i].eof);
        assert_int_equal(r->us[i].in.at, 100);
    }
    assert_int_equal(r->w.n, 3);
    rig_close(r);
}

static void test_streams_outlive_the_owners_reference(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    r->w.send = 100000;
    r->w.finish = true;
    open_stream(r, 0, 100000);
    r->us[0].finish = true;
    h2_conn_put(r->c);
    r->c = NULL;
    talk_start(&r->us[0]);
    turns(r, 100);
    assert_true(r->us[0].eof);
    assert_int_equal(r->w.v[0].rx.at, 100000);
    assert_false(r->pair->b.closed);
    stream_close(r->s[0], 0);
    r->s[0] = NULL;
    turns(r, 2);
    assert_true(r->pair->b.closed);
    assert_int_equal(r->pair->b.close_err, 0);
    assert_true(r->w.goaway);
    rig_close(r);
}

static void test_a_server_that_speaks_something_else(void **state)
{
    struct rig *r = rig_open(NULL, 0);

    open_stream(r, 0, 10);
    talk_start(&r->us[0]);
    stream_write(&r->pair->a.s, &(struct iovec){ "HTTP/1.1 400 Bad Request\r\n\r\n", 28 }, 1);
    loop_turn(r->l, 0);
    loop_turn(r->l, 0);
    assert_int_equal(r->us[0].err, -ERR_PROTO);
    rig_close(r);
}

static void test_silence_is_asked_and_then_the_end(void **state)
{
    struct rig *r;

    fake_ms = 5000000;
    ping_s = 10;
    r = rig_open(NULL, 0);
    open_stream(r, 0, 10);
    talk_start(&r->us[0]);
    turns(r, 3);
    for (int i = 0; i < 5; i++) { /* a server that answers */
        fake_ms += 10100;
        turns(r, 3);
        assert_int_equal(r->w.n_pings, i + 1);
        assert_int_equal(r->us[0].err, 0);
    }
    fake_ms += 10100; /* and one that does not */
    loop_turn(r->l, 0);
    assert_int_equal(r->us[0].err, 0);
    fake_ms += 10100;
    loop_turn(r->l, 0);
    assert_int_equal(r->us[0].err, -ETIMEDOUT);
    rig_close(r);
    fake_ms = ping_s = 0;
}

/* What was kept for later flows may be dead since: whoever writes on it must not wait for minutes, and the profile need not ask for pings. */
static void test_a_connection_that_was_quiet_is_asked_when_it_is_used(void **state)
{
    for (int dead = 0; dead < 2; dead++) {
        struct rig *r;

        fake_ms = 5000000;
        r = rig_open(NULL, 0);
        open_stream(r, 0, 10);
        talk_start(&r->us[0]);
        turns(r, 3);
        fake_ms += 4000;
        loop_turn(r->l, 0);
        open_stream(r, 1, 10);
        talk_start(&r->us[1]);
        turns(r, 3);
        assert_int_equal(r->w.n_pings, 0); /* it spoke a moment ago */
        fake_ms += 60000;
        turns(r, 3);
        assert_int_equal(r->w.n_pings, 0); /* nobody wants anything */
        open_stream(r, 2, 10);
        talk_start(&r->us[2]);
        if (!dead)
            turns(r, 3);
        assert_int_equal(r->w.n_pings, !dead);
        fake_ms += 4900;
        loop_turn(r->l, 0);
        assert_true(h2_conn_usable(r->c));
        fake_ms += 200;
        loop_turn(r->l, 0);
        assert_int_equal(h2_conn_usable(r->c), !dead);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(r->us[i].err, dead ? -ETIMEDOUT : 0);
        rig_close(r);
    }
    fake_ms = 0;
}

/* A flow that only sends, with a server that only confirms: some servers count PINGs, and hang up. */
static void test_who_only_sends_does_not_ask_for_ever(void **state)
{
    struct rig *r;

    fake_ms = 5000000;
    r = rig_open(NULL, 0);
    open_stream(r, 0, 10);
    talk_start(&r->us[0]);
    turns(r, 3);
    for (int i = 0; i < 6; i++) {
        fake_ms += 10000;
        loop_turn(r->l, 0);
        r->us[0].send += 10;
        talk_start(&r->us[0]);
        turns(r, 3);
    }
    assert_int_equal(r->us[0].err, 0);
    assert_int_equal(r->w.n_pings, 2);
    rig_close(r);
    fake_ms = 0;
}

/* ---- gRPC ---- */

static struct stream *grpc_on(struct rig *r, size_t send)
{
    struct stream *s;

    assert_int_equal(h2_open(r->c, &request, &s), 0);
    assert_int_equal(grpc_start(r->l, s, &r->s[0]), 0);
    talk_init(&r->us[0], r->s[0], 1, 2, send);
    return s;
}

static void test_the_message_as_published(void **state)
{
    static const uint8_t want[] = { 0, 0, 0, 0, 7, 0x0a, 5, 'h', 'e', 'l', 'l', 'o' };
    struct rig *r = rig_open(NULL, 0);

    r->w.raw = true;
    grpc_on(r, 0);
    assert_int_equal(stream_write(r->s[0], &(struct iovec){ "hello", 5 }, 1), 5);
    turns(r, 3);
    assert_int_equal(r->w.v[0].n_body, sizeof(want));
    assert_memory_equal(r->w.v[0].body, want, sizeof(want));
    assert_int_equal(stream_shutdown(r->s[0]), 0);
    turns(r, 3);
    assert_false(r->w.v[0].eof);
    rig_close(r);
}

static void test_messages_of_every_size(void **state)
{
    static const size_t sizes[] = { 1, 127, 128, 16383, 16384, 32768, 32769, 150000 };

    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct rig *r = rig_open(&tempers[i % COUNT(tempers)], 0);
        size_t n = i % COUNT(tempers) < 5 && sizes[i] > 3000 ? 3000 : sizes[i], at = 0;
        struct pattern rx = { .seed = 1 };

        r->w.raw = true;
        grpc_on(r, n);
        talk_start(&r->us[0]);
        for (int k = 0; k < 20000 && r->us[0].out.at < n; k++)
            turns(r, 1);
        turns(r, 20000);
        while (at < r->w.v[0].n_body) { /* a naive reader */
            const uint8_t *m = r->w.v[0].body + at;
            uint32_t len = (uint32_t)m[1] << 24 | (uint32_t)m[2] << 16 | (uint32_t)m[3] << 8 | m[4];
            size_t k = 6, shift = 0, payload = 0;

            assert_int_equal(m[0], 0);
            assert_int_equal(m[5], 0x0a);
            do {
                payload |= (size_t)(m[k] & 0x7f) << shift;
                shift += 7;
            } while (m[k++] & 0x80);
            assert_int_equal(len, k - 5 + payload);
            pattern_check(&rx, m + k, payload);
            at += 5 + len;
        }
        assert_int_equal(rx.at, n);
        rig_close(r);
    }
}

static void test_messages_from_the_server(void **state)
{
    static const struct {
        const char *b;
        size_t n;
        bool eof;
        int want;
        const char *plain;
    } cases[] = {
        { "\0\0\0\0\7\x0a\5hello", 12, true, -STREAM_EOF, "hello" },
        { "\0\0\0\0\7\x0a\5hello\0\0\0\0\0\0\0\0\0\3\x0a\1!", 25, true, -STREAM_EOF, "hello!" }, /* an empty message */
        { "\0\0\0\0\x07\x0a\2he\x0a\1l", 12, true, -STREAM_EOF, "hel" },                         /* the field twice */
        { "\0\0\0\0\2\x0a\0", 7, true, -STREAM_EOF, "" },
        { "\0\0\0\0\x08\x0a\x85\0hello", 13, true, -STREAM_EOF, "hello" }, /* a long varint */
        { "\1\0\0\0\7\x0a\5hello", 12, true, -ERR_PROTO, "" },             /* compressed */
        { "\0\0\0\0\7\x12\5hello", 12, true, -ERR_PROTO, "" },             /* another field */
        { "\0\0\0\0\7\x0a\6hello", 12, true, -ERR_PROTO, "" },             /* longer than its message */
        { "\0\0\0\0\1\x0a", 6, true, -ERR_PROTO, "" },
        { "\0\0\0\0\x0c\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x01", 15, true, -ERR_PROTO, "" },
        { "\0\0\0\0\7\x0a\5hel", 10, true, -ERR_PROTO, "hel" }, /* cut */
        { "\0\0\0", 3, true, -ERR_PROTO, "" },
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct rig *r = rig_open(NULL, 0);
        char got[32] = "";
        size_t at = 0;
        ssize_t n = 0;

        r->w.raw = true;
        r->w.finish = cases[i].eof;
        r->w.answer = (const uint8_t *)cases[i].b;
        r->w.n_answer = cases[i].n;
        grpc_on(r, 0);
        r->us[0].quiet = true;
        stream_write(r->s[0], NULL, 0);
        for (int k = 0; k < 20; k++) {
            turns(r, 1);
            while ((n = stream_read(r->s[0], &(struct iovec){ got + at, 1 }, 1)) > 0)
                at += (size_t)n;
        }
        if (n != cases[i].want || strcmp(got, cases[i].plain) != 0)
            fail_msg("case %zu: %s, \"%s\"", i, err_str((int)n), got);
        rig_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_both_ways_through_every_temper),
        cmocka_unit_test(test_many_streams_share_a_connection),
        cmocka_unit_test(test_the_request_waits_for_the_first_bytes),
        cmocka_unit_test(test_a_slow_reader_holds_one_window),
        cmocka_unit_test(test_unread_bytes_of_closed_streams_are_given_back),
        cmocka_unit_test(test_a_server_that_takes_nothing_stops_the_writer),
        cmocka_unit_test(test_answers_that_mean_no),
        cmocka_unit_test(test_goaway_and_the_end_of_the_connection),
        cmocka_unit_test(test_a_connection_that_says_nothing),
        cmocka_unit_test(test_streams_that_wait_for_their_turn),
        cmocka_unit_test(test_streams_outlive_the_owners_reference),
        cmocka_unit_test(test_a_server_that_speaks_something_else),
        cmocka_unit_test(test_silence_is_asked_and_then_the_end),
        cmocka_unit_test(test_a_connection_that_was_quiet_is_asked_when_it_is_used),
        cmocka_unit_test(test_who_only_sends_does_not_ask_for_ever),
        cmocka_unit_test(test_the_message_as_published),
        cmocka_unit_test(test_messages_of_every_size),
        cmocka_unit_test(test_messages_from_the_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
