/*
 * sections.c - the sections of fixed shape: every key, its type, default and range, and what this build makes of it
 *
 * `top` is the whole profile: scalars, sections (tables of their own), and lists, which are only picked up here (lists.c reads them). A
 * value that cannot be is an error; where other programs accept anything (a port out of range, a number too large) it is a warning and the
 * nearest sensible thing is done. `lacks` holds the words for keys that this build does not carry out: one warning each, only when the key
 * says something. Whoever carries one out deletes its words.
 *
 * Behind the tables: what follows from several keys together (finish_*).
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "configs/private.h"

const char *const mode_names[] = { "rule", "global", "direct", NULL };
static const char *const level_names[] = { "debug", "info", "warning", "error", "silent", NULL };
static const char *const find_process_names[] = { "strict", "always", "off", NULL };
static const char *const stacks[] = { "gvisor", "system", "mixed", "lwip", NULL };
static const char *const dns_modes[] = { "normal", "fake-ip", "redir-host", NULL };
static const char *const filter_modes[] = { "blacklist", "whitelist", "rule", NULL };

#define P(member) offsetof(struct raw, p.member)
#define R(member) offsetof(struct raw, member)
#define OTHER     CFG_SUB, R(other)

#define NO_PORT   "no local port is opened; the device carries all traffic"
#define NO_EFFECT "it has no effect"

static const struct cfg_field profile_fields[] = {
    { "store-selected", CFG_BOOL, P(store_selected), CFG_LOOSE, .def = "true" },
    { "store-fake-ip", CFG_BOOL, P(store_fake_ip), CFG_LOOSE, .def = "true", .lacks = "names are kept, or addresses that programs hold would lead nowhere" },
    { 0 },
};

static const struct cfg_field cors_fields[] = {
    { "allow-origins", CFG_STRS, P(cors_origins) },
    { "allow-private-network", CFG_BOOL, P(cors_private_network), CFG_LOOSE, .def = "true" },
    { 0 },
};

static const struct cfg_field geox_fields[] = {
    { "geoip", CFG_STR, P(geo.geoip) },
    { "geosite", CFG_STR, P(geo.geosite) },
    { "mmdb", CFG_STR, P(geo.mmdb) },
    { "asn", CFG_STR, P(geo.asn) },
    { 0 },
};

static const struct cfg_field tun_fields[] = {
    { "enable", CFG_BOOL, P(tun.enable), CFG_LOOSE, .def = "true" },
    { "device", CFG_STR, P(tun.device) },
    { "stack", CFG_ENUM, R(stack), .names = stacks },
    { "mtu", CFG_INT, P(tun.mtu), CFG_CLAMP, .min = 0, .max = 65535 },
    { "gso", CFG_BOOL, P(tun.gso), CFG_LOOSE },
    { "gso-max-size", CFG_INT, P(tun.gso_max_size), CFG_CLAMP, .min = 0, .max = 1 << 20 },
    { "auto-route", CFG_BOOL, P(tun.auto_route), CFG_LOOSE, .def = "true" },
    { "auto-detect-interface", CFG_BOOL, P(tun.auto_detect_interface), CFG_LOOSE, .def = "true" },
    { "auto-redirect", CFG_BOOL, P(tun.auto_redirect), CFG_LOOSE, .lacks = "the device carries all" },
    { "auto-redirect-input-mark", CFG_INT, P(tun.redirect_input_mark), CFG_CLAMP, .min = 0, .max = UINT32_MAX },
    { "auto-redirect-output-mark", CFG_INT, P(tun.redirect_output_mark), CFG_CLAMP, .min = 0, .max = UINT32_MAX },
    { "auto-redirect-iproute2-fallback-rule-index", CFG_INT, P(tun.redirect_fallback), CFG_CLAMP, .min = 0, .max = UINT32_MAX },
    { "strict-route", CFG_BOOL, P(tun.strict_route), CFG_LOOSE },
    { "dns-hijack", CFG_STRS, P(tun.dns_hijack), .def = "0.0.0.0:53" },
    { "inet6-address", CFG_IFADDRS, R(inet6) },
    { "route-address", CFG_CIDRS, P(tun.route_address) },
    { "inet4-route-address", CFG_CIDRS, R(old4) },
    { "inet6-route-address", CFG_CIDRS, R(old6) },
    { "route-exclude-address", CFG_CIDRS, P(tun.route_exclude) },
    { "inet4-route-exclude-address", CFG_CIDRS, R(not4) },
    { "inet6-route-exclude-address", CFG_CIDRS, R(not6) },
    { "route-address-set", CFG_STRS, P(tun.route_set), .lacks = NO_EFFECT },
    { "route-exclude-address-set", CFG_STRS, P(tun.route_exclude_set), .lacks = NO_EFFECT },
    { "include-interface", CFG_STRS, P(tun.include_interface), .lacks = NO_EFFECT },
    { "exclude-interface", CFG_STRS, P(tun.exclude_interface), .lacks = NO_EFFECT },
    { "include-uid", CFG_UIDS, P(tun.include_uid), CFG_SOFT, .max = UINT32_MAX, .lacks = NO_EFFECT },
    { "include-uid-range", CFG_UIDS, R(include_uid), CFG_SOFT, .max = UINT32_MAX, .lacks = NO_EFFECT },
    { "exclude-uid", CFG_UIDS, P(tun.exclude_uid), CFG_SOFT, .max = UINT32_MAX, .lacks = NO_EFFECT },
    { "exclude-uid-range", CFG_UIDS, R(exclude_uid), CFG_SOFT, .max = UINT32_MAX, .lacks = NO_EFFECT },
    { "exclude-src-port", CFG_UIDS, P(tun.exclude_src_port), CFG_SOFT, .max = 65535, .lacks = NO_EFFECT },
    { "exclude-src-port-range", CFG_UIDS, R(src_ports), CFG_SOFT, .max = 65535, .lacks = NO_EFFECT },
    { "exclude-dst-port", CFG_UIDS, P(tun.exclude_dst_port), CFG_SOFT, .max = 65535, .lacks = NO_EFFECT },
    { "exclude-dst-port-range", CFG_UIDS, R(dst_ports), CFG_SOFT, .max = 65535, .lacks = NO_EFFECT },
    { "include-mac-address", CFG_STRS, P(tun.include_mac), .lacks = NO_EFFECT },
    { "exclude-mac-address", CFG_STRS, P(tun.exclude_mac), .lacks = NO_EFFECT },
    { "include-android-user", OTHER },
    { "include-package", OTHER },
    { "exclude-package", OTHER },
    { "endpoint-independent-nat", CFG_BOOL, P(tun.endpoint_independent_nat), CFG_LOOSE },
    { "udp-timeout", CFG_INT, P(tun.udp_timeout_s), CFG_CLAMP, .min = 0, .max = 86400 },
    { "icmp-timeout", CFG_INT, P(tun.icmp_timeout_s), CFG_CLAMP, .min = 0, .max = 86400 },
    { "disable-icmp-forwarding", CFG_BOOL, P(tun.disable_icmp_forwarding), CFG_LOOSE },
    { "loopback-address", CFG_ADDRS, P(tun.loopback_address), .lacks = NO_EFFECT },
    { "iproute2-table-index", CFG_INT, P(tun.table_index), CFG_CLAMP, .min = 0, .max = 0x7fffffff },
    { "iproute2-rule-index", CFG_INT, P(tun.rule_index), CFG_CLAMP, .min = 0, .max = 32000 },
    { "file-descriptor", OTHER },
    { "recvmsgx", OTHER },
    { "sendmsgx", OTHER },
    { "inet4-address", OTHER },
    { 0 },
};

static const struct cfg_field fallback_fields[] = {
    { "geoip", CFG_BOOL, P(dns.fallback_filter.geoip), CFG_LOOSE, .def = "true" },
    { "geoip-code", CFG_STR, P(dns.fallback_filter.geoip_code), .def = "CN" },
    { "ipcidr", CFG_CIDRS, P(dns.fallback_filter.ipcidr) },
    { "domain", CFG_STRS, R(filter_domain) },
    { "geosite", CFG_STRS, R(filter_geosite) },
    { 0 },
};

static const struct cfg_field dns_fields[] = {
    { "enable", CFG_BOOL, P(dns.enable), CFG_LOOSE, .def = "true" },
    { "listen", CFG_STR, P(dns.listen) },
    { "listen-routing-mark", CFG_INT, P(dns.listen_routing_mark), CFG_CLAMP, .min = 0, .max = UINT32_MAX, .lacks = NO_EFFECT },
    { "ipv6", CFG_BOOL, P(dns.ipv6), CFG_LOOSE },
    { "ipv6-timeout", CFG_INT, P(dns.ipv6_timeout_ms), CFG_CLAMP, .min = 0, .max = 60000, .def = "100" },
    { "prefer-h3", CFG_BOOL, P(dns.prefer_h3), CFG_LOOSE, .lacks = "HTTP/2 is spoken" },
    { "use-hosts", CFG_BOOL, P(dns.use_hosts), CFG_LOOSE, .def = "true" },
    { "use-system-hosts", CFG_BOOL, P(dns.use_system_hosts), CFG_LOOSE, .def = "true" },
    { "enhanced-mode", CFG_ENUM, P(dns.mode), .names = dns_modes, .def = "fake-ip" },
    { "fake-ip-range", CFG_STR, R(fake4), .def = "198.18.0.1/16" },
    { "fake-ip-range6", CFG_STR, R(fake6) },
    { "fake-ip-filter", CFG_STRS, P(dns.filter) },
    { "fake-ip-filter-mode", CFG_ENUM, P(dns.filter_mode), .names = filter_modes },
    { "fake-ip-filter-defaults", CFG_BOOL, P(dns.filter_defaults), CFG_LOOSE, .def = "true" },
    { "fake-ip-ttl", CFG_INT, P(dns.fake_ttl), CFG_CLAMP, .min = 1, .max = 86400, .def = "1" },
    { "nameserver", CFG_STRS, P(dns.nameserver) },
    { "fallback", CFG_STRS, P(dns.fallback) },
    { "fallback-filter", CFG_SECTION, .sub = fallback_fields },
    { "fallback-lazy-query", CFG_BOOL, P(dns.fallback_lazy), CFG_LOOSE },
    { "parallel", CFG_BOOL, P(dns.parallel), CFG_LOOSE },
    { "default-nameserver", CFG_STRS, P(dns.default_nameserver) },
    { "nameserver-policy", CFG_SUB, R(policy) },
    { "proxy-server-nameserver", CFG_STRS, P(dns.proxy_server_nameserver) },
    { "proxy-server-nameserver-policy", CFG_SUB, R(proxy_server_policy) },
    { "direct-nameserver", CFG_STRS, P(dns.direct_nameserver) },
    { "direct-nameserver-follow-policy", CFG_BOOL, P(dns.direct_follow_policy), CFG_LOOSE },
    { "respect-rules", CFG_BOOL, P(dns.respect_rules), CFG_LOOSE },
    { "cache-algorithm", CFG_STR, R(cache) },
    { "cache-max-size", CFG_INT, P(dns.cache_max), CFG_CLAMP, .min = 0, .max = 1 << 20 },
    { 0 },
};

static const struct cfg_field sniffer_fields[] = {
    { "enable", CFG_BOOL, P(sniffer.enable), CFG_LOOSE },
    { "sniff", CFG_SUB, R(sniff) },
    { "override-destination", CFG_BOOL, R(sniff_override), CFG_LOOSE, .def = "true" },
    { "force-dns-mapping", CFG_BOOL, P(sniffer.force_dns_mapping), CFG_LOOSE, .def = "true" },
    { "parse-pure-ip", CFG_BOOL, P(sniffer.parse_pure_ip), CFG_LOOSE, .def = "true" },
    { "force-domain", CFG_MATCHERS, P(sniffer.force_domain) },
    { "skip-domain", CFG_MATCHERS, P(sniffer.skip_domain) },
    { "skip-src-address", CFG_MATCHERS, P(sniffer.skip_src) },
    { "skip-dst-address", CFG_MATCHERS, P(sniffer.skip_dst) },
    { "sniffing", CFG_STRS, R(sniffing) },
    { "port-whitelist", CFG_STRS, R(port_whitelist) },
    { 0 },
};

static const struct cfg_field ntp_fields[] = {
    { "enable", CFG_BOOL, P(ntp.enable), CFG_LOOSE },
    { "server", CFG_STR, P(ntp.server), .def = "time.apple.com" },
    { "port", CFG_PORT, P(ntp.port), CFG_SOFT, .def = "123" },
    { "interval", CFG_INT, P(ntp.interval_min), CFG_CLAMP, .min = 0, .max = 1 << 20, .def = "30" },
    { "dialer-proxy", CFG_STR, P(ntp.dialer_proxy) },
    { "write-to-system", CFG_BOOL, P(ntp.write_to_system), CFG_LOOSE, .lacks = "the system's clock is left alone" },
    { 0 },
};

static const struct cfg_field tls_fields[] = {
    { "certificate", CFG_STR, P(tls.certificate) },
    { "private-key", CFG_SECRET, P(tls.private_key) },
    { "client-auth-type", CFG_STR, P(tls.client_auth_type) },
    { "client-auth-cert", CFG_STR, P(tls.client_auth_cert) },
    { "ech-key", CFG_SECRET, P(tls.ech_key) },
    { "custom-certifactes", CFG_STRS, P(tls.extra_roots) }, /* it is spelt like that */
    { 0 },
};

