/*
 * dns_resolver.c - real answers: servers that are silent, refuse, lie, cut short or hang up; who is asked when; the cache in use; look-ups
 * of our own
 */
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "core/err.h"
#include "core/log.h"
#include "dns/private.h"
#include "tests/unit/dns_ways.h"

static struct dns_world w;
static struct ways_world ways;
static struct ns_world a, b, c;
static char said[8192];

static void on_log(void *arg, enum log_level level, enum log_sys sys, const char *line)
{
    size_t at = strlen(said);

    snprintf(said + at, sizeof(said) - at, "%s\n", line);
}

static int group_setup(void **state)
{
    log_threshold = LOG_SILENT;
    log_set_sink(on_log, NULL, LOG_WARN);
    return 0;
}

static void begin(void)
{
    said[0] = 0;
    world_begin(&w);
    ways_open(&ways, &w);
}

/* One server a, normal mode. */
static void begin_one(script_fn *script)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script);
    world_start(&w, "dns: { enhanced-mode: normal, ipv6: true, nameserver: ['127.0.0.1:%u'] }\n", a.port);
}

static void begin_three(script_fn *sa, script_fn *sb, script_fn *sc)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", sa);
    ns_open(&b, w.loop, "127.0.0.1", sb);
    ns_open(&c, w.loop, "127.0.0.1", sc);
    world_start(&w, "dns: { enhanced-mode: normal, nameserver: ['127.0.0.1:%u', '127.0.0.1:%u', '127.0.0.1:%u'] }\n", a.port, b.port,
                c.port);
}

static void end_one(void)
{
    ns_close(&a);
    world_end(&w);
}

static void end_three(void)
{
    ns_close(&b);
    ns_close(&c);
    end_one();
}

static uint64_t ask_ms(const char *name, unsigned type)
{
    uint64_t from = world_ms;

    world_ask(&w, name, type, ASK_RD);
    return world_ms - from;
}

#define PLAIN "NOERROR rd ra | x.test A | x.test 300 A 192.0.2.1"

/* ---- one plain server ---- */

static void script_by_tcp_only(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    if (s->by_tcp)
        script_plain(s, query, len, out);
}

static void a_silent_server_is_asked_again_then_by_tcp_then_given_up(void **state)
{
    begin_one(script_silent);
    assert_in_range(ask_ms("x.test", T_A), 4900, 5100);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    assert_int_equal(a.n_asked, 3);
    assert_int_equal(a.n_tcp, 1);
    assert_non_null(strstr(said, "does not answer"));
    a.script = script_by_tcp_only;
    assert_in_range(ask_ms("x.test", T_A), 3000, 3100);
    assert_string_equal(w.answer, PLAIN);
    end_one();
}

static void script_truncated(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    script_plain(s, query, len, out);
    if (!s->by_tcp)
        out->b[2] |= 0x02;
}

static void what_is_cut_short_is_asked_for_by_tcp(void **state)
{
    begin_one(script_truncated);
    assert_in_range(ask_ms("x.test", T_A), 0, 100);
    assert_string_equal(w.answer, PLAIN);
    assert_int_equal(a.n_tcp, 1);
    end_one();
}

static void script_large(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    uint8_t text[1000] = { 255 };

    wanswer(out, query, len, 0x8180, 1, 0, 0);
    wrecord(out, NULL, T_TXT, 60, text, sizeof(text));
}

static void a_large_datagram_is_taken_as_it_is(void **state)
{
    begin_one(script_large);
    world_ask(&w, "x.test", T_TXT, ASK_EDNS);
    assert_string_equal(w.answer, "NOERROR ra | x.test TYPE16 | x.test 60 TYPE16 1000 bytes | OPT 1232");
    assert_int_equal(a.n_tcp, 0);
    world_ask(&w, "x.test", T_TXT, 0); /* a client that takes 512 only */
    assert_string_equal(w.answer, "NOERROR tc ra | x.test TYPE16");
    end_one();
}

static void script_liar(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    static struct wire lie;
    int other = socket(AF_INET, SOCK_DGRAM, 0);

    script_plain(s, query, len, out);
    memcpy(out->b + out->len - 4, "\x06\x06\x06\x06", 4);
    lie = *out;
    lie.b[0] ^= 1; /* another id */
    ns_send_udp(s, &lie);
    lie = *out;
    lie.b[13] ^= 1; /* another name */
    ns_send_udp(s, &lie);
    lie = *out;
    lie.b[lie.len - 16 - 3] ^= 28; /* another type */
    ns_send_udp(s, &lie);
    lie = *out;
    lie.b[2] &= 0x7f; /* no answer at all */
    lie = *out;
    sendto(other, lie.b, lie.len, 0, (struct sockaddr *)&s->from, sizeof(s->from)); /* from another port */
    close(other);
    memcpy(out->b + out->len - 4, "\xc0\x00\x02\x01", 4);
}

static void wrong_answers_are_not_taken(void **state)
{
    begin_one(script_liar);
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    end_one();
}

static void script_no_edns(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    if (query[11]) /* additional records */
        wanswer(out, query, len, 0x8181, 0, 0, 0);
    else
        script_plain(s, query, len, out);
}

static void a_server_without_edns_is_asked_without(void **state)
{
    begin_one(script_no_edns);
    assert_in_range(ask_ms("x.test", T_A), 0, 100);
    assert_string_equal(w.answer, PLAIN);
    for (int i = 0; i < 5; i++) {
        char name[32];

        snprintf(name, sizeof(name), "n%d.test", i);
        world_ask(&w, name, T_A, 0);
        assert_non_null(strstr(w.answer, "192.0.2.1"));
    }
    a.n_asked = 0;
    world_ask(&w, "y.test", T_A, 0);
    assert_int_equal(a.n_asked, 1); /* it is known by now */
    end_one();
}

static uint16_t ports[4096];
static unsigned n_ports;

static void script_note_port(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    ports[n_ports++] = ntohs(s->from.sin_port);
    script_plain(s, query, len, out);
}

static unsigned distinct_ports(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < n_ports; i++) {
        unsigned k = 0;

        while (k < i && ports[k] != ports[i])
            k++;
        n += k == i;
    }
    return n;
}

