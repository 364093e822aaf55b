/*
 * platform.h - everything that changes or asks the operating system
 *
 * Two processes (reference reliability section 2): the supervisor is privileged, small, and parses no foreign bytes; the worker has its own
 * user id, no capability, and does all the rest. They speak fixed-size messages over a SOCK_SEQPACKET pair (ipc.h, private).
 */
#ifndef PLATFORM_PLATFORM_H
#define PLATFORM_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/addr.h"
#include "core/loop.h"

/* ---- supervisor ---- */

struct plat_run {
    const char *profile;   /* path as the user gave it; "-" = standard input */
    const char *local;     /* path of the local file; NULL = none */
    bool need_local;       /* it was asked for: it must be there */
    const char *state_dir; /* absolute */
    /* How to exec the worker: argv of /proc/self/exe, NULL-terminated. The message socket is fd 3; the files are sealed memory files at offset 0: fd 4 is
     * the profile, fd 5 the local file, empty when there is none. */
    char *const *worker_argv;
};

/* Runs the supervisor until told to stop. Returns the exit status of command-line.md (0, 1, 4). Prints its errors on stderr. */
int plat_supervise(const struct plat_run *r);
/* Undoes what a killed shunt left behind, by the journal in state_dir and by what the kernel still holds; prints what it did. Exit status. */
int plat_cleanup(const char *state_dir);
/* The user id workers run under: user "shunt", else 65017. */
uid_t plat_worker_uid(void);
/* Creates the state directory (0700, worker's id) and checks that the worker can reach it. 0, or -err with the reason printed on stderr. */
int plat_state_dir(const char *dir);

/* ---- worker ---- */

#define PLAT_MAX_ROUTES 1024

/* What the worker asks the supervisor to build. Fixed size; the routes go in messages of their own. */
struct plat_tun {
    char device[16];       /* "" = choose */
    uint32_t mtu;
    struct cidr addr4, addr6;   /* device addresses with host bits; ver 0 = none */
    struct cidr fake4, fake6;   /* always routed in */
    bool auto_route, strict_route;
    bool ipv6;             /* false: IPv6 is rejected in strict mode */
    bool dns_redirect;     /* redirect port 53 of the others to our sockets */
    uint32_t table, rule_prio;
    uint32_t n_include, n_exclude;
    struct cidr *include, *exclude; /* borrowed during the call; at most PLAT_MAX_ROUTES each */
};

/* What came of it. Descriptors belong to the caller; -1 when absent. */
struct plat_tun_got {
    char device[16];
    int tun_fd;
    bool vnet_hdr, csum, tso, uso;
    int dns_udp[2], dns_tcp[2]; /* 127.0.0.1 and ::1, bound to one port, owned by the worker's uid */
    uint16_t dns_port;
    bool dns_redirect;          /* wanted and possible; in force from plat_worker_ready() on */
    uint32_t table, rule_prio;  /* what was free in the end */
};

struct plat_worker {
    struct io io; /* private */
    /* SIGHUP, or plat_worker_again(): the profile and the local file (empty = none) again; the descriptors are handed over. Who takes them calls, before returning,
     * plat_worker_tun() if TUN keys may have changed, then plat_worker_ready(); who refuses them just returns. A worker that is restarted later gets
     * the files that were taken last. */
    void (*on_reload)(struct plat_worker *w, int profile_fd, int local_fd);
    void (*on_unread)(struct plat_worker *w, const char *why); /* one of the files cannot be read: nothing changes; optional */
    void (*on_stop)(struct plat_worker *w); /* end in order now; also when the supervisor is gone */
    /* The answer to plat_worker_listen(): a socket, handed over, or -errno. May be NULL. */
    void (*on_listening)(struct plat_worker *w, const struct endpoint *at, bool udp, int fd);
    void *owner;
    uint64_t born_ms; /* from plat_worker_ready() on: when the supervisor began, by loop_clock() */
    int mode;         /* and what the last plat_worker_mode() said, maybe in a worker before this one; -1 = nothing yet */
    bool told_stop, took_profile; /* private, as what follows */
    bool mark_said;
    int marks; /* the channel; -1 = none */
    struct list_head owners;
    uint32_t n_owners, last_owner;
};

/* First thing in the worker's main, before any thread or socket: drops groups, user id and capabilities, sets no_new_privs, PDEATHSIG and
 * not-dumpable. Takes fd 3. 0, or -err (then the worker must exit with status 4 when -EPERM). */
