/*
 * fetch.c - one download by libcurl
 *
 *   url ─► hop ─► 200: body      304: unchanged      3xx: the next hop, at most five, never down from https      else: an error
 *
 * This runs in a thread of the pool, not on the loop: reading the store of certificates alone takes 15 ms, in which no packet would move.
 * Each hop is a libcurl transfer of its own with a fresh connection, so that redirects are looked at before they are followed and no
 * connection is shared between ways out.
 *
 * libcurl thinks that it speaks to a SOCKS 5 proxy; the descriptor comes connected from in->open(). It resolves no names and opens no
 * sockets.
 *
 * Memory: the body grows up to in->max. Urls may hold passwords: messages name the host only.
 */
#include "engine/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"
#include "core/log.h"
#include "core/loop.h"

#define HOPS_MAX 6 /* the url and five redirects */

struct transfer {
    const struct fetch_in *in;
    struct fetch_out *out;
    CURL *curl;
    size_t cap;
    bool too_big, no_memory;
    char error[CURL_ERROR_SIZE];
};

/* ---- what libcurl calls ---- */

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct transfer *t = arg;

    return t->in->stop && atomic_load(t->in->stop);
}

static bool make_room(struct transfer *t, size_t need)
{
    size_t cap = t->cap ? t->cap : 4096;
    char *p;

    while (cap < need + 1)
        cap *= 2;
    if (cap == t->cap)
        return true;
    if (!(p = realloc(t->out->body, cap)))
        return false;
    t->out->body = p;
    t->cap = cap;
    return true;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct transfer *t = arg;
    struct fetch_out *o = t->out;

    n *= size;
    if (n > t->in->max - o->len) {
        t->too_big = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (!make_room(t, o->len + n)) {
        t->no_memory = true;
        return CURL_WRITEFUNC_ERROR;
    }
    memcpy(o->body + o->len, p, n);
    o->len += n;
    o->body[o->len] = 0;
    return n;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
    said_header(&((struct transfer *)arg)->out->said, line, n * size);
    return n * size;
}

/* ---- urls ---- */

struct origin {
    char scheme[8], host[256], port[8];
};

static void copy_part(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t size)
{
    char *text = NULL;

    *out = 0;
    if (curl_url_get(u, part, &text, flags) == CURLUE_OK && strlen(text) < size)
        strcpy(out, text);
    curl_free(text);
}

/* false: no url that we fetch. */
static bool origin_of(const char *url, struct origin *o)
{
    CURLU *u = curl_url();
    bool good = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;

    if (good) {
        copy_part(u, CURLUPART_SCHEME, 0, o->scheme, sizeof(o->scheme));
        copy_part(u, CURLUPART_HOST, 0, o->host, sizeof(o->host));
        copy_part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, o->port, sizeof(o->port));
    }
    curl_url_cleanup(u);
    return good && (!strcasecmp(o->scheme, "https") || !strcasecmp(o->scheme, "http")) && *o->host && *o->port;
}

static bool same_origin(const struct origin *a, const struct origin *b)
{
    return !strcasecmp(a->scheme, b->scheme) && !strcasecmp(a->host, b->host) && !strcmp(a->port, b->port);
}

/* ---- one hop ---- */

static struct curl_slist *add_line(struct curl_slist *list, const char *line, bool *failed)
{
    struct curl_slist *more = curl_slist_append(list, line);

    *failed |= !more;
    return more ? more : list;
}

/* The lines of this request. Conditions are about the url itself, so they stay when it leads elsewhere. */
static struct curl_slist *lines_of(const struct fetch_in *in, bool own, bool *failed)
{
    char line[SAID_MAX + 32];
    struct curl_slist *list = NULL;

    for (size_t i = 0; own && in->headers && in->headers[i]; i++)
        if (!strpbrk(in->headers[i], "\r\n"))
            list = add_line(list, in->headers[i], failed);
    if (in->etag && *in->etag) {
        snprintf(line, sizeof(line), "If-None-Match: %s", in->etag);
        list = add_line(list, line, failed);
    }
    if (in->modified && *in->modified) {
        snprintf(line, sizeof(line), "If-Modified-Since: %s", in->modified);
        list = add_line(list, line, failed);
    }
    return list;
}

static bool set_up(struct transfer *t, const char *url, const char *socket, const struct curl_slist *lines, long ms)
{
    const char *ca = t->in->ca_file;
    CURL *c = t->curl;

#define SET(option, value) (curl_easy_setopt(c, option, value) == CURLE_OK)
    return SET(CURLOPT_URL, url) && SET(CURLOPT_PROTOCOLS_STR, "http,https") && SET(CURLOPT_NOSIGNAL, 1L) && SET(CURLOPT_TIMEOUT_MS, ms) &&
           SET(CURLOPT_PROXY, "") && SET(CURLOPT_ABSTRACT_UNIX_SOCKET, socket) && SET(CURLOPT_FRESH_CONNECT, 1L) &&
           SET(CURLOPT_FORBID_REUSE, 1L) && SET(CURLOPT_HTTPHEADER, lines) && SET(CURLOPT_USERAGENT, t->in->user_agent) &&
           SET(CURLOPT_ACCEPT_ENCODING, "") && SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->in->max) &&
           SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, t) && SET(CURLOPT_HEADERFUNCTION, on_header) &&
           SET(CURLOPT_HEADERDATA, t) && SET(CURLOPT_NOPROGRESS, 0L) && SET(CURLOPT_XFERINFOFUNCTION, on_progress) &&
           SET(CURLOPT_XFERINFODATA, t) && SET(CURLOPT_ERRORBUFFER, t->error) &&
           (!ca || (SET(CURLOPT_CAINFO, ca) && SET(CURLOPT_CAPATH, NULL)));
