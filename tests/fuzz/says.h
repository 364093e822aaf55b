/*
 * says.h - what a server that knows the keys says, as an input tells it to: true, or spoiled
 *
 * A fuzzer cannot guess a tag, so a target seals what the input says and notes what must come out: a beginning of what was said before the
 * first lie, all of it when there is none.
 */
#ifndef FUZZ_SAYS_H
#define FUZZ_SAYS_H

#include "core/reader.h"
#include "tests/fuzz/stream.h"

#define SAYS_MAX   (1u << 20)
#define SAYS_SPARE 1024 /* more than one step says */

/* One at a time: the memory is shared. */
static struct {
    uint8_t wire[SAYS_MAX], plain[SAYS_MAX], got[SAYS_MAX];
    size_t n_wire, n_plain;
    bool lied, doubt, ended; /* doubt: it may end early; ended: by the protocol's own mark */
} says;

static inline void must(bool good)
{
    if (!good)
        abort();
}

static inline void says_begin(void)
{
    says.n_wire = says.n_plain = 0;
    says.lied = says.doubt = says.ended = false;
}

static inline bool says_more(const struct rd *r)
{
    return rd_left(r) && rd_ok(r) && !says.ended && says.n_wire < SAYS_MAX - SAYS_SPARE && says.n_plain < SAYS_MAX - SAYS_SPARE;
}

static inline void says_add(const void *b, size_t n)
{
    if (n)
        memcpy(says.wire + says.n_wire, b, n);
    says.n_wire += n;
}

/* What must come out, unless there was a lie. */
static inline void says_plain(const void *b, size_t n)
{
    if (says.lied)
        return;
    memcpy(says.plain + says.n_plain, b, n);
    says.n_plain += n;
}

/* Bytes of the input as they are. */
static inline void says_raw(struct rd *r)
{
    struct span s = rd_span(r, rd_u8(r));

    says.lied |= s.len > 0;
    says_add(s.p, s.len);
}

/* One of the bits said so far. */
static inline void says_flip(struct rd *r, unsigned bit)
{
    says.doubt = true;
    says.wire[rd_be16(r) % says.n_wire] ^= (uint8_t)(1u << bit);
}

/* Reads to the end in reads of changing size, compares, closes. sealed: no lie goes unnoticed. */
static inline void says_check(struct stream *s, bool sealed)
{
    bool all_true = !says.lied && !says.doubt;
    size_t n = 0, size = 1;
    ssize_t r = 0;

    while (n + size <= SAYS_MAX && (r = stream_read(s, &(struct iovec){ says.got + n, size }, 1)) >= 0) {
        n += (size_t)r;
        size = size * 5 % 20011 + 1;
    }
    if (all_true)
        must(n == says.n_plain && r == -STREAM_EOF);
    if (all_true || sealed)
        must(n <= says.n_plain && !memcmp(says.got, says.plain, n));
    stream_close(s, -ERR_CLOSED);
    loop_turn(fuzz_loop, 0);
}

#endif
