/* set_text.c - a rule set as yaml, JSON or text, under every behaviour; the first byte chooses */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct set_stats st;

    if (size)
        (void)set_read(data + 1, size - 1, (enum set_behavior)(data[0] % 3), data[0] & 0x40 ? SET_TEXT : SET_YAML, &fuzz_visitor, &st);
    return 0;
}
