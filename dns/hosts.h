/*
 * hosts.h - names whose addresses the user wrote down: `hosts` of the profile, and the system's hosts file
 */
#ifndef DNS_HOSTS_H
#define DNS_HOSTS_H

#include "configs/config.h"

struct hosts;

#define HOSTS_TTL 10

/* What is known of a name: addresses, or another name to ask for instead. Borrowed until hosts_free() or a hosts_refresh() that says true.
 */
struct host {
    const struct addr *addr;
    uint32_t n;
    const char *alias; /* lower case; NULL = addresses */
};

/* Entries of the profile (borrowed; patterns of clash-profile section 2.2), `localhost`, and /etc/hosts below root (as
 * use-system-hosts says). What cannot be used is skipped with a warning: no pattern, an alias that leads back to itself. NULL
 * only without memory. */
struct hosts *hosts_new(const struct profile *p, const char *root, struct diag *d);
void hosts_free(struct hosts *h);

/* name in lower case. The profile's entries come first. */
bool hosts_find(const struct hosts *h, const char *name, struct host *out);
/* What a query may be told: as hosts_find(), without the profile's entries where use-hosts is false. Dials and rules know them all the same. */
bool hosts_tell(const struct hosts *h, const char *name, struct host *out);
/* Looks, at most every five seconds, whether the system's file has changed, and reads it again. true: what hosts_find() says may be
 * different now. */
bool hosts_refresh(struct hosts *h, uint64_t now_ms);

#endif
