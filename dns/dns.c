/*
 * dns.c - what a query gets: hosts, then a fake address, then a real answer
 *
 *   hosts          A, AAAA, CNAME of names the user wrote down; an alias is asked on under its target, a CNAME in front
 *   fake-IP        A, AAAA from the pool; HTTPS and SVCB empty (they would tell real addresses); unless the filter wants a real answer
 *   PTR            of a pool address: the name
 *   AAAA           empty where IPv6 is off: never NXDOMAIN, that would spoil the A answer too
 *   the rest       the real resolver
 *
 * A name that has a fake address and that neither hosts nor filter know is marked in the pool: the next query for it costs one look into
 * the pool and nothing else.
 *
 * The pool is made once and kept while the process lives, whatever a reload says: programs hold its addresses.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/log.h"
#include "dns/private.h"

#define PENDING_MAX 1024
#define FULL_SAY_MS 60000
#define TEND_MS     30000

/* ---- life ---- */

static bool same_range(const struct cidr *a, const struct cidr *b)
{
    return a->len == b->len && addr_eq(&a->ip, &b->ip);
}

static int build_pool(struct dns *d, const struct profile *p)
{
    const struct cfg_dns *c = &p->dns;
    uint64_t ttl_ms = (uint64_t)c->fake_ttl * 1000;
    char *file = NULL;
    int r;

    if (!c->fake4.ip.ver)
        return 0;
    if (d->fake) {
        if (!same_range(fakeip_range4(d->fake), &c->fake4))
            log_warn(LOG_DNS, "dns.fake-ip-range changed: it takes effect at the next start, programs hold addresses of the old one");
        fakeip_set(d->fake, &c->fake6, ttl_ms);
        return 0;
    }
    if ((r = fakeip_new(&c->fake4, &c->fake6, ttl_ms, &d->fake)) < 0 || !d->state_dir)
        return r;
    if (asprintf(&file, "%s/fakeip", d->state_dir) < 0)
        return -ENOMEM;
    d->log = fakelog_open(file, d->fake, loop_now(d->loop));
    free(file);
    if (!d->log)
        return -ENOMEM;
    timer_set(d->loop, &d->tend, TEND_MS);
    return 0;
}

/* What nobody wrote down is told, where it takes effect. */
static void say_filter(const struct dns *d, const struct profile *p)
{
    if (d->state_dir && !d->faking && p->dns.fake4.ip.ver && p->dns.filter_defaults && p->dns.filter_mode != FILTER_WHITELIST)
        log_info(LOG_DNS, "names that break when they are faked (single labels, +.lan, clocks, STUN ...) get their real addresses; "
                          "dns.fake-ip-filter-defaults: false takes them away");
}

/* What a profile says, built beside what is there. */
static int build(struct dns *d, const struct profile *p, struct dns_lists *given, struct diag *diag)
{
    struct hosts *hosts = hosts_new(p, d->root, diag);
    struct dns_lists *lists = given ? lists_get(given) : dns_lists_new(p, NULL, diag);
    int r = hosts && lists ? build_pool(d, p) : -ENOMEM;

    if (r == 0)
        r = resolver_configure(d, p, lists, diag);
    if (r < 0) {
        hosts_free(hosts);
        dns_lists_put(lists);
        return r;
    }
    hosts_free(d->hosts);
    dns_lists_put(d->lists);
    d->hosts = hosts;
    d->lists = lists;
    d->p = p;
    say_filter(d, p);
    d->faking = p->dns.fake4.ip.ver != 0;
    if (p->dns.mode == DNS_NORMAL || !p->dns.enable) {
        reverse_free(d->reverse);
        d->reverse = NULL;
    } else if (!d->reverse) {
        d->reverse = reverse_new(); /* without memory: no names, as in mode normal */
    }
    if (d->fake)
        fakeip_unmark(d->fake);
    return 0;
}

static void on_write(struct job *j)
{
    fakelog_write(container_of(j, struct dns, write)->log);
}

static void on_tend(struct timer *t)
{
    struct dns *d = container_of(t, struct dns, tend);
    uint64_t again = fakelog_tend(d->log);

    if (again)
        timer_set(d->loop, &d->tend, again);
}

