/* mmdb.c - a MaxMind DB, walked for country codes or AS numbers; the first byte chooses */
#include "rules/geo.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct geo_want want[] = { { "cn", fuzz_visitor, 0 }, { "13335", fuzz_visitor, 0 }, { "a", fuzz_visitor, 0 } };

    if (size)
        (void)geo_mmdb_read(data + 1, size - 1, data[0] & 0x40 ? GEO_ASN : GEO_CODE, want, 3);
    return 0;
}