static void source_ports_are_not_kept(void **state)
{
    static struct wire q;
    char name[32];

    begin_one(script_note_port);
    n_ports = 0;
    for (int i = 0; i < 100; i++) { /* one after another: each its own */
        snprintf(name, sizeof(name), "n%d.test", i);
        world_ask(&w, name, T_A, 0);
    }
    assert_int_equal(n_ports, 100);
    assert_true(distinct_ports() > 95);
    n_ports = 0;
    for (int i = 0; i < 200; i++) { /* all at once: not one for all */
        snprintf(name, sizeof(name), "m%d.test", i);
        wquery(&q, 1, name, T_A, 0);
        world_send(&w, q.b, q.len, false);
    }
    world_pass(&w, 20);
    assert_int_equal(n_ports, 200);
    assert_true(distinct_ports() >= 3);
    end_one();
}

static void nobody_listens(void **state)
{
    begin_one(script_silent);
    ns_close(&a);
    assert_in_range(ask_ms("x.test", T_A), 0, 100); /* refused is no reason to wait */
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    world_end(&w);
}

/* ---- several servers ---- */

static void the_next_one_helps_out_and_is_first_next_time(void **state)
{
    begin_three(script_silent, script_plain, script_plain);
    assert_in_range(ask_ms("x.test", T_A), 50, 401);
    assert_string_equal(w.answer, PLAIN);
    assert_int_equal(a.n_asked, 1);
    assert_int_equal(b.n_asked, 1);
    assert_int_equal(c.n_asked, 0);
    world_pass(&w, 6000);
    assert_in_range(ask_ms("y.test", T_A), 0, 10);
    assert_int_equal(b.n_asked, 2);
    end_three();
}

static void script_servfail(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8182, 0, 0, 0);
}

static void script_refused(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8185, 0, 0, 0);
}

static void a_failure_wakes_all_the_others(void **state)
{
    begin_three(script_servfail, script_refused, script_plain);
    assert_in_range(ask_ms("x.test", T_A), 0, 10);
    assert_string_equal(w.answer, PLAIN);
    assert_int_equal(a.n_asked + b.n_asked + c.n_asked, 3);
    end_three();
}

static void when_all_fail_the_first_failure_is_the_answer_and_kept_for_a_moment(void **state)
{
    begin_three(script_refused, script_servfail, script_servfail);
    assert_in_range(ask_ms("x.test", T_A), 0, 10);
    assert_non_null(strstr(w.answer, "REFUSED rd ra | x.test A"));
    end_three();

    begin_one(script_servfail);
    for (int i = 0; i < 10; i++)
        assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), "SERVFAIL rd ra | x.test A");
    assert_int_equal(a.n_asked, 1);
    world_pass(&w, 5001);
    world_ask(&w, "x.test", T_A, 0);
    assert_int_equal(a.n_asked, 2);
    end_one();
}

static void script_nxdomain(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8183, 0, 1, 0);
    wsoa(out, "test", 900, 300);
}

static void no_such_name_is_an_answer(void **state)
{
    begin_three(script_nxdomain, script_plain, script_plain);
    for (int i = 0; i < 3; i++)
        assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), "NXDOMAIN rd ra | x.test A | test 900 SOA 40 bytes");
    end_three();
}

static void codes_instead_of_servers(void **state)
{
    begin();
    world_start(&w, "dns: { enhanced-mode: normal, nameserver: ['rcode://name_error'] }\n");
    for (int i = 0; i < 3; i++) {
        assert_string_equal(world_ask_here(&w, "x.test", T_A, ASK_RD), "no answer"); /* at the end of the turn: it is not kept */
        assert_true(world_until(&w, &w.got));
        assert_string_equal(w.answer, "NXDOMAIN rd ra | x.test A");
    }
    world_end(&w);
}

static struct wire seen;

static void script_note_query(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    memcpy(seen.b, query, len);
    seen.len = len;
    script_plain(s, query, len, out);
}

static void options_of_a_server(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_note_query);
    world_start(&w,
                "dns: { enhanced-mode: normal, ipv6: true, nameserver: "
                "['127.0.0.1:%u#ecs=192.0.2.0/24&disable-ipv6=true&disable-qtype-65=true'] }\n",
                a.port);
    assert_string_equal(world_ask(&w, "x.test", T_AAAA, ASK_RD), "NOERROR rd ra | x.test AAAA");
    assert_string_equal(world_ask(&w, "x.test", T_HTTPS, ASK_RD), "NOERROR rd ra | x.test HTTPS");
    assert_int_equal(a.n_asked, 0);
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    assert_memory_equal(seen.b + seen.len - 11, "\0\x08\0\x07\0\x01\x18\0\xc0\0\x02", 11);
    world_ask(&w, "x.test", T_TXT, 0);
    assert_int_equal(strcasecmp(told(seen.b, seen.len), "NOERROR query rd ad | x.test TYPE16 | OPT 1232"),
                     0); /* no subnet where there are no addresses */
    end_one();
}

/* Whatever is asked for: an alias, both addresses of what is behind it, and an HTTPS record of its own. */
static void script_all(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8180, 3, 0, 1);
    wrecord(out, NULL, T_CNAME, 300, "\1y\xc0\x0e", 4);
    wrecord(out, "y.test", T_HTTPS, 300, "\0\1\0", 3);
    waddr(out, "y.test", 300, "192.0.2.1");
    waddr(out, "y.test", 300, "2001:db8::1");
}

static void a_type_that_is_switched_off_is_in_no_answer(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_all);
    world_start(&w, "dns: { enhanced-mode: normal, ipv6: true, nameserver: ['127.0.0.1:%u#disable-qtype-65=true&disable-ipv6=true'] }\n",
                a.port);
    for (int i = 0; i < 2; i++) { /* the second time from the cache */
        assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD),
                            "NOERROR rd ra | x.test A | x.test 300 CNAME y.test | y.test 300 A 192.0.2.1");
        assert_string_equal(world_ask(&w, "x.test", T_CNAME, ASK_RD),
                            "NOERROR rd ra | x.test CNAME | x.test 300 CNAME y.test | y.test 300 A 192.0.2.1");
        assert_string_equal(world_ask(&w, "x.test", T_ANY, ASK_RD),
                            "NOERROR rd ra | x.test TYPE255 | x.test 300 CNAME y.test | y.test 300 A 192.0.2.1");
    }
    assert_string_equal(world_ask(&w, "x.test", T_HTTPS, ASK_RD), "NOERROR rd ra | x.test HTTPS");
    assert_string_equal(world_ask(&w, "x.test", T_AAAA, ASK_RD), "NOERROR rd ra | x.test AAAA");
    assert_int_equal(a.n_asked, 3);
    end_one();
}

