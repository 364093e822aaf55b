/*
 * json.c - what the engine knows, as the control API spells it
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controller/private.h"

/* Text that may hold anything: invalid UTF-8 is escaped, never dropped. */
static json_t *text(const char *s)
{
    json_t *j = json_string(s ? s : "");
    char safe[1024];

    return j || !s ? j : json_string(log_safe(s, strlen(s), safe, sizeof(safe)));
}

static void rfc3339(int64_t ms, char out[40])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    size_t n;

    gmtime_r(&s, &tm);
    n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03dZ", (int)(ms % 1000));
}

/* What is wrong with it, and what to do: the same words that the log has. */
static json_t *trouble(const struct outbound *o)
{
    char both[256];

    snprintf(both, sizeof(both), "%s: %s", err_str(o->last_err), out_hint(o));
    return json_string(both);
}

static json_t *history(const struct out_record *r)
{
    json_t *list = json_array();

    for (uint32_t i = 0; r && i < r->n; i++) {
        char at[40];

        rfc3339(r->v[i].unix_ms, at);
        json_array_append_new(list, json_pack("{s:s, s:I}", "time", at, "delay", (json_int_t)r->v[i].delay_ms));
    }
    return list;
}

/* Test url -> what is known by it. */
static json_t *by_url(const struct outbound *o)
{
    json_t *all = json_object();

    for (const struct out_record *r = o->records; r; r = r->next)
        if (*r->url)
            json_object_set_new(all, r->url, json_pack("{s:b, s:o}", "alive", out_alive(o, r->url), "history", history(r)));
    return all;
}

/* Ours are `reason`, why this build cannot dial it; `trouble`, what went wrong last and was not followed by an answer; `unverified`, for a node whose
 * certificate nobody looks at. */
json_t *json_proxy(struct outbound *o)
{
    json_t *j = json_pack("{s:o, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:o, s:o, s:s, s:i, s:o, s:o}", "name", text(o->name), "type",
                          o->ops->api_type, "udp", o->udp, "uot", 0, "xudp", 0, "tfo", o->tfo, "mptcp", o->mptcp, "smux", 0, "alive",
                          out_alive(o, ""), "history", history(out_record_of(o, "")), "extra", by_url(o), "interface",
                          o->interface ? o->interface : "", "routing-mark", (int)o->mark, "provider-name", text(o->provider ? o->provider->name : ""),
                          "dialer-proxy", text(o->dialer));
    const struct out_group_opts *opts = out_group_opts(o);
    json_t *all;
    struct outbound *m;

    if (j && o->why)
        json_object_set_new(j, "reason", text(o->why));
    if (j && out_hint(o))
        json_object_set_new(j, "trouble", trouble(o));
    if (j && o->unverified)
        json_object_set_new(j, "unverified", json_true());
    if (!j || !opts)
        return j;
    all = json_array();
    for (uint32_t i = 0; (m = out_member(o, i)); i++)
        json_array_append_new(all, text(m->name));
    json_object_set_new(j, "all", all);
    json_object_set_new(j, "now", text(out_now(o) ? out_now(o)->name : ""));
    if (out_is_tested(o))
        json_object_set_new(j, "fixed", text(out_pinned(o) ? out_pinned(o)->name : ""));
    json_object_set_new(j, "testUrl", text(opts->url));
    json_object_set_new(j, "expectedStatus", text(opts->expected_status));
    json_object_set_new(j, "hidden", json_boolean(opts->hidden));
    json_object_set_new(j, "icon", text(opts->icon));
    return j;
}

json_t *json_proxies(struct ctl *c)
{
    struct out_set *s = eng_policy(c->eng)->outs;
    json_t *all = json_object();

    for (int32_t i = 0; i < out_count(s); i++)
        if (out_find_any(s, out_at(s, i)->name) == out_at(s, i)) /* members of providers may share a name */
            json_object_set_new(all, out_at(s, i)->name, json_proxy(out_at(s, i)));
    return json_pack("{s:o}", "proxies", all);
}

json_t *json_group_list(struct ctl *c)
{
    struct out_set *s = eng_policy(c->eng)->outs;
    json_t *list = json_array();

    for (int32_t i = 0; i < out_count(s); i++)
        if (out_at(s, i)->ops->action == OUT_GROUP)
            json_array_append_new(list, json_proxy(out_at(s, i)));
    return json_pack("{s:o}", "proxies", list);
}

