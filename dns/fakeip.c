/*
 * fakeip.c - addresses that stand for names
 *
 *   name  --keyed hash-->  slot  --index-->  address        both directions cost O(1)
 *
 * Slot i has the address range + 4 + i, in both families. While slots are fresh they are given out in order; then the least recently used one is
 * recycled. Never one that a live flow pins, and never one whose answer may still be in use (its TTL): that would send a flow to a stranger.
 *
 * Remembered by an append-only file: a header that names the ranges, then records `slot, length, name, CRC`, written once at the end of a turn. At start it
 * is replayed up to the first record that does not check, and cut there; it is rewritten when most of it is dead. A process that dies loses nothing, a power cut
 * at most what was not synced.
 *
 * Memory: 40 bytes a slot in use plus the name; the table of slots grows with use, so an idle pool costs nothing.
 */
#include "dns/fakeip.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/log.h"

#define FIRST 4
#define SLOTS_MAX (1u << 20) /* of a larger range only so many are used */
#define NONE UINT32_MAX
#define YOUNG_MS 600000
#define MAGIC "shuntfip1\n"

struct slot {
    char *name;
    uint32_t hash, prev, next; /* list by last use: head is the oldest */
    uint32_t pins;
    uint64_t answered_ms;
};

struct fakeip {
    struct cidr range4, range6;
    uint32_t size, used, cap;
    struct slot *slot;
    uint32_t head, tail;
    uint32_t *index, mask; /* hash -> slot + 1 */
    uint64_t ttl_ms;
    bool warned;

    char *file;
    int fd;
    uint8_t *out;
    size_t out_len, out_cap;
    uint32_t records;
};

/* ---- tables ---- */

static uint32_t hash_of(const char *name)
{
    return (uint32_t)hash_bytes(name, strlen(name));
}

static void index_put(struct fakeip *f, uint32_t i)
{
    uint32_t at = f->slot[i].hash & f->mask;

    while (f->index[at])
        at = (at + 1) & f->mask;
    f->index[at] = i + 1;
}

static bool index_grow(struct fakeip *f)
{
    uint32_t mask = f->mask ? f->mask * 2 + 1 : 63, *bigger = calloc(mask + 1, sizeof(*bigger));

    if (!bigger)
        return false;
    free(f->index);
    f->index = bigger;
    f->mask = mask;
    for (uint32_t i = 0; i < f->used; i++)
        if (f->slot[i].name)
            index_put(f, i);
    return true;
}

static uint32_t find(const struct fakeip *f, const char *name, uint32_t hash)
{
    if (!f->index)
        return NONE;
    for (uint32_t at = hash & f->mask; f->index[at]; at = (at + 1) & f->mask) {
        uint32_t i = f->index[at] - 1;

        if (f->slot[i].hash == hash && f->slot[i].name && !strcmp(f->slot[i].name, name))
            return i;
    }
    return NONE;
}

/* Removes a slot from the index; the run behind it is put in again, so that no search stops short. */
static void index_del(struct fakeip *f, uint32_t i)
{
    uint32_t at = f->slot[i].hash & f->mask;

    while (f->index[at] != i + 1)
        at = (at + 1) & f->mask;
    f->index[at] = 0;
    for (at = (at + 1) & f->mask; f->index[at]; at = (at + 1) & f->mask) {
        uint32_t moved = f->index[at] - 1;

        f->index[at] = 0;
        index_put(f, moved);
    }
}

static void unlink_slot(struct fakeip *f, uint32_t i)
{
    struct slot *s = &f->slot[i];

    *(s->prev == NONE ? &f->head : &f->slot[s->prev].next) = s->next;
    *(s->next == NONE ? &f->tail : &f->slot[s->next].prev) = s->prev;
}

static void append_slot(struct fakeip *f, uint32_t i)
{
    f->slot[i].prev = f->tail;
    f->slot[i].next = NONE;
    *(f->tail == NONE ? &f->head : &f->slot[f->tail].next) = i;
    f->tail = i;
}

static void touch(struct fakeip *f, uint32_t i)
{
    if (f->tail == i)
        return;
    unlink_slot(f, i);
    append_slot(f, i);
}

/* ---- the file ---- */

static uint32_t crc32(const uint8_t *p, size_t len)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xedb88320u & -(crc & 1));
    }
    return ~crc;
}

