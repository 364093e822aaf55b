/*
 * access.c - who may speak to the controller
 *
 *   Unix socket   everybody the file mode and the peer's credentials let in
 *   TCP           Host must be ours (a rebinding name is not); a foreign Origin only if listed, or with the secret; the secret by header, or
 *                 by ?token= for WebSocket; without a secret a body must be application/json (a plain form of a web page cannot send that)
 */
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#include "controller/private.h"

bool access_same_secret(const char *a, const char *b)
{
    unsigned char x[SHA256_DIGEST_LENGTH], y[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)a, strlen(a), x);
    SHA256((const unsigned char *)b, strlen(b), y);
    return CRYPTO_memcmp(x, y, sizeof(x)) == 0;
}

static bool host_ok(const struct access_conf *c, const char *header)
{
    char host[HOST_MAX + 1];
    struct addr a;
    uint16_t port;

    if (!header || hostport_split(header, host, &port) < 0)
        return false;
    if (!strcasecmp(host, "localhost") || (c->host && !strcasecmp(host, c->host)))
        return true;
    if (addr_parse(host, &a) < 0)
        return false;
    return addr_is_loopback(&a) || (c->host && (!strcmp(c->host, "0.0.0.0") || !strcmp(c->host, "::"))); /* bound to all: any literal is ours */
}

static bool origin_listed(const struct access_conf *c, const char *origin)
{
    for (uint32_t i = 0; i < c->origins.n; i++)
        if (!strcmp(c->origins.v[i], "*") || !strcasecmp(c->origins.v[i], origin))
            return true;
    return false;
}

static bool presents_secret(const struct access_conf *c, const struct access_req *r)
{
    if (r->authorization && !strncasecmp(r->authorization, "Bearer ", 7) && access_same_secret(r->authorization + 7, c->secret))
        return true;
    return r->websocket && r->token && access_same_secret(r->token, c->secret);
}

int access_check(const struct access_conf *c, const struct access_req *r, bool *cors)
{
    bool secret = c->secret && *c->secret, presented, listed;

    *cors = false;
    if (r->local)
        return 0;
    if (!host_ok(c, r->host))
        return 403;
    listed = r->origin && origin_listed(c, r->origin);
    if (!strcmp(r->method, "OPTIONS") && r->origin) { /* a preflight cannot carry the secret */
        *cors = listed || secret;
        return *cors ? 0 : 403;
    }
    presented = secret && presents_secret(c, r);
    *cors = listed || (r->origin && presented);
    if (secret && !presented && !r->doh)
        return 401;
    if (r->origin && !listed && !presented)
        return 403;
    if (!secret && r->has_body && !r->doh && (!r->content_type || strncasecmp(r->content_type, "application/json", 16) != 0))
        return 403;
    return 0;
}

void access_failed(struct access_fails *f, const struct addr *peer, uint64_t now_ms)
{
    int use = 0;

    for (int i = 0; i < FAIL_PEERS; i++) {
        if (addr_eq(&f->slot[i].peer, peer)) {
            use = i;
            break;
        }
        if (f->slot[i].since_ms < f->slot[use].since_ms)
            use = i;
    }
    if (!addr_eq(&f->slot[use].peer, peer) || now_ms - f->slot[use].since_ms >= 60000) {
        f->slot[use].peer = *peer;
        f->slot[use].since_ms = now_ms;
        f->slot[use].n = 0;
    }
    f->slot[use].n++;
}

bool access_blocked(const struct access_fails *f, const struct addr *peer, uint64_t now_ms)
{
    for (int i = 0; i < FAIL_PEERS; i++)
        if (addr_eq(&f->slot[i].peer, peer))
            return f->slot[i].n >= 10 && now_ms - f->slot[i].since_ms < 60000;
    return false;
}
