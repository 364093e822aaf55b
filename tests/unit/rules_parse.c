/*
 * rules_parse.c - rule lines: what each says, and what is said of those that say nothing
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/private.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* A term as text: TYPE|payload|operands, kids in brackets. */
static void show(const struct term *t, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "%s|%s", rule_type_name(t->type), t->payload);
    char addr[ADDR_STRLEN];

    if (t->src)
        n += (size_t)snprintf(out + n, size - n, "|src");
    if (t->no_resolve)
        n += (size_t)snprintf(out + n, size - n, "|no-resolve");
    if (t->negate)
        n += (size_t)snprintf(out + n, size - n, "|not");
    switch (t->type) {
    case RULE_IP_CIDR:
    case RULE_IP_CIDR6:
    case RULE_SRC_IP_CIDR: snprintf(out + n, size - n, "|%s/%u", addr_str(&t->net.ip, addr), t->net.len); break;
    case RULE_IP_SUFFIX:
    case RULE_SRC_IP_SUFFIX: snprintf(out + n, size - n, "|%s/%u", addr_str(&t->suffix.ip, addr), t->suffix.bits); break;
    case RULE_DST_PORT:
    case RULE_SRC_PORT:
    case RULE_IN_PORT:
    case RULE_UID:
    case RULE_DSCP:
        for (uint32_t i = 0; i < t->n; i++)
            n += (size_t)snprintf(out + n, size - n, "%s%u-%u", i ? " " : "|", t->ranges[i].lo, t->ranges[i].hi);
        break;
    case RULE_NETWORK:
    case RULE_IN_TYPE: snprintf(out + n, size - n, "|%x", t->mask); break;
    case RULE_IN_USER:
    case RULE_IN_NAME:
    case RULE_REMATCH_NAME:
        for (uint32_t i = 0; i < t->n; i++)
            n += (size_t)snprintf(out + n, size - n, "|%s", t->words[i]);
        break;
    case RULE_AND:
    case RULE_OR:
    case RULE_NOT:
    case RULE_SUB_RULE:
        for (uint32_t i = 0; i < t->n; i++) {
            char kid[1024];

            show(&t->kids[i], kid, sizeof(kid));
            n += (size_t)snprintf(out + n, size - n, "[%s]", kid);
        }
        break;
    default: break;
    }
}

struct good {
    const char *line, *term, *target;
};

