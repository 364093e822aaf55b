/*
 * set_private.h - what the formats of a set share: the way of one entry to the visitor
 */
#ifndef RULES_SET_PRIVATE_H
#define RULES_SET_PRIVATE_H

#include <stdbool.h>

#include "rules/set.h"

struct set_reader {
    const struct set_visitor *v;
    struct set_stats *st;
    enum set_behavior b;
    uint32_t line; /* of the entry at hand; 0 = the format has no lines */
};

/* Each hands one entry to the visitor, checked and counted, and returns 0 or the visitor's negative code. */
int set_put(struct set_reader *r, const char *s, size_t len);        /* text; its shape says what it is */
int set_put_domain(struct set_reader *r, const char *s, size_t len); /* a pattern in any letter case */
int set_put_suffix(struct set_reader *r, const char *s, size_t len); /* a name that stands for itself and all below it */
int set_put_keyword(struct set_reader *r, const char *s, size_t len);
int set_put_regex(struct set_reader *r, const char *s, size_t len);
/* Counts an entry (s, for the message) by what the visitor said of it. */
int set_given(struct set_reader *r, const char *s, size_t len, int result);
/* Counts an entry that is of no use. Returns 0. */
int set_bad(struct set_reader *r, const char *s, size_t len, const char *why);

/* The formats. 0, -EBADMSG with st->error set, -ENOMEM, -ERR_LIMIT, or the visitor's code. */
int set_read_yaml(struct set_reader *r, const char *p, const char *end);
int set_read_mrs(struct set_reader *r, const void *bytes, size_t len);

/* The visitor's word on one prefix; counts nothing. */
static inline int set_visit_prefix(const struct set_reader *r, const struct cidr *c)
{
    return r->v->prefix ? r->v->prefix(r->v->arg, c) : SET_BAD;
}
/* Skips blanks and tabs; cuts them, and a CR, off the end. */
static inline const char *set_skip(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}
static inline const char *set_cut(const char *p, const char *end)
{
    while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    return end;
}
static inline bool set_is(const char *s, size_t len, const char *word)
{
    return __builtin_strlen(word) == len && !__builtin_memcmp(s, word, len);
}

#endif
