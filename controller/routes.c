/*
 * routes.c - method and path -> handler
 *
 * A table; `*` stands for one path segment, decoded after the split. What is not in it is 404.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "controller/private.h"

static bool hexval(char c, unsigned *v)
{
    *v = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10) : 16;
    return *v < 16;
}

char *percent_decode(const char *s, size_t n)
{
    char *out = malloc(n + 1);
    size_t at = 0;
    unsigned a, b;

    for (size_t i = 0; out && i < n; i++) {
        if (s[i] == '%' && i + 2 < n && hexval(s[i + 1], &a) && hexval(s[i + 2], &b)) {
            out[at++] = (char)(a << 4 | b);
            i += 2;
        } else {
            out[at++] = s[i];
        }
    }
    if (out)
        out[at] = 0;
    return out;
}

char *query_text(struct request *q, const char *key)
{
    const char *v = query_arg(q, key);

    return v ? percent_decode(v, strlen(v)) : NULL;
}

json_t *body_object(struct request *q)
{
    json_t *j = q->body ? json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (j && !json_is_object(j)) {
        json_decref(j);
        return NULL;
    }
    return j;
}

/* ---- handlers ---- */

static enum MHD_Result get_root(struct request *q)
{
    return answer_json(q, 200, json_pack("{s:s}", "hello", "mihomo"));
}

static enum MHD_Result get_version(struct request *q)
{
    return answer_json(q, 200, json_pack("{s:b, s:s}", "meta", 1, "version", "shunt " SHUNT_VERSION));
}

static enum MHD_Result get_configs(struct request *q)
{
    return answer_json(q, 200, json_configs(q->ctl));
}

static int mode_of(const char *s)
{
    for (int i = 0; mode_names[i]; i++)
        if (!strcasecmp(mode_names[i], s))
            return i;
    return -1;
}

/* The TUN belongs to the other process and to what it changed on the machine. */
static bool is_tun_on(struct engine *e)
{
    struct eng_status st;

    eng_status(e, &st);
    return *st.tun.device;
}

/* Everything is looked at before anything is changed. Keys that need a restart here (ports, tun) are taken and have no effect; only who switches the
 * TUN is told, for that is what the traffic goes by. */
static enum MHD_Result patch_configs(struct request *q)
{
    json_t *j = body_object(q), *mode, *level, *tun, *on;
    enum log_level l = log_threshold;
    int m = -1;
    bool bad, switches;

    if (!j)
        return answer_error(q, 400, "Body invalid");
    mode = json_object_get(j, "mode");
    level = json_object_get(j, "log-level");
    tun = json_object_get(j, "tun");
    on = json_object_get(tun, "enable");
    switches = on && json_is_true(on) != is_tun_on(q->ctl->eng);
    bad = (tun && !json_is_object(tun) && !json_is_null(tun)) || (on && !json_is_boolean(on)) ||
          (mode && (!json_is_string(mode) || (m = mode_of(json_string_value(mode))) < 0)) ||
          (level && (!json_is_string(level) || log_level_parse(json_string_value(level), &l) < 0));
    json_decref(j);
    if (bad)
        return answer_error(q, 400, "Body invalid");
    if (switches)
        return answer_error(q, 501, "tun.enable cannot change while shunt runs: restart it with another profile");
    if (m >= 0)
        eng_set_mode(q->ctl->eng, (enum mode)m);
    log_threshold = l;
    return answer_empty(q, 204);
}

static enum MHD_Result get_proxies(struct request *q)
{
    return answer_json(q, 200, json_proxies(q->ctl));
}

static struct outbound *named(struct request *q)
{
    return q->arg[0] ? out_find_any(eng_policy(q->ctl->eng)->outs, q->arg[0]) : NULL;
}

static enum MHD_Result get_proxy(struct request *q)
{
    struct outbound *o = named(q);

    return o ? answer_json(q, 200, json_proxy(o)) : answer_error(q, 404, "Resource not found");
}

static enum MHD_Result put_proxy(struct request *q)
{
    struct outbound *o = named(q);
    json_t *j;
    const char *name;
    int r;

