/*
 * server.c - libmicrohttpd on our loop
 *
 * One daemon per listening socket (Unix, TCP), each without threads: its epoll descriptor is watched, MHD_run() does the rest,
 * its time-outs sit on our timer. A request is collected (body at most 1 MiB), checked (access.c), routed (routes.c). Answers that come later
 * suspend the connection.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "controller/private.h"

#define SECRET_MIN 16

/* ---- answers ---- */

enum MHD_Result queue_response(struct request *q, int status, struct MHD_Response *r)
{
    enum MHD_Result ok;

    if (!r)
        return MHD_NO;
    if (q->cors && q->origin) {
        MHD_add_response_header(r, "Access-Control-Allow-Origin", q->origin);
        MHD_add_response_header(r, "Vary", "Origin");
    }
    ok = MHD_queue_response(q->conn, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

enum MHD_Result answer_json(struct request *q, int status, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    struct MHD_Response *r;

    json_decref(j);
    if (!text)
        return MHD_NO;
    r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (r)
        MHD_add_response_header(r, "Content-Type", "application/json");
    else
        free(text);
    return queue_response(q, status, r);
}

enum MHD_Result answer_empty(struct request *q, int status)
{
    return queue_response(q, status, MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT));
}

enum MHD_Result answer_error(struct request *q, int status, const char *text)
{
    return answer_json(q, status, json_pack("{s:s}", "message", text));
}

enum MHD_Result answer_later(struct request *q)
{
    struct MHD_Response *raw = q->later_raw;
    json_t *j = q->later;

