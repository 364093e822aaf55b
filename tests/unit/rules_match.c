/*
 * rules_match.c - what rules mean: every line of rules sections 1, 2, 5a and 6 that a table can hold
 *
 * A flow is written  tcp HOST-OR-IP PORT [ip=] [answer=] [src=IP[:PORT]] [sniffed=] [process=] [path=] [uid=] [in=] [user=] [name=]
 * [inport=] [dscp=] (ip: an address that is known beside the name; answer: what a look-up would give). An outcome is what was asked for and
 * where, then the rule that is true: "ip@1 2"  rule 1 asked for the address, rule 2 is true        "process@0 none"
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/log.h"
#include "rules/rules.h"

#define N(a)      (sizeof(a) / sizeof((a)[0]))
#define RULES_MAX 32

/* ---- a profile ---- */

struct set_of {
    const char *name;
    enum cfg_behavior behavior;
    const char *entries[12];
    bool missing;
};
struct list_of {
    const char *name;
    const char *rules[12];
};

struct setup {
    const char *rules[RULES_MAX];
    struct list_of subs[12];
    struct set_of sets[6];
    bool strict;
    struct rules_file geosite, geoip, asn;
    bool geoip_is_dat;
};

struct loaded {
    struct ruleset *rs;
    struct diag d;
    struct arena mem;
};

static const struct setup *setup;
static struct loaded *loading;

/* Targets are one letter; N stands for one that does not exist. */
static int32_t find_target(void *arg, const char *name)
{
    return strlen(name) == 1 && *name != 'N' ? *name : -1;
}

static bool find_set(void *arg, const char *name, struct rules_provider *out)
{
    for (size_t i = 0; i < N(setup->sets) && setup->sets[i].name; i++) {
        const struct set_of *s = &setup->sets[i];
        struct cfg_provider *cfg;

        if (strcmp(s->name, name) != 0)
            continue;
        cfg = arena_alloc(&loading->mem, sizeof(*cfg));
        *cfg = (struct cfg_provider){
            .name = s->name, .from = s->missing ? CFG_FROM_HTTP : CFG_FROM_INLINE, .behavior = s->behavior, .line = 90
        };
        cfg->rules.v = arena_alloc(&loading->mem, sizeof(s->entries));
        while (cfg->rules.n < N(s->entries) && s->entries[cfg->rules.n]) {
            cfg->rules.v[cfg->rules.n] = s->entries[cfg->rules.n];
            cfg->rules.n++;
        }
        *out = (struct rules_provider){ .cfg = cfg };
        return true;
    }
    return false;
}

static uint32_t cfg_lines(struct arena *mem, const char *const *lines, size_t max, struct cfg_rule **out)
{
    uint32_t n = 0;

    *out = arena_alloc(mem, max * sizeof(**out));
    for (; n < max && lines[n]; n++)
        (*out)[n] = (struct cfg_rule){ .text = lines[n], .index = n, .nth = n, .line = n + 1, .column = 5 };
    return n;
}

static void load(struct loaded *l, const struct setup *s)
{
    struct cfg_sub_rules subs[N(s->subs)];
    struct rules_env env = { .target = find_target,
                             .provider = find_set,
                             .strict = s->strict,
                             .geosite = s->geosite,
                             .geoip = s->geoip,
                             .asn = s->asn,
                             .geoip_is_dat = s->geoip_is_dat };
    struct rules_src src = { .subs = subs };
    struct cfg_rule *rules;

    *l = (struct loaded){ 0 };
    setup = s;
    loading = l;
    diag_init(&l->d, "test.yaml", NULL, 0, false);
    src.n_rules = cfg_lines(&l->mem, s->rules, RULES_MAX, &rules);
    src.rules = rules;
    for (; src.n_subs < N(s->subs) && s->subs[src.n_subs].name; src.n_subs++) {
        subs[src.n_subs] = (struct cfg_sub_rules){ .name = s->subs[src.n_subs].name, .line = 50 };
        subs[src.n_subs].n_rules = cfg_lines(&l->mem, s->subs[src.n_subs].rules, N(s->subs[0].rules), &subs[src.n_subs].rules);
        for (uint32_t i = 0; i < subs[src.n_subs].n_rules; i++)
            subs[src.n_subs].rules[i].sub = subs[src.n_subs].name;
    }
    l->rs = rules_build(&src, &env, &l->d);
    assert_non_null(l->rs);
}

static void unload(struct loaded *l)
{
    rules_free(l->rs);
    diag_fini(&l->d);
    arena_fini(&l->mem);
}

static unsigned said(const struct loaded *l, const char *code, const char *text)
{
    unsigned n = 0;

    for (size_t i = 0; i < l->d.n; i++)
        n += !strcmp(l->d.items[i].code, code) && strstr(l->d.items[i].message, text);
    return n;
}

static void assert_silent(struct loaded *l)
{
    if (l->d.n)
        diag_print(&l->d, stderr, false);
    assert_int_equal(l->d.n, 0);
}

/* ---- a flow ---- */

struct flow_text {
    struct flow_meta m;
    struct addr answer;
    struct flow_proc proc;
    char words[400];
};

static void set_fact(struct flow_text *f, char *word)
{
    static const char *const names[] = {
        "ip", "answer", "src", "sniffed", "process", "path", "uid", "in", "user", "name", "inport", "dscp"
    };
    char *value = strchr(word, '=');
    size_t i = 0;

    assert_non_null(value);
    *value++ = 0;
    while (i < N(names) && strcmp(names[i], word) != 0)
        i++;
    switch (i) {
    case 0: assert_int_equal(addr_parse(value, &f->m.dst.at.ip), 0); break;
    case 1: assert_int_equal(addr_parse(value, &f->answer), 0); break;
    case 2: assert_true(addr_parse(value, &f->m.src.ip) == 0 || endpoint_parse(value, &f->m.src) == 0); break;
    case 3: f->m.sniffed = value; break;
    case 4: f->proc.name = value; break;
    case 5: f->proc.path = value; break;
    case 6:
        f->proc.uid = (uint32_t)strtoul(value, NULL, 10);
        f->proc.uid_known = true;
        break;
    case 7: f->m.via = (uint8_t)flow_via_parse(value); break;
    case 8: f->m.in_user = value; break;
    case 9: f->m.in_name = value; break;
    case 10: f->m.in_port = (uint16_t)atoi(value); break;
    case 11: f->m.dscp = (uint8_t)atoi(value); break;
    default: fail_msg("no such fact: %s", word);
    }
}

