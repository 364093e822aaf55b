/*
 * ipc.h - the closed set of messages between supervisor and worker
 *
 * One fixed-size struct over SOCK_SEQPACKET; descriptors ride along (SCM_RIGHTS), only from supervisor to worker. No path and no argument vector.
 *
 *   worker                              supervisor
 *   MSG_ROUTE x n, then MSG_TUN   ──►                                 at start, and after MSG_RELOAD
 *                                 ◄──   MSG_TUN_OK + descriptors, or MSG_FAILED
 *   MSG_READY                     ──►                                 rules, routes, redirect go in; the profile is in use
 *                                 ◄──   MSG_READY_OK, or MSG_FAILED   with the mode a worker before it was in
 *   MSG_AGAIN                     ──►                                 read them again, as on SIGHUP
 *                                 ◄──   MSG_RELOAD + profile, local   they were; or MSG_UNREAD
 *   MSG_KEPT                      ──►                                 they were refused: the old ones stay
 *   MSG_OWNER                     ──►                                 whose socket? any number under way
 *                                 ◄──   MSG_OWNER_IS                  each gets its answer, in order
 *   MSG_LISTEN                    ──►                                 a socket on a port below 1024
 *                                 ◄──   MSG_LISTENING + descriptor
 *   MSG_PROBE                     ──►                                 a name for the machine's own resolver to be asked about: its query should come here
 *   MSG_MODE                      ──►                                 the mode is another: kept for a worker to come
 *                                 ◄──   MSG_STOP                      on SIGTERM
 *
 * Marks have a channel of their own (below).
 *
 * The worker is not trusted: what it sends is checked field by field (ipc_check) and is accepted only in the state that expects it.
 */
#ifndef PLATFORM_IPC_H
#define PLATFORM_IPC_H

#include "platform/platform.h"

enum msg_type {
    MSG_NONE,
    MSG_TUN,
    MSG_ROUTE,
    MSG_READY,
    MSG_KEPT,
    MSG_OWNER,
    MSG_LISTEN,
    MSG_PROBE,
    MSG_AGAIN,
    MSG_MODE,
    MSG_LAST_OF_WORKER = MSG_MODE,
    MSG_TUN_OK,
    MSG_READY_OK,
    MSG_FAILED,
    MSG_RELOAD,
    MSG_UNREAD, /* failed says why */
    MSG_OWNER_IS,
    MSG_LISTENING,
    MSG_STOP
};

#define MSG_FDS 5 /* tun, udp4, udp6, tcp4, tcp6 */
#define WHY_MAX 256
#define OWNER_PATH 1024

struct msg {
    uint32_t type;
    union {
        struct msg_tun {
            char device[16];
            uint32_t mtu, table, rule_prio, n_include, n_exclude;
            struct cidr addr4, addr6, fake4, fake6;
            uint8_t auto_route, strict_route, ipv6, dns_redirect;
        } tun;
        struct msg_route {
            struct cidr net;
            uint8_t exclude;
        } route;
        struct msg_ok {
            char device[16];
            uint8_t vnet_hdr, csum, tso, uso, dns_redirect, has_fd[MSG_FDS];
            uint16_t dns_port;
            uint32_t table, rule_prio;
        } ok;
        struct msg_ready_ok {
            uint64_t born_ms; /* the supervisor, by the monotonic clock */
            struct msg_mode {
                uint8_t kept, mode; /* kept: there is one */
            } mode;
        } ready_ok;
        struct msg_mode mode;
        struct msg_failed {
            int32_t err; /* -errno */
            char why[WHY_MAX];
        } failed;
        struct msg_owner {
            uint32_t id, uid;
            uint64_t inode;
        } owner;
        struct msg_listen { /* MSG_LISTENING, too */
            struct endpoint at;
            uint8_t udp;
            int32_t err; /* of the answer: -errno, or 0 with a descriptor */
        } listen;
        struct msg_probe {
            uint64_t token;
        } probe;
        struct msg_owner_is {
            uint32_t id;
            int32_t pid; /* 0 = not found */
            char path[OWNER_PATH];
        } owner_is;
    };
};

/* A message with every byte set: nothing of our stack travels. */
struct msg ipc_msg(enum msg_type type);
struct msg ipc_failed(int err, const char *why);

/* Sends with n descriptors (at most MSG_FDS), which stay the caller's. 0 or -errno. */
int ipc_send(int sock, const struct msg *m, const int *fds, int n);
/* Receives one. With fds, descriptors are close-on-exec and the caller's, *n is their number; with NULL none is taken and a message that brings some is
 * -EBADMSG. 0; -EAGAIN; -EPIPE at the end; -EBADMSG for a wrong size. */
int ipc_recv(int sock, struct msg *m, int *fds, int *n);

/* Is this something a worker may say? NULL, or what is wrong. */
const char *ipc_check(const struct msg *m);

/* ---- marks: a channel of their own, because the worker waits for the answer wherever it makes a socket ---- */

/* A socket of the worker's, by its number there, is to have a mark. The answer is an int32_t: 0 or -errno. */
struct mark_ask {
    int32_t fd;
    uint32_t mark;
};
#define MARKS_FD 6 /* the worker's end */

#endif