    q->later_raw = NULL;
    q->later = NULL;
    return raw ? queue_response(q, q->later_status, raw) : answer_json(q, q->later_status, j);
}

/* ---- requests ---- */

static const char *header(struct request *q, const char *name)
{
    return MHD_lookup_connection_value(q->conn, MHD_HEADER_KIND, name);
}

const char *query_arg(struct request *q, const char *key)
{
    return MHD_lookup_connection_value(q->conn, MHD_GET_ARGUMENT_KIND, key);
}

bool is_websocket(struct MHD_Connection *conn)
{
    const char *up = MHD_lookup_connection_value(conn, MHD_HEADER_KIND, "Upgrade");

    return up && !strcasecmp(up, "websocket");
}

/* The Unix socket lets in root and ourselves; the file mode says the same. */
static bool local_peer_ok(struct request *q)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(q->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred cred;
    socklen_t len = sizeof(cred);

    return i && getsockopt(i->connect_fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && (cred.uid == 0 || cred.uid == getuid());
}

static struct addr peer_of(struct request *q)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(q->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct endpoint e = { 0 };

    if (i && i->client_addr)
        endpoint_from_sockaddr(i->client_addr, &e);
    return e.ip;
}

static enum MHD_Result preflight(struct request *q)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    const char *private_net = header(q, "Access-Control-Request-Private-Network");

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE");
    MHD_add_response_header(r, "Access-Control-Allow-Headers", "Content-Type, Authorization");
    MHD_add_response_header(r, "Access-Control-Max-Age", "300");
    if (private_net && !strcmp(private_net, "true"))
        MHD_add_response_header(r, "Access-Control-Allow-Private-Network", "true");
    return queue_response(q, 204, r);
}

/* 0: go on. */
static int check(struct request *q)
{
    const char *length = header(q, "Content-Length"), *coded = query_arg(q, "token");
    char *token = coded ? percent_decode(coded, strlen(coded)) : NULL;
    struct access_req r = {
        .local = q->listener->local,
        .method = q->method,
        .host = header(q, "Host"),
        .origin = header(q, "Origin"),
        .authorization = header(q, "Authorization"),
        .token = token,
        .content_type = header(q, "Content-Type"),
        .websocket = is_websocket(q->conn),
        .has_body = header(q, "Transfer-Encoding") || (length && strcmp(length, "0") != 0),
        .doh = is_doh(q),
    };
    struct addr peer = peer_of(q);
    uint64_t now = loop_now(q->ctl->loop);
    int status;

    if (!r.local)
        q->origin = r.origin;
    if (r.local)
        status = local_peer_ok(q) ? 0 : 403;
    else if (access_blocked(&q->ctl->fails, &peer, now))
        status = 429;
    else if ((status = access_check(&q->ctl->access, &r, &q->cors)) == 401)
        access_failed(&q->ctl->fails, &peer, now);
    if (token)
        OPENSSL_cleanse(token, strlen(token));
    free(token);
    return status;
}

static enum MHD_Result refuse(struct request *q, int status)
{
    if (status == 401)
        return answer_error(q, 401, "Unauthorized");
    return answer_empty(q, status); /* 403 tells nothing, not even that we are here */
}

static bool add_body(struct request *q, const char *data, size_t n)
{
    char *more;

    if (q->body_len + n > BODY_MAX) {
        q->too_big = true;
        return true;
    }
    if (!(more = realloc(q->body, q->body_len + n + 1)))
        return false;
    q->body = more;
    memcpy(q->body + q->body_len, data, n);
    q->body_len += n;
    q->body[q->body_len] = 0;
    return true;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url, const char *method, const char *version, const char *data,
                                  size_t *n, void **state)
{
    struct listener *l = arg;
    struct request *q = *state;
    int status;

    if (!q) {
        if (!(q = calloc(1, sizeof(*q))))
            return MHD_NO;
        *q = (struct request){ .ctl = l->ctl, .listener = l, .conn = conn };
        *state = q;
        return MHD_YES;
    }
    q->method = method;
    q->path = url;
    if (*n) {
        if (!q->too_big && !add_body(q, data, *n))
            return MHD_NO;
        *n = 0;
        return MHD_YES;
    }
    if (q->later || q->later_raw) /* resumed: the answer has come */
        return answer_later(q);
    if (q->suspended)
        return MHD_YES;
    if ((status = check(q)))
        return refuse(q, status);
    if (q->too_big)
        return answer_error(q, 413, "Body too large");
    if (!strcmp(method, "OPTIONS") && q->origin)
        return preflight(q);
    return route(q);
}

static void on_completed(void *arg, struct MHD_Connection *conn, void **state, enum MHD_RequestTerminationCode why)
{
    struct request *q = *state;

    if (!q)
        return;
    for (int i = 0; i < q->n_arg; i++)
        free(q->arg[i]);
    json_decref(q->later);
    if (q->later_raw)
        MHD_destroy_response(q->later_raw);
    free(q->body);
    free(q);
    *state = NULL;
}

/* Paths are decoded once, after splitting (routes.c), so that %2F in a name stays one segment; MHD asks the same of query arguments, which are decoded where they
 * are used. */
static size_t keep_encoded(void *arg, struct MHD_Connection *conn, char *s)
{
    return strlen(s);
}

/* ---- the loop ---- */

static void arm(struct listener *l)
{
    MHD_UNSIGNED_LONG_LONG ms;

    if (MHD_get_timeout(l->daemon, &ms) == MHD_YES)
        timer_set(l->ctl->loop, &l->timer, ms);
    else
        timer_cancel(&l->timer);
}

static void run(struct listener *l)
{
    if (!l->daemon)
        return;
    MHD_run(l->daemon);
    arm(l);
}

static void on_ready(struct io *io, uint32_t ready)
{
    run(container_of(io, struct listener, io));
}

static void on_timer(struct timer *t)
{
    run(container_of(t, struct listener, timer));
}

void listener_kick(struct listener *l)
{
    timer_set(l->ctl->loop, &l->timer, 0);
}

static int listener_start(struct listener *l, struct ctl *c, int fd, bool local)
{
    const union MHD_DaemonInfo *i;

    *l = (struct listener){ .ctl = c, .local = local, .io.cb = on_ready, .timer.cb = on_timer };
    l->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_UPGRADE | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, l,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                                 MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL, MHD_OPTION_CONNECTION_LIMIT, 128u,
                                 MHD_OPTION_CONNECTION_TIMEOUT, 30u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32768, MHD_OPTION_END);
    if (!l->daemon) {
        close(fd);
        return -ENOMEM;
    }
    i = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return io_watch(c->loop, &l->io, i->epoll_fd, IO_READ);
}

static void listener_stop(struct listener *l)
{
    if (!l->daemon)
        return;
    MHD_run(l->daemon); /* what was answered just now goes out */
    io_unwatch(&l->io);
    timer_cancel(&l->timer);
    MHD_stop_daemon(l->daemon);
    l->daemon = NULL;
}

/* ---- sockets ---- */

static int open_unix(const struct ctl *c)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd;
    mode_t old;

    if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/shunt.sock", c->state_dir) >= (int)sizeof(sa.sun_path))
        return -ENAMETOOLONG;
    unlink(sa.sun_path);
    if ((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
        return -errno;
    old = umask(0177);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 64) < 0) {
        int err = -errno;

        umask(old);
        close(fd);
        return err;
    }
    umask(old);
    return fd;
}

static int open_tcp(const struct endpoint *at)
{
    struct sockaddr_storage ss;
    socklen_t len = endpoint_to_sockaddr(at, &ss);
    int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, err;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&ss, len) == 0 && listen(fd, 128) == 0)
        return fd;
    err = -errno;
    close(fd);
    return err;
}

