/* ss_aead.c - a stream of a Shadowsocks server, older edition; the second byte's lowest bit chooses bytes as they are, or sealed under the
 * right key: pairs of a length (2 bytes, as sent) and so many bytes */
#include "outbound/ss.h"
#include "tests/fuzz/stream.h"

static struct ss_key key;
static const uint8_t head[] = { 1, 127, 0, 0, 1, 0, 80 };

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_stream_init();
    return ss_key_init(&key, ss_cipher_find("aes-128-gcm"), "password");
}

/* Chunks as the input says them: their lengths may lie. */
static size_t seal_all(const uint8_t *in, const uint8_t *end, uint8_t *out)
{
    struct ss_dir d = { 0 };
    size_t n = key.len;

    memset(out, 7, key.len);
    ss_dir_init(&d, &key, out);
    while (end - in >= 2 && n < 100000) {
        size_t len = (size_t)(in[0] << 8 | in[1]), have = (size_t)(end - in - 2) < len ? (size_t)(end - in - 2) : len;

        ss_seal(&d, &(struct iovec){ (void *)in, 2 }, 1, out + n);
        ss_seal(&d, &(struct iovec){ (void *)(in + 2), have }, 1, out + n + 18);
        n += 18 + have + 16;
        in += 2 + have;
    }
    ss_dir_fini(&d);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t sealed[200000];
    struct fuzz_down down;
    bool answered = false;
    struct stream *s;

    ss_stream_trim(); /* what was heard */
    fuzz_down_init(&down, data, size);
    if (size > 1 && *down.p++ & 1) {
        size_t n = seal_all(down.p, down.end, sealed);

        down.p = sealed;
        down.end = sealed + n;
    }
    if ((s = ss_stream_new(fuzz_loop, &key, &down.s, head, sizeof(head), &answered)))
        fuzz_drain(s);
    return 0;
}
