/*
 * under.c - from a carrier to a stream that a protocol can begin on
 *
 *   CARRIER ──► OBFS ──► TLS ──► NET ──► MUX ──► done
 *
 * Each step that the profile asks for puts one layer on the stream. One that must talk first is waited for; then the next. All of them
 * together have ten seconds. gRPC is different in that many flows share connections: grpc_pool.c makes those (as far as TLS) and hands out
 * streams.
 *
 * What cannot work is found when the profile is read: client certificates are loaded then, and what this build does not speak is said.
 */
#include "outbound/under.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/hash.h"
#include "outbound/obfs.h"

#define SHAKE_MS   10000
#define FIELDS_MAX 32

enum step { STEP_CARRIER, STEP_OBFS, STEP_TLS, STEP_NET, STEP_MUX };

/* ---- setting up ---- */

/* Said once: it is in most profiles, and nobody but an observer on the way can tell. */
static void note_fingerprint(const struct opt_tls *t)
{
    static bool said;

    if (!t->fingerprint || said)
        return;
    said = true;
    log_info(LOG_OUT, "client-fingerprint has no effect: the TLS hello is OpenSSL's own, not a browser's");
}

static int load_pem(const struct under *u, const char *source, const char *key, const struct opt_src *s, char **text)
{
    int r = out_pem(u->o->env, source, text);

    return r < 0 && r != -ENOMEM ? opt_bad(s, key, "%s: neither PEM text nor a file in the state directory: %s", key, err_str(r)) : r;
}

static int make_client(struct under *u, struct tls_config *cfg, const struct opt_src *s)
{
    char *cert = NULL, *key = NULL, why[TR_WHY];
    int r = 0;

    if (u->tls->certificate && (r = load_pem(u, u->tls->certificate, "certificate", s, &cert)) == 0)
        r = load_pem(u, u->tls->private_key, "private-key", s, &key);
    cfg->cert = cert;
    cfg->key = key;
    if (r == 0 && (r = tls_client_new(cfg, &u->client, why)) == -EINVAL)
        r = opt_bad(s, "certificate", "%s", why);
    out_pem_free(cert);
    out_pem_free(key);
    return r;
}

static int init_tls(struct under *u, const struct under_defaults *d, const struct opt_src *s)
{
    static const char *const http[] = { "http/1.1" }, *const h2[] = { "h2" };
    int kind = u->net ? u->net->kind : u->plugin ? OPT_NET_WS : OPT_NET_TCP;
    bool own = u->tls->has_alpn && (kind == OPT_NET_TCP || (kind == OPT_NET_WS && d->alpn)); /* ws: trojan's list counts, that of others does not */
    struct tls_config cfg = { .name = u->name, .skip_verify = u->tls->skip_verify, .pin = u->tls->pinned ? u->tls->pin : NULL };

    if (u->tls->reality)
        return out_unsupported(u->o, "REALITY is not supported");
    if (u->tls->ech)
        return out_unsupported(u->o, "ECH is not supported");
    note_fingerprint(u->tls);
    cfg.roots = u->o->set->roots;
    cfg.must_alpn = kind == OPT_NET_H2 || kind == OPT_NET_GRPC;
    cfg.alpn = cfg.must_alpn ? h2 : own ? u->tls->alpn.v : kind != OPT_NET_TCP ? http : d->alpn;
    cfg.n_alpn = own ? u->tls->alpn.n : kind != OPT_NET_TCP ? 1 : d->n_alpn;
    u->o->unverified = cfg.skip_verify && !cfg.pin;
    return make_client(u, &cfg, s);
}

/* What the server is called, in TLS and in HTTP. */
static const char *name_of(const struct under *u, const struct under_defaults *d)
{
    const char *host = d->servername_from_ws && u->net && u->net->kind == OPT_NET_WS ? opt_header(&u->net->ws.headers, "Host") : NULL;

    if (u->tls && u->tls->name)
        return u->tls->name;
    return host && *host ? host : u->o->server;
}