static const struct cfg_field experimental_fields[] = {
    { "quic-go-disable-gso", CFG_BOOL, P(experimental.quic_no_gso), CFG_LOOSE },
    { "quic-go-disable-ecn", CFG_BOOL, P(experimental.quic_no_ecn), CFG_LOOSE },
    { "dialer-ip4p-convert", CFG_BOOL, P(experimental.ip4p), CFG_LOOSE },
    { 0 },
};

static const struct cfg_field iptables_fields[] = {
    { "enable", OTHER, .lacks = "the device carries all" },
    { "inbound-interface", OTHER },
    { "bypass", OTHER },
    { "dns-redirect", OTHER },
    { 0 },
};

static const struct cfg_field top[] = {
    { "mode", CFG_ENUM, P(mode), .names = mode_names },
    { "log-level", CFG_ENUM, P(log_level), .names = level_names, .def = "info" },
    { "ipv6", CFG_BOOL, P(ipv6), CFG_LOOSE, .def = "true" },
    /* local ports */
    { "port", CFG_PORT, P(port), CFG_SOFT, .lacks = NO_PORT },
    { "socks-port", CFG_PORT, P(socks_port), CFG_SOFT, .lacks = NO_PORT },
    { "mixed-port", CFG_PORT, P(mixed_port), CFG_SOFT, .lacks = NO_PORT },
    { "redir-port", CFG_PORT, P(redir_port), CFG_SOFT, .lacks = NO_PORT },
    { "tproxy-port", CFG_PORT, P(tproxy_port), CFG_SOFT, .lacks = NO_PORT },
    { "allow-lan", CFG_BOOL, P(allow_lan), CFG_LOOSE },
    { "bind-address", CFG_STR, P(inbound.bind_address), .def = "*" },
    { "authentication", CFG_STRS, R(authentication) },
    { "skip-auth-prefixes", CFG_CIDRS, P(inbound.skip_auth) },
    { "lan-allowed-ips", CFG_CIDRS, P(inbound.lan_allowed) },
    { "lan-disallowed-ips", CFG_CIDRS, P(inbound.lan_disallowed) },
    { "inbound-tfo", CFG_BOOL, P(inbound.tfo), CFG_LOOSE },
    { "inbound-mptcp", CFG_BOOL, P(inbound.mptcp), CFG_LOOSE },
    { "listeners", CFG_SUB, R(listeners), .lacks = "no port is opened" },
    { "tunnels", CFG_SUB, R(tunnels), .lacks = "no port is opened" },
    { "ss-config", OTHER, .lacks = "no port is opened" },
    { "vmess-config", OTHER, .lacks = "no port is opened" },
    { "tuic-server", OTHER, .lacks = "no port is opened" },
    { "iptables", CFG_SECTION, .sub = iptables_fields },
    /* the controller */
    { "external-controller", CFG_STR, P(external_controller) },
    { "external-controller-unix", CFG_STR, P(external_controller_unix) },
    { "external-controller-tls", CFG_STR, P(external_controller_tls), .lacks = "the controller speaks plain HTTP only" },
    { "external-controller-pipe", CFG_STR, P(external_controller_pipe) }, /* Windows */
    { "external-controller-routing-mark", CFG_INT, P(controller_routing_mark), CFG_CLAMP, .min = 0, .max = UINT32_MAX },
    { "external-controller-cors", CFG_SECTION, .sub = cors_fields },
    { "external-ui", CFG_STR, P(external_ui), .lacks = "no pages are served" },
    { "external-ui-name", CFG_STR, P(external_ui_name) },
    { "external-ui-url", CFG_STR, P(external_ui_url) },
    { "external-doh-server", CFG_STR, P(external_doh_server) },
    { "secret", CFG_SECRET, P(secret) },
    /* how connections are made */
    { "interface-name", CFG_STR, P(interface_name) },
    { "routing-mark", CFG_INT, P(routing_mark), CFG_CLAMP, .min = 0, .max = UINT32_MAX },
    { "unified-delay", CFG_BOOL, P(unified_delay), CFG_LOOSE },
    { "tcp-concurrent", CFG_BOOL, P(tcp_concurrent), CFG_LOOSE },
    { "find-process-mode", CFG_ENUM, P(find_process), .names = find_process_names },
    { "keep-alive-idle", CFG_INT, P(keep_alive_idle_s), CFG_CLAMP, .min = 0, .max = 86400 },
    { "keep-alive-interval", CFG_INT, P(keep_alive_interval_s), CFG_CLAMP, .min = 0, .max = 86400 },
    { "disable-keep-alive", CFG_BOOL, P(disable_keep_alive), CFG_LOOSE },
    { "global-ua", CFG_STR, P(global_ua) },
    { "etag-support", CFG_BOOL, P(etag_support), CFG_LOOSE, .def = "true" },
    /* geo data */
    { "geodata-mode", CFG_BOOL, P(geo.mode_dat), CFG_LOOSE },
    { "geodata-loader", OTHER },  /* a tuning hint of another program */
    { "geosite-matcher", OTHER }, /* likewise */
    { "geo-auto-update", CFG_BOOL, P(geo.auto_update), CFG_LOOSE },
    { "geo-update-interval", CFG_INT, P(geo.interval_h), CFG_CLAMP, .min = 0, .max = 1 << 20 },
    { "geox-url", CFG_SECTION, .sub = geox_fields },
    /* sections */
    { "profile", CFG_SECTION, .sub = profile_fields },
    { "tun", CFG_SECTION, .sub = tun_fields },
    { "dns", CFG_SECTION, .sub = dns_fields },
    { "sniffer", CFG_SECTION, .sub = sniffer_fields },
    { "ntp", CFG_SECTION, .sub = ntp_fields },
    { "tls", CFG_SECTION, .sub = tls_fields },
    { "experimental", CFG_SECTION, .sub = experimental_fields },
    /* lists and free maps */
    { "hosts", CFG_SUB, R(hosts) },
    { "proxies", CFG_SUB, R(proxies) },
    { "proxy-providers", CFG_SUB, R(proxy_providers) },
    { "proxy-groups", CFG_SUB, R(groups) },
    { "rule-providers", CFG_SUB, R(rule_providers) },
    { "rules", CFG_SUB, R(rules) },
    { "sub-rules", CFG_SUB, R(sub_rules) },
    { 0 },
};

