/*
 * resolvconf.c - /etc/resolv.conf, where nothing better leads queries to us: by the program resolvconf, or by our own hand
 *
 *   # shunt: ...                         what we put before it
 *   nameserver 198.18.0.2
 *   options timeout:2                    the old options without those that would trust or disturb us
 *   # shunt: what was here before
 *   search lan                           the old text: kept as it is,
 *   #shunt# nameserver 192.168.1.1       or out of force
 *
 * So the file holds its own way back, also for a shunt that starts after a power cut, and what a person changes in it meanwhile stays. It
 * is replaced in one step; a file that cannot be (bind-mounted into a container) is written over.
 *
 * What is no regular file is somebody's product: it is left alone. resolvconf's product is left to resolvconf.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/sys.h"

#define FILE_MAX 65536
#define FIRST    "# shunt: names are asked here while shunt runs; `shunt cleanup` brings back what was before\n"
#define LAST     "# shunt: what was here before\n"
#define OFF      "#shunt# "

/* ---- text ---- */

/* Is the line's first word this one? Then *rest is what follows. */
static bool says(const char *line, size_t len, const char *word, const char **rest)
{
    size_t n = strlen(word);

    if (len < n || memcmp(line, word, n) != 0 || (len > n && line[n] != ' ' && line[n] != '\t'))
        return false;
    *rest = line + n;
    return true;
}

static size_t line_end(const char *p, const char *end)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));

    return nl ? (size_t)(nl - p) + 1 : (size_t)(end - p);
}

/* A line of options but for those about EDNS and trust; nothing when no other is left. */
static void put_options(FILE *f, const char *p, const char *end)
{
    const char *head = "options";

    for (size_t n; p < end; p += n) {
        p += strspn(p, " \t");
        n = strcspn(p, " \t\n");
        if (!n || p >= end)
            break;
        if ((n == 5 && !memcmp(p, "edns0", n)) || (n == 8 && !memcmp(p, "trust-ad", n)))
            continue;
        fprintf(f, "%s %.*s", head, (int)n, p);
        head = "";
    }
    if (!*head)
        fputc('\n', f);
}

char *resolv_text(const char *old, const struct addr *server)
{
    char *text = NULL, addr[ADDR_STRLEN];
    const char *end = old + strlen(old), *rest;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    if (!f)
        return NULL;
    fprintf(f, FIRST "nameserver %s\n", addr_str(server, addr));
    for (const char *p = old; p < end; p += line_end(p, end))
        if (says(p, line_end(p, end), "options", &rest))
            put_options(f, rest, p + line_end(p, end));
    fputs(LAST, f);
    for (const char *p = old; p < end; p += line_end(p, end)) {
        size_t n = line_end(p, end);
        bool off = says(p, n, "nameserver", &rest) || says(p, n, "options", &rest) || (n >= 7 && !memcmp(p, OFF, 7));

        fprintf(f, "%s%.*s", off ? OFF : "", (int)n, p);
    }
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}

char *resolv_text_before(const char *ours)
{
    const char *p = strstr(ours, LAST), *end = ours + strlen(ours);
    char *text, *at;

    if (strncmp(ours, FIRST, sizeof(FIRST) - 1) != 0 || !p || !(text = malloc(strlen(p) + 1)))
        return NULL;
    at = text;
    for (p += sizeof(LAST) - 1; p < end;) {
        size_t n = line_end(p, end), skip = n >= sizeof(OFF) - 1 && !memcmp(p, OFF, sizeof(OFF) - 1) ? sizeof(OFF) - 1 : 0;

        memcpy(at, p + skip, n - skip);
        at += n - skip;
        p += n;
    }
    *at = 0;
    return text;
}

