/*
 * file.c - files that a stranger's text names, kept below one directory
 *
 * The kernel resolves the path and refuses to leave the directory or to follow a link (openat2), so nothing can be swapped between a check
 * and its use.
 *
 *   replace:  .NAME.new ──fsync──► on the disk     NAME.1 ─► NAME.2, NAME ═link═► NAME.1     .NAME.new ─rename─► NAME     directory
 * ──fsync──►
 *
 * At every moment, also of a power cut, NAME is the old content or the new one.
 */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An absolute path below dir as a relative one; what is not below it stays as it is, and is refused by the kernel. */
static const char *relative(const char *dir, const char *path)
{
    size_t n = strlen(dir);

    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (path[0] != '/' || strncmp(path, dir, n) != 0 || path[n] != '/')
        return path;
    path += n;
    while (*path == '/')
        path++;
    return *path ? path : ".";
}

static int open_dir(const char *dir)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static int open_at(int at, const char *path, uint64_t flags)
{
    struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    int fd = (int)syscall(SYS_openat2, at, path, &how, sizeof(how));

    return fd < 0 ? -errno : fd;
}

int file_open_beneath(const char *dir, const char *path)
{
    int at = open_dir(dir), fd;
    struct stat st;

    if (at < 0)
        return at;
    fd = open_at(at, relative(dir, path), O_RDONLY | O_NONBLOCK | O_NOCTTY);
    close(at);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
}

static int read_all(int fd, size_t max, char **out, size_t *len, int64_t *written_s)
{
    struct stat st;
    size_t size, at = 0;
    ssize_t n = 0;
    char *buf;

    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uintmax_t)st.st_size > max)
        return -EFBIG;
    size = (size_t)st.st_size;
    if (!(buf = malloc(size + 1)))
        return -ENOMEM;
    while (at < size && (n = read(fd, buf + at, size - at)) > 0)
        at += (size_t)n;
    if (n < 0) {
        int err = errno;

        free(buf);
        return -err;
    }
    buf[at] = 0; /* shorter when somebody cut it meanwhile */
    *out = buf;
    *len = at;
    *written_s = st.st_mtime;
    return 0;
}

int file_read_beneath(const char *dir, const char *path, size_t max, char **out, size_t *len, int64_t *written_s)
{
    int fd = file_open_beneath(dir, path), r;

    if (fd < 0)
        return fd;
    r = read_all(fd, max, out, len, written_s);
    close(fd);
    return r;
}

/* ---- writing ---- */

/* A file by its directory and its name in it. */
struct place {
    int at;
    char name[NAME_MAX + 1];
};

/* The directory that holds it, made where it is missing. */
static int find_place(const char *dir, const char *path, struct place *p)
{
    char part[PATH_MAX];
    const char *base;
    int fd = open_dir(dir);

    path = relative(dir, path);
    base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (fd < 0)
        return fd;
    p->at = fd;
    if (strlen(path) >= sizeof(part) || strlen(base) > NAME_MAX - 16 || !*base || !strcmp(base, ".") || !strcmp(base, "..") ||
        *path == '/') {
        close(fd);
        return *path == '/' ? -EXDEV : -EINVAL;
    }
    strcpy(p->name, base);
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        int next;

        memcpy(part, path, (size_t)(slash - path));
        part[slash - path] = 0;
        next = open_at(p->at, part, O_PATH | O_DIRECTORY);
        if (next == -ENOENT && mkdirat(p->at, part, 0700) == 0)
            next = open_at(p->at, part, O_PATH | O_DIRECTORY);
        if (next < 0) {
            close(fd);
            return next;
        }
        close(next);
    }
    if (base == path)
        return 0;
    p->at = open_at(fd, part, O_PATH | O_DIRECTORY);
    close(fd);
    return p->at < 0 ? p->at : 0;
}

bool file_leads_out(const char *dir, const char *path)
{
    size_t n = dir ? strlen(dir) : 0;
    int depth = 0;

    while (n > 1 && dir[n - 1] == '/')
        n--;
    if (*path == '/' && (!n || strncmp(path, dir, n) != 0 || path[n] != '/'))
        return true;
    for (const char *at = *path == '/' ? path + n : path; *at; at += strspn(at, "/")) {
        size_t len = strcspn(at, "/");

        if (len == 2 && !memcmp(at, "..", 2))
            depth--;
        else if (len && !(len == 1 && *at == '.'))
            depth++;
        if (depth < 0)
            return true;
        at += len;
    }
    return depth <= 0;
}

int file_write(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;

    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno != EINTR)
            return -errno;
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_new(const struct place *p, const char *name, const void *bytes, size_t len)
{
    int fd, r;

    unlinkat(p->at, name, 0); /* left by one that was killed */
    fd = openat(p->at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = file_write(fd, bytes, len);
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    return r;
}

/* NAME.1 becomes NAME.2, and so on; NAME is there as NAME.1 too. What cannot be kept is not. */
static void keep_old(const struct place *p, unsigned keep)
{
    char older[NAME_MAX + 16], newer[NAME_MAX + 16];

    for (unsigned i = keep; i > 1; i--) {
        snprintf(older, sizeof(older), "%s.%u", p->name, i);
        snprintf(newer, sizeof(newer), "%s.%u", p->name, i - 1);
        (void)!renameat(p->at, newer, p->at, older);
    }
    if (!keep)
        return;
    snprintf(newer, sizeof(newer), "%s.1", p->name);
    unlinkat(p->at, newer, 0);
    (void)!linkat(p->at, p->name, p->at, newer, 0);
}

static int sync_dir(const struct place *p)
{
    int fd = openat(p->at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return r;
}

int file_replace_beneath(const char *dir, const char *path, const void *bytes, size_t len, unsigned keep)
{
    char name[NAME_MAX + 16];
    struct place p;
    int r = find_place(dir, path, &p);

    if (r < 0)
        return r;
    snprintf(name, sizeof(name), ".%s.new", p.name);
    if ((r = write_new(&p, name, bytes, len)) == 0) {
        keep_old(&p, keep < 9 ? keep : 9);
        r = renameat(p.at, name, p.at, p.name) < 0 ? -errno : 0;
    }
    if (r < 0)
        unlinkat(p.at, name, 0);
    else
        sync_dir(&p); /* the file is there; that its name is not on the disk yet is no reason to say it is not */
    close(p.at);
    return r;
}

int file_set_aside_beneath(const char *dir, const char *path)
{
    char bad[NAME_MAX + 16];
    struct place p;
    int r = find_place(dir, path, &p);

    if (r < 0)
        return r;
    snprintf(bad, sizeof(bad), "%s.bad", p.name);
    r = renameat(p.at, p.name, p.at, bad) < 0 ? -errno : 0;
    close(p.at);
    return r;
}

int file_touch_beneath(const char *dir, const char *path)
{
    int fd = file_open_beneath(dir, path), r;

    if (fd < 0)
        return fd;
    r = futimens(fd, NULL) < 0 ? -errno : 0;
    close(fd);
    return r;
}
