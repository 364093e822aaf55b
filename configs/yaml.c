/*
 * yaml.c - YAML bytes -> a tree of nodes that remember where they stood
 *
 * libyaml's event interface (its document loader leaks when memory runs out, and it is quadratic in nesting: our own depth counter stops
 * first). The tree is built on an explicit stack.
 *
 *   a: &x { k: v }        map ──► a ──► k            an alias is a node of its own that shares the children of its anchor: it costs one
 * node however big the b: *x                     └─► b ──┘              anchor is. Every node counts what it stands for, so an alias bomb
 * ends as a message before anybody walks it
 *
 * Merge keys (`<<`) are resolved when their mapping ends: own keys win, earlier sources win over later ones. Of a key that is there twice
 * the first counts, and it is an error (in what only other programs read, a warning). What libyaml says of broken YAML is put into words
 * for people (table `words`).
 *
 * All nodes and texts live in the arena of the document; the working memory of the builder goes with cfg_parse_into().
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "configs/private.h"
#include "core/arena.h"
#include "core/hash.h"
#include "core/list.h"
#include "core/map.h"

#define TEXT_BLOCK     8192
#define TEXT_UNIT      64  /* bytes of text that count as one more value */
#define DUPLICATES_MAX 100 /* enough to repair by hand; more is hostile */

struct cfg_doc {
    struct arena mem;
    char *text; /* where the next text goes */
    size_t text_left;
    const struct cfg_node *root;
    bool failed;
};

struct anchor {
    struct map_node node;
    const struct cfg_node *value; /* NULL while it is being filled: it must not contain itself */
    char name[];
};

/* A collection that is being filled. */
struct frame {
    struct cfg_node *node, *last, *key; /* key: read, its value comes next */
    struct anchor *anchor;              /* to be set when it is complete */
};

/* Keys seen so far in one mapping: open addressing over its values. */
struct seen {
    const struct cfg_node **slot;
    uint32_t size, mask;
};

struct builder {
    struct cfg_doc *doc;
    struct diag *d;
    uint32_t source; /* the upper bits of our columns */
    const struct cfg_node *root;
    struct frame stack[CFG_MAX_DEPTH];
    int depth;
    uint32_t nodes; /* aliases expanded */
    unsigned duplicates;
    struct map anchors;
    struct seen seen;
    bool colons; /* stand-ins for colons are in the text */
    bool again;  /* libyaml wants a colon quoted that others take: with stand-ins once more */
    bool failed;
};

/* ---- memory ---- */

struct cfg_doc *cfg_doc_new(void)
{
    return calloc(1, sizeof(struct cfg_doc));
}

void cfg_set_root(struct cfg_doc *doc, const struct cfg_node *root)
{
    doc->root = root;
}

void cfg_doc_free(struct cfg_doc *doc)
{
    if (!doc)
        return;
    arena_fini(&doc->mem);
    free(doc);
}

void *cfg_alloc(struct cfg_doc *doc, size_t n)
{
    void *p = arena_alloc(&doc->mem, n);

    if (!p)
        doc->failed = true;
    return p;
}

/* Texts need no alignment: short ones share blocks. */
char *cfg_strdup(struct cfg_doc *doc, const char *s, size_t len)
{
    char *p;

    if (len >= TEXT_BLOCK / 4) {
        p = cfg_alloc(doc, len + 1);
    } else {
        if (doc->text_left <= len) {
            if (!(doc->text = cfg_alloc(doc, TEXT_BLOCK))) {
                doc->text_left = 0;
                return NULL;
            }
            doc->text_left = TEXT_BLOCK;
        }
        p = doc->text;
        doc->text += len + 1;
        doc->text_left -= len + 1;
    }
    if (p && len)
        memcpy(p, s, len);
    return p;
}

bool cfg_failed(const struct cfg_doc *doc)
{
    return doc->failed;
}

/* ---- words for people ---- */

