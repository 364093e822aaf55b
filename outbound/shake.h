/*
 * shake.h - SHAKE128 (FIPS 202), squeezed bit by bit, which OpenSSL 3.0 cannot
 */
#ifndef OUTBOUND_SHAKE_H
#define OUTBOUND_SHAKE_H

#include <stddef.h>
#include <stdint.h>

#define SHAKE128_RATE 168

struct shake {
    uint64_t lanes[25];
    uint8_t block[SHAKE128_RATE]; /* of output */
    uint8_t at;                   /* used of it */
};

/* Absorbs len < SHAKE128_RATE bytes: all the input there is. */
void shake128_init(struct shake *s, const void *in, size_t len);
/* The next n bytes of output. */
void shake128_squeeze(struct shake *s, uint8_t *out, size_t n);

#endif
