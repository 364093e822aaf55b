/*
 * match.c - builds the indexes, and finds the first rule that is true
 *
 * Facts first, order second: each index answers "which rules are true of this name / this address", as chains in profile order; the answer is the
 * smallest position at or after where the walk stands. So a decision costs the labels of a name and the prefix lengths in use, not the number of rules.
 *
 *   exact, suffix   hash of the name, walked label by label from the right
 *   prefix          hash of (length, masked address), one probe per length in use
 *   keywords        looked for one by one;  others (ports, network, MATCH) in order
 *
 * Hashes are 64 bits under a random key of the set; a candidate's text is compared before it counts.
 */
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "rules/private.h"

/* ---- tables ---- */

static int table_init(struct table *t, struct arena *mem, uint32_t want)
{
    uint32_t size = 4;

    while (size < want + want / 4 + 1)
        size *= 2;
    t->slot = arena_alloc(mem, size * sizeof(*t->slot));
    t->mask = size - 1;
    return t->slot ? 0 : -1;
}

static struct slot *probe(const struct table *t, uint64_t hash)
{
    uint32_t i = (uint32_t)(hash >> 32) & t->mask;

    while (t->slot[i].hash && t->slot[i].hash != hash)
        i = (i + 1) & t->mask;
    return &t->slot[i];
}

static void table_add(struct ruleset *rs, struct table *t, uint64_t hash, uint32_t rule)
{
    struct slot *s = probe(t, hash);

    if (!s->hash) {
        *s = (struct slot){ hash, rule, rule };
        t->n++;
        return;
    }
    rs->all[s->last].next_same = rule;
    s->last = rule;
}

static uint64_t name_hash(const struct ruleset *rs, const char *s, size_t len)
{
    uint64_t h = siphash13(rs->key, s, len);

    return h ? h : 1;
}

static uint64_t prefix_hash(const struct ruleset *rs, const struct addr *a, uint8_t len)
{
    uint8_t key[18] = { a->ver, len };
    uint64_t h;
    unsigned whole = len / 8;

    memcpy(key + 2, a->b, whole);
    if (len % 8)
        key[2 + whole] = (uint8_t)(a->b[whole] & (0xff00u >> (len % 8)));
    h = siphash13(rs->key, key, sizeof(key));
    return h ? h : 1;
}

/* ---- building ---- */

static void note_len(uint8_t *lens, uint8_t *n, uint8_t len)
{
    for (uint8_t i = 0; i < *n; i++)
        if (lens[i] == len)
            return;
    lens[(*n)++] = len;
}

static void index_rule(struct ruleset *rs, uint32_t i)
{
    struct parsed *p = &rs->all[i];

    switch (p->rule.type) {
    case RULE_DOMAIN: table_add(rs, &rs->exact, name_hash(rs, p->rule.payload, strlen(p->rule.payload)), i); break;
    case RULE_DOMAIN_SUFFIX: table_add(rs, &rs->suffix, name_hash(rs, p->rule.payload, strlen(p->rule.payload)), i); break;
    case RULE_DOMAIN_KEYWORD: rs->keywords[rs->n_keywords++] = i; break;
    case RULE_IP_CIDR:
    case RULE_IP_CIDR6:
        if (p->net.ip.ver == 4)
            note_len(rs->lens4, &rs->n_lens4, p->net.len);
        else
            note_len(rs->lens6, &rs->n_lens6, p->net.len);
        table_add(rs, &rs->prefix, prefix_hash(rs, &p->net.ip, p->net.len), i);
        if (!p->rule.no_resolve)
            rs->resolving[rs->n_resolving++] = i;
        break;
    default: rs->others[rs->n_others++] = i; break;
    }
}

static int make_indexes(struct ruleset *rs)
{
    uint32_t count[RULE_N_TYPES] = { 0 }, addr;

    for (uint32_t i = 0; i < rs->n; i++)
        count[rs->all[i].rule.type]++;
    addr = count[RULE_IP_CIDR] + count[RULE_IP_CIDR6];
    if (table_init(&rs->exact, &rs->mem, count[RULE_DOMAIN]) < 0 || table_init(&rs->suffix, &rs->mem, count[RULE_DOMAIN_SUFFIX]) < 0 ||
        table_init(&rs->prefix, &rs->mem, addr) < 0)
        return -1;
    rs->keywords = arena_alloc(&rs->mem, (count[RULE_DOMAIN_KEYWORD] + 1) * sizeof(uint32_t));
    rs->resolving = arena_alloc(&rs->mem, (addr + 1) * sizeof(uint32_t));
    rs->others = arena_alloc(&rs->mem, (count[RULE_DST_PORT] + count[RULE_NETWORK] + count[RULE_MATCH] + 1) * sizeof(uint32_t));
    if (!rs->keywords || !rs->resolving || !rs->others)
        return -1;
    for (uint32_t i = 0; i < rs->n; i++)
        index_rule(rs, i);
    return 0;
}

static void resolve_target(struct parsed *p, rules_find_fn *find, void *arg, struct diag *d)
{
    char path[32];

    if ((p->rule.target_id = find(arg, p->rule.target)) >= 0)
        return;
    snprintf(path, sizeof(path), "rules[%u]", p->rule.index);
    if (p->rule.type == RULE_MATCH)
        diag_err(d, p->rule.line, p->rule.column, path, "unknown-target", "MATCH points to \"%s\", which does not exist", p->rule.target);
    else
        diag_warn(d, p->rule.line, p->rule.column, path, "unknown-target", "there is no proxy or group \"%s\": the flows of this rule are rejected",
                  p->rule.target);
}

