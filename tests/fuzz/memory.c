/*
 * memory.c - memory under libFuzzer: what the address sanitizer sees, for less
 *
 * The shared 64 KiB buffers (core/buf.c). One from malloc for every use costs the sanitizer more than most parsers take: three times 8 KiB
 * of its shadow memory, and always another piece of it. Here are a few, dealt out in turn. One that is put is poisoned and goes to the end
 * of a queue, so a use after put is seen until as many others were put as the queue is long. One that is never put is a leak like any.
 *
 * Freed blocks. An input ends with everything freed, so none needs to be remembered for 256 MB of others; and what comes back soon is in the
 * cache still.
 */
#include <sanitizer/asan_interface.h>
#include <stdlib.h>

#include "core/pool.h"

#define QUEUE 8

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=8";
}

static uint8_t *queue[QUEUE];
static unsigned first, n;

uint8_t *buf_get(void)
{
    uint8_t *b = queue[first];

    if (n < QUEUE) /* the longer it waits, the more is seen */
        return malloc(BUF_SIZE + BUF_EXTRA);
    first = (first + 1) % QUEUE;
    n--;
    __asan_unpoison_memory_region(b, BUF_SIZE + BUF_EXTRA);
    return b;
}

void buf_put(uint8_t *b)
{
    if (!b)
        return;
    b[0] = 0; /* to put it twice is a use after put, too */
    if (n == QUEUE) {
        free(b);
        return;
    }
    __asan_poison_memory_region(b, BUF_SIZE + BUF_EXTRA);
    queue[(first + n++) % QUEUE] = b;
}

void buf_trim(void)
{
    for (; n; n--, first = (first + 1) % QUEUE)
        free(queue[first]);
}
