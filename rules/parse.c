/*
 * parse.c - one rule line -> one term
 *
 *   TYPE,PAYLOAD,TARGET[,no-resolve][,src]        MATCH,TARGET
 *   AND,((TYPE,PAYLOAD),(TYPE,PAYLOAD)),TARGET    the last field is the target, commas before it belong to the payload; also for SUB-RULE
 * and ...-REGEX
 *
 * A table of types says how a payload is read and what people get to read when it is wrong. In an entry of a rule provider, and inside AND,
 * OR, NOT and SUB-RULE, there is no target. Everything points into the caller's arena.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rules/private.h"

#define RANGES_MAX 28
#define NEST_MAX   64

struct reader {
    struct arena *mem;
    struct fault *f;
    unsigned how;
    unsigned depth; /* inside how many brackets */
};

static bool term_parse(struct reader *r, char *s, bool target, struct term *out, char **target_at);

bool fault(struct fault *f, const char *code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
    f->code = code;
    return false;
}

bool fault_memory(struct fault *f)
{
    fault(f, NULL, "out of memory");
    return false;
}

static char *trim(char *s)
{
    char *end;

    while (*s == ' ' || *s == '\t')
        s++;
    for (end = s + strlen(s); end > s && (end[-1] == ' ' || end[-1] == '\t'); end--)
        ;
    *end = 0;
    return s;
}

static void lower(char *s)
{
    for (; *s; s++)
        *s = ascii_lower(*s);
}

/* ---- payloads: each may change s, which is the line's own copy ---- */

static bool read_name(struct reader *r, struct term *t, char *s)
{
    char host[HOST_MAX + 1];

    if (t->type == RULE_DOMAIN_SUFFIX && *s == '.' && s[1]) {
        s++;
        snprintf(r->f->hint, sizeof(r->f->hint), "a suffix is written without a dot in front; it is read as \"%.80s\"",
                 s); /* never true elsewhere */
    }
    if (host_normalise(s, strlen(s), host) < 0)
        return false;
    t->payload = arena_strdup(r->mem, host, strlen(host));
    return t->payload || fault_memory(r->f);
}

static bool read_piece(struct reader *r, struct term *t, char *s)
{
    lower(s);
    t->payload = s;
    return *s && strlen(s) <= HOST_MAX;
}

static bool read_text(struct reader *r, struct term *t, char *s)
{
    t->payload = s;
    return *s;
}

static bool read_process(struct reader *r, struct term *t, char *s)
{
    t->payload = s;
    return *s && strlen(s) < PROCESS_MAX;
}

static bool read_code(struct reader *r, struct term *t, char *s)
{
    t->payload = s;
    t->negate = *s == '!';
    return s[t->negate];
}

static bool read_asn(struct reader *r, struct term *t, char *s)
{
    char *digits = strncasecmp(s, "AS", 2) ? s : s + 2;
    unsigned long long v = 0;

    t->payload = digits;
    for (char *c = digits; *c; c++)
        if (*c < '0' || *c > '9' || (v = v * 10 + (unsigned)(*c - '0')) > UINT32_MAX)
            return false;
    while (*t->payload == '0' && t->payload[1])
        t->payload++;
    return *digits;
}

static bool read_cidr(struct reader *r, struct term *t, char *s)
{
    t->payload = s;
    return strchr(s, '/') && cidr_parse(s, &t->net) == 0;
}

static bool read_number(const char *s, uint32_t max, uint32_t *out)
{
    uint64_t v = 0;

    for (const char *c = s; *c; c++)
        if (*c < '0' || *c > '9' || (v = v * 10 + (unsigned)(*c - '0')) > max)
            return false;
    *out = (uint32_t)v;
    return *s;
}

static bool read_suffix(struct reader *r, struct term *t, char *s)
{
    char *slash = strchr(s, '/');
    uint32_t bits;

    if (!(t->payload = arena_strdup(r->mem, s, strlen(s))))
        return fault_memory(r->f);
    if (!slash || !read_number(slash + 1, strchr(s, ':') ? 128 : 32, &bits))
        return false;
    *slash = 0;
    if (addr_parse(s, &t->suffix.ip) < 0)
        return false;
    t->suffix.bits = (uint8_t)(t->suffix.ip.ver == 4 && bits > 32 ? 32 : bits); /* ::ffff:a.b.c.d is an IPv4 address */
    return true;
}

