/*
 * ss_old.c - what a Shadowsocks server without authentication may send: a stream and a datagram of any bytes, for every method
 *
 * Nothing is refused but a bad address, so what comes out of a stream must be what the server put in, in whatever pieces it arrives.
 *
 *   method, stream or datagram, size of the pieces, bytes
 */
#include <stdlib.h>
#include <string.h>

#include "outbound/ss.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/outbound_fake.h"

static const char *const methods[] = { "aes-128-ctr", "aes-256-cfb", "chacha20", "chacha20-ietf", "xchacha20", "rc4-md5", "none", "aes-192-cfb" };
static const struct dest to = { .at = { .ip = { .ver = 4, .b = { 1, 2, 3, 4 } }, .port = 53 } };

static struct ss_key keys[8];
static struct loop *loop;
static uint8_t wire[FAKE_SIZE], got[FAKE_SIZE];

static void must(bool good)
{
    if (!good)
        abort();
}

/* A stream and a datagram look alike: the address is 7 bytes in front of what the server says. */
static void stream(const struct ss_key *k, size_t portion, struct span says)
{
    uint8_t iv[SS_KEY_MAX] = { 7 };
    ssize_t n = ss_old_udp_seal(k, iv, &to, says.p, says.len, wire), r;
    size_t len = 0, size = 1;
    bool answered = false;
    struct fake down;
    struct stream *s;

    must(n > 0);
    fake_init(&down);
    down.portion = portion ? portion + says.len / 128 : 0; /* of many bytes, not each alone */
    down.eof = true;
    fake_feed(&down, wire, (size_t)n);
    must((s = ss_stream_new(loop, k, &down.s, (const uint8_t *)"\1\1\2\3\4\0\120", 7, &answered)) != NULL);
    stream_write(s, NULL, 0);
    while ((r = stream_read(s, &(struct iovec){ got + len, size }, 1)) >= 0) {
        len += (size_t)r;
        size = size * 5 % 20011 + 1;
        must(len + size <= sizeof(got));
    }
    must(r == -STREAM_EOF && len == 7 + says.len && !memcmp(got, "\1\1\2\3\4\0\65", 7) && !memcmp(got + 7, says.p, says.len));
    stream_close(s, 0);
    must(down.closed);
    loop_turn(loop, 0);
}

static void datagram(const struct ss_key *k, struct span says)
{
    uint8_t *in = malloc(says.len + 1), *out = malloc(says.len + 1);
    struct sender from;
    struct span payload;

    must(in && out);
    memcpy(in, says.p, says.len);
    if (ss_old_udp_open(k, in, says.len, out, &from, &payload) == 0)
        must((addr_is_set(&from.at.ip) != (*from.host != 0)) && payload.p >= out && payload.p + payload.len <= out + says.len);
    free(in);
    free(out);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (int i = 0; i < 8; i++)
        must(ss_key_init(&keys[i], ss_cipher_find(methods[i]), "secret") == 0);
    must((loop = loop_new()) != NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_from(data, size);
    const struct ss_key *k = &keys[rd_u8(&r) % 8];
    bool is_datagram = rd_u8(&r) & 1;
    size_t portion = rd_u8(&r);
    struct span says = rd_span(&r, rd_left(&r));

    if (!rd_ok(&r) || says.len > 60000)
        return 0;
    if (is_datagram)
        datagram(k, says);
    else
        stream(k, portion, says);
    return 0;
}
