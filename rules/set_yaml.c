/*
 * set_yaml.c - the payload list of a YAML or JSON file, without a YAML parser
 *
 *   payload:                    block list, one entry a line; the usual form, and the fast path
 *     - '+.example.com'  # x
 *   payload: ['a.com', b.com]   flow list, over any number of lines
 *   {"payload": ["a.com"]}      JSON
 *
 * A real parser refuses a file for one bad line and costs a node per entry; sets have 100,000 entries and are mended by hand. So this reads
 * line by line as other programs do: the key is `payload` or `rules`, an item is a dash and a scalar, everything a scalar may be on one
 * line is understood (plain, 'single', "double" with escapes, a comment behind it), and a line that is none of this costs one entry.
 *
 * Entries are lent from the file; only quoted ones with escapes are copied, into a buffer on the stack.
 */
#include <errno.h>
#include <string.h>

#include "rules/set_private.h"

#define SCALAR_MAX 4096 /* of a quoted scalar with escapes in it */

struct scalar {
    const char *s;
    size_t len;
    const char *bad; /* static: why it is none */
    char buf[SCALAR_MAX];
};

static bool one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

/* ---- scalars ---- */

static void scalar_lend(struct scalar *out, const char *s, size_t len)
{
    out->s = s;
    out->len = len;
    out->bad = NULL;
}

static void scalar_byte(struct scalar *out, unsigned c)
{
    if (out->len == sizeof(out->buf))
        out->bad = "a quoted text above 4096 bytes";
    else
        out->buf[out->len++] = (char)c;
}