static void fail(struct builder *b, uint32_t line, uint32_t col, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static void fail(struct builder *b, uint32_t line, uint32_t col, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (b->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    diag_err(b->d, line, col | b->source, "", "yaml", "%s", text);
    b->failed = true;
}

static void no_memory(struct builder *b)
{
    fail(b, 0, 0, "out of memory");
}

/* What libyaml says; where to point: the construct's beginning tells more than the place where it broke, or is told besides; our words. */
enum { AT_START = 1, TELL_START = 2 };
static const struct {
    const char *problem, *context; /* context NULL: any */
    unsigned flags;
    const char *words;
} words[] = {
    { "could not find expected ':'", NULL, AT_START,
      "neither \"key: value\" nor \"- entry\": a key needs a colon with a blank behind it, a text that goes on needs deeper indentation or "
      "quotes" },
    { "mapping values are not allowed in this context", NULL, 0,
      "a \": \" cannot stand here: put the text in quotes, or align this line with its neighbours" },
    { "did not find expected key", NULL, TELL_START,
      "this belongs to no mapping: keys of one mapping stand in one column, and nothing may follow a closing quote; the mapping before it "
      "begins" },
    { "did not find expected '-' indicator", NULL, TELL_START,
      "this does not fit into the list above: its dashes must stand in one column; it begins" },
    { "did not find expected ',' or ']'", NULL, TELL_START, "a comma or ] is missing before this; the [ stands" },
    { "did not find expected ',' or '}'", NULL, TELL_START, "a comma or } is missing before this; the { stands" },
    { "did not find expected node content", NULL, 0, "a value is missing here" },
    { "did not find expected alphabetic or numeric character", "while scanning an alias", AT_START,
      "text that begins with * needs quotes (else it refers to an anchor, whose name has no letters but A-Z, a-z)" },
    { "did not find expected alphabetic or numeric character", NULL, AT_START,
      "text that begins with & needs quotes (else it is an anchor, whose name has no letters but A-Z, a-z)" },
    { "found unexpected end of stream", NULL, AT_START, "the quote that opens here is never closed" },
    { "found unexpected document indicator", NULL, AT_START, "the quote that opens here is not closed before the document ends" },
    { "found unknown escape character", NULL, 0, "a backslash between double quotes begins an escape: double it, or use single quotes" },
    { "did not find expected hexdecimal number", NULL, 0,
      "a backslash between double quotes begins an escape: double it, or use single quotes" },
    { "found invalid Unicode character escape code", NULL, 0, "this escape names no character" },
    { "found a tab character that violates indentation", NULL, 0, "a tab cannot indent: use blanks" },
    { "found a tab character where an indentation space is expected", NULL, 0, "a tab cannot indent: use blanks" },
    { "block sequence entries are not allowed in this context", NULL, 0,
      "a list entry (- ) cannot begin here: begin a new line, or put the text in quotes" },
    { "mapping keys are not allowed in this context", NULL, 0, "a key cannot begin here: begin a new line, or put the text in quotes" },
    { "did not find expected comment or line break", NULL, 0, "behind | or > the line must end; the text begins in the next one" },
    { "found an indentation indicator equal to 0", NULL, 0, "the indentation behind | or > is 1 to 9" },
    { "found unexpected ':'", NULL, 0, "a text with \":\" between brackets needs quotes" },
    { "did not find expected <document start>", NULL, 0, "the document has ended above: nothing can follow here" },
    { "found undefined tag handle", NULL, 0, "text that begins with ! needs quotes (else it is a tag)" },
    { "did not find expected whitespace or line break", "while scanning a tag", AT_START,
      "text that begins with ! needs quotes (else it is a tag)" },
    { "did not find expected tag URI", NULL, AT_START, "text that begins with ! needs quotes (else it is a tag)" },
    { "did not find the expected '>'", NULL, AT_START, "the tag that begins with !< is not closed" },
    { "could not find expected directive name", NULL, AT_START, "a line that begins with % needs quotes" },
    { "found unknown directive name", NULL, AT_START, "a line that begins with % needs quotes" },
    { "found incompatible YAML document", NULL, 0, "only YAML 1.1 and 1.2 can be read" },
};

static uint32_t mark_line(const yaml_mark_t *m)
{
    return (uint32_t)m->line + 1;
}

static uint32_t mark_column(const yaml_mark_t *m)
{
    return (uint32_t)m->column + 1;
}

/* Where a byte stands; libyaml tells only the offset of what it cannot read. */
static void position_of(const char *bytes, size_t at, uint32_t *line, uint32_t *col)
{
    *line = *col = 1;
    for (size_t i = 0; i < at; i++) {
        if (bytes[i] == '\n') {
            ++*line;
            *col = 1;
        } else if (((unsigned char)bytes[i] & 0xc0) != 0x80) {
            ++*col;
        }
    }
}

static bool is_utf16(const char *bytes, size_t len)
{
    return len >= 2 && (!memcmp(bytes, "\xff\xfe", 2) || !memcmp(bytes, "\xfe\xff", 2));
}

static void not_text(struct builder *b, const yaml_parser_t *p, const char *bytes, size_t len)
{
    uint32_t line = mark_line(&p->mark), col = 1;
    size_t bom = len >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3) ? 3 : 0;

    if (!is_utf16(bytes, len) && p->problem_offset >= bom && p->problem_offset <= len)
        position_of(bytes + bom, p->problem_offset - bom, &line, &col);
    if (p->problem_value < 0)
        fail(b, line, col, "the text ends in the middle of a character: it was cut, or is not UTF-8");
    else if (!strcmp(p->problem, "control characters are not allowed"))
        fail(b, line, col, "the control character U+%04X is not allowed: remove it", (unsigned)p->problem_value);
    else
        fail(b, line, col, "this is not UTF-8 (byte 0x%02X): save the file as UTF-8", (unsigned)p->problem_value & 0xff);
}

/* A character that begins nothing: most often a tab, or a text that needs quotes. */
static void no_token(struct builder *b, const yaml_mark_t *m, unsigned char c)
{
    if (c == '\t')
        fail(b, mark_line(m), mark_column(m), "a tab cannot indent: use blanks");
    else
        fail(b, mark_line(m), mark_column(m), "text that begins with %c needs quotes", c > ' ' && c < 127 ? c : '?');
}

/* Did it break where the text ends? Then the beginning of what is not complete tells more. */
static bool not_complete(struct builder *b, const yaml_parser_t *p)
{
    const struct cfg_node *open = b->depth ? b->stack[b->depth - 1].node : NULL;

    if (!open || !p->eof || *p->buffer.pointer || p->problem_mark.index < p->mark.index) /* a NUL stands behind the text */
        return false;
    fail(b, open->line, cfg_column(open->column), "what begins here is not complete when the text ends");
    return true;
}

static void not_yaml(struct builder *b, const yaml_parser_t *p, const char *bytes, size_t len)
{
    const yaml_mark_t *at = &p->problem_mark, *start = p->context ? &p->context_mark : at;

    if (p->error == YAML_MEMORY_ERROR || !p->problem) {
        no_memory(b);
        return;
    }
    if (p->error == YAML_READER_ERROR) {
        not_text(b, p, bytes, len);
        return;
    }
    if (!strcmp(p->problem, "found unexpected ':'") && !b->colons && !b->duplicates) {
        b->again = b->failed = true;
        return;
    }
    if (!strcmp(p->problem, "found character that cannot start any token")) {
        no_token(b, at, p->buffer.pointer < p->buffer.last ? *p->buffer.pointer : 0);
        return;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(p->problem, words[i].problem) != 0 || (words[i].context && (!p->context || strcmp(p->context, words[i].context) != 0)))
            continue;
        if (words[i].flags & AT_START)
            fail(b, mark_line(start), mark_column(start), "%s", words[i].words);
        else if (not_complete(b, p))
            return;
        else if (words[i].flags & TELL_START)
            fail(b, mark_line(at), mark_column(at), "%s in line %u", words[i].words, mark_line(start));
        else
            fail(b, mark_line(at), mark_column(at), "%s", words[i].words);
        return;
    }
    fail(b, mark_line(at), mark_column(at), "%s", p->problem);
}

