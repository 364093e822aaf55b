/*
 * sniff_quic.c - the server name out of QUIC Initial packets
 *
 *   datagram ─► packets ─► unprotect ─► frames ─► CRYPTO pieces ─► ClientHello ─► name
 *
 * The first packets of a connection are encrypted under keys that anybody can make from the destination id they carry, so that only the
 * path cannot change them unseen (RFC 9001 section 5.2):
 *
 *   secret = HMAC(salt of the version, destination id) ─"client in"─► "quic key", "quic iv", "quic hp"
 *
 *   flags 1 | version 4 | destination id <1> | source id <1> | token <v> | length v | number 1-4, bytes
 *   └ type and, hidden, size of the number                                            └ hidden, then AES-128-GCM
 *
 * The flags' low bits and the number are hidden by a mask made of the packet's own bytes (section 5.4). Browsers cut the ClientHello into
 * small frames, shuffle them, and need two datagrams for it since keys grew; so pieces are collected with one bit per byte that is there.
 *
 * Memory: one struct of 18 KiB, of fixed size.
 */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "core/reader.h"
#include "engine/sniff_private.h"

#define KEY        16
#define IV         12
#define TAG        16
#define ID_MAX     20
#define PACKET_MAX 2048 /* of an Initial packet; datagrams are smaller */

struct sniff_quic {
    uint32_t version; /* 0: no packet seen yet */
    uint8_t id[ID_MAX], id_len;
    uint8_t key[KEY], iv[IV], hp[KEY];
    size_t have; /* the message from its start without a hole */
    uint8_t there[SNIFF_MAX / 8];
    uint8_t message[SNIFF_MAX];
};

/* ---- versions ---- */

static const struct version {
    uint32_t number;
    unsigned initial; /* the type in the flags */
    const char *key, *iv, *hp;
    uint8_t salt[20];
} versions[] = {
    { 1,
      0,
      "quic key",
      "quic iv",
      "quic hp", /* RFC 9001 section 5.2 */
      { 0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a } },
    { 0x6b3343cf,
      1,
      "quicv2 key",
      "quicv2 iv",
      "quicv2 hp", /* RFC 9369 section 3.3 */
      { 0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9 } },
};

static const struct version *find_version(uint32_t number)
{
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
        if (versions[i].number == number)
            return &versions[i];
    return NULL;
}

/* ---- keys ---- */

static bool hmac(const uint8_t *key, size_t key_len, const uint8_t *p, size_t len, uint8_t out[32])
{
    return HMAC(EVP_sha256(), key, (int)key_len, p, len, out, NULL);
}

/* HKDF-Expand-Label (RFC 8446 section 7.1) of at most one block. */
static bool expand(const uint8_t secret[32], const char *label, uint8_t *out, size_t len)
{
    uint8_t info[40] = { 0, (uint8_t)len, (uint8_t)(6 + strlen(label)), 't', 'l', 's', '1', '3', ' ' }, block[32];
    size_t n = 9 + strlen(label);

    memcpy(info + 9, label, strlen(label));
    info[n++] = 0; /* no context */
    info[n++] = 1; /* first block */
    if (!hmac(secret, 32, info, n, block))
        return false;
    memcpy(out, block, len);
    return true;
}

static bool make_keys(struct sniff_quic *q, const struct version *v, struct span id)
{
    uint8_t initial[32], client[32];

    if (q->version == v->number && q->id_len == id.len && !memcmp(q->id, id.p, id.len))
        return true;
    q->version = v->number;
    q->id_len = (uint8_t)id.len;
    memcpy(q->id, id.p, id.len);
    return hmac(v->salt, sizeof(v->salt), id.p, id.len, initial) && expand(initial, "client in", client, sizeof(client)) &&
           expand(client, v->key, q->key, KEY) && expand(client, v->iv, q->iv, IV) && expand(client, v->hp, q->hp, KEY);
}

/* ---- one packet ---- */

/* A packet that is taken apart but still protected. */
struct packet {
    struct span head; /* from the flags up to the number */
    struct span rest; /* the number and what follows */
};

static bool aes_block(const uint8_t key[KEY], const uint8_t in[16], uint8_t out[16])
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n;
    bool ok = c && EVP_EncryptInit_ex(c, EVP_aes_128_ecb(), NULL, key, NULL) && EVP_EncryptUpdate(c, out, &n, in, 16);

    EVP_CIPHER_CTX_free(c);
    return ok;
}

static bool gcm_open(const struct sniff_quic *q, const uint8_t nonce[IV], struct span aad, struct span sealed, uint8_t *plain)
{
    size_t len = sealed.len - TAG;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int n;
    bool ok = c && EVP_DecryptInit_ex(c, EVP_aes_128_gcm(), NULL, q->key, nonce) && EVP_DecryptUpdate(c, NULL, &n, aad.p, (int)aad.len) &&
              EVP_DecryptUpdate(c, plain, &n, sealed.p, (int)len) &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, (void *)(sealed.p + len)) && EVP_DecryptFinal_ex(c, plain + n, &n) == 1;

    EVP_CIPHER_CTX_free(c);
    return ok;
}

