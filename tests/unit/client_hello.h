/*
 * client_hello.h - makes ClientHellos, and QUIC packets around them (quic_initial.h)
 */
#ifndef UNIT_CLIENT_HELLO_H
#define UNIT_CLIENT_HELLO_H

#include "tests/unit/quic_initial.h"

/* A ClientHello as browsers send it: GREASE in ciphers and extensions, big key shares before or after the name, ECH. */
static inline void put_extension(struct out *o, unsigned type, const void *p, size_t n)
{
    put_be(o, 2, type);
    put_be(o, 2, (uint32_t)n);
    put(o, p, n);
}

static inline void put_server_name(struct out *o, unsigned kind, const char *name)
{
    struct out list = { .len = 0 };

    put_be(&list, 2, (uint32_t)strlen(name) + 3);
    put_be(&list, 1, kind);
    put_be(&list, 2, (uint32_t)strlen(name));
    put(&list, name, strlen(name));
    put_extension(o, 0, list.b, list.len);
}

static inline void hello(struct out *o, const char *name, size_t padding)
{
    static uint8_t zero[17000];
    static struct out ext, body;

    ext.len = body.len = o->len = 0;
    put_extension(&ext, 0x1a1a, "", 0); /* GREASE */
    put_extension(&ext, 51, zero, padding);
    put_extension(&ext, 0xfe0d, "\0\0\1\0\1\x10", 6); /* encrypted ClientHello, or what looks like one */
    if (name)
        put_server_name(&ext, 0, name);
    put_extension(&ext, 16, "\0\3\2h2", 5);
    put_extension(&ext, 0xdada, "\0", 1);
    put_be(&body, 2, 0x303);
    put(&body, zero, 32);
    put_be(&body, 1, 32);
    put(&body, zero, 32);
    put_be(&body, 2, 4);
    put(&body, "\x8a\x8a\x13\1", 4);
    put_be(&body, 1, 1);
    put_be(&body, 1, 0);
    put_be(&body, 2, (uint32_t)ext.len);
    put(&body, ext.b, ext.len);
    put_be(o, 1, 1);
    put_be(o, 3, (uint32_t)body.len);
    put(o, body.b, body.len);
}

/* A CRYPTO frame with a piece of a message. */
static inline void put_crypto(struct out *o, const struct out *message, size_t at, size_t len)
{
    put_be(o, 1, 6);
    put_be(o, 4, 0x80000000u | (uint32_t)at);
    put_be(o, 2, 0x4000u | (uint32_t)len);
    put(o, message->b + at, len);
}

#endif
