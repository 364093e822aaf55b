/*
 * local.c - whose word counts: the local file over the profile, and what a fetched profile may not say
 *
 *   profile (perhaps fetched)  ──locked keys out──►  ┐
 *                                                    ├─►  one tree  ──►  the tables
 *   local file (the user's)    ───────────────────►  ┘
 *
 * The local file has the keys of a profile. A mapping is laid over the profile's, key by key, at any depth; proxies and groups are put
 * behind the profile's; anything else takes the place of what the profile says. `key: null` takes the profile's key away; a key with
 * nothing behind it says nothing. prepend-rules and append-rules are dealt with where rules are read (lists.c).
 *
 * The trees that go in are not changed: new mappings share what they keep.
 */
#include <string.h>
#include <strings.h>

#include "configs/private.h"

/* ---- making mappings ---- */

struct maker {
    struct cfg_doc *doc;
    struct cfg_node *node, *last;
    bool failed;
};

static void make_start(struct maker *m, struct cfg_doc *doc, const struct cfg_node *like)
{
    *m = (struct maker){ .doc = doc, .node = cfg_alloc(doc, sizeof(*m->node)) };
    if (!(m->failed = !m->node)) {
        *m->node = *like;
        m->node->child = m->node->next = NULL;
        m->node->n = 0;
    }
}

static void make_add(struct maker *m, const struct cfg_node *v, struct cfg_node *key)
{
    struct cfg_node *c = m->failed || !v ? NULL : cfg_alloc(m->doc, sizeof(*c));

    if (!c) {
        m->failed = true;
        return;
    }
    *c = *v;
    c->key = key;
    c->next = NULL;
    if (m->last)
        m->last->next = c;
    else
        m->node->child = c;
    m->last = c;
    m->node->n++;
}

static const struct cfg_node *make_end(struct maker *m)
{
    return m->failed ? NULL : m->node;
}

/* ---- locked keys ---- */

/* A key that ends in '*' stands for all that begin so. quiet: the value at which leaving the key out changes nothing. */
static const struct {
    const char *section, *key, *quiet;
} locked[] = {
    { NULL, "allow-lan", "false" },
    { NULL, "bind-address", "127.0.0.1" },
    { NULL, "external-*", "" },
    { NULL, "secret", "" },
    { NULL, "authentication", "" },
    { NULL, "interface-name", "" },
    { NULL, "routing-mark", "0" },
    { NULL, "listeners", "" },
    { "tun", "enable", "true" },
    { "tun", "device", "" },
    { "tun", "file-descriptor", "0" },
    { "tun", "auto-route", "true" },
    { "tun", "auto-detect-interface", "true" },
    { "tun", "auto-redirect*", "false" },
    { "tun", "strict-route", "false" },
    { "tun", "inet4-*", "" },
    { "tun", "inet6-*", "" },
    { "tun", "route-*", "" },
    { "tun", "include-*", "" },
    { "tun", "exclude-*", "" },
    { "tun", "iproute2-*", "0" },
    { "tun", "loopback-address", "" },
};

static bool key_fits(const char *pattern, const char *key)
{
    size_t len = strlen(pattern);

    return pattern[len - 1] == '*' ? !strncmp(pattern, key, len - 1) : !strcmp(pattern, key);
}

static bool is_quiet(const struct cfg_node *n, const char *quiet)
{
    if (n->kind == CFG_NULL)
        return true;
    return n->kind == CFG_SCALAR ? !n->len || !strcasecmp(n->text, quiet) : !n->n;
}

static bool is_locked(const char *section, const struct cfg_node *n)
{
    if (section && !strcmp(section, "dns") && !strcmp(n->key->text, "listen"))
        return n->kind != CFG_NULL && !(n->kind == CFG_SCALAR && (!n->len || cfg_is_loopback(n->text)));
    for (size_t i = 0; i < sizeof(locked) / sizeof(locked[0]); i++)
        if ((section ? locked[i].section && !strcmp(section, locked[i].section) : !locked[i].section) &&
            key_fits(locked[i].key, n->key->text))
            return !is_quiet(n, locked[i].quiet);
    return false;
}

static void say_locked(const char *section, const struct cfg_node *n, struct diag *d)
{
    char path[CFG_PATH_MAX];

    snprintf(path, sizeof(path), "%s%s%.64s", section ? section : "", section ? "." : "", n->key->text);
    diag_warn(d, n->key->line, n->key->column, path, "locked-key",
              "%s may not be set by a fetched profile and is ignored; if you want it, write it into %s", path,
              d->source[1].name ? d->source[1].name : "the local file");
}

static const struct cfg_node *lock_map(struct cfg_doc *doc, const struct cfg_node *map, const char *section, struct diag *d)
{
    struct maker m;

    make_start(&m, doc, map);
    for (const struct cfg_node *n = map->child; n && !m.failed; n = n->next) {
        bool nested = !section && n->kind == CFG_MAP && (!strcmp(n->key->text, "tun") || !strcmp(n->key->text, "dns"));

        if (is_locked(section, n))
            say_locked(section, n, d);
        else
            make_add(&m, nested ? lock_map(doc, n, n->key->text, d) : n, n->key);
    }
    return make_end(&m);
}

const struct cfg_node *local_lock(struct cfg_doc *doc, const struct cfg_node *root, struct diag *d)
{
    return lock_map(doc, root, NULL, d);
}

/* ---- the local file over the profile ---- */

static const struct cfg_node *join_lists(struct cfg_doc *doc, const struct cfg_node *base, const struct cfg_node *more)
{
    struct maker m;

    make_start(&m, doc, base);
    for (const struct cfg_node *n = base->child; n; n = n->next)
        make_add(&m, n, NULL);
    for (const struct cfg_node *n = more->child; n; n = n->next)
        make_add(&m, n, NULL);
    return make_end(&m);
}

static const struct cfg_node *lay_over(struct cfg_doc *doc, const struct cfg_node *base, const struct cfg_node *over, bool top);

/* What the two say of one key together. */
static const struct cfg_node *both(struct cfg_doc *doc, const struct cfg_node *base, const struct cfg_node *over, bool top)
{
    if (base->kind == CFG_MAP && over->kind == CFG_MAP)
        return lay_over(doc, base, over, false);
    if (top && base->kind == CFG_SEQ && over->kind == CFG_SEQ &&
        (!strcmp(over->key->text, "proxies") || !strcmp(over->key->text, "proxy-groups")))
        return join_lists(doc, base, over);
    return over;
}

/* The keys of over come first: in an ordered map (nameserver-policy) they are asked first. */
static const struct cfg_node *lay_over(struct cfg_doc *doc, const struct cfg_node *base, const struct cfg_node *over, bool top)
{
    struct maker m;

    make_start(&m, doc, base);
    for (const struct cfg_node *n = over->child; n && !m.failed; n = n->next) {
        const struct cfg_node *under = cfg_get(base, n->key->text);

        if (n->kind != CFG_NULL)
            make_add(&m, under ? both(doc, under, n, top) : n, n->key);
    }
    for (const struct cfg_node *n = base->child; n && !m.failed; n = n->next) {
        const struct cfg_node *above = cfg_get(over, n->key->text);

        if (!above || (above->kind == CFG_NULL && !above->len))
            make_add(&m, n, n->key);
    }
    return make_end(&m);
}

const struct cfg_node *local_merge(struct cfg_doc *doc, const struct cfg_node *root, const struct cfg_node *local)
{
    return root && local ? lay_over(doc, root, local, true) : root ? root : local;
}
