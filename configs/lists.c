/*
 * lists.c - what a profile lists: hosts, proxies, groups, rules, providers, listeners, tunnels
 *
 * One bad entry costs itself and a warning, never the rest. Proxies, groups and rules are only picked up (who owns their types reads them);
 * names are made unique here. An entry of the local file takes the place of the profile's entry of the same name.
 *
 *   rules in use = the local file's prepend-rules, the profile's rules but for a closing MATCH, append-rules, that MATCH
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/private.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/map.h"

/* The node when it is of that kind and says something; else NULL, with an error unless it is empty. */
static const struct cfg_node *section(const struct cfg_node *n, enum cfg_kind kind, struct diag *d)
{
    if (!n || n->kind == CFG_NULL || n->kind == kind)
        return n && n->n ? n : NULL;
    if (n->n || (n->kind == CFG_SCALAR && n->len))
        diag_err(d, n->line, n->column, n->key->text, "bad-value", "%s must be a %s", n->key->text,
                 kind == CFG_MAP ? "mapping (key: value)" : "list (- entry)");
    return NULL;
}

bool cfg_is_own(const struct profile *p, uint32_t column)
{
    return !p->foreign || cfg_source(column) != 0;
}

/* ---- proxies and groups ---- */

struct name {
    struct map_node node;
    const char *name;
    const struct cfg_node *at;
    struct cfg_entry *list, *entry; /* entry->name is NULL once another took its place */
};

static bool reserved(const char *name, bool proxy)
{
    static const char *const all[] = { "DIRECT", "REJECT", "REJECT-DROP", "PASS", "PASS-RULE", "COMPATIBLE" };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!strcmp(all[i], name))
            return true;
    return proxy && !strcmp(name, "GLOBAL");
}

static struct name *find_name(struct map *names, const char *name, uint64_t hash)
{
    for (struct map_node *m = map_first(names, hash); m; m = map_next(m)) {
        struct name *n = container_of(m, struct name, node);

        if (!strcmp(n->name, name))
            return n;
    }
    return NULL;
}

static struct name *add_name(struct cfg_doc *doc, struct map *names, const char *name, uint64_t hash)
{
    struct name *n = cfg_alloc(doc, sizeof(*n));

    if (!n)
        return NULL;
    n->name = name;
    map_add(names, &n->node, hash);
    return n;
}

/* Takes the entry in at the end, or in place of the one of that name when this one is the local file's. */
static void take_entry(struct raw *r, struct map *names, const struct cfg_entry *e, const char *path, struct cfg_entry *list, uint32_t *n,
                       struct diag *d)
{
    uint64_t hash = hash_bytes(e->name, strlen(e->name));
    struct name *twin = find_name(names, e->name, hash);
    const struct cfg_node *at = e->node;
    char shown[CFG_QUOTE_MAX];
    struct cfg_entry *place = &list[*n];

    if (twin && cfg_source(at->column) < cfg_source(twin->at->column))
        return; /* the local file's word counts */
    if (twin && cfg_source(at->column) == cfg_source(twin->at->column)) {
        diag_warn(d, at->line, at->column, path, "duplicate-name", "the name \"%s\" is used already in line %u; this entry is skipped",
                  cfg_quote(e->name, strlen(e->name), shown), twin->at->line);
        return;
    }
    if (twin && twin->list == list)
        place = twin->entry;
    else if (twin)
        twin->entry->name = NULL;
    if (!twin && !(twin = add_name(r->p.doc, names, e->name, hash)))
        return;
    twin->at = at;
    twin->list = list;
    twin->entry = place;
    *place = *e;
    *n += place == &list[*n];
}

