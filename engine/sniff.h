/*
 * sniff.h - which name do the first bytes of a flow speak of?
 *
 * Pure functions on bytes that an application sends: a TLS ClientHello, the head of an HTTP request, the Initial packets of QUIC. They look
 * and change nothing. Asked again with more bytes until they know. Nothing of a stream is kept (its bytes are lent by the stream); a QUIC
 * sniffer keeps 18 KiB while it is at work.
 */
#ifndef ENGINE_SNIFF_H
#define ENGINE_SNIFF_H

#include <stddef.h>

#include "core/addr.h"

enum sniff {
    SNIFF_NAME, /* found; host is set: lower case, a domain name and no address */
    SNIFF_MORE, /* may still come */
    SNIFF_NOT   /* another protocol, or one that says no name: more bytes change nothing */
};

#define SNIFF_MAX 16384 /* bytes after which nothing more is expected */

/* All bytes of a stream so far. host is untouched unless SNIFF_NAME. The server name of a ClientHello, over any number of records (RFC 8446
 * section 4.1.2, RFC 6066 section 3); with encrypted ClientHello it is the outer, public name. */
enum sniff sniff_tls(const void *bytes, size_t len, char host[HOST_MAX + 1]);

/* The name a request of HTTP/1 is for: of an absolute target, else the Host field (RFC 9112 section 3.2). Any method. */
enum sniff sniff_http(const void *bytes, size_t len, char host[HOST_MAX + 1]);

/* QUIC 1 and 2 (RFC 9001, RFC 9369): the ClientHello out of CRYPTO frames in any order, over several packets and datagrams. Datagrams are
 * given one by one, as the client sends them. NULL without memory. */
struct sniff_quic;
struct sniff_quic *sniff_quic_new(void);
void sniff_quic_free(struct sniff_quic *q); /* NULL is fine */
enum sniff sniff_quic(struct sniff_quic *q, const void *datagram, size_t len, char host[HOST_MAX + 1]);

#endif
