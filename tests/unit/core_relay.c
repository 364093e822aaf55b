/*
 * core_relay.c - the relay between streams of every temper, and between real sockets
 *
 *   app ◄──pair──► local ◄──relay──► remote ◄──pair──► server
 */
#include "core_mempair.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/pool.h"
#include "core/relay.h"
#include "core/sock.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct world {
    struct loop *l;
    struct mempair *near, *away; /* near.a app, near.b local; away.b remote, away.a server */
    struct relay r;
    int n_done, err;
    size_t up, down; /* by progress */
    bool stop_at_progress;
};

static void on_done(struct relay *r, int err)
{
    struct world *w = container_of(r, struct world, r);

    w->n_done++;
    w->err = err;
}

static void on_progress(struct relay *r, unsigned up, unsigned down)
{
    struct world *w = container_of(r, struct world, r);

    w->up += up;
    w->down += down;
    if (w->stop_at_progress)
        relay_stop(r);
}

static void open_world(struct world *w, const struct temper *local, const struct temper *remote)
{
    *w = (struct world){ 0 };
    w->l = loop_new();
    assert_non_null(w->l);
    w->near = mempair_new(w->l, local);
    w->away = mempair_new(w->l, remote);
    w->r.progress = on_progress;
}

static void start(struct world *w)
{
    relay_start(&w->r, w->l, &w->near->b.s, &w->away->b.s, on_done);
}

static void close_world(struct world *w)
{
    relay_stop(&w->r);
    relay_stop(&w->r);
    assert_null(w->r.up.keep);
    assert_null(w->r.down.keep);
    mempair_free(w->near);
    mempair_free(w->away);
    loop_free(w->l);
    buf_trim();
}

static void turns(struct world *w, int n)
{
    while (n--)
        loop_turn(w->l, 0);
}

/* ---- an end that sends and receives a pattern ---- */

struct talker {
    struct stream *s;
    struct pattern out, in;
    size_t total; /* to send */
    bool shut, eof;
};

static void say(struct talker *t, uint32_t *rnd, size_t most)
{
    uint8_t buf[8192];
    size_t n = mem_min(mem_min(sizeof(buf), t->total - t->out.at), 1 + dice(rnd) % most);
    ssize_t w;

    if (n) {
        pattern_fill(&t->out, buf, n);
        w = stream_write(t->s, &(struct iovec){ buf, n }, 1);
        assert_true(w >= 0);
        t->out.at += (size_t)w;
    }
    if (t->out.at == t->total && !t->shut) {
        t->shut = true;
        assert_int_equal(stream_shutdown(t->s), 0);
    }
}

static void hear(struct talker *t, uint32_t *rnd, size_t most)
{
    uint8_t buf[8192];
    size_t n = 1 + dice(rnd) % mem_min(most, sizeof(buf));
    ssize_t r = stream_read(t->s, &(struct iovec){ buf, n }, 1);

    if (r == -STREAM_EOF)
        t->eof = true;
    else
        assert_true(r >= 0);
    if (r > 0)
        pattern_check(&t->in, buf, (size_t)r);
}

static void converse(struct world *w, size_t up, size_t down, uint32_t seed)
{
    struct talker app = { &w->near->a.s, { seed, 0 }, { ~seed, 0 }, up }, server = { &w->away->a.s, { ~seed, 0 }, { seed, 0 }, down };
    uint32_t rnd = seed | 1;

    for (int turn = 0; !(w->n_done && app.eof && server.eof); turn++) {
        if (turn > 1000000)
            fail_msg("stuck at %zu of %zu up, %zu of %zu down", server.in.at, up, app.in.at, down);
        say(&app, &rnd, 8192);
        say(&server, &rnd, 8192);
        hear(&app, &rnd, 8192);
        hear(&server, &rnd, 8192);
        loop_turn(w->l, 0);
    }
    assert_int_equal(server.in.at, up);
    assert_int_equal(app.in.at, down);
}

/* ---- stories ---- */

