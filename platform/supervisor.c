/*
 * supervisor.c - the privileged process
 *
 *   open profile ─► locks ─► undo leftovers ─► start worker ◄───────────────┐
 *                                                  │ MSG_TUN                 │ died: again, with back-off;
 *                                                  ▼                         │ device, sockets, routes stay
 *                             device, addresses, DNS sockets                 │
 *                                                  │ MSG_READY               │
 *                                                  ▼                         │
 *                             rules, routes, redirect, guard ─► "ready" ─────┘
 *                                                  │ SIGTERM, or the worker gave up
 *                                                  ▼
 *                             stop worker ─► take everything back ─► leave
 *
 * It reads no foreign bytes: the profile is copied, not parsed; messages of the worker are fixed-size and accepted only in the state that expects them.
 * What it builds is built once; a worker that was restarted is handed the same device and sockets, so nothing leaves in clear meanwhile and queries wait in
 * the kernel.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/err.h"
#include "core/log.h"
#include "platform/ipc.h"
#include "platform/sys.h"

#define PROFILE_MAX (64u << 20)
#define STOP_MS 2000
#define GOOD_MS 1000   /* a worker that was ready this long died by accident, not by design */
#define DEATHS_MAX 10
#define DEATHS_MS 60000

enum state {
    SUP_START,  /* a worker runs and has not asked for anything */
    SUP_ROUTES, /* MSG_TUN came, routes are coming */
    SUP_BUILT,  /* it has the device and is not ready yet */
    SUP_READY,  /* traffic is carried */
};

struct sup {
    const struct plat_run *run;
    uid_t uid;
    int lock, instance, profile, signals, sock, pidfd;
    pid_t worker;
    enum state state;
    bool first;        /* no worker was ever ready */
    bool built, installed, stopping;
    uint64_t born_ms, started_ms, ready_ms;
    unsigned deaths, delay_ms;
    uint64_t first_death_ms;
    int status;        /* exit status once we leave */

    struct msg want;
    struct cidr *routes; /* includes, then excludes */
    uint32_t n_routes;
    uint32_t expected, came; /* route messages of this worker */
    struct tundev tun;
    uint32_t mtu;
    int dns[4];        /* udp4, udp6, tcp4, tcp6 */
    uint16_t dns_port;
    uint32_t prio, table;
    struct nft *nft;
    bool redirected, kernel_v6;
};

static uint64_t now_ms(void)
{
    return loop_clock();
}

/* ---- before anything is changed ---- */

static int copy_profile(const char *name)
{
    bool in = !strcmp(name, "-");
    int from = in ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC), to;
    static char buf[65536];
    size_t total = 0;
    ssize_t n = 0;

    if (from < 0) {
        fprintf(stderr, "shunt: %s: %s\n", name, strerror(errno));
        return -1;
    }
    to = memfd_create("profile", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    while (to >= 0 && total <= PROFILE_MAX && (n = read(from, buf, sizeof(buf))) > 0) {
        if (write(to, buf, (size_t)n) != n)
            n = -1;
        total += (size_t)n;
        if (n < 0)
            break;
    }
    if (to < 0 || n < 0 || total > PROFILE_MAX) {
        fprintf(stderr, "shunt: %s: %s\n", name, total > PROFILE_MAX ? "larger than 64 MiB" : strerror(errno));
        if (to >= 0)
            close(to);
        to = -1;
    } else {
        fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK);
    }
    if (!in)
        close(from);
    return to;
}

static int instance_lock(void)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    static const char name[] = "\0shunt-run"; /* abstract names belong to the network namespace */
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(sa.sun_path, name, sizeof(name) - 1);
    if (s >= 0 && bind(s, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1)) == 0)
        return s;
    if (s >= 0)
        close(s);
    return -1;
}

