/*
 * ws.c - WebSocket as a layer, and the HTTP upgrade that borrows its handshake
 *
 *   ──► GET path HTTP/1.1, Upgrade: websocket      ◄── 101 Switching Protocols       then, both ways,
 *
 *   | FIN, opcode | mask?, length 7 / 16 / 64 bits | mask (client only) | bytes ^ mask |
 *
 * Borders of messages mean nothing here: what data frames carry is one stream. A ping is answered, a close frame is the end. Our frames are
 * binary, at most 32 KiB, each with a random mask. An upgrade is the same handshake without the Sec-WebSocket headers and bare bytes after
 * it.
 *
 * The request is made at once, but for two things that may wait for the first bytes: early data, which rides in the request (base64url, in
 * a header or at the end of the path), and a fast upgrade, where the first bytes follow it in a write of their own. Then the layer is open
 * at once; with early data it is on hold again from the request until the server's word. Whoever opened it is done by then, so the time
 * that the word may take is limited here.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/hash.h"
#include "core/layer.h"
#include "core/log.h"
#include "transport/transport.h"

#define FRAME_MAX   32768
#define FRAME_HEAD  8 /* of ours: 2, length 2, mask 4 */
#define CONTROL_MAX 125
#define EARLY_MAX   8192 /* what any server may be asked to take in a header */
#define ANSWER_MS   10000
#define GUID        "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

enum opcode { WS_MORE, WS_TEXT, WS_BINARY, WS_CLOSE = 8, WS_PING, WS_PONG };

struct ws {
    struct layer y;
    bool answered, upgrade;
    struct http_ear *ear;
    size_t early_max;
    uint64_t left;                /* payload bytes of the frame that is being read */
    char accept[29];              /* what the server must answer to our key */
    char *before, *early, *after; /* the request, and the header for what rides in the middle (NULL: bare); until it is sent */
    struct timer limit;           /* from then until it is answered */
};

static struct ws *of(struct layer *y)
{
    return container_of(y, struct ws, y);
}

/* ---- the request ---- */

