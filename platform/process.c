/*
 * process.c - whose socket is it? A socket's user and inode, and the program that holds it
 *
 *   worker      addresses ─► sock_diag ─► user id, inode            anybody may ask that, and the kernel answers at once
 *                                             │ MSG_OWNER
 *   supervisor                                └──► /proc/PID/fd/N -> "socket:[INODE]" ─► PID, /proc/PID/exe        only root may look there
 *                                                                                          │
 *   worker      plat_owner_ask ... done() ◄── MSG_OWNER_IS ────────────────────────────────┘
 *
 * Reading the descriptors of every process takes milliseconds, and one program makes many connections in a row: the last few owners are
 * looked at first, then the processes of the socket's user, then the rest. A search ends after SCAN_MS, and searches take at most a fifth
 * of the supervisor's time: the machine is more important than a rule.
 *
 * The supervisor keeps only the numbers of the last owners. A question of the worker that is not answered in time is answered with "not
 * found".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/sys.h"

#define SCAN_MS   100
#define DEBT_MS   200 /* beyond it nobody is searched for */
#define EARN      4   /* ms after which one ms of search is forgotten */
#define ASK_MS    1000
#define ASKED_MAX 64

/* ---- worker: the socket ---- */

struct diag_answer {
    uid_t uid;
    uint64_t inode;
};

static int on_socket(const struct nlmsghdr *h, void *arg)
{
    struct diag_answer *a = arg;
    const struct inet_diag_msg *m = mnl_nlmsg_get_payload(h);

    if (mnl_nlmsg_get_payload_len(h) >= sizeof(*m)) {
        a->uid = m->idiag_uid;
        a->inode = m->idiag_inode;
    }
    return MNL_CB_STOP;
}

static void put_end(__be32 addr[4], __be16 *port, const struct endpoint *e)
{
    memcpy(addr, e->ip.b, addr_len(&e->ip));
    *port = htons(e->port);
}

static size_t put_request(char *buf, bool udp, const struct endpoint *local, const struct endpoint *remote)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
    struct inet_diag_req_v2 *r;

    h->nlmsg_type = SOCK_DIAG_BY_FAMILY;
    h->nlmsg_flags = NLM_F_REQUEST;
    r = mnl_nlmsg_put_extra_header(h, sizeof(*r));
    r->sdiag_family = local->ip.ver == 4 ? AF_INET : AF_INET6;
    r->sdiag_protocol = udp ? IPPROTO_UDP : IPPROTO_TCP;
    r->idiag_states = ~0u;
    r->id.idiag_cookie[0] = r->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    put_end(r->id.idiag_src, &r->id.idiag_sport, udp ? remote : local); /* the kernel wants UDP the other way round */
    put_end(r->id.idiag_dst, &r->id.idiag_dport, udp ? local : remote);
    return h->nlmsg_len;
}

static int ask_kernel(struct mnl_socket *s, bool udp, const struct endpoint *local, const struct endpoint *remote, struct diag_answer *a)
{
    char buf[8192];
    ssize_t n;

    memset(buf, 0, 256);
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 || mnl_socket_sendto(s, buf, put_request(buf, udp, local, remote)) < 0 ||
        (n = mnl_socket_recvfrom(s, buf, sizeof(buf))) < 0)
        return -errno;
    return mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(s), on_socket, a) < 0 ? -errno : 0;
}

int plat_socket(bool udp, const struct endpoint *local, const struct endpoint *remote, uid_t *uid, uint64_t *inode)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
    struct diag_answer a = { 0 };
    int r;

    if (!s)
        return -errno;
    r = local->ip.ver == remote->ip.ver ? ask_kernel(s, udp, local, remote, &a) : -EINVAL;
    mnl_socket_close(s);
    if (r < 0 || !a.inode) /* a connection that is over has no inode */
        return r < 0 ? r : -ENOENT;
    *uid = a.uid;
    *inode = a.inode;
    return 0;
}

/* ---- worker: the question ---- */

static void answered(struct plat_owner *o)
{
    struct plat_worker *w = o->worker;

    if (!w)
        return;
    list_del(&o->node);
    timer_cancel(&o->late);
    o->worker = NULL;
    w->n_owners--;
    loop_defer(w->io.loop, &o->job);
}

static void on_late(struct timer *t)
{
    answered(container_of(t, struct plat_owner, late));
}

static void tell_asker(struct job *j)
{
    struct plat_owner *o = container_of(j, struct plat_owner, job);
    struct plat_program p = { o->pid, o->path };
    char *path = o->path;

    o->path = NULL;
    o->done(o, path ? &p : NULL);
    free(path);
}

