/*
 * dns_fakeip.c - the pool of fake addresses: ranges and their edges, what is recycled and what never is, and a naive twin
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dns/fakeip.h"

static struct fakeip *pool(const char *range4, const char *range6, uint64_t ttl_ms)
{
    struct cidr r4, r6 = { 0 };
    struct fakeip *f = NULL;

    assert_int_equal(cidr_parse(range4, &r4), 0);
    if (range6)
        assert_int_equal(cidr_parse(range6, &r6), 0);
    assert_int_equal(fakeip_new(&r4, &r6, ttl_ms, &f), 0);
    return f;
}

static enum fake_how get(struct fakeip *f, const char *name, uint64_t now, uint32_t *slot)
{
    return fakeip_get(f, name, strlen(name), now, slot);
}

static const char *text(const struct fakeip *f, uint32_t slot, int ver)
{
    static char buf[ADDR_STRLEN];
    struct addr a;

    return fakeip_addr(f, slot, ver, &a) ? addr_str(&a, buf) : "none";
}

static struct addr parse(const char *s)
{
    struct addr a;

    assert_int_equal(addr_parse(s, &a), 0);
    return a;
}

/* ---- ranges ---- */

static void every_address_of_a_range_but_its_edges(void **state)
{
    static const struct {
        const char *range4, *range6;
        uint32_t names;
        const char *first4, *last4, *first6, *last6;
    } all[] = {
        { "198.18.0.0/16", "fdfe:dcba:9876::/64", 65531, "198.18.0.4", "198.18.255.254", "fdfe:dcba:9876::4", "fdfe:dcba:9876::fffe" },
        { "198.18.0.0/28", "fdfe::/112", 11, "198.18.0.4", "198.18.0.14", "fdfe::4", "fdfe::e" },
        { "10.9.8.0/24", NULL, 251, "10.9.8.4", "10.9.8.254", "none", "none" },
        { "10.0.0.0/20", "fd00::f000/120", 4091, "10.0.0.4", "10.0.15.254", "fd00::f004", "none" }, /* the IPv6 range ends earlier */
        { "10.0.0.0/8", "fd00::/8", FAKE_SLOTS_MAX, "10.0.0.4", "10.16.0.3", "fd00::4", "fd00::10:3" },
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct fakeip *f = pool(all[i].range4, all[i].range6, 1000);
        uint32_t used, size, slot, first = FAKE_NONE, last = FAKE_NONE;
        char name[32];

        fakeip_usage(f, &used, &size);
        assert_int_equal(size, all[i].names);
        for (uint32_t n = 0; n < size; n++) {
            snprintf(name, sizeof(name), "n%u.test", n);
            assert_int_equal(get(f, name, 5000, &slot), FAKE_FRESH);
            assert_int_equal(slot, n);
            first = n ? first : slot;
            last = slot;
        }
        assert_string_equal(text(f, first, 4), all[i].first4);
        assert_string_equal(text(f, last, 4), all[i].last4);
        assert_string_equal(text(f, first, 6), all[i].first6);
        assert_string_equal(text(f, last, 6), all[i].last6);
        assert_int_equal(get(f, "one-more.test", 5000, &slot), FAKE_FULL);
        fakeip_usage(f, &used, &size);
        assert_int_equal(used, size);
        fakeip_free(f);
    }
}

static void ranges_that_are_refused(void **state)
{
    static const char *const bad[] = { "198.18.0.0/29", "198.18.0.0/30", "198.18.0.0/32", "fd00::/64" };
    struct fakeip *f = NULL;
    struct cidr r;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cidr_parse(bad[i], &r);
        assert_true(fakeip_new(&r, NULL, 1000, &f) < 0);
    }
}

