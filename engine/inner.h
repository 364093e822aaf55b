/*
 * inner.h - how a thread of ours talks to the world: through the engine, as a flow like any other
 */
#ifndef ENGINE_INNER_H
#define ENGINE_INNER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/list.h"

struct engine;

#define INNER_NAME_MAX 64

/* What connections of one purpose have in common. Embedded in its owner; belongs to the loop. */
struct inner {
    struct engine *e;
    const char *proxy;    /* the policy they go by; NULL: mode and rules decide. Borrowed */
    bool anywhere;        /* may lead to private addresses: the user wrote it himself */
    atomic_int failed;    /* why the last one leads nowhere: -err; 0 = nothing is known */
    pthread_mutex_t lock; /* private, as what follows */
    struct list_head lines;
};

void inner_init(struct inner *in, struct engine *e, const char *proxy, bool anywhere);
/* From any thread. Makes an abstract Unix socket that leads to host:port, once, for this process: its name (without the first zero byte). 0
 * or -errno. Whoever connects talks as soon as the way is there; it is closed when there is none. */
int inner_open(struct inner *in, const char *host, uint16_t port, char name[INNER_NAME_MAX]);
/* From the loop, when no thread calls inner_open any more: sockets that nobody came to are closed; what is connected lives on by itself. */
void inner_fini(struct inner *in);

#endif
