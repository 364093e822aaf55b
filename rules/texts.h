/*
 * texts.h - the index of what may stand anywhere in a name: keywords, regular expressions, globs
 *
 * One automaton (Aho-Corasick) reads the name once and says which of all the texts occur in it. It carries the keywords, and of every
 * other pattern the longest piece of text that a match cannot do without; so nearly all regular expressions are never run.
 */
#ifndef RULES_TEXTS_H
#define RULES_TEXTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rules/regex.h"

enum text_kind {
    TEXT_KEYWORD, /* anywhere in the name */
    TEXT_REGEX,
    TEXT_GLOB,    /* the whole name; * is any run of bytes, ? is one */
    TEXT_LABELS   /* a domain pattern with * inside a label: `+.` `.` in front as usual, * never runs over a dot */
};

struct text {
    enum text_kind kind;
    bool asked; /* looks at the name the client asked for, never at the sniffed one */
    uint32_t atom;
    uint32_t at, len;   /* in the pool of texts */
    struct regex *re;
};

struct texts {
    struct text *text;
    uint32_t n, cap, n_asked, n_regex;
    char *pool;
    uint32_t n_pool, cap_pool;
    struct regex_room *room;
    /* the automaton: a row per state, an entry per class of bytes; entry 0 is where the row's hits begin */
    uint16_t class_of[256];
    uint32_t width, n_states;
    uint16_t *next;       /* one of the two */
    uint32_t *next_wide;
    struct text_hit *hit; /* chains; hit 0 is the end */
    uint32_t n_hits, cap_hits;
    uint32_t *always, n_always, cap_always; /* texts with nothing to look for */
};

void texts_init(struct texts *x);
void texts_fini(struct texts *x);
/* Text is copied; keywords and globs must be lower case. 0; -EINVAL: no regular expression, why says why; -ENOMEM. */
int texts_add(struct texts *x, enum text_kind kind, bool asked, const char *s, size_t len, uint32_t atom, char why[128]);
/* Makes the automaton. 0 or -ENOMEM. */
int texts_finish(struct texts *x);

/* Calls fn with the index of every text that may be true of the name: keywords are; of others texts_match() has to be asked. An index may
 * come more than once. */
typedef void text_fn(void *arg, uint32_t text);
void texts_scan(const struct texts *x, const char *host, size_t len, text_fn *fn, void *arg);
bool texts_match(const struct texts *x, uint32_t text, const char *host, size_t len);
size_t texts_bytes(const struct texts *x);

/* * is any run of bytes, also none; ? is exactly one. */
bool glob_matches(const char *pattern, size_t n, const char *s, size_t len);

#endif
