/*
 * provider.c - proxy providers: nodes that a profile keeps elsewhere
 *
 *   inline   the nodes stand in the profile, under `payload`
 *   file     a file below the state directory
 *   http     the copy of what was fetched last, below the state directory (`path`, else proxies/ and the MD5 of the url, as other clients name it);
 *            until there is one, `payload`
 *
 * Content is YAML with `proxies:`, or share links, plain or in base64. Entries are filtered by their own names, then changed by `override`, then read like
 * those of the profile. A provider without content is there and empty; nothing about one is fatal.
 *
 * A file is read through core/file.h: a path cannot lead out of the state directory, whatever links lie there. All content together is at most CONTENT_MAX,
 * so that a stranger's profile costs no more than that.
 *
 * Messages about content in a file stand at the provider's key in the profile, with file and line in the text.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/file.h"
#include "core/hash.h"
#include "outbound/build.h"
#include "outbound/options.h"

#define PROVIDERS_MAX 4096u
#define CONTENT_MAX (16u << 20)

/* What is not kept. */
struct spec {
    struct out_provider p;
    const char *filter, *exclude_filter, *exclude_type, *dialer;
    const struct cfg_node *payload, *override, *health;
};

static const struct cfg_field provider_fields[] = {
    { "url", CFG_STR, offsetof(struct spec, p.url) },
    { "path", CFG_STR, offsetof(struct spec, p.path) },
    { "proxy", CFG_STR, offsetof(struct spec, p.proxy) },
    { "interval", CFG_INT, offsetof(struct spec, p.interval_s), .min = 0, .max = INT32_MAX },
    { "size-limit", CFG_INT, offsetof(struct spec, p.size_limit), .min = 0, .max = INT64_MAX },
    { "filter", CFG_STR, offsetof(struct spec, filter) },
    { "exclude-filter", CFG_STR, offsetof(struct spec, exclude_filter) },
    { "exclude-type", CFG_STR, offsetof(struct spec, exclude_type) },
    { "dialer-proxy", CFG_STR, offsetof(struct spec, dialer) },
    { "payload", CFG_SUB, offsetof(struct spec, payload) },
    { "override", CFG_SUB, offsetof(struct spec, override) },
    { "health-check", CFG_SUB, offsetof(struct spec, health) },
    { 0 },
};

static const struct cfg_field health_fields[] = {
    { "enable", CFG_BOOL, offsetof(struct out_provider, test), CFG_REQUIRED },
    { "url", CFG_STR, offsetof(struct out_provider, test_url) },
    { "interval", CFG_INT, offsetof(struct out_provider, test_interval_s), .min = 0, .max = INT32_MAX },
    { "timeout", CFG_INT, offsetof(struct out_provider, test_timeout_ms), .min = 0, .max = INT32_MAX, .def = "5000" },
    { "lazy", CFG_BOOL, offsetof(struct out_provider, test_lazy), .def = "true" },
    { "expected-status", CFG_STR, offsetof(struct out_provider, expected_status) },
    { 0 },
};

/* ---- one provider while it is read ---- */

struct override {
    bool tfo, mptcp, udp, udp_over_tcp, skip_verify;
    const char *up, *down, *dialer, *interface, *version, *prefix, *suffix;
    int64_t mark;
};

#define OV(key_, type_, member) { key_, type_, offsetof(struct override, member) }

/* The keys that replace those of an entry; the values are handed on as they are written, once they have been found right. */
static const struct cfg_field override_fields[] = {
    OV("tfo", CFG_BOOL, tfo), OV("mptcp", CFG_BOOL, mptcp), OV("udp", CFG_BOOL, udp), OV("udp-over-tcp", CFG_BOOL, udp_over_tcp),
    OV("up", CFG_STR, up), OV("down", CFG_STR, down), OV("dialer-proxy", CFG_STR, dialer), OV("skip-cert-verify", CFG_BOOL, skip_verify),
    OV("interface-name", CFG_STR, interface), OV("ip-version", CFG_STR, version),
    { "routing-mark", CFG_INT, offsetof(struct override, mark), .min = 0, .max = UINT32_MAX }, { 0 },
};

