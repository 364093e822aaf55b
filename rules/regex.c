/*
 * regex.c - regular expressions with bounded time, and the text that a match cannot do without (see regex.h)
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "rules/regex.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#define STEPS          1000u
#define STEPS_PER_BYTE 16u
#define DEPTH_MAX      4000u
#define HEAP_MAX_KIB   1024u
#define JIT_STACK_MIN  (32u << 10)
#define JIT_STACK_MAX  (512u << 10)

struct regex {
    pcre2_code *code;
};

struct regex_room {
    pcre2_match_context *limits;
    pcre2_match_data *data;
    pcre2_jit_stack *stack;
};

struct regex_room *regex_room_new(void)
{
    struct regex_room *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->limits = pcre2_match_context_create(NULL);
    r->data = pcre2_match_data_create(1, NULL);
    r->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (!r->limits || !r->data) {
        regex_room_free(r);
        return NULL;
    }
    pcre2_set_depth_limit(r->limits, DEPTH_MAX);
    pcre2_set_heap_limit(r->limits, HEAP_MAX_KIB);
    if (r->stack) /* NULL where PCRE2 has no compiler: then it interprets */
        pcre2_jit_stack_assign(r->limits, NULL, r->stack);
    return r;
}

void regex_room_free(struct regex_room *r)
{
    if (!r)
        return;
    pcre2_match_context_free(r->limits);
    pcre2_match_data_free(r->data);
    pcre2_jit_stack_free(r->stack);
    free(r);
}

struct regex *regex_new(const char *pattern, size_t len, char why[128])
{
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
    struct regex *r = calloc(1, sizeof(*r));
    PCRE2_SIZE at;
    int err;

    why[0] = 0;
    if (!r)
        return NULL;
    if ((r->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &err, &at, NULL))) {
        pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* where that is not possible it is interpreted */
        return r;
    }
    if (err != PCRE2_ERROR_HEAP_FAILED)
        pcre2_get_error_message(err, (PCRE2_UCHAR *)why, 128);
    free(r);
    return NULL;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

bool regex_matches(const struct regex *r, struct regex_room *room, const char *s, size_t len)
{
    pcre2_set_match_limit(room->limits, STEPS + STEPS_PER_BYTE * (uint32_t)len);
    return pcre2_match(r->code, (PCRE2_SPTR)s, len, 0, 0, room->data, room->limits) >= 0;
}

/* ---- the fixed text ---- */

struct run {
    char text[256];
    size_t n;
    bool at_end; /* `$` comes behind it */
};

struct reading {
    const char *s, *end;
    struct run now, best;
    bool lost; /* something we do not read: no text is known */
};

/* ".com", "com": one label, and nothing may follow. It is in every other name. */
static bool bare_tld(const struct run *r)
{
    return r->at_end && r->n && !memchr(r->text + 1, '.', r->n - 1);
}

static void end_run(struct reading *p)
{
    if (p->now.n &&
        (!p->best.n || (bare_tld(&p->best) && !bare_tld(&p->now)) || (bare_tld(&p->best) == bare_tld(&p->now) && p->now.n > p->best.n)))
        p->best = p->now;
    p->now.n = 0;
    p->now.at_end = false;
}

static const char *digits(const char *s, const char *end)
{
    while (s < end && *s >= '0' && *s <= '9')
        s++;
    return s;
}

/* What follows an atom. `?` `*` `{n,m}`: it may be absent (so we say of any {}); `+`: it is there. Both: what comes next may be further
 * away. */
static bool quantifier(struct reading *p, bool *may_be_absent)
{
    const char *s = p->s;

    *may_be_absent = false;
    if (s == p->end || (*s != '?' && *s != '*' && *s != '+' && *s != '{'))
        return false;
    *may_be_absent = *s != '+';
    if (*s == '{') {
        const char *n = digits(s + 1, p->end);

        p->lost |= n == s + 1;
        s = n < p->end && *n == ',' ? digits(n + 1, p->end) : n;
        p->lost |= s == p->end || *s != '}';
    }
    if (s < p->end)
        s++;
    if (s < p->end && (*s == '?' || *s == '+'))
        s++; /* lazy, possessive */
    p->s = s;
    return true;
}

