/*
 * atoms.c - one thing that can be true, one atom
 *
 *   inline pattern       by type and text: equal ones share an atom, however many rules say it
 *   GEOSITE,cat@attr     GeoSite.dat                          read when first met
 *   GEOIP,cc  IP-ASN,n   GeoIP.dat when first met; from an mmdb all at once at the end, because that is one walk over its tree
 *
 * What is true of an atom goes into the indexes here; who asks about it is not known here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/hash.h"
#include "rules/maker.h"

/* Data that a rule needs are not there: said once for each file. */
static void missing(struct maker *m, bool *said, const char *what)
{
    char line[CFG_QUOTE_MAX];

    if (*said)
        return;
    *said = true;
    diag_warn(m->d, m->at->line, m->at->column, m->path, "missing-data", "%s: %s; such rules are %s until it is",
              cfg_quote(m->at->text, strlen(m->at->text), line), what,
              m->env->strict ? "taken to reject what they could be true of" : "false");
}

/* ---- what was met ---- */

static struct known *find_known(struct maker *m, const char *key, size_t len, uint64_t hash)
{
    for (struct map_node *n = map_first(&m->known, hash); n; n = map_next(n)) {
        struct known *k = container_of(n, struct known, node);

        if (k->len == len && !memcmp(k->key, key, len))
            return k;
    }
    return NULL;
}

/* A key is a type and what follows it. NULL: no memory. */
static struct known *add_known(struct maker *m, const char *key, size_t len, uint64_t hash)
{
    struct known *k = arena_alloc(&m->mem, sizeof(*k));

    if (!k || !(k->key = arena_strdup(&m->mem, key, len))) {
        m->no_memory = true;
        return NULL;
    }
    k->len = len;
    k->size = -1;
    k->atom = m->rs->n_atoms++;
    map_add(&m->known, &k->node, hash);
    return k;
}

/* The key of a pattern: its type, a separator, its text in lower case when letter case means nothing. */
static size_t make_key(char *key, size_t size, const char *kind, const char *text, bool fold)
{
    size_t before = strlen(kind), behind = strlen(text), n = before + 1 + behind;

    n = n < size ? n : size - 1;
    memcpy(key, kind, before);
    key[before] = ',';
    memcpy(key + before + 1, text, n - before - 1);
    key[n] = 0;
    for (size_t i = 0; fold && i < n; i++)
        key[i] = ascii_lower(key[i]);
    return n;
}

static uint64_t space_of(const struct term *t)
{
    return t->type == RULE_PROCESS_NAME ? SPACE_PROC_NAME : SPACE_PROC_PATH;
}

static void add_process(struct maker *m, const struct term *t, uint32_t atom)
{
    char lower[4096];
    size_t n = make_key(lower, sizeof(lower), "", t->payload, true);

    domain_add_key(&m->rs->ix.names, &m->rs->ix.lists, space_of(t), lower + 1, n - 1, atom);
    m->rs->has_proc = true;
}

/* Puts the pattern of a term under an atom: names, prefixes, programs. */
bool atom_fill(struct maker *m, const struct term *t, uint32_t atom, struct fault *f)
{
    struct index *x = &m->rs->ix;
    char why[128];
    int r = 0;

    switch (t->type) {
    case RULE_IP_CIDR:
    case RULE_IP_CIDR6:
    case RULE_SRC_IP_CIDR: spans_add(&x->spans, &x->lists, &t->net, atom); break;
    case RULE_PROCESS_NAME:
    case RULE_PROCESS_PATH: add_process(m, t, atom); break;
    default: r = index_domain_rule(x, t, atom, why); break;
    }
    if (r == -EINVAL)
        return fault(f, "bad-regex", "not a regular expression: %s", why);
    return r == 0 && !x->lists.failed ? true : fault_memory(f);
}

static bool is_net(const struct term *t)
{
    return t->type == RULE_IP_CIDR || t->type == RULE_IP_CIDR6 || t->type == RULE_SRC_IP_CIDR;
}

bool atom_is_program(const struct term *t)
{
    return t->type == RULE_PROCESS_NAME || t->type == RULE_PROCESS_PATH;
}

bool atom_is_pattern(const struct term *t)
{
    return t->type <= RULE_DOMAIN_REGEX || is_net(t) || atom_is_program(t);
}

/* What makes two patterns the same: type and text. 0 = too long to be compared. */
static size_t pattern_key(const struct term *t, char *key, size_t size)
{
    char net[ADDR_STRLEN + 8], addr[ADDR_STRLEN];
    size_t n;

    if (is_net(t)) {
        snprintf(net, sizeof(net), "%s/%u", addr_str(&t->net.ip, addr), t->net.len);
        return make_key(key, size, "IP", net, false);
    }
    n = make_key(key, size, rule_type_name(t->type), t->payload, atom_is_program(t));
    return n + 1 < size ? n : 0;
}

bool atom_of_pattern(struct maker *m, const struct term *t, uint32_t *atom, struct fault *f)
{
    char key[PROCESS_MAX + 64];
    size_t len = pattern_key(t, key, sizeof(key));
    uint64_t hash = hash_bytes(key, len);
    struct known *k = len ? find_known(m, key, len, hash) : NULL;

    if (k) {
        *atom = k->atom;
        return true;
    }
    *atom = m->rs->n_atoms;
    if (!atom_fill(m, t, *atom, f))
        return false;
    return add_known(m, key, len, hash) ? true : fault_memory(f);
}

/* ---- geo data ---- */

