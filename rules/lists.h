/*
 * lists.h - sorted lists of atoms, each stored once
 *
 * What an index finds at a name or in a stretch of addresses is a list of the atoms that are true there. Hundreds of thousands of places
 * share a few dozen lists, so a list is made once and places hold its number.
 *
 *   item     atom << 4 | LAST on a list's last item | mask (what the place needs, domain.h)
 *   pool     all lists one behind the other, a word of the owner's before each; a list's number is where its items begin; 0 is the empty list
 *
 * While an index is built, a list is a *state*: the state it was made from and one more item. So adding costs the same whatever the
 * length, and adding the same items in the same order gives the same state. lists_close() makes the sorted list of a state.
 */
#ifndef RULES_LISTS_H
#define RULES_LISTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATOM_MAX  ((1u << 28) - 1)
#define LISTS_MAX (1u << 25) /* items of all lists: a profile of a stranger shall not take all memory */
#define ITEM_LAST 8u
#define ITEM_MASK 7u

struct lists {
    uint32_t *pool;
    uint32_t n, cap;
    bool failed; /* no memory, or full: every later call does nothing */
    bool full;   /* LISTS_MAX is reached */
    /* while building */
    struct state *states;
    uint32_t n_states, cap_states;
    uint32_t *by_step; /* hash of (state, item) -> state */
    uint32_t step_mask;
    uint32_t *by_content; /* hash of a closed list -> its number */
    uint32_t content_mask, n_closed;
    uint32_t *scratch, cap_scratch;
};

static inline uint32_t item_of(uint32_t atom, uint32_t mask)
{
    return atom << 4 | mask;
}
static inline uint32_t item_atom(uint32_t item)
{
    return item >> 4;
}

/* 0 or -ENOMEM. */
int lists_init(struct lists *l);
void lists_fini(struct lists *l);
/* State 0 is the empty list. */
uint32_t lists_add(struct lists *l, uint32_t state, uint32_t item);
/* The number of the sorted list without repetitions (masks of an atom are joined). */
uint32_t lists_close(struct lists *l, uint32_t state);
/* Calls fn for every list there is: its word, and its items. */
void lists_each(struct lists *l, void (*fn)(void *arg, uint32_t *word, const uint32_t *items), void *arg);
/* Drops what only building needs. */
void lists_finish(struct lists *l);

/* Makes room for one more element; false without memory. v is a pointer to the array. */
bool grow(void *v, uint32_t n, uint32_t *cap, size_t size);

#endif
