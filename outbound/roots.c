/*
 * roots.c - certificates and keys that a profile gives: as PEM text, or as a file below the state directory
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "outbound/build.h"
#include "transport/transport.h"

#define PEM_MAX   (256u << 10)
#define PEM_BEGIN "-----BEGIN"

int out_pem(const struct out_env *env, const char *source, char **text)
{
    int64_t written_s;
    size_t len;
    int r;

    if (strstr(source, PEM_BEGIN))
        return (*text = strdup(source)) ? 0 : -ENOMEM;
    if (!env->state_dir)
        return -EXDEV;
    if ((r = file_read_beneath(env->state_dir, source, PEM_MAX, text, &len, &written_s)) < 0 || strstr(*text, PEM_BEGIN))
        return r;
    out_pem_free(*text);
    *text = NULL;
    return -EINVAL;
}

void out_pem_free(char *text)
{
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
}

/* One that is of no use is said and left out. */
static int read_root(struct build *b, const struct cfg_strs *all, uint32_t i, char **text)
{
    static const char what[] = "custom-certifactes: neither a PEM certificate nor a file of them in the state directory; it is not trusted";
    struct tls_roots *alone = NULL;
    char why[TR_WHY];
    int r = out_pem(b->s->env, all->v[i], text);

    if (r == 0)
        r = tls_roots_new((const char *const *)text, 1, &alone, why);
    tls_roots_free(alone);
    if (r == 0 || r == -ENOMEM)
        return r;
    diag_warn(b->d, all->at[i]->line, all->at[i]->column, "tls", "bad-value", "%s", what);
    out_pem_free(*text);
    *text = NULL;
    return 0;
}

int build_roots(struct build *b)
{
    const struct cfg_strs *all = &b->s->profile->tls.extra_roots;
    char why[TR_WHY], **text = all->n ? calloc(all->n, sizeof(*text)) : NULL;
    unsigned n = 0;
    int r = all->n && !text ? -ENOMEM : 0;

    for (uint32_t i = 0; i < all->n && r == 0; i++) {
        r = read_root(b, all, i, &text[n]);
        n += r == 0 && text[n];
    }
    if (r == 0 && n)
        r = tls_roots_new((const char *const *)text, n, &b->s->roots, why);
    for (uint32_t i = 0; text && i < all->n; i++)
        out_pem_free(text[i]);
    free(text);
    return r;
}