int plat_worker_init(struct plat_worker *w);
/* Sends the parameters and waits (at most 10 s) for the answer: before the loop runs, or from on_reload. 0; or -err, reason in why. From on_reload: the
 * routes, strict-route, numbers and the redirect may change (they come into force with plat_worker_ready()), device, MTU, addresses may not
 * (-ECANCELED, why says what needs a restart); all descriptors in *got are then -1, those of the start stay valid. */
int plat_worker_tun(struct plat_worker *w, const struct plat_tun *want, struct plat_tun_got *got, char why[256]);
/* Traffic is carried from here on: the supervisor puts the default routes in and prints "ready". Waits for the confirmation; 0 or -err with why. A worker that
 * asked for no TUN may say it too: then nothing of the system is changed. From on_reload: the new profile is in use. */
int plat_worker_ready(struct plat_worker *w, char why[256]);
/* Asks for the files anew; what comes of it is told by on_reload or on_unread, not before the next turn of the loop. 0 or -err. */
int plat_worker_again(struct plat_worker *w);
/* Watches the message socket on the loop from now on. */
int plat_worker_watch(struct plat_worker *w, struct loop *l);

#define PLAT_MODES_MAX 8
/* The engine's mode is another, a number below PLAT_MODES_MAX: a worker that takes our place hears of it. It lives as long as the supervisor. 0 or -err. */
int plat_worker_mode(struct plat_worker *w, int mode);

/* Asks for a bound (and listening) non-blocking socket on a port below 1024, which this process may not open. 0: on_listening comes; or -errno. */
int plat_worker_listen(struct plat_worker *w, const struct endpoint *at, bool udp);

/* Gives a socket of ours a mark (SO_MARK), which this process may not. Waits for the supervisor, 1 s at most. 0 or -errno; the first failure is logged. */
int plat_worker_mark(struct plat_worker *w, int fd, uint32_t mark);

#define PLAT_PROBE_NAME 64
/* Lets the machine look up the name plat_probe_name() as any program would. If the system asks us, the query comes within a second. 0 or -errno. */
int plat_worker_probe(struct plat_worker *w, uint64_t token);
const char *plat_probe_name(uint64_t token, char buf[PLAT_PROBE_NAME]);

/* ---- whose socket? ---- */

struct plat_program {
    pid_t pid;
    const char *path;
};

/* A question under way; embedded in the caller, who fills done. */
struct plat_owner {
    /* Once, from the loop: the program, lent for the call; NULL: not found, or no answer within a second. */
    void (*done)(struct plat_owner *o, const struct plat_program *p);
    struct plat_worker *worker; /* private, as what follows */
    struct list_head node;
    struct timer late;
    struct job job;
    uint32_t id;
    pid_t pid;
    char *path;
};

/* User and inode of the socket of this machine that talks from local to remote (an unconnected UDP socket talks to everybody). Needs no privilege and does
 * not wait. 0; -ENOENT: there is none in this network namespace; -errno. */
int plat_socket(bool udp, const struct endpoint *local, const struct endpoint *remote, uid_t *uid, uint64_t *inode);
/* Asks the supervisor for the program that holds the socket. 0: done comes later; -EBUSY (64 under way) or -errno: it does not. */
int plat_owner_ask(struct plat_worker *w, struct plat_owner *o, uid_t uid, uint64_t inode);
/* No done any more. For a question that was asked, whether answered or not. */
void plat_owner_cancel(struct plat_owner *o);

/* ---- TUN device I/O (used by tun2socks) is plain read(2)/writev(2) on tun_fd ---- */

/* ---- is it another network? ---- */

/* Embedded, zeroed but for changed. */
struct plat_network {
    void (*changed)(struct plat_network *n); /* addresses or default routes are others than before; at most twice a second */
    /* private */
    struct loop *loop;
    struct io io;
    struct timer settle;
    uint64_t seen;
    char own[16];
    bool watching;
};
/* own: our device, which does not count; "" = none. 0 or -errno: nothing will be told. */
int plat_network_watch(struct plat_network *n, struct loop *l, const char *own);
void plat_network_unwatch(struct plat_network *n); /* harmless when nothing is watched */

/* Raises RLIMIT_NOFILE to its hard limit; returns the limit now in force. */
uint64_t plat_raise_nofile(void);
/* Resident memory of this process in bytes, 0 when unknown. */
uint64_t plat_rss(void);

#endif