/* Clients that know no h2 in clear, as mihomo, make such profiles work. */
static bool needs_tls(const struct opt_transport *net, const struct opt_src *s)
{
    if (!net || net->kind != OPT_NET_H2)
        return false;
    opt_warn(s, opt_find(s, "tls") ? "tls" : "network", "bad-value", "network: h2 needs tls: true; TLS is used");
    return true;
}

static void on_refused(struct http_ear *e, const char *said)
{
    out_note_answer(container_of(e, struct under, ear)->o, -ERR_STATUS, said);
}

int under_init(struct under *u, struct outbound *o, const struct opt_tls *tls, const struct opt_transport *net,
               const struct under_defaults *d, const struct opt_src *s)
{
    *u = (struct under){ .o = o, .tls = tls, .net = net };
    u->ear.refused = on_refused;
    grpc_pool_init(&u->pool, o->set);
    u->name = name_of(u, d);
    if (net && net->kind == OPT_NET_XHTTP)
        return out_unsupported(o, "the transport xhttp is not supported");
    return tls && (tls->on || needs_tls(net, s)) ? init_tls(u, d, s) : 0;
}

int under_init_plugin(struct under *u, struct outbound *o, const struct opt_plugin *plugin, const struct opt_src *s)
{
    static const struct under_defaults none;

    *u = (struct under){ .o = o, .plugin = plugin->kind ? plugin : NULL, .tls = &plugin->tls, .name = plugin->host };
    u->ear.refused = on_refused;
    grpc_pool_init(&u->pool, o->set);
    if (plugin->kind && plugin->kind != OPT_OBFS && plugin->kind != OPT_V2RAY)
        return out_unsupported(o, "plugin %s is not supported", opt_plugin_names[plugin->kind]);
    return plugin->kind == OPT_V2RAY && plugin->tls.on ? init_tls(u, &none, s) : 0;
}

void under_fini(struct under *u)
{
    if (!u->o)
        return;
    grpc_pool_fini(&u->pool);
    tls_client_free(u->client);
    u->client = NULL;
}

/* ---- the steps: 1 there is a layer and it is open (or none was asked for); 0 it must talk first; -err ---- */

static const char *any_of(const struct cfg_strs *s)
{
    uint32_t dice;

    random_bytes(&dice, sizeof(dice));
    return s->v[dice % s->n];
}

const char *under_host(const struct under *u, const char *host, char buf[UNDER_HOST_MAX])
{
    bool is_server = host == u->o->server, v6 = strchr(host, ':') != NULL, bare = u->o->port == 80 || u->o->port == 443;

    if (!is_server || (bare && !v6))
        return host;
    snprintf(buf, UNDER_HOST_MAX, v6 ? "[%s]" : "%s", host);
    if (!bare)
        snprintf(buf + strlen(buf), UNDER_HOST_MAX - strlen(buf), ":%u", u->o->port);
    return buf;
}

static unsigned fields_of(const struct opt_headers *h, struct http_field *out)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < h->n && n < FIELDS_MAX; i++)
        out[n++] = (struct http_field){ h->v[i].name, any_of(&h->v[i].values) };
    return n;
}

static int step_obfs(struct under_dial *x, struct stream **up)
{
    const struct opt_plugin *p = x->u->plugin;
    char head[OBFS_HEAD_MAX];
    int r;

    if (!p || p->kind != OPT_OBFS)
        return 1;
    if (p->mode) {
        r = obfs_tls_new(x->o->env->loop, p->host, x->s, up);
    } else {
        obfs_http_head(p->host, x->o->port, head);
        r = http_cloak_start(head, true, &x->u->ear, x->o->env->loop, x->s, up);
    }
    return r < 0 ? r : 1;
}