static void read_flow(struct flow_text *f, const char *text)
{
    char *save = NULL, *word;

    memset(f, 0, sizeof(*f));
    snprintf(f->words, sizeof(f->words), "%s", text);
    word = strtok_r(f->words, " ", &save);
    f->m.net = !strcmp(word, "udp") ? FLOW_UDP : FLOW_TCP;
    f->m.via = FLOW_VIA_TUN;
    word = strtok_r(NULL, " ", &save);
    if (addr_parse(word, &f->m.dst.at.ip) < 0)
        f->m.dst.host = word;
    f->m.dst.at.port = (uint16_t)atoi(strtok_r(NULL, " ", &save));
    while ((word = strtok_r(NULL, " ", &save)))
        set_fact(f, word);
}

/* The top-level rule that asks. */
static unsigned asking(struct loaded *l, const struct rule_pos *pos)
{
    return rules_at(l->rs, pos->from[0] - (pos->depth > 0))->index;
}

/* One step: what is asked for is noted and given; the outcome of a hit is its place, "1>0" inside a list of sub-rules. */
static bool step(struct loaded *l, struct flow_text *f, struct rule_pos *pos, char *out, size_t size)
{
    size_t n = strlen(out);
    struct rule_hit hit;

    switch (rules_match(l->rs, pos, &f->m, &hit)) {
    case MATCH_NEED_IP:
        snprintf(out + n, size - n, "ip@%u ", asking(l, pos));
        f->m.dst.at.ip = f->answer;
        pos->ip_failed = !f->answer.ver;
        return true;
    case MATCH_NEED_PROC:
        snprintf(out + n, size - n, "process@%u ", asking(l, pos));
        f->m.proc = f->proc.name || f->proc.path || f->proc.uid_known ? &f->proc : NULL;
        pos->proc_tried = true;
        return true;
    case MATCH_HIT:
    case MATCH_MISSING:
        n += (size_t)snprintf(out + n, size - n, "%u", hit.rule->index);
        if (hit.by != hit.rule)
            snprintf(out + n, size - n, ">%s%u", hit.by->target, hit.by->index);
        return false;
    case MATCH_NONE: snprintf(out + n, size - n, "none"); return false;
    }
    return false;
}

static const char *outcome(struct loaded *l, const char *flow)
{
    static char out[200];
    struct rule_pos pos = { 0 };
    struct flow_text f;

    read_flow(&f, flow);
    *out = 0;
    while (step(l, &f, &pos, out, sizeof(out)))
        ;
    return out;
}

struct expect {
    const char *flow, *outcome;
};

static void assert_outcomes(struct loaded *l, const struct expect *e, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(outcome(l, e[i].flow), e[i].outcome) != 0)
            fail_msg("%s: %s instead of %s", e[i].flow, outcome(l, e[i].flow), e[i].outcome);
}

static void check(const struct setup *s, const struct expect *e, size_t n)
{
    struct loaded l;

    load(&l, s);
    assert_silent(&l);
    assert_outcomes(&l, e, n);
    unload(&l);
}

#define CHECK(s, e) check(&(s), e, N(e))

/* ---- section 1: when a type is true ---- */

struct truth {
    const char *rule, *yes[4], *no[5];
};

