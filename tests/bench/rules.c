/*
 * rules.c - what a decision of the rule engine costs, beside a linear evaluator in the same run
 *
 *   build/release/tests/bench_rules          data: ../shared/data/rulesets, or $SHUNT_DATA/rulesets
 *
 *   names       every domain set at hand, a RULE-SET rule each, and all prefixes behind them: a flow with a name
 *   addresses   the same rules: a flow by address
 *   texts       100 keywords and all regular expressions of dlc.dat added in front: what that costs more
 *   inline      10,000 rules of a profile's mix, the match in front, in the middle, at the end, or nowhere
 *
 * hot: 1,000 questions again and again. cold: every question once, in random order. The linear evaluator has its patterns parsed and
 * compares them one by one; it is asked less often. Times are CPU time, the best of several rounds (the machine may be busy), for one call
 * of rules_match() from a fresh position.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/arena.h"
#include "rules/geo.h"
#include "rules/rules.h"
#include "tests/unit/data.h"

#define ROUNDS 15
#define HOT    1000
#define COLD   200000
#define LINEAR 200
#define INLINE 10000

static struct arena mem;
static uint64_t seed = 0x2545f4914f6cdd1d;

static uint32_t pick(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* what others do meanwhile does not count */
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- the linear evaluator ---- */

enum kind { NAME_SUFFIX, NAME_EXACT, NAME_BELOW, NAME_ONE, NAME_PIECE, NET };

struct linear {
    struct {
        uint8_t kind;
        uint8_t len;
        struct cidr net;
        const char *text;
        uint32_t rule;
    } * v;
    uint32_t n, cap;
};

static void linear_add(struct linear *l, enum kind kind, const char *text, size_t len, const struct cidr *net, uint32_t rule)
{
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 1024;
        l->v = realloc(l->v, l->cap * sizeof(*l->v));
        if (!l->v)
            abort();
    }
    l->v[l->n].kind = (uint8_t)kind;
    l->v[l->n].len = (uint8_t)len;
    l->v[l->n].text = text ? arena_strdup(&mem, text, len) : NULL;
    l->v[l->n].rule = rule;
    if (net)
        l->v[l->n].net = *net;
    l->n++;
}

static void linear_pattern(struct linear *l, const char *s, size_t len, uint32_t rule)
{
    if (len > 2 && s[0] == '+' && s[1] == '.')
        linear_add(l, NAME_SUFFIX, s + 2, len - 2, NULL, rule);
    else if (*s == '.')
        linear_add(l, NAME_BELOW, s + 1, len - 1, NULL, rule);
    else if (len > 2 && s[0] == '*' && s[1] == '.')
        linear_add(l, NAME_ONE, s + 2, len - 2, NULL, rule);
    else
        linear_add(l, NAME_EXACT, s, len, NULL, rule);
}

static bool below(const char *host, size_t n, const char *text, size_t len)
{
    return n > len && host[n - len - 1] == '.' && !memcmp(host + n - len, text, len);
}

static uint32_t linear_match(const struct linear *l, const char *host, size_t n, const struct addr *a)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const char *text = l->v[i].text;
        size_t len = l->v[i].len;
        bool is = false;

        switch (l->v[i].kind) {
        case NAME_EXACT: is = host && n == len && !memcmp(host, text, len); break;
        case NAME_SUFFIX: is = host && (below(host, n, text, len) || (n == len && !memcmp(host, text, len))); break;
        case NAME_BELOW: is = host && below(host, n, text, len); break;
        case NAME_ONE: is = host && below(host, n, text, len) && !memchr(host, '.', n - len - 1); break;
        case NAME_PIECE: is = host && memmem(host, n, text, len); break;
        case NET: is = a && cidr_contains(&l->v[i].net, a); break;
        }
        if (is)
            return l->v[i].rule;
    }
    return UINT32_MAX;
}

/* ---- the rules ---- */

struct source {
    const char *file;
    enum cfg_behavior behavior;
    enum cfg_format format;
};

