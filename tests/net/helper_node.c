/*
 * helper_node.c - a node of a profile, used by hand: tests/net/interop_*.sh talk through it to peer.py
 *
 *   helper_node PROFILE NODE HOST PORT TEST...       HOST PORT: where peer.py listens, as the node's server is to reach it
 *
 *   x:BYTES      so many there, so many back, checksums both ways       short:N:LOST N connections of 1,000 bytes each way, 50 at a time; LOST (0)
 *                                                                                   may get no answer
 *   u:BYTES      upload, half-close, the answer behind it               first        a server that speaks first
 *   d:BYTES      download that the server half-closes                   udp          datagrams of 1 to 1,400 bytes, echoed; then 500 of 1,200
 *   cone         a datagram that is answered from another port, too     rude:BYTES   as x, but the way breaks in the middle, which must be seen
 *   fails:WORDS  a connection or its dial fails with these words        silent       what is sent is never answered, within two seconds
 *
 * Prints a line per test; ends with 1 when one fails. There is no TUN and no engine: what is tested is the way out.
 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/pool.h"
#include "core/sock.h"
#include "outbound/outbound.h"
#include "transport/transport.h"

#define TEST_MS  60000
#define AT_ONCE  50
#define PIECE    65536

static struct loop *loop;
static struct outbound *node;
static struct dest target;
static bool expired;

/* ---- a resolver that knows what getaddrinfo knows ---- */

static int lookup(struct resolver *r, struct lookup *l)
{
    return -ERR_NAME;
}

static void lookup_cancel(struct resolver *r, struct lookup *l)
{
}

static struct resolver res = { .lookup = lookup, .cancel = lookup_cancel };
static struct out_env env = { .resolver = &res, .ipv6 = true };

/* ---- words ---- */

static int failures;
static char failed_why[256];

