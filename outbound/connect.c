/*
 * connect.c - from a name or address to one connected socket
 *
 *   look up ──► addresses, families alternating (IPv6 first, RFC 8305 section 4)
 *                 │  one attempt; the next one 250 ms later, or at once when one fails
 *                 ▼
 *   up to four attempts under way ──► the first that connects wins, the others are closed
 *
 * tcp-concurrent does not wait those 250 ms, and tries all. With four under way and more addresses left, the oldest gives way after 2 s, so one dead block
 * of addresses does not hide a good one. After 10 s, look-up included, it is over. When nothing answered, the reported error is the most
 * telling one: "refused" says more than "no route".
 *
 * Without env->ipv6 no IPv6 packet is sent, not even to an address given as such; a node's ip-version leaves a family out, or says which is first.
 *
 * Nothing is allocated; every callback runs from the loop, and none after done or cancel.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/sock.h"
#include "outbound/options.h"
#include "outbound/private.h"

#define STAGGER_MS 250
#define OLDEST_MS 2000
#define TOTAL_MS 10000

static void try_close(struct tcp_try *t)
{
    if (!t->open)
        return;
    io_unwatch(&t->io);
    close(t->io.fd);
    t->open = false;
    t->tc->n_open--;
}

static void stop(struct tcp_connect *tc)
{
    tc->running = false;
    timer_cancel(&tc->timer);
    job_cancel(&tc->job);
    if (tc->looking)
        tc->env->resolver->cancel(tc->env->resolver, &tc->lookup);
    tc->looking = false;
    for (int i = 0; i < LOOKUP_MAX; i++)
        try_close(&tc->tries[i]);
}

static void finish(struct tcp_connect *tc, struct stream *s, int err)
{
    stop(tc);
    tc->done(tc, s, err);
}

static bool says_little(int err)
{
    return !err || err == -ENETUNREACH || err == -EHOSTUNREACH || err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT;
}

static void note_error(struct tcp_connect *tc, int err)
{
    if (says_little(tc->err))
        tc->err = err;
}

/* ---- attempts ---- */

static void on_io(struct io *io, uint32_t ready);

static int max_tries(const struct tcp_connect *tc)
{
    return tc->concurrent ? LOOKUP_MAX : TCP_CONNECT_TRIES;
}

static struct tcp_try *free_try(struct tcp_connect *tc)
{
    for (int i = 0; i < max_tries(tc); i++)
        if (!tc->tries[i].open)
            return &tc->tries[i];
    return NULL;
}

static struct tcp_try *oldest_try(struct tcp_connect *tc)
{
    struct tcp_try *old = NULL;

    for (int i = 0; i < LOOKUP_MAX; i++)
        if (tc->tries[i].open && (!old || tc->tries[i].nth < old->nth))
            old = &tc->tries[i];
    return old;
}

static int try_open(struct tcp_connect *tc, struct tcp_try *t)
{
    int fd, r;

    t->tc = tc;
    t->nth = tc->next;
    t->at = (struct endpoint){ tc->addrs[tc->next++], tc->to.at.port };
    if ((fd = sock_connect(&t->at, &tc->opts)) < 0)
        return fd;
    t->io.cb = on_io;
    if ((r = io_watch(tc->env->loop, &t->io, fd, IO_WRITE)) < 0) {
        close(fd);
        return r;
    }
    t->open = true;
    tc->n_open++;
    return 0;
}

static void arm(struct tcp_connect *tc)
{
    uint64_t now = loop_now(tc->env->loop), left = tc->deadline_ms > now ? tc->deadline_ms - now : 0;
    uint64_t wait = tc->next == tc->n_addrs ? left : tc->n_open < max_tries(tc) ? STAGGER_MS : OLDEST_MS;

    timer_set(tc->env->loop, &tc->timer, wait < left ? wait : left);
}

/* Begins one more attempt (concurrent: as many as find room), if there is an address; addresses that fail at once are passed over. */
static void advance(struct tcp_connect *tc)
{
    struct tcp_try *t;
    int r = -1;

    while ((r < 0 || tc->concurrent) && tc->next < tc->n_addrs && (t = free_try(tc)))
        if ((r = try_open(tc, t)) < 0)
            note_error(tc, r);
    if (tc->n_open)
        arm(tc);
    else
        finish(tc, NULL, tc->err);
}

