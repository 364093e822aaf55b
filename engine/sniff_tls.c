/*
 * sniff_tls.c - the server name of a TLS ClientHello
 *
 *   record   22 | version 2 | length 2 | a piece of the handshake message
 *   message  1 | length 3 | version 2 | random 32 | session id <1> | ciphers <2> | compression <1> | extensions <2>
 *   extension 0    list <2>: kind 1 = 0 (a host) | name <2>
 *
 * <n>: that many bytes of length in front. A message may be cut into records anywhere, and a record into segments; pieces are put together
 * in a buffer on the stack, and what is not there yet is asked for. Fields and extensions that nobody knows (GREASE, RFC 8701) are stepped
 * over.
 *
 * The name is looked for in what is there, so it is found before the end of a long message has come.
 */
#include <string.h>

#include "core/reader.h"
#include "engine/sniff_private.h"

enum { HANDSHAKE = 22, CLIENT_HELLO = 1, SERVER_NAME = 0, HOST_NAME = 0 };

enum sniff sniff_host(const uint8_t *s, size_t len, char host[HOST_MAX + 1])
{
    char name[HOST_MAX + 1];
    struct addr a;

    if (host_normalise((const char *)s, len, name) < 0 || addr_parse(name, &a) == 0)
        return SNIFF_NOT;
    for (const char *c = name; *c; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= '0' && *c <= '9') && *c != '-' && *c != '.' && *c != '_')
            return SNIFF_NOT;
    memcpy(host, name, strlen(name) + 1);
    return SNIFF_NAME;
}

static enum sniff server_name(struct span ext, char host[HOST_MAX + 1])
{
    struct rd r = rd_from(ext.p, ext.len);

    rd_skip(&r, 2); /* length of the list */
    while (rd_left(&r)) {
        uint8_t kind = rd_u8(&r);
        struct span name = rd_span(&r, rd_be16(&r));

        if (!rd_ok(&r))
            return SNIFF_NOT;
        if (kind == HOST_NAME)
            return sniff_host(name.p, name.len, host);
    }
    return SNIFF_NOT;
}

enum sniff sniff_hello(const uint8_t *p, size_t len, char host[HOST_MAX + 1])
{
    struct rd r = rd_from(p, len);
    uint32_t head = rd_be32(&r), total = head & 0xffffff;
    enum sniff missing; /* what it means when bytes run out */
    struct rd ext;
    size_t ext_len;

    if (len && p[0] != CLIENT_HELLO)
        return SNIFF_NOT;
    if (!rd_ok(&r))
        return SNIFF_MORE;
    if (total > SNIFF_MAX - 4)
        return SNIFF_NOT;
    missing = rd_left(&r) < total ? SNIFF_MORE : SNIFF_NOT;
    if (rd_left(&r) > total)
        r.end = r.p + total;
    rd_skip(&r, 34);
    rd_skip(&r, rd_u8(&r));
    rd_skip(&r, rd_be16(&r));
    rd_skip(&r, rd_u8(&r));
    ext_len = rd_be16(&r);
    if (!rd_ok(&r))
        return missing;
    ext = rd_from(r.p, rd_left(&r) < ext_len ? rd_left(&r) : ext_len);
    while (rd_left(&ext) || rd_left(&r) < ext_len) {
        uint16_t type = rd_be16(&ext);
        struct span body = rd_span(&ext, rd_be16(&ext));

        if (!rd_ok(&ext))
            return missing;
        if (type == SERVER_NAME)
            return server_name(body, host);
    }
    return SNIFF_NOT;
}

enum sniff sniff_tls(const void *bytes, size_t len, char host[HOST_MAX + 1])
{
    struct rd r = rd_from(bytes, len < SNIFF_MAX ? len : SNIFF_MAX);
    uint8_t message[SNIFF_MAX];
    size_t have = 0;
    enum sniff s;

    while (rd_left(&r)) {
        uint8_t type = rd_u8(&r), major = rd_left(&r) ? rd_u8(&r) : 3;
        struct span piece;
        size_t n;

        if (type != HANDSHAKE || major != 3) {
            if (!have)
                return SNIFF_NOT;
            break; /* what follows the message */
        }
        rd_skip(&r, 1);
        n = rd_be16(&r);
        piece = rd_span(&r, n < rd_left(&r) ? n : rd_left(&r)); /* the record may not be here whole */
        if (!rd_ok(&r))
            break;
        memcpy(message + have, piece.p, piece.len);
        have += piece.len;
    }
    s = sniff_hello(message, have, host);
    return s == SNIFF_MORE && len >= SNIFF_MAX ? SNIFF_NOT : s;
}
