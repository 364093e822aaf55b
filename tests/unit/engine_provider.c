/*
 * engine_provider.c - providers against a server that misbehaves: what is stored, what stays, who is told
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
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/err.h"
#include "core/file.h"
#include "core/log.h"
#include "engine/provider.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OK       "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nSubscription-Userinfo: total=9\r\nConnection: close\r\n\r\n"

/* ---- a world of one web server ---- */

struct world {
    struct loop *loop;
    struct providers *ps;
    char dir[64];
    const char *answer; /* of the next requests; NULL: the connection leads nowhere */
    char asked[8192];   /* requests, one after the other */
    atomic_uint n_open;
    unsigned n_changed, n_ways;
    char changed[64]; /* who did last */
};

static struct world *w;

static void *serve(void *arg)
{
    int listener = (int)(intptr_t)arg, fd = accept(listener, NULL, NULL);
    char text[4096];
    size_t n = 0;
    ssize_t r;

    close(listener);
    if (fd < 0)
        return NULL;
    while (w->answer && n < sizeof(text) - 1 && (r = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0) {
        n += (size_t)r;
        text[n] = 0;
        if (!strstr(text, "\r\n\r\n"))
            continue;
        strcat(w->asked, text);
        send(fd, w->answer, strlen(w->answer), MSG_NOSIGNAL);
        break;
    }
    close(fd);
    return NULL;
}

static int open_way(void *way, const char *host, uint16_t port, char name[64])
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = { .tv_sec = 2 };
    pthread_t t;

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa.sun_family)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(listen(fd, 1), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    snprintf(name, 64, "%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), sa.sun_path + 1);
    assert_int_equal(pthread_create(&t, NULL, serve, (void *)(intptr_t)fd), 0);
    pthread_detach(t);
    atomic_fetch_add(&w->n_open, 1);
    return 0;
}

static int why_failed(void *way)
{
    return w->answer ? 0 : -ENETUNREACH;
}

static void *make_way(void *arg, const struct provider_spec *s)
{
    w->n_ways++;
    return w;
}

static void end_way(void *way)
{
    w->n_ways--;
}

static bool check(void *arg, const struct provider_spec *s, const char *bytes, size_t len, char why[256])
{
    return provider_check_rules(s, bytes, len, NULL, why);
}

static void on_changed(void *arg, const struct provider_spec *s)
{
    w->n_changed++;
    snprintf(w->changed, sizeof(w->changed), "%s", s->name);
}

static void new_providers(void)
{
    struct provider_hooks h = { NULL, check, on_changed, make_way, open_way, why_failed, end_way };

    w->ps = providers_new(w->loop, w->dir, "shunt/test", &h);
}

static int begin(void **state)
{
    log_threshold = LOG_SILENT;
    w = calloc(1, sizeof(*w));
    strcpy(w->dir, "/tmp/shunt-prov.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->loop = loop_new();
    new_providers();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    return remove(path);
}

static int end(void **state)
{
    providers_free(w->ps);
    assert_int_equal(w->n_ways, 0);
    loop_free(w->loop);
    nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

/* ---- small words ---- */

static const struct provider_spec http = { .kind = PROVIDER_RULES,
                                           .from = PROVIDER_HTTP,
                                           .name = "ads",
                                           .url = "http://a.test/ads",
                                           .path = "r/ads.txt",
                                           .behavior = SET_DOMAIN,
                                           .format = SET_TEXT };

static void set_one(const struct provider_spec *s)
{
    assert_int_equal(providers_set(w->ps, &s, s ? 1 : 0), 0);
}

static void keep_view(void *arg, const struct provider_view *v)
{
    *(struct provider_view *)arg = *v;
}

static struct provider_view view(void)
{
    struct provider_view v = { 0 };

    providers_each(w->ps, keep_view, &v);
    return v;
}

static void settle(void)
{
    do
        loop_turn(w->loop, 20);
    while (view().busy);
}

struct waiter {
    struct provider_wait wait;
    int n, err;
    char why[256];
};

static void on_told(struct provider_wait *wait, int err, const char *why)
{
    struct waiter *x = container_of(wait, struct waiter, wait);

    x->n++;
    x->err = err;
    snprintf(x->why, sizeof(x->why), "%s", why);
}

static struct waiter refresh(void)
{
    struct waiter x = { .wait.done = on_told };

    assert_int_equal(providers_refresh(w->ps, PROVIDER_RULES, "ads", &x.wait), 0);
    while (!x.n)
        loop_turn(w->loop, 20);
    return x;
}

static void check_file(const char *name, const char *content)
{
    char *bytes;
    size_t len;
    int64_t when;
    int r = file_read_beneath(w->dir, name, 10000, &bytes, &len, &when);

    if (!content) {
        assert_int_equal(r, -ENOENT);
        return;
    }
    assert_int_equal(r, 0);
    assert_string_equal(bytes, content);
    free(bytes);
}

/* ---- bringing ---- */

static void nothing_happens_before_the_start(void **state)
{
    w->answer = OK "a.com\n";
    set_one(&http);
    loop_turn(w->loop, 50);
    assert_int_equal(atomic_load(&w->n_open), 0);
    providers_start(w->ps);
    settle();
    check_file("r/ads.txt", "a.com\n");
    assert_int_equal(w->n_changed, 1);
    assert_string_equal(w->changed, "ads");
    assert_string_equal(view().userinfo, "total=9");
    assert_true(view().updated_s > 0);
    assert_non_null(strstr(w->asked, "GET /ads HTTP/1.1\r\nHost: a.test\r\nUser-Agent: shunt/test\r\n"));
}

static void new_content_replaces_and_the_old_is_kept(void **state)
{
    static const char *const answers[] = { OK "a.com\n", OK "b.com\n", OK "c.com\n", OK "d.com\n" };

    w->answer = answers[0];
    set_one(&http);
    providers_start(w->ps);
    settle();
    for (size_t i = 0; i < COUNT(answers); i++) {
        w->answer = answers[i];
        assert_int_equal(refresh().err, 0);
    }
    assert_int_equal(w->n_changed, 4);
    check_file("r/ads.txt", "d.com\n");
    check_file("r/ads.txt.1", "c.com\n");
    check_file("r/ads.txt.2", "b.com\n");
    check_file("r/ads.txt.3", NULL);
    assert_non_null(strstr(w->asked, "If-None-Match: \"v1\""));
}

static void what_is_the_same_changes_nothing(void **state)
{
    w->answer = OK "a.com\n";
    set_one(&http);
    providers_start(w->ps);
    settle();
    assert_int_equal(refresh().err, 0); /* the same bytes */
    w->answer = "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n";
    assert_int_equal(refresh().err, 0);
    assert_int_equal(w->n_changed, 1);
    check_file("r/ads.txt.1", NULL);
    assert_string_equal(view().userinfo, "total=9");
}

static void without_the_file_there_are_no_conditions(void **state)
{
    char path[128];

    w->answer = OK "a.com\n";
    set_one(&http);
    providers_start(w->ps);
    settle();
    snprintf(path, sizeof(path), "%s/r/ads.txt", w->dir);
    assert_int_equal(unlink(path), 0);
    *w->asked = 0;
    assert_int_equal(refresh().err, 0);
    assert_null(strstr(w->asked, "If-None-Match"));
    check_file("r/ads.txt", "a.com\n");
}

static void without_etag_support_the_whole_is_asked_for(void **state)
{
    struct provider_spec s = http;

    s.whole = true;
    w->answer = OK "a.com\n";
    set_one(&s);
    providers_start(w->ps);
    settle();
    *w->asked = 0;
    assert_int_equal(refresh().err, 0);
    assert_non_null(strstr(w->asked, "GET /ads"));
    assert_null(strstr(w->asked, "If-None-Match"));
}

/* ---- misbehaving ---- */

/* D1, D2, D3, D5: none of these harms what there is, and each says why. */
static void bad_answers_change_nothing(void **state)
{
    static const struct {
        const char *answer, *why;
    } t[] = {
        { "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\nx.com\n", "a.test: HTTP status 403" },
        { "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nx.com\n", "404" },
        { "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nx.com\n", "500" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n<!DOCTYPE html><html>log in please</html>", "web page" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "empty" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n# nothing\n", "no entries" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n; / ; /\n", "no usable entry" },
        { "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx.com\n", "" },
        { NULL, "unreachable" },
    };

    w->answer = OK "a.com\n";
    set_one(&http);
    providers_start(w->ps);
    settle();
    for (size_t i = 0; i < COUNT(t); i++) {
        struct waiter x;

        w->answer = t[i].answer;
        x = refresh();
        assert_true(x.err < 0);
        if (!strstr(x.why, t[i].why))
            fail_msg("\"%s\", not \"%s\"", x.why, t[i].why);
        assert_string_equal(view().why, x.why);
    }
    check_file("r/ads.txt", "a.com\n");
    check_file("r/ads.txt.1", NULL);
    assert_int_equal(w->n_changed, 1);
    w->answer = OK "b.com\n";
    assert_int_equal(refresh().err, 0);
    assert_string_equal(view().why, "");
}

/* D4 */
static void a_store_that_cannot_be_written_is_said(void **state)
{
    struct waiter x;
    char path[128];

    w->answer = OK "a.com\n";
    set_one(&http);
    providers_start(w->ps);
    settle();
    snprintf(path, sizeof(path), "%s/r/ads.txt", w->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* something is in the way */
    w->answer = OK "b.com\n";
    x = refresh();
    assert_true(x.err < 0);
    assert_non_null(strstr(x.why, "cannot be stored"));
    assert_int_equal(w->n_changed, 1);
    assert_int_equal(rmdir(path), 0);
}

static void a_size_limit_is_an_error(void **state)
{
    struct provider_spec s = http;

    s.size_limit = 5;
    w->answer = OK "abc.com\n";
    set_one(&s);
    providers_start(w->ps);
    settle();
    assert_non_null(strstr(view().why, "larger than the limit"));
    check_file("r/ads.txt", NULL);
}

/* ---- places ---- */

static void paths(void **state)
{
    static const struct {
        const char *path, *out;
        int r;
    } t[] = {
        { "", NULL, 0 },
        { "./a.yaml", "./a.yaml", 0 },
        { "a/../b", "a/../b", 0 },
        { "../x", NULL, -EXDEV },
        { "a/../../x", NULL, -EXDEV },
        { "/etc/passwd", NULL, -EXDEV },
        { "/state/x", "/state/x", 0 },
        { "/stateless", NULL, -EXDEV },
        { "/state", NULL, -EXDEV },
        { ".", NULL, -EXDEV },
    };
    struct provider_spec s = http;
    char out[PATH_MAX], by_url[PATH_MAX];

    s.path = NULL;
    assert_int_equal(provider_path(&s, "/state/", by_url), 0);
    assert_memory_equal(by_url, "rules/", 6);
    assert_int_equal(strlen(by_url), 6 + 32);
    for (size_t i = 0; i < COUNT(t); i++) {
        s.path = t[i].path;
        assert_int_equal(provider_path(&s, "/state/", out), t[i].r);
        assert_string_equal(out, t[i].out ? t[i].out : by_url);
    }
    s.kind = PROVIDER_PROXIES;
    assert_int_equal(provider_path(&s, "/state/", out), -EXDEV);
    assert_memory_equal(out, "proxies/", 8);
    assert_string_equal(out + 8, by_url + 6);
}

static void contents_are_read_from_where_they_may_be(void **state)
{
    struct provider_spec s = http, file = { .kind = PROVIDER_RULES, .from = PROVIDER_FILE, .name = "f" };
    char *bytes, outside[] = "/tmp/shunt-mine.XXXXXX";
    size_t len;
    int64_t when;
    int fd = mkstemp(outside);

    assert_int_equal(provider_read(&s, w->dir, 0, &bytes, &len, &when), -ENOENT);
    for (int i = 0; i < 4; i++)
        assert_int_equal(file_replace_beneath(w->dir, "r/ads.txt", &"0123"[i], 1, PROVIDER_COPIES), 0);
    for (unsigned nth = 0; nth < 3; nth++) {
        assert_int_equal(provider_read(&s, w->dir, nth, &bytes, &len, &when), 0);
        assert_int_equal(*bytes, "321"[nth]);
        free(bytes);
    }
    assert_int_equal(provider_read(&s, w->dir, 3, &bytes, &len, &when), -ENOENT);

    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    file.path = outside;
    assert_int_equal(provider_read(&file, w->dir, 0, &bytes, &len, &when), -EXDEV);
    file.own = true;
    assert_int_equal(provider_read(&file, w->dir, 0, &bytes, &len, &when), 0);
    assert_string_equal(bytes, "x");
    free(bytes);
    unlink(outside);
    file.path = "r/ads.txt";
    assert_int_equal(provider_read(&file, w->dir, 0, &bytes, &len, &when), 0);
    assert_string_equal(bytes, "3");
    free(bytes);
    file.path = "../x";
    assert_int_equal(provider_read(&file, w->dir, 0, &bytes, &len, &when), -EXDEV);
    assert_int_equal(provider_read(&file, w->dir, 1, &bytes, &len, &when), -ENOENT);
    s.size_limit = 0;
    file.path = NULL;
    assert_int_equal(provider_read(&file, w->dir, 0, &bytes, &len, &when), -ENOENT);
}

/* ---- time and change ---- */

static void a_fresh_copy_is_not_fetched_again(void **state)
{
    struct provider_spec s = http;
    struct timespec old[2] = { { 1000, 0 }, { 1000, 0 } };
    char path[128];

    w->answer = OK "b.com\n";
    assert_int_equal(file_replace_beneath(w->dir, "r/ads.txt", "a.com\n", 6, 0), 0);
    s.interval_s = 3600;
    set_one(&s);
    providers_start(w->ps);
    loop_turn(w->loop, 50);
    assert_false(view().busy);
    assert_true(view().updated_s > 1000);
    assert_int_equal(atomic_load(&w->n_open), 0);

    snprintf(path, sizeof(path), "%s/r/ads.txt", w->dir);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    set_one(NULL);
    set_one(&s); /* old now */
    settle();
    check_file("r/ads.txt", "b.com\n");

    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    s.interval_s = 0; /* never again, once it is there */
    set_one(&s);
    settle();
    assert_int_equal(atomic_load(&w->n_open), 1);
}

static void a_reload_keeps_what_is_the_same(void **state)
{
    struct provider_spec s = http;

    set_one(&http);
    providers_start(w->ps);
    settle(); /* fails: there is no answer */
    assert_true(*view().why != 0);
    set_one(&s);
    assert_true(*view().why != 0);
    s.url = "http://b.test/";
    w->answer = OK "b.com\n";
    set_one(&s);
    assert_int_equal(*view().why, 0);
    settle();
    check_file("r/ads.txt", "b.com\n");
    set_one(NULL);
    assert_null(view().spec);
}

static void one_that_goes_while_it_is_fetched_tells_nobody(void **state)
{
    struct waiter x = { .wait.done = on_told }, y = x;

    w->answer = OK "a.com\n";
    set_one(&http);
    providers_start(w->ps);
    assert_int_equal(providers_refresh(w->ps, PROVIDER_RULES, "ads", &x.wait), 0);
    assert_int_equal(providers_refresh(w->ps, PROVIDER_RULES, "ads", &y.wait), 0);
    providers_forget(&y.wait);
    set_one(NULL);
    while (w->n_ways)
        loop_turn(w->loop, 20);
    loop_turn(w->loop, 20);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.err, -ERR_CLOSED);
    assert_int_equal(y.n, 0);
    assert_int_equal(w->n_changed, 0);
}

static void at_most_two_at_a_time(void **state)
{
    struct provider_spec s[12];
    const struct provider_spec *list[12];
    char names[12][16];
    unsigned most = 0;

    w->answer = OK "a.com\n";
    for (int i = 0; i < 12; i++) {
        snprintf(names[i], sizeof(names[i]), "p%d", i);
        s[i] = http;
        s[i].name = s[i].path = names[i];
        list[i] = &s[i];
    }
    assert_int_equal(providers_set(w->ps, list, 12), 0);
    providers_start(w->ps);
    while (w->n_changed < 12) {
        most = w->n_ways > most ? w->n_ways : most;
        loop_turn(w->loop, 20);
    }
    assert_int_equal(most, 2);
    for (int i = 0; i < 12; i++)
        check_file(names[i], "a.com\n");
}

static void a_file_of_the_user_is_watched(void **state)
{
    struct provider_spec s = {
        .kind = PROVIDER_RULES, .from = PROVIDER_FILE, .name = "ads", .path = "mine.txt", .behavior = SET_DOMAIN, .format = SET_TEXT
    };
    struct waiter x;

    assert_int_equal(file_replace_beneath(w->dir, "mine.txt", "a.com\n", 6, 0), 0);
    set_one(&s);
    providers_start(w->ps);
    x = refresh();
    assert_int_equal(x.err, 0);
    assert_int_equal(w->n_changed, 1);
    assert_int_equal(file_replace_beneath(w->dir, "mine.txt", "/ /\n", 4, 0), 0);
    for (int i = 0; i < 800 && !*view().why; i++)
        loop_turn(w->loop, 20);
    assert_string_equal(view().why, "no usable entry");
    assert_int_equal(w->n_changed, 1);
    assert_int_equal(file_replace_beneath(w->dir, "mine.txt", "b.com\n", 6, 0), 0);
    for (int i = 0; i < 800 && w->n_changed < 2; i++)
        loop_turn(w->loop, 20);
    assert_int_equal(w->n_changed, 2);
    assert_string_equal(view().why, "");
}

static void what_cannot_be_refreshed(void **state)
{
    struct provider_spec s = http;
    struct waiter x = { .wait.done = on_told };

    assert_int_equal(providers_refresh(w->ps, PROVIDER_RULES, "ads", &x.wait), -ENOENT);
    s.from = PROVIDER_INLINE;
    set_one(&s);
    assert_int_equal(providers_refresh(w->ps, PROVIDER_RULES, "ads", &x.wait), -ERR_UNSUPPORTED);
    assert_int_equal(providers_refresh(w->ps, PROVIDER_PROXIES, "ads", &x.wait), -ENOENT);
    s.from = PROVIDER_HTTP;
    s.url = s.path = NULL;
    set_one(&s);
    assert_int_equal(providers_refresh(w->ps, PROVIDER_RULES, "ads", &x.wait), -ERR_UNSUPPORTED);
    assert_int_equal(x.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_happens_before_the_start, begin, end),
        cmocka_unit_test_setup_teardown(new_content_replaces_and_the_old_is_kept, begin, end),
        cmocka_unit_test_setup_teardown(what_is_the_same_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(without_the_file_there_are_no_conditions, begin, end),
        cmocka_unit_test_setup_teardown(without_etag_support_the_whole_is_asked_for, begin, end),
        cmocka_unit_test_setup_teardown(bad_answers_change_nothing, begin, end),
        cmocka_unit_test_setup_teardown(a_store_that_cannot_be_written_is_said, begin, end),
        cmocka_unit_test_setup_teardown(a_size_limit_is_an_error, begin, end),
        cmocka_unit_test_setup_teardown(paths, begin, end),
        cmocka_unit_test_setup_teardown(contents_are_read_from_where_they_may_be, begin, end),
        cmocka_unit_test_setup_teardown(a_fresh_copy_is_not_fetched_again, begin, end),
        cmocka_unit_test_setup_teardown(a_reload_keeps_what_is_the_same, begin, end),
        cmocka_unit_test_setup_teardown(one_that_goes_while_it_is_fetched_tells_nobody, begin, end),
        cmocka_unit_test_setup_teardown(at_most_two_at_a_time, begin, end),
        cmocka_unit_test_setup_teardown(a_file_of_the_user_is_watched, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_refreshed, begin, end),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
