/*
 * before.c - what must hold before anything is changed
 *
 *   the profile can be read        it is copied into a sealed memory file: nobody can change it under the worker that reads it; the local file likewise
 *   nobody else does our work      an abstract socket name: it belongs to the network namespace, and goes with the process, however that ends
 *   nobody else has the worker's id in this network namespace: that traffic would bypass us
 *   the state directory is there, is the worker's, and the worker can get to it
 *
 * Every function prints its own reason: it is a message for a person, with the remedy.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "platform/sys.h"

#define PROFILE_MAX (64u << 20)
#define DYING_MS 1000 /* a worker whose supervisor was killed needs a moment to go */

/* ---- the files ---- */

static int copy(int from, int to)
{
    static char buf[65536];
    size_t total = 0;
    int r = 0;

    while (r == 0) {
        ssize_t n = read(from, buf, sizeof(buf));

        if (n == 0)
            return 0;
        if (n < 0)
            r = errno == EINTR ? 0 : -errno;
        else if ((total += (size_t)n) > PROFILE_MAX)
            r = -EFBIG;
        else
            r = file_write(to, buf, (size_t)n);
    }
    return r;
}

/* What `from` holds (-1: nothing) as a sealed memory file. */
static int sealed(int from)
{
    int to = memfd_create("profile", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = to < 0 ? -errno : from < 0 ? 0 : copy(from, to);

    if (r == 0 && fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        r = -errno;
    if (r == 0)
        return to;
    if (to >= 0)
        close(to);
    return r;
}

const char *before_why(int err)
{
    return err == -EFBIG ? "larger than 64 MiB: this is no profile" : err == -ESPIPE ? "a pipe is read once, at the start" : strerror(-err);
}

static int refused(const char *name, int err)
{
    fprintf(stderr, "shunt: %s: %s\n", name, before_why(err));
    return err;
}

/* Whoever is at its other end could let us wait, deaf to signals. Devices are let through: /dev/null is one, and O_NONBLOCK is enough for the others. */
static bool is_pipe(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
}

int before_file(const char *name, bool again)
{
    bool in = !strcmp(name, "-");
    int from = in ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC | (again ? O_NONBLOCK : 0));
    int r = from < 0 ? -errno : again && (in || is_pipe(from)) ? -ESPIPE : sealed(from);

    if (from >= 0 && !in)
        close(from);
    return r < 0 ? refused(in ? "standard input" : name, r) : r;
}

int before_optional_file(const char *name, bool again)
{
    int r;

    if (name && (access(name, F_OK) == 0 || errno != ENOENT))
        return before_file(name, again);
    return (r = sealed(-1)) < 0 ? refused("memory file", r) : r;
}

/* ---- one shunt here ---- */

static socklen_t instance_name(struct sockaddr_un *sa)
{
    static const char name[] = "\0shunt-run";

    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, name, sizeof(name) - 1);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1);
}

/* Who has the name. A shunt listens on it as root; anybody else who took it must not be able to keep us from starting. */
static bool other_shunt(struct ucred *who)
{
    struct sockaddr_un sa;
    socklen_t len = instance_name(&sa), size = sizeof(*who);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool found = s >= 0 && connect(s, (struct sockaddr *)&sa, len) == 0 && getsockopt(s, SOL_SOCKET, SO_PEERCRED, who, &size) == 0 && who->uid == geteuid();

    if (s >= 0)
        close(s);
    return found;
}

int before_instance(bool quietly)
{
    struct sockaddr_un sa;
    socklen_t len = instance_name(&sa);
    struct ucred who;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (s < 0) {
        fprintf(stderr, "shunt: %s\n", strerror(errno));
        return -1;
    }
    if (bind(s, (struct sockaddr *)&sa, len) == 0) {
        listen(s, 8);
        return s;
    }
    if (errno != EADDRINUSE || !other_shunt(&who))
        return s; /* a name without a shunt behind it: the lock on the state directory still holds */
    close(s);
    if (!quietly)
        fprintf(stderr, "shunt: another shunt (process %d) is running in this network namespace\n", who.pid);
    return -1;
}

/* ---- nobody else under the worker's id ---- */