static const struct good lines[] = {
    { "DOMAIN,example.com,Proxy", "DOMAIN|example.com", "Proxy" },
    { "domain , Example.COM , My Proxy ", "DOMAIN|example.com", "My Proxy" },
    { "DOMAIN,example.com.,P", "DOMAIN|example.com", "P" },
    { "DOMAIN,_dmarc.x,P", "DOMAIN|_dmarc.x", "P" },
    { "DOMAIN-SUFFIX,google.com,\xf0\x9f\x9a\x80 \xe8\x8a\x82\xe7\x82\xb9", "DOMAIN-SUFFIX|google.com",
      "\xf0\x9f\x9a\x80 \xe8\x8a\x82\xe7\x82\xb9" },
    { "DOMAIN-SUFFIX,.x.com,P", "DOMAIN-SUFFIX|x.com", "P" },
    { "DOMAIN-SUFFIX,cn,DIRECT,no-resolve", "DOMAIN-SUFFIX|cn", "DIRECT" },
    { "DOMAIN-KEYWORD,GooGle,P", "DOMAIN-KEYWORD|google", "P" },
    { "DOMAIN-WILDCARD,*.Google?.com,P", "DOMAIN-WILDCARD|*.google?.com", "P" },
    { "DOMAIN-REGEX,^a{1,3}\\.B$,P", "DOMAIN-REGEX|^a{1,3}\\.B$", "P" },
    { "DOMAIN-REGEX, ^a , b$ , P", "DOMAIN-REGEX|^a,b$", "P" },
    { "GEOSITE,CN,DIRECT", "GEOSITE|CN", "DIRECT" },
    { "GEOSITE,!geolocation-cn@ads,P", "GEOSITE|!geolocation-cn@ads|not", "P" },
    { "IP-CIDR,10.1.2.3/8,P", "IP-CIDR|10.1.2.3/8|10.0.0.0/8", "P" },
    { "IP-CIDR,10.0.0.0/8,P,no-resolve", "IP-CIDR|10.0.0.0/8|no-resolve|10.0.0.0/8", "P" },
    { "IP-CIDR,10.0.0.0/8,P, No-Resolve ", "IP-CIDR|10.0.0.0/8|no-resolve|10.0.0.0/8", "P" },
    { "IP-CIDR,10.0.0.0/8,P,src", "IP-CIDR|10.0.0.0/8|src|no-resolve|10.0.0.0/8", "P" },
    { "IP-CIDR,10.0.0.0/8,P,whatever,no-resolve", "IP-CIDR|10.0.0.0/8|no-resolve|10.0.0.0/8", "P" },
    { "IP-CIDR6,2001:db8::/32,P", "IP-CIDR6|2001:db8::/32|2001:db8::/32", "P" },
    { "IP-CIDR6,10.0.0.0/8,P", "IP-CIDR6|10.0.0.0/8|10.0.0.0/8", "P" },
    { "IP-CIDR,::ffff:10.0.0.0/104,P", "IP-CIDR|::ffff:10.0.0.0/104|10.0.0.0/8", "P" },
    { "IP-CIDR,0.0.0.0/0,P", "IP-CIDR|0.0.0.0/0|0.0.0.0/0", "P" },
    { "IP-SUFFIX,8.8.8.8/24,P", "IP-SUFFIX|8.8.8.8/24|8.8.8.8/24", "P" },
    { "IP-SUFFIX,::1/0,P", "IP-SUFFIX|::1/0|::1/0", "P" },
    { "IP-SUFFIX,::ffff:1.2.3.4/128,P", "IP-SUFFIX|::ffff:1.2.3.4/128|1.2.3.4/32", "P" },
    { "IP-ASN,13335,P,no-resolve", "IP-ASN|13335|no-resolve", "P" },
    { "IP-ASN,AS0013335,P", "IP-ASN|13335", "P" },
    { "GEOIP,CN,DIRECT", "GEOIP|CN", "DIRECT" },
    { "GEOIP,!CN,P", "GEOIP|!CN|not", "P" },
    { "SRC-IP-CIDR,192.168.1.201/32,DIRECT", "SRC-IP-CIDR|192.168.1.201/32|src|no-resolve|192.168.1.201/32", "DIRECT" },
    { "SRC-IP-SUFFIX,192.168.1.201/8,DIRECT", "SRC-IP-SUFFIX|192.168.1.201/8|src|no-resolve|192.168.1.201/8", "DIRECT" },
    { "SRC-IP-ASN,9808,P", "SRC-IP-ASN|9808|src|no-resolve", "P" },
    { "SRC-GEOIP,cn,P", "SRC-GEOIP|cn|src|no-resolve", "P" },
    { "DST-PORT,80,P", "DST-PORT|80|80-80", "P" },
    { "DST-PORT,80/443/8000-9000,P", "DST-PORT|80/443/8000-9000|80-80 443-443 8000-9000", "P" },
    { "DST-PORT, [80] / 90 - 80 ,P", "DST-PORT|[80] / 90 - 80|80-80 80-90", "P" },
    { "DST-PORT,0/65535,P", "DST-PORT|0/65535|0-0 65535-65535", "P" },
    { "DST-PORT,80//443/,P", "DST-PORT|80//443/|80-80 443-443", "P" },
    { "SRC-PORT,7777,P", "SRC-PORT|7777|src|no-resolve|7777-7777", "P" },
    { "IN-PORT,7890,P", "IN-PORT|7890|7890-7890", "P" },
    { "IN-TYPE,tun,P", "IN-TYPE|tun|2", "P" },
    { "IN-TYPE,SOCKS/HTTP,P", "IN-TYPE|SOCKS/HTTP|34", "P" },
    { "IN-USER,mihomo/ you ,P", "IN-USER|mihomo/ you|mihomo|you", "P" },
    { "IN-NAME,DEFAULT-TUN,P", "IN-NAME|DEFAULT-TUN|DEFAULT-TUN", "P" },
    { "PROCESS-NAME,Telegram Desktop,P", "PROCESS-NAME|Telegram Desktop", "P" },
    { "PROCESS-PATH,/usr/bin/Wget,P", "PROCESS-PATH|/usr/bin/Wget", "P" },
    { "PROCESS-NAME-WILDCARD,*Tele*,P", "PROCESS-NAME-WILDCARD|*Tele*", "P" },
    { "PROCESS-PATH-REGEX,.*bin/(a,b),P", "PROCESS-PATH-REGEX|.*bin/(a,b)", "P" },
    { "UID,0/1000-2000,P", "UID|0/1000-2000|0-0 1000-2000", "P" },
    { "UID,4294967295,P", "UID|4294967295|4294967295-4294967295", "P" },
    { "NETWORK,UDP,P", "NETWORK|UDP|4", "P" },
    { "DSCP,4/46-63,P", "DSCP|4/46-63|4-4 46-63", "P" },
    { "REMATCH-NAME,a/b,P", "REMATCH-NAME|a/b|a|b", "P" },
    { "RULE-SET,My Set,P,no-resolve", "RULE-SET|My Set|no-resolve", "P" },
    { "AND,((DOMAIN,A.com),(NETWORK,udp)),P", "AND|((DOMAIN,A.com),(NETWORK,udp))[DOMAIN|a.com][NETWORK|udp|4]", "P" },
    { "AND,(DOMAIN,a.com),(NETWORK,udp),P", "AND|(DOMAIN,a.com),(NETWORK,udp)[DOMAIN|a.com][NETWORK|udp|4]", "P" },
    { "OR, ( (DOMAIN , a) , (IP-CIDR, 1.0.0.0/8 , no-resolve) ) , P",
      "OR|( (DOMAIN,a),(IP-CIDR,1.0.0.0/8,no-resolve) )[DOMAIN|a][IP-CIDR|1.0.0.0/8|no-resolve|1.0.0.0/8]", "P" },
    { "NOT,((DOMAIN,a)),P", "NOT|((DOMAIN,a))[DOMAIN|a]", "P" },
    { "NOT,(DOMAIN,a),P", "NOT|(DOMAIN,a)[DOMAIN|a]", "P" },
    { "AND,((OR,((DOMAIN,a),(NOT,((DOMAIN,b))))),(DST-PORT,1/2)),P",
      "AND|((OR,((DOMAIN,a),(NOT,((DOMAIN,b))))),(DST-PORT,1/2))[OR|((DOMAIN,a),(NOT,((DOMAIN,b))))[DOMAIN|a][NOT|((DOMAIN,b))[DOMAIN|b]]]"
      "[DST-PORT|1/2|1-1 2-2]",
      "P" },
    { "AND,((DOMAIN-REGEX,^(a|b)c{1,2}$),(NETWORK,tcp)),P",
      "AND|((DOMAIN-REGEX,^(a|b)c{1,2}$),(NETWORK,tcp))[DOMAIN-REGEX|^(a|b)c{1,2}$][NETWORK|tcp|2]", "P" },
    { "AND,((DOMAIN,a)),P", "AND|((DOMAIN,a))[DOMAIN|a]", "P" },
    { "SUB-RULE,(NETWORK,tcp),list", "SUB-RULE|(NETWORK,tcp)[NETWORK|tcp|2]", "list" },
    { "SUB-RULE,(AND,((DOMAIN,a),(NETWORK,tcp))),list",
      "SUB-RULE|(AND,((DOMAIN,a),(NETWORK,tcp)))[AND|((DOMAIN,a),(NETWORK,tcp))[DOMAIN|a][NETWORK|tcp|2]]", "list" },
    { "MATCH,P", "MATCH|", "P" },
    { "match, P ,more", "MATCH|", "P" },
};

