/*
 * flow.c - the record of one flow, from first packet to the line in the log
 *
 *   NAME -> MATCH -> DIAL -> RELAY -> CLOSING     changed only by flow_set_state(), so the debug log is the trace
 *
 * A record that ends goes to the closed ones (conns.c), which keep the newest for `flows --closed`.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/private.h"

static const char *const state_name[] = { "name", "match", "dial", "relay", "closing" };
static_assert(sizeof(state_name) / sizeof(state_name[0]) == FLOW_N_STATES, "a name for every state");

static enum log_sys flow_sys(const struct flow *f)
{
    return f->meta.net == FLOW_UDP ? LOG_UDP : LOG_TCP;
}

static int64_t wall_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts); /* for people's eyes only; every timer is monotonic */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int flow_init(struct flow *f, struct engine *e, const struct flow_meta *m)
{
    int r;

    f->meta = *m;
    f->host = NULL;
    f->program = NULL;
    f->sniffed = NULL;
    f->meta.proc = NULL;
    f->meta.sniffed = NULL;
    if ((r = source_enter(e, f)) < 0)
        return r;
    if (m->dst.host && !(f->host = strdup(m->dst.host))) {
        source_leave(e, f);
        return -ENOMEM;
    }
    f->meta.dst.host = f->host;
    f->eng = e;
    f->pol = policy_get(e->pol);
    f->id = ++e->next_id;
    f->state = FLOW_NAME;
    f->born_ms = loop_now(e->loop);
    f->born_unix_ms = wall_ms();
    list_append(&e->flows, &f->node);
    e->n_flows++;
    if (m->host_from == HOST_FAKEIP) {
        dns_fake_pin(e->dns, &m->orig.ip);
        f->pinned = true;
    }
    return 0;
}

static const char *human(uint64_t n, char buf[16])
{
    static const char unit[] = "BKMGT";
    double v = (double)n;
    unsigned u = 0;

    while (v >= 1000 && u + 1 < sizeof(unit) - 1)
        v /= 1024, u++;
    snprintf(buf, 16, u && v < 100 ? "%.1f%c" : "%.0f%c", v, unit[u]);
    return buf;
}

static void log_end(const struct flow *f)
{
    char src[ENDPOINT_STRLEN] = "shunt", dst[DEST_STRLEN], up[16], down[16], way[256] = "-", who[64] = "";
    size_t at = 0;

    if (!log_on(LOG_INFO))
        return;
    for (int i = 0; i < f->n_chain && at < sizeof(way); i++) {
        char name[96];

        at += (size_t)snprintf(way + at, sizeof(way) - at, "%s%s", i ? " > " : "",
                               log_safe(f->chain[i]->name, strlen(f->chain[i]->name), name, sizeof(name)));
    }
    if (f->meta.proc && f->meta.proc->name)
        log_safe(f->meta.proc->name, strlen(f->meta.proc->name), who, sizeof(who) - 1);
    if (*who)
        strcat(who, " ");
    if (f->meta.via != FLOW_VIA_INNER)
        endpoint_str(&f->meta.src, src);
    log_info(flow_sys(f), "#%llu %s%s -> %s | %s%s%s | %s | %s up %s down %.1fs%s%s", (unsigned long long)f->id,
             who, src, dest_str(&f->meta.dst, dst), f->rule ? rule_type_name(f->rule->type) : "-",
             f->rule && *f->rule->payload ? "," : "", f->rule ? f->rule->payload : "", way, human(f->up, up), human(f->down, down),
             (double)(loop_now(f->eng->loop) - f->born_ms) / 1000, f->err ? " | " : "", f->err ? err_str(f->err) : "");
}

void flow_fini(struct flow *f)
{
    struct engine *e = f->eng;

    log_end(f);
    source_leave(e, f);
    list_del(&f->node);
    e->n_flows--;
    if (f->pinned)
        dns_fake_unpin(e->dns, &f->meta.orig.ip);
    conns_keep(e, f); /* takes the names, the program and the policy reference over */
}

