/*
 * outbound_heads.c - HTTP CONNECT, Trojan and VLESS, byte for byte, against a server on loopback that says what it is told
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>

#include "outbound/private.h"
#include "outbound_world.h"
#include "transport/transport.h"
#include "transport_tlspeer.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define UUID "\xb8\x31\x38\x1d\x63\x24\x4d\x53\xad\x4f\x8c\xda\x48\xb3\x08\x11"
#define PW   "bebeef056d2fc0c96fbdd3372c8b766a0d3b5bac45cc56a4f15235cd"

static struct world w;
static int listener;
static uint16_t port;
static SSL_CTX *ctx;

/* ---- our side ---- */

static void call(struct call *c, const char *name, const struct dest *to)
{
    assert_int_equal(call_dial(c, out_find(w.set, name), to), 0);
}

static void say(struct call *c, const void *buf, size_t n)
{
    assert_int_equal(stream_write(c->s, &(struct iovec){ (void *)buf, n }, n ? 1 : 0), n);
}

/* Reads within some turns: bytes, or the error that ends it. */
static ssize_t hear(struct call *c, void *buf, size_t size)
{
    ssize_t n = 0;

    for (int i = 0; i < TURNS; i++) {
        if ((n = stream_read(c->s, &(struct iovec){ buf, size }, 1)) != 0)
            break;
        loop_turn(w.loop, 10);
    }
    return n;
}

static void heard(struct call *c, const char *want)
{
    char buf[256];
    size_t len = strlen(want), n = 0;

    while (n < len) {
        ssize_t r = hear(c, buf + n, sizeof(buf) - n);

        assert_true(r > 0);
        n += (size_t)r;
    }
    assert_int_equal(n, len);
    assert_memory_equal(buf, want, len);
}

/* ---- the other ---- */

struct far {
    int fd;
    SSL *ssl;
};

static struct far far_open(bool tls)
{
    struct far f = { world_accept(&w, listener), NULL };

    assert_true(f.fd >= 0);
    if (!tls)
        return f;
    f.ssl = SSL_new(ctx);
    SSL_set_fd(f.ssl, f.fd);
    for (int i = 0; i < TURNS && SSL_accept(f.ssl) != 1; i++)
        loop_turn(w.loop, 10);
    assert_true(SSL_is_init_finished(f.ssl));
    return f;
}

static void far_close(struct far *f)
{
    SSL_free(f->ssl);
    close(f->fd);
    loop_turn(w.loop, 1);
}

/* The next piece that comes, as one read gives it. */
static size_t far_read(struct far *f, void *buf, size_t size)
{
    for (int i = 0; i < TURNS; i++) {
        ssize_t n = f->ssl ? SSL_read(f->ssl, buf, (int)size) : read(f->fd, buf, size);

        ERR_clear_error();
        if (n > 0)
            return (size_t)n;
        loop_turn(w.loop, 10);
    }
    return 0;
}

static void far_heard(struct far *f, const void *want, size_t len)
{
    uint8_t buf[1024];

    assert_int_equal(far_read(f, buf, sizeof(buf)), len);
    assert_memory_equal(buf, want, len);
}

static void far_say(struct far *f, const void *buf, size_t n)
{
    assert_int_equal(f->ssl ? SSL_write(f->ssl, buf, (int)n) : write(f->fd, buf, n), n);
}

/* Lets the client see what came so far. */
static void settle(void)
{
    for (int i = 0; i < 4; i++)
        loop_turn(w.loop, 1);
}

static const struct dest name = { .host = "example.com", .at.port = 443 };

static struct dest v4(void)
{
    struct dest d = { .at.port = 80 };

    addr_parse("127.0.0.1", &d.at.ip);
    return d;
}

static struct dest v6(void)
{
    struct dest d = { .at.port = 8080 };

    addr_parse("2001:db8::5", &d.at.ip);
    return d;
}

/* ---- HTTP ---- */

