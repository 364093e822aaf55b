/*
 * configs_diag.c - messages: sorted, printable, under the right character; secrets hidden; hints
 */
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "configs/config.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static char *printed(struct diag *d, bool colour)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    diag_print(d, f, colour);
    fclose(f);
    return text;
}

static void expect_print(const char *src, size_t len, uint32_t line, uint32_t col, const char *want)
{
    struct diag d;
    char *got;

    diag_init(&d, "f", src, len, false);
    diag_warn(&d, line, col, "", "bad-value", "x");
    got = printed(&d, false);
    assert_string_equal(got, want);
    free(got);
    diag_fini(&d);
}

static void the_caret_stands_under_the_character(void **state)
{
    static const struct { const char *src; uint32_t line, col; const char *want; } cases[] = {
        { "a: b\nmode: foo\n", 2, 7, "f:2:7: warning: x\n    mode: foo\n          ^\n" },
        { "mode: foo", 1, 1, "f:1:1: warning: x\n    mode: foo\n    ^\n" },
        { "name: 香港, x: y", 1, 11, "f:1:11: warning: x\n    name: 香港, x: y\n                ^\n" }, /* 7 + 2*2 + ... : two columns each */
        { "- 🚀 z", 1, 5, "f:1:5: warning: x\n    - 🚀 z\n         ^\n" },
        { "a:\tb", 1, 4, "f:1:4: warning: x\n    a: b\n       ^\n" }, /* a tab is one blank in both lines */
        { "a: \x1b[31mred", 1, 4, "f:1:4: warning: x\n    a: \\x1b[31mred\n       ^\n" },
        { "a: \xff z", 1, 6, "f:1:6: warning: x\n    a: \\xff z\n            ^\n" },
        { "a: 1\r\nb: 2\r\n", 2, 4, "f:2:4: warning: x\n    b: 2\n       ^\n" },
        { "a: 1\rb: 2\r", 2, 4, "f:2:4: warning: x\n    b: 2\n       ^\n" },
        { "a\xe2\x80\xa8" "b", 2, 1, "f:2:1: warning: x\n    b\n    ^\n" },
        { "\xef\xbb\xbf" "a: b", 1, 4, "f:1:4: warning: x\n    a: b\n       ^\n" },
        { "a: b", 9, 1, "f:9:1: warning: x\n" }, /* no such line */
        { "a: b", 0, 0, "f:0:0: warning: x\n" }, /* the file as a whole */
        { "a", 1, 5, "f:1:5: warning: x\n    a\n     ^\n" },
        { "", 1, 1, "f:1:1: warning: x\n    \n    ^\n" },
    };

    for (size_t i = 0; i < LEN(cases); i++)
        expect_print(cases[i].src, strlen(cases[i].src), cases[i].line, cases[i].col, cases[i].want);
    expect_print(NULL, 0, 1, 1, "f:1:1: warning: x\n");
    expect_print("\xff\xfe" "a\0", 4, 1, 1, "f:1:1: warning: x\n"); /* UTF-16 would be noise */
}

static void a_long_line_is_shown_around_the_caret(void **state)
{
    char src[4096] = "{", *got;
    struct diag d;

    for (int i = 0; i < 200; i++)
        sprintf(src + strlen(src), "\"k%03d\": %d, ", i, i);
    diag_init(&d, "f", src, strlen(src), false);
    diag_warn(&d, 1, (uint32_t)(strstr(src, "\"k150\"") - src) + 1, "", "bad-value", "x");
    got = printed(&d, false);
    assert_non_null(strstr(got, "    ..., \"k"));
    assert_true(strlen(got) < 420);
    { /* the caret stands under the key it is about */
        char *line = strchr(got, '\n') + 1, *under = strchr(line, '\n') + 1;

        assert_int_equal(strstr(line, "\"k150\"") - line, strchr(under, '^') - under);
    }
    free(got);
    diag_fini(&d);
}

