/*
 * under.h - what lies under a node's protocol: the carrier to its server, a plugin's disguise, TLS, a transport
 *
 *   carrier ──► obfs ──► TLS ──► ws, http, h2, grpc ──► mux ──► the protocol          each only where the profile says so
 */
#ifndef OUTBOUND_UNDER_H
#define OUTBOUND_UNDER_H

#include "outbound/options.h"
#include "outbound/private.h"
#include "transport/transport.h"

/* HTTP/2 connections that gRPC streams share. */
struct under_dial;
struct grpc_pool {
    struct list_head of_set, conns, waiting;
    unsigned n_conns;
    struct under_dial *dial; /* for the connection that is being made, or NULL */
    struct timer idle;
};

/* Part of a node: set up in its init, cleared in its fini. Zeroed: the bare carrier. */
struct under {
    struct outbound *o;
    const struct opt_tls *tls;       /* NULL or off: none */
    const struct opt_transport *net; /* NULL: none */
    const struct opt_plugin *plugin; /* NULL: none */
    const char *name;                /* SNI, and what HTTP calls the host */
    struct tls_client *client;
    struct http_ear ear;
    struct grpc_pool pool;
};

/* What a type has when the profile does not say. */
struct under_defaults {
    const char *const *alpn; /* over plain TCP; over a transport it is what the transport needs. NULL: the profile has no say over ws, either */
    unsigned n_alpn;
    bool servername_from_ws; /* without a name the Host header of ws-opts is it */
};

/* tls and net may be NULL; they live in the node. 0; -EINVAL with an error in s->d; out_unsupported(): what this build cannot do (REALITY,
 * ECH, xhttp); -ENOMEM. After an error nothing needs to be cleared. */
int under_init(struct under *u, struct outbound *o, const struct opt_tls *tls, const struct opt_transport *net,
               const struct under_defaults *d, const struct opt_src *s);
int under_init_plugin(struct under *u, struct outbound *o, const struct opt_plugin *plugin, const struct opt_src *s);
void under_fini(struct under *u);

/* Gets a stream that the protocol can begin on. Embedded, zeroed but for done. Ten seconds from the carrier on. */
struct under_dial {
    void (*done)(struct under_dial *x, struct stream *s, int err); /* once, from the loop */
    struct carrier carrier;
    /* private */
    struct outbound *o;
    struct under *u;
    int step, last;
    struct stream *s;
    struct timer limit;
    struct job job;
    struct list_head wait; /* in the pool's list */
    bool running;
};
/* u NULL: the bare carrier. to.host is the caller's until done or cancel. 0: done comes later; or -err. */
int under_start(struct under_dial *x, struct outbound *o, struct under *u, const struct dest *to, enum lookup_for why);
void under_cancel(struct under_dial *x); /* harmless when not running; no callback after */

/* A host as HTTP says it; the node's server with its port, if that is nobody's default, and in brackets if it needs them. Returns host, or buf. */
#define UNDER_HOST_MAX (HOST_MAX + 8)
const char *under_host(const struct under *u, const char *host, char buf[UNDER_HOST_MAX]);

/* For the pool: the way as far as TLS only; and the end of a wait. */
int under_start_tls(struct under_dial *x, struct outbound *o, struct under *u);
void under_conclude(struct under_dial *x, struct stream *s, int err);

/* grpc_pool.c: a stream over the pool. 1: *out is one; 0: x waits, under_conclude() comes from the loop; -err. */
int grpc_pool_open(struct under_dial *x, struct stream **out);
void grpc_pool_init(struct grpc_pool *p, struct out_set *s);
void grpc_pool_fini(struct grpc_pool *p);

#endif
