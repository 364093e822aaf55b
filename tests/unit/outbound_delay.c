/*
 * outbound_delay.c - what delay tests show, and what groups make of it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "tests/unit/outbound_loaded.h"

#define T "http://t/"

static const char *const yaml = "proxies:\n" SS("a") SS("b") SS("c")
                                "  - {name: v, type: vless, server: h, port: 1, uuid: x, flow: xtls-rprx-vision}\n" /* not dialled */
                                "proxy-groups:\n"
                                "  - {name: U, type: url-test, proxies: [v, a, b, c], url: '" T "', tolerance: 50}\n"
                                "  - {name: F, type: fallback, proxies: [v, a, b, c], url: '" T "'}\n"
                                "  - {name: R, type: load-balance, strategy: round-robin, proxies: [a, b, c], url: '" T "'}\n"
                                "  - {name: H, type: load-balance, proxies: [a, b, c], url: '" T "'}\n"
                                "  - {name: S, type: select, proxies: [a, b]}\n"
                                "  - {name: W, type: url-test, proxies: [S, c], url: '" T "'}\n";

static void shows(struct loaded *l, const char *name, const char *url, uint32_t ms)
{
    static int64_t now = 1000;

    out_note_delay(out_find(l->s, name), url, &(struct out_result){ now++, ms });
}

#define NOW(group) out_now(out_find(l.s, group))->name

static void the_fastest_is_kept_within_its_tolerance(void **state)
{
    struct loaded l;

    load(&l, yaml);
    assert_string_equal(NOW("U"), "a"); /* nothing is known: the first that can be dialled */
    shows(&l, "b", T, 300);
    assert_string_equal(NOW("U"), "b"); /* what was tested is better than what was not */
    shows(&l, "a", T, 260);
    assert_string_equal(NOW("U"), "b");
    shows(&l, "c", T, 249);
    assert_string_equal(NOW("U"), "c");
    shows(&l, "b", T, 1);
    shows(&l, "c", T, 0); /* dead: at once */
    assert_string_equal(NOW("U"), "b");
    shows(&l, "a", T, 0);
    shows(&l, "b", T, 0);
    assert_string_equal(NOW("U"), "b"); /* all are: it stays */
    shows(&l, "c", T, 5000);
    assert_string_equal(NOW("U"), "c");
    unload(&l);
}

static void a_fallback_takes_the_first_that_is_alive(void **state)
{
    struct loaded l;

    load(&l, yaml);
    assert_string_equal(NOW("F"), "a");
    shows(&l, "b", T, 1);
    assert_string_equal(NOW("F"), "a");
    shows(&l, "a", T, 0);
    assert_string_equal(NOW("F"), "b");
    shows(&l, "b", T, 0);
    shows(&l, "c", T, 0);
    assert_string_equal(NOW("F"), "a"); /* tests may be wrong */
    shows(&l, "a", "http://other/", 7);
    shows(&l, "c", T, 7);
    assert_string_equal(NOW("F"), "c"); /* another url says nothing */
    unload(&l);
}

static void a_pin_holds_while_its_member_is_alive(void **state)
{
    static const char *const groups[] = { "U", "F" };

    for (int i = 0; i < 2; i++) {
        struct outbound *g;
        struct loaded l;

        load(&l, yaml);
        g = out_find(l.s, groups[i]);
        shows(&l, "a", T, 10);
        assert_int_equal(out_select(g, "c"), 0);
        assert_string_equal(out_now(g)->name, "c");
        assert_string_equal(out_pinned(g)->name, "c");
        shows(&l, "c", T, 0);
        assert_string_equal(out_now(g)->name, "a");
        shows(&l, "c", T, 900);
        assert_string_equal(out_now(g)->name, "c");
        assert_int_equal(out_unpin(g), 0);
        assert_string_equal(out_now(g)->name, "a");
        assert_null(out_pinned(g));
        unload(&l);
    }
}

static void only_what_is_tested_can_be_unpinned(void **state)
{
    static const char *const others[] = { "S", "R", "a", "DIRECT" };
    struct loaded l;

    load(&l, yaml);
    for (int i = 0; i < 4; i++)
        assert_int_equal(out_unpin(out_find(l.s, others[i])), -EINVAL);
    assert_true(out_is_tested(out_find(l.s, "R")) && out_is_tested(out_find(l.s, "U")));
    assert_false(out_is_tested(out_find(l.s, "S")) || out_is_tested(out_find(l.s, "a")));
    unload(&l);
}