/* ---- the cache in use ---- */

static void many_who_ask_the_same_wait_for_one_answer(void **state)
{
    static struct wire q;
    struct dns_world clients[10];

    begin_one(script_plain);
    for (int i = 0; i < 10; i++) { /* mixed letters might be by chance those of our own question, which would be it coming back */
        clients[i].got = false;
        wquery(&q, (uint16_t)(1000 + i), i % 2 ? "x.test" : "X.TEST", T_A, i % 3 ? ASK_RD : ASK_RD | ASK_EDNS);
        dns_query(w.dns, q.b, q.len, &(struct dns_client){ .reply = world_on_reply, .arg = &clients[i] }, &(struct endpoint){ .port = 9 },
                  &(struct endpoint){ .port = 53 });
    }
    world_until(&w, &clients[9].got);
    assert_int_equal(a.n_asked, 1);
    for (int i = 0; i < 10; i++) {
        assert_true(clients[i].got);
        assert_int_equal(clients[i].raw[0] << 8 | clients[i].raw[1], 1000 + i);
        assert_non_null(strstr(clients[i].answer, i % 2 ? "x.test A |" : "X.TEST A |"));
        assert_int_equal(strstr(clients[i].answer, "OPT") != NULL, i % 3 == 0);
    }
    end_one();
}

static void dnssec_bits_make_it_another_question(void **state)
{
    begin_one(script_note_query);
    world_ask(&w, "x.test", T_A, ASK_RD);
    world_ask(&w, "x.test", T_A, ASK_RD | ASK_DO);
    assert_int_equal(strcasecmp(told(seen.b, seen.len), "NOERROR query rd ad | x.test A | OPT 1232 do"), 0);
    world_ask(&w, "x.test", T_A, ASK_RD | ASK_CD);
    assert_int_equal(strcasecmp(told(seen.b, seen.len), "NOERROR query rd ad cd | x.test A | OPT 1232"), 0);
    assert_int_equal(a.n_asked, 3);
    end_one();
}

static uint32_t ttl = 100;

static void script_ttl(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8180, 1, 0, 0);
    waddr(out, NULL, ttl, "192.0.2.7");
}

static void an_answer_that_is_over_is_served_while_a_new_one_is_fetched(void **state)
{
    begin_one(script_ttl);
    ttl = 100;
    world_ask(&w, "x.test", T_A, 0);
    world_pass(&w, 60000);
    assert_string_equal(world_ask_here(&w, "x.test", T_A, 0), "NOERROR ra | x.test A | x.test 40 A 192.0.2.7");
    world_pass(&w, 60000);
    ttl = 77;
    assert_string_equal(world_ask_here(&w, "x.test", T_A, 0), "NOERROR ra | x.test A | x.test 1 A 192.0.2.7");
    world_pass(&w, 10);
    assert_int_equal(a.n_asked, 2);
    assert_string_equal(world_ask_here(&w, "x.test", T_A, 0), "NOERROR ra | x.test A | x.test 77 A 192.0.2.7");
    a.script = script_silent;
    world_jump(&w, 3600000); /* long over */
    assert_in_range(ask_ms("x.test", T_A), 300, 310);
    assert_string_equal(w.answer, "NOERROR rd ra | x.test A | x.test 1 A 192.0.2.7");
    world_pass(&w, 6000); /* the refresh fails */
    assert_in_range(ask_ms("x.test", T_A), 0, 0);
    assert_string_equal(w.answer, "NOERROR rd ra | x.test A | x.test 1 A 192.0.2.7");
    a.script = script_servfail;
    world_pass(&w, 31000);
    assert_in_range(ask_ms("x.test", T_A), 0, 100);
    assert_string_equal(w.answer, "NOERROR rd ra | x.test A | x.test 1 A 192.0.2.7"); /* better than a failure */
    world_jump(&w, 25ull * 3600000);
    assert_string_equal(world_ask(&w, "x.test", T_A, 0), "SERVFAIL ra | x.test A"); /* not for ever */
    end_one();
}

static void what_must_not_be_kept(void **state)
{
    begin_one(script_ttl);
    ttl = 0;
    world_ask(&w, "zero.test", T_A, 0);
    world_ask(&w, "zero.test", T_A, 0);
    assert_int_equal(a.n_asked, 2);
    a.script = script_large;
    world_ask(&w, "_acme-challenge.x.test", T_TXT, ASK_EDNS);
    world_ask(&w, "_acme-challenge.x.test", T_TXT, ASK_EDNS);
    assert_int_equal(a.n_asked, 4);
    world_ask(&w, "_other.x.test", T_TXT, ASK_EDNS);
    world_ask(&w, "_other.x.test", T_TXT, ASK_EDNS);
    assert_int_equal(a.n_asked, 5);
    dns_flush(w.dns);
    world_ask(&w, "_other.x.test", T_TXT, ASK_EDNS);
    assert_int_equal(a.n_asked, 6);
    end_one();
}

static void a_reload_disturbs_no_question(void **state)
{
    begin_one(script_silent);
    assert_string_equal(world_ask_here(&w, "x.test", T_A, ASK_RD), "no answer");
    world_pass(&w, 100);
    world_reload(&w, "dns: { enhanced-mode: normal, nameserver: ['rcode://refused'] }\n");
    a.script = script_plain;
    assert_true(world_until(&w, &w.got));
    assert_string_equal(w.answer, PLAIN);                                                  /* by the old server, which had it */
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), "REFUSED rd ra | x.test A"); /* by the new one: what was kept is forgotten */
    end_one();
}

static void questions_that_wait_at_the_end(void **state)
{
    begin_three(script_silent, script_silent, script_silent);
    world_ask_here(&w, "x.test", T_A, 0);
    world_pass(&w, 1000);
    end_three(); /* nothing is left behind */
}

/* ---- servers that cannot be ---- */

static void script_boot(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    wanswer(out, query, len, 0x8180, 1, 0, 0);
    waddr(out, NULL, 300, "127.0.0.1");
}

