/* provider_content.c - what a proxy provider may hold: read from a file below a state directory, filtered, changed, and built into groups and chains */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tests/fuzz/fuzz.h"

static const char profile[] = "proxies: [{name: way, type: socks5, server: h, port: 1}]\n"
                              "proxy-providers:\n"
                              "  p: {type: file, path: content, filter: '(?i)a`.', exclude-type: ssh, override: {udp: true, additional-prefix: x,\n"
                              "      proxy-name: [{pattern: '(\\w)(\\d)', target: '$2$1'}]}}\n"
                              "  q: {type: file, path: content, dialer-proxy: G}\n"
                              "proxy-groups:\n"
                              "  - {name: G, type: select, proxies: [way], use: [p], filter: '^(?!.*(b|c)).*$'}\n"
                              "  - {name: R, type: relay, include-all: true}\n"
                              "  - {name: B, type: load-balance, use: [q], exclude-filter: d}\n"
                              "rules: ['MATCH,G']\n";

static char dir[] = "/tmp/shunt-fuzz-XXXXXX";
static int file = -1;
static FILE *nowhere;

static void clean(void)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/content", dir);
    unlink(path);
    rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[64];

    log_threshold = LOG_SILENT;
    nowhere = fopen("/dev/null", "w");
    if (!mkdtemp(dir))
        abort();
    snprintf(path, sizeof(path), "%s/content", dir);
    if ((file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        abort();
    atexit(clean);
    return 0;
}

/* Where flows would go, links of chains made on the way. */
static void follow(struct policy *p)
{
    struct outbound *chain[OUT_CHAIN_MAX];
    struct flow_meta m = { .net = FLOW_TCP, .dst.host = "example.com" };

    for (int32_t i = 0; i < out_count(p->outs); i++)
        out_resolve(out_at(p->outs, i), &m, chain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cfg_input in = { .name = "fuzz", .bytes = profile, .len = sizeof(profile) - 1 };
    struct out_env env = { .state_dir = dir };
    struct policy *p;
    struct diag d;

    if (ftruncate(file, 0) < 0 || pwrite(file, data, size, 0) != (ssize_t)size)
        return 0;
    diag_init(&d, "fuzz", NULL, 0, false);
    if ((p = policy_load(&in, NULL, &env, &d)))
        follow(p);
    policy_put(p);
    diag_print(&d, nowhere, false);
    diag_fini(&d);
    return 0;
}
