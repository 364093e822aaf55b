/* mrs.c - an mrs file; the first byte chooses the behaviour and whether the rest is the file or what is packed into it */
#include <zstd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t packed[ZSTD_COMPRESSBOUND(1 << 20)];
    struct set_stats st;
    size_t n;

    if (!size || size > 1 << 20)
        return 0;
    if (data[0] & 0x40) {
        (void)set_read(data + 1, size - 1, (enum set_behavior)(data[0] % 3), SET_MRS, &fuzz_visitor, &st);
        return 0;
    }
    n = ZSTD_compress(packed, sizeof(packed), data + 1, size - 1, 1);
    (void)set_read(packed, n, (enum set_behavior)(data[0] % 3), SET_MRS, &fuzz_visitor, &st);
    return 0;
}
