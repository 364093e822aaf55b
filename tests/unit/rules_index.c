/*
 * rules_index.c - the indexes by themselves: names, stretches of addresses, texts, regular expressions, lists
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/private.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t seed = 88172645463325252;

static uint32_t pick(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

/* ---- lists ---- */

static void equal_lists_are_one(void **state)
{
    struct lists l;
    uint32_t a, b, c;

    assert_int_equal(lists_init(&l), 0);
    a = lists_add(&l, lists_add(&l, lists_add(&l, 0, item_of(1, 7)), item_of(5, 7)), item_of(9, 7));
    b = lists_add(&l, lists_add(&l, lists_add(&l, 0, item_of(9, 7)), item_of(1, 7)), item_of(5, 7));
    c = lists_add(&l, a, item_of(9, 7)); /* the same once more */
    assert_int_equal(a, c);
    assert_int_not_equal(a, b);
    assert_int_equal(lists_close(&l, a), lists_close(&l, b));
    assert_int_equal(lists_close(&l, 0), 0);
    assert_int_not_equal(lists_close(&l, a), 0);
    c = lists_close(&l, lists_add(&l, lists_add(&l, 0, item_of(4, NAME_ONE)), item_of(4, NAME_SELF)));
    assert_int_equal(l.pool[c], item_of(4, NAME_ONE | NAME_SELF) | ITEM_LAST); /* masks of an atom are joined */
    lists_fini(&l);
}

static void many_lists_stay_apart(void **state)
{
    static uint32_t numbers[5000];
    struct lists l;

    assert_int_equal(lists_init(&l), 0);
    for (uint32_t i = 0; i < N(numbers); i++)
        numbers[i] = lists_close(&l, lists_add(&l, lists_add(&l, 0, item_of(i, 7)), item_of(i * 3 + 1, 7)));
    for (uint32_t i = 0; i < N(numbers); i++) {
        assert_int_equal(item_atom(l.pool[numbers[i]]), i);
        assert_int_equal(lists_close(&l, lists_add(&l, lists_add(&l, 0, item_of(i * 3 + 1, 7)), item_of(i, 7))), numbers[i]);
    }
    lists_fini(&l);
}

/* ---- names ---- */

static bool collect(void *arg, uint32_t list, uint32_t bit)
{
    struct {
        struct lists *l;
        uint64_t atoms;
    } *got = arg;

    for (const uint32_t *item = &got->l->pool[list];; item++) {
        if (*item & bit)
            got->atoms |= 1ull << item_atom(*item);
        if (*item & ITEM_LAST)
            return true;
    }
}

static uint64_t true_of(struct domains *x, struct lists *l, const char *host)
{
    struct {
        struct lists *l;
        uint64_t atoms;
    } got = { l, 0 };

    domain_walk(x, host, strlen(host), collect, &got);
    return got.atoms;
}

static const char *long_name(size_t label, size_t labels)
{
    static char text[600];
    size_t n = 0;

    for (size_t i = 0; i < labels; i++) {
        memset(text + n, 'a' + (int)(i % 26), label);
        n += label;
        text[n++] = '.';
    }
    text[n - 1] = 0;
    return text;
}

