/*
 * set.c - the entries of a rule set: what they are by their shape, and the text format
 *
 *   bytes --format--> entry --shape--> has a comma       a rule line     DOMAIN-SUFFIX,x.com
 *                                      reads as a prefix an address      10.0.0.0/8
 *                                      else              a name pattern  +.x.com
 *
 * The shape alone says what an entry is; the declared behaviour only says what was to be expected, so that an entry of another kind can be
 * reported. In sets of names or addresses a rule line is turned into the pattern or prefix it stands for where there is one.
 *
 * Text is read line by line: trimmed, empty lines and comments (# and //) skipped, also comments behind an entry. The yaml and mrs formats
 * are in set_yaml.c and set_mrs.c. Nothing is allocated here and nothing kept.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "rules/set_private.h"

const char *const set_behavior_names[] = { "domain", "ipcidr", "classical", NULL };
const char *const set_format_names[] = { "yaml", "text", "mrs", NULL };

#define PATTERN_MAX (HOST_MAX + 2) /* "+." and a name */

/* ---- counting ---- */

static void example(struct set_reader *r, struct set_example *e, const char *s, size_t len, const char *why)
{
    if (len >= sizeof(e->text))
        len = sizeof(e->text) - 1;
    if (len)
        memcpy(e->text, s, len);
    e->text[len] = 0;
    e->line = r->line;
    e->why = why;
}

int set_bad(struct set_reader *r, const char *s, size_t len, const char *why)
{
    if (!r->st->bad++)
        example(r, &r->st->first_bad, s, len, why);
    return 0;
}

int set_given(struct set_reader *r, const char *s, size_t len, int result)
{
    if (result == SET_BAD)
        return set_bad(r, s, len, "this entry cannot be used here");
    if (!result)
        r->st->entries++;
    return result;
}

static void misplaced(struct set_reader *r, const char *s, size_t len, const char *what)
{
    if (!r->st->misplaced++)
        example(r, &r->st->first_misplaced, s, len, what);
}

/* ---- one entry, its kind known ---- */

/* What may stand in a name pattern: 0 = nothing, else one more than what makes it lower case. Names in other scripts stay as they are. */
static const uint8_t name_byte[256] = {
    ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1 + 'a' - 'A', ['0' ... '9'] = 1, ['-'] = 1, ['.'] = 1, ['_'] = 1, ['*'] = 1,
    ['+'] = 1,         [0x80 ... 0xff] = 1,
};

/* Lower-cases a pattern into out and checks its labels: none empty but the first, none above 63 bytes, more than a bare "+". */
static bool pattern_read(const char *s, size_t len, char out[PATTERN_MAX])
{
    size_t label = 0;

    if (!len || len > PATTERN_MAX || (len == 1 && *s == '+'))
        return false;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i], class = name_byte[c];

        if (!class || (c == '.' ? !label && i : label == 63))
            return false;
        label = c == '.' ? 0 : label + 1;
        out[i] = (char)(c + class - 1);
    }
    return label;
}

static int put_pattern(struct set_reader *r, const char *pattern, size_t len)
{
    return set_given(r, pattern, len, r->v->domain ? r->v->domain(r->v->arg, pattern, len) : SET_BAD);
}

int set_put_domain(struct set_reader *r, const char *s, size_t len)
{
    char pattern[PATTERN_MAX];

    return pattern_read(s, len, pattern) ? put_pattern(r, pattern, len) : set_bad(r, s, len, "not a name pattern");
}

int set_put_suffix(struct set_reader *r, const char *s, size_t len)
{
    char pattern[PATTERN_MAX + 2] = "+.";
    size_t mark = len && *s == '.' ? 1 : len > 1 && s[0] == '+' && s[1] == '.' ? 2 : 0; /* people mean x (rules section 5a) */

    if (len == mark || s[mark] == '.' || !pattern_read(s + mark, len - mark, pattern + 2))
        return set_bad(r, s, len, "not a name");
    return put_pattern(r, pattern, len - mark + 2);
}

int set_put_keyword(struct set_reader *r, const char *s, size_t len)
{
    char low[HOST_MAX];

    if (!len || len > sizeof(low))
        return set_bad(r, s, len, "not a piece of a name");
    for (size_t i = 0; i < len; i++)
        low[i] = (char)(s[i] >= 'A' && s[i] <= 'Z' ? s[i] + 32 : s[i]);
    return set_given(r, s, len, r->v->keyword ? r->v->keyword(r->v->arg, low, len) : SET_BAD);
}

int set_put_regex(struct set_reader *r, const char *s, size_t len)
{
    if (!len)
        return set_bad(r, s, len, "not a regular expression");
    return set_given(r, s, len, r->v->regex ? r->v->regex(r->v->arg, s, len) : SET_BAD);
}

static bool prefix_read(const char *s, size_t len, struct cidr *out)
{
    char text[ADDR_STRLEN + 4];

    if (len >= sizeof(text) || memchr(s, 0, len))
        return false;
    memcpy(text, s, len);
    text[len] = 0;
    return cidr_parse(text, out) == 0;
}

/* ---- one entry, its kind to be found ---- */

static int put_prefix(struct set_reader *r, const char *s, size_t len)
{
    struct cidr c;

    if (!prefix_read(s, len, &c))
        return set_bad(r, s, len, "not a prefix (ADDRESS/LENGTH)");
    return set_given(r, s, len, set_visit_prefix(r, &c));
}

/* Rule types that a set of names or addresses can hold as one of its own entries. */
static const struct {
    const char *type;
    int (*put)(struct set_reader *, const char *, size_t);
    bool takes_all; /* the payload runs to the end of the line */
} as_entry[] = {
    { "DOMAIN", set_put_domain },
    { "DOMAIN-SUFFIX", set_put_suffix },
    { "DOMAIN-KEYWORD", set_put_keyword },
    { "DOMAIN-REGEX", set_put_regex, true },
    { "IP-CIDR", put_prefix },
    { "IP-CIDR6", put_prefix },
};

