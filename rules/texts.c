/*
 * texts.c - keywords, regular expressions and globs by one automaton (see texts.h)
 *
 *   trie of all texts  ──►  breadth first: where a letter leads nowhere, go where the longest proper end of what was read leads
 *
 *   row of a state     [ hits | class 1: in no text, always 0 | class 2 | class 3 | ... ]
 *
 * A state's hits are its own texts, then those of the state its longest proper end leads to: a chain, shared.
 */
#include "rules/texts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rules/lists.h"

#define STATES_MAX (1u << 17) /* texts beyond that are looked for one by one */
#define NO_CLASS   1

struct text_hit {
    uint32_t text, next;
};

/* The table while it grows: 32 bits whatever it becomes. */
struct trie {
    uint32_t *next;
    uint32_t n, cap;
    uint32_t *own; /* hits of a state by itself */
    uint32_t cap_own;
};

void texts_init(struct texts *x)
{
    *x = (struct texts){ 0 };
}

void texts_fini(struct texts *x)
{
    for (uint32_t i = 0; i < x->n; i++)
        regex_free(x->text[i].re);
    regex_room_free(x->room);
    free(x->text);
    free(x->pool);
    free(x->next);
    free(x->next_wide);
    free(x->hit);
    free(x->always);
    *x = (struct texts){ 0 };
}

int texts_add(struct texts *x, enum text_kind kind, bool asked, const char *s, size_t len, uint32_t atom, char why[128])
{
    struct regex *re = NULL;

    if (kind == TEXT_REGEX && !(re = regex_new(s, len, why)))
        return *why ? -EINVAL : -ENOMEM;
    while (x->cap_pool - x->n_pool < len)
        if (!grow(&x->pool, x->cap_pool, &x->cap_pool, 1))
            goto no_memory;
    if (!grow(&x->text, x->n, &x->cap, sizeof(*x->text)))
        goto no_memory;
    if (len)
        memcpy(x->pool + x->n_pool, s, len);
    x->text[x->n++] = (struct text){ kind, asked, atom, x->n_pool, (uint32_t)len, re };
    x->n_pool += (uint32_t)len;
    x->n_asked += asked;
    x->n_regex += kind == TEXT_REGEX;
    return 0;

no_memory:
    regex_free(re);
    return -ENOMEM;
}

/* ---- the automaton ---- */

/* The longest piece between wildcards. */
static size_t glob_literal(const char *s, size_t len, char *out, size_t size)
{
    size_t best = 0, from = 0, at = 0;

    for (size_t i = 0; i <= len; i++) {
        if (i < len && s[i] != '*' && s[i] != '?')
            continue;
        if (i - from > best) {
            best = i - from;
            at = from;
        }
        from = i + 1;
    }
    if (best > size)
        best = size;
    memcpy(out, s + at, best);
    return best;
}

static size_t literal_of(const struct texts *x, const struct text *t, char *out, size_t size)
{
    const char *s = x->pool + t->at;
    size_t n = t->len < size ? t->len : size;

    switch (t->kind) {
    case TEXT_REGEX: return regex_literal(s, t->len, out, size);
    case TEXT_GLOB: return glob_literal(s, t->len, out, size);
    case TEXT_LABELS:
        if (t->len > 1 && s[0] == '+' && s[1] == '.')
            return glob_literal(s + 2, t->len - 2, out, size);
        return *s == '.' ? glob_literal(s + 1, t->len - 1, out, size) : glob_literal(s, t->len, out, size);
    case TEXT_KEYWORD: break;
    }
    memcpy(out, s, n);
    return n;
}

static bool new_state(struct texts *x, struct trie *t)
{
    while (t->cap / x->width <= t->n) {
        uint32_t old = t->cap;

        if (!grow(&t->next, t->cap, &t->cap, sizeof(*t->next)))
            return false;
        memset(t->next + old, 0, (t->cap - old) * sizeof(*t->next));
    }
    if (!grow(&t->own, t->n, &t->cap_own, sizeof(*t->own)))
        return false;
    t->own[t->n++] = 0;
    return true;
}

static bool add_literal(struct texts *x, struct trie *t, const char *s, size_t len, uint32_t text)
{
    uint32_t state = 0;

    for (size_t i = 0; i < len; i++) {
        uint32_t at = state * x->width + x->class_of[(uint8_t)s[i]];

        if (!t->next[at]) {
            if (!new_state(x, t))
                return false;
            t->next[at] = t->n - 1;
        }
        state = t->next[at];
    }
    if (!grow(&x->hit, x->n_hits, &x->cap_hits, sizeof(*x->hit)))
        return false;
    x->hit[x->n_hits] = (struct text_hit){ text, t->own[state] };
    t->own[state] = x->n_hits++;
    return true;
}

