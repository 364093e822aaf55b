/*
 * opt_tls.c - what a proxy entry says about TLS
 *
 * `fingerprint` is a certificate's hash; many profiles write a browser there, meaning `client-fingerprint`: taken for that, and said.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "core/base64.h"
#include "outbound/options.h"

/* As written. */
struct raw {
    struct opt_tls tls;
    const char *fingerprint, *client_fingerprint;
};

static const struct cfg_field raw_fields[] = {
    { "skip-cert-verify", CFG_BOOL, offsetof(struct raw, tls.skip_verify) },
    { "alpn", CFG_STRS, offsetof(struct raw, tls.alpn) },
    { "fingerprint", CFG_STR, offsetof(struct raw, fingerprint) },
    { "client-fingerprint", CFG_STR, offsetof(struct raw, client_fingerprint) },
    { "certificate", CFG_SECRET, offsetof(struct raw, tls.certificate) },
    { "private-key", CFG_SECRET, offsetof(struct raw, tls.private_key) },
    { 0 },
};

/* What differs between types. */
static const struct cfg_field sni_field[] = { { "sni", CFG_STR, offsetof(struct raw, tls.name) }, { 0 } };
static const struct cfg_field servername_field[] = { { "servername", CFG_STR, offsetof(struct raw, tls.name) }, { 0 } };
static const struct cfg_field switch_field[] = { { "tls", CFG_BOOL, offsetof(struct raw, tls.on) }, { 0 } };

/* ---- fingerprints ---- */

/* "chrome120" is a chrome: version digits and a trailing word of the imitation library are left to it. */
static bool is_browser(const char *s)
{
    static const char *const names[] = { "chrome", "firefox", "safari", "ios", "android", "edge", "360", "qq", "randomized", "random" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strncasecmp(s, names[i], strlen(names[i])))
            return true;
    return false;
}

