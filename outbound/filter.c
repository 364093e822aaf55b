/*
 * filter.c - regular expressions of a profile on names
 *
 * PCRE2 in its UTF mode, because profiles count on look-ahead and on names in any script. It backtracks, so a pattern can cost more than time there is:
 *
 *   one match   at most STEPS; a pattern that needs more is given up with a message
 *   a profile   at most BUDGET_NS of processor time for all its matches; then all filters are given up
 *
 * A pattern is compiled once per profile, however many groups use it.
 */
#include "outbound/filter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/hash.h"
#include "core/list.h"
#include "core/log.h"

#define STEPS 20000
#define BUDGET_NS 400000000u
#define ALWAYS_TIMED 64  /* first matches of a pattern; later one in TIMED_IN stands for all, which one nobody can foresee */
#define TIMED_IN 16
#define NAME_MAX_BYTES 1024

struct pattern {
    struct map_node node;
    pcre2_code *code; /* NULL: does not compile, or given up */
    pcre2_match_data *match;
    pcre2_match_context *limits;
    struct filter_at at; /* where it was met first */
    uint32_t n_matches;
    size_t len;
    char text[];
};

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- compiling ---- */

static void say(const struct filter_at *at, struct diag *d, const char *text, size_t len, const char *why)
{
    char shown[128];

    diag_warn(d, at->node->line, at->node->column, at->path, "bad-regex", "%s: \"%s\": %s", at->what, log_safe(text, len, shown, sizeof(shown)), why);
}

/*
 * Other engines know more letters in (?...) than PCRE2: u and e (which script or dialect \w speaks of) and d (their debugging) mean nothing here. Returns
 * the text without them, the caller's; NULL: no memory.
 */
static char *without_letters(const char *text, size_t len, size_t *out_len)
{
    static const char known[] = "imnsxued-";
    char *out = malloc(len + 1);
    bool in_class = false;
    size_t to = 0, end = 0;

    for (size_t i = 0; out && i < len; i++) {
        if (i < end && strchr("ued", text[i]))
            continue;
        out[to++] = text[i];
        if (text[i] == '\\' && i + 1 < len) {
            out[to++] = text[++i];
        } else if (in_class || text[i] == '[') {
            in_class = text[i] != ']';
        } else if (text[i] == '?' && i && text[i - 1] == '(' && i >= end) {
            for (end = i + 1; end < len && text[end] && strchr(known, text[end]); end++)
                ;
            end = end < len && (text[end] == ')' || text[end] == ':') ? end : i;
        }
    }
    *out_len = to;
    return out;
}

static void compile(struct pattern *p)
{
    size_t len = 0;
    char *text = without_letters(p->text, p->len, &len);
    pcre2_compile_context *extra = pcre2_compile_context_create(NULL);
    char why[160];
    PCRE2_SIZE at = 0;
    int err = PCRE2_ERROR_NOMEMORY;

    if (extra)
        pcre2_set_compile_extra_options(extra, PCRE2_EXTRA_ALT_BSUX); /* \uXXXX, as other engines have it */
    p->code = text ? pcre2_compile((PCRE2_SPTR)text, len, PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &err, &at, extra) : NULL;
    pcre2_compile_context_free(extra);
    free(text);
    if (!p->code) {
        size_t used = 0;

        pcre2_get_error_message(err, (PCRE2_UCHAR *)why, sizeof(why));
        used = strlen(why);
        snprintf(why + used, sizeof(why) - used, " (at byte %zu); it is left out", (size_t)at + 1);
        say(&p->at, p->at.d, p->text, p->len, why);
        return;
    }
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE); /* where it cannot, matching is slower */
    p->match = pcre2_match_data_create_from_pattern(p->code, NULL);
    p->limits = pcre2_match_context_create(NULL);
    if (p->limits) {
        pcre2_set_match_limit(p->limits, STEPS);
        pcre2_set_depth_limit(p->limits, STEPS);
        pcre2_set_heap_limit(p->limits, 1024); /* KiB */
    }
}

static void give_up(struct pattern *p)
{
    pcre2_code_free(p->code);
    p->code = NULL;
}

static struct pattern *find(struct filters *all, const char *text, size_t len)
{
    for (struct map_node *n = map_first(&all->by_text, hash_bytes(text, len)); n; n = map_next(n)) {
        struct pattern *p = container_of(n, struct pattern, node);

        if (p->len == len && !memcmp(p->text, text, len))
            return p;
    }
    return NULL;
}

/* A pattern may be spoken of long after it was met. */
static bool keep_place(struct filter_at *to, const struct filter_at *from, struct cfg_doc *doc)
{
    *to = *from;
    to->path = cfg_strdup(doc, from->path, strlen(from->path));
    to->what = cfg_strdup(doc, from->what, strlen(from->what));
    return to->path && to->what;
}

