/*
 * provider_swap.c - what new content of rule providers costs, and how long the loop is kept from its traffic
 *
 *   build/release/tests/bench_provider_swap          data: ../shared/data/rulesets, or $SHUNT_DATA/rulesets
 *
 *   build   files to rules, by a thread of the pool: policy_again(), policy_build()
 *   swap    what the loop does then: hit counts taken over, the pointer, the old policy let go
 *   late    by how much a timer of 1 ms comes too late while all of that goes on: the longest of each round
 *   idle    the same for as long while nothing goes on: what the machine does to us
 *
 * Every rule set at hand is a `file` provider. The first figure is the median of all rounds, the second the worst.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/content.h"
#include "engine/private.h"
#include "tests/unit/data.h"

#define ROUNDS 25

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* A profile of all rule sets in the manifest; its columns: file, repository, branch, path, licence, behaviour, format, entries ... */
static size_t write_profile(char *out, size_t size, unsigned *sets)
{
    size_t len, at;
    char *list = data_read("rulesets/MANIFEST.tsv", &len), *next = list, *line;

    if (!list)
        return 0;
    list[len] = 0;
    at = (size_t)snprintf(out, size, "rule-providers:\n");
    while ((line = strsep(&next, "\n")) && at < size) {
        char *file = strsep(&line, "\t"), *column[7] = { 0 };

        for (int i = 1; line && i < 7; i++)
            column[i] = strsep(&line, "\t");
        if (!column[6] || (strcmp(column[5], "domain") && strcmp(column[5], "ipcidr") && strcmp(column[5], "classical")))
            continue;
        at += (size_t)snprintf(out + at, size - at, "  s%u: {type: file, path: '%s', behavior: %s, format: %s}\n", (*sets)++, file,
                               column[5], column[6]);
    }
    free(list);
    at += (size_t)snprintf(out + at, size - at, "rules:\n");
    for (unsigned i = 0; i < *sets && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "  - RULE-SET,s%u,DIRECT\n", i);
    return at < size ? at : 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void show(const char *what, double *ms)
{
    qsort(ms, ROUNDS, sizeof(*ms), by_size);
    printf("%-7s %8.3f ms   worst %8.3f ms\n", what, ms[ROUNDS / 2], ms[ROUNDS - 1]);
}

struct building {
    struct work work;
    struct policy *p;
    const struct out_env *env;
    struct diag d;
    double ms;
    bool good, over;
};

static void build(struct work *w)
{
    struct building *b = container_of(w, struct building, work);
    double start = now_ms();

    b->good = policy_build(b->p, b->env, NULL, &b->d);
    b->ms = now_ms() - start;
}

static void on_built(struct work *w)
{
    container_of(w, struct building, work)->over = true;
}

static void on_tick(struct timer *t)
{
}

/* Turns the loop with a timer of 1 ms, until *over or for some ms. The latest that it came. */
static double turn(struct loop *l, const bool *over, double ms)
{
    struct timer tick = { .cb = on_tick };
    double start = now_ms(), worst = 0;

    for (double at = start; over ? !*over : at < start + ms;) {
        double next;

        timer_set(l, &tick, 1);
        loop_turn(l, 1);
        next = now_ms();
        worst = next - at - 1 > worst ? next - at - 1 : worst;
        at = next;
    }
    timer_cancel(&tick);
    return worst;
}

static struct figures {
    double build[ROUNDS], swap[ROUNDS], late[ROUNDS], idle[ROUNDS];
} got;

static bool one_round(struct engine *e, const struct out_env *env, int i)
{
    struct building b = { .work = { build, on_built }, .env = env };
    double start;

    diag_init(&b.d, "all-sets.yaml", NULL, 0, false);
    if (!(b.p = policy_again(e->pol)) || work_start(e->loop, &b.work) < 0)
        return false;
    got.late[i] = turn(e->loop, &b.over, 0);
    if (!b.good)
        return false;
    got.build[i] = b.ms;
    start = now_ms();
    eng_adopt_rules(e, b.p, &b.d);
    got.swap[i] = now_ms() - start;
    start = turn(e->loop, NULL, 20);
    got.late[i] = start > got.late[i] ? start : got.late[i];
    got.idle[i] = turn(e->loop, NULL, b.ms);
    diag_fini(&b.d);
    return true;
}

int main(void)
{
    static char text[65536];
    char dir[512];
    unsigned sets = 0;
    uint64_t entries = 0;
    struct cfg_input in = { "all-sets.yaml", text, write_profile(text, sizeof(text), &sets) };
    struct out_env env = { .state_dir = dir };
    struct engine *e = calloc(1, sizeof(*e));

    if (!in.len || !e || !(e->loop = loop_new())) {
        fprintf(stderr, "no rule sets in %s/rulesets\n", data_dir());
        return 77;
    }
    snprintf(dir, sizeof(dir), "%s/rulesets", data_dir());
    diag_init(&e->diag, in.name, NULL, 0, false);
    if (!(e->pol = policy_load(&in, NULL, &env, &e->diag)))
        return 1;
    e->pol->loop = e->loop;
    for (uint32_t i = 0; i < e->pol->specs->n_rules; i++)
        entries += e->pol->specs->sizes[i];
    for (int i = 0; i < ROUNDS; i++)
        if (!one_round(e, &env, i))
            return 1;
    printf("%u rule sets, %llu entries\n", sets, (unsigned long long)entries);
    show("build", got.build);
    show("swap", got.swap);
    show("late", got.late);
    show("idle", got.idle);
    policy_put(e->pol);
    loop_free(e->loop);
    diag_fini(&e->diag);
    free(e);
    return 0;
}
