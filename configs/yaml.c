/*
 * yaml.c - YAML bytes -> a tree of nodes that remember where they stood
 *
 * libyaml's event interface (its document loader leaks when memory runs out, and it is quadratic in nesting: our own depth counter stops first). The
 * tree is built on an explicit stack; an alias copies the anchor's tree, so that every node has one parent, and copies count against the cap: an alias bomb
 * ends as a message. Merge keys (`<<`) are resolved when their mapping ends: own keys win, earlier sources win over later ones.
 * Duplicate keys are an error; large mappings are checked through a hash set.
 *
 * All nodes and texts live in the arena of the document.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "configs/config.h"
#include "core/arena.h"
#include "core/hash.h"

struct cfg_doc {
    struct arena mem;
    const struct cfg_node *root;
};

struct anchor {
    struct anchor *next;
    const char *name;
    const struct cfg_node *node;
};

/* A collection that is being filled. */
struct frame {
    struct cfg_node *node, *last, *key; /* key: read, its value comes next */
    struct anchor *anchor;              /* to be set when it is complete */
};

struct builder {
    struct cfg_doc *doc;
    struct diag *d;
    struct frame stack[CFG_MAX_DEPTH];
    int depth;
    uint32_t nodes;
    struct anchor *anchors;
    bool failed;
};

struct cfg_doc *cfg_doc_new(void)
{
    return calloc(1, sizeof(struct cfg_doc));
}

void cfg_set_root(struct cfg_doc *doc, const struct cfg_node *root)
{
    doc->root = root;
}

void *cfg_alloc(struct cfg_doc *doc, size_t n)
{
    return arena_alloc(&doc->mem, n);
}

char *cfg_strdup(struct cfg_doc *doc, const char *s, size_t len)
{
    return arena_strdup(&doc->mem, s, len);
}

static void fail(struct builder *b, uint32_t line, uint32_t col, const char *text)
{
    if (!b->failed)
        diag_err(b->d, line, col, "", "yaml", "%s", text);
    b->failed = true;
}

static struct cfg_node *node_new(struct builder *b, enum cfg_kind kind, uint32_t line, uint32_t col)
{
    struct cfg_node *n;

    if (++b->nodes > CFG_MAX_NODES) {
        fail(b, line, col, "more than 1,000,000 nodes after expanding aliases");
        return NULL;
    }
    if (!(n = cfg_alloc(b->doc, sizeof(*n)))) {
        fail(b, line, col, "out of memory");
        return NULL;
    }
    n->kind = kind;
    n->line = line;
    n->column = col;
    return n;
}

/* ---- merge keys and duplicates ---- */

static bool same_key(const struct cfg_node *a, const struct cfg_node *b)
{
    return a->key->len == b->key->len && !memcmp(a->key->text, b->key->text, a->key->len);
}

/* Keys seen so far: open addressing over the values of one mapping. */
struct seen {
    const struct cfg_node **slot;
    uint32_t mask;
};

static int seen_init(struct seen *s, uint32_t n)
{
    uint32_t size = 16;

    while (size < n * 2)
        size *= 2;
    s->slot = calloc(size, sizeof(*s->slot));
    s->mask = size - 1;
    return s->slot ? 0 : -ENOMEM;
}

/* The one with the same key that is there already, or NULL after adding. */
static const struct cfg_node *seen_add(struct seen *s, const struct cfg_node *v)
{
    uint32_t i = (uint32_t)hash_bytes(v->key->text, v->key->len) & s->mask;

    for (; s->slot[i]; i = (i + 1) & s->mask)
        if (same_key(s->slot[i], v))
            return s->slot[i];
    s->slot[i] = v;
    return NULL;
}

static bool is_merge(const struct cfg_node *v)
{
    return !v->key->quoted && v->key->len == 2 && !memcmp(v->key->text, "<<", 2);
}

static struct cfg_node *copy_tree(struct builder *b, const struct cfg_node *from, int depth);

/* Appends copies of src's entries that map does not have. */
static void merge_from(struct builder *b, struct cfg_node *map, struct cfg_node ***end, struct seen *s, const struct cfg_node *src)
{
    if (src->kind == CFG_SEQ) {
        for (const struct cfg_node *e = src->child; e && !b->failed; e = e->next)
            merge_from(b, map, end, s, e);
        return;
    }
    if (src->kind != CFG_MAP) {
        fail(b, src->line, src->column, "a merge key (<<) takes a mapping or a list of mappings");
        return;
    }
    for (const struct cfg_node *v = src->child; v && !b->failed; v = v->next) {
        struct cfg_node *c;

        if (seen_add(s, v) || !(c = copy_tree(b, v, 0)))
            continue;
        c->key = v->key;
        **end = c;
        *end = &c->next;
        map->n++;
    }
}

