/* lwip_hooks.h - initial sequence numbers that cannot be guessed (RFC 6528); stack.c */
#ifndef LWIP_HOOKS_H
#define LWIP_HOOKS_H

#include "lwip/ip_addr.h"

u32_t stack_lwip_isn(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port);

#endif