/* blanks and brackets around a number mean nothing */
static char *bare(char *s)
{
    char *end;

    while (*s == ' ' || *s == '[' || *s == ']')
        s++;
    for (end = s + strlen(s); end > s && (end[-1] == ' ' || end[-1] == '[' || end[-1] == ']'); end--)
        ;
    *end = 0;
    return s;
}

/* 80, 80-90, 80/443/8000-9000 (clash-profile section 2.1) */
static bool read_ranges(struct reader *r, struct term *t, char *s, uint32_t max)
{
    unsigned items = 0;

    t->payload = arena_strdup(r->mem, s, strlen(s));
    t->ranges = arena_alloc(r->mem, RANGES_MAX * sizeof(*t->ranges));
    if (!t->payload || !t->ranges)
        return fault_memory(r->f);
    for (char *item = s, *next; item; item = next) {
        struct range *range = &t->ranges[t->n];
        char *dash;

        if ((next = strpbrk(item, "/,")))
            *next++ = 0;
        if (++items > RANGES_MAX)
            return fault(r->f, "bad-rule", "more than %d items in one rule", RANGES_MAX);
        if (!*item)
            continue;
        if ((dash = strchr(item, '-')))
            *dash++ = 0;
        if (!read_number(bare(item), max, &range->lo) || !read_number(dash ? bare(dash) : bare(item), max, &range->hi))
            return false;
        if (range->lo > range->hi)
            *range = (struct range){ range->hi, range->lo };
        t->n++;
    }
    return t->n > 0;
}

static bool read_ports(struct reader *r, struct term *t, char *s)
{
    return read_ranges(r, t, s, UINT16_MAX);
}

static bool read_uids(struct reader *r, struct term *t, char *s)
{
    return read_ranges(r, t, s, UINT32_MAX);
}

static bool read_dscp(struct reader *r, struct term *t, char *s)
{
    return read_ranges(r, t, s, 63);
}

static bool read_network(struct reader *r, struct term *t, char *s)
{
    t->payload = s;
    t->mask = !strcasecmp(s, "tcp") ? 1u << FLOW_TCP : !strcasecmp(s, "udp") ? 1u << FLOW_UDP : 0;
    return t->mask;
}

/* The next word of a list with slashes, without blanks around it; NULL behind the last. */
static char *word(char **rest)
{
    char *w = *rest, *slash = w ? strchr(w, '/') : NULL;

    if (!w)
        return NULL;
    if (slash)
        *slash++ = 0;
    *rest = slash;
    return trim(w);
}

static bool read_in_type(struct reader *r, struct term *t, char *s)
{
    if (!(t->payload = arena_strdup(r->mem, s, strlen(s))))
        return fault_memory(r->f);
    for (char *w; (w = word(&s));) {
        enum flow_via via = flow_via_parse(w);

        if (!strcasecmp(w, "SOCKS"))
            t->mask |= 1u << FLOW_VIA_SOCKS4 | 1u << FLOW_VIA_SOCKS5;
        else if (via != FLOW_VIA_UNKNOWN)
            t->mask |= 1u << via;
        else
            return false;
    }
    return true;
}

static bool read_words(struct reader *r, struct term *t, char *s)
{
    uint32_t max = 1;

    for (const char *c = s; *c; c++)
        max += *c == '/';
    t->payload = arena_strdup(r->mem, s, strlen(s));
    t->words = arena_alloc(r->mem, max * sizeof(*t->words));
    if (!t->payload || !t->words)
        return fault_memory(r->f);
    for (char *w; (w = word(&s));)
        if (*w)
            t->words[t->n++] = w;
    return t->n > 0;
}

/* The bracket that closes the one at s, or NULL. */
static char *closing(char *s)
{
    int depth = 0;

    for (; *s; s++) {
        depth += *s == '(';
        depth -= *s == ')';
        if (!depth)
            return s;
    }
    return NULL;
}

static bool balanced(const char *s)
{
    int depth = 0;

    for (; *s && depth >= 0; s++)
        depth += (*s == '(') - (*s == ')');
    return depth == 0;
}

