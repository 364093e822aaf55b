/*
 * upstream.c - plain name servers, by c-ares
 *
 * One channel for the UDP servers of a list, one for its TCP servers; c-ares goes through the servers of a channel (1.5 s each, twice), repeats a truncated
 * answer over TCP, and checks address, id and question of every answer. The query is passed through whole; only its id is ours.
 * A busy channel keeps its UDP source port, so a channel is replaced after a few hundred queries.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/err.h"
#include "core/hash.h"
#include "core/log.h"
#include "dns/private.h"

#define TRY_MS 1500
#define TRIES 2
#define CHANNEL_QUERIES 300

struct watch {
    struct list_head node;
    struct io io;
    struct channel *ch;
    struct job reap;
};

struct channel {
    struct upstream *up;
    ares_channel ares;
    char *servers; /* CSV */
    bool tcp, open;
    unsigned sent, running;
    struct list_head watches;
    struct timer timer;
};

struct upstream {
    struct loop *loop;
    struct channel udp, tcp;
    bool dying;
};

struct ask {
    struct upstream *up;
    struct channel *ch;
    upstream_fn *done;
    void *arg;
    uint8_t id[2];
    struct job job;
    int err;
    uint8_t *msg;
    size_t len;
    uint8_t query[512];
    size_t query_len;
};

static void rearm(struct channel *ch)
{
    struct timeval tv, *next = ch->open ? ares_timeout(ch->ares, NULL, &tv) : NULL;

    if (next)
        timer_set(ch->up->loop, &ch->timer, (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1);
    else
        timer_cancel(&ch->timer);
}

static void on_timer(struct timer *t)
{
    struct channel *ch = container_of(t, struct channel, timer);

    ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(ch);
}

static void on_io(struct io *io, uint32_t ready)
{
    struct channel *ch = container_of(io, struct watch, io)->ch;

    ares_process_fd(ch->ares, ready & IO_READ ? io->fd : ARES_SOCKET_BAD, ready & IO_WRITE ? io->fd : ARES_SOCKET_BAD);
    rearm(ch);
}

static void reap_watch(struct job *j)
{
    free(container_of(j, struct watch, reap));
}

static void on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct channel *ch = arg;
    struct watch *w = NULL;
    uint32_t want = (readable ? IO_READ : 0) | (writable ? IO_WRITE : 0);

    list_each_safe(n, tmp, &ch->watches) {
        w = container_of(n, struct watch, node);
        if (w->io.fd == fd)
            break;
        w = NULL;
    }
    if (!want) {
        if (!w)
            return;
        io_unwatch(&w->io);
        list_del(&w->node);
        w->reap.cb = reap_watch;
        loop_defer(ch->up->loop, &w->reap);
        return;
    }
    if (w) {
        io_want(&w->io, want);
        return;
    }
    if (!(w = calloc(1, sizeof(*w))))
        return; /* the query times out */
    w->ch = ch;
    w->io.cb = on_io;
    if (io_watch(ch->up->loop, &w->io, fd, want) < 0) {
        free(w);
        return;
    }
    list_append(&ch->watches, &w->node);
}

static int channel_open(struct channel *ch)
{
    struct ares_options o = { 0 };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_EDNSPSZ;

    o.flags = ARES_FLAG_NOALIASES | ARES_FLAG_NOSEARCH | ARES_FLAG_STAYOPEN | (ch->tcp ? ARES_FLAG_USEVC : 0);
    o.timeout = TRY_MS;
    o.tries = TRIES;
    o.lookups = (char *)"b";
    o.ednspsz = DNS_UDP_MAX;
    o.sock_state_cb = on_state;
    o.sock_state_cb_data = ch;
    if (ares_init_options(&ch->ares, &o, mask) != ARES_SUCCESS)
        return -ENOMEM;
    if (ares_set_servers_ports_csv(ch->ares, ch->servers) != ARES_SUCCESS) {
        ares_destroy(ch->ares);
        return -EINVAL;
    }
    ch->open = true;
    ch->sent = 0;
    return 0;
}

static void channel_close(struct channel *ch)
{
    if (!ch->open)
        return;
    timer_cancel(&ch->timer);
    ares_destroy(ch->ares); /* running queries end now; sockets are reported closed */
    ch->open = false;
}

static int ares_to_err(int status)
{
    switch (status) {
    case ARES_ETIMEOUT: return -ETIMEDOUT;
    case ARES_ECONNREFUSED: return -ECONNREFUSED;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED: return -ECANCELED;
    case ARES_ENOMEM: return -ENOMEM;
    default: return -ERR_NAME;
    }
}

static void finish(struct job *j)
{
    struct ask *a = container_of(j, struct ask, job);

    a->done(a->arg, a->err, a->msg, a->len);
    free(a->msg);
    free(a);
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len);

static int send_on(struct ask *a, struct channel *ch)
{
    int r;

    if (ch->open && ch->sent >= CHANNEL_QUERIES && !ch->running)
        channel_close(ch);
    if (!ch->open && (r = channel_open(ch)) < 0)
        return r;
    a->ch = ch;
    ch->sent++;
    ch->running++;
    random_bytes(a->query, 2); /* the id: nobody may guess it */
    ares_send(ch->ares, a->query, (int)a->query_len, on_answer, a);
    rearm(ch);
    return 0;
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
    struct ask *a = arg;
    struct upstream *u = a->up;

    a->ch->running--;
    if (msg && len >= DNS_HEADER && (a->msg = malloc((size_t)len))) {
        memcpy(a->msg, msg, (size_t)len);
        memcpy(a->msg, a->id, 2);
        a->len = (size_t)len;
    } else if (status != ARES_EDESTRUCTION && a->ch == &u->udp && u->tcp.servers && !u->dying && send_on(a, &u->tcp) == 0) {
        return; /* the TCP servers of the list are asked when the others had nothing */
    } else {
        a->err = ares_to_err(status);
    }
    loop_defer(u->loop, &a->job);
}

