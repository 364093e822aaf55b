/*
 * configs_fields.c - one value read by one field: what each type takes, what it makes of it, what it refuses; defaults, required keys, nested tables
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "configs/config.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

struct all {
    bool b;
    int64_t i;
    uint16_t port;
    const char *s, *host;
    int e;
    struct cfg_strs strs;
    struct cfg_cidrs cidrs;
    struct cfg_addrs addrs;
    struct cfg_ranges ranges;
    struct cfg_matchers matchers;
    struct cfg_headers headers;
    const struct cfg_node *sub;
};

/* ---- a value as text ---- */

static void show_strs(FILE *f, const struct cfg_strs *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        fprintf(f, "%s%s", i ? "|" : "", s->v[i]);
}

static void show(FILE *f, enum cfg_type type, const struct all *x)
{
    static const char *const kinds[] = { "", "geo ", "set ", "rule " };
    char text[ADDR_STRLEN];

    switch (type) {
    case CFG_BOOL: fputs(x->b ? "true" : "false", f); break;
    case CFG_INT: fprintf(f, "%lld", (long long)x->i); break;
    case CFG_PORT: fprintf(f, "%u", x->port); break;
    case CFG_STR: fputs(x->s ? x->s : "(none)", f); break;
    case CFG_HOST: fputs(x->host ? x->host : "(none)", f); break;
    case CFG_ENUM: fprintf(f, "%d", x->e); break;
    case CFG_STRS: show_strs(f, &x->strs); break;
    case CFG_CIDRS:
    case CFG_IFADDRS:
        for (uint32_t i = 0; i < x->cidrs.n; i++)
            fprintf(f, "%s%s/%u", i ? "|" : "", addr_str(&x->cidrs.v[i].ip, text), x->cidrs.v[i].len);
        break;
    case CFG_ADDRS:
        for (uint32_t i = 0; i < x->addrs.n; i++)
            fprintf(f, "%s%s", i ? "|" : "", addr_str(&x->addrs.v[i], text));
        break;
    case CFG_RANGES:
    case CFG_UIDS:
        for (uint32_t i = 0; i < x->ranges.n; i++)
            fprintf(f, "%s%u-%u", i ? "|" : "", x->ranges.v[i].lo, x->ranges.v[i].hi);
        break;
    case CFG_MATCHERS:
        for (uint32_t i = 0; i < x->matchers.n; i++)
            fprintf(f, "%s%s%s", i ? "|" : "", kinds[x->matchers.v[i].kind], x->matchers.v[i].text);
        break;
    case CFG_HEADERS:
        for (uint32_t i = 0; i < x->headers.n; i++) {
            fprintf(f, "%s%s=", i ? ";" : "", x->headers.v[i].name);
            show_strs(f, &x->headers.v[i].values);
        }
        break;
    default: fputs(x->sub ? "node" : "(none)", f); break;
    }
}

static size_t off_of(enum cfg_type type)
{
    static const size_t off[] = {
        [CFG_BOOL] = offsetof(struct all, b),          [CFG_INT] = offsetof(struct all, i),           [CFG_PORT] = offsetof(struct all, port),
        [CFG_STR] = offsetof(struct all, s),           [CFG_HOST] = offsetof(struct all, host),       [CFG_ENUM] = offsetof(struct all, e),
        [CFG_STRS] = offsetof(struct all, strs),       [CFG_CIDRS] = offsetof(struct all, cidrs),     [CFG_IFADDRS] = offsetof(struct all, cidrs),
        [CFG_ADDRS] = offsetof(struct all, addrs),     [CFG_RANGES] = offsetof(struct all, ranges),   [CFG_UIDS] = offsetof(struct all, ranges),
        [CFG_MATCHERS] = offsetof(struct all, matchers), [CFG_HEADERS] = offsetof(struct all, headers), [CFG_SUB] = offsetof(struct all, sub),
    };

    return off[type];
}

static const char *const colours[] = { "red", "green", "blue", NULL };

/* Reads `k: VALUE` by one field. The result as text (the caller frees), problems and messages counted. */
static char *read_value(const struct cfg_field *f, const char *value, bool fatal, int *problems, struct diag *d)
{
    const struct cfg_field table[] = { *f, { 0 } };
    char yaml[512], *text = NULL;
    struct all x = { 0 };
    struct cfg_doc *doc;
    size_t size;
    FILE *out;

    snprintf(yaml, sizeof(yaml), "k: %s\n", value);
    diag_init(d, "t", NULL, 0, false);
    if (!(doc = cfg_parse(yaml, strlen(yaml), d)))
        fail_msg("%s: %s", yaml, d->items[0].message);
    *problems = cfg_read(doc, cfg_root(doc), table, CFG_KEYS_EXACT, &x, fatal, "path", d);
    out = open_memstream(&text, &size);
    show(out, f->type, &x);
    fclose(out);
    cfg_doc_free(doc);
    return text;
}

