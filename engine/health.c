/*
 * health.c - delay tests of many outbounds
 *
 *   a batch      outbounds and a url ─► tests, so many at once ─► each result is noted (outbound/delay.c) ─► done
 *
 *   a check      of a group that chooses by tests, or of a provider: every interval a round = a batch of those members that nobody has
 *                tested lately with the same url. Rounds take turns, so groups that share members do not test them twice
 *
 * A lazy check skips rounds while nobody uses its group or provider. Dials that fail bring the next round forward, but not more than one in
 * HURRY_MS.
 *
 * A check belongs to a policy in force, and goes with it.
 */
#include "engine/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/delay.h"
#include "engine/private.h"

#define BEGIN_MS   1000 /* after the policy came into force: names must be found first */
#define ROUND_MANY 16   /* tests at once */
#define ASKED_MANY 64   /* of a batch that somebody waits for */
#define HURRY_MS   10000
#define TIMEOUT_MS 5000

/* ---- a batch ---- */

struct slot {
    struct delay_test test;
    struct batch *b;
    uint32_t i; /* what is tested */
    bool busy;
};

struct batch {
    struct engine *e;
    struct eng_delays *d; /* whose it is */
    struct delay_url url;
    struct delay_expected expected;
    char *text; /* of the url */
    unsigned timeout_ms;
    bool unified;
    uint32_t next, running;
    struct job over;
    struct outbound *held; /* keeps the set */
    uint32_t n_slots;
    struct slot slots[];
};

static void batch_free(struct batch *b)
{
    job_cancel(&b->over);
    out_put(b->held);
    free(b->text);
    free(b);
}

static int64_t wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void keep_going(struct batch *b);

static void on_tested(struct delay_test *t, int err)
{
    struct slot *s = container_of(t, struct slot, test);
    struct batch *b = s->b;
    struct eng_delay *v = &b->d->v[s->i];

    v->err = err;
    v->ms = err ? 0 : t->ms;
    out_note_delay(v->o, b->text, &(struct out_result){ wall_ms(), v->ms });
    s->busy = false;
    b->running--;
    keep_going(b);
}

static void start_next(struct batch *b, struct slot *s)
{
    struct eng_delay *v = &b->d->v[b->next];

    s->i = b->next++;
    s->test.done = on_tested;
    if (v->o->why)
        v->err = -ERR_UNSUPPORTED;
    else if ((v->err = delay_start(&s->test, v->o, &b->url, &b->expected, b->unified, b->timeout_ms)) == 0)
        s->busy = true;
    b->running += s->busy;
}

static void keep_going(struct batch *b)
{
    for (uint32_t k = 0; k < b->n_slots; k++)
        while (!b->slots[k].busy && b->next < b->d->n)
            start_next(b, &b->slots[k]);
    if (!b->running)
        loop_defer(b->e->loop, &b->over);
}

static void on_over(struct job *j)
{
    struct batch *b = container_of(j, struct batch, over);
    struct eng_delays *d = b->d;

    d->batch = NULL;
    batch_free(b);
    d->done(d);
}

static int batch_start(struct engine *e, struct eng_delays *d, const struct eng_delay_how *how, uint32_t many)
{
    uint32_t n_slots = d->n < many ? d->n : many;
    struct batch *b = calloc(1, sizeof(*b) + n_slots * sizeof(b->slots[0]));
    int n;

    if (!b)
        return -ENOMEM;
    n = cfg_scan_ranges(how->expected ? how->expected : "", 65535, '-', b->expected.v);
    if (n < 0 || delay_url_parse(how->url, &b->url) < 0) {
        free(b);
        return -EINVAL;
    }
    if (!(b->text = strdup(how->url))) {
        free(b);
        return -ENOMEM;
    }
    b->expected.n = (uint32_t)n;
    b->e = e;
    b->d = d;
    b->timeout_ms = how->timeout_ms ? how->timeout_ms : TIMEOUT_MS;
    b->unified = e->pol->profile->unified_delay;
    b->over.cb = on_over;
    b->n_slots = n_slots;
    b->held = d->n ? out_get(d->v[0].o) : NULL;
    for (uint32_t k = 0; k < n_slots; k++)
        b->slots[k].b = b;
    d->batch = b;
    keep_going(b);
    return 0;
}

