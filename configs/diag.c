/*
 * diag.c - messages about a profile: collected, sorted by position, printed with the line they speak of
 *
 *   local.yaml:12:15: warning: fake-ip-range: "198.18.0.1" is no IPv4 range
 *       fake-ip-range: 198.18.0.1
 *                      ^
 *
 * A text of the profile may hold anything: control bytes are escaped when a message is made, and so are those of the source line; the
 * values of keys that look secret become stars, also where the key itself is too far left to be shown, or stands in a line above. Columns
 * count characters; the caret stands under the right one although emoji and CJK are two columns wide on a terminal.
 *
 * Printing walks every source once: messages are sorted, and the place of the last one is kept (struct cursor).
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "configs/config.h"

#define ITEMS_MAX   10000
#define ERRORS_MAX  1000 /* kept beyond that: nobody must look for an error behind 10,000 warnings */
#define MESSAGE_MAX 1000
#define SHOWN_MAX   160 /* characters of a source line */
#define BEFORE_MAX  100 /* of these at most so many before the caret */
#define AHEAD_MAX   2000 /* bytes before them that are looked at for the key of a value */
#define ABOVE_MAX   16000 /* and bytes above the line */

void diag_init(struct diag *d, const char *name, const char *src, size_t src_len, bool strict)
{
    *d = (struct diag){ .strict = strict };
    diag_set_source(d, 0, name, src, src_len);
}

void diag_init_part(struct diag *d, struct diag *whole)
{
    diag_init(d, whole->source[0].name, NULL, 0, false);
    d->whole = whole;
}

void diag_fini(struct diag *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].path);
        free(d->items[i].message);
    }
    free(d->items);
    *d = (struct diag){ .source = { d->source[0], d->source[1] } };
    diag_drop_bytes(d);
}

/* UTF-16 is not shown: it would be noise on a terminal. */
void diag_set_source(struct diag *d, unsigned source, const char *name, const char *src, size_t src_len)
{
    bool wide = src && src_len >= 2 && (!memcmp(src, "\xff\xfe", 2) || !memcmp(src, "\xfe\xff", 2));

    d->source[source] = (struct diag_source){ name, wide ? NULL : src, wide ? 0 : src_len };
}

void diag_drop_bytes(struct diag *d)
{
    for (unsigned i = 0; i < CFG_SOURCES; i++) {
        d->source[i].bytes = NULL;
        d->source[i].len = 0;
    }
}

/* ---- collecting ---- */

static bool make_room(struct diag *d, enum diag_level level)
{
    size_t cap = d->cap ? d->cap * 2 : 16;
    struct diag_item *more;

    if (d->n >= ITEMS_MAX + (level == DIAG_ERROR ? ERRORS_MAX : 0))
        return false;
    if (d->n < d->cap)
        return true;
    if (!(more = realloc(d->items, cap * sizeof(*more))))
        return false;
    d->items = more;
    d->cap = cap;
    return true;
}

/* Printable, and not cut in the middle of a character. */
static char *make_message(const char *fmt, va_list ap)
{
    char raw[MESSAGE_MAX], safe[MESSAGE_MAX + 1];
    int n = vsnprintf(raw, sizeof(raw), fmt, ap);
    size_t len = n < 0 ? 0 : (size_t)n;

    if (len >= sizeof(raw))
        for (len = sizeof(raw) - 1; len && ((unsigned char)raw[len - 1] & 0x80) && ((unsigned char)raw[len] & 0xc0) == 0x80; len--)
            ;
    return strdup(log_safe(raw, len, safe, sizeof(safe)));
}

static void add(struct diag *d, enum diag_level level, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt,
                va_list ap)
{
    struct diag_item it = {
        .level = level, .line = line, .column = cfg_column(col), .source = cfg_source(col), .code = code, .nth = (uint32_t)d->n
    };
    char safe[256];

    if (it.source >= CFG_SOURCES)
        it.source = 0;
    if (level == DIAG_ERROR)
        d->n_errors++;
    else
        d->n_warnings++;
    if (make_room(d, level)) {
        it.path = strdup(log_safe(path ? path : "", path ? strlen(path) : 0, safe, sizeof(safe)));
        it.message = make_message(fmt, ap);
    }
    if (it.path && it.message) {
        d->items[d->n++] = it;
        return;
    }
    free(it.path);
    free(it.message);
    d->n_lost++;
}

