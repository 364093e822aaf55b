/*
 * match.c - the first rule that is true of a flow
 *
 * Facts first, order second. The indexes say which atoms are true of the name, of the destination and of the program; the smallest place of
 * any of them is the answer, unless something that stands earlier is true too or asks for a fact:
 *
 *   best = smallest place >= from of any true atom
 *   ask  = smallest place >= from of a rule in the indexes that needs a fact we lack
 *   every rule of the scan between from and both: true -> best; needs a fact -> ask
 *   ask < best: say which fact; else best
 *
 * When a fact arrives the walk goes on at the rule that asked for it; what stands before that rule was judged without and is not looked at
 * again. Inside one rule (logic, classical providers) the same holds for its leaves: they are counted as they are evaluated, which repeats
 * exactly, and those before the one that asked stay blind to the address.
 *
 * A SUB-RULE that is true opens its list: the position of the outer list is kept, the walk goes on inside.
 */
#include <string.h>
#include <strings.h>

#include "rules/private.h"

#define HITS_MAX 128

struct hit {
    uint32_t atom;
    uint32_t text; /* a text that has to be confirmed, plus 1; 0 = it is true */
};

struct facts {
    struct ruleset *rs;
    const struct flow_meta *m;
    const struct rule_pos *pos;
    const char *host; /* what rules look at: the sniffed name, else the asked one */
    size_t host_len;
    struct hit hit[HITS_MAX];
    uint32_t n_hits;
    bool overflow; /* more are true than fit: ask the indexes again for every question */
    bool names_done, texts_done, dst_done, src_done, proc_done;
    uint32_t dst, src, proc_name, proc_path; /* lists */
    /* while one rule is evaluated */
    uint32_t leaf, blind; /* leaves counted; those below blind do not see the address */
    bool swap, no_ask;
};

enum truth { NO, YES, PERHAPS /* data are missing */, NEED_IP, NEED_PROC };

/* ---- names ---- */

static void add_hit(struct facts *f, uint32_t atom, uint32_t text)
{
    if (f->n_hits < HITS_MAX)
        f->hit[f->n_hits++] = (struct hit){ atom, text };
    else
        f->overflow = true;
}

static bool on_names(void *arg, uint32_t list, uint32_t bit)
{
    struct facts *f = arg;

    for (const uint32_t *item = &f->rs->ix.lists.pool[list];; item++) {
        if (*item & bit)
            add_hit(f, item_atom(*item), 0);
        if (*item & ITEM_LAST)
            return true;
    }
}

static void find_names(struct facts *f)
{
    f->names_done = true;
    if (f->host)
        domain_walk(&f->rs->ix.names, f->host, f->host_len, on_names, f);
}

/* The name a text looks at; NULL: not this one. */
static const char *text_host(const struct facts *f, const struct text *t, size_t *len)
{
    const char *host = t->asked ? f->m->dst.host : f->host;

    *len = host == f->host ? f->host_len : host ? strlen(host) : 0;
    return host;
}

static bool confirm(const struct facts *f, uint32_t text)
{
    size_t len;
    const char *host = text_host(f, &f->rs->ix.texts.text[text], &len);

    return host && texts_match(&f->rs->ix.texts, text, host, len);
}

struct scanned {
    struct facts *f;
    bool asked; /* the name that was read is the asked one, and another than f->host */
};

static void on_text(void *arg, uint32_t text)
{
    struct scanned *s = arg;
    struct facts *f = s->f;
    const struct text *t = &f->rs->ix.texts.text[text];

    if (f->m->sniffed && t->asked != s->asked)
        return;
    for (uint32_t i = 0; i < f->n_hits; i++)
        if (f->hit[i].atom == t->atom && (f->hit[i].text == 0 || f->hit[i].text == text + 1))
            return;
    add_hit(f, t->atom, t->kind == TEXT_KEYWORD ? 0 : text + 1);
}

