/*
 * build.c - lines -> one compiled set
 *
 *   for every list, top level first, line by line
 *      line ──► term ──► expr ── one atom, about name, destination or program ──► only its place is noted: the indexes will answer
 *                             └─ anything else ──► kept for the scan
 *   then the indexes are made, and for every atom the sorted places where it stands
 *
 * Atoms are numbered as they are met, and places are counted over all lists, so the first items of an index's lists are the first rules.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rules/maker.h"

/* ---- words for people ---- */

static void skipped(struct maker *m, const struct fault *f)
{
    char line[CFG_QUOTE_MAX];

    if (f->code)
        diag_warn(m->d, m->at->line, m->at->column, m->path, f->code, "%s: %s; the rule is skipped, the rules below it decide",
                  cfg_quote(m->at->text, strlen(m->at->text), line), f->text);
    else
        m->no_memory = true;
}

static void unknown_target(struct maker *m, const struct rule *r)
{
    char target[CFG_QUOTE_MAX];
    struct cfg_guess g;

    cfg_quote(r->target, strlen(r->target), target);
    cfg_guess_start(&g, m->d, r->target);
    for (uint32_t i = 0; r->type == RULE_SUB_RULE && i < m->src->n_subs; i++)
        cfg_guess_try(&g, m->src->subs[i].name);
    if (r->type != RULE_SUB_RULE && m->env->offer_targets)
        m->env->offer_targets(m->env->arg, &g);
    if (r->type == RULE_MATCH)
        diag_err(m->d, r->line, r->column, m->path, "unknown-target", "MATCH points to \"%s\", which does not exist%s", target,
                 cfg_guess_text(&g));
    else
        diag_warn(m->d, r->line, r->column, m->path, "unknown-target", "there is no %s \"%s\": the flows of this rule are rejected%s",
                  r->type == RULE_SUB_RULE ? "list of sub-rules" : "proxy or group", target, cfg_guess_text(&g));
}

/* ---- one rule ---- */

static void note_use(struct maker *m, uint32_t atom, uint32_t rule)
{
    if (grow(&m->uses, m->n_uses, &m->cap_uses, sizeof(*m->uses)))
        m->uses[m->n_uses++] = (struct use){ atom, rule };
    else
        m->no_memory = true;
}

static void note_position(struct maker *m, struct positions *p, uint32_t rule)
{
    if (grow(&p->v, p->n, &p->cap, sizeof(*p->v)))
        p->v[p->n++] = rule;
    else
        m->no_memory = true;
}

static void note_size(struct maker *m, const struct term *t, uint32_t rule)
{
    struct fault f;

    if (t->type != RULE_GEOSITE && t->type != RULE_GEOIP && t->type != RULE_SRC_GEOIP)
        return;
    if (grow(&m->sized, m->n_sized, &m->cap_sized, sizeof(*m->sized)))
        m->sized[m->n_sized++] = (struct sized){ rule, atom_of_geo(m, t, &f) };
    else
        m->no_memory = true;
}

/* Where the rule is asked: in the indexes, or in the scan. */
static void place(struct maker *m, struct lined *l, uint32_t rule, const struct expr *x)
{
    struct ruleset *rs = m->rs;
    struct expr *kept;

    if (x->op == X_ATOM && x->atom != NO_ATOM && x->src_atom == NO_ATOM && l->rule.type != RULE_SUB_RULE) {
        note_use(m, x->atom, rule);
        if (x->flags & XF_ASK_IP)
            note_position(m, &rs->ask_ip, rule);
        if (x->flags & XF_ASK_PROC)
            note_position(m, &rs->ask_proc, rule);
        return;
    }
    if (!(kept = arena_alloc(&rs->mem, sizeof(*kept)))) {
        m->no_memory = true;
        return;
    }
    *kept = *x;
    l->expr = kept;
    note_position(m, &rs->scan, rule);
}

static void resolve_target(struct maker *m, struct lined *l)
{
    struct rule *r = &l->rule;

    if (r->type == RULE_SUB_RULE)
        l->sub = calls_find(m, r->target);
    else
        r->target_id = m->env->target(m->env->arg, r->target);
    if (l->sub == NO_LIST && r->target_id < 0)
        unknown_target(m, r);
}

static const char *keep(struct maker *m, const char *s)
{
    return arena_strdup(&m->rs->mem, s, strlen(s));
}