static void base64url(const uint8_t *in, size_t n, char *out)
{
    size_t len = (size_t)EVP_EncodeBlock((uint8_t *)out, in, (int)n);

    while (len && out[len - 1] == '=')
        len--;
    out[len] = 0;
    for (size_t i = 0; i < len; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
}

static void make_key(char key[25], char accept[29])
{
    uint8_t nonce[16], sum[EVP_MAX_MD_SIZE];
    char text[24 + sizeof(GUID)];

    random_bytes(nonce, sizeof(nonce));
    EVP_EncodeBlock((uint8_t *)key, nonce, sizeof(nonce));
    snprintf(text, sizeof(text), "%s" GUID, key);
    EVP_Digest(text, strlen(text), sum, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock((uint8_t *)accept, sum, 20);
}

/* A blank would end the path. */
static void put_path(FILE *f, const char *path)
{
    for (; *path; path++)
        fprintf(f, (uint8_t)*path <= ' ' ? "%%%02X" : "%c", (uint8_t)*path);
}

/* Does the request have it anyway? */
static bool is_ours(const struct ws_config *c, const char *name)
{
    static const char *const ours[] = { "Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key" };

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!strcasecmp(name, ours[i]))
            return true;
    return c->early_max && !c->upgrade && c->early_header && !strcasecmp(name, c->early_header);
}

static void put_fields(FILE *f, const struct ws_config *c, const char *key)
{
    fprintf(f, " HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", c->host);
    if (!c->upgrade)
        fprintf(f, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", key);
    for (unsigned i = 0; i < c->n_fields; i++)
        if (!is_ours(c, c->fields[i].name))
            fprintf(f, "%s: %s\r\n", c->fields[i].name, c->fields[i].value);
}

/* The request with a gap for early data: behind the path, or where one more header goes. */
static int make_request(struct ws *w, const struct ws_config *c)
{
    size_t size;
    char key[25];
    FILE *f;

    make_key(key, w->accept);
    if (c->early_header && !(w->early = strdup(c->early_header)))
        return -ENOMEM;
    if (!(f = open_memstream(&w->before, &size)))
        return -ENOMEM;
    fputs("GET ", f);
    put_path(f, c->path);
    if (w->early)
        put_fields(f, c, key);
    if (fclose(f) != 0 || !(f = open_memstream(&w->after, &size)))
        return -ENOMEM;
    if (!w->early)
        put_fields(f, c, key);
    fputs("\r\n", f);
    return fclose(f) == 0 ? 0 : -ENOMEM;
}

static void forget_request(struct ws *w)
{
    free(w->before);
    free(w->early);
    free(w->after);
    w->before = w->early = w->after = NULL;
}

static int put_text(struct ws *w, const char *s)
{
    return layer_put(&w->y, s, strlen(s));
}

static int put_early(struct ws *w, struct cursor *from)
{
    char text[EARLY_MAX / 3 * 4 + 8];
    uint8_t early[EARLY_MAX];
    size_t n = cursor_take(from, early, w->early_max);
    int r = 0;

    if (!n)
        return 0;
    base64url(early, n, text);
    if (w->early && (r = put_text(w, w->early)) == 0)
        r = put_text(w, ": ");
    if (r == 0)
        r = put_text(w, text);
    return r == 0 && w->early ? put_text(w, "\r\n") : r;
}

static int put_request(struct ws *w, struct cursor *from)
{
    int r;

    w->y.head = false;
    if ((r = put_text(w, w->before)) == 0 && (r = put_early(w, from)) == 0)
        r = put_text(w, w->after);
    forget_request(w);
    timer_set(w->y.loop, &w->limit, ANSWER_MS);
    return r;
}

/* ---- the answer ---- */

static void on_limit(struct timer *t)
{
    layer_fail(&container_of(t, struct ws, limit)->y, -ERR_SILENT);
}

static int refused(const struct ws *w, const struct http_head *h)
{
    char said[HTTP_SAID];

    log_dbg(LOG_OUT, "ws: %s", http_said(h, said));
    if (w->ear)
        w->ear->refused(w->ear, http_said(h, said));
    return -ERR_STATUS;
}

static bool says(const struct http_head *h, const char *name, const char *word)
{
    struct span v;

    return http_head_find(h, name, &v) && http_has_word(&v, word);
}

static int read_answer(struct ws *w)
{
    struct http_head h;
    int r = http_head_parse(layer_wire(&w->y), w->y.n_in, &h);

    if (r <= 0)
        return r;
    if (h.status != 101)
        return refused(w, &h);
    if (!says(&h, "Upgrade", "websocket") || !says(&h, "Connection", "upgrade"))
        return -ERR_PROTO;
    if (!w->upgrade && !says(&h, "Sec-WebSocket-Accept", w->accept))
        return -ERR_PROTO;
    layer_eat(&w->y, h.text.len);
    w->answered = true;
    timer_cancel(&w->limit);
    w->y.hold = false;
    w->y.raw_in = w->upgrade;
    return 1;
}

/* ---- frames ---- */

static void mask(uint8_t *b, size_t n, const uint8_t key[4])
{
    uint64_t word, twice;

    memcpy(&twice, key, 4);
    memcpy((uint8_t *)&twice + 4, key, 4);
    for (; n >= 8; b += 8, n -= 8) {
        memcpy(&word, b, 8);
        word ^= twice;
        memcpy(b, &word, 8);
    }
    for (size_t i = 0; i < n; i++)
        b[i] ^= key[i & 3];
}

/* Writes a frame's head; returns its length. */
static size_t put_head(uint8_t *out, enum opcode op, size_t n, uint8_t key[4])
{
    size_t len = 2;

    random_bytes(key, 4);
    out[0] = (uint8_t)(0x80 | op);
    out[1] = (uint8_t)(0x80 | (n < 126 ? n : 126));
    if (n >= 126) {
        out[len++] = (uint8_t)(n >> 8);
        out[len++] = (uint8_t)n;
    }
    memcpy(out + len, key, 4);
    return len + 4;
}

static int put_control(struct layer *y, enum opcode op, const uint8_t *b, size_t n)
{
    uint8_t frame[FRAME_HEAD + CONTROL_MAX], key[4];
    size_t head = put_head(frame, op, n, key);

    if (n)
        memcpy(frame + head, b, n);
    mask(frame + head, n, key);
    return layer_put(y, frame, head + n);
}

static void put_data(struct layer *y, struct cursor *from)
{
    size_t n = layer_room(y) - FRAME_HEAD, head;
    uint8_t *out = layer_free(y), key[4];

    n = n < FRAME_MAX ? n : FRAME_MAX;
    n = n < from->left ? n : from->left;
    head = put_head(out, WS_BINARY, n, key);
    cursor_take(from, out + head, n);
    mask(out + head, n, key);
    layer_added(y, head + n);
}

static int ws_seal(struct layer *y, struct cursor *from)
{
    struct ws *w = of(y);
    int r = y->head ? put_request(w, from) : 0;

    if (y->raw_out) /* what follows goes straight through, and by itself: many a server forgets what it has read along with the request */
        return r;
    if (r == 0 && !w->answered)
        y->hold = true;
    while (r == 0 && !y->hold && from->left && layer_room(y) > FRAME_HEAD)
        put_data(y, from);
    return r;
}

/* A whole frame of at most CONTROL_MAX bytes. */
static int on_control(struct layer *y, enum opcode op, const uint8_t *b, size_t n)
{
    int r;

    switch (op) {
    case WS_CLOSE: return -STREAM_EOF;
    case WS_PING:
        r = put_control(y, WS_PONG, b, n);
        return r == -ENOBUFS ? 1 : r < 0 ? r : 1; /* when we cannot even send that, it is one of many */
    case WS_PONG: return 1;
    default: return -ERR_PROTO;
    }
}

static int read_frame(struct layer *y)
{
    struct rd r = rd_from(layer_wire(y), y->n_in);
    uint8_t b0 = rd_u8(&r), b1 = rd_u8(&r);
    uint64_t n = b1 == 126 ? rd_be16(&r) : b1 == 127 ? rd_be64(&r) : b1;
    enum opcode op = b0 & 0x0f;
    const uint8_t *body = r.p;
    size_t head = (size_t)(body - layer_wire(y));

    if (y->n_in >= 2 && ((b0 & 0x70) || (b1 & 0x80))) /* extensions and masks are not for servers to choose */
        return -ERR_PROTO;
    if (!rd_ok(&r))
        return 0;
    if (op <= WS_BINARY) {
        if (n > INT32_MAX)
            return -ERR_PROTO;
        layer_eat(y, head);
        of(y)->left = n;
        return 1;
    }
    if (!(b0 & 0x80) || n > CONTROL_MAX)
        return -ERR_PROTO;
    if (rd_left(&r) < n)
        return 0;
    layer_eat(y, head + (size_t)n);
    return on_control(y, op, body, (size_t)n);
}

static int read_payload(struct layer *y, struct cursor *to)
{
    struct ws *w = of(y);
    size_t n = y->n_in < w->left ? y->n_in : (size_t)w->left, given;
    const uint8_t *b = layer_wire(y);

    if (!n)
        return 0;
    layer_eat(y, n);
    w->left -= n;
    given = cursor_give(to, b, n);
    if (given < n)
        layer_lend(y, b + given, n - given);
    return 1;
}

static int ws_open(struct layer *y, struct cursor *to)
{
    struct ws *w = of(y);
    struct cursor none = { 0 };

    if (y->hold && y->head)
        return put_request(w, &none) < 0 ? -ENOBUFS : 1;
    if (!w->answered)
        return read_answer(w);
    return w->left ? read_payload(y, to) : read_frame(y);
}

static int ws_bye(struct layer *y)
{
    static const uint8_t normal[] = { 0x03, 0xe8 }; /* 1000 */

    return of(y)->upgrade ? 0 : put_control(y, WS_CLOSE, normal, sizeof(normal));
}

static int ws_eof(struct layer *y)
{
    struct ws *w = of(y);

    if (!w->answered)
        return y->n_in ? -ERR_PROTO : -ERR_EARLY;
    return y->n_in || w->left ? -ERR_PROTO : -STREAM_EOF;
}

static void ws_fini(struct layer *y)
{
    timer_cancel(&of(y)->limit);
    forget_request(of(y));
    free(of(y));
}

#define WS_OPS(half_)                                                                                                                      \
    {                                                                                                                                      \
        .stream = LAYER_STREAM("ws"), .half = half_, .seal = ws_seal, .open = ws_open, .bye = ws_bye, .eof = ws_eof, .fini = ws_fini       \
    }
static const struct layer_ops ws_ops = WS_OPS(LAYER_NOTHING), upgrade_ops = WS_OPS(LAYER_FIN);

int ws_start(const struct ws_config *c, struct loop *l, struct stream *down, struct stream **up)
{
    struct ws *w = calloc(1, sizeof(*w));
    int r = w ? make_request(w, c) : -ENOMEM;

    if (r < 0) {
        if (w)
            forget_request(w);
        free(w);
        return r;
    }
    w->limit.cb = on_limit;
    w->ear = c->ear;
    w->upgrade = c->upgrade;
    w->early_max = c->upgrade ? 0 : c->early_max < EARLY_MAX ? c->early_max : EARLY_MAX;
    layer_init(&w->y, c->upgrade ? &upgrade_ops : &ws_ops, l, down);
    w->y.head = true;
    w->y.raw_out = c->upgrade;
    *up = &w->y.s;
    if (w->early_max || (c->upgrade && c->fast))
        return 1;
    layer_start(&w->y);
    return 0;
}
