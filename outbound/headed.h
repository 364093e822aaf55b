/*
 * headed.h - a protocol that is nothing but a head: ours in front of our bytes, maybe one in front of theirs, and all that follows
 * unchanged
 */
#ifndef OUTBOUND_HEADED_H
#define OUTBOUND_HEADED_H

#include "core/loop.h"
#include "core/stream.h"

/* Looks at the first n bytes of the server. 1: its head is the first *skip of them; 0: more are needed; -err. first: the first bytes that
 * we sent behind our head (at most HEADED_FIRST), for comparison. n 0: it ended without a word; what that means: -STREAM_EOF or -err. */
#define HEADED_FIRST 8
typedef int headed_answer_fn(void *arg, const uint8_t *b, size_t n, const uint8_t *first, size_t n_first, size_t *skip);

/* Takes down over on success; head is copied, and wiped once it is sent. It goes with the first bytes, or alone with a flush. answer NULL:
 * the server has no head. 0 or -ENOMEM. */
int headed_new(struct loop *l, const uint8_t *head, size_t len, headed_answer_fn *answer, void *arg, struct stream *down,
               struct stream **up);

#endif
