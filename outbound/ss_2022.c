/*
 * ss_2022.c - the 2022 edition of Shadowsocks (SIP022, SIP023): heads of streams, datagrams of a session
 *
 *   request:  salt | identity 16 each | sealed (0, time 8, length 2) | sealed (address, pad length 2, pad, first bytes) | chunks
 *   answer:   salt | sealed (1, time 8, our salt, length 2)          | sealed (first bytes)                              | chunks
 *
 *   datagram, AES:     AES block (session 8 | number 8) | identity 16 each | sealed (body)          nonce: bytes 4..15 of the block
 *   datagram, ChaCha:  nonce 24 | sealed (session 8 | number 8 | body)
 *   body:              0, time 8, pad length 2, pad, address, payload              from the server: 1, time 8, our session 8, pad ...
 *
 * An identity names the key of the server behind a relay, encrypted for that relay. Time bounds how old a recording can be, our salt in the
 * answer ties it to the request, and a window over the numbers of a server's session lets every datagram pass once. A server that restarts
 * begins another session: the one before it is still heard for a while.
 *
 * Pure but for the keys' contexts: bytes in, bytes out, the time is an argument.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "outbound/blake3.h"
#include "outbound/ss.h"

#define OLD_SESSION_S (2 * SS_SKEW_S) /* what a session said last may look new for so long */
#define DATAGRAM_MAX  65507
#define NONCE         24 /* of a ChaCha datagram */
#define BLOCK         16 /* session and number */

enum { FROM_CLIENT, FROM_SERVER };

static uint8_t *put_be(uint8_t *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
    return out + bytes;
}

static bool is_now(uint64_t then, uint64_t now)
{
    return then <= now + SS_SKEW_S && now <= then + SS_SKEW_S;
}

/* ---- streams ---- */

static int put_identities(const struct ss_key *k, const uint8_t *salt, uint8_t *out)
{
    uint8_t both[2 * SS_KEY_MAX], subkey[SS_KEY_MAX];
    int r = 0;

    for (unsigned i = 0; i < k->n_relays && r == 0; i++) {
        memcpy(both, k->relays[i].key, k->len);
        memcpy(both + k->len, salt, k->len);
        blake3_derive("shadowsocks 2022 identity subkey", both, 2u * k->len, subkey, k->len);
        r = aes_block(subkey, k->len, true, k->relays[i].next, out + 16 * (size_t)i);
    }
    OPENSSL_cleanse(both, sizeof(both));
    OPENSSL_cleanse(subkey, sizeof(subkey));
    return r;
}

ssize_t ss22_request(struct ss_dir *tx, const struct ss_key *k, const uint8_t *salt, uint64_t now, const struct span *addr, unsigned pad,
                     const struct iovec *first, int n, uint8_t *out)
{
    size_t len = addr->len + 2 + pad + iov_total(first, n), at = 16 * (size_t)k->n_relays;
    uint8_t fixed[SS22_FIXED], pads[2 + SS22_PAD_MAX] = { 0 };
    struct iovec piece[2 + SS_PIECES];
    int r;

    put_be(put_be(put_be(fixed, FROM_CLIENT, 1), now, 8), len, 2);
    put_be(pads, pad, 2);
    piece[0] = (struct iovec){ (void *)addr->p, addr->len };
    piece[1] = (struct iovec){ pads, 2 + pad };
    memcpy(piece + 2, first, (size_t)n * sizeof(*first));
    if ((r = put_identities(k, salt, out)) < 0 || (r = ss_seal(tx, &(struct iovec){ fixed, sizeof(fixed) }, 1, out + at)) < 0)
        return r;
    at += sizeof(fixed) + SS_TAG;
    if ((r = ss_seal(tx, piece, 2 + n, out + at)) < 0)
        return r;
    return (ssize_t)(at + len + SS_TAG);
}

int ss22_answer(struct ss_dir *rx, const struct ss_key *k, const uint8_t *in, const uint8_t *our_salt, uint64_t now, uint16_t *len)
{
    uint8_t head[SS22_FIXED + SS_KEY_MAX];
    size_t n = SS22_FIXED + (size_t)k->len;
    struct rd r = rd_from(head, n);
    struct span salt;
    uint8_t type;
    uint64_t then;
    int e;

    if ((e = ss_open(rx, in, n, &(struct iovec){ head, n }, 1)) < 0)
        return e;
    type = rd_u8(&r);
    then = rd_be64(&r);
    salt = rd_span(&r, k->len);
    *len = rd_be16(&r);
    if (type != FROM_SERVER)
        return -ERR_PROTO;
    if (CRYPTO_memcmp(salt.p, our_salt, k->len) != 0)
        return -ERR_AUTH; /* an answer to somebody else */
    return is_now(then, now) ? 0 : -ERR_CLOCK;
}

