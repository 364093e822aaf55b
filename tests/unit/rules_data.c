/*
 * rules_data.c - real rule sets: the same set as yaml, text and mrs gives the same answers; the big ones in figures; real regular
 * expressions
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
#include "rules/geo.h"
#include "rules/private.h"
#include "tests/unit/data.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static int32_t find_target(void *arg, const char *name)
{
    return 1;
}

/* NAME is a file below rulesets/; what its name ends in says the format, what it begins with the behaviour. */
static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    static struct cfg_provider cfg[8];
    static char *bytes[8];
    static unsigned next;
    char path[200];
    size_t len;

    next = (next + 1) % 8;
    snprintf(path, sizeof(path), "rulesets/%s", name);
    free(bytes[next]);
    bytes[next] = data_read(path, &len);
    cfg[next] = (struct cfg_provider){ .name = name, .from = CFG_FROM_FILE };
    cfg[next].behavior = strstr(name, "geoip") || strstr(name, "cidr") ? CFG_BEHAVIOR_IPCIDR : CFG_BEHAVIOR_DOMAIN;
    cfg[next].format = strstr(name, ".mrs") ? CFG_FORMAT_MRS : strstr(name, ".list") ? CFG_FORMAT_TEXT : CFG_FORMAT_YAML;
    *out = (struct rules_provider){ &cfg[next], bytes[next], len };
    return true;
}

static struct ruleset *build(const char *const *lines, uint32_t n)
{
    struct cfg_rule rules[8];
    struct rules_src src = { .n_rules = n, .rules = rules };
    struct rules_env env = { .target = find_target, .provider = find_provider };
    struct ruleset *rs;
    struct diag d;

    for (uint32_t i = 0; i < n; i++)
        rules[i] = (struct cfg_rule){ .text = lines[i], .index = i };
    diag_init(&d, "test", NULL, 0, false);
    rs = rules_build(&src, &env, &d);
    if (d.n)
        diag_print(&d, stderr, false);
    assert_non_null(rs);
    assert_int_equal(d.n, 0);
    diag_fini(&d);
    return rs;
}

/* One bit for every rule that is true. */
static unsigned all_of(struct ruleset *rs, const char *host, const struct addr *a)
{
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = host };
    struct rule_pos pos = { 0 };
    struct rule_hit hit;
    unsigned bits = 0;

    if (a)
        m.dst.at.ip = *a;
    while (rules_match(rs, &pos, &m, &hit) == MATCH_HIT)
        bits |= 1u << hit.rule->index;
    return bits;
}

struct asking {
    struct ruleset *rs;
    unsigned want, n, wrong;
};

static void ask_name(struct asking *x, const char *prefix, const char *s, size_t len)
{
    char host[300];
    unsigned bits;

    snprintf(host, sizeof(host), "%s%.*s", prefix, (int)len, s);
    bits = all_of(x->rs, host, NULL);
    x->n++;
    x->wrong += bits != x->want && bits != 0;
}

/* The name itself must be in all; one label more and a little less must be in all or in none. */
static int on_pattern(void *arg, const char *s, size_t len)
{
    struct asking *x = arg;
    char host[300];

    if (memchr(s, '*', len) || *s == '.')
        return 0;
    if (len > 2 && *s == '+')
        s += 2, len -= 2;
    snprintf(host, sizeof(host), "%.*s", (int)len, s);
    if (all_of(x->rs, host, NULL) != x->want)
        x->wrong++;
    ask_name(x, "www.", s, len);
    ask_name(x, "x", s, len);
    ask_name(x, "", s + 1, len - 1);
    return 0;
}

static int on_prefix(void *arg, const struct cidr *c)
{
    struct asking *x = arg;
    struct addr a = c->ip;
    unsigned bits;

    x->n++;
    x->wrong += all_of(x->rs, NULL, &a) != x->want;
    for (size_t bit = c->len; bit < addr_len(&a) * 8; bit++) /* the last address, then the one behind it */
        a.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    x->wrong += all_of(x->rs, NULL, &a) != x->want;
    for (size_t i = addr_len(&a); i-- > 0 && !++a.b[i];)
        ;
    bits = all_of(x->rs, NULL, &a);
    x->wrong += bits != x->want && bits != 0;
    return 0;
}

static void the_same_set_in_three_formats(void **state)
{
    static const char *const sets[] = { "geoip-cn",
                                        "geoip-google",
                                        "geoip-netflix",
                                        "geoip-private",
                                        "geoip-telegram",
                                        "geosite-apple",
                                        "geosite-category-ads-all-at-cn",
                                        "geosite-category-ads-all",
                                        "geosite-category-scholar-not-cn",
                                        "geosite-cn",
                                        "geosite-geolocation-not-cn",
                                        "geosite-gfw",
                                        "geosite-google-at-cn",
                                        "geosite-google",
                                        "geosite-netflix",
                                        "geosite-openai" };
    static const char *const ends[] = { "list", "yaml", "mrs" };
    static const struct set_visitor ask = { .domain = on_pattern, .prefix = on_prefix };
    unsigned asked = 0;

    for (size_t i = 0; i < N(sets); i++) {
        char lines[3][120], path[120];
        struct asking x = { .want = 7 };
        struct set_visitor v = ask;
        struct set_stats st;
        size_t len;
        char *bytes;

        for (int k = 0; k < 3; k++)
            snprintf(lines[k], sizeof(lines[k]), "RULE-SET,metacubex/%s.%s,T,no-resolve", sets[i], ends[k]);
        x.rs = build((const char *const[]){ lines[0], lines[1], lines[2] }, 3);
        snprintf(path, sizeof(path), "rulesets/metacubex/%s.list", sets[i]);
        assert_non_null(bytes = data_read(path, &len));
        v.arg = &x;
        assert_int_equal(set_read(bytes, len, strstr(sets[i], "geoip") ? SET_IPCIDR : SET_DOMAIN, SET_TEXT, &v, &st), 0);
        if (x.wrong)
            fail_msg("%s: %u of %u questions were answered differently", sets[i], x.wrong, x.n);
        asked += x.n;
        rules_free(x.rs);
        free(bytes);
    }
    print_message("%u questions, three formats\n", asked);
}

