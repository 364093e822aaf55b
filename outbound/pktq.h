/*
 * pktq.h - a few datagrams that wait for a fact (an address, an association), oldest dropped
 */
#ifndef OUTBOUND_PKTQ_H
#define OUTBOUND_PKTQ_H

#include "core/addr.h"

#define PKTQ_MAX 16
#define PKTQ_BYTES 32768

struct pktq_item;
struct pktq {
    struct pktq_item *head, *last;
    uint32_t n, bytes;
};

/* Copies one in; the oldest go when there is no room. 0, -EMSGSIZE or -ENOMEM. A zeroed queue is empty. */
int pktq_add(struct pktq *q, const struct dest *to, const void *buf, size_t len);
/* Gives all to fn in order and empties the queue. */
void pktq_flush(struct pktq *q, void (*fn)(void *arg, const struct dest *to, const void *buf, size_t len), void *arg);
/* Forgets all. */
void pktq_fini(struct pktq *q);

#endif