static const struct truth truths[] = {
    { "DOMAIN,a.com,P", { "tcp a.com 443" }, { "tcp x.a.com 443", "tcp a.com.cn 443", "tcp 1.2.3.4 443" } },
    { "DOMAIN-SUFFIX,a.com,P", { "tcp a.com 1", "tcp x.y.a.com 1" }, { "tcp ba.com 1", "tcp a.com.cn 1", "tcp 1.1.1.1 1" } },
    { "DOMAIN-KEYWORD,goo,P", { "tcp www.google.com 1", "tcp goo 1" }, { "tcp go.o 1", "tcp 1.2.3.4 1" } },
    { "DOMAIN-WILDCARD,*.g?.com,P", { "tcp a.b.gx.com 1", "tcp .g1.com 1" }, { "tcp gx.com 1", "tcp a.g.com 1", "tcp 1.1.1.1 1" } },
    { "DOMAIN-WILDCARD,*,P", { "tcp a 1" }, { "tcp 1.1.1.1 1" } },
    { "DOMAIN-REGEX,^AB+\\.,P", { "tcp abb.x 1" }, { "tcp xab.x 1", "tcp 1.1.1.1 1" } },
    { "DOMAIN-REGEX,.*,P", { "tcp a 1" }, { "tcp 1.1.1.1 1" } },
    { "IP-CIDR,10.0.0.0/8,P", { "tcp 10.255.0.1 1", "tcp ::ffff:10.0.0.1 1" }, { "tcp 11.0.0.1 1", "tcp ::10.0.0.1 1" } },
    { "IP-CIDR6,fd00::/8,P", { "tcp fdff::1 1" }, { "tcp fe00::1 1", "tcp 253.0.0.1 1" } },
    { "IP-CIDR,::ffff:10.0.0.0/104,P", { "tcp 10.1.2.3 1" }, { "tcp 11.1.2.3 1" } },
    { "IP-SUFFIX,9.9.8.8/16,P", { "tcp 1.2.8.8 1" }, { "tcp 1.2.8.9 1", "tcp 1.2.9.8 1", "tcp ::808 1" } },
    { "IP-SUFFIX,9.9.9.9/32,P", { "tcp 9.9.9.9 1" }, { "tcp 8.9.9.9 1" } },
    { "IP-SUFFIX,9.9.9.9/0,P", { "tcp 1.2.3.4 1" }, { "tcp ::1 1" } },
    { "IP-SUFFIX,::5/3,P", { "tcp fd00::fd 1" }, { "tcp fd00::fc 1" } },
    { "GEOIP,LAN,P",
      { "tcp 10.0.0.1 1", "tcp 224.0.0.1 1", "tcp fe80::1 1", "tcp 0.0.0.0 1" },
      { "tcp 100.64.0.1 1", "tcp 8.8.8.8 1", "tcp 0.0.0.1 1", "tcp 2001:db8::1 1", "tcp 172.32.0.1 1" } },
    { "SRC-IP-CIDR,10.0.0.0/8,P", { "tcp a 1 src=10.0.0.1" }, { "tcp 10.0.0.1 1", "tcp 10.0.0.1 1 src=11.0.0.1" } },
    { "IP-CIDR,10.0.0.0/8,P,src", { "tcp a 1 src=10.0.0.1" }, { "tcp 10.0.0.1 1 src=1.1.1.1" } },
    { "SRC-IP-SUFFIX,0.0.0.1/8,P", { "tcp a 1 src=7.7.7.1" }, { "tcp 7.7.7.1 1 src=7.7.7.2" } },
    { "SRC-GEOIP,lan,P", { "tcp 8.8.8.8 1 src=192.168.0.1" }, { "tcp 192.168.0.1 1 src=8.8.8.8", "tcp 192.168.0.1 1" } },
    { "SRC-PORT,80/90-100,P", { "tcp a 1 src=1.1.1.1:80", "tcp a 1 src=1.1.1.1:95" }, { "tcp a 80 src=1.1.1.1:81" } },
    { "DST-PORT,100-90,P", { "tcp a 95" }, { "tcp a 89", "tcp a 101" } },
    { "IN-PORT,7890,P", { "tcp a 1 inport=7890" }, { "tcp a 7890", "tcp a 1 inport=7891" } },
    { "NETWORK,udp,P", { "udp a 1" }, { "tcp a 1" } },
    { "DSCP,46,P", { "tcp a 1 dscp=46" }, { "tcp a 1" } },
    { "DSCP,0,P", { "tcp a 1" }, { "tcp a 1 dscp=1" } },
    { "IN-TYPE,SOCKS/TUN,P", { "tcp a 1", "tcp a 1 in=SOCKS4", "tcp a 1 in=socks5" }, { "tcp a 1 in=HTTP", "tcp a 1 in=TUNNEL" } },
    { "IN-USER,me/you,P", { "tcp a 1 user=you" }, { "tcp a 1", "tcp a 1 user=me/you", "tcp a 1 user=Me" } },
    { "IN-NAME,DEFAULT-TUN,P", { "tcp a 1 name=DEFAULT-TUN" }, { "tcp a 1", "tcp a 1 name=default-tun" } },
    { "REMATCH-NAME,x,P", { NULL }, { "tcp a 1", "tcp x 1" } },
    { "NOT,((NETWORK,udp)),P", { "tcp a 1" }, { "udp a 1" } },
    { "NOT,((DOMAIN,a)),P", { "tcp b 1", "tcp 1.1.1.1 1" }, { "tcp a 1" } },
    { "AND,((DOMAIN,a),(DST-PORT,1)),P", { "tcp a 1" }, { "tcp a 2", "tcp b 1" } },
    { "AND,(DOMAIN,a),(DST-PORT,1),P", { "tcp a 1" }, { "tcp a 2", "tcp b 1" } },
    { "OR,((DOMAIN,a),(DST-PORT,1)),P", { "tcp a 2", "tcp b 1" }, { "tcp b 2" } },
    { "AND,((OR,((DOMAIN,a),(DOMAIN,b))),(NOT,((NETWORK,udp)))),P", { "tcp b 1" }, { "udp b 1", "tcp c 1" } },
    { "MATCH,P", { "tcp a 1", "udp ::1 2" }, { NULL } },
};

static void when_a_type_is_true(void **state)
{
    for (size_t i = 0; i < N(truths); i++) {
        struct setup s = { .rules = { truths[i].rule } };
        struct loaded l;

        load(&l, &s);
        assert_silent(&l);
        for (size_t k = 0; k < N(truths[i].yes) && truths[i].yes[k]; k++)
            if (strcmp(outcome(&l, truths[i].yes[k]), "0") != 0)
                fail_msg("%s is not true of %s: %s", truths[i].rule, truths[i].yes[k], outcome(&l, truths[i].yes[k]));
        for (size_t k = 0; k < N(truths[i].no) && truths[i].no[k]; k++)
            if (strcmp(outcome(&l, truths[i].no[k]), "none") != 0)
                fail_msg("%s is true of %s", truths[i].rule, truths[i].no[k]);
        unload(&l);
    }
}

static void programs(void **state)
{
    static const struct truth cases[] = {
        { "PROCESS-NAME,Curl,P",
          { "tcp a 1 process=curl", "tcp a 1 process=CURL path=/usr/bin/CURL" },
          { "tcp a 1 process=curl2", "tcp a 1 path=/x/curl" } },
        { "PROCESS-PATH,/usr/bin/wget,P", { "tcp a 1 path=/USR/bin/wget" }, { "tcp a 1 process=wget", "tcp a 1 path=/usr/bin/wget2" } },
        { "PROCESS-NAME-WILDCARD,*fo?,P", { "tcp a 1 process=FireFox" }, { "tcp a 1 process=firefo", "tcp a 1 path=/x/firefox" } },
        { "PROCESS-PATH-WILDCARD,/opt/*,P", { "tcp a 1 path=/opt/x/y" }, { "tcp a 1 path=/usr/opt/" } },
        { "PROCESS-NAME-REGEX,^te.e,P", { "tcp a 1 process=TELEgram" }, { "tcp a 1 process=xtele" } },
        { "PROCESS-PATH-REGEX,bin/(a|b)$,P", { "tcp a 1 path=/usr/bin/B" }, { "tcp a 1 path=/usr/bin/bb", "tcp a 1 process=bin/a" } },
        { "UID,0,P", { "tcp a 1 uid=0" }, { "tcp a 1 uid=1", "tcp a 1 process=root" } },
        { "UID,1000-2000/7,P", { "tcp a 1 uid=7", "tcp a 1 uid=1500" }, { "tcp a 1 uid=8", "tcp a 1" } },
        { "NOT,((PROCESS-NAME,curl)),P", { "tcp a 1 process=ssh", "tcp a 1" }, { "tcp a 1 process=curl" } },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct setup s = { .rules = { cases[i].rule } };
        struct loaded l;

        load(&l, &s);
        assert_silent(&l);
        for (size_t k = 0; k < N(cases[i].yes) && cases[i].yes[k]; k++)
            assert_string_equal(outcome(&l, cases[i].yes[k]), "process@0 0");
        for (size_t k = 0; k < N(cases[i].no) && cases[i].no[k]; k++)
            assert_string_equal(outcome(&l, cases[i].no[k]), "process@0 none");
        unload(&l);
    }
}

