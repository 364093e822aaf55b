/*
 * configs_nomem.c - every allocation of loading a profile fails in turn, alone and with all that follow, libyaml's included
 *
 * What must hold: no crash, no leak (the sanitizers say), an error that says so; and when a profile comes back all the same (a message got lost, a table did not grow), nothing is missing
 * in it: a rule that vanished for lack of memory would send traffic in clear.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "configs/config.h"
#include "tests/unit/nomem.h"

struct shape {
    uint32_t proxies, groups, rules, hosts, proxy_providers, rule_providers, listeners, tunnels, sub_rules, policies, filter, users, routes;
};

static struct shape shape_of(const struct profile *p)
{
    return (struct shape){ p->n_proxies,   p->n_groups,  p->n_rules,     p->n_hosts,       p->n_proxy_providers,    p->n_rule_providers,
                           p->n_listeners, p->n_tunnels, p->n_sub_rules, p->dns.policy.n, p->dns.fake_filter.n, p->inbound.users.n,
                           p->tun.route_exclude.n };
}

/* One load; true when it was refused memory. */
static bool load(const char *text, bool foreign, size_t fail_at, bool from_then_on, struct shape *out)
{
    struct cfg_input body = { "profile", text, strlen(text), foreign }, local = { "local", nomem_local, sizeof(nomem_local) - 1, false };
    struct profile *p;
    size_t refused;
    struct diag d;

    diag_init(&d, "profile", NULL, 0, false);
    nomem_arm(fail_at, from_then_on);
    p = profile_read(&body, &local, &d);
    diag_sort(&d);
    refused = nomem_disarm();
    if (!p)
        assert_true(d.n_errors > 0);
    *out = p && !d.n_errors ? shape_of(p) : (struct shape){ 0 }; /* with errors it is never used */
    profile_free(p);
    diag_fini(&d);
    return refused > 0;
}

static void fail_each(bool foreign)
{
    char *text = nomem_profile();
    struct shape whole, got, none = { 0 };
    size_t n[2] = { 0, 0 }, survived = 0;

    load(text, foreign, 0, false, &whole);
    assert_int_equal(whole.rules, 242);
    for (int on = 0; on < 2; on++) {
        for (size_t i = 1; load(text, foreign, i, on, &got); i++, n[on]++) {
            if (!memcmp(&got, &none, sizeof(none)))
                continue;
            assert_memory_equal(&got, &whole, sizeof(whole));
            survived++;
        }
    }
    assert_true(n[0] > 1000 && n[0] == n[1]);
    print_message("%zu allocations failed, alone and from then on; %zu loads were whole all the same\n", n[0], survived);
    free(text);
}

static void an_own_profile_with_a_local_file(void **state)
{
    fail_each(false);
}

static void a_fetched_profile_with_a_local_file(void **state)
{
    fail_each(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_own_profile_with_a_local_file),
        cmocka_unit_test(a_fetched_profile_with_a_local_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
