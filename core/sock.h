/*
 * sock.h - TCP and UDP sockets as stream and pktsess
 */
#ifndef CORE_SOCK_H
#define CORE_SOCK_H

#include "core/loop.h"
#include "core/pktsess.h"
#include "core/stream.h"

/* Wraps a connected (or accepted) non-blocking TCP or Unix socket. The stream owns fd. NULL without memory (fd stays the caller's).
 * name is what ops->name says: always "tcp". */
struct stream *sock_stream(struct loop *l, int fd);
/* Starts a non-blocking connect: returns the descriptor (connecting or connected, TCP_NODELAY set, close-on-exec) or -errno. */
int sock_connect(const struct endpoint *to);
/* The result of a connect that became writable: 0 or -errno. */
int sock_error(int fd);

/* A UDP session on one unconnected socket per family, opened at first need; sends to addresses only (a name without address: -ERR_NAME).
 * Batches inside (recvmmsg). NULL without memory. */
struct pktsess *sock_udp(struct loop *l);
/* A UDP session connected to one peer: send() ignores `to`; only the peer's datagrams arrive. */
int sock_udp_connected(struct loop *l, const struct endpoint *peer, struct pktsess **out);

/* Gives pooled memory back; at exit, and for leak checks. */
void sock_trim(void);

#endif