static void which_name(void **state)
{
    static const struct setup s = { .rules = { "DOMAIN,asked.com,A", "DOMAIN-WILDCARD,asked.*,B", "DOMAIN,seen.com,C",
                                               "DOMAIN-WILDCARD,seen.*,D" } };
    static const struct expect e[] = {
        { "tcp asked.com 1", "0" },          { "tcp asked.com 1 sniffed=seen.com", "1" }, /* the wildcard looks at what was asked for */
        { "tcp x 1 sniffed=seen.com", "2" }, { "tcp 1.2.3.4 1 sniffed=seen.com", "2" },   { "tcp 1.2.3.4 1 sniffed=seen.org", "none" },
    };

    CHECK(s, e);
}

/* ---- section 2: when an address is needed ---- */

static void the_address_is_asked_for_once_and_late(void **state)
{
    static const struct setup s = { .rules = { "DOMAIN,first.com,A", "IP-CIDR,10.0.0.0/8,B,no-resolve", "IP-CIDR,20.0.0.0/8,C",
                                               "IP-CIDR,10.0.0.0/8,D,no-resolve", "DOMAIN,late.com,E", "IP-CIDR,30.0.0.0/8,F",
                                               "GEOIP,lan,G" } };
    static const struct expect e[] = {
        { "tcp first.com 1 answer=20.0.0.1", "0" },
        { "tcp x 1 answer=20.0.0.1", "ip@2 2" },
        { "tcp x 1 answer=10.0.0.1", "ip@2 3" }, /* no-resolve before stays false, behind it sees */
        { "tcp x 1 answer=30.0.0.1", "ip@2 5" },
        { "tcp late.com 1 answer=30.0.0.1", "ip@2 4" },
        { "tcp late.com 1", "ip@2 4" }, /* does not resolve: the walk goes on */
        { "tcp x 1", "ip@2 none" },     /* asked once */
        { "tcp x 1 ip=10.0.0.1", "1" }, /* a hosts entry: known from the start */
        { "tcp 10.0.0.1 1", "1" },      /* a literal */
        { "tcp x 1 answer=192.168.0.1", "ip@2 6" },
    };

    CHECK(s, e);
}

static void every_address_rule_asks(void **state)
{
    static const char *const rules[] = { "IP-CIDR,1.0.0.0/8,P", "IP-CIDR6,fd00::/8,P", "IP-SUFFIX,1.1.1.1/8,P",      "GEOIP,LAN,P",
                                         "RULE-SET,nets,P",     "RULE-SET,mixed,P",    "NOT,((IP-CIDR,1.0.0.0/8)),P" };
    static const char *const never[] = { "IP-CIDR,1.0.0.0/8,P,no-resolve",
                                         "IP-CIDR,1.0.0.0/8,P,src",
                                         "SRC-IP-CIDR,1.0.0.0/8,P",
                                         "SRC-GEOIP,LAN,P",
                                         "RULE-SET,nets,P,no-resolve",
                                         "RULE-SET,nets,P,src",
                                         "RULE-SET,mixed,P,no-resolve",
                                         "RULE-SET,mixed,P,src",
                                         "RULE-SET,quiet,P",
                                         "AND,((RULE-SET,nets,no-resolve),(NETWORK,tcp)),P" };
    struct setup s = { .sets = { { "nets", CFG_BEHAVIOR_IPCIDR, { "9.0.0.0/8" } },
                                 { "mixed", CFG_BEHAVIOR_CLASSICAL, { "DOMAIN,q", "IP-CIDR,9.0.0.0/8" } },
                                 { "quiet",
                                   CFG_BEHAVIOR_CLASSICAL,
                                   { "IP-CIDR,9.0.0.0/8,no-resolve", "IP-CIDR,9.0.0.0/8,src", "SRC-IP-CIDR,9.0.0.0/8" } } } };
    struct loaded l;

    for (size_t i = 0; i < N(rules); i++) {
        s.rules[0] = rules[i];
        load(&l, &s);
        assert_silent(&l);
        assert_memory_equal(outcome(&l, "tcp x 1"), "ip@0 ", 5);
        unload(&l);
    }
    for (size_t i = 0; i < N(never); i++) {
        s.rules[0] = never[i];
        load(&l, &s);
        assert_silent(&l);
        assert_string_equal(outcome(&l, "tcp x 1"), "none");
        unload(&l);
    }
}

static void parts_are_judged_from_left_to_right(void **state)
{
    static const struct setup s = { .rules = { "AND,((DST-PORT,1),(IP-CIDR,10.0.0.0/8)),A", "AND,((IP-CIDR,20.0.0.0/8),(DST-PORT,2)),B",
                                               "OR,((IP-CIDR,40.0.0.0/8,no-resolve),(IP-CIDR,30.0.0.0/8)),C" } };
    static const struct setup once = { .rules = {
                                           "OR,((IP-CIDR,40.0.0.0/8,no-resolve),(IP-CIDR,30.0.0.0/8),(IP-CIDR,40.0.0.0/9,no-resolve)),A",
                                           "IP-CIDR,40.0.0.0/8,B,no-resolve" } };
    static const struct expect e[] = {
        { "tcp x 1 answer=10.0.0.1", "ip@0 0" },
        { "tcp x 3 answer=20.0.0.1", "ip@1 none" }, /* the address stands first, so it is asked for although the port decides */
        { "tcp x 2 answer=20.0.0.1", "ip@1 1" },
        { "tcp x 3 answer=30.0.0.1", "ip@1 2" },
        { "tcp x 3 answer=40.0.0.1", "ip@1 2" }, /* rule 1 asked, so rule 2 sees */
    };
    static const struct expect o[] = {
        { "tcp x 1 answer=30.0.0.1", "ip@0 0" },
        { "tcp x 1 answer=40.0.0.1", "ip@0 0" },   /* the third part sees what the second asked for */
        { "tcp x 1 answer=40.128.0.1", "ip@0 1" }, /* the first was judged without */
        { "tcp 40.128.0.1 1", "0" },
    };

    CHECK(s, e);
    CHECK(once, o);
}

