/*
 * supervisor.c - the privileged process
 *
 *   profile ─► rights, locks ─► take back leftovers ─► start worker ◄──────────┐
 *                                                           │ MSG_TUN          │ died: again, with back-off;
 *                                                           ▼                  │ device, sockets, routes stay
 *                                        device, addresses, DNS sockets        │
 *                                                           │ MSG_READY        │
 *                                                           ▼                  │
 *                                  routes, rules, redirect, guard ─► "ready" ──┘
 *                                                           │ SIGTERM, or the worker gave up
 *                                                           ▼
 *                                        stop worker ─► take everything back ─► leave
 *
 * It reads no foreign bytes: the profile is copied, not parsed, and what the worker says is fixed in size, checked field by field (ipc.c) and accepted only in the state
 * that expects it (table `expected`); a worker that speaks out of turn is killed.
 *
 * The device is built once. A worker that was restarted is handed the same device and sockets, so nothing leaves in clear meanwhile and queries wait in the kernel.
 * On SIGHUP the worker gets the profile anew; only then may it ask for other routes, and they are switched (system.c), not removed and added.
 *
 * Everything lives in one struct sup on the stack of plat_supervise().
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/sys.h"

#define STOP_MS 2000  /* a worker that was told to stop has this long */
#define GOOD_MS 1000  /* one that was ready this long died by accident, not by design */
#define AGAIN_MS 1000 /* when not even a process can be made */

enum state {
    SUP_DOWN,   /* no worker runs */
    SUP_START,  /* it runs and has not got its device */
    SUP_BUILT,  /* it has the device and is not ready yet */
    SUP_READY,  /* traffic is carried */
    SUP_RELOAD, /* it is reading the profile anew and may ask for other routes */
};

/* The profile and the local file, as sealed memory files; -1 = none. */
struct files {
    int profile, local;
};

struct sup {
    const struct plat_run *run;
    uid_t uid;
    int instance, lock, signals;
    uint64_t born_ms;
    int status; /* what we exit with */
    struct sys sys;

    /* the worker */
    pid_t worker; /* 0 = none */
    int sock, marks, pidfd;
    enum state state;
    uint64_t ready_ms;      /* when this worker became ready */
    uint64_t due_ms;        /* 0, or when to start a worker, or to kill one that was told to stop */
    struct backoff backoff;
    bool ever_ready, stopping;
    bool blocked;           /* given up, and the guard stands */

    struct files taken;   /* a new worker gets these */
    struct files offered; /* handed to the worker by SIGHUP, no answer yet */
    bool hangup;          /* SIGHUP came while no worker could be told */

    /* what the worker asks for; comes into force with MSG_READY */
    struct request next;
    uint32_t n_in, n_ex; /* routes that came */
    bool may_ask;        /* it counts: at the first start and after SIGHUP */
    bool asked;          /* it is complete */

    struct msg_mode mode; /* said last; means something to workers only */
    struct owners owners; /* of the sockets it asked about last */
};

