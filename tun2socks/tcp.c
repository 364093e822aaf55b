/*
 * tcp.c - one TCP connection of an application as one stream
 *
 *   HELD      a SYN is kept, lwIP knows nothing; accept() feeds it, refuse() answers it
 *   OPEN      an lwIP pcb exists
 *   GONE      the pcb is gone (both closed, reset, timed out); what it left can still be read
 *
 * Two lives, and the record is freed only after both: the pcb's (ends in on_destroy) and the owner's (ends in close or refuse).
 *
 * App to upstream: lwIP's pbufs are queued as they are and lent by peek; consuming opens the window, and that is all of the back-pressure.
 * They are acknowledged after the owner was told: by the packet that opens the window, if he has taken them; else by one for all.
 * What stays queued after a batch is copied together when it is small, so that a small packet does not pin a 64 KiB buffer.
 *
 * Upstream to app: a list of chunks, each as large as the largest segment. reserve() lends their free space, commit() hands the filled part to lwIP, which sends it from there without a
 * copy; a chunk is freed when all of it is acknowledged. So an idle connection has none.
 *
 * lwIP's global lists hold only the pcb being worked on (enter/leave), so its linear walks have length one. Timers see the hot list: connections with
 * something to wait for. TIME_WAIT is not kept: same-tuple reconnects must work at once.
 *
 * lwIP's callbacks only note what happened; owners are told by tcp_flush() after the batch, never from inside lwIP.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/log.h"
#include "tun2socks/private.h"

#define HELD_MAX 4096
#define TELL_BYTES 32768       /* an owner is told before the end of the batch when this much is queued */
#define COMPACT_BELOW 16384    /* a queued packet smaller than this is copied out of its 64 KiB buffer */
#define BLOCK_SPARE 4096       /* behind the copy there is room for this much more, at most */
#define SEND_MIN (128u << 10)  /* bytes on their way to the application: at first */
#define SEND_MAX (1u << 20)    /* and at most */
#define SEND_TIGHT (16u << 10) /* when memory is short */
#define QUEUE_MAX 4096         /* of lwIP's buffers that hold them: enough for SEND_MAX in segments of 536 */
#define LINGER_MS 120000
#define SYN_WINDOW_MIN 1072    /* lwIP's segments are half of the largest window it saw; seeing none it makes them of any size, and asserts when it sees one */

struct tcp_flow {
    struct stream s;
    struct stack *st;
    struct map_node node;
    struct list_head all, hot, dirty;
    struct endpoint src, dst;
    struct tcp_pcb *pcb;
    uint8_t *syn; /* held */
    uint16_t syn_len, syn_l4, peer_mss;
    int err;
    uint8_t waits, news; /* STREAM_* */
    bool mapped, rx_eof, tx_shut, fin_sent, orphan; /* orphan: the owner is gone */
    bool ack_due;                                   /* lwIP wanted to acknowledge at once */
    uint8_t was_full;

    struct pbuf *rx, **rx_end;
    uint32_t rx_len;

    struct chunk *first, *last; /* first: oldest not acknowledged */
    struct chunk *spare;        /* lent by reserve beyond last */
    uint32_t tx_len, tx_limit;  /* bytes with lwIP */
    uint32_t linger_len;        /* of them when linger was armed */

    struct timer linger;
    struct job reap;
};

static const struct stream_ops tcp_ops;

static struct tcp_flow *of(struct stream *s)
{
    return container_of(s, struct tcp_flow, s);
}

/* ---- lwIP's lists ---- */

static bool enter(struct tcp_flow *f)
{
    struct stack *st = f->st;

    if (st->in_timer || st->current == f)
        return false;
    if (st->current)
        abort(); /* work for another flow belongs after leave(): a bug of ours */
    st->current = f;
    if (f->pcb) {
        f->pcb->next = NULL;
        tcp_active_pcbs = f->pcb;
    } else {
        tcp_active_pcbs = NULL;
    }
    tcp_tw_pcbs = NULL;
    return true;
}

static void on_tick(struct timer *t);

static void make_hot(struct tcp_flow *f)
{
    struct stack *st = f->st;

    if (!list_empty(&f->hot))
        return;
    list_append(&st->hot, &f->hot);
    if (!st->n_hot++)
        timer_set(st->loop, &st->tick, TCP_TMR_INTERVAL);
}

static void make_cold(struct tcp_flow *f)
{
    if (list_empty(&f->hot))
        return;
    list_del(&f->hot);
    f->st->n_hot--;
}