int eng_delays_start(struct engine *e, struct eng_delays *d, const struct eng_delay_how *how)
{
    return batch_start(e, d, how, ASKED_MANY);
}

void eng_delays_cancel(struct eng_delays *d)
{
    struct batch *b = d->batch;

    if (!b)
        return;
    d->batch = NULL;
    for (uint32_t k = 0; k < b->n_slots; k++)
        delay_cancel(&b->slots[k].test);
    batch_free(b);
}

/* ---- checks ---- */

struct check {
    struct health *h;
    struct outbound *group;             /* of a group, or */
    const struct out_provider *provider; /* of a provider */
    struct eng_delay_how how;
    uint64_t interval_ms; /* 0: only in a hurry */
    bool lazy, waits, hurried; /* waits: for its turn; hurried: because dials failed */
    struct timer due;
    uint64_t began_ms; /* its last round; 0: none yet */
    unsigned n_failed, max_failed; /* dials, within a timeout */
    uint64_t failed_ms;
};

struct health {
    struct engine *e;
    struct outbound *held; /* keeps the set */
    struct check *running; /* whose round it is */
    struct eng_delays round;
    uint32_t n;
    struct check checks[];
};

static struct outbound *member_of(const struct check *c, uint32_t i)
{
    return c->group ? out_member(c->group, i) : i < c->provider->n ? c->provider->members[i] : NULL;
}

/* Was it tested so lately that another test would tell nothing new? */
static bool is_fresh(const struct check *c, const struct outbound *o, int64_t now)
{
    const struct out_record *r = out_record_of(o, c->how.url);
    int64_t age = r ? now - r->v[r->n - 1].unix_ms : INT64_MAX;

    return age >= 0 && age < (int64_t)(c->hurried ? HURRY_MS : c->interval_ms / 2);
}

static bool gather(struct eng_delays *d, const struct check *c)
{
    int64_t now = wall_ms();
    struct outbound *o;
    uint32_t n = 0;

    while (member_of(c, n))
        n++;
    if (!(d->v = calloc(n + 1, sizeof(*d->v))))
        return false;
    d->n = 0;
    for (uint32_t i = 0; (o = member_of(c, i)); i++)
        if (o->ops->action != OUT_REJECT && o->ops->action != OUT_REJECT_DROP && !is_fresh(c, o, now))
            d->v[d->n++].o = o;
    return true;
}

static void next_round(struct health *h);

static void end_round(struct health *h)
{
    free(h->round.v);
    h->round.v = NULL;
    h->running = NULL;
}

static void on_round(struct eng_delays *d)
{
    struct health *h = container_of(d, struct health, round);

    end_round(h);
    next_round(h);
}

static void begin_round(struct health *h, struct check *c)
{
    c->waits = false;
    c->began_ms = loop_now(h->e->loop);
    c->n_failed = 0;
    if (c->interval_ms)
        timer_set(h->e->loop, &c->due, c->interval_ms);
    h->round.done = on_round;
    h->running = c;
    if (!gather(&h->round, c) || batch_start(h->e, &h->round, &c->how, ROUND_MANY) < 0)
        end_round(h);
    c->hurried = false;
}

static void next_round(struct health *h)
{
    for (uint32_t i = 0; i < h->n && !h->running; i++)
        if (h->checks[i].waits)
            begin_round(h, &h->checks[i]);
}

static void want_round(struct check *c, bool hurried)
{
    c->waits = true;
    c->hurried = hurried;
    next_round(c->h);
}

static bool was_used(const struct check *c)
{
    uint64_t used = c->group ? out_group_used(c->group) : c->provider->used_ms;

    return used && used + c->interval_ms > loop_now(c->h->e->loop);
}