static void servers_that_are_skipped(void **state)
{
    begin();
    world_start(&w, "dns: { listen: '127.0.0.1:1053', nameserver: ['198.18.0.2', '198.18.77.1:53', '127.0.0.1:1053', 'ftp://x', "
                    "'8.8.8.8#Nobody', 'quic://9.9.9.9:784', "
                    "'tcp://9.9.9.9#DIRECT', 'https://9.9.9.9/q#h3=true', 'http://9.9.9.9/q', 'quic://me:secret@[fd00::1]'], "
                    "direct-nameserver: ['https://9.9.9.9/q#h3=true'], nameserver-policy: { a.test: 'quic://9.9.9.9' } }\n");
    static const struct {
        const char *code, *text;
    } all[] = {
        { "bad-value", "198.18.0.2\" is ourselves" },
        { "bad-value", "198.18.77.1:53\" is ourselves" },
        { "bad-value", "127.0.0.1:1053\" is ourselves" },
        { "bad-value", "has a scheme" },
        { "unknown-target", "names a way" },
        { "unsupported-key", "tls://9.9.9.9:853 is asked instead" },
        { "unsupported-key", "HTTP/2 is used instead" },
        { "unsupported-key", "by HTTP in clear" },
        { "unsupported-key", "\"[fd00::1]\": DNS over QUIC is not supported by this build; tls://[fd00::1]:853 is asked instead" },
    }; /* each server once */

    assert_int_equal(w.d.n, sizeof(all) / sizeof(all[0]));
    for (size_t i = 0; i < w.d.n; i++) {
        assert_string_equal(w.d.items[i].code, all[i].code);
        if (!strstr(w.d.items[i].message, all[i].text))
            fail_msg("%s", w.d.items[i].message);
        assert_true(w.d.items[i].line > 0);
    }
    world_end(&w);
}

static void the_default_servers_are_found_by_address(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_plain);
    ns_open(&b, w.loop, "127.0.0.1", script_boot);
    world_start(&w,
                "dns:\n  enhanced-mode: normal\n  nameserver: ['udp://dns.test:%u']\n  default-nameserver:\n    - one.test\n"
                "    - https://me:secret@two.test/q\n    - '127.0.0.1:%u'\n    - system\n    - '::::'\n",
                a.port, b.port);
    assert_int_equal(w.d.n, 3);
    for (size_t i = 0; i < 3; i++) {
        static const char *const said_of[] = { "in place of \"one.test\" an address", "in place of \"two.test\" an address",
                                               "\"::::\" has no host" };
        static const uint32_t line[] = { 5, 6, 9 };

        assert_non_null(strstr(w.d.items[i].message, said_of[i]));
        assert_int_equal(w.d.items[i].line, line[i]);
        assert_int_equal(w.d.items[i].column, 7);
    }
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    assert_string_equal(b.asked, "dns.test 28; dns.test 1"); /* by those that are left */
    ns_close(&b);
    end_one();

    begin(); /* none is left: the open ones */
    world_start(&w, "dns:\n  nameserver: ['9.9.9.9']\n  default-nameserver: [dns.google]\n");
    assert_int_equal(w.d.n, 2);
    assert_non_null(strstr(w.d.items[1].message, "none of its servers can be used: the system's own and 1.1.1.1 are asked, in clear"));
    assert_int_equal(w.d.items[1].line, 3);
    world_end(&w);
}

static void a_scheme_that_is_misspelt(void **state)
{
    begin();
    world_start(&w, "dns: { nameserver: ['htps://1.1.1.1/q', 'rcode://Sucess', 'rcode://refused', 'xmpp://1.1.1.1', 'tls://::::'] }\n");
    assert_int_equal(w.d.n, 4);
    assert_non_null(strstr(w.d.items[0].message, "; did you mean \"https\"?"));
    assert_non_null(strstr(w.d.items[1].message, "; did you mean \"success\"?"));
    assert_null(strstr(w.d.items[2].message, "did you mean"));
    assert_null(strstr(w.d.items[3].message, "did you mean"));
    world_end(&w);
}

static void passwords_are_not_told(void **state)
{
    unsigned n_told = 0;

    begin();
    world_start(&w, "dns: { nameserver: ['https://me:secret@dns.test/q#Nobody', '127.0.0.1:53'] }\n");
    assert_int_equal(w.d.n, 1);
    assert_null(strstr(w.d.items[0].message, "secret"));
    assert_non_null(strstr(w.d.items[0].message, "dns.test"));
    world_end(&w);

    begin(); /* nor what a query says; ?dns of a template is no secret */
    world_start(&w, "dns: { nameserver: ['https://dns.test/q?token=secret#Nobody', 'https://me:secret@127.0.0.1/q?token=secret', "
                    "'https://127.0.0.1/dns-query{?dns}'] }\n");
    assert_int_equal(w.d.n, 1);
    assert_null(strstr(w.d.items[0].message, "secret"));
    list_each_safe (at, tmp, &w.dns->servers) {
        struct ns *n = container_of(at, struct ns, node);

        assert_null(strstr(n->text, "secret"));
        n_told += !strcmp(n->text, "https://***@127.0.0.1/q?token=******") || !strcmp(n->text, "https://127.0.0.1/dns-query{?dns}");
    }
    assert_int_equal(n_told, 2);
    world_end(&w);
}

static bool forwarder_first;

/* A forwarder on this machine whose own question is redirected to us. */
static void script_forwarder(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    struct dns_world inner = { .got = false };

    dns_query(w.dns, query, len, &(struct dns_client){ .reply = world_on_reply, .arg = &inner }, &(struct endpoint){ .port = 1 },
              &(struct endpoint){ .port = 53 });
    forwarder_first = inner.got && strstr(inner.answer, "SERVFAIL") != NULL;
    script_servfail(s, query, len, out);
}

static void a_forwarder_that_asks_us_is_told_no_at_once(void **state)
{
    begin_one(script_forwarder);
    assert_in_range(ask_ms("x.test", T_A), 0, 50);
    assert_true(forwarder_first);
    assert_string_equal(w.answer, "SERVFAIL rd ra | x.test A");
    assert_non_null(strstr(said, "comes back"));
    said[0] = 0;
    world_ask(&w, "y.test", T_A, 0);
    assert_null(strstr(said, "comes back")); /* said once */
    end_one();
}

/* ---- servers over a stream ---- */

