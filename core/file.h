/*
 * file.h - files that a stranger's text names, kept below one directory
 */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include <stddef.h>
#include <stdint.h>

/* Opens an existing regular file for reading: `path` is relative to `dir`, or absolute and below it. No symbolic link on the way, nothing above dir.
 * The descriptor, or -err: -EXDEV outside of dir, -ELOOP a link, -EISDIR or -EINVAL no regular file, -ENOENT ... */
int file_open_beneath(const char *dir, const char *path);
/* Reads all of such a file, at most max bytes (-EFBIG). 0, *out (with a NUL behind its *len bytes; the caller frees it) and when it was last written
 * (Unix time), or -err. */
int file_read_beneath(const char *dir, const char *path, size_t max, char **out, size_t *len, int64_t *written_s);

#endif
