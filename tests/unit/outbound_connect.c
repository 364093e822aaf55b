/*
 * outbound_connect.c - names and addresses to one connection, over real sockets on the loopback
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "outbound_world.h"

static struct world w;

struct result {
    struct tcp_connect tc;
    bool done;
    int err;
    struct stream *s;
};

static void on_done(struct tcp_connect *tc, struct stream *s, int err)
{
    struct result *r = container_of(tc, struct result, tc);

    assert_false(r->done);
    r->done = true;
    r->s = s;
    r->err = err;
}

static int start(struct result *r, const char *host, const char *ip, uint16_t port)
{
    *r = (struct result){ .tc = { .env = &w.env, .why = LOOKUP_SERVER, .done = on_done } };
    r->tc.to = (struct dest){ .at.port = port, .host = host };
    if (ip)
        addr_parse(ip, &r->tc.to.at.ip);
    return tcp_connect_start(&r->tc);
}

static void end(struct result *r)
{
    if (r->s)
        stream_close(r->s, 0);
}

static const char *peer(const struct result *r, char buf[ADDR_STRLEN])
{
    return addr_str(&r->tc.peer.ip, buf);
}

static void test_addresses_need_no_look_up(void **state)
{
    uint16_t port = 0;
    int fd = world_listen("127.0.0.1", SOCK_STREAM, &port);
    char buf[ADDR_STRLEN];
    struct result r;

    assert_int_equal(start(&r, NULL, "127.0.0.1", port), 0);
    assert_false(r.done); /* never from inside */
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, 0);
    assert_string_equal(peer(&r, buf), "127.0.0.1");
    end(&r);
    assert_int_equal(start(&r, "127.0.0.1", NULL, port), 0); /* a name that is an address */
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, 0);
    end(&r);
    assert_int_equal(w.n_asked, 0);
    assert_int_equal(start(&r, NULL, NULL, port), -ERR_NAME);
    close(fd);
}

static void test_next_address_when_one_fails(void **state)
{
    uint16_t port = 0, only = 0;
    int fd = world_listen("127.0.0.3", SOCK_STREAM, &port);
    char buf[ADDR_STRLEN];
    struct result r;

    only = port; /* 127.0.0.1 and 127.0.0.2 refuse on that port */
    assert_int_equal(start(&r, "some.name", NULL, only), 0);
    assert_non_null(w.asked);
    assert_int_equal(w.asked->why, LOOKUP_SERVER);
    assert_string_equal(w.asked->host, "some.name");
    world_answer(&w, "127.0.0.1 127.0.0.2 127.0.0.3 ::1", 0);
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, 0);
    assert_string_equal(peer(&r, buf), "127.0.0.3");
    end(&r);
    close(fd);
}

static void test_all_refuse(void **state)
{
    uint16_t port = 0;
    int fd = world_listen("127.0.0.9", SOCK_STREAM, &port);
    struct result r;

    assert_int_equal(start(&r, "some.name", NULL, port), 0);
    world_answer(&w, "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5 127.0.0.6", 0);
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, -ECONNREFUSED);
    assert_null(r.s);
    close(fd);
}

static void test_failing_names(void **state)
{
    static const struct { const char *addrs; int err, want; } cases[] = {
        { "", -ERR_NAME, -ERR_NAME }, { "", -ETIMEDOUT, -ETIMEDOUT }, { "", 0, -ERR_NAME },
    };
    struct result r;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(start(&r, "no.name", NULL, 1), 0);
        world_answer(&w, cases[i].addrs, cases[i].err);
        assert_true(r.done);
        assert_int_equal(r.err, cases[i].want);
    }
    w.refuse = -ERR_LIMIT;
    assert_int_equal(start(&r, "no.name", NULL, 1), -ERR_LIMIT);
    assert_false(r.done);
    w.refuse = 0;
}

static void test_address_known_already_helps_a_failing_name(void **state)
{
    uint16_t port = 0;
    int fd = world_listen("127.0.0.1", SOCK_STREAM, &port);
    struct result r;

    assert_int_equal(start(&r, "no.name", "127.0.0.1", port), 0);
    world_answer(&w, "", -ERR_NAME);
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, 0);
    end(&r);
    close(fd);
}