static void which_addresses_are_ours(void **state)
{
    static const struct {
        const char *addr;
        bool contained;
        uint32_t slot;
    } all[] = {
        { "198.18.0.0", true, FAKE_NONE },
        { "198.18.0.1", false, FAKE_NONE },
        { "198.18.0.2", false, FAKE_NONE },
        { "198.18.0.3", true, FAKE_NONE },
        { "198.18.0.4", true, 0 },
        { "198.18.0.5", true, FAKE_NONE },
        { "198.18.255.255", true, FAKE_NONE },
        { "198.17.255.255", false, FAKE_NONE },
        { "198.19.0.4", false, FAKE_NONE },
        { "fdfe::", true, FAKE_NONE },
        { "fdfe::1", false, FAKE_NONE },
        { "fdfe::4", true, 0 },
        { "fdfe::f:0:0:4", true, FAKE_NONE },
        { "fdfe:0:0:f::4", true, FAKE_NONE },
        { "fdfe:0:0:10::4", false, FAKE_NONE },
        { "fdfe::1:0:0:1", true, FAKE_NONE },
        { "8.8.8.8", false, FAKE_NONE },
        { "::1", false, FAKE_NONE },
    };
    struct fakeip *f = pool("198.18.0.0/16", "fdfe::/60", 1000);
    uint32_t slot;

    get(f, "a.test", 1, &slot);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct addr a = parse(all[i].addr);

        if (fakeip_contains(f, &a) != all[i].contained || fakeip_slot(f, &a) != all[i].slot)
            fail_msg("%s: contained %d, slot %u", all[i].addr, fakeip_contains(f, &a), fakeip_slot(f, &a));
    }
    fakeip_free(f);
}

/* ---- who is recycled ---- */

static void a_name_keeps_its_address_and_the_least_used_gives_way(void **state)
{
    struct fakeip *f = pool("198.18.0.0/28", NULL, 1000);
    uint32_t slot, again;
    char name[16];

    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(get(f, name, 1000, &slot), FAKE_FRESH);
    }
    assert_int_equal(get(f, "n0", 5000, &slot), FAKE_KNOWN); /* n0 was used again: n1 is the oldest now */
    assert_int_equal(slot, 0);
    assert_int_equal(get(f, "new", 5000, &slot), FAKE_RECYCLED);
    assert_int_equal(slot, 1);
    assert_true(fakeip_too_small(f));
    assert_int_equal(fakeip_find(f, "n1", 2), FAKE_NONE);
    fakeip_use(f, 2, 5000); /* dialled */
    assert_int_equal(get(f, "newer", 700000, &again), FAKE_RECYCLED);
    assert_int_equal(again, 3);
    assert_false(fakeip_too_small(f)); /* nobody had used it for ten minutes */
    assert_string_equal(fakeip_name(f, again, NULL), "newer");
    fakeip_free(f);
}

static void an_answer_inside_its_lifetime_is_not_given_away(void **state)
{
    static const uint64_t ttls[] = { 0, 1000, 1024, 7000, 60000 };

    for (size_t i = 0; i < sizeof(ttls) / sizeof(ttls[0]); i++) {
        struct fakeip *f = pool("198.18.0.0/28", NULL, ttls[i]);
        uint64_t ttl = ttls[i] < 1000 ? 1000 : ttls[i], last_full = 0;
        uint32_t slot;
        char name[16];

        for (int n = 0; n < 11; n++) {
            snprintf(name, sizeof(name), "n%d", n);
            get(f, name, 100127, &slot); /* the very end of a tick */
        }
        for (uint64_t now = 100127; get(f, "new", now, &slot) == FAKE_FULL; now++)
            last_full = now;
        assert_true(last_full >= 100127 + ttl);
        assert_true(last_full <= 100127 + ttl + 300);
        fakeip_free(f);
    }
}

