/*
 * rules_random.c - random rule lists and random flows: the engine and a naive evaluator (rules_oracle.h) say the same
 *
 *   world   rules, lists of sub-rules, providers, a GeoSite.dat and a GeoIP.dat; few different words, so that much overlaps
 *   flow    name, address, source, program ... and what a look-up would give
 *   run     every event to the end: which rule asked for the address, which for the program, which was true, in this order; after each hit
 * a coin says whether to go on inside a list (PASS-RULE), behind the top-level rule (PASS), or to stop
 *
 * SHUNT_PAIRS in the environment sets how many (world, flow) pairs are run, SHUNT_SEED where to begin. A failure prints its world.
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
#include "rules/rules.h"
#include "tests/unit/rules_oracle.h"

#define PAIRS           100000
#define FLOWS_PER_WORLD 25
#define EVENTS_MAX      400

static uint64_t seed;
static struct arena mem; /* of the world at hand */

static uint32_t pick(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

static bool one_in(uint32_t n)
{
    return pick(n) == 0;
}

#define PICK(array) array[pick(sizeof(array) / sizeof((array)[0]))]

static char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *fmt, ...)
{
    static char text[1 << 16];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    assert_true(n > 0 && (size_t)n < sizeof(text));
    return arena_strdup(&mem, text, (size_t)n);
}

/* ---- words ---- */

static const char *label(void)
{
    static const char *const labels[] = { "a",   "b",        "c", "ab",  "ba",
                                          "a-b", "xn--p1ai", "1", "aab", "very-long-label-that-takes-two-loads-and-more" };

    return one_in(6) ? PICK(labels) : labels[pick(4)];
}

static const char *host(void)
{
    static const char *const ends[] = { "com", "cn", "b", "com" };
    const char *h = PICK(ends);

    for (uint32_t n = pick(4); n; n--)
        h = format("%s.%s", label(), h);
    if (one_in(40))
        for (int i = 0; i < 30; i++)
            h = format("ab.%s", h);
    return one_in(60) ? "\xc3\xa9.a.com" : h;
}

static const char *pattern(void)
{
    static const char *const globs[] = { "a*", "*b", "a*b", "*", "*", "a-*", "*-*" };
    const char *p = host();

    if (one_in(4))
        p = format("%s.%s", PICK(globs), p);
    if (one_in(8))
        p = format("%s.%s", label(), p);
    switch (pick(8)) {
    case 0: return "*";
    case 1: return one_in(3) ? "+.*" : format("*.%s", p);
    case 2: return format(".%s", p);
    case 3:
    case 4: return format("+.%s", p);
    default: return p;
    }
}

static const char *keyword(void)
{
    static const char *const words[] = { "a", "b", "ab", ".c", "om", "a.b", "com", "-", "xn--", "aa", "b.a", "\xa9", "zzz" };

    return PICK(words);
}

static const char *wildcard(void)
{
    static const char *const words[] = { "*", "a*", "*.com", "?.com", "*a*b*", "a?.*", "*.?.*", "ab.com", "*c*m", "??*" };

    return PICK(words);
}

/* Those that POSIX and PCRE2 read alike. */
static const char *regex(void)
{
    static const char *const words[] = { "^a",          "b$",
                                         "a.*com",      "(a|b)+\\.c",
                                         "[ab]+\\.cn$", "^(.*\\.)?ab\\.",
                                         "xn--",        "a{2}",
                                         "a{1,2}b",     "^[a-c]{1,3}\\.(com|cn)$",
                                         "A\\.B",       "com|cn",
                                         "^.$",         "(^|\\.)a\\.com$",
                                         "ab?\\.",      "a+b",
                                         "-long-",      "\\.b\\.com$" };

    return PICK(words);
}

static const char *address(void)
{
    switch (pick(10)) {
    case 0: return format("fd00:0:0:%u::%u", pick(2), pick(4));
    case 1: return format("2001:db8::%x:%u", pick(3), pick(4));
    case 2: return format("::ffff:10.0.%u.%u", pick(2), pick(4));
    case 3: return one_in(2) ? "127.0.0.1" : "8.8.8.8";
    case 4: return one_in(3) ? "255.255.255.255" : one_in(2) ? "0.0.0.0" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    default: return format("10.%u.%u.%u", pick(2), pick(2), pick(4));
    }
}

