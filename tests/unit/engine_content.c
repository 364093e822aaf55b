/*
 * engine_content.c - what rules refer to: which files there are for a profile, which path counts, which copy is used
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <unistd.h>

#include "core/file.h"
#include "engine/content.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char dir[64];

static int begin(void **state)
{
    strcpy(dir, "/tmp/shunt-content.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

static int end(void **state)
{
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *content)
{
    assert_int_equal(file_replace_beneath(dir, name, content, strlen(content), PROVIDER_COPIES), 0);
}

/* A profile, its specs, and what was said of them. */
struct loaded {
    struct diag d;
    struct profile *p;
    struct specs s;
    size_t n_before; /* messages about the profile itself */
};

static void load(struct loaded *l, const char *text, bool foreign, const char *near)
{
    struct cfg_input in = { .name = "p.yaml", .bytes = text, .len = strlen(text), .foreign = foreign };

    diag_init(&l->d, "p.yaml", NULL, 0, false);
    l->p = profile_read(&in, NULL, &l->d);
    assert_non_null(l->p);
    l->n_before = l->d.n;
    assert_int_equal(specs_init(&l->s, l->p, dir, near, &l->d), 0);
}

static void unload(struct loaded *l)
{
    specs_fini(&l->s);
    profile_free(l->p);
    diag_fini(&l->d);
}

static struct content *open_content(struct loaded *l, bool repair)
{
    struct content *c = content_open(l->p, &l->s, dir, repair, &l->d);

    assert_non_null(c);
    return c;
}

/* ---- specs ---- */

static void providers_become_specs(void **state)
{
    struct loaded l;
    const struct provider_spec *v;

    load(&l,
         "global-ua: Agent/1\n"
         "rule-providers:\n"
         "  a: {type: http, behavior: ipcidr, format: mrs, url: 'http://x/a', path: ./r/a.mrs, interval: 60, proxy: P, size-limit: 5,\n"
         "      header: {X-One: [one, two], User-Agent: [Mine/2]}}\n"
         "  b: {type: file, behavior: classical, format: text, path: b.txt}\n"
         "  c: {type: inline, behavior: domain, payload: [x.com, y.com]}\n"
         "rules: ['MATCH,DIRECT']\n",
         false, "/near");
    assert_int_equal(l.s.n, 3);
    assert_int_equal(l.s.n_rules, 3);
    v = l.s.v;
    assert_string_equal(v[0].name, "a");
    assert_int_equal(v[0].from, PROVIDER_HTTP);
    assert_int_equal(v[0].behavior, SET_IPCIDR);
    assert_int_equal(v[0].format, SET_MRS);
    assert_string_equal(v[0].path, "./r/a.mrs");
    assert_string_equal(v[0].proxy, "P");
    assert_string_equal(v[0].headers[0], "X-One: one");
    assert_string_equal(v[0].headers[1], "X-One: two");
    assert_null(v[0].headers[2]);
    assert_string_equal(v[0].user_agent, "Mine/2");
    assert_string_equal(v[0].near, "/near");
    assert_int_equal(v[0].interval_s, 60);
    assert_int_equal(v[0].size_limit, 5);
    assert_true(v[0].own);
    assert_int_equal(v[1].from, PROVIDER_FILE);
    assert_int_equal(v[1].behavior, SET_CLASSICAL);
    assert_string_equal(v[1].user_agent, "Agent/1");
    assert_int_equal(v[2].from, PROVIDER_INLINE);
    assert_int_equal(l.d.n, l.n_before);
    unload(&l);
}

