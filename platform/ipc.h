/*
 * ipc.h - the closed set of messages between supervisor and worker
 *
 * One fixed-size struct over SOCK_SEQPACKET; descriptors ride along (SCM_RIGHTS). No path and no argument vector from worker to supervisor.
 *
 *   worker                              supervisor
 *   MSG_TUN, then MSG_ROUTE x n   ──►
 *                                 ◄──   MSG_TUN_OK + descriptors, or MSG_FAILED
 *   MSG_READY                     ──►   (rules, routes, redirect go in)
 *                                 ◄──   MSG_READY_OK, or MSG_FAILED
 *                                 ◄──   MSG_RELOAD + profile          on SIGHUP
 *                                 ◄──   MSG_STOP                      on SIGTERM
 */
#ifndef PLATFORM_IPC_H
#define PLATFORM_IPC_H

#include "platform/platform.h"

enum msg_type { MSG_TUN = 1, MSG_ROUTE, MSG_READY, MSG_TUN_OK, MSG_READY_OK, MSG_FAILED, MSG_RELOAD, MSG_STOP };

#define MSG_FDS 5

struct msg {
    uint32_t type;
    union {
        struct {
            char device[16];
            uint32_t mtu, table, rule_prio, n_include, n_exclude;
            struct cidr addr4, addr6, fake4, fake6;
            uint8_t auto_route, strict_route, ipv6, dns_redirect;
        } tun;
        struct {
            struct cidr net;
            uint8_t exclude;
        } route;
        struct {
            char device[16];
            uint8_t vnet_hdr, csum, tso, uso, dns_redirect, has_fd[MSG_FDS]; /* tun, udp4, udp6, tcp4, tcp6 */
            uint16_t dns_port;
            uint32_t table, rule_prio;
        } ok;
        char why[256];
    };
};

/* Sends with n descriptors (at most MSG_FDS). 0 or -errno. */
int ipc_send(int sock, const struct msg *m, const int *fds, int n);
/* Receives one; descriptors are close-on-exec and the caller's; *n is their number. 0; -EAGAIN; -EPIPE at the end; -EBADMSG for a wrong size. */
int ipc_recv(int sock, struct msg *m, int fds[MSG_FDS], int *n);
/* Is a MSG_TUN from an untrusted worker within bounds? NULL, or what is wrong. */
const char *ipc_check_tun(const struct msg *m);
bool ipc_check_cidr(const struct cidr *c);

#endif
