/*
 * blake3.c - BLAKE3: a binary tree of chunks of 1,024 bytes over one compression function
 *
 *   root ◄── parent ◄── chunk ◄── 16 blocks of 64 bytes
 *                  ◄── chunk            the left subtree is the largest power of two of chunks that leaves something for the right
 *
 * Every node is kept as the last compression that it still owes: only the root knows that it is the root, and squeezes its output from it.
 * Chaining values may be derived from keys: they are wiped.
 */
#include "outbound/blake3.h"

#include <endian.h>
#include <openssl/crypto.h>
#include <string.h>

#define BLOCK 64
#define CHUNK 1024

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8, DERIVE_CONTEXT = 32, DERIVE_MATERIAL = 64 };

static const uint32_t iv[8] = { 0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19 };

struct node {
    uint32_t cv[8], block[16]; /* words in host order */
    uint64_t counter;
    uint32_t len, flags;
};

static uint32_t ror(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void mix(uint32_t s[16], int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    s[a] += s[b] + x;
    s[d] = ror(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = ror(s[b] ^ s[c], 12);
    s[a] += s[b] + y;
    s[d] = ror(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = ror(s[b] ^ s[c], 7);
}

static void round_of(uint32_t s[16], const uint32_t m[16])
{
    mix(s, 0, 4, 8, 12, m[0], m[1]);
    mix(s, 1, 5, 9, 13, m[2], m[3]);
    mix(s, 2, 6, 10, 14, m[4], m[5]);
    mix(s, 3, 7, 11, 15, m[6], m[7]);
    mix(s, 0, 5, 10, 15, m[8], m[9]);
    mix(s, 1, 6, 11, 12, m[10], m[11]);
    mix(s, 2, 7, 8, 13, m[12], m[13]);
    mix(s, 3, 4, 9, 14, m[14], m[15]);
}

static void permute(uint32_t m[16])
{
    static const uint8_t from[16] = { 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8 };
    uint32_t old[16];

    memcpy(old, m, sizeof(old));
    for (int i = 0; i < 16; i++)
        m[i] = old[from[i]];
}

static void compress(const struct node *n, uint64_t counter, uint32_t flags, uint32_t out[16])
{
    uint32_t s[16], m[16];

    memcpy(s, n->cv, 32);
    memcpy(s + 8, iv, 16);
    s[12] = (uint32_t)counter;
    s[13] = (uint32_t)(counter >> 32);
    s[14] = n->len;
    s[15] = flags;
    memcpy(m, n->block, sizeof(m));
    for (int r = 0; r < 7; r++) {
        round_of(s, m);
        permute(m);
    }
    for (int i = 0; i < 8; i++) {
        out[i] = s[i] ^ s[i + 8];
        out[i + 8] = s[i + 8] ^ n->cv[i];
    }
    OPENSSL_cleanse(s, sizeof(s));
    OPENSSL_cleanse(m, sizeof(m));
}

static void load_block(struct node *n, const uint8_t *in, size_t len)
{
    uint8_t b[BLOCK] = { 0 };

    if (len)
        memcpy(b, in, len);
    memcpy(n->block, b, BLOCK);
    for (int i = 0; i < 16; i++)
        n->block[i] = le32toh(n->block[i]);
    n->len = (uint32_t)len;
    OPENSSL_cleanse(b, sizeof(b));
}

static void chunk(struct node *n, const uint32_t key[8], const uint8_t *in, size_t len, uint64_t counter, uint32_t flags)
{
    uint32_t out[16];

    memcpy(n->cv, key, 32);
    n->counter = counter;
    n->flags = flags | CHUNK_START;
    for (; len > BLOCK; in += BLOCK, len -= BLOCK) {
        load_block(n, in, BLOCK);
        compress(n, counter, n->flags, out);
        memcpy(n->cv, out, 32);
        n->flags = flags;
    }
    load_block(n, in, len);
    n->flags |= CHUNK_END;
    OPENSSL_cleanse(out, sizeof(out));
}

static size_t left_size(size_t len)
{
    size_t n = CHUNK;

    while (n * 2 < len)
        n *= 2;
    return n;
}

static void tree(struct node *n, const uint32_t key[8], const uint8_t *in, size_t len, uint64_t counter, uint32_t flags)
{
    uint32_t left[16], right[16];
    size_t cut;

    if (len <= CHUNK) {
        chunk(n, key, in, len, counter, flags);
        return;
    }
    cut = left_size(len);
    tree(n, key, in, cut, counter, flags);
    compress(n, n->counter, n->flags, left);
    tree(n, key, in + cut, len - cut, counter + cut / CHUNK, flags);
    compress(n, n->counter, n->flags, right);
    memcpy(n->cv, key, 32);
    memcpy(n->block, left, 32);
    memcpy(n->block + 8, right, 32);
    n->counter = 0;
    n->len = BLOCK;
    n->flags = flags | PARENT;
    OPENSSL_cleanse(left, sizeof(left));
    OPENSSL_cleanse(right, sizeof(right));
}

static void hash(const uint32_t key[8], const void *in, size_t len, uint32_t flags, uint8_t *out, size_t n)
{
    struct node root;
    uint32_t words[16];

    tree(&root, key, in, len, 0, flags);
    for (uint64_t i = 0; n; i++) {
        size_t m = n < BLOCK ? n : BLOCK;

        compress(&root, i, root.flags | ROOT, words);
        for (int k = 0; k < 16; k++)
            words[k] = htole32(words[k]);
        memcpy(out, words, m);
        out += m;
        n -= m;
    }
    OPENSSL_cleanse(&root, sizeof(root));
    OPENSSL_cleanse(words, sizeof(words));
}

void blake3_hash(const void *in, size_t len, uint8_t *out, size_t n)
{
    hash(iv, in, len, 0, out, n);
}

void blake3_derive(const char *context, const void *material, size_t len, uint8_t *out, size_t n)
{
    uint8_t bytes[32];
    uint32_t key[8];

    hash(iv, context, strlen(context), DERIVE_CONTEXT, bytes, sizeof(bytes));
    memcpy(key, bytes, sizeof(key));
    for (int i = 0; i < 8; i++)
        key[i] = le32toh(key[i]);
    hash(key, material, len, DERIVE_MATERIAL, out, n);
}