static void scan_texts(struct facts *f, text_fn *fn, struct scanned *s)
{
    const struct texts *x = &f->rs->ix.texts;

    s->asked = false;
    if (f->host)
        texts_scan(x, f->host, f->host_len, fn, s);
    s->asked = true;
    if (f->m->sniffed && f->m->dst.host && x->n_asked)
        texts_scan(x, f->m->dst.host, strlen(f->m->dst.host), fn, s);
}

static void find_texts(struct facts *f)
{
    f->texts_done = true;
    scan_texts(f, on_text, &(struct scanned){ .f = f });
}

/* ---- addresses and programs ---- */

static bool has_address(const struct facts *f)
{
    return addr_is_set(&f->m->dst.at.ip);
}

static void find_dst(struct facts *f)
{
    f->dst_done = true;
    f->dst = has_address(f) ? spans_find(&f->rs->ix.spans, &f->m->dst.at.ip) : 0;
}

static void find_src(struct facts *f)
{
    f->src_done = true;
    f->src = addr_is_set(&f->m->src.ip) ? spans_find(&f->rs->ix.spans, &f->m->src.ip) : 0;
}

/* In lower case; the length, 0 = too long for any rule. */
static size_t lower(const char *s, char out[PROCESS_MAX])
{
    size_t n;

    for (n = 0; s[n]; n++) {
        if (n == PROCESS_MAX)
            return 0;
        out[n] = ascii_lower(s[n]);
    }
    return n;
}

static uint32_t program_list(const struct facts *f, uint64_t space, const char *s)
{
    char text[PROCESS_MAX];
    size_t n = s ? lower(s, text) : 0;

    return n ? domain_key(&f->rs->ix.names, space, text, n) : 0;
}

static void find_proc(struct facts *f)
{
    const struct flow_proc *p = f->m->proc;

    f->proc_done = true;
    f->proc_name = f->proc_path = 0;
    if (!p || !f->rs->has_proc)
        return;
    f->proc_name = program_list(f, SPACE_PROC_NAME, p->name);
    f->proc_path = program_list(f, SPACE_PROC_PATH, p->path);
}

static bool lacks_address(const struct facts *f)
{
    return f->m->dst.host && !has_address(f) && !f->pos->ip_failed;
}

static bool lacks_program(const struct facts *f)
{
    return !f->m->proc && !f->pos->proc_tried;
}

/* ---- is an atom true? ---- */

struct question {
    struct scanned s;
    uint32_t atom;
    uint32_t from, best;
};

static bool ask_names(void *arg, uint32_t list, uint32_t bit)
{
    struct question *q = arg;

    for (const uint32_t *item = &q->s.f->rs->ix.lists.pool[list];; item++) {
        if (*item & bit && item_atom(*item) == q->atom) {
            q->best = 0;
            return false;
        }
        if (*item & ITEM_LAST)
            return true;
    }
}

static void ask_text(void *arg, uint32_t text)
{
    struct question *q = arg;
    const struct facts *f = q->s.f;
    const struct text *t = &f->rs->ix.texts.text[text];

    if (t->atom == q->atom && q->best && !(f->m->sniffed && t->asked != q->s.asked) && (t->kind == TEXT_KEYWORD || confirm(f, text)))
        q->best = 0;
}

static bool name_is(struct facts *f, uint32_t atom)
{
    struct question q = { .s = { .f = f }, .atom = atom, .best = 1 };

    for (uint32_t i = 0; i < f->n_hits; i++) {
        struct hit *h = &f->hit[i];

        if (h->atom != atom)
            continue;
        if (!h->text)
            return true;
        if (confirm(f, h->text - 1)) {
            h->text = 0;
            return true;
        }
    }
    if (!f->overflow)
        return false;
    domain_walk(&f->rs->ix.names, f->host, f->host_len, ask_names, &q);
    if (q.best)
        scan_texts(f, ask_text, &q.s);
    return !q.best;
}