/* Does it name a server that a query cannot reach through the device: on this machine, or in the LAN? */
static bool names_near_server(const char *text)
{
    const char *end = text + strlen(text), *rest;

    for (const char *p = text; p < end; p += line_end(p, end)) {
        char word[ADDR_STRLEN + 1];
        struct addr a;

        if (!says(p, line_end(p, end), "nameserver", &rest) || sscanf(rest, "%46s", word) != 1)
            continue;
        word[strcspn(word, "%")] = 0;
        if (addr_parse(word, &a) == 0 && (addr_is_loopback(&a) || addr_is_private(&a) || addr_is_link_local(&a)))
            return true;
    }
    return false;
}

/* ---- the file ---- */

static bool path_of(const char *root, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s/etc/%s", root, name) < PATH_MAX;
}

/* The text of a regular file, and what it is; NULL with errno. The caller frees. */
static char *read_text(const char *path, struct stat *st)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), err = EINVAL;
    char *text = NULL;
    ssize_t n = -1;

    if (fd < 0)
        return NULL;
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && (text = malloc(FILE_MAX + 1)))
        n = read(fd, text, FILE_MAX + 1);
    close(fd);
    if (n >= 0 && n <= FILE_MAX && !memchr(text, 0, (size_t)n)) {
        text[n] = 0;
        return text;
    }
    free(text);
    errno = err;
    return NULL;
}