static void patterns_of_the_profile_format(void **state)
{
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {
        { "www.example.com", "www.example.com", "example.com" },
        { "www.example.com", "www.example.com", "a.www.example.com" },
        { "*.example.com", "a.example.com", "example.com" },
        { "*.example.com", "xab.example.com", "a.b.example.com" },
        { "a.*.example.com", "a.b.example.com", "a.example.com" },
        { "a.*.example.com", "a.x.example.com", "a.b.c.example.com" },
        { "*.a.*.com", "x.a.y.com", "a.y.com" },
        { "*", "localhost", "a.b" },
        { ".example.com", "a.b.example.com", "example.com" },
        { "+.example.com", "example.com", "badexample.com" },
        { "+.example.com", "x.y.z.example.com", "example.com.cn" },
        { "+.*", "localhost", "" },
        { "+.*", "a.b.c", "" },
        { "+", "anything.at.all", "" },
        { "+.stun.*.*", "stun.l.google", "stun.l" },
        { "+.stun.*.*", "x.stun.l.google", "stun.l.google.com" },
        { "com", "com", "a.com" },
        { "a_b.c", "a_b.c", "a-b.c" },
        { "xn--p1ai.x", "xn--p1ai.x", "p1ai.x" },
        { "\xe4\xbe\x8b.cn", "\xe4\xbe\x8b.cn", "\xe4\xbe\x8c.cn" },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct domains x;
        struct lists l;

        assert_int_equal(lists_init(&l), 0);
        assert_int_equal(domain_init(&x), 0);
        assert_int_equal(domain_add(&x, &l, cases[i].pattern, strlen(cases[i].pattern), 3), 0);
        assert_int_equal(domain_finish(&x, &l), 0);
        if (true_of(&x, &l, cases[i].yes) != 8 || (*cases[i].no && true_of(&x, &l, cases[i].no)))
            fail_msg("%s: %s and not %s", cases[i].pattern, cases[i].yes, cases[i].no);
        domain_fini(&x);
        lists_fini(&l);
    }
}

static void what_is_no_pattern(void **state)
{
    static const char *const bad[] = { "", ".", "a.", "a..b", "..a", "+.", "*.", " a", "a ", "a/b", "+..a", "a.b." };
    static const char *const globs[] = { "a*.b", "127-*-*-*", "*b.c", "+.x*.y", ".a*b" };
    static const char *const good[] = { "a", "*", "+", "+.a", ".a", "*.*", "a.*.b", "_x.y", "a+b.c", "+a.b" };

    for (size_t i = 0; i < N(bad); i++)
        if (domain_check(bad[i], strlen(bad[i])) >= 0)
            fail_msg("\"%s\" was taken", bad[i]);
    for (size_t i = 0; i < N(globs); i++)
        assert_int_equal(domain_check(globs[i], strlen(globs[i])), 1);
    for (size_t i = 0; i < N(good); i++)
        assert_int_equal(domain_check(good[i], strlen(good[i])), 0);
    assert_true(domain_check("a\0b", 3) < 0);
    assert_true(domain_check(long_name(63, 5), strlen(long_name(63, 5))) < 0);
}

static void every_length_of_a_label(void **state)
{
    char name[300];
    struct domains x;
    struct lists l;

    for (int bytes = 1; bytes <= 63; bytes++) {
        assert_int_equal(lists_init(&l), 0);
        assert_int_equal(domain_init(&x), 0);
        memset(name, 'q', (size_t)bytes);
        strcpy(name + bytes, ".com");
        domain_add_literal(&x, &l, name, strlen(name), NAME_SELF, 1);
        assert_int_equal(domain_finish(&x, &l), 0);
        assert_int_equal(true_of(&x, &l, name), 2);
        for (int i = 0; i < bytes; i++) { /* every byte counts */
            name[i] = 'r';
            assert_int_equal(true_of(&x, &l, name), 0);
            name[i] = 'q';
        }
        assert_int_equal(true_of(&x, &l, name + 1), 0); /* so does the length */
        domain_fini(&x);
        lists_fini(&l);
    }
}

