/*
 * provider.c - the entries of a rule provider -> exprs, evaluated until one is true
 *
 *   DOMAIN,a  DOMAIN-SUFFIX,b  IP-CIDR,c,no-resolve │ IP-CIDR,d  DOMAIN,e │ AND,(...) │ ...
 *   ────────────── run: atom 7 ─────────────────────   ─ run: atom 8 ────    a step      asks when it is reached
 *
 * Order matters where an entry asks for a fact: what stands before it is judged without. So patterns are gathered in runs, an atom each,
 * and a new run begins where an entry asks for what was not asked for yet. A domain or ipcidr set is one run, whatever its length.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/err.h"
#include "core/hash.h"
#include "rules/maker.h"

struct reading {
    struct maker *m;
    struct set *s;
    enum set_behavior behavior;
    char why[192]; /* of the first entry that the lines of a provider may not be */
    uint32_t why_line;
};

static struct expr *add_step(struct maker *m, struct set *s, const struct expr *x)
{
    if (!grow(&s->steps, s->n, &s->cap, sizeof(*s->steps))) {
        m->no_memory = true;
        return NULL;
    }
    s->steps[s->n] = *x;
    return &s->steps[s->n++];
}

/* The run that takes an entry which asks for this. NULL: no memory. */
static struct expr *run_for(struct maker *m, struct set *s, uint8_t asks)
{
    if (s->open != UINT32_MAX && !(asks & ~s->asked))
        return &s->steps[s->open];
    s->open = s->n;
    s->asked |= asks;
    return add_step(m, s, &(struct expr){ .op = X_ATOM, .flags = asks, .atom = NO_ATOM, .src_atom = NO_ATOM });
}

static uint32_t own_atom(struct maker *m, uint32_t *atom)
{
    if (*atom == NO_ATOM)
        *atom = m->rs->n_atoms++;
    return *atom;
}

static int result(struct maker *m, int r)
{
    if (r == -EINVAL)
        return SET_BAD;
    return r < 0 || m->no_memory || m->rs->ix.lists.failed ? -ENOMEM : 0;
}

static int set_domain(void *arg, const char *pattern, size_t len)
{
    struct reading *r = arg;
    struct expr *run = run_for(r->m, r->s, 0);

    return result(r->m, run ? index_pattern(&r->m->rs->ix, pattern, len, own_atom(r->m, &run->atom)) : -ENOMEM);
}

static int set_text(struct reading *r, enum text_kind kind, const char *s, size_t len)
{
    struct expr *run = run_for(r->m, r->s, 0);
    char why[128];

    return result(r->m, !run   ? -ENOMEM
                        : !len ? -EINVAL
                               : texts_add(&r->m->rs->ix.texts, kind, false, s, len, own_atom(r->m, &run->atom), why));
}

static int set_keyword(void *arg, const char *s, size_t len)
{
    return set_text(arg, TEXT_KEYWORD, s, len);
}

static int set_regex(void *arg, const char *s, size_t len)
{
    return set_text(arg, TEXT_REGEX, s, len);
}

/* A domain set never asks for an address, whatever strays into it. */
static int set_prefix(void *arg, const struct cidr *c)
{
    struct reading *r = arg;
    struct expr *run = run_for(r->m, r->s, r->behavior == SET_DOMAIN ? 0 : XF_ASK_IP);

    if (run)
        spans_add(&r->m->rs->ix.spans, &r->m->rs->ix.lists, c, own_atom(r->m, &run->atom));
    return result(r->m, 0);
}

static bool may_ask(const struct expr *x)
{
    if (x->flags & (XF_ASK_IP | XF_ASK_PROC))
        return true;
    for (uint32_t i = 0; x->op <= X_SET && i < x->n; i++)
        if (may_ask(&x->kids[i]))
            return true;
    return false;
}

/* An entry that is a pattern goes into a run; another is a step of its own, and no entry behind it may go before it when it asks. */
static bool add_entry(struct maker *m, struct set *s, const struct term *t, struct fault *f)
{
    bool program = atom_is_program(t);
    bool address = t->type == RULE_IP_CIDR || t->type == RULE_IP_CIDR6;
    struct expr x, *run;

    if (!atom_is_pattern(t)) {
        if (!compile_term(m, t, &x, f))
            return false;
        if (!add_step(m, s, &x))
            return fault_memory(f);
        if (may_ask(&x))
            s->open = UINT32_MAX;
        return true;
    }
    if (!(run = run_for(m, s, program ? XF_ASK_PROC : address && !t->no_resolve ? XF_ASK_IP : 0)))
        return fault_memory(f);
    return atom_fill(m, t, own_atom(m, t->src ? &run->src_atom : &run->atom), f);
}

static int set_rule(void *arg, const char *text, size_t len, uint32_t line)
{
    struct reading *r = arg;
    struct maker *m = r->m;
    struct fault f;
    struct term t;

    if (m->entry.total > SCRATCH_MAX)
        arena_fini(&m->entry);
    if (line_parse(&m->entry, text, len, LINE_IN_SET, &t, NULL, &f) && add_entry(m, r->s, &t, &f))
        return result(m, 0);
    if (!f.code)
        return -ENOMEM;
    if (!*r->why) {
        snprintf(r->why, sizeof(r->why), "%s", f.text);
        r->why_line = line;
    }
    return SET_BAD;
}

