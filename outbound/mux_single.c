/*
 * mux_single.c - Mux.Cool with a single sub-connection, as v2ray-plugin speaks it under its WebSocket
 *
 *   length 2 | id 2, status, option, (new: network, port 2, address type, address) | data length 2 | data
 *
 * Ours: New (TCP, 127.0.0.1:0), then Keep frames, End with close. Theirs: Keep with data; KeepAlive is skipped; End is the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/layer.h"
#include "core/reader.h"
#include "outbound/obfs.h"

#define DATA_MAX 16384

enum { NEW = 1, KEEP, END, KEEP_ALIVE };
enum { WITH_DATA = 1 };

struct mux {
    struct layer y;
    uint32_t left; /* data of the frame that is being read */
    bool skip;     /* and it is nobody's */
    bool heard, ended;
};

static struct mux *of(struct layer *y)
{
    return container_of(y, struct mux, y);
}

static int mux_seal(struct layer *y, struct cursor *from)
{
    static const uint8_t begin[] = { 0, 12, 0, 0, NEW, 0, 1, 0, 0, 1, 127, 0, 0, 1 }, keep[] = { 0, 4, 0, 0, KEEP, WITH_DATA };
    int r = y->head ? layer_put(y, begin, sizeof(begin)) : 0;

    y->head = false;
    while (r == 0 && from->left && layer_room(y) > sizeof(keep) + 2) {
        uint8_t *out = layer_free(y);
        size_t room = layer_room(y) - sizeof(keep) - 2, n = cursor_take(from, out + sizeof(keep) + 2, room < DATA_MAX ? room : DATA_MAX);

        memcpy(out, keep, sizeof(keep));
        out[sizeof(keep)] = (uint8_t)(n >> 8);
        out[sizeof(keep) + 1] = (uint8_t)n;
        layer_added(y, sizeof(keep) + 2 + n);
    }
    return r;
}

static int mux_bye(struct layer *y)
{
    static const uint8_t end[] = { 0, 4, 0, 0, END, 0 };

    return layer_put(y, end, sizeof(end));
}

static int open_frame(struct mux *m)
{
    struct rd r = rd_from(layer_wire(&m->y), m->y.n_in), meta;
    struct span s = rd_span(&r, rd_be16(&r));
    uint8_t status, option;

    if (!rd_ok(&r))
        return 0;
    meta = rd_from(s.p, s.len);
    rd_skip(&meta, 2);
    status = rd_u8(&meta);
    option = rd_u8(&meta);
    if (!rd_ok(&meta) || status < NEW || status > KEEP_ALIVE)
        return -ERR_PROTO;
    m->left = option & WITH_DATA ? rd_be16(&r) : 0; /* 0, too, when it is not there yet */
    if (!rd_ok(&r))
        return 0;
    layer_eat(&m->y, (size_t)(r.p - layer_wire(&m->y)));
    m->heard = true;
    m->skip = status != KEEP;
    if (status != END)
        return 1;
    m->ended = true;
    return -STREAM_EOF;
}

static int mux_open(struct layer *y, struct cursor *to)
{
    struct mux *m = of(y);
    size_t n = y->n_in < m->left ? y->n_in : m->left, given;
    const uint8_t *b = layer_wire(y);

    if (!m->left)
        return open_frame(m);
    if (!n)
        return 0;
    layer_eat(y, n);
    m->left -= (uint32_t)n;
    if (m->skip)
        return 1;
    given = cursor_give(to, b, n);
    if (given < n)
        layer_lend(y, b + given, n - given);
    return 1;
}

static int mux_eof(struct layer *y)
{
    struct mux *m = of(y);

    if (y->n_in || m->left)
        return -ERR_PROTO;
    return m->heard ? -STREAM_EOF : -ERR_EARLY;
}

static void mux_fini(struct layer *y)
{
    free(of(y));
}

static const struct layer_ops mux_ops = { .stream = LAYER_STREAM("mux"),
                                          .half = LAYER_NOTHING,
                                          .seal = mux_seal,
                                          .open = mux_open,
                                          .bye = mux_bye,
                                          .eof = mux_eof,
                                          .fini = mux_fini };

int mux_single_new(struct loop *l, struct stream *down, struct stream **up)
{
    struct mux *m = calloc(1, sizeof(*m));

    if (!m)
        return -ENOMEM;
    layer_init(&m->y, &mux_ops, l, down);
    m->y.head = true;
    *up = &m->y.s;
    return 0;
}