static void leave(struct tcp_flow *f, bool mine)
{
    if (!mine)
        return;
    if (f->pcb && f->pcb->state == TIME_WAIT) {
        tcp_active_pcbs = NULL;
        f->pcb->next = NULL;
        tcp_tw_pcbs = f->pcb;
        tcp_abort(f->pcb); /* frees it, sends nothing */
    }
    if (f->pcb && (!f->pcb->unsent || f->pcb->unacked))
        f->pcb->persist_backoff = 0; /* lwIP does not stop this timer when the last byte that waited is acknowledged, and asserts when it ticks */
    if (f->pcb)
        make_hot(f);
    f->st->current = NULL;
    tcp_active_pcbs = NULL;
    tcp_tw_pcbs = NULL;
}

static bool quiet(const struct tcp_pcb *p)
{
    return p->state == ESTABLISHED && !p->unsent && !p->unacked && !p->ooseq && !p->refused_data &&
           !(p->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND | TF_RTO));
}

/* The end of what the owner writes, when all before it was sent. Given earlier lwIP would put it on the last segment that waits, and
 *   - leave it on the first half when a small window makes it split that segment: the application would see the end too early;
 *   - in the middle of a handshake: never open the congestion window, and send neither. */
static void send_fin(struct tcp_flow *f)
{
    if (!f->pcb || !f->tx_shut || f->fin_sent || f->pcb->unsent || f->pcb->state == SYN_RCVD)
        return;
    f->fin_sent = true;
    tcp_shutdown(f->pcb, 0, 1);
}

static void on_tick(struct timer *t)
{
    struct stack *st = container_of(t, struct stack, tick);
    struct tcp_pcb *chain = NULL;

    list_each_safe(n, tmp, &st->hot) {
        struct tcp_flow *f = container_of(n, struct tcp_flow, hot);

        if (f->pcb) {
            f->pcb->next = chain;
            chain = f->pcb;
        }
    }
    tcp_active_pcbs = chain;
    tcp_tw_pcbs = NULL;
    st->in_timer = true;
    tcp_tmr();
    st->in_timer = false;
    tcp_active_pcbs = NULL;
    tcp_tw_pcbs = NULL;
    list_each_safe(n, tmp, &st->hot) {
        struct tcp_flow *f = container_of(n, struct tcp_flow, hot);
        bool mine = enter(f);

        send_fin(f);
        leave(f, mine);
        if (!f->pcb || quiet(f->pcb))
            make_cold(f);
    }
    if (st->n_hot)
        timer_set(st->loop, t, TCP_TMR_INTERVAL);
}

/* ---- news for owners ---- */

static void on_flush(struct job *j)
{
    tcp_flush(container_of(j, struct stack, flush));
}

static void note(struct tcp_flow *f, uint8_t what)
{
    f->news |= what;
    if (f->orphan || !list_empty(&f->dirty))
        return;
    list_append(&f->st->dirty, &f->dirty);
    if (!f->st->in_batch)
        loop_defer(f->st->loop, &f->st->flush);
}

/* A place for what stays queued: the more that is, the larger. tot_len is its room; a pbuf of the queue that is none has as much room as bytes. */
static struct pbuf *new_block(const struct tcp_flow *f, uint32_t len)
{
    uint32_t spare = f->rx_len < BLOCK_SPARE ? f->rx_len : BLOCK_SPARE;
    struct pbuf *b = pbuf_alloc(PBUF_RAW, (u16_t)(len + spare), PBUF_RAM);

    if (b)
        b->len = 0;
    return b;
}

/* Copies small pieces that stay queued together, out of the big receive buffers. */
static void compact(struct tcp_flow *f)
{
    struct pbuf **at = &f->rx, *last = NULL;

    while (*at) {
        struct pbuf *p = *at, *to = last && last->tot_len - last->len >= p->len ? last : NULL;

        if (!to && p->flags & PBUF_FLAG_IS_CUSTOM && p->len < COMPACT_BELOW && (to = new_block(f, p->len))) {
            to->next = p;
            *at = to;
            at = &to->next;
        }
        if (to) {
            memcpy((uint8_t *)to->payload + to->len, p->payload, p->len);
            to->len = (u16_t)(to->len + p->len);
            *at = p->next;
            p->next = NULL;
            pbuf_free(p);
            last = to;
        } else {
            last = p;
            at = &p->next;
        }
    }
    f->rx_end = at;
}

/* One for all that came, unless the window's opening has said so already. */
static void acknowledge(struct tcp_flow *f)
{
    bool mine;

    if (!f->ack_due)
        return;
    f->ack_due = false;
    if (!f->pcb || !(f->pcb->flags & TF_ACK_DELAY))
        return;
    mine = enter(f);
    tcp_ack_now(f->pcb);
    tcp_output(f->pcb);
    leave(f, mine);
}