struct ruleset *rules_build(const struct cfg_rule *src, uint32_t n, rules_find_fn *find, void *arg, struct diag *d)
{
    struct ruleset *rs = calloc(1, sizeof(*rs));

    if (!rs)
        return NULL;
    random_bytes(rs->key, sizeof(rs->key));
    if (!(rs->all = arena_alloc(&rs->mem, (n + 1) * sizeof(*rs->all)))) {
        rules_free(rs);
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!rule_parse(rs, &src[i], &rs->all[rs->n], d))
            continue;
        resolve_target(&rs->all[rs->n], find, arg, d);
        rs->n++;
    }
    if (make_indexes(rs) == 0)
        return rs;
    rules_free(rs);
    return NULL;
}

void rules_free(struct ruleset *rs)
{
    if (!rs)
        return;
    arena_fini(&rs->mem);
    free(rs);
}

uint32_t rules_count(const struct ruleset *rs)
{
    return rs->n;
}

struct rule *rules_at(struct ruleset *rs, uint32_t i)
{
    return &rs->all[i].rule;
}

/* ---- matching ---- */

static uint32_t min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* First rule at or after from in the chain of a name. */
static uint32_t in_names(const struct ruleset *rs, const struct table *t, uint64_t hash, const char *name, uint32_t from)
{
    const struct slot *s = probe(t, hash);

    for (uint32_t i = s->hash ? s->first : NO_RULE; i != NO_RULE; i = rs->all[i].next_same)
        if (i >= from && !strcmp(rs->all[i].rule.payload, name))
            return i;
    return NO_RULE;
}

static uint32_t by_name(const struct ruleset *rs, const char *host, uint32_t from)
{
    size_t len = strlen(host);
    uint32_t best = NO_RULE;

    if (rs->exact.n)
        best = in_names(rs, &rs->exact, name_hash(rs, host, len), host, from);
    for (const char *s = host + len; rs->suffix.n && s > host;) {
        for (s--; s > host && s[-1] != '.'; s--)
            ;
        best = min(best, in_names(rs, &rs->suffix, name_hash(rs, s, len - (size_t)(s - host)), s, from));
        if (s > host)
            s--; /* over the dot */
    }
    for (uint32_t k = 0; k < rs->n_keywords; k++) {
        uint32_t i = rs->keywords[k];

        if (i > best)
            break;
        if (i >= from && strstr(host, rs->all[i].rule.payload))
            return i;
    }
    return best;
}

static uint32_t by_address(const struct ruleset *rs, const struct addr *a, uint32_t from)
{
    const uint8_t *lens = a->ver == 4 ? rs->lens4 : rs->lens6;
    uint8_t n = a->ver == 4 ? rs->n_lens4 : rs->n_lens6;
    uint32_t best = NO_RULE;

    for (uint8_t k = 0; k < n; k++) {
        const struct slot *s = probe(&rs->prefix, prefix_hash(rs, a, lens[k]));

        for (uint32_t i = s->hash ? s->first : NO_RULE; i != NO_RULE && i < best; i = rs->all[i].next_same)
            if (i >= from && cidr_contains(&rs->all[i].net, a))
                best = i;
    }
    return best;
}

static bool is_true(const struct parsed *p, const struct flow_meta *m)
{
    if (p->rule.type == RULE_MATCH)
        return true;
    if (p->rule.type == RULE_NETWORK)
        return p->l4 == m->net;
    for (uint32_t i = 0; i < p->n_ports; i++)
        if (m->dst.at.port >= p->ports[i][0] && m->dst.at.port <= p->ports[i][1])
            return true;
    return false;
}

/* Position in a sorted list of the first one at or after from. */
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

static uint32_t by_rest(const struct ruleset *rs, const struct flow_meta *m, uint32_t from, uint32_t best)
{
    for (uint32_t k = first_at(rs->others, rs->n_others, from); k < rs->n_others && rs->others[k] < best; k++)
        if (is_true(&rs->all[rs->others[k]], m))
            return rs->others[k];
    return best;
}

enum match rules_match(struct ruleset *rs, struct rule_pos *pos, const struct flow_meta *m, struct rule **hit)
{
    uint32_t best = NO_RULE, k;

    if (m->dst.host)
        best = by_name(rs, m->dst.host, pos->from);
    if (addr_is_set(&m->dst.at.ip))
        best = min(best, by_address(rs, &m->dst.at.ip, pos->from));
    best = by_rest(rs, m, pos->from, best);
    if (m->dst.host && !addr_is_set(&m->dst.at.ip) && !pos->ip_failed) {
        k = first_at(rs->resolving, rs->n_resolving, pos->from);
        if (k < rs->n_resolving && rs->resolving[k] < best) {
            pos->from = rs->resolving[k];
            return MATCH_NEED_IP;
        }
    }
    if (best == NO_RULE)
        return MATCH_NONE;
    pos->from = best + 1;
    *hit = &rs->all[best].rule;
    return MATCH_HIT;
}