static int put_rule(struct set_reader *r, const char *s, size_t len)
{
    return set_given(r, s, len, r->v->rule ? r->v->rule(r->v->arg, s, len, r->line) : SET_BAD);
}

/* A rule line in a set of names or addresses. no-resolve means nothing there, src does. */
static int put_rule_as_entry(struct set_reader *r, const char *s, size_t len, const char *comma)
{
    const char *end = s + len, *type_end = set_cut(s, comma), *payload = set_skip(comma + 1, end);

    misplaced(r, s, len, "a rule of a classical set");
    for (size_t i = 0; i < sizeof(as_entry) / sizeof(as_entry[0]); i++) {
        const char *options;

        if (strlen(as_entry[i].type) != (size_t)(type_end - s) || strncasecmp(as_entry[i].type, s, (size_t)(type_end - s)) != 0)
            continue;
        options = as_entry[i].takes_all ? NULL : memchr(payload, ',', (size_t)(end - payload));
        if (options && !set_is(set_skip(options + 1, end), (size_t)(end - set_skip(options + 1, end)), "no-resolve"))
            break;
        return as_entry[i].put(r, payload, (size_t)(set_cut(payload, options ? options : end) - payload));
    }
    return put_rule(r, s, len);
}

/* Ends as the last label of an IPv4 address does, or holds what no name holds. */
static bool may_be_prefix(const char *s, size_t len)
{
    return (s[len - 1] >= '0' && s[len - 1] <= '9') || memchr(s, ':', len) || memchr(s, '/', len);
}

/* A name among addresses or rules: it has a dot, and its last label is no number. */
static bool is_clearly_name(const char *s, size_t len)
{
    const char *dot = memrchr(s, '.', len);

    for (const char *p = dot; p && ++p < s + len;)
        if (*p < '0' || *p > '9')
            return true;
    return false;
}

int set_put(struct set_reader *r, const char *s, size_t len)
{
    const char *comma = memchr(s, ',', len);
    char pattern[PATTERN_MAX];
    struct cidr c;

    if (comma)
        return r->b == SET_CLASSICAL ? put_rule(r, s, len) : put_rule_as_entry(r, s, len, comma);
    if (len && may_be_prefix(s, len) && prefix_read(s, len, &c)) {
        if (r->b != SET_IPCIDR)
            misplaced(r, s, len, "an entry of an ipcidr set");
        return set_given(r, s, len, set_visit_prefix(r, &c));
    }
    if (!pattern_read(s, len, pattern) || (r->b != SET_DOMAIN && !is_clearly_name(s, len)))
        return set_bad(r, s, len, r->b == SET_DOMAIN ? "not a name pattern" : r->b == SET_IPCIDR ? "not a prefix" : "not a rule");
    if (r->b != SET_DOMAIN)
        misplaced(r, s, len, "an entry of a domain set");
    return put_pattern(r, pattern, len);
}

/* ---- text ---- */

/* Where an entry ends and a comment behind it begins. Names of programs may hold anything. */
static const char *cut_comment(const char *s, const char *end)
{
    if (!memchr(s, '#', (size_t)(end - s)) && !memmem(s, (size_t)(end - s), "//", 2))
        return end;
    if (end - s > 8 && !strncasecmp(s, "PROCESS-", 8))
        return end;
    for (const char *p = s + 1; p < end; p++)
        if ((p[-1] == ' ' || p[-1] == '\t') && (*p == '#' || (*p == '/' && p + 1 < end && p[1] == '/')))
            return set_cut(s, p);
    return end;
}

int set_entry(const char *s, size_t len, uint32_t line, enum set_behavior b, const struct set_visitor *v, struct set_stats *st)
{
    struct set_reader r = { v, st, b, line };
    const char *end = set_cut(s, s + len);

    s = set_skip(s, end);
    if (s == end || *s == '#' || (end - s >= 2 && s[0] == '/' && s[1] == '/'))
        return 0;
    return set_put(&r, s, (size_t)(cut_comment(s, end) - s));
}

static int read_text(struct set_reader *r, const char *p, const char *end)
{
    for (const char *eol; p < end; p = eol + 1) {
        int res;

        r->line++;
        if (!(eol = memchr(p, '\n', (size_t)(end - p))))
            eol = end;
        if ((res = set_entry(p, (size_t)(eol - p), r->line, r->b, r->v, r->st)) < 0)
            return res;
    }
    return 0;
}

/* ---- a file ---- */

static const char *first_byte(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
        p++;
    return p;
}

static int read_lines(struct set_reader *r, enum set_format f, const char *p, size_t len)
{
    const char *end = p + len, *first;
    int res;

    if (len >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
        p += 3;
    first = first_byte(p, end);
    if (first < end && *first == '<') {
        r->st->error = "this is a web page, not a rule set";
        return -EBADMSG;
    }
    res = f == SET_YAML ? set_read_yaml(r, p, end) : read_text(r, p, end);
    if (!res && r->st->bad && !r->st->entries) {
        r->st->error = "no usable entry";
        return -EBADMSG;
    }
    return res;
}

int set_read(const void *bytes, size_t len, enum set_behavior b, enum set_format f, const struct set_visitor *v, struct set_stats *st)
{
    struct set_reader r = { v, st, b, 0 };

    *st = (struct set_stats){ 0 };
    return f == SET_MRS ? set_read_mrs(&r, bytes, len) : read_lines(&r, f, bytes, len);
}
