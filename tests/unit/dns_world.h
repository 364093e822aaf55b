/*
 * dns_world.h - a resolver under test: a loop, a profile, name servers on loopback that a test scripts, ways out, clients that ask
 *
 * The clock is ours: clock_gettime() of this program stands still until a test moves it, for libuv and c-ares, too. So five seconds of
 * silence cost nothing, and nothing is ever late by luck.
 */
#ifndef TESTS_DNS_WORLD_H
#define TESTS_DNS_WORLD_H

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/pool.h"
#include "core/sock.h"
#include "dns/dns.h"
#include "tests/unit/dns_text.h"

#define WORLD_LIMIT_MS 20000 /* a test that waits so long has failed */
#define WORLD_ROOT     "/nonexistent"

/* ---- the clock ---- */

static uint64_t world_ms;

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (!world_ms || id == CLOCK_REALTIME) /* libFuzzer looks at the calendar, also in the middle of an input: how long does it take? */
        return (int)syscall(SYS_clock_gettime, id, t);
    *t = (struct timespec){ (time_t)(world_ms / 1000), (long)(world_ms % 1000) * 1000000 };
    return 0;
}

/* ---- a name server ---- */

struct ns_world;
/* Makes the answer to a query in *out (0 bytes: silence). */
typedef void script_fn(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out);

struct ns_conn {
    struct io io;
    struct ns_world *s;
    unsigned nth; /* of the server's, from 1 */
    uint8_t in[8192];
    size_t len;
};

#define NS_CONNS 64

struct ns_world {
    struct loop *loop;
    struct io udp, tcp;
    uint16_t port;
    script_fn *script;
    bool by_tcp;  /* for the script: the query came by TCP */
    bool forgets; /* nothing is noted in asked */
    unsigned n_asked, n_tcp, n_conns;
    char asked[8192]; /* "name type; ..." */
    struct wire out;
    struct sockaddr_in from; /* of the last query by UDP */
    struct ns_conn *conns[NS_CONNS];
    void *priv;
};

/* Answers every A with 192.0.2.1, every AAAA with 2001:db8::1, TTL 300; everything else is empty. */
static inline void script_plain(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    ns_msg h;
    ns_rr rr;

    if (ns_initparse(query, (int)len, &h) < 0 || ns_parserr(&h, ns_s_qd, 0, &rr) < 0)
        return;
    wanswer(out, query, len, 0x8180, ns_rr_type(rr) == 1 || ns_rr_type(rr) == 28, 0, 0);
    if (ns_rr_type(rr) == 1)
        waddr(out, NULL, 300, "192.0.2.1");
    else if (ns_rr_type(rr) == 28)
        waddr(out, NULL, 300, "2001:db8::1");
}

static inline void script_silent(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
}

static inline void ns_serve(struct ns_world *s, const uint8_t *query, size_t len)
{
    size_t at = strlen(s->asked);
    ns_msg h;
    ns_rr rr;

    s->n_asked++;
    if (!s->forgets && ns_initparse(query, (int)len, &h) == 0 && ns_parserr(&h, ns_s_qd, 0, &rr) == 0)
        snprintf(s->asked + at, sizeof(s->asked) - at, "%s%s %u", at ? "; " : "", ns_rr_name(rr), ns_rr_type(rr));
    for (char *p = s->asked + at; *p; p++)
        *p = (char)tolower((unsigned char)*p); /* servers on loopback are asked in mixed letters */
    s->out.len = 0;
    s->script(s, query, len, &s->out);
}

static inline void ns_send_udp(struct ns_world *s, const struct wire *out)
{
    sendto(s->udp.fd, out->b, out->len, 0, (struct sockaddr *)&s->from, sizeof(s->from));
}

static inline void ns_on_udp(struct io *io, uint32_t ready)
{
    struct ns_world *s = container_of(io, struct ns_world, udp);
    socklen_t flen = sizeof(s->from);
    uint8_t query[4096];
    ssize_t n;

    while (io->handle && (n = recvfrom(io->fd, query, sizeof(query), 0, (struct sockaddr *)&s->from, &flen)) > 0) {
        s->by_tcp = false;
        ns_serve(s, query, (size_t)n);
        if (s->out.len)
            ns_send_udp(s, &s->out);
    }
}

static inline void ns_conn_close(struct ns_conn *c)
{
    int fd = c->io.fd;

    for (int i = 0; i < NS_CONNS; i++)
        if (c->s->conns[i] == c)
            c->s->conns[i] = NULL;
    io_unwatch(&c->io);
    close(fd);
    free(c);
}

