/*
 * ss.h - Shadowsocks (AEAD: SIP004, SIP007; 2022 edition: SIP022): keys, sealing and opening, the stream layer, datagrams
 *
 *   ss_aead.c    password -> master key -> subkey of a salt; seal and open under a counter
 *   ss_2022.c    what the 2022 edition puts around that: heads of streams, datagrams of a session
 *   ss_stream.c  a stream of sealed chunks as a plain stream
 *   ss_udp.c     sealed datagrams of the older edition
 *   ss_old.c     before both: streams and datagrams that nothing authenticates
 *   ss_pkt.c     a datagram session
 *   ss.c         the outbound: what a profile says, dialling
 */
#ifndef OUTBOUND_SS_H
#define OUTBOUND_SS_H

#include "core/loop.h"
#include "core/stream.h"
#include "outbound/aead.h"
#include "outbound/atyp.h"

#define SS_KEY_MAX   AEAD_KEY_MAX
#define SS_TAG       AEAD_TAG
#define SS_CHUNK_MAX 0x3FFF /* plaintext of one chunk; 2022: 0xFFFF */
#define SS_RELAYS_MAX 16    /* 2022: between us and the server */
#define SS_SKEW_S    30     /* 2022: how far the server's clock may be from ours */

/* What came before: ciphers that authenticate nothing, and none at all (ss_old.c). */
enum ss_old {
    SS_NOT_OLD,
    SS_OLD_PLAIN,
    SS_OLD_AES_128_CTR,
    SS_OLD_AES_192_CTR,
    SS_OLD_AES_256_CTR,
    SS_OLD_AES_128_CFB,
    SS_OLD_AES_192_CFB,
    SS_OLD_AES_256_CFB,
    SS_OLD_CHACHA20,
    SS_OLD_CHACHA20_IETF,
    SS_OLD_XCHACHA20,
    SS_OLD_RC4_MD5,
};

/* A method. */
struct ss_cipher {
    const char *name, *alias, *v2ray; /* alias, v2ray: as others write it; NULL: the same */
    enum aead_id aead;
    bool is_2022, relays; /* relays: the password may be several keys, for relays on the way */
    enum ss_old old;      /* then none of the other three means anything */
};
/* The method a profile names (letter case ignored); NULL when unknown or when the library refuses it. */
const struct ss_cipher *ss_cipher_find(const char *name);
/* All of them, in order, the old ones last; NULL past the end. */
const struct ss_cipher *ss_cipher_at(size_t i);

/* What a node's flows share. */
struct ss_key {
    const struct ss_cipher *cipher;
    struct aead *aead; /* NULL: an old method */
    uint8_t len;       /* of keys and salts */
    uint8_t master[SS_KEY_MAX];
    struct ss_relay {
        uint8_t key[SS_KEY_MAX];
        uint8_t next[16]; /* names the key behind it: the first bytes of its hash */
    } *relays;
    unsigned n_relays;
};
/* The older edition: EVP_BytesToKey with MD5, no salt, one round. 2022: keys in base64, joined by ':'. 0; -EINVAL: the password is no such key;
 * -ERR_UNSUPPORTED, -ENOMEM. */
int ss_key_init(struct ss_key *k, const struct ss_cipher *c, const char *password);
void ss_key_fini(struct ss_key *k);

/* One direction of one flow: subkey and counter. Zeroed: no key. It may not move while it is in use. */
struct ss_dir {
    struct aead_key key;
    uint64_t counter; /* the nonce: little endian, one more after every seal or open */
};
static inline bool ss_dir_ready(const struct ss_dir *d)
{
    return d->key.alg != NULL;
}
/* Derives the subkey of a salt of k->len bytes. 0 or -ENOMEM. */
int ss_dir_init(struct ss_dir *d, const struct ss_key *k, const uint8_t *salt);
/* Forgets the key. */
void ss_dir_fini(struct ss_dir *d);

/* As aead_seal() and aead_open(), with the next nonce. */
int ss_seal(struct ss_dir *d, const struct iovec *in, int n, uint8_t *out);
int ss_open(struct ss_dir *d, const uint8_t *in, size_t len, const struct iovec *out, int n);

/* Puts the layer on a connected stream; takes `down` over on success. `key` must live as long as the stream is not closed, *answered is set when the
 * first chunk opened. head is the address block to be sent before the first byte (head_len 0: none). NULL without memory.
 *
 * The stream fails with -ERR_AUTH when bytes do not authenticate or were heard before; 2022: with -ERR_CLOCK when the clocks differ. */
struct stream *ss_stream_new(struct loop *l, const struct ss_key *key, struct stream *down, const uint8_t *head, size_t head_len, bool *answered);
/* Gives pooled memory back, and forgets which salts were heard; at exit, and for leak checks. */
void ss_stream_trim(void);

#define SS_DATAGRAM_MAX 65507

