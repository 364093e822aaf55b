/*
 * worker.c - the worker's side of the messages
 *
 * At the start, and inside on_reload, the worker asks and waits for the answer (ask); the supervisor answers in milliseconds. Else the socket is watched by the loop
 * and brings two things: the profile anew, or the order to stop. The end of the socket is that order, too: without the supervisor nothing of ours may go on, or our
 * copy of the descriptor would keep the device alive.
 *
 * Only one such answer is ever under way, and before it the supervisor sends nothing but MSG_STOP and answers that nobody waits for: about sockets (process.c), and
 * sockets that were asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "platform/sys.h"

#define ANSWER_MS 10000

static void close_all(int *fds, int n)
{
    while (n)
        close(fds[--n]);
}

static int wait_until(int fd, short what, uint64_t until)
{
    struct pollfd p = { .fd = fd, .events = what };
    uint64_t now = loop_clock();

    if (now >= until)
        return -ETIMEDOUT;
    return poll(&p, 1, (int)(until - now)) < 0 && errno != EINTR ? -errno : 0;
}

static int send_patiently(int sock, const struct msg *m)
{
    uint64_t until = loop_clock() + ANSWER_MS;
    int r;

    while ((r = ipc_send(sock, m, NULL, 0)) == -EAGAIN)
        if ((r = wait_until(sock, POLLOUT, until)) < 0)
            break;
    return r;
}

static int recv_patiently(int sock, struct msg *m, int fds[MSG_FDS], int *n)
{
    uint64_t until = loop_clock() + ANSWER_MS;
    int r;

    while ((r = wait_until(sock, POLLIN, until)) == 0)
        if ((r = ipc_recv(sock, m, fds, n)) != -EAGAIN)
            break;
    return r;
}

static void unread(struct plat_worker *w, const struct msg *m)
{
    char why[WHY_MAX];

    snprintf(why, sizeof(why), "%.*s", WHY_MAX - 1, m->failed.why);
    if (w->on_unread)
        w->on_unread(w, why);
}

/* An answer that nobody waits for: it goes to whom it is for, with its descriptors. */
static bool in_passing(struct plat_worker *w, const struct msg *m, int *fds, int n)
{
    if (m->type == MSG_LISTENING) {
        int r = n ? fds[--n] : m->listen.err < 0 ? m->listen.err : -EPROTO;

        if (w->on_listening)
            w->on_listening(w, &m->listen.at, m->listen.udp, r);
        else if (r >= 0)
            close(r);
    } else if (m->type == MSG_OWNER_IS) {
        owner_is(w, m);
    } else if (m->type == MSG_UNREAD) {
        unread(w, m);
    } else {
        return false;
    }
    close_all(fds, n);
    return true;
}

/* Sends m and waits for the answer of type want; its descriptors, if any, are the caller's. */
static int ask(struct plat_worker *w, struct msg *m, enum msg_type want, int fds[MSG_FDS], int *n, char *why)
{
    int r;

    *why = 0;
    if ((r = send_patiently(w->io.fd, m)) == 0)
        while ((r = recv_patiently(w->io.fd, m, fds, n)) == 0 && in_passing(w, m, fds, *n))
            *n = 0;
    if (r < 0) {
        snprintf(why, WHY_MAX, "the supervisor does not answer: %s", err_str(r));
        return r;
    }
    if (m->type == want)
        return 0;
    close_all(fds, *n);
    *n = 0;
    if (m->type == MSG_FAILED) {
        m->failed.why[sizeof(m->failed.why) - 1] = 0;
        snprintf(why, WHY_MAX, "%s", m->failed.why);
        return m->failed.err < 0 ? m->failed.err : -EPROTO;
    }
    w->told_stop = m->type == MSG_STOP;
    snprintf(why, WHY_MAX, w->told_stop ? "shunt is being stopped" : "the supervisor gave an unexpected answer");
    return w->told_stop ? -ECANCELED : -EPROTO;
}

static int send_routes(struct plat_worker *w, const struct cidr *v, uint32_t n, bool exclude)
{
    int r = 0;

    for (uint32_t i = 0; i < n && r == 0; i++) {
        struct msg m = ipc_msg(MSG_ROUTE);

        m.route.net = v[i];
        m.route.exclude = exclude;
        r = send_patiently(w->io.fd, &m);
    }
    return r;
}

static struct msg wish(const struct plat_tun *t)
{
    struct msg m = ipc_msg(MSG_TUN);

    memcpy(m.tun.device, t->device, sizeof(m.tun.device));
    m.tun.mtu = t->mtu;
    m.tun.table = t->table;
    m.tun.rule_prio = t->rule_prio;
    m.tun.n_include = t->n_include;
    m.tun.n_exclude = t->n_exclude;
    m.tun.addr4 = t->addr4;
    m.tun.addr6 = t->addr6;
    m.tun.fake4 = t->fake4;
    m.tun.fake6 = t->fake6;
    m.tun.auto_route = t->auto_route;
    m.tun.strict_route = t->strict_route;
    m.tun.ipv6 = t->ipv6;
    m.tun.dns_redirect = t->dns_redirect;
    return m;
}

