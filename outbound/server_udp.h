/*
 * server_udp.h - datagrams to and from a node's server
 */
#ifndef OUTBOUND_SERVER_UDP_H
#define OUTBOUND_SERVER_UDP_H

#include "outbound/pktq.h"
#include "outbound/private.h"

/* Embedded in a protocol's session. Zeroed, then started. */
struct server_udp {
    struct outbound *o;  /* whose server it is */
    struct outbound *by; /* whose socket or session carries them */
    struct dest to;
    struct pktsess *sock; /* a connected socket, or a session of what the node is dialled through; NULL until it is there */
    struct pktq waiting;
    void (*ready)(struct server_udp *u);  /* sock is there; send what waits */
    void (*dead)(struct server_udp *u, int err); /* no address, no socket; once, from the loop */
    struct lookup lookup;
    struct job job;
    bool looking, through; /* through: a session of by */
};

/* Begins; ready() or dead() come later from the loop. The name is looked up (LOOKUP_SERVER) and a socket connected; or, where `via` leads to
 * another node, they go through a session of that one. host is the caller's as long as it lasts. 0 or -err (-ERR_UNSUPPORTED: what is below carries no UDP). */
int server_udp_start(struct server_udp *u, struct outbound *o, const struct dest *server);
void server_udp_stop(struct server_udp *u);
/* One datagram to the server, once it is ready. 0 or -err. */
int server_udp_send(struct server_udp *u, const void *buf, size_t len);
/* May a datagram from there be the server's? Behind a name nobody knows; then the protocol must tell. */
bool server_udp_is_peer(const struct server_udp *u, const struct dest *from);

#endif
