/*
 * configs_dump.h - a profile as text, "key=value" a line, so that a test case is a few lines of YAML and the lines that must come of it
 */
#ifndef TESTS_CONFIGS_DUMP_H
#define TESTS_CONFIGS_DUMP_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "configs/config.h"

static const char *dump_str(const char *s)
{
    return s ? s : "-";
}

static void dump_strs(FILE *f, const char *key, const struct cfg_strs *s)
{
    fprintf(f, "%s=", key);
    for (uint32_t i = 0; i < s->n; i++)
        fprintf(f, "%s%s", i ? "|" : "", s->v[i]);
    fputc('\n', f);
}

static void dump_cidr(FILE *f, const char *key, const struct cidr *c)
{
    char text[ADDR_STRLEN];

    if (c->ip.ver)
        fprintf(f, "%s=%s/%u\n", key, addr_str(&c->ip, text), c->len);
    else
        fprintf(f, "%s=-\n", key);
}

static void dump_cidrs(FILE *f, const char *key, const struct cfg_cidrs *s)
{
    char text[ADDR_STRLEN];

    fprintf(f, "%s=", key);
    for (uint32_t i = 0; i < s->n; i++)
        fprintf(f, "%s%s/%u", i ? "|" : "", addr_str(&s->v[i].ip, text), s->v[i].len);
    fputc('\n', f);
}

static void dump_ranges(FILE *f, const char *key, const struct cfg_ranges *r)
{
    fprintf(f, "%s=", key);
    for (uint32_t i = 0; i < r->n; i++)
        fprintf(f, "%s%u-%u", i ? "|" : "", r->v[i].lo, r->v[i].hi);
    fputc('\n', f);
}

static void dump_matchers(FILE *f, const char *key, const struct cfg_matchers *m)
{
    static const char *const kinds[] = { "", "geo ", "set ", "rule " };

    fprintf(f, "%s=", key);
    for (uint32_t i = 0; i < m->n; i++)
        fprintf(f, "%s%s%s", i ? "|" : "", kinds[m->v[i].kind], m->v[i].text);
    fputc('\n', f);
}

static void dump_users(FILE *f, const char *key, const struct cfg_users *u)
{
    fprintf(f, "%s=%s", key, u->given ? "" : "not given");
    for (uint32_t i = 0; i < u->n; i++)
        fprintf(f, "%s%s/%s", i ? "|" : "", u->v[i].name, dump_str(u->v[i].password));
    fputc('\n', f);
}

#define DUMP_INT(key, v)  fprintf(f, key "=%" PRId64 "\n", (int64_t)(v))
#define DUMP_BOOL(key, v) fprintf(f, key "=%s\n", (v) ? "true" : "false")
#define DUMP_STR(key, v)  fprintf(f, key "=%s\n", dump_str(v))

