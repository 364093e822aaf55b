/*
 * dns_secure.c - name servers behind TLS: what they see of us, a hundred questions on one connection, servers that hang up, stall, refuse,
 * are not who they say, or say goodbye
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>

#include "core/log.h"
#include "dns/private.h"
#include "dns_secure.h"

static struct dns_world w;
static struct ways_world ways;
static struct sec_world s;
static struct ns_world plain; /* default-nameserver, or the other one of a list */
static struct ident ca, good, expired, other;

static char ca_path[] = "/tmp/shunt-ca.XXXXXX";

static int make_certificates(void **state)
{
    int fd = mkstemp(ca_path);
    char *pem;

    log_threshold = LOG_SILENT;
    signal(SIGPIPE, SIG_IGN);
    ca = ident_new(&(struct ident_spec){ .name = "CA", .ca = true }, NULL);
    good = ident_new(&(struct ident_spec){ .name = "dns", .san = "DNS:dns.test,IP:127.0.0.1" }, &ca);
    other = ident_new(&(struct ident_spec){ .name = "dns", .san = "DNS:other.test" }, &ca);
    expired = ident_new(&(struct ident_spec){ .name = "dns", .san = "IP:127.0.0.1", .from_s = -86400, .to_s = -3600 }, &ca);
    pem = ident_cert_pem(&ca);
    if (fd < 0 || write(fd, pem, strlen(pem)) < 0)
        return -1;
    close(fd);
    free(pem);
    return setenv("SSL_CERT_FILE", ca_path, 1);
}

static int drop_certificates(void **state)
{
    struct ident *all[] = { &ca, &good, &other, &expired };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        ident_free(all[i]);
    transport_trim();
    return unlink(ca_path);
}

static void begin(const struct ident *id, bool h2)
{
    world_begin(&w);
    ways_open(&ways, &w);
    sec_open(&s, w.loop, id, h2);
    ns_open(&plain, w.loop, "127.0.0.1", script_plain);
}

static void end(void)
{
    dns_free(w.dns);
    w.dns = NULL;
    for (int i = 0; i < 8; i++)
        loop_turn(w.loop, 0);
    ns_close(&plain);
    sec_end(&s);
    world_end(&w);
}

/* One server: "tls://127.0.0.1:PORT" or "https://127.0.0.1:PORT/dns-query", with something behind it. */
static void start(const char *more)
{
    world_start(&w,
                "proxies: [{ name: P, type: socks5, server: 192.0.2.9, port: 1 }]\nipv6: true\n"
                "dns: { enable: true, ipv6: true, enhanced-mode: normal, nameserver: ['%s://127.0.0.1:%u%s%s'] }\n",
                s.h2 ? "https" : "tls", s.port, s.h2 && *more != '/' ? "/dns-query" : "", more);
}

static void turns(int n)
{
    for (int i = 0; i < n; i++)
        loop_turn(w.loop, 0);
}

#define GOOD(name) "NOERROR rd ra | " name " A | " name " 300 A 192.0.2.1"
#define FAIL(name) "SERVFAIL aa rd ra | " name " A"

/* ---- what both kinds have in common ---- */

static void it_answers(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        start("");
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
        assert_int_equal(w.by.how, DNS_BY_SERVER);
        assert_non_null(strstr(w.by_server, h2 ? "https://127.0.0.1:" : "tls://127.0.0.1:"));
        assert_string_equal(world_ask(&w, "other.test", 1, ASK_RD), GOOD("other.test"));
        assert_string_equal(world_ask(&w, "www.test", 28, ASK_RD), "NOERROR rd ra | www.test AAAA | www.test 300 AAAA 2001:db8::1");
        assert_string_equal(s.told.asked, "www.test 1; other.test 1; www.test 28");
        assert_int_equal(s.n_conns, 1);
        assert_string_equal(s.sni, ""); /* an address is no name */
        end();
    }
}

static void its_name_is_looked_up_first(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        plain.script = script_plain;
        world_start(&w,
                    "dns: { enable: true, enhanced-mode: normal, nameserver: ['%s://dns.test:%u'], default-nameserver: ['127.0.0.1:%u'] }\n"
                    "hosts: { }\n",
                    h2 ? "https" : "tls", s.port, plain.port);
        /* the plain server says 192.0.2.1; the way connects to it in vain */
        ways.refuse = -ECONNREFUSED;
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), FAIL("www.test"));
        assert_int_equal(plain.n_asked, 2);
        assert_non_null(strstr(plain.asked, "dns.test 1"));
        assert_non_null(strstr(plain.asked, "dns.test 28"));
        assert_string_equal(ways.host, "dns.test"); /* a proxy would get the name */
        end();
    }
}