#undef SET
}

static int say(struct fetch_out *o, int err, const char *what)
{
    char shown[CURL_ERROR_SIZE];

    snprintf(o->why, sizeof(o->why), "%s%s%s", o->host, *o->host ? ": " : "", log_safe(what, strlen(what), shown, sizeof(shown)));
    return err;
}

static int explain(struct transfer *t, CURLcode code)
{
    int failed;

    if (t->no_memory || code == CURLE_OUT_OF_MEMORY)
        return say(t->out, -ENOMEM, "out of memory");
    if (t->too_big || code == CURLE_FILESIZE_EXCEEDED)
        return say(t->out, -ERR_LIMIT, "the file is larger than the limit");
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return say(t->out, -ERR_CLOSED, "given up");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return say(t->out, -ETIMEDOUT, "it took too long");
    if (t->in->failed && (failed = t->in->failed(t->in->arg)) < 0)
        return say(t->out, failed, err_str(failed));
    return say(t->out, -ERR_PROTO, *t->error ? t->error : curl_easy_strerror(code));
}

static int hop(struct transfer *t, const char *url, const struct origin *at, bool own, long ms)
{
    char socket[FETCH_NAME_MAX];
    bool failed = false;
    struct curl_slist *lines;
    CURLcode code;
    int r = t->in->open(t->in->arg, at->host, (uint16_t)atoi(at->port), socket);

    if (r < 0)
        return say(t->out, r, err_str(r));
    lines = lines_of(t->in, own, &failed);
    t->out->len = 0;
    *t->error = 0;
    curl_easy_reset(t->curl);
    if (failed || !set_up(t, url, socket, lines, ms)) {
        curl_slist_free_all(lines);
        return say(t->out, -ENOMEM, "out of memory");
    }
    code = curl_easy_perform(t->curl);
    curl_slist_free_all(lines);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->out->status);
    return code == CURLE_OK ? 0 : explain(t, code);
}

/* ---- all of them ---- */

/* Where this answer leads: *url is replaced (owned), or the reason why not. */
static int follow(struct transfer *t, char **url, struct origin *at)
{
    struct origin to;
    char *next = NULL;

    if (curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &next) != CURLE_OK || !next || !origin_of(next, &to))
        return say(t->out, -ERR_PROTO, "it leads to a place that is no http or https address");
    if (!strcasecmp(at->scheme, "https") && strcasecmp(to.scheme, "https") != 0)
        return say(t->out, -ERR_PROTO, "it leads from https to http: not followed");
    if (!(next = strdup(next)))
        return say(t->out, -ENOMEM, "out of memory");
    free(*url);
    *url = next;
    *at = to;
    return 0;
}

static int judge(struct fetch_out *o, bool asked_for_new)
{
    char what[64];

    o->unchanged = o->status == 304 && asked_for_new;
    if (o->status == 200 && o->body)
        return 0;
    if (o->unchanged)
        return 0;
    snprintf(what, sizeof(what), o->status == 200 ? "an empty answer" : "HTTP status %ld", o->status);
    return say(o, -ERR_PROTO, what);
}

static int hops(struct transfer *t, char **url)
{
    const struct fetch_in *in = t->in;
    uint64_t until = loop_clock() + in->timeout_ms;
    struct origin first, at;
    int r;

    if (!origin_of(*url, &first))
        return say(t->out, -EINVAL, "the url is no http or https address");
    at = first;
    for (int i = 0; i < HOPS_MAX; i++) {
        uint64_t now = loop_clock();

        snprintf(t->out->host, sizeof(t->out->host), "%s", at.host);
        if (now >= until)
            return say(t->out, -ETIMEDOUT, "it took too long");
        if ((r = hop(t, *url, &at, same_origin(&first, &at), (long)(until - now))) < 0)
            return r;
        if (t->out->status < 300 || t->out->status > 399 || t->out->status == 304)
            return judge(t->out, (in->etag && *in->etag) || (in->modified && *in->modified));
        if ((r = follow(t, url, &at)) < 0)
            return r;
    }
    return say(t->out, -ERR_PROTO, "more than five redirects");
}

static void init_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int fetch(const struct fetch_in *in, struct fetch_out *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct transfer t = { .in = in, .out = out };
    char *url = strdup(in->url);
    int r = -ENOMEM;

    memset(out, 0, sizeof(*out));
    pthread_once(&once, init_once);
    if (url && (t.curl = curl_easy_init()))
        r = hops(&t, &url);
    if (r < 0 || out->unchanged) {
        free(out->body);
        out->body = NULL;
        out->len = 0;
    }
    curl_easy_cleanup(t.curl);
    free(url);
    return r;
}

void fetch_fini(struct fetch_out *out)
{
    free(out->body);
    out->body = NULL;
}
