/*
 * profile.c - the document -> struct profile
 *
 * Sections of fixed shape are tables; a value that cannot be is an error. Lists of entries (proxies, groups, rules, hosts) keep their nodes: one bad entry
 * is skipped with a warning. Keys that change much and that this build does not carry out are named once each, so that nobody believes in them.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/config.h"
#include "core/list.h"
#include "core/map.h"
#include "core/hash.h"

const char *const mode_names[] = { "rule", "global", "direct", NULL };
static const char *const level_names[] = { "debug", "info", "warning", "error", "silent", NULL };
static const char *const dns_modes[] = { "normal", "fake-ip", "redir-host", NULL };
static const char *const filter_modes[] = { "blacklist", "whitelist", "rule", NULL };
static const char *const stacks[] = { "gvisor", "system", "mixed", "lwip", NULL };

/* What the tables fill; turned into struct profile below. */
struct raw {
    struct profile p;
    int mode, level, stack;
    struct cfg_cidrs old4, old6, not4, not6;
    const char *fake4, *fake6;
    struct cfg_strs inet6;
    bool tun_enable;
};

#define P(member) offsetof(struct raw, p.member)
#define R(member) offsetof(struct raw, member)

static const struct cfg_field general[] = {
    { "mode", CFG_ENUM, R(mode), .names = mode_names },
    { "log-level", CFG_ENUM, R(level), .names = level_names, .def = "info" },
    { "ipv6", CFG_BOOL, P(ipv6), CFG_LOOSE, .def = "true" },
    { "allow-lan", CFG_BOOL, P(allow_lan), CFG_LOOSE },
    { "external-controller", CFG_STR, P(external_controller) },
    { "external-controller-unix", CFG_STR, P(external_controller_unix) },
    { "secret", CFG_SECRET, P(secret) },
    { "interface-name", CFG_STR, P(interface_name) },
    { "port", CFG_PORT, P(port) },
    { "socks-port", CFG_PORT, P(socks_port) },
    { "mixed-port", CFG_PORT, P(mixed_port) },
    { "redir-port", CFG_PORT, P(redir_port) },
    { "tproxy-port", CFG_PORT, P(tproxy_port) },
    { 0 },
};

static const struct cfg_field section_profile[] = {
    { "store-selected", CFG_BOOL, P(store_selected), CFG_LOOSE, .def = "true" },
    { 0 },
};

static const struct cfg_field section_cors[] = {
    { "allow-origins", CFG_STRS, P(cors_origins) },
    { 0 },
};

static const struct cfg_field section_tun[] = {
    { "enable", CFG_BOOL, P(tun.enable), CFG_LOOSE, .def = "true" },
    { "device", CFG_STR, P(tun.device) },
    { "stack", CFG_ENUM, R(stack), .names = stacks },
    { "mtu", CFG_INT, P(tun.mtu), .min = 0, .max = 65535 },
    { "auto-route", CFG_BOOL, P(tun.auto_route), CFG_LOOSE, .def = "true" },
    { "strict-route", CFG_BOOL, P(tun.strict_route), CFG_LOOSE },
    { "disable-icmp-forwarding", CFG_BOOL, P(tun.disable_icmp_forwarding), CFG_LOOSE },
    { "dns-hijack", CFG_STRS, P(tun.dns_hijack), .def = "0.0.0.0:53" },
    { "inet6-address", CFG_STRS, R(inet6), .def = "fdfe:dcba:9876::1/126" },
    { "route-address", CFG_CIDRS, P(tun.route_address) },
    { "inet4-route-address", CFG_CIDRS, R(old4) },
    { "inet6-route-address", CFG_CIDRS, R(old6) },
    { "route-exclude-address", CFG_CIDRS, P(tun.route_exclude) },
    { "inet4-route-exclude-address", CFG_CIDRS, R(not4) },
    { "inet6-route-exclude-address", CFG_CIDRS, R(not6) },
    { "iproute2-table-index", CFG_INT, P(tun.table_index), .min = 0, .max = 0x7fffffff },
    { "iproute2-rule-index", CFG_INT, P(tun.rule_index), .min = 0, .max = 32000 },
    { "udp-timeout", CFG_INT, P(tun.udp_timeout_s), .min = 0, .max = 86400 },
    { 0 },
};