static json_t *provider(const char *name, const char *vehicle, json_t *members, const char *url, const char *status)
{
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o}", "name", text(name), "type", "Proxy", "vehicleType", vehicle, "proxies", members,
                     "testUrl", text(url), "expectedStatus", text(status));
}

static json_t *proxy_provider(const struct out_provider *p)
{
    const char *vehicle = !strcmp(p->type, "http") ? "HTTP" : !strcmp(p->type, "file") ? "File" : "Inline";
    json_t *members = json_array(), *j;
    char at[40];

    for (uint32_t i = 0; i < p->n; i++)
        json_array_append_new(members, json_proxy(p->members[i]));
    j = provider(p->name, vehicle, members, p->test_url, p->expected_status);
    rfc3339(p->stored_s * 1000, at);
    if (j && p->stored_s)
        json_object_set_new(j, "updatedAt", json_string(at));
    return j;
}

struct add_providers {
    struct engine *eng;
    json_t *all;
};

static json_t *subscription(const char *userinfo)
{
    struct said_account a;

    said_account(userinfo, &a);
    return json_pack("{s:I, s:I, s:I, s:I}", "Upload", (json_int_t)a.upload, "Download", (json_int_t)a.download, "Total",
                     (json_int_t)a.total, "Expire", (json_int_t)a.expire);
}

static void add_fetched(void *arg, const struct provider_view *v)
{
    struct add_providers *a = arg;
    json_t *j = v->spec->kind == PROVIDER_PROXIES ? json_object_get(a->all, v->spec->name) : NULL;

    if (!j || v->spec->from != PROVIDER_HTTP)
        return;
    if (*v->userinfo)
        json_object_set_new(j, "subscriptionInfo", subscription(v->userinfo));
    json_object_set_new(j, "error", text(v->why));
}

/* The providers of the profile; every group with members is also a "Compatible" one, and `default` holds everything. */
json_t *json_providers(struct ctl *c)
{
    struct out_set *s = eng_policy(c->eng)->outs;
    json_t *all = json_object(), *everything = json_array();
    const struct out_provider *p;

    for (int32_t i = 0; i < out_count(s); i++) {
        struct outbound *o = out_at(s, i), *m;
        json_t *members;

        if (o->ops->action == OUT_PROXY && !o->provider)
            json_array_append_new(everything, json_proxy(o));
        if (o->ops->action != OUT_GROUP)
            continue;
        members = json_array();
        for (uint32_t k = 0; (m = out_member(o, k)); k++)
            json_array_append_new(members, json_proxy(m));
        json_object_set_new(all, o->name, provider(o->name, "Compatible", members, out_group_opts(o)->url, out_group_opts(o)->expected_status));
    }
    for (uint32_t i = 0; (p = out_provider_at(s, i)); i++)
        json_object_set_new(all, p->name, proxy_provider(p));
    eng_each_provider(c->eng, add_fetched, &(struct add_providers){ c->eng, all });
    json_object_set_new(all, "default", provider("default", "Compatible", everything, "", "*"));
    return json_pack("{s:o}", "providers", all);
}

static void add_rule_provider(void *arg, const struct provider_view *v)
{
    static const char *const vehicle[] = { [PROVIDER_HTTP] = "HTTP", [PROVIDER_FILE] = "File", [PROVIDER_INLINE] = "Inline" };
    static const char *const behavior[] = { [SET_DOMAIN] = "Domain", [SET_IPCIDR] = "IPCIDR", [SET_CLASSICAL] = "Classical" };
    static const char *const format[] = { [SET_YAML] = "YamlRule", [SET_TEXT] = "TextRule", [SET_MRS] = "MrsRule" };
    struct add_providers *a = arg;
    const struct provider_spec *s = v->spec;
    char at[40] = "";
    json_t *j;

    if (s->kind != PROVIDER_RULES)
        return;
    if (v->updated_s)
        rfc3339(v->updated_s * 1000, at);
    j = json_pack("{s:o, s:s, s:s, s:s, s:s, s:I, s:s, s:o}", "name", text(s->name), "type", "Rule", "vehicleType", vehicle[s->from],
                  "behavior", behavior[s->behavior], "format", format[s->format], "ruleCount",
                  (json_int_t)eng_provider_size(a->eng, s->name), "updatedAt", at, "error", text(v->why));
    json_object_set_new(a->all, s->name, j);
}

