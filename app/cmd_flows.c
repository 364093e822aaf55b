/*
 * cmd_flows.c - `flows` and `status`: what goes on
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/app.h"

static const char *str(json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

static long long num(json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

static void path_text(json_t *chains, char *out, size_t size)
{
    size_t at = 0;

    out[0] = 0;
    for (size_t i = json_array_size(chains); i-- && at < size;)
        at += (size_t)snprintf(out + at, size - at, "%s%s", at ? " > " : "", json_string_value(json_array_get(chains, i)));
}

static void print_flow(json_t *f)
{
    json_t *m = json_object_get(f, "metadata");
    char target[320], rule[320], path[320], up[16], down[16];
    const char *host = *str(m, "host") ? str(m, "host") : str(m, "destinationIP");

    snprintf(target, sizeof(target), "%s:%s", host, str(m, "destinationPort"));
    snprintf(rule, sizeof(rule), "%s%s%s", *str(f, "rule") ? str(f, "rule") : "-", *str(f, "rulePayload") ? "," : "", str(f, "rulePayload"));
    path_text(json_object_get(f, "chains"), path, sizeof(path));
    printf("%-4s", str(m, "network"));
    print_cell(target, 40);
    printf("  ");
    print_cell(rule, 32);
    printf("  ");
    print_cell(path, 30);
    printf(" %7s %7s %7.1fs  %s\n", human_bytes((double)num(f, "upload"), up), human_bytes((double)num(f, "download"), down),
           (double)num(f, "age_ms") / 1000, str(f, "state"));
}

static int show_flows(const struct options *o)
{
    int status, r = EXIT_DONE;
    json_t *j = api(o, "GET", o->closed ? "/shunt/flows?closed=1" : "/shunt/flows", NULL, &status), *list = json_object_get(j, "connections"), *f;
    size_t i;

    if (status != 200) {
        r = api_failed(status, j);
    } else if (o->json) {
        json_dumpf(list, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        printf("%-4s%-40s  %-32s  %-30s %7s %7s %8s\n", "net", "target", "rule", "path", "up", "down", "age");
        json_array_foreach(list, i, f)
            print_flow(f);
    }
    fflush(stdout);
    json_decref(j);
    return r;
}

int cmd_flows(const struct options *o)
{
    bool redraw = isatty(STDOUT_FILENO) && !o->json;
    int r;

    do {
        if (o->follow && redraw)
            printf("\033[H\033[2J");
        if ((r = show_flows(o)) != EXIT_DONE || !o->follow)
            return r;
        sleep(1);
    } while (!ferror(stdout));
    return EXIT_DONE;
}

static void print_device(json_t *tun)
{
    json_t *v;
    size_t i;

    if (!*str(tun, "device")) {
        printf("  device      none (tun.enable is false): nothing of the machine is carried\n");
        return;
    }
    printf("  device      %s, MTU %lld,", str(tun, "device"), num(tun, "mtu"));
    json_array_foreach(json_object_get(tun, "addresses"), i, v)
        printf(" %s", json_string_value(v));
    printf("%s\n", json_is_true(json_object_get(tun, "tso")) ? ", segmentation offload" : "");
}

static void print_dns(json_t *dns)
{
    if (!*str(dns, "listen")) {
        printf("  DNS         the system's own (dns.enable or tun.enable is false): no query is led here\n");
        return;
    }
    printf("  DNS         %s%s, ", str(dns, "listen"), json_is_true(json_object_get(dns, "redirect")) ? " (all of port 53 is led here)" : "");
    if (num(dns, "fakeip_size"))
        printf("fake-IP %lld of %lld names\n", num(dns, "fakeip_used"), num(dns, "fakeip_size"));
    else
        printf("no fake-IP\n");
}

static void print_nodes(json_t *s)
{
    json_t *list = json_object_get(s, "troubles"), *v;
    size_t i;

    json_array_foreach(list, i, v)
        printf("  %-11s %s: %s\n", i ? "" : "nodes", str(v, "name"), str(v, "message"));
    if (num(s, "unverified"))
        printf("  %-11s %lld without verification of the server's certificate (skip-cert-verify)\n", json_array_size(list) ? "" : "nodes",
               num(s, "unverified"));
}

static void print_status(json_t *s)
{
    json_t *tun = json_object_get(s, "tun"), *dns = json_object_get(s, "dns"), *totals = json_object_get(s, "totals"),
           *list = json_object_get(s, "skipped"), *v;
    char up[16], down[16];
    size_t i;

    printf("shunt %s  mode %s  up %llds  pid %lld\n", str(s, "version"), str(s, "mode"), num(s, "uptime_s"), num(s, "pid"));
    printf("  profile     %s\n", str(s, "profile"));
    print_device(tun);
    print_dns(dns);
    if (!strcmp(str(dns, "system_asks"), "yes"))
        printf("  %-11s the system's resolver asks us\n", "");
    else if (!strcmp(str(dns, "system_asks"), "no"))
        printf("  %-11s THE SYSTEM'S RESOLVER ASKS SOMEBODY ELSE: rules see addresses instead of names\n", "");
    json_array_foreach(json_object_get(s, "controller"), i, v)
        printf("  %-11s %s\n", i ? "" : "controller", json_string_value(v));
    printf("  flows       %lld live, %s up, %s down\n", num(s, "flows"), human_bytes((double)num(totals, "up"), up),
           human_bytes((double)num(totals, "down"), down));
    if (!json_is_true(json_object_get(s, "ping_direct")))
        printf("  ping        answered here: net.ipv4.ping_group_range does not admit us\n");
    print_nodes(s);
    if (json_array_size(list))
        printf("  skipped     %zu entries of the profile:\n", json_array_size(list));
    json_array_foreach(list, i, v)
        printf("    %s%sline %lld: %s\n", str(v, "file"), *str(v, "file") ? " " : "", num(v, "line"), str(v, "message"));
}

int cmd_status(const struct options *o)
{
    int status, r = EXIT_DONE;
    json_t *j = api(o, "GET", "/shunt/status", NULL, &status);

    if (status != 200) {
        r = api_failed(status, j);
    } else if (o->json) {
        json_dumpf(j, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        print_status(j);
    }
    json_decref(j);
    return r;
}