/* Puts a message on a connection, with its length. */
static inline void ns_send_tcp(struct ns_conn *c, const struct wire *out)
{
    uint8_t head[2] = { (uint8_t)(out->len >> 8), (uint8_t)out->len };

    struct iovec both[] = { { head, 2 }, { (void *)out->b, out->len } };

    if (writev(c->io.fd, both, 2) != (ssize_t)out->len + 2)
        abort();
}

static inline void ns_on_conn(struct io *io, uint32_t ready)
{
    struct ns_conn *c = container_of(io, struct ns_conn, io);
    struct ns_world *s = c->s;
    ssize_t n = read(io->fd, c->in + c->len, sizeof(c->in) - c->len);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        ns_conn_close(c);
        return;
    }
    c->len += (size_t)n;
    while (c->len >= 2 && c->len >= 2u + (c->in[0] << 8 | c->in[1])) {
        size_t len = (size_t)(c->in[0] << 8 | c->in[1]);

        s->by_tcp = true;
        s->n_tcp++;
        ns_serve(s, c->in + 2, len);
        if (s->out.len)
            ns_send_tcp(c, &s->out);
        c->len -= 2 + len;
        memmove(c->in, c->in + 2 + len, c->len);
    }
}

static inline void ns_on_accept(struct io *io, uint32_t ready)
{
    struct ns_world *s = container_of(io, struct ns_world, tcp);
    int fd, i = 0;

    while ((fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct ns_conn *c = calloc(1, sizeof(*c));
        int one = 1;

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* nobody waits for an acknowledgement: time stands still */
        c->nth = ++s->n_conns;
        c->s = s;
        c->io.cb = ns_on_conn;
        while (i < NS_CONNS && s->conns[i])
            i++;
        if (i == NS_CONNS || io_watch(s->loop, &c->io, fd, IO_READ) < 0)
            abort();
        s->conns[i] = c;
    }
}

/* UDP and TCP on one port of 127.0.0.1 (or another address of loopback). */
static inline void ns_open(struct ns_world *s, struct loop *l, const char *ip, script_fn *script)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof(at);
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), tcp = -1;

    memset(s, 0, sizeof(*s));
    inet_pton(AF_INET, ip, &at.sin_addr);
    for (int i = 0; i < 20; i++) { /* a port that is free for both */
        tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        at.sin_port = 0;
        if (bind(tcp, (struct sockaddr *)&at, sizeof(at)) == 0 && getsockname(tcp, (struct sockaddr *)&at, &len) == 0 &&
            bind(udp, (struct sockaddr *)&at, sizeof(at)) == 0)
            break;
        close(tcp);
        tcp = -1;
    }
    if (tcp < 0 || listen(tcp, 64) < 0)
        abort();
    s->loop = l;
    s->port = ntohs(at.sin_port);
    s->script = script;
    s->udp.cb = ns_on_udp;
    s->tcp.cb = ns_on_accept;
    if (io_watch(l, &s->udp, udp, IO_READ) < 0 || io_watch(l, &s->tcp, tcp, IO_READ) < 0)
        abort();
}

static inline void ns_close(struct ns_world *s)
{
    int udp = s->udp.fd, tcp = s->tcp.fd;

    for (int i = 0; i < NS_CONNS; i++)
        if (s->conns[i])
            ns_conn_close(s->conns[i]);
    io_unwatch(&s->udp);
    io_unwatch(&s->tcp);
    close(udp);
    close(tcp);
}

/* ---- the resolver and its clients ---- */

struct dns_world {
    struct loop *loop;
    struct profile *p;
    struct diag d;
    struct dns *dns;
    struct dns_opts opts;
    const struct rules_env *env; /* what lists may name; NULL = nothing */
    bool got;
    struct dns_answered by;
    char by_server[256];
    char answer[16384]; /* the last one, told */
    uint8_t raw[65536];
    size_t raw_len;
};

static inline void world_on_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len,
                                  const struct dns_answered *by)
{
    struct dns_world *w = arg;

    w->got = true;
    w->by = *by;
    snprintf(w->by_server, sizeof(w->by_server), "%s", by->server ? by->server : "");
    memcpy(w->raw, msg, len);
    w->raw_len = len;
    snprintf(w->answer, sizeof(w->answer), "%s", told(msg, len));
}

