/*
 * relay.h - pumps two streams into each other
 *
 * Both directions, with back-pressure and half-close: EOF on one side becomes shutdown on the other once everything was taken; the second
 * EOF ends it. When one side takes no more bytes, what it had said before is still passed on; then that ends it. A direction moves at most
 * RELAY_BUDGET bytes per turn, then yields. Bytes go by the cheapest way both ends offer: read into reserved memory, write of lent pieces,
 * else through a pooled buffer that is kept only while the writer is full.
 */
#ifndef CORE_RELAY_H
#define CORE_RELAY_H

#include "core/loop.h"
#include "core/stream.h"

#define RELAY_BUDGET         (1u << 20)
#define RELAY_HALF_CLOSED_MS 120000 /* one side closed and not a byte for this long: end */

struct relay;
struct relay_dir {
    struct stream *from, *to;
    uint64_t bytes; /* moved so far */
    uint8_t *keep;  /* pooled buffer with bytes the writer did not take */
    uint32_t keep_off, keep_len;
    bool eof, shut; /* from said EOF; to was told */
    int cut;        /* why to takes no more, or 0 */
};

struct relay {
    struct loop *loop;
    struct relay_dir up, down; /* up: local -> remote */
    struct timer half;         /* half-closed and silent */
    struct job again;          /* a budget was used up */
    struct job first, end;
    uint64_t half_bytes; /* moved when half was armed */
    int err;
    bool running;
    /* Once, from a job: both ends are finished (0) or one failed; the streams are still open, the owner closes them. */
    void (*done)(struct relay *r, int err);
    void (*progress)(struct relay *r, unsigned up, unsigned down); /* optional: bytes moved just now */
};

/* Starts pumping; the streams stay the caller's, their on_ready/owner are taken over. Never calls back from inside. *r is zero but for
 * progress. */
void relay_start(struct relay *r, struct loop *l, struct stream *local, struct stream *remote, void (*done)(struct relay *, int));
/* Stops without closing anything; no callback after; the streams have no owner then. Harmless when not running, also on a zeroed r and
 * after the streams are gone. */
void relay_stop(struct relay *r);

#endif
