/*
 * spans.c - the index of addresses (see spans.h)
 *
 *   prefixes, sorted by first address, longest last
 *      │  sweep: a stack of the prefixes that are open; its top state holds the atoms of all of them
 *      ▼
 *   cuts     where the list changes, as 128-bit numbers (IPv4 in the top 32 bits)
 *      │  pack
 *      ▼
 *   start[], number[], root[]
 */
#include "rules/spans.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 u128;

#define WINDOW   8   /* starts that are compared at once */
#define OPEN_MAX 130 /* prefixes open at the same time: each is longer than the one below */

struct span_item {
    uint64_t hi, lo;
    uint32_t atom;
    uint8_t ver, len;
};

struct cut {
    u128 at;
    uint32_t list;
};

struct sweep {
    struct lists *l;
    struct cut *cut;
    uint32_t n, cap;
    struct {
        u128 first, last;
        uint32_t state;
    } open[OPEN_MAX];
    uint32_t n_open;
};

void spans_init(struct spans *x)
{
    *x = (struct spans){ 0 };
}

void spans_fini(struct spans *x)
{
    void *all[] = { x->start4, x->start6, x->number4, x->number6, x->root4, x->root6, x->list, x->group, x->side, x->item };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
    *x = (struct spans){ 0 };
}

static uint64_t be64(const uint8_t *b)
{
    uint64_t v;

    memcpy(&v, b, sizeof(v));
    return be64toh(v);
}

void spans_add(struct spans *x, struct lists *l, const struct cidr *c, uint32_t atom)
{
    if (l->failed || !c->ip.ver)
        return;
    if (!grow(&x->item, x->n_items, &x->cap_items, sizeof(*x->item))) {
        l->failed = true;
        return;
    }
    x->item[x->n_items++] = (struct span_item){ be64(c->ip.b), c->ip.ver == 6 ? be64(c->ip.b + 8) : 0, atom, c->ip.ver, c->len };
    if (c->ip.ver == 4)
        x->n_prefixes4++;
    else
        x->n_prefixes6++;
}

/* ---- sweeping ---- */

static int by_address(const void *a, const void *b)
{
    const struct span_item *x = a, *y = b;

    if (x->ver != y->ver)
        return x->ver < y->ver ? -1 : 1;
    if (x->hi != y->hi)
        return x->hi < y->hi ? -1 : 1;
    if (x->lo != y->lo)
        return x->lo < y->lo ? -1 : 1;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return x->atom < y->atom ? -1 : x->atom > y->atom;
}

/* From here on the atoms of a state are true. */
static void cut_at(struct sweep *w, u128 at, uint32_t state)
{
    uint32_t list = lists_close(w->l, state);

    if (w->n && w->cut[w->n - 1].at == at)
        w->n--;
    if (w->n && w->cut[w->n - 1].list == list)
        return;
    if (!grow(&w->cut, w->n, &w->cap, sizeof(*w->cut))) {
        w->l->failed = true;
        return;
    }
    w->cut[w->n++] = (struct cut){ at, list };
}

static uint32_t open_state(const struct sweep *w)
{
    return w->n_open ? w->open[w->n_open - 1].state : 0;
}

static void close_one(struct sweep *w)
{
    u128 after = w->open[--w->n_open].last + 1;

    if (after) /* not the end of all addresses */
        cut_at(w, after, open_state(w));
}

static bool same_prefix(const struct span_item *a, const struct span_item *b)
{
    return a->hi == b->hi && a->lo == b->lo && a->len == b->len;
}

static void open_one(struct sweep *w, const struct span_item *item)
{
    u128 first = (u128)item->hi << 64 | item->lo, rest = item->len < 128 ? ~(u128)0 >> item->len : 0;
    uint32_t state;

    while (w->n_open && w->open[w->n_open - 1].last < first)
        close_one(w);
    state = open_state(w);
    w->open[w->n_open].first = first;
    w->open[w->n_open].last = first | rest;
    w->open[w->n_open++].state = state;
}

static void sweep(struct sweep *w, const struct span_item *item, uint32_t n)
{
    cut_at(w, 0, 0);
    for (uint32_t i = 0; i < n && !w->l->failed; i++) {
        if (!i || !same_prefix(&item[i - 1], &item[i]))
            open_one(w, &item[i]);
        w->open[w->n_open - 1].state = lists_add(w->l, open_state(w), item_of(item[i].atom, ITEM_MASK));
        if (i + 1 == n || !same_prefix(&item[i], &item[i + 1])) /* all atoms of this prefix are in */
            cut_at(w, w->open[w->n_open - 1].first, open_state(w));
    }
    while (w->n_open)
        close_one(w);
}

/* ---- packing ---- */

