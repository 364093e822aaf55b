/*
 * fakelog.h - the fake-IP pool remembered in a file
 */
#ifndef DNS_FAKELOG_H
#define DNS_FAKELOG_H

#include "dns/fakeip.h"

struct fakelog;

/* Opens or makes the file and puts the names it holds back into the (fresh) pool, which must outlive the log. A file that cannot be used,
 * as a whole or from some byte on, costs the names it held and is said so in the log; it never costs the start. NULL only without memory.
 */
struct fakelog *fakelog_open(const char *file, struct fakeip *pool, uint64_t now_ms);
/* Writes what is noted, waits for the disk, closes. NULL is fine. */
void fakelog_close(struct fakelog *l);

/* A slot was given its name. Only noted: fakelog_write() must follow in the same turn. */
void fakelog_note(struct fakelog *l, uint32_t slot);
/* Is something noted that was not written yet? */
bool fakelog_dirty(const struct fakelog *l);
/* Hands what is noted to the kernel, in one write: the death of this process loses nothing of it. Never waits for the disk. */
void fakelog_write(struct fakelog *l);
/* The pool was emptied: so is the file. */
void fakelog_forget(struct fakelog *l);

/* What must reach the disk does, in a thread of its own: called from time to time, 30 s after the first note at the latest. Returns after
 * how many milliseconds it wants to be called again, 0 = not before the next note. */
uint64_t fakelog_tend(struct fakelog *l);

#endif
