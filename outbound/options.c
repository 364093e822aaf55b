/*
 * options.c - reading the options of a proxy entry: maps, values, and what every type has
 *
 * Tables do the reading (configs/fields.c); here is what they cannot say: texts that are keys, ranges or rates, and maps within the entry.
 */
#include "outbound/options.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base64.h"

/* ---- maps ---- */

int opt_fields(const struct opt_src *s, const struct cfg_field *fields, void *out)
{
    return cfg_read(s->doc, s->map, fields, CFG_KEYS_PROXY, out, true, s->path, s->d) ? -EINVAL : 0;
}

const struct cfg_node *opt_find(const struct opt_src *s, const char *key)
{
    const struct cfg_node *n = cfg_find(s->map, key, CFG_KEYS_PROXY);

    return n && n->kind != CFG_NULL ? n : NULL;
}

bool opt_sub(const struct opt_src *s, const char *key, struct opt_src *sub, int *r)
{
    const struct cfg_node *n = opt_find(s, key);

    if (n && n->kind != CFG_MAP)
        *r = opt_bad(s, key, "%s: a mapping (key: value) is expected here", key);
    if (!n || n->kind != CFG_MAP)
        return false;
    *sub = *s;
    sub->map = n;
    return true;
}

static int say(const struct opt_src *s, const struct cfg_node *at, const char *code, const char *fmt, va_list ap)
{
    char text[512];

    vsnprintf(text, sizeof(text), fmt, ap);
    diag_err(s->d, at->line, at->column, s->path, code, "%s", text);
    return -EINVAL;
}

int opt_bad(const struct opt_src *s, const char *key, const char *fmt, ...)
{
    const struct cfg_node *n = opt_find(s, key);
    va_list ap;

    va_start(ap, fmt);
    say(s, n ? n : s->map, "bad-value", fmt, ap);
    va_end(ap);
    return -EINVAL;
}

int opt_missing(const struct opt_src *s, const char *key)
{
    struct cfg_guess g;

    diag_err(s->d, s->map->line, s->map->column, s->path, "missing-key", "the key \"%s\" is missing%s", key, cfg_is_meant(&g, s->d, key, s->map));
    return -EINVAL;
}

void opt_warn(const struct opt_src *s, const char *key, const char *code, const char *fmt, ...)
{
    const struct cfg_node *n = opt_find(s, key);
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n = n ? n : s->map;
    diag_warn(s->d, n->line, n->column, s->path, code, "%s", text);
}

/* ---- values ---- */

const char *opt_quote(const char *text, char buf[OPT_TEXT_MAX])
{
    return log_safe(text, strlen(text), buf, OPT_TEXT_MAX);
}

int opt_hex(const char *text, uint8_t *out, size_t size)
{
    size_t n = 0;
    int hi = -1;

    for (; *text; text++) {
        int v = isdigit((unsigned char)*text)    ? *text - '0'
                : isxdigit((unsigned char)*text) ? tolower((unsigned char)*text) - 'a' + 10
                                                 : -1;

        if (*text == ':' && hi < 0)
            continue;
        if (v < 0 || n == size)
            return -1;
        if (hi < 0) {
            hi = v;
        } else {
            out[n++] = (uint8_t)(hi << 4 | v);
            hi = -1;
        }
    }
    return hi < 0 ? (int)n : -1;
}

bool opt_key(const char *text, uint8_t *out, size_t len)
{
    return base64_decode(text, strlen(text), out, len) == (ssize_t)len;
}

/* "8-4-4-4-12" hex digits, or 32 of them; in braces, after "urn:uuid:". */
static bool parse_uuid(const char *text, uint8_t out[16])
{
    static const uint8_t dashes[] = { 8, 12, 16, 20 };
    char hex[33];
    size_t n = 0, len, d = 0;

    if (!strncasecmp(text, "urn:uuid:", 9))
        text += 9;
    len = strlen(text);
    if (len > 2 && text[0] == '{' && text[len - 1] == '}') {
        text++;
        len -= 2;
    }
    if (len != 32 && len != 36)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (len == 36 && d < 4 && n == dashes[d] && text[i] == '-') {
            d++;
            continue;
        }
        if (n == 32 || !isxdigit((unsigned char)text[i]))
            return false;
        hex[n++] = text[i];
    }
    hex[n] = 0;
    return n == 32 && opt_hex(hex, out, 16) == 16;
}

int opt_uuid(const char *text, uint8_t out[16])
{
    static const uint8_t nil[16];
    uint8_t sum[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md;
    bool good;

    if (parse_uuid(text, out))
        return 0;
    if (!(md = EVP_MD_CTX_new()))
        return -ENOMEM;
    good = EVP_DigestInit_ex(md, EVP_sha1(), NULL) && EVP_DigestUpdate(md, nil, sizeof(nil)) && EVP_DigestUpdate(md, text, strlen(text)) &&
           EVP_DigestFinal_ex(md, sum, NULL);
    EVP_MD_CTX_free(md);
    if (!good)
        return -ENOMEM;
    memcpy(out, sum, 16);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x50); /* version 5 */
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
    return 0;
}

static const char *skip_blanks(const char *s)
{
    while (*s == ' ' || *s == '\t')
        s++;
    return s;
}

