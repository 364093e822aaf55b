/*
 * set_mrs.c - the mrs format: a compressed trie of names, or sorted ranges of addresses
 *
 * One zstd frame; inside, big-endian (rules section 3):
 *
 *   "MRS" 1 | behaviour u8 | count u64 | n u64, n bytes to skip | version u8 = 1 | body
 *
 *   addresses:  n u64, then n times 16 bytes first, 16 bytes last
 *   names:      leaves, bitmap (each n u64, then n words of 64 bits), labels (n u64, then n bytes)
 *
 * The names are a trie in breadth-first order, written back to front. For each node in order the bitmap holds one 0 per child, then a 1;
 * the k-th 0 is the edge to node k, and labels[k-1] its byte. So the children of a node are neighbours, and one pass over the bitmap gives
 * the first child of every node; a bitmap that is not exactly one tree is refused there, and the walk needs no more checks.
 *
 *   bitmap  0 0 1  0 1  1  1         node 0 has children 1 2, node 1 has child 3, nodes 2 and 3 have none
 *   first   1      3    4  4  4      children of node n: first[n] up to first[n+1]
 *
 * `+.x` is stored as two names, x and +.x; `.x` as +.x alone. They are put together again here. Makers of such files have let whole rule
 * lines in ("domain-suffix,x.com"), so a name is looked at by its shape as everywhere.
 *
 * Memory: the unpacked bytes (at most 256 MiB) and four bytes per node (at most 32 Mi), both gone when the call returns.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "core/err.h"
#include "core/reader.h"
#include "rules/set_private.h"

#define UNPACKED_MAX ((size_t)256 << 20)
#define NODES_MAX    ((size_t)32 << 20)
#define KEY_MAX      (2 * HOST_MAX) /* longer ones are no names; their branch is left out */

static int broken(struct set_reader *r, const char *why)
{
    r->st->error = why;
    return -EBADMSG;
}

static int too_big(struct set_reader *r, const char *why)
{
    r->st->error = why;
    return -ERR_LIMIT;
}

/* ---- unpacking ---- */

struct bytes {
    uint8_t *p;
    size_t len, cap;
};