static int step_tls(struct under_dial *x, struct stream **up)
{
    char name[OUT_NAME_MAX];

    if (!x->u->client)
        return 1;
    if (x->o->unverified && !x->o->unverified_said) {
        x->o->unverified_said = true;
        log_warn(LOG_OUT, "%s: skip-cert-verify: whoever answers is believed to be the server", out_quote(x->o->name, name));
    }
    return tls_start(x->u->client, x->o->env->loop, x->s, up);
}

static int start_ws(struct under_dial *x, const struct opt_ws *w, struct stream **up)
{
    const char *host = opt_header(&w->headers, "Host");
    struct http_field fields[FIELDS_MAX];
    char buf[UNDER_HOST_MAX];
    struct ws_config c = { .path = w->path,
                           .fields = fields,
                           .early_header = w->early_data_header,
                           .upgrade = w->http_upgrade,
                           .fast = w->fast_open,
                           .ear = &x->u->ear,
                           .early_max = w->max_early_data > 0 ? (size_t)w->max_early_data : 0 };

    c.host = under_host(x->u, host && *host ? host : x->u->name, buf);
    c.n_fields = fields_of(&w->headers, fields);
    return ws_start(&c, x->o->env->loop, x->s, up);
}

static int start_http(struct under_dial *x, const struct opt_http *h, struct stream **up)
{
    char *text = NULL, buf[UNDER_HOST_MAX];
    size_t size;
    FILE *f = open_memstream(&text, &size);
    int r = -ENOMEM;

    if (!f)
        return -ENOMEM;
    fprintf(f, "%s %s HTTP/1.1\r\n", h->method, any_of(&h->paths));
    if (!opt_header(&h->headers, "Host"))
        fprintf(f, "Host: %s\r\n", under_host(x->u, x->u->name, buf));
    for (uint32_t i = 0; i < h->headers.n; i++)
        fprintf(f, "%s: %s\r\n", h->headers.v[i].name, any_of(&h->headers.v[i].values));
    if (fclose(f) == 0)
        r = http_cloak_start(text, true, &x->u->ear, x->o->env->loop, x->s, up);
    free(text);
    return r < 0 ? r : 1;
}

static int start_h2(struct under_dial *x, const struct opt_h2 *h, struct stream **up)
{
    const struct http_field identity = { "accept-encoding", "identity" };
    struct h2_request q = { "PUT", x->u->client ? "https" : "http", any_of(&h->hosts), h->path, &identity, 1, &x->u->ear };
    struct h2_conn *c = h2_conn_new(x->o->env->loop, x->s, 0);
    int r;

    if (!c)
        return -ENOMEM;
    x->s = NULL; /* the connection's now; it ends with its only stream */
    r = h2_open(c, &q, up);
    h2_conn_put(c);
    return r < 0 ? r : 1;
}

static int step_net(struct under_dial *x, struct stream **up)
{
    const struct opt_transport *n = x->u->net;

    if (x->u->plugin)
        return x->u->plugin->kind == OPT_V2RAY ? start_ws(x, &x->u->plugin->ws, up) : 1;
    switch (n ? n->kind : OPT_NET_TCP) {
    case OPT_NET_WS: return start_ws(x, &n->ws, up);
    case OPT_NET_HTTP: return start_http(x, &n->http, up);
    case OPT_NET_H2: return start_h2(x, &n->h2, up);
    default: return 1;
    }
}

static int step_mux(struct under_dial *x, struct stream **up)
{
    int r;

    if (!x->u->plugin || x->u->plugin->kind != OPT_V2RAY || !x->u->plugin->mux)
        return 1;
    r = mux_single_new(x->o->env->loop, x->s, up);
    return r < 0 ? r : 1;
}

static int (*const steps[])(struct under_dial *x, struct stream **up) = {
    [STEP_OBFS] = step_obfs, [STEP_TLS] = step_tls, [STEP_NET] = step_net, [STEP_MUX] = step_mux
};

/* ---- going through them ---- */