static void dump_general(FILE *f, const struct profile *p)
{
    DUMP_STR("mode", mode_names[p->mode]);
    DUMP_STR("log-level", log_level_name(p->log_level));
    DUMP_BOOL("ipv6", p->ipv6);
    DUMP_INT("port", p->port);
    DUMP_INT("socks-port", p->socks_port);
    DUMP_INT("mixed-port", p->mixed_port);
    DUMP_INT("redir-port", p->redir_port);
    DUMP_INT("tproxy-port", p->tproxy_port);
    DUMP_BOOL("allow-lan", p->allow_lan);
    DUMP_STR("bind-address", p->inbound.bind_address);
    dump_users(f, "authentication", &p->inbound.users);
    dump_cidrs(f, "skip-auth-prefixes", &p->inbound.skip_auth);
    dump_cidrs(f, "lan-allowed-ips", &p->inbound.lan_allowed);
    dump_cidrs(f, "lan-disallowed-ips", &p->inbound.lan_disallowed);
    DUMP_BOOL("inbound-tfo", p->inbound.tfo);
    DUMP_BOOL("inbound-mptcp", p->inbound.mptcp);
    DUMP_STR("external-controller", p->external_controller);
    DUMP_STR("external-controller-unix", p->external_controller_unix);
    DUMP_STR("external-controller-tls", p->external_controller_tls);
    DUMP_STR("external-controller-pipe", p->external_controller_pipe);
    DUMP_INT("external-controller-routing-mark", p->controller_routing_mark);
    dump_strs(f, "external-controller-cors.allow-origins", &p->cors_origins);
    DUMP_BOOL("external-controller-cors.allow-private-network", p->cors_private_network);
    DUMP_STR("external-ui", p->external_ui);
    DUMP_STR("external-ui-name", p->external_ui_name);
    DUMP_STR("external-ui-url", p->external_ui_url);
    DUMP_STR("external-doh-server", p->external_doh_server);
    DUMP_STR("secret", p->secret);
    DUMP_STR("interface-name", p->interface_name);
    DUMP_INT("routing-mark", p->routing_mark);
    DUMP_BOOL("unified-delay", p->unified_delay);
    DUMP_BOOL("tcp-concurrent", p->tcp_concurrent);
    DUMP_INT("find-process-mode", p->find_process);
    DUMP_INT("keep-alive-idle", p->keep_alive_idle_s);
    DUMP_INT("keep-alive-interval", p->keep_alive_interval_s);
    DUMP_BOOL("disable-keep-alive", p->disable_keep_alive);
    DUMP_STR("global-ua", p->global_ua);
    DUMP_BOOL("etag-support", p->etag_support);
    DUMP_BOOL("profile.store-selected", p->store_selected);
    DUMP_BOOL("profile.store-fake-ip", p->store_fake_ip);
    DUMP_BOOL("geodata-mode", p->geo.mode_dat);
    DUMP_BOOL("geo-auto-update", p->geo.auto_update);
    DUMP_INT("geo-update-interval", p->geo.interval_h);
    DUMP_STR("geox-url.geoip", p->geo.geoip);
    DUMP_STR("geox-url.geosite", p->geo.geosite);
    DUMP_STR("geox-url.mmdb", p->geo.mmdb);
    DUMP_STR("geox-url.asn", p->geo.asn);
    DUMP_BOOL("ntp.enable", p->ntp.enable);
    DUMP_STR("ntp.server", p->ntp.server);
    DUMP_INT("ntp.port", p->ntp.port);
    DUMP_INT("ntp.interval", p->ntp.interval_min);
    DUMP_STR("ntp.dialer-proxy", p->ntp.dialer_proxy);
    DUMP_BOOL("ntp.write-to-system", p->ntp.write_to_system);
    DUMP_STR("tls.certificate", p->tls.certificate);
    DUMP_STR("tls.private-key", p->tls.private_key);
    DUMP_STR("tls.client-auth-type", p->tls.client_auth_type);
    DUMP_STR("tls.client-auth-cert", p->tls.client_auth_cert);
    DUMP_STR("tls.ech-key", p->tls.ech_key);
    dump_strs(f, "tls.custom-certifactes", &p->tls.extra_roots);
    DUMP_BOOL("experimental.quic-go-disable-gso", p->experimental.quic_no_gso);
    DUMP_BOOL("experimental.quic-go-disable-ecn", p->experimental.quic_no_ecn);
    DUMP_BOOL("experimental.dialer-ip4p-convert", p->experimental.ip4p);
}