static const struct temper tempers[] = {
    { 0 },
    { .cap = 1 },
    { .cap = 777, .read_max = 100, .write_max = 63 },
    { .cap = 5000, .again_every = 3 },
    { .again_every = 2, .write_max = 4096 },
    { .cap = 300000, .read_max = 1 },
    { .cap = 100, .read_max = 7, .write_max = 11, .again_every = 5 },
};

static void every_byte_in_every_temper_and_way(void **state)
{
    for (unsigned way = 0; way < 16; way++) {
        for (size_t i = 0; i < COUNT(tempers) * COUNT(tempers); i++) {
            struct temper local = tempers[i / COUNT(tempers)], remote = tempers[i % COUNT(tempers)];
            size_t up = 1000 + i * 37, down = 3000 - i * 17;
            struct world w;

            local.peek = way & 1, local.reserve = way & 2, remote.peek = way & 4, remote.reserve = way & 8;
            open_world(&w, &local, &remote);
            start(&w);
            converse(&w, up, down, (uint32_t)i * 16 + way + 1);
            assert_int_equal(w.n_done, 1);
            assert_int_equal(w.err, 0);
            assert_int_equal(w.r.up.bytes, up);
            assert_int_equal(w.r.down.bytes, down);
            assert_int_equal(w.up, up);
            assert_int_equal(w.down, down);
            assert_false(w.near->b.closed || w.away->b.closed); /* that is the owner's */
            close_world(&w);
        }
    }
}

static void a_megabyte_each_way(void **state)
{
    for (unsigned way = 0; way < 16; way += 5) {
        struct temper local = { .again_every = 7, .peek = way & 1, .reserve = way & 2 },
                      remote = { .cap = 30000, .peek = way & 4, .reserve = way & 8 };
        struct world w;

        open_world(&w, &local, &remote);
        start(&w);
        converse(&w, 1000003, 1200007, 42 + way);
        assert_int_equal(w.err, 0);
        close_world(&w);
    }
}

static void put(struct memend *e, const char *text)
{
    assert_int_equal(stream_write(&e->s, &(struct iovec){ (char *)text, strlen(text) }, 1), (ssize_t)strlen(text));
}

static void expect(struct memend *e, const char *text)
{
    char buf[256];
    ssize_t n = stream_read(&e->s, &(struct iovec){ buf, sizeof(buf) }, 1);

    assert_int_equal(n, (ssize_t)strlen(text));
    assert_memory_equal(buf, text, strlen(text));
}

static ssize_t look(struct memend *e)
{
    char c;

    return stream_read(&e->s, &(struct iovec){ &c, 1 }, 1);
}

/* `first` closes its half, the other side talks on for a while and then closes too. */
static void half_close(struct world *w, struct memend *first, struct memend *second)
{
    put(first, "question");
    stream_shutdown(&first->s);
    turns(w, 4);
    expect(second, "question");
    assert_int_equal(look(second), -STREAM_EOF);
    assert_int_equal(w->n_done, 0);
    assert_true(timer_armed(&w->r.half));
    put(second, "long");
    turns(w, 4);
    expect(first, "long");
    assert_int_equal(look(first), 0);
    put(second, "answer");
    stream_shutdown(&second->s);
    turns(w, 4);
    expect(first, "answer");
    assert_int_equal(look(first), -STREAM_EOF);
    assert_int_equal(w->n_done, 1);
    assert_int_equal(w->err, 0);
    assert_false(timer_armed(&w->r.half));
}

static void half_close_travels_both_ways(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    start(&w);
    half_close(&w, &w.near->a, &w.away->a);
    close_world(&w);
    open_world(&w, NULL, NULL);
    start(&w);
    half_close(&w, &w.away->a, &w.near->a);
    close_world(&w);
}

static void eof_waits_for_bytes_the_writer_did_not_take(void **state)
{
    struct temper remote = { .write_max = 3 };
    struct world w;

    open_world(&w, NULL, &remote);
    w.away->a.cap = 4; /* the server has room for four bytes */
    start(&w);
    put(&w.near->a, "123456789");
    stream_shutdown(&w.near->a.s);
    turns(&w, 6);
    assert_non_null(w.r.up.keep);
    assert_false(w.away->b.shut);
    expect(&w.away->a, "1234");
    turns(&w, 6);
    expect(&w.away->a, "5678");
    turns(&w, 6);
    assert_true(w.away->b.shut);
    assert_null(w.r.up.keep);
    expect(&w.away->a, "9");
    assert_int_equal(look(&w.away->a), -STREAM_EOF);
    close_world(&w);
}

