/*
 * core_loop.c - watchers, timers, jobs, posts and signals
 *
 * The clock is ours: clock_gettime() of this program stands still until a test moves it, so hours of timers cost no time and nothing is
 * ever early or late by luck. epoll_ctl() is counted, because a change of interest that changes nothing must not reach the kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#include "core/loop.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t fake_ms; /* 0: the true clock */
static unsigned n_epoll_ctl;

int clock_gettime(clockid_t id, struct timespec *t)
{
    if (!fake_ms)
        return (int)syscall(SYS_clock_gettime, id, t);
    *t = (struct timespec){ (time_t)(fake_ms / 1000), (long)(fake_ms % 1000) * 1000000 };
    return 0;
}

static unsigned n_pauses;

int clock_nanosleep(clockid_t id, int flags, const struct timespec *t, struct timespec *left)
{
    n_pauses++;
    return 0;
}

int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
    n_epoll_ctl++;
    return (int)syscall(SYS_epoll_ctl, ep, op, fd, ev);
}

static uint32_t dice(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* ---- watchers ---- */

struct watch {
    struct io io;
    int far; /* the other end of io.fd */
    unsigned calls;
    uint32_t ready;
    void (*then)(struct watch *w);
    struct watch *other;
};

static void on_io(struct io *io, uint32_t ready)
{
    struct watch *w = container_of(io, struct watch, io);

    w->calls++;
    w->ready = ready;
    if (w->then)
        w->then(w);
}

static void watch_open(struct loop *l, struct watch *w, uint32_t want)
{
    int fd[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    *w = (struct watch){ .io.cb = on_io, .far = fd[1] };
    assert_int_equal(io_watch(l, &w->io, fd[0], want), 0);
}

static void watch_close(struct watch *w)
{
    io_unwatch(&w->io);
    io_unwatch(&w->io);
    close(w->io.fd);
    close(w->far);
}

static void poke(struct watch *w)
{
    assert_int_equal(write(w->far, "x", 1), 1);
}

static void readiness_is_told_as_wanted(void **state)
{
    struct loop *l = loop_new();
    struct watch w;

    watch_open(l, &w, 0);
    poke(&w);
    loop_turn(l, 0);
    assert_int_equal(w.calls, 0);
    io_want(&w.io, IO_READ);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(w.calls, 2); /* level-triggered */
    assert_int_equal(w.ready, IO_READ);
    io_want(&w.io, IO_WRITE);
    loop_turn(l, 0);
    assert_int_equal(w.ready, IO_WRITE);
    io_want(&w.io, IO_READ | IO_WRITE);
    loop_turn(l, 0);
    assert_int_equal(w.ready, IO_READ | IO_WRITE);
    io_want(&w.io, 0);
    loop_turn(l, 0);
    assert_int_equal(w.calls, 4);
    watch_close(&w);
    assert_int_equal(io_want(&w.io, IO_READ), -EBADF);
    loop_free(l);
}

static void the_same_interest_costs_nothing(void **state)
{
    struct loop *l = loop_new();
    struct watch w;
    unsigned before;

    watch_open(l, &w, IO_READ);
    loop_turn(l, 0);
    before = n_epoll_ctl;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(io_want(&w.io, IO_READ), 0);
        loop_turn(l, 0);
    }
    assert_int_equal(n_epoll_ctl, before);
    watch_close(&w);
    loop_free(l);
}

static void hang_up_and_errors_are_readiness(void **state)
{
    struct loop *l = loop_new();
    struct watch w;
    struct io writer = { .cb = on_io };
    int fd[2];

    watch_open(l, &w, IO_READ);
    close(w.far);
    loop_turn(l, 0);
    assert_int_equal(w.ready, IO_READ);
    io_want(&w.io, IO_WRITE);
    loop_turn(l, 0);
    assert_int_equal(w.ready, IO_WRITE);
    io_unwatch(&w.io);
    close(w.io.fd);

    assert_int_equal(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
    close(fd[0]); /* EPOLLERR for the writer */
    w = (struct watch){ .io = writer };
    assert_int_equal(io_watch(l, &w.io, fd[1], IO_READ | IO_WRITE), 0);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(w.calls, 2); /* libuv would have stopped after the first */
    assert_int_equal(w.ready, IO_READ | IO_WRITE);
    io_want(&w.io, 0);
    loop_turn(l, 0);
    assert_int_equal(w.calls, 2);
    io_unwatch(&w.io);
    close(fd[1]);
    loop_free(l);
}

static void unwatch_other(struct watch *w)
{
    io_unwatch(&w->other->io);
}

static void unwatched_in_the_batch_is_silent(void **state)
{
    struct loop *l = loop_new();
    struct watch a, b;

    watch_open(l, &a, IO_READ);
    watch_open(l, &b, IO_READ);
    a.other = &b, b.other = &a;
    a.then = b.then = unwatch_other;
    poke(&a);
    poke(&b);
    loop_turn(l, 0);
    assert_int_equal(a.calls + b.calls, 1);
    watch_close(&a);
    watch_close(&b);
    loop_free(l);
}

/* The first one called closes the other's descriptor and watches a new one that gets the same number. */
static struct watch reborn;

static void replace_other(struct watch *w)
{
    struct watch *o = w->other;
    int fd[2], number = o->io.fd;

    w->then = NULL;
    io_unwatch(&o->io);
    close(number);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    reborn = (struct watch){ .io.cb = on_io, .far = fd[1] };
    assert_int_equal(fd[0], number);
    assert_int_equal(io_watch(w->io.loop, &reborn.io, fd[0], IO_READ), 0);
}

static void a_reused_descriptor_inherits_no_event(void **state)
{
    struct loop *l = loop_new();
    struct watch a, b;

    watch_open(l, &a, IO_READ);
    watch_open(l, &b, IO_READ);
    a.other = &b, b.other = &a;
    a.then = b.then = replace_other;
    poke(&a);
    poke(&b);
    loop_turn(l, 0);
    assert_int_equal(a.calls + b.calls, 1);
    io_want(a.calls ? &a.io : &b.io, 0);
    loop_turn(l, 0);
    assert_int_equal(reborn.calls, 0);
    poke(&reborn);
    loop_turn(l, 0);
    assert_int_equal(reborn.calls, 1);
    watch_close(&reborn);
    close(a.calls ? b.far : a.far);
    watch_close(a.calls ? &a : &b);
    loop_free(l);
}

static void unwatch_self(struct watch *w)
{
    watch_close(w);
}

static void many_watchers_come_and_go(void **state)
{
    static struct watch w[200];
    struct loop *l = loop_new();

    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < COUNT(w); i++) {
            watch_open(l, &w[i], IO_READ);
            w[i].then = unwatch_self;
            poke(&w[i]);
        }
        loop_turn(l, 0);
        for (size_t i = 0; i < COUNT(w); i++)
            assert_int_equal(w[i].calls, 1);
    }
    loop_free(l);
}

