/*
 * nft.c - the DNS redirect and the guard, each change one transaction (libnftables)
 *
 *   table inet shunt        owned by our handle: it vanishes with the supervisor, however that ends
 *       port 53 of everybody but the worker -> the resolver's own port on loopback
 *   table inet shunt_guard  strict mode only, owned by nobody: what is not accepted does not leave, whoever dies
 *
 * The connection mark lets a closed socket of the worker send the rest of its data: by then it has no owner any more.
 */
#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/sys.h"

struct nft {
    struct nft_ctx *ctx;
};

struct nft *nft_open(void)
{
    struct nft *n = calloc(1, sizeof(*n));

    if (n && (n->ctx = nft_ctx_new(NFT_CTX_DEFAULT))) {
        nft_ctx_buffer_output(n->ctx);
        nft_ctx_buffer_error(n->ctx);
        return n;
    }
    free(n);
    return NULL;
}

void nft_close(struct nft *n)
{
    if (!n)
        return;
    nft_ctx_free(n->ctx);
    free(n);
}

static void redirect(FILE *f, const struct nft_want *w)
{
    const char *only4 = w->dns_v6 ? "" : "meta nfproto ipv4 ";

    fprintf(f, "table inet " TABLE_NAME " {\nflags owner;\nchain dns {\ntype nat hook output priority -100; policy accept;\n");
    fprintf(f, "%smeta skuid != %u udp dport 53 redirect to :%u\n", only4, w->worker, w->dns_port);
    fprintf(f, "%smeta skuid != %u tcp dport 53 redirect to :%u\n", only4, w->worker, w->dns_port);
    fprintf(f, "}\n}\n");
}

static void accepts(FILE *f, const struct nft_want *w, const char *name)
{
    fprintf(f, "oifname %s accept\n", name);
    for (uint32_t i = 0; i < w->n_exclude; i++) {
        char a[ADDR_STRLEN];

        fprintf(f, "%s daddr %s/%u accept\n", w->exclude[i].ip.ver == 4 ? "ip" : "ip6", addr_str(&w->exclude[i].ip, a), w->exclude[i].len);
    }
}

static void guard(FILE *f, const struct nft_want *w)
{
    char device[20];

    snprintf(device, sizeof(device), "\"%s\"", w->device);
    fprintf(f, "add table inet " GUARD_NAME "\nflush table inet " GUARD_NAME "\ntable inet " GUARD_NAME " {\n");
    fprintf(f, "chain out {\ntype filter hook output priority 0; policy drop;\noifname \"lo\" accept\n");
    accepts(f, w, device);
    fprintf(f, "meta skuid %u ct mark set 0x%x accept\nct mark 0x%x accept\n", w->worker, MARK, MARK);
    fprintf(f, "udp sport 68 udp dport 67 accept\nudp sport 546 udp dport 547 accept\n");
    fprintf(f, "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept\ncounter drop\n}\n");
    fprintf(f, "chain forward {\ntype filter hook forward priority 0; policy drop;\niifname %s accept\n", device);
    accepts(f, w, device);
    fprintf(f, "counter drop\n}\n}\n");
}

static int run(struct nft *n, const char *text, char why[256])
{
    const char *said;

    if (nft_run_cmd_from_buffer(n->ctx, text) == 0)
        return 0;
    said = nft_ctx_get_error_buffer(n->ctx);
    snprintf(why, 256, "nft: %.200s", said ? said : "failed");
    why[strcspn(why, "\n")] = 0;
    return -EOPNOTSUPP;
}

int nft_apply(struct nft *n, const struct nft_want *w, char why[256])
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int r;

    if (!f)
        return -ENOMEM;
    if (w->dns_port)
        redirect(f, w);
    if (w->strict)
        guard(f, w);
    fclose(f);
    r = len ? run(n, text, why) : 0;
    free(text);
    return r;
}

unsigned nft_remove_ours(void)
{
    static const char *const names[] = { TABLE_NAME, GUARD_NAME };
    struct nft *n = nft_open();
    char line[64], why[256];
    unsigned gone = 0;

    if (!n)
        return 0;
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof(line), "delete table inet %s", names[i]);
        gone += run(n, line, why) == 0;
    }
    nft_close(n);
    return gone;
}
