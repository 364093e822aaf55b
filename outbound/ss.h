/*
 * ss.h - Shadowsocks AEAD (SIP004, SIP007): keys, sealing and opening, the stream layer, datagrams
 *
 *   ss_aead.c    password -> master key -> subkey of a salt; seal and open under a counter
 *   ss_stream.c  a stream of sealed chunks as a plain stream
 *   ss_udp.c     sealed datagrams
 *   ss.c         the outbound: what a profile says, dialling
 */
#ifndef OUTBOUND_SS_H
#define OUTBOUND_SS_H

#include "core/loop.h"
#include "core/stream.h"
#include "outbound/atyp.h"

#define SS_KEY_MAX 32
#define SS_TAG 16
#define SS_CHUNK_MAX 0x3FFF /* plaintext of one chunk */

struct evp_cipher_st;
struct evp_cipher_ctx_st;

/* A method. The two contexts are shared by all flows: they are re-keyed when another flow's turn comes (0.2 us), so a flow only keeps its key. */
struct ss_cipher {
    const char *name, *alias, *evp, *v2ray; /* v2ray: as that program writes it; NULL: the same */
    uint8_t key_len; /* the salt is as long */
    struct evp_cipher_st *cipher;
    struct evp_cipher_ctx_st *seal, *open;
    const void *seal_for, *open_for; /* the direction whose key is in there */
};

/* The method a profile names (letter case ignored), ready for use; NULL when unknown or when the library refuses it. */
struct ss_cipher *ss_cipher_find(const char *name);

/* What a node's flows share. */
struct ss_key {
    struct ss_cipher *cipher;
    uint8_t master[SS_KEY_MAX];
};
/* EVP_BytesToKey with MD5, no salt, one round. 0 or -ERR_UNSUPPORTED. */
int ss_key_init(struct ss_key *k, struct ss_cipher *c, const char *password);

/* One direction of one flow: subkey and counter. */
struct ss_dir {
    struct ss_cipher *cipher; /* NULL until there is a key */
    uint64_t counter;         /* the nonce: little endian, one more after every seal or open */
    uint8_t key[SS_KEY_MAX];
};
/* Derives the subkey of a salt (HKDF-SHA1, "ss-subkey"). 0 or -ENOMEM. */
int ss_dir_init(struct ss_dir *d, const struct ss_key *k, const uint8_t *salt);
/* Forgets the key. */
void ss_dir_fini(struct ss_dir *d);

/* Seals pieces into out (their length + SS_TAG bytes). out may not overlap them. 0 or -ERR_PROTO. */
int ss_seal(struct ss_dir *d, const struct iovec *in, int n, uint8_t *out);
/* Opens len bytes at in, followed by their tag, into pieces that hold exactly len (one of them may be `in` itself). When the tag is wrong
 * the pieces are zeroed and -ERR_AUTH is returned. */
int ss_open(struct ss_dir *d, const uint8_t *in, size_t len, const struct iovec *out, int n);

/* Puts the layer on a connected stream; takes `down` over on success. `key` must live as long as the stream is not closed, *answered is set
 * when the first chunk opened. head is the address block to be sent before the first byte. NULL without memory. */
struct stream *ss_stream_new(struct loop *l, const struct ss_key *key, struct stream *down, const uint8_t *head, size_t head_len, bool *answered);
/* Gives pooled memory back; at exit, and for leak checks. */
void ss_stream_trim(void);

/* One datagram: salt | sealed (address | payload). out needs len + SS_UDP_EXTRA bytes. Returns its length or -err. */
#define SS_UDP_EXTRA (SS_KEY_MAX + ATYP_MAX + SS_TAG)
ssize_t ss_udp_seal(const struct ss_key *k, const uint8_t *salt, const struct dest *to, const void *buf, size_t len, uint8_t *out);
/* Opens one into out (len bytes). from: its sender; *payload lies in out. -ERR_AUTH, or -ERR_PROTO when what was sealed makes no sense (or has a
 * name for a sender). */
int ss_udp_open(const struct ss_key *k, const uint8_t *buf, size_t len, uint8_t *out, struct endpoint *from, struct span *payload);

#endif