static inline struct profile *world_profile(struct dns_world *w, const char *fmt, va_list ap)
{
    char yaml[8192];
    struct profile *p;

    vsnprintf(yaml, sizeof(yaml), fmt, ap);
    diag_fini(&w->d);
    diag_init(&w->d, "test.yaml", NULL, 0, false);
    if (!(p = profile_load(yaml, strlen(yaml), &w->d))) {
        diag_print(&w->d, stderr, false);
        abort();
    }
    return p;
}

/* The loop first, so that servers may be opened; then the resolver, from a profile in printf form. */
static inline void world_begin(struct dns_world *w)
{
    memset(w, 0, sizeof(*w));
    world_ms = 10000000;
    w->loop = loop_new();
    w->opts = (struct dns_opts){ .loop = w->loop, .root = WORLD_ROOT };
}

/* Of what the profile's lists name; without env they are the resolver's to make. */
static inline struct dns_lists *world_lists(struct dns_world *w, const struct profile *p)
{
    struct dns_lists *l = w->env ? dns_lists_new(p, w->env, &w->d) : NULL;

    if (w->env && !l)
        abort();
    return l;
}

__attribute__((format(printf, 2, 3))) static inline void world_start(struct dns_world *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    w->opts.profile = w->p = world_profile(w, fmt, ap);
    va_end(ap);
    dns_lists_put(w->opts.lists);
    w->opts.lists = world_lists(w, w->p);
    if (dns_new(&w->opts, &w->dns, &w->d) < 0)
        abort();
}

__attribute__((format(printf, 2, 3))) static inline void world_reload(struct dns_world *w, const char *fmt, ...)
{
    struct profile *p;
    va_list ap;

    va_start(ap, fmt);
    p = world_profile(w, fmt, ap);
    va_end(ap);
    dns_lists_put(w->opts.lists);
    w->opts.lists = world_lists(w, p);
    if (dns_reconfigure(w->dns, p, w->opts.lists, &w->d) < 0)
        abort();
    profile_free(w->p);
    w->p = p;
}

/* Starts it again with the same profile, as after a kill (the file is all that is left) or a clean end. */
static inline void world_restart(struct dns_world *w)
{
    dns_free(w->dns);
    loop_turn(w->loop, 0);
    if (dns_new(&w->opts, &w->dns, &w->d) < 0)
        abort();
}

static inline void world_end(struct dns_world *w)
{
    dns_free(w->dns);
    dns_lists_put(w->opts.lists);
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
    profile_free(w->p);
    diag_fini(&w->d);
    loop_free(w->loop);
    buf_trim();
    sock_trim();
    world_ms = 0;
}

/* Lets time pass, a millisecond at a time. */
static inline void world_pass(struct dns_world *w, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        loop_turn(w->loop, 0);
        world_ms++;
    }
    loop_turn(w->loop, 0);
}

/* So much time later, at once. */
static inline void world_jump(struct dns_world *w, uint64_t ms)
{
    world_ms += ms;
    loop_turn(w->loop, 0);
}

static inline bool world_until(struct dns_world *w, const bool *flag)
{
    for (uint64_t i = 0; i < WORLD_LIMIT_MS && !*flag; i++) {
        for (int k = 0; k < 4 && !*flag; k++) /* what is on its way arrives without a millisecond */
            loop_turn(w->loop, 0);
        if (!*flag)
            world_ms++;
    }
    return *flag;
}

/* Sends a query without waiting; client NULL: by TCP. */
static inline void world_send(struct dns_world *w, const uint8_t *msg, size_t len, bool tcp)
{
    static const struct endpoint client = { { 4, { 10, 0, 0, 9 } }, 4321 }, server = { { 4, { 198, 18, 0, 2 } }, 53 };

    w->got = false;
    snprintf(w->answer, sizeof(w->answer), "no answer");
    dns_query(w->dns, msg, len, &(struct dns_client){ .reply = world_on_reply, .arg = w }, tcp ? NULL : &client, tcp ? NULL : &server);
}

/* Asks and waits; what came, told; "no answer" when nothing did. */
static inline const char *world_ask(struct dns_world *w, const char *name, unsigned type, unsigned how)
{
    static struct wire q;

    wquery(&q, 0x7777, name, type, how);
    world_send(w, q.b, q.len, false);
    world_until(w, &w->got);
    return w->answer;
}

/* Asks without waiting: "no answer" when it must come from a server. */
static inline const char *world_ask_here(struct dns_world *w, const char *name, unsigned type, unsigned how)
{
    static struct wire q;

    wquery(&q, 0x7777, name, type, how);
    world_send(w, q.b, q.len, false);
    return w->answer;
}

#endif
