/*
 * providers.c - the control API brings providers up to date
 *
 *   PUT /providers/proxies/NAME, PUT /providers/rules/NAME     fetched now; 204, or 503 with the reason when what there was stays in use
 *
 * Fetching may take seconds: the connection is suspended until it is over.
 */
#include <errno.h>
#include <stdlib.h>

#include "controller/private.h"
#include "core/err.h"

/* A request that waits. */
struct refreshing {
    struct provider_wait wait;
    struct list_head node; /* ctl.refreshing */
    struct request *q;
};

static void answer(struct refreshing *r, int err, const char *why)
{
    struct request *q = r->q;

    q->later_status = err < 0 ? 503 : 204;
    if (err < 0)
        q->later = json_pack("{s:s}", "message", *why ? why : err_str(err));
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
    answer(container_of(w, struct refreshing, wait), err, why);
}

static enum MHD_Result refresh(struct request *q, enum provider_kind kind)
{
    struct refreshing *r = calloc(1, sizeof(*r));
    int err;

    if (!r || !q->arg[0]) {
        free(r);
        return answer_error(q, 503, "out of memory");
    }
    r->wait.done = on_done;
    r->q = q;
    if ((err = eng_refresh_provider(q->ctl->eng, kind, q->arg[0], &r->wait)) < 0) {
        free(r);
        if (err == -ERR_UNSUPPORTED) /* inline: it is what it is */
            return answer_empty(q, 204);
        return answer_error(q, err == -ENOENT ? 404 : 503, err == -ENOENT ? "Resource not found" : err_str(err));
    }
    list_append(&q->ctl->refreshing, &r->node);
    q->suspended = true;
    MHD_suspend_connection(q->conn);
    return MHD_YES;
}

enum MHD_Result put_rule_provider(struct request *q)
{
    return refresh(q, PROVIDER_RULES);
}

enum MHD_Result put_proxy_provider(struct request *q)
{
    return refresh(q, PROVIDER_PROXIES);
}

void forget_refreshing(struct ctl *c)
{
    list_each_safe (n, tmp, &c->refreshing) {
        struct refreshing *r = container_of(n, struct refreshing, node);

        providers_forget(&r->wait);
        answer(r, -ERR_CLOSED, "shunt ends");
    }
}