static const char *lower(struct cfg_doc *doc, const char *s)
{
    char *copy = cfg_strdup(doc, s, strlen(s));

    for (char *at = copy; at && *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return copy;
}

static void read_browser(struct raw *r, const struct opt_src *s)
{
    const char *text = r->client_fingerprint;
    char shown[OPT_TEXT_MAX];

    if (!text || !*text || !strcasecmp(text, "none"))
        return;
    if (is_browser(text))
        r->tls.fingerprint = lower(s->doc, text);
    else
        opt_warn(s, "client-fingerprint", "bad-value", "client-fingerprint: \"%s\" is no known browser; the native TLS hello is used",
                 opt_quote(text, shown));
}

static int read_pin(struct raw *r, const struct opt_src *s)
{
    char shown[OPT_TEXT_MAX];

    if (!r->fingerprint || !*r->fingerprint)
        return 0;
    if (opt_hex(r->fingerprint, r->tls.pin, sizeof(r->tls.pin)) == (int)sizeof(r->tls.pin)) {
        r->tls.pinned = true;
        return 0;
    }
    if (!is_browser(r->fingerprint))
        return opt_bad(s, "fingerprint", "fingerprint: \"%s\" is no SHA-256 of a certificate (64 hex digits)",
                       opt_quote(r->fingerprint, shown));
    opt_warn(s, "fingerprint", "bad-value", "fingerprint: \"%s\" is a browser, not a certificate's SHA-256: taken for client-fingerprint",
             opt_quote(r->fingerprint, shown));
    if (!r->client_fingerprint)
        r->tls.fingerprint = lower(s->doc, r->fingerprint);
    return 0;
}

/* ---- reality, ech ---- */

struct reality {
    const char *key, *id;
    bool mlkem;
};

static const struct cfg_field reality_fields[] = {
    { "public-key", CFG_STR, offsetof(struct reality, key) },
    { "short-id", CFG_STR, offsetof(struct reality, id) },
    { "support-x25519mlkem768", CFG_BOOL, offsetof(struct reality, mlkem) },
    { 0 },
};

/* Converters leave empty maps, and keys without values, behind. */
static bool says_nothing(const struct cfg_node *map)
{
    for (const struct cfg_node *n = cfg_first(map); n; n = n->next)
        if (n->kind != CFG_NULL && !(n->kind == CFG_SCALAR && !*n->text))
            return false;
    return true;
}

static int read_reality(struct opt_tls *t, const struct opt_src *s)
{
    struct reality y = { 0 };
    char shown[OPT_TEXT_MAX];

    if (says_nothing(s->map))
        return 0;
    if (opt_fields(s, reality_fields, &y) < 0)
        return -EINVAL;
    if (!y.key || !*y.key)
        return opt_missing(s, "public-key"); /* plain TLS would end at the site whose name is borrowed, and give it the uuid */
    if (!opt_key(y.key, t->reality_key, sizeof(t->reality_key)))
        return opt_bad(s, "public-key", "public-key: a REALITY key is 32 bytes in base64");
    if (y.id && opt_hex(y.id, t->reality_id, sizeof(t->reality_id)) < 0)
        return opt_bad(s, "short-id", "short-id: \"%s\" is not an even number of at most 16 hex digits", opt_quote(y.id, shown));
    t->reality = true;
    t->reality_mlkem = y.mlkem;
    return 0;
}

struct ech {
    bool enable;
    const char *config, *query;
};

static const struct cfg_field ech_fields[] = {
    { "enable", CFG_BOOL, offsetof(struct ech, enable) },
    { "config", CFG_STR, offsetof(struct ech, config) },
    { "query-server-name", CFG_STR, offsetof(struct ech, query) },
    { 0 },
};

static int read_ech(struct opt_tls *t, const struct opt_src *s)
{
    struct ech e = { 0 };
    size_t len;
    uint8_t *out;
    ssize_t n;

    if (opt_fields(s, ech_fields, &e) < 0)
        return -EINVAL;
    if (!e.enable)
        return 0;
    t->ech = true;
    t->ech_query = e.query && *e.query ? e.query : NULL;
    if (!e.config || !*e.config)
        return 0;
    len = strlen(e.config);
    if (!(out = cfg_alloc(s->doc, BASE64_ROOM(len))) || (n = base64_decode(e.config, len, out, BASE64_ROOM(len))) <= 0)
        return opt_bad(s, "config", "config: an ECHConfigList in base64 is expected here");
    t->ech_config = out;
    t->ech_len = (size_t)n;
    return 0;
}

/* ---- the whole ---- */

/* Protocol names are 1 to 255 bytes (RFC 7301); others are left out. */
static void check_alpn(struct opt_tls *t, const struct opt_src *s)
{
    uint32_t n = 0;

    t->has_alpn = opt_find(s, "alpn") != NULL;
    for (uint32_t i = 0; i < t->alpn.n; i++) {
        size_t len = strlen(t->alpn.v[i]);

        if (len > 255)
            diag_warn(s->d, t->alpn.at[i]->line, t->alpn.at[i]->column, s->path, "bad-value",
                      "alpn: a protocol name has at most 255 bytes; it is left out");
        if (!len || len > 255)
            continue;
        t->alpn.v[n] = t->alpn.v[i];
        t->alpn.at[n++] = t->alpn.at[i];
    }
    t->alpn.n = n;
}

static int check_client_certificate(struct opt_tls *t, const struct opt_src *s)
{
    t->certificate = t->certificate && *t->certificate ? t->certificate : NULL;
    t->private_key = t->private_key && *t->private_key ? t->private_key : NULL;
    if (!t->certificate == !t->private_key)
        return 0;
    return opt_bad(s, t->certificate ? "certificate" : "private-key", "certificate and private-key are only of use together");
}

/* on: a type that is always TLS has no switch. */
static int read_tls(struct opt_tls *t, const struct opt_src *s, const struct cfg_field *name, bool on)
{
    struct raw raw = { .tls.on = on };
    struct opt_src sub;
    int r = 0;

    if (opt_fields(s, raw_fields, &raw) < 0 || opt_fields(s, name, &raw) < 0 || (!on && opt_fields(s, switch_field, &raw) < 0))
        return -EINVAL;
    check_alpn(&raw.tls, s);
    read_browser(&raw, s);
    if ((r = read_pin(&raw, s)) == 0)
        r = check_client_certificate(&raw.tls, s);
    if (r == 0 && opt_sub(s, "reality-opts", &sub, &r))
        r = read_reality(&raw.tls, &sub);
    if (r == 0 && opt_sub(s, "ech-opts", &sub, &r))
        r = read_ech(&raw.tls, &sub);
    if (raw.tls.name && !*raw.tls.name)
        raw.tls.name = NULL;
    *t = raw.tls;
    return r;
}

int opt_tls_servername(void *member, const struct opt_src *s)
{
    return read_tls(member, s, servername_field, false);
}

int opt_tls_sni(void *member, const struct opt_src *s)
{
    return read_tls(member, s, sni_field, false);
}

int opt_tls_always(void *member, const struct opt_src *s)
{
    return read_tls(member, s, sni_field, true);
}
