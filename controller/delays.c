/*
 * delays.c - the control API tests delays
 *
 *   GET /proxies/NAME/delay, GET /providers/proxies/PROVIDER/NAME/healthcheck     one: {"delay": MS}, 504 after the timeout, else 503
 *   GET /group/NAME/delay                       all members at once: {MEMBER: MS}, of those that answered; 504 when none did
 *   GET /providers/proxies/NAME/healthcheck     all members of a provider: 204
 *
 *   ?url=&timeout=MS&expected=RANGES
 *
 * Tests take seconds: the connection is suspended until they are over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/private.h"
#include "core/err.h"

#define TIMEOUT_MAX 32767

enum kind { ONE, GROUP, PROVIDER };

/* A request that waits. */
struct testing {
    struct eng_delays d;
    struct list_head node; /* ctl.testing */
    struct request *q;
    enum kind kind;
};

static void testing_free(struct testing *t)
{
    free(t->d.v);
    free(t);
}

static json_t *message(const char *text)
{
    return json_pack("{s:s}", "message", text);
}

/* What one test says. */
static json_t *one_result(const struct eng_delay *v, int *status)
{
    *status = !v->err ? 200 : v->err == -ETIMEDOUT ? 504 : 503;
    if (!v->err)
        return json_pack("{s:I}", "delay", (json_int_t)v->ms);
    return message(v->err == -ETIMEDOUT ? "Timeout" : "An error occurred in the delay test");
}

static json_t *group_result(const struct eng_delays *d, int *status)
{
    json_t *all = json_object();

    for (uint32_t i = 0; i < d->n; i++)
        if (!d->v[i].err)
            json_object_set_new(all, d->v[i].o->name, json_integer((json_int_t)d->v[i].ms));
    *status = 200;
    if (json_object_size(all))
        return all;
    json_decref(all);
    *status = 504;
    return message("get delay: all proxies timeout");
}

static void answer(struct testing *t, json_t *j, int status)
{
    struct request *q = t->q;

    q->later_status = status;
    if (j)
        q->later = j;
    else
        q->later_raw = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    q->suspended = false;
    list_del(&t->node);
    testing_free(t);
    MHD_resume_connection(q->conn);
    listener_kick(q->listener);
}

static void on_done(struct eng_delays *d)
{
    struct testing *t = container_of(d, struct testing, d);
    int status = 204;
    json_t *j = t->kind == ONE ? one_result(&d->v[0], &status) : t->kind == GROUP ? group_result(d, &status) : NULL;

    answer(t, j, status);
}

/* What is asked for. */
struct asked {
    struct eng_delay_how how; /* before the request is looked at: the defaults */
    bool fixed;               /* its url is not to be changed */
    char *url, *expected;     /* of the request, decoded */
};

static void asked_free(struct asked *a)
{
    free(a->url);
    free(a->expected);
}

/* Takes the arguments over defaults; false: they make no sense. */
static bool take_arguments(struct request *q, struct asked *a)
{
    const char *timeout = query_arg(q, "timeout");
    unsigned long ms;
    char *end;

    if ((a->url = query_text(q, "url")) && *a->url && !a->fixed)
        a->how.url = a->url;
    if ((a->expected = query_text(q, "expected")) && *a->expected)
        a->how.expected = a->expected;
    if (!timeout || *timeout < '0' || *timeout > '9')
        return false;
    ms = strtoul(timeout, &end, 10);
    a->how.timeout_ms = (unsigned)ms;
    return !*end && ms > 0 && ms <= TIMEOUT_MAX;
}

/* v is copied. */
static struct testing *testing_new(struct request *q, enum kind kind, struct outbound *const *v, uint32_t n)
{
    struct testing *t = calloc(1, sizeof(*t));

    if (!t || !(t->d.v = calloc(n + 1, sizeof(*t->d.v)))) {
        free(t);
        return NULL;
    }
    t->d.done = on_done;
    for (; t->d.n < n; t->d.n++)
        t->d.v[t->d.n].o = v[t->d.n];
    t->q = q;
    t->kind = kind;
    return t;
}

static enum MHD_Result start(struct request *q, enum kind kind, struct outbound *const *v, uint32_t n, const struct eng_delay_how *how)
{
    struct testing *t = testing_new(q, kind, v, n);
    int r = t ? eng_delays_start(q->ctl->eng, &t->d, how) : -ENOMEM;

    if (r < 0) {
        if (t)
            testing_free(t);
        return answer_error(q, r == -EINVAL ? 400 : 503, r == -EINVAL ? "Body invalid" : "out of memory");
    }
    list_append(&q->ctl->testing, &t->node);
    q->suspended = true;
    MHD_suspend_connection(q->conn);
    return MHD_YES;
}

