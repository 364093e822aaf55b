/*
 * grpc.c - bytes as gRPC messages with one field: what "gun" sends through /NAME/Tun
 *
 *   00 | length, 4 bytes | 0a | varint n | n bytes          both ways, on an HTTP/2 stream
 *
 * Borders of messages mean nothing; a message may have the field several times (MultiHunk), or not at all. Payload is handed out as it
 * comes, whatever a message's length says, so no length is ever allocated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/layer.h"
#include "transport/transport.h"

#define MESSAGE_MAX 32768 /* payload of ours */
#define HEAD_MAX    (5 + 1 + 3)
#define FIELD       0x0a /* number 1, bytes */

struct grpc {
    struct layer y;
    uint32_t message, payload; /* bytes left of the message, and of the field in it */
};

static struct grpc *of(struct layer *y)
{
    return container_of(y, struct grpc, y);
}

/* ---- writing ---- */

static size_t put_varint(uint8_t *out, size_t n)
{
    size_t len = 0;

    for (; n >= 0x80; n >>= 7)
        out[len++] = (uint8_t)(n | 0x80);
    out[len++] = (uint8_t)n;
    return len;
}

static size_t put_head(uint8_t *out, size_t n)
{
    size_t len = 6 + put_varint(out + 6, n);
    uint32_t message = (uint32_t)(len - 5 + n);

    out[0] = 0;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (uint8_t)(message >> (24 - 8 * i));
    out[5] = FIELD;
    return len;
}

static int grpc_seal(struct layer *y, struct cursor *from)
{
    while (from->left && layer_room(y) > HEAD_MAX) {
        size_t n = layer_room(y) - HEAD_MAX, head;

        n = n < MESSAGE_MAX ? n : MESSAGE_MAX;
        n = n < from->left ? n : from->left;
        head = put_head(layer_free(y), n);
        cursor_take(from, layer_free(y) + head, n);
        layer_added(y, head + n);
    }
    return 0;
}

/* ---- reading ---- */

static int read_message(struct grpc *g)
{
    struct rd r = rd_from(layer_wire(&g->y), g->y.n_in);
    uint8_t compressed = rd_u8(&r);

    g->message = rd_be32(&r);
    if (g->y.n_in && compressed)
        return -ERR_PROTO;
    if (!rd_ok(&r))
        return 0;
    layer_eat(&g->y, 5);
    return 1;
}

/* Tag and length of a field; both within the message. */
static int read_field(struct grpc *g)
{
    struct rd r = rd_from(layer_wire(&g->y), g->y.n_in < g->message ? g->y.n_in : g->message);
    uint8_t tag = rd_u8(&r), b = 0x80;
    uint64_t n = 0;
    size_t head;

    for (unsigned shift = 0; (b & 0x80) && shift < 35; shift += 7) {
        b = rd_u8(&r);
        n |= (uint64_t)(b & 0x7f) << shift;
    }
    if (g->y.n_in && tag != FIELD)
        return -ERR_PROTO;
    if (!rd_ok(&r))
        return g->y.n_in < g->message ? 0 : -ERR_PROTO; /* the message ends in its field's head */
    head = (size_t)(r.p - layer_wire(&g->y));
    if ((b & 0x80) || n > g->message - head)
        return -ERR_PROTO;
    layer_eat(&g->y, head);
    g->message -= (uint32_t)head;
    g->payload = (uint32_t)n;
    return 1;
}

static int read_payload(struct grpc *g, struct cursor *to)
{
    size_t n = g->y.n_in < g->payload ? g->y.n_in : g->payload, given;
    const uint8_t *b = layer_wire(&g->y);

    if (!n)
        return 0;
    layer_eat(&g->y, n);
    g->message -= (uint32_t)n;
    g->payload -= (uint32_t)n;
    given = cursor_give(to, b, n);
    if (given < n)
        layer_lend(&g->y, b + given, n - given);
    return 1;
}

static int grpc_open(struct layer *y, struct cursor *to)
{
    struct grpc *g = of(y);

    if (g->payload)
        return read_payload(g, to);
    return g->message ? read_field(g) : read_message(g);
}

static int grpc_eof(struct layer *y)
{
    struct grpc *g = of(y);

    return y->n_in || g->message ? -ERR_PROTO : -STREAM_EOF;
}

static void grpc_fini(struct layer *y)
{
    free(of(y));
}

static const struct layer_ops grpc_ops = {
    .stream = LAYER_STREAM("grpc"),
    .half = LAYER_NOTHING,
    .seal = grpc_seal,
    .open = grpc_open,
    .eof = grpc_eof,
    .fini = grpc_fini,
};

int grpc_start(struct loop *l, struct stream *down, struct stream **up)
{
    struct grpc *g = calloc(1, sizeof(*g));

    if (!g)
        return -ENOMEM;
    layer_init(&g->y, &grpc_ops, l, down);
    *up = &g->y.s;
    return 0;
}
