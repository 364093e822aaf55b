/*
 * race.c - one question to a list of servers
 *
 *   best ──────────────────────────────► good: it wins, the others are called back
 *     └─ 1.5 x its usual time ─► next ─► ...
 *   a failure (nothing, SERVFAIL, REFUSED): all the rest at once
 *
 * "Best" is the smoothed time of a server's answers; one that was not asked is slowly forgiven, so that a server that was down once gets
 * its chance. It costs a third of the queries that asking everybody costs, and fewer people hear what is asked.
 *
 * Nobody good: the first bad answer is the answer, else the first error. 5 s in all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "dns/private.h"

#define LIMIT_MS    5000
#define NEXT_MIN_MS 50
#define NEXT_MAX_MS 400
#define UNKNOWN_MS  150 /* what is thought of a server that was never asked */

struct runner {
    struct ns_ask ask;
    struct race *race;
    struct ns *ns;
    bool started, running;
};

static uint32_t thought(const struct ns *s)
{
    return s->spec.kind == NS_RCODE ? 0 : s->srtt_ms ? s->srtt_ms : UNKNOWN_MS;
}

static void end(struct race *r, bool late)
{
    for (unsigned i = 0; i < r->list->n; i++) {
        struct runner *u = &r->run[i];

        if (u->running)
            ns_give_up(&u->ask, late);
        if (!u->started && u->ns->srtt_ms > 32)
            u->ns->srtt_ms -= u->ns->srtt_ms / 32;
    }
    timer_cancel(&r->next);
    timer_cancel(&r->limit);
    job_cancel(&r->job);
    free(r->run);
    r->run = NULL;
}

void race_stop(struct race *r)
{
    if (!r->run)
        return;
    end(r, false);
    free(r->bad);
    r->bad = NULL;
}

/* Ends it with what there is; r may be gone afterwards. */
static void finish(struct race *r, int err, uint8_t *msg, size_t len, const struct answer *a, struct ns *who)
{
    uint8_t *bad = r->bad;

    r->bad = NULL;
    end(r, err == -ETIMEDOUT);
    if (!err || !bad)
        r->done(r, err, msg, len, a, who);
    else
        r->done(r, 0, bad, r->bad_len, &r->bad_a, r->bad_from);
    free(bad);
}

static void start_one(struct race *r, struct runner *u)
{
    int err;

    u->started = true;
    r->n_started++;
    if ((err = ns_ask(u->ns, &u->ask)) < 0) {
        r->err = r->err ? r->err : err;
        return;
    }
    u->running = true;
    r->n_running++;
}

static void start_all(struct race *r)
{
    for (unsigned i = 0; i < r->list->n; i++)
        if (!r->run[i].started)
            start_one(r, &r->run[i]);
}

/* The next in order, until one runs. */
static void start_next(struct race *r, struct loop *l)
{
    while (r->n_started < r->list->n) {
        struct runner *u = &r->run[r->n_started];
        uint32_t wait = thought(u->ns) * 3 / 2;

        start_one(r, u);
        if (!u->running)
            continue;
        timer_set(l, &r->next, wait < NEXT_MIN_MS ? NEXT_MIN_MS : wait > NEXT_MAX_MS ? NEXT_MAX_MS : wait);
        return;
    }
}

static void on_ask(struct ns_ask *q, int err, uint8_t *msg, size_t len, const struct answer *a)
{
    struct runner *u = container_of(q, struct runner, ask);
    struct race *r = u->race;

    u->running = false;
    r->n_running--;
    if (!err && answer_knows(a)) {
        finish(r, 0, msg, len, a, u->ns);
        return;
    }
    if (err)
        r->err = r->err ? r->err : err;
    else if (!r->bad && a->rcode < 16 && (r->bad = malloc(len))) {
        memcpy(r->bad, msg, len);
        r->bad_len = len;
        r->bad_a = *a;
        r->bad_from = u->ns;
    }
    timer_cancel(&r->next);
    start_all(r);
    if (!r->n_running)
        finish(r, r->err ? r->err : -EBADMSG, NULL, 0, NULL, NULL);
}

static void on_next(struct timer *t)
{
    struct race *r = container_of(t, struct race, next);

    start_next(r, r->run[0].ns->d->loop);
}

static void on_limit(struct timer *t)
{
    struct race *r = container_of(t, struct race, limit);

    finish(r, r->err ? r->err : -ETIMEDOUT, NULL, 0, NULL, NULL);
}

/* Nobody could be asked. */
static void on_nobody(struct job *j)
{
    struct race *r = container_of(j, struct race, job);

    finish(r, r->err ? r->err : -ERR_NAME, NULL, 0, NULL, NULL);
}

/* Equal ones keep the order of the list. */
static void put_in_order(struct runner *run, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k && thought(run[k - 1].ns) > thought(run[k].ns); k--) {
            struct runner swap = run[k];

            run[k] = run[k - 1];
            run[k - 1] = swap;
        }
}

int race_start(struct race *r, struct loop *l)
{
    if (!r->list->n)
        return -ERR_NAME;
    if (!(r->run = calloc(r->list->n, sizeof(*r->run))))
        return -ENOMEM;
    r->n_started = r->n_running = 0;
    r->err = 0;
    r->bad = NULL;
    r->next.cb = on_next;
    r->limit.cb = on_limit;
    r->job.cb = on_nobody;
    for (unsigned i = 0; i < r->list->n; i++)
        r->run[i] = (struct runner){ .ask = { .key = r->key, .spelling = r->spelling, .depth = r->depth, .done = on_ask },
                                     .race = r,
                                     .ns = r->list->v[i] };
    put_in_order(r->run, r->list->n);
    timer_set(l, &r->limit, LIMIT_MS);
    if (r->run[0].ns->d->parallel)
        start_all(r);
    else
        start_next(r, l);
    if (!r->n_running)
        loop_defer(l, &r->job);
    return 0;
}