static void a_slow_reader_slows_the_sender(void **state)
{
    for (unsigned way = 0; way < 16; way++) {
        struct temper local = { .cap = 1000, .peek = way & 1, .reserve = way & 2 },
                      remote = { .cap = 1000, .peek = way & 4, .reserve = way & 8 };
        struct world w;
        uint8_t buf[500];
        size_t sent = 0;

        open_world(&w, &local, &remote);
        w.away->a.cap = 2000;
        start(&w);
        memset(buf, 'x', sizeof(buf));
        for (int i = 0; i < 1000; i++) {
            ssize_t n = stream_write(&w.near->a.s, &(struct iovec){ buf, sizeof(buf) }, 1);

            assert_true(n >= 0);
            sent += (size_t)n;
            turns(&w, 1);
        }
        assert_true(sent <= 1000 + 2000 + BUF_SIZE);
        assert_int_equal(w.n_done, 0);
        for (size_t got = 0; got < sent;) {
            ssize_t n = stream_read(&w.away->a.s, &(struct iovec){ buf, sizeof(buf) }, 1);

            assert_true(n >= 0);
            got += (size_t)n;
            turns(&w, 3);
        }
        assert_null(w.r.up.keep);
        close_world(&w);
    }
}

static void an_idle_relay_holds_nothing(void **state)
{
    struct temper ring = { .reserve = true, .peek = true };
    struct world w;

    open_world(&w, &ring, &ring);
    start(&w);
    turns(&w, 3);
    put(&w.near->a, "hello");
    put(&w.away->a, "hi");
    turns(&w, 5);
    expect(&w.near->a, "hi");
    expect(&w.away->a, "hello");
    assert_int_equal(w.near->b.lent_out, 0);
    assert_int_equal(w.away->b.lent_out, 0);
    assert_null(w.r.up.keep);
    assert_null(w.r.down.keep);
    assert_false(timer_armed(&w.r.half));
    assert_false(w.r.again.queued);
    close_world(&w);
}

static const struct {
    const char *what;
    struct temper local, remote;
    int err;
} failures[] = {
    { "reading local", { .read_fails_at = 10, .err = -ECONNRESET }, { 0 }, -ECONNRESET },
    { "writing local", { .write_fails_at = 10, .err = -ENOBUFS }, { 0 }, -ENOBUFS },
    { "reading remote", { 0 }, { .read_fails_at = 10, .err = -ERR_AUTH }, -ERR_AUTH },
    { "writing remote", { 0 }, { .write_fails_at = 10, .err = -EPIPE }, -EPIPE },
    { "reading local, peek", { .read_fails_at = 10, .err = -ECONNRESET, .peek = true }, { 0 }, -ECONNRESET },
    { "writing local, reserve", { .write_fails_at = 10, .err = -ENOBUFS, .reserve = true }, { 0 }, -ENOBUFS },
    { "writing that says EOF", { 0 }, { .write_fails_at = 10, .err = -STREAM_EOF }, -EPIPE },
    { "reserving that says EOF", { 0 }, { .write_fails_at = 10, .err = -STREAM_EOF, .reserve = true }, -EPIPE },
    { "kept bytes fail", { 0 }, { .write_fails_at = 10, .write_max = 3, .err = -ETIMEDOUT }, -ETIMEDOUT },
};

static void one_error_ends_it_once(void **state)
{
    for (size_t i = 0; i < COUNT(failures); i++) {
        struct world w;

        open_world(&w, &failures[i].local, &failures[i].remote);
        start(&w);
        put(&w.near->a, "twenty bytes from me");
        put(&w.away->a, "twenty bytes as well");
        turns(&w, 20);
        if (w.n_done != 1 || w.err != failures[i].err)
            fail_msg("%s: done %d times with %d", failures[i].what, w.n_done, w.err);
        close_world(&w);
    }
}