void diag_err(struct diag *d, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(d, DIAG_ERROR, line, col, path, code, fmt, ap);
    va_end(ap);
}

void diag_warn(struct diag *d, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    add(d, d->strict ? DIAG_ERROR : DIAG_WARNING, line, col, path, code, fmt, ap);
    va_end(ap);
}

static int by_position(const void *a, const void *b)
{
    const struct diag_item *x = a, *y = b;

    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    return x->nth < y->nth ? -1 : x->nth > y->nth;
}

void diag_sort(struct diag *d)
{
    if (d->n)
        qsort(d->items, d->n, sizeof(*d->items), by_position);
}

void diag_renew(struct diag *to, const char *code, const char *but, const struct diag *from)
{
    size_t n = 0;

    for (size_t i = 0; i < to->n; i++) {
        struct diag_item *it = &to->items[i];

        if (strcmp(it->code, code) != 0 || !strncmp(it->path, but, strlen(but))) {
            to->items[n++] = *it;
            continue;
        }
        if (it->level == DIAG_ERROR)
            to->n_errors--;
        else
            to->n_warnings--;
        free(it->path);
        free(it->message);
    }
    to->n = n;
    for (size_t i = 0; i < from->n; i++) {
        const struct diag_item *it = &from->items[i];

        if (!strcmp(it->code, code))
            diag_warn(to, it->line, diag_column(it), it->path, it->code, "%s", it->message);
    }
}

/* ---- the source line ---- */

/* A place in a source; moves forward only. */
struct cursor {
    const char *first, *line, *at, *end; /* where the source and the line begin, where `column` is */
    uint32_t number, column;
};

/* Length of the line break at s, 0 when there is none. The same breaks as libyaml's, which counts the lines. */
static size_t break_len(const char *s, const char *end)
{
    size_t left = (size_t)(end - s);

    switch ((unsigned char)*s) {
    case '\n': return 1;
    case '\r': return left > 1 && s[1] == '\n' ? 2 : 1;
    case 0xc2: return left > 1 && s[1] == '\x85' ? 2 : 0;
    case 0xe2: return left > 2 && s[1] == '\x80' && (s[2] == '\xa8' || s[2] == '\xa9') ? 3 : 0;
    default: return 0;
    }
}

static struct cursor cursor_start(const struct diag_source *s)
{
    size_t bom = s->len >= 3 && !memcmp(s->bytes, "\xef\xbb\xbf", 3) ? 3 : 0;
    const char *first = s->bytes ? s->bytes + bom : NULL;

    return (struct cursor){ .first = first, .line = first, .at = first, .end = s->bytes ? s->bytes + s->len : NULL, .number = 1, .column = 1 };
}

static const char *next_char(const char *s, const char *end)
{
    for (s++; s < end && ((unsigned char)*s & 0xc0) == 0x80; s++)
        ;
    return s;
}

/* Moves to a place; false when the source does not have it. */
static bool cursor_move(struct cursor *c, uint32_t line, uint32_t column)
{
    if (!c->line || !line || !column || line < c->number)
        return false;
    while (c->number < line) {
        size_t n = 0;

        while (c->at < c->end && !(n = break_len(c->at, c->end)))
            c->at++;
        if (c->at == c->end)
            return false;
        c->at += n;
        c->line = c->at;
        c->number++;
        c->column = 1;
    }
    for (; c->column < column && c->at < c->end && !break_len(c->at, c->end); c->column++)
        c->at = next_char(c->at, c->end);
    return true;
}

/* Columns that a printable text takes on a terminal. */
static int width_of(const char *s)
{
    int width = 0;
    mbstate_t st = { 0 };
    wchar_t w;

    for (size_t n, left = strlen(s); left; s += n, left -= n) {
        n = mbrtowc(&w, s, left, &st);
        if (n == 0 || n > left) { /* not text in this locale: one column a character */
            st = (mbstate_t){ 0 };
            n = (size_t)(next_char(s, s + left) - s);
            width++;
        } else {
            width += wcwidth(w) < 0 ? 1 : wcwidth(w);
        }
    }
    return width;
}

static void stars(char *s, size_t n)
{
    memset(s, '*', n);
}

