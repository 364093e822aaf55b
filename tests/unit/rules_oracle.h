/*
 * rules_oracle.h - a deliberately naive rule engine: every line read again for every flow, in order, by the words of rules section 1
 *
 * It shares no code with rules/: it splits text, walks labels, compares bits one by one, and takes POSIX regular expressions for the few
 * patterns both dialects agree on. Slow and plain is the point. A run makes events: an address was asked for, a program was asked for, a
 * rule was true, the end.
 */
#ifndef RULES_ORACLE_H
#define RULES_ORACLE_H

#include <ctype.h>
#include <regex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/flow.h"

#define O_LINES 4096
#define O_DEPTH 12

enum o_kind { O_DOMAIN, O_IPCIDR, O_CLASSICAL };

struct o_set { const char *name; enum o_kind kind; uint32_t n; const char **line; };
struct o_list { const char *name; uint32_t n; const char **line; };
/* A site of a category: type as in geosite.dat (0 keyword, 1 regex, 2 suffix, 3 full), attr "" or one attribute. */
struct o_site { int type; const char *value, *attr; };
struct o_category { const char *name; uint32_t n; struct o_site *site; };
struct o_country { const char *name; uint32_t n; const char **line; };
struct o_world {
    struct o_list main;
    uint32_t n_subs, n_sets, n_categories, n_countries;
    struct o_list *sub;
    struct o_set *set;
    struct o_category *category;
    struct o_country *country;
};

/* A flow, and what a look-up of its facts would give. */
struct o_flow {
    struct flow_meta m;
    struct addr answer;            /* ver 0: the name does not resolve */
    const struct flow_proc *found; /* NULL: no program is found */
};

enum o_what { O_END, O_HIT, O_ASK_IP, O_ASK_PROC };
struct o_event { enum o_what what; uint32_t depth, path[O_DEPTH]; };

/* One run over one flow. on_event says what to do after a hit: 0 = go on behind it, 1 = behind the top-level rule, 2 = stop. */
struct o_run {
    const struct o_world *w;
    struct o_flow f;      /* changed: facts arrive */
    bool ip_tried, proc_tried;
    bool swap, no_ask;    /* inside RULE-SET,...,src or no-resolve */
    uint32_t depth, path[O_DEPTH];
    int (*on_event)(void *arg, const struct o_event *e);
    void *arg;
};

/* ---- text ---- */

static inline char *o_trim(char *s)
{
    while (*s == ' ')
        s++;
    while (*s && s[strlen(s) - 1] == ' ')
        s[strlen(s) - 1] = 0;
    return s;
}

static inline void o_lower(char *s)
{
    for (; *s; s++)
        *s = (char)tolower((unsigned char)*s);
}

/* ---- names ---- */

static inline uint32_t o_labels(char *s, char **out)
{
    uint32_t n = 0;

    out[n++] = s;
    for (; *s; s++)
        if (*s == '.') {
            *s = 0;
            out[n++] = s + 1;
        }
    return n;
}

/* * any run, ? one byte; in a label of a domain pattern ? is itself */
static inline bool o_glob(const char *p, const char *s, bool question)
{
    if (!*p)
        return !*s;
    if (*p == '*')
        return o_glob(p + 1, s, question) || (*s && o_glob(p, s + 1, question));
    return *s && (*p == *s || (question && *p == '?')) && o_glob(p + 1, s + 1, question);
}

/* Pattern of clash-profile section 2.2. */
static inline bool o_pattern(const char *pattern, const char *host)
{
    char p[600], h[300], *pl[300], *hl[300];
    bool self = true, below = false;
    uint32_t np, nh;

    snprintf(p, sizeof(p), "%s", pattern);
    snprintf(h, sizeof(h), "%s", host);
    o_lower(p);
    np = o_labels(p, pl);
    nh = o_labels(h, hl);
    if (!strcmp(pl[0], "+") || !*pl[0]) {
        below = true;
        self = *pl[0];
        for (uint32_t i = 1; i < np; i++)
            pl[i - 1] = pl[i];
        np--;
    }
    if (nh < np || (nh == np && !self) || (nh > np && !below))
        return false;
    for (uint32_t i = 0; i < np; i++) {
        const char *a = pl[np - 1 - i], *b = hl[nh - 1 - i];

        if (strcmp(a, "*") != 0 && !(strchr(a, '*') ? o_glob(a, b, false) : !strcmp(a, b)))
            return false;
    }
    return true;
}

