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

#endif
