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
#include "outbound/outbound.h"
#include "platform/platform.h"

#define PROFILE_FD 4
#define LOCAL_FD   5

static const char *absolute(const char *path, char out[PATH_MAX])
{
    char cwd[PATH_MAX];

    if (*path == '/' || !getcwd(cwd, sizeof(cwd)) || snprintf(out, PATH_MAX, "%s/%s", cwd, path) >= PATH_MAX)
        return path;
    return out;
}

int cmd_run(const struct options *o)
{
    char dir[PATH_MAX], file[PATH_MAX];
    const char *profile = o->profile ? o->profile : DEFAULT_PROFILE, *local = o->local ? o->local : DEFAULT_LOCAL, *state = absolute(o->state_dir, dir);
    char *argv[] = { (char *)"shunt", (char *)"worker", (char *)"-d", (char *)state, (char *)"-f", (char *)(strcmp(profile, "-") ? absolute(profile, file) : profile), (char *)"--local", (char *)local,
                     o->foreign ? (char *)"--foreign" : NULL, NULL };

    return plat_supervise(&(struct plat_run){ .profile = profile, .local = local, .need_local = o->local, .state_dir = state, .worker_argv = argv });
}

struct worker {
    struct plat_worker plat;
    struct loop *loop;
    struct engine *eng;
    struct ctl *ctl;
    const struct options *o;
};

/* A file that the supervisor opened: the whole of a sealed memory file, which is closed. Empty when it cannot be mapped. */
static struct cfg_input map_input(int fd, const char *name, bool foreign)
{
    struct cfg_input in = { .name = name, .bytes = "", .foreign = foreign };
    struct stat st;
    void *p;

    if (fstat(fd, &st) == 0 && st.st_size && (p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) != MAP_FAILED) {
        in.bytes = p;
        in.len = (size_t)st.st_size;
    }
    close(fd);
    return in;
}

static void unmap_input(struct cfg_input *in)
{
    if (in->len)
        munmap((char *)in->bytes, in->len);
}

static struct inputs map_inputs(const struct options *o, int profile, int local)
{
    return (struct inputs){ map_input(profile, o->profile, o->foreign), map_input(local, o->local, false) };
}

static void unmap_inputs(struct inputs *in)
{
    unmap_input(&in->profile);
    unmap_input(&in->local);
}

static void on_reload(struct plat_worker *w, int profile, int local)
{
    struct worker *k = w->owner;
    struct inputs in = map_inputs(k->o, profile, local);
    struct diag d;

    if (eng_reload(k->eng, &in.profile, &in.local, true, &d) == 0) {
        fprintf(stderr, "shunt: the profile was read again: %u rules\n", rules_count(eng_policy(k->eng)->rules));
        ctl_reloaded(k->ctl, NULL, NULL);
        ctl_reconfigure(k->ctl);
    } else {
        diag_sort(&d);
        ctl_reloaded(k->ctl, &d, NULL);
        diag_print(&d, stderr, coloured(2));
        fprintf(stderr, "shunt: the old profile stays in use\n");
    }
    diag_fini(&d);
    unmap_inputs(&in);
}

static void on_unread(struct plat_worker *w, const char *why)
{
    ctl_reloaded(((struct worker *)w->owner)->ctl, NULL, why);
}

static void on_stop(struct plat_worker *w)
{
    loop_stop(((struct worker *)w->owner)->loop);
}

static void on_listening(struct plat_worker *w, const struct endpoint *at, bool udp, int fd)
{
    eng_listening(((struct worker *)w->owner)->eng, at, udp, fd);
}

static int set_mark(void *arg, int fd, uint32_t mark)
{
    return plat_worker_mark(arg, fd, mark);
}

static int serve(struct worker *k)
{
    char why[256];

    if (ctl_open(k->eng, k->o->state_dir, &k->ctl) < 0)
        log_warn(LOG_API, "out of memory: neither the command line nor dashboards can reach this shunt");
    if (plat_worker_ready(&k->plat, why) < 0) {
        log_err(LOG_PLAT, "%s", why);
        return EXIT_NOT_SO;
    }
    eng_resume(k->eng);
    if (plat_worker_watch(&k->plat, k->loop) < 0)
        return EXIT_NOT_SO;
    loop_run(k->loop);
    return EXIT_DONE;
}

int cmd_worker(const struct options *o)
{
    struct worker k = { .o = o };
    struct inputs in;
    int r;

    if ((r = plat_worker_init(&k.plat)) < 0) {
        fprintf(stderr, "shunt: the worker cannot give up its privileges: %s\n", err_str(r));
        return r == -EPERM ? EXIT_NOT_PERMITTED : EXIT_NOT_SO;
    }
    k.plat.owner = &k;
    k.plat.on_reload = on_reload;
    k.plat.on_unread = on_unread;
    k.plat.on_stop = on_stop;
    k.plat.on_listening = on_listening;
    sock_marker(set_mark, &k.plat);
    if (!(k.loop = loop_new()))
        return EXIT_NOT_SO;
    in = map_inputs(o, PROFILE_FD, LOCAL_FD);
    r = eng_new(&(struct eng_opts){ k.loop, &k.plat, o->state_dir, SHUNT_VERSION }, &in.profile, in.local.len ? &in.local : NULL, &k.eng);
    unmap_inputs(&in);
    r = r < 0 ? EXIT_NOT_SO : serve(&k);
    ctl_close(k.ctl);
    eng_free(k.eng);
    io_unwatch(&k.plat.io);
    loop_free(k.loop);
    out_trim();
    sock_trim();
    buf_trim();
    return r;
}

int cmd_cleanup(const struct options *o)
{
    char dir[PATH_MAX];

    return plat_cleanup(absolute(o->state_dir, dir));
}