int upstream_ask(struct upstream *u, const uint8_t *msg, size_t len, upstream_fn *done, void *arg)
{
    struct ask *a;
    int r;

    if (len < DNS_HEADER || len > sizeof(a->query))
        return -EMSGSIZE;
    if (!(a = calloc(1, sizeof(*a))))
        return -ENOMEM;
    a->up = u;
    a->done = done;
    a->arg = arg;
    a->job.cb = finish;
    memcpy(a->id, msg, 2);
    memcpy(a->query, msg, len);
    a->query_len = len;
    if ((r = send_on(a, u->udp.servers ? &u->udp : &u->tcp)) < 0)
        free(a);
    return r;
}

/* ---- the texts of a profile ---- */

static bool add_server(struct channel *ch, const struct endpoint *at)
{
    char text[ENDPOINT_STRLEN], *more;

    endpoint_str(at, text);
    if (asprintf(&more, "%s%s%s", ch->servers ? ch->servers : "", ch->servers ? "," : "", text) < 0)
        return false;
    free(ch->servers);
    ch->servers = more;
    return true;
}

static bool is_ours(const struct addr *a, const struct cidr *own, int n_own)
{
    for (int i = 0; i < n_own; i++)
        if (cidr_contains(&own[i], a))
            return true;
    return false;
}

/* The servers of the system: its resolver file, or what a local stub forwards to. */
static int add_system(struct upstream *u, const struct cidr *own, int n_own)
{
    static const char *const files[] = { "/run/systemd/resolve/resolv.conf", "/etc/resolv.conf" };
    int n = 0;

    for (int i = 0; i < 2 && !n; i++) {
        FILE *f = fopen(files[i], "re");
        char line[256], text[64];
        struct endpoint at = { .port = 53 };

        while (f && fgets(line, sizeof(line), f))
            if (sscanf(line, "nameserver %63s", text) == 1 && addr_parse(text, &at.ip) == 0 && !is_ours(&at.ip, own, n_own) &&
                !addr_is_loopback(&at.ip))
                n += add_server(&u->udp, &at);
        if (f)
            fclose(f);
    }
    return n;
}

static void skip(struct diag *d, const struct cfg_node *at, const char *text, const char *why)
{
    diag_warn(d, at ? at->line : 0, at ? at->column : 0, "dns", "unsupported-key", "the name server \"%s\" %s; it is skipped", text, why);
}

static void parse_server(struct upstream *u, const char *text, const struct cfg_node *node, const struct cidr *own, int n_own, struct diag *d)
{
    const char *scheme = strstr(text, "://"), *rest = scheme ? scheme + 3 : text;
    size_t n = scheme ? (size_t)(scheme - text) : 0;
    char host[HOST_MAX + 1], bare[512];
    struct endpoint at = { .port = 53 };
    uint16_t port = 0;
    bool tcp = n == 3 && !strncasecmp(text, "tcp", 3);

    snprintf(bare, sizeof(bare), "%s", rest);
    bare[strcspn(bare, "#/")] = 0;
    if (!strcasecmp(text, "system") || !strncasecmp(text, "system://", 9) || !strncasecmp(text, "dhcp://", 7)) {
        if (!add_system(u, own, n_own))
            skip(d, node, text, "names no server that is not ourselves");
        return;
    }
    if (n && !tcp && !(n == 3 && !strncasecmp(text, "udp", 3))) {
        skip(d, node, text, "needs a transport that this build does not have (plain UDP and TCP only); it is never asked in clear instead");
        return;
    }
    if (hostport_split(bare, host, &port) < 0 || addr_parse(host, &at.ip) < 0) {
        skip(d, node, text, "must be given by address");
        return;
    }
    if (port)
        at.port = port;
    if (is_ours(&at.ip, own, n_own)) {
        skip(d, node, text, "is ourselves: it would ask in circles");
        return;
    }
    if (!add_server(tcp ? &u->tcp : &u->udp, &at))
        skip(d, node, text, "found no memory");
}

static void channel_init(struct channel *ch, struct upstream *u, bool tcp)
{
    ch->up = u;
    ch->tcp = tcp;
    ch->timer.cb = on_timer;
    list_init(&ch->watches);
}

struct upstream *upstream_new(struct loop *l, const struct cfg_strs *servers, const struct cidr *own, int n_own, struct diag *d)
{
    struct upstream *u = calloc(1, sizeof(*u));

    if (!u)
        return NULL;
    u->loop = l;
    channel_init(&u->udp, u, false);
    channel_init(&u->tcp, u, true);
    for (uint32_t i = 0; i < servers->n; i++)
        parse_server(u, servers->v[i], servers->at ? servers->at[i] : NULL, own, n_own, d);
    if (u->udp.servers || u->tcp.servers)
        return u;
    upstream_free(u);
    return NULL;
}

/* The cancelled tell their askers at the end of the turn; nothing of u is needed for that. */
void upstream_free(struct upstream *u)
{
    if (!u)
        return;
    u->dying = true;
    channel_close(&u->udp);
    channel_close(&u->tcp);
    free(u->udp.servers);
    free(u->tcp.servers);
    free(u);
}