/* Takes the protection off. plain has PACKET_MAX bytes; false when it is not ours to read. */
static bool unprotect(const struct sniff_quic *q, const struct packet *p, uint8_t *plain, size_t *len)
{
    uint8_t head[PACKET_MAX + 4], mask[16], nonce[IV];
    size_t n;

    if (p->head.len + p->rest.len > PACKET_MAX || p->rest.len < 4 + 16 || !aes_block(q->hp, p->rest.p + 4, mask))
        return false;
    memcpy(head, p->head.p, p->head.len);
    head[0] ^= mask[0] & 0x0f;
    n = (head[0] & 3u) + 1;
    memcpy(nonce, q->iv, IV);
    for (size_t i = 0; i < n; i++) {
        head[p->head.len + i] = p->rest.p[i] ^ mask[1 + i];
        nonce[IV - n + i] ^= head[p->head.len + i]; /* numbers begin low: what was sent is the whole of it */
    }
    *len = p->rest.len - n - TAG;
    return gcm_open(q, nonce, (struct span){ head, p->head.len + n }, (struct span){ p->rest.p + n, p->rest.len - n }, plain);
}

/* ---- frames ---- */

/* A number of 1, 2, 4 or 8 bytes (RFC 9000 section 16). */
static uint64_t varint(struct rd *r)
{
    uint8_t first = rd_u8(r);
    uint64_t v = first & 0x3f;

    for (unsigned n = (1u << (first >> 6)) - 1; n; n--)
        v = v << 8 | rd_u8(r);
    return v;
}

static bool crypto_frame(struct sniff_quic *q, struct rd *r)
{
    uint64_t at = varint(r), len = varint(r);
    struct span s = rd_span(r, len <= SNIFF_MAX ? (size_t)len : SIZE_MAX);

    if (!rd_ok(r) || at + s.len > SNIFF_MAX)
        return false;
    memcpy(q->message + at, s.p, s.len);
    for (size_t i = (size_t)at; i < at + s.len; i++)
        q->there[i / 8] |= (uint8_t)(1u << i % 8);
    while (q->have < SNIFF_MAX && q->there[q->have / 8] >> q->have % 8 & 1)
        q->have++;
    return true;
}

static void ack_frame(struct rd *r, bool ecn)
{
    uint64_t ranges;

    varint(r);
    varint(r);
    ranges = varint(r);
    varint(r);
    for (; ranges && rd_ok(r); ranges--) {
        varint(r);
        varint(r);
    }
    for (int i = 0; ecn && i < 3; i++)
        varint(r);
}

/* What may stand in an Initial packet: PADDING, PING, ACK, CRYPTO (RFC 9000 section 17.2.2). False at anything else. */
static bool read_frames(struct sniff_quic *q, struct rd r)
{
    while (rd_left(&r) && rd_ok(&r)) {
        switch (rd_u8(&r)) {
        case 0:
        case 1: break;
        case 2: ack_frame(&r, false); break;
        case 3: ack_frame(&r, true); break;
        case 6:
            if (!crypto_frame(q, &r))
                return false;
            break;
        default: return false;
        }
    }
    return rd_ok(&r);
}

/* ---- a datagram ---- */

/* The next packet of a datagram. false: none that has a name in it follows. */
static bool next_packet(struct rd *r, struct packet *p, const struct version **v, struct span *id, bool *initial)
{
    const uint8_t *start = r->p;
    uint8_t flags = rd_u8(r);
    unsigned type = flags >> 4 & 3;
    uint64_t len;

    *v = find_version(rd_be32(r));
    *id = rd_span(r, rd_u8(r));
    rd_skip(r, rd_u8(r)); /* source id */
    if (!rd_ok(r) || !(flags & 0x80) || !*v || id->len > ID_MAX)
        return false;
    *initial = type == (*v)->initial;
    if (type == ((*v)->initial + 3) % 4) /* Retry: a client sends none */
        return false;
    if (*initial) {
        len = varint(r);
        rd_skip(r, len <= PACKET_MAX ? (size_t)len : SIZE_MAX); /* token */
    }
    len = varint(r);
    p->head = (struct span){ start, (size_t)(r->p - start) };
    p->rest = rd_span(r, len <= PACKET_MAX ? (size_t)len : SIZE_MAX);
    return rd_ok(r);
}

struct sniff_quic *sniff_quic_new(void)
{
    return calloc(1, sizeof(struct sniff_quic));
}

void sniff_quic_free(struct sniff_quic *q)
{
    free(q);
}

enum sniff sniff_quic(struct sniff_quic *q, const void *datagram, size_t len, char host[HOST_MAX + 1])
{
    struct rd r = rd_from(datagram, len);
    const struct version *v;
    uint8_t plain[PACKET_MAX];
    struct packet p;
    struct span id;
    bool initial;
    size_t n;

    while (rd_left(&r) && next_packet(&r, &p, &v, &id, &initial)) {
        if (!initial)
            continue;
        if (!make_keys(q, v, id) || !unprotect(q, &p, plain, &n) || !read_frames(q, rd_from(plain, n)))
            return SNIFF_NOT;
    }
    return q->version ? sniff_hello(q->message, q->have, host) : SNIFF_NOT;
}