static int write_all(int fd, const char *text)
{
    size_t len = strlen(text);
    ssize_t n = pwrite(fd, text, len, 0);

    if (n < 0 || (size_t)n != len)
        return n < 0 ? -errno : -ENOSPC;
    return ftruncate(fd, (off_t)len) < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* In one step: a new file takes the name. */
static int replace(const char *root, const char *path, const struct stat *st, const char *text)
{
    char fresh[PATH_MAX];
    int fd, r;

    if (!path_of(root, ".resolv.conf.shunt", fresh))
        return -ENAMETOOLONG;
    unlink(fresh); /* of a shunt that was killed */
    if ((fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return -errno;
    r = fchown(fd, st->st_uid, st->st_gid) < 0 || fchmod(fd, st->st_mode & 07777) < 0 ? -errno : write_all(fd, text);
    close(fd);
    if (r == 0 && rename(fresh, path) < 0)
        r = -errno;
    if (r < 0)
        unlink(fresh);
    return r;
}

static int write_over(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), r;

    if (fd < 0)
        return -errno;
    r = write_all(fd, text);
    close(fd);
    return r;
}

static int put(const char *root, const char *path, const struct stat *st, const char *text)
{
    if (!text)
        return -ENOMEM;
    return replace(root, path, st, text) < 0 ? write_over(path, text) : 0;
}

enum told resolv_point(const char *root, const struct addr *server, char *why)
{
    char path[PATH_MAX], first[ADDR_STRLEN + 16], addr[ADDR_STRLEN];
    char *old, *before, *ours;
    struct stat st;
    int r;

    if (!path_of(root, "resolv.conf", path) || !(old = read_text(path, &st))) {
        snprintf(why, WHY_MAX, "it is no plain file, so it belongs to the program that made it: name %s as a server there",
                 addr_str(server, addr));
        return TOLD_FAILED;
    }
    snprintf(first, sizeof(first), "nameserver %s\n", addr_str(server, addr));
    if (!strncmp(old, FIRST, sizeof(FIRST) - 1) && !strncmp(old + sizeof(FIRST) - 1, first, strlen(first))) {
        free(old);
        return TOLD_BEFORE;
    }
    if ((before = resolv_text_before(old))) { /* ours, and changed */
        free(old);
        old = before;
    }
    if (!names_near_server(old)) { /* what it names is asked through the device */
        free(old);
        return TOLD_NOBODY;
    }
    ours = resolv_text(old, server);
    if ((r = put(root, path, &st, ours)) < 0)
        snprintf(why, WHY_MAX, "%s", strerror(-r));
    free(ours);
    free(old);
    return r < 0 ? TOLD_FAILED : TOLD_NOW;
}

bool resolv_is_ours(const char *root)
{
    char path[PATH_MAX], head[sizeof(FIRST) - 1];
    int fd = path_of(root, "resolv.conf", path) ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    bool ours = fd >= 0 && read(fd, head, sizeof(head)) == (ssize_t)sizeof(head) && !memcmp(head, FIRST, sizeof(head));

    if (fd >= 0)
        close(fd);
    return ours;
}

int resolv_leave(const char *root)
{
    char path[PATH_MAX];
    struct stat st;
    char *ours, *before;
    int r = 0;

    if (!path_of(root, "resolv.conf", path) || !(ours = read_text(path, &st)))
        return 0;
    if ((before = resolv_text_before(ours)))
        r = put(root, path, &st, before);
    free(before);
    free(ours);
    return r < 0 ? r : before != NULL;
}

/* ---- the program ---- */

/* Where it is; NULL: it is not, or it is systemd-resolved in disguise. */
static const char *resolvconf(const char *root, char path[PATH_MAX])
{
    static const char *const places[] = { "/sbin", "/usr/sbin", "/usr/bin", "/bin" };

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        char *real;
        bool other;

        if (snprintf(path, PATH_MAX, "%s%s/resolvconf", root, places[i]) >= PATH_MAX || !(real = realpath(path, NULL)))
            continue;
        other = strstr(real, "resolvectl") || strstr(real, "systemd");
        free(real);
        return other ? NULL : path;
    }
    return NULL;
}

/* Is /etc/resolv.conf its product? */
static bool is_product(const char *root)
{
    char path[PATH_MAX], text[1024] = "";
    ssize_t n = path_of(root, "resolv.conf", path) ? readlink(path, text, sizeof(text) - 1) : -1;
    int fd;

    if (n < 0 && (fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) >= 0) {
        n = read(fd, text, sizeof(text) - 1);
        close(fd);
    }
    text[n > 0 ? n : 0] = 0;
    return strstr(text, "resolvconf");
}

static int run(const char *program, char *const *argv, int in)
{
    static char *const env[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
    posix_spawn_file_actions_t a;
    int r, status = 0;
    pid_t pid;

    posix_spawn_file_actions_init(&a);
    if (in >= 0)
        posix_spawn_file_actions_adddup2(&a, in, STDIN_FILENO);
    r = posix_spawn(&pid, program, &a, NULL, argv, env);
    posix_spawn_file_actions_destroy(&a);
    if (r)
        return -r;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

enum told resolvconf_point(const char *root, const struct addr *server, char *why)
{
    char path[PATH_MAX], line[ADDR_STRLEN + 16], addr[ADDR_STRLEN];
    const char *program = is_product(root) ? resolvconf(root, path) : NULL;
    /* the first of all, and for openresolv the only one; the other resolvconf ignores what it does not know */
    char *argv[] = { (char *)"resolvconf", (char *)"-a", (char *)RESOLVCONF_NAME, (char *)"-m", (char *)"0", (char *)"-x", NULL };
    int in, r;

    if (!program)
        return TOLD_NOBODY;
    if ((in = memfd_create("resolvconf", MFD_CLOEXEC)) < 0)
        return TOLD_FAILED;
    snprintf(line, sizeof(line), "nameserver %s\n", addr_str(server, addr));
    r = write_all(in, line);
    if (r == 0)
        r = run(program, argv, in);
    close(in);
    if (r < 0)
        snprintf(why, WHY_MAX, "%s: %s", program, strerror(-r));
    return r < 0 ? TOLD_FAILED : TOLD_NOW;
}

int resolvconf_leave(const char *root)
{
    char *argv[] = { (char *)"resolvconf", (char *)"-d", (char *)RESOLVCONF_NAME, NULL };
    char path[PATH_MAX];
    const char *program = resolvconf(root, path);

    return program ? run(program, argv, -1) : -ENOENT;
}
