/*
 * ns.c - what all name servers share: one object per text, the addresses behind a name, types that are switched off, how fast it answers
 *
 *   ns_ask() ──► type switched off? ──────────────────────────────► an empty answer
 *                name without address? ──► default-nameserver ──┐
 *                                                               ▼
 *                                          the kind: plain, stream, system, rcode ──► ns_answer(): checked, timed ──► done()
 *
 * Servers are counted: lists hold them, so a reload that names the same server keeps its connections.
 */
#include "dns/ns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/sock.h"
#include "dns/private.h"
#include "transport/transport.h"

#define SRTT_MAX_MS  5000
#define ADDR_KEEP_MS 300000 /* how long the addresses of a server's name are believed */
#define SILENT_MS    60000  /* a server that answered within this is not complained about */

enum ask_state { ASK_IDLE, ASK_READY, ASK_WAIT, ASK_RUN };

/* ---- answers ---- */

static void set_time(struct ns *s, uint64_t ms)
{
    s->srtt_ms = ms < 1 ? 1 : ms < SRTT_MAX_MS ? (uint32_t)ms : SRTT_MAX_MS; /* 0 = never asked */
}

static void note_time(struct ns *s, uint64_t took_ms, int err)
{
    if (err)
        set_time(s, 2ull * s->srtt_ms > took_ms ? 2ull * s->srtt_ms : took_ms);
    else
        set_time(s, s->srtt_ms ? (s->srtt_ms * 7 + took_ms) / 8 : took_ms);
}

static void note_health(struct ns *s, int err)
{
    uint64_t now = loop_now(s->d->loop);
    char text[256];

    if (!err) {
        if (s->complained)
            log_info(LOG_DNS, "the name server %s answers again", log_safe(s->text, strlen(s->text), text, sizeof(text)));
        s->complained = false;
        s->heard_ms = now;
    } else if (!s->complained && (!s->heard_ms || now - s->heard_ms > SILENT_MS)) {
        s->complained = true;
        log_warn(LOG_DNS, "the name server %s does not answer: %s", log_safe(s->text, strlen(s->text), text, sizeof(text)), err_str(err));
    }
}

/* Records of types that are switched off are not told either: a copy in *cut, which is the caller's. */
static int cut_disabled(const struct ns_ask *q, uint8_t **msg, size_t *len, struct answer *a, uint8_t **cut)
{
    const struct ns_spec *n = &q->ns->spec;

    if (!n->n_disabled)
        return 0;
    if (!(*cut = buf_get()))
        return -ENOMEM;
    *len = msg_without(*msg, *len, n->disabled, n->n_disabled, *cut);
    *msg = *cut;
    return *len && msg_parse_answer(*msg, *len, q->key, a) ? 0 : -EBADMSG;
}

void ns_answer(struct ns_ask *q, int err, uint8_t *msg, size_t len)
{
    struct ns *s = q->ns;
    uint8_t *cut = NULL;
    struct answer a;

    if (!err && !msg_parse_answer(msg, len, q->key, &a))
        err = -EBADMSG;
    if (!err)
        err = cut_disabled(q, &msg, &len, &a, &cut);
    if (err != -ECANCELED) {
        note_time(s, loop_now(s->d->loop) - q->asked_ms, err);
        note_health(s, err);
    }
    q->state = ASK_IDLE;
    q->done(q, err, err ? NULL : msg, err ? 0 : msg_strip(msg, &a), err ? NULL : &a);
    if (cut)
        buf_put(cut);
}

/* Header and question, nothing more. */
static size_t empty_answer(const struct qkey *k, int rcode, uint8_t *out)
{
    size_t at = DNS_HEADER + k->len;

    memset(out, 0, DNS_HEADER);
    out[2] = 0x81;
    out[3] = (uint8_t)(0x80 | rcode);
    put16(out + 4, 1);
    memcpy(out + DNS_HEADER, k->name, k->len);
    put16(out + at, k->type);
    put16(out + at + 2, k->class_);
    return at + 4;
}