static void paths_that_may_not_be_are_replaced(void **state)
{
    struct loaded l;

    load(&l,
         "rule-providers:\n"
         "  a: {type: http, behavior: domain, url: 'http://x/a', path: ../a}\n"
         "  b: {type: http, behavior: domain, url: 'http://x/b', path: same}\n"
         "  c: {type: http, behavior: domain, url: 'http://x/c', path: same}\n"
         "  d: {type: http, behavior: domain, url: 'http://x/b', path: same}\n"
         "  e: {type: file, behavior: domain, path: /etc/passwd}\n",
         true, NULL);
    assert_null(l.s.v[0].path);
    assert_string_equal(l.s.v[1].path, "same");
    assert_null(l.s.v[2].path);
    assert_string_equal(l.s.v[3].path, "same"); /* the same url: the same file is right */
    assert_null(l.s.v[4].path);
    assert_int_equal(l.d.n, l.n_before + 3);
    for (size_t i = l.n_before; i < l.d.n; i++)
        assert_string_equal(l.d.items[i].code, "unsafe-path");
    unload(&l);
    load(&l, "rule-providers: {e: {type: file, behavior: domain, path: /etc/hostname}}\n", false, NULL); /* the user's own */
    assert_string_equal(l.s.v[0].path, "/etc/hostname");
    unload(&l);
}

static void databases_are_fetched_when_a_rule_needs_one_that_is_not_there(void **state)
{
    static const struct {
        const char *profile, *names;
    } t[] = {
        { "rules: ['MATCH,DIRECT']\n", "" },
        { "rules: ['geosite,cn,DIRECT', 'MATCH,DIRECT']\n", "geosite " },
        { "rules: ['AND,((GEOIP,cn),(IP-ASN,1)),DIRECT']\n", "geoip.metadb asn " },
        { "geodata-mode: true\nrules: ['SRC-GEOIP,cn,DIRECT']\n", "geoip.dat " },
        { "sub-rules: {a: ['GEOSITE,x,DIRECT']}\nrules: ['MATCH,DIRECT']\n", "geosite " },
        { "dns: {fake-ip-filter: ['geosite:cn']}\n", "geosite " },
        { "sniffer: {enable: true, skip-domain: ['geosite:cn'], skip-dst-address: ['geoip:cn']}\n", "geosite geoip.metadb " },
    };

    for (size_t i = 0; i < COUNT(t); i++) {
        char names[128] = "";
        struct loaded l;

        load(&l, t[i].profile, false, NULL);
        for (uint32_t k = 0; k < l.s.n; k++) {
            assert_int_equal(l.s.v[k].kind, PROVIDER_GEO);
            assert_int_equal(l.s.v[k].interval_s, 0);
            strcat(strcat(names, l.s.v[k].name), " ");
        }
        assert_string_equal(names, t[i].names);
        unload(&l);
    }
}

static void databases_that_are_there_are_not_fetched_unless_they_shall_be_renewed(void **state)
{
    struct loaded l;

    put("country.mmdb", "x");
    put("geosite.dat", "x");
    load(&l, "rules: ['GEOSITE,cn,DIRECT', 'GEOIP,cn,DIRECT']\n", false, NULL);
    assert_int_equal(l.s.n, 2);
    assert_string_equal(l.s.v[0].path, "geosite.dat"); /* found, so without an interval it is not fetched (engine_provider) */
    assert_string_equal(l.s.v[1].path, "country.mmdb");
    assert_int_equal(l.s.v[0].interval_s | l.s.v[1].interval_s, 0);
    unload(&l);
    load(
        &l,
        "geo-auto-update: true\ngeo-update-interval: 12\ngeox-url: {mmdb: 'http://m/x'}\nrules: ['GEOSITE,cn,DIRECT', 'GEOIP,cn,DIRECT']\n",
        false, NULL);
    assert_int_equal(l.s.n, 2);
    assert_string_equal(l.s.v[1].url, "http://m/x");
    assert_string_equal(l.s.v[1].path, "country.mmdb");
    assert_int_equal(l.s.v[1].interval_s, 12 * 3600);
    assert_true(l.s.v[1].own);
    unload(&l);
    load(&l, "geox-url: {geosite: 'http://192.168.1.1/x'}\nrules: ['GEOSITE,cn,DIRECT']\n", true, NULL);
    assert_false(l.s.v[0].own); /* a stranger's profile does not make us ask the router */
    unload(&l);
}