static void unpack(struct plat_tun_got *got, const struct msg_ok *ok, const int *fds, int n)
{
    int all[MSG_FDS], next = 0;

    for (int i = 0; i < MSG_FDS; i++)
        all[i] = ok->has_fd[i] && next < n ? fds[next++] : -1;
    *got = (struct plat_tun_got){
        .tun_fd = all[0],
        .vnet_hdr = ok->vnet_hdr,
        .csum = ok->csum,
        .tso = ok->tso,
        .uso = ok->uso,
        .dns_udp = { all[1], all[2] },
        .dns_tcp = { all[3], all[4] },
        .dns_port = ok->dns_port,
        .dns_redirect = ok->dns_redirect,
        .table = ok->table,
        .rule_prio = ok->rule_prio,
    };
    memcpy(got->device, ok->device, sizeof(got->device));
}

int plat_worker_tun(struct plat_worker *w, const struct plat_tun *want, struct plat_tun_got *got, char why[256])
{
    struct msg m = wish(want);
    int fds[MSG_FDS], n = 0, r;

    if ((r = send_routes(w, want->include, want->n_include, false)) < 0 || (r = send_routes(w, want->exclude, want->n_exclude, true)) < 0) {
        snprintf(why, WHY_MAX, "the supervisor cannot be reached: %s", err_str(r));
        return r;
    }
    if ((r = ask(w, &m, MSG_TUN_OK, fds, &n, why)) < 0)
        return r;
    unpack(got, &m.ok, fds, n);
    return 0;
}

int plat_worker_ready(struct plat_worker *w, char why[256])
{
    struct msg m = ipc_msg(MSG_READY);
    int fds[MSG_FDS], n = 0, r = ask(w, &m, MSG_READY_OK, fds, &n, why);

    w->took_profile = r == 0;
    if (r < 0)
        return r;
    w->born_ms = m.ready_ok.born_ms;
    w->mode = m.ready_ok.mode.kept ? m.ready_ok.mode.mode : -1;
    return 0;
}

int plat_worker_listen(struct plat_worker *w, const struct endpoint *at, bool udp)
{
    struct msg m = ipc_msg(MSG_LISTEN);

    m.listen.at = *at;
    m.listen.udp = udp;
    return send_patiently(w->io.fd, &m);
}

int plat_worker_probe(struct plat_worker *w, uint64_t token)
{
    struct msg m = ipc_msg(MSG_PROBE);

    m.probe.token = token;
    return ipc_send(w->io.fd, &m, NULL, 0);
}

const char *plat_probe_name(uint64_t token, char buf[PLAT_PROBE_NAME])
{
    snprintf(buf, PLAT_PROBE_NAME, "probe-%016llx.shunt.test", (unsigned long long)token);
    return buf;
}

static void stop(struct plat_worker *w)
{
    io_want(&w->io, 0);
    if (w->on_stop)
        w->on_stop(w);
}

static void reload(struct plat_worker *w, int profile, int local)
{
    struct msg kept = ipc_msg(MSG_KEPT);

    w->took_profile = false;
    if (w->on_reload)
        w->on_reload(w, profile, local);
    else
        close_all((int[]){ profile, local }, 2);
    if (!w->took_profile)
        send_patiently(w->io.fd, &kept);
}

int plat_worker_again(struct plat_worker *w)
{
    struct msg m = ipc_msg(MSG_AGAIN);

    return send_patiently(w->io.fd, &m);
}

int plat_worker_mode(struct plat_worker *w, int mode)
{
    struct msg m = ipc_msg(MSG_MODE);

    m.mode = (struct msg_mode){ 1, (uint8_t)mode };
    return send_patiently(w->io.fd, &m);
}

static void on_message(struct io *io, uint32_t ready)
{
    struct plat_worker *w = container_of(io, struct plat_worker, io);
    struct msg m;
    int fds[MSG_FDS], n = 0, r = ipc_recv(io->fd, &m, fds, &n);

    if (r == -EAGAIN)
        return;
    if (r == 0 && m.type == MSG_RELOAD && n == 2)
        reload(w, fds[0], fds[1]);
    else if (r < 0 || !in_passing(w, &m, fds, n))
        close_all(fds, n);
    if (r < 0 || m.type == MSG_STOP || w->told_stop)
        stop(w);
}

int plat_worker_watch(struct plat_worker *w, struct loop *l)
{
    int fd = w->io.fd, flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    w->io.cb = on_message;
    return io_watch(l, &w->io, fd, IO_READ);
}