/* Does the key that ends at `end` end in this word? auth-str, auth_str and authStr are one word. */
static bool ends_in(const char *line, const char *end, const char *word)
{
    for (const char *w = word + strlen(word); w > word;) {
        if (end == line)
            return false;
        if (*--end != '-' && *end != '_' && tolower((unsigned char)*end) != *--w)
            return false;
    }
    return true;
}

static bool is_secret_key(const char *line, const char *end)
{
    static const char *const open[] = { "publickey", "hostkey", "bypass" };
    static const char *const secret[] = { "password", "passwd", "pass",           "passphrase",    "secret", "uuid",    "token",      "auth",  "authstr",
                                          "key",      "psk",    "authentication", "authorization", "cookie", "shortid", "encryption", "users", "protocolparam",
                                          "obfs" /* hysteria's is a password */ };

    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++)
        if (ends_in(line, end, open[i]))
            return false;
    for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
        if (ends_in(line, end, secret[i]))
            return true;
    return false;
}

/* From the opening quote to behind the closing one, or the end: \" and '' close nothing. */
static char *mask_quoted(char *at)
{
    for (char quote = *at++; *at; at++) {
        bool pair = at[1] && (quote == '"' ? *at == '\\' : *at == '\'' && at[1] == '\'');

        if (*at == quote && !pair)
            return at + 1;
        if (pair)
            *at++ = '*';
        *at = '*';
    }
    return at;
}

/* From [ or { to behind what closes it, or the end. */
static char *mask_collection(char *at)
{
    unsigned depth = 1;

    for (at++; *at && depth;) {
        if (*at == '"' || *at == '\'') {
            at = mask_quoted(at);
            continue;
        }
        depth += *at == '[' || *at == '{';
        depth -= *at == ']' || *at == '}';
        if (depth)
            *at = '*';
        at++;
    }
    return at;
}

/* In flow style a value ends at , ] } and else with the line. What stands behind a closing quote is masked, too: people forget to escape. */
static char *mask_value(char *at, bool flow)
{
    const char *ends = flow ? ",]}" : "";

    for (at += strspn(at, " "); *at == '!' || *at == '&'; at += strspn(at, " ")) { /* a tag, an anchor - or a password without its quotes */
        size_t n = strcspn(at, flow ? " ,]}" : " ");

        stars(at, n);
        at += n;
    }
    if (*at == '"' || *at == '\'')
        at = mask_quoted(at);
    else if (*at == '[' || *at == '{')
        at = mask_collection(at);
    for (at += strspn(at, " "); *at && !strchr(ends, *at); at++)
        *at = '*';
    return at;
}

/* Replaces the values of secret-looking keys: the line is shown on terminals and in logs. As many bytes as before. In block style a line has
 * one key, so what follows a bracket is in flow style, and a quoted key is JSON's. */
static void mask_secrets(char *line)
{
    for (char *at = line, *end; (at = strchr(at, ':'));) {
        bool quoted;

        for (end = at++; end > line && end[-1] == ' '; end--)
            ;
        quoted = end > line && (end[-1] == '"' || end[-1] == '\'');
        end -= quoted;
        if (is_secret_key(line, end))
            at = mask_value(at, quoted || strcspn(line, "[{") < (size_t)(end - line));
    }
}

/* How deep a line stands; the key of a list may stand as far left as its dashes. */
static size_t depth_of(const char *line, size_t len)
{
    size_t n = 0;

    while (n < len && line[n] == ' ')
        n++;
    return n + (n < len && line[n] == '-');
}

/* "key:" or "key: [", and the rest below it. */
static bool opens_secret(const char *line, size_t len)
{
    while (len && strchr(" [{|>+-", line[len - 1]))
        len--;
    if (!len || line[--len] != ':')
        return false;
    while (len && strchr(" \"'", line[len - 1]))
        len--;
    return is_secret_key(line, line + len);
}

/* Is this line part of a secret whose key stands above it? */
static bool is_below_secret(const struct cursor *c)
{
    const char *far = c->line - c->first > ABOVE_MAX ? c->line - ABOVE_MAX : c->first;
    size_t depth = depth_of(c->line, (size_t)(c->end - c->line));

    for (const char *line = c->line, *end; depth && line > far;) {
        const char *before = memrchr(far, '\n', (size_t)((end = line - 1) - far));
        size_t d;

        line = before ? before + 1 : far;
        while (end > line && (end[-1] == ' ' || end[-1] == '\r'))
            end--;
        d = depth_of(line, (size_t)(end - line));
        if (end == line || d >= depth)
            continue;
        if (opens_secret(line, (size_t)(end - line)))
            return true;
        depth = d;
    }
    return false;
}

