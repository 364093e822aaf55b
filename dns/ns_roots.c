/*
 * ns_roots.c - the roots that a profile trusts beyond the system's (tls.custom-certifactes), for name servers
 *
 * Texts and files as for nodes; who reads the nodes says what is wrong with them, here they are passed over.
 */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "dns/ns.h"
#include "dns/private.h"
#include "transport/transport.h"

#define PEM_MAX   (256u << 10)
#define PEM_BEGIN "-----BEGIN"

/* NULL: it is of no use. */
static char *pem_of(const char *state_dir, const char *source)
{
    struct tls_roots *alone = NULL;
    int64_t written_s;
    char *text = NULL, why[TR_WHY];
    size_t len;

    if (strstr(source, PEM_BEGIN))
        text = strdup(source);
    else if (!state_dir || file_read_beneath(state_dir, source, PEM_MAX, &text, &len, &written_s) < 0)
        text = NULL;
    if (text && tls_roots_new((const char *const *)&text, 1, &alone, why) < 0) {
        free(text);
        text = NULL;
    }
    tls_roots_free(alone);
    return text;
}

struct tls_roots *ns_roots(const char *state_dir, const struct cfg_strs *sources)
{
    char **text = sources->n ? calloc(sources->n, sizeof(*text)) : NULL, why[TR_WHY];
    struct tls_roots *roots = NULL;
    unsigned n = 0;

    for (uint32_t i = 0; text && i < sources->n; i++)
        if ((text[n] = pem_of(state_dir, sources->v[i])))
            n++;
    if (n && tls_roots_new((const char *const *)text, n, &roots, why) < 0)
        roots = NULL; /* the system's will do */
    while (n)
        free(text[--n]);
    free(text);
    return roots;
}
