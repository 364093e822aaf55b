/*
 * dns_world.h - a resolver under test: a loop, a profile, name servers on loopback that a test scripts, clients that ask
 */
#ifndef TESTS_DNS_WORLD_H
#define TESTS_DNS_WORLD_H

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/pool.h"
#include "core/sock.h"
#include "dns/dns.h"
#include "tests/unit/dns_text.h"

#define WORLD_TURNS 600 /* of at most 10 ms; a test that needs them all has failed */

/* ---- a name server ---- */

struct ns_world;
/* Makes the answer to a query in *out (0 bytes: silence). */
typedef void script_fn(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out);

struct ns_world {
    struct io udp;
    uint16_t port;
    script_fn *script;
    unsigned n_asked;
    char asked[4096]; /* "name type; ..." */
    struct wire out;
    uint16_t from_port; /* of the last query */
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

static inline void ns_note(struct ns_world *s, const uint8_t *query, size_t len)
{
    size_t at = strlen(s->asked);
    ns_msg h;
    ns_rr rr;

    s->n_asked++;
    if (ns_initparse(query, (int)len, &h) == 0 && ns_parserr(&h, ns_s_qd, 0, &rr) == 0)
        snprintf(s->asked + at, sizeof(s->asked) - at, "%s%s %u", at ? "; " : "", ns_rr_name(rr), ns_rr_type(rr));
}

static inline void ns_on_udp(struct io *io, uint32_t ready)
{
    struct ns_world *s = container_of(io, struct ns_world, udp);
    struct sockaddr_in from;
    socklen_t flen = sizeof(from);
    uint8_t query[4096];
    ssize_t n = recvfrom(io->fd, query, sizeof(query), 0, (struct sockaddr *)&from, &flen);

    if (n <= 0)
        return;
    ns_note(s, query, (size_t)n);
    s->from_port = ntohs(from.sin_port);
    s->out.len = 0;
    s->script(s, query, (size_t)n, &s->out);
    if (s->out.len)
        sendto(io->fd, s->out.b, s->out.len, 0, (struct sockaddr *)&from, flen);
}

static inline void ns_open(struct ns_world *s, struct loop *l, const char *ip, script_fn *script)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memset(s, 0, sizeof(*s));
    inet_pton(AF_INET, ip, &at.sin_addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || getsockname(fd, (struct sockaddr *)&at, &len) < 0)
        abort();
    s->port = ntohs(at.sin_port);
    s->script = script;
    s->udp.cb = ns_on_udp;
    if (io_watch(l, &s->udp, fd, IO_READ) < 0)
        abort();
}

static inline void ns_close(struct ns_world *s)
{
    int fd = s->udp.fd;

    io_unwatch(&s->udp);
    close(fd);
}

/* ---- the resolver and its clients ---- */

struct dns_world {
    struct loop *loop;
    struct profile *p;
    struct diag d;
    struct dns *dns;
    struct dns_opts opts;
    bool got;
    char answer[16384]; /* the last one, told */
    uint8_t raw[65536];
    size_t raw_len;
};

static inline void world_on_reply(void *arg, const struct endpoint *client, const struct endpoint *server, const void *msg, size_t len)
{
    struct dns_world *w = arg;

    w->got = true;
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
    w->loop = loop_new();
    w->opts = (struct dns_opts){ .loop = w->loop, .hosts_file = "/nonexistent" };
}

__attribute__((format(printf, 2, 3))) static inline void world_start(struct dns_world *w, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    w->opts.profile = w->p = world_profile(w, fmt, ap);
    va_end(ap);
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
    if (dns_reconfigure(w->dns, p, &w->d) < 0)
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
    loop_turn(w->loop, 0);
    loop_turn(w->loop, 0);
    profile_free(w->p);
    diag_fini(&w->d);
    loop_free(w->loop);
    buf_trim();
    sock_trim();
}

static inline bool world_until(struct dns_world *w, const bool *flag)
{
    for (int i = 0; i < WORLD_TURNS && !*flag; i++)
        loop_turn(w->loop, 10);
    return *flag;
}

/* Sends a query without waiting; client NULL: by TCP. */
static inline void world_send(struct dns_world *w, const uint8_t *msg, size_t len, bool tcp)
{
    static const struct endpoint client = { { 4, { 10, 0, 0, 9 } }, 4321 }, server = { { 4, { 198, 18, 0, 2 } }, 53 };

    w->got = false;
    snprintf(w->answer, sizeof(w->answer), "no answer");
    dns_query(w->dns, msg, len, &(struct dns_client){ world_on_reply, w }, tcp ? NULL : &client, tcp ? NULL : &server);
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
