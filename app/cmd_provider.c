/*
 * cmd_provider.c - `provider`: what a profile keeps elsewhere, how old it is, and fetching it anew
 *
 *   list                one line each: kind, name, where from, entries, size, age; the account of a subscription, and what went wrong last
 *   update [NAME...]    one after the other, with what comes of it; without names all that are fetched
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/app.h"
#include "core/log.h"

static const char *str(json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

static long long num(json_t *j, const char *key)
{
    return json_integer_value(json_object_get(j, key));
}

/* NULL: said why, and *r is the exit status. */
static json_t *get_list(const struct options *o, int *r)
{
    int status;
    json_t *j = api(o, "GET", "/shunt/providers", NULL, &status), *list = json_incref(json_object_get(j, "providers"));

    if (status != 200 || !list) {
        *r = api_failed(status, j);
        json_decref(list);
        list = NULL;
    }
    json_decref(j);
    return list;
}

/* ---- list ---- */

static const char *span_text(long long s, char buf[24])
{
    if (s < 120)
        snprintf(buf, 24, "%llds", s);
    else if (s < 7200)
        snprintf(buf, 24, "%lldmin", s / 60);
    else if (s < 172800)
        snprintf(buf, 24, "%lldh", s / 3600);
    else
        snprintf(buf, 24, "%lldd", s / 86400);
    return buf;
}

static const char *age_text(json_t *p, char buf[24])
{
    long long age = (long long)time(NULL) - num(p, "updated");

    if (json_is_true(json_object_get(p, "busy")))
        return "fetching";
    if (!strcmp(str(p, "from"), "inline"))
        return "-";
    return num(p, "updated") ? span_text(age < 0 ? 0 : age, buf) : "never";
}

static const char *kind_text(const char *kind)
{
    return !strcmp(kind, "proxies") ? "nodes" : kind;
}

static void print_account(json_t *account)
{
    long long used = num(account, "Upload") + num(account, "Download"), total = num(account, "Total");
    time_t expire = (time_t)num(account, "Expire");
    char a[16], b[16], date[32];
    struct tm tm;

    printf("        %s used", human_bytes((double)used, a));
    if (total)
        printf(" of %s (%lld%%)", human_bytes((double)total, b), (long long)((double)used * 100 / (double)total));
    if (expire && localtime_r(&expire, &tm) && strftime(date, sizeof(date), "%Y-%m-%d", &tm))
        printf(", %s %s", expire < time(NULL) ? "ended" : "until", date);
    putchar('\n');
}

static void print_provider(json_t *p)
{
    json_t *account = json_object_get(p, "subscriptionInfo"), *entries = json_object_get(p, "entries");
    char age[24], size[16], n[24] = "-", why[512];

    if (entries)
        snprintf(n, sizeof(n), "%lld", json_integer_value(entries));
    printf("%-6s ", kind_text(str(p, "kind")));
    print_cell(str(p, "name"), 28);
    printf(" %-6s %9s %8s  %s\n", str(p, "from"), n, num(p, "bytes") ? human_bytes((double)num(p, "bytes"), size) : "-", age_text(p, age));
    if (account)
        print_account(account);
    if (*str(p, "error"))
        printf("        %s\n", log_safe(str(p, "error"), strlen(str(p, "error")), why, sizeof(why)));
}