static void fail(const char *fmt, ...)
{
    va_list ap;

    if (*failed_why)
        return;
    va_start(ap, fmt);
    vsnprintf(failed_why, sizeof(failed_why), fmt, ap);
    va_end(ap);
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void on_expired(struct timer *t)
{
    expired = true;
}

/* ---- a connection ---- */

struct conn {
    struct dial d;
    struct stream *s;
    char kind; /* X, U, D, or B for a banner */
    uint64_t size, sent, want, got;
    uint8_t head[9], tail[72];
    size_t n_head, n_tail;
    EVP_MD_CTX *up, *down;
    uint8_t piece[PIECE];
    size_t piece_at, piece_n;
    bool shut, done;
    int err;
    char text[64];
    size_t n_text;
};

static void end(struct conn *c, int err)
{
    if (c->done)
        return;
    c->done = true;
    c->err = err;
    if (c->s) {
        c->s->on_ready = NULL;
        stream_close(c->s, err);
        c->s = NULL;
    }
}

static void check_tail(struct conn *c)
{
    uint8_t up[EVP_MAX_MD_SIZE], down[EVP_MAX_MD_SIZE], *at = c->tail;

    EVP_DigestFinal_ex(c->up, up, NULL);
    EVP_DigestFinal_ex(c->down, down, NULL);
    if (c->kind == 'U') {
        at += 8;
        if (memcmp(at, up, 32) != 0)
            fail("the upload's checksum differs");
        return;
    }
    if (c->kind == 'D') {
        at += 8;
        if (memcmp(at, down, 32) != 0)
            fail("the download's checksum differs");
        return;
    }
    if (memcmp(at, down, 32) != 0 || memcmp(at + 32, up, 32) != 0)
        fail("a checksum differs");
}

static size_t tail_size(const struct conn *c)
{
    return c->kind == 'X' ? 64 : c->kind == 'U' ? 40 : 32;
}

/* What was read: bytes of the stream, then its tail. 'D' has its digest at tail + 8, so that U and D look alike. */
static void take(struct conn *c, const uint8_t *b, size_t n)
{
    size_t body = c->kind == 'U' ? 0 : c->size - c->got < n ? c->size - c->got : n, off = c->kind == 'D' ? 8 : 0;

    if (c->kind == 'B') {
        n = n < sizeof(c->text) - 1 - c->n_text ? n : sizeof(c->text) - 1 - c->n_text;
        memcpy(c->text + c->n_text, b, n);
        c->n_text += n;
        if (strchr(c->text, '\n'))
            end(c, 0);
        return;
    }
    EVP_DigestUpdate(c->down, b, body);
    c->got += body;
    b += body;
    n -= body;
    if (n > tail_size(c) - c->n_tail) {
        fail("more bytes than were sent");
        n = tail_size(c) - c->n_tail;
    }
    memcpy(c->tail + off + c->n_tail, b, n);
    c->n_tail += n;
    if (c->n_tail == tail_size(c) && c->kind == 'X') {
        check_tail(c);
        end(c, 0);
    }
}

static void read_all(struct conn *c)
{
    static uint8_t buf[PIECE];
    ssize_t n = 1;

    while (!c->done) {
        if ((n = stream_read(c->s, &(struct iovec){ buf, sizeof(buf) }, 1)) <= 0)
            break;
        take(c, buf, (size_t)n);
    }
    if (c->done || n == 0)
        return;
    if (n == -STREAM_EOF && c->kind != 'B' && c->n_tail == tail_size(c)) {
        check_tail(c);
        end(c, 0);
    } else if (n < 0) {
        end(c, (int)n);
    }
}

static void next_piece(struct conn *c)
{
    static uint32_t x = 1;

    if (c->n_head) {
        memcpy(c->piece, c->head, c->n_head);
        c->piece_n = c->n_head;
        c->n_head = 0;
    } else {
        c->piece_n = c->size - c->sent < PIECE ? c->size - c->sent : PIECE;
        for (size_t i = 0; i + 4 <= c->piece_n; i += 4) {
            x = x * 1664525u + 1013904223u;
            memcpy(c->piece + i, &x, 4);
        }
        EVP_DigestUpdate(c->up, c->piece, c->piece_n);
        c->sent += c->piece_n;
    }
    c->piece_at = 0;
}

static void write_all(struct conn *c)
{
    ssize_t w;

    while (!c->done) {
        if (!c->piece_n) {
            if (!c->n_head && (c->kind == 'D' || c->kind == 'B' || c->sent == c->size))
                break;
            next_piece(c);
        }
        if ((w = stream_write(c->s, &(struct iovec){ c->piece + c->piece_at, c->piece_n }, 1)) < 0) {
            end(c, (int)w);
            return;
        }
        c->piece_at += (size_t)w;
        c->piece_n -= (size_t)w;
        if (c->piece_n)
            return;
    }
    if (!c->done && !c->shut && c->kind == 'U') {
        int r = stream_shutdown(c->s);

        c->shut = true;
        if (r < 0)
            end(c, r);
    }
}

static void on_ready(struct stream *s, unsigned what)
{
    struct conn *c = s->owner;

    if (what & (STREAM_WRITABLE | STREAM_FAILED))
        write_all(c);
    if (!c->done && (what & (STREAM_READABLE | STREAM_FAILED)))
        read_all(c);
    if (!c->done && (what & STREAM_FAILED))
        end(c, -ECONNRESET);
}

static void on_dialled(struct dial *d, struct stream *s, int err)
{
    struct conn *c = container_of(d, struct conn, d);
    ssize_t r;

    if (err) {
        end(c, err);
        return;
    }
    c->s = s;
    s->owner = c;
    s->on_ready = on_ready;
    write_all(c);
    if (!c->done && !c->shut && (r = stream_write(s, NULL, 0)) < 0)
        end(c, (int)r);
    if (!c->done)
        read_all(c);
}

static struct conn *conn_new(char kind, uint64_t size, const struct dest *to)
{
    struct conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        abort();
    c->kind = kind;
    c->size = size;
    c->up = EVP_MD_CTX_new();
    c->down = EVP_MD_CTX_new();
    EVP_DigestInit_ex(c->up, EVP_sha256(), NULL);
    EVP_DigestInit_ex(c->down, EVP_sha256(), NULL);
    c->head[0] = (uint8_t)kind;
    for (int i = 0; i < 8; i++)
        c->head[1 + i] = (uint8_t)(size >> (56 - 8 * i));
    c->n_head = kind == 'B' ? 0 : kind == 'U' ? 1 : 9;
    c->d = (struct dial){ .to = *to, .done = on_dialled };
    if ((r = out_dial(node, &c->d)) < 0)
        end(c, r);
    return c;
}

static void conn_free(struct conn *c)
{
    if (!c->done) {
        out_cancel(node, &c->d);
        end(c, -ERR_CLOSED);
    }
    EVP_MD_CTX_free(c->up);
    EVP_MD_CTX_free(c->down);
    free(c);
}

static void wait_for(const struct conn *c)
{
    while (!c->done && !expired)
        loop_turn(loop, 50);
}

/* ---- tests ---- */

static void one(char kind, uint64_t size)
{
    struct conn *c = conn_new(kind, size, &target);

    wait_for(c);
    if (!c->done)
        fail("no end: sent %" PRIu64 ", got %" PRIu64, c->sent, c->got);
    else if (c->err)
        fail("%s (sent %" PRIu64 ", got %" PRIu64 ")", err_str(c->err), c->sent, c->got);
    conn_free(c);
}

static void many(unsigned n, unsigned lost)
{
    struct conn *c[AT_ONCE] = { 0 };
    unsigned begun = 0, ended = 0;
    double last = now_s();

    while (ended < n && !expired && !*failed_why && (ended + lost < n || now_s() - last < 3)) {
        for (int i = 0; i < AT_ONCE; i++) {
            if (c[i] && c[i]->done) {
                if (c[i]->err)
                    fail("connection %u: %s", ended, err_str(c[i]->err));
                conn_free(c[i]);
                c[i] = NULL;
                ended++;
                last = now_s();
            }
            if (!c[i] && begun < n) {
                c[i] = conn_new('X', 1000, &target);
                begun++;
            }
        }
        loop_turn(loop, 50);
    }
    if (ended + lost < n)
        fail("%u of %u ended", ended, n);
    for (int i = 0; i < AT_ONCE; i++)
        if (c[i])
            conn_free(c[i]);
}

/* A server on this machine that says its word first. */
static void *say_banner(void *arg)
{
    int fd = accept(*(int *)arg, NULL, NULL);
    char b[64];

    if (fd < 0)
        return NULL;
    if (write(fd, "220 hello\r\n", 11) == 11)
        while (read(fd, b, sizeof(b)) > 0)
            ;
    close(fd);
    return NULL;
}

static void first(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct dest to = { 0 };
    pthread_t t;
    struct conn *c;
    double start;

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 1) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0 ||
        pthread_create(&t, NULL, say_banner, &fd)) {
        fail("cannot listen");
        return;
    }
    endpoint_from_sockaddr((struct sockaddr *)&at, &to.at);
    start = now_s();
    c = conn_new('B', 0, &to);
    wait_for(c);
    if (strcmp(c->text, "220 hello\r\n") != 0)
        fail("got \"%s\": %s", c->text, err_str(c->err));
    else if (now_s() - start > 3)
        fail("it took %.1f s", now_s() - start);
    conn_free(c);
    loop_turn(loop, 10);
    shutdown(fd, SHUT_RDWR);
    close(fd);
    pthread_join(t, NULL);
}