static void lines_of_classical_sets_need_databases_too(void **state)
{
    struct rules_provider r;
    struct content *c;
    struct loaded l;

    put("a.txt", "DOMAIN,x\nAND,((GEOSITE,cn),(GEOIP,cn))\n");
    load(&l,
         "rule-providers:\n"
         "  a: {type: file, behavior: classical, format: text, path: a.txt}\n"
         "  b: {type: inline, behavior: classical, payload: ['SRC-IP-ASN,1']}\n"
         "  c: {type: inline, behavior: domain, payload: ['geosite']}\n",
         false, NULL);
    assert_int_equal(l.s.n, 3);
    c = open_content(&l, false);
    assert_true(content_provider(c, "a", &r));
    assert_true(content_provider(c, "c", &r));
    content_add_geo(c);
    content_add_geo(c);
    assert_int_equal(l.s.n, 5); /* nobody asked for b */
    assert_string_equal(l.s.v[3].name, "geosite");
    assert_string_equal(l.s.v[4].name, "geoip.metadb");
    assert_true(content_provider(c, "b", &r));
    content_add_geo(c);
    assert_int_equal(l.s.n, 6);
    assert_string_equal(l.s.v[5].name, "asn");
    content_close(c);
    unload(&l);
}

/* ---- bytes ---- */

static const char three[] = "rule-providers:\n"
                            "  web: {type: http, behavior: domain, format: text, url: 'http://x/a', path: web.txt}\n"
                            "  own: {type: file, behavior: domain, format: text, path: own.txt}\n"
                            "  here: {type: inline, behavior: domain, payload: [x.com, y.com]}\n";

static void a_provider_is_read_when_it_is_asked_for(void **state)
{
    struct rules_provider r;
    struct content *c;
    struct loaded l;

    put("web.txt", "a.com\nb.com\n");
    put("own.txt", "c.com\n");
    load(&l, three, false, NULL);
    c = open_content(&l, false);
    assert_true(content_provider(c, "web", &r));
    assert_string_equal(r.bytes, "a.com\nb.com\n");
    assert_string_equal(r.cfg->name, "web");
    assert_true(content_provider(c, "web", &r));
    assert_true(content_provider(c, "own", &r));
    assert_string_equal(r.bytes, "c.com\n");
    assert_true(content_provider(c, "here", &r));
    assert_null(r.bytes);
    assert_false(content_provider(c, "none", &r));
    assert_int_equal(l.s.sizes[0], 2);
    assert_int_equal(l.s.sizes[1], 1);
    assert_int_equal(l.s.sizes[2], 2);
    content_close(c);
    unload(&l);
}

static void what_is_not_there_is_no_error(void **state)
{
    struct rules_provider r;
    struct rules_env env = { 0 };
    struct content *c;
    struct loaded l;

    load(&l, three, false, NULL);
    c = open_content(&l, true);
    assert_true(content_provider(c, "web", &r));
    assert_null(r.bytes);
    assert_true(content_provider(c, "own", &r));
    assert_null(r.bytes);
    content_geo(c, &env);
    assert_null(env.geosite.bytes);
    assert_int_equal(l.d.n, l.n_before);
    content_close(c);
    unload(&l);
}

static void a_broken_file_is_set_aside_and_the_copy_before_it_is_used(void **state)
{
    for (int repair = 0; repair < 2; repair++) {
        struct rules_provider r;
        struct content *c;
        struct loaded l;
        char *bytes;
        size_t len;
        int64_t when;

        put("web.txt", "a.com\n");
        put("web.txt", "<html>");
        put("web.txt", "/ / /\n");
        load(&l, three, false, NULL);
        c = open_content(&l, repair);
        assert_true(content_provider(c, "web", &r));
        assert_string_equal(r.bytes, "a.com\n");
        assert_int_equal(l.d.n, l.n_before + 1);
        assert_string_equal(l.d.items[l.n_before].code, "missing-data");
        content_close(c);
        unload(&l);
        assert_int_equal(file_read_beneath(dir, "web.txt.bad", 100, &bytes, &len, &when), repair ? 0 : -ENOENT);
        assert_int_equal(file_open_beneath(dir, "web.txt") >= 0, !repair);
        if (repair)
            free(bytes);
    }
}

