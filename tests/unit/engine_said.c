/*
 * engine_said.c - what servers say about content, in all the ways they say it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "engine/said.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void headers_are_taken_as_servers_write_them(void **state)
{
    static const struct {
        const char *line, *etag;
    } t[] = {
        { "ETag: \"v1\"\r\n", "\"v1\"" },
        { "etag:\t W/\"v1\" \r\n", "W/\"v1\"" },
        { "ETAG:\"v1\"", "\"v1\"" },
        { "ETag:\r\n", "" },
        { "ETag", "old" },
        { "ETagged: \"v1\"\r\n", "old" },
        { "ETag: \"v\x01\"\r\n", "" },      /* would be sent back */
        { "ETag: \"v\xc3\xa9\"\r\n", "" },
        { "HTTP/1.1 200 OK\r\n", "" },      /* another answer: nothing of the one before it counts */
        { "", "old" },
    };

    for (size_t i = 0; i < COUNT(t); i++) {
        struct said s = { .etag = "old" };

        said_header(&s, t[i].line, strlen(t[i].line));
        assert_string_equal(s.etag, t[i].etag);
    }
}

static void a_header_without_end_is_not_kept(void **state)
{
    char line[SAID_MAX + 16] = "ETag: ";
    struct said s = { 0 };

    memset(line + 6, 'x', SAID_MAX);
    said_header(&s, line, 6 + SAID_MAX);
    assert_string_equal(s.etag, "");
    said_header(&s, line, 6 + SAID_MAX - 1);
    assert_int_equal(strlen(s.etag), SAID_MAX - 1);
}

static void what_was_written_is_read_again(void **state)
{
    struct said s = { "\"v\\1\"", "Mon, 01 Jan 2024 00:00:00 GMT", "total=9" }, got;
    char *text = said_write(&s, "https://a.test/x?token=1");

    assert_non_null(text);
    said_read(&got, text, strlen(text), "https://a.test/x?token=1");
    assert_memory_equal(&got, &s, sizeof(s));
    said_read(&got, text, strlen(text), "https://a.test/y"); /* the path of a provider stayed, its url did not */
    assert_string_equal(got.etag, "");
    for (size_t n = 0; n < strlen(text); n++) {
        said_read(&got, text, n, "https://a.test/x?token=1");
        assert_string_equal(got.etag, "");
    }
    free(text);
}

static void what_somebody_else_wrote_says_nothing(void **state)
{
    static const char *const t[] = { "",  "[]", "null", "{\"url\":1}", "{\"url\":\"u\",\"etag\":5}", "{\"url\":\"u\",\"etag\":\"a\\r\\nX: y\"}" };

    for (size_t i = 0; i < COUNT(t); i++) {
        struct said s;

        said_read(&s, t[i], strlen(t[i]), "u");
        assert_string_equal(s.etag, "");
    }
}

static void accounts_of_subscriptions(void **state)
{
    static const struct {
        const char *text;
        struct said_account a;
    } t[] = {
        { "upload=1; download=2; total=1000; expire=1893456000", { 1, 2, 1000, 1893456000 } },
        { "Upload = 1;Download=2;total=3", { 1, 2, 3, 0 } },
        { "expire=5;total=4", { 0, 0, 4, 5 } },
        { "total=1.5e3; upload=-1; download=x; expire=", { 0, 0, 1500, 0 } },
        { "total=99999999999999999999999; expire=inf", { 0 } },
        { "subtotal=9; total=8", { 0, 0, 8, 0 } }, /* one key is not the end of another */
        { "plan=total=7; total=6", { 0, 0, 6, 0 } },
        { "", { 0 } },
        { ";;;= ; =", { 0 } },
        { "upload=1, download=2", { 1, 2, 0, 0 } },
    };

    for (size_t i = 0; i < COUNT(t); i++) {
        struct said_account a;

        said_account(t[i].text, &a);
        assert_memory_equal(&a, &t[i].a, sizeof(a));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_taken_as_servers_write_them), cmocka_unit_test(a_header_without_end_is_not_kept),
        cmocka_unit_test(what_was_written_is_read_again),          cmocka_unit_test(what_somebody_else_wrote_says_nothing),
        cmocka_unit_test(accounts_of_subscriptions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