static void what_lines_say(void **state)
{
    for (size_t i = 0; i < N(lines); i++) {
        struct arena mem = { 0 };
        const char *target = NULL;
        char text[2048];
        struct fault f;
        struct term t;

        if (!line_parse(&mem, lines[i].line, strlen(lines[i].line), LINE_TARGET, &t, &target, &f))
            fail_msg("%s: %s", lines[i].line, f.text);
        show(&t, text, sizeof(text));
        assert_string_equal(text, lines[i].term);
        assert_string_equal(target, lines[i].target);
        assert_int_equal(*f.hint != 0, !strcmp(lines[i].line, "DOMAIN-SUFFIX,.x.com,P"));
        arena_fini(&mem);
    }
}

static void lines_without_target(void **state)
{
    static const struct good cases[] = {
        { "DOMAIN-SUFFIX,a.b", "DOMAIN-SUFFIX|a.b", NULL },
        { "IP-CIDR,1.0.0.0/8,no-resolve", "IP-CIDR|1.0.0.0/8|no-resolve|1.0.0.0/8", NULL },
        { "IP-CIDR,1.0.0.0/8,src", "IP-CIDR|1.0.0.0/8|src|no-resolve|1.0.0.0/8", NULL },
        { "DOMAIN-REGEX,a{1,2}", "DOMAIN-REGEX|a{1,2}", NULL },
        { "AND,((DOMAIN,a),(DOMAIN,b))", "AND|((DOMAIN,a),(DOMAIN,b))[DOMAIN|a][DOMAIN|b]", NULL },
        { "AND,(DOMAIN,a),(DOMAIN,b)", "AND|(DOMAIN,a),(DOMAIN,b)[DOMAIN|a][DOMAIN|b]", NULL },
        { "PROCESS-NAME,a", "PROCESS-NAME|a", NULL },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct arena mem = { 0 };
        char text[2048];
        struct fault f;
        struct term t;

        if (!line_parse(&mem, cases[i].line, strlen(cases[i].line), LINE_IN_SET, &t, NULL, &f))
            fail_msg("%s: %s", cases[i].line, f.text);
        show(&t, text, sizeof(text));
        assert_string_equal(text, cases[i].term);
        arena_fini(&mem);
    }
}

