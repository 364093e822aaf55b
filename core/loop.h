/*
 * loop.h - the event loop: descriptors, timers, end-of-turn jobs, posts from other threads
 *
 * libuv seen through four small structs that are embedded in the objects they serve: nothing is allocated by the
 * caller, there is no close callback, and cancelling is immediate (no callback after it, not even from the batch that
 * is being delivered). One turn = wait, descriptors, timers, then the jobs deferred during the turn. Objects are
 * freed from jobs, so nobody's memory goes while its callback is on the stack.
 *
 * All calls but loop_post() belong to the loop's thread.
 */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <stdint.h>

#include "core/list.h"

struct loop;

enum { IO_READ = 1, IO_WRITE = 2 };

/* A watched descriptor. The caller owns fd and this struct; zero-initialise it before the first io_watch(). */
struct io {
    struct loop *loop;
    void *handle; /* the loop's */
    int fd;
    uint32_t want;
    void (*cb)(struct io *io, uint32_t ready); /* ready: IO_READ | IO_WRITE; errors and hang-ups set both that are wanted */
};

/* Coarse timer (one tick = 8 ms, never early). Zero-initialise; arming and cancelling cost O(1) and never fail. */
struct timer {
    struct list_head node; /* the loop's */
    uint64_t due_ms;       /* 0 = not armed */
    void (*cb)(struct timer *t);
};

/* Work for the end of this turn. A job that is already queued is not queued twice. Zero-initialise. */
struct job {
    struct list_head node; /* the loop's */
    void (*cb)(struct job *j);
    int queued; /* the loop's */
};

/* Returns a new loop or NULL (no memory, no descriptors). Freed with loop_free(), with nothing watched any more. */
struct loop *loop_new(void);
void loop_free(struct loop *l);

/* Starts watching fd (level-triggered) for want (may be 0). 0 or -errno. io->cb must be set. */
int io_watch(struct loop *l, struct io *io, int fd, uint32_t want);
/* Changes what is wanted. Costs system calls when it changes something: change rarely. */
int io_want(struct io *io, uint32_t want);
/* Stops; harmless when not watching. The caller may close fd right after. */
void io_unwatch(struct io *io);

/* (Re)arms: t->cb runs once, after at least after_ms. */
void timer_set(struct loop *l, struct timer *t, uint64_t after_ms);
void timer_cancel(struct timer *t);
static inline int timer_armed(const struct timer *t)
{
    return t->due_ms != 0;
}

/* Runs j->cb at the end of this turn, in order of deferral; jobs deferred by jobs run in the same turn. */
void loop_defer(struct loop *l, struct job *j);
/* Runs j->cb in the next turn, after everybody else had theirs; the loop does not sleep in between. For work that yields. */
void loop_next(struct loop *l, struct job *j);
/* Takes a job back that was deferred or put off; harmless when it is not queued. */
void job_cancel(struct job *j);
/* So many bytes of flows were moved in this turn, or what counts like them (dns/server.c). Bulk that keeps coming in small pieces costs a wake-up
 * for each, and whatever one is worth; the loop then pauses for LOOP_PAUSE_US before it looks for more, as a network card does with its
 * interrupts. Never at the beginning of a transfer, nor after a turn that has brought enough. */
void loop_moved(struct loop *l, size_t bytes);
#define LOOP_BULK_MIN    4096u   /* bytes of a turn: less is somebody's keystrokes */
#define LOOP_BULK_ENOUGH 131072u /* a turn that was worth it */
#define LOOP_BULK_TURNS  16      /* in a row, each within LOOP_BULK_GAP_MS of the last, before the first pause */
#define LOOP_BULK_GAP_MS 2
#define LOOP_PAUSE_US    300
/* The one call allowed from any thread: j->cb runs on the loop soon. j must not be queued elsewhere. */
void loop_post(struct loop *l, struct job *j);

/* Monotonic milliseconds, read once per turn; loop_clock() asks the system now. Never the wall clock. */
uint64_t loop_now(const struct loop *l);
uint64_t loop_clock(void);

/* Runs until loop_stop(). Returns 0. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
/* One turn, waiting at most max_wait_ms (0 = do not wait). For tests. */
void loop_turn(struct loop *l, unsigned max_wait_ms);
/* The libuv loop, for libraries that speak libuv. (uv_loop_t *) */
void *loop_uv(struct loop *l);

/* Calls cb on the loop for a signal; at most 4 signals. 0 or -errno. */
int loop_signal(struct loop *l, int signo, void (*cb)(void *arg, int signo), void *arg);

#endif
