/*
 * cmd_reload.c - `reload`: the running shunt reads its profile and local file again; waits for the verdict
 */
#include <stdio.h>
#include <string.h>

#include "app/app.h"

static void print_errors(json_t *answer)
{
    json_t *e;
    size_t i;

    json_array_foreach(json_object_get(answer, "errors"), i, e) {
        const char *file = json_string_value(json_object_get(e, "file"));

        fprintf(stderr, "%s%sline %lld, column %lld: %s\n", file ? file : "", file ? ": " : "", json_integer_value(json_object_get(e, "line")),
                json_integer_value(json_object_get(e, "column")), json_string_value(json_object_get(e, "message")));
    }
}

static int refused(const struct options *o, json_t *answer)
{
    const char *message = json_string_value(json_object_get(answer, "message"));

    if (o->json) {
        json_object_set_new(answer, "ok", json_false());
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
        return EXIT_NOT_SO;
    }
    print_errors(answer);
    if (json_object_get(answer, "errors"))
        message = NULL; /* the first of them */
    fprintf(stderr, "shunt: %s%sthe old profile stays in use\n", message ? message : "", message ? "; " : "");
    return EXIT_NOT_SO;
}

int cmd_reload(const struct options *o)
{
    int status, r = EXIT_DONE;
    json_t *j;

    j = api_patient(o, "PUT", "/configs", json_object(), &status);
    if (status == 400)
        r = refused(o, j);
    else if (status != 204)
        r = api_failed(status, j);
    else
        puts(o->json ? "{\"ok\":true}" : "the profile is in use");
    json_decref(j);
    return r;
}
