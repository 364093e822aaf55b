/*
 * rules_set_data.c - the rule sets of others: the same set as yaml, text and mrs has the same entries; every list of the manifest has as
 * many as it is said to have
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/data.h"
#include "tests/unit/rules_seen.h"

/* Entries as texts that can be sorted. */
struct set {
    struct set_visitor v;
    char **at;
    size_t n, cap;
};

static int add(struct set *s, const char *text, size_t len)
{
    if (s->n == s->cap)
        s->at = realloc(s->at, (s->cap = s->cap ? s->cap * 2 : 64) * sizeof(*s->at));
    return (s->at[s->n++] = strndup(text, len)) ? 0 : -1;
}

static void unload(struct set *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->at[i]);
    free(s->at);
}

static int add_text(void *arg, const char *text, size_t len)
{
    return add(arg, text, len);
}

static int add_rule(void *arg, const char *text, size_t len, uint32_t line)
{
    return add(arg, text, len);
}

/* Family and bits, so that halves sort side by side and what is inside another begins like it. */
static int add_prefix(void *arg, const struct cidr *c)
{
    char text[140];
    size_t n = 0;

    text[n++] = (char)('0' + c->ip.ver);
    for (unsigned bit = 0; bit < c->len; bit++)
        text[n++] = c->ip.b[bit / 8] >> (7 - bit % 8) & 1 ? '1' : '0';
    return add(arg, text, n);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts, drops doubles and what is inside another, joins halves; so that it does not matter how addresses were cut. */
static void tidy_prefixes(struct set *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        char *p = s->at[i];

        if (n && !strncmp(s->at[n - 1], p, strlen(s->at[n - 1]))) {
            free(p);
            continue;
        }
        s->at[n++] = p;
        for (size_t len;
             n >= 2 && (len = strlen(s->at[n - 1])) > 1 && strlen(s->at[n - 2]) == len && !strncmp(s->at[n - 2], s->at[n - 1], len - 1);) {
            free(s->at[--n]);
            s->at[n - 1][len - 1] = 0;
        }
    }
    s->n = n;
}

static bool has(const struct set *s, const char *text)
{
    return bsearch(&text, s->at, s->n, sizeof(*s->at), by_text);
}

/* Drops doubles, and x where +.x is there too: the trie of an mrs file cannot tell. */
static void tidy_names(struct set *s)
{
    struct set kept = { 0 };

    for (size_t i = 0; i < s->n; i++) {
        char both[300];

        snprintf(both, sizeof(both), "+.%s", s->at[i]);
        if (!has(s, both) && (!kept.n || strcmp(kept.at[kept.n - 1], s->at[i]) != 0))
            add(&kept, s->at[i], strlen(s->at[i]));
    }
    unload(s);
    s->at = kept.at;
    s->n = kept.n;
}

static uint32_t load(struct set *s, const char *name, enum set_behavior b, enum set_format f)
{
    struct set_stats st;
    size_t len = 0;
    char *bytes = data_read(name, &len);

    *s = (struct set){ .v = { s, add_text, add_text, add_text, add_prefix, add_rule } };
    assert_non_null(bytes);
    assert_int_equal(set_read(bytes, len, b, f, &s->v, &st), 0);
    assert_int_equal(st.bad, 0);
    assert_int_equal(st.misplaced, strstr(name, "mrs-") ? st.entries : 0); /* made from rule lines */
    free(bytes);
    return st.entries;
}

static void sort(struct set *s, enum set_behavior b)
{
    qsort(s->at, s->n, sizeof(*s->at), by_text);
    if (b == SET_IPCIDR)
        tidy_prefixes(s);
    else
        tidy_names(s);
}

static void check_equal(const char *stem, const struct set *a, const struct set *b)
{
    for (size_t i = 0; i < a->n && i < b->n; i++)
        if (strcmp(a->at[i], b->at[i]) != 0)
            fail_msg("%s: %s here, %s there", stem, a->at[i], b->at[i]);
    assert_int_equal(a->n, b->n);
}

static void the_same_set_in_three_formats(void **state)
{
    static const struct {
        const char *stem;
        enum set_behavior b;
    } t[] = {
        { "geoip-cn", SET_IPCIDR },
        { "geoip-google", SET_IPCIDR },
        { "geoip-netflix", SET_IPCIDR },
        { "geoip-private", SET_IPCIDR },
        { "geoip-telegram", SET_IPCIDR },
        { "geosite-apple", SET_DOMAIN },
        { "geosite-category-ads-all-at-cn", SET_DOMAIN },
        { "geosite-category-ads-all", SET_DOMAIN },
        { "geosite-category-scholar-not-cn", SET_DOMAIN },
        { "geosite-cn", SET_DOMAIN },
        { "geosite-geolocation-not-cn", SET_DOMAIN },
        { "geosite-gfw", SET_DOMAIN },
        { "geosite-google-at-cn", SET_DOMAIN },
        { "geosite-google", SET_DOMAIN },
        { "geosite-netflix", SET_DOMAIN },
        { "geosite-openai", SET_DOMAIN },
        { "geosite-private", SET_DOMAIN },
        { "geosite-telegram", SET_DOMAIN },
    };
    static const char *const ext[] = { [SET_YAML] = "yaml", [SET_TEXT] = "list", [SET_MRS] = "mrs" };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct set s[3];

        for (int f = SET_YAML; f <= SET_MRS; f++) {
            char name[128];

            snprintf(name, sizeof(name), "rulesets/metacubex/%s.%s", t[i].stem, ext[f]);
            load(&s[f], name, t[i].b, (enum set_format)f);
            sort(&s[f], t[i].b);
        }
        assert_true(s[0].n > 0);
        check_equal(t[i].stem, &s[SET_YAML], &s[SET_TEXT]);
        check_equal(t[i].stem, &s[SET_YAML], &s[SET_MRS]);
        for (int f = SET_YAML; f <= SET_MRS; f++)
            unload(&s[f]);
    }
}

static int index_of(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], word))
            return i;
    return -1;
}

/* The manifest counts lines of the source; an mrs file keeps no doubles, so it may have fewer. */
static void as_many_entries_as_the_manifest_says(void **state)
{
    size_t len = 0, n_checked = 0;
    char *manifest = data_read("rulesets/MANIFEST.tsv", &len), *save = NULL;

    assert_non_null(manifest);
    manifest[len] = 0;
    for (char *line = strtok_r(manifest, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *field[8], name[256];
        int n = 0, b, f;
        struct set s;
        uint32_t entries;

        for (char *p = line; n < 8 && p;)
            field[n++] = strsep(&p, "\t");
        if (n < 8 || (b = index_of(set_behavior_names, field[5])) < 0 || (f = index_of(set_format_names, field[6])) < 0)
            continue;
        snprintf(name, sizeof(name), "rulesets/%s", field[0]);
        entries = load(&s, name, (enum set_behavior)b, (enum set_format)f);
        unload(&s);
        n_checked++;
        if (f == SET_MRS ? entries > strtoul(field[7], NULL, 10) || !entries : entries != strtoul(field[7], NULL, 10))
            fail_msg("%s: %u entries, not %s", field[0], entries, field[7]);
    }
    assert_true(n_checked >= 80);
    free(manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_set_in_three_formats),
        cmocka_unit_test(as_many_entries_as_the_manifest_says),
    };
    size_t len;
    char *there = data_read("rulesets/MANIFEST.tsv", &len);

    free(there);
    return there ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