int dns_new(const struct dns_opts *o, struct dns **out, struct diag *diag)
{
    struct dns *d = calloc(1, sizeof(*d));
    int r;

    if (!d)
        return -ENOMEM;
    d->loop = o->loop;
    d->root = o->root ? o->root : "";
    d->ways = o->ways;
    d->privileged = o->privileged;
    d->privileged_arg = o->arg;
    d->write.cb = on_write;
    d->tend.cb = on_tend;
    server_init(d);
    if ((r = resolver_init(d)) == 0 && o->state_dir && !(d->state_dir = strdup(o->state_dir)))
        r = -ENOMEM;
    if (r < 0 || (r = build(d, o->profile, o->lists, diag)) < 0) {
        dns_free(d);
        return r;
    }
    *out = d;
    return 0;
}

int dns_reconfigure(struct dns *d, const struct profile *p, struct dns_lists *lists, struct diag *diag)
{
    return build(d, p, lists, diag);
}

void dns_free(struct dns *d)
{
    if (!d)
        return;
    server_fini(d);
    job_cancel(&d->write);
    timer_cancel(&d->tend);
    resolver_fini(d);
    fakelog_close(d->log);
    fakeip_free(d->fake);
    reverse_free(d->reverse);
    hosts_free(d->hosts);
    dns_lists_put(d->lists);
    free(d->state_dir);
    free(d);
}

struct resolver *dns_resolver(struct dns *d)
{
    return &d->resolver;
}

void dns_flush(struct dns *d)
{
    cache_flush(d->cache);
    ns_forgive(d);
}

/* ---- fake answers ---- */

static bool can_be_faked(uint16_t type)
{
    return type == T_A || type == T_AAAA || type == T_HTTPS || type == T_SVCB;
}

static void say_full(struct dns *d)
{
    uint64_t now = loop_now(d->loop);

    if (d->full_said_ms && now - d->full_said_ms < FULL_SAY_MS)
        return;
    d->full_said_ms = now;
    log_warn(LOG_DNS, "every fake address is in use by a flow or was answered just now: new names get SERVFAIL; widen dns.fake-ip-range");
}

/* A slot that changed hands is written before its answer leaves: a restart must not take it for the old name's. A fresh one can wait for
 * the end of the turn. */
static void remember(struct dns *d, uint32_t slot, enum fake_how how)
{
    if (how == FAKE_RECYCLED && fakeip_too_small(d->fake) && !d->small_said) {
        d->small_said = true;
        log_warn(LOG_DNS,
                 "the fake-IP pool is too small: a name that was used less than 10 minutes ago loses its address; widen dns.fake-ip-range");
    }
    if (!d->log)
        return;
    fakelog_note(d->log, slot);
    if (how == FAKE_RECYCLED)
        fakelog_write(d->log);
    else if (fakelog_dirty(d->log))
        loop_defer(d->loop, &d->write);
    if (!timer_armed(&d->tend))
        timer_set(d->loop, &d->tend, TEND_MS);
}

/* The slot of a name, given one if it has none. FAKE_NONE: there is none to be had. */
static uint32_t slot_for(struct dns *d, const char *name)
{
    uint32_t slot = FAKE_NONE;
    enum fake_how how = fakeip_get(d->fake, name, strlen(name), loop_now(d->loop), &slot);

    switch (how) {
    case FAKE_KNOWN: break;
    case FAKE_FRESH:
    case FAKE_RECYCLED: remember(d, slot, how); break;
    case FAKE_FULL: say_full(d); break;
    case FAKE_NOMEM: break;
    }
    return slot;
}

static size_t answer_slot(struct dns *d, const uint8_t *m, const struct question *q, uint32_t slot, const char *alias, uint8_t *out,
                          size_t room)
{
    struct addr a;
    struct reply r = { .alias = alias, .alias_ttl = HOSTS_TTL, .addr = &a, .ttl = (uint32_t)d->p->dns.fake_ttl };

    r.n = (q->type == T_A || q->type == T_AAAA) && fakeip_addr(d->fake, slot, q->type == T_A ? 4 : 6, &a);
    return msg_answer(m, q, &r, out, room);
}

