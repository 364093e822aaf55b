/*
 * core_work.c - jobs of the pool: run elsewhere, finished on the loop
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/work.h"

struct task {
    struct work w;
    struct job post;
    struct loop *loop;
    pthread_t ran_in, done_in, posted_in;
    int ran, done, posted, order, nice;
};

static void on_post(struct job *j)
{
    struct task *t = container_of(j, struct task, post);

    t->posted++;
    t->posted_in = pthread_self();
}

static void run(struct work *w)
{
    struct task *t = container_of(w, struct task, w);

    t->ran++;
    t->nice = getpriority(PRIO_PROCESS, 0);
    t->ran_in = pthread_self();
    if (t->loop)
        loop_post(t->loop, &t->post);
    usleep(1000);
}

static void done(struct work *w)
{
    struct task *t = container_of(w, struct task, w);

    t->done++;
    t->done_in = pthread_self();
}

static void work_runs_elsewhere_and_ends_here(void **state)
{
    struct task t[20] = { 0 };
    struct loop *l = loop_new();
    int n = 0;

    for (int i = 0; i < 20; i++) {
        t[i] = (struct task){ .w = { run, done }, .post.cb = on_post, .loop = l };
        assert_int_equal(work_start(l, &t[i].w), 0);
    }
    while (n < 20) {
        loop_turn(l, 100);
        n = 0;
        for (int i = 0; i < 20; i++)
            n += t[i].done && t[i].posted;
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(t[i].ran + t[i].done + t[i].posted, 3);
        assert_false(pthread_equal(t[i].ran_in, pthread_self()));
        assert_true(pthread_equal(t[i].done_in, pthread_self()));
        assert_true(t[i].nice >= 10);
        assert_true(pthread_equal(t[i].posted_in, pthread_self()));
    }
    loop_free(l);
}

static void the_loop_does_not_leave_before(void **state)
{
    struct loop *l = loop_new();
    struct task t = { .w = { run, done } };

    assert_int_equal(work_start(l, &t.w), 0);
    loop_free(l);
    assert_int_equal(t.done, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_runs_elsewhere_and_ends_here),
        cmocka_unit_test(the_loop_does_not_leave_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
