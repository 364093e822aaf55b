/*
 * blake3.h - BLAKE3 (J. O'Connor, J.-P. Aumasson, S. Neves, Z. Wilcox-O'Hearn: "BLAKE3: one function, fast everywhere"), hash and key
 * derivation
 *
 * For short inputs (keys and salts): plain C, one call, no state.
 */
#ifndef OUTBOUND_BLAKE3_H
#define OUTBOUND_BLAKE3_H

#include <stddef.h>
#include <stdint.h>

/* The first n bytes of the hash. */
void blake3_hash(const void *in, size_t len, uint8_t *out, size_t n);
/* The first n bytes of the key that the context (a constant text) derives from the material. */
void blake3_derive(const char *context, const void *material, size_t len, uint8_t *out, size_t n);

#endif
