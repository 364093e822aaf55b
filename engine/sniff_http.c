/*
 * sniff_http.c - the name an HTTP/1 request is for
 *
 *   METHOD SP TARGET SP HTTP/1.x CRLF           the target may name the host: http://HOST[:PORT]/..., and HOST:PORT of CONNECT
 *   field-name: value CRLF ... CRLF             else the first Host field does
 *
 * Lines may end in a bare LF, letter case does not matter. A first word that can be no method ends it at once, so that other protocols on
 * the port are not waited for.
 */
#include <string.h>
#include <strings.h>

#include "engine/sniff_private.h"

#define METHOD_MAX 24

struct text {
    const char *p;
    size_t len;
};

static bool is_token(char c)
{
    return c && (strchr("!#$%&'*+-.^_`|~", c) || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct text trimmed(const char *p, const char *end)
{
    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    return (struct text){ p, (size_t)(end - p) };
}

/* HOST, HOST:PORT or USER@HOST:PORT */
static enum sniff authority(struct text t, char host[HOST_MAX + 1])
{
    const char *at = memrchr(t.p, '@', t.len), *colon;

    if (at)
        t = (struct text){ at + 1, t.len - (size_t)(at + 1 - t.p) };
    colon = memchr(t.p, ':', t.len);
    return sniff_host((const uint8_t *)t.p, colon ? (size_t)(colon - t.p) : t.len, host);
}

static enum sniff target_name(struct text method, struct text target, char host[HOST_MAX + 1])
{
    const char *slashes = memmem(target.p, target.len, "://", 3), *end = target.p + target.len, *p;

    if (method.len == 7 && !strncasecmp(method.p, "CONNECT", 7))
        return authority(target, host);
    if (!slashes || *target.p == '/')
        return SNIFF_MORE;
    p = slashes + 3;
    for (const char *c = p; c < end; c++)
        if (strchr("/?#", *c)) {
            end = c;
            break;
        }
    return authority((struct text){ p, (size_t)(end - p) }, host);
}

/* SNIFF_NOT as soon as the bytes so far can begin no request. */
static enum sniff check_method(const char *p, size_t len, struct text *method)
{
    for (size_t i = 0; i < len && i <= METHOD_MAX; i++) {
        if (p[i] == ' ' && i) {
            *method = (struct text){ p, i };
            return SNIFF_NAME;
        }
        if (!is_token(p[i]))
            return SNIFF_NOT;
    }
    return len > METHOD_MAX ? SNIFF_NOT : SNIFF_MORE;
}

/* A request line, whole: SNIFF_NAME if its target has the name, SNIFF_MORE if the fields must say it. */
static enum sniff request_line(struct text method, const char *eol, char host[HOST_MAX + 1])
{
    struct text rest = trimmed(method.p + method.len, eol);
    const char *space = memrchr(rest.p, ' ', rest.len);
    size_t version = space ? rest.len - (size_t)(space + 1 - rest.p) : 0;

    if (version != 8 || strncasecmp(space + 1, "HTTP/1.", 7) != 0)
        return SNIFF_NOT;
    return target_name(method, trimmed(rest.p, space), host);
}

enum sniff sniff_http(const void *bytes, size_t len, char host[HOST_MAX + 1])
{
    const char *p = bytes, *end = p + (len < SNIFF_MAX ? len : SNIFF_MAX), *eol;
    enum sniff more = len < SNIFF_MAX ? SNIFF_MORE : SNIFF_NOT, s;
    struct text method;

    if ((s = check_method(p, (size_t)(end - p), &method)) != SNIFF_NAME)
        return s;
    if (!(eol = memchr(p, '\n', (size_t)(end - p))))
        return more;
    if ((s = request_line(method, eol, host)) != SNIFF_MORE)
        return s;
    for (p = eol + 1; (eol = memchr(p, '\n', (size_t)(end - p))); p = eol + 1) {
        const char *colon = memchr(p, ':', (size_t)(eol - p));

        if (!trimmed(p, eol).len)
            return SNIFF_NOT;
        if (colon && colon - p == 4 && !strncasecmp(p, "host", 4))
            return authority(trimmed(colon + 1, eol), host);
    }
    return more;
}