static void a_classical_set_is_judged_in_its_order(void **state)
{
    static const struct setup s = {
        .rules = { "RULE-SET,c,A", "IP-CIDR,10.0.0.0/8,B,no-resolve", "RULE-SET,p,C" },
        .sets = { { "c",
                    CFG_BEHAVIOR_CLASSICAL,
                    { "DOMAIN,early", "IP-CIDR,10.0.0.0/8,no-resolve", "IP-CIDR,20.0.0.0/8", "DOMAIN,late",
                      "IP-CIDR,30.0.0.0/8,no-resolve" } },
                  { "p", CFG_BEHAVIOR_CLASSICAL, { "DOMAIN,known", "PROCESS-NAME,curl", "DOMAIN,unknown", "UID,5" } } }
    };
    static const struct expect e[] = {
        { "tcp early 1 answer=20.0.0.1", "0" },
        { "tcp late 1", "ip@0 0" },
        { "tcp x 1 answer=10.0.0.1", "ip@0 1" }, /* stands before the entry that asked */
        { "tcp x 1 answer=20.0.0.1", "ip@0 0" },
        { "tcp x 1 answer=30.0.0.1", "ip@0 0" },
        { "tcp 10.0.0.1 1", "0" },
        { "tcp known 1", "ip@0 2" },
        { "tcp unknown 1", "ip@0 process@2 2" },
        { "tcp x 1 process=CURL", "ip@0 process@2 2" },
        { "tcp x 1 uid=5", "ip@0 process@2 2" },
    };

    CHECK(s, e);
}

static void the_program_is_asked_for_once_and_late(void **state)
{
    static const struct setup s = { .rules = { "DOMAIN,first,A", "AND,((DST-PORT,7),(PROCESS-NAME,curl)),B", "IP-CIDR,10.0.0.0/8,C",
                                               "PROCESS-NAME,curl,D", "UID,3,E", "PROCESS-PATH,/bin/x,F" } };
    static const struct expect e[] = {
        { "tcp first 7 process=curl", "0" },
        { "tcp 1.1.1.1 7 process=curl", "process@1 1" },
        { "tcp 1.1.1.1 7 process=ssh uid=3", "process@1 4" },
        { "tcp 1.1.1.1 8 process=curl", "process@3 3" },
        { "tcp x 8 process=y path=/bin/x", "ip@2 process@3 5" },
        { "tcp x 7 answer=10.0.0.1", "process@1 ip@2 2" },
        { "tcp 10.0.0.1 8 process=curl", "2" },
    };

    CHECK(s, e);
}

/* ---- providers ---- */

static void providers(void **state)
{
    static const struct setup s = {
        .rules = { "RULE-SET,d,A", "RULE-SET,n,B,src", "RULE-SET,n,C", "RULE-SET,c,D,src", "RULE-SET,c,E", "RULE-SET,d,F,src" },
        .sets = { { "d", CFG_BEHAVIOR_DOMAIN, { "+.a.com", "b.com", "*.c.com", ".d.com", "x.*.e.com", "f-*.com" } },
                  { "n", CFG_BEHAVIOR_IPCIDR, { "10.0.0.0/8", "fd00::/8" } },
                  { "c",
                    CFG_BEHAVIOR_CLASSICAL,
                    { "DST-PORT,1000", "SRC-PORT,2000", "SRC-IP-CIDR,7.0.0.0/8", "IP-CIDR,8.0.0.0/8", "DOMAIN,q" } } }
    };
    static const struct expect e[] = {
        { "tcp a.com 1", "0" },
        { "tcp x.y.a.com 1", "0" },
        { "tcp b.com 1", "0" },
        { "tcp x.c.com 1", "0" },
        { "tcp y.x.d.com 1", "0" },
        { "tcp x.1.e.com 1", "0" },
        { "tcp f-12.com 1", "0" },
        { "tcp q 1", "ip@2 3" },
        { "tcp 10.0.0.1 1", "2" },
        { "tcp fdab::1 1", "2" },
        { "tcp 1.1.1.1 1 src=10.0.0.1", "1" },
        { "tcp 1.1.1.1 2000", "3" }, /* swapped: the set's SRC-PORT looks at the destination */
        { "tcp 1.1.1.1 1 src=9.9.9.9:1000", "3" },
        { "tcp 1.1.1.1 1 src=8.8.8.8", "3" }, /* the set's IP-CIDR looks at the source */
        { "tcp 7.7.7.7 1", "3" },             /* its SRC-IP-CIDR at the destination */
        { "tcp 1.1.1.1 1000", "4" },
        { "tcp 8.8.8.8 1", "4" },
        { "tcp 1.1.1.1 1 src=7.7.7.7", "4" },
        { "tcp x.b.com 1", "ip@2 none" }, /* not below */
        { "tcp c.com 1", "ip@2 none" },
        { "tcp y.x.c.com 1", "ip@2 none" },
        { "tcp d.com 1", "ip@2 none" },
    };

    CHECK(s, e);
}

static void entries_that_are_of_no_use(void **state)
{
    static const struct setup s = {
        .rules = { "RULE-SET,c,A", "RULE-SET,d,B", "RULE-SET,c,C" },
        .sets = { { "c",
                    CFG_BEHAVIOR_CLASSICAL,
                    { "USER-AGENT,x", "DOMAIN,good", "MATCH", "RULE-SET,d", "AND,((RULE-SET,d),(DOMAIN,x))", "DOMAIN-REGEX,(" } },
                  { "d", CFG_BEHAVIOR_DOMAIN, { "DOMAIN-SUFFIX,suffix.com", "a..b", "plain.com", "PROCESS-NAME,curl" } } }
    };
    static const struct expect e[] = {
        { "tcp good 1", "0" },           { "tcp x.suffix.com 1", "1" },
        { "tcp plain.com 1", "1" },      { "tcp x 1 process=curl", "process@1 1" },
        { "tcp x 1", "process@1 none" },
    };
    struct loaded l;

    load(&l, &s);
    assert_outcomes(&l, e, N(e));
    assert_int_equal(said(&l, "bad-rule", "5 of its entries are skipped; the first is number 1"), 1);
    assert_int_equal(said(&l, "bad-rule", "1 of its entries are skipped"), 1);
    assert_int_equal(said(&l, "bad-rule", "not what \"behavior: domain\" says"), 1);
    assert_int_equal(l.d.n, 3); /* once each, however many rules use the set */
    unload(&l);
}

/* ---- lists of sub-rules ---- */