static void read_entries(struct raw *r, const struct cfg_node *list, const char *what, struct map *names, struct cfg_entry **out,
                         uint32_t *n_out, struct diag *d)
{
    uint32_t index[CFG_SOURCES] = { 0 };
    bool proxy = !strcmp(what, "proxies");

    *out = list ? cfg_alloc(r->p.doc, (list->n + 1) * sizeof(**out)) : NULL;
    for (const struct cfg_node *n = cfg_first(list); n && *out; n = n->next) {
        enum cfg_keys keys = proxy ? CFG_KEYS_PROXY : CFG_KEYS_NOCASE;
        struct cfg_entry e = { cfg_text(n, "name", keys), cfg_text(n, "type", keys), index[cfg_source(n->column)]++, n };
        char path[CFG_PATH_MAX], shown[CFG_QUOTE_MAX];

        snprintf(path, sizeof(path), "%s[%u]", what, e.index);
        if (n->kind != CFG_MAP)
            diag_warn(d, n->line, n->column, path, "bad-value", "an entry of %s is a mapping (name: ...); this one is skipped", what);
        else if (!e.name)
            diag_warn(d, n->line, n->column, path, "missing-key", "this entry of %s has no name; it is skipped", what);
        else if (!e.type)
            diag_warn(d, n->line, n->column, path, "missing-key", "\"%s\" has no type; it is skipped",
                      cfg_quote(e.name, strlen(e.name), shown));
        else if (reserved(e.name, proxy))
            diag_warn(d, n->line, n->column, path, "duplicate-name", "\"%s\" is built in; this entry is skipped", e.name);
        else
            take_entry(r, names, &e, path, *out, n_out, d);
    }
}

/* Drops what lost its name to an entry of the other list. */
static uint32_t compact(struct cfg_entry *list, uint32_t n)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; list && i < n; i++)
        if (list[i].name)
            list[kept++] = list[i];
    return kept;
}

static void read_nodes(struct raw *r, struct diag *d)
{
    struct profile *p = &r->p;
    struct map names;

    if (map_init(&names, 64) < 0) {
        diag_err(d, 0, 0, "", "bad-value", "out of memory");
        return;
    }
    read_entries(r, section(r->proxies, CFG_SEQ, d), "proxies", &names, &p->proxies, &p->n_proxies, d);
    read_entries(r, section(r->groups, CFG_SEQ, d), "proxy-groups", &names, &p->groups, &p->n_groups, d);
    map_fini(&names);
    p->n_proxies = compact(p->proxies, p->n_proxies);
    p->n_groups = compact(p->groups, p->n_groups);
}

/* ---- rules ---- */

const char *cfg_rule_path(const struct cfg_rule *r, char buf[CFG_PATH_MAX])
{
    static const char *const lists[] = { "rules", "prepend-rules", "append-rules" };

    if (r->sub)
        snprintf(buf, CFG_PATH_MAX, "sub-rules.%.64s[%u]", r->sub, r->nth);
    else
        snprintf(buf, CFG_PATH_MAX, "%s[%u]", lists[r->list], r->nth);
    return buf;
}

struct rule_sink {
    struct cfg_rule *v;
    uint32_t n;
    const char *sub;
    struct diag *d;
};

static void add_rule(struct rule_sink *s, const struct cfg_node *n, uint32_t nth, enum cfg_rule_list list)
{
    struct cfg_rule rule = { n->text, s->n, n->line, n->column, nth, list, s->sub };
    char path[CFG_PATH_MAX];

    if (n->kind == CFG_SCALAR)
        s->v[s->n++] = rule;
    else
        diag_warn(s->d, n->line, n->column, cfg_rule_path(&rule, path), "bad-rule",
                  "a rule is one line of text (TYPE,PAYLOAD,TARGET); this entry is skipped");
}

/* All but for `last`, which comes later. */
static void add_rules(struct rule_sink *s, const struct cfg_node *list, enum cfg_rule_list which, const struct cfg_node *last)
{
    uint32_t nth = 0;

    for (const struct cfg_node *n = cfg_first(list); n; n = n->next, nth++)
        if (n != last)
            add_rule(s, n, nth, which);
}

/* "MATCH,TARGET", blanks around the words allowed. */
static bool is_match(const char *s)
{
    s += strspn(s, " \t");
    return !strncasecmp(s, "MATCH", 5) && s[5 + strspn(s + 5, " \t")] == ',';
}

/* The last entry, when it is a MATCH. */
static const struct cfg_node *closing_match(const struct cfg_node *list)
{
    const struct cfg_node *last = cfg_first(list);

    while (last && last->next)
        last = last->next;
    return last && last->kind == CFG_SCALAR && is_match(last->text) ? last : NULL;
}