static void on_io(struct io *io, uint32_t ready)
{
    struct tcp_try *t = container_of(io, struct tcp_try, io);
    struct tcp_connect *tc = t->tc;
    int fd = io->fd, r = sock_error(fd);
    struct stream *s;

    if (r < 0) {
        try_close(t);
        note_error(tc, r);
        advance(tc);
        return;
    }
    io_unwatch(io);
    t->open = false;
    tc->n_open--;
    tc->peer = t->at;
    if (!(s = sock_stream(tc->env->loop, fd)))
        close(fd);
    finish(tc, s, s ? 0 : -ENOMEM);
}

static void on_timer(struct timer *timer)
{
    struct tcp_connect *tc = container_of(timer, struct tcp_connect, timer);

    if (loop_now(tc->env->loop) >= tc->deadline_ms) {
        finish(tc, NULL, -ETIMEDOUT);
        return;
    }
    if (!free_try(tc)) {
        try_close(oldest_try(tc));
        note_error(tc, -ETIMEDOUT);
    }
    advance(tc);
}

/* ---- addresses ---- */

/* Takes the usable ones, families alternating. */
static void take_addresses(struct tcp_connect *tc, const struct addr *a, int n)
{
    int v4 = tc->family == OPT_V6 ? n : 0, v6 = !tc->env->ipv6 || tc->family == OPT_V4 ? n : 0;

    for (bool turn6 = tc->family != OPT_V4_FIRST; v4 < n || v6 < n; turn6 = !turn6) {
        while (v4 < n && a[v4].ver != 4)
            v4++;
        while (v6 < n && a[v6].ver != 6)
            v6++;
        if (v6 < n && (turn6 || v4 == n))
            tc->addrs[tc->n_addrs++] = a[v6++];
        else if (v4 < n)
            tc->addrs[tc->n_addrs++] = a[v4++];
    }
}

static void begin(struct tcp_connect *tc, const struct addr *a, int n)
{
    take_addresses(tc, a, n < LOOKUP_MAX ? n : LOOKUP_MAX);
    tc->err = -ENETUNREACH; /* unless an attempt tells more: only addresses we may not use */
    tc->opts.fast_open = tc->opts.fast_open && tc->n_addrs == 1; /* it "connects" before anybody answered: no other would be tried */
    advance(tc);
}

static void on_address(struct job *j)
{
    struct tcp_connect *tc = container_of(j, struct tcp_connect, job);

    begin(tc, &tc->to.at.ip, 1);
}

static void on_lookup(struct lookup *l, int err)
{
    struct tcp_connect *tc = container_of(l, struct tcp_connect, lookup);

    tc->looking = false;
    if (!err && l->n > 0)
        begin(tc, l->addr, l->n);
    else if (addr_is_set(&tc->to.at.ip))
        begin(tc, &tc->to.at.ip, 1);
    else
        finish(tc, NULL, err ? err : -ERR_NAME);
}

int tcp_connect_start(struct tcp_connect *tc)
{
    struct resolver *res = tc->env->resolver;
    int r;

    tc->timer.cb = on_timer;
    tc->job.cb = on_address;
    tc->deadline_ms = loop_now(tc->env->loop) + TOTAL_MS;
    if (tc->to.host && addr_parse(tc->to.host, &tc->to.at.ip) == 0)
        tc->to.host = NULL;
    if (!tc->to.host && !addr_is_set(&tc->to.at.ip))
        return -ERR_NAME;
    if (!tc->to.host) {
        loop_defer(tc->env->loop, &tc->job);
    } else {
        tc->lookup = (struct lookup){ .host = tc->to.host, .why = tc->why, .depth = tc->depth, .done = on_lookup };
        tc->lookup.only = opt_only(tc->family);
        if ((r = res->lookup(res, &tc->lookup)) < 0)
            return r;
        tc->looking = true;
        timer_set(tc->env->loop, &tc->timer, TOTAL_MS);
    }
    tc->running = true;
    return 0;
}

void tcp_connect_cancel(struct tcp_connect *tc)
{
    if (tc->running)
        stop(tc);
}
