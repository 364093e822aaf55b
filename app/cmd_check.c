/*
 * cmd_check.c - judge a profile without touching anything
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "controller/controller.h"
#include "engine/engine.h"

static void print_json(const char *name, struct diag *d, const struct profile *p)
{
    char safe[4096];
    json_t *j =
        json_pack("{s:b, s:s, s:o, s:o, s:{s:i, s:i, s:i, s:i, s:i}}", "ok", d->n_errors == 0, "profile",
                  log_safe(name, strlen(name), safe, sizeof(safe)), "errors", json_diags(d, DIAG_ERROR), "warnings", json_diags(d, DIAG_WARNING),
                  "counts", "proxies", p ? (int)p->n_proxies : 0, "proxy-groups", p ? (int)p->n_groups : 0, "proxy-providers",
                  p ? (int)p->n_proxy_providers : 0, "rule-providers", p ? (int)p->n_rule_providers : 0, "rules", p ? (int)p->n_rules : 0);

    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

static const char *number(size_t n, const char *one, const char *many, char buf[48])
{
    snprintf(buf, 48, "%zu %s", n, n == 1 ? one : many);
    return buf;
}

static void print_human(const char *name, struct diag *d, const struct profile *p)
{
    char a[48], b[48], c[48], e[48];

    diag_print(d, stderr, coloured(2));
    if (!p || d->n_errors)
        printf("%s: cannot be used: %s, %s\n", name, number(d->n_errors, "error", "errors", a),
               number(d->n_warnings, "warning", "warnings", b));
    else
        printf("%s: good: %s, %s, %s; %s\n", name, number(p->n_proxies, "proxy", "proxies", a), number(p->n_groups, "group", "groups", b),
               number(p->n_rules, "rule", "rules", c), number(d->n_warnings, "warning", "warnings", e));
}

int cmd_check(const struct options *o)
{
    const char *name = o->profile ? o->profile : o->argc ? o->argv[0] : DEFAULT_PROFILE;
    struct out_env env = { .state_dir = o->state_dir }; /* nobody dials */
    struct policy *p;
    struct inputs in;
    struct diag d;
    bool ok;

    if (o->profile && o->argc) {
        fprintf(stderr, "shunt: one profile at a time: -f %s, or \"%s\"\n", o->profile, o->argv[0]);
        return EXIT_USAGE;
    }
    if (!inputs_read(o, name, &in))
        return EXIT_NOT_SO;
    diag_init(&d, name, NULL, 0, o->strict);
    p = policy_judge(&in.profile, inputs_local(&in), &env, &d);
    if (p)
        policy_check_dns(p, &d);
    ok = p && d.n_errors == 0;
    diag_sort(&d);
    if (o->json)
        print_json(name, &d, p ? p->profile : NULL);
    else
        print_human(name, &d, p ? p->profile : NULL);
    policy_put(p);
    diag_fini(&d);
    inputs_fini(&in);
    return ok ? EXIT_DONE : EXIT_NOT_SO;
}