static void balancing_leaves_the_dead_out(void **state)
{
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = "x" };
    struct outbound *chain[OUT_CHAIN_MAX];
    char host[32];
    struct loaded l;
    int seen[3] = { 0 };

    load(&l, yaml);
    shows(&l, "b", T, 0);
    for (int i = 0; i < 200; i++) {
        snprintf(host, sizeof(host), "h%d.example", i);
        m.dst.host = host;
        for (int k = 0; k < 2; k++) {
            const char *name = chain[out_resolve(out_find(l.s, k ? "R" : "H"), &m, chain) - 1]->name;

            assert_string_not_equal(name, "b");
            seen[*name - 'a']++;
        }
    }
    assert_true(seen[0] > 50 && seen[2] > 50);
    for (int i = 0; i < 3; i++)
        shows(&l, i ? i > 1 ? "c" : "b" : "a", T, 0);
    assert_true(out_resolve(out_find(l.s, "R"), &m, chain) == 2); /* none is left: any */
    unload(&l);
}

static void a_group_as_member_has_results_of_its_own(void **state)
{
    struct loaded l;

    load(&l, yaml);
    shows(&l, "c", T, 100);
    shows(&l, "a", T, 1);
    assert_string_equal(NOW("W"), "c");
    shows(&l, "S", T, 20);
    shows(&l, "c", T, 0);
    assert_string_equal(NOW("W"), "S");
    unload(&l);
}

static void the_last_ten_results_are_remembered(void **state)
{
    const struct out_record *r;
    struct outbound *a;
    struct loaded l;
    char url[32];

    load(&l, yaml);
    a = out_find(l.s, "a");
    assert_null(out_record_of(a, T));
    assert_true(out_alive(a, T) && !out_alive(out_find(l.s, "v"), T));
    for (uint32_t i = 1; i <= 25; i++)
        shows(&l, "a", T, i);
    r = out_record_of(a, T);
    assert_int_equal(r->n, OUT_RESULTS);
    assert_int_equal(r->v[0].delay_ms, 16);
    assert_int_equal(r->v[OUT_RESULTS - 1].delay_ms, 25);
    for (int i = 0; i < 100; i++) { /* urls that strangers think of */
        snprintf(url, sizeof(url), "http://%d/", i);
        shows(&l, "a", url, 0);
    }
    assert_true(out_alive(a, T));
    assert_false(out_alive(a, "")); /* all of them together */
    assert_non_null(out_record_of(a, "http://3/"));
    assert_null(out_record_of(a, "http://50/"));
    unload(&l);
}

static void what_is_known_goes_over_to_a_new_set(void **state)
{
    static const char *const other = "proxies:\n" SS("a") "  - {name: b, type: ss, server: elsewhere, port: 1, cipher: aes-128-gcm, password: x}\n"
                                     "  - {name: c, type: socks5, server: h, port: 1}\n";
    struct loaded l, n;

    load(&l, yaml);
    load(&n, other);
    shows(&l, "a", T, 11);
    shows(&l, "b", T, 12);
    shows(&l, "c", T, 13);
    out_inherit_delays(n.s, l.s);
    unload(&l);
    assert_int_equal(out_record_of(out_find(n.s, "a"), T)->v[0].delay_ms, 11);
    assert_int_equal(out_record_of(out_find(n.s, "a"), "")->n, 1);
    assert_null(out_find(n.s, "b")->records); /* another server */
    assert_null(out_find(n.s, "c")->records); /* another type */
    unload(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_is_kept_within_its_tolerance),
        cmocka_unit_test(a_fallback_takes_the_first_that_is_alive),
        cmocka_unit_test(a_pin_holds_while_its_member_is_alive),
        cmocka_unit_test(only_what_is_tested_can_be_unpinned),
        cmocka_unit_test(balancing_leaves_the_dead_out),
        cmocka_unit_test(a_group_as_member_has_results_of_its_own),
        cmocka_unit_test(the_last_ten_results_are_remembered),
        cmocka_unit_test(what_is_known_goes_over_to_a_new_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
