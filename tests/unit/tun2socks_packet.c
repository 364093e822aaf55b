/*
 * tun2socks_packet.c - packets taken apart: headers that lie, extension headers, options; and put together again
 *
 * Every packet is handed over in memory of exactly its size, so that the sanitizer sees a look behind the end.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tun2socks/packet.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static uint8_t *exact(const uint8_t *b, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    assert_non_null(copy);
    memcpy(copy, b, n);
    return copy;
}

/* Whatever is said of the packet lies inside it. */
static void inside(const struct packet *p, const uint8_t *buf, size_t n)
{
    assert_true(p->ip == buf && p->len <= n);
    assert_true(p->l4 >= buf && p->l4 + p->l4_len == buf + p->len);
    assert_true(p->src.ver == p->dst.ver && (p->src.ver == 4 || p->src.ver == 6));
    assert_int_equal(p->is_fragment, p->more || p->frag_off);
    assert_false(addr_is_multicast(&p->src));
}

static int parse(struct packet *p, const uint8_t *b, size_t n)
{
    uint8_t *copy = exact(b, n);
    int r = packet_parse(p, copy, n);

    if (r == 0) {
        inside(p, copy, n);
        p->l4 = (uint8_t *)b + (p->l4 - copy); /* the bytes are the same */
        p->ip = (uint8_t *)b;
    }
    free(copy);
    return r;
}

/* ---- IPv4 ---- */

/* 10.0.0.1 -> 192.0.2.9, UDP, eight bytes of payload behind 20 bytes of header. */
static const uint8_t plain4[28] = {
    0x45, 0, 0, 28, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9, 0x30, 0x39, 0, 53, 0, 8, 0, 0
};

static const struct v4_case {
    const char *what;
    struct {
        uint8_t at, is;
    } edit[4]; /* up to the first 0 -> 0 behind the first */
    size_t n;  /* bytes read; 0 = all 28 */
    int want;
    uint32_t l4_at;
} v4[] = {
    { "as it should be", { { 0 } }, 0, 0, 20 },
    { "nothing was read", { { 0 } }, SIZE_MAX, -EBADMSG },
    { "one byte was read", { { 0 } }, 1, -EBADMSG },
    { "version 0", { { 0, 0x05 } }, 0, -EBADMSG },
    { "version 5", { { 0, 0x55 } }, 0, -EBADMSG },
    { "version 15", { { 0, 0xf5 } }, 0, -EBADMSG },
    { "header length 0", { { 0, 0x40 } }, 0, -EBADMSG },
    { "header length 16", { { 0, 0x44 } }, 0, -EBADMSG },
    { "four bytes of options", { { 0, 0x46 } }, 0, 0, 24 },
    { "options to the end", { { 0, 0x47 } }, 0, 0, 28 },
    { "header longer than the packet", { { 0, 0x48 } }, 0, -EBADMSG },
    { "header of 60", { { 0, 0x4f } }, 0, -EBADMSG },
    { "header longer than the total says", { { 0, 0x46 }, { 3, 23 } }, 0, -EBADMSG },
    { "total 0", { { 0, 0x45 }, { 3, 0 } }, 0, -EBADMSG },
    { "total smaller than a header", { { 3, 19 } }, 0, -EBADMSG },
    { "total of a bare header", { { 3, 20 } }, 0, 0, 20 },
    { "total smaller than what was read", { { 3, 25 } }, 0, 0, 20 },
    { "total one more than what was read", { { 3, 29 } }, 0, -EBADMSG },
    { "total of 65535", { { 2, 0xff }, { 3, 0xff } }, 0, -EBADMSG },
    { "cut in the header", { { 0 } }, 19, -EBADMSG },
    { "cut behind the header", { { 0 } }, 20, -EBADMSG },
    { "source 224.0.0.1", { { 12, 224 } }, 0, -EBADMSG },
    { "source 239.0.0.1", { { 12, 239 } }, 0, -EBADMSG },
    { "unknown protocol: the caller's business", { { 9, 200 } }, 0, 0, 20 },
};

static void lies_of_ipv4_headers(void **state)
{
    for (size_t i = 0; i < COUNT(v4); i++) {
        uint8_t b[sizeof(plain4)];
        size_t n = v4[i].n == SIZE_MAX ? 0 : v4[i].n ? v4[i].n : sizeof(b);
        struct packet p;
        int r;

        memcpy(b, plain4, sizeof(b));
        for (size_t k = 0; k < COUNT(v4[i].edit) && (v4[i].edit[k].at || v4[i].edit[k].is); k++)
            b[v4[i].edit[k].at] = v4[i].edit[k].is;
        r = parse(&p, b, n);
        if (r != v4[i].want || (r == 0 && p.l4 != b + v4[i].l4_at))
            fail_msg("%s: %d", v4[i].what, r);
    }
}