static int bytes_grow(struct set_reader *r, struct bytes *b)
{
    size_t cap = b->cap ? b->cap * 2 : (size_t)64 << 10;
    uint8_t *p;

    if (b->cap == UNPACKED_MAX)
        return too_big(r, "above 256 MiB unpacked");
    if (!(p = realloc(b->p, cap)))
        return -ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

/* The claimed size is foreign too, so room grows with what really comes out. b->p is the caller's to free, also on error. */
static int unpack(struct set_reader *r, const void *bytes, size_t len, struct bytes *b)
{
    ZSTD_inBuffer in = { bytes, len, 0 };
    ZSTD_DCtx *z = ZSTD_createDCtx();
    size_t left = 1;
    int res = 0;

    if (!z)
        return -ENOMEM;
    while (!res && left) {
        ZSTD_outBuffer out;
        size_t before = in.pos;

        if (b->len == b->cap && (res = bytes_grow(r, b)) < 0)
            break;
        out = (ZSTD_outBuffer){ b->p, b->cap, b->len };
        left = ZSTD_decompressStream(z, &out, &in);
        if (ZSTD_isError(left))
            res = ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM : broken(r, "not an mrs file: bad zstd data");
        else if (left && in.pos == before && out.pos == b->len)
            res = broken(r, "cut short");
        b->len = out.pos;
    }
    ZSTD_freeDCtx(z);
    return res;
}

/* ---- addresses ---- */

typedef unsigned __int128 u128;

static u128 load128(struct rd *r)
{
    uint64_t hi = rd_be64(r);

    return (u128)hi << 64 | rd_be64(r);
}

static struct cidr prefix_of(u128 base, unsigned len)
{
    struct cidr c = { 0 };
    uint8_t b[16];

    for (int i = 15; i >= 0; i--, base >>= 8)
        b[i] = (uint8_t)base;
    (void)cidr_from(b, 16, len, &c); /* takes all: a base in ::ffff:0:0/96 has at most 32 zero bits at its end */
    return c;
}

/* The fewest prefixes that make up first..last: from the left, each time the largest that starts there and does not go beyond. */
static int visit_range(struct set_reader *r, u128 first, u128 last)
{
    for (;;) {
        unsigned bits = 0;
        struct cidr c;
        int res;

        while (bits < 128 && !(first >> bits & 1) && (((u128)1 << bits << 1) - 1) <= last - first)
            bits++;
        c = prefix_of(first, 128 - bits);
        if ((res = set_visit_prefix(r, &c)))
            return res;
        if (bits == 128 || last - first == ((u128)1 << bits) - 1)
            return 0;
        first += (u128)1 << bits;
    }
}

static int read_ranges(struct set_reader *r, struct rd *in)
{
    uint64_t n = rd_be64(in);

    if (n > rd_left(in) / 32)
        return broken(r, "cut short: the ranges do not fit the file");
    while (n--) {
        u128 first = load128(in), last = load128(in);
        int res;

        if (first > last)
            set_bad(r, "", 0, "a range that ends before it begins");
        else if ((res = set_given(r, "", 0, visit_range(r, first, last))) < 0)
            return res;
    }
    return 0;
}

/* ---- names ---- */

struct trie {
    struct rd leaves, bitmap;
    struct span labels;
    uint32_t *first; /* first[n] .. first[n+1]: the children of node n */
};

static bool bit(const struct rd *words, size_t i)
{
    const uint8_t *word = words->p + i / 64 * 8; /* big-endian words, bits from the least significant */

    return word[7 - i % 64 / 8] >> (i % 8) & 1;
}

static bool is_leaf(const struct trie *t, uint32_t node)
{
    return node / 64 < rd_left(&t->leaves) / 8 && bit(&t->leaves, node);
}

/* Lends n words (or bytes) with their count in front. */
static struct span counted(struct rd *in, size_t size)
{
    uint64_t n = rd_be64(in);

    if (n > rd_left(in) / size)
        in->bad = true;
    return rd_span(in, in->bad ? 0 : (size_t)n * size);
}

/* Fills t->first. The bitmap must be one tree: a node is reached before it is described, and the last one ends it. */
static bool number_children(struct trie *t)
{
    size_t edges = t->labels.len, bits = rd_left(&t->bitmap) * 8, i = 0, child = 1;

    for (size_t node = 0; node <= edges; node++) {
        t->first[node] = (uint32_t)child;
        if (node == child)
            return false;
        for (; i < bits && !bit(&t->bitmap, i); i++)
            if (child++ > edges)
                return false;
        if (i++ == bits)
            return false;
    }
    t->first[edges + 1] = (uint32_t)child;
    return child == edges + 1;
}

/* The child of a node along a byte, or 0. */
static uint32_t child_of(const struct trie *t, uint32_t node, uint8_t byte)
{
    for (uint32_t c = t->first[node]; c < t->first[node + 1]; c++)
        if (t->labels.p[c - 1] == byte)
            return c;
    return 0;
}

/* Is `+.x` there when x ends at this node? */
static bool has_below_mark(const struct trie *t, uint32_t node)
{
    uint32_t dot = child_of(t, node, '.'), plus = dot ? child_of(t, dot, '+') : 0;

    return plus && is_leaf(t, plus);
}

/* Writes a key back to front, character by character: the bytes of a UTF-8 character keep their order. */
static void reverse(const uint8_t *key, size_t len, char *out)
{
    for (size_t i = 0, n; i < len; i += n) {
        for (n = 1; i + n < len && (key[i] & 0xc0) == 0xc0 && (key[i + n] & 0xc0) == 0x80; n++)
            ;
        memcpy(out + len - i - n, key + i, n);
    }
}

static int visit_key(struct set_reader *r, const struct trie *t, const uint32_t *path, const uint8_t *key, size_t len)
{
    char name[KEY_MAX];
    bool below = len > 2 && key[len - 2] == '.' && key[len - 1] == '+';

    reverse(key, len, name);
    if (below && !is_leaf(t, path[len - 2])) /* all below x, without x: ".x" */
        return set_put(r, name + 1, len - 1);
    if (has_below_mark(t, path[len]))
        return 0; /* "+.x" comes by itself */
    return set_put(r, name, len);
}

/* Depth first, so that a key is at hand when its node is. path[d] is the node d bytes from the root; next[d] its next child to see. */
static int walk(struct set_reader *r, const struct trie *t)
{
    uint32_t path[KEY_MAX + 1] = { 0 }, next[KEY_MAX + 1] = { t->first[0] };
    uint8_t key[KEY_MAX];
    size_t d = 0;

    for (;;) {
        uint32_t node = path[d];
        int res;

        if (next[d] == t->first[node + 1]) {
            if (!d--)
                return 0;
            continue;
        }
        if (d == KEY_MAX) {
            next[d] = t->first[node + 1];
            set_bad(r, (const char *)key, d, "a name above 510 bytes");
            continue;
        }
        node = next[d]++;
        key[d++] = t->labels.p[node - 1];
        path[d] = node;
        next[d] = t->first[node];
        if (is_leaf(t, node) && (res = visit_key(r, t, path, key, d)) < 0)
            return res;
    }
}

static int read_trie(struct set_reader *r, struct rd *in)
{
    struct span leaves = counted(in, 8), bitmap = counted(in, 8);
    struct trie t = { .labels = counted(in, 1) };
    int res;

    if (!rd_ok(in))
        return broken(r, "cut short: the trie does not fit the file");
    if (t.labels.len >= NODES_MAX)
        return too_big(r, "a trie above 32 Mi nodes");
    if (!(t.first = malloc((t.labels.len + 2) * sizeof(*t.first))))
        return -ENOMEM;
    t.leaves = rd_from(leaves.p, leaves.len);
    t.bitmap = rd_from(bitmap.p, bitmap.len);
    res = number_children(&t) ? walk(r, &t) : broken(r, "the trie is broken");
    free(t.first);
    return res;
}

/* ---- the file ---- */

static int read_file(struct set_reader *r, struct rd *in)
{
    struct span magic = rd_span(in, 4);
    uint8_t behavior = rd_u8(in);
    uint64_t extra;

    rd_skip(in, 8); /* the number of entries in the source, for display */
    extra = rd_be64(in);
    if (extra > rd_left(in))
        return broken(r, "cut short");
    rd_skip(in, (size_t)extra);
    if (magic.len != 4 || memcmp(magic.p, "MRS\1", 4) != 0 || rd_u8(in) != 1)
        return broken(r, "not an mrs file of version 1");
    if (behavior != (r->b == SET_DOMAIN ? 0 : 1))
        return broken(r, behavior ? "the file holds addresses: behavior must be ipcidr" : "the file holds names: behavior must be domain");
    return r->b == SET_DOMAIN ? read_trie(r, in) : read_ranges(r, in);
}

int set_read_mrs(struct set_reader *r, const void *bytes, size_t len)
{
    struct bytes b = { 0 };
    int res;

    if (r->b == SET_CLASSICAL)
        return broken(r, "a classical set has no mrs form");
    if (!(res = unpack(r, bytes, len, &b))) {
        struct rd in = rd_from(b.p, b.len);

        res = read_file(r, &in);
    }
    free(b.p);
    return res;
}
