/*
 * cmd_explain.c - what would happen to a flow, and why
 *
 * With -f the profile is judged here and nothing is looked up but its hosts (an address may be given: ip=); without -f the running shunt is
 * asked. Batch lines:  tcp|udp HOST-OR-IP PORT [src=IP[:PORT]] [process=NAME] [path=PATH] [uid=N] [in=TYPE] [ip=IP]
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

/* One question. Words are borrowed: from the options or the line. */
struct ask {
    char host[HOST_MAX + 1]; /* "" = an address was given */
    struct endpoint at, src;
    struct addr answer; /* ip= */
    uint8_t net;
    const char *in, *process, *path; /* NULL = not said */
    long long uid;                   /* -1 = not said */
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

static bool parse_number(const char *s, long long max, long long *out)
{
    char *end;

    *out = strtoll(s, &end, 10);
    return *s >= '0' && *s <= '9' && !*end && *out <= max;
}

static bool parse_in(struct ask *a, const char *s)
{
    struct explain x;

    a->in = s;
    return explain_via(&x, s);
}

static bool parse_process(struct ask *a, const char *s)
{
    a->process = s;
    return *s;
}

static bool parse_path(struct ask *a, const char *s)
{
    a->path = s;
    return *s;
}

static bool parse_uid(struct ask *a, const char *s)
{
    return parse_number(s, UINT32_MAX, &a->uid);
}

static bool parse_ip(struct ask *a, const char *s)
{
    return addr_parse(s, &a->answer) == 0;
}

static const struct {
    const char *key;
    bool (*parse)(struct ask *, const char *);
    const char *wrong;
} facts[] = {
    { "src=", parse_src, "src= takes IP, IP:PORT or [IP]:PORT" },
    { "process=", parse_process, "process= takes the name of a program" },
    { "path=", parse_path, "path= takes the path of a program" },
    { "uid=", parse_uid, "uid= takes a number" },
    { "in=", parse_in, "in= takes a word of IN-TYPE (TUN, HTTP, SOCKS5 ...)" },
    { "ip=", parse_ip, "ip= takes an address" },
};

static const char *parse_fact(struct ask *a, const char *word)
{
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        if (!strncmp(word, facts[i].key, strlen(facts[i].key)))
            return facts[i].parse(a, word + strlen(facts[i].key)) ? NULL : facts[i].wrong;
    return "expected: src= process= path= uid= in= ip=";
}

/* A line of --batch; NULL, or what is wrong. */
static const char *parse_line(struct ask *a, char *line)
{
    char *save, *net = strtok_r(line, " \t\r\n", &save), *host = strtok_r(NULL, " \t\r\n", &save), *port = strtok_r(NULL, " \t\r\n", &save);
    const char *wrong = NULL;
    long long p;

    *a = (struct ask){ .uid = -1 };
    if (!net || !host || !port)
        return "expected: tcp|udp HOST PORT [key=value ...]";
    a->net = !strcmp(net, "tcp") ? FLOW_TCP : !strcmp(net, "udp") ? FLOW_UDP : 0;
    if (!a->net)
        return "the network is tcp or udp";
    if (!parse_number(port, 65535, &p) || !p)
        return "the port is a number from 1 to 65535";
    a->at.port = (uint16_t)p;
    if (*host == '[' && strlen(host) > 2 && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = 0;
        host++;
    }
    if (!set_target(a, host))
        return "neither a host nor an address";
    for (char *w; !wrong && (w = strtok_r(NULL, " \t\r\n", &save));)
        wrong = parse_fact(a, w);
    return wrong;
}

/* ---- answers ---- */

/* The last part of a path is the name. */
static const char *program_name(const struct ask *a)
{
    const char *path = a->process ? a->process : a->path, *slash = path ? strrchr(path, '/') : NULL;

    return slash ? slash + 1 : path;
}

static const char *program_path(const struct ask *a)
{
    return a->path ? a->path : a->process && strchr(a->process, '/') ? a->process : NULL;
}

static json_t *explain_here(struct policy *p, struct dns *dns, const struct ask *a)
{
    struct flow_proc proc = { program_name(a), program_path(a), (uint32_t)a->uid, a->uid >= 0 };
    struct resolver *res = dns ? dns_resolver(dns) : NULL;
    struct explain x = { .mode = p->profile->mode };

    x.meta = (struct flow_meta){ .net = a->net, .src = a->src, .dst.at = a->at };
    explain_via(&x, a->in ? a->in : "TUN");
    if (proc.name || proc.uid_known)
        x.proc = &proc;
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

/* "&key=value", percent-encoded; nothing for NULL. */
static void add_arg(FILE *to, const char *key, const char *value)
{
    char *s = value ? path_segment(value) : NULL;

    if (s)
        fprintf(to, "&%s=%s", key, s);
    free(s);
}

static json_t *explain_there(const struct options *o, const struct ask *a)
{
    char ip[ADDR_STRLEN], answer[ADDR_STRLEN], src[ENDPOINT_STRLEN], uid[24], *path = NULL;
    size_t len;
    FILE *to = open_memstream(&path, &len);
    int status = 0;
    json_t *j = NULL;

    if (to) {
        snprintf(uid, sizeof(uid), "%lld", a->uid);
        fprintf(to, "/shunt/explain?network=%s&port=%u", a->net == FLOW_UDP ? "udp" : "tcp", a->at.port);
        add_arg(to, "host", *a->host ? a->host : NULL);
        add_arg(to, "ip", addr_is_set(&a->at.ip) ? addr_str(&a->at.ip, ip) : NULL);
        add_arg(to, "answer", addr_is_set(&a->answer) ? addr_str(&a->answer, answer) : NULL);
        add_arg(to, "src", !addr_is_set(&a->src.ip) ? NULL : a->src.port ? endpoint_str(&a->src, src) : addr_str(&a->src.ip, src));
        add_arg(to, "in", a->in);
        add_arg(to, "process", program_name(a));
        add_arg(to, "path", program_path(a));
        add_arg(to, "uid", a->uid >= 0 ? uid : NULL);
        add_arg(to, "batch", o->batch ? "1" : NULL);
    }
    if (to && fclose(to) == 0)
        j = api(o, "GET", path, NULL, &status);
    free(path);
    if (status == 200)
        return j;
    exit(api_failed(status, j));
}

static bool needs(const json_t *j, const char *fact)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(j, "needed"), i, v) if (!strcmp(json_string_value(v), fact)) return true;
    return false;
}

