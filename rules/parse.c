/*
 * parse.c - one rule line -> one rule
 *
 *   TYPE,PAYLOAD,TARGET[,no-resolve]     MATCH,TARGET
 *
 * A table of types says how a payload is read. Types that exist elsewhere and not here are known by name, so that the message can say which it is: the
 * rule is skipped, and what it would have caught goes on to the rules below it.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rules/private.h"

static bool payload_name(struct ruleset *rs, struct parsed *p, const char *s)
{
    char host[HOST_MAX + 1];

    if (host_normalise(s, strlen(s), host) < 0)
        return false;
    return (p->rule.payload = arena_strdup(&rs->mem, host, strlen(host)));
}

static bool payload_keyword(struct ruleset *rs, struct parsed *p, const char *s)
{
    char *k = *s && strlen(s) <= HOST_MAX ? arena_strdup(&rs->mem, s, strlen(s)) : NULL;

    for (char *c = k; c && *c; c++)
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
    return (p->rule.payload = k);
}

static bool payload_cidr(struct ruleset *rs, struct parsed *p, const char *s)
{
    return strchr(s, '/') && cidr_parse(s, &p->net) == 0 && (p->rule.payload = arena_strdup(&rs->mem, s, strlen(s)));
}

static bool parse_port(const char **s, uint16_t *out)
{
    unsigned long v = 0;
    const char *at = *s;

    while (*at == ' ')
        at++;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        if ((v = v * 10 + (unsigned long)(*at - '0')) > 65535)
            return false;
    while (*at == ' ')
        at++;
    *out = (uint16_t)v;
    *s = at;
    return true;
}

/* 80, 80-90, 80/443/8000-9000 (reference profile section 2.1); at most 28 items */
static bool payload_ports(struct ruleset *rs, struct parsed *p, const char *s)
{
    p->rule.payload = arena_strdup(&rs->mem, s, strlen(s));
    if (!p->rule.payload || !(p->ports = arena_alloc(&rs->mem, 28 * sizeof(*p->ports))))
        return false;
    for (;;) {
        uint16_t a, b;

        if (p->n_ports == 28 || !parse_port(&s, &a))
            return false;
        b = a;
        if (*s == '-') {
            s++;
            if (!parse_port(&s, &b))
                return false;
        }
        p->ports[p->n_ports][0] = a < b ? a : b;
        p->ports[p->n_ports++][1] = a < b ? b : a;
        if (!*s)
            return true;
        if (*s != '/')
            return false;
        s++;
    }
}

static bool payload_network(struct ruleset *rs, struct parsed *p, const char *s)
{
    p->l4 = !strcasecmp(s, "tcp") ? FLOW_TCP : !strcasecmp(s, "udp") ? FLOW_UDP : 0;
    return p->l4 && (p->rule.payload = arena_strdup(&rs->mem, s, strlen(s)));
}

static const struct {
    const char *name, *api;
    bool (*read)(struct ruleset *, struct parsed *, const char *);
    const char *expects;
} types[RULE_N_TYPES] = {
    [RULE_DOMAIN] = { "DOMAIN", "Domain", payload_name, "a host name" },
    [RULE_DOMAIN_SUFFIX] = { "DOMAIN-SUFFIX", "DomainSuffix", payload_name, "a host name" },
    [RULE_DOMAIN_KEYWORD] = { "DOMAIN-KEYWORD", "DomainKeyword", payload_keyword, "a piece of a host name" },
    [RULE_IP_CIDR] = { "IP-CIDR", "IPCIDR", payload_cidr, "ADDRESS/LENGTH" },
    [RULE_IP_CIDR6] = { "IP-CIDR6", "IPCIDR", payload_cidr, "ADDRESS/LENGTH" },
    [RULE_DST_PORT] = { "DST-PORT", "DstPort", payload_ports, "ports (80, 80-90, 80/443)" },
    [RULE_NETWORK] = { "NETWORK", "Network", payload_network, "tcp or udp" },
    [RULE_MATCH] = { "MATCH", "Match", NULL, NULL },
};

static const char *const elsewhere[] = {
    "DOMAIN-REGEX", "DOMAIN-WILDCARD", "GEOSITE", "IP-SUFFIX", "IP-ASN", "GEOIP", "SRC-IP-CIDR", "SRC-IP-SUFFIX", "SRC-GEOIP", "SRC-IP-ASN",
    "SRC-PORT", "IN-PORT", "IN-TYPE", "IN-USER", "IN-NAME", "PROCESS-NAME", "PROCESS-PATH", "PROCESS-NAME-REGEX", "PROCESS-PATH-REGEX",
    "PROCESS-NAME-WILDCARD", "PROCESS-PATH-WILDCARD", "UID", "DSCP", "RULE-SET", "AND", "OR", "NOT", "SUB-RULE", "REMATCH-NAME",
};

const char *rule_type_name(enum rule_type t)
{
    return types[t].name;
}

const char *rule_type_api_name(enum rule_type t)
{
    return types[t].api;
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

static int type_of(const char *word)
{
    for (int i = 0; i < RULE_N_TYPES; i++)
        if (!strcasecmp(types[i].name, word))
            return i;
    return -1;
}

static bool skip(const struct cfg_rule *src, struct diag *d, const char *code, const char *what, const char *detail)
{
    char path[32];

    snprintf(path, sizeof(path), "rules[%u]", src->index);
    diag_warn(d, src->line, src->column, path, code, "%s%s; the rule is skipped, the rules below it decide", what, detail);
    return false;
}

static bool unknown_type(const struct cfg_rule *src, struct diag *d, const char *word)
{
    for (size_t i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++)
        if (!strcasecmp(elsewhere[i], word))
            return skip(src, d, "unsupported-key", "this build has no rule type ", elsewhere[i]);
    return skip(src, d, "unknown-type", "unknown rule type ", word);
}

bool rule_parse(struct ruleset *rs, const struct cfg_rule *src, struct parsed *out, struct diag *d)
{
    char *line = arena_strdup(&rs->mem, src->text, strlen(src->text)), *field[8];
    int n = 0, type, at = 0;

    if (!line)
        return skip(src, d, "bad-rule", "out of memory", "");
    for (char *s = line; s && n < 8; n++) {
        char *comma = strchr(s, ',');

        if (comma)
            *comma++ = 0;
        field[n] = trim(s);
        s = comma;
    }
    if ((type = type_of(field[0])) < 0)
        return unknown_type(src, d, field[0]);
    *out = (struct parsed){ .next_same = NO_RULE };
    out->rule = (struct rule){ .index = src->index, .line = src->line, .column = src->column, .type = (enum rule_type)type, .payload = "" };
    if (type != RULE_MATCH)
        at = 1;
    if (n < at + 2 || !*field[at + 1])
        return skip(src, d, "bad-rule", type == RULE_MATCH ? "MATCH,TARGET is expected" : "TYPE,PAYLOAD,TARGET is expected", "");
    if (type != RULE_MATCH && !types[type].read(rs, out, field[1]))
        return skip(src, d, "bad-rule", "the payload must be ", types[type].expects);
    out->rule.target = field[at + 1];
    for (int i = at + 2; i < n; i++)
        if (!strcasecmp(field[i], "no-resolve"))
            out->rule.no_resolve = true;
        else if (*field[i])
            return skip(src, d, "bad-rule", "unknown parameter ", field[i]);
    return true;
}