static const char *prefix(void)
{
    static const uint8_t len4[] = { 0, 7, 8, 15, 16, 23, 24, 29, 30, 31, 32 },
                         len6[] = { 0, 7, 16, 48, 63, 64, 65, 96, 112, 125, 126, 127, 128 };
    const char *a = address();

    if (!strncmp(a, "::ffff:", 7))
        return format("%s/%u", a, 96 + PICK(len4));
    return strchr(a, ':') ? format("%s/%u", a, PICK(len6)) : format("%s/%u", a, PICK(len4));
}

static const char *ports(void)
{
    static const char *const words[] = { "80", "443", "53/80", "1000-1010", "1010-1000", "1-79", "80-443/8080", "65535" };

    return PICK(words);
}

static const char *category(void)
{
    static const char *const words[] = { "one", "TWO", "three", "!one", "two@x", "three@y", "!Three@x", "one@y" };

    return PICK(words);
}

static const char *options(void)
{
    static const char *const words[] = { "", "", "", ",no-resolve", ",no-resolve", ",src", ",src,no-resolve", ", no-resolve" };

    return PICK(words);
}

/* ---- rules ---- */

static struct o_world w;

/* A rule without target. where: 0 = top level, 1 = inside logic, 2 = in a provider */
static const char *rule(int depth, int where)
{
    static const char *const process[] = { "curl", "CURL", "firefox", "ssh" }, *const path[] = { "/usr/bin/curl", "/opt/Firefox/firefox",
                                                                                                 "/bin/ssh" };
    static const char *const process_glob[] = { "c*", "*fox", "?sh", "*" }, *const process_regex[] = { "^c", "fox$", "s+h", "curl|ssh" };
    static const char *const types[] = { "TUN", "HTTP/SOCKS", "SOCKS5", "tun/inner", "SOCKS" }, *const uids[] = { "0", "1000", "0-999",
                                                                                                                  "1000-2000/7" };
    static const char *const codes[] = { "LAN", "lan", "aa", "bb", "!aa" }, *const users[] = { "me", "you/me", "x" };

    switch (pick(where == 2 && !one_in(8) ? 16 : depth < 3 ? 34 : 29)) {
    case 0:
    case 1: return format("DOMAIN,%s", host());
    case 2:
    case 3:
    case 4: return format("DOMAIN-SUFFIX,%s", host());
    case 5: return format("DOMAIN-KEYWORD,%s", keyword());
    case 6: return format("DOMAIN-WILDCARD,%s", wildcard());
    case 7: return format("DOMAIN-REGEX,%s", regex());
    case 8:
    case 9:
    case 10: return format("IP-CIDR,%s%s", prefix(), options());
    case 11: return format("IP-CIDR6,%s%s", prefix(), options());
    case 12: return format("PROCESS-NAME,%s", PICK(process));
    case 13: return format("DST-PORT,%s", ports());
    case 14: return format("GEOIP,%s%s", PICK(codes), options());
    case 15: return format("GEOSITE,%s", category());
    case 16: return format("SRC-IP-CIDR,%s", prefix());
    case 17: return format("SRC-PORT,%s", ports());
    case 18: return format("NETWORK,%s", one_in(2) ? "tcp" : "UDP");
    case 19: return one_in(2) ? format("IP-SUFFIX,%s%s", prefix(), options()) : format("SRC-IP-SUFFIX,%s", prefix());
    case 20: return format("PROCESS-PATH,%s", PICK(path));
    case 21: return format("UID,%s", PICK(uids));
    case 22: return format("IN-TYPE,%s", PICK(types));
    case 23: return one_in(2) ? format("IN-USER,%s", PICK(users)) : format("IN-NAME,%s", one_in(2) ? "DEFAULT-TUN" : "here/DEFAULT-HTTP");
    case 24: return one_in(2) ? format("IN-PORT,%s", ports()) : format("DSCP,%s", one_in(2) ? "0" : "8-46");
    case 25: return format("PROCESS-NAME-WILDCARD,%s", PICK(process_glob));
    case 26: return format("PROCESS-%s-REGEX,%s", one_in(2) ? "NAME" : "PATH", PICK(process_regex));
    case 27: return format("PROCESS-PATH-WILDCARD,*/%s", PICK(process_glob));
    case 28:
        return where == 2 || !w.n_sets ? format("SRC-GEOIP,%s", PICK(codes))
                                       : format("RULE-SET,%s%s", w.set[pick(w.n_sets)].name, options());
    case 29:
    case 30: return format("NOT,((%s))", rule(depth + 1, where ? where : 1));
    default: {
        const char *op = one_in(2) ? "AND" : "OR",
                   *parts = format("(%s),(%s)", rule(depth + 1, where ? where : 1), rule(depth + 1, where ? where : 1));

        if (one_in(3))
            parts = format("%s,(%s)", parts, rule(depth + 1, where ? where : 1));
        return one_in(4) ? format("%s,%s", op, parts) : format("%s,(%s)", op, parts);
    }
    }
}

