/*
 * fakelog.c - the fake-IP pool remembered in a file
 *
 *   header   "shunt fake-ip 2\n" | prefix length, 3 zeros | range (4) | CRC
 *   record   slot (4) | length (1) | name | CRC            numbers in network order; the CRC (IEEE 802.3) is of all bytes before it
 *
 * Append-only. A slot that is given to another name gets another record; replay takes them in order, stops at the first that does not
 * check, and the file is cut there. So it survives being killed at any byte. When the dead outnumber the living, the file is written anew
 * beside the old one and renamed over it.
 *
 *   note ──► out (memory) ──write, once a turn──► kernel ──thread, every 30 s──► disk
 *
 * The loop never waits for the disk: fdatasync and the rewriting are done by a short-lived thread that owns its descriptor and its bytes;
 * its result is taken over by the next fakelog_tend(). Records that come meanwhile go to the old file and are kept for the new one.
 *
 * A record that could not be written makes the file untrue: a slot would come back with the name it had before, and a program's data would
 * go to a stranger. Then the file is emptied and written anew when that is possible again.
 */
#include "dns/fakelog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/reader.h"

#define MAGIC       "shunt fake-ip 2\n"
#define MAGIC_LEN   16
#define HEADER      (MAGIC_LEN + 4 + 4 + 4)
#define RECORD(len) (4 + 1 + (len) + 4)
#define FILE_MAX    (128 << 20)
#define DEAD_MAX    1024 /* so many more dead than living before it is worth the work */
#define SYNC_MS     30000
#define LOOK_MS     200 /* how often a running thread is looked at */

struct bytes {
    uint8_t *p;
    size_t len, cap;
};

/* Work for the thread. Everything in it is the thread's until done. */
struct behind {
    pthread_t thread;
    atomic_bool done;
    int fd;          /* to be synced; of a rewrite, the new file */
    const char *tmp; /* a rewrite: its name, else NULL */
    struct bytes all;
    int err;
};

struct fakelog {
    struct fakeip *pool;
    char *file, *tmp;
    int fd;                           /* -1: nothing is remembered at the moment */
    struct bytes out;                 /* noted, not written */
    struct bytes since;               /* written while a rewrite runs */
    uint64_t records, n_out, n_since; /* in the file (dead ones too), in out, in since */
    struct behind *work;              /* NULL = no thread runs */
    bool unsynced, rewrite, complained;
};

/* ---- bytes ---- */

static uint32_t crc32(const uint8_t *p, size_t n)
{
    static uint32_t table[256];
    uint32_t crc = ~0u;

    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;

            for (int k = 0; k < 8; k++)
                c = c >> 1 ^ (0xedb88320u & -(c & 1));
            table[i] = c;
        }
    while (n--)
        crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
    return ~crc;
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 3; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

/* Room for n more bytes at the end, which are then part of b; NULL without memory. */
static uint8_t *more(struct bytes *b, size_t n)
{
    if (b->len + n > b->cap) {
        size_t cap = (b->len + n) * 2;
        uint8_t *p = realloc(b->p, cap);

        if (!p)
            return NULL;
        b->p = p;
        b->cap = cap;
    }
    b->len += n;
    return b->p + b->len - n;
}

static void bytes_free(struct bytes *b)
{
    free(b->p);
    *b = (struct bytes){ 0 };
}

static bool write_all(int fd, const struct bytes *b)
{
    ssize_t n = b->len ? write(fd, b->p, b->len) : 0;

    if (n >= 0 && (size_t)n < b->len)
        errno = ENOSPC;
    return n >= 0 && (size_t)n == b->len;
}

/* ---- records ---- */

static bool add_record(struct bytes *b, const struct fakeip *pool, uint32_t slot)
{
    size_t len;
    const char *name = fakeip_name(pool, slot, &len);
    uint8_t *r = more(b, RECORD(len));

    if (!r)
        return false;
    put32(r, slot);
    r[4] = (uint8_t)len;
    memcpy(r + 5, name, len);
    put32(r + 5 + len, crc32(r, 5 + len));
    return true;
}

static bool add_header(struct bytes *b, const struct fakeip *pool)
{
    const struct cidr *range = fakeip_range4(pool);
    uint8_t *h = more(b, HEADER);

    if (!h)
        return false;
    memset(h, 0, HEADER);
    memcpy(h, MAGIC, MAGIC_LEN);
    h[MAGIC_LEN] = range->len;
    memcpy(h + MAGIC_LEN + 4, range->ip.b, 4);
    put32(h + HEADER - 4, crc32(h, HEADER - 4));
    return true;
}

/* ---- when it does not work ---- */

