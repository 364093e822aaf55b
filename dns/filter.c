/*
 * filter.c - which names get their real address although fake-IP is on
 *
 *   blacklist   names on the list
 *   whitelist   names that are not on it
 *   rule        the first rule that is true says so (`TYPE,PAYLOAD,real-ip`); none: a fake one
 *
 * On top of the profile's list (not of a whitelist, which says it all): names that break when they are faked, because somebody compares
 * addresses or because they mean this network.
 */
#include "dns/filter.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "dns/names.h"
#include "rules/rules.h"

enum { MODE_BLACKLIST, MODE_WHITELIST, MODE_RULES };
enum { REAL_IP, FAKE_IP }; /* targets of rules */

static const char *const builtin[] = {
    "*",
    "+.lan",
    "+.local",
    "+.localdomain",
    "+.home.arpa",
    "+.in-addr.arpa",
    "+.ip6.arpa",
    "connectivitycheck.gstatic.com",
    "+.msftconnecttest.com",
    "+.msftncsi.com",
    "captive.apple.com",
    "detectportal.firefox.com",
    "nmcheck.gnome.org",
    "connectivity-check.ubuntu.com",
    "+.pool.ntp.org",
    "time.*.com",
    "ntp.*.com",
    "+.stun.*.*",
    "+.stun.*.*.*",
    "localhost.*",
};

struct filter {
    int mode;
    struct names *list, *ours;
    struct ruleset *rules;
};

static int32_t find_target(void *arg, const char *target)
{
    return !strcmp(target, "real-ip") ? REAL_IP : !strcmp(target, "fake-ip") ? FAKE_IP : -1;
}

static bool build_rules(struct filter *f, const struct cfg_strs *lines, struct diag *d)
{
    struct cfg_rule *rules = calloc(lines->n + 1, sizeof(*rules));

    if (!rules)
        return false;
    for (uint32_t i = 0; i < lines->n; i++)
        rules[i] = (struct cfg_rule){ lines->v[i], i, lines->at[i]->line, lines->at[i]->column };
    f->rules = rules_build(rules, lines->n, find_target, NULL, d);
    free(rules);
    return f->rules != NULL;
}

static void build_list(struct filter *f, const struct cfg_strs *list, struct diag *d)
{
    for (uint32_t i = 0; i < list->n; i++) {
        const struct cfg_node *at = list->at[i];

        if (strchr(list->v[i], ',') || strchr(list->v[i], ':'))
            diag_warn(d, at->line, at->column, "dns.fake-ip-filter", "unsupported-key",
                      "fake-ip-filter: \"%s\" is not supported by this build (patterns only); skipped", list->v[i]);
        else if (names_add(f->list, list->v[i], f) < 0)
            diag_warn(d, at->line, at->column, "dns.fake-ip-filter", "bad-value", "fake-ip-filter: \"%s\" is no name or pattern; skipped",
                      list->v[i]);
    }
}

struct filter *filter_new(const struct profile *p, struct diag *d)
{
    struct filter *f = calloc(1, sizeof(*f));

    if (!f || !(f->list = names_new()) || !(f->ours = names_new())) {
        filter_free(f);
        return NULL;
    }
    f->mode = p->dns.filter_mode;
    for (size_t i = 0; f->mode != MODE_WHITELIST && i < sizeof(builtin) / sizeof(builtin[0]); i++)
        names_add(f->ours, builtin[i], f);
    if (f->mode != MODE_RULES) {
        build_list(f, &p->dns.filter, d);
    } else if (!build_rules(f, &p->dns.filter, d)) {
        filter_free(f);
        return NULL;
    }
    return f;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    names_free(f->list);
    names_free(f->ours);
    rules_free(f->rules);
    free(f);
}

/* What the rules say: a target, or -1 when none is true. */
static int32_t by_rules(const struct filter *f, const char *name)
{
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = name };
    struct rule_pos pos = { .ip_failed = true };
    struct rule *hit;

    while (rules_match(f->rules, &pos, &m, &hit) == MATCH_HIT)
        if (hit->target_id >= 0)
            return hit->target_id;
    return -1;
}

bool filter_wants_real(const struct filter *f, const char *name)
{
    int32_t target;

    switch (f->mode) {
    case MODE_WHITELIST: return !names_find(f->list, name);
    case MODE_BLACKLIST: return names_find(f->list, name) || names_find(f->ours, name);
    default: target = by_rules(f, name); return target == REAL_IP || (target != FAKE_IP && names_find(f->ours, name));
    }
}
