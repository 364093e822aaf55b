/*
 * osdns.c - the machine's resolver services are pointed at us
 *
 * The redirect (nft.c) catches every query already; this is for what it cannot catch or what spoils it:
 *
 *   systemd-resolved          asks servers by sockets bound to a link, and keeps answers      always: per-link DNS on our device
 *   resolvconf, plain file    where the kernel cannot redirect: a server on this machine or in the LAN is not asked through the device
 *   nscd                      keeps answers                                                   forgets them at the start and at the end
 *
 * Each of these may block, so a child does it and is killed when it takes too long. What was set is looked at again 2 s later (a network
 * manager may have wiped it) and whenever links or addresses change; the kernel tells when, and what changed is not even read.
 *
 *   osdns_begin ──► child: point ──► 2 s ──► child: look, set again if need be ──► an event, or 5 s where a file is ours ──► ...
 *   osdns_end   ──► child: leave, waited for
 */
#include <errno.h>
#include <grp.h>
#include <linux/rtnetlink.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/sys.h"

#define CHILD_MS 8000 /* then it is killed */
#define AGAIN_MS 2000 /* after everything was set */
#define EVENT_MS 500  /* after something happened on a link */
#define PAUSE_MS 2000 /* between two looks */
#define FILE_MS  5000 /* between two looks at a file that is ours */
#define LEAVE_MS 3000 /* that is how long we wait for the last one */
#define PROBE_S  5    /* a look-up that takes longer was not for us */
#define SAID_MAX 3    /* how often it is said that somebody takes it back */

/* ---- the child ---- */

/* nscd's own protocol: version 2, "invalidate", and the name of the table. */
static void flush_nscd(const char *root)
{
    struct {
        int32_t version, type, len;
        char key[6];
    } ask = { 2, 10, 6, "hosts" };
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/run/nscd/socket", root);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
        if (send(fd, &ask, offsetof(__typeof__(ask), key) + sizeof(ask.key), MSG_NOSIGNAL) < 0)
            perror("shunt: nscd");
    if (fd >= 0)
        close(fd);
}

static void complain(const char *who, enum told t, const char *why)
{
    if (t == TOLD_FAILED)
        fprintf(stderr, "shunt: %s does not lead names to us: %s\n", who, why);
}

/* Whoever is there is told, if he was not before. */
static enum told point(const struct osdns *o, bool first)
{
    enum told t = resolved_point(o->want.link, &o->want.server, first), file;
    char why[WHY_MAX] = "";

    if (t == TOLD_NOBODY && !o->want.redirected) {
        t = resolvconf_point(o->root, &o->want.server, why);
        complain("resolvconf", t, why);
        if (t == TOLD_NOBODY) {
            t = file = resolv_point(o->root, &o->want.server, why);
            if (first)
                complain("/etc/resolv.conf", file, why);
        }
    }
    if (first)
        flush_nscd(o->root);
    return t;
}

static void leave(const struct osdns *o)
{
    resolved_leave(o->want.link);
    flush_nscd(o->root);
}

/* Becomes somebody who holds nothing of ours and does not outlive us. */
static void let_go(pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(TOLD_FAILED);
    syscall(SYS_close_range, 3, ~0u, 0);
}

static void start(struct osdns *o, bool pointing)
{
    pid_t parent = getpid();
    uint64_t now = loop_clock();
    pid_t pid = fork();

    if (pid == 0) {
        let_go(parent);
        if (pointing)
            _exit(point(o, o->first));
        leave(o);
        _exit(TOLD_NOBODY);
    }
    o->due_ms = 0;
    o->last_ms = now;
    if (pid < 0)
        return;
    o->child = pid;
    o->child_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    o->kill_ms = now + CHILD_MS;
}

/* What programs do: the C library, its services and files. Who is asked in the end is what we want to know; the answer is of no interest.
 */
static void look_up(uint64_t token)
{
    static const uid_t nobody = 65534;
    struct addrinfo hint = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM }, *found;
    char name[PLAT_PROBE_NAME + 1];

    if (setgroups(0, NULL) < 0 || setresgid(nobody, nobody, nobody) < 0 || setresuid(nobody, nobody, nobody) < 0)
        return;
    plat_probe_name(token, name);
    strcat(name, "."); /* no search list */
    alarm(PROBE_S);
    if (getaddrinfo(name, NULL, &hint, &found) == 0)
        freeaddrinfo(found);
}

