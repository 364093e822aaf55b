/*
 * ways.c - how name servers are reached
 *
 *   dns/ ◄── stream ── socket pair ── stream ──► tcp_inner(): rules or a named policy, chain, relay
 *
 * A connection to a name server is a flow like any other: it obeys the rules where it should, is in the list of flows, and has its line in
 * the log. It is open at once, so what is said first rides with the proxy's header; when the way leads nowhere the stream ends.
 *
 * A node whose server has a name needs a name server before it can be dialled. If that one is reached through the node, nothing is: such
 * circles are said at load, and end by the depth of look-ups when the rules close them at run time.
 */
#include "engine/ways.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/sock.h"
#include "engine/private.h"

struct way {
    struct engine *e;
    struct dial *d;
    const char *via;
    struct stream *ours;
    struct job job;
};

static void on_job(struct job *j)
{
    struct way *y = container_of(j, struct way, job);
    struct dial *d = y->d;
    struct stream *s = y->ours;

    free(y);
    d->priv = NULL;
    d->done(d, s, 0);
}

static int open_pair(struct loop *l, struct stream **ours, struct stream **theirs)
{
    int fd[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
        return -errno;
    if (!(*ours = sock_stream(l, fd[0]))) {
        close(fd[0]);
        close(fd[1]);
        return -ENOMEM;
    }
    if ((*theirs = sock_stream(l, fd[1])))
        return 0;
    stream_close(*ours, 0);
    close(fd[1]);
    return -ENOMEM;
}

static int ways_dial(struct dialer *dl, const char *via, struct dial *d)
{
    struct engine *e = container_of(dl, struct engine, ways);
    struct way *y = malloc(sizeof(*y));
    struct stream *theirs;
    int r;

    if (!y)
        return -ENOMEM;
    *y = (struct way){ .d = d, .job.cb = on_job };
    if ((r = open_pair(e->loop, &y->ours, &theirs)) < 0) {
        free(y);
        return r;
    }
    d->priv = y;
    loop_defer(e->loop, &y->job);
    tcp_inner(e, theirs, d->meta, via && !strcmp(via, "RULES") ? NULL : via ? via : "DIRECT", true);
    return 0;
}

static void ways_cancel(struct dialer *dl, struct dial *d)
{
    struct way *y = d->priv;

    if (!y)
        return;
    d->priv = NULL;
    job_cancel(&y->job);
    stream_close(y->ours, 0);
    free(y);
}

struct dialer ways_dialer(void)
{
    return (struct dialer){ ways_dial, ways_cancel };
}

/* ---- circles ---- */

#define WAYS_MAX 16
#define SAY_MAX  8

enum colour { NEW, ON_PATH, DONE };

/* Where a walk stands in one outbound. */
struct step {
    struct outbound *o;
    uint32_t next;                /* edge to be looked at */
    struct dns_way way[WAYS_MAX]; /* of a node whose server has a name */
    uint32_t n_ways;
};

struct walk {
    struct policy *p;
    const struct dns *dns;
    struct diag *d;
    uint8_t *colour; /* by id */
    struct step *path;
    uint32_t depth, cap, said;
};

static bool push(struct walk *w, struct outbound *o)
{
    struct addr literal;
    struct step *s;

    if (w->depth == w->cap) {
        uint32_t cap = w->cap ? w->cap * 2 : 16;
        struct step *more = realloc(w->path, cap * sizeof(*more));

        if (!more)
            return false;
        w->path = more;
        w->cap = cap;
    }
    s = &w->path[w->depth++];
    *s = (struct step){ .o = o };
    if (o->server && addr_parse(o->server, &literal) < 0)
        s->n_ways = dns_ways_to(w->dns, o->server, s->way, WAYS_MAX);
    w->colour[o->id] = ON_PATH;
    return true;
}

/* The outbound that the nth edge leads to; NULL: there is none such; *end: there are no more. */
static struct outbound *edge(struct walk *w, const struct step *s, uint32_t n, bool *end)
{
    struct outbound *to = s->o->ops->pick ? out_member(s->o, n) : NULL;

    *end = s->o->ops->pick ? !to : n >= s->n_ways;
    if (!s->o->ops->pick && !*end)
        to = out_find(w->p->outs, s->way[n].via);
    return to && to->id < out_count(w->p->outs) ? to : NULL; /* what cannot be dialled leads nowhere */
}

/* to is on the path: the last node on it that needs a name server cannot be found. */
static void say(struct walk *w, const struct outbound *to)
{
    uint32_t i = w->depth;
    const struct step *s;

    while (i && !w->path[i - 1].n_ways && w->path[i - 1].o != to)
        i--;
    s = i ? &w->path[i - 1] : NULL;
    if (!s || !s->n_ways || w->said++ >= SAY_MAX)
        return;
    diag_warn(
        w->d, s->o->node ? s->o->node->line : 0, s->o->node ? s->o->node->column : 0, "proxies", "cycle",
        "the server of \"%s\" (%s) is looked up at %s, which is reached through \"%s\": through itself. Put a name server without #%s into "
        "dns.proxy-server-nameserver",
        s->o->name, s->o->server, s->way[s->next - 1].server, s->way[s->next - 1].via, s->way[s->next - 1].via);
}

static bool walk_from(struct walk *w, struct outbound *root)
{
    if (!push(w, root))
        return false;
    while (w->depth) {
        struct step *top = &w->path[w->depth - 1];
        bool end;
        struct outbound *to = edge(w, top, top->next++, &end);

        if (end) {
            w->colour[top->o->id] = DONE;
            w->depth--;
        } else if (to && w->colour[to->id] == ON_PATH) {
            say(w, to);
        } else if (to && w->colour[to->id] == NEW && !push(w, to)) {
            return false;
        }
    }
    return true;
}

void ways_check(struct policy *p, const struct dns *dns, struct diag *d)
{
    int32_t n = out_count(p->outs);
    struct walk w = { .p = p, .dns = dns, .d = d, .colour = calloc((size_t)n + 1, 1) };

    for (int32_t i = 0; w.colour && i < n; i++)
        if (w.colour[i] == NEW && !walk_from(&w, out_at(p->outs, i)))
            break;
    free(w.colour);
    free(w.path);
}

void policy_check_dns(struct policy *p, struct diag *d)
{
    struct dns_opts o = { .profile = p->profile, .lists = p->lists };
    struct dns *dns;

    if (dns_new(&o, &dns, d) < 0)
        return;
    ways_check(p, dns, d);
    dns_free(dns);
}
