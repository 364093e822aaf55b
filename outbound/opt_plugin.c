/*
 * opt_plugin.c - what an ss (or snell) entry says about its plugin
 *
 * A plugin whose name is unknown makes the node useless: its server speaks something else underneath.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "outbound/options.h"

const char *const opt_plugin_names[] = { "", "obfs", "v2ray-plugin", "gost-plugin", "shadow-tls", "restls", "kcptun", NULL };

static const struct cfg_field host_fields[] = {
    { "host", CFG_STR, offsetof(struct opt_plugin, host), .def = "bing.com" },
    { 0 },
};

static const struct cfg_field ws_fields[] = {
    { "host", CFG_STR, offsetof(struct opt_plugin, host), .def = "bing.com" },
    { "path", CFG_STR, offsetof(struct opt_plugin, ws.path) },
    { "mux", CFG_BOOL, offsetof(struct opt_plugin, mux), .def = "true" },
    { "v2ray-http-upgrade", CFG_BOOL, offsetof(struct opt_plugin, ws.http_upgrade) },
    { "v2ray-http-upgrade-fast-open", CFG_BOOL, offsetof(struct opt_plugin, ws.fast_open) },
    { 0 },
};

static const struct cfg_field shadow_tls_fields[] = {
    { "host", CFG_STR, offsetof(struct opt_plugin, host), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct opt_plugin, password) },
    { "version", CFG_INT, offsetof(struct opt_plugin, version), .min = 1, .max = 3, .def = "2" },
    { 0 },
};

struct restls {
    struct opt_plugin p;
    const char *hint;
};

static const struct cfg_field restls_fields[] = {
    { "host", CFG_STR, offsetof(struct restls, p.host), CFG_REQUIRED },
    { "password", CFG_SECRET, offsetof(struct restls, p.password), CFG_REQUIRED },
    { "version-hint", CFG_STR, offsetof(struct restls, hint), CFG_REQUIRED },
    { "restls-script", CFG_STR, offsetof(struct restls, p.script) },
    { 0 },
};

/* The text of `mode`, "" when it is absent. */
static const char *mode_of(const struct opt_src *s)
{
    const struct cfg_node *n = opt_find(s, "mode");

    return n && n->kind == CFG_SCALAR ? n->text : "";
}

static int read_obfs(struct opt_plugin *p, const struct opt_src *s)
{
    const char *mode = mode_of(s);
    char shown[OPT_TEXT_MAX];

    p->mode = !strcmp(mode, "tls");
    if (!p->mode && strcmp(mode, "http") != 0)
        return opt_bad(s, "mode", "mode: obfs knows http and tls, not \"%s\"", opt_quote(mode, shown));
    return opt_fields(s, host_fields, p);
}

static int read_websocket(struct opt_plugin *p, const struct opt_src *s)
{
    char shown[OPT_TEXT_MAX];
    int r;

    if (strcmp(mode_of(s), "websocket") != 0)
        return opt_bad(s, "mode", "mode: this plugin knows websocket, not \"%s\"", opt_quote(mode_of(s), shown));
    if ((r = opt_fields(s, ws_fields, p)) < 0 || (r = opt_ws_finish(&p->ws, s)) < 0)
        return r;
    return opt_tls_sni(&p->tls, s);
}

static int read_shadow_tls(struct opt_plugin *p, const struct opt_src *s)
{
    int r = opt_fields(s, shadow_tls_fields, p);

    return r < 0 ? r : opt_tls_always(&p->tls, s);
}

static int read_restls(struct opt_plugin *p, const struct opt_src *s)
{
    struct restls x = { .p = *p };
    char shown[OPT_TEXT_MAX];

    if (opt_fields(s, restls_fields, &x) < 0)
        return -EINVAL;
    x.p.version = !strcmp(x.hint, "tls13") ? 13 : !strcmp(x.hint, "tls12") ? 12 : 0;
    *p = x.p;
    return p->version ? 0 : opt_bad(s, "version-hint", "version-hint: tls12 or tls13, not \"%s\"", opt_quote(x.hint, shown));
}

static int read_kcptun(struct opt_plugin *p, const struct opt_src *s)
{
    return 0; /* all of its keys have a default */
}

static int (*const readers[])(struct opt_plugin *p, const struct opt_src *s) = {
    [OPT_OBFS] = read_obfs,     [OPT_V2RAY] = read_websocket, [OPT_GOST] = read_websocket, [OPT_SHADOW_TLS] = read_shadow_tls,
    [OPT_RESTLS] = read_restls, [OPT_KCPTUN] = read_kcptun,
};

static int read_kind(struct opt_plugin *p, const struct opt_src *s, const char *key)
{
    static const struct cfg_node nothing = { .kind = CFG_MAP };
    struct opt_src sub = *s;
    struct cfg_node empty = nothing;
    int r = 0;

    if (!opt_sub(s, key, &sub, &r)) {
        if (r < 0)
            return r;
        empty.line = s->map->line; /* what is missing is missing in the entry */
        empty.column = s->map->column;
        sub.map = &empty;
    } else {
        p->node = sub.map;
    }
    return readers[p->kind](p, &sub);
}

int opt_plugin(void *member, const struct opt_src *s)
{
    struct opt_plugin *p = member;
    const struct cfg_node *n = opt_find(s, "plugin");
    char shown[OPT_TEXT_MAX];
    struct cfg_guess g;

    if (n && n->kind != CFG_SCALAR)
        return opt_bad(s, "plugin", "plugin: a single value is expected here");
    if (!n || !*n->text)
        return 0;
    for (int i = 1; opt_plugin_names[i]; i++)
        if (!strcmp(n->text, opt_plugin_names[i]))
            p->kind = i;
    if (!p->kind)
        return opt_bad(s, "plugin", "plugin: \"%s\" is unknown, and its server cannot be reached without it%s", opt_quote(n->text, shown),
                       cfg_did_you_mean(&g, s->d, n->text, opt_plugin_names + 1));
    return read_kind(p, s, "plugin-opts");
}

int opt_snell_obfs(void *member, const struct opt_src *s)
{
    struct opt_plugin *p = member;
    struct opt_src sub;
    int r = 0;

    if (!opt_sub(s, "obfs-opts", &sub, &r) || !*mode_of(&sub))
        return r;
    p->node = sub.map;
    p->kind = !strcmp(mode_of(&sub), "shadow-tls") ? OPT_SHADOW_TLS : OPT_OBFS;
    return readers[p->kind](p, &sub);
}