static void what_cannot_be_watched(void **state)
{
    struct loop *l = loop_new();
    struct io io = { .cb = on_io };
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(io_watch(l, &io, fd, IO_READ) < 0);
    close(fd);
    assert_true(io_watch(l, &io, fd, IO_READ) < 0);
    io_unwatch(&io);
    loop_free(l);
}

/* ---- timers ---- */

struct alarm {
    struct timer t;
    uint64_t due; /* by the clock of the test; 0 = not armed */
    unsigned fired;
    struct alarm *victim;
};

static struct loop *timer_loop;

static void on_alarm(struct timer *t)
{
    struct alarm *a = container_of(t, struct alarm, t);

    assert_true(a->due != 0);       /* not after a cancel */
    assert_true(fake_ms >= a->due); /* never early */
    assert_true(loop_now(timer_loop) >= a->due);
    assert_false(timer_armed(t));
    a->due = 0;
    a->fired++;
    if (a->victim) {
        timer_cancel(&a->victim->t);
        a->victim->due = 0;
    }
}

static void alarm_set(struct alarm *a, uint64_t after_ms)
{
    a->t.cb = on_alarm;
    timer_set(timer_loop, &a->t, after_ms);
    a->due = fake_ms + after_ms;
    assert_true(timer_armed(&a->t));
}

static void clock_start(void)
{
    fake_ms = 5000000;
    timer_loop = loop_new();
}

static void clock_end(void)
{
    loop_free(timer_loop);
    fake_ms = 0;
}

/* Time passes while the loop sleeps, so what was armed before is known to it. */
static void move_clock(uint64_t ms)
{
    loop_turn(timer_loop, 0);
    fake_ms += ms;
    loop_turn(timer_loop, 0);
}

