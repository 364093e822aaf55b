/*
 * diag.c - messages about a document: collected, sorted by position, printed with the line they speak of
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "configs/config.h"

#define ITEMS_MAX 10000
#define LINE_SHOWN 160

void diag_init(struct diag *d, const char *name, const char *src, size_t src_len, bool strict)
{
    *d = (struct diag){ .name = name, .src = src, .src_len = src_len, .strict = strict };
}

void diag_fini(struct diag *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].path);
        free(d->items[i].message);
    }
    free(d->items);
    *d = (struct diag){ .name = d->name };
}

static void add(struct diag *d, enum diag_level level, uint32_t line, uint32_t col, const char *path, const char *code, const char *fmt, va_list ap)
{
    struct diag_item *it;

    if (level == DIAG_ERROR)
        d->n_errors++;
    else
        d->n_warnings++;
    if (d->n == d->cap && d->n < ITEMS_MAX) {
        size_t cap = d->cap ? d->cap * 2 : 16;
        struct diag_item *more = realloc(d->items, cap * sizeof(*more));

        if (more) {
            d->items = more;
            d->cap = cap;
        }
    }
    if (d->n == d->cap) {
        d->n_lost++;
        return;
    }
    it = &d->items[d->n];
    *it = (struct diag_item){ .level = level, .line = line, .column = col, .code = code, .path = strdup(path ? path : "") };
    if (vasprintf(&it->message, fmt, ap) < 0)
        it->message = NULL;
    if (!it->path || !it->message) {
        free(it->path);
        free(it->message);
        d->n_lost++;
        return;
    }
    d->n++;
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

    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->column == y->column ? 0 : x->column < y->column ? -1 : 1;
}

void diag_sort(struct diag *d)
{
    if (d->n)
        qsort(d->items, d->n, sizeof(*d->items), by_position);
}

static const char *find_line(const struct diag *d, uint32_t line, size_t *len)
{
    const char *at = d->src, *end = d->src + d->src_len, *nl;

    if (!d->src || !line)
        return NULL;
    while (--line) {
        if (!(nl = memchr(at, '\n', (size_t)(end - at))))
            return NULL;
        at = nl + 1;
    }
    nl = memchr(at, '\n', (size_t)(end - at));
    *len = (size_t)((nl ? nl : end) - at);
    if (*len && at[*len - 1] == '\r')
        --*len;
    return at;
}

/* Replaces the values of secret-looking keys: the line is shown on terminals and in logs. */
static void mask_secrets(char *s)
{
    static const char *const keys[] = { "password", "secret", "uuid", "private-key", "pre-shared-key", "psk", "token", "auth", "auth-str",
                                        "obfs-password", "authentication" };

    for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        for (char *at = s; (at = strcasestr(at, keys[k]));) {
            at += strlen(keys[k]);
            while (*at == '"' || *at == '\'' || *at == ' ')
                at++;
            if (*at != ':')
                continue;
            for (at++; *at == ' '; at++)
                ;
            for (char quote = *at == '"' || *at == '\'' ? *at++ : 0; *at && (quote ? *at != quote : *at != ',' && *at != '}'); at++)
                *at = '*';
        }
    }
}

/* The source line and a caret below the column (columns count characters, not bytes). */
static void show_line(const struct diag *d, const struct diag_item *it, FILE *to)
{
    char shown[LINE_SHOWN * 4 + 8];
    size_t len, bytes = 0;
    const char *line = find_line(d, it->line, &len);

    if (!line || !it->column)
        return;
    for (size_t chars = 0; bytes < len && chars < LINE_SHOWN; bytes++)
        chars += ((unsigned char)line[bytes] & 0xc0) != 0x80;
    log_safe(line, bytes, shown, sizeof(shown));
    mask_secrets(shown);
    fprintf(to, "    %s\n    ", shown);
    for (uint32_t i = 1; i < it->column && i < LINE_SHOWN; i++)
        fputc(' ', to);
    fputs("^\n", to);
}

void diag_print(struct diag *d, FILE *to, bool colour)
{
    diag_sort(d);
    for (size_t i = 0; i < d->n; i++) {
        const struct diag_item *it = &d->items[i];
        const char *word = it->level == DIAG_ERROR ? "error" : "warning";
        const char *on = !colour ? "" : it->level == DIAG_ERROR ? "\033[1;31m" : "\033[1;33m";

        fprintf(to, "%s:%u:%u: %s%s%s: %s\n", d->name, it->line, it->column, on, word, colour ? "\033[0m" : "", it->message);
        show_line(d, it, to);
    }
    if (d->n_lost)
        fprintf(to, "%s: %zu more messages are not shown\n", d->name, d->n_lost);
}