static void lists_of_sub_rules(void **state)
{
    static const struct setup s = {
        .rules = { "SUB-RULE,(NETWORK,tcp),t", "SUB-RULE,(AND,((NETWORK,udp),(IP-CIDR,10.0.0.0/8))),u", "DOMAIN,back,Z",
                   "SUB-RULE,(DST-PORT,9),t", "MATCH,Z" },
        .subs = { { "t", { "DOMAIN,one,A", "SUB-RULE,(DOMAIN-SUFFIX,deep),d", "IP-CIDR,20.0.0.0/8,B", "DOMAIN,last,C" } },
                  { "u", { "DST-PORT,53,D" } },
                  { "d", { "DOMAIN,x.deep,E", "IP-CIDR,30.0.0.0/8,F,no-resolve", "PROCESS-NAME,curl,G" } } }
    };
    static const struct expect e[] = {
        { "tcp one 1", "0>A0" },
        { "tcp x.deep 1", "0>E0" },
        { "tcp y.deep 1 answer=30.0.0.1", "process@0 ip@0 4" }, /* no-resolve in the inner list was judged before */
        { "tcp y.deep 1 process=curl", "process@0 0>G2" },
        { "tcp y.deep 1 answer=20.0.0.1", "process@0 ip@0 0>B2" },
        { "tcp last 1", "ip@0 0>C3" },
        { "tcp back 1", "ip@0 2" },
        { "tcp other 1", "ip@0 4" },
        { "tcp other 9 answer=20.0.0.1", "ip@0 0>B2" },
        { "udp x 53 answer=10.0.0.1", "ip@1 1>D0" },
        { "udp x 54 answer=10.0.0.1", "ip@1 4" },
        { "udp one 9", "ip@1 3>A0" },
    };

    CHECK(s, e);
}

static void going_on_after_a_match(void **state)
{
    static const struct setup s = { .rules = { "DOMAIN,a,A", "SUB-RULE,(NETWORK,tcp),t", "DOMAIN,a,B" },
                                    .subs = { { "t", { "DOMAIN,a,C", "DOMAIN-SUFFIX,a,D" } } } };
    struct rule_pos pos = { 0 };
    struct flow_text f;
    struct loaded l;
    char out[200] = "";

    load(&l, &s);
    read_flow(&f, "tcp a 1");
    for (int i = 0; i < 5; i++) { /* PASS-RULE: on inside */
        step(&l, &f, &pos, out, sizeof(out));
        strcat(out, " ");
    }
    assert_string_equal(out, "0 1>C0 1>D1 2 none ");
    pos = (struct rule_pos){ 0 };
    *out = 0;
    for (int i = 0; i < 4; i++) { /* PASS: behind the outer rule */
        step(&l, &f, &pos, out, sizeof(out));
        strcat(out, " ");
        rules_leave(&pos);
    }
    assert_string_equal(out, "0 1>C0 2 none ");
    unload(&l);
}

static void circles_are_cut(void **state)
{
    static const struct setup s = { .rules = { "SUB-RULE,(NETWORK,tcp),a", "MATCH,Z" },
                                    .subs = { { "a", { "SUB-RULE,(NETWORK,tcp),b", "DOMAIN,x,A" } },
                                              { "b", { "SUB-RULE,(NETWORK,tcp),a", "SUB-RULE,(NETWORK,tcp),b", "DOMAIN,y,B" } } } };
    struct loaded l;

    load(&l, &s);
    assert_int_equal(said(&l, "cycle", "leads back"), 2);
    assert_int_equal(l.d.n, 2);
    assert_string_equal(outcome(&l, "tcp x 1"), "0>A1");
    assert_string_equal(outcome(&l, "tcp y 1"), "0>B2");
    assert_string_equal(outcome(&l, "tcp z 1"), "1");
    unload(&l);
}

static void lists_are_open_eight_deep(void **state)
{
    static const struct setup s = { .rules = { "SUB-RULE,(NETWORK,tcp),l1", "MATCH,Z" },
                                    .subs = { { "l1", { "SUB-RULE,(NETWORK,tcp),l2", "DOMAIN,d1,A" } },
                                              { "l2", { "SUB-RULE,(NETWORK,tcp),l3", "DOMAIN,d2,A" } },
                                              { "l3", { "SUB-RULE,(NETWORK,tcp),l4", "DOMAIN,d3,A" } },
                                              { "l4", { "SUB-RULE,(NETWORK,tcp),l5", "DOMAIN,d4,A" } },
                                              { "l5", { "SUB-RULE,(NETWORK,tcp),l6", "DOMAIN,d5,A" } },
                                              { "l6", { "SUB-RULE,(NETWORK,tcp),l7", "DOMAIN,d6,A" } },
                                              { "l7", { "DOMAIN,d7,A" } } } };
    struct setup deeper = s;
    struct loaded l;

    load(&l, &s);
    assert_silent(&l);
    assert_string_equal(outcome(&l, "tcp d7 1"), "0>A0");
    assert_string_equal(outcome(&l, "tcp d4 1"), "0>A1");
    assert_string_equal(outcome(&l, "tcp d 1"), "1");
    unload(&l);
    deeper.subs[6].rules[1] = "SUB-RULE,(NETWORK,tcp),l8";
    deeper.subs[7] = (struct list_of){ "l8", { "DOMAIN,d8,A" } };
    load(&l, &deeper);
    assert_int_equal(said(&l, "cycle", "8 deep"), 1);
    assert_string_equal(outcome(&l, "tcp d 1"), "1");
    unload(&l);
}

/* ---- targets, disabling, counting ---- */

static void unknown_targets_stay(void **state)
{
    static const struct setup s = { .rules = { "DOMAIN,a,N", "SUB-RULE,(DOMAIN,b),nowhere", "MATCH,Z" } };
    static const struct setup fatal = { .rules = { "MATCH,N" } };
    struct rule_pos pos = { 0 };
    struct rule_hit hit;
    struct flow_text f;
    struct loaded l;

    load(&l, &s);
    assert_int_equal(said(&l, "unknown-target", "rejected"), 2);
    assert_int_equal(l.d.n_errors, 0);
    read_flow(&f, "tcp a 1");
    assert_int_equal(rules_match(l.rs, &pos, &f.m, &hit), MATCH_HIT);
    assert_int_equal(hit.by->target_id, -1);
    read_flow(&f, "tcp b 1");
    pos = (struct rule_pos){ 0 };
    assert_int_equal(rules_match(l.rs, &pos, &f.m, &hit), MATCH_HIT);
    assert_int_equal(hit.by->target_id, -1);
    assert_string_equal(hit.by->target, "nowhere");
    unload(&l);
    load(&l, &fatal);
    assert_int_equal(l.d.n_errors, 1);
    assert_int_equal(said(&l, "unknown-target", "MATCH points to"), 1);
    unload(&l);
}