/* ---- keys of other times and programs ---- */

static const struct cfg_field old_keys[] = {
    { "Proxy", OTHER, .help = "a key of the old format, which is not read: it is called proxies now" },
    { "Proxy Group", OTHER, .help = "a key of the old format, which is not read: it is called proxy-groups now" },
    { "Rule", OTHER, .help = "a key of the old format, which is not read: it is called rules now" },
    { "global-client-fingerprint", OTHER, .help = "it has no effect any more: a proxy has a client-fingerprint of its own" },
    { 0 },
};

static void warn_leftovers(const struct cfg_node *root, struct diag *d)
{
    for (const struct cfg_field *f = old_keys; f->key; f++) {
        const struct cfg_node *n = cfg_get(root, f->key);

        if (n && n->kind != CFG_NULL)
            diag_warn(d, n->key->line, n->key->column, "", "leftover", "%s: %s", f->key, f->help);
    }
}

bool sections_know(const char *key)
{
    const struct cfg_field *f = top;

    while (f->key && strcmp(f->key, key) != 0)
        f++;
    return f->key;
}

static void warn_misspelt(const struct cfg_node *root, struct diag *d)
{
    cfg_warn_misspelt(root, top, old_keys, "", d);
    for (const struct cfg_field *f = top; f->key; f++)
        if (f->type == CFG_SECTION)
            cfg_warn_misspelt(cfg_get(root, f->key), f->sub, NULL, f->key, d);
}

