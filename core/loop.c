/*
 * loop.c - libuv behind four small structs
 *
 * One turn of libuv and what we hang into its phases:
 *
 *   timers    our one uv_timer: expires what the wheel holds
 *   idle      jobs of loop_next(), put off from the last turn
 *   prepare   deferred jobs (from timers), then the uv_timer is set to the wheel's next due tick
 *   poll      watchers; posts from other threads
 *   check     deferred jobs (from watchers)
 *
 * libuv frees a handle a turn after uv_close(), so the uv_poll_t of a watcher lives in a pool of ours; the watcher only points to it, and
 * is unhooked at once: a callback of an unhooked handle is swallowed. libuv stops a handle whose descriptor has an error (EPOLLERR); the
 * watcher is told and, if it still wants something afterwards, started again.
 *
 * The wheel: three levels of 256 lists; a tick is 8 ms. Level 0 holds what is due within 256 ticks, level 1 within 65,536, level 2 the
 * rest; a list of a higher level is dealt out when its time begins. One bit a list says "perhaps not empty", so the next due tick is found
 * without walking. Nothing armed: no wake-ups.
 *
 * All clocks here are libuv's time of the turn but for arming, which asks the system: it may be ahead, never behind, so a timer is never
 * early by either clock.
 *
 * Memory: handles are pooled and freed with the loop; nothing else is allocated.
 */
#include "core/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define TICK_MS   8
#define SLOTS     256
#define LEVELS    3
#define AFTER_MAX (UINT64_C(1) << 48) /* keeps due_ms from wrapping around */

struct handle {
    uv_poll_t poll;
    struct loop *loop;
    struct io *io; /* NULL once unhooked */
    struct handle *next;
    struct list_head all;
    bool started;
};

struct signal_watch {
    uv_signal_t sig;
    void (*cb)(void *arg, int signo);
    void *arg;
};

struct wheel {
    struct list_head slot[LEVELS][SLOTS];
    uint64_t used[LEVELS][SLOTS / 64];
    uint64_t tick; /* all up to and including this one are done */
};

struct loop {
    uv_loop_t uv;
    uv_timer_t timer, wait;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_async_t async;
    struct wheel wheel;
    uint64_t armed; /* tick the uv_timer is set to; 0 = not */
    struct handle *free;
    struct list_head handles; /* all, also the free ones */
    struct list_head jobs, next;
    struct {
        size_t moved;   /* in this turn */
        unsigned turns; /* in a row */
        uint64_t last_ms;
    } bulk;
    pthread_mutex_t lock;
    struct list_head posted; /* under lock */
    struct signal_watch sig[4];
    unsigned n_sig;
};

/* ---- watchers ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct handle *h = container_of(poll, struct handle, poll);
    struct io *io = h->io;
    uint32_t ready;

    if (!io)
        return;
    if (status < 0) {
        h->started = false; /* libuv stops a handle whose descriptor has an error */
        ready = io->want;
    } else {
        ready = (events & (UV_READABLE | UV_DISCONNECT) ? IO_READ : 0) | (events & UV_WRITABLE ? IO_WRITE : 0);
        ready &= io->want;
    }
    if (ready)
        io->cb(io, ready);
    if (status < 0 && h->io && h->io->want)
        io_want(h->io, h->io->want);
}

static void on_handle_closed(uv_handle_t *u)
{
    struct handle *h = container_of((uv_poll_t *)u, struct handle, poll);

    h->next = h->loop->free;
    h->loop->free = h;
}

static struct handle *handle_get(struct loop *l)
{
    struct handle *h = l->free;

    if (h) {
        l->free = h->next;
        return h;
    }
    if ((h = calloc(1, sizeof(*h)))) {
        h->loop = l;
        list_append(&l->handles, &h->all);
    }
    return h;
}

int io_watch(struct loop *l, struct io *io, int fd, uint32_t want)
{
    struct handle *h = handle_get(l);
    int r;

    if (!h)
        return -ENOMEM;
    if ((r = uv_poll_init(&l->uv, &h->poll, fd)) < 0) {
        h->next = l->free;
        l->free = h;
        return r;
    }
    h->io = io;
    h->started = false;
    io->loop = l;
    io->handle = h;
    io->fd = fd;
    io->want = 0;
    if (want && (r = io_want(io, want)) < 0)
        io_unwatch(io);
    return r;
}