static const struct source names_at_hand[] = {
    { "metacubex/geosite-category-ads-all.list", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_TEXT },
    { "acl4ssr/mrs-BanEasyList_domain.mrs", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_MRS },
    { "loyalsoldier/apple.txt", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "loyalsoldier/icloud.txt", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "loyalsoldier/google.txt", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "metacubex/geosite-openai.mrs", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_MRS },
    { "metacubex/geosite-netflix.yaml", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "metacubex/geosite-google.list", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_TEXT },
    { "metacubex/geosite-apple.list", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_TEXT },
    { "loyalsoldier/gfw.txt", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "loyalsoldier/proxy.txt", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "metacubex/geosite-geolocation-not-cn.mrs", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_MRS },
    { "loyalsoldier/direct.txt", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_YAML },
    { "metacubex/geosite-cn.list", CFG_BEHAVIOR_DOMAIN, CFG_FORMAT_TEXT },
};

static const struct source nets_at_hand[] = {
    { "loyalsoldier/lancidr.txt", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_YAML },
    { "loyalsoldier/telegramcidr.txt", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_YAML },
    { "metacubex/geoip-netflix.list", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_TEXT },
    { "metacubex/geoip-google.list", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_TEXT },
    { "metacubex/geoip-telegram.mrs", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_MRS },
    { "loyalsoldier/cncidr.txt", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_YAML },
    { "metacubex/geoip-cn.list", CFG_BEHAVIOR_IPCIDR, CFG_FORMAT_TEXT },
    { "acl4ssr/ChinaIp.list", CFG_BEHAVIOR_CLASSICAL, CFG_FORMAT_TEXT },
    { "acl4ssr/Providers-ChinaIpV6.yaml", CFG_BEHAVIOR_CLASSICAL, CFG_FORMAT_YAML },
    { "acl4ssr/Ruleset-AmazonIp.list", CFG_BEHAVIOR_CLASSICAL, CFG_FORMAT_TEXT },
    { "acl4ssr/Providers-Ruleset-NetflixIP.yaml", CFG_BEHAVIOR_CLASSICAL, CFG_FORMAT_YAML },
};

/* All that geoip-lite.dat has. */
static const char *const codes_at_hand[] = { "apple",  "bilibili", "cloudflare", "cloudfront", "cn",       "facebook",
                                             "google", "jp",       "netflix",    "private",    "telegram", "twitter" };

#define N(a) (sizeof(a) / sizeof((a)[0]))

struct loaded {
    struct cfg_provider cfg;
    char *bytes;
    size_t len;
};

struct world {
    struct loaded set[N(names_at_hand) + N(nets_at_hand)];
    uint32_t n_sets;
    struct rules_file geoip;
    char **names; /* every pattern at hand, without wildcards */
    uint32_t n_names, cap_names;
    uint32_t n_entries; /* names as the sets have them */
    struct linear linear;
    struct addr *addrs4, *addrs6; /* addresses inside of what is at hand */
    uint32_t n4, cap4, n6, cap6;
    uint32_t rule; /* being read */
    bool keep_net;
};

static struct world world;

static void keep_name(const char *s, size_t len)
{
    if (world.n_names == world.cap_names) {
        world.cap_names = world.cap_names ? world.cap_names * 2 : 4096;
        world.names = realloc(world.names, world.cap_names * sizeof(*world.names));
        if (!world.names)
            abort();
    }
    world.names[world.n_names++] = arena_strdup(&mem, s, len);
}

static int on_domain(void *arg, const char *s, size_t len)
{
    size_t skip = len > 2 && (s[0] == '+' || s[0] == '*') && s[1] == '.' ? 2 : *s == '.';

    world.n_entries++;
    linear_pattern(&world.linear, s, len, world.rule);
    if (!memchr(s + skip, '*', len - skip))
        keep_name(s + skip, len - skip);
    return 0;
}

static void keep_addr(const struct cidr *c)
{
    struct addr **v = c->ip.ver == 4 ? &world.addrs4 : &world.addrs6, a = c->ip;
    uint32_t *n = c->ip.ver == 4 ? &world.n4 : &world.n6, *cap = c->ip.ver == 4 ? &world.cap4 : &world.cap6;

    if (*n == *cap) {
        *cap = *cap ? *cap * 2 : 4096;
        *v = realloc(*v, *cap * sizeof(**v));
        if (!*v)
            abort();
    }
    for (size_t bit = c->len; bit < addr_len(&a) * 8; bit++)
        if (pick(2))
            a.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    (*v)[(*n)++] = a;
}

static int on_prefix(void *arg, const struct cidr *c)
{
    linear_add(&world.linear, NET, NULL, 0, c, world.rule);
    keep_addr(c);
    return 0;
}

