/*
 * replay.c - runs a fuzz target without libFuzzer: the corpus as it is, and what a few thousand simple changes make of it
 *
 * Files are read in name order and the changes come from a fixed seed, so a failure repeats. A corpus must not be empty: a replay of nothing
 * would prove nothing.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/fuzz/fuzz.h"

#define CHANGES_MAX 20000
#define BUDGET_S    5
#define INPUT_MAX   (1u << 20)

__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}

struct input {
    uint8_t *bytes;
    size_t len;
};

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t pick(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return below ? (uint32_t)(seed >> 32) % below : 0;
}

/* A copy of exactly len bytes on the heap, so that the sanitizer sees a read behind the end. */
static void run(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);

    if (!exact)
        abort();
    memcpy(exact, bytes, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static void run_changed(const struct input *in, uint8_t *work)
{
    size_t len = in->len;

    memcpy(work, in->bytes, len);
    for (uint32_t n = 1 + pick(4); n; n--) {
        switch (pick(4)) {
        case 0: /* a flipped bit */
            if (len)
                work[pick((uint32_t)len)] ^= (uint8_t)(1u << pick(8));
            break;
        case 1: /* another byte */
            if (len)
                work[pick((uint32_t)len)] = (uint8_t)pick(256);
            break;
        case 2: /* cut short */
            len = pick((uint32_t)len + 1);
            break;
        case 3: { /* a piece again at another place */
            uint32_t from = pick((uint32_t)len), to = pick((uint32_t)len);
            uint32_t most = (uint32_t)len - (from > to ? from : to), n_bytes = pick(most < 32 ? most : 32);

            if (len)
                memmove(work + to, work + from, n_bytes);
            break;
        }
        }
    }
    run(work, len);
}

static int not_hidden(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

static int load(const char *dir, const char *name, struct input *in)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (!(f = fopen(path, "rb")) || !(in->bytes = malloc(INPUT_MAX)))
        return -1;
    in->len = fread(in->bytes, 1, INPUT_MAX, f);
    fclose(f);
    return 0;
}

int main(int argc, char **argv)
{
    struct dirent **names;
    struct timespec start, now;
    struct input *all;
    uint8_t *work = malloc(INPUT_MAX);
    uint32_t runs = 0;
    int n;

    if (argc != 2 || !work || (n = scandir(argv[1], &names, not_hidden, alphasort)) <= 0) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER (which must hold at least one file)\n", argv[0]);
        return 2;
    }
    LLVMFuzzerInitialize(&argc, &argv);
    if (!(all = calloc((size_t)n, sizeof(*all))))
        return 2;
    for (int i = 0; i < n; i++) {
        if (load(argv[1], names[i]->d_name, &all[i]) < 0) {
            perror(names[i]->d_name);
            return 2;
        }
        run(all[i].bytes, all[i].len);
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    now = start;
    for (; runs < CHANGES_MAX && now.tv_sec - start.tv_sec < BUDGET_S; runs++) {
        run_changed(&all[pick((uint32_t)n)], work);
        clock_gettime(CLOCK_MONOTONIC, &now);
    }
    printf("%d inputs, %u changed ones\n", n, runs);
    for (int i = 0; i < n; i++) {
        free(all[i].bytes);
        free(names[i]);
    }
    free(names);
    free(all);
    free(work);
    return 0;
}