static void on_due(struct timer *t)
{
    struct check *c = container_of(t, struct check, due);

    if (c->lazy && c->began_ms && !was_used(c))
        timer_set(c->h->e->loop, &c->due, c->interval_ms);
    else
        want_round(c, false);
}

/* ---- of a policy ---- */

static void add(struct health *h, struct check c)
{
    struct delay_url any;

    if (!c.how.url || delay_url_parse(c.how.url, &any) < 0)
        return;
    c.h = h;
    c.due.cb = on_due;
    h->checks[h->n++] = c;
}

static void add_group(struct health *h, struct outbound *o)
{
    const struct out_group_opts *g = out_group_opts(o);

    add(h, (struct check){ .group = o,
                           .how = { g->url, g->expected_status, (unsigned)g->timeout_ms },
                           .interval_ms = (uint64_t)g->interval_s * 1000,
                           .lazy = g->lazy,
                           .max_failed = (unsigned)g->max_failed });
}

static void add_provider(struct health *h, const struct out_provider *p)
{
    add(h, (struct check){ .provider = p,
                           .how = { p->test_url, p->expected_status, (unsigned)p->test_timeout_ms },
                           .interval_ms = (uint64_t)(p->test_interval_s ? p->test_interval_s : 300) * 1000,
                           .lazy = p->test_lazy });
}

/* A select has a check only where the profile gives it an interval. */
static bool has_check(const struct outbound *o)
{
    const struct out_group_opts *g = out_group_opts(o);

    return g && (out_is_tested(o) || (g->interval_s && *g->url));
}

static struct health *health_new(struct engine *e)
{
    struct out_set *s = e->pol->outs;
    const struct out_provider *p;
    struct health *h;
    uint32_t n = 0;

    while (out_provider_at(s, n))
        n++;
    if (!(h = calloc(1, sizeof(*h) + ((size_t)n + (size_t)out_count(s)) * sizeof(h->checks[0]))))
        return NULL;
    h->e = e;
    h->held = out_get(out_at(s, 0));
    for (int32_t i = 0; i < out_count(s); i++)
        if (has_check(out_at(s, i)))
            add_group(h, out_at(s, i));
    for (uint32_t i = 0; (p = out_provider_at(s, i)); i++)
        if (p->test)
            add_provider(h, p);
    return h;
}

int health_begin(struct engine *e)
{
    struct health *h = health_new(e);

    if (!h)
        return -ENOMEM;
    e->health = h;
    for (uint32_t i = 0; i < h->n; i++)
        if (h->checks[i].interval_ms)
            timer_set(e->loop, &h->checks[i].due, BEGIN_MS);
    return 0;
}

void health_end(struct engine *e)
{
    struct health *h = e->health;

    if (!h)
        return;
    for (uint32_t i = 0; i < h->n; i++)
        timer_cancel(&h->checks[i].due);
    eng_delays_cancel(&h->round);
    end_round(h);
    out_put(h->held);
    free(h);
    e->health = NULL;
}

/* ---- dials that fail ---- */

static void note(struct check *c, int err)
{
    uint64_t now = loop_now(c->h->e->loop);

    if (!err) {
        c->n_failed = 0;
        return;
    }
    if (!c->n_failed || now > c->failed_ms + c->how.timeout_ms) {
        c->failed_ms = now;
        c->n_failed = 0;
    }
    c->n_failed++;
    if ((err == -ECONNREFUSED || c->n_failed >= c->max_failed) && !c->waits && c->h->running != c && now >= c->began_ms + HURRY_MS)
        want_round(c, true);
}

void health_note_dial(struct engine *e, struct outbound *const *chain, int n, int err)
{
    struct health *h = e->health;

    if (err && !chain[n - 1]->last_err) /* its server did its part: the destination is to blame */
        return;
    for (uint32_t i = 0; h && i < h->n; i++)
        for (int k = 0; k < n - 1; k++)
            if (h->checks[i].group == chain[k] && out_is_tested(chain[k]))
                note(&h->checks[i], err);
}
