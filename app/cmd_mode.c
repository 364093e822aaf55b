/*
 * cmd_mode.c - `mode`, `groups`, `use`: look at and turn the switches of a running shunt
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/app.h"

static int print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
    return EXIT_DONE;
}

static int show_mode(const struct options *o)
{
    int status;
    json_t *j = api(o, "GET", "/configs", NULL, &status);
    const char *mode = json_string_value(json_object_get(j, "mode"));
    int r = EXIT_DONE;

    if (status != 200 || !mode)
        r = api_failed(status, j);
    else if (o->json)
        print_json(json_pack("{s:s}", "mode", mode));
    else
        puts(mode);
    json_decref(j);
    return r;
}

int cmd_mode(const struct options *o)
{
    int status, r = EXIT_DONE;
    json_t *j;

    if (!o->argc)
        return show_mode(o);
    if (strcasecmp(o->argv[0], "rule") != 0 && strcasecmp(o->argv[0], "global") != 0 && strcasecmp(o->argv[0], "direct") != 0) {
        fprintf(stderr, "shunt: a mode is rule, global or direct\n");
        return EXIT_USAGE;
    }
    j = api(o, "PATCH", "/configs", json_pack("{s:s}", "mode", o->argv[0]), &status);
    if (status != 204)
        r = api_failed(status, j);
    json_decref(j);
    return r;
}

/* The last test with the group's url; -1: never tested, 0: it failed. */
static long long last_delay(json_t *proxy, const char *url)
{
    json_t *list = url && *url ? json_object_get(json_object_get(json_object_get(proxy, "extra"), url), "history") : json_object_get(proxy, "history");
    size_t n = json_array_size(list);

    return n ? json_integer_value(json_object_get(json_array_get(list, n - 1), "delay")) : -1;
}

static void print_member(json_t *proxies, const char *name, const char *url, bool chosen)
{
    long long ms = last_delay(json_object_get(proxies, name), url);

    printf("    %s ", chosen ? "*" : " ");
    print_cell(name, 40);
    if (ms > 0)
        printf(" %6lld ms", ms);
    else if (!ms)
        printf("  no answer");
    putchar('\n');
}

static void print_group(json_t *proxies, json_t *g)
{
    const char *now = json_string_value(json_object_get(g, "now")), *url = json_string_value(json_object_get(g, "testUrl"));
    json_t *m;
    size_t i;

    print_cell(json_string_value(json_object_get(g, "name")), 24);
    printf("  %-10s -> %s\n", json_string_value(json_object_get(g, "type")), now && *now ? now : "-");
    json_array_foreach(json_object_get(g, "all"), i, m)
        print_member(proxies, json_string_value(m), url, now && !strcmp(now, json_string_value(m)));
}

int cmd_groups(const struct options *o)
{
    int status, r = EXIT_DONE;
    json_t *j = api(o, "GET", "/group", NULL, &status), *all = NULL, *g;
    size_t i;

    if (status == 200 && o->json)
        return print_json(j);
    if (status == 200)
        all = api(o, "GET", "/proxies", NULL, &status);
    if (status != 200)
        r = api_failed(status, all ? all : j);
    json_array_foreach(r == EXIT_DONE ? json_object_get(j, "proxies") : NULL, i, g)
        print_group(json_object_get(all, "proxies"), g);
    json_decref(all);
    json_decref(j);
    return r;
}

int cmd_use(const struct options *o)
{
    int status, r = EXIT_DONE;
    char *group, path[4096];
    json_t *j;

    if (o->argc != 2) {
        fprintf(stderr, "usage: shunt use GROUP NODE\n");
        return EXIT_USAGE;
    }
    group = path_segment(o->argv[0]);
    snprintf(path, sizeof(path), "/proxies/%s", group ? group : "");
    free(group);
    j = api(o, "PUT", path, json_pack("{s:s}", "name", o->argv[1]), &status);
    if (status == 404) {
        fprintf(stderr, "shunt: there is no group \"%s\" (shunt groups lists them)\n", o->argv[0]);
        r = EXIT_NOT_SO;
    } else if (status != 204) {
        r = api_failed(status, j);
    }
    json_decref(j);
    return r;
}
