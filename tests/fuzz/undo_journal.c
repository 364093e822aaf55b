/* undo_journal.c - a journal of changes as a crash, a bad disk or a hostile worker may leave it; whatever is read of it must be safe to
 * look for in the system */
#include <stdlib.h>
#include <string.h>

#include "platform/sys.h"
#include "tests/fuzz/fuzz.h"

#define MAX 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct undo_entry e[MAX + 1];
    int n;

    memset(e, 0xee, sizeof(e));
    n = undo_parse((const char *)data, size, e, MAX);
    if (n < 0 || n > MAX || e[MAX].from != 0xeeeeeeee)
        abort();
    for (int i = 0; i < n; i++) {
        if (e[i].kind >= UNDO_N_KINDS)
            abort();
        if (e[i].kind != UNDO_DEVICE && e[i].kind != UNDO_NFT)
            continue;
        if (!*e[i].name || !memchr(e[i].name, 0, sizeof(e[i].name)) || strpbrk(e[i].name, "/ \t\r\n"))
            abort();
    }
    return 0;
}