static inline bool o_suffix_of(const char *host, const char *suffix)
{
    size_t h = strlen(host), s = strlen(suffix);

    return !strcmp(host, suffix) || (h > s && host[h - s - 1] == '.' && !strcmp(host + h - s, suffix));
}

static inline bool o_regex(const char *pattern, const char *s)
{
    regex_t re;
    bool is;

    if (regcomp(&re, pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB) != 0)
        abort();
    is = regexec(&re, s, 0, NULL, 0) == 0;
    regfree(&re);
    return is;
}

static inline bool o_glob_nocase(const char *pattern, const char *s)
{
    char a[300], b[300];

    snprintf(a, sizeof(a), "%s", pattern);
    snprintf(b, sizeof(b), "%s", s);
    o_lower(a);
    o_lower(b);
    return o_glob(a, b, true);
}

/* ---- addresses ---- */

static inline bool o_bit(const struct addr *a, unsigned i)
{
    return a->b[i / 8] >> (7 - i % 8) & 1;
}

static inline bool o_cidr(const char *text, const struct addr *a)
{
    char t[64], *slash;
    struct addr net;
    unsigned len;

    snprintf(t, sizeof(t), "%s", text);
    slash = strchr(t, '/');
    *slash = 0;
    len = (unsigned)atoi(slash + 1);
    if (addr_parse(t, &net) < 0)
        abort();
    if (strstr(t, "::ffff:"))
        len -= 96;
    if (net.ver != a->ver)
        return false;
    for (unsigned i = 0; i < len; i++)
        if (o_bit(&net, i) != o_bit(a, i))
            return false;
    return true;
}

static inline bool o_low_bits(const char *text, const struct addr *a)
{
    char t[64], *slash;
    struct addr want;
    unsigned n;

    snprintf(t, sizeof(t), "%s", text);
    slash = strchr(t, '/');
    *slash = 0;
    n = (unsigned)atoi(slash + 1);
    if (addr_parse(t, &want) < 0)
        abort();
    if (want.ver != a->ver)
        return false;
    if (n > addr_len(a) * 8)
        n = (unsigned)addr_len(a) * 8;
    for (unsigned i = 0; i < n; i++)
        if (o_bit(&want, (unsigned)addr_len(a) * 8 - 1 - i) != o_bit(a, (unsigned)addr_len(a) * 8 - 1 - i))
            return false;
    return true;
}

static inline bool o_lan(const struct addr *a)
{
    static const char *const nets[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "0.0.0.0/32", "::/128", "127.0.0.0/8",
                                        "::1/128", "224.0.0.0/4", "ff00::/8", "169.254.0.0/16", "fe80::/10" };

    for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
        if (o_cidr(nets[i], a))
            return true;
    return false;
}

/* ---- facts ---- */

static inline int o_tell(struct o_run *r, enum o_what what)
{
    struct o_event e = { .what = what, .depth = r->depth };

    memcpy(e.path, r->path, sizeof(e.path));
    return r->on_event(r->arg, &e);
}

static inline void o_need_ip(struct o_run *r)
{
    if (!r->f.m.dst.host || r->f.m.dst.at.ip.ver || r->ip_tried || r->no_ask)
        return;
    o_tell(r, O_ASK_IP);
    r->ip_tried = true;
    r->f.m.dst.at.ip = r->f.answer;
}

static inline void o_need_proc(struct o_run *r)
{
    if (r->f.m.proc || r->proc_tried)
        return;
    o_tell(r, O_ASK_PROC);
    r->proc_tried = true;
    r->f.m.proc = r->f.found;
}

/* The address a rule looks at; asks for it first when it is the destination's. NULL: not known. */
static inline const struct addr *o_address(struct o_run *r, bool src, bool no_resolve)
{
    const struct addr *a;

    if (!src && !no_resolve)
        o_need_ip(r);
    a = src != r->swap ? &r->f.m.src.ip : &r->f.m.dst.at.ip;
    return a->ver ? a : NULL;
}