static void a_shutdown_or_a_header_that_fails_ends_it(void **state)
{
    struct temper no_shutdown = { .shutdown_err = -ECONNRESET }, no_header = { .flush_err = -ENOMEM };
    struct world w;

    open_world(&w, NULL, &no_shutdown);
    start(&w);
    stream_shutdown(&w.near->a.s);
    turns(&w, 3);
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.err, -ECONNRESET);
    close_world(&w);
    open_world(&w, NULL, &no_header);
    start(&w);
    turns(&w, 1);
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.err, -ENOMEM);
    close_world(&w);
}

/* A server that answers while the client still uploads, and hangs up: the client must see the answer, be he slow. */
static void an_answer_before_a_hang_up_is_passed_on(void **state)
{
    for (unsigned way = 0; way < 8; way++) {
        struct temper local = { .cap = 64, .reserve = way & 1 },
                      remote = { .write_fails_at = 10, .err = -EPIPE, .read_max = 7, .peek = way & 2 };
        char answer[300], got[sizeof(answer) + 1];
        size_t n = 0;
        struct world w;

        memset(answer, 'a', sizeof(answer));
        open_world(&w, &local, &remote);
        if (way & 4)
            start(&w);
        assert_int_equal(stream_write(&w.away->a.s, &(struct iovec){ answer, sizeof(answer) }, 1), sizeof(answer));
        put(&w.near->a, "twenty bytes from me");
        if (!(way & 4))
            start(&w);
        for (int i = 0; i < 100 && n < sizeof(answer); i++) {
            ssize_t r = stream_read(&w.near->a.s, &(struct iovec){ got + n, sizeof(got) - n }, 1);

            assert_true(r >= 0);
            n += (size_t)r;
            if (n < sizeof(answer))
                assert_int_equal(w.n_done, 0);
            turns(&w, 3);
        }
        assert_int_equal(n, sizeof(answer));
        turns(&w, 3);
        assert_int_equal(w.n_done, 1);
        assert_int_equal(w.err, -EPIPE);
        close_world(&w);
    }
}

static void a_reset_that_nobody_asked_for(void **state)
{
    struct temper remote = { .cap = 4 };
    struct world w;

    open_world(&w, NULL, &remote);
    w.away->a.cap = 4;
    start(&w);
    put(&w.near->a, "more than fits");
    turns(&w, 4);
    stream_close(&w.near->a.s, -ECONNRESET);
    turns(&w, 4);
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.err, -ECONNRESET);
    close_world(&w);
}

static void first_bytes_ride_with_the_header(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    put(&w.near->a, "GET /");
    start(&w);
    assert_int_equal(w.away->b.writes + w.away->b.flushes, 0); /* never from inside the call */
    turns(&w, 1);
    assert_int_equal(w.away->b.flushes, 1);
    assert_int_equal(w.away->b.written_before_flush, 5);
    close_world(&w);
}

static void a_silent_client_still_sends_the_header(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    start(&w);
    turns(&w, 1);
    assert_int_equal(w.away->b.flushes, 1);
    assert_int_equal(w.near->b.flushes, 0);
    turns(&w, 5);
    assert_int_equal(w.away->b.flushes, 1);
    close_world(&w);
}

/* "echo question | nc -N server" over Shadowsocks: the half-close was there before the path was. */
static void a_client_that_closed_its_half_before_the_start(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    put(&w.near->a, "question");
    stream_shutdown(&w.near->a.s);
    start(&w);
    turns(&w, 3);
    assert_int_equal(w.n_done, 0);
    assert_int_equal(w.away->b.flushes_after_shut, 0);
    expect(&w.away->a, "question");
    put(&w.away->a, "answer");
    stream_shutdown(&w.away->a.s);
    turns(&w, 4);
    expect(&w.near->a, "answer");
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.err, 0);
    close_world(&w);
}

static void half_closed_and_silent_ends(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    start(&w);
    put(&w.near->a, "question");
    stream_shutdown(&w.near->a.s);
    turns(&w, 3);
    assert_true(timer_armed(&w.r.half));
    put(&w.away->a, "still here");
    turns(&w, 3);
    timer_cancel(&w.r.half);
    w.r.half.cb(&w.r.half); /* two minutes later: bytes moved meanwhile */
    assert_true(timer_armed(&w.r.half));
    turns(&w, 1);
    assert_int_equal(w.n_done, 0);
    timer_cancel(&w.r.half);
    w.r.half.cb(&w.r.half); /* two more: none */
    turns(&w, 1);
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.err, -ETIMEDOUT);
    close_world(&w);
}

