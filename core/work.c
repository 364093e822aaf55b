/*
 * work.c - jobs for libuv's pool of threads
 *
 * Its threads give way to the loop: where all CPUs are busy, a job that takes long would make each turn wait for a share of time.
 * One small block per job, from start to done.
 */
#include "core/work.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <uv.h>

#define NICE 10

struct request {
    uv_work_t uv;
    struct work *w;
};

static void in_thread(uv_work_t *u)
{
    struct request *r = container_of(u, struct request, uv);

    static const struct sched_param none;

    sched_setscheduler(0, SCHED_BATCH, &none); /* this thread, not the process: takes no CPU from who runs when it wakes, */
    setpriority(PRIO_PROCESS, 0, NICE);        /* and gives it back soon */
    r->w->run(r->w);
}

static void on_loop(uv_work_t *u, int status)
{
    struct request *r = container_of(u, struct request, uv);
    struct work *w = r->w;

    free(r);
    w->done(w);
}

int work_start(struct loop *l, struct work *w)
{
    struct request *r = malloc(sizeof(*r));
    int err;

    if (!r)
        return -ENOMEM;
    r->w = w;
    if ((err = uv_queue_work(loop_uv(l), &r->uv, in_thread, on_loop)) < 0)
        free(r);
    return err;
}
