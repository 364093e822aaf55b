/*
 * fakeip.c - addresses that stand for names: the pool
 *
 *   name  --keyed hash-->  slot  --number-->  address        both directions cost O(1)
 *
 * Slot i has the address range + 4 + i, in both families. While slots are fresh they are given out in order, as every Clash does; then the
 * least recently used one is recycled. Never one that a live flow pins, and never one whose answer may still be in use (its lifetime): that
 * would send a flow to a stranger.
 *
 *   slots     a table that grows as slots are used, linked by last use. A slot without a name (forgotten, or skipped by a damaged file) is
 * in the list like any other and is taken when its turn comes. Pinned ones are in a list of their own, so the one to recycle is always the
 * first index     open addressing, hash -> slot + 1 names     one block of NUL-terminated names; when most of it is dead it is written anew
 *
 * Memory: 24 bytes a slot, 4 to 8 of the index, and the name; an idle pool costs nothing.
 */
#include "dns/fakeip.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"

#define FIRST    4u /* network, device, the address DNS is asked at, one kept free */
#define NONE     FAKE_NONE
#define YOUNG_MS 600000
#define TICK_MS  128 /* what times are kept in: 32 bits are 17 years */

struct slot {
    uint32_t name, hash; /* name: where in f->names */
    uint32_t older, newer;
    uint32_t used;                           /* tick of the last use */
    uint32_t pins : 23, marked : 1, len : 8; /* len 0 = no name */
};
static_assert(sizeof(struct slot) == 24, "65,531 of them are 1.5 MB");

struct fakeip {
    struct cidr range4, range6;
    uint32_t size;         /* slots there are */
    uint32_t n_slots, cap; /* given out so far; room in the table */
    uint32_t n_named;
    struct slot *slot;
    struct by_use {
        uint32_t oldest, newest;
    } idle, pinned;
    uint32_t *index, mask; /* mask 0 = no index yet */
    char *names;
    uint32_t names_len, names_cap, names_dead;
    uint32_t ttl_ticks;
    bool too_small;
};

/* ---- lists by last use ---- */

static struct by_use *list_of(struct fakeip *f, uint32_t i)
{
    return f->slot[i].pins ? &f->pinned : &f->idle;
}

static void link_slot(struct fakeip *f, struct by_use *l, uint32_t i, uint32_t older, uint32_t newer)
{
    f->slot[i].older = older;
    f->slot[i].newer = newer;
    *(older == NONE ? &l->oldest : &f->slot[older].newer) = i;
    *(newer == NONE ? &l->newest : &f->slot[newer].older) = i;
}

static void unlink_slot(struct fakeip *f, struct by_use *l, uint32_t i)
{
    const struct slot *s = &f->slot[i];

    *(s->older == NONE ? &l->oldest : &f->slot[s->older].newer) = s->newer;
    *(s->newer == NONE ? &l->newest : &f->slot[s->newer].older) = s->older;
}

static uint32_t tick(uint64_t now_ms)
{
    return (uint32_t)(now_ms / TICK_MS);
}

void fakeip_use(struct fakeip *f, uint32_t i, uint64_t now_ms)
{
    struct by_use *l = list_of(f, i);

    f->slot[i].used = tick(now_ms);
    if (l->newest == i)
        return;
    unlink_slot(f, l, i);
    link_slot(f, l, i, l->newest, NONE);
}

void fakeip_pin(struct fakeip *f, uint32_t i)
{
    if (f->slot[i].pins++)
        return;
    unlink_slot(f, &f->idle, i);
    link_slot(f, &f->pinned, i, f->pinned.newest, NONE);
}

void fakeip_unpin(struct fakeip *f, uint32_t i, uint64_t now_ms)
{
    if (!f->slot[i].pins || --f->slot[i].pins)
        return;
    unlink_slot(f, &f->pinned, i);
    link_slot(f, &f->idle, i, f->idle.newest, NONE);
    f->slot[i].used = tick(now_ms);
}

/* ---- names and their index ---- */

static uint32_t hash_of(const char *name, size_t len)
{
    return (uint32_t)hash_bytes(name, len);
}

static const char *name_at(const struct fakeip *f, uint32_t i)
{
    return f->names + f->slot[i].name;
}