/* ---- what follows from several keys ---- */

bool cfg_is_loopback(const char *hostport)
{
    char host[HOST_MAX + 1];
    uint16_t port;
    struct addr a;

    if (hostport_split(hostport, host, &port) < 0)
        return false;
    return !strcasecmp(host, "localhost") || (addr_parse(host, &a) == 0 && addr_is_loopback(&a));
}

void cfg_users_of(struct cfg_doc *doc, const struct cfg_strs *s, struct cfg_users *out)
{
    if (!(out->v = cfg_alloc(doc, (s->n + 1) * sizeof(*out->v))))
        return;
    for (uint32_t i = 0; i < s->n; i++) {
        const char *colon = strchr(s->v[i], ':');

        if (!colon)
            continue;
        out->v[out->n].name = cfg_strdup(doc, s->v[i], (size_t)(colon - s->v[i]));
        out->v[out->n++].password = colon + 1;
    }
}

static void no_range(struct raw *r, const struct cfg_node *dns, const char *key, const char *text, const char *words, struct diag *d)
{
    const struct cfg_node *n = cfg_get(dns, key);
    char path[CFG_PATH_MAX], shown[CFG_QUOTE_MAX];
    bool matters = r->p.dns.enable && r->p.dns.mode == DNS_FAKEIP;

    snprintf(path, sizeof(path), "dns.%s", key);
    (matters ? diag_err : diag_warn)(d, n ? n->line : 0, n ? n->column : 0, path, "bad-value", "%s: \"%s\" is no %s", key,
                                     cfg_quote(text, strlen(text), shown), words);
}

