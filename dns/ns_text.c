/*
 * ns_text.c - the text of a name server
 *
 *   [scheme://][user:password@]host[:port][/path][#word&key=value&...]
 *
 * Pure. A word without `=` says by which way the server is reached; keys that are unknown are ignored, as everywhere in a profile.
 */
#include "dns/ns_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dns/msg.h"

static const struct scheme {
    const char *word;
    enum ns_kind kind;
    uint16_t port;
} schemes[] = {
    { "udp", NS_UDP, 53 },   { "tcp", NS_TCP, 53 },      { "tls", NS_TLS, 853 }, { "https", NS_HTTPS, 443 }, { "http", NS_HTTP, 80 },
    { "quic", NS_TLS, 853 }, { "system", NS_SYSTEM, 0 }, { "dhcp", NS_DHCP, 0 }, { "rcode", NS_RCODE, 0 },
};

static const struct {
    const char *word;
    int rcode;
} rcodes[] = {
    { "success", RC_OK },          { "format_error", RC_FORMERR },   { "server_failure", RC_SERVFAIL },
    { "name_error", RC_NXDOMAIN }, { "not_implemented", RC_NOTIMP }, { "refused", RC_REFUSED },
};

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* %41 is A; anything else stays. */
static void percent_decode(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (*s == '%' && hex(s[1]) >= 0 && hex(s[2]) >= 0 && (hex(s[1]) || hex(s[2]))) {
            *to++ = (char)(hex(s[1]) << 4 | hex(s[2]));
            s += 2;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

static bool is_true(const char *s)
{
    return !strcasecmp(s, "true") || !strcmp(s, "1");
}

/* A type that is none is left alone, as an unknown key is. */
static const char *disable(struct ns_spec *n, unsigned long type)
{
    if (!type || type > UINT16_MAX || type == T_OPT)
        return NULL;
    for (unsigned i = 0; i < n->n_disabled; i++)
        if (n->disabled[i] == type)
            return NULL;
    if (n->n_disabled == NS_TYPES_MAX)
        return "switches off more types than eight";
    n->disabled[n->n_disabled++] = (uint16_t)type;
    return NULL;
}

static const char *option(struct ns_spec *n, const char *key, const char *value)
{
    if (!strcmp(key, "h3"))
        n->h3 = is_true(value);
    else if (!strcmp(key, "skip-cert-verify"))
        n->skip_cert_verify = is_true(value);
    else if (!strcmp(key, "disable-reuse"))
        n->disable_reuse = is_true(value);
    else if (!strcmp(key, "disable-ipv4") && is_true(value))
        return disable(n, T_A);
    else if (!strcmp(key, "disable-ipv6") && is_true(value))
        return disable(n, T_AAAA);
    else if (!strncmp(key, "disable-qtype-", 14) && is_true(value))
        return disable(n, strtoul(key + 14, NULL, 10));
    else if (!strcmp(key, "ecs") && cidr_parse(value, &n->ecs) < 0)
        return "has an ecs that is no address or prefix";
    return NULL;
}

static const char *fragment(struct ns_spec *n, char *s)
{
    char *save, *value;
    const char *wrong;

    for (char *item = strtok_r(s, "&", &save); item; item = strtok_r(NULL, "&", &save)) {
        if ((value = strchr(item, '='))) {
            *value++ = 0;
            if ((wrong = option(n, item, value)))
                return wrong;
            continue;
        }
        percent_decode(item);
        if (strlen(item) >= sizeof(n->via))
            return "names a way that is too long";
        strcpy(n->via, item);
    }
    return NULL;
}

/* Is it a name that somebody may have given a server? Bytes above ASCII are those of international names. */
static const char *no_host(const char *host)
{
    const char *last = strrchr(host, '.');

    if (strchr(host, ':'))
        return "has no host[:port]; an IPv6 address is written 2001:db8::1, or [2001:db8::1]:53";
    for (const char *p = host; *p; p++)
        if ((unsigned char)*p < 0x80 && !isalnum((unsigned char)*p) && !strchr("-_.", *p))
            return "has a host with characters that no name has";
    last = last ? last + 1 : host;
    if (!last[strspn(last, "0123456789")])
        return "looks like an address and is none";
    return last[strspn(last, "-_")] ? NULL : "has no host[:port]";
}

/* No server can be there. */
static bool is_nowhere(const struct addr *a)
{
    return addr_is_unspecified(a) || addr_is_multicast(a) || (a->ver == 4 && !memcmp(a->b, "\377\377\377\377", 4));
}

/* host, host:port, [v6]:port, or a bare IPv6 address. */
static const char *authority(struct ns_spec *n, const char *s, uint16_t port)
{
    uint16_t given = 0;
    const char *wrong;

    if (addr_parse(s, &n->ip) == 0) {
        strcpy(n->host, s); /* shorter than any name */
    } else {
        char host[HOST_MAX + 1];

        if (hostport_split(s, host, &given) < 0)
            return "has no host[:port]";
        if (addr_parse(host, &n->ip) == 0)
            strcpy(n->host, host); /* compared byte by byte: nothing behind its end */
        else if (strpbrk(host, ", "))
            return "holds more than one server: each is an element of its own";
        else if (host_normalise(host, strlen(host), n->host) < 0)
            return "has no host[:port]";
        else if ((wrong = no_host(n->host)))
            return wrong;
        if (!given && s[strlen(s) - 1] == '0' && strlen(s) > strlen(host) + 2 * (*s == '['))
            return "has the port 0";
    }
    if (n->ip.ver && is_nowhere(&n->ip))
        return "has an address that no server has";
    n->port = given ? given : port;
    if (n->quic)
        n->port = port; /* theirs is one of UDP */
    return NULL;
}

static const struct scheme *find_scheme(const char *word, size_t len)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strlen(schemes[i].word) == len && !strncasecmp(word, schemes[i].word, len))
            return &schemes[i];
    return NULL;
}