static void script_loopback(struct ns_world *n, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8180, 1, 0, 0);
    waddr(out, NULL, 300, "127.0.0.1");
}

static void the_certificate_is_for_the_name(void **state)
{
    static const struct {
        const struct ident *id;
        const char *name, *more;
        bool works;
    } rows[] = {
        { &good, "dns.test", "", true },
        { &good, "127.0.0.1", "", true },
        { &other, "dns.test", "", false },
        { &other, "127.0.0.1", "", false },
        { &expired, "127.0.0.1", "", false },
        { &ca, "127.0.0.1", "", false }, /* signed by itself, without that address */
        { &other, "dns.test", "#skip-cert-verify=true", true },
        { &expired, "127.0.0.1", "#skip-cert-verify=true", true },
    };

    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        bool h2 = i % 2;

        begin(rows[i / 2].id, h2);
        plain.script = script_loopback;
        world_start(&w,
                    "dns: { enable: true, enhanced-mode: normal, nameserver: ['%s://%s:%u%s'], default-nameserver: ['127.0.0.1:%u'] }\n",
                    h2 ? "https" : "tls", rows[i / 2].name, s.port, rows[i / 2].more, plain.port);
        if (strcmp(world_ask(&w, "www.test", 1, ASK_RD), rows[i / 2].works ? GOOD("www.test") : FAIL("www.test")) != 0)
            fail_msg("row %zu: %s", i / 2, w.answer);
        if (rows[i / 2].works)
            assert_string_equal(s.sni, rows[i / 2].name[0] == 'd' ? "dns.test" : "");
        assert_int_equal(s.told.n_asked, rows[i / 2].works);
        end();
    }
}

/* Roots of the profile: as text, as a file below the state directory; what is of no use is passed over, and a reload may take them back. */
static void roots_of_the_profile(void **state)
{
    char dir[] = "/tmp/shunt-roots.XXXXXX", *pem, yaml[4096] = "", path[64];
    struct ident mine = ident_new(&(struct ident_spec){ .name = "mine", .san = "IP:127.0.0.1" }, NULL);
    FILE *f;

    pem = ident_cert_pem(&mine);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/root.pem", dir);
    f = fopen(path, "w");
    fputs(pem, f);
    fclose(f);
    for (char *line = strtok(pem, "\n"); line; line = strtok(NULL, "\n")) {
        strcat(yaml, "      ");
        strcat(yaml, line);
        strcat(yaml, "\n");
    }
    for (int i = 0; i < 3; i++) {
        begin(&mine, i % 2);
        w.opts.state_dir = dir;
        world_start(&w, "%s%s%sdns: { enable: true, enhanced-mode: normal, nameserver: ['%s://127.0.0.1:%u'] }\n",
                    i == 0   ? ""
                    : i == 1 ? "tls:\n  custom-certifactes:\n    - ./nothing.pem\n    - |\n"
                             : "tls: { custom-certifactes: [ ./root.pem ] }\n",
                    i == 1 ? yaml : "", i == 1 ? "    - nonsense\n" : "", s.h2 ? "https" : "tls", s.port);
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), i ? GOOD("www.test") : FAIL("www.test"));
        world_reload(&w, "dns: { enable: true, enhanced-mode: normal, nameserver: ['%s://127.0.0.1:%u'] }\n", s.h2 ? "https" : "tls",
                     s.port);
        world_pass(&w, 61000); /* what is connected stays */
        assert_string_equal(world_ask(&w, "other.test", 1, ASK_RD), FAIL("other.test"));
        end();
    }
    unlink(path);
    rmdir(dir);
    free(pem);
    ident_free(&mine);
}

static unsigned n_replies;

static void on_reply(void *arg, const struct endpoint *to, const struct endpoint *from, const void *msg, size_t len,
                     const struct dns_answered *by)
{
    char want[128];

    if (!len)
        return; /* dns_free() */
    snprintf(want, sizeof(want), "NOERROR rd ra | n%u.test A | n%u.test 300 A 192.0.2.1", (unsigned)(uintptr_t)arg,
             (unsigned)(uintptr_t)arg);
    assert_string_equal(told(msg, len), want);
    n_replies++;
}

static void ask_many(unsigned from, unsigned n)
{
    struct wire q;
    char name[64];

    for (unsigned i = from; i < from + n; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        wquery(&q, (uint16_t)i, name, 1, ASK_RD);
        dns_query(w.dns, q.b, q.len, &(struct dns_client){ .reply = on_reply, .arg = (void *)(uintptr_t)i }, NULL, NULL);
    }
}