    if (!o)
        return answer_error(q, 404, "Resource not found");
    j = body_object(q);
    name = json_string_value(json_object_get(j, "name"));
    r = name ? eng_select(q->ctl->eng, o, name) : -EBADMSG;
    json_decref(j);
    if (r == 0)
        return answer_empty(q, 204);
    return answer_error(q, 400,
                        r == -EBADMSG          ? "Body invalid"
                        : r == -EINVAL         ? "Must be a Selector"
                        : r == -ERR_UNSUPPORTED ? "Selector update error: this build cannot dial it"
                                               : "Selector update error: proxy does not exist");
}

/* A pin is undone. */
static enum MHD_Result delete_proxy(struct request *q)
{
    struct outbound *o = named(q);

    if (!o)
        return answer_error(q, 404, "Resource not found");
    return eng_unpin(q->ctl->eng, o) == 0 ? answer_empty(q, 204) : answer_error(q, 400, "Must be a URLTest or Fallback");
}

static enum MHD_Result get_groups(struct request *q)
{
    return answer_json(q, 200, json_group_list(q->ctl));
}

static enum MHD_Result get_group(struct request *q)
{
    struct outbound *o = named(q);

    return o && o->ops->action == OUT_GROUP ? answer_json(q, 200, json_proxy(o)) : answer_error(q, 404, "Resource not found");
}

static enum MHD_Result get_providers(struct request *q)
{
    return answer_json(q, 200, json_providers(q->ctl));
}

static enum MHD_Result get_provider(struct request *q)
{
    json_t *all = json_providers(q->ctl), *one = q->arg[0] ? json_object_get(json_object_get(all, "providers"), q->arg[0]) : NULL;

    json_incref(one);
    json_decref(all);
    return one ? answer_json(q, 200, one) : answer_error(q, 404, "Resource not found");
}

static enum MHD_Result get_rule_providers(struct request *q)
{
    return answer_json(q, 200, json_rule_providers(q->ctl));
}

static enum MHD_Result get_rules(struct request *q)
{
    return answer_json(q, 200, json_rules(q->ctl));
}

/* {"0": true, "7": false}: until the next load. */
static enum MHD_Result patch_rules(struct request *q)
{
    struct ruleset *rs = eng_policy(q->ctl->eng)->rules;
    json_t *j = body_object(q), *off;
    const char *key;

    if (!j)
        return answer_error(q, 400, "Body invalid");
    json_object_foreach(j, key, off)
    {
        char *end;
        unsigned long index = strtoul(key, &end, 10);

        if (*key >= '0' && *key <= '9' && !*end && index < UINT32_MAX && json_is_boolean(off))
            rules_disable(rs, (uint32_t)index, json_is_true(off));
    }
    json_decref(j);
    return answer_empty(q, 204);
}

static enum MHD_Result get_connections(struct request *q)
{
    const char *interval = query_arg(q, "interval");
    long ms = interval ? strtol(interval, NULL, 10) : 1000;

    if (is_websocket(q->conn))
        return stream_open(q, SUB_CONNECTIONS, ms < 100 || ms > 60000 ? 1000 : (unsigned)ms, LOG_INFO, false);
    return answer_json(q, 200, json_connections(q->ctl, false));
}

static enum MHD_Result delete_connections(struct request *q)
{
    eng_kill(q->ctl->eng, NULL);
    return answer_empty(q, 204);
}

static bool parse_uuid(const char *s, uint8_t out[16])
{
    unsigned hi, lo;

    for (int i = 0; i < 16; i++) {
        if (*s == '-')
            s++;
        if (!hexval(s[0], &hi) || !hexval(s[1], &lo))
            return false;
        out[i] = (uint8_t)(hi << 4 | lo);
        s += 2;
    }
    return !*s;
}

static enum MHD_Result delete_connection(struct request *q)
{
    uint8_t id[16];

    if (q->arg[0] && parse_uuid(q->arg[0], id))
        eng_kill(q->ctl->eng, id);
    return answer_empty(q, 204);
}

static enum MHD_Result get_traffic(struct request *q)
{
    return stream_open(q, SUB_TRAFFIC, 1000, LOG_INFO, false);
}

static enum MHD_Result get_memory(struct request *q)
{
    return stream_open(q, SUB_MEMORY, 1000, LOG_INFO, false);
}

static enum MHD_Result get_logs(struct request *q)
{
    const char *level = query_arg(q, "level"), *format = query_arg(q, "format");
    enum log_level l = LOG_INFO;

    if (level && *level && log_level_parse(level, &l) < 0)
        return answer_error(q, 400, "Body invalid");
    return stream_open(q, SUB_LOGS, 0, l, format && !strcmp(format, "structured"));
}