static const uint64_t waits[] = { 0,
                                  1,
                                  7,
                                  8,
                                  9,
                                  100,
                                  255 * 8,
                                  2047,
                                  2048,
                                  2049,
                                  4096,
                                  60000,
                                  524287,
                                  524288,
                                  524289,
                                  3600000,
                                  86400000,
                                  134217727,
                                  134217728,
                                  134217729,
                                  40 * 3600000ull,
                                  1000 * 3600000ull };

static void each_wait_alone_is_never_early_and_two_ticks_late_at_most(void **state)
{
    clock_start();
    for (size_t i = 0; i < COUNT(waits); i++) {
        struct alarm a = { 0 };

        alarm_set(&a, waits[i]);
        if (waits[i]) {
            move_clock(waits[i] - 1);
            assert_int_equal(a.fired, 0);
            move_clock(1);
        }
        for (int late = 0; !a.fired && late <= 16; late++)
            move_clock(1);
        if (a.fired != 1)
            fail_msg("%llu ms: fired %u times", (unsigned long long)waits[i], a.fired);
        move_clock(3); /* another place in the tick */
    }
    clock_end();
}

/* The twin is an array and the words "due and not fired". */
static void thousands_of_timers_like_a_naive_list(void **state)
{
    static struct alarm a[3000];
    uint32_t rnd = 7;

    memset(a, 0, sizeof(a));
    clock_start();
    for (int step = 0; step < 20000; step++) {
        struct alarm *one = &a[dice(&rnd) % COUNT(a)];
        uint64_t after = waits[dice(&rnd) % COUNT(waits)] * (1 + dice(&rnd) % 3) / (1 + dice(&rnd) % 4);

        if (dice(&rnd) % 8 == 0) {
            timer_cancel(&one->t);
            one->due = 0;
        } else {
            alarm_set(one, after);
        }
        one->victim = dice(&rnd) % 16 ? NULL : &a[dice(&rnd) % COUNT(a)];
        if (step % 4)
            continue;
        move_clock(dice(&rnd) % 5 ? dice(&rnd) % 50 : dice(&rnd) % (1u << (dice(&rnd) % 28)));
        if (step % 16)
            continue;
        fake_ms += 16; /* the promise: a tick of rounding, a tick of dealing out */
        for (int i = 0; i < 3; i++)
            loop_turn(timer_loop, 0);
        for (size_t i = 0; i < COUNT(a); i++)
            if (a[i].due && a[i].due + 16 <= fake_ms)
                fail_msg("step %d: %llu ms late", step, (unsigned long long)(fake_ms - a[i].due));
    }
    for (size_t i = 0; i < COUNT(a); i++)
        timer_cancel(&a[i].t);
    clock_end();
}

static unsigned order[64], n_order;

static void on_ordered(struct timer *t)
{
    order[n_order++] = container_of(t, struct alarm, t)->fired;
}

static void timers_fire_in_order(void **state)
{
    static const unsigned after[] = { 5000, 40, 300, 2500, 16, 100000, 700, 9000 }, sorted[] = { 4, 1, 2, 6, 3, 0, 7, 5 };
    struct alarm a[COUNT(after)] = { 0 };

    clock_start();
    n_order = 0;
    for (unsigned i = 0; i < COUNT(after); i++) {
        a[i].t.cb = on_ordered;
        a[i].fired = i;
        timer_set(timer_loop, &a[i].t, after[i]);
    }
    move_clock(200000); /* all in one turn */
    assert_int_equal(n_order, COUNT(after));
    assert_memory_equal(order, sorted, sizeof(sorted));
    clock_end();
}

static void rearmed_and_cancelled(void **state)
{
    struct alarm a = { 0 }, b = { 0 };

    clock_start();
    alarm_set(&a, 100);
    move_clock(90);
    alarm_set(&a, 100);
    move_clock(90);
    assert_int_equal(a.fired, 0);
    move_clock(30);
    assert_int_equal(a.fired, 1);
    alarm_set(&a, 50);
    timer_cancel(&a.t);
    timer_cancel(&a.t);
    a.due = 0;
    move_clock(100);
    assert_int_equal(a.fired, 1);
    alarm_set(&a, 10); /* same tick: the first takes the second along */
    alarm_set(&b, 10);
    a.victim = &b;
    move_clock(100);
    assert_int_equal(a.fired, 2);
    assert_int_equal(b.fired, 0);
    alarm_set(&a, UINT64_MAX); /* never, and not at once */
    move_clock(1000);
    assert_int_equal(a.fired, 2);
    timer_cancel(&a.t);
    clock_end();
}