static ino_t netns_of(const char *pid)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%.16s/ns/net", pid);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* A process of somebody else under the worker's id would bypass us. Its pid, or 0. */
static int foreign_process(uid_t uid)
{
    DIR *d = opendir("/proc");
    ino_t ours = netns_of("self");
    struct dirent *e;
    int found = 0;

    while (d && !found && (e = readdir(d))) {
        struct stat st;
        char path[64];

        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        snprintf(path, sizeof(path), "/proc/%.16s", e->d_name);
        if (stat(path, &st) == 0 && st.st_uid == uid && netns_of(e->d_name) == ours)
            found = atoi(e->d_name);
    }
    if (d)
        closedir(d);
    return found;
}

int plat_state_dir(const char *dir)
{
    char path[PATH_MAX];
    uid_t uid = plat_worker_uid();
    struct stat st;
    int r = 0;

    if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    for (char *p = path + 1;; p++) {
        char c = *p;

        if (c && c != '/')
            continue;
        *p = 0;
        if (mkdir(path, c ? 0755 : 0700) < 0 && errno != EEXIST)
            r = -errno;
        *p = c;
        if (!c || r < 0)
            break;
    }
    if (r < 0 || stat(dir, &st) < 0 || chown(dir, uid, uid) < 0 || chmod(dir, 0700) < 0) {
        r = r ? r : -errno;
        fprintf(stderr, "shunt: state directory %s: %s\n", dir, strerror(-r));
        return r;
    }
    snprintf(path, sizeof(path), "%s/.", dir);
    setfsgid(uid);
    setfsuid(uid);
    r = stat(path, &st) < 0 ? -errno : 0; /* with the file rights of the worker */
    setfsuid(geteuid());
    setfsgid(getegid());
    if (r < 0)
        fprintf(stderr, "shunt: state directory %s cannot be reached by user id %u: its parents must be passable (chmod o+x), or choose another with -d\n",
                dir, uid);
    return r;
}

/* ---- the worker ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void exec_worker(struct sup *s, int sock)
{
    int null = open("/dev/null", O_RDONLY), profile;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(null, STDIN_FILENO);
    profile = fcntl(s->profile, F_DUPFD, 10);
    sock = fcntl(sock, F_DUPFD, 10);
    if (dup2(sock, 3) < 0 || dup2(profile, 4) < 0 || lseek(4, 0, SEEK_SET) < 0)
        _exit(1);
    close_range(5, ~0u, 0);
    execv("/proc/self/exe", s->run->worker_argv);
    _exit(1);
}

static int start_worker(struct sup *s)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    s->worker = fork();
    if (s->worker == 0)
        exec_worker(s, pair[1]);
    close(pair[1]);
    fcntl(pair[0], F_SETFL, O_NONBLOCK); /* a worker that does not read must not stop us */
    if (s->worker < 0) {
        close(pair[0]);
        return -errno;
    }
    s->sock = pair[0];
    s->pidfd = (int)syscall(SYS_pidfd_open, s->worker, 0);
    s->state = SUP_START;
    s->started_ms = now_ms();
    return 0;
}

static void fail(struct sup *s, const char *why)
{
    struct msg m = { .type = MSG_FAILED };

    snprintf(m.why, sizeof(m.why), "%s", why);
    ipc_send(s->sock, &m, NULL, 0);
}

/* ---- device, addresses, sockets ---- */

static int dns_socket(int family, int type, uint16_t port)
{
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, room = 1 << 20;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, family == AF_INET ? (void *)&a4 : (void *)&a6, family == AF_INET ? sizeof(a4) : sizeof(a6)) == 0 &&
        (type == SOCK_DGRAM || listen(fd, 128) == 0))
        return fd;
    close(fd);
    return -1;
}