json_t *json_rule_providers(struct ctl *c)
{
    struct add_providers a = { c->eng, json_object() };

    eng_each_provider(c->eng, add_rule_provider, &a);
    return json_pack("{s:o}", "providers", a.all);
}

/* ---- what `provider` shows ---- */

static const char *const kinds[] = { [PROVIDER_PROXIES] = "proxies", [PROVIDER_RULES] = "rules", [PROVIDER_GEO] = "geo" };

struct list_providers {
    struct ctl *ctl;
    json_t *list;
};

static json_int_t entries_of(struct ctl *c, const struct provider_spec *s)
{
    const struct out_provider *p;

    if (s->kind == PROVIDER_RULES)
        return eng_provider_size(c->eng, s->name);
    for (uint32_t i = 0; (p = out_provider_at(eng_policy(c->eng)->outs, i)); i++)
        if (!strcmp(p->name, s->name))
            return p->n;
    return 0;
}

static void add_listed(void *arg, const struct provider_view *v)
{
    static const char *const from[] = { [PROVIDER_HTTP] = "http", [PROVIDER_FILE] = "file", [PROVIDER_INLINE] = "inline" };
    const struct list_providers *a = arg;
    const struct provider_spec *s = v->spec;
    json_t *j = json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:b, s:o}", "kind", kinds[s->kind], "name", text(s->name), "from", from[s->from], "bytes",
                          (json_int_t)v->bytes, "updated", (json_int_t)v->updated_s, "interval", (json_int_t)s->interval_s, "busy", v->busy, "error",
                          text(v->why));

    if (j && s->kind != PROVIDER_GEO)
        json_object_set_new(j, "entries", json_integer(entries_of(a->ctl, s)));
    if (j && *v->userinfo)
        json_object_set_new(j, "subscriptionInfo", subscription(v->userinfo));
    json_array_append_new(a->list, j);
}

static void add_inline_proxies(const struct list_providers *a)
{
    const struct out_provider *p;

    for (uint32_t i = 0; (p = out_provider_at(eng_policy(a->ctl->eng)->outs, i)); i++)
        if (!p->path)
            json_array_append_new(a->list, json_pack("{s:s, s:o, s:s, s:i, s:i, s:i, s:b, s:o, s:I}", "kind", kinds[PROVIDER_PROXIES],
                                                     "name", text(p->name), "from", p->type, "bytes", 0, "updated", 0, "interval", 0,
                                                     "busy", 0, "error", text(p->why), "entries", (json_int_t)p->n));
}

json_t *json_provider_list(struct ctl *c)
{
    struct list_providers a = { c, json_array() };

    eng_each_provider(c->eng, add_listed, &a);
    add_inline_proxies(&a);
    return json_pack("{s:o}", "providers", a.list);
}

#define NEVER "0001-01-01T00:00:00Z"

json_t *json_rules(struct ctl *c)
{
    struct ruleset *rs = eng_policy(c->eng)->rules;
    json_t *list = json_array();

    for (uint32_t i = 0; i < rules_count(rs); i++) {
        const struct rule *r = rules_at(rs, i);
        char hit_at[40] = NEVER;

        if (r->hit_unix_ms)
            rfc3339(r->hit_unix_ms, hit_at);
        json_array_append_new(list, json_pack("{s:i, s:s, s:o, s:o, s:i, s:{s:b, s:I, s:s, s:i, s:s}}", "index", (int)r->index, "type",
                                              rule_type_api_name((enum rule_type)r->type), "payload", text(r->payload), "proxy",
                                              text(r->target), "size", r->size, "extra", "disabled", r->disabled, "hitCount",
                                              (json_int_t)r->hits, "hitAt", hit_at, "missCount", 0, "missAt", NEVER));
    }
    return json_pack("{s:o}", "rules", list);
}

