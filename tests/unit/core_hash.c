/*
 * core_hash.c - SipHash-1-3 against OpenSSL's and a published vector; the intrusive map against a naive one
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "core/hash.h"
#include "core/list.h"
#include "core/map.h"

/* ---- SipHash ---- */

static uint64_t openssl_siphash(const uint8_t key[16], const uint8_t *p, size_t len, unsigned c, unsigned d)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
    size_t size = 8;
    OSSL_PARAM params[] = { OSSL_PARAM_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_uint(OSSL_MAC_PARAM_C_ROUNDS, &c),
                            OSSL_PARAM_uint(OSSL_MAC_PARAM_D_ROUNDS, &d), OSSL_PARAM_END };
    uint8_t out[8];
    uint64_t v = 0;

    assert_non_null(ctx);
    assert_int_equal(EVP_MAC_init(ctx, key, 16, params), 1);
    assert_int_equal(EVP_MAC_update(ctx, p, len), 1);
    assert_int_equal(EVP_MAC_final(ctx, out, &size, sizeof(out)), 1);
    for (int i = 7; i >= 0; i--)
        v = v << 8 | out[i];
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    return v;
}

static void siphash_is_what_openssl_says(void **state)
{
    uint8_t key[16], buf[200];

    for (size_t len = 0; len < sizeof(buf) - 8; len++) {
        random_bytes(key, sizeof(key));
        random_bytes(buf, sizeof(buf));
        assert_int_equal(siphash13(key, buf + len % 8, len), openssl_siphash(key, buf + len % 8, len, 1, 3)); /* any alignment */
    }
}

/* The twin itself: appendix A of the SipHash paper, 2-4 rounds, key 00..0f, message 00..0e. */
static void openssl_says_what_the_paper_says(void **state)
{
    uint8_t key[16], msg[15];

    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    memcpy(msg, key, 15);
    assert_int_equal(openssl_siphash(key, msg, 15, 2, 4), 0xa129ca6149be45e5u);
}

static void *hash_in_thread(void *arg)
{
    *(uint64_t *)arg = hash_bytes("name", 4);
    return NULL;
}

static void one_key_for_all_threads(void **state)
{
    uint64_t h[8];
    pthread_t t[8];

    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, hash_in_thread, &h[i]), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 8; i++)
        assert_int_equal(h[i], hash_bytes("name", 4));
    assert_int_not_equal(hash_bytes("name", 4), hash_bytes("nama", 4));
    assert_int_not_equal(hash_bytes("", 0), hash_bytes("\0", 1));
}

static void random_bytes_are_not_the_same_twice(void **state)
{
    uint8_t a[64], b[64];

    random_bytes(a, sizeof(a));
    random_bytes(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    random_bytes(a, 0);
}

/* ---- map ---- */

struct thing {
    uint32_t key;
    struct map_node node;
    int in;
};

static struct thing *find(const struct map *m, uint32_t key, uint64_t hash)
{
    for (struct map_node *n = map_first(m, hash); n; n = map_next(n))
        if (container_of(n, struct thing, node)->key == key)
            return container_of(n, struct thing, node);
    return NULL;
}

/* Weak hashes on purpose: equal ones must be told apart by key, and all of them must survive growing. */
static uint64_t hash_of(uint32_t key, int weak)
{
    return weak ? key % 7 : hash_bytes(&key, sizeof(key));
}

static void map_is_what_an_array_says(void **state)
{
    static struct thing t[2000];

    for (int weak = 0; weak < 2; weak++) {
        struct map m;
        uint32_t n = 0;

        memset(t, 0, sizeof(t));
        assert_int_equal(map_init(&m, 0), 0);
        srand(3);
        for (int step = 0; step < 20000; step++) {
            uint32_t k = (uint32_t)rand() % (weak ? 200 : 2000);

            t[k].key = k;
            if (t[k].in)
                map_del(&m, &t[k].node);
            else
                map_add(&m, &t[k].node, hash_of(k, weak));
            n += t[k].in ? -1u : 1u;
            t[k].in = !t[k].in;
            assert_int_equal(m.n, n);
            k = (uint32_t)rand() % (weak ? 200 : 2000);
            assert_ptr_equal(find(&m, k, hash_of(k, weak)), t[k].in ? &t[k] : NULL);
        }
        assert_true(weak || m.mask >= 511); /* it grew */
        map_fini(&m);
    }
}

static void map_takes_out_only_what_is_in(void **state)
{
    struct thing a = { 1 }, b = { 2 };
    struct map m;

    assert_int_equal(map_init(&m, 100), 0);
    assert_true(m.mask >= 99);
    map_add(&m, &a.node, 5);
    b.node.hash = 5;
    map_del(&m, &b.node);
    assert_int_equal(m.n, 1);
    map_del(&m, &a.node);
    map_del(&m, &a.node);
    assert_int_equal(m.n, 0);
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_key_for_all_threads), /* first: the key is made here */
        cmocka_unit_test(siphash_is_what_openssl_says),
        cmocka_unit_test(openssl_says_what_the_paper_says),
        cmocka_unit_test(random_bytes_are_not_the_same_twice),
        cmocka_unit_test(map_is_what_an_array_says),
        cmocka_unit_test(map_takes_out_only_what_is_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