/* The outer brackets are taken off when they hold brackets: ((A,x),(B,y)). */
static char *inside(char *s)
{
    char *end = *s == '(' ? closing(s) : NULL;

    if (!end || end[1] || *trim(s + 1) != '(')
        return s;
    *end = 0;
    return trim(s + 1);
}

static uint32_t count_parts(char *s)
{
    uint32_t n = 0;

    while (s && (s = strchr(s, '('))) {
        s = closing(s);
        n++;
    }
    return n;
}

static bool read_parts(struct reader *r, struct term *t, char *s)
{
    uint32_t max = t->type == RULE_NOT || t->type == RULE_SUB_RULE ? 1 : UINT32_MAX, n;

    if (!(t->payload = arena_strdup(r->mem, s, strlen(s))))
        return fault_memory(r->f);
    if (!balanced(s))
        return fault(r->f, "bad-rule", "brackets do not match");
    if (r->depth >= NEST_MAX)
        return fault(r->f, "bad-rule", "more than %d rules inside one another", NEST_MAX);
    if (t->type != RULE_SUB_RULE)
        s = inside(s);
    n = count_parts(s);
    if (!n || n > max)
        return false;
    if (!(t->kids = arena_alloc(r->mem, n * sizeof(*t->kids))))
        return fault_memory(r->f);
    for (char *end; *(s += strspn(s, ", \t")); s = end + 1) {
        if (*s != '(' || !(end = closing(s)))
            return fault(r->f, "bad-rule", "between the brackets of its parts stands something else");
        *end = 0;
        r->depth++;
        if (!term_parse(r, s + 1, false, &t->kids[t->n], NULL))
            return false;
        r->depth--;
        t->n++;
    }
    return true;
}

/* ---- types ---- */

enum {
    T_COMMAS = 1,  /* everything up to the last field is the payload; no options */
    T_SRC = 2,     /* always about the source */
    T_OPTIONS = 4, /* no-resolve and src mean something */
    T_NOT_IN_SET = 8,
    T_NOT_INSIDE = 16, /* of AND, OR, NOT, SUB-RULE */
};

