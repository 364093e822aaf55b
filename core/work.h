/*
 * work.h - what would keep the loop too long: done by a thread of libuv's pool
 */
#ifndef CORE_WORK_H
#define CORE_WORK_H

#include "core/loop.h"

/* Embedded in the object it serves. The thread may touch what nobody else touches meanwhile, and call loop_post(). */
struct work {
    void (*run)(struct work *w);  /* in the thread, which gives way to the loop */
    void (*done)(struct work *w); /* from the loop, once, when run has returned */
};

/* 0: done comes later, and the object must live until then (loop_free() waits for it); -ENOMEM. */
int work_start(struct loop *l, struct work *w);

#endif
