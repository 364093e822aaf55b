/*
 * engine_delay.c - urls of delay tests
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "engine/delay.h"

static void urls_are_read(void **state)
{
    static const struct {
        const char *url, *host, *authority, *path;
        uint16_t port;
        bool tls;
    } rows[] = {
        { "https://www.gstatic.com/generate_204", "www.gstatic.com", "www.gstatic.com", "/generate_204", 443, true },
        { "http://t", "t", "t", "/", 80, false },
        { "HTTP://Host:80/x", "Host", "Host", "/x", 80, false },
        { "http://t:443/", "t", "t:443", "/", 443, false },
        { "https://t:8443/a?b=c&d", "t", "t:8443", "/a?b=c&d", 8443, true },
        { "http://t/?q#fragment", "t", "t", "/?q", 80, false },
        { "http://[2001:db8::1]:81/", "2001:db8::1", "[2001:db8::1]:81", "/", 81, false },
        { "http://192.0.2.1/", "192.0.2.1", "192.0.2.1", "/", 80, false },
    };
    struct delay_url u;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(delay_url_parse(rows[i].url, &u), 0);
        assert_string_equal(u.host, rows[i].host);
        assert_string_equal(u.authority, rows[i].authority);
        assert_string_equal(u.path, rows[i].path);
        assert_int_equal(u.port, rows[i].port);
        assert_int_equal(u.tls, rows[i].tls);
    }
}

static void what_is_no_url_is_refused(void **state)
{
    static const char *const bad[] = { "", "t", "ftp://t/", "http://", "http://t:0/", "http://t:65536/", "http://a b/", "http://t/\r\nX: y", "file:///etc/passwd" };
    char longer[4096];
    struct delay_url u;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (delay_url_parse(bad[i], &u) != -EINVAL)
            fail_msg("\"%s\" is accepted: %s %s", bad[i], u.host, u.path);
    for (size_t n = 1000; n < sizeof(longer); n += 100) {
        memset(longer, 'a', n);
        memcpy(longer, "http://t/", 9);
        longer[n] = '\0';
        assert_int_equal(delay_url_parse(longer, &u), n < DELAY_PATH_MAX ? 0 : -EINVAL);
        longer[500] = '?';
        assert_int_equal(delay_url_parse(longer, &u), n < DELAY_PATH_MAX ? 0 : -EINVAL);
    }
    memset(longer, 'h', 400);
    memcpy(longer, "http://", 7);
    longer[400] = '\0';
    assert_int_equal(delay_url_parse(longer, &u), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_read),
        cmocka_unit_test(what_is_no_url_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
