/* profile_yaml.c - a profile as a subscription may send it: parsed, checked, built into outbounds and rules, and every message printed */
#include <stdio.h>

#include "engine/engine.h"
#include "tests/fuzz/fuzz.h"

static FILE *nowhere;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    log_threshold = LOG_SILENT;
    nowhere = fopen("/dev/null", "w");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diag d;

    diag_init(&d, "fuzz", (const char *)data, size, false);
    policy_put(policy_load((const char *)data, size, NULL, &d));
    diag_print(&d, nowhere, false);
    diag_fini(&d);
    return 0;
}
