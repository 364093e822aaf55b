/*
 * ns_conn.h - the connections of a name server, and the questions on them
 *
 * ns_conn.c knows when a connection is made and when it is over, which question waits and which is asked again. How a question looks on a
 * connection is said by a few functions: ns_stream.c (messages with their length), ns_doh.c (HTTP/2).
 */
#ifndef DNS_NS_CONN_H
#define DNS_NS_CONN_H

#include "dns/ns_connect.h"
#include "dns/private.h"

/* A question. */
struct turn {
    struct list_head node; /* conn_ns.queue, or conn.turns */
    struct conn_ns *cs;
    struct conn *c; /* NULL: it waits */
    struct ns_ask *q;
    bool again; /* a connection ended under it */
    int err;    /* how it ends, once it is among the failed */
    /* of the kind */
    uint16_t id;
    struct stream *s;
    uint8_t *in; /* owns */
    size_t in_len, in_cap;
};

/* The kind's connection begins with this. */
struct conn {
    struct list_head node; /* conn_ns.conns */
    struct conn_ns *cs;
    struct ns_connect connect;
    bool up;           /* else under construction */
    bool heard;        /* the server has said something: it does not wait for a dial any more, as a stream by a proxy may */
    bool ending, used; /* used: it has carried a question */
    int err;           /* why it is to end; 0 = in order */
    struct list_head turns;
    unsigned n_turns;
    uint64_t since_ms; /* since when it is silent; set by the kind when something comes */
    struct timer timer;
    struct job reap;
};

/* All but put and drop are called from a job of the loop. */
struct conn_ops {
    size_t size; /* of the kind's connection */
    /* Takes the open stream over. 0 or -err. */
    int (*open)(struct conn *c, struct stream *s);
    /* How many questions it takes at a time; 0: none any more. */
    unsigned (*room)(const struct conn *c);
    /* Sends t, which is on it now. 0 or -err: the question comes back, and the connection ends. */
    int (*put)(struct conn *c, struct turn *t);
    /* All there was has been put. */
    void (*flush)(struct conn *c);
    /* t is nobody's any more. */
    void (*drop)(struct turn *t);
    void (*close)(struct conn *c); /* open() has succeeded, all turns are dropped */
};

struct conn_ns {
    struct ns s;
    const struct conn_ops *kind;
    struct list_head conns, queue;
    unsigned n_conns, n_turns;
    unsigned n_failed; /* connections in a row on which nothing was heard */
    int failed_err;    /* the last one's */
    struct job serve;
};

/* NULL without memory. */
struct ns *conn_ns_new(const struct conn_ops *kind);

/* For the kinds, from the loop: the answer to t, or -err for good; t is gone. Whoever gets it may let go of the server: hold it. */
void turn_end(struct turn *t, int err, uint8_t *msg, size_t len);
/* t comes back: it is asked again on another stream, or fails with err if it was already. */
void turn_back(struct turn *t, int err);
/* The connection is over. */
void conn_fail(struct conn *c, int err);
/* Something changed: questions may go, connections may end. At the end of this turn. */
void conn_serve(struct conn_ns *cs);

/* Room for n more bytes behind len. NULL without memory. */
uint8_t *conn_room(uint8_t **buf, size_t len, size_t *cap, size_t n);

#endif