static bool in_list(const struct facts *f, uint32_t list, uint32_t atom)
{
    if (!list)
        return false;
    for (const uint32_t *item = &f->rs->ix.lists.pool[list];; item++) {
        if (item_atom(*item) == atom)
            return true;
        if (*item & ITEM_LAST)
            return false;
    }
}

static bool at_destination(struct facts *f, uint32_t atom)
{
    if (!f->dst_done)
        find_dst(f);
    return in_list(f, f->dst, atom);
}

static bool at_source(struct facts *f, uint32_t atom)
{
    if (!f->src_done)
        find_src(f);
    return in_list(f, f->src, atom);
}

static bool of_program(struct facts *f, uint32_t atom)
{
    if (!f->proc_done)
        find_proc(f);
    return in_list(f, f->proc_name, atom) || in_list(f, f->proc_path, atom);
}

/* ---- rules of the scan ---- */

static enum truth eval(struct facts *f, const struct expr *x);

/* The fact that reaching this leaf needs, or NO. */
static enum truth need(struct facts *f, const struct expr *x)
{
    if (x->flags & XF_ASK_IP && !f->no_ask && lacks_address(f))
        return NEED_IP;
    if (x->flags & XF_ASK_PROC && lacks_program(f))
        return NEED_PROC;
    return NO;
}

static enum truth eval_atom(struct facts *f, const struct expr *x, bool sees)
{
    uint32_t dst = f->swap ? x->src_atom : x->atom, src = f->swap ? x->atom : x->src_atom;

    if (x->atom != NO_ATOM && (name_is(f, x->atom) || of_program(f, x->atom)))
        return YES;
    if (dst != NO_ATOM && sees && at_destination(f, dst))
        return YES;
    return src != NO_ATOM && at_source(f, src) ? YES : NO;
}

/* The address that a leaf looks at; NULL: not known. */
static const struct addr *address_of(const struct facts *f, const struct expr *x, bool sees)
{
    bool src = !!(x->flags & XF_SRC) != f->swap;
    const struct addr *a = src ? &f->m->src.ip : &f->m->dst.at.ip;

    return addr_is_set(a) && (src || sees) ? a : NULL;
}

static enum truth eval_suffix(const struct expr *x, const struct addr *a)
{
    size_t len = addr_len(&x->suffix.ip), whole = x->suffix.bits / 8;
    unsigned rest = x->suffix.bits % 8;
    const uint8_t *want = x->suffix.ip.b, *have = a ? a->b : NULL;

    if (!a || a->ver != x->suffix.ip.ver || memcmp(want + len - whole, have + len - whole, whole) != 0)
        return NO;
    return !rest || !((want[len - whole - 1] ^ have[len - whole - 1]) << (8 - rest) & 0xff) ? YES : NO;
}

static enum truth eval_placed(struct facts *f, const struct expr *x, const struct addr *a)
{
    if (!a)
        return NO;
    return a == &f->m->src.ip ? !at_source(f, x->atom) : !at_destination(f, x->atom);
}

static enum truth eval_missing(const struct facts *f, const struct expr *x, const struct addr *a)
{
    if (!f->rs->strict || (x->flags & XF_NEEDS_NAME && !f->host) || (x->flags & XF_NEEDS_ADDR && !a))
        return NO;
    return PERHAPS;
}

static enum truth in_ranges(const struct expr *x, uint32_t v)
{
    for (uint32_t i = 0; i < x->n; i++)
        if (v >= x->ranges[i].lo && v <= x->ranges[i].hi)
            return YES;
    return NO;
}

static enum truth eval_port(const struct facts *f, const struct expr *x)
{
    if (x->flags & XF_IN)
        return in_ranges(x, f->m->in_port);
    return in_ranges(x, !!(x->flags & XF_SRC) != f->swap ? f->m->src.port : f->m->dst.at.port);
}