static int list(const struct options *o)
{
    int r = EXIT_DONE;
    json_t *all = get_list(o, &r), *p;
    size_t i;

    if (!all)
        return r;
    if (o->json) {
        json_dumpf(all, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (!json_array_size(all)) {
        printf("the profile keeps nothing elsewhere\n");
    } else {
        printf("%-6s %-28s %-6s %9s %8s  %s\n", "kind", "name", "from", "entries", "size", "age");
        json_array_foreach(all, i, p)
            print_provider(p);
    }
    json_decref(all);
    return EXIT_DONE;
}

/* ---- update ---- */

static int put(const struct options *o, json_t *p, json_t **answer)
{
    const char *kind = str(p, "kind"), *base = !strcmp(kind, "geo")     ? "/shunt/geo"
                                               : !strcmp(kind, "rules") ? "/providers/rules"
                                                                        : "/providers/proxies";
    char *name = path_segment(str(p, "name")), *path = NULL;
    int status = 0;

    *answer = NULL;
    if (name && asprintf(&path, "%s/%s", base, name) > 0)
        *answer = api_patient(o, "PUT", path, NULL, &status);
    free(path);
    free(name);
    return status;
}

static json_t *find(json_t *all, json_t *like)
{
    json_t *p;
    size_t i;

    json_array_foreach(all, i, p)
        if (!strcmp(str(p, "kind"), str(like, "kind")) && !strcmp(str(p, "name"), str(like, "name")))
            return p;
    return NULL;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* How much there is now. */
static long long bytes_of(const struct options *o, json_t *p)
{
    int ignored;
    json_t *all = get_list(o, &ignored);
    long long n = all ? num(find(all, p), "bytes") : 0;

    json_decref(all);
    return n;
}

static void print_json_outcome(json_t *p, const char *error)
{
    json_t *j = json_pack("{s:O, s:O, s:b, s:s?}", "kind", json_object_get(p, "kind"), "name", json_object_get(p, "name"), "ok", !error,
                          "error", error);

    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

/* An exit status. */
static int update_one(const struct options *o, json_t *p, size_t i, size_t n)
{
    char name[96], why[512], size[16];
    double began = now_s();
    const char *error;
    json_t *answer;
    int status;

    if (!o->json) {
        printf("[%zu/%zu] %s %s: ", i, n, kind_text(str(p, "kind")), log_safe(str(p, "name"), strlen(str(p, "name")), name, sizeof(name)));
        fflush(stdout);
    }
    if (!(status = put(o, p, &answer)))
        return EXIT_NOT_RUNNING;
    error = status == 204 ? NULL : *str(answer, "message") ? str(answer, "message") : "it was refused";
    if (o->json)
        print_json_outcome(p, error);
    else if (error)
        printf("failed: %s\n", log_safe(error, strlen(error), why, sizeof(why)));
    else
        printf("done, %s in %.1f s\n", human_bytes((double)bytes_of(o, p), size), now_s() - began);
    json_decref(answer);
    return error ? EXIT_NOT_SO : EXIT_DONE;
}

static bool is_named(const struct options *o, json_t *p)
{
    for (int i = 1; i < o->argc; i++)
        if (!strcmp(o->argv[i], str(p, "name")))
            return true;
    return o->argc == 1 && !strcmp(str(p, "from"), "http");
}

/* Those that are meant, or NULL: one of the names is nobody's. */
static json_t *meant(const struct options *o, json_t *all)
{
    json_t *some = json_array(), *p;
    size_t at;

    json_array_foreach(all, at, p)
        if (is_named(o, p))
            json_array_append(some, p);
    for (int i = 1; i < o->argc; i++) {
        bool there = false;

        json_array_foreach(all, at, p)
            there |= !strcmp(o->argv[i], str(p, "name"));
        if (there)
            continue;
        fprintf(stderr, "shunt: there is no provider \"%s\" (shunt provider list shows them)\n", o->argv[i]);
        json_decref(some);
        return NULL;
    }
    return some;
}

static int update(const struct options *o)
{
    int r = EXIT_DONE;
    json_t *all = get_list(o, &r), *some = all ? meant(o, all) : NULL, *p;
    size_t i;

    if (all && !some)
        r = EXIT_NOT_SO;
    json_array_foreach(some, i, p) {
        int one = update_one(o, p, i + 1, json_array_size(some));

        r = one ? one : r;
        if (one == EXIT_NOT_RUNNING)
            break;
    }
    json_decref(some);
    json_decref(all);
    return r;
}

int cmd_provider(const struct options *o)
{
    if (!o->argc || (o->argc == 1 && !strcmp(o->argv[0], "list")))
        return list(o);
    if (!strcmp(o->argv[0], "update"))
        return update(o);
    fprintf(stderr, "usage: shunt provider [list | update [NAME...]]\n");
    return EXIT_USAGE;
}
