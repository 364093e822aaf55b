/*
 * fakeip.h - addresses that stand for names: the pool
 *
 * Pure: no file, no loop, no clock of its own. Slot i has the address range + 4 + i in both families, so one name has one slot and both its
 * addresses (clash-profile section 6.3, dns.md section 2).
 */
#ifndef DNS_FAKEIP_H
#define DNS_FAKEIP_H

#include "core/addr.h"

struct fakeip;

#define FAKE_NONE      UINT32_MAX
#define FAKE_SLOTS_MAX (1u << 20) /* of a larger range only the first so many addresses are used */

/* range4 is required (/28 or larger), range6 optional (ver 0). ttl_ms, at least 1000: an address that was used (answered or dialled) within
 * it is not given to another name. 0, -EINVAL or -ENOMEM. */
int fakeip_new(const struct cidr *range4, const struct cidr *range6, uint64_t ttl_ms, struct fakeip **out);
void fakeip_free(struct fakeip *f);
/* What a reload may change. Slots keep their names: an IPv6 address of the old range is then unknown. */
void fakeip_set(struct fakeip *f, const struct cidr *range6, uint64_t ttl_ms);
const struct cidr *fakeip_range4(const struct fakeip *f);

/* The slot that a name (lower case, 1..253 bytes) has, or FAKE_NONE. Changes nothing. */
uint32_t fakeip_find(const struct fakeip *f, const char *name, size_t len);

enum fake_how {
    FAKE_KNOWN,    /* it had a slot */
    FAKE_FRESH,    /* a slot that nobody had before */
    FAKE_RECYCLED, /* the least recently used one, taken from another name */
    FAKE_FULL,     /* every slot is pinned or too young */
    FAKE_NOMEM
};
/* The slot of a name, given one if it has none, and marked as used now. *slot is set but with FAKE_FULL and FAKE_NOMEM. */
enum fake_how fakeip_get(struct fakeip *f, const char *name, size_t len, uint64_t now_ms, uint32_t *slot);
/* Marks a slot as used now. */
void fakeip_use(struct fakeip *f, uint32_t slot, uint64_t now_ms);
/* Was the slot that was recycled last used less than 10 minutes before? Then the pool is too small for what the programs do. */
bool fakeip_too_small(const struct fakeip *f);

/* The address of a slot: false when the family has no range, or one too small for this slot. */
bool fakeip_addr(const struct fakeip *f, uint32_t slot, int ver, struct addr *out);
/* Is it in one of the ranges (but not one of the two addresses of the device)? */
bool fakeip_contains(const struct fakeip *f, const struct addr *a);
/* The slot with this address, or FAKE_NONE when no name has it. */
uint32_t fakeip_slot(const struct fakeip *f, const struct addr *a);
/* The name in a slot that has one. Valid until the next fakeip_get(), fakeip_restore() or fakeip_forget(). */
const char *fakeip_name(const struct fakeip *f, uint32_t slot, size_t *len);

/* A pinned slot keeps its name. Calls are counted; the last unpin is a use. */
void fakeip_pin(struct fakeip *f, uint32_t slot);
void fakeip_unpin(struct fakeip *f, uint32_t slot, uint64_t now_ms);

/* A mark for the caller on slots with a name: "this name needs no look at filters". Cleared when the slot gets another name, and by
 * fakeip_unmark(). */
bool fakeip_marked(const struct fakeip *f, uint32_t slot);
void fakeip_mark(struct fakeip *f, uint32_t slot);
void fakeip_unmark(struct fakeip *f);

/* Names in use, and slots there are. */
void fakeip_usage(const struct fakeip *f, uint32_t *used, uint32_t *size);

/* Puts a name back into the slot it had (from a file): as used now, and last of all until then. false: no such slot, no name, or no memory.
 * Whoever had the slot or the name before loses it. */
bool fakeip_restore(struct fakeip *f, uint32_t slot, const char *name, size_t len, uint64_t now_ms);
/* Takes the names of all slots but pinned ones away. Their addresses stay reserved for their lifetime. */
void fakeip_forget(struct fakeip *f);
/* Goes through the slots with a name, the one used longest ago first and pinned ones last: start with FAKE_NONE; FAKE_NONE at the end. */
uint32_t fakeip_next(const struct fakeip *f, uint32_t after);

#endif