static void until(unsigned *count, unsigned n)
{
    for (int i = 0; i < 20000 && *count < n; i++) {
        turns(4);
        if (*count < n)
            world_ms++;
    }
    assert_int_equal(*count, n);
}

static void a_hundred_and_twenty_on_one_connection(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        s.hold = true;
        start("");
        n_replies = 0;
        ask_many(0, 120);
        until(&s.n_held, 120); /* all are there, none is answered */
        assert_int_equal(s.n_conns, 1);
        while (s.n_held) /* the last first */
            sec_answer(&s, s.n_held - 1);
        until(&n_replies, 120);
        assert_int_equal(s.n_conns, 1);
        assert_int_equal(s.told.n_asked, 120);
        end();
    }
}

static void more_wait_for_their_turn(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        s.hold = true;
        start("");
        n_replies = 0;
        ask_many(0, 300);
        until(&s.n_held, 128);
        turns(20);
        assert_int_equal(s.n_held, 128);
        assert_int_equal(s.n_conns, 1);
        for (unsigned got = 0; n_replies < 300; got++) {
            assert_true(got < 1000);
            while (s.n_held)
                sec_answer(&s, 0);
            turns(10);
        }
        assert_int_equal(s.n_conns, 1); /* it was never silent */
        end();
    }
}

static void one_that_stalls_is_helped_by_a_second(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        s.hold = true;
        start("");
        n_replies = 0;
        ask_many(0, 140);
        until(&s.n_held, 128);
        world_pass(&w, 300); /* silent for 250 ms, and twelve more wait */
        until(&s.n_held, 140);
        assert_int_equal(s.n_conns, 2);
        while (s.n_held)
            sec_answer(&s, 0);
        until(&n_replies, 140);
        end();
    }
}

static void it_hangs_up_after_three(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        s.close_after = 3;
        start("");
        for (unsigned i = 0; i < 10; i++) {
            n_replies = 0;
            ask_many(i, 1);
            until(&n_replies, 1);
        }
        assert_int_equal(s.n_conns, 4);
        assert_int_equal(s.n_resumed, 3); /* each after the first resumes its session */
        end();
    }
}

static void it_hangs_up_under_questions(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        s.hold = true;
        start("");
        n_replies = 0;
        ask_many(0, 20);
        until(&s.n_held, 20);
        s.hold = false;
        sec_close(container_of(list_first(&s.conns), struct sec_conn, node));
        until(&n_replies, 20); /* asked again, once, on another */
        assert_int_equal(s.n_conns, 2);
        end();
    }
}

static void it_goes_after_a_minute(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        start("");
        assert_string_equal(world_ask(&w, "a.test", 1, ASK_RD), GOOD("a.test"));
        world_pass(&w, 50000);
        assert_false(list_empty(&s.conns));
        world_pass(&w, 11000);
        assert_true(list_empty(&s.conns));
        assert_string_equal(world_ask(&w, "b.test", 1, ASK_RD), GOOD("b.test"));
        assert_int_equal(s.n_conns, 2);
        assert_int_equal(s.n_resumed, 1);
        end();
    }
}

static void it_does_not_speak_tls(void **state)
{
    for (int h2 = 0; h2 < 2; h2++)
        for (int how = 0; how < 2; how++) {
            uint64_t began;

            begin(&good, h2);
            s.plain = how == 0;
            s.deaf = true; /* alone: the handshake never comes to an end */
            world_start(&w, "dns: { enable: true, enhanced-mode: normal, nameserver: ['%s://127.0.0.1:%u', '127.0.0.1:%u'] }\n",
                        h2 ? "https" : "tls", s.port, plain.port);
            began = world_ms;
            assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
            assert_non_null(strstr(w.by_server, "127.0.0.1"));
            assert_null(strstr(w.by_server, "://"));
            assert_true(world_ms - began <= 500);
            world_pass(&w, 9000); /* a connection that comes to nothing is given up */
            s.deaf = false;
            turns(4);
            assert_true(list_empty(&s.conns));
            end();
        }
}

static void an_own_connection_each(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        start("#disable-reuse=true");
        n_replies = 0;
        ask_many(0, 5);
        until(&n_replies, 5);
        turns(10);
        assert_int_equal(s.n_conns, 5);
        assert_true(list_empty(&s.conns)); /* and over with its answer */
        end();
    }
}