static bool add_all(struct texts *x, struct trie *t)
{
    char literal[256];

    for (uint32_t i = 0; i < x->n; i++) {
        size_t len = literal_of(x, &x->text[i], literal, sizeof(literal));

        if (!len || t->n + len > STATES_MAX) {
            if (!grow(&x->always, x->n_always, &x->cap_always, sizeof(*x->always)))
                return false;
            x->always[x->n_always++] = i;
        } else if (!add_literal(x, t, literal, len, i)) {
            return false;
        }
    }
    return true;
}

/* The hits of a state: its own, then those of the state its longest proper end leads to. */
static void chain_hits(struct texts *x, struct trie *t, uint32_t state, uint32_t end)
{
    uint32_t *first = &t->next[state * x->width], more = t->next[end * x->width];

    *first = t->own[state] ? t->own[state] : more;
    for (uint32_t h = t->own[state]; h; h = x->hit[h].next)
        if (!x->hit[h].next) {
            x->hit[h].next = more;
            break;
        }
}

/* Breadth first: all shorter states are done, so is the one the longest proper end leads to. */
static bool fill(struct texts *x, struct trie *t)
{
    uint32_t *queue = calloc(t->n, 2 * sizeof(*queue)), *end = queue + t->n, head = 0, tail = 0;

    if (!queue)
        return false;
    queue[tail++] = 0;
    while (head < tail) {
        uint32_t state = queue[head++];

        if (state)
            chain_hits(x, t, state, end[state]);
        for (uint32_t c = NO_CLASS + 1; c < x->width; c++) {
            uint32_t *to = &t->next[state * x->width + c], by_end = state ? t->next[end[state] * x->width + c] : 0;

            if (*to) {
                end[*to] = by_end;
                queue[tail++] = *to;
            } else {
                *to = by_end;
            }
        }
    }
    free(queue);
    return true;
}

static void make_classes(struct texts *x)
{
    char literal[256];
    bool used[256] = { false };

    for (uint32_t i = 0; i < x->n; i++)
        for (size_t n = literal_of(x, &x->text[i], literal, sizeof(literal)); n; n--)
            used[(uint8_t)literal[n - 1]] = true;
    x->width = NO_CLASS + 1;
    for (int b = 0; b < 256; b++)
        x->class_of[b] = (uint16_t)(used[b] ? x->width++ : NO_CLASS);
}

/* From here on a state is the place of its row, so that a step needs no multiplication. 16 bits when all rows and hits fit. */
static bool settle(struct texts *x, struct trie *t)
{
    uint32_t n = t->n * x->width; /* at most 2^17 states of at most 258 */

    x->n_states = t->n;
    for (uint32_t i = 0; i < n; i++)
        t->next[i] *= i % x->width ? x->width : 1;
    if (n > 65536 || x->n_hits > 65536) {
        x->next_wide = t->next;
        t->next = NULL;
        return true;
    }
    if (!(x->next = malloc(n * sizeof(*x->next))))
        return false;
    for (uint32_t i = 0; i < n; i++)
        x->next[i] = (uint16_t)t->next[i];
    return true;
}

int texts_finish(struct texts *x)
{
    struct trie t = { 0 };
    bool ok;

    if (!x->n)
        return 0;
    if (x->n_regex && !(x->room = regex_room_new()))
        return -ENOMEM;
    make_classes(x);
    ok = grow(&x->hit, 0, &x->cap_hits, sizeof(*x->hit)) && new_state(x, &t);
    x->n_hits = 1;
    ok = ok && add_all(x, &t) && fill(x, &t) && settle(x, &t);
    free(t.next);
    free(t.own);
    return ok ? 0 : -ENOMEM;
}

size_t texts_bytes(const struct texts *x)
{
    return (size_t)x->n_states * x->width * (x->next ? sizeof(*x->next) : sizeof(*x->next_wide)) + x->n_hits * sizeof(*x->hit) + x->n_pool +
           x->n * sizeof(*x->text);
}

/* ---- matching ---- */

static void report(const struct texts *x, uint32_t hit, text_fn *fn, void *arg)
{
    for (; hit; hit = x->hit[hit].next)
        fn(arg, x->hit[hit].text);
}