static void read_rules(struct raw *r, const struct cfg_node *local, struct diag *d)
{
    const struct cfg_node *rules = section(r->rules, CFG_SEQ, d), *before = section(cfg_get(local, "prepend-rules"), CFG_SEQ, d),
                          *after = section(cfg_get(local, "append-rules"), CFG_SEQ, d), *last = after ? closing_match(rules) : NULL;
    uint32_t n = (rules ? rules->n : 0) + (before ? before->n : 0) + (after ? after->n : 0);
    struct rule_sink s = { .v = n ? cfg_alloc(r->p.doc, n * sizeof(*s.v)) : NULL, .d = d };

    if (!s.v)
        return;
    add_rules(&s, before, CFG_PREPEND_RULES, NULL);
    add_rules(&s, rules, CFG_RULES, last);
    add_rules(&s, after, CFG_APPEND_RULES, NULL);
    if (rules && last)
        add_rule(&s, last, rules->n - 1, CFG_RULES);
    r->p.rules = s.v;
    r->p.n_rules = s.n;
}

static void read_sub_rules(struct raw *r, struct diag *d)
{
    const struct cfg_node *map = section(r->sub_rules, CFG_MAP, d);
    struct profile *p = &r->p;

    p->sub_rules = map ? cfg_alloc(p->doc, map->n * sizeof(*p->sub_rules)) : NULL;
    for (const struct cfg_node *n = cfg_first(map); n && p->sub_rules; n = n->next) {
        struct rule_sink s = { .sub = n->key->text, .d = d };
        char path[CFG_PATH_MAX];

        snprintf(path, sizeof(path), "sub-rules.%.64s", s.sub);
        if (n->kind != CFG_SEQ && n->kind != CFG_NULL) {
            diag_warn(d, n->line, n->column, path, "bad-rule", "a list of rules is expected here; the list is skipped");
            continue;
        }
        if (!(s.v = cfg_alloc(p->doc, (n->n + 1) * sizeof(*s.v))))
            return;
        add_rules(&s, n, CFG_RULES, NULL);
        p->sub_rules[p->n_sub_rules++] = (struct cfg_sub_rules){ s.sub, n->key->line, n->key->column, s.n, s.v };
    }
}

/* ---- hosts ---- */

static void read_host(struct raw *r, const struct cfg_node *n, struct diag *d)
{
    struct cfg_hosts_entry e = { .pattern = n->key->text, .line = n->key->line, .column = n->key->column };
    bool list = n->kind == CFG_SEQ;
    uint32_t max = list ? n->n : 1;
    char shown[CFG_QUOTE_MAX], pattern[CFG_QUOTE_MAX];

    if (!(e.addrs = cfg_alloc(r->p.doc, (max + 1) * sizeof(*e.addrs))))
        return;
    for (const struct cfg_node *v = list ? n->child : n; v; v = list ? v->next : NULL) {
        if (v->kind == CFG_NULL)
            continue;
        if (v->kind == CFG_SCALAR && addr_parse(v->text, &e.addrs[e.n]) == 0) {
            e.n++;
        } else if (v->kind == CFG_SCALAR && max == 1 && !strcmp(v->text, "lan")) {
            e.lan = true;
        } else if (v->kind == CFG_SCALAR && max == 1 && strchr(v->text, '.')) {
            e.alias = v->text;
        } else {
            diag_warn(d, v->line, v->column, "hosts", "bad-value",
                      "\"%s\" is neither an address nor a name with a dot; the entry \"%s\" is skipped",
                      v->kind == CFG_SCALAR ? cfg_quote(v->text, v->len, shown) : "a mapping or list",
                      cfg_quote(n->key->text, n->key->len, pattern));
            return;
        }
    }
    if (e.n || e.alias || e.lan)
        r->p.hosts[r->p.n_hosts++] = e;
}

static void read_hosts(struct raw *r, struct diag *d)
{
    const struct cfg_node *hosts = section(r->hosts, CFG_MAP, d);

    r->p.hosts = hosts ? cfg_alloc(r->p.doc, hosts->n * sizeof(*r->p.hosts)) : NULL;
    for (const struct cfg_node *n = cfg_first(hosts); n && r->p.hosts; n = n->next)
        read_host(r, n, d);
}

/* ---- providers ---- */

static const char *const from_names[] = { "http", "file", "inline", NULL };
static const char *const behavior_names[] = { "domain", "ipcidr", "classical", NULL };
static const char *const format_names[] = { "yaml", "text", "mrs", NULL };

#define V(member) offsetof(struct cfg_provider, member)

static const struct cfg_field any_provider[] = {
    { "header", CFG_HEADERS, V(headers) },
    { 0 },
};

