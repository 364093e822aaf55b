/*
 * work.c - jobs for libuv's pool of threads
 *
 * One small block per job, from start to done.
 */
#include "core/work.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

struct request {
    uv_work_t uv;
    struct work *w;
};

static void in_thread(uv_work_t *u)
{
    struct request *r = container_of(u, struct request, uv);

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
