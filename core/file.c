/*
 * file.c - files that a stranger's text names, kept below one directory
 *
 * The kernel resolves the path and refuses to leave the directory or to follow a link (openat2), so nothing can be swapped between a check and its use.
 */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
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

int file_open_beneath(const char *dir, const char *path)
{
    struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
    int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd, err;
    struct stat st;

    if (at < 0)
        return -errno;
    fd = (int)syscall(SYS_openat2, at, relative(dir, path), &how, sizeof(how));
    err = errno;
    close(at);
    if (fd < 0)
        return -err;
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