static void scalar_char(struct scalar *out, uint32_t c)
{
    if (c < 0x80) {
        scalar_byte(out, c);
    } else if (c < 0x800) {
        scalar_byte(out, 0xc0 | c >> 6);
        scalar_byte(out, 0x80 | (c & 0x3f));
    } else {
        scalar_byte(out, 0xe0 | (c >> 12 & 0xf));
        scalar_byte(out, 0x80 | (c >> 6 & 0x3f));
        scalar_byte(out, 0x80 | (c & 0x3f));
    }
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* What follows a backslash (YAML 1.2 section 5.7; those that entries can hold). Returns behind it. */
static const char *escape(const char *p, const char *end, struct scalar *out)
{
    static const char names[] = "\"\\/ntr", means[] = "\"\\/\n\t\r";
    const char *at = p < end && one_of(*p, names) ? strchr(names, *p) : NULL;
    int digits = p < end ? (*p == 'x' ? 2 : *p == 'u' ? 4 : 0) : 0;
    uint32_t c = 0;

    if (at) {
        scalar_byte(out, (unsigned char)means[at - names]);
        return p + 1;
    }
    for (int i = 0; i < digits; i++) {
        int d = p + 1 + i < end ? hex_digit(p[1 + i]) : -1;

        if (d < 0)
            digits = 0;
        c = c << 4 | (uint32_t)d;
    }
    if (!digits) {
        out->bad = "an unknown escape";
        return p;
    }
    scalar_char(out, c);
    return p + 1 + digits;
}

/* The quoted scalar at p (which is at the quote); ends on its own line. Returns behind the closing quote; out->bad is set if there is none.
 */
static const char *quoted(const char *p, const char *end, struct scalar *out)
{
    const char quote = *p++, *close = memchr(p, quote, (size_t)(end - p));

    scalar_lend(out, p, 0);
    if (!close) {
        out->bad = "no closing quote";
        return end;
    }
    if (quote == '\'' ? close + 1 == end || close[1] != quote : !memchr(p, '\\', (size_t)(close - p))) {
        out->len = (size_t)(close - p);
        return close + 1;
    }
    out->s = out->buf;
    while (p < end && !out->bad) {
        if (*p == quote && !(quote == '\'' && p + 1 < end && p[1] == quote))
            return p + 1;
        if (*p == quote) {
            p += 2;
            scalar_byte(out, (unsigned char)quote);
        } else if (*p == '\\' && quote == '"') {
            p = escape(p + 1, end, out);
        } else {
            scalar_byte(out, (unsigned char)*p++);
        }
    }
    if (!out->bad)
        out->bad = "no closing quote";
    return p;
}

/* Where a plain scalar ends: before " #", and inside brackets before a bracket, a comma, ": " or the end of the line. */
static const char *plain_end(const char *p, const char *end, bool flow)
{
    const char *start = p;

    if (!flow && !memchr(p, '#', (size_t)(end - p)))
        return set_cut(p, end);
    for (; p < end; p++) {
        if (*p == '#' && p > start && (p[-1] == ' ' || p[-1] == '\t'))
            break;
        if (flow && (one_of(*p, ",[]{}") || (*p == ':' && (p + 1 == end || one_of(p[1], " \t,]}")))))
            break;
    }
    return set_cut(start, p);
}

/* ---- block lists ---- */

static bool is_payload(const char *s, size_t len)
{
    return set_is(s, len, "payload") || set_is(s, len, "rules");
}

/* The line "KEY: rest" or "KEY:". Returns what follows the colon, or NULL: no such line. */
static const char *key_line(const char *s, const char *end, struct scalar *key)
{
    const char *p;

    if (*s == '"' || *s == '\'') {
        p = set_skip(quoted(s, end, key), end);
        return !key->bad && p < end && *p == ':' ? p + 1 : NULL;
    }
    for (p = s; p < end && *p != ' ' && *p != '\t'; p++)
        if (*p == ':' && (p + 1 == end || p[1] == ' ' || p[1] == '\t')) {
            scalar_lend(key, s, (size_t)(p - s));
            return p + 1;
        }
    return NULL;
}

/* A line behind its dash. */
static int item(struct set_reader *r, const char *p, const char *end, struct scalar *text)
{
    const char *start = p = set_skip(p, end), *rest;

    if (p == end)
        return set_bad(r, p, 0, "an empty item");
    if (*p != '"' && *p != '\'')
        return set_put(r, p, (size_t)(plain_end(p, end, false) - p));
    rest = set_skip(quoted(p, end, text), end);
    if (!text->bad && rest < end && *rest != '#')
        text->bad = "something behind the closing quote";
    return text->bad ? set_bad(r, start, (size_t)(end - start), text->bad) : set_put(r, text->s, text->len);
}

/* ---- flow lists and JSON ---- */

struct flow {
    const char *eol; /* of the line at hand */
    unsigned depth;  /* of brackets around p */
    unsigned list;   /* the depth inside the payload's list; 0 = not there */
    bool payload;    /* the last key was the payload's */
};

static int flow_open(struct set_reader *r, struct flow *f, const char *p)
{
    bool inside = f->list && f->depth == f->list;

    f->depth++;
    if (!f->list && f->payload && *p == '[' && f->depth <= 2)
        f->list = f->depth;
    f->payload = false;
    return inside ? set_bad(r, p, 1, "a list inside the list") : 0;
}

static void flow_close(struct flow *f)
{
    if (f->list == f->depth)
        f->list = 0;
    f->depth--;
}

/* One scalar inside brackets: an entry, or perhaps a key. Returns behind it. */
static const char *flow_scalar(struct set_reader *r, struct flow *f, const char *p, struct scalar *text, int *res)
{
    const char *start = p;

    if (*p == '"' || *p == '\'') {
        p = quoted(p, f->eol, text);
    } else {
        const char *stop = plain_end(p, f->eol, true);

        scalar_lend(text, p, (size_t)(stop - p));
        p = stop > p ? stop : p + 1;
    }
    if (f->depth == f->list && text->bad)
        *res = set_bad(r, start, (size_t)(p - start), text->bad);
    else if (f->depth == f->list && text->len)
        *res = set_put(r, text->s, text->len);
    else if (f->depth == 1)
        f->payload = !text->bad && is_payload(text->s, text->len);
    return p;
}

static const char *line_end(const char *p, const char *end)
{
    const char *eol = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;

    return eol ? eol : end;
}

/* From an opening bracket at p to the end of the line with the one that closes it. payload: p is the payload's list itself. */
static const char *flow(struct set_reader *r, const char *p, const char *end, bool payload, bool *found, int *res)
{
    struct flow f = { .eol = line_end(p, end), .payload = payload };
    struct scalar text;

    do {
        if (*p == '\n') {
            r->line++;
            f.eol = line_end(++p, end);
        } else if (*p == '[' || *p == '{') {
            *res = flow_open(r, &f, p++);
            *found |= f.list != 0;
        } else if (*p == ']' || *p == '}') {
            flow_close(&f);
            p++;
        } else if (*p == '#') {
            p = f.eol;
        } else if (one_of(*p, " \t\r,") || (*p == ':' && f.depth != f.list)) {
            p++;
        } else {
            p = flow_scalar(r, &f, p, &text, res);
        }
    } while (f.depth && p < end && !*res);
    return f.eol;
}

/* ---- the file ---- */

int set_read_yaml(struct set_reader *r, const char *p, const char *end)
{
    bool found = false, in_list = false;
    ptrdiff_t indent = 0; /* of the payload's key */
    struct scalar text;
    int res = 0;

    while (p < end && !res) {
        const char *eol = line_end(p, end), *stop = set_cut(p, eol), *s = set_skip(p, stop), *rest;

        r->line++;
        if (s == stop || *s == '#' || set_is(s, (size_t)(stop - s), "---")) {
            /* nothing */
        } else if (in_list && *s == '-' && (s + 1 == stop || s[1] == ' ' || s[1] == '\t')) {
            res = item(r, s + 1, stop, &text);
        } else if (*s == '{' && !found) {
            eol = flow(r, s, end, false, &found, &res);
        } else if ((!in_list || s - p <= indent) && (rest = key_line(s, stop, &text))) {
            in_list = is_payload(text.s, text.len);
            found |= in_list;
            indent = s - p;
            if (in_list && set_skip(rest, stop) < stop && *set_skip(rest, stop) == '[')
                eol = flow(r, set_skip(rest, stop), end, true, &found, &res);
        } else if (in_list) {
            set_bad(r, s, (size_t)(stop - s), "not an item (\"- ENTRY\")");
        }
        p = eol < end ? eol + 1 : end;
    }
    if (!res && !found) {
        r->st->error = "no payload: list";
        return -EBADMSG;
    }
    return res;
}
