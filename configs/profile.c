/*
 * profile.c - bytes of a profile, and perhaps of a local file -> struct profile
 *
 *   profile ──► what is it? ──► tree ──► locked keys out (fetched only) ──┐
 *                                                                        ├──► one tree ──► sections ──► lists ──► struct profile
 *   local   ─────────────────► tree ─────────────────────────────────────┘
 *
 * Everything is judged in one go, so that every problem is told at once; whether the result may be used is decided at the end, by d's
 * errors.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/private.h"

/* ---- what is it? ---- */

static const char *first_text(const struct cfg_input *in, size_t *left)
{
    const char *s = in->bytes, *end = in->bytes + in->len;

    if (in->len >= 3 && !memcmp(s, "\xef\xbb\xbf", 3))
        s += 3;
    while (s < end && *s && strchr(" \t\r\n", *s))
        s++;
    *left = (size_t)(end - s);
    return s;
}

static bool begins(const char *s, size_t left, const char *with)
{
    size_t n = strlen(with);

    return left >= n && !strncasecmp(s, with, n);
}

/* What people hand over instead of a profile; NULL when it may be one. */
static const char *not_a_profile(const struct cfg_input *in)
{
    static const struct {
        const char *begins, *words;
    } all[] = {
        { "<!doctype", "this is a web page, not a profile: open the address in a browser to see what the server says" },
        { "<html", "this is a web page, not a profile: open the address in a browser to see what the server says" },
        { "<head", "this is a web page, not a profile: open the address in a browser to see what the server says" },
        { "<?xml", "this is an XML document, not a profile" },
        { "-----BEGIN AGE ENCRYPTED FILE-----", "this profile is encrypted (age): decrypt it first" },
        { "\x1f\x8b", "this file is compressed (gzip): unpack it first" },
        { "PK\x03\x04", "this file is compressed (zip): unpack it first" },
        { "MRS\x01", "this is a rule set, not a profile" },
        { "(\xb5/\xfd", "this file is compressed (zstd) or a rule set: it is no profile" },
    };
    size_t left;
    const char *s = first_text(in, &left);

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (begins(s, left, all[i].begins))
            return all[i].words;
    return left ? NULL : "there is nothing in this file";
}

static const struct cfg_node *map_at_top(const struct cfg_node *root, unsigned source, struct diag *d)
{
    uint32_t file = source << CFG_SOURCE_SHIFT;

    if (root && root->kind == CFG_MAP)
        return root;
    if (!root || root->kind == CFG_NULL)
        diag_err(d, 1, 1 | file, "", "bad-value", "there is nothing in this file");
    else
        diag_err(d, root->line, root->column, "", "bad-value", "a profile is a mapping (key: value) at the top, not a %s",
                 root->kind == CFG_SEQ ? "list" : "single text");
    return NULL;
}

/* ---- trees ---- */

/* A document of the profile and its root; NULL (with errors in d, unless memory ran out) when there is none. *doc is the caller's in any
 * case. */
static const struct cfg_node *read_body(const struct cfg_input *in, struct cfg_doc **doc, struct diag *d)
{
    const char *words = not_a_profile(in);
    const struct cfg_node *root = NULL;

    *doc = NULL;
    if (words) {
        diag_err(d, 1, 1, "", "bad-value", "%s", words);
    } else if (link_looks_like(in->bytes, in->len)) {
        diag_set_source(d, 0, in->name, NULL, 0); /* a line is all secret, and perhaps another once it is decoded */
        if ((*doc = link_parse(in->bytes, in->len, d)))
            root = cfg_root(*doc);
    } else if ((*doc = cfg_doc_new()) && cfg_parse_into(*doc, in->bytes, in->len, 0, d, &root) == 0) {
        root = map_at_top(root, 0, d);
    }
    return root && in->foreign ? local_lock(*doc, root, d) : root;
}

/* A local file without anything in it is none. */
static const struct cfg_node *read_local(struct cfg_doc *doc, const struct cfg_input *in, struct diag *d)
{
    const struct cfg_node *root;

    if (!in || !in->len || cfg_parse_into(doc, in->bytes, in->len, 1, d, &root) < 0 || !root || root->kind == CFG_NULL)
        return NULL;
    return map_at_top(root, 1, d);
}

/* ---- the whole ---- */

static struct profile *build(struct raw *r, const struct cfg_node *root, const struct cfg_input *local, struct diag *d)
{
    const struct cfg_node *over = root ? read_local(r->p.doc, local, d) : NULL, *all = root ? local_merge(r->p.doc, root, over) : NULL;
    struct profile *p;

    if (!all)
        return NULL;
    sections_read(r, all, d);
    lists_read(r, over, d);
    if (cfg_failed(r->p.doc) || !(p = malloc(sizeof(*p))))
        return NULL;
    *p = r->p;
    return p;
}

struct profile *profile_read(const struct cfg_input *body, const struct cfg_input *local, struct diag *d)
{
    struct raw r = { .p = { .foreign = body->foreign } };
    size_t errors = d->n_errors;
    const struct cfg_node *root;
    struct profile *p;

    diag_set_source(d, 0, body->name, body->bytes, body->len);
    if (local)
        diag_set_source(d, 1, local->name, local->bytes, local->len);
    root = read_body(body, &r.p.doc, d);
    if ((p = build(&r, root, local, d)))
        return p;
    if (d->n_errors == errors || (r.p.doc && cfg_failed(r.p.doc)))
        diag_err(d, 0, 0, "", "bad-value", "out of memory");
    cfg_doc_free(r.p.doc);
    return NULL;
}

struct profile *profile_load(const char *bytes, size_t len, struct diag *d)
{
    struct cfg_input in = { .name = d->source[0].name, .bytes = bytes, .len = len };
    struct profile *p = profile_read(&in, NULL, d);

    if (!p || !d->n_errors)
        return p;
    profile_free(p);
    return NULL;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    cfg_doc_free(p->doc);
    free(p);
}
