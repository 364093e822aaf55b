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
#include "tests/unit/rules_list.h"

static uint32_t load(struct list *s, const char *name, enum set_behavior b, enum set_format f)
{
    struct set_stats st;
    size_t len = 0;
    char *bytes = data_read(name, &len);

    list_init(s);
    assert_non_null(bytes);
    assert_int_equal(set_read(bytes, len, b, f, &s->v, &st), 0);
    assert_int_equal(st.bad, 0);
    assert_int_equal(st.misplaced, strstr(name, "mrs-") ? st.entries : 0); /* made from rule lines */
    free(bytes);
    return st.entries;
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
        struct list s[3];

        for (int f = SET_YAML; f <= SET_MRS; f++) {
            char name[128];

            snprintf(name, sizeof(name), "rulesets/metacubex/%s.%s", t[i].stem, ext[f]);
            load(&s[f], name, t[i].b, (enum set_format)f);
            list_tidy(&s[f], t[i].b);
        }
        assert_true(s[0].n > 0);
        list_check_equal(t[i].stem, &s[SET_YAML], &s[SET_TEXT]);
        list_check_equal(t[i].stem, &s[SET_YAML], &s[SET_MRS]);
        for (int f = SET_YAML; f <= SET_MRS; f++)
            list_free(&s[f]);
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
        struct list s;
        uint32_t entries;

        for (char *p = line; n < 8 && p;)
            field[n++] = strsep(&p, "\t");
        if (n < 8 || (b = index_of(set_behavior_names, field[5])) < 0 || (f = index_of(set_format_names, field[6])) < 0)
            continue;
        snprintf(name, sizeof(name), "rulesets/%s", field[0]);
        entries = load(&s, name, (enum set_behavior)b, (enum set_format)f);
        list_free(&s);
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