/* UDP and TCP on 127.0.0.1 and ::1, one port for all. Made under the worker's id: routing and nft know them as its own. */
static bool open_dns_sockets(struct sup *s)
{
    setfsuid(s->uid);
    for (int attempt = 0; attempt < 32; attempt++) {
        struct sockaddr_in sa;
        socklen_t len = sizeof(sa);

        s->dns[0] = dns_socket(AF_INET, SOCK_DGRAM, 0);
        if (s->dns[0] < 0 || getsockname(s->dns[0], (struct sockaddr *)&sa, &len) < 0)
            break;
        s->dns_port = ntohs(sa.sin_port);
        s->dns[2] = dns_socket(AF_INET, SOCK_STREAM, s->dns_port);
        s->dns[1] = s->kernel_v6 ? dns_socket(AF_INET6, SOCK_DGRAM, s->dns_port) : -1;
        s->dns[3] = s->kernel_v6 ? dns_socket(AF_INET6, SOCK_STREAM, s->dns_port) : -1;
        if (s->dns[2] >= 0 && (s->dns[1] >= 0) == (s->dns[3] >= 0) && (s->dns[1] >= 0 || !s->kernel_v6 || attempt > 16)) {
            setfsuid(geteuid());
            return true;
        }
        for (int i = 0; i < 4; i++)
            close_fd(&s->dns[i]);
    }
    setfsuid(geteuid());
    s->dns_port = 0;
    return false;
}

static int set_up_link(struct sup *s, char why[256])
{
    struct nl *n = nl_open();
    int index = (int)if_nametoindex(s->tun.name), r = n ? 0 : -ENOMEM;

    if (!r && (r = nl_link_up(n, index, s->want.tun.mtu)) < 0)
        snprintf(why, 256, "%s: MTU %u: %s", s->tun.name, s->want.tun.mtu, strerror(-r));
    if (!r && (r = nl_address(n, index, &s->want.tun.addr4)) < 0)
        snprintf(why, 256, "%s: address: %s", s->tun.name, strerror(-r));
    if (!r && s->want.tun.addr6.ip.ver) {
        int r6 = s->kernel_v6 ? nl_address(n, index, &s->want.tun.addr6) : -EAFNOSUPPORT;

        if (r6 < 0) {
            fprintf(stderr, "shunt: the device gets no IPv6 address (%s): IPv6 is not carried\n", strerror(-r6));
            s->want.tun.addr6 = (struct cidr){ 0 };
        }
    }
    nl_close(n);
    return r;
}

static int build(struct sup *s, char why[256])
{
    int r;

    if ((r = tundev_open(&s->tun, s->want.tun.device, why)) < 0)
        return r;
    undo_note(s->run->state_dir, "device %s", s->tun.name);
    s->kernel_v6 = access("/proc/net/if_inet6", F_OK) == 0;
    if ((r = set_up_link(s, why)) < 0) {
        close_fd(&s->tun.fd);
        return r;
    }
    if (s->want.tun.dns_redirect && !open_dns_sockets(s))
        fprintf(stderr, "shunt: no port for the resolver on loopback: DNS is answered on the device only\n");
    s->mtu = s->want.tun.mtu;
    s->built = true;
    return 0;
}

static void hand_over(struct sup *s)
{
    struct msg m = { .type = MSG_TUN_OK };
    int all[MSG_FDS] = { s->tun.fd, s->dns[0], s->dns[1], s->dns[2], s->dns[3] }, fds[MSG_FDS], n = 0;

    memcpy(m.ok.device, s->tun.name, sizeof(m.ok.device));
    m.ok.vnet_hdr = s->tun.vnet_hdr;
    m.ok.csum = s->tun.csum;
    m.ok.tso = s->tun.tso;
    m.ok.uso = s->tun.uso;
    m.ok.dns_port = s->dns_port;
    m.ok.dns_redirect = s->want.tun.dns_redirect && s->dns_port;
    m.ok.table = s->table;
    m.ok.rule_prio = s->prio;
    for (int i = 0; i < MSG_FDS; i++) {
        m.ok.has_fd[i] = all[i] >= 0;
        if (all[i] >= 0)
            fds[n++] = all[i];
    }
    ipc_send(s->sock, &m, fds, n);
    s->state = SUP_BUILT;
}

