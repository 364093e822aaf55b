/*
 * pktsess.h - the datagram session
 *
 * One session per local source and outbound: every peer sees one stable port (full cone) while each destination is
 * matched on its own. send() never blocks and may drop; replies arrive by on_packet from the loop only.
 */
#ifndef CORE_PKTSESS_H
#define CORE_PKTSESS_H

#include <stddef.h>

#include "core/addr.h"

struct pktsess;

struct pkt_ops {
    const char *name; /* "udp", "ss", "socks5" */
    /* Sends one datagram of at most 65507 bytes. The bytes are copied or sent before it returns. A name in `to` goes to
     * the server if the protocol can; else -ERR_NAME when it has no address. 0 or -err (-EAGAIN: dropped, not fatal). */
    int (*send)(struct pktsess *p, const struct dest *to, const void *buf, size_t len);
    /* Ends the session; no callback afterwards, p is gone. */
    void (*close)(struct pktsess *p);
};

struct pktsess {
    const struct pkt_ops *ops;
    /* A datagram came. from: an address, or where the far end says no more the name that send() was given (at.ip.ver 0). It and buf live
     * during the call. The session must not be closed from inside: defer it. */
    void (*on_packet)(struct pktsess *p, const struct dest *from, const void *buf, size_t len);
    /* The session is of no more use (association lost, socket error); once, then only close() is allowed. */
    void (*on_dead)(struct pktsess *p, int err);
    void *owner;
};

static inline int pkt_send(struct pktsess *p, const struct dest *to, const void *buf, size_t len)
{
    return p->ops->send(p, to, buf, len);
}
static inline void pkt_close(struct pktsess *p)
{
    p->ops->close(p);
}

#endif
