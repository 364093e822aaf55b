/*
 * engine_fetch.c - downloads: what is taken, what is refused, and that the limits hold
 *
 * Each connection that the fetcher asks for is a Unix socket with a thread behind it: a web server that reads its lines from a table.
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
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/err.h"
#include "engine/fetch.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define OK       "HTTP/1.1 200 OK\r\n"

struct page {
    const char *host; /* "a.test:80" as the fetcher asks for it */
    const char *path, *answer;
    bool tls;
    unsigned ms_per_byte;
    int fail;        /* the connection leads nowhere: why */
    const void *raw; /* bytes behind the answer */
    size_t raw_len;
    size_t zeroes; /* and so many of zero */
};

static struct site {
    const struct page *page;
    size_t n;
    char seen[16384]; /* every request, one after the other */
    unsigned n_open;
    pthread_t thread[16];
    struct visit {
        int listener;
        char to[300];
    } visit[16];
    atomic_int failed;
} site;

static SSL_CTX *tls;
static char ca_file[] = "/tmp/shunt-ca.XXXXXX";

/* ---- the other end ---- */

struct line {
    int fd;
    SSL *ssl;
};

static int get(struct line *l, void *p, size_t n)
{
    return l->ssl ? SSL_read(l->ssl, p, (int)n) : (int)recv(l->fd, p, n, 0);
}

static bool put(struct line *l, const void *p, size_t n)
{
    return (l->ssl ? SSL_write(l->ssl, p, (int)n) : (int)send(l->fd, p, n, MSG_NOSIGNAL)) == (int)n;
}

static const struct page *find(const char *to, const char *path)
{
    for (size_t i = 0; i < site.n; i++)
        if (!strcmp(site.page[i].host, to) && (!path || !strcmp(site.page[i].path, path)))
            return &site.page[i];
    return NULL;
}

static bool request(struct line *l, char *text, size_t room)
{
    size_t n = 0;

    while (n < room - 1 && get(l, text + n, 1) == 1) {
        text[++n] = 0;
        if (n >= 4 && !memcmp(text + n - 4, "\r\n\r\n", 4))
            return true;
    }
    return false;
}

static void answer(struct line *l, const struct page *p)
{
    static const char zero[65536];

    if (!p->ms_per_byte && !put(l, p->answer, strlen(p->answer)))
        return;
    for (const char *c = p->answer; p->ms_per_byte && *c; c++) {
        if (!put(l, c, 1))
            return;
        usleep(p->ms_per_byte * 1000);
    }
    if (p->raw_len && !put(l, p->raw, p->raw_len))
        return;
    for (size_t left = p->zeroes; left;) {
        size_t n = left < sizeof(zero) ? left : sizeof(zero);

        if (!put(l, zero, n))
            return;
        left -= n;
    }
}

static void talk(struct line *l, const char *to)
{
    char text[4096], path[256];
    const struct page *p = find(to, NULL);

    if (!p || p->fail) {
        atomic_store(&site.failed, p ? p->fail : -ENOENT);
        return;
    }
    if (p->tls) {
        l->ssl = SSL_new(tls);
        SSL_set_fd(l->ssl, l->fd);
        if (SSL_accept(l->ssl) != 1)
            return;
    }
    if (!request(l, text, sizeof(text)) || sscanf(text, "%*s %255s", path) != 1)
        return;
    strcat(strcat(site.seen, to), " ");
    strcat(site.seen, text);
    if ((p = find(to, path)))
        answer(l, p);
}

static void *serve(void *arg)
{
    struct visit *v = arg;
    struct line l = { .fd = accept(v->listener, NULL, NULL) };

    close(v->listener);
    if (l.fd >= 0)
        talk(&l, v->to);
    if (l.ssl)
        SSL_shutdown(l.ssl);
    SSL_free(l.ssl);
    if (l.fd >= 0)
        close(l.fd);
    return NULL;
}