static void names_at_their_limits(void **state)
{
    char deep[300], wide[300];
    struct domains x;
    struct lists l;

    strcpy(deep, long_name(1, 127)); /* 253 bytes each */
    strcpy(wide, long_name(62, 4));
    strcat(wide, ".x");
    assert_int_equal(lists_init(&l), 0);
    assert_int_equal(domain_init(&x), 0);
    domain_add_literal(&x, &l, deep, strlen(deep), NAME_SELF, 1);
    domain_add_literal(&x, &l, wide, strlen(wide), NAME_SELF | NAME_ONE | NAME_DEEP, 2);
    assert_int_equal(domain_finish(&x, &l), 0);
    assert_int_equal(true_of(&x, &l, deep), 2);
    assert_int_equal(true_of(&x, &l, deep + 2), 0);
    assert_int_equal(true_of(&x, &l, wide), 4);
    assert_int_equal(true_of(&x, &l, ""), 0);
    assert_int_equal(true_of(&x, &l, "."), 0);
    assert_int_equal(true_of(&x, &l, ".com"), 0);
    assert_int_equal(true_of(&x, &l, "a..b"), 0);
    domain_fini(&x);
    lists_fini(&l);
}

/* A name asked for with a star in it is not a pattern. */
static void a_star_in_a_name_is_a_byte(void **state)
{
    struct domains x;
    struct lists l;

    assert_int_equal(lists_init(&l), 0);
    assert_int_equal(domain_init(&x), 0);
    domain_add_literal(&x, &l, "*.b.com", 7, NAME_SELF, 1);
    assert_int_equal(domain_add(&x, &l, "x.*.org", 7, 2), 0);
    assert_int_equal(domain_finish(&x, &l), 0);
    assert_int_equal(true_of(&x, &l, "a.b.com"), 0);
    assert_int_equal(true_of(&x, &l, "*.b.com"), 2);
    assert_int_equal(true_of(&x, &l, "x.*.org"), 4);
    assert_int_equal(true_of(&x, &l, "x.q.org"), 4);
    domain_fini(&x);
    lists_fini(&l);
}

/* Full buckets, long chains of them, many sizes: what is in is found, what is not is not. */
static void tables_of_every_size(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 7, 8, 9, 100, 1000, 20000 };
    char name[64];

    for (size_t s = 0; s < N(sizes); s++) {
        struct domains x;
        struct lists l;

        assert_int_equal(lists_init(&l), 0);
        assert_int_equal(domain_init(&x), 0);
        for (uint32_t i = 0; i < sizes[s]; i++) {
            snprintf(name, sizeof(name), "n%u.x%u", i, i % 7);
            domain_add_literal(&x, &l, name, strlen(name), NAME_SELF, i % 60);
        }
        assert_int_equal(domain_finish(&x, &l), 0);
        for (uint32_t i = 0; i < sizes[s]; i++) {
            snprintf(name, sizeof(name), "n%u.x%u", i, i % 7);
            assert_int_equal(true_of(&x, &l, name), 1ull << i % 60);
            snprintf(name, sizeof(name), "n%u.x%u", i, (i + 1) % 7);
            assert_int_equal(true_of(&x, &l, name), 0);
        }
        domain_fini(&x);
        lists_fini(&l);
    }
}

static void programs_are_keys_of_their_own(void **state)
{
    struct domains x;
    struct lists l;

    assert_int_equal(lists_init(&l), 0);
    assert_int_equal(domain_init(&x), 0);
    domain_add_key(&x, &l, SPACE_PROC_NAME, "curl", 4, 1);
    domain_add_key(&x, &l, SPACE_PROC_PATH, "/usr/bin/curl", 13, 2);
    domain_add_literal(&x, &l, "curl", 4, NAME_SELF, 3);
    assert_int_equal(domain_finish(&x, &l), 0);
    assert_int_equal(item_atom(l.pool[domain_key(&x, SPACE_PROC_NAME, "curl", 4)]), 1);
    assert_int_equal(item_atom(l.pool[domain_key(&x, SPACE_PROC_PATH, "/usr/bin/curl", 13)]), 2);
    assert_int_equal(domain_key(&x, SPACE_PROC_PATH, "curl", 4), 0);
    assert_int_equal(true_of(&x, &l, "curl"), 8);
    domain_fini(&x);
    lists_fini(&l);
}

/* ---- stretches of addresses ---- */

struct prefix {
    const char *text;
    uint32_t atom;
};