static void facts_of_an_ipv4_packet(void **state)
{
    struct packet p;

    assert_int_equal(parse(&p, plain4, sizeof(plain4)), 0);
    assert_int_equal(p.len, 28);
    assert_int_equal(p.proto, PROTO_UDP);
    assert_int_equal(p.l4_len, 8);
    assert_true(addr_eq(&p.src, &(struct addr){ 4, { 10, 0, 0, 1 } }));
    assert_true(addr_eq(&p.dst, &(struct addr){ 4, { 192, 0, 2, 9 } }));
    assert_false(p.is_fragment);
}

static const struct {
    uint16_t field; /* flags and offset as on the wire */
    bool fragment, more;
    uint16_t off;
} fragments4[] = {
    { 0x0000, false, false, 0 },  { 0x4000, false, false, 0 }, /* do not fragment */
    { 0x8000, false, false, 0 },                               /* reserved */
    { 0x2000, true, true, 0 },    { 0x6000, true, true, 0 },      { 0x0001, true, false, 8 },
    { 0x20b9, true, true, 1480 }, { 0x1fff, true, false, 65528 },
};

static void fragments_of_ipv4(void **state)
{
    for (size_t i = 0; i < COUNT(fragments4); i++) {
        uint8_t b[sizeof(plain4)];
        struct packet p;

        memcpy(b, plain4, sizeof(b));
        put16(b + 6, fragments4[i].field);
        assert_int_equal(parse(&p, b, sizeof(b)), 0);
        assert_int_equal(p.is_fragment, fragments4[i].fragment);
        assert_int_equal(p.more, fragments4[i].more);
        assert_int_equal(p.frag_off, fragments4[i].off);
        assert_int_equal(p.frag_id, 0x1234);
    }
}

/* ---- IPv6 ---- */

#define IP6_BYTES 40

/* One letter a header:
 *   h hop-by-hop   d destination options   D the same, of 24 bytes   r routing type 2   0 routing type 0
 *   f first fragment   m middle fragment   l last fragment   a whole, with a fragment header
 *   e ESP   A authentication   n none   x unknown          t TCP   u UDP   i ICMPv6, with 24 bytes */
static const char letters[] = "hdDr0fmlaeAnxtui";
static const uint8_t numbers[] = { 0, 60, 60, 43, 43, 44, 44, 44, 44, 50, 51, 59, 200, 6, 17, 58 };

static uint8_t number_of(char c)
{
    return c ? numbers[strchr(letters, c) - letters] : 59;
}

static size_t put_header(uint8_t *b, char kind, char next)
{
    size_t n = strchr("tuieAxnD", kind) ? 24 : 8;

    memset(b, 0, n);
    if (strchr("tuieAxn", kind))
        return n;
    b[0] = number_of(next);
    b[1] = (uint8_t)(n / 8 - 1);
    if (kind == 'r')
        b[2] = 2;
    if (strchr("fmla", kind)) {
        b[1] = 77; /* reserved: no length */
        put16(b + 2, (uint16_t)((kind == 'm' || kind == 'l' ? 1480 : 0) | (kind == 'f' || kind == 'm')));
        put32(b + 4, 0xabcdef01);
    }
    return n;
}

static size_t packet6(uint8_t *b, const char *headers)
{
    size_t n = IP6_BYTES;

    memset(b, 0, IP6_BYTES);
    b[0] = 0x60;
    b[6] = number_of(headers[0]);
    b[7] = 64;
    b[8] = 0xfd, b[23] = 1;
    b[24] = 0x20, b[25] = 0x01, b[39] = 9;
    for (const char *c = headers; *c; c++)
        n += put_header(b + n, c[0], c[1]);
    put16(b + 4, (uint16_t)(n - IP6_BYTES));
    return n;
}

