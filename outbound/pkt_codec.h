/*
 * pkt_codec.h - datagrams as frames in a stream: one table of two functions per way of writing them
 *
 *   pkt_trojan      address, port | length | CR LF | data
 *   pkt_length      length | data                                     one destination per stream (VLESS, VMess)
 *   pkt_packetaddr  length | address, port | data                     the same, with a destination in each
 *   pkt_xudp        Mux.Cool frames, the destination in each          (VLESS, VMess, command "mux")
 *   pkt_uot1, 2     address, port | length | data                     UDP over TCP; 2 says first that it is not connected
 *
 * Pure: bytes in, bytes out.
 */
#ifndef OUTBOUND_PKT_CODEC_H
#define OUTBOUND_PKT_CODEC_H

#include "core/addr.h"
#include "core/reader.h"
#include "outbound/atyp.h"

/* What a stream's codec remembers. Zeroed; peer is set for those with one destination per stream. */
struct pkt_state {
    struct sender peer; /* who answers, or answered last */
    bool begun;
};

#define PKT_FRAME_EXTRA 600 /* at most so many bytes more than the data */

struct pkt_codec {
    const char *name;
    size_t most;  /* data of one frame */
    bool to_one;  /* every destination needs a stream of its own */
    bool no_name; /* a destination that is only a name cannot be written, or servers make nothing of it */
    /* Writes one; out has len + PKT_FRAME_EXTRA bytes, len <= most. Returns its length; 0 when it cannot be written. */
    size_t (*put)(struct pkt_state *st, const struct dest *to, const void *buf, size_t len, uint8_t *out);
    /* Takes one frame from r. 1: from and payload (lent) are set, or payload->p is NULL when the frame carries none; 0: it is not whole
     * yet; -STREAM_EOF, -ERR_PROTO. */
    int (*get)(struct pkt_state *st, struct rd *r, struct sender *from, struct span *payload);
};

extern const struct pkt_codec pkt_trojan, pkt_length, pkt_packetaddr, pkt_xudp, pkt_uot1, pkt_uot2;

#define PKT_ADDR_HOST "sp.packet-addr.v2fly.arpa" /* where packetaddr streams go to */
#define PKT_UOT1_HOST "sp.udp-over-tcp.arpa"
#define PKT_UOT2_HOST "sp.v2.udp-over-tcp.arpa"

#endif
