/*
 * compile.c - what a line says -> how it is asked
 *
 * A term that the indexes can answer becomes an atom; the rest becomes an expr of its own with its operands beside it. Data that are not
 * there become X_MISSING, which still asks for the facts the rule would ask for.
 */
#include <stdlib.h>
#include <string.h>

#include "rules/maker.h"

static struct expr missing_expr(uint8_t type, bool src, bool no_resolve)
{
    uint8_t needs = type == RULE_GEOSITE ? XF_NEEDS_NAME : XF_NEEDS_ADDR;
    bool asks = needs == XF_NEEDS_ADDR && !src && !no_resolve;

    return (struct expr){ .op = X_MISSING, .flags = (uint8_t)(needs | (src ? XF_SRC : 0) | (asks ? XF_ASK_IP : 0)) };
}

static bool compile_geo(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    struct known *k = atom_of_geo(m, t, f);
    bool asks = t->type != RULE_GEOSITE && !t->src && !t->no_resolve;

    if (!k)
        return false;
    if (t->negate && (t->type == RULE_GEOIP || t->type == RULE_SRC_GEOIP) && !m->env->geoip_is_dat && m->env->geoip.bytes)
        return fault(f, "bad-rule", "\"!\" means something with GeoIP.dat only (geodata-mode: true)");
    if (k->missing) {
        *x = missing_expr(t->type, t->src, t->no_resolve);
        return true;
    }
    *x = (struct expr){
        .op = X_ATOM, .flags = (uint8_t)((t->src ? XF_SRC : 0) | (asks ? XF_ASK_IP : 0)), .atom = k->atom, .src_atom = NO_ATOM
    };
    if (t->negate) {
        x->op = t->type == RULE_GEOSITE ? X_NOT_NAMED : X_NOT_PLACED;
    } else if (t->src) {
        x->atom = NO_ATOM;
        x->src_atom = k->atom;
    }
    return true;
}

static bool compile_pattern(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    bool program = t->type == RULE_PROCESS_NAME || t->type == RULE_PROCESS_PATH;
    bool asks = (t->type == RULE_IP_CIDR || t->type == RULE_IP_CIDR6) && !t->no_resolve;
    uint32_t atom;

    if (!atom_of_pattern(m, t, &atom, f))
        return false;
    *x = (struct expr){ .op = X_ATOM, .flags = program ? XF_ASK_PROC : asks ? XF_ASK_IP : 0, .atom = atom, .src_atom = NO_ATOM };
    if (t->src) {
        x->atom = NO_ATOM;
        x->src_atom = atom;
    }
    return true;
}

static bool compile_provider(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    struct set *s = provider_set(m, t->payload, f);

    if (!s)
        return false;
    *x = (struct expr){
        .op = X_SET, .flags = (uint8_t)((t->src ? XF_SRC : 0) | (t->no_resolve ? XF_NO_ASK : 0)), .n = s->n, .kids = s->steps
    };
    if (s->n == 1 && s->steps->op == X_ATOM && !t->src) { /* the set is one run */
        *x = s->steps[0];
        if (t->no_resolve)
            x->flags &= (uint8_t)~XF_ASK_IP;
    }
    return true;
}

static bool compile_logic(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    struct expr *kids = arena_alloc(&m->rs->mem, t->n * sizeof(*kids));

    if (!kids)
        return fault_memory(f);
    for (uint32_t i = 0; i < t->n; i++)
        if (!compile_term(m, &t->kids[i], &kids[i], f))
            return false;
    if (t->type == RULE_SUB_RULE) {
        *x = kids[0];
        return true;
    }
    *x = (struct expr){ .op = t->type == RULE_AND ? X_AND : t->type == RULE_OR ? X_OR : X_NOT, .n = t->n, .kids = kids };
    return true;
}

static bool compile_ranges(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    struct range *v = arena_alloc(&m->rs->mem, t->n * sizeof(*v));

    if (!v)
        return fault_memory(f);
    memcpy(v, t->ranges, t->n * sizeof(*v));
    *x = (struct expr){ .n = t->n, .ranges = v };
    x->op = t->type == RULE_UID ? X_UID : t->type == RULE_DSCP ? X_DSCP : X_PORT;
    x->flags = t->type == RULE_UID ? XF_ASK_PROC : t->type == RULE_SRC_PORT ? XF_SRC : t->type == RULE_IN_PORT ? XF_IN : 0;
    return true;
}

