/* plugin.c - what the far end of an ss plugin may say: the tls disguise, the multiplexer, an HTTP disguise; the second byte chooses */
#include "outbound/obfs.h"
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
    int r;

    fuzz_down_init(&down, data, size);
    if (down.p == down.end)
        return 0;
    switch (*down.p++ % 3) {
    case 0: r = obfs_tls_new(fuzz_loop, "h", &down.s, &s); break;
    case 1: r = mux_single_new(fuzz_loop, &down.s, &s); break;
    default: r = http_cloak_start("GET / HTTP/1.1\r\n", true, NULL, fuzz_loop, &down.s, &s);
    }
    if (r == 0)
        fuzz_drain(s);
    return 0;
}
