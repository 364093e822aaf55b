/*
 * socks5.h - what a SOCKS5 server says (RFC 1928, RFC 1929): pure parsers of its bytes
 */
#ifndef OUTBOUND_SOCKS5_H
#define OUTBOUND_SOCKS5_H

#include "outbound/atyp.h"

enum { SOCKS5_CONNECT = 1, SOCKS5_UDP = 3 };
#define SOCKS5_REPLY_MAX (3 + ATYP_MAX)

/* The answer to the greeting. The method: 0 none, 2 user and password; -ERR_AUTH (none is acceptable); -ERR_PROTO. `offered_password`: 2 was
 * among what we offered. */
int socks5_choice(const uint8_t b[2], bool offered_password);
/* The answer to user and password: 0, -ERR_AUTH, -ERR_PROTO. */
int socks5_auth_reply(const uint8_t b[2]);
/* How long the reply to a request is, as far as the first n bytes tell: more than n = read that many and ask again; n = it is complete. A reply
 * that says no is complete after two bytes (some servers send no more), and so is nonsense. */
size_t socks5_reply_size(const uint8_t *b, size_t n);
/* Reads a complete reply: 0 and the bound address (a name: at->ip.ver 0, *name lends it), or why not: -ECONNREFUSED, -ENETUNREACH, ... */
int socks5_reply(const uint8_t *b, size_t n, struct endpoint *at, struct span *name);
/* One datagram from a relay: its sender and payload (lent). -ERR_PROTO for fragments and unknown address types. */
int socks5_udp_open(const void *b, size_t n, struct sender *from, struct span *payload);

#endif
