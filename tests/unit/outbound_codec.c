/*
 * outbound_codec.c - datagrams as frames in a stream: vectors, borders, hostile bytes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/err.h"
#include "outbound/pkt_codec.h"
#include "hex.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct dest dest_of(const char *text)
{
    static char host[4][HOST_MAX + 1];
    static unsigned next;
    struct dest to = { 0 };
    char *h = host[next++ % 4];

    if (endpoint_parse(text, &to.at) < 0) {
        assert_int_equal(hostport_split(text, h, &to.at.port), 0);
        to.host = h;
    }
    return to;
}

/* ---- what we write ---- */

static void test_frames_as_published(void **state)
{
    static const struct { const struct pkt_codec *c; const char *to, *data, *hex, *again; } cases[] = {
        /* trojan.md section 1: UDP frame to 127.0.0.1:18053 "ping" */
        { &pkt_trojan, "127.0.0.1:18053", "ping", "017f000001468500040d0a70696e67", NULL },
        { &pkt_trojan, "a.bc:53", "", "0304612e6263003500000d0a", NULL },
        { &pkt_length, "1.2.3.4:53", "ping", "000470696e67", NULL },
        { &pkt_packetaddr, "1.2.3.4:53", "q", "000801010203040035" "71", NULL },
        { &pkt_packetaddr, "[2001:db8::1]:53", "q", "00140220010db8000000000000000000000001003571", NULL },
        { &pkt_packetaddr, "a.bc:53", "q", "", NULL },
        { &pkt_xudp, "1.2.3.4:53", "q", "000c" "0000" "0101" "02" "0035" "0101020304" "0001" "71", "000c" "0000" "0201" "02" "0035" "0101020304" "0001" "71" },
        { &pkt_xudp, "a.bc:53", "", "000d" "0000" "0101" "02" "0035" "0204612e6263" "0000", NULL },
        { &pkt_uot1, "1.2.3.4:53", "q", "00010203040035000171", "00010203040035000171" },
        { &pkt_uot1, "[2001:db8::1]:53", "q", "0120010db80000000000000000000000010035000171", NULL },
        { &pkt_uot1, "a.bc:53", "q", "0204612e62630035000171", NULL },
        { &pkt_uot2, "1.2.3.4:53", "q", "00" "01010203040035" "00010203040035000171", "00010203040035000171" },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct dest to = dest_of(cases[i].to);
        uint8_t out[PKT_FRAME_EXTRA + 64], want[256];
        struct pkt_state st = { 0 };
        size_t n = cases[i].c->put(&st, &to, cases[i].data, strlen(cases[i].data), out);

        assert_int_equal(n, unhex(cases[i].hex, want));
        assert_memory_equal(out, want, n);
        if (cases[i].again) {
            n = cases[i].c->put(&st, &to, cases[i].data, strlen(cases[i].data), out);
            assert_int_equal(n, unhex(cases[i].again, want));
            assert_memory_equal(out, want, n);
        }
    }
}

static void test_the_longest_fits(void **state)
{
    static const struct pkt_codec *const all[] = { &pkt_trojan, &pkt_length, &pkt_xudp, &pkt_uot1, &pkt_uot2 };
    static uint8_t data[65507], out[65507 + PKT_FRAME_EXTRA];
    char name[256];
    struct dest to = { .host = name, .at.port = 1 };

    memset(name, 'a', 255);
    name[255] = 0;
    for (size_t i = 0; i < N(all); i++) {
        struct pkt_state st = { 0 };
        size_t n = all[i]->put(&st, &to, data, all[i]->most, out);

        assert_in_range(n, all[i]->most + 2, all[i]->most + PKT_FRAME_EXTRA);
    }
}

/* ---- what we read ---- */

struct frame {
    const struct pkt_codec *c;
    const char *hex;
    int want;
    const char *from, *data; /* data NULL: none */
};