static void fails(const char *words)
{
    struct conn *c = conn_new('X', 1000, &target);

    wait_for(c);
    if (!c->done || !strstr(err_str(c->err), words))
        fail("not \"%s\": %s", words, c->done ? err_str(c->err) : "no end");
    conn_free(c);
}

static void silent(void)
{
    struct conn *c = conn_new('X', 1000, &target);
    double until = now_s() + 2;

    while (!c->done && now_s() < until)
        loop_turn(loop, 50);
    if (c->done || c->got)
        fail("it ended: %s", err_str(c->err));
    conn_free(c);
    out_note_end(node, 1000, 0, 0);
}

/* The peer, or the node's server, is restarted by the script meanwhile: a file tells. */
static void rude(uint64_t size)
{
    struct conn *c = conn_new('X', size, &target);
    double start = 0;

    while (!c->done && !expired) {
        loop_turn(loop, 50);
        if (!start && c->got + c->sent > size / 20) {
            puts("now");
            fflush(stdout);
            start = now_s();
        }
    }
    if (!c->done || !c->err)
        fail("the break was not seen");
    else if (now_s() - start > 12)
        fail("the break was seen after %.1f s", now_s() - start);
    conn_free(c);
}

/* ---- datagrams ---- */

struct udp {
    struct pktsess *p;
    uint8_t want[2048];
    size_t n_want;
    bool got, stranger;
    unsigned n_got;
    int dead;
};

static void on_packet(struct pktsess *p, const struct dest *from, const void *buf, size_t len)
{
    struct udp *u = p->owner;

    u->n_got++;
    if (len == u->n_want && !memcmp(buf, u->want, len))
        u->got = true;
    if (len == 8 && !memcmp(buf, "STRANGER", 8) && from->at.port != target.at.port)
        u->stranger = true;
}

static void on_dead(struct pktsess *p, int err)
{
    ((struct udp *)p->owner)->dead = err;
}

static bool udp_open(struct udp *u)
{
    struct flow_meta m = { .net = FLOW_UDP, .dst = target };
    int r = out_open_pkt(node, &m, &u->p);

    if (r < 0) {
        fail("no datagrams: %s", err_str(r));
        return false;
    }
    u->p->owner = u;
    u->p->on_packet = on_packet;
    u->p->on_dead = on_dead;
    return true;
}

