/*
 * cmd_explain.c - what would happen to a flow, and why
 *
 * With -f the profile is judged here and nothing is looked up but its hosts (an address may be given: ip=); without -f the running shunt is asked. Batch
 * lines:  tcp|udp HOST-OR-IP PORT [src=IP[:PORT]] [process=NAME] [path=PATH] [uid=N] [in=TYPE] [ip=IP]
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/app.h"
#include "controller/controller.h"
#include "dns/dns.h"
#include "engine/engine.h"

/* One question. */
struct ask {
    char host[HOST_MAX + 1]; /* "" = an address was given */
    struct endpoint at, src;
    struct addr answer;      /* ip= */
    uint8_t net;
};

static bool set_target(struct ask *a, const char *host)
{
    if (addr_parse(host, &a->at.ip) == 0)
        return true;
    return host_normalise(host, strlen(host), a->host) == 0;
}

/* host[:port], ip[:port], [v6]:port, URL */
static bool parse_target(struct ask *a, const char *s)
{
    const char *scheme = strstr(s, "://"), *rest = scheme ? scheme + 3 : s, *user;
    char part[HOST_MAX + 16], host[HOST_MAX + 1];
    uint16_t port = 0;

    if (scheme && (user = strchr(rest, '@')) && user < rest + strcspn(rest, "/"))
        rest = user + 1;
    snprintf(part, sizeof(part), "%.*s", (int)strcspn(rest, scheme ? "/?#" : ""), rest);
    if (hostport_split(part, host, &port) < 0)
        return false;
    a->at.port = port ? port : scheme && !strncasecmp(s, "http:", 5) ? 80 : 443;
    return set_target(a, host);
}

static bool parse_src(struct ask *a, const char *s)
{
    return endpoint_parse(s, &a->src) == 0 || addr_parse(s, &a->src.ip) == 0;
}

/* A line of --batch; NULL, or what is wrong. */
static const char *parse_line(struct ask *a, char *line)
{
    char *save, *net = strtok_r(line, " \t\r\n", &save), *host = strtok_r(NULL, " \t\r\n", &save), *port = strtok_r(NULL, " \t\r\n", &save), *end;
    unsigned long p;

    memset(a, 0, sizeof(*a));
    if (!net || !host || !port)
        return "expected: tcp|udp HOST PORT [key=value ...]";
    a->net = !strcmp(net, "tcp") ? FLOW_TCP : !strcmp(net, "udp") ? FLOW_UDP : 0;
    if (!a->net)
        return "the network is tcp or udp";
    p = strtoul(port, &end, 10);
    if (*end || !p || p > 65535)
        return "the port is a number from 1 to 65535";
    a->at.port = (uint16_t)p;
    if (*host == '[' && strlen(host) > 2 && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = 0;
        host++;
    }
    if (!set_target(a, host))
        return "neither a host nor an address";
    for (char *w; (w = strtok_r(NULL, " \t\r\n", &save));) {
        if (!strncmp(w, "src=", 4) && !parse_src(a, w + 4))
            return "src= takes IP or IP:PORT";
        if (!strncmp(w, "ip=", 3) && addr_parse(w + 3, &a->answer) < 0)
            return "ip= takes an address";
        if (!strchr(w, '='))
            return "expected key=value";
    }
    return NULL;
}

/* ---- answers ---- */

static json_t *explain_here(struct policy *p, struct dns *dns, const struct ask *a)
{
    struct explain x = { .mode = p->profile->mode };
    struct resolver *res = dns ? dns_resolver(dns) : NULL;

    x.meta = (struct flow_meta){ .net = a->net, .via = FLOW_VIA_TUN, .src = a->src, .dst.at = a->at };
    if (*a->host) {
        x.meta.dst.host = a->host;
        if (res)
            res->known(res, a->host, &x.meta.dst.at.ip);
    }
    if (addr_is_set(&a->answer))
        x.answer[x.n_answer++] = a->answer;
    policy_explain(p, &x);
    return json_explain(&x);
}

static json_t *explain_there(const struct options *o, const struct ask *a)
{
    char path[1200], ip[ADDR_STRLEN] = "", ans[ADDR_STRLEN] = "", src[ENDPOINT_STRLEN] = "";
    char *host = path_segment(a->host);
    int status;
    json_t *j;

    if (addr_is_set(&a->at.ip))
        addr_str(&a->at.ip, ip);
    if (addr_is_set(&a->answer))
        addr_str(&a->answer, ans);
    if (addr_is_set(&a->src.ip))
        endpoint_str(&a->src, src);
    snprintf(path, sizeof(path), "/shunt/explain?network=%s&host=%s&ip=%s&port=%u&answer=%s&src=%s%s", a->net == FLOW_UDP ? "udp" : "tcp", host ? host : "", ip,
             a->at.port, ans, src, o->batch ? "&batch=1" : "");
    free(host);
    j = api(o, "GET", path, NULL, &status);
    if (status == 200)
        return j;
    exit(api_failed(status, j));
}

