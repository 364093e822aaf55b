/*
 * core_mem.c - arena, pools, lists, pieces and the bounded reader: what everything else stands on
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/arena.h"
#include "core/list.h"
#include "core/pool.h"
#include "core/reader.h"
#include "core/stream.h"

/* ---- arena ---- */

static void arena_gives_zeroed_aligned_memory_that_does_not_overlap(void **state)
{
    static const size_t sizes[] = { 1, 3, 16, 100, 4000, 5000, 20000, 1, 4096, 4097, 16384, 16385, 7 };
    struct arena a = { 0 };
    uint8_t *p[300];
    size_t n[300];

    for (size_t i = 0; i < 300; i++) {
        n[i] = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
        assert_non_null(p[i] = arena_alloc(&a, n[i]));
        assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        for (size_t k = 0; k < n[i]; k++)
            assert_int_equal(p[i][k], 0);
        memset(p[i], (int)(i % 255) + 1, n[i]);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t k = 0; k < n[i]; k++)
            assert_int_equal(p[i][k], i % 255 + 1);
    assert_true(a.total > 300 * 1000);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX / 2 + 1));
    assert_non_null(arena_alloc(&a, 0));
    arena_fini(&a);
    assert_int_equal(a.total, 0);
    arena_fini(&a);
}

static void arena_copies_text(void **state)
{
    struct arena a = { 0 };

    assert_string_equal(arena_strdup(&a, "hello world", 5), "hello");
    assert_string_equal(arena_strdup(&a, NULL, 0), "");
    arena_fini(&a);
}

/* ---- pools ---- */

static void pool_counts_what_is_out(void **state)
{
    struct pool p;
    void *obj[10];

    pool_init(&p, 1, 4); /* at least a pointer's worth */
    for (int i = 0; i < 10; i++) {
        assert_non_null(obj[i] = pool_get(&p));
        memset(obj[i], i, p.size);
    }
    assert_int_equal(p.n_used, 10);
    for (int i = 0; i < 10; i++)
        pool_put(&p, obj[i]);
    pool_put(&p, NULL);
    assert_int_equal(p.n_used, 0);
    assert_true(p.n_free <= 4);
    assert_non_null(obj[0] = pool_get(&p));
    pool_put(&p, obj[0]);
    pool_fini(&p);
    assert_int_equal(p.n_free, 0);
}

static void buffers_are_64k(void **state)
{
    uint8_t *b[20];

    for (int i = 0; i < 20; i++) {
        assert_non_null(b[i] = buf_get());
        memset(b[i], 1, BUF_SIZE);
    }
    for (int i = 0; i < 20; i++)
        buf_put(b[i]);
    buf_put(NULL);
    buf_trim();
    buf_trim();
}

/* ---- lists ---- */

struct item {
    struct list_head node;
    char c;
};

static const char *spell(struct list_head *h)
{
    static char out[32];
    size_t n = 0;

    list_each_safe (i, tmp, h)
        out[n++] = container_of(i, struct item, node)->c;
    out[n] = 0;
    return out;
}

static void lists(void **state)
{
    struct item a = { .c = 'a' }, b = { .c = 'b' }, c = { .c = 'c' }, d = { .c = 'd' };
    struct list_head h, o;

    list_init(&h);
    list_init(&o);
    assert_true(list_empty(&h));
    assert_null(list_first(&h));
    list_append(&h, &b.node);
    list_append(&h, &c.node);
    list_push(&h, &a.node);
    assert_string_equal(spell(&h), "abc");
    list_append(&o, &d.node);
    list_splice(&o, &h);
    assert_string_equal(spell(&o), "dabc");
    assert_true(list_empty(&h));
    list_splice(&o, &h);
    list_del(&a.node);
    list_del(&a.node);
    assert_string_equal(spell(&o), "dbc");
    list_each_safe (n, tmp, &o)
        list_del(n);
    assert_true(list_empty(&o));
}

/* ---- pieces ---- */

#define BYTES 600

/* Cuts buf at random places, also into empty pieces. */
static int cut(uint8_t *buf, size_t len, struct iovec *iov, int max)
{
    int n = 0;

    for (size_t at = 0; at < len && n < max - 1;) {
        size_t k = (size_t)rand() % 50;

        k = k < len - at ? k : len - at;
        iov[n++] = (struct iovec){ buf + at, k };
        at += k;
        if (at == len)
            break;
    }
    return n;
}

static void pieces_copy_like_memcpy(void **state)
{
    uint8_t src[BYTES], dst[BYTES];
    struct iovec s[100], d[100];

    srand(5);
    for (int round = 0; round < 2000; round++) {
        size_t ls = (size_t)rand() % BYTES, ld = (size_t)rand() % BYTES, want, done;
        int ns, nd;

        for (size_t i = 0; i < BYTES; i++)
            src[i] = (uint8_t)rand();
        memset(dst, 0, sizeof(dst));
        ns = cut(src, ls, s, 100);
        nd = cut(dst, ld, d, 100);
        want = iov_total(s, ns) < iov_total(d, nd) ? iov_total(s, ns) : iov_total(d, nd);
        done = iov_copy(d, nd, s, ns);
        assert_int_equal(done, want);
        assert_memory_equal(dst, src, done);
        for (size_t i = done; i < BYTES; i++)
            assert_int_equal(dst[i], 0);
    }
}