static void what_is_skipped_is_said_where(void **state)
{
    static const struct setup s = { .rules = { "DOMAIN,a,A", "NOPE,x,B", "DOMAIN,b,C", "DOMAIN-REGEX,(,D",
                                               "AND,((DOMAIN-REGEX,[),(DOMAIN,b)),D", "RULE-SET,none,D", "MATCH,Z" } };
    struct loaded l;

    load(&l, &s);
    assert_int_equal(rules_count(l.rs), 3);
    assert_string_equal(outcome(&l, "tcp b 1"), "2"); /* indexes count what was skipped */
    assert_string_equal(outcome(&l, "tcp c 1"), "6");
    assert_int_equal(said(&l, "unknown-type", "NOPE,x,B"), 1);
    assert_int_equal(said(&l, "bad-regex", "DOMAIN-REGEX,(,D"), 1);
    assert_int_equal(said(&l, "bad-regex", "AND,((DOMAIN-REGEX,["), 1);
    assert_int_equal(said(&l, "bad-rule", "there is no rule provider \"none\""), 1);
    diag_sort(&l.d);
    assert_int_equal(l.d.items[0].line, 2);
    assert_int_equal(l.d.items[0].column, 5);
    assert_string_equal(l.d.items[0].path, "rules[1]");
    unload(&l);
}

static void rules_are_switched_off_and_on(void **state)
{
    static const struct setup s = { .rules = { "NOPE,x,A", "DOMAIN,a,A", "IP-CIDR,10.0.0.0/8,B", "AND,((DOMAIN,a),(NETWORK,tcp)),C",
                                               "IP-CIDR,10.0.0.0/8,D", "MATCH,Z" } };
    struct loaded l;

    load(&l, &s);
    assert_string_equal(outcome(&l, "tcp a 1"), "1");
    rules_disable(l.rs, 1, true);
    rules_disable(l.rs, 1, true);
    assert_string_equal(outcome(&l, "tcp a 1"), "ip@2 3");
    rules_disable(l.rs, 2, true);
    assert_string_equal(outcome(&l, "tcp a 1"), "3"); /* a rule that is off asks for nothing */
    rules_disable(l.rs, 3, true);
    rules_disable(l.rs, 99, true);
    rules_disable(l.rs, 0, true);
    assert_string_equal(outcome(&l, "tcp a 1 answer=10.0.0.1"), "ip@4 4");
    assert_string_equal(outcome(&l, "tcp 10.0.0.1 1"), "4");
    rules_disable(l.rs, 4, true);
    rules_disable(l.rs, 5, true);
    assert_string_equal(outcome(&l, "tcp 10.0.0.1 1"), "none");
    for (uint32_t i = 0; i < 6; i++)
        rules_disable(l.rs, i, false);
    assert_string_equal(outcome(&l, "tcp a 1"), "1");
    assert_string_equal(outcome(&l, "tcp 10.0.0.1 1"), "2");
    unload(&l);
}

/* The second set is without the provider, so a rule in the middle is skipped there: what was counted finds its own line all the same. */
static void counts_and_switches_outlive_a_new_set(void **state)
{
    static const struct setup with = { .rules = { "DOMAIN,a,A", "RULE-SET,c,B", "DOMAIN,b,C", "MATCH,Z" },
                                       .sets = { { "c", CFG_BEHAVIOR_DOMAIN, { "c" } } } };
    struct setup without = with;
    struct loaded old, new, back;

    memset(without.sets, 0, sizeof(without.sets));
    load(&old, &with);
    load(&new, &without);
    load(&back, &with);
    assert_int_equal(rules_count(old.rs), 4);
    assert_int_equal(rules_count(new.rs), 3);
    for (uint32_t i = 0; i < 4; i++) {
        rules_at(old.rs, i)->hits = 10 + i;
        rules_at(old.rs, i)->hit_unix_ms = 1000 + i;
    }
    rules_disable(old.rs, 1, true);
    rules_disable(old.rs, 2, true);
    rules_disable(new.rs, 0, true); /* it is on in the old one */
    rules_inherit(new.rs, old.rs);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(rules_at(new.rs, i)->hits, 10 + rules_at(new.rs, i)->index);
        assert_int_equal(rules_at(new.rs, i)->hit_unix_ms, 1000 + rules_at(new.rs, i)->index);
    }
    assert_string_equal(outcome(&new, "tcp a 1"), "0");
    assert_string_equal(outcome(&new, "tcp b 1"), "3");
    rules_inherit(back.rs, new.rs);
    assert_int_equal(rules_at(back.rs, 1)->hits, 0); /* nothing is known of it */
    assert_int_equal(rules_at(back.rs, 3)->hits, 13);
    assert_string_equal(outcome(&back, "tcp c 1"), "1");
    assert_string_equal(outcome(&back, "tcp b 1"), "3");
    unload(&back);
    unload(&new);
    unload(&old);
}

/* More atoms are true of a name than fit: every answer is the same, only found otherwise. */
static void more_is_true_than_fits(void **state)
{
    static char words[400][48];
    struct cfg_rule rules[401];
    struct rules_src src = { .n_rules = 401, .rules = rules };
    struct rules_env env = { .target = find_target };
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = "abcdefghijklmnopqrstuvwxyz0123456789.abcdefghijklmnopqrstuvwxyz0123456789" };
    struct rule_pos pos = { 0 };
    struct rule_hit hit;
    struct ruleset *rs;
    struct diag d;
    uint32_t n = 0;

    for (uint32_t len = 1; len <= 36 && n < 399; len++)
        for (uint32_t at = 0; at + len <= 36 && n < 399; at++, n++) {
            snprintf(words[n], sizeof(words[n]), "DOMAIN-KEYWORD,%.*s", (int)(len < 12 ? len : 12), m.dst.host + at);
            strcat(words[n], ",P");
        }
    snprintf(words[399], sizeof(words[399]), "AND,((DOMAIN-KEYWORD,9.a),(NETWORK,tcp)),P");
    for (uint32_t i = 0; i < 400; i++)
        rules[i] = (struct cfg_rule){ .text = words[i], .index = i };
    rules[400] = (struct cfg_rule){ .text = "DOMAIN-REGEX,^abc.*789$,P", .index = 400 };
    diag_init(&d, "test", NULL, 0, false);
    assert_non_null((rs = rules_build(&src, &env, &d)));
    assert_int_equal(d.n, 0);
    for (uint32_t i = 0; i <= 400; i++) {
        assert_int_equal(rules_match(rs, &pos, &m, &hit), MATCH_HIT);
        assert_int_equal(hit.rule->index, i);
    }
    assert_int_equal(rules_match(rs, &pos, &m, &hit), MATCH_NONE);
    rules_free(rs);
    diag_fini(&d);
}

