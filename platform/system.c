/*
 * system.c - what shunt changes in the system: built once, switched on reload, taken back at the end
 *
 *   sys_open    what an earlier shunt left is taken back, a new journal begun
 *   sys_prepare device with addresses, sockets of the resolver; is the rest possible, and under which numbers     nobody's traffic is touched yet
 *   sys_switch  routes, policy rules, redirect, guard: from what is in force to what is asked for
 *   sys_close   all of it taken back
 *
 * Order of a switch: guard, routes, rules ... rules, routes, guard. Strict mode has its guard before the first route and keeps it until the last is gone.
 *
 * A guard that a killed strict shunt left behind stays until this one has its own, so that a restart lets nothing out; a start that fails leaves it, too.
 *
 * A struct sys owns its descriptors, the nft handle, the plan in force and the request it came from.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

#include "platform/sys.h"

#define PORT_TRIES 64
#define PRIO_MAX 32000 /* the kernel's own rules begin at 32766 */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void warn(const char *what, int err)
{
    fprintf(stderr, "shunt: %s: %s\n", what, strerror(-err));
}

void request_fini(struct request *r)
{
    free(r->routes);
    memset(r, 0, sizeof(*r));
}

static const struct cidr *excluded(const struct request *r)
{
    return r->routes ? r->routes + r->tun.n_include : NULL;
}

/* ---- sockets of the resolver ---- */

static int dns_socket(int family, int type, uint16_t port)
{
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, room = 1 << 20, r;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)); /* queries wait here while a worker is replaced */
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, family == AF_INET ? (void *)&a4 : (void *)&a6, family == AF_INET ? sizeof(a4) : sizeof(a6)) == 0 &&
        (type == SOCK_DGRAM || listen(fd, 128) == 0))
        return fd;
    r = -errno;
    close(fd);
    return r;
}

