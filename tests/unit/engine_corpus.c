/*
 * engine_corpus.c - real profiles by other authors: each is judged as its manifest says, or we are more lenient on purpose, for the reason given here
 *
 * The profiles are not ours and not in the repository: $SHUNT_DATA, or ../shared/data; without them the test is skipped. Besides the verdict: no message without a
 * place in the file, and nothing lost of what was counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"

/* Files that the reference refuses and we load: what would be lost is an entry, not the profile. */
static const struct { const char *file, *why; } lenient[] = {
    { "006-", "three nodes have a cipher that does not exist: they are skipped, 37 others work" },
    { "010-", "all its proxies are gone and so its groups are empty: they stay visible and use their fallback" },
    { "014-", "a provider's path lies outside the state directory; it and other placeholders of a manual are skipped" },
    { "015-", "as 014" },
    { "019-", "as 014" },
    { "020-", "as 014" },
    { "036-", "a node of a type of another program (tor) is skipped; its rule rejects" },
    { "052-", "groups without members: they stay visible and use their fallback" },
    { "055-", "as 052" },
    { "057-", "a group of type relay is a chain in list order" },
    { "064-", "groups use providers that do not exist: these are skipped" },
    { "070-", "groups name proxies that do not exist: these are skipped" },
    { "073-", "one line the reference's YAML reader does not take and libyaml does: the author meant what libyaml reads" },
    { "076-", "as 052" },
    { "077-", "as 052" },
};

static const char *folder(char buf[4096])
{
    const char *data = getenv("SHUNT_DATA");

    snprintf(buf, 4096, "%s/profiles", data ? data : "../shared/data");
    return buf;
}

static char *slurp(const char *name, size_t *len)
{
    FILE *f = fopen(name, "rb");
    char *bytes;

    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(*len + 1);
    *len = fread(bytes, 1, *len, f);
    bytes[*len] = 0;
    fclose(f);
    return bytes;
}

static uint32_t count_lines(const char *bytes, size_t len)
{
    uint32_t n = 1;

    for (size_t i = 0; i < len; i++)
        n += bytes[i] == '\n';
    return n;
}

static const char *reason(const char *file)
{
    for (size_t i = 0; i < sizeof(lenient) / sizeof(lenient[0]); i++)
        if (!strncmp(file, lenient[i].file, strlen(lenient[i].file)))
            return lenient[i].why;
    return NULL;
}

/* Complaints about one file; 0 = as it should be. */
static int judge(const char *file, bool accepted)
{
    char dir[4096], path[8192];
    struct cfg_input in = { .name = file };
    struct policy *p;
    uint32_t lines;
    struct diag d;
    int bad = 0;

    snprintf(path, sizeof(path), "%s/%s", folder(dir), file);
    if (!(in.bytes = slurp(path, &in.len))) {
        print_message("%s: cannot be read\n", path);
        return 1;
    }
    lines = count_lines(in.bytes, in.len);
    diag_init(&d, file, NULL, 0, false);
    p = policy_judge(&in, NULL, NULL, &d);
    for (size_t i = 0; i < d.n; i++)
        if (!d.items[i].line || d.items[i].line > lines || !d.items[i].column) {
            print_message("%s: a message without a place: %s: %s\n", file, d.items[i].path, d.items[i].message);
            bad++;
        }
    if (accepted || reason(file)) {
        for (size_t i = 0; i < d.n; i++)
            if (d.items[i].level == DIAG_ERROR && ++bad)
                print_message("%s:%u:%u: %s\n", file, d.items[i].line, d.items[i].column, d.items[i].message);
    } else if (!d.n_errors) {
        print_message("%s: the reference refuses it, we do not, and nobody said why\n", file);
        bad++;
    }
    if (accepted && reason(file)) {
        print_message("%s: is accepted by the reference: it needs no excuse\n", file);
        bad++;
    }
    policy_put(p);
    diag_fini(&d);
    free((char *)in.bytes);
    return bad;
}

static void every_profile_is_judged_as_its_manifest_says(void **state)
{
    char dir[4096], path[8192], *text, *save;
    int bad = 0, n = 0;
    size_t len;

    log_threshold = LOG_SILENT;
    snprintf(path, sizeof(path), "%s/MANIFEST.tsv", folder(dir));
    if (!(text = slurp(path, &len)))
        skip();
    strtok_r(text, "\n", &save);
    for (char *row; (row = strtok_r(NULL, "\n", &save)); n++) {
        char *verdict = strrchr(row, '\t') + 1;

        row[strcspn(row, "\t")] = 0;
        bad += judge(row, !strncmp(verdict, "accept", 6) || !strncmp(verdict, "provider payload: ok", 20));
    }
    free(text);
    print_message("%d profiles, %zu of them taken more leniently\n", n, sizeof(lenient) / sizeof(lenient[0]));
    assert_true(n > 70);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_profile_is_judged_as_its_manifest_says) };
    char dir[4096], path[8192];
    FILE *there;

    snprintf(path, sizeof(path), "%s/MANIFEST.tsv", folder(dir));
    if (!(there = fopen(path, "r")))
        return 77;
    fclose(there);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