static bool last_is_target(const char *rule)
{
    return !strncmp(rule, "AND,", 4) || !strncmp(rule, "OR,", 3) || !strncmp(rule, "NOT,", 4) || strstr(rule, "REGEX,");
}

/* self: number of the list, 0 = top level; it may call those with greater numbers. */
static const char *line(uint32_t self)
{
    const char *r, *payload, *more;

    if (self < w.n_subs && one_in(5))
        return format("SUB-RULE,(%s),sub%u", rule(0, 1), self + 1 + pick(w.n_subs - self));
    if (one_in(40))
        return "MATCH,T";
    if (w.n_sets && one_in(4))
        return format("RULE-SET,%s,T%s", w.set[pick(w.n_sets)].name, options());
    r = rule(0, 0);
    if (last_is_target(r))
        return format("%s,T", r);
    payload = strchr(r, ',') + 1;
    if ((more = strchr(payload, ',')))
        return format("%.*s,T%s", (int)(more - r), r, more);
    return format("%s,T", r);
}

static const char **lines(uint32_t n, const char *(*make)(uint32_t arg), uint32_t arg)
{
    const char **v = arena_alloc(&mem, (n + 1) * sizeof(*v));

    for (uint32_t i = 0; i < n; i++)
        v[i] = make(arg);
    return v;
}

static const char *set_line(uint32_t kind)
{
    return kind == O_DOMAIN ? pattern() : kind == O_IPCIDR ? prefix() : rule(1, 2);
}

static uint32_t length(void)
{
    return one_in(30) ? 100 + pick(150) : pick(10);
}

static void make_world(void)
{
    static const char *const attrs[] = { "", "x", "y" };

    memset(&w, 0, sizeof(w));
    w.n_categories = 3;
    w.category = arena_alloc(&mem, 3 * sizeof(*w.category));
    for (uint32_t i = 0; i < 3; i++) {
        w.category[i] = (struct o_category){ .name = (const char *const[]){ "ONE", "TWO", "THREE" }[i], .n = pick(6) };
        w.category[i].site = arena_alloc(&mem, 6 * sizeof(struct o_site));
        for (uint32_t k = 0; k < w.category[i].n; k++) {
            int type = (int)pick(4);

            w.category[i].site[k] = (struct o_site){ type, type == 0 ? keyword() : type == 1 ? regex() : host(), PICK(attrs) };
        }
    }
    w.n_countries = 2;
    w.country = arena_alloc(&mem, 2 * sizeof(*w.country));
    for (uint32_t i = 0; i < 2; i++) {
        w.country[i] = (struct o_country){ .name = i ? "BB" : "AA", .n = pick(5) };
        w.country[i].line = lines(w.country[i].n, set_line, O_IPCIDR);
    }
    w.set = arena_alloc(&mem, 5 * sizeof(*w.set));
    for (uint32_t i = 0, n = pick(6); i < n; i++) {
        enum o_kind kind = (enum o_kind)pick(3);

        w.set[i] = (struct o_set){ .name = format("set%u", i), .kind = kind, .n = length() + 1 };
        w.set[i].line = lines(w.set[i].n, set_line, kind);
        w.n_sets++;
    }
    w.sub = arena_alloc(&mem, 4 * sizeof(*w.sub));
    w.n_subs = one_in(2) ? pick(5) : 0;
    for (uint32_t i = 0; i < w.n_subs; i++) {
        w.sub[i] = (struct o_list){ .name = format("sub%u", i + 1), .n = pick(6) };
        w.sub[i].line = lines(w.sub[i].n, line, i + 1);
    }
    w.main.n = length() + 1;
    w.main.line = lines(w.main.n, line, 0);
}

/* ---- the same for the engine ---- */