/* ---- routes, rules, nft ---- */

static void choose_numbers(struct sup *s, struct nl *n)
{
    s->prio = s->want.tun.rule_prio;
    s->table = s->want.tun.table;
    while (nl_rules_taken(n, s->prio, s->prio + RULES_SPAN) && s->prio < 31000)
        s->prio += RULES_SPAN + 10;
    while (nl_table_taken(n, s->table))
        s->table++;
    if (s->prio != s->want.tun.rule_prio || s->table != s->want.tun.table)
        fprintf(stderr, "shunt: rule priority %u and table %u are used (the profile's were taken)\n", s->prio, s->table);
}

static int add_routes(struct sup *s, struct nl *n, int index)
{
    const struct cidr all4 = { .ip.ver = 4 }, all6 = { .ip.ver = 6 };
    bool v6 = s->want.tun.addr6.ip.ver, narrow = s->want.tun.n_include;
    int r = 0;

    if (s->want.tun.strict_route && !narrow) {
        r = nl_route(n, s->table, &all4, ROUTE_UNREACHABLE, 0, UINT32_MAX);
        if (!r && s->kernel_v6)
            r = nl_route(n, s->table, &all6, ROUTE_UNREACHABLE, 0, UINT32_MAX);
    }
    for (uint32_t i = 0; i < s->n_routes && !r; i++) {
        const struct cidr *c = &s->routes[i];

        if (c->ip.ver == 4 || v6) /* an excluded one is thrown back: the next rule, and so the system's own tables, decide */
            r = nl_route(n, s->table, c, i < s->want.tun.n_include ? ROUTE_DEV : ROUTE_THROW, index, 0);
    }
    if (!r && !narrow)
        r = nl_route(n, s->table, &all4, ROUTE_DEV, index, 0);
    if (!r && !narrow && v6)
        r = nl_route(n, s->table, &all6, ROUTE_DEV, index, 0);
    if (!r && s->want.tun.fake4.ip.ver)
        r = nl_route(n, s->table, &s->want.tun.fake4, ROUTE_DEV, index, 0);
    if (!r && s->want.tun.fake6.ip.ver && v6)
        r = nl_route(n, s->table, &s->want.tun.fake6, ROUTE_DEV, index, 0);
    return r;
}

static int add_rules(struct sup *s, struct nl *n)
{
    struct plan p = {
        .prio = s->prio,
        .table = s->table,
        .device = s->tun.name,
        .v4 = true,
        .v6 = s->want.tun.addr6.ip.ver,
        .kernel_v6 = s->kernel_v6,
        .strict = s->want.tun.strict_route,
        .worker = s->uid,
        .addr4 = s->want.tun.addr4,
        .addr6 = s->want.tun.addr6,
    };
    struct ip_rule rules[PLAN_MAX];
    int count = plan_rules(&p, rules), r = 0;

    for (int i = count - 1; i >= 0 && !r; i--) /* the end first: a jump needs its target, and the capture must not start half */
        r = nl_rule(n, &rules[i]);
    return r;
}

