/* grpc.c - gRPC messages of a server */
#include "tests/fuzz/stream.h"
#include "transport/transport.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_stream_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_down down;
    struct stream *s;

    fuzz_down_init(&down, data, size);
    if (grpc_start(fuzz_loop, &down.s, &s) == 0)
        fuzz_drain(s);
    return 0;
}
