/*
 * core_base64.c - base64 as strangers write it: RFC 4648 vectors, both alphabets, padding, breaks, what is none
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "core/base64.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static const struct { const char *text, *bytes; int n; } good[] = {
    { "", "", 0 }, /* RFC 4648 section 10 */
    { "Zg==", "f", 1 },
    { "Zm8=", "fo", 2 },
    { "Zm9v", "foo", 3 },
    { "Zm9vYg==", "foob", 4 },
    { "Zm9vYmE=", "fooba", 5 },
    { "Zm9vYmFy", "foobar", 6 },
    { "Zg", "f", 1 }, /* without padding */
    { "Zm8", "fo", 2 },
    { "Zm9vYg=", "foob", 4 }, /* half of it */
    { "-_-_", "\xfb\xff\xbf", 3 }, /* both alphabets */
    { "+/+/", "\xfb\xff\xbf", 3 },
    { " Zm9v\r\nYm\tFy\n", "foobar", 6 },
    { "Zg==\n", "f", 1 },
};

static const char *const bad[] = { "Z", "Zm9vY", "Zg==Zg", "=", "Z===", "Zm9v=", "Zg===", "Z*==", "Zm9v\x80", "ss://" };

static void test_good(void **state)
{
    uint8_t out[16];

    for (size_t i = 0; i < N(good); i++) {
        assert_int_equal(base64_decode(good[i].text, strlen(good[i].text), out, sizeof(out)), good[i].n);
        assert_memory_equal(out, good[i].bytes, (size_t)good[i].n);
        assert_true((size_t)good[i].n <= BASE64_ROOM(strlen(good[i].text)));
    }
}

static void test_bad(void **state)
{
    uint8_t out[16];

    for (size_t i = 0; i < N(bad); i++)
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), out, sizeof(out)), -EINVAL);
}

static void test_room_is_kept(void **state)
{
    uint8_t out[3] = { 7, 7, 7 };

    assert_int_equal(base64_decode("Zm9v", 4, out, 2), -EMSGSIZE);
    assert_int_equal(out[2], 7);
    assert_int_equal(base64_decode("Zm8=", 4, out, 2), 2);
}

static void test_in_place(void **state)
{
    char text[] = "Zm9vYmFyZm9vYmFy";

    assert_int_equal(base64_decode(text, 16, (uint8_t *)text, sizeof(text)), 12);
    assert_memory_equal(text, "foobarfoobar", 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_room_is_kept),
        cmocka_unit_test(test_in_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
