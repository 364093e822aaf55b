/*
 * ss_2022.c - what a Shadowsocks 2022 server may say; the first byte chooses
 *
 *   0, 1  bytes as they are: a stream, a datagram          2  the answer's head, sealed under the right key          3  a datagram's body,
 * likewise
 */
#include "outbound/ss.h"
#include "tests/fuzz/stream.h"

static struct ss_key aes, chacha;
static const uint8_t head[] = { 1, 127, 0, 0, 1, 0, 80 }, id[8] = "12345678";

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_stream_init();
    return ss_key_init(&aes, ss_cipher_find("2022-blake3-aes-128-gcm"), "AAECAwQFBgcICQoLDA0ODw==") < 0 ||
           ss_key_init(&chacha, ss_cipher_find("2022-blake3-chacha20-poly1305"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=") < 0;
}

static void run_stream(const uint8_t *data, size_t size)
{
    struct fuzz_down down;
    bool answered = false;
    struct stream *s;

    fuzz_down_init(&down, data, size);
    if (!(s = ss_stream_new(fuzz_loop, &aes, &down.s, head, sizeof(head), &answered)))
        return;
    stream_write(s, NULL, 0);
    fuzz_drain(s);
}

static void run_datagram(const struct ss_key *k, const uint8_t *data, size_t size)
{
    static uint8_t out[70000];
    struct ss22_udp u = { 0 };
    struct sender from;
    struct span payload;

    if (ss22_udp_init(&u, k, id) == 0 && ss22_udp_open(&u, 8, data, size, out, &from, &payload) == 0 &&
        (payload.p < out || payload.p + payload.len > out + size))
        __builtin_trap();
    ss22_udp_fini(&u);
}

static void run_head(const uint8_t *data, size_t size)
{
    uint8_t plain[SS22_FIXED + 16] = { 0 }, sealed[sizeof(plain) + SS_TAG], salt[16] = { 0 };
    struct ss_dir d = { 0 };
    uint16_t len;

    memcpy(plain, data, size < sizeof(plain) ? size : sizeof(plain));
    ss_dir_init(&d, &aes, salt);
    ss_seal(&d, &(struct iovec){ plain, sizeof(plain) }, 1, sealed);
    d.counter = 0;
    ss22_answer(&d, &aes, sealed, salt, 8, &len);
    ss_dir_fini(&d);
}

static void run_body(const uint8_t *data, size_t size)
{
    static uint8_t sealed[70000];
    uint8_t block[16] = "server..";
    struct aead_key k = { 0 };

    if (size > 60000)
        return;
    memcpy(sealed, "a nonce of 24 bytes.....", 24);
    aead_key_init(&k, aead_get(AEAD_XCHACHA20), chacha.master);
    aead_seal(&k, sealed, NULL, (struct iovec[]){ { block, 16 }, { (void *)data, size } }, 2, sealed + 24);
    aead_key_fini(&k);
    run_datagram(&chacha, sealed, 24 + 16 + size + 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    switch (*data++ % 4) {
    case 0: run_stream(data, size - 1); break;
    case 1: run_datagram(size & 1 ? &aes : &chacha, data, size - 1); break;
    case 2: run_head(data, size - 1); break;
    default: run_body(data, size - 1);
    }
    return 0;
}
