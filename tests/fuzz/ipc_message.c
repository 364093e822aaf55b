/*
 * ipc_message.c - what a worker that was taken over may say to the supervisor
 *
 * The messages go through a socket, as they do; what passes the check is used as the supervisor would: routes are collected, a wish becomes
 * a plan of rules and routes and the text of the nft tables. Only descriptors never come from here, so a message that brings one must be
 * refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/reader.h"
#include "platform/sys.h"
#include "tests/fuzz/fuzz.h"

#define ROUTES 64 /* of a wish, here */

static int pair[2];
static struct cidr in[ROUTES], ex[ROUTES];
static uint32_t n_in, n_ex;

static void must(bool good)
{
    if (!good)
        abort();
}

/* A line must not become two, nor a name end its quotes. */
static void look_at_text(const char *text, const struct msg_tun *t)
{
    char quoted[24] = "";
    unsigned quotes = 0;

    must(text);
    for (const char *c = text; *c; c++) {
        quotes += *c == '"';
        must((*c >= ' ' && *c <= '~') || *c == '\n');
    }
    must(quotes % 2 == 0);
    strcat(strcat(strcat(quoted, "\""), t->device), "\"");
    must(!t->strict_route || strstr(text, quoted));
}

static void use(const struct msg_tun *t, bool v6)
{
    struct plan_in wish = { .prio = t->rule_prio,
                            .table = t->table,
                            .device = t->device,
                            .v6 = v6 && t->addr6.ip.ver,
                            .kernel_v6 = v6,
                            .strict = t->strict_route,
                            .worker = 65017,
                            .addr4 = t->addr4,
                            .addr6 = t->addr6,
                            .fake4 = t->fake4,
                            .fake6 = t->fake6,
                            .include = in,
                            .exclude = ex,
                            .n_include = n_in,
                            .n_exclude = n_ex };
    struct nft_want want = { .worker = 65017,
                             .device = t->device,
                             .dns_port = t->dns_redirect ? 5353 : 0,
                             .dns_v6 = v6,
                             .refuse_v6 = v6 && !t->ipv6,
                             .refuse_own = t->auto_route,
                             .strict = t->strict_route,
                             .fake4 = t->fake4,
                             .fake6 = t->fake6,
                             .include = in,
                             .exclude = ex,
                             .n_include = n_in,
                             .n_exclude = n_ex };
    struct plan p;
    char *text;

    must(plan_make(&wish, &p) == 0);
    must(p.n_rules > 0 && p.n_rules <= PLAN_RULES_MAX && p.n_routes <= 2 * (n_in + n_ex + 4));
    for (int i = 0; i < p.n_rules; i++)
        must(p.rules[i].prio >= t->rule_prio && p.rules[i].prio <= t->rule_prio + RULES_SPAN &&
             memchr(p.rules[i].iif, 0, sizeof(p.rules[i].iif)));
    plan_fini(&p);
    look_at_text(text = nft_text(&want, TABLE_NAME, GUARD_NAME), t);
    free(text);
}

static void take(const struct msg *m)
{
    must(m->type >= MSG_TUN && m->type <= MSG_LAST_OF_WORKER);
    if (m->type == MSG_ROUTE) {
        if (m->route.exclude && n_ex < ROUTES)
            ex[n_ex++] = m->route.net;
        else if (!m->route.exclude && n_in < ROUTES)
            in[n_in++] = m->route.net;
    } else if (m->type == MSG_TUN) {
        use(&m->tun, true);
        use(&m->tun, false);
        n_in = n_ex = 0;
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    return 0;
}

/* First byte: how many bytes short of a message the last one is; with its highest bit a descriptor comes along. Then messages: how many
 * bytes of them follow (2 bytes), and those; the rest is zero. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r = rd_from(data, size);
    uint8_t head = rd_u8(&r);
    size_t cut = head & 127u;

    n_in = n_ex = 0;
    while (rd_left(&r) && rd_ok(&r)) {
        struct span s = rd_span(&r, rd_be16(&r) % (sizeof(struct msg) + 1));
        struct msg m = { 0 };

        if (s.len)
            memcpy(&m, s.p, s.len);
        if (head & 128) {
            must(ipc_send(pair[0], &m, (int[]){ 0 }, 1) == 0);
            must(ipc_recv(pair[1], &m, NULL, NULL) == -EBADMSG);
        } else if (cut && !rd_left(&r)) {
            must(send(pair[0], &m, sizeof(m) - cut, 0) >= 0);
            must(ipc_recv(pair[1], &m, NULL, NULL) == -EBADMSG);
        } else {
            must(ipc_send(pair[0], &m, NULL, 0) == 0);
            must(ipc_recv(pair[1], &m, NULL, NULL) == 0);
            if (!ipc_check(&m))
                take(&m);
        }
    }
    return 0;
}