/* ---- nodes ---- */

/* What a text counts: who walks the expanded tree may copy it every time, so a long one is many values. */
static uint32_t weight(size_t len)
{
    return 1 + (uint32_t)(len / TEXT_UNIT);
}

/* Counts values of the expanded tree against the cap. */
static bool count(struct builder *b, uint32_t more, uint32_t line, uint32_t col)
{
    if (more <= CFG_MAX_NODES - b->nodes) {
        b->nodes += more;
        return true;
    }
    fail(b, line, col, "more than 1,000,000 values, aliases expanded: this is no profile");
    return false;
}

static struct cfg_node *node_new(struct builder *b, enum cfg_kind kind, uint32_t size, uint32_t line, uint32_t col)
{
    struct cfg_node *n;

    if (!count(b, size, line, col))
        return NULL;
    if (!(n = cfg_alloc(b->doc, sizeof(*n)))) {
        no_memory(b);
        return NULL;
    }
    n->kind = kind;
    n->line = line;
    n->column = col | b->source;
    n->size = size;
    n->height = kind == CFG_SEQ || kind == CFG_MAP;
    return n;
}

/* Another node for the same value: children are shared. It counts itself besides what it stands for. */
static struct cfg_node *share(struct builder *b, const struct cfg_node *from, int depth, uint32_t line, uint32_t col)
{
    struct cfg_node *n;