struct bytes {
    uint8_t *p;
    size_t n, cap;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        assert_non_null(b->p);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put_varint(struct bytes *b, uint64_t v)
{
    uint8_t c;

    do {
        c = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
        put(b, &c, 1);
    } while (v >>= 7);
}

static void put_field(struct bytes *b, unsigned number, const void *p, size_t n)
{
    put_varint(b, number << 3 | 2);
    put_varint(b, n);
    put(b, p, n);
}

static struct bytes geosite_dat(void)
{
    struct bytes all = { 0 };

    for (uint32_t c = 0; c < w.n_categories; c++) {
        struct bytes entry = { 0 };

        put_field(&entry, 1, w.category[c].name, strlen(w.category[c].name));
        for (uint32_t i = 0; i < w.category[c].n; i++) {
            const struct o_site *s = &w.category[c].site[i];
            struct bytes site = { 0 }, attr = { 0 };

            put_varint(&site, 1 << 3);
            put_varint(&site, (uint64_t)s->type);
            put_field(&site, 2, s->value, strlen(s->value));
            put_field(&attr, 1, s->attr, strlen(s->attr));
            if (*s->attr)
                put_field(&site, 3, attr.p, attr.n);
            put_field(&entry, 2, site.p, site.n);
            free(site.p);
            free(attr.p);
        }
        put_field(&all, 1, entry.p, entry.n);
        free(entry.p);
    }
    return all;
}

static struct bytes geoip_dat(void)
{
    struct bytes all = { 0 };

    for (uint32_t c = 0; c < w.n_countries; c++) {
        struct bytes entry = { 0 };

        put_field(&entry, 1, w.country[c].name, 2);
        for (uint32_t i = 0; i < w.country[c].n; i++) {
            struct bytes net = { 0 };
            struct cidr x;

            assert_int_equal(cidr_parse(w.country[c].line[i], &x), 0);
            put_field(&net, 1, x.ip.b, addr_len(&x.ip));
            put_varint(&net, 2 << 3);
            put_varint(&net, x.len);
            put_field(&entry, 2, net.p, net.n);
            free(net.p);
        }
        put_field(&all, 1, entry.p, entry.n);
        free(entry.p);
    }
    return all;
}

static int32_t find_target(void *arg, const char *name)
{
    assert_string_equal(name, "T");
    return 7;
}

/* Even sets as a text file, odd ones as an inline payload. */
static bool find_provider(void *arg, const char *name, struct rules_provider *out)
{
    const struct o_set *s = o_find_set(&w, name);
    struct cfg_provider *cfg = arena_alloc(&mem, sizeof(*cfg));
    char *text = arena_strdup(&mem, "", 0);

    cfg->name = name;
    cfg->behavior = s->kind == O_DOMAIN ? CFG_BEHAVIOR_DOMAIN : s->kind == O_IPCIDR ? CFG_BEHAVIOR_IPCIDR : CFG_BEHAVIOR_CLASSICAL;
    cfg->format = CFG_FORMAT_TEXT;
    *out = (struct rules_provider){ .cfg = cfg };
    if ((s - w.set) % 2) {
        cfg->from = CFG_FROM_INLINE;
        cfg->rules = (struct cfg_strs){ .n = s->n, .v = s->line };
        return true;
    }
    for (uint32_t i = 0; i < s->n; i++)
        text = format("%s%s\n", text, s->line[i]);
    out->bytes = text;
    out->len = strlen(text);
    return true;
}

static struct cfg_rule *cfg_rules(const struct o_list *l)
{
    struct cfg_rule *v = arena_alloc(&mem, (l->n + 1) * sizeof(*v));

    for (uint32_t i = 0; i < l->n; i++)
        v[i] = (struct cfg_rule){ .text = l->line[i], .index = i, .line = i + 1, .column = 1 };
    return v;
}

static struct ruleset *build(void)
{
    struct cfg_sub_rules subs[4];
    struct rules_src src = { .n_rules = w.main.n, .rules = cfg_rules(&w.main), .n_subs = w.n_subs, .subs = subs };
    struct bytes site = geosite_dat(), ip = geoip_dat();
    struct rules_env env = {
        .target = find_target, .provider = find_provider, .geosite = { site.p, site.n }, .geoip = { ip.p, ip.n }, .geoip_is_dat = true
    };
    struct ruleset *rs;
    struct diag d;