static const struct cfg_field section_dns[] = {
    { "enable", CFG_BOOL, P(dns.enable), CFG_LOOSE, .def = "true" },
    { "ipv6", CFG_BOOL, P(dns.ipv6), CFG_LOOSE },
    { "use-hosts", CFG_BOOL, P(dns.use_hosts), CFG_LOOSE, .def = "true" },
    { "use-system-hosts", CFG_BOOL, P(dns.use_system_hosts), CFG_LOOSE, .def = "true" },
    { "enhanced-mode", CFG_ENUM, P(dns.mode), .names = dns_modes, .def = "fake-ip" },
    { "fake-ip-range", CFG_STR, R(fake4), .def = "198.18.0.1/16" },
    { "fake-ip-range6", CFG_STR, R(fake6) },
    { "fake-ip-ttl", CFG_INT, P(dns.fake_ttl), .min = 0, .max = 86400, .def = "1" },
    { "fake-ip-filter-mode", CFG_ENUM, P(dns.filter_mode), .names = filter_modes },
    { "fake-ip-filter", CFG_STRS, P(dns.filter) },
    { "nameserver", CFG_STRS, P(dns.nameserver) },
    { "default-nameserver", CFG_STRS, P(dns.default_nameserver) },
    { "proxy-server-nameserver", CFG_STRS, P(dns.proxy_server_nameserver) },
    { "direct-nameserver", CFG_STRS, P(dns.direct_nameserver) },
    { "fallback", CFG_STRS, P(dns.fallback) },
    { "listen", CFG_STR, P(dns.listen) },
    { 0 },
};

/* Keys that change where traffic goes and that this build does not carry out. */
static const struct {
    const char *section, *key, *instead;
} unsupported[] = {
    { NULL, "rule-providers", "RULE-SET rules are skipped" },
    { NULL, "listeners", "no port is opened" },
    { NULL, "tunnels", "no port is opened" },
    { NULL, "sub-rules", "SUB-RULE rules are skipped" },
    { NULL, "external-controller-tls", "the controller speaks plain HTTP only" },
    { NULL, "external-ui", "no pages are served" },
    { "tun", "auto-redirect", "the device carries all" },
    { "tun", "include-interface", "it has no effect" },
    { "tun", "exclude-interface", "it has no effect" },
    { "tun", "include-uid", "it has no effect" },
    { "tun", "exclude-uid", "it has no effect" },
    { "dns", "fallback", "only nameserver is asked" },
    { "dns", "nameserver-policy", "only nameserver is asked" },
};

static void warn_unsupported(const struct cfg_node *root, struct diag *d)
{
    const struct cfg_node *n;

    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        n = cfg_get(unsupported[i].section ? cfg_get(root, unsupported[i].section) : root, unsupported[i].key);
        if (!n || n->kind == CFG_NULL || ((n->kind == CFG_MAP || n->kind == CFG_SEQ) && !n->n) || (n->text && !strcmp(n->text, "false")))
            continue;
        diag_warn(d, n->key->line, n->key->column, unsupported[i].key, "unsupported-key", "%s is not supported by this build: %s", unsupported[i].key,
                  unsupported[i].instead);
    }
    if ((n = cfg_get(cfg_get(root, "sniffer"), "enable")) && n->kind == CFG_SCALAR && !strcmp(n->text, "true"))
        diag_warn(d, n->key->line, n->key->column, "sniffer", "unsupported-key",
                  "sniffer is not supported by this build: flows to bare addresses have no name");
}