/* ---- one rule without target ---- */

static inline bool o_rule(struct o_run *r, const char *text);

static inline bool o_ranges(const char *text, uint32_t v)
{
    char t[300], *save = NULL;

    snprintf(t, sizeof(t), "%s", text);
    for (char *item = strtok_r(t, "/", &save); item; item = strtok_r(NULL, "/", &save)) {
        uint32_t a = (uint32_t)strtoul(item, NULL, 10), b = strchr(item, '-') ? (uint32_t)strtoul(strchr(item, '-') + 1, NULL, 10) : a;

        if ((v >= a && v <= b) || (v >= b && v <= a))
            return true;
    }
    return false;
}

static inline bool o_word_in(const char *text, const char *word)
{
    char t[300], *save = NULL;

    snprintf(t, sizeof(t), "%s", text);
    for (char *item = strtok_r(t, "/", &save); item && word; item = strtok_r(NULL, "/", &save))
        if (!strcmp(item, word))
            return true;
    return false;
}

static inline bool o_in_type(const char *text, enum flow_via via)
{
    char t[300], *save = NULL;

    snprintf(t, sizeof(t), "%s", text);
    for (char *item = strtok_r(t, "/", &save); item; item = strtok_r(NULL, "/", &save)) {
        if (!strcasecmp(item, "SOCKS") && (via == FLOW_VIA_SOCKS4 || via == FLOW_VIA_SOCKS5))
            return true;
        if (!strcasecmp(item, flow_via_name(via)))
            return true;
    }
    return false;
}

static inline const struct o_set *o_find_set(const struct o_world *w, const char *name)
{
    for (uint32_t i = 0; i < w->n_sets; i++)
        if (!strcmp(w->set[i].name, name))
            return &w->set[i];
    abort();
}

static inline bool o_set_has(struct o_run *r, const struct o_set *s, const char *host)
{
    const struct addr *a;

    switch (s->kind) {
    case O_DOMAIN:
        for (uint32_t i = 0; i < s->n; i++)
            if (host && o_pattern(s->line[i], host))
                return true;
        return false;
    case O_IPCIDR:
        a = o_address(r, false, false);
        for (uint32_t i = 0; i < s->n; i++)
            if (a && o_cidr(s->line[i], a))
                return true;
        return false;
    case O_CLASSICAL:
        for (uint32_t i = 0; i < s->n; i++)
            if (o_rule(r, s->line[i]))
                return true;
        return false;
    }
    return false;
}

static inline bool o_rule_set(struct o_run *r, const char *name, const char *host, bool src, bool no_resolve)
{
    bool swap = r->swap, no_ask = r->no_ask, is;

    r->swap = src;
    r->no_ask = src || no_resolve;
    is = o_set_has(r, o_find_set(r->w, name), host);
    r->swap = swap;
    r->no_ask = no_ask;
    return is;
}

static inline bool o_site_is(const struct o_site *s, const char *host)
{
    switch (s->type) {
    case 0: return strstr(host, s->value);
    case 1: return o_regex(s->value, host);
    case 2: return o_suffix_of(host, s->value);
    default: return !strcmp(host, s->value);
    }
}

/* [!]CATEGORY[@ATTR] */
static inline bool o_geosite(const struct o_world *w, const char *payload, const char *host)
{
    char want[200], *attr;
    bool negate = *payload == '!';

    if (!host)
        return false;
    snprintf(want, sizeof(want), "%s", payload + negate);
    if ((attr = strchr(want, '@')))
        *attr++ = 0;
    for (uint32_t c = 0; c < w->n_categories; c++)
        for (uint32_t i = 0; i < w->category[c].n && !strcasecmp(w->category[c].name, want); i++)
            if ((!attr || !strcasecmp(w->category[c].site[i].attr, attr)) && o_site_is(&w->category[c].site[i], host))
                return !negate;
    return negate;
}