static void add_geo_config(json_t *j, const struct profile *p)
{
    const struct cfg_geo *g = &p->geo;
    json_t *url = json_pack("{s:o, s:o, s:o, s:o}", "geo-ip", text(g->geoip), "mmdb", text(g->mmdb), "asn", text(g->asn), "geo-site",
                            text(g->geosite));

    json_object_set_new(j, "geox-url", url);
    json_object_set_new(j, "geodata-mode", json_boolean(g->mode_dat));
    json_object_set_new(j, "geo-auto-update", json_boolean(g->auto_update));
    json_object_set_new(j, "geo-update-interval", json_integer(g->interval_h));
    json_object_set_new(j, "etag-support", json_boolean(p->etag_support));
}

json_t *json_configs(struct ctl *c)
{
    static const char *const find_process[] = { [FIND_PROCESS_STRICT] = "strict", [FIND_PROCESS_ALWAYS] = "always", [FIND_PROCESS_OFF] = "off" };
    const struct profile *p = eng_profile(c->eng);
    struct eng_status st;
    char a4[ADDR_STRLEN + 4] = "", a6[ADDR_STRLEN + 4] = "", t[ADDR_STRLEN];
    json_t *j, *hijack = json_array(), *tun, *v4 = json_array(), *v6 = json_array();

    eng_status(c->eng, &st);
    for (uint32_t i = 0; i < p->tun.dns_hijack.n; i++)
        json_array_append_new(hijack, text(p->tun.dns_hijack.v[i]));
    if (p->tun.inet4.ip.ver) {
        snprintf(a4, sizeof(a4), "%s/%u", addr_str(&p->tun.inet4.ip, t), p->tun.inet4.len);
        json_array_append_new(v4, json_string(a4));
    }
    if (p->tun.inet6.ip.ver) {
        snprintf(a6, sizeof(a6), "%s/%u", addr_str(&p->tun.inet6.ip, t), p->tun.inet6.len);
        json_array_append_new(v6, json_string(a6));
    }
    tun = json_pack("{s:b, s:s, s:s, s:o, s:b, s:b, s:b, s:i, s:o, s:o, s:i}", "enable", *st.tun.device != 0, "device", st.tun.device, "stack", "gVisor",
                    "dns-hijack", hijack, "auto-route", p->tun.auto_route, "strict-route", p->tun.strict_route, "auto-detect-interface", 1,
                    "mtu", (int)p->tun.mtu, "inet4-address", v4, "inet6-address", v6, "file-descriptor", 0);
    j = json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:n, s:b, s:s, s:s, s:b, s:s, s:b, s:s, s:b, s:s, s:b, s:s}", "port", 0, "socks-port", 0,
                  "redir-port", 0, "tproxy-port", 0, "mixed-port", 0, "tun", tun, "authentication", "allow-lan", 0, "bind-address", "*",
                  "mode", mode_names[eng_mode(c->eng)], "unified-delay", p->unified_delay, "log-level", log_level_name(log_threshold),
                  "ipv6", p->ipv6, "interface-name", p->interface_name ? p->interface_name : "", "tcp-concurrent", p->tcp_concurrent,
                  "find-process-mode", find_process[p->find_process], "sniffing", p->sniffer.enable, "global-ua",
                  p->global_ua ? p->global_ua : "");
    add_geo_config(j, p);
    return j;
}

static void uuid_text(const uint8_t u[16], char out[37])
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;

    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[u[i] >> 4];
        *p++ = hex[u[i] & 15];
    }
    *p = 0;
}

static const char *ip_text(const struct addr *a, char buf[ADDR_STRLEN])
{
    return addr_is_set(a) ? addr_str(a, buf) : "";
}

/* As dashboards know it: "Tun", "Inner". */
static const char *via_word(enum flow_via via)
{
    return via == FLOW_VIA_INNER ? "Inner" : via == FLOW_VIA_TUN ? "Tun" : flow_via_name(via);
}