void osdns_probe(struct osdns *o, uint64_t token)
{
    pid_t parent = getpid(), pid = o->prober ? -1 : fork();

    if (pid == 0) {
        let_go(parent);
        look_up(token);
        _exit(0);
    }
    if (pid < 0)
        return;
    o->prober = pid;
    o->prober_fd = (int)syscall(SYS_pidfd_open, pid, 0);
}

/* ---- when ---- */

static void soon(struct osdns *o, uint64_t ms)
{
    uint64_t at = loop_clock() + ms;

    if (at < o->last_ms + PAUSE_MS)
        at = o->last_ms + PAUSE_MS;
    if (!o->due_ms || at < o->due_ms)
        o->due_ms = at;
}

static void was_told(struct osdns *o, enum told t)
{
    if (t == TOLD_NOW && !o->first && o->n_said < SAID_MAX) {
        o->n_said++;
        fprintf(stderr, "shunt: somebody took our name server out of the system's settings; it is there again%s\n",
                o->n_said == SAID_MAX ? " (not said any more)" : "");
    }
    if (o->first)
        soon(o, AGAIN_MS);
    if (!o->want.redirected && (t == TOLD_NOW || t == TOLD_BEFORE))
        soon(o, FILE_MS);
    o->first = false;
}

static void child_ended(struct osdns *o)
{
    int st = 0;

    if (waitpid(o->child, &st, WNOHANG) == 0)
        return;
    if (o->child_fd >= 0)
        close(o->child_fd);
    o->child = 0;
    o->child_fd = -1;
    o->kill_ms = 0;
    was_told(o, WIFEXITED(st) ? (enum told)WEXITSTATUS(st) : TOLD_FAILED);
}

static void prober_ended(struct osdns *o)
{
    if (waitpid(o->prober, NULL, WNOHANG) == 0)
        return;
    if (o->prober_fd >= 0)
        close(o->prober_fd);
    o->prober = 0;
    o->prober_fd = -1;
}

/* Something happened on a link; what, is read nowhere. */
static void drain(struct osdns *o)
{
    char any[8192];
    bool heard = false;

    while (recv(o->monitor, any, sizeof(any), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
        heard = true;
    if (heard && o->want.link)
        soon(o, EVENT_MS);
}

static int open_monitor(void)
{
    struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

    if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* ---- the supervisor's side ---- */

void osdns_init(struct osdns *o, const char *root)
{
    *o = (struct osdns){ .root = root, .child_fd = -1, .prober_fd = -1, .monitor = -1 };
}

void osdns_begin(struct osdns *o, const struct osdns_want *w)
{
    o->want = *w;
    o->first = true;
    if (o->monitor < 0)
        o->monitor = open_monitor();
    o->due_ms = loop_clock();
}

uint64_t osdns_due(const struct osdns *o)
{
    return o->child ? o->kill_ms : o->due_ms;
}

void osdns_turn(struct osdns *o)
{
    if (o->monitor >= 0)
        drain(o);
    if (o->prober)
        prober_ended(o);
    if (o->child)
        child_ended(o);
    if (o->child && loop_clock() >= o->kill_ms) {
        kill(o->child, SIGKILL);
        o->kill_ms += CHILD_MS;
    }
    if (!o->child && o->due_ms && loop_clock() >= o->due_ms && o->want.link)
        start(o, true);
}

/* Waits for the child, and not for ever. */
static void wait_child(struct osdns *o)
{
    for (int ms = 0; o->child; ms += 10) {
        child_ended(o);
        if (o->child && ms >= LEAVE_MS)
            kill(o->child, SIGKILL);
        if (o->child)
            usleep(10000);
    }
}

void osdns_end(struct osdns *o)
{
    if (o->prober) {
        kill(o->prober, SIGKILL);
        waitpid(o->prober, NULL, 0);
        prober_ended(o);
    }
    wait_child(o);
    if (o->want.link) {
        start(o, false);
        wait_child(o);
    }
    o->want.link = 0;
    o->due_ms = 0;
    if (o->monitor >= 0)
        close(o->monitor);
    o->monitor = -1;
}
