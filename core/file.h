/*
 * file.h - files that a stranger's text names, kept below one directory; writing all of a text
 */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens an existing regular file for reading: `path` is relative to `dir`, or absolute and below it. No symbolic link on the way, nothing
 * above dir. The descriptor, or -err: -EXDEV outside of dir, -ELOOP a link, -EISDIR or -EINVAL no regular file, -ENOENT ... */
int file_open_beneath(const char *dir, const char *path);
/* Does the text of a path alone lead out of dir (NULL: there is none, and every absolute path does), or to dir itself? Links are the
 * kernel's to find, when the file is opened. */
bool file_leads_out(const char *dir, const char *path);
/* Reads all of such a file, at most max bytes (-EFBIG). 0, *out (with a NUL behind its *len bytes; the caller frees it) and when it was
 * last written (Unix time), or -err. */
int file_read_beneath(const char *dir, const char *path, size_t max, char **out, size_t *len, int64_t *written_s);

/* Writes all of it, however often that takes. 0, or -err: some of it may be there. */
int file_write(int fd, const void *bytes, size_t len);
/* Makes such a file be these bytes, all of them or none: written beside it, on the disk, then put in its place. Directories on the way are
 * made (0700; the file is 0600). The last `keep` contents before (at most 9) stay as PATH.1 (the newest), PATH.2, ... 0, or -err: nothing
 * has changed then. */
int file_replace_beneath(const char *dir, const char *path, const void *bytes, size_t len, unsigned keep);
/* Renames it to PATH.bad, over an older one: kept for people to look at, no longer found. 0 or -err. */
int file_set_aside_beneath(const char *dir, const char *path);
/* Says that it was written just now. 0 or -err. */
int file_touch_beneath(const char *dir, const char *path);

#endif
