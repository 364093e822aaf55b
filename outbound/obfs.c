/*
 * obfs.c - the disguises of simple-obfs
 *
 *   tls:  ──► a ClientHello whose session ticket is the first bytes | 17 0303 length bytes | 17 0303 length bytes ...
 *         ◄── a ServerHello record (96) | a ChangeCipherSpec record (6) | 16 0303 length bytes | 17 0303 length bytes ...
 *
 * Nothing in it is secret or checked: it is Shadowsocks below that is. Sizes and constants are those of the original, so that its server
 * takes it.
 */
#include "outbound/obfs.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"
#include "core/layer.h"
#include "core/reader.h"

/* ---- http ---- */

void obfs_http_head(const char *host, uint16_t port, char out[OBFS_HEAD_MAX])
{
    uint8_t key[16], versions[2];
    char text[32], suffix[8] = "";

    random_bytes(key, sizeof(key));
    random_bytes(versions, sizeof(versions));
    EVP_EncodeBlock((uint8_t *)text, key, sizeof(key));
    if (port != 80)
        snprintf(suffix, sizeof(suffix), ":%u", port);
    snprintf(out, OBFS_HEAD_MAX,
             "GET / HTTP/1.1\r\nHost: %.255s%s\r\nUser-Agent: curl/7.%u.%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: %s\r\n",
             host, suffix, versions[0] % 54u, versions[1] % 2u, text);
}

/* ---- tls ---- */

#define RECORD_MAX 16384
#define TICKET_MAX 1400
#define HELLO      (96 + 6) /* of the server: two records that carry nothing */

struct obfs {
    struct layer y;
    bool heard;    /* the server's hello is through */
    uint32_t left; /* of the record that is being read */
    char host[256];
};

static struct obfs *of(struct layer *y)
{
    return container_of(y, struct obfs, y);
}

static uint8_t *put_be(uint8_t *out, size_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    return out + bytes;
}

static uint8_t *put(uint8_t *out, const void *b, size_t n)
{
    memcpy(out, b, n);
    return out + n;
}

static const uint8_t suites[56] = {
    0xc0, 0x2c, 0xc0, 0x30, 0x00, 0x9f, 0xcc, 0xa9, 0xcc, 0xa8, 0xcc, 0xaa, 0xc0, 0x2b, 0xc0, 0x2f, 0x00, 0x9e, 0xc0,
    0x24, 0xc0, 0x28, 0x00, 0x6b, 0xc0, 0x23, 0xc0, 0x27, 0x00, 0x67, 0xc0, 0x0a, 0xc0, 0x14, 0x00, 0x39, 0xc0, 0x09,
    0xc0, 0x13, 0x00, 0x33, 0x00, 0x9d, 0x00, 0x9c, 0x00, 0x3d, 0x00, 0x3c, 0x00, 0x35, 0x00, 0x2f, 0x00, 0xff,
};
static const uint8_t last_extensions[66] = {
    0x00, 0x0b, 0x00, 0x04, 0x03, 0x01, 0x00, 0x02,                                     /* point formats */
    0x00, 0x0a, 0x00, 0x0a, 0x00, 0x08, 0x00, 0x1d, 0x00, 0x17, 0x00, 0x19, 0x00, 0x18, /* groups */
    0x00, 0x0d, 0x00, 0x20, 0x00, 0x1e, 0x06, 0x01, 0x06, 0x02, 0x06, 0x03, 0x05, 0x01, 0x05, 0x02, 0x05, 0x03,
    0x04, 0x01, 0x04, 0x02, 0x04, 0x03, 0x03, 0x01, 0x03, 0x02, 0x03, 0x03, 0x02, 0x01, 0x02, 0x02, 0x02, 0x03, /* signatures */
    0x00, 0x16, 0x00, 0x00, 0x00, 0x17, 0x00, 0x00, /* encrypt-then-MAC, extended master secret */
};