/* ---- our own: what the command line asks ---- */

static enum MHD_Result get_status(struct request *q)
{
    return answer_json(q, 200, json_status(q->ctl));
}

static enum MHD_Result get_flows(struct request *q)
{
    const char *closed = query_arg(q, "closed");

    return answer_json(q, 200, json_connections(q->ctl, closed && *closed == '1'));
}

static enum MHD_Result get_provider_list(struct request *q)
{
    return answer_json(q, 200, json_provider_list(q->ctl));
}

/* /shunt/explain: what the flow is; `answer` is the address a look-up would give; `batch`: nothing is looked up. */
enum { X_NETWORK, X_HOST, X_IP, X_PORT, X_SRC, X_IN, X_PROCESS, X_PATH, X_UID, X_ANSWER, X_BATCH, N_EXPLAIN_ARGS };
static const char *const explain_args[] = { "network", "host", "ip", "port", "src", "in", "process", "path", "uid", "answer", "batch" };
static_assert(sizeof(explain_args) / sizeof(explain_args[0]) == N_EXPLAIN_ARGS, "a word for every argument");

struct later {
    struct list_head node; /* ctl.explains, while it waits */
    struct eng_explain x;
    struct request *q;
    char *word[N_EXPLAIN_ARGS];
    char host[HOST_MAX + 1];
    struct flow_proc proc;
    bool inside; /* the call that started it has not returned */
};

static void later_free(struct later *l)
{
    for (int i = 0; i < N_EXPLAIN_ARGS; i++)
        free(l->word[i]);
    free(l);
}

static void on_explained(struct eng_explain *x)
{
    struct later *l = container_of(x, struct later, x);

    l->q->later = json_explain(&x->x);
    l->q->later_status = 200;
    if (l->inside)
        return;
    list_del(&l->node);
    l->q->suspended = false;
    MHD_resume_connection(l->q->conn);
    listener_kick(l->q->listener);
    later_free(l);
}

/* A number of an argument; false: it is none, or too large. Absent is fine. */
static bool number(const char *s, unsigned long max, unsigned long *out)
{
    char *end;

    if (!s)
        return true;
    *out = strtoul(s, &end, 10);
    return *s >= '0' && *s <= '9' && !*end && *out <= max;
}

static bool take_target(struct later *l)
{
    struct flow_meta *m = &l->x.x.meta;
    const char *host = l->word[X_HOST], *ip = l->word[X_IP];
    unsigned long port = 0;

    if (host && host_normalise(host, strlen(host), l->host) < 0)
        return false;
    m->dst.host = host ? l->host : NULL;
    if ((ip && addr_parse(ip, &m->dst.at.ip) < 0) || !number(l->word[X_PORT], UINT16_MAX, &port))
        return false;
    m->dst.at.port = (uint16_t)port;
    m->net = l->word[X_NETWORK] && !strcmp(l->word[X_NETWORK], "udp") ? FLOW_UDP : FLOW_TCP;
    return host || ip;
}

static bool take_source(struct later *l)
{
    struct flow_meta *m = &l->x.x.meta;
    const char *src = l->word[X_SRC], *slash = l->word[X_PATH] ? strrchr(l->word[X_PATH], '/') : NULL;
    unsigned long uid = 0;

    if (src && endpoint_parse(src, &m->src) < 0 && addr_parse(src, &m->src.ip) < 0)
        return false;
    if (!explain_via(&l->x.x, l->word[X_IN] ? l->word[X_IN] : "TUN") || !number(l->word[X_UID], UINT32_MAX, &uid))
        return false;
    l->proc.path = l->word[X_PATH];
    l->proc.name = l->word[X_PROCESS] ? l->word[X_PROCESS] : slash ? slash + 1 : l->proc.path;
    l->proc.uid = (uint32_t)uid;
    l->proc.uid_known = l->word[X_UID];
    l->x.x.proc = l->proc.name || l->proc.uid_known ? &l->proc : NULL;
    return true;
}

static bool take_answer(struct later *l)
{
    const char *answer = l->word[X_ANSWER];

    l->x.x.n_answer = answer ? 1 : 0;
    l->x.x.may_ask = !answer && !l->word[X_BATCH];
    return !answer || addr_parse(answer, &l->x.x.answer[0]) == 0;
}

static enum MHD_Result get_explain(struct request *q)
{
    struct later *l = calloc(1, sizeof(*l));
    json_t *j;