/* Whether an mmdb can be walked at all: found out once, before rules rely on it. */
static bool mmdb_usable(const struct rules_file *file, enum geo_kind kind, int *known)
{
    struct geo_want nothing = { .code = "?" };

    if (!*known)
        *known = file->bytes && geo_mmdb_read(file->bytes, file->len, kind, &nothing, 1) == 0 ? 1 : -1;
    return *known > 0;
}

static bool wish(struct maker *m, struct wishes *w, struct known *k, const char *code)
{
    struct wish *one = arena_alloc(&m->mem, sizeof(*one));

    if (!one || !(one->code = arena_strdup(&m->mem, code, strlen(code))) || !grow(&w->v, w->n, &w->cap, sizeof(*w->v)))
        return false;
    one->k = k;
    one->filler = (struct filler){ &m->rs->ix, k->atom };
    w->v[w->n++] = one;
    return true;
}

static int read_geosite(struct maker *m, struct known *k, const char *want)
{
    struct filler f = { &m->rs->ix, k->atom };
    struct set_visitor v = filler_visitor(&f);
    struct set_stats st;
    int r;

    if (!m->env->geosite.bytes) {
        missing(m, &m->said_geosite, "GeoSite.dat is not in the state directory");
        return -ENODATA;
    }
    if ((r = geosite_read(m->env->geosite.bytes, m->env->geosite.len, want, &v, &st)) == -EBADMSG) {
        missing(m, &m->said_geosite, "GeoSite.dat is broken");
        return -ENODATA;
    }
    k->size = (int32_t)st.entries;
    return r;
}

static int read_geoip(struct maker *m, struct known *k, const char *code)
{
    struct filler f = { &m->rs->ix, k->atom };
    struct set_visitor v = filler_visitor(&f);
    struct set_stats st;
    int r;

    if (!strcasecmp(code, "lan")) {
        index_lan(&m->rs->ix, k->atom);
        return 0;
    }
    if (!m->env->geoip.bytes) {
        missing(m, &m->said_geoip, "the database of countries is not in the state directory");
        return -ENODATA;
    }
    if (m->env->geoip_is_dat) {
        if ((r = geoip_dat_read(m->env->geoip.bytes, m->env->geoip.len, code, &v, &st)) == -EBADMSG) {
            missing(m, &m->said_geoip, "GeoIP.dat is broken");
            return -ENODATA;
        }
        k->size = (int32_t)st.entries;
        return r;
    }
    if (!mmdb_usable(&m->env->geoip, GEO_CODE, &m->geoip_state)) {
        missing(m, &m->said_geoip, "the database of countries is broken");
        return -ENODATA;
    }
    return wish(m, &m->codes, k, code) ? 0 : -ENOMEM;
}

static int read_asn(struct maker *m, struct known *k, const char *number)
{
    if (!mmdb_usable(&m->env->asn, GEO_ASN, &m->asn_state)) {
        missing(m, &m->said_asn,
                m->env->asn.bytes ? "the database of AS numbers is broken" : "the database of AS numbers is not in the state directory");
        return -ENODATA;
    }
    return wish(m, &m->numbers, k, number) ? 0 : -ENOMEM;
}

static bool is_geoip(uint8_t type)
{
    return type == RULE_GEOIP || type == RULE_SRC_GEOIP;
}

/* The data of GEOSITE, GEOIP, IP-ASN, read when first met. */
struct known *atom_of_geo(struct maker *m, const struct term *t, struct fault *f)
{
    const char *want = t->payload + t->negate, *kind = t->type == RULE_GEOSITE ? "GEOSITE" : is_geoip(t->type) ? "GEOIP" : "ASN";
    char key[300];
    size_t len = make_key(key, sizeof(key), kind, want, true);
    uint64_t hash = hash_bytes(key, len);
    struct known *k = find_known(m, key, len, hash);
    int r;

    if (len + 1 >= sizeof(key)) {
        fault(f, "bad-rule", "no list has such a long name");
        return NULL;
    }
    if (!k) {
        if (!(k = add_known(m, key, len, hash))) {
            fault_memory(f);
            return NULL;
        }
        r = t->type == RULE_GEOSITE ? read_geosite(m, k, want) : is_geoip(t->type) ? read_geoip(m, k, want) : read_asn(m, k, want);
        k->missing = r == -ENODATA;
        k->none = r == -ENOENT;
        if ((r < 0 && !k->missing && !k->none) || m->rs->ix.lists.failed) {
            fault_memory(f);
            return NULL;
        }
    }
    if (k->none) {
        fault(f, "missing-data", "%s has no list \"%.60s\"", t->type == RULE_GEOSITE ? "GeoSite.dat" : "GeoIP.dat", want);
        return NULL;
    }
    return k;
}

static void granted(struct maker *m, struct wishes *w, enum geo_kind kind, const struct rules_file *file)
{
    struct geo_want *want = w->n ? calloc(w->n, sizeof(*want)) : NULL;

    if (!w->n)
        return;
    for (uint32_t i = 0; want && i < w->n; i++)
        want[i] = (struct geo_want){ .code = w->v[i]->code, .v = filler_visitor(&w->v[i]->filler) };
    if (!want || geo_mmdb_read(file->bytes, file->len, kind, want, w->n) < 0)
        m->no_memory = true; /* the file itself was walked before */
    for (uint32_t i = 0; want && i < w->n; i++)
        w->v[i]->k->size = kind == GEO_CODE ? (int32_t)want[i].n_prefixes : -1;
    free(want);
}

void atoms_grant(struct maker *m)
{
    granted(m, &m->codes, GEO_CODE, &m->env->geoip);
    granted(m, &m->numbers, GEO_ASN, &m->env->asn);
}
