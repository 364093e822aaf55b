/* sniff_http.c - the first bytes of an HTTP stream, whole and cut in half */
#include "engine/sniff.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char host[HOST_MAX + 1];

    (void)sniff_http(data, size / 2, host);
    (void)sniff_http(data, size, host);
    return 0;
}