static void warn_ports(const struct cfg_node *root, const struct profile *p, struct diag *d)
{
    const struct {
        const char *key;
        uint16_t port;
    } all[] = { { "port", p->port }, { "socks-port", p->socks_port }, { "mixed-port", p->mixed_port }, { "redir-port", p->redir_port },
                { "tproxy-port", p->tproxy_port } };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        const struct cfg_node *n = cfg_get(root, all[i].key);

        if (all[i].port && n)
            diag_warn(d, n->key->line, n->key->column, all[i].key, "unsupported-key",
                      "%s is not supported by this build: no local port is opened; the device carries all traffic", all[i].key);
    }
}

/* A section that must be a mapping when it is there. */
static const struct cfg_node *section(const struct cfg_node *root, const char *key, enum cfg_kind kind, struct diag *d)
{
    const struct cfg_node *n = cfg_get(root, key);

    if (!n || n->kind == kind || n->kind == CFG_NULL)
        return n && n->kind == kind ? n : NULL;
    diag_err(d, n->line, n->column, key, "bad-value", "%s must be a %s", key, kind == CFG_MAP ? "mapping (key: value)" : "list (- entry)");
    return NULL;
}

static void append(struct cfg_doc *doc, struct cfg_cidrs *to, const struct cfg_cidrs *more)
{
    struct cidr *v = more->n ? cfg_alloc(doc, (to->n + more->n) * sizeof(*v)) : NULL;

    if (!v)
        return;
    if (to->n)
        memcpy(v, to->v, to->n * sizeof(*v));
    memcpy(v + to->n, more->v, more->n * sizeof(*v));
    to->v = v;
    to->n += more->n;
}

/* ADDRESS/LEN with the host bits kept. */
static bool parse_interface(const char *s, struct cidr *out)
{
    char text[ADDR_STRLEN];
    const char *slash = strchr(s, '/');
    struct cidr net;

    if (cidr_parse(s, &net) < 0 || !slash || (size_t)(slash - s) >= sizeof(text))
        return false;
    memcpy(text, s, (size_t)(slash - s));
    text[slash - s] = 0;
    if (addr_parse(text, &out->ip) < 0)
        return false;
    out->len = net.len;
    return true;
}

static void finish_fake(struct raw *r, const struct cfg_node *dns, struct diag *d)
{
    const struct cfg_node *n4 = cfg_get(dns, "fake-ip-range"), *n6 = cfg_get(dns, "fake-ip-range6");
    struct profile *p = &r->p;

    if (cidr_parse(r->fake4, &p->dns.fake4) < 0 || p->dns.fake4.ip.ver != 4 || p->dns.fake4.len > 28 || p->dns.fake4.len < 8) {
        diag_err(d, n4 ? n4->line : 0, n4 ? n4->column : 0, "dns.fake-ip-range", "bad-value",
                 "fake-ip-range: \"%s\" is no IPv4 range between /8 and /28", r->fake4);
        p->dns.fake4 = (struct cidr){ 0 };
        return;
    }
    p->tun.inet4 = p->dns.fake4;
    p->tun.inet4.ip.b[3] |= 1;
    p->tun.inet4.len = 30;
    if (r->fake6 && p->ipv6 && p->dns.ipv6) {
        if (cidr_parse(r->fake6, &p->dns.fake6) < 0 || p->dns.fake6.ip.ver != 6 || p->dns.fake6.len > 120) {
            diag_err(d, n6->line, n6->column, "dns.fake-ip-range6", "bad-value", "fake-ip-range6: \"%s\" is no IPv6 range of at least /120", r->fake6);
            p->dns.fake6 = (struct cidr){ 0 };
        }
    }
    if (p->dns.mode != DNS_FAKEIP || !p->dns.enable)
        p->dns.fake4 = p->dns.fake6 = (struct cidr){ 0 };
}