/* A stream that never ends and a sink that never fills: what a turn moves is bounded, and others get theirs. */
static ssize_t endless_read(struct stream *s, const struct iovec *iov, int n)
{
    return (ssize_t)iov_total(iov, n);
}
static ssize_t endless_write(struct stream *s, const struct iovec *iov, int n)
{
    return (ssize_t)iov_total(iov, n);
}
static const struct stream_ops endless_ops = { .name = "endless", .read = endless_read, .write = endless_write };

static void nobody_starves(void **state)
{
    struct stream s[4] = { { &endless_ops }, { &endless_ops }, { &endless_ops }, { &endless_ops } };
    struct relay r[2] = { 0 };
    struct loop *l = loop_new();

    relay_start(&r[0], l, &s[0], &s[1], on_done);
    relay_start(&r[1], l, &s[2], &s[3], on_done);
    for (uint64_t turn = 1; turn < 20; turn++) {
        loop_turn(l, 0);
        for (int i = 0; i < 2; i++) {
            assert_true(r[i].up.bytes >= (turn - 1) * RELAY_BUDGET && r[i].up.bytes <= (turn + 1) * (RELAY_BUDGET + BUF_SIZE));
            assert_true(r[i].down.bytes >= (turn - 1) * RELAY_BUDGET && r[i].down.bytes <= (turn + 1) * (RELAY_BUDGET + BUF_SIZE));
        }
    }
    relay_stop(&r[0]);
    relay_stop(&r[1]);
    loop_free(l);
    buf_trim();
}

static void stopped_is_silent(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    start(&w);
    put(&w.near->a, "x");
    relay_stop(&w.r); /* before the first turn */
    turns(&w, 5);
    assert_int_equal(w.up + w.down, 0);
    start(&w);
    turns(&w, 3);
    assert_int_equal(w.up, 1);
    stream_close(&w.near->a.s, -ECONNRESET);
    relay_stop(&w.r); /* with an error on its way */
    turns(&w, 5);
    assert_int_equal(w.n_done, 0);
    stream_close(&w.near->b.s, 0);
    relay_stop(&w.r); /* after a stream is gone */
    close_world(&w);
}

static void stopped_from_its_own_progress(void **state)
{
    struct world w;

    open_world(&w, NULL, NULL);
    w.stop_at_progress = true;
    start(&w);
    put(&w.near->a, "x");
    put(&w.away->a, "y");
    turns(&w, 5);
    assert_int_equal(w.up + w.down, 1);
    assert_int_equal(w.n_done, 0);
    close_world(&w);
}

/* ---- real sockets ---- */

static void tcp_pair(int fd[2])
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(srv, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(srv, 1), 0);
    assert_int_equal(getsockname(srv, (struct sockaddr *)&a, &len), 0);
    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd[0], (struct sockaddr *)&a, len), 0);
    fd[1] = accept(srv, NULL, NULL);
    assert_true(fd[1] >= 0);
    close(srv);
}

