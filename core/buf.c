/*
 * buf.c - the shared 64 KiB buffers: a pool like any
 *
 * A file of its own, so that fuzz targets can have others (tests/fuzz/memory.c).
 */
#include "core/pool.h"

static struct pool buffers = { .size = BUF_SIZE + BUF_EXTRA, .max_free = 8 };

uint8_t *buf_get(void)
{
    return pool_get(&buffers);
}

void buf_put(uint8_t *b)
{
    pool_put(&buffers, b);
}

void buf_trim(void)
{
    pool_fini(&buffers);
}