static void udp_wait(const bool *flag, const struct udp *u, double seconds)
{
    double until = now_s() + seconds;

    while (!*flag && !u->dead && now_s() < until)
        loop_turn(loop, 20);
}

static void udp(bool cone)
{
    static const size_t sizes[] = { 1, 2, 100, 511, 512, 1000, 1200, 1300, 1372, 1400 };
    struct udp u = { 0 };
    unsigned before;

    if (!udp_open(&u))
        return;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !*failed_why; i++) {
        u.n_want = sizes[i];
        memset(u.want, (int)('a' + i), sizes[i]);
        u.got = false;
        for (int try = 0; try < 3 && !u.got && !u.dead; try++) {
            pkt_send(u.p, &target, u.want, sizes[i]);
            udp_wait(&u.got, &u, 2);
        }
        if (!u.got)
            fail("%zu bytes do not come back: %s", sizes[i], err_str(u.dead));
    }
    if (cone && !*failed_why) {
        pkt_send(u.p, &target, "CONE", 4);
        udp_wait(&u.stranger, &u, 3);
        if (!u.stranger)
            fail("nothing from another port");
    }
    before = u.n_got;
    u.n_want = 0;
    for (int i = 0; i < 500 && !u.dead; i++) {
        pkt_send(u.p, &target, u.want, 1200);
        for (int k = 0; k < 20 && u.n_got - before + 20 < (unsigned)i; k++) /* a few on the way: the peer is slow */
            loop_turn(loop, 5);
    }
    for (int i = 0; i < 40 && u.n_got - before < 500; i++)
        loop_turn(loop, 50);
    if (!*failed_why && u.n_got - before < 450)
        fail("%u of 500 came back: %s", u.n_got - before, err_str(u.dead));
    pkt_close(u.p);
}

static void run(const char *test)
{
    const char *arg = strchr(test, ':');
    uint64_t n = arg ? strtoull(arg + 1, NULL, 10) : 0;
    struct timer limit = { .cb = on_expired };
    double start = now_s();

    *failed_why = 0;
    expired = false;
    timer_set(loop, &limit, TEST_MS);
    if (!strncmp(test, "x:", 2))
        one('X', n);
    else if (!strncmp(test, "u:", 2))
        one('U', n);
    else if (!strncmp(test, "d:", 2))
        one('D', n);
    else if (!strncmp(test, "short:", 6))
        many((unsigned)n, strchr(arg + 1, ':') ? (unsigned)atoi(strchr(arg + 1, ':') + 1) : 0);
    else if (!strncmp(test, "rude:", 5))
        rude(n);
    else if (!strcmp(test, "first"))
        first();
    else if (!strcmp(test, "udp") || !strcmp(test, "cone"))
        udp(*test == 'c');
    else if (!strncmp(test, "fails:", 6))
        fails(arg + 1);
    else if (!strcmp(test, "silent"))
        silent();
    else
        fail("no such test");
    timer_cancel(&limit);
    printf("    %-28s %s  (%.2f s)\n", test, *failed_why ? failed_why : "ok", now_s() - start);
    fflush(stdout);
    failures += *failed_why != 0;
    loop_turn(loop, 0);
}

static struct out_set *load(const char *path)
{
    static char text[1 << 20];
    struct profile *p;
    struct diag d;
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text), f) : 0;
    struct out_set *s;

    if (f)
        fclose(f);
    diag_init(&d, path, text, n, false);
    p = profile_load(text, n, &d);
    s = p ? out_set_new(p, &env, &d) : NULL;
    if (d.n)
        diag_print(&d, stderr, false);
    diag_fini(&d);
    return s;
}

int main(int argc, char **argv)
{
    struct out_set *s;

    if (argc < 6) {
        fprintf(stderr, "usage: %s PROFILE NODE HOST PORT TEST...\n", argv[0]);
        return 2;
    }
    log_threshold = getenv("NODE_DEBUG") ? LOG_DEBUG : LOG_WARN;
    env.state_dir = getenv("NODE_STATE");
    env.loop = loop = loop_new();
    if (!loop || !(s = load(argv[1])) || !(node = out_find(s, argv[2]))) {
        fprintf(stderr, "%s: no node \"%s\"\n", argv[1], argv[2]);
        return 2;
    }
    target.at.port = (uint16_t)atoi(argv[4]);
    if (addr_parse(argv[3], &target.at.ip) < 0)
        target.host = argv[3];
    for (int i = 5; i < argc; i++)
        run(argv[i]);
    out_set_put(s);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 20);
    loop_free(loop);
    transport_trim();
    buf_trim();
    sock_trim();
    return failures != 0;
}
