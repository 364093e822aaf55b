/*
 * dns_fakelog.c - the file that remembers the pool: cut at every byte, every bit flipped, killed at any moment, no room on the disk,
 * written anew
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/log.h"
#include "dns/fakelog.h"

#define MIN_US 1000
#define NOW    1000000

static char dir[64], file[96], copy[96];
static char said[4096]; /* what the log said since it was cleared */

static void on_log(void *arg, enum log_level level, enum log_sys sys, const char *line)
{
    size_t at = strlen(said);

    snprintf(said + at, sizeof(said) - at, "%s\n", line);
}

static int make_dir(void **state)
{
    log_threshold = LOG_SILENT;
    log_set_sink(on_log, NULL, LOG_WARN);
    snprintf(dir, sizeof(dir), "%s/shunt-fakelog.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"); /* thousands of syncs */
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof(file), "%s/fakeip", dir);
    snprintf(copy, sizeof(copy), "%s/copy", dir);
    return 0;
}

static int remove_dir(void **state)
{
    char cmd[128];

    log_set_sink(NULL, NULL, LOG_SILENT);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd) ? -1 : 0;
}

/* ---- a pool and its file ---- */

struct both {
    struct fakeip *pool;
    struct fakelog *log;
};

static struct both open_both(const char *path, const char *range)
{
    struct both b;
    struct cidr r;

    said[0] = 0;
    assert_int_equal(cidr_parse(range, &r), 0);
    assert_int_equal(fakeip_new(&r, NULL, 1000, &b.pool), 0);
    b.log = fakelog_open(path, b.pool, NOW);
    assert_non_null(b.log);
    return b;
}

static void close_both(struct both *b)
{
    fakelog_close(b->log);
    fakeip_free(b->pool);
}

static uint32_t give(struct both *b, const char *name, uint64_t now)
{
    uint32_t slot = FAKE_NONE;
    enum fake_how how = fakeip_get(b->pool, name, strlen(name), now, &slot);

    assert_true(how == FAKE_KNOWN || how == FAKE_FRESH || how == FAKE_RECYCLED);
    if (how != FAKE_KNOWN)
        fakelog_note(b->log, slot);
    return slot;
}

static uint32_t n_names(const struct both *b)
{
    uint32_t used, size;

    fakeip_usage(b->pool, &used, &size);
    return used;
}

static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p;
    long n;

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    n = ftell(f);
    rewind(f);
    p = malloc((size_t)n + 1);
    assert_int_equal(fread(p, 1, (size_t)n, f), n);
    fclose(f);
    *len = (size_t)n;
    return p;
}

static void spew(const char *path, const uint8_t *p, size_t len)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, len, f), len);
    fclose(f);
}

static off_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* ---- what comes back ---- */

static void names_come_back_after_a_restart(void **state)
{
    struct both b = open_both(file, "198.18.0.0/28");
    char name[300], max[254];

    memset(max, 'x', 253);
    max[253] = 0;
    assert_string_equal(said, "");
    for (int i = 0; i < 14; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        give(&b, i == 5 ? max : name, NOW + (uint64_t)i * 10000);
    }
    assert_true(fakelog_dirty(b.log));
    fakelog_write(b.log);
    assert_false(fakelog_dirty(b.log));
    close_both(&b);

    b = open_both(file, "198.18.0.0/28");
    assert_string_equal(said, "");
    assert_int_equal(n_names(&b), 11);
    for (uint32_t slot = 0; slot < 11; slot++) {
        snprintf(name, sizeof(name), "n%u.test", slot < 3 ? slot + 11 : slot);
        assert_string_equal(fakeip_name(b.pool, slot, NULL), slot == 5 ? max : name);
    }
    close_both(&b);
    assert_int_equal(size_of(file), 28 + 14 * 9 + 9 * 7 + 4 * 8 + 253); /* nothing but the records */
}

static void another_range_starts_empty_and_says_so(void **state)
{
    struct both b = open_both(file, "198.18.0.0/24");

    give(&b, "a.test", NOW);
    close_both(&b);
    b = open_both(file, "198.18.0.0/25");
    assert_non_null(strstr(said, "another range"));
    assert_int_equal(n_names(&b), 0);
    give(&b, "b.test", NOW);
    close_both(&b);
    b = open_both(file, "198.18.0.0/25");
    assert_string_equal(said, "");
    assert_int_equal(n_names(&b), 1);
    close_both(&b);
}

static void what_the_pool_forgets_the_file_forgets(void **state)
{
    struct both b = open_both(file, "198.18.0.0/24");

    give(&b, "a.test", NOW);
    fakeip_pin(b.pool, give(&b, "flow.test", NOW));
    give(&b, "c.test", NOW);
    fakeip_forget(b.pool);
    fakelog_forget(b.log);
    give(&b, "after.test", NOW);
    close_both(&b);
    b = open_both(file, "198.18.0.0/24");
    assert_string_equal(said, "");
    assert_int_equal(n_names(&b), 2);
    assert_int_equal(fakeip_find(b.pool, "flow.test", 9), 1);
    assert_int_equal(fakeip_find(b.pool, "after.test", 10), 3);
    close_both(&b);
}