    if (!l)
        return answer_error(q, 503, "out of memory");
    l->x.done = on_explained;
    l->q = q;
    for (int i = 0; i < N_EXPLAIN_ARGS; i++) {
        l->word[i] = query_text(q, explain_args[i]);
        if (l->word[i] && !*l->word[i]) {
            free(l->word[i]);
            l->word[i] = NULL;
        }
    }
    if (!take_target(l) || !take_source(l) || !take_answer(l)) {
        later_free(l);
        return answer_error(q, 400, "not a flow that could be");
    }
    l->inside = true;
    eng_explain(q->ctl->eng, &l->x);
    l->inside = false;
    if ((j = q->later)) {
        q->later = NULL;
        later_free(l);
        return answer_json(q, 200, j);
    }
    q->suspended = true;
    list_append(&q->ctl->explains, &l->node);
    MHD_suspend_connection(q->conn);
    return MHD_YES;
}

void explain_hurry(struct ctl *c)
{
    for (struct list_head *n; (n = list_first(&c->explains));)
        eng_explain_hurry(&container_of(n, struct later, node)->x);
}

static const struct {
    const char *method, *path;
    enum MHD_Result (*run)(struct request *);
} table[] = {
    { "GET", "/", get_root },
    { "GET", "/version", get_version },
    { "GET", "/configs", get_configs },
    { "PATCH", "/configs", patch_configs },
    { "PUT", "/configs", put_configs },
    { "GET", "/proxies", get_proxies },
    { "GET", "/proxies/*", get_proxy },
    { "PUT", "/proxies/*", put_proxy },
    { "DELETE", "/proxies/*", delete_proxy },
    { "GET", "/proxies/*/delay", get_proxy_delay },
    { "GET", "/group", get_groups },
    { "GET", "/group/*", get_group },
    { "GET", "/group/*/delay", get_group_delay },
    { "GET", "/providers/proxies", get_providers },
    { "GET", "/providers/proxies/*", get_provider },
    { "PUT", "/providers/proxies/*", put_proxy_provider },
    { "GET", "/providers/proxies/*/healthcheck", get_provider_check },
    { "GET", "/providers/proxies/*/*", get_member },
    { "GET", "/providers/proxies/*/*/healthcheck", get_member_check },
    { "GET", "/providers/rules", get_rule_providers },
    { "PUT", "/providers/rules/*", put_rule_provider },
    { "POST", "/configs/geo", post_geo },
    { "POST", "/upgrade/geo", post_geo },
    { "GET", "/rules", get_rules },
    { "PATCH", "/rules/disable", patch_rules },
    { "GET", "/connections", get_connections },
    { "DELETE", "/connections", delete_connections },
    { "DELETE", "/connections/*", delete_connection },
    { "GET", "/traffic", get_traffic },
    { "GET", "/memory", get_memory },
    { "GET", "/dns/query", get_dns_query },
    { "POST", "/cache/dns/flush", post_dns_flush },
    { "POST", "/cache/fakeip/flush", post_fakeip_flush },
    { "GET", "/logs", get_logs },
    { "GET", "/shunt/status", get_status },
    { "GET", "/shunt/flows", get_flows },
    { "GET", "/shunt/providers", get_provider_list },
    { "PUT", "/shunt/geo/*", put_geo },
    { "GET", "/shunt/explain", get_explain },
};

/* Does the path have the pattern's shape? Its `*` segments are decoded into q->arg. */
static bool matches(struct request *q, const char *pattern)
{
    const char *p = q->path;

    while (*pattern) {
        if (*pattern != '*') {
            if (*pattern++ != *p++)
                return false;
            continue;
        }
        size_t n = strcspn(p, "/");

        if (!n || !(q->arg[q->n_arg] = percent_decode(p, n)))
            return false;
        q->n_arg++;
        p += n;
        pattern++;
    }
    return !*p;
}

enum MHD_Result route(struct request *q)
{
    bool known = false;

    if (is_doh(q))
        return serve_doh(q);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        while (q->n_arg)
            free(q->arg[--q->n_arg]);
        if (!matches(q, table[i].path))
            continue;
        known = true;
        if (!strcmp(q->method, table[i].method))
            return table[i].run(q);
    }
    return known ? answer_error(q, 405, "Method not allowed") : answer_error(q, 404, "Resource not found");
}
