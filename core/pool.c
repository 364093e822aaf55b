/*
 * pool.c - free lists of fixed-size objects
 *
 *   free ──► object ──► object ──► NULL       the link lies in the first bytes of a free object
 *
 * Under the address sanitizer nothing is kept, so that it sees every use after put.
 */
#include "core/pool.h"

#include <stdbool.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* gcc says it, clang is asked */
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
static const bool keep_none = true;
#else
static const bool keep_none = false;
#endif

void pool_init(struct pool *p, size_t size, uint32_t max_free)
{
    *p = (struct pool){ .size = size < sizeof(void *) ? sizeof(void *) : size, .max_free = max_free };
}

void pool_fini(struct pool *p)
{
    while (p->free) {
        void *obj = p->free;

        p->free = *(void **)obj;
        free(obj);
    }
    p->n_free = 0;
}

void *pool_get(struct pool *p)
{
    void *obj = p->free;

    if (obj) {
        p->free = *(void **)obj;
        p->n_free--;
    } else if (!(obj = malloc(p->size))) {
        return NULL;
    }
    p->n_used++;
    return obj;
}

void pool_put(struct pool *p, void *obj)
{
    if (!obj)
        return;
    p->n_used--;
    if (keep_none || p->n_free >= p->max_free) {
        free(obj);
        return;
    }
    *(void **)obj = p->free;
    p->free = obj;
    p->n_free++;
}