static const struct v6_case {
    const char *headers;
    int want;
    uint8_t proto;
    uint32_t l4_at;
} v6[] = {
    { "t", 0, 6, 40 },
    { "u", 0, 17, 40 },
    { "i", 0, 58, 40 },
    { "ht", 0, 6, 48 },
    { "hdrdt", 0, 6, 72 },
    { "Dt", 0, 6, 64 },
    { "dddddddt", 0, 6, 96 },
    { "ddddddddt", 0, 6, 104 }, /* eight */
    { "dddddddddt", -EPROTONOSUPPORT },
    { "dddddddf", 0, 59, 104 },
    { "ddddddddf", -EPROTONOSUPPORT },
    { "0t", -EBADMSG },
    { "hd0t", -EBADMSG },
    { "e", -EPROTONOSUPPORT },
    { "he", -EPROTONOSUPPORT },
    { "A", -EPROTONOSUPPORT },
    { "At", -EPROTONOSUPPORT },
    { "n", -EPROTONOSUPPORT },
    { "x", -EPROTONOSUPPORT },
    { "hx", -EPROTONOSUPPORT },
    { "", -EPROTONOSUPPORT },
    { "fu", 0, 17, 48 },
    { "mu", 0, 17, 48 },
    { "lu", 0, 17, 48 },
    { "hdfu", 0, 17, 64 },
    { "fx", 0, 200, 48 }, /* judged when it is whole */
    { "fdu", 0, 60, 48 },
    { "au", 0, 17, 48 }, /* one piece is no fragment */
    { "adt", 0, 6, 56 },
    { "ax", -EPROTONOSUPPORT },
    { "aaaaaaaau", 0, 17, 104 },
    { "aaaaaaaaau", -EPROTONOSUPPORT },
};

static void extension_headers_are_walked(void **state)
{
    for (size_t i = 0; i < COUNT(v6); i++) {
        uint8_t b[400];
        size_t n = packet6(b, v6[i].headers);
        struct packet p;
        int r = parse(&p, b, n);

        if (r != v6[i].want || (r == 0 && (p.proto != v6[i].proto || p.l4 != b + v6[i].l4_at)))
            fail_msg("%s: %d", v6[i].headers, r);
    }
}

static void facts_of_an_ipv6_packet(void **state)
{
    uint8_t b[400];
    struct packet p;

    assert_int_equal(parse(&p, b, packet6(b, "hlu")), 0);
    assert_true(p.is_fragment && !p.more);
    assert_int_equal(p.frag_off, 1480);
    assert_int_equal(p.frag_id, 0xabcdef01);
    assert_true(addr_eq(&p.src, &(struct addr){ 6, { 0xfd, [15] = 1 } }));
    assert_true(addr_eq(&p.dst, &(struct addr){ 6, { 0x20, 1, [15] = 9 } }));
    assert_int_equal(parse(&p, b, packet6(b, "fu")), 0);
    assert_true(p.is_fragment && p.more && !p.frag_off);
    assert_int_equal(parse(&p, b, packet6(b, "au")), 0);
    assert_false(p.is_fragment);
}

static void lies_of_ipv6_headers(void **state)
{
    uint8_t b[400];
    size_t n = packet6(b, "hdu");
    struct packet p;

    assert_int_equal(parse(&p, b, n), 0);
    put16(b + 4, (uint16_t)(n - IP6_BYTES + 1));
    assert_int_equal(parse(&p, b, n), -EBADMSG); /* longer than what was read */
    put16(b + 4, 0xffff);
    assert_int_equal(parse(&p, b, n), -EBADMSG);
    put16(b + 4, 0);
    assert_int_equal(parse(&p, b, n), -EBADMSG); /* no room for the header that is announced */
    put16(b + 4, 17);
    assert_int_equal(parse(&p, b, n), 0); /* one byte of UDP */
    assert_int_equal(p.l4_len, 1);
    put16(b + 4, 15);
    assert_int_equal(parse(&p, b, n), -EBADMSG); /* the second header is cut */

    n = packet6(b, "hu");
    b[41] = 3; /* as long as all that follows: 32 bytes */
    assert_int_equal(parse(&p, b, n), 0);
    assert_int_equal(p.l4_len, 0);
    b[41] = 4;
    assert_int_equal(parse(&p, b, n), -EBADMSG);
    b[41] = 255;
    assert_int_equal(parse(&p, b, n), -EBADMSG);

    n = packet6(b, "u");
    b[8] = 0xff;
    assert_int_equal(parse(&p, b, n), -EBADMSG); /* a group is nobody's source */
    for (int at = 8; at <= 24; at += 16) {
        n = packet6(b, "u");
        memset(b + at, 0, 10);
        memset(b + at + 10, 0xff, 2);
        assert_int_equal(parse(&p, b, n), -EBADMSG); /* ::ffff:0:0/96 does not travel (RFC 4038 section 4.2) */
    }
}