static void what_says_nothing(void **state)
{
    static const struct {
        const char *line, *code, *text;
        unsigned how;
    } cases[] = {
        { "", "unknown-type", "no rule type", LINE_TARGET },
        { "DOMAIN", "bad-rule", "TYPE,PAYLOAD,TARGET", LINE_TARGET },
        { "DOMAIN,a", "bad-rule", "TYPE,PAYLOAD,TARGET", LINE_TARGET },
        { "DOMAIN,a,", "bad-rule", "TYPE,PAYLOAD,TARGET", LINE_TARGET },
        { "DOMAIN,,P", "bad-rule", "a host name", LINE_TARGET },
        { "DOMAIN,a..b,P", "bad-rule", "a host name", LINE_TARGET },
        { "DOMAIN,a b,P", "bad-rule", "a host name", LINE_TARGET },
        { "DOMAIN-SUFFIX,.,P", "bad-rule", "a host name", LINE_TARGET },
        { "DOMAIN-KEYWORD,,P", "bad-rule", "a piece", LINE_TARGET },
        { "DOMAIN-REGEX,P", "bad-rule", "TYPE,PAYLOAD,TARGET", LINE_TARGET },
        { "DOMAIN-REGEX,,P", "bad-rule", "regular expression", LINE_TARGET },
        { "GEOSITE,!,P", "bad-rule", "a category", LINE_TARGET },
        { "IP-CIDR,10.0.0.1,P", "bad-rule", "ADDRESS/LENGTH", LINE_TARGET },
        { "IP-CIDR,10.0.0.1/33,P", "bad-rule", "ADDRESS/LENGTH", LINE_TARGET },
        { "IP-CIDR,10.0.0/8,P", "bad-rule", "ADDRESS/LENGTH", LINE_TARGET },
        { "IP-CIDR6,::1/129,P", "bad-rule", "ADDRESS/LENGTH", LINE_TARGET },
        { "IP-CIDR,x/8,P", "bad-rule", "ADDRESS/LENGTH", LINE_TARGET },
        { "IP-SUFFIX,1.2.3.4,P", "bad-rule", "ADDRESS/BITS", LINE_TARGET },
        { "IP-SUFFIX,1.2.3.4/33,P", "bad-rule", "ADDRESS/BITS", LINE_TARGET },
        { "IP-ASN,CN,P", "bad-rule", "a number", LINE_TARGET },
        { "IP-ASN,4294967296,P", "bad-rule", "a number", LINE_TARGET },
        { "DST-PORT,65616,P", "bad-rule", "ports", LINE_TARGET }, /* elsewhere taken for 80 */
        { "DST-PORT,-1,P", "bad-rule", "ports", LINE_TARGET },
        { "DST-PORT,80-,P", "bad-rule", "ports", LINE_TARGET },
        { "DST-PORT,a,P", "bad-rule", "ports", LINE_TARGET },
        { "DST-PORT,*,P", "bad-rule", "ports", LINE_TARGET },
        { "DST-PORT,/,P", "bad-rule", "ports", LINE_TARGET },
        { "DST-PORT,1-2-3,P", "bad-rule", "ports", LINE_TARGET },
        { "DST-PORT,1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29,P", "bad-rule", "28", LINE_TARGET },
        { "UID,x,P", "bad-rule", "user ids", LINE_TARGET },
        { "UID,4294967296,P", "bad-rule", "user ids", LINE_TARGET },
        { "DSCP,64,P", "bad-rule", "0 to 63", LINE_TARGET },
        { "NETWORK,icmp,P", "bad-rule", "tcp or udp", LINE_TARGET },
        { "IN-TYPE,TUN/CABLE,P", "bad-rule", "in-bound", LINE_TARGET },
        { "IN-NAME,/,P", "bad-rule", "names of in-bounds", LINE_TARGET },
        { "PROCESS-NAME,,P", "bad-rule", "a program", LINE_TARGET },
        { "FINAL,P", "unknown-type", "MATCH is meant", LINE_TARGET },
        { "USER-AGENT,curl*,P", "unknown-type", "HTTP requests", LINE_TARGET },
        { "DOMAIN-SUFIX,a,P", "unknown-type", "DOMAIN-SUFFIX", LINE_TARGET },
        { "AND,P", "bad-rule", "TYPE,PAYLOAD,TARGET", LINE_TARGET },
        { "AND,DOMAIN,P", "bad-rule", "((TYPE,PAYLOAD)", LINE_TARGET },
        { "AND,)(DOMAIN,a)(,P", "bad-rule", "brackets", LINE_TARGET },
        { "AND,(),P", "unknown-type", "no rule type", LINE_TARGET },
        { "AND,((DOMAIN,a),(DOMAIN,b),P", "bad-rule", "brackets", LINE_TARGET },
        { "AND,((DOMAIN,a)x(DOMAIN,b)),P", "bad-rule", "something else", LINE_TARGET },
        { "AND,((DOMAIN-REGEX,a\\)),(DOMAIN,b)),P", "bad-rule", "brackets", LINE_TARGET },
        { "NOT,((DOMAIN,a),(DOMAIN,b)),P", "bad-rule", "one rule", LINE_TARGET },
        { "AND,((MATCH,x),(DOMAIN,b)),P", "bad-rule", "inside another rule", LINE_TARGET },
        { "AND,((SUB-RULE,(DOMAIN,a),x),(DOMAIN,b)),P", "bad-rule", "inside another rule", LINE_TARGET },
        { "AND,((IP-CIDR,1.0.0.0),(DOMAIN,b)),P", "bad-rule", "IP-CIDR", LINE_TARGET },
        { "AND,((NOT,((NOPE,1))),(DOMAIN,b)),P", "unknown-type", "NOPE", LINE_TARGET },
        { "SUB-RULE,NETWORK,list", "bad-rule", "(TYPE,PAYLOAD)", LINE_TARGET },
        { "SUB-RULE,((DOMAIN,a)),list", "unknown-type", "(DOMAIN", LINE_TARGET },
        { "MATCH", "bad-rule", "MATCH,TARGET", LINE_TARGET },
        { "MATCH,", "bad-rule", "MATCH,TARGET", LINE_TARGET },
        { "MATCH,P", "bad-rule", "rule provider", LINE_IN_SET },
        { "RULE-SET,x", "bad-rule", "rule provider", LINE_IN_SET },
        { "AND,((RULE-SET,x),(DOMAIN,a))", "bad-rule", "rule provider", LINE_IN_SET },
        { "SUB-RULE,(DOMAIN,a)", "bad-rule", "rule provider", LINE_IN_SET },
        { "URL-REGEX,^http", "unknown-type", "HTTP requests", LINE_IN_SET },
        { "DOMAIN", "bad-rule", "a host name", LINE_IN_SET },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct arena mem = { 0 };
        const char *target;
        struct fault f;
        struct term t;

        if (line_parse(&mem, cases[i].line, strlen(cases[i].line), cases[i].how, &t, &target, &f))
            fail_msg("\"%s\" was taken", cases[i].line);
        assert_non_null(f.code);
        if (strcmp(f.code, cases[i].code) != 0 || !strstr(f.text, cases[i].text))
            fail_msg("\"%s\": %s: %s", cases[i].line, f.code, f.text);
        arena_fini(&mem);
    }
}