/* ---- data that are not there ---- */

static void missing_data_make_rules_false(void **state)
{
    static const struct setup s = { .rules = { "RULE-SET,d,A", "RULE-SET,n,B", "RULE-SET,c,C", "GEOSITE,cn,D", "GEOIP,cn,E", "IP-ASN,1,F",
                                               "GEOSITE,!cn,G", "GEOSITE,us,H", "NOT,((RULE-SET,d)),I" },
                                    .sets = { { "d", CFG_BEHAVIOR_DOMAIN, { NULL }, true },
                                              { "n", CFG_BEHAVIOR_IPCIDR, { NULL }, true },
                                              { "c", CFG_BEHAVIOR_CLASSICAL, { NULL }, true } } };
    struct loaded l;

    load(&l, &s);
    assert_int_equal(said(&l, "missing-data", "false until it is"), 6); /* three sets, three files, once each */
    assert_int_equal(l.d.n, 6);
    assert_string_equal(outcome(&l, "tcp x 1"), "ip@1 8"); /* what they need is asked for all the same */
    assert_string_equal(outcome(&l, "tcp 1.1.1.1 1"), "8");
    unload(&l);
}

static void strict_mode_rejects_what_could_have_matched(void **state)
{
    static const struct {
        const char *rule;
        struct expect e[4];
    } cases[] = {
        { "RULE-SET,d,A", { { "tcp x 1", "0!" }, { "tcp 1.1.1.1 1", "none" } } },
        { "RULE-SET,n,A", { { "tcp x 1", "ip@0 none" }, { "tcp x 1 answer=1.1.1.1", "ip@0 0!" }, { "tcp 1.1.1.1 1", "0!" } } },
        { "RULE-SET,n,A,no-resolve", { { "tcp x 1", "none" }, { "tcp 1.1.1.1 1", "0!" } } },
        { "RULE-SET,n,A,src", { { "tcp 1.1.1.1 1", "none" }, { "tcp x 1 src=1.1.1.1", "0!" } } },
        { "RULE-SET,c,A", { { "tcp x 1", "0!" }, { "tcp 1.1.1.1 1", "0!" } } },
        { "GEOSITE,cn,A", { { "tcp x 1", "0!" }, { "tcp 1.1.1.1 1", "none" } } },
        { "GEOIP,cn,A,no-resolve", { { "tcp x 1", "none" }, { "tcp 1.1.1.1 1", "0!" } } },
        { "AND,((DST-PORT,9),(GEOSITE,cn)),A", { { "tcp x 1", "none" }, { "tcp x 9", "0!" } } },
        { "AND,((GEOSITE,cn),(DST-PORT,9)),A", { { "tcp x 1", "none" }, { "tcp x 9", "0!" } } },
        { "OR,((GEOSITE,cn),(DST-PORT,9)),A", { { "tcp x 1", "0!" }, { "tcp x 9", "0" } } },
        { "NOT,((GEOSITE,cn)),A", { { "tcp x 1", "0!" }, { "tcp 1.1.1.1 1", "0" } } },
    };
    static const struct set_of sets[] = { { "d", CFG_BEHAVIOR_DOMAIN, { NULL }, true },
                                          { "n", CFG_BEHAVIOR_IPCIDR, { NULL }, true },
                                          { "c", CFG_BEHAVIOR_CLASSICAL, { NULL }, true } };

    for (size_t i = 0; i < N(cases); i++) {
        struct setup s = { .rules = { cases[i].rule }, .strict = true };
        struct loaded l;

        memcpy(s.sets, sets, sizeof(sets));
        load(&l, &s);
        for (size_t k = 0; k < N(cases[i].e) && cases[i].e[k].flow; k++) {
            struct rule_pos pos = { 0 };
            struct rule_hit hit;
            struct flow_text f;
            char out[200] = "";

            read_flow(&f, cases[i].e[k].flow);
            while (step(&l, &f, &pos, out, sizeof(out)))
                ;
            pos.from[0] = 0;
            pos.leaf = 0;
            if (strcmp(out, "none") != 0 && !strstr(out, "none") && rules_match(l.rs, &pos, &f.m, &hit) == MATCH_MISSING)
                strcat(out, "!");
            if (strcmp(out, cases[i].e[k].outcome) != 0)
                fail_msg("%s, %s: %s", cases[i].rule, cases[i].e[k].flow, out);
        }
        unload(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_a_type_is_true),
        cmocka_unit_test(programs),
        cmocka_unit_test(which_name),
        cmocka_unit_test(the_address_is_asked_for_once_and_late),
        cmocka_unit_test(every_address_rule_asks),
        cmocka_unit_test(parts_are_judged_from_left_to_right),
        cmocka_unit_test(a_classical_set_is_judged_in_its_order),
        cmocka_unit_test(the_program_is_asked_for_once_and_late),
        cmocka_unit_test(providers),
        cmocka_unit_test(entries_that_are_of_no_use),
        cmocka_unit_test(lists_of_sub_rules),
        cmocka_unit_test(going_on_after_a_match),
        cmocka_unit_test(circles_are_cut),
        cmocka_unit_test(lists_are_open_eight_deep),
        cmocka_unit_test(unknown_targets_stay),
        cmocka_unit_test(what_is_skipped_is_said_where),
        cmocka_unit_test(rules_are_switched_off_and_on),
        cmocka_unit_test(counts_and_switches_outlive_a_new_set),
        cmocka_unit_test(more_is_true_than_fits),
        cmocka_unit_test(missing_data_make_rules_false),
        cmocka_unit_test(strict_mode_rejects_what_could_have_matched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