static void finish_tun(struct raw *r, struct cfg_doc *doc, const struct cfg_node *tun, struct diag *d)
{
    struct profile *p = &r->p;
    const struct cfg_node *n;

    if (!p->tun.mtu)
        p->tun.mtu = 1500;
    if (p->tun.mtu < 1280 && (n = cfg_get(tun, "mtu")))
        diag_err(d, n->line, n->column, "tun.mtu", "bad-value", "mtu: IPv6 needs at least 1280");
    if (p->tun.device && (!*p->tun.device || strlen(p->tun.device) > 15)) {
        if (*p->tun.device && (n = cfg_get(tun, "device")))
            diag_err(d, n->line, n->column, "tun.device", "bad-value", "device: a name has at most 15 characters");
        p->tun.device = NULL;
    }
    if (!p->tun.table_index)
        p->tun.table_index = 2022;
    if (!p->tun.rule_index)
        p->tun.rule_index = 9000;
    if (!p->tun.udp_timeout_s)
        p->tun.udp_timeout_s = 300;
    append(doc, &p->tun.route_address, &r->old4);
    append(doc, &p->tun.route_address, &r->old6);
    append(doc, &p->tun.route_exclude, &r->not4);
    append(doc, &p->tun.route_exclude, &r->not6);
    if (p->ipv6 && r->inet6.n && !parse_interface(r->inet6.v[0], &p->tun.inet6))
        diag_err(d, r->inet6.at[0]->line, r->inet6.at[0]->column, "tun.inet6-address", "bad-value", "inet6-address: \"%s\" is no ADDRESS/LENGTH",
                 r->inet6.v[0]);
}

/* ---- lists ---- */

struct name {
    struct map_node node;
    const char *name;
    uint32_t line;
};

static bool builtin(const char *name)
{
    static const char *const all[] = { "DIRECT", "REJECT", "REJECT-DROP", "PASS", "COMPATIBLE" };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!strcmp(all[i], name))
            return true;
    return false;
}

/* Notes a name; the line of the earlier owner, or 0 when it is new. */
static uint32_t claim(struct cfg_doc *doc, struct map *names, const struct cfg_node *at, const char *name)
{
    uint64_t h = hash_bytes(name, strlen(name));
    struct name *n;

    for (struct map_node *m = map_first(names, h); m; m = map_next(m)) {
        n = container_of(m, struct name, node);
        if (!strcmp(n->name, name))
            return n->line;
    }
    if ((n = cfg_alloc(doc, sizeof(*n)))) {
        n->name = name;
        n->line = at->line;
        map_add(names, &n->node, h);
    }
    return 0;
}

static const char *text_of(const struct cfg_node *map, const char *key)
{
    const struct cfg_node *n = cfg_get(map, key);

    for (const struct cfg_node *c = n ? NULL : cfg_first(map); c; c = c->next)
        if (!strcasecmp(c->key->text, key))
            n = c;
    return n && n->kind == CFG_SCALAR && n->len ? n->text : NULL;
}

static void read_entries(struct cfg_doc *doc, const struct cfg_node *list, const char *what, struct map *names, struct cfg_entry **out, uint32_t *n_out,
                         struct diag *d)
{
    uint32_t index = 0;

    *out = list ? cfg_alloc(doc, (list->n + 1) * sizeof(**out)) : NULL;
    for (const struct cfg_node *n = cfg_first(list); n && *out; n = n->next, index++) {
        struct cfg_entry e = { .name = text_of(n, "name"), .type = text_of(n, "type"), .index = index, .node = n };
        char path[64];
        uint32_t line;

        snprintf(path, sizeof(path), "%s[%u]", what, index);
        if (!e.name || !e.type) {
            diag_warn(d, n->line, n->column, path, "missing-key", "an entry of %s needs name and type; it is skipped", what);
            continue;
        }
        if (builtin(e.name)) {
            diag_warn(d, n->line, n->column, path, "duplicate-name", "\"%s\" is built in; this entry is skipped", e.name);
            continue;
        }
        if ((line = claim(doc, names, n, e.name))) {
            diag_warn(d, n->line, n->column, path, "duplicate-name", "the name \"%s\" is used already in line %u; this entry is skipped", e.name, line);
            continue;
        }
        (*out)[(*n_out)++] = e;
    }
}