/* The hello around its ticket: writes what comes before, then the ticket, then what comes behind. Returns its length. */
static size_t put_hello(uint8_t *out, const char *host, const uint8_t *ticket, size_t n)
{
    size_t name = strlen(host);
    uint8_t *at = out, random[28 + 32];

    random_bytes(random, sizeof(random));
    at = put(at, (uint8_t[]){ 0x16, 3, 1 }, 3);
    at = put_be(at, 212 + n + name, 2);
    at = put(at, (uint8_t[]){ 1, 0 }, 2);
    at = put_be(at, 208 + n + name, 2);
    at = put(at, (uint8_t[]){ 3, 3 }, 2);
    at = put_be(at, (size_t)time(NULL), 4);
    at = put(at, random, 28);
    at = put(at, (uint8_t[]){ 32 }, 1);
    at = put(at, random + 28, 32);
    at = put_be(at, sizeof(suites), 2);
    at = put(at, suites, sizeof(suites));
    at = put(at, (uint8_t[]){ 1, 0 }, 2);
    at = put_be(at, 79 + n + name, 2);
    at = put_be(at, 0x0023, 2);
    at = put_be(at, n, 2);
    at = put(at, ticket, n);
    at = put_be(at, 0x0000, 2);
    at = put_be(at, name + 5, 2);
    at = put_be(at, name + 3, 2);
    at = put(at, (uint8_t[]){ 0 }, 1);
    at = put_be(at, name, 2);
    at = put(at, host, name);
    return (size_t)(put(at, last_extensions, sizeof(last_extensions)) - out);
}

static void seal_hello(struct obfs *o, struct cursor *from)
{
    uint8_t ticket[TICKET_MAX];
    size_t n = cursor_take(from, ticket, sizeof(ticket));

    layer_added(&o->y, put_hello(layer_free(&o->y), o->host, ticket, n));
}

static int obfs_seal(struct layer *y, struct cursor *from)
{
    if (y->head)
        seal_hello(of(y), from);
    y->head = false;
    while (from->left && layer_room(y) > 5) {
        uint8_t *out = layer_free(y);
        size_t n = layer_room(y) - 5 < RECORD_MAX ? layer_room(y) - 5 : RECORD_MAX;

        n = cursor_take(from, out + 5, n);
        put_be(put(out, (uint8_t[]){ 0x17, 3, 3 }, 3), n, 2);
        layer_added(y, 5 + n);
    }
    return 0;
}

/* The two records without content, of fixed size. */
static int open_hello(struct obfs *o)
{
    const uint8_t *b = layer_wire(&o->y);

    if (o->y.n_in && b[0] != 0x16)
        return -ERR_PROTO;
    if (o->y.n_in < HELLO)
        return 0;
    if (b[96] != 0x14)
        return -ERR_PROTO;
    layer_eat(&o->y, HELLO);
    o->heard = true;
    return 1;
}

static int open_record(struct obfs *o)
{
    struct rd r = rd_from(layer_wire(&o->y), o->y.n_in);
    uint8_t type = rd_u8(&r);
    uint16_t len;

    rd_skip(&r, 2);
    len = rd_be16(&r);
    if (o->y.n_in && type != 0x16 && type != 0x17)
        return -ERR_PROTO;
    if (!rd_ok(&r))
        return 0;
    layer_eat(&o->y, 5);
    o->left = len;
    return 1;
}

static int obfs_open(struct layer *y, struct cursor *to)
{
    struct obfs *o = of(y);
    size_t n = y->n_in < o->left ? y->n_in : o->left, given;
    const uint8_t *b = layer_wire(y);

    if (!o->heard)
        return open_hello(o);
    if (!o->left)
        return open_record(o);
    if (!n)
        return 0;
    layer_eat(y, n);
    o->left -= (uint32_t)n;
    given = cursor_give(to, b, n);
    if (given < n)
        layer_lend(y, b + given, n - given);
    return 1;
}

static int obfs_eof(struct layer *y)
{
    struct obfs *o = of(y);

    if (y->n_in || o->left)
        return -ERR_PROTO;
    return o->heard ? -STREAM_EOF : -ERR_EARLY;
}

static void obfs_fini(struct layer *y)
{
    free(of(y));
}

static const struct layer_ops obfs_ops = {
    .stream = LAYER_STREAM("obfs"), .half = LAYER_FIN, .seal = obfs_seal, .open = obfs_open, .eof = obfs_eof, .fini = obfs_fini
};

int obfs_tls_new(struct loop *l, const char *host, struct stream *down, struct stream **up)
{
    struct obfs *o = calloc(1, sizeof(*o));

    if (!o)
        return -ENOMEM;
    snprintf(o->host, sizeof(o->host), "%s", host);
    layer_init(&o->y, &obfs_ops, l, down);
    o->y.head = true;
    *up = &o->y.s;
    return 0;
}
