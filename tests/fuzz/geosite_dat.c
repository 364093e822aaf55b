/* geosite_dat.c - geosite.dat and geoip.dat; the first byte chooses */
#include "rules/geo.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const wants[] = { "a", "a@cn", "a@cn@!ads" };

    if (!size)
        return 0;
    if (data[0] & 0x40)
        (void)geoip_dat_read(data + 1, size - 1, "a", &fuzz_visitor, NULL);
    else
        (void)geosite_read(data + 1, size - 1, wants[data[0] % 3], &fuzz_visitor, NULL);
    return 0;
}
