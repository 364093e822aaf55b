/*
 * nomem.h - memory that runs out at a chosen allocation
 *
 * Linked with --wrap for the allocators, libyaml's included (tests/CMakeLists.txt does that for every *_nomem.c). Between nomem_arm() and nomem_disarm() the
 * n-th allocation fails, alone or with all that follow.
 */
#ifndef TESTS_NOMEM_H
#define TESTS_NOMEM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static struct {
    size_t count, fail_at; /* fail_at 0: none */
    bool from_then_on, on;
    size_t refused;
} nomem;

static bool nomem_refuses(void)
{
    if (!nomem.on)
        return false;
    nomem.count++;
    if (!nomem.fail_at || (nomem.from_then_on ? nomem.count < nomem.fail_at : nomem.count != nomem.fail_at))
        return false;
    nomem.refused++;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t n)
{
    return nomem_refuses() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return nomem_refuses() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return nomem_refuses() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return nomem_refuses() ? NULL : __real_strdup(s);
}

static void nomem_arm(size_t fail_at, bool from_then_on)
{
    nomem.count = nomem.refused = 0;
    nomem.fail_at = fail_at;
    nomem.from_then_on = from_then_on;
    nomem.on = true;
}

/* How many allocations were refused. */
static size_t nomem_disarm(void)
{
    nomem.on = false;
    return nomem.refused;
}

/* A profile of 360 entries: 50 proxies, 20 groups, 240 rules, 20 hosts, 10 policies, 10 providers, 5 listeners, 5 tunnels; and every kind of thing that warns. The
 * caller frees. */
static inline char *nomem_profile(void)
{
    static const char head[] = "mode: rule\nsecret: x\np: &p { type: ss, port: 8388, cipher: aes-256-gcm, password: x:, udp: true }\ndns: { enhance-mode: x, nameserver: [9.9.9.9, "
                               "1.1.1.1], fake-ip-filter: [\"*.lan\", \"geosite:a,b\"], fallback-filter: { ipcidr: [10.0.0.0/8], domain: [a.b] } }\ntun: { "
                               "route-exclude-address: [10.0.0.0/8, nonsense], include-uid: [1], include-uid-range: [\"5:9\"] }\nsniffer: { sniff: { TLS: { ports: [443, "
                               "8443-8450] }, HTP: } }\nauthentication: [\"a:b\"]\n";
    size_t cap = 65536, at = 0;
    char *s = malloc(cap);

#define ADD(...) at += (size_t)snprintf(s + at, cap - at, __VA_ARGS__)
    if (!s)
        abort();
    ADD("%sproxies:\n", head);
    for (int i = 0; i < 50; i++)
        ADD("  - { <<: *p, name: \"node %d\", server: s%d.example.com }\n", i % 49, i);
    ADD("proxy-groups:\n");
    for (int i = 0; i < 20; i++)
        ADD("  - { name: group %d, type: select, proxies: [\"node %d\", \"node %d\", nobody], use: [p%d], filter: \"(?i)N`x\" }\n", i, i, i + 1, i % 5);
    ADD("hosts:\n");
    for (int i = 0; i < 20; i++)
        ADD("  h%d.example.com: [192.0.2.%d]\n", i, i);
    ADD("rule-providers:\n");
    for (int i = 0; i < 5; i++)
        ADD("  r%d: { type: inline, behavior: domain, payload: [a.b, c.d] }\n", i);
    ADD("proxy-providers:\n");
    for (int i = 0; i < 5; i++)
        ADD("  p%d: { type: http, url: \"http://x/%d\", header: { A: [b] }, override: { udp: true, proxy-name: [{ pattern: a, target: b }] } }\n", i, i);
    ADD("listeners:\n");
    for (int i = 0; i < 5; i++)
        ADD("  - { name: l%d, type: mixed, port: %d, users: [{ username: a, password: b }] }\n", i, 7000 + i);
    ADD("tunnels:\n");
    for (int i = 0; i < 5; i++)
        ADD("  - tcp/udp,127.0.0.1:%d,1.1.1.1:53\n", 6000 + i);
    ADD("sub-rules: { s: [\"DOMAIN,x.y,DIRECT\"] }\nrules:\n");
    for (int i = 0; i < 238; i++)
        ADD("  - DOMAIN-SUFFIX,d%d.example.com,group %d\n", i, i % 20);
    ADD("  - DOMAIN,x.y,Nowhere\n  - MATCH,group 0\n");
#undef ADD
    return s;
}

/* Its local file. */
static const char nomem_local[] = "dns: { nameserver-policy: { \"a.b,c.d\": 9.9.9.9, \"geosite:x\": [1.1.1.1] } }\nprepend-rules: [\"DOMAIN,first.example,DIRECT\"]\n"
                                  "append-rules: [\"DOMAIN,last.example,DIRECT\"]\nproxies: [{ name: mine, type: direct }]\n";

#endif