static const char *text_of(const char *s)
{
    return s ? s : "";
}

/* Where external-controller may listen: beyond loopback only with a secret of some length. false: nowhere. */
static bool tcp_address(struct ctl *c, const char *text, struct endpoint *at)
{
    char host[HOST_MAX + 1] = "";
    const char *h = host;

    if (*text == ':')
        h = "0.0.0.0";
    if ((*text == ':' ? !(at->port = (uint16_t)strtoul(text + 1, NULL, 10)) : hostport_split(text, host, &at->port) < 0 || !at->port) ||
        addr_parse(!strcmp(h, "localhost") ? "127.0.0.1" : h, &at->ip) < 0) {
        log_warn(LOG_API, "external-controller: \"%s\" is not ADDRESS:PORT", text);
        return false;
    }
    if (!addr_is_loopback(&at->ip) && strlen(text_of(c->secret)) < SECRET_MIN) {
        log_warn(LOG_API,
                 "external-controller: %s without a secret of at least %d characters would be open to the network: 127.0.0.1 is used", text,
                 SECRET_MIN);
        addr_parse("127.0.0.1", &at->ip);
    }
    free(c->host);
    c->host = h == host ? strdup(host) : strdup(h);
    return true;
}

static void start_tcp(struct ctl *c)
{
    const char *text = eng_profile(c->eng)->external_controller;
    struct endpoint at = { 0 };
    char shown[ENDPOINT_STRLEN];
    int fd;

    free(c->wanted);
    c->wanted = strdup(text_of(text));
    if (!text || !*text || !tcp_address(c, text, &at))
        return;
    fd = open_tcp(&at);
    endpoint_str(&at, shown);
    if (fd < 0 || listener_start(&c->tcp, c, fd, false) < 0)
        log_warn(LOG_API, "external-controller: %s: %s", shown, fd < 0 ? strerror(-fd) : "cannot be served");
    else
        c->at = strdup(shown);
}

static void start_unix(struct ctl *c)
{
    int fd = open_unix(c), r = fd < 0 ? fd : listener_start(&c->unix_socket, c, fd, true);

    if (r < 0)
        log_warn(LOG_API, "%s/shunt.sock: %s: the command line reaches this shunt only by external-controller (--controller)", c->state_dir,
                 strerror(-r));
}

static void take_config(struct ctl *c)
{
    const struct profile *p = eng_profile(c->eng);

    free(c->secret);
    c->secret = p->secret && *p->secret ? strdup(p->secret) : NULL;
    c->access = (struct access_conf){ .secret = c->secret, .origins = p->cors_origins };
}

int ctl_open(struct engine *e, const char *state_dir, struct ctl **out)
{
    struct ctl *c = calloc(1, sizeof(*c));

    *out = NULL;
    if (!c || !(c->state_dir = strdup(state_dir))) {
        free(c);
        return -ENOMEM;
    }
    c->eng = e;
    c->loop = eng_loop(e);
    stream_init(c);
    list_init(&c->asked);
    list_init(&c->explains);
    list_init(&c->refreshing);
    list_init(&c->testing);
    list_init(&c->reloads);
    take_config(c);
    start_unix(c);
    start_tcp(c);
    c->access.host = c->host;
    *out = c;
    return 0;
}

/* The same people may come in by the same door. An address that could not be had is tried again. */
static bool is_as_before(const struct ctl *c)
{
    const struct profile *p = eng_profile(c->eng);

    return c->wanted && !strcmp(c->wanted, text_of(p->external_controller)) && !strcmp(text_of(c->secret), text_of(p->secret)) &&
           (c->at || !*c->wanted);
}

void ctl_reconfigure(struct ctl *c)
{
    if (!c)
        return;
    dns_forget_asked(c);
    explain_hurry(c);
    forget_testing(c);
    if (is_as_before(c)) {
        take_config(c);
    } else {
        stream_fini(c);
        forget_refreshing(c);
        listener_stop(&c->tcp);
        free(c->at);
        c->at = NULL;
        take_config(c);
        start_tcp(c);
    }
    c->access.host = c->host;
}

void ctl_close(struct ctl *c)
{
    char path[4200];

    if (!c)
        return;
    stream_fini(c);
    dns_forget_asked(c);
    explain_hurry(c);
    forget_refreshing(c);
    forget_testing(c);
    forget_reloads(c);
    listener_stop(&c->tcp);
    listener_stop(&c->unix_socket);
    snprintf(path, sizeof(path), "%s/shunt.sock", c->state_dir);
    unlink(path);
    free(c->at);
    free(c->wanted);
    free(c->host);
    free(c->secret);
    free(c->state_dir);
    free(c);
}