static json_t *connection(const struct conn_view *v)
{
    char id[37], start[40], src[ADDR_STRLEN], dst[ADDR_STRLEN], sport[8], dport[8], rem[ENDPOINT_STRLEN] = "";
    const struct flow_proc none = { 0 }, *proc = v->meta.proc ? v->meta.proc : &none;
    json_t *chains = json_array(), *meta;

    uuid_text(v->uuid, id);
    rfc3339(v->start_unix_ms, start);
    snprintf(sport, sizeof(sport), "%u", v->meta.src.port);
    snprintf(dport, sizeof(dport), "%u", v->meta.dst.at.port);
    if (addr_is_set(&v->remote.ip))
        endpoint_str(&v->remote, rem);
    for (int i = v->n_chain - 1; i >= 0; i--) /* the proxy first, then each group outward */
        json_array_append_new(chains, text(v->chain[i]));
    meta = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:I, s:s, s:n, s:n, s:s, s:s, s:s, s:s, s:i}",
        "network", v->meta.net == FLOW_UDP ? "udp" : "tcp", "type", via_word(v->meta.via), "sourceIP", ip_text(&v->meta.src.ip, src),
        "destinationIP", ip_text(&v->meta.dst.at.ip, dst), "sourcePort", sport, "destinationPort", dport, "inboundPort", "0", "inboundIP",
        "", "inboundName", v->meta.via == FLOW_VIA_TUN ? "DEFAULT-TUN" : "", "inboundUser", "", "host", text(v->meta.dst.host), "sniffHost",
        text(v->meta.sniffed), "dnsMode", v->dns_mode, "process", text(proc->name), "processPath", text(proc->path), "uid", (json_int_t)proc->uid,
        "remoteDestination", rem, "sourceGeoIP", "destinationGeoIP", "sourceIPASN", "", "destinationIPASN", "", "specialProxy", "",
        "specialRules", "", "dscp", v->meta.dscp);
    return json_pack("{s:s, s:o, s:I, s:I, s:s, s:o, s:[], s:s, s:o, s:s, s:I}", "id", id, "metadata", meta, "upload", (json_int_t)v->up,
                     "download", (json_int_t)v->down, "start", start, "chains", chains, "providerChains", "rule", v->rule_api,
                     "rulePayload", text(v->rule_payload), "state", v->state, "age_ms", (json_int_t)v->age_ms);
}

static void add_connection(void *arg, const struct conn_view *v)
{
    json_array_append_new(arg, connection(v));
}

json_t *json_connections(struct ctl *c, bool closed)
{
    json_t *list = json_array();
    struct eng_status st;

    eng_status(c->eng, &st);
    eng_each_flow(c->eng, closed, add_connection, list);
    return json_pack("{s:I, s:I, s:o, s:I}", "downloadTotal", (json_int_t)st.down_total, "uploadTotal", (json_int_t)st.up_total,
                     "connections", list, "memory", (json_int_t)plat_rss());
}

json_t *json_traffic(struct ctl *c)
{
    struct eng_status st;

    eng_status(c->eng, &st);
    return json_pack("{s:I, s:I, s:I, s:I}", "up", (json_int_t)st.up_rate, "down", (json_int_t)st.down_rate, "upTotal",
                     (json_int_t)st.up_total, "downTotal", (json_int_t)st.down_total);
}

json_t *json_diag(const struct diag *d, const struct diag_item *it)
{
    json_t *j = json_pack("{s:i, s:i, s:s, s:s, s:o}", "line", (int)it->line, "column", (int)it->column, "path", it->path, "code", it->code,
                          "message", text(it->message));

    if (it->source)
        json_object_set_new(j, "file", text(d->source[it->source].name));
    return j;
}

json_t *json_diags(const struct diag *d, enum diag_level level)
{
    json_t *list = json_array();

    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].level == level)
            json_array_append_new(list, json_diag(d, &d->items[i]));
    return list;
}

/* Nodes whose last attempt went wrong, and how many believe whoever answers. */
static void add_nodes(struct ctl *c, json_t *status)
{
    struct out_set *s = eng_policy(c->eng)->outs;
    json_t *list = json_array();
    int unverified = 0;

    for (int32_t i = 0; i < out_count(s); i++) {
        struct outbound *o = out_at(s, i);

        unverified += o->unverified;
        if (out_hint(o))
            json_array_append_new(list, json_pack("{s:o, s:o}", "name", text(o->name), "message", trouble(o)));
    }
    json_object_set_new(status, "troubles", list);
    json_object_set_new(status, "unverified", json_integer(unverified));
}