/* The pools, and the device's own address in the first. */
static void finish_fake(struct raw *r, const struct cfg_node *dns, struct diag *d)
{
    struct profile *p = &r->p;
    struct cidr *four = &p->dns.fake4, *six = &p->dns.fake6;

    if (cidr_parse(r->fake4, four) < 0 || four->ip.ver != 4 || four->len > 28 || four->len < 8 || !four->ip.b[0] || four->ip.b[0] == 127 ||
        four->ip.b[0] >= 224) {
        no_range(r, dns, "fake-ip-range", r->fake4, "IPv4 range between /8 and /28 that hosts can have (198.18.0.1/16)", d);
        cidr_parse("198.18.0.1/16", four);
    }
    p->tun.inet4 = *four;
    p->tun.inet4.ip.b[3] |= 1;
    p->tun.inet4.len = 30;
    if (r->fake6 && p->dns.ipv6 && (cidr_parse(r->fake6, six) < 0 || six->ip.ver != 6 || six->len > 120)) {
        no_range(r, dns, "fake-ip-range6", r->fake6, "IPv6 range of at least /120", d);
        *six = (struct cidr){ 0 };
    }
    if (p->dns.mode != DNS_FAKEIP || !p->dns.enable)
        *four = *six = (struct cidr){ 0 };
}

