/*
 * arena.c - blocks of memory that are freed together
 *
 *   head ──► block being filled ──► full ones and big ones ──► NULL
 *
 * What is bigger than a quarter of a block gets a block of its own behind the head, so that the rest of the head is not wasted. Pieces are
 * never given back one by one; all die in arena_fini().
 */
#include "core/arena.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 16384

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char data[];
};

static struct arena_block *add_block(struct arena *a, size_t need)
{
    size_t size = need > BLOCK / 4 ? need : BLOCK;
    struct arena_block *b = calloc(1, sizeof(*b) + size);

    if (!b)
        return NULL;
    b->size = size;
    a->total += size;
    if (size == need && a->head) { /* a big one: keep filling the current block */
        b->next = a->head->next;
        a->head->next = b;
    } else {
        b->next = a->head;
        a->head = b;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
    struct arena_block *b = a->head;
    void *p;

    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if ((!b || b->size - b->used < n) && !(b = add_block(a, n)))
        return NULL;
    p = b->data + b->used;
    b->used += n;
    return p;
}

char *arena_strdup(struct arena *a, const char *s, size_t len)
{
    char *p = arena_alloc(a, len + 1);

    if (p && len)
        memcpy(p, s, len);
    return p;
}

void arena_fini(struct arena *a)
{
    while (a->head) {
        struct arena_block *b = a->head;

        a->head = b->next;
        free(b);
    }
    a->total = 0;
}
