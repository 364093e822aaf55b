/* state_file.c - the file of fake addresses with any bytes in it: the start works, no address has two names, and what is noted afterwards
 * comes back */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "dns/fakelog.h"
#include "tests/fuzz/fuzz.h"

#define MUST(what)                                                                                                                         \
    do {                                                                                                                                   \
        if (!(what))                                                                                                                       \
            abort();                                                                                                                       \
    } while (0)

static char path[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    log_threshold = LOG_SILENT;
    snprintf(path, sizeof(path), "%s/shunt-fuzz-state-%d", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    return 0;
}

static struct fakelog *open_log(struct fakeip **pool)
{
    struct cidr range;
    struct fakelog *l;

    cidr_parse("198.18.0.0/27", &range);
    MUST(fakeip_new(&range, NULL, 1000, pool) == 0);
    MUST((l = fakelog_open(path, *pool, 1000000)));
    return l;
}

static uint32_t check_pool(const struct fakeip *pool)
{
    uint32_t used, size, n = 0;

    fakeip_usage(pool, &used, &size);
    for (uint32_t i = fakeip_next(pool, FAKE_NONE); i != FAKE_NONE; i = fakeip_next(pool, i), n++) {
        size_t len;
        const char *name = fakeip_name(pool, i, &len);
        struct addr a;

        MUST(n < size && strlen(name) == len && fakeip_find(pool, name, len) == i);
        MUST(fakeip_addr(pool, i, 4, &a) && fakeip_slot(pool, &a) == i);
    }
    MUST(n == used);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct fakeip *pool;
    struct fakelog *l;
    uint32_t n, slot = FAKE_NONE;

    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    l = open_log(&pool);
    n = check_pool(pool);
    if (fakeip_get(pool, "new.example", 11, 2000000, &slot) != FAKE_KNOWN)
        fakelog_note(l, slot);
    fakelog_write(l);
    n = check_pool(pool);
    fakelog_close(l);
    fakeip_free(pool);
    l = open_log(&pool);
    MUST(check_pool(pool) == n);
    MUST(fakeip_find(pool, "new.example", 11) == slot);
    fakelog_close(l);
    fakeip_free(pool);
    unlink(path);
    return 0;
}
