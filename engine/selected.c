/*
 * selected.c - the choices of select groups, kept across restarts
 *
 * STATE/selected.json is one object, group name -> member name. It is written whole to a temporary file, synced and renamed, so a
 * crash leaves the old one or the new one. A file that cannot be read or used is ignored, said once: choices are a convenience.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/private.h"

static bool path_of(const struct engine *e, const char *suffix, char out[PATH_MAX])
{
    return e->state_dir && snprintf(out, PATH_MAX, "%s/selected.json%s", e->state_dir, suffix) < PATH_MAX;
}

static json_t *read_choices(struct engine *e)
{
    char path[PATH_MAX];
    json_error_t why;
    json_t *j;

    if (!path_of(e, "", path) || access(path, F_OK) < 0)
        return NULL;
    j = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (j && json_is_object(j))
        return j;
    log_warn(LOG_MAIN, "%s is not usable (%s): choices start from the profile's defaults", path, j ? "not an object" : why.text);
    json_decref(j);
    return NULL;
}

void selected_load(struct engine *e)
{
    json_t *j = e->pol->profile->store_selected ? read_choices(e) : NULL;
    const char *group;
    json_t *member;

    json_object_foreach(j, group, member) {
        struct outbound *o = out_find(e->pol->outs, group);

        if (o && o->ops->action == OUT_GROUP && json_is_string(member))
            out_select(o, json_string_value(member)); /* a member that is gone leaves the default */
    }
    json_decref(j);
}

static int write_all(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), r = 0;
    size_t len = strlen(text);

    if (fd < 0)
        return -errno;
    if (write(fd, text, len) != (ssize_t)len || fsync(fd) < 0)
        r = errno ? -errno : -EIO;
    close(fd);
    return r;
}

void selected_save(struct engine *e, const char *group, const char *member)
{
    char path[PATH_MAX], tmp[PATH_MAX];
    char *text = NULL;
    json_t *j;
    int r = -ENOMEM;

    if (!e->pol->profile->store_selected || !path_of(e, "", path) || !path_of(e, ".new", tmp))
        return;
    if (!(j = read_choices(e)))
        j = json_object();
    if (j && json_object_set_new(j, group, json_string(member)) == 0 && (text = json_dumps(j, JSON_INDENT(1)))) {
        r = write_all(tmp, text);
        if (r == 0 && rename(tmp, path) < 0)
            r = -errno;
    }
    if (r < 0)
        log_warn(LOG_MAIN, "the choice is in force but could not be kept in %s: %s", path, err_str(r));
    free(text);
    json_decref(j);
}
