/*
 * frag.c - puts fragmented datagrams together, within bounds
 *
 * A datagram is a list of pieces sorted by offset. Any overlap, a second last piece, or a piece behind the end drops it whole: honest senders do
 * not overlap. At most 64 datagrams and 1 MiB wait, 15 s each.
 */
#include "tun2socks/frag.h"

#include <stdlib.h>
#include <string.h>

struct piece {
    struct piece *next;
    uint32_t off, len;
    uint8_t data[];
};

struct datagram {
    struct list_head node;
    struct addr src, dst;
    uint32_t id;
    uint8_t proto;
    bool dropped;
    uint32_t have, total; /* total 0: the last piece has not come */
    size_t bytes;
    uint64_t born_ms;
    struct piece *pieces;
};

void frag_init(struct frags *f)
{
    list_init(&f->all);
    f->n = 0;
    f->bytes = 0;
}

static void drop_pieces(struct frags *f, struct datagram *d)
{
    while (d->pieces) {
        struct piece *p = d->pieces;

        d->pieces = p->next;
        free(p);
    }
    f->bytes -= d->bytes;
    d->bytes = 0;
}

static void forget(struct frags *f, struct datagram *d)
{
    drop_pieces(f, d);
    list_del(&d->node);
    f->n--;
    free(d);
}

void frag_fini(struct frags *f)
{
    for (struct list_head *n; (n = list_first(&f->all));)
        forget(f, container_of(n, struct datagram, node));
}

void frag_expire(struct frags *f, uint64_t now_ms)
{
    for (struct list_head *n; (n = list_first(&f->all));) {
        struct datagram *d = container_of(n, struct datagram, node);

        if (now_ms - d->born_ms < FRAG_MS)
            return;
        forget(f, d);
    }
}

static struct datagram *find(struct frags *f, const struct packet *p, uint64_t now_ms)
{
    struct datagram *d;

    list_each_safe(n, tmp, &f->all) {
        d = container_of(n, struct datagram, node);
        if (d->id == p->frag_id && d->proto == p->proto && addr_eq(&d->src, &p->src) && addr_eq(&d->dst, &p->dst))
            return d;
    }
    if (f->n >= FRAG_DATAGRAMS)
        forget(f, container_of(list_first(&f->all), struct datagram, node));
    if (!(d = calloc(1, sizeof(*d))))
        return NULL;
    d->src = p->src;
    d->dst = p->dst;
    d->id = p->frag_id;
    d->proto = p->proto;
    d->born_ms = now_ms;
    list_append(&f->all, &d->node);
    f->n++;
    return d;
}

/* Links a copy of the piece in its place; false when it overlaps or does not fit. */
static bool insert(struct frags *f, struct datagram *d, const struct packet *p)
{
    uint32_t end = p->frag_off + p->l4_len;
    struct piece **at = &d->pieces, *q;

    if (!p->l4_len || end > 65535 - IP4_HEADER || (p->more && p->l4_len % 8) || (d->total && (end > d->total || !p->more)))
        return false;
    while (*at && (*at)->off + (*at)->len <= p->frag_off)
        at = &(*at)->next;
    if (*at && ((*at)->off < end || !p->more))
        return false;
    if (!(q = malloc(sizeof(*q) + p->l4_len)))
        return false;
    q->off = p->frag_off;
    q->len = p->l4_len;
    memcpy(q->data, p->l4, p->l4_len);
    q->next = *at;
    *at = q;
    if (!p->more)
        d->total = end;
    d->have += p->l4_len;
    d->bytes += sizeof(*q) + p->l4_len;
    f->bytes += sizeof(*q) + p->l4_len;
    return true;
}

size_t frag_add(struct frags *f, const struct packet *p, uint64_t now_ms, uint8_t *out)
{
    struct datagram *d;
    uint32_t head;

    frag_expire(f, now_ms);
    if (!(d = find(f, p, now_ms)) || d->dropped)
        return 0;
    if (!insert(f, d, p)) {
        drop_pieces(f, d);
        d->dropped = true; /* stays, so that the rest of it does not start anew */
        return 0;
    }
    if (d->total && d->have == d->total) {
        head = packet_put_ip(out, &d->src, &d->dst, d->proto, d->total, 0);
        for (const struct piece *q = d->pieces; q; q = q->next)
            memcpy(out + head + q->off, q->data, q->len);
        head += d->total;
        forget(f, d);
        return head;
    }
    while (f->bytes > FRAG_BYTES)
        forget(f, container_of(list_first(&f->all), struct datagram, node));
    return 0;
}