static void begin_stream(script_fn *script, const char *fragment)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script);
    world_start(&w,
                "proxies: [{ name: P, type: socks5, server: 127.0.0.1, port: 1080 }]\n"
                "dns: { enhanced-mode: normal, ipv6: true, nameserver: ['127.0.0.1:%u#%s'] }\n",
                a.port, fragment);
}

static void by_a_proxy(void **state)
{
    begin_stream(script_plain, "P");
    for (int i = 0; i < 3; i++) {
        char name[32];

        snprintf(name, sizeof(name), "n%d.test", i);
        assert_non_null(strstr(world_ask(&w, name, T_A, 0), "192.0.2.1"));
    }
    assert_string_equal(ways.via, "P"); /* once: the connection is kept */
    assert_int_equal(ways.depth, 1);
    assert_int_equal(a.n_tcp, 3);
    assert_int_equal(a.n_conns, 1);
    world_pass(&w, 61000); /* and given up when nobody asks */
    world_ask(&w, "y.test", T_A, 0);
    assert_int_equal(a.n_conns, 2);
    end_one();
}

static struct wire held[512];
static unsigned n_held;

static void script_hold(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    script_plain(s, query, len, &held[n_held++]);
}

static void many_under_way_answered_backwards(void **state)
{
    static struct wire q;
    struct dns_world *clients = calloc(200, sizeof(*clients));
    char name[32];

    begin_stream(script_hold, "P");
    n_held = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        wquery(&q, (uint16_t)i, name, T_A, 0);
        dns_query(w.dns, q.b, q.len, &(struct dns_client){ .reply = world_on_reply, .arg = &clients[i] }, &(struct endpoint){ .port = 9 },
                  &(struct endpoint){ .port = 53 });
    }
    world_pass(&w, 20);
    assert_int_equal(a.n_conns, 1);
    assert_int_equal(n_held, 128);
    while (n_held)
        ns_send_tcp(a.conns[0], &held[--n_held]);
    world_pass(&w, 20);
    assert_int_equal(n_held, 72); /* the rest had its turn */
    while (n_held)
        ns_send_tcp(a.conns[0], &held[--n_held]);
    world_pass(&w, 5);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        assert_true(clients[i].got);
        assert_non_null(strstr(clients[i].answer, name));
        assert_int_equal(clients[i].raw[0] << 8 | clients[i].raw[1], i);
    }
    assert_int_equal(a.n_conns, 1);
    free(clients);
    end_one();
}

static int hang_ups;

static void script_hang_up(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    if (hang_ups-- > 0) {
        for (int i = 0; i < NS_CONNS; i++)
            if (s->conns[i])
                shutdown(s->conns[i]->io.fd, SHUT_RDWR);
        return;
    }
    script_plain(s, query, len, out);
}

static void a_connection_that_ends_under_a_question_costs_nothing(void **state)
{
    begin_stream(script_hang_up, "P");
    hang_ups = 1;
    assert_in_range(ask_ms("x.test", T_A), 0, 20);
    assert_string_equal(w.answer, PLAIN);
    assert_int_equal(a.n_conns, 2);
    hang_ups = 1000; /* but it is asked again only once */
    assert_in_range(ask_ms("y.test", T_A), 0, 20);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | y.test A");
    assert_int_equal(a.n_asked, 4);
    end_one();
}

static void a_connection_that_falls_silent_is_given_up(void **state)
{
    begin_stream(script_plain, "P");
    world_ask(&w, "x.test", T_A, 0);
    a.script = script_silent;
    assert_string_equal(world_ask_here(&w, "y.test", T_A, ASK_RD), "no answer");
    world_pass(&w, 1900);
    assert_int_equal(a.n_conns, 1);
    a.script = script_plain;
    world_pass(&w, 300);
    assert_true(w.got);
    assert_string_equal(w.answer, "NOERROR rd ra | y.test A | y.test 300 A 192.0.2.1");
    assert_int_equal(a.n_conns, 2);
    end_one();
}

static void a_second_connection_helps_a_slow_one(void **state)
{
    static struct wire q;
    char name[32];

    begin_stream(script_hold, "P");
    n_held = 0;
    for (int i = 0; i < 150; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        wquery(&q, (uint16_t)i, name, T_A, 0);
        world_send(&w, q.b, q.len, false);
    }
    world_pass(&w, 200);
    assert_int_equal(a.n_conns, 1);
    world_pass(&w, 100);
    assert_int_equal(a.n_conns, 2);
    assert_int_equal(n_held, 150);
    end_one();
}

static void a_way_that_is_shut(void **state)
{
    begin_stream(script_plain, "P");
    ways.refuse = -ECONNREFUSED;
    assert_in_range(ask_ms("x.test", T_A), 0, 10);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    ways.refuse = 0;
    world_pass(&w, 100);
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    end_one();

    begin_stream(script_plain, "P");
    ways.hang = true;
    assert_in_range(ask_ms("x.test", T_A), 4990, 5010);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    end_one();
    assert_int_equal(ways.n_cancelled, 1);
}

/* However many questions come, a server that is not there is tried once a second, in the long run. */
static void a_dead_server_is_not_stormed(void **state)
{
    char name[32];

    begin_stream(script_plain, "P");
    ways.refuse = -ECONNREFUSED;
    for (unsigned i = 0; i < 2500; i += 10) {
        snprintf(name, sizeof(name), "n%u.test", i);
        assert_in_range(ask_ms(name, T_A), 0, 9);
        world_pass(&w, 10 - 1);
    }
    assert_in_range(ways.n_dials, 5, 6); /* at 0, 0.1, 0.3, 0.7, 1.5 s; 2.5 s */
    ways.refuse = 0;
    dns_flush(w.dns); /* as after a change of the network: at once */
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    end_one();
}

static void script_nonsense(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    memset(out->b, 0xff, 300);
    out->len = 300;
}

static void nonsense_by_stream_is_nobodys(void **state)
{
    begin_stream(script_nonsense, "P");
    world_ask_here(&w, "x.test", T_A, ASK_RD);
    world_pass(&w, 100);
    assert_false(w.got);
    a.script = script_plain;
    assert_true(world_until(&w, &w.got)); /* on another connection */
    end_one();
}