static void by_way_of_a_proxy(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        start("#P");
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
        assert_string_equal(ways.via, "P");
        end();
    }
}

static void who_asked_no_longer_waits(void **state)
{
    for (int h2 = 0; h2 < 2; h2++) {
        begin(&good, h2);
        s.hold = true;
        start("");
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), FAIL("www.test")); /* after its time */
        while (s.n_held)
            sec_answer(&s, 0); /* too late: nobody's */
        turns(10);
        s.hold = false;
        assert_string_equal(world_ask(&w, "again.test", 1, ASK_RD), GOOD("again.test"));
        end();
    }
}

static void it_ends_in_the_middle(void **state)
{
    static const char *const at[] = { "handshake", "question" };

    for (int h2 = 0; h2 < 2; h2++)
        for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
            begin(&good, h2);
            s.hold = true;
            start("");
            n_replies = 0;
            ask_many(0, 3);
            turns(i ? 20 : 1);
            dns_free(w.dns); /* everybody gets his nothing, nobody is left behind */
            w.dns = NULL;
            turns(4);
            end();
        }
}

/* ---- DNS over TLS ---- */

static void lengths_tell_nothing(void **state)
{
    begin(&good, false);
    s.hold = true;
    start("");
    n_replies = 0;
    ask_many(1, 1);
    ask_many(1000, 1);
    until(&s.n_held, 2);
    assert_int_equal(s.held[0].len, 128);
    assert_int_equal(s.held[1].len, 128);
    assert_true(memcmp(s.held[0].msg, s.held[1].msg, 2) != 0); /* an id each */
    while (s.n_held)
        sec_answer(&s, 0);
    until(&n_replies, 2);
    end();
}

static void it_knows_no_name_for_it(void **state)
{
    begin(&good, false);
    s.alpn = NULL; /* many do not */
    start("");
    assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
    end();
}

/* ---- DNS over HTTPS ---- */

static void the_request(void **state)
{
    char want[64];

    begin(&good, true);
    start("/some/path");
    assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
    assert_string_equal(s.last.method, "POST");
    assert_string_equal(s.last.path, "/some/path");
    snprintf(want, sizeof(want), "127.0.0.1:%u", s.port);
    assert_string_equal(s.last.authority, want);
    assert_string_equal(s.last.type, "application/dns-message");
    assert_string_equal(s.last.accept, "application/dns-message");
    assert_string_equal(s.last.length, "128");
    assert_string_equal(s.last.auth, "");
    assert_int_equal(s.last.n_body, 128);
    assert_int_equal(s.last.body[0] | s.last.body[1], 0); /* id 0: caches may keep it */
    end();

    begin(&good, true);
    start("/q{?dns}");
    assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
    assert_string_equal(s.last.method, "GET");
    assert_int_equal(strncmp(s.last.path, "/q?dns=AAA", 10), 0);
    assert_null(strpbrk(s.last.path + 7, "+="));
    assert_string_equal(s.last.type, "");
    end();

    begin(&good, true);
    world_start(&w, "dns: { enable: true, enhanced-mode: normal, nameserver: ['https://me:p%%40ss@127.0.0.1:%u'] }\n", s.port);
    assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
    assert_string_equal(s.last.auth, "Basic bWU6cEBzcw==");
    assert_string_equal(s.last.path, "/dns-query");
    assert_null(strstr(w.by_server, "p@ss"));
    assert_null(strstr(w.by_server, "p%40ss"));
    end();
}

static void one_stream_that_stalls_holds_nobody_up(void **state)
{
    begin(&good, true);
    s.hold = true;
    start("");
    n_replies = 0;
    ask_many(0, 1);
    until(&s.n_held, 1);
    s.hold = false;
    ask_many(1, 30);
    until(&n_replies, 30);
    assert_int_equal(s.n_conns, 1);
    sec_answer(&s, 0);
    until(&n_replies, 31);
    end();
}

static void goodbye(void **state)
{
    begin(&good, true);
    s.hold = true;
    start("");
    n_replies = 0;
    s.goaway_after = 4;
    ask_many(0, 4);
    until(&s.n_held, 4);
    turns(4);
    s.goaway_after = 0;
    ask_many(4, 3); /* by a new connection; the four keep theirs */
    until(&s.n_held, 7);
    assert_int_equal(s.n_conns, 2);
    assert_int_equal(n_replies, 0);
    while (s.n_held)
        sec_answer(&s, 0);
    until(&n_replies, 7);
    world_pass(&w, 100);
    assert_int_equal(s.n_conns, 2);
    assert_ptr_equal(list_first(&s.conns), s.conns.prev); /* the old one is over */
    end();
}

