/*
 * hostile_profiles.c - what profiles cost that somebody wrote to hurt: milliseconds to judge each, and to print all its messages
 *
 *   build/release/tests/bench_hostile_profiles
 *
 * Processor time (others may use the machine), and the best of a few rounds counts. Each must end, with messages or without, in about 50 ms where it is no large profile by itself (the size is printed beside it).
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"

#define ROUNDS 5

struct text {
    char *s;
    size_t len, cap;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
    va_list ap;

    if (t->cap - t->len < 4096) {
        t->cap = t->cap * 2 + 8192;
        if (!(t->s = realloc(t->s, t->cap)))
            abort();
    }
    va_start(ap, fmt);
    t->len += (size_t)vsnprintf(t->s + t->len, t->cap - t->len, fmt, ap);
    va_end(ap);
}

static void times(struct text *t, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        add(t, "%s", what);
}

/* ---- the profiles ---- */

static void alias_bomb(struct text *t)
{
    add(t, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 30; i++)
        add(t, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    add(t, "rules: *a29\n");
}

static void alias_under_the_cap(struct text *t)
{
    add(t, "a: &a [");
    times(t, 990, "'DOMAIN,x,y',");
    add(t, "z]\nproxies: [");
    times(t, 990, "*a,");
    add(t, "]\n");
}

static void merge_chain(struct text *t)
{
    add(t, "a0: &a0 {x: 1, y: 2}\n");
    for (int i = 1; i < 2000; i++)
        add(t, "a%d: &a%d {<<: *a%d, p%d: 1}\n", i, i, i - 1, i);
}

static void nested_flow(struct text *t)
{
    times(t, 160000, "[");
}

static void nested_maps(struct text *t)
{
    times(t, 160000, "{a: ");
}

static void nested_dashes(struct text *t)
{
    times(t, 160000, "- ");
}

static void nested_keys(struct text *t)
{
    times(t, 160000, "? ");
}

static void many_anchors(struct text *t)
{
    add(t, "x:\n");
    for (int i = 0; i < 100000; i++)
        add(t, "- &a%d 1\n", i);
    for (int i = 0; i < 100000; i++)
        add(t, "- *a%d\n", i);
}

static void many_keys(struct text *t)
{
    for (int i = 0; i < 100000; i++)
        add(t, "k%d: 1\n", i);
}

static void many_keys_in_a_proxy(struct text *t)
{
    add(t, "proxies:\n- name: a\n  type: ss\n");
    for (int i = 0; i < 100000; i++)
        add(t, "  k%d: 1\n", i);
}

static void duplicate_keys(struct text *t)
{
    times(t, 100000, "k: 1\n");
}

static void colliding_keys(struct text *t)
{
    for (int i = 0; i < 100000; i++)
        add(t, "%c%c%c%c: 1\n", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676 % 26, 'a' + i / 17576 % 26);
}

static void big_scalar_in_every_message(struct text *t)
{
    add(t, "big: &b ");
    times(t, 1 << 20, "x");
    add(t, "\nrules:\n");
    times(t, 10000, "- *b\n");
}

static void ten_thousand_messages(struct text *t)
{
    times(t, 5000, "# a line to walk over\n");
    add(t, "rules:\n");
    for (int i = 0; i < 10000; i++)
        add(t, "- NOPE,x%d,Nowhere\n", i);
}

static void ten_thousand_messages_in_one_line(struct text *t)
{
    add(t, "{rules: [");
    for (int i = 0; i < 10000; i++)
        add(t, "'NOPE,x%d,Nowhere', ", i);
    add(t, "x]}\n");
}

static void wrong_names(struct text *t)
{
    add(t, "proxies:\n");
    for (int i = 0; i < 10000; i++)
        add(t, "- {name: node number %d, type: direct}\n", i);
    add(t, "rules:\n");
    for (int i = 0; i < 10000; i++)
        add(t, "- DOMAIN,a%d.b,mode number %d\n", i, i);
}

static void deep_groups(struct text *t)
{
    add(t, "proxy-groups:\n");
    for (int i = 0; i < 10000; i++)
        add(t, "- {name: g%d, type: select, proxies: [g%d]}\n", i, i + 1);
}

static void groups_in_a_ring(struct text *t)
{
    add(t, "proxy-groups:\n");
    for (int i = 0; i < 10000; i++)
        add(t, "- {name: g%d, type: select, proxies: [g%d, g0]}\n", i, (i + 1) % 10000);
}

static void many_rules(struct text *t)
{
    add(t, "rules:\n");
    for (int i = 0; i < 100000; i++)
        add(t, "- DOMAIN-SUFFIX,d%d.example.com,DIRECT\n", i);
}

static void zeros(struct text *t)
{
    for (int i = 0; i < 1000; i++)
        add(t, "%1000s", "");
    add(t, "\x01");
}

static const struct {
    const char *name;
    void (*make)(struct text *t);
} all[] = {
    { "alias bomb", alias_bomb },
    { "980,000 values by aliases", alias_under_the_cap },
    { "chain of 2,000 merges", merge_chain },
    { "160,000 x [", nested_flow },
    { "160,000 x {a: ", nested_maps },
    { "160,000 x - ", nested_dashes },
    { "160,000 x ? ", nested_keys },
    { "100,000 anchors and aliases", many_anchors },
    { "100,000 keys at the top", many_keys },
    { "100,000 keys in a proxy", many_keys_in_a_proxy },
    { "100,000 times one key", duplicate_keys },
    { "100,000 short keys", colliding_keys },
    { "1 MB text in 10,000 messages", big_scalar_in_every_message },
    { "10,000 messages, 15,000 lines", ten_thousand_messages },
    { "10,000 messages, one line", ten_thousand_messages_in_one_line },
    { "10,000 wrong names, 10,000 right", wrong_names },
    { "chain of 10,000 groups", deep_groups },
    { "ring of 10,000 groups", groups_in_a_ring },
    { "100,000 rules", many_rules },
    { "1 MB of blanks", zeros },
};

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

struct cost {
    double judge_ms, print_ms;
    size_t messages;
};

static struct cost judge(const struct cfg_input *in, FILE *nowhere)
{
    struct cost c = { 0 };
    struct diag d;
    double start;

    diag_init(&d, in->name, NULL, 0, false);
    start = now_ms();
    policy_put(policy_judge(in, NULL, NULL, &d));
    c.judge_ms = now_ms() - start;
    start = now_ms();
    diag_print(&d, nowhere, false);
    c.print_ms = now_ms() - start;
    c.messages = d.n_errors + d.n_warnings;
    diag_fini(&d);
    return c;
}

int main(void)
{
    FILE *nowhere = fopen("/dev/null", "w");

    log_threshold = LOG_SILENT;
    printf("%-34s %10s %10s %10s %9s\n", "profile", "bytes", "judge", "print", "messages");
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && nowhere; i++) {
        struct text t = { 0 };
        struct cfg_input in = { .name = all[i].name, .foreign = true };
        struct cost best, c;

        all[i].make(&t);
        in.bytes = t.s;
        in.len = t.len;
        best = judge(&in, nowhere);
        for (int round = 1; round < ROUNDS; round++) {
            c = judge(&in, nowhere);
            best.judge_ms = c.judge_ms < best.judge_ms ? c.judge_ms : best.judge_ms;
            best.print_ms = c.print_ms < best.print_ms ? c.print_ms : best.print_ms;
        }
        printf("%-34s %10zu %7.1f ms %7.1f ms %9zu\n", all[i].name, t.len, best.judge_ms, best.print_ms, best.messages);
        free(t.s);
    }
    return 0;
}
