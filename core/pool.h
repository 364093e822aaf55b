/*
 * pool.h - fixed-size objects with a free list
 *
 * Get and put cost O(1). At most max_free freed objects are kept for reuse; the rest go back to malloc.
 */
#ifndef CORE_POOL_H
#define CORE_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool {
    size_t size;        /* of one object, >= sizeof(void *) */
    uint32_t max_free, n_free, n_used;
    void *free;
};

void pool_init(struct pool *p, size_t size, uint32_t max_free);
void pool_fini(struct pool *p); /* frees the kept ones; used ones are the caller's leak */
void *pool_get(struct pool *p); /* not zeroed; NULL without memory */
void pool_put(struct pool *p, void *obj);

/* The shared pool of 64 KiB buffers (buf.c) for whoever needs one for a moment (relay, ciphers, sockets). Behind BUF_SIZE there is room for
 * the tag of the longest record that a 16-bit length can announce. */
#define BUF_SIZE  65536u
#define BUF_EXTRA 64u
uint8_t *buf_get(void);
void buf_put(uint8_t *b);
void buf_trim(void); /* gives all kept buffers back; at exit, and for leak checks */

#endif
