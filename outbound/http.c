/*
 * http.c - HTTP proxies (CONNECT)
 *
 *   ──► CONNECT host:port HTTP/1.1 | headers          ◄── HTTP/1.x 2xx | whatever          then bytes both ways, unchanged
 *
 * The handshake is a layer on hold; once the proxy agreed, a call goes straight through. Bytes that came with its answer are the tunnel's,
 * and a length that it states means nothing (RFC 9110 section 9.3.6). An HTTP proxy never carries UDP.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/layer.h"
#include "outbound/options.h"
#include "outbound/private.h"
#include "outbound/under.h"

#define USER_MAX 1024 /* user, colon and password */

struct http {
    struct outbound o;
    struct opt_tls tls;
    struct opt_headers headers; /* they may replace Host and User-Agent */
    struct under under;
    const char *user, *password;
};

static const struct cfg_field http_fields[] = {
    OUT_SERVER_FIELDS,
    { "username", CFG_STR, offsetof(struct http, user) },
    { "password", CFG_SECRET, offsetof(struct http, password) },
    { 0 },
};

static const struct opt_part http_parts[] = {
    { offsetof(struct http, tls), opt_tls_sni },
    { offsetof(struct http, headers), opt_headers },
    { 0 },
};

/* ---- the handshake ---- */

struct connect {
    struct layer y;
    struct http *node;
    size_t len;
    char *request; /* until it is sent */
};

static struct connect *of(struct layer *y)
{
    return container_of(y, struct connect, y);
}

static void forget_request(struct connect *c)
{
    if (c->request)
        OPENSSL_cleanse(c->request, c->len);
    free(c->request);
    c->request = NULL;
}

static bool has_user(const struct http *n)
{
    return n->user && *n->user;
}

/* What an answer means for the flow: some are about the proxy, most about the destination. */
static int verdict(int status)
{
    switch (status) {
    case 403: return -ERR_RULE;
    case 401: /* tinyproxy's word for a wrong password */
    case 407: return -ERR_AUTH;
    case 500:
    case 502:
    case 503: return -EHOSTUNREACH;
    case 504: return -ETIMEDOUT;
    default: return status / 100 == 2 ? 0 : -ERR_STATUS;
    }
}

static int refused(struct http *n, int err, const struct http_head *h)
{
    bool unknown = h->status == 403 && has_user(n) && !n->o.answered; /* a port that is not allowed, or credentials: nothing was allowed yet */
    bool method = h->status == 405 || h->status == 501;
    char said[HTTP_SAID], both[HTTP_SAID + 40];

    snprintf(both, sizeof(both), "%s%s", method ? "CONNECT is not allowed: " : "", http_said(h, said));
    if (err == -ERR_AUTH || err == -ERR_STATUS || unknown)
        out_note_answer(&n->o, unknown ? -ERR_AUTH : err, both);
    return err;
}

static int connect_open(struct layer *y, struct cursor *to)
{
    struct connect *c = of(y);
    struct http_head h;
    int r;

    if (c->request) {
        r = layer_put(y, c->request, c->len);
        forget_request(c);
        return r < 0 ? r : 1;
    }
    if ((r = http_head_parse(layer_wire(y), y->n_in, &h)) <= 0)
        return r;
    layer_eat(y, h.text.len);
    if (h.status / 100 == 1)
        return 1;
    if ((r = verdict(h.status)) < 0)
        return refused(c->node, r, &h);
    y->hold = false;
    y->raw_in = y->raw_out = true;
    return 1;
}

static int connect_seal(struct layer *y, struct cursor *from)
{
    return -EPIPE; /* never: on hold nothing is sealed, and then it is raw */
}

static int connect_eof(struct layer *y)
{
    return y->n_in ? -ERR_PROTO : -ERR_EARLY;
}

static void connect_fini(struct layer *y)
{
    forget_request(of(y));
    free(of(y));
}

static const struct layer_ops connect_ops = {
    .stream = LAYER_STREAM("http"), .half = LAYER_FIN, .seal = connect_seal, .open = connect_open, .eof = connect_eof, .fini = connect_fini
};

