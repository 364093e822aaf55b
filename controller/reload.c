/*
 * reload.c - PUT /configs: another profile, or the files again
 *
 *   {"payload": TEXT}     that text
 *   {"path": FILE}        a file below the state directory or beside the profile; the profile itself is read by the supervisor
 *   {}, no body           what the supervisor reads, as on SIGHUP: profile and local file. The connection is suspended until the verdict
 *
 * 204: in use. 400: refused with all that is wrong ("errors"), and what ran goes on running.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/private.h"
#include "core/err.h"
#include "core/file.h"

#define PROFILE_MAX (16u << 20)

struct reloading {
    struct list_head node; /* ctl.reloads */
    struct request *q;
};

/* The first error, and how many there are besides. */
static json_t *refusal(const struct diag *d, const char *why)
{
    const struct diag_item *first = NULL;
    char message[700], more[64] = "";

    if (!d)
        return json_pack("{s:s}", "message", why);
    for (size_t i = d->n; i--;)
        if (d->items[i].level == DIAG_ERROR)
            first = &d->items[i];
    if (d->n_errors > 1)
        snprintf(more, sizeof(more), " (and %zu more)", d->n_errors - 1);
    if (!first)
        snprintf(message, sizeof(message), "the profile cannot be used");
    else
        snprintf(message, sizeof(message), "%sline %u: %s%s", first->source ? "local file, " : "", first->line, first->message, more);
    return json_pack("{s:s, s:o}", "message", message, "errors", json_diags(d, DIAG_ERROR));
}

static enum MHD_Result load(struct request *q, const struct cfg_input *in)
{
    enum MHD_Result res;
    struct diag d;

    if (eng_reload(q->ctl->eng, in, NULL, false, &d) == 0)
        return answer_empty(q, 204);
    diag_sort(&d);
    res = answer_json(q, 400, refusal(&d, NULL));
    diag_fini(&d);
    return res;
}

/* A file below the state directory or, if it is not there, below the profile's. */
static int read_file(struct ctl *c, const char *path, char **bytes, size_t *len)
{
    const char *file = eng_file(c->eng), *slash = strrchr(file, '/');
    int64_t written_s;
    int r = file_read_beneath(c->state_dir, path, PROFILE_MAX, bytes, len, &written_s);
    char dir[PATH_MAX];

    if (r != -EXDEV || !slash || slash == file || slash - file >= PATH_MAX)
        return r;
    snprintf(dir, sizeof(dir), "%.*s", (int)(slash - file), file);
    return file_read_beneath(dir, path, PROFILE_MAX, bytes, len, &written_s);
}

static enum MHD_Result load_file(struct request *q, const char *path)
{
    struct cfg_input in = { .name = path, .foreign = true };
    enum MHD_Result res;
    char why[512], *bytes;
    int r = *path == '/' ? read_file(q->ctl, path, &bytes, &in.len) : -EINVAL;

    if (r < 0) {
        snprintf(why, sizeof(why), "path: %s",
                 *path != '/'  ? "it must be absolute"
                 : r == -EXDEV ? "it must lie in the state directory or beside the profile"
                               : err_str(r));
        return answer_error(q, 400, why);
    }
    in.bytes = bytes;
    res = load(q, &in);
    free(bytes);
    return res;
}

/* The worker may not read the profile: the supervisor does. */
static enum MHD_Result read_again(struct request *q)
{
    struct reloading *w = calloc(1, sizeof(*w));
    int r = w ? eng_read_again(q->ctl->eng) : -ENOMEM;

    if (r < 0) {
        free(w);
        return answer_error(q, 503, err_str(r));
    }
    w->q = q;
    list_append(&q->ctl->reloads, &w->node);
    q->suspended = true;
    MHD_suspend_connection(q->conn);
    return MHD_YES;
}

enum MHD_Result put_configs(struct request *q)
{
    json_t *j = q->body_len ? body_object(q) : json_object();
    const char *payload = json_string_value(json_object_get(j, "payload")), *path = json_string_value(json_object_get(j, "path"));
    struct cfg_input text = { .name = "payload", .bytes = payload, .len = payload ? strlen(payload) : 0, .foreign = true };
    enum MHD_Result res;

    if (!j)
        res = answer_error(q, 400, "Body invalid");
    else if (text.len)
        res = load(q, &text);
    else if (path && *path && strcmp(path, eng_file(q->ctl->eng)) != 0)
        res = load_file(q, path);
    else
        res = read_again(q);
    json_decref(j);
    return res;
}

/* ---- the verdict ---- */

static void answer_all(struct ctl *c, int status, json_t *body)
{
    list_each_safe (n, tmp, &c->reloads) {
        struct reloading *w = container_of(n, struct reloading, node);
        struct request *q = w->q;

        q->later_status = status;
        if (body)
            q->later = json_incref(body);
        else
            q->later_raw = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
        q->suspended = false;
        list_del(&w->node);
        free(w);
        MHD_resume_connection(q->conn);
        listener_kick(q->listener);
    }
    json_decref(body);
}

void ctl_reloaded(struct ctl *c, const struct diag *d, const char *why)
{
    if (!c || list_empty(&c->reloads))
        return;
    if (d || why)
        answer_all(c, 400, refusal(d, why));
    else
        answer_all(c, 204, NULL);
}

void forget_reloads(struct ctl *c)
{
    answer_all(c, 503, json_pack("{s:s}", "message", "shunt ends"));
}
