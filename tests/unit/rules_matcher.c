/*
 * rules_matcher.c - lists of patterns and prefixes: the most specific pattern, the first of all that match, what is refused
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/rules.h"
#include "tests/unit/rules_oracle.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define NONE MATCHER_NONE

static struct matcher *make(const struct rules_env *env, const char *const *elements, size_t n)
{
    struct matcher *m = matcher_new(env);

    assert_non_null(m);
    for (size_t i = 0; i < n; i++)
        if (matcher_add_name(m, elements[i], (uint32_t)i, NULL) != 0)
            fail_msg("%s is refused", elements[i]);
    assert_int_equal(matcher_finish(m), 0);
    return m;
}

static void the_most_specific_pattern_wins(void **state)
{
    static const char *const patterns[] = { "+.com",   "*.com",   "a.com", "+.a.com", "*.a.com", ".a.com",
                                            "x.*.com", "*.*.com", "*",     "+.*",     "b.a.com", "c-*.com" };
    static const struct {
        const char *host;
        uint32_t best;
    } cases[] = {
        { "com", 0 },        /* itself and below: before `*` */
        { "a.com", 2 },      /* literal */
        { "b.com", 1 },      /* one label */
        { "b.a.com", 10 },   /* all literal */
        { "c.a.com", 4 },    /* *.a.com before +.a.com and .a.com */
        { "d.c.a.com", 3 },  /* any depth below a.com: the first of two */
        { "x.q.com", 6 },    /* x, * */
        { "y.q.com", 7 },    /* *, * */
        { "z.y.q.com", 0 },  /* any depth */
        { "nas", 8 },        /* a single label */
        { "q.org", 9 },      /* +.* */
        { "C-1.com", NONE }, /* names come in lower case; nobody folds here */
    };
    struct matcher *m = make(NULL, patterns, N(patterns));

    for (size_t i = 0; i + 1 < N(cases); i++)
        if (matcher_best(m, cases[i].host) != cases[i].best)
            fail_msg("%s: %u", cases[i].host, matcher_best(m, cases[i].host));
    assert_int_equal(matcher_best(m, ""), NONE);
    matcher_free(m);
}

static void the_search_goes_back(void **state)
{
    static const char *const patterns[] = { "x.b.a.com", "+.a.com", "y.*.a.com", "a-*.org", "*.org" };
    struct matcher *m = make(NULL, patterns, N(patterns));

    assert_int_equal(matcher_best(m, "x.b.a.com"), 0);
    assert_int_equal(matcher_best(m, "y.b.a.com"), 2); /* b leads nowhere, * does */
    assert_int_equal(matcher_best(m, "z.b.a.com"), 1);
    assert_int_equal(matcher_best(m, "a-1.org"), 4); /* a star inside a label comes last */
    assert_int_equal(matcher_best(m, "b.com"), NONE);
    matcher_free(m);
}

static void the_first_of_all(void **state)
{
    static const char *const patterns[] = { "zzz", "a-*.com", "+.B.com", "x.b.com", "*.b.com" };
    struct matcher *m = make(NULL, patterns, N(patterns));

    assert_int_equal(matcher_first(m, "x.b.com"), 2);
    assert_int_equal(matcher_first(m, "a-9.com"), 1);
    assert_int_equal(matcher_first(m, "zzz"), 0);
    assert_int_equal(matcher_first(m, "y.zzz"), NONE);
    assert_int_equal(matcher_first(m, ""), NONE);
    matcher_free(m);
}

static void nothing_in_it(void **state)
{
    struct matcher *m = make(NULL, NULL, 0);
    struct addr a;

    assert_int_equal(addr_parse("1.2.3.4", &a), 0);
    assert_int_equal(matcher_first(m, "a.com"), NONE);
    assert_int_equal(matcher_best(m, "a.com"), NONE);
    assert_int_equal(matcher_first_addr(m, &a), NONE);
    matcher_free(m);
    matcher_free(NULL);
}

/* ---- with categories and providers ---- */

static const uint8_t geosite[] = "\x0a\x2d\x0a\x02"
                                 "AA" /* entry, code */
                                 "\x12\x0a\x08\x02\x12\x06"
                                 "aa.com" /* suffix */
                                 "\x12\x08\x08\x03\x12\x04"
                                 "full" /* full */
                                 "\x12\x07\x08\x00\x12\x03"
                                 "key" /* keyword */
                                 "\x12\x08\x08\x01\x12\x04"
                                 "^re."; /* regex */