/* How long the loop would sleep now; -1 = until a descriptor. */
static int sleep_ms(void)
{
    loop_turn(timer_loop, 0);
    uv_update_time(loop_uv(timer_loop));
    return uv_backend_timeout(loop_uv(timer_loop));
}

static void nothing_armed_nothing_wakes(void **state)
{
    struct alarm a = { 0 }, b = { 0 };
    unsigned wakes = 0;

    clock_start();
    assert_int_equal(sleep_ms(), -1);
    alarm_set(&a, 5000);
    alarm_set(&b, 3600000);
    assert_in_range(sleep_ms(), 1, 5008);
    timer_cancel(&a.t);
    for (; !b.fired; wakes++) {
        int ms = sleep_ms();

        assert_true(ms >= 0);
        move_clock((uint64_t)ms);
    }
    assert_true(wakes <= 6); /* dealt out level by level, not ticked along */
    assert_int_equal(sleep_ms(), -1);
    clock_end();
}

/* ---- jobs ---- */

static char story[64];

struct word {
    struct job j;
    char c;
    struct loop *l;
    struct word *defers, *nexts;
};

static void on_word(struct job *j)
{
    struct word *w = container_of(j, struct word, j);
    size_t n = strlen(story);

    assert_true(n + 1 < sizeof(story));
    story[n] = w->c;
    story[n + 1] = 0;
    if (w->defers)
        loop_defer(w->l, &w->defers->j);
    if (w->nexts)
        loop_next(w->l, &w->nexts->j);
}

static void jobs_run_in_order_and_once(void **state)
{
    struct loop *l = loop_new();
    struct word d = { { .cb = on_word }, 'd', l }, c = { { .cb = on_word }, 'c', l }, b = { { .cb = on_word }, 'b', l, &d };
    struct word a = { { .cb = on_word }, 'a', l, &c };

    story[0] = 0;
    loop_defer(l, &a.j);
    loop_defer(l, &b.j);
    loop_defer(l, &a.j);
    loop_turn(l, 0);
    assert_string_equal(story, "abcd"); /* those deferred by jobs in the same turn */
    loop_turn(l, 0);
    assert_string_equal(story, "abcd");
    loop_free(l);
}

static void a_job_of_the_next_turn_waits_for_it_without_sleep(void **state)
{
    struct loop *l = timer_loop = loop_new();
    struct word n = { { .cb = on_word }, 'n', l }, a = { { .cb = on_word }, 'a', l, NULL, &n };

    n.nexts = &n; /* yields for ever */
    story[0] = 0;
    loop_defer(l, &a.j);
    loop_turn(l, 0);
    assert_string_equal(story, "a");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(uv_backend_timeout(loop_uv(l)), 0);
        loop_turn(l, 0);
    }
    assert_string_equal(story, "annn");
    job_cancel(&n.j);
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_string_equal(story, "annn");
    assert_int_equal(sleep_ms(), -1);
    loop_free(l);
}

static void a_cancelled_job_does_not_run(void **state)
{
    struct loop *l = loop_new();
    struct word a = { { .cb = on_word }, 'a', l }, b = { { .cb = on_word }, 'b', l };

    story[0] = 0;
    loop_defer(l, &a.j);
    loop_defer(l, &b.j);
    job_cancel(&a.j);
    job_cancel(&a.j);
    loop_turn(l, 0);
    assert_string_equal(story, "b");
    loop_defer(l, &a.j);
    loop_turn(l, 0);
    assert_string_equal(story, "ba");
    loop_free(l);
}

struct deferring {
    struct timer t;
    struct word *w;
};

static void on_deferring(struct timer *t)
{
    loop_defer(timer_loop, &container_of(t, struct deferring, t)->w->j);
}

static void a_job_of_a_timer_runs_in_the_same_turn(void **state)
{
    struct word w = { { .cb = on_word }, 't' };
    struct deferring d = { { .cb = on_deferring }, &w };

    clock_start();
    story[0] = 0;
    timer_set(timer_loop, &d.t, 10);
    move_clock(100);
    assert_string_equal(story, "t");
    clock_end();
}

