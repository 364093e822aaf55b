/*
 * delay.c - one delay test: what it takes to reach a web address through an outbound
 *
 *   dial ─► TLS, for https ─► HEAD ─► the head of the answer ─► (unified: HEAD once more; only that is timed) ─► done
 *
 * No redirect is followed, no body is read. Every test has a TLS session of its own: one that is resumed would be faster, and nodes tested
 * later would look better than the first.
 */
#include "engine/delay.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "transport/transport.h"

#define ANSWER_MAX 16384

/* ---- what is asked for ---- */

static bool part(CURLU *u, CURLUPart which, unsigned flags, char *out, size_t size)
{
    char *text = NULL;
    bool good = curl_url_get(u, which, &text, flags) == CURLUE_OK && strlen(text) < size;

    if (good)
        strcpy(out, text);
    curl_free(text);
    return good;
}

/* Brackets of an IPv6 literal belong to the url, not to the host. */
static void unbracket(char *host)
{
    size_t n = strlen(host);

    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        memmove(host, host + 1, n - 2);
        host[n - 2] = '\0';
    }
}

int delay_url_parse(const char *url, struct delay_url *out)
{
    char scheme[8], port[6], query[DELAY_PATH_MAX] = "";
    CURLU *u = curl_url();
    bool good;

    memset(out, 0, sizeof(*out));
    good = u && strlen(url) < DELAY_PATH_MAX && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
           part(u, CURLUPART_SCHEME, 0, scheme, sizeof(scheme)) &&
           part(u, CURLUPART_HOST, 0, out->host, sizeof(out->host)) && part(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, port, sizeof(port)) &&
           part(u, CURLUPART_PATH, 0, out->path, sizeof(out->path)) && (!strcmp(scheme, "http") || !strcmp(scheme, "https"));
    if (good && part(u, CURLUPART_QUERY, 0, query, sizeof(query) - 1)) {
        good = strlen(out->path) + strlen(query) + 1 < sizeof(out->path);
        snprintf(out->path + strlen(out->path), sizeof(out->path) - strlen(out->path), "?%s", query);
    }
    curl_url_cleanup(u);
    if (!good || !(out->port = (uint16_t)strtoul(port, NULL, 10)))
        return -EINVAL;
    out->tls = !strcmp(scheme, "https");
    if (out->port == (out->tls ? 443 : 80))
        strcpy(out->authority, out->host);
    else
        snprintf(out->authority, sizeof(out->authority), "%s:%u", out->host, out->port);
    unbracket(out->host);
    return 0;
}

/* ---- the way there ---- */

static void let_go(struct delay_test *t)
{
    timer_cancel(&t->patience);
    job_cancel(&t->job);
    if (t->dialling)
        out_cancel(t->leaf, &t->dial);
    t->dialling = false;
    if (t->s)
        stream_close(t->s, -ERR_CLOSED);
    t->s = NULL;
    tls_client_free(t->tls);
    t->tls = NULL;
    free(t->answer);
    t->answer = NULL;
    out_put(t->o);
    t->o = NULL;
}

static void finish(struct delay_test *t, int err)
{
    t->err = err;
    let_go(t);
    t->done(t, err);
}

static void send_head(struct delay_test *t)
{
    char text[DELAY_PATH_MAX + HOST_MAX + 160];
    int n = snprintf(text, sizeof(text), "HEAD %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n%s\r\n", t->url.path,
                     t->url.authority, t->again ? "" : "Connection: close\r\n");
    struct iovec iov = { text, (size_t)n };
    ssize_t r = stream_write(t->s, &iov, 1);

    t->asked_ms = loop_clock();
    if (r != n) /* so little fits into every stream that is open */
        finish(t, r < 0 ? (int)r : -ERR_PROTO);
}

static bool is_expected(const struct delay_test *t)
{
    if (!t->expected.n)
        return true;
    for (uint32_t i = 0; i < t->expected.n; i++)
        if (t->status >= (int)t->expected.v[i].lo && t->status <= (int)t->expected.v[i].hi)
            return true;
    return false;
}