/* ---- anything ---- */

static void cut_at_every_byte(void **state)
{
    uint8_t b[400];
    struct packet p;

    for (size_t i = 0; i < COUNT(v6); i++) {
        size_t n = packet6(b, v6[i].headers);

        for (size_t k = 0; k < n; k++) {
            assert_int_equal(parse(&p, b, k), -EBADMSG);
            if (k < IP6_BYTES)
                continue;
            put16(b + 4, (uint16_t)(k - IP6_BYTES)); /* the header agrees */
            parse(&p, b, k);
            put16(b + 4, (uint16_t)(n - IP6_BYTES));
        }
    }
    for (size_t k = 0; k < sizeof(plain4); k++)
        assert_int_equal(parse(&p, plain4, k), -EBADMSG);
}

static void random_bytes_stay_inside(void **state)
{
    uint32_t rnd = 99;
    unsigned good = 0;

    for (int i = 0; i < 200000; i++) {
        uint8_t b[120];
        size_t n = dice(&rnd) % sizeof(b);
        struct packet p;

        for (size_t k = 0; k < n; k++)
            b[k] = (uint8_t)(dice(&rnd) >> 8);
        if (n) /* mostly sane where it counts */
            b[0] = dice(&rnd) % 2 ? 0x45 + dice(&rnd) % 3 : 0x60;
        if (n > 6 && dice(&rnd) % 4) {
            put16(b + (b[0] == 0x60 ? 4 : 2), (uint16_t)(n - (b[0] == 0x60 && n >= 40 ? 40 : 0) - dice(&rnd) % 3));
            b[6] = b[0] == 0x60 ? numbers[dice(&rnd) % COUNT(numbers)] : 0;
        }
        for (size_t k = 40; b[0] == 0x60 && k + 1 < n; k += 8) {
            b[k] = numbers[dice(&rnd) % COUNT(numbers)];
            b[k + 1] = dice(&rnd) % 8 == 0;
        }
        if (parse(&p, b, n) == 0) {
            good++;
            if (p.proto == PROTO_TCP)
                packet_tcp_ok(&p);
        }
    }
    assert_true(good > 20000);
}

/* ---- TCP ---- */

static const struct tcp_case {
    const char *what;
    unsigned words; /* data offset */
    size_t n;       /* bytes of TCP */
    const char *options;
    bool good;
} tcp[] = {
    { "bare", 5, 20, "", true },
    { "with data", 5, 30, "", true },
    { "cut", 5, 19, "", false },
    { "nothing", 0, 0, "", false },
    { "offset 0", 0, 40, "", false },
    { "offset 4", 4, 40, "", false },
    { "offset 15, all of it", 15, 60, "\1", true },
    { "offset 15, one byte short", 15, 59, "\1", false },
    { "MSS", 6, 24, "\2\4\5\xb4", true },
    { "what Linux says", 10, 40, "\2\4\5\xb4\4\2\10\12\0\0\0\0\0\0\0\0\1\3\3\7", true },
    { "end of list, then anything", 6, 24, "\0\2\200\1", true },
    { "length 0: no end", 6, 24, "\2\0\0\0", false },
    { "length 1", 6, 24, "\2\1\0\0", false },
    { "kind in the last byte", 6, 24, "\1\1\1\2", false },
    { "longer than the header", 6, 24, "\2\5\0\0", false },
    { "longer than the header, data behind", 6, 40, "\2\5\0\0", false },
    { "255 bytes of it", 6, 24, "\3\377\0\0", false },
    { "to the very end", 6, 24, "\4\4\0\0", true },
    { "unknown kinds are passed over", 7, 28, "\144\3\0\145\3\0\1\0", true },
};

static void tcp_options(void **state)
{
    for (size_t i = 0; i < COUNT(tcp); i++) {
        uint8_t b[64] = { 0 }, *copy;
        struct packet p = { 0 };

        b[12] = (uint8_t)(tcp[i].words << 4);
        memset(b + 20, 1, 40);
        if (tcp[i].words > 5)
            memcpy(b + 20, tcp[i].options, tcp[i].words * 4 - 20 < 20 ? tcp[i].words * 4 - 20 : strlen(tcp[i].options));
        copy = exact(b, tcp[i].n);
        p.l4 = copy;
        p.l4_len = (uint32_t)tcp[i].n;
        if (packet_tcp_ok(&p) != tcp[i].good)
            fail_msg("%s", tcp[i].what);
        free(copy);
    }
}