static int on_rule(void *arg, const char *s, size_t len, uint32_t line)
{
    char text[128];
    struct cidr c;
    char *net;

    snprintf(text, sizeof(text), "%.*s", (int)(len < 127 ? len : 127), s);
    if ((net = strchr(text, ',')) && (net[1 + strcspn(net + 1, ",")] = 0, cidr_parse(net + 1, &c) == 0))
        on_prefix(arg, &c);
    return 0;
}

static void load(const struct source *s)
{
    static const struct set_visitor v = { .domain = on_domain, .prefix = on_prefix, .rule = on_rule };
    struct loaded *l = &world.set[world.n_sets];
    struct set_stats st;
    char path[256];

    snprintf(path, sizeof(path), "rulesets/%s", s->file);
    if (!(l->bytes = data_read(path, &l->len))) {
        fprintf(stderr, "bench_rules: %s/%s is not there\n", data_dir(), path);
        exit(77);
    }
    l->cfg = (struct cfg_provider){ .name = s->file, .behavior = s->behavior, .format = s->format, .from = CFG_FROM_FILE };
    world.rule = world.n_sets++;
    set_read(l->bytes, l->len, (enum set_behavior)s->behavior, (enum set_format)s->format, &v, &st);
}

static void load_codes(void)
{
    static const struct set_visitor v = { .prefix = on_prefix };
    size_t len;

    if (!(world.geoip.bytes = data_read("rulesets/metacubex/geoip-lite.dat", &len)))
        exit(77);
    world.geoip.len = len;
    for (size_t i = 0; i < N(codes_at_hand); i++) {
        world.rule = world.n_sets + (uint32_t)i;
        geoip_dat_read(world.geoip.bytes, len, codes_at_hand[i], &v, NULL);
    }
}

static int32_t target(void *arg, const char *name)
{
    return 0;
}

static bool provider(void *arg, const char *name, struct rules_provider *out)
{
    for (uint32_t i = 0; i < world.n_sets; i++) {
        const struct loaded *l = &world.set[i];

        if (strcmp(l->cfg.name, name) != 0)
            continue;
        *out = (struct rules_provider){ .cfg = &l->cfg, .bytes = l->bytes, .len = l->len };
        return true;
    }
    return false;
}

struct lines {
    struct cfg_rule *v;
    uint32_t n, cap;
};

static void say(struct lines *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct lines *l, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->v = realloc(l->v, l->cap * sizeof(*l->v));
        if (!l->v)
            abort();
    }
    l->v[l->n] = (struct cfg_rule){ .text = arena_strdup(&mem, text, (size_t)n), .index = l->n, .line = l->n + 1 };
    l->n++;
}

static struct ruleset *build(const struct lines *l, double *ns)
{
    struct rules_src src = { .n_rules = l->n, .rules = l->v };
    struct rules_env env = { .target = target, .provider = provider, .geoip = world.geoip, .geoip_is_dat = true };
    double best = 1e12;
    struct ruleset *rs = NULL;
    struct diag d;

    for (int i = 0; i < 3; i++) {
        double start;

        rules_free(rs);
        start = now_ns();
        diag_init(&d, "bench", NULL, 0, false);
        rs = rules_build(&src, &env, &d);
        best = now_ns() - start < best ? now_ns() - start : best;
        if (!rs || rules_count(rs) != l->n) {
            diag_print(&d, stderr, false);
            exit(1);
        }
        diag_fini(&d);
    }
    if (ns)
        *ns = best;
    return rs;
}

/* ---- questions ---- */

struct question {
    const char *host;
    struct addr ip;
};

static struct question *questions(uint32_t n, struct question (*make)(void))
{
    struct question *q = arena_alloc(&mem, n * sizeof(*q));

    for (uint32_t i = 0; i < n; i++)
        q[i] = make();
    return q;
}

static const char *name_at_hand(void)
{
    static const char *const more[] = { "www", "api", "cdn", "img1", "static" };
    const char *s = world.names[pick(world.n_names)];
    char text[300];

    if (pick(2))
        return arena_strdup(&mem, s, strlen(s));
    snprintf(text, sizeof(text), "%s.%s", more[pick(5)], s);
    return arena_strdup(&mem, text, strlen(text));
}

static struct question listed_name(void)
{
    return (struct question){ .host = name_at_hand() };
}