#define TOKEN_MIN 16

/* A piece of a path that nobody would have chosen as a name: a subscription's address is its key. */
static bool is_token(const char *s, size_t n)
{
    return n >= TOKEN_MIN && strcspn(s, "0123456789") < n && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") >= n;
}

void cfg_mask_urls(char *s)
{
    while ((s = strstr(s, "://"))) {
        size_t authority = strcspn(s += 3, " \"'/?#,}]"), n;
        char *at = memrchr(s, '@', authority);

        if (at)
            stars(s, (size_t)(at - s));
        for (s += authority; *s == '/'; s += n) {
            n = strcspn(++s, " \"'/?#,}]");
            if (is_token(s, n))
                stars(s, n);
        }
        for (; *s == '?' || *s == '&'; s += n) {
            n = strcspn(++s, " \"'=&#,}]");
            if (s[n] != '=') {
                stars(s, is_token(s, n) ? n : 0);
                continue;
            }
            s += n + 1;
            n = strcspn(s, " \"'&#,}]");
            stars(s, n);
        }
    }
}

/* Where the window of what is shown begins: the line's beginning, or behind a separator. */
static const char *window_start(const struct cursor *c)
{
    const char *s = c->at;

    for (unsigned n = 0; s > c->line && n < BEFORE_MAX; n++)
        for (s--; s > c->line && ((unsigned char)*s & 0xc0) == 0x80; s--)
            ;
    while (s > c->line && s < c->at && *s != ',' && *s != '{' && *s != '[')
        s++;
    return s;
}

static void show_line(struct cursor *c, FILE *to)
{
    char raw[AHEAD_MAX + SHOWN_MAX * 4 + 8], safe[(sizeof(raw) - AHEAD_MAX) * 4], caret_text[sizeof(safe)];
    const char *start = window_start(c), *end = start;
    size_t before = (size_t)(c->at - start), ahead = (size_t)(start - c->line), len;

    if (ahead > AHEAD_MAX)
        ahead = AHEAD_MAX;
    for (unsigned n = 0; n < SHOWN_MAX && end < c->end && !break_len(end, c->end); n++)
        end = next_char(end, c->end);
    if ((len = (size_t)(end - start)) + ahead >= sizeof(raw) || before > len)
        return; /* not UTF-8 */
    for (size_t i = 0; i < ahead + len; i++) {
        char b = start[(ptrdiff_t)i - (ptrdiff_t)ahead];

        raw[i] = b == '\t' || !b ? ' ' : b;
    }
    raw[ahead + len] = 0;
    if (is_below_secret(c))
        stars(raw + strspn(raw, " -"), strlen(raw + strspn(raw, " -")));
    mask_secrets(raw);
    cfg_mask_urls(raw);
    log_safe(raw + ahead, len, safe, sizeof(safe));
    log_safe(raw + ahead, before, caret_text, sizeof(caret_text));
    fprintf(to, "    %s%s\n    %*s^\n", start == c->line ? "" : "...", safe, width_of(caret_text) + (start == c->line ? 0 : 3), "");
}

void diag_print(struct diag *d, FILE *to, bool colour)
{
    struct cursor at[CFG_SOURCES];

    diag_sort(d);
    for (unsigned i = 0; i < CFG_SOURCES; i++)
        at[i] = cursor_start(&d->source[i]);
    for (size_t i = 0; i < d->n; i++) {
        const struct diag_item *it = &d->items[i];
        const char *name = d->source[it->source].name, *word = it->level == DIAG_ERROR ? "error" : "warning";
        const char *on = !colour ? "" : it->level == DIAG_ERROR ? "\033[1;31m" : "\033[1;33m";

        fprintf(to, "%s:%u:%u: %s%s%s: %s\n", name ? name : "profile", it->line, it->column, on, word, colour ? "\033[0m" : "",
                it->message);
        if (cursor_move(&at[it->source], it->line, it->column))
            show_line(&at[it->source], to);
    }
    if (d->n_lost)
        fprintf(to, "%s: %zu more messages are not shown\n", d->source[0].name ? d->source[0].name : "profile", d->n_lost);
}
