/*
 * outbound_world.h - what an outbound needs, played by a test: a loop, a resolver that answers when told, a profile, servers on loopback
 */
#ifndef TESTS_OUTBOUND_WORLD_H
#define TESTS_OUTBOUND_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/pool.h"
#include "core/sock.h"
#include "outbound/outbound.h"

#define TURNS 400 /* of at most 10 ms; a test that needs them all has failed */

struct world {
    struct loop *loop;
    struct resolver res;
    struct out_env env;
    struct lookup *asked; /* the look-up that waits */
    unsigned n_asked, n_cancelled;
    int refuse;           /* lookup() fails with this at once */
    struct diag d;
    struct out_set *set;
    unsigned n_warned;
    char warned[1024]; /* what the log said last, since world_heed() */
};

static inline int world_lookup(struct resolver *r, struct lookup *l)
{
    struct world *w = container_of(r, struct world, res);

    w->n_asked++;
    if (w->refuse)
        return w->refuse;
    w->asked = l;
    return 0;
}

static inline void world_cancel(struct resolver *r, struct lookup *l)
{
    struct world *w = container_of(r, struct world, res);

    w->n_cancelled++;
    if (w->asked == l)
        w->asked = NULL;
}

/* Answers the waiting look-up with addresses (blank-separated), or an error. */
static inline void world_answer(struct world *w, const char *addrs, int err)
{
    struct lookup *l = w->asked;
    char text[256], *save, *word;

    w->asked = NULL;
    snprintf(text, sizeof(text), "%s", addrs);
    for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (addr_parse(word, &l->addr[l->n]) == 0)
            l->n++;
    l->done(l, err);
}

static inline void world_open(struct world *w, const char *yaml)
{
    struct profile *p;

    memset(w, 0, sizeof(*w));
    w->loop = loop_new();
    w->res.lookup = world_lookup;
    w->res.cancel = world_cancel;
    w->env = (struct out_env){ w->loop, &w->res, true };
    diag_init(&w->d, "test.yaml", yaml, strlen(yaml), false);
    p = profile_load(yaml, strlen(yaml), &w->d);
    w->set = p ? out_set_new(p, &w->env, &w->d) : NULL;
    if (w->d.n)
        diag_print(&w->d, stderr, false);
}

static inline void world_on_log(void *arg, enum log_level level, enum log_sys sys, const char *line)
{
    struct world *w = arg;

    w->n_warned++;
    snprintf(w->warned, sizeof(w->warned), "%s", line);
}

static inline void world_heed(struct world *w)
{
    w->n_warned = 0;
    w->warned[0] = 0;
    log_set_sink(world_on_log, w, LOG_WARN);
}

static inline void world_close(struct world *w)
{
    log_set_sink(NULL, NULL, LOG_SILENT);
    loop_turn(w->loop, 0);
    out_set_put(w->set);
    diag_fini(&w->d);
    loop_free(w->loop);
    buf_trim();
    sock_trim();
}

/* Turns until *flag is true; returns it. */
static inline bool world_until(struct world *w, const bool *flag)
{
    for (int i = 0; i < TURNS && !*flag; i++)
        loop_turn(w->loop, 10);
    return *flag;
}

/* A non-blocking socket on an address of the loopback; its port in *port (0: any). */
static inline int world_listen(const char *ip, int type, uint16_t *port)
{
    struct endpoint at = { .port = *port };
    struct sockaddr_storage ss;
    socklen_t len;
    int fd;

    addr_parse(ip, &at.ip);
    len = endpoint_to_sockaddr(&at, &ss);
    fd = socket(ss.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&ss, len) < 0 || (type == SOCK_STREAM && listen(fd, 16) < 0)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    len = sizeof(ss);
    getsockname(fd, (struct sockaddr *)&ss, &len);
    endpoint_from_sockaddr((struct sockaddr *)&ss, &at);
    *port = at.port;
    return fd;
}

/* Accepts, reads or receives within some turns of the loop; -1 if nothing comes. */
static inline int world_accept(struct world *w, int fd)
{
    int c = -1;

    for (int i = 0; i < TURNS && c < 0; i++) {
        if ((c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0)
            loop_turn(w->loop, 10);
    }
    return c;
}

static inline ssize_t world_read(struct world *w, int fd, void *buf, size_t want)
{
    size_t got = 0;

    for (int i = 0; i < TURNS && got < want; i++) {
        ssize_t n = read(fd, (char *)buf + got, want - got);

        if (n > 0)
            got += (size_t)n;
        else if (n == 0)
            break;
        else
            loop_turn(w->loop, 10);
    }
    return (ssize_t)got;
}

static inline ssize_t world_datagram(struct world *w, int fd, void *buf, size_t size, struct sockaddr_storage *from)
{
    socklen_t len = sizeof(*from);
    ssize_t n = -1;

    for (int i = 0; i < TURNS && n < 0; i++)
        if ((n = recvfrom(fd, buf, size, 0, (struct sockaddr *)from, &len)) < 0)
            loop_turn(w->loop, 10);
    return n;
}

/* ---- a dial, and what came of it ---- */

struct call {
    struct outbound *o;
    struct dial d;
    bool done;
    int err;
    struct stream *s;
};

static inline void call_done(struct dial *d, struct stream *s, int err)
{
    struct call *c = container_of(d, struct call, d);

    assert_false(c->done);
    assert_true(!s == !!err);
    c->done = true;
    c->err = err;
    c->s = s;
}

/* What out_dial() says. */
static inline int call_dial(struct call *c, struct outbound *o, const struct dest *to)
{
    *c = (struct call){ .o = o, .d = { .to = *to, .done = call_done } };
    return out_dial(o, &c->d);
}

static inline void call_hang_up(struct call *c)
{
    if (c->s)
        stream_close(c->s, 0);
    c->s = NULL;
    loop_turn(c->o->env->loop, 0);
}

/* ---- a datagram session, and what it said last ---- */

struct ear {
    struct pktsess *p;
    bool heard, dead;
    unsigned n;
    int err;
    struct endpoint from;
    char text[64];
};

static inline void ear_packet(struct pktsess *p, const struct dest *from, const void *buf, size_t len)
{
    struct ear *e = p->owner;

    e->heard = true;
    e->n++;
    e->from = from->at;
    snprintf(e->text, sizeof(e->text), "%.*s", (int)len, (const char *)buf);
}

static inline void ear_dead(struct pktsess *p, int err)
{
    struct ear *e = p->owner;

    assert_false(e->dead);
    e->dead = true;
    e->err = err;
}

/* What out_open_pkt() says. */
static inline int ear_open(struct ear *e, struct outbound *o)
{
    int r;

    *e = (struct ear){ 0 };
    if ((r = out_open_pkt(o, NULL, &e->p)) < 0)
        return r;
    e->p->owner = e;
    e->p->on_packet = ear_packet;
    e->p->on_dead = ear_dead;
    return 0;
}

#endif