void flow_set_state(struct flow *f, enum flow_state s)
{
    log_dbg(flow_sys(f), "#%llu %s -> %s", (unsigned long long)f->id, state_name[f->state], state_name[s]);
    f->state = s;
    if (s == FLOW_RELAY)
        source_answered(f);
}

unsigned flow_wants_look(const struct engine *e, const struct flow_meta *m)
{
    unsigned wants = sniffer_wants(e->pol->sniffer, m);

    return wants && barren_is(&e->barren, &m->orig, loop_now(e->loop)) ? 0 : wants;
}

int flow_take_name(struct flow *f, const char *host, bool override)
{
    struct resolver *res = f->eng->env.resolver;
    char *sniffed = strdup(host), *dst = override ? strdup(host) : NULL;

    if (!sniffed || (override && !dst)) {
        free(sniffed);
        free(dst);
        return -ENOMEM;
    }
    free(f->sniffed);
    f->meta.sniffed = f->sniffed = sniffed;
    if (!override)
        return 0;
    free(f->host);
    f->meta.dst.host = f->host = dst;
    f->meta.dst.at.ip = (struct addr){ 0 };
    f->meta.host_from = HOST_SNIFFED;
    if (res->known)
        res->known(res, f->host, &f->meta.dst.at.ip);
    return 0;
}

void flow_set_verdict(struct flow *f, const struct verdict *v)
{
    f->rule = v->rule;
    f->n_chain = (uint8_t)v->n_chain;
    memcpy(f->chain, v->chain, sizeof(f->chain));
    if (f->rule) {
        f->rule->hits++;
        f->rule->hit_unix_ms = f->born_unix_ms;
    }
}

void say_nameless(const struct flow_meta *m)
{
    char at[ENDPOINT_STRLEN];

    log_warn(LOG_DNS, "%s is a fake address without a name: refused (was the state file removed? the program should ask again)",
             endpoint_str(&m->orig, at));
}

int name_behind(struct engine *e, struct flow_meta *m)
{
    if (dns_is_fake(e->dns, &m->orig.ip)) {
        const char *host = dns_fake_name(e->dns, &m->orig.ip);

        m->dst.at.ip = (struct addr){ 0 };
        if (!host)
            return -ERR_NAME;
        m->dst.host = host;
        m->host_from = HOST_FAKEIP;
    } else if (!m->dst.host && (m->dst.host = dns_real_name(e->dns, &m->orig.ip))) {
        m->host_from = HOST_REVERSE;
    }
    return 0;
}

int name_of(struct engine *e, struct flow_meta *m)
{
    int r = name_behind(e, m);

    if (r < 0)
        return r;
    if (m->dst.host)
        m->dst.host = policy_alias(e->pol, m->dst.host);
    if (m->dst.host && !addr_is_set(&m->dst.at.ip) && e->env.resolver->known)
        e->env.resolver->known(e->env.resolver, m->dst.host, &m->dst.at.ip); /* hosts entries need no question */
    return 0;
}

bool is_hijacked(const struct engine *e, const struct endpoint *dst)
{
    if (e->pol->profile->dns.enable && dst->port == 53 && (cidr_contains(&e->own4, &dst->ip) || cidr_contains(&e->own6, &dst->ip)))
        return true;
    for (uint32_t i = 0; i < e->n_hijack; i++) {
        const struct endpoint *h = &e->hijack[i];

        if (addr_is_set(&h->ip) ? endpoint_eq(h, dst) : dst->port == 53)
            return true;
    }
    return false;
}

void eng_count(struct engine *e, struct flow *f, uint64_t up, uint64_t down)
{
    uint64_t sec = loop_now(e->loop) / 1000;

    f->up += up;
    f->down += down;
    e->up_total += up;
    e->down_total += down;
    if (sec != e->rate.sec) {
        bool next = sec == e->rate.sec + 1;

        e->rate = (struct rate){ .sec = sec, .last_up = next ? e->rate.now_up : 0, .last_down = next ? e->rate.now_down : 0 };
    }
    e->rate.now_up += up;
    e->rate.now_down += down;
}