json_t *json_status(struct ctl *c)
{
    const struct profile *p = eng_profile(c->eng);
    const struct diag *d = eng_diag(c->eng);
    json_t *skipped = json_array(), *addrs = json_array(), *listen = json_array();
    char a[ADDR_STRLEN + 8], t[ADDR_STRLEN], sock[4096];
    static const char *const asked[] = { [PROBE_UNKNOWN] = "unknown", [PROBE_YES] = "yes", [PROBE_NO] = "no" };
    const struct cidr *own[] = { &p->tun.inet4, &p->tun.inet6 };
    struct eng_status st;
    json_t *j;

    eng_status(c->eng, &st);
    for (size_t i = 0; i < d->n; i++)
        json_array_append_new(skipped, json_diag(d, &d->items[i]));
    for (int i = 0; i < 2; i++) {
        if (!own[i]->ip.ver)
            continue;
        snprintf(a, sizeof(a), "%s/%u", addr_str(&own[i]->ip, t), own[i]->len);
        json_array_append_new(addrs, json_string(a));
    }
    snprintf(sock, sizeof(sock), "%s/shunt.sock", c->state_dir);
    if (c->unix_socket.daemon)
        json_array_append_new(listen, text(sock));
    if (c->at)
        json_array_append_new(listen, text(c->at));
    j = json_pack(
        "{s:s, s:s, s:i, s:I, s:o, s:{s:s, s:i, s:o, s:b, s:b, s:i}, s:{s:s, s:b, s:i, s:i, s:s}, s:o, s:{s:I, s:I}, s:i, s:b, s:I, s:o}",
        "version", SHUNT_VERSION, "mode", mode_names[eng_mode(c->eng)], "pid", st.supervisor_pid, "uptime_s",
        (json_int_t)(st.uptime_ms / 1000), "profile", text(st.profile_name), "tun", "device", st.tun.device, "mtu", (int)p->tun.mtu,
        "addresses", addrs, "vnet_hdr", st.tun.vnet_hdr, "tso", st.tun.tso, "flows", (int)st.n_flows, "dns", "listen", st.dns_listen,
        "redirect", st.tun.dns_redirect, "fakeip_used", (int)st.fake_used, "fakeip_size", (int)st.fake_size, "system_asks",
        asked[st.system_asks], "controller", listen, "totals", "up", (json_int_t)st.up_total, "down", (json_int_t)st.down_total, "flows",
        (int)st.n_flows, "ping_direct", st.ping_direct, "memory", (json_int_t)plat_rss(), "skipped", skipped);
    if (j)
        add_nodes(c, j);
    return j;
}

json_t *json_explain(const struct explain *x)
{
    static const char *const actions[] = { "proxy", "direct", "reject", "reject-drop", "none" };
    json_t *chain = json_array(), *resolved = json_null(), *needed = json_array(), *rule = json_null();
    const struct outbound *leaf = x->n_chain ? x->chain[x->n_chain - 1] : NULL;
    const char *host = x->asked ? x->asked : x->meta.dst.host;
    char t[ADDR_STRLEN];

    for (int i = 0; i < x->n_chain; i++)
        json_array_append_new(chain, text(x->chain[i]->name));
    if (x->resolved) {
        resolved = json_array();
        for (int i = 0; i < x->n_answer; i++)
            json_array_append_new(resolved, json_string(addr_str(&x->answer[i], t)));
    }
    if (x->needed_ip)
        json_array_append_new(needed, json_string("ip"));
    if (x->needed_proc)
        json_array_append_new(needed, json_string("process"));
    if (x->rule)
        rule = json_pack("{s:i, s:i, s:s, s:o, s:o}", "index", (int)x->rule->index, "line", (int)x->rule->line, "type",
                         rule_type_name(x->rule->type), "payload", text(x->rule->payload), "target", text(x->by->target));
    return json_pack("{s:s, s:o, s:o, s:i, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "network", x->meta.net == FLOW_UDP ? "udp" : "tcp",
                     "host", host ? text(host) : json_null(), "ip",
                     addr_is_set(&x->meta.dst.at.ip) ? json_string(addr_str(&x->meta.dst.at.ip, t)) : json_null(), "port",
                     x->meta.dst.at.port, "mode", mode_names[x->mode], "rule", rule, "chain", chain, "outbound",
                     text(leaf ? leaf->name : "REJECT"), "action", actions[x->action], "resolved", resolved, "needed", needed, "note",
                     *x->note ? text(x->note) : json_null());
}
