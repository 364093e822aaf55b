/*
 * cmd_delay.c - `delay`: how long a node takes to answer, or all members of a group; by the url of the group, or of one that has the node
 *
 * A group is tested by one request, which is answered when all is over. Meanwhile, on a terminal, another asks how many have an answer.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/app.h"

#define LOOK_US 300000
#define ALL     "GLOBAL"

/* The request that takes its time. */
struct test {
    const struct options *o;
    char path[8192];
    json_t *answer;
    int status;
    atomic_bool over;
};

static void *run_test(void *arg)
{
    struct test *t = arg;

    t->answer = api_patient(t->o, "GET", t->path, NULL, &t->status);
    atomic_store(&t->over, true);
    return NULL;
}

/* "2026-01-31T23:59:59.000Z" sorts as it was. */
static void now_text(char out[32])
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
}

static bool has_answer(json_t *proxies, const char *name, const char *since)
{
    json_t *list = json_object_get(json_object_get(proxies, name), "history");
    size_t n = json_array_size(list);
    const char *at = n ? json_string_value(json_object_get(json_array_get(list, n - 1), "time")) : NULL;

    return at && strcmp(at, since) >= 0;
}

static void show_progress(struct test *t, json_t *members, const char *since)
{
    while (!atomic_load(&t->over)) {
        json_t *j, *m;
        size_t i, n = 0;
        int status;

        usleep(LOOK_US);
        j = api(t->o, "GET", "/proxies", NULL, &status);
        json_array_foreach(members, i, m)
            n += has_answer(json_object_get(j, "proxies"), json_string_value(m), since);
        fprintf(stderr, "\r%zu of %zu tested", n, json_array_size(members));
        json_decref(j);
    }
    fprintf(stderr, "\r\033[K");
}

struct row {
    const char *name;
    long long ms; /* 0: no answer */
};

static int by_delay(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (!x->ms != !y->ms)
        return x->ms ? -1 : 1;
    return (x->ms > y->ms) - (x->ms < y->ms);
}

static void print_rows(json_t *members, json_t *answer)
{
    size_t n = json_array_size(members), i;
    struct row *rows = calloc(n + 1, sizeof(*rows));
    json_t *m;

    json_array_foreach(rows ? members : NULL, i, m)
        rows[i] = (struct row){ json_string_value(m), json_integer_value(json_object_get(answer, json_string_value(m))) };
    if (rows)
        qsort(rows, n, sizeof(*rows), by_delay);
    for (i = 0; rows && i < n; i++) {
        print_cell(rows[i].name, 40);
        if (rows[i].ms)
            printf(" %6lld ms\n", rows[i].ms);
        else
            printf("  no answer\n");
    }
    free(rows);
}

static int test_group(struct test *t, json_t *members)
{
    char since[32];
    pthread_t thread;
    int r = EXIT_DONE;

    now_text(since);
    if (isatty(2) && !t->o->json && pthread_create(&thread, NULL, run_test, t) == 0) {
        show_progress(t, members, since);
        pthread_join(thread, NULL);
    } else {
        run_test(t);
    }
    if (t->status != 200 && t->status != 504)
        return api_failed(t->status, t->answer);
    if (t->status == 504) {
        json_decref(t->answer);
        t->answer = NULL;
        r = EXIT_NOT_SO;
    }
    if (!t->o->json) {
        print_rows(members, t->answer);
        return r;
    }
    if (t->answer)
        json_dumpf(t->answer, stdout, JSON_COMPACT);
    puts(t->answer ? "" : "{}");
    return r;
}

/* The url of the first group that has the node and a url; else the usual one is taken. */
static void add_url(struct test *t, const char *name)
{
    int status;
    json_t *j = api(t->o, "GET", "/group", NULL, &status), *g, *m;
    size_t i, k, len = strlen(t->path);
    const char *url = NULL;
    char *coded;

    json_array_foreach(json_object_get(j, "proxies"), i, g)
        json_array_foreach(json_object_get(g, "all"), k, m)
            if (!(url && *url) && !strcmp(json_string_value(m), name))
                url = json_string_value(json_object_get(g, "testUrl"));
    coded = url && *url ? path_segment(url) : NULL;
    if (coded && len + strlen(coded) + 6 < sizeof(t->path))
        snprintf(t->path + len, sizeof(t->path) - len, "&url=%s", coded);
    free(coded);
    json_decref(j);
}

static int test_node(struct test *t, const char *name)
{
    long long ms;

    add_url(t, name);
    run_test(t);
    if (t->status != 200)
        return api_failed(t->status, t->answer);
    ms = json_integer_value(json_object_get(t->answer, "delay"));
    if (t->o->json)
        printf("{\"delay\":%lld}\n", ms);
    else
        printf("%s: %lld ms\n", name, ms);
    return EXIT_DONE;
}

int cmd_delay(const struct options *o)
{
    const char *name = o->argc ? o->argv[0] : ALL;
    struct test t = { .o = o };
    char *segment, path[4352];
    json_t *j, *members;
    int status, r;

    segment = path_segment(name);
    snprintf(path, sizeof(path), "/proxies/%s", segment ? segment : "");
    j = api(o, "GET", path, NULL, &status);
    members = json_object_get(j, "all");
    snprintf(t.path, sizeof(t.path), "/%s/%s/delay?timeout=5000", members ? "group" : "proxies", segment ? segment : "");
    free(segment);
    if (status == 404) {
        fprintf(stderr, "shunt: there is no group or node \"%s\" (shunt groups lists them)\n", name);
        r = EXIT_NOT_SO;
    } else if (status != 200) {
        r = api_failed(status, j);
    } else {
        r = members ? test_group(&t, members) : test_node(&t, name);
    }
    json_decref(t.answer);
    json_decref(j);
    return r;
}