static int open_one(void *arg, const char *host, uint16_t port, char name[FETCH_NAME_MAX])
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    socklen_t len = sizeof(sa);
    struct visit *v = &site.visit[site.n_open];
    struct timeval patience = { .tv_sec = 2 };

    v->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(v->listener, (struct sockaddr *)&sa, sizeof(sa.sun_family)), 0); /* the kernel chooses a name */
    assert_int_equal(getsockname(v->listener, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(listen(v->listener, 1), 0);
    assert_int_equal(setsockopt(v->listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0); /* of accept: nobody may come */
    snprintf(name, FETCH_NAME_MAX, "%.*s", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), sa.sun_path + 1);
    sprintf(v->to, "%s:%u", host, port);
    pthread_create(&site.thread[site.n_open++], NULL, serve, v);
    return 0;
}

static int why_failed(void *arg)
{
    return atomic_load(&site.failed);
}

static int run(const struct page *page, size_t n, struct fetch_in in, struct fetch_out *out)
{
    int r;

    memset(&site, 0, sizeof(site));
    site.page = page;
    site.n = n;
    in.max = in.max ? in.max : 1 << 20;
    in.timeout_ms = in.timeout_ms ? in.timeout_ms : 20000;
    in.open = open_one;
    in.failed = why_failed;
    in.user_agent = "shunt/test";
    in.ca_file = ca_file;
    r = fetch(&in, out);
    for (unsigned i = 0; i < site.n_open; i++)
        pthread_join(site.thread[i], NULL);
    return r;
}

/* ---- a certificate ---- */

static int begin(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int fd = mkstemp(ca_file);
    FILE *f = fdopen(fd, "w");

    signal(SIGPIPE, SIG_IGN);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"safe.test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, "DNS:safe.test");
    X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    X509_sign(cert, key, EVP_sha256());
    PEM_write_X509(f, cert);
    fclose(f);
    tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(tls, cert);
    SSL_CTX_use_PrivateKey(tls, key);
    X509_free(cert);
    EVP_PKEY_free(key);
    return 0;
}

static int end(void **state)
{
    SSL_CTX_free(tls);
    return unlink(ca_file);
}

/* ---- what is taken ---- */

static void a_body_and_what_is_said_of_it(void **state)
{
    static const struct page t[] = {
        { "a.test:8080", "/x?y=1",
          OK "ETag: \"v1\"\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nSubscription-Userinfo:  upload=1; total=9 \r\n"
             "X: \r\nContent-Length: 5\r\n\r\nhello" }
    };
    static const char *const headers[] = { "X-Key: secret", "Bad: a\r\nInjected: b", NULL };
    struct fetch_out out;

    assert_int_equal(run(t, 1, (struct fetch_in){ .url = "http://u:p@a.test:8080/x?y=1#z", .headers = headers }, &out), 0);
    assert_string_equal(out.body, "hello");
    assert_int_equal(out.len, 5);
    assert_string_equal(out.said.etag, "\"v1\"");
    assert_string_equal(out.said.modified, "Mon, 01 Jan 2024 00:00:00 GMT");
    assert_string_equal(out.said.userinfo, "upload=1; total=9");
    assert_int_equal(out.status, 200);
    assert_non_null(strstr(site.seen, "User-Agent: shunt/test\r\n"));
    assert_non_null(strstr(site.seen, "X-Key: secret\r\n"));
    assert_non_null(strstr(site.seen, "Authorization: Basic dTpw\r\n"));
    assert_null(strstr(site.seen, "Injected"));
    assert_null(strstr(site.seen, "If-None-Match"));
    fetch_fini(&out);
}

static void packed_bodies_are_unpacked(void **state)
{
    static const uint8_t packed[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xcb, 0x48, 0xcd,
                                      0xc9, 0xc9, 0x07, 0x00, 0x86, 0xa6, 0x10, 0x36, 0x05, 0x00, 0x00, 0x00 }; /* gzip of "hello" */
    static const struct page t[] = { { "a.test:80", "/", OK "Content-Encoding: gzip\r\n\r\n", .raw = packed, .raw_len = sizeof(packed) } };
    struct fetch_out out;

    assert_int_equal(run(t, 1, (struct fetch_in){ .url = "http://a.test/" }, &out), 0);
    assert_string_equal(out.body, "hello");
    assert_non_null(strstr(site.seen, "Accept-Encoding: "));
    fetch_fini(&out);
}

static void what_has_not_changed_is_not_sent_again(void **state)
{
    static const struct page t[] = { { "a.test:80", "/", "HTTP/1.1 304 Not Modified\r\nETag: \"v2\"\r\n\r\n" } };
    struct fetch_out out;

    assert_int_equal(
        run(t, 1, (struct fetch_in){ .url = "http://a.test/", .etag = "\"v1\"", .modified = "Mon, 01 Jan 2024 00:00:00 GMT" }, &out), 0);
    assert_true(out.unchanged);
    assert_null(out.body);
    assert_string_equal(out.said.etag, "\"v2\"");
    assert_non_null(strstr(site.seen, "If-None-Match: \"v1\"\r\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n"));
    fetch_fini(&out);
    assert_int_equal(run(t, 1, (struct fetch_in){ .url = "http://a.test/" }, &out), -ERR_PROTO); /* nobody asked for that */
    fetch_fini(&out);
}

static void redirects_are_followed_without_what_is_ours(void **state)
{
    static const struct page t[] = {
        { "a.test:80", "/1", "HTTP/1.1 302 Found\r\nETag: \"no\"\r\nLocation: /2\r\nContent-Length: 4\r\n\r\nmove" },
        { "a.test:80", "/2", "HTTP/1.1 307 Moved\r\nLocation: https://safe.test/3\r\nContent-Length: 0\r\n\r\n" },
        { "safe.test:443", "/3", OK "Content-Length: 4\r\n\r\ndone", .tls = true },
    };
    static const char *const headers[] = { "X-Key: secret", NULL };
    struct fetch_out out;
    char *third;

    assert_int_equal(run(t, COUNT(t), (struct fetch_in){ .url = "http://u:p@a.test/1", .headers = headers, .etag = "\"v1\"" }, &out), 0);
    assert_string_equal(out.body, "done");
    assert_string_equal(out.said.etag, "");
    assert_string_equal(out.host, "safe.test");
    assert_int_equal(site.n_open, 3);
    assert_non_null(third = strstr(site.seen, "GET /3 "));
    assert_non_null(strstr(strstr(site.seen, "GET /2 "), "X-Key: secret"));
    assert_null(strstr(third, "secret"));
    assert_null(strstr(third, "Authorization"));
    fetch_fini(&out);
}

/* ---- what is refused ---- */

static void check_refused(const struct page *page, size_t n, const char *url, int err, const char *why)
{
    struct fetch_out out;

    assert_int_equal(run(page, n, (struct fetch_in){ .url = url, .max = 1000, .timeout_ms = 3000 }, &out), err);
    assert_null(out.body);
    if (!strstr(out.why, why))
        fail_msg("%s: \"%s\", not \"%s\"", url, out.why, why);
    fetch_fini(&out);
}

static void answers_that_are_no_file(void **state)
{
    static const struct {
        const char *answer, *why;
    } t[] = {
        { "HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\npayload:\n- a", "a.test: HTTP status 403" },
        { "HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\npayload:\n- a", "404" },
        { "HTTP/1.1 500 Oops\r\nContent-Length: 12\r\n\r\npayload:\n- a", "500" },
        { "HTTP/1.1 204 No Content\r\n\r\n", "204" },
        { OK "Content-Length: 0\r\n\r\n", "empty" },
        { OK "Content-Length: 20\r\n\r\nhello", "" }, /* cut */
        { OK "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "" },
        { "", "" },
        { "rubbish", "" },
        { "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "leads to a place" },
        { "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "leads to a place" },
        { "HTTP/1.1 302 Found\r\nLocation: ftp://a.test/\r\nContent-Length: 0\r\n\r\n", "leads to a place" },
        { "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "five redirects" },
    };

    for (size_t i = 0; i < COUNT(t); i++)
        check_refused(&(struct page){ "a.test:80", "/", t[i].answer }, 1, "http://a.test/", -ERR_PROTO, t[i].why);
    assert_int_equal(site.n_open, 6);
    check_refused(&(struct page){ "a.test:80", "/", OK "Content-Length: 1001\r\n\r\n" }, 1, "http://a.test/", -ERR_LIMIT,
                  "larger than the limit");
}

static void urls_that_are_none(void **state)
{
    static const char *const t[] = { "",        "x",   "file:///etc/passwd",  "ftp://a.test/", "gopher://a.test/",
                                     "http://", "://", "http://a.test:99999/" };

    for (size_t i = 0; i < COUNT(t); i++)
        check_refused(NULL, 0, t[i], -EINVAL, "no http or https");
    assert_int_equal(site.n_open, 0);
}

static void from_https_to_http_is_not_followed(void **state)
{
    static const struct page t[] = {
        { "safe.test:443", "/", "HTTP/1.1 302 Found\r\nLocation: http://a.test/\r\nContent-Length: 0\r\n\r\n", .tls = true },
        { "a.test:80", "/", OK "Content-Length: 5\r\n\r\nhello" },
    };

    check_refused(t, COUNT(t), "https://safe.test/", -ERR_PROTO, "from https to http");
    assert_int_equal(site.n_open, 1);
}

static void a_certificate_for_another_name(void **state)
{
    static const struct page t[] = { { "other.test:443", "/", OK "Content-Length: 5\r\n\r\nhello", .tls = true } };

    check_refused(t, 1, "https://other.test/", -ERR_PROTO, "other.test: ");
    assert_null(strstr(site.seen, "GET"));
}

static void the_limit_holds_without_a_length(void **state)
{
    static const struct page t[] = { { "a.test:80", "/", OK "\r\n", .zeroes = 1001 } };
    struct fetch_out out;

    check_refused(t, 1, "http://a.test/", -ERR_LIMIT, "larger than the limit");
    assert_int_equal(run(t, 1, (struct fetch_in){ .url = "http://a.test/", .max = 1001 }, &out), 0);
    assert_int_equal(out.len, 1001);
    fetch_fini(&out);
}

/* 1 MB of zeroes in 1 kB of gzip */
static void the_limit_is_on_what_comes_out(void **state)
{
    FILE *f = popen("head -c 1000000 /dev/zero | gzip -9n", "r");
    static char packed[4096];
    struct page t = { "a.test:80", "/", OK "Content-Encoding: gzip\r\n\r\n", .raw = packed };

    t.raw_len = fread(packed, 1, sizeof(packed), f);
    assert_int_equal(pclose(f), 0);
    assert_true(t.raw_len > 100 && t.raw_len < 2000);
    check_refused(&t, 1, "http://a.test/", -ERR_LIMIT, "larger than the limit");
}

static void a_byte_a_second_has_an_end(void **state)
{
    static const struct page t[] = {
        { "a.test:80", "/", OK "Content-Length: 100000\r\n\r\n.....................................................", .ms_per_byte = 20 }
    };
    struct fetch_out out;

    assert_int_equal(run(t, 1, (struct fetch_in){ .url = "http://a.test/", .timeout_ms = 500 }, &out), -ETIMEDOUT);
    assert_string_equal(out.why, "a.test: it took too long");
    fetch_fini(&out);
}

static void a_stop_is_soon(void **state)
{
    static const struct page t[] = {
        { "a.test:80", "/", OK "Content-Length: 100000\r\n\r\n.....................................................", .ms_per_byte = 20 }
    };
    atomic_bool stop = true;
    struct fetch_out out;

    assert_int_equal(run(t, 1, (struct fetch_in){ .url = "http://a.test/", .stop = &stop }, &out), -ERR_CLOSED);
    fetch_fini(&out);
}

static void why_there_is_no_connection(void **state)
{
    static const struct {
        const char *url;
        int err;
    } t[] = { { "https://a.test/", -ERR_RULE }, { "http://a.test/", -ENETUNREACH }, { "http://b.test/", -ENOENT } };
    static const struct page p[] = { { "a.test:443", "/", "", .fail = -ERR_RULE }, { "a.test:80", "/", "", .fail = -ENETUNREACH } };

    for (size_t i = 0; i < COUNT(t); i++)
        check_refused(p, 2, t[i].url, t[i].err, err_str(t[i].err));
}

static int no_socket(void *arg, const char *host, uint16_t port, char name[FETCH_NAME_MAX])
{
    return -EMFILE;
}

static void no_descriptors(void **state)
{
    struct fetch_out out;

    assert_int_equal(
        fetch(&(struct fetch_in){ .url = "http://a.test/", .user_agent = "x", .max = 1, .timeout_ms = 1000, .open = no_socket }, &out),
        -EMFILE);
    fetch_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_and_what_is_said_of_it),
        cmocka_unit_test(packed_bodies_are_unpacked),
        cmocka_unit_test(what_has_not_changed_is_not_sent_again),
        cmocka_unit_test(redirects_are_followed_without_what_is_ours),
        cmocka_unit_test(answers_that_are_no_file),
        cmocka_unit_test(urls_that_are_none),
        cmocka_unit_test(from_https_to_http_is_not_followed),
        cmocka_unit_test(a_certificate_for_another_name),
        cmocka_unit_test(the_limit_holds_without_a_length),
        cmocka_unit_test(the_limit_is_on_what_comes_out),
        cmocka_unit_test(a_byte_a_second_has_an_end),
        cmocka_unit_test(a_stop_is_soon),
        cmocka_unit_test(why_there_is_no_connection),
        cmocka_unit_test(no_descriptors),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
