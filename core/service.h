/*
 * service.h - the small interfaces handed downwards
 *
 * Where a lower or neighbouring part must call across, it receives one of these, filled in by the engine: an outbound gets
 * a resolver, dns gets a dialer, tun2socks gets a flow_sink. Request structs are embedded in the caller's object, so nothing is
 * allocated; done() is called once, from the loop, never from inside the call that started it, and never after cancel.
 */
#ifndef CORE_SERVICE_H
#define CORE_SERVICE_H

#include <stdbool.h>

#include "core/flow.h"
#include "core/stream.h"

/* --- resolver: real addresses of a name, never fake ones --- */

#define LOOKUP_MAX 16

enum lookup_for { LOOKUP_RULES, LOOKUP_DIRECT, LOOKUP_SERVER }; /* LOOKUP_SERVER: the name of a proxy server */

struct lookup {
    const char *host; /* the caller's, until done or cancel */
    uint8_t why;      /* enum lookup_for */
    uint8_t depth;    /* look-ups that wait for this one: meta.depth of the dial it is for; 0 = none */
    uint8_t only;     /* 4 or 6: addresses of that version are waited for, others are of no use; 0: either */
    struct addr addr[LOOKUP_MAX];
    int n;                                    /* IPv4 first, then IPv6; of too many each version has half */
    void (*done)(struct lookup *l, int err);  /* 0 with n >= 1, or -ERR_NAME, -ETIMEDOUT, ... */
    void *priv;                               /* the resolver's */
};

struct resolver {
    /* 0: done() will be called later; or -err at once, done is then not called. */
    int (*lookup)(struct resolver *r, struct lookup *l);
    void (*cancel)(struct resolver *r, struct lookup *l); /* harmless when not running */
    /* The address of a name if it is known without asking anybody (hosts; an address literal). */
    bool (*known)(struct resolver *r, const char *host, struct addr *out);
};

/* --- dial: a stream to a destination --- */

struct dial {
    struct dest to;                /* to.host and meta stay the caller's until done or cancel */
    const struct flow_meta *meta;  /* may be NULL (our own connections) */
    void (*done)(struct dial *d, struct stream *s, int err); /* err 0: s is handed over; else s is NULL */
    void *priv;                    /* the outbound's */
};

struct dialer {
    /* via: NULL = straight; "RULES" = as the rules say; else a proxy or group. 0: done() comes later; or -err at once. */
    int (*dial)(struct dialer *dl, const char *via, struct dial *d);
    void (*cancel)(struct dialer *dl, struct dial *d);
};

/* --- flow sink: where packets that became flows go --- */

struct flow_sink {
    /* A TCP flow begins. local is handed over, held: answer it with stream_accept() or stream_refuse(). meta lives during
     * the call. */
    void (*tcp)(struct flow_sink *sk, struct stream *local, const struct flow_meta *meta);
    /* A datagram. meta and buf live during the call. */
    void (*udp)(struct flow_sink *sk, const struct flow_meta *meta, const void *buf, size_t len);
    /* An ICMP echo request (icmp = the whole ICMP message). true: the sink sends it and gives the true reply to
     * stack_icmp_send(); false: answer locally. */
    bool (*echo)(struct flow_sink *sk, const struct addr *src, const struct addr *dst, const void *icmp, size_t len);
};

#endif
