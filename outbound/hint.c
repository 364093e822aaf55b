/*
 * hint.c - what went wrong with a node, and what a person can do about it
 *
 * Each kind of trouble is said once per node, with a hint; the newest is kept for status and the control API. Only what a server or the way
 * to it did counts: an application that resets its connection says nothing about the node.
 */
#include <errno.h>
#include <stdio.h>

#include "outbound/private.h"

static const struct hint {
    int err;
    const char *text;
} hints[] = {
    { -ERR_AUTH, "check password or uuid, and cipher" },
    { -ERR_CLOCK, "set the clock of this machine, or of the server" },
    { -ERR_EARLY, "check password or uuid, clock, tls and network, and that the port is this protocol's" },
    { -ERR_UNANSWERED, "check password or uuid, cipher, clock" }, /* many servers do not answer what they cannot read */
    { -ERR_SILENT, "check port, type, tls and network: it may wait for something else" },
    { -ERR_PROTO, "check type, port, tls and network: it speaks something else" },
    { -ERR_STATUS, "check path, host and headers of the transport" },
    { -ERR_NAME, "check server, and the name servers that look up proxies" },
    { -ERR_TLS, "check tls, port and sni" },
    { -ERR_TLS_PLAIN, "check tls and port" },
    { -ERR_TLS_NAME, "check sni or servername" },
    { -ERR_TLS_VERSION, "check sni or servername; the server may be too old, too" },
    { -ERR_TLS_CLIENT, "check certificate and private-key" },
    { -ERR_TLS_ALPN, "check network and alpn" },
    { -ERR_CERT, "check sni or servername" },
    { -ERR_CERT_NAME, "check sni or servername" },
    { -ERR_CERT_EXPIRED, "check the clock; else it is for the server's owner to renew it" },
    { -ERR_CERT_EARLY, "set the clock of this machine" },
    { -ERR_CERT_SELF, "pin it with fingerprint, if it is meant to be so" },
    { -ERR_CERT_ISSUER, "check that ca-certificates is installed; or pin the certificate with fingerprint" },
    { -ERR_CERT_PURPOSE, "check sni or servername and port" },
    { -ERR_CERT_PIN, "check fingerprint: the certificate may have been renewed, or somebody is in between" },
    { -ECONNREFUSED, "nobody listens there: check server and port, and that it runs" },
    { -ETIMEDOUT, "it does not answer: check server and port, and that it runs" },
    { -EHOSTUNREACH, "there is no way to it: check server" },
    { -ENETUNREACH, "there is no way to it: check server, interface-name, ip-version and ipv6" },
    { -ENODEV, "check interface-name: this machine has no interface of that name" },
};
#define N_HINTS (sizeof(hints) / sizeof(hints[0]))
_Static_assert(N_HINTS < 32, "a bit for each in struct outbound, and for the clock");

#define UNHEARD_MAX 3
static const char clock_hint[] = "it did before: check the clock of this machine, and of the server";

/* A proxy that is HTTP itself has no transport. */
static const char *text_of(const struct outbound *o, unsigned i)
{
    return hints[i].err == -ERR_STATUS && o->ops == &http_ops ? "check type, port and tls: an HTTP proxy that allows CONNECT is wanted" : hints[i].text;
}

static void say(struct outbound *o, unsigned bit, const char *what, const char *hint)
{
    char name[OUT_NAME_MAX];

    if (o->hints_said & 1u << bit)
        return;
    o->hints_said |= 1u << bit;
    log_warn(LOG_OUT, "%s: %s: %s", out_quote(o->name, name), what, hint);
}

/* Who is spoken of: a link of a relay's chain stands for a node. */
static struct outbound *node_of(struct outbound *o)
{
    return o->origin ? o->origin : o;
}

#define WHAT_MAX 600

/* Is that one of them? said: what the server did, in its own words; NULL: it had none. */
static bool note(struct outbound *o, int err, const char *said)
{
    char what[WHAT_MAX];

    o = node_of(o);
    if (o->ops->action != OUT_PROXY && err != -ENODEV) /* what is direct has no server, but it can have an interface */
        return false;
    for (unsigned i = 0; i < N_HINTS; i++)
        if (hints[i].err == err) {
            o->last_err = err;
            snprintf(what, sizeof(what), said ? "%s (%s)" : "%s", err_str(err), said);
            say(o, i, what, text_of(o, i));
            return true;
        }
    return false;
}

void out_note_error(struct outbound *o, int err)
{
    note(o, err, NULL);
}

void out_note_answer(struct outbound *o, int err, const char *said)
{
    note(o, err, said);
}

/* It has answered, if not of late. */
static bool known(const struct outbound *o)
{
    return o->answered || o->n_unheard;
}

/* One more flow that heard nothing. Each may have its own reason; several in a row, and nothing between them, are the server's. */
static void count_unheard(struct outbound *o)
{
    struct outbound *node = node_of(o);

    if (!o->clocked || !known(o))
        return;
    o->n_unheard = o->answered ? 1 : o->n_unheard < UNHEARD_MAX ? o->n_unheard + 1 : UNHEARD_MAX;
    o->answered = false;
    if (o->n_unheard < UNHEARD_MAX)
        return;
    node->answered = false;
    node->n_unheard = UNHEARD_MAX;
    node->last_err = -ERR_UNANSWERED;
    say(node, N_HINTS, "its last flows sent data and got no answer", clock_hint);
}

void out_note_silence(struct outbound *o, uint64_t up)
{
    if (up && !known(o))
        note(o, -ERR_UNANSWERED, NULL);
}

const char *out_hint(const struct outbound *o)
{
    if (o->last_err == -ERR_UNANSWERED && known(o)) /* it has, meanwhile */
        return !o->answered && o->n_unheard == UNHEARD_MAX ? clock_hint : NULL;
    for (unsigned i = 0; i < N_HINTS; i++)
        if (hints[i].err == o->last_err)
            return text_of(o, i);
    return NULL;
}

void out_note_end(struct outbound *o, uint64_t up, uint64_t down, int err)
{
    o->up += up;
    o->down += down;
    if (down && (o->answered || node_of(o)->last_err != -ERR_AUTH)) { /* else it was a web server's page for strangers */
        o->answered = node_of(o)->answered = true;
        node_of(o)->last_err = 0;
        o->n_unheard = node_of(o)->n_unheard = 0;
    } else if (up && !down) {
        count_unheard(o);
    }
    if (known(o) && (err == -ERR_PROTO || err == -ERR_EARLY))
        return; /* once it has worked, a connection that breaks, or that its server refuses, says nothing about it */
    if ((err > -ERR_BASE || !note(o, err, NULL)) && !down) /* errno may be the application's doing */
        out_note_silence(o, up);
}