static void on_ready(struct job *j)
{
    struct ns_ask *q = container_of(j, struct ns_ask, job);
    uint8_t msg[DNS_HEADER + DNS_NAME + 4];
    size_t len = empty_answer(q->key, q->ns->spec.kind == NS_RCODE ? q->ns->spec.rcode : RC_OK, msg);
    struct answer a;

    msg_parse_answer(msg, len, q->key, &a);
    q->state = ASK_IDLE;
    q->done(q, 0, msg, len, &a);
}

static bool is_disabled(const struct ns *s, uint16_t type)
{
    for (unsigned i = 0; i < s->spec.n_disabled; i++)
        if (s->spec.disabled[i] == type)
            return true;
    return false;
}

size_t ns_query(const struct ns_ask *q, uint16_t id, unsigned pad, uint8_t *out)
{
    const struct cidr *ecs = q->key->type == T_A || q->key->type == T_AAAA ? &q->ns->spec.ecs : NULL;
    size_t len = msg_query(q->key, id, ecs, pad, out);

    if (q->spelling)
        memcpy(out + DNS_HEADER, q->spelling, q->key->len);
    return len;
}

/* ---- asking ---- */

static void run(struct ns *s, struct ns_ask *q)
{
    int r = s->ops->ask(s, q);

    if (r == 0)
        q->state = ASK_RUN;
    else
        ns_answer(q, r, NULL, 0);
}

static void on_addresses(struct lookup *l, int err)
{
    struct ns *s = container_of(l, struct ns, lookup);
    struct list_head waiting;

    s->looking = false;
    if (!err) {
        memcpy(s->addr, l->addr, sizeof(s->addr));
        s->n_addr = l->n;
        s->addr_until_ms = loop_now(s->d->loop) + ADDR_KEEP_MS;
    }
    list_init(&waiting);
    list_splice(&waiting, &s->waiting);
    s->refs++; /* the last who waits may let go of it */
    for (struct list_head *n; (n = list_first(&waiting));) {
        struct ns_ask *q = container_of(n, struct ns_ask, node);

        list_del(n);
        if (s->n_addr || *s->spec.via) /* old addresses are better than none; a proxy finds its own */
            run(s, q);
        else
            ns_answer(q, err, NULL, 0);
    }
    ns_put(s);
}

/* Waits for the addresses of the server's name. */
static int wait_address(struct ns *s, struct ns_ask *q)
{
    struct resolver *res = &s->d->resolver;
    int r;

    if (s->looking && q->depth >= s->lookup.depth)
        return -ERR_CIRCLE; /* it is asked so that its own address may be found */
    if (!s->looking) {
        s->lookup = (struct lookup){ .host = s->spec.host, .why = LOOKUP_BOOT, .depth = (uint8_t)(q->depth + 1), .done = on_addresses };
        if ((r = res->lookup(res, &s->lookup)) < 0)
            return r;
        s->looking = true;
    }
    q->state = ASK_WAIT;
    list_append(&s->waiting, &q->node);
    return 0;
}

static bool needs_address(const struct ns *s)
{
    return *s->spec.host && s->spec.kind != NS_DHCP && !s->spec.ip.ver && loop_now(s->d->loop) >= s->addr_until_ms;
}

int ns_ask(struct ns *s, struct ns_ask *q)
{
    int r;

    q->ns = s;
    q->job.cb = on_ready;
    q->asked_ms = loop_now(s->d->loop);
    if (s->spec.kind == NS_RCODE || is_disabled(s, q->key->type)) {
        q->state = ASK_READY;
        loop_defer(s->d->loop, &q->job);
        return 0;
    }
    if (needs_address(s))
        return wait_address(s, q);
    if ((r = s->ops->ask(s, q)) == 0)
        q->state = ASK_RUN;
    return r;
}

