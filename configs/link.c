/*
 * link.c - share links -> the entries that a profile would have for them
 *
 *   body ──► (base64?) ──► lines ──► scheme://user@host:port/path?query#name ──► { name, type, server, port, ... } as cfg_nodes
 *
 * A text from a link is always text: "true" or "~" in a password stay what they are. All nodes live in the document and carry the line of
 * their link (of the decoded text, when the body was base64).
 */
#include "configs/link.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "core/base64.h"

#define LINKS_MAX 32768
#define LOOK_AT   65536 /* bytes that link_looks_like() decides by */

/* ---- lines ---- */

static const struct {
    const char *scheme;
    int (*url)(struct links *l, const struct url *u);
    int (*text)(struct links *l, const char *s, size_t len);
} schemes[] = {
    { "ss", NULL, link_read_ss },         { "ssr", NULL, link_read_ssr },           { "vmess", NULL, link_read_vmess },
    { "vless", link_read_vless, NULL },   { "trojan", link_read_trojan, NULL },     { "hysteria2", link_read_hysteria2, NULL },
    { "hy2", link_read_hysteria2, NULL }, { "hysteria", link_read_hysteria, NULL }, { "tuic", link_read_tuic, NULL },
    { "anytls", link_read_anytls, NULL }, { "socks5", link_read_socks, NULL },      { "socks", link_read_socks, NULL },
    { "http", link_read_http, NULL },     { "https", link_read_https, NULL },
};
#define N_SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

/* Which scheme a line begins with, or N_SCHEMES. */
static size_t scheme_of(const char *s, size_t len)
{
    for (size_t i = 0; i < N_SCHEMES; i++) {
        size_t n = strlen(schemes[i].scheme);

        if (len > n + 3 && !strncasecmp(s, schemes[i].scheme, n) && !memcmp(s + n, "://", 3))
            return i;
    }
    return N_SCHEMES;
}

static int read_line(struct links *l, const char *s, size_t len)
{
    size_t i = scheme_of(s, len), n, shown = 0;
    struct url u;
    const char *line;

    if (i == N_SCHEMES) {
        while (shown < len && shown < 16 && (isalnum((unsigned char)s[shown]) || strchr("+-.", s[shown])))
            shown++;
        if (shown && len > shown + 3 && !memcmp(s + shown, "://", 3))
            return link_bad(l, "unknown-type", "%.*s:// is no scheme of a share link", (int)shown, s);
        return link_bad(l, "bad-value", "this is no share link (scheme://...)");
    }
    n = strlen(schemes[i].scheme) + 3;
    line = link_copy(l, s + n, len - n); /* ends with a NUL */
    if (memchr(line, 0, len - n))
        return link_bad(l, "bad-value", "a NUL byte cannot be in a link");
    if (schemes[i].text)
        return schemes[i].text(l, line, len - n);
    link_url(l, line, len - n, &u);
    return schemes[i].url(l, &u);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* ---- bodies ---- */

static void skip_bom(const char **s, size_t *len)
{
    if (*len >= 3 && !memcmp(*s, "\xef\xbb\xbf", 3)) {
        *s += 3;
        *len -= 3;
    }
}

/* Calls fn for each line, without blanks around it, until it returns false. */
static void each_line(const char *s, size_t len, bool (*fn)(void *arg, const char *s, size_t len), void *arg)
{
    const char *end = s + len;

    while (s < end) {
        const char *nl = memchr(s, '\n', (size_t)(end - s)), *to = nl ? nl : end;

        while (s < to && is_blank(*s))
            s++;
        while (to > s && is_blank(to[-1]))
            to--;
        if (!fn(arg, s, (size_t)(to - s)))
            return;
        s = nl ? nl + 1 : end;
    }
}

struct tally {
    uint32_t links, others;
};

static bool look(void *arg, const char *s, size_t len)
{
    struct tally *t = arg;

    if (scheme_of(s, len) < N_SCHEMES)
        t->links++;
    else if (len && *s != '#')
        t->others++;
    return true;
}

/* Are they mostly links? One or two stand in YAML as well: the value of a key in a line of its own, an address in a text. */
static bool has_links(const char *s, size_t len)
{
    struct tally t = { 0 };

    each_line(s, len, look, &t);
    return t.links && t.links >= t.others;
}

/* Decodes at most the first `most` characters; NULL when they are no base64. */
static char *decode_body(const char *s, size_t len, size_t most, size_t *out_len)
{
    size_t n = len < most ? len : most, cuts = n < len ? 2 : 1; /* a part may end behind the first of a group */
    char *out = malloc(BASE64_ROOM(n) + 1);
    ssize_t got = -EINVAL;

    for (size_t cut = 0; out && got < 0 && cut < cuts && cut <= n; cut++)
        got = base64_decode(s, n - cut, (uint8_t *)out, BASE64_ROOM(n));
    if (got >= 0) {
        *out_len = (size_t)got;
        return out;
    }
    free(out);
    return NULL;
}

bool link_looks_like(const char *bytes, size_t len)
{
    size_t n = 0;
    char *text;
    bool is;

    skip_bom(&bytes, &len);
    if (has_links(bytes, len < LOOK_AT ? len : LOOK_AT))
        return true;
    if (!(text = decode_body(bytes, len, LOOK_AT, &n)))
        return false;
    is = has_links(text, n);
    free(text);
    return is;
}

static bool take_line(void *arg, const char *s, size_t len)
{
    struct links *l = arg;

    if (l->list->n == LINKS_MAX) {
        link_bad(l, "bad-value", "there are more than 32,768 links");
        return false;
    }
    if (len && *s != '#' && !(len >= 2 && !memcmp(s, "//", 2)))
        read_line(l, s, len);
    l->line++;
    return !l->oom;
}

static void read_body(struct links *l, const char *bytes, size_t len)
{
    char *text = NULL;
    size_t n = 0;

    skip_bom(&bytes, &len);
    if (!has_links(bytes, len))
        text = decode_body(bytes, len, len, &n);
    each_line(text ? text : bytes, text ? n : len, take_line, l);
    free(text);
}

struct cfg_doc *link_parse(const char *bytes, size_t len, struct diag *d)
{
    struct links l = { .doc = cfg_doc_new(), .d = d, .line = 1 };
    struct cfg_node *root = NULL;

    if (len > CFG_MAX_INPUT) {
        diag_err(d, 0, 0, "", "yaml", "larger than 64 MiB");
        cfg_doc_free(l.doc);
        return NULL;
    }
    l.oom = !l.doc || map_init(&l.names, 256) < 0;
    root = l.oom ? NULL : link_node(&l, CFG_MAP, NULL);
    if ((l.list = root ? link_put(&l, root, "proxies", link_node(&l, CFG_SEQ, NULL)) : NULL))
        read_body(&l, bytes, len);
    map_fini(&l.names);
    if (!l.oom && l.list && l.list->n) {
        cfg_set_root(l.doc, root);
        return l.doc;
    }
    diag_err(d, l.oom ? 0 : 1, l.oom ? 0 : 1, "", "yaml", l.oom ? "out of memory" : "not one line is a share link");
    cfg_doc_free(l.doc);
    return NULL;
}
