/*
 * platform_backoff.c - how soon a dead worker is replaced, and when nobody tries any more
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "platform/sys.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void each_early_death_waits_twice_as_long(void **state)
{
    static const int waits[] = { 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000 };
    struct backoff b = { 0 };
    uint64_t now = 1000;

    for (size_t i = 0; i < COUNT(waits); i++) {
        assert_int_equal(backoff_died(&b, now, false), waits[i]);
        now += (uint64_t)waits[i];
    }
}

static void the_tenth_within_a_minute_is_the_last(void **state)
{
    for (uint64_t between = 1000; between <= 8000; between += 1) {
        struct backoff b = { 0 };
        int r = 0;

        for (int i = 0; i < 9; i++)
            assert_true(backoff_died(&b, 5000 + between * (uint64_t)i, false) > 0);
        r = backoff_died(&b, 5000 + between * 9, false);
        if ((r == BACKOFF_GIVE_UP) != (between * 9 <= 60000))
            fail_msg("%llu ms between deaths: %d", (unsigned long long)between, r);
    }
}

/* The twin: all deaths in a list, and a look at the tenth last. */
static void deaths_at_random_like_a_list(void **state)
{
    static uint64_t at[3000];
    struct backoff b = { 0 };
    uint32_t rnd = 3, n = 0;
    uint64_t now = 1000;
    unsigned given_up = 0;

    for (int i = 0; i < 3000; i++) {
        bool good;
        int r, want;

        rnd = rnd * 1664525u + 1013904223u;
        now += rnd >> 16 & 0x3fff;
        good = rnd >> 8 & 1 && n > 15;
        r = backoff_died(&b, now, good);
        if (good) {
            n = 0;
            want = 0;
        } else {
            at[n++] = now;
            want = n >= 10 && now - at[n - 10] <= 60000 ? BACKOFF_GIVE_UP : n > 6 ? 5000 : 100 << (n - 1);
        }
        assert_int_equal(r, want);
        given_up += want == BACKOFF_GIVE_UP;
    }
    assert_true(given_up > 10 && given_up < 2990);
}

static void a_good_life_makes_up_for_all(void **state)
{
    struct backoff b = { 0 };

    for (int i = 0; i < 9; i++)
        backoff_died(&b, 1000, false);
    assert_int_equal(backoff_died(&b, 1001, true), 0);
    assert_int_equal(backoff_died(&b, 1002, false), 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(backoff_died(&b, 1003, true), 0); /* accidents, however many */
}

static void at_the_beginning_of_the_clock(void **state)
{
    struct backoff b = { 0 };

    for (uint64_t i = 0; i < 9; i++)
        assert_true(backoff_died(&b, i, false) > 0);
    assert_int_equal(backoff_died(&b, 9, false), BACKOFF_GIVE_UP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_early_death_waits_twice_as_long), cmocka_unit_test(the_tenth_within_a_minute_is_the_last),
        cmocka_unit_test(deaths_at_random_like_a_list),         cmocka_unit_test(a_good_life_makes_up_for_all),
        cmocka_unit_test(at_the_beginning_of_the_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