/* LAN, or [!]CODE of a GeoIP.dat */
static inline bool o_geoip(const struct o_world *w, const char *payload, const struct addr *a)
{
    bool negate = *payload == '!';

    if (!strcasecmp(payload, "lan"))
        return o_lan(a);
    for (uint32_t c = 0; c < w->n_countries; c++)
        for (uint32_t i = 0; i < w->country[c].n && !strcasecmp(w->country[c].name, payload + negate); i++)
            if (o_cidr(w->country[c].line[i], a))
                return !negate;
    return negate;
}

/* The parts of "((A,x),(B,y))" or "(A,x),(B,y)", one after the other; *at moves on. */
static inline bool o_part(const char **at, char *out, size_t size)
{
    const char *s = *at;
    int depth = 0;
    size_t n = 0;

    while (*s && *s != '(')
        s++;
    if (!*s)
        return false;
    for (s++, depth = 1; depth && n + 1 < size; s++) {
        depth += *s == '(';
        depth -= *s == ')';
        if (depth)
            out[n++] = *s;
    }
    out[n] = 0;
    *at = s;
    return true;
}

static inline bool o_logic(struct o_run *r, const char *type, const char *payload)
{
    char outer[2048], part[2048];
    const char *at = payload;
    bool any = false, all = true;

    if (!strncmp(payload, "((", 2)) {
        o_part(&at, outer, sizeof(outer));
        at = outer;
    }
    while (o_part(&at, part, sizeof(part))) {
        bool is = o_rule(r, part);

        if (!strcmp(type, "NOT"))
            return !is;
        any |= is;
        all &= is;
        if (!strcmp(type, "OR") ? any : !all)
            break;
    }
    return !strcmp(type, "OR") ? any : all;
}

static inline bool o_program(struct o_run *r, const char *type, const char *payload)
{
    const struct flow_proc *p;
    const char *s;

    o_need_proc(r);
    p = r->f.m.proc;
    s = !p ? NULL : strstr(type, "PATH") ? p->path : p->name;
    if (!s)
        return false;
    return strstr(type, "REGEX") ? o_regex(payload, s) : strstr(type, "WILDCARD") ? o_glob_nocase(payload, s) : !strcasecmp(payload, s);
}

static inline bool o_is(struct o_run *r, const char *type, const char *payload, bool src, bool no_resolve)
{
    const struct flow_meta *m = &r->f.m;
    const char *host = m->sniffed ? m->sniffed : m->dst.host;
    const struct addr *a;

    if (!strcmp(type, "MATCH"))
        return true;
    if (!strcmp(type, "DOMAIN"))
        return host && !strcmp(host, payload);
    if (!strcmp(type, "DOMAIN-SUFFIX"))
        return host && o_suffix_of(host, payload);
    if (!strcmp(type, "DOMAIN-KEYWORD"))
        return host && strstr(host, payload);
    if (!strcmp(type, "DOMAIN-WILDCARD"))
        return m->dst.host && o_glob(payload, m->dst.host, true);
    if (!strcmp(type, "DOMAIN-REGEX"))
        return host && o_regex(payload, host);
    if (!strcmp(type, "IP-CIDR") || !strcmp(type, "IP-CIDR6") || !strcmp(type, "SRC-IP-CIDR"))
        return (a = o_address(r, src, no_resolve)) && o_cidr(payload, a);
    if (!strcmp(type, "IP-SUFFIX") || !strcmp(type, "SRC-IP-SUFFIX"))
        return (a = o_address(r, src, no_resolve)) && o_low_bits(payload, a);
    if (!strcmp(type, "GEOIP") || !strcmp(type, "SRC-GEOIP"))
        return (a = o_address(r, src, no_resolve)) && o_geoip(r->w, payload, a);
    if (!strcmp(type, "GEOSITE"))
        return o_geosite(r->w, payload, host);
    if (!strcmp(type, "SRC-PORT"))
        return o_ranges(payload, r->swap ? m->dst.at.port : m->src.port);
    if (!strcmp(type, "DST-PORT"))
        return o_ranges(payload, r->swap ? m->src.port : m->dst.at.port);
    if (!strcmp(type, "IN-PORT"))
        return o_ranges(payload, m->in_port);
    if (!strcmp(type, "NETWORK"))
        return !strcasecmp(payload, m->net == FLOW_TCP ? "tcp" : "udp");
    if (!strcmp(type, "DSCP"))
        return o_ranges(payload, m->dscp);
    if (!strcmp(type, "IN-TYPE"))
        return o_in_type(payload, (enum flow_via)m->via);
    if (!strcmp(type, "IN-USER"))
        return o_word_in(payload, m->in_user);
    if (!strcmp(type, "IN-NAME"))
        return o_word_in(payload, m->in_name);
    if (!strncmp(type, "PROCESS-", 8))
        return o_program(r, type, payload);
    if (!strcmp(type, "UID")) {
        o_need_proc(r);
        return r->f.m.proc && r->f.m.proc->uid_known && o_ranges(payload, r->f.m.proc->uid);
    }
    if (!strcmp(type, "RULE-SET"))
        return o_rule_set(r, payload, host, src, no_resolve);
    return o_logic(r, type, payload);
}

