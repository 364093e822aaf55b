/*
 * profile_yaml.c - a profile as a subscription may send it: parsed, checked, built into outbounds and rules, and every message printed
 *
 * A line "%%%%" divides the input: what stands behind it is the local file.
 */
#include <stdio.h>
#include <string.h>

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
    static const char fence[] = "\n%%%%\n";
    const char *bytes = (const char *)data, *cut = size ? memmem(bytes, size, fence, sizeof(fence) - 1) : NULL, *rest = cut ? cut + sizeof(fence) - 1 : NULL;
    struct cfg_input body = { "profile", bytes, cut ? (size_t)(cut - bytes) : size, size % 2 };
    struct cfg_input local = { "local", rest, rest ? (size_t)(bytes + size - rest) : 0, false };
    struct diag d;

    diag_init(&d, body.name, NULL, 0, false);
    policy_put(policy_judge(&body, rest ? &local : NULL, NULL, &d));
    diag_print(&d, nowhere, false);
    diag_fini(&d);
    return 0;
}
