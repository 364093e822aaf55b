/*
 * dns_cache.c - what is kept, how its TTLs count down, what is served when it is over, and what has to go first
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/pool.h"
#include "dns/cache.h"
#include "tests/unit/dns_text.h"

#define SEC    1000ull
#define MINUTE (60 * SEC)
#define HOUR   (60 * MINUTE)
#define T0     (100 * HOUR)

static struct wire w;
static uint8_t out[CACHE_MSG_MAX];
static size_t len;

static struct qkey key(const char *name, uint16_t type)
{
    char lower[HOST_MAX + 1];
    struct qkey k;

    assert_int_equal(host_normalise(name, strlen(name), lower), 0);
    assert_true(qkey_make(lower, type, &k));
    return k;
}

/* Keeps an answer with two addresses and an additional record. */
static void put(struct cache *c, const char *name, uint16_t list, uint64_t now, uint32_t ttl)
{
    struct qkey k = key(name, T_A);

    whead(&w, 7, 0x8180, 1, 2, 0, 1);
    wquestion(&w, name, T_A);
    waddr(&w, NULL, ttl, "192.0.2.1");
    waddr(&w, NULL, ttl + 50, "192.0.2.2");
    waddr(&w, "ns.test", 86400, "192.0.2.9");
    cache_put(c, &k, list, now, w.b, w.len, ttl, true);
}

static enum cache_state get_by_key(struct cache *c, const struct qkey *k, uint16_t list, uint64_t now)
{
    uint8_t *kept;
    enum cache_state s = cache_get(c, k, list, now, &kept, &len);

    assert_int_equal(kept != NULL, s != CACHE_NONE);
    if (kept)
        memcpy(out, kept, len);
    buf_put(kept);
    return s;
}

static enum cache_state get(struct cache *c, const char *name, uint16_t list, uint64_t now)
{
    struct qkey k = key(name, T_A);

    return get_by_key(c, &k, list, now);
}

static uint32_t ttl_of(int nth)
{
    uint16_t at[8];

    assert_true(nth < msg_ttls(out, len, at, 8));
    return get32(out + at[nth]);
}

static void ttls_count_down(void **state)
{
    struct cache *c = cache_new(10);

    put(c, "A.test", 0, T0, 100);
    assert_int_equal(get(c, "a.test", 0, T0), CACHE_FRESH);
    assert_int_equal(len, w.len);
    assert_string_equal(told(out, len),
                        "NOERROR rd ra | A.test A | A.test 100 A 192.0.2.1 | A.test 150 A 192.0.2.2 | ns.test 86400 A 192.0.2.9");
    assert_int_equal(get(c, "a.test", 0, T0 + 60 * SEC + 999), CACHE_FRESH);
    assert_int_equal(ttl_of(0), 40);
    assert_int_equal(ttl_of(1), 90);
    assert_int_equal(ttl_of(2), 86340);
    cache_free(c);
}

static void one_question_is_not_another(void **state)
{
    struct cache *c = cache_new(10);
    struct qkey k = key("a.test", T_A);

    put(c, "a.test", 3, T0, 100);
    assert_int_equal(get(c, "a.test", 4, T0), CACHE_NONE);
    assert_int_equal(get(c, "b.test", 3, T0), CACHE_NONE);
    assert_int_equal(get(c, "a.tes", 3, T0), CACHE_NONE);
    k.type = T_AAAA;
    assert_int_equal(get_by_key(c, &k, 3, T0), CACHE_NONE);
    k = key("a.test", T_A);
    k.flags = Q_DO;
    assert_int_equal(get_by_key(c, &k, 3, T0), CACHE_NONE);
    k = key("a.test", T_A);
    k.class_ = 3;
    assert_int_equal(get_by_key(c, &k, 3, T0), CACHE_NONE);
    assert_int_equal(get(c, "a.test", 3, T0), CACHE_FRESH);
    put(c, "a.test", 3, T0, 7); /* the newer one counts */
    assert_int_equal(cache_count(c), 1);
    get(c, "a.test", 3, T0);
    assert_int_equal(ttl_of(0), 7);
    cache_flush(c);
    assert_int_equal(get(c, "a.test", 3, T0), CACHE_NONE);
    cache_free(c);
}

static void over_but_not_worthless(void **state)
{
    static const struct {
        uint64_t after;
        enum cache_state want;
    } all[] = {
        { 99 * SEC, CACHE_FRESH },
        { 100 * SEC, CACHE_STALE },
        { 100 * SEC + 5 * MINUTE - 1, CACHE_STALE },
        { 100 * SEC + 5 * MINUTE, CACHE_OLD },
        { 100 * SEC + 23 * HOUR, CACHE_OLD },
        { 100 * SEC + 24 * HOUR, CACHE_OLD },
        { 100 * SEC + 24 * HOUR + 1, CACHE_NONE },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct cache *c = cache_new(10);

        put(c, "a.test", 0, T0, 100);
        assert_int_equal(get(c, "a.test", 0, T0 + all[i].after), all[i].want);
        if (all[i].want != CACHE_NONE && all[i].want != CACHE_FRESH) {
            assert_int_equal(ttl_of(0), 1);
            assert_int_equal(ttl_of(2), 1);
        }
        assert_int_equal(cache_count(c), all[i].want != CACHE_NONE);
        cache_free(c);
    }
}

