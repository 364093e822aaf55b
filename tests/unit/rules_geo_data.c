/*
 * rules_geo_data.c - the databases of others: geosite.dat against the sources it was made from, MaxMind DBs against libmaxminddb's own
 * look-up
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <maxminddb.h>

#include "rules/geo.h"
#include "tests/unit/data.h"
#include "tests/unit/rules_list.h"

/* A line of the source: "[full:|regexp:|keyword:]TEXT [@attr...] [# comment]". Without a kind it is the name and all below. */
static void add_source_line(struct list *l, char *line, const char *attr)
{
    static const char *const kinds[] = { "full:", "regexp:", "keyword:" };
    char *save = NULL, *word, text[300];
    size_t skip = 0;
    bool has = !attr;

    line[strcspn(line, "#")] = 0;
    if (!(word = strtok_r(line, " \t", &save)))
        return;
    for (char *a; (a = strtok_r(NULL, " \t", &save));)
        has |= attr && *a == '@' && !strcmp(a + 1, attr);
    for (size_t i = 0; i < 3; i++)
        if (!strncmp(word, kinds[i], strlen(kinds[i])))
            skip = strlen(kinds[i]);
    snprintf(text, sizeof(text), "%s%s", skip ? "" : "+.", word + skip);
    if (has)
        list_add(l, text, strlen(text));
}

static void sites_as_in_their_source(void **state)
{
    static const struct {
        const char *source, *category, *attr;
    } t[] = {
        { "data-telegram", "telegram", NULL },
        { "data-netflix", "netflix", NULL },
        { "data-netflix", "netflix@none", "none" },
    };
    size_t len = 0;
    char *dat = data_read("rulesets/v2fly/dlc.dat", &len);

    assert_non_null(dat);
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct list here, there;
        char name[64], *text, *save = NULL;
        size_t n = 0;

        snprintf(name, sizeof(name), "rulesets/v2fly/%s", t[i].source);
        assert_non_null(text = data_read(name, &n));
        text[n] = 0;
        list_init(&here);
        list_init(&there);
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            add_source_line(&there, line, t[i].attr);
        assert_int_equal(geosite_read(dat, len, t[i].category, &here.v, NULL), 0);
        list_tidy(&here, SET_DOMAIN);
        list_tidy(&there, SET_DOMAIN);
        list_check_equal(t[i].category, &here, &there);
        list_free(&here);
        list_free(&there);
        free(text);
    }
    free(dat);
}

static void attributes_choose_from_a_category(void **state)
{
    struct set_stats all, ads, cn;
    struct list l;
    size_t len = 0;
    char *dat = data_read("rulesets/v2fly/dlc.dat", &len);

    list_init(&l);
    assert_int_equal(geosite_read(dat, len, "google", &l.v, &all), 0);
    assert_int_equal(geosite_read(dat, len, "google@ads", &l.v, &ads), 0);
    assert_int_equal(geosite_read(dat, len, "google@cn", &l.v, &cn), 0);
    assert_true(ads.entries && cn.entries && ads.entries + cn.entries < all.entries);
    assert_int_equal(all.bad, 0);
    list_free(&l);
    free(dat);
}

/* ---- MaxMind DB ---- */

static bool looked_up(const MMDB_s *db, const struct endpoint *at, const char *code)
{
    struct sockaddr_storage ss;
    MMDB_entry_data_s d;
    MMDB_lookup_result_s r;
    int err;

    endpoint_to_sockaddr(at, &ss);
    r = MMDB_lookup_sockaddr(db, (struct sockaddr *)&ss, &err);
    assert_int_equal(err, 0);
    if (!r.found_entry)
        return false;
    if (!strcmp(db->metadata.database_type, "Meta-geoip0")) {
        static const char *const root[] = { NULL };

        assert_int_equal(MMDB_aget_value(&r.entry, &d, root), 0);
        for (unsigned i = 0; d.type == MMDB_DATA_TYPE_ARRAY && i < d.data_size; i++) {
            char index[12];
            MMDB_entry_data_s item;

            snprintf(index, sizeof(index), "%u", i);
            assert_int_equal(MMDB_get_value(&r.entry, &item, index, NULL), 0);
            if (item.data_size == strlen(code) && !strncasecmp(item.utf8_string, code, item.data_size))
                return true;
        }
    } else if (MMDB_get_value(&r.entry, &d, "country", "iso_code", NULL) != 0) {
        return false;
    }
    return d.type == MMDB_DATA_TYPE_UTF8_STRING && d.data_size == strlen(code) && !strncasecmp(d.utf8_string, code, d.data_size);
}

static bool listed(const struct list *l, const struct addr *a)
{
    struct list one = { 0 };
    struct cidr c = { *a, (uint8_t)(addr_len(a) * 8) };
    bool found = false;

    list_add_prefix(&one, &c);
    for (size_t len = strlen(one.at[0]); len && !found; len--) {
        one.at[0][len] = 0;
        found = list_has(l, one.at[0]);
    }
    list_free(&one);
    return found;
}

static void prefixes_agree_with_the_look_up(void **state)
{
    static const char *const files[] = { "rulesets/metacubex/country-lite.mmdb", "rulesets/metacubex/geoip-lite.metadb" };
    static const char *const codes[] = { "cn", "telegram", "google", "private", "zz" };
    uint32_t seed = 1;

    for (size_t f = 0; f < 2; f++) {
        struct geo_want want[5];
        struct list l[5];
        char path[512];
        size_t len = 0, n_in = 0;
        char *bytes = data_read(files[f], &len);
        MMDB_s db;

        snprintf(path, sizeof(path), "%s/%s", data_dir(), files[f]);
        assert_int_equal(MMDB_open(path, MMDB_MODE_MMAP, &db), 0);
        for (size_t i = 0; i < 5; i++) {
            list_init(&l[i]);
            want[i] = (struct geo_want){ codes[i], l[i].v, 0 };
        }
        assert_int_equal(geo_mmdb_read(bytes, len, GEO_CODE, want, 5), 0);
        assert_true(want[0].n_prefixes > 5000 && want[1].n_prefixes > 5 && !want[4].n_prefixes);
        for (size_t i = 0; i < 5; i++)
            list_tidy(&l[i], SET_IPCIDR);
        for (int round = 0; round < 20000; round++) {
            uint8_t b[16] = { 0x24, 0x08 };
            struct endpoint at = { .port = 1 };

            for (int i = round % 4 == 0 ? 2 : 0; i < 6; i++)
                b[i] = (uint8_t)((seed = seed * 1103515245 + 12345) >> 16);
            at.ip = round % 4 == 0 ? addr_v6(b) : addr_v4(b);
            for (size_t i = 0; i < 5; i++) {
                bool in = listed(&l[i], &at.ip);

                n_in += in;
                if (in != looked_up(&db, &at, codes[i]))
                    fail_msg("%s: %s %s", files[f], codes[i], in ? "here only" : "there only");
            }
        }
        assert_true(n_in > 1000);
        for (size_t i = 0; i < 5; i++)
            list_free(&l[i]);
        MMDB_close(&db);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sites_as_in_their_source),
        cmocka_unit_test(attributes_choose_from_a_category),
        cmocka_unit_test(prefixes_agree_with_the_look_up),
    };
    size_t len;
    char *there = data_read("rulesets/v2fly/dlc.dat", &len);

    free(there);
    return there ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