static void index_put(struct fakeip *f, uint32_t i)
{
    uint32_t at = f->slot[i].hash & f->mask;

    while (f->index[at])
        at = (at + 1) & f->mask;
    f->index[at] = i + 1;
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

static bool index_room(struct fakeip *f)
{
    uint32_t mask = f->mask ? f->mask * 2 + 1 : 63, *bigger;

    if (f->mask && (uint64_t)f->n_named * 4 < (uint64_t)f->mask * 3)
        return true;
    if (!(bigger = calloc((size_t)mask + 1, sizeof(*bigger))))
        return false;
    free(f->index);
    f->index = bigger;
    f->mask = mask;
    for (uint32_t i = 0; i < f->n_slots; i++)
        if (f->slot[i].len)
            index_put(f, i);
    return true;
}

static uint32_t find(const struct fakeip *f, const char *name, size_t len, uint32_t hash)
{
    if (!f->mask)
        return NONE;
    for (uint32_t at = hash & f->mask; f->index[at]; at = (at + 1) & f->mask) {
        uint32_t i = f->index[at] - 1;

        if (f->slot[i].hash == hash && f->slot[i].len == len && !memcmp(name_at(f, i), name, len))
            return i;
    }
    return NONE;
}

uint32_t fakeip_find(const struct fakeip *f, const char *name, size_t len)
{
    return find(f, name, len, hash_of(name, len));
}

/* The living names move together into a block of cap bytes. */
static bool names_rewrite(struct fakeip *f, uint32_t cap)
{
    char *fresh = malloc(cap);
    uint32_t at = 0;

    if (!fresh)
        return false;
    for (uint32_t i = 0; i < f->n_slots; i++) {
        if (!f->slot[i].len)
            continue;
        memcpy(fresh + at, name_at(f, i), f->slot[i].len + 1u);
        f->slot[i].name = at;
        at += f->slot[i].len + 1u;
    }
    free(f->names);
    f->names = fresh;
    f->names_len = at;
    f->names_cap = cap;
    f->names_dead = 0;
    return true;
}

/* Room for a name at the end of the block: without its dead when they are many, else in a larger one. */
static bool names_room(struct fakeip *f, size_t len)
{
    uint32_t live = f->names_len - f->names_dead, cap = live + live / 2 + 4096;
    char *more;

    if (f->names_len + len + 1 <= f->names_cap)
        return true;
    if (f->names_dead > live / 4)
        return names_rewrite(f, cap);
    if (!(more = realloc(f->names, cap)))
        return false;
    f->names = more;
    f->names_cap = cap;
    return true;
}

static bool slots_room(struct fakeip *f, uint32_t i)
{
    uint32_t cap = f->cap ? f->cap : 64;
    struct slot *more;

    while (cap <= i)
        cap *= 2;
    if (cap > f->size)
        cap = f->size;
    if (cap <= f->cap)
        return true;
    if (!(more = realloc(f->slot, cap * sizeof(*more))))
        return false;
    f->slot = more;
    f->cap = cap;
    return true;
}

static void drop_name(struct fakeip *f, uint32_t i)
{
    if (!f->slot[i].len)
        return;
    index_del(f, i);
    f->names_dead += f->slot[i].len + 1u;
    f->slot[i].len = 0;
    f->slot[i].marked = 0;
    f->n_named--;
}

/* Brings slots up to i into being; those before it wait nameless, first to be recycled. */
static void make_slots(struct fakeip *f, uint32_t i)
{
    while (f->n_slots <= i) {
        f->slot[f->n_slots] = (struct slot){ 0 };
        link_slot(f, &f->idle, f->n_slots, NONE, f->idle.oldest);
        f->n_slots++;
    }
}

/* Gives slot i to a name, in the place of whoever had it. */
static bool assign(struct fakeip *f, uint32_t i, const char *name, size_t len, uint32_t hash, uint64_t now_ms)
{
    if (!slots_room(f, i) || !index_room(f) || !names_room(f, len))
        return false;
    make_slots(f, i);
    drop_name(f, i);
    f->slot[i].name = f->names_len;
    f->slot[i].hash = hash;
    f->slot[i].len = (uint8_t)len;
    memcpy(f->names + f->names_len, name, len);
    f->names[f->names_len + len] = 0;
    f->names_len += (uint32_t)len + 1;
    f->n_named++;
    index_put(f, i);
    fakeip_use(f, i, now_ms);
    return true;
}

/* ---- giving addresses out ---- */

/* The least recently used slot, if it may be taken already. */
static uint32_t recyclable(const struct fakeip *f, uint64_t now_ms)
{
    uint32_t i = f->idle.oldest;

    return i != NONE && tick(now_ms) - f->slot[i].used > f->ttl_ticks ? i : NONE;
}

enum fake_how fakeip_get(struct fakeip *f, const char *name, size_t len, uint64_t now_ms, uint32_t *slot)
{
    uint32_t hash = hash_of(name, len), i = find(f, name, len, hash);
    enum fake_how how = f->n_slots < f->size ? FAKE_FRESH : FAKE_RECYCLED;
    bool young;

    if (i != NONE) {
        fakeip_use(f, i, now_ms);
        *slot = i;
        return FAKE_KNOWN;
    }
    i = how == FAKE_FRESH ? f->n_slots : recyclable(f, now_ms);
    if (i == NONE)
        return FAKE_FULL;
    young = how == FAKE_RECYCLED && f->slot[i].len && tick(now_ms) - f->slot[i].used < YOUNG_MS / TICK_MS;
    if (!assign(f, i, name, len, hash, now_ms))
        return FAKE_NOMEM;
    f->too_small = young;
    *slot = i;
    return how;
}

bool fakeip_too_small(const struct fakeip *f)
{
    return f->too_small;
}

bool fakeip_restore(struct fakeip *f, uint32_t i, const char *name, size_t len, uint64_t now_ms)
{
    uint32_t hash = hash_of(name, len), had;

    if (i >= f->size || !len || len > UINT8_MAX || memchr(name, 0, len))
        return false;
    if ((had = find(f, name, len, hash)) != NONE)
        drop_name(f, had);
    return assign(f, i, name, len, hash, now_ms);
}

void fakeip_forget(struct fakeip *f)
{
    for (uint32_t i = 0; i < f->n_slots; i++)
        if (!f->slot[i].pins)
            drop_name(f, i);
}

bool fakeip_marked(const struct fakeip *f, uint32_t i)
{
    return f->slot[i].marked;
}

void fakeip_mark(struct fakeip *f, uint32_t i)
{
    f->slot[i].marked = 1;
}

void fakeip_unmark(struct fakeip *f)
{
    for (uint32_t i = 0; i < f->n_slots; i++)
        f->slot[i].marked = 0;
}

/* ---- addresses ---- */

static uint32_t low32(const struct addr *a)
{
    const uint8_t *b = a->b + addr_len(a) - 4;

    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Addresses of a range that are counted from its first by 32 bits, up to which one a slot may have. */
static uint32_t usable(const struct cidr *range)
{
    unsigned host_bits = (range->ip.ver == 4 ? 32u : 128u) - range->len;
    uint64_t n = host_bits < 32 ? (1ull << host_bits) - 1 : UINT32_MAX; /* the last is the broadcast address */

    return n > FIRST ? (uint32_t)(n - FIRST) : 0;
}

bool fakeip_addr(const struct fakeip *f, uint32_t i, int ver, struct addr *out)
{
    const struct cidr *range = ver == 4 ? &f->range4 : &f->range6;
    uint32_t low;
    uint8_t *b;

    if (!range->ip.ver || i >= usable(range))
        return false;
    *out = range->ip;
    b = out->b + addr_len(out) - 4;
    low = low32(&range->ip) + FIRST + i;
    b[0] = (uint8_t)(low >> 24);
    b[1] = (uint8_t)(low >> 16);
    b[2] = (uint8_t)(low >> 8);
    b[3] = (uint8_t)low;
    return true;
}

static const struct cidr *range_of(const struct fakeip *f, const struct addr *a)
{
    return a->ver == 4 ? &f->range4 : &f->range6;
}

uint32_t fakeip_slot(const struct fakeip *f, const struct addr *a)
{
    const struct cidr *range = range_of(f, a);
    uint32_t i;

    if (!range->ip.ver || !cidr_contains(range, a) || memcmp(a->b, range->ip.b, addr_len(a) - 4) != 0)
        return NONE;
    i = low32(a) - low32(&range->ip) - FIRST; /* wraps to something large for the first few */
    return i < f->n_slots && i < usable(range) && f->slot[i].len ? i : NONE;
}

bool fakeip_contains(const struct fakeip *f, const struct addr *a)
{
    const struct cidr *range = range_of(f, a);
    uint32_t nth;

    if (!range->ip.ver || !cidr_contains(range, a))
        return false;
    nth = low32(a) - low32(&range->ip);
    return (nth != 1 && nth != 2) || memcmp(a->b, range->ip.b, addr_len(a) - 4) != 0;
}

const char *fakeip_name(const struct fakeip *f, uint32_t i, size_t *len)
{
    if (len)
        *len = f->slot[i].len;
    return name_at(f, i);
}

/* ---- the whole ---- */

uint32_t fakeip_next(const struct fakeip *f, uint32_t after)
{
    uint32_t i = after == NONE ? f->idle.oldest : f->slot[after].newer;

    while (i != NONE && !f->slot[i].len)
        i = f->slot[i].newer;
    if (i == NONE && (after == NONE || !f->slot[after].pins))
        i = f->pinned.oldest; /* which all have a name */
    return i;
}

void fakeip_usage(const struct fakeip *f, uint32_t *used, uint32_t *size)
{
    *used = f->n_named;
    *size = f->size;
}

const struct cidr *fakeip_range4(const struct fakeip *f)
{
    return &f->range4;
}

void fakeip_set(struct fakeip *f, const struct cidr *range6, uint64_t ttl_ms)
{
    f->range6 = range6 ? *range6 : (struct cidr){ 0 };
    f->ttl_ticks = (uint32_t)((ttl_ms < 1000 ? 1000 : ttl_ms) / TICK_MS) + 1;
}

int fakeip_new(const struct cidr *range4, const struct cidr *range6, uint64_t ttl_ms, struct fakeip **out)
{
    struct fakeip *f;

    if (range4->ip.ver != 4 || range4->len > 28)
        return -EINVAL;
    if (!(f = calloc(1, sizeof(*f))))
        return -ENOMEM;
    f->range4 = *range4;
    f->size = usable(range4) < FAKE_SLOTS_MAX ? usable(range4) : FAKE_SLOTS_MAX;
    f->idle = f->pinned = (struct by_use){ NONE, NONE };
    fakeip_set(f, range6, ttl_ms);
    *out = f;
    return 0;
}

void fakeip_free(struct fakeip *f)
{
    if (!f)
        return;
    free(f->slot);
    free(f->index);
    free(f->names);
    free(f);
}
