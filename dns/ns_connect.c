/*
 * ns_connect.c - a stream to a name server: by its way, then TLS
 *
 * A proxy gets the name of the server; a way that turns out to be straight (by the rules, or a group that points to DIRECT) uses the
 * address that default-nameserver told, so it never asks the server that is being reached.
 *
 * Where the profile names an interface in place of a proxy, a socket of our own leaves by that, and nothing is decided by rules.
 *
 * The certificate must be the server's, by its name or, where the profile has no name, by its address. What the first connection to a
 * server learned is kept, so the next resumes its session.
 */
#include "dns/ns_connect.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/err.h"
#include "core/log.h"
#include "core/sock.h"
#include "dns/private.h"
#include "transport/transport.h"

static void end(struct ns_connect *c, struct stream *s, int err)
{
    struct ns *ns = c->ns;

    if (err && ns->n_addr > 1) { /* the next try is for the next address of its name */
        struct addr first = ns->addr[0];

        memmove(ns->addr, ns->addr + 1, (size_t)(ns->n_addr - 1) * sizeof(first));
        ns->addr[ns->n_addr - 1] = first;
    }
    c->done(c, s, err);
}

/* ---- TLS ---- */

static int make_client(struct ns *ns)
{
    static const char *const dot[] = { "dot" }, *const h2[] = { "h2" };
    bool http = ns->spec.kind == NS_HTTPS;
    struct tls_config cfg = { .name = ns->spec.host,
                              .alpn = http ? h2 : dot,
                              .n_alpn = 1,
                              .must_alpn = http, /* many servers of DNS over TLS know no name for it */
                              .skip_verify = ns->spec.skip_cert_verify,
                              .roots = ns->d->roots };
    char why[TR_WHY], text[256];
    int r;

    if (ns->tls)
        return 0;
    log_safe(ns->text, strlen(ns->text), text, sizeof(text));
    if ((r = tls_client_new(&cfg, &ns->tls, why)) < 0)
        log_warn(LOG_DNS, "%s: %s", text, why);
    else if (cfg.skip_verify)
        log_warn(LOG_DNS, "%s: skip-cert-verify: whoever answers is believed to be the server", text);
    return r;
}

static void on_tls(struct stream *s, unsigned what)
{
    struct ns_connect *c = s->owner;
    char byte;
    ssize_t r = what & STREAM_FAILED ? stream_read(s, &(struct iovec){ &byte, 1 }, 1) : 0;

    c->tls = NULL;
    s->on_ready = NULL;
    if (!(what & STREAM_FAILED)) {
        end(c, s, 0);
        return;
    }
    if (r >= 0 || r == -STREAM_EOF)
        r = -ERR_TLS;
    stream_close(s, (int)r);
    end(c, NULL, (int)r);
}

static int start_tls(struct ns_connect *c, struct stream *down)
{
    int r = make_client(c->ns);

    if (r == 0)
        r = tls_start(c->ns->tls, c->ns->d->loop, down, &c->tls);
    if (r < 0)
        return r;
    c->tls->owner = c;
    c->tls->on_ready = on_tls;
    return 0;
}

/* ---- the way ---- */

static void on_stream(struct ns_connect *c, struct stream *s, int err)
{
    bool secure = c->ns->spec.kind == NS_TLS || c->ns->spec.kind == NS_HTTPS;

    if (!err && secure) {
        if ((err = start_tls(c, s)) == 0)
            return;
        stream_close(s, err);
        s = NULL;
    }
    end(c, s, err);
}

static void on_dialled(struct dial *d, struct stream *s, int err)
{
    struct ns_connect *c = container_of(d, struct ns_connect, dial);

    c->dialling = false;
    on_stream(c, s, err);
}

static void on_socket(struct io *io, uint32_t ready)
{
    struct ns_connect *c = container_of(io, struct ns_connect, io);
    int fd = io->fd, err = sock_error(fd);
    struct stream *s = NULL;

    io_unwatch(io);
    c->connecting = false;
    if (!err && !(s = sock_stream(c->ns->d->loop, fd)))
        err = -ENOMEM;
    if (err)
        close(fd);
    on_stream(c, s, err);
}

/* An interface is no way of the engine's: a socket of our own. */
static int connect_by_interface(struct ns_connect *c)
{
    const struct ns *ns = c->ns;
    int fd, r;

    if (!ns->n_addr)
        return -ERR_NAME;
    fd = sock_connect(&(struct endpoint){ ns->addr[0], ns->spec.port }, &(struct sock_opts){ .way = ns_way(ns) });
    if (fd < 0)
        return fd;
    c->io.cb = on_socket;
    if ((r = io_watch(ns->d->loop, &c->io, fd, IO_WRITE)) < 0)
        close(fd);
    else
        c->connecting = true;
    return r;
}

int ns_connect_start(struct ns_connect *c)
{
    struct dialer *ways = c->ns->d->ways;
    const struct ns_spec *n = &c->ns->spec;
    int r;

    if (*n->interface)
        return connect_by_interface(c);
    if (!ways)
        return -ERR_UNSUPPORTED;
    c->meta = (struct flow_meta){ .net = FLOW_TCP, .via = FLOW_VIA_INNER, .host_from = HOST_REVERSE, .depth = (uint8_t)(c->depth + 1) };
    c->meta.dst = (struct dest){ .at.port = n->port, .host = n->ip.ver ? NULL : n->host };
    if (c->ns->n_addr)
        c->meta.dst.at.ip = c->ns->addr[0];
    c->dial = (struct dial){ .to = c->meta.dst, .meta = &c->meta, .done = on_dialled };
    if ((r = ways->dial(ways, *n->via ? n->via : NULL, &c->dial)) == 0)
        c->dialling = true;
    return r;
}

void ns_connect_cancel(struct ns_connect *c)
{
    if (c->dialling)
        c->ns->d->ways->cancel(c->ns->d->ways, &c->dial);
    if (c->connecting) {
        int fd = c->io.fd;

        io_unwatch(&c->io);
        close(fd);
    }
    if (c->tls)
        stream_close(c->tls, -ECANCELED);
    c->dialling = c->connecting = false;
    c->tls = NULL;
}
