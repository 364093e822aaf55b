/*
 * vmess.h - VMess (AEAD heads, alterId 0): keys and heads, and the stream layer
 *
 *   vmess_head.c    the key derivation; what a request begins with, what an answer begins with
 *   vmess_stream.c  chunks, masked, padded, sealed, as a plain stream, or as datagrams with their length in front
 *   vmess.c         the outbound
 */
#ifndef OUTBOUND_VMESS_H
#define OUTBOUND_VMESS_H

#include "core/loop.h"
#include "core/stream.h"
#include "outbound/aead.h"
#include "outbound/atyp.h"

enum { VMESS_AES = 3, VMESS_CHACHA = 4, VMESS_NONE = 5 };                                   /* security */
enum { VMESS_CHUNKS = 1, VMESS_MASK = 4, VMESS_PADDING = 8, VMESS_AUTH_LENGTH = 0x10 };     /* options */
enum { VMESS_TCP = 1, VMESS_UDP = 2, VMESS_MUX = 3 };                                       /* commands */

#define VMESS_TAG 16

/* What a node's flows share. */
struct vmess_user {
    uint8_t cmd_key[16], auth_key[16];
};
/* 0 or -ERR_UNSUPPORTED (the library has no MD5). */
int vmess_user_init(struct vmess_user *u, const uint8_t uuid[16]);

/* KDF of the heads: nested HMAC-SHA256 over at most three path parts. out has 32 bytes. 0 or -ERR_UNSUPPORTED. */
int vmess_kdf(const uint8_t key[16], const struct span *path, int n, uint8_t out[32]);

/* What the head of a request says. */
struct vmess_request {
    uint8_t iv[16], key[16]; /* of the body, random */
    uint8_t check;           /* random; the answer repeats it */
    uint8_t options, security, command;
    const uint8_t *pad; /* n_pad random bytes */
    uint8_t n_pad;      /* 0..15 */
    struct dest to;
};
/* Where a destination is written: port, type (1 IPv4, 2 name, 3 IPv6), address. VLESS and mux frames write it so, too. Returns its length, 0 when
 * there is none. */
#define VMESS_ADDR_MAX (2 + 1 + 1 + 255)
size_t vmess_put_addr(uint8_t out[VMESS_ADDR_MAX], const struct dest *to);
/* Reads one; a name leaves at->ip.ver 0 and is lent in *name. */
void vmess_get_addr(struct rd *r, struct endpoint *at, struct span *name);

#define VMESS_PLAIN_MAX (40 + VMESS_ADDR_MAX + 15 + 4)
#define VMESS_HEAD_MAX  (16 + 18 + 8 + VMESS_PLAIN_MAX + VMESS_TAG)
/* The head as it is before it is sealed. Returns its length, or -ERR_NAME without a destination (VMESS_MUX needs none). */
ssize_t vmess_plain_head(const struct vmess_request *q, uint8_t out[VMESS_PLAIN_MAX]);
/* Seals it; now: seconds of the wall clock. Returns the length on the wire, or -err. */
ssize_t vmess_seal_head(const struct vmess_user *u, uint64_t now, const uint8_t random[4], const uint8_t nonce[8], const uint8_t *plain, size_t n,
                        uint8_t out[VMESS_HEAD_MAX]);

/* The key and iv of the server's direction. 0 or -ERR_UNSUPPORTED. */
int vmess_answer_keys(const struct vmess_request *q, uint8_t key[16], uint8_t iv[16]);
/* The sealed length (18 bytes at in) of an answer's head: the plaintext's length, or -ERR_AUTH. */
#define VMESS_ANSWER_MAX 512
int vmess_answer_length(const uint8_t key[16], const uint8_t iv[16], const uint8_t *in);
/* The head itself (n bytes and their tag at in): 0, -ERR_AUTH, -ERR_PROTO. */
int vmess_answer(const uint8_t key[16], const uint8_t iv[16], const uint8_t *in, size_t n, uint8_t check);

/* ChaCha20 wants 32 bytes: MD5 of the key and MD5 of that. 0 or -ERR_UNSUPPORTED. */
int vmess_chacha_key(const uint8_t key[16], uint8_t out[32]);
/* Puts the layer on a connected stream; takes `down` over on success. user must live as long as the stream is not closed; *answered is set when the
 * answer's head opened. With VMESS_UDP what is written and read are datagrams, each behind its length (2 bytes, big endian); a write has whole
 * ones only, of at most VMESS_DATAGRAM_MAX bytes. 0, -ENOMEM, or -ERR_NAME. */
#define VMESS_DATAGRAM_MAX (16384 - VMESS_TAG)
struct vmess_options {
    uint8_t security, options, command; /* without VMESS_CHUNKS the body is raw, which VMESS_UDP cannot be */
};
int vmess_stream_new(struct loop *l, const struct vmess_user *user, const struct vmess_options *how, const struct dest *to, struct stream *down,
                     bool *answered, struct stream **up);

#endif
