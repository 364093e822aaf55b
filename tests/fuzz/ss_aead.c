/*
 * ss_aead.c - what a Shadowsocks server may send: a stream of chunks in any pieces, and datagrams
 *
 * A fuzzer cannot guess a tag, so the target is the server: it seals what the input says, true or not in its lengths, and then spoils it
 * where the input says so. The plaintext that comes out must be a beginning of what was sealed in order before the first lie, all of it
 * when there is none.
 *
 *   stream    method, sizes of the reader's memory and of the pieces, then: a chunk | raw bytes | a flipped bit | the end
 *   datagram  method, then: raw | sealed
 */
#include <stdlib.h>
#include <string.h>

#include "outbound/ss.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/outbound_fake.h"

static const char *const methods[] = { "aes-128-gcm", "aes-192-gcm", "aes-256-gcm", "chacha20-ietf-poly1305" };

static struct ss_key keys[4];
static struct loop *loop;
static uint8_t plain[FAKE_SIZE], got[FAKE_SIZE];

static void must(bool good)
{
    if (!good)
        abort();
}

/* ---- a stream ---- */

struct server {
    struct fake down;
    struct ss_dir dir;
    size_t true_len; /* of plain: sealed before any lie */
    bool lied, flipped, ended;
};

static void chunk(struct server *v, struct rd *r)
{
    uint16_t says = rd_be16(r);
    struct span body = rd_span(r, rd_u8(r));
    uint8_t len[2] = { (uint8_t)(says >> 8), (uint8_t)says }, sealed[2 + SS_TAG + 256 + SS_TAG];

    if (v->true_len + 256 > sizeof(plain) || v->down.n_in + sizeof(sealed) > FAKE_SIZE)
        return;
    v->lied |= says != body.len || !body.len;
    ss_seal(&v->dir, &(struct iovec){ len, 2 }, 1, sealed);
    ss_seal(&v->dir, &(struct iovec){ (void *)body.p, body.len }, 1, sealed + 2 + SS_TAG);
    fake_feed(&v->down, sealed, 2 + SS_TAG + body.len + SS_TAG);
    if (v->lied)
        return;
    memcpy(plain + v->true_len, body.p, body.len);
    v->true_len += body.len;
}

static void step(struct server *v, struct rd *r)
{
    struct span s;
    uint8_t op = rd_u8(r);

    switch (op % 8) {
    case 0:
        s = rd_span(r, rd_u8(r));
        v->lied |= s.len > 0;
        if (v->down.n_in + s.len <= FAKE_SIZE)
            fake_feed(&v->down, s.p, s.len);
        break;
    case 1:
        v->flipped |= v->down.n_in > 0;
        if (v->down.n_in)
            v->down.in[rd_be16(r) % v->down.n_in] ^= (uint8_t)(1u << (op >> 5));
        break;
    case 2: v->ended = true; break;
    default: chunk(v, r); break;
    }
}

static void read_all(struct server *v, struct stream *s, size_t memory)
{
    size_t n = 0, idle = 0;
    ssize_t k = 0;

    do { /* a layer yields now and then */
        struct iovec iov[2] = { { got + n, memory / 2 }, { got + n + memory / 2, memory - memory / 2 } };

        if (n + memory > sizeof(got))
            break;
        k = stream_read(s, iov, 2);
        if (k > 0)
            n += (size_t)k;
        must(k != 0 || ++idle < FAKE_SIZE);
    } while (k > 0 || (k == 0 && (v->ended || v->down.in_at < v->down.n_in)));
    must(n <= v->true_len && !memcmp(got, plain, n));
    if (v->ended && !v->flipped)
        must(v->lied ? k != -STREAM_EOF : k == -STREAM_EOF && n == v->true_len);
}

static void stream(struct rd *r)
{
    const struct ss_key *k = &keys[rd_u8(r) % 4];
    size_t memory = 1 + rd_be16(r) % 20000, portion = rd_u8(r);
    static uint64_t salt[SS_KEY_MAX / 8]; /* one that was heard before is refused */
    bool answered = false;
    struct server v = { 0 };
    struct stream *s;

    salt[0]++;
    fake_init(&v.down);
    fake_feed(&v.down, salt, k->len);
    must(ss_dir_init(&v.dir, k, (const uint8_t *)salt) == 0);
    while (rd_left(r) && rd_ok(r) && !v.ended)
        step(&v, r);
    ss_dir_fini(&v.dir);
    v.down.portion = portion ? portion + v.down.n_in / 128 : 0; /* of many bytes, not each alone */
    v.down.eof = v.ended;
    must((s = ss_stream_new(loop, k, &v.down.s, (const uint8_t *)"\1\1\2\3\4\0\120", 7, &answered)) != NULL);
    stream_write(s, NULL, 0);
    read_all(&v, s, memory);
    stream_close(s, 0);
    must(v.down.closed);
    loop_turn(loop, 0);
}

/* ---- datagrams ---- */

static void datagram(struct rd *r)
{
    const struct ss_key *k = &keys[rd_u8(r) % 4];
    bool sealed = rd_u8(r) & 1;
    struct span b = rd_span(r, rd_left(r));
    size_t salt = k->len, n = b.len;
    uint8_t *in = calloc(1, salt + n + SS_TAG), *out;
    struct sender from;
    struct span payload;
    struct ss_dir d = { 0 };

    must(in);
    if (sealed) { /* a true datagram around any bytes */
        memset(in, 7, salt);
        must(ss_dir_init(&d, k, in) == 0);
        must(ss_seal(&d, &(struct iovec){ (void *)b.p, n }, 1, in + salt) == 0);
        ss_dir_fini(&d);
        n += salt + SS_TAG;
    } else if (n) {
        memcpy(in, b.p, n);
    }
    must((out = malloc(n ? n : 1)) != NULL);
    if (ss_udp_open(k, in, n, out, &from, &payload) == 0) {
        must(sealed && (addr_is_set(&from.at.ip) != (*from.host != 0)));
        must(payload.p >= out && payload.p + payload.len == out + b.len);
        must(!payload.len || !memcmp(payload.p, b.p + b.len - payload.len, payload.len));
    }
    free(in);
    free(out);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 0; i < 4; i++) {
        const struct ss_cipher *c = ss_cipher_find(methods[i]);

        must(c && ss_key_init(&keys[i], c, "secret") == 0);
    }
    must((loop = loop_new()) != NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_from(data, size);

    if (rd_u8(&r) & 1)
        datagram(&r);
    else
        stream(&r);
    return 0;
}