/* Index of a list among those in use. seen[] has an entry per place of the pool: index + 1. */
static uint32_t index_of(struct spans *x, struct lists *l, uint32_t *seen, uint32_t *cap, uint32_t list)
{
    if (!seen[list]) {
        if (!grow(&x->list, x->n_lists, cap, sizeof(*x->list))) {
            l->failed = true;
            return 0;
        }
        x->list[x->n_lists++] = list;
        seen[list] = x->n_lists;
    }
    return seen[list] - 1;
}

static void index_lists(struct spans *x, struct lists *l, struct sweep *w4, struct sweep *w6)
{
    uint32_t *seen = calloc(l->n, sizeof(*seen)), cap = 0;

    if (!seen) {
        l->failed = true;
        return;
    }
    for (uint32_t i = 0; i < w4->n; i++)
        w4->cut[i].list = index_of(x, l, seen, &cap, w4->cut[i].list);
    for (uint32_t i = 0; i < w6->n; i++)
        w6->cut[i].list = index_of(x, l, seen, &cap, w6->cut[i].list);
    free(seen);
}

static uint64_t high(const struct cut *c)
{
    return (uint64_t)(c->at >> 64);
}

static bool add_side(struct spans *x, uint32_t *cap, uint64_t low, uint32_t list)
{
    if (!grow(&x->side, x->n_side, cap, sizeof(*x->side)))
        return false;
    x->side[x->n_side++] = (struct span_side){ low, x->list[list] };
    return true;
}

/* IPv6 cuts become starts by the high 64 bits. What is cut inside a /64 goes to the side: a group, numbered behind the lists. */
static void split_by_half(struct spans *x, struct lists *l, struct sweep *w)
{
    struct cut *out = calloc(2 * (size_t)w->n + 1, sizeof(*out)); /* a group may need a cut behind it */
    uint32_t n = 0, cap_side = 0, cap_group = 0, before = 0;

    for (uint32_t i = 0, end; i < w->n && out && !l->failed; i = end) {
        uint64_t h = high(&w->cut[i]);

        for (end = i + 1; end < w->n && high(&w->cut[end]) == h; end++)
            ;
        if (end == i + 1 && !(uint64_t)w->cut[i].at) {
            out[n++] = (struct cut){ h, w->cut[i].list };
        } else {
            if (!grow(&x->group, x->n_groups + 1, &cap_group, sizeof(*x->group)) ||
                ((uint64_t)w->cut[i].at && !add_side(x, &cap_side, 0, before)))
                l->failed = true;
            if (l->failed)
                break;
            x->group[x->n_groups] = x->n_side - ((uint64_t)w->cut[i].at != 0);
            for (uint32_t k = i; k < end; k++)
                l->failed |= !add_side(x, &cap_side, (uint64_t)w->cut[k].at, w->cut[k].list);
            x->group[x->n_groups + 1] = x->n_side;
            out[n++] = (struct cut){ h, x->n_lists + x->n_groups++ };
            if (h != UINT64_MAX && (end == w->n || high(&w->cut[end]) != h + 1))
                out[n++] = (struct cut){ h + 1, w->cut[end - 1].list };
        }
        before = w->cut[end - 1].list;
    }
    l->failed |= !out;
    free(w->cut);
    w->cut = out;
    w->n = n;
}

static void put_number(const struct spans *x, void *number, uint32_t i, uint32_t v)
{
    if (x->wide)
        ((uint32_t *)number)[i] = v;
    else
        ((uint16_t *)number)[i] = (uint16_t)v;
}

static uint32_t get_number(const struct spans *x, const void *number, uint32_t i)
{
    return x->wide ? ((const uint32_t *)number)[i] : ((const uint16_t *)number)[i];
}

/* The root has about half as many entries as there are stretches, at least two and at most 65536 (and one more). */
static uint8_t root_bits(uint32_t n)
{
    uint8_t bits = 1;

    while (bits < 16 && (2u << bits) < n)
        bits++;
    return bits;
}

/* root[t] = how many starts have top bits below t. */
static uint32_t *make_root(const struct cut *cut, uint32_t n, uint8_t bits, uint8_t shift)
{
    uint32_t *root = malloc(((1u << bits) + 1) * sizeof(*root)), i = 0;

    for (uint32_t t = 0; root && t <= 1u << bits; t++) {
        while (i < n && (uint64_t)(cut[i].at >> shift) < t)
            i++;
        root[t] = i;
    }
    return root;
}

