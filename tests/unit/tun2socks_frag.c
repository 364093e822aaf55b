/*
 * tun2socks_frag.c - fragments put together: any order, no overlap, within bounds; compared with an array of bytes per datagram
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tun2socks/frag.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LARGEST  (65535 - IP4_HEADER)

static uint8_t out[65600];

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static struct packet fragment(int ver, uint32_t id, uint32_t off, const uint8_t *b, uint32_t len, bool more)
{
    return (struct packet){ .src = { (uint8_t)ver, { 10, 0, 0, 1 } },
                            .dst = { (uint8_t)ver, { 192, 0, 2, 1 } },
                            .proto = PROTO_UDP,
                            .l4 = (uint8_t *)b,
                            .l4_len = len,
                            .is_fragment = true,
                            .more = more,
                            .frag_off = (uint16_t)off,
                            .frag_id = id };
}

/* ---- what honest senders do ---- */

struct cut {
    uint32_t off, len;
};

static uint32_t cut_up(uint32_t total, uint32_t room, struct cut *c)
{
    uint32_t n = 0;

    for (uint32_t at = 0; at < total; at += room)
        c[n++] = (struct cut){ at, total - at < room ? total - at : room };
    return n;
}

static void shuffle(struct cut *c, uint32_t n, uint32_t *rnd)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t k = dice(rnd) % i;
        struct cut t = c[i - 1];

        c[i - 1] = c[k];
        c[k] = t;
    }
}

static void whole_again(int ver, const uint8_t *data, uint32_t total, size_t n)
{
    struct packet p;

    assert_int_equal(n, total + ip_header_len(ver));
    assert_int_equal(packet_parse(&p, out, n), 0);
    assert_true(!p.is_fragment && p.proto == PROTO_UDP && p.l4_len == total);
    assert_true(p.src.ver == ver && p.src.b[0] == 10 && p.dst.b[0] == 192);
    assert_memory_equal(p.l4, data, total);
}

static void put_together_in_any_order(void **state)
{
    static const uint32_t totals[] = { 9, 16, 1481, 2960, 9000, 32768, 65507, LARGEST }, rooms[] = { 8, 24, 1480, 8184 };
    static uint8_t data[LARGEST];
    static struct cut c[LARGEST / 8 + 1];
    uint32_t rnd = 3;
    struct frags f;

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(dice(&rnd) >> 8);
    frag_init(&f);
    for (size_t t = 0; t < COUNT(totals); t++)
        for (size_t r = 0; r < COUNT(rooms); r++)
            for (int order = 0; order < 4; order++) {
                uint32_t n = cut_up(totals[t], rooms[r], c);
                int ver = order % 2 ? 6 : 4;

                if (n < 2 || n > 3000)
                    continue;
                shuffle(c, order ? n : 0, &rnd);
                for (uint32_t i = 0; i < n; i++) {
                    struct packet p = fragment(ver, 7, c[i].off, data + c[i].off, c[i].len, c[i].off + c[i].len < totals[t]);
                    size_t len = frag_add(&f, &p, 0, out);

                    if (i + 1 < n)
                        assert_int_equal(len, 0);
                    else
                        whole_again(ver, data, totals[t], len);
                }
                assert_true(!f.n && !f.bytes);
            }
    frag_fini(&f);
}

/* Same identifier, but another source, destination, protocol or family: another datagram. */
static void what_belongs_together(void **state)
{
    static const uint8_t data[16] = "abcdefghijklmno";
    struct packet other[5];
    struct frags f;

    frag_init(&f);
    for (size_t i = 0; i < COUNT(other); i++) {
        struct packet first = fragment(4, 1, 0, data, 8, true);

        other[i] = fragment(4, 1, 8, data + 8, 8, false);
        if (i == 0)
            other[i].src.b[3]++;
        else if (i == 1)
            other[i].dst.b[3]++;
        else if (i == 2)
            other[i].proto = PROTO_TCP;
        else if (i == 3)
            other[i].src.ver = other[i].dst.ver = 6;
        else
            other[i].frag_id = 0x10001;
        if (!i)
            assert_int_equal(frag_add(&f, &first, 0, out), 0);
        assert_int_equal(frag_add(&f, &other[i], 0, out), 0);
    }
    assert_int_equal(f.n, 6);
    other[0] = fragment(4, 1, 8, data + 8, 8, false);
    whole_again(4, data, 16, frag_add(&f, &other[0], 0, out));
    assert_int_equal(f.n, 5);
    frag_fini(&f);
}

/* ---- what others do ---- */

