/*
 * rule_line.c - rule lines as a profile or a provider of a stranger may have them: parsed, compiled, and asked about flows
 *
 * The input is text: lines of rules; behind a line "---" a list of sub-rules; behind another the entries of a classical provider "p";
 * behind a third of a domain provider "d".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/rules.h"
#include "tests/fuzz/fuzz.h"

#define LINES_MAX 200

static struct cfg_rule rule[2][LINES_MAX];
static const char *entry[2][LINES_MAX];
static uint32_t n[4];

static int32_t find_target(void *arg, const char *name)
{
    return *name == 'N' ? -1 : 1;
}

static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    static struct cfg_provider p[2];
    int which = !strcmp(name, "d");

    if (strlen(name) != 1 || !strchr("pdg", *name))
        return false;
    p[which] = (struct cfg_provider){ .name = name,
                                      .from = *name == 'g' ? CFG_FROM_HTTP : CFG_FROM_INLINE,
                                      .behavior = which ? CFG_BEHAVIOR_DOMAIN : CFG_BEHAVIOR_CLASSICAL };
    if (*name != 'g')
        p[which].rules = (struct cfg_strs){ .n = n[2 + which], .v = entry[which] };
    out->cfg = &p[which];
    return true;
}

static void ask(struct ruleset *rs, const struct flow_meta *flow, const struct addr *answer)
{
    static const struct flow_proc proc = { "curl", "/usr/bin/curl", 1000, true };
    struct flow_meta m = *flow;
    struct rule_pos pos = { 0 };
    struct rule_hit hit;

    for (int steps = 0; steps < 10000; steps++) {
        switch (rules_match(rs, &pos, &m, &hit)) {
        case MATCH_NEED_IP:
            if (pos.ip_failed || m.dst.at.ip.ver)
                abort(); /* asked twice */
            m.dst.at.ip = *answer;
            pos.ip_failed = !answer->ver;
            break;
        case MATCH_NEED_PROC:
            if (pos.proc_tried)
                abort();
            pos.proc_tried = true;
            m.proc = &proc;
            break;
        case MATCH_HIT:
            if (steps % 7 == 6)
                rules_leave(&pos);
            break;
        case MATCH_MISSING: break;
        case MATCH_NONE: return;
        }
    }
}

static void ask_about_flows(struct ruleset *rs)
{
    static const char *const hosts[] = { "a.com",       "www.google.com",
                                         "x",           "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b.c.d.e.f.g",
                                         "\xc3\xa9.cn", NULL };
    static const char *const addrs[] = { "10.1.2.3", "fd00::1", "255.255.255.255" };

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct flow_meta m = { .net = i % 2 ? FLOW_UDP : FLOW_TCP, .via = FLOW_VIA_TUN, .dst = { .at.port = 443, .host = hosts[i] } };
        struct addr answer = { 0 };

        addr_parse(addrs[i % 3], i % 4 ? &answer : &m.src.ip);
        if (!hosts[i])
            m.dst.at.ip = answer;
        if (i == 2)
            m.sniffed = "b.com";
        ask(rs, &m, &answer);
    }
}

/* Cuts the text into its four parts. */
static void take_apart(char *text)
{
    int part = 0;

    memset(n, 0, sizeof(n));
    for (char *line = text, *next; line && part < 4; line = next) {
        if ((next = strchr(line, '\n')))
            *next++ = 0;
        if (!strcmp(line, "---")) {
            part++;
        } else if (n[part] < LINES_MAX && part < 2) {
            rule[part][n[part]] = (struct cfg_rule){ .text = line, .index = n[part], .nth = n[part], .sub = part ? "s" : NULL };
            n[part]++;
        } else if (n[part] < LINES_MAX) {
            entry[part - 2][n[part]++] = line;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cfg_sub_rules sub = { .name = "s" };
    struct rules_src src = { .n_subs = 1, .subs = &sub };
    struct rules_env env = { .target = find_target, .provider = find_provider };
    char *text = malloc(size + 1);
    struct ruleset *rs;
    struct diag d;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    env.strict = size % 2;
    take_apart(text);
    sub.n_rules = n[1];
    sub.rules = rule[1];
    src.n_rules = n[0];
    src.rules = rule[0];
    diag_init(&d, "fuzz", NULL, 0, false);
    if (!(rs = rules_build(&src, &env, &d)))
        abort();
    ask_about_flows(rs);
    rules_free(rs);
    diag_fini(&d);
    free(text);
    return 0;
}