static void the_users_files_are_found_beside_the_profile(void **state)
{
    char near[80], path[96];
    struct rules_provider r;
    struct content *c;
    struct loaded l;

    put("profiles/own.txt", "near.com\n");
    snprintf(near, sizeof(near), "%s/profiles", dir);
    load(&l, three, false, near);
    c = open_content(&l, false);
    assert_true(content_provider(c, "own", &r));
    assert_string_equal(r.bytes, "near.com\n");
    content_close(c);
    put("own.txt", "state.com\n"); /* the state directory comes first */
    c = open_content(&l, false);
    assert_true(content_provider(c, "own", &r));
    assert_string_equal(r.bytes, "state.com\n");
    content_close(c);
    unload(&l);
    snprintf(path, sizeof(path), "%s/own.txt", dir);
    assert_int_equal(unlink(path), 0);
    load(&l, three, true, near); /* a stranger's profile finds nothing there */
    c = open_content(&l, false);
    assert_true(content_provider(c, "own", &r));
    assert_null(r.bytes);
    content_close(c);
    unload(&l);
}

static void databases_by_any_of_their_names(void **state)
{
    struct rules_env env = { 0 };
    struct content *c;
    struct loaded l;

    put("geosite.dat", "s");
    put("geoip.dat", "d");
    put("ASN.mmdb", "a");
    load(&l, "rules: ['GEOSITE,cn,DIRECT', 'GEOIP,cn,DIRECT', 'IP-ASN,1,DIRECT']\n", false, NULL);
    c = open_content(&l, false);
    content_geo(c, &env);
    assert_string_equal(env.geosite.bytes, "s");
    assert_string_equal(env.geoip.bytes, "d"); /* there is no mmdb */
    assert_true(env.geoip_is_dat);
    assert_string_equal(env.asn.bytes, "a");
    content_close(c);
    put("country.mmdb", "m");
    c = open_content(&l, false);
    content_geo(c, &env);
    assert_string_equal(env.geoip.bytes, "m");
    assert_false(env.geoip_is_dat);
    content_close(c);
    unload(&l);
    load(&l, "rules: ['MATCH,DIRECT']\n", false, NULL); /* nobody needs them */
    c = open_content(&l, false);
    content_geo(c, &env);
    assert_null(env.geosite.bytes);
    assert_null(env.geoip.bytes);
    content_close(c);
    unload(&l);
}

static void databases_are_checked_before_they_are_stored(void **state)
{
    static const char one_list[] = { 0x0a, 0x03, 0x0a, 0x01, 'b' };
    struct provider_spec site = { .kind = PROVIDER_GEO, .name = "geosite" }, mmdb = { .kind = PROVIDER_GEO, .name = "geoip.metadb" };
    char why[256];

    assert_true(content_check_geo(&site, one_list, sizeof(one_list), why));
    assert_false(content_check_geo(&site, one_list, sizeof(one_list) - 1, why));
    assert_false(content_check_geo(&site, "", 0, why));
    assert_false(content_check_geo(&site, "<html>", 6, why));
    assert_false(content_check_geo(&mmdb, one_list, sizeof(one_list), why));
    assert_false(content_check_geo(&mmdb, "\xab\xcd\xefMaxMind.com", 14, why));
    assert_non_null(strstr(why, "no such database"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(providers_become_specs, begin, end),
        cmocka_unit_test_setup_teardown(paths_that_may_not_be_are_replaced, begin, end),
        cmocka_unit_test_setup_teardown(databases_are_fetched_when_a_rule_needs_one_that_is_not_there, begin, end),
        cmocka_unit_test_setup_teardown(lines_of_classical_sets_need_databases_too, begin, end),
        cmocka_unit_test_setup_teardown(databases_that_are_there_are_not_fetched_unless_they_shall_be_renewed, begin, end),
        cmocka_unit_test_setup_teardown(a_provider_is_read_when_it_is_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_no_error, begin, end),
        cmocka_unit_test_setup_teardown(a_broken_file_is_set_aside_and_the_copy_before_it_is_used, begin, end),
        cmocka_unit_test_setup_teardown(the_users_files_are_found_beside_the_profile, begin, end),
        cmocka_unit_test_setup_teardown(databases_by_any_of_their_names, begin, end),
        cmocka_unit_test(databases_are_checked_before_they_are_stored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
