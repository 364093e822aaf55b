/*
 * names.c - domain patterns as a tree of labels from the right
 *
 *   +.example.com, *.lan     root ─ com ─ example (self, below)
 *                                 └ lan ─ * (self)
 *
 * A node says what holds for the name that ends here and for every name below it. The search tries the literal label, then `*`, and falls
 * back to the deepest "below" it passed; so the most specific pattern wins.
 */
#include "dns/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"
#include "core/arena.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/map.h"

struct node {
    struct map_node link;
    const struct node *parent;
    const char *label;
    void *self, *below;
    struct node *star;
};

struct names {
    struct arena mem;
    struct map children; /* of all nodes, by parent and label */
    struct node root;
};

struct names *names_new(void)
{
    struct names *n = calloc(1, sizeof(*n));

    if (n && map_init(&n->children, 16) == 0)
        return n;
    free(n);
    return NULL;
}

void names_free(struct names *n)
{
    if (!n)
        return;
    map_fini(&n->children);
    arena_fini(&n->mem);
    free(n);
}

static uint64_t child_hash(const struct node *parent, const char *label, size_t len)
{
    return hash_bytes(label, len) ^ ((uintptr_t)parent * 0x9e3779b97f4a7c15u);
}

static struct node *child(const struct names *n, const struct node *parent, const char *label, size_t len)
{
    for (struct map_node *m = map_first(&n->children, child_hash(parent, label, len)); m; m = map_next(m)) {
        struct node *c = container_of(m, struct node, link);

        if (c->parent == parent && strlen(c->label) == len && !memcmp(c->label, label, len))
            return c;
    }
    return NULL;
}

static struct node *make_child(struct names *n, struct node *parent, const char *label, size_t len)
{
    struct node *c = len == 1 && *label == '*' ? parent->star : child(n, parent, label, len);

    if (c || !(c = arena_alloc(&n->mem, sizeof(*c))))
        return c;
    c->parent = parent;
    if (!(c->label = arena_strdup(&n->mem, label, len)))
        return NULL;
    if (len == 1 && *label == '*')
        parent->star = c;
    else
        map_add(&n->children, &c->link, child_hash(parent, label, len));
    return c;
}

int names_add(struct names *n, const char *pattern, void *value)
{
    char host[HOST_MAX + 1];
    bool self = true, below = false;
    struct node *at = &n->root;
    size_t end;

    if (!strncmp(pattern, "+.", 2)) {
        below = true;
        pattern += 2;
    } else if (*pattern == '.') {
        below = true;
        self = false;
        pattern++;
    }
    end = strlen(pattern);
    if (!end || pattern[end - 1] == '.' || strchr(pattern, '/') || host_normalise(pattern, end, host) < 0)
        return -EINVAL;
    while (end) {
        size_t from = end;

        while (from && host[from - 1] != '.')
            from--;
        if (!(at = make_child(n, at, host + from, end - from)))
            return -ENOMEM;
        end = from ? from - 1 : 0;
    }
    if (self && !at->self)
        at->self = value;
    if (below && !at->below)
        at->below = value;
    return 0;
}

/* name[0..end) is what is left, to the left of this node. */
static void *search(const struct names *n, const struct node *at, const char *name, size_t end)
{
    size_t from = end;
    struct node *c;
    void *v = NULL;

    if (!end)
        return at->self;
    while (from && name[from - 1] != '.')
        from--;
    if ((c = child(n, at, name + from, end - from)))
        v = search(n, c, name, from ? from - 1 : 0);
    if (!v && at->star)
        v = search(n, at->star, name, from ? from - 1 : 0);
    return v ? v : at->below;
}

void *names_find(const struct names *n, const char *name)
{
    return *name ? search(n, &n->root, name, strlen(name)) : NULL;
}