static void each_its_own_connection_where_that_is_wanted(void **state)
{
    static struct wire q;
    char name[32];

    begin_stream(script_plain, "P&disable-reuse=true");
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        wquery(&q, (uint16_t)i, name, T_A, 0);
        world_send(&w, q.b, q.len, false);
    }
    world_pass(&w, 200);
    assert_int_equal(a.n_conns, 50);
    assert_int_equal(a.n_asked, 50);
    end_one();
}

/* ---- circles ---- */

static void a_node_whose_name_is_resolved_through_itself(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_plain);
    world_start(&w,
                "proxies: [{ name: P, type: socks5, server: node.test, port: 1080 }]\n"
                "dns: { enhanced-mode: normal, nameserver: ['127.0.0.1:%u#P'] }\n",
                a.port);
    ways.res = dns_resolver(w.dns);
    ways.lookup_first = "node.test"; /* to dial by P, its server must be found first: by P */
    assert_in_range(ask_ms("x.test", T_A), 0, 99);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    assert_in_range(ways.n_dials, 1, 16);
    assert_int_equal(a.n_asked, 0);
    end_one();
}

static void a_node_whose_name_another_server_knows(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_plain);
    ns_open(&b, w.loop, "127.0.0.1", script_plain);
    world_start(&w,
                "proxies: [{ name: P, type: socks5, server: node.test, port: 1080 }]\n"
                "dns: { enhanced-mode: normal, nameserver: ['127.0.0.1:%u#P'], proxy-server-nameserver: ['127.0.0.1:%u'] }\n",
                a.port, b.port);
    ways.res = dns_resolver(w.dns);
    ways.lookup_first = "node.test";
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    assert_string_equal(a.asked, "x.test 1");
    assert_non_null(strstr(b.asked, "node.test 1"));
    ns_close(&b);
    end_one();
}

static void a_server_by_name(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_plain);
    ns_open(&b, w.loop, "127.0.0.1", script_boot);
    world_start(&w, "dns: { enhanced-mode: normal, nameserver: ['udp://dns.test:%u'], default-nameserver: ['127.0.0.1:%u'] }\n", a.port,
                b.port);
    assert_string_equal(world_ask(&w, "x.test", T_A, ASK_RD), PLAIN);
    assert_string_equal(world_ask(&w, "y.test", T_A, 0), "NOERROR ra | y.test A | y.test 300 A 192.0.2.1");
    assert_string_equal(a.asked, "x.test 1; y.test 1");
    assert_string_equal(b.asked, "dns.test 28; dns.test 1"); /* once for all */
    b.script = script_servfail;                              /* later its name is not found any more: the old address will do */
    world_jump(&w, 400000);
    assert_string_equal(world_ask(&w, "z.test", T_A, 0), "NOERROR ra | z.test A | z.test 300 A 192.0.2.1");
    ns_close(&b);
    end_one();

    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_servfail);
    world_start(&w, "dns: { enhanced-mode: normal, nameserver: ['udp://dns.test:53'], default-nameserver: ['127.0.0.1:%u'] }\n", a.port);
    assert_in_range(ask_ms("x.test", T_A), 0, 200);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    end_one();
}

static void write_file(const char *root, const char *path, const char *text)
{
    char whole[256];
    FILE *f;

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *p = whole + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        mkdir(whole, 0700);
        *p = '/';
    }
    f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_system(const char *server, const char *root, const char *want)
{
    struct dns d = { .root = root };
    struct endpoint at[8];
    struct ns_spec n;
    char got[512] = "";
    unsigned count;

    cidr_parse("198.18.0.0/16", &d.own[0]);
    assert_null(ns_parse(server, &n));
    count = ns_system_find(&d, &n, at, 8);
    for (unsigned i = 0; i < count; i++) {
        char text[ENDPOINT_STRLEN];

        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "", endpoint_str(&at[i], text));
    }
    assert_string_equal(got, want);
}

static void servers_that_the_system_has(void **state)
{
    char root[] = "/tmp/shunt-unit-XXXXXX", cmd[64], lease[64];

    assert_non_null(mkdtemp(root));
    expect_system("system", root, "");
    write_file(root, "/etc/resolv.conf",
               "search test\nnameserver 127.0.0.53\nnameserver 127.1.2.3\n# nameserver 127.9.9.9\nnameserver 0.0.0.0\n"
               "  nameserver 198.18.0.2\nnameserver 198.51.100.1\nnameserver ::1\nnameserver nonsense\noptions edns0\n");
    expect_system("system", root, "198.51.100.1:53");
    expect_system("dhcp://lo", root, "198.51.100.1:53"); /* nothing is known of a lease: as system */
    write_file(root, "/run/systemd/resolve/resolv.conf", "nameserver 198.51.100.2\nnameserver 2001:db8::2\n");
    expect_system("system", root, "198.51.100.2:53 [2001:db8::2]:53");
    write_file(root, "/var/lib/dhcp/dhclient.lo.leases", "lease {\n  option domain-name-servers 198.51.100.4,198.51.100.5;\n}\n");
    expect_system("dhcp://lo", root, "198.51.100.4:53 198.51.100.5:53");
    expect_system("dhcp://eth9", root, "198.51.100.2:53 [2001:db8::2]:53");
    snprintf(lease, sizeof(lease), "/run/systemd/netif/leases/%u", if_nametoindex("lo"));
    write_file(root, lease, "ADDRESS=10.0.0.1\nDNS=198.51.100.6 198.51.100.7\n");
    expect_system("dhcp://lo", root, "198.51.100.6:53 198.51.100.7:53");
    snprintf(cmd, sizeof(cmd), "rm -r %s", root);
    assert_int_equal(system(cmd), 0);
}

static void the_systems_servers_are_asked_as_a_list(void **state)
{
    begin();
    world_start(&w, "dns: { enhanced-mode: normal, nameserver: [system] }\n"); /* whose root has no files */
    assert_in_range(ask_ms("x.test", T_A), 0, 10);
    assert_string_equal(w.answer, "SERVFAIL aa rd ra | x.test A");
    world_end(&w);
}

/* ---- look-ups of our own ---- */

static struct lookup look;
static bool looked;
static int look_err;
static uint8_t look_only;

static void on_look(struct lookup *l, int err)
{
    looked = true;
    look_err = err;
}