static void tell(struct tcp_flow *f)
{
    uint8_t what = f->news & (f->waits | STREAM_FAILED);

    f->news = 0;
    f->waits &= (uint8_t)~what;
    if (what && !f->orphan)
        stream_ready(&f->s, what);
    if (f->rx && !f->orphan)
        compact(f);
    acknowledge(f);
}

void tcp_flush(struct stack *st)
{
    for (struct list_head *n; (n = list_first(&st->dirty));) {
        list_del(n);
        tell(container_of(n, struct tcp_flow, dirty));
    }
}

/* ---- the record ---- */

static void free_rx(struct tcp_flow *f)
{
    while (f->rx) {
        struct pbuf *p = f->rx;

        f->rx = p->next;
        p->next = NULL;
        pbuf_free(p);
    }
    f->rx_end = &f->rx;
    f->st->buffers -= f->rx_len;
    f->rx_len = 0;
}

static void free_chunk(struct tcp_flow *f, struct chunk *c)
{
    f->st->buffers -= sizeof(*c) + c->size;
    if (c->size == CHUNK_BYTES)
        pool_put(&f->st->chunks, c);
    else
        free(c);
}

static void free_spare(struct tcp_flow *f)
{
    while (f->spare) {
        struct chunk *c = f->spare;

        f->spare = c->next;
        free_chunk(f, c);
    }
}

static void unmap(struct tcp_flow *f)
{
    if (f->mapped)
        map_del(&f->st->flows, &f->node);
    f->mapped = false;
}

static void release(struct tcp_flow *f)
{
    struct stack *st = f->st;

    free_rx(f);
    free_spare(f);
    while (f->first) {
        struct chunk *c = f->first;

        f->first = c->next;
        free_chunk(f, c);
    }
    unmap(f);
    make_cold(f);
    timer_cancel(&f->linger);
    list_del(&f->dirty);
    list_del(&f->all);
    if (f->syn)
        st->n_held--;
    free(f->syn);
    st->n_flows--;
    free(f);
}

static void on_reap(struct job *j)
{
    release(container_of(j, struct tcp_flow, reap));
}

static void reap_when_done(struct tcp_flow *f)
{
    if (f->orphan && !f->pcb)
        loop_defer(f->st->loop, &f->reap);
}

static void drop_syn(struct tcp_flow *f)
{
    if (!f->syn)
        return;
    free(f->syn);
    f->syn = NULL;
    f->st->n_held--;
}

static uint64_t key_hash(const struct endpoint *src, const struct endpoint *dst)
{
    uint8_t key[38];

    memcpy(key, src->ip.b, 16);
    memcpy(key + 16, dst->ip.b, 16);
    put16(key + 32, src->port);
    put16(key + 34, dst->port);
    key[36] = src->ip.ver;
    key[37] = 0;
    return hash_bytes(key, sizeof(key));
}

static struct tcp_flow *find(struct stack *st, const struct endpoint *src, const struct endpoint *dst)
{
    for (struct map_node *n = map_first(&st->flows, key_hash(src, dst)); n; n = map_next(n)) {
        struct tcp_flow *f = container_of(n, struct tcp_flow, node);

        if (endpoint_eq(&f->src, src) && endpoint_eq(&f->dst, dst))
            return f;
    }
    return NULL;
}

/* ---- callbacks of lwIP ---- */

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t err)
{
    struct tcp_flow *f = arg;

    if (!p) {
        f->rx_eof = true;
        note(f, STREAM_READABLE);
        return ERR_OK;
    }
    if (f->orphan) { /* nobody reads any more: the sender must know */
        pbuf_free(p);
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    f->rx_len += p->tot_len;
    f->st->buffers += p->tot_len;
    for (*f->rx_end = p; p; p = p->next) {
        p->tot_len = p->len; /* the chain is ours now; see new_block() */
        f->rx_end = &p->next;
    }
    if (pcb->flags & TF_ACK_NOW) { /* not before the owner has had them: then it opens the window, too */
        tcp_clear_flags(pcb, TF_ACK_NOW);
        tcp_set_flags(pcb, TF_ACK_DELAY);
        f->ack_due = true;
    }
    note(f, STREAM_READABLE);
    return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
    struct tcp_flow *f = arg;
    uint32_t left = len;

    f->tx_len -= len;
    while (left && f->first) {
        struct chunk *c = f->first;
        uint32_t n = c->filled - c->acked < left ? c->filled - c->acked : left;

        c->acked += n;
        left -= n;
        if (c->acked < c->filled)
            break;
        if (!(f->first = c->next))
            f->last = NULL;
        free_chunk(f, c);
    }
    if (f->tx_len <= f->tx_limit / 2)
        note(f, STREAM_WRITABLE);
    return ERR_OK;
}

static void on_err(void *arg, err_t err)
{
    struct tcp_flow *f = arg;

    if (err != ERR_CLSD && !f->err)
        f->err = err == ERR_RST ? -ECONNRESET : err == ERR_ABRT ? -ECONNABORTED : -ETIMEDOUT;
    if (f->err)
        note(f, STREAM_READABLE | STREAM_WRITABLE | STREAM_FAILED);
}

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t err)
{
    return ERR_OK;
}