static void spot_look_ups(void **state)
{
    static const char *const lines[] = { "RULE-SET,loyalsoldier/direct.txt,T", "RULE-SET,loyalsoldier/proxy.txt,T",
                                         "RULE-SET,loyalsoldier/google.txt,T", "RULE-SET,loyalsoldier/cncidr.txt,T,no-resolve",
                                         "RULE-SET,loyalsoldier/lancidr.txt,T,no-resolve" };
    static const struct {
        const char *host, *addr;
        unsigned bits;
    } cases[] = {
        { "www.baidu.com", NULL, 1 },   { "baidu.com", NULL, 1 },         { "xbaidu.com.example", NULL, 0 },
        { "www.youtube.com", NULL, 2 }, { NULL, "114.114.114.114", 8 },   { NULL, "192.168.1.1", 16 },
        { NULL, "8.8.8.8", 0 },         { "localhost.nowhere", NULL, 0 },
    };
    struct ruleset *rs = build(lines, N(lines));
    struct rules_stats st;

    for (size_t i = 0; i < N(cases); i++) {
        struct addr a;

        assert_true(!cases[i].addr || addr_parse(cases[i].addr, &a) == 0);
        if (all_of(rs, cases[i].host, cases[i].addr ? &a : NULL) != cases[i].bits)
            fail_msg("%s: %x", cases[i].host ? cases[i].host : cases[i].addr, all_of(rs, cases[i].host, cases[i].addr ? &a : NULL));
    }
    rules_stats(rs, &st);
    assert_int_equal(st.prefixes4 + st.prefixes6, 8649 + 18);
    assert_in_range(st.names, 117172 + 143, 160000); /* a place for every name, and those above them */
    assert_in_range(st.names_bytes / st.names, 9, 11);
    rules_free(rs);
}

/* ---- regular expressions ---- */

struct regexes {
    struct arena mem;
    const char *v[1000];
    size_t n;
};

static int on_regex(void *arg, const char *s, size_t len)
{
    struct regexes *r = arg;

    if (r->n < N(r->v))
        r->v[r->n++] = arena_strdup(&r->mem, s, len);
    return 0;
}

/* A name that a pattern of the public lists matches, made from the pattern: the first of every choice. */
static void example_of(const char *p, char *out)
{
    size_t n = 0;

    for (; *p && n < 200; p++) {
        const char *close;

        if (*p == '^' || *p == '$' || *p == ')' || *p == '?') {
            continue;
        } else if (*p == '(' && p[1] == '^') {
            p = strchr(p, ')');
        } else if (*p == '(') {
            continue;
        } else if (*p == '|') {
            p = strchr(p, ')') - 1;
        } else if (*p == '[' && (close = strchr(p, ']'))) {
            out[n++] = p[1];
            p = close;
        } else if (*p == '\\' && (p[1] == 'w' || p[1] == 'd')) {
            out[n++] = '7';
            p++;
        } else if (*p == '\\') {
            out[n++] = *++p;
        } else if (*p == '{') {
            for (long times = strtol(p + 1, NULL, 10); times > 1; times--, n++)
                out[n] = out[n - 1];
            p = strchr(p, '}');
        } else if (*p != '+' && *p != '*') {
            out[n++] = *p == '.' ? 'q' : *p;
        }
    }
    out[n] = 0;
}

/* What a match cannot do without must be in every name that matches. */
static void real_regexes_and_their_texts(void **state)
{
    static const char *const categories[] = { "category-porn", "category-ads-all", "cn", "geolocation-!cn", "google", "category-games" };
    struct regexes r = { .n = 0 };
    struct set_visitor v = { .arg = &r, .regex = on_regex };
    struct regex_room *room = regex_room_new();
    size_t len, matched = 0, with_text = 0;
    char *dat = data_read("rulesets/v2fly/dlc.dat", &len);

    assert_non_null(dat);
    for (size_t i = 0; i < N(categories); i++)
        geosite_read(dat, len, categories[i], &v, NULL);
    assert_true(r.n > 100);
    for (size_t i = 0; i < r.n; i++) {
        char text[256], host[256], why[128];
        struct regex *re = regex_new(r.v[i], strlen(r.v[i]), why);
        size_t n = regex_literal(r.v[i], strlen(r.v[i]), text, sizeof(text));

        assert_non_null(re);
        with_text += n > 0;
        example_of(r.v[i], host);
        if (regex_matches(re, room, host, strlen(host))) {
            matched++;
            if (n && !memmem(host, strlen(host), text, n))
                fail_msg("%s matches %s without \"%.*s\"", r.v[i], host, (int)n, text);
        }
        regex_free(re);
    }
    print_message("%zu regular expressions, %zu have a text, %zu were matched\n", r.n, with_text, matched);
    assert_true(matched * 10 > r.n * 9); /* or the examples prove nothing */
    assert_true(with_text * 10 > r.n * 9);
    regex_room_free(room);
    arena_fini(&r.mem);
    free(dat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_set_in_three_formats),
        cmocka_unit_test(spot_look_ups),
        cmocka_unit_test(real_regexes_and_their_texts),
    };
    size_t len;
    char *there = data_read("rulesets/MANIFEST.tsv", &len);

    if (!there)
        return 77;
    free(there);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