int io_want(struct io *io, uint32_t want)
{
    struct handle *h = io->handle;
    int events = (want & IO_READ ? UV_READABLE : 0) | (want & IO_WRITE ? UV_WRITABLE : 0), r = 0;

    if (!h)
        return -EBADF;
    if (want == io->want && h->started == (want != 0))
        return 0;
    io->want = want;
    h->started = want != 0;
    if (want)
        r = uv_poll_start(&h->poll, events, on_poll);
    else
        uv_poll_stop(&h->poll);
    return r;
}

void io_unwatch(struct io *io)
{
    struct handle *h = io->handle;

    if (!h)
        return;
    h->io = NULL;
    io->handle = NULL;
    io->want = 0;
    uv_poll_stop(&h->poll); /* the descriptor may be closed right after this */
    uv_close((uv_handle_t *)&h->poll, on_handle_closed);
}

/* ---- timers ---- */

static void slot_add(struct wheel *w, unsigned level, unsigned slot, struct timer *t)
{
    list_append(&w->slot[level][slot], &t->node);
    w->used[level][slot / 64] |= 1ull << (slot % 64);
}

static void wheel_add(struct wheel *w, struct timer *t)
{
    uint64_t tick = (t->due_ms + TICK_MS - 1) / TICK_MS;

    if (tick <= w->tick)
        tick = w->tick + 1;
    if (tick - w->tick < SLOTS)
        slot_add(w, 0, tick % SLOTS, t);
    else if (tick / SLOTS - w->tick / SLOTS < SLOTS)
        slot_add(w, 1, tick / SLOTS % SLOTS, t);
    else if (tick / SLOTS / SLOTS - w->tick / SLOTS / SLOTS < SLOTS)
        slot_add(w, 2, tick / SLOTS / SLOTS % SLOTS, t);
    else /* further than 37 hours: dealt out again from there */
        slot_add(w, 2, (w->tick / SLOTS / SLOTS + SLOTS - 1) % SLOTS, t);
}

/* Distance (1..SLOTS) from `from` to the next slot in use, around the circle; 0 = none. */
static unsigned next_slot(struct wheel *w, unsigned level, unsigned from)
{
    for (unsigned d = 1; d <= SLOTS;) {
        unsigned slot = (from + d) % SLOTS;
        uint64_t bits = w->used[level][slot / 64] >> (slot % 64);

        if (!bits) {
            d += 64 - slot % 64;
            continue;
        }
        d += (unsigned)__builtin_ctzll(bits);
        slot = (from + d) % SLOTS;
        if (d > SLOTS)
            return 0;
        if (!list_empty(&w->slot[level][slot]))
            return d;
        w->used[level][slot / 64] &= ~(1ull << (slot % 64)); /* its timers were cancelled */
    }
    return 0;
}

/* The next tick at which something is due or a list must be dealt out; 0 = never. */
static uint64_t wheel_next(struct wheel *w)
{
    uint64_t best = 0, unit = 1;

    for (unsigned level = 0; level < LEVELS; level++, unit *= SLOTS) {
        uint64_t at = w->tick / unit;
        unsigned d = next_slot(w, level, at % SLOTS);

        if (d && (!best || (at + d) * unit < best))
            best = (at + d) * unit;
    }
    return best;
}

static void deal_out(struct wheel *w, unsigned level, unsigned slot)
{
    struct list_head due;

    list_init(&due);
    list_splice(&due, &w->slot[level][slot]);
    list_each_safe (n, tmp, &due) {
        list_del(n);
        wheel_add(w, container_of(n, struct timer, node));
    }
}

static void expire(struct loop *l, unsigned slot)
{
    struct list_head due;

    list_init(&due);
    list_splice(&due, &l->wheel.slot[0][slot]);
    for (struct list_head *n; (n = list_first(&due));) {
        struct timer *t = container_of(n, struct timer, node);

        list_del(n); /* a callback may cancel the others: they are in a list still */
        t->due_ms = 0;
        t->cb(t);
    }
}