static void a_job_of_a_watcher(struct watch *w)
{
    static struct word word = { { .cb = on_word }, 'w' };

    loop_defer(w->io.loop, &word.j);
    assert_string_equal(story, "");
    io_want(&w->io, 0);
}

static void a_job_of_a_watcher_runs_in_the_same_turn(void **state)
{
    struct loop *l = loop_new();
    struct watch w;

    story[0] = 0;
    watch_open(l, &w, IO_READ);
    w.then = a_job_of_a_watcher;
    poke(&w);
    loop_turn(l, 0);
    assert_string_equal(story, "w");
    watch_close(&w);
    loop_free(l);
}

/* ---- other threads ---- */

#define POSTS 1000

struct postman {
    struct loop *l;
    struct job j[POSTS];
};

static unsigned n_posted, n_threads_done;

static void on_post(struct job *j)
{
    n_posted++;
}

static void on_post_then_stop(struct job *j)
{
    n_posted++;
    if (++n_threads_done == 2)
        loop_stop(((struct postman *)(void *)((char *)j - offsetof(struct postman, j[POSTS - 1])))->l);
}

static void *post_all(void *arg)
{
    struct postman *p = arg;

    for (int i = 0; i < POSTS; i++)
        loop_post(p->l, &p->j[i]);
    return NULL;
}

static void posts_from_threads_all_arrive(void **state)
{
    static struct postman p[2];
    pthread_t t[2];
    struct loop *l = loop_new();

    n_posted = n_threads_done = 0;
    for (int k = 0; k < 2; k++) {
        p[k].l = l;
        for (int i = 0; i < POSTS; i++)
            p[k].j[i] = (struct job){ .cb = i == POSTS - 1 ? on_post_then_stop : on_post };
        assert_int_equal(pthread_create(&t[k], NULL, post_all, &p[k]), 0);
    }
    assert_int_equal(loop_run(l), 0);
    for (int k = 0; k < 2; k++)
        pthread_join(t[k], NULL);
    assert_int_equal(n_posted, 2 * POSTS);
    loop_free(l);
}

struct reposting {
    struct job j;
    struct loop *l;
    unsigned runs;
};

static void on_reposting(struct job *j)
{
    struct reposting *r = container_of(j, struct reposting, j);

    r->runs++;
    loop_post(r->l, j);
}

static void a_job_that_posts_itself_does_not_hold_the_turn(void **state)
{
    struct reposting r = { { .cb = on_reposting }, loop_new() };

    loop_post(r.l, &r.j);
    loop_turn(r.l, 0);
    assert_int_equal(r.runs, 1);
    loop_turn(r.l, 0);
    assert_int_equal(r.runs, 2);
    r.j.cb = on_post;
    loop_free(r.l);
}

/* ---- signals, start and end ---- */

static int got_signal;

static void on_signal(void *arg, int signo)
{
    got_signal = signo;
    assert_ptr_equal(arg, &got_signal);
}

static void signals_reach_the_loop(void **state)
{
    struct loop *l = loop_new();
    static const int signals[] = { SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH };

    for (size_t i = 0; i < COUNT(signals); i++)
        assert_int_equal(loop_signal(l, signals[i], on_signal, &got_signal), 0);
    assert_int_equal(loop_signal(l, SIGPIPE, on_signal, &got_signal), -ENOSPC);
    for (size_t i = 0; i < COUNT(signals); i++) {
        raise(signals[i]);
        loop_turn(l, 1000);
        assert_int_equal(got_signal, signals[i]);
    }
    loop_free(l);
}

static void on_free_me(struct job *j)
{
    free(j);
}

static void the_end_runs_what_was_put_off_and_leaks_nothing(void **state)
{
    struct loop *l = loop_new();
    struct job *deferred = calloc(1, sizeof(*deferred)), *posted = calloc(1, sizeof(*posted));
    struct watch w;

    deferred->cb = posted->cb = on_free_me;
    loop_defer(l, deferred);
    loop_post(l, posted);
    watch_open(l, &w, IO_READ);
    watch_close(&w); /* its handle is not closed yet */
    loop_stop(l);    /* and a stop is pending */
    loop_free(l);
    loop_free(NULL);
}

/* However far it gets before the descriptors run out, no memory is left behind (the leak checker looks). libuv 1.44 itself leaves its epoll
 * descriptor when its next one fails, so the lowest free one is looked up each time. */