static void a_failure_is_never_served_late(void **state)
{
    struct cache *c = cache_new(10);
    struct qkey k = key("a.test", T_A);

    whead(&w, 7, 0x8182, 1, 0, 0, 0);
    wquestion(&w, "a.test", T_A);
    cache_put(c, &k, 0, T0, w.b, w.len, 5, false);
    assert_int_equal(get(c, "a.test", 0, T0 + 4 * SEC), CACHE_FRESH);
    assert_false(cache_failed(c, &k, 0, T0));
    assert_int_equal(get(c, "a.test", 0, T0 + 5 * SEC), CACHE_NONE);
    cache_free(c);
}

static void a_refresh_that_failed_is_not_repeated_at_once(void **state)
{
    struct cache *c = cache_new(10);
    struct qkey k = key("a.test", T_A), other = key("b.test", T_A);

    put(c, "a.test", 0, T0, 100);
    assert_true(cache_failed(c, &k, 0, T0 + 101 * SEC));
    assert_false(cache_failed(c, &other, 0, T0 + 101 * SEC));
    assert_int_equal(get(c, "a.test", 0, T0 + 102 * SEC), CACHE_HELD);
    assert_int_equal(get(c, "a.test", 0, T0 + 101 * SEC + CACHE_RETRY_MS), CACHE_STALE);
    assert_true(cache_failed(c, &k, 0, T0 + HOUR));
    assert_int_equal(get(c, "a.test", 0, T0 + HOUR + 1), CACHE_HELD);
    assert_int_equal(get(c, "a.test", 0, T0 + HOUR + CACHE_RETRY_MS), CACHE_OLD);
    assert_false(cache_failed(c, &k, 0, T0 + 100 * SEC + 24 * HOUR + 1));
    cache_free(c);
}

static void what_is_used_often_is_fetched_before_it_is_over(void **state)
{
    struct cache *c = cache_new(10);

    put(c, "once.test", 0, T0, 100);
    assert_int_equal(get(c, "once.test", 0, T0 + 95 * SEC), CACHE_FRESH);
    put(c, "often.test", 0, T0, 100);
    assert_int_equal(get(c, "often.test", 0, T0), CACHE_FRESH);
    assert_int_equal(get(c, "often.test", 0, T0 + 50 * SEC), CACHE_FRESH);
    assert_int_equal(get(c, "often.test", 0, T0 + 89 * SEC), CACHE_FRESH);
    assert_int_equal(get(c, "often.test", 0, T0 + 91 * SEC), CACHE_PREFETCH);
    cache_free(c);
}

static void the_least_used_goes_first(void **state)
{
    struct cache *c = cache_new(100);
    char name[32];

    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        put(c, name, 0, T0, 100);
    }
    assert_int_equal(get(c, "n0.test", 0, T0), CACHE_FRESH);
    for (int i = 100; i < 150; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        put(c, name, 0, T0, 100);
    }
    assert_int_equal(cache_count(c), 100);
    for (int i = 0; i < 150; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        assert_int_equal(get(c, name, 0, T0), i == 0 || i > 50 ? CACHE_FRESH : CACHE_NONE);
    }
    cache_free(c);
}

static void large_answers_are_bounded_by_their_bytes(void **state)
{
    static uint8_t big[60000];
    struct cache *c = cache_new(4096);
    char name[32];

    memset(big, 'x', sizeof(big));
    for (int i = 0; i < 1000; i++) {
        struct qkey k;

        snprintf(name, sizeof(name), "n%d.test", i);
        k = key(name, T_TXT);
        whead(&w, 7, 0x8180, 1, 1, 0, 0);
        wquestion(&w, name, T_TXT);
        wrecord(&w, NULL, T_TXT, 100, big, sizeof(big));
        cache_put(c, &k, 0, T0, w.b, w.len, 100, true);
    }
    assert_in_range(cache_count(c), 200, CACHE_BYTES_MAX / sizeof(big));

    struct qkey k = key("huge.test", T_TXT);

    wrecord(&w, NULL, T_TXT, 100, big, CACHE_MSG_MAX - w.len);
    cache_put(c, &k, 0, T0, w.b, CACHE_MSG_MAX + 1, 100, true);
    assert_int_equal(get_by_key(c, &k, 0, T0), CACHE_NONE);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ttls_count_down),
        cmocka_unit_test(one_question_is_not_another),
        cmocka_unit_test(over_but_not_worthless),
        cmocka_unit_test(a_failure_is_never_served_late),
        cmocka_unit_test(a_refresh_that_failed_is_not_repeated_at_once),
        cmocka_unit_test(what_is_used_often_is_fetched_before_it_is_over),
        cmocka_unit_test(the_least_used_goes_first),
        cmocka_unit_test(large_answers_are_bounded_by_their_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
