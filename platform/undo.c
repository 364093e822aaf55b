/*
 * undo.c - the journal of changes, and taking them back
 *
 * Every kind of change is noted and synced before it is made. Taking back does not trust the file, though: our rules and routes carry a protocol number and
 * our nft tables a name, so exactly what is still ours is removed, nothing else, with or without a journal. Device, redirect and sockets need no undo: they go
 * with the process that holds them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "platform/sys.h"

static bool path(const char *state_dir, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/journal", state_dir) < PATH_MAX;
}

int undo_note(const char *state_dir, const char *fmt, ...)
{
    char file[PATH_MAX], line[256];
    va_list ap;
    int fd, n, r = 0;

    if (!path(state_dir, file) || (fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return -errno;
    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    line[n] = '\n';
    if (write(fd, line, (size_t)n + 1) != n + 1 || fdatasync(fd) < 0)
        r = errno ? -errno : -EIO;
    close(fd);
    return r;
}

void undo_forget(const char *state_dir)
{
    char file[PATH_MAX];

    if (path(state_dir, file))
        unlink(file);
}

unsigned undo_all(const char *state_dir, bool verbose)
{
    struct nl *n = nl_open();
    unsigned rules = n ? nl_remove_ours(n) : 0, tables = nft_remove_ours();

    nl_close(n);
    undo_forget(state_dir);
    if (verbose && rules)
        printf("removed %u policy rules and routes\n", rules);
    if (verbose && tables)
        printf("removed %u nft tables\n", tables);
    return rules + tables;
}
