/*
 * sock.h - TCP and UDP sockets as stream and pktsess
 */
#ifndef CORE_SOCK_H
#define CORE_SOCK_H

#include <stdbool.h>

#include "core/loop.h"
#include "core/pktsess.h"
#include "core/stream.h"

/* Wraps a connected (or accepted) non-blocking TCP or Unix socket. The stream owns fd. NULL without memory (fd stays the caller's).
 * name is what ops->name says: always "tcp". */
struct stream *sock_stream(struct loop *l, int fd);
/* The network is another one: streams whose own address this machine has no longer, or whose peer is reached by another interface now, end with
 * -ENETDOWN. How many. */
unsigned sock_moved(void);
/* Is it an address of this machine, right now? */
bool sock_is_here(const struct addr *a);
/* How what a socket sends leaves. Zeroed: as the routes say. */
struct sock_way {
    const char *interface; /* by this one only; NULL: the routes decide. Not for addresses of this machine and of the link */
    uint32_t mark;         /* SO_MARK, for rules of the system; 0: none */
};
/* What sockets of ours are to be like. Zeroed: as the kernel makes them. */
struct sock_opts {
    struct sock_way way;
    unsigned keep_idle_s, keep_interval_s; /* TCP: a silent peer is asked after so long, and again; idle 0: never */
    bool fast_open;                        /* TCP: the first bytes may ride in the SYN; connecting then succeeds before anybody answered */
    bool multipath;                        /* MPTCP, where kernel and peer have it */
};

/* Starts a non-blocking connect: returns the descriptor (connecting or connected, TCP_NODELAY set, close-on-exec) or -errno (-ENODEV: no
 * such interface; what sock_marker() was given said no: its word). opts may be NULL. */
int sock_connect(const struct endpoint *to, const struct sock_opts *opts);
/* The same for a socket that a library made, before it is connected to `to`. 0 or -errno. */
int sock_leave_by(int fd, const struct sock_way *way, const struct addr *to);
/* Is there a way to this address? 0, or what connect says (-ENETUNREACH ...). Nothing is sent. */
int sock_probe(const struct addr *to, const struct sock_way *way);
/* Whoever may give sockets a mark (an unprivileged process may not): fn returns 0 or -errno. NULL: nobody; a socket that is to have one fails. */
void sock_marker(int (*fn)(void *arg, int fd, uint32_t mark), void *arg);
/* The result of a connect that became writable: 0 or -errno. */
int sock_error(int fd);

/* A UDP session on one unconnected socket per family, opened at first need; sends to addresses only (a name without address: -ERR_NAME).
 * Batches inside (recvmmsg). way NULL: as the routes say; its interface must live as long as the session. NULL without memory. */
struct pktsess *sock_udp(struct loop *l, const struct sock_way *way);
/* A UDP session connected to one peer: send() ignores `to`; only the peer's datagrams arrive. */
int sock_udp_connected(struct loop *l, const struct endpoint *peer, const struct sock_way *way, struct pktsess **out);

/* Gives pooled memory back; at exit, and for leak checks. */
void sock_trim(void);

#endif