static void make_spans(struct spans *x, struct lists *l, const struct prefix *p, size_t n)
{
    assert_int_equal(lists_init(l), 0);
    spans_init(x);
    for (size_t i = 0; i < n; i++) {
        struct cidr c;

        assert_int_equal(cidr_parse(p[i].text, &c), 0);
        spans_add(x, l, &c, p[i].atom);
    }
    assert_int_equal(spans_finish(x, l), 0);
}

static uint64_t atoms_at(struct spans *x, struct lists *l, const char *text)
{
    struct addr a;
    uint64_t atoms = 0;
    uint32_t list;

    assert_int_equal(addr_parse(text, &a), 0);
    if ((list = spans_find(x, &a)))
        for (const uint32_t *item = &l->pool[list];; item++) {
            atoms |= 1ull << item_atom(*item);
            if (*item & ITEM_LAST)
                break;
        }
    return atoms;
}

static void stretches_know_all_that_covers_them(void **state)
{
    static const struct prefix p[] = {
        { "10.0.0.0/8", 3 },
        { "10.1.0.0/16", 9 },
        { "10.1.0.0/16", 4 },
        { "10.1.2.3/32", 1 },
        { "255.255.255.255/32", 5 },
        { "0.0.0.0/32", 6 },
        { "fd00::/8", 3 },
        { "fd00::/64", 2 },
        { "fd00::8:0:0:0/80", 7 },
        { "fd00::8:0:0:1/128", 8 },
        { "::/128", 10 },
        { "ffff::/16", 11 },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", 12 },
        { "::ffff:10.1.2.0/120", 13 },
    };
    static const struct {
        const char *at;
        uint64_t atoms;
    } cases[] = {
        { "9.255.255.255", 0 },
        { "10.0.0.0", 1 << 3 },
        { "10.1.0.0", 1 << 3 | 1 << 4 | 1 << 9 },
        { "10.1.2.3", 1 << 1 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 13 },
        { "10.1.2.4", 1 << 3 | 1 << 4 | 1 << 9 | 1 << 13 },
        { "10.1.3.0", 1 << 3 | 1 << 4 | 1 << 9 },
        { "10.2.0.0", 1 << 3 },
        { "11.0.0.0", 0 },
        { "0.0.0.0", 1 << 6 },
        { "0.0.0.1", 0 },
        { "255.255.255.255", 1 << 5 },
        { "255.255.255.254", 0 },
        { "::ffff:10.1.2.3", 1 << 1 | 1 << 3 | 1 << 4 | 1 << 9 | 1 << 13 },
        { "::", 1 << 10 },
        { "::1", 0 },
        { "fd00::7:ffff:0:0", 1 << 3 | 1 << 2 },
        { "fd00::8:0:0:0", 1 << 3 | 1 << 2 | 1 << 7 },
        { "fd00::8:0:0:1", 1 << 3 | 1 << 2 | 1 << 7 | 1 << 8 },
        { "fd00::8:0:0:2", 1 << 3 | 1 << 2 | 1 << 7 },
        { "fd00::9:0:0:0", 1 << 3 | 1 << 2 },
        { "fd00:0:0:1::", 1 << 3 },
        { "fe00::", 0 },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1 << 11 | 1 << 12 },
        { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 1 << 11 },
    };
    struct spans x;
    struct lists l;

    make_spans(&x, &l, p, N(p));
    for (size_t i = 0; i < N(cases); i++)
        if (atoms_at(&x, &l, cases[i].at) != cases[i].atoms)
            fail_msg("%s: %llx", cases[i].at, (unsigned long long)atoms_at(&x, &l, cases[i].at));
    spans_fini(&x);
    lists_fini(&l);
}