static void wheel_run(struct loop *l, uint64_t until)
{
    struct wheel *w = &l->wheel;
    uint64_t next;

    while ((next = wheel_next(w)) && next <= until) {
        w->tick = next; /* what is dealt out for `next` itself is one tick late: coarse, never early */
        if (next % SLOTS == 0 && next / SLOTS % SLOTS == 0)
            deal_out(w, 2, next / SLOTS / SLOTS % SLOTS);
        if (next % SLOTS == 0)
            deal_out(w, 1, next / SLOTS % SLOTS);
        expire(l, next % SLOTS);
    }
    if (until > w->tick)
        w->tick = until;
}

static void on_timer(uv_timer_t *u)
{
    struct loop *l = container_of(u, struct loop, timer);

    l->armed = 0;
    wheel_run(l, uv_now(u->loop) / TICK_MS);
}

static void arm(struct loop *l)
{
    uint64_t next = wheel_next(&l->wheel), now = uv_now(&l->uv);

    if (next == l->armed)
        return;
    l->armed = next;
    if (!next)
        uv_timer_stop(&l->timer);
    else
        uv_timer_start(&l->timer, on_timer, next * TICK_MS > now ? next * TICK_MS - now : 0, 0);
}

void timer_set(struct loop *l, struct timer *t, uint64_t after_ms)
{
    timer_cancel(t);
    t->due_ms = loop_clock() + (after_ms < AFTER_MAX ? after_ms : AFTER_MAX);
    if (!t->due_ms) /* the machine's first millisecond */
        t->due_ms = 1;
    wheel_add(&l->wheel, t);
}

void timer_cancel(struct timer *t)
{
    if (t->due_ms)
        list_del(&t->node);
    t->due_ms = 0;
}

/* ---- jobs ---- */

static void run_jobs(struct list_head *jobs)
{
    for (struct list_head *n; (n = list_first(jobs));) {
        struct job *j = container_of(n, struct job, node);

        list_del(n);
        j->queued = 0;
        j->cb(j);
    }
}

static void queue(struct list_head *jobs, struct job *j)
{
    if (j->queued)
        return;
    j->queued = 1;
    list_append(jobs, &j->node);
}

void loop_defer(struct loop *l, struct job *j)
{
    queue(&l->jobs, j);
}

static void on_idle(uv_idle_t *u)
{
    struct loop *l = container_of(u, struct loop, idle);
    struct list_head now;

    uv_idle_stop(u);
    list_init(&now);
    list_splice(&now, &l->next);
    run_jobs(&now);
}

void loop_next(struct loop *l, struct job *j)
{
    queue(&l->next, j);
    uv_idle_start(&l->idle, on_idle); /* the poll in between does not block */
}

void job_cancel(struct job *j)
{
    if (j->queued)
        list_del(&j->node);
    j->queued = 0;
}

void loop_post(struct loop *l, struct job *j)
{
    pthread_mutex_lock(&l->lock);
    queue(&l->posted, j);
    pthread_mutex_unlock(&l->lock);
    uv_async_send(&l->async);
}

/* Runs what was posted until now. `queued` belongs to the lock, so that a job may be posted again as soon as it runs. */
static void on_async(uv_async_t *u)
{
    struct loop *l = container_of(u, struct loop, async);
    struct list_head *n, mark;

    pthread_mutex_lock(&l->lock);
    list_append(&l->posted, &mark);
    while ((n = list_first(&l->posted)) != &mark) {
        struct job *j = container_of(n, struct job, node);

        list_del(n);
        j->queued = 0;
        pthread_mutex_unlock(&l->lock);
        j->cb(j);
        pthread_mutex_lock(&l->lock);
    }
    list_del(&mark);
    pthread_mutex_unlock(&l->lock);
}

/* ---- the loop ---- */