static const struct tcp_ext_arg_callbacks ext_callbacks;

static err_t on_passive_open(u8_t id, struct tcp_pcb_listen *listener, struct tcp_pcb *child)
{
    struct tcp_flow *f = the_stack->opening;
    uint32_t most;

    if (!f)
        return ERR_VAL;
    most = f->st->mtu - ip_header_len(f->dst.ip.ver) - TCP_HEADER; /* lwIP finds no route to ask */
    if (child->mss > most)
        child->mss = (u16_t)most;
    f->pcb = child;
    f->peer_mss = child->mss;
    tcp_arg(child, f);
    tcp_recv(child, on_recv);
    tcp_sent(child, on_sent);
    tcp_err(child, on_err);
    tcp_nagle_disable(child);
    tcp_ext_arg_set(child, id, f);
    tcp_ext_arg_set_callbacks(child, id, &ext_callbacks);
    if (child->snd_wnd_max < 2)
        child->snd_wnd_max = SYN_WINDOW_MIN;
    if (f->st->tso)
        child->mss = CHUNK_BYTES;
    return ERR_OK;
}

static void on_destroy(u8_t id, void *data)
{
    struct tcp_flow *f = data;

    if (!f)
        return;
    f->pcb = NULL;
    unmap(f); /* the tuple may be used again */
    make_cold(f);
    if (!f->orphan && !(f->rx_eof && f->tx_shut) && !f->err)
        f->err = f->st->in_timer ? -ETIMEDOUT : -ECONNRESET; /* in a timer: no answer to the last of many retransmissions */
    if (f->err)
        note(f, STREAM_READABLE | STREAM_WRITABLE | STREAM_FAILED);
    reap_when_done(f);
}

static const struct tcp_ext_arg_callbacks ext_callbacks = { on_destroy, on_passive_open };

int tcp_glue_init(struct stack *st)
{
    struct tcp_pcb *p = tcp_new_ip_type(IPADDR_TYPE_ANY);
    static int ext_id = -1; /* lwIP gives out one for the life of the process */

    st->tick.cb = on_tick;
    st->flush.cb = on_flush;
    if (ext_id < 0)
        ext_id = tcp_ext_arg_alloc_id();
    st->ext_id = (uint8_t)ext_id;
    if (!p)
        return -ENOMEM;
    tcp_bind_netif(p, &st->netif);
    if (tcp_bind(p, IP_ANY_TYPE, 1) != ERR_OK || !(st->listener = tcp_listen(p))) {
        tcp_abort(p);
        return -ENOMEM;
    }
    tcp_accept(st->listener, on_accept);
    tcp_ext_arg_set_callbacks(st->listener, st->ext_id, &ext_callbacks);
    st->listener->local_port = 0;
    return 0;
}

static void abort_pcb(struct tcp_flow *f)
{
    bool mine = enter(f);

    if (f->pcb)
        tcp_abort(f->pcb);
    leave(f, mine);
}

void tcp_glue_fini(struct stack *st)
{
    for (struct list_head *n; (n = list_first(&st->all));) {
        struct tcp_flow *f = container_of(n, struct tcp_flow, all);

        f->orphan = true;
        abort_pcb(f);
        job_cancel(&f->reap);
        release(f);
    }
    if (st->listener)
        tcp_close(st->listener);
    st->listener = NULL;
}

/* ---- answers without a pcb ---- */

static void send_reset(struct stack *st, const struct endpoint *from, const struct endpoint *to, uint32_t seq, uint32_t ack, uint8_t flags)
{
    uint8_t b[IP6_HEADER + TCP_HEADER];
    uint32_t ihl = packet_put_ip(b, &from->ip, &to->ip, PROTO_TCP, TCP_HEADER, st->ip_id++);
    uint8_t *th = b + ihl;

    memset(th, 0, TCP_HEADER);
    put16(th, from->port);
    put16(th + 2, to->port);
    put32(th + 4, seq);
    put32(th + 8, ack);
    th[12] = (TCP_HEADER / 4) << 4;
    th[13] = flags;
    put16(th + 16, packet_checksum(packet_pseudo_sum(&from->ip, &to->ip, PROTO_TCP, TCP_HEADER), th, TCP_HEADER));
    tun_write(st, &(struct iovec){ b, ihl + TCP_HEADER }, 1, 0, 0, 0, 0, 0);
}