    if (depth + from->height > CFG_MAX_DEPTH) {
        fail(b, line, col, "nested deeper than 64 levels");
        return NULL;
    }
    if (!count(b, from->size + 1, line, col))
        return NULL;
    if (!(n = cfg_alloc(b->doc, sizeof(*n)))) {
        no_memory(b);
        return NULL;
    }
    *n = *from;
    n->key = NULL;
    n->next = NULL;
    return n;
}

static void append(struct cfg_node *parent, struct cfg_node **last, struct cfg_node *n)
{
    if (*last)
        (*last)->next = n;
    else
        parent->child = n;
    *last = n;
    parent->n++;
    parent->size += n->size + (n->key ? n->key->size : 0);
    if (n->height >= parent->height)
        parent->height = n->height + 1;
}

static void add_value(struct builder *b, struct cfg_node *n)
{
    struct frame *f = b->depth ? &b->stack[b->depth - 1] : NULL;

    if (!f) {
        b->root = n;
    } else if (f->node->kind == CFG_MAP && !f->key) {
        if (n->kind != CFG_SCALAR && n->kind != CFG_NULL)
            fail(b, n->line, cfg_column(n->column), "a key must be a plain text");
        f->key = n;
    } else {
        n->key = f->key;
        f->key = NULL;
        append(f->node, &f->last, n);
    }
}

/* ---- merge keys and duplicates ---- */

static bool same_key(const struct cfg_node *a, const struct cfg_node *b)
{
    return a->key->len == b->key->len && !memcmp(a->key->text, b->key->text, a->key->len);
}