/* One datagram of the older edition: salt | sealed (address | payload). out needs len + SS_UDP_EXTRA bytes. Returns its length or -err. */
#define SS_UDP_EXTRA (SS_KEY_MAX + ATYP_MAX + SS_TAG)
ssize_t ss_udp_seal(const struct ss_key *k, const uint8_t *salt, const struct dest *to, const void *buf, size_t len, uint8_t *out);
/* Opens one into out (len bytes). from: its sender; *payload lies in out. -ERR_AUTH, or -ERR_PROTO when what was sealed makes no
 * sense. */
int ss_udp_open(const struct ss_key *k, const uint8_t *buf, size_t len, uint8_t *out, struct sender *from, struct span *payload);

/* The same three things for old methods; only head and address are looked at, so whatever comes is taken for an answer. iv: SS_KEY_MAX random bytes. */
struct stream *ss_old_stream_new(struct loop *l, const struct ss_key *key, struct stream *down, const uint8_t *head, size_t head_len);
ssize_t ss_old_udp_seal(const struct ss_key *k, const uint8_t *iv, const struct dest *to, const void *buf, size_t len, uint8_t *out);
int ss_old_udp_open(const struct ss_key *k, const uint8_t *buf, size_t len, uint8_t *out, struct sender *from, struct span *payload);
uint8_t ss_old_key_len(enum ss_old m);

/* A datagram session to a node's server. key must live as long as the session is not closed. 0 or -err. */
struct outbound;
struct pktsess;
int ss_pkt_open(struct outbound *o, const struct ss_key *key, struct pktsess **out);

/* ---- the 2022 edition (ss_2022.c); now: seconds of the wall clock ---- */

/* What follows the salt of a request: identity headers, a fixed head, and a head with the address and the first bytes (at most SS_PIECES). pad: bytes
 * of padding, at least 1 when there are no first bytes. tx has its key already. Returns bytes written, or -err. */
#define SS_PIECES        64
#define SS22_PAD_MAX     900
#define SS22_FIXED       (1 + 8 + 2)
#define SS22_HEAD_MAX(k) ((k)->n_relays * 16 + SS22_FIXED + SS_TAG + ATYP_MAX + 2 + SS22_PAD_MAX + SS_TAG)
ssize_t ss22_request(struct ss_dir *tx, const struct ss_key *k, const uint8_t *salt, uint64_t now, const struct span *addr, unsigned pad,
                     const struct iovec *first, int n, uint8_t *out);
/* The head of an answer, behind its salt: SS22_ANSWER(k) bytes. *len: plaintext of the chunk that follows. 0, -ERR_AUTH, -ERR_PROTO, -ERR_CLOCK. */
#define SS22_ANSWER(k) (SS22_FIXED + (size_t)(k)->len + SS_TAG)
int ss22_answer(struct ss_dir *rx, const struct ss_key *k, const uint8_t *in, const uint8_t *our_salt, uint64_t now, uint16_t *len);

/* Numbers already seen, of the newest SS_WINDOW. Zeroed: none. */
#define SS_WINDOW (64 * 15)
struct ss_window {
    uint64_t top; /* highest + 1; 0: none */
    uint64_t bits[16];
};
bool ss_window_fits(const struct ss_window *w, uint64_t n); /* new, and not too old */
void ss_window_add(struct ss_window *w, uint64_t n);

/* Both ends of a datagram session. */
struct ss22_udp {
    const struct ss_key *key;
    uint8_t id[8];
    uint64_t next;
    struct aead_key tx;
    struct ss22_server { /* the server's session, and the one before it */
        uint8_t id[8];
        struct aead_key rx;
        struct ss_window seen;
        uint64_t last_s;
    } server[2];
};
/* u is zeroed and may not move. 0 or -ENOMEM. */
int ss22_udp_init(struct ss22_udp *u, const struct ss_key *k, const uint8_t id[8]);
void ss22_udp_fini(struct ss22_udp *u);
/* One datagram; nonce: 24 random bytes (ChaCha only). out needs len + SS22_UDP_EXTRA(key) bytes. Returns its length or -err. */
#define SS22_UDP_EXTRA(k) (24 + 16 + (k)->n_relays * 16 + 1 + 8 + 2 + SS22_PAD_MAX + ATYP_MAX + SS_TAG)
ssize_t ss22_udp_seal(struct ss22_udp *u, uint64_t now, unsigned pad, const uint8_t nonce[24], const struct dest *to, const void *buf, size_t len,
                      uint8_t *out);
/* Opens one into out (len bytes). As ss_udp_open(); -ERR_CLOCK when the clocks differ, -ERR_AUTH for one heard before. */
int ss22_udp_open(struct ss22_udp *u, uint64_t now, const uint8_t *buf, size_t len, uint8_t *out, struct sender *from,
                  struct span *payload);

#endif
