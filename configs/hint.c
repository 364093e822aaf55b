/*
 * hint.c - "did you mean": the nearest of many words, and text of a profile made fit for a message
 *
 * Distance: insertions, deletions, changes and swaps of neighbours that turn one word into the other (optimal string alignment), over
 * characters, letter case aside. Near is a third of the word's length, at least one, at most three. A profile of a stranger may hold 10,000
 * wrong names beside 10,000 right ones: only the first searches of a diag look at candidates, and most candidates are dropped by their
 * length.
 */
#include <string.h>

#include "configs/config.h"

#define SEARCHES_MAX 100
#define COMPARED_MAX 50000
#define WORD_MAX     (sizeof(((struct cfg_guess *)0)->word) / sizeof(uint32_t))
#define NEAR_MAX     3
#define SHORT        5

/* Characters of a text in lower case (ASCII); WORD_MAX + 1 when there are more. Broken UTF-8 counts byte by byte. */
static unsigned decode(const char *s, uint32_t out[WORD_MAX])
{
    unsigned n = 0;

    while (*s) {
        unsigned char c = (unsigned char)*s++;
        uint32_t v = c;

        if (n == WORD_MAX)
            return WORD_MAX + 1;
        if (c >= 'A' && c <= 'Z')
            v = c + 32u;
        for (unsigned char lead = c; c >= 0xc0 && (lead = (unsigned char)(lead << 1)) & 0x80 && ((unsigned char)*s & 0xc0) == 0x80;)
            v = v << 6 | ((unsigned char)*s++ & 0x3f);
        out[n++] = v;
    }
    return n;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;

    return m < c ? m : c;
}

static unsigned distance(const uint32_t *a, unsigned na, const uint32_t *b, unsigned nb)
{
    unsigned rows[3][WORD_MAX + 1], *before = rows[0], *last = rows[1], *now = rows[2];

    for (unsigned k = 0; k <= nb; k++)
        last[k] = before[k] = k;
    for (unsigned i = 1; i <= na; i++) {
        unsigned *free_row = before;

        now[0] = i;
        for (unsigned k = 1; k <= nb; k++) {
            now[k] = min3(last[k] + 1, now[k - 1] + 1, last[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < now[k])
                now[k] = before[k - 2] + 1;
        }
        before = last;
        last = now;
        now = free_row;
    }
    return last[nb];
}

void cfg_guess_start(struct cfg_guess *g, struct diag *d, const char *word)
{
    while (d && d->whole)
        d = d->whole;
    *g = (struct cfg_guess){ .d = d };
    g->n = decode(word, g->word);
    if (g->n > WORD_MAX || (d && d->guesses >= SEARCHES_MAX)) {
        g->n = 0;
        return;
    }
    if (d)
        d->guesses++;
    g->best = g->n / 3 < 1 ? 1 : g->n / 3 > NEAR_MAX ? NEAR_MAX : g->n / 3;
    g->best++; /* has to be beaten */
}

bool cfg_guess_try(struct cfg_guess *g, const char *candidate)
{
    uint32_t other[WORD_MAX];
    unsigned n, gap, far;

    if (!g->n || !g->best || (g->d && g->d->compared >= COMPARED_MAX))
        return false;
    if ((n = decode(candidate, other)) > WORD_MAX)
        return true;
    gap = n > g->n ? n - g->n : g->n - n;
    if (gap >= g->best)
        return true;
    if (g->d)
        g->d->compared++;
    if ((far = distance(g->word, g->n, other, n)) < g->best) {
        g->best = far;
        g->nearest = candidate;
    }
    return true;
}

const char *cfg_guess_text(struct cfg_guess *g)
{
    char shown[CFG_QUOTE_MAX];

    g->text[0] = 0;
    if (g->nearest)
        snprintf(g->text, sizeof(g->text), "; did you mean \"%s\"?", cfg_quote(g->nearest, strlen(g->nearest), shown));
    return g->text;
}

const char *cfg_is_meant(struct cfg_guess *g, struct diag *d, const char *missing, const struct cfg_node *map)
{
    char shown[CFG_QUOTE_MAX];

    cfg_guess_start(g, d, missing);
    g->n = g->n < SHORT ? 0 : g->n; /* many short words are near to each other */
    for (const struct cfg_node *n = cfg_first(map); n; n = n->next)
        if (n->key && n->key->len + NEAR_MAX >= g->n && n->key->len <= g->n + NEAR_MAX)
            cfg_guess_try(g, n->key->text);
    g->text[0] = 0;
    if (g->nearest)
        snprintf(g->text, sizeof(g->text), "; is \"%s\" meant to be it?", cfg_quote(g->nearest, strlen(g->nearest), shown));
    return g->text;
}

const char *cfg_did_you_mean(struct cfg_guess *g, struct diag *d, const char *word, const char *const *words)
{
    cfg_guess_start(g, d, word);
    for (; *words; words++)
        cfg_guess_try(g, *words);
    return cfg_guess_text(g);
}

const char *cfg_quote(const char *text, size_t len, char buf[CFG_QUOTE_MAX])
{
    size_t cut = len, room = CFG_QUOTE_MAX - 4;

    if (len > 60)
        for (cut = 60; cut > 56 && ((unsigned char)text[cut] & 0xc0) == 0x80; cut--)
            ;
    log_safe(text, cut, buf, room);
    if (cut < len)
        memcpy(buf + strlen(buf), "...", sizeof("..."));
    return buf;
}
