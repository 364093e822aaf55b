/*
 * reverse.h - names behind real addresses: what a flow to an address was called when somebody asked for it (clash-profile section 6.1, step
 * 3)
 */
#ifndef DNS_REVERSE_H
#define DNS_REVERSE_H

#include "core/addr.h"

struct reverse;

#define REVERSE_MAX 4096 /* the newest */

struct reverse *reverse_new(void); /* NULL without memory */
void reverse_free(struct reverse *r);
/* An answer said that name (lower case) has this address, for ttl seconds (at least 1). Of several names the last one counts. Only
 * addresses that one machine of a network has are remembered: none of loopback, of a link, of a group. */
void reverse_note(struct reverse *r, const struct addr *a, const char *name, uint32_t ttl, uint64_t now_ms);
/* The name, or NULL. Valid until the next reverse_note(). */
const char *reverse_find(struct reverse *r, const struct addr *a, uint64_t now_ms);

#endif