static void secrets_are_stars(void **state)
{
    static const char *const lines[] = {
        "password: hunter2", "- {name: a, password: \"hunter2\", port: 1}", "{\"password\": \"hunter2\"}", "PASSWORD:   'hunter2'", "obfs-password: hunter2, x: 1",
        "uuid: hunter2", "private-key: hunter2", "psk: hunter2", "secret: hunter2 # x", "token: hunter2", "auth-str: hunter2", "pre-shared-key: hunter2",
        "nameserver: [ 'https://me:hunter2@9.9.9.9/dns-query' ]", "url: https://sub.test/api?flag=*******&key=hunter2", "- socks5://hunter2@h:1080#a",
        "  url: \"https://sub.test/*******?hunter=1&t=hunter2\", interval: 1", "url: https://sub.test/link/hunter2hunter2hunter2/clash.yaml",
        "auth_str: hunter2", "auth-key: hunter2", "preshared-key: hunter2", "privateKey: hunter2", "- {key: \"hunter2\"}", "plugin-opts: {pass: hunter2}",
        "encryption: mlkem768x25519plus.hunter2", "headers: {Authorization: \"Basic hunter2\"}", "header: {Authorization: [\"Bearer hunter2\"]}", "Cookie: hunter2",
        "- {X-Token: hunter2}", "token: [a, hunter2]", "- {token: [\"a]\", hunter2], port: 1}", "password: \"a\\\"hunter2\"", "- {password: 'a''hunter2', port: 1}",
        "password: a,hunter2,hunter2", "password: \"a\"hunter2\"", "- {password: 'a'hunter2', port: 1}", "password: &hunter2", "- {password: !hunter2, port: 1}",
        "password: !!str 'hunter2'", "authentication: [\"a:hunter2\", {b: [hunter2]}, hunter2]", "\"password\" : \"hunter2\",", "users: {a: hunter2}", "- https://dns.test/q?hunter2hunter2hunter2",
    };

    for (size_t i = 0; i < LEN(lines); i++) {
        struct diag d;
        char *got;

        diag_init(&d, "f", lines[i], strlen(lines[i]), false);
        diag_warn(&d, 1, 1, "", "bad-value", "x");
        got = printed(&d, false);
        if (strstr(got, "hunter2"))
            fail_msg("%s", got);
        assert_non_null(strstr(got, "*******"));
        free(got);
        diag_fini(&d);
    }
}

/* The last line is shown. */
static void a_secret_whose_key_is_above_is_stars(void **state)
{
    static const struct {
        const char *src;
        bool hidden;
    } cases[] = {
        { "a: 1\nauthentication:\n  - me:hunter2", true }, { "authentication:\r\n- a\r\n\r\n- [b, hunter2]", true },
        { "- token: [\n    a,\n    hunter2 ]", true }, { "  h: {\"Authorization\" : [\n      \"Bearer hunter2\" ] }", true },
        { "p:\n  private-key: |-\n    abc\n\n    hunter2", true }, { "users:\n  - name: a\n    pin: hunter2", true },
        { "- token: a\n  name: hunter2", false }, { "token:\n  - a\nname: hunter2", false }, { "a:\n  token:\n  - a\n  b:\n  - hunter2", false },
        { "hunter2", false }, { "\n\n  hunter2", false },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        uint32_t line = 1;
        struct diag d;
        char *got;

        for (const char *s = cases[i].src; (s = strchr(s, '\n')); s++)
            line++;
        diag_init(&d, "f", cases[i].src, strlen(cases[i].src), false);
        diag_warn(&d, line, 1, "", "bad-value", "x");
        got = printed(&d, false);
        if (!strstr(got, "hunter2") != cases[i].hidden)
            fail_msg("%zu: %s", i, got);
        free(got);
        diag_fini(&d);
    }
}

static void a_secret_whose_key_is_far_left_is_stars(void **state)
{
    char src[512], *got;
    struct diag d;

    snprintf(src, sizeof(src), "- {password: \"%0150d,hunter2hunter2\", port: x}", 0);
    diag_init(&d, "f", src, strlen(src), false);
    diag_warn(&d, 1, (uint32_t)(strstr(src, "port") - src) + 1, "", "bad-value", "x");
    got = printed(&d, false);
    assert_null(strstr(got, "hunter2"));
    assert_non_null(strstr(got, "port: x}"));
    free(got);
    diag_fini(&d);
}