static void neighbours_with_equal_lists_are_one(void **state)
{
    static const struct prefix p[] = { { "10.0.0.0/25", 1 }, { "10.0.0.128/25", 1 }, { "10.0.1.0/24", 1 }, { "10.0.0.0/24", 1 } };
    struct spans x;
    struct lists l;

    make_spans(&x, &l, p, N(p));
    assert_int_equal(x.n4, 3); /* before, 10.0.0.0/23, behind */
    assert_int_equal(atoms_at(&x, &l, "10.0.1.255"), 2);
    assert_int_equal(atoms_at(&x, &l, "10.0.2.0"), 0);
    spans_fini(&x);
    lists_fini(&l);
}

static void everything_and_nothing(void **state)
{
    static const struct prefix p[] = { { "0.0.0.0/0", 1 }, { "::/0", 2 } };
    struct spans x;
    struct lists l;

    make_spans(&x, &l, p, N(p));
    assert_int_equal(atoms_at(&x, &l, "0.0.0.0"), 2);
    assert_int_equal(atoms_at(&x, &l, "255.255.255.255"), 2);
    assert_int_equal(atoms_at(&x, &l, "::"), 4);
    assert_int_equal(atoms_at(&x, &l, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 4);
    spans_fini(&x);
    lists_fini(&l);
    make_spans(&x, &l, p, 0);
    assert_int_equal(atoms_at(&x, &l, "1.2.3.4"), 0);
    assert_int_equal(atoms_at(&x, &l, "::1"), 0);
    spans_fini(&x);
    lists_fini(&l);
}

static struct cidr random_prefix(bool wide)
{
    char text[80];
    struct cidr c;

    if (pick(2))
        snprintf(text, sizeof(text), "10.%u.%u.%u/%u", pick(wide ? 256 : 4), pick(256), pick(256), wide ? 20 + pick(13) : 8 + pick(25));
    else
        snprintf(text, sizeof(text), "fd00:%x::%x:%x/%u", pick(wide ? 65536 : 4), pick(4), pick(65536), wide ? 28 + pick(101) : pick(129));
    assert_int_equal(cidr_parse(text, &c), 0);
    return c;
}

/* The twin: every prefix compared with every address. More than 65,536 lists make the numbers wide. */
static void stretches_are_what_a_linear_scan_says(void **state)
{
    static const uint32_t sizes[] = { 1, 5, 60, 1000, 70000 };

    for (size_t s = 0; s < N(sizes); s++) {
        uint32_t n = sizes[s];
        struct cidr *all = malloc(n * sizeof(*all));
        struct spans x;
        struct lists l;

        assert_non_null(all);
        assert_int_equal(lists_init(&l), 0);
        spans_init(&x);
        for (uint32_t i = 0; i < n; i++) {
            all[i] = random_prefix(n > 65536);
            spans_add(&x, &l, &all[i], i);
        }
        assert_int_equal(spans_finish(&x, &l), 0);
        if (n > 65536)
            assert_true(x.wide);
        for (uint32_t k = 0; k < 400; k++) {
            struct addr a = all[pick(n)].ip;
            uint32_t list;
            const uint32_t *item;

            for (size_t bit = addr_len(&a) * 8 - pick(20) - 1; bit < addr_len(&a) * 8; bit++)
                if (pick(2))
                    a.b[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
            list = spans_find(&x, &a);
            item = &l.pool[list];
            for (uint32_t i = 0; i < n; i++) {
                if (!cidr_contains(&all[i], &a))
                    continue;
                assert_true(list);
                assert_int_equal(item_atom(*item), i);
                item++;
            }
            assert_true(!list || item[-1] & ITEM_LAST);
        }
        spans_fini(&x);
        lists_fini(&l);
        free(all);
    }
}

/* ---- texts ---- */

static void note_text(void *arg, uint32_t text)
{
    *(uint64_t *)arg |= 1ull << text;
}

/* The twin: every keyword looked for by itself. */
static void keywords_are_found_wherever_they_stand(void **state)
{
    static const char letters[] = "ab.c";

    for (int round = 0; round < 300; round++) {
        char word[60][8], host[40], why[128];
        uint32_t n = 1 + pick(60);
        struct texts x;

        texts_init(&x);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t len = 1 + pick(6);

            for (uint32_t k = 0; k < len; k++)
                word[i][k] = letters[pick(round % 2 ? 4 : 2)];
            word[i][len] = 0;
            assert_int_equal(texts_add(&x, TEXT_KEYWORD, false, word[i], len, i, why), 0);
        }
        assert_int_equal(texts_finish(&x), 0);
        for (int k = 0; k < 50; k++) {
            uint32_t len = pick(39);
            uint64_t got = 0, want = 0;

            for (uint32_t i = 0; i < len; i++)
                host[i] = letters[pick(4)];
            host[len] = 0;
            texts_scan(&x, host, len, note_text, &got);
            for (uint32_t i = 0; i < n; i++)
                want |= (uint64_t)(strstr(host, word[i]) != NULL) << i;
            assert_int_equal(got, want);
        }
        texts_fini(&x);
    }
}

struct wanted {
    const struct texts *x;
    uint32_t atom;
    unsigned seen;
};

static void see_text(void *arg, uint32_t text)
{
    struct wanted *w = arg;

    w->seen += w->x->text[text].atom == w->atom;
}

static void word_of(uint32_t i, char out[40])
{
    snprintf(out, 40, "%08x-%08x", i * 2654435761u, i * 40503u + 7);
}

/* So many that rows no longer fit in 16 bits, then more than the automaton takes. */
static void automata_of_every_size(void **state)
{
    static const uint32_t sizes[] = { 100, 3000, 12000 };

    for (size_t c = 0; c < N(sizes); c++) {
        char word[40], host[60], why[128];
        struct texts x;

        texts_init(&x);
        for (uint32_t i = 0; i < sizes[c]; i++) {
            word_of(i, word);
            assert_int_equal(texts_add(&x, TEXT_KEYWORD, false, word, strlen(word), i, why), 0);
        }
        assert_int_equal(texts_finish(&x), 0);
        assert_int_equal(x.next != NULL, c == 0);
        assert_int_equal(x.n_always > 0, c == 2);
        for (uint32_t i = 0; i < sizes[c]; i += 97) {
            struct wanted w = { &x, i, 0 };

            word_of(i, word);
            snprintf(host, sizeof(host), "x.%s.y", word);
            texts_scan(&x, host, strlen(host), see_text, &w);
            assert_int_equal(w.seen, 1);
            host[2] ^= 1;
            texts_scan(&x, host, strlen(host), see_text, &w);
            assert_int_equal(w.seen, 1);
        }
        texts_fini(&x);
    }
}

static void globs_are_what_fnmatch_says(void **state)
{
    static const char letters[] = "ab.*?";

    for (int i = 0; i < 200000; i++) {
        char p[12], s[12];
        uint32_t n = pick(11), len = pick(11);

        for (uint32_t k = 0; k < n; k++)
            p[k] = letters[pick(5)];
        for (uint32_t k = 0; k < len; k++)
            s[k] = letters[pick(3)];
        p[n] = s[len] = 0;
        assert_int_equal(glob_matches(p, n, s, len), fnmatch(p, s, 0) == 0);
    }
}

static void a_star_inside_a_label(void **state)
{
    static const struct {
        const char *pattern, *yes, *no;
    } cases[] = {
        { "127-*-*-*.x", "127-0-0-1.x", "127-0-0.x" },
        { "127-*-*-*", "127-0-0-1", "127-0-0-1.x" },
        { "a*.com", "a.com", "b.com" },
        { "a*.com", "abc.com", "a.b.com" },
        { "*b.com", "ab.com", "ba.com" },
        { "+.a*b.com", "x.y.aXb.com", "ab.org" },
        { "+.a*b.com", "ab.com", "x.ac.com" },
        { ".a*.com", "x.a1.com", "a1.com" },
        { "a*b*c.com", "a1b2b3c.com", "abbd.com" },
        { "*.a*.com", "q.a.com", "a.com" },
        { "a*a.com", "aa.com", "a.com" },
    };

    for (size_t i = 0; i < N(cases); i++) {
        struct texts x;
        uint64_t got = 0;
        char why[128];

        texts_init(&x);
        assert_int_equal(texts_add(&x, TEXT_LABELS, false, cases[i].pattern, strlen(cases[i].pattern), 0, why), 0);
        assert_int_equal(texts_finish(&x), 0);
        texts_scan(&x, cases[i].yes, strlen(cases[i].yes), note_text, &got);
        if (!got || !texts_match(&x, 0, cases[i].yes, strlen(cases[i].yes)) || texts_match(&x, 0, cases[i].no, strlen(cases[i].no)))
            fail_msg("%s: %s and not %s", cases[i].pattern, cases[i].yes, cases[i].no);
        texts_fini(&x);
    }
}

/* ---- regular expressions ---- */

static void the_text_no_match_does_without(void **state)
{
    static const struct {
        const char *regex, *literal;
    } cases[] = {
        { "abc", "abc" },
        { "^abc$", "abc" },
        { "ABC", "abc" },
        { "^www\\.example\\.com$", "www.example.com" },
        { "(^|\\.)91porn\\.(best|com)$", "91porn." },
        { "a.b", "a" },
        { "ab?c", "a" },
        { "abc?", "ab" },
        { "ab+c", "ab" },
        { "ab*cde", "cde" },
        { "x{2}yz", "yz" },
        { "x{0,3}yz", "yz" },
        { "a|bcd", "" },
        { "(a|b)cd", "cd" },
        { "[a-z]+\\.tracker\\.net", ".tracker.net" },
        { "\\d+tracker", "tracker" },
        { "foo\\.com$", "foo.com" },
        { ".*ads.*\\.com$", "ads" }, /* rather than ".com" */
        { "^a.*\\.com$", "a" },
        { "\\.com$", ".com" },
        { "(?i)abc", "" },
        { "(?:a|b)cde", "cde" },
        { "(?=abc)def", "def" },
        { "(?#comment)abc", "" },
        { "((?#\\))abc", "" },
        { "(\\Q)x\\E)?foo", "" },
        { "\\Qa.b\\E", "" },
        { "\\x41bc", "" },
        { "(a)\\1b", "" },
        { "a{x}bc", "" },
        { "[]a]bc", "bc" },
        { "[^]a]bc", "bc" },
        { "[[:alpha:]]bc", "" },
        { "[\\]]bc", "bc" },
        { "\xc3\xa9"
          "abc",
          "abc" },
        { "ab\xc3\xa9?cde", "cde" },
        { "", "" },
        { "^(.+\\.)*zh\\.okaapps\\.com$", "zh.okaapps.com" },
        { "a\\bc", "a" },
        { "(*ACCEPT)abc", "" },
        { "x(*ACCEPT)abc", "" },
        { "(x(*ACCEPT))abc", "" },
        { "(?(?=a)b|c)def", "" },
    };

    for (size_t i = 0; i < N(cases); i++) {
        char out[256];
        size_t n = regex_literal(cases[i].regex, strlen(cases[i].regex), out, sizeof(out));

        if (n != strlen(cases[i].literal) || memcmp(out, cases[i].literal, n) != 0)
            fail_msg("%s: \"%.*s\"", cases[i].regex, (int)n, out);
    }
}

static bool matches(const char *pattern, const char *s)
{
    struct regex_room *room = regex_room_new();
    char why[128];
    struct regex *re = regex_new(pattern, strlen(pattern), why);
    bool is;

    assert_non_null(room);
    if (!re)
        fail_msg("%s: %s", pattern, why);
    is = regex_matches(re, room, s, strlen(s));
    regex_free(re);
    regex_room_free(room);
    return is;
}

static void regexes_ignore_case_and_know_unicode(void **state)
{
    assert_true(matches("^A\\.b$", "a.B"));
    assert_true(matches("\xc3\x89", "caf\xc3\xa9.fr")); /* an accented letter in either case */
    assert_true(matches("^\\w+$", "\xe4\xbe\x8b\xe5\xad\x90"));
    assert_true(matches("k", "\xe2\x84\xaa")); /* the Kelvin sign */
    assert_true(matches("^.$", "\xe4\xbe\x8b"));
    assert_false(matches("^..$", "\xe4\xbe\x8b"));
    assert_true(matches("b", "\xff"
                             "b")); /* bytes that are no UTF-8 do not hide the rest */
    assert_true(matches("^(?!.*(a|b)).*c", "xyzc"));
    assert_false(matches("^(?!.*(a|b)).*c", "axyzc"));
}

static void a_bad_regex_says_why(void **state)
{
    char why[128];

    assert_null(regex_new("(", 1, why));
    assert_true(*why);
    assert_null(regex_new("[z-a]", 5, why));
    assert_true(*why);
    assert_null(regex_new("a\\C", 3, why));
    assert_true(*why);
}

/* Each of these would take hours by backtracking alone. */
static void hostile_regexes_give_up(void **state)
{
    static const char *const hostile[] = { "(a+)+$", "^(a|a)*$", "(a|aa)+$", "^(a+)*$", "^(.+\\.)*x$" };
    char s[254];

    for (size_t i = 0; i < sizeof(s) - 2; i++)
        s[i] = i % 3 == 2 && i > 200 ? '.' : 'a';
    s[sizeof(s) - 2] = '!';
    s[sizeof(s) - 1] = 0;
    for (size_t i = 0; i < N(hostile); i++)
        assert_false(matches(hostile[i], s));
    assert_true(matches("(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

/* A letter outside of ASCII may be the other case of one inside: then no text is sure to be there. */
static void other_letters_switch_the_short_cut_off(void **state)
{
    struct texts x;
    char why[128];
    uint64_t got = 0;

    texts_init(&x);
    assert_int_equal(texts_add(&x, TEXT_REGEX, false, "^book\\.x$", 9, 0, why), 0);
    assert_int_equal(texts_finish(&x), 0);
    texts_scan(&x, "boo\xe2\x84\xaa.x", 8, note_text, &got);
    assert_int_equal(got, 1);
    assert_true(texts_match(&x, 0, "boo\xe2\x84\xaa.x", 8));
    texts_fini(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_lists_are_one),
        cmocka_unit_test(many_lists_stay_apart),
        cmocka_unit_test(patterns_of_the_profile_format),
        cmocka_unit_test(what_is_no_pattern),
        cmocka_unit_test(every_length_of_a_label),
        cmocka_unit_test(names_at_their_limits),
        cmocka_unit_test(a_star_in_a_name_is_a_byte),
        cmocka_unit_test(tables_of_every_size),
        cmocka_unit_test(programs_are_keys_of_their_own),
        cmocka_unit_test(stretches_know_all_that_covers_them),
        cmocka_unit_test(neighbours_with_equal_lists_are_one),
        cmocka_unit_test(everything_and_nothing),
        cmocka_unit_test(stretches_are_what_a_linear_scan_says),
        cmocka_unit_test(keywords_are_found_wherever_they_stand),
        cmocka_unit_test(automata_of_every_size),
        cmocka_unit_test(globs_are_what_fnmatch_says),
        cmocka_unit_test(a_star_inside_a_label),
        cmocka_unit_test(the_text_no_match_does_without),
        cmocka_unit_test(regexes_ignore_case_and_know_unicode),
        cmocka_unit_test(a_bad_regex_says_why),
        cmocka_unit_test(hostile_regexes_give_up),
        cmocka_unit_test(other_letters_switch_the_short_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