void under_conclude(struct under_dial *x, struct stream *s, int err)
{
    x->running = false;
    timer_cancel(&x->limit);
    job_cancel(&x->job);
    if (err && x->s) {
        x->s->on_ready = NULL;
        stream_close(x->s, err);
    }
    x->s = NULL;
    if (s)
        s->on_ready = NULL;
    x->done(x, s, err);
}

static void fail(struct under_dial *x, int err)
{
    out_note_error(x->o, err);
    under_conclude(x, NULL, err);
}

static void on_ready(struct stream *s, unsigned what);

static void advance(struct under_dial *x)
{
    int r = 1;

    while (r > 0 && x->step < x->last) {
        struct stream *up = x->s;

        if ((r = steps[++x->step](x, &up)) >= 0)
            x->s = up;
    }
    if (r < 0) {
        fail(x, r);
    } else if (r > 0) {
        under_conclude(x, x->s, 0);
    } else {
        x->s->owner = x;
        x->s->on_ready = on_ready;
    }
}

static void on_ready(struct stream *s, unsigned what)
{
    struct under_dial *x = s->owner;
    ssize_t r;

    if (what & STREAM_FAILED) {
        r = stream_write(s, NULL, 0); /* says why */
        fail(x, r < 0 ? (int)r : -ECONNRESET);
    } else if (what & STREAM_WRITABLE) {
        s->on_ready = NULL;
        advance(x);
    }
}

static void on_limit(struct timer *t)
{
    fail(container_of(t, struct under_dial, limit), -ERR_SILENT);
}

static void on_carrier(struct carrier *c, struct stream *s, int err)
{
    struct under_dial *x = container_of(c, struct under_dial, carrier);

    if (err && !c->through) /* else it is for that node to say what is wrong with it */
        out_note_error(x->o, err);
    if (err || !x->u) {
        under_conclude(x, s, err);
        return;
    }
    x->s = s;
    timer_set(x->o->env->loop, &x->limit, SHAKE_MS);
    advance(x);
}

/* A stream of the pool that was there at once. */
static void on_job(struct job *j)
{
    struct under_dial *x = container_of(j, struct under_dial, job);

    under_conclude(x, x->s, 0);
}

static int start(struct under_dial *x, struct outbound *o, struct under *u, int last)
{
    x->o = o;
    x->u = u;
    x->step = STEP_CARRIER;
    x->last = last;
    x->limit.cb = on_limit;
    x->job.cb = on_job;
    x->carrier.done = on_carrier;
    list_init(&x->wait);
    x->running = true;
    return 0;
}

static int start_carrier(struct under_dial *x, const struct dest *to, enum lookup_for why)
{
    int r = carrier_start(&x->carrier, x->o, to, why);

    x->running = r == 0;
    return r;
}

int under_start(struct under_dial *x, struct outbound *o, struct under *u, const struct dest *to, enum lookup_for why)
{
    int r;

    start(x, o, u, STEP_MUX);
    if (!u || !u->net || u->net->kind != OPT_NET_GRPC)
        return start_carrier(x, to, why);
    if ((r = grpc_pool_open(x, &x->s)) > 0)
        loop_defer(o->env->loop, &x->job);
    x->running = r >= 0;
    return r < 0 ? r : 0;
}

int under_start_tls(struct under_dial *x, struct outbound *o, struct under *u)
{
    struct dest server = out_server(o);

    start(x, o, u, STEP_TLS);
    return start_carrier(x, &server, LOOKUP_SERVER);
}

void under_cancel(struct under_dial *x)
{
    if (!x->running)
        return;
    x->running = false;
    timer_cancel(&x->limit);
    job_cancel(&x->job);
    list_del(&x->wait);
    carrier_cancel(&x->carrier);
    if (x->s) {
        x->s->on_ready = NULL;
        stream_close(x->s, -ERR_CLOSED);
    }
    x->s = NULL;
}
