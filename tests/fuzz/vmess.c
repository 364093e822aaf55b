/*
 * vmess.c - what a VMess server may say. The second byte chooses security and options; the answer's head cannot be guessed, so the layer's
 * random draws are made to repeat and a right answer is put in front of the input.
 */
#include "outbound/vmess.h"
#include <sys/random.h>

#include "tests/fuzz/stream.h"

static struct vmess_user user;

/* Every draw is the same: the layer's keys are known. */
ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    memset(p, 7, len);
    return (ssize_t)len;
}

static int seal(const uint8_t key[16], const uint8_t iv[16], const char *key_label, const char *iv_label, const void *in, size_t n,
                uint8_t *out)
{
    struct span a = { (const uint8_t *)key_label, strlen(key_label) }, b = { (const uint8_t *)iv_label, strlen(iv_label) };
    struct aead_key k = { 0 };
    uint8_t sub[32], nonce[32];

    vmess_kdf(key, &a, 1, sub);
    vmess_kdf(iv, &b, 1, nonce);
    aead_key_init(&k, aead_get(AEAD_AES_128_GCM), sub);
    return aead_seal(&k, nonce, NULL, &(struct iovec){ (void *)in, n }, 1, out);
}

/* The answer's head for keys of sevens. */
static size_t answer(uint8_t *out)
{
    static const uint8_t head[] = { 7, 0, 0, 0 };
    struct vmess_request q;
    uint8_t key[16], iv[16];

    memset(&q, 7, sizeof(q));
    vmess_answer_keys(&q, key, iv);
    seal(key, iv, "AEAD Resp Header Len Key", "AEAD Resp Header Len IV", "\0\4", 2, out);
    seal(key, iv, "AEAD Resp Header Key", "AEAD Resp Header IV", head, 4, out + 18);
    return 18 + 20;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const uint8_t uuid[16] = { 1 };

    fuzz_stream_init();
    return vmess_user_init(&user, uuid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t securities[] = { VMESS_AES, VMESS_CHACHA, VMESS_NONE, VMESS_NONE };
    static uint8_t b[1 << 20];
    struct vmess_options how = { VMESS_AES, VMESS_CHUNKS, VMESS_TCP };
    struct dest to = { .host = "a.b", .at.port = 1 };
    struct fuzz_down down;
    bool answered = false;
    struct stream *s;
    size_t n;

    fuzz_down_init(&down, data, size);
    if (size > 1) {
        how.security = securities[*down.p & 3];
        how.options |= (*down.p >> 2) & (VMESS_MASK | VMESS_PADDING | VMESS_AUTH_LENGTH);
        how.command = *down.p & 0x80 ? VMESS_UDP : VMESS_TCP;
        if (how.security == VMESS_NONE)
            how.options &= (uint8_t)~VMESS_AUTH_LENGTH;
        down.p++;
    }
    n = size > 1 && size < sizeof(b) - 64 && !(size > 2 && *down.p == 0xff) ? answer(b)
                                                                            : 0; /* or an answer that is as random as the rest */
    if (n) {
        memcpy(b + n, down.p, (size_t)(down.end - down.p));
        down.end = b + n + (down.end - down.p);
        down.p = b;
    }
    if (vmess_stream_new(fuzz_loop, &user, &how, &to, &down.s, &answered, &s) < 0)
        return 0;
    stream_write(s, NULL, 0);
    fuzz_drain(s);
    return 0;
}