/* ---- what each type makes of a value ---- */

static void values_are_coerced(void **state)
{
    static const struct { enum cfg_type type; unsigned flags; const char *value, *want; /* NULL: refused */ } cases[] = {
        /* booleans: of entries, then of sections */
        { CFG_BOOL, 0, "true", "true" }, { CFG_BOOL, 0, "True", "true" }, { CFG_BOOL, 0, "1", "true" }, { CFG_BOOL, 0, "2", "true" },
        { CFG_BOOL, 0, "0", "false" }, { CFG_BOOL, 0, "FALSE", "false" }, { CFG_BOOL, 0, "yes", NULL }, { CFG_BOOL, 0, "on", NULL },
        { CFG_BOOL, 0, "'true'", NULL }, { CFG_BOOL, 0, "!!str true", NULL }, { CFG_BOOL, 0, "x", NULL }, { CFG_BOOL, 0, "[true]", NULL }, { CFG_BOOL, 0, "", "false" },
        { CFG_BOOL, CFG_LOOSE, "yes", "true" }, { CFG_BOOL, CFG_LOOSE, "On", "true" }, { CFG_BOOL, CFG_LOOSE, "y", "true" }, { CFG_BOOL, CFG_LOOSE, "NO", "false" },
        { CFG_BOOL, CFG_LOOSE, "off", "false" }, { CFG_BOOL, CFG_LOOSE, "'true'", "true" }, { CFG_BOOL, CFG_LOOSE, "'yes'", "true" }, { CFG_BOOL, CFG_LOOSE, "maybe", NULL },
        { CFG_BOOL, CFG_LOOSE, "''", "false" },
        /* integers */
        { CFG_INT, 0, "443", "443" }, { CFG_INT, 0, "'443'", "443" }, { CFG_INT, 0, "-7", "-7" }, { CFG_INT, 0, "+7", "7" }, { CFG_INT, 0, "0x1F", "31" },
        { CFG_INT, 0, "'0o17'", "15" }, { CFG_INT, 0, "0b101", "5" }, { CFG_INT, 0, "1_000", "1000" }, { CFG_INT, 0, "0443", "443" }, { CFG_INT, 0, "443.9", "443" },
        { CFG_INT, 0, "-1.5", "-1" }, { CFG_INT, 0, "1.5e3", "1500" }, { CFG_INT, 0, "9223372036854775807", "9223372036854775807" },
        { CFG_INT, 0, "9223372036854775808", NULL }, { CFG_INT, 0, "99999999999999999999", NULL }, { CFG_INT, 0, "0x", NULL }, { CFG_INT, 0, "12a", NULL },
        { CFG_INT, 0, "true", NULL }, { CFG_INT, 0, "_1", NULL }, { CFG_INT, 0, "1__0", NULL }, { CFG_INT, 0, "e5", NULL }, { CFG_INT, 0, "'-'", NULL }, { CFG_INT, 0, "~", "0" },
        { CFG_INT, 0, "''", "0" }, { CFG_INT, 0, "{}", "0" }, { CFG_INT, 0, "{a: b}", NULL }, { CFG_INT, 0, "0x8000000000000000", NULL },
        /* ports */
        { CFG_PORT, 0, "65535", "65535" }, { CFG_PORT, 0, "\"443\"", "443" }, { CFG_PORT, 0, "0", "0" }, { CFG_PORT, 0, "65536", NULL }, { CFG_PORT, 0, "-1", NULL },
        { CFG_PORT, 0, "http", NULL },
        /* texts: raw */
        { CFG_STR, 0, "0123", "0123" }, { CFG_STR, 0, "1e5", "1e5" }, { CFG_STR, 0, "true", "true" }, { CFG_STR, 0, "''", "" }, { CFG_STR, 0, "~", "(none)" },
        { CFG_STR, 0, "2024-01-01", "2024-01-01" }, { CFG_STR, 0, "[x]", NULL }, { CFG_STR, 0, "[]", "(none)" },
        /* hosts */
        { CFG_HOST, 0, "Example.COM.", "example.com" }, { CFG_HOST, 0, "192.0.2.1", "192.0.2.1" }, { CFG_HOST, 0, "'2001:db8::1'", "2001:db8::1" },
        { CFG_HOST, 0, "例子.com", "例子.com" }, { CFG_HOST, 0, "a_b.c", "a_b.c" }, { CFG_HOST, 0, "a b", NULL }, { CFG_HOST, 0, "a..b", NULL },
        /* words */
        { CFG_ENUM, 0, "green", "1" }, { CFG_ENUM, 0, "BLUE", "2" }, { CFG_ENUM, 0, "'Red'", "0" }, { CFG_ENUM, 0, "pink", NULL }, { CFG_ENUM, 0, "''", "0" },
        /* lists of texts */
        { CFG_STRS, 0, "[a, 1, 'x y']", "a|1|x y" }, { CFG_STRS, 0, "a", "a" }, { CFG_STRS, 0, "[]", "" }, { CFG_STRS, 0, "~", "" }, { CFG_STRS, 0, "[a, ~, '']", "a|" },
        { CFG_STRS, 0, "{a: b}", NULL }, { CFG_STRS, 0, "{}", "" },
        /* prefixes, addresses */
        { CFG_CIDRS, 0, "[10.1.2.3/8, 'fc00::/7', 192.0.2.1]", "10.0.0.0/8|fc00::/7|192.0.2.1/32" }, { CFG_CIDRS, 0, "10.0.0.0/8", "10.0.0.0/8" },
        { CFG_IFADDRS, 0, "[198.18.0.1/30, 'fd00::5/64']", "198.18.0.1/30|fd00::5/64" }, { CFG_ADDRS, 0, "[192.0.2.1, '::1']", "192.0.2.1|::1" },
        /* ranges */
        { CFG_RANGES, 0, "443", "443-443" }, { CFG_RANGES, 0, "80/443", "80-80|443-443" }, { CFG_RANGES, 0, "'80, 8080-8880'", "80-80|8080-8880" },
        { CFG_RANGES, 0, "[80, 8080-8880]", "80-80|8080-8880" }, { CFG_RANGES, 0, "90-80", "80-90" }, { CFG_RANGES, 0, "'*'", "0-65535" },
        { CFG_RANGES, 0, "' * '", "0-65535" }, { CFG_RANGES, 0, "['1', '*']", "1-1|0-65535" }, { CFG_RANGES, 0, "'*/1'", NULL }, { CFG_RANGES, 0, "'1-[5]'", "1-5" },
        { CFG_RANGES, 0, "['[80-90]', 100/200]", "80-90|100-100|200-200" }, { CFG_RANGES, 0, "70000", NULL }, { CFG_RANGES, 0, "80-", NULL }, { CFG_RANGES, 0, "80;90", NULL },
        { CFG_RANGES, 0, "[80, http]", NULL }, { CFG_RANGES, 0, "99999999999", NULL }, { CFG_RANGES, 0, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/29", NULL },
        { CFG_UIDS, 0, "[1000, '2000:3000']", "1000-1000|2000-3000" }, { CFG_UIDS, 0, "x", NULL },
        /* matchers */
        { CFG_MATCHERS, 0, "['*.lan', '+.a.b', 'geosite:cn,private', 'RULE-SET:a, b', 'Mijia Cloud']", "*.lan|+.a.b|geo cn|geo private|set a|set b|Mijia Cloud" },
        { CFG_MATCHERS, 0, "['geoip:cn', 'fc00::/7', 10.0.0.0/8, 'rule-set:']", "geo cn|fc00::/7|10.0.0.0/8" },
        /* headers */
        { CFG_HEADERS, 0, "{User-Agent: [a, b], X: c, Y: }", "User-Agent=a|b;X=c" }, { CFG_HEADERS, 0, "[a]", NULL }, { CFG_HEADERS, 0, "{}", "" },
        { CFG_SUB, 0, "[x]", "node" }, { CFG_SUB, 0, "~", "(none)" },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        const struct cfg_field f = { "k", cases[i].type, off_of(cases[i].type), cases[i].flags, .max = cases[i].type >= CFG_RANGES && cases[i].type <= CFG_UIDS ? 65535 : 0,
                                     .names = colours };
        struct diag d;
        int problems;
        char *got = read_value(&f, cases[i].value, true, &problems, &d);

        if (cases[i].want && (problems || d.n || strcmp(got, cases[i].want) != 0))
            fail_msg("type %d, %s: got %s, %s", cases[i].type, cases[i].value, got, d.n ? d.items[0].message : "no message");
        if (!cases[i].want && (!problems || d.n_errors != 1 || d.items[0].line != 1 || strcmp(d.items[0].code, "bad-value") != 0))
            fail_msg("type %d, %s: taken as %s", cases[i].type, cases[i].value, got);
        free(got);
        diag_fini(&d);
    }
}

/* ---- defaults, flags ---- */

static void defaults_and_flags(void **state)
{
    static const struct { struct cfg_field f; const char *value; bool fatal; const char *want; int problems; size_t errors, warnings; } cases[] = {
        { { .type = CFG_INT, .def = "7" }, "", true, "7", 0, 0, 0 },
        { { .type = CFG_INT, .def = "7" }, "8", true, "8", 0, 0, 0 },
        { { .type = CFG_INT, .def = "7" }, "x", true, "7", 1, 1, 0 },
        { { .type = CFG_INT, .def = "7" }, "x", false, "7", 1, 0, 1 },
        { { .type = CFG_BOOL, .def = "true" }, "~", true, "true", 0, 0, 0 },
        { { .type = CFG_STRS, .def = "a" }, "", true, "a", 0, 0, 0 },
        { { .type = CFG_STRS, .def = "a" }, "[]", true, "", 0, 0, 0 }, /* written, and empty: not the default */
        { { .type = CFG_STRS, .def = "a" }, "[b, c]", true, "b|c", 0, 0, 0 },
        { { .type = CFG_INT, .flags = CFG_SOFT, .def = "3" }, "x", true, "3", 0, 0, 1 },
        { { .type = CFG_INT, .min = 1, .max = 9 }, "10", true, "0", 1, 1, 0 },
        { { .type = CFG_INT, .flags = CFG_CLAMP, .min = 1, .max = 9 }, "10", true, "9", 0, 0, 1 },
        { { .type = CFG_INT, .flags = CFG_CLAMP, .min = 1, .max = 9 }, "-5", true, "1", 0, 0, 1 },
        { { .type = CFG_CIDRS }, "[nonsense, 10.0.0.0/8, {a: b}]", true, "10.0.0.0/8", 0, 0, 2 },
        { { .type = CFG_ADDRS }, "[x, '::1']", true, "::1", 0, 0, 1 },
        { { .type = CFG_IFADDRS }, "[192.0.2.1]", true, "", 0, 0, 1 },
        { { .type = CFG_STRS }, "[[a], b]", false, "b", 0, 0, 1 },
        { { .type = CFG_BOOL, .lacks = "nothing happens" }, "true", true, "true", 0, 0, 1 },
        { { .type = CFG_BOOL, .lacks = "nothing happens" }, "false", true, "false", 0, 0, 0 },
        { { .type = CFG_BOOL, .def = "true", .lacks = "nothing happens" }, "true", true, "true", 0, 0, 0 },
        { { .type = CFG_BOOL, .def = "true", .lacks = "nothing happens" }, "false", true, "false", 0, 0, 1 },
        { { .type = CFG_PORT, .lacks = "nothing happens" }, "0", true, "0", 0, 0, 0 },
        { { .type = CFG_PORT, .lacks = "nothing happens" }, "7890", true, "7890", 0, 0, 1 },
        { { .type = CFG_STR, .lacks = "nothing happens" }, "''", true, "", 0, 0, 0 },
        { { .type = CFG_STR, .lacks = "nothing happens" }, "x", true, "x", 0, 0, 1 },
        { { .type = CFG_SUB, .lacks = "nothing happens" }, "[]", true, "node", 0, 0, 0 },
        { { .type = CFG_SUB, .lacks = "nothing happens" }, "[x]", true, "node", 0, 0, 1 },
        { { .type = CFG_SUB, .lacks = "nothing happens" }, "false", true, "node", 0, 0, 0 },
        { { .type = CFG_STRS, .lacks = "nothing happens" }, "[]", true, "", 0, 0, 0 },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        struct cfg_field f = cases[i].f;
        struct diag d;
        int problems;
        char *got;

        f.key = "k";
        f.off = off_of(f.type);
        f.names = colours;
        got = read_value(&f, cases[i].value, cases[i].fatal, &problems, &d);
        if (strcmp(got, cases[i].want) != 0 || problems != cases[i].problems || d.n_errors != cases[i].errors || d.n_warnings != cases[i].warnings)
            fail_msg("case %zu, %s: %s, %d problems, %zu errors, %zu warnings: %s", i, cases[i].value, got, problems, d.n_errors, d.n_warnings,
                     d.n ? d.items[0].message : "");
        free(got);
        diag_fini(&d);
    }
}

struct nested {
    const char *name;
    int64_t port;
    bool on;
};

static void tables_nest_and_keys_are_required(void **state)
{
    static const struct cfg_field inner[] = {
        { "port", CFG_INT, offsetof(struct nested, port), .def = "5" },
        { "on", CFG_BOOL, offsetof(struct nested, on), CFG_LOOSE },
        { 0 },
    };
    static const struct cfg_field outer[] = {
        { "name", CFG_STR, offsetof(struct nested, name), CFG_REQUIRED },
        { "opts", CFG_SECTION, .sub = inner },
        { 0 },
    };
    static const struct { const char *yaml; int problems; int64_t port; const char *path; uint32_t line; } cases[] = {
        { "name: a\nopts: {port: 9, on: yes}\n", 0, 9, "", 0 },
        { "name: a\n", 0, 5, "", 0 },
        { "name: a\nopts:\n", 0, 5, "", 0 },
        { "name: a\nopts: []\n", 0, 5, "", 0 },
        { "x: 1\nopts: {port: 1}\n", 1, 1, "e[3]", 1 },
        { "name: a\nopts: {port: x}\n", 1, 5, "e[3].opts", 2 },
        { "name: a\nopts: text\n", 1, 5, "e[3]", 2 },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        struct nested n = { 0 };
        struct cfg_doc *doc;
        struct diag d;

        diag_init(&d, "t", NULL, 0, false);
        assert_non_null(doc = cfg_parse(cases[i].yaml, strlen(cases[i].yaml), &d));
        assert_int_equal(cfg_read(doc, cfg_root(doc), outer, CFG_KEYS_NOCASE, &n, false, "e[3]", &d), cases[i].problems);
        assert_int_equal(n.port, cases[i].port);
        assert_int_equal(d.n, cases[i].problems);
        if (d.n) {
            assert_string_equal(d.items[0].path, cases[i].path);
            assert_int_equal(d.items[0].line, cases[i].line);
        }
        cfg_doc_free(doc);
        diag_fini(&d);
    }
}

static void a_secret_is_never_shown(void **state)
{
    const struct cfg_field f = { "k", CFG_SECRET, offsetof(struct all, s) };
    struct diag d;
    int problems;

    free(read_value(&f, "[hunter2]", true, &problems, &d));
    assert_int_equal(problems, 1);
    assert_null(strstr(d.items[0].message, "hunter2"));
    diag_fini(&d);
}

static void misspelt_keys_are_told(void **state)
{
    static const struct cfg_field fields[] = { { "enhanced-mode", CFG_STR, 0 }, { "enable", CFG_STR, 0 }, { "rules", CFG_STR, 0 }, { "tun", CFG_STR, 0 }, { 0 } };
    static const struct { const char *yaml, *hint; } cases[] = {
        { "enhance-mode: x", "did you mean \"enhanced-mode\"" }, { "enabled: true", "did you mean \"enable\"" }, { "Rules: [x]", "did you mean \"rules\"" },
        { "rule: [x]", "did you mean \"rules\"" }, { "enbale: true", "did you mean \"enable\"" }, { "tnu: x", "did you mean \"tun\"" },
        { "p: &p {a: b}", NULL }, { "enabled:", NULL }, { "rules: [x]\nrule: y", NULL }, { "x-rules: y", NULL }, { "fallback: x", NULL }, { "dns: x", NULL },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        struct cfg_doc *doc;
        struct diag d;

        diag_init(&d, "t", NULL, 0, false);
        assert_non_null(doc = cfg_parse(cases[i].yaml, strlen(cases[i].yaml), &d));
        cfg_warn_misspelt(cfg_root(doc), fields, NULL, "", &d);
        if (cases[i].hint ? d.n != 1 || !strstr(d.items[0].message, cases[i].hint) : d.n != 0)
            fail_msg("%s: %s", cases[i].yaml, d.n ? d.items[0].message : "nothing");
        cfg_doc_free(doc);
        diag_fini(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_coerced),
        cmocka_unit_test(defaults_and_flags),
        cmocka_unit_test(tables_nest_and_keys_are_required),
        cmocka_unit_test(a_secret_is_never_shown),
        cmocka_unit_test(misspelt_keys_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