/* ---- damage ---- */

struct told { /* what a sound beginning of the file says */
    size_t end[64];
    uint32_t slot[64];
    char name[64][24];
    int n;
};

/* A file with names that lost their slots and got others. */
static uint8_t *well_used(size_t *len, struct told *t)
{
    struct both b = open_both(file, "198.18.0.0/28");

    t->n = 0;
    for (int i = 0; i < 30; i++) {
        int id = i < 20 ? i : i - 18; /* some come back after they were thrown out */

        snprintf(t->name[t->n], sizeof(t->name[0]), "n%d.test", id);
        t->slot[t->n] = give(&b, t->name[t->n], NOW + (uint64_t)i * 10000);
        if (!fakelog_dirty(b.log))
            continue;
        fakelog_write(b.log);
        t->end[t->n++] = (size_t)size_of(file);
    }
    close_both(&b);
    return slurp(file, len);
}

/* The pool must say what the first n records say, and nothing else. */
static void check_pool(const struct both *b, const struct told *t, int n)
{
    uint32_t names = 0;

    for (uint32_t slot = 0; slot < 11; slot++) {
        const char *want = NULL;
        struct addr a;

        for (int i = 0; i < n; i++) {
            if (t->slot[i] == slot)
                want = t->name[i];
            else if (want && !strcmp(t->name[i], want))
                want = NULL; /* moved on */
        }
        names += want != NULL;
        fakeip_addr(b->pool, slot, 4, &a);
        if (!want)
            assert_int_equal(fakeip_slot(b->pool, &a), FAKE_NONE);
        else
            assert_string_equal(fakeip_name(b->pool, slot, NULL), want);
    }
    assert_int_equal(n_names(b), names);
}

static void reopen_damaged(const uint8_t *bytes, size_t len, const struct told *t, int n_sound, bool harmless)
{
    struct both b;
    uint32_t slot;

    spew(copy, bytes, len);
    b = open_both(copy, "198.18.0.0/28");
    check_pool(&b, t, n_sound);
    assert_true(harmless || strstr(said, "damaged"));
    assert_true(!harmless || !*said);
    slot = give(&b, "after.test", NOW + 100000); /* and it goes on from there */
    close_both(&b);
    b = open_both(copy, "198.18.0.0/28");
    assert_string_equal(said, "");
    assert_string_equal(fakeip_name(b.pool, slot, NULL), "after.test");
    close_both(&b);
}

static void truncated_at_every_byte(void **state)
{
    struct told t;
    size_t len;
    uint8_t *bytes = well_used(&len, &t);

    for (size_t cut = 0; cut <= len; cut++) {
        int sound = 0;

        while (sound < t.n && t.end[sound] <= cut)
            sound++;
        reopen_damaged(bytes, cut, &t, sound, cut == 0 || cut == 28 || (sound && t.end[sound - 1] == cut));
    }
    free(bytes);
}