static uint32_t merged_size(const struct cfg_node *v)
{
    uint32_t n = v->kind == CFG_MAP ? v->n : 0;

    for (const struct cfg_node *e = v->kind == CFG_SEQ ? v->child : NULL; e; e = e->next)
        n += e->n;
    return n;
}

/* A mapping is complete: duplicate keys are found, merge keys dissolved. */
static void finish_map(struct builder *b, struct cfg_node *map)
{
    struct cfg_node *merges = NULL, **merge_end = &merges, **at = &map->child;
    uint32_t size = map->n;
    struct seen s;

    for (struct cfg_node *v = map->child; v; v = v->next)
        size += is_merge(v) ? merged_size(v) : 0;
    if (seen_init(&s, size + 1) < 0) {
        fail(b, map->line, map->column, "out of memory");
        return;
    }
    while (*at && !b->failed) {
        struct cfg_node *v = *at;
        const struct cfg_node *twin;

        if (is_merge(v)) {
            *at = v->next;
            v->next = NULL;
            *merge_end = v;
            merge_end = &v->next;
            map->n--;
            continue;
        }
        if ((twin = seen_add(&s, v))) {
            char name[64];

            diag_err(b->d, v->key->line, v->key->column, "", "yaml", "the key \"%s\" is here twice (first in line %u)",
                     log_safe(v->key->text, v->key->len > 40 ? 40 : v->key->len, name, sizeof(name)), twin->key->line);
            b->failed = true;
        }
        at = &v->next;
    }
    for (struct cfg_node *m = merges; m && !b->failed; m = m->next)
        merge_from(b, map, &at, &s, m);
    free(s.slot);
}

/* ---- building ---- */

static struct cfg_node *copy_tree(struct builder *b, const struct cfg_node *from, int depth)
{
    struct cfg_node *n, **end;

    if (depth >= CFG_MAX_DEPTH) {
        fail(b, from->line, from->column, "nested deeper than 64 levels");
        return NULL;
    }
    if (!(n = node_new(b, from->kind, from->line, from->column)))
        return NULL;
    n->quoted = from->quoted;
    n->text = from->text;
    n->len = from->len;
    n->n = from->n;
    end = &n->child;
    for (const struct cfg_node *c = from->child; c; c = c->next) {
        if (!(*end = copy_tree(b, c, depth + 1)))
            return NULL;
        (*end)->key = c->key;
        end = &(*end)->next;
    }
    return n;
}

static void add_value(struct builder *b, struct cfg_node *n)
{
    struct frame *f = b->depth ? &b->stack[b->depth - 1] : NULL;

    if (!f) {
        b->doc->root = n;
        return;
    }
    if (f->node->kind == CFG_MAP && !f->key) {
        if (n->kind != CFG_SCALAR && n->kind != CFG_NULL)
            fail(b, n->line, n->column, "a key must be a plain text");
        if (!n->text)
            n->text = "";
        f->key = n;
        return;
    }
    n->key = f->key;
    f->key = NULL;
    if (f->last)
        f->last->next = n;
    else
        f->node->child = n;
    f->last = n;
    f->node->n++;
}

static struct anchor *remember(struct builder *b, const yaml_char_t *name)
{
    struct anchor *a;

    if (!name || !(a = cfg_alloc(b->doc, sizeof(*a))))
        return NULL;
    a->name = cfg_strdup(b->doc, (const char *)name, strlen((const char *)name));
    if (!a->name)
        return NULL;
    a->next = b->anchors;
    b->anchors = a; /* a later anchor of the same name hides an earlier one */
    return a;
}

static bool is_null(const char *s, size_t len)
{
    return len == 0 || (len == 1 && *s == '~') || (len == 4 && (!memcmp(s, "null", 4) || !memcmp(s, "Null", 4) || !memcmp(s, "NULL", 4)));
}

static void on_scalar(struct builder *b, const yaml_event_t *e, uint32_t line, uint32_t col)
{
    struct anchor *a = remember(b, e->data.scalar.anchor);
    struct cfg_node *n = node_new(b, CFG_SCALAR, line, col);

    if (!n)
        return;
    n->len = e->data.scalar.length;
    n->text = cfg_strdup(b->doc, (const char *)e->data.scalar.value, n->len);
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
                (e->data.scalar.tag && !strcmp((const char *)e->data.scalar.tag, YAML_STR_TAG));
    if (!n->text)
        fail(b, line, col, "out of memory");
    else if (memchr(n->text, 0, n->len))
        fail(b, line, col, "a text with a NUL byte");
    else if (!n->quoted && is_null(n->text, n->len))
        n->kind = CFG_NULL;
    if (a)
        a->node = n;
    add_value(b, n);
}