static void note(struct fakeip *f, uint32_t i)
{
    size_t len = strlen(f->slot[i].name), need = 4 + 1 + len + 4;
    uint8_t *r;
    uint32_t crc;

    if (!f->file)
        return;
    if (f->out_len + need > f->out_cap) {
        size_t cap = (f->out_len + need) * 2 + 1024;
        uint8_t *more = realloc(f->out, cap);

        if (!more)
            return;
        f->out = more;
        f->out_cap = cap;
    }
    r = f->out + f->out_len;
    memcpy(r, &i, 4);
    r[4] = (uint8_t)len;
    memcpy(r + 5, f->slot[i].name, len);
    crc = crc32(r, 5 + len);
    memcpy(r + 5 + len, &crc, 4);
    f->out_len += need;
    f->records++;
}

struct header {
    char magic[16];
    uint8_t ver4, len4, ver6, len6;
    uint8_t a4[16], a6[16];
    uint32_t crc;
};

static void make_header(const struct fakeip *f, struct header *h)
{
    memset(h, 0, sizeof(*h));
    memcpy(h->magic, MAGIC, sizeof(MAGIC) - 1);
    h->ver4 = f->range4.ip.ver;
    h->len4 = f->range4.len;
    h->ver6 = f->range6.ip.ver;
    h->len6 = f->range6.len;
    memcpy(h->a4, f->range4.ip.b, 16);
    memcpy(h->a6, f->range6.ip.b, 16);
    h->crc = crc32((uint8_t *)h, offsetof(struct header, crc));
}

