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
#include <stdlib.h>
#include <string.h>

#include "engine/private.h"

static int32_t find_target(void *arg, const char *name)
{
    struct outbound *o = out_find(arg, name);

    return o ? o->id : -1;
}

struct policy *policy_judge(const struct cfg_input *body, const struct cfg_input *local, const struct out_env *env, struct diag *d)
{
    static const struct out_env nothing; /* check and explain: nobody dials */
    struct profile *prof = profile_read(body, local, d);
    struct policy *p;

    if (!prof)
        return NULL;
    if ((p = calloc(1, sizeof(*p))) && (p->outs = out_set_new(prof, env ? env : &nothing, d))) {
        p->refs = 1;
        p->profile = prof; /* the outbounds took it over */
        if ((p->rules = rules_build(prof->rules, prof->n_rules, find_target, p->outs, d)) && !cfg_failed(prof->doc))
            return p;
        policy_put(p);
    } else {
        free(p);
        profile_free(prof);
    }
    diag_err(d, 0, 0, "", "bad-value", "out of memory");
    return NULL;
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

void policy_put(struct policy *p)
{
    if (!p || --p->refs)
        return;
    rules_free(p->rules);
    if (p->outs)
        out_set_put(p->outs); /* takes the profile with it */
    free(p);
}

static void follow(struct policy *p, struct outbound *o, const struct flow_meta *m, struct verdict *v)
{
    v->n_chain = o ? out_resolve(o, m, v->chain) : 0;
    v->action = v->n_chain ? v->chain[v->n_chain - 1]->ops->action : OUT_REJECT;
}

/* Does the way end somewhere that hands the flow to the next rule? */
static bool passes(const struct verdict *v, const struct flow_meta *m)
{
    const struct outbound *leaf = v->n_chain ? v->chain[v->n_chain - 1] : NULL;

    if (!leaf)
        return false;
    return !strcmp(leaf->name, "PASS") || !strcmp(leaf->name, "PASS-RULE") ||
           (m->net == FLOW_UDP && (v->action == OUT_PROXY || v->action == OUT_GROUP) && !leaf->udp);
}

static int by_rules(struct policy *p, const struct flow_meta *m, struct rule_pos *pos, struct verdict *v)
{
    for (;;) {
        switch (rules_match(p->rules, pos, m, &v->rule)) {
        case MATCH_NEED_IP: return -EAGAIN;
        case MATCH_NONE:
            v->rule = NULL;
            follow(p, out_find(p->outs, "DIRECT"), m, v);
            return 0;
        case MATCH_HIT: break;
        }
        follow(p, v->rule->target_id < 0 ? NULL : out_at(p->outs, v->rule->target_id), m, v);
        if (!passes(v, m))
            return 0;
    }
}

int policy_decide(struct policy *p, enum mode mode, const struct flow_meta *m, struct rule_pos *pos, struct verdict *v)
{
    memset(v, 0, sizeof(*v));
    if (mode == MODE_RULE)
        return by_rules(p, m, pos, v);
    follow(p, out_find(p->outs, mode == MODE_GLOBAL ? "GLOBAL" : "DIRECT"), m, v);
    if (passes(v, m))
        v->action = OUT_REJECT; /* global mode has no next rule: never silently in clear */
    return 0;
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

void policy_explain(struct policy *p, struct explain *x)
{
    struct rule_pos pos = { 0 };
    struct verdict v;

    x->asks = false;
    while (policy_decide(p, x->mode, &x->meta, &pos, &v) == -EAGAIN) {
        x->needed_ip = true;
        if (x->may_ask) {
            x->asks = true;
            return;
        }
        if (x->n_answer > 0) {
            x->meta.dst.at.ip = x->answer[0];
            x->resolved = true;
        } else {
            pos.ip_failed = true;
        }
    }
    x->rule = v.rule;
    x->n_chain = v.n_chain;
    memcpy(x->chain, v.chain, sizeof(x->chain));
    x->action = action_of(&v);
    if (v.n_chain && v.chain[v.n_chain - 1]->why && v.action == OUT_PROXY)
        x->note = v.chain[v.n_chain - 1]->why; /* its flows are rejected with that reason */
    else if (v.rule && v.rule->target_id < 0)
        x->note = "the rule's target does not exist: the flow is rejected";
    else if (x->mode == MODE_RULE && !v.rule)
        x->note = "no rule matches: DIRECT";
    else if (x->mode != MODE_RULE && v.action == OUT_REJECT && v.n_chain && v.chain[v.n_chain - 1]->ops->action == OUT_PROXY)
        x->note = "the node carries no UDP: the flow is rejected";
}
