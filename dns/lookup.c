/*
 * lookup.c - look-ups of our own: both families of a name, IPv4 first; never a fake address
 *
 *   literal, hosts ──────────────────────────► known at once
 *   A and AAAA at the same time; when A has come, AAAA has ipv6-timeout left; who can use one of them only waits for that one
 *
 * A name that is dialled DIRECT keeps its first address for a minute at least, whatever a name server rotates: two ports of one service
 * then meet the same machine (IPsec, FTP, SIP).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"
#include "dns/private.h"

#define FIRST_MS   60000
#define FIRSTS_MAX 1024

struct asking {
    struct list_head node; /* dns.lookups */
    struct dns *d;
    struct lookup *l;
    char host[HOST_MAX + 1]; /* as it is asked for, aliases followed */
    struct qkey key_a, key_aaaa;
    struct waiter a, aaaa;
    bool wait_a, wait_aaaa, told; /* told: the addresses are a name server's */
    struct addr v4[LOOKUP_MAX], v6[LOOKUP_MAX];
    int n4, n6, err;
    uint32_t ttl;
    struct timer patience;
    struct job job;
};

/* ---- the first address of a name ---- */

struct first {
    struct map_node node;
    struct list_head by_age;
    struct addr ip;
    uint64_t until_ms;
    char host[];
};

static struct first *first_find(struct dns *d, const char *host)
{
    for (struct map_node *m = map_first(&d->firsts, hash_bytes(host, strlen(host))); m; m = map_next(m)) {
        struct first *f = container_of(m, struct first, node);

        if (!strcmp(f->host, host))
            return f;
    }
    return NULL;
}

static void first_drop(struct dns *d, struct first *f)
{
    map_del(&d->firsts, &f->node);
    list_del(&f->by_age);
    free(f);
}

static void first_note(struct dns *d, const char *host, const struct addr *ip, uint64_t until_ms)
{
    size_t len = strlen(host);
    struct first *f = malloc(sizeof(*f) + len + 1);

    if (!f)
        return;
    if (d->firsts.n >= FIRSTS_MAX)
        first_drop(d, container_of(list_first(&d->by_age), struct first, by_age));
    f->ip = *ip;
    f->until_ms = until_ms;
    memcpy(f->host, host, len + 1);
    map_add(&d->firsts, &f->node, hash_bytes(host, len));
    list_append(&d->by_age, &f->by_age);
}

/* The address that was first a moment ago is first again, also when the server does not name it any more. */
static void keep_first(struct asking *q)
{
    struct lookup *l = q->l;
    struct dns *d = q->d;
    struct first *f = first_find(d, q->host);
    uint64_t now = loop_now(d->loop), keep_ms = (uint64_t)q->ttl * 1000 > FIRST_MS ? (uint64_t)q->ttl * 1000 : FIRST_MS;
    int at = 0;

    if (f && now >= f->until_ms) {
        first_drop(d, f);
        f = NULL;
    }
    if (!f) {
        first_note(d, q->host, &l->addr[0], now + keep_ms);
        return;
    }
    while (at < l->n && !addr_eq(&l->addr[at], &f->ip))
        at++;
    if (at == l->n)
        at = l->n < LOOKUP_MAX ? l->n++ : l->n - 1;
    memmove(l->addr + 1, l->addr, (size_t)at * sizeof(l->addr[0]));
    l->addr[0] = f->ip;
}

/* ---- the end ---- */

static void asking_free(struct asking *q)
{
    resolve_cancel(&q->a);
    resolve_cancel(&q->aaaa);
    timer_cancel(&q->patience);
    job_cancel(&q->job);
    list_del(&q->node);
    q->l->priv = NULL;
    free(q);
}

static void answer(struct asking *q)
{
    struct lookup *l = q->l;
    int err, room4 = LOOKUP_MAX - (q->n6 < LOOKUP_MAX / 2 ? q->n6 : LOOKUP_MAX / 2);

    l->n = 0;
    for (int i = 0; i < q->n4 && l->n < room4; i++)
        l->addr[l->n++] = q->v4[i];
    for (int i = 0; i < q->n6 && l->n < LOOKUP_MAX; i++)
        l->addr[l->n++] = q->v6[i];
    err = l->n ? 0 : q->err ? q->err : -ERR_NAME;
    if (l->n && l->why == LOOKUP_DIRECT && !l->only && q->told)
        keep_first(q);
    asking_free(q);
    l->done(l, err);
}

static void on_job(struct job *j)
{
    answer(container_of(j, struct asking, job));
}

static void on_patience(struct timer *t)
{
    answer(container_of(t, struct asking, patience));
}

static bool is_enough(const struct asking *q)
{
    return (q->l->only == 4 && q->n4) || (q->l->only == 6 && q->n6) || (!q->wait_a && !q->wait_aaaa);
}

static void settle(struct asking *q)
{
    if (is_enough(q))
        loop_defer(q->d->loop, &q->job);
    else if (!q->wait_a && q->n4 && q->l->only != 6)
        timer_set(q->d->loop, &q->patience, (uint64_t)q->d->ipv6_timeout_ms);
}

/* ---- what comes ---- */

