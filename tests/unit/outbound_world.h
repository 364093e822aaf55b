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

static inline void world_close(struct world *w)
{
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

#endif