static const struct {
    const char *name, *api;
    bool (*read)(struct reader *, struct term *, char *);
    const char *expects;
    unsigned flags;
} types[RULE_N_TYPES] = {
    [RULE_DOMAIN] = { "DOMAIN", "Domain", read_name, "a host name", 0 },
    [RULE_DOMAIN_SUFFIX] = { "DOMAIN-SUFFIX", "DomainSuffix", read_name, "a host name", 0 },
    [RULE_DOMAIN_KEYWORD] = { "DOMAIN-KEYWORD", "DomainKeyword", read_piece, "a piece of a host name", 0 },
    [RULE_DOMAIN_WILDCARD] = { "DOMAIN-WILDCARD", "DomainWildcard", read_piece, "a pattern with * and ?", 0 },
    [RULE_DOMAIN_REGEX] = { "DOMAIN-REGEX", "DomainRegex", read_text, "a regular expression", T_COMMAS },
    [RULE_GEOSITE] = { "GEOSITE", "GeoSite", read_code, "a category", 0 },
    [RULE_IP_CIDR] = { "IP-CIDR", "IPCIDR", read_cidr, "ADDRESS/LENGTH", T_OPTIONS },
    [RULE_IP_CIDR6] = { "IP-CIDR6", "IPCIDR", read_cidr, "ADDRESS/LENGTH", T_OPTIONS },
    [RULE_IP_SUFFIX] = { "IP-SUFFIX", "IPSuffix", read_suffix, "ADDRESS/BITS", T_OPTIONS },
    [RULE_IP_ASN] = { "IP-ASN", "IPASN", read_asn, "a number", T_OPTIONS },
    [RULE_GEOIP] = { "GEOIP", "GeoIP", read_code, "a country code or the name of a list", T_OPTIONS },
    [RULE_SRC_IP_CIDR] = { "SRC-IP-CIDR", "SrcIPCIDR", read_cidr, "ADDRESS/LENGTH", T_SRC },
    [RULE_SRC_IP_SUFFIX] = { "SRC-IP-SUFFIX", "SrcIPSuffix", read_suffix, "ADDRESS/BITS", T_SRC },
    [RULE_SRC_IP_ASN] = { "SRC-IP-ASN", "SrcIPASN", read_asn, "a number", T_SRC },
    [RULE_SRC_GEOIP] = { "SRC-GEOIP", "SrcGeoIP", read_code, "a country code or the name of a list", T_SRC },
    [RULE_SRC_PORT] = { "SRC-PORT", "SrcPort", read_ports, "ports (80, 80-90, 80/443)", T_SRC },
    [RULE_DST_PORT] = { "DST-PORT", "DstPort", read_ports, "ports (80, 80-90, 80/443)", 0 },
    [RULE_IN_PORT] = { "IN-PORT", "InPort", read_ports, "ports (80, 80-90, 80/443)", 0 },
    [RULE_IN_TYPE] = { "IN-TYPE", "InType", read_in_type, "kinds of in-bound (TUN, HTTP/SOCKS)", 0 },
    [RULE_IN_USER] = { "IN-USER", "InUser", read_words, "user names", 0 },
    [RULE_IN_NAME] = { "IN-NAME", "InName", read_words, "names of in-bounds", 0 },
    [RULE_PROCESS_NAME] = { "PROCESS-NAME", "ProcessName", read_process, "the name of a program", 0 },
    [RULE_PROCESS_NAME_WILDCARD] = { "PROCESS-NAME-WILDCARD", "ProcessNameWildcard", read_process, "a pattern with * and ?", 0 },
    [RULE_PROCESS_NAME_REGEX] = { "PROCESS-NAME-REGEX", "ProcessNameRegex", read_text, "a regular expression", T_COMMAS },
    [RULE_PROCESS_PATH] = { "PROCESS-PATH", "ProcessPath", read_process, "the path of a program", 0 },
    [RULE_PROCESS_PATH_WILDCARD] = { "PROCESS-PATH-WILDCARD", "ProcessPathWildcard", read_process, "a pattern with * and ?", 0 },
    [RULE_PROCESS_PATH_REGEX] = { "PROCESS-PATH-REGEX", "ProcessPathRegex", read_text, "a regular expression", T_COMMAS },
    [RULE_UID] = { "UID", "Uid", read_uids, "user ids (1000, 1000-1999)", 0 },
    [RULE_NETWORK] = { "NETWORK", "Network", read_network, "tcp or udp", 0 },
    [RULE_DSCP] = { "DSCP", "DSCP", read_dscp, "numbers from 0 to 63", 0 },
    [RULE_REMATCH_NAME] = { "REMATCH-NAME", "RematchName", read_words, "names", 0 },
    [RULE_RULE_SET] = { "RULE-SET", "RuleSet", read_text, "the name of a rule provider", T_OPTIONS | T_NOT_IN_SET },
    [RULE_AND] = { "AND", "AND", read_parts, "((TYPE,PAYLOAD),(TYPE,PAYLOAD)...)", T_COMMAS },
    [RULE_OR] = { "OR", "OR", read_parts, "((TYPE,PAYLOAD),(TYPE,PAYLOAD)...)", T_COMMAS },
    [RULE_NOT] = { "NOT", "NOT", read_parts, "((TYPE,PAYLOAD)), one rule", T_COMMAS },
    [RULE_SUB_RULE] = { "SUB-RULE", "SubRules", read_parts, "(TYPE,PAYLOAD), one rule", T_COMMAS | T_NOT_IN_SET | T_NOT_INSIDE },
    [RULE_MATCH] = { "MATCH", "Match", NULL, NULL, T_NOT_IN_SET | T_NOT_INSIDE },
};

/* Words of other clients. */
static const struct {
    const char *word, *hint;
} others[] = {
    { "FINAL", "MATCH is meant" },
    { "USER-AGENT", "it looks inside HTTP requests" },
    { "URL-REGEX", "it looks inside HTTP requests" },
    { "HOST", "DOMAIN is meant" },
    { "HOST-SUFFIX", "DOMAIN-SUFFIX is meant" },
    { "HOST-KEYWORD", "DOMAIN-KEYWORD is meant" },
    { "IP6-CIDR", "IP-CIDR6 is meant" },
    { "DEST-PORT", "DST-PORT is meant" },
};

const char *rule_type_name(enum rule_type t)
{
    return types[t].name;
}

const char *rule_type_api_name(enum rule_type t)
{
    return types[t].api;
}