static void add_char(struct reading *p, char c)
{
    bool absent, many;

    c = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    many = quantifier(p, &absent);
    if (!absent && p->now.n < sizeof(p->now.text))
        p->now.text[p->now.n++] = c;
    if (many || p->now.n == sizeof(p->now.text))
        end_run(p);
}

/* Behind the `[`; a `]` first in the class stands for itself. */
static void skip_class(struct reading *p)
{
    bool absent;

    if (p->s < p->end && *p->s == '^')
        p->s++;
    if (p->s < p->end && *p->s == ']')
        p->s++;
    for (; p->s < p->end && *p->s != ']'; p->s++) {
        if (*p->s == '[')
            p->lost = true; /* [:alpha:] */
        if (*p->s == '\\' && p->s + 1 < p->end)
            p->lost |= *++p->s == 'Q';
    }
    if (p->s < p->end)
        p->s++;
    quantifier(p, &absent);
}

/* Behind a `(`: groups, named ones and look-around are read; options, comments, conditions, recursion and verbs are not. */
static void group_kind(struct reading *p)
{
    if (p->s < p->end && *p->s == '*')
        p->lost = true;
    if (p->s < p->end && *p->s == '?')
        p->lost |= p->s + 1 == p->end || !memchr(":=!<>|", p->s[1], 6);
}

/* Behind the `(`. */
static void skip_group(struct reading *p)
{
    bool absent;

    group_kind(p);
    for (int depth = 1; p->s < p->end && depth && !p->lost;) {
        char c = *p->s++;

        if (c == '\\' && p->s < p->end) {
            p->lost = *p->s++ == 'Q';
        } else if (c == '[') {
            skip_class(p);
        } else if (c == '(') {
            depth++;
            group_kind(p);
        } else if (c == ')') {
            depth--;
        }
    }
    quantifier(p, &absent);
}

/* Behind a backslash. Escaped punctuation is text; \d and \b and their like are not; the rest (\Q, \x41, \1) is too clever for us. */
static void escape(struct reading *p)
{
    bool absent;
    char c = p->s < p->end ? *p->s++ : 0;

    if (c && strchr(".-_/+*?()[]{}|^$\\", c)) {
        add_char(p, c);
        return;
    }
    end_run(p);
    if (c && strchr("dDwWsS", c))
        quantifier(p, &absent);
    else if (!c || !strchr("bBAZz", c))
        p->lost = true;
}

size_t regex_literal(const char *pattern, size_t len, char *out, size_t size)
{
    struct reading p = { .s = pattern, .end = pattern + len };
    bool absent;

    while (p.s < p.end && !p.lost) {
        char c = *p.s++;

        switch (c) {
        case '|': p.lost = true; break; /* at the top: each side is a match of its own */
        case '(':
            end_run(&p);
            skip_group(&p);
            break;
        case '[':
            end_run(&p);
            skip_class(&p);
            break;
        case '.':
            end_run(&p);
            quantifier(&p, &absent);
            break;
        case '^': end_run(&p); break;
        case '$':
            p.now.at_end = true;
            end_run(&p);
            break;
        case '\\': escape(&p); break;
        default:
            if ((unsigned char)c < 0x80) {
                add_char(&p, c);
                break;
            }
            end_run(&p); /* letter case of other alphabets: not ours */
            while (p.s < p.end && ((unsigned char)*p.s & 0xc0) == 0x80)
                p.s++;
            quantifier(&p, &absent);
        }
    }
    end_run(&p);
    if (p.lost)
        return 0;
    if (p.best.n > size)
        p.best.n = size;
    memcpy(out, p.best.text, p.best.n);
    return p.best.n;
}