/* ---- small things ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

__attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("shunt: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

/* One datagram of sd_notify(3). */
static void notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    size_t len = path ? strlen(path) : 0;
    int fd;

    if (!len || len >= sizeof(sa.sun_path) || (*path != '/' && *path != '@'))
        return;
    memcpy(sa.sun_path, path, len);
    if (*path == '@')
        sa.sun_path[0] = 0;
    if ((fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        return;
    sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    close(fd);
}

static void leave(struct sup *s, int status)
{
    s->stopping = true;
    s->status = status;
}

/* ---- the files ---- */

static void files_close(struct files *f)
{
    close_fd(&f->profile);
    close_fd(&f->local);
}

/* Reads both (anew); what came by standard input is there already. 0, or -errno with the reason printed. */
static int files_read(struct sup *s, struct files *f)
{
    bool again = s->taken.profile >= 0;

    f->local = -1;
    if (again && !strcmp(s->run->profile, "-"))
        f->profile = fcntl(s->taken.profile, F_DUPFD_CLOEXEC, 0);
    else
        f->profile = before_file(s->run->profile, again);
    if (f->profile < 0)
        return f->profile;
    if ((f->local = s->run->need_local ? before_file(s->run->local, again) : before_optional_file(s->run->local, again)) >= 0)
        return 0;
    close_fd(&f->profile);
    return f->local;
}

/* The new ones in place of the old. */
static void files_take(struct files *old, struct files *new)
{
    files_close(old);
    *old = *new;
    *new = (struct files){ -1, -1 };
}

/* ---- a worker begins ---- */

static void exec_worker(struct sup *s, int sock, int marks)
{
    int null = open("/dev/null", O_RDONLY), profile = fcntl(s->taken.profile, F_DUPFD, 10), local = fcntl(s->taken.local, F_DUPFD, 10);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    unsetenv("NOTIFY_SOCKET");
    sock = fcntl(sock, F_DUPFD, 10); /* out of the way of 3 to 6 */
    marks = fcntl(marks, F_DUPFD, 10);
    if (dup2(null, STDIN_FILENO) < 0 || dup2(sock, 3) < 0 || dup2(profile, 4) < 0 || dup2(local, 5) < 0 || dup2(marks, MARKS_FD) < 0 || lseek(4, 0, SEEK_SET) < 0 || lseek(5, 0, SEEK_SET) < 0)
        _exit(126);
    syscall(SYS_close_range, MARKS_FD + 1, ~0u, 0);
    execv("/proc/self/exe", s->run->worker_argv);
    say("the worker cannot be started: %s", strerror(errno));
    _exit(126);
}

static int start_worker(struct sup *s)
{
    int pair[2], marks[2], r = 0;
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, marks) < 0) {
        r = -errno;
        close(pair[0]);
        close(pair[1]);
        return r;
    }
    pid = fork();
    if (pid == 0)
        exec_worker(s, pair[1], marks[1]);
    if (pid < 0 || (s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
        r = -errno;
    close(pair[1]);
    close(marks[1]);
    if (r < 0) {
        close(pair[0]);
        close(marks[0]);
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
        return r;
    }
    fcntl(pair[0], F_SETFL, O_NONBLOCK); /* a worker that does not read must not stop us */
    s->worker = pid;
    s->sock = pair[0];
    s->marks = marks[0];
    s->state = SUP_START;
    s->due_ms = 0;
    return 0;
}

static void tell(struct sup *s, struct msg m, const int *fds, int n)
{
    int r = s->sock >= 0 ? ipc_send(s->sock, &m, fds, n) : -EPIPE;

    if (r < 0 && r != -EPIPE) /* else its death is about to be reported */
        say("the worker does not listen: %s", strerror(-r));
}

/* ---- what a worker says ---- */

static void forget_request(struct sup *s)
{
    request_fini(&s->next);
    s->n_in = s->n_ex = 0;
    s->asked = false;
}

static void refuse(struct sup *s, int err, const char *why)
{
    if (!s->ever_ready && (err == -EPERM || err == -EACCES))
        s->status = 4; /* the worker will leave now, and that is why */
    forget_request(s);
    tell(s, ipc_failed(err, *why ? why : strerror(-err)), NULL, 0);
}

/* A route of the request that MSG_TUN will complete. NULL, or what is wrong. */
static const char *on_route(struct sup *s, const struct msg *m)
{
    uint32_t *n = m->route.exclude ? &s->n_ex : &s->n_in;

    if (*n == PLAT_MAX_ROUTES)
        return "too many routes";
    if (!s->next.routes && !(s->next.routes = calloc((size_t)2 * PLAT_MAX_ROUTES, sizeof(struct cidr))))
        return "out of memory";
    s->next.routes[(m->route.exclude ? PLAT_MAX_ROUTES : 0) + (*n)++] = m->route.net;
    return NULL;
}

static void hand_over(struct sup *s, bool with_fds)
{
    const struct sys *y = &s->sys;
    const struct msg_tun *t = s->asked ? &s->next.tun : &y->now.tun;
    struct numbers at = s->asked ? y->chosen : y->at;
    int all[MSG_FDS] = { y->tun.fd, y->dns[0], y->dns[1], y->dns[2], y->dns[3] }, fds[MSG_FDS], n = 0;
    struct msg m = ipc_msg(MSG_TUN_OK);

    memcpy(m.ok.device, y->tun.name, sizeof(m.ok.device));
    m.ok.vnet_hdr = y->tun.vnet_hdr;
    m.ok.csum = y->tun.csum;
    m.ok.tso = y->tun.tso;
    m.ok.uso = y->tun.uso;
    m.ok.dns_port = y->dns_port;
    m.ok.dns_redirect = t->dns_redirect && t->auto_route && y->dns_port && y->nft_works;
    m.ok.table = at.table;
    m.ok.rule_prio = at.prio;
    for (int i = 0; i < MSG_FDS && with_fds; i++) {
        m.ok.has_fd[i] = all[i] >= 0;
        if (all[i] >= 0)
            fds[n++] = all[i];
    }
    tell(s, m, fds, n);
}

static const char *on_tun(struct sup *s, const struct msg *m)
{
    bool reload = s->state == SUP_RELOAD;
    char why[WHY_MAX] = "";
    int r;

    if (m->tun.n_include != s->n_in || m->tun.n_exclude != s->n_ex)
        return "its routes are not as many as it says";
    if (s->n_ex) /* the two lists become one */
        memmove(s->next.routes + s->n_in, s->next.routes + PLAT_MAX_ROUTES, s->n_ex * sizeof(struct cidr));
    s->next.tun = m->tun;
    if ((r = s->may_ask ? sys_prepare(&s->sys, &s->next, reload, why) : 0) < 0) {
        refuse(s, r, why);
        return NULL;
    }
    if (!(s->asked = s->may_ask)) /* a worker that was restarted: it gets what is there */
        forget_request(s);
    if (!reload)
        s->state = SUP_BUILT;
    hand_over(s, !reload);
    return NULL;
}

static void announce(struct sup *s)
{
    if (s->ever_ready) {
        say("the worker is back");
        return;
    }
    s->ever_ready = true;
    say("ready in %llu ms, %s%s", (unsigned long long)(loop_clock() - s->born_ms), s->sys.tun.fd >= 0 ? "device " : "no device", s->sys.tun.name);
    notify("READY=1");
}

static void on_hangup(struct sup *s);

static void answered_reload(struct sup *s)
{
    forget_request(s);
    s->may_ask = false;
    s->state = SUP_READY;
    if (s->hangup)
        on_hangup(s);
}

static const char *on_ready(struct sup *s, const struct msg *m)
{
    struct msg ok = ipc_msg(MSG_READY_OK);
    bool reload = s->state == SUP_RELOAD;
    char why[WHY_MAX] = "";
    int r = 0;

    if (s->state == SUP_START && s->sys.tun.fd >= 0)
        return "it is ready without the device";
    if (s->asked && (r = sys_switch(&s->sys, &s->next, why)) < 0) {
        refuse(s, r, why);
        return NULL;
    }
    if (reload) {
        files_take(&s->taken, &s->offered);
    } else {
        s->ready_ms = loop_clock();
        announce(s);
    }
    ok.ready_ok.born_ms = s->born_ms;
    ok.ready_ok.mode = s->mode;
    tell(s, ok, NULL, 0);
    answered_reload(s);
    return NULL;
}

/* It does not want the new profile. */
static const char *on_kept(struct sup *s, const struct msg *m)
{
    files_close(&s->offered);
    answered_reload(s);
    return NULL;
}

static const char *on_owner(struct sup *s, const struct msg *m)
{
    struct msg is = ipc_msg(MSG_OWNER_IS);

    is.owner_is.id = m->owner.id;
    is.owner_is.pid = owner_find(&s->owners, m->owner.uid, m->owner.inode, is.owner_is.path);
    tell(s, is, NULL, 0);
    return NULL;
}

static const char *on_listen(struct sup *s, const struct msg *m)
{
    struct msg is = ipc_msg(MSG_LISTENING);
    int fd = sys_listen(&s->sys, &m->listen.at, m->listen.udp);

    is.listen = m->listen;
    is.listen.err = fd < 0 ? fd : 0;
    tell(s, is, &fd, fd >= 0);
    close_fd(&fd);
    return NULL;
}

static const char *on_probe(struct sup *s, const struct msg *m)
{
    osdns_probe(&s->sys.osdns, m->probe.token);
    return NULL;
}

static const char *on_again(struct sup *s, const struct msg *m)
{
    on_hangup(s);
    return NULL;
}

static const char *on_mode(struct sup *s, const struct msg *m)
{
    s->mode = m->mode;
    return NULL;
}

static const struct expected {
    enum msg_type type;
    unsigned states;
    const char *(*on)(struct sup *s, const struct msg *m); /* NULL, or what is wrong */
} expected[] = {
    { MSG_ROUTE, 1u << SUP_START | 1u << SUP_RELOAD, on_route },
    { MSG_TUN, 1u << SUP_START | 1u << SUP_RELOAD, on_tun },
    { MSG_READY, 1u << SUP_START | 1u << SUP_BUILT | 1u << SUP_RELOAD, on_ready },
    { MSG_KEPT, 1u << SUP_RELOAD, on_kept },
    { MSG_OWNER, 1u << SUP_READY | 1u << SUP_RELOAD, on_owner },
    { MSG_LISTEN, 1u << SUP_START | 1u << SUP_BUILT | 1u << SUP_READY | 1u << SUP_RELOAD, on_listen },
    { MSG_PROBE, 1u << SUP_READY | 1u << SUP_RELOAD, on_probe },
    { MSG_AGAIN, 1u << SUP_READY | 1u << SUP_RELOAD, on_again },
    { MSG_MODE, 1u << SUP_READY | 1u << SUP_RELOAD, on_mode },
};

static const char *take(struct sup *s, const struct msg *m)
{
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        if (m->type == expected[i].type)
            return expected[i].states & 1u << s->state ? expected[i].on(s, m) : "it speaks out of turn";
    return "it says what no worker says";
}

/* It hung up: it is leaving. If it does not, it goes all the same. */
static void on_silence(struct sup *s)
{
    close_fd(&s->sock);
    if (!s->stopping)
        s->due_ms = loop_clock() + STOP_MS;
}

static void on_message(struct sup *s)
{
    struct msg m;
    int r = ipc_recv(s->sock, &m, NULL, NULL);
    const char *wrong = r < 0 ? "its messages are broken" : ipc_check(&m);

    if (r == -EAGAIN)
        return;
    if (r == -EPIPE) {
        on_silence(s);
        return;
    }
    if (r == 0 && wrong && m.type == MSG_TUN) { /* a wish that the profile could express: told, not punished */
        refuse(s, -EINVAL, wrong);
        return;
    }
    if (!wrong && !(wrong = take(s, &m)))
        return;
    say("the worker is killed: %s", wrong);
    kill(s->worker, SIGKILL);
    close_fd(&s->sock);
}

/* ---- signals ---- */

static void stop(struct sup *s)
{
    if (s->stopping) { /* told twice: at once */
        if (s->worker)
            kill(s->worker, SIGKILL);
        return;
    }
    leave(s, 0);
    notify("STOPPING=1");
    tell(s, ipc_msg(MSG_STOP), NULL, 0);
    s->due_ms = loop_clock() + STOP_MS;
}

/* The worker kept dying; these files may be the cure. */
static void try_again(struct sup *s, struct files *f)
{
    files_take(&s->taken, f);
    s->blocked = false;
    s->may_ask = true;
    s->backoff.n = 0;
    s->due_ms = loop_clock();
}

/* The reason was printed; who asked for it by the worker wants it, too. */
static void tell_unread(struct sup *s, int err)
{
    struct msg m = ipc_msg(MSG_UNREAD);

    snprintf(m.failed.why, sizeof(m.failed.why), "the profile or the local file cannot be read: %s", before_why(err));
    tell(s, m, NULL, 0);
}

/* SIGHUP, or the worker asks for it: the files are read again and offered to the worker, one offer at a time. */
static void on_hangup(struct sup *s)
{
    struct files f;
    int r;

    s->hangup = s->state != SUP_READY && !s->blocked;
    if (s->hangup)
        return; /* again when it is ready */
    if ((r = files_read(s, &f)) < 0) {
        say("the old profile stays in use");
        tell_unread(s, r);
        return;
    }
    if (!strcmp(s->run->profile, "-"))
        say("a profile from standard input cannot be read again: only the local file is");
    if (s->blocked) {
        try_again(s, &f);
        return;
    }
    s->offered = f;
    s->may_ask = true;
    s->state = SUP_RELOAD;
    lseek(f.profile, 0, SEEK_SET);
    lseek(f.local, 0, SEEK_SET);
    tell(s, ipc_msg(MSG_RELOAD), (int[]){ f.profile, f.local }, 2);
}

static void on_signal(struct sup *s)
{
    struct signalfd_siginfo si;

    if (read(s->signals, &si, sizeof(si)) != sizeof(si))
        return;
    if (si.ssi_signo == SIGHUP)
        on_hangup(s);
    else
        stop(s);
}

/* ---- a worker ends ---- */

static void give_up(struct sup *s)
{
    if (s->sys.installed && s->sys.now.tun.strict_route && s->sys.now.tun.auto_route) {
        say("the worker died %d times within a minute. Strict mode: everything stays blocked. Repair the profile and send SIGHUP, or SIGTERM to end", BACKOFF_DEATHS);
        s->blocked = true;
        return;
    }
    say("the worker died %d times within a minute: everything is taken back", BACKOFF_DEATHS);
    leave(s, 1);
}

static void describe(int st)
{
    if (WIFSIGNALED(st))
        say("the worker was killed by signal %d (%s)", WTERMSIG(st), strsignal(WTERMSIG(st)));
    else
        say("the worker ended with status %d", WEXITSTATUS(st));
}

static void forget_worker(struct sup *s)
{
    if (s->state == SUP_RELOAD) {
        say("the worker died over the new profile: the old one stays in use");
        files_close(&s->offered);
    }
    s->worker = 0;
    s->state = SUP_DOWN;
    s->due_ms = 0;
    close_fd(&s->sock);
    close_fd(&s->marks);
    close_fd(&s->pidfd);
    forget_request(s);
    s->may_ask = !s->sys.installed;
}

static void on_death(struct sup *s)
{
    bool ready = s->state == SUP_READY || s->state == SUP_RELOAD, good = ready && loop_clock() - s->ready_ms >= GOOD_MS;
    int st = 0, wait;

    if (waitpid(s->worker, &st, WNOHANG) != s->worker)
        return;
    forget_worker(s);
    if (s->stopping)
        return;
    if (!s->ever_ready && WIFEXITED(st) && (WEXITSTATUS(st) == 1 || WEXITSTATUS(st) == 4)) { /* it said why */
        leave(s, s->status ? s->status : WEXITSTATUS(st));
        return;
    }
    describe(st);
    wait = backoff_died(&s->backoff, loop_clock(), good);
    if (wait == BACKOFF_GIVE_UP)
        give_up(s);
    else
        s->due_ms = loop_clock() + (uint64_t)wait;
}

static void on_due(struct sup *s)
{
    int r;

    s->due_ms = 0;
    if (s->worker) {
        kill(s->worker, SIGKILL);
    } else if ((r = start_worker(s)) < 0) {
        say("the worker cannot be started: %s", strerror(-r));
        s->due_ms = loop_clock() + AGAIN_MS;
    }
}

/* ---- from beginning to end ---- */

static int wait_ms(const struct sup *s)
{
    uint64_t other = osdns_due(&s->sys.osdns), now = loop_clock(), due = !s->due_ms || (other && other < s->due_ms) ? other : s->due_ms;

    return !due ? -1 : due > now ? (int)(due - now) : 0;
}

static void run(struct sup *s)
{
    while (!s->stopping || s->worker) {
        const struct osdns *o = &s->sys.osdns;
        struct pollfd p[] = { { s->signals, POLLIN, 0 },  { s->sock, POLLIN, 0 },     { s->pidfd, POLLIN, 0 },
                              { o->monitor, POLLIN, 0 },  { o->child_fd, POLLIN, 0 }, { o->prober_fd, POLLIN, 0 },
                              { s->marks, POLLIN, 0 } };

        if (poll(p, sizeof(p) / sizeof(p[0]), wait_ms(s)) < 0)
            continue;
        osdns_turn(&s->sys.osdns);
        if (p[0].revents)
            on_signal(s);
        if (p[1].revents && s->sock >= 0)
            on_message(s);
        if (p[6].revents && s->marks >= 0 && !marks_turn(s->marks, s->pidfd))
            close_fd(&s->marks);
        if (p[2].revents)
            on_death(s);
        if (s->due_ms && loop_clock() >= s->due_ms)
            on_due(s);
    }
}

static int lock_all(struct sup *s)
{
    int other;

    if ((s->instance = before_instance(false)) < 0 || plat_state_dir(s->run->state_dir) < 0)
        return 1;
    if ((s->lock = open(s->run->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 || flock(s->lock, LOCK_EX | LOCK_NB) < 0) {
        say("another shunt uses the state directory %s; choose another with -d", s->run->state_dir);
        return 1;
    }
    if ((other = before_foreign(s->uid))) {
        say("process %d runs under user id %u, which must be ours alone, for its traffic would bypass us. End it, or add a system user \"shunt\"", other, s->uid);
        return 1;
    }
    return 0;
}

/* All that can refuse a start. Exit status, 0 = go on. */
static int may_start(struct sup *s)
{
    bool root = geteuid() == 0, from_stdin = !strcmp(s->run->profile, "-");
    int r = 0;

    if (root || !from_stdin)
        r = files_read(s, &s->taken);
    if (!root && (from_stdin || r == 0 || r == -EACCES)) {
        say("`run` makes a TUN device and routes: it needs root (try sudo)");
        return 4;
    }
    if (r < 0)
        return 1;
    if (access("/dev/net/tun", F_OK) < 0) {
        say("/dev/net/tun is not there: load the module (modprobe tun), or give the container the device");
        return 1;
    }
    return lock_all(s);
}

static void catch_signals(struct sup *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* The worker inherits it: 10,000 flows need 20,000 descriptors. */
static void raise_limits(void)
{
    struct rlimit files = { 1 << 20, 1 << 20 };

    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        plat_raise_nofile();
}

static void carry(struct sup *s)
{
    int r;

    sys_open(&s->sys, s->run->state_dir, s->uid);
    if ((r = start_worker(s)) < 0) {
        say("the worker cannot be started: %s", strerror(-r));
        s->status = 1;
    } else {
        run(s);
    }
    sys_close(&s->sys);
}

int plat_supervise(const struct plat_run *r)
{
    struct sup s = { .run = r, .uid = plat_worker_uid(), .instance = -1, .lock = -1, .signals = -1, .sock = -1, .marks = -1, .pidfd = -1, .taken = { -1, -1 }, .offered = { -1, -1 },
                     .may_ask = true, .born_ms = loop_clock() };
    int *const fds[] = { &s.instance, &s.lock, &s.signals };

    if (!(s.status = may_start(&s))) {
        catch_signals(&s);
        raise_limits();
        carry(&s);
    }
    forget_request(&s);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close_fd(fds[i]);
    files_close(&s.taken);
    files_close(&s.offered);
    return s.status;
}

int plat_cleanup(const char *state_dir)
{
    int instance;
    unsigned n;

    if (geteuid() != 0) {
        say("`cleanup` takes back routes and rules: it needs root (try sudo)");
        return 4;
    }
    if ((instance = before_instance(true)) < 0) {
        printf("a shunt is running here: nothing to clean up (SIGTERM stops it)\n");
        return 0;
    }
    n = undo_all(state_dir, false, true);
    printf(n ? "the machine is as it was\n" : "nothing was left behind\n");
    close(instance);
    return 0;
}
