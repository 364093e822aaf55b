/*
 * outbound_under.c - from a carrier to a stream: each step's success, refusal and silence, a change of mind at every point; gRPC's pool
 *
 *   node ── real socket ── a server that goes exactly as far as it is told: accept, TLS, HTTP answer
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "outbound/private.h"
#include "outbound_world.h"
#include "transport/transport.h"
#include "transport_tlspeer.h"

static struct world w;
static int listener;
static uint16_t port;
static SSL_CTX *ctx;
static uint64_t ahead_ms; /* the clock is so much too fast */

int clock_gettime(clockid_t id, struct timespec *t)
{
    int r = (int)syscall(SYS_clock_gettime, id, t);

    t->tv_sec += (time_t)(ahead_ms / 1000);
    return r;
}

/* ---- a dial ---- */

static void call(struct call *c, const char *name)
{
    assert_int_equal(call_dial(c, out_find(w.set, name), &(struct dest){ .host = "dest.example", .at.port = 443 }), 0);
}

static void turns(int n)
{
    while (n--)
        loop_turn(w.loop, 1);
}

/* ---- the server ---- */

static char offered[64]; /* of the last hello: the protocols, each behind its length */

static int choose_first(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in, unsigned n, void *arg)
{
    snprintf(offered, sizeof(offered), "%.*s", (int)n, in);
    *out = in + 1;
    *len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

static SSL *accept_tls(int fd)
{
    SSL *ssl = SSL_new(ctx);

    SSL_set_fd(ssl, fd);
    for (int i = 0; i < TURNS && SSL_accept(ssl) != 1; i++)
        loop_turn(w.loop, 10);
    return ssl;
}

/* What came, up to the empty line of an HTTP head. */
static void read_head(SSL *ssl, int fd, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = 0;
    for (int i = 0; i < TURNS && !strstr(buf, "\r\n\r\n"); i++) {
        ssize_t r = ssl ? SSL_read(ssl, buf + n, (int)(size - 1 - n)) : read(fd, buf + n, size - 1 - n);

        if (r > 0)
            n += (size_t)r;
        else
            loop_turn(w.loop, 10);
        buf[n] = 0;
    }
    ERR_clear_error();
    assert_non_null(strstr(buf, "\r\n\r\n"));
}

static void accept_key(const char *head, char out[64])
{
    const char *key = strstr(head, "Sec-WebSocket-Key: ");
    uint8_t sum[20];
    char text[128];

    assert_non_null(key);
    snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    EVP_Digest(text, strlen(text), sum, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock((uint8_t *)out, sum, 20);
}

static bool ended(int fd)
{
    char buf[4096];
    ssize_t n;

    for (int i = 0; i < TURNS; i++) {
        while ((n = read(fd, buf, sizeof(buf))) > 0)
            ;
        if (n == 0 || errno != EAGAIN)
            return true;
        loop_turn(w.loop, 10);
    }
    return false;
}

/* ---- steps ---- */

/* The server goes so far and no further: 0 it has not accepted, 1 accepted, 2 TLS is up, 3 it has read the request, 4 it agreed. */
static void go_to(int step, const char *node)
{
    char head[2048], key[64], answer[256];
    SSL *ssl = NULL;
    struct call c;
    int fd = -1;

    call(&c, node);
    if (step >= 1)
        assert_true((fd = world_accept(&w, listener)) >= 0);
    if (step >= 2)
        ssl = accept_tls(fd);
    if (step >= 3) {
        read_head(ssl, fd, head, sizeof(head));
        assert_memory_equal(head, "GET /w HTTP/1.1\r\n", 17);
        assert_non_null(strstr(head, "Host: a.test\r\n"));
    }
    if (step >= 4) {
        accept_key(head, key);
        snprintf(answer, sizeof(answer),
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", key);
        assert_int_equal(SSL_write(ssl, answer, (int)strlen(answer)), strlen(answer));
        assert_true(world_until(&w, &c.done));
        assert_int_equal(c.err, 0);
    }
    turns(5);
    assert_int_equal(c.done, step >= 4);
    if (step < 4)
        out_cancel(c.o, &c.d);
    else
        call_hang_up(&c);
    turns(5);
    assert_int_equal(c.done, step >= 4);
    if (fd < 0)
        assert_true((fd = world_accept(&w, listener)) >= 0);
    SSL_free(ssl);
    assert_true(ended(fd));
    close(fd);
}

static void test_a_change_of_mind_at_every_step(void **state)
{
    for (int step = 0; step <= 4; step++)
        go_to(step, "ws");
}

static void test_cancelled_before_anything_happened(void **state)
{
    struct call c;

    call(&c, "ws");
    out_cancel(c.o, &c.d);
    turns(3);
    assert_false(c.done);
}

/* Ten seconds for all steps together, and silence is told apart from a refusal. */
static void test_silence_at_every_step(void **state)
{
    for (int step = 1; step <= 3; step++) {
        SSL *ssl = NULL;
        char head[2048];
        struct call c;
        int fd;

        call(&c, "ws");
        assert_true((fd = world_accept(&w, listener)) >= 0);
        if (step >= 2)
            ssl = accept_tls(fd);
        if (step >= 3)
            read_head(ssl, fd, head, sizeof(head));
        turns(5);
        ahead_ms += 9000;
        turns(5);
        assert_false(c.done);
        ahead_ms += 2000;
        turns(5);
        assert_true(c.done);
        assert_int_equal(c.err, -ERR_SILENT);
        assert_int_equal(c.o->last_err, -ERR_SILENT);
        assert_non_null(strstr(out_hint(c.o), "check port"));
        SSL_free(ssl);
        assert_true(ended(fd));
        close(fd);
    }
}

static void fails_with(struct call *c, int fd, SSL *ssl, int want)
{
    SSL_free(ssl);
    assert_true(world_until(&w, &c->done));
    assert_int_equal(c->err, want);
    assert_int_equal(c->o->last_err, want);
    close(fd);
    turns(2);
}

static void test_refusals_at_every_step(void **state)
{
    char head[2048];
    struct call c;
    SSL *ssl;
    int fd;

    call(&c, "ws"); /* it closes at once */
    assert_true((fd = world_accept(&w, listener)) >= 0);
    world_read(&w, fd, head, 50);
    close(fd);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ERR_EARLY);

    call(&c, "ws"); /* it speaks something else */
    assert_true((fd = world_accept(&w, listener)) >= 0);
    assert_int_equal(write(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
    fails_with(&c, fd, NULL, -ERR_TLS_PLAIN);

    call(&c, "strict"); /* nobody vouches for it */
    assert_true((fd = world_accept(&w, listener)) >= 0);
    ssl = accept_tls(fd);
    fails_with(&c, fd, ssl, -ERR_CERT_SELF);

    call(&c, "ws"); /* no such path */
    assert_true((fd = world_accept(&w, listener)) >= 0);
    ssl = accept_tls(fd);
    read_head(ssl, fd, head, sizeof(head));
    world_heed(&w);
    assert_int_equal(SSL_write(ssl, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 45), 45);
    fails_with(&c, fd, ssl, -ERR_STATUS);
    assert_non_null(strstr(out_hint(c.o), "path"));
    assert_int_equal(w.n_warned, 1);
    assert_non_null(strstr(w.warned, "(status 404: Not Found Content-Length: 0): check path"));
}

static void test_nobody_listens(void **state)
{
    struct call c;

    call(&c, "nobody");
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ECONNREFUSED);
    assert_int_equal(c.o->last_err, -ECONNREFUSED);
    assert_int_equal(c.o->n_failed, c.o->n_dials);
}

/* What its dialer did wrong is not its own fault. */
static void test_the_way_to_it_is_somebody_elses(void **state)
{
    struct call c;

    call(&c, "behind nobody");
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ECONNREFUSED);
    assert_int_equal(c.o->last_err, 0);
    assert_null(out_hint(c.o));
}

static void test_who_believes_anybody_is_known(void **state)
{
    assert_true(out_find(w.set, "ws")->unverified);
    assert_false(out_find(w.set, "strict")->unverified);
    assert_false(out_find(w.set, "pinned")->unverified); /* it looks very closely */
}

/* A root of the profile's own makes the server's certificate a good one; what is no certificate is said. */
static void test_roots_of_the_profile(void **state)
{
    static const struct ident_spec self = { .name = "a.test", .san = "DNS:a.test" };
    struct ident id = ident_new(&self, NULL);
    char yaml[8192], *pem = ident_cert_pem(&id);
    SSL_CTX *mine = ctx;
    struct call c;
    SSL *ssl;
    int fd;
    size_t n;

    world_close(&w);
    ctx = tlspeer_ctx(&id, 0);
    n = (size_t)snprintf(yaml, sizeof(yaml),
                         "proxies:\n  - {name: v, type: vless, server: 127.0.0.1, port: %u, uuid: u, tls: true, servername: a.test}\n"
                         "tls: {custom-certifactes: [no-such-file.pem, \"-----BEGIN nothing\", \"",
                         port);
    for (const char *p = pem; *p; p++)
        n += (size_t)snprintf(yaml + n, sizeof(yaml) - n, *p == '\n' ? "\\n" : "%c", *p);
    snprintf(yaml + n, sizeof(yaml) - n, "\"]}\n");
    world_open(&w, yaml);
    assert_int_equal(w.d.n, 2);
    assert_int_equal(w.d.items[0].line, 3);
    call(&c, "v");
    assert_true((fd = world_accept(&w, listener)) >= 0);
    ssl = accept_tls(fd);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, 0);
    call_hang_up(&c);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(ctx);
    ctx = mine;
    ident_free(&id);
    free(pem);
}

/* ---- the pool of HTTP/2 connections ---- */

struct h2_peer {
    int fd;
    SSL *ssl; /* or NULL */
    nghttp2_session *ng;
    unsigned n_streams;
    const char *status; /* NULL: 200 */
    char path[64], authority[64], user_agent[64], encoding[64];
};

static ssize_t peer_send(nghttp2_session *ng, const uint8_t *b, size_t n, int flags, void *arg)
{
    struct h2_peer *p = arg;
    ssize_t r = p->ssl ? SSL_write(p->ssl, b, (int)n) : write(p->fd, b, n);

    return r > 0 ? r : errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int peer_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t nl, const uint8_t *value, size_t vl,
                       uint8_t flags, void *arg)
{
    struct h2_peer *p = arg;

    if (!strcmp((const char *)name, ":path"))
        snprintf(p->path, sizeof(p->path), "%s", value);
    if (!strcmp((const char *)name, ":authority"))
        snprintf(p->authority, sizeof(p->authority), "%s", value);
    if (!strcmp((const char *)name, "accept-encoding"))
        snprintf(p->encoding, sizeof(p->encoding), "%s", value);
    if (!strcmp((const char *)name, "user-agent"))
        snprintf(p->user_agent, sizeof(p->user_agent), "%s", value);
    return 0;
}

static int peer_frame(nghttp2_session *ng, const nghttp2_frame *f, void *arg)
{
    nghttp2_nv nv = { (uint8_t *)":status", (uint8_t *)"200", 7, 3, 0 };
    struct h2_peer *p = arg;

    if (f->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (p->status)
        nv.value = (uint8_t *)p->status;
    p->n_streams++;
    return nghttp2_submit_headers(ng, 0, f->hd.stream_id, NULL, &nv, 1, NULL);
}

static void peer_open(struct h2_peer *p, uint32_t max_streams)
{
    nghttp2_settings_entry set = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams };
    nghttp2_session_callbacks *cb;

    *p = (struct h2_peer){ .fd = world_accept(&w, listener) };
    assert_true(p->fd >= 0);
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_send_callback(cb, peer_send);
    nghttp2_session_callbacks_set_on_header_callback(cb, peer_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, peer_frame);
    assert_int_equal(nghttp2_session_server_new(&p->ng, cb, p), 0);
    nghttp2_session_callbacks_del(cb);
    nghttp2_submit_settings(p->ng, 0, &set, 1);
}

static void peer_turn(struct h2_peer *p)
{
    uint8_t b[8192];
    ssize_t n;

    loop_turn(w.loop, 1);
    while ((n = p->ssl ? SSL_read(p->ssl, b, sizeof(b)) : read(p->fd, b, sizeof(b))) > 0)
        assert_int_equal(nghttp2_session_mem_recv(p->ng, b, (size_t)n), n);
    assert_int_equal(nghttp2_session_send(p->ng), 0);
}

static void peer_close(struct h2_peer *p)
{
    nghttp2_session_del(p->ng);
    SSL_free(p->ssl);
    close(p->fd);
    turns(3);
}

static void flush(struct call *c)
{
    assert_int_equal(stream_write(c->s, NULL, 0), 0);
}

static bool nobody_else(void)
{
    int fd;

    turns(3);
    fd = accept(listener, NULL, NULL);
    if (fd >= 0)
        close(fd);
    return fd < 0;
}

static void test_streams_share_a_connection(void **state)
{
    struct call c[5];
    struct h2_peer p;

    for (int i = 0; i < 4; i++)
        call(&c[i], "grpc");
    out_cancel(c[2].o, &c[2].d); /* one of those that wait */
    peer_open(&p, 100);
    for (int i = 0; i < 4; i++) {
        if (i == 2)
            continue;
        assert_true(world_until(&w, &c[i].done));
        assert_int_equal(c[i].err, 0);
        flush(&c[i]);
    }
    call(&c[4], "grpc");     /* there is one already */
    assert_false(c[4].done); /* never from inside */
    assert_true(world_until(&w, &c[4].done));
    flush(&c[4]);
    for (int i = 0; i < 20; i++)
        peer_turn(&p);
    assert_int_equal(p.n_streams, 4);
    assert_string_equal(p.path, "/svc/Tun");
    assert_string_equal(p.user_agent, "grpc-go/1.36.0");
    assert_true(nobody_else());
    assert_false(c[2].done);
    for (int i = 0; i < 5; i++)
        call_hang_up(&c[i]);
    peer_close(&p);
}

static void test_what_grpc_calls_the_server(void **state)
{
    static const char *const nodes[] = { "grpc", "grpc v6" };
    char want[64];

    for (int i = 0; i < 2; i++) {
        struct call c;
        struct h2_peer p;

        call(&c, nodes[i]);
        peer_open(&p, 100);
        assert_true(world_until(&w, &c.done));
        flush(&c);
        for (int k = 0; k < 10; k++)
            peer_turn(&p);
        snprintf(want, sizeof(want), i ? "[::ffff:127.0.0.1]:%u" : "a.test", port);
        assert_string_equal(p.authority, want);
        call_hang_up(&c);
        peer_close(&p);
    }
}

static void test_what_grpc_is_refused_with(void **state)
{
    struct call c;
    struct h2_peer p;

    call(&c, "grpc");
    peer_open(&p, 100);
    p.status = "503";
    assert_true(world_until(&w, &c.done));
    world_heed(&w);
    flush(&c);
    for (int k = 0; k < 10; k++)
        peer_turn(&p);
    assert_int_equal(stream_write(c.s, NULL, 0), -ERR_STATUS);
    assert_int_equal(w.n_warned, 1);
    assert_non_null(strstr(w.warned, "(status 503): check path"));
    out_note_end(c.o, 1, 0, -ERR_STATUS);
    assert_int_equal(w.n_warned, 1);
    call_hang_up(&c);
    peer_close(&p);
}

static void test_cancelled_between_the_pool_and_done(void **state)
{
    struct call c[2];
    struct h2_peer p;

    call(&c[0], "grpc");
    peer_open(&p, 100);
    assert_true(world_until(&w, &c[0].done));
    call(&c[1], "grpc");
    out_cancel(c[1].o, &c[1].d);
    turns(3);
    assert_false(c[1].done);
    call_hang_up(&c[0]);
    peer_close(&p);
}

static void test_as_many_connections_as_the_profile_wants(void **state)
{
    struct call c[8];
    struct h2_peer p[2];

    for (int i = 0; i < 2; i++) { /* the first two on the first; then both are full enough, and there may be two */
        call(&c[i], "pair");
        if (i == 0)
            peer_open(&p[0], 100);
        assert_true(world_until(&w, &c[i].done));
        flush(&c[i]);
    }
    call(&c[2], "pair");
    peer_open(&p[1], 100);
    for (int i = 2; i < 8; i++) {
        if (i > 2)
            call(&c[i], "pair");
        assert_true(world_until(&w, &c[i].done));
        assert_int_equal(c[i].err, 0);
        flush(&c[i]);
    }
    for (int i = 0; i < 20; i++) {
        peer_turn(&p[0]);
        peer_turn(&p[1]);
    }
    assert_int_equal(p[0].n_streams, 4);
    assert_int_equal(p[1].n_streams, 4);
    assert_true(nobody_else());
    for (int i = 0; i < 8; i++)
        call_hang_up(&c[i]);
    peer_close(&p[0]);
    peer_close(&p[1]);
}

static void test_a_new_connection_when_all_have_max_streams(void **state)
{
    struct call c[3];
    struct h2_peer p[2];

    for (int i = 0; i < 3; i++)
        call(&c[i], "max2");
    peer_open(&p[0], 100);
    peer_open(&p[1], 100); /* of itself: the third waited for it */
    for (int i = 0; i < 3; i++) {
        assert_true(world_until(&w, &c[i].done));
        flush(&c[i]);
    }
    for (int i = 0; i < 20; i++) {
        peer_turn(&p[0]);
        peer_turn(&p[1]);
    }
    assert_int_equal(p[0].n_streams, 2);
    assert_int_equal(p[1].n_streams, 1);
    for (int i = 0; i < 3; i++)
        call_hang_up(&c[i]);
    peer_close(&p[0]);
    peer_close(&p[1]);
}

static void test_all_who_wait_hear_that_it_failed(void **state)
{
    struct call c[3];
    int fd;

    for (int i = 0; i < 3; i++)
        call(&c[i], "grpc tls");
    assert_true((fd = world_accept(&w, listener)) >= 0);
    assert_true(nobody_else());
    close(fd);
    for (int i = 0; i < 3; i++) {
        assert_true(world_until(&w, &c[i].done));
        assert_true(c[i].err < 0);
    }
    call(&c[0], "grpc tls"); /* and the next one tries again */
    assert_true((fd = world_accept(&w, listener)) >= 0);
    close(fd);
    assert_true(world_until(&w, &c[0].done));
}

static void test_a_lost_connection_is_replaced_and_an_idle_one_given_up(void **state)
{
    struct call c;
    struct h2_peer p;

    for (int i = 0; i < 2; i++) {
        call(&c, "grpc");
        peer_open(&p, 100);
        assert_true(world_until(&w, &c.done));
        flush(&c);
        for (int k = 0; k < 10; k++)
            peer_turn(&p);
        call_hang_up(&c);
        if (i == 0) {
            peer_close(&p);
            continue;
        }
        for (int k = 0; k < 4; k++) { /* a minute and a half in which nobody uses it */
            ahead_ms += 30000;
            turns(2);
        }
        assert_true(ended(p.fd));
        peer_close(&p);
    }
}

/* What was made in the old network has no way to its server any more: flows that are on it see to that themselves, new ones do not go there. */
static void test_in_another_network_a_new_connection_is_made(void **state)
{
    struct call c[2];
    struct h2_peer p[2];

    for (int i = 0; i < 2; i++) {
        call(&c[i], "grpc");
        peer_open(&p[i], 100);
        assert_true(world_until(&w, &c[i].done));
        flush(&c[i]);
        for (int k = 0; k < 10; k++)
            peer_turn(&p[i]);
        out_set_moved(w.set);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p[i].n_streams, 1);
        assert_int_equal(stream_write(c[i].s, NULL, 0), 0); /* they go on */
        call_hang_up(&c[i]);
        assert_true(ended(p[i].fd)); /* and were the last */
        peer_close(&p[i]);
    }
}

