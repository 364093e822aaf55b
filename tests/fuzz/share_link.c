/* share_link.c - a subscription body as share links, plain or in base64: decoded, every entry looked at, and every message printed */
#include <stdio.h>

#include "configs/config.h"
#include "tests/fuzz/fuzz.h"

static FILE *nowhere;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    nowhere = fopen("/dev/null", "w");
    return 0;
}

static void look(const struct cfg_node *n)
{
    for (const struct cfg_node *c = cfg_first(n); c; c = c->next) {
        fprintf(nowhere, "%u %s %s", c->line, c->key ? c->key->text : "", c->text ? c->text : "");
        look(c);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct cfg_doc *doc;
    struct diag d;

    link_looks_like(bytes, size);
    diag_init(&d, "fuzz", bytes, size, false);
    if ((doc = link_parse(bytes, size, &d)))
        look(cfg_root(doc));
    cfg_doc_free(doc);
    diag_print(&d, nowhere, false);
    diag_fini(&d);
    return 0;
}
