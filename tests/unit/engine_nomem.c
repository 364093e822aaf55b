/*
 * engine_nomem.c - every allocation of building a policy fails in turn: the profile, its outbounds and its rules
 *
 * What configs_nomem.c asks of a profile is asked of the whole: no crash, no leak, an error; and what is built without one lacks nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "tests/unit/nomem.h"

struct shape {
    uint32_t rules;
    int32_t outbounds;
};

/* One load; true when it was refused memory. */
static bool load(const char *text, size_t fail_at, bool from_then_on, struct shape *out)
{
    struct cfg_input body = { "profile", text, strlen(text), false };
    struct policy *p;
    size_t refused;
    struct diag d;

    diag_init(&d, "profile", NULL, 0, false);
    nomem_arm(fail_at, from_then_on);
    p = policy_load(&body, NULL, NULL, &d);
    refused = nomem_disarm();
    *out = p ? (struct shape){ rules_count(p->rules), out_count(p->outs) } : (struct shape){ 0 };
    if (!p)
        assert_true(d.n_errors > 0);
    policy_put(p);
    diag_fini(&d);
    return refused > 0;
}

static void a_policy_is_whole_or_not_at_all(void **state)
{
    char *text = nomem_profile();
    struct shape whole, got;
    size_t n = 0, survived = 0;

    log_threshold = LOG_SILENT;
    load(text, 0, false, &whole);
    assert_int_equal(whole.rules, 240);
    for (int on = 0; on < 2; on++) {
        for (size_t i = 1; load(text, i, on, &got); i++, n++) {
            if (!got.outbounds)
                continue;
            if (got.rules != whole.rules || got.outbounds != whole.outbounds)
                print_message("allocation %zu (%s): %u rules, %d outbounds\n", i, on ? "from then on" : "alone", got.rules, got.outbounds);
            assert_int_equal(got.rules, whole.rules);
            assert_int_equal(got.outbounds, whole.outbounds);
            survived++;
        }
    }
    print_message("%zu loads failed; %zu were whole all the same\n", n, survived);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_policy_is_whole_or_not_at_all) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