/* name is q's own, or the alias it leads to. 0: it must have a real answer. */
static size_t answer_fake(struct dns *d, const uint8_t *m, const struct question *q, const char *name, const char *alias, uint8_t *out,
                          size_t room)
{
    uint32_t slot;

    if (!*name || filter_wants_real(d->lists->filter, name))
        return 0;
    if (q->type == T_HTTPS || q->type == T_SVCB || (q->type == T_AAAA && !d->p->dns.fake6.ip.ver))
        return msg_answer(m, q, &(struct reply){ .alias = alias, .alias_ttl = HOSTS_TTL }, out, room);
    if ((slot = slot_for(d, name)) == FAKE_NONE)
        return msg_answer(m, q, &(struct reply){ .rcode = RC_SERVFAIL }, out, room);
    if (!alias)
        fakeip_mark(d->fake, slot);
    return answer_slot(d, m, q, slot, alias, out, room);
}

/* A PTR query for an address of ours; 0: it is none. */
static size_t answer_ptr(struct dns *d, const uint8_t *m, const struct question *q, uint8_t *out, size_t room)
{
    struct addr a;
    uint32_t slot;

    if (!d->fake || !msg_reverse_addr(q->name, &a) || !fakeip_contains(d->fake, &a))
        return 0;
    if ((slot = fakeip_slot(d->fake, &a)) == FAKE_NONE)
        return msg_answer(m, q, &(struct reply){ .rcode = RC_NXDOMAIN }, out, room);
    return msg_answer_ptr(m, q, fakeip_name(d->fake, slot, NULL), (uint32_t)d->p->dns.fake_ttl, out, room);
}

/* ---- real answers ---- */

struct pending {
    struct list_head node;
    struct dns *d;
    struct waiter w;
    struct dns_client client;
    struct endpoint from, to;
    struct question q;
    uint16_t max;
    struct qkey key; /* what is really asked: the question, or its alias */
    char *alias;     /* owns */
    uint8_t query[]; /* header and question as they came */
};

static void send_answer(const struct pending *p, const uint8_t *msg, size_t len)
{
    uint8_t head[DNS_REPLY_MAX];

    if (len <= p->max) {
        p->client.reply(p->client.arg, &p->from, &p->to, msg, len, &p->w.by);
        return;
    }
    len = msg_answer(p->query, &p->q, &(struct reply){ 0 }, head, sizeof(head));
    head[2] = (uint8_t)((head[2] & ~0x04) | 0x02); /* TC, not AA: ask by TCP */
    p->client.reply(p->client.arg, &p->from, &p->to, head, len, &p->w.by);
}

static void fail(struct pending *p, int rcode)
{
    uint8_t out[DNS_REPLY_MAX];

    p->w.by = (struct dns_answered){ .how = DNS_BY_NOBODY };
    send_answer(p, out, msg_answer(p->query, &p->q, &(struct reply){ .rcode = rcode }, out, sizeof(out)));
}

static void pending_free(struct pending *p)
{
    list_del(&p->node);
    p->d->n_pending--;
    free(p->alias);
    free(p);
}

void pending_drop_all(struct dns *d)
{
    for (struct list_head *n; (n = list_first(&d->pending));) {
        struct pending *p = container_of(n, struct pending, node);

        resolve_cancel(&p->w);
        p->client.reply(p->client.arg, &p->from, &p->to, "", 0, &(struct dns_answered){ .how = DNS_BY_NOBODY });
        pending_free(p);
    }
}

/* The answer of an alias: its addresses, behind a CNAME. */
static void send_aliased(struct pending *p, const uint8_t *msg, size_t len)
{
    uint8_t out[DNS_REPLY_MAX];
    struct answer a;

    if (!msg_parse_answer(msg, len, &p->key, &a)) {
        fail(p, RC_SERVFAIL);
        return;
    }
    send_answer(p, out,
                msg_answer(p->query, &p->q,
                           &(struct reply){
                               .rcode = a.rcode, .alias = p->alias, .alias_ttl = HOSTS_TTL, .addr = a.addr, .n = a.n_addr, .ttl = a.ttl },
                           out, sizeof(out)));
}

