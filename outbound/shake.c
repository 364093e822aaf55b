/*
 * shake.c - SHAKE128: the Keccak-f[1600] permutation as a sponge (FIPS 202 sections 3.2, 4, 6.2)
 *
 * Short inputs only; output comes block by block, so a long stream of two-byte draws costs one permutation for 84 of them.
 */
#include "outbound/shake.h"

#include <endian.h>
#include <string.h>

#define ROUNDS 24

static uint64_t rol(uint64_t x, unsigned n)
{
    return n ? x << n | x >> (64 - n) : x;
}

/* theta: every lane takes in the parity of two columns. */
static void mix_columns(uint64_t a[25])
{
    uint64_t c[5], d;

    for (int x = 0; x < 5; x++)
        c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (int x = 0; x < 5; x++) {
        d = c[(x + 4) % 5] ^ rol(c[(x + 1) % 5], 1);
        for (int y = 0; y < 25; y += 5)
            a[x + y] ^= d;
    }
}

/* rho and pi: lanes are rotated on their way to another place. */
static void move_lanes(uint64_t a[25])
{
    static const uint8_t to[24] = { 10, 7, 11, 17, 18, 3, 5, 16, 8, 21, 24, 4, 15, 23, 19, 13, 12, 2, 20, 14, 22, 9, 6, 1 };
    uint64_t moving = a[1], next;

    for (unsigned t = 0; t < 24; t++) {
        next = a[to[t]];
        a[to[t]] = rol(moving, (t + 1) * (t + 2) / 2 % 64);
        moving = next;
    }
}

/* chi: the one step that is not linear. */
static void mix_rows(uint64_t a[25])
{
    uint64_t row[5];

    for (int y = 0; y < 25; y += 5) {
        memcpy(row, a + y, sizeof(row));
        for (int x = 0; x < 5; x++)
            a[y + x] = row[x] ^ (~row[(x + 1) % 5] & row[(x + 2) % 5]);
    }
}

static void permute(uint64_t a[25])
{
    static const uint64_t constants[ROUNDS] = {
        0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000, 0x000000000000808b, 0x0000000080000001,
        0x8000000080008081, 0x8000000000008009, 0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
        0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003, 0x8000000000008002, 0x8000000000000080,
        0x000000000000800a, 0x800000008000000a, 0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
    };

    for (int r = 0; r < ROUNDS; r++) {
        mix_columns(a);
        move_lanes(a);
        mix_rows(a);
        a[0] ^= constants[r];
    }
}

static void xor_byte(struct shake *s, size_t at, uint8_t b)
{
    s->lanes[at / 8] ^= (uint64_t)b << (8 * (at % 8));
}

void shake128_init(struct shake *s, const void *in, size_t len)
{
    const uint8_t *b = in;

    memset(s, 0, sizeof(*s));
    for (size_t i = 0; i < len; i++)
        xor_byte(s, i, b[i]);
    xor_byte(s, len, 0x1f);
    xor_byte(s, SHAKE128_RATE - 1, 0x80);
    s->at = SHAKE128_RATE;
}

static void next_block(struct shake *s)
{
    permute(s->lanes);
    for (int i = 0; i < SHAKE128_RATE / 8; i++) {
        uint64_t lane = htole64(s->lanes[i]);

        memcpy(s->block + 8 * i, &lane, 8);
    }
    s->at = 0;
}

void shake128_squeeze(struct shake *s, uint8_t *out, size_t n)
{
    while (n) {
        size_t m;

        if (s->at == SHAKE128_RATE)
            next_block(s);
        m = (size_t)(SHAKE128_RATE - s->at) < n ? (size_t)(SHAKE128_RATE - s->at) : n;
        memcpy(out, s->block + s->at, m);
        s->at += (uint8_t)m;
        out += m;
        n -= m;
    }
}
