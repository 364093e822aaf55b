/*
 * engine_explain.c - the decision and its explanation: targets, PASS, datagrams, aliases, modes, what was needed and why
 *
 * Outcomes are written  INDEX TARGET [CHAIN] ACTION +ip +process
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

#define NODES                                                                                                                              \
    "proxies:\n"                                                                                                                           \
    "  - { name: tcp-only, type: ss, server: 192.0.2.1, port: 8388, cipher: aes-256-gcm, password: x, udp: false }\n"                      \
    "  - { name: both, type: ss, server: 192.0.2.1, port: 8388, cipher: aes-256-gcm, password: x, udp: true }\n"                           \
    "proxy-groups:\n"                                                                                                                      \
    "  - { name: P, type: select, proxies: [tcp-only, both] }\n"                                                                           \
    "  - { name: skip, type: select, proxies: [PASS, both] }\n"                                                                            \
    "  - { name: inner, type: select, proxies: [PASS-RULE, both] }\n"                                                                      \
    "  - { name: no-udp, type: select, disable-udp: true, proxies: [both] }\n"

struct ask {
    const char *flow, *outcome;
};

static struct policy *load(const char *yaml, struct diag *d)
{
    struct cfg_input in = { .name = "test.yaml", .bytes = yaml, .len = strlen(yaml) };
    struct policy *p;

    diag_init(d, "test.yaml", NULL, 0, false);
    if (!(p = policy_load(&in, NULL, NULL, d)))
        diag_print(d, stderr, false);
    assert_non_null(p);
    return p;
}

/* "udp host 443 answer=1.2.3.4 process=curl uid=5 in=HTTP" */
static void read_flow(struct explain *x, struct flow_proc *proc, char *text)
{
    char *save = NULL, *word = strtok_r(text, " ", &save);

    memset(x, 0, sizeof(*x));
    memset(proc, 0, sizeof(*proc));
    explain_via(x, "TUN");
    x->meta.net = strcmp(word, "udp") ? FLOW_TCP : FLOW_UDP;
    word = strtok_r(NULL, " ", &save);
    if (addr_parse(word, &x->meta.dst.at.ip) < 0)
        x->meta.dst.host = word;
    x->meta.dst.at.port = (uint16_t)atoi(strtok_r(NULL, " ", &save));
    while ((word = strtok_r(NULL, " ", &save))) {
        char *value = strchr(word, '=') + 1;

        if (!strncmp(word, "answer=", 7))
            x->n_answer = addr_parse(value, &x->answer[0]) == 0;
        else if (!strncmp(word, "process=", 8))
            proc->name = value;
        else if (!strncmp(word, "uid=", 4))
            *proc = (struct flow_proc){ proc->name, NULL, (uint32_t)atoi(value), true };
        else
            assert_true(explain_via(x, value));
    }
    x->proc = proc->name || proc->uid_known ? proc : NULL;
}