static const struct cfg_field affix_fields[] = { OV("additional-prefix", CFG_STR, prefix), OV("additional-suffix", CFG_STR, suffix), { 0 } };

struct reading {
    struct build *b;
    struct out_provider *p;
    struct spec spec;
    char path[96], what[OUT_NAME_MAX + 64];
    struct diag *d;            /* where messages about entries go */
    struct filter in, out;
    struct override affixes;
    const struct cfg_node *changes; /* keys that are put in front of each entry; NULL: none */
    uint32_t n_renames;
    struct rename { struct filter f; const char *target; } *renames;
    struct map names;          /* of entries taken, as they are written */
    uint32_t room;
};

static void warn_at(struct reading *r, const struct cfg_node *at, const char *code, const char *text)
{
    diag_warn(r->b->d, at->line, at->column, r->path, code, "%s %s", r->what, text);
}

/* The value of a key of the provider, else its own key: where a message belongs. */
static const struct cfg_node *where(const struct reading *r, const char *key)
{
    const struct cfg_node *n = cfg_find(r->p->node, key, CFG_KEYS_NOCASE);

    return n ? out_place(r->p->node->key, n) : r->p->node->key;
}

static void *need(struct reading *r, size_t n)
{
    return cfg_alloc(r->b->s->profile->doc, n);
}

static int read_fields(struct reading *r, const struct cfg_node *map, const struct cfg_field *fields, void *out)
{
    struct diag mine;
    int bad;

    diag_init_part(&mine, r->b->d);
    bad = cfg_read(r->b->s->profile->doc, map, fields, CFG_KEYS_NOCASE, out, false, r->path, &mine);
    out_tell(&mine, "proxy-provider", r->p->name, r->p->node->key, r->path, "", r->b->d);
    diag_fini(&mine);
    return bad;
}

/* ---- override ---- */

static bool add_change(struct reading *r, const char *key, const struct cfg_node *value)
{
    struct cfg_node *k = need(r, sizeof(*k)), *v = need(r, sizeof(*v));

    if (!k || !v)
        return false;
    *k = (struct cfg_node){ .kind = CFG_SCALAR, .text = key, .len = strlen(key), .line = value->line, .column = value->column };
    *v = *value;
    v->key = k;
    v->next = (struct cfg_node *)r->changes;
    r->changes = v;
    return true;
}

/* What only the machine's owner may say: he can in his own profile, for entries that stand there or by `override`. */
static const char *const ways_out[] = { "interface-name", "routing-mark" };
#define N_WAYS (sizeof(ways_out) / sizeof(ways_out[0]))

static bool is_locked(const struct reading *r, const char *key, const struct cfg_node *value)
{
    if (cfg_is_own(r->b->s->profile, value->column))
        return false;
    for (size_t i = 0; i < N_WAYS; i++)
        if (!strcmp(key, ways_out[i])) {
            diag_warn(r->b->d, value->line, value->column, r->path, "locked-key",
                      "%s %s may not be set by a fetched profile and is ignored; if you want it, write it into a file of your own", r->what, key);
            return true;
        }
    return false;
}

/* An empty value in front of whatever a stranger's entries say. */
static bool hide_ways(struct reading *r)
{
    static const struct cfg_node nothing = { .kind = CFG_NULL };
    bool inline_ = r->p->type && !strcmp(r->p->type, "inline");

    for (size_t i = 0; i < N_WAYS && !(inline_ && cfg_is_own(r->b->s->profile, r->p->node->column)); i++)
        if (!add_change(r, ways_out[i], &nothing))
            return false;
    return true;
}

