/*
 * dns.c - what a query gets: hosts, then a fake address, then a real answer
 *
 *   hosts          A, AAAA (and the alias of a name); TTL 10
 *   fake-IP        A, AAAA from the pool; HTTPS and SVCB empty (they would tell real addresses); unless the filter wants a real answer
 *   PTR            of a pool address: the name
 *   AAAA           empty where IPv6 is off: never NXDOMAIN, that would spoil the A answer too
 *   the rest       the real resolver
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"
#include "core/log.h"
#include "dns/private.h"

#define HOSTS_TTL 10
#define PENDING_MAX 1024
#define SYNC_MS 30000

/* Names that break when they are faked (connectivity checks compare addresses, LAN names mean the LAN). */
static const char *const builtin_filter[] = {
    "*", "+.lan", "+.local", "+.localdomain", "+.home.arpa", "+.in-addr.arpa", "+.ip6.arpa", "connectivitycheck.gstatic.com",
    "+.msftconnecttest.com", "+.msftncsi.com", "captive.apple.com", "detectportal.firefox.com", "nmcheck.gnome.org",
    "connectivity-check.ubuntu.com", "+.pool.ntp.org", "time.*.com", "ntp.*.com", "+.stun.*.*", "+.stun.*.*.*", "localhost.*",
};

static const struct cfg_hosts_entry localhost_entry = {
    .pattern = "localhost", .n = 2, .addrs = (struct addr[]){ { 4, { 127, 0, 0, 1 } }, { 6, { [15] = 1 } } },
};

static int build_hosts(struct dns *d, struct diag *diag)
{
    if (!(d->hosts = names_new()))
        return -ENOMEM;
    names_add(d->hosts, "localhost", (void *)&localhost_entry);
    for (uint32_t i = 0; d->p->dns.use_hosts && i < d->p->n_hosts; i++) {
        const struct cfg_hosts_entry *e = &d->p->hosts[i];

        if (names_add(d->hosts, e->pattern, (void *)e) == -EINVAL)
            diag_warn(diag, e->line, e->column, "hosts", "bad-value", "hosts: \"%s\" is no name or pattern (*.x, +.x, .x); skipped", e->pattern);
    }
    return 0;
}

static int build_filter(struct dns *d, struct diag *diag)
{
    const struct cfg_dns *c = &d->p->dns;

    if (!(d->filter = names_new()))
        return -ENOMEM;
    for (uint32_t i = 0; i < c->filter.n; i++) {
        const char *s = c->filter.v[i];
        const struct cfg_node *at = c->filter.at[i];

        if (c->filter_mode == 2 || strchr(s, ',') || strchr(s, ':'))
            diag_warn(diag, at->line, at->column, "dns.fake-ip-filter", "unsupported-key",
                      "fake-ip-filter: \"%s\" is not supported by this build (patterns only); skipped", s);
        else if (names_add(d->filter, s, d) == -EINVAL)
            diag_warn(diag, at->line, at->column, "dns.fake-ip-filter", "bad-value", "fake-ip-filter: \"%s\" is no name or pattern; skipped", s);
    }
    for (size_t i = 0; c->filter_mode == 0 && i < sizeof(builtin_filter) / sizeof(builtin_filter[0]); i++)
        names_add(d->filter, builtin_filter[i], d);
    return 0;
}

static int build_pool(struct dns *d)
{
    const struct cfg_dns *c = &d->p->dns;
    char file[4096];

    if (d->fake && (!c->fake4.ip.ver || !fakeip_same_ranges(d->fake, &c->fake4, &c->fake6))) {
        fakeip_free(d->fake);
        d->fake = NULL;
    }
    if (d->fake || !c->fake4.ip.ver)
        return 0;
    if (d->state_dir)
        snprintf(file, sizeof(file), "%s/fakeip", d->state_dir);
    return fakeip_new(&c->fake4, &c->fake6, d->state_dir ? file : NULL, (uint64_t)c->fake_ttl * 1000, &d->fake);
}

static int build(struct dns *d, struct diag *diag)
{
    int r;

    if ((r = build_hosts(d, diag)) < 0 || (r = build_filter(d, diag)) < 0 || (r = build_pool(d)) < 0)
        return r;
    return resolver_init(d, diag);
}

static void on_flush(struct job *j)
{
    struct dns *d = container_of(j, struct dns, flush);

    if (d->fake)
        fakeip_flush(d->fake, false);
}

static void on_sync(struct timer *t)
{
    dns_flush_state(container_of(t, struct dns, sync));
}

