/*
 * arena.h - memory that dies together
 */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include <stddef.h>

struct arena_block;
struct arena { struct arena_block *head; size_t total; };

/* Zeroed, aligned for any object; NULL without memory. */
void *arena_alloc(struct arena *a, size_t n);
/* Copies len bytes and a NUL. */
char *arena_strdup(struct arena *a, const char *s, size_t len);
void arena_fini(struct arena *a);

#endif
