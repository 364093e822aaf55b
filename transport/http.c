/*
 * http.c - HTTP/1 response heads, and the disguise that is nothing but heads
 *
 *   cloak:   our head | bytes ...          their head | bytes ...          after the heads a call goes straight through
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/layer.h"
#include "core/log.h"
#include "transport/transport.h"

/* ---- heads ---- */

/* Length up to and with the blank line, 0 while there is none. */
static size_t head_end(const char *b, size_t n)
{
    const char *at = b, *end = b + n;

    while ((at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if (at < end && *at == '\n')
            return (size_t)(at + 1 - b);
        if (end - at >= 2 && at[0] == '\r' && at[1] == '\n')
            return (size_t)(at + 2 - b);
    }
    return 0;
}

/* "HTTP/1.x NNN" followed by a blank or the end of the line, as far as the bytes go. */
static bool looks_right(const char *b, size_t n)
{
    static const char shape[] = "HTTP/1.# ###";

    for (size_t i = 0; i < n && i < sizeof(shape) - 1; i++)
        if (shape[i] == '#' ? b[i] < '0' || b[i] > '9' : b[i] != shape[i])
            return false;
    return n < sizeof(shape) || strchr(" \r\n", b[sizeof(shape) - 1]);
}

int http_head_parse(const void *bytes, size_t n, struct http_head *out)
{
    const char *b = bytes;
    size_t len;

    if (!looks_right(b, n))
        return -ERR_PROTO;
    len = head_end(b, n);
    if (len > HTTP_HEAD_MAX || (!len && n >= HTTP_HEAD_MAX) || memchr(b, 0, len ? len : n))
        return -ERR_PROTO;
    if (!len)
        return 0;
    out->status = (b[9] - '0') * 100 + (b[10] - '0') * 10 + (b[11] - '0');
    out->text = (struct span){ bytes, len };
    return 1;
}

static struct span trim(const char *from, const char *to)
{
    while (from < to && strchr(" \t", *from))
        from++;
    while (from < to && strchr(" \t\r", to[-1]))
        to--;
    return (struct span){ (const uint8_t *)from, (size_t)(to - from) };
}

bool http_head_find(const struct http_head *h, const char *name, struct span *value)
{
    const char *at = (const char *)h->text.p, *end = at + h->text.len, *next;
    size_t len = strlen(name);

    for (; (next = memchr(at, '\n', (size_t)(end - at))); at = next + 1) {
        if ((size_t)(next - at) <= len || at[len] != ':' || strncasecmp(at, name, len) != 0)
            continue;
        *value = trim(at + len + 1, next);
        return true;
    }
    return false;
}

bool http_has_word(const struct span *value, const char *word)
{
    const char *at = (const char *)value->p, *end = at + value->len, *comma;

    for (; at <= end; at = comma + 1) {
        struct span s;

        if (!(comma = memchr(at, ',', (size_t)(end - at))))
            comma = end;
        s = trim(at, comma);
        if (s.len == strlen(word) && !strncasecmp((const char *)s.p, word, s.len))
            return true;
    }
    return false;
}

/* Control bytes and line ends are blanks, and many of them one. */
const char *http_said(const struct http_head *h, char buf[HTTP_SAID])
{
    const uint8_t *at = h->text.p + sizeof("HTTP/1.1 NNN") - 1, *end = h->text.p + h->text.len;
    char text[101], safe[4 * sizeof(text)];
    size_t n = 0;

    for (; at < end && n < sizeof(text) - 1; at++)
        if (*at > ' ' && *at != 127)
            text[n++] = (char)*at;
        else if (n && text[n - 1] != ' ')
            text[n++] = ' ';
    while (n && text[n - 1] == ' ')
        n--;
    snprintf(buf, HTTP_SAID, n ? "status %d: %s" : "status %d", h->status, log_safe(text, n, safe, sizeof(safe)));
    return buf;
}

/* ---- the disguise ---- */

struct cloak {
    struct layer y;
    struct http_ear *ear;
    bool with_length;
    size_t len;
    char head[];
};

static struct cloak *of(struct layer *y)
{
    return container_of(y, struct cloak, y);
}

static int cloak_seal(struct layer *y, struct cursor *from)
{
    struct cloak *k = of(y);
    char rest[48];
    int n = 2;
    size_t body;

    if (k->with_length)
        n = snprintf(rest, sizeof(rest), "Content-Length: %zu\r\n\r\n", from->left);
    else
        memcpy(rest, "\r\n", 2);
    y->head = false;
    y->raw_out = true;
    if (layer_put(y, k->head, k->len) < 0 || layer_put(y, rest, (size_t)n) < 0)
        return -ENOBUFS;
    body = cursor_take(from, layer_free(y), layer_room(y));
    layer_added(y, body);
    return 0;
}

static int refused(struct http_ear *e, const struct http_head *h)
{
    char said[HTTP_SAID];

    if (e)
        e->refused(e, http_said(h, said));
    return -ERR_STATUS;
}

static int cloak_open(struct layer *y, struct cursor *to)
{
    struct http_head h;
    int r = http_head_parse(layer_wire(y), y->n_in, &h);

    if (r <= 0)
        return r;
    if (h.status >= 400) /* what follows is a page, and no bytes of the peer's */
        return refused(of(y)->ear, &h);
    layer_eat(y, h.text.len);
    y->raw_in = true;
    return 1;
}

static int cloak_eof(struct layer *y)
{
    return y->n_in ? -ERR_PROTO : -ERR_EARLY;
}

static void cloak_fini(struct layer *y)
{
    free(of(y));
}

static const struct layer_ops cloak_ops = {
    .stream = LAYER_STREAM("http"),
    .half = LAYER_FIN,
    .seal = cloak_seal,
    .open = cloak_open,
    .eof = cloak_eof,
    .fini = cloak_fini,
};

int http_cloak_start(const char *head, bool with_length, struct http_ear *ear, struct loop *l, struct stream *down, struct stream **up)
{
    size_t len = strlen(head);
    struct cloak *k = calloc(1, sizeof(*k) + len);

    if (!k)
        return -ENOMEM;
    memcpy(k->head, head, len);
    k->len = len;
    k->ear = ear;
    k->with_length = with_length;
    layer_init(&k->y, &cloak_ops, l, down);
    k->y.head = true;
    *up = &k->y.s;
    return 0;
}
