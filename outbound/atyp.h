/*
 * atyp.h - addresses as SOCKS5 writes them (RFC 1928 section 5); Shadowsocks borrows them
 *
 *   01 | 4 bytes   | port        03 | length | name | port        04 | 16 bytes | port
 */
#ifndef OUTBOUND_ATYP_H
#define OUTBOUND_ATYP_H

#include "core/addr.h"
#include "core/reader.h"

enum { ATYP_V4 = 1, ATYP_NAME = 3, ATYP_V6 = 4 };
#define ATYP_MAX (1 + 1 + 255 + 2)

/* Writes a destination: the name if there is one (a name that is an address goes as address), else the address. Returns the length, 0 when
 * there is neither. */
size_t atyp_put(uint8_t out[ATYP_MAX], const struct dest *to);
/* Reads one. *at gets port and address; for a name that is no address at->ip.ver is 0 and *name lends it (else it is empty). An unknown type
 * makes r bad. */
void atyp_get(struct rd *r, struct endpoint *at, struct span *name);

/* Who sent a datagram: an address, or the name that we sent to (servers that looked it up themselves may say that). */
struct sender {
    struct endpoint at;      /* ip.ver 0: a name */
    char host[HOST_MAX + 1]; /* normalised; "" when it is an address */
};
/* From what atyp_get() and its like got. 0, or -ERR_PROTO when that is neither. */
int sender_set(struct sender *s, const struct endpoint *at, const struct span *name);
/* Reads one; whatever is none makes r bad. */
void sender_get(struct rd *r, struct sender *s);
static inline struct dest sender_dest(const struct sender *s)
{
    return (struct dest){ s->at, *s->host ? s->host : NULL };
}

#endif
