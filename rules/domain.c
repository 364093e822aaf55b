/*
 * domain.c - the index of names (see domain.h)
 *
 *   building       a table of whole 64-bit hashes -> state of the node's list, grown as names come
 *   domain_finish sizes the buckets to four fifths full and packs every node into eight bytes
 *   walking        node, then its literal child, and its star child where there is one
 *
 * A full bucket sends what is too much to the next one; a bucket is full when its last slot is used. Nothing is ever taken out.
 */
#include "rules/domain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"
#include "core/hash.h"

#define NUMBER_BITS 23
#define BELOW       (1u << NUMBER_BITS)
#define STAR        (1u << (NUMBER_BITS + 1))
#define TAG_SHIFT   (NUMBER_BITS + 2)
#define NUMBER_MASK (BELOW - 1)
#define MISSING     UINT32_MAX

struct build_node {
    uint64_t hash; /* 0 = empty */
    uint32_t state, flags;
};

struct name_build {
    struct build_node *node;
    uint32_t mask, n;
    uint32_t root_state;
};

/* ---- hashing ---- */

static inline uint64_t load8(const char *s)
{
    uint64_t v;

    memcpy(&v, s, 8);
    return v;
}

static inline uint64_t load4(const char *s)
{
    uint32_t v;

    memcpy(&v, s, 4);
    return v;
}

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* The child of node h under a label. Whatever the length, all bytes are read once or twice and none outside. The length is multiplied by
 * something secret: beside a few bits of text that differ, a small number would sometimes cancel them out. */
static inline uint64_t child_hash(const uint64_t key[4], uint64_t h, const char *s, size_t n)
{
    uint64_t a = 0, b = 0;

    for (; n > 16; s += 16, n -= 16)
        h = fold(load8(s) ^ key[2], load8(s + 8) ^ h);
    if (n >= 8) {
        a = load8(s);
        b = load8(s + n - 8);
    } else if (n >= 4) {
        a = load4(s);
        b = load4(s + n - 4);
    } else if (n) {
        a = (uint64_t)(uint8_t)s[0] << 16 | (uint64_t)(uint8_t)s[n / 2] << 8 | (uint8_t)s[n - 1];
    }
    return fold(a ^ key[0] ^ h, b ^ key[1] ^ (h << 32 | h >> 32) ^ n * (key[3] | 1));
}

static inline uint64_t star_hash(const uint64_t key[4], uint64_t h)
{
    return fold(h ^ key[3], key[2] | 1);
}

static inline size_t label_start(const char *s, size_t end)
{
    while (end && s[end - 1] != '.')
        end--;
    return end;
}

/* What is left of a name when the label that begins at from is taken off. */
static inline size_t before(size_t from)
{
    return from ? from - 1 : 0;
}

/* ---- building ---- */

int domain_init(struct domains *x)
{
    *x = (struct domains){ 0 };
    random_bytes(x->key, sizeof(x->key));
    if (!(x->build = calloc(1, sizeof(*x->build))))
        return -ENOMEM;
    x->build->mask = 255;
    if (!(x->build->node = calloc(x->build->mask + 1, sizeof(*x->build->node)))) {
        free(x->build);
        x->build = NULL;
        return -ENOMEM;
    }
    return 0;
}

static void drop_build(struct domains *x)
{
    if (x->build)
        free(x->build->node);
    free(x->build);
    x->build = NULL;
}

void domain_fini(struct domains *x)
{
    drop_build(x);
    free(x->memory);
    *x = (struct domains){ 0 };
}

static struct build_node *build_slot(struct build_node *node, uint32_t mask, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & mask;

    while (node[i].hash && node[i].hash != hash)
        i = (i + 1) & mask;
    return &node[i];
}

static bool build_grow(struct name_build *b)
{
    uint32_t mask = b->mask * 2 + 1;
    struct build_node *bigger = calloc((size_t)mask + 1, sizeof(*bigger));

    if (!bigger)
        return false;
    for (uint32_t i = 0; i <= b->mask; i++)
        if (b->node[i].hash)
            *build_slot(bigger, mask, b->node[i].hash) = b->node[i];
    free(b->node);
    b->node = bigger;
    b->mask = mask;
    return true;
}

/* The node of a hash; the pointer lives until the next call. NULL: no memory, l has failed. */
static struct build_node *node_at(struct domains *x, struct lists *l, uint64_t hash)
{
    struct name_build *b = x->build;
    struct build_node *at;

    hash = hash ? hash : 1;
    at = build_slot(b->node, b->mask, hash);
    if (at->hash)
        return at;
    if (b->n >= b->mask / 2) {
        if (!build_grow(b)) {
            l->failed = true;
            return NULL;
        }
        at = build_slot(b->node, b->mask, hash);
    }
    at->hash = hash;
    b->n++;
    return at;
}

static void mark(struct domains *x, struct build_node *node, uint32_t flags)
{
    if (node)
        node->flags |= flags;
    else if (flags & STAR)
        x->root_star = true;
}

