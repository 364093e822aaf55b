/*
 * rules_seen.h - a visitor that writes down what it is given: "d:+.x.com k:ads r:^a$ p:10.0.0.0/8 3:UID,0 "
 */
#ifndef UNIT_RULES_SEEN_H
#define UNIT_RULES_SEEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/set.h"

struct seen {
    struct set_visitor v;
    char *text;
    size_t len, cap, calls;
    int answer;  /* of every callback ... */
    size_t from; /* ... from this call on */
};

static inline int seen_add(struct seen *w, const char *mark, const char *s, size_t len)
{
    size_t need = w->len + strlen(mark) + len + 2;

    if (need > w->cap)
        w->text = realloc(w->text, w->cap = need * 2);
    w->len += (size_t)sprintf(w->text + w->len, "%s%.*s ", mark, (int)len, s);
    return w->calls++ >= w->from ? w->answer : 0;
}

static inline int seen_domain(void *arg, const char *s, size_t len)
{
    return seen_add(arg, "d:", s, len);
}

static inline int seen_keyword(void *arg, const char *s, size_t len)
{
    return seen_add(arg, "k:", s, len);
}

static inline int seen_regex(void *arg, const char *s, size_t len)
{
    return seen_add(arg, "r:", s, len);
}

static inline int seen_prefix(void *arg, const struct cidr *c)
{
    char a[ADDR_STRLEN], text[ADDR_STRLEN + 4];
    int n = snprintf(text, sizeof(text), "%s/%u", addr_str(&c->ip, a), c->len);

    return seen_add(arg, "p:", text, (size_t)n);
}

static inline int seen_rule(void *arg, const char *s, size_t len, uint32_t line)
{
    char mark[16];

    snprintf(mark, sizeof(mark), "%u:", line);
    return seen_add(arg, mark, s, len);
}

/* Freed with free(w->text). */
static inline void seen_init(struct seen *w)
{
    *w = (struct seen){ .v = { w, seen_domain, seen_keyword, seen_regex, seen_prefix, seen_rule } };
    seen_add(w, "", "", 0);
    w->len = w->calls = 0;
    *w->text = 0;
}

#endif