int dns_new(const struct dns_opts *o, struct dns **out, struct diag *diag)
{
    struct dns *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->loop = o->loop;
    d->p = o->profile;
    d->flush.cb = on_flush;
    d->sync.cb = on_sync;
    list_init(&d->lru);
    server_init(d);
    if (o->state_dir && !(d->state_dir = strdup(o->state_dir)))
        r = -ENOMEM;
    else
        r = build(d, diag);
    if (r < 0) {
        dns_free(d);
        return r;
    }
    *out = d;
    return 0;
}

int dns_reconfigure(struct dns *d, const struct profile *p, struct diag *diag)
{
    struct names *hosts = d->hosts, *filter = d->filter;

    resolver_fini(d);
    d->p = p;
    names_free(hosts);
    names_free(filter);
    d->hosts = d->filter = NULL;
    return build(d, diag);
}

void dns_free(struct dns *d)
{
    if (!d)
        return;
    server_fini(d);
    job_cancel(&d->flush);
    timer_cancel(&d->sync);
    resolver_fini(d);
    fakeip_free(d->fake);
    names_free(d->hosts);
    names_free(d->filter);
    free(d->state_dir);
    free(d);
}

struct resolver *dns_resolver(struct dns *d)
{
    return &d->resolver;
}

void dns_flush_state(struct dns *d)
{
    if (d->fake)
        fakeip_flush(d->fake, true);
}

/* ---- hosts ---- */

/* Follows aliases; a circle ends after 8 steps. name is replaced by the last alias that has no entry. */
static const struct cfg_hosts_entry *host_entry(struct dns *d, const char **name)
{
    const struct cfg_hosts_entry *e = NULL;

    for (int i = 0; i < 8; i++) {
        e = names_find(d->hosts, *name);
        if (!e || !e->alias)
            return e;
        *name = e->alias;
    }
    return NULL;
}

bool hosts_addr(struct dns *d, const char *name, int ver, struct addr *out, int max, int *n)
{
    const struct cfg_hosts_entry *e = host_entry(d, &name);

    *n = 0;
    if (!e)
        return false;
    for (uint32_t i = 0; i < e->n && *n < max; i++)
        if (e->addrs[i].ver == ver)
            out[(*n)++] = e->addrs[i];
    return true;
}

/* ---- queries ---- */

struct pending {
    struct list_head node;
    struct dns *d;
    struct waiter w;
    struct dns_client client;
    struct endpoint from, to;
    struct question q;
    uint16_t max;
    uint8_t query[]; /* header and question as they came */
};

static void send_answer(const struct pending *p, const uint8_t *msg, size_t len)
{
    uint8_t head[DNS_HEADER + HOST_MAX + 8];

    if (len <= p->max) {
        p->client.reply(p->client.arg, &p->from, &p->to, msg, len);
        return;
    }
    len = msg_answer(p->query, &p->q, RC_OK, NULL, 0, 0, head, sizeof(head));
    head[2] |= 0x02; /* TC: ask by TCP */
    p->client.reply(p->client.arg, &p->from, &p->to, head, len);
}

static void fail(const struct pending *p, int rcode)
{
    uint8_t out[DNS_HEADER + HOST_MAX + 32];

    send_answer(p, out, msg_answer(p->query, &p->q, rcode, NULL, 0, 0, out, sizeof(out)));
}

static void pending_free(struct pending *p)
{
    list_del(&p->node);
    p->d->n_pending--;
    free(p);
}

void pending_drop_all(struct dns *d)
{
    for (struct list_head *n; (n = list_first(&d->pending));) {
        struct pending *p = container_of(n, struct pending, node);

        resolve_cancel(&p->w);
        pending_free(p);
    }
}

/* A real answer: the client's id and its way of writing the question are put back. */
static void on_real(struct waiter *w, int err, const uint8_t *msg, size_t len)
{
    struct pending *p = container_of(w, struct pending, w);
    uint8_t *copy = err || len < p->q.end ? NULL : malloc(len);

    if (!copy) {
        fail(p, RC_SERVFAIL);
    } else {
        memcpy(copy, msg, len);
        memcpy(copy, p->query, 2);
        memcpy(copy + DNS_HEADER, p->query + DNS_HEADER, p->q.end - DNS_HEADER);
        send_answer(p, copy, len);
        free(copy);
    }
    pending_free(p);
}

static void ask_real(struct dns *d, const uint8_t *m, const struct question *q, const struct dns_client *c, const struct endpoint *client,
                     const struct endpoint *server, uint16_t max)
{
    struct pending *p = d->n_pending < PENDING_MAX ? calloc(1, sizeof(*p) + q->end) : NULL;

    if (!p)
        return;
    *p = (struct pending){ .d = d, .w.done = on_real, .client = *c, .from = *client, .to = *server, .q = *q, .max = max };
    memcpy(p->query, m, q->end);
    list_append(&d->pending, &p->node);
    d->n_pending++;
    if (q->class_ != 1 || resolve(d, q->name, q->type, LOOKUP_RULES, &p->w) < 0) {
        fail(p, q->class_ != 1 ? RC_NOTIMP : RC_SERVFAIL);
        pending_free(p);
    }
}

