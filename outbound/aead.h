/*
 * aead.h - authenticated encryption: algorithms shared by all flows, keys of one direction each
 */
#ifndef OUTBOUND_AEAD_H
#define OUTBOUND_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define AEAD_KEY_MAX   32
#define AEAD_NONCE_MAX 24
#define AEAD_TAG       16

enum aead_id { AEAD_AES_128_GCM, AEAD_AES_192_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20, AEAD_XCHACHA20, AEAD_N };

struct evp_cipher_st;
struct evp_cipher_ctx_st;

/* An algorithm. Its two contexts are shared: they are re-keyed when another flow's turn comes (0.2 us), so a flow only keeps its key. */
struct aead {
    const char *evp; /* OpenSSL's name */
    uint8_t key_len, nonce_len;
    struct evp_cipher_st *cipher;
    struct evp_cipher_ctx_st *seal, *open;
    const void *seal_for, *open_for; /* the key that is in there */
};
/* Ready for use; NULL when the library refuses it. Lives as long as the process. */
struct aead *aead_get(enum aead_id id);

/* A key. Zeroed: none. It may not move while it is in use. */
struct aead_key {
    struct aead *alg;
    uint8_t key[AEAD_KEY_MAX];
};
void aead_key_init(struct aead_key *k, struct aead *alg, const uint8_t *key);
/* Forgets it; harmless without one. */
void aead_key_fini(struct aead_key *k);

/* Data that is authenticated only. */
struct aead_data {
    const void *p;
    size_t len;
};

/* Seals pieces into out (their length + AEAD_TAG bytes); out may not overlap them. aad may be NULL. 0 or -ERR_PROTO (the library failed).
 */
int aead_seal(struct aead_key *k, const uint8_t *nonce, const struct aead_data *aad, const struct iovec *in, int n, uint8_t *out);
/* Opens len bytes at in, followed by their tag, into pieces that hold exactly len (one of them may be `in` itself). When the tag is wrong
 * the pieces are zeroed and -ERR_AUTH is returned. */
int aead_open(struct aead_key *k, const uint8_t *nonce, const struct aead_data *aad, const uint8_t *in, size_t len, const struct iovec *out,
              int n);

/* One block of AES in ECB mode (key_len 16, 24 or 32), which some protocols build on. in and out may be the same. 0 or -ENOMEM. */
int aes_block(const uint8_t *key, size_t key_len, bool encrypt, const uint8_t in[16], uint8_t out[16]);

/* HChaCha20 (draft-irtf-cfrg-xchacha section 2.2): a key out of a key and 16 bytes of nonce. */
void hchacha20(const uint8_t key[32], const uint8_t nonce[16], uint8_t out[32]);

#endif