static int pack(struct spans *x, struct sweep *w4, struct sweep *w6)
{
    size_t size = (x->wide = x->n_lists + x->n_groups > 65536) ? sizeof(uint32_t) : sizeof(uint16_t);
    uint8_t bits4 = root_bits(w4->n), bits6 = root_bits(w6->n);

    for (uint32_t i = 0; i < w4->n; i++)
        w4->cut[i].at >>= 96;
    x->n4 = w4->n;
    x->n6 = w6->n;
    x->shift4 = (uint8_t)(32 - bits4);
    x->shift6 = (uint8_t)(64 - bits6);
    x->start4 = malloc((x->n4 + WINDOW) * sizeof(*x->start4));
    x->start6 = malloc((x->n6 + WINDOW) * sizeof(*x->start6));
    x->number4 = malloc(x->n4 * size);
    x->number6 = malloc(x->n6 * size);
    x->root4 = make_root(w4->cut, w4->n, bits4, x->shift4);
    x->root6 = make_root(w6->cut, w6->n, bits6, x->shift6);
    if (!x->start4 || !x->start6 || !x->number4 || !x->number6 || !x->root4 || !x->root6)
        return -ENOMEM;
    memset(x->start4 + x->n4, 0xff, WINDOW * sizeof(*x->start4));
    memset(x->start6 + x->n6, 0xff, WINDOW * sizeof(*x->start6));
    for (uint32_t i = 0; i < x->n4; i++) {
        x->start4[i] = (uint32_t)w4->cut[i].at;
        put_number(x, x->number4, i, w4->cut[i].list);
    }
    for (uint32_t i = 0; i < x->n6; i++) {
        x->start6[i] = (uint64_t)w6->cut[i].at;
        put_number(x, x->number6, i, w6->cut[i].list);
    }
    return 0;
}

int spans_finish(struct spans *x, struct lists *l)
{
    struct sweep *w4 = calloc(2, sizeof(*w4)), *w6 = w4 + 1;
    int r = -ENOMEM;

    if (w4 && !l->failed) {
        w4->l = w6->l = l;
        if (x->n_items)
            qsort(x->item, x->n_items, sizeof(*x->item), by_address);
        sweep(w4, x->item, x->n_prefixes4);
        sweep(w6, x->item ? x->item + x->n_prefixes4 : NULL, x->n_prefixes6);
        if (!l->failed)
            index_lists(x, l, w4, w6);
        if (!l->failed)
            split_by_half(x, l, w6);
        if (!l->failed)
            r = pack(x, w4, w6);
        free(w4->cut);
        free(w6->cut);
    }
    free(w4);
    free(x->item);
    x->item = NULL;
    return r;
}

/* ---- looking up ---- */

/* How many of v[0..n) are <= key. What lies behind is not smaller, and there are WINDOW more: so long runs are halved and the rest is
 * counted, all without a branch that depends on what is there. */
static inline uint32_t upto32(const uint32_t *v, uint32_t n, uint32_t key)
{
    const uint32_t *p = v;
    uint32_t count = 0;

    for (; n > WINDOW; n -= n / 2)
        p += n / 2 & -(uint32_t)(p[n / 2 - 1] <= key);
    for (uint32_t i = 0; i < WINDOW; i++)
        count += p[i] <= key;
    return (uint32_t)(p - v) + (count < n ? count : n);
}

static inline uint32_t upto64(const uint64_t *v, uint32_t n, uint64_t key)
{
    const uint64_t *p = v;
    uint32_t count = 0;

    for (; n > WINDOW; n -= n / 2)
        p += n / 2 & -(uint32_t)(p[n / 2 - 1] <= key);
    for (uint32_t i = 0; i < WINDOW; i++)
        count += p[i] <= key;
    return (uint32_t)(p - v) + (count < n ? count : n);
}

static uint32_t inside_64(const struct spans *x, uint32_t group, uint64_t low)
{
    uint32_t at = x->group[group], end = x->group[group + 1]; /* side[at].low is 0 */

    while (end - at > 1) {
        uint32_t mid = at + (end - at) / 2;

        if (x->side[mid].low <= low)
            at = mid;
        else
            end = mid;
    }
    return x->side[at].list;
}

uint32_t spans_find(const struct spans *x, const struct addr *a)
{
    uint64_t key = be64(a->b);
    uint32_t top, from, number;

    if (a->ver == 4 && x->n4) {
        top = (uint32_t)(key >> 32) >> x->shift4;
        from = x->root4[top];
        number = get_number(x, x->number4, from + upto32(x->start4 + from, x->root4[top + 1] - from, (uint32_t)(key >> 32)) - 1);
    } else if (a->ver == 6 && x->n6) {
        top = (uint32_t)(key >> x->shift6);
        from = x->root6[top];
        number = get_number(x, x->number6, from + upto64(x->start6 + from, x->root6[top + 1] - from, key) - 1);
        if (number >= x->n_lists)
            return inside_64(x, number - x->n_lists, be64(a->b + 8));
    } else {
        return 0;
    }
    return x->list[number];
}

static size_t bytes(const struct spans *x, uint32_t n, size_t start, uint8_t root)
{
    return n * (start + (x->wide ? 4 : 2)) + ((1u << root) + 1) * sizeof(uint32_t);
}

size_t spans_bytes4(const struct spans *x)
{
    return bytes(x, x->n4, sizeof(*x->start4), (uint8_t)(32 - x->shift4));
}

size_t spans_bytes6(const struct spans *x)
{
    return bytes(x, x->n6, sizeof(*x->start6), (uint8_t)(64 - x->shift6)) + x->n_side * sizeof(*x->side);
}
