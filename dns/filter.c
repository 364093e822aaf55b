/*
 * filter.c - which names get their real address although fake-IP is on
 *
 *   blacklist   names on the list
 *   whitelist   names that are not on it
 *   rule        the first rule that is true says so (`TYPE,PAYLOAD,real-ip`; types that ask for a name only); none: a fake one
 *
 * On top of the profile's list (not of a whitelist, which says it all): names that break when they are faked, because somebody compares
 * addresses or because they mean this network. A rule of the profile outdoes them; `fake-ip-filter-defaults: false` takes them away.
 *
 * All of it is the index of rules/: no second data structure.
 */
#include "dns/filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"
#include "core/log.h"
#include "core/reader.h"

enum { REAL_IP, FAKE_IP }; /* targets of rules */

static const char *const builtin[] = {
    "*", /* single labels mean this network */
    "+.lan",
    "+.local", /* multicast DNS */
    "+.localdomain",
    "+.home.arpa",
    "+.in-addr.arpa",
    "+.ip6.arpa",
    "connectivitycheck.*.*", /* "is there a captive portal?" */
    "connectivity-check.ubuntu.com",
    "+.msftconnecttest.com",
    "+.msftncsi.com",
    "captive.apple.com",
    "detectportal.firefox.com",
    "nmcheck.gnome.org",
    "+.pool.ntp.org", /* clocks that keep an address */
    "time.*.com",
    "ntp.*.com",
    "+.stun.*.*", /* who asks "what is my address?" */
    "+.stun.*.*.*",
    "localhost.*",
};

struct filter {
    int mode;
    struct matcher *list, *ours;
    struct ruleset *rules;
};

static const char *why(int r)
{
    switch (r) {
    case -ENOENT: return "names nothing that this profile or its geo data have; it is skipped";
    case -ENODATA: return "names data that are not there yet: it matches nothing until they are";
    case -EBADMSG: return "names a rule-provider that has no names, or whose file is broken; it is skipped";
    default: return "is no name or pattern (*.x, +.x, .x); it is skipped";
    }
}

bool filter_add(struct matcher *m, const struct cfg_matcher *e, uint32_t id, const char *path, struct diag *d)
{
    static const char *const prefix[] = { [CFG_MATCH_GEO] = "geosite:", [CFG_MATCH_SET] = "rule-set:" };
    const char *before = e->kind == CFG_MATCH_GEO || e->kind == CFG_MATCH_SET ? prefix[e->kind] : "";
    char *element;
    int r = asprintf(&element, "%s%s", before, e->text) < 0 ? -ENOMEM : 0;

    if (r < 0)
        return false;
    if ((r = matcher_add_name(m, element, id, NULL)) < 0 && r != -ENOMEM)
        diag_warn(d, e->line, e->column, path, r == -ENODATA ? "missing-data" : "bad-value", "%s: \"%s\" %s", path, element, why(r));
    free(element);
    return r != -ENOMEM;
}

static int32_t find_target(void *arg, const char *target)
{
    return !strcasecmp(target, "real-ip") ? REAL_IP : !strcasecmp(target, "fake-ip") ? FAKE_IP : -1;
}