static const char *outcome(struct policy *p, const char *flow, struct explain *x)
{
    static const char *const actions[] = { "proxy", "direct", "reject", "reject-drop", "none" };
    static char out[300], words[200];
    struct flow_proc proc;
    size_t n = 0;

    snprintf(words, sizeof(words), "%s", flow);
    read_flow(x, &proc, words);
    x->mode = p->profile->mode;
    policy_explain(p, x);
    n += (size_t)(x->rule ? snprintf(out, sizeof(out), "%u %s [", x->rule->index, x->by->target) : snprintf(out, sizeof(out), "- ["));
    for (int i = 0; i < x->n_chain; i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", i ? " " : "", x->chain[i]->name);
    snprintf(out + n, sizeof(out) - n, "] %s%s%s", actions[x->action], x->needed_ip ? " +ip" : "", x->needed_proc ? " +process" : "");
    return out;
}

static void check(const char *yaml, const struct ask *ask, size_t n)
{
    struct explain x;
    struct policy *p;
    struct diag d;

    p = load(yaml, &d);
    for (size_t i = 0; i < n; i++)
        if (strcmp(outcome(p, ask[i].flow, &x), ask[i].outcome) != 0)
            fail_msg("%s: %s", ask[i].flow, outcome(p, ask[i].flow, &x));
    policy_put(p);
    diag_fini(&d);
}

#define CHECK(yaml, ask) check(yaml, ask, N(ask))

static void where_flows_go(void **state)
{
    static const char yaml[] = NODES "rules:\n"
                                     "  - DOMAIN,a.com,P\n"
                                     "  - DOMAIN,a.com,both\n"
                                     "  - DOMAIN,r.com,REJECT\n"
                                     "  - DOMAIN,d.com,REJECT-DROP\n"
                                     "  - DOMAIN,n.com,Nowhere\n"
                                     "  - MATCH,DIRECT\n";
    static const struct ask ask[] = {
        { "tcp a.com 443", "0 P [P tcp-only] proxy" },
        { "udp a.com 443", "1 both [both] proxy" }, /* the node of the group carries no datagrams: the next rule */
        { "tcp r.com 1", "2 REJECT [REJECT] reject" },
        { "udp d.com 1", "3 REJECT-DROP [REJECT-DROP] reject-drop" },
        { "tcp n.com 1", "4 Nowhere [] reject" },
        { "tcp 192.0.2.9 1", "5 DIRECT [DIRECT] direct" },
    };

    CHECK(yaml, ask);
}

static void going_on(void **state)
{
    static const char yaml[] = NODES "rules:\n"
                                     "  - DOMAIN,p.com,PASS\n"
                                     "  - DOMAIN,p.com,skip\n"
                                     "  - SUB-RULE,(NETWORK,tcp),sub\n"
                                     "  - DOMAIN,p.com,both\n"
                                     "  - DOMAIN,q.com,no-udp\n"
                                     "  - DOMAIN,i.com,inner\n"
                                     "sub-rules:\n"
                                     "  sub:\n"
                                     "    - DOMAIN,i.com,inner\n"
                                     "    - DOMAIN,i.com,P\n"
                                     "    - DOMAIN,o.com,skip\n"
                                     "    - DOMAIN,o.com,P\n";
    static const struct ask ask[] = {
        { "tcp p.com 1", "3 both [both] proxy" },
        { "tcp i.com 1", "2 P [P tcp-only] proxy" }, /* PASS-RULE: on inside the list; the outer rule is named, the inner target counts */
        { "tcp o.com 1", "- [DIRECT] direct" },      /* PASS: behind the outer rule */
        { "udp i.com 1", "- [DIRECT] direct" },      /* PASS-RULE outside of a list */
        { "tcp q.com 1", "4 no-udp [no-udp both] proxy" },
        { "udp q.com 1", "- [DIRECT] direct" }, /* the group disables datagrams */
    };

    CHECK(yaml, ask);
}

static void what_was_needed_and_why(void **state)
{
    static const char yaml[] = NODES "rules:\n"
                                     "  - DOMAIN,early.com,P\n"
                                     "  - IP-CIDR,10.0.0.0/8,both\n"
                                     "  - AND,((DST-PORT,7),(PROCESS-NAME,curl)),P\n"
                                     "  - UID,1000,both\n"
                                     "  - IN-TYPE,SOCKS,P\n"
                                     "  - IN-NAME,DEFAULT-HTTP,both\n";
    static const struct ask ask[] = {
        { "tcp early.com 1", "0 P [P tcp-only] proxy" },
        { "tcp x 1 answer=10.0.0.1", "1 both [both] proxy +ip" },
        { "tcp x 7 process=curl", "2 P [P tcp-only] proxy +ip +process" },
        { "tcp x 7 uid=1000", "3 both [both] proxy +ip +process" },
        { "tcp 192.0.2.1 1", "- [DIRECT] direct +process" },
        { "tcp 192.0.2.1 1 in=SOCKS", "4 P [P tcp-only] proxy +process" },
        { "tcp 192.0.2.1 1 in=mixed", "4 P [P tcp-only] proxy +process" },
        { "tcp 192.0.2.1 1 in=http", "5 both [both] proxy +process" },
        { "tcp 10.0.0.1 1", "1 both [both] proxy" },
    };
    struct explain x;
    struct policy *p;
    struct diag d;

    CHECK(yaml, ask);
    p = load(yaml, &d);
    outcome(p, "tcp x 7", &x);
    assert_non_null(strstr(x.note, "rule 1 (IP-CIDR,10.0.0.0/8) needs the address"));
    assert_non_null(strstr(x.note, "rule 2 (AND,"));
    assert_non_null(strstr(x.note, "needs the program"));
    assert_non_null(strstr(x.note, "no rule matches"));
    assert_false(explain_via(&x, "pigeon"));
    policy_put(p);
    diag_fini(&d);
}

static void programs_by_mode(void **state)
{
    static const char rules[] = "rules:\n  - PROCESS-NAME,curl,DIRECT\n  - NOT,((UID,5)),REJECT\n  - MATCH,REJECT-DROP\n";
    static const struct ask strict[] = { { "tcp x 1 process=curl uid=5", "0 DIRECT [DIRECT] direct +process" } };
    static const struct ask off[] = { { "tcp x 1 process=curl uid=5", "1 REJECT [REJECT] reject" } };
    char yaml[200];

    CHECK(rules, strict);
    snprintf(yaml, sizeof(yaml), "find-process-mode: always\n%s", rules);
    CHECK(yaml, strict);
    snprintf(yaml, sizeof(yaml), "find-process-mode: off\n%s", rules);
    CHECK(yaml, off);
}

static void another_name(void **state)
{
    static const char yaml[] = "hosts:\n"
                               "  one.com: Two.com\n"
                               "  two.com: three.com\n"
                               "  \"*.w.com\": x.three.com\n"
                               "  kept.w.com: 192.0.2.7\n"
                               "rules:\n"
                               "  - DOMAIN,one.com,REJECT\n"
                               "  - DOMAIN-SUFFIX,three.com,DIRECT\n";
    static const struct ask ask[] = {
        { "tcp one.com 1", "1 DIRECT [DIRECT] direct" },
        { "tcp a.w.com 1", "1 DIRECT [DIRECT] direct" },
        { "tcp kept.w.com 1", "- [DIRECT] direct" },
        { "tcp other.com 1", "- [DIRECT] direct" },
    };
    struct explain x;
    struct policy *p;
    struct diag d;

    CHECK(yaml, ask);
    p = load(yaml, &d);
    outcome(p, "tcp one.com 1", &x);
    assert_string_equal(x.asked, "one.com");
    assert_string_equal(x.meta.dst.host, "three.com");
    assert_non_null(strstr(x.note, "three.com"));
    assert_string_equal(policy_alias(p, "kept.w.com"), "kept.w.com");
    policy_put(p);
    diag_fini(&d);
    p = load("dns: { use-hosts: false }\nhosts: { one.com: two.com }\nrules: [\"MATCH,DIRECT\"]\n", &d);
    assert_string_equal(policy_alias(p, "one.com"), "two.com"); /* that is about what queries get */
    policy_put(p);
    diag_fini(&d);
}

static void modes(void **state)
{
    static const char global[] = "mode: global\n" NODES "rules: [\"MATCH,REJECT\"]\n",
                      direct[] = "mode: direct\n" NODES "rules: [\"MATCH,REJECT\"]\n";
    static const struct ask g[] = { { "tcp x 1", "- [GLOBAL DIRECT] direct" } }, dr[] = { { "udp x 1", "- [DIRECT] direct" } };

    CHECK(global, g);
    CHECK(direct, dr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_flows_go),   cmocka_unit_test(going_on),     cmocka_unit_test(what_was_needed_and_why),
        cmocka_unit_test(programs_by_mode), cmocka_unit_test(another_name), cmocka_unit_test(modes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
