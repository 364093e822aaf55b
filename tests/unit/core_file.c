/*
 * core_file.c - files below one directory: what is read, and every way out of it
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"

static char dir[64] = "/tmp/shunt-file-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_non_null(f = fopen(path, "w"));
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    char path[256], to[256];

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/in", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/in/sub", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file("secret", "secret");
    write_file("in/a", "hello");
    write_file("in/empty", "");
    write_file("in/sub/b", "deep");
    snprintf(path, sizeof(path), "%s/in/link", dir);
    assert_int_equal(symlink("a", path), 0);
    snprintf(path, sizeof(path), "%s/in/out", dir);
    snprintf(to, sizeof(to), "%s/secret", dir);
    assert_int_equal(symlink(to, path), 0);
    snprintf(path, sizeof(path), "%s/in/up", dir);
    assert_int_equal(symlink("..", path), 0);
    snprintf(path, sizeof(path), "%s/in/pipe", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    strcat(dir, "/in");
    return 0;
}

static int teardown(void **state)
{
    char command[300];

    dir[strlen(dir) - 3] = 0;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void test_reading(void **state)
{
    char *text, path[300];
    int64_t when = 0;
    size_t len;

    assert_int_equal(file_read_beneath(dir, "a", 100, &text, &len, &when), 0);
    assert_int_equal(len, 5);
    assert_string_equal(text, "hello");
    assert_in_range(time(NULL) - when, 0, 60);
    free(text);
    assert_int_equal(file_read_beneath(dir, "./sub/../sub/b", 4, &text, &len, &when), 0);
    assert_string_equal(text, "deep");
    free(text);
    snprintf(path, sizeof(path), "%s//sub/b", dir);
    assert_int_equal(file_read_beneath(dir, path, 100, &text, &len, &when), 0);
    free(text);
    assert_int_equal(file_read_beneath(dir, "empty", 0, &text, &len, &when), 0);
    assert_int_equal(len, 0);
    free(text);
    assert_int_equal(file_read_beneath(dir, "a", 4, &text, &len, &when), -EFBIG);
}

static void test_ways_out(void **state)
{
    static const struct { const char *path; int err; } cases[] = {
        { "../secret", -EXDEV },  { "sub/../../secret", -EXDEV }, { "/etc/passwd", -EXDEV }, { "out", -ELOOP },    { "up/secret", -ELOOP },
        { "link", -ELOOP },       { "sub", -EISDIR },             { ".", -EISDIR },          { "pipe", -EINVAL },  { "nothing", -ENOENT },
        { "a/b", -ENOTDIR },      { "", -ENOENT },
    };
    char path[300];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(file_open_beneath(dir, cases[i].path), cases[i].err);
    snprintf(path, sizeof(path), "%sside", dir); /* begins like dir and is not below it */
    assert_int_equal(file_open_beneath(dir, path), -EXDEV);
    assert_int_equal(file_open_beneath("/nowhere/at/all", "a"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_ways_out),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
