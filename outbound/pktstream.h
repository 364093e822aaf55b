/*
 * pktstream.h - a datagram session over streams that a node dials
 */
#ifndef OUTBOUND_PKTSTREAM_H
#define OUTBOUND_PKTSTREAM_H

#include "outbound/pkt_codec.h"
#include "outbound/private.h"

/* How a node carries datagrams. Static. */
struct pkt_way {
    const struct pkt_codec *codec;
    const char *host; /* where the stream is to go; NULL: to the first datagram's destination */
    /* Opens a stream for datagrams to d->to; d->done comes later, uncounted; or -err. */
    int (*dial)(struct outbound *o, struct dial *d, uint8_t command);
    void (*cancel)(struct outbound *o, struct dial *d);
    uint8_t command; /* for dial */
};

/* A session; its stream is dialled with the first datagram, and those that come meanwhile wait, bounded. Where the codec has one
 * destination per stream, there are as many streams as destinations, at most 64; the one that was used longest ago makes room.
 * Where it cannot write names, they are looked up first. 0 or -ENOMEM. */
int pktstream_open(struct outbound *o, const struct pkt_way *w, struct pktsess **out);

#endif