static int install(struct sup *s, char why[256])
{
    struct nft_want w = {
        .worker = s->uid,
        .device = s->tun.name,
        .dns_port = s->want.tun.dns_redirect ? s->dns_port : 0,
        .dns_v6 = s->dns[1] >= 0,
        .strict = s->want.tun.auto_route && s->want.tun.strict_route,
        .n_exclude = s->n_routes - s->want.tun.n_include,
        .exclude = s->routes + s->want.tun.n_include,
    };
    struct nl *n;
    int r = 0;

    if (!s->want.tun.auto_route)
        return 0; /* the machine's traffic is left alone, so is its DNS */
    if (!(n = nl_open()))
        return -ENOMEM;
    choose_numbers(s, n);
    undo_note(s->run->state_dir, "rules %u..%u and table %u, protocol %d; nft tables %s, %s", s->prio, s->prio + RULES_SPAN, s->table,
              OUR_PROTOCOL, TABLE_NAME, GUARD_NAME);
    if (w.dns_port || w.strict) {
        if (!(s->nft = nft_open()))
            r = -ENOMEM;
        else if ((r = nft_apply(s->nft, &w, why)) < 0 && !w.strict) {
            fprintf(stderr, "shunt: the DNS redirect is not possible (%s): queries to servers outside the LAN are answered, others are not seen\n", why);
            r = 0;
        }
    }
    if (!r && (r = add_routes(s, n, (int)if_nametoindex(s->tun.name))) < 0)
        snprintf(why, 256, "routes: %s", strerror(-r));
    if (!r && (r = add_rules(s, n)) < 0)
        snprintf(why, 256, "policy rules: %s", strerror(-r));
    nl_close(n);
    s->installed = r == 0;
    return r;
}

static void take_back(struct sup *s)
{
    nft_close(s->nft);
    s->nft = NULL;
    undo_all(s->run->state_dir, false);
    close_fd(&s->tun.fd);
    for (int i = 0; i < 4; i++)
        close_fd(&s->dns[i]);
}

/* ---- messages ---- */

