/*
 * said.c - what a server said about a provider's content
 *
 * A text that is too long or holds anything but printable ASCII counts as not said, where it comes from the network and where it comes from
 * the disk: it is sent back in a request one day.
 */
#include "engine/said.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    size_t at;
} fields[] = {
    { "etag", offsetof(struct said, etag) },
    { "last-modified", offsetof(struct said, modified) },
    { "subscription-userinfo", offsetof(struct said, userinfo) },
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static char *field(struct said *s, size_t i)
{
    return (char *)s + fields[i].at;
}

static void take(char out[SAID_MAX], const char *text, size_t len)
{
    *out = 0;
    if (len >= SAID_MAX)
        return;
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            return;
    memcpy(out, text, len);
    out[len] = 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void said_header(struct said *s, const char *line, size_t len)
{
    if (len > 5 && !strncasecmp(line, "HTTP/", 5))
        memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < N_FIELDS; i++) {
        size_t n = strlen(fields[i].name), end = len;

        if (len <= n || strncasecmp(line, fields[i].name, n) != 0 || line[n++] != ':')
            continue;
        while (n < end && is_blank(line[n]))
            n++;
        while (end > n && is_blank(line[end - 1]))
            end--;
        take(field(s, i), line + n, end - n);
    }
}

char *said_write(const struct said *s, const char *url)
{
    json_t *o = json_pack("{ss ss ss ss}", "url", url, "etag", s->etag, "last-modified", s->modified, "subscription-userinfo", s->userinfo);
    char *text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;

    json_decref(o);
    return text;
}

void said_read(struct said *s, const char *bytes, size_t len, const char *url)
{
    json_t *o = json_loadb(bytes, len, 0, NULL);
    const char *about = json_string_value(json_object_get(o, "url"));

    memset(s, 0, sizeof(*s));
    for (size_t i = 0; about && !strcmp(about, url) && i < N_FIELDS; i++) {
        const char *text = json_string_value(json_object_get(o, fields[i].name));

        if (text)
            take(field(s, i), text, strlen(text));
    }
    json_decref(o);
}

/* Digits, perhaps with a fraction or an exponent, as services that count in floats write it. */
static int64_t number(const char *text)
{
    double n = *text >= '0' && *text <= '9' ? strtod(text, NULL) : 0;

    return n >= 0 && n < 9e18 ? (int64_t)n : 0;
}

void said_account(const char *userinfo, struct said_account *a)
{
    const struct {
        const char *key;
        int64_t *to;
    } keys[] = { { "upload", &a->upload }, { "download", &a->download }, { "total", &a->total }, { "expire", &a->expire } };

    memset(a, 0, sizeof(*a));
    for (const char *at = userinfo; *at; at += strcspn(at, ";,"), at += strspn(at, ";, ")) {
        at += strspn(at, " ");
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
            size_t n = strlen(keys[i].key), gap = strncasecmp(at, keys[i].key, n) ? 0 : strspn(at + n, " ");

            if (!strncasecmp(at, keys[i].key, n) && at[n + gap] == '=')
                *keys[i].to = number(at + n + gap + 1 + strspn(at + n + gap + 1, " "));
        }
    }
}