static const struct frame frames[] = {
    { &pkt_trojan, "017f000001468500040d0a70696e67", 1, "127.0.0.1:18053", "ping" },
    { &pkt_trojan, "0420010db8000000000000000000000001003500000d0a", 1, "[2001:db8::1]:53", "" },
    { &pkt_trojan, "0304612e6263003500000d0a", 1, "a.bc:53", "" }, /* the name that was sent to */
    { &pkt_trojan, "0304612e2063003500000d0a", -ERR_PROTO },
    { &pkt_trojan, "0300003500000d0a", -ERR_PROTO },
    { &pkt_trojan, "02", -ERR_PROTO },
    { &pkt_trojan, "017f000001468500040d0b70696e67", -ERR_PROTO },
    { &pkt_length, "000470696e67", 1, "9.9.9.9:9", "ping" },
    { &pkt_length, "0000", 1, "9.9.9.9:9", "" },
    { &pkt_packetaddr, "00080101020304003571", 1, "1.2.3.4:53", "q" },
    { &pkt_packetaddr, "0013" "0220010db80000000000000000000000010035", 1, "[2001:db8::1]:53", "" },
    { &pkt_packetaddr, "00080301020304003571", -ERR_PROTO },
    { &pkt_packetaddr, "0006010102030400", -ERR_PROTO },
    { &pkt_packetaddr, "0000", -ERR_PROTO },
    { &pkt_xudp, "000c00000201020035010102030400" "0171", 1, "1.2.3.4:53", "q" },
    { &pkt_xudp, "000400000201" "000171", 1, "9.9.9.9:9", "q" }, /* as before */
    { &pkt_xudp, "000400000200", 1, NULL, NULL },
    { &pkt_xudp, "000400000400", 1, NULL, NULL }, /* keep alive */
    { &pkt_xudp, "000400000401" "000171", 1, NULL, NULL },
    { &pkt_xudp, "000400000300", -STREAM_EOF },
    { &pkt_xudp, "000400000302", -STREAM_EOF }, /* it could not be reached: no fault of the node */
    { &pkt_xudp, "0003000002", -ERR_PROTO },
    { &pkt_xudp, "000c00000201010035010102030400" "0171", -ERR_PROTO }, /* TCP */
    { &pkt_xudp, "000d" "00000201" "02" "0035" "0204612e6263" "000171", 1, "a.bc:53", "q" },
    { &pkt_xudp, "000d" "00000201" "02" "0035" "0204612e2063" "000171", -ERR_PROTO },
    { &pkt_xudp, "000a" "00000201" "02" "0035" "010102" "000171", -ERR_PROTO },
    { &pkt_uot1, "00010203040035000171", 1, "1.2.3.4:53", "q" },
    { &pkt_uot2, "0120010db80000000000000000000000010035" "0000", 1, "[2001:db8::1]:53", "" },
    { &pkt_uot1, "0204612e62630035000171", 1, "a.bc:53", "q" },
    { &pkt_uot1, "0200003500017100", -ERR_PROTO },
    { &pkt_uot1, "0304612e62630035000171", -ERR_PROTO },
};

static struct pkt_state fresh(void)
{
    struct pkt_state st = { 0 };

    endpoint_parse("9.9.9.9:9", &st.peer.at);
    return st;
}

static void test_frames_of_servers(void **state)
{
    for (size_t i = 0; i < N(frames); i++) {
        uint8_t b[128];
        size_t n = unhex(frames[i].hex, b);
        struct pkt_state st = fresh();
        struct sender from;
        struct span payload;
        char text[DEST_STRLEN];
        struct dest who;
        struct rd r;
        int got;

        memset(b + n, 0xaa, 8); /* the next one */
        r = rd_from(b, n + 8);
        if ((got = frames[i].c->get(&st, &r, &from, &payload)) != frames[i].want)
            fail_msg("frame %zu: %d", i, got);
        if (got <= 0)
            continue;
        assert_int_equal(rd_left(&r), 8);
        assert_int_equal(payload.p != NULL, frames[i].data != NULL);
        if (!frames[i].data)
            continue;
        who = sender_dest(&from);
        assert_string_equal(dest_str(&who, text), frames[i].from);
        assert_int_equal(payload.len, strlen(frames[i].data));
        assert_memory_equal(payload.p, frames[i].data, payload.len);
    }
}

static void test_cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < N(frames); i++) {
        uint8_t b[128];
        size_t n = unhex(frames[i].hex, b);

        for (size_t cut = 0; cut < n; cut++) {
            struct pkt_state st = fresh(), before = st;
            struct sender from;
            struct span payload;
            struct rd r = rd_from(b, cut);
            int got = frames[i].c->get(&st, &r, &from, &payload);

            assert_true(got == 0 || (frames[i].want < 0 && got == frames[i].want));
            assert_memory_equal(&st, &before, sizeof(st)); /* and nothing is remembered of half a frame */
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_as_published),
        cmocka_unit_test(test_the_longest_fits),
        cmocka_unit_test(test_frames_of_servers),
        cmocka_unit_test(test_cut_at_every_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