bool opt_bandwidth(const char *text, uint64_t *bps)
{
    static const struct {
        char unit;
        uint64_t factor;
    } units[] = { { 'K', 1000 }, { 'M', 1000000 }, { 'G', 1000000000 }, { 'T', 1000000000000 } };
    uint64_t factor = 1;
    char *end;
    const char *at;
    unsigned long long v;

    at = skip_blanks(text);
    if (!isdigit((unsigned char)*at))
        return false;
    errno = 0;
    v = strtoull(at, &end, 10);
    if (errno)
        return false;
    at = skip_blanks(end);
    if (!*at) {
        factor = 1000000; /* a bare number is Mbps */
    } else {
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
            if (toupper((unsigned char)*at) == units[i].unit) {
                factor = units[i].factor;
                at++;
                break;
            }
        if ((*at != 'b' && *at != 'B') || strcmp(at + 1, "ps") != 0)
            return false;
        factor *= *at == 'B' ? 8 : 1;
    }
    if (v > UINT64_MAX / factor)
        return false;
    *bps = v * factor;
    return true;
}

bool opt_ranges(const char *text, struct opt_ranges *out)
{
    int n = cfg_scan_ranges(text, UINT16_MAX, '-', out->v);

    out->n = n > 0 ? (uint32_t)n : 0;
    return n >= 0;
}

/* ---- common to every type ---- */

static const char *const smux_protocols[] = { "h2mux", "smux", "yamux", NULL };

static const struct cfg_field smux_fields[] = {
    { "enabled", CFG_BOOL, offsetof(struct opt_smux, enabled) },
    { "protocol", CFG_ENUM, offsetof(struct opt_smux, protocol), .names = smux_protocols },
    { "max-connections", CFG_INT, offsetof(struct opt_smux, max_connections), .min = 0, .max = 65535 },
    { "min-streams", CFG_INT, offsetof(struct opt_smux, min_streams), .min = 0, .max = 65535 },
    { "max-streams", CFG_INT, offsetof(struct opt_smux, max_streams), .min = 0, .max = 65535 },
    { "padding", CFG_BOOL, offsetof(struct opt_smux, padding) },
    { "statistic", CFG_BOOL, offsetof(struct opt_smux, statistic) },
    { "only-tcp", CFG_BOOL, offsetof(struct opt_smux, only_tcp) },
    { 0 },
};

struct brutal {
    bool enabled;
    const char *up, *down;
};

static const struct cfg_field brutal_fields[] = {
    { "enabled", CFG_BOOL, offsetof(struct brutal, enabled) },
    { "up", CFG_STR, offsetof(struct brutal, up) },
    { "down", CFG_STR, offsetof(struct brutal, down) },
    { 0 },
};

static int read_brutal(struct opt_smux *m, const struct opt_src *s)
{
    struct brutal b = { 0 };
    int r = opt_fields(s, brutal_fields, &b);

    m->brutal = b.enabled;
    if (r == 0 && b.enabled && b.up && !opt_bandwidth(b.up, &m->brutal_up))
        r = opt_bad(s, "up", "up: \"%s\" is no rate (100 Mbps)", b.up);
    if (r == 0 && b.enabled && b.down && !opt_bandwidth(b.down, &m->brutal_down))
        r = opt_bad(s, "down", "down: \"%s\" is no rate (100 Mbps)", b.down);
    return r;
}

static int read_smux(struct opt_smux *m, const struct opt_src *s)
{
    struct opt_src sub;
    int r = opt_fields(s, smux_fields, m);

    if (r == 0 && opt_sub(s, "brutal-opts", &sub, &r))
        r = read_brutal(m, &sub);
    return r;
}

static const struct cfg_field common_fields[] = {
    { "dialer-proxy", CFG_STR, offsetof(struct opt_common, dialer_proxy) },
    { "interface-name", CFG_STR, offsetof(struct opt_common, interface_name) },
    { "routing-mark", CFG_INT, offsetof(struct opt_common, routing_mark), .min = 0, .max = UINT32_MAX },
    { "tfo", CFG_BOOL, offsetof(struct opt_common, tfo) },
    { "mptcp", CFG_BOOL, offsetof(struct opt_common, mptcp) },
    { 0 },
};

static int read_family(const struct opt_src *s)
{
    static const char *const names[] = { "dual", "ipv4", "ipv6", "ipv4-prefer", "ipv6-prefer" };
    const struct cfg_node *n = opt_find(s, "ip-version");

    for (int i = 0; n && n->kind == CFG_SCALAR && i < 5; i++)
        if (!strcasecmp(n->text, names[i]))
            return i;
    return OPT_DUAL; /* unknown text too */
}

int opt_common(void *member, const struct opt_src *s)
{
    struct opt_common *c = member;
    struct opt_src sub;
    int r = opt_fields(s, common_fields, c);

    c->family = read_family(s);
    if (c->dialer_proxy && !*c->dialer_proxy)
        c->dialer_proxy = NULL;
    if (c->interface_name && !*c->interface_name)
        c->interface_name = NULL;
    if (r == 0 && opt_sub(s, "smux", &sub, &r))
        r = read_smux(&c->smux, &sub);
    return r;
}