static void print_answer(json_t *j)
{
    json_t *rule = json_object_get(j, "rule"), *v;
    const char *host = json_string_value(json_object_get(j, "host")), *ip = json_string_value(json_object_get(j, "ip")),
               *note = json_string_value(json_object_get(j, "note"));
    size_t i;

    printf("%s %s:%lld\n", json_string_value(json_object_get(j, "network")), host ? host : ip, json_integer_value(json_object_get(j, "port")));
    if (json_is_object(rule))
        printf("  rule     #%lld, line %lld: %s%s%s -> %s\n", json_integer_value(json_object_get(rule, "index")), json_integer_value(json_object_get(rule, "line")),
               json_string_value(json_object_get(rule, "type")), *json_string_value(json_object_get(rule, "payload")) ? "," : "",
               json_string_value(json_object_get(rule, "payload")), json_string_value(json_object_get(rule, "target")));
    else
        printf("  rule     none (mode %s)\n", json_string_value(json_object_get(j, "mode")));
    if (json_array_size(json_object_get(j, "needed"))) {
        printf("  needed   the address of the name:");
        json_array_foreach(json_object_get(j, "resolved"), i, v)
            printf(" %s", json_string_value(v));
        printf("%s\n", json_array_size(json_object_get(j, "resolved")) ? "" : " it does not resolve, so address rules are false");
    }
    printf("  path     ");
    json_array_foreach(json_object_get(j, "chain"), i, v)
        printf("%s%s", i ? " > " : "", json_string_value(v));
    printf("  (%s)\n", json_string_value(json_object_get(j, "action")));
    if (note)
        printf("  note     %s\n", note);
}

static bool is_reject(json_t *j)
{
    return !strncmp(json_string_value(json_object_get(j, "action")), "reject", 6);
}

static void print_line(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
}

static int batch(const struct options *o, struct policy *p, struct dns *dns)
{
    char line[4096];

    while (fgets(line, sizeof(line), stdin)) {
        struct ask a;
        const char *wrong;
        json_t *j;

        if (!line[strspn(line, " \t\r\n")])
            continue;
        wrong = parse_line(&a, line);
        j = wrong ? json_pack("{s:s}", "error", wrong) : p ? explain_here(p, dns, &a) : explain_there(o, &a);
        print_line(j);
        json_decref(j);
    }
    return EXIT_DONE;
}

/* A name that a rule wants the address of is asked of the system here: there is no running resolver to ask. */
static void look_up(struct ask *a, json_t *j)
{
    struct addrinfo *all;

    if (!json_array_size(json_object_get(j, "needed")) || addr_is_set(&a->answer) || getaddrinfo(a->host, NULL, NULL, &all))
        return;
    for (struct addrinfo *i = all; i && !addr_is_set(&a->answer); i = i->ai_next) {
        struct endpoint e;

        if (endpoint_from_sockaddr(i->ai_addr, &e) == 0)
            a->answer = e.ip;
    }
    freeaddrinfo(all);
}

static int targets(const struct options *o, struct policy *p, struct dns *dns)
{
    int r = EXIT_DONE;

    for (int i = 0; i < o->argc; i++) {
        struct ask a = { .net = o->udp ? FLOW_UDP : FLOW_TCP };
        json_t *j;

        if (!parse_target(&a, o->argv[i]) || (o->src && !parse_src(&a, o->src))) {
            fprintf(stderr, "shunt: \"%s\" is no host, address or URL\n", o->argv[i]);
            return EXIT_USAGE;
        }
        j = p ? explain_here(p, dns, &a) : explain_there(o, &a);
        if (p) {
            look_up(&a, j);
            json_decref(j);
            j = explain_here(p, dns, &a);
        }
        if (is_reject(j))
            r = EXIT_NOT_SO;
        if (o->json)
            print_line(j);
        else
            print_answer(j);
        json_decref(j);
    }
    return r;
}

int cmd_explain(const struct options *o)
{
    struct out_env env = { .state_dir = o->state_dir }; /* nobody dials */
    struct policy *p = NULL;
    struct loop *loop = NULL;
    struct dns *dns = NULL;
    struct inputs in;
    struct diag d;
    int r;

    if (!o->batch && !o->argc) {
        fprintf(stderr, "shunt: explain what? A host, an address or a URL; or --batch\n");
        return EXIT_USAGE;
    }
    if (!o->profile)
        return o->batch ? batch(o, NULL, NULL) : targets(o, NULL, NULL);
    if (!inputs_read(o, o->profile, &in))
        return EXIT_NOT_SO;
    diag_init(&d, o->profile, NULL, 0, false);
    if (!(p = policy_load(&in.profile, inputs_local(&in), &env, &d))) {
        diag_print(&d, stderr, coloured(2));
        r = EXIT_NOT_SO;
    } else {
        loop = loop_new(); /* only for the hosts of the profile: nothing is asked */
        if (loop)
            dns_new(&(struct dns_opts){ .loop = loop, .profile = p->profile }, &dns, &d);
        r = o->batch ? batch(o, p, dns) : targets(o, p, dns);
    }
    dns_free(dns);
    loop_free(loop);
    policy_put(p);
    diag_fini(&d);
    inputs_fini(&in);
    return r;
}