static int read_changes(struct reading *r)
{
    const struct cfg_node *n = cfg_find(r->p->node, "dialer-proxy", CFG_KEYS_NOCASE);

    if (!hide_ways(r)) /* first, so that what comes later is in front of it */
        return -ENOMEM;
    if (r->spec.dialer && *r->spec.dialer && !add_change(r, "dialer-proxy", n))
        return -ENOMEM;
    for (const struct cfg_field *f = override_fields; f->key && r->spec.override; f++) {
        struct cfg_field one[2] = { *f, { 0 } };
        struct override nothing = { 0 };

        n = cfg_find(r->spec.override, f->key, CFG_KEYS_NOCASE);
        if (!n || n->kind == CFG_NULL || read_fields(r, r->spec.override, one, &nothing) || f->lacks || is_locked(r, f->key, n))
            continue; /* what this build lacks is said here, not of every member */
        if (!add_change(r, f->key, n))
            return -ENOMEM;
    }
    return 0;
}

static int read_rename(struct reading *r, const struct cfg_node *n)
{
    const struct cfg_node *pattern = cfg_find(n, "pattern", CFG_KEYS_NOCASE), *target = cfg_find(n, "target", CFG_KEYS_NOCASE);
    struct filter_at at = { .node = pattern, .path = r->path, .d = r->b->d };
    struct rename *x = &r->renames[r->n_renames];
    char what[sizeof(r->what) + 16];
    int err;

    if (!pattern || pattern->kind != CFG_SCALAR || !target || target->kind == CFG_SEQ || target->kind == CFG_MAP) {
        warn_at(r, n, "missing-key", "an entry of proxy-name needs pattern and target; it is skipped");
        return 0;
    }
    snprintf(what, sizeof(what), "%s proxy-name", r->what);
    at.what = what;
    x->target = target->kind == CFG_SCALAR ? target->text : "";
    if ((err = filter_compile(&r->b->filters, r->b->s->profile->doc, pattern->text, false, &at, &x->f)) < 0)
        return err;
    r->n_renames += x->f.n > 0;
    return 0;
}

static int read_renames(struct reading *r)
{
    const struct cfg_node *list = cfg_find(r->spec.override, "proxy-name", CFG_KEYS_NOCASE);
    int err = 0;

    if (!list || list->kind != CFG_SEQ)
        return 0;
    if (!(r->renames = need(r, list->n * sizeof(*r->renames) + 1)))
        return -ENOMEM;
    for (const struct cfg_node *n = list->child; n && err == 0; n = n->next)
        err = read_rename(r, n);
    return err;
}

static int read_override(struct reading *r)
{
    int err;

    if (r->spec.override && r->spec.override->kind != CFG_MAP) {
        warn_at(r, r->spec.override, "bad-value", "override: a mapping (key: value) is expected here");
        r->spec.override = NULL;
    }
    if ((err = read_changes(r)) < 0 || !r->spec.override)
        return err;
    read_fields(r, r->spec.override, affix_fields, &r->affixes);
    return read_renames(r);
}

/* The entry with the changes in front: what is found first counts. */
static const struct cfg_node *changed(struct reading *r, const struct cfg_node *entry)
{
    struct cfg_node *map, **end;

    if (!r->changes)
        return entry;
    if (!(map = need(r, sizeof(*map))))
        return NULL;
    *map = *entry;
    end = &map->child;
    for (const struct cfg_node *c = r->changes; c; c = c->next) {
        if (!(*end = need(r, sizeof(*map))))
            return NULL;
        **end = *c;
        end = &(*end)->next;
        map->n++;
    }
    *end = entry->child;
    return map;
}

static const char *renamed(struct reading *r, const char *name)
{
    const char *prefix = r->affixes.prefix ? r->affixes.prefix : "", *suffix = r->affixes.suffix ? r->affixes.suffix : "";
    size_t room;
    char *out;

    for (uint32_t i = 0; i < r->n_renames && name; i++)
        name = pattern_replace(&r->b->filters, r->renames[i].f.v[0], name, r->renames[i].target, r->b->s->profile->doc, r->b->d);
    if (!name || (!*prefix && !*suffix))
        return name;
    room = strlen(prefix) + strlen(name) + strlen(suffix) + 1;
    if ((out = need(r, room)))
        snprintf(out, room, "%s%s%s", prefix, name, suffix);
    return out;
}

/* ---- entries ---- */

struct taken {
    struct map_node node;
    const char *name;
};