/* A connection waits for the address of its server, and finding that needs a connection: who asks for the answer must not wait for it. */
static void test_no_waiting_in_a_circle(void **state)
{
    struct flow_meta deeper = { .net = FLOW_TCP, .depth = 1 };
    struct call c[3];
    struct h2_peer p;

    call(&c[0], "grpc name");
    assert_non_null(w.asked);
    c[1] = (struct call){ .o = c[0].o, .d = { .to = c[0].d.to, .meta = &deeper, .done = call_done } };
    assert_int_equal(out_dial(c[1].o, &c[1].d), -ERR_CIRCLE);
    call(&c[2], "grpc name"); /* others do */
    world_answer(&w, "127.0.0.1", 0);
    assert_int_equal(out_dial(c[1].o, &c[1].d), 0); /* and the address is known now */
    peer_open(&p, 100);
    for (int i = 0; i < 3; i++) {
        assert_true(world_until(&w, &c[i].done));
        assert_int_equal(c[i].err, 0);
        call_hang_up(&c[i]);
    }
    peer_close(&p);
}

/* Over ws it is http/1.1, but trojan's own word counts. */
static void test_which_protocols_are_offered_to_a_server_of_ws(void **state)
{
    static const struct {
        const char *entry, *want;
    } cases[] = {
        { "type: trojan, password: p", "\10http/1.1" },
        { "type: trojan, password: p, alpn: [h2, http/1.1]", "\2h2\10http/1.1" },
        { "type: trojan, password: p, alpn: []", "" },
        { "type: vless, uuid: u, tls: true, alpn: [h2]", "\10http/1.1" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char yaml[512];
        struct call c;
        SSL *ssl;
        int fd;

        world_close(&w);
        snprintf(yaml, sizeof(yaml), "proxies:\n  - {name: v, %s, server: 127.0.0.1, port: %u, skip-cert-verify: true, network: ws}\n",
                 cases[i].entry, port);
        world_open(&w, yaml);
        offered[0] = 0;
        call(&c, "v");
        assert_true((fd = world_accept(&w, listener)) >= 0);
        ssl = accept_tls(fd);
        assert_string_equal(offered, cases[i].want);
        out_cancel(c.o, &c.d);
        SSL_free(ssl);
        close(fd);
    }
}

/* As other clients do; in clear it would have been a surprise, and no server listens like that. */
static void test_h2_is_over_tls_also_when_the_profile_forgot_it(void **state)
{
    char yaml[512];
    struct h2_peer p;
    struct call c;

    world_close(&w);
    snprintf(yaml, sizeof(yaml),
             "proxies:\n  - {name: v, type: vless, server: 127.0.0.1, port: %u, uuid: u, skip-cert-verify: true, network: h2}\n", port);
    world_open(&w, yaml);
    assert_int_equal(w.d.n, 1);
    assert_non_null(strstr(w.d.items[0].message, "network: h2 needs tls: true"));
    call(&c, "v");
    peer_open(&p, 100);
    p.ssl = accept_tls(p.fd);
    assert_string_equal(offered, "\2h2");
    assert_true(world_until(&w, &c.done));
    flush(&c);
    for (int k = 0; k < 10; k++)
        peer_turn(&p);
    assert_int_equal(p.n_streams, 1);
    assert_string_equal(p.authority, "www.example.com");
    assert_string_equal(p.encoding, "identity"); /* else a server in between may compress the answer */
    call_hang_up(&c);
    peer_close(&p);
}

/* The profile goes while a connection is being made. */
static void test_gone_while_one_is_made(void **state)
{
    struct call c;

    call(&c, "grpc tls");
    turns(2);
    out_cancel(c.o, &c.d);
}

static int setup(void **state)
{
    static const struct ident_spec self = { .name = "a.test", .san = "DNS:a.test" };
    struct ident id = ident_new(&self, NULL);
    char yaml[4096];

    ahead_ms = 0;
    port = 0;
    listener = world_listen("127.0.0.1", SOCK_STREAM, &port);
    ctx = tlspeer_ctx(&id, 0);
    SSL_CTX_set_alpn_select_cb(ctx, choose_first, NULL);
    ident_free(&id);
    snprintf(yaml, sizeof(yaml),
             "proxies:\n"
             "  - &n {name: ws, type: vless, server: 127.0.0.1, port: %u, uuid: b831381d-6324-4d53-ad4f-8cda48b30811, tls: true,\n"
             "        servername: a.test, skip-cert-verify: true, network: ws, ws-opts: {path: /w, headers: {Host: a.test}}}\n"
             "  - {<<: *n, name: strict, skip-cert-verify: false}\n"
             "  - {<<: *n, name: pinned, fingerprint: 0000000000000000000000000000000000000000000000000000000000000000}\n"
             "  - {<<: *n, name: nobody, server: 127.0.0.7}\n"
             "  - {<<: *n, name: behind nobody, dialer-proxy: nobody}\n"
             "  - &g {<<: *n, name: grpc, tls: false, network: grpc, grpc-opts: {grpc-service-name: svc}}\n"
             "  - {<<: *g, name: grpc tls, tls: true}\n"
             "  - {<<: *g, name: grpc name, server: some.name}\n"
             "  - {<<: *g, name: grpc v6, server: '::ffff:127.0.0.1', servername: ''}\n"
             "  - {<<: *g, name: pair, grpc-opts: {grpc-service-name: svc, max-connections: 2, min-streams: 2}}\n"
             "  - {<<: *g, name: max2, grpc-opts: {grpc-service-name: svc, max-streams: 2}}\n",
             port);
    world_open(&w, yaml);
    return w.set && !w.d.n ? 0 : -1;
}

static int teardown(void **state)
{
    world_close(&w);
    close(listener);
    SSL_CTX_free(ctx);
    transport_trim();
    return 0;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_change_of_mind_at_every_step),
        T(test_cancelled_before_anything_happened),
        T(test_silence_at_every_step),
        T(test_refusals_at_every_step),
        T(test_nobody_listens),
        T(test_the_way_to_it_is_somebody_elses),
        T(test_who_believes_anybody_is_known),
        T(test_roots_of_the_profile),
        T(test_streams_share_a_connection),
        T(test_what_grpc_calls_the_server),
        T(test_what_grpc_is_refused_with),
        T(test_cancelled_between_the_pool_and_done),
        T(test_as_many_connections_as_the_profile_wants),
        T(test_a_new_connection_when_all_have_max_streams),
        T(test_all_who_wait_hear_that_it_failed),
        T(test_a_lost_connection_is_replaced_and_an_idle_one_given_up),
        T(test_in_another_network_a_new_connection_is_made),
        T(test_no_waiting_in_a_circle),
        T(test_which_protocols_are_offered_to_a_server_of_ws),
        T(test_h2_is_over_tls_also_when_the_profile_forgot_it),
        T(test_gone_while_one_is_made),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