/* The line at hand; false: it is skipped, f says why. */
static bool add_rule(struct maker *m, struct fault *f)
{
    const struct cfg_rule *src = m->at;
    struct ruleset *rs = m->rs;
    uint32_t rule = rs->n_rules;
    const char *target;
    struct lined *l;
    struct expr x;
    struct term t;

    if (!line_parse(&m->line, src->text, strlen(src->text), LINE_TARGET, &t, &target, f) || !compile_term(m, &t, &x, f))
        return false;
    if (!grow(&rs->rule, rs->n_rules, &rs->cap_rules, sizeof(*rs->rule)))
        return fault_memory(f);
    l = &rs->rule[rule];
    *l = (struct lined){ .sub = NO_LIST };
    l->rule = (struct rule){ .index = src->index,
                             .line = src->line,
                             .column = src->column,
                             .type = t.type,
                             .no_resolve = t.no_resolve,
                             .src = t.src,
                             .size = -1,
                             .target_id = -1,
                             .payload = keep(m, t.payload),
                             .target = keep(m, target) };
    if (!l->rule.payload || !l->rule.target)
        return fault_memory(f);
    rs->n_rules++;
    if (*f->hint)
        diag_warn(m->d, src->line, src->column, m->path, "bad-rule", "%s", f->hint);
    resolve_target(m, l);
    place(m, l, rule, &x);
    note_size(m, &t, rule);
    return true;
}

/* ---- lists ---- */

static bool may_call(struct fault *f, uint8_t call)
{
    if (call == CALL_CIRCLE)
        return fault(f, "cycle", "the list it refers to leads back to the list it stands in");
    if (call == CALL_DEEP)
        return fault(f, "cycle", "lists of sub-rules call each other more than %d deep", RULES_DEPTH);
    return true;
}

static void add_list(struct maker *m, struct rule_list *l, const struct cfg_rule *rules, uint32_t n, const uint8_t *calls)
{
    l->base = m->rs->n_rules;
    for (uint32_t i = 0; i < n && !m->no_memory; i++) {
        struct fault f;

        m->at = &rules[i];
        cfg_rule_path(m->at, m->path);
        if (m->line.total > SCRATCH_MAX)
            arena_fini(&m->line);
        if (!may_call(&f, calls[i]) || !add_rule(m, &f))
            skipped(m, &f);
    }
    l->n = m->rs->n_rules - l->base;
}

static void add_lists(struct maker *m)
{
    const struct rules_src *src = m->src;
    uint8_t **calls = calls_plan(m);

    m->rs->list = arena_alloc(&m->rs->mem, (src->n_subs + 1) * sizeof(*m->rs->list));
    if (!calls || !m->rs->list) {
        m->no_memory = true;
        return;
    }
    m->rs->n_lists = src->n_subs + 1;
    add_list(m, &m->rs->list[0], src->rules, src->n_rules, calls[0]);
    for (uint32_t i = 0; i < src->n_subs; i++)
        add_list(m, &m->rs->list[i + 1], src->subs[i].rules, src->subs[i].n_rules, calls[i + 1]);
}

/* ---- the end ---- */

/* use_at[] is filled as starts of the next atom, so that each start ends where the next begins. */
static void settle_uses(struct maker *m)
{
    struct ruleset *rs = m->rs;
    uint32_t *at = calloc((size_t)rs->n_atoms + 2, sizeof(*at));

    rs->use_at = at;
    rs->use = malloc((m->n_uses + 1) * sizeof(*rs->use));
    if (!at || !rs->use) {
        m->no_memory = true;
        return;
    }
    for (uint32_t i = 0; i < m->n_uses; i++)
        at[m->uses[i].atom + 2]++;
    for (uint32_t a = 2; a < rs->n_atoms + 2; a++)
        at[a] += at[a - 1];
    for (uint32_t i = 0; i < m->n_uses; i++) /* ascending already */
        rs->use[at[m->uses[i].atom + 1]++] = m->uses[i].rule;
}

/* The word before a list: the first top-level rule that is true when any of its atoms is. */
static void first_place(void *arg, uint32_t *word, const uint32_t *items)
{
    const struct ruleset *rs = arg;

    for (*word = rs->list[0].n;; items++) {
        uint32_t atom = item_atom(*items);

        if (rs->use_at[atom] < rs->use_at[atom + 1] && rs->use[rs->use_at[atom]] < *word)
            *word = rs->use[rs->use_at[atom]];
        if (*items & ITEM_LAST)
            return;
    }
}

static bool needs_texts(const struct expr *x, const uint8_t *is_text)
{
    if (x->op == X_ATOM || x->op == X_NOT_NAMED)
        return x->atom != NO_ATOM && is_text[x->atom];
    for (uint32_t i = 0; x->op <= X_SET && i < x->n; i++)
        if (needs_texts(&x->kids[i], is_text))
            return true;
    return false;
}

/* Rules [texts_from, texts_to) of a list: all that look for texts are among them. */
static void settle_texts(struct maker *m)
{
    struct ruleset *rs = m->rs;
    uint8_t *is_text = calloc((size_t)rs->n_atoms + 1, 1), *looks = calloc((size_t)rs->n_rules + 1, 1);

    m->no_memory |= !is_text || !looks;
    for (uint32_t i = 0; !m->no_memory && i < rs->ix.texts.n; i++)
        is_text[rs->ix.texts.text[i].atom] = 1;
    for (uint32_t i = 0; !m->no_memory && i < m->n_uses; i++)
        looks[m->uses[i].rule] |= is_text[m->uses[i].atom];
    for (uint32_t i = 0; !m->no_memory && i < rs->scan.n; i++)
        looks[rs->scan.v[i]] |= needs_texts(rs->rule[rs->scan.v[i]].expr, is_text);
    for (uint32_t k = 0; !m->no_memory && k < rs->n_lists; k++) {
        struct rule_list *l = &rs->list[k];
        uint32_t from = l->base, to = l->base + l->n;

        while (from < to && !looks[from])
            from++;
        while (to > from && !looks[to - 1])
            to--;
        l->texts_from = from;
        l->texts_to = to;
    }
    free(is_text);
    free(looks);
}

