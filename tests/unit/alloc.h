/*
 * alloc.h - memory that runs out when a test says so, and is counted; one per program
 *
 * Whoever includes this is linked with --wrap for malloc and its relatives (tests/CMakeLists.txt): all of our code, lwIP too, allocates
 * through here; shared libraries do not. The test's own memory goes by raw_malloc() and is not counted.
 */
#ifndef TESTS_ALLOC_H
#define TESTS_ALLOC_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static struct {
    unsigned long n;        /* allocations so far */
    unsigned long from, to; /* these fail; 0 = none */
    unsigned n_failed;
    size_t bytes; /* in use */
} alloc;

#define ALLOC_ALL (~0ul >> 1)
/* From now on the nth and those behind it, so many in all, fail. nth 0: none. */
static inline void alloc_fail(unsigned long nth, unsigned long so_many)
{
    alloc.from = nth ? alloc.n + nth : 0;
    alloc.to = nth ? alloc.from + so_many - 1 : 0;
    alloc.n_failed = 0;
}

static bool alloc_refused(void)
{
    bool refuse = ++alloc.n >= alloc.from && alloc.n <= alloc.to;

    alloc.n_failed += refuse;
    return refuse;
}

static void *alloc_count(void *p)
{
    alloc.bytes += malloc_usable_size(p);
    return p;
}

void *__wrap_malloc(size_t n)
{
    return alloc_refused() ? NULL : alloc_count(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return alloc_refused() ? NULL : alloc_count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n)
{
    if (alloc_refused())
        return NULL;
    alloc.bytes -= malloc_usable_size(p);
    return alloc_count(__real_realloc(p, n));
}

void __wrap_free(void *p)
{
    alloc.bytes -= malloc_usable_size(p);
    __real_free(p);
}

#define raw_malloc(n)    __real_malloc(n)
#define raw_calloc(n, s) __real_calloc(n, s)
#define raw_free(p)      __real_free(p)

#endif