static void dump_tun(FILE *f, const struct cfg_tun *t)
{
    char text[ADDR_STRLEN];

    DUMP_BOOL("tun.enable", t->enable);
    DUMP_STR("tun.device", t->device);
    DUMP_INT("tun.mtu", t->mtu);
    DUMP_BOOL("tun.gso", t->gso);
    DUMP_INT("tun.gso-max-size", t->gso_max_size);
    DUMP_BOOL("tun.auto-route", t->auto_route);
    DUMP_BOOL("tun.auto-detect-interface", t->auto_detect_interface);
    DUMP_BOOL("tun.auto-redirect", t->auto_redirect);
    DUMP_INT("tun.auto-redirect-input-mark", t->redirect_input_mark);
    DUMP_INT("tun.auto-redirect-output-mark", t->redirect_output_mark);
    DUMP_INT("tun.auto-redirect-iproute2-fallback-rule-index", t->redirect_fallback);
    DUMP_BOOL("tun.strict-route", t->strict_route);
    dump_strs(f, "tun.dns-hijack", &t->dns_hijack);
    dump_cidr(f, "tun.inet4", &t->inet4);
    dump_cidr(f, "tun.inet6", &t->inet6);
    dump_cidrs(f, "tun.route-address", &t->route_address);
    dump_cidrs(f, "tun.route-exclude-address", &t->route_exclude);
    dump_strs(f, "tun.route-address-set", &t->route_set);
    dump_strs(f, "tun.route-exclude-address-set", &t->route_exclude_set);
    dump_strs(f, "tun.include-interface", &t->include_interface);
    dump_strs(f, "tun.exclude-interface", &t->exclude_interface);
    dump_ranges(f, "tun.include-uid", &t->include_uid);
    dump_ranges(f, "tun.exclude-uid", &t->exclude_uid);
    dump_ranges(f, "tun.exclude-src-port", &t->exclude_src_port);
    dump_ranges(f, "tun.exclude-dst-port", &t->exclude_dst_port);
    dump_strs(f, "tun.include-mac-address", &t->include_mac);
    dump_strs(f, "tun.exclude-mac-address", &t->exclude_mac);
    DUMP_BOOL("tun.endpoint-independent-nat", t->endpoint_independent_nat);
    DUMP_INT("tun.udp-timeout", t->udp_timeout_s);
    DUMP_INT("tun.icmp-timeout", t->icmp_timeout_s);
    DUMP_BOOL("tun.disable-icmp-forwarding", t->disable_icmp_forwarding);
    fprintf(f, "tun.loopback-address=");
    for (uint32_t i = 0; i < t->loopback_address.n; i++)
        fprintf(f, "%s%s", i ? "|" : "", addr_str(&t->loopback_address.v[i], text));
    fprintf(f, "\ntun.iproute2-table-index=%" PRId64 "\ntun.iproute2-rule-index=%" PRId64 "\n", t->table_index, t->rule_index);
}

static void dump_policies(FILE *f, const char *key, const struct cfg_policies *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        fprintf(f, "%s[%u]", key, i);
        dump_matchers(f, "", &p->v[i].names);
        fprintf(f, "%s[%u].", key, i);
        dump_strs(f, "servers", &p->v[i].servers);
    }
    fprintf(f, "%s.n=%u\n", key, p->n);
}

static void dump_dns(FILE *f, const struct cfg_dns *c)
{
    DUMP_BOOL("dns.enable", c->enable);
    DUMP_STR("dns.listen", c->listen);
    DUMP_INT("dns.listen-routing-mark", c->listen_routing_mark);
    DUMP_BOOL("dns.ipv6", c->ipv6);
    DUMP_INT("dns.ipv6-timeout", c->ipv6_timeout_ms);
    DUMP_BOOL("dns.prefer-h3", c->prefer_h3);
    DUMP_BOOL("dns.use-hosts", c->use_hosts);
    DUMP_BOOL("dns.use-system-hosts", c->use_system_hosts);
    DUMP_INT("dns.enhanced-mode", c->mode);
    dump_cidr(f, "dns.fake-ip-range", &c->fake4);
    dump_cidr(f, "dns.fake-ip-range6", &c->fake6);
    dump_matchers(f, "dns.fake-ip-filter", &c->fake_filter);
    DUMP_INT("dns.fake-ip-filter-mode", c->filter_mode);
    DUMP_INT("dns.fake-ip-ttl", c->fake_ttl);
    dump_strs(f, "dns.nameserver", &c->nameserver);
    dump_strs(f, "dns.fallback", &c->fallback);
    DUMP_BOOL("dns.fallback-filter.geoip", c->fallback_filter.geoip);
    DUMP_STR("dns.fallback-filter.geoip-code", c->fallback_filter.geoip_code);
    dump_cidrs(f, "dns.fallback-filter.ipcidr", &c->fallback_filter.ipcidr);
    dump_matchers(f, "dns.fallback-filter.domain", &c->fallback_filter.domain);
    DUMP_BOOL("dns.fallback-lazy-query", c->fallback_lazy);
    dump_strs(f, "dns.default-nameserver", &c->default_nameserver);
    dump_policies(f, "dns.nameserver-policy", &c->policy);
    dump_strs(f, "dns.proxy-server-nameserver", &c->proxy_server_nameserver);
    dump_policies(f, "dns.proxy-server-nameserver-policy", &c->proxy_server_policy);
    dump_strs(f, "dns.direct-nameserver", &c->direct_nameserver);
    DUMP_BOOL("dns.direct-nameserver-follow-policy", c->direct_follow_policy);
    DUMP_BOOL("dns.respect-rules", c->respect_rules);
    DUMP_INT("dns.cache-max-size", c->cache_max);
}