static int type_of(const char *word)
{
    for (int i = 0; i < RULE_N_TYPES; i++)
        if (!strcasecmp(types[i].name, word))
            return i;
    return -1;
}

static bool unknown_type(struct reader *r, const char *word)
{
    char quoted[CFG_QUOTE_MAX];
    struct cfg_guess g;

    cfg_quote(word, strlen(word), quoted);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (!strcasecmp(others[i].word, word))
            return fault(r->f, "unknown-type", "there is no rule type \"%s\": %s", quoted, others[i].hint);
    cfg_guess_start(&g, NULL, word);
    for (int i = 0; i < RULE_N_TYPES && !(r->how & LINE_IN_SET); i++)
        cfg_guess_try(&g, types[i].name);
    return fault(r->f, "unknown-type", "there is no rule type \"%s\"%s", quoted, cfg_guess_text(&g));
}

/* ---- lines ---- */

/* Cuts s at the comma; the rest, or NULL. */
static char *cut(char *comma)
{
    if (!comma)
        return NULL;
    *comma = 0;
    return comma + 1;
}

/* Blanks around commas go. */
static char *squeeze(char *s)
{
    char *out = s, *start = s;

    for (char *next; s; s = next) {
        char *field;
        size_t n;

        next = cut(strchr(s, ','));
        field = trim(s);
        n = strlen(field);
        memmove(out, field, n);
        out += n;
        *out++ = next ? ',' : 0;
    }
    return start;
}

static void options(struct term *t, char *s)
{
    while (s) {
        char *next = cut(strchr(s, ',')), *word = trim(s);

        if (types[t->type].flags & T_OPTIONS) {
            t->src |= !strcasecmp(word, "src");
            t->no_resolve |= t->src || !strcasecmp(word, "no-resolve");
        }
        s = next;
    }
}

static bool allowed(struct reader *r, int type)
{
    if (r->depth && types[type].flags & T_NOT_INSIDE)
        return fault(r->f, "bad-rule", "%s cannot stand inside another rule", types[type].name);
    if (r->how & LINE_IN_SET && types[type].flags & T_NOT_IN_SET)
        return fault(r->f, "bad-rule", "%s cannot stand in a rule provider", types[type].name);
    return true;
}

/* s is changed and kept. */
static bool term_parse(struct reader *r, char *s, bool target, struct term *out, char **target_at)
{
    char *rest = cut(strchr(s, ',')), *payload, *to = NULL;
    int type = type_of(trim(s));

    if (type < 0)
        return unknown_type(r, trim(s));
    *out = (struct term){ .type = (uint8_t)type, .payload = "", .src = types[type].flags & T_SRC, .no_resolve = types[type].flags & T_SRC };
    if (!allowed(r, type))
        return false;
    if (!types[type].read) {
        payload = NULL;
        to = rest;
        cut(to ? strchr(to, ',') : NULL);
    } else if (types[type].flags & T_COMMAS) {
        payload = rest;
        if (target && rest)
            to = cut(strrchr(rest, ','));
    } else {
        payload = rest;
        rest = cut(rest ? strchr(rest, ',') : NULL);
        if (target) {
            to = rest;
            rest = cut(rest ? strchr(rest, ',') : NULL);
        }
        options(out, rest);
    }
    if (target && (!to || !*(to = trim(to))))
        return fault(r->f, "bad-rule", "%s is expected", types[type].read ? "TYPE,PAYLOAD,TARGET" : "MATCH,TARGET");
    if (target)
        *target_at = to;
    if (!types[type].read)
        return true;
    if (payload && types[type].read(r, out, types[type].flags & T_COMMAS ? squeeze(payload) : trim(payload)))
        return true;
    return r->f->text[0] ? false : fault(r->f, "bad-rule", "the payload of %s must be %s", types[type].name, types[type].expects);
}

bool line_parse(struct arena *mem, const char *text, size_t len, unsigned how, struct term *out, const char **target, struct fault *f)
{
    struct reader r = { .mem = mem, .f = f, .how = how };
    char *copy = arena_strdup(mem, text, len), *to = NULL;

    *f = (struct fault){ 0 };
    if (!copy)
        return fault_memory(f);
    if (!term_parse(&r, copy, how & LINE_TARGET, out, &to))
        return false;
    if (how & LINE_TARGET)
        *target = to;
    return true;
}
