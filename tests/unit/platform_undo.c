/*
 * platform_undo.c - the journal: written before the change, read as foreign bytes, and only when root wrote it
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "platform/sys.h"
#include "platform_netns.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX      256

static const struct undo_entry all[] = {
    { UNDO_DEVICE, "shunt0", 0, 0 }, { UNDO_RULES, "", 9000, 9010 },    { UNDO_TABLE, "", 2022, 0 },
    { UNDO_NFT, "shunt", 0, 0 },     { UNDO_NFT, "shunt_guard", 0, 0 },
};

static const char text[] = "device shunt0\nrules 9000 9010\ntable 2022\nnft shunt\nnft shunt_guard\n";

static struct undo_entry got[MAX];

/* In memory of exactly its size, so that the sanitizer sees a look behind the end. */
static int parse(const char *s, size_t len)
{
    char *exact = malloc(len ? len : 1);
    int n;

    assert_non_null(exact);
    memcpy(exact, s, len);
    n = undo_parse(exact, len, got, MAX);
    free(exact);
    return n;
}

static void same(const struct undo_entry *a, const struct undo_entry *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->to, b->to);
}

/* ---- reading ---- */

static void lines_become_entries(void **state)
{
    assert_int_equal(parse(text, strlen(text)), COUNT(all));
    for (size_t i = 0; i < COUNT(all); i++)
        same(&got[i], &all[i]);
}

/* Torn at every byte: the whole lines before count, and nothing else. */
static void a_torn_line_names_nothing(void **state)
{
    for (size_t n = 0; n <= strlen(text); n++) {
        int lines = 0;

        for (size_t i = 0; i < n; i++)
            lines += text[i] == '\n';
        assert_int_equal(parse(text, n), lines);
        for (int i = 0; i < lines; i++)
            same(&got[i], &all[i]);
    }
}

static const struct {
    const char *line;
    size_t len; /* 0 = to its end */
    bool good;
} lines[] = {
    { "device a\n", 0, true },
    { "device 123456789012345\n", 0, true },
    { "device 1234567890123456\n", 0, false },
    { "device \n", 0, false },
    { "device\n", 0, false },
    { "device a b\n", 0, false },
    { "device a/b\n", 0, false },
    { "device ../x\n", 0, false },
    { "device a\tb\n", 0, false },
    { "device a\0b\n", 11, false },
    { "device a\r\n", 0, false },
    { "device \303\244\n", 0, false },
    { "device  a\n", 0, false },
    { " device a\n", 0, false },
    { "Device a\n", 0, false },
    { "devices a\n", 0, false },
    { "rules 1 2\n", 0, true },
    { "rules 0 4294967295\n", 0, true },
    { "rules 0 4294967296\n", 0, false },
    { "rules 0 99999999999999999999999\n", 0, false },
    { "rules 1\n", 0, false },
    { "rules 1 2 3\n", 0, false },
    { "rules -1 2\n", 0, false },
    { "rules 1 +2\n", 0, false },
    { "rules 0x1 2\n", 0, false },
    { "rules 1  2\n", 0, false },
    { "rules a b\n", 0, false },
    { "table 2022\n", 0, true },
    { "table\n", 0, false },
    { "table \n", 0, false },
    { "table 20 22\n", 0, false },
    { "table 2022x\n", 0, false },
    { "nft shunt\n", 0, true },
    { "nft shunt; delete\n", 0, false },
    { "\n", 0, false },
    { "\0\0\0\n", 4, false },
    { "frobnicate 1\n", 0, false },
};

static void garbage_is_passed_over(void **state)
{
    char doc[200];

    for (size_t i = 0; i < COUNT(lines); i++) {
        size_t len = lines[i].len ? lines[i].len : strlen(lines[i].line);

        if (parse(lines[i].line, len) != lines[i].good)
            fail_msg("line %zu: %s", i, lines[i].line);
        memcpy(doc, "table 5\n", 8); /* and takes nobody along */
        memcpy(doc + 8, lines[i].line, len);
        memcpy(doc + 8 + len, "table 6\n", 8);
        assert_int_equal(parse(doc, len + 16), 2 + lines[i].good);
        assert_int_equal(got[0].from, 5);
        assert_int_equal(got[1 + lines[i].good].from, 6);
    }
}

