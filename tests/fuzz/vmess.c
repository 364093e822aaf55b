/*
 * vmess.c - what a VMess server may say, behind an answer's head that is right or instead of one
 *
 * Heads and tags cannot be guessed. The layer's random draws are made to repeat, so its keys are known, and the target is the server: it
 * masks, pads and seals what the input says, true or not in its lengths, and spoils it where the input says so. What comes out must be a
 * beginning of what was sealed before the first lie, all of it when there is none.
 *
 *   size of the pieces | security, options, kind | then, by kind:
 *     0, 1   bytes as they are, behind a right head unless the first is ff; with kind 1 our request is sent before
 *     2, 3   a chunk | a chunk that lies | raw bytes | a flipped bit | the end
 */
#include "outbound/vmess.h"

#include <sys/random.h>

#include "outbound/shake.h"
#include "tests/fuzz/says.h"

static struct vmess_user user;
static struct vmess_request sevens; /* what the layer draws */
static uint8_t answer_iv[16], body_keys[2][32], length_keys[2][32]; /* of AES, of ChaCha */
static uint8_t head[18 + 20];
static struct shake mask;

/* Every draw is the same: the layer's keys are known. */
ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    memset(p, 7, len);
    return (ssize_t)len;
}

/* ---- the server ---- */

struct server {
    struct vmess_options how;
    struct aead_key body, length;
    struct shake mask;
    uint16_t n; /* chunks so far */
};

static void server_init(struct server *v, const struct vmess_options *how)
{
    int chacha = how->security == VMESS_CHACHA;
    struct aead *alg = aead_get(chacha ? AEAD_CHACHA20 : AEAD_AES_128_GCM);

    *v = (struct server){ .how = *how, .mask = mask };
    aead_key_init(&v->body, alg, body_keys[chacha]);
    aead_key_init(&v->length, alg, length_keys[chacha]);
    says_begin();
    says_add(head, sizeof(head));
}

static void server_fini(struct server *v)
{
    aead_key_fini(&v->body);
    aead_key_fini(&v->length);
}

static bool has(const struct server *v, uint8_t option)
{
    return v->how.options & option;
}

static uint16_t draw(struct server *v)
{
    uint8_t b[2];

    shake128_squeeze(&v->mask, b, 2);
    return (uint16_t)(b[0] << 8 | b[1]);
}

static void add_sealed(struct server *v, struct aead_key *k, const uint8_t *iv, const void *b, size_t n)
{
    uint8_t nonce[12] = { (uint8_t)(v->n >> 8), (uint8_t)v->n };

    memcpy(nonce + 2, iv + 2, 10);
    must(aead_seal(k, nonce, NULL, &(struct iovec){ (void *)b, n }, 1, says.wire + says.n_wire) == 0);
    says.n_wire += n + VMESS_TAG;
}

static void add_length(struct server *v, uint16_t n)
{
    uint8_t b[2];

    if (has(v, VMESS_MASK) && !has(v, VMESS_AUTH_LENGTH))
        n ^= draw(v);
    b[0] = (uint8_t)(n >> 8);
    b[1] = (uint8_t)n;
    if (has(v, VMESS_AUTH_LENGTH))
        add_sealed(v, &v->length, sevens.iv, b, 2);
    else
        says_add(b, 2);
}

/* An empty one is the end. */
static void chunk(struct server *v, struct span body, uint16_t lie)
{
    static const uint8_t padding[63];
    bool sealed = v->how.security != VMESS_NONE;
    size_t pad = has(v, VMESS_PADDING) ? draw(v) % 64 : 0, tag = sealed && !has(v, VMESS_AUTH_LENGTH) ? VMESS_TAG : 0;

    add_length(v, (uint16_t)(body.len + tag + pad + lie));
    if (sealed)
        add_sealed(v, &v->body, answer_iv, body.p, body.len);
    else
        says_add(body.p, body.len);
    says_add(padding, pad);
    v->n++;
    says.lied |= lie != 0;
    says.ended = !body.len;
    if (body.len && v->how.command == VMESS_UDP)
        says_plain((const uint8_t[]){ 0, (uint8_t)body.len }, 2);
    if (body.len)
        says_plain(body.p, body.len);
}