/* A flow to one of these addresses will be called by this name. */
static void note_names(const struct pending *p, const uint8_t *msg, size_t len)
{
    struct answer a;

    if (!p->d->reverse || p->q.odd || (p->q.type != T_A && p->q.type != T_AAAA) || !msg_parse_answer(msg, len, &p->key, &a))
        return;
    for (int i = 0; i < a.n_addr; i++)
        reverse_note(p->d->reverse, &a.addr[i], p->alias ? p->alias : p->q.name, a.ttl, loop_now(p->d->loop));
}

static void on_real(struct waiter *w, int err, uint8_t *msg, size_t len)
{
    struct pending *p = container_of(w, struct pending, w);

    if (!err)
        note_names(p, msg, len);
    if (err)
        fail(p, RC_SERVFAIL);
    else if (p->alias)
        send_aliased(p, msg, len);
    else
        send_answer(p, msg, msg_for_client(msg, len, p->query, &p->q));
    pending_free(p);
}

/* Too many wait: no is better than nothing. */
static void refuse(const uint8_t *m, const struct question *q, const struct dns_client *c, const struct endpoint *client,
                   const struct endpoint *server)
{
    uint8_t out[DNS_REPLY_MAX];
    size_t len = msg_answer(m, q, &(struct reply){ .rcode = RC_SERVFAIL }, out, sizeof(out));

    c->reply(c->arg, client, server, out, len, &(struct dns_answered){ .how = DNS_BY_NOBODY });
}

/* q's own name is asked for, or alias in its place. */
static void ask_real(struct dns *d, const uint8_t *m, const struct question *q, const char *alias, const struct dns_client *c,
                     const struct endpoint *client, const struct endpoint *server, uint16_t max)
{
    struct pending *p = d->n_pending < PENDING_MAX ? calloc(1, sizeof(*p) + q->end) : NULL;

    if (!p) {
        refuse(m, q, c, client, server);
        return;
    }
    *p = (struct pending){ .d = d, .w.done = on_real, .client = *c, .q = *q, .max = max };
    if (client)
        p->from = *client;
    if (server)
        p->to = *server;
    memcpy(p->query, m, q->end);
    p->w.asked = p->query + DNS_HEADER;
    list_append(&d->pending, &p->node);
    d->n_pending++;
    qkey_of(m, q, &p->key);
    if ((alias && (!(p->alias = strdup(alias)) || !qkey_make(alias, q->type, &p->key))) ||
        resolve(d, &p->key, alias ? alias : q->name, LOOKUP_RULES, 0, &p->w) < 0) {
        fail(p, RC_SERVFAIL);
        pending_free(p);
    }
}

/* ---- queries ---- */

/* Where the name leads by hosts. 0: ask on for *name (and put *alias in front). */
static size_t answer_hosts(struct dns *d, const uint8_t *m, const struct question *q, const char **name, const char **alias, uint8_t *out,
                           size_t room)
{
    struct reply r = { .alias_ttl = HOSTS_TTL, .ttl = HOSTS_TTL };
    struct host h;

    while (hosts_tell(d->hosts, *name, &h)) {
        if (!h.alias) {
            r.alias = *alias;
            r.addr = h.addr;
            r.n = (int)h.n;
            return msg_answer(m, q, &r, out, room);
        }
        *name = *alias = h.alias;
        if (q->type == T_CNAME) {
            r.alias = *alias;
            return msg_answer(m, q, &r, out, room);
        }
    }
    return 0;
}

/* Answers from what we know without asking, and says from what. Length; or 0, then *alias is what to ask for, or NULL: the name itself. */
static size_t answer_here(struct dns *d, const uint8_t *m, const struct question *q, const char **alias, enum dns_how *how, uint8_t *out,
                          size_t room)
{
    bool fakeable = d->faking && can_be_faked(q->type);
    const char *name = q->name;
    uint32_t slot;
    size_t n;

    *alias = NULL;
    *how = DNS_BY_FAKE;
    if (q->class_ != C_IN || q->odd)
        return 0;
    if (fakeable && (slot = fakeip_find(d->fake, name, q->name_len)) != FAKE_NONE && fakeip_marked(d->fake, slot)) {
        fakeip_use(d->fake, slot, loop_now(d->loop));
        return answer_slot(d, m, q, slot, NULL, out, room);
    }
    *how = DNS_BY_HOSTS;
    if ((q->type == T_A || q->type == T_AAAA || q->type == T_CNAME) && (n = answer_hosts(d, m, q, &name, alias, out, room)))
        return n;
    *how = DNS_BY_FAKE;
    if (fakeable && (n = answer_fake(d, m, q, name, *alias, out, room)))
        return n;
    *how = DNS_BY_SELF;
    if (q->type == T_PTR && (n = answer_ptr(d, m, q, out, room)))
        return n;
    if (q->type == T_AAAA && !d->p->dns.ipv6)
        return msg_answer(m, q, &(struct reply){ .alias = *alias, .alias_ttl = HOSTS_TTL }, out, room);
    return 0;
}