static const struct cfg_field rule_provider[] = {
    { "behavior", CFG_ENUM, V(behavior), CFG_REQUIRED, .names = behavior_names },
    { "format", CFG_ENUM, V(format), .names = format_names, .def = "yaml" },
    { "url", CFG_STR, V(url) },
    { "path", CFG_STR, V(path) },
    { "proxy", CFG_STR, V(proxy) },
    { "interval", CFG_INT, V(interval_s), CFG_CLAMP, .min = 0, .max = 1 << 30 },
    { "size-limit", CFG_INT, V(size_limit), CFG_CLAMP, .min = 0, .max = INT64_C(1) << 40 },
    { "path-in-bundle", CFG_STR, V(path_in_bundle) },
    { "payload", CFG_STRS, V(rules) },
    { 0 },
};

static int find_word(const char *const *words, const char *s)
{
    for (int i = 0; words[i]; i++)
        if (!strcasecmp(words[i], s))
            return i;
    return -1;
}

/* What is missing for its content, or NULL. It stays, and stays empty: rules may name it. */
static const char *lacking(struct cfg_provider *x)
{
    if (x->url && !*x->url)
        x->url = NULL;
    if (x->path && !*x->path)
        x->path = NULL;
    return x->from == CFG_FROM_HTTP && !x->url ? "url" : x->from == CFG_FROM_FILE && !x->path ? "path" : NULL;
}

static bool read_rule_provider(struct raw *r, const struct cfg_node *n, struct cfg_provider *x, const char *path, struct diag *d)
{
    int from = find_word(from_names, x->type);
    const char *missing;
    char shown[CFG_QUOTE_MAX];
    struct cfg_guess g;

    if (from < 0) {
        const struct cfg_node *at = cfg_find(n, "type", CFG_KEYS_NOCASE);

        diag_warn(d, at->line, at->column, path, "unknown-type",
                  "the type \"%s\" is unknown; it can be http, file or inline%s; the provider is skipped",
                  cfg_quote(x->type, strlen(x->type), shown), cfg_did_you_mean(&g, d, x->type, from_names));
        return false;
    }
    x->from = (enum cfg_provider_from)from;
    if (cfg_read(r->p.doc, n, rule_provider, CFG_KEYS_NOCASE, x, false, path, d))
        return false;
    if ((missing = lacking(x)))
        diag_warn(d, n->key->line, n->key->column, path, "missing-key", "a provider of type %s needs a %s; it stays empty", x->type,
                  missing);
    return true;
}

static bool read_provider(struct raw *r, const struct cfg_node *n, bool proxies, struct cfg_provider *x, const char *path, struct diag *d)
{
    char shown[CFG_QUOTE_MAX];

    if (n->kind != CFG_MAP) {
        diag_warn(d, n->key->line, n->key->column, path, "bad-value", "a provider is a mapping (type: ...); this one is skipped");
        return false;
    }
    if (!x->type) {
        diag_warn(d, n->key->line, n->key->column, path, "missing-key",
                  "the provider \"%s\" needs a type (http, file or inline); it is skipped", cfg_quote(x->name, strlen(x->name), shown));
        return false;
    }
    cfg_read(r->p.doc, n, any_provider, CFG_KEYS_NOCASE, x, false, path, d);
    return proxies || read_rule_provider(r, n, x, path, d);
}

static void read_providers(struct raw *r, const struct cfg_node *node, bool proxies, struct cfg_provider **out, uint32_t *n_out,
                           struct diag *d)
{
    const struct cfg_node *map = section(node, CFG_MAP, d);
    uint32_t index[CFG_SOURCES] = { 0 };

    *out = map ? cfg_alloc(r->p.doc, map->n * sizeof(**out)) : NULL;
    for (const struct cfg_node *n = cfg_first(map); n && *out; n = n->next) {
        uint32_t column = n->key->column;
        struct cfg_provider x = { n->key->text, cfg_text(n, "type", CFG_KEYS_NOCASE), index[cfg_source(column)]++, n, n->key->line,
                                  column,       .own = cfg_is_own(&r->p, column) };
        char path[CFG_PATH_MAX];

        snprintf(path, sizeof(path), "%s.%.64s", proxies ? "proxy-providers" : "rule-providers", x.name);
        if (read_provider(r, n, proxies, &x, path, d))
            (*out)[(*n_out)++] = x;
    }
}

/* ---- listeners ---- */

/* A listener while it is read. */
struct raw_listener {
    struct cfg_listener l;
    const struct cfg_node *users;
};
#define L(member) offsetof(struct raw_listener, l.member)