static int read_set(struct reading *r, const struct rules_provider *p, struct set_stats *st)
{
    struct set_visitor v = {
        .arg = r, .domain = set_domain, .keyword = set_keyword, .regex = set_regex, .prefix = set_prefix, .rule = set_rule
    };
    int err = 0;

    if (p->bytes)
        return set_read(p->bytes, p->len, r->behavior, (enum set_format)p->cfg->format, &v, st);
    memset(st, 0, sizeof(*st));
    for (uint32_t i = 0; i < p->cfg->rules.n && err == 0; i++)
        err = set_entry(p->cfg->rules.v[i], strlen(p->cfg->rules.v[i]), i + 1, r->behavior, &v, st);
    return err;
}

static void tell(struct maker *m, const struct rules_provider *p, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void tell(struct maker *m, const struct rules_provider *p, const char *code, const char *fmt, ...)
{
    char path[CFG_PATH_MAX], text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(path, sizeof(path), "rule-providers.%.72s", p->cfg->name);
    diag_warn(m->d, p->cfg->line, p->cfg->column, path, code, "%s", text);
}

static void tell_about_entries(struct reading *r, const struct rules_provider *p, const struct set_stats *st)
{
    const struct set_example *bad = &st->first_bad, *odd = &st->first_misplaced;
    char quoted[CFG_QUOTE_MAX];

    if (st->bad)
        tell(r->m, p, "bad-rule", "%u of its entries are skipped; the first is number %u, \"%s\": %s", st->bad, bad->line,
             cfg_quote(bad->text, strlen(bad->text), quoted),
             *r->why && r->why_line == bad->line ? r->why
             : bad->why                          ? bad->why
                                                 : "not understood");
    if (st->misplaced)
        tell(r->m, p, "bad-rule",
             "%u of its entries are not what \"behavior: %s\" says, and used as what they are; the first is number %u, \"%s\"",
             st->misplaced, set_behavior_names[r->behavior], odd->line, cfg_quote(odd->text, strlen(odd->text), quoted));
}

/* Nothing is known of the set: every rule that uses it is false, or unsure. */
static bool unknown_set(struct maker *m, struct set *s, const struct rules_provider *p, const char *why)
{
    static const uint8_t flags[] = {
        [CFG_BEHAVIOR_DOMAIN] = XF_NEEDS_NAME, [CFG_BEHAVIOR_IPCIDR] = XF_NEEDS_ADDR | XF_ASK_IP, [CFG_BEHAVIOR_CLASSICAL] = 0
    };

    tell(m, p, "missing-data", "%s; rules that use it are %s until it is", why,
         m->env->strict ? "taken to reject what they could be true of" : "false");
    s->n = 0;
    return add_step(m, s, &(struct expr){ .op = X_MISSING, .flags = flags[p->cfg->behavior] });
}

static bool load_set(struct maker *m, struct set *s, const struct rules_provider *p)
{
    struct reading r = { .m = m, .s = s, .behavior = (enum set_behavior)p->cfg->behavior };
    struct set_stats st;
    char why[160];
    int err;

    if (!p->bytes && p->cfg->from != CFG_FROM_INLINE && !p->cfg->rules.n)
        return unknown_set(m, s, p, "its file is not in the state directory");
    if (r.behavior == SET_IPCIDR && !run_for(m, s, XF_ASK_IP)) /* asks even when it is empty */
        return false;
    err = read_set(&r, p, &st);
    if (err == -EBADMSG || err == -ERR_LIMIT) {
        snprintf(why, sizeof(why), "its file is not usable (%s)", st.error ? st.error : "not of this format");
        return unknown_set(m, s, p, why);
    }
    if (err < 0)
        return false;
    tell_about_entries(&r, p, &st);
    return true;
}

/* The steps become the ruleset's. */
static bool keep_steps(struct maker *m, struct set *s)
{
    struct expr *kept = arena_alloc(&m->rs->mem, (s->n + 1) * sizeof(*kept));

    if (kept && s->n)
        memcpy(kept, s->steps, s->n * sizeof(*kept));
    free(s->steps);
    s->steps = kept;
    return kept;
}

static struct set *find_set(struct maker *m, const char *name)
{
    for (struct map_node *n = map_first(&m->sets, hash_bytes(name, strlen(name))); n; n = map_next(n)) {
        struct set *s = container_of(n, struct set, node);

        if (!strcmp(s->name, name))
            return s;
    }
    return NULL;
}

static bool unknown_provider(struct maker *m, const char *name, struct fault *f)
{
    char quoted[CFG_QUOTE_MAX];
    struct cfg_guess g;

    cfg_guess_start(&g, m->d, name);
    if (m->env->offer_providers)
        m->env->offer_providers(m->env->arg, &g);
    return fault(f, "bad-rule", "there is no rule provider \"%s\"%s", cfg_quote(name, strlen(name), quoted), cfg_guess_text(&g));
}

struct set *provider_set(struct maker *m, const char *name, struct fault *f)
{
    struct set *s = find_set(m, name);
    struct rules_provider p = { 0 };
    bool ok;

    if (s)
        return s;
    if (!m->env->provider || !m->env->provider(m->env->arg, name, &p)) {
        unknown_provider(m, name, f);
        return NULL;
    }
    if (!(s = arena_alloc(&m->mem, sizeof(*s))) || !(s->name = arena_strdup(&m->mem, name, strlen(name)))) {
        fault_memory(f);
        return NULL;
    }
    s->open = UINT32_MAX;
    ok = load_set(m, s, &p);
    if (!keep_steps(m, s) || !ok) {
        fault_memory(f);
        return NULL;
    }
    map_add(&m->sets, &s->node, hash_bytes(name, strlen(name)));
    return s;
}
