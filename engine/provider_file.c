/*
 * provider_file.c - where the content of a provider is, and whether it can be what it should
 *
 *   http    STATE/path, if that is inside          STATE/rules/MD5-OF-URL else          .1 and .2: the copies before
 *   file    STATE/path                             for the user's own file: any path, and one beside the profile
 *
 * No memory but what is read.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "engine/provider.h"
#include "outbound/outbound.h"

#define DATA_MAX    ((size_t)64 << 20)
#define PROXIES_MAX ((size_t)16 << 20)

static pthread_mutex_t storing = PTHREAD_MUTEX_INITIALIZER;

void provider_lock(void)
{
    pthread_mutex_lock(&storing);
}

void provider_unlock(void)
{
    pthread_mutex_unlock(&storing);
}

size_t provider_size_max(const struct provider_spec *s)
{
    size_t max = s->kind == PROVIDER_PROXIES ? PROXIES_MAX : DATA_MAX;

    return s->size_limit > 0 && (uint64_t)s->size_limit < max ? (size_t)s->size_limit : max;
}

static int by_url(const struct provider_spec *s, char out[PATH_MAX])
{
    static const char *const dir[] = { [PROVIDER_PROXIES] = "proxies", [PROVIDER_RULES] = "rules", [PROVIDER_GEO] = "geo" };

    return s->url ? out_url_file(dir[s->kind], s->url, out) : -EINVAL;
}

int provider_path(const struct provider_spec *s, const char *state_dir, char out[PATH_MAX])
{
    bool named = s->path && *s->path;
    int r;

    if (named && strlen(s->path) >= PATH_MAX - 16)
        return -ENAMETOOLONG;
    if (named && !file_leads_out(state_dir, s->path)) {
        strcpy(out, s->path);
        return 0;
    }
    r = by_url(s, out);
    return r < 0 ? r : named ? -EXDEV : 0;
}

/* Where a file that the user himself named is, as it is called without links: an absolute path, or a relative one beside the profile that
 * is not in the state directory. */
static bool own_place(const struct provider_spec *s, const char *state_dir, char real[PATH_MAX])
{
    char path[PATH_MAX];
    int fd;

    if (!s->own || (*s->path != '/' && !s->near))
        return false;
    if (*s->path == '/')
        return realpath(s->path, real);
    if ((fd = file_open_beneath(state_dir, s->path)) >= 0) {
        close(fd);
        return false;
    }
    return snprintf(path, sizeof(path), "%s/%s", s->near, s->path) < (int)sizeof(path) && realpath(path, real);
}

static int read_file(const struct provider_spec *s, const char *state_dir, char **bytes, size_t *len, int64_t *written_s)
{
    char real[PATH_MAX], dir[PATH_MAX], *slash;

    if (!own_place(s, state_dir, real))
        return file_read_beneath(state_dir, s->path, provider_size_max(s), bytes, len, written_s);
    strcpy(dir, real);
    slash = strrchr(dir, '/');
    slash[slash == dir] = 0;
    return file_read_beneath(dir, real, provider_size_max(s), bytes, len, written_s);
}

bool provider_stat(const struct provider_spec *s, const char *state_dir, struct stat *st)
{
    char real[PATH_MAX];
    int fd = -1;
    bool there;

    if (own_place(s, state_dir, real))
        return stat(real, st) == 0;
    fd = file_open_beneath(state_dir, s->path);
    there = fd >= 0 && fstat(fd, st) == 0;
    if (fd >= 0)
        close(fd);
    return there;
}

int provider_read(const struct provider_spec *s, const char *state_dir, unsigned nth, char **bytes, size_t *len, int64_t *written_s)
{
    char path[PATH_MAX + 16];
    int r;

    if (s->from == PROVIDER_FILE)
        return nth || !s->path || !*s->path ? -ENOENT : read_file(s, state_dir, bytes, len, written_s);
    if (s->from != PROVIDER_HTTP || nth > PROVIDER_COPIES)
        return -ENOENT;
    if ((r = provider_path(s, state_dir, path)) < 0 && r != -EXDEV)
        return r;
    if (nth)
        snprintf(path + strlen(path), 16, ".%u", nth);
    return file_read_beneath(state_dir, path, provider_size_max(s), bytes, len, written_s);
}

/* ---- rules ---- */

static int take(void *arg, const char *s, size_t len)
{
    return 0;
}

static int take_prefix(void *arg, const struct cidr *c)
{
    return 0;
}

static int take_rule(void *arg, const char *s, size_t len, uint32_t line)
{
    return 0;
}

bool provider_check_rules(const struct provider_spec *s, const char *bytes, size_t len, uint32_t *entries, char why[256])
{
    static const struct set_visitor all = { NULL, take, take, take, take_prefix, take_rule };
    struct set_stats st;
    int r = set_read(bytes, len, s->behavior, s->format, &all, &st);

    if (entries)
        *entries = r == 0 ? st.entries : 0;
    if (r == 0 && st.entries)
        return true;
    snprintf(why, 256, "%s", st.error ? st.error : r < 0 ? "out of memory" : "it has no entries");
    return false;
}
