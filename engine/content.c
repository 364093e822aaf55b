/*
 * content.c - rule providers and geo databases, from their files to the rules that are being built
 *
 *   rules_build asks for a provider ─► its file is read once ─► is it what it should be? ─► else the copy before it, and the one before
 * that
 *
 * Databases are only read when a rule may need one: the texts of the rules are searched for the words. Each goes by several names in the
 * wild; the first that is there counts, and where GEOIP's own kind (geodata-mode) is not there the other one does.
 *
 * All bytes are freed with the content, when the rules are built.
 */
#include "engine/content.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/err.h"
#include "core/file.h"
#include "rules/geo.h"

#define GEO_MAX ((size_t)64 << 20)
#define LATEST  "https://github.com/MetaCubeX/meta-rules-dat/releases/download/latest/"

/* ---- databases ---- */

struct geo_file {
    const char *name;        /* of its spec */
    const char *const *word; /* a rule with one of these needs it */
    const char *const *file; /* names below the state directory; the first is where it is stored */
    const char *url;
};

static const char *const site_words[] = { "GEOSITE", NULL }, *const ip_words[] = { "GEOIP", NULL }, *const asn_words[] = { "IP-ASN", NULL },
                         *const all_words[] = { "GEOSITE", "GEOIP", "IP-ASN", "RULE-SET", NULL };
static const char *const site_files[] = { "GeoSite.dat", "geosite.dat", NULL }, *const dat_files[] = { "GeoIP.dat", "geoip.dat", NULL },
                         *const mmdb_files[] = { "geoip.metadb", "Country.mmdb", "country.mmdb", NULL },
                         *const asn_files[] = { "ASN.mmdb", "GeoLite2-ASN.mmdb", NULL };

static const struct geo_file sites = { "geosite", site_words, site_files, LATEST "geosite.dat" },
                             ip_dat = { "geoip.dat", ip_words, dat_files, LATEST "geoip.dat" },
                             ip_mmdb = { "geoip.metadb", ip_words, mmdb_files, LATEST "geoip.metadb" },
                             asns = { "asn", asn_words, asn_files, LATEST "GeoLite2-ASN.mmdb" };

/* What is read for a kind, in this order, and what is fetched when there is none: the first. */
static void files_of(const struct profile *p, int kind, const struct geo_file *out[2])
{
    out[0] = kind == GEO_SITES ? &sites : kind == GEO_ASNS ? &asns : p->geo.mode_dat ? &ip_dat : &ip_mmdb;
    out[1] = kind != GEO_IPS ? NULL : p->geo.mode_dat ? &ip_mmdb : &ip_dat;
}

static const char *url_of(const struct profile *p, const struct geo_file *f)
{
    const char *said = f == &sites ? p->geo.geosite : f == &ip_dat ? p->geo.geoip : f == &ip_mmdb ? p->geo.mmdb : p->geo.asn;

    return said ? said : f->url;
}

static bool has_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasestr(text, *words))
            return true;
    return false;
}

static bool lines_have(const struct cfg_rule *r, uint32_t n, const char *const *words)
{
    for (uint32_t i = 0; i < n; i++)
        if (has_word(r[i].text, words))
            return true;
    return false;
}

enum { GEO = 1u << CFG_MATCH_GEO, SET = 1u << CFG_MATCH_SET };

/* Does a list refer to something of these kinds? Whole rules (fake-ip-filter) do with one of the words. */
static bool list_refers(const struct cfg_matchers *m, unsigned kinds, const char *const *words)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (kinds & 1u << m->v[i].kind || (m->v[i].kind == CFG_MATCH_RULE && has_word(m->v[i].text, words)))
            return true;
    return false;
}

static bool keys_refer(const struct cfg_policies *p, unsigned kinds, const char *const *words)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (list_refers(&p->v[i].names, kinds, words))
            return true;
    return false;
}

static bool dns_refers(const struct cfg_dns *c, unsigned kinds, const char *const *words)
{
    return keys_refer(&c->policy, kinds, words) || keys_refer(&c->proxy_server_policy, kinds, words) ||
           list_refers(&c->fake_filter, kinds, words) || list_refers(&c->fallback_filter.domain, kinds, words);
}

static bool doubts_countries(const struct cfg_dns *c)
{
    return c->fallback.n && c->fallback_filter.geoip;
}

bool content_in_dns(const struct profile *p)
{
    return doubts_countries(&p->dns) || dns_refers(&p->dns, GEO | SET, all_words);
}

