/*
 * digest.h - short digests in one call
 */
#ifndef OUTBOUND_DIGEST_H
#define OUTBOUND_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum digest { DIGEST_MD5, DIGEST_SHA224, DIGEST_SHA256, DIGEST_N };
#define DIGEST_MAX 32

/* The digest of n bytes, and of m more if more is not NULL; out gets 16, 28 or 32 bytes and may overlap them. 0, or -ERR_UNSUPPORTED when
 * the library has no such digest. */
int digest(enum digest id, const void *b, size_t n, const void *more, size_t m, uint8_t *out);

#endif
