/*
 * sniffer.c - the profile's word on looking at first bytes
 *
 *   flow ─► source or destination in a skip list? ─► no name, or one that only the mapping gave, or one in force-domain? ─► which protocols
 * are listed for its port?
 *
 * A server that speaks first would let us wait in vain, each time for SNIFF_WAIT_MS; so destinations where nothing came are remembered for
 * a while (barren).
 *
 * Memory: the compiled lists; nothing per flow.
 */
#include "engine/sniffer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECES          64
#define BARREN_FAILURES 5
#define BARREN_MS       600000

struct sniffer {
    const struct cfg_sniffer *c;                        /* lives in the profile, which outlives us */
    struct matcher *force, *skip, *skip_src, *skip_dst; /* NULL: empty */
};

/* ---- building ---- */

static void say(const struct cfg_matcher *m, const char *list, int err, const char *what, struct diag *d)
{
    bool lacking = err == -ENODATA || err == -ENOENT;
    char path[64];

    snprintf(path, sizeof(path), "sniffer.%s", list);
    diag_warn(d, m->line, m->column, path, lacking ? "missing-data" : "bad-value", "\"%s\" %s; it is skipped", what,
              err == -ENOENT    ? "does not exist"
              : err == -ENODATA ? "is not there yet"
                                : "cannot be used here");
}

static int add(struct matcher *to, const struct cfg_matcher *m, bool names, const char *list, struct diag *d)
{
    const char *prefix = m->kind == CFG_MATCH_SET ? "rule-set:" : m->kind != CFG_MATCH_GEO ? "" : names ? "geosite:" : "geoip:";
    size_t size = strlen(prefix) + strlen(m->text) + 1;
    char *text = malloc(size), what[64] = "";
    int r;

    if (!text)
        return -ENOMEM;
    snprintf(text, size, "%s%s", prefix, m->text);
    r = names ? matcher_add_name(to, text, 0, what) : matcher_add_addr(to, text, 0, what);
    if (r < 0 && r != -ENOMEM) {
        say(m, list, r, *what ? what : text, d);
        r = 0;
    }
    free(text);
    return r;
}

static int compile(const struct cfg_matchers *list, bool names, const char *name, const struct rules_env *env, struct diag *d,
                   struct matcher **out)
{
    int r = 0;

    if (!list->n)
        return 0;
    if (!(*out = matcher_new(env)))
        return -ENOMEM;
    for (uint32_t i = 0; i < list->n && r == 0; i++)
        r = add(*out, &list->v[i], names, name, d);
    return r < 0 ? r : matcher_finish(*out);
}

int sniffer_new(const struct cfg_sniffer *c, const struct rules_env *env, struct diag *d, struct sniffer **out)
{
    struct sniffer *s;
    int r;

    *out = NULL;
    if (!c->enable)
        return 0;
    if (!(s = calloc(1, sizeof(*s))))
        return -ENOMEM;
    s->c = c;
    if ((r = compile(&c->force_domain, true, "force-domain", env, d, &s->force)) < 0 ||
        (r = compile(&c->skip_domain, true, "skip-domain", env, d, &s->skip)) < 0 ||
        (r = compile(&c->skip_src, false, "skip-src-address", env, d, &s->skip_src)) < 0 ||
        (r = compile(&c->skip_dst, false, "skip-dst-address", env, d, &s->skip_dst)) < 0) {
        sniffer_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void sniffer_free(struct sniffer *s)
{
    if (!s)
        return;
    matcher_free(s->force);
    matcher_free(s->skip);
    matcher_free(s->skip_src);
    matcher_free(s->skip_dst);
    free(s);
}

/* ---- deciding ---- */

static bool has_name(const struct matcher *m, const char *host)
{
    return m && matcher_first(m, host) != MATCHER_NONE;
}

static bool has_addr(const struct matcher *m, const struct addr *a)
{
    return m && addr_is_set(a) && matcher_first_addr(m, a) != MATCHER_NONE;
}

static bool has_port(const struct cfg_ranges *r, uint16_t port)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (port >= r->v[i].lo && port <= r->v[i].hi)
            return true;
    return false;
}

static bool needs_name(const struct sniffer *s, const struct flow_meta *m)
{
    if (!m->dst.host)
        return s->c->parse_pure_ip;
    return (m->host_from == HOST_REVERSE && s->c->force_dns_mapping) || has_name(s->force, m->dst.host);
}

unsigned sniffer_wants(const struct sniffer *s, const struct flow_meta *m)
{
    unsigned can = m->net == FLOW_UDP ? SNIFF_QUIC : SNIFF_HTTP | SNIFF_TLS, wants = 0;

    if (!s)
        return 0;
    for (unsigned p = 0; p < CFG_N_SNIFF; p++)
        if (can & 1u << p && s->c->sniff[p].on && has_port(&s->c->sniff[p].ports, m->dst.at.port))
            wants |= 1u << p;
    if (!wants || !needs_name(s, m) || has_addr(s->skip_src, &m->src.ip) || has_addr(s->skip_dst, &m->dst.at.ip))
        return 0;
    return wants;
}

bool sniffer_takes(const struct sniffer *s, const char *host)
{
    return !has_name(s->skip, host);
}

bool sniffer_overrides(const struct sniffer *s, unsigned protocol)
{
    for (unsigned p = 0; p < CFG_N_SNIFF; p++)
        if (protocol == 1u << p)
            return s->c->sniff[p].override_destination;
    return false;
}

/* ---- looking ---- */

static enum sniff ask(unsigned protocol, const void *p, size_t len, char host[HOST_MAX + 1])
{
    return protocol == SNIFF_HTTP ? sniff_http(p, len, host) : sniff_tls(p, len, host);
}

enum sniff sniffer_look(struct stream *s, unsigned *protocols, char host[HOST_MAX + 1], size_t *seen)
{
    struct iovec iov[PIECES];
    uint8_t all[SNIFF_MAX];
    int n = s->ops->peek ? stream_peek(s, iov, PIECES) : -ERR_UNSUPPORTED;
    struct iovec whole = { all, sizeof(all) };

    *seen = 0;
    if (n < 0)
        return SNIFF_NOT;
    *seen = iov_copy(&whole, 1, iov, n);
    for (unsigned p = 1; p <= SNIFF_QUIC; p <<= 1) {
        enum sniff r = *protocols & p ? ask(p, all, *seen, host) : SNIFF_MORE;

        if (r == SNIFF_NAME)
            *protocols = p;
        if (r == SNIFF_NAME)
            return r;
        if (r == SNIFF_NOT)
            *protocols &= ~p;
    }
    return *protocols ? SNIFF_MORE : SNIFF_NOT;
}

/* ---- where nothing is found ---- */

bool barren_is(const struct barren *b, const struct endpoint *dst, uint64_t now_ms)
{
    uint64_t hash = endpoint_hash(dst);
    size_t i = hash % SNIFF_BARREN;

    return b->at[i].hash == hash && b->at[i].n > BARREN_FAILURES && now_ms < b->at[i].until_ms;
}

void barren_note(struct barren *b, const struct endpoint *dst, bool found, uint64_t now_ms)
{
    uint64_t hash = endpoint_hash(dst);
    size_t i = hash % SNIFF_BARREN;

    if (found && b->at[i].hash != hash)
        return;
    if (found || b->at[i].hash != hash || now_ms >= b->at[i].until_ms)
        b->at[i].n = 0;
    b->at[i].hash = hash;
    b->at[i].n += !found;
    b->at[i].until_ms = now_ms + BARREN_MS;
}