static int seen_reset(struct seen *s, uint32_t n)
{
    uint32_t want = 16;

    while (want < n * 2)
        want *= 2;
    if (want > s->size) {
        free(s->slot);
        s->size = 0;
        if (!(s->slot = malloc(want * sizeof(struct cfg_node *))))
            return -ENOMEM;
        s->size = want;
    }
    memset(s->slot, 0, want * sizeof(struct cfg_node *));
    s->mask = want - 1;
    return 0;
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

/* Adds src's entries that the map does not have. */
static void merge_from(struct builder *b, struct cfg_node *map, struct cfg_node **last, const struct cfg_node *src)
{
    for (const struct cfg_node *v = src->child; v && !b->failed; v = v->next) {
        struct cfg_node *c;

        if (seen_add(&b->seen, v) || !(c = share(b, v, b->depth, v->line, cfg_column(v->column))))
            continue;
        c->key = v->key;
        append(map, last, c);
    }
}

/* What a merge key holds, one mapping after the other; *e walks a list. */
static const struct cfg_node *merge_source(struct builder *b, const struct cfg_node *v, const struct cfg_node **e)
{
    const struct cfg_node *src = v;

    if (v->kind == CFG_SEQ) {
        *e = *e ? (*e)->next : v->child;
        src = *e;
    } else if (*e) {
        return NULL;
    } else {
        *e = v;
    }
    if (src && src->kind != CFG_MAP && src->kind != CFG_NULL)
        fail(b, src->line, cfg_column(src->column), "a merge key (<<) takes a mapping or a list of mappings");
    return src;
}

static uint32_t merged_keys(const struct cfg_node *v)
{
    uint32_t n = v->kind == CFG_MAP ? v->n : 0;

    for (const struct cfg_node *e = v->kind == CFG_SEQ ? v->child : NULL; e; e = e->next)
        n += e->kind == CFG_MAP ? e->n : 0;
    return n;
}

/* Inside what other programs keep in a profile: nobody reads it, so nobody is misled. */
static bool is_in_a_helper(const struct builder *b)
{
    const struct frame *top = &b->stack[0];

    return b->depth > 1 && top->node->kind == CFG_MAP && top->key && !sections_know(top->key->text);
}

static void duplicate(struct builder *b, const struct cfg_node *v, const struct cfg_node *first)
{
    char name[CFG_QUOTE_MAX];

    cfg_quote(v->key->text, v->key->len, name);
    if (++b->duplicates > DUPLICATES_MAX)
        fail(b, v->key->line, cfg_column(v->key->column), "the key \"%s\" is here twice, too; the rest was not read", name);
    else if (is_in_a_helper(b))
        diag_warn(b->d, v->key->line, v->key->column, "", "yaml", "the key \"%s\" is here twice: the first, in line %u, counts", name,
                  first->key->line);
    else
        diag_err(b->d, v->key->line, v->key->column, "", "yaml", "the key \"%s\" is here twice (first in line %u): remove one", name,
                 first->key->line);
}

/* A mapping is complete: its own keys first, then what the merge keys bring. */
static void finish_map(struct builder *b, struct frame *f)
{
    struct cfg_node *map = f->node, *merges = NULL, **merge_end = &merges, *next;
    uint32_t room = map->n;

    for (struct cfg_node *v = map->child; v; v = v->next)
        room += is_merge(v) ? merged_keys(v) : 0;
    if (seen_reset(&b->seen, room + 1) < 0) {
        no_memory(b);
        return;
    }
    next = map->child;
    map->child = f->last = NULL;
    map->n = 0;
    map->size = map->height = 1;
    for (struct cfg_node *v = next; v && !b->failed; v = next) {
        const struct cfg_node *twin = NULL;

        next = v->next;
        v->next = NULL;
        if (is_merge(v)) {
            *merge_end = v;
            merge_end = &v->next;
        } else if ((twin = seen_add(&b->seen, v))) {
            duplicate(b, v, twin);
        } else {
            append(map, &f->last, v);
        }
    }
    for (struct cfg_node *m = merges; m && !b->failed; m = m->next) {
        const struct cfg_node *e = NULL, *src;

        while (!b->failed && (src = merge_source(b, m, &e)))
            merge_from(b, map, &f->last, src);
    }
}

/* ---- anchors ---- */

static struct anchor *anchor_find(struct builder *b, const char *name, uint64_t hash)
{
    for (struct map_node *m = map_first(&b->anchors, hash); m; m = map_next(m)) {
        struct anchor *a = container_of(m, struct anchor, node);

        if (!strcmp(a->name, name))
            return a;
    }
    return NULL;
}

/* The anchor of a value that begins here, or NULL when it has none. A later anchor of the same name takes the place of the earlier. */
static struct anchor *anchor_begin(struct builder *b, const yaml_char_t *yaml_name)
{
    const char *name = (const char *)yaml_name;
    size_t len = name ? strlen(name) : 0;
    uint64_t hash;
    struct anchor *a;

    if (!name)
        return NULL;
    hash = hash_bytes(name, len);
    if ((a = anchor_find(b, name, hash))) {
        a->value = NULL;
        return a;
    }
    if (!(a = cfg_alloc(b->doc, sizeof(*a) + len + 1))) {
        no_memory(b);
        return NULL;
    }
    memcpy(a->name, name, len + 1);
    map_add(&b->anchors, &a->node, hash);
    return a;
}

/* ---- colons at the end of a text ---- */

/*
 * Between brackets a text may end with a colon for every YAML reader but libyaml: {server: 2001:db8::, port: 1}. So such colons get a stand-in of
 * one character (columns stay what they are), which is taken back when the text is read.
 */
#define STAND_IN "\xee\x80\xba" /* U+E03A, of private use */

static bool ends_a_text(const char *s, size_t at, size_t len)
{
    return s[at] == ':' && at && at + 1 < len && strchr(",]}", s[at + 1]) && s[at + 1] && !strchr(" \t\r\n\"'[{,", s[at - 1]);
}

/* A copy with stand-ins; the caller's. NULL: no memory. */
static char *with_stand_ins(const char *bytes, size_t len, size_t *out_len)
{
    size_t n = 0;
    char *out, *to;

    for (size_t i = 0; i < len; i++)
        n += ends_a_text(bytes, i, len);
    if (!(out = to = malloc(len + 2 * n + 1)))
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (ends_a_text(bytes, i, len))
            to = (char *)memcpy(to, STAND_IN, 3) + 3;
        else
            *to++ = bytes[i];
    }
    *out_len = (size_t)(to - out);
    return out;
}

