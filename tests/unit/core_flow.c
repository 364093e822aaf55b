/*
 * core_flow.c - the words for the ways a flow comes in
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/flow.h"

static void every_way_in_has_a_word_that_leads_back(void **state)
{
    for (int i = 1; i < FLOW_N_VIAS; i++)
        assert_int_equal(flow_via_parse(flow_via_name((enum flow_via)i)), i);
    assert_int_equal(flow_via_parse("socks5"), FLOW_VIA_SOCKS5);
    assert_int_equal(flow_via_parse("Tun"), FLOW_VIA_TUN);
    assert_int_equal(flow_via_parse("SOCKS"), FLOW_VIA_UNKNOWN);
    assert_int_equal(flow_via_parse(""), FLOW_VIA_UNKNOWN);
    assert_string_equal(flow_via_name(FLOW_N_VIAS), "");
    assert_string_equal(flow_in_name(FLOW_VIA_TUN), "DEFAULT-TUN");
    assert_null(flow_in_name(FLOW_VIA_INNER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_in_has_a_word_that_leads_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