/* ---- the window ---- */

#define WORDS 16

bool ss_window_fits(const struct ss_window *w, uint64_t n)
{
    if (n >= w->top)
        return n != UINT64_MAX;
    return w->top - n <= SS_WINDOW && !(w->bits[n / 64 % WORDS] >> (n % 64) & 1);
}

void ss_window_add(struct ss_window *w, uint64_t n)
{
    uint64_t from = w->top ? (w->top - 1) / 64 + 1 : 0, to = n / 64; /* words that begin anew */

    if (to >= from + WORDS)
        from = to - (WORDS - 1);
    for (; from <= to; from++)
        w->bits[from % WORDS] = 0;
    if (n >= w->top)
        w->top = n + 1;
    w->bits[n / 64 % WORDS] |= 1ull << (n % 64);
}

/* ---- datagrams ---- */

static bool is_chacha(const struct ss_key *k)
{
    return k->aead->key_len == 32 && !k->cipher->relays;
}

/* AES: the session's subkey. ChaCha: the key itself, with a nonce that is long enough to be random. */
static int session_key(struct aead_key *out, const struct ss_key *k, const uint8_t id[8])
{
    uint8_t both[SS_KEY_MAX + 8], subkey[SS_KEY_MAX];
    struct aead *x;

    if (is_chacha(k)) {
        if (!(x = aead_get(AEAD_XCHACHA20)))
            return -ENOMEM;
        aead_key_init(out, x, k->master);
        return 0;
    }
    memcpy(both, k->master, k->len);
    memcpy(both + k->len, id, 8);
    blake3_derive("shadowsocks 2022 session subkey", both, k->len + 8u, subkey, k->len);
    aead_key_init(out, k->aead, subkey);
    OPENSSL_cleanse(both, sizeof(both));
    OPENSSL_cleanse(subkey, sizeof(subkey));
    return 0;
}

int ss22_udp_init(struct ss22_udp *u, const struct ss_key *k, const uint8_t id[8])
{
    u->key = k;
    memcpy(u->id, id, 8);
    return session_key(&u->tx, k, u->id);
}

void ss22_udp_fini(struct ss22_udp *u)
{
    aead_key_fini(&u->tx);
    aead_key_fini(&u->server[0].rx);
    aead_key_fini(&u->server[1].rx);
}

/* The block and the identities, encrypted. Returns their length or -err. */
static ssize_t put_block(const struct ss_key *k, const uint8_t block[BLOCK], uint8_t *out)
{
    const uint8_t *first = k->n_relays ? k->relays[0].key : k->master;
    uint8_t name[16];
    int r = aes_block(first, k->len, true, block, out);

    for (unsigned i = 0; i < k->n_relays && r == 0; i++) {
        for (int b = 0; b < 16; b++)
            name[b] = k->relays[i].next[b] ^ block[b];
        r = aes_block(k->relays[i].key, k->len, true, name, out + BLOCK + 16 * (size_t)i);
    }
    return r < 0 ? r : (ssize_t)(BLOCK + 16 * (size_t)k->n_relays);
}

ssize_t ss22_udp_seal(struct ss22_udp *u, uint64_t now, unsigned pad, const uint8_t nonce[24], const struct dest *to, const void *buf,
                      size_t len, uint8_t *out)
{
    uint8_t block[BLOCK], head[1 + 8 + 2 + SS22_PAD_MAX + ATYP_MAX] = { 0 }, *at;
    bool chacha = is_chacha(u->key);
    size_t head_len;
    ssize_t before;
    int r;

    memcpy(block, u->id, 8);
    put_be(block + 8, u->next++, 8);
    at = put_be(put_be(put_be(head, FROM_CLIENT, 1), now, 8), pad, 2) + pad;
    if (!(head_len = atyp_put(at, to)))
        return -ERR_NAME;
    head_len += (size_t)(at - head);
    if (len + SS22_UDP_EXTRA(u->key) > DATAGRAM_MAX)
        return -EMSGSIZE;
    before = chacha ? NONCE : put_block(u->key, block, out);
    if (before < 0)
        return before;
    if (chacha)
        memcpy(out, nonce, NONCE);
    r = aead_seal(&u->tx, chacha ? nonce : block + 4, NULL,
                  (struct iovec[]){ { block, chacha ? BLOCK : 0 }, { head, head_len }, { (void *)buf, len } }, 3, out + before);
    return r < 0 ? r : before + (chacha ? BLOCK : 0) + (ssize_t)(head_len + len + SS_TAG);
}