/* A segment for nobody (RFC 9293 section 3.10.7.1). */
static void reset_unknown(struct stack *st, const struct packet *p, const struct endpoint *src, const struct endpoint *dst)
{
    uint8_t flags = p->l4[13];
    uint32_t len = p->l4_len - (p->l4[12] >> 4) * 4u;

    if ((flags & TCP_RST) || !bucket_take(st, &st->resets))
        return;
    if (flags & TCP_ACK)
        send_reset(st, dst, src, get32(p->l4 + 8), 0, TCP_RST);
    else
        send_reset(st, dst, src, 0, get32(p->l4 + 4) + len + !!(flags & TCP_SYN) + !!(flags & TCP_FIN), TCP_RST | TCP_ACK);
}

/* ---- in ---- */

static void to_lwip_addr(const struct addr *a, ip_addr_t *out)
{
    memset(out, 0, sizeof(*out));
    if (a->ver == 4) {
        IP_SET_TYPE_VAL(*out, IPADDR_TYPE_V4);
        memcpy(&ip_2_ip4(out)->addr, a->b, 4);
    } else {
        IP_SET_TYPE_VAL(*out, IPADDR_TYPE_V6);
        memcpy(ip_2_ip6(out)->addr, a->b, 16);
    }
}

static void rx_free(struct pbuf *p)
{
    pool_put(&the_stack->rx, container_of((struct pbuf_custom *)p, struct rxbuf, pc));
}

/* What comes too early stays with lwIP until the gap is filled: then as a copy of its own size, not in a buffer for 64 KiB. */
static struct pbuf *copy_of_early(const struct tcp_flow *f, const uint8_t *l4, uint32_t len)
{
    struct pbuf *p;

    if (!f->pcb || len >= COMPACT_BELOW || get32(l4 + 4) == f->pcb->rcv_nxt || !(p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM)))
        return NULL;
    memcpy(p->payload, l4, len);
    return p;
}

/* Makes a segment one that lwIP survives, and returns its length.
 *   options   it takes an MSS from any segment, and asserts that what is queued is no larger; after the SYN no option is of use
 *   window    what lies behind it is cut, but not of the first segment that comes too early, nor a FIN that came early and is moved to the end of another
 *             segment; and then it asserts that nothing lies behind. So such segments also leave room for a FIN */
static uint32_t defuse(const struct tcp_pcb *p, uint8_t *l4, uint32_t l4_len)
{
    uint32_t head = (l4[12] >> 4) * 4u, len = l4_len - head, may = p->rcv_nxt + p->rcv_wnd - get32(l4 + 4);
    bool fin = l4[13] & TCP_FIN, early = may != p->rcv_wnd || p->ooseq;

    memset(l4 + TCP_HEADER, 1, head - TCP_HEADER);
    if (may > INT32_MAX || len + (fin || early) <= may)
        return l4_len;
    l4[13] &= (uint8_t)~TCP_FIN;
    may -= early && may;
    return head + (len < may ? len : may);
}

/* Gives a segment to lwIP as if ip_input had; b is taken over. */
static void feed(struct tcp_flow *f, struct rxbuf *b, uint8_t *ip, uint8_t *l4, uint32_t l4_len)
{
    struct stack *st = f->st;
    struct pbuf *copy, *p;
    bool mine;

    if (f->pcb)
        l4_len = defuse(f->pcb, l4, l4_len);
    copy = copy_of_early(f, l4, l4_len);
    b->pc.custom_free_function = rx_free;
    p = copy ? copy : pbuf_alloced_custom(PBUF_RAW, (u16_t)l4_len, PBUF_REF, &b->pc, l4, (u16_t)l4_len);
    ip_data.current_netif = ip_data.current_input_netif = &st->netif;
    ip_data.current_ip4_header = f->dst.ip.ver == 4 ? (const struct ip_hdr *)ip : NULL;
    ip_data.current_ip6_header = f->dst.ip.ver == 6 ? (struct ip6_hdr *)ip : NULL;
    ip_data.current_ip_header_tot_len = (u16_t)(l4 - ip);
    to_lwip_addr(&f->src.ip, &ip_data.current_iphdr_src);
    to_lwip_addr(&f->dst.ip, &ip_data.current_iphdr_dest);
    mine = enter(f);
    tcp_input(p, &st->netif);
    send_fin(f);
    leave(f, mine);
    if (copy)
        pool_put(&st->rx, b);
}