/* The lists of names and addresses that may say geosite: or geoip:, and rules among them. */
static bool lists_refer(const struct profile *p, int kind, const char *const *words)
{
    const struct cfg_sniffer *s = &p->sniffer;

    switch (kind) {
    case GEO_SITES:
        return list_refers(&s->force_domain, GEO, words) || list_refers(&s->skip_domain, GEO, words) || dns_refers(&p->dns, GEO, words);
    case GEO_IPS:
        return list_refers(&s->skip_src, GEO, words) || list_refers(&s->skip_dst, GEO, words) || doubts_countries(&p->dns) ||
               dns_refers(&p->dns, 0, words);
    default: return dns_refers(&p->dns, 0, words);
    }
}

static bool needs(const struct profile *p, int kind, const char *const *words)
{
    if (lines_have(p->rules, p->n_rules, words) || lists_refer(p, kind, words))
        return true;
    for (uint32_t i = 0; i < p->n_sub_rules; i++)
        if (lines_have(p->sub_rules[i].rules, p->sub_rules[i].n_rules, words))
            return true;
    return false;
}

bool content_check_geo(const struct provider_spec *s, const char *bytes, size_t len, char why[256])
{
    static const struct set_visitor nobody;
    bool dat = !strcmp(s->name, sites.name) || !strcmp(s->name, ip_dat.name);
    /* a file of lists says that it has none of this name; one that is no such file says something else */
    int r = dat ? geosite_read(bytes, len, "\x01", &nobody, NULL) : geo_mmdb_read(bytes, len, GEO_CODE, NULL, 0);

    if (len && r == (dat ? -ENOENT : 0))
        return true;
    snprintf(why, 256, "it is no such database");
    return false;
}

/* ---- specs ---- */

static void warn_path(const struct provider_spec *s, const struct cfg_provider *c, const char *state_dir, const char *what,
                      const char *instead, struct diag *d)
{
    char path[96], shown[96];

    snprintf(path, sizeof(path), "rule-providers.%s", log_safe(s->name, strlen(s->name), shown, 64));
    diag_warn(d, c->line, c->column, path, "unsafe-path", "path: %s%s%s%s", what, state_dir ? " " : "", state_dir ? state_dir : "",
              instead);
}

/* The path that counts: one that may be named, and that no other provider has. */
static void settle_path(struct specs *all, struct provider_spec *s, const struct cfg_provider *c, const char *state_dir, struct diag *d)
{
    bool http = s->from == PROVIDER_HTTP;

    if (!s->path || !*s->path || s->from == PROVIDER_INLINE || (s->own && !http))
        return;
    if (strlen(s->path) >= PATH_MAX - 16 || file_leads_out(state_dir, s->path)) {
        warn_path(s, c, state_dir, "it leads out of the state directory",
                  http ? "; a file of our own in there is used instead"
                       : "; put the file in there and name it relative to it (rules/NAME.yaml)",
                  d);
        s->path = NULL;
    }
    for (struct provider_spec *o = all->v; http && o < s && s->path; o++)
        if (o->from == PROVIDER_HTTP && o->path && !strcmp(o->path, s->path) && (!o->url || !s->url || strcmp(o->url, s->url) != 0)) {
            warn_path(s, c, NULL, "another provider has this file", "; one of its own is used instead", d);
            s->path = NULL;
        }
}

/* "Name: value" for each, but for User-Agent, which is a word of its own. */
static int add_headers(struct specs *all, struct provider_spec *s, const struct cfg_headers *h)
{
    uint32_t n = 0, at = 0;
    const char **v;

    for (uint32_t i = 0; i < h->n; i++)
        n += h->v[i].values.n;
    if (!n)
        return 0;
    if (!(v = arena_alloc(&all->mem, (n + 1) * sizeof(*v))))
        return -ENOMEM;
    for (uint32_t i = 0; i < h->n; i++)
        for (uint32_t k = 0; k < h->v[i].values.n; k++) {
            const char *name = h->v[i].name, *value = h->v[i].values.v[k];
            size_t len = strlen(name) + strlen(value) + 3;
            char *line;

            if (!strcasecmp(name, "user-agent")) {
                s->user_agent = value;
                continue;
            }
            if (!(line = arena_alloc(&all->mem, len)))
                return -ENOMEM;
            snprintf(line, len, "%s: %s", name, value);
            v[at++] = line;
        }
    s->headers = v;
    return 0;
}

int spec_of_provider(struct specs *all, const struct profile *p, const struct cfg_provider *c, struct provider_spec *s)
{
    *s = (struct provider_spec){ .name = c->name, .user_agent = p->global_ua, .own = c->own, .whole = !p->etag_support };
    return add_headers(all, s, &c->headers);
}