static void test_http_requests(void **state)
{
    struct dest at4 = v4(), at6 = v6();
    const struct {
        const char *node;
        const struct dest *to;
        const char *want;
    } cases[] = {
        { "http", &name, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n" },
        { "http", &at4, "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n" },
        { "http", &at6, "CONNECT [2001:db8::5]:8080 HTTP/1.1\r\nHost: [2001:db8::5]:8080\r\n\r\n" },
        { "http auth", &name,
          "CONNECT example.com:443 HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\nHost: front.example\r\n\r\n" },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct call c;
        struct far f;

        call(&c, cases[i].node, cases[i].to);
        f = far_open(false);
        far_heard(&f, cases[i].want, strlen(cases[i].want));
        assert_false(c.done);
        out_cancel(c.o, &c.d);
        far_close(&f);
        assert_false(c.done);
    }
}

static void test_http_answers_that_mean_yes(void **state)
{
    static const struct {
        const char *answer, *data;
    } cases[] = {
        { "HTTP/1.0 200 OK\n\n", "" },
        { "HTTP/1.1 200\r\n\r\nDATA", "DATA" },
        { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ok\r\nContent-Length: 5\r\n\r\nDATA", "DATA" },
        { "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx", "5\r\nx" },
        { "HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n", "" },
    };

    for (size_t i = 0; i < N(cases); i++)
        for (int crumbs = 0; crumbs < 2; crumbs++) {
            char text[128];
            struct call c;
            struct far f;

            call(&c, "http", &name);
            f = far_open(false);
            far_read(&f, text, sizeof(text));
            for (size_t k = 0; crumbs && k < strlen(cases[i].answer); k++) {
                far_say(&f, cases[i].answer + k, 1);
                settle();
            }
            if (!crumbs)
                far_say(&f, cases[i].answer, strlen(cases[i].answer));
            assert_true(world_until(&w, &c.done));
            assert_int_equal(c.err, 0);
            far_say(&f, "more", 4);
            snprintf(text, sizeof(text), "%smore", cases[i].data);
            heard(&c, text);
            say(&c, "up", 2);
            far_heard(&f, "up", 2);
            call_hang_up(&c);
            far_close(&f);
        }
}

static void test_http_answers_that_mean_no(void **state)
{
    static const struct {
        const char *answer;
        int want;
        const char *told; /* in the log */
        const char *node;
        bool agreed; /* before */
    } cases[] = {
        { "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", -ERR_AUTH,
          "(status 407: Proxy Authentication Required Proxy-Authenticate: Basic realm=x)" },
        { "HTTP/1.0 401 Unauthorized\r\n\r\n", -ERR_AUTH, "status 401: Unauthorized" },
        { "HTTP/1.1 403 Forbidden\r\n\r\n", -ERR_RULE }, /* that destination */
        { "HTTP/1.1 403 Forbidden\r\n\r\n", -ERR_RULE, "authentication failed (status 403: Forbidden)", "http auth" },
        { "HTTP/1.1 403 Forbidden\r\n\r\n", -ERR_RULE, NULL, "http auth", true },
        { "HTTP/1.1 405 Method Not Allowed\r\n\r\n", -ERR_STATUS, "CONNECT is not allowed: status 405: Method Not Allowed" },
        { "HTTP/1.1 501 Not Implemented\r\n\r\n", -ERR_STATUS, "CONNECT is not allowed: status 501" },
        { "HTTP/1.1 502 Bad Gateway\r\n\r\n", -EHOSTUNREACH },
        { "HTTP/1.1 504 Gateway Timeout\r\n\r\n", -ETIMEDOUT },
        { "HTTP/1.1 302 Found\r\nLocation: /\xff\x1b[2J\r\n\r\n", -ERR_STATUS, "status 302: Found Location: /\\xff [2J" },
        { "HTTP/2 200\r\n\r\n", -ERR_PROTO },
        { "SSH-2.0-OpenSSH_9.2p1\r\n", -ERR_PROTO },
        { "HTTP/1.1 200 OK\r\nX: ", -ERR_PROTO }, /* and closes */
        { "", -ERR_EARLY },
    };
    char text[128];

    for (size_t i = 0; i < N(cases); i++) {
        struct call c;
        struct far f;

        call(&c, cases[i].node ? cases[i].node : "http", &name);
        c.o->hints_said = 0;
        c.o->answered = cases[i].agreed;
        world_heed(&w);
        f = far_open(false);
        far_read(&f, text, sizeof(text));
        if (*cases[i].answer)
            far_say(&f, cases[i].answer, strlen(cases[i].answer));
        far_close(&f);
        assert_true(world_until(&w, &c.done));
        assert_int_equal(c.err, cases[i].want);
        if (cases[i].want == -ERR_RULE && !cases[i].told)
            assert_int_equal(w.n_warned, 0);
        if (cases[i].told && (w.n_warned != 1 || !strstr(w.warned, cases[i].told)))
            fail_msg("case %zu: \"%s\"", i, w.warned);
    }
}

static void test_a_head_without_end(void **state)
{
    static char big[70 * 1024] = "HTTP/1.1 200 OK\r\nX: ";
    struct call c;
    struct far f;
    size_t n = 0;

    memset(big + 20, 'a', sizeof(big) - 20);
    call(&c, "http", &name);
    f = far_open(false);
    for (int i = 0; i < TURNS && !c.done && n < sizeof(big); i++) {
        ssize_t r = write(f.fd, big + n, sizeof(big) - n);

        n += r > 0 ? (size_t)r : 0;
        loop_turn(w.loop, 1);
    }
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ERR_PROTO);
    far_close(&f);
}

static void test_a_name_cannot_end_a_line(void **state)
{
    struct dest evil = { .host = "a\r\nX: y", .at.port = 1 };
    struct call c;
    struct far f;
    char buf[64];

    call(&c, "http", &evil);
    f = far_open(false);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, -ERR_NAME);
    assert_int_equal(world_read(&w, f.fd, buf, 1), 0);
    far_close(&f);
}

