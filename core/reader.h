/*
 * reader.h - bounded reading of untrusted bytes
 *
 * The error sticks: read all the facts, check rd_ok() once at the end. After an error every read gives zero. Nothing is copied.
 */
#ifndef CORE_READER_H
#define CORE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rd { const uint8_t *p, *end; bool bad; };
struct span { const uint8_t *p; size_t len; };

static inline struct rd rd_from(const void *buf, size_t len)
{
    const uint8_t *p = buf ? (const uint8_t *)buf : (const uint8_t *)""; /* nothing may be NULL; arithmetic on NULL may not */

    return (struct rd){ p, p + len, false };
}
static inline bool rd_ok(const struct rd *r)
{
    return !r->bad;
}
static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}
/* Lends the next n bytes; an empty span on error. */
static inline struct span rd_span(struct rd *r, size_t n)
{
    struct span s = { r->p, n };

    if (r->bad || rd_left(r) < n) {
        r->bad = true;
        return (struct span){ r->end, 0 };
    }
    r->p += n;
    return s;
}
static inline void rd_skip(struct rd *r, size_t n)
{
    rd_span(r, n);
}
static inline uint8_t rd_u8(struct rd *r)
{
    struct span s = rd_span(r, 1);

    return s.len ? s.p[0] : 0;
}
static inline uint16_t rd_be16(struct rd *r)
{
    struct span s = rd_span(r, 2);

    return s.len ? (uint16_t)(s.p[0] << 8 | s.p[1]) : 0;
}
static inline uint32_t rd_be32(struct rd *r)
{
    struct span s = rd_span(r, 4);

    return s.len ? (uint32_t)s.p[0] << 24 | (uint32_t)s.p[1] << 16 | (uint32_t)s.p[2] << 8 | s.p[3] : 0;
}
static inline uint64_t rd_be64(struct rd *r)
{
    struct span s = rd_span(r, 8);
    struct rd half = rd_from(s.p, s.len);
    uint64_t hi = rd_be32(&half);

    return hi << 32 | rd_be32(&half);
}

#endif