static void what_is_behind_a_secret_is_shown(void **state)
{
    static const char *const lines[][2] = {
        { "- {password: 'a''b', port: 70000}", "'****', port: 70000}" }, { "- {token: [a, b], port: 1}", "[****], port: 1}" },
        { "{\"uuid\":\"a\\\\\",\"port\":1}", "\"***\",\"port\":1}" }, { "- {public-key: abc, host-key: [x], bypass: y}", "public-key: abc, host-key: [x], bypass: y}" },
    };

    for (size_t i = 0; i < LEN(lines); i++) {
        struct diag d;
        char *got;

        diag_init(&d, "f", lines[i][0], strlen(lines[i][0]), false);
        diag_warn(&d, 1, 1, "", "bad-value", "x");
        got = printed(&d, false);
        if (!strstr(got, lines[i][1]))
            fail_msg("%s", got);
        free(got);
        diag_fini(&d);
    }
}

static void what_is_no_secret_of_an_url_is_shown(void **state)
{
    static const char *const lines[] = {
        "- https://dns.test/dns-query", "url: https://cdn.test/gh/someone/rules@release/geosite-category-games.mrs", "a: [ http://h:80/x?y, 'b@c' ]",
        "url: https://sub.test/configuration-of-the-day/2024", "://", "x: a://?/&",
    };

    for (size_t i = 0; i < LEN(lines); i++) {
        struct diag d;
        char *got;

        diag_init(&d, "f", lines[i], strlen(lines[i]), false);
        diag_warn(&d, 1, 1, "", "bad-value", "x");
        got = printed(&d, false);
        if (!strstr(got, lines[i]))
            fail_msg("%s", got);
        free(got);
        diag_fini(&d);
    }
}

static void messages_are_sorted_and_printable(void **state)
{
    char big[5000], *got;
    struct diag d;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    diag_init(&d, "f", NULL, 0, false);
    diag_set_source(&d, 1, "g", NULL, 0);
    diag_warn(&d, 1, 1 | 1u << CFG_SOURCE_SHIFT, "p", "bad-value", "the other file");
    diag_warn(&d, 9, 1, "rules[1]\n", "bad-rule", "nine %s", "\033[2J\n");
    diag_err(&d, 2, 7, "", "yaml", "two, seven");
    diag_warn(&d, 2, 3, NULL, "yaml", "two, three, a");
    diag_warn(&d, 2, 3, "", "yaml", "two, three, b");
    diag_warn(&d, 10, 1, "", "yaml", "%s", big);
    diag_warn(&d, 11, 1, "", "yaml", "%.998s香", big); /* is not cut in two */
    got = printed(&d, true);
    assert_non_null(strstr(got, "f:2:3: \033[1;33mwarning\033[0m: two, three, a\nf:2:3: \033[1;33mwarning\033[0m: two, three, b\nf:2:7: \033[1;31merror\033[0m: two, seven\n"
                                "f:9:1: \033[1;33mwarning\033[0m: nine \\x1b[2J\\x0a\n"));
    assert_string_equal(d.items[6].message, "the other file");
    assert_int_equal(d.items[6].source, 1);
    assert_int_equal(d.items[6].column, 1);
    assert_string_equal(d.items[3].path, "rules[1]\\x0a");
    assert_true(strlen(d.items[4].message) < 1000);
    assert_int_equal(strlen(d.items[5].message), 998);
    assert_int_equal(d.n_errors, 1);
    assert_int_equal(d.n_warnings, 6);
    free(got);
    diag_fini(&d);
    assert_int_equal(d.n, 0);
    diag_init(&d, "f", NULL, 0, true); /* strict: a warning is an error */
    diag_warn(&d, 1, 1, "", "bad-value", "x");
    assert_int_equal(d.n_errors, 1);
    assert_int_equal(d.items[0].level, DIAG_ERROR);
    diag_fini(&d);
}