static const struct bad {
    const char *what;
    struct {
        uint32_t off, len;
        bool more;
    } part[4]; /* the last one spoils it */
} bad[] = {
    { "the same again", { { 0, 8, true }, { 0, 8, true } } },
    { "the same last piece again", { { 8, 8, false }, { 8, 8, false } } },
    { "overlap from below", { { 8, 16, true }, { 0, 16, true } } },
    { "overlap from above", { { 0, 16, true }, { 8, 16, true } } },
    { "inside another", { { 0, 24, true }, { 8, 8, true } } },
    { "around another", { { 8, 8, true }, { 0, 24, true } } },
    { "over two others", { { 0, 8, true }, { 16, 8, true }, { 0, 24, true } } },
    { "behind the end", { { 8, 8, false }, { 16, 8, true } } },
    { "over the end", { { 8, 8, false }, { 8, 16, true } } },
    { "an end before what is there", { { 16, 8, true }, { 8, 8, false } } },
    { "another end", { { 16, 8, false }, { 8, 8, false } } },
    { "a later end", { { 8, 8, false }, { 16, 8, false } } },
    { "not a multiple of eight", { { 0, 8, true }, { 8, 12, true } } },
    { "nothing in it", { { 0, 8, true }, { 8, 0, true } } },
    { "nothing at the end", { { 0, 8, true }, { 8, 0, false } } },
    { "larger than a packet can be", { { 0, 8, true }, { 65528, 8, false } } },
    { "one byte larger than a packet can be", { { 0, 8, true }, { 65512, 4, false } } },
};

static void spoiled_datagrams_stay_spoiled(void **state)
{
    static const uint8_t data[64];

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct frags f;
        struct packet p;
        size_t n = 0;

        frag_init(&f);
        for (; n < COUNT(bad[i].part) && (bad[i].part[n].off || bad[i].part[n].len); n++) {
            p = fragment(4, 1, bad[i].part[n].off, data, bad[i].part[n].len, bad[i].part[n].more);
            if (frag_add(&f, &p, 0, out))
                fail_msg("%s: put together", bad[i].what);
        }
        if (f.bytes || f.n != 1)
            fail_msg("%s: %zu bytes of %u datagrams are kept", bad[i].what, f.bytes, f.n);
        p = fragment(4, 1, 0, data, 8, true); /* the rest of it must not start anew */
        assert_int_equal(frag_add(&f, &p, FRAG_MS - 1, out), 0);
        p = fragment(4, 1, 8, data, 8, false);
        if (frag_add(&f, &p, FRAG_MS - 1, out))
            fail_msg("%s: its rest was put together", bad[i].what);
        p = fragment(4, 1, 0, data, 8, true); /* the identifier may be used again later */
        assert_int_equal(frag_add(&f, &p, FRAG_MS, out), 0);
        p = fragment(4, 1, 8, data, 8, false);
        assert_int_equal(frag_add(&f, &p, FRAG_MS, out), 28 + 8);
        frag_fini(&f);
    }
}

/* ---- the twin ---- */

#define SPACE 96 /* bytes a datagram of the twin may have */
#define IDS   70 /* more than may wait */

struct twin {
    bool used, spoiled, ended, have[SPACE];
    uint8_t data[SPACE];
    uint32_t total;
    uint64_t born, seq;
};

static bool fits(const struct twin *t, const struct packet *p)
{
    uint32_t end = p->frag_off + p->l4_len;

    if (!p->l4_len || (p->more && p->l4_len % 8) || (t->ended && (end > t->total || !p->more)))
        return false;
    for (uint32_t i = p->frag_off; i < (p->more ? end : SPACE); i++)
        if (t->have[i])
            return false;
    return true;
}

/* As frag_add, with the payload in t->data when it is whole. */
static uint32_t twin_add(struct twin all[IDS], const struct packet *p, uint64_t now, uint64_t seq)
{
    struct twin *t = &all[p->frag_id], *oldest = NULL;
    uint32_t n = 0, have = 0;

    for (int i = 0; i < IDS; i++) {
        if (all[i].used && now - all[i].born >= FRAG_MS)
            all[i].used = false;
        n += all[i].used;
        if (all[i].used && (!oldest || all[i].seq < oldest->seq))
            oldest = &all[i];
    }
    if (!t->used) {
        if (n >= FRAG_DATAGRAMS)
            oldest->used = false;
        *t = (struct twin){ .used = true, .born = now, .seq = seq };
    }
    if (t->spoiled || !fits(t, p)) {
        t->spoiled = true;
        return 0;
    }
    for (uint32_t i = 0; i < p->l4_len; i++) {
        t->have[p->frag_off + i] = true;
        t->data[p->frag_off + i] = p->l4[i];
    }
    if (!p->more) {
        t->ended = true;
        t->total = p->frag_off + p->l4_len;
    }
    for (int i = 0; i < SPACE; i++)
        have += t->have[i];
    if (!t->ended || have < t->total)
        return 0;
    t->used = false;
    return t->total;
}

