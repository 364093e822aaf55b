/*
 * nft.c - the DNS redirect and the guard, switched in one transaction (libnftables)
 *
 *   table inet shunt         belongs to our handle: it vanishes with the supervisor, however that ends
 *       port 53 of everybody but the worker     -> the resolver's own port on loopback
 *       IPv6 on its way into a device that does not carry it -> refused at once
 *       the worker's own packets on their way into the device -> refused at once
 *   table inet shunt_guard   strict mode only, belongs to nobody: what is not accepted does not leave, whoever dies
 *       output, forward: accept-list, then drop
 *
 * The guard judges a destination as plan.c does: fake ranges never leave, what is excluded (or not included) may, all else only the worker sends.
 * The connection mark lets a closed socket of the worker send the rest of its data (by then it has no owner any more) and lets the answers of forwarded
 * connections through.
 *
 * What the worker sends is decided as if the device were not there (plan.c), but others may have a route into it, or one whose gateway the kernel
 * finds behind it; without the refusal one connection would come back as the next, until all flows are taken (seen: 4,096 in a second).
 *
 * Every change replaces both tables: "add, delete, add" in one batch, which the kernel takes or refuses as a whole. Refusal of a TCP connection is a reset, because an
 * ICMP error that arrives while connect() still holds the socket is kept back until the first retransmission, a second later (seen).
 */
#include <errno.h>
#include <linux/netlink.h>
#include <malloc.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/sys.h"

#define MARK 0x53485554 /* connection mark of what the guard lets out: "SHUT" */

struct nft {
    struct nft_ctx *ctx;
};

