/*
 * policy.c - what a profile says about where flows go, and the one place that decides
 *
 *   mode direct -> DIRECT            mode global -> the group GLOBAL
 *   mode rule   -> first rule that is true ... unless it points to PASS, or the flow is UDP and the node carries none:
 *                  then the next one. Nothing matches: DIRECT. A rule whose target does not exist rejects.
 *
 * Flows (dispatch.c, udp.c) and `explain` ask the same function, so what is explained is what happens.
 * A policy is counted: the engine holds one reference, every flow another; rules and outbounds live as long.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/content.h"
#include "engine/private.h"

/* What rules refer to: ways out, and files. */
struct referred {
    struct out_set *outs;
    struct content *content;
};

static int32_t find_target(void *arg, const char *name)
{
    struct outbound *o = out_find(((struct referred *)arg)->outs, name);

    return o ? o->id : -1;
}

static void offer_targets(void *arg, struct cfg_guess *g)
{
    out_offer(((struct referred *)arg)->outs, NULL, g);
}

/* `hosts` may give a name another one. Keys that are no patterns are reported by those who answer from them. */
static bool build_aliases(struct policy *p)
{
    const struct profile *prof = p->profile;
    bool any = false;

    for (uint32_t i = 0; i < prof->n_hosts; i++)
        any |= prof->hosts[i].alias != NULL;
    if (!any)
        return true;
    if (!(p->hosts = matcher_new(NULL)) || !(p->alias = arena_alloc(&p->mem, prof->n_hosts * sizeof(*p->alias))))
        return false;
    for (uint32_t i = 0; i < prof->n_hosts; i++) {
        const char *alias = prof->hosts[i].alias;
        char name[HOST_MAX + 1];

        if (matcher_add_name(p->hosts, prof->hosts[i].pattern, i, NULL) == -ENOMEM)
            return false;
        if (alias && host_normalise(alias, strlen(alias), name) == 0 && !(p->alias[i] = arena_strdup(&p->mem, name, strlen(name))))
            return false;
    }
    return matcher_finish(p->hosts) == 0;
}

const char *policy_alias(const struct policy *p, const char *host)
{
    const char *name = host;

    for (int steps = 0; p->hosts && steps < 8; steps++) {
        uint32_t i = matcher_best(p->hosts, name);

        if (i == MATCHER_NONE || !p->alias[i])
            return name;
        name = p->alias[i];
    }
    return host; /* none stands for it, or a circle does */
}

static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    return content_provider(((struct referred *)arg)->content, name, out);
}

static void offer_providers(void *arg, struct cfg_guess *g)
{
    content_offer(((struct referred *)arg)->content, g);
}

static const struct out_env nothing; /* check and explain: nobody dials */

bool policy_build(struct policy *p, const struct out_env *env, const char *near, struct diag *d)
{
    const struct profile *prof = p->profile;
    const char *dir = env ? env->state_dir : NULL;
    struct rules_src src = { .n_rules = prof->n_rules, .rules = prof->rules, .n_subs = prof->n_sub_rules, .subs = prof->sub_rules };
    struct referred to = { .outs = p->outs };
    struct rules_env re = { .arg = &to,
                            .target = find_target,
                            .offer_targets = offer_targets,
                            .provider = find_provider,
                            .offer_providers = offer_providers,
                            .strict = prof->tun.strict_route };
    bool good;

    if (!(p->specs = calloc(1, sizeof(*p->specs))) || specs_init(p->specs, prof, dir, near, d) < 0 ||
        !(to.content = content_open(prof, p->specs, dir, env && env->loop, d)))
        return false;
    content_geo(to.content, &re);
    good = build_aliases(p) && (p->rules = rules_build(&src, &re, d)) && (p->lists = dns_lists_new(prof, &re, d)) &&
           sniffer_new(&prof->sniffer, &re, d, &p->sniffer) == 0;
    content_add_geo(to.content);
    content_close(to.content);
    return good;
}

/* The directory of the file that a person named. */
static const char *dir_of(const char *name, char out[PATH_MAX])
{
    const char *slash = strrchr(name, '/');

    if (!strcmp(name, "-") || strlen(name) >= PATH_MAX)
        return NULL;
    snprintf(out, PATH_MAX, "%.*s", slash ? (int)(slash - name + (slash == name)) : 1, slash ? name : ".");
    return out;
}

struct policy *policy_judge(const struct cfg_input *body, const struct cfg_input *local, const struct out_env *env, struct diag *d)
{
    struct profile *prof = profile_read(body, local, d);
    char near[PATH_MAX];
    struct policy *p;