/* Puts an item at the node of a name. With stars, a label `*` is the star child. */
static void add_path(struct domains *x, struct lists *l, const char *s, size_t end, bool stars, uint32_t item)
{
    struct build_node *node = NULL; /* the root */
    uint64_t h = x->key[0];

    while (end) {
        size_t from = label_start(s, end);
        bool star = stars && end - from == 1 && s[from] == '*';

        mark(x, node, star ? BELOW | STAR : BELOW);
        h = star ? star_hash(x->key, h) : child_hash(x->key, h, s + from, end - from);
        if (!(node = node_at(x, l, h)))
            return;
        end = before(from);
    }
    if (node)
        node->state = lists_add(l, node->state, item);
    else
        x->build->root_state = lists_add(l, x->build->root_state, item);
}

int domain_check(const char *s, size_t len)
{
    size_t label = 0, i = 0;
    int glob = 0;

    if (len && s[0] == '.')
        i = 1;
    if (i == len || len > HOST_MAX + 2 || s[len - 1] == '.' || s[0] == ' ' || s[len - 1] == ' ')
        return -EINVAL;
    for (label = i; i <= len; i++) {
        if (i == len || s[i] == '.') {
            if (i == label)
                return -EINVAL;
            if (i - label > 1 && memchr(s + label, '*', i - label))
                glob = 1;
            label = i + 1;
        } else if (s[i] == '/' || !s[i]) {
            return -EINVAL;
        }
    }
    return glob;
}

int domain_add(struct domains *x, struct lists *l, const char *s, size_t len, uint32_t atom)
{
    uint32_t mask = NAME_SELF;

    if (l->failed || domain_check(s, len) != 0)
        return l->failed ? 0 : -EINVAL;
    if (*s == '.') {
        mask = NAME_ONE | NAME_DEEP;
        s++, len--;
    } else if (*s == '+' && (len == 1 || s[1] == '.')) {
        mask = NAME_SELF | NAME_ONE | NAME_DEEP;
        s += len == 1 ? 1 : 2;
        len -= len == 1 ? 1 : 2;
    } else if (*s == '*' && (len == 1 || s[1] == '.')) {
        mask = NAME_ONE;
        s += len == 1 ? 1 : 2;
        len -= len == 1 ? 1 : 2;
    }
    add_path(x, l, s, len, true, item_of(atom, mask));
    return 0;
}

void domain_add_literal(struct domains *x, struct lists *l, const char *name, size_t len, uint32_t mask, uint32_t atom)
{
    if (!l->failed)
        add_path(x, l, name, len, false, item_of(atom, mask));
}

static uint64_t key_hash(const struct domains *x, uint64_t space, const char *s, size_t len)
{
    return child_hash(x->key, x->key[3] + space, s, len);
}

void domain_add_key(struct domains *x, struct lists *l, uint64_t space, const char *s, size_t len, uint32_t atom)
{
    struct build_node *node = l->failed ? NULL : node_at(x, l, key_hash(x, space, s, len));

    if (node)
        node->state = lists_add(l, node->state, item_of(atom, NAME_SELF));
}

/* ---- the packed table ---- */

static inline uint64_t turned(uint64_t h, unsigned turn)
{
    h = h ? h : 1;
    return turn ? h << turn | h >> (64 - turn) : h;
}

static inline uint32_t bucket_of(uint64_t h, uint32_t n_buckets)
{
    return (uint32_t)(((h & ((1u << TAG_SHIFT) - 1)) * n_buckets) >> TAG_SHIFT);
}

/* false: a node that is there cannot be told from this one. */
static bool pack(struct domains *x, uint64_t hash, uint32_t value)
{
    uint64_t h = turned(hash, x->turn), tag = h >> TAG_SHIFT;

    for (uint32_t b = bucket_of(h, x->n_buckets);; b = b + 1 == x->n_buckets ? 0 : b + 1) {
        for (int i = 0; i < 8; i++) {
            uint64_t *slot = &x->bucket[b].slot[i];

            if (!*slot) {
                *slot = tag << TAG_SHIFT | value;
                return true;
            }
            if (*slot >> TAG_SHIFT == tag)
                return false;
        }
    }
}

static bool pack_all(struct domains *x)
{
    const struct name_build *b = x->build;

    memset(x->bucket, 0, x->n_buckets * sizeof(*x->bucket));
    for (uint32_t i = 0; i <= b->mask; i++)
        if (b->node[i].hash && !pack(x, b->node[i].hash, b->node[i].state | b->node[i].flags))
            return false;
    return true;
}

/* States become the numbers of their lists. */
static int close_lists(struct domains *x, struct lists *l)
{
    struct name_build *b = x->build;

    for (uint32_t i = 0; i <= b->mask; i++) {
        if (!b->node[i].hash)
            continue;
        b->node[i].state = lists_close(l, b->node[i].state);
        if (b->node[i].state > NUMBER_MASK)
            return -ERANGE;
    }
    x->root = lists_close(l, b->root_state);
    if (x->root > NUMBER_MASK)
        return -ERANGE;
    return l->failed ? -ENOMEM : 0;
}