static const char *look_up(const char *host, enum lookup_for why)
{
    struct resolver *r = dns_resolver(w.dns);
    static char text[512];
    size_t at = 0;
    int err;

    looked = false;
    look = (struct lookup){ .host = host, .why = (uint8_t)why, .only = look_only, .done = on_look };
    if ((err = r->lookup(r, &look)) < 0)
        return err_str(err);
    assert_false(looked); /* never from inside */
    world_until(&w, &looked);
    if (!looked || look_err)
        return looked ? err_str(look_err) : "nothing";
    text[0] = 0;
    for (int i = 0; i < look.n; i++) {
        char buf[ADDR_STRLEN];

        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "", addr_str(&look.addr[i], buf));
    }
    return text;
}

static void script_slow_v6(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    if (query[len - 11 - 3] == T_A)
        script_plain(s, query, len, out);
}

static void both_families_of_a_name(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_plain);
    world_start(&w,
                "hosts: { h.test: ['2001:db8::5', 10.0.0.5], alias.test: h.test, away.test: x.test }\ndns: { ipv6: true, nameserver: "
                "['127.0.0.1:%u'] }\n",
                a.port);
    assert_string_equal(look_up("x.test", LOOKUP_RULES), "192.0.2.1 2001:db8::1"); /* never a fake one */
    assert_string_equal(look_up("X.Test.", LOOKUP_RULES), "192.0.2.1 2001:db8::1");
    assert_string_equal(look_up("h.test", LOOKUP_RULES), "10.0.0.5 2001:db8::5");
    assert_string_equal(look_up("alias.test", LOOKUP_RULES), "10.0.0.5 2001:db8::5");
    assert_string_equal(look_up("away.test", LOOKUP_RULES), "192.0.2.1 2001:db8::1");
    assert_string_equal(look_up("10.1.2.3", LOOKUP_RULES), "10.1.2.3");
    assert_string_equal(look_up("2001:db8::9", LOOKUP_RULES), "2001:db8::9");
    assert_string_equal(look_up("not a name", LOOKUP_RULES), err_str(-ERR_NAME));
    a.script = script_nxdomain;
    assert_string_equal(look_up("none.test", LOOKUP_RULES), err_str(-ERR_NAME));
    a.script = script_servfail;
    assert_string_equal(look_up("broken.test", LOOKUP_RULES), err_str(-EAGAIN));
    end_one();
}

static unsigned many_v4, many_v6;

static void script_many(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    bool six = query[len - 11 - 3] == T_AAAA;
    unsigned n = six ? many_v6 : many_v4;
    char text[ADDR_STRLEN];

    wanswer(out, query, len, 0x8180, n, 0, 0);
    for (unsigned i = 0; i < n; i++) {
        snprintf(text, sizeof(text), six ? "2001:db8::%x" : "192.0.2.%u", i + 1);
        waddr(out, NULL, 300, text);
    }
}

static void a_name_with_many_addresses_has_some_of_each_family(void **state)
{
    static const struct {
        unsigned v4, v6, told_v4, told_v6;
    } cases[] = {
        { 16, 0, 16, 0 }, { 16, 1, 15, 1 }, { 16, 16, 8, 8 }, { 3, 16, 3, 13 }, { 20, 2, 14, 2 }, { 0, 20, 0, 16 },
    };

    begin_one(script_many);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char host[16];
        unsigned n4 = 0;

        many_v4 = cases[i].v4, many_v6 = cases[i].v6;
        snprintf(host, sizeof(host), "many%zu.test", i);
        assert_string_not_equal(look_up(host, LOOKUP_RULES), "nothing");
        while (n4 < (unsigned)look.n && look.addr[n4].ver == 4)
            n4++;
        assert_int_equal(n4, cases[i].told_v4);
        assert_int_equal(look.n - (int)n4, cases[i].told_v6);
    }
    end_one();
}

static void ipv6_is_waited_for_but_not_long(void **state)
{
    uint64_t from;

    begin_one(script_slow_v6);
    from = world_ms;
    assert_string_equal(look_up("x.test", LOOKUP_RULES), "192.0.2.1");
    assert_in_range(world_ms - from, 100, 110);
    end_one();
}

static unsigned n_six;

/* The first question for an IPv6 address is lost. */
static void script_late_v6(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    if (query[len - 11 - 3] == T_A || n_six++)
        script_plain(s, query, len, out);
}

static void a_node_with_ip_version_ipv6_is_reached_when_its_address_comes_late(void **state)
{
    uint64_t from;

    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_late_v6);
    world_start(&w, "dns: { nameserver: ['127.0.0.1:%u'] }\n", a.port); /* dns.ipv6 is false: programs get none */
    n_six = 0;
    assert_string_equal(look_up("x.test", LOOKUP_DIRECT), "192.0.2.1");
    look_only = 6;
    assert_string_equal(look_up("y.test", LOOKUP_DIRECT), "192.0.2.1 2001:db8::1");
    assert_int_equal(n_six, 2);
    n_six = 0;
    assert_string_equal(look_up("z.test", LOOKUP_SERVER), "192.0.2.1 2001:db8::1");
    look_only = 4;
    n_six = 0;
    from = world_ms;
    assert_string_equal(look_up("v.test", LOOKUP_SERVER), "192.0.2.1");
    assert_in_range(world_ms - from, 0, 20); /* nor does the other wait for what it cannot use */
    look_only = 0;
    end_one();
}

static void a_look_up_that_is_taken_back(void **state)
{
    struct resolver *r;

    begin_one(script_silent);
    r = dns_resolver(w.dns);
    looked = false;
    look = (struct lookup){ .host = "x.test", .done = on_look };
    assert_int_equal(r->lookup(r, &look), 0);
    world_pass(&w, 50);
    r->cancel(r, &look);
    r->cancel(r, &look); /* twice is harmless */
    world_pass(&w, 6000);
    assert_false(looked);
    look = (struct lookup){ .host = "10.0.0.1", .done = on_look };
    r->lookup(r, &look);
    r->cancel(r, &look);
    world_pass(&w, 10);
    assert_false(looked);
    end_one();
}

static int turn;

static void script_rotating(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    char addr[32];

    wanswer(out, query, len, 0x8180, 2, 0, 0);
    for (int i = 0; i < 2; i++) {
        snprintf(addr, sizeof(addr), "192.0.2.%d", 1 + (turn + i) % 4);
        waddr(out, NULL, 1, addr);
    }
    turn++;
}