static bool is_taken(const struct reading *r, const char *name)
{
    for (struct map_node *n = map_first(&r->names, hash_bytes(name, strlen(name))); n; n = map_next(n))
        if (!strcmp(container_of(n, struct taken, node)->name, name))
            return true;
    return false;
}

static int take(struct reading *r, const char *name)
{
    struct taken *t = need(r, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->name = name;
    map_add(&r->names, &t->node, hash_bytes(name, strlen(name)));
    return 0;
}

static int keep(struct reading *r, struct outbound *o)
{
    if (r->p->n == r->room) {
        uint32_t room = r->room ? r->room * 2 : 32;
        struct outbound **more = arena_alloc(&r->b->s->arena, room * sizeof(struct outbound *));

        if (!more)
            return -ENOMEM;
        if (r->p->n)
            memcpy(more, r->p->members, r->p->n * sizeof(struct outbound *));
        r->p->members = more;
        r->room = room;
    }
    r->p->members[r->p->n++] = o;
    return build_add(r->b, o);
}

static int add_entry(struct reading *r, const struct cfg_node *entry, const char *name, const char *type, uint32_t index)
{
    const struct outbound_ops *ops = registry_find(type);
    char path[160], shown[OUT_NAME_MAX], shown_type[OUT_NAME_MAX];
    const struct cfg_node *node = changed(r, entry);
    const char *now = renamed(r, name);
    struct outbound *o;
    struct cfg_guess g;
    int err;

    snprintf(path, sizeof(path), "%s[%u]", r->path, index);
    if (!ops) {
        const struct cfg_node *at = out_place(entry, cfg_find(entry, "type", CFG_KEYS_PROXY));

        diag_warn(r->d, at->line, at->column, path, "unknown-type", "proxy \"%s\": unknown type \"%s\"%s; the entry is skipped", out_quote(name, shown),
                  out_quote(type, shown_type), registry_guess(&g, r->d, type));
        return take(r, name);
    }
    if (!node || !now || !(o = set_make(r->b->s, ops, now, node)))
        return -ENOMEM;
    o->provider = r->p;
    if ((err = node_read(o, path, r->d)) == -ENOMEM || (err = err < 0 ? 0 : keep(r, o)) < 0)
        return err;
    return take(r, name);
}

static bool is_wanted(struct reading *r, struct pattern *p, const char *name, const char *type)
{
    struct filters *all = &r->b->filters;
    const struct outbound_ops *ops = registry_find(type);
    const struct outbound_ops written = { .type = type, .api_type = ops ? ops->api_type : type };

    if (is_taken(r, name) || (r->spec.exclude_type && *r->spec.exclude_type && names_type(r->spec.exclude_type, &written)))
        return false;
    return !(r->out.n && filter_any(all, &r->out, name, r->b->d)) && (!p || pattern_matches(all, p, name, r->b->d));
}

/* One pass over the list: those that p matches, or all. */
static int pass(struct reading *r, const struct cfg_node *list, struct pattern *p, bool first)
{
    uint32_t index = 0;
    int err = 0;

    for (const struct cfg_node *n = list->child; n && err == 0; n = n->next, index++) {
        const char *name = cfg_text(n, "name", CFG_KEYS_PROXY), *type = name ? cfg_text(n, "type", CFG_KEYS_PROXY) : NULL;
        char path[160];

        snprintf(path, sizeof(path), "%s[%u]", r->path, index);
        if (!type && first)
            diag_warn(r->d, n->line, n->column, path, "missing-key", "an entry needs name and type; it is skipped");
        if (!type || !is_wanted(r, p, name, type))
            continue;
        if ((uint32_t)r->b->s->n_live >= NODES_MAX) {
            warn_at(r, r->p->node->key, "bad-value", "there are more nodes than this build takes; the rest is skipped");
            return 0;
        }
        err = add_entry(r, n, name, type, index);
    }
    return err;
}

static int read_entries(struct reading *r, const struct cfg_node *list)
{
    int err = map_init(&r->names, list->n < 1024 ? list->n + 1 : 1024);

    if (err < 0)
        return err;
    if (!r->in.n)
        err = pass(r, list, NULL, true);
    for (uint32_t i = 0; i < r->in.n && err == 0; i++)
        err = pass(r, list, r->in.v[i], i == 0);
    map_fini(&r->names);
    if (err == 0 && !r->p->n) {
        r->p->why = "its content has no usable member";
        warn_at(r, r->p->node->key, "unknown-target", list->n ? "no entry of its content is usable, or the filters let none in" : "its content is an empty list");
    }
    return err;
}

/* ---- content in a file ---- */

/* Messages about the content, each with its place there. */
static void tell_elsewhere(struct reading *r, const struct diag *mine)
{
    for (size_t i = 0; i < mine->n; i++) {
        const struct diag_item *it = &mine->items[i];

        diag_warn(r->b->d, r->p->node->key->line, r->p->node->key->column, r->path, it->code, "%s %s:%u:%u: %s", r->what, mine->source[0].name, it->line, it->column,
                  it->message);
    }
}

/* `proxies` of the content, or NULL with a message in mine. The document is kept with the set. */
static const struct cfg_node *parse(struct reading *r, const char *bytes, size_t len, struct diag *mine)
{
    bool links = link_looks_like(bytes, len);
    struct cfg_doc *doc = links ? link_parse(bytes, len, mine) : cfg_parse(bytes, len, mine);
    struct content *c = doc ? arena_alloc(&r->b->s->arena, sizeof(*c)) : NULL;
    const struct cfg_node *list;

    if (!c) {
        cfg_doc_free(doc);
        return NULL;
    }
    c->doc = doc;
    c->next = r->b->s->contents;
    r->b->s->contents = c;
    list = cfg_get(cfg_root(doc), "proxies");
    if (list && list->kind == CFG_SEQ)
        return list;
    diag_err(mine, 1, 1, "", "yaml", "it is neither YAML with a list `proxies` nor a list of share links");
    return NULL;
}

static int read_content(struct reading *r, const char *file, const char *bytes, size_t len)
{
    char name[OUT_NAME_MAX];
    const struct cfg_node *list;
    struct diag mine;
    int err = 0;

    diag_init_part(&mine, r->b->d);
    diag_set_source(&mine, 0, out_quote(file, name), bytes, len);
    r->d = &mine;
    if ((list = parse(r, bytes, len, &mine)))
        err = read_entries(r, list);
    else
        r->p->why = "its content cannot be read";
    tell_elsewhere(r, &mine);
    diag_fini(&mine);
    return err;
}

static int read_payload(struct reading *r)
{
    const struct cfg_node *list = r->spec.payload;

    r->d = r->b->d;
    if (list && list->kind == CFG_SEQ)
        return read_entries(r, list);
    r->p->why = "it has no payload";
    warn_at(r, list ? list : r->p->node->key, list ? "bad-value" : "missing-key", list ? "payload: a list of proxies is expected here" : "it needs a payload");
    return 0;
}

static bool has_url(const struct out_provider *p)
{
    return p->url && *p->url;
}

int out_url_file(const char *dir, const char *url, char out[OUT_URL_FILE])
{
    uint8_t sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    int at = snprintf(out, OUT_URL_FILE, "%.8s/", dir);

    if (EVP_Digest(url, strlen(url), sum, &n, EVP_md5(), NULL) != 1)
        return -EINVAL;
    for (unsigned i = 0; i < n; i++)
        at += snprintf(out + at, OUT_URL_FILE - (size_t)at, "%02x", sum[i]);
    return 0;
}

static const char *default_path(struct reading *r)
{
    char *out = need(r, OUT_URL_FILE);

    return out && out_url_file("proxies", r->p->url, out) == 0 ? out : NULL;
}

static void say_unsafe(struct reading *r, const char *instead)
{
    const char *dir = r->b->s->env->state_dir;
    char text[512], shown[OPT_TEXT_MAX];

    if (instead)
        snprintf(text, sizeof(text), "path: \"%s\" leads out of the state directory%s%s; %s in there is used instead", opt_quote(r->p->path, shown),
                 dir ? " " : "", dir ? dir : "", instead);
    else
        snprintf(text, sizeof(text), "path: \"%s\" leads out of the state directory%s%s; put the file in there and name it relative to it (proxies/NAME.yaml)",
                 opt_quote(r->p->path, shown), dir ? " " : "", dir ? dir : "");
    warn_at(r, where(r, "path"), "unsafe-path", text);
}

/* The provider before this one whose file this is, if it would be written by both. */
static const struct out_provider *same_file(const struct reading *r)
{
    for (const struct out_provider *p = r->b->s->providers; p < r->p; p++)
        if (p->path && !strcmp(p->path, r->p->path) && (!p->url || !r->p->url || strcmp(p->url, r->p->url) != 0))
            return p;
    return NULL;
}

/* Without a url nothing is ever fetched: such a provider has no file of its own, and only the one it names is read. */
static int settle_path(struct reading *r, bool http)
{
    const struct out_provider *other;
    const char *own = NULL;
    char text[512], shown[OPT_TEXT_MAX], name[OPT_TEXT_MAX];

    if (http && !has_url(r->p))
        warn_at(r, r->p->node->key, "missing-key", "a http provider needs a url");
    else if (http && !(own = default_path(r)))
        return -ENOMEM;
    if (!r->p->path || !*r->p->path) {
        r->p->path = own;
        if (!http)
            warn_at(r, r->p->node->key, "missing-key", "a file provider needs a path");
    } else if (file_leads_out(r->b->s->env->state_dir, r->p->path)) {
        say_unsafe(r, own);
        r->p->path = own;
    } else if (own && (other = same_file(r))) {
        snprintf(text, sizeof(text), "path: \"%s\" is the file of provider \"%s\"; %s is used instead", opt_quote(r->p->path, shown),
                 opt_quote(other->name, name), own);
        warn_at(r, where(r, "path"), "unsafe-path", text);
        r->p->path = own;
    }
    return 0;
}

static void say_no_file(struct reading *r, int err, bool http)
{
    char text[512], shown[OPT_TEXT_MAX];

    opt_quote(r->p->path, shown);
    if (err == -EXDEV || err == -ELOOP) {
        snprintf(text, sizeof(text), "%s leads out of the state directory by a link; it is not read", shown);
        warn_at(r, where(r, "path"), "unsafe-path", text);
        return;
    }
    if (http && (err == -ENOENT || err == -ENOTDIR))
        snprintf(text, sizeof(text), "it has not been fetched yet (%s): it is empty, and so are groups that have nothing else", shown);
    else
        snprintf(text, sizeof(text), "%s cannot be read (%s): it is empty", shown, err_str(err));
    warn_at(r, r->p->node->key, "missing-data", text);
}

static int read_file(struct reading *r, bool http)
{
    const char *dir = r->b->s->env->state_dir;
    size_t len = 0;
    char *bytes;
    int err = -ENOENT;

    if (dir && r->p->path)
        err = file_read_beneath(dir, r->p->path, CONTENT_MAX - r->b->content, &bytes, &len, &r->p->stored_s);
    if (err == 0) {
        r->b->content += len;
        err = read_content(r, r->p->path, bytes, len);
        free(bytes);
        return err;
    }
    if (http && r->spec.payload && r->spec.payload->kind == CFG_SEQ)
        return read_payload(r);
    if (!r->p->path) {
        r->p->why = http ? "it has no url" : "it has no usable path"; /* settle_path() said so */
        return 0;
    }
    r->p->why = "it has no content yet";
    say_no_file(r, err, http);
    return 0;
}

/* ---- one provider ---- */

static int compile(struct reading *r, const char *key, const char *text, struct filter *out)
{
    struct filter_at at = { .node = where(r, key), .path = r->path, .d = r->b->d };
    char what[sizeof(r->what) + 32];

    if (!text || !*text)
        return 0;
    snprintf(what, sizeof(what), "%s %s", r->what, key);
    at.what = what;
    return filter_compile(&r->b->filters, r->b->s->profile->doc, text, true, &at, out);
}

static void read_health(struct reading *r)
{
    struct out_provider *p = r->p;
    struct opt_ranges ranges;

    if (r->spec.health && r->spec.health->kind == CFG_MAP)
        read_fields(r, r->spec.health, health_fields, p);
    else if (r->spec.health)
        warn_at(r, r->spec.health, "bad-value", "health-check: a mapping (key: value) is expected here");
    p->test_url = p->test_url ? p->test_url : "";
    if (!p->expected_status || !opt_ranges(p->expected_status, &ranges)) {
        if (p->expected_status)
            warn_at(r, cfg_find(r->spec.health, "expected-status", CFG_KEYS_NOCASE), "bad-value", "expected-status: it is no list of status codes (200,204)");
        p->expected_status = "*";
    }
    if (p->test && !p->test_interval_s)
        p->test_interval_s = 300;
}

static const char *const types[] = { "http", "file", "inline", NULL };

/* The type in our spelling, as far as it is one. */
static const char *type_of(const char *written)
{
    for (const char *const *t = types; *t; t++)
        if (!strcasecmp(*t, written))
            return *t;
    return written;
}

static void say_unknown_type(struct reading *r)
{
    char text[384], shown[OPT_TEXT_MAX];
    struct cfg_guess g;

    snprintf(text, sizeof(text), "unknown type \"%s\"; it can be http, file or inline%s; the provider is empty", opt_quote(r->p->type, shown),
             cfg_did_you_mean(&g, r->b->d, r->p->type, types));
    warn_at(r, where(r, "type"), "unknown-type", text);
}

static int read_provider(struct reading *r)
{
    int err;

    r->spec.p = *r->p;
    read_fields(r, r->p->node, provider_fields, &r->spec);
    *r->p = r->spec.p;
    read_health(r);
    if ((err = compile(r, "filter", r->spec.filter, &r->in)) < 0 || (err = compile(r, "exclude-filter", r->spec.exclude_filter, &r->out)) < 0 ||
        (err = read_override(r)) < 0)
        return err;
    if (!strcmp(r->p->type, "inline")) {
        r->p->path = NULL;
        return read_payload(r);
    }
    if (!strcmp(r->p->type, "http") || !strcmp(r->p->type, "file")) {
        bool http = !strcmp(r->p->type, "http");

        return (err = settle_path(r, http)) < 0 ? err : read_file(r, http);
    }
    r->p->path = NULL;
    r->p->why = "its type is unknown";
    say_unknown_type(r);
    return 0;
}

static int add_provider(struct build *b, const struct cfg_provider *e)
{
    struct reading r = { .b = b, .p = &b->s->providers[b->s->n_providers] };
    char name[OUT_NAME_MAX];

    *r.p = (struct out_provider){ .name = e->name, .type = type_of(e->type), .node = e->node, .test_timeout_ms = 5000, .test_lazy = true };
    snprintf(r.path, sizeof(r.path), "proxy-providers.%.60s", out_quote(e->name, name));
    snprintf(r.what, sizeof(r.what), "proxy-provider \"%s\":", name);
    if (!strcmp(e->name, "default")) {
        warn_at(&r, e->node->key, "bad-value", "this name is reserved; the entry is skipped");
        return 0;
    }
    b->s->n_providers++;
    return read_provider(&r);
}

int build_providers(struct build *b)
{
    const struct profile *p = b->s->profile;
    uint32_t n = p->n_proxy_providers < PROVIDERS_MAX ? p->n_proxy_providers : PROVIDERS_MAX;
    int r = 0;

    if (!(b->s->providers = arena_alloc(&b->s->arena, (n + 1) * sizeof(*b->s->providers))))
        return -ENOMEM;
    for (uint32_t i = 0; i < n && r == 0; i++)
        r = add_provider(b, &p->proxy_providers[i]);
    if (n < p->n_proxy_providers)
        diag_warn(b->d, p->proxy_providers[n].node->key->line, p->proxy_providers[n].node->key->column, "proxy-providers", "bad-value",
                  "more than %u providers; the rest is skipped", PROVIDERS_MAX);
    return r;
}