static const struct cfg_field listener_fields[] = {
    { "listen", CFG_STR, L(listen), .def = "0.0.0.0" },
    { "port", CFG_RANGES, L(ports), .max = 65535 },
    { "rule", CFG_STR, L(rule) },
    { "proxy", CFG_STR, L(proxy) },
    { "routing-mark", CFG_INT, L(routing_mark), CFG_CLAMP, .min = 0, .max = UINT32_MAX },
    { "udp", CFG_BOOL, L(udp), .def = "true" },
    { "users", CFG_SUB, offsetof(struct raw_listener, users) },
    { "certificate", CFG_STR, L(certificate) },
    { "private-key", CFG_SECRET, L(private_key) },
    { "network", CFG_STRS, L(network) },
    { "target", CFG_STR, L(target) },
    { 0 },
};

static bool listener_type(const char *type)
{
    static const char *const all[] = { "socks",       "http",  "mixed", "redir",  "tproxy",      "tunnel", "tun",
                                       "shadowsocks", "vmess", "vless", "trojan", "hysteria2",   "tuic",   "hysteria2-realm",
                                       "anytls",      "snell", "mieru", "sudoku", "trusttunnel", NULL };

    return find_word(all, type) >= 0;
}

/* A list of { username, password }; other shapes belong to servers, which we are not. */
static void read_users(struct raw *r, const struct cfg_node *list, struct cfg_users *out)
{
    out->given = list && list->kind == CFG_SEQ;
    if (!out->given || !(out->v = cfg_alloc(r->p.doc, (list->n + 1) * sizeof(*out->v))))
        return;
    for (const struct cfg_node *n = list->child; n; n = n->next) {
        struct cfg_user u = { cfg_text(n, "username", CFG_KEYS_NOCASE), cfg_text(n, "password", CFG_KEYS_NOCASE) };

        if (u.name)
            out->v[out->n++] = u;
    }
}

static bool read_listener(struct raw *r, const struct cfg_node *n, const char *path, struct map *names, struct cfg_listener *out,
                          struct diag *d)
{
    struct raw_listener x = { .l = *out };
    const char *name = x.l.name, *type = x.l.type;
    char shown[CFG_QUOTE_MAX];
    uint64_t hash;

    if (n->kind != CFG_MAP || !name || !type) {
        diag_warn(d, n->line, n->column, path, "missing-key", "a listener needs name and type; it is skipped");
        return false;
    }
    cfg_quote(name, strlen(name), shown);
    hash = hash_bytes(name, strlen(name));
    if (find_name(names, name, hash)) {
        diag_warn(d, n->line, n->column, path, "duplicate-name", "there is another listener \"%s\" above; this one is skipped", shown);
        return false;
    }
    if (!listener_type(type)) {
        diag_warn(d, n->line, n->column, path, "unknown-type", "listener \"%s\": its type is unknown; it is skipped", shown);
        return false;
    }
    if (cfg_read(r->p.doc, n, listener_fields, CFG_KEYS_NOCASE, &x, false, path, d))
        return false;
    if (!x.l.ports.n && strcasecmp(type, "tun") != 0) {
        diag_warn(d, n->line, n->column, path, "missing-key", "listener \"%s\" needs a port; it is skipped", shown);
        return false;
    }
    read_users(r, x.users, &x.l.users);
    *out = x.l;
    return add_name(r->p.doc, names, name, hash);
}

static void read_listeners(struct raw *r, struct diag *d)
{
    const struct cfg_node *list = section(r->listeners, CFG_SEQ, d);
    struct profile *p = &r->p;
    uint32_t index = 0;
    struct map names;

    if (!list || !(p->listeners = cfg_alloc(p->doc, list->n * sizeof(*p->listeners))))
        return;
    if (map_init(&names, 16) < 0) {
        diag_err(d, 0, 0, "", "bad-value", "out of memory");
        return;
    }
    for (const struct cfg_node *n = list->child; n; n = n->next, index++) {
        struct cfg_listener *l = &p->listeners[p->n_listeners];
        char path[CFG_PATH_MAX];

        *l = (struct cfg_listener){ .name = cfg_text(n, "name", CFG_KEYS_NOCASE),
                                    .type = cfg_text(n, "type", CFG_KEYS_NOCASE),
                                    .index = index,
                                    .node = n,
                                    .line = n->line,
                                    .column = n->column };
        snprintf(path, sizeof(path), "listeners[%u]", index);
        p->n_listeners += read_listener(r, n, path, &names, l, d);
    }
    map_fini(&names);
}

