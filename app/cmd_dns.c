/*
 * cmd_dns.c - `dns`: what a program on this machine is told about a name, and by whom; and forgetting it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"

static const char *str(json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

static const char *rcode(int status)
{
    static const char *const words[] = {
        "", "the query was malformed", "no server could tell", "there is no such name", "the server cannot do that", "the server refused"
    };

    return status > 0 && status < 6 ? words[status] : "the server said something unknown";
}

/* "by the name server tls://9.9.9.9 in 23 ms" */
static void print_who(json_t *answered)
{
    static const struct {
        const char *by, *words;
    } all[] = { { "self", "by shunt itself" },
                { "hosts", "by hosts" },
                { "fake-ip", "with a fake address" },
                { "cache", "from the cache" },
                { "old", "from the cache, after its time: no name server answered" } };
    const char *by = str(answered, "by");

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!strcmp(all[i].by, by)) {
            printf("answered %s\n", all[i].words);
            return;
        }
    printf("answered by %s in %lld ms\n", *str(answered, "server") ? str(answered, "server") : "a name server",
           (long long)json_integer_value(json_object_get(answered, "ms")));
}

static int print_answer(json_t *j)
{
    json_t *list = json_object_get(j, "Answer"), *r;
    int status = (int)json_integer_value(json_object_get(j, "Status"));
    size_t i;

    json_array_foreach(list, i, r)
    {
        char type[16];

        print_cell(str(r, "name"), 40);
        snprintf(type, sizeof(type), "%s", str(r, "typeName"));
        printf("  %6lld  %-6s %s\n", (long long)json_integer_value(json_object_get(r, "TTL")), type, str(r, "data"));
    }
    if (!json_array_size(list))
        printf("%s\n", status ? rcode(status) : "there is no record of that type");
    print_who(json_object_get(j, "answered"));
    return json_array_size(list) ? EXIT_DONE : EXIT_NOT_SO;
}

static int ask(const struct options *o)
{
    const char *type = o->argc > 1 ? o->argv[1] : "A";
    char *name = path_segment(o->argv[0]), *t = path_segment(type), *path = NULL;
    int status = 0, r = EXIT_NOT_RUNNING;
    json_t *j;

    if (!name || !t || asprintf(&path, "/dns/query?name=%s&type=%s&as=client", name, t) < 0) {
        free(name);
        free(t);
        return EXIT_NOT_SO;
    }
    j = api(o, "GET", path, NULL, &status);
    if (status != 200) {
        r = api_failed(status, j);
    } else if (o->json) {
        json_dumpf(j, stdout, JSON_COMPACT);
        putchar('\n');
        r = json_array_size(json_object_get(j, "Answer")) ? EXIT_DONE : EXIT_NOT_SO;
    } else {
        r = print_answer(j);
    }
    json_decref(j);
    free(name);
    free(t);
    free(path);
    return r;
}

static int flush(const struct options *o)
{
    bool fake = o->argc > 1;
    int status, r = EXIT_DONE;
    json_t *j;

    if (fake && strcmp(o->argv[1], "fakeip") != 0) {
        fprintf(stderr, "shunt: `dns flush` forgets real answers, `dns flush fakeip` the names of fake addresses\n");
        return EXIT_USAGE;
    }
    j = api(o, "POST", fake ? "/cache/fakeip/flush" : "/cache/dns/flush", NULL, &status);
    if (status != 204)
        r = api_failed(status, j);
    json_decref(j);
    return r;
}

int cmd_dns(const struct options *o)
{
    if (!o->argc) {
        fprintf(stderr, "shunt: which name?\nusage: shunt dns NAME [TYPE] | flush [fakeip]\n");
        return EXIT_USAGE;
    }
    return strcmp(o->argv[0], "flush") != 0 ? ask(o) : flush(o);
}