/* udp:1.1.1.1, https:/1.1.1.1: a host of that name would have a port behind it. */
static bool lacks_slashes(const char *text)
{
    const char *colon = strchr(text, ':');

    return colon && find_scheme(text, (size_t)(colon - text)) && colon[1] && colon[1 + strspn(colon + 1, "0123456789")];
}

static const char *rest_of(struct ns_spec *n, const struct scheme *s, char *rest)
{
    char *at, *path;

    switch (n->kind) {
    case NS_SYSTEM: return NULL;
    case NS_RCODE:
        for (size_t i = 0; i < sizeof(rcodes) / sizeof(rcodes[0]); i++)
            if (!strcasecmp(rest, rcodes[i].word)) {
                n->rcode = rcodes[i].rcode;
                return NULL;
            }
        return "is none of rcode://success, name_error, refused, server_failure, format_error, not_implemented";
    case NS_DHCP:
        if (!strcasecmp(rest, "system")) {
            n->kind = NS_SYSTEM;
            return NULL;
        }
        if (!*rest || strlen(rest) > 15 || strchr(rest, '/'))
            return "names no interface";
        strcpy(n->host, rest);
        return NULL;
    default: break;
    }
    path = strchr(rest, '/');
    if ((n->kind == NS_HTTPS || n->kind == NS_HTTP) &&
        snprintf(n->path, sizeof(n->path), "%s", path ? path : "/dns-query") >= (int)sizeof(n->path))
        return "has a path that is too long";
    if (path)
        *path = 0;
    if ((at = strrchr(rest, '@'))) {
        *at = 0;
        percent_decode(rest);
        if (snprintf(n->user, sizeof(n->user), "%s", rest) >= (int)sizeof(n->user))
            return "has a user that is too long";
        rest = at + 1;
    }
    return authority(n, rest, s->port);
}

const char *ns_parse(const char *text, struct ns_spec *n)
{
    char copy[NS_TEXT_MAX], *hash, *rest = copy, *colon;
    const struct scheme *s = &schemes[0];
    const char *wrong;

    memset(n, 0, sizeof(*n));
    if (strlen(text) >= sizeof(copy))
        return "is longer than a server can be";
    strcpy(copy, text);
    if ((hash = strchr(copy, '#')))
        *hash++ = 0;
    if (!strcasecmp(copy, "system")) {
        s = find_scheme("system", 6);
    } else if ((colon = strstr(copy, "://"))) {
        if (!(s = find_scheme(copy, (size_t)(colon - copy))))
            return "has a scheme that is none of udp, tcp, tls, https, http, quic, system, dhcp, rcode";
        rest = colon + 3;
    } else if (lacks_slashes(copy)) {
        return "has a scheme without :// behind it";
    }
    n->kind = s->kind;
    n->quic = !strcmp(s->word, "quic");
    if ((wrong = rest_of(n, s, rest)))
        return wrong;
    return hash ? fragment(n, hash) : NULL;
}

const char *ns_scheme_word(unsigned i)
{
    return i < sizeof(schemes) / sizeof(schemes[0]) ? schemes[i].word : NULL;
}

const char *ns_rcode_word(unsigned i)
{
    return i < sizeof(rcodes) / sizeof(rcodes[0]) ? rcodes[i].word : NULL;
}