/* TYPE,PAYLOAD[,options]; for the types with commas the rest of the line is the payload. */
static inline bool o_rule(struct o_run *r, const char *text)
{
    char t[2048], *payload, *options;
    bool src, no_resolve;

    snprintf(t, sizeof(t), "%s", text);
    payload = strchr(t, ',');
    if (payload)
        *payload++ = 0;
    if (!strcmp(t, "AND") || !strcmp(t, "OR") || !strcmp(t, "NOT") || strstr(t, "REGEX"))
        options = NULL;
    else if ((options = strchr(payload, ',')))
        *options++ = 0;
    src = !strncmp(t, "SRC-IP", 6) || !strncmp(t, "SRC-GEO", 7) || (options && strstr(options, "src"));
    no_resolve = src || (options && strstr(options, "no-resolve"));
    return o_is(r, t, payload, src, no_resolve);
}

/* ---- lists ---- */

/* Takes the target out of a line; what is left is a rule without. */
static inline void o_split(const char *line, char *rule, char *target)
{
    char *comma, *second;

    strcpy(rule, line);
    if (!strncmp(rule, "MATCH,", 6)) {
        strcpy(target, rule + 6);
        strcpy(rule, "MATCH,x");
        return;
    }
    if (!strncmp(rule, "AND", 3) || !strncmp(rule, "OR,", 3) || !strncmp(rule, "NOT", 3) || !strncmp(rule, "SUB-RULE", 8) ||
        strstr(rule, "REGEX,") == strchr(rule, ',') - 5) {
        comma = strrchr(rule, ',');
        strcpy(target, comma + 1);
        *comma = 0;
        return;
    }
    comma = strchr(strchr(rule, ',') + 1, ',');
    strcpy(target, comma + 1);
    *comma = 0;
    if ((second = strchr(target, ','))) {
        strcat(rule, second);
        *second = 0;
    }
}

/* 0 = the list is done, 1 = on with the next top-level rule, 2 = stop. */
static inline int o_walk(struct o_run *r, const struct o_list *l)
{
    char rule[2048], target[256], part[2048];
    uint32_t here = r->depth++;

    for (uint32_t i = 0; i < l->n; i++) {
        int next = 0;

        r->path[here] = i;
        r->depth = here + 1;
        o_split(l->line[i], rule, target);
        if (!strncmp(rule, "SUB-RULE,", 9)) {
            const char *at = rule + 9;

            o_part(&at, part, sizeof(part));
            if (!o_rule(r, part))
                continue;
            for (uint32_t k = 0; k < r->w->n_subs; k++)
                if (!strcmp(r->w->sub[k].name, target))
                    next = o_walk(r, &r->w->sub[k]);
        } else if (o_rule(r, rule)) {
            next = o_tell(r, O_HIT);
        }
        if (next == 2 || (next == 1 && here))
            return next;
    }
    r->depth = here;
    return 0;
}

static inline void o_decide(struct o_run *r)
{
    r->depth = 0;
    if (o_walk(r, &r->w->main) == 2)
        return;
    r->depth = 0;
    memset(r->path, 0, sizeof(r->path));
    o_tell(r, O_END);
}

#endif