static bool keep_syn(struct tcp_flow *f, const struct packet *p)
{
    uint32_t head = ip_header_len(p->dst.ver), l4 = (p->l4[12] >> 4) * 4u;
    uint8_t *copy = malloc(head + l4);

    if (!copy)
        return false;
    packet_put_ip(copy, &p->src, &p->dst, PROTO_TCP, l4, 0); /* options and extension headers are not needed again */
    memcpy(copy + head, p->l4, l4);                          /* nor are data in a SYN: they come again */
    if (!f->syn)
        f->st->n_held++;
    free(f->syn);
    f->syn = copy;
    f->syn_len = (uint16_t)(head + l4);
    f->syn_l4 = (uint16_t)head;
    return true;
}

static void new_flow(struct stack *st, const struct packet *p, const struct endpoint *src, const struct endpoint *dst)
{
    struct flow_meta m = { .net = FLOW_TCP, .via = FLOW_VIA_TUN, .dscp = packet_dscp(p), .in_name = flow_in_name(FLOW_VIA_TUN),
                           .src = *src, .orig = *dst, .dst.at = *dst };
    struct tcp_flow *f;

    if (st->n_held >= HELD_MAX)
        return; /* the client asks again */
    if (st->n_flows >= st->max_flows) {
        reset_unknown(st, p, src, dst);
        return;
    }
    if (!(f = calloc(1, sizeof(*f))))
        return;
    f->st = st;
    if (!keep_syn(f, p)) {
        free(f);
        return;
    }
    f->s.ops = &tcp_ops;
    f->src = *src;
    f->dst = *dst;
    f->rx_end = &f->rx;
    f->tx_limit = SEND_MIN;
    f->reap.cb = on_reap;
    list_init(&f->hot);
    list_init(&f->dirty);
    list_append(&st->all, &f->all);
    map_add(&st->flows, &f->node, key_hash(src, dst));
    f->mapped = true;
    st->n_flows++;
    st->sink->tcp(st->sink, &f->s, &m);
}

/* A packet for a flow whose SYN is held. */
static void held_packet(struct tcp_flow *f, const struct packet *p)
{
    uint8_t flags = p->l4[13];

    if (flags & TCP_RST) {
        drop_syn(f);
        unmap(f);
        f->err = -ECONNRESET;
        note(f, STREAM_READABLE | STREAM_WRITABLE | STREAM_FAILED);
    } else if ((flags & (TCP_SYN | TCP_ACK)) == TCP_SYN && memcmp(f->syn + f->syn_l4 + 4, p->l4 + 4, 4) != 0) {
        keep_syn(f, p);
    }
}