/* What the file says is not true any more: it must not be believed by the next start. */
static void spoil(struct fakelog *l, const char *what, int err)
{
    if (!l->complained)
        log_warn(LOG_DNS, "%s %s (%s): fake addresses are not remembered across restarts until it can be written", l->file, what,
                 strerror(err));
    l->complained = true;
    l->rewrite = true;
    l->out.len = l->n_out = 0;
    if (l->fd < 0)
        return;
    if (ftruncate(l->fd, 0) < 0)
        unlink(l->file);
    close(l->fd);
    l->fd = -1;
}

/* ---- replay ---- */

/* Puts the names of records back; returns how many bytes of r were good. */
static size_t replay(struct fakelog *l, struct rd *r, uint64_t now_ms)
{
    const uint8_t *from = r->p, *good = r->p;

    while (rd_left(r)) {
        uint32_t slot = rd_be32(r);
        struct span name = rd_span(r, rd_u8(r));
        uint32_t crc = rd_be32(r);

        if (!rd_ok(r) || crc != crc32(good, (size_t)(r->p - good) - 4) ||
            !fakeip_restore(l->pool, slot, (const char *)name.p, name.len, now_ms))
            break;
        good = r->p;
        l->records++;
    }
    return (size_t)(good - from);
}

/* Reads the bytes of the file; false: say why not in *why. */
static bool slurp(int fd, struct bytes *b, const char **why)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        *why = "is no file of ours";
        return false;
    }
    if (!st.st_size)
        return true;
    b->len = b->cap = (size_t)st.st_size;
    if (!(b->p = malloc(b->len)) || pread(fd, b->p, b->len, 0) != (ssize_t)b->len) {
        *why = "cannot be read";
        return false;
    }
    return true;
}

static bool check_header(const struct fakelog *l, const struct bytes *b, const char **why)
{
    struct bytes want = { 0 };
    bool same = false, sound = b->len >= HEADER && !memcmp(b->p, MAGIC, MAGIC_LEN);

    if (sound) {
        struct rd r = rd_from(b->p + HEADER - 4, 4);

        sound = rd_be32(&r) == crc32(b->p, HEADER - 4);
    }
    if (sound && add_header(&want, l->pool))
        same = !memcmp(b->p, want.p, HEADER);
    *why = sound ? "is of another range" : "is damaged";
    bytes_free(&want);
    return same;
}

/* The file is put into the pool as far as it is good; returns the bytes to be kept, 0 = none. */
static size_t load(struct fakelog *l, uint64_t now_ms)
{
    struct bytes b = { 0 };
    const char *why = NULL;
    uint32_t used, size;
    size_t good = 0;

    if (slurp(l->fd, &b, &why) && b.len && check_header(l, &b, &why)) {
        struct rd r = rd_from(b.p + HEADER, b.len - HEADER);

        good = HEADER + replay(l, &r, now_ms);
        fakeip_usage(l->pool, &used, &size);
        if (good < b.len)
            log_warn(LOG_DNS, "%s is damaged behind byte %zu: the %u fake addresses before it are remembered, the rest is cut off", l->file,
                     good, used);
    } else if (why) {
        log_warn(LOG_DNS, "%s %s: fake addresses of earlier runs are forgotten", l->file, why);
    }
    bytes_free(&b);
    return good;
}

static void open_file(struct fakelog *l, uint64_t now_ms)
{
    size_t good;

    if ((l->fd = open(l->file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600)) < 0) {
        spoil(l, "cannot be opened", errno);
        return;
    }
    good = load(l, now_ms);
    if (ftruncate(l->fd, (off_t)good) < 0 || (!good && (!add_header(&l->out, l->pool) || !write_all(l->fd, &l->out))))
        spoil(l, "cannot be written", errno);
    l->out.len = 0;
}

struct fakelog *fakelog_open(const char *file, struct fakeip *pool, uint64_t now_ms)
{
    struct fakelog *l = calloc(1, sizeof(*l));

    if (!l || !(l->file = strdup(file)) || asprintf(&l->tmp, "%s.new", file) < 0) {
        free(l ? l->file : NULL);
        free(l);
        return NULL;
    }
    l->pool = pool;
    open_file(l, now_ms);
    return l;
}

/* ---- the thread ---- */

static void *run_behind(void *arg)
{
    struct behind *w = arg;

    if (w->tmp)
        w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->fd < 0 || (w->tmp && !write_all(w->fd, &w->all)) || fdatasync(w->fd) < 0)
        w->err = errno;
    atomic_store(&w->done, true);
    return NULL;
}

static void behind_free(struct behind *w)
{
    if (w->fd >= 0)
        close(w->fd);
    bytes_free(&w->all);
    free(w);
}

static bool start_behind(struct fakelog *l, struct behind *w)
{
    sigset_t all, old;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&w->thread, NULL, run_behind, w);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    l->work = r == 0 ? w : NULL;
    return r == 0;
}

static void start_sync(struct fakelog *l)
{
    struct behind *w = calloc(1, sizeof(*w));

    if (!w)
        return;
    if ((w->fd = dup(l->fd)) < 0 || !start_behind(l, w))
        behind_free(w);
    else
        l->unsynced = false;
}