static const uint8_t geoip[] = "\x0a\x0e\x0a\x02"
                               "CC"
                               "\x12\x08\x0a\x04\x0b\x00\x00\x00\x10\x08"; /* 11.0.0.0/8 */

static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    static const char *domains[] = { "+.d.com", "DOMAIN-KEYWORD,dkey" }, *nets[] = { "10.0.0.0/8" };
    static const char *rules[] = { "DOMAIN,c.com",   "IP-CIDR,20.0.0.0/8",    "IP-CIDR,30.0.0.0/8,src",
                                   "PROCESS-NAME,x", "DOMAIN-REGEX,^c[0-9]$", "DOMAIN-WILDCARD,w*" };
    static const struct cfg_provider all[] = {
        { .name = "d", .from = CFG_FROM_INLINE, .behavior = CFG_BEHAVIOR_DOMAIN, .rules = { 2, domains, NULL } },
        { .name = "n", .from = CFG_FROM_INLINE, .behavior = CFG_BEHAVIOR_IPCIDR, .rules = { 1, nets, NULL } },
        { .name = "c", .from = CFG_FROM_INLINE, .behavior = CFG_BEHAVIOR_CLASSICAL, .rules = { 6, rules, NULL } },
        { .name = "gone", .from = CFG_FROM_HTTP, .behavior = CFG_BEHAVIOR_DOMAIN },
        { .name = "file", .from = CFG_FROM_FILE, .behavior = CFG_BEHAVIOR_DOMAIN, .format = CFG_FORMAT_TEXT },
    };

    for (size_t i = 0; i < N(all); i++)
        if (!strcmp(all[i].name, name)) {
            *out = (struct rules_provider){ .cfg = &all[i] };
            if (!strcmp(name, "file"))
                *out = (struct rules_provider){ &all[i], "+.f.com\n", 8 };
            return true;
        }
    return false;
}

static const struct rules_env env = {
    .provider = find_provider, .geosite = { geosite, sizeof(geosite) - 1 }, .geoip = { geoip, sizeof(geoip) - 1 }, .geoip_is_dat = true
};

static void names_of_categories_and_providers(void **state)
{
    static const char *const elements[] = { "geosite:aa", "Rule-Set: d , file", "rule-set:c" };
    static const struct {
        const char *host;
        uint32_t first;
    } cases[] = {
        { "x.aa.com", 0 }, { "full", 0 },  { "x.full", NONE }, { "akeyb", 0 },  { "red", 0 },    { "y.d.com", 1 },    { "adkeyb", 0 },
        { "y.f.com", 1 },  { "c.com", 2 }, { "c7", 2 },        { "c77", NONE }, { "wide.x", 2 }, { "x.c.com", NONE },
    };
    struct matcher *m = make(&env, elements, N(elements));

    for (size_t i = 0; i < N(cases); i++)
        if (matcher_first(m, cases[i].host) != cases[i].first)
            fail_msg("%s: %u", cases[i].host, matcher_first(m, cases[i].host));
    matcher_free(m);
}

static void addresses(void **state)
{
    static const char *const elements[] = { "192.168.0.0/16", "geoip:cc,LAN", "rule-set:n,c", "fd00::1" };
    static const struct {
        const char *addr;
        uint32_t first;
    } cases[] = {
        { "192.168.7.7", 0 }, { "11.1.1.1", 1 },    { "127.0.0.1", 1 }, { "10.1.1.1", 1 },
        { "20.1.1.1", 2 },    { "30.1.1.1", NONE }, { "fd00::1", 1 },   { "8.8.8.8", NONE },
    };
    struct matcher *m = matcher_new(&env);

    for (size_t i = 0; i < N(elements); i++)
        assert_int_equal(matcher_add_addr(m, elements[i], (uint32_t)i, NULL), 0);
    assert_int_equal(matcher_finish(m), 0);
    for (size_t i = 0; i < N(cases); i++) {
        struct addr a;

        assert_int_equal(addr_parse(cases[i].addr, &a), 0);
        if (matcher_first_addr(m, &a) != cases[i].first)
            fail_msg("%s: %u", cases[i].addr, matcher_first_addr(m, &a));
    }
    matcher_free(m);
}