static void a_pinned_slot_is_never_given_away(void **state)
{
    struct fakeip *f = pool("198.18.0.0/28", NULL, 1000);
    uint32_t slot;
    char name[16];

    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        get(f, name, 0, &slot);
        fakeip_pin(f, slot);
    }
    fakeip_pin(f, 5); /* twice */
    assert_int_equal(get(f, "new", 1000000, &slot), FAKE_FULL);
    fakeip_unpin(f, 5, 1000000);
    assert_int_equal(get(f, "new", 2000000, &slot), FAKE_FULL);
    fakeip_unpin(f, 5, 2000000);
    assert_int_equal(get(f, "new", 2000500, &slot), FAKE_FULL); /* its end was a use */
    assert_int_equal(get(f, "new", 2002000, &slot), FAKE_RECYCLED);
    assert_int_equal(slot, 5);
    fakeip_unpin(f, 5, 2002000); /* once too often does no harm */
    fakeip_pin(f, 5);
    assert_int_equal(get(f, "newer", 9000000, &slot), FAKE_FULL);
    fakeip_free(f);
}

static void forgetting_spares_pins_and_lifetimes(void **state)
{
    struct fakeip *f = pool("198.18.0.0/28", NULL, 1000);
    uint32_t slot, used, size;
    char name[16];

    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        get(f, name, 10000, &slot);
    }
    fakeip_pin(f, 7);
    fakeip_forget(f);
    fakeip_usage(f, &used, &size);
    assert_int_equal(used, 1);
    assert_string_equal(fakeip_name(f, 7, NULL), "n7");
    assert_int_equal(fakeip_next(f, FAKE_NONE), 7);
    assert_int_equal(fakeip_next(f, 7), FAKE_NONE);
    assert_int_equal(get(f, "n0", 10500, &slot), FAKE_FULL); /* programs may still hold the addresses */
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "m%d", i);
        assert_int_equal(get(f, name, 20000, &slot), FAKE_RECYCLED);
        assert_int_equal(slot, i < 7 ? i : i + 1);
        assert_false(fakeip_too_small(f)); /* nobody lost anything */
    }
    fakeip_free(f);
}

static void marks_go_with_the_name(void **state)
{
    struct fakeip *f = pool("198.18.0.0/28", NULL, 1000);
    uint32_t slot;
    char name[16];

    for (int i = 0; i < 11; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        get(f, name, 0, &slot);
        fakeip_mark(f, slot);
    }
    get(f, "new", 100000, &slot);
    assert_false(fakeip_marked(f, slot));
    assert_true(fakeip_marked(f, 1));
    fakeip_unmark(f);
    assert_false(fakeip_marked(f, 1));
    fakeip_free(f);
}

static void names_that_come_back_take_their_slots(void **state)
{
    struct fakeip *f = pool("198.18.0.0/28", NULL, 1000);
    uint32_t slot, used, size;
    char name[16];

    assert_true(fakeip_restore(f, 3, "c", 1, 0));
    assert_true(fakeip_restore(f, 1, "a", 1, 0));
    assert_true(fakeip_restore(f, 3, "d", 1, 0)); /* c lost its slot ... */
    assert_true(fakeip_restore(f, 5, "c", 1, 0)); /* ... and got another */
    assert_false(fakeip_restore(f, 11, "x", 1, 0));
    assert_false(fakeip_restore(f, 2, "", 0, 0));
    assert_false(fakeip_restore(f, 2, "a\0b", 3, 0));
    fakeip_usage(f, &used, &size);
    assert_int_equal(used, 3);
    assert_int_equal(get(f, "c", 0, &slot), FAKE_KNOWN);
    assert_int_equal(slot, 5);
    for (int i = 0; i < 8; i++) { /* first the fresh ones, then the holes: no slot is lost */
        static const uint32_t want[] = { 6, 7, 8, 9, 10, 4, 2, 0 };

        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(get(f, name, 10000, &slot), i < 5 ? FAKE_FRESH : FAKE_RECYCLED);
        assert_int_equal(slot, want[i]);
    }
    fakeip_free(f);
}

/* ---- the twin ---- */

#define TWIN_MAX 4096
#define TICK     128

static struct twin {
    uint32_t n, size, seq, ttl_ticks;
    struct twin_slot {
        int name; /* -1 = none */
        uint32_t seq, tick, pins;
    } s[TWIN_MAX];
} twin;