    if (!prof)
        return NULL;
    if ((p = calloc(1, sizeof(*p))) && (p->outs = out_set_new(prof, env ? env : &nothing, d))) {
        p->refs = 1;
        p->profile = prof; /* the outbounds took it over */
        if (policy_build(p, env, dir_of(body->name, near), d) && !cfg_failed(prof->doc))
            return p;
        policy_put(p);
    } else {
        free(p);
        profile_free(prof);
    }
    diag_err(d, 0, 0, "", "bad-value", "out of memory");
    return NULL;
}

struct policy *policy_again(struct policy *old)
{
    struct policy *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->refs = 1;
    p->profile = old->profile;
    p->outs = old->outs;
    out_get(out_at(old->outs, 0)); /* built-ins are always there */
    return p;
}

struct policy *policy_load(const struct cfg_input *body, const struct cfg_input *local, const struct out_env *env, struct diag *d)
{
    struct policy *p = policy_judge(body, local, env, d);

    if (!p || !d->n_errors)
        return p;
    policy_put(p);
    return NULL;
}

struct policy *policy_get(struct policy *p)
{
    p->refs++;
    return p;
}

/* To give tens of megabytes back takes the system milliseconds. */
static void free_rules(struct work *w)
{
    struct policy *p = container_of(w, struct policy, last);

    rules_free(p->rules);
    sniffer_free(p->sniffer);
    matcher_free(p->hosts);
    dns_lists_put(p->lists);
}

static void free_rest(struct work *w)
{
    struct policy *p = container_of(w, struct policy, last);

    if (p->specs)
        specs_fini(p->specs);
    free(p->specs);
    arena_fini(&p->mem);
    if (p->outs)
        out_set_put(p->outs); /* takes the profile with it */
    free(p);
}

void policy_put(struct policy *p)
{
    if (!p || --p->refs)
        return;
    p->last = (struct work){ free_rules, free_rest };
    if (p->loop && work_start(p->loop, &p->last) == 0)
        return;
    free_rules(&p->last);
    free_rest(&p->last);
}

static void follow(struct policy *p, struct outbound *o, const struct flow_meta *m, struct verdict *v)
{
    v->n_chain = o ? out_resolve(o, m, v->chain) : 0;
    v->action = v->n_chain ? v->chain[v->n_chain - 1]->ops->action : OUT_REJECT;
}

/* Where the way ends may hand the flow on. */
enum onward { STAYS, NEXT_RULE, NEXT_INSIDE /* the next rule of the same list */ };

static enum onward onward(const struct verdict *v, const struct flow_meta *m)
{
    const struct outbound *leaf = v->n_chain ? v->chain[v->n_chain - 1] : NULL;

    if (!leaf)
        return STAYS;
    if (!strcmp(leaf->name, "PASS-RULE"))
        return NEXT_INSIDE;
    if (!strcmp(leaf->name, "PASS"))
        return NEXT_RULE;
    for (int i = 0; i < v->n_chain && m->net == FLOW_UDP; i++)
        if (!v->chain[i]->udp)
            return NEXT_RULE;
    return STAYS;
}

static enum need by_rules(struct policy *p, const struct flow_meta *m, struct rule_pos *pos, struct verdict *v)
{
    struct rule_hit hit;

    if (p->profile->find_process == FIND_PROCESS_OFF)
        pos->proc_tried = true;
    for (;;) {
        memset(v, 0, sizeof(*v));
        switch (rules_match(p->rules, pos, m, &hit)) {
        case MATCH_NEED_IP: return NEED_ADDRESS;
        case MATCH_NEED_PROC: return NEED_PROGRAM;
        case MATCH_NONE: follow(p, out_find(p->outs, "DIRECT"), m, v); return NEED_NOTHING;
        case MATCH_HIT: follow(p, hit.by->target_id < 0 ? NULL : out_at(p->outs, hit.by->target_id), m, v); break;
        case MATCH_MISSING: follow(p, NULL, m, v); break;
        }
        v->rule = hit.rule;
        v->by = hit.by;
        switch (onward(v, m)) {
        case STAYS: return NEED_NOTHING;
        case NEXT_RULE: rules_leave(pos); break;
        case NEXT_INSIDE: break;
        }
    }
}

static enum need decide(struct policy *p, enum mode mode, const struct flow_meta *m, struct rule_pos *pos, struct verdict *v)
{
    if (mode == MODE_RULE)
        return by_rules(p, m, pos, v);
    memset(v, 0, sizeof(*v));
    follow(p, out_find(p->outs, mode == MODE_GLOBAL ? "GLOBAL" : "DIRECT"), m, v);
    if (onward(v, m) != STAYS)
        v->action = OUT_REJECT; /* global mode has no next rule: never silently in clear */
    return NEED_NOTHING;
}

