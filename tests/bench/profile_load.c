/*
 * profile_load.c - what loading a profile costs beside a bare scan of its YAML
 *
 *   build/release/tests/bench_profile_load FILE...          without FILE: the largest of ../shared/data/profiles (or $SHUNT_DATA/profiles)
 *
 *   scan    libyaml's events of the file, thrown away: the least that anybody pays who uses it
 *   read    profile_read(): tree, tables, struct profile
 *   judge   policy_judge(): the same, and its outbounds and rules
 *
 * The best of many rounds counts (the machine may be busy). Memory is what malloc has handed out while the result lives, the file itself not counted.
 */
#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <yaml.h>

#include "engine/engine.h"

#define ROUNDS 15

struct cost {
    double ms;
    size_t bytes;
};

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static char *slurp(const char *name, size_t *len)
{
    FILE *f = fopen(name, "rb");
    char *bytes = NULL;
    long size;

    if (f && fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) > 0 && (bytes = malloc((size_t)size))) {
        rewind(f);
        *len = fread(bytes, 1, (size_t)size, f);
    }
    if (f)
        fclose(f);
    return bytes;
}

static void scan(const char *bytes, size_t len)
{
    yaml_parser_t p;
    yaml_event_t e;
    bool more = true;

    yaml_parser_initialize(&p);
    yaml_parser_set_input_string(&p, (const unsigned char *)bytes, len);
    while (more && yaml_parser_parse(&p, &e)) {
        more = e.type != YAML_STREAM_END_EVENT && e.type != YAML_DOCUMENT_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&p);
}

static struct cost best(struct cost a, struct cost b)
{
    return (struct cost){ a.ms && a.ms < b.ms ? a.ms : b.ms, a.bytes > b.bytes ? a.bytes : b.bytes };
}

static struct cost time_scan(const struct cfg_input *in)
{
    double start = now_ms();

    scan(in->bytes, in->len);
    return (struct cost){ now_ms() - start, 0 };
}

static struct cost time_read(const struct cfg_input *in)
{
    size_t before = in_use();
    struct diag d;
    struct profile *p;
    struct cost c;
    double start;

    diag_init(&d, in->name, NULL, 0, false);
    start = now_ms();
    p = profile_read(in, NULL, &d);
    c = (struct cost){ now_ms() - start, in_use() - before };
    profile_free(p);
    diag_fini(&d);
    return c;
}

static struct cost time_judge(const struct cfg_input *in)
{
    size_t before = in_use();
    struct diag d;
    struct policy *p;
    struct cost c;
    double start;

    diag_init(&d, in->name, NULL, 0, false);
    start = now_ms();
    p = policy_judge(in, NULL, NULL, &d);
    c = (struct cost){ now_ms() - start, in_use() - before };
    policy_put(p);
    diag_fini(&d);
    return c;
}

static int measure(const char *name)
{
    struct cfg_input in = { .name = name };
    struct cost s = { 0 }, r = { 0 }, j = { 0 };

    if (!(in.bytes = slurp(name, &in.len))) {
        perror(name);
        return 1;
    }
    for (int i = 0; i < ROUNDS; i++) {
        s = best(s, time_scan(&in));
        r = best(r, time_read(&in));
        j = best(j, time_judge(&in));
    }
    printf("%s: %zu bytes\n", name, in.len);
    printf("  scan   %7.2f ms\n", s.ms);
    printf("  read   %7.2f ms  %5.2f x scan (at most 3)  %8zu bytes  %5.2f x file (at most 10)\n", r.ms, r.ms / s.ms, r.bytes, (double)r.bytes / (double)in.len);
    printf("  judge  %7.2f ms  %5.2f x scan              %8zu bytes  %5.2f x file\n", j.ms, j.ms / s.ms, j.bytes, (double)j.bytes / (double)in.len);
    free((char *)in.bytes);
    return 0;
}

/* The largest file in a folder; static memory. */
static const char *largest(const char *dir)
{
    static char found[4096];
    DIR *d = opendir(dir);
    struct dirent *e;
    size_t most = 0;

    while (d && (e = readdir(d))) {
        char path[sizeof(found)];
        size_t len = 0;

        if (!strstr(e->d_name, ".y") || snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= (int)sizeof(path))
            continue;
        free(slurp(path, &len));
        if (len > most) {
            most = len;
            memcpy(found, path, sizeof(found));
        }
    }
    if (d)
        closedir(d);
    return most ? found : NULL;
}

int main(int argc, char **argv)
{
    const char *data = getenv("SHUNT_DATA"), *name;
    char dir[4096];
    int r = 0;

    log_threshold = LOG_SILENT;
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* what is handed out is counted, not what is mapped */
    for (int i = 1; i < argc; i++)
        r |= measure(argv[i]);
    if (argc > 1)
        return r;
    snprintf(dir, sizeof(dir), "%s/profiles", data ? data : "../shared/data");
    if ((name = largest(dir)))
        return measure(name);
    fprintf(stderr, "no profiles in %s: name a file\n", dir);
    return 77;
}