/* ---- the request ---- */

static void put_authority(FILE *f, const struct dest *to)
{
    char buf[ENDPOINT_STRLEN];
    struct endpoint at = to->at;

    if (to->host && addr_parse(to->host, &at.ip) < 0)
        fprintf(f, "%s:%u", to->host, at.port);
    else
        fputs(endpoint_str(&at, buf), f);
}

static void put_credentials(FILE *f, const struct http *n)
{
    char both[USER_MAX + 2], text[(USER_MAX + 2) / 3 * 4 + 8];

    if (!has_user(n))
        return;
    snprintf(both, sizeof(both), "%s:%s", n->user, n->password ? n->password : "");
    EVP_EncodeBlock((uint8_t *)text, (uint8_t *)both, (int)strlen(both));
    fprintf(f, "Proxy-Authorization: Basic %s\r\n", text);
    OPENSSL_cleanse(both, sizeof(both));
    OPENSSL_cleanse(text, sizeof(text));
}

/* Nothing in a name may end a line: it comes from an application's DNS question. */
static bool fits_a_line(const char *host)
{
    for (; *host; host++)
        if ((uint8_t)*host <= ' ' || *host == 0x7f)
            return false;
    return true;
}

static int make_request(struct connect *c, const struct http *n, const struct dest *to)
{
    FILE *f;

    if (to->host ? !fits_a_line(to->host) : !addr_is_set(&to->at.ip))
        return -ERR_NAME;
    if (!(f = open_memstream(&c->request, &c->len)))
        return -ENOMEM;
    fputs("CONNECT ", f);
    put_authority(f, to);
    fputs(" HTTP/1.1\r\n", f);
    if (!opt_header(&n->headers, "Host")) {
        fputs("Host: ", f);
        put_authority(f, to);
        fputs("\r\n", f);
    }
    put_credentials(f, n);
    for (uint32_t i = 0; i < n->headers.n; i++)
        fprintf(f, "%s: %s\r\n", n->headers.v[i].name, n->headers.v[i].values.v[0]);
    fputs("\r\n", f);
    return fclose(f) == 0 ? 0 : -ENOMEM;
}

static int http_wrap(struct outbound *o, const struct dial *d, uint8_t command, struct stream *down, struct stream **up)
{
    struct http *n = container_of(o, struct http, o);
    struct connect *c = calloc(1, sizeof(*c));
    int r = c ? make_request(c, n, &d->to) : -ENOMEM;

    if (r < 0) {
        if (c)
            connect_fini(&c->y);
        return r;
    }
    c->node = n;
    layer_init(&c->y, &connect_ops, o->env->loop, down);
    layer_start(&c->y);
    *up = &c->y.s;
    return 1;
}

/* ---- the node ---- */

static int http_init(struct outbound *o, const struct opt_src *s)
{
    struct http *n = container_of(o, struct http, o);

    if (n->user && strlen(n->user) + (n->password ? strlen(n->password) : 0) > USER_MAX)
        return opt_bad(s, "password", "password: it has, with the username, at most %d bytes", USER_MAX);
    if (n->user && strchr(n->user, ':'))
        return opt_bad(s, "username", "username: it cannot have a colon (RFC 7617)");
    o->udp = false;
    return under_init(&n->under, o, &n->tls, NULL, &(struct under_defaults){ 0 }, s);
}

static void http_fini(struct outbound *o)
{
    under_fini(&container_of(o, struct http, o)->under);
}

static int http_dial(struct outbound *o, struct dial *d)
{
    return link_dial(o, d, &container_of(o, struct http, o)->under, http_wrap, 0);
}

const struct outbound_ops http_ops = {
    .type = "http",
    .api_type = "Http",
    .action = OUT_PROXY,
    .fields = http_fields,
    .parts = http_parts,
    .size = sizeof(struct http),
    .init = http_init,
    .fini = http_fini,
    .dial = http_dial,
    .cancel = link_cancel,
};