static int twin_find(int name)
{
    for (uint32_t i = 0; i < twin.n; i++)
        if (twin.s[i].name == name)
            return (int)i;
    return -1;
}

static void twin_use(uint32_t i, uint32_t tick)
{
    twin.s[i].seq = ++twin.seq;
    twin.s[i].tick = tick;
}

static enum fake_how twin_get(int name, uint32_t tick, uint32_t *slot)
{
    int i = twin_find(name);
    enum fake_how how = FAKE_KNOWN;

    if (i < 0 && twin.n < twin.size) {
        i = (int)twin.n++;
        how = FAKE_FRESH;
    } else if (i < 0) {
        for (uint32_t k = 0; k < twin.n; k++)
            if (!twin.s[k].pins && (i < 0 || twin.s[k].seq < twin.s[i].seq))
                i = (int)k;
        if (i < 0 || tick - twin.s[i].tick <= twin.ttl_ticks)
            return FAKE_FULL;
        how = FAKE_RECYCLED;
    }
    twin.s[i].name = name;
    twin_use((uint32_t)i, tick);
    *slot = (uint32_t)i;
    return how;
}

static uint32_t rnd;

static uint32_t dice(uint32_t below)
{
    rnd ^= rnd << 13;
    rnd ^= rnd >> 17;
    rnd ^= rnd << 5;
    return rnd % below;
}

static void name_text(int n, char out[64])
{
    static const char pad[] = "a-label-of-some-length.and-another";

    snprintf(out, 64, "%.*s%x.test", n % 30, pad, n);
}

static void compare(struct fakeip *f)
{
    uint32_t named = 0, used, size, last = 0;

    for (uint32_t i = 0; i < twin.n; i++) {
        char want[64];
        struct addr a4, a6;

        assert_true(fakeip_addr(f, i, 4, &a4) && fakeip_addr(f, i, 6, &a6));
        if (twin.s[i].name < 0) {
            assert_int_equal(fakeip_slot(f, &a4), FAKE_NONE);
            continue;
        }
        named++;
        name_text(twin.s[i].name, want);
        assert_int_equal(fakeip_slot(f, &a4), i);
        assert_int_equal(fakeip_slot(f, &a6), i);
        assert_string_equal(fakeip_name(f, i, NULL), want);
        assert_int_equal(fakeip_find(f, want, strlen(want)), i);
    }
    fakeip_usage(f, &used, &size);
    assert_int_equal(used, named);
    for (uint32_t i = fakeip_next(f, FAKE_NONE); i != FAKE_NONE; i = fakeip_next(f, i), named--) {
        assert_true(twin.s[i].name >= 0);
        assert_true(twin.s[i].pins || twin.s[i].seq > last); /* the idle ones by use */
        last = twin.s[i].pins ? last : twin.s[i].seq;
    }
    assert_int_equal(named, 0);
}

static void step(struct fakeip *f, uint64_t now, int n_names)
{
    uint32_t a = FAKE_NONE, b = FAKE_NONE, i = twin.n ? dice(twin.n) : 0;
    uint32_t tick = (uint32_t)(now / TICK);
    char text_[64];
    int name = (int)dice((uint32_t)n_names);

    switch (dice(10)) {
    case 0:
        if (!twin.n || twin.s[i].name < 0)
            break;
        fakeip_use(f, i, now);
        twin_use(i, tick);
        break;
    case 1:
        if (!twin.n || twin.s[i].name < 0 || twin.s[i].pins > 3)
            break;
        fakeip_pin(f, i);
        twin.s[i].pins++;
        break;
    case 2:
        if (!twin.n || !twin.s[i].pins)
            break;
        fakeip_unpin(f, i, now);
        if (!--twin.s[i].pins)
            twin_use(i, tick);
        break;
    default:
        name_text(name, text_);
        assert_int_equal(fakeip_get(f, text_, strlen(text_), now, &a), twin_get(name, tick, &b));
        assert_int_equal(a, b);
    }
}

