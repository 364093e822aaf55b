/*
 * outbound_loaded.h - a profile loaded as outbounds, what was said about it, and where its groups lead
 */
#ifndef TESTS_OUTBOUND_LOADED_H
#define TESTS_OUTBOUND_LOADED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outbound/outbound.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct out_env env;

struct loaded {
    struct diag d;
    struct out_set *s;
};

/* foreign: a stranger wrote it */
static inline void load_of(struct loaded *l, const char *yaml, bool foreign)
{
    const struct cfg_input in = { .name = "test.yaml", .bytes = yaml, .len = strlen(yaml), .foreign = foreign };
    struct profile *p;

    diag_init(&l->d, in.name, yaml, in.len, false);
    p = profile_read(&in, NULL, &l->d);
    if (!p)
        diag_print(&l->d, stderr, false);
    assert_non_null(p);
    l->s = out_set_new(p, &env, &l->d);
    assert_non_null(l->s);
}

static inline void load(struct loaded *l, const char *yaml)
{
    load_of(l, yaml, false);
}

static inline void unload(struct loaded *l)
{
    out_set_put(l->s);
    diag_fini(&l->d);
}

/* How many messages have this code and contain the text. */
static inline unsigned said(const struct loaded *l, const char *code, const char *text)
{
    unsigned n = 0;

    for (size_t i = 0; i < l->d.n; i++)
        n += !strcmp(l->d.items[i].code, code) && strstr(l->d.items[i].message, text);
    return n;
}

/* "A > B > C": the way from a name to its leaf. */
static inline const char *way(struct loaded *l, const char *name, char buf[256])
{
    struct outbound *chain[OUT_CHAIN_MAX];
    int n = out_resolve(out_find(l->s, name), NULL, chain);
    size_t at = 0;

    buf[0] = 0;
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(buf + at, 256 - at, "%s%s", i ? " > " : "", chain[i]->name);
    return buf;
}

static inline void assert_members(struct loaded *l, const char *group, const char *const names[], size_t n)
{
    struct outbound *g = out_find(l->s, group);

    assert_non_null(g);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(out_member(g, (uint32_t)i));
        assert_string_equal(out_member(g, (uint32_t)i)->name, names[i]);
    }
    assert_null(out_member(g, (uint32_t)n));
}

/* The message with that code that contains the text; fails when there is not exactly one. */
static inline const struct diag_item *the_one(const struct loaded *l, const char *code, const char *text)
{
    const struct diag_item *found = NULL;
    unsigned n = 0;

    for (size_t i = 0; i < l->d.n; i++)
        if (!strcmp(l->d.items[i].code, code) && strstr(l->d.items[i].message, text)) {
            found = &l->d.items[i];
            n++;
        }
    if (n != 1)
        for (size_t i = 0; i < l->d.n; i++)
            fprintf(stderr, "%u:%u %s: %s\n", l->d.items[i].line, l->d.items[i].column, l->d.items[i].code, l->d.items[i].message);
    assert_int_equal(n, 1);
    return found;
}

/* Line and column (from 1) of the first occurrence of a text in the profile. */
static inline void place_of(const char *yaml, const char *text, uint32_t *line, uint32_t *col)
{
    const char *at = strstr(yaml, text);

    assert_non_null(at);
    *line = *col = 1;
    for (const char *c = yaml; c < at; c++) {
        *col = *c == '\n' ? 1 : *col + 1;
        *line += *c == '\n';
    }
}

/* The message stands where the text does. */
static inline void said_at(const struct loaded *l, const char *code, const char *text, const char *yaml, const char *place)
{
    const struct diag_item *it = the_one(l, code, text);
    uint32_t line, col;

    place_of(yaml, place, &line, &col);
    assert_int_equal(it->line, line);
    assert_int_equal(it->column, col);
}

#define SS(name) "  - {name: " name ", type: ss, server: h.example, port: 8388, cipher: aes-256-gcm, password: pw}\n"

#endif