/* ---- built ---- */

static uint16_t naive_checksum(const struct addr *src, const struct addr *dst, uint8_t proto, const uint8_t *b, size_t n)
{
    uint8_t all[2000] = { 0 };
    size_t at = 0;
    uint32_t s = 0;

    if (src) {
        memcpy(all, src->b, addr_len(src));
        memcpy(all + addr_len(src), dst->b, addr_len(dst));
        at = 2 * addr_len(src);
        put32(all + at, (uint32_t)n);
        put32(all + at + 4, proto);
        at += 8;
    }
    memcpy(all + at, b, n);
    for (size_t i = 0; i < at + n; i += 2)
        s += (uint32_t)all[i] << 8 | all[i + 1];
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return (uint16_t)~s;
}

static void checksums_like_the_words_of_the_rfc(void **state)
{
    uint32_t rnd = 5;

    for (int i = 0; i < 20000; i++) {
        uint8_t b[1500];
        size_t n = dice(&rnd) % (i % 2 ? 1500 : 24), cut = n ? (dice(&rnd) % n) & ~1u : 0;
        struct addr src = { .ver = i % 3 ? 4 : 6 }, dst = src;
        uint16_t pseudo, want;

        for (size_t k = 0; k < n; k++)
            b[k] = i % 7 ? (uint8_t)(dice(&rnd) >> 8) : 0xff;
        for (size_t k = 0; k < addr_len(&src); k++)
            src.b[k] = (uint8_t)dice(&rnd), dst.b[k] = (uint8_t)(dice(&rnd) >> 16);
        assert_int_equal(packet_checksum(0, b, n), naive_checksum(NULL, NULL, 0, b, n));
        pseudo = packet_pseudo_sum(&src, &dst, PROTO_TCP, (uint32_t)n);
        want = naive_checksum(&src, &dst, PROTO_TCP, b, n);
        assert_int_equal(packet_checksum(pseudo, b, n), want);
        /* in two pieces, as icmp.c and udp.c do */
        assert_int_equal(packet_checksum((uint16_t)~packet_checksum(pseudo, b, cut), b + cut, n - cut), want);
    }
}

static void headers_are_built_as_they_are_read(void **state)
{
    static const struct addr a4 = { 4, { 10, 1, 2, 3 } }, b4 = { 4, { 203, 0, 113, 7 } };
    static const struct addr a6 = { 6, { 0xfd, [15] = 3 } }, b6 = { 6, { 0x20, 1, 0xd, 0xb8, [15] = 7 } };
    uint8_t b[60];
    struct packet p;

    memset(b, 0xaa, sizeof(b));
    assert_int_equal(packet_put_ip(b, &a4, &b4, PROTO_UDP, 12, 0x4711), 20);
    assert_int_equal(parse(&p, b, 32), 0);
    assert_true(addr_eq(&p.src, &a4) && addr_eq(&p.dst, &b4));
    assert_true(p.proto == PROTO_UDP && p.l4_len == 12 && p.len == 32 && !p.is_fragment && p.frag_id == 0x4711);
    assert_int_equal(packet_checksum(0, b, 20), 0);
    assert_int_equal(b[8], 64);

    memset(b, 0xaa, sizeof(b));
    assert_int_equal(packet_put_ip(b, &a6, &b6, PROTO_TCP, 20, 0), 40);
    assert_int_equal(parse(&p, b, 60), 0);
    assert_true(addr_eq(&p.src, &a6) && addr_eq(&p.dst, &b6));
    assert_true(p.proto == PROTO_TCP && p.l4_len == 20 && p.len == 60);
    assert_int_equal(get32(b), 0x60000000);
    assert_int_equal(b[7], 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lies_of_ipv4_headers),
        cmocka_unit_test(facts_of_an_ipv4_packet),
        cmocka_unit_test(fragments_of_ipv4),
        cmocka_unit_test(extension_headers_are_walked),
        cmocka_unit_test(facts_of_an_ipv6_packet),
        cmocka_unit_test(lies_of_ipv6_headers),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(random_bytes_stay_inside),
        cmocka_unit_test(tcp_options),
        cmocka_unit_test(checksums_like_the_words_of_the_rfc),
        cmocka_unit_test(headers_are_built_as_they_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
