/*
 * ws.c - what a WebSocket server may send. The second byte chooses: frames behind a right answer (0), or the answer itself, to a WebSocket
 * (1), an upgrade (2) or a fast one (3).
 */
#include <openssl/evp.h>
#include <stdio.h>

#include "tests/fuzz/stream.h"
#include "transport/transport.h"

/* Answers the request as a server does. */
static void agree(struct fuzz_down *d, const char *text, size_t len)
{
    const char *key = memmem(text, len, "Sec-WebSocket-Key: ", 19);
    uint8_t sum[EVP_MAX_MD_SIZE], accept[32];
    char both[64];

    if (!key)
        return;
    snprintf(both, sizeof(both), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    EVP_Digest(both, strlen(both), sum, NULL, EVP_sha1(), NULL);
    EVP_EncodeBlock(accept, sum, 20);
    snprintf(d->first, sizeof(d->first), "HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
             accept);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_stream_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ws_config c = { .host = "h", .path = "/" };
    struct fuzz_down down;
    struct stream *s;
    int kind = size > 1 ? data[1] % 4 : 0;

    fuzz_down_init(&down, data, size);
    if (size > 1)
        down.p++;
    c.upgrade = kind >= 2;
    c.fast = kind == 3;
    down.heard = kind ? NULL : agree;
    if (ws_start(&c, fuzz_loop, &down.s, &s) >= 0)
        fuzz_drain(s);
    return 0;
}
