/*
 * memory.c - memory under libFuzzer: what the address sanitizer sees, for less
 *
 * The shared 64 KiB buffers (core/buf.c). One from malloc for every use costs the sanitizer more than most parsers take: three times 8 KiB
 * of its shadow memory, and always another piece of it. Here are a few, dealt out in turn. One that is put is poisoned, as far as an input
 * can have filled it, and goes to the end of a queue; so a use after put is seen until as many others were put as the queue is long. One
 * that is never put is a leak like any.
 *
 * What OpenSSL allocates, a thousand blocks for a handshake: blocks of a few sizes, kept and poisoned while they are free. Those that get
 * lost are missing here and taken from malloc anew, so a leak is a leak still, told with the stack of whoever had the block first.
 *
 * Freed blocks. An input ends with everything freed, so none needs to be remembered for 256 MB of others; and what comes back soon is in
 * the cache still.
 */
#include <malloc.h>
#include <openssl/crypto.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "core/pool.h"

#define QUEUE    8
#define POISONED 16384

const char *__asan_default_options(void);
__attribute__((weak)) const char *__asan_default_options(void) /* a target may know better */
{
    return "quarantine_size_mb=8";
}

/* ---- buffers ---- */

static uint8_t *queue[QUEUE];
static unsigned first, n_queued;

uint8_t *buf_get(void)
{
    uint8_t *b = queue[first];

    if (n_queued < QUEUE) /* the longer it waits, the more is seen */
        return malloc(BUF_SIZE + BUF_EXTRA);
    first = (first + 1) % QUEUE;
    n_queued--;
    __asan_unpoison_memory_region(b, POISONED);
    return b;
}

void buf_put(uint8_t *b)
{
    if (!b)
        return;
    b[0] = 0; /* to put it twice is a use after put, too */
    if (n_queued == QUEUE) {
        free(b);
        return;
    }
    __asan_poison_memory_region(b, POISONED);
    queue[(first + n_queued++) % QUEUE] = b;
}

void buf_trim(void)
{
    for (; n_queued; n_queued--, first = (first + 1) % QUEUE)
        free(queue[first]);
}

/* ---- what OpenSSL allocates ---- */

#define CLASSES 12 /* 32 bytes, 64, ... 64 KiB; larger ones are malloc's */
#define SIZE(c) ((size_t)32 << (c))

struct block {
    struct block *next;
    size_t class;
    uint8_t b[];
};

static struct block *blocks[CLASSES];

static void *ssl_malloc(size_t n, const char *file, int line)
{
    size_t c = n <= SIZE(0) ? 0 : n > SIZE(CLASSES - 1) ? CLASSES : (size_t)(64 - 5 - __builtin_clzl(n - 1));
    struct block *k;

    if (c < CLASSES && (k = blocks[c])) {
        blocks[c] = k->next;
        k->next = NULL; /* the leak check follows what is left in it */
        __asan_unpoison_memory_region(k->b, n + !n);
        return k->b;
    }
    if (!(k = malloc(sizeof(*k) + (c < CLASSES ? SIZE(c) : n))))
        return NULL;
    *k = (struct block){ .class = c };
    return k->b;
}

static struct block *block_of(void *p)
{
    return (struct block *)((uint8_t *)p - offsetof(struct block, b));
}

static void ssl_free(void *p, const char *file, int line)
{
    struct block *k;

    if (!p)
        return;
    k = block_of(p);
    k->b[0] = 0; /* as in buf_put() */
    if (k->class == CLASSES) {
        free(k);
        return;
    }
    __asan_poison_memory_region(k->b, SIZE(k->class));
    k->next = blocks[k->class];
    blocks[k->class] = k;
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line)
{
    struct block *k;
    size_t had;
    void *q;

    if (!p)
        return ssl_malloc(n, file, line);
    k = block_of(p);
    had = k->class < CLASSES ? SIZE(k->class) : malloc_usable_size(k) - sizeof(*k);
    if (!(q = ssl_malloc(n, file, line)))
        return NULL;
    __asan_unpoison_memory_region(p, had);
    memcpy(q, p, had < n ? had : n);
    ssl_free(p, file, line);
    return q;
}

__attribute__((constructor)) static void ssl_memory(void)
{
    if (CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free) != 1)
        abort();
}