    for (uint32_t i = 0; i < w.n_subs; i++)
        subs[i] = (struct cfg_sub_rules){ .name = w.sub[i].name, .n_rules = w.sub[i].n, .rules = cfg_rules(&w.sub[i]) };
    diag_init(&d, "world", NULL, 0, false);
    rs = rules_build(&src, &env, &d);
    if (d.n)
        diag_print(&d, stderr, false);
    assert_non_null(rs);
    assert_int_equal(d.n, 0);
    assert_int_equal(rules_count(rs), w.main.n);
    diag_fini(&d);
    free(site.p);
    free(ip.p);
    return rs;
}

/* ---- flows and events ---- */

static void make_flow(struct o_flow *f)
{
    static const struct flow_proc procs[] = {
        { "curl", "/usr/bin/curl", 0, true },
        { "Firefox", "/opt/firefox/Firefox", 1000, true },
        { "ssh", NULL, 7, true },
        { NULL, NULL, 1500, true },
        { "ssh", "/bin/ssh", 0, false },
    };
    static const uint16_t some_ports[] = { 53, 80, 443, 1000, 1005, 8080, 65535 };
    struct flow_meta *m = &f->m;

    memset(f, 0, sizeof(*f));
    m->net = one_in(2) ? FLOW_TCP : FLOW_UDP;
    m->via = (uint8_t[]){ FLOW_VIA_TUN, FLOW_VIA_HTTP, FLOW_VIA_SOCKS4, FLOW_VIA_SOCKS5, FLOW_VIA_INNER }[pick(5)];
    m->dscp = (uint8_t)(one_in(2) ? 0 : pick(64));
    m->in_port = one_in(2) ? 0 : PICK(some_ports);
    m->in_name = one_in(3) ? NULL : "DEFAULT-TUN";
    m->in_user = one_in(3) ? "me" : NULL;
    m->src.port = PICK(some_ports);
    m->dst.at.port = PICK(some_ports);
    if (!one_in(5))
        addr_parse(address(), &m->src.ip);
    if (!one_in(4))
        m->dst.host = host();
    if (!m->dst.host || one_in(5))
        addr_parse(address(), &m->dst.at.ip);
    if (one_in(6))
        m->sniffed = host();
    if (!one_in(4))
        addr_parse(address(), &f->answer);
    f->found = one_in(3) ? NULL : &PICK(procs);
    if (one_in(6))
        m->proc = &PICK(procs);
}

struct journal {
    uint64_t coin;
    uint32_t n;
    struct o_event e[EVENTS_MAX];
};

/* After a hit: mostly on inside, sometimes behind the top-level rule, seldom the end. */
static int toss(struct journal *j)
{
    j->coin = j->coin * 6364136223846793005u + 1442695040888963407u;
    return j->n + 1 >= EVENTS_MAX ? 2 : (j->coin >> 40) % 16 < 10 ? 0 : (j->coin >> 40) % 16 < 15 ? 1 : 2;
}

static int note(void *arg, const struct o_event *e)
{
    struct journal *j = arg;

    assert_true(j->n < EVENTS_MAX);
    j->e[j->n++] = *e;
    return e->what == O_HIT ? toss(j) : 0;
}

static struct o_event event_at(enum o_what what, const struct rule_pos *pos)
{
    struct o_event e = { .what = what, .depth = pos->depth + 1u };