static enum truth in_words(const struct expr *x, const char *s)
{
    for (uint32_t i = 0; s && i < x->n; i++)
        if (!strcmp(x->words[i], s))
            return YES;
    return NO;
}

static enum truth eval_program(const struct facts *f, const struct expr *x)
{
    const struct flow_proc *p = f->m->proc;
    const char *s = !p ? NULL : x->flags & XF_PATH ? p->path : p->name;
    char text[PROCESS_MAX];

    if (!s)
        return NO;
    if (x->op == X_PROC_REGEX)
        return regex_matches(x->regex, f->rs->room, s, strlen(s));
    return glob_matches(x->glob, x->n, text, lower(s, text));
}

static enum truth eval_any(struct facts *f, const struct expr *x)
{
    enum truth all = NO;

    for (uint32_t i = 0; i < x->n; i++) {
        enum truth t = eval(f, &x->kids[i]);

        if (t == PERHAPS)
            all = PERHAPS;
        else if (t != NO)
            return t;
    }
    return all;
}

static enum truth eval_all(struct facts *f, const struct expr *x)
{
    enum truth all = YES;

    for (uint32_t i = 0; i < x->n; i++) {
        enum truth t = eval(f, &x->kids[i]);

        if (t == PERHAPS)
            all = PERHAPS;
        else if (t != YES)
            return t;
    }
    return all;
}

static enum truth eval_not(struct facts *f, const struct expr *x)
{
    enum truth t = eval(f, &x->kids[0]);

    return t == YES ? NO : t == NO ? YES : t;
}

static enum truth eval_set(struct facts *f, const struct expr *x)
{
    bool swap = f->swap, no_ask = f->no_ask;
    enum truth t;

    f->swap = x->flags & XF_SRC;
    f->no_ask = x->flags & (XF_SRC | XF_NO_ASK);
    t = eval_any(f, x);
    f->swap = swap;
    f->no_ask = no_ask;
    return t;
}

static enum truth eval_leaf(struct facts *f, const struct expr *x)
{
    bool sees = f->leaf >= f->blind;
    enum truth t = need(f, x);

    if (t != NO)
        return t;
    f->leaf++;
    switch (x->op) {
    case X_ATOM: return eval_atom(f, x, sees);
    case X_NOT_NAMED: return f->host && !name_is(f, x->atom);
    case X_NOT_PLACED: return eval_placed(f, x, address_of(f, x, sees));
    case X_SUFFIX: return eval_suffix(x, address_of(f, x, sees));
    case X_MISSING: return eval_missing(f, x, address_of(f, x, sees));
    case X_PORT: return eval_port(f, x);
    case X_NETWORK: return x->mask >> f->m->net & 1;
    case X_DSCP: return in_ranges(x, f->m->dscp);
    case X_IN_TYPE: return x->mask >> f->m->via & 1;
    case X_IN_NAME: return in_words(x, f->m->in_name);
    case X_IN_USER: return in_words(x, f->m->in_user);
    case X_UID: return f->m->proc && f->m->proc->uid_known ? in_ranges(x, f->m->proc->uid) : NO;
    case X_PROC_REGEX:
    case X_PROC_GLOB: return eval_program(f, x);
    case X_TRUE: return YES;
    default: return NO;
    }
}

static enum truth eval(struct facts *f, const struct expr *x)
{
    switch (x->op) {
    case X_AND: return eval_all(f, x);
    case X_OR: return eval_any(f, x);
    case X_NOT: return eval_not(f, x);
    case X_SET: return eval_set(f, x);
    default: return eval_leaf(f, x);
    }
}

/* ---- places ---- */