/* What a field of a line is: blanks around it do not count. */
static struct span field(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (from < to && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    return (struct span){ (const uint8_t *)from, (size_t)(to - from) };
}

static bool is_word(struct span s, const char *word)
{
    return s.len == strlen(word) && !strncasecmp((const char *)s.p, word, s.len);
}

/* A name is all that there is to ask, and two answers are possible. What is wrong with a line, or NULL; rules_build() finds the rest. */
static const char *wrong_line(const char *text, const struct rules_env *env)
{
    static const char *const types[] = { "DOMAIN",  "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-REGEX", "DOMAIN-WILDCARD",
                                         "GEOSITE", "RULE-SET",      "MATCH" };
    const char *end = text + strlen(text), *comma = strchr(text, ','), *last = strrchr(text, ',');
    struct span type = field(text, comma ? comma : end), target = last ? field(last + 1, end) : (struct span){ 0 }, payload;
    struct rules_provider set;
    char name[256];
    size_t i = 0;

    while (i < sizeof(types) / sizeof(types[0]) && !is_word(type, types[i]))
        i++;
    if (i == sizeof(types) / sizeof(types[0]))
        return "its type cannot be asked of a name (DOMAIN..., GEOSITE, RULE-SET and MATCH can)";
    if (!is_word(target, "real-ip") && !is_word(target, "fake-ip"))
        return "it must end in fake-ip or real-ip";
    if (!is_word(type, "RULE-SET") || comma == last || !env->provider)
        return NULL;
    payload = field(comma + 1, last);
    snprintf(name, sizeof(name), "%.*s", (int)payload.len, (const char *)payload.p);
    return env->provider(env->arg, name, &set) && set.cfg->behavior == CFG_BEHAVIOR_IPCIDR ? "the rule-provider has no names" : NULL;
}

static bool build_rules(struct filter *f, const struct cfg_matchers *lines, const struct rules_env *given, struct diag *d)
{
    static const struct rules_env nothing;
    struct rules_env env = given ? *given : nothing;
    struct cfg_rule *rules = calloc(lines->n + 1, sizeof(*rules));
    uint32_t n = 0;

    if (!rules)
        return false;
    for (uint32_t i = 0; i < lines->n; i++) {
        const struct cfg_matcher *l = &lines->v[i];
        const char *wrong = wrong_line(l->text, &env);
        char shown[CFG_QUOTE_MAX];

        if (wrong)
            diag_warn(d, l->line, l->column, "fake-ip-filter", "bad-rule", "fake-ip-filter: \"%s\": %s; the line is skipped",
                      cfg_quote(l->text, strlen(l->text), shown), wrong);
        else
            rules[n++] = (struct cfg_rule){ .text = l->text, .index = i, .nth = i, .line = l->line, .column = l->column };
    }
    env.target = find_target;
    env.offer_targets = NULL;
    env.strict = false;
    f->rules = rules_build(&(struct rules_src){ .n_rules = n, .rules = rules }, &env, d);
    free(rules);
    return f->rules != NULL;
}

static bool build(struct filter *f, const struct cfg_dns *c, const struct rules_env *env, struct diag *d)
{
    bool good = (f->list = matcher_new(env)) && (f->ours = matcher_new(NULL));

    for (size_t i = 0; good && c->filter_defaults && f->mode != FILTER_WHITELIST && i < sizeof(builtin) / sizeof(builtin[0]); i++)
        good = matcher_add_name(f->ours, builtin[i], 0, NULL) != -ENOMEM;
    for (uint32_t i = 0; good && f->mode != FILTER_RULES && i < c->fake_filter.n; i++)
        good = filter_add(f->list, &c->fake_filter.v[i], 0, "fake-ip-filter", d);
    good = good && matcher_finish(f->list) == 0 && matcher_finish(f->ours) == 0;
    return good && (f->mode != FILTER_RULES || build_rules(f, &c->fake_filter, env, d));
}

struct filter *filter_new(const struct profile *p, const struct rules_env *env, struct diag *d)
{
    struct filter *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->mode = p->dns.filter_mode;
    if (build(f, &p->dns, env, d))
        return f;
    filter_free(f);
    return NULL;
}

void filter_free(struct filter *f)
{
    if (!f)
        return;
    matcher_free(f->list);
    matcher_free(f->ours);
    rules_free(f->rules);
    free(f);
}

/* What the rules say: a target, or -1 when none is true. */
static int32_t by_rules(const struct filter *f, const char *name)
{
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = name };
    struct rule_pos pos = { .ip_failed = true, .proc_tried = true };
    struct rule_hit hit;

    while (rules_match(f->rules, &pos, &m, &hit) == MATCH_HIT)
        if (hit.by->target_id >= 0)
            return hit.by->target_id;
    return -1;
}

bool filter_wants_real(const struct filter *f, const char *name)
{
    bool ours = matcher_first(f->ours, name) != MATCHER_NONE;
    int32_t target;

    switch (f->mode) {
    case FILTER_WHITELIST: return matcher_first(f->list, name) == MATCHER_NONE;
    case FILTER_BLACKLIST: return ours || matcher_first(f->list, name) != MATCHER_NONE;
    default: target = by_rules(f, name); return target == REAL_IP || (target != FAKE_IP && ours);
    }
}