static void start_rewrite(struct fakelog *l)
{
    struct behind *w = calloc(1, sizeof(*w));
    bool good = w != NULL;

    if (w)
        w->fd = -1;
    good = good && add_header(&w->all, l->pool);
    for (uint32_t i = fakeip_next(l->pool, FAKE_NONE); good && i != FAKE_NONE; i = fakeip_next(l->pool, i))
        good = add_record(&w->all, l->pool, i);
    if (good) {
        w->tmp = l->tmp;
        good = start_behind(l, w);
    }
    if (!good && w)
        behind_free(w);
    if (good) {
        l->rewrite = false;
        l->since.len = l->n_since = 0;
    }
}

/* The new file takes the place of the old one. */
static void finish_rewrite(struct fakelog *l, struct behind *w)
{
    uint32_t used, size;

    if (!w->err && !l->rewrite && (!write_all(w->fd, &l->since) || rename(l->tmp, l->file) < 0))
        w->err = errno;
    bytes_free(&l->since);
    if (w->err || l->rewrite) { /* failed, or not true any more */
        unlink(l->tmp);
        l->rewrite = true;
        if (w->err && !l->complained)
            log_warn(LOG_DNS, "%s cannot be written anew: %s", l->file, strerror(w->err));
        l->complained = l->complained || w->err;
        return;
    }
    if (l->fd >= 0)
        close(l->fd);
    l->fd = w->fd;
    w->fd = -1;
    fakeip_usage(l->pool, &used, &size);
    l->records = used + l->n_since;
    l->unsynced = l->n_since != 0;
    l->complained = false;
}

/* Takes the result of a thread that has ended. */
static void finish_behind(struct fakelog *l)
{
    struct behind *w = l->work;

    pthread_join(w->thread, NULL);
    l->work = NULL;
    if (w->tmp)
        finish_rewrite(l, w);
    else if (w->err)
        spoil(l, "cannot be kept on the disk", w->err);
    behind_free(w);
}

/* ---- the running log ---- */

static bool rewriting(const struct fakelog *l)
{
    return l->work && l->work->tmp;
}

void fakelog_note(struct fakelog *l, uint32_t slot)
{
    if (l->fd < 0 && !rewriting(l))
        return;
    if (add_record(&l->out, l->pool, slot))
        l->n_out++;
    else
        spoil(l, "misses a record", ENOMEM);
}

bool fakelog_dirty(const struct fakelog *l)
{
    return l->out.len > 0;
}

/* What a running rewrite does not have yet. */
static void keep_since(struct fakelog *l)
{
    uint8_t *p = more(&l->since, l->out.len);

    if (p)
        memcpy(p, l->out.p, l->out.len);
    else
        l->rewrite = true; /* once more, when this one has ended */
    l->n_since += l->n_out;
}

void fakelog_write(struct fakelog *l)
{
    if (!l->out.len)
        return;
    if (rewriting(l))
        keep_since(l);
    if (l->fd >= 0 && !write_all(l->fd, &l->out))
        spoil(l, "cannot be written", errno);
    l->records += l->n_out;
    l->out.len = l->n_out = 0;
    l->unsynced = true;
}

void fakelog_forget(struct fakelog *l)
{
    l->rewrite = l->rewrite || rewriting(l); /* what it writes is not true any more */
    l->out.len = l->n_out = l->records = 0;
    if (l->fd < 0)
        return;
    if (ftruncate(l->fd, 0) < 0 || !add_header(&l->out, l->pool)) {
        spoil(l, "cannot be emptied", errno);
        return;
    }
    for (uint32_t i = fakeip_next(l->pool, FAKE_NONE); i != FAKE_NONE; i = fakeip_next(l->pool, i))
        fakelog_note(l, i); /* the pinned ones */
    fakelog_write(l);
}

uint64_t fakelog_tend(struct fakelog *l)
{
    uint32_t used, size;

    fakeip_usage(l->pool, &used, &size);
    if (l->work && !atomic_load(&l->work->done))
        return LOOK_MS;
    if (l->work) {
        finish_behind(l);
        if (l->rewrite) /* it failed: not again at once */
            return SYNC_MS;
    }
    if (l->rewrite || l->records > 2 * (uint64_t)used + DEAD_MAX)
        start_rewrite(l);
    else if (l->unsynced && l->fd >= 0)
        start_sync(l);
    return l->work ? LOOK_MS : l->rewrite || l->unsynced ? SYNC_MS : 0;
}

void fakelog_close(struct fakelog *l)
{
    if (!l)
        return;
    fakelog_write(l);
    if (l->work)
        finish_behind(l);
    if (l->fd >= 0 && l->unsynced)
        fdatasync(l->fd);
    if (l->fd >= 0)
        close(l->fd);
    bytes_free(&l->out);
    bytes_free(&l->since);
    free(l->file);
    free(l->tmp);
    free(l);
}