/* ---- Trojan ---- */

static void test_trojan_heads(void **state)
{
    static const char head4[] = PW "\r\n\x01\x01\x7f\0\0\x01\0\x50\r\nGET", head_name[] = PW "\r\n\x01\x03\x0b"
                                                                                             "example.com\x01\xbb\r\n";
    struct dest at4 = v4();
    struct call c;
    struct far f;

    call(&c, "trojan", &at4);
    f = far_open(true);
    assert_true(world_until(&w, &c.done));
    assert_int_equal(c.err, 0);
    say(&c, "GET", 3); /* rides with the head */
    far_heard(&f, head4, sizeof(head4) - 1);
    say(&c, "more", 4);
    far_heard(&f, "more", 4);
    far_say(&f, "HTTP/1.1 200 OK", 15); /* nothing in front of it */
    heard(&c, "HTTP/1.1 200 OK");
    assert_int_equal(c.o->last_err, 0); /* a request was answered */
    call_hang_up(&c);
    far_close(&f);

    call(&c, "trojan", &name); /* the server speaks first */
    f = far_open(true);
    assert_true(world_until(&w, &c.done));
    say(&c, NULL, 0);
    far_heard(&f, head_name, sizeof(head_name) - 1);
    far_say(&f, "220 hello", 9);
    heard(&c, "220 hello");
    call_hang_up(&c);
    far_close(&f);
}

/* An upload beside a flow that has its answers already. It ended first, and the log said that the server never answered. */
static void test_trojan_upload_beside_an_answered_flow(void **state)
{
    struct outbound *o = out_find(w.set, "trojan");
    struct dest at4 = v4();
    struct call c;
    struct far f;

    o->answered = false;
    call(&c, "trojan", &at4);
    f = far_open(true);
    assert_true(world_until(&w, &c.done));
    say(&c, NULL, 0);
    far_say(&f, "220 hello", 9);
    heard(&c, "220 hello");
    out_note_end(o, 1000, 0, -ERR_EARLY);
    assert_int_equal(o->last_err, 0);
    call_hang_up(&c);
    far_close(&f);
}

/* The server has no word of its own: it is the destination that hung up. */
static void test_trojan_whose_destination_says_nothing(void **state)
{
    struct call c;
    struct far f;
    char buf[256];

    call(&c, "trojan", &name);
    f = far_open(true);
    assert_true(world_until(&w, &c.done));
    say(&c, "quit", 4);
    far_read(&f, buf, sizeof(buf));
    SSL_shutdown(f.ssl);
    shutdown(f.fd, SHUT_WR);
    assert_int_equal(hear(&c, buf, sizeof(buf)), -STREAM_EOF);
    assert_int_equal(c.o->last_err, 0);
    call_hang_up(&c);
    far_close(&f);
}

