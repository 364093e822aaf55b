/*
 * server_udp.h - one connected UDP socket to a server whose name may have to be looked up first
 */
#ifndef OUTBOUND_SERVER_UDP_H
#define OUTBOUND_SERVER_UDP_H

#include "outbound/pktq.h"
#include "outbound/private.h"

/* Embedded in a protocol's session. Zeroed, then started. */
struct server_udp {
    const struct outbound *o; /* whose server it is */
    uint16_t port;
    struct pktsess *sock; /* NULL until the address is known */
    struct pktq waiting;
    void (*ready)(struct server_udp *u);  /* sock is there; send what waits */
    void (*dead)(struct server_udp *u, int err); /* no address, no socket; once, from the loop */
    struct lookup lookup;
    struct job job;
    struct addr ip;
    bool looking;
};

/* Resolves (why: LOOKUP_SERVER) and connects; ready() or dead() come later from the loop. host is the caller's as long as it lasts. 0 or -err. */
int server_udp_start(struct server_udp *u, const struct outbound *o, const struct dest *server);
void server_udp_stop(struct server_udp *u);

#endif