static void on_head(struct delay_test *t, const struct http_head *h)
{
    uint64_t now = loop_clock(), ms = now - (t->unified && !t->again ? t->asked_ms : t->began_ms);

    if (h->status < 200 && h->status != 101) { /* the true one follows */
        t->n_answer -= h->text.len;
        memmove(t->answer, t->answer + h->text.len, t->n_answer);
        return;
    }
    if (t->again) {
        t->again = false;
        t->n_answer = 0;
        send_head(t);
        return;
    }
    t->status = h->status;
    t->ms = ms ? (uint32_t)ms : 1;
    finish(t, is_expected(t) ? 0 : -ERR_STATUS);
}

static void read_answer(struct delay_test *t)
{
    for (;;) {
        struct iovec iov = { t->answer + t->n_answer, ANSWER_MAX - t->n_answer };
        struct http_head head;
        ssize_t n = stream_read(t->s, &iov, 1);
        int r;

        if (n == 0)
            return;
        if (n < 0) {
            finish(t, n == -STREAM_EOF ? -ERR_EARLY : (int)n);
            return;
        }
        t->n_answer += (size_t)n;
        if ((r = http_head_parse(t->answer, t->n_answer, &head)) < 0 || (!r && t->n_answer == ANSWER_MAX)) {
            finish(t, -ERR_PROTO);
            return;
        }
        if (!r)
            continue;
        on_head(t, &head);
        if (!t->s)
            return;
    }
}

static void on_ready(struct stream *s, unsigned what)
{
    struct delay_test *t = s->owner;

    if (what & STREAM_WRITABLE && !t->asked_ms)
        send_head(t);
    if (t->s)
        read_answer(t); /* what failed says why */
}

static int start_tls(struct delay_test *t)
{
    static const char *const alpn[] = { "http/1.1" };
    struct tls_config c = { .name = t->url.host, .alpn = alpn, .n_alpn = 1 };
    struct stream *up;
    char why[TR_WHY];
    int r = tls_client_new(&c, &t->tls, why);

    if (r < 0 || (r = tls_start(t->tls, t->o->env->loop, t->s, &up)) < 0)
        return r;
    t->s = up;
    return 0;
}

static void on_dialled(struct dial *d, struct stream *s, int err)
{
    struct delay_test *t = container_of(d, struct delay_test, dial);

    t->dialling = false;
    t->s = s;
    if (!err && t->url.tls)
        err = start_tls(t);
    if (err) {
        finish(t, err);
        return;
    }
    t->s->owner = t;
    t->s->on_ready = on_ready;
    if (!t->url.tls)
        send_head(t);
    if (t->s)
        read_answer(t);
}

static void on_patience(struct timer *tm)
{
    finish(container_of(tm, struct delay_test, patience), -ETIMEDOUT);
}

static void on_job(struct job *j)
{
    struct delay_test *t = container_of(j, struct delay_test, job);

    finish(t, t->err);
}

int delay_start(struct delay_test *t, struct outbound *o, const struct delay_url *url, const struct delay_expected *expected, bool unified,
                unsigned timeout_ms)
{
    struct outbound *chain[OUT_CHAIN_MAX];
    int r = -ENOMEM;

    *t = (struct delay_test){ .done = t->done, .url = *url, .expected = *expected, .unified = unified, .again = unified };
    if (!(t->answer = malloc(ANSWER_MAX)))
        return r;
    t->o = out_get(o);
    t->meta = (struct flow_meta){ .net = FLOW_TCP, .via = FLOW_VIA_INNER };
    t->meta.dst = (struct dest){ .at.port = url->port, .host = t->url.host };
    if (addr_parse(t->url.host, &t->meta.dst.at.ip) == 0)
        t->meta.dst.host = NULL;
    t->leaf = chain[out_resolve(o, &t->meta, chain) - 1];
    t->patience.cb = on_patience;
    t->job.cb = on_job;
    timer_set(o->env->loop, &t->patience, timeout_ms);
    t->began_ms = loop_clock();
    t->dial = (struct dial){ .to = t->meta.dst, .meta = &t->meta, .done = on_dialled };
    t->dialling = true;
    if ((r = out_dial(t->leaf, &t->dial)) < 0) { /* told later, as everything else */
        t->dialling = false;
        t->err = r;
        loop_defer(o->env->loop, &t->job);
    }
    return 0;
}

void delay_cancel(struct delay_test *t)
{
    if (t->o)
        let_go(t);
}