static void dump_sniffer(FILE *f, const struct cfg_sniffer *s)
{
    static const char *const names[] = { "http", "tls", "quic" };

    DUMP_BOOL("sniffer.enable", s->enable);
    DUMP_BOOL("sniffer.force-dns-mapping", s->force_dns_mapping);
    DUMP_BOOL("sniffer.parse-pure-ip", s->parse_pure_ip);
    for (int i = 0; i < CFG_N_SNIFF; i++) {
        fprintf(f, "sniffer.%s=%s", names[i], !s->sniff[i].on ? "off" : s->sniff[i].override_destination ? "override " : "keep ");
        dump_ranges(f, "", &s->sniff[i].ports);
    }
    dump_matchers(f, "sniffer.force-domain", &s->force_domain);
    dump_matchers(f, "sniffer.skip-domain", &s->skip_domain);
    dump_matchers(f, "sniffer.skip-src-address", &s->skip_src);
    dump_matchers(f, "sniffer.skip-dst-address", &s->skip_dst);
}

static void dump_hosts(FILE *f, const struct profile *p)
{
    char text[ADDR_STRLEN];

    for (uint32_t i = 0; i < p->n_hosts; i++) {
        fprintf(f, "hosts.%s=%s%s", p->hosts[i].pattern, p->hosts[i].lan ? "lan" : "", p->hosts[i].alias ? p->hosts[i].alias : "");
        for (uint32_t k = 0; k < p->hosts[i].n; k++)
            fprintf(f, "%s%s", k ? "|" : "", addr_str(&p->hosts[i].addrs[k], text));
        fputc('\n', f);
    }
    fprintf(f, "hosts.n=%u\n", p->n_hosts);
}

static void dump_rules(FILE *f, const char *key, const struct cfg_rule *r, uint32_t n)
{
    char path[CFG_PATH_MAX];

    for (uint32_t i = 0; i < n; i++)
        fprintf(f, "%s[%u]=%s @ %s\n", key, r[i].index, r[i].text, cfg_rule_path(&r[i], path));
    fprintf(f, "%s.n=%u\n", key, n);
}

static void dump_provider(FILE *f, const char *kind, const struct cfg_provider *x)
{
    static const char *const from[] = { "http", "file", "inline" }, *const behavior[] = { "domain", "ipcidr", "classical" }, *const format[] = { "yaml", "text", "mrs" };
    char key[64];

    fprintf(f, "%s.%s=%s %s\n", kind, x->name, x->type, x->own ? "own" : "foreign");
    for (uint32_t i = 0; i < x->headers.n; i++) {
        snprintf(key, sizeof(key), "%s.%s.%s", kind, x->name, x->headers.v[i].name);
        dump_strs(f, key, &x->headers.v[i].values);
    }
    if (strcmp(kind, "rule") != 0)
        return;
    fprintf(f, "rule.%s.from=%s url %s path %s proxy %s interval %" PRId64 " size %" PRId64 "\n", x->name, from[x->from], dump_str(x->url), dump_str(x->path),
            dump_str(x->proxy), x->interval_s, x->size_limit);
    fprintf(f, "rule.%s.is=%s %s bundle %s\n", x->name, behavior[x->behavior], format[x->format], dump_str(x->path_in_bundle));
    snprintf(key, sizeof(key), "rule.%s.payload", x->name);
    dump_strs(f, key, &x->rules);
}

