/* sniff_tls.c - the first bytes of a TLS stream, whole and cut in half */
#include "engine/sniff.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char host[HOST_MAX + 1];

    (void)sniff_tls(data, size / 2, host);
    (void)sniff_tls(data, size, host);
    return 0;
}