static struct pattern *get(struct filters *all, struct cfg_doc *doc, const char *text, size_t len, const struct filter_at *at)
{
    struct pattern *p = find(all, text, len);

    if (p) {
        if (!p->code && at->d)
            say(at, at->d, text, len, "it is left out here too");
        return p;
    }
    if (!(p = calloc(1, sizeof(*p) + len + 1)))
        return NULL;
    if (!keep_place(&p->at, at, doc)) {
        free(p);
        return NULL;
    }
    memcpy(p->text, text, len);
    p->len = len;
    map_add(&all->by_text, &p->node, hash_bytes(text, len));
    compile(p);
    if (p->code && (!p->match || !p->limits))
        give_up(p);
    return p;
}

int filter_compile(struct filters *all, struct cfg_doc *doc, const char *text, bool many, const struct filter_at *at, struct filter *out)
{
    uint32_t max = 1;

    for (const char *c = text; many && *c; c++)
        max += *c == '`';
    out->n = 0;
    if (!(out->v = cfg_alloc(doc, max * sizeof(struct pattern *))))
        return -ENOMEM;
    for (const char *from = text;;) {
        size_t len = many ? strcspn(from, "`") : strlen(from);
        struct pattern *p = get(all, doc, from, len, at);

        if (!p)
            return -ENOMEM;
        if (p->code)
            out->v[out->n++] = p;
        if (!from[len])
            return 0;
        from += len + 1;
    }
}

/* ---- matching ---- */

static bool may_run(struct filters *all, struct pattern *p, struct diag *d)
{
    if (all->tired || !p->code)
        return false;
    if (all->spent_ns < BUDGET_NS)
        return true;
    all->tired = true;
    say(&p->at, d, p->text, p->len, "the filters of this profile take too long; from here on they match nothing");
    return false;
}

/* xorshift (Marsaglia) */
static bool timed(struct filters *all, const struct pattern *p)
{
    all->dice ^= all->dice << 13;
    all->dice ^= all->dice >> 7;
    all->dice ^= all->dice << 17;
    return p->n_matches <= ALWAYS_TIMED || all->dice % TIMED_IN == 0;
}

static int run(struct filters *all, struct pattern *p, const char *name, struct diag *d)
{
    uint64_t from = 0;
    bool look;
    int r;

    p->n_matches++;
    if ((look = timed(all, p)))
        from = cpu_ns();
    r = pcre2_match(p->code, (PCRE2_SPTR)name, strlen(name), 0, 0, p->match, p->limits);
    if (look)
        all->spent_ns += (cpu_ns() - from) * (p->n_matches <= ALWAYS_TIMED ? 1 : TIMED_IN);
    if (r >= 0 || r == PCRE2_ERROR_NOMATCH)
        return r;
    say(&p->at, d, p->text, p->len, "it takes too many steps on a name of this profile; it matches nothing");
    give_up(p);
    return r;
}

bool pattern_matches(struct filters *all, struct pattern *p, const char *name, struct diag *d)
{
    return may_run(all, p, d) && run(all, p, name, d) >= 0;
}

bool filter_any(struct filters *all, const struct filter *f, const char *name, struct diag *d)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (pattern_matches(all, f->v[i], name, d))
            return true;
    return false;
}

const char *pattern_replace(struct filters *all, struct pattern *p, const char *name, const char *target, struct cfg_doc *doc, struct diag *d)
{
    char out[NAME_MAX_BYTES + 1];
    PCRE2_SIZE len = sizeof(out);
    int r;

    if (!pattern_matches(all, p, name, d))
        return name;
    r = pcre2_substitute(p->code, (PCRE2_SPTR)name, strlen(name), 0,
                         PCRE2_SUBSTITUTE_GLOBAL | PCRE2_SUBSTITUTE_UNSET_EMPTY | PCRE2_SUBSTITUTE_UNKNOWN_UNSET, p->match, p->limits, (PCRE2_SPTR)target,
                         strlen(target), (PCRE2_UCHAR *)out, &len);
    if (r >= 0)
        return cfg_strdup(doc, out, len);
    say(&p->at, d, p->text, p->len, "its target cannot be filled in; the names stay as they are");
    give_up(p);
    return name;
}

/* ---- all of them ---- */

int filters_init(struct filters *all)
{
    *all = (struct filters){ 0 };
    random_bytes(&all->dice, sizeof(all->dice));
    all->dice |= 1;
    return map_init(&all->by_text, 64);
}

void filters_fini(struct filters *all)
{
    for (uint32_t i = 0; all->by_text.slot && i <= all->by_text.mask; i++)
        for (struct map_node *n = all->by_text.slot[i], *next; n; n = next) {
            struct pattern *p = container_of(n, struct pattern, node);

            next = n->next;
            pcre2_code_free(p->code);
            pcre2_match_data_free(p->match);
            pcre2_match_context_free(p->limits);
            free(p);
        }
    map_fini(&all->by_text);
}
