/*
 * frag.h - puts fragmented datagrams together, within bounds
 */
#ifndef TUN2SOCKS_FRAG_H
#define TUN2SOCKS_FRAG_H

#include "core/list.h"
#include "tun2socks/packet.h"

#define FRAG_DATAGRAMS 64
#define FRAG_BYTES (1u << 20)
#define FRAG_MS 15000

struct frags {
    struct list_head all; /* oldest first */
    unsigned n;
    size_t bytes;
};

void frag_init(struct frags *f);
void frag_fini(struct frags *f);
/* Takes a fragment. When it completes a datagram, builds the whole packet (plain IP header, payload) in out (65,600 bytes) and returns its length;
 * else 0. Overlapping fragments drop the datagram (RFC 5722). Over a bound the oldest datagram goes. */
size_t frag_add(struct frags *f, const struct packet *p, uint64_t now_ms, uint8_t *out);
/* Forgets what is older than FRAG_MS. */
void frag_expire(struct frags *f, uint64_t now_ms);

#endif