void tcp_packet(struct stack *st, struct rxbuf *b, const struct packet *p)
{
    struct endpoint src = { p->src, get16(p->l4) }, dst = { p->dst, get16(p->l4 + 2) };
    struct tcp_flow *f = find(st, &src, &dst);

    if (f && f->pcb) {
        feed(f, b, p->ip, p->l4, p->l4_len);
        if (f->rx_len >= TELL_BYTES && !list_empty(&f->dirty)) {
            list_del(&f->dirty);
            tell(f);
        }
        return;
    }
    if (f)
        held_packet(f, p);
    else if ((p->l4[13] & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN)
        new_flow(st, p, &src, &dst);
    else
        reset_unknown(st, p, &src, &dst);
    pool_put(&st->rx, b);
}

/* ---- the stream ---- */

static int tcp_do_accept(struct stream *s)
{
    struct tcp_flow *f = of(s);
    struct stack *st = f->st;
    struct rxbuf *b;

    if (f->err)
        return f->err;
    if (!f->syn)
        return 0;
    if (!(b = pool_get(&st->rx)))
        return -ENOMEM;
    memcpy(b->data + RX_IP, f->syn, f->syn_len);
    st->opening = f;
    st->listener->local_port = f->dst.port;
    feed(f, b, b->data + RX_IP, b->data + RX_IP + f->syn_l4, f->syn_len - f->syn_l4);
    st->listener->local_port = 0;
    st->opening = NULL;
    drop_syn(f);
    if (!f->pcb) {
        unmap(f); /* the client will ask again */
        f->err = f->err ? f->err : -ENOMEM;
    }
    return f->err;
}

static void orphan(struct tcp_flow *f)
{
    f->orphan = true;
    f->s.on_ready = NULL;
    list_del(&f->dirty);
    free_spare(f);
    reap_when_done(f);
}

static void tcp_do_refuse(struct stream *s, int err)
{
    struct tcp_flow *f = of(s);
    uint32_t seq;

    if (!f->syn) {
        s->ops->close(s, err);
        return;
    }
    seq = get32(f->syn + f->syn_l4 + 4);
    unmap(f);
    switch (err) {
    case -ERR_DROP: break;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -EACCES:
    case -ETIMEDOUT: icmp_error(f->st, &f->src.ip, &f->dst.ip, f->syn, f->syn_len, err); break;
    default: send_reset(f->st, &f->dst, &f->src, 0, seq + 1, TCP_RST | TCP_ACK); break;
    }
    drop_syn(f);
    orphan(f);
}

static int tcp_do_peek(struct stream *s, struct iovec *iov, int max)
{
    struct tcp_flow *f = of(s);
    int n = 0;

    for (struct pbuf *p = f->rx; p && n < max; p = p->next)
        if (p->len)
            iov[n++] = (struct iovec){ p->payload, p->len };
    if (n)
        return n;
    if (f->rx_eof)
        return -STREAM_EOF;
    if (f->err)
        return f->err;
    f->waits |= STREAM_READABLE;
    return 0;
}

static void tcp_do_more(struct stream *s)
{
    of(s)->waits |= STREAM_READABLE;
}

/* Opens lwIP's window by what was taken. */
static void open_window(struct tcp_flow *f, size_t n)
{
    bool mine = enter(f);

    while (n && f->pcb) {
        u16_t part = n > 65535 ? 65535 : (u16_t)n;

        tcp_recved(f->pcb, part);
        n -= part;
    }
    leave(f, mine);
}

static void tcp_do_consume(struct stream *s, size_t n)
{
    struct tcp_flow *f = of(s);
    size_t left = n;

    while (f->rx && left >= f->rx->len) {
        struct pbuf *p = f->rx;

        left -= p->len;
        if (!(f->rx = p->next))
            f->rx_end = &f->rx;
        p->next = NULL;
        pbuf_free(p);
    }
    if (left && f->rx) {
        f->rx->payload = (uint8_t *)f->rx->payload + left;
        f->rx->len = (u16_t)(f->rx->len - left);
        f->rx->tot_len = (u16_t)(f->rx->tot_len - left);
    }
    f->rx_len -= (uint32_t)n;
    f->st->buffers -= n;
    if (f->pcb)
        open_window(f, n);
}

static ssize_t tcp_do_read(struct stream *s, const struct iovec *iov, int n)
{
    struct iovec lent[16];
    int k = tcp_do_peek(s, lent, 16);
    size_t done;

    if (k <= 0)
        return k;
    done = iov_copy(iov, n, lent, k);
    tcp_do_consume(s, done);
    return (ssize_t)done;
}

static int tx_state(const struct tcp_flow *f)
{
    if (f->err)
        return f->err;
    return f->tx_shut || !f->pcb ? -EPIPE : 0;
}

static bool is_tight(const struct stack *st)
{
    return st->buffers > st->budget / 10 * 9;
}

static struct chunk *new_chunk(struct tcp_flow *f)
{
    struct stack *st = f->st;
    bool tight = is_tight(st);
    struct chunk *c = tight ? malloc(sizeof(*c) + SEND_TIGHT) : pool_get(&st->chunks);

    if (!c)
        return NULL;
    *c = (struct chunk){ .size = tight ? SEND_TIGHT : CHUNK_BYTES };
    st->buffers += sizeof(*c) + c->size;
    return c;
}

/* How much may be on its way: doubled when the upstream filled it twice without running dry in between. Not when memory is short; and when it is very short a little
 * at a time, so that nobody waits for ever. */
static uint32_t room(struct tcp_flow *f)
{
    if (is_tight(f->st))
        return f->tx_len ? 0 : SEND_TIGHT;
    if (f->tx_len < f->tx_limit)
        return f->tx_limit - f->tx_len;
    if (f->st->buffers > f->st->budget / 4 * 3) {
        f->tx_limit = SEND_MIN / 2;
        return 0;
    }
    if (++f->was_full < 2 || f->tx_limit >= SEND_MAX)
        return 0;
    f->was_full = 0;
    f->tx_limit *= 2;
    return f->tx_limit - f->tx_len;
}

/* How many bytes lwIP can take before its buffers, two a segment, are too many: only clients of tiny segments or windows ever get there. */
static uint32_t queue_room(const struct tcp_flow *f)
{
    uint32_t most = f->pcb->snd_wnd_max / 2, each = most < f->pcb->mss ? most : f->pcb->mss;

    return f->pcb->snd_queuelen < QUEUE_MAX ? (QUEUE_MAX - f->pcb->snd_queuelen) / 2 * each : 0;
}

static int tcp_do_reserve(struct stream *s, struct iovec *iov, int max)
{
    struct tcp_flow *f = of(s);
    int r = tx_state(f), n = 0;
    uint32_t left;
    struct chunk **at = &f->spare;

    if (r < 0)
        return r;
    left = room(f);
    left = left < queue_room(f) ? left : queue_room(f);
    if (!left) {
        f->waits |= STREAM_WRITABLE;
        return 0;
    }
    if (f->last && f->last->filled < f->last->size) {
        uint32_t k = f->last->size - f->last->filled < left ? f->last->size - f->last->filled : left;

        iov[n++] = (struct iovec){ f->last->data + f->last->filled, k };
        left -= k;
    }
    while (left && n < max && (*at || (*at = new_chunk(f)))) {
        uint32_t k = left < (*at)->size ? left : (*at)->size;

        iov[n++] = (struct iovec){ (*at)->data, k };
        left -= k;
        at = &(*at)->next;
    }
    if (!n)
        return -ENOMEM;
    return n;
}

/* Hands the next n bytes of a chunk to lwIP. */
static void send_part(struct tcp_flow *f, struct chunk *c, uint32_t n)
{
    uint8_t *from = c->data + c->filled;

    c->filled += n;
    f->tx_len += n;
    if (f->pcb && tcp_write(f->pcb, from, (u16_t)n, 0) != ERR_OK)
        f->err = f->err ? f->err : -ENOMEM; /* cannot be continued: a byte would be missing */
}

static void tcp_do_commit(struct stream *s, size_t n)
{
    struct tcp_flow *f = of(s);
    bool mine = enter(f);

    if (!n)
        f->was_full = 0; /* the upstream had nothing */
    if (f->last && f->last->filled < f->last->size && n) {
        uint32_t k = f->last->size - f->last->filled;

        k = k < n ? k : (uint32_t)n;
        send_part(f, f->last, k);
        n -= k;
    }
    while (n && f->spare) {
        struct chunk *c = f->spare;
        uint32_t k = n < c->size ? (uint32_t)n : c->size;

        f->spare = c->next;
        c->next = NULL;
        if (f->last)
            f->last->next = c;
        else
            f->first = c;
        f->last = c;
        send_part(f, c, k);
        n -= k;
    }
    if (f->err && f->pcb)
        tcp_abort(f->pcb);
    else if (f->pcb)
        tcp_output(f->pcb);
    leave(f, mine);
    free_spare(f);
}

static ssize_t tcp_do_write(struct stream *s, const struct iovec *iov, int n)
{
    struct iovec lent[4];
    int k;
    size_t done;

    if (!n)
        return 0;
    if ((k = tcp_do_reserve(s, lent, 4)) <= 0)
        return k;
    done = iov_copy(lent, k, iov, n);
    tcp_do_commit(s, done);
    if (done < iov_total(iov, n))
        of(s)->waits |= STREAM_WRITABLE;
    return (ssize_t)done;
}

static int tcp_do_shutdown(struct stream *s)
{
    struct tcp_flow *f = of(s);
    bool mine;

    if (f->err || f->tx_shut)
        return f->err;
    f->tx_shut = true;
    mine = enter(f);
    send_fin(f);
    leave(f, mine);
    return 0;
}

static void on_linger(struct timer *t);

/* Waits for the application to take the rest, as long as it goes on taking. */
static void linger(struct tcp_flow *f)
{
    f->linger_len = f->tx_len;
    f->linger.cb = on_linger;
    timer_set(f->st->loop, &f->linger, LINGER_MS);
}

static void on_linger(struct timer *t)
{
    struct tcp_flow *f = container_of(t, struct tcp_flow, linger);

    if (f->tx_len < f->linger_len) {
        linger(f);
        return;
    }
    log_dbg(LOG_TCP, "an application did not take the rest within %u s", LINGER_MS / 1000);
    abort_pcb(f);
}

static void tcp_do_close(struct stream *s, int err)
{
    struct tcp_flow *f = of(s);

    if (f->syn) {
        tcp_do_refuse(s, err ? err : -ECONNREFUSED);
        return;
    }
    if (err == -ETIMEDOUT && f->tx_shut && f->tx_len)
        err = 0; /* the owner waited long enough for the other direction; what it gave to this one is not yet taken */
    if (!err && !f->rx && f->pcb)
        tcp_do_shutdown(s);
    orphan(f);
    if (f->pcb && (err || f->rx))
        abort_pcb(f);
    else if (f->pcb)
        linger(f);
}

static const struct stream_ops tcp_ops = {
    .name = "lwip",
    .peek = tcp_do_peek,
    .more = tcp_do_more,
    .consume = tcp_do_consume,
    .read = tcp_do_read,
    .write = tcp_do_write,
    .reserve = tcp_do_reserve,
    .commit = tcp_do_commit,
    .shutdown = tcp_do_shutdown,
    .close = tcp_do_close,
    .accept = tcp_do_accept,
    .refuse = tcp_do_refuse,
};

uint16_t tcp_peer_mss(struct stack *st, const struct endpoint *app, const struct endpoint *peer)
{
    const struct tcp_flow *f = st->current ? st->current : find(st, app, peer); /* timers have no current flow */

    return f ? f->peer_mss : UINT16_MAX;
}