static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET"); /* sd_notify(3) */
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;

    if (!path || strlen(path) >= sizeof(sa.sun_path) || (*path != '/' && *path != '@'))
        return;
    memcpy(sa.sun_path, path, strlen(path));
    if (*path == '@')
        sa.sun_path[0] = 0;
    if ((fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
    close(fd);
}

static void on_tun_complete(struct sup *s)
{
    char why[256] = "";

    if (!s->built && build(s, why) < 0)
        fail(s, why);
    else
        hand_over(s);
}

static void on_tun(struct sup *s, const struct msg *m)
{
    const char *wrong = ipc_check_tun(m);

    if (wrong) {
        fail(s, wrong);
        return;
    }
    s->expected = m->tun.n_include + m->tun.n_exclude;
    s->came = 0;
    s->state = SUP_ROUTES;
    if (!s->built) { /* else a restarted worker: what is built stays as it is */
        s->want = *m;
        free(s->routes);
        s->n_routes = 0;
        if (!(s->routes = calloc(s->expected + 1, sizeof(*s->routes)))) {
            fail(s, "out of memory");
            return;
        }
        s->n_routes = s->expected;
    }
    if (!s->expected)
        on_tun_complete(s);
}

static void on_route(struct sup *s, const struct msg *m)
{
    if (!m->route.net.ip.ver || !ipc_check_cidr(&m->route.net)) {
        fail(s, "a route is out of bounds");
        return;
    }
    if (!s->built)
        s->routes[s->came] = m->route.net;
    if (++s->came == s->expected)
        on_tun_complete(s);
}

static void on_ready(struct sup *s)
{
    struct msg m = { .type = MSG_READY_OK };
    char why[256] = "";

    if (!s->installed && s->first && install(s, why) < 0) {
        fail(s, why);
        return;
    }
    s->state = SUP_READY;
    s->ready_ms = now_ms();
    ipc_send(s->sock, &m, NULL, 0);
    if (s->first) {
        fprintf(stderr, "shunt: ready in %llu ms, device %s\n", (unsigned long long)(now_ms() - s->born_ms), s->tun.name);
        notify("READY=1");
    } else {
        fprintf(stderr, "shunt: worker is back\n");
    }
    s->first = false;
}

static void on_message(struct sup *s)
{
    struct msg m;
    int fds[MSG_FDS], n = 0, r = ipc_recv(s->sock, &m, fds, &n);

    while (n)
        close(fds[--n]); /* nobody may give us descriptors */
    if (r == -EAGAIN)
        return;
    if (r < 0) {
        close_fd(&s->sock);
        return;
    }
    if (m.type == MSG_TUN && s->state == SUP_START)
        on_tun(s, &m);
    else if (m.type == MSG_ROUTE && s->state == SUP_ROUTES && s->came < s->expected)
        on_route(s, &m);
    else if (m.type == MSG_READY && s->state == SUP_BUILT)
        on_ready(s);
    else
        fail(s, "this message is not expected now");
}

/* ---- signals, deaths ---- */

static void stop(struct sup *s, int status)
{
    struct msg m = { .type = MSG_STOP };

    if (s->stopping) { /* told twice: at once */
        if (s->worker > 0)
            kill(s->worker, SIGKILL);
        return;
    }
    s->stopping = true;
    s->status = status;
    notify("STOPPING=1");
    if (s->sock >= 0)
        ipc_send(s->sock, &m, NULL, 0);
    s->delay_ms = STOP_MS;
    s->started_ms = now_ms();
}

static void reload(struct sup *s)
{
    struct msg m = { .type = MSG_RELOAD };
    int fd;

    if (!strcmp(s->run->profile, "-")) {
        fprintf(stderr, "shunt: a profile from standard input cannot be read again\n");
        return;
    }
    if ((fd = copy_profile(s->run->profile)) < 0) {
        fprintf(stderr, "shunt: the old profile stays in use\n");
        return;
    }
    if (s->state == SUP_READY && s->sock >= 0)
        ipc_send(s->sock, &m, &fd, 1);
    close_fd(&s->profile); /* a worker that starts later reads the new one */
    s->profile = fd;
}

static void on_signal(struct sup *s)
{
    struct signalfd_siginfo si;

    if (read(s->signals, &si, sizeof(si)) != sizeof(si))
        return;
    if (si.ssi_signo == SIGHUP)
        reload(s);
    else if (si.ssi_signo != SIGCHLD)
        stop(s, 0);
}

static void on_death(struct sup *s)
{
    bool good = s->state == SUP_READY && now_ms() - s->ready_ms >= GOOD_MS;
    int st = 0;

    if (waitpid(s->worker, &st, 0) < 0)
        return;
    s->worker = 0;
    close_fd(&s->sock);
    close_fd(&s->pidfd);
    if (s->stopping)
        return;
    if (s->first && WIFEXITED(st)) { /* it said why on stderr */
        s->stopping = true;
        s->status = WEXITSTATUS(st) ? WEXITSTATUS(st) : 1;
        return;
    }
    if (WIFSIGNALED(st))
        fprintf(stderr, "shunt: the worker was killed by signal %d (%s)\n", WTERMSIG(st), strsignal(WTERMSIG(st)));
    else
        fprintf(stderr, "shunt: the worker ended with status %d\n", WEXITSTATUS(st));
    if (good) {
        s->deaths = 0;
        s->delay_ms = 0;
    } else {
        if (!s->deaths++)
            s->first_death_ms = now_ms();
        s->delay_ms = s->delay_ms ? s->delay_ms * 2 : 100;
        if (s->delay_ms > 5000)
            s->delay_ms = 5000;
    }
    if (now_ms() - s->first_death_ms > DEATHS_MS && s->deaths)
        s->deaths = 1, s->first_death_ms = now_ms();
    if (s->deaths >= DEATHS_MAX && !s->want.tun.strict_route) {
        fprintf(stderr, "shunt: the worker died %u times in a minute: giving up, everything is taken back\n", s->deaths);
        s->stopping = true;
        s->status = 1;
        return;
    }
    if (s->deaths == DEATHS_MAX)
        fprintf(stderr, "shunt: the worker died %u times in a minute: strict mode keeps everything blocked; trying every 5 s\n", s->deaths);
    s->started_ms = now_ms();
}

/* How long to sleep: for a pending start, or the end of a stop's patience. */
static int timeout(const struct sup *s)
{
    uint64_t due = s->started_ms + s->delay_ms, now = now_ms();

    if (s->stopping ? !s->worker : s->worker > 0)
        return s->stopping ? 0 : -1;
    return due > now ? (int)(due - now) : 0;
}

static void run(struct sup *s)
{
    while (!(s->stopping && s->worker <= 0)) {
        struct pollfd p[3] = { { s->signals, POLLIN, 0 }, { s->sock, POLLIN, 0 }, { s->pidfd, POLLIN, 0 } };
        int wait = timeout(s), n = poll(p, 3, wait);

        if (n < 0 && errno != EINTR)
            return;
        if (n == 0 && s->stopping && s->worker > 0)
            kill(s->worker, SIGKILL);
        if (n == 0 && !s->stopping && s->worker <= 0 && start_worker(s) < 0)
            s->started_ms = now_ms(), s->delay_ms = 1000;
        if (n > 0 && p[0].revents)
            on_signal(s);
        if (n > 0 && p[1].revents && s->sock >= 0)
            on_message(s);
        if (n > 0 && p[2].revents && s->pidfd >= 0)
            on_death(s);
    }
}

static int say(int status, const char *text)
{
    fprintf(stderr, "shunt: %s\n", text);
    return status;
}

static int lock_all(struct sup *s)
{
    int other;

    if ((s->instance = instance_lock()) < 0)
        return say(1, "another shunt is already running here (in this network namespace)");
    if ((s->lock = open(s->run->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 || flock(s->lock, LOCK_EX | LOCK_NB) < 0)
        return say(1, "another shunt already uses this state directory; choose another with -d");
    if ((other = foreign_process(s->uid))) {
        fprintf(stderr, "shunt: process %d runs under user id %u, which must be ours alone: its traffic would bypass us. End it, or add a system user \"shunt\"\n",
                other, s->uid);
        return 1;
    }
    return 0;
}

static int signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

int plat_supervise(const struct plat_run *r)
{
    struct sup s = { .run = r, .uid = plat_worker_uid(), .lock = -1, .instance = -1, .profile = -1, .signals = -1, .sock = -1, .pidfd = -1,
                     .first = true, .born_ms = now_ms(), .tun.fd = -1, .dns = { -1, -1, -1, -1 } };
    struct rlimit files = { 1 << 20, 1 << 20 };

    if (geteuid() != 0)
        return say(4, "`run` needs root: it makes a TUN device and routes (try sudo)");
    if ((s.profile = copy_profile(r->profile)) < 0)
        return 1;
    if (access("/dev/net/tun", F_OK) < 0)
        return say(1, "/dev/net/tun is not there: load the tun module, or let the container have the device");
    if (plat_state_dir(r->state_dir) < 0)
        return 1;
    if (!(s.status = lock_all(&s))) {
        s.signals = signals();
        if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
            getrlimit(RLIMIT_NOFILE, &files);
            files.rlim_cur = files.rlim_max;
            setrlimit(RLIMIT_NOFILE, &files);
        }
        undo_all(r->state_dir, false);
        if (start_worker(&s) < 0)
            s.status = say(1, "the worker cannot be started");
        else
            run(&s);
        take_back(&s);
    }
    free(s.routes);
    close_fd(&s.profile);
    close_fd(&s.lock);
    close_fd(&s.instance);
    close_fd(&s.signals);
    close_fd(&s.sock);
    close_fd(&s.pidfd);
    return s.status;
}

int plat_cleanup(const char *state_dir)
{
    int instance;
    unsigned n;

    if (geteuid() != 0)
        return say(4, "`cleanup` needs root (try sudo)");
    if ((instance = instance_lock()) < 0) {
        printf("a shunt is running here: nothing to clean up (stop it with SIGTERM)\n");
        return 0;
    }
    n = undo_all(state_dir, true);
    printf(n ? "the machine is as it was\n" : "nothing was left behind\n");
    close(instance);
    return 0;
}