static void read_policy(struct raw *r, const struct cfg_node *map, const char *path, struct cfg_policies *out, struct diag *d)
{
    struct reading reading = { r->p.doc, d, path, false, 0 };

    if (!map || !map->n)
        return;
    if (map->kind != CFG_MAP) {
        diag_err(d, map->line, map->column, path, "bad-value", "a mapping (name: servers) is expected here");
        return;
    }
    if (!(out->v = cfg_alloc(r->p.doc, map->n * sizeof(*out->v))))
        return;
    for (const struct cfg_node *n = map->child; n; n = n->next) {
        struct cfg_policy *x = &out->v[out->n];

        *x = (struct cfg_policy){ .line = n->key->line, .column = n->key->column };
        cfg_matchers_of_text(r->p.doc, n->key, n->key->text, n->key->len, true, &x->names);
        if (n->kind == CFG_SCALAR || n->kind == CFG_SEQ)
            cfg_read_strs(&reading, n, &x->servers);
        if (x->names.n && x->servers.n)
            out->n++;
        else
            diag_warn(d, n->key->line, n->key->column, path, "bad-value",
                      "%s: the name of a server, or a list of them, is expected; it is skipped", n->key->text);
    }
}

/* fallback-filter: patterns, then the categories of the old key geosite. */
static void finish_filter(struct raw *r)
{
    struct cfg_strs *names = &r->filter_domain, *sites = &r->filter_geosite;
    struct cfg_matchers patterns, *out = &r->p.dns.fallback_filter.domain;

    cfg_matchers_of(r->p.doc, names, false, &patterns);
    if (!(out->v = cfg_alloc(r->p.doc, (patterns.n + sites->n + 1) * sizeof(*out->v))))
        return;
    for (uint32_t i = 0; i < patterns.n; i++)
        out->v[out->n++] = patterns.v[i];
    for (uint32_t i = 0; i < sites->n; i++)
        out->v[out->n++] = (struct cfg_matcher){ CFG_MATCH_GEO, sites->v[i], sites->at[i]->line, sites->at[i]->column };
}

/* An empty list, written down. Absent or null is something else: nothing was said. */
static void no_servers(const struct cfg_node *dns, const char *key, struct diag *d)
{
    const struct cfg_node *n = cfg_get(dns, key);
    char path[CFG_PATH_MAX];

    snprintf(path, sizeof(path), "dns.%s", key);
    if (n && n->kind == CFG_SEQ && !n->n)
        diag_warn(d, n->line, n->column, path, "missing-value",
                  "%s: the list names no server: the system's own and 1.1.1.1 are asked, in clear", key);
}

/* What a server may have behind its #, written as if it were for all. */
static void warn_words_of_servers(const struct cfg_node *dns, struct diag *d)
{
    static const char *const words[] = { "disable-qtype-", "disable-ipv4", "disable-ipv6", "ecs" };

    for (const struct cfg_node *n = cfg_first(dns); n; n = n->next)
        for (size_t i = 0; n->key && n->kind == CFG_SCALAR && i < sizeof(words) / sizeof(words[0]); i++)
            if (!strncmp(n->key->text, words[i], strlen(words[i])))
                diag_warn(d, n->key->line, n->key->column, "dns", "unsupported-key",
                          "\"%.20s\" is a word for one server and stands behind it: 9.9.9.9#%.20s=%.20s; here it has no effect",
                          n->key->text, n->key->text, n->text);
}

unsigned cfg_listen_parse(const char *text, struct endpoint at[2])
{
    char host[HOST_MAX + 1];
    unsigned n = 0;

    if (!text || !*text)
        return 0;
    if (!strncmp(text, "[::]:", 5)) /* as elsewhere: both families */
        text += 4;
    if (*text == ':') { /* every address of both families */
        for (; n < 2; n++) {
            char whole[64];

            snprintf(whole, sizeof(whole), "%s%.32s", n ? "[::]" : "0.0.0.0", text);
            if (endpoint_parse(whole, &at[n]) < 0)
                return 0;
        }
        return n;
    }
    if (hostport_split(text, host, &at[0].port) < 0 || !at[0].port)
        return 0;
    return addr_parse(strcmp(host, "localhost") != 0 ? host : "127.0.0.1", &at[0].ip) == 0;
}

static void finish_dns(struct raw *r, const struct cfg_node *dns, struct diag *d)
{
    struct profile *p = &r->p;
    struct cfg_dns *c = &p->dns;
    const struct cfg_node *n;
    char shown[CFG_QUOTE_MAX];
    struct endpoint at[2];

    if (c->enable) {
        no_servers(dns, "nameserver", d);
        no_servers(dns, "default-nameserver", d);
        warn_words_of_servers(dns, d);
    }
    c->ipv6 = c->ipv6 && p->ipv6;
    if (r->cache && strcasecmp(r->cache, "lru") != 0) {
        n = cfg_get(dns, "cache-algorithm");
        diag_warn(d, n->line, n->column, "dns.cache-algorithm", "unsupported-key",
                  "cache-algorithm: the cache is lru, whatever is written (what was not used for longest goes first)");
    }
    if (c->listen && *c->listen && !cfg_listen_parse(c->listen, at)) {
        n = cfg_get(dns, "listen");
        diag_warn(d, n->line, n->column, "dns.listen", "bad-value", "listen: \"%s\" is not ADDRESS:PORT: nothing is served there",
                  cfg_quote(c->listen, strlen(c->listen), shown));
    }
    if (!c->cache_max)
        c->cache_max = 4096;
    cfg_matchers_of(p->doc, &c->filter, c->filter_mode == FILTER_RULES, &c->fake_filter);
    read_policy(r, r->policy, "dns.nameserver-policy", &c->policy, d);
    read_policy(r, r->proxy_server_policy, "dns.proxy-server-nameserver-policy", &c->proxy_server_policy, d);
    finish_filter(r);
    if (c->respect_rules && !c->proxy_server_nameserver.n) {
        n = cfg_get(dns, "respect-rules");
        diag_warn(d, n->line, n->column, "dns.respect-rules", "missing-key",
                  "respect-rules needs proxy-server-nameserver (else the names of proxies could not be resolved): it is taken as false");
        c->respect_rules = false;
    }
    if (c->proxy_server_policy.n && !c->proxy_server_nameserver.n) {
        n = r->proxy_server_policy;
        diag_warn(d, n->key->line, n->key->column, "dns.proxy-server-nameserver-policy", "missing-key",
                  "proxy-server-nameserver-policy needs proxy-server-nameserver: it is ignored");
        c->proxy_server_policy.n = 0;
    }
}