static struct question unlisted_name(void)
{
    char text[64];
    int n =
        snprintf(text, sizeof(text), "www.%c%c%x-not-there.%s", 'a' + pick(26), 'a' + pick(26), pick(1u << 30), pick(2) ? "com" : "net");

    return (struct question){ .host = arena_strdup(&mem, text, (size_t)n) };
}

static struct question address4(void)
{
    return (struct question){ .ip = world.addrs4[pick(world.n4)] };
}

static struct question address6(void)
{
    return (struct question){ .ip = world.addrs6[pick(world.n6)] };
}

static uint64_t sink;

static uint32_t ask(struct ruleset *rs, const struct question *q)
{
    struct flow_meta m = { .net = FLOW_TCP, .via = FLOW_VIA_TUN, .dst = { .at = { q->ip, 443 }, .host = q->host } };
    struct rule_pos pos = { 0 };
    struct rule_hit hit;

    return rules_match(rs, &pos, &m, &hit) == MATCH_HIT ? hit.rule->index : UINT32_MAX;
}

/* The best of many rounds: n questions, so often that a round is about `calls` long. */
static double best_of(struct ruleset *rs, const struct question *q, uint32_t n, uint32_t calls)
{
    double best = 1e12;

    for (int r = 0; r < ROUNDS; r++) {
        double start = now_ns(), spent;

        for (uint32_t done = 0; done < calls; done += n)
            for (uint32_t i = 0; i < n; i++)
                sink += ask(rs, &q[i]);
        spent = (now_ns() - start) / (calls < n ? n : (calls + n - 1) / n * n);
        if (spent < best)
            best = spent;
    }
    return best;
}

/* ns per question, and whether both say the same. first: rules in front that the linear evaluator does not have */
static double linear_of(const struct linear *l, struct ruleset *rs, const struct question *q, uint32_t n, uint32_t first, uint32_t *wrong)
{
    double start = now_ns(), spent;

    for (uint32_t i = 0; i < n; i++)
        sink += linear_match(l, q[i].host, q[i].host ? strlen(q[i].host) : 0, q[i].ip.ver ? &q[i].ip : NULL);
    spent = now_ns() - start;
    for (uint32_t i = 0; i < n && rs; i++) {
        uint32_t a = linear_match(l, q[i].host, q[i].host ? strlen(q[i].host) : 0, q[i].ip.ver ? &q[i].ip : NULL), b = ask(rs, &q[i]);

        *wrong += a == UINT32_MAX ? b < first + l->v[l->n - 1].rule + 1 : a + first != b;
    }
    return spent / n;
}

static uint32_t all_wrong;

static void report(const char *what, double ns, double target_ns, double linear, uint32_t wrong)
{
    printf("  %-44s %8.1f ns   target %5.0f%s   linear %12.0f ns   %9.0f x%s\n", what, ns, target_ns, ns <= target_ns ? "  " : " !", linear,
           linear / ns, wrong ? "   DISAGREE" : "");
    all_wrong += wrong;
}

/* ---- the big set ---- */

static void measure(struct ruleset *rs, const char *what, struct question (*make)(void), double hot_ns, double cold_ns, uint32_t first)
{
    struct question *hot = questions(HOT, make), *cold = questions(COLD, make);
    uint32_t wrong = 0;
    double linear = linear_of(&world.linear, rs, cold, LINEAR, first, &wrong);
    char text[80];

    snprintf(text, sizeof(text), "%s, 1,000 hot ones", what);
    report(text, best_of(rs, hot, HOT, 5 * HOT), hot_ns, linear, wrong);
    snprintf(text, sizeof(text), "%s, cold", what);
    report(text, best_of(rs, cold, COLD, COLD), cold_ns, linear, 0);
}

static void memory(struct ruleset *rs, double ns)
{
    struct rules_stats st;
    uint32_t nets;

    rules_stats(rs, &st);
    nets = st.prefixes4 + st.prefixes6;
    printf("  %u names in %u sets, %u IPv4 and %u IPv6 prefixes; %u places, %zu bytes of lists\n", world.n_entries, world.n_sets,
           st.prefixes4, st.prefixes6, st.names, st.lists_bytes);
    printf("  memory      %6.1f B per name (target 14)   %6.1f B per IPv4 prefix (8)   %6.1f B per IPv6 prefix (15)\n",
           (double)st.names_bytes / world.n_entries, (double)st.spans4_bytes / st.prefixes4, (double)st.spans6_bytes / st.prefixes6);
    printf("  build       %6.2f us per name or prefix (targets 0.6, 0.3), reading of the files included: %.0f ms in all\n",
           ns / 1e3 / (world.n_entries + nets), ns / 1e6);
}