static void words_that_are_near(void **state)
{
    static const struct { const char *word, *names[5], *want; } cases[] = {
        { "DIERCT", { "REJECT", "DIRECT", "PROXY" }, "; did you mean \"DIRECT\"?" },
        { "direct", { "DIRECT" }, "; did you mean \"DIRECT\"?" },
        { "Proxy", { "Proxies", "proxy2", "PROXY1" }, "; did you mean \"proxy2\"?" },
        { "香港 01", { "香港 02", "日本 01" }, "; did you mean \"香港 02\"?" },
        { "🇭🇰 香港", { "🇯🇵 日本", "🇭🇰香港" }, "; did you mean \"🇭🇰香港\"?" },
        { "a", { "b", "c" }, "; did you mean \"b\"?" },
        { "a", { "bc", "def" }, "" },
        { "Netflix", { "YouTube", "Disney" }, "" },
        { "", { "a" }, "" },
        { "x", { NULL }, "" },
        { "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", { "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyZ" }, "" }, /* too long to be tried */
        { "\xff\xc3", { "\xff\xc3x" }, "; did you mean \"\\xff\\xc3x\"?" },
    };

    for (size_t i = 0; i < LEN(cases); i++) {
        struct cfg_guess g;
        struct diag d;

        diag_init(&d, "f", NULL, 0, false);
        if (strcmp(cfg_did_you_mean(&g, &d, cases[i].word, cases[i].names), cases[i].want) != 0)
            fail_msg("%s: %s", cases[i].word, g.text);
        diag_fini(&d);
    }
}

static void searches_are_counted(void **state)
{
    static const char *const names[] = { "DIRECT", NULL };
    struct cfg_guess g;
    struct diag d;
    int hints = 0;

    diag_init(&d, "f", NULL, 0, false);
    for (int i = 0; i < 1000; i++)
        hints += *cfg_did_you_mean(&g, &d, "DIRECTX", names) != 0;
    assert_int_equal(hints, 100);
    diag_fini(&d);

    cfg_guess_start(&g, &d, "DIRECTX"); /* one search among many candidates */
    for (int i = 0; i < 50000; i++)
        cfg_guess_try(&g, "REJECTS");
    cfg_guess_try(&g, "DIRECT");
    assert_string_equal(cfg_guess_text(&g), "");
    diag_fini(&d);
}

/* A part of a part counts, too; what it says is its own, and never an error for being strict. */
static void parts_count_for_the_whole(void **state)
{
    static const char *const names[] = { "DIRECT", NULL };
    struct diag whole, part, small;
    struct cfg_guess g;
    int hints = 0;

    diag_init(&whole, "f", "text", 4, true);
    for (int i = 0; i < 1000; i++) {
        diag_init_part(&part, &whole);
        diag_init_part(&small, &part);
        diag_warn(&small, 1, 1, "", "bad-value", "x");
        hints += *cfg_did_you_mean(&g, &small, "DIRECTX", names) != 0;
        assert_int_equal(small.n_warnings, 1);
        assert_string_equal(small.source[0].name, "f");
        assert_null(small.source[0].bytes);
        diag_fini(&small);
        diag_fini(&part);
    }
    assert_int_equal(hints, 100);
    assert_int_equal(whole.n, 0);
    diag_fini(&whole);
}

static void quotes_are_short(void **state)
{
    char buf[CFG_QUOTE_MAX], big[1000];

    assert_string_equal(cfg_quote("a\nb", 3, buf), "a\\x0ab");
    assert_string_equal(cfg_quote("香港", 6, buf), "香港");
    memset(big, '\n', sizeof(big));
    assert_true(strlen(cfg_quote(big, sizeof(big), buf)) < CFG_QUOTE_MAX);
    memset(big, 'x', sizeof(big));
    cfg_quote(big, sizeof(big), buf);
    assert_string_equal(buf + 60, "...");
    for (int i = 0; i < 300; i++)
        memcpy(big + 3 * i, "香", 3);
    cfg_quote(big, 900, buf);
    assert_string_equal(buf + 60, "...");
    cfg_quote(big + 1, 800, buf); /* begins in the middle of a character */
    assert_true(strlen(buf) < CFG_QUOTE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_caret_stands_under_the_character),
        cmocka_unit_test(a_long_line_is_shown_around_the_caret),
        cmocka_unit_test(secrets_are_stars),
        cmocka_unit_test(a_secret_whose_key_is_above_is_stars),
        cmocka_unit_test(a_secret_whose_key_is_far_left_is_stars),
        cmocka_unit_test(what_is_behind_a_secret_is_shown),
        cmocka_unit_test(what_is_no_secret_of_an_url_is_shown),
        cmocka_unit_test(messages_are_sorted_and_printable),
        cmocka_unit_test(words_that_are_near),
        cmocka_unit_test(searches_are_counted),
        cmocka_unit_test(parts_count_for_the_whole),
        cmocka_unit_test(quotes_are_short),
    };

    setlocale(LC_CTYPE, "C.UTF-8");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