/* The first of v[0..n) that is >= from. */
static uint32_t first_at(const uint32_t *v, uint32_t n, uint32_t from)
{
    uint32_t lo = 0, hi = n;

    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;

        if (v[mid] < from)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_off(const struct facts *f, uint32_t rule)
{
    return f->rs->n_disabled && f->rs->rule[rule].rule.disabled;
}

/* The first place in [from, best) where an atom stands, or best. */
static uint32_t place_of(const struct facts *f, uint32_t atom, uint32_t from, uint32_t best)
{
    const uint32_t *use = f->rs->use + f->rs->use_at[atom];
    uint32_t n = f->rs->use_at[atom + 1] - f->rs->use_at[atom];

    for (uint32_t i = n > 8 ? first_at(use, n, from) : 0; i < n && use[i] < best; i++)
        if (use[i] >= from && !is_off(f, use[i]))
            return use[i];
    return best;
}

static uint32_t place_of_list(const struct facts *f, uint32_t list, uint32_t from, uint32_t best)
{
    const uint32_t *item = &f->rs->ix.lists.pool[list];

    if (!list || item[-1] >= best)
        return best;
    if (!from && !f->rs->n_disabled)
        return item[-1];
    for (;; item++) {
        best = place_of(f, item_atom(*item), from, best);
        if (*item & ITEM_LAST)
            return best;
    }
}

static bool place_names(void *arg, uint32_t list, uint32_t bit)
{
    struct question *q = arg;

    for (const uint32_t *item = &q->s.f->rs->ix.lists.pool[list];; item++) {
        if (*item & bit)
            q->best = place_of(q->s.f, item_atom(*item), q->from, q->best);
        if (*item & ITEM_LAST)
            return true;
    }
}

static void place_text(void *arg, uint32_t text)
{
    struct question *q = arg;
    const struct facts *f = q->s.f;
    const struct text *t = &f->rs->ix.texts.text[text];
    uint32_t place = f->m->sniffed && t->asked != q->s.asked ? q->best : place_of(f, t->atom, q->from, q->best);

    if (place < q->best && (t->kind == TEXT_KEYWORD || confirm(f, text)))
        q->best = place;
}

/* Names, with all that is true of them, when the hits did not fit. */
static uint32_t place_again(struct facts *f, uint32_t from, uint32_t best)
{
    struct question q = { .s = { .f = f }, .from = from, .best = best };

    if (f->host)
        domain_walk(&f->rs->ix.names, f->host, f->host_len, place_names, &q);
    scan_texts(f, place_text, &q.s);
    return q.best;
}

static uint32_t place_of_hits(struct facts *f, uint32_t from, uint32_t best)
{
    for (uint32_t i = 0; i < f->n_hits; i++) {
        struct hit *h = &f->hit[i];
        uint32_t place = place_of(f, h->atom, from, best);

        if (place == best)
            continue;
        if (h->text && !confirm(f, h->text - 1)) {
            *h = f->hit[--f->n_hits];
            i--;
            continue;
        }
        h->text = 0;
        best = place;
    }
    return f->overflow ? place_again(f, from, best) : best;
}

/* The smallest place in [from, end) that the indexes know to be true, or end. */
static uint32_t by_index(struct facts *f, const struct rule_list *l, uint32_t from, uint32_t end)
{
    uint32_t best = end;

    if (!f->names_done)
        find_names(f);
    best = place_of_hits(f, from, best);
    if (l->texts_from < best && l->texts_to > from && !f->texts_done) {
        find_texts(f);
        best = place_of_hits(f, from, best);
    }
    if (has_address(f)) {
        if (!f->dst_done)
            find_dst(f);
        best = place_of_list(f, f->dst, from, best);
    }
    if (f->m->proc) {
        if (!f->proc_done)
            find_proc(f);
        best = place_of_list(f, f->proc_name, from, best);
        best = place_of_list(f, f->proc_path, from, best);
    }
    return best;
}

/* Is one of these places in [from, limit)? Then *at is the first. */
static bool any_of(const struct facts *f, const struct positions *p, uint32_t from, uint32_t limit, uint32_t *at)
{
    uint32_t i = p->n ? first_at(p->v, p->n, from) : 0;

    while (i < p->n && is_off(f, p->v[i]))
        i++;
    if (i == p->n || p->v[i] >= limit)
        return false;
    *at = p->v[i];
    return true;
}

static enum truth eval_rule(struct facts *f, uint32_t rule, uint32_t from)
{
    f->leaf = 0;
    f->blind = rule == from ? f->pos->leaf : 0;
    f->swap = f->no_ask = false;
    return eval(f, f->rs->rule[rule].expr);
}

/* What happens first in a list from a place on, and where. NO: nothing is true. */
static enum truth walk(struct facts *f, const struct rule_list *l, uint32_t from, uint32_t *at)
{
    const struct positions *scan = &f->rs->scan;
    uint32_t end = l->base + l->n, stop = by_index(f, l, from, end);
    enum truth then = stop < end ? YES : NO, here;

    /* a rule that asks does so before it is true, so it counts at the same place */
    if (lacks_address(f) && any_of(f, &f->rs->ask_ip, from, stop + (then != NO), &stop))
        then = NEED_IP;
    if (lacks_program(f) && any_of(f, &f->rs->ask_proc, from, stop + (then != NO), &stop))
        then = NEED_PROC;
    for (uint32_t i = first_at(scan->v, scan->n, from); i < scan->n && scan->v[i] < stop; i++) {
        if (is_off(f, scan->v[i]) || (here = eval_rule(f, scan->v[i], from)) == NO)
            continue;
        *at = scan->v[i];
        return here;
    }
    *at = stop;
    f->leaf = 0;
    return then;
}

/* ---- the decision ---- */

static const struct rule_list *open_list(const struct ruleset *rs, const struct rule_pos *pos)
{
    const struct rule_list *l = &rs->list[0];

    for (unsigned d = 0; d < pos->depth; d++)
        l = &rs->list[rs->rule[l->base + pos->from[d] - 1].sub];
    return l;
}

static enum match found(struct ruleset *rs, const struct rule_pos *pos, uint32_t at, bool sure, struct rule_hit *hit)
{
    hit->by = &rs->rule[at].rule;
    hit->rule = &rs->rule[rs->list[0].base + pos->from[0] - 1].rule;
    return sure ? MATCH_HIT : MATCH_MISSING;
}

enum match rules_match(struct ruleset *rs, struct rule_pos *pos, const struct flow_meta *m, struct rule_hit *hit)
{
    struct facts f;

    f.rs = rs;
    f.m = m;
    f.pos = pos;
    f.host = m->sniffed ? m->sniffed : m->dst.host;
    f.host_len = f.host ? strlen(f.host) : 0;
    f.n_hits = 0;
    f.overflow = f.names_done = f.texts_done = f.dst_done = f.src_done = f.proc_done = false;
    for (;;) {
        const struct rule_list *l = open_list(rs, pos);
        uint32_t *from = &pos->from[pos->depth], at;
        enum truth t = walk(&f, l, l->base + *from, &at);

        if (t == NEED_IP || t == NEED_PROC) {
            if (t == NEED_IP)
                pos->leaf = f.leaf;
            else if (*from != at - l->base)
                pos->leaf = 0;
            *from = at - l->base;
            return t == NEED_IP ? MATCH_NEED_IP : MATCH_NEED_PROC;
        }
        pos->leaf = 0;
        if (t == NO) {
            if (!pos->depth)
                return MATCH_NONE;
            pos->depth--;
            continue;
        }
        *from = at - l->base + 1;
        if (t == YES && rs->rule[at].sub != NO_LIST)
            pos->from[++pos->depth] = 0;
        else
            return found(rs, pos, at, t == YES, hit);
    }
}

const struct rule *rules_asker(const struct ruleset *rs, const struct rule_pos *pos)
{
    return &rs->rule[rs->list[0].base + pos->from[0] - (pos->depth > 0)].rule;
}

void rules_leave(struct rule_pos *pos)
{
    pos->depth = 0;
    pos->leaf = 0;
}