int domain_finish(struct domains *x, struct lists *l)
{
    int r = close_lists(x, l);

    if (r < 0)
        return r;
    x->n_nodes = x->build->n;
    if (x->n_nodes) {
        x->n_buckets = x->n_nodes / 32 * 5 + x->n_nodes % 32 * 5 / 32 + 1; /* 6.4 to a bucket */
        if (!(x->memory = malloc((size_t)x->n_buckets * sizeof(*x->bucket) + sizeof(*x->bucket) - 1)))
            return -ENOMEM;
        x->bucket = (struct name_bucket *)(((uintptr_t)x->memory + sizeof(*x->bucket) - 1) & ~(uintptr_t)(sizeof(*x->bucket) - 1));
        while (!pack_all(x))
            if (++x->turn == 64)
                return -ERANGE;
    }
    drop_build(x);
    return 0;
}

size_t domain_bytes(const struct domains *x)
{
    return (size_t)x->n_buckets * sizeof(*x->bucket);
}

/* ---- looking up ---- */

/* Number and flags of a node, or MISSING. */
static inline uint32_t probe(const struct domains *x, uint64_t hash)
{
    uint64_t h = turned(hash, x->turn), tag = h >> TAG_SHIFT;

    for (uint32_t b = bucket_of(h, x->n_buckets);; b = b + 1 == x->n_buckets ? 0 : b + 1) {
        const uint64_t *slot = x->bucket[b].slot;
        uint32_t found = 0;

        for (uint32_t i = 0; i < 8; i++)
            found |= (uint32_t)(slot[i] >> TAG_SHIFT == tag) << i;
        if (found) {
            uint64_t v = slot[__builtin_ctz(found)];

            return v ? (uint32_t)v & (STAR | BELOW | NUMBER_MASK) : MISSING; /* an empty slot looks like tag 0 */
        }
        if (!slot[7])
            return MISSING;
    }
}

/* A node with hash h that is there; host[0..end) is what lies to the left of it. */
static bool walk(const struct domains *x, uint64_t h, uint32_t node, const char *host, size_t end, domain_fn *fn, void *arg)
{
    for (;;) {
        size_t from = label_start(host, end);
        uint32_t star;

        if (node & NUMBER_MASK && !fn(arg, node & NUMBER_MASK, !end ? NAME_SELF : from ? NAME_DEEP : NAME_ONE))
            return false;
        if (!end || !(node & BELOW))
            return true;
        if (node & STAR && (star = probe(x, star_hash(x->key, h))) != MISSING &&
            !walk(x, star_hash(x->key, h), star, host, before(from), fn, arg))
            return false;
        h = child_hash(x->key, h, host + from, end - from);
        if ((node = probe(x, h)) == MISSING)
            return true;
        end = before(from);
    }
}

static uint32_t root_node(const struct domains *x)
{
    return x->root | (x->n_nodes ? BELOW : 0) | (x->root_star ? STAR : 0);
}

void domain_walk(const struct domains *x, const char *host, size_t len, domain_fn *fn, void *arg)
{
    if (len)
        walk(x, x->key[0], root_node(x), host, len, fn, arg);
}

uint32_t domain_key(const struct domains *x, uint64_t space, const char *s, size_t len)
{
    uint32_t node = x->n_nodes ? probe(x, key_hash(x, space, s, len)) : MISSING;

    return node == MISSING ? 0 : node & NUMBER_MASK;
}

/* The first atom of a list whose mask, cut to `which`, is `is`. */
static uint32_t pick(const struct lists *l, uint32_t list, uint32_t which, uint32_t is)
{
    if (!list)
        return UINT32_MAX;
    for (const uint32_t *item = &l->pool[list];; item++) {
        if ((*item & which) == is)
            return item_atom(*item);
        if (*item & ITEM_LAST)
            return UINT32_MAX;
    }
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* A node with hash h that is there. `*.x` is an item of x itself, `+.*.x` one of its star child: for a name one label longer they are
 * equals. */
static uint32_t best(const struct domains *x, const struct lists *l, uint64_t h, uint32_t node, const char *host, size_t end)
{
    size_t from = label_start(host, end);
    uint32_t child, atom = UINT32_MAX;

    if (!end)
        return pick(l, node & NUMBER_MASK, NAME_SELF, NAME_SELF);
    if (node & BELOW) {
        uint64_t literal = child_hash(x->key, h, host + from, end - from);

        if ((child = probe(x, literal)) != MISSING && (atom = best(x, l, literal, child, host, before(from))) != UINT32_MAX)
            return atom;
    }
    if (node & STAR && (child = probe(x, star_hash(x->key, h))) != MISSING)
        atom = best(x, l, star_hash(x->key, h), child, host, before(from));
    if (!from)
        atom = smaller(atom, pick(l, node & NUMBER_MASK, NAME_ONE | NAME_DEEP, NAME_ONE));
    return atom != UINT32_MAX ? atom : pick(l, node & NUMBER_MASK, NAME_DEEP, NAME_DEEP);
}

uint32_t domain_best(const struct domains *x, const struct lists *l, const char *host, size_t len)
{
    return len ? best(x, l, x->key[0], root_node(x), host, len) : UINT32_MAX;
}