static bool is_ascii(const char *s, size_t len)
{
    uint8_t all = 0;

    for (size_t i = 0; i < len; i++)
        all |= (uint8_t)s[i];
    return all < 0x80;
}

void texts_scan(const struct texts *x, const char *host, size_t len, text_fn *fn, void *arg)
{
    const uint8_t *s = (const uint8_t *)host;
    uint32_t state = 0, hit;

    if (x->next)
        for (size_t i = 0; i < len; i++) {
            state = x->next[state + x->class_of[s[i]]];
            if ((hit = x->next[state]))
                report(x, hit, fn, arg);
        }
    else if (x->next_wide)
        for (size_t i = 0; i < len; i++) {
            state = x->next_wide[state + x->class_of[s[i]]];
            if ((hit = x->next_wide[state]))
                report(x, hit, fn, arg);
        }
    for (uint32_t i = 0; i < x->n_always; i++)
        if (x->text[x->always[i]].kind != TEXT_KEYWORD || texts_match(x, x->always[i], host, len))
            fn(arg, x->always[i]);
    if (x->n_regex && !is_ascii(host, len)) /* letter case may make an ASCII letter of another: no text is sure to be there */
        for (uint32_t i = 0; i < x->n; i++)
            if (x->text[i].kind == TEXT_REGEX)
                fn(arg, i);
}

bool glob_matches(const char *p, size_t n, const char *s, size_t len)
{
    size_t i = 0, k = 0, star = SIZE_MAX, from = 0;

    while (k < len) {
        if (i < n && p[i] == '*') {
            star = i++;
            from = k;
        } else if (i < n && (p[i] == '?' || p[i] == s[k])) {
            i++;
            k++;
        } else if (star != SIZE_MAX) { /* the last star takes one more */
            i = star + 1;
            k = ++from;
        } else {
            return false;
        }
    }
    while (i < n && p[i] == '*')
        i++;
    return i == n;
}

static size_t label_len(const char *s, size_t len)
{
    const char *dot = memchr(s, '.', len);

    return dot ? (size_t)(dot - s) : len;
}

/* One label against one: a whole `*` is any label, `?` is itself. */
static bool label_matches(const char *p, size_t n, const char *s, size_t len)
{
    const char *star = memchr(p, '*', n), *next;
    size_t head, tail;

    if (!star)
        return n == len && !memcmp(p, s, n);
    if (n == 1)
        return len > 0;
    head = (size_t)(star - p);
    if (len < head || memcmp(p, s, head) != 0)
        return false;
    for (p += head + 1, n -= head + 1, s += head, len -= head; (next = memchr(p, '*', n)); n -= (size_t)(next - p) + 1, p = next + 1) {
        const char *at = memmem(s, len, p, (size_t)(next - p));

        if (!at)
            return false;
        len -= (size_t)(at - s) + (size_t)(next - p);
        s = at + (next - p);
    }
    tail = n;
    return len >= tail && !memcmp(p, s + len - tail, tail);
}

static unsigned count_labels(const char *s, size_t len)
{
    unsigned n = 1;

    for (size_t i = 0; i < len; i++)
        n += s[i] == '.';
    return n;
}

static bool labels_match(const char *p, size_t n, const char *s, size_t len)
{
    unsigned want, have = count_labels(s, len);
    bool below = false, self = true;

    if (n > 1 && p[0] == '+' && p[1] == '.') {
        below = true;
        p += 2, n -= 2;
    } else if (*p == '.') {
        below = true;
        self = false;
        p++, n--;
    }
    want = count_labels(p, n);
    if (have < want || (have == want && !self) || (have > want && !below))
        return false;
    for (; have > want; have--) {
        size_t skip = label_len(s, len) + 1;

        s += skip, len -= skip;
    }
    for (;;) {
        size_t a = label_len(p, n), b = label_len(s, len);

        if (!label_matches(p, a, s, b))
            return false;
        if (a == n)
            return true;
        p += a + 1, n -= a + 1;
        s += b + 1, len -= b + 1;
    }
}

bool texts_match(const struct texts *x, uint32_t text, const char *host, size_t len)
{
    const struct text *t = &x->text[text];
    const char *p = x->pool + t->at;

    switch (t->kind) {
    case TEXT_KEYWORD: return memmem(host, len, p, t->len) != NULL;
    case TEXT_REGEX: return regex_matches(t->re, x->room, host, len);
    case TEXT_GLOB: return glob_matches(p, t->len, host, len);
    case TEXT_LABELS: return labels_match(p, t->len, host, len);
    }
    return false;
}
