/* lwipopts.h - lwIP reduced to its TCP engine; each value with its reason */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

/* one thread, we call tcp_tmr() ourselves */
#define NO_SYS               1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_TIMERS          0

/* no fixed pools: limits are ours, per flow and global */
#define MEM_LIBC_MALLOC  1
#define MEMP_MEM_MALLOC  1
#define MEM_ALIGNMENT    8
#define MEMP_NUM_TCP_SEG 65535

#define LWIP_IPV4        1
#define LWIP_IPV6        1
#define LWIP_IPV6_SCOPES 0 /* zones would spoil the comparison of addresses */
#define IP_DEFAULT_TTL   64 /* as the packets that we build ourselves */

/* parsed and built by us, or not wanted */
#define LWIP_ICMP                        0
#define LWIP_ICMP6                       1 /* only because ip6.c refers to it */
#define LWIP_UDP                         0
#define LWIP_RAW                         0
#define LWIP_ARP                         0
#define LWIP_ETHERNET                    0
#define LWIP_IGMP                        0
#define LWIP_IPV6_MLD                    0
#define LWIP_IPV6_AUTOCONFIG             0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS    0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT    0
#define LWIP_ND6_QUEUEING                0
#define LWIP_HAVE_LOOPIF                 0
#define LWIP_NETIF_LOOPBACK              0
#define LWIP_NETCONN                     0
#define LWIP_SOCKET                      0
#define LWIP_DHCP                        0
#define LWIP_DNS                         0
#define LWIP_STATS                       0
#define IP_FRAG                          0 /* large segments for the kernel to cut must not be fragmented here */
#define IP_REASSEMBLY                    0
#define IP_FORWARD                       0
#define LWIP_IPV6_FRAG                   0
#define LWIP_IPV6_REASS                  0

#define LWIP_SUPPORT_CUSTOM_PBUF     1 /* packets are read into our own buffers */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1 /* decided at run time: with offload the kernel does TCP's */
#define LWIP_CHECKSUM_ON_COPY        0
#define PBUF_LINK_HLEN               0
#define PBUF_POOL_SIZE               1 /* unused; the default overflows with this MSS */
#define PBUF_POOL_BUFSIZE            256

#define TCP_MSS                         65495 /* bound of what a peer may announce; we announce by the device's MTU */
#define LWIP_WND_SCALE                  1
#define TCP_RCV_SCALE                   4
#define TCP_WND                         (256 * 1024) /* what one stuck upstream can pin */
#define TCP_SND_BUF                     (1024 * 1024) /* as large as our largest ring, which is the real limit */
#define TCP_SND_QUEUELEN                16384
#define TCP_OVERSIZE                    0 /* nothing is copied */
#define TCP_QUEUE_OOSEQ                 1
#define LWIP_TCP_SACK_OUT               1
#define TCP_OOSEQ_MAX_BYTES             (128 * 1024)
#define TCP_OOSEQ_MAX_PBUFS             256 /* of 536 bytes and more; each costs some, however small */
#define LWIP_TCP_TIMESTAMPS             0
#define TCP_LISTEN_BACKLOG              0
#define TCP_TMR_INTERVAL                50 /* least retransmission time 0.3 s instead of 1.5 s */
#define LWIP_TCP_PCB_NUM_EXT_ARGS       1 /* birth and death of a pcb */
#define LWIP_DISABLE_TCP_SANITY_CHECKS  1 /* they do not allow an MSS near 64 KiB */

#define LWIP_HOOK_FILENAME "lwip_hooks.h"
#define LWIP_HOOK_TCP_ISN  stack_lwip_isn

#endif
