/*
 * selected.c - the choices of select groups, kept across restarts
 *
 * STATE/selected.json is one object, group name -> member name. It is replaced whole (core/file.h), so a crash leaves the old one or the
 * new one. A file that cannot be read or used is ignored, said once: choices are a convenience.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "engine/private.h"

#define SELECTED "selected.json"

static json_t *read_choices(struct engine *e)
{
    char path[PATH_MAX];
    json_error_t why;
    json_t *j;

    if (snprintf(path, sizeof(path), "%s/" SELECTED, e->state_dir) >= PATH_MAX || access(path, F_OK) < 0)
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
    json_t *j = e->state_dir && e->pol->profile->store_selected ? read_choices(e) : NULL;
    const char *group;
    json_t *member;

    json_object_foreach(j, group, member) {
        struct outbound *o = out_find(e->pol->outs, group);

        if (o && o->ops->action == OUT_GROUP && json_is_string(member))
            out_select(o, json_string_value(member)); /* a member that is gone leaves the default */
    }
    json_decref(j);
}

void selected_save(struct engine *e, const char *group, const char *member)
{
    char *text = NULL;
    json_t *j;
    int r = -ENOMEM;

    if (!e->state_dir || !e->pol->profile->store_selected)
        return;
    if (!(j = read_choices(e)))
        j = json_object();
    if (j && (member ? json_object_set_new(j, group, json_string(member)) : json_object_del(j, group)) == 0 && (text = json_dumps(j, JSON_INDENT(1))))
        r = file_replace_beneath(e->state_dir, SELECTED, text, strlen(text), 0);
    if (r < 0)
        log_warn(LOG_MAIN, "the choice is in force but could not be kept in %s/" SELECTED ": %s", e->state_dir, err_str(r));
    free(text);
    json_decref(j);
}
