/*
 * cmd_run.c - `run`: the supervisor; and the hidden verb `worker`, the process that does the work
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/app.h"
#include "controller/controller.h"
#include "core/err.h"
#include "core/pool.h"
#include "core/sock.h"
#include "engine/engine.h"
#include "platform/platform.h"

#define PROFILE_FD 4

static const char *absolute(const char *path, char out[PATH_MAX])
{
    char cwd[PATH_MAX];

    if (*path == '/' || !getcwd(cwd, sizeof(cwd)) || snprintf(out, PATH_MAX, "%s/%s", cwd, path) >= PATH_MAX)
        return path;
    return out;
}

int cmd_run(const struct options *o)
{
    char dir[PATH_MAX];
    const char *profile = o->profile ? o->profile : DEFAULT_PROFILE, *state = absolute(o->state_dir, dir);
    char *argv[] = { (char *)"shunt", (char *)"worker", (char *)"-d", (char *)state, (char *)profile, NULL };

    if (o->argc) {
        fprintf(stderr, "shunt: run takes no arguments; the profile is given with -f\n");
        return EXIT_USAGE;
    }
    return plat_supervise(&(struct plat_run){ .profile = profile, .state_dir = state, .worker_argv = argv });
}

struct worker {
    struct plat_worker plat;
    struct loop *loop;
    struct engine *eng;
    struct ctl *ctl;
    const struct options *o;
};

/* The whole of a sealed memory file; NULL when empty or unreadable. */
static char *map_profile(int fd, size_t *len)
{
    struct stat st;
    void *p;

    *len = 0;
    if (fstat(fd, &st) < 0 || !st.st_size)
        return NULL;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return NULL;
    *len = (size_t)st.st_size;
    return p;
}

static void on_reload(struct plat_worker *w, int fd)
{
    struct worker *k = w->owner;
    struct diag d;
    size_t len;
    char *bytes = map_profile(fd, &len);

    close(fd);
    if (eng_reload(k->eng, bytes ? bytes : "", len, true, &d) == 0) {
        fprintf(stderr, "shunt: the profile was read again: %u rules\n", rules_count(eng_policy(k->eng)->rules));
        ctl_reconfigure(k->ctl);
    } else {
        diag_print(&d, stderr, coloured(2));
        diag_fini(&d);
        fprintf(stderr, "shunt: the old profile stays in use\n");
    }
    if (bytes)
        munmap(bytes, len);
}

static void on_stop(struct plat_worker *w)
{
    loop_stop(((struct worker *)w->owner)->loop);
}

static int serve(struct worker *k)
{
    char why[256];

    if (ctl_open(k->eng, k->o->state_dir, &k->ctl) < 0)
        log_warn(LOG_API, "the control socket is not there: the command line cannot reach this shunt");
    if (plat_worker_ready(&k->plat, why) < 0) {
        log_err(LOG_PLAT, "%s", why);
        return EXIT_NOT_SO;
    }
    if (plat_worker_watch(&k->plat, k->loop) < 0)
        return EXIT_NOT_SO;
    loop_run(k->loop);
    return EXIT_DONE;
}

int cmd_worker(const struct options *o)
{
    struct worker k = { .o = o };
    char *bytes;
    size_t len;
    int r;

    if ((r = plat_worker_init(&k.plat)) < 0) {
        fprintf(stderr, "shunt: the worker cannot give up its privileges: %s\n", err_str(r));
        return r == -EPERM ? EXIT_NOT_PERMITTED : EXIT_NOT_SO;
    }
    k.plat.owner = &k;
    k.plat.on_reload = on_reload;
    k.plat.on_stop = on_stop;
    if (!(k.loop = loop_new()))
        return EXIT_NOT_SO;
    bytes = map_profile(PROFILE_FD, &len);
    close(PROFILE_FD);
    r = eng_new(&(struct eng_opts){ k.loop, &k.plat, o->argc ? o->argv[0] : "profile", o->state_dir, SHUNT_VERSION }, bytes ? bytes : "", len, &k.eng);
    if (bytes)
        munmap(bytes, len);
    r = r < 0 ? EXIT_NOT_SO : serve(&k);
    ctl_close(k.ctl);
    eng_free(k.eng);
    io_unwatch(&k.plat.io);
    loop_free(k.loop);
    sock_trim();
    buf_trim();
    return r;
}

int cmd_cleanup(const struct options *o)
{
    char dir[PATH_MAX];

    return plat_cleanup(absolute(o->state_dir, dir));
}
