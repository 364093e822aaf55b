/*
 * cmd_check.c - judge a profile without touching anything
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "engine/engine.h"

static json_t *items(const struct diag *d, enum diag_level level)
{
    json_t *list = json_array();

    for (size_t i = 0; i < d->n; i++) {
        const struct diag_item *it = &d->items[i];

        if (it->level == level)
            json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:s, s:s}", "line", (int)it->line, "column", (int)it->column, "path", it->path, "code",
                                                  it->code, "message", it->message));
    }
    return list;
}

static void print_json(const char *name, struct diag *d, const struct profile *p)
{
    json_t *j = json_pack("{s:b, s:s, s:o, s:o, s:{s:i, s:i, s:i, s:i, s:i}}", "ok", d->n_errors == 0, "profile", name, "errors", items(d, DIAG_ERROR),
                          "warnings", items(d, DIAG_WARNING), "counts", "proxies", p ? (int)p->n_proxies : 0, "proxy-groups",
                          p ? (int)p->n_groups : 0, "proxy-providers", p ? (int)p->n_proxy_providers : 0, "rule-providers",
                          p ? (int)p->n_rule_providers : 0, "rules", p ? (int)p->n_rules : 0);

    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

int cmd_check(const struct options *o)
{
    const char *name = o->profile ? o->profile : o->argc ? o->argv[0] : DEFAULT_PROFILE;
    struct out_env env = { .state_dir = o->state_dir }; /* nobody dials */
    struct policy *p;
    struct diag d;
    char *bytes;
    size_t len;
    bool ok;

    if (!(bytes = read_file(name, &len)))
        return EXIT_NOT_SO;
    diag_init(&d, name, bytes, len, o->strict);
    p = policy_load(bytes, len, &env, &d);
    ok = d.n_errors == 0;
    diag_sort(&d);
    if (o->json) {
        print_json(name, &d, p ? p->profile : NULL);
    } else {
        diag_print(&d, stderr, coloured(2));
        if (p)
            printf("%s: good: %u proxies, %u groups, %u rules; %zu warnings\n", name, p->profile->n_proxies, p->profile->n_groups, p->profile->n_rules,
                   d.n_warnings);
        else
            printf("%s: cannot be used: %zu errors, %zu warnings\n", name, d.n_errors, d.n_warnings);
    }
    policy_put(p);
    diag_fini(&d);
    free(bytes);
    return ok ? EXIT_DONE : EXIT_NOT_SO;
}