static void say_sets(struct lines *l)
{
    for (uint32_t i = 0; i < world.n_sets; i++)
        say(l, "RULE-SET,%s,T,no-resolve", world.set[i].cfg.name);
    for (size_t i = 0; i < N(codes_at_hand) && world.n_sets > N(names_at_hand); i++)
        say(l, "GEOIP,%s,T,no-resolve", codes_at_hand[i]);
}

static void big(void)
{
    struct lines with = { 0 }, l = { 0 };
    struct ruleset *rs, *rs_names;
    uint32_t n_sets = world.n_sets;
    double ns, names_ns;

    say_sets(&l);
    say(&l, "MATCH,T");
    rs = build(&l, &ns);
    printf("all sets at hand\n");
    memory(rs, ns);
    world.n_sets = N(names_at_hand); /* names alone, for the cost of building them */
    say_sets(&with);
    rs_names = build(&with, &names_ns);
    printf("  names alone %6.2f us per name (target 0.6)\n", names_ns / 1e3 / world.n_entries);
    rules_free(rs_names);
    world.n_sets = n_sets;
    measure(rs, "name, listed", listed_name, 80, 150, 0);
    measure(rs, "name, not listed", unlisted_name, 100, 150, 0);
    measure(rs, "IPv4", address4, 30, 30, 0);
    measure(rs, "IPv6", address6, 60, 60, 0);
    rules_free(rs);
    free(l.v);
    free(with.v);
}

/* ---- keywords and regular expressions ---- */

/* The regular expressions of a geosite.dat: category by category would do; here every entry of type 1 (field 2 of field 2). */
static uint64_t varint(const uint8_t **p, const uint8_t *end)
{
    uint64_t v = 0;

    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t c = *(*p)++;

        v |= (uint64_t)(c & 127) << shift;
        if (c < 128)
            break;
    }
    return v;
}

static void regexes_in(const uint8_t *p, const uint8_t *end, int depth, struct lines *l)
{
    const uint8_t *value = NULL;
    uint64_t type = 0, len = 0;

    while (p < end) {
        uint64_t key = varint(&p, end), n = varint(&p, end);

        if (key == (1 << 3))
            type = n;
        if ((key & 7) != 2)
            continue;
        if (n > (uint64_t)(end - p))
            return;
        if (depth == 2 && key == (2 << 3 | 2)) {
            value = p;
            len = n;
        } else if ((depth == 0 && key == (1 << 3 | 2)) || (depth == 1 && key == (2 << 3 | 2))) {
            regexes_in(p, p + n, depth + 1, l);
        }
        p += n;
    }
    if (depth == 2 && type == 1 && value)
        say(l, "DOMAIN-REGEX,%.*s,T", (int)len, (const char *)value);
}

static void texts(void)
{
    struct question *hot = questions(HOT, listed_name), *cold = questions(COLD / 10, unlisted_name);
    struct lines none = { 0 }, words = { 0 }, all = { 0 };
    struct ruleset *rs0, *rs1, *rs2;
    uint32_t keywords = 0;
    double a, b, c;
    size_t len;
    char *dat = data_read("rulesets/v2fly/dlc.dat", &len);

    say_sets(&none);
    say(&none, "MATCH,T");
    for (; keywords < 100; keywords++) {
        const char *s = world.names[pick(world.n_names)];
        size_t n = strcspn(s, ".");

        say(&words, "DOMAIN-KEYWORD,%.*s%x,T", (int)(n < 8 ? n : 8), s, pick(16)); /* alike, seldom there */
    }
    for (uint32_t i = 0; i < words.n; i++)
        say(&all, "%s", words.v[i].text);
    if (dat)
        regexes_in((const uint8_t *)dat, (const uint8_t *)dat + len, 0, &all);
    printf("texts: %u keywords, %u regular expressions\n", keywords, all.n - words.n);
    say_sets(&words);
    say(&words, "MATCH,T");
    say_sets(&all);
    say(&all, "MATCH,T");
    rs0 = build(&none, NULL);
    rs1 = build(&words, NULL);
    rs2 = build(&all, NULL);
    a = best_of(rs0, hot, HOT, 5 * HOT);
    b = best_of(rs1, hot, HOT, 5 * HOT);
    c = best_of(rs2, hot, HOT, 5 * HOT);
    printf("  listed names, hot     %6.1f ns without, keywords %6.1f more (target 50), with regular expressions %6.1f more (target 400)\n",
           a, b - a, c - a);
    a = best_of(rs0, cold, COLD / 10, COLD / 10);
    b = best_of(rs1, cold, COLD / 10, COLD / 10);
    c = best_of(rs2, cold, COLD / 10, COLD / 10);
    printf("  unlisted names, cold  %6.1f ns without, keywords %6.1f more (target 50), with regular expressions %6.1f more (target 400)\n",
           a, b - a, c - a);
    rules_free(rs0);
    rules_free(rs1);
    rules_free(rs2);
    free(none.v);
    free(words.v);
    free(all.v);
    free(dat);
}

