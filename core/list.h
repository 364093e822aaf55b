/*
 * list.h - intrusive doubly linked circular list
 *
 * The node is a member of the object it links; container_of() gets the object back. A node that is in no
 * list points at itself (list_init), so removing twice is harmless. Nothing here allocates.
 */
#ifndef CORE_LIST_H
#define CORE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

struct list_head {
    struct list_head *next, *prev;
};

static inline void list_init(struct list_head *n)
{
    n->next = n->prev = n;
}

static inline bool list_empty(const struct list_head *h)
{
    return h->next == h;
}

static inline void list_insert_between(struct list_head *n, struct list_head *a, struct list_head *b)
{
    n->prev = a;
    n->next = b;
    a->next = n;
    b->prev = n;
}

/* Puts n first in the list h. n must be in no list. */
static inline void list_push(struct list_head *h, struct list_head *n)
{
    list_insert_between(n, h, h->next);
}

/* Puts n last in the list h. n must be in no list. */
static inline void list_append(struct list_head *h, struct list_head *n)
{
    list_insert_between(n, h->prev, h);
}

/* Takes n out of whatever list it is in; n is then in no list. */
static inline void list_del(struct list_head *n)
{
    n->next->prev = n->prev;
    n->prev->next = n->next;
    list_init(n);
}

/* First node, or NULL when the list is empty. */
static inline struct list_head *list_first(const struct list_head *h)
{
    return h->next == h ? NULL : h->next;
}

/* Moves all nodes of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list_head *to, struct list_head *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* Walks the list; the current node may be removed by the body, others may not. */
/* NOLINTNEXTLINE(bugprone-macro-parentheses): n and tmp are names that it declares */
#define list_each_safe(n, tmp, h) for (struct list_head *n = (h)->next, *tmp = n->next; n != (h); n = tmp, tmp = n->next)

#endif