static void no_descriptors_no_loop(void **state)
{
    struct rlimit all, few;
    unsigned made = 0, refused = 0;

    getrlimit(RLIMIT_NOFILE, &all);
    for (int more = 0; more < 12; more++) {
        int next = dup(0);
        struct loop *l;

        close(next);
        few = (struct rlimit){ (rlim_t)(next + more), all.rlim_max };
        setrlimit(RLIMIT_NOFILE, &few);
        l = loop_new();
        setrlimit(RLIMIT_NOFILE, &all);
        made += l != NULL;
        refused += l == NULL;
        loop_free(l);
    }
    assert_true(made && refused);
}

static unsigned pauses_of(struct loop *l, unsigned turns, size_t moved)
{
    unsigned before = n_pauses;

    while (turns--) {
        loop_moved(l, moved / 2);
        loop_moved(l, moved - moved / 2);
        loop_turn(l, 0);
    }
    return n_pauses - before;
}

struct busy {
    struct job job;
    struct loop *l;
};

static void work_on(struct job *j)
{
    loop_next(container_of(j, struct busy, job)->l, j);
}

static void bulk_in_small_pieces_makes_it_pause(void **state)
{
    struct busy busy = { .job.cb = work_on };
    struct loop *l;

    fake_ms = 5000000;
    busy.l = l = loop_new();
    assert_int_equal(pauses_of(l, LOOP_BULK_TURNS, LOOP_BULK_MIN), 0); /* a small answer has its bytes at once */
    assert_int_equal(pauses_of(l, 10, LOOP_BULK_MIN), 10);
    assert_int_equal(pauses_of(l, 10, LOOP_BULK_MIN - 1), 0); /* nothing to wait for, but it is no end either */
    assert_int_equal(pauses_of(l, 1, LOOP_BULK_ENOUGH - 1), 1);
    loop_next(l, &busy.job);
    assert_int_equal(pauses_of(l, 1, LOOP_BULK_MIN), 0); /* somebody has work to do */
    job_cancel(&busy.job);
    assert_int_equal(pauses_of(l, 2, LOOP_BULK_ENOUGH), 0);
    assert_int_equal(pauses_of(l, 1, LOOP_BULK_MIN), 1); /* what a pause has brought is no reason to begin anew */
    fake_ms += LOOP_BULK_GAP_MS + 1; /* a pause of the sender */
    assert_int_equal(pauses_of(l, LOOP_BULK_TURNS, LOOP_BULK_MIN), 0);
    fake_ms = 0;
    loop_free(l);
}

static void a_turn_waits_no_longer_than_told(void **state)
{
    struct loop *l = loop_new();

    loop_turn(l, 1); /* nothing to do: comes back by itself */
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readiness_is_told_as_wanted),
        cmocka_unit_test(the_same_interest_costs_nothing),
        cmocka_unit_test(hang_up_and_errors_are_readiness),
        cmocka_unit_test(unwatched_in_the_batch_is_silent),
        cmocka_unit_test(a_reused_descriptor_inherits_no_event),
        cmocka_unit_test(many_watchers_come_and_go),
        cmocka_unit_test(what_cannot_be_watched),
        cmocka_unit_test(each_wait_alone_is_never_early_and_two_ticks_late_at_most),
        cmocka_unit_test(thousands_of_timers_like_a_naive_list),
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(rearmed_and_cancelled),
        cmocka_unit_test(nothing_armed_nothing_wakes),
        cmocka_unit_test(jobs_run_in_order_and_once),
        cmocka_unit_test(a_job_of_the_next_turn_waits_for_it_without_sleep),
        cmocka_unit_test(a_cancelled_job_does_not_run),
        cmocka_unit_test(a_job_of_a_timer_runs_in_the_same_turn),
        cmocka_unit_test(a_job_of_a_watcher_runs_in_the_same_turn),
        cmocka_unit_test(posts_from_threads_all_arrive),
        cmocka_unit_test(a_job_that_posts_itself_does_not_hold_the_turn),
        cmocka_unit_test(signals_reach_the_loop),
        cmocka_unit_test(the_end_runs_what_was_put_off_and_leaks_nothing),
        cmocka_unit_test(no_descriptors_no_loop),
        cmocka_unit_test(bulk_in_small_pieces_makes_it_pause),
        cmocka_unit_test(a_turn_waits_no_longer_than_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