static enum MHD_Result test(struct request *q, enum kind kind, struct outbound *const *v, uint32_t n, struct asked *a)
{
    enum MHD_Result r = take_arguments(q, a) ? start(q, kind, v, n, &a->how) : answer_error(q, 400, "Body invalid");

    asked_free(a);
    return r;
}

static enum MHD_Result test_one(struct request *q, struct outbound *o)
{
    return o ? test(q, ONE, &o, 1, &(struct asked){ .how.url = DELAY_URL }) : answer_error(q, 404, "Resource not found");
}

enum MHD_Result get_proxy_delay(struct request *q)
{
    return test_one(q, q->arg[0] ? out_find_any(eng_policy(q->ctl->eng)->outs, q->arg[0]) : NULL);
}

/* The members of a group; the caller frees. NULL without memory. */
static struct outbound **members(struct outbound *group, uint32_t *n)
{
    struct outbound **v;

    for (*n = 0; out_member(group, *n); ++*n)
        ;
    v = malloc((*n + 1) * sizeof(struct outbound *));
    for (uint32_t i = 0; v && i < *n; i++)
        v[i] = out_member(group, i);
    return v;
}

/* A url-test has its own url, whatever is asked for. A pin is let go. */
enum MHD_Result get_group_delay(struct request *q)
{
    struct outbound *o = q->arg[0] ? out_find(eng_policy(q->ctl->eng)->outs, q->arg[0]) : NULL, **v;
    const struct out_group_opts *g = o ? out_group_opts(o) : NULL;
    struct asked a = { .how.url = DELAY_URL };
    enum MHD_Result r;
    uint32_t n;

    if (!g)
        return answer_error(q, 404, "Resource not found");
    if (*g->url)
        a = (struct asked){ .how = { .url = g->url, .expected = g->expected_status }, .fixed = !strcmp(o->ops->type, "url-test") };
    if (!(v = members(o, &n)))
        return answer_error(q, 503, "out of memory");
    r = test(q, GROUP, v, n, &a);
    if (q->suspended) /* it runs */
        eng_unpin(q->ctl->eng, o);
    free(v);
    return r;
}

static const struct out_provider *provider(struct request *q)
{
    struct out_set *s = eng_policy(q->ctl->eng)->outs;
    const struct out_provider *p = NULL;

    for (uint32_t i = 0; q->arg[0] && (p = out_provider_at(s, i)) && strcmp(p->name, q->arg[0]) != 0; i++)
        ;
    return p;
}

/* Groups are "Compatible" providers to dashboards; the one that is called default has everything. */
static struct outbound *compatible(struct request *q)
{
    const char *name = q->arg[0] && !strcmp(q->arg[0], "default") ? "GLOBAL" : q->arg[0];
    struct outbound *o = name ? out_find(eng_policy(q->ctl->eng)->outs, name) : NULL;

    return o && o->ops->action == OUT_GROUP ? o : NULL;
}

static enum MHD_Result check_group(struct request *q, struct outbound *o)
{
    const struct out_group_opts *g = out_group_opts(o);
    enum MHD_Result r;
    uint32_t n;
    struct outbound **v = members(o, &n);

    if (!v)
        return answer_error(q, 503, "out of memory");
    r = start(q, PROVIDER, v, n, &(struct eng_delay_how){ *g->url ? g->url : DELAY_URL, g->expected_status, 0 });
    free(v);
    return r;
}

enum MHD_Result get_provider_check(struct request *q)
{
    const struct out_provider *p = provider(q);
    struct outbound *o = p ? NULL : compatible(q);

    if (o)
        return check_group(q, o);
    if (!p)
        return answer_error(q, 404, "Resource not found");
    return start(q, PROVIDER, p->members, p->n,
                 &(struct eng_delay_how){ *p->test_url ? p->test_url : DELAY_URL, p->expected_status, (unsigned)p->test_timeout_ms });
}

static struct outbound *member(struct request *q)
{
    const struct out_provider *p = provider(q);
    struct outbound *group = p ? NULL : compatible(q), *o;

    for (uint32_t i = 0; q->arg[1] && (o = p ? i < p->n ? p->members[i] : NULL : group ? out_member(group, i) : NULL); i++)
        if (!strcmp(o->name, q->arg[1]))
            return o;
    return NULL;
}

enum MHD_Result get_member_check(struct request *q)
{
    return test_one(q, member(q));
}

enum MHD_Result get_member(struct request *q)
{
    struct outbound *o = member(q);

    return o ? answer_json(q, 200, json_proxy(o)) : answer_error(q, 404, "Resource not found");
}

void forget_testing(struct ctl *c)
{
    for (struct list_head *n; (n = list_first(&c->testing));) {
        struct testing *t = container_of(n, struct testing, node);

        eng_delays_cancel(&t->d);
        answer(t, message("shunt ends, or its profile is another one"), 503);
    }
}