static void skipping_pieces(void **state)
{
    uint8_t buf[BYTES];

    srand(6);
    for (int round = 0; round < 2000; round++) {
        struct iovec iov[100], *at = iov;
        int n = cut(buf, (size_t)rand() % BYTES, iov, 100);
        size_t total = iov_total(iov, n), skip = total ? (size_t)rand() % (total + 1) : 0;

        n = iov_skip(&at, n, skip);
        assert_int_equal(iov_total(at, n), total - skip);
        if (n)
            assert_ptr_equal(at->iov_base, buf + skip);
    }
    struct iovec one = { buf, 3 }, *at = &one;

    assert_int_equal(iov_skip(&at, 1, 10), 0); /* more than there is */
}

/* ---- the reader ---- */

static void a_cursor_uses_pieces_up(void **state)
{
    char a[] = "ab", b[] = "", c[] = "cdefg", got[16];
    struct iovec iov[] = { { b, 0 }, { a, 2 }, { b, 0 }, { c, 5 }, { b, 0 } }, piece[4];

    for (size_t skip = 0; skip <= 7; skip++)
        for (size_t max = 0; max <= 8; max++) {
            struct cursor k = cursor_from(iov, 5), before;
            size_t len, want = 7 - skip < max ? 7 - skip : max, n;

            cursor_skip(&k, skip);
            before = k;
            n = (size_t)cursor_pieces(&k, max, piece, 4, &len);
            assert_int_equal(len, want);
            assert_int_equal(iov_total(piece, (int)n), want);
            assert_true(n <= 2);
            cursor_pieces(&k, max, piece, 1, &len); /* no more pieces than there is room for */
            assert_true(len <= want && (len > 0) == (want > 0));
            assert_memory_equal(&k, &before, sizeof(k)); /* looking does not move */
            assert_int_equal(cursor_take(&k, got, max), want);
            assert_memory_equal(got, "abcdefg" + skip, want);
            assert_int_equal(k.left, 7 - skip - want);
            assert_int_equal(cursor_take(&k, got, 8), 7 - skip - want);
            assert_memory_equal(got, "abcdefg" + skip + want, 7 - skip - want);
            assert_int_equal(cursor_give(&before, "1234567", max), want);
            memcpy(got, a, 2);
            memcpy(got + 2, c, 5);
            assert_memory_equal(got + skip, "1234567", want);
            memcpy(a, "ab", 2);
            memcpy(c, "cdefg", 5);
        }
}

static void the_reader_reads(void **state)
{
    static const uint8_t in[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'a', 'b', 'c', 99 };
    struct rd r = rd_from(in, sizeof(in));
    struct span s;

    assert_int_equal(rd_u8(&r), 1);
    assert_int_equal(rd_be16(&r), 0x0203);
    assert_int_equal(rd_be32(&r), 0x04050607);
    assert_int_equal(rd_be64(&r), 0x08090a0b0c0d0e0full);
    s = rd_span(&r, 3);
    assert_int_equal(s.len, 3);
    assert_memory_equal(s.p, "abc", 3);
    assert_ptr_equal(s.p, in + 15); /* lent, not copied */
    assert_int_equal(rd_left(&r), 1);
    rd_skip(&r, 1);
    assert_true(rd_ok(&r));
    assert_int_equal(rd_span(&r, 0).len, 0);
    assert_true(rd_ok(&r));
}

static void the_readers_error_sticks(void **state)
{
    static const uint8_t in[] = { 1, 2, 3 };

    for (int way = 0; way < 5; way++) {
        struct rd r = rd_from(in, way == 2 ? 1 : 3);

        switch (way) {
        case 0: assert_int_equal(rd_be32(&r), 0); break; /* no half numbers */
        case 1: assert_int_equal(rd_span(&r, 4).len, 0); break;
        case 2: assert_int_equal(rd_be16(&r), 0); break;
        case 3: rd_skip(&r, SIZE_MAX); break;
        case 4: assert_int_equal(rd_be64(&r), 0); break;
        }
        assert_false(rd_ok(&r));
        assert_int_equal(rd_u8(&r), 0);
        assert_int_equal(rd_be16(&r), 0);
        assert_int_equal(rd_be64(&r), 0);
        assert_int_equal(rd_span(&r, 1).len, 0);
        assert_false(rd_ok(&r));
    }
    struct rd none = rd_from(NULL, 0);

    assert_true(rd_ok(&none));
    assert_int_equal(rd_u8(&none), 0);
    assert_false(rd_ok(&none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_gives_zeroed_aligned_memory_that_does_not_overlap),
        cmocka_unit_test(arena_copies_text),
        cmocka_unit_test(pool_counts_what_is_out),
        cmocka_unit_test(buffers_are_64k),
        cmocka_unit_test(lists),
        cmocka_unit_test(pieces_copy_like_memcpy),
        cmocka_unit_test(skipping_pieces),
        cmocka_unit_test(a_cursor_uses_pieces_up),
        cmocka_unit_test(the_reader_reads),
        cmocka_unit_test(the_readers_error_sticks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