static void it_allows_few_at_a_time(void **state)
{
    begin(&good, true);
    s.max_streams = 5;
    start("");
    n_replies = 0;
    ask_many(0, 1); /* the settings of the server are known after that */
    until(&n_replies, 1);
    s.hold = true;
    ask_many(1, 12);
    until(&s.n_held, 5);
    turns(20);
    assert_int_equal(s.n_held, 5);
    for (int i = 0; n_replies < 13; i++) {
        assert_true(i < 1000);
        if (s.n_held)
            sec_answer(&s, 0);
        turns(4);
        assert_true(s.n_held <= 5);
    }
    assert_int_equal(s.n_conns, 1);
    end();
}

static void refused_before_it_began(void **state)
{
    begin(&good, true);
    s.refuse = 3;
    start("");
    n_replies = 0;
    ask_many(0, 5);
    until(&n_replies, 5); /* asked again, and answered */
    end();
}

static void answers_that_mean_no(void **state)
{
    begin(&good, true);
    s.status = "404";
    world_start(&w, "dns: { enable: true, enhanced-mode: normal, nameserver: ['https://127.0.0.1:%u', '127.0.0.1:%u'] }\n", s.port,
                plain.port);
    assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
    assert_null(strstr(w.by_server, "://"));
    assert_int_equal(s.told.n_asked, 1); /* and not twice */
    end();
}

static void script_endless(struct ns_world *n, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8180, 0, 0, 0);
    memset(out->b + out->len, 0, sizeof(out->b) - out->len);
    out->len = 65536;
}

static void script_nothing_to_do_with_it(struct ns_world *n, const uint8_t *query, size_t len, struct wire *out)
{
    memcpy(out->b, "<html>login here</html>", 23);
    out->len = 23;
}

static void answers_that_are_none(void **state)
{
    script_fn *const all[] = { script_endless, script_nothing_to_do_with_it };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        begin(&good, true);
        s.script = all[i];
        start("");
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), FAIL("www.test"));
        s.script = script_plain;
        assert_string_equal(world_ask(&w, "other.test", 1, ASK_RD), GOOD("other.test"));
        end();
    }
}

static void it_speaks_no_http2(void **state)
{
    const char *const all[] = { NULL, "http/1.1" };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        begin(&good, true);
        s.alpn = all[i];
        start("");
        assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), FAIL("www.test"));
        assert_int_equal(s.told.n_asked, 0);
        end();
    }
}

static void silence_is_asked_about(void **state)
{
    begin(&good, true);
    start("");
    assert_string_equal(world_ask(&w, "www.test", 1, ASK_RD), GOOD("www.test"));
    world_pass(&w, 31000);
    turns(4);
    assert_int_equal(s.n_pings, 1);
    assert_string_equal(world_ask(&w, "other.test", 1, ASK_RD), GOOD("other.test"));
    assert_int_equal(s.n_conns, 1);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers),
        cmocka_unit_test(its_name_is_looked_up_first),
        cmocka_unit_test(the_certificate_is_for_the_name),
        cmocka_unit_test(roots_of_the_profile),
        cmocka_unit_test(a_hundred_and_twenty_on_one_connection),
        cmocka_unit_test(more_wait_for_their_turn),
        cmocka_unit_test(one_that_stalls_is_helped_by_a_second),
        cmocka_unit_test(it_hangs_up_after_three),
        cmocka_unit_test(it_hangs_up_under_questions),
        cmocka_unit_test(it_goes_after_a_minute),
        cmocka_unit_test(it_does_not_speak_tls),
        cmocka_unit_test(an_own_connection_each),
        cmocka_unit_test(by_way_of_a_proxy),
        cmocka_unit_test(who_asked_no_longer_waits),
        cmocka_unit_test(it_ends_in_the_middle),
        cmocka_unit_test(lengths_tell_nothing),
        cmocka_unit_test(it_knows_no_name_for_it),
        cmocka_unit_test(the_request),
        cmocka_unit_test(one_stream_that_stalls_holds_nobody_up),
        cmocka_unit_test(goodbye),
        cmocka_unit_test(it_allows_few_at_a_time),
        cmocka_unit_test(refused_before_it_began),
        cmocka_unit_test(answers_that_mean_no),
        cmocka_unit_test(answers_that_are_none),
        cmocka_unit_test(it_speaks_no_http2),
        cmocka_unit_test(silence_is_asked_about),
    };
    return cmocka_run_group_tests(tests, make_certificates, drop_certificates);
}