static void unix_pair(int fd[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

struct far_end {
    int fd;
    struct pattern out, in;
    size_t total;
    bool shut, eof;
};

static void far_turn(struct far_end *f, uint32_t *rnd)
{
    static uint8_t buf[100000];
    size_t n = mem_min(f->total - f->out.at, 1 + dice(rnd) % sizeof(buf));
    ssize_t r;

    pattern_fill(&f->out, buf, n);
    if (n && (r = send(f->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
        f->out.at += (size_t)r;
    if (f->out.at == f->total && !f->shut) {
        f->shut = true;
        shutdown(f->fd, SHUT_WR);
    }
    r = recv(f->fd, buf, 1 + dice(rnd) % sizeof(buf), MSG_DONTWAIT);
    f->eof |= r == 0;
    if (r > 0)
        pattern_check(&f->in, buf, (size_t)r);
    assert_true(r >= 0 || errno == EAGAIN);
}

static void through_real_sockets(void (*pair)(int fd[2]), size_t up, size_t down)
{
    int near[2], away[2];
    struct world w = { .l = loop_new(), .r.progress = on_progress };
    struct stream *local, *remote;
    uint32_t rnd = 99;

    pair(near);
    pair(away);
    local = sock_stream(w.l, near[1]);
    remote = sock_stream(w.l, away[1]);
    assert_true(local && remote);
    relay_start(&w.r, w.l, local, remote, on_done);
    struct far_end app = { near[0], { 1, 0 }, { 2, 0 }, up }, server = { away[0], { 2, 0 }, { 1, 0 }, down };
    while (!(w.n_done && app.eof && server.eof)) {
        far_turn(&app, &rnd);
        far_turn(&server, &rnd);
        loop_turn(w.l, w.n_done || (app.eof && server.eof) ? 0 : 1); /* wakes up for the sockets */
        if (w.n_done == 1 && w.r.up.from == NULL && local) {
            stream_close(local, 0);
            stream_close(remote, 0);
            local = remote = NULL;
        }
    }
    assert_int_equal(w.n_done, 1);
    assert_int_equal(w.err, 0);
    assert_int_equal(server.in.at, up);
    assert_int_equal(app.in.at, down);
    assert_int_equal(w.up, up);
    assert_int_equal(w.down, down);
    if (local) {
        stream_close(local, 0);
        stream_close(remote, 0);
    }
    close(near[0]);
    close(away[0]);
    loop_free(w.l);
    sock_trim();
    buf_trim();
}

static void over_socketpairs(void **state)
{
    through_real_sockets(unix_pair, 3000001, 5000003);
}

static void over_tcp(void **state)
{
    through_real_sockets(tcp_pair, 5000003, 3000001);
    through_real_sockets(tcp_pair, 0, 0);
    through_real_sockets(tcp_pair, 1, 0);
}

static void a_reset_of_the_server_reaches_the_owner(void **state)
{
    int near[2], away[2];
    struct linger hard = { 1, 0 };
    struct world w = { .l = loop_new() };
    struct stream *local, *remote;

    tcp_pair(near);
    tcp_pair(away);
    local = sock_stream(w.l, near[1]);
    remote = sock_stream(w.l, away[1]);
    relay_start(&w.r, w.l, local, remote, on_done);
    turns(&w, 3);
    setsockopt(away[0], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(away[0]);
    while (!w.n_done)
        loop_turn(w.l, 1000);
    assert_int_equal(w.err, -ECONNRESET);
    stream_close(local, w.err);
    stream_close(remote, w.err);
    turns(&w, 1);
    assert_int_equal(recv(near[0], &(char){ 0 }, 1, 0), -1); /* and the application */
    assert_int_equal(errno, ECONNRESET);
    close(near[0]);
    loop_free(w.l);
    sock_trim();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_in_every_temper_and_way),
        cmocka_unit_test(a_megabyte_each_way),
        cmocka_unit_test(half_close_travels_both_ways),
        cmocka_unit_test(eof_waits_for_bytes_the_writer_did_not_take),
        cmocka_unit_test(a_slow_reader_slows_the_sender),
        cmocka_unit_test(an_idle_relay_holds_nothing),
        cmocka_unit_test(one_error_ends_it_once),
        cmocka_unit_test(a_shutdown_or_a_header_that_fails_ends_it),
        cmocka_unit_test(an_answer_before_a_hang_up_is_passed_on),
        cmocka_unit_test(a_reset_that_nobody_asked_for),
        cmocka_unit_test(first_bytes_ride_with_the_header),
        cmocka_unit_test(a_silent_client_still_sends_the_header),
        cmocka_unit_test(a_client_that_closed_its_half_before_the_start),
        cmocka_unit_test(half_closed_and_silent_ends),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(stopped_is_silent),
        cmocka_unit_test(stopped_from_its_own_progress),
        cmocka_unit_test(over_socketpairs),
        cmocka_unit_test(over_tcp),
        cmocka_unit_test(a_reset_of_the_server_reaches_the_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