void dns_expect(struct dns *d, const char *name, void (*seen)(void *arg), void *arg)
{
    snprintf(d->expected, sizeof(d->expected), "%s", name ? name : "");
    d->seen = seen;
    d->seen_arg = arg;
}

void dns_query(struct dns *d, const void *msg, size_t len, const struct dns_client *c, const struct endpoint *client,
               const struct endpoint *server)
{
    struct dns_answered by = { .how = DNS_BY_SELF };
    uint8_t out[DNS_REPLY_MAX];
    const uint8_t *m = msg;
    const char *alias = NULL;
    struct question q;
    uint16_t max;
    size_t n = 0;

    if (hosts_refresh(d->hosts, loop_now(d->loop)) && d->fake)
        fakeip_unmark(d->fake);
    switch (msg_parse_query(m, len, &q)) {
    case MSG_JUNK: return;
    case MSG_FORMERR: n = msg_error(m, RC_FORMERR, out); break;
    case MSG_NOTIMP: n = msg_error(m, RC_NOTIMP, out); break;
    case MSG_BADVERS: n = msg_answer(m, &q, &(struct reply){ .rcode = RC_BADVERS }, out, sizeof(out)); break;
    case MSG_GOOD:
        if (*d->expected && !strcmp(q.name, d->expected)) {
            n = msg_answer(m, &q, &(struct reply){ .rcode = RC_NXDOMAIN }, out, sizeof(out));
            d->seen(d->seen_arg);
            break;
        }
        max = !client ? DNS_MAX : q.client_max < DNS_UDP_MAX ? q.client_max : DNS_UDP_MAX;
        if (c->real || !(n = answer_here(d, m, &q, &alias, &by.how, out, max < sizeof(out) ? max : sizeof(out)))) {
            ask_real(d, m, &q, alias, c, client, server, max);
            return;
        }
        break;
    }
    c->reply(c->arg, client, server, out, n, &by);
}

/* ---- names behind addresses ---- */

const char *dns_real_name(struct dns *d, const struct addr *a)
{
    return d->reverse ? reverse_find(d->reverse, a, loop_now(d->loop)) : NULL;
}

bool dns_is_fake(const struct dns *d, const struct addr *a)
{
    return d->fake && fakeip_contains(d->fake, a);
}

const char *dns_fake_name(struct dns *d, const struct addr *a)
{
    uint32_t slot = d->fake ? fakeip_slot(d->fake, a) : FAKE_NONE;

    if (slot == FAKE_NONE)
        return NULL;
    fakeip_use(d->fake, slot, loop_now(d->loop));
    return fakeip_name(d->fake, slot, NULL);
}

void dns_fake_pin(struct dns *d, const struct addr *a)
{
    uint32_t slot = d->fake ? fakeip_slot(d->fake, a) : FAKE_NONE;

    if (slot != FAKE_NONE)
        fakeip_pin(d->fake, slot);
}

void dns_fake_unpin(struct dns *d, const struct addr *a)
{
    uint32_t slot = d->fake ? fakeip_slot(d->fake, a) : FAKE_NONE;

    if (slot != FAKE_NONE)
        fakeip_unpin(d->fake, slot, loop_now(d->loop));
}

void dns_fake_usage(const struct dns *d, uint32_t *used, uint32_t *size)
{
    *used = *size = 0;
    if (d->fake)
        fakeip_usage(d->fake, used, size);
}

int dns_fake_flush(struct dns *d)
{
    if (!d->fake)
        return -ENOENT;
    fakeip_forget(d->fake);
    if (d->log)
        fakelog_forget(d->log);
    return 0;
}