int sys_listen(struct sys *y, const struct endpoint *at, bool udp)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(at, &ss);
    int fd, one = 1, r;

    setfsuid(y->worker); /* routing and nft take it for the worker's own */
    fd = socket(ss.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    r = fd < 0 ? -errno : 0;
    if (r == 0 && !udp)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (r == 0 && at->ip.ver == 6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (r == 0 && (bind(fd, (struct sockaddr *)&ss, len) < 0 || (!udp && listen(fd, 64) < 0)))
        r = -errno;
    setfsuid(geteuid());
    if (r == 0)
        return fd;
    close_fd(&fd);
    return r;
}

/* All four on one port that was free for the first. -EADDRINUSE: try again. */
static int dns_sockets_once(struct sys *y)
{
    struct sockaddr_in sa = { 0 };
    socklen_t len = sizeof(sa);
    int r;

    if ((r = y->dns[0] = dns_socket(AF_INET, SOCK_DGRAM, 0)) < 0)
        return r;
    if (getsockname(y->dns[0], (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    y->dns_port = ntohs(sa.sin_port);
    if ((r = y->dns[2] = dns_socket(AF_INET, SOCK_STREAM, y->dns_port)) < 0)
        return r;
    y->dns[1] = dns_socket(AF_INET6, SOCK_DGRAM, y->dns_port);
    y->dns[3] = dns_socket(AF_INET6, SOCK_STREAM, y->dns_port);
    if (y->dns[1] == -EADDRINUSE || y->dns[3] == -EADDRINUSE)
        return -EADDRINUSE;
    if (y->dns[1] < 0 || y->dns[3] < 0) { /* no ::1 here */
        close_fd(&y->dns[1]);
        close_fd(&y->dns[3]);
    }
    return 0;
}

/* Made under the worker's id: routing and nft take them for the worker's own. */
static void open_dns_sockets(struct sys *y)
{
    int r = -EADDRINUSE;

    setfsuid(y->worker);
    for (int attempt = 0; attempt < PORT_TRIES && r == -EADDRINUSE; attempt++) {
        for (int i = 0; i < 4; i++)
            close_fd(&y->dns[i]);
        r = dns_sockets_once(y);
    }
    setfsuid(geteuid());
    if (r == 0)
        return;
    for (int i = 0; i < 4; i++)
        close_fd(&y->dns[i]);
    y->dns_port = 0;
    warn("no socket for the resolver on loopback, so DNS is answered on the device only", r);
}

/* ---- the device ---- */

/* New devices may come with IPv6 off (conf.default); this one is ours. */
static void allow_v6(const char *device)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%.15s/disable_ipv6", device);
    if ((fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
        return;
    if (write(fd, "0", 1) != 1)
        warn(path, -errno);
    close(fd);
}

static int set_up_device(struct sys *y, const struct msg_tun *t, char *why)
{
    struct nl *n = nl_open();
    int r = n ? nl_device_up(n, y->tun.index, t->mtu) : -ENOMEM, r6;

    if (r < 0)
        snprintf(why, WHY_MAX, "%s cannot be set up with MTU %u: %s", y->tun.name, t->mtu, strerror(-r));
    if (!r && (r = nl_address(n, y->tun.index, &t->addr4)) < 0)
        snprintf(why, WHY_MAX, "%s gets no address: %s", y->tun.name, strerror(-r));
    if (!r && y->kernel_v6)
        allow_v6(y->tun.name);
    if (!r && y->kernel_v6 && t->addr6.ip.ver) {
        r6 = nl_address(n, y->tun.index, &t->addr6);
        y->v6 = r6 == 0;
        if (r6 < 0)
            warn("the device gets no IPv6 address, so IPv6 is refused instead of carried", r6);
    }
    nl_close(n);
    return r;
}

static void note(struct sys *y, const struct undo_entry *e, int n)
{
    int r = undo_note(y->journal, e, n);

    if (r < 0) /* what we do is also found without a journal */
        warn("the journal of changes cannot be written", r);
}

static int build(struct sys *y, const struct request *r, char *why)
{
    struct undo_entry e = { .kind = UNDO_DEVICE };
    int err;

    if ((err = tundev_name(r->tun.device, e.name, why)) < 0)
        return err;
    note(y, &e, 1);
    if ((err = tundev_open(&y->tun, e.name, why)) < 0)
        return err;
    if ((err = set_up_device(y, &r->tun, why)) < 0) {
        close_fd(&y->tun.fd);
        return err;
    }
    open_dns_sockets(y);
    return 0;
}

static void unbuild(struct sys *y)
{
    close_fd(&y->tun.fd);
    for (int i = 0; i < 4; i++)
        close_fd(&y->dns[i]);
}

/* ---- nft ---- */

static struct nft_want nft_want(const struct sys *y, const struct request *r)
{
    struct nft_want nothing = { .device = y->tun.name };

    if (!r->tun.auto_route)
        return nothing; /* the machine's traffic is left alone, and so is its DNS */
    return (struct nft_want){
        .worker = y->worker,
        .device = y->tun.name,
        .dns_port = r->tun.dns_redirect ? y->dns_port : 0,
        .dns_v6 = y->dns[1] >= 0,
        .refuse_v6 = y->kernel_v6 && !y->v6 && !r->tun.strict_route,
        .refuse_own = true,
        .strict = r->tun.strict_route,
        .fake4 = r->tun.fake4,
        .fake6 = r->tun.fake6,
        .include = r->routes,
        .n_include = r->tun.n_include,
        .exclude = excluded(r),
        .n_exclude = r->tun.n_exclude,
    };
}

/* Will nft do what r needs? An error only where strict mode depends on it. */
static int try_nft(struct sys *y, const struct request *r, char *why)
{
    struct nft_want w = nft_want(y, r);

    if (!y->nft)
        y->nft = nft_open();
    if (!y->nft)
        snprintf(why, WHY_MAX, "this kernel has no nf_tables");
    y->nft_works = y->nft && nft_probe(y->nft, &w, why) == 0;
    if (y->nft_works)
        return 0;
    if (w.strict)
        return -EOPNOTSUPP;
    fprintf(stderr, "shunt: DNS is not redirected: only queries that pass the device are answered (%s)\n", why);
    return 0;
}

static int switch_nft(struct sys *y, const struct request *r, char *why)
{
    struct nft_want w = nft_want(y, r);
    int err = y->nft && y->nft_works ? nft_apply(y->nft, &w, why) : 0;

    return w.strict ? err : 0;
}

/* ---- routes and rules ---- */

/* The profile's numbers, or the next that nobody else uses; what was chosen once for the same wish is kept. */
static int choose_numbers(struct sys *y, const struct msg_tun *t, char *why)
{
    struct numbers *at = &y->chosen;
    struct nl *n;

    *at = y->at;
    if (y->installed && t->rule_prio == y->now.tun.rule_prio && t->table == y->now.tun.table)
        return 0;
    if (!(n = nl_open()))
        return -ENOMEM;
    *at = (struct numbers){ t->rule_prio, t->table };
    while (at->prio <= PRIO_MAX && nl_rules_taken(n, at->prio, at->prio + RULES_SPAN))
        at->prio += 2 * RULES_SPAN;
    while (nl_table_taken(n, at->table) || (at->table >= 253 && at->table <= 255))
        at->table++;
    nl_close(n);
    if (at->prio > PRIO_MAX) {
        snprintf(why, WHY_MAX, "no %d free rule priorities in a row from %u on", RULES_SPAN + 1, t->rule_prio);
        return -EBUSY;
    }
    if (at->prio != t->rule_prio || at->table != t->table)
        fprintf(stderr, "shunt: rule priorities from %u on and routing table %u are used: others have what the profile names\n", at->prio, at->table);
    return 0;
}

static int make_plan(const struct sys *y, const struct request *r, struct plan *out)
{
    struct plan_in in = {
        .prio = y->chosen.prio,
        .table = y->chosen.table,
        .device = y->tun.name,
        .v6 = y->v6,
        .kernel_v6 = y->kernel_v6,
        .strict = r->tun.strict_route,
        .worker = y->worker,
        .addr4 = r->tun.addr4,
        .addr6 = r->tun.addr6,
        .fake4 = r->tun.fake4,
        .fake6 = r->tun.fake6,
        .include = r->routes,
        .n_include = r->tun.n_include,
        .exclude = excluded(r),
        .n_exclude = r->tun.n_exclude,
    };

    memset(out, 0, sizeof(*out));
    return r->tun.auto_route ? plan_make(&in, out) : 0;
}

static void note_changes(struct sys *y)
{
    struct numbers at = y->chosen;
    struct undo_entry e[] = {
        { .kind = UNDO_RULES, .from = at.prio, .to = at.prio + RULES_SPAN },
        { .kind = UNDO_TABLE, .from = at.table },
        { .kind = UNDO_NFT, .name = TABLE_NAME },
        { .kind = UNDO_NFT, .name = GUARD_NAME },
    };

    note(y, e, sizeof(e) / sizeof(e[0]));
}

/* Everybody who is to ask us is told, from the device's second address on. */
static void switch_osdns(struct sys *y)
{
    const struct msg_tun *t = &y->now.tun;
    struct osdns_want w = { .link = y->tun.index, .server = t->addr4.ip, .redirected = y->nft_works && y->dns_port };
    struct undo_entry e = { .kind = UNDO_RESOLVCONF, .name = RESOLVCONF_NAME };

    if (!t->dns_redirect || !t->auto_route) {
        osdns_end(&y->osdns);
        return;
    }
    w.server.b[3]++;
    if (!w.redirected)
        note(y, &e, 1);
    osdns_begin(&y->osdns, &w);
}

static int switch_all(struct sys *y, struct nl *n, const struct request *r, const struct plan *plan, char *why)
{
    bool strict = r->tun.auto_route && r->tun.strict_route;
    int err = strict ? switch_nft(y, r, why) : 0;
    char ignored[WHY_MAX];

    if (!err && (err = route_switch(n, y->tun.index, &y->plan, plan, why)) < 0 && strict)
        switch_nft(y, &y->now, ignored);
    if (!err && !strict)
        err = switch_nft(y, r, why);
    return err;
}

int sys_switch(struct sys *y, struct request *r, char *why)
{
    struct nl *n = nl_open();
    struct plan plan = { 0 };
    int err = n ? make_plan(y, r, &plan) : -ENOMEM;

    if (!err && r->tun.auto_route)
        note_changes(y);
    err = err ? err : switch_all(y, n, r, &plan, why);
    nl_close(n);
    if (err < 0) {
        plan_fini(&plan);
        return err;
    }
    plan_fini(&y->plan);
    request_fini(&y->now);
    y->plan = plan;
    y->now = *r;
    y->at = y->chosen;
    y->installed = true;
    y->old_guard = false;
    memset(r, 0, sizeof(*r));
    switch_osdns(y);
    return 0;
}

/* The key of the profile that cannot change while the device lives, or NULL. */
static const char *needs_restart(const struct sys *y, const struct msg_tun *t)
{
    const struct msg_tun *old = &y->now.tun;

    if (y->tun.fd < 0)
        return "tun.enable";
    if (*t->device && strcmp(t->device, y->tun.name) != 0)
        return "tun.device";
    if (t->mtu != old->mtu)
        return "tun.mtu";
    if (t->addr4.len != old->addr4.len || !addr_eq(&t->addr4.ip, &old->addr4.ip))
        return "dns.fake-ip-range";
    if (t->addr6.len != old->addr6.len || !addr_eq(&t->addr6.ip, &old->addr6.ip))
        return "ipv6 or tun.inet6-address";
    return NULL;
}

int sys_prepare(struct sys *y, const struct request *r, bool running, char *why)
{
    const char *key = running ? needs_restart(y, &r->tun) : NULL;
    bool built = y->tun.fd >= 0;
    int err;

    if (key) {
        snprintf(why, WHY_MAX, "%s cannot change while shunt runs: restart it", key);
        return -ECANCELED;
    }
    if (!built && (err = build(y, r, why)) < 0)
        return err;
    if ((err = try_nft(y, r, why)) == 0 && (err = choose_numbers(y, &r->tun, why)) == 0)
        return 0;
    if (!built)
        unbuild(y);
    return err;
}

/* ---- beginning and end ---- */

void sys_open(struct sys *y, const char *state_dir, uid_t worker)
{
    *y = (struct sys){ .state_dir = state_dir, .worker = worker, .tun.fd = -1, .dns = { -1, -1, -1, -1 } };
    osdns_init(&y->osdns, "");
    y->kernel_v6 = access("/proc/net/if_inet6", F_OK) == 0;
    y->old_guard = nft_has(GUARD_NAME);
    undo_all(state_dir, true, false);
    if ((y->journal = undo_open(state_dir)) < 0)
        warn("the journal of changes cannot be opened", y->journal);
}

void sys_close(struct sys *y)
{
    nft_close(y->nft); /* the redirect first: what is asked from now on is not answered with fake addresses */
    osdns_end(&y->osdns);
    undo_all(y->state_dir, y->old_guard, false);
    close_fd(&y->journal);
    unbuild(y);
    request_fini(&y->now);
    plan_fini(&y->plan);
    if (y->old_guard)
        fprintf(stderr, "shunt: the guard of an earlier run in strict mode still blocks this machine; `shunt cleanup` opens it\n");
}