static void print_answer(json_t *j)
{
    json_t *rule = json_object_get(j, "rule"), *v;
    const char *host = json_string_value(json_object_get(j, "host")), *ip = json_string_value(json_object_get(j, "ip")),
               *note = json_string_value(json_object_get(j, "note"));
    size_t i;

    printf("%s %s:%lld\n", json_string_value(json_object_get(j, "network")), host ? host : ip,
           json_integer_value(json_object_get(j, "port")));
    if (json_is_object(rule))
        printf("  rule     #%lld, line %lld: %s%s%s -> %s\n", json_integer_value(json_object_get(rule, "index")),
               json_integer_value(json_object_get(rule, "line")), json_string_value(json_object_get(rule, "type")),
               *json_string_value(json_object_get(rule, "payload")) ? "," : "", json_string_value(json_object_get(rule, "payload")),
               json_string_value(json_object_get(rule, "target")));
    else
        printf("  rule     none (mode %s)\n", json_string_value(json_object_get(j, "mode")));
    if (needs(j, "ip")) {
        printf("  needed   the address of the name:");
        json_array_foreach(json_object_get(j, "resolved"), i, v) printf(" %s", json_string_value(v));
        printf("%s\n", json_array_size(json_object_get(j, "resolved")) ? "" : " it does not resolve, so address rules are false");
    }
    if (needs(j, "process"))
        printf("  needed   the program behind the flow\n");
    printf("  path     ");
    json_array_foreach(json_object_get(j, "chain"), i, v) printf("%s%s", i ? " > " : "", json_string_value(v));
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
    char *line = NULL;
    size_t cap = 0;

    while (getline(&line, &cap, stdin) > 0) {
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
    free(line);
    return EXIT_DONE;
}

/* A name that a rule wants the address of is asked of the system here: there is no running resolver to ask. */
static void look_up(const struct policy *p, struct ask *a, const json_t *j)
{
    struct addrinfo *all;

    if (!needs(j, "ip") || addr_is_set(&a->answer) || getaddrinfo(policy_alias(p, a->host), NULL, NULL, &all))
        return;
    for (struct addrinfo *i = all; i && !addr_is_set(&a->answer); i = i->ai_next) {
        struct endpoint e;

        if (endpoint_from_sockaddr(i->ai_addr, &e) == 0)
            a->answer = e.ip;
    }
    freeaddrinfo(all);
}

/* What the options say of every target. */
static bool take_options(struct ask *a, const struct options *o)
{
    const char *wrong = NULL;

    *a = (struct ask){ .net = o->udp ? FLOW_UDP : FLOW_TCP, .process = o->process, .uid = o->uid };
    if (o->src && !parse_src(a, o->src))
        wrong = "--src takes IP, IP:PORT or [IP]:PORT";
    else if (o->in && !parse_in(a, o->in))
        wrong = "--in takes mixed or a word of IN-TYPE (TUN, HTTP, SOCKS5 ...)";
    if (wrong)
        fprintf(stderr, "shunt: %s\n", wrong);
    return !wrong;
}

static int targets(const struct options *o, struct policy *p, struct dns *dns)
{
    int r = EXIT_DONE;

    for (int i = 0; i < o->argc; i++) {
        struct ask a;
        json_t *j;

        if (!take_options(&a, o))
            return EXIT_USAGE;
        if (!parse_target(&a, o->argv[i])) {
            fprintf(stderr, "shunt: \"%s\" is no host, address or URL\n", o->argv[i]);
            return EXIT_USAGE;
        }
        j = p ? explain_here(p, dns, &a) : explain_there(o, &a);
        if (p) {
            look_up(p, &a, j);
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
    if (o->batch && o->argc) {
        fprintf(stderr, "shunt: --batch takes its flows from standard input, not \"%s\"\n", o->argv[0]);
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
            dns_new(&(struct dns_opts){ .loop = loop, .profile = p->profile, .lists = p->lists }, &dns, &d);
        r = o->batch ? batch(o, p, dns) : targets(o, p, dns);
    }
    dns_free(dns);
    loop_free(loop);
    policy_put(p);
    diag_fini(&d);
    inputs_fini(&in);
    return r;
}