static void settle_sizes(struct maker *m)
{
    for (uint32_t i = 0; i < m->n_sized; i++)
        if (m->sized[i].k)
            m->rs->rule[m->sized[i].rule].rule.size = m->sized[i].k->size;
}

static void settle(struct maker *m)
{
    int r = m->rs->n_atoms > ATOM_MAX ? -ERANGE : index_finish(&m->rs->ix);

    if (r == -ERANGE)
        diag_err(m->d, 0, 0, "rules", "bad-value", "the rules and their providers are more than the index can hold");
    m->no_memory = r < 0;
    if (!m->no_memory)
        settle_uses(m);
    if (!m->no_memory)
        settle_texts(m);
    if (!m->no_memory)
        lists_each(&m->rs->ix.lists, first_place, m->rs);
    settle_sizes(m);
}

static void make(struct maker *m)
{
    if (map_init(&m->known, m->src->n_rules + 64) < 0 || map_init(&m->sets, 16) < 0 || map_init(&m->lists, 16) < 0)
        m->no_memory = true;
    if (!m->no_memory)
        add_lists(m);
    if (!m->no_memory)
        atoms_grant(m);
    if (!m->no_memory)
        settle(m);
}

struct ruleset *rules_build(const struct rules_src *src, const struct rules_env *env, struct diag *d)
{
    struct ruleset *rs = calloc(1, sizeof(*rs));
    struct maker m = { .rs = rs, .env = env, .src = src, .d = d };

    if (!rs || index_init(&rs->ix) < 0) {
        free(rs);
        return NULL;
    }
    rs->strict = env->strict;
    make(&m);
    map_fini(&m.known);
    map_fini(&m.sets);
    map_fini(&m.lists);
    free(m.codes.v);
    free(m.numbers.v);
    free(m.uses);
    free(m.sized);
    arena_fini(&m.line);
    arena_fini(&m.entry);
    arena_fini(&m.mem);
    if (!m.no_memory)
        return rs;
    rules_free(rs);
    return NULL;
}

void rules_free(struct ruleset *rs)
{
    if (!rs)
        return;
    for (uint32_t i = 0; i < rs->n_regex; i++)
        regex_free(rs->regex[i]);
    free(rs->regex);
    regex_room_free(rs->room);
    free(rs->rule);
    free(rs->use_at);
    free(rs->use);
    free(rs->ask_ip.v);
    free(rs->ask_proc.v);
    free(rs->scan.v);
    index_fini(&rs->ix);
    arena_fini(&rs->mem);
    free(rs);
}

/* ---- looking at it ---- */

uint32_t rules_count(const struct ruleset *rs)
{
    return rs->list[0].n;
}

struct rule *rules_at(struct ruleset *rs, uint32_t i)
{
    return &rs->rule[i].rule;
}

void rules_disable(struct ruleset *rs, uint32_t index, bool off)
{
    for (uint32_t i = 0; i < rs->list[0].n; i++) {
        struct rule *r = &rs->rule[i].rule;

        if (r->index != index || r->disabled == off)
            continue;
        r->disabled = off;
        rs->n_disabled += off ? 1 : UINT32_MAX;
    }
}

void rules_inherit(struct ruleset *rs, const struct ruleset *from)
{
    for (uint32_t i = 0, k = 0; i < rs->list[0].n && k < from->list[0].n;) {
        struct rule *to = &rs->rule[i].rule;
        const struct rule *r = &from->rule[k].rule;

        if (to->index == r->index) {
            to->hits = r->hits;
            to->hit_unix_ms = r->hit_unix_ms;
            if (to->disabled != r->disabled)
                rules_disable(rs, r->index, r->disabled);
        }
        k += r->index <= to->index;
        i += to->index <= r->index;
    }
}

void rules_stats(const struct ruleset *rs, struct rules_stats *st)
{
    const struct index *x = &rs->ix;

    *st = (struct rules_stats){
        .atoms = rs->n_atoms,
        .names = x->names.n_nodes,
        .prefixes4 = x->spans.n_prefixes4,
        .prefixes6 = x->spans.n_prefixes6,
        .texts = x->texts.n,
        .names_bytes = domain_bytes(&x->names),
        .spans4_bytes = spans_bytes4(&x->spans),
        .spans6_bytes = spans_bytes6(&x->spans),
        .texts_bytes = texts_bytes(&x->texts),
        .lists_bytes = x->lists.n * sizeof(*x->lists.pool),
        .uses_bytes = ((size_t)rs->use_at[rs->n_atoms] + rs->n_atoms) * sizeof(uint32_t),
    };
}