static void pause_for_bulk(struct loop *l)
{
    static const struct timespec pause = { .tv_nsec = LOOP_PAUSE_US * 1000 };
    size_t moved = l->bulk.moved;
    uint64_t now = loop_now(l);

    l->bulk.moved = 0;
    if (moved < LOOP_BULK_MIN) /* nothing, acknowledgements */
        return;
    l->bulk.turns = now - l->bulk.last_ms <= LOOP_BULK_GAP_MS ? l->bulk.turns + 1 : 0;
    l->bulk.last_ms = now;
    if (moved < LOOP_BULK_ENOUGH && l->bulk.turns >= LOOP_BULK_TURNS && list_empty(&l->next))
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

static void on_prepare(uv_prepare_t *u)
{
    struct loop *l = container_of(u, struct loop, prepare);

    run_jobs(&l->jobs);
    arm(l);
    pause_for_bulk(l);
}

static void on_check(uv_check_t *u)
{
    run_jobs(&container_of(u, struct loop, check)->jobs);
}

void loop_moved(struct loop *l, size_t bytes)
{
    l->bulk.moved += bytes;
}

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof(*l));

    if (!l)
        return NULL;
    if (uv_loop_init(&l->uv) < 0) {
        free(l);
        return NULL;
    }
    if (uv_async_init(&l->uv, &l->async, on_async) < 0) {
        uv_loop_close(&l->uv);
        free(l);
        return NULL;
    }
    for (unsigned level = 0; level < LEVELS; level++)
        for (unsigned i = 0; i < SLOTS; i++)
            list_init(&l->wheel.slot[level][i]);
    l->wheel.tick = loop_clock() / TICK_MS;
    list_init(&l->handles);
    list_init(&l->jobs);
    list_init(&l->next);
    list_init(&l->posted);
    pthread_mutex_init(&l->lock, NULL);
    uv_timer_init(&l->uv, &l->timer);
    uv_timer_init(&l->uv, &l->wait);
    uv_idle_init(&l->uv, &l->idle);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_prepare_start(&l->prepare, on_prepare);
    uv_check_init(&l->uv, &l->check);
    uv_check_start(&l->check, on_check);
    return l;
}

static void close_any(uv_handle_t *u, void *arg)
{
    if (!uv_is_closing(u))
        uv_close(u, NULL);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    on_async(&l->async);
    run_jobs(&l->jobs);
    uv_walk(&l->uv, close_any, NULL);
    do
        uv_run(&l->uv, UV_RUN_DEFAULT); /* returns at once, once, when loop_stop() came outside of a run */
    while (uv_loop_close(&l->uv) == UV_EBUSY);
    list_each_safe (n, tmp, &l->handles)
        free(container_of(n, struct handle, all));
    pthread_mutex_destroy(&l->lock);
    free(l);
}

uint64_t loop_now(const struct loop *l)
{
    return uv_now(&l->uv);
}

uint64_t loop_clock(void)
{
    return uv_hrtime() / 1000000;
}

int loop_run(struct loop *l)
{
    uv_run(&l->uv, UV_RUN_DEFAULT);
    return 0;
}

void loop_stop(struct loop *l)
{
    uv_stop(&l->uv);
}

/* Due before the descriptors were looked at, when this process had to wait for the processor: they are looked at without waiting, then. */
static void on_wait(uv_timer_t *u)
{
    uv_stop(u->loop);
}

void loop_turn(struct loop *l, unsigned max_wait_ms)
{
    uv_update_time(&l->uv);
    if (max_wait_ms)
        uv_timer_start(&l->wait, on_wait, max_wait_ms, 0);
    uv_run(&l->uv, max_wait_ms ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    uv_timer_stop(&l->wait);
    run_jobs(&l->jobs); /* UV_RUN_ONCE looks at timers a second time, at its end */
}

void *loop_uv(struct loop *l)
{
    return &l->uv;
}

static void on_signal(uv_signal_t *u, int signo)
{
    struct signal_watch *w = container_of(u, struct signal_watch, sig);

    w->cb(w->arg, signo);
}

int loop_signal(struct loop *l, int signo, void (*cb)(void *arg, int signo), void *arg)
{
    struct signal_watch *w = &l->sig[l->n_sig];
    int r;

    if (l->n_sig == sizeof(l->sig) / sizeof(l->sig[0]))
        return -ENOSPC;
    if ((r = uv_signal_init(&l->uv, &w->sig)) < 0)
        return r;
    l->n_sig++;
    w->cb = cb;
    w->arg = arg;
    return uv_signal_start(&w->sig, on_signal, signo);
}