static void step(struct server *v, struct rd *r)
{
    uint8_t op = rd_u8(r);
    uint16_t lie;

    switch (op % 8) {
    case 0: says_raw(r); break;
    case 1: says_flip(r, op >> 5); break;
    case 2: chunk(v, (struct span){ NULL, 0 }, 0); break;
    case 3:
        lie = rd_be16(r);
        chunk(v, rd_span(r, rd_u8(r)), lie);
        break;
    default: chunk(v, rd_span(r, rd_u8(r)), 0);
    }
}

/* ---- the client ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t securities[] = { VMESS_AES, VMESS_CHACHA, VMESS_NONE, VMESS_NONE };
    struct vmess_options how = { VMESS_AES, VMESS_CHUNKS, VMESS_TCP };
    struct dest to = { .host = "a.b", .at.port = 1 };
    uint8_t word = size > 1 ? data[1] : 0, kind = word >> 2 & 3;
    struct rd r = rd_from(data, size);
    struct fuzz_down down;
    bool answered = false;
    struct server v;
    struct stream *s;

    how.security = securities[word & 3];
    how.options |= (word >> 2) & (VMESS_MASK | VMESS_PADDING | VMESS_AUTH_LENGTH);
    how.command = word & 0x80 ? VMESS_UDP : VMESS_TCP;
    if (how.security == VMESS_NONE)
        how.options &= (uint8_t)~VMESS_AUTH_LENGTH;
    rd_skip(&r, 2);
    server_init(&v, &how);
    if (kind >= 2)
        while (says_more(&r))
            step(&v, &r);
    else if (rd_left(&r) < SAYS_MAX - SAYS_SPARE)
        says_add(r.p, rd_left(&r));
    fuzz_down_init(&down, data, size);
    down.p = says.wire + (kind < 2 && (!rd_left(&r) || *r.p == 0xff) ? sizeof(head) : 0);
    down.end = says.wire + says.n_wire;
    must(vmess_stream_new(fuzz_loop, &user, &how, &to, &down.s, &answered, &s) == 0);
    if (kind == 1)
        stream_write(s, NULL, 0);
    if (kind >= 2)
        says_check(s, how.security != VMESS_NONE);
    else
        fuzz_drain(s);
    server_fini(&v);
    return 0;
}

/* ---- what never changes ---- */

static void subkey(const uint8_t key[16], const char *label, uint8_t out[32])
{
    must(vmess_kdf(key, &(struct span){ (const uint8_t *)label, strlen(label) }, 1, out) == 0);
}

static void seal_part(const uint8_t key[16], const char *key_label, const char *iv_label, const void *in, size_t n, uint8_t *out)
{
    struct aead_key k = { 0 };
    uint8_t sub[32], nonce[32];

    subkey(key, key_label, sub);
    subkey(answer_iv, iv_label, nonce);
    aead_key_init(&k, aead_get(AEAD_AES_128_GCM), sub);
    must(aead_seal(&k, nonce, NULL, &(struct iovec){ (void *)in, n }, 1, out) == 0);
    aead_key_fini(&k);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t uuid[16] = { 1 }, answer[] = { 7, 0, 0, 0 };
    uint8_t key[16];

    fuzz_stream_init();
    memset(&sevens, 7, sizeof(sevens));
    must(vmess_user_init(&user, uuid) == 0 && vmess_answer_keys(&sevens, key, answer_iv) == 0);
    seal_part(key, "AEAD Resp Header Len Key", "AEAD Resp Header Len IV", "\0\4", 2, head);
    seal_part(key, "AEAD Resp Header Key", "AEAD Resp Header IV", answer, 4, head + 18);
    memcpy(body_keys[0], key, 16);
    subkey(sevens.key, "auth_len", length_keys[0]);
    must(vmess_chacha_key(key, body_keys[1]) == 0 && vmess_chacha_key(length_keys[0], length_keys[1]) == 0);
    shake128_init(&mask, answer_iv, 16);
    return 0;
}