static struct cfg_rule *read_rules(struct cfg_doc *doc, const struct cfg_node *list, const char *what, uint32_t *n_out, struct diag *d)
{
    struct cfg_rule *rules = list ? cfg_alloc(doc, (list->n + 1) * sizeof(*rules)) : NULL;
    uint32_t index = 0;

    for (const struct cfg_node *n = cfg_first(list); n && rules; n = n->next, index++) {
        char path[128];

        if (n->kind == CFG_SCALAR) {
            rules[(*n_out)++] = (struct cfg_rule){ n->text, index, n->line, n->column };
            continue;
        }
        snprintf(path, sizeof(path), "%s[%u]", what, index);
        diag_warn(d, n->line, n->column, path, "bad-rule", "a rule is one line of text (TYPE,PAYLOAD,TARGET); this entry is skipped");
    }
    return rules;
}

static void read_sub_rules(struct cfg_doc *doc, const struct cfg_node *map, struct profile *p, struct diag *d)
{
    p->sub_rules = map ? cfg_alloc(doc, (map->n + 1) * sizeof(*p->sub_rules)) : NULL;
    for (const struct cfg_node *n = cfg_first(map); n && p->sub_rules; n = n->next) {
        struct cfg_sub_rules *s = &p->sub_rules[p->n_sub_rules];
        char what[96];

        snprintf(what, sizeof(what), "sub-rules.%.80s", n->key->text);
        if (n->kind != CFG_SEQ) {
            diag_warn(d, n->line, n->column, what, "bad-rule", "sub-rules: \"%s\" must be a list of rules; it is skipped", n->key->text);
            continue;
        }
        *s = (struct cfg_sub_rules){ .name = n->key->text, .line = n->key->line, .column = n->key->column };
        s->rules = read_rules(doc, n, what, &s->n_rules, d);
        p->n_sub_rules++;
    }
}

static void read_providers(struct cfg_doc *doc, const struct cfg_node *map, const char *what, struct cfg_entry **out, uint32_t *n_out, struct diag *d)
{
    uint32_t index = 0;

    *out = map ? cfg_alloc(doc, (map->n + 1) * sizeof(**out)) : NULL;
    for (const struct cfg_node *n = cfg_first(map); n && *out; n = n->next, index++) {
        struct cfg_entry e = { .name = n->key->text, .type = text_of(n, "type"), .index = index, .node = n };
        char path[128];

        snprintf(path, sizeof(path), "%s.%.80s", what, e.name);
        if (e.type)
            (*out)[(*n_out)++] = e;
        else
            diag_warn(d, n->key->line, n->key->column, path, "missing-key", "an entry of %s needs a type; it is skipped", what);
    }
}

static void read_host(struct cfg_doc *doc, const struct cfg_node *n, struct profile *p, struct diag *d)
{
    struct cfg_hosts_entry e = { .pattern = n->key->text, .line = n->key->line, .column = n->key->column };
    uint32_t max = n->kind == CFG_SEQ ? n->n : 1;

    if (!(e.addrs = cfg_alloc(doc, (max + 1) * sizeof(*e.addrs))))
        return;
    for (const struct cfg_node *v = n->kind == CFG_SEQ ? n->child : n; v; v = n->kind == CFG_SEQ ? v->next : NULL) {
        if (v->kind == CFG_SCALAR && addr_parse(v->text, &e.addrs[e.n]) == 0) {
            e.n++;
        } else if (v->kind == CFG_SCALAR && max == 1 && strchr(v->text, '.')) {
            e.alias = v->text;
        } else {
            diag_warn(d, v->line, v->column, "hosts", "bad-value", "hosts: \"%s\" is neither an address nor a name with a dot; the entry \"%s\" is skipped",
                      v->kind == CFG_SCALAR ? v->text : "(nothing)", e.pattern);
            return;
        }
    }
    if (e.n || e.alias)
        p->hosts[p->n_hosts++] = e;
}