/* Rewrites the file with what is alive. */
static void compact(struct fakeip *f)
{
    char tmp[4096];
    struct header h;
    int fd;

    if (snprintf(tmp, sizeof(tmp), "%s.new", f->file) >= (int)sizeof(tmp))
        return;
    if ((fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return;
    f->out_len = 0;
    f->records = 0;
    for (uint32_t i = f->head; i != NONE; i = f->slot[i].next)
        note(f, i);
    make_header(f, &h);
    if (write(fd, &h, sizeof(h)) == (ssize_t)sizeof(h) && write(fd, f->out, f->out_len) == (ssize_t)f->out_len && fdatasync(fd) == 0 &&
        rename(tmp, f->file) == 0) {
        if (f->fd >= 0)
            close(f->fd);
        f->fd = fd;
    } else {
        log_warn(LOG_DNS, "%s cannot be rewritten: %s", f->file, strerror(errno));
        unlink(tmp);
        close(fd);
    }
    f->out_len = 0;
}

bool fakeip_dirty(const struct fakeip *f)
{
    return f->out_len > 0;
}

void fakeip_flush(struct fakeip *f, bool sync)
{
    if (f->fd < 0)
        return;
    if (f->out_len && write(f->fd, f->out, f->out_len) != (ssize_t)f->out_len) {
        log_warn(LOG_DNS, "%s cannot be written (%s): names are remembered until the next start only", f->file, strerror(errno));
        close(f->fd);
        f->fd = -1;
    }
    f->out_len = 0;
    if (f->fd >= 0 && f->records > 2 * f->used + 1024)
        compact(f);
    if (sync && f->fd >= 0)
        fdatasync(f->fd);
}

static bool assign(struct fakeip *f, uint32_t i, const char *name, uint32_t hash);

static void replay(struct fakeip *f, const uint8_t *p, size_t len, off_t *good)
{
    while (len >= 9) {
        uint32_t i, crc;
        size_t n = p[4];
        char name[HOST_MAX + 1];

        memcpy(&i, p, 4);
        if (len < 9 + n || i >= f->size)
            return;
        memcpy(&crc, p + 5 + n, 4);
        if (crc != crc32(p, 5 + n))
            return;
        memcpy(name, p + 5, n);
        name[n] = 0;
        if (!n || strlen(name) != n || find(f, name, hash_of(name)) != NONE || !assign(f, i, name, hash_of(name)))
            if (!n || strlen(name) != n)
                return;
        f->records++;
        p += 9 + n;
        len -= 9 + n;
        *good += (off_t)(9 + n);
    }
}

/* A file that cannot be used starts empty, said so. */
static void load(struct fakeip *f)
{
    struct header want, *h;
    struct stat st;
    off_t good = sizeof(struct header);
    uint8_t *bytes = NULL;

    make_header(f, &want);
    if ((f->fd = open(f->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0 || fstat(f->fd, &st) < 0) {
        log_warn(LOG_DNS, "%s cannot be opened (%s): names are remembered until the next start only", f->file, strerror(errno));
        return;
    }
    if (st.st_size >= (off_t)sizeof(want) && st.st_size < (64 << 20) && (bytes = malloc((size_t)st.st_size)) &&
        pread(f->fd, bytes, (size_t)st.st_size, 0) == st.st_size && !memcmp(bytes, &want, sizeof(want))) {
        h = (struct header *)bytes;
        replay(f, (uint8_t *)(h + 1), (size_t)st.st_size - sizeof(want), &good);
        if (good < st.st_size)
            log_warn(LOG_DNS, "%s is damaged behind byte %lld: %u names before it are used, the rest is cut", f->file, (long long)good, f->used);
    } else {
        if (st.st_size)
            log_warn(LOG_DNS, "%s is of another range or damaged: the fake-IP pool starts empty", f->file);
        if (ftruncate(f->fd, 0) < 0 || pwrite(f->fd, &want, sizeof(want), 0) != (ssize_t)sizeof(want)) {
            log_warn(LOG_DNS, "%s cannot be written (%s): names are remembered until the next start only", f->file, strerror(errno));
            close(f->fd);
            f->fd = -1;
        }
    }
    free(bytes);
    if (f->fd >= 0 && (ftruncate(f->fd, good) < 0 || lseek(f->fd, good, SEEK_SET) < 0)) {
        close(f->fd);
        f->fd = -1;
    }
    f->out_len = 0;
}

/* ---- the pool ---- */

int fakeip_new(const struct cidr *range4, const struct cidr *range6, const char *file, uint64_t ttl_ms, struct fakeip **out)
{
    struct fakeip *f;
    uint64_t hosts;

    if (range4->ip.ver != 4 || range4->len > 28)
        return -EINVAL;
    if (!(f = calloc(1, sizeof(*f))))
        return -ENOMEM;
    f->range4 = *range4;
    if (range6)
        f->range6 = *range6;
    hosts = (1ull << (32 - range4->len)) - FIRST - 1; /* the last one is the broadcast address */
    f->size = hosts > SLOTS_MAX ? SLOTS_MAX : (uint32_t)hosts;
    f->head = f->tail = NONE;
    f->fd = -1;
    f->ttl_ms = ttl_ms < 1000 ? 1000 : ttl_ms;
    if (file && !(f->file = strdup(file))) {
        free(f);
        return -ENOMEM;
    }
    if (file)
        load(f);
    *out = f;
    return 0;
}

void fakeip_free(struct fakeip *f)
{
    if (!f)
        return;
    fakeip_flush(f, true);
    for (uint32_t i = 0; i < f->used; i++)
        free(f->slot[i].name);
    if (f->fd >= 0)
        close(f->fd);
    free(f->slot);
    free(f->index);
    free(f->out);
    free(f->file);
    free(f);
}

static bool same(const struct cidr *a, const struct cidr *b)
{
    return a->len == b->len && addr_eq(&a->ip, &b->ip);
}

bool fakeip_same_ranges(const struct fakeip *f, const struct cidr *range4, const struct cidr *range6)
{
    return same(&f->range4, range4) && same(&f->range6, range6);
}

static void add_to(struct addr *a, uint32_t n)
{
    for (int i = (int)addr_len(a) - 1; i >= 0 && n; i--) {
        n += a->b[i];
        a->b[i] = (uint8_t)n;
        n >>= 8;
    }
}

static bool addr_of(const struct fakeip *f, uint32_t i, int ver, struct addr *out)
{
    *out = ver == 4 ? f->range4.ip : f->range6.ip;
    if (!out->ver)
        return false;
    add_to(out, FIRST + i);
    return true;
}

static uint32_t slot_of(const struct fakeip *f, const struct addr *a)
{
    const struct cidr *r = a->ver == 4 ? &f->range4 : &f->range6;
    size_t n = addr_len(a);
    uint32_t low;

    if (!cidr_contains(r, a))
        return NONE;
    for (size_t i = r->len / 8 + (r->len % 8 ? 1 : 0); i + 4 < n; i++)
        if (a->b[i] != r->ip.b[i])
            return NONE;
    low = ((uint32_t)a->b[n - 4] << 24 | (uint32_t)a->b[n - 3] << 16 | (uint32_t)a->b[n - 2] << 8 | a->b[n - 1]) -
          ((uint32_t)r->ip.b[n - 4] << 24 | (uint32_t)r->ip.b[n - 3] << 16 | (uint32_t)r->ip.b[n - 2] << 8 | r->ip.b[n - 1]);
    return low >= FIRST && low - FIRST < f->size ? low - FIRST : NONE;
}

bool fakeip_contains(const struct fakeip *f, const struct addr *a)
{
    const struct cidr *r = a->ver == 4 ? &f->range4 : &f->range6;
    struct addr first = r->ip, second = r->ip;

    if (!r->ip.ver || !cidr_contains(r, a))
        return false;
    add_to(&first, 1);
    add_to(&second, 2);
    return !addr_eq(a, &first) && !addr_eq(a, &second); /* the device's own and the DNS address */
}

static bool room_for(struct fakeip *f, uint32_t i)
{
    uint32_t cap = f->cap ? f->cap : 64;
    struct slot *more;

    while (cap <= i)
        cap = cap * 2 < f->size ? cap * 2 : f->size;
    if (cap != f->cap) {
        if (!(more = realloc(f->slot, cap * sizeof(*more))))
            return false;
        memset(more + f->cap, 0, (cap - f->cap) * sizeof(*more));
        f->slot = more;
        f->cap = cap;
    }
    return (uint64_t)f->used * 4 < (uint64_t)f->mask * 3 || index_grow(f);
}

/* Gives slot i to a name (taking it from its old one). */
static bool assign(struct fakeip *f, uint32_t i, const char *name, uint32_t hash)
{
    char *copy;

    if (!room_for(f, i < f->used ? f->used : i) || !(copy = strdup(name)))
        return false;
    if (i < f->used && f->slot[i].name) {
        index_del(f, i);
        unlink_slot(f, i);
        free(f->slot[i].name);
    }
    if (i >= f->used)
        f->used = i + 1; /* slots in between stay nameless until their turn: only after a damaged file */
    f->slot[i] = (struct slot){ .name = copy, .hash = hash };
    index_put(f, i);
    append_slot(f, i);
    return true;
}

/* The least recently used slot that may be taken. */
static uint32_t recyclable(struct fakeip *f, uint64_t now_ms)
{
    for (uint32_t i = f->head; i != NONE; i = f->slot[i].next) {
        const struct slot *s = &f->slot[i];

        if (s->pins || (s->answered_ms && now_ms - s->answered_ms < f->ttl_ms))
            continue;
        if (s->answered_ms && now_ms - s->answered_ms < YOUNG_MS && !f->warned) {
            f->warned = true;
            log_warn(LOG_DNS, "the fake-IP pool is too small: a name answered less than 10 minutes ago loses its address; widen dns.fake-ip-range");
        }
        return i;
    }
    return NONE;
}

bool fakeip_addr(struct fakeip *f, const char *name, int ver, uint64_t now_ms, struct addr *out)
{
    uint32_t hash = hash_of(name), i = find(f, name, hash);

    if (i == NONE) {
        i = f->used < f->size ? f->used : recyclable(f, now_ms);
        if (i == NONE || !assign(f, i, name, hash))
            return false;
        note(f, i);
    }
    f->slot[i].answered_ms = now_ms ? now_ms : 1;
    touch(f, i);
    return addr_of(f, i, ver, out);
}

bool fakeip_peek(const struct fakeip *f, const char *name, int ver, struct addr *out)
{
    uint32_t i = find(f, name, hash_of(name));

    return i != NONE && addr_of(f, i, ver, out);
}

const char *fakeip_name(struct fakeip *f, const struct addr *a)
{
    uint32_t i = slot_of(f, a);

    if (i == NONE || i >= f->used || !f->slot[i].name)
        return NULL;
    touch(f, i);
    return f->slot[i].name;
}

void fakeip_pin(struct fakeip *f, const struct addr *a, int delta)
{
    uint32_t i = slot_of(f, a);

    if (i != NONE && i < f->used && (delta > 0 || f->slot[i].pins))
        f->slot[i].pins += (uint32_t)delta;
}

void fakeip_usage(const struct fakeip *f, uint32_t *used, uint32_t *size)
{
    *used = f->used;
    *size = f->size;
}