/* ---- tunnels ---- */

/* "tcp", "udp" or "tcp/udp", added to what is there already. */
static bool add_networks(const char *s, struct cfg_tunnel *t)
{
    for (const char *end; *s; s = *end ? end + 1 : end) {
        end = strchrnul(s, '/');
        if (end - s == 3 && !strncasecmp(s, "tcp", 3))
            t->tcp = true;
        else if (end - s == 3 && !strncasecmp(s, "udp", 3))
            t->udp = true;
        else
            return false;
    }
    return true;
}

/* "tcp/udp,LOCAL:PORT,TARGET:PORT[,POLICY]" */
static bool tunnel_of_text(struct raw *r, const char *text, struct cfg_tunnel *t)
{
    char *s = cfg_strdup(r->p.doc, text, strlen(text)), *part[4] = { NULL };

    for (int i = 0; i < 4 && s; i++) {
        part[i] = s;
        if ((s = strchr(s, ',')))
            *s++ = 0;
    }
    t->address = part[1];
    t->target = part[2];
    t->proxy = part[3];
    return part[2] && add_networks(part[0], t);
}

struct raw_tunnel {
    struct cfg_tunnel t;
    struct cfg_strs network;
};

static bool tunnel_of_map(struct raw *r, const struct cfg_node *n, const char *path, struct cfg_tunnel *t, struct diag *d)
{
    static const struct cfg_field fields[] = {
        { "network", CFG_STRS, offsetof(struct raw_tunnel, network) },
        { "address", CFG_STR, offsetof(struct raw_tunnel, t.address) },
        { "target", CFG_STR, offsetof(struct raw_tunnel, t.target) },
        { "proxy", CFG_STR, offsetof(struct raw_tunnel, t.proxy) },
        { 0 },
    };
    struct raw_tunnel x = { .t = *t };
    bool good = cfg_read(r->p.doc, n, fields, CFG_KEYS_NOCASE, &x, false, path, d) == 0;

    for (uint32_t i = 0; i < x.network.n; i++)
        good &= add_networks(x.network.v[i], &x.t);
    *t = x.t;
    return good;
}

static bool is_hostport(const char *s)
{
    char host[HOST_MAX + 1];
    uint16_t port = 0;

    return s && hostport_split(s, host, &port) == 0 && port;
}

static void read_tunnels(struct raw *r, struct diag *d)
{
    const struct cfg_node *list = section(r->tunnels, CFG_SEQ, d);
    struct profile *p = &r->p;
    uint32_t index = 0;

    p->tunnels = list ? cfg_alloc(p->doc, list->n * sizeof(*p->tunnels)) : NULL;
    for (const struct cfg_node *n = cfg_first(list); n && p->tunnels; n = n->next, index++) {
        struct cfg_tunnel t = { .index = index, .line = n->line, .column = n->column };
        char path[CFG_PATH_MAX];
        bool good;

        snprintf(path, sizeof(path), "tunnels[%u]", index);
        good = n->kind == CFG_SCALAR ? tunnel_of_text(r, n->text, &t) : n->kind == CFG_MAP && tunnel_of_map(r, n, path, &t, d);
        if (!good || !(t.tcp || t.udp) || !is_hostport(t.address) || !is_hostport(t.target))
            diag_warn(d, n->line, n->column, path, "bad-value",
                      "tcp/udp,LOCAL:PORT,TARGET:PORT[,POLICY] is expected; the tunnel is skipped");
        else if (!cfg_is_own(p, n->column) && !cfg_is_loopback(t.address))
            diag_warn(d, n->line, n->column, path, "locked-key",
                      "a fetched profile may listen on loopback only, not on %s; the tunnel is skipped", t.address);
        else
            p->tunnels[p->n_tunnels++] = t;
    }
}

void lists_read(struct raw *r, const struct cfg_node *local, struct diag *d)
{
    read_hosts(r, d);
    read_nodes(r, d);
    read_rules(r, local, d);
    read_sub_rules(r, d);
    read_providers(r, r->proxy_providers, true, &r->p.proxy_providers, &r->p.n_proxy_providers, d);
    read_providers(r, r->rule_providers, false, &r->p.rule_providers, &r->p.n_rule_providers, d);
    read_listeners(r, d);
    read_tunnels(r, d);
}