int plat_owner_ask(struct plat_worker *w, struct plat_owner *o, uid_t uid, uint64_t inode)
{
    struct msg m = ipc_msg(MSG_OWNER);
    int r;

    if (w->n_owners >= ASKED_MAX)
        return -EBUSY;
    m.owner = (struct msg_owner){ .id = ++w->last_owner, .uid = uid, .inode = inode };
    if ((r = ipc_send(w->io.fd, &m, NULL, 0)) < 0)
        return r;
    o->worker = w;
    o->id = w->last_owner;
    o->path = NULL;
    o->job = (struct job){ .cb = tell_asker };
    o->late = (struct timer){ .cb = on_late };
    list_append(&w->owners, &o->node);
    w->n_owners++;
    timer_set(w->io.loop, &o->late, ASK_MS);
    return 0;
}

void plat_owner_cancel(struct plat_owner *o)
{
    answered(o);
    job_cancel(&o->job);
    free(o->path);
    o->path = NULL;
}

void owner_is(struct plat_worker *w, const struct msg *m)
{
    list_each_safe (n, tmp, &w->owners) {
        struct plat_owner *o = container_of(n, struct plat_owner, node);

        if (o->id != m->owner_is.id)
            continue;
        o->pid = m->owner_is.pid;
        if (m->owner_is.pid && memchr(m->owner_is.path, 0, sizeof(m->owner_is.path)))
            o->path = strdup(m->owner_is.path);
        answered(o);
        return;
    }
}

/* ---- supervisor: the program ---- */

/* Does this process hold the socket? */
static bool holds(int proc, pid_t pid, const char *socket)
{
    char path[32], to[64];
    struct dirent *e;
    bool found = false;
    int fd;
    DIR *d;

    snprintf(path, sizeof(path), "%d/fd", pid);
    if ((fd = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return false;
    if (!(d = fdopendir(fd))) {
        close(fd);
        return false;
    }
    while (!found && (e = readdir(d))) {
        ssize_t n = readlinkat(fd, e->d_name, to, sizeof(to) - 1);

        if (n > 0) {
            to[n] = 0;
            found = !strcmp(to, socket);
        }
    }
    closedir(d);
    return found;
}

static pid_t recent(const struct owners *o, int proc, const char *socket)
{
    for (int i = 0; i < OWNERS_MAX; i++)
        if (o->pid[i] && holds(proc, o->pid[i], socket))
            return o->pid[i];
    return 0;
}

static pid_t search(DIR *procs, uid_t uid, const char *socket)
{
    uint64_t until = loop_clock() + SCAN_MS;

    for (int others = 0; others < 2; others++) {
        struct dirent *e;

        rewinddir(procs);
        while ((e = readdir(procs)) && loop_clock() < until) {
            struct stat st;

            if (*e->d_name < '1' || *e->d_name > '9' || fstatat(dirfd(procs), e->d_name, &st, 0) < 0 || (st.st_uid != uid) != others)
                continue;
            if (holds(dirfd(procs), atoi(e->d_name), socket))
                return atoi(e->d_name);
        }
    }
    return 0;
}

/* A search, if there is time for one. */
static pid_t search_within_budget(struct owners *o, DIR *procs, uid_t uid, const char *socket)
{
    uint64_t now = loop_clock(), earned = (now - o->at_ms) / EARN;
    pid_t pid = 0;

    o->debt_ms -= earned < o->debt_ms ? earned : o->debt_ms;
    if (o->debt_ms < DEBT_MS)
        pid = search(procs, uid, socket);
    o->at_ms = loop_clock();
    o->debt_ms += o->at_ms - now;
    return pid;
}

static void remember(struct owners *o, pid_t pid)
{
    int at = 0;

    while (at < OWNERS_MAX - 1 && o->pid[at] != pid)
        at++;
    memmove(o->pid + 1, o->pid, (size_t)at * sizeof(*o->pid));
    o->pid[0] = pid;
}

/* The path of its program; one that was replaced meanwhile keeps its name. */
static bool program(int proc, pid_t pid, char path[OWNER_PATH])
{
    static const char gone[] = " (deleted)";
    char link[32];
    ssize_t n;

    snprintf(link, sizeof(link), "%d/exe", pid);
    n = readlinkat(proc, link, path, OWNER_PATH);
    if (n <= 0 || n == OWNER_PATH)
        return false;
    if ((size_t)n > sizeof(gone) && !memcmp(path + n - (sizeof(gone) - 1), gone, sizeof(gone) - 1))
        n -= (ssize_t)sizeof(gone) - 1;
    path[n] = 0;
    return true;
}

pid_t owner_find(struct owners *o, uid_t uid, uint64_t inode, char path[OWNER_PATH])
{
    char socket[40];
    DIR *procs = opendir("/proc");
    pid_t pid;

    *path = 0;
    if (!procs)
        return 0;
    snprintf(socket, sizeof(socket), "socket:[%llu]", (unsigned long long)inode);
    pid = recent(o, dirfd(procs), socket);
    if (!pid)
        pid = search_within_budget(o, procs, uid, socket);
    if (pid && program(dirfd(procs), pid, path))
        remember(o, pid);
    else
        pid = 0;
    closedir(procs);
    return pid;
}