void ns_give_up(struct ns_ask *q, bool late)
{
    struct ns *s = q->ns;
    uint64_t so_far = loop_now(s->d->loop) - q->asked_ms;

    if (q->state == ASK_IDLE)
        return;
    ns_cancel(q);
    if (so_far > s->srtt_ms)
        note_time(s, so_far, late);
    if (late)
        note_health(s, -ETIMEDOUT);
}

void ns_cancel(struct ns_ask *q)
{
    switch ((enum ask_state)q->state) {
    case ASK_IDLE: return;
    case ASK_READY: job_cancel(&q->job); break;
    case ASK_WAIT: list_del(&q->node); break;
    case ASK_RUN: q->ns->ops->cancel(q->ns, q); break;
    }
    q->state = ASK_IDLE;
}

/* ---- a server that always says the same ---- */

static void rcode_close(struct ns *s)
{
    free(s);
}

static const struct ns_ops rcode_ops = { .close = rcode_close }; /* ns_ask() answers for it */

struct ns *ns_rcode_new(void)
{
    struct ns *s = calloc(1, sizeof(*s));

    if (s)
        s->ops = &rcode_ops;
    return s;
}

/* ---- making and finding ---- */

static const char *skip_password(const char *text)
{
    const char *scheme = strstr(text, "://"), *at = scheme ? strchr(scheme, '@') : NULL;

    return at && at < scheme + 3 + strcspn(scheme + 3, "/#") ? at + 1 : NULL;
}

/* The text for people: what stands before @ is a secret, and so is what a query says. */
static char *shown_text(const char *text)
{
    const char *host = skip_password(text), *scheme = strstr(text, "://");
    char *out;

    if (!host)
        out = strdup(text);
    else if (asprintf(&out, "%.*s***@%s", (int)(scheme - text) + 3, text, host) < 0)
        out = NULL;
    if (out)
        cfg_mask_urls(out);
    return out;
}

static bool is_ours(const struct dns *d, const struct ns_spec *n)
{
    for (unsigned i = 0; i < sizeof(d->own) / sizeof(d->own[0]); i++)
        if (d->own[i].ip.ver && cidr_contains(&d->own[i], &n->ip))
            return true;
    for (unsigned i = 0; i < d->n_listen; i++)
        if (n->port == d->listen[i].port &&
            (addr_eq(&n->ip, &d->listen[i].ip) || (addr_is_unspecified(&d->listen[i].ip) && sock_is_here(&n->ip))))
            return true;
    return false;
}

/* Takes *shown, the text for people, over. */
static struct ns *make(struct dns *d, char **shown, const struct ns_spec *n)
{
    bool plain = (n->kind == NS_UDP || n->kind == NS_TCP) && !*n->via;
    struct ns *s = n->kind == NS_RCODE                          ? ns_rcode_new()
                   : n->kind == NS_SYSTEM || n->kind == NS_DHCP ? ns_system_new()
                   : n->kind == NS_HTTPS                        ? ns_doh_new()
                   : plain                                      ? ns_plain_new()
                                                                : ns_stream_new();

    if (!s)
        return NULL;
    s->d = d;
    s->refs = 1;
    memcpy(&s->spec, n, sizeof(*n)); /* compared byte by byte */
    list_init(&s->waiting);
    if (n->ip.ver) {
        s->addr[0] = n->ip;
        s->n_addr = 1;
    }
    s->text = *shown;
    *shown = NULL;
    list_append(&d->servers, &s->node);
    return s;
}

static struct ns *find(struct dns *d, const struct ns_spec *n)
{
    list_each_safe (at, tmp, &d->servers) {
        struct ns *s = container_of(at, struct ns, node);

        if (!memcmp(&s->spec, n, sizeof(*n)))
            return s;
    }
    return NULL;
}

