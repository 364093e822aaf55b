/*
 * core_file.c - files below a directory: written whole or not at all, never outside
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
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static char dir[64];

static int begin(void **state)
{
    strcpy(dir, "/tmp/shunt-file.XXXXXX");
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

static const char *under(const char *name)
{
    static char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void check_is(const char *name, const char *content)
{
    char *bytes;
    size_t len;
    int64_t when;
    int r = file_read_beneath(dir, name, 1000, &bytes, &len, &when);

    if (!content) {
        assert_int_equal(r, -ENOENT);
        return;
    }
    assert_int_equal(r, 0);
    assert_string_equal(bytes, content);
    assert_int_equal(len, strlen(content));
    free(bytes);
}

static int replace(const char *name, const char *content, unsigned keep)
{
    return file_replace_beneath(dir, name, content, strlen(content), keep);
}

static void contents_replace_each_other_and_the_last_are_kept(void **state)
{
    struct stat st;

    assert_int_equal(replace("a/b/c.yaml", "one", 2), 0);
    check_is("a/b/c.yaml", "one");
    check_is("a/b/c.yaml.1", NULL);
    assert_int_equal(replace("a/b/c.yaml", "two", 2), 0);
    assert_int_equal(replace("a/b/c.yaml", "three", 2), 0);
    assert_int_equal(replace("a/b/c.yaml", "four", 2), 0);
    check_is("a/b/c.yaml", "four");
    check_is("a/b/c.yaml.1", "three");
    check_is("a/b/c.yaml.2", "two");
    check_is("a/b/c.yaml.3", NULL);
    assert_int_equal(replace(under("a/b/c.yaml"), "", 0), 0); /* absolute, below the directory */
    check_is("a/b/c.yaml", "");
    check_is("a/b/c.yaml.1", "three");
    assert_int_equal(stat(under("a/b/c.yaml"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(under("a/b"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void what_was_killed_in_the_middle_is_no_hindrance(void **state)
{
    assert_int_equal(replace("x", "one", 2), 0);
    assert_int_equal(replace(".x.new", "half of tw", 0), 0);
    assert_int_equal(replace("x", "two", 2), 0);
    check_is("x", "two");
    check_is(".x.new", NULL);
}

static void a_disk_that_is_full_changes_nothing(void **state)
{
    struct rlimit small = { 4, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };

    assert_int_equal(replace("x", "one", 2), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(replace("x", "longer than that", 2), -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &all), 0);
    check_is("x", "one");
    check_is("x.1", NULL);
    check_is(".x.new", NULL);
}

static void nothing_leads_outside(void **state)
{
    static const struct {
        const char *path;
        int err;
    } t[] = {
        { "../x", -EXDEV }, { "/etc/x", -EXDEV }, { "a/../../x", -EXDEV }, { "link/x", -ELOOP }, { "deep/link/x", -ELOOP },
        { "", -EINVAL },    { ".", -EINVAL },     { "a/..", -EINVAL },     { "a/", -EINVAL },    { "file/x", -ENOTDIR },
    };
    char outside[] = "/tmp/shunt-outside.XXXXXX", *bytes;
    size_t len;
    int64_t when;

    assert_non_null(mkdtemp(outside));
    assert_int_equal(replace("file", "x", 0), 0);
    assert_int_equal(mkdir(under("deep"), 0700), 0);
    assert_int_equal(symlink(outside, under("link")), 0);
    assert_int_equal(symlink("..", under("deep/link")), 0);
    for (size_t i = 0; i < COUNT(t); i++)
        assert_int_equal(replace(t[i].path, "bad", 2), t[i].err);
    assert_int_equal(rmdir(outside), 0); /* empty */

    /* a link in the file's own place is replaced, not followed */
    assert_int_equal(symlink("/etc/passwd", under("p")), 0);
    assert_int_equal(file_read_beneath(dir, "p", 100000, &bytes, &len, &when), -ELOOP);
    assert_int_equal(file_touch_beneath(dir, "p"), -ELOOP);
    assert_int_equal(replace("p", "mine", 2), 0);
    check_is("p", "mine");
    assert_int_equal(symlink("/etc/passwd", under(".q.new")), 0);
    assert_int_equal(replace("q", "mine", 2), 0);
    check_is("q", "mine");
}

static void reading_has_a_bound_and_takes_files_only(void **state)
{
    char *bytes;
    size_t len;
    int64_t when;

    assert_int_equal(replace("x", "12345", 0), 0);
    assert_int_equal(file_read_beneath(dir, "x", 4, &bytes, &len, &when), -EFBIG);
    assert_int_equal(mkdir(under("d"), 0700), 0);
    assert_int_equal(file_read_beneath(dir, "d", 4, &bytes, &len, &when), -EISDIR);
    assert_int_equal(mkfifo(under("f"), 0600), 0);
    assert_int_equal(file_read_beneath(dir, "f", 4, &bytes, &len, &when), -EINVAL); /* and does not wait */
    assert_int_equal(file_read_beneath("/nonexistent", "x", 4, &bytes, &len, &when), -ENOENT);
    assert_int_equal(file_replace_beneath("/nonexistent", "x", "", 0, 0), -ENOENT);
}

static void set_aside_and_touched(void **state)
{
    struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
    char *bytes;
    size_t len;
    int64_t when;

    assert_int_equal(replace("d/x", "broken", 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, under("d/x"), old, 0), 0);
    assert_int_equal(file_touch_beneath(dir, "d/x"), 0);
    assert_int_equal(file_read_beneath(dir, "d/x", 100, &bytes, &len, &when), 0);
    assert_true(when > 1000000);
    free(bytes);
    assert_int_equal(file_set_aside_beneath(dir, "d/x"), 0);
    check_is("d/x", NULL);
    check_is("d/x.bad", "broken");
    assert_int_equal(file_set_aside_beneath(dir, "d/x"), -ENOENT);
    assert_int_equal(file_touch_beneath(dir, "d/x"), -ENOENT);
}

static void what_leads_out_by_its_text(void **state)
{
    static const struct {
        const char *dir, *path;
        bool out;
    } rows[] = {
        { "/s", "a", false }, { "/s", "./a/b", false }, { "/s", "a/../b", false }, { "/s", "/s/a", false },
        { "/s/", "/s/a", false }, { "/s//", "/s//a", false }, { "/s", "..a", false }, { NULL, "a", false },
        { "/s", "", true }, { "/s", ".", true }, { "/s", "/s", true }, { "/s", "/s/.", true },
        { "/s", "..", true }, { "/s", "a/..", true }, { "/s", "a/../..", true }, { "/s", "../s/a", true },
        { "/s", "/sa/b", true }, { "/s", "/etc/passwd", true }, { "/s", "/s/../t", true }, { NULL, "/a", true },
        { NULL, "../a", true }, { "", "/etc/passwd", true },
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (file_leads_out(rows[i].dir, rows[i].path) != rows[i].out)
            fail_msg("\"%s\" below \"%s\"", rows[i].path, rows[i].dir ? rows[i].dir : "nothing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(contents_replace_each_other_and_the_last_are_kept, begin, end),
        cmocka_unit_test_setup_teardown(what_was_killed_in_the_middle_is_no_hindrance, begin, end),
        cmocka_unit_test_setup_teardown(a_disk_that_is_full_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(nothing_leads_outside, begin, end),
        cmocka_unit_test(what_leads_out_by_its_text),
        cmocka_unit_test_setup_teardown(reading_has_a_bound_and_takes_files_only, begin, end),
        cmocka_unit_test_setup_teardown(set_aside_and_touched, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