static void no_more_than_there_is_room_for(void **state)
{
    struct undo_entry few[4];
    char many[4000] = "";

    for (int i = 0; i < 300; i++)
        strcat(many, "table 7\n");
    memset(few, 0x55, sizeof(few));
    assert_int_equal(undo_parse(many, strlen(many), few, 3), 3);
    assert_int_equal(few[3].from, 0x55555555);
    assert_int_equal(undo_parse(many, strlen(many), few, 0), 0);
}

/* ---- writing ---- */

static char dir[64];

static const char *make_dir(void)
{
    strcpy(dir, "/tmp/undo.XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}

static const char *journal_path(void)
{
    static char path[100];

    snprintf(path, sizeof(path), "%s/journal", dir);
    return path;
}

static void end_dir(void)
{
    unlink(journal_path());
    assert_int_equal(rmdir(dir), 0);
}

static void what_is_written_is_read(void **state)
{
    char back[2000];
    struct stat st;
    ssize_t n;
    int j, fd;

    j = undo_open(make_dir());
    assert_true(j >= 0);
    for (size_t i = 0; i < COUNT(all); i++)
        assert_int_equal(undo_note(j, &all[i], 1), 0);
    assert_int_equal(undo_note(j, all, COUNT(all)), 0);
    assert_int_equal(undo_note(j, all, 0), 0);
    fd = open(journal_path(), O_RDONLY);
    n = read(fd, back, sizeof(back));
    assert_int_equal(n, 2 * strlen(text));
    assert_memory_equal(back, text, strlen(text));
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    close(fd);
    undo_close(dir, j);
    assert_int_equal(access(journal_path(), F_OK), -1);
    end_dir();
}

static void an_old_journal_or_a_trap_is_replaced(void **state)
{
    struct stat st;
    char trap[100];
    int j;

    make_dir();
    snprintf(trap, sizeof(trap), "%s/trap", dir);
    close(open(trap, O_CREAT | O_WRONLY, 0600));
    for (int i = 0; i < 3; i++) {
        if (i == 0)
            close(open(journal_path(), O_CREAT | O_WRONLY, 0666));
        else if (i == 1)
            assert_int_equal(symlink(trap, journal_path()), 0);
        else
            assert_int_equal(mkfifo(journal_path(), 0666), 0);
        j = undo_open(dir);
        assert_true(j >= 0);
        assert_int_equal(undo_note(j, &all[0], 1), 0);
        assert_int_equal(lstat(journal_path(), &st), 0);
        assert_true(S_ISREG(st.st_mode) && st.st_size == 14);
        undo_close(dir, j);
    }
    assert_int_equal(stat(trap, &st), 0);
    assert_int_equal(st.st_size, 0);
    unlink(trap);
    assert_int_equal(mkdir(journal_path(), 0700), 0); /* this cannot be replaced: there is no journal then */
    assert_true(undo_open(dir) < 0);
    rmdir(journal_path());
    end_dir();
}

static void a_disk_that_is_full_is_told(void **state)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    char long_dir[PATH_MAX + 100];

    assert_true(full >= 0);
    assert_int_equal(undo_note(full, all, 1), -ENOSPC);
    assert_true(undo_note(-1, all, 1) < 0);
    close(full);
    memset(long_dir, 'a', sizeof(long_dir));
    long_dir[sizeof(long_dir) - 1] = 0;
    assert_int_equal(undo_open(long_dir), -ENAMETOOLONG);
    assert_int_equal(undo_open("/nonexistent/dir"), -ENOENT);
    undo_close(long_dir, -1);
}

/* ---- taking back, in a namespace of our own ---- */

static void write_journal(const char *s)
{
    int fd = open(journal_path(), O_CREAT | O_WRONLY | O_TRUNC, 0600);

    assert_int_equal(write(fd, s, strlen(s)), strlen(s));
    close(fd);
}

static bool there(const char *what)
{
    char line[200];

    snprintf(line, sizeof(line), "%s >/dev/null 2>&1", what);
    return sh(line) == 0;
}

static void what_the_journal_names_and_is_ours_goes(void **state)
{
    netns_needed();
    make_dir();
    sh("ip link set lo up; ip link add ours type veth; ip link set ours alias shunt; ip link add theirs type veth; ip link add un type "
       "veth;"
       "ip link set un alias shunt");
    write_journal("device ours\ndevice theirs\ndevice missing\n");
    assert_true(undo_all(dir, false, false) == 1);
    assert_false(there("ip link show ours"));
    assert_true(there("ip link show theirs"));
    assert_true(there("ip link show un")); /* nobody named it */
    assert_int_equal(access(journal_path(), F_OK), -1);
    sh("ip link del theirs; ip link del un");
    end_dir();
}

static void only_roots_journal_is_believed(void **state)
{
    netns_needed();
    for (int i = 0; i < 4; i++) {
        make_dir();
        sh("ip link add ours type veth; ip link set ours alias shunt");
        if (i == 0) {
            write_journal("device ours\n");
            assert_int_equal(chown(journal_path(), 65017, 65017), 0);
        } else if (i == 1) { /* a link to a file of root's that says so */
            char other[100];

            snprintf(other, sizeof(other), "%s/other", dir);
            write_journal("device ours\n");
            assert_int_equal(rename(journal_path(), other), 0);
            assert_int_equal(symlink(other, journal_path()), 0);
            assert_int_equal(undo_all(dir, false, false), 0);
            unlink(other);
        } else if (i == 2) { /* nobody writes to it: it must not wait */
            assert_int_equal(mkfifo(journal_path(), 0600), 0);
        } else {
            assert_int_equal(mkdir(journal_path(), 0700), 0);
        }
        assert_int_equal(undo_all(dir, false, false), 0);
        assert_true(there("ip link show ours"));
        sh("ip link del ours");
        rmdir(journal_path());
        end_dir();
    }
}

/* Without a journal, and beside what others have in the same places. */
static void what_bears_our_mark_goes(void **state)
{
    netns_needed();
    make_dir();
    sh("ip link set lo up; ip link add name left type veth peer name right; ip link set left up; ip link set right up; ip addr add "
       "192.0.2.1/24 dev left;"
       "ip rule add pref 9000 lookup 2022 proto 84; ip rule add pref 9001 lookup 2022 proto 84; ip rule add pref 9002 lookup 2022 proto 99;"
       "ip route add 203.0.113.0/24 dev left table 2022 proto 84; ip route add 203.0.113.0/25 dev left table 2022 proto 99; ip route add "
       "198.51.100.0/24 dev left proto 84;"
       "nft add table inet shunt; nft add table inet shunt_guard; nft add table inet theirs");
    assert_int_equal(undo_all(dir, true, false), 5); /* but the guard */
    assert_true(there("nft list table inet shunt_guard") && there("nft list table inet theirs") && !there("nft list table inet shunt"));
    assert_true(there("ip rule | grep -q 9002:") && !there("ip rule | grep -q 9000:") && !there("ip rule | grep -q 9001:"));
    assert_true(there("ip route show table 2022 | grep -q 203.0.113.0/25") && !there("ip route show table 2022 | grep -q 203.0.113.0/24"));
    assert_false(there("ip route | grep -q 198.51.100"));
    write_journal("nft theirs\nnft shunt_guard\nrules 0 4294967295\ntable 254\ntable 2022\ntable 0\n"); /* however it is asked */
    assert_int_equal(undo_all(dir, true, false), 0);
    assert_true(there("nft list table inet shunt_guard") && there("nft list table inet theirs") && there("ip rule | grep -q 9002:"));
    assert_true(there("ip route show table 2022 | grep -q 203.0.113.0/25") && there("ip route | grep -q 192.0.2.0/24"));
    assert_int_equal(undo_all(dir, false, false), 1);
    assert_false(there("nft list table inet shunt_guard"));
    sh("nft delete table inet theirs; ip rule del pref 9002; ip link del left");
    end_dir();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_entries),           cmocka_unit_test(a_torn_line_names_nothing),
        cmocka_unit_test(garbage_is_passed_over),         cmocka_unit_test(no_more_than_there_is_room_for),
        cmocka_unit_test(what_is_written_is_read),        cmocka_unit_test(an_old_journal_or_a_trap_is_replaced),
        cmocka_unit_test(a_disk_that_is_full_is_told),    cmocka_unit_test(what_the_journal_names_and_is_ours_goes),
        cmocka_unit_test(only_roots_journal_is_believed), cmocka_unit_test(what_bears_our_mark_goes),
    };

    return cmocka_run_group_tests(tests, netns_enter, NULL);
}