/* Is it something that a fragment may name as a way? */
static bool is_way(const struct profile *p, const char *via)
{
    static const char *const builtin[] = { "", "RULES", "GLOBAL", "REJECT", "REJECT-DROP", "COMPATIBLE" };

    for (size_t i = 0; i < sizeof(builtin) / sizeof(builtin[0]); i++)
        if (!strcmp(via, builtin[i]))
            return true;
    for (uint32_t i = 0; i < p->n_proxies; i++)
        if (!strcmp(via, p->proxies[i].name))
            return true;
    for (uint32_t i = 0; i < p->n_groups; i++)
        if (!strcmp(via, p->groups[i].name))
            return true;
    return false;
}

/* What stands behind # is an interface, then. */
static bool take_interface(struct ns_spec *n)
{
    size_t len = strlen(n->via);

    if (len >= sizeof(n->interface) || !if_nametoindex(n->via))
        return false;
    memcpy(n->interface, n->via, len);
    memset(n->via, 0, sizeof(n->via));
    return true;
}

struct sock_way ns_way(const struct ns *s)
{
    const char *all = s->d->p ? s->d->p->interface_name : NULL;

    return (struct sock_way){ .interface = *s->spec.interface ? s->spec.interface : all && *all ? all : NULL,
                              .mark = s->d->p ? (uint32_t)s->d->p->routing_mark : 0 };
}

/* "; did you mean "tls"?", where the scheme is none, or what stands behind rcode://. */
static const char *meant(const char *text, struct cfg_guess *g, struct diag *d)
{
    const char *colon = strstr(text, "://"), *at = text, *candidate;
    bool code = colon && !strncasecmp(text, "rcode", 5) && colon == text + 5;
    char word[32];

    if (!colon)
        return "";
    if (code)
        at = colon + 3;
    snprintf(word, sizeof(word), "%.*s", (int)(code ? strcspn(at, "#") : (size_t)(colon - at)), at);
    cfg_guess_start(g, d, word);
    for (unsigned i = 0; (candidate = code ? ns_rcode_word(i) : ns_scheme_word(i)); i++)
        if (!strcasecmp(candidate, word))
            return ""; /* something else is wrong */
        else
            cfg_guess_try(g, candidate);
    return cfg_guess_text(g);
}

enum lacks { NS_ALL, NS_QUIC, NS_H3 };

static void say_lacking(enum lacks what, const struct ns_spec *n, const char *shown, uint32_t line, uint32_t column, struct diag *diag)
{
    bool v6 = n->ip.ver == 6;

    if (what == NS_QUIC)
        diag_warn(diag, line, column, "dns", "unsupported-key",
                  "\"%s\": DNS over QUIC is not supported by this build; tls://%s%s%s:%u is asked instead", shown, v6 ? "[" : "", n->host,
                  v6 ? "]" : "", n->port);
    else
        diag_warn(diag, line, column, "dns", "unsupported-key", "\"%s\": HTTP/3 is not supported by this build; HTTP/2 is used instead",
                  shown);
}

struct ns *ns_get(struct dns *d, const char *text, uint32_t line, uint32_t column, struct diag *diag)
{
    struct ns_spec *n = calloc(1, sizeof(*n));
    const char *wrong = n ? ns_parse(text, n) : "found no memory", *code = "bad-value";
    char *text_shown = shown_text(text), quoted[CFG_QUOTE_MAX];
    const char *host = text_shown ? skip_password(text_shown) : NULL, *shown = host ? host : text_shown;
    struct ns *s = NULL;
    struct cfg_guess g;
    enum lacks lacks;