static int take(struct asking *q, const struct qkey *k, const uint8_t *msg, size_t len, int ver, struct addr *out)
{
    struct answer a;
    int n = 0;

    if (!msg_parse_answer(msg, len, k, &a)) {
        q->err = q->err ? q->err : -EBADMSG;
        return 0;
    }
    if (!answer_knows(&a))
        q->err = q->err ? q->err : -EAGAIN; /* SERVFAIL: nobody knows, which is not the same as "there is none" */
    for (int i = 0; i < a.n_addr && n < LOOKUP_MAX; i++)
        if (a.addr[i].ver == ver)
            out[n++] = a.addr[i];
    if (n && (!q->told || a.ttl < q->ttl))
        q->ttl = a.ttl;
    q->told |= n > 0;
    return n;
}

static void on_a(struct waiter *w, int err, uint8_t *msg, size_t len)
{
    struct asking *q = container_of(w, struct asking, a);

    q->wait_a = false;
    if (err)
        q->err = q->err ? q->err : err;
    else
        q->n4 = take(q, &q->key_a, msg, len, 4, q->v4);
    settle(q);
}

static void on_aaaa(struct waiter *w, int err, uint8_t *msg, size_t len)
{
    struct asking *q = container_of(w, struct asking, aaaa);

    q->wait_aaaa = false;
    if (!err)
        q->n6 = take(q, &q->key_aaaa, msg, len, 6, q->v6);
    settle(q);
}

/* ---- the beginning ---- */

static void put_addr(struct asking *q, const struct addr *a)
{
    if (a->ver == 4 && q->n4 < LOOKUP_MAX)
        q->v4[q->n4++] = *a;
    else if (a->ver == 6 && q->n6 < LOOKUP_MAX)
        q->v6[q->n6++] = *a;
}

/* One of n, another one each time: several addresses of a name share its flows. */
static uint32_t any_of(uint32_t n)
{
    uint32_t r = 0;

    if (n > 1)
        random_bytes(&r, sizeof(r));
    return n ? r % n : 0;
}

/* Are the addresses known without a question? Aliases are followed in q->host. */
static bool known_here(struct asking *q)
{
    struct addr literal;
    struct host h;

    if (addr_parse(q->host, &literal) == 0) {
        put_addr(q, &literal);
        return true;
    }
    while (hosts_find(q->d->hosts, q->host, &h)) {
        for (uint32_t i = 0, from = any_of(h.n); !h.alias && i < h.n; i++)
            put_addr(q, &h.addr[(from + i) % h.n]);
        if (!h.alias)
            return true;
        strcpy(q->host, h.alias);
    }
    return false;
}

static void ask(struct asking *q, unsigned why, uint8_t depth)
{
    const struct dns *d = q->d;
    int r;

    if (!qkey_make(q->host, T_A, &q->key_a) || !qkey_make(q->host, T_AAAA, &q->key_aaaa)) {
        loop_defer(d->loop, &q->job);
        return;
    }
    q->wait_a = true;
    /* the servers of nodes and of names are found in either family, whatever programs are told */
    q->wait_aaaa = d->p->ipv6 && (d->p->dns.ipv6 || why == LOOKUP_SERVER || why == LOOKUP_BOOT || q->l->only == 6);
    if (q->wait_aaaa && resolve(q->d, &q->key_aaaa, q->host, why, depth, &q->aaaa) < 0)
        q->wait_aaaa = false;
    if ((r = resolve(q->d, &q->key_a, q->host, why, depth, &q->a)) < 0) {
        q->wait_a = false;
        q->err = r;
    }
    settle(q);
}

static int res_lookup(struct resolver *r, struct lookup *l)
{
    struct dns *d = container_of(r, struct dns, resolver);
    struct asking *q;

    if (l->depth > DEPTH_MAX)
        return -ERR_CIRCLE;
    if (!(q = calloc(1, sizeof(*q))))
        return -ENOMEM;
    q->d = d;
    q->l = l;
    q->a.done = on_a;
    q->aaaa.done = on_aaaa;
    q->patience.cb = on_patience;
    q->job.cb = on_job;
    l->priv = q;
    list_append(&d->lookups, &q->node);
    if (host_normalise(l->host, strlen(l->host), q->host) < 0 || known_here(q))
        loop_defer(d->loop, &q->job);
    else
        ask(q, l->why, l->depth);
    return 0;
}

static void res_cancel(struct resolver *r, struct lookup *l)
{
    if (l->priv)
        asking_free(l->priv);
}

static bool res_known(struct resolver *r, const char *host, struct addr *out)
{
    struct dns *d = container_of(r, struct dns, resolver);
    struct host h = { .alias = host };

    if (addr_parse(host, out) == 0)
        return true;
    while (h.alias)
        if (!hosts_find(d->hosts, h.alias, &h))
            return false;
    for (int ver = 4; ver <= 6; ver += 2)
        for (uint32_t i = 0, from = any_of(h.n); i < h.n; i++) {
            const struct addr *a = &h.addr[(from + i) % h.n];

            if (a->ver == ver && (ver == 4 || d->p->ipv6)) {
                *out = *a;
                return true;
            }
        }
    return false;
}

int lookup_init(struct dns *d)
{
    d->resolver = (struct resolver){ res_lookup, res_cancel, res_known };
    list_init(&d->lookups);
    list_init(&d->by_age);
    return map_init(&d->firsts, 16);
}

/* Whoever still waits is told: nothing more comes. */
void lookup_fini(struct dns *d)
{
    for (struct list_head *n; (n = list_first(&d->lookups));) {
        struct asking *q = container_of(n, struct asking, node);
        struct lookup *l = q->l;

        asking_free(q);
        l->done(l, -ECANCELED);
    }
    while (!list_empty(&d->by_age))
        first_drop(d, container_of(list_first(&d->by_age), struct first, by_age));
    map_fini(&d->firsts);
}