    for (uint32_t d = 0; d <= pos->depth; d++)
        e.path[d] = pos->from[d] - (d < pos->depth || what == O_HIT);
    return e;
}

static void run_engine(struct ruleset *rs, const struct o_flow *flow, struct journal *j)
{
    struct flow_meta m = flow->m;
    struct rule_pos pos = { 0 };

    for (;;) {
        struct rule_hit hit;
        struct o_event e;
        int next = 0;

        switch (rules_match(rs, &pos, &m, &hit)) {
        case MATCH_NEED_IP:
            e = event_at(O_ASK_IP, &pos);
            m.dst.at.ip = flow->answer;
            pos.ip_failed = !flow->answer.ver;
            note(j, &e);
            continue;
        case MATCH_NEED_PROC:
            e = event_at(O_ASK_PROC, &pos);
            m.proc = flow->found;
            pos.proc_tried = true;
            note(j, &e);
            continue;
        case MATCH_HIT:
            e = event_at(O_HIT, &pos);
            assert_ptr_equal(hit.rule, rules_at(rs, e.path[0]));
            assert_int_equal(hit.by->index, e.path[pos.depth]);
            assert_int_equal(hit.by->target_id, 7);
            next = note(j, &e);
            if (next == 2)
                return;
            if (next == 1)
                rules_leave(&pos);
            continue;
        case MATCH_NONE: note(j, &(struct o_event){ .what = O_END }); return;
        case MATCH_MISSING: fail();
        }
    }
}

static bool same(const struct o_event *a, const struct o_event *b)
{
    return a->what == b->what && a->depth == b->depth && !memcmp(a->path, b->path, a->depth * sizeof(*a->path));
}

/* ---- telling ---- */

static void print_event(const char *who, const struct o_event *e)
{
    static const char *const words[] = { "end", "hit", "ask address", "ask program" };

    fprintf(stderr, "  %s: %s", who, words[e->what]);
    for (uint32_t i = 0; i < e->depth; i++)
        fprintf(stderr, "%s%u", i ? " > " : " at ", e->path[i]);
    fputc('\n', stderr);
}

static void print_list(const char *name, const char *const *v, uint32_t n)
{
    fprintf(stderr, "%s:\n", name);
    for (uint32_t i = 0; i < n; i++)
        fprintf(stderr, "  [%u] %s\n", i, v[i]);
}

static void print_world(const struct o_flow *f)
{
    char a[ADDR_STRLEN], b[ADDR_STRLEN], c[ADDR_STRLEN];

    print_list("rules", w.main.line, w.main.n);
    for (uint32_t i = 0; i < w.n_subs; i++)
        print_list(w.sub[i].name, w.sub[i].line, w.sub[i].n);
    for (uint32_t i = 0; i < w.n_sets; i++)
        print_list(w.set[i].name, w.set[i].line, w.set[i].n);
    for (uint32_t i = 0; i < w.n_countries; i++)
        print_list(w.country[i].name, w.country[i].line, w.country[i].n);
    for (uint32_t i = 0; i < w.n_categories; i++)
        for (uint32_t k = 0; k < w.category[i].n; k++)
            fprintf(stderr, "%s: %d %s @%s\n", w.category[i].name, w.category[i].site[k].type, w.category[i].site[k].value,
                    w.category[i].site[k].attr);
    fprintf(stderr, "flow: %s host %s sniffed %s ip %s port %u src %s:%u answer %s program %s\n", f->m.net == FLOW_TCP ? "tcp" : "udp",
            f->m.dst.host ? f->m.dst.host : "-", f->m.sniffed ? f->m.sniffed : "-", addr_str(&f->m.dst.at.ip, a), f->m.dst.at.port,
            addr_str(&f->m.src.ip, b), f->m.src.port, addr_str(&f->answer, c),
            f->m.proc                    ? "known"
            : f->found && f->found->name ? f->found->name
                                         : "-");
}

static void compare(struct ruleset *rs, uint64_t world)
{
    static struct journal mine, theirs;
    struct o_flow f;
    struct o_run r = { .w = &w, .on_event = note, .arg = &theirs };

    make_flow(&f);
    mine.n = theirs.n = 0;
    mine.coin = theirs.coin = seed;
    r.f = f;
    o_decide(&r);
    run_engine(rs, &f, &mine);
    for (uint32_t i = 0; i < mine.n || i < theirs.n; i++) {
        if (i < mine.n && i < theirs.n && same(&mine.e[i], &theirs.e[i]))
            continue;
        fprintf(stderr, "world of seed %llu, event %u\n", (unsigned long long)world, i);
        print_world(&f);
        for (uint32_t k = 0; k <= i; k++) {
            if (k < theirs.n)
                print_event("oracle", &theirs.e[k]);
            if (k < mine.n)
                print_event("engine", &mine.e[k]);
        }
        fail();
    }
}

static void engine_and_oracle_agree(void **state)
{
    const char *pairs = getenv("SHUNT_PAIRS"), *from = getenv("SHUNT_SEED");
    uint64_t n = pairs ? strtoull(pairs, NULL, 10) : PAIRS, start = from ? strtoull(from, NULL, 10) : 1;

    for (uint64_t i = 0; i * FLOWS_PER_WORLD < n; i++) {
        struct ruleset *rs;

        seed = (start + i) * 0x9e3779b97f4a7c15u;
        pick(2);
        make_world();
        rs = build();
        for (int k = 0; k < FLOWS_PER_WORLD; k++)
            compare(rs, start + i);
        rules_free(rs);
        arena_fini(&mem);
    }
    print_message("%llu pairs of a rule list and a flow\n", (unsigned long long)n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engine_and_oracle_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
