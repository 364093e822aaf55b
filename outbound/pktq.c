/*
 * pktq.c - a few datagrams that wait for a fact
 *
 * One allocation each: item, name, bytes. At most PKTQ_MAX of PKTQ_BYTES in all.
 */
#include "outbound/pktq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct pktq_item {
    struct pktq_item *next;
    struct dest to; /* host points into text */
    size_t len;
    char text[]; /* the name and its NUL, then the datagram */
};

static size_t host_size(const struct dest *to)
{
    return to->host ? strlen(to->host) + 1 : 0;
}

static void drop_oldest(struct pktq *q)
{
    struct pktq_item *i = q->head;

    q->head = i->next;
    if (!q->head)
        q->last = NULL;
    q->n--;
    q->bytes -= (uint32_t)i->len;
    free(i);
}

int pktq_add(struct pktq *q, const struct dest *to, const void *buf, size_t len)
{
    size_t host = host_size(to);
    struct pktq_item *i;

    if (len > PKTQ_BYTES)
        return -EMSGSIZE;
    if (!(i = malloc(sizeof(*i) + host + len)))
        return -ENOMEM;
    while (q->n && (q->n >= PKTQ_MAX || q->bytes + len > PKTQ_BYTES))
        drop_oldest(q);
    i->next = NULL;
    i->to = *to;
    i->len = len;
    if (host)
        i->to.host = memcpy(i->text, to->host, host);
    if (len)
        memcpy(i->text + host, buf, len);
    if (q->last)
        q->last->next = i;
    else
        q->head = i;
    q->last = i;
    q->n++;
    q->bytes += (uint32_t)len;
    return 0;
}

void pktq_flush(struct pktq *q, void (*fn)(void *arg, const struct dest *to, const void *buf, size_t len), void *arg)
{
    struct pktq all = *q;

    *q = (struct pktq){ 0 };
    while (all.head) {
        struct pktq_item *i = all.head;

        fn(arg, &i->to, i->text + host_size(&i->to), i->len);
        drop_oldest(&all);
    }
}

void pktq_fini(struct pktq *q)
{
    while (q->head)
        drop_oldest(q);
}