static ino_t netns_of(const char *pid)
{
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%.16s/ns/net", pid);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

/* Real or effective; from status, because the owner of /proc/PID is root for a process that cannot be dumped. A zombie sends nothing. */
static bool runs_under(const char *pid, uid_t uid)
{
    char path[64], line[256];
    unsigned real = ~0u, effective = ~0u;
    bool zombie = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%.16s/status", pid);
    if (!(f = fopen(path, "re")))
        return false;
    while (fgets(line, sizeof(line), f)) {
        zombie |= !strncmp(line, "State:\tZ", 8) || !strncmp(line, "State:\tX", 8);
        if (sscanf(line, "Uid: %u %u", &real, &effective) == 2)
            break;
    }
    fclose(f);
    return !zombie && (real == uid || effective == uid);
}

static int find_foreign(uid_t uid)
{
    DIR *d = opendir("/proc");
    ino_t here = netns_of("self");
    struct dirent *e;
    int found = 0;

    while (d && !found && (e = readdir(d)))
        if (isdigit((unsigned char)e->d_name[0]) && runs_under(e->d_name, uid) && netns_of(e->d_name) == here)
            found = atoi(e->d_name);
    if (d)
        closedir(d);
    return found;
}

int before_foreign(uid_t uid)
{
    uint64_t until = loop_clock() + DYING_MS;
    int pid;

    while ((pid = find_foreign(uid)) && loop_clock() < until)
        poll(NULL, 0, 20);
    return pid;
}

/* ---- the state directory ---- */

uid_t plat_worker_uid(void)
{
    struct passwd *p = getpwnam("shunt");

    return p ? p->pw_uid : 65017;
}

/* Makes the directory and its parents. Was it there before? */
static int make_dirs(const char *dir, bool *was_there)
{
    char path[PATH_MAX];

    *was_there = false;
    if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    for (char *p = path + 1;; p++) {
        char c = *p;

        if (c && c != '/')
            continue;
        *p = 0;
        *was_there = mkdir(path, c && p[1] ? 0755 : 0700) < 0;
        if (*was_there && errno != EEXIST)
            return -errno;
        if (!c || !p[1])
            return 0;
        *p = c;
    }
}

static bool is_empty(int fd)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = own >= 0 ? fdopendir(own) : NULL;
    struct dirent *e;
    bool empty = d;

    if (!d && own >= 0)
        close(own);
    while (d && empty && (e = readdir(d)))
        empty = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
    if (d)
        closedir(d);
    return empty;
}

/* Does it look like somebody else's? `-d /etc`, `-d /tmp` or `-d /home/ann` must stay harmless mistakes. */
static bool of_others(const char *dir, const struct stat *st)
{
    static const char *const system_parents[] = { "", "/var", "/usr" };
    char real[PATH_MAX], *slash;

    if (st->st_uid != geteuid() || st->st_mode & (S_IWGRP | S_IWOTH | S_ISVTX))
        return true;
    if (!realpath(dir, real) || !(slash = strrchr(real, '/')))
        return true;
    *slash = 0;
    for (size_t i = 0; i < sizeof(system_parents) / sizeof(system_parents[0]); i++)
        if (!strcmp(real, system_parents[i]))
            return true;
    return false;
}

/* The directory becomes the worker's. */
static int adopt(const char *dir, bool was_there, uid_t uid)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        r = -errno;
    else if (was_there && st.st_uid != uid && !is_empty(fd) && of_others(dir, &st))
        r = -ENOTEMPTY;
    else if (fchown(fd, uid, uid) < 0 || fchmod(fd, 0700) < 0)
        r = -errno;
    if (fd >= 0)
        close(fd);
    return r;
}

/* Asked by a process that has become the worker: with its rights and none of our groups. */
static int reachable(const char *dir, uid_t uid)
{
    int status;
    pid_t pid = fork();

    if (pid < 0)
        return -errno;
    if (pid == 0) {
        if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
            _exit(0); /* the worker will find that out, and say it better */
        _exit(access(dir, R_OK | W_OK | X_OK) < 0 ? errno : 0);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int plat_state_dir(const char *dir)
{
    uid_t uid = plat_worker_uid();
    bool was_there;
    int r = make_dirs(dir, &was_there);

    if (geteuid() != 0) { /* a verb of an ordinary user: the directory is his */
        if (r < 0)
            fprintf(stderr, "shunt: state directory %s: %s\n", dir, strerror(-r));
        return r;
    }
    if (r == 0 && (r = adopt(dir, was_there, uid)) == -ENOTEMPTY) {
        fprintf(stderr, "shunt: %s holds files and is not shunt's: choose another directory with -d, or hand this one over: chown -R %u:%u %s\n", dir, uid, uid, dir);
        return r;
    }
    if (r < 0) {
        fprintf(stderr, "shunt: state directory %s: %s\n", dir, strerror(-r));
        return r;
    }
    if ((r = reachable(dir, uid)) < 0)
        fprintf(stderr, "shunt: user id %u cannot get to the state directory %s (%s): its parents must be passable (chmod o+x), or choose another with -d\n", uid, dir,
                strerror(-r));
    return r;
}
