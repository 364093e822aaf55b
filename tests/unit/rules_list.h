/*
 * rules_list.h - a visitor that keeps entries as texts, and the tidying after which two lists that mean the same are the same
 */
#ifndef UNIT_RULES_LIST_H
#define UNIT_RULES_LIST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/set.h"

/* Entries as texts that can be sorted. */
struct list {
    struct set_visitor v;
    char **at;
    size_t n, cap;
};

static inline int list_add(struct list *s, const char *text, size_t len)
{
    if (s->n == s->cap)
        s->at = realloc(s->at, (s->cap = s->cap ? s->cap * 2 : 64) * sizeof(*s->at));
    return (s->at[s->n++] = strndup(text, len)) ? 0 : -1;
}

static inline void list_free(struct list *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->at[i]);
    free(s->at);
}

static inline int list_add_text(void *arg, const char *text, size_t len)
{
    return list_add(arg, text, len);
}

static inline int list_add_rule(void *arg, const char *text, size_t len, uint32_t line)
{
    return list_add(arg, text, len);
}

/* Family and bits, so that halves sort side by side and what is inside another begins like it. */
static inline int list_add_prefix(void *arg, const struct cidr *c)
{
    char text[140];
    size_t n = 0;

    text[n++] = (char)('0' + c->ip.ver);
    for (unsigned bit = 0; bit < c->len; bit++)
        text[n++] = c->ip.b[bit / 8] >> (7 - bit % 8) & 1 ? '1' : '0';
    return list_add(arg, text, n);
}

static inline int list_by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts, drops doubles and what is inside another, joins halves; so that it does not matter how addresses were cut. */
static inline void list_tidy_prefixes(struct list *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        char *p = s->at[i];

        if (n && !strncmp(s->at[n - 1], p, strlen(s->at[n - 1]))) {
            free(p);
            continue;
        }
        s->at[n++] = p;
        for (size_t len;
             n >= 2 && (len = strlen(s->at[n - 1])) > 1 && strlen(s->at[n - 2]) == len && !strncmp(s->at[n - 2], s->at[n - 1], len - 1);) {
            free(s->at[--n]);
            s->at[n - 1][len - 1] = 0;
        }
    }
    s->n = n;
}

static inline bool list_has(const struct list *s, const char *text)
{
    return s->n && bsearch(&text, s->at, s->n, sizeof(*s->at), list_by_text);
}

/* Drops doubles, and x where +.x is there too: the trie of an mrs file cannot tell. */
static inline void list_tidy_names(struct list *s)
{
    struct list kept = { 0 };

    for (size_t i = 0; i < s->n; i++) {
        char both[300];

        snprintf(both, sizeof(both), "+.%s", s->at[i]);
        if (!list_has(s, both) && (!kept.n || strcmp(kept.at[kept.n - 1], s->at[i]) != 0))
            list_add(&kept, s->at[i], strlen(s->at[i]));
    }
    list_free(s);
    s->at = kept.at;
    s->n = kept.n;
}

static inline void list_init(struct list *s)
{
    *s = (struct list){ .v = { s, list_add_text, list_add_text, list_add_text, list_add_prefix, list_add_rule } };
}

/* Makes two lists that mean the same be the same. */
static inline void list_tidy(struct list *s, enum set_behavior b)
{
    if (s->n)
        qsort(s->at, s->n, sizeof(*s->at), list_by_text);
    if (b == SET_IPCIDR)
        list_tidy_prefixes(s);
    else
        list_tidy_names(s);
}

static inline void list_check_equal(const char *stem, const struct list *a, const struct list *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (strcmp(a->at[i], b->at[i]) != 0)
            fail_msg("%s: %s here, %s there", stem, a->at[i], b->at[i]);
    assert_int_equal(a->n, b->n);
}

#endif
