/*
 * sandbox.c - the worker gives up every privilege, and its side of the messages
 *
 * Order matters: the id goes before the first thread and the first socket (a socket remembers the id it was made under, and routing knows our
 * traffic by that id); the parent-death signal is set after it (a change of id clears it).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/err.h"
#include "core/log.h"
#include "platform/ipc.h"

#define SOCK_FD 3
#define ANSWER_MS 10000

uid_t plat_worker_uid(void)
{
    struct passwd *p = getpwnam("shunt");

    return p ? p->pw_uid : 65017;
}

int plat_worker_init(struct plat_worker *w)
{
    struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[2] = { 0 };
    uid_t uid = plat_worker_uid();

    memset(w, 0, sizeof(*w));
    w->io.fd = SOCK_FD;
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -errno;
    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    if (syscall(SYS_capset, &head, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return -errno;
    if (getppid() == 1 || fcntl(SOCK_FD, F_SETFD, FD_CLOEXEC) < 0) /* the supervisor died meanwhile */
        return -EPIPE;
    signal(SIGPIPE, SIG_IGN);
    return 0;
}

/* Waits for the one answer that fits. */
static int answer(struct plat_worker *w, enum msg_type want, struct msg *m, int fds[MSG_FDS], int *n, char why[256])
{
    struct timeval limit = { .tv_sec = ANSWER_MS / 1000 };
    int r;

    setsockopt(w->io.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if ((r = ipc_recv(w->io.fd, m, fds, n)) < 0) {
        snprintf(why, 256, "the supervisor does not answer: %s", err_str(r));
        return r;
    }
    if (m->type == want)
        return 0;
    while (*n)
        close(fds[--*n]);
    m->why[sizeof(m->why) - 1] = 0;
    snprintf(why, 256, "%s", m->type == MSG_FAILED ? m->why : "unexpected answer of the supervisor");
    return -ECANCELED;
}

static int send_routes(struct plat_worker *w, const struct cidr *v, uint32_t n, bool exclude)
{
    int r = 0;

    for (uint32_t i = 0; i < n && r == 0; i++) {
        struct msg m = { .type = MSG_ROUTE };

        m.route.net = v[i];
        m.route.exclude = exclude;
        r = ipc_send(w->io.fd, &m, NULL, 0);
    }
    return r;
}

int plat_worker_tun(struct plat_worker *w, const struct plat_tun *want, struct plat_tun_got *got, char why[256])
{
    struct msg m;
    int fds[MSG_FDS], n = 0, r, next = 0, all[MSG_FDS];

    memset(&m, 0, sizeof(m));
    m.type = MSG_TUN;
    memcpy(m.tun.device, want->device, sizeof(m.tun.device));
    m.tun.mtu = want->mtu;
    m.tun.table = want->table;
    m.tun.rule_prio = want->rule_prio;
    m.tun.n_include = want->n_include;
    m.tun.n_exclude = want->n_exclude;
    m.tun.addr4 = want->addr4;
    m.tun.addr6 = want->addr6;
    m.tun.fake4 = want->fake4;
    m.tun.fake6 = want->fake6;
    m.tun.auto_route = want->auto_route;
    m.tun.strict_route = want->strict_route;
    m.tun.ipv6 = want->ipv6;
    m.tun.dns_redirect = want->dns_redirect;
    *why = 0;
    if ((r = ipc_send(w->io.fd, &m, NULL, 0)) < 0 || (r = send_routes(w, want->include, want->n_include, false)) < 0 ||
        (r = send_routes(w, want->exclude, want->n_exclude, true)) < 0) {
        snprintf(why, 256, "the supervisor cannot be reached: %s", err_str(r));
        return r;
    }
    if ((r = answer(w, MSG_TUN_OK, &m, fds, &n, why)) < 0)
        return r;
    for (int i = 0; i < MSG_FDS; i++)
        all[i] = m.ok.has_fd[i] && next < n ? fds[next++] : -1;
    *got = (struct plat_tun_got){
        .tun_fd = all[0],
        .vnet_hdr = m.ok.vnet_hdr,
        .csum = m.ok.csum,
        .tso = m.ok.tso,
        .uso = m.ok.uso,
        .dns_udp = { all[1], all[2] },
        .dns_tcp = { all[3], all[4] },
        .dns_port = m.ok.dns_port,
        .dns_redirect = m.ok.dns_redirect,
        .table = m.ok.table,
        .rule_prio = m.ok.rule_prio,
    };
    memcpy(got->device, m.ok.device, sizeof(got->device));
    return 0;
}

int plat_worker_ready(struct plat_worker *w, char why[256])
{
    struct msg m = { .type = MSG_READY };
    int fds[MSG_FDS], n = 0, r;

    *why = 0;
    if ((r = ipc_send(w->io.fd, &m, NULL, 0)) < 0) {
        snprintf(why, 256, "the supervisor cannot be reached: %s", err_str(r));
        return r;
    }
    return answer(w, MSG_READY_OK, &m, fds, &n, why);
}

static void on_message(struct io *io, uint32_t ready)
{
    struct plat_worker *w = container_of(io, struct plat_worker, io);
    struct msg m;
    int fds[MSG_FDS], n = 0, r = ipc_recv(io->fd, &m, fds, &n);

    if (r == -EAGAIN)
        return;
    if (r < 0 || m.type == MSG_STOP) {
        io_want(io, 0);
        if (w->on_stop)
            w->on_stop(w);
        return;
    }
    if (m.type == MSG_RELOAD && n == 1 && w->on_reload) {
        w->on_reload(w, fds[0]);
        return;
    }
    while (n)
        close(fds[--n]);
}

int plat_worker_watch(struct plat_worker *w, struct loop *l)
{
    int fd = w->io.fd, flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    w->io.cb = on_message;
    return io_watch(l, &w->io, fd, IO_READ);
}

uint64_t plat_raise_nofile(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 1024;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    return r.rlim_cur;
}

uint64_t plat_rss(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long total, resident = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