static bool is_device_name(const char *s)
{
    return strlen(s) <= 15 && !strpbrk(s, "/ :\t") && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

bool cfg_hijack_parse(const char *s, struct endpoint *out)
{
    const char *scheme = strstr(s, "://");
    char host[HOST_MAX + 1];

    *out = (struct endpoint){ .port = 53 };
    if (hostport_split(scheme ? scheme + 3 : s, host, &out->port) < 0)
        return false;
    if (!strcmp(host, "any"))
        return true;
    if (addr_parse(host, &out->ip) < 0)
        return false;
    if (addr_is_unspecified(&out->ip))
        out->ip = (struct addr){ 0 };
    return true;
}

static void check_hijack(const struct cfg_strs *s, struct diag *d)
{
    char shown[CFG_QUOTE_MAX];
    struct endpoint at;

    for (uint32_t i = 0; i < s->n; i++)
        if (!cfg_hijack_parse(s->v[i], &at))
            diag_warn(d, s->at[i] ? s->at[i]->line : 0, s->at[i] ? s->at[i]->column : 0, "tun.dns-hijack", "bad-value",
                      "dns-hijack: \"%s\" is not ADDRESS:PORT or any:PORT; it is skipped", cfg_quote(s->v[i], strlen(s->v[i]), shown));
}

static void finish_tun(struct raw *r, const struct cfg_node *tun, struct diag *d)
{
    static const struct cidr usual6 = { { 6, { 0xfd, 0xfe, 0xdc, 0xba, 0x98, 0x76, [15] = 1 } }, 126 };
    struct profile *p = &r->p;
    const struct cfg_node *n;

    check_hijack(&p->tun.dns_hijack, d);
    if (!p->tun.mtu)
        p->tun.mtu = 1500;
    if (p->tun.mtu < 1280) {
        n = cfg_get(tun, "mtu");
        diag_warn(d, n->line, n->column, "tun.mtu", "bad-value", "mtu: IPv6 needs at least 1280: that is used");
        p->tun.mtu = 1280;
    }
    if (p->tun.device && !*p->tun.device)
        p->tun.device = NULL;
    if (p->tun.device && !is_device_name(p->tun.device)) {
        n = cfg_get(tun, "device");
        diag_warn(d, n->line, n->column, "tun.device", "bad-value",
                  "device: a name has at most 15 characters, no blank, colon or slash: another one is chosen");
        p->tun.device = NULL;
    }
    if (!p->tun.table_index)
        p->tun.table_index = 2022;
    if (!p->tun.rule_index)
        p->tun.rule_index = 9000;
    if (!p->tun.udp_timeout_s)
        p->tun.udp_timeout_s = 300;
    if (!p->tun.icmp_timeout_s)
        p->tun.icmp_timeout_s = 10;
    if (!p->tun.gso_max_size)
        p->tun.gso_max_size = 65536;
    if (!p->tun.redirect_input_mark)
        p->tun.redirect_input_mark = 0x2023;
    if (!p->tun.redirect_output_mark)
        p->tun.redirect_output_mark = 0x2024;
    if (!p->tun.redirect_fallback)
        p->tun.redirect_fallback = 32768;
    cfg_append_cidrs(p->doc, &p->tun.route_address, &r->old4);
    cfg_append_cidrs(p->doc, &p->tun.route_address, &r->old6);
    cfg_append_cidrs(p->doc, &p->tun.route_exclude, &r->not4);
    cfg_append_cidrs(p->doc, &p->tun.route_exclude, &r->not6);
    cfg_append_ranges(p->doc, &p->tun.include_uid, &r->include_uid);
    cfg_append_ranges(p->doc, &p->tun.exclude_uid, &r->exclude_uid);
    cfg_append_ranges(p->doc, &p->tun.exclude_src_port, &r->src_ports);
    cfg_append_ranges(p->doc, &p->tun.exclude_dst_port, &r->dst_ports);
    for (uint32_t i = 0; p->ipv6 && i < r->inet6.n && !p->tun.inet6.ip.ver; i++)
        if (r->inet6.v[i].ip.ver == 6)
            p->tun.inet6 = r->inet6.v[i];
    n = cfg_get(tun, "inet6-address");
    if (p->ipv6 && !p->tun.inet6.ip.ver && !(n && n->kind == CFG_SEQ && !n->n)) /* [] says: none */
        p->tun.inet6 = usual6;
}

/* ---- sniffer ---- */

static const char *const sniff_names[] = { "http", "tls", "quic", NULL };
static const char *const sniff_ports[] = { "80", "443", "443" };

static struct cfg_sniff *sniff_entry(struct raw *r, const struct cfg_node *at, const char *name, struct diag *d)
{
    char shown[CFG_QUOTE_MAX];
    struct cfg_guess g;

    for (int i = 0; sniff_names[i]; i++)
        if (!strcasecmp(name, sniff_names[i]))
            return &r->p.sniffer.sniff[i];
    diag_warn(d, at->line, at->column, "sniffer", "bad-value", "\"%s\" cannot be sniffed (it can be HTTP, TLS or QUIC)%s; it is skipped",
              cfg_quote(name, strlen(name), shown), cfg_did_you_mean(&g, d, name, sniff_names));
    return NULL;
}

/* The ports of an entry, or those that its protocol usually has. */
static void sniff_on(struct raw *r, struct cfg_sniff *s)
{
    s->on = true;
    if (!s->ports.n)
        cfg_parse_ranges(r->p.doc, sniff_ports[s - r->p.sniffer.sniff], 65535, &s->ports);
}

static void read_sniff(struct raw *r, const struct cfg_node *n, struct diag *d)
{
    static const struct cfg_field fields[] = {
        { "ports", CFG_RANGES, offsetof(struct cfg_sniff, ports), .max = 65535 },
        { "override-destination", CFG_BOOL, offsetof(struct cfg_sniff, override_destination), CFG_LOOSE },
        { 0 },
    };
    struct cfg_sniff *s = sniff_entry(r, n->key, n->key->text, d);
    char path[CFG_PATH_MAX];

    if (!s)
        return;
    snprintf(path, sizeof(path), "sniffer.sniff.%.32s", n->key->text);
    s->override_destination = r->sniff_override;
    if (n->kind != CFG_MAP && (n->kind == CFG_SCALAR || n->n)) {
        diag_warn(d, n->line, n->column, path, "bad-value", "a mapping (ports: [...]) is expected here; the usual ports are used");
        n = NULL;
    }
    cfg_read(r->p.doc, n, fields, CFG_KEYS_EXACT, s, false, path, d);
    sniff_on(r, s);
}

static void finish_sniffer(struct raw *r, struct diag *d)
{
    struct reading reading = { r->p.doc, d, "sniffer.port-whitelist", false, 0 };
    static const struct cfg_field whitelist = { "port-whitelist", CFG_RANGES, .max = 65535 };
    struct cfg_ranges ports = { 0 };

    if (r->sniff && r->sniff->kind != CFG_MAP && r->sniff->n)
        diag_err(d, r->sniff->line, r->sniff->column, "sniffer.sniff", "bad-value", "a mapping (TLS: { ports: [443] }) is expected here");
    for (const struct cfg_node *n = r->sniff && r->sniff->kind == CFG_MAP ? r->sniff->child : NULL; n; n = n->next)
        read_sniff(r, n, d);
    if (cfg_first(r->sniff))
        return;
    for (uint32_t i = 0; i < r->port_whitelist.n; i++) { /* the old form */
        struct cfg_ranges one = { 0 };

        cfg_read_list(&reading, &whitelist, r->port_whitelist.at[i], &one);
        cfg_append_ranges(r->p.doc, &ports, &one);
    }
    for (uint32_t i = 0; i < r->sniffing.n; i++) {
        struct cfg_sniff *s = sniff_entry(r, r->sniffing.at[i], r->sniffing.v[i], d);

        if (!s)
            continue;
        s->override_destination = r->sniff_override;
        s->ports = ports;
        sniff_on(r, s);
    }
}

void sections_read(struct raw *r, const struct cfg_node *root, struct diag *d)
{
    struct profile *p = &r->p;

    cfg_read(p->doc, root, top, CFG_KEYS_EXACT, r, true, "", d);
    p->inbound.users.given = r->authentication.n > 0;
    cfg_users_of(p->doc, &r->authentication, &p->inbound.users);
    if (!p->geo.interval_h)
        p->geo.interval_h = 24;
    finish_dns(r, cfg_get(root, "dns"), d);
    finish_fake(r, cfg_get(root, "dns"), d);
    finish_tun(r, cfg_get(root, "tun"), d);
    finish_sniffer(r, d);
    warn_leftovers(root, d);
    warn_misspelt(root, d);
}
