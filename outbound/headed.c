/*
 * headed.c - a head in front of our bytes, maybe one in front of theirs
 *
 *   ──► head | bytes ...        ◄── (head) | bytes ...        behind the heads a call goes straight through
 */
#include "outbound/headed.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "core/layer.h"

struct headed {
    struct layer y;
    headed_answer_fn *answer;
    void *arg;
    uint8_t first[HEADED_FIRST], n_first;
    size_t len;
    uint8_t head[];
};

static struct headed *of(struct layer *y)
{
    return container_of(y, struct headed, y);
}

/* The head may go alone; it is over when our first bytes are known. */
static int headed_seal(struct layer *y, struct cursor *from)
{
    struct headed *h = of(y);
    struct cursor peek = *from;
    int r;

    h->n_first = (uint8_t)cursor_take(&peek, h->first, HEADED_FIRST);
    if (y->head && (r = layer_put(y, h->head, h->len)) < 0)
        return r;
    if (y->head)
        OPENSSL_cleanse(h->head, h->len);
    layer_added(y, cursor_take(from, layer_free(y), layer_room(y)));
    y->head = false;
    y->raw_out = h->n_first || !h->answer;
    return 0;
}

static int headed_open(struct layer *y, struct cursor *to)
{
    struct headed *h = of(y);
    size_t skip = 0;
    int r = y->n_in ? h->answer(h->arg, layer_wire(y), y->n_in, h->first, h->n_first, &skip) : 0;

    if (r <= 0)
        return r;
    layer_eat(y, skip);
    y->raw_in = true;
    return 1;
}

static int headed_eof(struct layer *y)
{
    struct headed *h = of(y);
    size_t none;

    return y->n_in ? -ERR_PROTO : h->answer(h->arg, NULL, 0, h->first, h->n_first, &none);
}

static void headed_fini(struct layer *y)
{
    OPENSSL_cleanse(of(y)->head, of(y)->len);
    free(of(y));
}

static const struct layer_ops headed_ops = {
    .stream = LAYER_STREAM("head"), .half = LAYER_FIN, .seal = headed_seal, .open = headed_open, .eof = headed_eof, .fini = headed_fini
};

int headed_new(struct loop *l, const uint8_t *head, size_t len, headed_answer_fn *answer, void *arg, struct stream *down,
               struct stream **up)
{
    struct headed *h = calloc(1, sizeof(*h) + len);

    if (!h)
        return -ENOMEM;
    h->answer = answer;
    h->arg = arg;
    h->len = len;
    memcpy(h->head, head, len);
    layer_init(&h->y, &headed_ops, l, down);
    h->y.head = true;
    h->y.raw_in = !answer;
    *up = &h->y.s;
    return 0;
}
