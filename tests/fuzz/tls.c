/* tls.c - what a TLS server may send before it has proved who it is: the record splitter, and OpenSSL behind it */
#include "tests/fuzz/stream.h"
#include "transport/transport.h"

static struct tls_client *client;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char why[TR_WHY];

    fuzz_stream_init();
    return tls_client_new(&(struct tls_config){ .name = "test.example" }, &client, why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_down down;
    struct stream *s;

    fuzz_down_init(&down, data, size);
    if (tls_start(client, fuzz_loop, &down.s, &s) == 0)
        fuzz_drain(s);
    return 0;
}
