/* h2.c - what an HTTP/2 server may send: frames into the library, and out of it into a stream */
#include "tests/fuzz/stream.h"
#include "transport/transport.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_stream_init();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct h2_request q = { "PUT", "https", "h", "/", NULL, 0 };
    struct fuzz_down down;
    struct h2_conn *c;
    struct stream *s;

    fuzz_down_init(&down, data, size);
    if (!(c = h2_conn_new(fuzz_loop, &down.s, 0)))
        return 0;
    if (h2_open(c, &q, &s) == 0) {
        stream_write(s, &(struct iovec){ (void *)"hello", 5 }, 1);
        fuzz_drain(s);
    }
    h2_conn_put(c);
    loop_turn(fuzz_loop, 0);
    return 0;
}