static void random_fragments_like_an_array_of_bytes(void **state)
{
    static struct twin twins[IDS];
    uint32_t rnd = 11;
    unsigned whole = 0;
    uint64_t now = 0;
    struct frags f;

    frag_init(&f);
    for (uint64_t i = 0; i < 400000; i++) {
        uint8_t b[SPACE];
        uint32_t off = dice(&rnd) % 4 * 8, len = 8 * (1 + dice(&rnd) % 3), total;
        bool more = dice(&rnd) % 3 != 0;
        struct packet p;

        if (dice(&rnd) % 64 == 0)
            len = dice(&rnd) % 32;
        else if (!more)
            len -= dice(&rnd) % 8;
        for (uint32_t k = 0; k < len; k++)
            b[k] = (uint8_t)(dice(&rnd) >> 8);
        /* at times a few datagrams are busy, at times all; at times it is quiet */
        p = fragment(4, dice(&rnd) % (i / 1000 % 2 ? IDS : 8), off, b, len, more);
        now += dice(&rnd) % (i / 5000 % 3 ? 200 : 2000);
        total = twin_add(twins, &p, now, i);
        whole += total != 0;
        if (frag_add(&f, &p, now, out) != (total ? total + IP4_HEADER : 0))
            fail_msg("step %llu: %u bytes by the twin", (unsigned long long)i, total);
        if (total)
            assert_memory_equal(out + IP4_HEADER, twins[p.frag_id].data, total);
        assert_true(f.n <= FRAG_DATAGRAMS);
    }
    assert_true(whole > 10000);
    frag_fini(&f);
}

/* ---- bounds ---- */

static void sixty_four_wait_and_the_oldest_goes(void **state)
{
    static const uint8_t data[8];
    struct packet p;
    struct frags f;

    frag_init(&f);
    for (uint32_t id = 0; id < FRAG_DATAGRAMS + 1; id++) {
        p = fragment(4, id, 0, data, 8, true);
        assert_int_equal(frag_add(&f, &p, id, out), 0);
    }
    assert_int_equal(f.n, FRAG_DATAGRAMS);
    p = fragment(4, 1, 8, data, 8, false); /* the second oldest is there */
    assert_int_equal(frag_add(&f, &p, 100, out), 36);
    p = fragment(4, 0, 8, data, 8, false); /* the oldest is not */
    assert_int_equal(frag_add(&f, &p, 100, out), 0);
    frag_fini(&f);
}

static void a_mebibyte_waits_and_the_oldest_goes(void **state)
{
    static const uint8_t data[60000];
    struct packet p;
    struct frags f;

    frag_init(&f);
    for (uint32_t id = 0; id < 40; id++) {
        p = fragment(6, id, 0, data, 60000, true);
        assert_int_equal(frag_add(&f, &p, id, out), 0);
        assert_true(f.bytes <= FRAG_BYTES);
    }
    assert_int_equal(f.n, FRAG_BYTES / 60000);
    p = fragment(6, 39, 60000, data, 8, false);
    assert_int_equal(frag_add(&f, &p, 50, out), 40 + 60008);

    for (uint32_t i = 0; i < 8000; i++) { /* many small pieces: what keeps them counts, too */
        p = fragment(4, 100 + i / 1000, i % 1000 * 16, data, 8, true);
        frag_add(&f, &p, 60, out);
        assert_true(f.bytes <= FRAG_BYTES);
    }
    frag_fini(&f);
    assert_int_equal(f.bytes, 0);
}

static void fifteen_seconds(void **state)
{
    static const uint8_t data[8];
    struct packet first, last = fragment(4, 1, 8, data, 8, false);
    struct frags f;

    frag_init(&f);
    first = fragment(4, 1, 0, data, 8, true);
    assert_int_equal(frag_add(&f, &first, 1000, out), 0);
    frag_expire(&f, 1000 + FRAG_MS - 1);
    assert_int_equal(f.n, 1);
    frag_expire(&f, 1000 + FRAG_MS);
    assert_int_equal(f.n, 0);
    assert_int_equal(frag_add(&f, &first, 20000, out), 0);
    assert_int_equal(frag_add(&f, &last, 20000 + FRAG_MS, out), 0); /* too late: it starts anew */
    assert_int_equal(f.n, 1);
    frag_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_together_in_any_order),
        cmocka_unit_test(what_belongs_together),
        cmocka_unit_test(spoiled_datagrams_stay_spoiled),
        cmocka_unit_test(random_fragments_like_an_array_of_bytes),
        cmocka_unit_test(sixty_four_wait_and_the_oldest_goes),
        cmocka_unit_test(a_mebibyte_waits_and_the_oldest_goes),
        cmocka_unit_test(fifteen_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