static void dump_lists(FILE *f, const struct profile *p)
{
    for (uint32_t i = 0; i < p->n_proxies; i++)
        fprintf(f, "proxy[%u]=%s %s\n", p->proxies[i].index, p->proxies[i].name, p->proxies[i].type);
    for (uint32_t i = 0; i < p->n_groups; i++)
        fprintf(f, "group[%u]=%s %s\n", p->groups[i].index, p->groups[i].name, p->groups[i].type);
    fprintf(f, "proxies.n=%u\ngroups.n=%u\n", p->n_proxies, p->n_groups);
    dump_rules(f, "rule", p->rules, p->n_rules);
    for (uint32_t i = 0; i < p->n_sub_rules; i++)
        dump_rules(f, p->sub_rules[i].name, p->sub_rules[i].rules, p->sub_rules[i].n_rules);
    for (uint32_t i = 0; i < p->n_proxy_providers; i++)
        dump_provider(f, "proxy", &p->proxy_providers[i]);
    for (uint32_t i = 0; i < p->n_rule_providers; i++)
        dump_provider(f, "rule", &p->rule_providers[i]);
    for (uint32_t i = 0; i < p->n_listeners; i++) {
        const struct cfg_listener *l = &p->listeners[i];

        fprintf(f, "listener.%s=%s %s rule %s proxy %s udp %d mark %" PRId64 " target %s cert %s/%s\n", l->name, l->type, l->listen, dump_str(l->rule), dump_str(l->proxy),
                l->udp, l->routing_mark, dump_str(l->target), dump_str(l->certificate), dump_str(l->private_key));
        fprintf(f, "listener.%s.", l->name);
        dump_ranges(f, "port", &l->ports);
        fprintf(f, "listener.%s.", l->name);
        dump_users(f, "users", &l->users);
        fprintf(f, "listener.%s.", l->name);
        dump_strs(f, "network", &l->network);
    }
    for (uint32_t i = 0; i < p->n_tunnels; i++)
        fprintf(f, "tunnel[%u]=%s%s %s -> %s by %s\n", p->tunnels[i].index, p->tunnels[i].tcp ? "tcp" : "", p->tunnels[i].udp ? "udp" : "", p->tunnels[i].address,
                p->tunnels[i].target, dump_str(p->tunnels[i].proxy));
    fprintf(f, "listeners.n=%u\ntunnels.n=%u\nproxy-providers.n=%u\nrule-providers.n=%u\nsub-rules.n=%u\n", p->n_listeners, p->n_tunnels, p->n_proxy_providers,
            p->n_rule_providers, p->n_sub_rules);
}

/* The caller frees. */
static char *dump_profile(const struct profile *p)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    fputc('\n', f);
    dump_general(f, p);
    dump_tun(f, &p->tun);
    dump_dns(f, &p->dns);
    dump_sniffer(f, &p->sniffer);
    dump_hosts(f, p);
    dump_lists(f, p);
    fclose(f);
    return text;
}

/* ---- cases ---- */

/* want: lines that the dump must hold, separated by '\n'; said: words of the only message, or NULL when there must be none ("unsupported-key" aside), at line. */
struct dump_case {
    const char *yaml, *want, *said;
    uint32_t line;
    bool error;
};

static bool holds_lines(const char *dump, const char *want)
{
    char line[512];

    for (const char *s = want, *end; *s; s = *end ? end + 1 : end) {
        end = strchrnul(s, '\n');
        snprintf(line, sizeof(line), "\n%.*s\n", (int)(end - s), s);
        if (!strstr(dump, line)) {
            fprintf(stderr, "missing: %.*s\n", (int)(end - s), s);
            return false;
        }
    }
    return true;
}

/* Does one case hold? Says on stderr what does not. */
static bool dump_holds(const struct dump_case *c, const struct cfg_input *body, const struct cfg_input *local)
{
    const struct diag_item *it = NULL;
    size_t n = 0;
    struct diag d;
    struct profile *p;
    char *dump;
    bool good;

    diag_init(&d, "t", NULL, 0, false);
    p = profile_read(body, local, &d);
    dump = p ? dump_profile(p) : strdup("\n");
    for (size_t i = 0; i < d.n; i++)
        if (strcmp(d.items[i].code, "unsupported-key") != 0 || (c->said && strstr(d.items[i].message, c->said))) {
            it = &d.items[i];
            n++;
        }
    good = (c->said ? n == 1 && strstr(it->message, c->said) && it->line == c->line && (it->level == DIAG_ERROR) == c->error : n == 0) && holds_lines(dump, c->want);
    if (!good)
        for (size_t i = 0; i < d.n; i++)
            fprintf(stderr, "  said %u:%u %s %s: %s\n", d.items[i].line, d.items[i].column, d.items[i].path, d.items[i].code, d.items[i].message);
    if (!good)
        fprintf(stderr, "case:\n%s%s\n", c->yaml, dump);
    free(dump);
    profile_free(p);
    diag_fini(&d);
    return good;
}

static inline bool dump_all_hold(const struct dump_case *c, size_t n)
{
    bool good = true;

    for (; n; n--, c++) {
        struct cfg_input body = { "t", c->yaml, strlen(c->yaml), false };

        good &= dump_holds(c, &body, NULL);
    }
    return good;
}

#endif