static void test_no_ipv6_when_the_profile_says_so(void **state)
{
    uint16_t port = 0;
    int fd = world_listen("::1", SOCK_STREAM, &port);
    struct result r;

    if (fd < 0)
        skip();
    assert_int_equal(start(&r, NULL, "::1", port), 0);
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, 0);
    end(&r);
    w.env.ipv6 = false;
    assert_int_equal(start(&r, NULL, "::1", port), 0);
    assert_true(world_until(&w, &r.done));
    assert_int_equal(r.err, -ENETUNREACH);
    assert_int_equal(start(&r, "six.name", NULL, port), 0);
    world_answer(&w, "::1", 0);
    assert_true(r.done);
    assert_int_equal(r.err, -ENETUNREACH);
    w.env.ipv6 = true;
    close(fd);
}

#define MANY 12

static void test_concurrent_tries_all_at_once(void **state)
{
    char ip[MANY][24], all_of_them[256] = "";
    uint16_t port = 0;
    int fd[MANY], c, n;
    struct result r;

    for (int i = 0; i < MANY; i++) {
        snprintf(ip[i], sizeof(ip[i]), "127.0.0.%d", i + 1);
        snprintf(all_of_them + strlen(all_of_them), sizeof(all_of_them) - strlen(all_of_them), "%s%s", i ? " " : "", ip[i]);
        assert_true((fd[i] = world_listen(ip[i], SOCK_STREAM, &port)) >= 0);
    }
    for (int all = 0; all < 2; all++) {
        r = (struct result){ .tc = { .env = &w.env, .why = LOOKUP_SERVER, .done = on_done, .concurrent = all } };
        r.tc.to = (struct dest){ .at.port = port, .host = "some.name" };
        r.tc.opts.fast_open = true;
        assert_int_equal(tcp_connect_start(&r.tc), 0);
        world_answer(&w, all_of_them, 0);
        assert_false(r.tc.opts.fast_open); /* it would say "connected" before anybody answered, and the others were never tried */
        assert_true(world_until(&w, &r.done));
        assert_int_equal(r.err, 0);
        end(&r);
        n = 0;
        for (int i = 0; i < MANY; i++)
            if ((c = accept(fd[i], NULL, NULL)) >= 0) {
                n++;
                close(c);
            }
        assert_int_equal(n, all ? MANY : 1);
    }
    for (int i = 0; i < MANY; i++)
        close(fd[i]);
}

static void test_cancel_at_every_step(void **state)
{
    uint16_t port = 0;
    int fd = world_listen("127.0.0.1", SOCK_STREAM, &port);
    struct result r;
    unsigned before = w.n_cancelled;

    assert_int_equal(start(&r, "some.name", NULL, port), 0);
    tcp_connect_cancel(&r.tc); /* while looking up */
    assert_int_equal(w.n_cancelled, before + 1);
    assert_int_equal(start(&r, NULL, "127.0.0.1", port), 0);
    tcp_connect_cancel(&r.tc); /* before the first attempt */
    assert_int_equal(start(&r, "some.name", NULL, port), 0);
    world_answer(&w, "127.0.0.1", 0);
    tcp_connect_cancel(&r.tc); /* under way */
    tcp_connect_cancel(&r.tc);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop, 1);
    assert_false(r.done);
    close(fd);
}

static int setup(void **state)
{
    world_open(&w, "mode: rule\n");
    return 0;
}

static int teardown(void **state)
{
    world_close(&w);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses_need_no_look_up),
        cmocka_unit_test(test_next_address_when_one_fails),
        cmocka_unit_test(test_all_refuse),
        cmocka_unit_test(test_failing_names),
        cmocka_unit_test(test_address_known_already_helps_a_failing_name),
        cmocka_unit_test(test_no_ipv6_when_the_profile_says_so),
        cmocka_unit_test(test_concurrent_tries_all_at_once),
        cmocka_unit_test(test_cancel_at_every_step),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
