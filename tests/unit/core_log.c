/*
 * core_log.c - lines on stderr, the second reader, safe text, and words for errors
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/log.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static int saved_stderr, pipe_fd[2];

static void catch_stderr(void)
{
    assert_int_equal(pipe(pipe_fd), 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(pipe_fd[1], STDERR_FILENO);
    close(pipe_fd[1]);
}

/* What was written, and stderr as before. */
static const char *caught(void)
{
    static char buf[8192];
    ssize_t n;

    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    n = read(pipe_fd[0], buf, sizeof(buf) - 1);
    close(pipe_fd[0]);
    buf[n > 0 ? n : 0] = 0;
    return buf;
}

static void a_message_is_one_line(void **state)
{
    catch_stderr();
    log_threshold = LOG_DEBUG;
    log_dbg(LOG_TCP, "#%d", 1);
    log_info(LOG_DNS, "two");
    log_warn(LOG_RULES, "three");
    log_err(LOG_MAIN, "four");
    assert_string_equal(caught(), "debug tcp   #1\ninfo  dns   two\nwarn  rules three\nerror main  four\n");
    log_threshold = LOG_INFO;
}

static int evaluated;

static int evaluate(void)
{
    return ++evaluated;
}

static void below_the_level_nothing_happens(void **state)
{
    catch_stderr();
    log_threshold = LOG_WARN;
    log_info(LOG_TCP, "%d", evaluate());
    log_threshold = LOG_SILENT;
    log_err(LOG_TCP, "%d", evaluate());
    assert_string_equal(caught(), "");
    assert_int_equal(evaluated, 0);
    log_threshold = LOG_INFO;
}

static void a_long_message_is_cut_and_stays_one_line(void **state)
{
    static char text[5000];
    const char *line;

    memset(text, 'x', sizeof(text) - 1);
    catch_stderr();
    log_info(LOG_MAIN, "%s", text);
    log_info(LOG_MAIN, "next");
    line = caught();
    assert_int_equal(strchr(line, '\n') - line, 2047 - 1);
    assert_string_equal(strchr(line, '\n') + 1, "info  main  next\n");
}

static void errno_survives(void **state)
{
    int fd = dup(STDERR_FILENO);

    errno = ENOENT;
    close(STDERR_FILENO);
    log_info(LOG_MAIN, "to nobody");
    assert_int_equal(errno, ENOENT);
    dup2(fd, STDERR_FILENO);
    close(fd);
}

static struct {
    int n;
    enum log_level level;
    enum log_sys sys;
    char line[64];
} heard;

static void on_line(void *arg, enum log_level level, enum log_sys sys, const char *line)
{
    assert_ptr_equal(arg, &heard);
    heard.n++;
    heard.level = level;
    heard.sys = sys;
    strncpy(heard.line, line, sizeof(heard.line) - 1);
}

static void the_second_reader_has_its_own_level(void **state)
{
    catch_stderr();
    log_threshold = LOG_ERROR;
    log_set_sink(on_line, &heard, LOG_INFO);
    log_dbg(LOG_UDP, "no");
    log_info(LOG_UDP, "pair #%d", 5);
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.level, LOG_INFO);
    assert_int_equal(heard.sys, LOG_UDP);
    assert_string_equal(heard.line, "pair #5");
    log_set_sink(NULL, NULL, LOG_DEBUG);
    log_warn(LOG_UDP, "no");
    assert_int_equal(heard.n, 1);
    assert_string_equal(caught(), "");
    log_threshold = LOG_INFO;
}

static void names_of_levels(void **state)
{
    static const char *const names[] = { "debug", "info", "warning", "error", "silent" };
    enum log_level level;

    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(log_level_parse(names[i], &level), 0);
        assert_int_equal(level, i);
        assert_string_equal(log_level_name(level), names[i]);
    }
    assert_int_equal(log_level_parse("loud", &level), -EINVAL);
    assert_int_equal(log_level_parse("", &level), -EINVAL);
    assert_int_equal(level, LOG_SILENT);
    for (int sys = 0; sys < LOG_N_SYS; sys++)
        assert_true(strlen(log_sys_name((enum log_sys)sys)) > 0);
}

static const struct {
    const char *in, *out;
} unsafe[] = {
    { "plain text", "plain text" },
    { "b\xc3\xbc"
      "cher \xe2\x82\xac \xf0\x9f\x98\x80",
      "b\xc3\xbc"
      "cher \xe2\x82\xac \xf0\x9f\x98\x80" },
    { "a\nb\x1b[31m", "a\\x0ab\\x1b[31m" },
    { "\x7f", "\\x7f" },
    { "\xff\xfe", "\\xff\\xfe" },
    { "\xc3", "\\xc3" },          /* cut short */
    { "\xc0\xaf", "\\xc0\\xaf" }, /* overlong */
    { "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
    { "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* a surrogate */
    { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
    { "\xc2\x85", "\\xc2\\x85" }, /* a control character of the upper half */
    { "", "" },
};

static void text_of_strangers_is_made_safe(void **state)
{
    char buf[64], tiny[6];

    for (size_t i = 0; i < COUNT(unsafe); i++)
        assert_string_equal(log_safe(unsafe[i].in, strlen(unsafe[i].in), buf, sizeof(buf)), unsafe[i].out);
    assert_string_equal(log_safe("a\0b", 3, buf, sizeof(buf)), "a\\x00b");
    assert_string_equal(log_safe("abcdefgh", 8, tiny, sizeof(tiny)), "abcde");
    assert_string_equal(log_safe("ab\ncd", 5, tiny, sizeof(tiny)), "ab");         /* no half escape */
    assert_string_equal(log_safe("abcd\xc3\xbc", 6, tiny, sizeof(tiny)), "abcd"); /* no half letter */
    assert_string_equal(log_safe("x", 1, tiny, 1), "");
}

static void every_error_has_words(void **state)
{
    for (int e = ERR_BASE; e < ERR_MAX; e++) {
        assert_true(strlen(err_str(-e)) > 0);
        assert_ptr_equal(err_str(e), err_str(-e));
        for (int o = ERR_BASE; o < e; o++)
            assert_string_not_equal(err_str(o), err_str(e));
    }
    assert_string_equal(err_str(-ECONNREFUSED), strerror(ECONNREFUSED));
    assert_string_equal(err_str(0), "no error");
    assert_non_null(err_str(-ERR_MAX));
    assert_non_null(err_str(INT32_MIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_one_line),
        cmocka_unit_test(below_the_level_nothing_happens),
        cmocka_unit_test(a_long_message_is_cut_and_stays_one_line),
        cmocka_unit_test(errno_survives),
        cmocka_unit_test(the_second_reader_has_its_own_level),
        cmocka_unit_test(names_of_levels),
        cmocka_unit_test(text_of_strangers_is_made_safe),
        cmocka_unit_test(every_error_has_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
