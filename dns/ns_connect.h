/*
 * ns_connect.h - a stream to a name server, by its way, with TLS on it where the server wants that
 */
#ifndef DNS_NS_CONNECT_H
#define DNS_NS_CONNECT_H

#include "dns/ns.h"

/* Embedded in who connects, zeroed but for ns, depth and done. */
struct ns_connect {
    struct ns *ns; /* its addresses are known, as ns.c sees to */
    uint8_t depth; /* of the question it is for */
    /* Once, from the loop. err 0: s is handed over, open. */
    void (*done)(struct ns_connect *c, struct stream *s, int err);
    /* private */
    struct dial dial;
    struct flow_meta meta;
    struct stream *tls; /* the handshake runs */
    bool dialling;
    struct io io; /* of a socket of our own that connects: the way is an interface */
    bool connecting;
};
int ns_connect_start(struct ns_connect *c);   /* 0: done comes; or -err */
void ns_connect_cancel(struct ns_connect *c); /* harmless when it does not run */

#endif