/* What a datagram says once it is open. */
struct opened {
    uint8_t block[BLOCK];
    struct span body;
};

static struct ss22_server *find_session(struct ss22_udp *u, const uint8_t id[8])
{
    for (int i = 0; i < 2; i++)
        if (u->server[i].rx.alg && !memcmp(u->server[i].id, id, 8))
            return &u->server[i];
    return NULL;
}

static int open_chacha(struct ss22_udp *u, const uint8_t *buf, size_t len, uint8_t *out, struct opened *o)
{
    int r;

    if (len < NONCE + BLOCK + SS_TAG)
        return -ERR_PROTO;
    len -= NONCE + SS_TAG;
    if ((r = aead_open(&u->tx, buf, NULL, buf + NONCE, len, &(struct iovec){ out, len }, 1)) < 0) /* one key for both ways */
        return r;
    memcpy(o->block, out, BLOCK);
    o->body = (struct span){ out + BLOCK, len - BLOCK };
    return 0;
}

static int open_aes(struct ss22_udp *u, const uint8_t *buf, size_t len, uint8_t *out, struct opened *o)
{
    struct ss22_server *known;
    struct aead_key once = { 0 };
    int r;

    if (len < BLOCK + SS_TAG)
        return -ERR_PROTO;
    if ((r = aes_block(u->key->master, u->key->len, false, buf, o->block)) < 0)
        return r;
    known = find_session(u, o->block);
    if (!known && (r = session_key(&once, u->key, o->block)) < 0)
        return r;
    len -= BLOCK + SS_TAG;
    r = aead_open(known ? &known->rx : &once, o->block + 4, NULL, buf + BLOCK, len, &(struct iovec){ out, len }, 1);
    aead_key_fini(&once);
    o->body = (struct span){ out, len };
    return r;
}

/* A new session of the server takes the place of the one that was heard longest ago, unless both are in use. */
static struct ss22_server *new_session(struct ss22_udp *u, const uint8_t id[8], uint64_t now)
{
    struct ss22_server *s = &u->server[u->server[0].last_s > u->server[1].last_s];

    if (u->server[0].rx.alg && u->server[1].rx.alg && now <= s->last_s + OLD_SESSION_S)
        return NULL;
    aead_key_fini(&s->rx);
    *s = (struct ss22_server){ 0 };
    memcpy(s->id, id, 8);
    return session_key(&s->rx, u->key, s->id) < 0 ? NULL : s;
}

/* Is it new? Remembered only now that everything else was right. */
static int pass_once(struct ss22_udp *u, const uint8_t block[BLOCK], uint64_t now)
{
    struct ss22_server *s = find_session(u, block);
    struct rd r = rd_from(block + 8, 8);
    uint64_t number = rd_be64(&r);

    if (!s && !(s = new_session(u, block, now)))
        return -ERR_LIMIT;
    if (!ss_window_fits(&s->seen, number))
        return -ERR_AUTH;
    ss_window_add(&s->seen, number);
    s->last_s = now;
    return 0;
}

int ss22_udp_open(struct ss22_udp *u, uint64_t now, const uint8_t *buf, size_t len, uint8_t *out, struct sender *from,
                  struct span *payload)
{
    struct opened o;
    struct span id;
    uint8_t type;
    uint64_t then;
    struct rd r;
    int e;

    if ((e = is_chacha(u->key) ? open_chacha(u, buf, len, out, &o) : open_aes(u, buf, len, out, &o)) < 0)
        return e;
    r = rd_from(o.body.p, o.body.len);
    type = rd_u8(&r);
    then = rd_be64(&r);
    id = rd_span(&r, 8);
    rd_skip(&r, rd_be16(&r));
    sender_get(&r, from);
    if (!rd_ok(&r) || type != FROM_SERVER)
        return -ERR_PROTO;
    if (memcmp(id.p, u->id, 8) != 0)
        return -ERR_AUTH;
    if (!is_now(then, now))
        return -ERR_CLOCK;
    *payload = rd_span(&r, rd_left(&r));
    return pass_once(u, o.block, now);
}