static bool is_filtered(const struct dns *d, const char *name)
{
    bool listed = names_find(d->filter, name) != NULL;

    return d->p->dns.filter_mode == 1 ? !listed : listed;
}

/* Answers from what we know without asking. Length, or 0. */
static size_t answer_here(struct dns *d, const uint8_t *m, const struct question *q, uint8_t *out, size_t size)
{
    struct addr a[16], reverse;
    bool is_addr = q->type == T_A || q->type == T_AAAA;
    const char *name;
    int n = 0;

    if (q->class_ != 1)
        return 0;
    if (is_addr && hosts_addr(d, q->name, q->type == T_A ? 4 : 6, a, 16, &n))
        return msg_answer(m, q, RC_OK, a, n, HOSTS_TTL, out, size);
    if (q->type == T_PTR && d->fake && msg_reverse_addr(q->name, &reverse) && fakeip_contains(d->fake, &reverse)) {
        name = fakeip_name(d->fake, &reverse);
        return name ? msg_answer_ptr(m, q, name, (uint32_t)d->p->dns.fake_ttl, out, size) : msg_answer(m, q, RC_NXDOMAIN, NULL, 0, 0, out, size);
    }
    if (d->fake && *q->name && !is_filtered(d, q->name)) {
        if (q->type == T_HTTPS || q->type == T_SVCB || (q->type == T_AAAA && !d->p->dns.fake6.ip.ver))
            return msg_answer(m, q, RC_OK, NULL, 0, 0, out, size);
        if (is_addr) {
            if (!fakeip_addr(d->fake, q->name, q->type == T_A ? 4 : 6, loop_now(d->loop), &a[0]))
                return msg_answer(m, q, RC_SERVFAIL, NULL, 0, 0, out, size);
            if (fakeip_dirty(d->fake)) {
                loop_defer(d->loop, &d->flush);
                if (!timer_armed(&d->sync))
                    timer_set(d->loop, &d->sync, SYNC_MS);
            }
            return msg_answer(m, q, RC_OK, a, 1, (uint32_t)d->p->dns.fake_ttl, out, size);
        }
    }
    if (q->type == T_AAAA && !d->p->dns.ipv6)
        return msg_answer(m, q, RC_OK, NULL, 0, 0, out, size);
    return 0;
}

void dns_query(struct dns *d, const void *msg, size_t len, const struct dns_client *c, const struct endpoint *client, const struct endpoint *server)
{
    uint8_t out[2048];
    const uint8_t *m = msg;
    struct question q;
    uint16_t max;
    size_t n;

    switch (msg_parse_query(m, len, &q)) {
    case MSG_JUNK: return;
    case MSG_FORMERR: n = msg_error(m, RC_FORMERR, out); break;
    case MSG_NOTIMP: n = msg_error(m, RC_NOTIMP, out); break;
    case MSG_GOOD:
    default:
        max = !client ? DNS_MAX : q.client_max < DNS_UDP_MAX ? q.client_max : DNS_UDP_MAX;
        if (!(n = answer_here(d, m, &q, out, sizeof(out)))) {
            ask_real(d, m, &q, c, client ? client : &(struct endpoint){ 0 }, server ? server : &(struct endpoint){ 0 }, max);
            return;
        }
        if (n > max) {
            n = msg_answer(m, &q, RC_OK, NULL, 0, 0, out, sizeof(out));
            out[2] |= 0x02;
        }
        break;
    }
    c->reply(c->arg, client, server, out, n);
}

/* ---- fake addresses ---- */

bool dns_is_fake(const struct dns *d, const struct addr *a)
{
    return d->fake && fakeip_contains(d->fake, a);
}

const char *dns_fake_name(struct dns *d, const struct addr *a)
{
    return d->fake ? fakeip_name(d->fake, a) : NULL;
}

void dns_fake_pin(struct dns *d, const struct addr *a)
{
    if (d->fake)
        fakeip_pin(d->fake, a, 1);
}

void dns_fake_unpin(struct dns *d, const struct addr *a)
{
    if (d->fake)
        fakeip_pin(d->fake, a, -1);
}

bool dns_fake_addr(struct dns *d, const char *host, int ver, struct addr *out)
{
    return d->fake && fakeip_peek(d->fake, host, ver, out);
}

void dns_fake_usage(const struct dns *d, uint32_t *used, uint32_t *size)
{
    *used = *size = 0;
    if (d->fake)
        fakeip_usage(d->fake, used, size);
}