static void script_rotating_without_ttl(struct ns_world *s, const uint8_t *query, size_t len, struct wire *out)
{
    char addr[32];

    snprintf(addr, sizeof(addr), "192.0.2.%d", 1 + turn++ % 4);
    wanswer(out, query, len, 0x8180, 1, 0, 0);
    waddr(out, NULL, 0, addr);
}

static void two_ports_of_a_service_meet_one_machine_whose_answers_may_not_be_kept(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_rotating_without_ttl);
    world_start(&w, "ipv6: false\ndns: { nameserver: ['127.0.0.1:%u'] }\n", a.port);
    turn = 0;
    assert_string_equal(look_up("x.test", LOOKUP_DIRECT), "192.0.2.1");
    assert_int_equal(strncmp(look_up("x.test", LOOKUP_DIRECT), "192.0.2.1", 9), 0);
    assert_int_equal(turn, 2);
    end_one();
}

static void the_addresses_of_a_name_in_hosts_take_turns(void **state)
{
    unsigned first = 0;

    begin();
    world_start(&w, "hosts: { many.test: [10.0.0.1, 10.0.0.2, 10.0.0.3] }\ndns: { nameserver: ['rcode://refused'], use-hosts: false }\n");
    for (int i = 0; i < 100; i++) {
        struct addr known;

        look_up("many.test", LOOKUP_DIRECT); /* dials know what is written down, whatever queries are told */
        assert_int_equal(look.n, 3);
        first |= 1u << look.addr[0].b[3];
        assert_true(dns_resolver(w.dns)->known(dns_resolver(w.dns), "many.test", &known));
        first |= 16u << known.b[3];
    }
    assert_int_equal(first, 0xee);
    world_end(&w);
}

static void a_name_dialled_direct_keeps_its_address_for_a_minute(void **state)
{
    begin();
    ns_open(&a, w.loop, "127.0.0.1", script_rotating);
    world_start(&w, "dns: { nameserver: ['127.0.0.1:%u'] }\n", a.port);
    turn = 0;
    assert_string_equal(look_up("x.test", LOOKUP_DIRECT), "192.0.2.1 192.0.2.2");
    world_jump(&w, 26ull * 3600000); /* so that nothing stale is served */
    turn = 0;
    assert_string_equal(look_up("y.test", LOOKUP_DIRECT), "192.0.2.1 192.0.2.2");
    for (int i = 1; i < 4; i++) { /* three more turns within the minute, each asked anew */
        dns_flush(w.dns);
        world_pass(&w, 10000);
        assert_int_equal(strncmp(look_up("y.test", LOOKUP_DIRECT), "192.0.2.1 ", 10), 0);
    }
    dns_flush(w.dns);
    world_pass(&w, 40000);
    turn = 2;
    assert_string_equal(look_up("y.test", LOOKUP_DIRECT), "192.0.2.3 192.0.2.4");
    dns_flush(w.dns);
    assert_string_equal(look_up("y.test", LOOKUP_RULES), "192.0.2.4 192.0.2.1"); /* rules see what is */
    end_one();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_silent_server_is_asked_again_then_by_tcp_then_given_up),
        cmocka_unit_test(what_is_cut_short_is_asked_for_by_tcp),
        cmocka_unit_test(a_large_datagram_is_taken_as_it_is),
        cmocka_unit_test(wrong_answers_are_not_taken),
        cmocka_unit_test(a_server_without_edns_is_asked_without),
        cmocka_unit_test(source_ports_are_not_kept),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(the_next_one_helps_out_and_is_first_next_time),
        cmocka_unit_test(a_failure_wakes_all_the_others),
        cmocka_unit_test(when_all_fail_the_first_failure_is_the_answer_and_kept_for_a_moment),
        cmocka_unit_test(no_such_name_is_an_answer),
        cmocka_unit_test(codes_instead_of_servers),
        cmocka_unit_test(options_of_a_server),
        cmocka_unit_test(a_type_that_is_switched_off_is_in_no_answer),
        cmocka_unit_test(many_who_ask_the_same_wait_for_one_answer),
        cmocka_unit_test(dnssec_bits_make_it_another_question),
        cmocka_unit_test(an_answer_that_is_over_is_served_while_a_new_one_is_fetched),
        cmocka_unit_test(what_must_not_be_kept),
        cmocka_unit_test(a_reload_disturbs_no_question),
        cmocka_unit_test(questions_that_wait_at_the_end),
        cmocka_unit_test(servers_that_are_skipped),
        cmocka_unit_test(the_default_servers_are_found_by_address),
        cmocka_unit_test(a_scheme_that_is_misspelt),
        cmocka_unit_test(passwords_are_not_told),
        cmocka_unit_test(a_forwarder_that_asks_us_is_told_no_at_once),
        cmocka_unit_test(by_a_proxy),
        cmocka_unit_test(many_under_way_answered_backwards),
        cmocka_unit_test(a_connection_that_ends_under_a_question_costs_nothing),
        cmocka_unit_test(a_connection_that_falls_silent_is_given_up),
        cmocka_unit_test(a_second_connection_helps_a_slow_one),
        cmocka_unit_test(a_way_that_is_shut),
        cmocka_unit_test(a_dead_server_is_not_stormed),
        cmocka_unit_test(nonsense_by_stream_is_nobodys),
        cmocka_unit_test(each_its_own_connection_where_that_is_wanted),
        cmocka_unit_test(a_node_whose_name_is_resolved_through_itself),
        cmocka_unit_test(a_node_whose_name_another_server_knows),
        cmocka_unit_test(a_server_by_name),
        cmocka_unit_test(servers_that_the_system_has),
        cmocka_unit_test(the_systems_servers_are_asked_as_a_list),
        cmocka_unit_test(both_families_of_a_name),
        cmocka_unit_test(a_name_with_many_addresses_has_some_of_each_family),
        cmocka_unit_test(ipv6_is_waited_for_but_not_long),
        cmocka_unit_test(a_node_with_ip_version_ipv6_is_reached_when_its_address_comes_late),
        cmocka_unit_test(a_look_up_that_is_taken_back),
        cmocka_unit_test(a_name_dialled_direct_keeps_its_address_for_a_minute),
        cmocka_unit_test(two_ports_of_a_service_meet_one_machine_whose_answers_may_not_be_kept),
        cmocka_unit_test(the_addresses_of_a_name_in_hosts_take_turns),
    };

    return cmocka_run_group_tests(tests, group_setup, NULL);
}
