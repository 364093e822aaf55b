/*
 * fakeip.h - addresses that stand for names
 */
#ifndef DNS_FAKEIP_H
#define DNS_FAKEIP_H

#include "core/addr.h"

struct fakeip;

/* range4 is required (at most /28), range6 optional (ver 0). file: where names are remembered, NULL = memory only. ttl_ms: an address whose answer is
 * younger is not given to another name. 0 or -err; a file that cannot be used costs the memory of names, not the start. */
int fakeip_new(const struct cidr *range4, const struct cidr *range6, const char *file, uint64_t ttl_ms, struct fakeip **out);
void fakeip_free(struct fakeip *f);
bool fakeip_same_ranges(const struct fakeip *f, const struct cidr *range4, const struct cidr *range6);

/* The address of a name (lower case), given one if it has none. false: every slot is pinned or too young. */
bool fakeip_addr(struct fakeip *f, const char *name, int ver, uint64_t now_ms, struct addr *out);
/* The address a name has already. */
bool fakeip_peek(const struct fakeip *f, const char *name, int ver, struct addr *out);
bool fakeip_contains(const struct fakeip *f, const struct addr *a);
/* The name behind an address, marked as used; NULL if none. Valid until the next fakeip_addr(). */
const char *fakeip_name(struct fakeip *f, const struct addr *a);
void fakeip_pin(struct fakeip *f, const struct addr *a, int delta);
void fakeip_usage(const struct fakeip *f, uint32_t *used, uint32_t *size);
/* Writes what is new to the file. */
void fakeip_flush(struct fakeip *f, bool sync);
bool fakeip_dirty(const struct fakeip *f);

#endif