static bool compile_words(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    const char **v = arena_alloc(&m->rs->mem, t->n * sizeof(*v));

    for (uint32_t i = 0; v && i < t->n; i++)
        if (!(v[i] = arena_strdup(&m->rs->mem, t->words[i], strlen(t->words[i]))))
            v = NULL;
    if (!v)
        return fault_memory(f);
    *x = (struct expr){ .op = t->type == RULE_IN_USER ? X_IN_USER : X_IN_NAME, .n = t->n, .words = v };
    return true;
}

static bool compile_proc_regex(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    struct ruleset *rs = m->rs;
    struct regex *re;
    char why[128];

    if (!(re = regex_new(t->payload, strlen(t->payload), why)))
        return *why ? fault(f, "bad-regex", "not a regular expression: %s", why) : fault_memory(f);
    if ((!rs->room && !(rs->room = regex_room_new())) || !grow(&rs->regex, rs->n_regex, &rs->cap_regex, sizeof(struct regex *))) {
        regex_free(re);
        return fault_memory(f);
    }
    rs->regex[rs->n_regex++] = re;
    *x = (struct expr){ .op = X_PROC_REGEX, .flags = XF_ASK_PROC, .regex = re };
    x->flags |= t->type == RULE_PROCESS_PATH_REGEX ? XF_PATH : 0;
    return true;
}

static bool compile_proc_glob(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    size_t n = strlen(t->payload);
    char *glob = arena_strdup(&m->rs->mem, t->payload, n);

    if (!glob)
        return fault_memory(f);
    for (size_t i = 0; i < n; i++)
        glob[i] = ascii_lower(glob[i]);
    *x = (struct expr){ .op = X_PROC_GLOB, .flags = XF_ASK_PROC, .n = (uint32_t)n, .glob = glob };
    x->flags |= t->type == RULE_PROCESS_PATH_WILDCARD ? XF_PATH : 0;
    return true;
}

bool compile_term(struct maker *m, const struct term *t, struct expr *x, struct fault *f)
{
    bool asks = !t->src && !t->no_resolve;

    if (atom_is_pattern(t))
        return compile_pattern(m, t, x, f);
    switch (t->type) {
    case RULE_GEOSITE:
    case RULE_GEOIP:
    case RULE_SRC_GEOIP:
    case RULE_IP_ASN:
    case RULE_SRC_IP_ASN: return compile_geo(m, t, x, f);
    case RULE_RULE_SET: return compile_provider(m, t, x, f);
    case RULE_AND:
    case RULE_OR:
    case RULE_NOT:
    case RULE_SUB_RULE: return compile_logic(m, t, x, f);
    case RULE_SRC_PORT:
    case RULE_DST_PORT:
    case RULE_IN_PORT:
    case RULE_UID:
    case RULE_DSCP: return compile_ranges(m, t, x, f);
    case RULE_IN_USER:
    case RULE_IN_NAME: return compile_words(m, t, x, f);
    case RULE_PROCESS_NAME_REGEX:
    case RULE_PROCESS_PATH_REGEX: return compile_proc_regex(m, t, x, f);
    case RULE_PROCESS_NAME_WILDCARD:
    case RULE_PROCESS_PATH_WILDCARD: return compile_proc_glob(m, t, x, f);
    case RULE_IP_SUFFIX:
    case RULE_SRC_IP_SUFFIX:
        *x = (struct expr){ .op = X_SUFFIX,
                            .flags = (uint8_t)((t->src ? XF_SRC : 0) | (asks ? XF_ASK_IP : 0)),
                            .suffix = { t->suffix.ip, t->suffix.bits } };
        return true;
    case RULE_NETWORK:
    case RULE_IN_TYPE: *x = (struct expr){ .op = t->type == RULE_NETWORK ? X_NETWORK : X_IN_TYPE, .mask = t->mask }; return true;
    case RULE_MATCH: *x = (struct expr){ .op = X_TRUE }; return true;
    default: *x = (struct expr){ .op = X_FALSE }; return true; /* REMATCH-NAME: nothing here starts matching again */
    }
}