static void read_lists(struct cfg_doc *doc, const struct cfg_node *root, struct profile *p, struct diag *d)
{
    const struct cfg_node *hosts = section(root, "hosts", CFG_MAP, d);
    struct map names;

    p->hosts = hosts ? cfg_alloc(doc, (hosts->n + 1) * sizeof(*p->hosts)) : NULL;
    for (const struct cfg_node *n = cfg_first(hosts); n && p->hosts; n = n->next)
        read_host(doc, n, p, d);
    if (map_init(&names, 64) < 0) {
        diag_err(d, 0, 0, "", "bad-value", "out of memory");
        return;
    }
    read_entries(doc, section(root, "proxies", CFG_SEQ, d), "proxies", &names, &p->proxies, &p->n_proxies, d);
    read_entries(doc, section(root, "proxy-groups", CFG_SEQ, d), "proxy-groups", &names, &p->groups, &p->n_groups, d);
    map_fini(&names);
    p->rules = read_rules(doc, section(root, "rules", CFG_SEQ, d), "rules", &p->n_rules, d);
    read_sub_rules(doc, section(root, "sub-rules", CFG_MAP, d), p, d);
    read_providers(doc, section(root, "proxy-providers", CFG_MAP, d), "proxy-providers", &p->proxy_providers, &p->n_proxy_providers, d);
    read_providers(doc, section(root, "rule-providers", CFG_MAP, d), "rule-providers", &p->rule_providers, &p->n_rule_providers, d);
}

struct profile *profile_load(const char *bytes, size_t len, struct diag *d)
{
    struct cfg_doc *doc = cfg_parse(bytes, len, d);
    const struct cfg_node *root = doc ? cfg_root(doc) : NULL, *tun, *dns;
    struct profile *p = NULL;
    struct raw r;

    if (!doc)
        return NULL;
    memset(&r, 0, sizeof(r));
    r.p.doc = doc;
    if (root && root->kind != CFG_MAP && root->kind != CFG_NULL) {
        diag_err(d, root->line, root->column, "", "bad-value", "a profile is a mapping (key: value) at the top, not a %s",
                 root->kind == CFG_SEQ ? "list" : "single text");
    } else {
        tun = section(root, "tun", CFG_MAP, d);
        dns = section(root, "dns", CFG_MAP, d);
        cfg_read(doc, root, general, CFG_KEYS_EXACT, &r, true, "", d);
        cfg_read(doc, section(root, "profile", CFG_MAP, d), section_profile, CFG_KEYS_EXACT, &r, true, "profile", d);
        cfg_read(doc, section(root, "external-controller-cors", CFG_MAP, d), section_cors, CFG_KEYS_EXACT, &r, true, "external-controller-cors", d);
        cfg_read(doc, tun, section_tun, CFG_KEYS_EXACT, &r, true, "tun", d);
        cfg_read(doc, dns, section_dns, CFG_KEYS_EXACT, &r, true, "dns", d);
        r.p.mode = (enum mode)r.mode;
        r.p.log_level = (enum log_level)r.level;
        r.p.dns.ipv6 = r.p.dns.ipv6 && r.p.ipv6;
        if (r.p.dns.fake_ttl < 1)
            r.p.dns.fake_ttl = 1;
        finish_fake(&r, dns, d);
        finish_tun(&r, doc, tun, d);
        read_lists(doc, root, &r.p, d);
        warn_unsupported(root, d);
        warn_ports(root, &r.p, d);
    }
    if (!d->n_errors && (p = malloc(sizeof(*p)))) {
        *p = r.p;
        return p;
    }
    cfg_doc_free(doc);
    return NULL;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    cfg_doc_free(p->doc);
    free(p);
}