/* Behind a wrong password is a web server. */
static void test_trojan_answered_by_a_web_server(void **state)
{
    struct call c;
    struct far f;
    char buf[256];

    call(&c, "trojan", &name);
    f = far_open(true);
    assert_true(world_until(&w, &c.done));
    say(&c, "\x16\x03\x01", 3);
    far_read(&f, buf, sizeof(buf));
    far_say(&f, "HTTP/1.1 400 Bad Request\r\n", 26);
    heard(&c, "HTTP/1.1 400 Bad Request\r\n");
    assert_int_equal(c.o->last_err, -ERR_AUTH);
    assert_non_null(strstr(out_hint(c.o), "password"));
    out_note_end(c.o, 3, 26, 0); /* the page is no answer */
    assert_int_equal(c.o->last_err, -ERR_AUTH);
    call_hang_up(&c);
    far_close(&f);

    call(&c, "trojan", &name); /* a request whose first bytes come after the head is a request */
    f = far_open(true);
    assert_true(world_until(&w, &c.done));
    c.o->last_err = 0;
    say(&c, NULL, 0);
    say(&c, "GET / HTTP/1.1\r\n\r\n", 18);
    far_read(&f, buf, sizeof(buf));
    far_say(&f, "HTTP/1.1 200 OK\r\n", 17);
    heard(&c, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(c.o->last_err, 0);
    call_hang_up(&c);
    far_close(&f);
}

/* ---- VLESS ---- */

static void test_vless_heads(void **state)
{
    static const char head4[] = "\0" UUID "\0\x01\0\x50\x01\x7f\0\0\x01hi",
                      head_name[] = "\0" UUID "\0\x01\x01\xbb\x02\x0b"
                                    "example.com",
                      head6[] = "\0" UUID "\0\x01\x1f\x90\x03\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05";
    struct dest at4 = v4(), at6 = v6();
    struct call c;
    struct far f;

    call(&c, "vless", &at4);
    f = far_open(false);
    assert_true(world_until(&w, &c.done));
    say(&c, "hi", 2);
    far_heard(&f, head4, sizeof(head4) - 1);
    far_say(&f, "\0\0there", 7);
    heard(&c, "there");
    assert_true(c.o->answered);
    call_hang_up(&c);
    far_close(&f);

    call(&c, "vless", &name);
    f = far_open(false);
    assert_true(world_until(&w, &c.done));
    say(&c, NULL, 0);
    far_heard(&f, head_name, sizeof(head_name) - 1);
    far_say(&f, "\0", 1); /* addons, in crumbs */
    settle();
    far_say(&f, "\x03", 1);
    settle();
    far_say(&f, "ab", 2);
    settle();
    far_say(&f, "cdata", 5);
    heard(&c, "data");
    call_hang_up(&c);
    far_close(&f);

    call(&c, "vless", &at6);
    f = far_open(false);
    assert_true(world_until(&w, &c.done));
    say(&c, NULL, 0);
    far_heard(&f, head6, sizeof(head6) - 1);
    call_hang_up(&c);
    far_close(&f);
}

static void test_vless_answers_that_mean_no(void **state)
{
    static const struct {
        const char *answer;
        size_t len;
        int want;
    } cases[] = {
        { "", 0, -ERR_EARLY }, /* a wrong uuid */
        { "\x01\0", 2, -ERR_PROTO }, { "HTTP/1.1 400", 12, -ERR_PROTO }, { "\0", 1, -ERR_PROTO }, { "\0\x05", 2, -ERR_PROTO },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct call c;
        struct far f;
        char buf[64];

        call(&c, "vless", &name);
        f = far_open(false);
        assert_true(world_until(&w, &c.done));
        say(&c, "hi", 2);
        far_read(&f, buf, sizeof(buf));
        if (cases[i].len)
            far_say(&f, cases[i].answer, cases[i].len);
        shutdown(f.fd, SHUT_WR);
        assert_int_equal(hear(&c, buf, sizeof(buf)), cases[i].want);
        assert_false(c.o->answered);
        call_hang_up(&c);
        far_close(&f);
    }
}

/* ---- datagrams ---- */

static void test_datagrams_ride_with_the_head(void **state)
{
    static const char trojan[] = PW "\r\n\x03\x01\x7f\0\0\x01\0\x50\r\n"
                                    "\x01\x7f\0\0\x01\0\x50\0\x04\r\nping"
                                    "\x01\x7f\0\0\x01\0\x50\0\x05\r\npong!",
                      xudp[] = "\0" UUID "\0\x03"
                               "\0\x0c\0\0\x01\x01\x02\0\x50\x01\x7f\0\0\x01\0\x04ping"
                               "\0\x0c\0\0\x02\x01\x02\0\x50\x01\x7f\0\0\x01\0\x05pong!",
                      plain[] = "\0" UUID "\0\x02\0\x50\x01\x7f\0\0\x01"
                                "\0\x04ping\0\x05pong!";
    static const struct {
        const char *node, *want, *answer, *from;
        size_t len, n_answer;
        uint16_t from_port;
    } cases[] = {
        { "trojan", trojan, "\x01\xc0\0\x02\x01\0\x35\0\x02\r\nok", "192.0.2.1", sizeof(trojan) - 1, 13, 53 },
        { "vless", xudp, "\0\0\0\x0c\0\0\x02\x01\x02\0\x35\x01\xc0\0\x02\x01\0\x02ok", "192.0.2.1", sizeof(xudp) - 1, 20, 53 },
        { "vless-plain", plain, "\0\0\0\x02ok", "127.0.0.1", sizeof(plain) - 1, 6, 80 },
    };
    struct dest at4 = v4();
    char text[ADDR_STRLEN];

    for (size_t i = 0; i < N(cases); i++) {
        struct ear e;
        struct far f;

        assert_int_equal(ear_open(&e, out_find(w.set, cases[i].node)), 0);
        assert_int_equal(pkt_send(e.p, &at4, "ping", 4), 0);
        assert_int_equal(pkt_send(e.p, &at4, "pong!", 5), 0);
        f = far_open(i == 0);
        far_heard(&f, cases[i].want, cases[i].len);
        far_say(&f, cases[i].answer, cases[i].n_answer);
        assert_true(world_until(&w, &e.heard));
        assert_int_equal(e.n, 1);
        assert_string_equal(e.text, "ok");
        assert_string_equal(addr_str(&e.from.ip, text), cases[i].from);
        assert_int_equal(e.from.port, cases[i].from_port);
        pkt_close(e.p);
        far_close(&f);
    }
}

/* ---- what may be wrong ---- */

static void test_hints_are_said_once_and_forgotten_after_an_answer(void **state)
{
    struct outbound *o = out_find(w.set, "vless"), link;

    out_note_end(o, 100, 0, -ERR_EARLY);
    assert_int_equal(o->last_err, -ERR_EARLY);
    assert_non_null(out_hint(o));
    out_note_silence(o, 0);
    assert_int_equal(o->last_err, -ERR_EARLY); /* nobody said anything yet */
    out_note_silence(o, 1);
    assert_int_equal(o->last_err, -ERR_UNANSWERED);
    o->last_err = 0;
    out_note_end(o, 100, 0, -ERR_CLOSED);
    assert_int_equal(o->last_err, -ERR_UNANSWERED);
    assert_non_null(strstr(out_hint(o), "password"));
    out_note_end(o, 10, 20, 0);
    assert_int_equal(o->last_err, 0);
    assert_null(out_hint(o));
    assert_int_equal(o->up, 210);
    assert_int_equal(o->down, 20);
    out_note_end(o, 10, 0, -ERR_EARLY); /* it works: that connection only */
    assert_int_equal(o->last_err, 0);
    out_note_end(o, 10, 0, -ECONNRESET);
    assert_int_equal(o->last_err, 0);
    out_note_error(o, -ERR_CLOCK);
    assert_int_equal(o->last_err, -ERR_CLOCK);
    assert_non_null(strstr(out_hint(o), "clock"));
    link = (struct outbound){ .ops = o->ops, .env = o->env, .name = o->name, .origin = o }; /* in a relay it is the same node: told, and forgotten */
    out_note_error(&link, -ERR_SILENT);
    assert_int_equal(o->last_err, -ERR_SILENT);
    out_note_end(&link, 10, 20, 0);
    assert_int_equal(o->last_err, 0);
    o = out_find(w.set, "DIRECT"); /* nobody's fault */
    out_note_error(o, -ECONNREFUSED);
    out_note_end(o, 10, 0, -ERR_EARLY);
    assert_int_equal(o->last_err, 0);
}

static int setup(void **state)
{
    static const struct ident_spec self = { .name = "a.test", .san = "DNS:a.test" };
    struct ident id = ident_new(&self, NULL);
    char yaml[4096];

    port = 0;
    listener = world_listen("127.0.0.1", SOCK_STREAM, &port);
    ctx = tlspeer_ctx(&id, 0);
    ident_free(&id);
    snprintf(yaml, sizeof(yaml),
             "proxies:\n"
             "  - &n {name: http, type: http, server: 127.0.0.1, port: %u}\n"
             "  - {<<: *n, name: http auth, username: user, password: pass, headers: {Host: front.example}}\n"
             "  - {<<: *n, name: trojan, type: trojan, password: pw, sni: a.test, skip-cert-verify: true, udp: true}\n"
             "  - {<<: *n, name: vless, type: vless, uuid: b831381d-6324-4d53-ad4f-8cda48b30811, udp: true}\n"
             "  - {<<: *n, name: vless-plain, type: vless, uuid: b831381d-6324-4d53-ad4f-8cda48b30811, udp: true, packet-encoding: none}\n",
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
        T(test_http_requests),
        T(test_http_answers_that_mean_yes),
        T(test_http_answers_that_mean_no),
        T(test_a_head_without_end),
        T(test_a_name_cannot_end_a_line),
        T(test_trojan_heads),
        T(test_trojan_whose_destination_says_nothing),
        T(test_trojan_upload_beside_an_answered_flow),
        T(test_trojan_answered_by_a_web_server),
        T(test_vless_heads),
        T(test_vless_answers_that_mean_no),
        T(test_datagrams_ride_with_the_head),
        T(test_hints_are_said_once_and_forgotten_after_an_answer),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
