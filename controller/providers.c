/*
 * providers.c - the control API brings providers up to date
 *
 *   PUT /providers/proxies/NAME, PUT /providers/rules/NAME     fetched now; 204, or 503 with the reason when what there was stays in use
 *   PUT /shunt/geo/NAME, POST /configs/geo                     the same for one geo database, or all that the rules need (500)
 *
 * Fetching may take seconds: the connection is suspended until it is over.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controller/private.h"
#include "core/err.h"

#define WAITS 3 /* as many as there are databases */

/* A request that waits, for one provider or several. */
struct refreshing {
    struct one {
        struct provider_wait wait;
        struct refreshing *all;
    } one[WAITS];
    struct list_head node; /* ctl.refreshing */
    struct request *q;
    unsigned n, left;
    int err, failed; /* failed: the status for that */
    char why[512];
};

static void answer(struct refreshing *r)
{
    struct request *q = r->q;

    q->later_status = r->err < 0 ? r->failed : 204;
    if (r->err < 0)
        q->later = json_pack("{s:s}", "message", *r->why ? r->why : err_str(r->err));
    else
        q->later_raw = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    q->suspended = false;
    list_del(&r->node);
    free(r);
    MHD_resume_connection(q->conn);
    listener_kick(q->listener);
}

static void on_done(struct provider_wait *w, int err, const char *why)
{
    struct refreshing *r = container_of(w, struct one, wait)->all;

    if (err < 0 && r->err == 0) {
        r->err = err;
        snprintf(r->why, sizeof(r->why), "%s", why);
    }
    if (--r->left == 0)
        answer(r);
}

static struct refreshing *new_refreshing(struct request *q, int failed)
{
    struct refreshing *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->q = q;
    r->failed = failed;
    for (unsigned i = 0; i < WAITS; i++)
        r->one[i] = (struct one){ .wait.done = on_done, .all = r };
    return r;
}

static int ask(struct refreshing *r, enum provider_kind kind, const char *name)
{
    int err = eng_refresh_provider(r->q->ctl->eng, kind, name, &r->one[r->n].wait);

    if (err == 0)
        r->n++, r->left++;
    return err;
}

static enum MHD_Result wait_for(struct refreshing *r)
{
    list_append(&r->q->ctl->refreshing, &r->node);
    r->q->suspended = true;
    MHD_suspend_connection(r->q->conn);
    return MHD_YES;
}

static enum MHD_Result refresh(struct request *q, enum provider_kind kind)
{
    struct refreshing *r = q->arg[0] ? new_refreshing(q, 503) : NULL;
    int err = r ? ask(r, kind, q->arg[0]) : -ENOMEM;

    if (err == 0)
        return wait_for(r);
    free(r);
    if (err == -ERR_UNSUPPORTED) /* inline: it is what it is */
        return answer_empty(q, 204);
    return answer_error(q, err == -ENOENT ? 404 : 503, err == -ENOENT ? "Resource not found" : err_str(err));
}

enum MHD_Result put_rule_provider(struct request *q)
{
    return refresh(q, PROVIDER_RULES);
}

enum MHD_Result put_proxy_provider(struct request *q)
{
    return refresh(q, PROVIDER_PROXIES);
}

enum MHD_Result put_geo(struct request *q)
{
    return refresh(q, PROVIDER_GEO);
}

/* The databases of the policy: asked for when all are known, for that may change the list. */
struct names {
    char at[WAITS][32];
    unsigned n;
};

static void add_name(void *arg, const struct provider_view *v)
{
    struct names *all = arg;

    if (v->spec->kind == PROVIDER_GEO && all->n < WAITS)
        snprintf(all->at[all->n++], sizeof(all->at[0]), "%s", v->spec->name);
}

enum MHD_Result post_geo(struct request *q)
{
    struct refreshing *r = new_refreshing(q, 500);
    struct names all = { 0 };

    if (!r)
        return answer_error(q, 500, "out of memory");
    eng_each_provider(q->ctl->eng, add_name, &all);
    for (unsigned i = 0; i < all.n; i++)
        ask(r, PROVIDER_GEO, all.at[i]);
    if (r->n)
        return wait_for(r);
    free(r);
    return answer_empty(q, 204); /* no rule needs any */
}

void forget_refreshing(struct ctl *c)
{
    list_each_safe (n, tmp, &c->refreshing) {
        struct refreshing *r = container_of(n, struct refreshing, node);

        for (unsigned i = 0; i < r->n; i++)
            providers_forget(&r->one[i].wait);
        r->err = -ERR_CLOSED;
        snprintf(r->why, sizeof(r->why), "shunt ends, or its controller begins anew");
        answer(r);
    }
}
