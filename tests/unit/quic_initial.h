/*
 * quic_initial.h - makes protected QUIC Initial packets, with the keys that the RFCs print
 */
#ifndef UNIT_QUIC_INITIAL_H
#define UNIT_QUIC_INITIAL_H

#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct out {
    uint8_t b[70000];
    size_t len;
};

static inline void put(struct out *o, const void *p, size_t n)
{
    memcpy(o->b + o->len, p, n);
    o->len += n;
}

static inline void put_be(struct out *o, unsigned bytes, uint32_t v)
{
    while (bytes--)
        o->b[o->len++] = (uint8_t)(v >> bytes * 8);
}

/* Keys of the client for the destination id 8394c8f03e515708, as the RFCs print them (9001 A.1, 9369 A.1). */
static const struct quic_keys {
    uint32_t version;
    uint8_t flags; /* of an Initial packet, with a number of 4 bytes */
    uint8_t key[16], iv[12], hp[16];
    const char *head, *sample; /* of the packet in A.2 */
    uint8_t tag[16];
} quic_keys[] = {
    { 1,
      0xc3,
      { 0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d },
      { 0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c },
      { 0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10, 0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2 },
      "c000000001088394c8f03e5157080000449e7b9aec34",
      "d1b1c98dd7689fb8ec11d242b123dc9b",
      { 0xe2, 0x21, 0xaf, 0x44, 0x86, 0x00, 0x18, 0xab, 0x08, 0x56, 0x97, 0x2e, 0x19, 0x4c, 0xd9, 0x34 } },
    { 0x6b3343cf,
      0xd3,
      { 0x8b, 0x1a, 0x0b, 0xc1, 0x21, 0x28, 0x42, 0x90, 0xa2, 0x9e, 0x09, 0x71, 0xb5, 0xcd, 0x04, 0x5d },
      { 0x91, 0xf7, 0x3e, 0x23, 0x51, 0xd8, 0xfa, 0x91, 0x66, 0x0e, 0x90, 0x9f },
      { 0x45, 0xb9, 0x5e, 0x15, 0x23, 0x5d, 0x6f, 0x45, 0xa6, 0xb1, 0x9c, 0xbc, 0xb0, 0x29, 0x4b, 0xa9 },
      "d76b3343cf088394c8f03e5157080000449ea0c95e82",
      "ffe67b6abcdb4298b485dd04de806071",
      { 0xa1, 0x8b, 0x2f, 0xaa, 0x74, 0x5b, 0x6f, 0xe1, 0x89, 0xcf, 0x77, 0x2a, 0x9f, 0x84, 0xcb, 0xfc } },
};

static inline void put_hex(struct out *o, const char *hex)
{
    for (; *hex; hex += 2) {
        char byte[3] = { hex[0], hex[1], 0 };

        o->b[o->len++] = (uint8_t)strtoul(byte, NULL, 16);
    }
}

/* Appends a protected Initial packet with these frames. number_len: bytes of the packet number. */
static inline void put_initial(struct out *o, const struct quic_keys *k, uint32_t number, unsigned number_len, const char *token,
                               const struct out *frames)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    size_t start = o->len, at, len = number_len + frames->len + 16;
    uint8_t nonce[12], mask[32];
    int n;

    put_be(o, 1, (k->flags & 0xfcu) | (number_len - 1));
    put_be(o, 4, k->version);
    put_hex(o, "088394c8f03e51570800");
    put_be(o, 1, (uint32_t)strlen(token));
    put(o, token, strlen(token));
    put_be(o, 2, 0x4000u | (uint32_t)len);
    at = o->len;
    put_be(o, number_len, number);
    memcpy(nonce, k->iv, 12);
    for (unsigned i = 0; i < 4; i++)
        nonce[11 - i] ^= (uint8_t)(number >> i * 8);
    EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), NULL, k->key, nonce);
    EVP_EncryptUpdate(c, NULL, &n, o->b + start, (int)(o->len - start));
    EVP_EncryptUpdate(c, o->b + o->len, &n, frames->b, (int)frames->len);
    o->len += frames->len;
    EVP_EncryptFinal_ex(c, o->b + o->len, &n);
    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, o->b + o->len);
    o->len += 16;
    EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, k->hp, NULL);
    EVP_EncryptUpdate(c, mask, &n, o->b + at + 4, 16);
    EVP_CIPHER_CTX_free(c);
    o->b[start] ^= mask[0] & 0x0f;
    for (unsigned i = 0; i < number_len; i++)
        o->b[at + i] ^= mask[1 + i];
}

#endif