/* The library ends the process where the kernel lacks its sockets. */
static bool kernel_has_nft(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

struct nft *nft_open(void)
{
    struct nft *n = kernel_has_nft() ? calloc(1, sizeof(*n)) : NULL;

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

/* ---- the commands ---- */

static void replace(FILE *f, const char *table, const char *flags)
{
    fprintf(f, "add table inet %s%s\ndelete table inet %s\n", table, flags, table);
}

static void redirect(FILE *f, const struct nft_want *w, const char *table)
{
    const char *only4 = w->dns_v6 ? "" : "meta nfproto ipv4 ";

    fprintf(f, "add chain inet %s dns { type nat hook output priority -100; }\n", table);
    fprintf(f, "add rule inet %s dns %smeta skuid != %u udp dport 53 redirect to :%u\n", table, only4, w->worker, w->dns_port);
    fprintf(f, "add rule inet %s dns %smeta skuid != %u tcp dport 53 redirect to :%u\n", table, only4, w->worker, w->dns_port);
}

static void refuse_v6(FILE *f, const struct nft_want *w, const char *table)
{
    static const char *const hooks[] = { "output", "forward" };

    for (int i = 0; i < 2; i++) {
        fprintf(f, "add chain inet %s v6_%s { type filter hook %s priority 0; }\n", table, hooks[i], hooks[i]);
        fprintf(f, "add rule inet %s v6_%s oifname \"%s\" meta nfproto ipv6 meta l4proto tcp reject with tcp reset\n", table, hooks[i], w->device);
        fprintf(f, "add rule inet %s v6_%s oifname \"%s\" meta nfproto ipv6 reject with icmpv6 type no-route\n", table, hooks[i], w->device);
    }
}

static void refuse_own(FILE *f, const struct nft_want *w, const char *table)
{
    fprintf(f, "add chain inet %s own { type filter hook output priority 0; }\n", table);
    fprintf(f, "add rule inet %s own oifname \"%s\" meta skuid %u meta l4proto tcp reject with tcp reset\n", table, w->device, w->worker);
    fprintf(f, "add rule inet %s own oifname \"%s\" meta skuid %u reject\n", table, w->device, w->worker);
}

static bool has_family(const struct cidr *v, uint32_t n, int ver)
{
    for (uint32_t i = 0; i < n; i++)
        if (v[i].ip.ver == ver)
            return true;
    return false;
}

static void set(FILE *f, const char *table, const char *name, const struct cidr *v, uint32_t n, int ver)
{
    const char *sep = "";

    fprintf(f, "add set inet %s %s%d { type ipv%d_addr; flags interval; auto-merge; elements = { ", table, name, ver, ver);
    for (uint32_t i = 0; i < n; i++) {
        char a[ADDR_STRLEN];

        if (v[i].ip.ver != ver)
            continue;
        fprintf(f, "%s%s/%u", sep, addr_str(&v[i].ip, a), v[i].len);
        sep = ", ";
    }
    fprintf(f, " } }\n");
}

/* Chain "judge": comes here what goes to an uplink and is not the worker's. */
static void judge(FILE *f, const struct nft_want *w, const char *table, int ver)
{
    const struct cidr *fake = ver == 4 ? &w->fake4 : &w->fake6;
    const char *ip = ver == 4 ? "ip" : "ip6", *proto = ver == 4 ? "ipv4" : "ipv6";
    char rule[64], a[ADDR_STRLEN];

    snprintf(rule, sizeof(rule), "add rule inet %.32s judge", table);
    if (fake->ip.ver)
        fprintf(f, "%s %s daddr %s/%u counter drop\n", rule, ip, addr_str(&fake->ip, a), fake->len);
    if (has_family(w->exclude, w->n_exclude, ver)) {
        set(f, table, "excluded", w->exclude, w->n_exclude, ver);
        fprintf(f, "%s %s daddr @excluded%d ct mark set 0x%x accept\n", rule, ip, ver, MARK);
    }
    if (!w->n_include)
        return;
    if (has_family(w->include, w->n_include, ver)) {
        set(f, table, "included", w->include, w->n_include, ver);
        fprintf(f, "%s %s daddr != @included%d ct mark set 0x%x accept\n", rule, ip, ver, MARK);
    } else {
        fprintf(f, "%s meta nfproto %s ct mark set 0x%x accept\n", rule, proto, MARK);
    }
}

static void guard(FILE *f, const struct nft_want *w, const char *table)
{
    char out[64], fwd[64];

    snprintf(out, sizeof(out), "add rule inet %.32s out", table);
    snprintf(fwd, sizeof(fwd), "add rule inet %.32s forwarded", table);
    fprintf(f, "add table inet %s\nadd chain inet %s judge\n", table, table);
    judge(f, w, table, 4);
    judge(f, w, table, 6);
    fprintf(f, "add rule inet %s judge counter drop\n", table);

    fprintf(f, "add chain inet %s out { type filter hook output priority 0; policy drop; }\n", table);
    fprintf(f, "%s oifname { \"lo\", \"%s\" } accept\n", out, w->device);
    fprintf(f, "%s meta skuid %u ct mark set 0x%x accept\n%s ct mark 0x%x accept\n", out, w->worker, MARK, out, MARK);
    fprintf(f, "%s udp sport 68 udp dport 67 accept\n%s udp sport 546 udp dport 547 accept\n", out, out); /* the uplink's lease */
    fprintf(f, "%s icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept\n", out);
    fprintf(f, "%s jump judge\n", out);

    fprintf(f, "add chain inet %s forwarded { type filter hook forward priority 0; policy drop; }\n", table);
    fprintf(f, "%s oifname \"%s\" accept\n%s iifname \"%s\" accept\n%s ct mark 0x%x accept\n%s jump judge\n", fwd, w->device, fwd, w->device, fwd, MARK, fwd);
}

char *nft_text(const struct nft_want *w, const char *table, const char *guard_table)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    replace(f, table, " { flags owner; }");
    if (w->dns_port || w->refuse_v6 || w->refuse_own)
        fprintf(f, "add table inet %s { flags owner; }\n", table);
    if (w->dns_port)
        redirect(f, w, table);
    if (w->refuse_v6)
        refuse_v6(f, w, table);
    if (w->refuse_own)
        refuse_own(f, w, table);
    replace(f, guard_table, "");
    if (w->strict)
        guard(f, w, guard_table);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

/* ---- running them ---- */

static int run(struct nft *n, const char *text, char *why)
{
    const char *said;
    int r = nft_run_cmd_from_buffer(n->ctx, text);

    malloc_trim(0); /* parsing a few lines takes the library megabytes, for a moment */
    if (r == 0)
        return 0;
    said = nft_ctx_get_error_buffer(n->ctx);
    snprintf(why, WHY_MAX, "nft: %.200s", said && *said ? said : "failed");
    why[strcspn(why, "\n")] = 0;
    return -EOPNOTSUPP;
}

int nft_apply(struct nft *n, const struct nft_want *w, char *why)
{
    char *text = nft_text(w, TABLE_NAME, GUARD_NAME);
    int r = text ? run(n, text, why) : -ENOMEM;

    free(text);
    return r;
}

int nft_probe(struct nft *n, const struct nft_want *w, char *why)
{
    char *text = nft_text(w, "shunt_probe", "shunt_probe_guard"), *all = NULL;
    int r = -ENOMEM;

    if (text && asprintf(&all, "%sadd table inet shunt_probe { flags owner; }\ndelete table inet shunt_probe\nadd table inet shunt_probe_guard\ndelete table inet shunt_probe_guard\n",
                         text) >= 0)
        r = run(n, all, why);
    free(text);
    free(all);
    return r;
}

static bool run_once(const char *verb, const char *table)
{
    struct nft *n = nft_open();
    char line[80], why[WHY_MAX];
    bool good = false;

    if (n) {
        snprintf(line, sizeof(line), "%s table inet %.32s", verb, table);
        good = run(n, line, why) == 0;
    }
    nft_close(n);
    return good;
}

bool nft_has(const char *table)
{
    return run_once("list", table);
}

unsigned nft_remove(const char *table)
{
    return run_once("delete", table);
}