enum need policy_decide(struct policy *p, enum mode mode, const struct flow_meta *m, struct rule_pos *pos, struct verdict *v)
{
    if (p->profile->find_process == FIND_PROCESS_ALWAYS && mode == MODE_RULE && !m->proc && !pos->proc_tried)
        return NEED_PROGRAM;
    return decide(p, mode, m, pos, v);
}

void policy_by_name(struct policy *p, const char *name, const struct flow_meta *m, struct verdict *v)
{
    memset(v, 0, sizeof(*v));
    follow(p, out_find(p->outs, name), m, v);
}

static enum explain_action action_of(const struct verdict *v)
{
    switch (v->action) {
    case OUT_PROXY: return EXPLAIN_PROXY;
    case OUT_DIRECT: return EXPLAIN_DIRECT;
    case OUT_REJECT_DROP: return EXPLAIN_REJECT_DROP;
    case OUT_REJECT: return EXPLAIN_REJECT;
    case OUT_GROUP: break;
    }
    return EXPLAIN_NONE;
}

static void give_address(struct explain *x, struct rule_pos *pos)
{
    x->resolved = x->n_answer > 0;
    pos->ip_failed = !x->resolved;
    if (x->resolved)
        x->meta.dst.at.ip = x->answer[0];
}

static void note(struct explain *x, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct explain *x, const char *fmt, ...)
{
    size_t n = strlen(x->note);
    va_list ap;

    if (n && n + 2 < sizeof(x->note)) {
        memcpy(x->note + n, "; ", 3);
        n += 2;
    }
    va_start(ap, fmt);
    vsnprintf(x->note + n, sizeof(x->note) - n, fmt, ap);
    va_end(ap);
}

static void note_need(struct explain *x, const struct rule *r, const char *what)
{
    char payload[CFG_QUOTE_MAX];

    note(x, "rule %u (%s%s%s) needs the %s", r->index, rule_type_name((enum rule_type)r->type), *r->payload ? "," : "",
         cfg_quote(r->payload, strlen(r->payload), payload), what);
}

static void note_outcome(struct explain *x, const struct verdict *v)
{
    const struct outbound *leaf = v->n_chain ? v->chain[v->n_chain - 1] : NULL;

    if (leaf && leaf->why && v->action == OUT_PROXY)
        note(x, "%s", leaf->why); /* its flows are rejected with that reason */
    else if (v->rule && !leaf)
        note(x, v->by->target_id < 0 ? "the rule's target does not exist: the flow is rejected"
                                     : "the rule's data are not there: the flow is rejected (strict mode)");
    else if (x->mode == MODE_RULE && !v->rule)
        note(x, "no rule matches: DIRECT");
    else if (x->mode != MODE_RULE && v->action == OUT_REJECT && leaf && leaf->ops->action == OUT_PROXY)
        note(x, "the node carries no UDP: the flow is rejected");
}

/* What comes before the rules. */
static void start(struct policy *p, struct explain *x)
{
    const char *name = x->meta.dst.host ? policy_alias(p, x->meta.dst.host) : NULL;

    x->asks = x->needed_ip = x->needed_proc = false;
    x->meta.proc = NULL;
    x->note[0] = 0;
    if (name && name != x->meta.dst.host) {
        x->asked = x->meta.dst.host;
        x->meta.dst.host = name;
    }
    if (x->asked)
        note(x, "hosts puts %s in its place", x->meta.dst.host);
}

void policy_explain(struct policy *p, struct explain *x)
{
    struct rule_pos pos = { 0 };
    struct verdict v;

    start(p, x);
    for (enum need need; (need = decide(p, x->mode, &x->meta, &pos, &v)) != NEED_NOTHING;) {
        note_need(x, rules_asker(p->rules, &pos), need == NEED_ADDRESS ? "address" : "program");
        if (need == NEED_PROGRAM) {
            x->needed_proc = true;
            x->meta.proc = x->proc;
            pos.proc_tried = true;
            continue;
        }
        x->needed_ip = true;
        if (x->may_ask) {
            x->asks = true;
            return;
        }
        give_address(x, &pos);
    }
    x->rule = v.rule;
    x->by = v.by;
    x->n_chain = v.n_chain;
    memcpy(x->chain, v.chain, sizeof(x->chain));
    x->action = action_of(&v);
    note_outcome(x, &v);
}

bool explain_via(struct explain *x, const char *word)
{
    if (!strcasecmp(word, "mixed")) { /* a port, not a kind: most come by SOCKS */
        x->meta.via = FLOW_VIA_SOCKS5;
        x->meta.in_name = "DEFAULT-MIXED";
        return true;
    }
    x->meta.via = (uint8_t)(strcasecmp(word, "SOCKS") ? flow_via_parse(word) : FLOW_VIA_SOCKS5);
    x->meta.in_name = flow_in_name((enum flow_via)x->meta.via);
    return x->meta.via != FLOW_VIA_UNKNOWN;
}