static int spec_of_rules(struct specs *all, const struct profile *p, const struct cfg_provider *c, struct provider_spec *s)
{
    int r = spec_of_provider(all, p, c, s);

    s->kind = PROVIDER_RULES;
    s->from = c->from == CFG_FROM_HTTP   ? PROVIDER_HTTP
              : c->from == CFG_FROM_FILE ? PROVIDER_FILE
                                         : PROVIDER_INLINE;
    s->url = c->url;
    s->path = c->path;
    s->proxy = c->proxy;
    s->interval_s = c->interval_s;
    s->size_limit = c->size_limit;
    s->behavior = (enum set_behavior)c->behavior;
    s->format = (enum set_format)c->format;
    s->near = all->near;
    return r;
}

/* Its name in the state directory; NULL: it is not there. */
static const char *stored_as(const struct geo_file *f, const char *state_dir)
{
    for (const char *const *name = f->file; state_dir && *name; name++) {
        char path[PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s", state_dir, *name) < (int)sizeof(path) && access(path, R_OK) == 0)
            return *name;
    }
    return NULL;
}

static void add_geo(struct specs *s, const struct profile *p, int kind, const char *state_dir)
{
    const struct geo_file *f[2], *use;
    const char *stored;

    files_of(p, kind, f);
    use = f[0];
    if (!(stored = stored_as(f[0], state_dir)) && f[1] && !p->geo.auto_update && (stored = stored_as(f[1], state_dir)))
        use = f[1];
    s->v[s->n++] = (struct provider_spec){ .kind = PROVIDER_GEO,
                                           .from = PROVIDER_HTTP,
                                           .name = use->name,
                                           .url = url_of(p, use),
                                           .path = stored ? stored : use->file[0],
                                           .user_agent = p->global_ua,
                                           .own = !p->foreign,
                                           .whole = !p->etag_support,
                                           .interval_s = p->geo.auto_update ? p->geo.interval_h * 3600 : 0 };
    s->geo |= 1u << kind;
}

int specs_init(struct specs *s, const struct profile *p, const char *state_dir, const char *near, struct diag *d)
{
    *s = (struct specs){ .n_rules = p->n_rule_providers };
    if (!(s->v = arena_alloc(&s->mem, (p->n_rule_providers + GEO_N) * sizeof(*s->v))) ||
        !(s->sizes = arena_alloc(&s->mem, (p->n_rule_providers + 1) * sizeof(*s->sizes))) ||
        (near && !(s->near = arena_strdup(&s->mem, near, strlen(near)))))
        return -ENOMEM;
    for (; s->n < s->n_rules; s->n++) {
        const struct cfg_provider *c = &p->rule_providers[s->n];
        struct provider_spec *one = &s->v[s->n];

        if (spec_of_rules(s, p, c, one) < 0)
            return -ENOMEM;
        settle_path(s, one, c, state_dir, d);
    }
    for (int kind = 0; kind < GEO_N; kind++) {
        const struct geo_file *f[2];

        files_of(p, kind, f);
        if (needs(p, kind, f[0]->word))
            add_geo(s, p, kind, state_dir);
    }
    return 0;
}

void specs_fini(struct specs *s)
{
    arena_fini(&s->mem);
    s->n = s->n_rules = 0;
    s->v = NULL;
}

/* ---- bytes ---- */

struct content {
    const struct profile *p;
    struct specs *specs;
    const char *state_dir; /* NULL: nowhere */
    bool repair;
    struct diag *d;
    struct {
        char *bytes;
        size_t len;
        bool read;
    } * at; /* of the rule providers */
    struct {
        char *bytes;
        size_t len;
        bool dat;
    } geo[GEO_N];
};

static void say_broken(struct content *c, uint32_t i, const char *why, bool older)
{
    const struct cfg_provider *cp = &c->p->rule_providers[i];
    char path[96], name[64];

    snprintf(path, sizeof(path), "rule-providers.%s", log_safe(cp->name, strlen(cp->name), name, sizeof(name)));
    diag_warn(c->d, cp->line, cp->column, path, "missing-data", "the stored file is broken (%s)%s", why,
              older ? "; the copy before it is used" : "");
}

/* Unless a good one was stored meanwhile. */
static void set_aside(const struct content *c, const struct provider_spec *s)
{
    char stored[PATH_MAX], why[256], *bytes;
    size_t len;
    int64_t when;
    bool good = false;

    provider_lock();
    if (provider_read(s, c->state_dir, 0, &bytes, &len, &when) == 0) {
        good = provider_check_rules(s, bytes, len, NULL, why);
        free(bytes);
    }
    if (!good && provider_path(s, c->state_dir, stored) != -EINVAL)
        file_set_aside_beneath(c->state_dir, stored);
    provider_unlock();
}

/* What is stored, or the newest copy before it that can be used. */
static void read_provider(struct content *c, uint32_t i)
{
    const struct provider_spec *s = &c->specs->v[i];
    char why[256] = "";
    bool broken = false;
    int64_t when;

    for (unsigned nth = 0; nth <= PROVIDER_COPIES; nth++) {
        char *bytes;
        size_t len;

        if (provider_read(s, c->state_dir, nth, &bytes, &len, &when) < 0)
            continue;
        if (provider_check_rules(s, bytes, len, &c->specs->sizes[i], why) || s->from == PROVIDER_FILE) { /* a user's file the rules judge */
            c->at[i].bytes = bytes;
            c->at[i].len = len;
            break;
        }
        free(bytes);
        broken |= nth == 0;
    }
    if (!broken)
        return;
    say_broken(c, i, why, c->at[i].bytes);
    if (c->repair)
        set_aside(c, s);
}

bool content_provider(struct content *c, const char *name, struct rules_provider *out)
{
    for (uint32_t i = 0; i < c->p->n_rule_providers; i++) {
        if (strcmp(c->p->rule_providers[i].name, name) != 0)
            continue;
        if (!c->at[i].read && c->state_dir && c->specs->v[i].from != PROVIDER_INLINE)
            read_provider(c, i);
        if (!c->at[i].read && !c->at[i].bytes)
            c->specs->sizes[i] = c->p->rule_providers[i].rules.n;
        c->at[i].read = true;
        *out = (struct rules_provider){ &c->p->rule_providers[i], c->at[i].bytes, c->at[i].len };
        return true;
    }
    return false;
}

void content_offer(const struct content *c, struct cfg_guess *g)
{
    for (uint32_t i = 0; i < c->p->n_rule_providers && cfg_guess_try(g, c->p->rule_providers[i].name); i++)
        ;
}

/* Its lines may be of any type; which are is not known before it is read. */
static bool has_classical(const struct profile *p)
{
    for (uint32_t i = 0; i < p->n_rule_providers; i++)
        if (p->rule_providers[i].behavior == CFG_BEHAVIOR_CLASSICAL)
            return true;
    return false;
}

static void read_geo(struct content *c, int kind)
{
    const struct geo_file *f[2];
    int64_t when;

    files_of(c->p, kind, f);
    if (!needs(c->p, kind, f[0]->word) && !has_classical(c->p))
        return;
    for (int k = 0; k < 2 && f[k]; k++)
        for (const char *const *name = f[k]->file; *name; name++)
            if (file_read_beneath(c->state_dir, *name, GEO_MAX, &c->geo[kind].bytes, &c->geo[kind].len, &when) == 0) {
                c->geo[kind].dat = f[k] == &ip_dat;
                return;
            }
}

struct content *content_open(const struct profile *p, struct specs *s, const char *state_dir, bool repair, struct diag *d)
{
    struct content *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    *c = (struct content){ .p = p, .specs = s, .state_dir = state_dir, .repair = repair, .d = d };
    if (!(c->at = calloc(p->n_rule_providers + 1, sizeof(*c->at)))) {
        free(c);
        return NULL;
    }
    for (int kind = 0; kind < GEO_N && state_dir; kind++)
        read_geo(c, kind);
    return c;
}

void content_geo(const struct content *c, struct rules_env *env)
{
    env->geosite = (struct rules_file){ c->geo[GEO_SITES].bytes, c->geo[GEO_SITES].len };
    env->geoip = (struct rules_file){ c->geo[GEO_IPS].bytes, c->geo[GEO_IPS].len };
    env->geoip_is_dat = c->geo[GEO_IPS].dat;
    env->asn = (struct rules_file){ c->geo[GEO_ASNS].bytes, c->geo[GEO_ASNS].len };
}

/* Do lines of a classical set have one of the words? Its bytes have a NUL behind; a payload counts where there are none. */
static bool set_has(const struct content *c, uint32_t i, const char *const *words)
{
    const struct cfg_provider *cp = &c->p->rule_providers[i];

    if (cp->behavior != CFG_BEHAVIOR_CLASSICAL || !c->at[i].read)
        return false;
    if (c->at[i].bytes)
        return has_word(c->at[i].bytes, words);
    for (uint32_t k = 0; k < cp->rules.n; k++)
        if (has_word(cp->rules.v[k], words))
            return true;
    return false;
}

void content_add_geo(const struct content *c)
{
    for (int kind = 0; kind < GEO_N; kind++) {
        const struct geo_file *f[2];

        files_of(c->p, kind, f);
        for (uint32_t i = 0; i < c->p->n_rule_providers && !(c->specs->geo & 1u << kind); i++)
            if (set_has(c, i, f[0]->word))
                add_geo(c->specs, c->p, kind, c->state_dir);
    }
}

void content_close(struct content *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < c->p->n_rule_providers; i++)
        free(c->at[i].bytes);
    for (int kind = 0; kind < GEO_N; kind++)
        free(c->geo[kind].bytes);
    free(c->at);
    free(c);
}
