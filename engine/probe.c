/*
 * probe.c - does this machine really ask us?
 *
 *   a second after the start, then now and then:
 *   worker ── a fresh name ──► supervisor ──► a look-up as any program does it ──► ... ──► query ──► our resolver: yes
 *                                                                                   └── it comes nowhere within 3 s: no, said once
 */
#include "core/hash.h"
#include "engine/private.h"

#define FIRST_MS 1000
#define WAIT_MS  3000
#define AGAIN_MS 30000  /* while it does not */
#define CHECK_MS 600000 /* while it does */

static struct engine *engine_of(struct probe *p)
{
    return container_of(p, struct engine, probe);
}

static void on_seen(void *arg)
{
    struct engine *e = arg;
    struct probe *p = &e->probe;

    if (!p->waits)
        return; /* the same look-up again */
    p->waits = false;
    if (p->asked == PROBE_NO)
        log_info(LOG_DNS, "this machine asks us again");
    p->asked = PROBE_YES;
    timer_set(e->loop, &p->timer, CHECK_MS);
}

static void look_up(struct engine *e)
{
    struct probe *p = &e->probe;
    char name[PLAT_PROBE_NAME];
    uint64_t token;

    random_bytes(&token, sizeof(token));
    dns_expect(e->dns, plat_probe_name(token, name), on_seen, e);
    p->waits = plat_worker_probe(e->worker, token) == 0;
    timer_set(e->loop, &p->timer, p->waits ? WAIT_MS : AGAIN_MS);
}

static void on_timer(struct timer *t)
{
    struct probe *p = container_of(t, struct probe, timer);
    struct engine *e = engine_of(p);

    if (!p->waits) {
        look_up(e);
        return;
    }
    p->waits = false;
    if (p->asked != PROBE_NO)
        log_warn(LOG_DNS, "this machine looks names up somewhere else: a name that the system's resolver was asked for did not reach us");
    p->asked = PROBE_NO;
    timer_set(e->loop, &p->timer, AGAIN_MS);
}

void probe_start(struct engine *e)
{
    struct probe *p = &e->probe;
    const struct profile *f = e->pol->profile;

    timer_cancel(&p->timer);
    *p = (struct probe){ .timer.cb = on_timer, .asked = f->dns.enable && f->tun.auto_route && e->stack ? p->asked : PROBE_UNKNOWN };
    if (f->dns.enable && f->tun.auto_route && e->stack)
        timer_set(e->loop, &p->timer, FIRST_MS);
}

void probe_stop(struct engine *e)
{
    timer_cancel(&e->probe.timer);
}