static void what_is_refused_and_why(void **state)
{
    static const struct {
        bool name;
        const char *element;
        int err;
        const char *what;
    } cases[] = {
        { true, "a..b", -EINVAL, "a..b" },
        { true, "", -EINVAL, "" },
        { true, "geosite:zz", -ENOENT, "zz" },
        { true, "geosite:aa, zz,yy", -ENOENT, "zz" },
        { true, "rule-set:n", -EBADMSG, "n" },
        { true, "rule-set:none", -ENOENT, "none" },
        { true, "rule-set:gone", -ENODATA, "gone" },
        { false, "a.com", -EINVAL, "a.com" },
        { false, "1.2.3.4/33", -EINVAL, "1.2.3.4/33" },
        { false, "geoip:zz", -ENOENT, "zz" },
        { false, "rule-set:d", -EBADMSG, "d" },
    };
    struct matcher *m = matcher_new(&env);
    char what[64];

    for (size_t i = 0; i < N(cases); i++) {
        int r = cases[i].name ? matcher_add_name(m, cases[i].element, 1, what) : matcher_add_addr(m, cases[i].element, 1, what);

        if (r != cases[i].err || strcmp(what, cases[i].what) != 0)
            fail_msg("%s: %d %s", cases[i].element, r, what);
    }
    assert_int_equal(matcher_finish(m), 0);
    assert_int_equal(matcher_first(m, "x.aa.com"), 1); /* what was good of a bad element counts */
    matcher_free(m);
    m = matcher_new(NULL);
    assert_int_equal(matcher_add_name(m, "geosite:aa", 1, NULL), -ENODATA);
    assert_int_equal(matcher_add_name(m, "rule-set:d", 1, NULL), -ENOENT);
    assert_int_equal(matcher_add_addr(m, "geoip:lan", 1, NULL), 0);
    matcher_free(m);
}

/* ---- the twin ---- */

static uint64_t seed = 1;

static uint32_t pick(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

static void random_name(char *out, bool pattern)
{
    static const char *const labels[] = { "a", "b", "com", "ab" };

    *out = 0;
    if (pattern && pick(3) == 0)
        strcat(out, pick(2) ? "+." : ".");
    for (uint32_t n = 1 + pick(4); n; n--) {
        strcat(out, pattern && pick(4) == 0 ? "*" : labels[pick(4)]);
        if (n > 1)
            strcat(out, ".");
    }
}

/* How specific a pattern is, label by label from the right: literal 3, `*` 2, any depth 1. */
static uint64_t rank(const char *pattern, const char *host)
{
    const char *p = pattern + strlen(pattern), *h = host + strlen(host);
    uint64_t rank = 0;
    int digits = 0;

    while (h > host) {
        const char *pe = p, *he = h;

        while (h > host && h[-1] != '.')
            h--;
        while (p > pattern && p[-1] != '.')
            p--;
        (void)he;
        if (p == pe || (p == pattern && *p == '+' && pe == p + 1))
            return (rank << 2 | 1) << 2 * (10 - ++digits); /* the mark stands for the rest */
        rank = rank << 2 | (pe - p == 1 && *p == '*' ? 2 : 3);
        digits++;
        p = p > pattern ? p - 1 : pattern;
        h = h > host ? h - 1 : host;
    }
    return rank << 2 * (10 - digits);
}

static void the_best_is_what_a_linear_search_says(void **state)
{
    for (int round = 0; round < 3000; round++) {
        char pattern[12][40], host[40];
        struct matcher *m = matcher_new(NULL);
        uint32_t n = 1 + pick(12);

        for (uint32_t i = 0; i < n; i++) {
            random_name(pattern[i], true);
            assert_int_equal(matcher_add_name(m, pattern[i], i, NULL), 0);
        }
        assert_int_equal(matcher_finish(m), 0);
        for (int k = 0; k < 20; k++) {
            uint32_t best = NONE, first = NONE;
            uint64_t most = 0;

            random_name(host, false);
            for (uint32_t i = 0; i < n; i++) {
                if (!o_pattern(pattern[i], host))
                    continue;
                first = first == NONE ? i : first;
                if (rank(pattern[i], host) > most) {
                    most = rank(pattern[i], host);
                    best = i;
                }
            }
            assert_int_equal(matcher_first(m, host), first);
            if (matcher_best(m, host) != best)
                fail_msg("%s: %s and not %s", host, matcher_best(m, host) == NONE ? "none" : pattern[matcher_best(m, host)],
                         best == NONE ? "none" : pattern[best]);
        }
        matcher_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_pattern_wins),
        cmocka_unit_test(the_search_goes_back),
        cmocka_unit_test(the_first_of_all),
        cmocka_unit_test(nothing_in_it),
        cmocka_unit_test(names_of_categories_and_providers),
        cmocka_unit_test(addresses),
        cmocka_unit_test(what_is_refused_and_why),
        cmocka_unit_test(the_best_is_what_a_linear_search_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