static size_t take_back_colons(char *s, size_t len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++, to++) {
        bool one = len - i >= 3 && !memcmp(s + i, STAND_IN, 3);

        s[to] = one ? ':' : s[i];
        i += one ? 2 : 0;
    }
    s[to] = 0;
    return to;
}

/* ---- events ---- */

static bool is_null(const char *s, size_t len)
{
    return len == 0 || (len == 1 && *s == '~') || (len == 4 && (!memcmp(s, "null", 4) || !memcmp(s, "Null", 4) || !memcmp(s, "NULL", 4)));
}

/* Is it text whatever it looks like? By style, unless a tag says otherwise: `!!str 1`, `!<str> 1` and `! 1` are text, `!!int "1"` is not.
 */
static bool is_text(const char *tag, bool plain)
{
    static const char *const typed[] = { YAML_INT_TAG, YAML_FLOAT_TAG, YAML_BOOL_TAG, YAML_NULL_TAG };

    if (!tag)
        return !plain;
    for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++)
        if (!strcmp(tag, typed[i]))
            return false;
    return true;
}

static void on_scalar(struct builder *b, const yaml_event_t *e, uint32_t line, uint32_t col)
{
    struct anchor *a = anchor_begin(b, e->data.scalar.anchor);
    struct cfg_node *n = node_new(b, CFG_SCALAR, weight(e->data.scalar.length), line, col);

    if (!n)
        return;
    n->len = e->data.scalar.length;
    n->text = cfg_strdup(b->doc, (const char *)e->data.scalar.value, n->len);
    if (b->colons && n->text)
        n->len = take_back_colons((char *)n->text, n->len);
    n->quoted = is_text((const char *)e->data.scalar.tag, e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
    if (!n->text)
        no_memory(b);
    else if (memchr(n->text, 0, n->len))
        fail(b, line, col, "a text with a NUL character");
    else if (!n->quoted && is_null(n->text, n->len))
        n->kind = CFG_NULL;
    if (a)
        a->value = n;
    add_value(b, n);
}

static void on_start(struct builder *b, enum cfg_kind kind, const yaml_char_t *anchor, uint32_t line, uint32_t col)
{
    struct cfg_node *n;

    if (b->depth == CFG_MAX_DEPTH)
        fail(b, line, col, "nested deeper than 64 levels");
    else if ((n = node_new(b, kind, 1, line, col)))
        b->stack[b->depth++] = (struct frame){ .node = n, .anchor = anchor_begin(b, anchor) };
}

/* Handed to its parent only now, when its size is known. */
static void on_end(struct builder *b)
{
    struct frame *f = &b->stack[b->depth - 1];

    if (f->node->kind == CFG_MAP)
        finish_map(b, f);
    if (f->anchor)
        f->anchor->value = f->node;
    b->depth--;
    add_value(b, f->node);
}

static void on_alias(struct builder *b, const yaml_event_t *e, uint32_t line, uint32_t col)
{
    const char *name = (const char *)e->data.alias.anchor;
    struct anchor *a = anchor_find(b, name, hash_bytes(name, strlen(name)));
    char shown[CFG_QUOTE_MAX];
    struct cfg_node *n;

    if (!a || !a->value) {
        cfg_quote(name, strlen(name), shown);
        if (a)
            fail(b, line, col, "the alias *%s stands inside its own anchor", shown);
        else
            fail(b, line, col, "there is no anchor &%s above this alias", shown);
        return;
    }
    if (!(n = share(b, a->value, b->depth, line, col)))
        return;
    n->line = line;
    n->column = col | b->source;
    add_value(b, n);
}

/* One event; true when the first document is complete. */
static bool on_event(struct builder *b, const yaml_event_t *e)
{
    uint32_t line = mark_line(&e->start_mark), col = mark_column(&e->start_mark);

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
        no_memory(b);
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)bytes, len);
    while (!done) {
        if (!yaml_parser_parse(&parser, &e)) {
            not_yaml(b, &parser, bytes, len);
            break;
        }
        done = on_event(b, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
}

static void parse_once(struct builder *b, const char *bytes, size_t len)
{
    if (map_init(&b->anchors, 16) < 0)
        no_memory(b);
    else
        run(b, bytes, len);
    map_fini(&b->anchors);
    free(b->seen.slot);
}

/* Nothing was said about the text yet. When the stand-in is in it already, it is told what libyaml does not like. */
static void parse_again(struct builder *b, const char *bytes, size_t len)
{
    bool taken = memmem(bytes, len, STAND_IN, 3);
    size_t more = len;
    char *text = taken ? NULL : with_stand_ins(bytes, len, &more);

    *b = (struct builder){ .doc = b->doc, .d = b->d, .source = b->source, .colons = true };
    if (text || taken)
        parse_once(b, text ? text : bytes, more);
    else
        no_memory(b);
    free(text);
}

int cfg_parse_into(struct cfg_doc *doc, const char *bytes, size_t len, unsigned source, struct diag *d, const struct cfg_node **root)
{
    struct builder b = { .doc = doc, .d = d, .source = source << CFG_SOURCE_SHIFT };

    *root = NULL;
    if (len > CFG_MAX_INPUT)
        fail(&b, 0, 0, "larger than 64 MiB: this is no profile");
    else
        parse_once(&b, bytes, len);
    if (b.again)
        parse_again(&b, bytes, len);
    if (b.failed)
        return -EINVAL;
    *root = b.root;
    return 0;
}

struct cfg_doc *cfg_parse(const char *bytes, size_t len, struct diag *d)
{
    struct cfg_doc *doc = cfg_doc_new();
    size_t errors = d->n_errors;

    if (!doc)
        diag_err(d, 0, 0, "", "yaml", "out of memory");
    else if (cfg_parse_into(doc, bytes, len, 0, d, &doc->root) == 0 && d->n_errors == errors)
        return doc;
    cfg_doc_free(doc);
    return NULL;
}

/* ---- walking ---- */

const struct cfg_node *cfg_root(const struct cfg_doc *doc)
{
    return doc->root;
}

const struct cfg_node *cfg_first(const struct cfg_node *n)
{
    return n && (n->kind == CFG_SEQ || n->kind == CFG_MAP) ? n->child : NULL;
}

bool cfg_loosely_same(const char *key, const char *written, bool underscores)
{
    for (; *key && *written; key++, written++) {
        char a = *key, b = *written;

        if (a == b)
            continue;
        if (underscores && b == '_')
            b = '-';
        if ((a >= 'A' && a <= 'Z' ? a + 32 : a) != (b >= 'A' && b <= 'Z' ? b + 32 : b))
            return false;
    }
    return !*key && !*written;
}

const struct cfg_node *cfg_find(const struct cfg_node *map, const char *key, enum cfg_keys keys)
{
    const struct cfg_node *loose = NULL;
    size_t len = strlen(key);

    if (!map || map->kind != CFG_MAP)
        return NULL;
    for (const struct cfg_node *n = map->child; n; n = n->next) {
        if (n->key->len != len)
            continue;
        if (!memcmp(n->key->text, key, len))
            return n;
        if (keys != CFG_KEYS_EXACT && !loose && cfg_loosely_same(key, n->key->text, keys == CFG_KEYS_PROXY))
            loose = n;
    }
    return loose;
}

const struct cfg_node *cfg_get(const struct cfg_node *map, const char *key)
{
    return cfg_find(map, key, CFG_KEYS_EXACT);
}

const char *cfg_text(const struct cfg_node *map, const char *key, enum cfg_keys keys)
{
    const struct cfg_node *n = cfg_find(map, key, keys);

    return n && n->kind == CFG_SCALAR && n->len ? n->text : NULL;
}