static void every_bit_flipped(void **state)
{
    struct told t;
    size_t len;
    uint8_t *bytes = well_used(&len, &t);

    for (size_t bit = 0; bit < 8 * len; bit++) {
        int sound = 0;

        while (bit / 8 >= 28 && sound < t.n && t.end[sound] <= bit / 8)
            sound++;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        reopen_damaged(bytes, len, &t, sound, false);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
}

static void junk_of_every_kind(void **state)
{
    uint8_t junk[4096];
    struct both b;

    memset(junk, 0, sizeof(junk));
    for (int i = 0; i < 200; i++) {
        if (i)
            random_bytes(junk, sizeof(junk));
        spew(copy, junk, i % 2 ? sizeof(junk) : (size_t)i);
        b = open_both(copy, "198.18.0.0/28");
        assert_int_equal(n_names(&b), 0);
        give(&b, "a.test", NOW);
        close_both(&b);
        b = open_both(copy, "198.18.0.0/28");
        assert_int_equal(n_names(&b), 1);
        close_both(&b);
    }
}

/* ---- no file to be had ---- */

static void a_file_that_cannot_be_opened_costs_only_the_memory(void **state)
{
    char path[160];
    struct both b;

    snprintf(path, sizeof(path), "%s/is-a-directory", dir);
    mkdir(path, 0700);
    b = open_both(path, "198.18.0.0/28");
    assert_non_null(strstr(said, "cannot be opened"));
    give(&b, "a.test", NOW);
    fakelog_write(b.log);
    close_both(&b);
    rmdir(path);

    snprintf(path, sizeof(path), "%s/is-a-link", dir);
    spew(copy, (const uint8_t *)"precious", 8);
    assert_int_equal(symlink(copy, path), 0);
    b = open_both(path, "198.18.0.0/28");
    assert_non_null(strstr(said, "cannot be opened"));
    give(&b, "a.test", NOW);
    close_both(&b);
    assert_int_equal(size_of(copy), 8); /* what it pointed at was not touched */
    unlink(path);
}

static void limit_files(rlim_t n)
{
    struct rlimit r = { n, RLIM_INFINITY };

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* Tends until the thread has ended and its result is taken. */
static void tend_to_the_end(struct both *b)
{
    for (int i = 0; i < 5000 && fakelog_tend(b->log) == 200; i++)
        usleep(MIN_US);
}

static void a_full_disk_makes_the_file_empty_not_untrue(void **state)
{
    struct both b = open_both(file, "198.18.0.0/28");
    char name[32];

    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "old%d.test", i);
        give(&b, name, NOW);
    }
    fakelog_write(b.log);
    limit_files((rlim_t)size_of(file) + 10);
    for (int i = 0; i < 11; i++) { /* every slot gets another name, and the file cannot say so */
        snprintf(name, sizeof(name), "new%d.test", i);
        give(&b, name, NOW + 100000);
        fakelog_write(b.log);
    }
    assert_non_null(strstr(said, "cannot be written"));
    assert_int_equal(size_of(file), 0);
    said[0] = 0;
    tend_to_the_end(&b); /* a rewrite, and it works: it is shorter */
    assert_string_equal(said, "");
    limit_files(20);
    give(&b, "lost.test", NOW + 200000);
    fakelog_write(b.log);
    assert_int_equal(size_of(file), 0);
    tend_to_the_end(&b);
    assert_non_null(strstr(said, "cannot be written"));
    said[0] = 0;
    tend_to_the_end(&b);
    assert_string_equal(said, ""); /* said once */
    limit_files(RLIM_INFINITY);
    give(&b, "found.test", NOW + 300000);
    tend_to_the_end(&b);
    close_both(&b);

    b = open_both(file, "198.18.0.0/28");
    assert_string_equal(said, "");
    assert_int_equal(n_names(&b), 11);
    assert_string_equal(fakeip_name(b.pool, 0, NULL), "lost.test");
    assert_string_equal(fakeip_name(b.pool, 1, NULL), "found.test");
    assert_string_equal(fakeip_name(b.pool, 2, NULL), "new2.test");
    close_both(&b);
}

/* ---- written anew ---- */

static void the_dead_are_cleared_away(void **state)
{
    struct both b = open_both(file, "198.18.0.0/28");
    char name[32];

    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "host%d.test", i);
        give(&b, name, NOW + (uint64_t)i * 10000);
        fakelog_write(b.log);
        if (i % 100 == 0)
            fakelog_tend(b.log); /* records come while the thread is at work */
    }
    tend_to_the_end(&b);
    close_both(&b);
    assert_true(size_of(file) < 1200 * 24);
    assert_string_equal(said, "");

    b = open_both(file, "198.18.0.0/28");
    assert_string_equal(said, "");
    for (int i = 5000 - 11; i < 5000; i++) {
        snprintf(name, sizeof(name), "host%d.test", i);
        assert_int_equal(fakeip_find(b.pool, name, strlen(name)), i % 11);
    }
    close_both(&b);
}

/* ---- killed ---- */

/* Name i goes to slot i % 11. Whatever was written before the kill is there; what comes after it may be there too. */
static void child(int out, const char *path)
{
    struct both b = open_both(path, "198.18.0.0/28");
    char name[32];

    for (uint32_t i = 0;; i++) {
        snprintf(name, sizeof(name), "%u", i);
        give(&b, name, NOW + (uint64_t)i * 10000);
        fakelog_write(b.log);
        if (i % 50 == 0)
            fakelog_tend(b.log);
        if (write(out, &i, sizeof(i)) != sizeof(i))
            _exit(1);
    }
}

static void killed_at_any_moment(void **state)
{
    for (int round = 0; round < 40; round++) {
        int64_t last = -1;
        uint32_t i;
        struct both b;
        int p[2];
        pid_t pid;

        unlink(file);
        assert_int_equal(pipe(p), 0);
        if (!(pid = fork())) {
            close(p[0]);
            child(p[1], file);
        }
        close(p[1]);
        usleep(2000 + (useconds_t)round * 700);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(p[0], &i, sizeof(i)) == sizeof(i))
            last = i;
        close(p[0]);
        b = open_both(file, "198.18.0.0/28");
        for (uint32_t slot = 0; slot < 11 && slot <= last; slot++) {
            int64_t told = last - (last - slot) % 11; /* the last that we know to have been given this slot */
            int64_t got = strtol(fakeip_name(b.pool, slot, NULL), NULL, 10);

            assert_true(got >= told && got <= last + 2 && got % 11 == slot);
        }
        close_both(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_come_back_after_a_restart, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(another_range_starts_empty_and_says_so, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(what_the_pool_forgets_the_file_forgets, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(truncated_at_every_byte, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(every_bit_flipped, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(junk_of_every_kind, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_opened_costs_only_the_memory, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_full_disk_makes_the_file_empty_not_untrue, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_dead_are_cleared_away, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(killed_at_any_moment, make_dir, remove_dir),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