    if (!shown) {
        free(n);
        return NULL;
    }
    if (!wrong && is_ours(d, n))
        wrong = "is ourselves: it would ask in circles";
    if (!wrong && !strcmp(n->via, "DIRECT"))
        memset(n->via, 0, sizeof(n->via));
    if (!wrong && !is_way(d->reading, n->via) && !take_interface(n)) {
        wrong = "names a way (behind #) that is no proxy or group of this profile and no interface of this machine; it is never asked "
                "straight instead";
        code = "unknown-target";
    }
    if (!wrong && n->kind == NS_HTTP) {
        wrong = "would be asked by HTTP in clear, which this build does not do: write https:// or udp://";
        code = "unsupported-key";
    }
    if (wrong) {
        diag_warn(diag, line, column, "dns", code, "the name server \"%s\" %s; it is skipped%s", cfg_quote(shown, strlen(shown), quoted),
                  wrong, meant(text, &g, diag));
    } else {
        lacks = n->quic ? NS_QUIC : n->h3 ? NS_H3 : NS_ALL;
        n->quic = n->h3 = false; /* the same server as without */
        if ((s = find(d, n)))
            s->refs++;
        if (lacks && !(s && s->said_in == d->n_readings))
            say_lacking(lacks, n, shown, line, column, diag);
        if (!s)
            s = make(d, &text_shown, n);
        if (s && lacks)
            s->said_in = d->n_readings;
    }
    free(text_shown);
    free(n);
    return s;
}

void ns_put(struct ns *s)
{
    if (!s || --s->refs)
        return;
    assert(list_empty(&s->waiting));
    if (s->looking)
        s->d->resolver.cancel(&s->d->resolver, &s->lookup);
    list_del(&s->node);
    free(s->text);
    tls_client_free(s->tls);
    s->ops->close(s);
}

void ns_forgive(struct dns *d)
{
    list_each_safe (n, tmp, &d->servers) {
        struct ns *s = container_of(n, struct ns, node);

        s->again_ms = s->addr_until_ms = 0;
    }
}

void ns_trust_anew(struct dns *d)
{
    list_each_safe (n, tmp, &d->servers) {
        struct ns *s = container_of(n, struct ns, node);

        tls_client_free(s->tls);
        s->tls = NULL;
    }
}

/* ---- lists ---- */

static const char *with_rules(const char *text, char *buf, size_t size)
{
    const char *hash = strchr(text, '#');
    struct ns_spec *n = malloc(sizeof(*n));
    bool has_way = !n || ns_parse(text, n) || *n->via || n->kind == NS_SYSTEM || n->kind == NS_DHCP || n->kind == NS_RCODE;

    free(n);
    if (has_way || snprintf(buf, size, "%s%s", text, hash ? "&RULES" : "#RULES") >= (int)size)
        return text;
    return buf;
}

struct ns_list *ns_list_new(struct dns *d, const struct cfg_strs *texts, bool respect_rules, const char *path, struct diag *diag)
{
    struct ns_list *l = calloc(1, sizeof(*l));
    char buf[NS_TEXT_MAX];

    if (!l || !(l->v = calloc(texts->n + 1, sizeof(struct ns *)))) {
        free(l);
        return NULL;
    }
    l->refs = 1;
    for (uint32_t i = 0; i < texts->n; i++) {
        const struct cfg_node *at = texts->at ? texts->at[i] : NULL;
        const char *text = respect_rules ? with_rules(texts->v[i], buf, sizeof(buf)) : texts->v[i];
        struct ns *s = ns_get(d, text, at ? at->line : 0, at ? at->column : 0, diag);
        unsigned k = 0;

        while (s && k < l->n && l->v[k] != s)
            k++;
        if (s && k == l->n) {
            l->v[l->n++] = s;
            l->local |= s->spec.ip.ver && sock_is_here(&s->spec.ip);
        } else {
            ns_put(s);
        }
    }
    return l;
}

struct ns_list *ns_list_get(struct ns_list *l)
{
    l->refs++;
    return l;
}

void ns_list_put(struct ns_list *l)
{
    if (!l || --l->refs)
        return;
    for (unsigned i = 0; i < l->n; i++)
        ns_put(l->v[i]);
    free(l->v);
    free(l);
}
