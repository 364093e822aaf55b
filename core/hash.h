/*
 * hash.h - SipHash-1-3 with a random key per process, for every table an outsider could fill
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* Hash of bytes under the process key (made at first use from getrandom). */
uint64_t hash_bytes(const void *p, size_t len);
/* SipHash-1-3 under a given key (J.-P. Aumasson, D. J. Bernstein: "SipHash: a fast short-input PRF"). */
uint64_t siphash13(const uint8_t key[16], const void *p, size_t len);
/* Fills with random bytes from the kernel; aborts when the kernel has none (it always has, once booted). */
void random_bytes(void *p, size_t len);

#endif