/* ---- rules of a profile ---- */

static const struct question *inline_at[4];

static void inline_rule(struct lines *l, struct linear *linear)
{
    char net[64], addr[ADDR_STRLEN];
    struct cidr c;

    if (pick(10) == 0) {
        snprintf(net, sizeof(net), "%s/%u", addr_str(&world.addrs4[pick(world.n4)], addr), 16 + pick(17));
        cidr_parse(net, &c);
        linear_add(linear, NET, NULL, 0, &c, l->n);
        say(l, "IP-CIDR,%s,T,no-resolve", net);
    } else {
        const char *s = world.names[pick(world.n_names)];
        bool exact = pick(4) == 0;

        linear_add(linear, exact ? NAME_EXACT : NAME_SUFFIX, s, strlen(s), NULL, l->n);
        say(l, "%s,%s,T", exact ? "DOMAIN" : "DOMAIN-SUFFIX", s);
    }
}

static void marked_rule(struct lines *l, struct linear *linear, unsigned nth)
{
    char text[64];
    struct question *q = arena_alloc(&mem, sizeof(*q));

    snprintf(text, sizeof(text), "the-marked-name-%u.example", nth);
    linear_add(linear, NAME_SUFFIX, text, strlen(text), NULL, l->n);
    say(l, "DOMAIN-SUFFIX,%s,T", text);
    snprintf(text, sizeof(text), "www.the-marked-name-%u.example", nth);
    q->host = arena_strdup(&mem, text, strlen(text));
    inline_at[nth] = q;
}

static void inline_rules(void)
{
    static const char *const where[] = { "the match is rule 0", "rule 5,000", "rule 9,999", "none" };
    struct linear linear = { 0 };
    struct rules_stats st;
    struct lines l = { 0 };
    struct ruleset *rs;
    uint32_t wrong = 0;
    double ns;

    for (uint32_t i = 0; i < INLINE; i++) {
        if (i == 0 || i == INLINE / 2 || i == INLINE - 1)
            marked_rule(&l, &linear, i == 0 ? 0 : i == INLINE - 1 ? 2 : 1);
        else
            inline_rule(&l, &linear);
    }
    inline_at[3] = &(struct question){ .host = "www.nobody-listed-this.example" };
    rs = build(&l, &ns);
    rules_stats(rs, &st);
    printf("%u inline rules\n", l.n);
    printf("  memory      %6.1f B per rule in the index (target 28)   build %.2f us per rule\n",
           (double)(st.names_bytes + st.spans4_bytes + st.spans6_bytes + st.lists_bytes + st.uses_bytes) / l.n, ns / 1e3 / l.n);
    for (int i = 0; i < 4; i++)
        report(where[i], best_of(rs, inline_at[i], 1, 100000), 150, linear_of(&linear, rs, inline_at[i], 1, 0, &wrong), wrong);
    {
        struct question *cold = questions(COLD, listed_name);

        report("any name, cold", best_of(rs, cold, COLD, COLD), 150, linear_of(&linear, rs, cold, LINEAR, 0, &wrong), wrong);
    }
    rules_free(rs);
    free(l.v);
    free(linear.v);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < N(names_at_hand); i++)
        load(&names_at_hand[i]);
    for (size_t i = 0; i < N(nets_at_hand); i++)
        load(&nets_at_hand[i]);
    load_codes();
    big();
    texts();
    inline_rules();
    if (sink == 1)
        puts("");
    return all_wrong != 0;
}