static void nesting_has_an_end(void **state)
{
    static const unsigned depths[] = { 60, 64, 65, 2000 };

    for (size_t i = 0; i < N(depths); i++) {
        struct arena mem = { 0 };
        char *line = malloc(depths[i] * 8 + 64);
        const char *target;
        struct fault f;
        struct term t;
        bool ok;

        assert_non_null(line);
        *line = 0;
        for (unsigned k = 0; k < depths[i]; k++)
            strcat(line, "NOT,((");
        strcat(line, "DOMAIN,a");
        for (unsigned k = 0; k < depths[i]; k++)
            strcat(line, "))");
        strcat(line, ",P");
        ok = line_parse(&mem, line, strlen(line), LINE_TARGET, &t, &target, &f);
        assert_int_equal(ok, depths[i] <= 64);
        arena_fini(&mem);
        free(line);
    }
}

static void every_type_has_two_names(void **state)
{
    for (int i = 0; i < RULE_N_TYPES; i++) {
        assert_non_null(rule_type_name((enum rule_type)i));
        assert_non_null(rule_type_api_name((enum rule_type)i));
    }
    assert_string_equal(rule_type_api_name(RULE_SUB_RULE), "SubRules");
    assert_string_equal(rule_type_api_name(RULE_SRC_IP_ASN), "SrcIPASN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_lines_say),     cmocka_unit_test(lines_without_target),     cmocka_unit_test(what_says_nothing),
        cmocka_unit_test(nesting_has_an_end), cmocka_unit_test(every_type_has_two_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
