/*
 * fetch.h - one download by HTTP, in a thread of the pool
 *
 * What reliability section 3 asks of downloads: TLS is verified; at most five redirects, never from https to http; a limit is an error, not
 * a cut; a limit for the time of all of it. Connections are not made here: whoever calls names a socket of this machine that leads to a
 * host, so that names, rules and `proxy` are the engine's.
 */
#ifndef ENGINE_FETCH_H
#define ENGINE_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/said.h"

#define FETCH_WHY_MAX  512
#define FETCH_NAME_MAX 64

struct fetch_in {
    const char *url;            /* http or https; may hold user and password */
    const char *const *headers; /* "Name: value", NULL-terminated, or NULL; sent to the url's own origin only */
    const char *user_agent;
    const char *etag, *modified; /* of the copy we have: ask for another only. NULL or "" = not known */
    size_t max;                  /* bytes, unpacked */
    unsigned timeout_ms;         /* for all of it */
    /* From this thread. The name of an abstract Unix socket that leads to host:port for one connection: 0, or -err. */
    int (*open)(void *arg, const char *host, uint16_t port, char name[FETCH_NAME_MAX]);
    int (*failed)(void *arg); /* why what was opened last leads nowhere: -err; 0 = it does, or nothing is known */
    void *arg;
    const char *ca_file;     /* trusted instead of the system's; NULL = the system's */
    const atomic_bool *stop; /* set: give up soon */
};

struct fetch_out {
    long status;    /* what the server said last; 0 = nothing */
    bool unchanged; /* 304: what we have is good */
    char *body;     /* owned; with a NUL behind its len bytes */
    size_t len;
    char host[256];         /* that was asked last; for messages, as the rest of the url may be secret */
    struct said said;
    char why[FETCH_WHY_MAX]; /* what went wrong, for people */
};

/* 0 (a body, or unchanged), or -err with out->why: -ERR_LIMIT, -ETIMEDOUT, -ERR_CLOSED (stop), -ERR_PROTO (not this status, or none),
 * -EINVAL (the url), -ENOMEM. out is zeroed first and ended with fetch_fini(). */
int fetch(const struct fetch_in *in, struct fetch_out *out);
void fetch_fini(struct fetch_out *out);

#endif