static void on_start(struct builder *b, enum cfg_kind kind, const yaml_char_t *anchor, uint32_t line, uint32_t col)
{
    struct cfg_node *n;

    if (b->depth == CFG_MAX_DEPTH) {
        fail(b, line, col, "nested deeper than 64 levels");
        return;
    }
    if (!(n = node_new(b, kind, line, col)))
        return;
    add_value(b, n);
    b->stack[b->depth++] = (struct frame){ .node = n, .anchor = remember(b, anchor) };
}

static void on_end(struct builder *b)
{
    struct frame *f = &b->stack[--b->depth];

    if (f->node->kind == CFG_MAP)
        finish_map(b, f->node);
    if (f->anchor)
        f->anchor->node = f->node;
}

static void on_alias(struct builder *b, const yaml_event_t *e, uint32_t line, uint32_t col)
{
    const char *name = (const char *)e->data.alias.anchor;
    struct anchor *a = b->anchors;
    struct cfg_node *n;
    char shown[64];

    while (a && strcmp(a->name, name))
        a = a->next;
    if (!a || !a->node) {
        diag_err(b->d, line, col, "", "yaml", "there is no anchor \"%s\" above%s", log_safe(name, strlen(name) > 40 ? 40 : strlen(name), shown, sizeof(shown)),
                 a ? " that is complete: it would contain itself" : "");
        b->failed = true;
        return;
    }
    if ((n = copy_tree(b, a->node, b->depth)))
        add_value(b, n);
}

/* One event; true when the first document is complete. */
static bool on_event(struct builder *b, const yaml_event_t *e)
{
    uint32_t line = (uint32_t)e->start_mark.line + 1, col = (uint32_t)e->start_mark.column + 1;

    switch (e->type) {
    case YAML_SCALAR_EVENT: on_scalar(b, e, line, col); break;
    case YAML_ALIAS_EVENT: on_alias(b, e, line, col); break;
    case YAML_SEQUENCE_START_EVENT: on_start(b, CFG_SEQ, e->data.sequence_start.anchor, line, col); break;
    case YAML_MAPPING_START_EVENT: on_start(b, CFG_MAP, e->data.mapping_start.anchor, line, col); break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: on_end(b); break;
    case YAML_DOCUMENT_END_EVENT:
    case YAML_STREAM_END_EVENT: return true;
    default: break;
    }
    return b->failed;
}

static void run(struct builder *b, const char *bytes, size_t len)
{
    yaml_parser_t parser;
    yaml_event_t e;
    bool done = false;

    if (!yaml_parser_initialize(&parser)) {
        fail(b, 0, 0, "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, len);
    while (!done) {
        if (!yaml_parser_parse(&parser, &e)) {
            const yaml_mark_t *m = parser.error == YAML_READER_ERROR ? &parser.mark : &parser.problem_mark;

            fail(b, (uint32_t)m->line + 1, (uint32_t)m->column + 1, parser.problem ? parser.problem : "not YAML");
            break;
        }
        done = on_event(b, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
}

struct cfg_doc *cfg_parse(const char *bytes, size_t len, struct diag *d)
{
    struct builder b = { .d = d };

    if (len > CFG_MAX_INPUT) {
        diag_err(d, 0, 0, "", "yaml", "larger than 64 MiB");
        return NULL;
    }
    if (!(b.doc = calloc(1, sizeof(*b.doc)))) {
        diag_err(d, 0, 0, "", "yaml", "out of memory");
        return NULL;
    }
    run(&b, bytes, len);
    if (!b.failed)
        return b.doc;
    cfg_doc_free(b.doc);
    return NULL;
}

void cfg_doc_free(struct cfg_doc *doc)
{
    if (!doc)
        return;
    arena_fini(&doc->mem);
    free(doc);
}

const struct cfg_node *cfg_root(const struct cfg_doc *doc)
{
    return doc->root;
}

const struct cfg_node *cfg_first(const struct cfg_node *n)
{
    return n && (n->kind == CFG_SEQ || n->kind == CFG_MAP) ? n->child : NULL;
}

const struct cfg_node *cfg_get(const struct cfg_node *map, const char *key)
{
    const struct cfg_node *n = map && map->kind == CFG_MAP ? map->child : NULL;

    while (n && strcmp(n->key->text, key))
        n = n->next;
    return n;
}