static void like_a_naive_pool(void **state)
{
    static const struct {
        const char *range;
        int names, steps;
    } all[] = {
        { "198.18.0.0/28", 40, 60000 }, { "198.18.0.0/26", 100, 60000 }, { "198.18.0.0/24", 2000, 60000 }, { "198.18.0.0/22", 3000, 30000 }
    };

    rnd = 1;
    for (size_t r = 0; r < sizeof(all) / sizeof(all[0]); r++) {
        struct fakeip *f = pool(all[r].range, "fd00::/64", 1000);
        uint64_t now = 1000;
        uint32_t used;

        memset(&twin, 0, sizeof(twin));
        fakeip_usage(f, &used, &twin.size);
        assert_true(twin.size <= TWIN_MAX);
        twin.ttl_ticks = 1000 / TICK + 1;
        for (int i = 0; i < all[r].steps; i++) {
            now += dice(60);
            step(f, now, all[r].names);
            if (i % 997 == 0)
                compare(f);
            if (i % 20011 == 20010) {
                fakeip_forget(f);
                for (uint32_t k = 0; k < twin.n; k++)
                    if (!twin.s[k].pins)
                        twin.s[k].name = -1;
                compare(f);
            }
        }
        compare(f);
        fakeip_free(f);
    }
}

/* 200,000 names, twenty a millisecond, with 100 of the first pinned: the pinned ones still map, and no address ever has two names. */
static void many_names_through_a_range(void **state)
{
    static const char *const ranges[] = { "198.18.0.0/16", "198.18.0.0/18" };
    enum { NAMES = 200000, PINNED = 100 };

    for (size_t r = 0; r < 2; r++) {
        struct fakeip *f = pool(ranges[r], "fd00::/96", 1000);
        uint32_t used, size, slot, *owner;
        char name[32];

        fakeip_usage(f, &used, &size);
        owner = calloc(size, sizeof(*owner));
        for (uint32_t n = 1; n <= NAMES; n++) {
            uint32_t len = (uint32_t)snprintf(name, sizeof(name), "host-%u.example", n);
            enum fake_how how = fakeip_get(f, name, len, 1000000 + n / 2, &slot);

            assert_int_equal(how, n <= size ? FAKE_FRESH : FAKE_RECYCLED);
            assert_true(!owner[slot] || owner[slot] > PINNED);
            if (owner[slot]) { /* its old name is gone */
                char old[32];

                snprintf(old, sizeof(old), "host-%u.example", owner[slot]);
                assert_int_equal(fakeip_find(f, old, strlen(old)), FAKE_NONE);
            }
            owner[slot] = n;
            if (n <= PINNED)
                fakeip_pin(f, slot);
        }
        for (uint32_t i = 0; i < size; i++) {
            snprintf(name, sizeof(name), "host-%u.example", owner[i]);
            assert_string_equal(fakeip_name(f, i, NULL), name);
            assert_int_equal(fakeip_find(f, name, strlen(name)), i);
        }
        for (uint32_t n = 1; n <= PINNED; n++) {
            snprintf(name, sizeof(name), "host-%u.example", n);
            assert_int_equal(fakeip_find(f, name, strlen(name)), n - 1);
        }
        free(owner);
        fakeip_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_address_of_a_range_but_its_edges),
        cmocka_unit_test(ranges_that_are_refused),
        cmocka_unit_test(which_addresses_are_ours),
        cmocka_unit_test(a_name_keeps_its_address_and_the_least_used_gives_way),
        cmocka_unit_test(an_answer_inside_its_lifetime_is_not_given_away),
        cmocka_unit_test(a_pinned_slot_is_never_given_away),
        cmocka_unit_test(forgetting_spares_pins_and_lifetimes),
        cmocka_unit_test(marks_go_with_the_name),
        cmocka_unit_test(names_that_come_back_take_their_slots),
        cmocka_unit_test(like_a_naive_pool),
        cmocka_unit_test(many_names_through_a_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
